//! TLS: how the hello is framed, what it says, and what stands before it.

use crate::hello::{
    ALPN, EARLY_DATA, ECH, ESNI, Hello, PRE_SHARED_KEY, SERVER_NAME, alpn, disguised, ech, grease, name_at,
    real, record, records, server_hello, server_name, server_names, vec16,
};
use crate::scene::{DECOY, MSS, NAME, Scene, Side};
use crate::table::{Expect, Row};
use glassgate_policy::{Evidence, Reason};

const C: Expect = Expect::Name(Evidence::Sni);
const CAPPED: Expect = Expect::Reason(Reason::ReasmCap);
const MALFORMED_SNI: Expect = Expect::Reason(Reason::MalformedSni);
const NO_SNI: Expect = Expect::Reason(Reason::NoSni);
const UNKNOWN: Expect = Expect::Reason(Reason::UnknownProto);
const HANDSHAKE: u8 = 22;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = framing();
    rows.extend(names());
    rows.extend(contents());
    rows.extend(surroundings());
    rows
}

fn framing() -> Vec<Row> {
    vec![
        Row::new("L53", "hello in two records in one segment", C, |s| {
            let message = Hello::chrome(&mut s.rng, NAME, false).message();
            let cut = s.rng.within(1..=message.len() - 1);
            whole(s, &records(&message, &[0, cut, message.len()]));
        })
        .seeds(500)
        .live(),
        Row::new("L54", "hello in records of one byte", C, |s| {
            let message = Hello::chrome(&mut s.rng, NAME, true).message();
            let stream = records(&message, &(0..=message.len()).collect::<Vec<_>>());
            assert!(stream.len() < 16 * 1024);
            whole(s, &stream);
        })
        .live(),
        Row::new("L54", "hello in records of one byte, more than 16 KiB of them", CAPPED, |s| {
            let mut hello = Hello::padded(&mut s.rng, NAME);
            hello.pad_to(2_800);
            let message = hello.message();
            whole(s, &records(&message, &(0..=message.len()).collect::<Vec<_>>()));
        }),
        Row::new("L55", "records, segments and their order at random", C, |s| {
            let hybrid = s.rng.within(0..=1) == 1;
            let message = Hello::chrome(&mut s.rng, NAME, hybrid).message();
            let parts = s.rng.within(2..=60);
            let stream = records(&message, &s.rng.cuts(message.len(), parts));
            let parts = s.rng.within(2..=30);
            s.open();
            s.say_shuffled(&stream, parts);
            s.finish(stream.len(), &server_hello(false));
        })
        .seeds(2_000)
        .live(),
        Row::new("L56", "record versions 3.0 to 3.4 and a bogus one", C, |s| {
            let message = Hello::chrome(&mut s.rng, NAME, false).message();
            let version = [0x0300, 0x0301, 0x0302, 0x0303, 0x0304, 0x03ff][s.seed as usize % 6];
            whole(s, &record(HANDSHAKE, version, &message));
        })
        .seeds(6),
        Row::new("L57", "change_cipher_spec before the hello", C, |s| {
            whole(s, &[record(20, 0x0303, &[1]), real()].concat());
        }),
        Row::new("L57", "warning alert before the hello", C, |s| {
            whole(s, &[record(21, 0x0301, &[1, 0]), real()].concat());
        }),
        Row::new("L57", "fatal alert before the hello", Expect::Reason(Reason::MalformedTls), |s| {
            whole(s, &[record(21, 0x0301, &[2, 40]), real()].concat())
        }),
    ]
}

