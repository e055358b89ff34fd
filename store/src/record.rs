//! What of a log's entry is taken.
//!
//! | `event_type` | taken |
//! |---|---|
//! | `rollup`, `group_rollup`, `uploads` | what is counted, of what, in which hour or day; and where the record is |
//! | `blindness` | what could be seen in an hour and what not; and where the record is |
//! | the other kinds of [`KINDS`] | when, and where the record is |
//! | `session`, and whatever has a `sealed` member | that there was one, by purpose and day of the record |
//! | anything else | that there was something, as `other` |
//!
//! A kind that is not known here may be about somebody. So it is not shown, until somebody has put it on the list.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Kinds of records that are about nobody and may be shown as they are.
pub const KINDS: [&str; 33] = [
    "started",
    "stopped",
    "policy",
    "charter",
    "bypass",
    "uninspected",
    "alert",
    "receipts",
    "sealed_key",
    "case_opened",
    "case_approved",
    "case_refused",
    "case_shown",
    "case_closed",
    "case_expired",
    "case_told",
    "case_denied",
    "login",
    "login_failed",
    "logout",
    "access_denied",
    "account",
    "accounts",
    "list_accepted",
    "config_changed",
    "rollup",
    "group_rollup",
    "uploads",
    "blindness",
    "gap",
    "log_full",
    "removed",
    "clock_step",
];

