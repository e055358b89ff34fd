//! When to start a process again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The longest wait: a data plane that dies must be back within two seconds.
const LONGEST: Duration = Duration::from_secs(2);
/// How far back ends are remembered.
const WINDOW: Duration = Duration::from_secs(60);
/// More ends than this make no difference.
const MOST: usize = 16;

/// Waits longer the more often a process ended within the last minute.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    ends: VecDeque<Instant>,
}

impl Backoff {
    pub(super) fn new(first: Duration) -> Self {
        Self { first, ends: VecDeque::with_capacity(MOST + 1) }
    }

    /// Ends within the last minute.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.ends.iter().filter(|end| now.saturating_duration_since(**end) <= WINDOW).count()
    }

    pub(super) fn forget(&mut self) {
        self.ends.clear();
    }

    /// Notes an end; returns how long to wait before the next start.
    pub(super) fn ended(&mut self, now: Instant) -> Duration {
        while self.ends.front().is_some_and(|end| now.saturating_duration_since(*end) > WINDOW) {
            self.ends.pop_front();
        }
        let doublings = self.ends.len() as u32;
        self.ends.push_back(now);
        if self.ends.len() > MOST {
            self.ends.pop_front();
        }
        self.first.saturating_mul(1 << doublings.min(MOST as u32)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_two_seconds_and_forgets() {
        let (start, mut backoff) = (Instant::now(), Backoff::new(Duration::from_millis(50)));
        let waits: Vec<u128> =
            (0..8).map(|i| backoff.ended(start + Duration::from_secs(i)).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        for i in 0..100 {
            assert_eq!(backoff.ended(start + Duration::from_secs(8) + Duration::from_millis(i)), LONGEST);
        }
        assert_eq!(backoff.ended(start + Duration::from_secs(200)).as_millis(), 50);
    }
}
