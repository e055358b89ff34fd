//! Several lcores behind the software distributor: they see what one lcore sees, frames leave as they came, and one lcore
//! that stands still costs the others nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use glassgate_dataplane::classifier::{Classifier, FlowSink, FlowSummary, NameSeen, NoSink, Options, Policy};
use glassgate_dataplane::distributor::{Distributor, RING};
use glassgate_dataplane::flow::FlowId;
use glassgate_dataplane::lcore::Lcore;
use glassgate_dataplane::packet::Packet;
use glassgate_dataplane::parse::{ParseOptions, Parsed, checksum_of, parse};
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_dataplane::port::memory::{MemoryFrame, MemoryPort, Pool, pair};
use glassgate_dataplane::port::{Burst, Frame, Link, Port};
use glassgate_policy::{L4, SignatureTable, Verdict, VerdictMatrix};

const SECOND: u64 = 1_000_000_000;
/// Frames that are in the bridge at most.
const ROOM: usize = 4096;

/// What became of each flow: how its name is known, names, frames and bytes each way.
type Flows = BTreeMap<String, String>;

#[derive(Clone, Default)]
struct Collect {
    names: BTreeMap<FlowId, Vec<String>>,
    flows: Rc<RefCell<Flows>>,
}

impl FlowSink for Collect {
    const NAMES: bool = true;

    fn named(&mut self, flow: FlowId, seen: &NameSeen<'_>) {
        self.names.entry(flow).or_default().push(format!("{:?}", seen.name));
    }

    fn ended(&mut self, flow: FlowId, summary: &FlowSummary) {
        let FlowSummary {
            tuple, app, evidence, reason, frames_up, frames_down, bytes_up, bytes_down, ..
        } = summary;
        let names = self.names.remove(&flow);
        let what = format!(
            "{app:?} {evidence:?} {reason:?} {names:?} {frames_up}/{frames_down} {bytes_up}/{bytes_down}"
        );
        let twice = self.flows.borrow_mut().insert(format!("{tuple:?} {}", summary.first_ns), what);
        assert!(twice.is_none(), "one flow on two lcores: {tuple:?}");
    }
}

fn classifier<S: FlowSink>(sink: S) -> Classifier<S> {
    let compiled = glassgate_policy::compile::compile(&[], &Default::default()).unwrap();
    let policy = Policy {
        table: Arc::new(SignatureTable::from_bytes(&compiled.bytes).unwrap()),
        matrix: Arc::new(VerdictMatrix::uniform(1, Verdict::FAIL_OPEN)),
    };
    Classifier::new(Options { flows: 1 << 12, ..Options::default() }, policy, sink, 0)
}

/// A bridge between two ports whose other ends the test holds.
enum Bridge<S: FlowSink> {
    One(Box<Lcore<MemoryPort, S>>),
    Several(
        Box<Distributor<MemoryPort>>,
        Vec<Lcore<glassgate_dataplane::distributor::WorkerPort<MemoryFrame>, S>>,
    ),
}

impl<S: FlowSink> Bridge<S> {
    fn new(lcores: usize, sink: impl Fn() -> S) -> (Self, [MemoryPort; 2]) {
        let ((lan, inner_lan), (uplink, inner_uplink)) = (pair(ROOM), pair(ROOM));
        let bridge = if lcores == 0 {
            Self::One(Box::new(Lcore::new(inner_lan, inner_uplink, classifier(sink()))))
        } else {
            let (distributor, ports) = Distributor::new([vec![inner_lan], vec![inner_uplink]], lcores, 77);
            let lcore = |[lan, uplink]: [_; 2]| Lcore::new(lan, uplink, classifier(sink()));
            Self::Several(Box::new(distributor), ports.into_iter().map(lcore).collect())
        };
        (bridge, [lan, uplink])
    }

    fn turn(&mut self, now_ns: u64) {
        match self {
            Self::One(lcore) => _ = lcore.turn(now_ns),
            Self::Several(distributor, lcores) => {
                distributor.turn();
                for lcore in lcores {
                    lcore.turn(now_ns);
                }
                distributor.turn();
            }
        }
    }

