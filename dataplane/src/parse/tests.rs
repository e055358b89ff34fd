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

#[test]
fn pppoe_mpls_llc() {
    let ip = ip4(17, &udp(b"q"));
    let pppoe = |number: &[u8], ip: &[u8]| {
        eth(0x8864, &cat(&[&[0x11, 0, 0, 9], &be(number.len() + ip.len()), number, ip, &[0xee; 4]]))
    };
    let label = |bottom: u8| [0, 1, bottom, 64];
    let pseudo_wire = |word: &[u8]| eth(0x8847, &cat(&[&label(1), word, &eth(0x0800, &ip)]));
    for (name, frame) in [
        ("pppoe", pppoe(&[0, 0x21], &ip)),
        ("pppoe, compressed", pppoe(&[0x21], &ip)),
        ("pppoe, ipv6", pppoe(&[0, 0x57], &ip6(17, &udp(b"q")))),
        ("qinq, pppoe", {
            let inner = vlan(3, 0x8864, &pppoe(&[0, 0x21], &ip)[14..]);
            eth(0x88a8, &vlan(2, 0x8100, &inner))
        }),
        ("mpls", eth(0x8847, &cat(&[&label(0), &label(0), &label(1), &ip]))),
        ("mpls, ipv6", eth(0x8848, &cat(&[&label(1), &ip6(17, &udp(b"q"))]))),
        ("pseudo-wire", pseudo_wire(&[])),
        ("pseudo-wire with control word", pseudo_wire(&[0; 4])),
        ("snap", {
            let snap = cat(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ip]);
            eth(snap.len() as u16, &cat(&[&snap, &[0xee; 9]]))
        }),
        ("sap", eth((3 + ip.len()) as u16, &cat(&[&[6, 6, 3], &ip]))),
        ("provider backbone", eth(0x88e7, &cat(&[&[0, 0, 0, 1], &eth(0x0800, &ip)]))),
    ] {
        let p = packet(&frame);
        assert_eq!((p.payload(&frame), p.tunnelled), (&b"q"[..], false), "{name}");
    }
    for (frame, kind) in [
        (eth(0x0806, &[0; 28]), OpaqueKind::Arp),
        (eth(0x88cc, &[0; 28]), OpaqueKind::EtherType),
        (eth(38, &[0x42; 46]), OpaqueKind::Llc),
        (eth(0x8863, &[0x11, 9, 0, 0, 0, 0]), OpaqueKind::EtherType),
        (pppoe(&[0xc0, 0x21], &[1, 1, 0, 4]), OpaqueKind::Ppp),
        (eth(0x8864, &[0x11, 0, 0]), OpaqueKind::Runt),
        (eth(0x0800, &ip4(1, &[8; 8])), OpaqueKind::Icmp),
        (eth(0x86dd, &ip6(58, &[128; 8])), OpaqueKind::Icmpv6),
        (eth(0x0800, &ip4(132, &[8; 12])), OpaqueKind::IpProtocol),
        (eth(0x86dd, &ip6(59, &[])), OpaqueKind::IpProtocol),
        (eth(0x8847, &[0, 1, 0, 1].repeat(70)), OpaqueKind::TooDeep),
    ] {
        assert_eq!(opaque_kind(read(&frame, &DEEP)), kind);
    }
}

