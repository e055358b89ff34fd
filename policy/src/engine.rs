//! The policy engine: takes flow events, counts them, and writes audit records.
//!
//! ```text
//!  FlowEvent ─► checked against itself and the table it was decided by
//!            ─► clamped to what may be written ┬► of the whole network: rollup of the hour ─► records, when the hour ends
//!                                              │                    └► totals, hours, rule hits ─► snapshot for the page
//!                                              └► of groups: people, visits, uploads ─► what k people stand behind ─► both
//! ```
//!
//! The producer of events is not trusted. An event that contradicts itself is counted and left out; an event about a
//! protected category counts as *not looked at*; a name that was not said in the flow never makes a count for a category
//! about people; and whatever level an event carries, no more is written than the [`Levels`] of its epoch allow.
//!
//! Numbers of events have no gaps: a jump is a loss, and becomes a `gap` record. The hour is one of the wall clock
//! where there is one, but it is the monotonic clock that ends it: a step of the wall clock neither ends an hour early
//! nor makes it last for years.
//!
//! One thread owns the engine. It allocates with the number of services and groups seen, never with the number of events.

mod generations;
mod groups;
mod hits;
mod snapshot;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::audit::{AuditSink, EVERYBODY, GapCause, Hex, Now, OnRecord, Record, Window, Word};
use crate::category::Category;
use crate::charter::Levels;
use crate::flow_event::{EventKind, FlowEvent};
use crate::rollup::Rollup;
use crate::rules::{Moment, Rules};
use crate::session::SessionSink;
use crate::table::SignatureTable;
use crate::vocab::{Evidence, ObservationLevel, ServiceId};
use generations::{Allowed, Generations};
use groups::Groups;
pub use hits::RuleHits;
pub use snapshot::{Covered, GroupRow, Hour, Report, ServiceTotals, Snapshot, Totals};

/// The most lcores.
pub const MAX_LCORES: usize = 256;
/// How many hours the snapshot looks back.
pub const HOURS_KEPT: usize = 48;

/// What an engine is set up with.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Length of a rollup. An hour: shorter ones say too much about when somebody did something. Tests use less.
    pub window_ns: u64,
    /// Version of the program, for the `started` record.
    pub version: String,
    /// Time without activity that ends a visit.
    pub visit_gap_ns: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            window_ns: 3_600_000_000_000,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            visit_gap_ns: crate::session::GAP_NS,
        }
    }
}

/// What flows are decided by, from one epoch on.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Epoch of the first matrix compiled from these.
    pub epoch: u64,
    /// The signature table.
    pub table: SignatureTable,
    /// The rules, bound to that table.
    pub rules: Arc<Rules>,
    /// When that is: the day and the calendars that rules depend on.
    pub moment: Moment,
    /// The most that may be written, whatever an event says.
    pub levels: Arc<Levels>,
    /// Names of the groups, in order of their rows; that of row 0, to which nobody belongs, is not among them.
    pub groups: Arc<[String]>,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    generations: Generations,
    lcores: Vec<LcoreSeq>,
    window: Window,
    current: Rollup,
    totals: Rollup,
    groups: Groups,
    hours: VecDeque<Hour>,
    hits: HashMap<String, RuleHits>,
    counters: Counters,
    /// Events that were taken when the last window ended.
    events_told: u64,
    /// What the open window lost; becomes `gap` records.
    lost: Lost,
}

/// What the engine saw, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Events that were taken.
    pub events: u64,
    /// Numbers of events that never came.
    pub missing: u64,
    /// Events that mean nothing or contradict themselves.
    pub bad: u64,
    /// Events that asked for more than may be written.
    pub clamped: u64,
    /// Events about protected categories or at level `none`, which should not have been sent.
    pub not_for_us: u64,
    /// Events decided by a policy that is not known any more: nobody can say what it allowed, so they are not counted.
    pub stale: u64,
    /// How often an lcore began to count anew.
    pub restarts: u64,
    /// Records that were written.
    pub records: u64,
    /// Sessions that were over, and handed to whatever keeps them sealed.
    pub sessions: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    missing: u64,
    bad: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct LcoreSeq {
    last: Option<u64>,
}

