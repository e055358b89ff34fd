//! Ports on devices that need neither a NIC nor an interface: null and ring. Needs root.
//!
//! DPDK starts once per process, so all tests of this file share one environment and use device indices of their own.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use glassgate_dataplane::classifier::{Classifier, NoSink, Options, Policy};
use glassgate_dataplane::distributor::{Distributor, Moved};
use glassgate_dataplane::lcore;
use glassgate_dataplane::parse::{ParseOptions, Parsed, parse};
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_dataplane::port::{BURST, Burst, Frame, Link, Port};
use glassgate_dpdk::{
    Device, DeviceError, DeviceOptions, Distribution, DpdkPort, Eal, EalError, EalOptions, FrameError, Lcore,
    Memory, Mempool, MempoolOptions,
};
use glassgate_policy::{L4, SignatureTable, Verdict, VerdictMatrix};

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn options() -> EalOptions {
    let memory = Memory::available(256);
    if let Memory::NoHuge { .. } = memory {
        eprintln!("no 256 MiB of huge pages are free (sysctl -w vm.nr_hugepages=128): running without");
    }
    EalOptions {
        file_prefix: "gg-test-virtual".to_owned(),
        log: Some(Arc::new(|level, line| LOG.lock().unwrap().push(format!("{level}: {line}")))),
        ..EalOptions::for_ports(memory, [])
    }
}

fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| Eal::init(options()).unwrap_or_else(|e| panic!("{e}"))).clone()
}

/// A device index that no other test uses.
fn index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn pool(name: &str, frames: u32) -> Mempool {
    let options = MempoolOptions { name: name.to_owned(), frames, cache: 32, ..MempoolOptions::default() };
    Mempool::create(&eal(), options).unwrap()
}

fn open(spec: &str, pool: Mempool, options: &DeviceOptions) -> (Device, Vec<DpdkPort>) {
    Device::open(&eal(), &spec.parse().unwrap(), index(), pool, options).unwrap_or_else(|e| panic!("{e}"))
}

fn one(spec: &str, pool: Mempool) -> (Device, DpdkPort) {
    let (device, mut ports) = open(spec, pool, &DeviceOptions::default());
    assert_eq!(ports.len(), 1);
    (device, ports.remove(0))
}

#[test]
fn null_to_null_moves_full_bursts_and_gives_every_frame_back() {
    let pool = pool("null", 8191);
    let (_, mut a) = one("null", pool);
    let (_, mut b) = one("null", pool);
    let mut burst = Burst::default();
    for _ in 0..1000 {
        assert_eq!(a.rx_burst(&mut burst), BURST);
        assert!(burst.iter().all(|frame| frame.bytes().len() == 64 && frame.wire_len() == 64));
        assert_eq!(b.tx_burst(&mut burst), BURST);
        assert!(burst.is_empty());
    }
    let (rx, tx) = (a.counters(), b.counters());
    assert_eq!((rx.rx_frames, rx.rx_bytes, rx.rx_missed), (32_000, 2_048_000, 0));
    assert_eq!((tx.tx_frames, tx.tx_bytes), (32_000, 2_048_000));
    drop((a, b));
    assert_eq!(pool.available(), pool.frames());
}

#[test]
fn a_full_burst_receives_nothing_more() {
    let pool = pool("full", 4095);
    let (_, mut port) = one("null", pool);
    let mut burst = Burst::default();
    burst.push(pool.frame(b"already here").unwrap()).unwrap();
    assert_eq!(port.rx_burst(&mut burst), BURST - 1);
    assert_eq!(burst.get(0).unwrap().bytes(), b"already here");
    assert_eq!(port.rx_burst(&mut burst), 0);
    drop(burst);
    assert_eq!(pool.available(), pool.frames());
}

