//! What the parser says of a frame: offsets and numbers, no copies.
//!
//! A [`Packet`] describes the innermost IP packet that is looked at: with tunnels switched on, the inner one.
//! All offsets count from the first byte of the frame (or of the reassembled datagram, for fragments).

use glassgate_policy::{L4, Reason};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as the flow table keeps it: sixteen bytes for both families.
///
/// IPv4 is set into the prefix `::fffe:0:0/96`, which no IPv6 packet has. Not into `::ffff:0:0/96`, the mapped
/// addresses of RFC 4291: those do occur on the wire, in packets that are IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr(pub [u8; 16]);

impl Addr {
    /// An IPv4 address.
    #[inline]
    pub const fn v4(a: [u8; 4]) -> Self {
        // As one number: sixteen bytes would be stored piece by piece.
        Self((0xfffe << 32 | u32::from_be_bytes(a) as u128).to_be_bytes())
    }

    /// Whether it is an IPv4 address.
    #[inline]
    pub const fn is_v4(&self) -> bool {
        u128::from_be_bytes(self.0) >> 32 == 0xfffe
    }

    /// The last four bytes as a number: all of an IPv4 address.
    #[inline]
    pub(crate) const fn low_word(&self) -> u32 {
        u128::from_be_bytes(self.0) as u32
    }

    /// The address in its own family.
    pub const fn ip(self) -> IpAddr {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            v6 => IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(v6))),
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

/// At most three VLAN tags, outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vlans {
    ids: [u16; 3],
    len: u8,
}

impl Vlans {
    /// No tag.
    pub const NONE: Self = Self { ids: [0; 3], len: 0 };

    /// One tag.
    pub const fn one(id: u16) -> Self {
        Self { ids: [id & 0x0fff, 0, 0], len: 1 }
    }

    /// The VLAN ids (12 bits each), outermost first.
    pub fn ids(&self) -> &[u16] {
        self.ids.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Adds an inner tag; false when there are three already.
    pub fn push(&mut self, id: u16) -> bool {
        match self.ids.get_mut(usize::from(self.len)) {
            Some(slot) => {
                *slot = id & 0x0fff;
                self.len += 1;
                true
            }
            None => false,
        }
    }
}

/// The TCP header fields that only flows without a verdict are looked at for (RFC 9293 section 3.1): see
/// [`Packet::tcp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// The flag byte: see [`flag`].
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Urgent pointer; meaningful with [`flag::URG`].
    pub urgent: u16,
    /// TSval of the timestamp option (RFC 7323).
    pub ts_val: Option<u32>,
    /// Whether the MD5 signature option is there (RFC 2385).
    pub md5: bool,
}

/// TCP flags.
pub mod flag {
    #![allow(missing_docs, reason = "the names are those of RFC 9293")]
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
}

impl Tcp {
    /// Reads a header: the fixed part and the options.
    fn read(header: &[u8]) -> Option<Self> {
        let (h, options) = header.split_first_chunk::<20>()?;
        let mut tcp = Self {
            seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            ack: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
            flags: h[13],
            window: u16::from_be_bytes([h[14], h[15]]),
            urgent: u16::from_be_bytes([h[18], h[19]]),
            ts_val: None,
            md5: false,
        };
        tcp.read_options(options);
        Some(tcp)
    }

    /// Notes the two options that tell a decoy from a segment of the flow. Stops at the first option that can't be
    /// walked, as endpoints do: the segment stays valid.
    fn read_options(&mut self, mut options: &[u8]) {
        // What nearly every segment has: two fillers and a timestamp.
        if let [1, 1, 8, 10, a, b, c, d, _, _, _, _] = options {
            self.ts_val = Some(u32::from_be_bytes([*a, *b, *c, *d]));
            return;
        }
        loop {
            options = match options {
                [1, rest @ ..] => rest,
                [kind @ 2..=255, len @ 2..=255, ..] => {
                    let Some((option, rest)) = options.split_at_checked(usize::from(*len)) else { return };
                    match (kind, option) {
                        (8, [_, 10, a, b, c, d, ..]) => {
                            self.ts_val = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                        }
                        (19, [_, 18, ..]) => self.md5 = true,
                        _ => {}
                    }
                    rest
                }
                _ => return,
            };
        }
    }

    /// Whether all of these flags are set.
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// What a frame carries, once its headers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// VLAN tags of the outermost header.
    pub vlans: Vlans,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The transport and its header.
    pub transport: Transport,
    /// First byte of the IP header, or [`NO_HEADER`] when the packet was put together from fragments.
    pub l3_at: u32,
    /// First byte of the transport header.
    pub l4_at: u32,
    /// First byte of the payload.
    pub payload_at: u32,
    /// Bytes of payload that the IP length allows *and* the frame holds: Ethernet padding is never in it.
    pub payload_len: u32,
    /// Bytes of payload by the IP length. Greater than `payload_len` when the frame was cut.
    pub payload_wire_len: u32,
    /// Whether the packet stood in a tunnel that was looked into.
    pub tunnelled: bool,
    /// The tunnel that this UDP packet carries and that is not looked into: its flow ends with
    /// [`Reason::Tunnel`].
    pub tunnel: Option<TunnelKind>,
    /// More IPv6 extension headers stand before the transport than endpoints are expected to use: the ports are
    /// known, and the flow ends with [`Reason::ExthdrCap`].
    pub exthdr_capped: bool,
}

