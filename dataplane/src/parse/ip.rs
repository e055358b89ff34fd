//! IPv4, IPv6 and the chain of extension headers.
//!
//! Every rule of discarding here is one that endpoints apply, so that a packet made to be seen by a middlebox only
//! is not seen by this one either.

use super::view::{Short, View};
use super::{Ip, Next, OpaqueKind, Place, Walk, transport};
use crate::packet::{Addr, TunnelKind};
use glassgate_policy::Reason;

/// Extension headers that are walked before a flow ends with [`Reason::ExthdrCap`]. RFC 8200 section 4.1 knows
/// seven, each at most once but for the destination options.
pub(super) const MAX_EXTENSIONS: u8 = 8;

mod proto {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ICMP: u8 = 1;
    pub(super) const IPV4: u8 = 4;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const IPV6: u8 = 41;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const GRE: u8 = 47;
    pub(super) const ESP: u8 = 50;
    pub(super) const AH: u8 = 51;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const ETHER_IP: u8 = 97;
    pub(super) const L2TP: u8 = 115;
    pub(super) const MPLS: u8 = 137;
    pub(super) const ETHERNET: u8 = 143;
}

const MALFORMED: Next = Next::Malformed(Reason::MalformedL3);

/// Whether the number is that of an extension header: running out of bytes in one is a bad IP header.
pub(super) const fn is_extension(number: u8) -> bool {
    matches!(number, proto::HOP_BY_HOP | proto::ROUTING | proto::FRAGMENT | proto::DESTINATION | proto::AH)
}

/// The family by the first nibble.
pub(super) fn either(view: &mut View<'_>) -> Result<Next, Short> {
    let [first] = view.peek()?;
    Ok(match first >> 4 {
        4 => Next::Ipv4,
        6 => Next::Ipv6,
        _ => MALFORMED,
    })
}

/// An IP header that is followed by nothing but the transport.
pub(super) struct Plain<'a> {
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) ttl: u8,
    pub(super) number: u8,
    /// Length of the header.
    pub(super) header: u32,
    /// All that the IP length allows.
    pub(super) l4: &'a [u8],
}

/// IPv4 without options or fragments.
#[inline(always)]
pub(super) fn plain_v4(rest: &[u8]) -> Option<Plain<'_>> {
    let h: &[u8; 20] = rest.first_chunk()?;
    let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
    // Version 4 with 5 words; offset and more-fragments zero.
    if h[0] != 0x45 || u16::from_be_bytes([h[6], h[7]]) & 0x3fff != 0 {
        return None;
    }
    Some(Plain {
        src: Addr::v4([h[12], h[13], h[14], h[15]]),
        dst: Addr::v4([h[16], h[17], h[18], h[19]]),
        ttl: h[8],
        number: h[9],
        header: 20,
        l4: rest.get(20..total)?,
    })
}

/// IPv6 without extension headers; those have numbers that are not TCP or UDP.
#[inline(always)]
pub(super) fn plain_v6(rest: &[u8]) -> Option<Plain<'_>> {
    let (h, rest) = rest.split_first_chunk::<40>()?;
    if h[0] >> 4 != 6 {
        return None;
    }
    let (_, addresses) = h.split_first_chunk::<8>()?;
    let (src, dst) = addresses.split_first_chunk::<16>()?;
    Some(Plain {
        src: Addr(*src),
        dst: Addr(*dst.first_chunk()?),
        ttl: h[7],
        number: h[6],
        header: 40,
        l4: rest.get(..usize::from(u16::from_be_bytes([h[4], h[5]])))?,
    })
}

