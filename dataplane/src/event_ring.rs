//! The ring of events between fast path and slow path: one producer, one consumer, in shared memory.
//!
//! The fast path never waits for the slow path. When the ring is full the event is lost, and counted by its kind
//! in the shared header, so that the slow path learns of the loss even if it was dead at the time.
//!
//! ```text
//!    0  magic │ capacity                       written once, by whoever makes the ring
//!  128  head │ lost by kind                    written by the producer
//!  256  tail │ bad events │ bad indices │ next  written by the consumer
//!  384  slot 0 │ slot 1 │ … capacity − 1       64 bytes each: FlowEvent::to_bytes
//! ```
//!
//! `head` and `tail` count events since the ring was made and never wrap in practice (64 bits); the slot of event
//! `n` is `n mod capacity`. The three parts are 128 bytes apart, because the prefetcher of common x86 cores fetches
//! lines in pairs. Each side keeps its own cursor privately and caches the other's, so the shared line of the other
//! side is read only when the ring looks full to the producer or empty to the consumer.
//!
//! Both ends survive the death of the other and of themselves: cursors live in the header. A producer that dies
//! between slot and `head` has published nothing; its successor writes the slot again. A consumer that dies
//! within a batch gets that batch again: *at least once*, and [`FlowEvent::seq`] tells.
//!
//! The consumer leaves beside its cursor which number comes next. What was lost behind the last event that it took shows by a gap before the
//! next one, and its successor would know of no gap.
//!
//! Neither side trusts the other. The consumer copies a slot before it looks at it, counts codes that mean nothing
//! and cursors that can't be, and goes on. The producer takes a cursor that can't be for a full ring.

use crate::shm::{Region, ShmError, load, store};
use glassgate_policy::FlowEvent;
use glassgate_policy::flow_event::EventKind;
use glassgate_policy::identity::IdentityEvent;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Release};

const MAGIC: u64 = u64::from_le_bytes(*b"GGEVRNG1");
const CAPACITY_AT: usize = 8;
const HEAD_AT: usize = 128;
const LOST_AT: usize = HEAD_AT + 8;
const TAIL_AT: usize = 256;
const BAD_EVENTS_AT: usize = TAIL_AT + 8;
const BAD_INDICES_AT: usize = TAIL_AT + 16;
const NEXT_AT: usize = TAIL_AT + 24;
const SLOTS_AT: usize = 384;
const WORDS: usize = FlowEvent::SIZE / 8;
/// One more than the greatest code of [`EventKind`].
const KINDS: usize = 4;
/// Where losses of identity events are counted: a code that no [`EventKind`] has.
const IDENTITY: usize = 0;

const _: () = {
    assert!(FlowEvent::SIZE == 64 && IdentityEvent::SIZE == 64 && SLOTS_AT.is_multiple_of(64));
    assert!(LOST_AT + KINDS * 8 <= TAIL_AT && NEXT_AT + 8 <= SLOTS_AT);
    assert!((EventKind::Ended as usize) < KINDS && EventKind::ALL.len() < KINDS);
};

/// Fewest events a ring may hold.
pub const MIN_CAPACITY: usize = 64;
/// Most events a ring may hold: 64 MiB.
pub const MAX_CAPACITY: usize = 1 << 20;

/// A ring that no side is attached to: what is made, handed over and kept while both sides come and go.
#[derive(Clone, Debug)]
pub struct EventRing {
    region: Region,
    capacity: u64,
}

impl EventRing {
    /// Makes an empty ring for `capacity` events: a power of two from [`MIN_CAPACITY`] to [`MAX_CAPACITY`].
    pub fn create(name: &str, capacity: usize) -> Result<Self, ShmError> {
        let capacity = check_capacity(capacity as u64)?;
        let region = Region::create(name, bytes_for(capacity))?;
        store(&region, CAPACITY_AT, capacity);
        if let Some(magic) = region.word(0) {
            magic.store(MAGIC, Release);
        }
        Ok(Self { region, capacity })
    }

    /// Maps a ring that was made elsewhere.
    pub fn attach(fd: OwnedFd) -> Result<Self, ShmError> {
        let size = Region::size_of(fd.as_fd())?;
        let slots = size.saturating_sub(SLOTS_AT as u64) / FlowEvent::SIZE as u64;
        let capacity = check_capacity(slots)?;
        let region = Region::attach(fd, bytes_for(capacity))?;
        let magic = region.word(0).map_or(0, |w| w.load(Acquire));
        if magic != MAGIC {
            return Err(ShmError::Magic { expected: MAGIC, found: magic });
        }
        match load(&region, CAPACITY_AT) {
            found if found == capacity => Ok(Self { region, capacity }),
            found => Err(ShmError::Header { what: "capacity", found }),
        }
    }

