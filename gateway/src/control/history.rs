//! From totals to rates: what passes now, and what passed in the last two minutes.

use super::snapshot::Point;
use std::collections::VecDeque;

/// Points that are kept: two minutes.
const POINTS: usize = 120;
/// Nanoseconds of a point.
const STEP_NS: u64 = 1_000_000_000;

/// Totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) mono_ns: u64,
    pub(super) rx_frames: [u64; 2],
    pub(super) rx_bytes: [u64; 2],
    pub(super) tx_frames: [u64; 2],
    pub(super) tx_bytes: [u64; 2],
    pub(super) drops: u64,
    pub(super) flows: u64,
}

/// Rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) rx_frames: [f64; 2],
    pub(super) rx_bits: [f64; 2],
    pub(super) tx_frames: [f64; 2],
    pub(super) tx_bits: [f64; 2],
    pub(super) flows: f64,
}

/// Remembers totals and derives rates.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The totals at the end of the last whole second.
    mark: Option<Totals>,
    rates: Rates,
    points: VecDeque<Point>,
    /// Why flows were not observed, up to when nobody is told apart.
    unobserved: Option<Unobserved>,
}

/// Flows that were not observed, by reason.
type Unobserved = [u64; 8];

impl History {
    /// Notes the totals. Rates and points move once a second. Totals that went back belong to a new data plane: they
    /// begin anew, they are no negative rate.
    pub(super) fn note(&mut self, now: Totals) {
        let Some(mark) = self.mark else {
            self.mark = Some(now);
            return;
        };
        let elapsed = now.mono_ns.saturating_sub(mark.mono_ns);
        if elapsed < STEP_NS {
            return;
        }
        let seconds = elapsed as f64 / 1e9;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let both = |now: [u64; 2], before: [u64; 2], unit: f64| {
            std::array::from_fn(|i| {
                let at = |v: &[u64; 2]| v.get(i).copied().unwrap_or(0);
                rate(at(&now), at(&before)) * unit
            })
        };
        self.rates = Rates {
            rx_frames: both(now.rx_frames, mark.rx_frames, 1.0),
            rx_bits: both(now.rx_bytes, mark.rx_bytes, 8.0),
            tx_frames: both(now.tx_frames, mark.tx_frames, 1.0),
            tx_bits: both(now.tx_bytes, mark.tx_bytes, 8.0),
            flows: rate(now.flows, mark.flows),
        };
        let [up_bits, down_bits] = self.rates.rx_bits;
        let point = Point {
            up_bits,
            down_bits,
            frames: self.rates.rx_frames.iter().sum(),
            drops: rate(now.drops, mark.drops),
        };
        // After a pause the missing seconds are there, empty: the time axis stays true.
        for _ in 1..(elapsed / STEP_NS).min(POINTS as u64) {
            self.points.push_back(Point::default());
        }
        self.points.push_back(point);
        while self.points.len() > POINTS {
            self.points.pop_front();
        }
        self.mark = Some(now);
    }

    /// Why flows were not observed, while nobody is told apart (`shown`): what was counted before that is not in it, as it may be of
    /// one person under a charter. Counts that went back belong to a new data plane.
    pub(super) fn unobserved(&mut self, now: Unobserved, shown: bool) -> Unobserved {
        if !shown {
            self.unobserved = None;
            return Unobserved::default();
        }
        let before = self.unobserved.get_or_insert(now);
        if now.iter().zip(before.iter()).any(|(now, before)| now < before) {
            *before = Unobserved::default();
        }
        std::array::from_fn(|why| {
            let at = |counts: &Unobserved| counts.get(why).copied().unwrap_or_default();
            at(&now).saturating_sub(at(before))
        })
    }

    pub(super) fn rates(&self) -> Rates {
        self.rates
    }

    /// Oldest first.
    pub(super) fn points(&self) -> Vec<Point> {
        self.points.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64, frames: u64) -> Totals {
        Totals {
            mono_ns: (seconds * 1e9) as u64,
            rx_frames: [frames, 0],
            rx_bytes: [frames * 100, 0],
            ..Totals::default()
        }
    }

    #[test]
    fn rates_are_per_second() {
        let mut history = History::default();
        history.note(at(10.0, 5));
        history.note(at(10.5, 1000));
        assert_eq!(history.rates(), Rates::default(), "not a second yet");
        history.note(at(12.0, 2005));
        assert_eq!(history.rates().rx_frames, [1000.0, 0.0]);
        assert_eq!(history.rates().rx_bits, [800_000.0, 0.0]);
        assert_eq!(history.points().len(), 2, "two seconds, one of them without a look");
    }

    #[test]
    fn a_new_data_plane_is_no_negative_rate() {
        let mut history = History::default();
        history.note(at(1.0, 1000));
        history.note(at(2.0, 10));
        assert_eq!(history.rates().rx_frames, [0.0, 0.0]);
        history.note(at(3.0, 30));
        assert_eq!(history.rates().rx_frames, [20.0, 0.0]);
    }

    #[test]
    fn reasons_of_a_time_with_a_charter_are_told_neither_then_nor_later() {
        let mut history = History::default();
        let counts = |first, second| {
            let mut counts = Unobserved::default();
            (counts[0], counts[1]) = (first, second);
            counts
        };
        let none = counts(0, 0);
        assert_eq!(history.unobserved(counts(5, 5), false), none);
        assert_eq!(history.unobserved(counts(7, 5), true), none, "of before");
        assert_eq!(history.unobserved(counts(9, 6), true), counts(2, 1));
        assert_eq!(history.unobserved(counts(30, 6), false), none);
        assert_eq!(history.unobserved(counts(30, 6), true), none);
        assert_eq!(history.unobserved(counts(31, 6), true), counts(1, 0));
        assert_eq!(history.unobserved(counts(2, 0), true), counts(2, 0), "a new data plane");
    }

    #[test]
    fn keeps_two_minutes() {
        let mut history = History::default();
        for second in 0..500 {
            history.note(at(f64::from(second), 0));
        }
        history.note(at(1e6, 0));
        assert_eq!(history.points().len(), POINTS);
    }
}
