//! Names as a tree of labels from the right, while a table is compiled.

use hashbrown::HashTable;

use crate::signature::Scope;
use crate::table::hash::{Hash, Key};
use crate::table::label::Label;
use crate::table::line::{Found, MAX_NUMBER};

/// Class of names that never count.
pub(super) const EXCLUDED: u32 = 1;
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
    /// From hash, branch and label to the place in `nodes`.
    index: HashTable<u32>,
    branches: u32,
}

impl<'a> Tree<'a> {
    pub(super) fn new(key: Key, expected: usize) -> Self {
        let expected = expected.min(MAX_NODES);
        Self {
            key,
            nodes: Vec::with_capacity(expected),
            index: HashTable::with_capacity(expected),
            branches: 0,
        }
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

    fn node(&mut self, branch: u32, label: &'a [u8]) -> Result<&mut Node<'a>, Full> {
        let hash = self.key.hash(branch, &Label::of(label));
        let nodes = &mut self.nodes;
        let same = |n: &u32| nodes.get(*n as usize).is_some_and(|n| n.branch == branch && n.label == label);
        let place = match self.index.find(hash.bits(), same) {
            Some(place) => *place,
            None => {
                if nodes.len() >= MAX_NODES {
                    return Err(Full);
                }
                let place = nodes.len() as u32;
                nodes.push(Node { hash, branch, found: Found::default(), label });
                self.index.insert_unique(hash.bits(), place, |n| {
                    nodes.get(*n as usize).map_or(0, |n| n.hash.bits())
                });
                place
            }
        };
        nodes.get_mut(place as usize).ok_or(Full)
    }
}
