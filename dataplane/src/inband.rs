//! Frames for the gateway itself: how its own address is reached through the ports of the bridge.
//!
//! ```text
//!  rx burst ─► for us? ─┬─ no ──────────────────────────► classifier ─► other port
//!                       ├─ to our hardware address ─► rate ─► punt ring ─► control process
//!                       └─ to a group, asks for us ─► rate ─► punt ring,  and goes on like any other
//!  control process ─► send ring ─► checked ─► the port it names
//! ```
//!
//! The lcore understands nothing of what it hands on. It tells by the destination and the header behind it that a frame is
//! for an [`Own`] address, copies it into a ring of bounded frames ([`ring::FrameRing`]), and sends what comes back. Whoever floods
//! that address is stopped here, by [`rate`], before the ring: what is over a rate costs a look at two headers.
//!
//! **What a frame that is not for us costs** is a load and a compare of its first eight bytes, which everything after it needs
//! anyway; without in-band management not even that.
//!
//! Conservation: a frame to our hardware address leaves the traffic here (`inband_taken`), and one that was made by us joins it
//! (`inband_sent`). Each that was looked at closely was handed on or has a reason:
//! `inband_taken + inband_copied = inband_punted + inband_refused{reason}`.

pub mod own;
pub mod rate;
pub mod ring;

use crate::counters::{LcoreCounters, PORTS};
use crate::port::{BURST, Burst, Frame, Link, Port};
use own::{Look, Own};
use rate::{Bucket, OverRate, Pace, RateLimit};
use ring::{Consumer, FrameRing, MAX_FRAME, NotPushed, Producer};

/// Frames of ours that leave in one turn at most: the traffic's burst comes first.
const SEND_BUDGET: usize = 8;
/// How often they are offered to a port that does not take all of them.
const TX_TRIES: usize = 16;
/// Frames of ours a second, and at once: whoever took the control process over can't fill the network with them. It is 240 Mbit/s
/// of full frames, more than the page needs.
const SEND_PACE: Pace = Pace { per_s: 20_000, burst: 512 };

