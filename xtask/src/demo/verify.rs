//! Was every flow seen for what it was? Two witnesses: the gateway's own counts, and a replay of the frames that
//! were captured in front of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::api::Now;
use super::gateway::Gateway;
use super::scenario::{Act, Expected};
use crate::process;
use crate::stop::Stop;
use crate::workspace;

/// A line of `glassgate replay --flows -`, as far as it is looked at.
#[derive(Deserialize)]
struct Flow {
    client: String,
    vlan: Vec<u16>,
    kind: Option<String>,
    name: Option<String>,
    evidence: Option<String>,
    service: Option<String>,
    category: Option<String>,
}

/// Expected flows with how often they were expected and seen.
pub type Tally = BTreeMap<Expected, (u64, u64)>;

/// Replays the capture of the LAN's uplink and counts the flows that the acts must have made in it.
pub fn replay(binary: &Path, capture: &Path, acts: &[Act]) -> Result<Tally> {
    let mut command = Command::new(binary);
    command.arg("replay").arg(capture).args(["--flows", "-", "--signatures"]);
    command.arg(workspace::root().join("policy/signatures"));
    let output = process::capture(&mut command)?;
    let mut tally = expected(acts);
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let flow: Flow =
            serde_json::from_str(line).with_context(|| format!("a flow that is none: {line}"))?;
        for (expected, (_, seen)) in &mut tally {
            *seen += u64::from(flow.is(expected));
        }
    }
    Ok(tally)
}

/// Waits until the gateway has counted at least what was expected since `before`, or says what is missing.
pub fn counted(gateway: &Gateway, before: &Now, acts: &[Act], limit: Duration, stop: &Stop) -> Result<Now> {
    let expected = expected(acts);
    let end = Instant::now() + limit;
    loop {
        let now = gateway.now()?;
        let missing = missing(before, &now, &expected);
        if missing.is_empty() {
            return Ok(now);
        }
        if Instant::now() > end {
            bail!("the gateway did not count every flow within {limit:?}:\n{}", missing.join("\n"));
        }
        stop.pause(Duration::from_millis(100))?;
    }
}

fn missing(before: &Now, now: &Now, expected: &Tally) -> Vec<String> {
    let mut by_evidence: BTreeMap<&str, u64> = BTreeMap::new();
    let mut by_service: BTreeMap<&str, u64> = BTreeMap::new();
    for (flow, (count, _)) in expected {
        *by_evidence.entry(flow.evidence).or_default() += count;
        if let Some(service) = flow.service {
            *by_service.entry(service).or_default() += count;
        }
    }
    let lacks =
        |what: &str, wanted: BTreeMap<&str, u64>, before: BTreeMap<&str, u64>, now: BTreeMap<&str, u64>| {
            let since = |key: &str| now.get(key).unwrap_or(&0).saturating_sub(*before.get(key).unwrap_or(&0));
            let short = wanted.iter().filter(|(key, count)| since(key) < **count);
            short.map(|(key, count)| format!("  {what} {key}: {} of {count}", since(key))).collect::<Vec<_>>()
        };
    let mut lines = lacks("evidence", by_evidence, before.flows_by_evidence(), now.flows_by_evidence());
    lines.extend(lacks("service", by_service, before.flows_by_service(), now.flows_by_service()));
    lines
}

fn expected(acts: &[Act]) -> Tally {
    let mut tally = Tally::new();
    for expected in acts.iter().flat_map(Act::expected) {
        tally.entry(expected).or_default().0 += 1;
    }
    tally
}

impl Flow {
    fn is(&self, expected: &Expected) -> bool {
        self.client == expected.client
            && self.vlan.last() == expected.vlan.as_ref()
            && self.kind.as_deref() == Some(expected.kind)
            && self.name.as_deref() == Some(expected.name)
            && self.evidence.as_deref() == Some(expected.evidence)
            && self.service.as_deref() == expected.service
            && self.category.as_deref().filter(|category| *category != "unknown") == expected.category
    }
}
