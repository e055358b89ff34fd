//! The fast path killed and stopped, with pings at a known rate: how long nothing passes.

use std::time::Duration;

use anyhow::{Context, Result};

use super::machine::Machine;
use super::traffic::Pings;
use super::{Held, Stage};

/// Between two pings.
const EVERY: Duration = Duration::from_millis(10);
/// Times that each is done.
const TIMES: usize = 3;

/// Prints the process id of the data plane.
const PID: &str = "for p in /proc/[0-9]*; do c=$(tr '\\0' ' ' < $p/cmdline 2>/dev/null); case $c in *'glassgate dataplane'*) echo ${p#/proc/};; esac; done";

/// `kill -9`, SIGSTOP, and the guard itself.
pub fn run(stage: &Stage<'_>, held: &mut Held) -> Result<()> {
    let machine = stage.fresh()?;
    machine.await_forwarding()?;
    for (what, signal, goal) in [("killed", "KILL", 2000), ("stopped", "STOP", 3500)] {
        for _ in 0..TIMES {
            let (lost, longest, double) = silence(stage, &machine, |pid| format!("kill -{signal} {pid}"))?;
            held.hold(
                &format!("the data plane {what}"),
                longest <= goal && double == 0,
                format!("{lost} pings of 100/s lost, longest silence {longest} ms, {double} came twice"),
                &format!("{goal} ms, emulated"),
            );
        }
    }
    let (lost, longest, double) =
        silence(stage, &machine, |_| "systemctl kill --signal=KILL --kill-whom=main glassgate".to_owned())?;
    held.hold(
        "the guard killed: the kernel's bridge takes over, then the gateway again",
        longest <= 8000 && double == 0,
        format!("{lost} pings lost, longest silence {longest} ms, {double} came twice"),
        "8 s, emulated",
    );
    let pages = machine.run("cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")?;
    held.hold("huge pages after it, free and in all", true, pages.trim().replace('\n', " of "), "");
    machine.cut();
    Ok(())
}

fn silence(
    stage: &Stage<'_>,
    machine: &Machine,
    command: impl Fn(&str) -> String,
) -> Result<(u64, u64, u64)> {
    let pid = machine.run(PID)?;
    let pid = pid.trim().lines().next().context("no data plane in the machine")?.to_owned();
    let mut pings = Pings::start(stage.lab, EVERY, stage.dir)?;
    pings.await_first(Duration::from_secs(30), stage.stop)?;
    stage.stop.pause(Duration::from_secs(2))?;
    machine.run(&command(&pid))?;
    // A successor is up when it says so; pings go on some seconds longer, so that the end of the silence is among them.
    stage.stop.pause(Duration::from_secs(5))?;
    machine.await_forwarding()?;
    stage.stop.pause(Duration::from_secs(2))?;
    let outcome = pings.end()?;
    let longest = outcome.silences.first().copied().unwrap_or(0);
    Ok((outcome.lost, longest * EVERY.as_millis() as u64, outcome.double))
}
