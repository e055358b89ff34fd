//! Calendars as text: TOML in, [`Calendar`] out, faults with their places.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Range, RangeInclusive};

use jiff::civil::Date;
use jiff::tz::TimeZoneDatabase;
use serde::Deserialize;
use toml::Spanned;

use super::{Calendar, DAY, Slot, WeekSlots};
use crate::diagnostic::{Diagnostic, Diagnostics, Text, did_you_mean};
use crate::signature::is_service_key;

/// The largest calendar file.
pub const MAX_BYTES: usize = 1 << 20;
/// The most calendars of a file.
pub const MAX_CALENDARS: usize = 64;
/// The most lines of one list of a calendar, and the most slots of one line.
const MAX_LINES: usize = 512;
/// The longest time a calendar may be valid for, in days: holidays are decreed from year to year.
const MAX_VALID_DAYS: i32 = 366 * 3;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The calendars of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CalendarFile {
    calendars: Vec<Calendar>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    version: Spanned<u32>,
    #[serde(default)]
    calendar: Vec<Spanned<RawCalendar>>,
}

/// A calendar as it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCalendar {
    name: Spanned<String>,
    time_zone: Spanned<String>,
    valid: Spanned<String>,
    #[serde(default)]
    week: Vec<Spanned<String>>,
    #[serde(default)]
    days: Vec<Spanned<String>>,
    #[serde(default)]
    closed: Vec<Spanned<String>>,
}

impl CalendarFile {
    /// Reads a file; `path` is what diagnostics call it. A file with faults is refused whole.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, Diagnostics> {
        if bytes.len() > MAX_BYTES {
            let message = format!("the file has {} bytes, more than {MAX_BYTES}", bytes.len());
            return Err(Diagnostic::file(path, "too-large", message).into());
        }
        let text = Text::from_bytes(path, bytes)?;
        let raw: RawFile = toml::from_str(text.text).map_err(|e| Diagnostics::from(text.toml_error(&e)))?;
        let mut faults = Diagnostics::new();
        if *raw.version.get_ref() != 1 {
            let message = format!("version {} of the calendar format is not known", raw.version.get_ref());
            faults
                .push(text.error(raw.version.span(), "unknown-version", message).help("write `version = 1`"));
        }
        let calendars = read(&text, &mut faults, raw.calendar);
        faults.into_result(Self { calendars }).map(|(file, _)| file)
    }

    /// The calendars, in order.
    pub fn as_slice(&self) -> &[Calendar] {
        &self.calendars
    }

    /// The calendar of that name.
    pub fn named(&self, name: &str) -> Option<&Calendar> {
        self.calendars.iter().find(|calendar| calendar.name == name)
    }
}

/// Reads the calendars of a text; what is wrong with them goes into `faults`.
pub(crate) fn read(
    text: &Text<'_>,
    faults: &mut Diagnostics,
    raw: Vec<Spanned<RawCalendar>>,
) -> Vec<Calendar> {
    let mut reader = Reader { text, faults };
    let mut names: HashMap<String, u32> = HashMap::new();
    let mut calendars = Vec::new();
    for raw in raw {
        if calendars.len() >= MAX_CALENDARS {
            reader.fault(raw.span(), "too-many", format!("more than {MAX_CALENDARS} calendars"), "");
            break;
        }
        let raw = raw.into_inner();
        let span = raw.name.span();
        let line = text.error(span.clone(), "", "").line;
        if let Some(first) = names.insert(raw.name.get_ref().clone(), line) {
            let message = format!("another calendar, in line {first}, is called `{}`", raw.name.get_ref());
            reader.fault(span, "named-twice", message, "groups and rules tell calendars apart by name");
        }
        calendars.extend(reader.calendar(raw));
    }
    calendars
}

struct Reader<'a, 'b> {
    text: &'a Text<'b>,
    faults: &'a mut Diagnostics,
}

