//! A port that injects faults, from a seed: what a cable, a NIC or a full queue does to frames.
//!
//! [`Faulty`] wraps any port whose frames are [`Editable`]. What it does is counted, so that a test can hold the
//! books to the frame: `rx = offered − lost + duplicated`. The same seed gives the same faults.

use super::memory::MemoryFrame;
use super::{Burst, Frame, Port, PortCounters, capture::CapturedFrame};

/// A frame that can be changed and copied. Not for the fast path: copies may allocate.
pub trait Editable: Frame + Sized {
    /// Another frame of the same content. `None` when there is no buffer for it.
    fn duplicate(&self) -> Option<Self>;

    /// Flips the bits of `mask` in the byte at `at`, if there is one.
    fn flip(&mut self, at: usize, mask: u8);

    /// Keeps the first `len` bytes, as if no more had been on the wire.
    fn truncate(&mut self, len: usize);
}

impl Editable for MemoryFrame {
    fn duplicate(&self) -> Option<Self> {
        Self::duplicate(self)
    }

    fn flip(&mut self, at: usize, mask: u8) {
        if let Some(byte) = self.bytes_mut().get_mut(at) {
            *byte ^= mask;
        }
    }

    fn truncate(&mut self, len: usize) {
        Self::truncate(self, len);
    }
}

impl Editable for CapturedFrame {
    fn duplicate(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn flip(&mut self, at: usize, mask: u8) {
        self.edit(|bytes| {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        });
    }

    fn truncate(&mut self, len: usize) {
        self.edit(|bytes| bytes.truncate(len));
    }
}

/// How often each fault strikes, in frames per thousand. At most one strikes a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Not received at all.
    pub loss: u16,
    /// Received twice.
    pub duplication: u16,
    /// Received up to eight frames later.
    pub reordering: u16,
    /// One to four bits flipped.
    pub corruption: u16,
    /// Cut anywhere.
    pub truncation: u16,
    /// Bursts (not frames) per thousand of which `tx_burst` takes only a part, possibly nothing.
    pub refusal: u16,
}

