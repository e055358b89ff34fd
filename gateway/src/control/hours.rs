//! Which hour, day and week quotas count in.

use glassgate_policy::audit::Now;
use glassgate_policy::limit::{self, Windows};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// What the clock said while it could be trusted.
#[derive(Debug, Default)]
pub(super) struct Hours {
    /// The wall time at which the monotonic clock stood at zero, as it was when the clock was last trusted.
    began: Option<Timestamp>,
}

impl Hours {
    /// Which hour, day and week it is. While the clock can't be trusted, it goes on from when it last could: a quota must end, and
    /// must not begin anew because a time server is away. Until it was trusted for the first time, hours and days are those since the machine was
    /// started.
    pub(super) fn windows(&mut self, now: &Now, zone: &TimeZone) -> Windows {
        let passed = SignedDuration::from_nanos(i64::try_from(now.mono_ns).unwrap_or(i64::MAX));
        if let Some(wall) = now.trusted_wall() {
            self.began = wall.checked_sub(passed).ok();
        }
        let began = self.began.unwrap_or(Timestamp::UNIX_EPOCH);
        limit::windows_at(began.checked_add(passed).unwrap_or(began), zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassgate_policy::audit::WallQuality;

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn a_clock_that_is_lost_and_found_begins_no_quota_anew() {
        let mut hours = Hours::default();
        let mut at = |mono_h: u64, quality| {
            let wall: Timestamp = "2027-03-01T08:10:00Z".parse().unwrap();
            let wall = wall + SignedDuration::from_hours(mono_h as i64);
            hours.windows(&Now { mono_ns: mono_h * HOUR, wall: Some(wall), quality }, &TimeZone::UTC)
        };
        use WallQuality::{Synchronized, Unsynchronized};
        let before = at(1, Unsynchronized);
        assert_eq!(at(2, Unsynchronized)[0], before[0] + 1, "since the start");
        let trusted = at(2, Synchronized);
        assert_ne!(trusted[0], before[0] + 1);
        assert_eq!(at(2, Unsynchronized), trusted);
        assert_eq!(at(3, Unsynchronized)[0], trusted[0] + 1, "it goes on");
        assert_eq!(at(3, Synchronized)[0], trusted[0] + 1);
    }
}
