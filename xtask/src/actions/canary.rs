//! Nothing of what a flow carries is kept: ten thousand flows with a canary of their own wherever a protocol has room for one, and a
//! search for them in everything that the gateway leaves.
//!
//! | round | what happens meanwhile |
//! |---|---|
//! | normal | nothing |
//! | overload | the control process stands still, so that the event ring is full and events are lost |
//! | killed | `kill -9` of the data plane, then of the control process |
//! | panic | the control process panics over an event, again and again |
//!
//! Then `scan` looks through the data folder, the log lines of all processes, what the page and the command line answer, the memory of
//! the processes that write, shared memory and core files. A build that writes frames down on purpose has to be caught: a search that
//! finds nothing shows nothing until it has found something. That build, with the feature `faults-on-purpose`, can't be a release build.

mod flows;
mod scan;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Tried;
use crate::demo::api;
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::lab::Lab;
use crate::stop::Stop;
use crate::{process, steps, ui, workspace};
use flows::{Running, Sink};
use scan::{Canary, FORMS, Hit, Scanner, summary};

/// Flows of each round.
const NORMAL: usize = 4_000;
const OVERLOAD: usize = 3_000;
const KILLED: usize = 2_000;
const PANIC: usize = 1_000;
/// Flows of the build that leaks.
const LEAKED: usize = 400;
/// Slots of the event ring: few, so that it is full soon.
const RING: usize = 256;
/// Files of the lab that are not the gateway's.
const OF_THE_LAB: [&str; 4] = ["/ca.pem", "/dnsmasq.conf", "/dnsmasq.log", "/build.log"];

/// Runs the rounds and searches after each gateway.
pub fn run(lab: &mut Lab, binary: &Path, driver: Driver, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let faulty = build(stop, &lab.dir().join("build.log"))?;
    let canaries = Canary::random(NORMAL + OVERLOAD + KILLED + PANIC + LEAKED)?;
    let sink = Sink::start(&lab.wan)?;
    let doing = ui::doing("what to look for");
    let mut scanner = Scanner::new(canaries.clone());
    doing.done(format_args!("{} canaries in {} forms", canaries.len(), FORMS.len()));
    let mut rest = canaries.as_slice();
    let mut next = |n: usize| {
        let (these, others) = rest.split_at(n);
        rest = others;
        (these.to_vec(), canaries.len() - others.len() - n)
    };
    let began = Instant::now();
    let setup = Setup { dataplane: format!("event_ring = {RING}\n"), ..Setup::default() };

    let mut gateway = Gateway::start_as(lab, binary, driver, &setup, stop)?;
    let (these, first) = next(NORMAL);
    let (done, all) = flows::start(lab, these, first)?.finish()?;
    tried.hold("flows that came to their end", done * 100 >= all * 98, format!("{done} of {all}"));
    overload(lab, &gateway, next(OVERLOAD), tried, stop)?;
    killed(lab, &mut gateway, next(KILLED), tried, stop)?;
    let hits = search(lab, &mut scanner, Some(&gateway), stop)?;
    gateway.stop();
    conclude("normal, overload, kill -9", &hits, &scanner, tried);
    let hits = search(lab, &mut scanner, None, stop)?;
    conclude("what is left when it has stopped", &hits, &scanner, tried);

    let env = vec![("GLASSGATE_PANIC_AFTER".to_owned(), "800".to_owned())];
    let mut gateway = Gateway::start_as(lab, &faulty, driver, &Setup { env, ..Setup::default() }, stop)?;
    let (these, first) = next(PANIC);
    flows::start(lab, these, first)?.finish()?;
    gateway.await_ready(Duration::from_secs(20), stop)?;
    let log = std::fs::read_to_string(gateway.log())?;
    let panics = log.matches("on purpose").count();
    tried.hold("the control process panicked over events", panics > 0, format!("{panics} times"));
    let hits = search(lab, &mut scanner, Some(&gateway), stop)?;
    gateway.stop();
    conclude("panic of the control process", &hits, &scanner, tried);

    let env = vec![("GLASSGATE_LEAK".to_owned(), "1".to_owned())];
    let gateway = Gateway::start_as(lab, &faulty, driver, &Setup { env, ..Setup::default() }, stop)?;
    let (these, first) = next(LEAKED);
    let range = first..first + these.len();
    flows::start(lab, these, first)?.finish()?;
    let hits = search(lab, &mut scanner, Some(&gateway), stop)?;
    gateway.stop();
    caught(&hits, range, tried);
    drop(sink);
    let (streams, bytes) = (scanner.streams, scanner.bytes >> 20);
    ui::line(format_args!(
        "  looked through {bytes} MiB and {streams} compressed streams, {:.0?} in all",
        began.elapsed()
    ));
    Ok(())
}

