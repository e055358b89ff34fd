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
fn clock_steps(records: &[Value]) -> u64 {
    let steps = records.iter().filter(|record| record["event_type"] == "clock_step");
    steps.map(|record| record["steps"].as_u64().unwrap_or(1)).sum()
}

/// Steps of the clock that somebody makes and counts.
pub struct ClockSteps {
    /// Those on record since the start and before: a log that goes on from another gateway whose clock was another one says so at its start.
    before: u64,
    made: u64,
}

impl ClockSteps {
    /// From now on. The gateway has been up for as long as it takes to look at its clock once.
    pub fn begin(gateway: &Gateway) -> Result<Self> {
        Ok(Self { before: on_record(gateway)?, made: 0 })
    }

    /// Waits until a step that was made is on record. Two steps between two looks of the log are one, as two that cancel each other are
    /// none: so each is awaited before the next.
    pub fn made(&mut self, gateway: &Gateway, stop: &Stop) -> Result<()> {
        self.made += 1;
        let end = Instant::now() + ON_RECORD;
        while on_record(gateway)? < self.before + self.made {
            ensure!(
                Instant::now() < end,
                "after {ON_RECORD:?} step {} of the clock is not on record",
                self.made
            );
            stop.pause(Duration::from_millis(200))?;
        }
        Ok(())
    }

    /// What the records since the last start say, whether it is each once, and in words.
    pub fn told(&self, records: &[Value]) -> (bool, String) {
        let told = clock_steps(records).saturating_sub(self.before);
        (told == self.made, format!("{told} of {}, {} before", self.made, self.before))
    }
}

fn on_record(gateway: &Gateway) -> Result<u64> {
    Ok(clock_steps(&parse(since_last_start(&gateway.command(&["audit", "export"])?))))
}
