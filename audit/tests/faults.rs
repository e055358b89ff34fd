//! A process that writes a log is killed at one system call after the other, or has them fail, by `strace`.
//!
//! `cargo test` does every fortieth; `cargo test -p glassgate-audit --test faults -- --ignored` all of them (some minutes). What is
//! missing afterwards must be what the log says is missing, to the record.

use glassgate_audit::{Clock, Log, Options, Stamp};
use glassgate_audit_verify::{Question, verify};
use std::collections::BTreeMap;
use std::fmt::Write as _;
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
    let path = exe.parent().unwrap().parent().unwrap().join("examples/workload");
    assert!(path.exists(), "{} is not built: cargo build -p glassgate-audit --examples", path.display());
    path
}

/// What a run said before it ended.
#[derive(Debug, Default)]
struct Told {
    /// Records that it was about to offer.
    begun: u64,
    /// All records before this one are durable.
    durable: u64,
    acts: Vec<u64>,
    refused: u64,
}

/// A system call, and what strace does to it.
#[derive(Clone, Copy)]
struct Fault<'a>(&'a str, &'a str);

/// Runs the workload in `folder`, or through the shell command `within` that gets it as its arguments.
fn run(folder: &Path, first: u64, faults: &[Fault<'_>], within: Option<&str>) -> (ExitStatus, Told) {
    let mut command = Command::new(if within.is_some() { "sh" } else { "strace" });
    if let Some(script) = within {
        command.args(["-c", script, "strace"]);
    }
    let calls: Vec<_> = faults.iter().map(|Fault(call, _)| *call).collect();
    command.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={}", calls.join(",")));
    for Fault(call, what) in faults {
        command.arg("-e").arg(format!("inject={call}:{what}"));
    }
    command.arg(workload());
    heard(command, folder, first)
}

/// Starts the workload as `command` says, and hears what it tells.
fn heard(mut command: Command, folder: &Path, first: u64) -> (ExitStatus, Told) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let child = command
        .env_remove("LD_LIBRARY_PATH")
        .arg(folder)
        .args([RECORDS.to_string(), first.to_string()])
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.expect("the workload can't be started");
    // It holds the other end of the socket.
    drop(command);
    let mut said = Vec::new();
    ours.read_to_end(&mut said).unwrap();
    let mut told = Told::default();
    for message in said.chunks_exact(9) {
        let n = u64::from_le_bytes(message[1..].try_into().unwrap());
        match message[0] {
            b'o' => told.begun += 1,
            b'a' => told.durable = n + 1,
            b'R' => told.refused += 1,
            _ => told.acts.push(n),
        }
    }
    (child.wait().unwrap(), told)
}

/// What is in a log.
#[derive(Debug, Default)]
struct There {
    said: Vec<u64>,
    /// Records that are counted as missing, by cause.
    missing: BTreeMap<String, u64>,
    /// Whether it says that nobody knows.
    unknown: bool,
}

impl There {
    fn missing(&self) -> u64 {
        self.missing.values().sum()
    }
}

/// Opens the log as the next start would, and holds what is there against what was told.
fn hold(folder: &Path, told: &Told, context: &str) -> There {
    let options = Options {
        segment_bytes: 256 << 10,
        reserve_bytes: 256 << 10,
        tally: Some(folder.join("tally")),
        ..Options::new(folder)
    };
    let (log, recovered) = Log::open(options, 7, Still).unwrap_or_else(|e| panic!("{context}: {e}"));
    assert_eq!(recovered.damaged, None, "{context}");
    assert!(log.close(Duration::from_secs(60)), "{context}");
    let mut there = There::default();
    if !folder.join("checkpoint").exists() {
        assert_eq!((told.durable, told.acts.len(), told.begun), (0, 0, 0), "{context}");
        return there;
    }
    verify(folder, &Question::default()).unwrap_or_else(|e| panic!("{context}: {e}"));
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
            there.said.extend(value["n"].as_u64());
            if value["event_type"] == "gap" {
                let cause = value["cause"].as_str().unwrap().to_owned();
                *there.missing.entry(cause).or_default() += value["records"].as_u64().unwrap_or(0);
                there.unknown |= value["count"] == "unknown";
            }
        }
        index += 1;
    }
    for act in &told.acts {
        assert!(there.said.contains(act), "{context}: act {act} was acknowledged and is not there");
    }
    for n in 0..told.durable {
        assert!(there.said.contains(&n), "{context}: record {n} was acknowledged and is not there");
    }
    // No record twice.
    let all = there.said.len();
    there.said.sort_unstable();
    there.said.dedup();
    assert_eq!(there.said.len(), all, "{context}");
    there
}

