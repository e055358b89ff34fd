//! A label, read once for hashing and comparing.
//!
//! Labels are short and their lengths unpredictable, so nothing here branches on the length of a label of up to 16
//! bytes: it is two words, its first and its last eight bytes, overlapping (both the whole label, zero-extended, if it is
//! shorter than eight). With the length they are the label. Longer labels are rare and compared in full.

use crate::name::MAX_LEN;

/// Labels up to this length are told apart by their two words and length.
pub const SHORT: usize = 16;

/// A label of a name.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// The first eight bytes, little endian.
    pub first: u64,
    /// The last eight bytes, little endian.
    pub last: u64,
}

impl<'a> Label<'a> {
    /// No label.
    pub const NONE: Self = Self { bytes: &[], first: 0, last: 0 };

    /// Any label.
    pub fn of(bytes: &'a [u8]) -> Self {
        let mut short = [0; 8];
        for (to, from) in short.iter_mut().zip(bytes) {
            *to = *from;
        }
        let first = u64::from_le_bytes(short);
        let last = bytes.last_chunk().map_or(first, |chunk| u64::from_le_bytes(*chunk));
        Self { bytes, first, last }
    }

    /// The label of a canonical name that ends at `end`, and where it begins.
    #[inline]
    pub fn before(name: &'a [u8; MAX_LEN], end: usize) -> (Self, usize) {
        let start = start_of_label(name, end);
        let Some(bytes) = name.get(start..end) else { return (Self::NONE, 0) };
        let short = bytes.len().min(8);
        let (Some(first), Some(last)) = (load(name, start), load(name, (start + bytes.len()) - short)) else {
            // Within eight bytes of the end of the longest name.
            return (Self::of(bytes), start);
        };
        let mask = u64::MAX >> (((8 - short) * 8) & 63);
        (Self { bytes, first: first & mask, last: last & mask }, start)
    }

    /// Whether the label is what stands in `line` before `end`. There must be eight bytes or more before it.
    #[inline]
    pub fn stands_in(&self, line: &[u8; super::line::LINE], end: usize) -> bool {
        let len = self.bytes.len();
        if len > SHORT {
            return line.get(end.wrapping_sub(len)..end) == Some(self.bytes);
        }
        let short = len.min(8);
        let shift = ((8 - short) * 8) & 63;
        let first = load(line, (end + short).wrapping_sub(len + 8)).map(|w| w >> shift);
        let last = load(line, end.wrapping_sub(8)).map(|w| w >> shift);
        first == Some(self.first) && last == Some(self.last)
    }
}

/// Where the label that ends at `end` begins: sixteen bytes at a time, from the right, so that most labels take one step.
#[inline]
fn start_of_label(name: &[u8; MAX_LEN], end: usize) -> usize {
    const ONES: u128 = u128::MAX / 255;
    let mut at = end;
    loop {
        let from = at.saturating_sub(16);
        let Some(word) = name.get(from..).and_then(|rest| rest.first_chunk()) else { return 0 };
        // What stands at `at` and behind it is masked out: only the first bytes of a name are less than sixteen.
        let keep = u128::MAX >> (((16 - (at - from)) * 8) & 127);
        let differ = (u128::from_le_bytes(*word) ^ (ONES * b'.' as u128)) | !keep;
        // Marks bytes that are a dot. It can also mark one above a dot that differs from it by one bit, '/': no
        // canonical name has it.
        let dots = differ.wrapping_sub(ONES) & !differ & (ONES << 7);
        if dots != 0 {
            return from + (127 - dots.leading_zeros() as usize) / 8 + 1;
        }
        if from == 0 {
            return 0;
        }
        at = from;
    }
}

#[inline]
fn load<const N: usize>(bytes: &[u8; N], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn splits_names_as_the_plain_way_does(text in "[a-z0-9_-]{1,20}(\\.[a-z0-9_-]{1,20}){0,11}") {
            let mut name = [0u8; MAX_LEN];
            name[..text.len()].copy_from_slice(text.as_bytes());
            let mut end = text.len();
            for expected in text.rsplit('.') {
                let (label, start) = Label::before(&name, end);
                prop_assert_eq!(label.bytes, expected.as_bytes());
                let plain = Label::of(expected.as_bytes());
                prop_assert_eq!((label.first, label.last), (plain.first, plain.last));
                end = start.wrapping_sub(1);
            }
        }

        #[test]
        fn equal_words_are_equal_labels(a in "[a-b]{1,18}", b in "[a-b]{1,18}", at in 8usize..40) {
            let mut line = [b'a'; super::super::line::LINE];
            line[at..at + b.len()].copy_from_slice(b.as_bytes());
            let end = at + b.len();
            prop_assume!(end >= a.len() + 8);
            let here = line[end - a.len()..end] == *a.as_bytes();
            prop_assert_eq!(Label::of(a.as_bytes()).stands_in(&line, end), here);
        }
    }

    #[test]
    fn the_longest_name_is_split() {
        let text = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        let mut name = [0u8; MAX_LEN];
        name.copy_from_slice(text.as_bytes());
        assert_eq!(Label::before(&name, MAX_LEN).0.bytes.len(), 61);
        assert_eq!(Label::before(&name, 63).1, 0);
    }
}
