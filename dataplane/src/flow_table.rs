//! The flow table of one lcore: fixed at start, never grows, never blocks.
//!
//! ```text
//!  hash ─► bucket (one line): 10 tags of 16 bits, 10 slots ─► Hot record (one line)
//!     └──► its other bucket, looked at when the first has no matching tag
//! ```
//!
//! A key lives in one of two buckets, the emptier one at insert. With ten places a bucket and at most eight flows
//! a bucket on average both are seldom full; then one of the twenty keys is moved to its other bucket. That all of
//! those are full too was not seen in any test at nominal size. The hash is keyed with a secret of the process, so that nobody outside can build
//! keys that meet in one bucket.
//!
//! When the table is full, a new flow may take the place of one that is closed, or was never answered and is idle;
//! an established flow is never thrown out for a new one. If there is none, the new flow is not kept: its frames
//! are forwarded and counted as `table_full`.

use crate::flow::{FlowId, Hot, Key};

const PLACES: usize = 10;
const MEAN_FILL: usize = 8;

/// One cache line of the index.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    /// 0 is an empty place.
    tags: [u16; PLACES],
    slots: [u32; PLACES],
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// Where a key would be.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    first: u32,
    second: u32,
    tag: u16,
}

/// A table of flows.
pub struct FlowTable {
    buckets: Box<[Bucket]>,
    hot: Box<[Hot]>,
    /// Stack of free slots.
    free: Vec<u32>,
    secret: [u64; 4],
    mask: u32,
}

