//! One cache line of the table: up to seven labels with all that is known about them.
//!
//! ```text
//!   0       1 …          1 + n …                                                          64
//!  │ n (≤ 7) │ n tags      │ record │ record │ …                                    zeroes │
//!
//!  record:  kind‖length   branch   fields                        label
//!          │ 2 bits‖6    │ 3      │ by kind                     │ 1–32 bytes, or 4 of an offset │
//!    kind 0  listed as a suffix, nothing below it   class 3
//!    kind 1  listed exactly, nothing below it       class 3
//!    kind 2  not listed, something below it         own branch 3
//!    kind 3  anything else: flags 1, then those of: suffix class 3, exact class 3, own branch 3
//! ```
//!
//! A label is one node of the tree of names: `zhipin` under the branch of `com`. `branch` is the number of the node
//! above; only nodes with something below them have a number. The record holds the whole label, so a hit is exact and
//! needs no other line. Labels over [`MAX_INLINE`] bytes stand in a heap of their own.
//!
//! Reading is total: any 64 bytes give an answer, without panic and within seven steps.

/// Bytes of a line.
pub const LINE: usize = 64;
/// The most records in a line.
pub const MAX_RECORDS: usize = 7;
/// The longest label that stands in the line itself.
pub const MAX_INLINE: usize = 32;
/// The greatest branch or class number: three bytes.
pub const MAX_NUMBER: u32 = 0xff_ffff;

const HAS_SUFFIX: u8 = 1;
const HAS_EXACT: u8 = 2;
const HAS_BRANCH: u8 = 4;
const SPILLED: u8 = 8;

/// What is known about a label. Zero means none: classes and branches count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Class of the entry that lists this name and all below it.
    pub suffix: u32,
    /// Class of the entry that lists this name itself.
    pub exact: u32,
    /// Its own branch, when names below it are listed.
    pub branch: u32,
}

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The branch it hangs under.
    pub branch: u32,
    /// What is known about it.
    pub found: Found,
    /// The label.
    pub label: &'a [u8],
    /// Where the label stands in the heap, if it is longer than [`MAX_INLINE`].
    pub spill_at: u32,
}

impl Record<'_> {
    fn flags(&self) -> u8 {
        (if self.found.suffix != 0 { HAS_SUFFIX } else { 0 })
            | (if self.found.exact != 0 { HAS_EXACT } else { 0 })
            | (if self.found.branch != 0 { HAS_BRANCH } else { 0 })
            | (if self.label.len() > MAX_INLINE { SPILLED } else { 0 })
    }

    /// Bytes it takes in a line, its tag included.
    pub fn size(&self) -> usize {
        size_of_record(self.flags(), self.label.len()) + 1
    }

    /// Writes it, without its tag; gives the number of bytes written, or `None` if there is no room.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let flags = self.flags();
        let (kind, single) = match flags {
            HAS_SUFFIX => (0, Some(self.found.suffix)),
            HAS_EXACT => (1, Some(self.found.exact)),
            HAS_BRANCH => (2, Some(self.found.branch)),
            _ => (3, None),
        };
        let mut at = 0;
        let mut put = |bytes: &[u8]| -> Option<()> {
            out.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
            at += bytes.len();
            Some(())
        };
        put(&[kind << 6 | self.label.len() as u8 & 63])?;
        put(&three(self.branch))?;
        match single {
            Some(number) => put(&three(number))?,
            None => {
                put(&[flags])?;
                for number in [self.found.suffix, self.found.exact, self.found.branch] {
                    if number != 0 {
                        put(&three(number))?;
                    }
                }
            }
        }
        if flags & SPILLED != 0 {
            put(&self.spill_at.to_le_bytes())?
        } else {
            put(self.label)?
        }
        Some(at)
    }
}

/// Looks a label up in a line. `spill` is the heap of long labels.
#[inline]
pub fn find(line: &[u8; LINE], tag: u8, branch: u32, label: &[u8], spill: &[u8]) -> Option<Found> {
    let word = u64::from_le_bytes(*line.first_chunk()?);
    let records = usize::from(word as u8).min(MAX_RECORDS);
    // Bytes of `differ` that are zero are tags that agree; the lowest byte, the count, is shifted out.
    let differ = (word >> 8) ^ u64::from(tag).wrapping_mul(0x0001_0101_0101_0101);
    let mut agree = differ.wrapping_sub(0x0001_0101_0101_0101) & !differ & 0x0080_8080_8080_8080;
    // A borrow can mark a byte above an agreeing one by mistake; comparing the label puts that right.
    agree &= (1u64 << (8 * records)).wrapping_sub(1);
    let (mut at, mut slot) = (1 + records, 0);
    while agree != 0 {
        let wanted = agree.trailing_zeros() / 8;
        while slot < wanted {
            at += record_size(line, at)?;
            slot += 1;
        }
        if let Some(found) = read(line, at, branch, label, spill) {
            return Some(found);
        }
        agree &= agree - 1;
    }
    None
}

