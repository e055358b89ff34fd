//! What rules did.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::audit::Now;
use crate::flow_event::{EventKind, FlowEvent};
use crate::rules::{Rule, State};
use crate::vocab::SubjectId;

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
    /// Whether the numbers are rounded down to a power of ten, or to nothing: they are where people are told apart, because rules
    /// cross the groups and services that are told.
    pub rounded: bool,
    #[serde(skip)]
    pub(super) order: usize,
    #[serde(skip)]
    as_it_was: Option<Rule>,
    #[serde(skip)]
    hidden: Hidden,
}

/// Hits by people, which are not told while they come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hidden {
    /// Some of the people since it was last told, as many as must be.
    people: BTreeSet<SubjectId>,
    k: u32,
    flows: u64,
    bytes: u64,
    /// Whether there were any since the last hour that was told.
    news: bool,
    told: [u64; 2],
}

impl RuleHits {
    /// Counts for this rule from now on; from zero if it is not what it was.
    /// `by_people`: whether those who do something are told apart from now on.
    pub(super) fn bind(&mut self, rule: &Rule, place: usize, now: &Now, by_people: bool) {
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
        self.order = place;
        // Not by what is counted: that would say when the first of them came.
        self.rounded |= by_people;
    }

    /// Counts an event; `people`: who it is about and how many must stand behind what is told.
    pub(super) fn count(&mut self, event: &FlowEvent, people: Option<(SubjectId, u32)>) {
        if let Some((subject, k)) = people {
            let hidden = &mut self.hidden;
            hidden.k = hidden.k.max(k);
            if hidden.people.len() < hidden.k as usize {
                hidden.people.insert(subject);
            }
            hidden.flows += u64::from(event.kind == EventKind::Decided);
            hidden.bytes = hidden.bytes.saturating_add(event.bytes_up).saturating_add(event.bytes_down);
            hidden.news = true;
            return;
        }
        self.flows += u64::from(event.kind == EventKind::Decided);
        self.bytes = self.bytes.saturating_add(event.bytes_up).saturating_add(event.bytes_down);
        self.last_mono_ns = self.last_mono_ns.max(Some(event.mono_ns));
    }

    /// Tells what people did, once enough of them stand behind it, and how much of it only by its size.
    pub(super) fn end_hour(&mut self, began_mono_ns: u64) {
        let hidden = &mut self.hidden;
        if !std::mem::take(&mut hidden.news) || hidden.people.len() < hidden.k as usize {
            return;
        }
        // Whoever comes next waits for others again.
        hidden.people.clear();
        let now =
            [hidden.flows, hidden.bytes].map(|n| n.checked_ilog10().map_or(0, |power| 10u64.pow(power)));
        let before = std::mem::replace(&mut hidden.told, now);
        let [flows, bytes] =
            [0, 1].map(|i| now.get(i).zip(before.get(i)).map_or(0, |(now, before)| now - before));
        self.flows += flows;
        self.bytes = self.bytes.saturating_add(bytes);
        if flows > 0 {
            self.last_mono_ns = self.last_mono_ns.max(Some(began_mono_ns));
        }
    }
}