    fn finish(self) {
        let lcores = match self {
            Self::One(mut lcore) => return lcore.classifier().finish(),
            Self::Several(_, lcores) => lcores,
        };
        for mut lcore in lcores {
            lcore.classifier().finish();
        }
    }
}

/// Frames that real clients on one machine exchanged, each with the side it came from, as if eight clients of the LAN had
/// sent them.
fn recorded() -> Vec<(usize, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/real-clients.pcap");
    let mut reader = CaptureReader::open(&path).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = reader.next() {
        let mut bytes = frame.unwrap().bytes().to_vec();
        let parsed =
            parse(&bytes, bytes.len(), Link::Ethernet, &ParseOptions { capture: true, ..Default::default() });
        let Parsed::Packet(packet) = parsed else { continue };
        if bytes[12..14] != [8, 0] {
            continue;
        }
        // The client's port is the higher one.
        let up = packet.src_port > packet.dst_port;
        let client = [10, 77, 0, packet.src_port.max(packet.dst_port).rem_euclid(8) as u8 + 10];
        readdress(&mut bytes, &packet, if up { 26 } else { 30 }, client);
        frames.push((usize::from(!up), bytes));
    }
    frames
}

/// Puts another address into an IPv4 packet, and its checksums right.
fn readdress(bytes: &mut Vec<u8>, packet: &Packet, at: usize, address: [u8; 4]) {
    bytes.truncate((packet.payload_at + packet.payload_len) as usize);
    bytes[at..at + 4].copy_from_slice(&address);
    bytes[24..26].fill(0);
    let sum = checksum_of([&bytes[14..34]], 0);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    let (l4, tcp) = (packet.l4_at as usize, packet.l4() == L4::Tcp);
    let sum_at = l4 + if tcp { 16 } else { 6 };
    bytes[sum_at..sum_at + 2].fill(0);
    let length = (bytes.len() - l4) as u16;
    let pseudo =
        [&bytes[26..34], &[0, if tcp { 6 } else { 17 }], &length.to_be_bytes(), &bytes[l4..]].concat();
    let sum = checksum_of([&pseudo], 0);
    bytes[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Sends all frames through a bridge of so many lcores, 0 for one without a distributor: flows, and what came out on each side.
fn through(frames: &[(usize, Vec<u8>)], lcores: usize) -> (Flows, [Vec<Vec<u8>>; 2]) {
    let sink = Collect::default();
    let (mut bridge, mut outside) =
        Bridge::new(lcores, || Collect { flows: sink.flows.clone(), ..Collect::default() });
    let (pool, mut out) = (Pool::new(64, 1 << 16), [Vec::new(), Vec::new()]);
    for (n, (side, bytes)) in frames.iter().enumerate() {
        outside[*side].send(pool.frame(bytes).unwrap()).unwrap();
        bridge.turn(SECOND + n as u64 * 1_000_000);
        for (side, out) in out.iter_mut().enumerate() {
            out.extend(std::iter::from_fn(|| outside[side].receive()).map(|frame| frame.bytes().to_vec()));
        }
    }
    bridge.finish();
    assert_eq!(pool.free(), 64, "a frame is still somewhere");
    let flows = sink.flows.take();
    (flows, out)
}

#[test]
fn several_lcores_see_what_one_sees() {
    let frames = recorded();
    let (flows, out) = through(&frames, 0);
    assert!(flows.len() > 15, "{} flows", flows.len());
    for lcores in 1..=5 {
        let (distributed, distributed_out) = through(&frames, lcores);
        assert_eq!(flows, distributed, "{lcores} lcores");
        for side in 0..2 {
            let sent = frames.iter().filter(|(from, _)| *from != side).map(|(_, bytes)| bytes);
            assert!(sent.eq(&distributed_out[side]), "{lcores} lcores, side {side}");
            assert_eq!(out[side].len(), distributed_out[side].len());
        }
    }
}

/// A UDP frame between a client of the LAN and a server.
fn datagram(client: u8, number: u8) -> Vec<u8> {
    let mut out =
        vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, client, 8, 0, 0x45, 0, 0, 46, 0, 1, 0x40, 0, 64, 17, 0, 0];
    out.extend([10, 0, 0, client, 203, 0, 113, 9, 0x80, number, 0x1b, 0x58, 0, 26, 0, 0]);
    out.resize(60, 0xa5);
    out
}

#[test]
fn both_directions_fragments_and_dns_of_a_client_meet() {
    let lcores_of = |client: u8| {
        let ((mut lan, inner_lan), (mut uplink, inner_uplink)) = (pair(64), pair(64));
        let (mut distributor, mut ports) = Distributor::new([vec![inner_lan], vec![inner_uplink]], 4, 5);
        let pool = Pool::new(64, 128);
        let mut fragment = datagram(client, 1);
        fragment[20..22].copy_from_slice(&[0x20, 0x05]);
        for frame in [datagram(client, 1), datagram(client, 2), fragment] {
            let mut back = frame.clone();
            back[26..30].copy_from_slice(&frame[30..34]);
            back[30..34].copy_from_slice(&frame[26..30]);
            lan.send(pool.frame(&frame).unwrap()).unwrap();
            uplink.send(pool.frame(&back).unwrap()).unwrap();
        }
        distributor.turn();
        let mut got = |port: usize, lcore: usize| {
            let mut burst = Burst::default();
            ports[lcore][port].rx_burst(&mut burst)
        };
        (0..4).map(|lcore| (got(0, lcore), got(1, lcore))).collect::<Vec<_>>()
    };
    let mut used = [false; 4];
    for client in 0..32 {
        let counts = lcores_of(client);
        let at =
            counts.iter().position(|count| *count == (3, 3)).unwrap_or_else(|| panic!("spread: {counts:?}"));
        used[at] = true;
    }
    assert_eq!(used, [true; 4], "clients are spread");
}

#[test]
fn an_lcore_that_stands_still_loses_its_own_frames_only() {
    let (bridge, mut outside) = Bridge::new(2, || NoSink);
    let Bridge::Several(mut distributor, mut lcores) = bridge else { unreachable!() };
    let pool = Pool::new(ROOM, 128);
    // A client of each.
    let mut of = [None, None];
    for client in 0..32 {
        outside[0].send(pool.frame(&datagram(client, 1)).unwrap()).unwrap();
        distributor.turn();
        let moved = [0, 1].map(|i: usize| lcores[i].turn(SECOND).frames);
        of[usize::from(moved[1] == 1)] = Some(client);
        distributor.turn();
    }
    let [still, other] = of.map(|client| client.expect("both lcores have clients"));
    while outside[1].receive().is_some() {}
    let extra = 100;
    let mut passed = 0;
    for n in 0..RING + extra {
        outside[0].send(pool.frame(&datagram(still, 1)).unwrap()).unwrap();
        outside[0].send(pool.frame(&datagram(other, n as u8)).unwrap()).unwrap();
        distributor.turn();
        lcores[1].turn(2 * SECOND);
        distributor.turn();
        passed += std::iter::from_fn(|| outside[1].receive()).count();
    }
    assert_eq!(passed, RING + extra, "all of the other one");
    distributor.publish();
    let missed: u64 = lcores.iter_mut().map(|lcore| lcore.counters().rx_missed[0]).sum();
    assert_eq!(missed, extra as u64, "what did not fit is counted once");
    // It goes on: what was kept leaves in order, nothing else was lost.
    let mut rest = 0;
    while lcores[0].turn(3 * SECOND).frames > 0 {
        distributor.turn();
        rest += std::iter::from_fn(|| outside[1].receive()).count();
    }
    assert_eq!(rest, RING);
    assert!(!distributor.is_done());
    drop(lcores);
    assert!(distributor.is_done());
}

#[test]
fn the_end_of_the_ports_is_passed_on() {
    let (bridge, outside) = Bridge::new(2, || NoSink);
    let Bridge::Several(mut distributor, mut lcores) = bridge else { unreachable!() };
    distributor.turn();
    assert!(!lcores[0].turn(SECOND).exhausted);
    drop(outside);
    distributor.turn();
    assert!(lcores.iter_mut().all(|lcore| lcore.turn(SECOND).exhausted));
}
