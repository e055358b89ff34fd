//! Which alerts are raised: conditions are looked at once a second, against what the page shows and a few facts that it does not.
//!
//! A condition is raised once it has held for its time and cleared once it has been over for its time; where it is a number, it is over only well
//! below the bound that raised it. So one that flickers is told once. What is counted is counted over a window, so that old losses
//! are over some day.
//!
//! A control process that takes over begins anew: what still holds is raised, and told, once more.

pub(super) mod targets;

use super::snapshot::{AlertNow, InbandNow, Snapshot};
use crate::alert::Alert;
use crate::config::AlertBounds;
use glassgate_dataplane::inband::Refused;
use glassgate_policy::audit::Record;
use glassgate_policy::charter::Standing;
use std::collections::VecDeque;

const SECOND_NS: u64 = 1_000_000_000;
/// Frames for the gateway itself, beyond what it takes, in a minute: a hundred a second.
const FLOOD: u32 = 6000;
/// A clock that is this much off from one second to the next was stepped; what a time server corrects little by little is less.
const STEP_MS: u64 = 1000;
/// Frames that are lost count for a minute, all else that is counted for ten.
const MINUTE_NS: u64 = 60 * SECOND_NS;
/// Marks of a window: it moves in steps of this part of its length.
const MARKS: u64 = 12;
/// A process counts as started again for as long as this.
const RESTARTED_NS: u64 = 10 * MINUTE_NS;
/// How full a flow table is, in per cent: to raise, and to hold.
const FULL: [u64; 2] = [95, 90];
/// What an alert is about may change while it is raised; that is told, but not more often than this.
const AGAIN_NS: u64 = MINUTE_NS;

/// What is not in a [`Snapshot`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) mono_ns: u64,
    /// Days since 1970, where the clock shows any.
    pub(super) today: Option<i64>,
    /// Where the charter stands, and its last day.
    pub(super) standing: Option<Standing>,
    pub(super) charter_ends: Option<i64>,
    pub(super) clock_trusted: bool,
    /// The clock on the wall, milliseconds since 1970, where it shows any time.
    pub(super) wall_ms: Option<i64>,
    /// Logins refused since the process began.
    pub(super) logins_failed: u64,
    /// Records of the log that were lost since the process began.
    pub(super) records_lost: u64,
}

/// What is told of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) alert: Alert,
    pub(super) raised: bool,
    pub(super) about: String,
}

impl Change {
    /// What stands in the audit log of it.
    pub(super) fn record(&self) -> Record<'_> {
        self.alert.record(self.raised, &self.about)
    }
}

/// All of them.
pub(super) struct Alerts {
    bounds: AlertBounds,
    states: [State; Alert::ALL.len()],
    dropped: [Window; 2],
    lost: [Window; 2],
    logins: Window,
    panics: Window,
    /// Frames for the gateway itself that it did not take.
    flood: Window,
    steps: Steps,
}

/// Steps of the clock on the wall against the monotonic one.
struct Steps {
    /// How far it was ahead of the monotonic clock when it was last looked at, milliseconds.
    ahead_ms: Option<i64>,
    all: u64,
    window: Window,
}

#[derive(Default)]
struct State {
    /// Since when it is other than it is told.
    turning_ns: Option<u64>,
    /// Since when it is raised, RFC 3339.
    since: Option<String>,
    about: String,
    told_ns: u64,
}

impl Alerts {
    pub(super) fn new(bounds: AlertBounds, now_ns: u64) -> Self {
        // What others count goes on from where it is found, what this process counts began with it.
        let found = |span_ns| Window { span_ns, marks: VecDeque::new() };
        let begun = || Window { span_ns: 10 * MINUTE_NS, marks: VecDeque::from([(now_ns, 0)]) };
        Self {
            bounds,
            states: Default::default(),
            dropped: [(); 2].map(|()| found(MINUTE_NS)),
            lost: [begun(), found(10 * MINUTE_NS)],
            logins: begun(),
            panics: found(10 * MINUTE_NS),
            flood: found(MINUTE_NS),
            steps: Steps { ahead_ms: None, all: 0, window: begun() },
        }
    }

    /// Looks at everything; what is to be told.
    pub(super) fn look(&mut self, now: &Snapshot, facts: &Facts) -> Vec<Change> {
        let (dropped, lost) = (self.dropped_now(now, facts.mono_ns), self.lost_now(now, facts));
        let logins = self.logins.grown(facts.mono_ns, facts.logins_failed);
        let panics = self.panics.grown(facts.mono_ns, now.lcores.iter().map(|lcore| lcore.panics).sum());
        let flood = self.flood.grown(facts.mono_ns, now.inband.as_ref().map_or(0, over_its_rate));
        let steps = self.steps.grown(facts);
        let bounds = self.bounds;
        let seen = Seen { now, facts, bounds, dropped, lost, logins, panics, flood, steps };
        let mut changes = Vec::new();
        for (alert, state) in Alert::ALL.into_iter().zip(&mut self.states) {
            let holds = seen.holds(alert, state.since.is_some());
            changes.extend(state.turn(alert, holds, facts.mono_ns, &now.time));
        }
        changes
    }

