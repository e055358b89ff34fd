//! Gathers bytes by offset: TCP segments and QUIC CRYPTO frames alike.
//!
//! Bounded in bytes and in ranges, without allocation: the buffer belongs to the caller (a slot of the lcore's
//! slab). The first arrival of a byte wins; a later arrival with other content is reported as a conflict and
//! changes nothing, so that the caller can keep both readings.
//!
//! ```text
//!  offset 0          len of buffer
//!  ├──────┬───┬──────┬───┬────┤
//!  │ have │gap│ have │gap│    │      ranges: sorted, disjoint, never touching
//!  └──────┴───┴──────┴───┴────┘
//!  └ contiguous() ┘
//! ```

/// The most disjoint ranges that are kept for one stream.
pub const MAX_RANGES: usize = 64;

/// Which bytes of a buffer are there. Sorted, disjoint, not touching; offsets fit into `u16` because no buffer is
/// larger than 16 KiB.
#[derive(Clone, Copy, Debug)]
pub struct Ranges {
    len: u8,
    spans: [(u16, u16); MAX_RANGES],
}

impl Default for Ranges {
    fn default() -> Self {
        Self { len: 0, spans: [(0, 0); MAX_RANGES] }
    }
}

/// What became of bytes that were offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// At least one byte is new.
    pub new_bytes: bool,
    /// At least one byte was there already with other content. What was there stays.
    pub conflict: bool,
    /// Some bytes lie beyond the buffer, or would need a 65th range; they are not kept.
    pub overflow: bool,
}

/// A buffer and the ranges that are filled in it.
pub struct Assembler<'a> {
    buf: &'a mut [u8],
    ranges: &'a mut Ranges,
}

impl Ranges {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The first `len` bytes are there, and no others.
    pub fn fill(&mut self, len: usize) {
        self.clear();
        if len > 0 {
            self.add(0, len.min(usize::from(u16::MAX)) as u16);
        }
    }

    /// How many bytes are there without a gap from offset 0.
    pub fn contiguous(&self) -> usize {
        match self.spans().first() {
            Some((0, end)) => usize::from(*end),
            _ => 0,
        }
    }

    /// Whether there is a gap before bytes that arrived.
    pub fn has_gap(&self) -> bool {
        self.len > 1 || self.spans().first().is_some_and(|(start, _)| *start > 0)
    }

