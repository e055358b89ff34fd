//! Which table and rules an event was decided by.
//!
//! Service numbers are good for one table only, and events of an older one may still be in the ring when a new one is
//! in force. So a few generations are kept, found by the epoch in the event; and services get numbers of the engine's
//! own, by their keys, so that an hour's counts go on when the table is replaced in its middle.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Policy;
use crate::category::Category;
use crate::flow_event::FlowEvent;
use crate::rules::{Outcome, Target};
use crate::vocab::{GroupId, ObservationLevel, Purpose, Purposes, ServiceId};

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
    /// Names of groups; number *n* stands at *n* − 1.
    group_names: Vec<Arc<str>>,
}

/// What may be written about an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    pub(super) level: ObservationLevel,
    /// The group that it counts under, by our number; `None` where counts are of the whole network.
    pub(super) group: Option<GroupId>,
    /// How many people must stand behind a count.
    pub(super) k: u32,
    /// Whether uploads may be counted, and large ones.
    pub(super) uploads: bool,
    pub(super) large: bool,
    /// For which purposes there may be sessions.
    pub(super) sealed: Purposes,
}

#[derive(Debug)]
struct Generation {
    first_epoch: u64,
    policy: Policy,
    /// From the number of a service in the table to ours.
    services: Vec<u32>,
    /// From the row of a group, without that of nobody, to our number.
    groups: Vec<GroupId>,
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
            && last.policy.groups == policy.groups
        {
            last.policy.epoch = policy.epoch;
            return false;
        }
        let services = policy.table.services().map(|(_, service)| self.number(service.name)).collect();
        let names = policy.groups.clone();
        let groups = names.iter().map(|name| self.group(name)).collect();
        if self.all.len() >= KEPT {
            self.all.pop_front();
        }
        self.all.push_back(Generation {
            first_epoch: policy.epoch,
            policy,
            services,
            groups,
            matching: HashMap::new(),
        });
        true
    }

    /// Forgets all of them: what was decided by them is stale.
    pub(super) fn forget(&mut self) {
        self.all.clear();
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

    /// What may be written about an event, by what was in force when it was decided. `None` if that is not known any more.
    pub(super) fn allowed(&self, event: &FlowEvent) -> Option<Allowed> {
        let generation = self.of(event.epoch)?;
        let (levels, of) = (&generation.policy.levels, (event.group, event.category));
        let at = usize::from(levels.group_of(event.group).0).wrapping_sub(1);
        let is_for = |purpose| levels.is_for(of.0, of.1, purpose);
        Some(Allowed {
            level: levels.level(of.0, of.1),
            group: match levels.whole_network() {
                true => None,
                false => Some(generation.groups.get(at).copied().unwrap_or_default()),
            },
            k: levels.k(of.0, of.1),
            large: is_for(Purpose::Leak),
            sealed: levels.sealed_for(of.0, of.1),
            uploads: [Purpose::Leak, Purpose::Recruitment, Purpose::Conduct, Purpose::Security]
                .into_iter()
                .any(is_for),
        })
    }

    /// Our numbers of the groups and categories of which something may be written now, with their `k`.
    pub(super) fn observed(&self) -> Vec<(GroupId, Category, u32)> {
        let Some(generation) = self.all.back().filter(|g| !g.policy.levels.whole_network()) else {
            return Vec::new();
        };
        let levels = &generation.policy.levels;
        let ours = |row: GroupId| {
            generation.groups.get(usize::from(levels.group_of(row).0).wrapping_sub(1)).copied()
        };
        levels.observed().filter_map(|(group, of)| Some((ours(group)?, of, levels.k(group, of)))).collect()
    }

    /// Name of a group by our number.
    pub(super) fn group_name(&self, number: GroupId) -> Option<&str> {
        self.group_names.get(usize::from(number.0).checked_sub(1)?).map(AsRef::as_ref)
    }

    fn group(&mut self, name: &str) -> GroupId {
        let known = self.group_names.iter().position(|known| **known == *name);
        let at = known.unwrap_or_else(|| {
            self.group_names.push(name.into());
            self.group_names.len() - 1
        });
        // Beyond 65 535 names of groups nothing is counted about new ones.
        GroupId(u16::try_from(at + 1).unwrap_or_default())
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
        let group = policy.levels.group_of(event.group);
        let target = Target { group, category: event.category, service: event.service };
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
