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
use serde::Serialize;
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

/// A record as it waits: everything of its line but the beginning. `None` if `body` is no JSON object by its ends, or if
/// the line would be too long.
pub(crate) fn stamped(stamp: &Stamp, body: &[u8]) -> Option<Vec<u8>> {
    let members = body.strip_prefix(b"{")?.strip_suffix(b"}")?;
    let mut rest = Vec::with_capacity(members.len() + 112);
    rest.extend_from_slice(format!("\"mono_ns\":{},\"wall\":", stamp.mono_ns).as_bytes());
    match stamp.wall {
        Some(wall) => rest.extend_from_slice(format!("\"{wall}\"").as_bytes()),
        None => rest.extend_from_slice(b"null"),
    }
    rest.extend_from_slice(format!(",\"wall_quality\":\"{}\"", stamp.quality).as_bytes());
    if !members.is_empty() {
        rest.push(b',');
        rest.extend_from_slice(members);
    }
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
        #[serde(skip_serializing_if = "is_zero")]
        records: u64,
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
    LogFull { error: &'a str },
    /// Entries from `from_seq` to `to_seq` are deleted to keep within the quota; their hashes above stay.
    Removed { from_seq: u64, to_seq: u64, bytes: u64 },
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

impl<'a> Own<'a> {
    /// A gap that has no number.
    pub(crate) fn gap(cause: Cause, error: Option<&'a str>) -> Self {
        let error = error.map(Cow::Borrowed);
        Self::Gap { cause, records: 0, bytes: 0, from_mono_ns: None, to_mono_ns: None, error }
    }

    pub(crate) fn stamped(&self, stamp: &Stamp) -> Vec<u8> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        stamped(stamp, &body).unwrap_or_default()
    }
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
        let rest = stamped(&Stamp { wall: None, quality: "unknown", ..stamp }, b"{}").unwrap();
        let said: serde_json::Value = serde_json::from_slice(&line("ab", 3, &rest)).unwrap();
        assert!(said["wall"].is_null());
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let stamp = Stamp { mono_ns: u64::MAX, wall: None, quality: "unknown" };
        for bad in [&b"[]"[..], b"{", b"}", b"", b"{\"a\":\n1}"] {
            assert_eq!(stamped(&stamp, bad), None);
        }
        let long = |n: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(n)).into_bytes();
        assert_eq!(stamped(&stamp, &long(MAX_LEAF)), None);
        let rest = stamped(&stamp, &long(MAX_LEAF - 200)).unwrap();
        assert!(line(&"f".repeat(32), u64::MAX, &rest).len() <= MAX_LEAF);
    }
}