    /// The descriptor, to be handed to another process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.region.fd()
    }

    /// How many events fit.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// The sending end. There must be one at a time; a successor goes on where its predecessor died.
    pub fn producer(&self) -> Producer {
        let (region, capacity) = (self.region.clone(), self.capacity);
        let head = load(&region, HEAD_AT);
        let mut lost = [0; KINDS];
        for (kind, slot) in lost.iter_mut().enumerate() {
            *slot = load(&region, LOST_AT + kind * 8);
        }
        let tail_seen = load(&region, TAIL_AT);
        Producer { region, capacity, head, tail_seen, lost }
    }

    /// The receiving end. There must be one at a time; a successor goes on where its predecessor died.
    pub fn consumer(&self) -> Consumer {
        let (region, capacity) = (self.region.clone(), self.capacity);
        let (tail, bad_events, bad_indices) =
            (load(&region, TAIL_AT), load(&region, BAD_EVENTS_AT), load(&region, BAD_INDICES_AT));
        Consumer { region, capacity, tail, head_seen: tail, bad_events, bad_indices }
    }

    /// What the header says now, for whoever only watches.
    pub fn watch(&self) -> RingCounters {
        counters(&self.region)
    }
}

/// What stands in a slot of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingEvent {
    /// Of a flow.
    Flow(FlowEvent),
    /// Of an address.
    Identity(IdentityEvent),
}

impl RingEvent {
    fn from_bytes(bytes: &[u8; FlowEvent::SIZE]) -> Option<Self> {
        if IdentityEvent::is_one(bytes) {
            return IdentityEvent::from_bytes(bytes).map(Self::Identity);
        }
        FlowEvent::from_bytes(bytes).ok().map(Self::Flow)
    }

    const fn seq(&self) -> u64 {
        match self {
            Self::Flow(event) => event.seq,
            Self::Identity(event) => event.seq,
        }
    }
}

/// What a ring has seen since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Events that were put into the ring.
    pub sent: u64,
    /// Events that were taken out.
    pub received: u64,
    /// Events lost because the ring was full, in the order of [`EventKind::ALL`].
    pub lost: [u64; EventKind::ALL.len()],
    /// Events taken out that were none.
    pub bad_events: u64,
    /// Times the producer's cursor could not be true, and everything up to it was skipped.
    pub bad_indices: u64,
}

impl RingCounters {
    /// Events lost, of all kinds.
    pub fn lost_total(&self) -> u64 {
        self.lost.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }
}

/// The sending end, owned by one lcore.
#[derive(Debug)]
pub struct Producer {
    region: Region,
    capacity: u64,
    head: u64,
    tail_seen: u64,
    lost: [u64; KINDS],
}

impl Producer {
    /// Sends an event and never waits. Its `seq` is set here: the number of the event among all that were offered, so
    /// that a gap of `n` at the other end means `n` lost. False when the ring was full and the event is lost.
    #[inline]
    pub fn push(&mut self, mut event: FlowEvent) -> bool {
        if !self.has_room() {
            self.lose(event.kind as usize);
            return false;
        }
        event.seq = self.offered();
        self.write(&event.to_bytes());
        true
    }

    /// Sends what was said about an address and never waits. False when the ring was full and it is lost: it will be
    /// said again.
    pub fn push_identity(&mut self, mut event: IdentityEvent) -> bool {
        if !self.has_room() {
            self.lose(IDENTITY);
            return false;
        }
        event.seq = self.offered();
        self.write(&event.to_bytes());
        true
    }

    fn write(&mut self, bytes: &[u8; FlowEvent::SIZE]) {
        let at = slot_at(self.head, self.capacity);
        for (i, bytes) in bytes.as_chunks::<8>().0.iter().enumerate() {
            store(&self.region, at + i * 8, u64::from_le_bytes(*bytes));
        }
        self.head = self.head.wrapping_add(1);
        // Release: whoever sees the new head sees the slot.
        if let Some(head) = self.region.word(HEAD_AT) {
            head.store(self.head, Release);
        }
    }

    /// Events offered so far, lost ones included.
    pub fn offered(&self) -> u64 {
        self.lost.iter().fold(self.head, |sum, n| sum.wrapping_add(*n))
    }

    /// What the header says now.
    pub fn counters(&self) -> RingCounters {
        counters(&self.region)
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        // A tail ahead of the head gives a huge difference, which reads as full.
        if self.head.wrapping_sub(self.tail_seen) < self.capacity {
            return true;
        }
        // Acquire: the slots up to this tail are no longer read by the consumer.
        self.tail_seen = self.region.word(TAIL_AT).map_or(self.tail_seen, |w| w.load(Acquire));
        self.head.wrapping_sub(self.tail_seen) < self.capacity
    }

