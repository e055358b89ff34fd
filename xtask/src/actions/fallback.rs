//! What passes while the fast path can't: a stream of numbered datagrams, while the data plane is killed and stopped in its tracks.
//!
//! What does not arrive is the outage: so many datagrams at so many a second. None may arrive twice, which is what a fallback does that takes
//! over from something that still forwards. After three ends within a minute the data plane is held, and starts again when somebody says so.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::stream::Stream;
use super::{Tried, accounted};
use crate::demo::api::Now;
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::lab::Lab;
use crate::lab::devices::DEVICES;
use crate::stop::Stop;

/// Datagrams a second.
const STREAM: u32 = 10_000;
/// How long the stream flows around each end.
const LENGTH: Duration = Duration::from_secs(4);
/// Ends within a minute after which the data plane is held.
const ENDS: u64 = 3;
/// On a machine that does nothing else an lcore moves every few microseconds; on others it may not get its CPU for as long as this.
const HANG: &str = "
[guard]
hang_ms = 100
";

/// A way to lose a data plane, and for how long nothing may pass then.
struct Loss {
    name: &'static str,
    signal: Signal,
    goal: Duration,
}

const LOSSES: [Loss; 2] = [
    Loss { name: "killed", signal: Signal::KILL, goal: Duration::from_millis(100) },
    Loss { name: "hung", signal: Signal::STOP, goal: Duration::from_millis(150) },
];

/// Tries it: once, with outages that are told; or more often, with outages that are held to their goals, which takes a machine that does
/// nothing else.
pub fn run(
    lab: &Lab,
    binary: &Path,
    driver: Driver,
    alone: bool,
    tried: &mut Tried<'_>,
    stop: &Stop,
) -> Result<()> {
    let (rounds, more) = if alone { (5, HANG.to_owned()) } else { (1, String::new()) };
    let setup = Setup { more, ..Setup::default() };
    let gateway = Gateway::start_as(lab, binary, driver, &setup, stop)?;
    let now = await_state(&gateway, "it forwards", Now::is_ready, stop)?;
    tried.hold(
        "a bridge of the kernel is there",
        now.uninspected.fallback == "kernel_bridge",
        now.uninspected.fallback,
    );
    for _ in 0..rounds {
        for loss in &LOSSES {
            for end in 1..=ENDS {
                let before = gateway.now()?.uninspected.count;
                let stream = Stream::start(lab, &DEVICES[2], STREAM, Instant::now() + LENGTH)?;
                stop.pause(Duration::from_secs(1))?;
                gateway.signal_process("dataplane", loss.signal)?;
                await_state(&gateway, "the end is noticed", |now| now.uninspected.count > before, stop)?;
                let held = end == ENDS;
                await_state(
                    &gateway,
                    "it is held, or forwards",
                    |now| now.uninspected.held == held && (held || now.is_ready()),
                    stop,
                )?;
                let figures = stream.end()?;
                let lost = figures.sent.saturating_sub(figures.received);
                let outage = Duration::from_secs(lost) / STREAM;
                let words =
                    format!("{outage:.1?} without frames (goal {:.0?}): {}", loss.goal, figures.unharmed().1);
                let fine = (outage <= loss.goal || !alone) && figures.twice == 0 && figures.wrong == 0;
                tried.hold(&format!("{} {end} of {ENDS}", loss.name), fine, words);
            }
            held(lab, &gateway, loss, tried, stop)?;
        }
    }
    let (fine, words) = accounted(&gateway.now()?);
    tried.hold("every frame since the last start is accounted for", fine, words);
    records(&gateway.stop_for_records()?, rounds as u64, tried);
    Ok(())
}

/// Held: all passes, everybody is told, and it ends when somebody says so.
fn held(lab: &Lab, gateway: &Gateway, loss: &Loss, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let stream = Stream::start(lab, &DEVICES[2], STREAM, Instant::now() + LENGTH / 2)?;
    let (unharmed, words) = stream.end()?.unharmed();
    tried.hold(&format!("{} {ENDS} times: held, and all passes", loss.name), unharmed, words);
    let now = gateway.now()?;
    let told = now.troubles.iter().find(|trouble| trouble.contains("not started again"));
    tried.hold("who asks is told", told.is_some(), told.cloned().unwrap_or_default());
    let stream = Stream::start(lab, &DEVICES[2], STREAM, Instant::now() + LENGTH)?;
    gateway.command(&["bypass", "off"])?;
    await_state(gateway, "it forwards again", |now| !now.uninspected.now && now.is_ready(), stop)?;
    let figures = stream.end()?;
    let lost = Duration::from_secs(figures.sent.saturating_sub(figures.received)) / STREAM;
    let fine = lost < Duration::from_secs(1) && figures.twice == 0;
    tried.hold(
        "back to inspection",
        fine,
        format!("{lost:.1?} without frames (goal 1s): {}", figures.unharmed().1),
    );
    Ok(())
}

fn await_state(gateway: &Gateway, what: &str, is_so: impl Fn(&Now) -> bool, stop: &Stop) -> Result<Now> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let now = gateway.now()?;
        if is_so(&now) {
            return Ok(now);
        }
        if Instant::now() > until {
            bail!("not within 20 s: {what}; it says: {}\n{}", now.troubles.join("; "), gateway.last_words());
        }
        stop.pause(Duration::from_millis(50))?;
    }
}

/// Each time without a fast path is on record, from its beginning to its end.
fn records(text: &str, rounds: u64, tried: &mut Tried<'_>) {
    let all: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let since = all.iter().rposition(|record| record["event_type"] == "started").unwrap_or_default();
    let over: Vec<&Value> = all[since..]
        .iter()
        .filter(|record| record["event_type"] == "uninspected" && !record["end_mono_ns"].is_null())
        .collect();
    for cause in ["ended", "hung", "held"] {
        let found = over.iter().filter(|record| record["cause"] == cause).count() as u64;
        let wanted = if cause == "held" { 2 * rounds } else { (ENDS - 1) * rounds };
        let words = format!("{found} of {wanted} on record");
        tried.hold(&format!("uninspected, {cause}"), found == wanted, words);
    }
    let counted = over.iter().filter(|record| record["frames"].as_u64() > Some(0)).count();
    let last = over.last().map(ToString::to_string).unwrap_or_default();
    tried.hold("with the frames that passed", counted + 1 >= over.len() && !over.is_empty(), last);
}
