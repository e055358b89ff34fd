//! The keyed hash that places labels.
//!
//! Input is the branch a label hangs under and the label. Two folded 64 × 64 → 128-bit multiplications with a
//! random 128-bit key; no branch for a label of up to 16 bytes, where
//! SipHash-1-3 would take three times as long. It is not a
//! cryptographic hash and needn't be: a lookup reads exactly one line per label whatever the hash says, and every hit
//! is compared byte by byte, so names chosen against a known key cost and gain nothing. The key is for the
//! compiler: a hostile list is fixed before its key is drawn, so it can't be built to crowd one line.

use super::label::{Label, SHORT};

/// The key of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u64; 2]);

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
const PILOT: u64 = 0xd6e8_feb8_6659_fd93;

/// Where a label lives, once its group's pilot is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(u64);

impl Key {
    /// The key in its encoded form.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let whole = u128::from_le_bytes(bytes);
        Self([whole as u64, (whole >> 64) as u64])
    }

    /// The encoded form.
    pub fn to_bytes(self) -> [u8; 16] {
        let [low, high] = self.0;
        (u128::from(low) | u128::from(high) << 64).to_le_bytes()
    }

    /// Hashes a label under a branch.
    #[inline]
    pub fn hash(self, branch: u32, label: &Label<'_>) -> Hash {
        let [k0, k1] = self.0;
        let len = label.bytes.len();
        let seed = k0 ^ (u64::from(branch) << 8 | len as u64).wrapping_mul(MIX);
        let mut state = fold(label.first ^ seed, label.last ^ k1);
        if len > SHORT {
            state = self.hash_middle(state, label.bytes);
        }
        Hash(fold(state, MIX ^ k1))
    }

    /// The bytes of a long label that are in neither of its words.
    #[cold]
    fn hash_middle(self, mut state: u64, label: &[u8]) -> u64 {
        let [_, k1] = self.0;
        let middle = label.get(8..label.len().saturating_sub(8)).unwrap_or_default();
        for chunk in middle.chunks(16) {
            let part = Label::of(chunk);
            state = fold(part.first ^ state, part.last ^ k1);
        }
        state
    }
}

impl Hash {
    /// Of no label.
    pub const NONE: Self = Self(0);

    /// Which of `groups` it belongs to.
    #[inline]
    pub fn group(self, groups: u32) -> u32 {
        scale(self.0, groups)
    }

    /// Which of `lines` it lives in, given the pilot of its group.
    #[inline]
    pub fn line(self, pilot: u8, lines: u32) -> u32 {
        scale(fold(self.0 ^ u64::from(pilot).wrapping_mul(PILOT), MIX), lines)
    }

    /// Eight bits that neither group nor line depend on much.
    #[inline]
    pub fn tag(self) -> u8 {
        self.0 as u8
    }

    /// All of it, for the compiler's index.
    pub fn bits(self) -> u64 {
        self.0
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A number below `n`, from the upper half of a hash, without division.
#[inline]
fn scale(hash: u64, n: u32) -> u32 {
    (((hash >> 32) * u64::from(n)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_byte_of_a_label_and_its_branch_counts() {
        let key = Key([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
        for len in 0..=63usize {
            let label = vec![b'a'; len];
            let mut seen = HashSet::from([key.hash(0, &Label::of(&label)).bits()]);
            assert!(seen.insert(key.hash(1, &Label::of(&label)).bits()));
            for i in 0..len {
                let mut other = label.clone();
                other[i] ^= 1;
                assert!(seen.insert(key.hash(0, &Label::of(&other)).bits()), "byte {i} of {len}");
            }
        }
    }

    #[test]
    fn spreads_evenly_over_groups_lines_and_tags() {
        let key = Key([1, 2]);
        let (mut groups, mut lines, mut tags) = ([0u32; 64], [0u32; 64], [0u32; 256]);
        for i in 0..64_000 {
            let hash = key.hash(7, &Label::of(format!("label{i}").as_bytes()));
            groups[hash.group(64) as usize] += 1;
            lines[hash.line(3, 64) as usize] += 1;
            tags[hash.tag() as usize] += 1;
        }
        for (what, counts, mean) in
            [("group", &groups[..], 1000), ("line", &lines[..], 1000), ("tag", &tags[..], 250)]
        {
            for n in counts {
                assert!(n.abs_diff(mean) < mean / 3, "{what}: {n}");
            }
        }
    }

    #[test]
    fn the_key_decides() {
        let a = Key::from_bytes([1; 16]);
        let b = Key::from_bytes([2; 16]);
        assert_eq!(Key::from_bytes(a.to_bytes()), a);
        assert_ne!(a.hash(0, &Label::of(b"zhipin")), b.hash(0, &Label::of(b"zhipin")));
    }
}
