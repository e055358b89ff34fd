//! What may be written, for each group and category: the observation part of the verdict matrix.

use std::sync::Arc;

use super::file::{DEFAULT_K, LEAST_K};
use super::notice::Unread;
use crate::category::Category;
use crate::matrix::MAX_GROUPS;
use crate::vocab::{GroupId, ObservationLevel, Purpose, Purposes, Unobserved};

/// What may be written, for each group and category.
///
/// There are three ways to a value: [`Levels::nothing`], [`Levels::counts`], and compiling a charter in force. Only the
/// last can hold a level above [`ObservationLevel::Aggregate`], and whatever the way, a protected category has none.
///
/// Where a charter asks for receipts of its notice, each group has two rows: that of those who gave theirs, and, behind all of
/// these, that of those who did not. So the fast path needs to know nothing of receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    rows: Vec<Row>,
    /// Counts are of the whole network: groups are not told apart.
    whole_network: bool,
    /// How many rows there are without those of groups whose notice is unread.
    plain: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    levels: [ObservationLevel; Category::SLOTS],
    /// How many people must stand behind a count, by category.
    k: [u16; Category::SLOTS],
    /// Which purposes allow it.
    purposes: [Purposes; Category::SLOTS],
    /// Which of them allow sealed records.
    sealed: [Purposes; Category::SLOTS],
    why_not: Unobserved,
    /// What those in this row have not read.
    unread: Option<Arc<Unread>>,
}

impl Levels {
    /// Nothing is observed of any group.
    pub fn nothing(groups: usize, why_not: Unobserved) -> Self {
        let row = Row {
            levels: [ObservationLevel::None; Category::SLOTS],
            k: [LEAST_K as u16; Category::SLOTS],
            purposes: [Purposes::NONE; Category::SLOTS],
            sealed: [Purposes::NONE; Category::SLOTS],
            why_not,
            unread: None,
        };
        let plain = groups.clamp(1, MAX_GROUPS);
        Self { rows: vec![row; plain], whole_network: false, plain }
    }

    /// Counts of everything but protected categories, of the whole network: what it carries, not who. Groups are known to
    /// rules all the same; no count is made by them.
    pub fn counts(groups: usize) -> Self {
        let mut levels = Self::nothing(groups, Unobserved::NoCharter);
        levels.whole_network = true;
        for row in &mut levels.rows {
            for category in Category::ALL {
                row.raise(*category, without_charter(*category), DEFAULT_K, Purposes::NONE);
            }
        }
        levels
    }

    /// How many groups there are; at least one, that of everybody who belongs to no other.
    pub fn groups(&self) -> usize {
        self.plain
    }

    /// How many rows a matrix needs for them.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The group of a row.
    pub fn group_of(&self, row: GroupId) -> GroupId {
        match usize::from(row.0).checked_sub(self.plain) {
            Some(behind) => GroupId(u16::try_from(behind + 1).unwrap_or_default()),
            None => row,
        }
    }

    /// The row of those in a group who gave no receipt, and what they have not read. `None` where none is asked of it.
    pub fn unread(&self, group: GroupId) -> Option<(GroupId, &Arc<Unread>)> {
        let row = usize::from(group.0).checked_sub(1)? + self.plain;
        let unread = self.rows.get(row)?.unread.as_ref()?;
        Some((GroupId(u16::try_from(row).ok()?), unread))
    }

    /// What those in a row have not read.
    pub fn unread_in(&self, row: GroupId) -> Option<&Arc<Unread>> {
        self.rows.get(usize::from(row.0))?.unread.as_ref()
    }

    /// Adds a row for those of each group who gave no receipt. `false` if there is no room for them.
    pub(super) fn add_unread(&mut self, mut unread: impl FnMut(GroupId) -> Option<Arc<Unread>>) -> bool {
        if self.plain * 2 - 1 > MAX_GROUPS {
            return false;
        }
        for group in 1..self.plain {
            let Some(row) = self.rows.get(group).cloned() else { break };
            let unread = u16::try_from(group).ok().and_then(|group| unread(GroupId(group)));
            self.rows.push(Row { unread, ..row });
        }
        true
    }

    /// What may be written about a category for a group; of a group that is not known, nothing.
    pub fn level(&self, group: GroupId, category: Category) -> ObservationLevel {
        self.rows.get(usize::from(group.0)).map_or(ObservationLevel::None, |row| row.of(category))
    }

