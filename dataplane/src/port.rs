//! Where frames come from and go to.
//!
//! A [`Port`] hands over frames in bursts, into storage that the caller owns. There are four kinds: DPDK (in its
//! own crate), capture file, memory, and a wrapper that injects faults. The lcore loop is generic over the kind,
//! so nothing is dispatched per frame.

pub mod capture;
pub mod faults;
pub mod memory;
pub mod socket;
pub mod spec;

/// Frames per burst. 32 keeps the burst's first cache lines in L1 and amortizes the calls into the driver.
pub const BURST: usize = 32;

/// One frame, owned by whoever holds it. Dropping it gives its buffer back.
pub trait Frame {
    /// The bytes that can be inspected: all of them, or the first segment of a chained buffer.
    fn bytes(&self) -> &[u8];

    /// Length on the wire, without preamble and FCS. Greater than `bytes().len()` in captures that were cut and
    /// in chained buffers.
    fn wire_len(&self) -> usize {
        self.bytes().len()
    }

    /// A frame of its own with these bytes, whose buffer comes from where this one's did. `None` when there is no
    /// buffer, the bytes don't fit, or frames of this kind can't be made.
    fn sibling(&self, _bytes: &[u8]) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// What the first header is.
    fn link(&self) -> Link {
        Link::Ethernet
    }
}

/// What the first header of a frame is. Live ports are Ethernet; the others occur in captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// IEEE 802.3.
    Ethernet,
    /// An IP packet without any header before it (LINKTYPE_RAW, IPV4, IPV6).
    RawIp,
    /// BSD loopback: four bytes of address family in either byte order (LINKTYPE_NULL, LOOP).
    Null,
    /// Linux cooked capture version 1.
    Sll,
    /// Linux cooked capture version 2.
    Sll2,
    /// PPP, with or without HDLC-like framing (RFC 1661, RFC 1662).
    Ppp,
    /// A PPPoE header without Ethernet before it (LINKTYPE_PPP_ETHER).
    Pppoe,
    /// Cisco HDLC.
    Chdlc,
    /// IEEE 802.11, with the length of a radiotap, Prism or AVS header before it read from that header.
    Ieee80211Radiotap,
    /// Per-packet information, which names the link type that follows it.
    Ppi,
    /// IEEE 802.11 without any header before it.
    Ieee80211,
    /// netfilter log (LINKTYPE_NFLOG).
    Nflog,
    /// Linux netlink messages; those of netfilter's log and queue carry packets.
    Netlink,
    /// Anything else, by its LINKTYPE number: forwarded, never parsed.
    Other(u16),
}

impl Link {
    /// The link with this LINKTYPE number (<https://www.tcpdump.org/linktypes.html>). The numbers that some
    /// systems write instead of LINKTYPE_RAW are known too.
    pub const fn from_linktype(number: u16) -> Self {
        match number {
            0 | 108 => Self::Null,
            1 => Self::Ethernet,
            9 | 50 => Self::Ppp,
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            51 => Self::Pppoe,
            104 => Self::Chdlc,
            105 => Self::Ieee80211,
            113 => Self::Sll,
            119 | 127 | 163 => Self::Ieee80211Radiotap,
            192 => Self::Ppi,
            239 => Self::Nflog,
            253 => Self::Netlink,
            276 => Self::Sll2,
            other => Self::Other(other),
        }
    }

    /// The LINKTYPE number to write into a capture file.
    pub const fn linktype(self) -> u16 {
        match self {
            Self::Null => 0,
            Self::Ethernet => 1,
            Self::Ppp => 9,
            Self::RawIp => 101,
            Self::Pppoe => 51,
            Self::Chdlc => 104,
            Self::Ieee80211 => 105,
            Self::Sll => 113,
            Self::Ieee80211Radiotap => 127,
            Self::Ppi => 192,
            Self::Nflog => 239,
            Self::Netlink => 253,
            Self::Sll2 => 276,
            Self::Other(number) => number,
        }
    }
}

/// A burst of frames: at most [`BURST`], in the order of the wire.
pub struct Burst<F> {
    frames: [Option<F>; BURST],
    len: usize,
}

impl<F> Default for Burst<F> {
    fn default() -> Self {
        Self { frames: [const { None }; BURST], len: 0 }
    }
}

impl<F> Burst<F> {
    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more fit.
    pub fn room(&self) -> usize {
        BURST - self.len
    }

    /// Adds a frame at the end, or gives it back when the burst is full.
    pub fn push(&mut self, frame: F) -> Result<(), F> {
        match self.frames.get_mut(self.len) {
            Some(slot) => {
                *slot = Some(frame);
                self.len += 1;
                Ok(())
            }
            None => Err(frame),
        }
    }

    /// The frames, in order.
    pub fn iter(&self) -> impl Iterator<Item = &F> {
        // A slice and not `take`: one end to look for, not two.
        self.frames.get(..self.len).unwrap_or_default().iter().flatten()
    }

