//! A ring of whole frames between an lcore and the control process: one producer, one consumer, in shared memory.
//!
//! ```text
//!    0  magic │ capacity                    written once, by whoever makes the ring
//!  128  head                                written by the producer
//!  256  tail                                written by the consumer
//!  384  slot 0 │ slot 1 │ … capacity − 1    1536 bytes each: length and port, then the frame
//! ```
//!
//! The same rules as in the ring of events ([`crate::event_ring`]): cursors count frames since the ring was made, each side keeps
//! its own and caches the other's, both survive the death of either side. Nothing is waited for: a full ring refuses, and
//! the one who offered counts.
//!
//! Neither side trusts the other. The consumer copies a slot before it looks at it; a length that can't be is a slot lost, a
//! cursor that can't be is everything up to it lost. The producer takes a cursor that can't be for a full ring. So the worst
//! that the other side can do is to say nothing, or nonsense of at most [`MAX_FRAME`] bytes.

use crate::shm::{Region, ShmError, load, store};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Release};

const MAGIC: u64 = u64::from_le_bytes(*b"GGFRAME1");
const CAPACITY_AT: usize = 8;
const HEAD_AT: usize = 128;
const TAIL_AT: usize = 256;
const SLOTS_AT: usize = 384;
/// A slot: its first word is the length (16 bits) and the port (8 bits), the rest is the frame.
const SLOT: usize = 1536;

/// The longest frame: an Ethernet frame of 1500 bytes with one tag.
pub const MAX_FRAME: usize = 1518;
/// Frames that a ring holds: 384 KiB. At the greatest rate of [`super::rate`] it is full in 30 ms.
pub const CAPACITY: usize = 256;

const _: () = assert!(8 + MAX_FRAME <= SLOT && SLOT.is_multiple_of(64) && SLOTS_AT.is_multiple_of(64));
const _: () = assert!(CAPACITY.is_power_of_two() && MAX_FRAME < 1 << 16);

/// A ring that no side is attached to: what is made, handed over and kept while both sides come and go.
#[derive(Clone, Debug)]
pub struct FrameRing {
    region: Region,
}

/// Why a frame is not in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPushed {
    /// The other side has not taken enough.
    Full,
    /// Longer than [`MAX_FRAME`].
    TooLong,
}

/// What was taken out of the ring: its bytes are in the buffer that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Popped {
    /// The port that it came from or goes to.
    pub port: u8,
    /// How many bytes it has.
    pub len: usize,
}

/// A slot whose first word can't be, or a cursor that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad;

impl FrameRing {
    /// Makes an empty ring.
    pub fn create(name: &str) -> Result<Self, ShmError> {
        let region = Region::create(name, SLOTS_AT + CAPACITY * SLOT)?;
        store(&region, CAPACITY_AT, CAPACITY as u64);
        if let Some(magic) = region.word(0) {
            magic.store(MAGIC, Release);
        }
        Ok(Self { region })
    }

    /// Maps a ring that was made elsewhere.
    pub fn attach(fd: OwnedFd) -> Result<Self, ShmError> {
        Region::size_of(fd.as_fd())?;
        let region = Region::attach(fd, SLOTS_AT + CAPACITY * SLOT)?;
        let magic = region.word(0).map_or(0, |w| w.load(Acquire));
        if magic != MAGIC {
            return Err(ShmError::Magic { expected: MAGIC, found: magic });
        }
        match load(&region, CAPACITY_AT) {
            found if found == CAPACITY as u64 => Ok(Self { region }),
            found => Err(ShmError::Header { what: "capacity", found }),
        }
    }

    /// The descriptor, to be handed to another process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.region.fd()
    }

    /// The sending end. There must be one at a time; a successor goes on where its predecessor died.
    pub fn producer(&self) -> Producer {
        let region = self.region.clone();
        let (head, tail_seen) = (load(&region, HEAD_AT), load(&region, TAIL_AT));
        Producer { region, head, tail_seen }
    }

    /// The receiving end. There must be one at a time; a successor goes on where its predecessor died.
    pub fn consumer(&self) -> Consumer {
        let region = self.region.clone();
        let tail = load(&region, TAIL_AT);
        Consumer { region, tail, head_seen: tail }
    }
}

/// The sending end.
#[derive(Debug)]
pub struct Producer {
    region: Region,
    head: u64,
    tail_seen: u64,
}

