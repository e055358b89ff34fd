//! Times in which no fast path looks at frames: from when to when, why, who forwarded, how many frames.
//!
//! Each is told to the control process when it begins and when it is over, until that says that it is on record: a control process that dies
//! in between is told again. Whatever is not told when the guard itself ends is not on record; that the gateway was stopped is.

use crate::messages::Uninspected;
use glassgate_policy::audit::{Forwarder, UninspectedCause};
use std::collections::VecDeque;

/// How many are kept for a control process that does not answer. The oldest go first: their numbers are missing in the log then.
const MOST: usize = 64;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    count: u64,
    open: Option<(Uninspected, Option<u64>)>,
    /// Milliseconds of those that are over.
    over_ms: u64,
    untold: VecDeque<Uninspected>,
}

impl Intervals {
    /// One begins, unless one goes on already: that goes on, for the new cause if it is held. `received` is how many frames the ports have
    /// received so far.
    pub(super) fn begin(
        &mut self,
        cause: UninspectedCause,
        forwarder: Forwarder,
        start_mono_ns: u64,
        received: Option<u64>,
    ) {
        if let Some((open, _)) = &mut self.open {
            if cause == UninspectedCause::Held && open.cause != cause {
                (open.cause, open.forwarder) = (cause, forwarder);
                let open = open.clone();
                self.tell(open);
            }
            return;
        }
        self.count += 1;
        let begun = Uninspected {
            number: self.count,
            cause,
            forwarder,
            start_mono_ns,
            end_mono_ns: None,
            frames: None,
        };
        self.open = Some((begun.clone(), received));
        self.tell(begun);
    }

    /// It is over.
    pub(super) fn end(&mut self, now_ns: u64, received: Option<u64>) {
        let Some((mut over, before)) = self.open.take() else { return };
        over.end_mono_ns = Some(now_ns);
        // Counters begin anew where an interface was made anew.
        over.frames = received.zip(before).and_then(|(now, before)| now.checked_sub(before));
        self.over_ms += now_ns.saturating_sub(over.start_mono_ns) / 1_000_000;
        self.tell(over);
    }

    fn tell(&mut self, about: Uninspected) {
        // What is over says all that its beginning said.
        self.untold.retain(|untold| untold.number != about.number);
        if self.untold.len() == MOST {
            self.untold.pop_front();
        }
        self.untold.push_back(about);
    }

    /// What is to be told, oldest first.
    pub(super) fn untold(&self) -> impl Iterator<Item = &Uninspected> {
        self.untold.iter()
    }

    /// This is on record.
    pub(super) fn noted(&mut self, noted: &Uninspected) {
        self.untold.retain(|untold| untold != noted);
    }

    /// How many there were, how many milliseconds in all, and whether one goes on.
    pub(super) fn sum(&self, now_ns: u64) -> (u64, u64, bool) {
        let open = self.open.as_ref().map(|(open, _)| now_ns.saturating_sub(open.start_mono_ns) / 1_000_000);
        (self.count, self.over_ms + open.unwrap_or_default(), open.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use UninspectedCause::{Ended, Held, Hung};

    fn said(intervals: &Intervals) -> Vec<(u64, &str, Option<u64>, Option<u64>)> {
        intervals.untold().map(|u| (u.number, u.cause.as_str(), u.end_mono_ns, u.frames)).collect()
    }

    #[test]
    fn each_is_told_until_it_is_noted() {
        let mut intervals = Intervals::default();
        intervals.begin(Ended, Forwarder::KernelBridge, 1_000_000, Some(10));
        let begun = intervals.untold().next().unwrap().clone();
        assert_eq!(said(&intervals), [(1, "ended", None, None)]);
        assert_eq!(intervals.sum(4_000_000), (1, 3, true));
        intervals.noted(&begun);
        assert_eq!(said(&intervals), []);
        intervals.end(9_000_000, Some(35));
        assert_eq!(said(&intervals), [(1, "ended", Some(9_000_000), Some(25))]);
        // Late: about its beginning, not about its end.
        intervals.noted(&begun);
        assert_eq!(said(&intervals).len(), 1);
        let over = intervals.untold().next().unwrap().clone();
        intervals.noted(&over);
        assert_eq!((said(&intervals), intervals.sum(99_000_000)), (vec![], (1, 8, false)));
        intervals.end(9_000_000, None);
        assert_eq!(said(&intervals), [], "nothing went on");
    }

    #[test]
    fn one_that_fails_to_end_goes_on_and_may_be_held() {
        let mut intervals = Intervals::default();
        for cause in [Hung, Ended, Held, Held] {
            intervals.begin(cause, Forwarder::Nobody, 0, None);
        }
        assert_eq!(said(&intervals), [(1, "held", None, None)]);
        intervals.end(1, Some(3));
        assert_eq!(said(&intervals), [(1, "held", Some(1), None)], "nobody knows how many");
    }

    #[test]
    fn what_nobody_takes_is_bounded() {
        let mut intervals = Intervals::default();
        for n in 0..100 {
            intervals.begin(Ended, Forwarder::Nobody, n, None);
            intervals.end(n, None);
        }
        assert_eq!(intervals.untold().count(), MOST);
        assert_eq!(intervals.untold().next().unwrap().number, 37);
    }
}
