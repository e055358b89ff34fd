//! The few frames that say whose an address is: ARP, neighbour discovery, DHCP.
//!
//! Each becomes an [`IdentityEvent`] of numbers, for the slow path; everything else in them (host names, vendor classes, other
//! options) is not looked at. Frames that don't say what they ought to are ignored: they pass like all others.
//!
//! | frame | what is taken | checked |
//! |---|---|---|
//! | ARP (RFC 826) | sender's hardware and network address | Ethernet and IPv4; the frame comes from the sender |
//! | ND solicitation, advertisement (RFC 4861) | source or target, with its link-layer option | hop limit 255, length |
//! | DHCPv4 ACK (RFC 2131) | client's hardware address, leased address, lease time | server port, magic cookie |
//! | DHCPv4 RELEASE | client's hardware address, address given back | client port, magic cookie |
//! | DHCPv6 REPLY (RFC 8415) | where the frame goes, leased addresses, valid lifetimes | ports, on this link, status |
//! | DHCPv6 RELEASE, DECLINE | where the frame comes from, addresses given back | ports, from this link |
//!
//! A [`Gate`] keeps a host that repeats itself from filling the ring, and a storm from filling it at all. That a notice was read has a share of
//! its own, so that no storm takes a receipt.

pub(crate) mod dhcpv6;

use crate::packet::Packet;
use glassgate_policy::identity::{IdentityEvent, Mac, Source};
use std::net::{Ipv4Addr, Ipv6Addr};

const BOOTP: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// What an ARP or ND frame says. `frame` begins with its Ethernet header.
pub(crate) fn of_frame(frame: &[u8], mono_ns: u64) -> Option<IdentityEvent> {
    let sender: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
    let mut at = 12;
    // At most three VLAN tags, as the parser has it.
    for _ in 0..=3 {
        let ether_type = u16_at(frame, at)?;
        at += 2;
        match ether_type {
            0x8100 | 0x88a8 | 0x9100 => at += 2,
            0x0806 => return arp(frame.get(at..)?, Mac(sender), mono_ns),
            0x86dd => return nd(frame.get(at..)?, mono_ns),
            _ => return None,
        }
    }
    None
}

fn arp(message: &[u8], sender: Mac, mono_ns: u64) -> Option<IdentityEvent> {
    // Ethernet, IPv4, their lengths; request or reply.
    if message.get(..6)? != [0, 1, 8, 0, 6, 4] || !matches!(u16_at(message, 6)?, 1 | 2) {
        return None;
    }
    let mac = Mac(message.get(8..14)?.try_into().ok()?);
    let ip = Ipv4Addr::from(<[u8; 4]>::try_from(message.get(14..18)?).ok()?);
    // A probe (RFC 5227) has no address yet. Who speaks for somebody else is not believed.
    if ip.is_unspecified() || mac != sender {
        return None;
    }
    Some(IdentityEvent { seq: 0, mono_ns, ip: ip.into(), mac, source: Source::Arp, seconds: 0, read: None })
}

fn nd(packet: &[u8], mono_ns: u64) -> Option<IdentityEvent> {
    let (header, rest) = packet.split_at_checked(40)?;
    // ICMPv6 without extension headers, from this link (RFC 4861 section 7.1).
    if header.get(6) != Some(&58) || header.get(7) != Some(&255) {
        return None;
    }
    let message = rest.get(..usize::from(u16_at(header, 4)?))?;
    let address =
        |bytes: &[u8], at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?));
    let (ip, option) = match message.first()? {
        // Solicitation: the source says its own link-layer address.
        135 => (address(header, 8)?, 1),
        // Advertisement: of the target.
        136 => (address(message, 8)?, 2),
        _ => return None,
    };
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    let mut options = message.get(24..)?;
    // Each option is at least eight bytes: this ends.
    while let [kind, units, ..] = *options {
        let (one, next) = options.split_at_checked(usize::from(units) * 8)?;
        if units == 0 {
            return None;
        }
        if kind == option && units == 1 {
            let mac = Mac(one.get(2..8)?.try_into().ok()?);
            return Some(IdentityEvent {
                seq: 0,
                mono_ns,
                ip: ip.into(),
                mac,
                source: Source::Nd,
                seconds: 0,
                read: None,
            });
        }
        options = next;
    }
    None
}

