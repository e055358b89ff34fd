//! What rules depend on besides the flow: the day, and calendars; and the names that they may use for groups and
//! calendars.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use crate::vocab::GroupId;

/// What is known of a moment. What is not known is not guessed: a rule that depends on it does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The day; `None` while the clock is not trusted.
    pub today: Option<Date>,
    /// Calendars, and whether they are open. One that is missing is undecided.
    pub calendars: BTreeMap<String, bool>,
}

/// Names of groups and calendars that something outside of the rule file gives a meaning to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Groups, with their row in the verdict matrix.
    pub groups: BTreeMap<String, GroupId>,
    /// Calendars.
    pub calendars: BTreeSet<String>,
}

impl Moment {
    /// A day of which no calendar is decided.
    pub fn day(today: Option<Date>) -> Self {
        Self { today, calendars: BTreeMap::new() }
    }

    /// Whether one of these calendars is open; `None` if that can't be told.
    pub(super) fn is_any_open<'a>(&self, calendars: impl IntoIterator<Item = &'a String>) -> Option<bool> {
        let mut undecided = false;
        for calendar in calendars {
            match self.calendars.get(calendar) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => undecided = true,
            }
        }
        (!undecided).then_some(false)
    }
}
