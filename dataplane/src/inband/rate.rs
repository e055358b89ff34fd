//! How much may be asked of the gateway itself: a bucket for each source address, one for each hardware address, one for all.
//!
//! A frame must find room in all three, and is taken from all three or from none. A SYN counts as [`SYN_COST`] frames, since it costs the
//! other side more than a frame of a flow that it knows. Buckets of sources lie in a table of fixed size, by a keyed hash:
//! sources that meet in one share it. With one source that floods, another one has a chance of 1 in [`PLACES`] to be
//! the one that suffers, a different one after each start; nobody outside can tell which.

use super::own::Asks;
use crate::flow_table::{fold, mixed};

/// Buckets of sources, and as many of hardware addresses: 64 KiB each.
pub const PLACES: usize = 4096;
/// How many frames a SYN counts as.
pub const SYN_COST: u32 = 16;
/// Of one source address: the acknowledgements of 3 MB/s, or 62 SYNs a second and 32 at once.
pub const SOURCE: Pace = Pace { per_s: 1000, burst: 512 };
/// Of one hardware address, which may be a router with many behind it.
pub const MAC: Pace = Pace { per_s: 4000, burst: 2048 };
/// Of all: some per cent of a core in the control process.
pub const ALL: Pace = Pace { per_s: 8000, burst: 4096 };

/// A rate: frames a second, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Frames a second, at most a million.
    pub per_s: u32,
    /// Frames at once, at most a million.
    pub burst: u32,
}

/// Which of the three is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverRate {
    /// The source address.
    Source,
    /// The hardware address.
    Mac,
    /// All together.
    All,
}

/// Frames that may come now, in thousandths, and when that was true.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    left: u64,
    at_us: u64,
}

const _: () = assert!(size_of::<Bucket>() == 16);

impl Bucket {
    /// One from which nothing has been taken.
    pub(super) fn full(pace: Pace) -> Self {
        Self { left: u64::from(pace.burst) * 1000, at_us: 0 }
    }

    /// Whether `cost` frames may come at `now_ns`; time that passed is added first.
    pub(super) fn has(&mut self, pace: Pace, cost: u32, now_ns: u64) -> bool {
        let now_us = now_ns / 1000;
        // A clock that steps back adds nothing. Thousandths of a frame in a microsecond: per_s / 1000.
        let passed = now_us.saturating_sub(self.at_us);
        let gained = passed.saturating_mul(u64::from(pace.per_s)) / 1000;
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(u64::from(pace.burst) * 1000);
            self.at_us = now_us;
        }
        self.left >= u64::from(cost) * 1000
    }

    /// Takes what [`Self::has`] found.
    pub(super) fn spend(&mut self, cost: u32) {
        self.left = self.left.saturating_sub(u64::from(cost) * 1000);
    }
}

/// All buckets.
pub(super) struct RateLimit {
    sources: Box<[Bucket]>,
    macs: Box<[Bucket]>,
    all: Bucket,
    secret: [u64; 4],
}

impl RateLimit {
    /// Takes all its memory here. `secret` keys the hash.
    pub(super) fn new(secret: [u64; 4]) -> Self {
        Self {
            sources: vec![Bucket::full(SOURCE); PLACES].into(),
            macs: vec![Bucket::full(MAC); PLACES].into(),
            all: Bucket::full(ALL),
            secret: mixed(secret),
        }
    }

