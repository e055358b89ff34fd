//! How long frames stay in the box: a histogram that costs the fast path no look at the clock.
//!
//! An lcore reads the clock once a turn. What a turn received has left, or was discarded, before the next one begins: so
//! the time from one look to the next is an upper bound for every frame of the turn, the wait for the frames handled
//! before it included. What a frame waited in the NIC before it was received is not in it.
//!
//! The buckets are plain counters of the lcore ([`crate::counters::LcoreCounters::turn_ns`]), four to an octave, so that
//! the sum over lcores is the histogram of all, and no value is off by more than a quarter.

/// Buckets: up to 256 ns, then four to an octave up to 4 s, then everything longer.
pub const BUCKETS: usize = 1 + 4 * (LAST_OCTAVE - FIRST_OCTAVE) as usize + 1;

const FIRST_OCTAVE: u32 = 8;
const LAST_OCTAVE: u32 = 32;

/// The bucket of a time.
#[inline]
pub fn bucket_of(ns: u64) -> usize {
    let octave = 63 - (ns | 1).leading_zeros();
    if octave < FIRST_OCTAVE {
        return 0;
    }
    if octave >= LAST_OCTAVE {
        return BUCKETS - 1;
    }
    let quarter = (ns >> (octave - 2)) & 3;
    1 + ((octave - FIRST_OCTAVE) * 4) as usize + quarter as usize
}

/// The end of a bucket, nanoseconds: everything in it is shorter. The last one has none.
pub fn bucket_end(bucket: usize) -> u64 {
    match bucket.checked_sub(1) {
        None => 1 << FIRST_OCTAVE,
        Some(n) if n < BUCKETS - 2 => {
            let (octave, quarter) = (FIRST_OCTAVE + n as u32 / 4, n as u64 % 4);
            (1 << octave) + (quarter + 1) * (1 << (octave - 2))
        }
        Some(_) => u64::MAX,
    }
}

/// The time within which the share `q` of all frames had left, nanoseconds: the end of the bucket where that many are
/// reached. `None` where nothing was counted.
pub fn quantile(counts: &[u64; BUCKETS], q: f64) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    let rank = ((total as f64 * q).ceil() as u64).clamp(1, total.max(1));
    let mut sum = 0;
    let at = counts.iter().position(|count| {
        sum += count;
        sum >= rank
    });
    at.filter(|_| total > 0).map(bucket_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_hold_what_is_theirs() {
        assert_eq!((bucket_of(0), bucket_of(255), bucket_of(256)), (0, 0, 1));
        assert_eq!((bucket_of(u64::MAX), bucket_of(1 << 32)), (BUCKETS - 1, BUCKETS - 1));
        for bucket in 0..BUCKETS - 1 {
            let end = bucket_end(bucket);
            assert_eq!((bucket_of(end - 1), bucket_of(end)), (bucket, bucket + 1), "{end}");
            assert!(bucket == 0 || end as f64 / bucket_end(bucket - 1) as f64 <= 1.26);
        }
    }

    #[test]
    fn quantiles_are_the_ends_of_their_buckets() {
        let mut counts = [0; BUCKETS];
        assert_eq!(quantile(&counts, 0.5), None);
        for ns in [300u64, 1_000, 1_000, 1_000, 50_000] {
            counts[bucket_of(ns)] += 1;
        }
        assert_eq!(quantile(&counts, 0.5), Some(bucket_end(bucket_of(1_000))));
        assert_eq!(quantile(&counts, 0.2), Some(bucket_end(bucket_of(300))));
        assert_eq!(quantile(&counts, 1.0), Some(bucket_end(bucket_of(50_000))));
    }
}
