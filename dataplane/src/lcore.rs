//! The loop of one lcore: a bridge between two ports with the classifier in between.
//!
//! Every frame leaves byte-identical by the other port, in the order in which it came, unless a verdict says `block`, or it is over the rate of a `limit`.
//! What can't be parsed is forwarded like everything else. One turn receives a burst from each port, classifies and
//! sends it; one clock read a turn, no lock, no allocation, no log line. From one read to the next is also how long the
//! frames of a turn were here ([`crate::latency`]).
//!
//! When the other port does not take a frame, it is offered again within the turn, a bounded number of times; what
//! is left then is discarded and counted by port. Waiting longer would cost frames at the receiving port instead,
//! where nobody can say which.
//!
//! Frames for the gateway itself, where it has an address on these ports, leave the burst before the classifier sees it, and
//! what it answers is sent at the end of a turn ([`crate::inband`]).

use crate::answer::Way;
use crate::classifier::{Classifier, FlowSink};
use crate::counters::{LcoreCounters, PORTS};
use crate::inband::InBand;
use crate::latency::bucket_of;
use crate::port::{Burst, Frame, Port};

/// How often a burst is offered to a port that does not take all of it.
const TX_TRIES: usize = 64;
/// Timers that are looked at in one turn at most.
const EXPIRE_BUDGET: usize = 16;

/// A bridge of two ports, run by one lcore.
pub struct Lcore<P: Port, S: FlowSink> {
    ports: [P; PORTS],
    burst: Burst<P::Frame>,
    /// Answers to frames of blocked flows: back to their senders, onward to whom they were for.
    answers: [Burst<P::Frame>; 2],
    classifier: Classifier<S>,
    /// Where the gateway has an address on these ports.
    inband: Option<Box<InBand<P::Frame>>>,
    /// Number of the next frame.
    number: u64,
    /// When the last turn began, and how many frames it moved.
    last: (u64, u64),
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Frames received from both ports, and frames of the gateway itself that were sent.
    pub frames: usize,
    /// Both ports will never deliver anything again.
    pub exhausted: bool,
}

impl<P: Port, S: FlowSink> Lcore<P, S> {
    /// A bridge between `lan` and `uplink`.
    pub fn new(lan: P, uplink: P, classifier: Classifier<S>) -> Self {
        let (burst, answers) = (Burst::default(), Default::default());
        Self { ports: [lan, uplink], burst, answers, classifier, inband: None, number: 1, last: (0, 0) }
    }

    /// The same bridge, at which the gateway itself can be reached. The boxed part is large.
    pub fn with_inband(self, inband: Option<Box<InBand<P::Frame>>>) -> Self {
        Self { inband, ..self }
    }

    /// One turn, at `now_ns` nanoseconds of the lcore's monotonic clock.
    pub fn turn(&mut self, now_ns: u64) -> Turn {
        let (began, moved) = self.last;
        if moved > 0
            && let Some(count) =
                self.classifier.counters.turn_ns.get_mut(bucket_of(now_ns.saturating_sub(began)))
        {
            *count += moved;
        }
        let mut frames = 0;
        for from in 0..PORTS {
            frames += self.pass(from, now_ns);
        }
        self.last = (now_ns, frames as u64);
        if let Some(inband) = &mut self.inband {
            frames += inband.send(&mut self.ports, now_ns, &mut self.classifier.counters);
        }
        self.classifier.expire(now_ns, EXPIRE_BUDGET);
        Turn { frames, exhausted: frames == 0 && self.ports.iter().all(P::is_exhausted) }
    }

    /// The classifier, for its policy and counters.
    pub fn classifier(&mut self) -> &mut Classifier<S> {
        &mut self.classifier
    }

    /// What was counted, with the ports' own losses.
    pub fn counters(&mut self) -> &LcoreCounters {
        self.adds_up();
        for (port, missed) in self.ports.iter().zip(&mut self.classifier.counters.rx_missed) {
            *missed = port.counters().rx_missed;
        }
        &self.classifier.counters
    }

    /// Ends the loop: the ports, and the classifier with all that it counted.
    pub fn into_parts(self) -> ([P; PORTS], Classifier<S>) {
        self.adds_up();
        (self.ports, self.classifier)
    }