    #[cold]
    fn lose(&mut self, kind: usize) {
        if let Some(lost) = self.lost.get_mut(kind) {
            *lost = lost.wrapping_add(1);
            store(&self.region, LOST_AT + kind * 8, *lost);
        }
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct Consumer {
    region: Region,
    capacity: u64,
    tail: u64,
    head_seen: u64,
    bad_events: u64,
    bad_indices: u64,
}

impl Consumer {
    /// Takes out at most `max` events, in order, and gives each to `take`. Returns how many slots were taken, bad
    /// ones included: fewer than `max` means that the ring was empty. The room is given back after the last one.
    pub fn drain(&mut self, max: usize, mut take: impl FnMut(FlowEvent)) -> usize {
        self.drain_all(max, |event| {
            if let RingEvent::Flow(event) = event {
                take(event);
            }
        })
    }

    /// The same with the identity events among them.
    pub fn drain_all(&mut self, max: usize, mut take: impl FnMut(RingEvent)) -> usize {
        let mut taken = 0;
        while taken < max && self.has_event() {
            let at = slot_at(self.tail, self.capacity);
            let mut bytes = [0u8; FlowEvent::SIZE];
            let (words, _) = bytes.as_chunks_mut::<8>();
            for (i, word) in words.iter_mut().enumerate().take(WORDS) {
                *word = load(&self.region, at + i * 8).to_le_bytes();
            }
            self.tail = self.tail.wrapping_add(1);
            taken += 1;
            // Before anything is made of it: a reader that dies over an event must not leave it to its successor, which would die over
            // it as well, and so on for ever.
            self.publish_tail();
            match RingEvent::from_bytes(&bytes) {
                Some(event) => {
                    store(&self.region, NEXT_AT, event.seq().wrapping_add(1));
                    take(event);
                }
                None => {
                    self.bad_events = self.bad_events.wrapping_add(1);
                    store(&self.region, BAD_EVENTS_AT, self.bad_events);
                }
            }
        }
        taken
    }

    /// The number of the event that comes next, if none is lost.
    pub fn next_seq(&self) -> u64 {
        load(&self.region, NEXT_AT)
    }

    /// What the header says now.
    pub fn counters(&self) -> RingCounters {
        counters(&self.region)
    }

    fn has_event(&mut self) -> bool {
        if self.tail != self.head_seen {
            return true;
        }
        // Acquire: the slots up to this head are written.
        let head = self.region.word(HEAD_AT).map_or(self.tail, |w| w.load(Acquire));
        if head.wrapping_sub(self.tail) > self.capacity {
            // Nothing between here and there can be told from garbage. Start again where the producer says it is.
            self.bad_indices = self.bad_indices.wrapping_add(1);
            store(&self.region, BAD_INDICES_AT, self.bad_indices);
            self.tail = head;
            self.publish_tail();
        }
        self.head_seen = head;
        self.tail != head
    }

    fn publish_tail(&self) {
        // Release: our reads of the slots come before the producer may write them again.
        if let Some(tail) = self.region.word(TAIL_AT) {
            tail.store(self.tail, Release);
        }
    }
}

fn counters(region: &Region) -> RingCounters {
    let mut lost = [0; EventKind::ALL.len()];
    for (slot, kind) in lost.iter_mut().zip(EventKind::ALL) {
        *slot = load(region, LOST_AT + *kind as usize * 8);
    }
    RingCounters {
        sent: load(region, HEAD_AT),
        received: load(region, TAIL_AT),
        lost,
        bad_events: load(region, BAD_EVENTS_AT),
        bad_indices: load(region, BAD_INDICES_AT),
    }
}

fn check_capacity(capacity: u64) -> Result<u64, ShmError> {
    let bounds = MIN_CAPACITY as u64..=MAX_CAPACITY as u64;
    if capacity.is_power_of_two() && bounds.contains(&capacity) {
        Ok(capacity)
    } else {
        Err(ShmError::Header { what: "capacity", found: capacity })
    }
}

fn bytes_for(capacity: u64) -> usize {
    SLOTS_AT + capacity as usize * FlowEvent::SIZE
}

#[inline]
fn slot_at(cursor: u64, capacity: u64) -> usize {
    // The capacity is a power of two.
    SLOTS_AT + (cursor & (capacity - 1)) as usize * FlowEvent::SIZE
}

#[cfg(test)]
mod tests;
