//! Random choices that a seed repeats.

#![allow(dead_code, reason = "each test binary uses its part")]

/// SplitMix64 (Steele, Lea, Flood 2014): any seed is a good one.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `from..=to`.
    pub(crate) fn within(&mut self, from: usize, to: usize) -> usize {
        from + (self.u64() % (to - from + 1) as u64) as usize
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.u64() as u8).collect()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.within(0, i));
        }
    }

    /// Cuts `len` into `parts` non-empty pieces: the offsets between them, with both ends.
    pub(crate) fn cuts(&mut self, len: usize, parts: usize) -> Vec<usize> {
        let mut at = vec![0, len];
        while at.len() < parts.min(len) + 1 {
            let cut = self.within(1, len - 1);
            if !at.contains(&cut) {
                at.push(cut);
            }
        }
        at.sort_unstable();
        at
    }
}
