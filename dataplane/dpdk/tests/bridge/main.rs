//! An inline bridge on real kernel interfaces: two namespaces that reach each other only through two ports, on
//! af_packet and on af_xdp. Needs root.
//!
//! Each bridge is a process of its own, this same program started again inside a namespace (`bridge_process`), since
//! DPDK starts once per process and one of the tests kills it.

mod lab;
mod traffic;

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, io, thread};

use glassgate_dataplane::port::spec::PortSpec;
use glassgate_dataplane::port::{Burst, Port};
use glassgate_dpdk::{
    Device, DeviceError, DeviceOptions, DpdkPort, Eal, EalOptions, Lcore, Memory, Mempool, MempoolOptions,
};

use lab::Lab;

/// Enough for the pool of four rings of 2048 descriptors.
const MIB: u32 = 128;

#[test]
fn af_packet_carries_pings_and_files_unchanged() {
    carries_everything("af_packet", Memory::available(MIB));
}

#[test]
fn af_xdp_carries_pings_and_files_unchanged() {
    carries_everything("af_xdp", Memory::available(MIB));
}

#[test]
fn ordinary_pages_do_as_well() {
    carries_everything("af_packet", Memory::NoHuge { mib: MIB });
    carries_everything("af_xdp", Memory::NoHuge { mib: MIB });
}

fn carries_everything(driver: &str, memory: Memory) {
    let lab = Lab::new();
    lab.connect_lan();
    lab.connect_wan();
    let mut bridge = Bridge::start_with(&lab, driver, 1, memory);
    let ports = bridge.line_with("ready");
    assert!(ports.contains(&format!("{driver}:a: net_{driver}")), "{ports}");

    exchange_everything(&lab);
    let end = bridge.stop();
    assert!(end.contains("lost 0,"), "{end}");
    // The driver of af_xdp does not give back what its rings hold: 2048 frames to receive into per port, and those
    // just sent.
    let missing = if driver == "af_xdp" { 4096..4096 + 512 } else { 0..1 };
    assert!(missing.contains(&missing_frames(&end)), "{end}");
}

#[test]
fn tap_carries_pings_and_files_unchanged() {
    let lab = Lab::new();
    let mut bridge = Bridge::start(&lab, "tap");
    // The interfaces are made with the ports, in the bridge's namespace.
    bridge.line_with("ready");
    lab.adopt();
    exchange_everything(&lab);
    // This driver counts as errors also what it refused for the moment and took later: its losses can't be told.
    assert_eq!(missing_frames(&bridge.stop()), 0);
}

#[test]
fn a_port_opens_once_its_interface_is_there() {
    let lab = Lab::new();
    lab.connect_lan();
    let mut bridge = Bridge::start(&lab, "af_packet");
    let missing = bridge.line_with("missing");
    assert!(
        missing.contains("port af_packet:b is missing") && missing.contains("no interface `b`"),
        "{missing}"
    );
    lab.connect_wan();
    bridge.say("again");
    bridge.line_with("ready");
    traffic::wait_for_ping(&lab);
    assert_eq!(missing_frames(&bridge.stop()), 0);
}

/// Pings of all sizes, and files both ways over both families.
fn exchange_everything(lab: &Lab) {
    traffic::wait_for_ping(lab);
    for size in [0, 56, 1472] {
        assert_eq!(traffic::pings(lab, 20, size), 20, "{size} bytes");
    }
    for family in [lab::V4, lab::V6] {
        let (there, back) = traffic::transfer(lab, family, 8 << 20);
        assert_eq!(there.sent, there.received, "{family:?} to the server");
        assert_eq!(back.sent, back.received, "{family:?} to the client");
    }
}

/// Frames that did not come back to the pool, from a bridge's last line.
fn missing_frames(end: &str) -> u32 {
    end.trim().rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{end}"))
}

#[test]
fn a_link_that_goes_down_is_seen_and_comes_back() {
    for driver in ["af_packet", "af_xdp"] {
        let lab = Lab::new();
        lab.connect_lan();
        lab.connect_wan();
        // Opening a port brings its interface up.
        lab.in_gateway("ip link set dev a down");
        let mut bridge = Bridge::start(&lab, driver);
        bridge.line_with("ready");
        traffic::wait_for_ping(&lab);
        assert_eq!(bridge.links(), "true true");
        lab.in_lan("ip link set dev e down");
        assert_eq!(bridge.links(), "false true");
        lab.in_lan("ip link set dev e up");
        lab.in_gateway("ip link set dev b down");
        assert_eq!(bridge.links(), "true false");
        lab.in_gateway("ip link set dev b up");
        traffic::wait_for_ping(&lab);
        assert_eq!(bridge.links(), "true true");
        lab.in_gateway("ip link delete dev a");
        assert_eq!(bridge.links(), "false true");
        bridge.stop();
    }
}