impl Engine {
    /// An engine that begins now, and says so in its first record.
    pub fn start(options: EngineOptions, now: &Now, sink: &mut dyn AuditSink) -> Self {
        let mut engine = Self {
            window: window_at(now, options.window_ns),
            groups: Groups::new(options.visit_gap_ns),
            options,
            generations: Generations::default(),
            lcores: Vec::new(),
            current: Rollup::new(),
            totals: Rollup::new(),
            hours: VecDeque::new(),
            hits: HashMap::new(),
            counters: Counters::default(),
            events_told: 0,
            lost: Lost::default(),
        };
        let version = engine.options.version.clone();
        engine.write(now, sink, &Record::Started { version: &version });
        engine
    }

    /// From `policy.epoch` on, flows are decided by this policy. Writes a record if table or rules changed, before it
    /// returns: call it before the matrix is handed out. Cheap when only the epoch is new.
    pub fn set_policy(&mut self, policy: Policy, now: &Now, sink: &mut dyn AuditSink) {
        let (epoch, rules) = (policy.epoch, policy.rules.as_slice().len());
        let (hash, content) = (policy.table.hash(), policy.table.content_hash());
        for (place, rule) in policy.rules.as_slice().iter().enumerate() {
            let hits = self.hits.entry(rule.name.clone()).or_default();
            hits.bind(rule, place, now, !policy.levels.whole_network());
        }
        self.hits.retain(|name, _| policy.rules.as_slice().iter().any(|rule| rule.name == *name));
        let is_new = self.generations.push(policy);
        self.groups.observe(self.generations.observed());
        if is_new {
            let record = Record::Policy { epoch, table: Hex(&hash), table_content: Hex(&content), rules };
            self.write(now, sink, &record);
        }
    }

    /// Nothing more is written of flows that were decided until now: what allowed it is another thing from here on. Until
    /// the next [policy](Self::set_policy), of none at all.
    pub fn forget_policies(&mut self) {
        self.generations.forget();
    }

    /// Takes an event as it stands in the ring of an lcore.
    pub fn event_bytes(&mut self, lcore: usize, bytes: &[u8; FlowEvent::SIZE]) {
        match FlowEvent::from_bytes(bytes) {
            Ok(event) => self.event(lcore, &event),
            Err(_) => self.bad_events(1),
        }
    }

    /// Takes an event of an lcore.
    pub fn event(&mut self, lcore: usize, event: &FlowEvent) {
        self.number(lcore, event.seq);
        self.counters.events += 1;
        if contradicts_itself(event) {
            return self.bad_events(1);
        }
        let Some(allowed) = self.generations.allowed(event) else {
            self.counters.stale += 1;
            return self.not_looked_at(u64::from(event.kind == EventKind::Decided));
        };
        if event.level > allowed.level {
            self.counters.clamped += 1;
        }
        let Some(category) = OnRecord::new(event.category)
            .filter(|_| event.level.min(allowed.level) != ObservationLevel::None)
        else {
            self.counters.not_for_us += 1;
            return self.not_looked_at(u64::from(event.kind == EventKind::Decided));
        };
        let Some(placed) = self.generations.place(event) else { return self.bad_events(1) };
        let too_weak = category.category().is_about_people() && !event.evidence.is_in_flow();
        let (category, service) = if too_weak { (NOTHING_KNOWN, 0) } else { (category, placed) };
        if !self.count(event, category, service, &allowed, too_weak) {
            self.counters.not_for_us += 1;
            return self.not_looked_at(u64::from(event.kind == EventKind::Decided));
        }
        if too_weak {
            return;
        }
        let people = allowed.group.map(|_| (event.subject, allowed.k));
        self.generations.hits(event, |rule| {
            if let Some(hits) = self.hits.get_mut(rule) {
                hits.count(event, people);
            }
        });
    }

