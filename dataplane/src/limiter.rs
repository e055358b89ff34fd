//! Rates that verdicts limit flows to, shared by all lcores.
//!
//! A limiter is one number: the time until which what was let through so far has been paid for, at the limit's rate (the
//! generic cell rate algorithm, ITU-T I.371; a token bucket that nobody has to refill). A frame passes when that time is
//! no further ahead of the clock than the burst, and moves it on by what its bytes take at the rate.
//!
//! ```text
//!  limit, direction ──────► line of its own          where all share
//!  limit, direction, who ─keyed hash─► bucket of four keys and times    where each group, category or device has its own
//! ```
//!
//! A limiter whose time has passed is as good as one that never was, so nothing has to be thrown out: a bucket is full
//! only when four others in it are in use at this very moment. What finds no place then passes, and is counted.
//!
//! **A quota** is a number as well: the bytes of an hour, day or week, with which of them it is. In another one it counts from zero, and
//! its place is free for others. It counts both directions together. The numbers of hours, days and weeks come with the matrix, as only the
//! slow path knows what time it is; what was counted is lost when the data plane is started again.
//!
//! Places of quotas are held for as long as their time lasts, so they are not those of rates; and addresses that are in no directory, of which a host
//! can make up as many as it likes, have places of their own. Where a bucket is full, the quota goes of which the least was used, if that is next to
//! nothing (100 kB): addresses that were made up hold no place that somebody uses, unless each is paid for with so much traffic.
//!
//! One atomic exchange a frame of a limited flow, and only of those. Lcores that share a limiter share its rate exactly,
//! where a rate divided among them would starve whoever has the busy flow. A place that is given to another between
//! the look at its key and the exchange takes one frame on the wrong account, which is less than a burst.
//!
//! Limiters are known by the key of their rule's limit ([`glassgate_policy::limit::LimitKey`]), not by its number: rules that come before it or go change nothing. Those of
//! rules that are gone are free once they are paid for, or their time is over.

use glassgate_policy::Direction;
use glassgate_policy::limit::{Amount, MAX_LIMITS, Pace, Quota, Rate, RuleLimit, WINDOWS, Windows};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Times are in 64ths of a nanosecond, so that 64 bytes at 400 Gbit/s (1.28 ns) are exact to 0.2 %; 63 bits of them last
/// four years.
const TICKS_PER_NS: u64 = 64;
/// What may pass at once after a pause. A flow that goes over the limit loses the rest of what it sent and, without a
/// queue that would slow it down, waits for its retransmission timer (200 ms at least on Linux, 1 s as RFC 6298 has
/// it): a burst below that is rate that nobody can use.
const BURST_NS: u64 = 250_000_000;
/// But not less than this, in bytes: ten full frames, the initial window of TCP (RFC 6928).
const BURST_BYTES: u64 = 15_140;
/// The longest frame.
const FRAME_MAX: u64 = 65_535;
/// Keys of a bucket: with their times they fill a cache line.
const WAYS: usize = 4;
/// Lines for limits that all share. An eighth is in use at most, those of rules that are gone aside: then a key is found where it belongs or
/// next to it.
const LINES: usize = 4096;
const _: () = assert!(MAX_LIMITS * 2 * 8 <= LINES);
/// So many lines are looked at for one.
const NEAR: usize = 32;
/// Of a quota of which less was used, nothing is lost when it begins anew.
const TRIFLE: u64 = 100_000;

/// The limiters of a data plane. Clones are the same limiters.
#[derive(Clone, Debug)]
pub struct Limiters(Arc<All>);

#[derive(Debug)]
struct All {
    /// By limit and direction, a line each, so that two rates don't slow each other down.
    shared: Box<[Line]>,
    rates: Places,
    quotas: Places,
    /// Of addresses that are in no directory.
    unlisted: Places,
    /// A hasher that has taken in the secret.
    keyed: DefaultHasher,
}

#[repr(align(64))]
#[derive(Debug, Default)]
struct Line {
    /// Of limit and direction; zero for nobody yet.
    key: AtomicU64,
    paid: AtomicU64,
}

#[derive(Debug)]
struct Places {
    buckets: Box<[Bucket]>,
    mask: usize,
}

