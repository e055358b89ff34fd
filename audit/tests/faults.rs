//! A process that writes a log is killed at one system call after the other, or has them fail, by `strace`.
//!
//! `cargo test` does every fortieth; `cargo test -p glassgate-audit --test faults -- --ignored` all of them (some minutes).

use glassgate_audit::{Clock, Log, Options, Stamp};
use glassgate_audit_verify::{Question, verify};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Whatever the writer calls that changes files. strace counts each of them by itself, in each thread.
const CALLS: [&str; 12] = [
    "pwrite64",
    "fdatasync",
    "openat",
    "fallocate",
    "write",
    "rename",
    "fsync",
    "syncfs",
    "unlink",
    "rmdir",
    "mkdir",
    "close",
];
const RECORDS: u64 = 3000;

struct Still;

impl Clock for Still {
    fn now(&self) -> Stamp {
        Stamp { mono_ns: 1, wall: None, quality: "unknown" }
    }
}

fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn workload() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().unwrap().parent().unwrap().join("examples/workload")
}

/// What a run said before it ended.
#[derive(Debug, Default)]
struct Told {
    offered: u64,
    /// All records before this one are durable.
    durable: u64,
    acts: Vec<u64>,
}

fn run(folder: &Path, call: &str, what: &str) -> (ExitStatus, Told) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new("strace")
        .env_remove("LD_LIBRARY_PATH")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={call}:{what}"),
        ])
        .arg(workload())
        .arg(folder)
        .arg(RECORDS.to_string())
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.expect("strace can't be started");
    let mut said = Vec::new();
    ours.read_to_end(&mut said).unwrap();
    let mut told = Told::default();
    for message in said.chunks_exact(9) {
        let n = u64::from_le_bytes(message[1..].try_into().unwrap());
        match message[0] {
            b'o' => told.offered = n + 1,
            b'a' => told.durable = n + 1,
            _ => told.acts.push(n),
        }
    }
    (child.wait().unwrap(), told)
}

/// Opens the log as the next start would, and holds what is there against what was told. Gives how many records are missing.
fn hold(folder: &Path, told: &Told, context: &str) -> u64 {
    let options = Options { segment_bytes: 256 << 10, reserve_bytes: 256 << 10, ..Options::new(folder) };
    let (log, recovered) = Log::open(options, 8, Still).unwrap_or_else(|e| panic!("{context}: {e}"));
    assert_eq!(recovered.damaged, None, "{context}");
    assert!(log.close(Duration::from_secs(60)), "{context}");
    if recovered.entries == 0 && told.durable == 0 && told.acts.is_empty() {
        return told.offered;
    }
    verify(folder, &Question::default()).unwrap_or_else(|e| panic!("{context}: {e}"));
    let mut there = Vec::new();
    let mut index = 0;
    loop {
        let full = folder.join(format!("tile/entries/{index:03}"));
        let partial = std::fs::read_dir(folder.join(format!("tile/entries/{index:03}.p"))).ok();
        let partial = partial.and_then(|mut dir| dir.next()).map(|entry| entry.unwrap().path());
        let Ok(bundle) = std::fs::read(full).or_else(|e| partial.map_or(Err(e), std::fs::read)) else {
            break;
        };
        for entry in glassgate_audit::tiles::entries(&bundle) {
            let value: serde_json::Value = serde_json::from_slice(entry.unwrap()).unwrap();
            there.extend(value["n"].as_u64());
        }
        index += 1;
    }
    for act in &told.acts {
        assert!(there.contains(act), "{context}: act {act} was acknowledged and is not there");
    }
    for n in 0..told.durable {
        assert!(there.contains(&n), "{context}: record {n} was acknowledged and is not there");
    }
    // No record twice.
    let all = there.len();
    there.sort_unstable();
    there.dedup();
    assert_eq!(there.len(), all, "{context}");
    told.offered.saturating_sub(all as u64)
}

/// Kills at every `step`-th call of each kind until a run gets through. Gives how many runs were killed, and the most that was lost.
fn kill_at_every(step: usize) -> (usize, u64) {
    let (mut killed, mut worst) = (0, 0);
    for call in CALLS {
        for nth in (1..).step_by(step) {
            let dir = scratch();
            let (status, told) = run(dir.path(), call, &format!("signal=SIGKILL:when={nth}"));
            if status.success() {
                assert_eq!(told.durable, RECORDS);
                break;
            }
            let context = format!("killed at {call} {nth}");
            let lost = hold(dir.path(), &told, &context);
            assert!(lost <= 256, "{context}: {lost} of {} records lost", told.offered);
            (killed, worst) = (killed + 1, worst.max(lost));
        }
    }
    (killed, worst)
}

#[test]
fn killed_at_every_fortieth_system_call() {
    let (killed, worst) = kill_at_every(40);
    println!("killed {killed} times, at most {worst} records lost that nobody was promised");
    assert!(killed >= 30, "{killed}");
}

#[test]
#[ignore = "some minutes: every system call"]
fn killed_at_every_system_call() {
    let (killed, worst) = kill_at_every(1);
    println!("killed {killed} times, at most {worst} records lost that nobody was promised");
    assert!(killed >= 1000, "{killed}");
}

/// Each call fails once in the middle, and from there on for good. Nothing acknowledged is lost, the process ends by itself, and the
/// log goes on and verifies afterwards.
#[test]
fn failing_system_calls() {
    let mut outcomes = BTreeMap::new();
    for call in ["pwrite64", "write", "fdatasync", "openat", "rename", "fallocate"] {
        for error in ["EIO", "ENOSPC", "EINTR"] {
            for when in ["40", "40+"] {
                // For good, an interrupted call is one that never returns.
                if error == "EINTR" && when == "40+" {
                    continue;
                }
                let dir = scratch();
                let (status, told) = run(dir.path(), call, &format!("error={error}:when={when}"));
                let context = format!("{call} {error} {when}");
                assert!(status.success(), "{context}: {status}");
                hold(dir.path(), &told, &context);
                let acts = told.acts.len() as u64 * 50;
                outcomes.insert(context, (acts == RECORDS, told.durable == RECORDS));
            }
        }
    }
    // What fails once costs nobody anything.
    for (context, outcome) in outcomes.iter().filter(|(context, _)| !context.ends_with('+')) {
        assert_eq!(*outcome, (true, true), "{context}");
    }
    for (context, (acts, records)) in &outcomes {
        println!(
            "{context}: acts {}, records {}",
            if *acts { "all taken" } else { "refused in part" },
            if *records { "all taken" } else { "given up in part, counted" }
        );
    }
}
