//! Random numbers from a seed: the same on every machine, so that a row's seed names one history of frames.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number of the range, whose ends both count.
    pub(crate) fn within(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        let width = range.end() - range.start() + 1;
        range.start() + (self.word() % width as u64) as usize
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.word() as u8).take(len).collect()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.word() as u8)
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.within(0..=i));
        }
    }

    /// Cuts `len` into `parts` parts of at least one each: where they begin, and `len` at the end.
    pub(crate) fn cuts(&mut self, len: usize, parts: usize) -> Vec<usize> {
        assert!((1..=len).contains(&parts));
        let mut cuts = std::collections::BTreeSet::from([0, len]);
        while cuts.len() <= parts {
            cuts.insert(self.within(1..=len - 1));
        }
        cuts.into_iter().collect()
    }
}
