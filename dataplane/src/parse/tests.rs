//! Frames are put together from named headers, so that each test says what it is about.

use super::*;
use crate::packet::{Transport, flag};

const LIVE: ParseOptions = ParseOptions { tunnel_depth: 0, capture: false };
const DEEP: ParseOptions = ParseOptions { tunnel_depth: 8, capture: false };
const CAPTURE: ParseOptions = ParseOptions { tunnel_depth: 8, capture: true };

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const A4: [u8; 4] = [192, 0, 2, 1];
const B4: [u8; 4] = [198, 51, 100, 2];

fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn be(n: usize) -> [u8; 2] {
    (n as u16).to_be_bytes()
}

fn eth(kind: u16, rest: &[u8]) -> Vec<u8> {
    cat(&[&MACS, &kind.to_be_bytes(), rest])
}

fn vlan(id: u16, kind: u16, rest: &[u8]) -> Vec<u8> {
    cat(&[&id.to_be_bytes(), &kind.to_be_bytes(), rest])
}

/// IPv4 with its checksum. `place` is the field of flags and fragment offset.
fn ip4_with(options: &[u8], proto: u8, place: u16, rest: &[u8]) -> Vec<u8> {
    let len = 20 + options.len();
    let mut h = cat(&[
        &[0x40 | (len / 4) as u8, 0],
        &be(len + rest.len()),
        &[0, 7],
        &place.to_be_bytes(),
        &[64, proto, 0, 0],
        &A4,
        &B4,
        options,
    ]);
    let sum = !ones(&h);
    h[10..12].copy_from_slice(&sum.to_be_bytes());
    cat(&[&h, rest])
}

fn ip4(proto: u8, rest: &[u8]) -> Vec<u8> {
    ip4_with(&[], proto, 0, rest)
}

fn ip6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut a = [0; 16];
    (a[0], a[1], a[15]) = (0x20, 0x01, 1);
    let mut b = a;
    b[15] = 2;
    cat(&[&[0x60, 0, 0, 0], &be(rest.len()), &[next, 64], &a, &b, rest])
}

fn tcp_with(options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = (20 + options.len()) / 4;
    cat(&[
        &[0x30, 0x39, 0x01, 0xbb],
        &[0, 0, 0, 9, 0, 0, 0, 8],
        &[(words as u8) << 4, flag::PSH | flag::ACK, 0x20, 0, 0, 0, 0, 0],
        options,
        payload,
    ])
}

fn tcp(payload: &[u8]) -> Vec<u8> {
    tcp_with(&[], payload)
}

fn udp_to(port: u16, payload: &[u8]) -> Vec<u8> {
    cat(&[&[0x30, 0x39], &port.to_be_bytes(), &be(8 + payload.len()), &[0, 0], payload])
}

fn udp(payload: &[u8]) -> Vec<u8> {
    udp_to(53, payload)
}

