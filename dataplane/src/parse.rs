//! Frame to packet: every header from the link up to TCP or UDP.
//!
//! ```text
//!  link ─► VLAN, PPPoE, MPLS, LLC … ─► IPv4 / IPv6 + extension headers ─┬─► TCP, UDP ──────► Packet
//!    ▲                                                                  ├─► fragment ──────► Fragment
//!    └────────────── tunnel, when looked into ◄──────────────────────────┴─► anything else ─► Opaque, Tunnel
//! ```
//!
//! Promises: no allocation, no panic, offsets only (nothing is copied but addresses and header numbers), and
//! bounded work: at most [`MAX_LAYERS`] headers are walked whatever the frame says. Every length is held against
//! the enclosing header and against the bytes at hand, so that Ethernet padding is never data.
//!
//! What endpoints discard gives [`Parsed::Malformed`] and not a packet, because a name taken from bytes that the
//! server never accepts would be a wrong name.
//!
//! The plain case (Ethernet, IPv4 without options, TCP or UDP) is read first by `plain`, with a fixed number of
//! branches; everything else goes through a loop over one header at a time.

mod checksum;
mod ip;
mod link;
mod transport;
mod tunnel;
mod view;

use crate::packet::{Addr, Packet, Transport, TunnelKind, Vlans};
use crate::port::Link;
use glassgate_policy::Reason;

pub use checksum::{Checksum, checksum_of, ipv4_header_ok, l4_checksum, l4_checksum_ok, sum_of};

use view::{Short, View};

/// Headers walked in one frame, tunnels included. Deeper frames are [`OpaqueKind::TooDeep`].
pub const MAX_LAYERS: u8 = 64;
/// Length of an Ethernet header without tags.
const ETHERNET: usize = 14;
/// Length of an Ethernet header with one VLAN tag.
const TAGGED: usize = 18;

/// How frames are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// How many tunnels inside each other are looked into. 0, the default, looks into none.
    pub tunnel_depth: u8,
    /// Whether the frames come from a capture file. Then lengths are borne that endpoints discard on a wire but that
    /// capturing and editing make of sound packets: an IP or UDP length of 0 and checksums to be finished by the
    /// NIC (captures on the sending host), lengths beyond a frame that some tool has cut without saying so.
    pub capture: bool,
}

impl ParseOptions {
    /// Looks into one tunnel.
    pub const ONE_TUNNEL: Self = Self { tunnel_depth: 1, capture: false };
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole TCP or UDP packet.
    Packet(Packet),
    /// A part of an IP datagram.
    Fragment(Fragment),
    /// Something without TCP or UDP: forwarded and counted by kind.
    Opaque(Opaque),
    /// A tunnel without ports that is not looked into.
    Tunnel(TunnelKind),
    /// A header that endpoints discard.
    Malformed(Reason),
}

/// A part of an IP datagram (RFC 791, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// VLAN tags of the outermost header.
    pub vlans: Vlans,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Whether the datagram is IPv6.
    pub v6: bool,
    /// The protocol of the fragmented part: the IPv4 protocol, or the fragment header's next header.
    pub proto: u8,
    /// Identification: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// Where this part begins in the datagram's payload, in bytes.
    pub offset: u32,
    /// Whether parts follow.
    pub more: bool,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Tunnels that enclose the datagram.
    pub depth: u8,
    /// First byte of the IP header, or [`crate::packet::NO_HEADER`].
    pub l3_at: u32,
    /// First byte of this part.
    pub payload_at: u32,
    /// Bytes of this part that are at hand.
    pub payload_len: u32,
    /// Bytes of this part by the IP length. Greater than `payload_len` when the frame was cut.
    pub payload_wire_len: u32,
}

impl Fragment {
    /// The bytes of this part, given the bytes that the offsets count in.
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let at = self.payload_at as usize;
        bytes.get(at..at.saturating_add(self.payload_len as usize)).unwrap_or_default()
    }
}

