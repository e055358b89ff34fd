//! How many sessions a second are sealed and durable in the audit log, and what each costs.
//!
//! `cargo run --release -p glassgate-sealed --example throughput -- FOLDER [SECONDS] [--json]`: sessions of a thousand people at a
//! pace, sealed as the gateway does it, handed to a log on that folder's disk.

use glassgate_audit::disk::Folder;
use glassgate_audit::{Clock, Log, Options, Stamp};
use glassgate_policy::audit::{BootId, Now, Record, WallQuality};
use glassgate_policy::case::SessionLine;
use glassgate_policy::charter::{CaseTerms, Holder, PublicKey};
use glassgate_policy::{Category, Purpose};
use glassgate_sealed::holder::new_identity;
use glassgate_sealed::keys::Keys;
use glassgate_sealed::seal::{Facts, UploadFact};
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const PACE: u32 = 55_000;
const STEP: Duration = Duration::from_millis(5);
const PEOPLE: u32 = 1000;

struct Machine(Instant);

impl Machine {
    fn mono_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

impl Clock for Machine {
    fn now(&self) -> Stamp {
        Stamp { mono_ns: self.mono_ns(), wall: None, quality: "unknown" }
    }
}

fn facts(n: u32) -> Facts {
    let now = Timestamp::UNIX_EPOCH;
    let upload = UploadFact { at: Some(now), bytes: 300_000, confidence: 83 };
    Facts {
        category: Category::CloudStorage.as_str().to_owned(),
        service: Some("some-service".to_owned()),
        begin: Some(now),
        end: Some(now),
        active_s: 314,
        flows: 12,
        evidence: Some("sni".to_owned()),
        bytes_toserver: 23_000 + u64::from(n),
        bytes_toclient: 412_000,
        uploads: vec![upload; usize::from(n.is_multiple_of(4))],
        more_uploads: 0,
    }
}

/// CPU time of this thread and of the process, in nanoseconds.
fn cpu() -> [u64; 2] {
    ["/proc/thread-self/schedstat", "/proc/self/schedstat"].map(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
    })
}

/// CPU time of all threads but this one.
fn cpu_of_others() -> u64 {
    let mut all = 0;
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        all += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default();
    }
    all.saturating_sub(cpu()[0])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: throughput FOLDER [SECONDS] [--json]")?;
    let seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(15);
    let as_json = args.next().is_some_and(|arg| arg == "--json");
    let folder = Path::new(&folder);
    let begun = Instant::now();
    let now = Now { mono_ns: 0, wall: None, quality: WallQuality::Unknown };
    let mut keys = Keys::open(Arc::new(Folder::private(&folder.join("keys"))?), BootId(1), &now)?;
    let holder = |n: usize| Holder {
        role: CaseTerms::ROLES[n],
        name: n.to_string(),
        key: PublicKey([n as u8; 32]),
        recipient: new_identity().1,
    };
    let terms = CaseTerms { holders: [holder(0), holder(1), holder(2)], tell_after_days: 0 };
    let mut key = keys.make(("2027-03-01".parse()?, Purpose::Leak), &terms, &[0; 32], 30, &now)?;
    let options = Options { quota_bytes: 8 << 30, ..Options::new(folder.join("audit")) };
    let (log, _) = Log::open(options, 1, Machine(begun))?;
    let clock = Machine(begun);
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("subject-{n}")).collect();

    let (mut offered, mut waits, mut sealing, mut n) = (Vec::new(), Vec::new(), 0u64, 0u32);
    let (began, others) = (Instant::now(), cpu_of_others());
    let mut due = began;
    while began.elapsed() < Duration::from_secs(seconds) {
        let [before, _] = cpu();
        let stamp = clock.now();
        for _ in 0..PACE * STEP.as_millis() as u32 / 1000 {
            n += 1;
            let subject = &people[(n % PEOPLE) as usize];
            let Some(sealed) = key.seal(subject, Category::CloudStorage, &facts(n)) else { continue };
            let line = SessionLine { key: &sealed.key, pseudonym: &sealed.pseudonym, sealed: &sealed.sealed };
            if log.append(&stamp, &Record::Session(line).to_json()) {
                offered.push(stamp.mono_ns);
            }
        }
        sealing += cpu()[0] - before;
        due += STEP;
        // Looks every half millisecond which are durable meanwhile.
        loop {
            let (durable, at) = (log.status().committed as usize, clock.mono_ns());
            waits.extend(offered.iter().take(durable).skip(waits.len()).map(|from| at.saturating_sub(*from)));
            if Instant::now() >= due {
                break;
            }
            thread::sleep(Duration::from_micros(500));
        }
    }
    let (elapsed, status) = (began.elapsed().as_secs_f64(), log.status());
    let others = cpu_of_others() - others;
    waits.sort_unstable();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize] as f64 / 1e6;
    let per_s = waits.len() as f64 / elapsed;
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(at);
    let (seal, write) = (sealing as f64 / 1e3 / f64::from(n), others as f64 / 1e3 / waits.len() as f64);
    let bytes = status.bytes as f64 / status.entries as f64;
    if as_json {
        println!(
            "{{\"durable_per_s\":{per_s:.0},\"lost\":{},\"commit_p50_ms\":{p50:.1},\"commit_p99_ms\":{p99:.1},\"commit_max_ms\":{most:.1},\"seal_us\":{seal:.2},\"write_us\":{write:.2},\"bytes\":{bytes:.0}}}",
            status.lost
        );
    } else {
        println!(
            "{per_s:.0} sealed sessions/s durable, {} lost; commit p50 {p50:.1} ms, p99 {p99:.1} ms, most {most:.1} ms; CPU a record: {seal:.2} µs to seal and hand over, {write:.2} µs to write; {bytes:.0} bytes on disk",
            status.lost
        );
    }
    log.close(Duration::from_secs(60));
    Ok(())
}
