//! What a charter allows at an instant: who, when, how much, and until when that holds.
//!
//! Whatever is in doubt is `none`. Time takes back by itself what it gave: [`Observation::until`] is the first instant at which
//! charter or calendar may say something else, and the verdict matrix carries it as its end of observation.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;

use super::basis;
use super::file::PurposeEntry;
use super::notice::{Unread, versions_for};
use super::{Charter, Levels};
use crate::calendar::State;
use crate::vocab::{GroupId, ObservationLevel, Purpose, Unobserved, coded};

coded! {
    /// Whether a charter is in force, and why not.
    pub enum Standing {
        /// It is.
        InForce = 1 => "in_force",
        /// There is none.
        Absent = 2 => "absent",
        /// The one on disk is damaged, or its signatures are not good.
        NotValid = 3 => "not_valid",
        /// One of its approvers has revoked it.
        Revoked = 4 => "revoked",
        /// Its first day is yet to come.
        NotYet = 5 => "not_yet",
        /// Its last day is over.
        Expired = 6 => "expired",
        /// Nobody knows what time it is.
        ClockNotTrusted = 7 => "clock_not_trusted",
    }
}

coded! {
    /// Whether a purpose of a charter in force allows anything now.
    pub enum PurposeStanding {
        /// It does.
        Open = 1 => "open",
        /// Its calendar is closed.
        Closed = 2 => "closed",
        /// Its calendar does not reach this far.
        Undecided = 3 => "undecided",
        /// People have not been told yet.
        NoticeNotGiven = 4 => "notice_not_given",
        /// Its last day is over.
        Ended = 5 => "ended",
    }
}

/// A group of the directory, as far as the charter is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its key.
    pub name: String,
    /// How many people belong to it.
    pub members: u32,
}

/// What is installed.
#[derive(Clone, Copy, Debug)]
pub enum Installed<'a> {
    /// No charter.
    Nothing,
    /// One that can't be used.
    NotValid,
    /// One with the signatures it needs.
    Charter(&'a Charter),
}

/// What may be observed at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// By group and category. Group 0 is everybody who belongs to no group; the groups of the directory follow in order.
    pub levels: Levels,
    /// Whether the charter is in force.
    pub standing: Standing,
    /// Its purposes, in order; none unless it is in force.
    pub purposes: Vec<(Purpose, PurposeStanding)>,
    /// Until when this holds, exclusive. `None`: until something is installed.
    pub until: Option<Timestamp>,
}

/// What may be observed at `at`, which is `None` while the clock is not trusted. `without` is what holds while no charter
/// is installed at all.
pub fn observe(
    installed: Installed<'_>,
    at: Option<Timestamp>,
    groups: &[Group],
    without: &Levels,
) -> Observation {
    let rows = groups.len() + 1;
    let nothing = |standing, why_not, until| Observation {
        levels: Levels::nothing(rows, why_not),
        standing,
        purposes: Vec::new(),
        until,
    };
    let (standing, ends) = in_force(installed, at);
    let (charter, at) = match (standing, installed, at) {
        (Standing::InForce, Installed::Charter(charter), Some(at)) => (charter, at),
        (Standing::Absent, ..) => {
            let levels = without.clone();
            return Observation { levels, standing, purposes: Vec::new(), until: None };
        }
        (Standing::ClockNotTrusted, ..) => return nothing(standing, Unobserved::Undecided, None),
        _ => return nothing(standing, Unobserved::NoCharter, ends),
    };
    let file = charter.file();
    let mut levels = Levels::nothing(rows, Unobserved::NotCovered);
    levels.set_why_not(GroupId(0), Unobserved::PrivateDevice);
    let exempt = |group: &Group| file.exempt.contains(&group.name);
    // There is nothing to read for a purpose that is over, nor for one whose notice was not given yet.
    let counts = |entry: &PurposeEntry| {
        let (standing, _) = standing_of(charter, entry, at);
        !matches!(standing, PurposeStanding::Ended | PurposeStanding::NoticeNotGiven)
    };
    let asks = file.purposes.iter().any(|entry| entry.receipt && counts(entry));
    for (row, _) in groups.iter().enumerate().filter(|(_, group)| exempt(group)) {
        levels.set_why_not(row_of(row), Unobserved::PrivateDevice);
    }
    // Most groups read the same.
    let mut pages = HashMap::new();
    let unread = |row: GroupId| {
        let group = groups.get(usize::from(row.0).checked_sub(1)?)?;
        let versions = versions_for(file, &group.name, counts);
        if exempt(group) || versions.is_empty() {
            return None;
        }
        Some(
            pages.entry(versions).or_insert_with_key(|versions| Arc::new(Unread::of(file, versions))).clone(),
        )
    };
    // Without room for those who gave no receipt, nobody counts where one is asked for.
    let may_ask = asks && levels.add_unread(unread);
    let (mut purposes, mut until) = (Vec::with_capacity(file.purposes.len()), ends);
    for entry in &file.purposes {
        let (standing, holds_until) = standing_of(charter, entry, at);
        until = until.into_iter().chain(holds_until).min();
        purposes.push((entry.purpose, standing));
        for (row, group) in groups.iter().enumerate() {
            if !entry.groups.contains(&group.name) || exempt(group) {
                continue;
            }
            let why_not = match standing {
                PurposeStanding::Open => None,
                PurposeStanding::Closed => Some(Unobserved::OffHours),
                PurposeStanding::Undecided => Some(Unobserved::Undecided),
                PurposeStanding::NoticeNotGiven | PurposeStanding::Ended => Some(Unobserved::NoCharter),
            };
            let plain = (!entry.receipt || may_ask).then(|| row_of(row));
            let behind = levels.unread(row_of(row)).map(|(row, _)| row);
            // Those who have not read what they are to read: no purpose that asks for it.
            let behind_allowed = behind.filter(|_| !entry.receipt);
            match why_not {
                Some(why_not) => {
                    [Some(row_of(row)), behind]
                        .into_iter()
                        .flatten()
                        .for_each(|row| levels.set_why_not(row, why_not));
                }
                None => {
                    let rows = plain.into_iter().chain(behind_allowed);
                    rows.for_each(|row| allow(&mut levels, row, group, entry));
                }
            }
        }
    }
    Observation { levels, standing: Standing::InForce, purposes, until }
}

