//! What an lcore does, turn after turn: frames, progress, policy, counters.

use super::policy_slot::PolicySlot;
use crate::clock::mono_ns;
use crate::config::Dataplane;
use glassgate_dataplane::classifier::{Classifier, FlowSink, Options, Policy};
use glassgate_dataplane::counters::LcoreCounters;
use glassgate_dataplane::distributor::Distributor;
use glassgate_dataplane::event_ring::Producer;
use glassgate_dataplane::inband::InBand;
use glassgate_dataplane::lcore::Lcore;
use glassgate_dataplane::limiter::Limiters;
use glassgate_dataplane::notice::Shown;
use glassgate_dataplane::port::Port;
use glassgate_dataplane::stats_page::{LcoreState, StatsWriter};
use glassgate_policy::FlowEvent;
use glassgate_policy::identity::IdentityEvent;
use glassgate_policy::matrix::MatrixHash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tracing::warn;

/// Turns without a frame before an lcore that may sleep does.
const IDLE_TURNS: u32 = 256;
/// Nanoseconds between two copies of the counters.
const PUBLISH_NS: u64 = 2_000_000;

/// How long what is under way may take to leave when the lcores are told to stop.
const LEAVE_NS: u64 = 300_000_000;

/// Where the frames of an lcore come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// From a queue of its own.
    Port,
    /// From the lcore that distributes: what it has handed on already is forwarded before the end.
    Distributor,
}

/// What nobody outside may know, and what lcores share by it.
pub(super) struct Secrets {
    /// Of the hashes of this lcore.
    pub(super) own: [u64; 4],
    pub(super) limiters: Limiters,
    /// Who was shown a notice.
    pub(super) shown: Shown,
}

/// What the lcores decide by, and the hash by which they acknowledge it.
#[derive(Clone)]
pub(super) struct Verdicts {
    pub(super) policy: Policy,
    /// All zero before the first policy.
    pub(super) hash: MatrixHash,
}

/// Sends the events of an lcore to the slow path.
struct RingSink(Producer);

impl FlowSink for RingSink {
    const SUMMARIES: bool = false;

    fn event(&mut self, event: &FlowEvent) -> bool {
        self.0.push(*event)
    }

    fn identity(&mut self, event: &IdentityEvent) -> bool {
        self.0.push_identity(*event)
    }
}

/// One lcore: its ports, its flows, its ring, its page.
pub(super) struct LcoreLoop<P: Port> {
    lcore: Lcore<P, RingSink>,
    page: StatsWriter,
    state: LcoreState,
    idle_sleep: Duration,
}

impl<P: Port> LcoreLoop<P> {
    /// Takes all memory that the lcore will ever need.
    pub(super) fn new(
        ports: [P; 2],
        events: Producer,
        page: StatsWriter,
        settings: &Dataplane,
        verdicts: &Verdicts,
        secrets: Secrets,
    ) -> Self {
        let (flows, slab) = (settings.flows, settings.inspections);
        let Secrets { own: secret, limiters, shown } = secrets;
        let options = Options {
            flows,
            slab,
            secret,
            limiters,
            answers: true,
            shown,
            contain_panics: true,
            ..Options::default()
        };
        let now = mono_ns();
        let classifier = Classifier::new(options, verdicts.policy.clone(), RingSink(events), now);
        let state = LcoreState {
            started_ns: now,
            flows_capacity: classifier.flow_capacity() as u64,
            slab_capacity: classifier.slab_fill().1 as u64,
            ..LcoreState::default()
        };
        let [lan, uplink] = ports;
        Self { lcore: Lcore::new(lan, uplink, classifier), page, state, idle_sleep: settings.idle_sleep }
    }

    /// The same lcore, where the gateway has an address on its ports.
    pub(super) fn with_inband(self, inband: Option<Box<InBand<P::Frame>>>) -> Self {
        Self { lcore: self.lcore.with_inband(inband), ..self }
    }