    /// Those that are raised.
    pub(super) fn raised(&self) -> Vec<AlertNow> {
        let raised = |(alert, state): (Alert, &State)| {
            let since = state.since.clone()?;
            let severity = alert.severity().to_owned();
            Some(AlertNow { name: alert.as_str().to_owned(), severity, about: state.about.clone(), since })
        };
        Alert::ALL.into_iter().zip(&self.states).filter_map(raised).collect()
    }

    fn dropped_now(&mut self, now: &Snapshot, mono_ns: u64) -> [u64; 2] {
        let [missed, full] = &mut self.dropped;
        [
            missed.grown(mono_ns, now.ports.iter().map(|port| port.rx_missed).sum()),
            full.grown(mono_ns, now.ports.iter().map(|port| port.drop_tx_full).sum()),
        ]
    }

    fn lost_now(&mut self, now: &Snapshot, facts: &Facts) -> [u64; 2] {
        let [records, events] = &mut self.lost;
        let lost: u64 = now.events.lost.iter().map(|kind| kind.count).sum();
        [records.grown(facts.mono_ns, facts.records_lost), events.grown(facts.mono_ns, lost)]
    }
}

impl State {
    fn turn(&mut self, alert: Alert, holds: Option<String>, now_ns: u64, now: &str) -> Option<Change> {
        let (raised, about) = (self.since.is_some(), alert.about());
        if holds.is_some() == raised {
            self.turning_ns = None;
            let other = holds.filter(|other| *other != self.about)?;
            let again = now_ns.saturating_sub(self.told_ns) >= AGAIN_NS;
            self.about = other;
            return again.then(|| self.tell(alert, true, now_ns));
        }
        let turning = *self.turning_ns.get_or_insert(now_ns);
        let wait_s = if raised { about.over_s } else { about.after_s };
        if now_ns.saturating_sub(turning) < wait_s * SECOND_NS {
            return None;
        }
        self.turning_ns = None;
        self.since = (!raised).then(|| now.to_owned());
        if let Some(about) = holds {
            self.about = about;
        }
        let change = self.tell(alert, !raised, now_ns);
        if raised {
            self.about.clear();
        }
        Some(change)
    }

    fn tell(&mut self, alert: Alert, raised: bool, now_ns: u64) -> Change {
        self.told_ns = now_ns;
        Change { alert, raised, about: self.about.clone() }
    }
}

/// Everything that conditions are about.
struct Seen<'a> {
    now: &'a Snapshot,
    facts: &'a Facts,
    bounds: AlertBounds,
    /// Frames that were missed, or that the other port did not take, in a minute.
    dropped: [u64; 2],
    /// Records and events, in ten minutes.
    lost: [u64; 2],
    logins: u64,
    panics: u64,
    /// In a minute.
    flood: u64,
    steps: u64,
}