#[repr(align(64))]
#[derive(Debug, Default)]
struct Bucket {
    /// Hash of limit, direction and who; zero for nobody yet.
    keys: [AtomicU64; WAYS],
    paid: [AtomicU64; WAYS],
}

const _: () = assert!(size_of::<Bucket>() == 64 && size_of::<Line>() == 64);

/// Who has a limiter of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Everybody that the limit is for, together.
    Everybody,
    /// One of those that have the rate each for themselves: a group, a category, an address of the directory.
    One([u8; 16]),
    /// An address that is in no directory.
    Unlisted([u8; 16]),
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It passes and is counted.
    Within,
    /// It is over the rate.
    Over,
    /// It passes, because there was no place to count it.
    NoPlace,
}

impl Default for Limiters {
    /// For one lcore without much traffic: tests and captures.
    fn default() -> Self {
        Self::new(4096, [0; 4])
    }
}

impl Limiters {
    /// Limiters that have let nothing through yet: 256 KiB for those that all share, and three times `places` (rounded up to a power of
    /// two) for those that have one for themselves, sixteen bytes each. Takes all its memory here. `secret` keys the hash.
    pub fn new(places: usize, secret: [u64; 4]) -> Self {
        let mut keyed = DefaultHasher::new();
        secret.iter().for_each(|word| keyed.write_u64(*word));
        Self(Arc::new(All {
            shared: (0..LINES).map(|_| Line::default()).collect(),
            rates: Places::new(places),
            quotas: Places::new(places),
            unlisted: Places::new(places),
            keyed,
        }))
    }

    /// Whether a frame of `bytes` passes at `now_ns`. Clocks of lcores that differ by some microseconds, as bursts do, do
    /// no harm.
    pub fn admit(
        &self,
        of: &RuleLimit,
        share: Share,
        (direction, bytes): (Direction, u32),
        (now_ns, windows): (u64, &Windows),
    ) -> Admission {
        let now = now_ns.saturating_mul(TICKS_PER_NS) & !QUOTA;
        let pace = of.limit.pace;
        let (direction, listed) = match pace {
            Pace::Rate(_) => (direction, &self.0.rates),
            Pace::Quota(_) => (Direction::Up, &self.0.quotas),
        };
        // Never zero, and another one each way.
        let key = (of.key.0 | 2) & !1 | direction.index() as u64;
        let paid = match share {
            Share::Everybody => self.line(key, now, windows),
            Share::One(who) => listed.place(self.hash(key, &who), pace, now, windows),
            Share::Unlisted(who) => {
                let places = if matches!(pace, Pace::Rate(_)) { listed } else { &self.0.unlisted };
                places.place(self.hash(key, &who), pace, now, windows)
            }
        };
        match paid {
            None => Admission::NoPlace,
            Some(paid) => {
                let fits = match pace {
                    Pace::Rate(rate) => pay(paid, rate, bytes, now),
                    Pace::Quota(quota) => spend(paid, &quota, windows, bytes),
                };
                if fits { Admission::Within } else { Admission::Over }
            }
        }
    }

    fn hash(&self, key: u64, who: &[u8; 16]) -> u64 {
        let mut hasher = self.0.keyed.clone();
        hasher.write_u64(key);
        hasher.write(who);
        hasher.finish() | 1
    }

    /// The line of a key: a hash, which nobody outside chooses.
    fn line(&self, key: u64, now: u64, windows: &Windows) -> Option<&AtomicU64> {
        let start = (key >> 1) as usize % LINES;
        let near = || (start..start + NEAR).filter_map(|at| self.0.shared.get(at % LINES));
        if let Some(line) = near().find(|line| line.key.load(Relaxed) == key) {
            return Some(&line.paid);
        }
        let take = |line: &&Line| {
            let other = line.key.load(Relaxed);
            let is_free = other == 0 || is_over(line.paid.load(Relaxed), now, windows);
            // Another lcore may have taken it for the same.
            is_free
                && match line.key.compare_exchange(other, key, Relaxed, Relaxed) {
                    Ok(_) => true,
                    Err(found) => found == key,
                }
        };
        near().find(take).map(|line| &line.paid)
    }
}

impl Places {
    fn new(places: usize) -> Self {
        let buckets = places.div_ceil(WAYS).max(1).next_power_of_two();
        Self { buckets: (0..buckets).map(|_| Bucket::default()).collect(), mask: buckets - 1 }
    }

