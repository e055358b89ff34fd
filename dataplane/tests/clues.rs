//! What flows are known by that have no name: the address of their server, the protocol that they offer, the software
//! that sent their hello. Whole flows through the classifier, of both families and both transports.

#![cfg(not(miri))] // ring is assembly

#[path = "support/hello.rs"]
mod hello;
#[path = "support/quic.rs"]
mod quic;
#[path = "support/random.rs"]
mod random;

use glassgate_dataplane::classifier::{Classifier, FlowSink, FlowSummary, Options, Policy};
use glassgate_dataplane::flow::FlowId;
use glassgate_dataplane::inspect::ja4::{Ja4, Transport};
use glassgate_dataplane::packet::Addr;
use glassgate_dataplane::parse::checksum_of;
use glassgate_dataplane::port::Link;
use glassgate_policy::audit::{BootId, MemoryLog, Now, WallQuality};
use glassgate_policy::charter::Levels;
use glassgate_policy::compile::{self, compile};
use glassgate_policy::engine::{self, Engine, EngineOptions};
use glassgate_policy::matrix::address_key;
use glassgate_policy::rules::Moment;
use glassgate_policy::source::Source;
use glassgate_policy::{
    Category, Evidence, FlowEvent, L4, ObservationLevel, Reason, SignatureTable, Verdict, VerdictMatrix,
    builtin,
};
use hello::{ALPN, ECH, Hello, SERVER_NAME, alpn, ech, server_name};
use quic::{Initial, crypto};
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Default)]
struct Ended(Vec<FlowSummary>, Vec<FlowEvent>);

impl FlowSink for Ended {
    fn event(&mut self, event: &FlowEvent) -> bool {
        self.1.push(*event);
        true
    }

    fn ended(&mut self, _flow: FlowId, summary: &FlowSummary) {
        self.0.push(*summary);
    }
}

const V4: &str = "198.51.100.1";
const V6: &str = "2001:db8:5::1";

