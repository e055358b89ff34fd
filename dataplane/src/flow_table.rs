//! The flow table of one lcore: fixed at start, never grows, never blocks.
//!
//! ```text
//!  hash ─► bucket (one line): 10 tags of 16 bits, 10 slots ─► Hot record (one line)
//!     └──► its other bucket, looked at when the first has no matching tag
//! ```
//!
//! A key lives in its first bucket where that has room, else in its other one. With ten places a bucket and eight flows
//! a bucket on average at nominal size, one key in sixteen lives in its other bucket (in a table half full: one in a
//! thousand), so that nearly every lookup costs one index line and one record. The emptier of the two would be fairer
//! to the places and double the index lines of half of all lookups. Where both are full, keys are moved to their other
//! buckets, two steps far; that this fails was not seen in any test at nominal size.
//!
//! A burst is looked up in three passes, so that its misses overlap: [`FlowTable::prefetch_bucket`] for all frames,
//! [`FlowTable::likely`] for all, which asks for the records, then [`FlowTable::find_likely`].
//!
//! 72 bytes a flow: 64 of the record, 8 of the index. Free slots are linked through their records. A key is 40 bytes for
//! IPv4 and IPv6 alike. The hash is keyed with a secret of the process, so that nobody outside can build keys that meet in
//! one bucket.
//!
//! When the table is full, a new flow may take the place of one that is closed, or was never answered and is idle;
//! an established flow is never thrown out for a new one. If there is none, the new flow is not kept: its frames
//! are forwarded and counted as `table_full`. No address may have opened more than a tenth of what the table holds
//! ([`MIN_SHARE`] in small ones): one that scans or floods fills its share, not the table.

use crate::flow::{FlowId, Hot, Key, bit};
use prefetch_index::prefetch_index;
use wide::{bytemuck, u16x8, u16x16};

const PLACES: usize = 10;
const MEAN_FILL: usize = 8;
/// One source may have opened this part of the table.
const SHARE: usize = 10;
/// The least that every source may have opened, whatever the size of the table.
pub const MIN_SHARE: usize = 4096;
/// Counters of sources. Sources that meet in one counter share their share: next to one that floods, one in 16 384 others
/// is kept out with it.
const SOURCES: usize = 1 << 14;
/// No slot.
const NIL: u32 = u32::MAX;
/// Records that one [`FlowTable::sweep`] looks at.
const SWEEP: usize = 32;

/// One cache line of the index.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    /// 0 is an empty place.
    tags: [u16; PLACES],
    slots: [u32; PLACES],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const EMPTY: Self = Self { tags: [0; PLACES], slots: [0; PLACES] };

    /// A bit for each place with this tag. Without branches: which place it is, is as good as random. Eight at once by
    /// hand, the first and the last: of a loop over all ten, compilers make forty instructions.
    #[inline]
    fn matches(&self, tag: u16) -> u32 {
        let (Some(first), Some(last)) = (self.tags.first_chunk::<8>(), self.tags.last_chunk::<8>()) else {
            return 0;
        };
        let both: u16x16 = bytemuck::cast([u16x8::new(*first), u16x8::new(*last)]);
        let found = both.simd_eq(u16x16::splat(tag)).to_bitmask();
        (found | found >> 8 << (PLACES - 8)) & ((1 << PLACES) - 1)
    }

    fn free_place(&self) -> Option<usize> {
        self.tags.iter().position(|t| *t == 0)
    }

    fn put(&mut self, at: usize, tag: u16, slot: u32) {
        if let (Some(t), Some(s)) = (self.tags.get_mut(at), self.slots.get_mut(at)) {
            (*t, *s) = (tag, slot);
        }
    }
}

/// Where a key would be: its first bucket, and the tag that leads to its other one.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    first: u32,
    tag: u16,
}

impl Place {
    /// Where nothing is.
    pub(crate) const NONE: Self = Self { first: 0, tag: 0 };
}

/// The slot that a key most likely has; see [`FlowTable::likely`].
#[derive(Clone, Copy, Debug)]
pub struct Likely(u32);

impl Likely {
    /// No slot is likelier than another.
    pub const NONE: Self = Self(NIL);

    /// Whether no slot is likelier than another.
    pub fn is_none(self) -> bool {
        self.0 == NIL
    }
}