/// Whether a charter is in force, and until when that holds at least.
pub(super) fn in_force(installed: Installed<'_>, at: Option<Timestamp>) -> (Standing, Option<Timestamp>) {
    let charter = match installed {
        Installed::Nothing => return (Standing::Absent, None),
        Installed::NotValid => return (Standing::NotValid, None),
        Installed::Charter(charter) => charter,
    };
    if charter.is_revoked() {
        return (Standing::Revoked, None);
    }
    let Some(at) = at else { return (Standing::ClockNotTrusted, None) };
    let file = charter.file();
    // A day that the zone has no beginning for counts as over: nobody gains a day by it.
    let begins = first_instant(file.issued, &file.zone);
    let ends = file.expires.tomorrow().ok().and_then(|day| first_instant(day, &file.zone));
    match (begins, ends) {
        (Some(begins), _) if at < begins => (Standing::NotYet, Some(begins)),
        (Some(_), Some(ends)) if at < ends => (Standing::InForce, Some(ends)),
        _ => (Standing::Expired, None),
    }
}

/// Allows what a purpose that is open allows for one of its groups.
fn allow(levels: &mut Levels, row: GroupId, group: &Group, entry: &PurposeEntry) {
    // A count that too few people stand behind is no count.
    if entry.level == ObservationLevel::Aggregate && group.members < entry.k {
        return;
    }
    for category in &entry.categories {
        // The file was held against this when it was read; it is the matrix that counts, so it is held again.
        let most = basis::most(entry.basis, entry.purpose, *category);
        levels.raise(row, *category, entry.level.min(most), entry.k, entry.purpose);
    }
}

/// Whether a purpose allows anything at an instant, and until when that holds at least.
pub(super) fn standing_of(
    charter: &Charter,
    entry: &PurposeEntry,
    at: Timestamp,
) -> (PurposeStanding, Option<Timestamp>) {
    let file = charter.file();
    let given = file.notice(&entry.notice).and_then(|notice| notice.given);
    match given.and_then(|day| first_instant(day, &file.zone)) {
        None => return (PurposeStanding::NoticeNotGiven, None),
        Some(given) if at < given => return (PurposeStanding::NoticeNotGiven, Some(given)),
        Some(_) => {}
    }
    let mut until = None;
    if let Some(last) = entry.expires {
        until = last.tomorrow().ok().and_then(|day| first_instant(day, &file.zone));
        if until.is_none_or(|end| at >= end) {
            return (PurposeStanding::Ended, None);
        }
    }
    let Some(name) = &entry.calendar else { return (PurposeStanding::Open, until) };
    let Some(calendar) = file.calendar(name) else { return (PurposeStanding::Undecided, until) };
    let said = calendar.decide(at);
    let standing = match said.state {
        State::Open => PurposeStanding::Open,
        State::Closed => PurposeStanding::Closed,
        State::Undecided => PurposeStanding::Undecided,
    };
    (standing, until.into_iter().chain(said.until).min())
}

fn first_instant(day: Date, zone: &jiff::tz::TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(day.at(0, 0, 0, 0)).compatible().ok()
}

fn row_of(group: usize) -> GroupId {
    GroupId(u16::try_from(group + 1).unwrap_or(u16::MAX))
}
