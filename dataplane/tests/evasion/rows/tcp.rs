//! TCP: how the stream is cut, ordered, repeated and faked.

use crate::hello::{Hello, disguised, name_at, real, server_hello, sni_at};
use crate::scene::{NAME, Scene, Seg, Side};
use crate::table::{Expect, Row};
use crate::wire::{ACK, Carriage, ECE, FIN, NS, PSH, RST, SYN, Sum, URG};
use glassgate_policy::{Evidence, Reason};

const C: Expect = Expect::Name(Evidence::Sni);
/// A crafted packet that no endpoint takes: the true name, as if it were not there.
const INERT: Expect = C;
const OVERLAP: Expect = Expect::Ambiguous(Reason::AmbiguousOverlap);
const DECOYED: Expect = Expect::Ambiguous(Reason::AmbiguousDecoy);

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = cutting();
    rows.extend(repeating());
    rows.extend(handshakes());
    rows.extend(resets());
    rows.extend(decoys());
    rows
}

fn cutting() -> Vec<Row> {
    vec![
        Row::new("T1", "split after the first byte", C, |s| split(s, &real(), &[1])).live(),
        Row::new("T2", "split in the middle of the name", C, |s| {
            let hello = real();
            split(s, &hello, &[name_at(&hello) + NAME.len() / 2]);
        })
        .live(),
        Row::new("T3", "split one byte into the extension header of the name", C, |s| {
            let hello = real();
            split(s, &hello, &[sni_at(&hello) + 1]);
        })
        .live(),
        Row::new("T4", "one byte per segment, hello of 517 bytes", C, |s| {
            let hello = Hello::padded(&mut s.rng, NAME).record();
            assert_eq!(hello.len(), 517);
            byte_by_byte(s, &hello);
        })
        .live(),
        Row::new("T4", "one byte per segment, post-quantum hello", C, |s| {
            let hello = Hello::chrome(&mut s.rng, NAME, true).record();
            byte_by_byte(s, &hello);
        }),
        Row::new(
            "T4",
            "one byte per segment, every second one first: 64 gaps and more",
            Expect::Reason(Reason::ReasmCap),
            |s| {
                let hello = real();
                s.open();
                for at in (1..hello.len()).step_by(2).chain((0..hello.len()).step_by(2)) {
                    s.say(at, &hello[at..at + 1]);
                }
                s.finish(hello.len(), &server_hello(false));
            },
        ),
        Row::new("T5", "segments in reverse order", C, |s| {
            let hello = Hello::chrome(&mut s.rng, NAME, true).record();
            s.open();
            for at in (0..hello.len()).step_by(200).collect::<Vec<_>>().into_iter().rev() {
                s.say(at, &hello[at..hello.len().min(at + 200)]);
            }
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("T6", "segments cut and ordered at random", C, |s| {
            let hybrid = s.rng.within(0..=1) == 1;
            let hello = Hello::chrome(&mut s.rng, NAME, hybrid).record();
            let parts = s.rng.within(2..=40);
            s.open();
            s.say_shuffled(&hello, parts);
            s.finish(hello.len(), &server_hello(false));
        })
        .seeds(10_000)
        .live(),
        Row::new("T7", "second half after 5 s", C, |s| halves_apart(s, 5_000)),
        Row::new("T7", "second half after 60 s", Expect::Reason(Reason::ReasmTimeout), |s| {
            halves_apart(s, 60_000);
        }),
        Row::new("T14", "a window of 1 to 4 bytes forces tiny segments, each acknowledged", C, |s| {
            let hello = Hello::padded(&mut s.rng, NAME).record();
            s.open();
            let mut at = 0;
            while at < hello.len() {
                let window = s.rng.within(1..=4);
                s.flow_acks(at, window as u16);
                let to = hello.len().min(at + window);
                s.say(at, &hello[at..to]);
                at = to;
            }
            s.finish(hello.len(), &server_hello(false));
        })
        .seeds(20),
        Row::new("T21", "sequence numbers wrap inside the hello", C, |s| {
            s.flow().isn[0] = u32::MAX - 100;
            split(s, &real(), &[60, 101, 140]);
        })
        .live(),
        Row::new("T36", "link padding behind bare acknowledgements is no data", C, |s| {
            let hello = real();
            s.flow().timestamps = false;
            s.send(s.syn());
            s.send(s.syn_ack());
            // IPv4 leaves 6 bytes to pad; IPv6 has none left, so that a driver's own padding is imitated.
            let carriage = Carriage { trailer: vec![0x16; 6], ..Carriage::default() };
            s.send(Seg { carriage: carriage.clone(), ..s.bare(Side::Client) });
            s.say(0, &hello[..100]);
            s.acked(100);
            s.send(Seg { carriage, ..s.bare(Side::Client) });
            s.say(100, &hello[100..]);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
    ]
}

fn repeating() -> Vec<Row> {
    vec![
        Row::new("T8", "every segment twice", C, |s| {
            let hello = real();
            s.open();
            for pair in [0, 90, 180, hello.len()].windows(2) {
                s.say(pair[0], &hello[pair[0]..pair[1]]);
                s.say(pair[0], &hello[pair[0]..pair[1]]);
            }
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("T9", "the same range with different bytes, decoy first", OVERLAP, |s| {
            let hello = real();
            s.open();
            s.say(0, &disguised(&hello));
            s.say(0, &hello);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("T9", "the same in three segments, decoy first each time", OVERLAP, |s| {
            let (hello, decoy) = (real(), disguised(&real()));
            s.open();
            for pair in [0, name_at(&hello) + 10, name_at(&hello) + 40, hello.len()].windows(2) {
                s.say(pair[0], &decoy[pair[0]..pair[1]]);
                s.say(pair[0], &hello[pair[0]..pair[1]]);
            }
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("T10", "the same range with different bytes, decoy second", OVERLAP, |s| {
            let hello = real();
            s.open();
            s.say(0, &hello);
            s.say(0, &disguised(&hello));
            s.finish(hello.len(), &server_hello(false));
        }),
        Row::new("T10", "decoy only after the server acknowledged the hello", C, |s| {
            let hello = real();
            s.open();
            s.say(0, &hello);
            s.acked(hello.len());
            s.answer(&server_hello(false));
            s.say(0, &disguised(&hello));
            s.finish(hello.len(), &server_hello(false));
        }),
        Row::new("T11", "sequence number lowered and bytes before the window put in front", C, |s| {
            let hello = real();
            s.open();
            let mut seg = s.data(0, &[&disguised(&hello)[..100], &hello[..80]].concat());
            seg.seq -= 100;
            s.send(seg);
            s.say(80, &hello[80..]);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("T12", "a false head on the second segment, overwritten by the first", OVERLAP, |s| {
            let (hello, decoy) = (real(), disguised(&real()));
            let middle = name_at(&hello) + 40;
            s.open();
            s.say(0, &[&decoy[..middle], &hello[middle..]].concat());
            s.say(0, &hello[..middle]);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("T12", "the same, out of order until the first byte comes", OVERLAP, |s| {
            let (hello, decoy) = (real(), disguised(&real()));
            let middle = name_at(&hello) + 40;
            s.open();
            s.say(1, &[&decoy[1..middle], &hello[middle..]].concat());
            s.say(0, &hello[..middle]);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("T13", "partial overlaps of all nine shapes, same bytes", C, |s| {
            let hello = real();
            overlap(s, &hello, &hello);
        })
        .seeds(9)
        .live(),
        Row::new("T13", "partial overlaps of all nine shapes, different bytes", OVERLAP, |s| {
            let hello = real();
            overlap(s, &disguised(&hello), &hello);
        })
        .seeds(9)
        .live(),
        Row::new(
            "T22",
            "an urgent byte inside the name, which the server takes out of the stream",
            Expect::AmbiguousOne(Reason::AmbiguousOverlap),
            |s| {
                let mut hello = real();
                let at = name_at(&hello) + 5;
                hello.insert(at, b'x');
                urgent_at(s, &hello, at);
            },
        )
        .live(),
        Row::new(
            "T22",
            "a byte of the name is urgent, which some servers leave in the stream",
            Expect::AmbiguousOne(Reason::AmbiguousOverlap),
            |s| {
                let hello = real();
                urgent_at(s, &hello, name_at(&hello) + 5);
            },
        ),
        Row::new("T35", "a keep-alive probe with a byte of garbage before the first byte", C, |s| {
            let hello = real();
            s.open();
            let mut probe = s.data(0, &[0xee]);
            probe.seq -= 1;
            s.send(probe);
            s.say(0, &hello);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("T35", "a keep-alive probe with a byte of garbage in what was acknowledged", C, |s| {
            let hello = real();
            let middle = name_at(&hello) + 5;
            s.open();
            s.say(0, &hello[..middle]);
            s.acked(middle);
            s.say(middle - 1, &[0xee]);
            s.say(middle, &hello[middle..]);
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
    ]
}

fn handshakes() -> Vec<Row> {
    vec![
        Row::new("T15", "16 zero bytes in the SYN, not accepted", INERT, |s| syn_data(s, &[0; 16])).live(),
        Row::new("T15", "a decoy hello in the SYN, not accepted", INERT, |s| {
            syn_data(s, &disguised(&real()));
        })
        .live(),
        Row::new("T15", "a decoy hello in a SYN that comes again after the handshake", INERT, |s| {
            before(s, |s| Seg { payload: disguised(&real()), ..s.syn() });
        })
        .live(),
        Row::new("T16", "fast open: the whole hello in the SYN, accepted", C, |s| {
            fast_open(s, real().len());
        }),
        Row::new("T16", "fast open: the beginning of the hello in the SYN, accepted", C, |s| {
            fast_open(s, 100);
        }),
        Row::new("T17", "split handshake of four segments: SYN answered by SYN", C, |s| {
            split_handshake(s, false);
        }),
        Row::new("T17", "split handshake of five segments", C, |s| split_handshake(s, true)),
        Row::new("T18", "the client sends SYN/ACK before its SYN", INERT, |s| {
            s.send(Seg { flags: SYN | ACK, ..s.syn() });
            split(s, &real(), &[]);
        })
        .live(),
        Row::new("T18", "a SYN with another number and a low TTL before the true one", INERT, |s| {
            s.send(Seg { seq: 7_777_777, carriage: low_ttl(), ..s.syn() });
            split(s, &real(), &[100]);
        })
        .live(),
        Row::new("T18", "a SYN with another number and a low TTL after the handshake", INERT, |s| {
            before(s, |s| Seg { seq: 7_777_777, carriage: low_ttl(), ..s.syn() });
        })
        .live(),
        Row::new("T18", "a SYN with another number after the handshake", INERT, |s| {
            before(s, |s| Seg { seq: 7_777_777, ..s.syn() });
        })
        .live(),
        Row::new("T19", "the SYN was not seen, the hello is the first that is", C, |s| {
            let hello = real();
            s.say(0, &hello[..100]);
            s.say(100, &hello[100..]);
            s.finish(hello.len(), &server_hello(false));
        }),
        Row::new(
            "T19",
            "neither the SYN nor the beginning of the hello was seen",
            Expect::Reason(Reason::Midstream),
            |s| {
                let hello = real();
                s.say(10, &hello[10..]);
                s.finish(hello.len(), &server_hello(false));
            },
        ),
        Row::new("T20", "two SYN/ACKs with different numbers, the second is true", C, |s| {
            two_answers(s, true);
        }),
        Row::new("T20", "two SYN/ACKs with different numbers, the first is true", C, |s| {
            two_answers(s, false);
        }),
    ]
}

fn resets() -> Vec<Row> {
    vec![
        Row::new("T23", "RST with a bad checksum", INERT, |s| {
            before(s, |s| Seg { flags: RST, sum: Sum::Bad, ..s.bare(Side::Client) });
        })
        .live(),
        Row::new("T24", "RST with a low TTL", C, |s| {
            before(s, |s| Seg { flags: RST, ack: None, carriage: low_ttl(), ..s.bare(Side::Client) });
        })
        .live(),
        Row::new("T24", "RST and ACK with a low TTL", C, |s| {
            before(s, |s| Seg { flags: RST | ACK, carriage: low_ttl(), ..s.bare(Side::Client) });
        })
        .live(),
        Row::new("T24", "a reset that looks true, and nine seconds later the flow goes on", C, |s| {
            s.open();
            s.send(Seg { flags: RST | ACK, ..s.bare(Side::Client) });
            s.wait_ms(9_000);
            let hello = real();
            s.say(0, &hello);
            s.finish(hello.len(), &server_hello(false));
        }),
        Row::new("T25", "RST with a TCP-MD5 option", INERT, |s| {
            let signature = [&[19, 18][..], &[0x5a; 16]].concat();
            before(s, |s| {
                // A signature leaves no room for anything else worth having.
                Seg { flags: RST, options: signature, ..s.bare(Side::Client) }
            });
        }),
        Row::new(
            "T25",
            "the hello has a TCP-MD5 option, which only some servers mind; then a decoy",
            DECOYED,
            |s| {
                let options = [&[19, 18][..], &[0x5a; 16]].concat();
                odd_hello_then_decoy(s, |seg| Seg { options, ..seg });
            },
        )
        .live(),
        Row::new("T26", "RST far out of the window", INERT, |s| {
            before(s, |s| Seg { flags: RST, seq: 100_000_000, ..s.bare(Side::Client) });
        })
        .live(),
        Row::new("T26", "RST off by one", INERT, |s| {
            before(s, |s| Seg { flags: RST, seq: 2, ..s.bare(Side::Client) });
        })
        .live(),
        Row::new("T27", "FIN with a low TTL before the hello", C, |s| {
            before(s, |s| Seg { flags: FIN | ACK, carriage: low_ttl(), ..s.bare(Side::Client) });
        })
        .live(),
        Row::new("T27", "FIN whose IP length is beyond its frame", C, |s| {
            let carriage = Carriage { length_off_by: 30, ..Carriage::default() };
            before(s, |s| Seg { flags: FIN | ACK, carriage, ..s.bare(Side::Client) });
        })
        .live(),
        Row::new("T27", "FIN whose IP length is too short for its header", C, |s| {
            let carriage = Carriage { length_off_by: -20, ..Carriage::default() };
            before(s, |s| Seg { flags: FIN | ACK, carriage, ..s.bare(Side::Client) });
        })
        .live(),
    ]
}

fn decoys() -> Vec<Row> {
    vec![
        Row::new("T28", "decoy with a bad checksum", INERT, |s| {
            before(s, |s| Seg { sum: Sum::Bad, ..decoy(s) });
        })
        .live(),
        Row::new("T29", "decoy whose TTL is too short, first", DECOYED, |s| {
            before(s, |s| Seg { carriage: low_ttl(), ..decoy(s) });
        })
        .live(),
        Row::new("T29", "decoy whose TTL is too short, second", DECOYED, |s| {
            let hello = real();
            s.open();
            s.say(0, &hello);
            s.send(Seg { carriage: low_ttl(), ..decoy(s) });
            s.finish(hello.len(), &server_hello(false));
        }),
        Row::new("T30", "decoy without the ACK flag", INERT, |s| {
            before(s, |s| Seg { flags: PSH, ack: None, ..decoy(s) });
        })
        .live(),
        Row::new("T30", "decoy that acknowledges what was before the server's first byte", INERT, |s| {
            before(s, |s| Seg { ack: Some(1 - 66_000), ..decoy(s) });
        })
        .live(),
        Row::new("T30", "decoy that acknowledges what the server never sent", INERT, |s| {
            before(s, |s| Seg { ack: Some(1 + 66_000), ..decoy(s) });
        })
        .live(),
        Row::new(
            "T30",
            "the hello acknowledges less than it could, as many servers allow; then a decoy",
            OVERLAP,
            |s| {
                odd_hello_then_decoy(s, |seg| Seg { ack: Some(1 - 100), ..seg });
            },
        )
        .live(),
        Row::new("T31", "decoy 10 000 bytes before the window", INERT, |s| {
            before(s, |s| Seg { seq: 1 - 10_000, ..decoy(s) });
        })
        .live(),
        Row::new("T32", "decoy whose timestamp is ten minutes old", INERT, |s| {
            before(s, |s| Seg { ts_off_by: -600_000, ..decoy(s) });
        })
        .live(),
        Row::new(
            "T32",
            "the hello is a tick older than the SYN, as servers allow; then a decoy",
            OVERLAP,
            |s| {
                old_hello_then_decoy(s, -1);
            },
        )
        .live(),
        Row::new("T32", "the clock stood at zero, so that servers ignore it; then a decoy", OVERLAP, |s| {
            s.flow().clock[0] = 0_u32.wrapping_sub(1000);
            old_hello_then_decoy(s, -600_000);
        })
        .live(),
        Row::new(
            "T32",
            "the server did not agree to timestamps, the hello has an old one; then a decoy",
            OVERLAP,
            |s| {
                let hello = real();
                s.send(s.syn());
                s.send(Seg { untimed: true, ..s.syn_ack() });
                s.send(Seg { untimed: true, ..s.bare(Side::Client) });
                s.send(Seg { ts_off_by: -600_000, ..s.data(0, &hello) });
                s.send(Seg { untimed: true, ..decoy(s) });
                s.finish(hello.len(), &server_hello(false));
            },
        ),
        Row::new("T33", "decoy with data offset 10, checksum not made again", INERT, |s| {
            before(s, |s| Seg { data_offset: Some(10), sum: Sum::Stale, ..decoy(s) });
        })
        .live(),
        Row::new("T33", "decoy with data offset 15, checksum not made again", INERT, |s| {
            before(s, |s| Seg { data_offset: Some(15), sum: Sum::Stale, ..decoy(s) });
        })
        .live(),
        Row::new("T33", "decoy with data offset 4", INERT, |s| {
            before(s, |s| Seg { data_offset: Some(4), ..decoy(s) });
        })
        .live(),
        Row::new("T33", "decoy with a broken window scale option, checksum not made again", INERT, |s| {
            before(s, |s| Seg {
                options: vec![3, 0, 7, 1],
                data_offset: Some(8),
                sum: Sum::Stale,
                ..decoy(s)
            });
        })
        .live(),
        Row::new("T33", "the hello itself with a broken user timeout option", C, |s| {
            let hello = real();
            s.open();
            s.send(Seg { options: vec![28, 40, 0, 1], ..s.data(0, &hello) });
            s.finish(hello.len(), &server_hello(false));
        })
        .live(),
        Row::new("T34", "decoy with SYN and FIN", INERT, |s| flagged(s, SYN | FIN)).live(),
        Row::new("T34", "decoy with every flag", INERT, |s| {
            flagged(s, FIN | RST | ACK | PSH | URG | ECE | NS);
        }),
        Row::new("T34", "decoy with SYN and ACK", INERT, |s| flagged(s, SYN | ACK | PSH)).live(),
        Row::new("T34", "decoy without flags", INERT, |s| flagged(s, 0)).live(),
        Row::new("T34", "decoy with FIN, PSH and URG", INERT, |s| flagged(s, FIN | PSH | URG)).live(),
    ]
}

/// The whole flow, with the hello cut at `at`.
fn split(s: &mut Scene, hello: &[u8], at: &[usize]) {
    let cuts = [&[0], at, &[hello.len()]].concat();
    s.open();
    s.say_cut(hello, &cuts);
    s.finish(hello.len(), &server_hello(false));
}

fn byte_by_byte(s: &mut Scene, hello: &[u8]) {
    split(s, hello, &(1..hello.len()).collect::<Vec<_>>());
}

fn halves_apart(s: &mut Scene, ms: u64) {
    let hello = real();
    s.open();
    s.say(0, &hello[..130]);
    s.acked(130);
    s.wait_ms(ms);
    s.say(130, &hello[130..]);
    s.finish(hello.len(), &server_hello(false));
}

/// `first` bytes stand round the name, out of order; then `then` bytes come over them in one of the nine shapes that two
/// ranges with a common part can have; then the rest of the hello, which is the same in both.
fn overlap(s: &mut Scene, first: &[u8], then: &[u8]) {
    let name = name_at(then);
    let (from, to) = (name - 6, name + NAME.len() + 6);
    let begin = [from - 3, from, from + 3][s.seed as usize % 3];
    let end = [to - 3, to, to + 3][s.seed as usize / 3 % 3];
    s.open();
    s.say(from, &first[from..to]);
    s.say(begin, &then[begin..end]);
    s.say(0, &then[..from]);
    s.say(to, &then[to..]);
    s.finish(then.len(), &server_hello(false));
}

/// The hello in three segments, of which the middle one ends with the byte at `at`, which is urgent: the pointer names the
/// byte behind it (RFC 6093 section 2.2).
fn urgent_at(s: &mut Scene, hello: &[u8], at: usize) {
    s.open();
    let head = s.data(0, &hello[..=at]);
    s.send(Seg { flags: PSH | ACK | URG, urgent: at as u16 + 1, ..head });
    s.say(at + 1, &hello[at + 1..]);
    s.finish(hello.len(), &server_hello(false));
}

/// A SYN with data of which the server takes nothing; then the true hello.
fn syn_data(s: &mut Scene, data: &[u8]) {
    s.send(Seg { payload: data.to_vec(), ..s.syn() });
    s.send(s.syn_ack());
    s.send(Seg { seq: 1, ..s.bare(Side::Client) });
    let hello = real();
    s.say(0, &hello);
    s.finish(hello.len(), &server_hello(false));
}

/// RFC 7413: a SYN with a cookie and the first `len` bytes, all of which the server takes.
fn fast_open(s: &mut Scene, len: usize) {
    let hello = real();
    let cookie = vec![34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    s.send(Seg { payload: hello[..len].to_vec(), options: cookie, seq: 0, ..s.syn() });
    s.send(Seg { ack: Some(1 + len as i64), ..s.syn_ack() });
    s.send(Seg { seq: 1 + len as i64, ..s.bare(Side::Client) });
    if len < hello.len() {
        s.say(len, &hello[len..]);
    }
    s.finish(hello.len(), &server_hello(false));
}

fn split_handshake(s: &mut Scene, acknowledged_first: bool) {
    s.send(s.syn());
    if acknowledged_first {
        s.send(Seg { seq: 0, ..s.bare(Side::Server) });
    }
    s.send(Seg { flags: SYN, ack: None, ..s.syn_ack() });
    s.send(Seg { flags: SYN | ACK, ack: Some(1), ..s.syn() });
    s.send(s.bare(Side::Server));
    let hello = real();
    s.say(0, &hello);
    s.finish(hello.len(), &server_hello(false));
}

fn two_answers(s: &mut Scene, false_first: bool) {
    let hello = real();
    let stray = Seg { seq: 1_234_567, ..s.syn_ack() };
    s.send(s.syn());
    let answers = if false_first { [stray, s.syn_ack()] } else { [s.syn_ack(), stray] };
    for answer in answers {
        s.send(answer);
    }
    s.send(s.bare(Side::Client));
    s.say(0, &hello[..100]);
    s.say(100, &hello[100..]);
    s.finish(hello.len(), &server_hello(false));
}

/// Handshake, the crafted segment, then the true hello.
fn before(s: &mut Scene, crafted: impl FnOnce(&Scene) -> Seg) {
    let hello = real();
    s.open();
    s.send(crafted(s));
    s.say(0, &hello[..150]);
    s.say(150, &hello[150..]);
    s.finish(hello.len(), &server_hello(false));
}

/// The true hello in a segment that looks as if servers refused it, and isn't refused; then a decoy like any other segment.
/// Who ignores the first must not believe the second.
fn odd_hello_then_decoy(s: &mut Scene, odd: impl FnOnce(Seg) -> Seg) {
    let hello = real();
    s.open();
    s.send(odd(s.data(0, &hello)));
    s.send(decoy(s));
    s.finish(hello.len(), &server_hello(false));
}

/// As [`odd_hello_then_decoy`], the hello with a timestamp that differs by `off_by` from that of the SYN.
fn old_hello_then_decoy(s: &mut Scene, off_by: i64) {
    let hello = real();
    s.send(s.syn());
    s.send(s.syn_ack());
    // Two and three milliseconds after the SYN.
    s.send(Seg { ts_off_by: -2, ..s.bare(Side::Client) });
    s.send(Seg { ts_off_by: off_by - 3, ..s.data(0, &hello) });
    s.send(decoy(s));
    s.finish(hello.len(), &server_hello(false));
}

fn decoy(s: &Scene) -> Seg {
    s.data(0, &disguised(&real()))
}

fn flagged(s: &mut Scene, flags: u16) {
    before(s, |s| Seg { flags, ack: (flags & ACK != 0).then_some(1), ..decoy(s) });
}

fn low_ttl() -> Carriage {
    Carriage { ttl: 1, ..Carriage::default() }
}