    /// The frames, in order, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut F> {
        self.frames.get_mut(..self.len).unwrap_or_default().iter_mut().flatten()
    }

    /// The frame at `index`.
    pub fn get(&self, index: usize) -> Option<&F> {
        self.frames.get(index).and_then(Option::as_ref)
    }

    /// Takes all frames out, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = F> + '_ {
        let len = std::mem::take(&mut self.len);
        self.frames.iter_mut().take(len).filter_map(Option::take)
    }

    /// Takes the first `n` frames out, in order; the rest moves to the front. For ports that accept only a part.
    pub fn take_front(&mut self, n: usize) -> impl Iterator<Item = F> + '_ {
        let n = n.min(self.len);
        self.frames.rotate_left(n);
        self.len -= n;
        self.frames.iter_mut().skip(BURST - n).filter_map(Option::take)
    }

    /// Lets a driver write frames straight into the free slots, from their front; it says how many. Claiming more
    /// than it wrote leaves holes, which are skipped by every reader but cost room until the burst is emptied.
    pub fn fill(&mut self, receive: impl FnOnce(&mut [Option<F>]) -> usize) -> usize {
        let slots = self.frames.get_mut(self.len..).unwrap_or_default();
        let n = receive(slots).min(BURST - self.len);
        self.len += n;
        n
    }

    /// Lets a driver take frames straight out of the slots, from their front; it says how many. What it left moves
    /// to the front.
    pub fn offer(&mut self, send: impl FnOnce(&mut [Option<F>]) -> usize) -> usize {
        let filled = self.frames.get_mut(..self.len).unwrap_or_default();
        let n = send(filled).min(self.len);
        if n < self.len {
            filled.rotate_left(n);
        }
        self.len -= n;
        n
    }

    /// Keeps the frames for which `keep` says so, in order; the others are dropped, which frees them.
    pub fn retain(&mut self, mut keep: impl FnMut(usize, &F) -> bool) {
        let mut kept = 0;
        for i in 0..self.len {
            let Some(frame) = self.frames.get_mut(i).and_then(Option::take) else { continue };
            if keep(i, &frame) {
                if let Some(slot) = self.frames.get_mut(kept) {
                    *slot = Some(frame);
                }
                kept += 1;
            }
        }
        self.len = kept;
    }
}

/// What a port has counted since it was opened. All of it belongs to the one lcore that polls the port's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames handed over by `rx_burst`.
    pub rx_frames: u64,
    /// Their bytes on the wire.
    pub rx_bytes: u64,
    /// Frames accepted by `tx_burst`.
    pub tx_frames: u64,
    /// Their bytes on the wire.
    pub tx_bytes: u64,
    /// Frames that the hardware or driver lost before they were handed over.
    pub rx_missed: u64,
}

/// A place where frames come from and go to, polled by one lcore.
pub trait Port {
    /// The frames of this kind of port.
    type Frame: Frame;

    /// Adds frames that have arrived to `burst`, as many as fit. Never waits. Returns how many.
    fn rx_burst(&mut self, burst: &mut Burst<Self::Frame>) -> usize;

    /// Takes frames off the front of `burst` for transmission, as many as are accepted now. Never waits; what is
    /// not accepted stays in the burst, in order. Returns how many were taken.
    fn tx_burst(&mut self, burst: &mut Burst<Self::Frame>) -> usize;

    /// Whether nothing will ever arrive again: a capture at its end. Live ports never end.
    fn is_exhausted(&self) -> bool {
        false
    }

    /// What was counted.
    fn counters(&self) -> PortCounters;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_keeps_order() {
        let mut burst = Burst::default();
        for i in 0..BURST {
            assert_eq!(burst.push(i), Ok(()));
        }
        assert_eq!(burst.push(99), Err(99));
        assert_eq!(burst.take_front(3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((burst.len(), burst.get(0)), (29, Some(&3)));
        burst.retain(|_, f| f % 2 == 0);
        assert_eq!(burst.drain().collect::<Vec<_>>(), (4..32).step_by(2).collect::<Vec<_>>());
        assert!(burst.is_empty() && burst.room() == BURST);
    }

    #[test]
    fn a_driver_fills_and_empties_slots_in_place() {
        let mut burst = Burst::default();
        assert_eq!(burst.push(0), Ok(()));
        let filled = burst.fill(|free| {
            free.iter_mut().take(4).zip(1..).for_each(|(slot, f)| *slot = Some(f));
            4
        });
        assert_eq!((filled, burst.len()), (4, 5));
        let sent = burst.offer(|frames| frames.iter_mut().take(2).filter_map(Option::take).count());
        assert_eq!((sent, burst.room()), (2, BURST - 3));
        assert_eq!(burst.push(9), Ok(()));
        assert_eq!(burst.drain().collect::<Vec<_>>(), [2, 3, 4, 9]);
        assert_eq!(burst.fill(|_| 999), BURST, "a claim beyond the room is cut");
        assert_eq!(burst.drain().count(), 0);
    }
}