/// An IP packet between the client of the right family and `server`, with its transport's checksum put right.
fn packet(server: &str, up: bool, l4: L4, mut segment: Vec<u8>) -> Vec<u8> {
    let server: IpAddr = server.parse().unwrap();
    let client: IpAddr = if server.is_ipv4() { "192.0.2.10" } else { "2001:db8::10" }.parse().unwrap();
    let bytes = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (src, dst) = if up { (bytes(client), bytes(server)) } else { (bytes(server), bytes(client)) };
    let len = segment.len() as u16;
    let pseudo = [&src[..], &dst, &[0, l4 as u8], &len.to_be_bytes(), &segment].concat();
    let at = if l4 == L4::Tcp { 16 } else { 6 };
    let sum = checksum_of([&pseudo], 0);
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    let mut head = match server {
        IpAddr::V4(_) => {
            let len = (20 + len).to_be_bytes();
            [&[0x45, 0][..], &len, &[0, 1, 0x40, 0, 64, l4 as u8, 0, 0], &src, &dst].concat()
        }
        IpAddr::V6(_) => [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[l4 as u8, 64], &src, &dst].concat(),
    };
    if server.is_ipv4() {
        let sum = checksum_of([&head], 0);
        head[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    [head, segment].concat()
}

fn tcp(server: &str, port: u16, up: bool, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let [sport, dport] = if up { [40_000, port] } else { [port, 40_000] };
    let mut out = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    out.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
    out.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend(payload);
    packet(server, up, L4::Tcp, out)
}

fn udp(server: &str, port: u16, up: bool, payload: &[u8]) -> Vec<u8> {
    let [sport, dport] = if up { [40_000, port] } else { [port, 40_000] };
    let len = 8 + payload.len() as u16;
    let head = [sport.to_be_bytes(), dport.to_be_bytes(), len.to_be_bytes(), [0; 2]].concat();
    packet(server, up, L4::Udp, [&head[..], payload].concat())
}

/// A TCP flow whose client says `stream`, in segments of at most `each` bytes.
fn tcp_flow(server: &str, port: u16, stream: &[u8], each: usize) -> Vec<Vec<u8>> {
    let (syn, ack, rst) = (2, 16, 4);
    let mut frames =
        vec![tcp(server, port, true, syn, 100, 0, &[]), tcp(server, port, false, syn | ack, 500, 101, &[])];
    let mut seq = 101;
    for part in stream.chunks(each) {
        frames.push(tcp(server, port, true, ack, seq, 501, part));
        seq += part.len() as u32;
    }
    frames.push(tcp(server, port, false, ack, 501, seq, b"\x16\x03\x03\x00\x01"));
    frames.push(tcp(server, port, false, rst | ack, 506, seq, &[]));
    frames
}

fn classifier(table: SignatureTable, verdict: Verdict) -> Classifier<Ended> {
    let policy = Policy { table: Arc::new(table), matrix: Arc::new(VerdictMatrix::uniform(1, verdict)) };
    Classifier::new(Options { flows: 64, slab: 16, ..Options::default() }, policy, Ended::default(), 0)
}

/// What the only flow of these frames ends as.
fn seen(table: &SignatureTable, frames: &[Vec<u8>]) -> FlowSummary {
    let all = all_seen(table, frames);
    assert_eq!(all.len(), 1);
    all[0]
}

/// What all flows of these frames end as. The slow path takes every event about them, and none of them is bad.
fn all_seen(table: &SignatureTable, frames: &[Vec<u8>]) -> Vec<FlowSummary> {
    let level = ObservationLevel::Aggregate;
    let mut classifier = classifier(table.clone(), Verdict { level, ..Verdict::FAIL_OPEN });
    for (i, frame) in frames.iter().enumerate() {
        classifier.frame(frame, frame.len(), Link::RawIp, i as u64 + 1, 1_000_000_000 + i as u64 * 1_000_000);
    }
    classifier.finish();
    let now = Now { mono_ns: 0, wall: None, quality: WallQuality::Synchronized };
    let mut log = MemoryLog::new(BootId(1));
    let mut engine = Engine::start(EngineOptions::default(), &now, &mut log);
    let (levels, rules, moment) = (Arc::new(Levels::counts(1)), Arc::default(), Moment::default());
    let table = table.clone();
    engine.set_policy(
        engine::Policy { epoch: 1, table, rules, moment, levels, groups: Arc::default() },
        &now,
        &mut log,
    );
    for event in &classifier.sink.1 {
        engine.event(0, event);
    }
    assert_eq!((engine.counters().bad, engine.counters().stale), (0, 0), "{:?}", classifier.sink.1);
    classifier.sink.0
}

fn hello(name: Option<&str>, protocols: &[&[u8]]) -> Hello {
    let mut hello = Hello::nameless();
    hello.extensions.retain(|(kind, _)| *kind != SERVER_NAME && *kind != ALPN);
    if let Some(name) = name {
        hello.extensions.push((SERVER_NAME, server_name(&[name.as_bytes()])));
    }
    hello.extensions.push((ALPN, alpn(protocols)));
    hello
}

fn tls(table: &SignatureTable, server: &str, port: u16, hello: &Hello) -> FlowSummary {
    seen(table, &tcp_flow(server, port, &hello.record(), usize::MAX))
}

/// The client's Initial, and an answer of the server that nobody can read.
fn quic(table: &SignatureTable, server: &str, port: u16, hello: &Hello) -> FlowSummary {
    let initial = Initial::default().datagram(&crypto(0, &hello.message()));
    seen(table, &[udp(server, port, true, &initial), udp(server, port, false, &[0x40; 60])])
}

/// A table of `lines`: what is listed, its scope, service and tier. Names are of games, all else is of tunnels; `evil` is malware.
fn table(lines: &[(&str, &str, &str, &str)]) -> SignatureTable {
    let mut text = String::from(
        "service\tcategory\ttitle\tregion\nvpn\ttunnel\tV\tworld\nwide\ttunnel\tW\tworld\nevil\tmalware\tE\tworld\n\
         game\tgames\tG\tworld\nname\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n",
    );
    for (listed, scope, service, tier) in lines {
        let category = match *service {
            "game" => "games",
            "evil" => "malware",
            _ => "tunnel",
        };
        text +=
            &format!("{listed}\t{scope}\t{service}\t{category}\tsite\t{tier}\ttest\tCC0-1.0\t2026-11-22\n");
    }
    let source = Source::parse("test.tsv", text.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    let compiled = compile(&[source], &compile::Options::default()).unwrap_or_else(|e| panic!("{e}"));
    SignatureTable::from_bytes(&compiled.bytes).unwrap()
}

#[track_caller]
fn is(table: &SignatureTable, flow: &FlowSummary, service: Option<&str>, evidence: Evidence) {
    let found = table.service(flow.service).map(|s| s.name);
    assert_eq!((found, flow.evidence), (service, evidence), "{flow:?}");
}

/// The flow table and the signature table write addresses alike, or none would be found.
#[test]
fn addresses_are_written_alike() {
    for text in [V4, V6, "0.0.0.0", "255.255.255.255", "::", "::ffff:192.0.2.1"] {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(Addr::from(ip).0, address_key(ip), "{text}");
    }
}

#[test]
fn a_flow_without_a_name_is_known_by_the_address_of_its_server() {
    let table = table(&[
        ("198.51.100.0/24", "address", "wide", "strong"),
        ("198.51.100.1,tcp/443", "address", "vpn", "strong"),
        ("2001:db8::/32", "address", "wide", "strong"),
        ("2001:db8:5::/48,any/443", "address", "vpn", "strong"),
        ("203.0.113.0/24", "address", "evil", "weak"),
        ("game.example", "suffix", "game", "strong"),
    ]);
    let nameless = hello(None, &[b"h2"]);
    for server in [V4, V6] {
        is(&table, &tls(&table, server, 443, &nameless), Some("vpn"), Evidence::Address);
        is(&table, &tls(&table, server, 444, &nameless), Some("wide"), Evidence::Address);
        // Not TLS, nor anything else that is known.
        let odd = seen(&table, &tcp_flow(server, 443, b"\x00\x01\x02 something else", 400));
        is(&table, &odd, Some("vpn"), Evidence::Address);
        // A name says more, listed or not.
        is(&table, &tls(&table, server, 443, &hello(Some("a.example"), &[b"h2"])), None, Evidence::Sni);
        let game = tls(&table, server, 443, &hello(Some("a.game.example"), &[b"h2"]));
        is(&table, &game, Some("game"), Evidence::Sni);
        // A name that was hidden on purpose stays hidden.
        let hidden = hello(Some("cloudflare-ech.com"), &[b"h2"]).with(ECH, ech(1, 200));
        let hidden = tls(&table, server, 443, &hidden);
        is(&table, &hidden, None, Evidence::None);
        assert_eq!(hidden.reason, Some(Reason::EchOuter));
        // Who says nothing is known by nothing: a scan is no use of a service.
        is(&table, &seen(&table, &tcp_flow(server, 443, b"", 1)), None, Evidence::None);
    }
    is(&table, &tls(&table, "198.51.101.1", 443, &nameless), None, Evidence::None);
    is(&table, &tls(&table, "2001:db9::1", 443, &nameless), None, Evidence::None);
    is(&table, &tls(&table, "203.0.113.1", 443, &nameless), None, Evidence::None);
}

/// What the client asked DNS for says more than the address, and less than the flow.
#[test]
fn a_hint_goes_before_an_address() {
    let table = table(&[
        ("198.51.100.0/24", "address", "wide", "strong"),
        ("vpn.example", "suffix", "vpn", "strong"),
        ("game.example", "suffix", "game", "strong"),
    ]);
    for (asked, service) in [("vpn.example", Some("vpn")), ("game.example", None), ("a.example", None)] {
        let labels = asked.split('.').flat_map(|l| [&[l.len() as u8][..], l.as_bytes()].concat());
        let question: Vec<u8> = labels.chain([0, 0, 1, 0, 1]).collect();
        let query = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &question].concat();
        let answer = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4][..], &[198, 51, 100, 1]].concat();
        let reply = [&[0, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..], &question, &answer].concat();
        let mut frames = vec![udp("192.0.2.53", 53, true, &query), udp("192.0.2.53", 53, false, &reply)];
        frames.extend(tcp_flow(V4, 443, &hello(None, &[b"h2"]).record(), usize::MAX));
        let all = all_seen(&table, &frames);
        is(&table, &all[1], service, Evidence::DnsHint);
        // Of another address nothing was said.
        frames.truncate(2);
        frames.extend(tcp_flow("198.51.100.2", 443, &hello(None, &[b"h2"]).record(), usize::MAX));
        is(&table, &all_seen(&table, &frames)[1], Some("wide"), Evidence::Address);
    }
}

