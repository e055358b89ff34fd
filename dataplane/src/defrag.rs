//! IP fragments, put together for inspection only.
//!
//! Fragments are forwarded as they come; what happens here never delays, changes or drops one. Memory is fixed at
//! start: sets of eight ways, each way a buffer for one datagram. Which set a datagram falls into depends on a random
//! key, so that a sender can't fill one on purpose; within it the way that was touched longest ago gives place.
//!
//! ```text
//!  fragment ─► first of a datagram? ─► way ─► hole left? ─► Kept
//!                                       │        └─ none ─► Whole
//!                                       ├─ same bytes, other content ──► Refused(ambiguous_overlap)
//!                                       ├─ 65th fragment, too long ────► Refused(frag_cap)
//!                                       └─ no whole header in the first► Refused(tiny_frag)
//!  timeout, or the way is needed ──────────────────────────────────────► Lost(frag_cap)
//! ```
//!
//! A datagram that was refused stays known until its timeout, so that the rest of it is passed over quietly.

use crate::assembler::{Assembler, Ranges};
use crate::packet::{Addr, NO_HEADER, Packet, Vlans};
use crate::parse::{First, Fragment, ParseOptions, Parsed, first_part, ipv4_header_ok, parse_reassembled};
use glassgate_policy::Reason;
use std::hash::{BuildHasher, RandomState};

/// The most fragments that are taken for one datagram.
pub const MAX_FRAGMENTS: u8 = 64;
/// Ways of a set: how many datagrams are looked through for one fragment.
const WAYS: usize = 8;
/// Datagrams inside each other that are put together: a fragmented packet in a fragmented tunnel packet.
const MAX_NESTED: usize = 4;

/// Sizes and times. What they cost: `datagrams` × (`bytes` + about 500).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Datagrams that are being put together at once; rounded up to a multiple of 8.
    pub datagrams: usize,
    /// The longest IP payload that is put together, at most 65 535. Longer ones are refused as `frag_cap`.
    pub bytes: usize,
    /// How long the rest of a datagram is waited for, in the unit of `now`. Endpoints wait 30 to 60 seconds.
    pub timeout: u64,
}

impl Default for Options {
    /// 256 datagrams of 9216 bytes, 30 seconds in milliseconds.
    fn default() -> Self {
        Self { datagrams: 256, bytes: 9216, timeout: 30_000 }
    }
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Kept until the rest arrives.
    Kept,
    /// The datagram is whole. All offsets in `parsed` count in `bytes`. Never a fragment.
    Whole {
        /// The payload of the datagram.
        bytes: &'a [u8],
        /// What it carries.
        parsed: Parsed,
    },
    /// The datagram won't be put together. Said once for each datagram.
    Refused {
        /// Why.
        reason: Reason,
        /// The flow, when its first fragment has been seen. Without payload.
        flow: Option<Packet>,
    },
    /// Endpoints discard it, or nothing can be learnt from it: nothing was changed.
    Ignored,
}

/// A datagram that was given up.
#[derive(Debug)]
pub struct Lost<'a> {
    /// Always `frag_cap`.
    pub reason: Reason,
    /// The flow, when its first fragment has been seen. Its payload is empty unless [`ParseOptions::capture`] is
    /// set: captures are often filtered by port, which leaves first fragments only, while on the wire an endpoint
    /// never sees a datagram that isn't completed.
    pub flow: Option<Packet>,
    /// What the offsets of `flow` count in.
    pub bytes: &'a [u8],
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Fragments offered, those inside reassembled tunnels included.
    pub fragments: u64,
    /// Datagrams put together.
    pub whole: u64,
    /// Datagrams refused for an overlap with other content.
    pub overlaps: u64,
    /// Datagrams refused for their size or number of fragments.
    pub capped: u64,
    /// Datagrams refused for their first fragment.
    pub tiny: u64,
    /// Fragments ignored.
    pub ignored: u64,
    /// Datagrams given up because their time was over.
    pub expired: u64,
    /// Datagrams given up because their place was needed.
    pub evicted: u64,
}