#[test]
fn frames_come_through_a_ring_unchanged_and_in_order() {
    let pool = pool("ring", 8191);
    let (device, mut port) = one("ring", pool);
    assert_eq!(device.info().driver, "net_ring");
    assert!(device.link().unwrap().up);
    // Every length a buffer can have, contents that depend on the place.
    let frame = |i: usize| -> Vec<u8> { (0..14 + i * 7 % 1500).map(|k| (i * 31 + k * 7) as u8).collect() };
    let (mut sent, mut received) = (0, 0);
    while received < 5000 {
        let mut burst = Burst::default();
        // Bursts of all sizes.
        for _ in 0..=sent % BURST {
            burst.push(pool.frame(&frame(sent)).unwrap()).unwrap();
            sent += 1;
        }
        let taken = port.tx_burst(&mut burst);
        assert!(burst.is_empty(), "{taken} taken, {} left", burst.len());
        while port.rx_burst(&mut burst) > 0 {
            for frame_back in burst.drain() {
                assert_eq!(frame_back.bytes(), frame(received), "frame {received}");
                assert_eq!((frame_back.wire_len(), frame_back.segments()), (frame(received).len(), 1));
                received += 1;
            }
        }
    }
    assert_eq!(sent, received);
    let counters = port.counters();
    assert_eq!((counters.rx_frames, counters.rx_bytes), (counters.tx_frames, counters.tx_bytes));
    assert_eq!(pool.available(), pool.frames());
}

#[test]
fn what_a_full_ring_refuses_stays_in_the_burst_in_order() {
    let pool = pool("ring-full", 8191);
    let (_, mut port) = one("ring", pool);
    let mut burst = Burst::default();
    let mut next = 0u32;
    let (sent, left) = loop {
        while burst.room() > 0 {
            burst.push(pool.frame(&next.to_be_bytes()).unwrap()).unwrap();
            next += 1;
        }
        port.tx_burst(&mut burst);
        if !burst.is_empty() {
            break (port.counters().tx_frames as u32, burst.len() as u32);
        }
    };
    assert_eq!(sent + left, next);
    assert_eq!(port.counters().tx_bytes, u64::from(sent) * 4, "refused frames are not counted as sent");
    let rest: Vec<u32> = burst.drain().map(|f| u32::from_be_bytes(f.bytes().try_into().unwrap())).collect();
    assert_eq!(rest, (sent..next).collect::<Vec<_>>());
    let mut expected = 0u32..;
    while port.rx_burst(&mut burst) > 0 {
        for frame in burst.drain() {
            assert_eq!(frame.bytes(), expected.next().unwrap().to_be_bytes());
        }
    }
    assert_eq!(expected.next(), Some(sent));
    assert_eq!(pool.available(), pool.frames());
}

#[test]
fn any_virtual_device_can_be_named_with_its_arguments() {
    let pool = pool("pcap", 8191);
    let capture = tempfile::NamedTempFile::new().unwrap();
    let frames: Vec<Vec<u8>> = (0..100u8).map(|i| vec![i; 14 + usize::from(i) * 13]).collect();
    std::fs::write(capture.path(), classic(&frames)).unwrap();
    let spec = format!("vdev:net_pcap7,rx_pcap={},tx_pcap=/dev/null", capture.path().display());
    let (device, mut port) = one(&spec, pool);
    assert_eq!((device.info().driver.as_str(), device.info().queues), ("net_pcap", 1));
    let (mut burst, mut received) = (Burst::default(), Vec::new());
    while port.rx_burst(&mut burst) > 0 {
        received.extend(burst.drain().map(|frame| frame.bytes().to_vec()));
    }
    assert_eq!(received, frames);
    drop((device, port));
    assert_eq!(pool.available(), pool.frames());
}

/// A capture file in the classic format: magic, version 2.4, zone, accuracy, snap length, Ethernet; each frame with time and
/// lengths.
fn classic(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_535, 1].iter().flat_map(|w: &u32| w.to_le_bytes()).collect();
    for frame in frames {
        let length = frame.len() as u32;
        bytes.extend([0, 0, length, length].iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(frame);
    }
    bytes
}