/// Builds the gateway that can be made to leak and to panic, and takes it out of where it might be taken for a good one.
pub(crate) fn build(stop: &Stop, log: &Path) -> Result<PathBuf> {
    let doing = ui::doing("build glassgate, with faults on purpose");
    let command = steps::cargo("build -p glassgate --features faults-on-purpose");
    if !steps::run_logged(&command, log, stop)? {
        bail!("the build failed\n{}", process::tail(log, 60));
    }
    let (made, folder) =
        (workspace::target().join("debug/glassgate"), workspace::target().join("faults-on-purpose"));
    std::fs::create_dir_all(&folder)?;
    let kept = folder.join("glassgate");
    std::fs::rename(&made, &kept).with_context(|| format!("cannot move {}", made.display()))?;
    doing.done("");
    Ok(kept)
}

/// The control process stands still while flows go on: the ring is full, events are lost and counted.
fn overload(
    lab: &Lab,
    gateway: &Gateway,
    (canaries, first): (Vec<Canary>, usize),
    tried: &mut Tried<'_>,
    stop: &Stop,
) -> Result<()> {
    let pid = pid(gateway, "control")?;
    let signal =
        |name: &str| process::capture(std::process::Command::new("kill").args([name, &pid.to_string()]));
    signal("-STOP")?;
    let flows = flows::start(lab, canaries, first).and_then(Running::finish);
    signal("-CONT")?;
    let (done, all) = flows?;
    gateway.await_acknowledged(stop)?;
    let now: serde_json::Value = serde_json::from_str(&api::get(gateway.address(), "/api/v1/now")?)?;
    let lost = now["events"]["lost"].as_array().into_iter().flatten();
    let lost: u64 = lost.filter_map(|kind| kind["count"].as_u64()).sum();
    let words = format!("{lost} events lost, {done} of {all} flows came to their end");
    tried.hold("overload: the ring is full and frames pass", lost > 0 && done * 100 >= all * 98, words);
    Ok(())
}

/// `kill -9` of one process after the other in the middle of the flows.
fn killed(
    lab: &Lab,
    gateway: &mut Gateway,
    (canaries, first): (Vec<Canary>, usize),
    tried: &mut Tried<'_>,
    stop: &Stop,
) -> Result<()> {
    let quarter = canaries.len() / 4;
    let flows = flows::start(lab, canaries, first)?;
    for (process, at) in [("dataplane", quarter), ("control", 2 * quarter)] {
        let patience = Instant::now() + Duration::from_secs(20);
        while flows.done() < at && Instant::now() < patience {
            stop.pause(Duration::from_millis(5))?;
        }
        gateway.await_ready(Duration::from_secs(20), stop)?;
        gateway.kill_process(process)?;
    }
    let (done, all) = flows.finish()?;
    gateway.await_ready(Duration::from_secs(20), stop)?;
    tried.hold(
        "kill -9 of data plane and control: replaced",
        done * 2 > all,
        format!("{done} of {all} flows came to their end"),
    );
    Ok(())
}

fn pid(gateway: &Gateway, name: &str) -> Result<u32> {
    let now = gateway.now()?;
    let found = now.processes.iter().find(|process| process.name == name).and_then(|process| process.pid);
    found.with_context(|| format!("the gateway names no process `{name}`"))
}