/// The chain of extension headers: what endpoints accept, what they discard, and where the walk ends.
#[test]
fn ipv6_extension_headers() {
    let ext = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let chain = |n: usize| {
        let mut rest = tcp(b"x");
        for i in 0..n {
            rest = cat(&[&ext(if i == 0 { 6 } else { 60 }), &rest]);
        }
        eth(0x86dd, &ip6(60, &rest))
    };
    let malformed = Parsed::Malformed(Reason::MalformedL3);
    for n in [1, 8] {
        let p = packet(&chain(n));
        assert_eq!((p.payload(&chain(n)), p.end_reason()), (&b"x"[..], None));
    }
    assert_eq!(packet(&chain(9)).end_reason(), Some(Reason::ExthdrCap));
    assert_eq!(opaque_kind(read(&chain(200), &LIVE)), OpaqueKind::TooDeep);
    let behind = |first: u8, header: &[u8]| eth(0x86dd, &ip6(first, &cat(&[header, &tcp(b"x")])));
    for (name, frame, want) in [
        ("hop-by-hop", behind(0, &ext(6)), true),
        ("two hop-by-hop", behind(0, &cat(&[&ext(0), &ext(6)])), false),
        ("hop-by-hop behind another", behind(60, &cat(&[&ext(0), &ext(6)])), false),
        ("unknown option, skipped", behind(60, &[6, 0, 0x1e, 4, 0, 0, 0, 0]), true),
        ("unknown option, discarded", behind(60, &[6, 0, 0x5e, 4, 0, 0, 0, 0]), false),
        ("option beyond its header", behind(60, &[6, 0, 1, 5, 0, 0, 0, 0]), false),
        ("routing, nothing left", behind(43, &[6, 0, 0, 0, 0, 0, 0, 0]), true),
        ("routing type 0, a segment left", behind(43, &[6, 0, 0, 1, 0, 0, 0, 0]), false),
        ("segment routing", behind(43, &[6, 0, 4, 1, 0, 0, 0, 0]), true),
        ("atomic fragment", behind(44, &[6, 0, 0, 0, 0, 0, 0, 9]), true),
        ("authentication", behind(51, &[6, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9]), true),
        ("header beyond the packet", behind(60, &[6, 200, 1, 4, 0, 0, 0, 0]), false),
    ] {
        match read(&frame, &LIVE) {
            Parsed::Packet(p) => assert!(want && p.payload(&frame) == b"x", "{name}"),
            other => assert!(!want && other == malformed, "{name}: {other:?}"),
        }
    }
    let ah = [6, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9];
    let frame = eth(0x0800, &ip4(51, &cat(&[&ah, &tcp(b"x")])));
    assert_eq!(packet(&frame).payload(&frame), b"x", "authentication header in IPv4");
}

#[test]
fn fragments() {
    let fragment = |frame: &[u8]| match read(frame, &LIVE) {
        Parsed::Fragment(f) => f,
        other => panic!("{other:?}"),
    };
    let v4 = eth(0x0800, &ip4_with(&[], 17, 0x2000 | 3, &[7; 21]));
    let f = fragment(&v4);
    assert_eq!((f.offset, f.more, f.id, f.proto, f.v6), (24, true, 7, 17, false));
    assert_eq!(f.payload(&v4), [7; 16], "cut to a multiple of 8, as hosts do");
    let last = eth(0x0800, &ip4_with(&[], 17, 3, &[7; 21]));
    assert_eq!((fragment(&last).more, fragment(&last).payload_len), (false, 21));
    let header = [17, 0, 0, 25, 1, 2, 3, 4];
    let v6 = eth(0x86dd, &ip6(44, &cat(&[&header, &[7; 16]])));
    let f = fragment(&v6);
    assert_eq!((f.offset, f.more, f.id, f.proto, f.v6), (24, true, 0x0102_0304, 17, true));
    assert_eq!(f.payload(&v6), [7; 16]);
    for bad in [
        eth(0x0800, &ip4_with(&[], 17, 0x1fff, &[7; 16])),
        eth(0x0800, &ip4_with(&[], 17, 0x2000, &[7; 7])),
        eth(0x0800, &ip4_with(&[], 17, 3, &[])),
        eth(0x86dd, &ip6(44, &cat(&[&header, &[7; 15]]))),
        eth(0x86dd, &ip6(44, &header[..7])),
    ] {
        assert_eq!(read(&bad, &LIVE), Parsed::Malformed(Reason::MalformedL3));
    }
}