/// Checks that a line holds nothing but well-formed records whose numbers are in range.
pub fn check(line: &[u8; LINE], branches: u32, classes: u32, spill: &[u8]) -> bool {
    let records = usize::from(line.first().copied().unwrap_or_default());
    if records > MAX_RECORDS {
        return false;
    }
    let mut at = 1 + records;
    for _ in 0..records {
        let good = (|| {
            let head = Head::read(line, at)?;
            let found = head.found(line)?;
            let label = head.label(line, spill)?;
            let numbers = head.branch <= branches
                && found.branch <= branches
                && found.suffix <= classes
                && found.exact <= classes
                && found != Found::default();
            let spelled = label.len() == head.len
                && !label.is_empty()
                && label.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
            at = head.end();
            (numbers && spelled).then_some(())
        })();
        if good.is_none() {
            return false;
        }
    }
    line.get(at..).is_some_and(|rest| rest.iter().all(|b| *b == 0))
}

struct Head {
    flags: u8,
    len: usize,
    branch: u32,
    fields_at: usize,
    label_at: usize,
}

impl Head {
    #[inline]
    fn read(line: &[u8; LINE], at: usize) -> Option<Self> {
        let first = *line.get(at)?;
        let len = usize::from(first & 63);
        let branch = number(line, at + 1)?;
        let (flags, fields_at) = match first >> 6 {
            0 => (HAS_SUFFIX, at + 4),
            1 => (HAS_EXACT, at + 4),
            2 => (HAS_BRANCH, at + 4),
            _ => (*line.get(at + 4)? & 15, at + 5),
        };
        let label_at = fields_at + 3 * (flags & 7).count_ones() as usize;
        Some(Self { flags, len, branch, fields_at, label_at })
    }

    #[inline]
    fn found(&self, line: &[u8; LINE]) -> Option<Found> {
        let mut at = self.fields_at;
        let mut field = |flag: u8| {
            if self.flags & flag == 0 {
                return Some(0);
            }
            let n = number(line, at);
            at += 3;
            n
        };
        Some(Found { suffix: field(HAS_SUFFIX)?, exact: field(HAS_EXACT)?, branch: field(HAS_BRANCH)? })
    }

    #[inline]
    fn label<'a>(&self, line: &'a [u8; LINE], spill: &'a [u8]) -> Option<&'a [u8]> {
        if self.flags & SPILLED == 0 {
            return line.get(self.label_at..self.label_at + self.len);
        }
        let at = u32::from_le_bytes(*line.get(self.label_at..)?.first_chunk()?) as usize;
        spill.get(at..at.checked_add(self.len)?)
    }

    fn end(&self) -> usize {
        self.label_at + if self.flags & SPILLED != 0 { 4 } else { self.len }
    }
}

#[inline]
fn read(line: &[u8; LINE], at: usize, branch: u32, label: &[u8], spill: &[u8]) -> Option<Found> {
    let head = Head::read(line, at)?;
    if head.len != label.len() || head.branch != branch || head.label(line, spill)? != label {
        return None;
    }
    head.found(line)
}

#[inline]
fn record_size(line: &[u8; LINE], at: usize) -> Option<usize> {
    let first = *line.get(at)?;
    let len = usize::from(first & 63);
    Some(if first >> 6 < 3 { 7 + len } else { size_of_record(*line.get(at + 4)? & 15 | 16, len) })
}

/// Flags with bit 16 set are of kind 3 even where a shorter kind would do.
#[inline]
fn size_of_record(flags: u8, len: usize) -> usize {
    match flags {
        HAS_SUFFIX | HAS_EXACT | HAS_BRANCH => 7 + len,
        _ => 5 + 3 * (flags & 7).count_ones() as usize + if flags & SPILLED != 0 { 4 } else { len },
    }
}

fn three(number: u32) -> [u8; 3] {
    let [a, b, c, _] = number.to_le_bytes();
    [a, b, c]
}

