//! Which group a client's address belongs to: the part of a matrix that identity compiles to.
//!
//! An address, a group and a number of the subject that means nothing outside of the process that dealt it: who stands
//! behind it is known to the slow path and never leaves it. The number is there only while a charter is in force
//! ([`Members::without_subjects`]). An address that is not listed belongs to nobody, and of nobody's flows nothing is
//! observed under a charter.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::vocab::{GroupId, SubjectId};

/// The most addresses; a matrix with all of them is 2.8 MiB larger. What comes beyond belongs to nobody.
pub const MAX_MEMBERS: usize = 1 << 17;
/// Bytes of an entry in an encoded matrix: address, group, subject.
pub(super) const ENTRY: usize = 22;

/// Who has an address, as far as the fast path may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Their group; 0 for whoever belongs to none.
    pub group: GroupId,
    /// Their number.
    pub subject: SubjectId,
}

/// Addresses with their groups. Lookups are keyed against whoever chooses addresses to collide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    all: HashMap<[u8; 16], Member>,
}

impl Members {
    /// From addresses and who has them; of an address that is listed twice, the last entry holds.
    pub fn new(all: impl IntoIterator<Item = (IpAddr, Member)>) -> Self {
        let all = all.into_iter().filter(|(_, member)| member.group != GroupId(0));
        Self { all: all.map(|(ip, member)| (key(ip), member)).take(MAX_MEMBERS).collect() }
    }

    /// The same with groups only: nobody is told apart, but those in rows that `but` names.
    #[must_use]
    pub fn without_subjects(mut self, but: impl Fn(GroupId) -> bool) -> Self {
        let others = self.all.values_mut().filter(|member| !but(member.group));
        others.for_each(|member| member.subject = SubjectId::NOBODY);
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Who has an address in sixteen bytes, as [`key`] makes them.
    pub fn member(&self, address: &[u8; 16]) -> Member {
        if self.all.is_empty() {
            return Member::default();
        }
        self.all.get(address).copied().unwrap_or_default()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        // Sorted, so that the same members give the same hash.
        let mut all: Vec<_> = self.all.iter().collect();
        all.sort_unstable();
        for (address, member) in all {
            out.extend_from_slice(address);
            out.extend_from_slice(&member.group.0.to_le_bytes());
            out.extend_from_slice(&member.subject.0.to_le_bytes());
        }
    }

    /// Reads what [`Members::write`] wrote; `Err` with the entry that is out of order or names no group of the matrix.
    pub(super) fn read(bytes: &[u8], groups: usize) -> Result<Self, usize> {
        let mut members = Self { all: HashMap::with_capacity(bytes.len() / ENTRY) };
        let mut last: Option<[u8; 16]> = None;
        for (i, entry) in bytes.chunks_exact(ENTRY).enumerate() {
            let (address, member) = entry.split_first_chunk::<16>().ok_or(i)?;
            let (group, subject) = member.split_first_chunk::<2>().ok_or(i)?;
            let group = u16::from_le_bytes(*group);
            let subject = SubjectId(u32::from_le_bytes(subject.try_into().map_err(|_| i)?));
            if group == 0 || usize::from(group) >= groups || last.is_some_and(|last| last >= *address) {
                return Err(i);
            }
            last = Some(*address);
            members.all.insert(*address, Member { group: GroupId(group), subject });
        }
        Ok(members)
    }
}

/// An address in sixteen bytes: IPv6 as it is, IPv4 in the prefix `::fffe:0:0/96`, which no IPv6 packet has.
pub fn key(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => (0xfffe_u128 << 32 | u128::from(u32::from(v4))).to_be_bytes(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