macro_rules! reasons {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// All of them, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word used in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

reasons! {
    /// Why a frame for the gateway was not handed to it.
    pub enum Refused {
        /// Its source address has sent more than one may.
        OverSource = "over_source",
        /// Its hardware address has.
        OverMac = "over_mac",
        /// All together have.
        OverAll = "over_all",
        /// The control process does not keep up, or is not there.
        RingFull = "ring_full",
        /// Longer than [`MAX_FRAME`], or not in one piece.
        TooLong = "too_long",
        /// Its headers are cut off, or can't be true.
        Malformed = "malformed",
        /// A fragment: the gateway takes none.
        Fragment = "fragment",
        /// Its source is our own hardware or network address: a loop, or somebody who pretends.
        OwnSource = "own_source",
        /// Somebody else says that our network address is theirs.
        Conflict = "conflict",
        /// To our hardware address, but for another network address: somebody takes us for a router.
        NotOurs = "not_ours",
        /// Neither ARP nor IP.
        OtherProtocol = "other_protocol",
    }
}

reasons! {
    /// Why a frame of the gateway was not sent.
    pub enum Unsent {
        /// The port did not take it.
        PortFull = "port_full",
        /// There was no buffer.
        NoBuffer = "no_buffer",
        /// What the ring held was no frame of ours.
        Bad = "bad",
    }
}

/// What one lcore does for the gateway's own address. Takes all its memory at start.
pub struct InBand<F> {
    own: Own,
    /// Our hardware address and those of the groups that ask for us, as the first six bytes of a frame read as a number.
    mac: u64,
    groups: [u64; own::MAX_GROUPS],
    punt: Producer,
    send: Consumer,
    rate: RateLimit,
    pace: Bucket,
    /// A frame that lends its pool: there may be none of the traffic when one of ours is to be made.
    lender: Option<F>,
    out: [Burst<F>; PORTS],
    /// Where a frame of the send ring is copied to before it is looked at.
    slot: Box<[u8; MAX_FRAME]>,
}

/// The first six bytes of a word in the order of the wire.
const MAC_MASK: u64 = 0x0000_ffff_ffff_ffff;
/// The bit of a group, in the first byte.
const GROUP: u64 = 1;

/// The first eight bytes of a frame; zero of one that is shorter.
#[inline]
fn first_word<F: Frame>(frame: &F) -> u64 {
    frame.bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

fn mac_word(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

impl<F: Frame> InBand<F> {
    /// What one lcore needs: the addresses, the ring to the control process and the one from it. What is in the latter was for a
    /// predecessor and is thrown away. `secret` keys the hash of sources: random, per process.
    pub fn new(own: Own, punt: &FrameRing, send: &FrameRing, secret: [u64; 4]) -> Self {
        let mut send = send.consumer();
        send.skip();
        let mut groups = [u64::MAX; own::MAX_GROUPS];
        for (to, group) in groups.iter_mut().zip(own.groups()) {
            *to = mac_word(group);
        }
        Self {
            mac: mac_word(own.mac()),
            groups,
            own,
            punt: punt.producer(),
            send,
            rate: RateLimit::new(secret),
            pace: Bucket::full(SEND_PACE),
            lender: None,
            out: Default::default(),
            slot: Box::new([0; MAX_FRAME]),
        }
    }

    /// Takes the frames that are for the gateway out of a burst that came in by `from`, and hands copies of them on.
    #[inline]
    pub fn take(&mut self, burst: &mut Burst<F>, from: usize, now_ns: u64, counts: &mut LcoreCounters) {
        // Nothing but a sum over the burst: the loads don't wait for each other, so their misses overlap without being asked for
        // in advance, which was tried and cost ten instructions more a frame. Which frames it was is found again where it matters.
        let mut any = false;
        for frame in burst.iter() {
            let word = first_word(frame);
            any |= (word << 16 == self.mac << 16) | (word & GROUP != 0);
        }
        if any {
            self.look_closely(burst, from, now_ns, counts);
        }
    }

    #[cold]
    fn look_closely(&mut self, burst: &mut Burst<F>, from: usize, now_ns: u64, counts: &mut LcoreCounters) {
        let mut taken = 0u32;
        for (i, frame) in burst.iter().enumerate() {
            let word = first_word(frame) & MAC_MASK;
            let to_us = word == self.mac;
            if (!to_us && !self.groups.contains(&word)) || frame.link() != Link::Ethernet {
                continue;
            }
            let outcome = match self.own.look(frame.bytes(), to_us) {
                Look::Pass => continue,
                Look::Refuse(why) => Err(why),
                Look::Punt(asks) => self.punt(frame, from, &asks, now_ns),
            };
            let which = if to_us { &mut counts.inband_taken } else { &mut counts.inband_copied };
            if let Some(count) = which.get_mut(from) {
                *count += 1;
            }
            taken |= u32::from(to_us) << (i % BURST);
            match outcome {
                Ok(()) => counts.inband_punted[0] += 1,
                Err(why) => {
                    if let Some(count) = counts.inband_refused.get_mut(why as usize) {
                        *count += 1;
                    }
                }
            }
        }
        if taken != 0 {
            burst.retain(|i, _| taken >> (i % BURST) & 1 == 0);
        }
    }

    fn punt(&mut self, frame: &F, from: usize, asks: &own::Asks, now_ns: u64) -> Result<(), Refused> {
        let bytes = frame.bytes();
        if bytes.len() > MAX_FRAME || frame.wire_len() != bytes.len() {
            return Err(Refused::TooLong);
        }
        self.rate.take(asks, now_ns).map_err(|over| match over {
            OverRate::Source => Refused::OverSource,
            OverRate::Mac => Refused::OverMac,
            OverRate::All => Refused::OverAll,
        })?;
        if self.lender.is_none() {
            // The shortest frame there is: all that is wanted of it is where its buffer comes from.
            self.lender = frame.sibling(&[0; 60]);
        }
        self.punt.push(from as u8, bytes).map_err(|why| match why {
            NotPushed::Full => Refused::RingFull,
            NotPushed::TooLong => Refused::TooLong,
        })
    }

    /// Sends what the control process wants to be sent, a bounded number of frames. Returns how many left.
    #[inline]
    pub(crate) fn send<P: Port<Frame = F>>(
        &mut self,
        ports: &mut [P; PORTS],
        now_ns: u64,
        counts: &mut LcoreCounters,
    ) -> usize {
        if self.send.is_empty() { 0 } else { self.send_some(ports, now_ns, counts) }
    }

    #[cold]
    fn send_some<P: Port<Frame = F>>(
        &mut self,
        ports: &mut [P; PORTS],
        now_ns: u64,
        counts: &mut LcoreCounters,
    ) -> usize {
        let mut unsent = [0u64; Unsent::ALL.len()];
        let mut note = |why: Unsent, n: usize| {
            if let Some(count) = unsent.get_mut(why as usize) {
                *count += n as u64;
            }
        };
        for _ in 0..SEND_BUDGET {
            // What is over the pace waits in the ring.
            if !self.pace.has(SEND_PACE, 1, now_ns) {
                break;
            }
            let Some(popped) = self.send.pop(&mut self.slot) else { break };
            self.pace.spend(1);
            let Ok(popped) = popped else {
                note(Unsent::Bad, 1);
                continue;
            };
            let bytes = self.slot.get(..popped.len).unwrap_or_default();
            let Some(out) = self.out.get_mut(usize::from(popped.port)).filter(|_| self.own.may_send(bytes))
            else {
                note(Unsent::Bad, 1);
                continue;
            };
            let made = self.lender.as_ref().and_then(|lender| lender.sibling(bytes));
            if made.is_none_or(|frame| out.push(frame).is_err()) {
                note(Unsent::NoBuffer, 1);
            }
        }
        let bytes_of = |burst: &Burst<F>| burst.iter().map(|f| f.wire_len() as u64).sum::<u64>();
        let mut sent = 0;
        for (at, (port, out)) in ports.iter_mut().zip(&mut self.out).enumerate() {
            let (made, made_bytes) = (out.len(), bytes_of(out));
            for _ in 0..TX_TRIES {
                if out.is_empty() {
                    break;
                }
                port.tx_burst(out);
            }
            let (left, left_bytes) = (out.len(), bytes_of(out));
            note(Unsent::PortFull, left);
            out.drain().for_each(drop);
            let gone = (made - left) as u64;
            for (family, n) in [
                (&mut counts.inband_sent, gone),
                (&mut counts.tx_frames, gone),
                (&mut counts.tx_bytes, made_bytes - left_bytes),
            ] {
                if let Some(count) = family.get_mut(at) {
                    *count += n;
                }
            }
            sent += made - left;
        }
        counts.inband_unsent.iter_mut().zip(unsent).for_each(|(sum, n)| *sum += n);
        sent
    }
}