fn names() -> Vec<Row> {
    vec![
        Row::new("L58", "name in random case", C, |s| {
            let mut name = NAME.as_bytes().to_vec();
            for byte in &mut name {
                if s.rng.word() & 1 == 1 {
                    byte.make_ascii_uppercase();
                }
            }
            named(s, &name);
        })
        .seeds(100)
        .live(),
        Row::new("L59", "name with a trailing dot", C, |s| named(s, format!("{NAME}.").as_bytes())),
        Row::new("L60", "two extensions with a name", MALFORMED_SNI, |s| {
            let mut hello = Hello::chrome(&mut s.rng, NAME, false);
            hello.extensions.insert(4, (SERVER_NAME, server_name(DECOY.as_bytes())));
            whole(s, &hello.record());
        }),
        Row::new("L60", "two names in one extension", MALFORMED_SNI, |s| {
            with(s, SERVER_NAME, server_names(&[NAME.as_bytes(), DECOY.as_bytes()]));
        }),
        Row::new("L61", "no name", NO_SNI, |s| {
            let mut hello = Hello::chrome(&mut s.rng, NAME, false);
            hello.remove(SERVER_NAME);
            hello.remove(ECH);
            whole(s, &hello.record());
        })
        .live(),
        Row::new("L62", "name of no bytes", MALFORMED_SNI, |s| named(s, b"")),
        Row::new("L62", "name of 256 bytes", MALFORMED_SNI, |s| {
            named(s, &[b"abc.".repeat(63), b"defg".to_vec()].concat())
        }),
        Row::new("L62", "NUL in the name", MALFORMED_SNI, |s| {
            named(s, b"www.zhaopin.example\0.weather.example")
        }),
        Row::new("L62", "name that is not ASCII", MALFORMED_SNI, |s| named(s, "www.招聘.example".as_bytes())),
        Row::new("L62", "IPv4 address as name", NO_SNI, |s| {
            s.shown.push("198.51.100.20".into());
            named(s, b"198.51.100.20");
        }),
        Row::new("L62", "IPv6 address as name", NO_SNI, |s| {
            s.shown.push("2001:db8:2::20".into());
            named(s, b"2001:db8:2::20");
        }),
    ]
}