/// What tells a datagram from all others that are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    src: Addr,
    dst: Addr,
    id: u32,
    vlans: Vlans,
    /// 0 in IPv6, where the identification alone counts (RFC 8200 section 4.5).
    proto: u8,
    v6: bool,
    depth: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Filling,
    /// The rest of this datagram is passed over.
    Over,
}

struct Way {
    state: State,
    fragments: u8,
    /// The protocol of the first fragment, which counts for all.
    proto: u8,
    key: Key,
    /// Length of the payload, once the last fragment was seen.
    total: Option<u32>,
    begun: u64,
    touched: u64,
    flow: Option<Packet>,
    ranges: Ranges,
}

/// Puts datagrams together.
pub struct Defrag {
    options: Options,
    parse: ParseOptions,
    hasher: RandomState,
    ways: Box<[Way]>,
    slab: Box<[u8]>,
    /// A whole datagram whose content is a fragment again.
    outer: Box<[u8]>,
    /// Ways that are not free: with none, there is nothing to look at.
    taken: usize,
    /// Where the next call of `expire` goes on.
    cursor: usize,
    counters: Counters,
}

/// What one fragment did to its datagram.
enum Placed {
    Kept,
    Whole { way: usize, proto: u8 },
    Refused { reason: Reason, flow: Option<Packet> },
    Ignored,
}

