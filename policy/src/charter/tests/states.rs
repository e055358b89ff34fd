//! One row per state of the charter, kind of device, hour and category.

use super::*;

use ObservationLevel::{Aggregate as A, None as N, Sealed as S};

/// Where in the week of 2027-03-01, a Monday; local time is eight hours ahead.
const OPEN: &str = "2027-03-01T02:00:00Z";
const LUNCHLESS_END: &str = "2027-03-01T10:00:00Z";
const NIGHT: &str = "2027-03-01T15:00:00Z";
const SUNDAY: &str = "2027-03-07T02:00:00Z";

/// Kinds of device: their group in the matrix.
const PRIVATE: u16 = 0;
const SALES: u16 = 1;
const SMALL: u16 = 2;
const EXEMPT: u16 = 3;
const NOT_NAMED: u16 = 4;
const UNKNOWN_GROUP: u16 = 99;

/// Of a category each: recruitment (counts), cloud storage (sealed), malware (sealed, at any hour), games (no purpose),
/// a protected one.
const CATEGORIES: [Category; 5] = [
    Category::Recruitment,
    Category::CloudStorage,
    Category::Malware,
    Category::Games,
    Category::ProtectedHealth,
];

type Row = (&'static str, Standing, u16, &'static str, [ObservationLevel; 5]);

const NOTHING: [ObservationLevel; 5] = [N; 5];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // state, standing, group, instant, levels
    ("good",       Standing::InForce, SALES,     OPEN,          [A, S, S, N, N]),
    ("good",       Standing::InForce, SALES,     "2027-03-01T00:59:59Z", [N, N, S, N, N]),
    ("good",       Standing::InForce, SALES,     "2027-03-01T01:00:00Z", [A, S, S, N, N]),
    ("good",       Standing::InForce, SALES,     "2027-03-01T09:59:59Z", [A, S, S, N, N]),
    ("good",       Standing::InForce, SALES,     LUNCHLESS_END, [N, N, S, N, N]),
    ("good",       Standing::InForce, SALES,     NIGHT,         [N, N, S, N, N]),
    ("good",       Standing::InForce, SALES,     SUNDAY,        [N, N, S, N, N]),
    ("good",       Standing::InForce, SMALL,     OPEN,          [N, S, S, N, N]),
    ("good",       Standing::InForce, SMALL,     NIGHT,         [N, N, S, N, N]),
    ("good",       Standing::InForce, PRIVATE,   OPEN,          NOTHING),
    ("good",       Standing::InForce, PRIVATE,   NIGHT,         NOTHING),
    ("good",       Standing::InForce, EXEMPT,    OPEN,          NOTHING),
    ("good",       Standing::InForce, NOT_NAMED, OPEN,          NOTHING),
    ("good",       Standing::InForce, UNKNOWN_GROUP, OPEN,      NOTHING),
    // The last second, and the first after it (2028-01-01 in Shanghai).
    ("good",       Standing::InForce, SALES,     "2027-12-31T09:59:59Z", [A, S, S, N, N]),
    ("good",       Standing::InForce, SALES,     "2027-12-31T15:59:59Z", [N, N, S, N, N]),
    ("good",       Standing::Expired, SALES,     "2027-12-31T16:00:00Z", NOTHING),
    ("good",       Standing::Expired, SALES,     "2030-03-01T02:00:00Z", NOTHING),
    // Issued on the 4th, notice given on the 11th.
    ("good",       Standing::NotYet,  SALES,     "2027-01-03T15:59:59Z", NOTHING),
    ("good",       Standing::InForce, SALES,     "2027-01-04T02:00:00Z", NOTHING),
    ("good",       Standing::InForce, SALES,     "2027-01-11T02:00:00Z", [A, S, S, N, N]),
    ("no notice",  Standing::InForce, SALES,     OPEN,          NOTHING),
    ("revoked",    Standing::Revoked, SALES,     OPEN,          NOTHING),
    ("ended",      Standing::InForce, SALES,     OPEN,          [N, S, S, N, N]),
    ("ended",      Standing::InForce, SALES,     "2027-02-26T02:00:00Z", [A, S, S, N, N]),
    ("short",      Standing::InForce, SALES,     OPEN,          [N, N, S, N, N]),
    ("no clock",   Standing::ClockNotTrusted, SALES, OPEN,      NOTHING),
    ("not valid",  Standing::NotValid, SALES,    OPEN,          NOTHING),
    ("nothing",    Standing::Absent,  SALES,     OPEN,          NOTHING),
    ("nothing",    Standing::Absent,  PRIVATE,   OPEN,          NOTHING),
    ("counts",     Standing::Absent,  SALES,     OPEN,          [A, A, A, A, N]),
    ("counts",     Standing::Absent,  PRIVATE,   NIGHT,         [A, A, A, A, N]),
];

