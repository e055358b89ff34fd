//! Whether what was counted adds up: no frame and no flow comes from nowhere or goes nowhere uncounted.
//!
//! | law | over |
//! |---|---|
//! | `rx + answers + inband_sent = tx + dropped{policy, limit, tx_full} + inband_taken` | frames of each direction |
//! | `rx = flow + opaque{kind} + tunnel{kind} + malformed{reason} + fragments + inband_taken` | frames |
//! | `inband_taken + inband_copied = inband_punted + inband_refused{reason}` | frames for the gateway itself |
//! | `flows opened = open + named{evidence} + unnamed{reason}` | flows |
//! | `flows ended = category{…}` | flows |
//!
//! They hold exactly between two turns of an lcore. A build with debug assertions asks at each place where counters are read, so every test that
//! moves frames through an lcore is a test of them; the gateway asks of every report of an lcore, and says so where one does not hold.

use crate::counters::{LcoreCounters, PORTS};
use std::fmt;

/// A law that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub law: &'static str,
    /// Its left side.
    pub came: u64,
    /// Its right side.
    pub went: u64,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is not {}", self.law, self.came, self.went)
    }
}

impl LcoreCounters {
    /// The first law that does not hold; `flows` are in the table.
    pub fn broken(&self, flows: u64) -> Option<Broken> {
        let ended: u64 = self.flows_named.iter().chain(&self.flows_unnamed).sum();
        let directions = ["frames from the LAN", "frames from the uplink"];
        let laws = (0..PORTS).zip(directions).map(|(from, law)| {
            let to = 1 - from;
            let came = at(&self.rx_frames, from) + at(&self.answers, to) + at(&self.inband_sent, to);
            let dropped = [&self.drop_policy, &self.drop_limit, &self.drop_tx_full, &self.inband_taken];
            let went = at(&self.tx_frames, to) + dropped.iter().map(|family| at(family, from)).sum::<u64>();
            (law, came, went)
        });
        let kinds = self.kinds() + self.inband_taken.iter().sum::<u64>();
        let own = self.inband_punted.iter().chain(&self.inband_refused).sum();
        laws.chain([
            ("frames by kind", self.rx_frames.iter().sum(), kinds),
            ("frames for the gateway", self.inband_taken.iter().chain(&self.inband_copied).sum(), own),
            ("flows by name", self.flows_opened.iter().sum(), flows + ended),
            ("flows by category", ended, self.flows_category.iter().sum()),
        ])
        .find(|(_, came, went)| came != went)
        .map(|(law, came, went)| Broken { law, came, went })
    }
}

impl LcoreCounters {
    /// Frames that were classified, by any kind.
    pub(crate) fn kinds(&self) -> u64 {
        let classified = self.flow_frames.iter().chain(&self.opaque_frames).chain(&self.tunnel_frames);
        classified.chain(&self.malformed_frames).chain(&self.fragment_frames).sum()
    }
}

fn at(family: &[u64; PORTS], port: usize) -> u64 {
    family.get(port).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two frames of a flow that is over and one that is no flow, from the LAN; one of them was dropped.
    fn whole() -> LcoreCounters {
        let mut counters = LcoreCounters {
            rx_frames: [3, 0],
            tx_frames: [0, 2],
            drop_policy: [1, 0],
            flow_frames: [2],
            flows_opened: [1],
            ..LcoreCounters::default()
        };
        counters.opaque_frames[0] = 1;
        counters.flows_unnamed[1] = 1;
        counters.flows_category[0] = 1;
        counters
    }

    #[test]
    fn what_adds_up_is_whole() {
        assert_eq!(LcoreCounters::default().broken(0), None);
        assert_eq!(whole().broken(0), None);
    }

    #[test]
    fn every_number_of_a_law_breaks_it() {
        let words: Vec<u64> = whole().words().collect();
        let names: Vec<_> = whole().each().map(|(family, ..)| family).collect();
        let free = [
            "rx_bytes",
            "tx_bytes",
            "rx_missed",
            "answers_lost",
            "inband_unsent",
            "turn_ns",
            "datagrams_refused",
            "unkept_frames",
            "source_full_frames",
            "limiter_full_frames",
            "flows_evicted",
            "bytes_category",
            "flows_redecided",
            "unobserved_flows",
            "decoys_ignored",
            "guards_dropped",
            "events",
            "events_lost",
            "identity_events",
            "identity_events_lost",
            "panics",
        ];
        let mut broken = std::collections::BTreeSet::new();
        for at in 0..words.len() {
            let mut changed = words.clone();
            changed[at] += 1;
            let changed = LcoreCounters::from_words(changed);
            if changed.broken(0).is_some() {
                // Not all numbers have a name, so look for the family whose sum grew.
                let family = |c: &LcoreCounters, of: &str| {
                    c.each().filter(|(f, ..)| *f == of).map(|(.., n)| n).sum::<u64>()
                };
                broken.extend(names.iter().copied().filter(|n| family(&changed, n) != family(&whole(), n)));
            }
        }
        let expected: std::collections::BTreeSet<_> =
            names.iter().copied().filter(|name| !free.contains(name)).collect();
        assert_eq!(broken, expected);
        assert!(whole().broken(1).is_some(), "a flow from nowhere");
    }
}
