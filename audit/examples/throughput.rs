//! How many records a second the log makes durable, how long one waits for that, and what it costs.
//!
//! `cargo run --release -p glassgate-audit --example throughput -- FOLDER [SECONDS [TALLIES]]`: first at a pace, then as fast as the queue
//! takes them, then plain appends of the same bytes with one sync each 64 KiB, which no log can beat. With a folder TALLIES,
//! on a tmpfs, records are counted there before they are taken.

use glassgate_audit::{Clock, Log, Options, Stamp};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

const PACE: usize = 60_000;
const STEP: Duration = Duration::from_millis(5);
const RECORD: &str = r#"{"event_type":"session","flow_start":"2026-11-21T20:00:00Z","group":"sales","category":"recruitment","service":"boss-zhipin","evidence":"sni","app_proto":"tls","flow":{"pkts_toserver":120,"pkts_toclient":240,"bytes_toserver":23000,"bytes_toclient":412000},"sealed":"YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh"}"#;

struct Machine;

impl Clock for Machine {
    fn now(&self) -> Stamp {
        Stamp { mono_ns: nanoseconds(ClockId::Monotonic), wall: None, quality: "unknown" }
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// CPU time of all threads but the calling one.
fn cpu_of_others() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime).saturating_sub(nanoseconds(ClockId::ThreadCPUTime))
}

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(folder) = args.next() else {
        eprintln!("usage: throughput FOLDER [SECONDS]");
        std::process::exit(2);
    };
    let seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(15);
    let (folder, tallies) = (Path::new(&folder), args.next().map(PathBuf::from));
    paced(&folder.join("paced"), tallies.as_deref(), seconds);
    unpaced(&folder.join("unpaced"), tallies.as_deref(), seconds);
    plain(&folder.join("plain"), seconds);
}

fn open(folder: &Path, tallies: Option<&Path>) -> Log {
    let name = folder.file_name().unwrap_or_default();
    let tally = tallies.map(|tallies| tallies.join(name).with_extension("tally"));
    let options = Options { tally, quota_bytes: 8 << 30, queue_bytes: 16 << 20, ..Options::new(folder) };
    match Log::open(options, 1, Machine) {
        Ok((log, _)) => log,
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1);
        }
    }
}

fn percentile(sorted: &[u64], part: f64) -> f64 {
    let at = ((sorted.len().saturating_sub(1)) as f64 * part) as usize;
    sorted.get(at).copied().unwrap_or_default() as f64 / 1e6
}

fn paced(folder: &Path, tallies: Option<&Path>, seconds: u64) {
    let log = open(folder, tallies);
    let (mut offered, mut waits) = (Vec::<u64>::new(), Vec::new());
    let (began, cpu) = (Instant::now(), cpu_of_others());
    let mut due = began;
    let mut handed = 0;
    let per_step = PACE * STEP.as_millis() as usize / 1000;
    while began.elapsed() < Duration::from_secs(seconds) {
        let at = Machine.now();
        for _ in 0..per_step {
            if log.append(&at, RECORD.as_bytes()) {
                offered.push(at.mono_ns);
            }
        }
        handed += nanoseconds(ClockId::Monotonic) - at.mono_ns;
        due += STEP;
        // Looks every half millisecond which are durable meanwhile.
        loop {
            let (durable, now) = (log.status().committed as usize, nanoseconds(ClockId::Monotonic));
            waits.extend(offered.iter().take(durable).skip(waits.len()).map(|at| now - at));
            if Instant::now() >= due {
                break;
            }
            thread::sleep(Duration::from_micros(500));
        }
    }
    let elapsed = began.elapsed().as_secs_f64();
    let (cpu, status) = (cpu_of_others() - cpu, log.status());
    waits.sort_unstable();
    println!(
        "paced: {:.0} records/s durable, {} lost; commit p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms; {:.2} µs of CPU a record, {:.2} µs for its caller, {:.0} bytes on disk",
        waits.len() as f64 / elapsed,
        status.lost,
        percentile(&waits, 0.5),
        percentile(&waits, 0.99),
        percentile(&waits, 1.0),
        cpu as f64 / 1e3 / waits.len() as f64,
        handed as f64 / 1e3 / offered.len() as f64,
        status.bytes as f64 / status.entries as f64,
    );
    log.close(Duration::from_secs(60));
}

fn unpaced(folder: &Path, tallies: Option<&Path>, seconds: u64) {
    let log = open(folder, tallies);
    let (began, cpu) = (Instant::now(), cpu_of_others());
    while began.elapsed() < Duration::from_secs(seconds) {
        let at = Machine.now();
        if !(0..100).all(|_| log.append(&at, RECORD.as_bytes())) {
            // The queue is full: a group later it has room again.
            thread::sleep(Duration::from_millis(2));
        }
    }
    _ = log.flush(Duration::from_secs(60));
    let (elapsed, status) = (began.elapsed().as_secs_f64(), log.status());
    println!(
        "unpaced: {:.0} records/s durable; {:.2} µs of CPU a record",
        status.committed as f64 / elapsed,
        (cpu_of_others() - cpu) as f64 / 1e3 / status.committed as f64,
    );
    log.close(Duration::from_secs(60));
}

fn plain(path: &Path, seconds: u64) {
    let mut file = match File::create(path) {
        Ok(file) => file,
        Err(e) => return eprintln!("{}: {e}", path.display()),
    };
    let line = format!(
        "{{\"boot_id\":\"00000000000000000000000000000001\",\"seq\":1000000,\"mono_ns\":1000000000000,\"wall\":null,\"wall_quality\":\"unknown\",{}\n",
        &RECORD[1..]
    );
    let block: Vec<u8> =
        line.as_bytes().iter().copied().cycle().take((64 << 10) / line.len() * line.len()).collect();
    let (began, mut blocks) = (Instant::now(), 0u64);
    while began.elapsed() < Duration::from_secs(seconds) {
        if let Err(e) = file.write_all(&block).and_then(|()| file.sync_data()) {
            return eprintln!("{}: {e}", path.display());
        }
        blocks += 1;
    }
    let records = blocks * (block.len() / line.len()) as u64;
    println!(
        "plain appends, one sync each 64 KiB: {:.0} records/s of {} bytes",
        records as f64 / began.elapsed().as_secs_f64(),
        line.len()
    );
}