/// Looks through everything that a gateway leaves, and through what it answers while it runs.
fn search(lab: &Lab, scanner: &mut Scanner, gateway: Option<&Gateway>, stop: &Stop) -> Result<Vec<Hit>> {
    let doing = ui::doing("search");
    let mut hits = Vec::new();
    if let Some(gateway) = gateway {
        // What waits to be written is written.
        for path in [
            "/",
            "/traffic",
            "/traffic?days=30",
            "/log",
            "/log?kind=gap",
            "/metrics",
            "/healthz",
            "/api/v1/now",
            "/api/v1/report?from=0&to=99999999999",
            "/api/v1/records?limit=500",
        ] {
            stop.check()?;
            let answer = get(gateway.address(), path, stop)?;
            scanner.bytes(&format!("GET {path}"), answer.as_bytes(), &mut hits);
        }
        for words in [&["status", "--json"][..], &["audit", "export"], &["report", "--json"]] {
            // Something that does not work makes `status` end with another code than 0; a page of it was looked at.
            let answer = gateway.command(words).unwrap_or_else(|why| why.to_string());
            scanner.bytes(&words.join(" "), answer.as_bytes(), &mut hits);
        }
        for name in ["control", "guard"] {
            let pid = pid(gateway, name)?;
            scanner.memory(pid, name, &mut hits).with_context(|| format!("the memory of {name}"))?;
        }
    }
    let mut files = scanner.files(lab.dir(), &OF_THE_LAB, &mut hits)?;
    files += scanner.files(Path::new("/dev/shm"), &[], &mut hits)?;
    for folder in [
        lab.dir(),
        Path::new("."),
        Path::new("/var/lib/glassgate"),
        Path::new("/run/glassgate"),
        Path::new("/var/crash"),
    ] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("core")
                || folder.starts_with("/var")
                || folder.starts_with("/run")
            {
                files += scanner.files(&entry.path(), &[], &mut hits)?;
            }
        }
    }
    ensure!(files > 5, "there is nothing to look through");
    doing.done(format_args!("{files} files"));
    Ok(hits)
}

/// Asks until somebody answers: the control process may just be replaced.
fn get(address: &str, path: &str, stop: &Stop) -> Result<String> {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        match api::get(address, path) {
            Err(why) if Instant::now() > patience => return Err(why.context(format!("GET {path}"))),
            Err(_) => stop.pause(Duration::from_millis(50))?,
            Ok(answer) => return Ok(answer),
        }
    }
}

fn conclude(what: &str, hits: &[Hit], scanner: &Scanner, tried: &mut Tried<'_>) {
    let words = match hits.first() {
        None => format!("0 hits in {} MiB so far", scanner.bytes >> 20),
        Some(hit) => format!("{} hits, the first: {hit:?}, a {:?} flow", hits.len(), flows::kind(hit.canary)),
    };
    tried.hold(what, hits.is_empty(), words);
}

/// The build that writes frames down: of each kind of flow that has its canary in clear, one is found at least.
fn caught(hits: &[Hit], range: std::ops::Range<usize>, tried: &mut Tried<'_>) {
    let (found, forms) = summary(hits);
    for (kind, _) in flows::KINDS {
        let all = range.clone().filter(|n| flows::kind(*n) == kind).count();
        let these = found.iter().filter(|n| range.contains(n) && flows::kind(**n) == kind).count();
        let in_clear = !matches!(kind, flows::Kind::Tls | flows::Kind::Quic);
        let fine = if in_clear { these * 10 >= all * 9 } else { these == 0 };
        let words = if in_clear {
            format!("{these} of {all} canaries found, as {forms:?}")
        } else {
            format!("{these} of {all} canaries found: not even there, since the frames hold them encrypted")
        };
        tried.hold(&format!("a build that leaks is caught: {kind:?}"), fine, words);
    }
    let others = found.iter().filter(|n| !range.contains(n)).count();
    tried.hold(
        "a build that leaks: nobody else's canaries",
        others == 0,
        format!("{others} of earlier rounds"),
    );
}