fn classifier() -> Classifier<NoSink> {
    let compiled = glassgate_policy::compile::compile(&[], &Default::default()).unwrap();
    let policy = Policy {
        table: Arc::new(SignatureTable::from_bytes(&compiled.bytes).unwrap()),
        matrix: Arc::new(VerdictMatrix::uniform(1, Verdict::FAIL_OPEN)),
    };
    Classifier::new(Options { flows: 1 << 12, ..Options::default() }, policy, NoSink, 0)
}

/// What NICs do, imitated: a capture for each queue, split by a hash that both directions of a flow share.
#[test]
fn queues_split_by_flow_name_what_one_queue_names() {
    let pool = pool("split", 16_383);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/captures/real-clients.pcap");
    let mut reader = CaptureReader::open(path).unwrap();
    let mut split = [Vec::new(), Vec::new(), Vec::new()];
    while let Some(frame) = reader.next() {
        let bytes = frame.unwrap().bytes().to_vec();
        // As long as a buffer of the pool: the driver would cut the rest into further segments.
        if let Parsed::Packet(packet) = parse(&bytes, bytes.len(), Link::Ethernet, &ParseOptions::default())
            && bytes.len() <= 2048
        {
            split[usize::from((packet.src_port ^ packet.dst_port) & 1)].push(bytes.clone());
            split[2].push(bytes);
        }
    }
    assert!(split.iter().all(|frames| frames.len() > 50));
    let files = split.map(|frames| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), classic(&frames)).unwrap();
        file
    });
    let [a, b, all] = files.each_ref().map(|file| format!("rx_pcap={}", file.path().display()));
    let counted = |spec: String, queues: u16| {
        let (device, ports) = open(&spec, pool, &DeviceOptions { queues, ..DeviceOptions::default() });
        assert_eq!(device.info().queues, queues);
        let counts = ports.into_iter().map(|lan| {
            let (_, uplink) = one(&format!("vdev:net_null_deaf{}_{},no-rx=1", queues, lan.queue()), pool);
            let mut lcore = lcore::Lcore::new(lan, uplink, classifier());
            while lcore.turn(1_000_000_000).frames > 0 {}
            lcore.classifier().finish();
            let counters = lcore.counters();
            (counters.rx_frames[0], counters.flows_opened[0], counters.flows_named)
        });
        counts.collect::<Vec<_>>()
    };
    let two = counted(format!("vdev:net_pcap8,{a},{b},tx_pcap=/dev/null,tx_pcap=/dev/null"), 2);
    let one = counted(format!("vdev:net_pcap9,{all},tx_pcap=/dev/null"), 1);
    assert!(two.iter().all(|(_, flows, _)| *flows > 3), "{two:?}");
    let sum = |at: usize| two.iter().map(|(.., named)| named[at]).sum::<u64>();
    assert_eq!(two[0].0 + two[1].0, one[0].0, "frames");
    assert_eq!(two[0].1 + two[1].1, one[0].1, "flows");
    assert!((0..one[0].2.len()).all(|at| sum(at) == one[0].2[at]), "{two:?} {one:?}");
    assert!(one[0].2.iter().sum::<u64>() > 10);
}

/// Runs a bridge over each queue of two ports, on threads of their own, for so many turns; the ports of each queue again, and
/// what its lcore received and sent.
fn bridges(lan: Vec<DpdkPort>, uplink: Vec<DpdkPort>, turns: u64) -> Vec<([DpdkPort; 2], [[u64; 2]; 2])> {
    let eal = eal();
    thread::scope(|scope| {
        let run = |(lan, uplink)| {
            let eal = &eal;
            scope.spawn(move || {
                let _entered = Lcore::enter(eal, Some(0)).unwrap();
                let mut lcore = lcore::Lcore::new(lan, uplink, classifier());
                for turn in 0..turns {
                    lcore.turn(1_000_000_000 + turn * 1000);
                }
                let counters = lcore.counters();
                let counts = [counters.rx_frames, counters.tx_frames];
                (lcore.into_parts().0, counts)
            })
        };
        let lcores: Vec<_> = lan.into_iter().zip(uplink).map(run).collect();
        lcores.into_iter().map(|lcore| lcore.join().unwrap()).collect()
    })
}