impl Seen<'_> {
    /// Whether a condition holds, and what it is about then; one that is raised holds a little longer.
    fn holds(&self, alert: Alert, raised: bool) -> Option<String> {
        let (now, facts, bounds) = (self.now, self.facts, self.bounds);
        match alert {
            Alert::NotForwarding => {
                let forwards = now.processes.iter().any(|p| p.name == "dataplane" && p.state == "up");
                flag(!forwards)
            }
            Alert::LinkDown => words(now.links_down.iter().cloned()),
            Alert::ProcessRestarted => words(
                now.processes
                    .iter()
                    .filter(|p| p.restarts > 0 && facts.mono_ns.saturating_sub(p.since_ns) < RESTARTED_NS)
                    .map(|p| p.name.clone()),
            ),
            Alert::FramesDropped => {
                let bound = over(bounds.dropped_frames, raised);
                let reasons = ["missed", "port_full"].into_iter().zip(self.dropped);
                words(reasons.filter(|(_, n)| *n >= bound).map(|(reason, _)| reason.to_owned()))
            }
            Alert::FlowTableFull => {
                let [raise, hold] = FULL;
                let bound = if raised { hold } else { raise };
                let full = |active: u64, all: u64| all > 0 && active.saturating_mul(100) >= all * bound;
                let lcores = now.lcores.iter().filter(|l| full(l.flows_active, l.flows_capacity));
                words(lcores.map(|l| format!("cpu {}", l.cpu)))
            }
            Alert::InspectorPanicked => flag(self.panics > 0),
            Alert::VerdictsDecayed => flag(now.policy.epoch == 0 || now.policy.valid_for_s <= 0.0),
            Alert::FilesNotTaken => words(
                [("files", &now.policy.rejected), ("data plane", &now.policy.refused)]
                    .into_iter()
                    .filter(|(_, why)| why.is_some())
                    .map(|(who, _)| who.to_owned()),
            ),
            Alert::BypassOn => flag(now.bypass.is_some()),
            Alert::LogFailing => flag(now.events.log_trouble.is_some()),
            Alert::LogGap => {
                let kinds = ["records", "events"].into_iter().zip(self.lost);
                words(kinds.filter(|(_, n)| *n > 0).map(|(kind, _)| kind.to_owned()))
            }
            Alert::WitnessFailing => flag(now.events.witness_trouble.is_some()),
            Alert::CharterEndsSoon => {
                let in_force = facts.standing == Some(Standing::InForce);
                let left = facts.charter_ends? - facts.today?;
                let soon = in_force && (0..=i64::from(bounds.charter_days)).contains(&left);
                // Not the days that are left: each day would be told anew.
                flag(soon)
            }
            Alert::CharterEnded => match facts.standing? {
                standing @ (Standing::Expired | Standing::Revoked | Standing::NotValid) => {
                    Some(standing.as_str().to_owned())
                }
                _ => None,
            },
            Alert::ClockNotTrusted => flag(facts.charter_ends.is_some() && !facts.clock_trusted),
            Alert::ClockStepped => flag(self.steps > 0),
            Alert::ListHeld => {
                let held = now.policy.lists.iter().filter(|list| list.state != "good");
                words(held.map(|list| list.name.clone()))
            }
            Alert::ListOld => {
                let old = |day: &Option<i64>| {
                    let days = facts.today.zip(*day).map_or(0, |(today, day)| today - day);
                    bounds.list_days > 0 && days > i64::from(bounds.list_days)
                };
                let lists = now.policy.lists.iter().filter(|list| old(&list.fetched_day));
                let pack = Some("pack".to_owned()).filter(|_| old(&now.policy.pack_day));
                words(lists.map(|list| list.name.clone()).chain(pack))
            }
            Alert::LoginsFailed => flag(self.logins >= over(bounds.failed_logins, raised)),
            Alert::PageFlooded => flag(self.flood >= over(FLOOD, raised)),
            Alert::AlertsUnsent => {
                let failing = now.alert_targets.iter().filter(|target| target.trouble.is_some());
                words(failing.map(|target| target.kind.clone()))
            }
        }
    }
}

/// Frames for the gateway itself that came faster than it takes them, whoever sent them.
fn over_its_rate(inband: &InbandNow) -> u64 {
    let rates =
        [Refused::OverSource, Refused::OverMac, Refused::OverAll, Refused::RingFull].map(Refused::as_str);
    inband
        .refused
        .iter()
        .filter(|reason| rates.contains(&reason.name.as_str()))
        .map(|reason| reason.count)
        .sum()
}

impl Steps {
    /// How many there were in the time that is just over.
    fn grown(&mut self, facts: &Facts) -> u64 {
        let ahead_ms = facts.wall_ms.map(|wall| wall - (facts.mono_ns / 1_000_000) as i64);
        let stepped = ahead_ms.zip(self.ahead_ms).is_some_and(|(now, then)| now.abs_diff(then) >= STEP_MS);
        self.all += u64::from(stepped);
        self.ahead_ms = ahead_ms.or(self.ahead_ms);
        self.window.grown(facts.mono_ns, self.all)
    }
}

/// The bound that holds: half of it for what is raised.
fn over(bound: u32, raised: bool) -> u64 {
    let bound = u64::from(bound).max(1);
    if raised { bound.div_ceil(2) } else { bound }
}

fn flag(holds: bool) -> Option<String> {
    holds.then(String::new)
}

/// What it is about, in an order that stays; nothing holds where it is about nothing.
fn words(all: impl Iterator<Item = String>) -> Option<String> {
    let mut all: Vec<String> = all.collect();
    all.sort();
    (!all.is_empty()).then(|| all.join(", "))
}

/// How much a counter grew in the time that is just over.
struct Window {
    span_ns: u64,
    marks: VecDeque<(u64, u64)>,
}

impl Window {
    fn grown(&mut self, now_ns: u64, value: u64) -> u64 {
        if self.marks.back().is_some_and(|(_, last)| value < *last) {
            // The counter of a new process: what it has was counted since.
            self.marks.clear();
            self.marks.push_back((now_ns, 0));
        }
        let step = self.span_ns / MARKS;
        if self.marks.back().is_none_or(|(at, _)| now_ns.saturating_sub(*at) >= step) {
            self.marks.push_back((now_ns, value));
        }
        // Not longer than it is said to be; by a step shorter at most.
        while self.marks.front().is_some_and(|(at, _)| now_ns.saturating_sub(*at) > self.span_ns) {
            self.marks.pop_front();
        }
        self.marks.front().map_or(0, |(_, first)| value.saturating_sub(*first))
    }
}

#[cfg(test)]
mod tests;