fn contents() -> Vec<Row> {
    vec![
        Row::new("L63", "extensions in random order", C, |s| {
            let mut hello = Hello::chrome(&mut s.rng, NAME, false);
            s.rng.shuffle(&mut hello.extensions);
            whole(s, &hello.record());
        })
        .seeds(10_000)
        .live(),
        Row::new("L64", "GREASE wherever it may stand", C, |s| {
            let mut hello = Hello::chrome(&mut s.rng, NAME, true);
            for _ in 0..6 {
                let at = s.rng.within(0..=hello.ciphers.len());
                hello.ciphers.insert(at, grease(&mut s.rng));
            }
            let mut kinds: Vec<u16> = (0..16).map(|i| 0x0a0a + i * 0x1010).collect();
            kinds.retain(|kind| hello.extensions.iter().all(|(k, _)| k != kind));
            for kind in kinds {
                let (at, len) = (s.rng.within(0..=hello.extensions.len()), s.rng.within(0..=20));
                let body = s.rng.bytes(len);
                hello.extensions.insert(at, (kind, body));
            }
            hello.set(ALPN, alpn(&[&[0x1a, 0x1a], b"h2", b"http/1.1"]));
            whole(s, &hello.record());
        })
        .seeds(100)
        .live(),
        Row::new(
            "L65",
            "encrypted hello behind a provider's public name",
            Expect::Reason(Reason::EchOuter),
            |s| {
                s.shown.push("cloudflare-ech.com".into());
                let mut hello = Hello::chrome(&mut s.rng, "cloudflare-ech.com", true);
                let ech = ech(&mut s.rng);
                hello.set(ECH, ech);
                whole(s, &hello.record());
            },
        ),
        Row::new("L66", "GREASE where an encrypted hello would stand", Expect::NameWithEch, |s| {
            let hello = Hello::chrome(&mut s.rng, NAME, true).record();
            whole(s, &hello);
        })
        .seeds(100)
        .live(),
        Row::new("L67", "the forerunner of encrypted hellos beside the name", C, |s| {
            let esni = s.rng.bytes(366);
            with(s, ESNI, esni);
        }),
        Row::new("L68", "post-quantum hello of 1 700 to 1 900 bytes in two segments", C, |s| {
            let mut hello = Hello::chrome(&mut s.rng, NAME, true);
            let least = hello.message().len() + 4;
            let len = s.rng.within(least..=1_895);
            hello.pad_to(len);
            let stream = hello.record();
            assert!((1_700..=1_900).contains(&stream.len()), "{}", stream.len());
            whole(s, &stream);
        })
        .seeds(200)
        .live(),
        Row::new("L69", "hello padded to 16 000 bytes", C, |s| {
            let mut hello = Hello::padded(&mut s.rng, NAME);
            hello.pad_to(16_000);
            whole(s, &hello.record());
        })
        .live(),
        Row::new("L69", "hello padded to more than 16 KiB", CAPPED, |s| {
            let mut hello = Hello::padded(&mut s.rng, NAME);
            hello.pad_to(16_500);
            let message = hello.message();
            whole(s, &records(&message, &[0, 16_384, message.len()]));
        }),
        Row::new("L71", "resumption with early data", C, |s| {
            let mut hello = Hello::chrome(&mut s.rng, NAME, true);
            hello.set(EARLY_DATA, vec![]);
            let identity = [vec16(&s.rng.bytes(192)), s.rng.bytes(4)].concat();
            let binder = [vec![32], s.rng.bytes(32)].concat();
            // Must be the last extension (RFC 8446 section 4.2.11).
            hello.extensions.push((PRE_SHARED_KEY, [vec16(&identity), vec16(&binder)].concat()));
            let early: Vec<u8> = (0..3).flat_map(|_| record(23, 0x0303, &s.rng.bytes(700))).collect();
            whole(s, &[hello.record(), early].concat());
        })
        .live(),
        Row::new("L75", "the inner Host, which is another, stands in encrypted records", C, |s| {
            let hello = real();
            s.open();
            s.say(0, &hello);
            s.acked(hello.len());
            s.answer(&server_hello(false));
            let request = record(23, 0x0303, &s.rng.bytes(300));
            s.say(hello.len(), &request);
            s.finish(hello.len() + request.len(), &record(23, 0x0303, &[0x77; 900]));
        }),
    ]
}