impl Reader<'_, '_> {
    fn calendar(&mut self, raw: RawCalendar) -> Option<Calendar> {
        let before = self.faults.count();
        let name = raw.name.get_ref();
        if !is_service_key(name) {
            let help = "use lower-case letters, digits and hyphens, at most 48";
            self.fault(raw.name.span(), "bad-name", format!("`{name}` is no name of a calendar"), help);
        }
        let zone = self.zone(&raw.time_zone);
        let valid = self.range(&raw.valid, raw.valid.get_ref(), 0);
        if let Some(valid) = &valid
            && (*valid.end() - *valid.start()).get_days() > MAX_VALID_DAYS
        {
            let message = "a calendar is valid for at most three years".to_owned();
            let help = "holidays are decreed from year to year: extend it when they are known";
            self.fault(raw.valid.span(), "bad-dates", message, help);
        }
        for list in [&raw.week, &raw.days, &raw.closed] {
            if let Some(line) = list.get(MAX_LINES) {
                self.fault(line.span(), "too-many", format!("more than {MAX_LINES} lines"), "");
            }
        }
        let week: Vec<_> = raw.week.iter().take(MAX_LINES).filter_map(|line| self.week_line(line)).collect();
        let mut days: BTreeMap<Date, Vec<Slot>> = BTreeMap::new();
        for line in raw.days.iter().take(MAX_LINES) {
            let words = words(line.get_ref());
            let Some((at, first)) = words.first() else {
                self.fault(line.span(), "bad-slots", "an empty line".to_owned(), DAYS_HELP);
                continue;
            };
            let date = self.date(line, first, *at);
            let slots = self.slots(line, words.get(1..).unwrap_or_default(), DAYS_HELP);
            if let (Some(date), Some(slots)) = (date, slots)
                && days.insert(date, slots).is_some()
            {
                self.fault_in(line, *at, first, "twice", format!("{date} stands here twice"), DAYS_HELP);
            }
        }
        let mut closed = BTreeSet::new();
        for line in raw.closed.iter().take(MAX_LINES) {
            if let Some(range) = self.range(line, line.get_ref(), 0) {
                let days = range.start().series(jiff::Span::new().days(1));
                closed.extend(days.take_while(|day| day <= range.end()).take(MAX_VALID_DAYS as usize));
            }
        }
        if week.is_empty() && days.is_empty() && self.faults.count() == before {
            let message = "this calendar is never open".to_owned();
            self.fault(
                raw.name.span(),
                "never-open",
                message,
                "give `week`, such as [\"mon-fri 09:00-18:00\"]",
            );
        }
        if self.faults.count() > before {
            return None;
        }
        Some(Calendar { name: name.clone(), zone: zone?, valid: valid?, week, days, closed })
    }

    fn zone(&mut self, written: &Spanned<String>) -> Option<jiff::tz::TimeZone> {
        let zones = TimeZoneDatabase::bundled();
        let name = written.get_ref();
        let found = zones.get(name).ok();
        if found.is_none() {
            let known: Vec<String> = zones.available().map(|zone| zone.as_str().to_owned()).collect();
            let help = did_you_mean(name, known.iter().map(String::as_str))
                .unwrap_or_else(|| "use a name of the IANA database, such as `Asia/Shanghai`".to_owned());
            self.fault(written.span(), "unknown-zone", format!("there is no time zone `{name}`"), &help);
        }
        found
    }

    /// `mon-fri 09:00-12:00 13:00-18:00 every 2 weeks from 2027-01-04`
    fn week_line(&mut self, line: &Spanned<String>) -> Option<WeekSlots> {
        let all = words(line.get_ref());
        let every_at = all.iter().position(|(_, word)| *word == "every").unwrap_or(all.len());
        let (head, tail) = all.split_at_checked(every_at)?;
        let Some((at, first)) = head.first() else {
            self.fault(line.span(), "bad-slots", "no days".to_owned(), WEEK_HELP);
            return None;
        };
        let days = self.weekdays(line, *at, first);
        let slots = self.slots(line, head.get(1..).unwrap_or_default(), WEEK_HELP);
        let every = match tail {
            [] => None,
            [_, (_, number), (_, "week" | "weeks"), (_, "from"), (day_at, day)] => {
                let weeks = number.parse().ok().filter(|n| (2..=52).contains(n));
                let day = self.date(line, day, *day_at);
                match (weeks, day) {
                    (Some(weeks), Some(day)) => Some((weeks, day)),
                    (None, _) => {
                        let message = format!("`{number}` is no number of weeks from 2 to 52");
                        self.fault(line.span(), "bad-slots", message, WEEK_HELP);
                        return None;
                    }
                    (_, None) => return None,
                }
            }
            _ => {
                let message = "what follows `every` is not understood".to_owned();
                self.fault(line.span(), "bad-slots", message, "write `every 2 weeks from 2027-01-04`");
                return None;
            }
        };
        Some(WeekSlots { days: days?, slots: slots?, every })
    }

