//! Leaves: one JSON object each, and those that the log writes about itself.
//!
//! ```text
//! {"boot_id":"3f1c…","seq":17,"mono_ns":…,"wall":"…","wall_quality":"…","event_type":"…",…}
//! ```
//!
//! `seq` is the leaf's place in the tree, over all boots: a number that is missing or stands twice shows at once. Which
//! number a record gets is known only when it is written; so the caller gives the rest of the object, and the writer puts
//! boot and number in front. What stands in the rest (a `sealed` member, for one) is opaque here.

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Longest leaf in bytes. Bundles could hold 65 535.
pub const MAX_LEAF: usize = 32 << 10;

/// A moment. The monotonic clock decides, the wall clock only labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds of the monotonic clock of this boot.
    pub mono_ns: u64,
    /// The wall clock, if there is one.
    pub wall: Option<Timestamp>,
    /// How far it can be believed, in one word.
    pub quality: &'static str,
}

/// What a record may not have of its own, and what every reader relies on. One record that no reader understands would spoil the
/// whole log: it can't be taken out again.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    boot_id: Option<IgnoredAny>,
    seq: Option<IgnoredAny>,
    mono_ns: Option<IgnoredAny>,
    wall: Option<IgnoredAny>,
    wall_quality: Option<IgnoredAny>,
    #[serde(rename = "to_seq")]
    _to_seq: Option<u64>,
}

impl Body<'_> {
    fn is_good(&self) -> bool {
        let Self { boot_id, seq, mono_ns, wall, wall_quality, .. } = self;
        !self.event_type.is_empty()
            && [boot_id, seq, mono_ns, wall, wall_quality].iter().all(|member| member.is_none())
    }
}

/// A record as it waits: everything of its line but the beginning. `None` if `body` is no JSON object in one line, has no
/// `event_type` or a member that the log gives, or if the line would be too long.
pub(crate) fn stamped(stamp: &Stamp, body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    if body.len() > MAX_LEAF || !serde_json::from_str::<Body<'_>>(text).is_ok_and(|body| body.is_good()) {
        return None;
    }
    let members = body.strip_prefix(b"{")?.strip_suffix(b"}")?;
    let mut rest = Vec::with_capacity(members.len() + 112);
    rest.extend_from_slice(format!("\"mono_ns\":{},\"wall\":", stamp.mono_ns).as_bytes());
    match stamp.wall {
        Some(wall) => rest.extend_from_slice(format!("\"{wall}\"").as_bytes()),
        None => rest.extend_from_slice(b"null"),
    }
    rest.extend_from_slice(format!(",\"wall_quality\":\"{}\"", stamp.quality).as_bytes());
    rest.push(b',');
    rest.extend_from_slice(members);
    rest.push(b'}');
    // A line end within would make two lines of one; JSON never needs one.
    let fits = rest.len() + PREFIX_MAX <= MAX_LEAF && !rest.contains(&b'\n');
    fits.then_some(rest)
}

/// The beginning of a line is never longer.
const PREFIX_MAX: usize = 96;

/// The whole line.
pub(crate) fn line(boot: &str, seq: u64, rest: &[u8]) -> Vec<u8> {
    let mut line = format!("{{\"boot_id\":\"{boot}\",\"seq\":{seq},").into_bytes();
    line.extend_from_slice(rest);
    line
}

/// What the log says of itself.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event_type", rename_all = "snake_case")]
pub(crate) enum Own<'a> {
    /// Something was lost, and how much; or might have been.
    Gap {
        cause: Cause,
        /// How many: exactly, 0 where nothing is missing. Not there if nobody knows, and then `count` says so.
        #[serde(skip_serializing_if = "Option::is_none")]
        records: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<&'static str>,
        #[serde(skip_serializing_if = "is_zero")]
        bytes: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        from_mono_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        to_mono_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Cow<'a, str>>,
    },
    /// From here on nothing is taken but acts of people, until a `gap` says what is missing.
    LogFull { error: Cow<'a, str> },
    /// Entries from `from_seq` to `to_seq` are deleted to keep within the quota; their hashes above stay.
    Removed { from_seq: u64, to_seq: u64, bytes: u64 },
    /// The wall clock was stepped by `step_ms` against the monotonic one; in so many `steps`, if they could not be told one by one.
    ClockStep {
        step_ms: i64,
        #[serde(skip_serializing_if = "is_one")]
        steps: u64,
    },
}

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The end of what the last run wrote was no whole group.
    TornTail,
    /// The last run did not end in order: what it had not made durable is missing.
    UncleanEnd,
    /// Writing failed; what was to be written went to a new segment.
    WriteFailed,
    /// Nothing could be written for so long that records had to be given up.
    LogFull,
    /// Records came faster than they could be written.
    QueueFull,
    /// Records that were no JSON object in one line, or longer than a leaf may be.
    BadRecord,
    /// The log before this one could not be gone on with, and was set aside.
    LogDamaged,
}

/// Longest text of an error in a record.
const MAX_ERROR: usize = 1024;

