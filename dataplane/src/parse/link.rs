//! Everything between the start of a frame and the IP header.

use super::view::{Short, View};
use super::{Next, OpaqueKind, Walk};
use crate::port::Link;

pub(super) const IPV4: u16 = ether_type::IPV4;
pub(super) const IPV6: u16 = ether_type::IPV6;
pub(super) const VLAN: u16 = ether_type::VLAN;

mod ether_type {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const CENTRINO: u16 = 0x2452;
    pub(super) const BRIDGING: u16 = 0x6558;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_MULTICAST: u16 = 0x8848;
    pub(super) const PPPOE_SESSION: u16 = 0x8864;
    pub(super) const VLAN_SERVICE: u16 = 0x88a8;
    pub(super) const PBB: u16 = 0x88e7;
    pub(super) const FABRIC_PATH: u16 = 0x8903;
    pub(super) const CISCO_METADATA: u16 = 0x8909;
    pub(super) const VN_TAG: u16 = 0x8926;
    pub(super) const HSR: u16 = 0x892f;
    pub(super) const E_TAG: u16 = 0x893f;
    pub(super) const VLAN_OLD: u16 = 0x9100;
}

/// VLAN tags that are read behind one Ethernet header.
const MAX_TAGS: u8 = 3;

/// What a frame of this link begins with.
pub(super) const fn first(link: Link) -> Next {
    match link {
        Link::Ethernet => Next::Ethernet,
        Link::RawIp => Next::Ip,
        Link::Null => Next::Null,
        Link::Sll => Next::Sll,
        Link::Sll2 => Next::Sll2,
        Link::Ppp => Next::Ppp,
        Link::Pppoe => Next::Pppoe,
        Link::Chdlc => Next::Chdlc,
        Link::Ieee80211Radiotap => Next::Ieee80211,
        Link::Ieee80211 => Next::Ieee80211Header { swapped: false },
        Link::Ppi => Next::Ppi,
        Link::Nflog => Next::Nflog,
        Link::Netlink => Next::Netlink,
        Link::Other(_) => Next::Opaque(OpaqueKind::Link),
    }
}

/// Ethernet II and IEEE 802.3.
pub(super) fn ethernet(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    let [.., t0, t1] = *view.take::<14>()?;
    state.tags = 0;
    Ok(Next::EtherType(u16::from_be_bytes([t0, t1])))
}

/// What stands behind an EtherType, or behind a length where it is one.
pub(super) fn ether_type(view: &mut View<'_>, state: &mut Walk<'_>, kind: u16) -> Result<Next, Short> {
    Ok(match kind {
        ether_type::IPV4 => Next::Ipv4,
        ether_type::IPV6 => Next::Ipv6,
        ether_type::ARP => Next::Opaque(OpaqueKind::Arp),
        ether_type::VLAN | ether_type::VLAN_SERVICE | ether_type::VLAN_OLD => {
            if state.tags == MAX_TAGS {
                return Ok(Next::Opaque(OpaqueKind::VlanCap));
            }
            let tag = view.u16()?;
            state.tags += 1;
            if state.depth == 0 {
                state.vlans.push(tag);
            }
            Next::EtherType(view.u16()?)
        }
        ether_type::PPPOE_SESSION => Next::Pppoe,
        ether_type::MPLS | ether_type::MPLS_MULTICAST => Next::Mpls,
        ether_type::BRIDGING => Next::Ethernet,
        // A service tag, or a tree and a hop count, and the customer's frame behind it.
        ether_type::PBB => view.skip(4).map(|()| Next::Ethernet)?,
        ether_type::FABRIC_PATH => view.skip(2).map(|()| Next::Ethernet)?,
        // Tags of switches that carry no VLAN id: passed over.
        ether_type::VN_TAG | ether_type::HSR => tagged(view, 4)?,
        ether_type::E_TAG => tagged(view, 6)?,
        ether_type::CISCO_METADATA => tagged(view, 6)?,
        ether_type::CENTRINO => Next::Ieee80211Header { swapped: false },
        len @ 0..=1500 => {
            view.limit(usize::from(len));
            Next::Llc
        }
        _ => Next::Opaque(OpaqueKind::EtherType),
    })
}

