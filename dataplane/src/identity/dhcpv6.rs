//! DHCPv6 (RFC 8415): leases that a server gives, and those that a client gives back.
//!
//! A client names itself by a DUID, which is to be compared and never interpreted (section 11): it may hold the address of another
//! interface than the one that asks, or none. So the hardware address is that of the frame, which is the client's wherever
//! its IP address is link-local. Messages between relay agents and servers hold no such frame and are not looked at; what
//! an agent on this link hands to its client is.

use crate::packet::{NO_HEADER, Packet};
use glassgate_policy::identity::{IdentityEvent, Mac, Source};
use std::net::Ipv6Addr;

const CLIENT: u16 = 546;
const SERVER: u16 = 547;
const REPLY: u8 = 7;
const RELEASE: u8 = 8;
const DECLINE: u8 = 9;
const IA_NA: u16 = 3;
const IA_TA: u16 = 4;
const IAADDR: u16 = 5;
const STATUS: u16 = 13;
/// Addresses of a message that are told.
const MAX_ADDRESSES: usize = 8;

/// Whether a UDP packet is one of DHCPv6.
#[inline]
pub(crate) fn is_one(packet: &Packet) -> bool {
    packet.src_port.wrapping_sub(CLIENT) < 2 && packet.dst_port.wrapping_sub(CLIENT) < 2
}

/// Tells what a message says of addresses. `frame` begins with its Ethernet header.
pub(crate) fn of_packet(frame: &[u8], packet: &Packet, mono_ns: u64, mut tell: impl FnMut(IdentityEvent)) {
    // Put together from fragments, or in a tunnel: there is no frame of the client's.
    if packet.l3_at == NO_HEADER || packet.tunnelled {
        return;
    }
    let told = match (packet.src_port, packet.dst_port) {
        (SERVER, CLIENT) => read(frame.get(..6), packet.dst.0, packet.payload(frame), REPLY),
        (CLIENT, SERVER) => read(frame.get(6..12), packet.src.0, packet.payload(frame), RELEASE),
        _ => None,
    };
    let Some((mac, leases)) = told else { return };
    for Lease { ip, seconds } in leases.into_iter().flatten() {
        let source = if seconds > 0 { Source::Dhcp } else { Source::DhcpRelease };
        tell(IdentityEvent { seq: 0, mono_ns, ip: ip.into(), mac, source, seconds, read: None });
    }
}

/// An address, and for how long it is leased; not at all: it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lease {
    ip: Ipv6Addr,
    seconds: u32,
}

type Leases = [Option<Lease>; MAX_ADDRESSES];

/// The client's hardware address, and its leases: of a reply as the server grants them, of other messages given back.
fn read(mac: Option<&[u8]>, client: [u8; 16], message: &[u8], kind: u8) -> Option<(Mac, Leases)> {
    let mac = Mac(mac?.try_into().ok()?);
    // fe80::/10: from this link, to this link.
    if client.first() != Some(&0xfe) || client.get(1)? & 0xc0 != 0x80 || !mac.is_unicast() {
        return None;
    }
    let (head, options) = message.split_first_chunk::<4>()?;
    let [found, ..] = *head;
    if found != kind && (kind != RELEASE || found != DECLINE) {
        return None;
    }
    let mut leases = Leases::default();
    let mut free = leases.iter_mut();
    for (code, value) in Options(options) {
        let head = match code {
            // Identity, and two times.
            IA_NA => 12,
            IA_TA => 4,
            STATUS if !is_success(value) => return None,
            _ => continue,
        };
        for (code, value) in Options(value.get(head..)?) {
            match code {
                STATUS if !is_success(value) => break,
                IAADDR => {
                    let Some(slot) = free.next() else { break };
                    *slot = lease(value, kind == REPLY);
                }
                _ => {}
            }
        }
    }
    Some((mac, leases))
}

fn lease(value: &[u8], granted: bool) -> Option<Lease> {
    // Address, preferred lifetime, valid lifetime, options.
    let (ip, rest) = value.split_first_chunk::<16>()?;
    let (times, options) = rest.split_first_chunk::<8>()?;
    let [_, _, _, _, valid @ ..] = *times;
    let ip = Ipv6Addr::from(*ip);
    let refused = Options(options).any(|(code, value)| code == STATUS && !is_success(value));
    let of_a_host = !ip.is_unspecified() && !ip.is_multicast();
    let seconds = if granted { u32::from_be_bytes(valid) } else { 0 };
    (!refused && of_a_host).then_some(Lease { ip, seconds })
}

fn is_success(status: &[u8]) -> bool {
    status.get(..2) == Some(&[0, 0])
}