    /// Counts an event: of the whole network, or of a group and somebody in it. `false` if it is of a group and of nobody.
    fn count(
        &mut self,
        event: &FlowEvent,
        category: OnRecord,
        service: u32,
        allowed: &Allowed,
        too_weak: bool,
    ) -> bool {
        if let Some(group) = allowed.group {
            let of = (group, category.category(), service);
            return self.groups.count(event, of, allowed, &self.generations);
        }
        self.current.add(EVERYBODY, category, service, event);
        self.totals.add(EVERYBODY, category, service, event);
        let weak = u64::from(too_weak && event.kind == EventKind::Decided);
        self.current.too_weak += weak;
        self.totals.too_weak += weak;
        true
    }

    /// Where sessions go. Until it is said, nowhere.
    pub fn set_sessions(&mut self, sink: Box<dyn SessionSink>) {
        self.groups.set_sink(sink);
    }

    /// Ends sessions, so that none goes on beyond now: where a day ends, and with it the key that its sessions are sealed under.
    /// Visits go on.
    pub fn end_sessions(&mut self, now: &Now) {
        self.groups.end_sessions(now, &self.generations);
    }

    /// The zone that days are counted in: that of the charter.
    pub fn set_zone(&mut self, zone: jiff::tz::TimeZone) {
        self.groups.set_zone(zone);
    }

    /// The number of the event of an lcore that comes next, as the predecessor of this engine left it: what was lost before it counts as missing.
    pub fn expect(&mut self, lcore: usize, seq: u64) {
        if let Some(last) = seq.checked_sub(1) {
            self.number(lcore, last);
        }
    }

    /// An event of a ring that says nothing of a flow, by its number: so that it does not count as missing.
    pub fn other_event(&mut self, lcore: usize, seq: u64) {
        self.number(lcore, seq);
    }

    /// Events that the reader of a ring already found to mean nothing.
    pub fn bad_events(&mut self, n: u64) {
        self.counters.bad += n;
        self.lost.bad += n;
    }

    /// Flows that the fast path did not look at, because nothing may be written about them.
    pub fn not_looked_at(&mut self, flows: u64) {
        self.current.not_looked_at += flows;
        self.totals.not_looked_at += flows;
    }

    /// Lets time pass: ends the hour when it is over and writes its records. Call it every second or so. An error
    /// says that records can't be made durable now; they are kept as long as there is room, and counted then.
    pub fn tick(&mut self, now: &Now, sink: &mut dyn AuditSink) -> std::io::Result<()> {
        self.groups.tick(now, &self.generations);
        if now.mono_ns >= self.window.end_mono_ns {
            let next = window_at(now, self.options.window_ns);
            self.close_window(now, sink, Some(next));
            self.window = next;
        }
        self.write_gaps(now, sink);
        sink.commit(now)
    }

    /// Ends in order: writes what the open hour has so far.
    pub fn stop(mut self, now: &Now, sink: &mut dyn AuditSink) -> std::io::Result<()> {
        self.groups.end(now, &self.generations);
        self.close_window(now, sink, None);
        self.write_gaps(now, sink);
        self.write(now, sink, &Record::Stopped {});
        sink.commit(now)
    }

    /// What the engine saw, since it began.
    pub fn counters(&self) -> Counters {
        Counters { sessions: self.groups.sessions, ..self.counters }
    }

    /// Everything the page shows.
    pub fn snapshot(&self) -> Snapshot {
        snapshot::take(self)
    }

    fn number(&mut self, lcore: usize, seq: u64) {
        if lcore >= MAX_LCORES {
            return;
        }
        if lcore >= self.lcores.len() {
            self.lcores.resize(lcore + 1, LcoreSeq::default());
        }
        let Some(numbers) = self.lcores.get_mut(lcore) else { return };
        match numbers.last {
            Some(last) if seq > last => {
                let missing = seq - last - 1;
                self.counters.missing = self.counters.missing.saturating_add(missing);
                self.lost.missing = self.lost.missing.saturating_add(missing);
            }
            // Not a loss that can be counted: what was before the restart is not known.
            Some(_) => self.counters.restarts += 1,
            None => {}
        }
        numbers.last = Some(seq);
    }

