//! The slow path: one thread that empties the rings, keeps verdicts fresh and says how things are.

use super::Command;
use super::history::History;
use super::policy::{HandedOut, InForce};
use super::report::{Sources, wall_clock};
use super::snapshot::Snapshot;
use super::tally::Tally;
use crate::clock::mono_ns;
use crate::config::Config;
use crate::ipc::Channel;
use crate::messages::World;
use anyhow::Result;
use glassgate_dataplane::event_ring::{Consumer, EventRing};
use glassgate_dataplane::stats_page::StatsPage;
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
const PUBLISH: Duration = Duration::from_millis(250);
/// How long to wait before verdicts that could not be handed out are tried again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct SlowPath {
    config: Config,
    started_ns: u64,
    consumers: Vec<Consumer>,
    lcores: Vec<(EventRing, StatsPage)>,
    guard: Channel,
    publish: watch::Sender<Arc<Snapshot>>,
    /// What confines this process.
    confinement: String,
    world: World,
    history: History,
    tally: Tally,
    in_force: Option<InForce>,
    handed_out: Option<HandedOut>,
    last_epoch: u64,
    renew_at: Instant,
    loaded: String,
    rejected: Option<String>,
}

impl SlowPath {
    pub(super) fn new(
        config: Config,
        last_epoch: u64,
        lcores: Vec<(EventRing, StatsPage)>,
        guard: Channel,
        publish: watch::Sender<Arc<Snapshot>>,
        confinement: String,
    ) -> Self {
        Self {
            config,
            started_ns: mono_ns(),
            consumers: lcores.iter().map(|(ring, _)| ring.consumer()).collect(),
            lcores,
            guard,
            publish,
            confinement,
            world: World::default(),
            history: History::default(),
            tally: Tally::default(),
            in_force: None,
            handed_out: None,
            last_epoch,
            renew_at: Instant::now(),
            loaded: String::new(),
            rejected: None,
        }
    }

    /// Works until told to stop; then takes what is left in the rings.
    pub(super) fn run(&mut self, commands: &Receiver<Command>) -> Result<()> {
        match self.load() {
            Ok(what) => info!("{what}"),
            Err(why) => warn!("no verdicts, so everything is forwarded and nothing observed\n{why}"),
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
                Ok(Command::World(world)) => self.world = world,
                Ok(Command::Reload(answer)) => {
                    let outcome = self.load();
                    match &outcome {
                        Ok(what) => info!("reloaded: {what}"),
                        Err(why) => warn!("not reloaded, what was in force stays\n{why}"),
                    }
                    if let Some(answer) = answer {
                        // Whoever asked may have gone.
                        _ = answer.send(outcome);
                    }
                }
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => continue,
            }
            publish_at = now;
        }
        while self.drain() > 0 {}
        self.publish();
        Ok(())
    }

    fn drain(&mut self) -> usize {
        let table = self.in_force.as_ref().map(|policy| &policy.table);
        let tally = &mut self.tally;
        self.consumers.iter_mut().map(|ring| ring.drain(BATCH, |event| tally.add(&event, table))).sum()
    }

    /// Reads the files. If they are wrong, what was read before stays in force.
    fn load(&mut self) -> Result<String, String> {
        match InForce::load(&self.config.files) {
            Ok(in_force) => {
                let compiled = &in_force.compiled;
                let what = format!("{} signatures of {} services", compiled.signatures, compiled.services);
                if !compiled.warnings.is_empty() {
                    warn!("{}", compiled.warnings);
                }
                self.in_force = Some(in_force);
                self.rejected = None;
                self.loaded = wall_clock();
                self.renew(Instant::now());
                Ok(what)
            }
            Err(faults) => {
                let why = faults.to_string();
                self.rejected = Some(why.clone());
                Err(why)
            }
        }
    }

    /// Hands verdicts out again before they decay: three times within their time, so that two may fail.
    fn renew(&mut self, now: Instant) {
        self.renew_at = now + self.config.valid_for / 3;
        let Some(in_force) = &self.in_force else { return };
        let epoch = self.last_epoch + 1;
        match in_force.hand_out(&self.guard, epoch, self.config.valid_for) {
            Ok(handed_out) => {
                self.last_epoch = epoch;
                self.handed_out = Some(handed_out);
            }
            Err(e) => {
                warn!("verdicts could not be renewed, trying again: {e:#}");
                self.renew_at = now + RETRY;
            }
        }
    }

    fn publish(&mut self) {
        let sources = Sources {
            config: &self.config,
            now_ns: mono_ns(),
            started_ns: self.started_ns,
            lcores: &self.lcores,
            confinement: &self.confinement,
            world: &self.world,
            tally: &self.tally,
            compiled: self.in_force.as_ref().map(|policy| &policy.compiled),
            handed_out: self.handed_out.as_ref(),
            loaded: &self.loaded,
            rejected: self.rejected.as_deref(),
        };
        let snapshot = sources.snapshot(&mut self.history);
        self.publish.send_replace(Arc::new(snapshot));
    }
}
