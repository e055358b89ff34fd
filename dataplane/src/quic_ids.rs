//! Connection ids that servers chose, with the name of the flow they were chosen in.
//!
//! A QUIC flow may move to another 5-tuple and keep its connection id: after a NAT forgot it, or when a phone changes
//! its network (RFC 9000 sections 5.1 and 9). What moved begins with short headers, which carry the server's id and
//! nothing else in clear. Known here by its first eight bytes and the server's address; shorter ids are not kept,
//! because they would meet by chance. A client that takes a new id with the move is not known again, by design of
//! the protocol.
//!
//! A ring of fixed size: the oldest id gives way, and its flow, should it move after that, counts as `quic_migrated`.

use crate::packet::Addr;
use glassgate_policy::Name;

const ID: usize = 8;

struct Entry {
    server: Addr,
    id: [u8; ID],
    name: Name,
}

/// The ids of one lcore.
pub struct QuicIds {
    entries: Vec<Entry>,
    /// Open addressing by hash: index into `entries` plus one.
    index: Box<[u32]>,
    oldest: usize,
    capacity: usize,
}

impl QuicIds {
    /// Room for `capacity` ids, all taken here: about 300 bytes each.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(16, 1 << 20);
        let index = vec![0; (capacity * 2).next_power_of_two()].into_boxed_slice();
        Self { entries: Vec::with_capacity(capacity), index, oldest: 0, capacity }
    }

    /// The server chose `id` in a flow with this name.
    pub fn learn(&mut self, server: Addr, id: &[u8], name: &Name) {
        let Some(id) = id.first_chunk::<ID>().copied() else { return };
        let bucket = self.bucket(server, id);
        let entry = Entry { server, id, name: *name };
        let at = if self.entries.len() < self.capacity {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let at = self.oldest;
            self.oldest = (at + 1) % self.capacity;
            if let Some(slot) = self.entries.get_mut(at) {
                *slot = entry;
            }
            at
        };
        // One place per bucket: of two ids that meet, the later is kept. A stale place leads to an entry that does not
        // match, which is the same as none.
        if let Some(place) = self.index.get_mut(bucket) {
            *place = at as u32 + 1;
        }
    }

    /// The name of the flow whose server chose the id that `bytes` begins with.
    pub fn lookup(&self, server: Addr, bytes: &[u8]) -> Option<Name> {
        let id = bytes.first_chunk::<ID>().copied()?;
        let at = self.index.get(self.bucket(server, id))?.checked_sub(1)?;
        let entry = self.entries.get(at as usize)?;
        (entry.server == server && entry.id == id).then_some(entry.name)
    }

    fn bucket(&self, server: Addr, id: [u8; ID]) -> usize {
        let address = u128::from_le_bytes(server.0);
        let mixed = u64::from_le_bytes(id) ^ (address as u64) ^ (address >> 64) as u64;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (self.index.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_by_address_and_id_until_forgotten() {
        let mut ids = QuicIds::new(16);
        let server = Addr::v4([192, 0, 2, 1]);
        let name = Name::from_wire(b"example.org").unwrap();
        ids.learn(server, b"12345678abc", &name);
        assert_eq!(ids.lookup(server, b"12345678xyz and the packet"), Some(name));
        assert_eq!(ids.lookup(Addr::v4([192, 0, 2, 2]), b"12345678xyz"), None);
        assert_eq!(ids.lookup(server, b"1234567"), None);
        ids.learn(server, b"short", &name);
        assert_eq!(ids.entries.len(), 1, "ids that could meet by chance are not kept");
        for i in 0..16u64 {
            ids.learn(server, &i.to_be_bytes(), &name);
        }
        assert_eq!(ids.lookup(server, b"12345678"), None, "the oldest gave way");
        assert_eq!(ids.lookup(server, &15u64.to_be_bytes()), Some(name));
    }
}
