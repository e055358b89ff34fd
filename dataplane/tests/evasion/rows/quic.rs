//! QUIC: how Initial packets are cut, ordered, addressed, numbered and faked.

use crate::hello::{Hello, disguised};
use crate::initial::{
    CHROME_DATAGRAM, DRAFT_29, Keys, Kind, MIN_DATAGRAM, PING, Packet, V1, V2, chaos, crypto,
};
use crate::oracle::quinn_flight;
use crate::rng::Rng;
use crate::scene::{NAME, Scene, Side};
use crate::table::{Expect, Row};
use crate::wire::Carriage;
use glassgate_policy::{Evidence, Reason};
use ring::aead;

const C: Expect = Expect::Name(Evidence::QuicSni);
const INERT: Expect = C;
/// Reserved by RFC 9000 section 15 so that servers answer with the versions that they know.
const GREASE_VERSION: u32 = 0x1a2a_3a4a;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = gathering();
    rows.extend(openings());
    rows.extend(headers());
    rows.extend(paths());
    rows
}

fn gathering() -> Vec<Row> {
    vec![
        Row::new("Q77", "frames cut, mixed with PING and PADDING and shuffled, as Chrome does", C, |s| {
            let (mut packet, message) = client(s, V1);
            let least = if message.len() > 1_100 { 2 } else { 1 };
            let datagrams = s.rng.within(least..=3);
            let flight = chaos(&mut s.rng, &mut packet, &message, datagrams);
            flow(s, &packet, &flight);
        })
        .seeds(10_000)
        .live(),
        Row::new("Q78", "post-quantum hello over two or three Initials", C, |s| {
            let (packet, flight) = in_order(s);
            flow(s, &packet, &flight);
        })
        .seeds(100)
        .live(),
        Row::new("Q78", "a real client (quinn)", C, |s| {
            for datagram in quinn_flight(NAME) {
                s.datagram(Side::Client, &datagram);
            }
        }),
        Row::new("Q79", "the same datagrams in reverse order", C, |s| {
            let (packet, mut flight) = in_order(s);
            flight.reverse();
            flow(s, &packet, &flight);
        })
        .seeds(100),
        Row::new("Q80", "the gap in the middle filled last", C, |s| {
            let (mut packet, message) = client(s, V1);
            let cuts = s.rng.cuts(message.len(), 3);
            let part = |i: usize| crypto(cuts[i] as u64, &message[cuts[i]..cuts[i + 1].min(cuts[i] + 1100)]);
            // A part that is longer than a datagram gets the rest in the next one.
            let rest = |i: usize| {
                crypto(cuts[i] as u64 + 1100, &message[(cuts[i] + 1100).min(cuts[i + 1])..cuts[i + 1]])
            };
            let frames: Vec<Vec<u8>> = [0, 2, 1]
                .into_iter()
                .flat_map(|i| [Some(part(i)), (cuts[i] + 1100 < cuts[i + 1]).then(|| rest(i))])
                .flatten()
                .collect();
            let flight = sealed(&mut packet, frames);
            flow(s, &packet, &flight);
        })
        .seeds(100),
        Row::new("Q81", "overlapping frames, same bytes", C, |s| {
            let (mut packet, message) = small(s);
            let frames =
                [crypto(0, &message[..300]), crypto(100, &message[100..]), crypto(0, &message[..200])];
            let flight = sealed(&mut packet, vec![frames.concat()]);
            flow(s, &packet, &flight);
        }),
        Row::new(
            "Q81",
            "overlapping frames, different bytes",
            Expect::Ambiguous(Reason::AmbiguousOverlap),
            |s| {
                let (mut packet, message) = small(s);
                let decoy = disguised(&message);
                let frames = if s.seed == 0 { [decoy, message] } else { [message, decoy] };
                let flight = sealed(&mut packet, frames.iter().map(|m| crypto(0, m)).collect());
                flow(s, &packet, &flight);
            },
        )
        .seeds(2),
        Row::new(
            "Q82",
            "offset at the end of what can be counted",
            Expect::Reason(Reason::QuicOffset),
            |s| {
                let (mut packet, message) = small(s);
                let frames = [crypto((1 << 62) - 200, &[7; 100]), crypto(0, &message[..100])].concat();
                let flight = sealed(&mut packet, vec![frames]);
                flow(s, &packet, &flight);
            },
        ),
        Row::new("Q82", "ten thousand gaps", Expect::Reason(Reason::QuicOffset), |s| {
            let (mut packet, message) = small(s);
            let bytes: Vec<Vec<u8>> = (0..10_000).map(|i| crypto(1 + 2 * i, &message[..1])).collect();
            let flight = sealed(&mut packet, bytes.chunks(150).map(<[_]>::concat).collect());
            flow(s, &packet, &flight);
        }),
    ]
}

