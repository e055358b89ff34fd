//! What is read from QUIC datagrams: published vectors, real clients, and every way to split, reorder, repeat, decorate and spoil an
//! Initial.

#![cfg(not(miri))] // ring is assembly

#[path = "support/hello.rs"]
mod hello;
#[path = "support/quic.rs"]
mod quic;
#[path = "support/random.rs"]
mod random;

use glassgate_dataplane::assembler::{Assembler, Ranges};
use glassgate_dataplane::inspect::ja4::{Ja4, Transport};
use glassgate_dataplane::inspect::quic::{Scratch, State, datagram};
use glassgate_dataplane::inspect::tls::{self, ClientHello, Framing};
use glassgate_dataplane::probe::Probe;
use glassgate_policy::Reason;
use hello::Hello;
use proptest::prelude::*;
use quic::{DRAFT_29, Initial, V1, V2, chaos, crypto, hex, negotiation, retry, sealed, varint};
use random::Random;

const NAME: &str = "www.example.com";

/// One flow, as the caller of the inspector keeps it.
struct Flow {
    state: State,
    ranges: Ranges,
    buf: Vec<u8>,
    scratch: Box<Scratch>,
}

impl Flow {
    fn new() -> Self {
        Self {
            state: State::default(),
            ranges: Ranges::default(),
            buf: vec![0; 16 * 1024],
            scratch: Box::default(),
        }
    }

    fn see(&mut self, payload: &[u8], from_client: Option<bool>) -> Probe<ClientHello> {
        let mut crypto = Assembler::new(&mut self.buf, &mut self.ranges);
        datagram(payload, from_client, &mut self.state, &mut crypto, &mut self.scratch)
    }

    fn client(&mut self, payload: &[u8]) -> Probe<ClientHello> {
        self.see(payload, Some(true))
    }

    fn server(&mut self, payload: &[u8]) -> Probe<ClientHello> {
        self.see(payload, Some(false))
    }

    /// The name after the last of these, all but the last leaving it open.
    #[track_caller]
    fn named(&mut self, datagrams: &[Vec<u8>]) -> String {
        let (last, others) = datagrams.split_last().unwrap();
        for (i, other) in others.iter().enumerate() {
            assert!(matches!(self.client(other), Probe::NeedMore(_)), "datagram {i} of {}", datagrams.len());
        }
        name(self.client(last))
    }
}

#[track_caller]
fn name(answer: Probe<ClientHello>) -> String {
    match answer {
        Probe::Done(hello) => hello.name().unwrap().to_string(),
        other => panic!("{other:?}"),
    }
}

fn one(frames: &[u8]) -> Vec<u8> {
    Initial::default().datagram(frames)
}

fn small() -> Vec<u8> {
    Hello::named(NAME).message()
}

fn large() -> Vec<u8> {
    Hello::named(NAME).post_quantum().padded_to(1800).message()
}

fn samples(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let [h, l, more @ ..] = rest {
        let (datagram, more) = more.split_at(usize::from(u16::from_be_bytes([*h, *l])));
        out.push(datagram.to_vec());
        rest = more;
    }
    out
}

/// RFC 9001 appendix A.2: the CRYPTO frame of the example.
const RFC_CRYPTO: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c\
    00000413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d001700180010000700050461\
    6c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b\
    0003020304000d0010000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ff\
    ff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff";

#[test]
fn example_of_rfc_9001() {
    let initial = Initial { pn: 2, ..Initial::default() };
    let packet = initial.datagram(&hex(&RFC_CRYPTO.replace(' ', "")));
    // What the appendix prints: the packet begins and ends so.
    assert_eq!(packet[..34], hex("c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242")[..]);
    assert_eq!(packet[packet.len() - 16..], hex("e221af44860018ab0856972e194cd934")[..]);
    let mut flow = Flow::new();
    assert_eq!(name(flow.client(&packet)), "example.com");
    assert_eq!(flow.state.version(), V1);
}