impl Defrag {
    /// Allocates everything.
    pub fn new(options: Options, parse: ParseOptions) -> Self {
        let options = Options {
            datagrams: options.datagrams.max(1).next_multiple_of(WAYS),
            bytes: options.bytes.clamp(64, usize::from(u16::MAX)),
            ..options
        };
        let ways = (0..options.datagrams).map(|_| Way::free()).collect();
        Self {
            options,
            parse,
            hasher: RandomState::new(),
            ways,
            slab: vec![0; options.datagrams * options.bytes].into_boxed_slice(),
            outer: vec![0; options.bytes].into_boxed_slice(),
            taken: 0,
            cursor: 0,
            counters: Counters::default(),
        }
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether nothing waits for its rest.
    pub fn is_idle(&self) -> bool {
        self.taken == 0
    }

    /// Takes a fragment, of the frame (or datagram) `bytes`. `lost` hears of the datagram that had to give place, if
    /// one had to.
    pub fn offer(
        &mut self,
        fragment: &Fragment,
        bytes: &[u8],
        now: u64,
        lost: &mut dyn FnMut(Lost<'_>),
    ) -> Outcome<'_> {
        let mut placed = self.place(fragment, bytes, now, lost);
        let mut like = *fragment;
        for _ in 0..MAX_NESTED {
            let Placed::Whole { way, proto } = placed else { break };
            like.proto = proto;
            let len = self.ways.get(way).map_or(0, |w| w.ranges.contiguous());
            let from = way * self.options.bytes;
            let Some(whole) = self.slab.get(from..from + len) else { break };
            let parsed = parse_reassembled(whole, len, &like, &self.parse);
            let Parsed::Fragment(inner) = parsed else {
                // The lookup of the bytes is repeated because the borrow of the first would last too long.
                let bytes = self.slab.get(from..from + len).unwrap_or_default();
                return Outcome::Whole { bytes, parsed };
            };
            let mut outer = std::mem::take(&mut self.outer);
            if let Some(into) = outer.get_mut(..len) {
                into.copy_from_slice(whole);
                placed = self.place(&inner, into, now, lost);
            }
            self.outer = outer;
            like = inner;
        }
        match placed {
            Placed::Kept => Outcome::Kept,
            Placed::Refused { reason, flow } => Outcome::Refused { reason, flow },
            Placed::Ignored | Placed::Whole { .. } => Outcome::Ignored,
        }
    }

    /// Gives up datagrams whose time is over. Looks at no more than 32 of them, so that the cost of a call is
    /// bounded: call it again and again.
    pub fn expire(&mut self, now: u64, lost: &mut dyn FnMut(Lost<'_>)) {
        for _ in 0..self.ways.len().min(32) {
            let way = self.cursor;
            self.cursor = (self.cursor + 1) % self.ways.len();
            if self.ways.get(way).is_some_and(|w| w.is_over(now, self.options.timeout)) {
                self.counters.expired += u64::from(self.give_up(way, lost));
            }
        }
    }

    /// Gives up everything: at the end of a capture.
    pub fn flush(&mut self, lost: &mut dyn FnMut(Lost<'_>)) {
        for way in 0..self.ways.len() {
            self.counters.expired += u64::from(self.give_up(way, lost));
        }
    }

    fn place(
        &mut self,
        fragment: &Fragment,
        bytes: &[u8],
        now: u64,
        lost: &mut dyn FnMut(Lost<'_>),
    ) -> Placed {
        self.counters.fragments += 1;
        // Captures whose addresses were rewritten have no header checksum that fits.
        let sound = self.parse.capture || ipv4_header_ok(bytes, fragment.l3_at, &self.parse);
        if !sound || !self.is_useful(fragment) {
            self.counters.ignored += 1;
            return Placed::Ignored;
        }
        let index = self.way_of(fragment, now, lost);
        let size = self.options.bytes;
        let (Some(way), Some(buf)) =
            (self.ways.get_mut(index), self.slab.get_mut(index * size..(index + 1) * size))
        else {
            return Placed::Ignored;
        };
        way.touched = now;
        if way.state == State::Over {
            self.counters.ignored += 1;
            return Placed::Ignored;
        }
        let payload = fragment.payload(bytes);
        if fragment.offset == 0 {
            way.proto = fragment.proto;
            match first_part(payload, fragment, &self.parse) {
                First::Packet(flow) => way.flow = Some(flow),
                First::Tiny(flow) => {
                    way.state = State::Over;
                    self.counters.tiny += 1;
                    return Placed::Refused { reason: Reason::TinyFrag, flow };
                }
                First::Other => {}
            }
        }
        let end = fragment.offset + fragment.payload_wire_len;
        let start = fragment.offset;
        let filled = way.ranges.spans().iter().any(|(s, e)| u32::from(*s) < end && start < u32::from(*e));
        let beyond = way.ranges.spans().last().is_some_and(|(_, e)| u32::from(*e) > end);
        way.fragments += 1;
        if way.fragments > MAX_FRAGMENTS || end as usize > size {
            way.state = State::Over;
            self.counters.capped += 1;
            return Placed::Refused { reason: Reason::FragCap, flow: way.flow };
        }
        let mut conflict = way.total.is_some_and(|total| end > total || !fragment.more && end != total);
        if !fragment.more {
            conflict |= beyond;
            way.total = Some(end);
        }
        let inserted = Assembler::new(buf, &mut way.ranges).insert(u64::from(start), payload);
        // RFC 8200 section 4.5: an overlap discards an IPv6 datagram; exact duplicates may be borne.
        if fragment.v6 && filled && (inserted.new_bytes || inserted.conflict) {
            way.state = State::Over;
            self.counters.overlaps += 1;
            return Placed::Ignored;
        }
        if conflict || inserted.conflict {
            way.state = State::Over;
            self.counters.overlaps += 1;
            return Placed::Refused { reason: Reason::AmbiguousOverlap, flow: way.flow };
        }
        if way.total == Some(way.ranges.contiguous() as u32) {
            // Free again at once: the identification may be used for the next datagram.
            way.state = State::Free;
            self.taken -= 1;
            self.counters.whole += 1;
            return Placed::Whole { way: index, proto: way.proto };
        }
        Placed::Kept
    }

    /// Whether the datagram can hold a TCP or UDP packet that is looked at.
    fn is_useful(&self, fragment: &Fragment) -> bool {
        let tunnels = fragment.depth < self.parse.tunnel_depth;
        match fragment.proto {
            6 | 17 | 51 => true,
            0 | 43 | 44 | 60 => fragment.v6,
            4 | 41 | 47 | 97 | 137 | 143 => tunnels,
            _ => false,
        }
    }

    /// The way of this datagram, made free for it when it is new.
    fn way_of(&mut self, fragment: &Fragment, now: u64, lost: &mut dyn FnMut(Lost<'_>)) -> usize {
        let key = Key {
            src: fragment.src,
            dst: fragment.dst,
            id: fragment.id,
            vlans: fragment.vlans,
            proto: if fragment.v6 { 0 } else { fragment.proto },
            v6: fragment.v6,
            depth: fragment.depth,
        };
        let sets = (self.ways.len() / WAYS) as u64;
        let first = (self.hasher.hash_one(key) % sets) as usize * WAYS;
        let (mut found, mut oldest) = (None, (first, u64::MAX));
        for index in first..first + WAYS {
            let Some(way) = self.ways.get(index) else { continue };
            if way.state != State::Free && way.key == key {
                found = Some(index);
                break;
            }
            let age = if way.state == State::Free { 0 } else { way.touched.saturating_add(1) };
            if age < oldest.1 {
                oldest = (index, age);
            }
        }
        let index = match found {
            Some(index) if self.ways.get(index).is_some_and(|w| !w.is_over(now, self.options.timeout)) => {
                return index;
            }
            Some(index) => {
                self.counters.expired += u64::from(self.give_up(index, lost));
                index
            }
            None => {
                self.counters.evicted += u64::from(self.give_up(oldest.0, lost));
                oldest.0
            }
        };
        if let Some(way) = self.ways.get_mut(index) {
            way.begin(key, now);
            self.taken += 1;
        }
        index
    }

    /// Frees a way. Whether a datagram was lost by it.
    fn give_up(&mut self, index: usize, lost: &mut dyn FnMut(Lost<'_>)) -> bool {
        let Some(way) = self.ways.get_mut(index) else { return false };
        let state = std::mem::replace(&mut way.state, State::Free);
        self.taken -= usize::from(state != State::Free);
        if state != State::Filling {
            return false;
        }
        let mut flow = way.flow;
        let mut bytes: &[u8] = &[];
        let from = index * self.options.bytes;
        let kept = self.slab.get(from..from + way.ranges.contiguous()).unwrap_or_default();
        if self.parse.capture && flow.is_some() {
            let like = way.like();
            let total = way.total.unwrap_or(u32::from(u16::MAX));
            if let Parsed::Packet(packet) = parse_reassembled(kept, total as usize, &like, &self.parse) {
                (flow, bytes) = (Some(packet), kept);
            }
        }
        lost(Lost { reason: Reason::FragCap, flow, bytes });
        true
    }
}

impl Way {
    fn free() -> Self {
        let nothing = Addr([0; 16]);
        Self {
            state: State::Free,
            fragments: 0,
            proto: 0,
            key: Key { src: nothing, dst: nothing, id: 0, vlans: Vlans::NONE, proto: 0, v6: false, depth: 0 },
            total: None,
            begun: 0,
            touched: 0,
            flow: None,
            ranges: Ranges::default(),
        }
    }

    fn begin(&mut self, key: Key, now: u64) {
        self.state = State::Filling;
        self.fragments = 0;
        self.proto = key.proto;
        self.key = key;
        self.total = None;
        self.begun = now;
        self.touched = now;
        self.flow = None;
        self.ranges.clear();
    }

    /// What the fragments of this datagram have in common.
    fn like(&self) -> Fragment {
        let Key { src, dst, id, vlans, v6, depth, .. } = self.key;
        let ttl = self.flow.map_or(0, |f| f.ttl);
        let (l3_at, proto) = (NO_HEADER, self.proto);
        Fragment {
            vlans,
            src,
            dst,
            v6,
            proto,
            id,
            offset: 0,
            more: false,
            ttl,
            depth,
            l3_at,
            payload_at: 0,
            payload_len: 0,
            payload_wire_len: 0,
        }
    }

    fn is_over(&self, now: u64, timeout: u64) -> bool {
        self.state != State::Free && now.saturating_sub(self.begun) > timeout
    }
}

#[cfg(test)]
mod tests;