fn surroundings() -> Vec<Row> {
    vec![
        Row::new(
            "L70",
            "the server asks for another hello, which is for another name",
            Expect::Ambiguous(Reason::AmbiguousDecoy),
            |s| retried(s, &disguised(&real())),
        ),
        Row::new("L70", "the server asks for another hello, which is for the same name", C, |s| {
            retried(s, &real());
        }),
        Row::new("L72", "SMTP", C, |s| {
            after(
                s,
                25,
                &[
                    (b"", b"220 mx.example ESMTP\r\n"),
                    (b"EHLO client.example\r\n", b"250-mx.example\r\n250-SIZE 1000000\r\n250 STARTTLS\r\n"),
                    (b"STARTTLS\r\n", b"220 2.0.0 ready\r\n"),
                ],
            );
        }),
        Row::new("L72", "IMAP", C, |s| {
            after(
                s,
                143,
                &[
                    (b"", b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
                    (b"a1 CAPABILITY\r\n", b"* CAPABILITY IMAP4rev1 STARTTLS\r\na1 OK done\r\n"),
                    (b"a2 STARTTLS\r\n", b"a2 OK begin\r\n"),
                ],
            );
        }),
        Row::new("L72", "POP3", C, |s| {
            after(
                s,
                110,
                &[
                    (b"", b"+OK ready\r\n"),
                    (b"CAPA\r\n", b"+OK\r\nSTLS\r\n.\r\n"),
                    (b"STLS\r\n", b"+OK begin\r\n"),
                ],
            );
        }),
        Row::new("L72", "LDAP", C, |s| {
            // ExtendedRequest and its response (RFC 4511 section 4.14).
            after(
                s,
                389,
                &[(
                    b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037",
                    b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00",
                )],
            );
        }),
        Row::new("L72", "XMPP", C, |s| {
            after(s, 5222, &[
                (
                    b"<?xml version='1.0'?><stream:stream to='www.zhaopin.example' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>",
                    b"<stream:stream xmlns='jabber:client' id='1' version='1.0'><stream:features>\
                      <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
                ),
                (
                    b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
                    b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
                ),
            ]);
        }),
        Row::new("L72", "SMTP that goes on for more than 4 KiB before", UNKNOWN, |s| {
            let noops = b"NOOP\r\n".repeat(700);
            let replies = b"250 OK\r\n".repeat(700);
            after(
                s,
                25,
                &[
                    (b"", b"220 mx.example ESMTP\r\n"),
                    (b"EHLO client.example\r\n", b"250-mx.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
                    (&noops, &replies),
                    (b"STARTTLS\r\n", b"220 2.0.0 ready\r\n"),
                ],
            );
        }),
        Row::new("L73", "only the client is heard", C, |s| {
            whole(s, &real());
            one_side(s, Side::Client);
        }),
        Row::new("L73", "only the server is heard", Expect::Reason(Reason::NoPayload), |s| {
            whole(s, &real());
            one_side(s, Side::Server);
        }),
        Row::new("L74", "on the ports of other protocols", C, |s| {
            let port = [80, 25, 53, 8080, 22, 61_234][s.seed as usize % 6];
            s.flow().server.set_port(port);
            whole(s, &Hello::chrome(&mut s.rng.clone(), NAME, true).record());
        })
        .seeds(6),
        Row::new("L76", "1 byte to 4 KiB of junk before the hello", UNKNOWN, |s| {
            let len = match s.seed {
                0..8 => 1 + s.seed as usize,
                8 => 4096,
                _ => s.rng.within(1..=4096),
            };
            let mut junk = s.rng.bytes(len);
            // Not by chance the beginning of a protocol that is known.
            junk[0] = b'#';
            whole(s, &[junk, real()].concat());
        })
        .seeds(200),
    ]
}

/// The whole flow, in segments as large as they get.
fn whole(s: &mut Scene, stream: &[u8]) {
    s.open();
    let mut cuts: Vec<usize> = (0..stream.len()).step_by(MSS).collect();
    cuts.push(stream.len());
    s.say_cut(stream, &cuts);
    s.finish(stream.len(), &server_hello(false));
}

fn with(s: &mut Scene, extension: u16, data: Vec<u8>) {
    let mut hello = Hello::chrome(&mut s.rng, NAME, false);
    hello.set(extension, data);
    whole(s, &hello.record());
}

fn named(s: &mut Scene, name: &[u8]) {
    with(s, SERVER_NAME, server_name(name));
}

fn retried(s: &mut Scene, second: &[u8]) {
    let first = real();
    s.open();
    s.say(0, &first);
    s.acked(first.len());
    s.answer(&server_hello(true));
    let at = name_at(&first) + 4;
    s.say(first.len(), &second[..at]);
    s.say(first.len() + at, &second[at..]);
    s.finish(first.len() + second.len(), &server_hello(false));
}

/// A dialogue of lines, then the hello: each turn is what the client says, if anything, and what the server answers.
fn after(s: &mut Scene, port: u16, turns: &[(&[u8], &[u8])]) {
    s.flow().server.set_port(port);
    s.open();
    let mut at = 0;
    for (says, answer) in turns {
        for part in says.chunks(MSS) {
            s.say(at, part);
            at += part.len();
        }
        s.acked(at);
        for part in answer.chunks(MSS) {
            s.answer(part);
        }
    }
    let hello = real();
    s.say(at, &hello[..140]);
    s.say(at + 140, &hello[140..]);
    s.finish(at + hello.len(), &server_hello(false));
}

fn one_side(s: &mut Scene, side: Side) {
    s.steps.retain(|(_, step)| matches!(step, crate::scene::Step::Segment(seg) if seg.from == side));
}
