//! The inspection slab: what is kept of a flow's first bytes while they are looked at.
//!
//! One slab per lcore, all of it taken at start. A slot holds the ranges that arrived, 4 KiB of buffer, and the state
//! of a QUIC handshake; a flow that needs more exchanges its buffer for one of 16 KiB. Slots go back as soon as the
//! name is known and the server has acknowledged the bytes that it stood in.
//!
//! When there is no free slot, the oldest one that only guards a name already read is taken back (its name stands).
//! If there is none, the flow is not inspected: it is forwarded and counted as `no_buffer`.

use crate::assembler::{Assembler, Ranges};
use crate::classifier::Follow;
use crate::flow::FlowId;
use crate::inspect::quic;
use glassgate_policy::{Name, Reason};
use std::collections::VecDeque;

/// Bytes of the buffer that every slot has.
pub const SMALL: usize = 4 * 1024;
/// The most bytes that are kept of one flow.
pub const LARGE: usize = 16 * 1024;

/// A slot of the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u32);

impl SlotId {
    /// As it is kept in a flow's record: the slot plus one, so that zero is none.
    pub const fn to_record(self) -> u32 {
        self.0 + 1
    }

    /// From a flow's record.
    pub const fn from_record(kept: u32) -> Option<Self> {
        match kept.checked_sub(1) {
            Some(slot) => Some(Self(slot)),
            None => None,
        }
    }
}

/// State of a slot besides its bytes.
pub struct Slot {
    /// Which bytes are there.
    pub ranges: Ranges,
    /// State of a QUIC handshake.
    pub quic: quic::State,
    /// Probing again is pointless before this many bytes are there.
    pub need: u32,
    /// Bytes from the start of the stream that the name was read from.
    pub guard_end: u32,
    /// Where the stream stands whose messages are followed.
    pub follow: Follow,
    /// The name of a QUIC flow, until its server's connection id is known.
    pub name: Option<Name>,
    /// When the slot was taken, milliseconds of the lcore's clock.
    pub since_ms: u32,
    /// The slot with the other reading of conflicting bytes, as kept in a record.
    pub other: u32,
    /// Where a byte stands that is out of band, plus one; 0 for none.
    pub urgent: u32,
    owner: FlowId,
    /// Index into the large buffers, plus one.
    large: u32,
    /// Counts how often the slot was taken, so that a stale entry of the guard queue is recognized.
    generation: u32,
    taken: bool,
    guarding: bool,
}

impl Slot {
    fn free() -> Self {
        Self {
            ranges: Ranges::default(),
            quic: quic::State::default(),
            need: 0,
            guard_end: 0,
            follow: Follow::default(),
            name: None,
            since_ms: 0,
            other: 0,
            urgent: 0,
            owner: FlowId::NONE,
            large: 0,
            generation: 0,
            taken: false,
            guarding: false,
        }
    }
}

/// The slab of one lcore.
pub struct Slab {
    /// Slots that were taken at least once; room for all was taken at start.
    slots: Vec<Slot>,
    capacity: usize,
    small: Box<[u8]>,
    large: Box<[u8]>,
    free: Vec<u32>,
    free_large: Vec<u32>,
    guards: VecDeque<(u32, u32)>,
}

impl Slab {
    /// A slab of `slots` slots, one in eight of which can have a large buffer at the same time.
    /// Memory: about 7 KiB a slot.
    pub fn new(slots: usize) -> Self {
        let slots = slots.clamp(8, 1 << 20);
        let larges = slots.div_ceil(8);
        Self {
            slots: Vec::with_capacity(slots),
            capacity: slots,
            small: vec![0; slots * SMALL].into_boxed_slice(),
            large: vec![0; larges * LARGE].into_boxed_slice(),
            free: Vec::with_capacity(slots),
            free_large: (0..larges as u32).rev().collect(),
            guards: VecDeque::with_capacity(slots * 2),
        }
    }

