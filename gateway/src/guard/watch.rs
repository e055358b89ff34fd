//! Whether every lcore makes progress: not whether a process lives, but whether each loop turns.

use glassgate_dataplane::stats_page::StatsPage;
use std::time::{Duration, Instant};

/// The last progress seen of each lcore.
#[derive(Debug)]
pub(super) struct Watch {
    hang: Duration,
    seen: Vec<(u64, Instant)>,
}

impl Watch {
    pub(super) fn new(hang: Duration) -> Self {
        Self { hang, seen: Vec::new() }
    }

    /// Begins anew: the lcores have just started.
    pub(super) fn restart(&mut self, pages: &[StatsPage], now: Instant) {
        self.seen = pages.iter().map(|page| (page.progress(), now)).collect();
    }

    /// Looks at every lcore. Returns the first that has not moved for too long.
    pub(super) fn hung(&mut self, pages: &[StatsPage], now: Instant) -> Option<usize> {
        let mut hung = None;
        for (lcore, (page, seen)) in pages.iter().zip(&mut self.seen).enumerate() {
            let progress = page.progress();
            if progress != seen.0 {
                *seen = (progress, now);
            } else if now.saturating_duration_since(seen.1) > self.hang && hung.is_none() {
                hung = Some(lcore);
            }
        }
        hung
    }

    /// When the lcore that is furthest behind was last seen to move.
    pub(super) fn last_progress(&self) -> Option<Instant> {
        self.seen.iter().map(|(_, when)| *when).min()
    }

    /// How often to look: often enough that a hang is noticed within a fifth more than its bound. That is two of these: one until it is seen that an lcore has moved for the
    /// last time, and one after the bound has passed.
    pub(super) fn period(&self) -> Duration {
        (self.hang / 10).clamp(Duration::from_millis(5), Duration::from_millis(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hang_is_found_within_a_fifth_more_than_its_bound() {
        for hang in [50, 100, 1000].map(Duration::from_millis) {
            let pages = [StatsPage::create("a").unwrap()];
            let mut watch = Watch::new(hang);
            let (start, period) = (Instant::now(), watch.period());
            watch.restart(&pages, start);
            // It moves once, right after it was looked at.
            watch.hung(&pages, start + period);
            pages[0].writer().tick();
            let looks = (2..30u32).map(|n| start + period * n);
            let found = looks.into_iter().find(|now| watch.hung(&pages, *now).is_some()).unwrap();
            let took = found - start - period;
            assert!(took > hang && took <= hang * 6 / 5, "{hang:?}: {took:?}");
        }
    }

    #[test]
    fn one_of_two_that_stands_still_is_found() {
        let pages = [StatsPage::create("a").unwrap(), StatsPage::create("b").unwrap()];
        let (mut a, mut b) = (pages[0].writer(), pages[1].writer());
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watch = Watch::new(Duration::from_millis(100));
        watch.restart(&pages, at(0));
        b.tick();
        assert_eq!(watch.hung(&pages, at(90)), None);
        a.tick();
        assert_eq!(watch.hung(&pages, at(150)), None);
        a.tick();
        assert_eq!(watch.hung(&pages, at(200)), Some(1));
        assert_eq!(watch.last_progress(), Some(at(90)));
        // A clock that goes backwards is no hang.
        watch.restart(&pages, at(500));
        assert_eq!(watch.hung(&pages, at(0)), None);
    }
}