impl Producer {
    /// Whether a frame would be taken now.
    pub fn has_room(&mut self) -> bool {
        // A tail ahead of the head gives a huge difference, which reads as full.
        if self.head.wrapping_sub(self.tail_seen) < CAPACITY as u64 {
            return true;
        }
        // Acquire: the slots up to this tail are no longer read by the consumer.
        self.tail_seen = self.region.word(TAIL_AT).map_or(self.tail_seen, |w| w.load(Acquire));
        self.head.wrapping_sub(self.tail_seen) < CAPACITY as u64
    }

    /// Puts a copy of a frame into the ring, and never waits.
    pub fn push(&mut self, port: u8, frame: &[u8]) -> Result<(), NotPushed> {
        if frame.len() > MAX_FRAME {
            return Err(NotPushed::TooLong);
        }
        if !self.has_room() {
            return Err(NotPushed::Full);
        }
        let at = slot_at(self.head);
        store(&self.region, at, frame.len() as u64 | u64::from(port) << 16);
        let (words, rest) = frame.as_chunks::<8>();
        for (i, word) in words.iter().enumerate() {
            store(&self.region, at + 8 + i * 8, u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            store(&self.region, at + 8 + words.len() * 8, u64::from_le_bytes(last));
        }
        self.head = self.head.wrapping_add(1);
        // Release: whoever sees the new head sees the slot.
        if let Some(head) = self.region.word(HEAD_AT) {
            head.store(self.head, Release);
        }
        Ok(())
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct Consumer {
    region: Region,
    tail: u64,
    head_seen: u64,
}

impl Consumer {
    /// Whether there is nothing to take. One load of a line that the other side writes only when it sends.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tail == self.head_seen && load(&self.region, HEAD_AT) == self.tail
    }

    /// Takes the next frame out, into `into`. `None` when there is none.
    pub fn pop(&mut self, into: &mut [u8; MAX_FRAME]) -> Option<Result<Popped, Bad>> {
        if self.tail == self.head_seen {
            // Acquire: the slots up to this head are written.
            let head = self.region.word(HEAD_AT).map_or(self.tail, |w| w.load(Acquire));
            if head.wrapping_sub(self.tail) > CAPACITY as u64 {
                // Nothing between here and there can be told from garbage. Start again where the producer says it is.
                self.head_seen = head;
                self.tail = head;
                self.publish_tail();
                return Some(Err(Bad));
            }
            self.head_seen = head;
            if self.tail == head {
                return None;
            }
        }
        let at = slot_at(self.tail);
        let first = load(&self.region, at);
        let (len, port) = ((first & 0xffff) as usize, (first >> 16 & 0xff) as u8);
        let fine = (1..=MAX_FRAME).contains(&len) && first >> 24 == 0;
        if fine {
            for (i, chunk) in into.chunks_mut(8).enumerate().take(len.div_ceil(8)) {
                let word = load(&self.region, at + 8 + i * 8).to_le_bytes();
                chunk.iter_mut().zip(word).for_each(|(to, from)| *to = from);
            }
        }
        self.tail = self.tail.wrapping_add(1);
        // Before anything is made of it: a reader that dies over a frame must not leave it to its successor.
        self.publish_tail();
        Some(if fine { Ok(Popped { port, len }) } else { Err(Bad) })
    }

    /// Throws away what is there.
    pub fn skip(&mut self) {
        self.tail = self.region.word(HEAD_AT).map_or(self.tail, |w| w.load(Acquire));
        self.head_seen = self.tail;
        self.publish_tail();
    }

    fn publish_tail(&self) {
        // Release: our reads of the slots come before the producer may write them again.
        if let Some(tail) = self.region.word(TAIL_AT) {
            tail.store(self.tail, Release);
        }
    }
}

#[inline]
fn slot_at(cursor: u64) -> usize {
    // The capacity is a power of two.
    SLOTS_AT + (cursor & (CAPACITY as u64 - 1)) as usize * SLOT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn frame(n: usize) -> Vec<u8> {
        (0..1 + n % MAX_FRAME).map(|i| (i * 31 + n) as u8).collect()
    }

    fn attached(ring: &FrameRing) -> FrameRing {
        FrameRing::attach(ring.fd().try_clone_to_owned().unwrap()).unwrap()
    }

    /// What can happen to a ring.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push(usize),
        Pop,
        NewProducer,
        NewConsumer,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..4000usize).prop_map(Step::Push),
            5 => Just(Step::Pop),
            1 => Just(Step::NewProducer),
            1 => Just(Step::NewConsumer),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_bounded_queue_whoever_comes_and_goes(steps in prop::collection::vec(step(), 1..700)) {
            let ring = FrameRing::create("model").unwrap();
            let (mut producer, mut consumer) = (ring.producer(), attached(&ring).consumer());
            let (mut model, mut into) = (VecDeque::new(), [0; MAX_FRAME]);
            for step in steps {
                match step {
                    Step::Push(n) => {
                        let (port, bytes) = ((n % 2) as u8, frame(n));
                        let room = model.len() < CAPACITY;
                        prop_assert_eq!(producer.push(port, &bytes), if room { Ok(()) } else { Err(NotPushed::Full) });
                        if room {
                            model.push_back((port, bytes));
                        }
                    }
                    Step::Pop => {
                        let popped = consumer.pop(&mut into).map(|p| p.unwrap());
                        let got = popped.map(|p| (p.port, into[..p.len].to_vec()));
                        prop_assert_eq!(got, model.pop_front());
                        prop_assert_eq!(consumer.is_empty(), model.is_empty());
                    }
                    Step::NewProducer => producer = attached(&ring).producer(),
                    Step::NewConsumer => consumer = ring.consumer(),
                }
            }
        }

        #[test]
        fn nothing_that_the_other_side_writes_is_believed(
            words in prop::collection::vec((0usize..3, any::<u64>()), 1..40), at in 0u64..600,
        ) {
            let ring = FrameRing::create("hostile").unwrap();
            let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
            let mut into = [0; MAX_FRAME];
            for (which, value) in words {
                let place = [HEAD_AT, TAIL_AT, slot_at(at)][which];
                store(&ring.region, place, value);
                _ = producer.push(1, &[7; 60]);
                for _ in 0..CAPACITY + 2 {
                    match consumer.pop(&mut into) {
                        None => break,
                        Some(Ok(popped)) => prop_assert!((1..=MAX_FRAME).contains(&popped.len)),
                        Some(Err(Bad)) => {}
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ring = FrameRing::create("long").unwrap();
        let mut producer = ring.producer();
        assert_eq!(producer.push(0, &[0; MAX_FRAME + 1]), Err(NotPushed::TooLong));
        assert_eq!(producer.push(0, &[5; MAX_FRAME]), Ok(()));
        let mut into = [0; MAX_FRAME];
        assert_eq!(ring.consumer().pop(&mut into), Some(Ok(Popped { port: 0, len: MAX_FRAME })));
        assert_eq!(into, [5; MAX_FRAME]);
    }

    #[test]
    fn bad_lengths_and_cursors_are_lost_and_it_goes_on() {
        let ring = FrameRing::create("bad").unwrap();
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        let mut into = [0; MAX_FRAME];
        for word in [0, MAX_FRAME as u64 + 1, 60 | 1 << 24, u64::MAX] {
            producer.push(1, &[1; 60]).unwrap();
            store(&ring.region, slot_at(producer.head.wrapping_sub(1)), word);
            assert_eq!(consumer.pop(&mut into), Some(Err(Bad)));
        }
        store(&ring.region, HEAD_AT, 1 << 40);
        assert_eq!(consumer.pop(&mut into), Some(Err(Bad)));
        assert_eq!(consumer.pop(&mut into), None);
        let mut producer = ring.producer();
        producer.push(1, &[9; 61]).unwrap();
        assert_eq!(consumer.pop(&mut into), Some(Ok(Popped { port: 1, len: 61 })));
    }

    #[test]
    fn another_layout_is_refused() {
        let ring = FrameRing::create("layout").unwrap();
        let attach = || FrameRing::attach(ring.fd().try_clone_to_owned().unwrap()).map(|_| ());
        assert!(attach().is_ok());
        store(&ring.region, CAPACITY_AT, 1 << 20);
        assert!(matches!(attach(), Err(ShmError::Header { what: "capacity", .. })));
        store(&ring.region, 0, 1);
        assert!(matches!(attach(), Err(ShmError::Magic { .. })));
    }

    #[test]
    fn frames_cross_between_threads_whole() {
        let ring = FrameRing::create("threads").unwrap();
        let (mut producer, mut consumer) = (ring.producer(), attached(&ring).consumer());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..20_000 {
                    while producer.push(0, &frame(n)).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
            let mut into = [0; MAX_FRAME];
            for n in 0..20_000 {
                let popped = loop {
                    match consumer.pop(&mut into) {
                        Some(popped) => break popped.unwrap(),
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(into[..popped.len], frame(n)[..]);
            }
        });
    }
}
