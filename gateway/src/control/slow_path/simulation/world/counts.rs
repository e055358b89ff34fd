//! Of rows that are told about a group: as many people did that as the row says, and as its `k` asks for.

use super::World;
use crate::control::slow_path::simulation::fixture::SERVICES;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Who did what, as the ring took it, by service.
type Doers = BTreeMap<usize, BTreeSet<usize>>;

/// Of one process. It may be told less than this, as not all of it may be looked at.
#[derive(Default)]
pub(super) struct Counts {
    /// Since the last window ended.
    hour: Doers,
    /// Since the process began, as nobody here knows where its day does.
    day: Doers,
    /// Records of this life that were looked at.
    looked_at: usize,
}

impl Counts {
    pub(super) fn note(&mut self, person: usize, service: usize) {
        for doers in [&mut self.hour, &mut self.day] {
            doers.entry(service).or_default().insert(person);
        }
    }
}

impl World {
    /// Looks at what was told since the last time. What is in the ring was taken before.
    pub(super) fn check_counts(&mut self) {
        let life = self.machine.offered_in_life();
        let new = life.get(self.counts.looked_at..).unwrap_or_default();
        for record in new {
            match record["event_type"].as_str() {
                Some("group_rollup") => {
                    let doers = if record["span"] == "hour" { &self.counts.hour } else { &self.counts.day };
                    check(record, doers);
                    self.tally.count("rows of a group", 1);
                }
                Some("blindness") => self.counts.hour.clear(),
                _ => {}
            }
        }
        self.counts.looked_at = life.len();
    }
}

fn check(record: &Value, doers: &Doers) {
    let is = |name: &str, text: &str| record[name].as_str().is_none_or(|said| said == text);
    let of = SERVICES
        .iter()
        .enumerate()
        .filter(|(_, (service, category, _))| is("service", service) && is("category", category.as_str()));
    let people: BTreeSet<_> = of.filter_map(|(at, _)| doers.get(&at)).flatten().collect();
    let digits: String =
        record["subjects"].as_str().unwrap().chars().take_while(char::is_ascii_digit).collect();
    let (said, k) = (digits.parse::<usize>().unwrap(), record["k"].as_u64().unwrap());
    assert!(k >= 5 && said as u64 >= k, "{record}");
    assert!(people.len() >= said, "{} people did that, and {record} tells of {said}", people.len());
}