    /// Slots taken.
    pub fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots there are.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes a slot. When none is free, the oldest guarding slot is taken back; its flow is returned too, so that
    /// the caller can settle it.
    pub fn take(&mut self, owner: FlowId, now_ms: u32) -> Result<(SlotId, Option<FlowId>), Reason> {
        let mut settled = None;
        if self.free.is_empty() && self.slots.len() < self.capacity {
            self.free.push(self.slots.len() as u32);
            self.slots.push(Slot::free());
        }
        if self.free.is_empty() {
            while let Some((index, generation)) = self.guards.pop_front() {
                let Some(slot) = self.slots.get(index as usize) else { continue };
                if slot.taken && slot.guarding && slot.generation == generation {
                    settled = Some(slot.owner);
                    self.release(SlotId(index));
                    break;
                }
            }
        }
        let index = self.free.pop().ok_or(Reason::NoBuffer)?;
        let Some(slot) = self.slots.get_mut(index as usize) else { return Err(Reason::NoBuffer) };
        slot.ranges.clear();
        slot.quic = quic::State::default();
        slot.follow = Follow::default();
        slot.name = None;
        (slot.need, slot.guard_end, slot.other, slot.urgent) = (0, 0, 0, 0);
        (slot.since_ms, slot.owner) = (now_ms, owner);
        (slot.taken, slot.guarding) = (true, false);
        slot.generation = slot.generation.wrapping_add(1);
        Ok((SlotId(index), settled))
    }

    /// Gives a slot back, and the one with the other reading if there is one.
    pub fn release(&mut self, id: SlotId) {
        let mut next = Some(id);
        while let Some(SlotId(index)) = next.take() {
            let Some(slot) = self.slots.get_mut(index as usize) else { return };
            if !slot.taken {
                return;
            }
            slot.taken = false;
            next = SlotId::from_record(std::mem::take(&mut slot.other));
            if let Some(large) = std::mem::take(&mut slot.large).checked_sub(1) {
                self.free_large.push(large);
            }
            self.free.push(index);
        }
    }

