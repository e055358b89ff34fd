//! The slow path stands still, is told to read its files again and again, and has its clock stepped.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;

use super::stage::{Stage, await_now, setup, uses};
use crate::actions::stream::Figures;
use crate::demo::api::Now;
use crate::demo::gateway::{self, Setup};
use crate::demo::records::{ClockSteps, parse, since_last_start};

/// What it may cost 99 of 100 datagrams.
const SLOWER: Duration = Duration::from_millis(1);
/// On a machine that does nothing else they take less than a millisecond.
const BUSY: Duration = Duration::from_millis(10);
/// After this, all of it runs again.
const AGAIN: Duration = Duration::from_secs(1);

/// The slow path gets no CPU.
pub(super) fn stopped(stage: &mut Stage<'_>) -> Result<()> {
    let (length, quiet) = stage.size(
        (Duration::from_secs(8), Duration::from_secs(3)),
        (Duration::from_secs(60), Duration::from_secs(10)),
    );
    let (before, ()) = stage.beside(|_, _, stop| stop.pause(quiet))?;
    let (figures, (back, same)) = stage.beside(|_, gateway, stop| {
        let pid = gateway.pid_of("control")?;
        let uptime = gateway.now()?.uptime_ms;
        gateway.signal_process("control", Signal::STOP)?;
        let waited = stop.pause(length);
        let woken = Instant::now();
        // Whatever happens here, it is not left standing. One that was replaced meanwhile is not there to be woken.
        if rustix::process::Pid::from_raw(pid.cast_signed())
            .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
        {
            gateway.signal_pid(pid, Signal::CONT)?;
        }
        waited?;
        await_now(gateway, "it answers again", stop, |now| now.uptime_ms > uptime && now.is_ready())?;
        Ok((woken.elapsed(), gateway.pid_of("control")? == pid))
    })?;
    stage.unharmed(&figures);
    slower(stage, &before, &figures);
    let who = if same { "the same process" } else { "its successor" };
    stage.found("all of it runs again", format!("after {back:.2?}, {who}"), "1 s", back <= AGAIN);
    stage.accounted()
}

/// Rules that change are put in force, one after the other, while frames pass.
pub(super) fn reloads(stage: &mut Stage<'_>) -> Result<()> {
    let (count, length) = stage.size((60, Duration::from_secs(10)), (1000, Duration::from_secs(600)));
    let (before, ()) = stage.beside(|_, _, stop| stop.pause(Duration::from_secs(3)))?;
    let (figures, (refused, grown)) = stage.beside(|_, gateway, stop| {
        let rule = |n: u32| {
            format!(
                "[[rule]]\nname = \"no-{n}\"\nmatch = {{ category = [\"games\"] }}\naction = \"block\"\n\
                 state = \"enforce\"\nowner = \"net\"\npurpose = \"conduct\"\n"
            )
        };
        let pid = gateway.pid_of("control")?;
        // What the first ones take is kept for the others.
        for n in 0..5 {
            gateway.enforce(&rule(n), stop)?;
        }
        let (level, began) = (uses(pid)?.resident_kib, Instant::now());
        let mut refused = 0;
        for n in 0..count {
            refused += u32::from(gateway.enforce(&rule(n), stop).is_err());
            let due = began + length * (n + 1) / count;
            stop.pause(due.saturating_duration_since(Instant::now()))?;
        }
        gateway.enforce("", stop)?;
        Ok((refused, uses(pid)?.resident_kib as f64 / level as f64 - 1.0))
    })?;
    stage.unharmed(&figures);
    stage.found("reloads", format!("{count}, {refused} not in force"), "all in force", refused == 0);
    slower(stage, &before, &figures);
    let words = format!("{:+.1} % of the control process", grown * 100.0);
    stage.found("memory", words, "at most 5 % more", grown <= 0.05);
    stage.accounted()
}

/// How much longer 99 of 100 datagrams took. Where they took long before, others have the CPUs, and nothing is said of the gateway.
fn slower(stage: &mut Stage<'_>, before: &Figures, meanwhile: &Figures) {
    let (then, now) = (before.p99, meanwhile.p99);
    if then > BUSY {
        let words = format!(
            "p99 {then:.2?} before, {now:.2?} meanwhile: not to be told on a machine as busy as this"
        );
        stage.found("slower by", words, "at most 1 ms more", true);
    } else {
        let words = format!("p99 {then:.2?} before, {now:.2?} meanwhile");
        stage.found("slower by", words, "at most 1 ms more", now.saturating_sub(then) <= SLOWER);
    }
}

/// Nothing is decided by the wall clock.
pub(super) fn clock(stage: &mut Stage<'_>) -> Result<()> {
    // It has to be another one from the start to be one that can be stepped.
    stage.start(&Setup { clock_ahead_s: 1, ..setup() })?;
    const DAY: i64 = 86_400;
    let steps: Vec<i64> = {
        let few = vec![-1, 3600, -3600, DAY, 3650 * DAY, 0];
        let many = (0..200).map(|n: i64| (n * 7919 % 4001 - 2000) * 3600).collect();
        stage.size(few, many)
    };
    let (figures, (same, counted)) = stage.beside(|lab, gateway, stop| {
        let pids = |now: &Now| now.processes.iter().map(|process| process.pid).collect::<Vec<_>>();
        let before = pids(&gateway.now()?);
        let mut counted = ClockSteps::begin(gateway)?;
        for step in steps {
            gateway::set_clock(lab.dir(), step)?;
            counted.made(gateway, stop)?;
        }
        await_now(gateway, "it says what time it is", stop, Now::is_ready)?;
        Ok((pids(&gateway.now()?) == before, counted))
    })?;
    stage.unharmed(&figures);
    stage.found("processes", if same { "the same" } else { "not the same" }, "none ends", same);
    stage.accounted()?;
    let records =
        stage.take_gateway().map(|gateway| gateway.stop_for_records()).transpose()?.unwrap_or_default();
    let (fine, words) = counted.told(&parse(since_last_start(&records)));
    stage.found("steps on record", words, "each, once", fine);
    Ok(())
}
