//! The bytes of frames: Ethernet, IPv4 and IPv6, TCP and UDP, with every field open to be made wrong.
//!
//! Nothing of the code under test is used here: what it reads must have been written by somebody else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const GRE: u8 = 47;

pub(crate) const FIN: u16 = 0x01;
pub(crate) const SYN: u16 = 0x02;
pub(crate) const RST: u16 = 0x04;
pub(crate) const PSH: u16 = 0x08;
pub(crate) const ACK: u16 = 0x10;
pub(crate) const URG: u16 = 0x20;
pub(crate) const ECE: u16 = 0x40;
/// The ninth flag, of the withdrawn RFC 3540: bit 0 of the reserved bits.
pub(crate) const NS: u16 = 0x100;

/// Which IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// One part of a fragmented datagram.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) offset: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) more: bool,
}

/// How a datagram is cut, given its bytes.
pub(crate) type Cut = Rc<dyn Fn(&[u8]) -> Vec<Piece>>;

/// What a packet travels inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tunnel {
    /// IP protocol 4 or 41 by the inner family, in IPv4.
    IpInIp,
    /// RFC 2784, with IP inside.
    Gre,
    /// RFC 7348, with Ethernet inside.
    Vxlan,
}

/// Everything around the transport segment.
#[derive(Clone)]
pub(crate) struct Carriage {
    pub(crate) ttl: u8,
    /// IPv4 options, padded by the user to a multiple of 4.
    pub(crate) v4_options: Vec<u8>,
    /// IPv6 extension headers: their number, and all of them but the first two bytes.
    pub(crate) v6_headers: Vec<(u8, Vec<u8>)>,
    pub(crate) cut: Option<Cut>,
    /// The identification of fragments; the next free one when there is none.
    pub(crate) ident: Option<u32>,
    /// Added to the length that the IP header states.
    pub(crate) length_off_by: i32,
    pub(crate) bad_udp_sum: bool,
    /// Bytes behind the IP packet that belong to the link.
    pub(crate) trailer: Vec<u8>,
    /// Tag protocol id and VLAN id, outermost first.
    pub(crate) vlans: Vec<(u16, u16)>,
    pub(crate) pppoe: bool,
    pub(crate) tunnel: Option<Tunnel>,
}

impl Default for Carriage {
    fn default() -> Self {
        Self {
            ttl: 64,
            v4_options: Vec::new(),
            v6_headers: Vec::new(),
            cut: None,
            ident: None,
            length_off_by: 0,
            bad_udp_sum: false,
            trailer: Vec::new(),
            vlans: Vec::new(),
            pppoe: false,
            tunnel: None,
        }
    }
}

/// Hardware addresses: destination, source.
pub(crate) type Macs = [[u8; 6]; 2];

impl Carriage {
    /// The frames that carry `l4` from `src` to `dst`: one, or one per fragment.
    pub(crate) fn frames(
        &self,
        macs: Macs,
        (src, dst): (IpAddr, IpAddr),
        proto: u8,
        l4: &[u8],
        ident: u32,
    ) -> Vec<Vec<u8>> {
        let ident = self.ident.unwrap_or(ident);
        let pieces = match &self.cut {
            Some(cut) => cut(l4),
            None => vec![Piece { offset: 0, bytes: l4.to_vec(), more: false }],
        };
        let cut = self.cut.is_some();
        let mut frames = Vec::new();
        for piece in pieces {
            let ip = match (src, dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => {
                    self.v4(src.octets(), dst.octets(), proto, &piece, ident)
                }
                (IpAddr::V6(src), IpAddr::V6(dst)) => {
                    self.v6(src.octets(), dst.octets(), proto, &piece, cut.then_some(ident))
                }
                _ => panic!("the two ends of a packet are of one family"),
            };
            frames.push(self.link(macs, &self.wrapped(macs, ip)));
        }
        frames
    }

