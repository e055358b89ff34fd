//! Frames for the gateway itself, through a whole lcore: who gets them, what passes, and that every frame is accounted for.

use glassgate_dataplane::classifier::{Classifier, NoSink, Options, Policy};
use glassgate_dataplane::inband::own::{Own, Segment};
use glassgate_dataplane::inband::rate::{SOURCE, SYN_COST};
use glassgate_dataplane::inband::ring::{CAPACITY, Consumer, FrameRing, MAX_FRAME, Producer};
use glassgate_dataplane::inband::{InBand, Refused, Unsent};
use glassgate_dataplane::lcore::Lcore;
use glassgate_dataplane::port::Frame as _;
use glassgate_dataplane::port::memory::{MemoryPort, Pool, pair};
use glassgate_policy::compile::{self, compile};
use glassgate_policy::{SignatureTable, Verdict, VerdictMatrix};
use proptest::prelude::*;
use std::sync::Arc;

const MAC: [u8; 6] = [2, 0x67, 0x67, 1, 2, 3];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 10];
const OURS: [u8; 4] = [10, 0, 0, 2];

struct Bridge {
    lcore: Lcore<MemoryPort, NoSink>,
    outside: [MemoryPort; 2],
    pool: Pool,
    punted: Consumer,
    to_send: Producer,
    now: u64,
}

fn policy() -> Policy {
    let compiled = compile(&[], &compile::Options::default()).unwrap();
    let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
    Policy { table: Arc::new(table), matrix: Arc::new(VerdictMatrix::uniform(0, Verdict::FAIL_OPEN)) }
}

impl Bridge {
    fn new(reachable: bool) -> Self {
        let ((lan, inner_lan), (uplink, inner_uplink)) = (pair(1024), pair(1024));
        let options = Options { flows: 1024, slab: 16, hints: 64, ..Options::default() };
        let classifier = Classifier::new(options, policy(), NoSink, 0);
        let (punt, send) = (FrameRing::create("punt").unwrap(), FrameRing::create("send").unwrap());
        let segment = Segment { vlan: None, v4: Some(OURS), v6: Vec::new() };
        let own = Own::new(MAC, vec![segment]).unwrap();
        let inband = reachable.then(|| Box::new(InBand::new(own, &punt, &send, [1, 2, 3, 4])));
        Self {
            lcore: Lcore::new(inner_lan, inner_uplink, classifier).with_inband(inband),
            outside: [lan, uplink],
            pool: Pool::new(4096, 2048),
            punted: punt.consumer(),
            to_send: send.producer(),
            now: 1_000_000_000,
        }
    }

    fn send(&mut self, port: usize, bytes: &[u8]) {
        self.outside[port].send(self.pool.frame(bytes).unwrap()).unwrap();
    }

    fn turn(&mut self) {
        self.now += 1_000_000;
        self.lcore.turn(self.now);
        self.conserves();
    }

    fn left(&mut self, port: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.outside[port].receive()).map(|f| f.bytes().to_vec()).collect()
    }

    fn punted(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut into = [0; MAX_FRAME];
        std::iter::from_fn(|| {
            let popped = self.punted.pop(&mut into)?.unwrap();
            Some((popped.port, into[..popped.len].to_vec()))
        })
        .collect()
    }

    fn refused(&mut self, why: Refused) -> u64 {
        self.lcore.counters().inband_refused[why as usize]
    }

    /// The laws of [`glassgate_dataplane::counters`].
    fn conserves(&mut self) {
        let c = self.lcore.counters();
        let sum = |family: &[u64]| family.iter().sum::<u64>();
        for (from, to) in [(0, 1), (1, 0)] {
            let came = c.rx_frames[from] + c.answers[to] + c.inband_sent[to];
            let went = c.tx_frames[to] + c.drop_policy[from] + c.drop_limit[from] + c.drop_tx_full[from];
            assert_eq!(came, went + c.inband_taken[from], "{c:?}");
        }
        let kinds =
            [&c.flow_frames[..], &c.opaque_frames, &c.tunnel_frames, &c.malformed_frames, &c.fragment_frames];
        let kinds: u64 = kinds.iter().map(|family| sum(family)).sum();
        assert_eq!(sum(&c.rx_frames), kinds + sum(&c.inband_taken), "{c:?}");
        let looked_at = sum(&c.inband_taken) + sum(&c.inband_copied);
        assert_eq!(looked_at, c.inband_punted[0] + sum(&c.inband_refused), "{c:?}");
    }
}

fn arp(to: [u8; 6], from: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    [&to[..], &from, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &from, &sender, &[0; 6], &target, &[0; 18]].concat()
}