    /// Turns until told to stop; then ends all flows, so that their last counts reach the slow path. Gives the ports
    /// back.
    pub(super) fn run(mut self, policy: &PolicySlot<Verdicts>, stop: &AtomicBool, behind: Behind) -> [P; 2] {
        let (mut seen, mut idle, mut published) = (0, 0u32, 0u64);
        while !stop.load(Ordering::Relaxed) {
            if let Some(verdicts) = policy.newer(&mut seen) {
                self.take_policy(&verdicts);
                published = 0;
            }
            let now = mono_ns();
            let turn = self.lcore.turn(now);
            self.page.tick();
            self.state.turns += 1;
            if now.saturating_sub(published) > PUBLISH_NS {
                published = now;
                self.publish(now);
            }
            if turn.frames > 0 {
                idle = 0;
                continue;
            }
            self.state.idle_turns += 1;
            rest(&mut idle, self.idle_sleep);
        }
        let until = mono_ns().saturating_add(LEAVE_NS);
        let mut over = behind == Behind::Port;
        while !over {
            let now = mono_ns();
            over = self.lcore.turn(now).exhausted || now > until;
        }
        self.lcore.classifier().finish();
        self.publish(mono_ns());
        self.lcore.into_parts().0
    }

    fn take_policy(&mut self, verdicts: &Verdicts) {
        self.lcore.classifier().set_policy(verdicts.policy.clone());
        acknowledge(&mut self.state, verdicts);
    }

    fn publish(&mut self, now: u64) {
        let classifier = self.lcore.classifier();
        self.state.mono_ns = now;
        self.state.flows_active = classifier.flows() as u64;
        self.state.slab_used = classifier.slab_fill().0 as u64;
        self.page.publish(&self.state, self.lcore.counters());
    }
}

/// The lcore that receives and sends for others: its ports, and a page that says it is alive. It decides nothing; that it
/// acknowledges what is in force keeps "all lcores" true of it too.
pub(super) struct DistributorLoop<P: Port> {
    distributor: Distributor<P>,
    page: StatsWriter,
    state: LcoreState,
    idle_sleep: Duration,
}

impl<P: Port> DistributorLoop<P> {
    pub(super) fn new(distributor: Distributor<P>, page: StatsWriter, settings: &Dataplane) -> Self {
        let state = LcoreState { started_ns: mono_ns(), ..LcoreState::default() };
        Self { distributor, page, state, idle_sleep: settings.idle_sleep }
    }

    /// Turns until told to stop, and then until the other lcores have ended and what they sent has left; a port that takes nothing
    /// more doesn't hold that up for long. Gives the ports back.
    pub(super) fn run(mut self, policy: &PolicySlot<Verdicts>, stop: &AtomicBool) -> [Vec<P>; 2] {
        let (mut seen, mut idle, mut published) = (0, 0u32, 0u64);
        while !stop.load(Ordering::Relaxed) {
            if let Some(verdicts) = policy.newer(&mut seen) {
                acknowledge(&mut self.state, &verdicts);
                published = 0;
            }
            let moved = self.distributor.turn();
            self.page.tick();
            self.state.turns += 1;
            let now = mono_ns();
            if now.saturating_sub(published) > PUBLISH_NS {
                published = now;
                self.publish(now);
            }
            if moved.received + moved.sent > 0 {
                idle = 0;
                continue;
            }
            self.state.idle_turns += 1;
            rest(&mut idle, self.idle_sleep);
        }
        self.distributor.end();
        // Longer than the others may take: what they send last leaves too.
        let until = mono_ns().saturating_add(2 * LEAVE_NS);
        while !self.distributor.is_done() {
            if mono_ns() > until {
                let frames = self.distributor.frames();
                warn!(frames, "an lcore or a port did not end in time: what it had not taken is discarded");
                break;
            }
            if self.distributor.drain() == 0 {
                thread::yield_now();
            }
        }
        self.publish(mono_ns());
        self.distributor.into_ports()
    }

    fn publish(&mut self, now: u64) {
        self.distributor.publish();
        self.state.mono_ns = now;
        // Frames are counted by the lcores that decide on them.
        self.page.publish(&self.state, &LcoreCounters::default());
    }
}

fn acknowledge(state: &mut LcoreState, verdicts: &Verdicts) {
    let Verdicts { policy, hash } = verdicts;
    state.acknowledge_matrix(policy.matrix.epoch(), policy.matrix.valid_until_ns(), hash);
    state.acknowledge_table(&policy.table.hash());
}

/// One more turn without a frame: sleeps when there were many, if lcores may.
fn rest(idle: &mut u32, idle_sleep: Duration) {
    *idle = idle.saturating_add(1);
    if *idle > IDLE_TURNS && !idle_sleep.is_zero() {
        thread::sleep(idle_sleep);
    }
}