/// Whether a UDP packet is one of DHCP.
#[inline]
pub(crate) fn is_dhcp(packet: &Packet) -> bool {
    is_dhcpv4(packet) || dhcpv6::is_one(packet)
}

#[inline]
fn is_dhcpv4(packet: &Packet) -> bool {
    // 67 is the server's port, 68 the client's.
    packet.src_port.wrapping_sub(67) < 2 && packet.dst_port.wrapping_sub(67) < 2
}

/// Tells what a packet for which [`is_dhcp`] holds says. `frame` begins with its Ethernet header.
pub(crate) fn of_packet(frame: &[u8], packet: &Packet, mono_ns: u64, mut tell: impl FnMut(IdentityEvent)) {
    if is_dhcpv4(packet) {
        of_dhcp(packet.payload(frame), packet.src_port, mono_ns).into_iter().for_each(tell);
    } else {
        dhcpv6::of_packet(frame, packet, mono_ns, &mut tell);
    }
}

/// What a DHCPv4 message says. `payload` is that of the UDP packet.
fn of_dhcp(payload: &[u8], src_port: u16, mono_ns: u64) -> Option<IdentityEvent> {
    let (header, mut options) = payload.split_at_checked(BOOTP)?;
    // Ethernet, six bytes of address.
    if header.get(1..3)? != [1, 6] || header.get(236..240)? != COOKIE {
        return None;
    }
    let (mut kind, mut lease) = (0, 0);
    while let [code, rest @ ..] = options {
        match code {
            0 => options = rest,
            255 => break,
            _ => {
                let (length, rest) = rest.split_first()?;
                let (value, next) = rest.split_at_checked(usize::from(*length))?;
                match (code, value) {
                    (53, [one]) => kind = *one,
                    (51, [a, b, c, d]) => lease = u32::from_be_bytes([*a, *b, *c, *d]),
                    _ => {}
                }
                options = next;
            }
        }
    }
    let ip_at = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(header.get(at..at + 4)?).ok()?));
    let (source, ip) = match (header.first()?, kind, src_port) {
        // ACK: `yiaddr`. Without a lease time it answers INFORM, and leases nothing.
        (2, 5, 67) if lease > 0 => (Source::Dhcp, ip_at(16)?),
        // RELEASE: `ciaddr`.
        (1, 7, 68) => (Source::DhcpRelease, ip_at(12)?),
        _ => return None,
    };
    if ip.is_unspecified() {
        return None;
    }
    let mac = Mac(header.get(28..34)?.try_into().ok()?);
    Some(IdentityEvent { seq: 0, mono_ns, ip: ip.into(), mac, source, seconds: lease, read: None })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(two))
}

/// Slots of the gate: hosts that are told apart. Two that share a slot only tell more often.
const SLOTS: usize = 4096;
/// What a host repeats within this time is not told again.
const REPEAT_NS: u64 = 60_000_000_000;
/// The most events a second: a storm of ARP leaves the ring to the flows.
const A_SECOND: u32 = 500;

/// Lets through what is new, and not too much of it.
pub(crate) struct Gate {
    /// What was told last, as a hash, and when.
    told: Box<[(u64, u64)]>,
    second: u64,
    left: u32,
    /// Of receipts.
    left_of_read: u32,
    secret: u64,
}

impl Gate {
    /// Takes all memory that it will ever need.
    pub(crate) fn new(secret: u64) -> Self {
        Self {
            told: vec![(0, 0); SLOTS].into_boxed_slice(),
            second: 0,
            left: A_SECOND,
            left_of_read: A_SECOND,
            secret,
        }
    }