#[test]
fn tunnels_without_ports() {
    let ip = ip4(17, &udp(b"in"));
    let over = |proto: u8, rest: &[u8]| eth(0x0800, &ip4(proto, rest));
    let gre = |flags: [u8; 2], kind: u16, rest: &[u8]| over(47, &cat(&[&flags, &kind.to_be_bytes(), rest]));
    for (kind, frame) in [
        (TunnelKind::IpIp, over(4, &ip)),
        (TunnelKind::SixIn4, over(41, &ip6(17, &udp(b"in")))),
        (TunnelKind::IpIp, eth(0x86dd, &ip6(4, &ip))),
        (TunnelKind::EtherIp, over(97, &cat(&[&[0x30, 0], &eth(0x0800, &ip)]))),
        (TunnelKind::MplsInIp, over(137, &cat(&[&[0, 1, 1, 9], &ip]))),
        (TunnelKind::Gre, gre([0, 0], 0x0800, &ip)),
        (TunnelKind::Gre, gre([0xb0, 0], 0x0800, &cat(&[&[9; 12], &ip]))),
        (TunnelKind::Gre, gre([0x40, 0], 0x0800, &cat(&[&[0; 4], &[0, 1, 0, 2, 9, 9], &[0; 4], &ip]))),
        (TunnelKind::Gre, gre([0, 0], 0x6558, &eth(0x0800, &ip))),
        (TunnelKind::Gre, gre([0x20, 0], 0x6558, &cat(&[&[9; 4], &eth(0x8100, &vlan(4, 0x0800, &ip))]))),
        (TunnelKind::Gre, gre([0, 0], 0x883e, &cat(&[&[0; 4], &ip]))),
        (TunnelKind::Erspan, gre([0, 0], 0x88be, &eth(0x0800, &ip))),
        (TunnelKind::Erspan, gre([0x10, 0], 0x88be, &cat(&[&[9; 4], &[0x10; 8], &eth(0x0800, &ip)]))),
        (TunnelKind::Erspan, gre([0x10, 0], 0x22eb, &cat(&[&[9; 4], &[0x20; 12], &eth(0x0800, &ip)]))),
        (TunnelKind::Erspan, gre([0x10, 0], 0x22eb, &cat(&[&[9; 4], &[0x21; 20], &eth(0x0800, &ip)]))),
        (TunnelKind::Pptp, {
            let ppp = cat(&[&[0xff, 3, 0, 0x21], &ip]);
            gre([0x30, 0x81], 0x880b, &cat(&[&be(ppp.len()), &[0, 1], &[9; 8], &ppp, &[0xee; 3]]))
        }),
    ] {
        assert_eq!(read(&frame, &LIVE), Parsed::Tunnel(kind));
        assert_eq!(inner(&frame), b"in", "{kind:?}");
    }
    assert_eq!(read(&over(50, &[9; 40]), &DEEP), Parsed::Tunnel(TunnelKind::Esp));
    assert_eq!(read(&over(115, &[9; 40]), &DEEP), Parsed::Tunnel(TunnelKind::L2tpv3));
}

