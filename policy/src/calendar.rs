//! Calendars: when a group is at work.
//!
//! ```toml
//! [[calendar]]
//! name = "office"
//! time_zone = "Asia/Shanghai"
//! valid = "2027-01-01..2027-12-31"
//! week = ["mon-fri 09:00-12:00 13:30-18:00", "fri 22:00-06:00 every 2 weeks from 2027-01-08"]
//! days = ["2027-02-20 09:00-17:00"]
//! closed = ["2027-01-01", "2027-02-06..2027-02-12"]
//! ```
//!
//! [`Calendar::decide`] is a pure function from an instant to [`State`]. Whatever is in doubt is not working time:
//!
//! * A slot begins on its day and may end on the next (`22:00-06:00`). A day of `days` has its own slots in place of those
//!   of the week. **On a closed day nothing is open**, from midnight to midnight, and no slot begins that would reach
//!   into the day after.
//! * Outside of `valid`, the years for which somebody has listed the holidays, the answer is [`State::Undecided`].
//! * Where the clocks go back, a beginning that occurs twice is the second, an end the first. Where they go forward, a time
//!   that is skipped is the moment of the change.
//!
//! ```text
//!  clocks go back at 03:00      01:30   02:30   02:30'  03:30         slot 02:30-03:30 is open from 02:30' on
//!  local time                ─────┼───────┼──╮ ╭──┼───────┼─────      slot 01:30-02:30 is open until 02:30
//!                                            ╰─╯
//! ```
//!
//! Time zones come from the database that is compiled in, the same on every machine; nothing is read from disk.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

pub use file::{CalendarFile, MAX_BYTES, MAX_CALENDARS};
pub(crate) use file::{RawCalendar, read};

/// How far a decision looks ahead, in days. A calendar that does not change for longer is asked again then.
const HORIZON: i64 = 15;

/// Whether it is working time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Open,
    /// It is not.
    Closed,
    /// Nobody can say; to be treated as closed.
    Undecided,
}

impl State {
    /// The word used in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Undecided => "undecided",
        }
    }
}

/// What a calendar says of an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it says.
    pub state: State,
    /// Until when it says the same, exclusive. `None`: for good.
    pub until: Option<Timestamp>,
}

/// A span of time: from its first instant to the first after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// First instant in it.
    pub from: Timestamp,
    /// First instant after it.
    pub to: Timestamp,
}

/// A calendar that is valid: its zone exists, its slots have a length.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    name: String,
    zone: TimeZone,
    valid: RangeInclusive<Date>,
    week: Vec<WeekSlots>,
    days: BTreeMap<Date, Vec<Slot>>,
    closed: BTreeSet<Date>,
}

/// Slots of some weekdays.
#[derive(Clone, Debug, PartialEq)]
struct WeekSlots {
    /// Monday first.
    days: [bool; 7],
    slots: Vec<Slot>,
    /// Only in every so many weeks, counted from the week of that day.
    every: Option<(i64, Date)>,
}

/// Minutes of a day, 0 to 1440. An end that is not after its beginning is on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    from: u16,
    to: u16,
}

const DAY: u16 = 24 * 60;

impl Calendar {
    /// Its name, unique in its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its time zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The days for which it says anything.
    pub fn valid(&self) -> &RangeInclusive<Date> {
        &self.valid
    }

    /// Whether `at` is working time, and how long the answer holds.
    pub fn decide(&self, at: Timestamp) -> Decision {
        self.try_decide(at).unwrap_or(Decision { state: State::Undecided, until: None })
    }

    /// `None` at the ends of time.
    fn try_decide(&self, at: Timestamp) -> Option<Decision> {
        let begins = self.instant(*self.valid.start(), 0, Twice::Second)?;
        let ends = self.instant(*self.valid.end(), DAY, Twice::First)?;
        if at < begins {
            return Some(Decision { state: State::Undecided, until: Some(begins) });
        }
        if at >= ends {
            return Some(Decision { state: State::Undecided, until: None });
        }
        let today = self.zone.to_datetime(at).date();
        let last = today.checked_add(HORIZON.days()).ok()?;
        let open = self.open_on(today.checked_sub(2.days()).ok()?, last);
        let next = open.iter().find(|interval| interval.to > at);
        let horizon = self.instant(last, 0, Twice::First)?.min(ends);
        let (state, until) = match next {
            Some(interval) if interval.from <= at => (State::Open, interval.to),
            Some(interval) => (State::Closed, interval.from),
            None => (State::Closed, horizon),
        };
        Some(Decision { state, until: Some(until.min(ends)) })
    }

