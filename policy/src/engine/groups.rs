//! Counts under a charter: by group, with the people behind them; and what of them is told.
//!
//! Nothing is told before its hour is over, because sums that are shown while they grow say who did something when. See
//! [`crate::ledger`] for what is told then.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::HOURS_KEPT;
use super::generations::{Allowed, Generations};
use crate::audit::{Counts, GapCause, Measure, Now, Of, OnRecord, Record, Sight, Window, Word};
use crate::category::Category;
use crate::flow_event::{EventKind, FlowEvent};
use crate::ledger::{Ledger, Sums, Told, Uploads};
use crate::rollup::{Cell, CellKey};
use crate::session::{Nowhere, Over, SessionRecord, SessionSink, Terms, TraceKey, Traces};
use crate::upload;
use crate::vocab::{GroupId, ObservationLevel, Purposes, SubjectId};

/// The most that is kept of an hour for the page; records have all.
const ROWS_KEPT: usize = 4096;
/// How often traces are gone through.
const SWEEP_NS: u64 = 15 * 1_000_000_000;

/// Counts by group.
#[derive(Debug)]
pub(super) struct Groups {
    hour: Ledgers,
    day: Ledgers,
    /// The day that is counted now, where the wall clock says so.
    date: Option<Date>,
    windows_of_day: u32,
    zone: TimeZone,
    traces: Traces,
    sweep_at_ns: u64,
    sink: Box<dyn SessionSink>,
    told: VecDeque<ToldWindow>,
    /// Groups and categories that something may be written of, since the engine began: with their `k`.
    observed: BTreeMap<(GroupId, Category), u32>,
    crowded_out: u64,
    /// Sessions that were handed to the sink.
    pub(super) sessions: u64,
}

#[derive(Debug, Default)]
struct Ledgers {
    usage: Ledger<Cell>,
    uploads: Ledger<Uploads>,
    large: Ledger<Uploads>,
}

/// What a window told.
#[derive(Clone, Debug)]
pub(super) struct ToldWindow {
    pub(super) window: Window,
    pub(super) usage: Vec<Told<Cell>>,
    pub(super) uploads: Vec<Told<Uploads>>,
    pub(super) large: Vec<Told<Uploads>>,
}

impl Groups {
    pub(super) fn new(gap_ns: u64) -> Self {
        Self {
            hour: Ledgers::default(),
            day: Ledgers::default(),
            date: None,
            windows_of_day: 0,
            zone: TimeZone::UTC,
            traces: Traces::new(gap_ns),
            sweep_at_ns: 0,
            sink: Box::new(Nowhere),
            told: VecDeque::new(),
            observed: BTreeMap::new(),
            crowded_out: 0,
            sessions: 0,
        }
    }

    pub(super) fn set_sink(&mut self, sink: Box<dyn SessionSink>) {
        self.sink = sink;
    }

    /// From now on, days are those of this zone.
    pub(super) fn set_zone(&mut self, zone: TimeZone) {
        self.zone = zone;
    }

    /// Something may be written of these from now on.
    pub(super) fn observe(&mut self, observed: Vec<(GroupId, Category, u32)>) {
        for (group, category, k) in observed {
            let known = self.observed.entry((group, category)).or_default();
            *known = k.max(*known);
        }
    }

    /// Counts an event of somebody. `false` if nobody knows of whom: then it is not counted.
    pub(super) fn count(
        &mut self,
        event: &FlowEvent,
        of: (GroupId, Category, u32),
        allowed: &Allowed,
        names: &Generations,
    ) -> bool {
        let (group, category, service) = of;
        if event.subject == SubjectId::NOBODY || group == GroupId(0) {
            return false;
        }
        let key = TraceKey { subject: event.subject, category, service };
        let level = event.level.min(allowed.level);
        let sealed = if level == ObservationLevel::Sealed { allowed.sealed } else { Purposes::NONE };
        let terms = Terms { group, k: allowed.k, uploads: allowed.uploads, large: allowed.large, sealed };
        let mut over = Vec::new();
        let noted = self.traces.note(key, terms, event, &mut over).unwrap_or_default();
        let key = CellKey { group, category, service };
        let counted = self.hour.usage.count(key, event.subject, allowed.k, |cell| {
            cell.add(event);
            cell.visits += noted.visits;
            cell.active_ms += noted.active_ms;
        });
        if !counted {
            self.crowded_out += u64::from(event.kind == EventKind::Decided);
        }
        let now = Now { mono_ns: event.mono_ns, wall: None, quality: crate::audit::WallQuality::Unknown };
        self.over(over, &now, names);
        true
    }

