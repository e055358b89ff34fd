//! What the gateway says about itself: `GET /api/v1/now` on its management address.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use ureq::tls::{TlsConfig, TlsProvider};

/// The part of the answer that the demo looks at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Now {
    /// Its wall clock, RFC 3339.
    pub time: String,
    /// How long the gateway ran when it said this, in milliseconds: a larger number is a later report.
    pub uptime_ms: u64,
    /// What does not work, in words.
    pub troubles: Vec<String>,
    /// There while everything is forwarded and nothing observed.
    pub bypass: Option<serde_json::Value>,
    /// Times without a fast path.
    pub uninspected: Uninspected,
    /// The three processes.
    pub processes: Vec<Process>,
    /// The lcores.
    pub lcores: Vec<Lcore>,
    /// The ports, LAN first.
    pub ports: Vec<Port>,
    /// Its own address on them, if it has one.
    pub inband: Option<Inband>,
    /// Flows that got a name, by evidence.
    pub named: Vec<Count>,
    /// Flows without a name, by reason.
    pub unnamed: Vec<Count>,
    /// Flows by category.
    pub categories: Vec<Aggregate>,
    /// Flows by service, as far as they may be counted.
    pub services: Vec<Aggregate>,
    /// What the fast path decides by.
    pub policy: Policy,
    /// Who is known, in numbers.
    pub identity: Identity,
    /// What came from the fast path, and what became of it.
    pub events: Events,
    /// What is recorded, and why it may be.
    pub recording: Recording,
    /// Flows that nothing may be written about.
    pub not_looked_at: u64,
}

/// Events of the fast path, and records of the audit log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Records made durable since the control process started.
    pub records: u64,
    /// Why the audit log does not take records.
    pub log_trouble: Option<String>,
}

/// Times in which no fast path looked at frames.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Uninspected {
    /// How many there were.
    pub count: u64,
    /// Whether it is so now.
    pub now: bool,
    /// Who forwards then.
    pub fallback: String,
    /// Whether it stays so before somebody says otherwise.
    pub held: bool,
}

/// Who is known, in numbers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Addresses of which it is known whose they are.
    pub addresses: u64,
    /// Addresses that belong to a group.
    pub members: u64,
    /// Sessions of people who are logged in.
    pub sessions: u64,
    /// Receipts of notices.
    pub receipts: u64,
    /// What came in by RADIUS, where somebody listens to it.
    pub radius: Option<Radius>,
}

/// RADIUS accounting since the control process started.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Radius {
    /// Requests that were taken.
    pub taken: u64,
    /// What they did.
    pub effects: Vec<Count>,
    /// Packets that were dropped, by reason.
    pub refused: Vec<Count>,
}

impl Radius {
    /// How many requests did this.
    pub fn effect(&self, name: &str) -> u64 {
        self.effects.iter().find(|count| count.name == name).map_or(0, |count| count.count)
    }
}

/// A process of the gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Process {
    /// `guard`, `dataplane` or `control`.
    pub name: String,
    /// Its id while there is one.
    pub pid: Option<u32>,
    /// `up` when it works.
    pub state: String,
}

/// An lcore of the gateway.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Lcore {
    /// Flows that it knows now.
    pub flows_active: u64,
    /// Flows that it has room for.
    pub flows_capacity: u64,
    /// Panics over frames that ended with them.
    pub panics: u64,
}

/// A port of the gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Port {
    /// `lan` or `uplink`.
    pub name: String,
    /// What drives it.
    pub driver: String,
    /// Frames that came in.
    pub rx_frames: u64,
    /// Frames that went out.
    pub tx_frames: u64,
    /// Frames lost before the gateway had them.
    pub rx_missed: u64,
    /// Frames dropped by a rule.
    pub drop_policy: u64,
    /// Frames made by the gateway that went out.
    pub answers: u64,
    /// Frames dropped because they were over a limit.
    pub drop_limit: u64,
    /// Frames dropped because the other port took no more.
    pub drop_tx_full: u64,
    /// Frames that came in for the gateway itself.
    pub inband_taken: u64,
    /// Frames of the gateway itself that went out.
    pub inband_sent: u64,
}