/// Stands in [`Packet::l3_at`] where no single IP header describes the packet.
pub const NO_HEADER: u32 = u32::MAX;

/// The tunnels that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TunnelKind {
    /// GRE, all of its protocol types but the two below (RFC 2784, RFC 2890, RFC 1701, RFC 7637).
    Gre,
    /// PPTP: GRE version 1 (RFC 2637).
    Pptp,
    /// ERSPAN types I to III, over GRE.
    Erspan,
    /// IPv4 in IPv4 or IPv6 (RFC 2003, RFC 2473).
    IpIp,
    /// IPv6 in IPv4 or IPv6 (RFC 4213, RFC 2473).
    SixIn4,
    /// Ethernet in IP (RFC 3378) and in IPv6 (RFC 8986).
    EtherIp,
    /// MPLS in IP or UDP (RFC 4023, RFC 7510).
    MplsInIp,
    /// L2TP version 2 (RFC 2661).
    L2tp,
    /// L2TP version 3 (RFC 3931).
    L2tpv3,
    /// IPsec ESP (RFC 4303).
    Esp,
    /// VXLAN and VXLAN-GPE (RFC 7348).
    Vxlan,
    /// Geneve (RFC 8926).
    Geneve,
    /// GTP-U (3GPP TS 29.281).
    GtpU,
    /// CAPWAP data (RFC 5415).
    Capwap,
    /// Teredo (RFC 4380).
    Teredo,
    /// AYIYA.
    Ayiya,
    /// LISP data (RFC 9300).
    Lisp,
    /// TZSP.
    Tzsp,
}

impl TunnelKind {
    /// Every kind; the position is the value, so that counters can be an array.
    pub const ALL: [Self; 18] = [
        Self::Gre,
        Self::Pptp,
        Self::Erspan,
        Self::IpIp,
        Self::SixIn4,
        Self::EtherIp,
        Self::MplsInIp,
        Self::L2tp,
        Self::L2tpv3,
        Self::Esp,
        Self::Vxlan,
        Self::Geneve,
        Self::GtpU,
        Self::Capwap,
        Self::Teredo,
        Self::Ayiya,
        Self::Lisp,
        Self::Tzsp,
    ];

    /// The word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::Pptp => "pptp",
            Self::Erspan => "erspan",
            Self::IpIp => "ipip",
            Self::SixIn4 => "6in4",
            Self::EtherIp => "etherip",
            Self::MplsInIp => "mpls_in_ip",
            Self::L2tp => "l2tp",
            Self::L2tpv3 => "l2tpv3",
            Self::Esp => "esp",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::GtpU => "gtp_u",
            Self::Capwap => "capwap",
            Self::Teredo => "teredo",
            Self::Ayiya => "ayiya",
            Self::Lisp => "lisp",
            Self::Tzsp => "tzsp",
        }
    }
}

/// The transport protocol, and what of its header every frame is looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// The flag byte: see [`flag`].
        flags: u8,
    },
    /// UDP.
    Udp,
}

impl Packet {
    /// The transport protocol.
    pub const fn l4(&self) -> L4 {
        match self.transport {
            Transport::Tcp { .. } => L4::Tcp,
            Transport::Udp => L4::Udp,
        }
    }

    /// Reads the rest of the TCP header, given the bytes that the offsets count in. `None` for UDP, and for first
    /// fragments that end before their header does.
    pub fn tcp(&self, bytes: &[u8]) -> Option<Tcp> {
        match self.transport {
            Transport::Tcp { .. } => Tcp::read(bytes.get(self.l4_at as usize..self.payload_at as usize)?),
            Transport::Udp => None,
        }
    }

    /// Why the flow of this packet gets no name whatever it carries, if there is such a reason.
    pub const fn end_reason(&self) -> Option<Reason> {
        match (self.tunnel, self.exthdr_capped) {
            (Some(_), _) => Some(Reason::Tunnel),
            (None, true) => Some(Reason::ExthdrCap),
            (None, false) => None,
        }
    }

    /// The payload, given the bytes that the offsets count in.
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let at = self.payload_at as usize;
        bytes.get(at..at.saturating_add(self.payload_len as usize)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_kinds_index_an_array() {
        for (i, kind) in TunnelKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, i);
        }
    }

    #[test]
    fn a_fourth_vlan_tag_is_refused() {
        let mut vlans = Vlans::NONE;
        assert!((1..=3).all(|id| vlans.push(0x1000 | id)));
        assert!(!vlans.push(4));
        assert_eq!(vlans.ids(), [1, 2, 3]);
    }

    #[test]
    fn addresses_keep_their_family() {
        for ip in ["192.0.2.1", "2001:db8::1", "::", "::ffff:192.0.2.1"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(Addr::from(ip).ip(), ip);
            assert_eq!(Addr::from(ip).is_v4(), ip.is_ipv4());
        }
    }
}