    /// Whether counts are of the whole network: of nobody in particular, so that nobody is counted as one of `k`.
    pub fn whole_network(&self) -> bool {
        self.whole_network
    }

    /// How many people must stand behind a count of a category of a group: the most that any open purpose asks for.
    pub fn k(&self, group: GroupId, category: Category) -> u32 {
        let row = self.rows.get(usize::from(group.0));
        let k = row.and_then(|row| row.k.get(category as usize)).copied().unwrap_or_default();
        u32::from(k).max(LEAST_K)
    }

    /// Whether a purpose allows what is written of a category of a group. Purposes bound what may follow from it: capacity needs no
    /// uploads, and only `leak` large ones.
    pub fn is_for(&self, group: GroupId, category: Category, purpose: Purpose) -> bool {
        let row = self.rows.get(usize::from(group.0));
        row.and_then(|row| row.purposes.get(category as usize)).is_some_and(|all| all.has(purpose))
    }

    /// The purposes that allow sealed records of a category of a group.
    pub fn sealed_for(&self, group: GroupId, category: Category) -> Purposes {
        let row = self.rows.get(usize::from(group.0));
        row.and_then(|row| row.sealed.get(category as usize)).copied().unwrap_or_default()
    }

    /// Groups and categories of which something may be written.
    pub fn observed(&self) -> impl Iterator<Item = (GroupId, Category)> + '_ {
        let rows = self.rows.iter().enumerate();
        rows.flat_map(|(row, levels)| {
            let open = Category::ALL.iter().filter(|c| levels.of(**c) != ObservationLevel::None);
            open.map(move |category| (GroupId(row as u16), *category))
        })
    }

    /// Why what is not observed of a group is not.
    pub fn why_not(&self, group: GroupId) -> Unobserved {
        self.rows.get(usize::from(group.0)).map_or(Unobserved::NotCovered, |row| row.why_not)
    }

    /// The highest level in it.
    pub fn highest(&self) -> ObservationLevel {
        let all = self.rows.iter().flat_map(|row| row.levels.iter());
        all.copied().max().unwrap_or(ObservationLevel::None)
    }

    /// Allows `level` of a category for a group, unless the category is protected; counts with `k` people behind them.
    pub(super) fn raise(
        &mut self,
        group: GroupId,
        category: Category,
        level: ObservationLevel,
        k: u32,
        purpose: Purpose,
    ) {
        if let Some(row) = self.rows.get_mut(usize::from(group.0)) {
            row.raise(category, level, k, Purposes::one(purpose));
        }
    }

    pub(super) fn set_why_not(&mut self, group: GroupId, why_not: Unobserved) {
        if let Some(row) = self.rows.get_mut(usize::from(group.0)) {
            row.why_not = why_not;
        }
    }
}

impl Row {
    fn of(&self, category: Category) -> ObservationLevel {
        self.levels.get(category as usize).copied().unwrap_or(ObservationLevel::None)
    }

    fn raise(&mut self, category: Category, level: ObservationLevel, k: u32, purposes: Purposes) {
        let at = category as usize;
        if let (Some(known), Some(least), Some(all)) =
            (self.levels.get_mut(at), self.k.get_mut(at), self.purposes.get_mut(at))
            && !category.is_protected()
        {
            *all = all.and(purposes);
            if let Some(sealed) = self.sealed.get_mut(at).filter(|_| level == ObservationLevel::Sealed) {
                *sealed = sealed.and(purposes);
            }
            *known = level.max(*known);
            *least = (*least).max(u16::try_from(k).unwrap_or(u16::MAX));
        }
    }
}

/// What may be counted about a category while no charter is installed, where counts without one are asked for: counts
/// of the whole network, and of protected categories nothing.
pub const fn without_charter(category: Category) -> ObservationLevel {
    if category.is_protected() { ObservationLevel::None } else { ObservationLevel::Aggregate }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_categories_stay_at_none_whatever_is_asked() {
        let mut levels = Levels::counts(2);
        for category in Category::ALL {
            levels.raise(GroupId(1), *category, ObservationLevel::Sealed, 12, Purpose::Security);
            let expected =
                if category.is_protected() { ObservationLevel::None } else { ObservationLevel::Sealed };
            assert_eq!(levels.level(GroupId(1), *category), expected, "{category}");
            assert_eq!(levels.level(GroupId(0), *category), without_charter(*category));
            assert_eq!(levels.level(GroupId(2), *category), ObservationLevel::None, "no such group");
        }
        assert_eq!(levels.highest(), ObservationLevel::Sealed);
    }
}