    /// Lets time pass for traces.
    pub(super) fn tick(&mut self, now: &Now, names: &Generations) {
        if now.mono_ns >= self.sweep_at_ns {
            self.sweep_at_ns = now.mono_ns.saturating_add(SWEEP_NS);
            self.sweep(now, false, names);
        }
    }

    /// Ends sessions, so that none goes on beyond now; visits do.
    pub(super) fn end_sessions(&mut self, now: &Now, names: &Generations) {
        let mut over = Vec::new();
        self.traces.end_sessions(&mut over);
        self.over(over, now, names);
    }

    /// The end: whatever goes on is over.
    pub(super) fn end(&mut self, now: &Now, names: &Generations) {
        self.sweep(now, true, names);
    }

    fn sweep(&mut self, now: &Now, all: bool, names: &Generations) {
        let mut over = Vec::new();
        self.traces.sweep(now.mono_ns, all, &mut over);
        self.over(over, now, names);
    }

    fn over(&mut self, over: Vec<Over>, now: &Now, names: &Generations) {
        for over in over {
            match over {
                Over::Upload(TraceKey { subject, category, service }, terms, found) => {
                    let key = CellKey { group: terms.group, category, service };
                    let one = Uploads { uploads: 1, bytes: found.bytes };
                    // One or the other: what is told of all less what is told of the large ones would be about few.
                    let is_large = terms.large && found.bytes >= upload::LARGE;
                    let ledger = if is_large { &mut self.hour.large } else { &mut self.hour.uploads };
                    let counted = ledger.count(key, subject, terms.k, |sums| sums.merge(&one));
                    self.crowded_out += u64::from(!counted);
                }
                Over::Session(TraceKey { subject, category, service }, terms, session) => {
                    self.sessions += 1;
                    let (purposes, service) = (terms.sealed, names.service_key(service));
                    let session = &session;
                    self.sink.take(now, &SessionRecord { subject, purposes, category, service, session });
                }
            }
        }
    }

    /// Ends a window, and the day if it was its last; what is told is kept for the page.
    pub(super) fn close(&mut self, window: Window, next: Option<Timestamp>, end: bool) -> &ToldWindow {
        let hour = std::mem::take(&mut self.hour);
        let Ledgers { mut usage, mut uploads, mut large } = hour;
        let mut told = ToldWindow { window, usage: Vec::new(), uploads: Vec::new(), large: Vec::new() };
        let mut lost = 0;
        macro_rules! end_hours {
            ($($name:ident),+) => { $({
                let (parts, refused) = $name.end_hour(&mut self.day.$name);
                told.$name = parts;
                lost += refused;
            })+ };
        }
        end_hours!(usage, uploads, large);
        self.crowded_out += lost;
        self.windows_of_day += 1;
        let date = |at: Option<Timestamp>| at.map(|at| at.to_zoned(self.zone.clone()).date());
        let begun = self.date.or_else(|| date(window.start));
        // Without a wall clock a day is as long as one.
        let over = match (begun, date(next)) {
            (Some(begun), Some(next)) => next != begun,
            _ => self.windows_of_day >= 24,
        };
        self.date = if over { date(next) } else { begun };
        if over || end {
            self.windows_of_day = 0;
            told.usage.extend(self.day.usage.end_day());
            told.uploads.extend(self.day.uploads.end_day());
            told.large.extend(self.day.large.end_day());
        }
        if self.told.len() >= HOURS_KEPT {
            self.told.pop_front();
        }
        self.told.push_back(told);
        #[expect(clippy::unwrap_used, reason = "pushed above")]
        self.told.back().unwrap()
    }

