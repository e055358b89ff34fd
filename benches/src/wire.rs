//! Frames, built with right lengths and checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use glassgate_dataplane::packet::flag;
use glassgate_dataplane::parse::checksum_of;

/// The shortest frame on the wire, without its check sequence of four bytes.
pub const MIN_FRAME: usize = 60;

/// Client and server of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Tuple {
    /// Address of the client.
    pub client: IpAddr,
    /// Address of the server.
    pub server: IpAddr,
    /// Port of the client.
    pub client_port: u16,
    /// Port of the server.
    pub server_port: u16,
}

impl Tuple {
    /// The tuple of flow `n` (below 16 M) over IPv4: a client of its own, one of 65 536 servers.
    pub fn v4(n: u32) -> Self {
        let [_, a, b, c] = n.to_be_bytes();
        Self {
            client: Ipv4Addr::new(10, a, b, c).into(),
            server: Ipv4Addr::new(198, 18, b ^ a, c).into(),
            client_port: client_port(n),
            server_port: 443,
        }
    }

    /// The tuple of flow `n` over IPv6.
    pub fn v6(n: u32) -> Self {
        let at = |prefix: u128, n: u32| Ipv6Addr::from_bits(prefix << 96 | u128::from(n));
        Self {
            client: at(0x2001_0db8, n).into(),
            server: at(0x2001_0db9, n & 0xffff).into(),
            client_port: client_port(n),
            server_port: 443,
        }
    }
}

/// The port that the client of flow `n` speaks from.
pub fn client_port(n: u32) -> u16 {
    (n & 0x3fff) as u16 + 40_000
}

/// A TCP segment, from client to server or back, in a frame of at least [`MIN_FRAME`] bytes.
pub fn tcp(tuple: &Tuple, up: bool, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let (sport, dport) = ports(tuple, up);
    let mut l4 = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    l4.extend(seq.to_be_bytes());
    l4.extend(ack.to_be_bytes());
    l4.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    l4.extend(payload);
    frame(tuple, up, 6, 16, l4)
}

/// A UDP datagram, likewise.
pub fn udp(tuple: &Tuple, up: bool, payload: &[u8]) -> Vec<u8> {
    let (sport, dport) = ports(tuple, up);
    let mut l4 = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    l4.extend(((8 + payload.len()) as u16).to_be_bytes());
    l4.extend([0, 0]);
    l4.extend(payload);
    frame(tuple, up, 17, 6, l4)
}

/// The frames with which a flow begins: SYN, SYN/ACK, ACK, `hello` in one segment or two, and the server's first
/// bytes, which acknowledge it.
pub fn tls_begin(tuple: &Tuple, hello: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let (seq, ack) = (1000, 5000);
    let mut frames = vec![
        (true, tcp(tuple, true, flag::SYN, seq, 0, &[])),
        (false, tcp(tuple, false, flag::SYN | flag::ACK, ack, seq + 1, &[])),
        (true, tcp(tuple, true, flag::ACK, seq + 1, ack + 1, &[])),
    ];
    let mut at = seq + 1;
    for part in hello.chunks(1400) {
        frames.push((true, tcp(tuple, true, flag::ACK | flag::PSH, at, ack + 1, part)));
        at += part.len() as u32;
    }
    // The beginning of a ServerHello.
    let answer = [22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3];
    frames.push((false, tcp(tuple, false, flag::ACK | flag::PSH, ack + 1, at, &answer)));
    frames
}

fn ports(tuple: &Tuple, up: bool) -> (u16, u16) {
    let (client, server) = (tuple.client_port, tuple.server_port);
    if up { (client, server) } else { (server, client) }
}

fn frame(tuple: &Tuple, up: bool, proto: u8, sum_at: usize, mut l4: Vec<u8>) -> Vec<u8> {
    let (src, dst) = if up { (tuple.client, tuple.server) } else { (tuple.server, tuple.client) };
    let (near, far) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut out = if up { [far, near] } else { [near, far] }.concat();
    let addresses: Vec<u8> = match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => [s.octets(), d.octets()].concat(),
        (s, d) => [s, d].into_iter().flat_map(|a| v6(a).octets()).collect(),
    };
    let pseudo = [&addresses[..], &[0, proto], &(l4.len() as u16).to_be_bytes()].concat();
    let sum = checksum_of([&pseudo, &l4], 0);
    l4[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    if src.is_ipv4() {
        out.extend([8, 0]);
        let mut ip = vec![0x45, 0];
        ip.extend(((20 + l4.len()) as u16).to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, proto, 0, 0]);
        ip.extend(&addresses);
        let sum = checksum_of([&ip], 0);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        out.extend(ip);
    } else {
        out.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        out.extend((l4.len() as u16).to_be_bytes());
        out.extend([proto, 64]);
        out.extend(&addresses);
    }
    out.extend(l4);
    out.resize(out.len().max(MIN_FRAME), 0);
    out
}

fn v6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassgate_dataplane::parse::{ParseOptions, Parsed, l4_checksum_ok, parse};
    use glassgate_dataplane::port::Link;

    #[test]
    fn frames_are_what_endpoints_accept() {
        let options = ParseOptions::default();
        for tuple in [Tuple::v4(70_000), Tuple::v6(70_000)] {
            for up in [true, false] {
                for frame in [tcp(&tuple, up, flag::ACK, 7, 8, b"abc"), udp(&tuple, up, b"abcd")] {
                    let Parsed::Packet(packet) = parse(&frame, frame.len(), Link::Ethernet, &options) else {
                        panic!("{frame:02x?}");
                    };
                    assert!(l4_checksum_ok(&packet, &frame, &options));
                    let src = if up { tuple.client } else { tuple.server };
                    assert_eq!(packet.src.ip(), src);
                    assert!(packet.payload(&frame).starts_with(b"abc"));
                }
            }
        }
    }
}