    fn v4(&self, src: [u8; 4], dst: [u8; 4], proto: u8, piece: &Piece, ident: u32) -> Vec<u8> {
        let header = 20 + self.v4_options.len();
        let total = (header + piece.bytes.len()) as i32 + self.length_off_by;
        let mut ip = vec![0x40 | (header / 4) as u8, 0];
        ip.extend((total as u16).to_be_bytes());
        ip.extend((ident as u16).to_be_bytes());
        let place = (piece.offset / 8) as u16 | if piece.more { 0x2000 } else { 0 };
        // Whole packets say "don't fragment", as hosts do that discover the path MTU.
        let place = if place == 0 && self.cut.is_none() { 0x4000 } else { place };
        ip.extend(place.to_be_bytes());
        ip.extend([self.ttl, proto, 0, 0]);
        ip.extend(src);
        ip.extend(dst);
        ip.extend(&self.v4_options);
        let sum = checksum(&[&ip]).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
        ip.extend(&piece.bytes);
        ip
    }

    fn v6(&self, src: [u8; 16], dst: [u8; 16], proto: u8, piece: &Piece, ident: Option<u32>) -> Vec<u8> {
        let mut numbers: Vec<u8> = self.v6_headers.iter().map(|(number, _)| *number).collect();
        numbers.extend(ident.map(|_| FRAGMENT));
        numbers.push(proto);
        let mut chain = Vec::new();
        for ((_, body), next) in self.v6_headers.iter().zip(&numbers[1..]) {
            assert_eq!(body.len() % 8, 6, "an extension header is a multiple of 8 bytes");
            chain.extend([*next, (body.len() / 8) as u8]);
            chain.extend(body);
        }
        if let Some(ident) = ident {
            chain.extend([proto, 0]);
            chain.extend((piece.offset as u16 & !7 | u16::from(piece.more)).to_be_bytes());
            chain.extend(ident.to_be_bytes());
        }
        chain.extend(&piece.bytes);
        let mut ip = vec![0x60, 0, 0, 0];
        ip.extend(((chain.len() as i32 + self.length_off_by) as u16).to_be_bytes());
        ip.extend([numbers[0], self.ttl]);
        ip.extend(src);
        ip.extend(dst);
        ip.extend(chain);
        ip
    }

    fn wrapped(&self, macs: Macs, inner: Vec<u8>) -> Vec<u8> {
        let Some(tunnel) = self.tunnel else { return inner };
        let v6 = inner[0] >> 4 == 6;
        let ends = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)].map(|a| a.octets());
        let (proto, payload) = match tunnel {
            Tunnel::IpInIp => (if v6 { 41 } else { 4 }, inner),
            Tunnel::Gre => {
                let kind = if v6 { 0x86dd_u16 } else { 0x0800 };
                (GRE, [&[0, 0][..], &kind.to_be_bytes(), &inner].concat())
            }
            Tunnel::Vxlan => {
                let frame = Self::default().link(macs, &inner);
                let vxlan = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &frame].concat();
                let mut udp = Vec::new();
                for word in [51_000, 4789, 8 + vxlan.len() as u16, 0] {
                    udp.extend(u16::to_be_bytes(word));
                }
                udp.extend(vxlan);
                (UDP, udp)
            }
        };
        let whole = Piece { offset: 0, bytes: payload, more: false };
        Self::default().v4(ends[0], ends[1], proto, &whole, 0)
    }

    fn link(&self, [dst, src]: Macs, ip: &[u8]) -> Vec<u8> {
        let mut frame = [dst, src].concat();
        for (tpid, id) in &self.vlans {
            frame.extend(tpid.to_be_bytes());
            frame.extend(id.to_be_bytes());
        }
        let v6 = ip[0] >> 4 == 6;
        if self.pppoe {
            frame.extend([0x88, 0x64, 0x11, 0, 0, 7]);
            frame.extend((ip.len() as u16 + 2).to_be_bytes());
            frame.extend(if v6 { [0, 0x57] } else { [0, 0x21] });
        } else {
            frame.extend(if v6 { [0x86, 0xdd] } else { [8, 0] });
        }
        frame.extend(ip);
        frame.extend(&self.trailer);
        if frame.len() < 60 {
            frame.resize(60, 0);
        }
        frame
    }
}

