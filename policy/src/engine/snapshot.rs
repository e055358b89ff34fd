//! What the page, the API and the metrics show: counts only, all of it serializable.

use jiff::Timestamp;
use serde::Serialize;

use super::{Counters, Engine};
use crate::audit::{Counts, Now, Volume, Window};
use crate::category::Category;
use crate::flow_event::{EventKind, FlowEvent};
use crate::rollup::{Cell, Rollup};
use crate::rules::{Rule, State};

/// Everything since the engine began, and the hours before.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// What the engine saw.
    pub counters: Counters,
    /// All flows.
    pub all: Totals,
    /// Flows that were not looked at.
    pub not_looked_at: u64,
    /// Flows whose name was too weak a hint for a category about people.
    pub too_weak: u64,
    /// Flows by how their name is known.
    pub evidence: Counts,
    /// Flows without a name, by reason: the blindness meter.
    pub reasons: Counts,
    /// By category, most flows first.
    pub categories: Vec<CategoryTotals>,
    /// By service, most flows first.
    pub services: Vec<ServiceTotals>,
    /// Hours that are over, oldest first.
    pub hours: Vec<Hour>,
    /// Rules, in order.
    pub rules: Vec<RuleHits>,
}

/// Sums of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Flows.
    pub flows: u64,
    /// Those of them that were blocked.
    pub flows_blocked: u64,
    /// What they carried.
    #[serde(flatten)]
    pub volume: Volume,
}

/// Sums of a category.
#[derive(Clone, Debug, Serialize)]
pub struct CategoryTotals {
    /// The category.
    pub category: &'static str,
    /// Its sums.
    #[serde(flatten)]
    pub totals: Totals,
    /// Its flows by how their name is known.
    pub evidence: Counts,
}

/// Sums of a service.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceTotals {
    /// Key of the service.
    pub service: String,
    /// What people call it, if the table in force knows it.
    pub title: Option<String>,
    /// Its category.
    pub category: &'static str,
    /// Its sums.
    #[serde(flatten)]
    pub totals: Totals,
}

/// An hour that is over.
#[derive(Clone, Debug, Serialize)]
pub struct Hour {
    /// When.
    #[serde(flatten)]
    pub window: Window,
    /// All flows.
    pub flows: u64,
    /// Flows that were not looked at.
    pub not_looked_at: u64,
    /// Flows without a name.
    pub unnamed: u64,
    /// Flows by category.
    pub categories: Counts,
}

/// What a rule did since it has been as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleHits {
    /// Its name.
    pub rule: String,
    /// Whether it acts.
    pub enforced: bool,
    /// What it does.
    pub action: String,
    /// Flows that it decided about, or would have if it were enforced.
    pub flows: u64,
    /// Bytes of these flows, both ways.
    pub bytes: u64,
    /// Monotonic time of the last such flow.
    pub last_mono_ns: Option<u64>,
    /// Since when it is counted, monotonic.
    pub since_mono_ns: u64,
    /// Since when it is counted.
    pub since: Option<Timestamp>,
    #[serde(skip)]
    order: u32,
    #[serde(skip)]
    as_it_was: Option<Rule>,
}

impl RuleHits {
    /// Counts for this rule from now on; from zero if it is not what it was.
    pub(super) fn bind(&mut self, rule: &Rule, now: &Now) {
        // Its line may change, and the numbers of its services and groups do with every table and charter: neither makes it another rule.
        let mut same = rule.clone();
        same.line = 0;
        same.matches.services.clear();
        same.matches.groups.clear();
        if self.as_it_was.as_ref() != Some(&same) {
            *self = Self {
                rule: rule.name.clone(),
                enforced: rule.state == State::Enforce,
                action: rule.action.to_string(),
                since_mono_ns: now.mono_ns,
                since: now.wall,
                as_it_was: Some(same),
                ..Self::default()
            };
        }
        self.order = rule.line;
    }

    pub(super) fn count(&mut self, event: &FlowEvent) {
        self.flows += u64::from(event.kind == EventKind::Decided);
        self.bytes = self.bytes.saturating_add(event.bytes_up).saturating_add(event.bytes_down);
        self.last_mono_ns = self.last_mono_ns.max(Some(event.mono_ns));
    }
}

impl Hour {
    pub(super) fn of(window: Window, rollup: &Rollup) -> Self {
        let mut by_category = [0u64; Category::SLOTS];
        for (key, cell) in rollup.cells() {
            if let Some(sum) = by_category.get_mut(key.category as usize) {
                *sum += cell.flows;
            }
        }
        let count = |c: &Category| (c.as_str(), by_category.get(*c as usize).copied().unwrap_or_default());
        Self {
            window,
            flows: rollup.flows,
            not_looked_at: rollup.not_looked_at,
            unnamed: rollup.reasons().0.iter().map(|(_, n)| n).sum(),
            categories: Counts(Category::ALL.iter().map(count).collect()),
        }
    }
}

impl From<&Cell> for Totals {
    fn from(cell: &Cell) -> Self {
        Self { flows: cell.flows, flows_blocked: cell.blocked, volume: cell.volume }
    }
}

pub(super) fn take(engine: &Engine) -> Snapshot {
    let mut all = Cell::default();
    let mut by_category: std::collections::BTreeMap<Category, Cell> = Default::default();
    let mut services = Vec::new();
    let table = engine.generations.current().map(|policy| &policy.table);
    for (key, cell) in engine.totals.cells() {
        all.merge(cell);
        by_category.entry(key.category).or_default().merge(cell);
        if let Some(service) = engine.generations.service_key(key.service) {
            let title = table.and_then(|t| Some(t.service(t.service_named(service)?)?.title.to_owned()));
            services.push(ServiceTotals {
                service: service.to_owned(),
                title,
                category: key.category.as_str(),
                totals: cell.into(),
            });
        }
    }
    let mut categories: Vec<CategoryTotals> = by_category
        .iter()
        .map(|(category, cell)| CategoryTotals {
            category: category.as_str(),
            totals: cell.into(),
            evidence: cell.evidence(),
        })
        .collect();
    categories.sort_by_key(|c| std::cmp::Reverse(c.totals.flows));
    services.sort_by(|a, b| b.totals.flows.cmp(&a.totals.flows).then_with(|| a.service.cmp(&b.service)));
    let mut rules: Vec<RuleHits> = engine.hits.values().cloned().collect();
    rules.sort_by_key(|hits| hits.order);
    Snapshot {
        counters: engine.counters,
        all: (&all).into(),
        not_looked_at: engine.totals.not_looked_at,
        too_weak: engine.totals.too_weak,
        evidence: engine.totals.evidence(),
        reasons: engine.totals.reasons(),
        categories,
        services,
        hours: engine.hours.iter().cloned().collect(),
        rules,
    }
}
