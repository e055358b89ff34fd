//! What a gateway's audit log says.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::gateway::Gateway;
use crate::stop::Stop;

/// Within this a step of the clock is on record: a second until the log looks, one that libfaketime's clock may be old, and the commit.
const ON_RECORD: Duration = Duration::from_secs(20);

/// What was printed by `audit export`, from the last start on: the log goes on from gateway to gateway.
pub fn since_last_start(exported: &str) -> &str {
    let at = exported.rfind("\"event_type\":\"started\"").unwrap_or_default();
    &exported[exported[..at].rfind('\n').map_or(0, |at| at + 1)..]
}

/// The records in it.
pub fn parse(exported: &str) -> Vec<Value> {
    exported.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// How often these say that the clock was stepped. Steps that came while nothing could be written are told together.
pub fn clock_steps(records: &[Value]) -> u64 {
    let steps = records.iter().filter(|record| record["event_type"] == "clock_step");
    steps.map(|record| record["steps"].as_u64().unwrap_or(1)).sum()
}

/// Waits until so many steps of the clock are on record since the start. Two steps between two looks of the log are one, as two that cancel
/// each other are none: whoever counts them waits for each.
pub fn await_clock_steps(gateway: &Gateway, steps: u64, stop: &Stop) -> Result<()> {
    let end = Instant::now() + ON_RECORD;
    loop {
        let told = clock_steps(&parse(since_last_start(&gateway.command(&["audit", "export"])?)));
        if told >= steps {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "after {ON_RECORD:?} {told} of {steps} steps of the clock are on record"
        );
        stop.pause(Duration::from_millis(200))?;
    }
}