/// Hop-by-hop header with a router alert (RFC 2711) and padding: its number and body.
pub(crate) fn hop_by_hop() -> (u8, Vec<u8>) {
    (HOP_BY_HOP, vec![5, 2, 0, 0, 1, 0])
}

/// Destination options header with nothing but padding.
pub(crate) fn destination_options() -> (u8, Vec<u8>) {
    (60, vec![1, 4, 0, 0, 0, 0])
}

/// Cuts into pieces of `first` bytes and then of `each` bytes, both multiples of 8.
pub(crate) fn pieces(bytes: &[u8], first: usize, each: usize) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let len = if at == 0 { first } else { each }.min(bytes.len() - at);
        out.push(Piece { offset: at, bytes: bytes[at..at + len].to_vec(), more: at + len < bytes.len() });
        at += len;
    }
    out
}

/// Whether the checksum is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sum {
    #[default]
    Good,
    Bad,
    /// Made before the data offset was tampered with, as tools do that change a packet on its way out.
    Stale,
}

/// The fields of a TCP header, absolute.
pub(crate) struct TcpHeader {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u16,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    /// Multiple of 4.
    pub(crate) options: Vec<u8>,
    /// Written in place of the right data offset.
    pub(crate) data_offset: Option<u8>,
    pub(crate) sum: Sum,
}

/// A TCP segment (RFC 9293 section 3.1).
pub(crate) fn tcp(src: SocketAddr, dst: SocketAddr, header: &TcpHeader, payload: &[u8]) -> Vec<u8> {
    let words = 5 + header.options.len() / 4;
    assert!(
        header.options.len().is_multiple_of(4) && words < 16,
        "options of {} bytes",
        header.options.len()
    );
    let mut out = Vec::new();
    out.extend(src.port().to_be_bytes());
    out.extend(dst.port().to_be_bytes());
    out.extend(header.seq.to_be_bytes());
    out.extend(header.ack.to_be_bytes());
    out.extend(((words as u16) << 12 | header.flags).to_be_bytes());
    out.extend(header.window.to_be_bytes());
    out.extend([0, 0]);
    out.extend(header.urgent.to_be_bytes());
    out.extend(&header.options);
    out.extend(payload);
    let stale = transport_sum(src.ip(), dst.ip(), TCP, &out);
    if let Some(words) = header.data_offset {
        out[12] = out[12] & 0x0f | words << 4;
    }
    let sum = match header.sum {
        Sum::Good => transport_sum(src.ip(), dst.ip(), TCP, &out),
        Sum::Bad => stale ^ 0x5555,
        Sum::Stale => stale,
    };
    out[16..18].copy_from_slice(&sum.to_be_bytes());
    out
}

/// A UDP datagram (RFC 768).
pub(crate) fn udp(src: SocketAddr, dst: SocketAddr, payload: &[u8], bad_sum: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [src.port(), dst.port(), 8 + payload.len() as u16, 0] {
        out.extend(word.to_be_bytes());
    }
    out.extend(payload);
    let sum = match transport_sum(src.ip(), dst.ip(), UDP, &out) {
        0 => 0xffff,
        sum if bad_sum => sum ^ 0x5555,
        sum => sum,
    };
    out[6..8].copy_from_slice(&sum.to_be_bytes());
    out
}

fn transport_sum(src: IpAddr, dst: IpAddr, proto: u8, l4: &[u8]) -> u16 {
    let ends = match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => [s.octets().to_vec(), d.octets().to_vec()].concat(),
        (IpAddr::V6(s), IpAddr::V6(d)) => [s.octets().to_vec(), d.octets().to_vec()].concat(),
        _ => panic!("the two ends of a packet are of one family"),
    };
    let tail = [&(l4.len() as u32).to_be_bytes()[..], &[0, 0, 0, proto]].concat();
    checksum(&[&ends, &tail, l4])
}

/// RFC 1071. Every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
