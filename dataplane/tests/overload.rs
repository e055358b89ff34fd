//! More than there is room for, and nothing but damage: known flows keep their verdict, memory stays, and every frame passes or was blocked.
//!
//! `GLASSGATE_FRAMES=100000000 cargo test --release -p glassgate-dataplane --test overload storm -- --nocapture` for as many damaged frames.

use glassgate_dataplane::classifier::{Classifier, NoSink, Options, Policy};
use glassgate_dataplane::lcore::Lcore;
use glassgate_dataplane::parse;
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_dataplane::port::memory::{MemoryPort, Pool, pair};
use glassgate_dataplane::port::{Frame as _, Link};
use glassgate_policy::compile::{Options as Compile, compile};
use glassgate_policy::matrix::Column;
use glassgate_policy::{Action, Category, ObservationLevel, SignatureTable, Verdict, VerdictMatrix, builtin};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn policy() -> Policy {
    let compiled = compile(&builtin::sources().unwrap(), &Compile::default()).unwrap();
    let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
    let matrix = VerdictMatrix::new(1, u64::MAX, 1, &[], |_, column| {
        let blocked = matches!(column, Column::Category(Category::Recruitment));
        let action = if blocked { Action::Block } else { Action::Allow };
        Verdict { action, level: ObservationLevel::Aggregate }
    });
    Policy { table: Arc::new(table), matrix: Arc::new(matrix) }
}

struct World {
    lcore: Lcore<MemoryPort, NoSink>,
    outside: [MemoryPort; 2],
    pool: Pool,
    now: u64,
}

impl World {
    fn new(options: Options) -> Self {
        let ((lan, inner_lan), (uplink, inner_uplink)) = (pair(64), pair(64));
        let lcore = Lcore::new(inner_lan, inner_uplink, Classifier::new(options, policy(), NoSink, 0));
        Self { lcore, outside: [lan, uplink], pool: Pool::new(256, 2048), now: 0 }
    }

    /// Sends frames of one side in one burst; those that come out on the other, each told to `left`.
    fn pass<'a>(&mut self, side: usize, frames: impl Iterator<Item = &'a [u8]>, mut left: impl FnMut(&[u8])) {
        for frame in frames {
            self.outside[side].send(self.pool.frame(frame).unwrap()).unwrap();
        }
        self.now += 100_000;
        self.lcore.turn(self.now);
        while let Some(frame) = self.outside[1 - side].receive() {
            left(frame.bytes());
        }
    }

    /// Whether one frame comes out.
    fn passes(&mut self, side: usize, frame: &[u8]) -> bool {
        let mut out = 0;
        self.pass(side, std::iter::once(frame), |_| out += 1);
        out == 1
    }
}

/// A segment of flow `n`, from the client or from the server.
fn segment(up: bool, n: u32, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let client = (0x0a00_0000 + n / 50).to_be_bytes();
    let server = [198, 51, 100, 80];
    let port = (10_000 + n % 50).to_be_bytes();
    let (client_port, server_port) = ([port[2], port[3]], [0, 80]);
    let (src, dst) = if up { (client, server) } else { (server, client) };
    let (src_port, dst_port) = if up { (client_port, server_port) } else { (server_port, client_port) };
    let mut tcp = [src_port, dst_port].concat();
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    tcp.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(payload);
    let pseudo = [&src[..], &dst, &[0, 6], &(tcp.len() as u16).to_be_bytes()].concat();
    let sum = parse::checksum_of([&pseudo, &tcp], 0);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + tcp.len() as u16).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    ip.extend(src.iter().chain(&dst));
    let sum = parse::checksum_of([&ip], 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], &ip, &tcp].concat()
}

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Opens flow `n` and asks for `host`; whether the request passes.
fn ask(world: &mut World, n: u32, host: &str) -> bool {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    world.passes(0, &segment(true, n, 99, 0, SYN, b""));
    world.passes(1, &segment(false, n, 499, 100, SYN | ACK, b""));
    world.passes(0, &segment(true, n, 100, 500, ACK, b""));
    let passed = world.passes(0, &segment(true, n, 100, 500, ACK, request.as_bytes()));
    world.passes(1, &segment(false, n, 500, 100 + request.len() as u32, ACK, b""));
    passed
}