impl<'a> Own<'a> {
    /// A gap without bytes and times. `records` is `None` if nobody knows how many.
    pub(crate) fn gap(cause: Cause, records: Option<u64>, error: Option<&'a str>) -> Self {
        let error = error.map(|error| Cow::Borrowed(cut(error)));
        let count = if records.is_none() { Some("unknown") } else { None };
        Self::Gap { cause, records, count, bytes: 0, from_mono_ns: None, to_mono_ns: None, error }
    }

    /// Bytes of a group that is not whole, and how many records it claims to have had.
    pub(crate) fn torn(records: u64, bytes: u64) -> Self {
        let (cause, records, count) = (Cause::TornTail, Some(records), None);
        Self::Gap { cause, records, count, bytes, from_mono_ns: None, to_mono_ns: None, error: None }
    }

    /// To be kept.
    pub(crate) fn owned(self) -> Own<'static> {
        match self {
            Own::Gap { cause, records, count, bytes, from_mono_ns, to_mono_ns, error } => {
                let error = error.map(|error| Cow::Owned(error.into_owned()));
                Own::Gap { cause, records, count, bytes, from_mono_ns, to_mono_ns, error }
            }
            Own::LogFull { error } => Own::LogFull { error: Cow::Owned(error.into_owned()) },
            Own::Removed { from_seq, to_seq, bytes } => Own::Removed { from_seq, to_seq, bytes },
            Own::ClockStep { step_ms, steps } => Own::ClockStep { step_ms, steps },
        }
    }

    pub(crate) fn log_full(error: &'a str) -> Self {
        Self::LogFull { error: Cow::Borrowed(cut(error)) }
    }

    pub(crate) fn stamped(&self, stamp: &Stamp) -> Vec<u8> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        stamped(stamp, &body).unwrap_or_default()
    }
}

fn cut(error: &str) -> &str {
    let mut end = error.len().min(MAX_ERROR);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error.get(..end).unwrap_or_default()
}

const fn is_one(n: &u64) -> bool {
    *n == 1
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_number_and_time_in_front() {
        let wall = "2026-11-21T20:00:00.5Z".parse().unwrap();
        let stamp = Stamp { mono_ns: 7, wall: Some(wall), quality: "synchronized" };
        let rest = stamped(&stamp, br#"{"event_type":"started","version":"1"}"#).unwrap();
        let said = String::from_utf8(line("ab", 3, &rest)).unwrap();
        assert_eq!(
            said,
            r#"{"boot_id":"ab","seq":3,"mono_ns":7,"wall":"2026-11-21T20:00:00.5Z","wall_quality":"synchronized","event_type":"started","version":"1"}"#
        );
        let rest =
            stamped(&Stamp { wall: None, quality: "unknown", ..stamp }, br#"{"event_type":"a"}"#).unwrap();
        let said: serde_json::Value = serde_json::from_slice(&line("ab", 3, &rest)).unwrap();
        assert!(said["wall"].is_null());
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let stamp = Stamp { mono_ns: u64::MAX, wall: None, quality: "unknown" };
        let good = br#"{"event_type":"a","b":{"seq":1},"c":[{}]}"#;
        assert!(stamped(&stamp, good).is_some());
        for bad in [
            &b"[]"[..],
            b"{",
            b"}",
            b"",
            b"{}",
            b"{\"event_type\":\n\"a\"}",
            br#"{"event_type":""}"#,
            br#"{"event_type":7}"#,
            br#"{"event_type":"a"},{"b":2}"#,
            br#"{"event_type":"a",}"#,
            br#"{"event_type":"a","event_type":"b"}"#,
            br#"{"event_type":"a","seq":7}"#,
            br#"{"event_type":"a","\u0073eq":7}"#,
            br#"{"event_type":"a","wall":"2026-11-21T20:00:00Z"}"#,
            br#"{"event_type":"a","boot_id":"0"}"#,
            br#"{"event_type":"a","to_seq":"7"}"#,
            b"{\"event_type\":\"\xff\"}",
        ] {
            assert_eq!(stamped(&stamp, bad), None, "{}", String::from_utf8_lossy(bad));
        }
        let long = |n: usize| format!("{{\"event_type\":\"{}\"}}", "x".repeat(n)).into_bytes();
        assert_eq!(stamped(&stamp, &long(MAX_LEAF)), None);
        let rest = stamped(&stamp, &long(MAX_LEAF - 200)).unwrap();
        assert!(line(&"f".repeat(32), u64::MAX, &rest).len() <= MAX_LEAF);
    }

    #[test]
    fn an_error_of_any_length_makes_a_record() {
        let stamp = Stamp { mono_ns: 1, wall: None, quality: "unknown" };
        let error = "ß\"\n\u{1}".repeat(20_000);
        for own in [Own::gap(Cause::WriteFailed, Some(0), Some(&error)), Own::log_full(&error)] {
            let said: serde_json::Value =
                serde_json::from_slice(&line("ab", 3, &own.stamped(&stamp))).unwrap();
            assert!(said["error"].as_str().unwrap().len() > 1000);
        }
    }
}