#[test]
fn example_of_rfc_9369() {
    let initial = Initial { pn: 2, version: V2, ..Initial::default() };
    let packet = initial.datagram(&hex(&RFC_CRYPTO.replace(' ', "")));
    assert_eq!(packet[..34], hex("d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04")[..]);
    let mut flow = Flow::new();
    assert_eq!(name(flow.client(&packet)), "example.com");
    assert_eq!(flow.state.version(), V2);
}

#[test]
fn real_clients() {
    let mut flow = Flow::new();
    assert_eq!(flow.named(&samples(include_bytes!("samples/chrome_quic.bin"))), NAME);
    assert!(!flow.state.conflict() && !flow.state.rekeyed());
    let mut flow = Flow::new();
    assert_eq!(flow.named(&samples(include_bytes!("samples/aioquic_v2.bin"))), NAME);
    assert_eq!(flow.state.version(), V2);
}

#[test]
fn the_message_for_ja4_is_the_gathered_bytes() {
    let mut flow = Flow::new();
    let Probe::Done(hello) = flow.client(&one(&crypto(0, &small()))) else { panic!() };
    let message = hello.message(&flow.buf[..flow.ranges.contiguous()], &tls::Scratch::default()).to_vec();
    assert_eq!((hello.framing, &message), (Framing::Quic, &small()));
    assert!(Ja4::new(&message, Transport::Quic).unwrap().as_str().starts_with("q13d0407h2_"));
}

#[test]
fn chrome_chaos() {
    for seed in 0..10_000 {
        let mut random = Random::new(seed);
        let message = if seed % 3 == 0 { small() } else { large() };
        let least = message.len() / 1000 + 1;
        let datagrams = random.within(least, 3);
        let initial = Initial { dcid: random.bytes(8), ..Initial::default() };
        let mut all = chaos(&message, &initial, datagrams, &mut random);
        random.shuffle(&mut all);
        let mut flow = Flow::new();
        let mut found = None;
        for one in &all {
            if let Probe::Done(hello) = flow.client(one) {
                found = Some(hello.name().unwrap());
            }
        }
        assert_eq!(found.unwrap().as_str(), NAME, "seed {seed}, {} datagrams", all.len());
        assert!(!flow.state.conflict() && !flow.state.rekeyed(), "seed {seed}");
    }
}

#[test]
fn a_hello_over_three_datagrams_in_any_order() {
    let message = Hello::named(NAME).post_quantum().padded_to(3000).message();
    let parts: Vec<_> = (0u32..)
        .zip(message.chunks(1100))
        .map(|(i, part)| Initial::default().numbered(i).datagram(&crypto(u64::from(i) * 1100, part)))
        .collect();
    assert_eq!(parts.len(), 3);
    for order in [[0, 1, 2], [2, 1, 0], [0, 2, 1], [2, 0, 1], [1, 0, 2], [1, 2, 0]] {
        assert_eq!(Flow::new().named(&order.map(|i| parts[i].clone())), NAME, "{order:?}");
    }
    // And each of them twice.
    let twice = [0, 0, 2, 2, 1].map(|i: usize| parts[i].clone());
    assert_eq!(Flow::new().named(&twice), NAME);
}

