//! The slow path: one thread that empties the rings, keeps verdicts fresh and says how things are.

use super::Command;
use super::history::{History, Totals};
use super::policy::{self, Compiled, HandedOut};
use super::snapshot::{
    Aggregate, Count, EventsNow, FlowsNow, LcoreNow, Outages, PolicyNow, PortNow, Recording, Snapshot,
};
use crate::clock::mono_ns;
use crate::config::Config;
use crate::ipc::Channel;
use crate::messages::{PortInfo, World};
use anyhow::Result;
use glassgate_dataplane::event_ring::{Consumer, EventRing};
use glassgate_dataplane::stats_page::{LcoreStats, Reading, StatsPage, hash_words};
use glassgate_policy::flow_event::EventKind;
use glassgate_policy::{Category, Evidence, FlowEvent, Reason};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{info, warn};

/// Events taken from one ring before the next one has its turn.
const BATCH: usize = 1024;
/// How long the thread sleeps when all rings are empty: much less than it takes to fill one.
const NAP: Duration = Duration::from_millis(5);
/// How often it says how things are.
const PUBLISH: Duration = Duration::from_millis(500);

pub(super) struct SlowPath {
    config: Config,
    started_ns: u64,
    consumers: Vec<Consumer>,
    lcores: Vec<(EventRing, StatsPage)>,
    guard: Channel,
    publish: watch::Sender<Arc<Snapshot>>,
    world: World,
    history: History,
    compiled: Option<Compiled>,
    handed_out: Option<HandedOut>,
    last_epoch: u64,
    renew_at: Instant,
    loaded: String,
    rejected: Option<String>,
    received: u64,
}

impl SlowPath {
    pub(super) fn new(
        config: &Config,
        _path: &Path,
        last_epoch: u64,
        lcores: Vec<(EventRing, StatsPage)>,
        guard: Channel,
        publish: watch::Sender<Arc<Snapshot>>,
    ) -> Result<Self> {
        Ok(Self {
            config: config.clone(),
            started_ns: mono_ns(),
            consumers: lcores.iter().map(|(ring, _)| ring.consumer()).collect(),
            lcores,
            guard,
            publish,
            world: World::default(),
            history: History::default(),
            compiled: None,
            handed_out: None,
            last_epoch,
            renew_at: Instant::now(),
            loaded: String::new(),
            rejected: None,
            received: 0,
        })
    }