fn at_state(state: &str, at: Timestamp) -> Observation {
    let nothing = Levels::nothing(5, Unobserved::NoCharter);
    let counts = Levels::counts(5);
    let without = if state == "counts" { &counts } else { &nothing };
    in_state(state, at, |installed, at| super::observe(installed, at, &groups(), without))
}

/// Asks about a charter in this state.
fn in_state<T>(state: &str, at: Timestamp, observe: impl Fn(Installed<'_>, Option<Timestamp>) -> T) -> T {
    let text = usual();
    let of = |text: &str, at| observe(Installed::Charter(&charter(text)), at);
    match state {
        "good" => of(&text, Some(at)),
        "no notice" => of(&text.replace("given = 2027-01-11\n", ""), Some(at)),
        "ended" => of(
            &text.replacen("retention_days = 90", "retention_days = 90\nexpires = 2027-02-28", 1),
            Some(at),
        ),
        "short" => of(&text.replace("2027-01-01..2027-12-31", "2027-01-01..2027-02-28"), Some(at)),
        "revoked" => {
            let all = signed_by(&text, &[&KEYS[0], &KEYS[1]]);
            let all = Signatures::with(Some(&all), &KEYS[0].sign(Statement::Revoke, text.as_bytes()));
            observe(Installed::Charter(&verify(&text, &all).unwrap()), Some(at))
        }
        "no clock" => of(&text, None),
        "not valid" => observe(Installed::NotValid, Some(at)),
        "nothing" | "counts" => observe(Installed::Nothing, Some(at)),
        other => panic!("{other}"),
    }
}

#[test]
fn every_row_holds() {
    for (i, (state, standing, group, at, levels)) in ROWS.iter().enumerate() {
        let observation = at_state(state, at.parse().unwrap());
        assert_eq!(observation.standing, *standing, "row {i}: {state} at {at}");
        for (category, level) in CATEGORIES.iter().zip(levels) {
            let found = observation.levels.level(GroupId(*group), *category);
            assert_eq!(found, *level, "row {i}: {state}, group {group}, {category} at {at}");
        }
    }
}

/// The gates that are shown let through what is allowed, in every row; the first that stops something is the one to name.
#[test]
fn gates_say_why() {
    let mut stopped_by = std::collections::BTreeMap::new();
    let all = ROWS.iter().map(|(state, _, group, at, _)| (*state, *group, *at));
    let more = [("good", SALES, "2028-06-01T00:00:00Z"), ("short", SALES, "2027-12-01T02:00:00Z")];
    for (state, group, at) in all.chain(more) {
        if group == UNKNOWN_GROUP {
            continue;
        }
        let (at, groups) = (at.parse().unwrap(), groups());
        let levels = at_state(state, at).levels;
        let known = usize::from(group).checked_sub(1).map(|i| &groups[i]);
        for category in Category::ALL {
            let without = if state == "counts" { without_charter(*category) } else { ObservationLevel::None };
            let gates =
                in_state(state, at, |installed, at| why::gates(installed, at, known, *category, without));
            let least = gates.iter().map(|gate| gate.lets).min().unwrap();
            assert_eq!(
                least,
                levels.level(GroupId(group), *category),
                "{state} {group} {category} {at}: {gates:?}"
            );
            assert!(gates.iter().all(|gate| gate.why.len() > 8), "{gates:?}");
            if let Some(gate) = gates.iter().find(|gate| gate.lets == ObservationLevel::None) {
                let why = stopped_by.entry(gate.gate).or_insert_with(Vec::new);
                if !why.contains(&gate.why) {
                    why.push(gate.why.clone());
                }
            }
        }
    }
    let found: Vec<_> = stopped_by.keys().copied().collect();
    assert_eq!(
        found,
        ["calendar", "charter", "client", "expiry", "k", "notice", "purpose"],
        "{stopped_by:?}"
    );
    let has = |gate: &str, text: &str| stopped_by[gate].iter().any(|why| why.contains(text));
    assert!(has("charter", "was revoked by the director") && has("charter", "ended with 2027-12-31"));
    assert!(has("charter", "nobody knows what time it is") && has("charter", "begins with 2027-01-04"));
    assert!(has("client", "belongs to no group") && has("client", "`recruiters` is exempt"));
    assert!(
        has("calendar", "`office` is closed until 2027-03-02T01:00:00Z") && has("calendar", "does not reach")
    );
    assert!(has("notice", "not been given yet") && has("notice", "is given on 2027-01-11 only"));
    assert!(has("expiry", "ended with 2027-02-28") && has("k", "counts need 10 people, and"));
    assert!(has("purpose", "no purpose covers `games`") && has("purpose", "but not of group"));
}

/// What is said holds until it says, and not longer: checked by asking at every change, over two weeks and over the end.
#[test]
fn what_is_said_holds_until_it_says() {
    for (state, from, days) in [
        ("good", "2027-01-02T00:00:00Z", 14),
        ("good", "2027-12-25T00:00:00Z", 9),
        ("ended", "2027-02-24T00:00:00Z", 8),
    ] {
        let start: Timestamp = from.parse().unwrap();
        let mut said = at_state(state, start);
        let mut changes = 0;
        for minute in 1..days * 24 * 60 {
            let at = start + jiff::SignedDuration::from_mins(minute);
            if said.until.is_some_and(|until| at >= until) {
                let now = at_state(state, at);
                changes += usize::from(now.levels != said.levels);
                said = now;
            } else if minute % 97 == 0 {
                assert_eq!(at_state(state, at).levels, said.levels, "{state} at {at}");
            }
        }
        assert!(changes >= 4, "{state} from {from}: {changes} changes");
    }
}

#[test]
fn why_a_group_is_not_observed() {
    let why = |state: &str, group: u16, at: &str| {
        at_state(state, at.parse().unwrap()).levels.why_not(GroupId(group))
    };
    assert_eq!(why("good", SALES, NIGHT), Unobserved::OffHours);
    let short = at_state("short", OPEN.parse().unwrap());
    assert_eq!(short.levels.why_not(GroupId(SALES)), Unobserved::Undecided, "{:?}", short.purposes);
    // What is only worth a warning does not make a purpose disappear.
    let untold = at_state("no notice", OPEN.parse().unwrap()).purposes;
    assert!(
        untold.len() == 3 && untold.iter().all(|(_, s)| *s == PurposeStanding::NoticeNotGiven),
        "{untold:?}"
    );
    assert_eq!(why("good", SALES, OPEN), Unobserved::NotCovered);
    assert_eq!(why("good", PRIVATE, OPEN), Unobserved::PrivateDevice);
    assert_eq!(why("good", EXEMPT, OPEN), Unobserved::PrivateDevice);
    assert_eq!(why("good", NOT_NAMED, OPEN), Unobserved::NotCovered);
    assert_eq!(why("revoked", SALES, OPEN), Unobserved::NoCharter);
    assert_eq!(why("no clock", SALES, OPEN), Unobserved::Undecided);
}
