//! The log under load beside forwarding: sealed sessions at full pace, while a stream crosses the gateway.
//!
//! The lcore has the last CPU for itself, as on an appliance, and all others are left to everything else: the sealing and the log,
//! the gateway's other processes, and both ends of the stream. Forwarding shares no lock, no memory and no file with the log; what is
//! held here is that it doesn't share anything else either, the disk and the kernel's own work included.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::stream::Stream;
use super::{Tried, accounted};
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::lab::Lab;
use crate::lab::devices::DEVICES;
use crate::lab::housekeeping::Housekeeping;
use crate::stop::Stop;
use crate::{process, steps, ui, workspace};

/// Datagrams a second.
const STREAM: u32 = 10_000;
const LENGTH: Duration = Duration::from_secs(20);
/// Times that it is done, in turns with the stream alone.
const ROUNDS: usize = 5;
/// Records a second and the wait for a commit that are asked for.
const RECORDS: f64 = 50_000.0;
const COMMIT_MS: f64 = 100.0;

/// What the example `throughput` says with `--json`.
#[derive(Debug, Deserialize)]
struct Sealed {
    durable_per_s: f64,
    lost: u64,
    commit_p50_ms: f64,
    commit_p99_ms: f64,
    commit_max_ms: f64,
    seal_us: f64,
    write_us: f64,
}

/// Tries it.
pub fn run(lab: &Lab, binary: &Path, driver: Driver, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let doing = ui::doing("build the example throughput, release");
    let command = steps::cargo("build --release -p glassgate-sealed --example throughput");
    let log = workspace::target().join("build.log");
    ensure!(steps::run_logged(&command, &log, stop)?, "the build failed\n{}", process::tail(&log, 60));
    doing.done("");

    let setup = Setup { idle_sleep_us: 0, ..Setup::default() };
    let gateway = Gateway::start_as(lab, binary, driver, &setup, stop)?;
    // What is started from here on, threads and processes, stays off the lcore's CPU, as do the gateway's processes without an lcore. Not
    // earlier: the gateway refuses an lcore on a CPU that it may not use.
    let housekeeping = Housekeeping::without(&setup.cpus)?;
    for name in ["guard", "control"] {
        housekeeping.keep(gateway.pid_of(name)?)?;
    }
    let mut found = Vec::new();
    for round in 1..=ROUNDS {
        for sealing in [false, true] {
            let before = gateway.now()?;
            let stream = Stream::start(lab, &DEVICES[2], STREAM, Instant::now() + LENGTH)?;
            let sealed = if sealing { Some(seal(lab, stop)?) } else { None };
            let (unharmed, mut words) = stream.end()?.unharmed();
            let dropped = gateway.now()?.lost() - before.lost();
            words.push_str(&format!(", {dropped} frames dropped by the gateway"));
            let what = if sealing { "beside the log" } else { "alone" };
            tried.hold(&format!("round {round}: the stream {what}"), unharmed && dropped == 0, words);
            found.extend(sealed);
        }
    }
    let (fine, words) = accounted(&gateway.now()?);
    tried.hold("every frame is accounted for", fine, words);
    for (round, sealed) in found.iter().enumerate() {
        let fine = sealed.durable_per_s >= RECORDS && sealed.lost == 0 && sealed.commit_p99_ms <= COMMIT_MS;
        let words = format!(
            "{:.0} a second durable (goal {RECORDS}), {} lost, commit p50 {:.1} ms, p99 {:.1} ms (goal {COMMIT_MS}), at most {:.1} ms; {:.2} µs to seal one, {:.2} µs to write it",
            sealed.durable_per_s,
            sealed.lost,
            sealed.commit_p50_ms,
            sealed.commit_p99_ms,
            sealed.commit_max_ms,
            sealed.seal_us,
            sealed.write_us,
        );
        tried.hold(&format!("round {}: sealed beside forwarding", round + 1), fine, words);
    }
    Ok(())
}

/// Seals sessions on the disk of the lab's folder, for a little less long than the stream flows.
fn seal(lab: &Lab, stop: &Stop) -> Result<Sealed> {
    let folder = tempfile::tempdir_in(lab.dir())?;
    let mut command = Command::new(workspace::target().join("release/examples/throughput"));
    command.arg(folder.path()).arg((LENGTH.as_secs() - 3).to_string()).arg("--json");
    let done = process::run(&mut command, &[], LENGTH * 3, stop)?;
    ensure!(done.status.success(), "throughput: {}", done.stderr);
    serde_json::from_slice(&done.stdout).context("what throughput said")
}