    /// From now on the slot only guards a name that was read: it may be taken back when slots run short.
    pub fn guard(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return };
        slot.guarding = true;
        if self.guards.len() == self.guards.capacity() {
            // Entries of slots that were given back pile up here; dropping the oldest may forget a live guard, which
            // then stays until its flow ends.
            self.guards.pop_front();
        }
        self.guards.push_back((id.0, slot.generation));
    }

    /// The state of a slot.
    pub fn slot(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(id.0 as usize)
    }

    /// A slot's buffer as an assembler, with its QUIC state.
    pub fn assembler(&mut self, id: SlotId) -> Option<(Assembler<'_>, &mut quic::State)> {
        let slot = self.slots.get_mut(id.0 as usize)?;
        let (from, len, arena) = match slot.large.checked_sub(1) {
            Some(large) => (large as usize * LARGE, LARGE, &mut self.large),
            None => (id.0 as usize * SMALL, SMALL, &mut self.small),
        };
        let buf = arena.get_mut(from..from + len)?;
        Some((Assembler::new(buf, &mut slot.ranges), &mut slot.quic))
    }

    /// The bytes that are there without a gap.
    pub fn contiguous(&self, id: SlotId) -> &[u8] {
        self.buffer(id).and_then(|(slot, buf)| buf.get(..slot.ranges.contiguous())).unwrap_or_default()
    }

    /// Makes room for bytes up to `end`. False when that is beyond [`LARGE`] or no large buffer is free.
    pub fn make_room(&mut self, id: SlotId, end: u64) -> bool {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return false };
        if slot.large != 0 || end <= SMALL as u64 {
            return end <= LARGE as u64;
        }
        if end > LARGE as u64 {
            return false;
        }
        let Some(large) = self.free_large.pop() else { return false };
        let (from, to) = (id.0 as usize * SMALL, large as usize * LARGE);
        if let (Some(small), Some(into)) =
            (self.small.get(from..from + SMALL), self.large.get_mut(to..to + SMALL))
        {
            into.copy_from_slice(small);
        }
        slot.large = large + 1;
        true
    }

    /// Copies all that slot `from` holds into slot `to`.
    pub fn copy(&mut self, from: SlotId, to: SlotId) -> bool {
        let Some((len, ranges)) =
            self.slots.get(from.0 as usize).map(|s| (if s.large != 0 { LARGE } else { SMALL }, s.ranges))
        else {
            return false;
        };
        if !self.make_room(to, len as u64) {
            return false;
        }
        let mut at = 0;
        // Through a small window, because both may lie in one arena.
        let mut window = [0u8; 512];
        while at < len {
            if let Some(bytes) = self.buffer(from).and_then(|(_, b)| b.get(at..at + window.len())) {
                window.copy_from_slice(bytes);
            }
            if let Some(into) = self.buffer_mut(to).and_then(|b| b.get_mut(at..at + window.len())) {
                into.copy_from_slice(&window);
            }
            at += window.len();
        }
        if let Some(slot) = self.slots.get_mut(to.0 as usize) {
            slot.ranges = ranges;
        }
        true
    }

    /// Takes the first `n` bytes out; the bytes without a gap behind them move to the front. What stood behind a gap
    /// is forgotten.
    pub fn discard_front(&mut self, id: SlotId, n: usize) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return };
        let len = slot.ranges.contiguous();
        slot.ranges.clear();
        if n >= len {
            return;
        }
        if let Some(buf) = self.buffer_mut(id) {
            buf.copy_within(n..len, 0);
        }
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            slot.ranges.fill(len - n);
        }
    }

    /// Takes one byte out: those behind it move to the front.
    pub fn remove_byte(&mut self, id: SlotId, at: usize) {
        let Some(len) = self.slots.get(id.0 as usize).map(|s| s.ranges.contiguous()).filter(|len| at < *len)
        else {
            return;
        };
        if let Some(buf) = self.buffer_mut(id) {
            buf.copy_within(at + 1..len, at);
        }
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            slot.ranges.fill(len - 1);
        }
    }

    /// Writes over whatever is there: the reading in which the last arrival wins.
    pub fn overwrite(&mut self, id: SlotId, offset: u64, bytes: &[u8]) {
        if let Some((mut assembler, _)) = self.assembler(id) {
            assembler.insert(offset, bytes);
        }
        let Ok(at) = usize::try_from(offset) else { return };
        if let Some(buf) = self.buffer_mut(id) {
            let len = bytes.len().min(buf.len().saturating_sub(at));
            if let (Some(into), Some(from)) = (buf.get_mut(at..at + len), bytes.get(..len)) {
                into.copy_from_slice(from);
            }
        }
    }

    fn buffer(&self, id: SlotId) -> Option<(&Slot, &[u8])> {
        let slot = self.slots.get(id.0 as usize)?;
        let buf = match slot.large.checked_sub(1) {
            Some(large) => self.large.get(large as usize * LARGE..(large as usize + 1) * LARGE)?,
            None => self.small.get(id.0 as usize * SMALL..(id.0 as usize + 1) * SMALL)?,
        };
        Some((slot, buf))
    }

    fn buffer_mut(&mut self, id: SlotId) -> Option<&mut [u8]> {
        let slot = self.slots.get(id.0 as usize)?;
        match slot.large.checked_sub(1) {
            Some(large) => self.large.get_mut(large as usize * LARGE..(large as usize + 1) * LARGE),
            None => self.small.get_mut(id.0 as usize * SMALL..(id.0 as usize + 1) * SMALL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarding_slot_gives_way_and_others_do_not() {
        let mut slab = Slab::new(8);
        let taken: Vec<SlotId> = (0..8).map(|i| slab.take(FlowId(i), 0).unwrap().0).collect();
        assert_eq!(slab.take(FlowId(9), 0), Err(Reason::NoBuffer));
        slab.guard(taken[3]);
        slab.guard(taken[5]);
        assert_eq!(slab.take(FlowId(9), 0).unwrap().1, Some(FlowId(3)));
        slab.release(taken[5]);
        assert_eq!(slab.take(FlowId(10), 0).unwrap().1, None, "a free slot comes first");
        assert_eq!(
            slab.take(FlowId(11), 0),
            Err(Reason::NoBuffer),
            "the stale guard of a reused slot is not obeyed"
        );
        assert_eq!(slab.in_use(), 8);
    }

    #[test]
    fn grows_once_and_keeps_what_was_there() {
        let mut slab = Slab::new(8);
        let (a, _) = slab.take(FlowId(0), 0).unwrap();
        let (b, _) = slab.take(FlowId(1), 0).unwrap();
        slab.assembler(a).unwrap().0.insert(0, &[7; 4000]);
        assert!(slab.make_room(a, 5000) && !slab.make_room(b, 5000), "one large buffer for eight slots");
        assert!(!slab.make_room(a, LARGE as u64 + 1));
        slab.assembler(a).unwrap().0.insert(4000, &[8; 1000]);
        assert_eq!(slab.contiguous(a)[3999..4001], [7, 8]);
        slab.release(a);
        assert!(slab.make_room(b, 5000), "the large buffer came back");
    }

    #[test]
    fn two_readings_of_conflicting_bytes() {
        let mut slab = Slab::new(8);
        let (a, _) = slab.take(FlowId(0), 0).unwrap();
        let (b, _) = slab.take(FlowId(0), 0).unwrap();
        slab.assembler(a).unwrap().0.insert(0, b"first arrival");
        assert!(slab.copy(a, b));
        slab.slot(a).unwrap().other = b.to_record();
        slab.overwrite(b, 0, b"other");
        assert_eq!((slab.contiguous(a), slab.contiguous(b)), (&b"first arrival"[..], &b"other arrival"[..]));
        slab.release(a);
        assert_eq!(slab.in_use(), 0, "both readings go together");
    }
}
