//! Checksums, for those who ask: endpoints discard what fails them, so nothing may be learnt from it.
//!
//! Parsing doesn't check them itself: they cost more than all the rest and matter only while a flow has no name.

use super::ParseOptions;
use crate::packet::{Addr, Packet, Transport};

/// What a transport checksum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It fits.
    Good,
    /// It doesn't fit: endpoints discard the packet.
    Bad,
    /// It is the sum over the pseudo header of addresses and length only, which a sending host leaves to its NIC to finish: a capture
    /// made on that host. Never valid on the wire.
    Partial,
    /// UDP over IPv4 without a checksum (RFC 768).
    Absent,
    /// The packet was cut, so it can't be told.
    Unknown,
}

/// Whether the header checksum of the IPv4 header at `l3_at` fits (RFC 791). True for IPv6 and where there is no
/// header ([`crate::packet::NO_HEADER`]): nothing to fail. With [`ParseOptions::capture`], a checksum of 0 is one
/// that the NIC would have filled in.
pub fn ipv4_header_ok(bytes: &[u8], l3_at: u32, options: &ParseOptions) -> bool {
    let Some(header) = bytes.get(l3_at as usize..) else { return true };
    match header {
        [first, _, _, _, _, _, _, _, _, _, c0, c1, ..] if first >> 4 == 4 => {
            options.capture && [*c0, *c1] == [0, 0]
                || header.get(..usize::from(first & 0x0f) * 4).is_some_and(|h| fold(sum(h)) == 0xffff)
        }
        _ => true,
    }
}

/// The transport checksum of a packet (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1).
pub fn l4_checksum(packet: &Packet, bytes: &[u8]) -> Checksum {
    let start = packet.l4_at as usize;
    let end = packet.payload_at as usize + packet.payload_wire_len as usize;
    let Some(segment) = bytes.get(start..end) else { return Checksum::Unknown };
    let (number, at) = match packet.transport {
        Transport::Tcp { .. } => (6u64, 16),
        Transport::Udp => (17, 6),
    };
    let Some(field) = segment.get(at..).and_then(|s| s.first_chunk()).map(|f| u16::from_be_bytes(*f)) else {
        return Checksum::Unknown;
    };
    if field == 0 && packet.transport == Transport::Udp && packet.src.is_v4() {
        return Checksum::Absent;
    }
    let addresses = if packet.src.is_v4() { 12 } else { 0 };
    let of = |addr: &Addr| sum(addr.0.get(addresses..).unwrap_or_default());
    let pseudo = of(&packet.src) + of(&packet.dst) + number + segment.len() as u64;
    if fold(pseudo + sum(segment)) == 0xffff {
        Checksum::Good
    } else if field == fold(pseudo) {
        Checksum::Partial
    } else {
        Checksum::Bad
    }
}

/// Whether endpoints accept the packet's transport checksum, as far as can be told here. One that a NIC would have
/// finished is accepted with [`ParseOptions::capture`] only.
pub fn l4_checksum_ok(packet: &Packet, bytes: &[u8], options: &ParseOptions) -> bool {
    match l4_checksum(packet, bytes) {
        Checksum::Good | Checksum::Absent | Checksum::Unknown => true,
        Checksum::Partial => options.capture,
        Checksum::Bad => false,
    }
}

/// The checksum of bytes, with what else is summed up (RFC 1071): for frames that are made here.
pub fn checksum_of<const N: usize>(parts: [&[u8]; N], more: u64) -> u16 {
    !fold(more + parts.iter().map(|part| sum(part)).sum::<u64>())
}

/// What bytes add to a checksum.
pub fn sum_of(bytes: &[u8]) -> u64 {
    sum(bytes)
}

/// The sum of 16-bit words in network order, an odd byte padded with zero. No frame is long enough to overflow it.
fn sum(bytes: &[u8]) -> u64 {
    // Words of 32 bits: one's complement sums may be folded later (RFC 1071 section 2).
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = words.iter().map(|w| u64::from(u32::from_be_bytes(*w))).sum();
    let mut last = [0; 4];
    for (into, from) in last.iter_mut().zip(rest) {
        *into = *from;
    }
    sum += u64::from(u32::from_be_bytes(last));
    sum
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
