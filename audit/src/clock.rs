//! What time it is, and whether the wall clock jumped.

use crate::leaf::Stamp;

/// Says what time it is.
pub trait Clock: Send + 'static {
    /// Now.
    fn now(&self) -> Stamp;
}

/// The wall clock is held against the monotonic one this often: a clock that is stepped all the time fills no log.
const EVERY_NS: u64 = 1_000_000_000;
/// A difference of less than this is how clocks are steered, and two readings that lie apart.
const STEP_NS: i128 = 1_000_000_000;

/// Sees when the wall clock is stepped.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// Wall minus monotonic, when both were last read.
    offset: Option<i128>,
    looked_ns: u64,
}

impl Steps {
    /// Of a log whose last record had this stamp, in the same boot.
    pub(crate) fn since(last: Option<(u64, jiff::Timestamp)>) -> Self {
        Self { offset: last.map(|(mono_ns, wall)| wall.as_nanosecond() - i128::from(mono_ns)), looked_ns: 0 }
    }

    /// By how many milliseconds the wall clock was stepped since it was last looked at.
    pub(crate) fn look(&mut self, clock: &impl Clock, now: &Stamp) -> Option<i64> {
        if now.mono_ns.saturating_sub(self.looked_ns) < EVERY_NS && self.looked_ns > 0 {
            return None;
        }
        let step = self.differs(now)?;
        // Whoever was interrupted between its two clocks reads them again.
        let step = if step.abs() < STEP_NS { step } else { self.differs(&clock.now())? };
        self.looked_ns = now.mono_ns;
        self.offset = self.offset.map(|offset| offset + step);
        let told = step.abs() >= STEP_NS;
        told.then(|| i64::try_from(step / 1_000_000).unwrap_or(if step < 0 { i64::MIN } else { i64::MAX }))
    }

    fn differs(&mut self, now: &Stamp) -> Option<i128> {
        let offset = now.wall?.as_nanosecond() - i128::from(now.mono_ns);
        Some(offset - *self.offset.get_or_insert(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    struct At(Stamp);

    impl Clock for At {
        fn now(&self) -> Stamp {
            self.0
        }
    }

    /// So many seconds after start, with a wall clock so far off.
    fn at(second: u64, off_ms: i64) -> Stamp {
        let wall = Timestamp::from_millisecond(1_700_000_000_000 + second as i64 * 1000 + off_ms).unwrap();
        Stamp { mono_ns: second * 1_000_000_000, wall: Some(wall), quality: "unsynchronized" }
    }

    #[test]
    fn steps_are_told_once_and_steering_is_not() {
        let mut steps = Steps::default();
        let mut look = |second, off_ms| steps.look(&At(at(second, off_ms)), &at(second, off_ms));
        assert_eq!(look(1, 0), None);
        // Half a second an hour, for ever.
        for hour in 1..50 {
            assert_eq!(look(hour * 3600, hour as i64 * 500), None);
        }
        let off = 49 * 500;
        let ten_years = 10 * 365 * 86_400_000;
        assert_eq!(look(200_000, off + ten_years), Some(ten_years));
        assert_eq!(look(200_001, off + ten_years), None);
        assert_eq!(look(200_002, off - ten_years), Some(-2 * ten_years));
        // To 1970, and across 2038.
        assert_eq!(look(200_003, -1_700_000_000_000), Some(-1_700_000_000_000 + ten_years - off));
        assert_eq!(look(200_004, 600_000_000_000), Some(2_300_000_000_000));
        // At most one a second.
        assert_eq!(look(200_004, 0), None);
        assert_eq!(look(200_005, 0), Some(-600_000_000_000));
    }

    #[test]
    fn one_reading_that_is_off_is_no_step() {
        let mut steps = Steps::default();
        assert_eq!(steps.look(&At(at(1, 0)), &at(1, 0)), None);
        assert_eq!(steps.look(&At(at(3, 0)), &at(3, 5000)), None);
        assert_eq!(steps.look(&At(at(5, 0)), &at(5, 0)), None);
        let unset = Stamp { wall: None, ..at(7, 0) };
        assert_eq!(steps.look(&At(unset), &unset), None);
        assert_eq!(steps.look(&At(at(9, 2000)), &at(9, 2000)), Some(2000));
    }

    #[test]
    fn a_step_while_nobody_looked_is_seen_by_the_last_record() {
        let last = at(100, 0);
        let mut steps = Steps::since(last.wall.map(|wall| (last.mono_ns, wall)));
        assert_eq!(steps.look(&At(at(160, -86_400_000)), &at(160, -86_400_000)), Some(-86_400_000));
    }
}