/// Something that is neither TCP nor UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// What it is.
    pub kind: OpaqueKind,
    /// VLAN tags of the outermost header.
    pub vlans: Vlans,
    /// First byte of what was not read: the ARP packet, the ICMP header, …
    pub at: u32,
    /// First byte of the IP header before it, or [`crate::packet::NO_HEADER`].
    pub l3_at: u32,
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident => $text:literal),+ $(,)?) => {
        /// What carries neither TCP nor UDP, as far as it is told apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum OpaqueKind { $($(#[$meta])* $kind),+ }

        impl OpaqueKind {
            /// Every kind; the position is the value, so that counters can be an array.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The word for metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $text),+ }
            }
        }
    };
}

kinds! {
    /// ARP.
    Arp => "arp",
    /// ICMP.
    Icmp => "icmp",
    /// ICMPv6, neighbour discovery included.
    Icmpv6 => "icmpv6",
    /// Another IP protocol.
    IpProtocol => "ip_protocol",
    /// Another EtherType.
    EtherType => "ethertype",
    /// LLC without IP: spanning tree and the like.
    Llc => "llc",
    /// PPP that is not IP: control protocols, compressed or encrypted packets.
    Ppp => "ppp",
    /// IEEE 802.11 without readable data: management, control, encrypted.
    Ieee80211 => "ieee80211",
    /// More than three VLAN tags.
    VlanCap => "vlan_cap",
    /// More headers than are walked.
    TooDeep => "too_deep",
    /// Shorter than its link header.
    Runt => "runt",
    /// Cut before the transport header ended: capture files only.
    Cut => "cut",
    /// A link type that is not known, or a link-level record without a packet.
    Link => "link",
}

/// Reads a frame: `bytes` of the `wire_len` that were on the wire, beginning with the header that `link` names.
///
/// Match the answer by reference: moving a packet that was just written costs more than reading its headers did,
/// because wide loads of narrow stores wait for the stores to retire.
#[inline]
pub fn parse(bytes: &[u8], wire_len: usize, link: Link, options: &ParseOptions) -> Parsed {
    if link == Link::Ethernet
        && let Some(parsed) = plain(bytes)
    {
        return parsed;
    }
    general(bytes, wire_len, link, options)
}

/// Who takes a packet while it is still in registers. A trait and not a closure, because only a method can be told to be
/// inlined wherever it is called: out of line, the packet is written to memory and read again, for a hundred instructions
/// a frame.
pub(crate) trait Take {
    /// Takes what it wants of the packet, and writes it where it is to stay: what is given back piece by piece and then
    /// moved is read before it has been written out. Mark it `#[inline(always)]`.
    fn take(self, packet: &Packet);
}

/// Gives the packet of a plain frame without a VLAN tag to `taker`. False for all others, packets or not.
///
/// For a pass over a burst. `taker` is inlined once for each family, so that what is constant in one (twelve of sixteen
/// bytes of an address, where a header begins) costs nothing, and nothing of the packet is written that it does not read.
#[inline(always)]
pub(crate) fn plain_ethernet(bytes: &[u8], link: Link, taker: impl Take) -> bool {
    let Some((h, rest)) = bytes.split_first_chunk::<ETHERNET>().filter(|_| link == Link::Ethernet) else {
        return false;
    };
    match u16::from_be_bytes([h[12], h[13]]) {
        link::IPV4 => take(ip::plain_v4(rest), ETHERNET, Vlans::NONE, taker),
        link::IPV6 => take(ip::plain_v6(rest), ETHERNET, Vlans::NONE, taker),
        _ => false,
    }
}