/// Whether records of this kind may be shown. Members named `sealed`, `pseudonym` and `subject` may not, whatever the kind; and of cases
/// not what they are about.
pub fn is_shown(kind: &str) -> bool {
    KINDS.contains(&kind)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 40 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Measures of a count, in this order.
pub(crate) type Measures = [i64; 13];
/// How many people at least stand behind it.
pub(crate) const PEOPLE: usize = 0;
/// How many must.
pub(crate) const K: usize = 1;
pub(crate) const FLOWS: usize = 2;
pub(crate) const BLOCKED: usize = 3;
pub(crate) const UP: usize = 4;
pub(crate) const DOWN: usize = 5;
pub(crate) const VISITS: usize = 6;
pub(crate) const ACTIVE_S: usize = 7;
pub(crate) const UPLOADS: usize = 8;
pub(crate) const UPLOAD_BYTES: usize = 9;
pub(crate) const LARGE: usize = 10;
pub(crate) const LARGE_BYTES: usize = 11;
/// Which of them are there: a set of [`HAS_USE`], [`HAS_UPLOADS`], [`HAS_LARGE`].
pub(crate) const HAS: usize = 12;
pub(crate) const HAS_USE: i64 = 1;
pub(crate) const HAS_UPLOADS: i64 = 2;
pub(crate) const HAS_LARGE: i64 = 4;

/// The greatest number that is kept of anything: sums of a million of them still fit.
const MOST: u64 = 1 << 43;

/// What is taken of an entry.
#[derive(Debug, PartialEq)]
pub(crate) struct Taken<'a> {
    pub(crate) kind: Cow<'a, str>,
    /// When it was written, milliseconds since 1970; 0 if nobody knew.
    pub(crate) wall_ms: i64,
    /// Whether somebody who runs the gateway did it.
    pub(crate) act: bool,
    pub(crate) what: What<'a>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum What<'a> {
    /// Nothing but that it is there.
    Record,
    /// One of a session, with its purpose.
    Session(Cow<'a, str>),
    /// Counts of an hour or day that begins then, seconds since 1970.
    Count { start: Option<i64>, of: Of<'a>, measures: Measures },
    /// What could be seen in the hour that begins then.
    Sight { start: Option<i64>, words: Vec<(Sort, Cow<'a, str>, i64)> },
}

/// What counts are about.
#[derive(Debug, PartialEq)]
pub(crate) struct Of<'a> {
    pub(crate) groups: bool,
    pub(crate) rest_of_day: bool,
    pub(crate) group: Option<Cow<'a, str>>,
    pub(crate) category: Option<Cow<'a, str>>,
    pub(crate) service: Option<Cow<'a, str>>,
    pub(crate) rest: bool,
}

/// Which numbers of a `blindness` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Sort {
    /// Flows: `flows`, `not_looked_at`, `too_weak`, and `hours` that tell shares.
    Flows = 0,
    /// Flows with a name, by how it is known.
    Named = 1,
    /// Flows without, by reason.
    Unnamed = 2,
    /// Of what is told of groups: per cent with a name.
    ToldNamed = 3,
    /// Of what is told of groups: per cent without.
    ToldUnnamed = 4,
}

impl Sort {
    pub(crate) const ALL: [Self; 5] =
        [Self::Flows, Self::Named, Self::Unnamed, Self::ToldNamed, Self::ToldUnnamed];

    pub(crate) fn from_number(n: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| *sort as i64 == n)
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    wall: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(default)]
    sealed: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Key<'a> {
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause<'a> {
    #[serde(borrow)]
    cause: Option<Cow<'a, str>>,
    #[serde(borrow)]
    change: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Volume {
    bytes_toserver: u64,
    bytes_toclient: u64,
}

#[derive(Deserialize)]
struct RawCount<'a> {
    #[serde(borrow, default)]
    start: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    span: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    group: Option<Group<'a>>,
    #[serde(borrow, default)]
    category: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    service: Option<Cow<'a, str>>,
    #[serde(default)]
    rest: bool,
    #[serde(borrow, default)]
    subjects: Option<Cow<'a, str>>,
    #[serde(default)]
    k: u64,
    #[serde(default)]
    flows: u64,
    #[serde(default)]
    flows_blocked: u64,
    #[serde(default)]
    blocked_percent: u64,
    #[serde(default)]
    flow: Volume,
    #[serde(default)]
    visits: u64,
    #[serde(default)]
    active_s: u64,
    #[serde(borrow, default)]
    measure: Option<Cow<'a, str>>,
    #[serde(default)]
    uploads: u64,
    #[serde(default)]
    bytes: u64,
}

/// A group has a name; everybody together has the number 0.
#[derive(Deserialize)]
#[serde(untagged)]
enum Group<'a> {
    Number(u64),
    Name(#[serde(borrow)] Cow<'a, str>),
}

type Counts<'a> = BTreeMap<Cow<'a, str>, u64>;

#[derive(Deserialize)]
struct RawSight<'a> {
    #[serde(borrow, default)]
    start: Option<Cow<'a, str>>,
    #[serde(default)]
    flows: u64,
    #[serde(default)]
    not_looked_at: u64,
    #[serde(default)]
    too_weak: u64,
    #[serde(borrow, default)]
    evidence: Counts<'a>,
    #[serde(borrow, default)]
    reasons: Counts<'a>,
    #[serde(borrow, default)]
    told: Option<RawTold<'a>>,
}

#[derive(Deserialize)]
struct RawTold<'a> {
    #[serde(borrow, default)]
    evidence_percent: Counts<'a>,
    #[serde(borrow, default)]
    reasons_percent: Counts<'a>,
}

/// Reads an entry. One that is nothing we know is `other`.
pub(crate) fn take(line: &[u8]) -> Taken<'_> {
    let other = |wall_ms| Taken { kind: "other".into(), wall_ms, act: false, what: What::Record };
    let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else { return other(0) };
    let wall_ms = head.wall.and_then(|text| text.parse::<Timestamp>().ok()).map_or(0, |t| t.as_millisecond());
    // What was before 1970 was written by a clock that was never set.
    let wall_ms = wall_ms.max(0);
    let kind = head.event_type;
    if kind == "session" || head.sealed.is_some() {
        // "2027-03-01.leak.1": the day, the purpose, which one of that day.
        let key = serde_json::from_slice::<Key<'_>>(line).ok().and_then(|p| p.key).unwrap_or_default();
        let purpose = key.split('.').nth(1).filter(|purpose| is_word(purpose)).unwrap_or("other");
        let what = What::Session(purpose.to_owned().into());
        return Taken { kind: "session".into(), wall_ms, act: false, what };
    }
    if !is_shown(&kind) {
        return other(wall_ms);
    }
    let act = kind == "bypass"
        || kind == "account"
        || kind == "list_accepted"
        || kind == "config_changed"
        || kind.starts_with("case_")
        || is_change_by_somebody(&kind, line);
    let what = match &*kind {
        "rollup" | "group_rollup" | "uploads" => count(&kind, line),
        "blindness" => sight(line),
        _ => Some(What::Record),
    };
    Taken { kind, wall_ms, act, what: what.unwrap_or(What::Record) }
}

