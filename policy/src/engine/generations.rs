//! Which table and rules an event was decided by.
//!
//! Service numbers are good for one table only, and events of an older one may still be in the ring when a new one is
//! in force. So a few generations are kept, found by the epoch in the event; and services get numbers of the engine's
//! own, by their keys, so that an hour's counts go on when the table is replaced in its middle.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Policy;
use crate::flow_event::FlowEvent;
use crate::rules::{Outcome, Target};
use crate::vocab::{GroupId, ObservationLevel, ServiceId};

/// Generations kept: the one in force and those that events may still come from.
const KEPT: usize = 4;
/// The most answers about rules that are remembered.
const MAX_MATCHING: usize = 65_536;
/// The most services ever numbered; beyond them services are counted under their category.
const MAX_SERVICES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Generations {
    /// Oldest first.
    all: VecDeque<Generation>,
    /// Keys of services; number *n* stands at *n* − 1.
    keys: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

#[derive(Debug)]
struct Generation {
    first_epoch: u64,
    policy: Policy,
    /// From the number of a service in the table to ours.
    services: Vec<u32>,
    /// For each group, category and service seen: the rules that decide, or would if they were enforced.
    matching: HashMap<(u16, u8, u32), Vec<usize>>,
}

impl Generations {
    /// Adds a generation; `false` if the one in force has the same table and rules, which then stays.
    pub(super) fn push(&mut self, policy: Policy) -> bool {
        if let Some(last) = self.all.back_mut()
            && last.policy.table.hash() == policy.table.hash()
            && last.policy.rules == policy.rules
            && last.policy.moment == policy.moment
            && last.policy.levels == policy.levels
        {
            last.policy.epoch = policy.epoch;
            return false;
        }
        let services = policy.table.services().map(|(_, service)| self.number(service.name)).collect();
        if self.all.len() >= KEPT {
            self.all.pop_front();
        }
        self.all.push_back(Generation {
            first_epoch: policy.epoch,
            policy,
            services,
            matching: HashMap::new(),
        });
        true
    }

    fn number(&mut self, key: &str) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        if self.keys.len() >= MAX_SERVICES {
            return 0;
        }
        let key: Arc<str> = key.into();
        self.keys.push(key.clone());
        let number = self.keys.len() as u32;
        self.numbers.insert(key, number);
        number
    }

    /// Key of a service by our number.
    pub(super) fn service_key(&self, number: u32) -> Option<&str> {
        self.keys.get((number as usize).checked_sub(1)?).map(AsRef::as_ref)
    }

    /// The table in force.
    pub(super) fn current(&self) -> Option<&Policy> {
        self.all.back().map(|generation| &generation.policy)
    }

    /// The most that may be written about an event, and the group that it counts under, by what was in force when it was
    /// decided. `None` if that is not known any more.
    pub(super) fn allowed(&self, event: &FlowEvent) -> Option<(ObservationLevel, GroupId)> {
        let levels = &self.of(event.epoch)?.policy.levels;
        Some((levels.level(event.group, event.category), levels.counted_as(event.group)))
    }

    /// Our number for the service of an event. `None` if the table says otherwise than the event.
    pub(super) fn place(&self, event: &FlowEvent) -> Option<u32> {
        if event.service == ServiceId::NONE {
            return Some(0);
        }
        let generation = self.of(event.epoch)?;
        let service = generation.policy.table.service(event.service)?;
        let at = (event.service.0 as usize).wrapping_sub(1);
        generation.services.get(at).copied().filter(|_| service.category == event.category)
    }

    /// Calls `count` with the name of every rule that decides about the flow, or would if it were enforced.
    pub(super) fn hits(&mut self, event: &FlowEvent, mut count: impl FnMut(&str)) {
        let Some(i) = self.index_of(event.epoch) else { return };
        let Some(Generation { policy, matching, .. }) = self.all.get_mut(i) else { return };
        if policy.rules.as_slice().is_empty() {
            return;
        }
        let key = (event.group.0, event.category as u8, event.service.0);
        let target = Target { group: event.group, category: event.category, service: event.service };
        // Only a producer that makes groups up gets there: begin anew rather than grow.
        if matching.len() >= MAX_MATCHING {
            matching.clear();
        }
        let matching = matching.entry(key).or_insert_with(|| {
            let outcomes = policy.rules.explain(&target, &policy.moment);
            let telling = outcomes.filter(|(_, o)| matches!(o, Outcome::Decides | Outcome::WouldDecide));
            telling.map(|(rule, _)| rule).collect()
        });
        for rule in matching {
            if let Some(rule) = policy.rules.as_slice().get(*rule) {
                count(&rule.name);
            }
        }
    }

    fn of(&self, low_epoch: u16) -> Option<&Generation> {
        self.all.get(self.index_of(low_epoch)?)
    }

    /// The generation of an epoch of which only the low bits are known: the latest epoch that has them.
    fn index_of(&self, low_epoch: u16) -> Option<usize> {
        let latest = self.all.back()?.policy.epoch;
        let behind = u64::from((latest as u16).wrapping_sub(low_epoch));
        let epoch = latest.checked_sub(behind)?;
        self.all.iter().rposition(|generation| generation.first_epoch <= epoch)
    }
}