#[test]
fn an_interface_with_several_queues_is_refused_for_xdp() {
    let lab = Lab::new();
    lab.connect_lan_with("numrxqueues 4 numtxqueues 4");
    lab.connect_wan();
    lab.in_gateway("ethtool -L a rx 4 tx 4");
    let mut bridge = Bridge::start(&lab, "af_xdp");
    let refused = bridge.line_with("refused");
    assert!(refused.contains("over 4 queues") && refused.contains("ethtool -L a combined 1"), "{refused}");
}

#[test]
fn two_queues_of_packet_sockets_keep_flows_whole() {
    let lab = Lab::new();
    lab.connect_lan();
    lab.connect_wan();
    let mut bridge = Bridge::start_with(&lab, "af_packet", 2, Memory::available(2 * MIB));
    let ports = bridge.line_with("ready");
    assert!(ports.contains("2 queues (symmetric hash of the kernel)"), "{ports}");
    traffic::wait_for_ping(&lab);
    // Flows of many ports: a bridge whose queues mix up would still pass them, so it watches (see `follow`).
    for _ in 0..16 {
        let (there, back) = traffic::transfer(&lab, lab::V4, 64 << 10);
        assert_eq!((there.sent, back.sent), (there.received, back.received));
    }
    let end = bridge.stop();
    assert!(end.contains("split flows 0"), "{end}");
    assert!(
        !end.contains("queue 0: 0 frames") && !end.contains("queue 1: 0 frames"),
        "both queues work: {end}"
    );
}

#[test]
fn killing_it_leaves_nothing_in_the_way_of_the_next() {
    for driver in ["af_packet", "af_xdp"] {
        let lab = Lab::new();
        lab.connect_lan();
        lab.connect_wan();
        for _ in 0..2 {
            let mut bridge = Bridge::start(&lab, driver);
            bridge.line_with("ready");
            traffic::wait_for_ping(&lab);
            bridge.child.kill().unwrap();
            bridge.child.wait().unwrap();
            assert_eq!(leftovers(&lab), Vec::<PathBuf>::new());
        }
    }
}

/// Files that DPDK could leave: in every hugetlbfs and in its run-time folders.
fn leftovers(lab: &Lab) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let huge = mounts.lines().filter(|line| line.split(' ').nth(2) == Some("hugetlbfs"));
    let folders =
        huge.filter_map(|line| line.split(' ').nth(1)).chain(["/run/dpdk", "/tmp/dpdk", "/dev/shm"]);
    let files = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let ours = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().contains(&lab.gateway));
    files.map(|entry| entry.path()).filter(ours).collect()
}

/// A bridge in a process of its own.
struct Bridge {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Bridge {
    fn start(lab: &Lab, driver: &str) -> Self {
        Self::start_with(lab, driver, 1, Memory::available(MIB))
    }

