use super::*;
use proptest::prelude::*;

fn calendar(zone: &str, lists: &str) -> Calendar {
    let text = format!(
        "version = 1\n[[calendar]]\nname = \"c\"\ntime_zone = \"{zone}\"\nvalid = \"2026-01-01..2028-12-31\"\n{lists}\n"
    );
    match CalendarFile::parse("c.toml", text.as_bytes()) {
        Ok(file) => file.named("c").unwrap().clone(),
        Err(faults) => panic!("{faults}"),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Zone, lists, then instants with what is said of them and until when.
type Row = (&'static str, &'static str, &'static [(&'static str, State, &'static str)]);

use State::{Closed, Open};

const ROWS: &[Row] = &[
    // Lunch, and the weekend.
    (
        "Asia/Shanghai",
        "week = [\"mon-fri 09:00-12:00 13:30-18:00\"]",
        &[
            ("2027-03-01T00:59:59.999999999Z", Closed, "2027-03-01T01:00:00Z"),
            ("2027-03-01T01:00:00Z", Open, "2027-03-01T04:00:00Z"),
            ("2027-03-01T04:00:00Z", Closed, "2027-03-01T05:30:00Z"),
            ("2027-03-05T09:59:00Z", Open, "2027-03-05T10:00:00Z"),
            ("2027-03-05T10:00:00Z", Closed, "2027-03-08T01:00:00Z"),
        ],
    ),
    // Past midnight, into a holiday, out of a holiday.
    (
        "Asia/Shanghai",
        "week = [\"mon-sun 22:00-06:00\"]\nclosed = [\"2027-10-01..2027-10-02\"]",
        &[
            ("2027-09-29T15:00:00Z", Open, "2027-09-29T22:00:00Z"),
            ("2027-09-30T15:00:00Z", Open, "2027-09-30T16:00:00Z"),
            ("2027-09-30T16:00:00Z", Closed, "2027-10-03T14:00:00Z"),
        ],
    ),
    // A day of its own in place of the week; a closed day wins over it.
    (
        "Asia/Shanghai",
        "week = [\"mon-fri 09:00-18:00\"]\ndays = [\"2027-03-06 10:00-11:00\", \"2027-03-08 12:00-13:00\", \"2027-03-09 01:00-02:00\"]\nclosed = [\"2027-03-09\"]",
        &[
            ("2027-03-05T10:00:00Z", Closed, "2027-03-06T02:00:00Z"),
            ("2027-03-06T02:00:00Z", Open, "2027-03-06T03:00:00Z"),
            ("2027-03-08T02:00:00Z", Closed, "2027-03-08T04:00:00Z"),
            ("2027-03-08T05:00:00Z", Closed, "2027-03-10T01:00:00Z"),
        ],
    ),
    // Berlin, clocks back on 2027-10-31 at 03:00: 02:30 occurs twice, at 00:30Z and 01:30Z.
    (
        "Europe/Berlin",
        "week = [\"sun 01:30-02:30 02:45-03:30\"]",
        &[
            ("2027-10-30T23:30:00Z", Open, "2027-10-31T00:30:00Z"),
            ("2027-10-31T00:30:00Z", Closed, "2027-10-31T01:45:00Z"),
            ("2027-10-31T01:45:00Z", Open, "2027-10-31T02:30:00Z"),
        ],
    ),
    // Berlin, clocks forward on 2027-03-28 at 02:00: 02:30 does not occur.
    (
        "Europe/Berlin",
        "week = [\"sun 02:30-04:00\"]",
        &[
            ("2027-03-28T00:59:00Z", Closed, "2027-03-28T01:00:00Z"),
            ("2027-03-28T01:00:00Z", Open, "2027-03-28T02:00:00Z"),
        ],
    ),
    (
        "Europe/Berlin",
        "week = [\"sun 01:00-02:30\"]",
        &[("2027-03-28T00:30:00Z", Open, "2027-03-28T01:00:00Z")],
    ),
    // A slot that the change swallows whole is not open at all.
    (
        "Europe/Berlin",
        "week = [\"sun 02:10-02:50\"]",
        &[("2027-03-28T00:00:00Z", Closed, "2027-04-04T00:10:00Z")],
    ),
    // A night shift is an hour longer or shorter.
    (
        "Europe/Berlin",
        "week = [\"sat 22:00-06:00\"]",
        &[
            ("2027-10-30T20:00:00Z", Open, "2027-10-31T05:00:00Z"),
            ("2027-03-27T21:00:00Z", Open, "2027-03-28T04:00:00Z"),
        ],
    ),
    // A half hour of daylight saving, and a zone whose midnight is skipped (Beirut, 2027-03-28).
    (
        "Australia/Lord_Howe",
        "week = [\"sun 00:00-24:00\"]",
        &[("2027-10-02T13:30:00Z", Open, "2027-10-03T13:00:00Z")],
    ),
    (
        "Asia/Beirut",
        "week = [\"sun 00:00-24:00\"]",
        &[("2027-03-27T22:00:00Z", Open, "2027-03-28T21:00:00Z")],
    ),
    // Every second week.
    (
        "UTC",
        "week = [\"mon 06:00-14:00 every 2 weeks from 2027-01-06\", \"mon 14:00-22:00 every 2 weeks from 2027-01-11\"]",
        &[
            ("2027-01-04T06:00:00Z", Closed, "2027-01-11T14:00:00Z"),
            ("2027-01-18T06:00:00Z", Open, "2027-01-18T14:00:00Z"),
            ("2027-01-25T06:00:00Z", Closed, "2027-01-25T14:00:00Z"),
        ],
    ),
    // Slots that touch are one.
    (
        "UTC",
        "week = [\"mon 18:00-24:00\", \"tue 00:00-03:00\"]",
        &[("2027-03-01T20:00:00Z", Open, "2027-03-02T03:00:00Z")],
    ),
];

#[test]
fn rows() {
    for (zone, lists, cases) in ROWS {
        let calendar = calendar(zone, lists);
        for (instant, state, until) in *cases {
            let said = calendar.decide(at(instant));
            assert_eq!((said.state, said.until), (*state, Some(at(until))), "{zone} {lists} at {instant}");
        }
    }
}

#[test]
fn outside_of_what_is_valid_nothing_is_decided() {
    let calendar = calendar("Asia/Shanghai", "week = [\"mon-sun 00:00-24:00\"]");
    let begins = at("2025-12-31T16:00:00Z");
    let before = calendar.decide(begins - 1.second());
    assert_eq!(before, Decision { state: State::Undecided, until: Some(begins) });
    assert_eq!(calendar.decide(begins).state, Open);
    let ends = at("2028-12-31T16:00:00Z");
    assert_eq!(calendar.decide(ends - 1.second()), Decision { state: Open, until: Some(ends) });
    assert_eq!(calendar.decide(ends), Decision { state: State::Undecided, until: None });
    for extreme in [Timestamp::MIN, Timestamp::MAX] {
        assert_eq!(calendar.decide(extreme).state, State::Undecided);
    }
}

#[test]
fn faults_have_their_place() {
    let head =
        "version = 1\n[[calendar]]\nname = \"c\"\ntime_zone = \"UTC\"\nvalid = \"2026-01-01..2027-12-31\"\n";
    let week = |line: &str| format!("{head}week = [\"{line}\"]\n");
    let rows: &[(String, &str, u32, u32)] = &[
        (head.replace("UTC", "Europe/Berln") + "week = []\n", "unknown-zone", 4, 13),
        (head.replace("\"c\"", "\"C c\"") + "week = [\"mon 01:00-02:00\"]", "bad-name", 3, 8),
        (head.replace("2026-01-01", "2026-02-30"), "bad-date", 5, 10),
        (head.replace("2027-12-31", "2025-12-31"), "bad-dates", 5, 9),
        (head.replace("2027-12-31", "2037-12-31"), "bad-dates", 5, 9),
        (head.to_owned(), "never-open", 3, 8),
        (week(""), "bad-slots", 6, 9),
        (week("mon"), "bad-slots", 6, 9),
        (week("monday 09:00-18:00"), "bad-day", 6, 10),
        (week("mon-xxx 09:00-18:00"), "bad-day", 6, 10),
        (week("mon 09:00-12:00 9-12"), "bad-time", 6, 26),
        (week("mon 24:00-02:00"), "bad-time", 6, 14),
        (week("mon 09:00-25:00"), "bad-time", 6, 14),
        (week("mon 09:00-09:00"), "bad-time", 6, 14),
        (week("mon 09:00-12:00 11:00-13:00"), "bad-time", 6, 26),
        (week("mon 22:00-06:00 23:00-24:00"), "bad-time", 6, 26),
        (week("mon 09:00-12:00 every week"), "bad-slots", 6, 9),
        (week("mon 09:00-12:00 every 1 weeks from 2027-01-04"), "bad-slots", 6, 9),
        (week("mon 09:00-12:00 every 2 weeks from 2027-1-4"), "bad-date", 6, 45),
        (format!("{head}days = [\"2027-01-04\"]\n"), "bad-slots", 6, 9),
        (format!("{head}days = [\"2027-01-04 01:00-02:00\", \"2027-01-04 03:00-04:00\"]\n"), "twice", 6, 36),
        (format!("{head}closed = [\"2027-13-01\"]\n"), "bad-date", 6, 12),
        (format!("{head}holidays = []\n"), "toml", 6, 1),
        (
            week("mon 01:00-02:00")
                + head.trim_start_matches("version = 1\n")
                + "week = [\"tue 01:00-02:00\"]",
            "named-twice",
            8,
            8,
        ),
        (week("mon 01:00-02:00").replace("version = 1", "version = 2"), "unknown-version", 1, 11),
    ];
    for (text, code, line, column) in rows {
        let faults = CalendarFile::parse("c.toml", text.as_bytes()).expect_err(text);
        let first = &faults.as_slice()[0];
        assert_eq!((first.code, first.line, first.column), (*code, *line, *column), "{text}\n{faults}");
    }
}

/// A calendar in the plainest words: what the oracle works from, and what is written as text for the real one.
#[derive(Clone, Debug)]
struct Plain {
    zone: &'static str,
    /// Weekday, minutes from, minutes to.
    slots: Vec<(usize, u16, u16)>,
    closed: Vec<Date>,
}

impl Plain {
    fn real(&self) -> Calendar {
        let clock = |m: u16| format!("{:02}:{:02}", m / 60, m % 60);
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let week: Vec<String> =
            self.slots.iter().map(|(d, f, t)| format!("{} {}-{}", days[*d], clock(*f), clock(*t))).collect();
        let closed: Vec<String> = self.closed.iter().map(ToString::to_string).collect();
        calendar(self.zone, &format!("week = {week:?}\nclosed = {closed:?}"))
    }

    /// Which of the minutes are open, by looking at each minute's local time: a slot begins with the last minute that
    /// shows its beginning (or the first that shows more, if none does) and ends with the first that shows its end or more.
    fn oracle(&self, minutes: &[Timestamp]) -> Vec<bool> {
        let zone = TimeZone::get(self.zone).unwrap();
        let local: Vec<DateTime> = minutes.iter().map(|m| zone.to_datetime(*m)).collect();
        let mut open = vec![false; minutes.len()];
        let mut days: Vec<Date> = local.iter().map(|l| l.date()).collect();
        days.dedup();
        days.sort();
        days.dedup();
        for day in &days {
            for (weekday, from, to) in &self.slots {
                let on = day.weekday().to_monday_zero_offset() as usize == *weekday;
                if !on || self.closed.contains(day) {
                    continue;
                }
                let begins = day.at(0, 0, 0, 0) + i64::from(*from).minutes();
                let to = if to > from { *to } else { to + DAY };
                let ends = day.at(0, 0, 0, 0) + i64::from(to).minutes();
                let first = local
                    .iter()
                    .rposition(|l| *l == begins)
                    .or_else(|| local.iter().position(|l| *l > begins));
                let after = local.iter().position(|l| *l >= ends).unwrap_or(minutes.len());
                if let Some(first) = first {
                    (first..after).for_each(|i| open[i] = true);
                }
            }
        }
        // A closed day is closed from its first minute to the last before the next day begins for good.
        for day in &self.closed {
            let first = local.iter().position(|l| l.date() >= *day);
            let after = local.iter().rposition(|l| l.date() <= *day).map_or(0, |i| i + 1);
            if let Some(first) = first {
                (first..after.max(first)).for_each(|i| open[i] = false);
            }
        }
        open
    }
}

/// Zones with their changes: an hour, half an hour, at midnight, on other weekdays, none.
const ZONES: &[(&str, [&str; 2])] = &[
    ("Europe/Berlin", ["2027-03-27T00:00:00Z", "2027-10-30T00:00:00Z"]),
    ("America/New_York", ["2027-03-13T00:00:00Z", "2027-11-06T00:00:00Z"]),
    ("Australia/Lord_Howe", ["2027-04-03T00:00:00Z", "2027-10-02T00:00:00Z"]),
    ("Asia/Beirut", ["2027-03-27T00:00:00Z", "2027-10-30T00:00:00Z"]),
    ("America/Havana", ["2027-03-13T00:00:00Z", "2027-11-06T00:00:00Z"]),
    ("Asia/Shanghai", ["2027-05-01T00:00:00Z", "2027-10-01T00:00:00Z"]),
];

fn plain() -> impl Strategy<Value = (Plain, usize)> {
    // Whole quarters of an hour, many of them in the hours in which clocks change.
    let quarter = prop_oneof![0u16..16, 0u16..96];
    let slot = (0usize..7, quarter.clone(), quarter).prop_map(|(d, f, t)| (d, f * 15, t * 15));
    let slots = proptest::collection::vec(slot.prop_filter("no length", |(_, f, t)| f != t), 1..6);
    (0..ZONES.len(), 0usize..2, slots, proptest::collection::vec(0i64..5, 0..2)).prop_map(
        |(zone, season, slots, closed)| {
            let (zone, around) = ZONES[zone];
            let first = TimeZone::get(zone).unwrap().to_datetime(at(around[season])).date();
            let closed = closed.into_iter().map(|d| first + d.days()).collect();
            (Plain { zone, slots, closed }, season)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("CALENDAR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(40),
    ))]
    #[test]
    fn agrees_with_a_look_at_every_minute((plain, season) in plain()) {
        let around = ZONES.iter().find(|(zone, _)| *zone == plain.zone).unwrap().1[season];
        // Two days of run-up, so that slots of the days before are seen.
        let start = at(around) - 72.hours();
        let minutes: Vec<Timestamp> = (0..60 * 24 * 8).map(|m| start + i64::from(m).minutes()).collect();
        let (oracle, calendar) = (plain.oracle(&minutes), plain.real());
        let mut known: Option<(Decision, Timestamp)> = None;
        for (minute, open) in minutes.iter().zip(&oracle).skip(60 * 48).take(60 * 24 * 5) {
            // What was said holds until then, so it is asked again only then: which tests `until` as well.
            let said = match known {
                Some((said, _)) if said.until.is_some_and(|until| *minute < until) => said,
                _ => calendar.decide(*minute),
            };
            known = Some((said, *minute));
            let expected = if *open { Open } else { Closed };
            prop_assert_eq!(said.state, expected, "at {} in {:?}", minute, plain);
        }
    }

    #[test]
    fn hostile_text_is_refused_or_read(text in "(\\[\\[calendar\\]\\]|name|=|\"|week|mon|-|:|[0-9]{1,4}|\\.\\.| |\n|\\[|\\]){0,60}") {
        let _ = CalendarFile::parse("c.toml", text.as_bytes());
    }
}