/// A charter changes by itself as well, and keys are made and destroyed.
fn is_change_by_somebody(kind: &str, line: &[u8]) -> bool {
    let cause = || serde_json::from_slice::<Cause<'_>>(line).unwrap_or_default();
    match kind {
        "charter" => cause().cause.as_deref() == Some("installed"),
        "sealed_key" => cause().change.as_deref() == Some("clock_confirmed"),
        _ => false,
    }
}

fn start(text: Option<&Cow<'_, str>>) -> Option<i64> {
    text?.parse::<Timestamp>().ok().map(Timestamp::as_second).filter(|s| *s >= 0)
}

fn count<'a>(kind: &str, line: &'a [u8]) -> Option<What<'a>> {
    let raw: RawCount<'a> = serde_json::from_slice(line).ok()?;
    let kept = |n: u64| n.min(MOST) as i64;
    let mut measures = Measures::default();
    let set: &mut [(usize, i64)] = &mut match kind {
        "uploads" if raw.measure.as_deref() == Some("large_uploads") => {
            vec![(LARGE, kept(raw.uploads)), (LARGE_BYTES, kept(raw.bytes)), (HAS, HAS_LARGE)]
        }
        "uploads" => vec![(UPLOADS, kept(raw.uploads)), (UPLOAD_BYTES, kept(raw.bytes)), (HAS, HAS_UPLOADS)],
        _ => {
            // Of groups only a share is told.
            let share = raw.flows.min(MOST) * raw.blocked_percent.min(100) / 100;
            vec![
                (FLOWS, kept(raw.flows)),
                (BLOCKED, kept(raw.flows_blocked.max(share))),
                (UP, kept(raw.flow.bytes_toserver)),
                (DOWN, kept(raw.flow.bytes_toclient)),
                (VISITS, kept(raw.visits)),
                (ACTIVE_S, kept(raw.active_s)),
                (HAS, HAS_USE),
            ]
        }
    };
    set.iter().for_each(|(at, n)| {
        if let Some(measure) = measures.get_mut(*at) {
            *measure = *n;
        }
    });
    // "10-19", "1000 or more": the range that begins there.
    let digits = raw.subjects.as_deref().unwrap_or_default();
    let digits = digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let [people, k, ..] = &mut measures;
    (*people, *k) = (kept(digits.parse().unwrap_or_default()), kept(raw.k));
    let group = raw.group.and_then(|group| match group {
        Group::Name(name) => Some(name),
        Group::Number(0) => None,
        Group::Number(n) => Some(n.to_string().into()),
    });
    let of = Of {
        groups: kind != "rollup",
        rest_of_day: raw.span.as_deref() == Some("rest_of_day"),
        group,
        category: raw.category,
        service: raw.service,
        rest: raw.rest,
    };
    Some(What::Count { start: start(raw.start.as_ref()), of, measures })
}