/// Codes and values, until one does not fit. Each takes four bytes or more: this ends.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[a, b, c, d], rest) = self.0.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([c, d])))?;
        self.0 = rest;
        Some((u16::from_be_bytes([a, b]), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x3c, 0x22, 0xfb, 1, 2, 3];
    const LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x3e22, 0xfbff, 0xfe01, 0x203);

    fn option(code: u16, value: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
    }

    fn address(last: u8, valid: u32, more: &[u8]) -> Vec<u8> {
        let ip = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last.into());
        option(IAADDR, &[&ip.octets()[..], &[0; 4], &valid.to_be_bytes(), more].concat())
    }

    fn ia(options: &[u8]) -> Vec<u8> {
        option(IA_NA, &[&[0; 12], options].concat())
    }

    fn message(kind: u8, options: &[u8]) -> Vec<u8> {
        // A DUID with the address of another interface.
        let duid = option(1, &[0, 1, 0, 1, 9, 9, 9, 9, 0x3c, 0x22, 0xfb, 9, 9, 9]);
        [&[kind, 1, 2, 3][..], &duid, options].concat()
    }

    fn leases(message: &[u8], kind: u8) -> Option<Vec<(u16, u32)>> {
        let (mac, leases) = read(Some(&MAC), LINK.octets(), message, kind)?;
        assert_eq!(mac, Mac(MAC));
        Some(leases.into_iter().flatten().map(|lease| (lease.ip.segments()[7], lease.seconds)).collect())
    }

    #[test]
    fn what_a_server_grants() {
        let two =
            [ia(&address(5, 3600, &[])), ia(&[address(6, 7200, &[]), address(7, 0, &[])].concat())].concat();
        assert_eq!(leases(&message(REPLY, &two), REPLY), Some(vec![(5, 3600), (6, 7200), (7, 0)]));
        let temporary = option(IA_TA, &[&[0; 4][..], &address(8, 60, &[])].concat());
        assert_eq!(leases(&message(REPLY, &temporary), REPLY), Some(vec![(8, 60)]));
        for kind in [1, 2, 3, 5, RELEASE, DECLINE, 12, 13] {
            assert_eq!(leases(&message(kind, &two), REPLY), None, "message {kind}");
        }
        let many: Vec<u8> = (1..30).flat_map(|last| ia(&address(last, 60, &[]))).collect();
        assert_eq!(leases(&message(REPLY, &many), REPLY).unwrap().len(), MAX_ADDRESSES);
    }

    #[test]
    fn what_it_refuses() {
        let (good, no) = (address(5, 3600, &[]), option(STATUS, &[0, 2, b'n', b'o']));
        let yes = option(STATUS, &[0, 0]);
        let all = |parts: &[&[u8]]| leases(&message(REPLY, &parts.concat()), REPLY);
        assert_eq!(all(&[&ia(&good), &no]), None, "all of it");
        assert_eq!(all(&[&ia(&[&no[..], &good].concat())]), Some(vec![]), "an identity");
        assert_eq!(all(&[&ia(&address(5, 60, &no))]), Some(vec![]), "an address");
        assert_eq!(all(&[&yes, &ia(&[&yes[..], &address(5, 60, &yes)].concat())]), Some(vec![(5, 60)]));
    }

    #[test]
    fn what_a_client_gives_back() {
        let one = ia(&address(5, 3600, &[]));
        for kind in [RELEASE, DECLINE] {
            assert_eq!(leases(&message(kind, &one), RELEASE), Some(vec![(5, 0)]));
        }
        assert_eq!(leases(&message(REPLY, &one), RELEASE), None, "a client that grants");
    }

    #[test]
    fn only_frames_of_the_client_itself() {
        let reply = message(REPLY, &ia(&address(5, 60, &[])));
        let from = |mac: &[u8], client: &str| {
            read(Some(mac), client.parse::<Ipv6Addr>().unwrap().octets(), &reply, REPLY).is_some()
        };
        assert!(from(&MAC, "fe80::1") && from(&MAC, "febf::1"));
        assert!(!from(&MAC, "fd77::5"), "through a router");
        assert!(!from(&MAC, "ff02::1:2") && !from(&[0x33, 0x33, 0, 1, 0, 2], "fe80::1"), "to all");
        assert!(!from(&MAC[..5], "fe80::1"));
    }

    proptest! {
        #[test]
        fn hostile_messages_end(kind in prop::sample::select(vec![REPLY, RELEASE]), bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(Some(&MAC), LINK.octets(), &bytes, kind);
            let _ = read(Some(&MAC), LINK.octets(), &message(kind, &bytes), kind);
            let _ = read(Some(&MAC), LINK.octets(), &message(kind, &ia(&bytes)), kind);
        }

        #[test]
        fn cut_messages_end(length in 0usize..120) {
            let whole = message(REPLY, &[ia(&address(5, 3600, &[])), option(STATUS, &[0, 0])].concat());
            let _ = leases(&whole[..length.min(whole.len())], REPLY);
        }
    }
}