    /// `mon-fri`, `sat,sun`, `sun-tue`
    fn weekdays(&mut self, line: &Spanned<String>, at: usize, word: &str) -> Option<[bool; 7]> {
        let mut on = [false; 7];
        for part in word.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let number = |name: &str| DAYS.iter().position(|day| *day == name);
            let (Some(from), Some(to)) = (number(from), number(to)) else {
                let message = format!("`{part}` is no day of the week and no range of them");
                self.fault_in(line, at, word, "bad-day", message, "days are mon tue wed thu fri sat sun");
                return None;
            };
            // `fri-mon` goes over the end of the week.
            let length = (to + 7 - from) % 7;
            for i in 0..=length {
                if let Some(day) = on.get_mut((from + i) % 7) {
                    *day = true;
                }
            }
        }
        Some(on)
    }

    fn slots(&mut self, line: &Spanned<String>, words: &[(usize, &str)], help: &str) -> Option<Vec<Slot>> {
        if words.is_empty() {
            self.fault(line.span(), "bad-slots", "no time of day".to_owned(), help);
            return None;
        }
        let mut slots: Vec<Slot> = Vec::with_capacity(words.len());
        for (at, word) in words {
            let times = word.split_once('-').and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)));
            let Some((from, to)) = times.filter(|(from, _)| *from < DAY) else {
                let message = format!("`{word}` is no span of time");
                self.fault_in(line, *at, word, "bad-time", message, "write HH:MM-HH:MM, up to 24:00");
                return None;
            };
            if from == to {
                let message = format!("`{word}` has no length");
                self.fault_in(line, *at, word, "bad-time", message, "for a whole day write 00:00-24:00");
                return None;
            }
            let overlaps = slots.iter().any(|slot| {
                let end = |slot: &Slot| if slot.to > slot.from { slot.to } else { slot.to + DAY };
                let this = Slot { from, to };
                slot.from < end(&this) && from < end(slot)
            });
            if overlaps {
                let message = format!("`{word}` overlaps with another span of this line");
                self.fault_in(line, *at, word, "bad-time", message, "join them into one");
                return None;
            }
            slots.push(Slot { from, to });
        }
        Some(slots)
    }

    /// `2027-02-06..2027-02-12`, or one day.
    fn range(&mut self, line: &Spanned<String>, word: &str, at: usize) -> Option<RangeInclusive<Date>> {
        let (from, to) = word.split_once("..").unwrap_or((word, word));
        let (from, to) = (self.date(line, from, at)?, self.date(line, to, at)?);
        if to < from {
            let message = format!("{from} is after {to}");
            self.fault(line.span(), "bad-dates", message, "the first day comes first");
            return None;
        }
        Some(from..=to)
    }

    fn date(&mut self, line: &Spanned<String>, word: &str, at: usize) -> Option<Date> {
        let found = (word.len() == 10).then(|| word.parse().ok()).flatten();
        let found = found.filter(|date: &Date| (1970..=9000).contains(&date.year()));
        if found.is_none() {
            let message = format!("`{word}` is not a day");
            self.fault_in(line, at, word, "bad-date", message, "write YYYY-MM-DD");
        }
        found
    }

    fn fault(&mut self, span: Range<usize>, code: &'static str, message: String, help: &str) {
        let fault = self.text.error(span, code, message);
        self.faults.push(if help.is_empty() { fault } else { fault.help(help) });
    }

    /// A fault in a word of a string. Where the string is written with escapes, its whole is shown.
    fn fault_in(
        &mut self,
        line: &Spanned<String>,
        at: usize,
        word: &str,
        code: &'static str,
        message: String,
        help: &str,
    ) {
        let span = line.span();
        let plain = self.text.text.get(span.start + 1..span.end.saturating_sub(1));
        let place = if plain == Some(line.get_ref().as_str()) {
            span.start + 1 + at..span.start + 1 + at + word.len()
        } else {
            span
        };
        self.fault(place, code, message, help);
    }
}

const WEEK_HELP: &str = "write days and spans, such as \"mon-fri 09:00-12:00 13:00-18:00\"";
const DAYS_HELP: &str = "write a day and spans, such as \"2027-02-20 09:00-17:00\"";

/// The words of a line, each with its place in it.
fn words(line: &str) -> Vec<(usize, &str)> {
    let mut at = 0;
    line.split(' ')
        .filter_map(|word| {
            let here = at;
            at += word.len() + 1;
            (!word.is_empty()).then_some((here, word))
        })
        .take(MAX_LINES)
        .collect()
}

/// `HH:MM` in minutes, `24:00` included.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u16>().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}
