//! What a frame costs in the loop null → null, against `dpdk-testpmd` in io mode in the same run.
//!
//! `cargo bench -p glassgate-dpdk` (root; `dpdk-testpmd` from the package dpdk-dev). Nobody reads the frames: the
//! figure is what the driver, the mempool and our calls cost, not a speed of forwarding. Ours and the reference take
//! turns on the same CPU; each figure is a median, in nanoseconds of the thread's CPU time per frame, so that
//! neighbours on the machine count for little.
//!
//! * `port`: [`Port::rx_burst`] and [`Port::tx_burst`] on a [`Burst`], as the lcore loop calls them.
//! * `raw`: the same driver calls on an array of pointers, without counters: what a safe interface could save.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use glassgate_dataplane::port::{BURST, Burst, Port};
use glassgate_dpdk::{
    Device, DeviceOptions, DpdkPort, Eal, EalOptions, Lcore, Memory, Mempool, MempoolOptions,
};
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const MIB: u32 = 256;

fn main() -> Result<()> {
    // `cargo test --benches` runs benches too, only to see that they run.
    let quick = !env::args().any(|a| a == "--bench") || env::args().any(|a| a == "--quick");
    let (rounds, time) = if quick { (1, Duration::from_millis(200)) } else { (5, Duration::from_secs(2)) };
    let memory = Memory::available(2 * MIB);
    let no_huge = matches!(memory, Memory::NoHuge { .. });
    let memory = if no_huge { Memory::NoHuge { mib: MIB } } else { Memory::HugePages { mib: MIB } };
    let cpu = thread::available_parallelism()?.get() - 1;

    let eal = Eal::init(EalOptions {
        lcores: vec![cpu],
        file_prefix: "gg-bench-io".to_owned(),
        ..EalOptions::for_ports(memory, [])
    })?;
    let lcore = Lcore::enter(&eal, Some(cpu))?;
    let pool = Mempool::create(&eal, MempoolOptions { cache: 256, ..MempoolOptions::default() })?;
    let open = |index| -> Result<(Device, DpdkPort)> {
        let (device, mut ports) =
            Device::open(&eal, &"null".parse()?, index, pool, &DeviceOptions::default())?;
        Ok((device, ports.remove(0)))
    };
    let ((device_a, mut a), (device_b, mut b)) = (open(0)?, open(1)?);
    let (raw_a, raw_b) = (device_a.info().port, device_b.info().port);

    let (mut port, mut raw, mut reference) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        port.push(ns_per_frame(time, || through_port(&mut a, &mut b)));
        raw.push(ns_per_frame(time, || through_raw(raw_a, raw_b)));
        reference.push(testpmd(time, cpu, no_huge)?);
    }
    drop(lcore);
    let (port, raw, reference) = (median(port), median(raw), median(reference));
    println!("null → null, {} pages, median of {rounds}", if no_huge { "ordinary" } else { "huge" });
    println!("{:<18}{:>10}{:>10}{:>12}", "", "ns/frame", "Mpps", "of testpmd");
    for (name, ns) in [("testpmd io", reference), ("port", port), ("raw", raw)] {
        println!("{name:<18}{ns:>10.2}{:>10.1}{:>12.3}", 1e3 / ns, reference / ns);
    }
    Ok(())
}

/// Some bursts both ways; returns how many frames moved.
fn through_port(a: &mut DpdkPort, b: &mut DpdkPort) -> u64 {
    let (mut frames, mut burst) = (0, Burst::default());
    for _ in 0..1000 {
        a.rx_burst(&mut burst);
        frames += b.tx_burst(&mut burst);
        b.rx_burst(&mut burst);
        frames += a.tx_burst(&mut burst);
    }
    frames as u64
}

fn through_raw(a: u16, b: u16) -> u64 {
    let (mut frames, mut burst) = (0, [std::ptr::null_mut(); BURST]);
    for _ in 0..1000 {
        for (from, to) in [(a, b), (b, a)] {
            // SAFETY: both ports are open and polled by this thread only; `burst` has room for BURST pointers.
            let n = unsafe { dpdk_sys::shim_rx_burst(from, 0, burst.as_mut_ptr(), BURST as u16) };
            // SAFETY: as above; the first `n` are frames of ours.
            let sent = unsafe { dpdk_sys::shim_tx_burst(to, 0, burst.as_mut_ptr(), n) };
            assert_eq!(sent, n, "null takes everything");
            frames += u64::from(sent);
        }
    }
    frames
}

fn ns_per_frame(time: Duration, mut turn: impl FnMut() -> u64) -> f64 {
    let cpu_ns = || {
        let t = clock_gettime(ClockId::ThreadCPUTime);
        t.tv_sec as f64 * 1e9 + t.tv_nsec as f64
    };
    turn();
    let (start, begun, mut frames) = (cpu_ns(), Instant::now(), 0);
    while begun.elapsed() < time {
        frames += turn();
    }
    (cpu_ns() - start) / frames as f64
}

/// The same of testpmd: frames that it says it forwarded, by the CPU time of its worker, which sleeps otherwise.
fn testpmd(time: Duration, cpu: usize, no_huge: bool) -> Result<f64> {
    let main = if cpu == 0 { 0 } else { cpu - 1 };
    // Its answers would stay in a full buffer: they are not for a terminal.
    let mut command = Command::new("stdbuf");
    command.args([
        "-oL",
        "dpdk-testpmd",
        "--lcores",
        &format!("0@{main},1@{cpu}"),
        "--no-pci",
        "--in-memory",
        "--no-telemetry",
    ]);
    command.args(["--file-prefix", "gg-bench-pmd", "-m", &MIB.to_string()]);
    command.args(["--vdev", "net_null0,size=64", "--vdev", "net_null1,size=64"]);
    if no_huge {
        command.arg("--no-huge");
    }
    command.args(["--", "-i", "--forward-mode=io", "--total-num-mbufs=16384", "--burst=32"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let child = child.map_err(|e| format!("dpdk-testpmd (apt-get install dpdk-dev): {e}"))?;
    let mut session = Session::new(child)?;
    session.command("start", "packet forwarding - ports=2")?;
    thread::sleep(time);
    let totals = session.command("stop", "\nDone.\n")?;
    let cpu_ns = worker_ns(session.child.id())?;
    session.command("quit", "Bye...")?;
    session.child.wait()?;
    let frames =
        totals.split("Accumulated forward statistics").nth(1).and_then(|t| t.split("RX-packets:").nth(1));
    let frames: f64 =
        frames.and_then(|t| t.split_whitespace().next()).ok_or("testpmd printed no totals")?.parse()?;
    Ok(cpu_ns / frames)
}

struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn new(mut child: Child) -> Result<Self> {
        let input = child.stdin.take().ok_or("no stdin")?;
        let output = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self { child, input, output })
    }

    /// Sends a line and reads until `marker` is printed.
    fn command(&mut self, line: &str, marker: &str) -> Result<String> {
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        let mut text = String::new();
        while !text.contains(marker) {
            if self.output.read_line(&mut text)? == 0 {
                return Err(format!("testpmd ended: {text}").into());
            }
        }
        Ok(text)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn worker_ns(pid: u32) -> Result<f64> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.contains("worker") {
            let on_cpu = fs::read_to_string(task.join("schedstat"))?;
            return Ok(on_cpu.split_whitespace().next().ok_or("empty schedstat")?.parse()?);
        }
    }
    Err("testpmd has no worker thread".into())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
