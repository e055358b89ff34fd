//! Names as a tree of labels from the right, while a table is compiled.

use prefetch_index::prefetch_index;

use crate::signature::Scope;
use crate::table::hash::{Hash, Key};
use crate::table::label::Label;
use crate::table::line::{Found, MAX_NUMBER};

/// Class of names that never count.
pub(super) const EXCLUDED: u32 = 1;
/// How many names are looked at together.
pub(super) const AHEAD: usize = 16;
/// The most labels in one table.
pub(super) const MAX_NODES: usize = MAX_NUMBER as usize;

/// A label in its place, with what is listed there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) hash: Hash,
    /// The branch it hangs under, `0` for the root.
    pub(super) branch: u32,
    pub(super) found: Found,
    pub(super) label: &'a [u8],
}

/// More labels than a table can number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

pub(super) struct Tree<'a> {
    key: Key,
    nodes: Vec<Node<'a>>,
    index: Index,
    branches: u32,
}

impl<'a> Tree<'a> {
    pub(super) fn new(key: Key, expected: usize) -> Self {
        let expected = expected.min(MAX_NODES);
        Self { key, nodes: Vec::with_capacity(expected), index: Index::of(expected), branches: 0 }
    }

    pub(super) fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    pub(super) fn branches(&self) -> u32 {
        self.branches
    }

    /// Lists a name under a class, unless it is listed with the same scope already: then gives the class it has.
    /// Below an excluded name nothing is listed.
    pub(super) fn insert(&mut self, name: &'a str, scope: Scope, class: u32) -> Result<Option<u32>, Full> {
        let mut branch = 0;
        let mut rest = name.as_bytes();
        loop {
            let start = rest.iter().rposition(|b| *b == b'.').map_or(0, |dot| dot + 1);
            let label = rest.get(start..).unwrap_or_default();
            let last = start == 0;
            let next_branch = self.branches + 1;
            let node = self.node(branch, label)?;
            if node.found.suffix == EXCLUDED {
                return Ok(Some(EXCLUDED));
            }
            if last {
                let slot = match scope {
                    Scope::Suffix => &mut node.found.suffix,
                    Scope::Exact => &mut node.found.exact,
                };
                if *slot != 0 {
                    return Ok(Some(*slot));
                }
                *slot = class;
                return Ok(None);
            }
            branch = node.found.branch;
            if branch == 0 {
                branch = next_branch;
                node.found.branch = branch;
                self.branches = branch;
            }
            rest = rest.get(..start - 1).unwrap_or_default();
        }
    }

    /// Asks for the memory that listing these names will need, for all of them at once: one after the other, each name
    /// would wait for it.
    pub(super) fn ahead(&self, names: &[&str]) {
        // Of each name what is left, and the branch that it hangs under; then also the hash of its last label.
        let mut walks = [(&[][..], 0u32, Hash::NONE); AHEAD];
        let mut live = 0;
        for (walk, name) in walks.iter_mut().zip(names) {
            *walk = (name.as_bytes(), 0, Hash::NONE);
            live += 1;
        }
        // What is deeper than this is rare.
        for _ in 0..3 {
            for (rest, branch, hash) in walks.iter_mut().take(live) {
                let (label, _) = last_label(rest);
                *hash = self.key.hash(*branch, &Label::of(label));
                self.index.prefetch(*hash);
            }
            let mut still = 0;
            for i in 0..live {
                let Some((rest, branch, hash)) = walks.get(i).copied() else { break };
                let (label, left) = last_label(rest);
                let found = self.find(hash, branch, label).and_then(|n| self.nodes.get(n as usize));
                if let (Some(below), Some(left)) = (found.map(|n| n.found.branch).filter(|b| *b != 0), left)
                    && let Some(walk) = walks.get_mut(still)
                {
                    *walk = (left, below, Hash::NONE);
                    still += 1;
                }
            }
            live = still;
        }
    }

    fn find(&self, hash: Hash, branch: u32, label: &[u8]) -> Option<u32> {
        let nodes = &self.nodes;
        self.index
            .find(hash, |n| nodes.get(n as usize).is_some_and(|n| n.branch == branch && n.label == label))
    }

    fn node(&mut self, branch: u32, label: &'a [u8]) -> Result<&mut Node<'a>, Full> {
        let hash = self.key.hash(branch, &Label::of(label));
        let place = match self.find(hash, branch, label) {
            Some(place) => place,
            None => {
                if self.nodes.len() >= MAX_NODES {
                    return Err(Full);
                }
                let place = self.nodes.len() as u32;
                self.nodes.push(Node { hash, branch, found: Found::default(), label });
                if !self.index.has_room(self.nodes.len()) {
                    self.index = Index::of(self.nodes.len() * 2);
                    for (n, node) in self.nodes.iter().zip(0..) {
                        self.index.insert(n.hash, node);
                    }
                } else {
                    self.index.insert(hash, place);
                }
                place
            }
        };
        self.nodes.get_mut(place as usize).ok_or(Full)
    }
}

/// The last label of a name, and what is before it.
fn last_label(name: &[u8]) -> (&[u8], Option<&[u8]>) {
    match name.iter().rposition(|b| *b == b'.') {
        Some(dot) => (name.get(dot + 1..).unwrap_or_default(), name.get(..dot)),
        None => (name, None),
    }
}

/// From hashes to places: slots of the upper half of a hash and a place, in a row; one miss of the cache where hashbrown has
/// two, and slots that can be asked for in advance. Hashes are keyed, so nobody makes a row long.
struct Index {
    slots: Vec<u64>,
}

impl Index {
    /// Room for so many, less than two thirds full.
    fn of(expected: usize) -> Self {
        Self { slots: vec![0; (expected + expected / 2).next_power_of_two().max(64)] }
    }

    fn has_room(&self, places: usize) -> bool {
        places <= self.slots.len() / 4 * 3
    }

    fn slot(&self, hash: Hash) -> usize {
        hash.bits() as usize & (self.slots.len() - 1)
    }

    fn prefetch(&self, hash: Hash) {
        prefetch_index(&self.slots, self.slot(hash));
    }

    fn find(&self, hash: Hash, same: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.slot(hash);
        loop {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            let place = (slot as u32).wrapping_sub(1);
            if (slot ^ hash.bits()) >> 32 == 0 && same(place) {
                return Some(place);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// There must be room.
    fn insert(&mut self, hash: Hash, place: u32) {
        let mut at = self.slot(hash);
        while self.slots.get(at).is_some_and(|slot| *slot != 0) {
            at = (at + 1) & (self.slots.len() - 1);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = hash.bits() >> 32 << 32 | u64::from(place + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index grows, and finds every label as often as it is asked for, whether memory was asked for or not.
    #[test]
    fn what_is_listed_is_found_again() {
        let names: Vec<String> = (0..5000).map(|n| format!("a{n}.b{}.c{}", n % 700, n % 3)).collect();
        let mut tree = Tree::new(Key([1, 2]), 10);
        for chunk in names.chunks(AHEAD) {
            let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
            tree.ahead(&chunk);
            for name in chunk {
                assert_eq!(tree.insert(name, Scope::Exact, 7), Ok(None));
            }
        }
        for name in &names {
            assert_eq!(tree.insert(name, Scope::Exact, 8), Ok(Some(7)), "{name}");
        }
        let labels: std::collections::HashSet<&str> =
            names.iter().flat_map(|name| name.match_indices('.').map(|(dot, _)| &name[dot..])).collect();
        assert_eq!(tree.nodes().len(), names.len() + labels.len());
    }
}
