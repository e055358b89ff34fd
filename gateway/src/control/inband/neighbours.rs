//! What smoltcp is told about neighbours besides what they say themselves.
//!
//! * **Whoever asks for a flow is known.** smoltcp asks for a neighbour that it doesn't know, one a second for all. SYNs from addresses
//!   that nobody has would keep that one busy, and a client that it had forgotten would wait behind them. But the frame of the
//!   SYN says where the answer goes, and that is as good as what ARP says. So it is told, for its own network, before the SYN
//!   is. The router is not learnt like that: one frame with a wrong source would lead the answers to everybody away.
//! * **A solicitation to our own address** is how Linux asks whether a neighbour is still there (RFC 4861, 7.3). smoltcp answers
//!   those to the solicited-node group only, so it is given one.
//! * **Whoever wants our address** asks first whether somebody has it, from no address (RFC 5227, 2.1.1; RFC 4862, 5.4.2). smoltcp is silent
//!   then, and the address would be taken. It is answered here.

use super::device::MAX_UNTAGGED;
use crate::config::Network;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, Icmpv6Packet, Icmpv6Repr, IpAddress, IpProtocol,
    Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};
use std::net::{IpAddr, Ipv6Addr};

const HEADER: usize = 14;

/// A frame that says where a neighbour is, as if it had said so; `None` where it is no neighbour.
pub(super) fn introduction(
    network: &Network,
    (source, mac): (IpAddr, [u8; 6]),
    (local, ours): (IpAddress, [u8; 6]),
) -> Option<Vec<u8>> {
    match (source, local) {
        (IpAddr::V4(source), IpAddress::Ipv4(local)) => {
            network.v4.filter(|net| net.contains(&source))?;
            let arp = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: EthernetAddress(mac),
                source_protocol_addr: source,
                target_hardware_addr: EthernetAddress(ours),
                target_protocol_addr: local,
            };
            let mut frame = ethernet(ours, mac, [8, 6], arp.buffer_len());
            arp.emit(&mut ArpPacket::new_unchecked(&mut frame[HEADER..]));
            Some(frame)
        }
        (IpAddr::V6(source), IpAddress::Ipv6(local)) => {
            let link_local = source.segments()[0] & 0xffc0 == 0xfe80;
            network.v6.filter(|net| link_local || net.contains(&source))?;
            let advert = NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::OVERRIDE,
                target_addr: source,
                lladdr: Some(EthernetAddress(mac).into()),
            };
            Some(icmpv6(ours, mac, source, local, &Icmpv6Repr::Ndisc(advert)))
        }
        _ => None,
    }
}

/// A solicitation for our address that went to that address itself, as one that went to its group. `None`: it is none.
pub(super) fn solicitation(frame: &[u8], ours: [u8; 6]) -> Option<Vec<u8>> {
    if frame.get(12..14) != Some(&[0x86, 0xdd]) || frame.len() > MAX_UNTAGGED {
        return None;
    }
    let ip = Ipv6Packet::new_checked(frame.get(HEADER..)?).ok()?;
    let (source, to) = (ip.src_addr(), ip.dst_addr());
    // What came from farther away than the cable has a smaller limit.
    if ip.next_header() != IpProtocol::Icmpv6 || ip.hop_limit() != 255 || to.is_multicast() {
        return None;
    }
    let checksums = ChecksumCapabilities::default();
    let packet = Icmpv6Packet::new_checked(ip.payload()).ok()?;
    let icmp = Icmpv6Repr::parse(&source, &to, &packet, &checksums).ok()?;
    let Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. }) = icmp else { return None };
    let [.., a, b, c] = target_addr.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mac = frame.get(6..12)?.first_chunk().copied()?;
    (target_addr == to).then(|| icmpv6(ours, mac, source, group, &icmp))
}

/// What is answered to somebody who asks, from no address, whether one of ours is taken. `None`: nobody does.
pub(super) fn defence(frame: &[u8], addresses: &[IpAddress], ours: [u8; 6]) -> Option<Vec<u8>> {
    let theirs = frame.get(6..12)?.first_chunk().copied()?;
    match frame.get(12..14)? {
        [8, 6] => {
            let arp = ArpRepr::parse(&ArpPacket::new_checked(frame.get(HEADER..)?).ok()?).ok()?;
            let ArpRepr::EthernetIpv4 { operation, source_protocol_addr, target_protocol_addr, .. } = arp
            else {
                return None;
            };
            let asks = operation == ArpOperation::Request && source_protocol_addr.is_unspecified();
            if !asks || !addresses.contains(&target_protocol_addr.into()) {
                return None;
            }
            let reply = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: EthernetAddress(ours),
                source_protocol_addr: target_protocol_addr,
                target_hardware_addr: EthernetAddress(theirs),
                target_protocol_addr: source_protocol_addr,
            };
            let mut frame = ethernet(theirs, ours, [8, 6], reply.buffer_len());
            reply.emit(&mut ArpPacket::new_unchecked(&mut frame[HEADER..]));
            Some(frame)
        }
        [0x86, 0xdd] => {
            let ip = Ipv6Packet::new_checked(frame.get(HEADER..)?).ok()?;
            let (source, to) = (ip.src_addr(), ip.dst_addr());
            if !source.is_unspecified() || ip.next_header() != IpProtocol::Icmpv6 || ip.hop_limit() != 255 {
                return None;
            }
            let packet = Icmpv6Packet::new_checked(ip.payload()).ok()?;
            let icmp = Icmpv6Repr::parse(&source, &to, &packet, &ChecksumCapabilities::default()).ok()?;
            let Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, lladdr: None }) = icmp else {
                return None;
            };
            let advert = NdiscRepr::NeighborAdvert {
                flags: NdiscNeighborFlags::OVERRIDE,
                target_addr,
                lladdr: Some(EthernetAddress(ours).into()),
            };
            // To everybody: who asked has no address yet.
            let (all, all_mac) = (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), [0x33, 0x33, 0, 0, 0, 1]);
            let is_ours = addresses.contains(&target_addr.into());
            is_ours.then(|| icmpv6(all_mac, ours, target_addr, all, &Icmpv6Repr::Ndisc(advert)))
        }
        _ => None,
    }
}

/// Whether a frame is of IPv6 and from no address: smoltcp is not made for it.
pub(super) fn is_from_nobody(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(HEADER + 8..HEADER + 24) == Some(&[0; 16])
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: [u8; 2], payload: usize) -> Vec<u8> {
    let mut frame = [&to[..], &from, &kind].concat();
    frame.resize(HEADER + payload, 0);
    frame
}

fn icmpv6(to_mac: [u8; 6], mac: [u8; 6], source: Ipv6Addr, to: Ipv6Addr, icmp: &Icmpv6Repr<'_>) -> Vec<u8> {
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: 255,
    };
    let mut frame = ethernet(to_mac, mac, [0x86, 0xdd], ip.buffer_len() + icmp.buffer_len());
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut frame[HEADER..]));
    let mut packet = Icmpv6Packet::new_unchecked(&mut frame[HEADER + ip.buffer_len()..]);
    icmp.emit(&source, &to, &mut packet, &ChecksumCapabilities::default());
    frame
}