/// A table of flows.
pub struct FlowTable {
    buckets: Box<[Bucket]>,
    /// Slots that were used at least once; room for all of them was taken at start.
    hot: Vec<Hot>,
    capacity: usize,
    /// First of the slots that are free again; the next one stands in [`Hot::bytes`] of each. The rest are behind the
    /// used ones: memory that no flow needed is not touched.
    free: u32,
    len: usize,
    /// Flows by who opened them.
    sources: Box<[u32; SOURCES]>,
    /// The most that one source may have opened.
    share: u32,
    secret: [u64; 4],
    /// Where the next sweep begins.
    hand: usize,
}

/// Why a flow could not be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No slot is free, or both buckets are full and nothing can be moved.
    Full,
    /// Who opened it has opened as many flows as one source may have.
    Share,
}

impl FlowTable {
    /// The fewest and most flows a table can be asked for.
    pub const BOUNDS: std::ops::RangeInclusive<usize> = 64..=1 << 26;

    /// A table for `capacity` flows (moved into [`Self::BOUNDS`]). `secret` keys the hash: random, per process.
    pub fn new(capacity: usize, secret: [u64; 4]) -> Self {
        let capacity = capacity.clamp(*Self::BOUNDS.start(), *Self::BOUNDS.end());
        Self {
            buckets: vec![Bucket::EMPTY; capacity.div_ceil(MEAN_FILL)].into_boxed_slice(),
            hot: Vec::with_capacity(capacity),
            capacity,
            free: NIL,
            len: 0,
            sources: Box::new([0; SOURCES]),
            share: (capacity / SHARE).max(MIN_SHARE) as u32,
            secret: mixed(secret),
            hand: 0,
        }
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Flows that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Memory of the table, bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets) + size_of::<Hot>() * self.capacity + size_of_val(&*self.sources)
    }

    /// Lets one source have opened all flows of the table: for captures, where nobody is kept out by anybody.
    pub fn without_shares(mut self) -> Self {
        self.share = u32::MAX;
        self
    }

    /// Where `key` would be.
    #[inline]
    pub fn place(&self, key: &Key) -> Place {
        let hash = hash(key, &self.secret);
        // Bit 0 of the tag is set, so that no tag is 0; the other fifteen are bits that don't choose the bucket.
        let tag = (hash >> 48) as u16 | 1;
        Place { first: self.reduce(hash as u32), tag }
    }

    /// The two buckets of a place. The second is worked out only where it is looked into, which is seldom.
    #[inline]
    fn buckets_of(&self, place: Place) -> [u32; 2] {
        [place.first, self.other(place.first, place.tag)]
    }

    /// A number below that of the buckets. They need not be a power of two, which would waste up to half of them.
    #[inline]
    fn reduce(&self, hash: u32) -> u32 {
        ((u64::from(hash) * self.buckets.len() as u64) >> 32) as u32
    }

    /// The other bucket of a key with this tag: an involution, so that a key can be moved without its hash.
    #[inline]
    fn other(&self, bucket: u32, tag: u16) -> u32 {
        let sum = self.reduce(u32::from(tag).wrapping_mul(0x5bd1_e995));
        let (other, wraps) = sum.overflowing_sub(bucket);
        if wraps { other.wrapping_add(self.buckets.len() as u32) } else { other }
    }

    /// Asks for the bucket's line ahead of [`Self::likely`], so that the misses of a burst overlap.
    #[inline]
    pub fn prefetch_bucket(&self, place: Place) {
        prefetch_index(&self.buckets, place.first as usize);
    }

    /// The slot that `place` most likely leads to, whose record is asked for; where the first bucket has no matching
    /// tag, its other one is.
    #[inline]
    pub fn likely(&self, place: Place) -> Likely {
        let Some(bucket) = self.buckets.get(place.first as usize) else { return Likely::NONE };
        let matches = bucket.matches(place.tag);
        match bucket.slots.get(matches.trailing_zeros() as usize) {
            Some(slot) => {
                prefetch_index(&self.hot, *slot as usize);
                Likely(*slot)
            }
            None => {
                prefetch_index(&self.buckets, self.other(place.first, place.tag) as usize);
                Likely::NONE
            }
        }
    }

    /// [`Self::find`] with a guess: right in all but a few cases, and never believed without a look at the key.
    #[inline]
    pub fn find_likely(&self, key: &Key, place: Place, likely: Likely) -> Option<FlowId> {
        match self.hot.get(likely.0 as usize) {
            Some(hot) if hot.key.same(key) && hot.bits & bit::LIVE != 0 => Some(FlowId(likely.0)),
            _ => self.find(key, place),
        }
    }

    /// The record that a guess leads to, whoever's it is.
    #[inline]
    pub(crate) fn guess(&self, likely: Likely) -> Option<&Hot> {
        self.hot.get(likely.0 as usize)
    }

    /// The record of the flow with this key, if the guess is right. One look, no search.
    #[inline]
    pub fn likely_mut(&mut self, key: &Key, likely: Likely) -> Option<&mut Hot> {
        self.hot.get_mut(likely.0 as usize).filter(|hot| hot.key.same(key) & (hot.bits & bit::LIVE != 0))
    }

    /// The flow with this key.
    #[inline]
    pub fn find(&self, key: &Key, place: Place) -> Option<FlowId> {
        for index in self.buckets_of(place) {
            let bucket = self.buckets.get(index as usize)?;
            let mut matches = bucket.matches(place.tag);
            while let Some(slot) = bucket.slots.get(matches.trailing_zeros() as usize) {
                if self.hot.get(*slot as usize).is_some_and(|hot| hot.key.same(key)) {
                    return Some(FlowId(*slot));
                }
                matches &= matches - 1;
            }
        }
        None
    }

    /// Adds a flow that [`Self::find`] did not find, opened by the lower endpoint or by the higher. When it is refused
    /// because the table is [`Refused::Full`], the caller may end a [`Self::victim`] and ask again.
    pub fn insert(
        &mut self,
        key: Key,
        place: Place,
        seen_ms: u32,
        opener_low: bool,
    ) -> Result<FlowId, Refused> {
        let source = self.source(&key, opener_low);
        if self.sources.get(source).is_none_or(|opened| *opened >= self.share) {
            return Err(Refused::Share);
        }
        let fresh = self.free == NIL;
        if fresh && self.hot.len() == self.capacity {
            return Err(Refused::Full);
        }
        let slot = if fresh { self.hot.len() as u32 } else { self.free };
        let (bucket, at) = self.room(place).ok_or(Refused::Full)?;
        let Some(bucket) = self.buckets.get_mut(bucket as usize) else { return Err(Refused::Full) };
        bucket.put(at, place.tag, slot);
        if fresh {
            self.hot.push(Hot::new(key, seen_ms));
        }
        let Some(hot) = self.hot.get_mut(slot as usize) else { return Err(Refused::Full) };
        if !fresh {
            self.free = hot.bytes[0];
            *hot = Hot::new(key, seen_ms);
        }
        if opener_low {
            hot.bits |= bit::OPENER_LOW;
        }
        self.len += 1;
        if let Some(opened) = self.sources.get_mut(source) {
            *opened += 1;
        }
        Ok(FlowId(slot))
    }

    /// A free place for a key: in its first bucket, in its other one, or after moving others.
    fn room(&mut self, place: Place) -> Option<(u32, usize)> {
        let free = |table: &Self, index: u32| {
            table.buckets.get(index as usize).and_then(Bucket::free_place).map(|at| (index, at))
        };
        let [first, second] = self.buckets_of(place);
        free(self, first).or_else(|| free(self, second)).or_else(|| {
            let moved =
                [1, 2].into_iter().any(|steps| self.move_one(first, steps) || self.move_one(second, steps));
            moved.then(|| free(self, first).or_else(|| free(self, second))).flatten()
        })
    }

    /// Moves one key of a full bucket to its other one, if any of the ten has room there; with more `steps`, makes room
    /// there first.
    #[cold]
    fn move_one(&mut self, from: u32, steps: u32) -> bool {
        let Some(bucket) = self.buckets.get(from as usize).copied() else { return false };
        for (at, (tag, slot)) in bucket.tags.into_iter().zip(bucket.slots).enumerate() {
            let to = self.other(from, tag);
            if to == from || steps > 1 && !self.move_one(to, steps - 1) {
                continue;
            }
            // Making room elsewhere may have taken this key along.
            let stays = self.buckets.get(from as usize).is_some_and(|b| b.slots.get(at) == Some(&slot));
            let Some(other) = self.buckets.get_mut(to as usize).filter(|_| stays) else { continue };
            let Some(free) = other.free_place() else { continue };
            other.put(free, tag, slot);
            if let Some(bucket) = self.buckets.get_mut(from as usize) {
                bucket.put(at, 0, 0);
            }
            return true;
        }
        false
    }

    /// Which counter is that of the endpoint that opened a flow.
    fn source(&self, key: &Key, opener_low: bool) -> usize {
        let [low, high] = key.endpoints();
        let bytes = u128::from_le_bytes(if opener_low { low.0.0 } else { high.0.0 });
        let [s0, s1, s2, _] = self.secret;
        let hash = fold(fold(bytes as u64 ^ s0, (bytes >> 64) as u64 ^ s1), s2);
        (hash >> 32) as usize & (SOURCES - 1)
    }

    /// A flow that may go for a new one at `place`: `score` gives `None` for flows that must stay, and the greatest
    /// score goes first. Looks at the twenty places of the two buckets only: bounded work.
    pub fn victim(&self, place: Place, score: impl Fn(&Hot) -> Option<u32>) -> Option<FlowId> {
        let mut best = None;
        for index in self.buckets_of(place) {
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

    /// As [`Self::victim`], among the next few records, wherever their keys are: for when the slots have run out, not the
    /// places. Each call goes on where the last one ended.
    pub fn sweep(&mut self, score: impl Fn(&Hot) -> Option<u32>) -> Option<FlowId> {
        let mut best = None;
        for _ in 0..SWEEP {
            let at = self.hand;
            self.hand = if at + 1 < self.hot.len() { at + 1 } else { 0 };
            if let Some(score) = self.hot.get(at).filter(|hot| hot.bits & bit::LIVE != 0).and_then(&score)
                && best.is_none_or(|(s, _)| score > s)
            {
                best = Some((score, FlowId(at as u32)));
            }
        }
        best.map(|(_, id)| id)
    }

    /// Takes a flow out; its slot is free again. Nothing happens for a slot that isn't taken.
    pub fn remove(&mut self, id: FlowId) {
        let Some(hot) = self.hot.get_mut(id.index()) else { return };
        if hot.bits & bit::LIVE == 0 {
            return;
        }
        let opener_low = hot.bits & bit::OPENER_LOW != 0;
        hot.bits = 0;
        hot.bytes = [self.free, 0];
        self.free = id.0;
        self.len -= 1;
        let key = hot.key;
        let (place, source) = (self.place(&key), self.source(&key, opener_low));
        if let Some(opened) = self.sources.get_mut(source) {
            *opened = opened.saturating_sub(1);
        }
        for index in self.buckets_of(place) {
            let Some(bucket) = self.buckets.get_mut(index as usize) else { continue };
            for (tag, slot) in bucket.tags.iter_mut().zip(&bucket.slots) {
                if *tag == place.tag && *slot == id.0 {
                    *tag = 0;
                    return;
                }
            }
        }
    }

    /// The record of a live flow.
    #[inline]
    pub fn get(&self, id: FlowId) -> Option<&Hot> {
        self.hot.get(id.index()).filter(|hot| hot.bits & bit::LIVE != 0)
    }

    /// The record of a live flow, to change it. Its key must stay.
    #[inline]
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut Hot> {
        self.hot.get_mut(id.index()).filter(|hot| hot.bits & bit::LIVE != 0)
    }

    /// All live flows, in order of their slots.
    pub fn ids(&self) -> impl Iterator<Item = FlowId> + '_ {
        let live = |(_, hot): &(usize, &Hot)| hot.bits & bit::LIVE != 0;
        self.hot.iter().enumerate().filter(live).map(|(i, _)| FlowId(i as u32))
    }
}