    /// Ends the window. Without a `next` one it is the last, and not complete.
    fn close_window(&mut self, now: &Now, sink: &mut dyn AuditSink, next: Option<Window>) {
        let rollup = std::mem::take(&mut self.current);
        let complete = next.is_some();
        let window = Window { complete, end_mono_ns: now.mono_ns, end: now.wall, ..self.window };
        let level = Word(ObservationLevel::Aggregate);
        let mut records = Vec::with_capacity(rollup.cells().count() + 1);
        for (key, cell) in rollup.cells() {
            let Some(category) = OnRecord::new(key.category) else { continue };
            records.push(Record::Rollup {
                level,
                window,
                group: key.group.0,
                category,
                service: self.generations.service_key(key.service),
                flows: cell.flows,
                flows_blocked: cell.blocked,
                flow: cell.volume,
                evidence: cell.evidence(),
                app_proto: cell.apps(),
            });
        }
        let told = self.groups.close(window, next.and_then(|next| next.start), !complete);
        records.extend(told.records(&self.generations));
        records.push(Record::Blindness {
            window,
            flows: rollup.flows,
            not_looked_at: rollup.not_looked_at,
            evidence: rollup.evidence(),
            reasons: rollup.reasons(),
            too_weak: rollup.too_weak,
            told: told.sight(),
        });
        if rollup.crowded_out > 0 {
            records.push(gap(GapCause::TooManyCells, rollup.crowded_out));
        }
        for record in &records {
            sink.append(now, record);
        }
        self.counters.records += records.len() as u64;
        if self.hours.len() >= HOURS_KEPT {
            self.hours.pop_front();
        }
        self.hours.push_back(Hour::of(window, &rollup));
        self.groups.trim();
        self.events_told = self.counters.events;
        self.hits.values_mut().for_each(|hits| hits.end_hour(window.start_mono_ns));
    }

    fn write_gaps(&mut self, now: &Now, sink: &mut dyn AuditSink) {
        let Lost { missing, bad } = std::mem::take(&mut self.lost);
        if missing > 0 {
            self.write(now, sink, &gap(GapCause::EventsMissing, missing));
        }
        if bad > 0 {
            self.write(now, sink, &gap(GapCause::BadEvents, bad));
        }
        for (cause, events) in self.groups.take_gaps() {
            if events > 0 {
                self.write(now, sink, &gap(cause, events));
            }
        }
    }

    fn write(&mut self, now: &Now, sink: &mut dyn AuditSink, record: &Record<'_>) {
        sink.append(now, record);
        self.counters.records += 1;
    }
}

/// What a flow is counted under when its name must not count.
const NOTHING_KNOWN: OnRecord = match OnRecord::new(Category::Unknown) {
    Some(category) => category,
    None => unreachable!(),
};

fn gap(cause: GapCause, events: u64) -> Record<'static> {
    Record::Gap { cause: Word(cause), events, records: 0, bytes: 0, error: None }
}

/// A name and a reason for having none, or without a name a service that says something about people. Others may be known
/// by what a hello offers, or who sent it.
fn contradicts_itself(event: &FlowEvent) -> bool {
    let named = event.evidence != Evidence::None;
    let of_people = event.service != ServiceId::NONE && event.category.is_about_people();
    named && event.reason.is_some() || !named && of_people
}

/// The window that begins now: to the next full hour of the wall clock, or for a whole one where there is none.
fn window_at(now: &Now, length_ns: u64) -> Window {
    let length = length_ns.max(1);
    let into = now
        .wall
        .and_then(|wall| u64::try_from(wall.as_nanosecond().rem_euclid(i128::from(length))).ok())
        .unwrap_or(0);
    Window {
        start: now.wall,
        end: None,
        start_mono_ns: now.mono_ns,
        end_mono_ns: now.mono_ns.saturating_add(length - into),
        complete: false,
    }
}

#[cfg(test)]
mod tests;