#[inline]
fn number(line: &[u8; LINE], at: usize) -> Option<u32> {
    let &[a, b, c, ..] = line.get(at..)? else { return None };
    Some(u32::from_le_bytes([a, b, c, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line_of(records: &[(u8, Record<'_>)]) -> [u8; LINE] {
        let mut line = [0; LINE];
        line[0] = records.len() as u8;
        let mut at = 1 + records.len();
        for (i, (tag, record)) in records.iter().enumerate() {
            line[1 + i] = *tag;
            let n = record.write(&mut line[at..]).unwrap();
            assert_eq!(n + 1, record.size());
            at += n;
        }
        line
    }

    fn record(branch: u32, label: &[u8], suffix: u32, exact: u32, own: u32) -> Record<'_> {
        Record { branch, found: Found { suffix, exact, branch: own }, label, spill_at: 0 }
    }

    #[test]
    fn finds_by_tag_branch_and_label() {
        let line = line_of(&[
            (7, record(1, b"zhipin", 5, 0, 0)),
            (7, record(2, b"zhipin", 0, 6, 0)),
            (7, record(1, b"liepin", 0, 0, 9)),
            (0, record(1, b"x", 1, 2, 3)),
        ]);
        assert!(check(&line, 9, 6, &[]));
        let ask = |tag, branch, label: &[u8]| find(&line, tag, branch, label, &[]);
        assert_eq!(ask(7, 1, b"zhipin"), Some(Found { suffix: 5, exact: 0, branch: 0 }));
        assert_eq!(ask(7, 2, b"zhipin"), Some(Found { suffix: 0, exact: 6, branch: 0 }));
        assert_eq!(ask(7, 1, b"liepin"), Some(Found { suffix: 0, exact: 0, branch: 9 }));
        assert_eq!(ask(0, 1, b"x"), Some(Found { suffix: 1, exact: 2, branch: 3 }));
        assert_eq!(ask(7, 3, b"zhipin"), None);
        assert_eq!(ask(6, 1, b"zhipin"), None, "another tag");
        assert_eq!(ask(7, 1, b"zhipi"), None);
    }

    #[test]
    fn long_labels_stand_in_the_heap() {
        let label = [b'a'; 63];
        let mut spill = vec![b'b'; 100];
        spill.extend_from_slice(&label);
        let long = Record { spill_at: 100, ..record(1, &label, 4, 0, 0) };
        assert!(long.size() < 20);
        let line = line_of(&[(1, long), (2, record(1, b"b", 3, 0, 0))]);
        assert_eq!(find(&line, 1, 1, &label, &spill).unwrap().suffix, 4);
        assert_eq!(find(&line, 2, 1, b"b", &spill).unwrap().suffix, 3);
        assert_eq!(find(&line, 1, 1, &[b'b'; 63], &spill), None);
        assert_eq!(find(&line, 1, 1, &label, &[]), None, "a heap that is too short");
        assert!(!check(&line, 9, 9, &[]));
    }

    #[test]
    fn numbers_out_of_range_and_stray_bytes_are_refused() {
        let line = line_of(&[(7, record(2, b"a", 5, 6, 3)), (7, record(1, b"b", 0, 0, 4))]);
        assert!(check(&line, 4, 6, &[]));
        assert!(!check(&line, 3, 6, &[]), "its own branch");
        assert!(!check(&line, 4, 5, &[]), "the class of the exact entry");
        let suffix = line_of(&[(7, record(0, b"a", 5, 0, 0))]);
        assert!(check(&suffix, 0, 5, &[]) && !check(&suffix, 0, 4, &[]), "the class of the suffix entry");
        let above = line_of(&[(7, record(2, b"a", 5, 0, 0))]);
        assert!(!check(&above, 1, 5, &[]), "the branch above");
        let mut stray = suffix;
        stray[LINE - 1] = 1;
        assert!(!check(&stray, 0, 5, &[]));
        let mut nothing_known = suffix;
        nothing_known[6..9].fill(0);
        assert!(!check(&nothing_known, 0, 5, &[]), "a record without class and branch");
    }

    #[test]
    fn seven_short_labels_fit() {
        let labels: Vec<[u8; 1]> = (b'a'..=b'g').map(|b| [b]).collect();
        let records: Vec<_> =
            labels.iter().enumerate().map(|(i, l)| (i as u8, record(0, l, 1, 0, 0))).collect();
        let line = line_of(&records);
        for (i, label) in labels.iter().enumerate() {
            assert!(find(&line, i as u8, 0, label, &[]).is_some());
        }
    }

    proptest! {
        #[test]
        fn any_line_gives_an_answer(bytes in proptest::collection::vec(any::<u8>(), LINE), tag: u8, branch in 0u32..4, label in "[a-c]{1,4}") {
            let line: [u8; LINE] = bytes.try_into().unwrap();
            let _ = find(&line, tag, branch, label.as_bytes(), b"abcabc");
            let _ = check(&line, 9, 9, b"abcabc");
        }
    }
}