#[test]
fn tunnels_over_udp() {
    let ip = ip4(6, &tcp(b"in"));
    let over = |port: u16, rest: &[&[u8]]| eth(0x0800, &ip4(17, &udp_to(port, &cat(rest))));
    let gtp = |flags: u8, rest: &[u8]| over(2152, &[&[flags, 255], &be(rest.len()), &[0, 0, 0, 1], rest]);
    let wifi = cat(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ip]);
    let teredo = ip6(6, &tcp(b"in"));
    let mut named = teredo.clone();
    named[10..12].fill(0);
    for (kind, frame) in [
        (TunnelKind::Vxlan, over(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0], &eth(0x0800, &ip)])),
        (TunnelKind::Vxlan, over(8472, &[&[0x88, 0, 0, 7, 0, 0, 1, 0], &eth(0x0800, &ip)])),
        (TunnelKind::Vxlan, over(4790, &[&[0x0c, 0, 0, 1, 0, 0, 1, 0], &ip])),
        (TunnelKind::Geneve, over(6081, &[&[1, 0, 0x65, 0x58, 0, 0, 1, 0], &[9; 4], &eth(0x0800, &ip)])),
        (TunnelKind::Geneve, over(6081, &[&[0, 0, 8, 0, 0, 0, 1, 0], &ip])),
        (TunnelKind::GtpU, gtp(0x30, &ip)),
        (TunnelKind::GtpU, gtp(0x32, &cat(&[&[0, 1, 0, 0], &ip]))),
        (TunnelKind::GtpU, gtp(0x34, &cat(&[&[0, 0, 0, 0x85], &[1, 9, 9, 0x85], &[1, 9, 9, 0], &ip]))),
        (TunnelKind::L2tp, over(1701, &[&[0, 2, 0, 1, 0, 1], &[0xff, 3, 0, 0x21], &ip])),
        (TunnelKind::L2tp, {
            let rest = cat(&[&[0, 1, 0, 1, 0, 0, 0, 0, 0, 2, 9, 9, 0x21], &ip]);
            over(1701, &[&[0x4a, 2], &be(rest.len() + 4), &rest])
        }),
        (TunnelKind::Capwap, over(5247, &[&[0, 0x10, 2, 0, 0, 0, 0, 0], &eth(0x0800, &ip)])),
        (TunnelKind::Capwap, over(5247, &[&[0, 0x10, 3, 1, 0, 0, 0, 0], &[8, 1], &[0; 22], &wifi])),
        (TunnelKind::Capwap, over(5247, &[&[0, 0x10, 3, 1, 0, 0, 0, 0], &[1, 8], &[0; 22], &wifi])),
        (TunnelKind::Teredo, over(3544, &[&teredo])),
        (TunnelKind::Teredo, over(3544, &[&[0, 1, 0, 0], &[9; 9], &[0, 0, 9, 9, 9, 9, 9, 9], &teredo])),
        (TunnelKind::Teredo, over(40000, &[&named])),
        (TunnelKind::Ayiya, over(5072, &[&[0x41, 0x52, 0x11, 41, 0, 0, 0, 0], &[9; 16 + 20], &teredo])),
        (TunnelKind::Lisp, over(4341, &[&[0xc0, 0, 0, 0, 0, 0, 0, 1], &ip])),
        (TunnelKind::Gre, over(4754, &[&[0, 0, 8, 0], &ip])),
        (TunnelKind::MplsInIp, over(6635, &[&[0, 1, 1, 9], &ip])),
        (TunnelKind::Tzsp, over(37008, &[&[1, 0, 0, 1, 10, 2, 9, 9, 0, 1], &eth(0x0800, &ip)])),
    ] {
        let p = packet(&frame);
        assert_eq!((p.tunnel, p.end_reason(), p.tunnelled), (Some(kind), Some(Reason::Tunnel), false));
        assert_eq!(inner(&frame), b"in", "{kind:?}");
    }
    // Depth is counted, and what stands too deep leaves the flow of its carrier.
    let one = over(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0], &eth(0x0800, &ip)]);
    let two = over(4789, &[&[8, 0, 0, 0, 0, 0, 2, 0], &one]);
    let p = packet_of(read(&two, &ParseOptions::ONE_TUNNEL));
    assert_eq!((p.tunnel, p.tunnelled), (Some(TunnelKind::Vxlan), true));
    assert_eq!(inner(&two), b"in");
    // What only has the port, or holds no packet, stays a flow like any other.
    for frame in
        [over(4789, &[b"a question of some length"]), over(3544, &[b"x"]), over(2152, &[&[0x32, 1, 0, 0]])]
    {
        assert_eq!(packet_of(read(&frame, &DEEP)).tunnel, None);
    }
    let arp = over(4789, &[&[8, 0, 0, 0, 0, 0, 1, 0], &eth(0x0806, &[0; 28])]);
    let p = packet_of(read(&arp, &DEEP));
    assert_eq!((p.dst_port, p.tunnel, p.tunnelled), (4789, Some(TunnelKind::Vxlan), false));
}

