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
        Transport::Tcp { .. } => (6, 16),
        Transport::Udp => (17, 6),
    };
    let Some(field) = segment.get(at..).and_then(|s| s.first_chunk()).map(|f| u16::from_be_bytes(*f)) else {
        return Checksum::Unknown;
    };
    if field == 0 && packet.transport == Transport::Udp && packet.src.is_v4() {
        return Checksum::Absent;
    }
    let addresses = if packet.src.is_v4() { 12 } else { 0 };
    let of = |addr: &Addr| native(addr.0.get(addresses..).unwrap_or_default());
    let pseudo = of(&packet.src) + of(&packet.dst) + in_order(number) + in_order(segment.len() as u32);
    if fold(pseudo + native(segment)) == 0xffff {
        Checksum::Good
    } else if field == u16::from_be(fold(pseudo)) {
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

/// The sum of 16-bit words in network order, an odd byte padded with zero.
fn sum(bytes: &[u8]) -> u64 {
    u64::from(u16::from_be(fold(native(bytes))))
}

/// The same in the byte order of this machine, not folded: a one's complement sum is the same in either order but for the
/// order of its own two bytes (RFC 1071 section 2, B). Bringing every word in order took a third of the instructions of a sum.
/// By words of 32 bits, as sums may be folded later; no frame is long enough to overflow.
fn native(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum: u64 = words.iter().map(|w| u64::from(u32::from_ne_bytes(*w))).sum();
    let last = match *rest {
        [a] => [a, 0, 0, 0],
        [a, b] => [a, b, 0, 0],
        [a, b, c] => [a, b, c, 0],
        _ => [0; 4],
    };
    sum + u64::from(u32::from_ne_bytes(last))
}

/// What a number adds to a sum in the byte order of this machine, where it stands in network order.
fn in_order(number: u32) -> u64 {
    u64::from(number.to_be())
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_are_those_of_words_in_network_order(bytes: Vec<u8>) {
            let words = bytes.chunks(2).map(|w| u64::from(w[0]) << 8 | u64::from(*w.get(1).unwrap_or(&0)));
            let plain = words.fold(0, |sum, word| { let sum = sum + word; (sum & 0xffff) + (sum >> 16) });
            prop_assert_eq!(sum(&bytes), plain);
        }
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!((sum(&[]), sum(&[0; 9]), sum(&[0xff, 0xff]), sum(&[7])), (0, 0, 0xffff, 0x0700));
    }
}
