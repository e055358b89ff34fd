//! Resource records of the answer section.

use super::{HEADER, Question, labels};
use crate::packet::Addr;
use glassgate_policy::Name;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
const INTERNET: u16 = 1;

/// A record of the answer section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data<'a>,
    bytes: &'a [u8],
    /// Where its owner and its data begin.
    owner: usize,
    start: usize,
}

impl Answer<'_> {
    /// The name that it is about. `None` when it can't be read.
    pub fn owner(&self) -> Option<Name> {
        labels::name(self.bytes, self.owner).map(|(name, _)| name)
    }
}

/// What a record of the class of the Internet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a record is looked at once, on the stack")]
pub enum Data<'a> {
    /// An address, of type A or AAAA.
    Address(Addr),
    /// The name goes by another one.
    Cname(Name),
    /// Type HTTPS or SVCB (RFC 9460).
    Service(Service<'a>),
    /// Any other, or one that can't be read.
    Other,
}

/// How to reach a service (RFC 9460).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service<'a> {
    /// `0` for an alias, whose parameters say nothing.
    pub priority: u16,
    /// Whether a configuration for Encrypted ClientHello comes with it (RFC 9848).
    pub has_ech: bool,
    ipv4: &'a [u8],
    ipv6: &'a [u8],
}

impl<'a> Service<'a> {
    /// Addresses to try while those of the target are asked for.
    pub fn hints(&self) -> impl Iterator<Item = Addr> + use<'a> {
        let v4 = self.ipv4.as_chunks::<4>().0.iter().map(|a| Addr::v4(*a));
        let v6 = self.ipv6.as_chunks::<16>().0.iter().map(|a| Addr(*a));
        v4.chain(v6)
    }

    fn read(bytes: &'a [u8], at: usize, end: usize) -> Option<Self> {
        let priority = u16::from_be_bytes(*bytes.get(at..end)?.first_chunk()?);
        // The target is never compressed (RFC 9460 section 2.2); a pointer is skipped like one that is allowed.
        let mut rest = bytes.get(labels::skip(bytes, at + 2)?..end)?;
        let mut service = Self { priority, has_ech: false, ipv4: &[], ipv6: &[] };
        while let Some(([k0, k1, l0, l1], value)) = rest.split_first_chunk::<4>() {
            let (value, after) = value.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))?;
            match u16::from_be_bytes([*k0, *k1]) {
                4 => service.ipv4 = value,
                5 => service.has_ech = true,
                6 => service.ipv6 = value,
                _ => {}
            }
            rest = after;
        }
        rest.is_empty().then_some(service)
    }
}

/// The records of the answer section.
#[derive(Clone, Debug)]
pub struct Answers<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u16,
}

impl<'a> Answers<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize, left: u16) -> Self {
        Self { bytes, at, left }
    }
}

impl<'a> Iterator for Answers<'a> {
    type Item = Answer<'a>;

    fn next(&mut self) -> Option<Answer<'a>> {
        self.left = self.left.checked_sub(1)?;
        let Some(record) = Record::at(self.bytes, self.at) else {
            self.left = 0;
            return None;
        };
        let owner = self.at;
        self.at = record.end;
        let (bytes, start) = (self.bytes, record.data);
        Some(Answer { ttl: record.ttl, data: record.data(bytes), bytes, owner, start })
    }
}

/// The addresses that an answer gives for the name that was asked for, with the seconds that they hold.
///
/// They belong to the name itself, to the names that it goes by one after the other (CNAME), or are hints of its HTTPS
/// record. A CNAME must stand before the records of the name it leads to, as all common servers write it. The seconds
/// are the fewest on the way.
///
/// A name is known by where it stands in the message: nearly every owner is a pointer there, so that none is read.
#[derive(Clone, Debug)]
pub struct Addresses<'a> {
    bytes: &'a [u8],
    /// Where the next record begins, and how many are left.
    at: usize,
    left: u16,
    /// Where the name stands that comes next on the way.
    current: usize,
    ttl: u32,
    pending: Option<(Service<'a>, u32)>,
    given: usize,
}

impl<'a> Addresses<'a> {
    /// Of the answers that begin at `at`, for the name of the first question.
    pub(super) const fn new(bytes: &'a [u8], at: usize, left: u16) -> Self {
        Self { bytes, at, left, current: HEADER, ttl: u32::MAX, pending: None, given: 0 }
    }

