//! Frames that make an inspector panic, among others: all pass, and all that is counted adds up.

use crate::classifier::{Classifier, FlowSink, NoSink, Options, Policy};
use crate::counters::LcoreCounters;
use crate::fault::MAGIC;
use crate::lcore::Lcore;
use crate::parse;
use crate::port::Frame as _;
use crate::port::memory::{MemoryPort, Pool, pair};
use glassgate_policy::{
    Action, FlowEvent, ObservationLevel, Reason, SignatureTable, Verdict, VerdictMatrix, builtin,
    compile::{self, compile},
};
use std::sync::{Arc, Once};

const SECOND: u64 = 1_000_000_000;

/// Panics of the faults made here are not told: each would write a line, and a backtrace where those are asked for.
fn quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let ours = ["fault.rs", "contain/tests.rs"];
            let place = info.location().map(std::panic::Location::file).unwrap_or_default();
            if info.payload_as_str() != Some("on purpose") || !ours.iter().any(|file| place.ends_with(file)) {
                told(info);
            }
        }));
    });
}

fn table() -> SignatureTable {
    let compiled = compile(&builtin::sources().unwrap(), &compile::Options::default()).unwrap();
    SignatureTable::from_bytes(&compiled.bytes).unwrap()
}

struct World<S: FlowSink> {
    lcore: Lcore<MemoryPort, S>,
    lan: MemoryPort,
    uplink: MemoryPort,
    pool: Pool,
    now: u64,
    passed: u64,
}

impl<S: FlowSink> World<S> {
    fn new(flows: usize, sink: S) -> Self {
        quietly();
        let verdict = Verdict { action: Action::Allow, level: ObservationLevel::Aggregate };
        let matrix = VerdictMatrix::uniform(1, verdict);
        let policy = Policy { table: Arc::new(table()), matrix: Arc::new(matrix) };
        let options = Options { flows, source_shares: false, contain_panics: true, ..Options::default() };
        let classifier = Classifier::new(options, policy, sink, 0);
        let ((lan, inner_lan), (uplink, inner_uplink)) = (pair(64), pair(64));
        let lcore = Lcore::new(inner_lan, inner_uplink, classifier);
        Self { lcore, lan, uplink, pool: Pool::new(128, 512), now: 0, passed: 0 }
    }

    /// Sends frames from the LAN in one burst; all of them come out, unchanged and in their order.
    fn pass(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.lan.send(self.pool.frame(frame).unwrap()).unwrap();
        }
        self.now += 1_000_000;
        self.lcore.turn(self.now);
        for frame in frames {
            assert_eq!(self.uplink.receive().expect("it passes").bytes(), frame);
            self.passed += 1;
        }
    }

    fn counters(&mut self) -> LcoreCounters {
        let flows = self.lcore.classifier().flows() as u64;
        let counters = self.lcore.counters().clone();
        assert_eq!(counters.broken(flows), None);
        assert_eq!(counters.rx_frames.iter().sum::<u64>(), self.passed);
        counters
    }
}

fn ip(n: u32, l4: u8, segment: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend((20 + segment.len() as u16).to_be_bytes());
    ip.extend([0, 1, 0, 0, 64, l4, 0, 0]);
    ip.extend((0x0a00_0000 + n).to_be_bytes());
    ip.extend([198, 51, 100, 80]);
    let sum = parse::checksum_of([&ip], 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], &ip, segment].concat()
}

fn udp(n: u32, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len() as u16).to_be_bytes();
    // Without a checksum, which IPv4 allows.
    ip(n, 17, &[&[0x9c, 0x40, 0x9c, 0x41], &len[..], &[0, 0], payload].concat())
}