#[test]
fn two_queues_of_null_run_a_bridge_each() {
    let pool = pool("null-queues", 8191);
    let two = DeviceOptions { queues: 2, ..DeviceOptions::default() };
    let ((device, lan), (_, uplink)) = (open("null", pool, &two), open("null", pool, &two));
    assert_eq!((device.info().queues, device.info().distribution), (2, Distribution::Unordered));
    assert_eq!(lan.iter().map(DpdkPort::queue).collect::<Vec<_>>(), [0, 1]);
    for (ports, counts) in bridges(lan, uplink, 1000) {
        assert_eq!(counts, [[32_000; 2]; 2], "received and sent, by port");
        drop(ports);
    }
    assert_eq!(pool.available(), pool.frames());
}

#[test]
fn two_queues_of_a_ring_run_a_bridge_each_and_frames_stay_in_theirs() {
    let pool = pool("ring-queues", 8191);
    let two = DeviceOptions { queues: 2, ..DeviceOptions::default() };
    let ((_, mut lan), (_, uplink)) = (open("ring", pool, &two), open("ring", pool, &two));
    let frame = |queue: usize, n: u8| [[queue as u8 + 1; 12].as_slice(), &[8, 0], &[n; 50]].concat();
    for (queue, port) in lan.iter_mut().enumerate() {
        let mut burst = Burst::default();
        (0..20).for_each(|n| burst.push(pool.frame(&frame(queue, n)).unwrap()).unwrap());
        assert_eq!(port.tx_burst(&mut burst), 20);
    }
    // Each turn takes all of them over the bridge and back again.
    for (queue, ([mut lan, mut uplink], counts)) in bridges(lan, uplink, 500).into_iter().enumerate() {
        assert_eq!(counts, [[10_000; 2]; 2], "queue {queue}");
        let mut burst = Burst::default();
        assert_eq!((uplink.rx_burst(&mut burst), lan.rx_burst(&mut burst)), (0, 20));
        assert!(burst.iter().map(Frame::bytes).eq((0..20).map(|n| frame(queue, n))), "queue {queue}");
    }
    assert_eq!(pool.available(), pool.frames());
}

/// The first segments of TLS flows from eight clients, twice: split by flow, and all.
fn captures_of_clients() -> [tempfile::NamedTempFile; 3] {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/captures/real-clients.pcap");
    let mut reader = CaptureReader::open(path).unwrap();
    let mut split = [Vec::new(), Vec::new(), Vec::new()];
    while let Some(frame) = reader.next() {
        let mut bytes = frame.unwrap().bytes().to_vec();
        if let Parsed::Packet(packet) = parse(&bytes, bytes.len(), Link::Ethernet, &ParseOptions::default())
            && packet.l4() == L4::Tcp
            && packet.src_port > packet.dst_port
            && bytes[12..14] == [8, 0]
            && bytes.len() <= 2048
        {
            // The flow's SYN has a wrong checksum now, which says that a NIC was to finish it.
            bytes[26..30].copy_from_slice(&[10, 77, 0, (packet.src_port >> 1) as u8 % 8]);
            // Of clients' ports, systems choose the even ones first.
            split[usize::from(packet.src_port >> 1 & 1)].push(bytes.clone());
            split[2].push(bytes);
        }
    }
    assert!(split.iter().all(|frames| frames.len() > 10), "{:?}", split.each_ref().map(Vec::len));
    split.map(|frames| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), classic(&frames)).unwrap();
        file
    })
}