    /// Whether the record at `owner` is about the name that comes next.
    fn is_current(&self, owner: usize) -> bool {
        labels::target(self.bytes, owner) == self.current
            || labels::name(self.bytes, owner).is_some_and(|(name, _)| {
                labels::name(self.bytes, self.current).is_some_and(|(c, _)| c == name)
            })
    }
}

impl Iterator for Addresses<'_> {
    type Item = (Addr, u32);

    fn next(&mut self) -> Option<(Addr, u32)> {
        loop {
            if let Some((service, ttl)) = self.pending {
                if let Some(addr) = service.hints().nth(self.given) {
                    self.given += 1;
                    return Some((addr, ttl));
                }
                self.pending = None;
            }
            self.left = self.left.checked_sub(1)?;
            let Some(record) = Record::at(self.bytes, self.at) else {
                self.left = 0;
                return None;
            };
            let owner = std::mem::replace(&mut self.at, record.end);
            if record.class != INTERNET || !matches!(record.kind, A | AAAA | CNAME | HTTPS | SVCB) {
                continue;
            }
            if !self.is_current(owner) {
                continue;
            }
            // A TTL with its first bit set is 0 (RFC 2181 section 8).
            let ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl.min(self.ttl) };
            if record.kind == CNAME {
                if labels::check(self.bytes, record.data).is_some() {
                    (self.current, self.ttl) = (labels::target(self.bytes, record.data), ttl);
                }
                continue;
            }
            match record.data(self.bytes) {
                Data::Address(addr) => return Some((addr, ttl)),
                Data::Service(service) if service.priority > 0 => {
                    (self.pending, self.given) = (Some((service, ttl)), 0)
                }
                Data::Service(_) | Data::Cname(_) | Data::Other => {}
            }
        }
    }
}

struct Record {
    kind: u16,
    class: u16,
    ttl: u32,
    data: usize,
    end: usize,
}

impl Record {
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let at = labels::skip(bytes, at)?;
        let [k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = *bytes.get(at..)?.first_chunk()?;
        let data = at + 10;
        let end = data + usize::from(u16::from_be_bytes([l0, l1]));
        bytes.get(data..end)?;
        Some(Self {
            kind: u16::from_be_bytes([k0, k1]),
            class: u16::from_be_bytes([c0, c1]),
            ttl: u32::from_be_bytes([t0, t1, t2, t3]),
            data,
            end,
        })
    }

    fn data<'a>(&self, bytes: &'a [u8]) -> Data<'a> {
        let data = bytes.get(self.data..self.end).unwrap_or_default();
        let read = match self.kind {
            _ if self.class != INTERNET => None,
            A => <[u8; 4]>::try_from(data).ok().map(|a| Data::Address(Addr::v4(a))),
            AAAA => <[u8; 16]>::try_from(data).ok().map(|a| Data::Address(Addr(a))),
            CNAME => labels::name(bytes, self.data).map(|(name, _)| Data::Cname(name)),
            HTTPS | SVCB => Service::read(bytes, self.data, self.end).map(Data::Service),
            _ => None,
        };
        read.unwrap_or(Data::Other)
    }
}

/// The question at `at`, and where what follows it begins.
pub(super) fn question(bytes: &[u8], at: usize) -> Option<(Question, usize)> {
    let (name, at) = labels::name(bytes, at)?;
    let (qtype, class) = asked(bytes, at)?;
    Some((Question { name, qtype, class }, at + 4))
}

/// The type and class of the question at `at`, if all of it can be read.
pub(super) fn check_question(bytes: &[u8], at: usize) -> Option<(u16, u16)> {
    asked(bytes, labels::check(bytes, at)?)
}

fn asked(bytes: &[u8], at: usize) -> Option<(u16, u16)> {
    let [t0, t1, c0, c1] = *bytes.get(at..)?.first_chunk()?;
    Some((u16::from_be_bytes([t0, t1]), u16::from_be_bytes([c0, c1])))
}

/// Where the questions end.
pub(super) fn after_questions(bytes: &[u8], count: u16) -> Option<usize> {
    (0..count).try_fold(HEADER, |at, _| {
        let end = labels::skip(bytes, at)? + 4;
        (end <= bytes.len()).then_some(end)
    })
}

/// Where so many records end.
pub(super) fn end_of(bytes: &[u8], at: usize, count: u32) -> Option<usize> {
    (0..count).try_fold(at, |at, _| Record::at(bytes, at).map(|record| record.end))
}