    fn place(&self, key: u64, pace: Pace, now: u64, windows: &Windows) -> Option<&AtomicU64> {
        let bucket = self.buckets.get((key >> 32) as usize & self.mask)?;
        let ways = || bucket.keys.iter().zip(&bucket.paid);
        if let Some((_, paid)) = ways().find(|(known, _)| known.load(Relaxed) == key) {
            return Some(paid);
        }
        let free = ways().find_map(|(known, paid)| {
            let other = known.load(Relaxed);
            let over = is_over(paid.load(Relaxed), now, windows);
            (over && known.compare_exchange(other, key, Relaxed, Relaxed).is_ok()).then_some(paid)
        });
        free.or_else(|| {
            matches!(pace, Pace::Quota(_)).then_some(())?;
            let (known, paid) = ways().min_by_key(|(_, paid)| paid.load(Relaxed) & USED)?;
            let (other, held) = (known.load(Relaxed), paid.load(Relaxed));
            let taken = held & USED < TRIFLE && known.compare_exchange(other, key, Relaxed, Relaxed).is_ok();
            taken.then(|| {
                paid.store(0, Relaxed);
                paid
            })
        })
    }
}

/// The bit that tells what a quota counted from the time of a rate. Behind it, two bits say how long the quota is for, thirteen in which
/// of these times, and the others how many bytes.
const QUOTA: u64 = 1 << 63;
const USED: u64 = (1 << 48) - 1;
const _: () = assert!(Amount::MAX.bytes() + FRAME_MAX <= USED && WINDOWS <= 1 << 13);

fn counted_in(quota: &Quota, windows: &Windows) -> u64 {
    QUOTA | (quota.every as u64) << 61 | u64::from(quota.window(windows)) << 48
}

/// Whether nobody needs what stands in a place any more.
fn is_over(held: u64, now: u64, windows: &Windows) -> bool {
    if held & QUOTA == 0 {
        return held <= now;
    }
    let (every, window) = (held >> 61 & 3, held >> 48 & u64::from(WINDOWS - 1));
    let now = (every as usize).checked_sub(1).and_then(|at| windows.get(at));
    now.is_none_or(|now| u64::from(now % WINDOWS) != window)
}

/// Takes a frame off a quota, if there is enough left of it.
fn spend(held: &AtomicU64, quota: &Quota, windows: &Windows, bytes: u32) -> bool {
    let counted_in = counted_in(quota, windows);
    let next = |held: u64| {
        let used = if held & !USED == counted_in { held & USED } else { 0 };
        let used = used + u64::from(bytes);
        (used <= quota.amount.bytes()).then_some(counted_in | used)
    };
    held.fetch_update(Relaxed, Relaxed, next).is_ok()
}

/// Pays for a frame, if the limiter lets it pass.
fn pay(paid: &AtomicU64, rate: Rate, bytes: u32, now: u64) -> bool {
    let (cost, burst) = (ticks(rate, u64::from(bytes)), burst(rate));
    // Further ahead than this only a slower limit can have brought it, which is no longer in force.
    let bound = burst.saturating_add(ticks(rate, FRAME_MAX));
    let next = |until: u64| {
        let until = if until & QUOTA == 0 { until } else { 0 };
        let ahead = match until.saturating_sub(now) {
            ahead if ahead > bound => burst,
            ahead => ahead,
        };
        (ahead <= burst).then(|| now.saturating_add(ahead).saturating_add(cost))
    };
    paid.fetch_update(Relaxed, Relaxed, next).is_ok()
}

/// How long bytes take at a rate.
fn ticks(rate: Rate, bytes: u64) -> u64 {
    // No more than 2^16 bytes, or BURST_BYTES: 2^16 · 8 · 10⁹ · 64 is below 2^55.
    bytes * 8 * 1_000_000_000 * TICKS_PER_NS / rate.bits_per_second()
}