    /// Works until told to stop; then takes what is left in the rings.
    pub(super) fn run(&mut self, commands: &Receiver<Command>) -> Result<()> {
        if let Err(why) = self.load() {
            warn!("no verdicts: everything is forwarded, nothing observed\n{why}");
        }
        let mut publish_at = Instant::now();
        loop {
            let taken = self.drain();
            let now = Instant::now();
            if now >= self.renew_at {
                self.renew(now);
            }
            if now >= publish_at {
                publish_at = now + PUBLISH;
                self.publish();
            }
            let nap = if taken > 0 { Duration::ZERO } else { NAP };
            match commands.recv_timeout(nap) {
                Ok(Command::World(world)) => {
                    self.world = world;
                    publish_at = now;
                }
                Ok(Command::Reload(answer)) => {
                    let outcome = self.load();
                    match &outcome {
                        Ok(what) => info!("reloaded: {what}"),
                        Err(why) => warn!("not reloaded, what was loaded before stays\n{why}"),
                    }
                    if let Some(answer) = answer {
                        // Whoever asked may have gone.
                        _ = answer.send(outcome);
                    }
                    publish_at = now;
                }
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        while self.drain() > 0 {}
        self.publish();
        Ok(())
    }

    fn drain(&mut self) -> usize {
        let mut taken = 0;
        let mut received = 0;
        for consumer in &mut self.consumers {
            taken += consumer.drain(BATCH, |_event: FlowEvent| received += 1);
        }
        self.received += received;
        taken
    }

    /// Reads the files. If they are wrong, what was read before stays in force.
    fn load(&mut self) -> Result<String, String> {
        match policy::compile(&self.config.files) {
            Ok(compiled) => {
                self.compiled = Some(compiled);
                self.rejected = None;
                self.loaded = wall_clock();
                self.renew(Instant::now());
                Ok("rules and signatures".to_owned())
            }
            Err(why) => {
                self.rejected = Some(why.clone());
                Err(why)
            }
        }
    }

    /// Hands verdicts out again before they decay: three times within their time, so that two may fail.
    fn renew(&mut self, now: Instant) {
        self.renew_at = now + self.config.valid_for / 3;
        let Some(compiled) = &self.compiled else { return };
        let epoch = self.last_epoch + 1;
        match compiled.hand_out(&self.guard, epoch, self.config.valid_for) {
            Ok(handed_out) => {
                self.last_epoch = epoch;
                self.handed_out = Some(handed_out);
            }
            Err(e) => {
                warn!("verdicts could not be renewed, trying again: {e:#}");
                self.renew_at = now + Duration::from_secs(1);
            }
        }
    }

    fn publish(&mut self) {
        let snapshot = self.snapshot();
        self.publish.send_replace(Arc::new(snapshot));
    }

    fn snapshot(&mut self) -> Snapshot {
        let now_ns = mono_ns();
        let readings: Vec<Reading> = self.lcores.iter().map(|(_, page)| page.read()).collect();
        let sum = Sum::of(&readings);
        self.history.note(sum.totals(now_ns));
        let rates = self.history.rates();
        let lcores = self.lcores_now(&readings, now_ns);
        let ports = (0..2)
            .map(|i| {
                let info = self.world.ports.get(i).cloned().unwrap_or_else(|| self.missing_port(i));
                let stats = sum.ports[i];
                PortNow {
                    info,
                    rx_frames: stats.rx_frames,
                    rx_bytes: stats.rx_bytes,
                    tx_frames: stats.tx_frames,
                    tx_bytes: stats.tx_bytes,
                    rx_missed: stats.rx_missed,
                    drop_policy: stats.drop_policy,
                    drop_tx_full: stats.drop_tx_full,
                    rx_frames_per_s: rates.rx_frames[i],
                    rx_bits_per_s: rates.rx_bits[i],
                    tx_frames_per_s: rates.tx_frames[i],
                    tx_bits_per_s: rates.tx_bits[i],
                }
            })
            .collect();
        let policy = self.policy_now(&lcores, now_ns);
        let mut snapshot = Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: wall_clock(),
            uptime_ms: now_ns.saturating_sub(self.guard_start()) / 1_000_000,
            troubles: Vec::new(),
            recording: recording(&policy),
            processes: self.world.processes.clone(),
            outages: Outages { count: self.world.outages, total_ms: self.world.outage_ms },
            confinement: self.world.confinement.clone(),
            ports,
            flows: FlowsNow {
                active: sum.stats.flows_active,
                capacity: sum.stats.flows_capacity,
                opened: sum.stats.flows_created,
                opened_per_s: rates.flows,
            },
            named: counts(Evidence::ALL.iter().map(|e| (e.as_str(), sum.stats.named[*e as usize]))),
            unnamed: counts(Reason::ALL.iter().map(|r| (r.as_str(), sum.stats.unnamed[*r as usize]))),
            categories: categories(&sum.stats),
            services: Vec::new(),
            events: self.events_now(),
            history: self.history.points(),
            lcores,
            policy,
        };
        snapshot.troubles = troubles(&snapshot);
        snapshot
    }

    fn guard_start(&self) -> u64 {
        let guard = self.world.processes.iter().find(|p| p.name == "guard");
        guard.map_or(self.started_ns, |g| g.since_ns)
    }

    fn missing_port(&self, i: usize) -> PortInfo {
        let device = if i == 0 { &self.config.ports.lan } else { &self.config.ports.uplink };
        PortInfo {
            name: if i == 0 { "lan" } else { "uplink" }.to_owned(),
            device: device.as_ref().map(ToString::to_string).unwrap_or_default(),
            driver: "closed".to_owned(),
            mac: None,
        }
    }

    fn lcores_now(&self, readings: &[Reading], now_ns: u64) -> Vec<LcoreNow> {
        let expected = self.handed_out.as_ref().map(|h| hash_words(&h.hash));
        let lcores = readings.iter().zip(&self.lcores).zip(&self.config.dataplane.lcores);
        lcores
            .map(|((reading, (ring, _)), cpu)| {
                let (stats, waiting) = (&reading.stats, ring.watch());
                LcoreNow {
                    cpu: *cpu,
                    seen_ms_ago: now_ns.saturating_sub(stats.mono_ns) / 1_000_000,
                    load: 1.0 - stats.idle_turns as f64 / stats.turns.max(1) as f64,
                    turns: stats.turns,
                    flows_active: stats.flows_active,
                    flows_capacity: stats.flows_capacity,
                    panics: stats.panics,
                    epoch: stats.matrix_epoch,
                    acknowledged: expected == Some(stats.matrix_hash),
                    ring_capacity: ring.capacity() as u64,
                    ring_fill: waiting.sent.wrapping_sub(waiting.received).min(ring.capacity() as u64),
                }
            })
            .collect()
    }

    fn policy_now(&self, lcores: &[LcoreNow], now_ns: u64) -> PolicyNow {
        let out = self.handed_out.as_ref();
        PolicyNow {
            epoch: out.map_or(0, |o| o.epoch),
            matrix_hash: out.map(|o| hex(&o.hash)).unwrap_or_default(),
            table_hash: out.map(|o| hex(&o.table_hash)).unwrap_or_default(),
            acknowledged: lcores.iter().filter(|l| l.acknowledged).count(),
            lcores: lcores.len(),
            valid_for_s: out.map_or(0.0, |o| o.valid_until_ns.saturating_sub(now_ns) as f64 / 1e9),
            services: 0,
            signatures: 0,
            rules: 0,
            loaded: self.loaded.clone(),
            rejected: self.rejected.clone(),
            refused: self.world.refused.clone(),
        }
    }

    fn events_now(&self) -> EventsNow {
        let mut lost = [0u64; EventKind::ALL.len()];
        let mut bad = 0;
        for (ring, _) in &self.lcores {
            let counters = ring.watch();
            lost.iter_mut().zip(counters.lost).for_each(|(sum, n)| *sum += n);
            bad += counters.bad_events + counters.bad_indices;
        }
        let lost = EventKind::ALL.iter().zip(lost);
        EventsNow {
            received: self.received,
            lost: lost.map(|(kind, count)| Count { name: kind.as_str().to_owned(), count }).collect(),
            bad,
            records: 0,
        }
    }
}

/// What all lcores counted together.
struct Sum {
    stats: LcoreStats,
    ports: [glassgate_dataplane::stats_page::PortStats; 2],
}

impl Sum {
    fn of(readings: &[Reading]) -> Self {
        let mut stats = LcoreStats::default();
        for reading in readings {
            stats.add(&reading.stats);
        }
        Self { ports: stats.ports, stats }
    }

