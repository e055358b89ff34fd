//! DNS over TLS is a tunnel whoever the resolver is: by its port, or by what the client offers.

#[path = "support/hello.rs"]
mod hello;
#[path = "support/random.rs"]
mod random;

use glassgate_dataplane::classifier::{Classifier, FlowSink, FlowSummary, Options, Policy};
use glassgate_dataplane::flow::FlowId;
use glassgate_dataplane::parse::checksum_of;
use glassgate_dataplane::port::Link;
use glassgate_policy::{Category, Evidence, Verdict, VerdictMatrix, builtin};
use hello::{ALPN, Hello, SERVER_NAME, alpn, server_name};
use std::sync::Arc;

#[derive(Default)]
struct Ended(Vec<FlowSummary>);

impl FlowSink for Ended {
    fn ended(&mut self, _flow: FlowId, summary: &FlowSummary) {
        self.0.push(*summary);
    }
}

const CLIENT: [u8; 4] = [192, 0, 2, 10];
const SERVER: [u8; 4] = [198, 51, 100, 1];

/// An IPv4 packet with a TCP segment.
fn segment(up: bool, port: u16, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let ([src, dst], [sport, dport]) =
        if up { ([CLIENT, SERVER], [40_000, port]) } else { ([SERVER, CLIENT], [port, 40_000]) };
    let mut tcp = Vec::new();
    tcp.extend(sport.to_be_bytes());
    tcp.extend(dport.to_be_bytes());
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    tcp.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(payload);
    let pseudo = [&src[..], &dst, &[0, 6], &(tcp.len() as u16).to_be_bytes(), &tcp].concat();
    let sum = checksum_of([&pseudo], 0);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + tcp.len() as u16).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    ip.extend(src);
    ip.extend(dst);
    let sum = checksum_of([&ip], 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [ip, tcp].concat()
}

/// What a flow to this port ends as, whose client sends this hello.
fn flow(port: u16, name: Option<&[u8]>, protocols: &[&[u8]]) -> FlowSummary {
    let mut hello = Hello::nameless();
    hello.extensions.retain(|(kind, _)| *kind != SERVER_NAME && *kind != ALPN);
    if let Some(name) = name {
        hello.extensions.push((SERVER_NAME, server_name(&[name])));
    }
    hello.extensions.push((ALPN, alpn(protocols)));
    let record = hello.record();
    let policy = Policy {
        table: Arc::new(builtin::table().unwrap()),
        matrix: Arc::new(VerdictMatrix::uniform(1, Verdict::FAIL_OPEN)),
    };
    let mut classifier =
        Classifier::new(Options { flows: 64, slab: 16, ..Options::default() }, policy, Ended::default(), 0);
    let (syn, ack, rst) = (2, 16, 4);
    let end = 101 + record.len() as u32;
    let frames = [
        segment(true, port, syn, 100, 0, &[]),
        segment(false, port, syn | ack, 500, 101, &[]),
        segment(true, port, ack, 101, 501, &[]),
        segment(true, port, ack, 101, 501, &record),
        segment(false, port, ack, 501, end, &[]),
        segment(false, port, rst | ack, 501, end, &[]),
    ];
    for (i, frame) in frames.iter().enumerate() {
        classifier.frame(frame, frame.len(), Link::RawIp, i as u64 + 1, 1_000_000_000 + i as u64 * 1_000_000);
    }
    classifier.finish();
    assert_eq!(classifier.sink.0.len(), 1);
    classifier.sink.0[0]
}

#[test]
fn by_port_and_by_protocol() {
    let own = Some(&b"resolver.acme.example"[..]);
    for (port, name, protocols) in [
        (853, own, &[b"dot" as &[u8]][..]),
        (853, own, &[b"h2"]),
        (853, None, &[b"dot"]),
        (443, own, &[b"dot"]),
        (443, None, &[b"h2", b"dot"]),
    ] {
        let seen = flow(port, name, protocols);
        assert_eq!(seen.category, Category::Tunnel, "{port} {protocols:?}");
        assert_eq!(seen.evidence == Evidence::Sni, name.is_some());
    }
    assert_eq!(flow(443, own, &[b"h2"]).category, Category::Unknown);
    assert_eq!(flow(443, None, &[b"h2"]).category, Category::Unknown);
}

#[test]
fn a_listed_name_says_more() {
    let doh = flow(443, Some(b"dns.google"), &[b"h2"]);
    assert_eq!(doh.category, Category::Tunnel);
    let dot = flow(853, Some(b"dns.google"), &[b"dot"]);
    assert_eq!((dot.category, dot.service), (Category::Tunnel, doh.service));
    // Whatever the port: the site is a site.
    assert_eq!(flow(853, Some(b"www.zhipin.com"), &[b"h2"]).category, Category::Recruitment);
}