fn burst(rate: Rate) -> u64 {
    ticks(rate, BURST_BYTES).max(BURST_NS * TICKS_PER_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassgate_policy::limit::{Every, Limit, Per};
    use proptest::prelude::*;

    const EVERYBODY: Share = Share::Everybody;
    const NOW: Windows = [1, 2, 3];

    fn limit(bits_per_second: u64) -> Limit {
        Limit { pace: Pace::Rate(Rate::new(bits_per_second)), per: Per::Rule }
    }

    fn device(n: u32) -> Share {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&n.to_be_bytes());
        Share::One(address)
    }

    /// The limit of a rule.
    fn of(rule: u8, limit: &Limit) -> RuleLimit {
        RuleLimit::of(&rule.to_string(), *limit)
    }

    fn up(limiters: &Limiters, id: u8, limit: &Limit, share: Share, bytes: u32, now_ns: u64) -> Admission {
        limiters.admit(&of(id, limit), share, (Direction::Up, bytes), (now_ns, &NOW))
    }

    proptest! {
        /// Whatever is offered, and when: never more than the rate and one burst, and never less than the rate while
        /// more is offered.
        #[test]
        fn no_more_and_no_less_than_the_rate(
            rate in prop_oneof![8_000u64..1_000_000, 1_000_000u64..100_000_000, 100_000_000u64..400_000_000_000],
            sizes in prop::collection::vec(60u32..9000, 1..40),
            gaps in prop::collection::vec(0.0f64..1.9, 1..40),
            own in any::<bool>(),
        ) {
            let (limiters, limit) = (Limiters::default(), limit(rate));
            let share = if own { device(1) } else { EVERYBODY };
            let mean = f64::from(sizes.iter().sum::<u32>()) * 8.0 / sizes.len() as f64;
            // Twice as much as the rate, on average, and at times much more and less.
            let step = mean / (2.0 * rate as f64) * 1e9;
            let (start, mut at, mut offered, mut passed) = (7_000_000_000f64, 7_000_000_000f64, 0u64, 0u64);
            for (size, gap) in sizes.iter().cycle().zip(gaps.iter().cycle()).take(20_000) {
                at += step * gap;
                offered += u64::from(*size) * 8;
                if up(&limiters, 3, &limit, share, *size, at as u64) == Admission::Within {
                    passed += u64::from(*size) * 8;
                }
            }
            let paid = (at - start) / 1e9 * rate as f64;
            let burst = burst(Rate::new(rate)) as f64 / 64.0 / 1e9 * rate as f64 + 9000.0 * 8.0;
            prop_assert!((passed as f64) <= paid * 1.001 + burst + 1.0, "{} of {} and {}", passed, paid, burst);
            let least = (paid - 9000.0 * 8.0).min(offered as f64) * 0.999;
            prop_assert!((passed as f64) + 1.0 >= least, "{} of {}", passed, least);
        }
    }

    #[test]
    fn the_rate_is_kept_within_a_percent_over_ten_seconds() {
        for rate in [64_000, 2_000_000, 20_000_000, 1_000_000_000] {
            for bytes in [64, 594, 1518] {
                let (limiters, limit) = (Limiters::default(), limit(rate));
                let step = u64::from(bytes) * 8_000_000_000 / rate / 3;
                let run = |from: u64, seconds: u64| {
                    let frames = (0..seconds * 1_000_000_000 / step).map(|n| from + n * step);
                    let passed = frames
                        .filter(|now| up(&limiters, 0, &limit, EVERYBODY, bytes, *now) == Admission::Within);
                    passed.count() as u64 * u64::from(bytes) * 8 / seconds
                };
                run(0, 3);
                let share = run(3_000_000_000, 10) as f64 / rate as f64;
                assert!((0.97..1.01).contains(&share), "{share} of {rate} bit/s with {bytes} bytes");
            }
        }
    }

    #[test]
    fn directions_limits_and_devices_do_not_pay_for_each_other() {
        let (limiters, limit) = (Limiters::default(), limit(1_000_000));
        for share in [EVERYBODY, device(1)] {
            while up(&limiters, 0, &limit, share, 1500, 5) == Admission::Within {}
            let down = limiters.admit(&of(0, &limit), share, (Direction::Down, 1500), (5, &NOW));
            assert_eq!(down, Admission::Within);
            assert_eq!(up(&limiters, 1, &limit, share, 1500, 5), Admission::Within);
            assert_eq!(up(&limiters, 0, &limit, device(2), 1500, 5), Admission::Within);
            assert_eq!(up(&limiters, 0, &limit, share, 1500, 5), Admission::Over);
        }
    }

    #[test]
    fn where_there_is_no_place_frames_pass_and_places_are_free_again_in_time() {
        let limiters = Limiters::new(64, [1, 2, 3, 4]);
        let limit = limit(1_000_000);
        let all = |now| (0..1000).map(|n| up(&limiters, 0, &limit, device(n), 1500, now)).collect::<Vec<_>>();
        let first = all(1_000_000_000);
        let no_place = first.iter().filter(|a| **a == Admission::NoPlace).count();
        assert_eq!(no_place, 1000 - 64, "every place is used");
        assert!(!first.contains(&Admission::Over));
        // 1500 bytes are paid after 12 ms, and whose place it was is forgotten.
        assert_eq!(up(&limiters, 0, &limit, device(999), 1500, 1_012_000_001), Admission::Within);
        // The limit that everybody shares is not among them.
        assert_eq!(up(&limiters, 0, &limit, EVERYBODY, 1500, 1_000_000_000), Admission::Within);
    }

    #[test]
    fn lcores_share_a_rate() {
        let limiters = Limiters::default();
        let limit = limit(100_000_000);
        let passed: u64 = std::thread::scope(|scope| {
            let lcores: Vec<_> = (0..2)
                .map(|_| {
                    let limiters = limiters.clone();
                    scope.spawn(move || {
                        // All at one time: what passes is one burst, by whichever lcore.
                        let frames = (0..100_000)
                            .filter(|_| up(&limiters, 0, &limit, EVERYBODY, 1000, 9) == Admission::Within);
                        frames.count() as u64
                    })
                })
                .collect();
            lcores.into_iter().map(|lcore| lcore.join().unwrap()).sum()
        });
        let burst = 100_000_000 / 4 / 8000;
        assert_eq!(passed, burst + 1);
    }

    #[test]
    fn a_limit_that_was_loosened_does_not_pay_for_the_old_one() {
        let limiters = Limiters::default();
        let slow = limit(8000);
        while up(&limiters, 1, &slow, EVERYBODY, 1500, 1_000_000) == Admission::Within {}
        let fast = limit(1_000_000_000);
        assert_eq!(up(&limiters, 1, &fast, EVERYBODY, 1500, 1_000_000), Admission::Within);
        while up(&limiters, 1, &fast, EVERYBODY, 1500, 1_000_000) == Admission::Within {}
        assert_eq!(up(&limiters, 1, &slow, EVERYBODY, 1500, 1_000_000), Admission::Within, "tightened");
    }

    fn quota(bytes: u64, every: Every) -> Limit {
        Limit { pace: Pace::Quota(Quota { amount: Amount::new(bytes), every }), per: Per::Device }
    }

    /// Frames of so many bytes that pass of a thousand.
    fn within(limiters: &Limiters, limit: &Limit, share: Share, bytes: u32, windows: Windows) -> usize {
        let ways = [Direction::Up, Direction::Down].into_iter().cycle();
        let admit = |direction| limiters.admit(&of(0, limit), share, (direction, bytes), (9, &windows));
        ways.take(1000).filter(|direction| admit(*direction) == Admission::Within).count()
    }

    #[test]
    fn a_quota_is_for_both_ways_together_and_begins_anew_with_its_time() {
        let limiters = Limiters::default();
        for (at, every) in Every::ALL.iter().enumerate() {
            for share in [EVERYBODY, device(at as u32)] {
                let limit = quota(1_000_000, *every);
                assert_eq!(within(&limiters, &limit, share, 10_000, [1, 2, 3]), 100, "{every}");
                assert_eq!(within(&limiters, &limit, share, 60, [1, 2, 3]), 0, "used up");
                let mut next = [1, 2, 3];
                next[at] += 1;
                assert_eq!(within(&limiters, &limit, share, 10_000, next), 100, "{every}, the next");
                next[(at + 1) % 3] += 1;
                assert_eq!(within(&limiters, &limit, share, 10_000, next), 0, "another time is over");
            }
        }
        // One that counts less than was used already lets nothing through; one that counts more, the rest.
        assert_eq!(within(&limiters, &quota(2_000_000, Every::Hour), device(50), 10_000, NOW), 200);
        assert_eq!(within(&limiters, &quota(1_000_000, Every::Hour), device(50), 10_000, NOW), 0);
        assert_eq!(within(&limiters, &quota(3_000_000, Every::Hour), device(50), 10_000, NOW), 100);
    }

    #[test]
    fn places_of_quotas_are_free_when_their_time_is_over() {
        let limiters = Limiters::new(WAYS, [7; 4]);
        let limit = quota(1_000_000, Every::Day);
        let admit =
            |n, windows| limiters.admit(&of(0, &limit), device(n), (Direction::Up, 100_000), (9, &windows));
        assert!((0..WAYS as u32).all(|n| admit(n, NOW) == Admission::Within));
        assert_eq!(admit(9, NOW), Admission::NoPlace, "and passes");
        let tomorrow = [1, 3, 3];
        assert_eq!(admit(9, tomorrow), Admission::Within);
    }

    #[test]
    fn rates_and_the_directory_keep_their_places_whatever_quotas_take() {
        let (limiters, quota, rate) =
            (Limiters::new(64, [7; 4]), quota(1_000_000, Every::Week), limit(1_000_000));
        let unlisted = |n: u32| match device(n) {
            Share::One(who) => Share::Unlisted(who),
            other => other,
        };
        // A host makes up addresses, and pays for each of them.
        let mut took = 0;
        for n in 1000..100_000 {
            took += u32::from(up(&limiters, 0, &quota, unlisted(n), 200_000, 9) == Admission::Within);
        }
        assert_eq!(took, 64);
        assert_eq!(up(&limiters, 0, &quota, unlisted(1), 1500, 9), Admission::NoPlace);
        assert_eq!(up(&limiters, 1, &rate, unlisted(1), 1500, 9), Admission::Within);
        assert_eq!(up(&limiters, 0, &quota, device(1), 1500, 9), Admission::Within);
        // One that does not pay for them takes no place that is used.
        let limiters = Limiters::new(64, [7; 4]);
        let used = |bytes| up(&limiters, 0, &quota, unlisted(1), bytes, 9);
        assert_eq!(used(900_000), Admission::Within);
        for n in 1000..100_000 {
            assert_ne!(up(&limiters, 0, &quota, unlisted(n), 1500, 9), Admission::Over);
        }
        assert_eq!((used(200_000), used(100_000)), (Admission::Over, Admission::Within));
    }

    #[test]
    fn what_was_used_is_of_the_rule_and_of_no_other() {
        let limiters = Limiters::default();
        for share in [EVERYBODY, device(1)] {
            let (large, small) = (quota(50_000_000, Every::Week), quota(5_000_000, Every::Week));
            let use_up = |rule, limit| {
                (0..)
                    .take_while(|_| up(&limiters, rule, limit, share, 100_000, 9) == Admission::Within)
                    .count()
            };
            assert_eq!(use_up(1, &large), 500);
            assert_eq!(use_up(2, &small), 50, "of another rule");
            assert_eq!(use_up(1, &large), 0, "that is still used up");
            assert_eq!(use_up(1, &quota(60_000_000, Every::Week)), 100, "and what it was raised by is not");
        }
    }

    #[test]
    fn lines_of_rules_that_are_gone_are_free_again() {
        let limiters = Limiters::default();
        let limit = limit(1_000_000);
        for n in 0..100_000u64 {
            let of = RuleLimit::of(&format!("rule {n}"), limit);
            let at = (n * 20_000_000, &NOW);
            assert_eq!(limiters.admit(&of, EVERYBODY, (Direction::Up, 1500), at), Admission::Within, "{n}");
        }
    }

    #[test]
    fn a_rate_and_a_quota_of_one_name_do_not_bind_each_other() {
        let (limit, now) = (quota(1_000_000, Every::Day), 5_000_000_000);
        let rate = limit_of_a_rate();
        for (first, second) in [(limit, rate), (rate, limit)] {
            let limiters = Limiters::default();
            for which in [first, second] {
                let admitted = limiters.admit(&of(0, &which), EVERYBODY, (Direction::Up, 1000), (now, &NOW));
                assert_eq!(admitted, Admission::Within);
            }
        }
    }

    fn limit_of_a_rate() -> Limit {
        limit(8_000_000)
    }
}