fn tcp(n: u32, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40, 0, 80];
    segment.extend(seq.to_be_bytes());
    segment.extend([0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    let pseudo = [
        &(0x0a00_0000 + n).to_be_bytes()[..],
        &[198, 51, 100, 80, 0, 6],
        &(segment.len() as u16).to_be_bytes(),
    ]
    .concat();
    let sum = parse::checksum_of([&pseudo, &segment], 0);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ip(n, 6, &segment)
}

#[test]
fn a_hundred_thousand_panics_end_with_their_frames() {
    const PANICS: u32 = 100_000;
    let mut world = World::new(1 << 17, NoSink);
    let good = udp(PANICS + 1, b"neither DNS nor QUIC");
    for n in 0..PANICS / 10 {
        // First, last, and next to each other: wherever in the burst it is, the others are handled.
        let mut frames: Vec<_> = (0..10).map(|i| udp(n * 10 + i, MAGIC)).collect();
        frames.insert((n % 11) as usize, good.clone());
        frames.insert((n % 7) as usize, good.clone());
        world.pass(&frames);
    }
    let counters = world.counters();
    assert_eq!(counters.panics[0], u64::from(PANICS));
    // Each flow is marked and left alone: the same frame again is not looked into.
    let frames: Vec<_> = (0..32).map(|n| udp(n, MAGIC)).collect();
    world.pass(&frames);
    assert_eq!(world.counters().panics[0], u64::from(PANICS));
    world.lcore.classifier().finish();
    let counters = world.counters();
    assert_eq!(counters.flows_unnamed[Reason::InspectorPanic as usize], u64::from(PANICS));
    assert_eq!(counters.flows_unnamed.iter().sum::<u64>(), u64::from(PANICS) + 1);
}

#[test]
fn wherever_a_panic_comes_from_the_frame_passes() {
    let mut world = World::new(1 << 10, NoSink);
    // While the frames of the burst are read.
    let unread = |n: u8| [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, n, 0x88, 0xb5][..], MAGIC, &[n; 30]].concat();
    let good = udp(1, b"good");
    world.pass(&[good.clone(), unread(1), good.clone(), unread(2)]);
    let counters = world.counters();
    assert_eq!((counters.panics[0], counters.malformed_frames[Reason::MalformedL3 as usize]), (2, 2));
    // While a stream is gathered, with what had been kept of it.
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    world.pass(&[tcp(7, 100, SYN, b"")]);
    world.pass(&[good.clone(), tcp(7, 101, ACK, b"GET"), tcp(7, 104, ACK, MAGIC), good.clone()]);
    let counters = world.counters();
    assert_eq!(counters.panics[0], 3);
    assert_eq!(world.lcore.classifier().slab_fill().0, 0, "what it held is given back");
    world.lcore.classifier().finish();
    assert_eq!(world.counters().flows_unnamed[Reason::InspectorPanic as usize], 1);
}

/// Panics over every so many events that it is told of.
struct Brittle(u32);

impl FlowSink for Brittle {
    const SUMMARIES: bool = false;

    fn event(&mut self, _: &FlowEvent) -> bool {
        self.0 += 1;
        assert!(!self.0.is_multiple_of(3), "on purpose");
        true
    }
}

#[test]
fn a_flow_whose_end_panics_is_gone_and_counted() {
    let mut world = World::new(1 << 10, Brittle(0));
    for n in 0..600 {
        world.pass(&[udp(n, b"neither DNS nor QUIC")]);
    }
    world.counters();
    for _ in 0..600 {
        world.now += SECOND;
        world.lcore.turn(world.now);
    }
    let counters = world.counters();
    assert_eq!(world.lcore.classifier().flows(), 0, "none stays for ever");
    assert!(counters.panics[0] >= 200, "{}", counters.panics[0]);
    assert!(counters.flows_opened[0] >= 600);
}

#[test]
fn where_panics_are_to_be_seen_they_are() {
    let mut world = World::new(1 << 10, NoSink);
    world.lcore.classifier().options.contain_panics = false;
    let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.pass(&[udp(1, MAGIC)])));
    assert!(seen.is_err());
}
