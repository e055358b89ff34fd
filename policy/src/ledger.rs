//! Counts of groups with the people behind them, and what of them may be told.
//!
//! An hour tells the cells (group, category, service) that at least `k` people stand behind. What it can't tell waits until
//! the day is over, and is told then as the blocks of one tree (see [`crate::suppress`]): services, categories, groups, all.
//!
//! ```text
//!  hour ─► cells of k people or more ─────────────────────────► told, as "hour"
//!     └──► the others ─► day ─► tree ─► blocks of k or more ──► told, as "rest of day"
//!                                   └─► the others ───────────► forgotten
//! ```
//!
//! **Each count of an hour is told once or never.** So everything told is about disjoint cells of hours, each part about at
//! least `k` people, and whatever is computed from what was told depends on one of these parts at least. There are no other
//! totals: no sum of an hour, none that crosses groups.
//!
//! Each measure (use, uploads, large uploads) has a ledger of its own, with the people who did just that: three uploads by two
//! people are not told because twelve others visited the same service.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::{Bucket, Span};
use crate::category::Category;
use crate::charter::LEAST_K;
use crate::rollup::{Cell, CellKey, MAX_CELLS};
use crate::suppress::Tree;
use crate::vocab::{GroupId, SubjectId};

/// The most people in all cells of a ledger together, each counted once a cell.
pub const MAX_PLACES: usize = 1 << 20;

/// What can be added up.
pub trait Sums: Clone + Default {
    /// Adds the sums of another cell.
    fn merge(&mut self, other: &Self);
}

impl Sums for Cell {
    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }
}

/// Sums of uploads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploads {
    /// How many.
    pub uploads: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Sums for Uploads {
    fn merge(&mut self, other: &Self) {
        self.uploads = self.uploads.saturating_add(other.uploads);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Counts with the people behind them.
#[derive(Clone, Debug, Default)]
pub struct Ledger<S> {
    cells: BTreeMap<CellKey, Entry<S>>,
    places: usize,
}

#[derive(Clone, Debug, Default)]
struct Entry<S> {
    sums: S,
    people: BTreeSet<u32>,
    k: u32,
}

/// What may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<S> {
    /// An hour, or the rest of a day.
    pub span: Span,
    /// The group; `None` for all together.
    pub group: Option<GroupId>,
    /// The category; `None` for the rest of a group.
    pub category: Option<Category>,
    /// The service, `0` for none.
    pub service: u32,
    /// Whether it is what is left of group or category.
    pub rest: bool,
    /// How many people stand behind it.
    pub people: Bucket,
    /// How many must.
    pub k: u32,
    /// What they did.
    pub sums: S,
}

impl<S: Sums> Ledger<S> {
    /// Counts something that a person did. `false` if there is no room: then it is not counted.
    pub fn count(&mut self, key: CellKey, subject: SubjectId, k: u32, add: impl FnOnce(&mut S)) -> bool {
        if subject == SubjectId::NOBODY {
            return false;
        }
        let Some(entry) = self.entry(key) else { return false };
        let is_new = !entry.people.contains(&subject.0);
        if is_new && self.places >= MAX_PLACES {
            return false;
        }
        let Some(entry) = self.cells.get_mut(&key) else { return false };
        entry.people.insert(subject.0);
        entry.k = entry.k.max(k);
        add(&mut entry.sums);
        self.places += usize::from(is_new);
        true
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    fn entry(&mut self, key: CellKey) -> Option<&mut Entry<S>> {
        if self.cells.len() >= MAX_CELLS && !self.cells.contains_key(&key) {
            return None;
        }
        Some(self.cells.entry(key).or_default())
    }

    /// Ends an hour: what may be told of it. The rest goes to the ledger of the day; answers with it how many cells found no
    /// room there.
    pub fn end_hour(&mut self, day: &mut Self) -> (Vec<Told<S>>, u64) {
        let (mut told, mut lost) = (Vec::new(), 0);
        self.places = 0;
        for (key, entry) in std::mem::take(&mut self.cells) {
            let k = entry.k.max(LEAST_K);
            if entry.people.len() >= k as usize {
                told.push(Told {
                    span: Span::Hour,
                    group: Some(key.group),
                    category: Some(key.category),
                    service: key.service,
                    rest: false,
                    people: Bucket::of(entry.people.len(), k as usize),
                    k,
                    sums: entry.sums,
                });
            } else if !entry.people.is_empty() {
                lost += u64::from(!day.absorb(key, entry));
            }
        }
        (told, lost)
    }

    fn absorb(&mut self, key: CellKey, entry: Entry<S>) -> bool {
        if self.places + entry.people.len() > MAX_PLACES {
            return false;
        }
        let Some(mine) = self.entry(key) else { return false };
        let before = mine.people.len();
        mine.people.extend(entry.people);
        mine.k = mine.k.max(entry.k);
        mine.sums.merge(&entry.sums);
        let more = mine.people.len() - before;
        self.places += more;
        true
    }

    /// Ends a day: what may be told of what its hours could not tell. The others are forgotten.
    pub fn end_day(&mut self) -> Vec<Told<S>> {
        self.places = 0;
        let cells: Vec<_> = std::mem::take(&mut self.cells).into_iter().collect();
        let mut tree = Tree::new();
        let (mut groups, mut categories) = (BTreeMap::new(), BTreeMap::new());
        // By node: what it is, and which cell if it is a leaf.
        let mut about = vec![(None, None, None)];
        for (at, (CellKey { group, category, service }, entry)) in cells.iter().enumerate() {
            let mut add = |parent, is| {
                about.push(is);
                tree.add(parent).unwrap_or_default()
            };
            let of_group = *groups.entry(*group).or_insert_with(|| add(0, (Some(*group), None, None)));
            let of_category = *categories
                .entry((*group, *category))
                .or_insert_with(|| add(of_group, (Some(*group), Some(*category), None)));
            let leaf = add(of_category, (Some(*group), Some(*category), Some((*service, at))));
            tree.require(leaf, entry.k as usize);
            entry.people.iter().for_each(|person| tree.count(leaf, *person));
        }
        let mut told = Vec::new();
        for block in tree.blocks(LEAST_K as usize) {
            let Some((group, category, leaf)) = about.get(block.node).copied() else { continue };
            let mut sums = S::default();
            for (_, at) in block.leaves.iter().filter_map(|leaf| about.get(*leaf)?.2) {
                if let Some((_, entry)) = cells.get(at) {
                    sums.merge(&entry.sums);
                }
            }
            told.push(Told {
                span: Span::Day,
                group,
                category,
                service: leaf.map_or(0, |(service, _)| service),
                rest: leaf.is_none(),
                people: Bucket::of(block.people, block.k),
                k: u32::try_from(block.k).unwrap_or(u32::MAX),
                sums,
            });
        }
        told
    }
}

#[cfg(test)]
mod tests;
