//! The software distributor: spreads the frames of ports that can't do it themselves over several lcores.
//!
//! ```text
//!  LAN port ─rx─► steer ─┬─► ring ─► lcore 1 ─► ring ─┬─tx─► uplink port
//!                        └─► ring ─► lcore 2 ─► ring ─┘            (and the same the other way)
//! ```
//!
//! A NIC with symmetric RSS brings both directions of a flow to one queue. XDP sockets, TAPs and NICs without RSS don't:
//! there one lcore owns both ports and does nothing but receive, steer and send, and the others run the bridge on
//! [`WorkerPort`]s, which are rings to and from it.
//!
//! **Frames are steered by the address on the LAN side**: the source of what the LAN port received, the destination of what
//! the uplink received. So both directions of a flow meet, and with them its fragments and whatever else one lcore must know to
//! understand it: the DNS answers of a client, its limits. Everything else (ARP, LLDP) goes by its pair of hardware
//! addresses. The price: one client never gets more than one lcore, and behind a router that hides its clients
//! everybody is one.
//!
//! Order within a flow is kept, as rings are first in, first out. **When the ring to an lcore is full**, the frame is discarded and
//! counted as missed by its port, as a NIC does whose queue is full; it does not hold up the frames of the other lcores. When the ring
//! back is full, the lcore offers its frames again and counts what is left as it does with every port that takes no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::packet::Addr;
use crate::parse::{ParseOptions, Parsed, parse};
use crate::port::{Burst, Frame, Port, PortCounters};

/// Frames that a ring holds. As many as two rings of a NIC hold would only be late; fewer lose frames to a short delay of an
/// lcore.
pub const RING: usize = 1024;

/// The lcore that owns both ports.
pub struct Distributor<P: Port> {
    sides: [Side<P>; 2],
    /// Of the steering, so that nobody can aim at one lcore.
    secret: u64,
    ended: Arc<AtomicBool>,
}

/// One port with the rings that lead from it and to it.
struct Side<P: Port> {
    queues: Vec<P>,
    to: Vec<Producer<P::Frame>>,
    from: Vec<Consumer<P::Frame>>,
    received: Burst<P::Frame>,
    /// What the port has not taken yet of each lcore's frames.
    unsent: Vec<Burst<P::Frame>>,
    missed: Arc<AtomicU64>,
    /// Lost between port and lcore.
    discarded: u64,
}

/// What an lcore behind the distributor has in place of a queue.
pub struct WorkerPort<F> {
    rx: Consumer<F>,
    tx: Producer<F>,
    counters: PortCounters,
    /// What port and distributor lost, of the first lcore: sums over lcores are right.
    missed: Option<Arc<AtomicU64>>,
    ended: Arc<AtomicBool>,
}

/// What a turn of the distributor did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Frames that were steered.
    pub received: usize,
    /// Frames that ports took.
    pub sent: usize,
}

impl<P: Port> Distributor<P> {
    /// A distributor of LAN and uplink, each with all queues that it has, for so many lcores; and the ports of each of them.
    /// Takes all memory that it will ever need.
    pub fn new(ports: [Vec<P>; 2], lcores: usize, secret: u64) -> (Self, Vec<[WorkerPort<P::Frame>; 2]>) {
        let ended = Arc::new(AtomicBool::new(false));
        let mut workers: [Vec<WorkerPort<P::Frame>>; 2] = [Vec::new(), Vec::new()];
        let mut at = 0;
        let sides = ports.map(|queues| {
            let missed = Arc::new(AtomicU64::new(0));
            let (mut to, mut from) = (Vec::new(), Vec::new());
            for lcore in 0..lcores {
                let (push, rx) = RingBuffer::new(RING);
                let (tx, pop) = RingBuffer::new(RING);
                to.push(push);
                from.push(pop);
                let missed = (lcore == 0).then(|| missed.clone());
                let port =
                    WorkerPort { rx, tx, counters: PortCounters::default(), missed, ended: ended.clone() };
                if let Some(side) = workers.get_mut(at) {
                    side.push(port);
                }
            }
            at += 1;
            let unsent = (0..lcores).map(|_| Burst::default()).collect();
            Side { queues, to, from, received: Burst::default(), unsent, missed, discarded: 0 }
        });
        let [lan, uplink] = workers;
        let pairs = lan.into_iter().zip(uplink).map(|(lan, uplink)| [lan, uplink]).collect();
        (Self { sides, secret, ended }, pairs)
    }

    /// Receives a burst from every queue and hands it on, and sends what the lcores gave back.
    pub fn turn(&mut self) -> Moved {
        let mut moved = Moved::default();
        for (side, is_lan) in self.sides.iter_mut().zip([true, false]) {
            moved.received += side.receive(is_lan, self.secret);
            moved.sent += side.send();
        }
        if moved == Moved::default() && self.sides.iter().all(|side| side.queues.iter().all(P::is_exhausted))
        {
            self.end();
        }
        moved
    }