fn sight(line: &[u8]) -> Option<What<'_>> {
    let raw: RawSight<'_> = serde_json::from_slice(line).ok()?;
    let kept = |n: u64| n.min(MOST) as i64;
    let mut words: Vec<(Sort, Cow<'_, str>, i64)> = [
        ("flows", raw.flows),
        ("not_looked_at", raw.not_looked_at),
        ("too_weak", raw.too_weak),
        ("hours", u64::from(raw.told.is_some())),
    ]
    .map(|(word, n)| (Sort::Flows, word.into(), kept(n)))
    .into();
    let told =
        raw.told.unwrap_or(RawTold { evidence_percent: Counts::new(), reasons_percent: Counts::new() });
    for (sort, counts) in [
        (Sort::Named, raw.evidence),
        (Sort::Unnamed, raw.reasons),
        (Sort::ToldNamed, told.evidence_percent),
        (Sort::ToldUnnamed, told.reasons_percent),
    ] {
        // A record has a few dozen words at most; more of them are none of ours.
        words.extend(counts.into_iter().take(64).map(|(word, n)| (sort, word, kept(n))));
    }
    words.retain(|(_, _, n)| *n > 0);
    Some(What::Sight { start: start(raw.start.as_ref()), words })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_session_nothing_is_taken_but_purpose_and_day() {
        let line = br#"{"boot_id":"ab","seq":3,"mono_ns":7,"wall":"2027-01-11T09:00:00Z","wall_quality":"synchronized","event_type":"session","key":"2027-01-11.leak.2","pseudonym":"x1","sealed":"AAAA"}"#;
        let taken = take(line);
        assert_eq!(taken.what, What::Session("leak".into()));
        // Whatever it is called: what has a sealed part is about somebody.
        let line = br#"{"seq":3,"wall":null,"event_type":"bypass","key":"1.a name, perhaps.2","sealed":{}}"#;
        assert_eq!(take(line).what, What::Session("other".into()));
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        for line in [
            &br#"{"seq":1,"event_type":"person","name":"x"}"#[..],
            br#"{"seq":1,"event_type":"case_"}"#,
            br#"{"seq":1,"event_type":"case_<b>"}"#,
            br#"{"seq":1}"#,
            b"nothing",
            b"",
        ] {
            assert_eq!((&*take(line).kind, take(line).act), ("other", false));
        }
        assert!(take(br#"{"event_type":"case_opened","wall":null}"#).act);
        assert!(take(br#"{"event_type":"charter","cause":"installed"}"#).act);
        assert!(!take(br#"{"event_type":"charter","cause":"changed"}"#).act);
        assert!(!take(br#"{"event_type":"sealed_key","change":"made","key":"k"}"#).act);
        assert!(take(br#"{"event_type":"sealed_key","change":"clock_confirmed","uid":0}"#).act);
    }

    #[test]
    fn counts_are_read_as_they_are_written() {
        let line = br#"{"seq":1,"wall":"1970-01-01T00:00:02Z","event_type":"group_rollup","level":"aggregate","start":"2027-01-11T09:00:00Z","end":"2027-01-11T10:00:00Z","span":"rest_of_day","group":"sales","category":"recruitment","rest":true,"subjects":"1000 or more","k":10,"flows":200,"flow":{"bytes_toserver":21,"bytes_toclient":61,"pkts_toserver":1},"visits":23,"active_s":44,"blocked_percent":5,"evidence_percent":{"sni":88}}"#;
        let taken = take(line);
        assert_eq!(taken.wall_ms, 2000);
        let What::Count { start, of, measures } = taken.what else { panic!("{taken:?}") };
        assert_eq!(start, Some(1_799_658_000));
        assert!(of.groups && of.rest_of_day && of.rest && of.service.is_none());
        assert_eq!(measures, [1000, 10, 200, 10, 21, 61, 23, 44, 0, 0, 0, 0, HAS_USE]);
        let line = br#"{"event_type":"uploads","measure":"large_uploads","group":"a","subjects":"12-19","k":12,"uploads":3,"bytes":18446744073709551615}"#;
        let What::Count { start: None, measures, .. } = take(line).what else { panic!() };
        assert_eq!(measures, [12, 12, 0, 0, 0, 0, 0, 0, 0, 0, 3, MOST as i64, HAS_LARGE]);
    }
}