/// A secret of zeros would multiply the zeros of a mapped IPv4 address to nothing: no word of it may be zero.
pub(crate) fn mixed(secret: [u64; 4]) -> [u64; 4] {
    let [a, b, c, d] = secret;
    let mix = |word: u64, constant: u64| (word ^ constant) | 1;
    [
        mix(a, 0x9e37_79b9_7f4a_7c15),
        mix(b, 0xc2b2_ae3d_27d4_eb4f),
        mix(c, 0x1656_67b1_9e37_79f9),
        mix(d, 0x27d4_eb2f_1656_67c5),
    ]
}

/// Folded multiplication with secret words, over the two words of an IPv4 key or the five of an IPv6 key: every input bit
/// reaches every output bit, and without the secret nobody can tell which keys meet. SipHash-1-3 costs about 15 ns for 40
/// bytes, this 2 and 3.
///
/// The last multiplication is by a constant. Without it, ports that count up, as those of one client do, walked through
/// the buckets in steps that left half of them empty.
#[inline]
pub(crate) fn hash(key: &Key, secret: &[u64; 4]) -> u64 {
    let [e, a, b, c, d] = *key.words();
    let [s0, s1, s2, s3] = *secret;
    let mixed = if key.is_v4() {
        fold(e ^ s0, a ^ s1) ^ s2
    } else {
        fold(fold(a ^ s0, b ^ s1) ^ e ^ s1, fold(c ^ s2, d ^ s3) ^ s0.rotate_left(32))
    };
    fold(mixed, 0x9e37_79b9_7f4a_7c15)
}