fn ones(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn read(frame: &[u8], options: &ParseOptions) -> Parsed {
    parse(frame, frame.len(), Link::Ethernet, options)
}

#[track_caller]
fn packet_of(parsed: Parsed) -> Packet {
    match parsed {
        Parsed::Packet(packet) => packet,
        other => panic!("not a packet: {other:?}"),
    }
}

#[track_caller]
fn packet(frame: &[u8]) -> Packet {
    packet_of(read(frame, &LIVE))
}

/// The payload of the packet that is found with tunnels looked into.
#[track_caller]
fn inner(frame: &[u8]) -> Vec<u8> {
    let packet = packet_of(read(frame, &DEEP));
    assert!(packet.tunnelled, "{packet:?}");
    packet.payload(frame).to_vec()
}

#[track_caller]
fn opaque_kind(parsed: Parsed) -> OpaqueKind {
    match parsed {
        Parsed::Opaque(opaque) => opaque.kind,
        other => panic!("not opaque: {other:?}"),
    }
}

#[test]
fn plain_tcp() {
    let frame = eth(0x0800, &ip4(6, &tcp(b"GET /")));
    let p = packet(&frame);
    assert_eq!((p.src, p.dst), (Addr::v4(A4), Addr::v4(B4)));
    assert_eq!((p.src_port, p.dst_port, p.ttl), (12345, 443, 64));
    assert_eq!((p.l3_at, p.l4_at, p.payload_at), (14, 34, 54));
    assert_eq!(p.payload(&frame), b"GET /");
    assert_eq!(p.transport, Transport::Tcp { flags: flag::ACK | flag::PSH });
    let tcp = p.tcp(&frame).unwrap();
    assert_eq!((tcp.seq, tcp.ack, tcp.window), (9, 8, 0x2000));
    assert!(tcp.has(flag::ACK | flag::PSH) && !tcp.has(flag::SYN));
}

/// Whatever the plain way reads, the general way reads alike.
#[test]
fn the_plain_way_agrees_with_the_general_one() {
    let timestamps = [1, 1, 8, 10, 0, 0, 1, 0, 0, 0, 0, 2];
    for l4 in [
        (6, tcp(b"")),
        (6, tcp(b"abc")),
        (6, tcp_with(&timestamps, b"abc")),
        (6, tcp_with(&[2, 4, 5, 0xb4], b"")),
        (17, udp(b"")),
        (17, udp(b"query")),
    ] {
        let mut frame = eth(0x0800, &ip4(l4.0, &l4.1));
        for padding in [0, 1, 6] {
            frame.resize(frame.len() + padding, 0xee);
            let plain = plain(&frame).expect("is plain");
            let general = walk(View::new(&frame, frame.len()), Walk::new(&LIVE), link::first(Link::Ethernet));
            assert_eq!(plain, general);
            assert_eq!(read(&frame, &LIVE), general);
        }
    }
}

#[test]
fn ethernet_padding_is_never_data() {
    let mut frame = eth(0x0800, &ip4(6, &tcp(b"")));
    frame.resize(60, 0x16);
    assert_eq!(packet(&frame).payload_len, 0);
    let mut frame = eth(0x86dd, &ip6(17, &udp(b"x")));
    frame.resize(80, 0x16);
    assert_eq!(packet(&frame).payload(&frame), b"x");
}

#[test]
fn vlan_tags_up_to_three() {
    let ip = ip4(17, &udp(b"q"));
    let one = vlan(0x2005, 0x0800, &ip);
    let two = vlan(6, 0x8100, &one);
    let three = vlan(7, 0x88a8, &two);
    for (frame, ids) in
        [(eth(0x8100, &one), &[5][..]), (eth(0x88a8, &two), &[6, 5]), (eth(0x9100, &three), &[7, 6, 5])]
    {
        let p = packet(&frame);
        assert_eq!(p.vlans.ids(), ids);
        assert_eq!(p.payload(&frame), b"q");
    }
    let four = eth(0x8100, &vlan(8, 0x8100, &three));
    assert_eq!(opaque_kind(read(&four, &LIVE)), OpaqueKind::VlanCap);
}

#[test]
fn lengths_of_ipv4() {
    let mut frame = eth(0x0800, &ip4(6, &tcp(b"abcdef")));
    frame[17] -= 2;
    assert_eq!(packet(&frame).payload(&frame), b"abcd", "shorter than the frame: bounded");
    frame[17] += 3;
    assert_eq!(read(&frame, &LIVE), Parsed::Malformed(Reason::MalformedL3), "endpoints discard it");
    let cut = packet_of(read(&frame, &CAPTURE));
    assert_eq!((cut.payload(&frame), cut.payload_wire_len), (&b"abcdef"[..], 7));
    frame[17] = 0;
    assert_eq!(read(&frame, &LIVE), Parsed::Malformed(Reason::MalformedL3));
    assert_eq!(packet_of(read(&frame, &CAPTURE)).payload(&frame), b"abcdef");
    frame[17] = 19;
    assert_eq!(read(&frame, &CAPTURE), Parsed::Malformed(Reason::MalformedL3));
}

#[test]
fn a_cut_frame_keeps_its_wire_length() {
    let frame = eth(0x0800, &ip4(6, &tcp(&[7; 100])));
    let p = packet_of(parse(&frame[..60], frame.len(), Link::Ethernet, &LIVE));
    assert_eq!((p.payload_len, p.payload_wire_len), (6, 100));
    let cut = parse(&frame[..50], frame.len(), Link::Ethernet, &LIVE);
    assert_eq!(opaque_kind(cut), OpaqueKind::Cut);
}

#[test]
fn bad_headers() {
    let good = eth(0x0800, &ip4(6, &tcp(b"")));
    for (at, value, reason) in [
        (14, 0x44, Reason::MalformedL3),
        (14, 0x55, Reason::MalformedL3),
        (14, 0x4f, Reason::MalformedL3),
        (46, 0x40, Reason::MalformedL4),
        (46, 0xf0, Reason::MalformedL4),
    ] {
        let mut frame = good.clone();
        frame[at] = value;
        assert_eq!(read(&frame, &LIVE), Parsed::Malformed(reason), "byte {at} = {value:#x}");
    }
    let mut frame = eth(0x0800, &ip4(17, &udp(b"abc")));
    for (len, want) in [(7, None), (12, None), (0, None), (10, Some(&b"ab"[..]))] {
        frame[39] = len;
        match want {
            None => assert_eq!(read(&frame, &LIVE), Parsed::Malformed(Reason::MalformedL4), "{len}"),
            Some(payload) => assert_eq!(packet(&frame).payload(&frame), payload),
        }
    }
    let mut frame = eth(0x86dd, &ip6(17, &udp(b"abc")));
    frame[59] = 0;
    assert_eq!(packet(&frame).payload(&frame), b"abc", "0 is the rest in IPv6");
    assert_eq!(opaque_kind(read(&MACS, &LIVE)), OpaqueKind::Runt);
}

#[test]
fn tcp_options() {
    for (options, ts_val, md5) in [
        (vec![8, 10, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0], Some(256), false),
        (vec![1, 1, 8, 10, 0, 0, 1, 0, 0, 0, 0, 2], Some(256), false),
        (cat(&[&[19, 18], &[0; 16], &[1, 1]]), None, true),
        // A length that can't be walked ends the list; the segment stays.
        (vec![3, 1, 8, 10, 0, 0, 1, 0, 0, 0, 0, 2], None, false),
        (vec![8, 200, 0, 0], None, false),
        (vec![28, 4, 0xff, 0xff], None, false),
        (vec![1, 1, 1, 8], None, false),
    ] {
        let frame = eth(0x0800, &ip4(6, &tcp_with(&options, b"data")));
        let p = packet(&frame);
        let tcp = p.tcp(&frame).unwrap();
        assert_eq!((tcp.ts_val, tcp.md5), (ts_val, md5), "{options:?}");
        assert_eq!(p.payload(&frame), b"data");
    }
}

#[test]
fn ipv4_options() {
    for (options, good) in [
        (vec![1; 40], true),
        (vec![7, 4, 4, 0], true),
        (vec![148, 4, 0, 0], true),
        (vec![0, 99, 99, 99], true),
        (vec![7, 1, 4, 0], false),
        (vec![7, 5, 4, 0], false),
        (vec![1, 1, 1, 7], false),
    ] {
        let frame = eth(0x0800, &ip4_with(&options, 6, 0, &tcp(b"x")));
        match read(&frame, &LIVE) {
            Parsed::Packet(p) => assert!(good && p.payload(&frame) == b"x", "{options:?}"),
            other => assert!(!good && other == Parsed::Malformed(Reason::MalformedL3), "{options:?}"),
        }
    }
}

/// Fills in the transport checksum of a frame whose transport header begins at `l4`.
fn with_sum(mut frame: Vec<u8>, l4: usize, field: usize) -> Vec<u8> {
    let p = packet(&frame);
    let number = if field == 16 { 6u8 } else { 17 };
    let addresses: Vec<u8> = match (p.src.ip(), p.dst.ip()) {
        (std::net::IpAddr::V4(a), std::net::IpAddr::V4(b)) => [a.octets(), b.octets()].concat(),
        (std::net::IpAddr::V6(a), std::net::IpAddr::V6(b)) => [a.octets(), b.octets()].concat(),
        mixed => panic!("{mixed:?}"),
    };
    let len = p.payload_at as usize + p.payload_len as usize - l4;
    let pseudo = cat(&[&addresses, &[0, number], &be(len), &frame[l4..l4 + len]]);
    let sum = !ones(&pseudo);
    frame[l4 + field..l4 + field + 2].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn checksums() {
    let mut padded = with_sum(eth(0x0800, &ip4(6, &tcp(b"odd"))), 34, 16);
    padded.resize(70, 0xaa);
    for good in [
        padded,
        with_sum(eth(0x0800, &ip4(17, &udp(b"even"))), 34, 6),
        with_sum(eth(0x86dd, &ip6(6, &tcp(b"abc"))), 54, 16),
        with_sum(eth(0x86dd, &ip6(17, &udp(b""))), 54, 6),
    ] {
        let p = packet(&good);
        assert_eq!(l4_checksum(&p, &good), Checksum::Good);
        assert!(ipv4_header_ok(&good, p.l3_at, &LIVE));
        for at in [p.l3_at + 15, p.l4_at, p.l4_at + 5] {
            let mut bad = good.clone();
            bad[at as usize] ^= 0x10;
            let Parsed::Packet(p) = read(&bad, &LIVE) else { continue };
            assert_eq!(l4_checksum(&p, &bad), Checksum::Bad, "byte {at}");
            assert!(!l4_checksum_ok(&p, &bad, &LIVE) && !l4_checksum_ok(&p, &bad, &CAPTURE));
            assert_eq!(ipv4_header_ok(&bad, p.l3_at, &LIVE), !p.src.is_v4() || at >= p.l4_at);
        }
        let cut = Packet { payload_wire_len: p.payload_wire_len + 100, ..p };
        assert_eq!(l4_checksum(&cut, &good), Checksum::Unknown);
    }
    let none = eth(0x0800, &ip4(17, &udp(b"x")));
    assert_eq!(l4_checksum(&packet(&none), &none), Checksum::Absent);
    let none = eth(0x86dd, &ip6(17, &udp(b"x")));
    assert_eq!(l4_checksum(&packet(&none), &none), Checksum::Bad, "IPv6 requires one");
    // What a sending host leaves to its NIC: the pseudo header's sum, not inverted.
    let mut partial = eth(0x0800, &ip4(6, &tcp(b"x")));
    let sum = ones(&cat(&[&A4, &B4, &[0, 6, 0, 21]]));
    partial[50..52].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(l4_checksum(&packet(&partial), &partial), Checksum::Partial);
    assert!(l4_checksum_ok(&packet(&partial), &partial, &CAPTURE));
    assert!(!l4_checksum_ok(&packet(&partial), &partial, &LIVE));
    let mut blank = partial;
    blank[24..26].fill(0);
    assert!(ipv4_header_ok(&blank, 14, &CAPTURE) && !ipv4_header_ok(&blank, 14, &LIVE));
}