    fn start_with(lab: &Lab, driver: &str, queues: u16, memory: Memory) -> Self {
        let (mib, huge) = match memory {
            Memory::HugePages { mib } => (mib, "huge"),
            Memory::NoHuge { mib } => (mib, "ordinary"),
        };
        eprintln!("{driver} on {mib} MiB of {huge} pages");
        // A name of its own for each, as instances on one machine have.
        let prefix = format!("gg-test-{}", lab.gateway);
        let mut command = Command::new("ip");
        command
            .env("GG_TEST_PREFIX", prefix)
            .args(["netns", "exec", &lab.gateway])
            .arg(env::current_exe().unwrap());
        command.args(["bridge_process", "--exact", "--ignored", "--nocapture"]);
        command.env("GG_TEST_DRIVER", driver).env("GG_TEST_QUEUES", queues.to_string());
        command.env("GG_TEST_PAGES", huge).env("GG_TEST_MIB", mib.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// All it prints up to and including the line that begins with `word`.
    fn line_with(&mut self, word: &str) -> String {
        let mut text = String::new();
        loop {
            let start = text.len();
            if self.output.read_line(&mut text).unwrap() == 0 {
                panic!("no `{word}` from the bridge:\n{text}");
            }
            if text.get(start..).is_some_and(|line| line.starts_with(word)) {
                return text;
            }
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Whether the links of both ports are up.
    fn links(&mut self) -> String {
        self.say("links");
        let line = self.line_with("links");
        line.trim().trim_start_matches("links ").to_owned()
    }

    fn stop(mut self) -> String {
        self.say("stop");
        let text = self.line_with("end");
        self.child.wait().unwrap();
        text
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: the bridge that the tests of this file start. Does nothing when started otherwise.
#[test]
#[ignore = "started by the other tests of this file"]
fn bridge_process() {
    let Ok(driver) = env::var("GG_TEST_DRIVER") else { return };
    let queues = env::var("GG_TEST_QUEUES").unwrap().parse().unwrap();
    let mib = env::var("GG_TEST_MIB").unwrap().parse().unwrap();
    let huge = env::var("GG_TEST_PAGES").unwrap() == "huge";
    let memory = if huge { Memory::HugePages { mib } } else { Memory::NoHuge { mib } };
    // The test harness has printed the name of the test without an end of line.
    println!();
    if let Err(error) = run(&driver, queues, memory) {
        println!("refused: {error}");
    }
}

fn run(driver: &str, queues: u16, memory: Memory) -> Result<(), Box<dyn Error>> {
    let specs: [PortSpec; 2] = [format!("{driver}:a").parse()?, format!("{driver}:b").parse()?];
    let eal = Eal::init(EalOptions {
        file_prefix: env::var("GG_TEST_PREFIX")?,
        ..EalOptions::for_ports(memory, &specs)
    })?;
    let frames = 9216 * u32::from(queues);
    let pool = Mempool::create(&eal, MempoolOptions { frames, ..MempoolOptions::default() })?;
    let options = DeviceOptions { queues, ..DeviceOptions::default() };
    let mut lines = io::stdin().lines();
    let mut open = |index: usize| loop {
        match Device::open(&eal, &specs[index], index, pool, &options) {
            Err(error @ DeviceError::Missing { .. }) => println!("missing: {error}"),
            other => break other,
        }
        lines.next();
    };
    let ((a, a_ports), (b, b_ports)) = (open(0)?, open(1)?);
    println!("{}\n{}\nready", a.info(), b.info());

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let pairs = a_ports.into_iter().zip(b_ports);
        let lcores: Vec<_> = pairs.map(|(a, b)| scope.spawn(|| forward(&eal, a, b, &stop))).collect();
        while let Some(Ok("links")) = lines.next().as_ref().map(|line| line.as_deref()) {
            let up = |device: &Device| device.link().is_some_and(|link| link.up);
            println!("links {} {}", up(&a), up(&b));
        }
        // Another line, or the end of the process that started this one.
        stop.store(true, Ordering::Relaxed);
        let (mut lost, mut flows) = (0, Vec::new());
        for (queue, lcore) in lcores.into_iter().enumerate() {
            let end = lcore.join().expect("an lcore panicked");
            println!("queue {queue}: {} frames", end.frames);
            lost += end.lost;
            flows.extend(end.flows);
        }
        let stats = [a.stats(), b.stats()].map(Option::unwrap_or_default);
        lost += stats.iter().map(|s| s.rx_missed + s.rx_errors + s.rx_no_mbuf + s.tx_errors).sum::<u64>();
        flows.sort_unstable();
        println!("split flows {}", flows.windows(2).filter(|pair| pair[0] == pair[1]).count());
        drop((a, b));
        println!("end: lost {lost}, frames not given back {}", pool.frames() - pool.available());
    });
    Ok(())
}

/// What one lcore has to tell.
#[derive(Default)]
struct Forwarded {
    frames: u64,
    lost: u64,
    flows: std::collections::HashSet<[u8; 12]>,
}

fn forward(eal: &Eal, mut a: DpdkPort, mut b: DpdkPort, stop: &AtomicBool) -> Forwarded {
    let _lcore = Lcore::enter(eal, None).expect("an lcore");
    let (mut end, mut burst) = (Forwarded::default(), Burst::default());
    while !stop.load(Ordering::Relaxed) {
        let moved = turn(&mut a, &mut b, &mut burst, &mut end) + turn(&mut b, &mut a, &mut burst, &mut end);
        if moved == 0 {
            // The machines that run this test have fewer CPUs than threads.
            thread::yield_now();
        }
    }
    end
}

fn turn(
    from: &mut DpdkPort,
    to: &mut DpdkPort,
    burst: &mut Burst<glassgate_dpdk::Mbuf>,
    end: &mut Forwarded,
) -> usize {
    let received = from.rx_burst(burst);
    end.flows.extend(burst.iter().filter_map(traffic::undirected_flow));
    for _ in 0..1000 {
        to.tx_burst(burst);
        if burst.is_empty() {
            break;
        }
        thread::sleep(Duration::from_micros(10));
    }
    end.frames += received as u64;
    end.lost += burst.drain().count() as u64;
    received
}

fn netns(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}
