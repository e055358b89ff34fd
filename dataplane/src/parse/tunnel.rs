//! Tunnels: told by protocol or port *and* shape, entered as deep as the options say.

use super::ip::enter;
use super::view::{Short, View};
use super::{Next, OpaqueKind, Walk};
use crate::packet::TunnelKind;
use glassgate_policy::Reason;

/// The tunnel that a UDP packet may be by its ports. Only a candidate: [`looks_like`] decides.
#[inline]
pub(super) const fn by_ports(src: u16, dst: u16) -> Option<TunnelKind> {
    match by_port(dst) {
        None => by_port(src),
        found => found,
    }
}

#[inline]
const fn by_port(port: u16) -> Option<TunnelKind> {
    Some(match port {
        1701 => TunnelKind::L2tp,
        2152 => TunnelKind::GtpU,
        3544 => TunnelKind::Teredo,
        4341 => TunnelKind::Lisp,
        4754 => TunnelKind::Gre,
        // The assigned port, VXLAN-GPE, and what Linux used before the assignment.
        4789 | 4790 | 8472 => TunnelKind::Vxlan,
        5072 => TunnelKind::Ayiya,
        5247 => TunnelKind::Capwap,
        6081 => TunnelKind::Geneve,
        6635 => TunnelKind::MplsInIp,
        37008 => TunnelKind::Tzsp,
        _ => return None,
    })
}

/// The tunnel that a UDP packet is.
pub(super) fn of(ports: (u16, u16), view: &View<'_>) -> Option<TunnelKind> {
    match by_ports(ports.0, ports.1) {
        Some(kind) if looks_like(kind, view) => Some(kind),
        _ if is_teredo(view.rest(), view.wire_left()) => Some(TunnelKind::Teredo),
        _ => None,
    }
}

/// Whether a UDP payload of `len` bytes is a Teredo packet by its content: clients send to each other from any port.
/// IPv6 that fills the payload to the byte, from or to the prefix of Teredo (RFC 4380 section 2.6).
#[inline]
pub(super) fn is_teredo(payload: &[u8], len: usize) -> bool {
    let [0x60..=0x6f, _, _, _, l0, l1, ..] = payload else { return false };
    if usize::from(u16::from_be_bytes([*l0, *l1])) + 40 != len {
        return false;
    }
    const PREFIX: [u8; 4] = [0x20, 0x01, 0, 0];
    payload.get(8..12) == Some(&PREFIX) || payload.get(24..28) == Some(&PREFIX)
}

/// Whether the payload of a UDP packet has the shape of this tunnel's data messages. Ephemeral ports meet tunnel
/// ports by chance, and a flow that is called a tunnel gets no name.
fn looks_like(kind: TunnelKind, view: &View<'_>) -> bool {
    let left = view.wire_left();
    match (kind, view.rest()) {
        (TunnelKind::Vxlan, [flags, _, _, _, _, _, _, last, ..]) => {
            left >= 8 + 20 && flags & 0x08 != 0 && *last == 0
        }
        (TunnelKind::Geneve, [version, _, p0, p1, _, _, _, last, ..]) => {
            version >> 6 == 0
                && *last == 0
                && matches!(u16::from_be_bytes([*p0, *p1]), 0x0800 | 0x86dd | 0x6558 | 0x8847)
        }
        // Version 1, not GTP', a T-PDU.
        (TunnelKind::GtpU, [flags, 0xff, l0, l1, ..]) => {
            flags >> 4 == 3 && usize::from(u16::from_be_bytes([*l0, *l1])) + 8 <= left
        }
        // A data message, version 2, reserved bits zero.
        (TunnelKind::L2tp, [flags, version, ..]) => flags & 0xb4 == 0 && *version == 2,
        (TunnelKind::Capwap, [0, len, ..]) => len >> 3 >= 2,
        (TunnelKind::Teredo, [0x60..=0x6f, _, _, _, l0, l1, ..]) => {
            usize::from(u16::from_be_bytes([*l0, *l1])) + 40 <= left
        }
        (TunnelKind::Teredo, [0, 0 | 1, ..]) => left >= 8 + 40,
        // Operation "forward" of IPv4 or IPv6.
        (TunnelKind::Ayiya, [_, _, operation, 4 | 41, ..]) => operation & 0x0f == 1,
        (TunnelKind::Lisp, [_, _, _, _, _, _, _, _, version, ..]) => matches!(version >> 4, 4 | 6),
        (TunnelKind::Gre, [flags, version, _, _, ..]) => flags & 0x4f == 0 && *version == 0,
        (TunnelKind::MplsInIp, [_, _, _, _, ..]) => true,
        (TunnelKind::Tzsp, [1, 0 | 1, ..]) => true,
        _ => false,
    }
}