impl Rates {
    /// Every fault, at this rate.
    pub const fn all(rate: u16) -> Self {
        Self {
            loss: rate,
            duplication: rate,
            reordering: rate,
            corruption: rate,
            truncation: rate,
            refusal: rate,
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Frames lost.
    pub lost: u64,
    /// Frames received twice.
    pub duplicated: u64,
    /// Frames held back.
    pub reordered: u64,
    /// Frames with flipped bits.
    pub corrupted: u64,
    /// Frames cut.
    pub truncated: u64,
    /// Bursts of which not all was taken although the port would have taken it.
    pub refused: u64,
}

/// Frames that are held back at once.
const MAX_HELD: usize = 8;

/// A port with faults.
pub struct Faulty<P: Port> {
    port: P,
    rates: Rates,
    random: Random,
    injected: Injected,
    counters: PortCounters,
    /// Ready to be handed over, in this order; then what is held back, each with the frames it lets pass.
    ready: std::collections::VecDeque<P::Frame>,
    held: Vec<(u8, P::Frame)>,
    outgoing: Burst<P::Frame>,
}

impl<P: Port<Frame: Editable>> Faulty<P> {
    /// Wraps a port.
    pub fn new(port: P, rates: Rates, seed: u64) -> Self {
        Self {
            port,
            rates,
            random: Random(seed),
            injected: Injected::default(),
            counters: PortCounters::default(),
            ready: std::collections::VecDeque::with_capacity(4 * super::BURST),
            held: Vec::with_capacity(MAX_HELD),
            outgoing: Burst::default(),
        }
    }

    /// What was done so far.
    pub fn injected(&self) -> Injected {
        self.injected
    }

    /// The port inside.
    pub fn inner(&mut self) -> &mut P {
        &mut self.port
    }

    fn strike(&mut self, mut frame: P::Frame) {
        for (wait, _) in &mut self.held {
            *wait = wait.saturating_sub(1);
        }
        let rates = self.rates;
        let mut dice = self.random.below(1000);
        let mut strikes = |rate: u16| {
            let hit = dice < u64::from(rate);
            dice = if hit { u64::MAX } else { dice - u64::from(rate) };
            hit
        };
        if strikes(rates.loss) {
            self.injected.lost += 1;
            return self.release();
        }
        let hold = strikes(rates.reordering);
        if strikes(rates.duplication)
            && let Some(copy) = frame.duplicate()
        {
            self.injected.duplicated += 1;
            self.ready.push_back(copy);
        } else if strikes(rates.corruption) && !frame.bytes().is_empty() {
            self.injected.corrupted += 1;
            for _ in 0..=self.random.below(4) {
                let at = self.random.below(frame.bytes().len() as u64) as usize;
                let bit = self.random.below(8);
                frame.flip(at, 1 << bit);
            }
        } else if strikes(rates.truncation) && !frame.bytes().is_empty() {
            self.injected.truncated += 1;
            let len = self.random.below(frame.bytes().len() as u64) as usize;
            frame.truncate(len);
        }
        if hold && self.held.len() < MAX_HELD {
            self.injected.reordered += 1;
            let wait = 1 + self.random.below(8) as u8;
            self.held.push((wait, frame));
        } else {
            self.ready.push_back(frame);
        }
        self.release();
    }

    /// Lets go what has waited long enough.
    fn release(&mut self) {
        while let Some(index) = self.held.iter().position(|(wait, _)| *wait == 0) {
            self.ready.push_back(self.held.swap_remove(index).1);
        }
    }
}

impl<P: Port<Frame: Editable>> Port for Faulty<P> {
    type Frame = P::Frame;

    fn rx_burst(&mut self, burst: &mut Burst<P::Frame>) -> usize {
        if self.ready.len() < burst.room() {
            let mut arrived = Burst::default();
            if self.port.rx_burst(&mut arrived) > 0 {
                for frame in arrived.drain() {
                    self.strike(frame);
                }
            } else {
                // Nothing follows for now: waiting for it would keep frames for ever.
                self.ready.extend(self.held.drain(..).map(|(_, frame)| frame));
            }
        }
        let mut got = 0;
        while burst.room() > 0
            && let Some(frame) = self.ready.pop_front()
        {
            self.counters.rx_frames += 1;
            self.counters.rx_bytes += frame.wire_len() as u64;
            // There is room: nothing comes back.
            let _ = burst.push(frame);
            got += 1;
        }
        got
    }

    fn tx_burst(&mut self, burst: &mut Burst<P::Frame>) -> usize {
        if self.random.below(1000) >= u64::from(self.rates.refusal) || burst.is_empty() {
            return self.port.tx_burst(burst);
        }
        self.injected.refused += 1;
        let part = self.random.below(burst.len() as u64) as usize;
        for frame in burst.take_front(part) {
            // Empty before, and no larger than a burst.
            let _ = self.outgoing.push(frame);
        }
        let sent = self.port.tx_burst(&mut self.outgoing);
        // What the port itself did not take goes back to the front.
        let rest: Vec<_> = burst.drain().collect();
        for frame in self.outgoing.drain().chain(rest) {
            let _ = burst.push(frame);
        }
        sent
    }

    fn is_exhausted(&self) -> bool {
        self.port.is_exhausted() && self.ready.is_empty() && self.held.is_empty()
    }

    /// Received is what was handed over, after all faults; sent is what the port inside has sent.
    fn counters(&self) -> PortCounters {
        PortCounters { rx_missed: self.injected.lost, ..self.counters }.with_tx(self.port.counters())
    }
}

impl PortCounters {
    fn with_tx(self, of: Self) -> Self {
        Self { tx_frames: of.tx_frames, tx_bytes: of.tx_bytes, ..self }
    }
}

/// SplitMix64: small, and every seed is a good one.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, or 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory::{MemoryPort, Pool, pair};

    const FRAMES: u64 = 5_000;

    /// Sends numbered frames through a faulty port. What arrives, by number and length.
    fn run(rates: Rates, seed: u64) -> (Vec<(u32, usize)>, Injected, PortCounters) {
        let pool = Pool::new(512, 64);
        let (mut outside, inside): (MemoryPort, MemoryPort) = pair(64);
        let mut port = Faulty::new(inside, rates, seed);
        let (mut got, mut burst) = (Vec::new(), Burst::default());
        let mut number = 0u32;
        loop {
            while u64::from(number) < FRAMES {
                let bytes = [&number.to_be_bytes()[..], &[7; 56]].concat();
                if outside.send(pool.frame(&bytes).expect("enough buffers")).is_err() {
                    break;
                }
                number += 1;
            }
            if port.rx_burst(&mut burst) == 0 && u64::from(number) == FRAMES {
                break;
            }
            for frame in burst.drain() {
                let number = frame.bytes().first_chunk().map_or(u32::MAX, |n| u32::from_be_bytes(*n));
                got.push((number, frame.bytes().len()));
            }
        }
        drop(outside);
        assert!(port.is_exhausted());
        assert_eq!(pool.free(), 512, "every buffer came back");
        (got, port.injected(), port.counters())
    }

    #[test]
    fn without_faults_nothing_happens() {
        let (got, injected, _) = run(Rates::default(), 1);
        assert_eq!(injected, Injected::default());
        assert!(got.iter().copied().eq((0..FRAMES as u32).map(|n| (n, 60))));
    }

    #[test]
    fn the_books_balance_and_the_seed_decides() {
        let (got, injected, counters) = run(Rates::all(50), 7);
        let Injected { lost, duplicated, reordered, corrupted, truncated, .. } = injected;
        for count in [lost, duplicated, reordered, corrupted, truncated] {
            assert!((150..350).contains(&count), "{injected:?}");
        }
        assert_eq!(got.len() as u64, FRAMES - lost + duplicated);
        assert_eq!((counters.rx_frames, counters.rx_missed), (got.len() as u64, lost));
        assert_eq!(got.iter().filter(|(_, len)| *len < 60).count() as u64, truncated);
        assert_eq!(run(Rates::all(50), 7).0, got);
        assert_ne!(run(Rates::all(50), 8).0, got);
    }

    #[test]
    fn held_frames_are_overtaken_by_eight_at_most() {
        let rates = Rates { reordering: 100, ..Rates::default() };
        let (got, injected, _) = run(rates, 3);
        assert!(injected.reordered > 300);
        for (at, (number, _)) in got.iter().enumerate() {
            let late = at as i64 - i64::from(*number);
            assert!((-8..=8).contains(&late), "frame {number} arrived as {at}");
        }
        assert!(!got.is_sorted());
    }

    #[test]
    fn refused_frames_stay_in_order() {
        let pool = Pool::new(256, 64);
        let (mut outside, inside): (MemoryPort, MemoryPort) = pair(8);
        let rates = Rates { refusal: 500, ..Rates::default() };
        let mut port = Faulty::new(inside, rates, 5);
        let (mut burst, mut number, mut next) = (Burst::default(), 0u8, 0u8);
        while next < 200 {
            while burst.room() > 0 && number < 200 {
                burst.push(pool.frame(&[number]).expect("enough buffers")).expect("room");
                number += 1;
            }
            port.tx_burst(&mut burst);
            while let Some(frame) = outside.receive() {
                assert_eq!(frame.bytes(), [next]);
                next += 1;
            }
        }
        assert!(port.injected().refused > 5);
        assert_eq!(port.counters().tx_frames, 200);
    }
}
