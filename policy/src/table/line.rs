//! One cache line of the table: up to six labels with all that is known about them.
//!
//! ```text
//!   0       1 …      1 + n …            1 + 2n …                                          64
//!  │ n (≤ 6) │ n tags  │ n places       │ record │ record │ …                        zeroes │
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
//! needs no other line. Labels over [`MAX_INLINE`] bytes stand in a heap of their own. A place says where in the line
//! the record of the same rank begins: walking over the records to get there cost a branch that is guessed wrongly as
//! often as not, for one byte less.
//!
//! Reading is total: any 64 bytes give an answer, without panic and within six steps.

use super::label::Label;

/// Bytes of a line.
pub const LINE: usize = 64;
/// The most records in a line: with its tag and place, a record takes ten bytes or more.
pub const MAX_RECORDS: usize = 6;
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

    /// Bytes it takes in a line, its tag and place included.
    pub fn size(&self) -> usize {
        let flags = self.flags();
        let label = if flags & SPILLED != 0 { 4 } else { self.label.len() };
        2 + label
            + match flags {
                HAS_SUFFIX | HAS_EXACT | HAS_BRANCH => 7,
                _ => 5 + 3 * (flags & 7).count_ones() as usize,
            }
    }

    /// Writes it, without tag and place; gives the number of bytes written, or `None` if there is no room.
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
pub fn find(line: &[u8; LINE], tag: u8, branch: u32, label: &Label<'_>, spill: &[u8]) -> Option<Found> {
    const LANES: u64 = 0x0001_0101_0101_0101;
    let word = u64::from_le_bytes(*line.first_chunk()?);
    let records = usize::from(word as u8).min(MAX_RECORDS);
    // Bytes of `differ` that are zero are tags that agree; the lowest byte, the count, is shifted out.
    let differ = (word >> 8) ^ (u64::from(tag) * LANES);
    let mut agree = differ.wrapping_sub(LANES) & !differ & (LANES << 7);
    // A borrow can mark a byte above an agreeing one by mistake; comparing the label puts that right.
    agree &= (1u64 << (8 * records)).wrapping_sub(1);
    while agree != 0 {
        let rank = agree.trailing_zeros() as usize / 8;
        let at = usize::from(*line.get(1 + records + rank)?);
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
    let mut at = 1 + 2 * records;
    for rank in 0..records {
        let good = (|| {
            let placed = usize::from(*line.get(1 + records + rank)?) == at;
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
            (placed && numbers && spelled).then_some(())
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

/// Reads the record that begins at `at`, if it is of this label under this branch.
#[inline]
fn read(line: &[u8; LINE], at: usize, branch: u32, label: &Label<'_>, spill: &[u8]) -> Option<Found> {
    // A record is eight bytes or more: all but the label of the shorter kinds in one word.
    let word = u64::from_le_bytes(*line.get(at..)?.first_chunk()?);
    let len = label.bytes.len();
    if word & 0xffff_ff3f != u64::from(branch) << 8 | len as u64 {
        return None;
    }
    let kind = word as u8 >> 6;
    if kind == 3 {
        return read_long(line, at, label, spill);
    }
    if !label.stands_in(line, at + 7 + len) {
        return None;
    }
    let number = (word >> 32) as u32 & MAX_NUMBER;
    let of_kind = |k: u8| if kind == k { number } else { 0 };
    Some(Found { suffix: of_kind(0), exact: of_kind(1), branch: of_kind(2) })
}

/// A record of kind 3 whose branch and length agree.
fn read_long(line: &[u8; LINE], at: usize, label: &Label<'_>, spill: &[u8]) -> Option<Found> {
    let head = Head::read(line, at)?;
    if head.label(line, spill)? == label.bytes { head.found(line) } else { None }
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
        let mut at = 1 + 2 * records.len();
        for (i, (tag, record)) in records.iter().enumerate() {
            line[1 + i] = *tag;
            line[1 + records.len() + i] = at as u8;
            let n = record.write(&mut line[at..]).unwrap();
            assert_eq!(n + 2, record.size());
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
        let ask = |tag, branch, label: &[u8]| find(&line, tag, branch, &Label::of(label), &[]);
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
        assert_eq!(find(&line, 1, 1, &Label::of(&label), &spill).unwrap().suffix, 4);
        assert_eq!(find(&line, 2, 1, &Label::of(b"b"), &spill).unwrap().suffix, 3);
        assert_eq!(find(&line, 1, 1, &Label::of(&[b'b'; 63]), &spill), None);
        assert_eq!(find(&line, 1, 1, &Label::of(&label), &[]), None, "a heap that is too short");
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
        nothing_known[7..10].fill(0);
        assert!(!check(&nothing_known, 0, 5, &[]), "a record without class and branch");
    }

    #[test]
    fn six_short_labels_fit() {
        let labels: Vec<[u8; 1]> = (b'a'..=b'f').map(|b| [b]).collect();
        let records: Vec<_> =
            labels.iter().enumerate().map(|(i, l)| (i as u8, record(0, l, 1, 0, 0))).collect();
        let line = line_of(&records);
        for (i, label) in labels.iter().enumerate() {
            assert!(find(&line, i as u8, 0, &Label::of(label), &[]).is_some());
        }
    }

    proptest! {
        #[test]
        fn any_line_gives_an_answer(bytes in proptest::collection::vec(any::<u8>(), LINE), tag: u8, branch in 0u32..4, label in "[a-c]{1,4}") {
            let line: [u8; LINE] = bytes.try_into().unwrap();
            let _ = find(&line, tag, branch, &Label::of(label.as_bytes()), b"abcabc");
            let _ = check(&line, 9, 9, b"abcabc");
        }
    }
}