/// IPv4, RFC 791 section 3.1.
pub(super) fn v4(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    let at = view.at() as u32;
    let h: &[u8; 20] = view.peek()?;
    let header = usize::from(h[0] & 0x0f) * 4;
    let total = match usize::from(u16::from_be_bytes([h[2], h[3]])) {
        0 if state.options.capture => view.wire_left(),
        total => total,
    };
    if h[0] >> 4 != 4 || header < 20 || total < header || !bound(view, state, total) {
        return Ok(MALFORMED);
    }
    if header > 20 && !v4_options_hold(view.rest().get(20..header).unwrap_or_default()) {
        return Ok(MALFORMED);
    }
    view.skip(header)?;
    let [_, _, _, _, _, _, _, _, ttl, number, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *h;
    state.ip = Ip {
        src: Addr::v4([s0, s1, s2, s3]),
        dst: Addr::v4([d0, d1, d2, d3]),
        ttl,
        v6: false,
        at,
        extensions: 0,
    };
    let place = u16::from_be_bytes([h[6], h[7]]);
    let (offset, more) = (u32::from(place & 0x1fff) * 8, place & 0x2000 != 0);
    if offset == 0 && !more {
        return Ok(Next::Protocol(number));
    }
    if more {
        // RFC 791: all parts but the last are multiples of 8; hosts cut the excess off.
        let odd = view.wire_left() % 8;
        view.limit(view.wire_left() - odd);
    }
    let id = u32::from(u16::from_be_bytes([h[4], h[5]]));
    Ok(part(view, Place { number, id, offset, more }))
}

/// Ends the packet where its IP length says. False when that is beyond the frame, which endpoints discard and
/// capturing may cause.
fn bound(view: &mut View<'_>, state: &Walk<'_>, len: usize) -> bool {
    if len <= view.wire_left() {
        view.limit(len);
        return true;
    }
    if state.options.capture {
        view.lengthen(len);
    }
    state.options.capture
}

/// Whether the options can be walked to their end (RFC 791 section 3.1); hosts discard the packet otherwise.
fn v4_options_hold(mut options: &[u8]) -> bool {
    loop {
        options = match options {
            [] | [0, ..] => return true,
            [1, rest @ ..] => rest,
            [_, len @ 2..=255, ..] => match options.get(usize::from(*len)..) {
                Some(rest) => rest,
                None => return false,
            },
            _ => return false,
        };
    }
}

/// IPv6, RFC 8200 section 3.
pub(super) fn v6(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    let at = view.at() as u32;
    let h: &[u8; 40] = view.take()?;
    if h[0] >> 4 != 6 {
        return Ok(MALFORMED);
    }
    let [_, _, _, _, l0, l1, number, ttl, addresses @ ..] = *h;
    match usize::from(u16::from_be_bytes([l0, l1])) {
        // A jumbogram (RFC 2675) can't be longer than what its link carries; only capturing makes them.
        0 if state.options.capture => {}
        len if bound(view, state, len) => {}
        _ => return Ok(MALFORMED),
    }
    let (mut src, mut dst) = ([0; 16], [0; 16]);
    let (from, to) = addresses.split_at(16);
    src.copy_from_slice(from);
    dst.copy_from_slice(to);
    state.ip = Ip { src: Addr(src), dst: Addr(dst), ttl, v6: true, at, extensions: 0 };
    Ok(Next::Protocol(number))
}

/// What stands behind an IP header, by its number.
pub(super) fn protocol(view: &mut View<'_>, state: &mut Walk<'_>, number: u8) -> Result<Next, Short> {
    let v6 = state.ip.v6;
    Ok(match number {
        proto::TCP => transport::tcp(view)?,
        proto::UDP => transport::udp(view, state)?,
        proto::HOP_BY_HOP | proto::DESTINATION if v6 => options(view, state, number)?,
        proto::ROUTING if v6 => routing(view, state)?,
        proto::FRAGMENT if v6 => fragment_header(view, state)?,
        proto::AH => authentication(view, state)?,
        proto::ICMP if !v6 => Next::Opaque(OpaqueKind::Icmp),
        proto::ICMPV6 if v6 => Next::Opaque(OpaqueKind::Icmpv6),
        proto::IPV4 => enter(state, TunnelKind::IpIp, Next::Ipv4),
        proto::IPV6 => enter(state, TunnelKind::SixIn4, Next::Ipv6),
        proto::MPLS => enter(state, TunnelKind::MplsInIp, Next::Mpls),
        proto::ETHERNET if v6 => enter(state, TunnelKind::EtherIp, Next::Ethernet),
        proto::ETHER_IP => {
            let next = enter(state, TunnelKind::EtherIp, Next::Ethernet);
            view.skip(2)?;
            next
        }
        proto::GRE => Next::Gre,
        proto::ESP => Next::Tunnel(TunnelKind::Esp),
        proto::L2TP => Next::Tunnel(TunnelKind::L2tpv3),
        _ => Next::Opaque(OpaqueKind::IpProtocol),
    })
}

/// Goes on with the content of a tunnel, or ends with its kind.
pub(super) fn enter(state: &mut Walk<'_>, kind: TunnelKind, inner: Next) -> Next {
    if state.enter() { inner } else { Next::Tunnel(kind) }
}

/// Counts an extension header and goes on behind it.
fn behind(state: &mut Walk<'_>, number: u8) -> Next {
    state.ip.extensions = state.ip.extensions.saturating_add(1);
    Next::Protocol(number)
}

/// Hop-by-hop and destination options, RFC 8200 sections 4.3 and 4.6.
fn options(view: &mut View<'_>, state: &mut Walk<'_>, number: u8) -> Result<Next, Short> {
    if number == proto::HOP_BY_HOP && state.ip.extensions > 0 {
        return Ok(MALFORMED);
    }
    let [next, words] = *view.peek()?;
    let len = (usize::from(words) + 1) * 8;
    let body = view.rest().get(2..len.min(view.rest().len())).unwrap_or_default();
    view.skip(len)?;
    // The two options that endpoints know although their type says "discard when unknown" (section 4.2).
    let known = if number == proto::HOP_BY_HOP { 0xc2 } else { 0xc9 };
    if discarded(body, known) {
        return Ok(MALFORMED);
    }
    Ok(behind(state, next))
}

fn discarded(mut options: &[u8], known: u8) -> bool {
    loop {
        options = match options {
            [] => return false,
            [0, rest @ ..] => rest,
            [kind, _, ..] if kind & 0xc0 != 0 && *kind != known => return true,
            [_, len, rest @ ..] => match rest.get(usize::from(*len)..) {
                Some(rest) => rest,
                None => return true,
            },
            [_] => return true,
        };
    }
}

/// Routing header, RFC 8200 section 4.4. Types that are not known or withdrawn (RFC 5095) are discarded while
/// segments are left.
fn routing(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    let [next, words, kind, left] = *view.peek()?;
    view.skip((usize::from(words) + 1) * 8)?;
    if left > 0 && !matches!(kind, 2..=4) {
        return Ok(MALFORMED);
    }
    Ok(behind(state, next))
}

/// Fragment header, RFC 8200 section 4.5. An atomic fragment is a whole packet (RFC 6946).
fn fragment_header(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    let [next, _, p0, p1, i0, i1, i2, i3] = *view.take()?;
    let place = u16::from_be_bytes([p0, p1]);
    let (offset, more) = (u32::from(place & 0xfff8), place & 1 != 0);
    if offset == 0 && !more {
        return Ok(behind(state, next));
    }
    if more && !view.wire_left().is_multiple_of(8) {
        return Ok(MALFORMED);
    }
    let id = u32::from_be_bytes([i0, i1, i2, i3]);
    Ok(part(view, Place { number: next, id, offset, more }))
}

/// Authentication header, RFC 4302 section 2: walked in both families, since it hides nothing.
fn authentication(view: &mut View<'_>, state: &mut Walk<'_>) -> Result<Next, Short> {
    let [next, words, ..] = *view.peek::<12>()?;
    view.skip((usize::from(words) + 2) * 4)?;
    Ok(behind(state, next))
}

fn part(view: &View<'_>, place: Place) -> Next {
    let len = view.wire_left() as u32;
    if len == 0 || place.offset + len > u32::from(u16::MAX) { MALFORMED } else { Next::Part(place) }
}