/// Both halves of the product, folded together.
#[inline]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    wide as u64 ^ (wide >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Addr, Packet, Transport, Vlans};
    use glassgate_policy::L4;
    use std::collections::HashMap;

    /// Every source may have what it wants.
    fn table(capacity: usize) -> FlowTable {
        FlowTable::new(capacity, SECRET).without_shares()
    }

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
        for capacity in [64usize, 1 << 12, 100_000, 777_777] {
            let mut table = table(capacity);
            for n in 0..capacity as u32 {
                let k = key(n);
                table.insert(k, table.place(&k), 0, true).unwrap_or_else(|_| panic!("{n} of {capacity}"));
            }
            assert_eq!(table.len(), capacity);
            let k = key(capacity as u32);
            assert_eq!(table.insert(k, table.place(&k), 0, true), Err(Refused::Full));
            for n in 0..capacity as u32 {
                let k = key(n);
                assert!(table.find(&k, table.place(&k)).is_some());
            }
        }
    }

    /// Whoever knows the hash and not the key chooses what would meet under a key of their own.
    #[test]
    fn tuples_that_meet_under_another_key_do_not_meet_here() {
        const TUPLES: usize = 1_000_000;
        let (theirs, mut ours) = (FlowTable::new(TUPLES, [1, 2, 3, 4]).without_shares(), table(TUPLES));
        let part = theirs.buckets.len() as u32 / 64;
        let (mut chosen, mut n) = (0, 0u32);
        let mut refused = 0;
        while chosen < TUPLES {
            let src = (0x0a00_0000 + n / 60_000).to_be_bytes();
            let key = Key::of(&packet(src, [192, 0, 2, 1], 5_000 + (n % 60_000) as u16, 443), true).0;
            n += 1;
            if theirs.place(&key).first < part {
                chosen += 1;
                refused += usize::from(ours.insert(key, ours.place(&key), 0, true).is_err());
            }
        }
        let fill = |bucket: &Bucket| bucket.tags.iter().filter(|tag| **tag != 0).count();
        let worst = ours.buckets.iter().map(fill).max().unwrap();
        let homes = ours.hot.iter().fold(vec![0u32; ours.buckets.len()], |mut homes, hot| {
            homes[ours.place(&hot.key).first as usize] += 1;
            homes
        });
        let wished = homes.iter().max().unwrap();
        println!(
            "figure: {TUPLES} of {n} tuples, {worst} in the fullest bucket ({wished} hash to one), {refused} refused"
        );
        assert!(worst <= 16 && refused == 0);
        // Those of a fair draw: 8 a bucket on average.
        assert!(*wished < 40, "{wished} hash to one bucket");
    }

    #[test]
    fn agrees_with_a_map() {
        let mut table = table(1 << 10);
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
                None => match table.insert(k, place, 0, true) {
                    Ok(id) => drop(model.insert(n, id)),
                    Err(refused) => {
                        assert_eq!((refused, model.len()), (Refused::Full, 1 << 10));
                    }
                },
                _ => {}
            }
            assert_eq!(table.len(), model.len());
        }
    }

    #[test]
    fn a_guess_is_nearly_always_right_and_never_believed_blindly() {
        let mut table = table(100_000);
        for n in 0..100_000 {
            let k = key(n);
            table.insert(k, table.place(&k), 0, true).unwrap();
        }
        let mut right = 0;
        for n in 0..100_000 {
            let (k, place) = (key(n), table.place(&key(n)));
            let likely = table.likely(place);
            let found = table.find_likely(&k, place, likely);
            assert_eq!(found, table.find(&k, place));
            right += usize::from(table.likely_mut(&k, likely).is_some());
            let absent = key(n + 100_000);
            assert_eq!(table.find_likely(&absent, place, likely), None);
        }
        assert!(right > 93_000, "{right} of 100 000 in their first bucket");
        let (k, place) = (key(5), table.place(&key(5)));
        let (likely, id) = (table.likely(place), table.find(&k, place).unwrap());
        table.remove(id);
        assert!(table.likely_mut(&k, likely).is_none() && table.find_likely(&k, place, likely).is_none());
    }

    #[test]
    fn one_source_fills_its_share_and_nobody_elses() {
        let mut table = FlowTable::new(100_000, SECRET);
        let flow = |src: [u8; 4], n: u16| Key::of(&packet(src, [192, 0, 2, 1], n, 443), true);
        let mut open = |src, n, expected| {
            let (k, low) = flow(src, n);
            let result = table.insert(k, table.place(&k), 0, low);
            assert_eq!(result.map(drop), expected, "{src:?} {n}");
            result.ok()
        };
        let first = open([10, 0, 0, 1], 0, Ok(()));
        for n in 1..10_000 {
            open([10, 0, 0, 1], n, Ok(()));
        }
        open([10, 0, 0, 1], 10_000, Err(Refused::Share));
        // From a higher address than the server's, too.
        for n in 0..10_000 {
            open([203, 0, 113, 9], n, Ok(()));
        }
        open([203, 0, 113, 9], 10_000, Err(Refused::Share));
        open([10, 0, 0, 2], 0, Ok(()));
        table.remove(first.unwrap());
        let (k, low) = flow([10, 0, 0, 1], 10_000);
        assert!(table.insert(k, table.place(&k), 0, low).is_ok(), "what ends makes room");
    }

    #[test]
    fn a_sweep_finds_what_may_go_wherever_it_is() {
        let mut table = table(1000);
        for n in 0..1000 {
            let k = key(n);
            let id = table.insert(k, table.place(&k), n, true).unwrap();
            if n == 700 {
                table.get_mut(id).unwrap().bits |= bit::RST;
            }
        }
        let closed = |hot: &Hot| hot.is_closed().then_some(1);
        let found: Vec<_> = (0..32).filter_map(|_| table.sweep(closed)).collect();
        assert_eq!(found.len(), 1, "once round the table: {found:?}");
        assert_eq!(table.get(found[0]).unwrap().key, key(700));
    }

    #[test]
    fn tuples_that_differ_in_one_bit_spread() {
        let v6 = |client: u128, server: u128, port: u16| {
            Key::between((Addr(client.to_be_bytes()), port), (Addr(server.to_be_bytes()), 443), L4::Udp).0
        };
        let v4 = |n: u32| Key::between((Addr::v4(n.to_be_bytes()), 5000), (Addr::v4([9; 4]), 53), L4::Udp).0;
        let net = 0x2001_0db8u128 << 96;
        for secret in [SECRET, [0; 4], [u64::MAX; 4]] {
            let table = FlowTable::new(1 << 16, secret);
            spreads(&table, key);
            spreads(&table, |n| v4(0x0a00_0000 + n));
            spreads(&table, |n| v4(n << 16));
            spreads(&table, |n| v6(net, net + 1, n as u16));
            spreads(&table, |n| v6(net + u128::from(n), net, 5000));
            spreads(&table, |n| v6(net, net + (u128::from(n) << 64), 5000));
        }
    }

    fn spreads(table: &FlowTable, key: impl Fn(u32) -> Key) {
        let mut fill: HashMap<u32, u32> = HashMap::new();
        for n in 0..1 << 16 {
            *fill.entry(table.place(&key(n)).first).or_default() += 1;
        }
        // 65 536 balls into 8 192 buckets: Poisson with mean 8; 30 is beyond 1e-8. All of one client and server, with ports
        // that count up.
        assert!(fill.values().max() < Some(&30), "{:?}", fill.values().max());
    }
}