/// Lets a distributor feed so many lcores from these ports until nothing moves any more, at most `turns` times: frames
/// received, flows, and names by how they are known, of each lcore; and what was lost.
fn distribute(ports: [Vec<DpdkPort>; 2], lcores: usize, turns: usize) -> (Vec<(u64, u64, Vec<u64>)>, u64) {
    let (mut distributor, pairs) = Distributor::new(ports, lcores, 77);
    let mut lcores: Vec<_> =
        pairs.into_iter().map(|[lan, uplink]| lcore::Lcore::new(lan, uplink, classifier())).collect();
    for _ in 0..turns {
        if distributor.turn() == Moved::default() {
            break;
        }
        lcores.iter_mut().for_each(|lcore| _ = lcore.turn(1_000_000_000));
    }
    while lcores.iter_mut().map(|lcore| lcore.turn(1_000_000_000).frames).sum::<usize>() > 0 {
        distributor.drain();
    }
    distributor.publish();
    let counted = lcores.into_iter().map(|mut lcore| {
        lcore.classifier().finish();
        let counters = lcore.counters();
        let lost = counters.rx_missed.iter().chain(&counters.drop_tx_full).sum::<u64>();
        let frames = counters.rx_frames.iter().sum();
        ((frames, counters.flows_opened[0], counters.flows_named.to_vec()), lost)
    });
    let (counts, lost): (Vec<_>, Vec<u64>) = counted.unzip();
    while distributor.drain() > 0 {}
    assert!(distributor.is_done(), "frames are still somewhere: {}", distributor.frames());
    (counts, lost.iter().sum())
}

#[test]
fn behind_a_distributor_queues_of_captures_name_what_one_queue_names() {
    let pool = pool("distributor", 16_383);
    let files = captures_of_clients();
    let [a, b, all] = files.each_ref().map(|file| format!("rx_pcap={}", file.path().display()));
    let deaf = |n: u32| vec![one(&format!("vdev:net_null_deaf_too{n},no-rx=1"), pool).1];
    let two = DeviceOptions { queues: 2, ..DeviceOptions::default() };
    let (_, queues) =
        open(&format!("vdev:net_pcap_a,{a},{b},tx_pcap=/dev/null,tx_pcap=/dev/null"), pool, &two);
    assert_eq!(queues.len(), 2);
    let (_, queue) = one(&format!("vdev:net_pcap_b,{all},tx_pcap=/dev/null"), pool);
    let (spread, lost) = distribute([queues, deaf(0)], 3, usize::MAX);
    let (whole, lost_too) = distribute([vec![queue], deaf(1)], 1, usize::MAX);
    assert_eq!((lost, lost_too), (0, 0));
    assert!(spread.iter().all(|(frames, ..)| *frames > 0), "all lcores work: {spread:?}");
    let sum = |at: usize| spread.iter().map(|(.., named)| named[at]).sum::<u64>();
    assert_eq!(spread.iter().map(|(frames, ..)| frames).sum::<u64>(), whole[0].0, "frames");
    assert_eq!(spread.iter().map(|(_, flows, _)| flows).sum::<u64>(), whole[0].1, "flows");
    assert!((0..whole[0].2.len()).all(|at| sum(at) == whole[0].2[at]), "{spread:?} {whole:?}");
    assert!(whole[0].2.iter().sum::<u64>() > 5, "{whole:?}");
    assert_eq!(pool.available(), pool.frames());
}

#[test]
fn a_distributor_takes_all_queues_of_null_and_of_a_ring() {
    let pool = pool("distributor-more", 16_383);
    let two = DeviceOptions { queues: 2, ..DeviceOptions::default() };
    let (_, lan) = open("null", pool, &two);
    let (_, uplink) = open("null", pool, &two);
    // Empty frames: all of them to one lcore, two bursts of each port a turn.
    let (counts, lost) = distribute([lan, uplink], 2, 200);
    let frames: u64 = counts.iter().map(|(frames, ..)| frames).sum();
    assert_eq!(frames + lost, 200 * 4 * BURST as u64, "{counts:?}");
    assert!(frames >= 200 * 2 * BURST as u64);

    let ((_, mut lan), (_, uplink)) = (open("ring", pool, &two), open("ring", pool, &two));
    for (queue, port) in lan.iter_mut().enumerate() {
        let mut burst = Burst::default();
        (0..16u8).for_each(|n| burst.push(pool.frame(&[n + 16 * queue as u8; 60]).unwrap()).unwrap());
        assert_eq!(port.tx_burst(&mut burst), 16);
    }
    // They go round and round: a way in every other turn.
    let (counts, lost) = distribute([lan, uplink], 2, 50);
    assert_eq!(lost, 0);
    assert_eq!(counts.iter().map(|(frames, ..)| frames).sum::<u64>(), 25 * 32, "{counts:?}");
}

