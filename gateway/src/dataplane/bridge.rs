//! The loop that an lcore runs.

use super::policy_slot::PolicySlot;
use crate::clock::mono_ns;
use crate::config::Dataplane;
use glassgate_dataplane::event_ring::Producer;
use glassgate_dataplane::port::{Burst, Frame as _, Port};
use glassgate_dataplane::stats_page::{LcoreStats, StatsWriter};
use glassgate_policy::matrix::MatrixHash;
use glassgate_policy::{Verdict, VerdictMatrix};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How often a burst is offered to a port that does not take all of it.
const TX_TRIES: usize = 64;
/// Turns without a frame before an lcore that may sleep does.
const IDLE_TURNS: u32 = 256;
/// Nanoseconds between two copies of the counters.
const PUBLISH_NS: u64 = 2_000_000;

/// What the lcores decide by.
#[derive(Debug)]
pub(super) struct Verdicts {
    pub(super) matrix: Arc<VerdictMatrix>,
    pub(super) hash: MatrixHash,
}

impl Verdicts {
    /// Before the first policy: forward, observe nothing.
    pub(super) fn none() -> Self {
        let matrix = VerdictMatrix::uniform(0, Verdict::FAIL_OPEN);
        Self { hash: [0; 32], matrix: Arc::new(matrix) }
    }
}

/// Two ports and the lcore between them.
pub(super) struct Bridge<P: Port> {
    ports: [P; 2],
    burst: Burst<P::Frame>,
    _events: Producer,
    page: StatsWriter,
    stats: LcoreStats,
    idle_sleep: Duration,
}

impl<P: Port> Bridge<P> {
    pub(super) fn new(ports: [P; 2], events: Producer, page: StatsWriter, settings: &Dataplane) -> Self {
        let stats = LcoreStats { started_ns: mono_ns(), ..LcoreStats::default() };
        Self { ports, burst: Burst::default(), _events: events, page, stats, idle_sleep: settings.idle_sleep }
    }

    pub(super) fn run(mut self, policy: &PolicySlot<Verdicts>, stop: &AtomicBool) {
        let (mut seen, mut idle, mut published) = (0, 0u32, 0u64);
        while !stop.load(Ordering::Relaxed) {
            if let Some(verdicts) = policy.newer(&mut seen) {
                let (epoch, until) = (verdicts.matrix.epoch(), verdicts.matrix.valid_until_ns());
                self.stats.acknowledge_matrix(epoch, until, &verdicts.hash);
                published = 0;
            }
            let frames = self.pass(0) + self.pass(1);
            self.page.tick();
            self.stats.turns += 1;
            let now = mono_ns();
            if now.saturating_sub(published) > PUBLISH_NS {
                published = now;
                self.publish(now);
            }
            if frames > 0 {
                idle = 0;
                continue;
            }
            self.stats.idle_turns += 1;
            idle = idle.saturating_add(1);
            if idle > IDLE_TURNS && !self.idle_sleep.is_zero() {
                thread::sleep(self.idle_sleep);
            }
        }
        self.publish(mono_ns());
    }

    fn publish(&mut self, now: u64) {
        self.stats.mono_ns = now;
        self.page.publish(&self.stats);
    }

    fn pass(&mut self, from: usize) -> usize {
        let [lan, uplink] = &mut self.ports;
        let (rx, tx) = if from == 0 { (lan, uplink) } else { (uplink, lan) };
        let got = rx.rx_burst(&mut self.burst);
        if got == 0 {
            return 0;
        }
        let bytes = |burst: &Burst<P::Frame>| burst.iter().map(|f| f.wire_len() as u64).sum::<u64>();
        let received = bytes(&self.burst);
        for _ in 0..TX_TRIES {
            if self.burst.is_empty() {
                break;
            }
            tx.tx_burst(&mut self.burst);
        }
        let (left, left_bytes) = (self.burst.len() as u64, bytes(&self.burst));
        self.burst.drain().for_each(drop);
        let [lan, uplink] = &mut self.stats.ports;
        let (rx, tx) = if from == 0 { (lan, uplink) } else { (uplink, lan) };
        rx.rx_frames += got as u64;
        rx.rx_bytes += received;
        tx.tx_frames += got as u64 - left;
        tx.tx_bytes += received - left_bytes;
        tx.drop_tx_full += left;
        got
    }
}
