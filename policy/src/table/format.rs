//! The layout of a compiled table as bytes.
//!
//! ```text
//!  header 256 │ lines │ pilots │ spill │ classes │ entries │ services │ addresses │ alpns │ ja4s │ strings │ SHA-256
//! ```
//!
//! Everything is little endian; sections begin at multiples of 64, so that a line of the table is a line of the
//! cache when the artefact is mapped at a page. There are no pointers: a table is used where it lies.
//!
//! | section  | holds |
//! |---|---|
//! | lines    | labels, see [`super::line`] |
//! | pilots   | one byte per group of labels: makes the hash place them in lines that have room |
//! | spill    | labels too long for a line |
//! | classes  | 4 bytes a class: service (24 bits), category (8 bits); class *n* stands at *n* − 1 |
//! | entries  | 48 bytes a class: what its signatures say besides their names |
//! | services | 32 bytes a service, sorted by key; service *n* stands at *n* − 1 |
//! | addresses, alpns, ja4s | signatures that are no names, see `table/clues.rs` |
//! | strings  | UTF-8 that entries and services refer to |

use jiff::civil::Date;

use crate::category::Category;
use crate::signature::{Role, Tier};
use crate::table::clues::{ADDRESS, ALPN, FINGERPRINT};
use crate::table::hash::Key;
use crate::table::line::{LINE, MAX_NUMBER};

/// The largest artefact.
pub const MAX_BYTES: usize = 1 << 30;
/// Bytes of the header.
pub const HEADER: usize = 256;
/// Bytes of the SHA-256 at the end.
pub const DIGEST: usize = 32;
/// Bytes of an entry.
pub const ENTRY: usize = 48;
/// Bytes of a service.
pub const SERVICE: usize = 32;
const MAGIC: [u8; 8] = *b"GGTABLE2";
const SECTIONS: usize = 10;

/// Why bytes are no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTable {
    /// Too short, too long, or not the length its header says.
    #[error("the table has {found} bytes where {expected} are asked for")]
    Length {
        /// What the header asks for, or the bound that is passed.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// Another file, or another version.
    #[error("this is no signature table of version 2")]
    Magic,
    /// Damaged on the way.
    #[error("the table does not match its checksum")]
    Checksum,
    /// A section lies outside of the table or has the wrong size.
    #[error("section `{0}` of the table is out of bounds")]
    Section(&'static str),
    /// A line holds something that is no record, or names a class or branch that is not there.
    #[error("line {0} of the table is malformed")]
    Line(usize),
    /// A class names a service that is not there, or a code or text that means nothing.
    #[error("class {0} of the table is malformed")]
    Class(usize),
    /// A service is out of order, or has a code or text that means nothing.
    #[error("service {0} of the table is malformed")]
    Service(usize),
}

/// Where a section lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub at: u32,
    /// Bytes.
    pub len: u32,
}

impl Span {
    /// The section within the artefact; nothing if the artefact shrank since it was checked.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.at as usize..).and_then(|b| b.get(..self.len as usize)).unwrap_or_default()
    }
}

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Key of the hash.
    pub key: Key,
    /// SHA-256 of what the table was compiled from, see [`crate::compile`].
    pub content: [u8; 32],
    /// Counts up with every pack of a publisher; `0` where nobody counts.
    pub serial: u64,
    /// Listed names.
    pub names: u32,
    /// Numbers given to nodes with something below them.
    pub branches: u32,
    /// Groups that share a pilot.
    pub groups: u32,
    /// Lines, see [`super::line`].
    pub lines: Span,
    /// See the table of sections.
    pub pilots: Span,
    /// See the table of sections.
    pub spill: Span,
    /// See the table of sections.
    pub classes: Span,
    /// See the table of sections.
    pub entries: Span,
    /// See the table of sections.
    pub services: Span,
    /// See the table of sections.
    pub addresses: Span,
    /// See the table of sections.
    pub alpns: Span,
    /// See the table of sections.
    pub ja4s: Span,
    /// See the table of sections.
    pub strings: Span,
}

impl Header {
    /// How many lines there are.
    #[inline]
    pub const fn line_count(&self) -> u32 {
        self.lines.len / LINE as u32
    }

    /// How many classes there are.
    pub const fn class_count(&self) -> u32 {
        self.classes.len / 4
    }

    /// How many services there are.
    pub const fn service_count(&self) -> u32 {
        self.services.len / SERVICE as u32
    }