    /// Whether an event is to be told.
    pub(crate) fn admits(&mut self, event: &IdentityEvent) -> bool {
        let bytes = event.to_bytes();
        // Address, hardware address and source; not the time.
        let what = bytes.iter().skip(16).take(24);
        let mut hash = what.fold(self.secret | 1, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
        hash ^= hash >> 32;
        let now = event.mono_ns;
        let Some(slot) = self.told.get_mut(hash as usize % SLOTS) else { return false };
        // A lease is told each time: it ends with what it says.
        let repeats = slot.0 == hash && now.saturating_sub(slot.1) < REPEAT_NS;
        if repeats && matches!(event.source, Source::Arp | Source::Nd) {
            return false;
        }
        if now / 1_000_000_000 != self.second {
            (self.second, self.left, self.left_of_read) = (now / 1_000_000_000, A_SECOND, A_SECOND);
        }
        if event.source == Source::NoticeRead {
            let left = self.left_of_read.checked_sub(1);
            self.left_of_read = left.unwrap_or(0);
            return left.is_some();
        }
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        *slot = (hash, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    const MAC: [u8; 6] = [0x3c, 0x22, 0xfb, 1, 2, 3];

    fn frame(tags: usize, ether_type: u16, body: &[u8]) -> Vec<u8> {
        let mut out = [&[0xff; 6][..], &MAC].concat();
        for _ in 0..tags {
            out.extend([0x81, 0, 0, 7]);
        }
        out.extend(ether_type.to_be_bytes());
        out.extend(body);
        out
    }

    fn arp_body(oper: u8, mac: [u8; 6], ip: [u8; 4]) -> Vec<u8> {
        [&[0, 1, 8, 0, 6, 4, 0, oper][..], &mac, &ip, &[0; 6], &[10, 0, 0, 9]].concat()
    }

    fn nd_body(kind: u8, source: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
        let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), options].concat();
        let head = [0x60, 0, 0, 0, 0, message.len() as u8, 58, 255];
        [&head[..], &source.octets(), &[0xff; 16], &message].concat()
    }

    fn dhcp(op: u8, kind: u8, lease: Option<u32>) -> Vec<u8> {
        let mut out = vec![0; BOOTP];
        out[..3].copy_from_slice(&[op, 1, 6]);
        out[12..16].copy_from_slice(&[10, 0, 0, 5]);
        out[16..20].copy_from_slice(&[10, 0, 0, 6]);
        out[28..34].copy_from_slice(&MAC);
        out[236..].copy_from_slice(&COOKIE);
        out.extend([53, 1, kind, 0, 12, 3, b'a', b'b', b'c']);
        if let Some(lease) = lease {
            out.extend([51, 4]);
            out.extend(lease.to_be_bytes());
        }
        out.push(255);
        out
    }

    fn said(event: Option<IdentityEvent>) -> Option<(IpAddr, Source, u32)> {
        event.map(|e| {
            assert_eq!((e.mac, e.mono_ns), (Mac(MAC), 7));
            (e.ip, e.source, e.seconds)
        })
    }

    #[test]
    fn arp_of_the_sender_itself() {
        let ip: IpAddr = [10, 0, 0, 1].into();
        for (tags, oper) in [(0, 1), (0, 2), (1, 1), (3, 2)] {
            let frame = frame(tags, 0x0806, &arp_body(oper, MAC, [10, 0, 0, 1]));
            assert_eq!(said(of_frame(&frame, 7)), Some((ip, Source::Arp, 0)));
            for len in 0..frame.len() - 10 {
                assert_eq!(of_frame(&frame[..len], 7), None, "cut at {len}");
            }
        }
        for bad in [
            arp_body(1, MAC, [0; 4]),
            arp_body(1, [0x3c, 0x22, 0xfb, 9, 9, 9], [10, 0, 0, 1]),
            arp_body(3, MAC, [10, 0, 0, 1]),
            vec![0; 28],
        ] {
            assert_eq!(of_frame(&frame(0, 0x0806, &bad), 7), None);
        }
        assert_eq!(of_frame(&frame(4, 0x0806, &arp_body(1, MAC, [10, 0, 0, 1])), 7), None, "four tags");
    }

    #[test]
    fn neighbours_by_their_options() {
        let (host, other): (Ipv6Addr, Ipv6Addr) = ("fd00::5".parse().unwrap(), "fd00::6".parse().unwrap());
        let option = |kind: u8| [&[kind, 1][..], &MAC].concat();
        let ask = |body: Vec<u8>| said(of_frame(&frame(0, 0x86dd, &body), 7));
        assert_eq!(ask(nd_body(135, host, other, &option(1))), Some((host.into(), Source::Nd, 0)));
        assert_eq!(ask(nd_body(136, host, other, &option(2))), Some((other.into(), Source::Nd, 0)));
        let after = [&[14, 1, 0, 0, 0, 0, 0, 0][..], &option(2)].concat();
        assert_eq!(ask(nd_body(136, host, other, &after)), Some((other.into(), Source::Nd, 0)));
        assert_eq!(
            ask(nd_body(135, Ipv6Addr::UNSPECIFIED, other, &option(1))),
            None,
            "an address that is being tried"
        );
        assert_eq!(ask(nd_body(135, host, other, &option(2))), None);
        assert_eq!(ask(nd_body(135, host, other, &[1, 0])), None, "an option without length");
        assert_eq!(ask(nd_body(134, host, other, &option(1))), None, "another message");
        let mut routed = nd_body(135, host, other, &option(1));
        routed[7] = 64;
        assert_eq!(ask(routed), None, "not from this link");
    }

    #[test]
    fn leases_and_releases() {
        let ask = |payload: &[u8], port| said(of_dhcp(payload, port, 7));
        assert_eq!(ask(&dhcp(2, 5, Some(3600)), 67), Some(([10, 0, 0, 6].into(), Source::Dhcp, 3600)));
        assert_eq!(ask(&dhcp(1, 7, None), 68), Some(([10, 0, 0, 5].into(), Source::DhcpRelease, 0)));
        assert_eq!(ask(&dhcp(2, 5, Some(3600)), 68), None, "a client that answers");
        assert_eq!(ask(&dhcp(2, 5, None), 67), None, "no lease");
        assert_eq!(ask(&dhcp(2, 2, Some(3600)), 67), None, "an offer");
        let whole = dhcp(2, 5, Some(3600));
        for len in 0..whole.len() {
            let _ = of_dhcp(&whole[..len], 67, 7);
        }
    }

    #[test]
    fn the_gate_lets_through_what_is_new_and_not_too_much() {
        let mut gate = Gate::new(3);
        let event = |at: u64, ip: u32, source| IdentityEvent {
            seq: 0,
            mono_ns: at * 1_000_000_000,
            ip: Ipv4Addr::from(ip).into(),
            mac: Mac(MAC),
            source,
            seconds: 60,
            read: None,
        };
        let told = [1, 2, 60, 61, 62].map(|at| gate.admits(&event(at, 1, Source::Arp)));
        assert_eq!(told, [true, false, false, true, false]);
        assert!([70, 71].iter().all(|at| gate.admits(&event(*at, 1, Source::Dhcp))));
        let storm = (0..100_000).filter(|ip| gate.admits(&event(100, *ip, Source::Arp))).count();
        assert_eq!(storm, A_SECOND as usize);
        let read = (0..100_000).filter(|ip| gate.admits(&event(100, *ip, Source::NoticeRead))).count();
        assert_eq!(read, A_SECOND as usize, "receipts are not lost in it");
    }
}
