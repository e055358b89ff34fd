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
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}
