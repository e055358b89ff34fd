//! Counts of one span of time: by group, category and service, and what could not be seen.
//!
//! Bounded: at most [`MAX_CELLS`] cells. What comes beyond is counted under its category without a service, and the
//! number of such flows is kept, so that it can be said.

use std::collections::BTreeMap;

use crate::audit::{Counts, OnRecord, Volume};
use crate::category::Category;
use crate::flow_event::{EventKind, FlowEvent};
use crate::reason::Reason;
use crate::vocab::{Action, AppProto, Evidence, GroupId};

/// The most cells of one rollup.
pub const MAX_CELLS: usize = 65_536;

const EVIDENCE: usize = 8;
const APPS: usize = 8;
const _: () = {
    assert!((Evidence::Sni as usize) < EVIDENCE);
    assert!((AppProto::Dns as usize) < APPS);
};

/// What a cell counts. `service` is a number of the engine's own, `0` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellKey {
    /// The group.
    pub group: GroupId,
    /// The category, never a protected one.
    pub category: Category,
    /// The service.
    pub service: u32,
}

/// Counts of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Flows whose verdict was announced.
    pub flows: u64,
    /// Those of them that were blocked.
    pub blocked: u64,
    /// What they carried.
    pub volume: Volume,
    /// How often somebody came after a while without it, where people are told apart.
    pub visits: u64,
    /// Milliseconds in which somebody was active, likewise.
    pub active_ms: u64,
    evidence: [u64; EVIDENCE],
    apps: [u64; APPS],
    /// By reason; there once there is a flow without a name.
    reasons: Option<Box<[u64; Reason::SLOTS]>>,
}

/// Counts of a span of time.
#[derive(Clone, Debug)]
pub struct Rollup {
    cells: BTreeMap<CellKey, Cell>,
    /// Flows whose verdict was announced.
    pub flows: u64,
    /// Flows that were not looked at.
    pub not_looked_at: u64,
    /// Flows whose name was too weak a hint for a category about people.
    pub too_weak: u64,
    /// Flows that found no cell of their own.
    pub crowded_out: u64,
    evidence: [u64; EVIDENCE],
    reasons: [u64; Reason::SLOTS],
}

impl Default for Rollup {
    fn default() -> Self {
        Self::new()
    }
}

impl Rollup {
    /// Nothing counted yet.
    pub const fn new() -> Self {
        Self {
            cells: BTreeMap::new(),
            flows: 0,
            not_looked_at: 0,
            too_weak: 0,
            crowded_out: 0,
            evidence: [0; EVIDENCE],
            reasons: [0; Reason::SLOTS],
        }
    }

    /// Adds an event. A flow is counted by its [`EventKind::Decided`], volume by every event.
    pub fn add(&mut self, group: GroupId, category: OnRecord, service: u32, event: &FlowEvent) {
        let flows = u64::from(event.kind == EventKind::Decided);
        self.flows += flows;
        bump(&mut self.evidence, event.evidence as usize, flows);
        if let Some(reason) = event.reason {
            bump(&mut self.reasons, reason as usize, flows);
        }
        let mut key = CellKey { group, category: category.category(), service };
        if self.cells.len() >= MAX_CELLS && !self.cells.contains_key(&key) {
            self.crowded_out += flows;
            // One cell a category more than the bound, at most.
            key = CellKey { group: GroupId(0), service: 0, ..key };
        }
        self.cells.entry(key).or_default().add(event);
    }

    /// The cells, by group, category and service.
    pub fn cells(&self) -> impl Iterator<Item = (&CellKey, &Cell)> {
        self.cells.iter()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.not_looked_at == 0
    }

    /// Flows by how their name is known.
    pub fn evidence(&self) -> Counts {
        evidence_counts(&self.evidence)
    }

    /// Flows without a name, by reason.
    pub fn reasons(&self) -> Counts {
        let count = |reason: &Reason| (reason.as_str(), at(&self.reasons, *reason as usize));
        Counts(Reason::ALL.iter().map(count).collect())
    }
}

impl Cell {
    /// Adds what an event says.
    pub fn add(&mut self, event: &FlowEvent) {
        let flows = u64::from(event.kind == EventKind::Decided);
        self.flows += flows;
        self.blocked += flows * u64::from(event.action == Action::Block);
        self.volume.add(event);
        bump(&mut self.evidence, event.evidence as usize, flows);
        bump(&mut self.apps, event.app.map_or(0, |app| app as usize), flows);
        if let Some(reason) = event.reason.filter(|_| flows > 0) {
            let reasons = self.reasons.get_or_insert_with(|| Box::new([0; Reason::SLOTS]));
            bump(reasons.as_mut_slice(), reason as usize, flows);
        }
    }

    /// Flows without a name, by reason.
    pub fn reasons(&self) -> Counts {
        let of =
            |reason: &Reason| self.reasons.as_ref().map_or(0, |all| at(all.as_slice(), *reason as usize));
        Counts(Reason::ALL.iter().map(|reason| (reason.as_str(), of(reason))).collect())
    }

    /// Flows by how their name is known.
    pub fn evidence(&self) -> Counts {
        evidence_counts(&self.evidence)
    }

    /// Flows by protocol; flows of no protocol that is known are left out.
    pub fn apps(&self) -> Counts {
        let count = |app: &AppProto| (app.as_str(), at(&self.apps, *app as usize));
        Counts(AppProto::ALL.iter().map(count).collect())
    }

    /// Adds the counts of another cell.
    pub fn merge(&mut self, other: &Self) {
        self.flows += other.flows;
        self.blocked += other.blocked;
        self.volume.merge(&other.volume);
        self.visits += other.visits;
        self.active_ms = self.active_ms.saturating_add(other.active_ms);
        self.evidence.iter_mut().zip(other.evidence).for_each(|(a, b)| *a += b);
        self.apps.iter_mut().zip(other.apps).for_each(|(a, b)| *a += b);
        if let Some(theirs) = &other.reasons {
            let mine = self.reasons.get_or_insert_with(|| Box::new([0; Reason::SLOTS]));
            mine.iter_mut().zip(theirs.iter()).for_each(|(a, b)| *a += b);
        }
    }
}

impl Volume {
    /// Adds what an event says.
    fn add(&mut self, event: &FlowEvent) {
        self.merge(&Self {
            pkts_toserver: event.frames_up.into(),
            pkts_toclient: event.frames_down.into(),
            bytes_toserver: event.bytes_up,
            bytes_toclient: event.bytes_down,
        });
    }

    /// Saturating: events come from a producer that is not trusted.
    fn merge(&mut self, other: &Self) {
        self.pkts_toserver = self.pkts_toserver.saturating_add(other.pkts_toserver);
        self.pkts_toclient = self.pkts_toclient.saturating_add(other.pkts_toclient);
        self.bytes_toserver = self.bytes_toserver.saturating_add(other.bytes_toserver);
        self.bytes_toclient = self.bytes_toclient.saturating_add(other.bytes_toclient);
    }
}

fn evidence_counts(counts: &[u64; EVIDENCE]) -> Counts {
    Counts(Evidence::ALL.iter().map(|e| (e.as_str(), at(counts, *e as usize))).collect())
}

fn bump(counts: &mut [u64], i: usize, n: u64) {
    if let Some(count) = counts.get_mut(i) {
        *count += n;
    }
}

fn at(counts: &[u64], i: usize) -> u64 {
    counts.get(i).copied().unwrap_or_default()
}
