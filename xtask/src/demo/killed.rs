//! `kill -9` of whatever can be killed: frames must pass again, and nothing may be left behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::gateway::Gateway;
use crate::lab::{Lab, slot};
use crate::process;
use crate::stop::Stop;

/// Kills a process of the gateway and waits until frames pass and until all of it runs again. Gives a line about it.
pub fn process(lab: &Lab, gateway: &mut Gateway, name: &str, stop: &Stop) -> Result<String> {
    let since = Instant::now();
    gateway.kill_process(name)?;
    lab.await_path(Duration::from_secs(10)).with_context(|| gateway.last_words())?;
    let passes = since.elapsed();
    gateway.await_ready(Duration::from_secs(20), stop)?;
    Ok(format!("frames pass after {passes:.1?}, all of it runs after {:.1?}", since.elapsed()))
}

/// Kills the whole gateway, which must leave no process, and starts another in its place.
pub fn gateway(lab: &Lab, old: Gateway, binary: &Path, stop: &Stop) -> Result<(Gateway, String)> {
    let driver = old.driver;
    old.kill_all()?;
    let since = Instant::now();
    let new = Gateway::start(lab, binary, Some(driver), stop)?;
    Ok((new, format!("frames pass through its successor after {:.1?}", since.elapsed())))
}

/// Starts a second demo, kills it while its lab is up, and takes away what it left, as any start does.
pub fn demo(stop: &Stop) -> Result<String> {
    // Not by its path: building all of the workspace may have put another file there since this one was started.
    let mut command = Command::new("/proc/self/exe");
    command.args(["demo", "--bypass-gateway", "--yes"]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut victim = command.spawn().context("cannot start a second demo")?;
    let found = await_lab(victim.id(), stop);
    victim.kill()?;
    victim.wait()?;
    let name = found?;
    let before = slot::traces(&name)?;
    ensure!(!before.is_empty(), "the killed demo had nothing that it could have left");
    // A child that it was just starting holds its lock until it is what it shall be: then the lab counts as in use.
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        slot::sweep()?;
        let after = slot::traces(&name)?;
        if after.is_empty() {
            break;
        }
        ensure!(Instant::now() < patience, "still there: {}", after.join(", "));
        stop.pause(Duration::from_millis(100))?;
    }
    Ok(format!("{} things of it taken away by the next start", before.len()))
}

/// Waits until the process has a lab with all its namespaces and a running name server.
fn await_lab(owner: u32, stop: &Stop) -> Result<String> {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        stop.pause(Duration::from_millis(50))?;
        if let Some(name) = slot::owned_by(owner)
            && process::marked(&name).iter().any(|process| process.ends_with("dnsmasq"))
        {
            return Ok(name);
        }
    }
    bail!("a second demo did not get its lab up within 30 s")
}