    /// Tells the lcores that they get nothing more: their ports are exhausted once they have taken what is in their rings.
    pub fn end(&mut self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Sends what the lcores gave back, and receives nothing more: while they end.
    pub fn drain(&mut self) -> usize {
        self.sides.iter_mut().map(Side::send).sum()
    }

    /// Tells the lcores what the ports lost, as they count it. Asks the driver; not for every turn.
    pub fn publish(&self) {
        for side in &self.sides {
            let missed: u64 = side.queues.iter().map(|queue| queue.counters().rx_missed).sum();
            side.missed.store(missed + side.discarded, Ordering::Relaxed);
        }
    }

    /// Whether the lcores are gone and all that they gave back is sent: there will be nothing more to do.
    pub fn is_done(&self) -> bool {
        self.sides.iter().all(|side| {
            side.unsent.iter().all(Burst::is_empty)
                && side.from.iter().all(|ring| ring.is_abandoned() && ring.is_empty())
        })
    }

    /// Frames that no lcore and no port has taken yet.
    pub fn frames(&self) -> usize {
        let side = |side: &Side<P>| {
            let to: usize = side.to.iter().map(|ring| RING - ring.slots()).sum();
            let from: usize = side.from.iter().map(Consumer::slots).sum();
            to + from + side.unsent.iter().map(Burst::len).sum::<usize>()
        };
        self.sides.iter().map(side).sum()
    }

    /// The ports, LAN first. What the lcores have not taken yet is discarded.
    pub fn into_ports(self) -> [Vec<P>; 2] {
        self.sides.map(|side| side.queues)
    }
}

impl<P: Port> Side<P> {
    fn receive(&mut self, is_lan: bool, secret: u64) -> usize {
        let mut received = 0;
        for queue in &mut self.queues {
            received += queue.rx_burst(&mut self.received);
            for frame in self.received.drain() {
                let lcore = steer(&frame, is_lan, secret, self.to.len());
                let full = self.to.get_mut(lcore).is_none_or(|ring| ring.push(frame).is_err());
                self.discarded += u64::from(full);
            }
        }
        received
    }

    /// Sends through the first queue: which one a frame leaves by says nothing to anybody.
    fn send(&mut self) -> usize {
        let Some(queue) = self.queues.first_mut() else { return 0 };
        let mut sent = 0;
        for (ring, burst) in self.from.iter_mut().zip(&mut self.unsent) {
            while burst.room() > 0
                && let Ok(frame) = ring.pop()
            {
                // There is room.
                _ = burst.push(frame);
            }
            if !burst.is_empty() {
                sent += queue.tx_burst(burst);
            }
        }
        sent
    }
}

/// The lcore for a frame, of so many.
fn steer<F: Frame>(frame: &F, is_lan: bool, secret: u64, lcores: usize) -> usize {
    let bytes = frame.bytes();
    let key = match parse(bytes, frame.wire_len(), frame.link(), &ParseOptions::default()) {
        Parsed::Packet(packet) => of_address(if is_lan { &packet.src } else { &packet.dst }),
        Parsed::Fragment(part) => of_address(if is_lan { &part.src } else { &part.dst }),
        Parsed::Opaque(_) | Parsed::Tunnel(_) | Parsed::Malformed(_) => of_hardware(bytes),
    };
    let mixed = u128::from(key ^ secret) * u128::from(0x9e37_79b9_7f4a_7c15_u64 ^ secret.rotate_left(32) | 1);
    let hash = (mixed as u64) ^ (mixed >> 64) as u64;
    // A multiplication instead of a division: the upper half is below the number of lcores.
    ((u128::from(hash) * lcores as u128) >> 64) as usize
}

fn of_address(address: &Addr) -> u64 {
    let (halves, _) = address.0.as_chunks::<8>();
    halves.iter().fold(0, |key, half| (key ^ u64::from_ne_bytes(*half)).wrapping_mul(0xff51_afd7_ed55_8ccd))
}

/// Both hardware addresses, whichever is the sender's.
fn of_hardware(bytes: &[u8]) -> u64 {
    let half = |at: usize| {
        let six = bytes.get(at..).and_then(|rest| rest.first_chunk::<6>()).copied().unwrap_or_default();
        six.iter().fold(0, |key, byte| key << 8 | u64::from(*byte))
    };
    half(0) ^ half(6)
}

impl<F: Frame> Port for WorkerPort<F> {
    type Frame = F;

    fn rx_burst(&mut self, burst: &mut Burst<F>) -> usize {
        let mut n = 0;
        while burst.room() > 0
            && let Ok(frame) = self.rx.pop()
        {
            self.counters.rx_bytes += frame.wire_len() as u64;
            n += usize::from(burst.push(frame).is_ok());
        }
        self.counters.rx_frames += n as u64;
        n
    }

    fn tx_burst(&mut self, burst: &mut Burst<F>) -> usize {
        let n = burst.len().min(self.tx.slots());
        let (mut sent, mut bytes) = (0, 0);
        for frame in burst.take_front(n) {
            bytes += frame.wire_len() as u64;
            // There are as many slots: nobody else fills them.
            sent += usize::from(self.tx.push(frame).is_ok());
        }
        self.counters.tx_frames += sent as u64;
        self.counters.tx_bytes += bytes;
        sent
    }

    fn is_exhausted(&self) -> bool {
        self.ended.load(Ordering::Acquire) && self.rx.is_empty()
    }

    fn counters(&self) -> PortCounters {
        let missed = self.missed.as_ref().map_or(0, |missed| missed.load(Ordering::Relaxed));
        PortCounters { rx_missed: missed, ..self.counters }
    }
}