#[test]
fn datagrams_without_a_name_are_known_by_the_address_of_their_server() {
    let table = table(&[
        ("0.0.0.0/0,udp/51820", "address", "vpn", "strong"),
        ("::/0,udp/51820", "address", "vpn", "strong"),
    ]);
    for server in [V4, V6] {
        let few = [udp(server, 51820, true, &[1, 0, 0, 0, 7]), udp(server, 51820, false, &[2, 0, 0, 0, 7])];
        is(&table, &seen(&table, &few), Some("vpn"), Evidence::Address);
        let other = [udp(server, 51821, true, &[1, 0, 0, 0, 7])];
        is(&table, &seen(&table, &other), None, Evidence::None);
    }
    // Known while it goes on, not only when it is over.
    let level = ObservationLevel::Aggregate;
    let mut classifier = classifier(table, Verdict { level, ..Verdict::FAIL_OPEN });
    let frame = udp(V4, 51820, true, &[4, 0, 0, 0, 7]);
    for i in 1..=16 {
        assert_eq!(classifier.counters.events[0], 0, "datagram {i}");
        classifier.frame(&frame, frame.len(), Link::RawIp, i, i * 1_000_000);
    }
    assert_eq!(classifier.counters.events[0], 1, "the verdict was announced");
}

#[test]
fn dns_over_quic_over_tls_and_over_https() {
    let table = builtin::table().unwrap();
    for (server, by_address) in
        [(V4, None), (V6, None), ("1.1.1.1", Some("cloudflare-doh")), ("2620:fe::fe", Some("quad9"))]
    {
        let evidence = if by_address.is_some() { Evidence::Address } else { Evidence::None };
        // By what the client offers, on the port of it and elsewhere; who it goes to says more of the same.
        for (port, by_address, evidence) in
            [(853, by_address, evidence), (8853, None, Evidence::None), (784, None, Evidence::None)]
        {
            let doq = quic(&table, server, port, &hello(None, &[b"doq"]));
            is(&table, &doq, by_address.or(Some("encrypted-dns")), evidence);
            assert_eq!(doq.category, Category::Tunnel);
            let dot = tls(&table, server, port, &hello(None, &[b"dot"]));
            is(&table, &dot, by_address.or(Some("encrypted-dns")), evidence);
        }
        // Offered with a name that nobody listed: a tunnel of that name.
        let named = quic(&table, server, 853, &hello(Some("resolver.acme.example"), &[b"doq"]));
        is(&table, &named, Some("encrypted-dns"), Evidence::QuicSni);
        // With one that is listed, that one.
        let listed = quic(&table, server, 853, &hello(Some("dns.google"), &[b"doq"]));
        is(&table, &listed, Some("google-doh"), Evidence::QuicSni);
        let site = quic(&table, server, 853, &hello(Some("www.zhipin.com"), &[b"doq"]));
        is(&table, &site, Some("boss-zhipin"), Evidence::QuicSni);
        // DNS over HTTPS looks like any other HTTPS, but for where it goes.
        for doh in [
            tls(&table, server, 443, &hello(None, &[b"h2", b"http/1.1"])),
            quic(&table, server, 443, &hello(None, &[b"h3"])),
        ] {
            is(&table, &doh, by_address, evidence);
            assert_eq!(doh.category == Category::Tunnel, by_address.is_some());
        }
        is(&table, &tls(&table, server, 443, &hello(Some("a.example"), &[b"h2"])), None, Evidence::Sni);
    }
}

