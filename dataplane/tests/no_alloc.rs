//! After start the fast path allocates nothing: counted by the allocator, over real clients' frames and, where
//! `GLASSGATE_CORPUS` names a folder of captures, over all of them.

#[path = "support/bridge.rs"]
#[expect(dead_code, reason = "its frames are needed, not its bridge")]
mod bridge;

use bridge::{DOWN, UP, handshake, tcp};
use glassgate_dataplane::classifier::{self, Classifier, NoSink, Policy};
use glassgate_dataplane::limiter::Limiters;
use glassgate_dataplane::packet::flag;
use glassgate_dataplane::parse::ParseOptions;
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_dataplane::port::{Frame as _, Link};
use glassgate_policy::charter::TOKEN;
use glassgate_policy::compile::{Options, compile};
use glassgate_policy::limit::{Limit, LimitId, Pace, Per, Rate, RuleLimit};
use glassgate_policy::matrix::MAX_NOTICE;
use glassgate_policy::source::Source;
use glassgate_policy::{Action, SignatureTable, Verdict, VerdictMatrix};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Stored {
    bytes: Vec<u8>,
    wire_len: usize,
    link: Link,
}

fn frames_of(path: &Path) -> Vec<Stored> {
    let Ok(mut reader) = CaptureReader::open(path) else { return Vec::new() };
    let mut frames = Vec::new();
    while let Some(Ok(frame)) = reader.next() {
        frames.push(Stored { bytes: frame.bytes().to_vec(), wire_len: frame.wire_len(), link: frame.link() });
    }
    frames
}

/// What the gateway comes with, and a fingerprint: so that every hello has one made.
fn table() -> SignatureTable {
    let more = "service\tcategory\ttitle\tregion\nodd\tmalware\tOdd\tworld\n\
        name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
        t13d000000_000000000000_000000000000\tja4\todd\tmalware\tsite\tstrong\ttest\tCC0-1.0\t2026-11-22\n";
    let mut sources = glassgate_policy::builtin::sources().unwrap();
    sources.push(Source::parse("more.tsv", more.as_bytes()).unwrap());
    let compiled = compile(&sources, &Options::default()).unwrap();
    let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
    assert!(table.has_fingerprints() && table.has_protocols());
    table
}

fn limited() -> VerdictMatrix {
    // Every flow is limited, each device for itself, and there is no place for all of them.
    let limit = Limit { pace: Pace::Rate(Rate::MIN), per: Per::Device };
    VerdictMatrix::uniform(1, Verdict { action: Action::Limit, ..Verdict::FAIL_OPEN })
        .limiting(&[RuleLimit::of("limit", limit)], |_, _| Some(LimitId(0)))
}

/// Everybody has a long notice to read.
fn noticing() -> VerdictMatrix {
    let page = [TOKEN.as_slice(), &[b'x'; MAX_NOTICE - TOKEN.len()]].concat();
    VerdictMatrix::uniform(1, Verdict { action: Action::Notice, ..Verdict::FAIL_OPEN })
        .noticing(&[page.into()], |_, _| Some(0))
}

fn classifier(matrix: VerdictMatrix) -> Classifier<NoSink> {
    let policy = Policy { table: Arc::new(table()), matrix: Arc::new(matrix) };
    // Small, so that every "full" is reached: eviction, guards that give way, slots that run out.
    let options = classifier::Options {
        flows: 256,
        slab: 16,
        hints: 256,
        quic_ids: 16,
        limiters: Limiters::new(8, [0; 4]),
        answers: true,
        parse: ParseOptions { tunnel_depth: 4, capture: true },
        ..classifier::Options::default()
    };
    Classifier::new(options, policy, NoSink, 0)
}

/// Passes the frames through; each pass is a day after the one before, so that every flow begins anew.
fn pass(classifier: &mut Classifier<NoSink>, frames: &[Stored], day: u64) {
    let start = day * 86_400_000_000_000;
    for (i, frame) in frames.iter().enumerate() {
        let now = start + i as u64 * 100_000;
        classifier.frame(&frame.bytes, frame.wire_len, frame.link, i as u64 + 1, now);
        classifier.expire(now, 8);
    }
}

#[test]
fn no_allocation_per_frame_after_start() {
    let mut paths = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/real-clients.pcap")];
    if let Some(corpus) = std::env::var_os("GLASSGATE_CORPUS") {
        let mut more: Vec<PathBuf> = std::fs::read_dir(corpus).unwrap().map(|e| e.unwrap().path()).collect();
        more.sort();
        paths.append(&mut more);
    }
    let frames: Vec<Stored> = paths.iter().flat_map(|path| frames_of(path)).collect();
    assert!(frames.len() > 200, "the capture of real clients is there");
    let mut classifier = classifier(limited());
    let first = allocation_counter::measure(|| pass(&mut classifier, &frames, 1));
    let second = allocation_counter::measure(|| pass(&mut classifier, &frames, 2));
    println!(
        "{} frames: {} allocations in the first pass, {} in the second",
        frames.len(),
        first.count_total,
        second.count_total
    );
    assert_eq!(first.count_total, 0, "everything is taken at start, nothing at first use");
    assert_eq!(second.count_total, 0);
    let named: u64 = classifier.counters.flows_named.iter().sum();
    assert!(named > 10, "the frames were really inspected: {named} names");
}

/// Probes and pages that are answered with a notice, and receipts with and without its token.
#[test]
fn no_allocation_for_notices() {
    let mut classifier = classifier(noticing());
    let requests: [&[u8]; 3] = [
        b"GET /generate_204 HTTP/1.1\r\nHost: connectivitycheck.gstatic.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: news.example\r\nAccept: text/html,application/xhtml+xml\r\n\r\n",
        b"POST /glassgate-notice/0123456789abcdef HTTP/1.1\r\nHost: news.example\r\n\r\n",
    ];
    let flows = requests.map(|request| {
        let mut frames = handshake();
        frames.push((true, tcp(true, UP.wrapping_add(1), DOWN + 1, flag::PSH | flag::ACK, request)));
        frames
    });
    let mut answered = 0;
    let counted = allocation_counter::measure(|| {
        for (day, frames) in (1..).zip(flows.iter().cycle().take(30)) {
            let now = day * 86_400_000_000_000;
            classifier.expire(now, 1000);
            for (at, (_, bytes)) in (0..).zip(frames) {
                let action = classifier.frame(bytes, bytes.len(), Link::Ethernet, at + 1, now + at * 1000);
                answered += u64::from(action == Action::Block);
            }
        }
    });
    assert_eq!((answered, counted.count_total), (30, 0));
}