fn openings() -> Vec<Row> {
    vec![
        Row::new("Q83", "a datagram of junk first", C, |s| {
            let len = s.rng.within(1..=1400);
            let junk = s.rng.bytes(len);
            s.datagram(Side::Client, &junk);
            let (packet, datagram) = one_datagram(s);
            flow(s, &packet, &[datagram]);
        })
        .seeds(300),
        Row::new("Q84", "0-RTT first", C, |s| {
            let (packet, datagram) = one_datagram(s);
            let early = behind(&mut s.rng, &packet, Kind::ZeroRtt, 900);
            flow(s, &packet, &[early, datagram]);
        }),
        Row::new("Q84", "a short header first", C, |s| {
            let (packet, datagram) = one_datagram(s);
            let short = short(&mut s.rng, &packet.dcid);
            flow(s, &packet, &[short, datagram]);
        }),
        Row::new("Q85", "Initial, 0-RTT and Handshake in one datagram", C, |s| {
            let (packet, message) = small(s);
            let keys = Keys::initial(V1, &packet.dcid, Side::Client);
            let datagram = [
                packet.with(crypto(0, &message)).seal(&keys),
                behind(&mut s.rng, &packet, Kind::ZeroRtt, 300),
                behind(&mut s.rng, &packet, Kind::Handshake, 300),
            ]
            .concat();
            let padded = [&datagram[..], &vec![0; MIN_DATAGRAM.saturating_sub(datagram.len())]].concat();
            flow(s, &packet, &[padded]);
        }),
        Row::new("Q85", "0-RTT before the Initial in one datagram", C, |s| {
            let (packet, message) = small(s);
            let keys = Keys::initial(V1, &packet.dcid, Side::Client);
            let early = behind(&mut s.rng, &packet, Kind::ZeroRtt, 300);
            let initial = packet.with(crypto(0, &message)).padded(MIN_DATAGRAM - early.len()).seal(&keys);
            flow(s, &packet, &[[early, initial].concat()]);
        }),
        Row::new("Q86", "Retry", C, |s| retried(s, 1)),
        Row::new("Q86", "Retry after Retry", C, |s| retried(s, 3)),
        Row::new("Q87", "the server negotiates the version", C, |s| {
            let (packet, message) = small(s);
            let unknown = Packet { version: GREASE_VERSION, ..packet.clone() };
            let keys = Keys::initial(V1, &unknown.dcid, Side::Client);
            let first = unknown.with(crypto(0, &disguised(&message))).padded(CHROME_DATAGRAM).seal(&keys);
            s.datagram(Side::Client, &first);
            let mut versions = vec![0x80, 0, 0, 0, 0];
            for id in [&unknown.scid, &unknown.dcid] {
                versions.push(id.len() as u8);
                versions.extend(id);
            }
            versions.extend(V2.to_be_bytes());
            versions.extend(V1.to_be_bytes());
            s.datagram(Side::Server, &versions);
            let (packet, datagram) = one_datagram(s);
            flow(s, &packet, &[datagram]);
        }),
        Row::new("Q88", "version 2", C, |s| {
            let (mut packet, message) = client(s, V2);
            let flight = chaos(&mut s.rng, &mut packet, &message, 2);
            flow(s, &packet, &flight);
        })
        .seeds(200),
        Row::new("Q88", "draft 29", C, |s| {
            let (mut packet, message) = client(s, DRAFT_29);
            let flight = chaos(&mut s.rng, &mut packet, &message, 2);
            flow(s, &packet, &flight);
        })
        .seeds(20),
        Row::new("Q89", "a version that nobody knows", Expect::Reason(Reason::QuicVersion), |s| {
            s.shown.push(NAME.into());
            let (packet, message) = small(s);
            let packet = Packet { version: GREASE_VERSION, ..packet };
            let keys = Keys::initial(V1, &packet.dcid, Side::Client);
            let datagram = packet.with(crypto(0, &message)).padded(CHROME_DATAGRAM).seal(&keys);
            s.datagram(Side::Client, &datagram);
            s.datagram(Side::Client, &datagram);
        }),
    ]
}