fn ip(to: [u8; 6], source: [u8; 4], target: [u8; 4], tcp_flags: u8, payload: usize) -> Vec<u8> {
    let mut tcp = [0; 20];
    (tcp[12], tcp[13]) = (0x50, tcp_flags);
    let len = (40 + payload as u16).to_be_bytes();
    let header = [0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, 6, 0, 0];
    [&to[..], &PEER, &[8, 0], &header, &source, &target, &tcp, &vec![7; payload]].concat()
}

#[test]
fn ours_are_taken_out_and_the_others_keep_their_order() {
    let mut bridge = Bridge::new(true);
    let theirs = |n: u8| ip(OTHER, [10, 0, 0, 9], [198, 51, 100, n], 0x10, usize::from(n));
    let ours = |n: u8| ip(MAC, [10, 0, 0, 9], OURS, 0x10, usize::from(n));
    for n in 0..20 {
        bridge.send(0, &theirs(n));
        bridge.send(0, &ours(n));
    }
    bridge.turn();
    bridge.turn();
    assert_eq!(bridge.left(1), (0..20).map(theirs).collect::<Vec<_>>());
    assert_eq!(bridge.punted(), (0..20).map(|n| (0, ours(n))).collect::<Vec<_>>());
    assert!(bridge.left(0).is_empty());
    assert_eq!(bridge.lcore.counters().inband_taken, [20, 0]);
    assert_eq!(bridge.lcore.counters().flow_frames, [20]);
}

#[test]
fn who_asks_everybody_is_heard_by_everybody() {
    let mut bridge = Bridge::new(true);
    let asks = arp([0xff; 6], PEER, [10, 0, 0, 9], OURS);
    let asks_another = arp([0xff; 6], PEER, [10, 0, 0, 9], [10, 0, 0, 3]);
    bridge.send(1, &asks);
    bridge.send(1, &asks_another);
    bridge.turn();
    assert_eq!(bridge.left(0), [asks.clone(), asks_another]);
    assert_eq!(bridge.punted(), [(1, asks)]);
    assert_eq!(bridge.lcore.counters().inband_copied, [0, 1]);
}

#[test]
fn a_gateway_without_an_address_is_a_cable() {
    let mut bridge = Bridge::new(false);
    let frames = [
        arp([0xff; 6], PEER, [10, 0, 0, 9], OURS),
        ip(MAC, [10, 0, 0, 9], OURS, 2, 0),
        arp(MAC, PEER, OURS, OURS),
    ];
    for port in 0..2 {
        for frame in &frames {
            bridge.send(port, frame);
        }
        bridge.turn();
        assert_eq!(bridge.left(1 - port), frames);
        assert!(bridge.left(port).is_empty() && bridge.punted().is_empty());
    }
    let _ = bridge.to_send.push(0, &[&PEER[..], &MAC, &[8, 0], &[0; 46]].concat());
    bridge.turn();
    assert!(bridge.left(0).is_empty());
}

#[test]
fn what_it_answers_leaves_by_the_port_it_names_and_nothing_else_leaves() {
    let mut bridge = Bridge::new(true);
    let answer = |n: u8| [&PEER[..], &MAC, &[8, 0], &[n; 46]].concat();
    // Nobody has lent a buffer yet.
    bridge.to_send.push(0, &answer(0)).unwrap();
    bridge.turn();
    assert_eq!(bridge.lcore.counters().inband_unsent[Unsent::NoBuffer as usize], 1);
    bridge.send(0, &ip(MAC, [10, 0, 0, 9], OURS, 2, 0));
    bridge.turn();
    for n in 0..20 {
        bridge.to_send.push(n % 2, &answer(n)).unwrap();
    }
    let forged = [&PEER[..], &OTHER, &[8, 0], &[0; 46]].concat();
    bridge.to_send.push(0, &forged).unwrap();
    bridge.to_send.push(7, &answer(9)).unwrap();
    bridge.to_send.push(0, &[&MAC[..], &MAC, &[8, 0], &[0; 46]].concat()).unwrap();
    for _ in 0..4 {
        bridge.turn();
    }
    for port in 0..2 {
        assert_eq!(
            bridge.left(usize::from(port)),
            (0..20).filter(|n| n % 2 == port).map(answer).collect::<Vec<_>>()
        );
    }
    assert_eq!(bridge.lcore.counters().inband_sent, [10, 10]);
    assert_eq!(bridge.lcore.counters().inband_unsent[Unsent::Bad as usize], 3);
}