/// As [`plain_ethernet`], for a frame with one VLAN tag.
#[inline(always)]
pub(crate) fn plain_tagged(bytes: &[u8], link: Link, taker: impl Take) -> bool {
    let Some((h, rest)) = bytes.split_first_chunk::<TAGGED>().filter(|_| link == Link::Ethernet) else {
        return false;
    };
    if u16::from_be_bytes([h[12], h[13]]) != link::VLAN {
        return false;
    }
    let vlans = Vlans::one(u16::from_be_bytes([h[14], h[15]]));
    match u16::from_be_bytes([h[16], h[17]]) {
        link::IPV4 => take(ip::plain_v4(rest), TAGGED, vlans, taker),
        link::IPV6 => take(ip::plain_v6(rest), TAGGED, vlans, taker),
        _ => false,
    }
}

#[inline(always)]
fn take(ip: Option<ip::Plain<'_>>, at: usize, vlans: Vlans, taker: impl Take) -> bool {
    match ip.and_then(|ip| transport::plain(&ip, at as u32, vlans)) {
        Some(Parsed::Packet(packet)) => {
            taker.take(&packet);
            true
        }
        _ => false,
    }
}

/// [`parse`] for a frame that is known not to be plain.
#[inline(never)]
pub(crate) fn general(bytes: &[u8], wire_len: usize, link: Link, options: &ParseOptions) -> Parsed {
    walk(View::new(bytes, wire_len), Walk::new(options), link::first(link))
}

/// Reads the payload of a datagram that was put together from fragments: `payload` of the `wire_len` bytes that it
/// had. Offsets count in `payload`.
pub fn parse_reassembled(payload: &[u8], wire_len: usize, like: &Fragment, options: &ParseOptions) -> Parsed {
    walk(View::new(payload, wire_len), Walk::like(like, options), Next::Protocol(like.proto))
}

/// What a first fragment tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The flow, without payload.
    Packet(Packet),
    /// It doesn't hold the fixed transport header, as fragments do that are made to deceive (RFC 1858, RFC 7112):
    /// the flow, if the ports are there.
    Tiny(Option<Packet>),
    /// No flow.
    Other,
}

/// Reads the `payload` of the fragment `like`, which is a first one.
pub fn first_part(payload: &[u8], like: &Fragment, options: &ParseOptions) -> First {
    let options = ParseOptions { tunnel_depth: 0, ..*options };
    // Whatever the headers promise may come in later fragments.
    match parse_reassembled(payload, usize::from(u16::MAX), like, &options) {
        Parsed::Packet(packet) => First::Packet(Packet { payload_len: 0, payload_wire_len: 0, ..packet }),
        Parsed::Opaque(Opaque { kind: OpaqueKind::Cut, .. }) if like.payload_len == like.payload_wire_len => {
            First::Tiny(transport::ports_only(payload, &Walk::like(like, &options), like.proto))
        }
        _ => First::Other,
    }
}

/// The plain case: Ethernet II with at most one VLAN tag, IP without options, extensions or fragments, TCP or UDP,
/// whole. Says `None` to everything else, including everything that may be malformed.
///
/// Everything here is inlined into one function, and no part of the answer is put together in memory before it stands
/// where it is returned: a wide load of narrow stores costs more than all the rest (16 against 6 ns).
#[inline(always)]
fn plain(bytes: &[u8]) -> Option<Parsed> {
    let (kind, at, vlans) = ether_type(bytes)?;
    let rest = bytes.get(at..)?;
    let ip = match kind {
        link::IPV4 => ip::plain_v4(rest)?,
        link::IPV6 => ip::plain_v6(rest)?,
        _ => return None,
    };
    transport::plain(&ip, at as u32, vlans)
}

/// EtherType behind at most one VLAN tag, and where what it names begins.
#[inline(always)]
fn ether_type(bytes: &[u8]) -> Option<(u16, usize, Vlans)> {
    let h: &[u8; 18] = bytes.first_chunk()?;
    let kind = u16::from_be_bytes([h[12], h[13]]);
    if kind == link::VLAN {
        let tag = u16::from_be_bytes([h[14], h[15]]);
        return Some((u16::from_be_bytes([h[16], h[17]]), 18, Vlans::one(tag)));
    }
    Some((kind, 14, Vlans::NONE))
}

