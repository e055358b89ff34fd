//! The log of a simulated life, and what was promised of its records.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use glassgate_audit::simulated::{Driven, Memory, Promise, entries};
use glassgate_audit::{Options, Stamp};
use glassgate_policy::audit::{AuditSink, Now, Record};
use serde_json::Value;

/// A record: the boot that it was offered in, and its place in time there, which no two share.
type Place = (u128, u64);

pub(super) struct Ledger {
    log: Option<Driven>,
    disk: Memory,
    options: Options,
    boot: u128,
    at_ns: u64,
    /// All that was ever offered, as text.
    offered: BTreeMap<Place, String>,
    /// Where this life begins.
    life: BTreeMap<Place, ()>,
    waiting: Vec<(Place, Promise)>,
    acknowledged: BTreeMap<Place, u64>,
    /// Steps of cases that the log took: kind of the record, and case.
    steps: BTreeSet<(String, String)>,
}

pub(super) fn stamp(now: &Now) -> Stamp {
    Stamp { mono_ns: now.mono_ns, wall: now.wall, quality: now.quality.as_str() }
}

impl Ledger {
    pub(super) fn new(disk: Memory) -> Self {
        let options = Options {
            segment_bytes: 256 << 10,
            reserve_bytes: 256 << 10,
            quota_bytes: 64 << 18,
            origin: Some("simulated".to_owned()),
            ..Options::new("")
        };
        Self {
            log: None,
            disk,
            options,
            boot: 0,
            at_ns: 0,
            offered: BTreeMap::new(),
            life: BTreeMap::new(),
            waiting: Vec::new(),
            acknowledged: BTreeMap::new(),
            steps: BTreeSet::new(),
        }
    }

    /// Opens it. It is never taken for damaged.
    pub(super) fn open(&mut self, boot: u128, now: &Now) -> Result<(), String> {
        self.drop_it();
        self.at_ns = if boot == self.boot { self.at_ns.max(now.mono_ns) } else { now.mono_ns };
        self.boot = boot;
        let (log, recovered) =
            Driven::open(&self.disk, &self.options, boot, &stamp(now)).map_err(|e| e.to_string())?;
        assert_eq!(recovered.damaged, None, "the log is taken for damaged");
        self.log = Some(log);
        Ok(())
    }

    /// The process is gone, and what waited in it.
    pub(super) fn drop_it(&mut self) {
        self.hear();
        (self.log, self.waiting, self.life) = (None, Vec::new(), BTreeMap::new());
    }

    /// Records have odd places; those of the log's own have even ones.
    fn place(&mut self, now: &Now) -> Stamp {
        self.at_ns = (self.at_ns + 1).max(now.mono_ns) | 1;
        Stamp { mono_ns: self.at_ns, ..stamp(now) }
    }

    fn offer(&mut self, now: &Now, record: &Record<'_>) -> (Stamp, Vec<u8>) {
        let (stamp, body) = (self.place(now), record.to_json());
        let place = (self.boot, stamp.mono_ns);
        self.offered.insert(place, String::from_utf8(body.clone()).unwrap());
        self.life.insert(place, ());
        (stamp, body)
    }

    /// Whether a step of a case is on record.
    pub(super) fn has(&self, kind: &str, case: &str) -> bool {
        self.steps.contains(&(kind.to_owned(), case.to_owned()))
    }

    pub(super) fn turn(&mut self, now: &Now, settle: bool) {
        if let Some(log) = &mut self.log {
            log.turn(&stamp(now));
            if settle {
                log.settle(&stamp(now));
            }
        }
        self.hear();
    }

    fn hear(&mut self) {
        let acknowledged = &mut self.acknowledged;
        self.waiting.retain(|(place, promise)| match promise.outcome() {
            Some(Ok(seq)) => {
                acknowledged.insert(*place, seq);
                false
            }
            Some(Err(_)) => false,
            None => true,
        });
    }

    /// What the log shows now.
    pub(super) fn lines(&self) -> io::Result<Vec<(u64, Vec<u8>)>> {
        entries(&self.disk)
    }

    /// Ends in order. On a disk that works, all must add up then. Gives how many were lost.
    pub(super) fn close(&mut self, now: &Now, works: bool) -> u64 {
        let Some(log) = self.log.take() else { return 0 };
        let lost = log.close(&stamp(now));
        self.hear();
        if works {
            let there = self.there();
            let durable = self.life.keys().filter(|place| there.contains_key(place)).count() as u64;
            assert_eq!(self.life.len() as u64, durable + lost, "offered = durable + lost");
        }
        self.drop_it();
        lost
    }

    /// All records that are there and were offered: where they are.
    fn there(&self) -> BTreeMap<Place, u64> {
        let mut there = BTreeMap::new();
        for (seq, line) in self.lines().unwrap() {
            let value: Value = serde_json::from_slice(&line).unwrap();
            let boot = u128::from_str_radix(value["boot_id"].as_str().unwrap(), 16).unwrap();
            let place = (boot, value["mono_ns"].as_u64().unwrap());
            if place.1.is_multiple_of(2) {
                continue;
            }
            let body = self.offered.get(&place).unwrap_or_else(|| panic!("nobody offered {value}"));
            let said: Value = serde_json::from_str(body).unwrap();
            for (name, of) in said.as_object().unwrap() {
                assert_eq!(value[name], *of, "{name} of record {seq}");
            }
            assert_eq!(there.insert(place, seq), None, "record {seq} is there twice");
        }
        there
    }

    /// All that was acknowledged is there, where it was said to be.
    pub(super) fn verify(&self) {
        let there = self.there();
        for (place, seq) in &self.acknowledged {
            assert_eq!(there.get(place), Some(seq), "acknowledged: {}", self.offered[place]);
        }
    }
}

impl AuditSink for Ledger {
    fn append(&mut self, now: &Now, record: &Record<'_>) {
        let (stamp, body) = self.offer(now, record);
        let promise = self.log.as_mut().and_then(|log| log.append(&stamp, &body));
        self.waiting.extend(promise.map(|promise| ((self.boot, stamp.mono_ns), promise)));
    }

    fn commit(&mut self, _: &Now) -> io::Result<()> {
        Ok(())
    }

    fn act(&mut self, now: &Now, record: &Record<'_>) -> io::Result<()> {
        let (stamp, body) = self.offer(now, record);
        let log = self.log.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let promise = log.act(&stamp, &body).ok_or(io::ErrorKind::InvalidData)?;
        log.turn(&self::stamp(now));
        let outcome = promise.outcome().unwrap_or_else(|| Err("not in time".to_owned()));
        if outcome.is_err() {
            // It may still come to be.
            self.waiting.push(((self.boot, stamp.mono_ns), promise));
        }
        let seq = outcome.map_err(io::Error::other)?;
        self.acknowledged.insert((self.boot, stamp.mono_ns), seq);
        let value: Value = serde_json::from_slice(&body)?;
        let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        self.steps.insert((word("event_type"), word("case")));
        self.hear();
        Ok(())
    }
}