fn headers() -> Vec<Row> {
    vec![
        Row::new("Q90", "destination connection ids of 0 to 20 bytes", C, |s| {
            let (mut packet, message) = small(s);
            packet.dcid = s.rng.bytes(s.seed as usize);
            packet.scid = s.rng.bytes(20 - s.seed as usize);
            let flight = sealed(&mut packet, vec![crypto(0, &message)]);
            flow(s, &packet, &flight);
        })
        .seeds(21),
        Row::new("Q90", "the client takes the server's id before its hello is whole", C, |s| {
            let (mut packet, message) = client(s, V1);
            let keys = Keys::initial(V1, &packet.dcid, Side::Client);
            let middle = message.len() / 2;
            let first = packet.next(crypto(0, &message[..middle])).padded(CHROME_DATAGRAM).seal(&keys);
            s.datagram(Side::Client, &first);
            let id = s.rng.bytes(8);
            reply(s, &packet, &id);
            packet.dcid = id;
            let second =
                packet.next(crypto(middle as u64, &message[middle..])).padded(CHROME_DATAGRAM).seal(&keys);
            s.datagram(Side::Client, &second);
        })
        .seeds(20),
        Row::new("Q91", "token of 1 000 bytes", C, |s| {
            let (mut packet, message) = small(s);
            packet.token = s.rng.bytes(1000);
            let frames =
                message.chunks(150).enumerate().map(|(i, part)| crypto(150 * i as u64, part)).collect();
            let flight = sealed(&mut packet, frames);
            flow(s, &packet, &flight);
        }),
        Row::new("Q91", "packet numbers of 1 to 4 bytes, from 1 on", C, |s| {
            let (mut packet, message) = small(s);
            packet.number_len = 1 + s.seed as usize % 4;
            let parts = [crypto(0, &message[..200]), crypto(200, &message[200..])];
            let flight = sealed(&mut packet, parts.to_vec());
            flow(s, &packet, &flight);
        })
        .seeds(4),
        Row::new("Q92", "Initial in less than 1 200 bytes", Expect::Reason(Reason::MalformedL4), |s| {
            let (packet, message) = small(s);
            let keys = Keys::initial(V1, &packet.dcid, Side::Client);
            let datagram = packet.with(crypto(0, &message)).padded(MIN_DATAGRAM - 1).seal(&keys);
            s.datagram(Side::Client, &datagram);
        }),
        Row::new("Q93", "decoy with a bad tag, first", INERT, |s| {
            let (packet, datagram) = one_datagram(s);
            let bad = spoiled(s, &packet);
            flow(s, &packet, &[bad, datagram]);
        }),
        Row::new("Q93", "decoy with a bad tag between two good ones", INERT, |s| {
            let (packet, mut flight) = in_order(s);
            let bad = spoiled(s, &packet);
            flight.insert(1, bad);
            flow(s, &packet, &flight);
        }),
        Row::new("Q93", "decoy with another id and a bad tag, first", INERT, |s| {
            let (packet, datagram) = one_datagram(s);
            let other = Packet { dcid: s.rng.bytes(8), ..packet.clone() };
            let bad = spoiled(s, &other);
            flow(s, &packet, &[bad, datagram]);
        }),
    ]
}