/// What the next header is.
#[derive(Clone, Copy, Debug)]
enum Next {
    Ethernet,
    EtherType(u16),
    Llc,
    Ppp,
    Pppoe,
    Mpls,
    Chdlc,
    Null,
    Sll,
    Sll2,
    Ieee80211,
    Ieee80211Header {
        /// The two bytes of the frame control field stand in reverse.
        swapped: bool,
    },
    Ppi,
    Nflog,
    Netlink,
    /// IPv4 or IPv6, as the first nibble says.
    Ip,
    Ipv4,
    Ipv6,
    /// What an IP protocol number says.
    Protocol(u8),
    Gre,
    /// The content of a UDP packet that is a tunnel.
    UdpTunnel(TunnelKind),
    /// There is nothing to read on.
    Opaque(OpaqueKind),
    Tunnel(TunnelKind),
    Malformed(Reason),
    /// What was read last is the transport header, and the payload follows.
    Payload(L4Header),
    /// The rest is a part of a datagram.
    Part(Place),
}

/// A TCP or UDP header.
#[derive(Clone, Copy, Debug)]
struct L4Header {
    at: u32,
    src_port: u16,
    dst_port: u16,
    transport: Transport,
    tunnel: Option<TunnelKind>,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug)]
struct Place {
    number: u8,
    id: u32,
    offset: u32,
    more: bool,
}

/// The IP header that encloses what is read now.
#[derive(Clone, Copy, Debug)]
struct Ip {
    src: Addr,
    dst: Addr,
    ttl: u8,
    v6: bool,
    at: u32,
    /// IPv6 extension headers so far.
    extensions: u8,
}

impl Ip {
    const NONE: Self = Self {
        src: Addr([0; 16]),
        dst: Addr([0; 16]),
        ttl: 0,
        v6: false,
        at: crate::packet::NO_HEADER,
        extensions: 0,
    };
}

/// What is known of the frame so far.
struct Walk<'o> {
    options: &'o ParseOptions,
    vlans: Vlans,
    /// VLAN tags since the last Ethernet header.
    tags: u8,
    /// Tunnels entered.
    depth: u8,
    ip: Ip,
    /// The innermost UDP packet whose payload is being tried as a tunnel: the answer when it turns out not to
    /// hold a packet.
    carrier: Option<Packet>,
}

impl<'o> Walk<'o> {
    const fn new(options: &'o ParseOptions) -> Self {
        Self { options, vlans: Vlans::NONE, tags: 0, depth: 0, ip: Ip::NONE, carrier: None }
    }

    fn like(fragment: &Fragment, options: &'o ParseOptions) -> Self {
        let ip = Ip { src: fragment.src, dst: fragment.dst, ttl: fragment.ttl, v6: fragment.v6, ..Ip::NONE };
        Self { vlans: fragment.vlans, depth: fragment.depth, ip, ..Self::new(options) }
    }

    fn packet(&self, view: &View<'_>, header: L4Header) -> Packet {
        Packet {
            vlans: self.vlans,
            src: self.ip.src,
            dst: self.ip.dst,
            src_port: header.src_port,
            dst_port: header.dst_port,
            ttl: self.ip.ttl,
            transport: header.transport,
            l3_at: self.ip.at,
            l4_at: header.at,
            payload_at: view.at() as u32,
            payload_len: view.rest().len() as u32,
            payload_wire_len: view.wire_left() as u32,
            tunnelled: self.depth > 0,
            tunnel: header.tunnel,
            exthdr_capped: self.ip.extensions > ip::MAX_EXTENSIONS,
        }
    }

