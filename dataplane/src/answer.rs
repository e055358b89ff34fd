//! Frames that the gateway makes itself: what the ends of a blocked flow are answered with.
//!
//! An answer is made from the frame that it answers, and from nothing else: addresses, ports, VLAN tags and sequence
//! numbers stand in it. So nothing needs to be kept of a flow, and an answer that is lost is made again when the frame
//! is sent again. It goes *back* to whoever sent the frame, in the name of the other end, or *onward* to whoever should
//! have got it, in the name of the sender.
//!
//! Answers lie in a fixed store, [`ANSWERS`] a burst; beyond that a frame is dropped without one, and the caller counts it.
//! Nothing is answered behind a header that would have to be made anew (PPPoE, MPLS, tunnels), to groups, or to
//! fragments.

use crate::packet::{Addr, NO_HEADER, Packet, flag};
use crate::parse;

/// The most answers to the frames of one burst.
pub const ANSWERS: usize = 32;
/// The longest frame: 1500 bytes behind MAC addresses and three VLAN tags.
const ROOM: usize = 1526;
/// Addresses and type.
const ETHERNET: usize = 14;
const TTL: u8 = 64;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Which way an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To whoever sent the frame.
    Back,
    /// To whoever the frame was for.
    Onward,
}

/// A frame made here.
#[derive(Clone)]
pub struct Answer {
    bytes: [u8; ROOM],
    len: usize,
    /// Which way it goes.
    pub way: Way,
    /// The place in the burst of the frame that it answers.
    pub to: usize,
}

/// The answers to the frames of a burst.
pub struct Answers {
    store: Box<[Answer]>,
    len: usize,
}

/// A frame that is answered.
#[derive(Clone, Copy)]
pub struct Answered<'a> {
    /// Its packet.
    pub packet: &'a Packet,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Its place in the burst.
    pub at: usize,
}

/// The TCP header of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number, meaningful with [`flag::ACK`].
    pub ack: u32,
    /// The flags.
    pub flags: u8,
    /// TSval and TSecr (RFC 7323 section 3). A segment without them may be dropped where they are used; a RST never is.
    pub timestamps: Option<[u32; 2]>,
}

impl Answer {
    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Default for Answers {
    fn default() -> Self {
        let empty = Answer { bytes: [0; ROOM], len: 0, way: Way::Back, to: 0 };
        Self { store: vec![empty; ANSWERS].into_boxed_slice(), len: 0 }
    }
}

impl Answers {
    /// Forgets all answers.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The answers, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Answer> {
        self.store.iter().take(self.len)
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more there can be.
    pub fn room(&self) -> usize {
        self.store.len() - self.len
    }

    /// Answers with a TCP segment. False when there is no room for it.
    pub fn tcp(&mut self, of: &Answered<'_>, way: Way, segment: &Segment, payload: &[u8]) -> bool {
        self.make(of, way, TCP, |out, [src, dst]| {
            out.be16(src);
            out.be16(dst);
            out.put(&segment.seq.to_be_bytes());
            out.put(&segment.ack.to_be_bytes());
            let words = if segment.timestamps.is_some() { 8 } else { 5 };
            let window: u16 = if segment.flags & flag::RST == 0 { u16::MAX } else { 0 };
            out.put(&[words << 4, segment.flags]);
            out.be16(window);
            out.put(&[0; 4]);
            if let Some([value, echo]) = segment.timestamps {
                out.put(&[1, 1, 8, 10]);
                out.put(&value.to_be_bytes());
                out.put(&echo.to_be_bytes());
            }
            out.put(payload);
            16
        })
    }

    /// Answers with a datagram, back to the sender. False when there is no room for it.
    pub fn udp(&mut self, of: &Answered<'_>, payload: &[u8]) -> bool {
        self.make(of, Way::Back, UDP, |out, [src, dst]| {
            out.be16(src);
            out.be16(dst);
            out.be16((payload.len() + 8) as u16);
            out.put(&[0; 2]);
            out.put(payload);
            6
        })
    }

