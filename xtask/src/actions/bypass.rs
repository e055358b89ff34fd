//! The bypass: what was blocked passes while it is on, and everybody can see that it is.

use anyhow::Result;

use super::block::{BLOCKED, Client, RULES};
use super::{Stage, Tried};
use crate::demo::api;
use crate::lab::devices::DEVICES;

/// Turns the bypass on and off while a rule blocks.
pub fn run(stage: &Stage<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let gateway = stage.gateway;
    gateway.enforce(RULES, stage.stop)?;
    let client = Client { stage, device: &DEVICES[0], v6: false };
    let passes = || -> Result<bool> {
        let url = format!("https://{BLOCKED}/bytes/1000");
        Ok(client.curl(&url, BLOCKED, &["--fail"])?.status.success())
    };
    let seen = || -> Result<[bool; 3]> {
        let metrics = api::get(gateway.address(), "/metrics")?;
        let page = api::get(gateway.address(), "/")?;
        Ok([
            gateway.now()?.bypass.is_some(),
            metrics.contains("\nglassgate_bypass 1\n"),
            page.contains("bypass: forwarding"),
        ])
    };
    let before = (passes()?, seen()?);
    gateway.command(&["bypass", "on"])?;
    gateway.await_acknowledged(stage.stop)?;
    let counted = |now: &api::Now| now.ports.iter().map(|port| port.drop_policy).sum::<u64>();
    let dropped = counted(&gateway.now()?);
    let on = (passes()?, seen()?);
    let none_dropped = counted(&gateway.now()?) == dropped;
    gateway.command(&["bypass", "off"])?;
    gateway.await_acknowledged(stage.stop)?;
    let after = (passes()?, seen()?);
    let words = format!(
        "{BLOCKED} passes, and status, metrics, page say so: {before:?} before, {on:?} on, {after:?} off"
    );
    let fine = before == (false, [false; 3]) && on == (true, [true; 3]) && after == before && none_dropped;
    tried.hold("bypass", fine, words);
    let records = gateway.command(&["bypass", "off"]).and_then(|_| bypass_records(stage))?;
    let fine =
        records.len() == 3 && records[0].contains("\"on\":true") && records[1].contains("\"on\":false");
    tried.hold("audit records of the bypass", fine, records.first().cloned().unwrap_or_default());
    Ok(())
}

/// Records of the log that tell of a bypass.
fn bypass_records(stage: &Stage<'_>) -> Result<Vec<String>> {
    let text = stage.gateway.command(&["audit", "export"])?;
    Ok(text.lines().filter(|line| line.contains("\"bypass\"")).map(str::to_owned).collect())
}
