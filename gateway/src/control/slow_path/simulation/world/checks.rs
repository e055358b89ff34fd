//! What must be true of what is on record, held against what really was.

use super::World;
use crate::control::slow_path::simulation::fixture::{PEOPLE, SERVICES, SUBJECTS};
use crate::control::slow_path::simulation::machine::{count, gaps};
use crate::control::{CaseAnswer, CaseAsk, Command};
use glassgate_policy::Category;
use glassgate_sealed::seal::{Opener, SealedSession};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Something somebody did, that the ring took.
pub(super) struct Event {
    /// The charter under which it was decided.
    pub(super) charter: Option<String>,
    /// Whether more than nothing could be written of it.
    pub(super) allowed: bool,
}

/// A key that was seen in memory.
struct Key {
    charter: String,
    /// Of each of [`SUBJECTS`].
    opener: [Opener; 2],
}

/// Keys of sealed records, and what may be found under them.
#[derive(Default)]
pub(super) struct Keys {
    /// By name, which may be given again once a key is destroyed.
    all: BTreeMap<String, Vec<Key>>,
    pub(super) in_memory: BTreeSet<String>,
    /// By person and service: what each bit of the bytes stands for.
    events: BTreeMap<(usize, usize), BTreeMap<u64, Event>>,
    given: BTreeMap<(usize, usize), u32>,
}

impl Keys {
    /// Bytes that no other event of that person and service has: a bit of its own. Of others than those whose records are looked at, any.
    pub(super) fn tag(&mut self, person: usize, service: usize) -> Option<u64> {
        if person != 0 && person != PEOPLE - 1 {
            return Some(100);
        }
        let given = self.given.entry((person, service)).or_default();
        *given += 1;
        (*given < 62).then(|| 1 << *given)
    }

    pub(super) fn note_event(&mut self, person: usize, service: usize, tag: u64, event: Event) {
        self.events.entry((person, service)).or_default().insert(tag, event);
    }
}

impl World {
    /// Keeps what opens the records of those who are looked at, under each key in memory.
    pub(super) fn note_keys(&mut self) {
        let Some(slow_path) = &self.slow_path else { return };
        let mut now = BTreeSet::new();
        let categories: Vec<Category> = SERVICES.iter().map(|(_, category, _)| *category).collect();
        for (name, charter) in slow_path.sealed.in_use() {
            now.insert(name.clone());
            if self.keys.in_memory.contains(&name) {
                continue;
            }
            let opener =
                SUBJECTS.map(|subject| slow_path.sealed.opener(&name, subject, &categories).unwrap());
            self.keys.all.entry(name).or_default().push(Key { charter, opener });
            self.tally.count("keys", 1);
        }
        self.keys.in_memory = now;
    }

    /// Ends in order, on a disk that works: all must add up.
    pub(super) fn end(&mut self) {
        let works = self.random.chance(600);
        if works {
            self.machine.disk.mend();
            self.machine.slow(0);
        }
        // What waits is taken, and what was lost behind it shows.
        self.turn();
        while self.slow_path.as_mut().is_some_and(|slow_path| slow_path.drain() > 0) {}
        self.last_flow();
        let Some(mut slow_path) = self.slow_path.take() else { return };
        slow_path.wind_up();
        let counters = slow_path.engine.counters();
        self.handled += counters.events + counters.missing;
        assert_eq!(self.handled, self.producer.offered(), "events offered = taken + missing");
        slow_path.close();
        self.tally.count("ends in order", 1);
        self.check_counts();
        if !works {
            return;
        }
        let (lines, life) = (self.machine.lines(), self.machine.offered_in_life());
        self.machine.balance(&lines);
        assert_eq!(gaps(&life, "events_missing", "events"), counters.missing, "events that are missing");
        let sealed = count(&life, "session");
        let lost = gaps(&life, "not_sealed", "records");
        assert_eq!(counters.sessions, sealed + lost, "sessions = sealed + lost");
        self.tally.count("sessions", sealed);
        self.tally.count("not sealed", lost);
        self.tally.count("events missing", counters.missing);
    }

    /// On a machine that works, no key is kept for longer than its charter says.
    pub(super) fn check_keys_are_gone(&mut self) {
        let Some(Ok(CaseAnswer::Keys(keys))) =
            self.ask(|answer| Command::Case { ask: CaseAsk::Keys, uid: None, answer })
        else {
            panic!("there are no keys");
        };
        for key in keys {
            assert!(key.kept_days < u64::from(key.retention_days), "{key:?} is kept for too long");
        }
    }

    /// Nothing is sealed but what a charter allowed, under the key of that charter, while it was on record that it holds; and once.
    pub(super) fn check_sessions(&mut self, lines: &[(u64, Value)]) {
        self.machine.verify(lines);
        for sha256 in &self.acts {
            assert!(
                lines.iter().any(|(_, line)| line["sha256"] == sha256.as_str()),
                "an act that was answered"
            );
        }
        let (mut charters, mut found) = (Vec::new(), BTreeMap::<_, BTreeSet<u64>>::new());
        for (seq, line) in lines {
            match line["event_type"].as_str().unwrap() {
                "charter" => charters.push(line),
                "session" => {
                    let text = |name: &str| line[name].as_str().unwrap().to_owned();
                    let sealed = SealedSession {
                        key: text("key"),
                        pseudonym: text("pseudonym"),
                        sealed: text("sealed"),
                    };
                    // A log that has no room but for acts takes these before what waits: times tell what was offered first.
                    let at = |line: &Value| (line["boot_id"].clone(), line["mono_ns"].as_u64());
                    let (boot, time) = at(line);
                    let before =
                        charters.iter().filter(|charter| at(charter).0 == boot && at(charter).1 < time);
                    let charter = before.max_by_key(|charter| at(charter).1);
                    let charter = charter.map(|line| (line["standing"].clone(), line["sha256"].clone()));
                    self.check_session(*seq, &sealed, charter.as_ref(), &mut found);
                }
                "sealed_key" if line["change"] == "retention_over" => {
                    self.tally.count("retention over", 1);
                }
                _ => {}
            }
        }
    }

    fn check_session(
        &mut self,
        seq: u64,
        sealed: &SealedSession,
        charter: Option<&(Value, Value)>,
        found: &mut BTreeMap<(usize, usize), BTreeSet<u64>>,
    ) {
        let keys = self.keys.all.get(&sealed.key).map_or(&[][..], Vec::as_slice);
        for key in keys {
            for (subject, opener) in key.opener.iter().enumerate() {
                let Some(Ok(facts)) = opener.open(sealed) else { continue };
                let person = if subject == 0 { 0 } else { PEOPLE - 1 };
                let service = SERVICES.iter().position(|(name, ..)| facts.service.as_deref() == Some(name));
                let place = (person, service.unwrap());
                let on_record = charter.is_some_and(|(standing, sha256)| {
                    standing == "in_force" && sha256 == key.charter.as_str()
                });
                assert!(
                    on_record,
                    "session {seq} is sealed under charter {}, on record is {charter:?}",
                    key.charter
                );
                let events = &self.keys.events[&place];
                for bit in (0..64).map(|bit| 1_u64 << bit).filter(|bit| facts.bytes_toserver & bit != 0) {
                    let event = &events[&bit];
                    assert!(event.allowed, "session {seq} has what no charter allowed");
                    assert_eq!(
                        event.charter.as_ref(),
                        Some(&key.charter),
                        "session {seq} is sealed under another charter than that under which it was observed"
                    );
                    assert!(found.entry(place).or_default().insert(bit), "session {seq} is there twice");
                }
                self.tally.count("sessions opened", 1);
            }
        }
    }
}