/// What is missing is what the log says is missing: to the record, but for one that was to be offered.
fn counted(there: &There, told: &[&Told], context: &str) {
    let all = there.said.len() as u64;
    // Of each run one may have been announced and not offered.
    let begun: u64 = told.iter().map(|told| told.begun).sum();
    let least = (begun - all).saturating_sub(told.len() as u64);
    assert!(!there.unknown, "{context}: {there:?}");
    assert!(
        (least..=begun - all).contains(&there.missing()),
        "{context}: {least} are missing: {:?}",
        there.missing
    );
}

/// Kills at every `step`-th call of each kind until a run gets through. Gives how many runs were killed, and the most that was lost.
fn kill_at_every(step: usize) -> (usize, u64) {
    let (mut killed, mut worst) = (0, 0);
    for call in CALLS {
        // Most of these are of the tally.
        let step = if call == "pwrite64" && step > 1 { step * 4 } else { step };
        for nth in (1..).step_by(step) {
            let dir = scratch();
            let (status, told) =
                run(dir.path(), 0, &[Fault(call, &format!("signal=SIGKILL:when={nth}"))], None);
            if status.success() {
                assert_eq!(told.durable, RECORDS);
                break;
            }
            let context = format!("killed at {call} {nth}");
            let there = hold(dir.path(), &told, &context);
            counted(&there, &[&told], &context);
            assert!(there.missing() <= 256, "{context}: {} of {} records lost", there.missing(), told.begun);
            (killed, worst) = (killed + 1, worst.max(there.missing()));
        }
    }
    (killed, worst)
}

#[test]
fn killed_at_every_fortieth_system_call() {
    let (killed, worst) = kill_at_every(40);
    println!(
        "killed {killed} times, at most {worst} records lost that nobody was promised, all of them counted"
    );
    assert!(killed >= 30 && worst > 0, "{killed} {worst}");
}

#[test]
#[ignore = "some minutes: every system call"]
fn killed_at_every_system_call() {
    let (killed, worst) = kill_at_every(1);
    println!(
        "killed {killed} times, at most {worst} records lost that nobody was promised, all of them counted"
    );
    assert!(killed >= 1000, "{killed}");
}

/// A run is killed, then the next one while it opens the log and begins to tell of it, then all of it is added up.
#[test]
fn killed_again_while_it_is_told() {
    let mut told_by_the_second = 0;
    for call in ["pwrite64", "fdatasync", "openat", "rename", "write"] {
        for nth in [1, 2, 3, 5, 8] {
            let dir = scratch();
            let (_, first) = run(dir.path(), 0, &[Fault("fdatasync", "signal=SIGKILL:when=30")], None);
            let (status, second) =
                run(dir.path(), RECORDS, &[Fault(call, &format!("signal=SIGKILL:when={nth}"))], None);
            let context = format!("killed again at {call} {nth}");
            assert!(!status.success(), "{context}");
            let told = Told { durable: first.durable, acts: first.acts.clone(), ..Told::default() };
            let there = hold(dir.path(), &told, &context);
            counted(&there, &[&first, &second], &context);
            told_by_the_second += u32::from(second.begun > 0);
        }
    }
    assert!(told_by_the_second > 5, "{told_by_the_second}");
}

/// What becomes of records when a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All of them are there.
    Nothing,
    /// Acts are all there; of the others some are missing, and counted.
    Others,
    /// Acts are refused, and records missing and counted.
    Acts,
}

const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "EINTR"];