#[test]
fn a_driver_that_claims_more_than_the_buffer_is_not_believed() {
    let pool = pool("lies", 4095);
    let (_, mut port) = one("vdev:net_null700,size=4096", pool);
    let mut burst = Burst::default();
    port.rx_burst(&mut burst);
    assert!(burst.iter().all(|frame| (frame.wire_len(), frame.bytes().len()) == (4096, 2048)));
}

#[test]
fn an_mtu_beyond_what_driver_and_pool_can_do_is_refused() {
    let pool = pool("mtu", 4095);
    let with_mtu = |mtu| DeviceOptions { mtu: Some(mtu), ..DeviceOptions::default() };
    let (device, _) = open("null", pool, &with_mtu(1400));
    assert_eq!(device.info().mtu, 1400);
    let error = Device::open(&eal(), &"null".parse().unwrap(), index(), pool, &with_mtu(9000)).unwrap_err();
    assert!(error.to_string().contains("buffers of 9022 bytes are needed, the mempool has 2048"), "{error}");
}

#[test]
fn an_empty_pool_is_an_answer_not_a_crash() {
    let pool = pool("empty", 255);
    let mut held: Vec<_> = std::iter::from_fn(|| pool.frame(b"x").ok()).collect();
    assert_eq!(held.len(), 255);
    assert_eq!(pool.frame(b"x").unwrap_err(), FrameError::Empty);
    held.pop();
    assert!(pool.frame(b"x").is_ok());
    assert_eq!(pool.frame(&[0; 2049]).unwrap_err(), FrameError::TooLong { length: 2049, room: 2048 });
    assert_eq!(pool.frame(&[7; 2048]).unwrap().bytes(), [7; 2048]);
    drop(held);
    assert_eq!(pool.available(), 255);
}

#[test]
fn frames_and_ports_move_to_lcores_and_come_back_whole() {
    let pool = pool("lcores", 8191);
    let (device, ports) = open("ring", pool, &DeviceOptions { queues: 2, ..DeviceOptions::default() });
    assert_eq!((device.info().queues, device.info().distribution), (2, Distribution::Unordered));
    let eal = eal();
    let ids: Vec<u32> = thread::scope(|scope| {
        let lcores: Vec<_> = ports
            .into_iter()
            .map(|mut port| {
                let eal = &eal;
                scope.spawn(move || {
                    let lcore = Lcore::enter(eal, Some(0)).unwrap();
                    let mark = [port.queue() as u8; 60];
                    let mut burst = Burst::default();
                    for _ in 0..20_000 {
                        while burst.room() > 0 {
                            burst.push(pool.frame(&mark).unwrap()).unwrap();
                        }
                        port.tx_burst(&mut burst);
                        port.rx_burst(&mut burst);
                        assert!(burst.drain().all(|frame| frame.bytes() == mark));
                    }
                    while port.rx_burst(&mut burst) > 0 {
                        burst.drain().for_each(drop);
                    }
                    lcore.id()
                })
            })
            .collect();
        lcores.into_iter().map(|lcore| lcore.join().unwrap()).collect()
    });
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 2, "two threads, two lcore ids");
    assert_eq!(pool.available(), pool.frames());
}

#[test]
fn frames_outlive_their_port_and_are_freed_on_any_thread() {
    let pool = pool("outlive", 4095);
    let (_, mut port) = one("null", pool);
    let mut burst = Burst::default();
    port.rx_burst(&mut burst);
    drop(port);
    thread::spawn(move || {
        assert_eq!(burst.iter().map(|frame| frame.bytes().len()).sum::<usize>(), 64 * BURST);
        drop(burst);
    })
    .join()
    .unwrap();
    assert_eq!(pool.available(), pool.frames());
}

