//! `kill -9` of each process, again and again: it is back soon, nothing arrives twice, and nothing is left behind.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::stage::{PATIENCE, Stage, await_now, setup};
use crate::actions::stream::Stream;
use crate::demo::api::Now;
use crate::demo::gateway::{Driver, Gateway};
use crate::lab::devices::DEVICES;
use crate::setup::huge_pages;

/// Until it runs again.
const BACK: Duration = Duration::from_secs(2);
/// Apart, at full length: a data plane that ends three times within a minute is held, a control process waits longer each time.
const APART: [Duration; 2] = [Duration::from_secs(31), Duration::from_secs(15)];

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let count = stage.size(2, 100);
    let long = stage.options.long;
    for (name, apart) in ["dataplane", "control"].into_iter().zip(APART) {
        // Ends of the rows before count as well.
        stage.drop_gateway();
        let (mut slowest, mut twice, mut wrong) = (Duration::ZERO, 0, 0);
        let mut lost = 0;
        for n in 0..count {
            let (figures, took) = stage.beside(|_, gateway, stop| {
                stop.pause(Duration::from_millis(300))?;
                let before = gateway.pid_of(name)?;
                let killed = Instant::now();
                gateway.kill_process(name)?;
                let other = |now: &Now| {
                    let pid = now.processes.iter().find(|process| process.name == name).and_then(|p| p.pid);
                    now.is_ready() && pid.is_some_and(|pid| pid != before)
                };
                await_now(gateway, "its successor works", stop, other)?;
                Ok(killed.elapsed())
            })?;
            slowest = slowest.max(took);
            twice += figures.twice;
            wrong += figures.wrong;
            lost += figures.sent.saturating_sub(figures.received);
            if long && n + 1 < count {
                stage.stop.pause(apart)?;
            }
        }
        let words = format!("{count} times, {slowest:.2?} at most");
        stage.found(&format!("{name} is back"), words, "2 s", slowest <= BACK);
        let words = format!("{twice} datagrams twice, {wrong} changed, {lost} lost");
        let kept = name == "dataplane" || lost == 0;
        let goal = if name == "dataplane" { "0 twice, 0 changed" } else { "0 twice, 0 changed, 0 lost" };
        stage.found(&format!("{name}: what passes"), words, goal, twice == 0 && wrong == 0 && kept);
    }
    guard(stage, if long { 100 } else { 1 })?;
    stage.drop_gateway();
    let (before, after) = (stage.huge_pages, huge_pages::free());
    let words = format!("{} free before, {} after", shown(before), shown(after));
    stage.found("huge pages", words, "none is kept", before == after);
    Ok(())
}

/// All of it at once, as when the guard dies: nothing is left, and the next one starts.
fn guard(stage: &mut Stage<'_>, count: u32) -> Result<()> {
    let (stop, binary) = (stage.stop, stage.binary.clone());
    let driver = stage.options.driver.unwrap_or(Driver::AfXdp);
    let (mut slowest, mut twice, mut starts) = (Duration::ZERO, 0, 0);
    stage.both()?;
    for _ in 0..count {
        let Some(old) = stage.take_gateway() else { break };
        let lab = stage.lab()?;
        let stream = Stream::flow(lab, &DEVICES[2], super::stage::STREAM)?;
        old.kill_all()?;
        let killed = Instant::now();
        // As systemd would: again, where it could not start at once.
        let new = loop {
            starts += 1;
            let tried = Gateway::start_as(lab, &binary, driver, &setup(), stop);
            if tried.is_ok() || killed.elapsed() > PATIENCE {
                break tried;
            }
            stop.pause(Duration::from_millis(500))?;
        };
        slowest = slowest.max(killed.elapsed());
        twice += stream.end()?.twice;
        stage.put_gateway(new?);
    }
    let words = format!(
        "{count} times, no process left, {starts} starts, {slowest:.2?} at most until the next forwards"
    );
    // Of which a second and more is asking it, and a client that asks through it.
    stage.found("guard, and all with it", words, "10 s", slowest <= Duration::from_secs(10));
    stage.found("guard: what passes", format!("{twice} datagrams twice"), "0 twice", twice == 0);
    Ok(())
}

fn shown(pages: Option<u64>) -> String {
    pages.map_or_else(|| "no".to_owned(), |pages| pages.to_string())
}
