//! The two clocks. The monotonic one decides; the wall clock labels, and says what day it is where it can be trusted.

use glassgate_policy::audit::{Now, WallQuality};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};
use std::path::Path;

/// What systemd-timesyncd touches when it has set the clock from a time server.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// Nanoseconds since boot, as events, matrices and stats pages have them: the same in all processes.
pub(crate) fn mono_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec.max(0) as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.max(0) as u64)
}

/// This moment on both clocks.
pub(crate) fn now() -> Now {
    let synchronized = Path::new(SYNCHRONIZED).exists();
    let quality = if synchronized { WallQuality::Synchronized } else { WallQuality::Unsynchronized };
    Now { mono_ns: mono_ns(), wall: Some(Timestamp::now()), quality }
}

/// The day in UTC, where the clock can be trusted.
pub(crate) fn today(now: &Now) -> Option<Date> {
    now.trusted_wall().map(|wall| wall.to_zoned(TimeZone::UTC).date())
}

/// The day that the clock shows, trusted or not: for what a person sees at once.
pub(crate) fn shown_day() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// The wall clock, for people.
pub(crate) fn wall_text() -> String {
    shown(Timestamp::now())
}

/// What the wall clock shows at a moment, for people; a dash where there is none.
pub(crate) fn wall_text_at(now: &Now) -> String {
    now.wall.map_or_else(|| "–".to_owned(), shown)
}

/// A moment, for people.
pub(crate) fn shown(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

/// The hour in which something was, by the monotonic clock.
pub(crate) fn wall_hour(mono_ns: u64, now: &Now) -> String {
    let Some(wall) = now.wall else { return String::new() };
    let at = wall.as_nanosecond() - i128::from(now.mono_ns.saturating_sub(mono_ns));
    let hour = at - at.rem_euclid(3_600_000_000_000);
    Timestamp::from_nanosecond(hour).map(|at| at.to_string()).unwrap_or_default()
}

/// The hour of a moment, without its minute; a dash for none.
pub(crate) fn hour(at: Option<&str>) -> String {
    minute(at).split_once(':').map_or_else(|| "–".to_owned(), |(hour, _)| format!("{hour} h"))
}

/// A moment of RFC 3339 to the minute, in UTC; a dash for none.
pub(crate) fn minute(at: Option<&str>) -> String {
    let shown = at.and_then(|at| Some(format!("{} {}", at.get(..10)?, at.get(11..16)?)));
    shown.unwrap_or_else(|| "–".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_for_people() {
        let at = Some("2026-11-21T14:05:33Z");
        assert_eq!((minute(at).as_str(), hour(at).as_str()), ("2026-11-21 14:05", "2026-11-21 14 h"));
        assert_eq!((minute(None).as_str(), hour(Some("soon")).as_str()), ("–", "–"));
        let now = Now {
            mono_ns: 9_000_000_000,
            wall: at.and_then(|at| at.parse().ok()),
            quality: WallQuality::Unknown,
        };
        assert_eq!(wall_hour(now.mono_ns, &now), "2026-11-21T14:00:00Z");
        assert_eq!(wall_text_at(&now), "2026-11-21T14:05:33Z");
    }
}