/// The gateway's own address on its ports.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Inband {
    /// Frames for it that it was not given, by reason.
    pub refused: Vec<Count>,
    /// Flows to it that were not opened or kept, by reason.
    pub turned_away: Vec<Count>,
}

/// A number with its word.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Count {
    /// The word.
    pub name: String,
    /// The number.
    pub count: u64,
}

/// Flows of a service or category.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Aggregate {
    /// The service or category.
    pub name: String,
    /// The category.
    pub category: String,
    /// How many.
    pub flows: u64,
}

/// Whether the fast path uses what it was given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Lcores that acknowledged the verdicts.
    pub acknowledged: usize,
    /// All lcores.
    pub lcores: usize,
    /// Signatures in use.
    pub signatures: u64,
}

impl Now {
    /// Asks the gateway at `address` (`ip:port`).
    pub fn fetch(address: &str) -> Result<Self> {
        Self::fetch_with(address, TOKEN)
    }

    /// The same with a token that the gateway made.
    pub fn fetch_with(address: &str, token: &str) -> Result<Self> {
        let (_, text) = fetch_with(address, "/api/v1/now", token)?;
        let text = String::from_utf8_lossy(&text);
        serde_json::from_str(&text).with_context(|| format!("/api/v1/now is not what it should be:\n{text}"))
    }

    /// Whether everything runs: processes up, both ports open, verdicts acknowledged.
    pub fn is_ready(&self) -> bool {
        let up =
            |name: &str| self.processes.iter().any(|process| process.name == name && process.state == "up");
        let policy = &self.policy;
        up("dataplane")
            && up("control")
            && self.ports.len() == 2
            && policy.acknowledged == policy.lcores.max(1)
    }

    /// Flows by service.
    pub fn flows_by_service(&self) -> BTreeMap<&str, u64> {
        self.services.iter().map(|service| (service.name.as_str(), service.flows)).collect()
    }

    /// Flows by evidence.
    pub fn flows_by_evidence(&self) -> BTreeMap<&str, u64> {
        self.named.iter().map(|count| (count.name.as_str(), count.count)).collect()
    }

    /// Frames that the gateway knows it lost, whatever the reason.
    pub fn lost(&self) -> u64 {
        self.ports
            .iter()
            .map(|port| port.rx_missed + port.drop_policy + port.drop_limit + port.drop_tx_full)
            .sum()
    }
}

/// What the lab reads pages and data with: the token of a program that is an operator. It is good in the lab alone.
pub const TOKEN: &str = "the-lab-reads-with-this-token";

/// The file of the accounts of the lab's gateway: its own, and others.
pub fn accounts(others: &[serde_json::Value]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, TOKEN.as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let lab = serde_json::json!({ "name": "lab", "role": "operator", "token": hash });
    let accounts = [&[lab], others].concat();
    serde_json::json!({ "accounts": accounts }).to_string()
}

/// Fetches a page from the gateway; anything but 200 is an error.
pub fn get(address: &str, path: &str) -> Result<String> {
    fetch(address, path).map(|(_, body)| String::from_utf8_lossy(&body).into_owned())
}

/// The same with its media type.
pub fn fetch(address: &str, path: &str) -> Result<(String, Vec<u8>)> {
    fetch_with(address, path, TOKEN)
}

/// The same with a token that the gateway made.
pub fn fetch_with(address: &str, path: &str, token: &str) -> Result<(String, Vec<u8>)> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // The gateway made its certificate a moment ago: nobody can know it.
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .disable_verification(true);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(3)))
        // A proxy of the host knows nothing of the lab.
        .proxy(None)
        .tls_config(tls.build())
        .build()
        .into();
    let url = format!("https://{address}{path}");
    let asked = agent.get(&url).header("Authorization", format!("Bearer {token}")).call();
    let mut answer = asked.with_context(|| url.clone())?;
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    Ok((kind, answer.body_mut().read_to_vec().context(url)?))
}

/// What is recorded.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Recording {
    /// `none`, `aggregate` or `sealed`.
    pub level: String,
    /// In plain words: why it may be.
    pub basis: String,
}