#[test]
fn the_frames_between() {
    let message = small();
    let ack = [vec![2], varint(1000), varint(70_000), varint(1), varint(3), varint(0), varint(5)].concat();
    let ack_ecn = [vec![3], varint(2), varint(0), varint(0), varint(1), vec![1, 2, 3]].concat();
    let close = [vec![0x1c], varint(7), varint(6), varint(3), b"why".to_vec()].concat();
    let frames =
        [&ack[..], &crypto(0, &message[..50]), &[1, 1, 0, 0], &ack_ecn, &close, &crypto(50, &message[50..])]
            .concat();
    assert_eq!(name(Flow::new().client(&one(&frames))), NAME);
    // A frame that does not belong there ends the reading, and what stood before it counts.
    let frames = [&crypto(0, &message)[..], &[0x1e]].concat();
    assert_eq!(name(Flow::new().client(&one(&frames))), NAME);
    let frames = [&[0x1e], &crypto(0, &message)[..]].concat();
    assert!(matches!(Flow::new().client(&one(&frames)), Probe::NeedMore(_)));
    // An empty CRYPTO frame, and one that runs over the end of the packet.
    let frames = [&crypto(0, &[])[..], &crypto(0, &message)].concat();
    assert_eq!(name(Flow::new().client(&one(&frames))), NAME);
    let mut cut = Initial::default().packet(&[6, 0, 0x7f, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    cut.resize(1200, 0);
    assert!(matches!(Flow::new().client(&cut), Probe::NeedMore(_)));
}

#[test]
fn conflicting_bytes_are_told_with_both_names() {
    let (first, second) = (small(), Hello::named("decoy.example.org").message());
    let mut flow = Flow::new();
    assert_eq!(name(flow.client(&one(&crypto(0, &first)))), NAME);
    assert!(!flow.state.conflict() && flow.scratch.rival().is_none());
    let other = Initial { dcid: b"another!".to_vec(), ..Initial::default() };
    let _ = flow.client(&other.datagram(&crypto(0, &second)));
    assert!(flow.state.conflict() && flow.state.rekeyed());
    assert_eq!(flow.scratch.rival().unwrap().as_str(), "decoy.example.org");
    assert_eq!(flow.state.reason(), Reason::AmbiguousOverlap);

    // Within one packet: the same bytes twice are nothing, others are.
    let same = [crypto(0, &first[..80]), crypto(40, &first[40..])].concat();
    let mut flow = Flow::new();
    assert_eq!(name(flow.client(&one(&same))), NAME);
    assert!(!flow.state.conflict());
    let mut spoiled = first[40..].to_vec();
    let at = spoiled.windows(3).position(|w| w == b"www").unwrap();
    spoiled[at..at + 3].copy_from_slice(b"ftp");
    let frames = [crypto(0, &first), crypto(40, &spoiled)].concat();
    let mut flow = Flow::new();
    let _ = flow.client(&one(&frames));
    assert!(flow.state.conflict());
    assert_eq!(flow.scratch.rival().unwrap().as_str(), "ftp.example.com");
}

#[test]
fn offsets_beyond_what_is_kept() {
    for offset in [(1 << 62) - 1, 1 << 40, 16 * 1024] {
        assert_eq!(
            Flow::new().client(&one(&crypto(offset, &[1; 100]))),
            Probe::Malformed(Reason::QuicOffset),
            "{offset}"
        );
    }
    // 65 ranges with gaps between them.
    let frames: Vec<u8> = (0..65).flat_map(|i| crypto(i * 4 + 1, &[1])).collect();
    assert_eq!(Flow::new().client(&one(&frames)), Probe::Malformed(Reason::QuicOffset));
    // A hello that says it is longer than what is kept.
    let huge = Hello::named(NAME).padded_to(20_000).message();
    assert_eq!(Flow::new().client(&one(&crypto(0, &huge[..1000]))), Probe::Malformed(Reason::ReasmCap));
    // A frame beyond the end beside a whole hello takes nothing from it.
    let frames = [crypto(1 << 30, &[1; 10]), crypto(0, &small())].concat();
    assert_eq!(name(Flow::new().client(&one(&frames))), NAME);
}

#[test]
fn junk_and_spoiled_packets_leave_no_trace() {
    let mut random = Random::new(7);
    for seed in 0..1000 {
        let mut flow = Flow::new();
        let junk = match seed % 3 {
            0 => {
                let len = random.within(1, 1400);
                random.bytes(len)
            }
            1 => {
                // An Initial with a tag that is wrong.
                let decoy = Initial::default();
                let mut packet = decoy.datagram(&crypto(0, &Hello::named("decoy.example.org").message()));
                let at = random.within(26, packet.len() - 1);
                packet[at] ^= 1 << random.within(0, 7);
                packet
            }
            _ => vec![0xff; 1200],
        };
        assert!(!matches!(flow.client(&junk), Probe::Done(_) | Probe::Malformed(_)), "seed {seed}");
        assert_eq!(name(flow.client(&one(&crypto(0, &small())))), NAME, "seed {seed}");
        assert!(!flow.state.conflict() && !flow.state.rekeyed());
    }
}

#[test]
fn a_bad_tag_never_replaces_a_good_one() {
    let message = large();
    let (first, second) = message.split_at(1000);
    let initial = Initial::default();
    let parts = [initial.datagram(&crypto(0, first)), initial.numbered(1).datagram(&crypto(1000, second))];
    for pn in [1, 2, 200] {
        let mut flow = Flow::new();
        assert!(matches!(flow.client(&parts[0]), Probe::NeedMore(1800)));
        let before = format!("{:?} {:?}", flow.state.version(), flow.ranges);
        let mut decoy = initial.numbered(pn).datagram(&crypto(1000, &[0x55; 800]));
        decoy[1199] ^= 1;
        assert!(matches!(flow.client(&decoy), Probe::NeedMore(_)));
        assert_eq!(format!("{:?} {:?}", flow.state.version(), flow.ranges), before);
        assert_eq!(name(flow.client(&parts[1])), NAME);
        assert!(!flow.state.conflict());
    }
}

#[test]
fn many_packets_that_do_not_open_end_the_trying() {
    let mut flow = Flow::new();
    let mut packet = one(&crypto(0, &small()));
    packet[1199] ^= 1;
    let answers: Vec<_> = (0..40).map(|_| flow.client(&packet)).collect();
    assert!(answers[..30].iter().all(|answer| matches!(answer, Probe::NeedMore(_))));
    assert_eq!(answers[39], Probe::Malformed(Reason::Midstream));
    assert_eq!(
        flow.client(&one(&crypto(0, &small()))),
        Probe::Malformed(Reason::Midstream),
        "not even a good one"
    );
    // The same for packets that open and bring nothing.
    let mut flow = Flow::new();
    let answers: Vec<_> =
        (0..70).map(|pn| flow.client(&Initial::default().numbered(pn).datagram(&[1]))).collect();
    assert!(answers[..60].iter().all(|answer| matches!(answer, Probe::NeedMore(_))));
    assert_eq!(answers[69], Probe::Malformed(Reason::ReasmTimeout));
}

#[test]
fn packets_coalesced_in_one_datagram() {
    let initial = Initial::default();
    let message = small();
    let (first, second) = message.split_at(100);
    let whole = |packets: &[Vec<u8>]| {
        let mut datagram = packets.concat();
        datagram.resize(datagram.len().max(1200), 0);
        datagram
    };
    let zero_rtt = sealed(1, &initial, 300);
    let handshake = sealed(2, &initial, 100);
    let mut flow = Flow::new();
    let packets = [initial.padded(&crypto(0, &message), 700), zero_rtt.clone(), handshake.clone()];
    assert_eq!(name(flow.client(&whole(&packets))), NAME);
    assert!(flow.state.zero_rtt());
    let packets = [zero_rtt.clone(), handshake, initial.padded(&crypto(0, &message), 700)];
    assert_eq!(name(Flow::new().client(&whole(&packets))), NAME, "the Initial last");
    let packets = [initial.packet(&crypto(0, first)), initial.numbered(1).packet(&crypto(100, second))];
    assert_eq!(name(Flow::new().client(&whole(&packets))), NAME, "two Initials");
    // 0-RTT in a datagram of its own, before the Initial.
    let mut flow = Flow::new();
    assert!(matches!(flow.client(&whole(&[zero_rtt])), Probe::NeedMore(_)));
    assert_eq!(name(flow.client(&one(&crypto(0, &message)))), NAME);
}

#[test]
fn retry_once_and_again() {
    let first = Initial::default();
    let message = large();
    let (head, tail) = message.split_at(1000);
    let mut flow = Flow::new();
    assert!(matches!(flow.client(&first.datagram(&crypto(0, head))), Probe::NeedMore(_)));
    let mut last = first;
    for round in 1..=3u8 {
        assert!(matches!(flow.server(&retry(V1, &[round; 11])), Probe::NeedMore(_)));
        last = Initial { dcid: vec![round; 11], token: vec![round; 200], pn: round.into(), ..last };
        assert!(matches!(flow.client(&last.datagram(&crypto(0, head))), Probe::NeedMore(_)));
    }
    assert_eq!(name(flow.client(&last.numbered(9).datagram(&crypto(1000, tail)))), NAME);
    assert!(flow.state.retried() && !flow.state.conflict() && !flow.state.rekeyed());
    // Some clients make a new hello. The server knows nothing of the first one.
    let mut flow = Flow::new();
    let decoy = Hello::named("decoy.example.org").message();
    assert_eq!(name(flow.client(&one(&crypto(0, &decoy)))), "decoy.example.org");
    assert!(matches!(flow.server(&retry(V1, &[1; 11])), Probe::NeedMore(_)));
    let again = Initial { dcid: vec![1; 11], token: vec![1; 20], pn: 1, ..Initial::default() };
    assert_eq!(name(flow.client(&again.datagram(&crypto(0, &small())))), NAME);
    assert!(!flow.state.conflict());
    // But only once for each Retry.
    let third = Initial { dcid: vec![2; 11], pn: 2, ..again };
    let _ = flow.client(&third.datagram(&crypto(0, &decoy)));
    assert!(flow.state.conflict());
}

#[test]
fn version_negotiation() {
    // A version that nobody knows, and one that is made to be refused.
    for version in [0x1a2a_3a4a, 0xbabe_babe] {
        let first = Initial { version, dcid: b"12345678".to_vec(), ..Initial::default() };
        let mut flow = Flow::new();
        let mut refused = first.datagram(&crypto(0, &Hello::named(NAME).message()[..40]));
        if version == 0x1a2a_3a4a {
            refused[1190] ^= 1;
        }
        assert!(matches!(flow.client(&refused), Probe::NeedMore(_)), "{version:#x}");
        assert_eq!(flow.state.reason(), Reason::QuicVersion);
        assert!(matches!(flow.server(&negotiation(b"12345678")), Probe::NeedMore(_)));
        assert!(flow.state.negotiated());
        assert_eq!(name(flow.client(&one(&crypto(0, &small())))), NAME);
    }
    // From one known version to another: another hello, which contradicts nothing.
    let mut flow = Flow::new();
    let first = Initial { version: DRAFT_29, ..Initial::default() };
    assert!(matches!(flow.client(&first.datagram(&crypto(0, &large()[..900]))), Probe::NeedMore(_)));
    assert!(matches!(flow.server(&negotiation(&first.dcid)), Probe::NeedMore(_)));
    assert_eq!(name(flow.client(&one(&crypto(0, &small())))), NAME);
    assert!(!flow.state.conflict());
    // A hello that can be read under a reserved version is what the client asks for, unless it asks again.
    let greased = Initial { version: 0x1a2a_3a4a, ..Initial::default() };
    let decoy = Hello::named("decoy.example.org").message();
    let mut flow = Flow::new();
    assert_eq!(name(flow.client(&greased.datagram(&crypto(0, &decoy)))), "decoy.example.org");
    assert!(flow.state.provisional());
    assert_eq!(name(flow.client(&one(&crypto(0, &small())))), NAME);
    assert!(!flow.state.provisional() && !flow.state.conflict());
    // Only servers negotiate.
    let mut flow = Flow::new();
    assert_eq!(flow.client(&negotiation(b"12345678")), Probe::NotThis);
    assert!(!flow.state.negotiated());
}

#[test]
fn compatible_version_negotiation_goes_on_with_the_hello() {
    let message = large();
    let (head, tail) = message.split_at(1000);
    let mut flow = Flow::new();
    let first = Initial::default();
    assert!(matches!(flow.client(&first.datagram(&crypto(0, head))), Probe::NeedMore(_)));
    // The client goes over to version 2 and to the connection id that the server chose; the keys come from the first one.
    let second = Initial {
        version: V2,
        dcid: b"server".to_vec(),
        origin: Some(first.dcid),
        pn: 1,
        ..Initial::default()
    };
    assert_eq!(name(flow.client(&second.datagram(&crypto(1000, tail)))), NAME);
    assert!(!flow.state.rekeyed() && !flow.state.conflict());
}

#[test]
fn every_version_with_keys() {
    for version in [V1, V2].into_iter().chain(0xff00_0016..=0xff00_0022) {
        let initial = Initial { version, ..Initial::default() };
        let mut flow = Flow::new();
        assert_eq!(name(flow.client(&initial.datagram(&crypto(0, &small())))), NAME, "{version:#x}");
        assert_eq!(flow.state.version(), version);
    }
}

#[test]
fn google_quic_with_keys() {
    let frame = |data: &[u8]| [&[7, 0, 8][..], &varint(0), &varint(data.len() as u64), data].concat();
    let tls = Initial { version: 0x5430_3531, ..Initial::default() };
    let mut flow = Flow::new();
    assert_eq!(name(flow.client(&tls.datagram(&frame(&small())))), NAME);
    assert!(flow.state.is_gquic());
    let chlo = [&b"CHLO\x01\x00\x00\x00SNI\0\x0f\x00\x00\x00"[..], NAME.as_bytes()].concat();
    let google = Initial { version: 0x5130_3530, ..Initial::default() };
    assert_eq!(name(Flow::new().client(&google.datagram(&frame(&chlo)))), NAME);
    assert!(matches!(Flow::new().client(&google.datagram(&frame(&chlo[..20]))), Probe::NeedMore(_)));
}

#[test]
fn connection_ids_of_any_length_that_change() {
    let message = large();
    let (head, tail) = message.split_at(1000);
    for len in 0..=20 {
        let first = Initial { dcid: vec![7; len], scid: vec![3; 20 - len], ..Initial::default() };
        let mut flow = Flow::new();
        assert!(matches!(flow.client(&first.datagram(&crypto(0, head))), Probe::NeedMore(_)), "{len}");
        let second = Initial { dcid: vec![8; 20 - len], origin: Some(first.dcid.clone()), pn: 1, ..first };
        assert_eq!(name(flow.client(&second.datagram(&crypto(1000, tail)))), NAME, "{len}");
        assert!(!flow.state.rekeyed());
        assert_eq!(flow.state.client_cid(), vec![3; 20 - len]);
    }
    // Longer than any version with keys allows.
    let long = Initial { dcid: vec![7; 21], ..Initial::default() };
    assert_eq!(Flow::new().client(&long.datagram(&crypto(0, &small()))), Probe::NotThis);
}

#[test]
fn tokens_and_packet_numbers() {
    let token = Initial { token: vec![5; 1000], ..Initial::default() };
    assert_eq!(name(Flow::new().client(&token.padded(&crypto(0, &small()), 1300))), NAME);
    for pn_len in 1..=4 {
        let first = Initial { pn: 1, pn_len, ..Initial::default() };
        assert_eq!(name(Flow::new().client(&first.datagram(&crypto(0, &small())))), NAME, "{pn_len}");
        // Beyond what fits into the field: read relative to the largest that was seen.
        let mut flow = Flow::new();
        let message = large();
        let (head, tail) = message.split_at(1000);
        let pn = 1 << (8 * pn_len - 1);
        assert!(matches!(
            flow.client(&Initial { pn, ..first.clone() }.datagram(&crypto(0, head))),
            Probe::NeedMore(_)
        ));
        let next = Initial { pn: pn + 3, ..first };
        assert_eq!(name(flow.client(&next.datagram(&crypto(1000, tail)))), NAME, "{pn_len}");
    }
    // A decoy with a huge number does not push the real ones out of reach.
    let mut flow = Flow::new();
    let _ = flow.client(&Initial { pn: 70_000, ..Initial::default() }.datagram(&[1]));
    let real = Initial { pn: 0, pn_len: 1, ..Initial::default() };
    assert_eq!(name(flow.client(&real.datagram(&crypto(0, &small())))), NAME);
}

#[test]
fn initials_in_small_datagrams_name_nothing() {
    let frames = crypto(0, &small());
    for len in [300, 1199] {
        let mut flow = Flow::new();
        let packet = Initial::default().padded(&frames, len);
        assert_eq!(packet.len(), len);
        assert!(matches!(flow.client(&packet), Probe::NeedMore(_)));
        assert_eq!(flow.state.reason(), Reason::MalformedL4);
        // And do not stand in the way of a real one.
        assert_eq!(name(flow.client(&one(&frames))), NAME);
    }
    // Cut off, as captures with a short snap length have it.
    let mut flow = Flow::new();
    assert!(matches!(flow.client(&one(&frames)[..600]), Probe::NeedMore(_)));
    assert_eq!(flow.state.reason(), Reason::MalformedL4);
}

#[test]
fn the_servers_packets_are_passed_over() {
    let client = Initial { scid: b"client".to_vec(), ..Initial::default() };
    let server = Initial {
        dcid: b"client".to_vec(),
        scid: b"server".to_vec(),
        origin: Some(client.dcid.clone()),
        from_server: true,
        ..Initial::default()
    };
    let reply = server.datagram(&crypto(0, &[2; 90]));
    let message = large();
    let (head, tail) = message.split_at(1000);
    for direction in [Some(false), None] {
        let mut flow = Flow::new();
        assert!(matches!(
            flow.see(&client.datagram(&crypto(0, head)), direction.map(|_| true)),
            Probe::NeedMore(_)
        ));
        assert!(matches!(flow.see(&reply, direction), Probe::NeedMore(_)));
        assert_eq!(flow.state.server_cid(), b"server");
        assert_eq!(name(flow.client(&client.numbered(1).datagram(&crypto(1000, tail)))), NAME);
    }
    // Joined midway: nothing but the server's side.
    let mut flow = Flow::new();
    assert!(matches!(flow.see(&reply, None), Probe::NeedMore(_)));
    assert!(flow.state.is_quic());
    assert_eq!(flow.state.reason(), Reason::Midstream);
}

#[test]
fn flows_that_moved_here() {
    let mut flow = Flow::new();
    assert_eq!(flow.client(&[0x4b; 60]), Probe::NotThis);
    assert!(flow.state.short_first() && !flow.state.is_quic());
    assert_eq!(flow.state.reason(), Reason::QuicMigrated);
    // Not if it turns out to begin here after all.
    assert_eq!(name(flow.client(&one(&crypto(0, &small())))), NAME);
    assert!(!flow.state.short_first());
    // While the hello is open, data of the flow does not end it.
    let mut flow = Flow::new();
    assert!(matches!(flow.client(&one(&crypto(0, &large()[..900]))), Probe::NeedMore(_)));
    assert!(matches!(flow.client(&[0x4b; 60]), Probe::NeedMore(_)));
    assert_eq!(flow.state.reason(), Reason::ReasmTimeout);
}

#[test]
fn versions_that_are_not_known() {
    let unknown = |version, len| Initial { version, ..Initial::default() }.padded(&crypto(0, &small()), len);
    let mut flow = Flow::new();
    assert!(matches!(flow.client(&unknown(0xbabe_cafe, 1200)), Probe::NeedMore(_)));
    assert_eq!(flow.state.reason(), Reason::QuicVersion);
    let mut flow = Flow::new();
    assert_eq!(flow.client(&unknown(0xbabe_cafe, 700)), Probe::NotThis, "any protocol may look like that");
    assert_eq!(flow.state.reason(), Reason::UnknownProto);
}

#[test]
fn a_second_hello_after_a_retry_request() {
    let (first, second) = (small(), Hello::named("other.example").message());
    let initial = Initial::default();
    let mut flow = Flow::new();
    assert_eq!(name(flow.client(&initial.datagram(&crypto(0, &first)))), NAME);
    // The same again is no news.
    assert!(matches!(flow.client(&initial.numbered(1).datagram(&crypto(0, &first))), Probe::NeedMore(_)));
    let at = first.len() as u64;
    assert_eq!(name(flow.client(&initial.numbered(2).datagram(&crypto(at, &second)))), "other.example");
    assert!(!flow.state.conflict());
}

#[test]
fn google_quic_in_clear() {
    let chlo = [
        &b"CHLO\x03\x00\x00\x00PAD\0\x04\x00\x00\x00SNI\0\x0f\x00\x00\x00VER\0\x13\x00\x00\x00"[..],
        b"----a.example.qQ046",
    ]
    .concat();
    let public = |version: &[u8; 4]| {
        [b"\x0d12345678", &version[..], b"\x01hash-of-12-b\xa0\x01\x00\x04", &chlo].concat()
    };
    let long = [b"\xc3Q046\x5012345678\x00\x00\x00\x01hash-of-12-b\xa0\x01\x00\x04", &chlo[..]].concat();
    for datagram in [public(b"Q024"), public(b"Q035"), public(b"Q043"), long] {
        let mut flow = Flow::new();
        let Probe::Done(hello) = flow.client(&datagram) else { panic!("{}", datagram.escape_ascii()) };
        assert_eq!((hello.name().unwrap().as_str(), hello.framing), ("a.example.q", Framing::Gquic));
        assert!(flow.state.is_gquic());
        for len in 0..datagram.len() {
            let _ = Flow::new().client(&datagram[..len]);
        }
    }
    let mut flow = Flow::new();
    assert!(matches!(flow.client(b"\x0d12345678Q043\x01hash-of-12-b nothing to see"), Probe::NeedMore(_)));
    assert_eq!(flow.state.reason(), Reason::QuicVersion);
    // Another version byte for byte, but no Q.
    assert_eq!(Flow::new().client(b"\x0d12345678R043\x01hash-of-12-bCHLO"), Probe::NotThis);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    /// Any datagrams are answered; none of them names anything.
    #[test]
    fn any_bytes(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..1500), 1..4), head in any::<[bool; 4]>()) {
        let mut flow = Flow::new();
        for (mut datagram, real) in datagrams.into_iter().zip(head) {
            if real {
                for (to, from) in datagram.iter_mut().zip(b"\xc3\x00\x00\x00\x01\x08") {
                    *to = *from;
                }
            }
            prop_assert!(!matches!(flow.see(&datagram, None), Probe::Done(_)));
        }
    }

    /// Any frames behind a good tag are read without harm.
    #[test]
    fn any_frames(frames in proptest::collection::vec(any::<u8>(), 20..1100), kinds in proptest::collection::vec((0usize..1100, 0u8..8), 0..20)) {
        let mut frames = frames;
        for (at, kind) in kinds {
            if let Some(byte) = frames.get_mut(at) {
                *byte = kind;
            }
        }
        let mut flow = Flow::new();
        let _ = flow.client(&one(&frames));
        let _ = flow.client(&one(&[&[0; 3][..], &frames].concat()));
        prop_assert!(flow.ranges.spans().len() <= 64);
    }

    /// The pieces of a hello in any order, cut anywhere, with overlaps, give the hello.
    #[test]
    fn any_pieces(seed in any::<u64>(), pieces in 1usize..30) {
        let mut random = Random::new(seed);
        let message = large();
        let cuts = random.cuts(message.len(), pieces);
        let mut frames: Vec<_> = cuts.windows(2).map(|cut| {
            let from = cut[0].saturating_sub(random.within(0, 40));
            crypto(from as u64, &message[from..cut[1]])
        }).collect();
        random.shuffle(&mut frames);
        let mut flow = Flow::new();
        let (mut found, mut pn) = (None, 0);
        for frames in frames.chunks(3) {
            pn += 1;
            if let Probe::Done(hello) = flow.client(&Initial::default().numbered(pn).padded(&frames.concat(), 1200)) {
                found = Some(hello.name().unwrap());
            }
        }
        prop_assert_eq!(found.unwrap().to_string(), NAME);
        prop_assert!(!flow.state.conflict());
    }
}
