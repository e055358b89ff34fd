//! Which group a client's address belongs to: the part of a matrix that identity compiles to.
//!
//! Addresses only: what device or person stands behind one is known to the slow path and never leaves it. An address
//! that is not listed belongs to nobody, and of nobody's flows nothing is observed under a charter.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::vocab::GroupId;

/// The most addresses; a matrix with all of them is 2.3 MiB larger. What comes beyond belongs to nobody.
pub const MAX_MEMBERS: usize = 1 << 17;
/// Bytes of an entry in an encoded matrix: address, group.
pub(super) const ENTRY: usize = 18;

/// Addresses with their groups. Lookups are keyed against whoever chooses addresses to collide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    groups: HashMap<[u8; 16], GroupId>,
}

impl Members {
    /// From addresses and groups; of an address that is listed twice, the last entry holds.
    pub fn new(all: impl IntoIterator<Item = (IpAddr, GroupId)>) -> Self {
        let all = all.into_iter().filter(|(_, group)| *group != GroupId(0));
        Self { groups: all.map(|(ip, group)| (key(ip), group)).take(MAX_MEMBERS).collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The group of an address in sixteen bytes, as [`key`] makes them.
    pub fn group(&self, address: &[u8; 16]) -> GroupId {
        if self.groups.is_empty() {
            return GroupId(0);
        }
        self.groups.get(address).copied().unwrap_or_default()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        // Sorted, so that the same members give the same hash.
        let mut all: Vec<_> = self.groups.iter().collect();
        all.sort_unstable();
        for (address, group) in all {
            out.extend_from_slice(address);
            out.extend_from_slice(&group.0.to_le_bytes());
        }
    }

    /// Reads what [`Members::write`] wrote; `Err` with the entry that is out of order or names no group of the matrix.
    pub(super) fn read(bytes: &[u8], groups: usize) -> Result<Self, usize> {
        let mut members = Self { groups: HashMap::with_capacity(bytes.len() / ENTRY) };
        let mut last: Option<[u8; 16]> = None;
        for (i, entry) in bytes.chunks_exact(ENTRY).enumerate() {
            let (address, group) = entry.split_first_chunk::<16>().ok_or(i)?;
            let group = u16::from_le_bytes(group.try_into().map_err(|_| i)?);
            if group == 0 || usize::from(group) >= groups || last.is_some_and(|last| last >= *address) {
                return Err(i);
            }
            last = Some(*address);
            members.groups.insert(*address, GroupId(group));
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