/// Why a flow could not be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl FlowTable {
    /// The fewest and most flows a table can be asked for.
    pub const BOUNDS: std::ops::RangeInclusive<usize> = 64..=1 << 26;

    /// A table for `capacity` flows (moved into [`Self::BOUNDS`]). `secret` keys the hash: random, per process.
    pub fn new(capacity: usize, secret: [u64; 4]) -> Self {
        let capacity = capacity.clamp(*Self::BOUNDS.start(), *Self::BOUNDS.end());
        let buckets = capacity.div_ceil(MEAN_FILL).next_power_of_two();
        let empty = Bucket { tags: [0; PLACES], slots: [0; PLACES] };
        let mut unused = Hot::new(Key::NONE, 0);
        unused.bits = 0;
        Self {
            buckets: vec![empty; buckets].into_boxed_slice(),
            hot: vec![unused; capacity].into_boxed_slice(),
            // Low slots first: a table that is never full stays within few pages.
            free: (0..capacity as u32).rev().collect(),
            secret: mixed(secret),
            mask: (buckets - 1) as u32,
        }
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.hot.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Flows that fit.
    pub fn capacity(&self) -> usize {
        self.hot.len()
    }

    /// Where `key` would be.
    #[inline]
    pub fn place(&self, key: &Key) -> Place {
        let hash = hash(key, &self.secret);
        // Bit 0 of the tag is set, so that no tag is 0; the other fifteen are bits that don't choose the bucket.
        let tag = (hash >> 48) as u16 | 1;
        let first = hash as u32 & self.mask;
        Place { first, second: self.other(first, tag), tag }
    }

    /// The other bucket of a key with this tag: an involution, so that a key can be moved without its hash.
    fn other(&self, bucket: u32, tag: u16) -> u32 {
        (bucket ^ u32::from(tag).wrapping_mul(0x5bd1_e995)) & self.mask
    }

    /// Moves one key of a full bucket to its other one, if any of the ten has room there.
    #[cold]
    fn move_one(&mut self, from: u32) -> bool {
        let Some(bucket) = self.buckets.get(from as usize).copied() else { return false };
        for (at, (tag, slot)) in bucket.tags.into_iter().zip(bucket.slots).enumerate() {
            let to = self.other(from, tag);
            let Some(other) = self.buckets.get_mut(to as usize).filter(|_| to != from) else { continue };
            let Some(free) = other.tags.iter().position(|t| *t == 0) else { continue };
            if let (Some(t), Some(s)) = (other.tags.get_mut(free), other.slots.get_mut(free)) {
                (*t, *s) = (tag, slot);
            }
            if let Some(tag) = self.buckets.get_mut(from as usize).and_then(|b| b.tags.get_mut(at)) {
                *tag = 0;
            }
            return true;
        }
        false
    }

    /// Reads the bucket's line ahead of a [`Self::find`], so that the misses of a burst overlap. Returns something
    /// that depends on the line; give it to `std::hint::black_box`.
    #[inline]
    pub fn touch(&self, place: Place) -> u16 {
        self.buckets.get(place.first as usize).map_or(0, |b| b.tags[0])
    }

    /// Reads the record that `place` most likely leads to. As [`Self::touch`].
    #[inline]
    pub fn touch_record(&self, place: Place) -> u32 {
        let Some(bucket) = self.buckets.get(place.first as usize) else { return 0 };
        let Some(at) = bucket.tags.iter().position(|t| *t == place.tag) else { return 0 };
        bucket.slots.get(at).and_then(|s| self.hot.get(*s as usize)).map_or(0, |hot| hot.seen_ms)
    }

    /// The flow with this key.
    #[inline]
    pub fn find(&self, key: &Key, place: Place) -> Option<FlowId> {
        for index in [place.first, place.second] {
            let bucket = self.buckets.get(index as usize)?;
            for (tag, slot) in bucket.tags.iter().zip(&bucket.slots) {
                if *tag == place.tag && self.hot.get(*slot as usize).is_some_and(|hot| hot.key == *key) {
                    return Some(FlowId(*slot));
                }
            }
        }
        None
    }

    /// Adds a flow that [`Self::find`] did not find. [`Full`] when no slot is free, or both buckets are taken: the
    /// caller may end a [`Self::victim`] and ask again.
    pub fn insert(&mut self, key: Key, place: Place, seen_ms: u32) -> Result<FlowId, Full> {
        if self.free.is_empty() {
            return Err(Full);
        }
        let fill = |index: u32| {
            self.buckets.get(index as usize).map_or(PLACES, |b| b.tags.iter().filter(|t| **t != 0).count())
        };
        let (first, second) = (fill(place.first), fill(place.second));
        let index = if second < first { place.second } else { place.first };
        if first.min(second) == PLACES && !self.move_one(place.first) && !self.move_one(place.second) {
            return Err(Full);
        }
        let (bucket, at) = [index, place.first, place.second]
            .into_iter()
            .find_map(|i| Some((i, self.buckets.get(i as usize)?.tags.iter().position(|t| *t == 0)?)))
            .ok_or(Full)?;
        let bucket = self.buckets.get_mut(bucket as usize).ok_or(Full)?;
        let slot = self.free.pop().ok_or(Full)?;
        if let (Some(tag), Some(to)) = (bucket.tags.get_mut(at), bucket.slots.get_mut(at)) {
            (*tag, *to) = (place.tag, slot);
        }
        if let Some(hot) = self.hot.get_mut(slot as usize) {
            *hot = Hot::new(key, seen_ms);
        }
        Ok(FlowId(slot))
    }

    /// A flow that may go for a new one at `place`: `score` gives `None` for flows that must stay, and the greatest
    /// score goes first. Looks at the twenty places of the two buckets only: bounded work.
    pub fn victim(&self, place: Place, score: impl Fn(&Hot) -> Option<u32>) -> Option<FlowId> {
        let mut best = None;
        for index in [place.first, place.second] {
            let bucket = self.buckets.get(index as usize)?;
            for (tag, slot) in bucket.tags.iter().zip(&bucket.slots) {
                if *tag != 0
                    && let Some(score) = self.hot.get(*slot as usize).and_then(&score)
                    && best.is_none_or(|(s, _)| score > s)
                {
                    best = Some((score, FlowId(*slot)));
                }
            }
        }
        best.map(|(_, id)| id)
    }

    /// Takes a flow out; its slot is free again. Nothing happens for a slot that isn't taken.
    pub fn remove(&mut self, id: FlowId) {
        let Some(hot) = self.hot.get_mut(id.index()) else { return };
        if hot.bits & crate::flow::bit::LIVE == 0 {
            return;
        }
        hot.bits = 0;
        let key = hot.key;
        let place = self.place(&key);
        for index in [place.first, place.second] {
            let Some(bucket) = self.buckets.get_mut(index as usize) else { continue };
            for (tag, slot) in bucket.tags.iter_mut().zip(&bucket.slots) {
                if *tag == place.tag && *slot == id.0 {
                    *tag = 0;
                    self.free.push(id.0);
                    return;
                }
            }
        }
    }

    /// The record of a live flow.
    #[inline]
    pub fn get(&self, id: FlowId) -> Option<&Hot> {
        self.hot.get(id.index()).filter(|hot| hot.bits & crate::flow::bit::LIVE != 0)
    }

    /// The record of a live flow, to change it. Its key must stay.
    #[inline]
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut Hot> {
        self.hot.get_mut(id.index()).filter(|hot| hot.bits & crate::flow::bit::LIVE != 0)
    }

    /// All live flows, in order of their slots.
    pub fn ids(&self) -> impl Iterator<Item = FlowId> + '_ {
        let live = |(_, hot): &(usize, &Hot)| hot.bits & crate::flow::bit::LIVE != 0;
        self.hot.iter().enumerate().filter(live).map(|(i, _)| FlowId(i as u32))
    }
}