    fn totals(&self, mono_ns: u64) -> Totals {
        let port = |of: fn(&glassgate_dataplane::stats_page::PortStats) -> u64| self.ports.each_ref().map(of);
        Totals {
            mono_ns,
            rx_frames: port(|p| p.rx_frames),
            rx_bytes: port(|p| p.rx_bytes),
            tx_frames: port(|p| p.tx_frames),
            tx_bytes: port(|p| p.tx_bytes),
            drops: self.ports.iter().map(|p| p.drop_policy + p.drop_tx_full + p.rx_missed).sum(),
            flows: self.stats.flows_created,
        }
    }
}

/// Words with a count that is not zero, greatest first.
fn counts<'a>(all: impl Iterator<Item = (&'a str, u64)>) -> Vec<Count> {
    let mut counts: Vec<Count> = all
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| Count { name: name.to_owned(), count })
        .collect();
    counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    counts
}

fn categories(stats: &LcoreStats) -> Vec<Aggregate> {
    let mut all: Vec<Aggregate> = Category::ALL
        .iter()
        .filter(|category| !category.is_protected())
        .map(|category| {
            let counted = stats.categories[*category as usize];
            Aggregate {
                name: category.as_str().to_owned(),
                category: category.as_str().to_owned(),
                flows: counted.flows,
                bytes_up: counted.bytes_up,
                bytes_down: counted.bytes_down,
            }
        })
        .filter(|a| a.flows > 0)
        .collect();
    all.sort_by(|a, b| b.flows.cmp(&a.flows).then_with(|| a.name.cmp(&b.name)));
    all
}

/// What is recorded, from what is in force.
fn recording(policy: &PolicyNow) -> Recording {
    let level = if policy.acknowledged == 0 { "none" } else { "aggregate" };
    Recording {
        level: level.to_owned(),
        what: match level {
            "none" => {
                "Nothing about anybody: no verdicts are in force, flows are only counted by the fast path."
            }
            _ => "Counts per service and category. No names, no addresses, no devices, no people.",
        }
        .to_owned(),
        basis: "No charter is loaded, so nothing beyond counts may be recorded.".to_owned(),
    }
}

/// Everything that does not work, for people.
fn troubles(now: &Snapshot) -> Vec<String> {
    let mut troubles = Vec::new();
    for process in now.processes.iter().filter(|p| p.state != "up") {
        troubles.push(match &process.last_end {
            Some(end) => format!("{} is {}: {end}", process.name, process.state),
            None => format!("{} is {}", process.name, process.state),
        });
    }
    for lcore in now.lcores.iter().filter(|l| l.seen_ms_ago > 2000) {
        troubles
            .push(format!("the lcore on CPU {} has shown no sign for {} ms", lcore.cpu, lcore.seen_ms_ago));
    }
    if let Some(rejected) = &now.policy.rejected {
        let first = rejected.lines().next().unwrap_or_default();
        troubles
            .push(format!("rules or signatures on disk were not taken, older ones are in force: {first}"));
    }
    if let Some(refused) = &now.policy.refused {
        troubles.push(format!("the data plane refused a policy: {refused}"));
    }
    if now.policy.acknowledged < now.policy.lcores && now.policy.epoch > 0 {
        troubles.push(format!(
            "{} of {} lcores use the current verdicts",
            now.policy.acknowledged, now.policy.lcores
        ));
    }
    troubles
}

fn wall_clock() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