fn tagged(view: &mut View<'_>, len: usize) -> Result<Next, Short> {
    view.skip(len)?;
    Ok(Next::EtherType(view.u16()?))
}

/// IEEE 802.2: SNAP (RFC 1042), and IP by SAP or NLPID.
pub(super) fn llc(view: &mut View<'_>) -> Result<Next, Short> {
    match view.rest() {
        [0xaa, 0xaa, 0x03, 0, 0, 0 | 0xf8, t0, t1, ..] => {
            view.skip(8)?;
            Ok(Next::EtherType(u16::from_be_bytes([*t0, *t1])))
        }
        [0x06, 0x06, 0x03, ..] => view.skip(3).map(|()| Next::Ip),
        [0xfe, 0xfe, 0x03, 0xcc | 0x8e, ..] => view.skip(4).map(|()| Next::Ip),
        _ => Ok(Next::Opaque(OpaqueKind::Llc)),
    }
}

/// PPP, with or without HDLC-like framing (RFC 1662) and with or without a compressed protocol field.
pub(super) fn ppp(view: &mut View<'_>) -> Result<Next, Short> {
    if view.rest().starts_with(&[0xff, 0x03]) {
        view.skip(2)?;
    }
    let [first] = *view.peek()?;
    let number = if first & 1 == 1 { view.take().map(|[n]| u16::from(*n))? } else { view.u16()? };
    Ok(match number {
        0x0021 => Next::Ipv4,
        0x0057 => Next::Ipv6,
        0x0281 | 0x0283 => Next::Mpls,
        _ => Next::Opaque(OpaqueKind::Ppp),
    })
}

/// A PPPoE session packet, RFC 2516 section 4.
pub(super) fn pppoe(view: &mut View<'_>) -> Result<Next, Short> {
    let [version, code, _, _, l0, l1] = *view.take()?;
    if (version, code) != (0x11, 0) {
        return Ok(Next::Opaque(OpaqueKind::Ppp));
    }
    view.limit(usize::from(u16::from_be_bytes([l0, l1])));
    Ok(Next::Ppp)
}

/// One MPLS label (RFC 3032). What follows the last one is not written anywhere: IP is told by its first nibble
/// (RFC 4928 section 3), Ethernet by a known EtherType, with or without a control word (RFC 4385).
pub(super) fn mpls(view: &mut View<'_>) -> Result<Next, Short> {
    let [_, _, bottom, _] = *view.take()?;
    if bottom & 1 == 0 {
        return Ok(Next::Mpls);
    }
    let rest = view.rest();
    match rest {
        [0x45..=0x4f, _, l0, l1, ..] if usize::from(u16::from_be_bytes([*l0, *l1])) <= view.wire_left() => {
            Ok(Next::Ipv4)
        }
        [first, _, _, _, l0, l1, ..]
            if first >> 4 == 6 && usize::from(u16::from_be_bytes([*l0, *l1])) + 40 <= view.wire_left() =>
        {
            Ok(Next::Ipv6)
        }
        [0..=0x0f, ..] if holds_ethernet(rest, 4) => view.skip(4).map(|()| Next::Ethernet),
        _ if holds_ethernet(rest, 0) => Ok(Next::Ethernet),
        _ => Ok(Next::Opaque(OpaqueKind::EtherType)),
    }
}

/// Whether a known EtherType stands where the Ethernet header at `at` has it.
fn holds_ethernet(rest: &[u8], at: usize) -> bool {
    let Some([t0, t1]) = rest.get(at + 12..).and_then(|r| r.first_chunk()) else { return false };
    use ether_type::{ARP, IPV4, IPV6, MPLS, PPPOE_SESSION, VLAN, VLAN_OLD, VLAN_SERVICE};
    [IPV4, IPV6, ARP, VLAN, VLAN_SERVICE, VLAN_OLD, MPLS, PPPOE_SESSION]
        .contains(&u16::from_be_bytes([*t0, *t1]))
}

