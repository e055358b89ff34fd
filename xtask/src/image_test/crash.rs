//! The fast path killed and stopped, with pings at a known rate: how long nothing passes, then and when it comes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::machine::Machine;
use super::traffic::Pings;
use super::{Held, Stage};

/// Between two pings.
const EVERY: Duration = Duration::from_millis(10);
/// Times that each is done: the third end within a minute is one after which the data plane is not started again by itself.
const TIMES: usize = 3;
/// After a kill, no longer silence, milliseconds.
const KILLED: u64 = 500;
/// After a stop, which has to be found out first.
const STOPPED: u64 = 600;
/// When it comes back.
const BACK: u64 = 1000;
/// Seconds after the signal in which the silence begins that it is the reason of.
const SOON: f64 = 1.5;

/// Prints the process id of the data plane.
const PID: &str = "for p in /proc/[0-9]*; do c=$( { tr '\\0' ' ' < $p/cmdline; } 2>/dev/null); case $c in glassgate-dataplane*) echo ${p#/proc/};; esac; done";
/// As on a machine whose lcores have CPUs to themselves, which those of this one have while nothing else runs beside it.
const CONFIG: &str = "/var/lib/glassgate/config/glassgate.toml";

/// `kill -9`, SIGSTOP, and the guard itself.
pub fn run(stage: &Stage<'_>, held: &mut Held, machine: &mut Option<Machine>) -> Result<()> {
    let running = stage.take(machine)?;
    running.await_forwarding()?;
    running.run(&format!(
        "cp {CONFIG} /run/glassgate/kept && printf '\\n[guard]\\nhang_ms = 100\\n' >> {CONFIG}"
    ))?;
    running.run("systemctl restart glassgate")?;
    running.await_forwarding()?;
    if let Err(why) = ends(stage, held, &running) {
        told(&running)?;
        return Err(why);
    }
    running.run(&format!("cp /run/glassgate/kept {CONFIG} && systemctl restart glassgate"))?;
    running.await_forwarding()?;
    *machine = Some(running);
    Ok(())
}

fn ends(stage: &Stage<'_>, held: &mut Held, machine: &Machine) -> Result<()> {
    for (what, signal, goal) in [("stopped", "STOP", STOPPED), ("killed", "KILL", KILLED)] {
        for turn in 1..=TIMES {
            let last = turn == TIMES;
            let (lost, gone, back, double) =
                silence(stage, machine, !last, |pid| format!("kill -{signal} {pid}"))?;
            held.hold(
                &format!("the data plane {what}"),
                gone <= goal && double == 0,
                format!(
                    "{gone} ms of silence; {lost} pings of 100/s never answered in all, {double} came twice"
                ),
                &format!("{goal} ms, none twice"),
            );
            if gone > goal {
                told(machine)?;
            }
            if last {
                // Which is no success, and says so by its code as well.
                let (says, _) = machine.ask("glassgate status")?;
                held.hold(
                    "the third time within a minute it is held, the kernel's bridge forwards, and status says so",
                    says.contains("is not started again"),
                    says.lines()
                        .find(|line| line.contains("is not started again"))
                        .unwrap_or("not a word")
                        .trim()
                        .to_owned(),
                    "",
                );
                let said =
                    machine.run("ls -1 /sys/class/net/glassgate0/brif; echo; cat /proc/net/if_inet6")?;
                let (ports, addresses) = said.split_once("\n\n").unwrap_or_default();
                let own =
                    |port: &&str| addresses.lines().any(|line| line.split_whitespace().last() == Some(port));
                held.hold(
                    "two ports are under it, and none has an address of its own",
                    ports.lines().count() == 2 && !ports.lines().any(|port| own(&port)),
                    ports
                        .lines()
                        .map(|port| format!("{port}: {}", if own(&port) { "it has" } else { "none" }))
                        .collect::<Vec<_>>()
                        .join(", "),
                    "",
                );
                machine.run("glassgate bypass off")?;
                machine.await_forwarding()?;
            } else {
                held.hold(
                    "it comes back",
                    back <= BACK,
                    format!("{back} ms of silence"),
                    &format!("{BACK} ms"),
                );
            }
        }
    }
    // The one of its start is among them; a guard that starts anew counts anew.
    let (says, _) = machine.ask("glassgate status")?;
    let away = says.lines().find(|line| line.trim_start().starts_with("uninspected")).unwrap_or_default();
    let times: usize =
        away.split_whitespace().nth(1).and_then(|n| n.trim_end_matches(',').parse().ok()).unwrap_or_default();
    held.hold(
        "times without inspection are on record",
        times > 2 * TIMES,
        away.trim().to_owned(),
        &format!("{} at least", 2 * TIMES + 1),
    );
    let (lost, gone, back, double) = silence(stage, machine, true, |_| {
        "systemctl kill --signal=KILL --kill-whom=main glassgate".to_owned()
    })?;
    held.hold(
        "the guard killed: the kernel's bridge takes over, then the gateway again",
        gone <= 2000 && back <= BACK && double == 0,
        format!("{gone} ms, and {back} ms later; {lost} pings never answered, {double} came twice"),
        &format!("2000 ms and {BACK} ms, none twice"),
    );
    let pages = machine.run("cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")?;
    held.hold("huge pages after it, free and in all", true, pages.trim().replace('\n', " of "), "");
    Ok(())
}

/// Prints what the gateway said last: the machine does not live as long as the question why.
fn told(machine: &Machine) -> Result<()> {
    let said = machine.run("journalctl --no-pager -n 12 -o short-monotonic -u glassgate")?;
    said.lines().for_each(|line| println!("       | {line}"));
    Ok(())
}

/// Pings never answered, milliseconds of silence after the command, and when the data plane is back, and answers that came twice.
fn silence(
    stage: &Stage<'_>,
    machine: &Machine,
    comes_back: bool,
    command: impl Fn(&str) -> String,
) -> Result<(u64, u64, u64, u64)> {
    let pid = machine.run(PID)?;
    let pid = pid.trim().lines().next().context("no data plane in the machine")?.to_owned();
    let mut pings = Pings::start(stage.lab, EVERY, stage.dir)?;
    pings.await_first(Duration::from_secs(30), stage.stop)?;
    stage.stop.pause(Duration::from_secs(2))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() - 0.05;
    machine.run(&command(&pid))?;
    // A successor is up when it says so; pings go on some seconds longer, so that the end of the silence is among them.
    stage.stop.pause(Duration::from_secs(3))?;
    if comes_back {
        machine.await_forwarding()?;
        stage.stop.pause(Duration::from_secs(2))?;
    }
    let outcome = pings.end()?;
    let (gone, until) = outcome.silence_in(since, since + SOON);
    let (back, _) = outcome.silence_in(until, f64::MAX);
    Ok((outcome.lost, gone, back, outcome.double))
}