    /// The filled ranges, sorted, half open.
    pub fn spans(&self) -> &[(u16, u16)] {
        self.spans.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Adds `[start, end)`. False, and nothing changed, when that would need one range too many.
    fn add(&mut self, start: u16, end: u16) -> bool {
        let spans = self.spans();
        // The first span that ends at or after our start, and the first that begins after our end: all between
        // melt into one.
        let from = spans.partition_point(|(_, e)| *e < start);
        let to = spans.partition_point(|(s, _)| *s <= end);
        let merged = match (spans.get(from), to.checked_sub(1).and_then(|last| spans.get(last))) {
            (Some((s, _)), Some((_, e))) if from < to => (start.min(*s), end.max(*e)),
            _ => (start, end),
        };
        let len = usize::from(self.len);
        let new_len = len - to.saturating_sub(from) + 1;
        if new_len > MAX_RANGES {
            return false;
        }
        if from < to {
            self.spans.copy_within(to..len, from + 1);
        } else {
            self.spans.copy_within(from..len.min(MAX_RANGES - 1), from + 1);
        }
        if let Some(slot) = self.spans.get_mut(from) {
            *slot = merged;
        }
        self.len = new_len as u8;
        true
    }
}

impl<'a> Assembler<'a> {
    /// Works on `buf`, of which `ranges` says what is filled. Only the first 64 KiB − 1 of the buffer are used.
    pub fn new(buf: &'a mut [u8], ranges: &'a mut Ranges) -> Self {
        let len = buf.len().min(usize::from(u16::MAX));
        Self { buf: buf.get_mut(..len).unwrap_or_default(), ranges }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Offers `bytes` at `offset`. Empty bytes change nothing.
    pub fn insert(&mut self, offset: u64, bytes: &[u8]) -> Inserted {
        let mut out = Inserted::default();
        if bytes.is_empty() {
            return out;
        }
        let Ok(start) = usize::try_from(offset) else { return Inserted { overflow: true, ..out } };
        let room = self.buf.len().saturating_sub(start);
        let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        out.overflow = kept.len() < bytes.len();
        if kept.is_empty() {
            return out;
        }
        let end = start + kept.len();
        // Compare with what is there, before the ranges change.
        let mut filled = 0;
        for (s, e) in self.ranges.spans() {
            let (s, e) = (usize::from(*s).max(start), usize::from(*e).min(end));
            if s < e {
                filled += e - s;
                out.conflict |= self.buf.get(s..e) != kept.get(s - start..e - start);
            }
        }
        if filled == kept.len() {
            return out;
        }
        if filled == 0 {
            // The usual case, without a copy of the ranges.
            if !self.ranges.add(start as u16, end as u16) {
                return Inserted { overflow: true, ..out };
            }
            self.copy(start, end, start, kept);
            return Inserted { new_bytes: true, ..out };
        }
        let before = *self.ranges;
        if !self.ranges.add(start as u16, end as u16) {
            return Inserted { overflow: true, ..out };
        }
        out.new_bytes = true;
        // Fill the gaps only: first arrival wins.
        let mut at = start;
        for (s, e) in before.spans() {
            let (s, e) = (usize::from(*s), usize::from(*e));
            if e <= at {
                continue;
            }
            if s >= end {
                break;
            }
            self.copy(at, s.min(end), start, kept);
            at = at.max(e);
        }
        self.copy(at, end, start, kept);
        out
    }

    /// The bytes from offset 0 up to the first gap.
    pub fn contiguous(&self) -> &[u8] {
        self.buf.get(..self.ranges.contiguous()).unwrap_or_default()
    }

    fn copy(&mut self, from: usize, to: usize, start: usize, kept: &[u8]) {
        if from < to
            && let (Some(into), Some(bytes)) =
                (self.buf.get_mut(from..to), kept.get(from - start..to - start))
        {
            into.copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn out_of_order_then_whole() {
        let (mut buf, mut ranges) = ([0u8; 16], Ranges::default());
        let mut a = Assembler::new(&mut buf, &mut ranges);
        assert!(a.insert(4, b"efgh").new_bytes);
        assert_eq!(a.contiguous(), b"");
        assert!(a.insert(0, b"abcd").new_bytes);
        assert_eq!(a.contiguous(), b"abcdefgh");
    }

    #[test]
    fn conflict_is_told_and_the_first_wins() {
        let (mut buf, mut ranges) = ([0u8; 16], Ranges::default());
        let mut a = Assembler::new(&mut buf, &mut ranges);
        a.insert(2, b"cd");
        let got = a.insert(0, b"abXdef");
        assert_eq!(got, Inserted { new_bytes: true, conflict: true, overflow: false });
        assert_eq!(a.contiguous(), b"abcdef");
        assert_eq!(a.insert(0, b"abcdef"), Inserted::default());
    }

    #[test]
    fn limits() {
        let (mut buf, mut ranges) = ([0u8; 512], Ranges::default());
        let mut a = Assembler::new(&mut buf, &mut ranges);
        assert!(a.insert(510, b"xyz").overflow);
        assert!(a.insert(u64::MAX, b"x").overflow);
        for i in 0..63 {
            assert!(!a.insert(i * 4 + 1, b"x").overflow, "range {i}");
        }
        assert!(a.insert(300, b"x").overflow, "the 65th range");
        assert!(a.insert(2, b"abc").new_bytes, "joining ranges still works");
        assert!(!a.insert(300, b"x").overflow);
    }

    proptest! {
        /// Checked against a map from offset to byte.
        #[test]
        fn agrees_with_a_byte_map(segments in proptest::collection::vec((0u64..70, proptest::collection::vec(0u8..3, 0..12)), 0..40)) {
            let (mut buf, mut ranges) = ([0u8; 64], Ranges::default());
            let mut a = Assembler::new(&mut buf, &mut ranges);
            let mut model: [Option<u8>; 64] = [None; 64];
            for (offset, bytes) in segments {
                let mut want = Inserted::default();
                for (i, b) in bytes.iter().enumerate() {
                    match model.get_mut(offset as usize + i) {
                        None => want.overflow = true,
                        Some(Some(there)) => want.conflict |= there != b,
                        Some(slot) => { *slot = Some(*b); want.new_bytes = true; }
                    }
                }
                prop_assert_eq!(a.insert(offset, &bytes), want);
                let whole: Vec<u8> = model.iter().map_while(|b| *b).collect();
                prop_assert_eq!(a.contiguous(), &whole[..]);
            }
        }
    }
}