    /// Cuts what is kept for the page to what fits there.
    pub(super) fn trim(&mut self) {
        if let Some(told) = self.told.back_mut() {
            told.usage.sort_by_key(|part| std::cmp::Reverse(part.sums.flows));
            told.usage.truncate(ROWS_KEPT);
            told.uploads.truncate(ROWS_KEPT);
            told.large.truncate(ROWS_KEPT);
        }
    }

    /// What the last windows told, oldest first.
    pub(super) fn told(&self) -> impl Iterator<Item = &ToldWindow> {
        self.told.iter()
    }

    /// Groups and categories that something may be written of, or could since the engine began.
    pub(super) fn observed(&self) -> impl Iterator<Item = (GroupId, Category, u32)> {
        self.observed.iter().map(|((group, category), k)| (*group, *category, *k))
    }

    /// What there was no room for, since this was last asked.
    pub(super) fn take_gaps(&mut self) -> [(GapCause, u64); 2] {
        [
            (GapCause::TooManyPeople, std::mem::take(&mut self.crowded_out)),
            (GapCause::TooManyTraces, self.traces.take_refused()),
        ]
    }
}

impl ToldWindow {
    /// Its records.
    pub(super) fn records<'a>(&'a self, names: &'a Generations) -> Vec<Record<'a>> {
        let level = Word(ObservationLevel::Aggregate);
        let mut records = Vec::new();
        for part in &self.usage {
            let cell = &part.sums;
            records.push(Record::GroupRollup {
                level,
                window: self.window,
                of: of(part, names),
                flows: cell.flows,
                flow: cell.volume,
                visits: cell.visits,
                active_s: cell.active_ms / 1000,
                blocked_percent: percent(cell.blocked, cell.flows),
                evidence_percent: percents(&cell.evidence(), cell.flows),
                reasons_percent: percents(&cell.reasons(), cell.flows),
                app_proto_percent: percents(&cell.apps(), cell.flows),
            });
        }
        for (measure, parts) in [(Measure::Uploads, &self.uploads), (Measure::LargeUploads, &self.large)] {
            records.extend(parts.iter().map(|part| Record::Uploads {
                level,
                window: self.window,
                measure: Word(measure),
                of: of(part, names),
                uploads: part.sums.uploads,
                bytes: part.sums.bytes,
            }));
        }
        records
    }

    /// What could be seen of the flows that are told; `None` if none are.
    pub(super) fn sight(&self) -> Option<Sight> {
        let mut all = Cell::default();
        self.usage.iter().for_each(|part| all.merge(&part.sums));
        (all.flows > 0).then(|| sight(&all))
    }
}

/// What could be seen of flows, in shares.
pub(super) fn sight(cell: &Cell) -> Sight {
    let mut evidence = cell.evidence();
    evidence.0.retain(|(word, _)| *word != crate::vocab::Evidence::None.as_str());
    Sight {
        evidence_percent: percents(&evidence, cell.flows),
        reasons_percent: percents(&cell.reasons(), cell.flows),
    }
}

/// Shares of these, without those that round to nothing.
pub(super) fn percents(counts: &Counts, all: u64) -> Counts {
    let shares = counts.0.iter().filter_map(|(word, n)| Some((*word, percent(*n, all)?)));
    Counts(shares.filter(|(_, share)| *share > 0).collect())
}

/// A share in per cent, in steps of at least ten flows: finer ones would tell of few people what the counts beside them tell of
/// many. `None` where there are too few flows for any.
pub(super) fn percent(part: u64, all: u64) -> Option<u64> {
    let step = match all {
        0..100 => return None,
        100..1000 => 10,
        _ => 1,
    };
    let (part, whole) = (u128::from(part) * 100, u128::from(all) * step);
    u64::try_from((2 * part + whole) / (2 * whole) * step).ok()
}

fn of<'a, S>(part: &Told<S>, names: &'a Generations) -> Of<'a> {
    Of {
        span: Word(part.span),
        group: part.group.and_then(|group| names.group_name(group)),
        category: part.category.and_then(OnRecord::new),
        service: names.service_key(part.service),
        rest: part.rest,
        subjects: part.people,
        k: part.k,
    }
}

#[cfg(test)]
mod tests;