    fn adds_up(&self) {
        debug_assert_eq!(self.classifier.counters.broken(self.classifier.flows() as u64), None);
    }

    fn pass(&mut self, from: usize, now_ns: u64) -> usize {
        let got = self.ports.get_mut(from).map_or(0, |rx| rx.rx_burst(&mut self.burst));
        if got == 0 {
            return 0;
        }
        #[cfg(feature = "faults-on-purpose")]
        crate::leak::tell(&self.burst);
        let to = 1 - from;
        let bytes = |burst: &Burst<P::Frame>| burst.iter().map(|f| f.wire_len() as u64).sum::<u64>();
        let received = bytes(&self.burst);
        if let Some(inband) = &mut self.inband {
            inband.take(&mut self.burst, from, now_ns, &mut self.classifier.counters);
        }
        let passing = self.burst.len();
        let passing_bytes = if passing < got { bytes(&self.burst) } else { received };
        let discard = self.classifier.burst(&self.burst, self.number, now_ns);
        self.number += passing as u64;
        if !self.classifier.answers().is_empty() {
            self.make_answers();
        }
        let [lan, uplink] = &mut self.ports;
        let (rx, tx) = if from == 0 { (lan, uplink) } else { (uplink, lan) };
        let dropped = discard.count_ones() as usize;
        let over_limit = u64::from(self.classifier.over_limit());
        if dropped > 0 {
            self.burst.retain(|i, _| discard & 1 << i == 0);
        }
        let offered = if dropped > 0 { bytes(&self.burst) } else { passing_bytes };
        for _ in 0..TX_TRIES {
            if self.burst.is_empty() {
                break;
            }
            tx.tx_burst(&mut self.burst);
        }
        let sent_back = if self.answers.iter().all(Burst::is_empty) {
            [(0, 0); 2]
        } else {
            let [back, onward] = &mut self.answers;
            [(rx, back), (tx, onward)].map(|(port, answers)| {
                let made = (answers.len(), bytes(answers));
                for _ in 0..TX_TRIES {
                    if answers.is_empty() {
                        break;
                    }
                    port.tx_burst(answers);
                }
                let left = (answers.len(), bytes(answers));
                answers.drain().for_each(drop);
                self.classifier.counters.answers_lost[0] += left.0 as u64;
                ((made.0 - left.0) as u64, made.1 - left.1)
            })
        };
        let (left, left_bytes) = (self.burst.len(), bytes(&self.burst));
        if left > 0 {
            self.burst.drain().for_each(drop);
        }
        let counters = &mut self.classifier.counters;
        let add = |family: &mut [u64; PORTS], port: usize, n: u64| {
            if let Some(count) = family.get_mut(port) {
                *count += n;
            }
        };
        add(&mut counters.rx_frames, from, got as u64);
        add(&mut counters.rx_bytes, from, received);
        add(&mut counters.drop_policy, from, dropped as u64 - over_limit);
        add(&mut counters.drop_limit, from, over_limit);
        add(&mut counters.drop_tx_full, from, left as u64);
        add(&mut counters.tx_frames, to, (passing - dropped - left) as u64);
        add(&mut counters.tx_bytes, to, offered - left_bytes);
        for (port, (frames, bytes)) in [from, to].into_iter().zip(sent_back) {
            add(&mut counters.answers, port, frames);
            add(&mut counters.tx_frames, port, frames);
            add(&mut counters.tx_bytes, port, bytes);
        }
        got
    }

    /// Makes frames of the answers, while the frames that they answer are still there to lend their pool.
    #[cold]
    fn make_answers(&mut self) {
        let mut lost = 0;
        for answer in self.classifier.answers().iter() {
            let made = self.burst.get(answer.to).and_then(|frame| frame.sibling(answer.bytes()));
            let [back, onward] = &mut self.answers;
            let into = if answer.way == Way::Back { back } else { onward };
            lost += u64::from(made.is_none_or(|frame| into.push(frame).is_err()));
        }
        self.classifier.counters.answers_lost[0] += lost;
    }
}