    fn spans(&self) -> [(&'static str, Span); SECTIONS] {
        [
            ("lines", self.lines),
            ("pilots", self.pilots),
            ("spill", self.spill),
            ("classes", self.classes),
            ("entries", self.entries),
            ("services", self.services),
            ("addresses", self.addresses),
            ("alpns", self.alpns),
            ("ja4s", self.ja4s),
            ("strings", self.strings),
        ]
    }

    /// Reads the header and checks that every section lies inside of `bytes` and has a size that fits the others.
    pub fn read(bytes: &[u8]) -> Result<Self, BadTable> {
        let found = bytes.len();
        if found > MAX_BYTES {
            return Err(BadTable::Length { expected: MAX_BYTES, found });
        }
        let short = BadTable::Length { expected: HEADER + DIGEST, found };
        if found < HEADER + DIGEST {
            return Err(short);
        }
        let mut reader = Reader(bytes);
        if reader.take::<8>() != MAGIC {
            return Err(BadTable::Magic);
        }
        let expected = u64::from_le_bytes(reader.take());
        if expected != found as u64 {
            return Err(BadTable::Length { expected: expected as usize, found });
        }
        let key = Key::from_bytes(reader.take());
        let content = reader.take();
        let serial = u64::from_le_bytes(reader.take());
        let mut number = || u32::from_le_bytes(reader.take());
        let (names, branches, groups) = (number(), number(), number());
        let mut span = || Span { at: number(), len: number() };
        let header = Self {
            key,
            content,
            serial,
            names,
            branches,
            groups,
            lines: span(),
            pilots: span(),
            spill: span(),
            classes: span(),
            entries: span(),
            services: span(),
            addresses: span(),
            alpns: span(),
            ja4s: span(),
            strings: span(),
        };
        header.check(found - DIGEST)?;
        Ok(header)
    }

    fn check(&self, end: usize) -> Result<(), BadTable> {
        // Sections stand in order, without overlap, each at the next multiple of 64.
        let mut at = HEADER;
        for (name, span) in self.spans() {
            let stop = span.at as usize + span.len as usize;
            if span.at as usize != at || stop > end {
                return Err(BadTable::Section(name));
            }
            at = stop.next_multiple_of(LINE);
        }
        if at != end {
            return Err(BadTable::Section("strings"));
        }
        let whole = |name, span: Span, size: usize, count: Option<usize>| {
            let good = (span.len as usize).is_multiple_of(size)
                && count.is_none_or(|n| span.len as usize / size == n)
                && span.len as usize / size <= MAX_NUMBER as usize;
            if good { Ok(()) } else { Err(BadTable::Section(name)) }
        };
        whole("lines", self.lines, LINE, None)?;
        whole("pilots", self.pilots, 1, Some(self.groups as usize))?;
        whole("classes", self.classes, 4, None)?;
        whole("entries", self.entries, ENTRY, Some(self.class_count() as usize))?;
        whole("services", self.services, SERVICE, None)?;
        whole("addresses", self.addresses, ADDRESS, None)?;
        whole("alpns", self.alpns, ALPN, None)?;
        whole("ja4s", self.ja4s, FINGERPRINT, None)?;
        if self.branches > MAX_NUMBER || self.lines.len == 0 || self.groups == 0 {
            return Err(BadTable::Section("lines"));
        }
        Ok(())
    }
}

/// What a class says, besides the names; text as places in the strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// Number of the service, `0` for names that are left out of every count.
    pub service: u32,
    /// What the names are for.
    pub role: Role,
    /// How sure.
    pub tier: Tier,
    /// When it was added.
    pub added: Date,
    /// The last day on which it counts.
    pub expires: Option<Date>,
    /// Who says so.
    pub source: Span,
    /// Licence of the source.
    pub licence: Span,
    /// What a reader should know.
    pub note: Span,
    /// The file it was compiled from.
    pub list: Span,
}

impl RawEntry {
    /// Encodes it.
    pub fn to_bytes(self) -> [u8; ENTRY] {
        let mut out = Writer { out: [0; ENTRY], at: 0 };
        out.put(&self.service.to_le_bytes());
        out.put(&[self.role as u8, self.tier as u8, 0, 0]);
        out.put(&pack_date(Some(self.added)).to_le_bytes());
        out.put(&pack_date(self.expires).to_le_bytes());
        for span in [self.source, self.licence, self.note, self.list] {
            out.put(&span.at.to_le_bytes());
            out.put(&span.len.to_le_bytes());
        }
        out.out
    }

    /// Decodes it; `None` if a code means nothing.
    pub fn from_bytes(bytes: &[u8; ENTRY]) -> Option<Self> {
        let mut r = Reader(bytes);
        let service = u32::from_le_bytes(r.take());
        let [role, tier, _, _] = r.take();
        let (added, expires) = (u32::from_le_bytes(r.take()), u32::from_le_bytes(r.take()));
        let mut span = || Span { at: u32::from_le_bytes(r.take()), len: u32::from_le_bytes(r.take()) };
        Some(Self {
            service,
            role: Role::from_code(role)?,
            tier: Tier::from_code(tier)?,
            added: unpack_date(added)?,
            expires: if expires == 0 { None } else { Some(unpack_date(expires)?) },
            source: span(),
            licence: span(),
            note: span(),
            list: span(),
        })
    }
}