/// Cisco HDLC: address, control, EtherType.
pub(super) fn chdlc(view: &mut View<'_>) -> Result<Next, Short> {
    let [_, _, t0, t1] = *view.take()?;
    Ok(Next::EtherType(u16::from_be_bytes([t0, t1])))
}

/// BSD loopback: an address family in the byte order of the capturing machine, whose number for IPv6 differs from
/// system to system.
pub(super) fn null(view: &mut View<'_>) -> Result<Next, Short> {
    let family = *view.take::<4>()?;
    Ok(match u32::from_le_bytes(family).min(u32::from_be_bytes(family)) {
        2 => Next::Ipv4,
        10 | 23 | 24 | 28 | 30 => Next::Ipv6,
        _ => Next::Opaque(OpaqueKind::Link),
    })
}

/// Linux cooked capture, version 1.
pub(super) fn sll(view: &mut View<'_>) -> Result<Next, Short> {
    let [_, _, a0, a1, .., p0, p1] = *view.peek::<16>()?;
    let (hardware, kind) = (u16::from_be_bytes([a0, a1]), u16::from_be_bytes([p0, p1]));
    if hardware == NETLINK {
        return Ok(Next::Netlink);
    }
    view.skip(16)?;
    Ok(cooked(hardware, kind))
}

/// Linux cooked capture, version 2.
pub(super) fn sll2(view: &mut View<'_>) -> Result<Next, Short> {
    let [p0, p1, _, _, _, _, _, _, a0, a1, ..] = *view.take::<20>()?;
    Ok(cooked(u16::from_be_bytes([a0, a1]), u16::from_be_bytes([p0, p1])))
}

/// The hardware types of Linux that matter here.
const NETLINK: u16 = 824;
const IEEE80211: u16 = 801;
const IEEE80211_RADIOTAP: u16 = 803;

fn cooked(hardware: u16, kind: u16) -> Next {
    match (hardware, kind) {
        (IEEE80211, _) => Next::Ieee80211Header { swapped: false },
        (IEEE80211_RADIOTAP, _) => Next::Ieee80211,
        (_, 0x0004) => Next::Llc,
        (_, 0..=1500) => Next::Opaque(OpaqueKind::Link),
        _ => Next::EtherType(kind),
    }
}

/// IEEE 802.11 behind a radiotap, AVS or Prism header, told apart by their first bytes.
pub(super) fn ieee80211(view: &mut View<'_>) -> Result<Next, Short> {
    let [a, b, c, d, e, f, g, h] = *view.peek()?;
    let len = match (a, b, c, d) {
        (0x80, 0x21, 0x10, _) => u32::from_be_bytes([e, f, g, h]),
        (0x44 | 0x41, 0, 0, 0) => u32::from_le_bytes([e, f, g, h]),
        (0, ..) => u32::from(u16::from_le_bytes([c, d])),
        _ => return Ok(Next::Ieee80211Header { swapped: false }),
    };
    view.skip(len as usize)?;
    Ok(Next::Ieee80211Header { swapped: false })
}