fn paths() -> Vec<Row> {
    vec![
        Row::new("T28", "decoy Initial with another id and a bad UDP checksum, first", INERT, |s| {
            let carriage = Carriage { bad_udp_sum: true, ..Carriage::default() };
            decoy_first(s, carriage);
        })
        .live(),
        Row::new(
            "T29",
            "decoy Initial with another id, its TTL too short, first",
            Expect::Ambiguous(Reason::AmbiguousDecoy),
            |s| decoy_first(s, Carriage { ttl: 1, ..Carriage::default() }),
        )
        .live(),
        Row::new("Q94", "the client's port changes, the connection id stays", C, |s| {
            let moved = moved_flow(s);
            let (packet, datagram) = one_datagram(s);
            s.datagram(Side::Client, &datagram);
            let id = s.rng.bytes(8);
            reply(s, &packet, &id);
            let same = short(&mut s.rng, &id);
            s.datagram(Side::Client, &same);
            s.turn_to(moved);
            for _ in 0..3 {
                let same = short(&mut s.rng, &id);
                s.datagram(Side::Client, &same);
            }
        }),
        Row::new("Q95", "port and connection id change", Expect::Reason(Reason::QuicMigrated), |s| {
            let first = moved_flow(s);
            s.turn_to(first);
            let (packet, datagram) = one_datagram(s);
            s.datagram(Side::Client, &datagram);
            let id = s.rng.bytes(8);
            reply(s, &packet, &id);
            s.turn_to(0);
            let id = s.rng.bytes(8);
            for _ in 0..3 {
                let moved = short(&mut s.rng, &id);
                s.datagram(Side::Client, &moved);
                let answer = short(&mut s.rng, &[]);
                s.datagram(Side::Server, &answer);
            }
        }),
        Row::new("Q96", "ports 53 and 8443, and either end's port the greater", C, |s| {
            let (client, server) =
                [(40_000, 53), (40_000, 8443), (1_025, 8443), (60_000, 50_000), (443, 443)]
                    [s.seed as usize % 5];
            s.flow().client.set_port(client);
            s.flow().server.set_port(server);
            let (packet, flight) = in_order(s);
            flow(s, &packet, &flight);
        })
        .seeds(5),
    ]
}

/// A hello, post-quantum every other time, and the header of its packets.
fn client(s: &mut Scene, version: u32) -> (Packet, Vec<u8>) {
    let hybrid = s.rng.within(0..=1) == 1;
    let message = Hello::quic(&mut s.rng, NAME, hybrid).message();
    (Packet::first(&mut s.rng, version), message)
}

/// A hello that fits into one datagram.
fn small(s: &mut Scene) -> (Packet, Vec<u8>) {
    let message = Hello::quic(&mut s.rng, NAME, false).message();
    (Packet::first(&mut s.rng, V1), message)
}

/// A hello in one datagram.
pub(super) fn one_datagram(s: &mut Scene) -> (Packet, Vec<u8>) {
    let (mut packet, message) = small(s);
    let flight = sealed(&mut packet, vec![[&[PING][..], &crypto(0, &message)].concat()]);
    (packet, flight.concat())
}

/// A post-quantum hello in order, in two or three datagrams.
fn in_order(s: &mut Scene) -> (Packet, Vec<Vec<u8>>) {
    let message = Hello::quic(&mut s.rng, NAME, true).message();
    let mut packet = Packet::first(&mut s.rng, V1);
    let each = s.rng.within(650..=1150);
    let frames = message.chunks(each).enumerate().map(|(i, part)| crypto((each * i) as u64, part)).collect();
    let flight = sealed(&mut packet, frames);
    (packet, flight)
}

/// One datagram for the frames of each packet.
fn sealed(packet: &mut Packet, frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let keys = Keys::initial(packet.version, &packet.dcid, Side::Client);
    frames.into_iter().map(|f| packet.next(f).padded(CHROME_DATAGRAM).seal(&keys)).collect()
}

/// The client's datagrams, the server's answer, and a little of what follows.
fn flow(s: &mut Scene, packet: &Packet, flight: &[Vec<u8>]) {
    for datagram in flight {
        s.datagram(Side::Client, datagram);
    }
    let id = s.rng.bytes(8);
    reply(s, packet, &id);
    let short = short(&mut s.rng, &id);
    s.datagram(Side::Client, &short);
}