/// A service; text as places in the strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawService {
    /// The key.
    pub key: Span,
    /// What people call it.
    pub title: Span,
    /// Where it is used.
    pub region: Span,
    /// What it is for.
    pub category: Category,
}

impl RawService {
    /// Encodes it.
    pub fn to_bytes(self) -> [u8; SERVICE] {
        let mut out = Writer { out: [0; SERVICE], at: 0 };
        for span in [self.key, self.title, self.region] {
            out.put(&span.at.to_le_bytes());
            out.put(&span.len.to_le_bytes());
        }
        out.put(&[self.category as u8]);
        out.out
    }

    /// Decodes it; `None` if its category means nothing.
    pub fn from_bytes(bytes: &[u8; SERVICE]) -> Option<Self> {
        let mut r = Reader(bytes);
        let mut span = || Span { at: u32::from_le_bytes(r.take()), len: u32::from_le_bytes(r.take()) };
        let (key, title, region) = (span(), span(), span());
        let [category] = r.take();
        Some(Self { key, title, region, category: Category::from_code(category)? })
    }
}

/// Writes the whole artefact: header, sections, digest. The spans of `header` are set here.
pub fn assemble(mut header: Header, sections: [&[u8]; SECTIONS]) -> Result<Vec<u8>, BadTable> {
    let total = sections.iter().fold(HEADER, |n, s| n + s.len().next_multiple_of(LINE)) + DIGEST;
    if total > MAX_BYTES {
        return Err(BadTable::Length { expected: MAX_BYTES, found: total });
    }
    let mut at = HEADER;
    let mut spans = [Span::default(); SECTIONS];
    for (span, section) in spans.iter_mut().zip(sections) {
        *span = Span { at: at as u32, len: section.len() as u32 };
        at += section.len().next_multiple_of(LINE);
    }
    [
        header.lines,
        header.pilots,
        header.spill,
        header.classes,
        header.entries,
        header.services,
        header.addresses,
        header.alpns,
        header.ja4s,
        header.strings,
    ] = spans;
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(total as u64).to_le_bytes());
    out.extend_from_slice(&header.key.to_bytes());
    out.extend_from_slice(&header.content);
    out.extend_from_slice(&header.serial.to_le_bytes());
    for number in [header.names, header.branches, header.groups] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for span in spans {
        out.extend_from_slice(&span.at.to_le_bytes());
        out.extend_from_slice(&span.len.to_le_bytes());
    }
    out.resize(HEADER, 0);
    for section in sections {
        out.extend_from_slice(section);
        out.resize(out.len().next_multiple_of(LINE), 0);
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, &out);
    out.extend_from_slice(digest.as_ref());
    Ok(out)
}

/// Year, month and day side by side; `0` is no date.
fn pack_date(date: Option<Date>) -> u32 {
    date.map_or(0, |d| u32::from(d.year().unsigned_abs()) << 9 | (d.month() as u32) << 5 | d.day() as u32)
}

fn unpack_date(packed: u32) -> Option<Date> {
    let year = i16::try_from(packed >> 9).ok()?;
    Date::new(year, (packed >> 5 & 15) as i8, (packed & 31) as i8).ok()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// The next bytes; zeroes beyond the end.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => [0; N],
        }
    }
}

struct Writer<const N: usize> {
    out: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    fn put(&mut self, bytes: &[u8]) {
        for (to, from) in self.out.iter_mut().skip(self.at).zip(bytes) {
            *to = *from;
        }
        self.at += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_round_trip(service: u32, y in 1i16..9999, m in 1i8..13, d in 1i8..29, at: u32, len: u32, expires: bool) {
            let date = Date::new(y, m, d).unwrap();
            let span = Span { at, len };
            let entry = RawEntry {
                service,
                role: Role::Upload,
                tier: Tier::Weak,
                added: date,
                expires: expires.then_some(date),
                source: span,
                licence: Span::default(),
                note: span,
                list: span,
            };
            prop_assert_eq!(RawEntry::from_bytes(&entry.to_bytes()), Some(entry));
        }

        #[test]
        fn hostile_headers_are_refused_or_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), honest: bool) {
            if honest && bytes.len() >= 16 {
                bytes[..8].copy_from_slice(&MAGIC);
                let n = bytes.len() as u64;
                bytes[8..16].copy_from_slice(&n.to_le_bytes());
            }
            let _ = Header::read(&bytes);
        }
    }
}