#[test]
fn what_is_missing_is_named() {
    let pool = pool("missing", 16383);
    for kind in ["af_packet", "af_xdp"] {
        let spec = format!("{kind}:ggd-nope0").parse().unwrap();
        let error = Device::open(&eal(), &spec, index(), pool, &DeviceOptions::default()).unwrap_err();
        assert!(matches!(error, DeviceError::Missing { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("there is no interface `ggd-nope0`") && text.contains("ip -br link"), "{text}");
    }
    let nic = "pci:ffff:ff:1f.7".parse().unwrap();
    let error = Device::open(&eal(), &nic, 0, pool, &DeviceOptions::default()).unwrap_err().to_string();
    assert!(error.contains("pci:ffff:ff:1f.7") && error.contains("lspci -D"), "{error}");
    assert!(!LOG.lock().unwrap().is_empty(), "DPDK's complaints went to the sink");
}

#[test]
fn a_device_is_open_once_and_can_be_opened_again_after() {
    let (pool, index) = (pool("again", 4095), index());
    let spec = "null".parse().unwrap();
    for _ in 0..3 {
        let first = Device::open(&eal(), &spec, index, pool, &DeviceOptions::default()).unwrap();
        let second = Device::open(&eal(), &spec, index, pool, &DeviceOptions::default()).unwrap_err();
        assert!(matches!(second, DeviceError::AlreadyOpen { .. }), "{second}");
        drop(first);
    }
}

#[test]
fn a_pool_that_could_run_dry_is_refused() {
    let pool = pool("small", 1500);
    let with_rings =
        |ring| DeviceOptions { rx_ring: Some(ring), tx_ring: Some(ring), ..DeviceOptions::default() };
    let spec = "null".parse().unwrap();
    let first = Device::open(&eal(), &spec, index(), pool, &with_rings(512)).unwrap();
    let error = Device::open(&eal(), &spec, index(), pool, &with_rings(512)).unwrap_err();
    assert!(matches!(error, DeviceError::PoolTooSmall { frames: 1500, needed: 2160, .. }), "{error}");
    drop(first);
    Device::open(&eal(), &spec, index(), pool, &with_rings(512)).expect("the promise ended with the device");
}

#[test]
fn pools_say_what_is_wrong_with_them() {
    let create = |options| Mempool::create(&eal(), options).unwrap_err();
    let base = MempoolOptions { name: "twice".to_owned(), frames: 255, cache: 0, room: 2048 };
    Mempool::create(&eal(), base.clone()).unwrap();
    for (options, part) in [
        (base.clone(), "`twice`"),
        (MempoolOptions { name: "x".repeat(26), ..base.clone() }, "1 to 25 bytes"),
        (MempoolOptions { name: "a\0b".to_owned(), ..base.clone() }, "zero byte"),
        (MempoolOptions { cache: 171, ..base.clone() }, "at most 170"),
        (MempoolOptions { room: 65_500, ..base.clone() }, "at most 65407"),
    ] {
        let error = create(options).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_environment_starts_once() {
    let _running = eal();
    assert!(matches!(Eal::init(options()), Err(EalError::AlreadyInitialised)));
    let too_much = EalOptions { memory: Memory::HugePages { mib: u32::MAX }, ..options() };
    let error = Eal::init(too_much).unwrap_err().to_string();
    assert!(error.contains("sysctl -w vm.nr_hugepages="), "{error}");
}

#[test]
fn the_affinity_of_the_caller_is_not_changed() {
    let cpus = || rustix::thread::sched_getaffinity(None).unwrap();
    thread::spawn(move || {
        let before = cpus();
        let eal = eal();
        assert_eq!(cpus(), before);
        let lcore = Lcore::enter(&eal, Some(0)).unwrap();
        assert_eq!(cpus().count(), 1);
        drop(lcore);
        assert_eq!(cpus(), before);
        assert!(Lcore::enter(&eal, Some(1023)).unwrap_err().to_string().contains("1023"));
    })
    .join()
    .unwrap();
}