    /// Working time that begins on one of these days or on the one before the first, in order, without overlaps.
    /// Long spans are cut: at most a year is looked at.
    pub fn open_on(&self, first: Date, last: Date) -> Vec<Interval> {
        let mut open = Vec::new();
        let mut shut = Vec::new();
        let from = first.yesterday().unwrap_or(first);
        for day in from.series(1.day()).take(367).take_while(|day| *day <= last) {
            if self.closed.contains(&day) {
                shut.extend(self.whole_day(day));
                continue;
            }
            if self.valid.contains(&day) {
                open.extend(self.slots(day).filter_map(|slot| self.interval(day, slot)));
            }
        }
        // A slot of the last day may reach into a closed one.
        let after = last.tomorrow().ok().filter(|day| self.closed.contains(day));
        shut.extend(after.and_then(|day| self.whole_day(day)));
        open.sort_unstable();
        subtract(merge(open), &shut)
    }

    fn slots(&self, day: Date) -> impl Iterator<Item = Slot> {
        let own = self.days.get(&day);
        let week = self.week.iter().filter(move |slots| own.is_none() && slots.are_on(day));
        own.into_iter().flatten().chain(week.flat_map(|slots| &slots.slots)).copied()
    }

    fn interval(&self, day: Date, slot: Slot) -> Option<Interval> {
        let from = self.instant(day, slot.from, Twice::Second)?;
        let to = if slot.to > slot.from { slot.to } else { slot.to + DAY };
        let to = self.instant(day, to, Twice::First)?;
        (from < to).then_some(Interval { from, to })
    }

    /// From the first instant of a day to the last beginning of the next.
    fn whole_day(&self, day: Date) -> Option<Interval> {
        let (from, to) = (self.instant(day, 0, Twice::First)?, self.instant(day, DAY, Twice::Second)?);
        Some(Interval { from, to })
    }

    /// The instant of a local time, given in minutes after midnight of a day.
    fn instant(&self, day: Date, minutes: u16, twice: Twice) -> Option<Timestamp> {
        let days = i64::from(minutes / DAY);
        let day = day.checked_add(days.days()).ok()?;
        let minutes = minutes % DAY;
        let time = Time::new((minutes / 60) as i8, (minutes % 60) as i8, 0, 0).ok()?;
        let local = self.zone.to_ambiguous_timestamp(DateTime::from_parts(day, time));
        match local.offset() {
            AmbiguousOffset::Unambiguous { .. } => local.unambiguous().ok(),
            AmbiguousOffset::Fold { .. } => match twice {
                Twice::First => local.earlier().ok(),
                Twice::Second => local.later().ok(),
            },
            // Skipped: the moment of the change, which follows the instant that the later offset gives.
            AmbiguousOffset::Gap { .. } => {
                let before = local.earlier().ok()?;
                self.zone.following(before).next().map(|change| change.timestamp())
            }
        }
    }
}

/// Which of two instants a local time means that occurs twice.
#[derive(Clone, Copy, Debug)]
enum Twice {
    First,
    Second,
}

impl WeekSlots {
    fn are_on(&self, day: Date) -> bool {
        let index = day.weekday().to_monday_zero_offset();
        let on = usize::try_from(index).ok().and_then(|i| self.days.get(i)).copied().unwrap_or(false);
        on && self.every.is_none_or(|(weeks, since)| {
            let apart = (monday(day) - monday(since)).get_days();
            day >= since && (i64::from(apart) / 7).rem_euclid(weeks.max(1)) == 0
        })
    }
}

fn monday(day: Date) -> Date {
    let back = i64::from(day.weekday().since(Weekday::Monday));
    day.checked_sub(back.days()).unwrap_or(day)
}

/// Sorted intervals, joined where they touch.
fn merge(sorted: Vec<Interval>) -> Vec<Interval> {
    let mut out: Vec<Interval> = Vec::with_capacity(sorted.len());
    for next in sorted {
        match out.last_mut() {
            Some(last) if next.from <= last.to => last.to = last.to.max(next.to),
            _ => out.push(next),
        }
    }
    out
}

/// What is left of intervals without those of `shut`.
fn subtract(mut open: Vec<Interval>, shut: &[Interval]) -> Vec<Interval> {
    for hole in shut {
        open = open
            .into_iter()
            .flat_map(|i| {
                let before = Interval { from: i.from, to: i.to.min(hole.from) };
                let after = Interval { from: i.from.max(hole.to), to: i.to };
                [before, after]
            })
            .filter(|i| i.from < i.to)
            .collect();
    }
    open
}

#[cfg(test)]
mod tests;