/// The content of a UDP packet that looks like this tunnel.
pub(super) fn udp(view: &mut View<'_>, state: &mut Walk<'_>, kind: TunnelKind) -> Result<Next, Short> {
    match kind {
        TunnelKind::Vxlan => vxlan(view),
        TunnelKind::Geneve => geneve(view),
        TunnelKind::GtpU => gtp(view),
        TunnelKind::L2tp => l2tp(view),
        TunnelKind::Capwap => capwap(view),
        TunnelKind::Teredo => teredo(view),
        TunnelKind::Ayiya => ayiya(view),
        TunnelKind::Lisp => view.skip(8).map(|()| Next::Ip),
        TunnelKind::Tzsp => tzsp(view),
        TunnelKind::MplsInIp => Ok(Next::Mpls),
        _ => gre_header(view, state),
    }
}

/// RFC 7348 section 5. VXLAN-GPE names what follows in the fourth byte, which is part of a group id under the
/// first flag and else reserved as 0; some senders forget the flag that announces it.
fn vxlan(view: &mut View<'_>) -> Result<Next, Short> {
    let [flags, _, _, next, ..] = *view.take::<8>()?;
    Ok(match (flags & 0x80, next) {
        (0, 1) => Next::Ipv4,
        (0, 2) => Next::Ipv6,
        _ => Next::Ethernet,
    })
}

/// RFC 8926 section 3.4.
fn geneve(view: &mut View<'_>) -> Result<Next, Short> {
    let [options, _, p0, p1, ..] = *view.take::<8>()?;
    view.skip(usize::from(options & 0x3f) * 4)?;
    Ok(Next::EtherType(u16::from_be_bytes([p0, p1])))
}

/// 3GPP TS 29.281 section 5: the header, its optional part and its chain of extension headers.
fn gtp(view: &mut View<'_>) -> Result<Next, Short> {
    const MAX_EXTENSIONS: usize = 16;
    let [flags, _, l0, l1, ..] = *view.take::<8>()?;
    view.limit(usize::from(u16::from_be_bytes([l0, l1])));
    if flags & 0x07 != 0 {
        let [_, _, _, mut next] = *view.take()?;
        for _ in 0..MAX_EXTENSIONS {
            if flags & 0x04 == 0 || next == 0 {
                break;
            }
            // The length counts units of four bytes; the last byte names the next header.
            let [words] = *view.peek()?;
            let Some(before) = (usize::from(words) * 4).checked_sub(1) else { return Err(Short::Ended) };
            view.skip(before)?;
            [next] = *view.take()?;
        }
    }
    Ok(Next::Ip)
}

/// RFC 2661 section 3.1: length, Ns/Nr and offset are optional.
fn l2tp(view: &mut View<'_>) -> Result<Next, Short> {
    let [flags, _] = *view.take()?;
    if flags & 0x40 != 0 {
        let len = usize::from(view.u16()?);
        view.limit(len.checked_sub(4).ok_or(Short::Ended)?);
    }
    view.skip(4)?;
    if flags & 0x08 != 0 {
        view.skip(4)?;
    }
    if flags & 0x02 != 0 {
        let offset = usize::from(view.u16()?);
        view.skip(offset)?;
    }
    Ok(Next::Ppp)
}

/// RFC 5415 section 4.3. Fragments are not put together.
fn capwap(view: &mut View<'_>) -> Result<Next, Short> {
    let [_, len, _, flags, ..] = *view.peek::<8>()?;
    view.skip(usize::from(len >> 3) * 4)?;
    if flags & 0x80 != 0 {
        return Ok(Next::Opaque(OpaqueKind::Ieee80211));
    }
    if flags & 0x01 == 0 {
        return Ok(Next::Ethernet);
    }
    let [first, second] = *view.peek()?;
    Ok(Next::Ieee80211Header { swapped: first & 0x0f != 0x08 && second & 0x0f == 0x08 })
}

/// RFC 4380 section 5.1.1: an authentication and an origin indication may stand first.
fn teredo(view: &mut View<'_>) -> Result<Next, Short> {
    if let [0, 1, id, value, ..] = view.rest() {
        view.skip(4 + usize::from(*id) + usize::from(*value) + 9)?;
    }
    if view.rest().starts_with(&[0, 0]) {
        view.skip(8)?;
    }
    Ok(Next::Ipv6)
}

