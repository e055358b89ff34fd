//! What may be written, for each group and category: the observation part of the verdict matrix.

use crate::category::Category;
use crate::matrix::MAX_GROUPS;
use crate::vocab::{GroupId, ObservationLevel, Unobserved};

/// What may be written, for each group and category.
///
/// There are three ways to a value: [`Levels::nothing`], [`Levels::counts`], and compiling a charter in force. Only the
/// last can hold a level above [`ObservationLevel::Aggregate`], and whatever the way, a protected category has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    rows: Vec<Row>,
    /// Counts are of the whole network: groups are not told apart.
    whole_network: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    levels: [ObservationLevel; Category::SLOTS],
    why_not: Unobserved,
}

impl Levels {
    /// Nothing is observed of any group.
    pub fn nothing(groups: usize, why_not: Unobserved) -> Self {
        let row = Row { levels: [ObservationLevel::None; Category::SLOTS], why_not };
        Self { rows: vec![row; groups.clamp(1, MAX_GROUPS)], whole_network: false }
    }

    /// Counts of everything but protected categories, of the whole network: what it carries, not who. Groups are known to
    /// rules all the same; no count is made by them.
    pub fn counts(groups: usize) -> Self {
        let mut levels = Self::nothing(groups, Unobserved::NoCharter);
        levels.whole_network = true;
        for row in &mut levels.rows {
            for category in Category::ALL {
                row.raise(*category, without_charter(*category));
            }
        }
        levels
    }

    /// How many groups there are; at least one, that of everybody who belongs to no other.
    pub fn groups(&self) -> usize {
        self.rows.len()
    }

    /// What may be written about a category for a group; of a group that is not known, nothing.
    pub fn level(&self, group: GroupId, category: Category) -> ObservationLevel {
        let row = self.rows.get(usize::from(group.0));
        row.and_then(|row| row.levels.get(category as usize)).copied().unwrap_or(ObservationLevel::None)
    }

    /// The group that counts are made under.
    pub fn counted_as(&self, group: GroupId) -> GroupId {
        if self.whole_network { GroupId(0) } else { group }
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

    /// Allows `level` of a category for a group, unless the category is protected.
    pub(super) fn raise(&mut self, group: GroupId, category: Category, level: ObservationLevel) {
        if let Some(row) = self.rows.get_mut(usize::from(group.0)) {
            row.raise(category, level);
        }
    }

    pub(super) fn set_why_not(&mut self, group: GroupId, why_not: Unobserved) {
        if let Some(row) = self.rows.get_mut(usize::from(group.0)) {
            row.why_not = why_not;
        }
    }
}

impl Row {
    fn raise(&mut self, category: Category, level: ObservationLevel) {
        if let Some(known) = self.levels.get_mut(category as usize)
            && !category.is_protected()
        {
            *known = level.max(*known);
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
            levels.raise(GroupId(1), *category, ObservationLevel::Sealed);
            let expected =
                if category.is_protected() { ObservationLevel::None } else { ObservationLevel::Sealed };
            assert_eq!(levels.level(GroupId(1), *category), expected, "{category}");
            assert_eq!(levels.level(GroupId(0), *category), without_charter(*category));
            assert_eq!(levels.level(GroupId(2), *category), ObservationLevel::None, "no such group");
        }
        assert_eq!(levels.highest(), ObservationLevel::Sealed);
    }
}