#[test]
fn protocols_are_found_wherever_they_stand_in_the_list() {
    let table = table(&[
        ("x-tunnel/1", "alpn", "vpn", "strong"),
        ("x-evil", "alpn", "evil", "strong"),
        ("x-weak", "alpn", "evil", "weak"),
        ("198.51.100.0/24", "address", "wide", "strong"),
        ("203.0.113.0/24", "address", "evil", "strong"),
    ]);
    let one = hello(None, &[b"h2", b"x-tunnel/1", b"x-evil"]);
    is(&table, &tls(&table, "192.0.2.99", 443, &one), Some("vpn"), Evidence::None);
    // In small segments: gathered, then read.
    let gathered = seen(&table, &tcp_flow("192.0.2.99", 443, &one.record(), 20));
    is(&table, &gathered, Some("vpn"), Evidence::None);
    assert_eq!((gathered.category, gathered.reason), (Category::Tunnel, Some(Reason::NoSni)));
    // An address says who, of the same kind; of another kind it does not count.
    is(&table, &tls(&table, V4, 443, &one), Some("wide"), Evidence::Address);
    is(&table, &tls(&table, "203.0.113.1", 443, &one), Some("vpn"), Evidence::None);
    for other in [&[b"x-weak" as &[u8]][..], &[b"x-tunnel"], &[b"x-tunnel/12"], &[b"X-EVIL"]] {
        is(&table, &tls(&table, "192.0.2.99", 443, &hello(None, other)), None, Evidence::None);
    }
}