#[test]
fn what_a_predecessor_was_sent_is_not_sent() {
    let (punt, send) = (FrameRing::create("punt").unwrap(), FrameRing::create("send").unwrap());
    let mut producer = send.producer();
    producer.push(0, &[&PEER[..], &MAC, &[8, 0], &[0; 46]].concat()).unwrap();
    let own = Own::new(MAC, vec![Segment { vlan: None, v4: Some(OURS), v6: Vec::new() }]).unwrap();
    let _inband = InBand::<glassgate_dataplane::port::memory::MemoryFrame>::new(own, &punt, &send, [0; 4]);
    assert!(send.consumer().is_empty());
}

#[test]
fn a_flood_ends_at_the_rate_and_costs_the_traffic_nothing() {
    let mut bridge = Bridge::new(true);
    let theirs = |n: u8| ip(OTHER, [10, 0, 0, 9], [198, 51, 100, n], 0x10, 0);
    let (mut passed, mut punted) = (0, 0);
    // 10 000 a second, for a second.
    for _ in 0..1000 {
        for n in 0..10 {
            bridge.send(0, &ip(MAC, [10, 0, 0, 66], OURS, 2, 0));
            bridge.send(0, &theirs(n));
        }
        bridge.turn();
        passed += bridge.left(1).len();
        punted += bridge.punted().len();
    }
    let most = ((SOURCE.burst + SOURCE.per_s) / SYN_COST) as usize;
    assert_eq!(passed, 10_000);
    assert!(punted.abs_diff(most) <= 2, "{punted} of {most}");
    assert_eq!(bridge.refused(Refused::OverSource), 10_000 - punted as u64);
    // Another one is heard all the same.
    let other = ip(MAC, [10, 0, 0, 67], OURS, 2, 0);
    bridge.send(0, &other);
    bridge.turn();
    assert_eq!(bridge.punted(), [(0, other)]);
}

#[test]
fn a_full_ring_and_long_frames_are_counted() {
    let mut bridge = Bridge::new(true);
    for n in 0..CAPACITY + 5 {
        bridge.send(0, &ip(MAC, [10, 0, (n / 200) as u8, (n % 200) as u8 + 10], OURS, 0x10, 0));
        if n % 16 == 0 {
            bridge.turn();
        }
    }
    bridge.turn();
    assert_eq!(bridge.refused(Refused::RingFull), 5);
    assert_eq!(bridge.punted().len(), CAPACITY);
    bridge.send(0, &ip(MAC, [10, 0, 0, 9], OURS, 0x10, 1500));
    bridge.turn();
    assert_eq!(bridge.refused(Refused::TooLong), 1);
}

#[test]
fn nothing_is_allocated_after_start() {
    let mut bridge = Bridge::new(true);
    let mut into = [0; MAX_FRAME];
    let answer = [&PEER[..], &MAC, &[8, 0], &[1; 46]].concat();
    let frames = [ip(MAC, [10, 0, 0, 9], OURS, 2, 100), arp([0xff; 6], PEER, [10, 0, 0, 9], OURS)];
    let mut round = || {
        for frame in &frames {
            bridge.send(0, frame);
        }
        bridge.to_send.push(0, &answer).unwrap();
        bridge.now += 20_000_000;
        bridge.lcore.turn(bridge.now);
        while bridge.punted.pop(&mut into).is_some() {}
        for outside in &mut bridge.outside {
            while outside.receive().is_some() {}
        }
    };
    round();
    let counted = allocation_counter::measure(|| (0..1000).for_each(|_| round()));
    assert_eq!(counted.count_total, 0);
    assert_eq!(bridge.lcore.counters().inband_punted, [2002]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_frame_is_accounted_for(frames in prop::collection::vec((0usize..2, 0usize..6, any::<u8>(), 0usize..80), 1..300)) {
        let mut bridge = Bridge::new(true);
        for (i, (port, kind, n, cut)) in frames.into_iter().enumerate() {
            let source = [10, 0, 0, n];
            let frame = match kind {
                0 => ip(MAC, source, OURS, n, 0),
                1 => ip(OTHER, source, [198, 51, 100, 1], n, 0),
                2 => arp([0xff; 6], PEER, source, OURS),
                3 => arp(MAC, PEER, OURS, source),
                4 => ip(MAC, source, [8, 8, 8, 8], n, 0),
                _ => vec![n; 60],
            };
            bridge.send(port, &frame[..frame.len() - cut.min(frame.len() - 1)]);
            _ = bridge.to_send.push(n % 3, &[&PEER[..], &MAC, &[8, 0], &[n; 46]].concat());
            if i % 7 == 0 {
                bridge.turn();
                bridge.left(0);
                bridge.left(1);
            }
            if i % 50 == 0 {
                bridge.punted();
            }
        }
        bridge.turn();
    }
}