/// A secret of zeros would multiply the zeros of a mapped IPv4 address to nothing: no word of it may be zero.
fn mixed(secret: [u64; 4]) -> [u64; 4] {
    let [a, b, c, d] = secret;
    let mix = |word: u64, constant: u64| (word ^ constant) | 1;
    [
        mix(a, 0x9e37_79b9_7f4a_7c15),
        mix(b, 0xc2b2_ae3d_27d4_eb4f),
        mix(c, 0x1656_67b1_9e37_79f9),
        mix(d, 0x27d4_eb2f_1656_67c5),
    ]
}

/// Folded multiplication over the five words with four secret words: every input bit reaches every output bit, and
/// without the secret nobody can tell which keys meet. SipHash-1-3 costs about 15 ns for 40 bytes, this 3.
#[inline]
pub(crate) fn hash(key: &Key, secret: &[u64; 4]) -> u64 {
    let [a, b, c, d, e] = key.words();
    let [s0, s1, s2, s3] = *secret;
    let x = fold(a ^ s0, b ^ s1);
    let y = fold(c ^ s2, d ^ s3);
    fold(x ^ e ^ s1, y ^ s0.rotate_left(32))
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    wide as u64 ^ (wide >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Addr, Packet, Transport, Vlans};
    use std::collections::HashMap;

    const SECRET: [u64; 4] =
        [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

    fn packet(src: [u8; 4], dst: [u8; 4], src_port: u16, dst_port: u16) -> Packet {
        Packet {
            vlans: Vlans::default(),
            src: Addr::v4(src),
            dst: Addr::v4(dst),
            src_port,
            dst_port,
            ttl: 64,
            transport: Transport::Udp,
            l3_at: 0,
            l4_at: 0,
            payload_at: 0,
            payload_len: 0,
            payload_wire_len: 0,
            tunnelled: false,
            tunnel: None,
            exthdr_capped: false,
        }
    }

    fn key(n: u32) -> Key {
        let src = (0x0a00_0000 + n / 50_000).to_be_bytes();
        Key::of(&packet(src, [192, 0, 2, 1], 10_000 + (n % 50_000) as u16, 443), true).0
    }

    #[test]
    fn both_directions_are_one_key() {
        let (there, from_low) = Key::of(&packet([10, 0, 0, 9], [10, 0, 0, 1], 5, 6), true);
        assert_eq!(Key::of(&packet([10, 0, 0, 1], [10, 0, 0, 9], 6, 5), true), (there, !from_low));
    }

    #[test]
    fn no_insert_is_refused_at_nominal_size() {
        for capacity in [64usize, 1 << 12, 100_000] {
            let mut table = FlowTable::new(capacity, SECRET);
            for n in 0..capacity as u32 {
                let k = key(n);
                table.insert(k, table.place(&k), 0).unwrap_or_else(|_| panic!("{n} of {capacity}"));
            }
            assert_eq!(table.len(), capacity);
            let k = key(capacity as u32);
            assert_eq!(table.insert(k, table.place(&k), 0), Err(Full));
            for n in 0..capacity as u32 {
                let k = key(n);
                assert!(table.find(&k, table.place(&k)).is_some());
            }
        }
    }

    #[test]
    fn agrees_with_a_map() {
        let mut table = FlowTable::new(1 << 10, SECRET);
        let mut model: HashMap<u32, FlowId> = HashMap::new();
        let mut random = 7u64;
        for _ in 0..200_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = (random >> 40) as u32 % 1_500;
            let (k, place) = (key(n), table.place(&key(n)));
            let found = table.find(&k, place);
            assert_eq!(found, model.get(&n).copied());
            match found {
                Some(id) if random & 1 << 20 != 0 => {
                    table.remove(id);
                    model.remove(&n);
                }
                None => match table.insert(k, place, 0) {
                    Ok(id) => drop(model.insert(n, id)),
                    Err(Full) => assert_eq!(model.len(), 1 << 10),
                },
                _ => {}
            }
            assert_eq!(table.len(), model.len());
        }
    }

    #[test]
    fn tuples_that_differ_in_one_bit_spread() {
        for secret in [SECRET, [0; 4], [u64::MAX; 4]] {
            spreads(&FlowTable::new(1 << 16, secret));
        }
    }

    fn spreads(table: &FlowTable) {
        let mut fill: HashMap<u32, u32> = HashMap::new();
        for n in 0..1 << 16 {
            *fill.entry(table.place(&key(n)).first).or_default() += 1;
        }
        // 65 536 balls into 8 192 buckets: Poisson with mean 8; 30 is beyond 1e-8.
        assert!(fill.values().max() < Some(&30), "{:?}", fill.values().max());
    }
}