#[test]
fn software_is_known_by_its_hello() {
    let own = hello(Some("a.example"), &[b"h2"]);
    let nameless = hello(None, &[b"h2"]);
    let of = |hello: &Hello, transport| Ja4::new(&hello.message(), transport).unwrap().to_string();
    let prints = [
        of(&own, Transport::Tcp),
        of(&nameless, Transport::Tcp),
        of(&own, Transport::Quic),
        of(&nameless, Transport::Quic),
    ];
    let mut lines: Vec<_> = prints.iter().map(|p| (p.as_str(), "ja4", "evil", "strong")).collect();
    lines.push(("a.game.example", "exact", "game", "strong"));
    lines.push(("x-tunnel/1", "alpn", "vpn", "strong"));
    lines.push(("198.51.100.1", "address", "wide", "strong"));
    let table = table(&lines);
    for server in [V4, V6] {
        is(&table, &tls(&table, server, 443, &own), Some("evil"), Evidence::Sni);
        is(&table, &tls(&table, server, 443, &nameless), Some("evil"), Evidence::None);
        is(&table, &quic(&table, server, 443, &own), Some("evil"), Evidence::QuicSni);
        is(&table, &quic(&table, server, 443, &nameless), Some("evil"), Evidence::None);
        let gathered = seen(&table, &tcp_flow(server, 443, &own.record(), 20));
        is(&table, &gathered, Some("evil"), Evidence::Sni);
        // What is listed by name is that.
        let game = hello(Some("a.game.example"), &[b"h2"]);
        is(&table, &tls(&table, server, 443, &game), Some("game"), Evidence::Sni);
    }
    // Other software.
    let mut other = own.clone();
    other.ciphers.push(0xc030);
    is(&table, &tls(&table, V6, 443, &other), None, Evidence::Sni);
}
