//! HTTP/1, h2c, DNS, and what travels inside of them.

use super::quic::one_datagram;
use crate::hello::{ALPN, Hello, SERVER_NAME, alpn, disguised, real, server_hello, server_name};
use crate::initial::{CHROME_DATAGRAM, Keys, Packet, V1, crypto};
use crate::scene::{DECOY, MSS, NAME, Scene, Seg, Side};
use crate::table::{Expect, Row};
use crate::wire::{Carriage, Sum};
use glassgate_policy::{Category, Evidence, Reason};

const C: Expect = Expect::Name(Evidence::HttpHost);
const MALFORMED: Expect = Expect::Reason(Reason::MalformedHttp);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// A resolver for encrypted DNS that the signatures list as a tunnel.
const RESOLVER: &str = "dns.google";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = heads();
    rows.extend(messages());
    rows.extend(dns());
    rows.extend(inside());
    rows.extend(decoys());
    rows
}

fn heads() -> Vec<Row> {
    vec![
        Row::new("H97", "the field name in any case", C, |s| {
            let name = ["host", "hoSt", "HOST", "hOsT"][s.seed as usize % 4];
            get(s, &format!("GET / HTTP/1.1\r\n{name}: {NAME}\r\nAccept: */*\r\n\r\n"));
        })
        .seeds(4)
        .live(),
        Row::new("H98", "no space, spaces and tabs round the value", C, |s| {
            let field = ["Host:{}", "Host:   {}   ", "Host:\t{}\t", "Host: \t {} \t"][s.seed as usize % 4];
            get(s, &format!("GET / HTTP/1.1\r\n{}\r\n\r\n", field.replace("{}", NAME)));
        })
        .seeds(4)
        .live(),
        Row::new("H99", "the value cut anywhere over two segments", C, |s| {
            let request = format!("GET / HTTP/1.1\r\nUser-Agent: x\r\nHost: {NAME}\r\nAccept: */*\r\n\r\n");
            let cut = 1 + s.seed as usize % (request.len() - 1);
            request_cut(s, request.as_bytes(), &[cut]);
        })
        .seeds(85)
        .live(),
        Row::new("H99", "the value in one byte per segment", C, |s| {
            let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
            request_cut(s, request.as_bytes(), &(1..request.len()).collect::<Vec<_>>());
        })
        .live(),
        Row::new("H100", "CRLF or LF before the method", C, |s| {
            let before = ["\r\n", "\n", "\r\n\r\n"][s.seed as usize % 3];
            get(s, &format!("{before}GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n"));
        })
        .seeds(3),
        Row::new("H101", "lines that end with LF alone", C, |s| {
            get(s, &format!("GET / HTTP/1.1\nHost: {NAME}\nAccept: */*\n\n"));
        }),
        Row::new("H101", "the value folded over two lines", MALFORMED, |s| {
            get(s, &format!("GET / HTTP/1.1\r\nHost: www\r\n .{}\r\n\r\n", &NAME[4..]));
        }),
        Row::new(
            "H102",
            "a target with another name than the Host",
            Expect::Ambiguous(Reason::AmbiguousOverlap),
            |s| get(s, &format!("GET http://{DECOY}/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n")),
        ),
        Row::new("H102", "a target with the same name as the Host", C, |s| {
            get(s, &format!("GET http://{NAME}/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n"));
        }),
        Row::new("H103", "two Host fields", MALFORMED, |s| {
            get(s, &format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nAccept: */*\r\nHost: {DECOY}\r\n\r\n"));
        }),
        Row::new("H104", "port, trailing dot and mixed case", C, |s| {
            let mut host = NAME.to_owned();
            if s.seed & 1 == 1 {
                host = host.to_uppercase();
            }
            if s.seed & 2 == 2 {
                host.push('.');
            }
            if s.seed & 4 == 4 {
                host.push_str(":80");
            }
            get(s, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        })
        .seeds(8),
        Row::new("H106", "64 KiB of fields before Host", Expect::Reason(Reason::ReasmCap), |s| {
            let field = format!("X-Fill: {}\r\n", "f".repeat(90));
            get(s, &format!("GET / HTTP/1.1\r\n{}Host: {NAME}\r\n\r\n", field.repeat(656)));
        }),
        Row::new("H106", "12 KiB of fields before Host", C, |s| {
            let field = format!("X-Fill: {}\r\n", "f".repeat(90));
            get(s, &format!("GET / HTTP/1.1\r\n{}Host: {NAME}\r\n\r\n", field.repeat(120)));
        }),
        Row::new("H108", "a method that nobody knows", C, |s| {
            get(s, &format!("FROBNICATE / HTTP/1.1\r\nHost: {NAME}\r\n\r\n"));
        }),
        Row::new("H108", "four spaces behind the method", C, |s| {
            get(s, &format!("GET    / HTTP/1.1\r\nHost: {NAME}\r\n\r\n"));
        }),
    ]
}

fn messages() -> Vec<Row> {
    vec![
        Row::new(
            "H105",
            "a second request to another host behind the first",
            Expect::FirstOfSeveral(Evidence::HttpHost),
            |s| {
                s.flow().names.push(DECOY.into());
                let first = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
                let second = format!("GET / HTTP/1.1\r\nHost: {DECOY}\r\n\r\n");
                get(s, &format!("{first}{second}"));
            },
        ),
        Row::new(
            "H105",
            "a second request to another host after the answer to the first",
            Expect::FirstOfSeveral(Evidence::HttpHost),
            |s| {
                s.flow().names.push(DECOY.into());
                s.flow().server.set_port(80);
                let first = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
                let second = format!("GET / HTTP/1.1\r\nHost: {DECOY}\r\n\r\n");
                s.open();
                s.say(0, first.as_bytes());
                s.acked(first.len());
                s.answer(OK);
                s.say(first.len(), second.as_bytes());
                s.finish(first.len() + second.len(), OK);
            },
        ),
        Row::new("H107", "HTTP/2 without TLS", C, |s| {
            let mut stream = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            stream.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
            // HPACK: method GET, scheme http, path / from the static table, and :authority as a literal.
            let fields = [&[0x82, 0x86, 0x84, 0x41, NAME.len() as u8][..], NAME.as_bytes()].concat();
            stream.extend([0, 0, fields.len() as u8, 1, 5, 0, 0, 0, 1]);
            stream.extend(fields);
            request_cut(s, &stream, &[30, 50]);
        })
        .live(),
        Row::new("H107", "an upgrade to HTTP/2", C, |s| {
            get(
                s,
                &format!(
                    "GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                     HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
                ),
            );
        }),
    ]
}

fn dns() -> Vec<Row> {
    let named = Expect::Name(Evidence::Dns);
    let malformed = Expect::Reason(Reason::MalformedDns);
    vec![
        Row::new("H109", "DNS over TCP, its length cut from it", named, |s| {
            let query = query(NAME.as_bytes());
            let stream = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
            let answer = [&(answer(&query).len() as u16).to_be_bytes()[..], &answer(&query)].concat();
            s.flow().server.set_port(53);
            s.open();
            s.say_cut(&stream, &[0, 1, 2, 20, stream.len()]);
            s.finish(stream.len(), &answer);
        }),
        Row::new("H110", "a name that points to itself", malformed, |s| {
            let query = query(NAME.as_bytes());
            let mut looped = query[..12].to_vec();
            looped.extend([0xc0, 12, 0, 1, 0, 1]);
            ask(s, &looped, None);
        }),
        Row::new("H110", "a name of 255 labels", malformed, |s| {
            let mut long = query(NAME.as_bytes())[..12].to_vec();
            long.extend([1, b'a'].repeat(255));
            long.extend([0, 0, 1, 0, 1]);
            ask(s, &long, None);
        }),
        Row::new("H110", "a name in random case", named, |s| {
            let mut name = NAME.as_bytes().to_vec();
            for byte in &mut name {
                if s.rng.word() & 1 == 1 {
                    byte.make_ascii_uppercase();
                }
            }
            let query = query(&name);
            ask(s, &query, Some(&answer(&query)));
        })
        .seeds(100),
        Row::new("H111", "DNS over HTTPS", Expect::NameIn(Evidence::Sni, Category::Tunnel), |s| {
            resolver(s, 443, &[b"h2"]);
        }),
        Row::new("H111", "DNS over TLS", Expect::NameIn(Evidence::Sni, Category::Tunnel), |s| {
            resolver(s, 853, &[b"dot"]);
        }),
        Row::new("H111", "DNS over QUIC", Expect::NameIn(Evidence::QuicSni, Category::Tunnel), |s| {
            s.flow().names = vec![RESOLVER.into()];
            s.flow().server.set_port(853);
            let mut hello = Hello::quic(&mut s.rng, RESOLVER, false);
            hello.set(ALPN, alpn(&[b"doq"]));
            let packet = Packet::first(&mut s.rng, V1);
            let keys = Keys::initial(V1, &packet.dcid, Side::Client);
            let initial = packet.with(crypto(0, &hello.message())).padded(CHROME_DATAGRAM).seal(&keys);
            s.datagram(Side::Client, &initial);
        }),
    ]
}

/// The decoys of other groups, for a protocol without encryption.
fn decoys() -> Vec<Row> {
    let two = Expect::Ambiguous(Reason::AmbiguousOverlap);
    vec![
        Row::new("T9", "a request twice with different names, decoy first", two, |s| twice(s, [DECOY, NAME]))
            .live(),
        Row::new("T10", "a request twice with different names, decoy second", two, |s| {
            twice(s, [NAME, DECOY])
        }),
        Row::new("T28", "a decoy request with a bad checksum", C, |s| {
            let [decoy, request] = [DECOY, NAME].map(request_for);
            s.flow().server.set_port(80);
            s.open();
            s.send(Seg { sum: Sum::Bad, ..s.data(0, &decoy) });
            s.say(0, &request);
            s.finish(request.len(), OK);
        })
        .live(),
        Row::new(
            "T29",
            "a decoy request whose TTL is too short",
            Expect::Ambiguous(Reason::AmbiguousDecoy),
            |s| {
                let [decoy, request] = [DECOY, NAME].map(request_for);
                s.flow().server.set_port(80);
                s.open();
                s.send(Seg { carriage: Carriage { ttl: 1, ..Carriage::default() }, ..s.data(0, &decoy) });
                s.say(0, &request);
                s.finish(request.len(), OK);
            },
        )
        .live(),
    ]
}

fn request_for(name: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {name}\r\nAccept: */*\r\n\r\n").into_bytes()
}

fn twice(s: &mut Scene, names: [&str; 2]) {
    s.flow().server.set_port(80);
    s.open();
    for name in names {
        s.say(0, &request_for(name));
    }
    s.finish(request_for(NAME).len(), OK);
}

fn inside() -> Vec<Row> {
    vec![
        Row::new("H112", "a WebSocket with another protocol in it", C, |s| {
            let request = format!(
                "GET /chat HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            );
            let carried = disguised(&real());
            let frame =
                [&[0x82, 0xfe][..], &(carried.len() as u16).to_be_bytes(), &[0; 4], &carried].concat();
            carry(s, &request, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", &frame);
        }),
        Row::new("H112", "CONNECT with a hello for another name in it", C, |s| {
            let request = format!("CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\n\r\n");
            carry(s, &request, b"HTTP/1.1 200 Connection established\r\n\r\n", &disguised(&real()));
        }),
        Row::new("H112", "MASQUE: QUIC in QUIC", Expect::Name(Evidence::QuicSni), |s| {
            let (_, datagram) = one_datagram(s);
            s.datagram(Side::Client, &datagram);
            for _ in 0..5 {
                let inner = [vec![0x41], s.rng.bytes(1200)].concat();
                s.datagram(Side::Client, &inner);
                s.datagram(Side::Server, &inner);
            }
        }),
    ]
}

fn get(s: &mut Scene, request: &str) {
    let cuts: Vec<usize> = (1..).map(|i| i * MSS).take_while(|at| *at < request.len()).collect();
    request_cut(s, request.as_bytes(), &cuts);
}

fn request_cut(s: &mut Scene, request: &[u8], at: &[usize]) {
    s.flow().server.set_port(80);
    s.open();
    s.say_cut(request, &[&[0], at, &[request.len()]].concat());
    s.finish(request.len(), OK);
}

/// A request, the answer to it, and what is carried from then on.
fn carry(s: &mut Scene, request: &str, answer: &[u8], carried: &[u8]) {
    s.flow().server.set_port(80);
    s.open();
    s.say(0, request.as_bytes());
    s.acked(request.len());
    s.answer(answer);
    s.say(request.len(), carried);
    s.finish(request.len() + carried.len(), &server_hello(false));
}

fn query(name: &[u8]) -> Vec<u8> {
    let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split(|b| *b == b'.') {
        out.push(label.len() as u8);
        out.extend(label);
    }
    out.extend([0, 0, 1, 0, 1]);
    out
}

fn answer(query: &[u8]) -> Vec<u8> {
    let mut out = query.to_vec();
    out[2..4].copy_from_slice(&[0x81, 0x80]);
    out[7] = 1;
    out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 20]);
    out
}

fn ask(s: &mut Scene, query: &[u8], answer: Option<&[u8]>) {
    s.flow().server.set_port(53);
    s.datagram(Side::Client, query);
    if let Some(answer) = answer {
        s.datagram(Side::Server, answer);
    }
}

fn resolver(s: &mut Scene, port: u16, protocols: &[&[u8]]) {
    s.flow().names = vec![RESOLVER.into()];
    s.flow().server.set_port(port);
    let mut hello = Hello::chrome(&mut s.rng, RESOLVER, true);
    hello.set(SERVER_NAME, server_name(RESOLVER.as_bytes()));
    hello.set(ALPN, alpn(protocols));
    let stream = hello.record();
    s.open();
    s.say(0, &stream[..1400]);
    s.say(1400, &stream[1400..]);
    s.finish(stream.len(), &server_hello(false));
}
