//! `glassgate calendar preview`: when calendars are open, day by day, as the gateway will decide it.

use crate::cli::charter::Preview;
use crate::config::read_bounded;
use crate::exit::{Ended, Exit};
use anyhow::Result;
use glassgate_policy::calendar::{self, Calendar, CalendarFile};
use glassgate_policy::charter::CharterFile;
use glassgate_policy::diagnostic::Diagnostics;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use std::fmt::Write as _;

/// Shows a week of each calendar of a file.
pub(crate) fn preview(args: &Preview) -> Result<Exit> {
    let name = args.file.display().to_string();
    let bytes = read_bounded(&args.file, calendar::MAX_BYTES as u64)
        .map_err(|e| Ended::new(Exit::Invalid, format!("{name} can't be read: {e}")))?;
    let calendars = read(&name, &bytes)
        .map_err(|faults| Ended::new(Exit::Invalid, format!("invalid calendars\n{faults}")))?;
    let chosen = |calendar: &&Calendar| args.name.as_ref().is_none_or(|name| calendar.name() == name);
    let mut out = String::new();
    for calendar in calendars.iter().filter(chosen) {
        let today = Timestamp::now().to_zoned(calendar.zone().clone()).date();
        describe(&mut out, calendar, args.week.flatten().unwrap_or(today));
    }
    if out.is_empty() {
        return Err(Ended::new(Exit::Invalid, format!("{name} has no such calendar")).into());
    }
    crate::print(&out)
}

/// The calendars of a charter, or of a file that has nothing else.
fn read(name: &str, bytes: &[u8]) -> Result<Vec<Calendar>, Diagnostics> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let is_charter = text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("purpose"));
    if is_charter {
        return CharterFile::parse(name, bytes).map(|(charter, _)| charter.calendars);
    }
    CalendarFile::parse(name, bytes).map(|file| file.as_slice().to_vec())
}

fn describe(out: &mut String, calendar: &Calendar, day: Date) {
    let zone = calendar.zone();
    let monday = day.checked_sub(i64::from(day.weekday().to_monday_zero_offset()).days()).unwrap_or(day);
    let sunday = monday.checked_add(6.days()).unwrap_or(day);
    _ = writeln!(out, "{} ({})", calendar.name(), zone.iana_name().unwrap_or("?"));
    let open = calendar.open_on(monday, sunday);
    let mut seconds = 0;
    for day in monday.series(1.day()).take(7) {
        let begins = |at: Timestamp| at.to_zoned(zone.clone()).date() == day;
        let slots = open.iter().filter(|slot| begins(slot.from));
        let mut line = String::new();
        for slot in slots {
            let (from, to) = (slot.from.to_zoned(zone.clone()), slot.to.to_zoned(zone.clone()));
            seconds += slot.to.as_second() - slot.from.as_second();
            let next = if to.date() > day { to.strftime(" (%a)").to_string() } else { String::new() };
            // The offset is shown where it changes within the slot.
            let form = if from.offset() == to.offset() { "%H:%M" } else { "%H:%M%:z" };
            _ = write!(line, "  {}-{}{next}", from.strftime(form), to.strftime(form));
        }
        if !calendar.valid().contains(&day) {
            line = "  not valid on this day: undecided, nothing is observed".to_owned();
        } else if line.is_empty() {
            line = "  closed".to_owned();
        }
        _ = writeln!(out, "  {} {day}{line}", day.strftime("%a"));
    }
    _ = writeln!(out, "  open for {}:{:02} hours", seconds / 3600, seconds / 60 % 60);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_with_a_change_of_the_clocks() {
        let text = "version = 1\n[[calendar]]\nname = \"shift\"\ntime_zone = \"Europe/Berlin\"\n\
            valid = \"2027-01-01..2027-10-31\"\nweek = [\"mon-fri 09:00-12:00 13:00-17:00\", \"sat 22:00-06:00\"]\n\
            closed = [\"2027-10-26\"]\n";
        let mut out = String::new();
        let calendars = read("c.toml", text.as_bytes()).unwrap();
        describe(&mut out, &calendars[0], "2027-10-28".parse().unwrap());
        let expected = "shift (Europe/Berlin)\n  Mon 2027-10-25  09:00-12:00  13:00-17:00\n  Tue 2027-10-26  closed\n  \
            Wed 2027-10-27  09:00-12:00  13:00-17:00\n  Thu 2027-10-28  09:00-12:00  13:00-17:00\n  \
            Fri 2027-10-29  09:00-12:00  13:00-17:00\n  Sat 2027-10-30  22:00+02:00-06:00+01:00 (Sun)\n  \
            Sun 2027-10-31  closed\n  open for 37:00 hours\n";
        assert_eq!(out, expected);
        out.clear();
        describe(&mut out, &calendars[0], "2027-11-01".parse().unwrap());
        assert!(out.contains("Mon 2027-11-01  not valid"), "{out}");
    }
}