/// An IEEE 802.11 header (IEEE 802.11-2020 section 9.3.2). `swapped` reads the two bytes of the frame control
/// field in reverse, as some CAPWAP access points send them.
pub(super) fn ieee80211_header(view: &mut View<'_>, swapped: bool) -> Result<Next, Short> {
    let [x, y] = *view.peek()?;
    let (control, flags) = if swapped { (y, x) } else { (x, y) };
    // Version 0, type data, not one of the subtypes without data.
    if control & 0x4f != 0x08 {
        return Ok(Next::Opaque(OpaqueKind::Ieee80211));
    }
    let four_addresses = flags & 0x03 == 0x03;
    let qos = control & 0x80 != 0;
    let mut len = 24 + if four_addresses { 6 } else { 0 };
    let qos_at = len;
    if qos {
        len += 2 + if flags & 0x80 != 0 { 4 } else { 0 };
    }
    let aggregated = qos && view.rest().get(qos_at).is_some_and(|q| q & 0x80 != 0);
    view.skip(len)?;
    if aggregated {
        // Only the first of the frames that were put together is read.
        view.skip(14)?;
    }
    // Some drivers pad the header to four bytes; some decrypt and leave the cipher's header (WEP 4, TKIP and CCMP
    // 8 bytes) and the protected flag.
    let protected = flags & 0x40 != 0;
    let places: &[usize] = if protected { &[0, 2, 4, 8] } else { &[0, 2] };
    for at in places {
        if view.rest().get(*at..).is_some_and(|r| matches!(r, [0xaa, 0xaa, 0x03, 0, 0, 0 | 0xf8, ..])) {
            view.skip(*at)?;
            return Ok(Next::Llc);
        }
    }
    Ok(Next::Opaque(if protected { OpaqueKind::Ieee80211 } else { OpaqueKind::Llc }))
}

/// Per-packet information: a header with its length and the link type behind it, both little endian.
pub(super) fn ppi(view: &mut View<'_>) -> Result<Next, Short> {
    let [_, _, l0, l1, t0, t1, t2, t3] = *view.peek()?;
    view.skip(usize::from(u16::from_le_bytes([l0, l1])).max(8))?;
    let number = u32::from_le_bytes([t0, t1, t2, t3]);
    Ok(u16::try_from(number).map_or(Next::Opaque(OpaqueKind::Link), |n| first(Link::from_linktype(n))))
}

/// A netfilter log record: family, version, resource, attributes.
pub(super) fn nflog(view: &mut View<'_>) -> Result<Next, Short> {
    view.skip(4)?;
    netfilter(view, 9)
}

/// A netlink message behind its cooked header; only netfilter's log (subsystem 4) and queue (3) carry packets.
pub(super) fn netlink(view: &mut View<'_>) -> Result<Next, Short> {
    let [.., p0, p1] = *view.take::<16>()?;
    let [l0, l1, l2, l3, k0, k1, ..] = *view.take::<16>()?;
    let little = u32::from_le_bytes([l0, l1, l2, l3]) < u32::from_be_bytes([l0, l1, l2, l3]);
    let (message, subsystem) = if little { (k0, k1) } else { (k1, k0) };
    let attribute = match (u16::from_be_bytes([p0, p1]), subsystem, message) {
        (12, 4, 0) => 9,
        (12, 3, 0) => 10,
        _ => return Ok(Next::Opaque(OpaqueKind::Link)),
    };
    view.skip(4)?;
    netfilter(view, attribute)
}

/// Finds the packet among netfilter attributes, whose lengths and types are in the byte order of the capturing
/// machine: the one that makes the length small.
fn netfilter(view: &mut View<'_>, packet: u16) -> Result<Next, Short> {
    const MAX_ATTRIBUTES: usize = 64;
    for _ in 0..MAX_ATTRIBUTES {
        let [l0, l1, k0, k1] = *view.peek()?;
        let (little, big) = (u16::from_le_bytes([l0, l1]), u16::from_be_bytes([l0, l1]));
        let (len, kind) = if little <= big {
            (usize::from(little), u16::from_le_bytes([k0, k1]))
        } else {
            (usize::from(big), u16::from_be_bytes([k0, k1]))
        };
        if len < 4 {
            break;
        }
        if kind & 0x7fff == packet {
            view.skip(4)?;
            view.limit(len - 4);
            return Ok(Next::Ip);
        }
        view.skip(len.next_multiple_of(4))?;
    }
    Ok(Next::Opaque(OpaqueKind::Link))
}
