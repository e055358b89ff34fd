//! What the events say, added up: flows and bytes by service and category, flows by evidence and by reason.
//!
//! Only counts, and only of flows that may be counted: the fast path sends no event for a flow whose level is `none`.
//! Bounded by the vocabulary: services come from the table, codes from closed lists.

use super::snapshot::{Aggregate, Count};
use glassgate_policy::flow_event::EventKind;
use glassgate_policy::table::SignatureTable;
use glassgate_policy::{AppProto, Category, Evidence, FlowEvent, Reason, ServiceId};
use std::collections::HashMap;

/// Counts since the control process started.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Events taken from the rings.
    pub(super) events: u64,
    evidence: HashMap<Evidence, u64>,
    protocols: HashMap<AppProto, u64>,
    reasons: HashMap<Reason, u64>,
    categories: HashMap<Category, Sum>,
    /// By name, not by id: ids change with the table.
    services: HashMap<String, (Category, Sum)>,
    /// Events of services that the table in force does not know: they were decided under another one.
    stale: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    flows: u64,
    bytes_up: u64,
    bytes_down: u64,
}

impl Tally {
    /// Adds an event. `table` is the table in force.
    pub(super) fn add(&mut self, event: &FlowEvent, table: Option<&SignatureTable>) {
        self.events += 1;
        if event.kind == EventKind::Decided {
            match (event.evidence, event.reason) {
                (Evidence::None, Some(reason)) => *self.reasons.entry(reason).or_default() += 1,
                (Evidence::None, None) => {}
                (evidence, _) => *self.evidence.entry(evidence).or_default() += 1,
            }
            if let Some(app) = event.app {
                *self.protocols.entry(app).or_default() += 1;
            }
        }
        // A question about a name is no use of what the name stands for.
        let asked = event.evidence == Evidence::Dns;
        if event.category.is_protected() || asked {
            return;
        }
        self.categories.entry(event.category).or_default().add(event);
        if event.service == ServiceId::NONE {
            return;
        }
        match table.and_then(|t| t.service(event.service)) {
            Some(service) => match self.services.get_mut(service.name) {
                Some((_, sum)) => sum.add(event),
                None => {
                    let mut sum = Sum::default();
                    sum.add(event);
                    self.services.insert(service.name.to_owned(), (service.category, sum));
                }
            },
            None => self.stale += 1,
        }
    }

    /// Flows that got a name, by how it is known.
    pub(super) fn named(&self) -> Vec<Count> {
        counts(self.evidence.iter().map(|(e, n)| (e.as_str(), *n)))
    }

    /// Flows that got a name, or failed to, by the protocol in which it would stand.
    pub(super) fn protocols(&self) -> Vec<Count> {
        counts(self.protocols.iter().map(|(p, n)| (p.as_str(), *n)))
    }

    /// Flows without a name, by reason.
    pub(super) fn unnamed(&self) -> Vec<Count> {
        counts(self.reasons.iter().map(|(r, n)| (r.as_str(), *n)))
    }

    /// Flows and bytes by category.
    pub(super) fn categories(&self) -> Vec<Aggregate> {
        sorted(self.categories.iter().map(|(category, sum)| aggregate(category.as_str(), *category, sum)))
    }

    /// Flows and bytes by service.
    pub(super) fn services(&self) -> Vec<Aggregate> {
        sorted(self.services.iter().map(|(name, (category, sum))| aggregate(name, *category, sum)))
    }
}

impl Sum {
    fn add(&mut self, event: &FlowEvent) {
        self.flows += u64::from(event.kind == EventKind::Decided);
        self.bytes_up = self.bytes_up.saturating_add(event.bytes_up);
        self.bytes_down = self.bytes_down.saturating_add(event.bytes_down);
    }
}

/// Words with a count that is not zero, greatest first.
pub(super) fn counts<'a>(all: impl Iterator<Item = (&'a str, u64)>) -> Vec<Count> {
    let mut counts: Vec<Count> =
        all.filter(|(_, n)| *n > 0).map(|(name, count)| Count { name: name.to_owned(), count }).collect();
    counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    counts
}

fn aggregate(name: &str, category: Category, sum: &Sum) -> Aggregate {
    Aggregate {
        name: name.to_owned(),
        category: category.as_str().to_owned(),
        flows: sum.flows,
        bytes_up: sum.bytes_up,
        bytes_down: sum.bytes_down,
    }
}

fn sorted(all: impl Iterator<Item = Aggregate>) -> Vec<Aggregate> {
    let mut all: Vec<Aggregate> = all.filter(|a| a.flows > 0).collect();
    all.sort_by(|a, b| b.flows.cmp(&a.flows).then_with(|| a.name.cmp(&b.name)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassgate_policy::{Action, GroupId, ObservationLevel};

    fn event(kind: EventKind, evidence: Evidence, category: Category, service: u32) -> FlowEvent {
        FlowEvent {
            seq: 0,
            mono_ns: 0,
            bytes_up: 10,
            bytes_down: 100,
            frames_up: 1,
            frames_down: 1,
            duration_ms: 0,
            service: ServiceId(service),
            device: 0,
            group: GroupId(0),
            epoch: 1,
            kind,
            app: Some(AppProto::Tls),
            evidence,
            reason: (evidence == Evidence::None).then_some(Reason::NoSni),
            category,
            action: Action::Forward,
            level: ObservationLevel::Aggregate,
        }
    }

    #[test]
    fn a_flow_is_counted_once_and_its_bytes_as_they_come() {
        let table = glassgate_policy::builtin::table().unwrap();
        let (id, service) = table.services().next().unwrap();
        let (name, category) = (service.name.to_owned(), service.category);
        let mut tally = Tally::default();
        for kind in [EventKind::Decided, EventKind::Progress, EventKind::Ended] {
            tally.add(&event(kind, Evidence::Sni, category, id.0), Some(&table));
        }
        let services = tally.services();
        assert_eq!((services[0].name.as_str(), services[0].flows), (name.as_str(), 1));
        assert_eq!((services[0].bytes_up, services[0].bytes_down), (30, 300));
        assert_eq!(tally.named(), [Count { name: "sni".into(), count: 1 }]);
    }

    #[test]
    fn what_is_not_counted() {
        let mut tally = Tally::default();
        tally.add(&event(EventKind::Decided, Evidence::Sni, Category::ProtectedHealth, 1), None);
        tally.add(&event(EventKind::Decided, Evidence::Dns, Category::Games, 1), None);
        assert!(tally.categories().is_empty() && tally.services().is_empty());
        tally.add(&event(EventKind::Decided, Evidence::None, Category::Unknown, 0), None);
        assert_eq!(tally.unnamed(), [Count { name: "no_sni".into(), count: 1 }]);
        tally.add(&event(EventKind::Decided, Evidence::Sni, Category::Games, 9), None);
        assert_eq!(tally.stale, 1, "a service without a table");
    }
}
