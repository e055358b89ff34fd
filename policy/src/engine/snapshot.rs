//! What the page, the API and the metrics show: counts only, all of it serializable.

use std::collections::BTreeMap;

use serde::Serialize;

use super::groups::{ToldWindow, percent, sight};
use super::{Counters, Engine, RuleHits};
use crate::audit::{Bucket, Counts, Sight, Volume, Window};
use crate::category::Category;
use crate::ledger::{Told, Uploads};
use crate::rollup::{Cell, Rollup};
use crate::vocab::GroupId;

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
    /// Under a charter: what groups did.
    pub report: Report,
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

/// What groups did in the hours that are over, as far as enough people stand behind it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Monotonic time at which the oldest of these hours began.
    pub since_mono_ns: Option<u64>,
    /// What is told, most flows first.
    pub rows: Vec<GroupRow>,
    /// Groups and categories that something may be told of, whether or not there is a row: nobody or fewer than `k`.
    pub covered: Vec<Covered>,
    /// What could be seen of the flows of these rows.
    pub sight: Option<Sight>,
}

/// Something that at least `k` people stand behind, in each of the hours or days that it is the sum of.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRow {
    /// The group; `None` for all together.
    pub group: Option<String>,
    /// The category; `None` for the rest of a group.
    pub category: Option<&'static str>,
    /// Key of the service.
    pub service: Option<String>,
    /// What people call it, if the table in force knows it.
    pub title: Option<String>,
    /// Whether it is the rest: what is not told by itself.
    pub rest: bool,
    /// How many people, at most at once.
    pub subjects: Bucket,
    /// How many must stand behind it.
    pub k: u32,
    /// Flows.
    pub flows: u64,
    /// Per cent of them that were blocked, if there are enough flows to say.
    pub blocked_percent: Option<u64>,
    /// What they carried.
    #[serde(flatten)]
    pub volume: Volume,
    /// Visits.
    pub visits: u64,
    /// Seconds of activity.
    pub active_s: u64,
    /// Probable uploads, where enough people stand behind these; where large ones are told, without them.
    pub uploads: Option<u64>,
    /// Large ones, likewise.
    pub large_uploads: Option<u64>,
}

/// A group and category that something may be told of.
#[derive(Clone, Debug, Serialize)]
pub struct Covered {
    /// The group.
    pub group: String,
    /// The category.
    pub category: &'static str,
    /// How many people must stand behind a count.
    pub k: u32,
}

fn report(engine: &Engine) -> Report {
    type Key = (Option<GroupId>, Option<Category>, u32, bool);
    fn sums(windows: &[&ToldWindow], of: fn(&ToldWindow) -> &Vec<Told<Uploads>>) -> BTreeMap<Key, u64> {
        let mut sums = BTreeMap::new();
        for part in windows.iter().flat_map(|window| of(window)) {
            *sums.entry(key_of(part)).or_default() += part.sums.uploads;
        }
        sums
    }
    let windows: Vec<&ToldWindow> = engine.groups.told().collect();
    let (mut usage, mut all): (BTreeMap<Key, (Cell, Bucket, u32)>, _) = (BTreeMap::new(), Cell::default());
    for part in windows.iter().flat_map(|window| &window.usage) {
        let (cell, people, k) = usage.entry(key_of(part)).or_insert((Cell::default(), part.people, part.k));
        cell.merge(&part.sums);
        all.merge(&part.sums);
        (*people, *k) = (part.people.max(*people), part.k.max(*k));
    }
    let (uploads, large) = (sums(&windows, |w| &w.uploads), sums(&windows, |w| &w.large));
    // Where uploads are told of something that has no row of its own, they have one without the rest.
    for key in uploads.keys().chain(large.keys()) {
        let parts = windows.iter().flat_map(|w| w.uploads.iter().chain(&w.large));
        if let Some(part) = parts.into_iter().find(|part| key_of(part) == *key) {
            usage.entry(*key).or_insert((Cell::default(), part.people, part.k));
        }
    }
    let names = &engine.generations;
    let table = names.current().map(|policy| &policy.table);
    let row = |(key, (cell, subjects, k)): (Key, (Cell, Bucket, u32))| {
        let (group, category, service, rest) = key;
        let service = names.service_key(service);
        let title = service.and_then(|key| {
            let table = table?;
            Some(table.service(table.service_named(key)?)?.title.to_owned())
        });
        GroupRow {
            group: group.and_then(|group| names.group_name(group)).map(str::to_owned),
            category: category.map(Category::as_str),
            service: service.map(str::to_owned),
            title,
            rest,
            subjects,
            k,
            flows: cell.flows,
            blocked_percent: percent(cell.blocked, cell.flows),
            volume: cell.volume,
            visits: cell.visits,
            active_s: cell.active_ms / 1000,
            uploads: uploads.get(&key).copied(),
            large_uploads: large.get(&key).copied(),
        }
    };
    let mut rows: Vec<GroupRow> = usage.into_iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.flows));
    let covered = engine.groups.observed().filter_map(|(group, category, k)| {
        let group = names.group_name(group)?.to_owned();
        Some(Covered { group, category: category.as_str(), k })
    });
    Report {
        since_mono_ns: windows.first().map(|window| window.window.start_mono_ns),
        rows,
        covered: covered.collect(),
        sight: (all.flows > 0).then(|| sight(&all)),
    }
}

fn key_of<S>(part: &Told<S>) -> (Option<GroupId>, Option<Category>, u32, bool) {
    (part.group, part.category, part.service, part.rest)
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
    // Under a charter an event is somebody whom it covers. How many there were is told when the hour is over.
    let live = engine.groups.observed().next().is_none();
    let counters = engine.counters();
    let events = if live { counters.events } else { engine.events_told };
    Snapshot {
        counters: Counters { events, ..counters },
        all: (&all).into(),
        not_looked_at: engine.totals.not_looked_at,
        too_weak: engine.totals.too_weak,
        evidence: engine.totals.evidence(),
        reasons: engine.totals.reasons(),
        categories,
        services,
        hours: engine.hours.iter().cloned().collect(),
        rules,
        report: report(engine),
    }
}