/// Each call fails once in the middle, and from there on for good. Nothing acknowledged is lost, the process ends by itself, the log goes
/// on and verifies afterwards, and what is missing is counted.
#[test]
fn failing_system_calls() {
    let mut table = String::new();
    for call in ["pwrite64", "write", "fdatasync", "fsync", "openat", "rename", "fallocate"] {
        for error in ERRORS {
            for when in ["40", "40+"] {
                // There are fewer of these.
                let when = if call == "fallocate" { when.replace("40", "3") } else { when.to_owned() };
                let lasting = when.ends_with('+');
                // For good, an interrupted call is one that never returns: it is made again until it does.
                if error == "EINTR" && lasting && call != "rename" {
                    continue;
                }
                let dir = scratch();
                let (status, told) =
                    run(dir.path(), 0, &[Fault(call, &format!("error={error}:when={when}"))], None);
                let context = format!("{call} {error} {when}");
                assert!(status.success(), "{context}: {status}");
                let there = hold(dir.path(), &told, &context);
                let missing = RECORDS - there.said.len() as u64;
                let outcome = match (told.refused, missing) {
                    (0, 0) => Outcome::Nothing,
                    (0, _) => Outcome::Others,
                    _ => Outcome::Acts,
                };
                // The tally is written by the same call, and one that failed is given up.
                let known = call != "pwrite64";
                assert!(known || there.unknown || missing == 0, "{context}: {there:?}");
                if known {
                    // Of those that are not there some were refused before they were offered.
                    let (counted, least) = (there.missing(), missing.saturating_sub(told.refused));
                    assert!(
                        (least..=missing).contains(&counted),
                        "{context}: {missing} are missing, {there:?}"
                    );
                }
                let expected = match call {
                    _ if !lasting => Outcome::Nothing,
                    // What the reserve needs as well; strace can't tell the making of a segment from its opening.
                    "pwrite64" | "fdatasync" | "openat" => Outcome::Acts,
                    "fallocate" => Outcome::Others,
                    // What is made of records can wait.
                    "write" | "rename" => Outcome::Nothing,
                    _ => outcome,
                };
                assert_eq!(outcome, expected, "{context}: {missing} missing, {there:?}");
                writeln!(table, "{context}: {outcome:?}, {missing} missing, {} acts refused", told.refused)
                    .unwrap();
            }
        }
    }
    println!("{table}");
}

/// Stands before the C library: a write writes half of what it is given, or once, after so many, half of it and then nothing for
/// want of space, as a disk does that fills up.
const SHORT: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
static int calls, full_after = -1;
static size_t most(size_t n) {
  if (full_after < 0) full_after = atoi(getenv("FULL_AFTER"));
  int call = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
  if (full_after == 0) return n > 1 ? n / 2 : n;
  if (call == full_after) return n > 1 ? n / 2 : n;
  return call == full_after + 1 ? 0 : n;
}
#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name);
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) {
  REAL(pwrite64)
  size_t part = most(n);
  if (part == 0 && n > 0) { errno = ENOSPC; return -1; }
  return real(fd, from, part, at);
}
ssize_t write(int fd, const void *from, size_t n) {
  REAL(write)
  size_t part = most(n);
  if (part == 0 && n > 0) { errno = ENOSPC; return -1; }
  return real(fd, from, part);
}
"#;

/// Every write is short, then a disk fills up in the middle of one: what was acknowledged is there, what is missing is counted.
#[test]
fn short_writes() {
    let dir = scratch();
    let (source, library) = (dir.path().join("short.c"), dir.path().join("short.so"));
    std::fs::write(&source, SHORT).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-D_LARGEFILE64_SOURCE", "-o"]).args([&library, &source]);
    assert!(cc.arg("-ldl").status().unwrap().success());
    let mut hit = 0;
    for full_after in [0, 1, 2, 3, 5, 8, 40, 100, 201, 400, 801] {
        let folder = dir.path().join(format!("log{full_after}"));
        let mut command = Command::new(workload());
        command.env("LD_PRELOAD", &library).env("FULL_AFTER", full_after.to_string());
        let (status, told) = heard(command, &folder, 0);
        let context = format!("full after {full_after} writes");
        // Where not even the first files can be made, it says so and ends.
        assert!(status.success() || told.begun == 0, "{context}: {status}");
        let there = hold(&folder, &told, &context);
        let missing = RECORDS.min(told.begun) - there.said.len() as u64;
        if full_after == 0 {
            assert_eq!((missing, told.refused), (0, 0), "{context}: {there:?}");
        }
        assert!(
            there.unknown || there.missing() >= missing.saturating_sub(told.refused),
            "{context}: {there:?}"
        );
        hit += u32::from(missing > 0 || there.missing() > 0 || !status.success());
    }
    println!("{hit} of 10 cost something");
    assert!(hit > 0, "nothing was short");
}