/// draft-massar-v6ops-ayiya section 2: the length of the identity is a power of two, that of the signature counts
/// words.
fn ayiya(view: &mut View<'_>) -> Result<Next, Short> {
    let [identity, signature, _, next, ..] = *view.take::<8>()?;
    view.skip((1usize << (identity >> 4)) + usize::from(signature >> 4) * 4)?;
    Ok(if next == 41 { Next::Ipv6 } else { Next::Ipv4 })
}

/// TZSP: tagged fields up to tag 1, then a frame of the named encapsulation.
fn tzsp(view: &mut View<'_>) -> Result<Next, Short> {
    const MAX_FIELDS: usize = 32;
    let [_, _, e0, e1] = *view.take()?;
    for _ in 0..MAX_FIELDS {
        match *view.take()? {
            [0] => {}
            [1] => {
                return Ok(match u16::from_be_bytes([e0, e1]) {
                    1 => Next::Ethernet,
                    18 => Next::Ieee80211Header { swapped: false },
                    _ => Next::Opaque(OpaqueKind::Link),
                });
            }
            _ => {
                let [len] = *view.take()?;
                view.skip(usize::from(len))?;
            }
        }
    }
    Err(Short::Ended)
}

/// GRE behind an IP header.
pub(super) fn gre(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    let [_, version, p0, p1] = *view.peek()?;
    let kind = match (version & 0x07, u16::from_be_bytes([p0, p1])) {
        (1, _) => TunnelKind::Pptp,
        (_, 0x88be | 0x22eb) => TunnelKind::Erspan,
        _ => TunnelKind::Gre,
    };
    match enter(state, kind, Next::Gre) {
        Next::Gre => gre_header(view, state),
        refused => Ok(refused),
    }
}

/// RFC 2784, RFC 2890 and, for the routing field, RFC 1701; version 1 is RFC 2637 section 4.1.
fn gre_header(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    const CHECKSUM: u8 = 0x80;
    const ROUTING: u8 = 0x40;
    const KEY: u8 = 0x20;
    const SEQUENCE: u8 = 0x10;
    let [flags, version, p0, p1] = *view.take()?;
    let kind = u16::from_be_bytes([p0, p1]);
    if version & 0x07 == 1 {
        let [l0, l1, _, _] = *view.take()?;
        if flags & SEQUENCE == 0 {
            return Ok(Next::Opaque(OpaqueKind::Ppp));
        }
        view.skip(if version & 0x80 != 0 { 8 } else { 4 })?;
        view.limit(usize::from(u16::from_be_bytes([l0, l1])));
        return Ok(Next::Ppp);
    }
    if version & 0x07 != 0 {
        return Ok(Next::Malformed(Reason::MalformedL3));
    }
    if flags & (CHECKSUM | ROUTING) != 0 {
        view.skip(4)?;
    }
    view.skip(if flags & KEY != 0 { 4 } else { 0 })?;
    view.skip(if flags & SEQUENCE != 0 { 4 } else { 0 })?;
    if flags & ROUTING != 0 {
        const MAX_ROUTES: usize = 16;
        for _ in 0..MAX_ROUTES {
            let [f0, f1, _, len] = *view.take()?;
            if [f0, f1, len] == [0; 3] {
                break;
            }
            view.skip(usize::from(len))?;
        }
    }
    state.tags = 0;
    Ok(match kind {
        // ERSPAN: type I has no header and no sequence number, II one of 8, III one of 12 bytes or 20.
        0x88be if flags & SEQUENCE == 0 => Next::Ethernet,
        0x88be => view.skip(8).map(|()| Next::Ethernet)?,
        0x22eb => {
            let [.., last] = *view.take::<12>()?;
            view.skip(if last & 1 != 0 { 8 } else { 0 })?;
            Next::Ethernet
        }
        0x880b => Next::Ppp,
        // WCCP version 2 puts a redirect header of four bytes before IPv4; version 1 does not.
        0x883e => match view.rest() {
            [first, ..] if first >> 4 == 4 => Next::Ipv4,
            _ => view.skip(4).map(|()| Next::Ipv4)?,
        },
        // Access points of one vendor carry IEEE 802.11 under these numbers.
        0x8200..=0x83ff | 0x9000 => Next::Ieee80211Header { swapped: false },
        other => Next::EtherType(other),
    })
}