#[test]
fn a_full_table_keeps_what_it_knows() {
    const CAPACITY: usize = 1 << 14;
    const KNOWN: u32 = 1000;
    let mut world = World::new(Options { flows: CAPACITY, ..Options::default() });
    for n in 0..KNOWN {
        let (host, passes) = if n % 2 == 0 { ("www.zhipin.com", false) } else { ("www.example.org", true) };
        assert_eq!(ask(&mut world, n, host), passes, "{host}");
    }
    // More than ten times the table: each of a source that stays below its share.
    let (began, mut fullest, mut sent, mut out) = (Instant::now(), 0, 0u64, 0u64);
    let mut next = 100_000;
    while sent < 11 * CAPACITY as u64 {
        let frames: Vec<_> = (0..32).map(|i| segment(true, next + i, 1, 0, SYN, b"")).collect();
        next += 32;
        sent += 32;
        world.pass(0, frames.iter().map(Vec::as_slice), |_| out += 1);
        fullest = fullest.max(world.lcore.classifier().flows());
    }
    assert_eq!(out, sent, "each new flow passes");
    let mut kept = 0;
    for n in 0..KNOWN {
        let passes = n % 2 == 1;
        let more = segment(true, n, 4000, 500, ACK, b"more");
        kept += u32::from(world.passes(0, &more) == passes);
    }
    let flows = world.lcore.classifier().flows() as u64;
    let counters = world.lcore.counters().clone();
    println!(
        "figure: {sent} new flows at {CAPACITY} places in {:.1?}: {out} passed, at most {fullest} in the table, {} frames without a place, {kept} of {KNOWN} known flows as before",
        began.elapsed(),
        counters.unkept_frames[0]
    );
    assert_eq!((kept, fullest), (KNOWN, CAPACITY));
    assert!(counters.unkept_frames[0] > 9 * CAPACITY as u64);
    assert_eq!(counters.broken(flows), None);
}

/// Random numbers of a seed: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Frames of real clients, to be damaged.
fn templates() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let Ok(mut reader) = CaptureReader::open(&path) else { continue };
        while let Some(Ok(frame)) = reader.next() {
            if frame.link() == Link::Ethernet && frame.bytes().len() <= 2000 {
                found.push(frame.bytes().to_vec());
            }
        }
    }
    found.truncate(4000);
    let request = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n";
    found.extend((0..8).map(|n| segment(true, n, 100, 0, ACK, request)));
    found
}

#[test]
fn a_storm_of_damaged_frames() {
    let all = std::env::var("GLASSGATE_FRAMES").map_or(300_000, |n| n.parse().unwrap());
    let templates = templates();
    let mut world = World::new(Options { flows: 1 << 14, ..Options::default() });
    let mut random = Random(7);
    let began = Instant::now();
    let (mut sent, mut out) = (0u64, 0u64);
    let mut frames: Vec<Vec<u8>> = vec![Vec::new(); 32];
    while sent < all {
        for frame in &mut frames {
            frame.clear();
            frame.extend(&templates[random.below(templates.len())]);
            // Mostly where headers are: a byte or some of them, and every eighth is cut.
            for _ in 0..random.below(4) {
                let within = if random.below(3) > 0 { frame.len().min(80) } else { frame.len() };
                let at = random.below(within);
                frame[at] = random.next() as u8;
            }
            if random.below(8) == 0 {
                frame.truncate(1 + random.below(frame.len()));
            }
        }
        let side = random.below(2);
        let (mut at, blocked) = (0, world.lcore.counters().drop_policy[side]);
        world.pass(side, frames.iter().map(Vec::as_slice), |bytes| {
            // In their order, and as they were; what a rule blocks is left out.
            while at < frames.len() && frames[at] != bytes {
                at += 1;
            }
            assert!(at < frames.len(), "a frame came out that did not come in");
            at += 1;
            out += 1;
        });
        out += world.lcore.counters().drop_policy[side] - blocked;
        sent += frames.len() as u64;
    }
    assert_eq!(out, sent);
    let flows = world.lcore.classifier().flows() as u64;
    let counters = world.lcore.counters();
    assert_eq!(counters.broken(flows), None);
    assert_eq!(counters.rx_frames.iter().sum::<u64>(), sent);
    let malformed: u64 = counters.malformed_frames.iter().sum();
    let opaque: u64 = counters.opaque_frames.iter().sum();
    println!(
        "figure: {sent} frames of {} templates in {:.1?}: all passed or were blocked, {malformed} malformed, {opaque} opaque, {} of flows, {} fragments, 0 panics",
        templates.len(),
        began.elapsed(),
        counters.flow_frames[0],
        counters.fragment_frames[0]
    );
    assert!(malformed > sent / 100);
}