#[test]
fn links() {
    let ip = ip4(17, &udp(b"q"));
    let v6 = ip6(17, &udp(b"q"));
    let snap = cat(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ip]);
    let data = |control: [u8; 2], rest: &[u8]| cat(&[&control, &[0; 22], rest]);
    let attributes = cat(&[
        &[8, 0, 1, 0, 8, 0, 0, 0],
        &[5, 0, 10, 0, 0, 0, 0, 0],
        &((ip.len() + 4) as u16).to_le_bytes(),
        &[9, 0],
        &ip,
    ]);
    let big = cat(&[&[0, 8, 0, 1, 8, 0, 0, 0], &be(ip.len() + 4), &[0, 9], &ip]);
    let netlink = cat(&[
        &[0, 4, 3, 56, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12],
        &((20 + attributes.len()) as u32).to_le_bytes(),
        &[0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0],
        &attributes,
    ]);
    for (link, frame) in [
        (Link::RawIp, ip.clone()),
        (Link::RawIp, v6.clone()),
        (Link::Null, cat(&[&[2, 0, 0, 0], &ip])),
        (Link::Null, cat(&[&[0, 0, 0, 2], &ip])),
        (Link::Null, cat(&[&[30, 0, 0, 0], &v6])),
        (Link::Sll, cat(&[&[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], &ip])),
        (Link::Sll, cat(&[&[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4], &snap])),
        (Link::Sll, netlink.clone()),
        (Link::Sll2, cat(&[&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6], &[0; 8], &ip])),
        (Link::Ppp, cat(&[&[0xff, 3, 0, 0x21], &ip])),
        (Link::Ppp, cat(&[&[0x57], &v6])),
        (Link::Pppoe, cat(&[&[0x11, 0, 0, 1], &be(ip.len() + 2), &[0, 0x21], &ip])),
        (Link::Chdlc, cat(&[&[0x0f, 0, 8, 0], &ip])),
        (Link::Ieee80211, data([0x08, 0x01], &snap)),
        (Link::Ieee80211, data([0x88, 0x02], &cat(&[&[0, 0], &snap]))),
        (Link::Ieee80211, data([0x88, 0x03], &cat(&[&[9; 6], &[0, 0], &snap]))),
        (Link::Ieee80211, data([0x88, 0x82], &cat(&[&[0, 0], &[9; 4], &snap]))),
        (Link::Ieee80211, data([0x88, 0x02], &cat(&[&[0, 0], &[0, 0], &snap]))),
        (Link::Ieee80211, data([0x88, 0x02], &cat(&[&[0x80, 0], &[9; 14], &snap]))),
        (Link::Ieee80211, data([0x08, 0x41], &cat(&[&[9; 8], &snap]))),
        (Link::Ieee80211Radiotap, cat(&[&[0, 0, 10, 0], &[9; 6], &data([0x08, 0x01], &snap)])),
        (Link::Ieee80211Radiotap, cat(&[&[0x44, 0, 0, 0, 16, 0, 0, 0], &[9; 8], &data([8, 1], &snap)])),
        (Link::Ieee80211Radiotap, cat(&[&[0x80, 0x21, 0x10, 1, 0, 0, 0, 12], &[9; 4], &data([8, 1], &snap)])),
        (Link::Ppi, cat(&[&[0, 0, 12, 0, 105, 0, 0, 0], &[9; 4], &data([8, 1], &snap)])),
        (Link::Nflog, cat(&[&[2, 0, 0, 0], &attributes])),
        (Link::Nflog, cat(&[&[2, 0, 0, 0], &big])),
        (Link::Netlink, netlink),
    ] {
        let p = packet_of(parse(&frame, frame.len(), link, &LIVE));
        assert_eq!(p.payload(&frame), b"q", "{link:?}");
    }
    for (link, frame, kind) in [
        (Link::Other(147), ip.clone(), OpaqueKind::Link),
        (Link::Null, cat(&[&[99, 0, 0, 0], &ip]), OpaqueKind::Link),
        (Link::Ieee80211, data([0x80, 0], &[9; 30]), OpaqueKind::Ieee80211),
        (Link::Ieee80211, data([0x48, 1], &[]), OpaqueKind::Ieee80211),
        (Link::Ieee80211, data([0x08, 0x41], &[9; 60]), OpaqueKind::Ieee80211),
        (Link::Nflog, cat(&[&[2, 0, 0, 0], &[0; 8]]), OpaqueKind::Link),
    ] {
        assert_eq!(opaque_kind(parse(&frame, frame.len(), link, &LIVE)), kind);
    }
    for number in 0..400 {
        let link = Link::from_linktype(number);
        assert_eq!(Link::from_linktype(link.linktype()), link);
    }
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    struct Keep<'a>(&'a mut Option<Packet>);

    impl Take for Keep<'_> {
        #[inline(always)]
        fn take(self, packet: &Packet) {
            *self.0 = Some(*packet);
        }
    }

    /// Everything that offsets may be used for stays inside of the frame, and both ways read the same.
    fn check(bytes: &[u8], wire_len: usize, link: Link) {
        let mut plain = None;
        if plain_ethernet(bytes, link, Keep(&mut plain)) || plain_tagged(bytes, link, Keep(&mut plain)) {
            assert_eq!(plain.map(Parsed::Packet), Some(general(bytes, wire_len, link, &LIVE)));
        }
        assert_eq!(plain.is_some(), link == Link::Ethernet && super::plain(bytes).is_some());
        for options in [LIVE, ParseOptions::ONE_TUNNEL, DEEP, CAPTURE] {
            match parse(bytes, wire_len, link, &options) {
                Parsed::Packet(p) => {
                    assert_eq!(p.payload(bytes).len(), p.payload_len as usize);
                    assert!(p.payload_len <= p.payload_wire_len && p.l4_at < p.payload_at);
                    assert_eq!(p.tunnelled, p.tunnelled && options.tunnel_depth > 0);
                    l4_checksum(&p, bytes);
                    ipv4_header_ok(bytes, p.l3_at, &options);
                    p.tcp(bytes);
                }
                Parsed::Fragment(f) => {
                    assert_eq!(f.payload(bytes).len(), f.payload_len as usize);
                    assert!(f.payload_len <= f.payload_wire_len);
                    assert!(f.offset + f.payload_wire_len <= 65_535);
                    first_part(f.payload(bytes), &f, &options);
                    parse_reassembled(f.payload(bytes), f.payload_wire_len as usize, &f, &options);
                }
                Parsed::Opaque(_) | Parsed::Tunnel(_) | Parsed::Malformed(_) => {}
            }
        }
    }

    /// Frames that reach every header, to be damaged.
    fn seeds() -> Vec<Vec<u8>> {
        let ip = ip4(17, &udp(b"question"));
        let v6 = ip6(6, &tcp_with(&[8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1], b"hello"));
        let vxlan = |rest: &[u8]| ip4(17, &udp_to(4789, &cat(&[&[8, 0, 0, 0, 0, 0, 1, 0], rest])));
        vec![
            eth(0x0800, &ip),
            eth(0x0800, &ip4(6, &tcp(b"GET /"))),
            eth(0x86dd, &v6),
            eth(0x8100, &vlan(7, 0x0800, &ip)),
            eth(0x8100, &vlan(1, 0x8100, &vlan(2, 0x86dd, &v6))),
            eth(0x8864, &cat(&[&[0x11, 0, 0, 1], &be(ip.len() + 2), &[0, 0x21], &ip])),
            eth(0x8847, &cat(&[&[0, 1, 0, 9], &[0, 1, 1, 9], &v6])),
            eth(
                0x86dd,
                &ip6(
                    0,
                    &cat(&[
                        &[60, 0, 1, 4, 0, 0, 0, 0],
                        &[44, 0, 1, 4, 0, 0, 0, 0],
                        &[6, 0, 0, 1, 0, 0, 0, 9],
                        &tcp(&[7; 12]),
                    ]),
                ),
            ),
            eth(0x0800, &ip4(47, &cat(&[&[0xb0, 0, 0x65, 0x58], &[9; 12], &eth(0x0800, &ip)]))),
            eth(0x0800, &vxlan(&eth(0x0800, &vxlan(&eth(0x86dd, &v6))))),
            eth(
                0x0800,
                &ip4(
                    17,
                    &udp_to(2152, &cat(&[&[0x34, 255, 0, 48, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 9, 9, 0], &ip])),
                ),
            ),
            eth(
                0x0800,
                &ip4(17, &udp_to(6081, &cat(&[&[2, 0, 0x65, 0x58, 0, 0, 1, 0], &[9; 8], &eth(0x0800, &ip)]))),
            ),
            eth(
                0x0800,
                &ip4(
                    17,
                    &udp_to(
                        5247,
                        &cat(&[
                            &[0, 0x10, 3, 1, 0, 0, 0, 0, 0x88, 0x43],
                            &[0; 24],
                            &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0],
                            &ip,
                        ]),
                    ),
                ),
            ),
            eth(
                0x0800,
                &ip4(17, &udp_to(1701, &cat(&[&[0x0a, 2, 0, 1, 0, 1, 0, 0, 0, 0, 0, 2, 9, 9, 0x21], &ip]))),
            ),
            eth(
                0x0800,
                &ip4(17, &udp_to(37008, &cat(&[&[1, 0, 0, 1, 10, 2, 9, 9, 0, 1], &eth(0x0800, &ip)]))),
            ),
        ]
    }

    fn link() -> impl Strategy<Value = Link> {
        (0u16..300).prop_map(Link::from_linktype)
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), extra in 0usize..100, link in link()) {
            check(&bytes, bytes.len() + extra, link);
        }

        #[test]
        fn damaged_frames(
            seed in 0..seeds().len(),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<proptest::sample::Index>(),
            lost in any::<bool>(),
        ) {
            let mut frame = seeds().swap_remove(seed);
            for (at, value) in damage {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            let whole = frame.len();
            check(&frame, whole, Link::Ethernet);
            frame.truncate(cut.index(whole));
            check(&frame, if lost { whole } else { frame.len() }, Link::Ethernet);
        }
    }
}