/// The server's Initial with its hello, and a Handshake packet behind it.
fn reply(s: &mut Scene, packet: &Packet, id: &[u8]) {
    let keys = Keys::initial(packet.version, &packet.dcid, Side::Server);
    let initial =
        Packet { dcid: packet.scid.clone(), scid: id.to_vec(), token: Vec::new(), ..packet.clone() };
    // ACK of packet 1 alone, then CRYPTO.
    let frames = [&[2, 1, 0, 0, 0][..], &crypto(0, &crate::hello::server_hello(false)[5..95])].concat();
    let handshake = behind(&mut s.rng, &initial, Kind::Handshake, 900);
    let datagram = [initial.with(frames).seal(&keys), handshake].concat();
    s.datagram(Side::Server, &datagram);
}

/// A packet whose keys nobody on the way knows.
fn behind(rng: &mut Rng, packet: &Packet, kind: Kind, len: usize) -> Vec<u8> {
    let keys = Keys::secret(rng);
    Packet { kind, token: Vec::new(), frames: rng.bytes(len), ..packet.clone() }.seal(&keys)
}

/// A packet with a short header (RFC 9000 section 17.3.1).
fn short(rng: &mut Rng, id: &[u8]) -> Vec<u8> {
    [&[0x40 | rng.word() as u8 & 0x3f][..], id, &rng.bytes(60)].concat()
}

/// A decoy hello whose last byte is wrong, so that its tag does not fit.
fn spoiled(s: &mut Scene, packet: &Packet) -> Vec<u8> {
    let message = disguised(&Hello::quic(&mut s.rng, NAME, false).message());
    let keys = Keys::initial(packet.version, &packet.dcid, Side::Client);
    let mut datagram = packet.with(crypto(0, &message)).padded(CHROME_DATAGRAM).seal(&keys);
    *datagram.last_mut().expect("a datagram") ^= 1;
    datagram
}

/// A decoy that is a good Initial in itself; then the true one, under another connection id, which alone is answered.
fn decoy_first(s: &mut Scene, carriage: Carriage) {
    let (mut packet, message) = small(s);
    let decoy = sealed(&mut packet, vec![crypto(0, &disguised(&message))]);
    s.datagram_in(Side::Client, &decoy[0], carriage);
    let (packet, datagram) = one_datagram(s);
    flow(s, &packet, &[datagram]);
}

/// The first half of a hello is answered with `times` Retry packets; only then is the whole sent, under new keys.
fn retried(s: &mut Scene, times: usize) {
    let message = Hello::quic(&mut s.rng, NAME, true).message();
    let mut packet = Packet::first(&mut s.rng, V1);
    for _ in 0..times {
        let half = sealed(&mut packet, vec![crypto(0, &message[..900])]);
        s.datagram(Side::Client, &half[0]);
        let (id, token) = (s.rng.bytes(8), s.rng.bytes(60));
        s.datagram(Side::Server, &retry(&packet, &id, &token));
        (packet.dcid, packet.token) = (id, token);
    }
    let flight = sealed(&mut packet, vec![crypto(0, &message[..900]), crypto(900, &message[900..])]);
    flow(s, &packet, &flight);
}

/// A Retry packet with its integrity tag (RFC 9001 section 5.8).
fn retry(packet: &Packet, id: &[u8], token: &[u8]) -> Vec<u8> {
    const KEY: &[u8; 16] = b"\xbe\x0c\x69\x0b\x9f\x66\x57\x5a\x1d\x76\x6b\x54\xe3\x68\xc8\x4e";
    const NONCE: &[u8; 12] = b"\x46\x15\x99\xd3\x5d\x63\x2b\xf2\x23\x98\x25\xbb";
    let mut out = vec![0xf0];
    out.extend(V1.to_be_bytes());
    for id in [&packet.scid[..], id] {
        out.push(id.len() as u8);
        out.extend(id);
    }
    out.extend(token);
    let pseudo = [&[packet.dcid.len() as u8][..], &packet.dcid, &out].concat();
    let key =
        aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, KEY).expect("a key of 16 bytes"));
    let nonce = aead::Nonce::assume_unique_for_key(*NONCE);
    let tag =
        key.seal_in_place_separate_tag(nonce, aead::Aad::from(pseudo), &mut []).expect("a short packet");
    out.extend(tag.as_ref());
    out
}

/// The same two ends with another port of the client.
fn moved_flow(s: &mut Scene) -> usize {
    let moved = s.add_flow(40_777, 443, NAME);
    s.turn_to(0);
    moved
}