    /// Makes a frame: `transport` writes header and payload between these ports and says where in it the checksum is.
    fn make(
        &mut self,
        of: &Answered<'_>,
        way: Way,
        protocol: u8,
        transport: impl FnOnce(&mut Out<'_>, [u16; 2]) -> usize,
    ) -> bool {
        let packet = of.packet;
        // Not a lack of room: there is no answer to such a frame.
        let Some(link) = link(packet, of.bytes) else { return true };
        let Some(answer) = self.store.get_mut(self.len) else { return false };
        let ends = [(packet.src, packet.src_port), (packet.dst, packet.dst_port)];
        let [(src, src_port), (dst, dst_port)] = match way {
            Way::Onward => ends,
            Way::Back => [ends[1], ends[0]],
        };
        let mut out = Out { bytes: &mut answer.bytes, len: 0, fits: true };
        match (way, link.split_first_chunk::<12>()) {
            (Way::Back, Some(([d0, d1, d2, d3, d4, d5, s @ ..], rest))) => {
                out.put(s);
                out.put(&[*d0, *d1, *d2, *d3, *d4, *d5]);
                out.put(rest);
            }
            _ => out.put(link),
        }
        let l3 = out.len;
        let v4 = packet.src.is_v4();
        if v4 {
            out.put(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, TTL, protocol, 0, 0]);
        } else {
            out.put(&[0x60, 0, 0, 0, 0, 0, protocol, TTL]);
        }
        let addresses = if v4 { 12 } else { 0 };
        for address in [src, dst] {
            out.put(address.0.get(addresses..).unwrap_or_default());
        }
        let l4 = out.len;
        let sum_at = transport(&mut out, [src_port, dst_port]);
        let (len, fits) = (out.len, out.fits);
        if !fits {
            return false;
        }
        let (at, length) = if v4 { (l3 + 2, len - l3) } else { (l3 + 4, len - l4) };
        set(&mut answer.bytes, at, length as u16);
        if v4 {
            let sum = parse::checksum_of([answer.bytes.get(l3..l4).unwrap_or_default()], 0);
            set(&mut answer.bytes, l3 + 10, sum);
        }
        let of_address = |address: &Addr| parse::sum_of(address.0.get(addresses..).unwrap_or_default());
        let pseudo = of_address(&src) + of_address(&dst) + u64::from(protocol) + (len - l4) as u64;
        let sum = parse::checksum_of([answer.bytes.get(l4..len).unwrap_or_default()], pseudo);
        // In UDP zero says that there is no checksum (RFC 768).
        set(&mut answer.bytes, l4 + sum_at, if sum == 0 && protocol == UDP { 0xffff } else { sum });
        (answer.len, answer.way, answer.to) = (len, way, of.at);
        self.len += 1;
        true
    }
}

/// The bytes before the IP header, if they are MAC addresses of two stations and VLAN tags.
fn link<'a>(packet: &Packet, bytes: &'a [u8]) -> Option<&'a [u8]> {
    if packet.l3_at == NO_HEADER || packet.tunnelled {
        return None;
    }
    let link = bytes.get(..packet.l3_at as usize)?;
    let group = |at: usize| link.get(at).is_none_or(|first| first & 1 == 1);
    let mut types = link.get(12..)?;
    while let [0x81 | 0x91, 0, _, _, rest @ ..] | [0x88, 0xa8, _, _, rest @ ..] = types {
        types = rest;
    }
    let ip: &[u8] = if packet.src.is_v4() { &[8, 0] } else { &[0x86, 0xdd] };
    (link.len() >= ETHERNET && types == ip && !group(0) && !group(6)).then_some(link)
}

/// Writes into a fixed buffer; what does not fit is noted.
struct Out<'a> {
    bytes: &'a mut [u8],
    len: usize,
    fits: bool,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(into) => {
                into.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.fits = false,
        }
    }

    fn be16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }
}

fn set(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(into) = bytes.get_mut(at..at + 2) {
        into.copy_from_slice(&value.to_be_bytes());
    }
}

/// TSval and TSecr of a segment, from the options of its header.
pub fn timestamps(packet: &Packet, bytes: &[u8]) -> Option<[u32; 2]> {
    let header = bytes.get(packet.l4_at as usize..packet.payload_at as usize)?;
    let mut options = header.get(20..)?;
    loop {
        options = match options {
            [1, rest @ ..] => rest,
            [8, 10, a, b, c, d, e, f, g, h, ..] => {
                return Some([u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h])]);
            }
            [2..=255, len @ 2..=255, ..] => options.get(usize::from(*len)..)?,
            _ => return None,
        };
    }
}