    /// Takes a frame out of the buckets of its senders, or says which has no room for it.
    pub(super) fn take(&mut self, asks: &Asks, now_ns: u64) -> Result<(), OverRate> {
        let cost = if asks.syn { SYN_COST } else { 1 };
        let [a, b, c, d, e, f] = asks.mac;
        let [s0, s1, s2, s3] = self.secret;
        let of_mac = fold(fold(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) ^ s2, s0), s3);
        // ARP has no source but its hardware address.
        let mut source = asks.source.and_then(|source| {
            let source = u128::from_le_bytes(source);
            let hash = fold(fold(source as u64 ^ s0, (source >> 64) as u64 ^ s1), s2);
            self.sources.get_mut(hash as usize % PLACES)
        });
        if source.as_mut().is_some_and(|bucket| !bucket.has(SOURCE, cost, now_ns)) {
            return Err(OverRate::Source);
        }
        let Some(mac) = self.macs.get_mut(of_mac as usize % PLACES) else { return Err(OverRate::Mac) };
        if !mac.has(MAC, cost, now_ns) {
            return Err(OverRate::Mac);
        }
        if !self.all.has(ALL, cost, now_ns) {
            return Err(OverRate::All);
        }
        source.into_iter().for_each(|bucket| bucket.spend(cost));
        mac.spend(cost);
        self.all.spend(cost);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asks(mac: u8, source: u32, syn: bool) -> Asks {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&source.to_be_bytes());
        Asks { mac: [2, 0, 0, 0, 0, mac], source: Some(address), syn }
    }

    /// How many of `n` frames, evenly spread over `seconds`, pass.
    fn passed(limit: &mut RateLimit, n: u64, seconds: u64, of: impl Fn(u64) -> Asks) -> u64 {
        let step = seconds * 1_000_000_000 / n;
        (0..n).filter(|i| limit.take(&of(*i), 10_000_000_000 + i * step).is_ok()).count() as u64
    }

    #[test]
    fn one_source_gets_its_burst_and_its_rate() {
        let mut limit = RateLimit::new([1, 2, 3, 4]);
        let got = passed(&mut limit, 100_000, 10, |_| asks(1, 1, false));
        let want = u64::from(SOURCE.burst + 10 * SOURCE.per_s);
        assert!(got.abs_diff(want) <= 2, "{got} of {want}");
    }

    #[test]
    fn syns_count_for_more() {
        let mut limit = RateLimit::new([1, 2, 3, 4]);
        let got = passed(&mut limit, 100_000, 10, |_| asks(1, 1, true));
        let want = u64::from((SOURCE.burst + 10 * SOURCE.per_s) / SYN_COST);
        assert!(got.abs_diff(want) <= 2, "{got} of {want}");
    }

    #[test]
    fn one_who_floods_does_not_stop_another() {
        let mut limit = RateLimit::new([5, 6, 7, 8]);
        let flood = |_| asks(1, 1, true);
        passed(&mut limit, 20_000, 2, flood);
        let at = 12_000_000_000;
        while limit.take(&asks(1, 1, true), at).is_ok() {}
        assert_eq!(limit.take(&asks(1, 1, true), at), Err(OverRate::Source));
        for i in 0..20 {
            assert_eq!(limit.take(&asks(2, 2, true), at + i), Ok(()), "{i}");
        }
    }

    #[test]
    fn whoever_changes_addresses_is_held_by_the_next_bucket() {
        let mut limit = RateLimit::new([5, 6, 7, 8]);
        let got = passed(&mut limit, 100_000, 1, |i| asks(1, i as u32, false));
        assert!(got.abs_diff(u64::from(MAC.burst + MAC.per_s)) <= 2, "one hardware address: {got}");
        let mut limit = RateLimit::new([5, 6, 7, 8]);
        let got = passed(&mut limit, 100_000, 1, |i| asks(i as u8, i as u32, false));
        assert!(got.abs_diff(u64::from(ALL.burst + ALL.per_s)) <= 2, "many: {got}");
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing() {
        let mut limit = RateLimit::new([0; 4]);
        while limit.take(&asks(1, 1, false), 5_000_000_000).is_ok() {}
        assert_eq!(limit.take(&asks(1, 1, false), 1_000_000_000), Err(OverRate::Source));
        assert_eq!(limit.take(&asks(1, 1, false), 5_002_000_000), Ok(()));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(gaps in prop::collection::vec(0u64..5_000_000, 1..2000)) {
            let mut limit = RateLimit::new([9, 9, 9, 9]);
            let (start, mut now, mut got) = (1_000_000_000u64, 1_000_000_000u64, 0u64);
            for gap in gaps {
                now += gap;
                got += u64::from(limit.take(&asks(1, 1, false), now).is_ok());
            }
            let most = u64::from(SOURCE.burst) + (now - start) * u64::from(SOURCE.per_s) / 1_000_000_000;
            prop_assert!(got <= most + 1, "{} of {}", got, most);
        }
    }
}