    fn fragment(&self, view: &View<'_>, place: Place) -> Fragment {
        Fragment {
            vlans: self.vlans,
            src: self.ip.src,
            dst: self.ip.dst,
            v6: self.ip.v6,
            proto: place.number,
            id: place.id,
            offset: place.offset,
            more: place.more,
            ttl: self.ip.ttl,
            depth: self.depth,
            l3_at: self.ip.at,
            payload_at: view.at() as u32,
            payload_len: view.rest().len() as u32,
            payload_wire_len: view.wire_left() as u32,
        }
    }

    /// The answer when nothing was found, or the UDP packet whose content was tried as a tunnel in vain: it stays
    /// the packet of a flow.
    fn without_packet(&self, parsed: Parsed) -> Parsed {
        self.carrier.map_or(parsed, Parsed::Packet)
    }

    /// Whether another tunnel may be entered; if so, it is.
    fn enter(&mut self) -> bool {
        let may = self.depth < self.options.tunnel_depth;
        self.depth += u8::from(may);
        may
    }
}

fn walk(mut view: View<'_>, mut state: Walk<'_>, mut next: Next) -> Parsed {
    for _ in 0..MAX_LAYERS {
        let step = match next {
            Next::Ethernet => link::ethernet(&mut view, &mut state),
            Next::EtherType(kind) => link::ether_type(&mut view, &mut state, kind),
            Next::Llc => link::llc(&mut view),
            Next::Ppp => link::ppp(&mut view),
            Next::Pppoe => link::pppoe(&mut view),
            Next::Mpls => link::mpls(&mut view),
            Next::Chdlc => link::chdlc(&mut view),
            Next::Null => link::null(&mut view),
            Next::Sll => link::sll(&mut view),
            Next::Sll2 => link::sll2(&mut view),
            Next::Ieee80211 => link::ieee80211(&mut view),
            Next::Ieee80211Header { swapped } => link::ieee80211_header(&mut view, swapped),
            Next::Ppi => link::ppi(&mut view),
            Next::Nflog => link::nflog(&mut view),
            Next::Netlink => link::netlink(&mut view),
            Next::Ip => ip::either(&mut view),
            Next::Ipv4 => ip::v4(&mut view, &mut state),
            Next::Ipv6 => ip::v6(&mut view, &mut state),
            Next::Protocol(number) => ip::protocol(&mut view, &mut state, number),
            Next::Gre => tunnel::gre(&mut view, &mut state),
            Next::UdpTunnel(kind) => tunnel::udp(&mut view, &mut state, kind),
            Next::Payload(header) => return Parsed::Packet(state.packet(&view, header)),
            Next::Part(place) => return Parsed::Fragment(state.fragment(&view, place)),
            Next::Opaque(kind) => return state.without_packet(opaque(kind, &view, &state)),
            Next::Tunnel(kind) => return state.without_packet(Parsed::Tunnel(kind)),
            Next::Malformed(reason) => return state.without_packet(Parsed::Malformed(reason)),
        };
        next = match step {
            Ok(next) => next,
            Err(Short::Cut) => Next::Opaque(OpaqueKind::Cut),
            Err(Short::Ended) => ended_in(next),
        };
    }
    state.without_packet(opaque(OpaqueKind::TooDeep, &view, &state))
}

fn opaque(kind: OpaqueKind, view: &View<'_>, state: &Walk<'_>) -> Parsed {
    Parsed::Opaque(Opaque { kind, vlans: state.vlans, at: view.at() as u32, l3_at: state.ip.at })
}

/// What it means that a header ends before its own minimum: bad IP and transport headers are malformed, short link
/// headers are runts.
const fn ended_in(next: Next) -> Next {
    match next {
        Next::Ip | Next::Ipv4 | Next::Ipv6 => Next::Malformed(Reason::MalformedL3),
        Next::Protocol(number) if ip::is_extension(number) => Next::Malformed(Reason::MalformedL3),
        Next::Protocol(_) | Next::Gre | Next::UdpTunnel(_) => Next::Malformed(Reason::MalformedL4),
        _ => Next::Opaque(OpaqueKind::Runt),
    }
}

#[cfg(test)]
mod tests;
