//! One machine, and what is known of it by who watches from outside.

mod cases;
mod fixture;

use std::collections::BTreeMap;
use std::sync::Arc;

use glassgate_audit::simulated::{Memory, Random};
use glassgate_policy::audit::{AuditSink as _, BootId, GapCause, Hex, Now, Record, WallQuality, Word};
use glassgate_policy::case::{KeyChange, SessionLine};
use glassgate_policy::{Category, Purpose};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use self::cases::Asked;
use self::fixture::{Fixture, facts};
use super::Tally;
use super::ledger::Ledger;
use crate::case::Book;
use crate::keys::{KeyId, Keys};
use crate::on_record;
use crate::seal::{DayKey, SealedSession};

const S: u64 = 1_000_000_000;
const DAY_S: u64 = 86_400;
/// Of the time that a machine was off, so much is believed at a start.
const BELIEVED_S: u64 = 3 * DAY_S;
/// What passed is written down this often.
const WRITTEN_S: u64 = 600;
/// Of each purpose two.
pub(super) const CATEGORIES: [[Category; 2]; 2] =
    [[Category::CloudStorage, Category::FileTransfer], [Category::Video, Category::Music]];
pub(super) const SUBJECTS: [&str; 2] = ["s.chen", "l.wang"];
/// Purposes, with how many days their records are kept.
pub(super) const PURPOSES: [(Purpose, u16); 2] = [(Purpose::Leak, 9), (Purpose::Conduct, 30)];

/// Time that passed, as different watchers count it.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    /// Really.
    true_s: u64,
    /// While the machine was on.
    on_s: u64,
    /// Of the time that it was off, what somebody with a good clock would have believed at starts.
    believed_s: u64,
    /// Before a cut, since it was last written down.
    forgotten_s: u64,
    starts: u64,
}

/// A key that was made.
struct Made {
    serial: u64,
    shares: Vec<String>,
    at: Passed,
    retention_days: u16,
    /// Its destruction was begun: it may be there or not.
    ending: bool,
}

/// A session that was sealed.
pub(super) struct Session {
    /// Of its key.
    serial: u64,
    subject: &'static str,
    category: Category,
    service: String,
}

pub(super) struct World {
    random: Random,
    disk: Memory,
    /// Nothing of the disk fails but by power cuts.
    calm: bool,
    /// The wall clock is right, where there is one.
    honest: bool,
    passed: Passed,
    /// Off, and no clock that can be trusted was seen since.
    off_s: u64,
    mono_s: u64,
    off_by_s: i64,
    quality: WallQuality,
    has_wall: bool,
    fixture: &'static Fixture,
    ledger: Ledger,
    kept: Option<(Keys, Book)>,
    in_use: Vec<DayKey>,
    day: Option<Date>,
    made: BTreeMap<KeyId, Made>,
    /// Shares of keys that are destroyed, and were told to be.
    destroyed: Vec<String>,
    sessions: BTreeMap<String, Session>,
    /// What is known to have been written down of the time that passed.
    written_s: u64,
    asked: Vec<Asked>,
    /// While the machine was on, when keys were last looked at.
    ticked_on_s: u64,
    /// Of the time off, what was counted since.
    unwritten_s: u64,
    over: bool,
    tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let disk = Memory::new(random.next());
        crate::seeded::begin(random.next());
        let (calm, honest) = (random.chance(250), random.chance(400));
        let ledger = Ledger::new(disk.folder("audit"));
        Self {
            random,
            disk,
            calm,
            honest,
            passed: Passed::default(),
            off_s: 0,
            mono_s: 20,
            off_by_s: 0,
            quality: WallQuality::Synchronized,
            has_wall: true,
            fixture: Fixture::get(),
            ledger,
            kept: None,
            in_use: Vec::new(),
            day: None,
            made: BTreeMap::new(),
            destroyed: Vec::new(),
            sessions: BTreeMap::new(),
            written_s: 0,
            asked: Vec::new(),
            ticked_on_s: 0,
            unwritten_s: 0,
            over: false,
            tally: Tally::default(),
        }
    }

    fn now(&self) -> Now {
        let start = Timestamp::from_second(1_803_866_400).unwrap();
        let since = SignedDuration::from_secs(self.passed.true_s as i64 + self.off_by_s);
        let wall = start.checked_add(since).ok().filter(|_| self.has_wall);
        Now { mono_ns: self.mono_s * S, wall, quality: self.quality }
    }

    fn today(&self) -> Option<Date> {
        Some(self.now().trusted_wall()?.to_zoned(self.fixture.charter.file().zone.clone()).date())
    }

    pub(super) fn lives(mut self) -> Tally {
        for _ in 0..1 + self.random.below(6) {
            self.life();
        }
        self.last_life();
        for (call, n) in self.disk.faults() {
            self.tally.count(call, n);
        }
        self.tally
    }

    fn try_open(&mut self) -> Result<(), String> {
        let now = self.now();
        self.ledger.open(u128::from(self.passed.starts), &now)?;
        let boot = BootId(u128::from(self.passed.starts));
        let keys = Keys::open(Arc::new(self.disk.folder("keys")), boot, &now).map_err(|e| e.to_string())?;
        let book = Book::open(Arc::new(self.disk.folder("cases"))).map_err(|e| e.to_string())?;
        self.kept = Some((keys, book));
        self.believe();
        self.look_around();
        Ok(())
    }

    /// Opens all of it. Faults may stop that, but only for as long as there are any.
    fn open(&mut self) {
        if !self.calm && self.random.chance(200) {
            self.disk.fail(self.random.below(200));
            if self.random.chance(500) {
                self.disk.die_after(self.random.below(40));
            }
            if self.try_open().is_err() {
                self.tally.count("not opened", 1);
            }
            self.kill();
        }
        self.disk.mend();
        self.try_open().unwrap_or_else(|why| panic!("it does not open: {why}"));
    }

    /// What was acknowledged is there.
    fn look_around(&mut self) {
        let Some((keys, book)) = &self.kept else { return };
        assert!(keys.damaged().is_empty(), "no key is damaged: {:?}", keys.damaged());
        assert!(
            keys.passed_s()[0] >= self.written_s,
            "{} s that passed were written down, {} s are known",
            self.written_s,
            keys.passed_s()[0]
        );
        for (id, made) in &self.made {
            let there =
                keys.shares(*id).map(|shares| shares.iter().map(|share| share.sealed.clone()).collect());
            let same = there.as_ref() == Some(&made.shares);
            assert!(same || made.ending && there.is_none(), "the key {id} is {there:?}");
        }
        self.check_cases(book);
        self.look_for_remains();
        // What was not told to be destroyed and is.
        self.made.retain(|id, _| keys.shares(*id).is_some());
    }

    /// No byte of a key that was destroyed is anywhere.
    fn look_for_remains(&self) {
        for (path, bytes) in self.disk.all() {
            if path.starts_with("audit/") {
                continue;
            }
            let text = String::from_utf8_lossy(&bytes);
            for share in &self.destroyed {
                // A quarter of a share's text is more than chance brings.
                let part = |n: usize| &share[share.len() / 4 * n..share.len() / 4 * (n + 1)];
                assert!(
                    !(0..4).any(|n| text.contains(part(n))),
                    "{path} holds a part of a key that was destroyed"
                );
            }
        }
    }

    /// The process is killed, or the power goes, if it must.
    fn kill(&mut self) {
        if self.disk.is_dead() {
            return self.cut();
        }
        self.tally.count("kills", 1);
        self.gone();
    }

    fn gone(&mut self) {
        self.note_written();
        self.ledger.drop_it();
        (self.kept, self.day) = (None, None);
        self.in_use.clear();
        self.asked.retain_mut(Asked::restarted);
    }

    fn cut(&mut self) {
        self.tally.count("cuts", 1);
        self.gone();
        self.disk.crash();
        self.passed.starts += 1;
        self.passed.forgotten_s +=
            WRITTEN_S + 100 + self.passed.on_s - self.ticked_on_s + std::mem::take(&mut self.unwritten_s);
        self.ticked_on_s = self.passed.on_s;
        let off_s = match self.random.below(4) {
            0 => self.random.below(40 * DAY_S),
            1 => self.random.below(4 * DAY_S),
            _ => self.random.below(7200),
        };
        self.passed.true_s += off_s;
        self.off_s += off_s;
        self.mono_s = 0;
        let boot_s = 10 + self.random.below(60);
        self.pass(boot_s);
    }

    fn pass(&mut self, seconds: u64) {
        self.mono_s += seconds;
        self.passed.true_s += seconds;
        self.passed.on_s += seconds;
    }

    /// The time off counts as soon as there is a clock.
    fn believe(&mut self) {
        if self.now().trusted_wall().is_some() {
            let off_s = std::mem::take(&mut self.off_s).min(BELIEVED_S);
            self.passed.believed_s += off_s;
            self.unwritten_s += off_s;
        }
    }

    fn note_written(&mut self) {
        if let Some((keys, _)) = &self.kept {
            self.written_s = self.written_s.max(keys.passed_s()[1]);
        }
    }

    /// Clocks go on, and now and then they do otherwise.
    fn clocks(&mut self) {
        let seconds = match self.random.below(12) {
            0 => self.random.below(3 * DAY_S),
            1..=4 => self.random.below(DAY_S / 3),
            _ => self.random.below(1800),
        };
        self.pass(seconds);
        if self.random.chance(100) {
            self.has_wall = self.random.chance(800);
            let good = self.random.chance(800);
            self.quality = if good { WallQuality::Synchronized } else { WallQuality::Unsynchronized };
        }
        if !self.honest && self.random.chance(60) {
            let most = if self.random.chance(500) { DAY_S } else { 3653 * DAY_S };
            let step = self.random.below(2 * most) as i64 - most as i64;
            self.off_by_s = (self.off_by_s + step).clamp(-40_000_000, 320_000_000);
            self.tally.count("clock steps", 1);
        }
    }

    fn life(&mut self) {
        self.open();
        self.over = false;
        if self.random.chance(400) {
            self.disk.die_after(self.random.below(300));
        }
        for _ in 0..1 + self.random.below(60) {
            if !self.calm && self.random.chance(60) {
                let of_thousand = if self.random.chance(500) { 0 } else { self.random.below(600) };
                self.disk.fail(of_thousand);
            }
            if !self.calm && self.random.chance(20) {
                let room = if self.random.chance(400) { None } else { Some(self.random.below(3 << 20)) };
                self.disk.limit(room);
            }
            self.step();
            if self.over || self.disk.is_dead() && self.random.chance(300) {
                break;
            }
        }
        match self.random.below(10) {
            _ if self.over || self.disk.is_dead() => self.cut(),
            0..=2 => self.kill(),
            3..=6 => self.cut(),
            _ => {
                self.close(false);
                if self.random.chance(500) { self.cut() } else { self.kill() }
            }
        }
    }

    fn step(&mut self) {
        self.clocks();
        if self.random.chance(600) {
            for _ in 0..self.random.below(6) {
                self.session();
            }
        }
        if self.random.chance(400) {
            self.case_step();
        }
        if self.random.chance(500) {
            self.tick();
        }
        if self.random.chance(15) {
            self.by_word();
        }
        let (now, settle) = (self.now(), self.random.chance(500));
        self.ledger.turn(&now, settle);
        if let Some((_, book)) = &self.kept {
            self.check_cases(book);
        }
        self.note_written();
    }

    /// Somebody's visit is over.
    fn session(&mut self) {
        let now = self.now();
        self.tally.count("sessions", 1);
        let of = self.random.below(2) as usize;
        let (purpose, retention_days) = PURPOSES[of];
        let subject = SUBJECTS[self.random.below(2) as usize];
        let category = CATEGORIES[of][self.random.below(2) as usize];
        self.believe();
        let Some(today) = self.today() else { return self.lost(&now) };
        if self.day != Some(today) {
            self.in_use.clear();
            self.day = Some(today);
        }
        if !self.in_use.iter().any(|key| key.id().purpose == purpose) {
            let Some((keys, _)) = &mut self.kept else { return };
            let charter = &self.fixture.charter;
            let terms = charter.file().case.as_ref().unwrap();
            let made = keys.make((today, purpose), terms, charter.sha256(), retention_days, &now);
            let Ok(key) = made else { return self.lost(&now) };
            let (id, name) = (key.id(), key.id().to_string());
            let shares = keys.shares(id).unwrap().iter().map(|share| share.sealed.clone()).collect();
            let serial = self.tally.0.get("keys made").copied().unwrap_or_default();
            let made = Made { serial, shares, at: self.passed, retention_days, ending: false };
            // The name of a key that is destroyed may be given again, where a clock went back.
            let before = self.made.insert(id, made);
            assert!(before.is_none_or(|before| before.ending), "{id} is made twice");
            self.tally.count("keys made", 1);
            let (change, charter) = (Word(KeyChange::Made), Some(Hex(charter.sha256())));
            self.ledger.append(&now, &Record::SealedKey { change, key: &name, charter, uid: None });
            self.in_use.push(key);
        }
        let n = self.sessions.len();
        let Some(key) = self.in_use.iter_mut().find(|key| key.id().purpose == purpose) else { return };
        let Some(serial) = self.made.get(&key.id()).map(|made| made.serial) else { return };
        let service = format!("service-{n}");
        let Some(sealed) = key.seal(subject, category, &facts(&service, category)) else { return };
        let SealedSession { key, pseudonym, sealed } = &sealed;
        self.ledger.append(&now, &Record::Session(SessionLine { key, pseudonym, sealed }));
        self.sessions.insert(sealed.clone(), Session { serial, subject, category, service });
    }

    fn lost(&mut self, now: &Now) {
        self.tally.count("lost", 1);
        let cause = Word(GapCause::NotSealed);
        self.ledger.append(now, &Record::Gap { cause, events: 0, records: 1, bytes: 0, error: None });
    }

    /// Time passes for what is kept: cases end, keys are destroyed.
    fn tick(&mut self) {
        let now = self.now();
        let Some((keys, book)) = &mut self.kept else { return };
        for case in book.sweep(&now) {
            if let Some(known) = book.about(&case) {
                self.ledger.append(&now, &Record::CaseExpired(known.record(None, None, 0)));
            }
        }
        let due = keys.due(&now);
        self.believe();
        // What a dead machine would have written down is forgotten.
        if !self.disk.is_dead() {
            (self.ticked_on_s, self.unwritten_s) = (self.passed.on_s, 0);
        }
        for id in &due {
            if let Some(made) = self.made.get(id) {
                self.check_due(*id, made);
            }
        }
        if self.calm && self.honest {
            for (id, made) in self.made.iter().filter(|(id, _)| !due.contains(id)) {
                let (on_s, believed_s) =
                    (self.passed.on_s - made.at.on_s, self.passed.believed_s - made.at.believed_s);
                let forgotten_s = self.passed.forgotten_s - made.at.forgotten_s;
                let kept_s = (on_s + believed_s).saturating_sub(forgotten_s);
                let retention_s = u64::from(made.retention_days) * DAY_S;
                assert!(kept_s < retention_s + 100, "{id} was kept for {kept_s} s and is not due");
            }
        }
        for id in due {
            self.destroy(id, KeyChange::RetentionOver);
        }
    }

    /// Not before its time: by the time that the machine was on, and three days of each time that it was off.
    fn check_due(&self, id: KeyId, made: &Made) {
        let starts = self.passed.starts - made.at.starts;
        let on_s = self.passed.on_s - made.at.on_s;
        let retention_s = u64::from(made.retention_days) * DAY_S;
        // Clocks are read in whole seconds.
        let rounding_s = 2 * (starts + 1);
        assert!(
            on_s + starts * BELIEVED_S + rounding_s >= retention_s,
            "{id} is due after {on_s} s, {starts} starts"
        );
        let true_s = self.passed.true_s - made.at.true_s;
        assert!(!self.honest || true_s + rounding_s >= retention_s, "{id} is due after {true_s} s");
    }

    /// Somebody says that the clock is right.
    fn by_word(&mut self) {
        let now = self.now();
        let Some((keys, _)) = &self.kept else { return };
        for id in keys.due_by_the_clock(&now) {
            self.destroy(id, KeyChange::ClockConfirmed);
        }
    }

    fn destroy(&mut self, id: KeyId, change: KeyChange) {
        let now = self.now();
        let Some((keys, _)) = &mut self.kept else { return };
        if let Some(made) = self.made.get_mut(&id) {
            made.ending = true;
        }
        match on_record::destroy(keys, id, (change, None), &now, &mut self.ledger) {
            Ok(()) => {
                assert!(keys.shares(id).is_none());
                let is_time = change == KeyChange::RetentionOver;
                self.tally.count(if is_time { "destroyed by time" } else { "destroyed by word" }, 1);
                self.destroyed.extend(self.made.remove(&id).into_iter().flat_map(|made| made.shares));
                self.look_for_remains();
                if self.random.chance(120) {
                    self.tally.count("cut after destruction", 1);
                    self.over = true;
                }
            }
            Err(_) => self.tally.count("not destroyed", 1),
        }
    }

    fn close(&mut self, works: bool) {
        let now = self.now();
        if let Some((keys, _)) = &mut self.kept {
            _ = keys.close(&now);
        }
        self.note_written();
        self.ledger.append(&now, &Record::Stopped {});
        self.ledger.close(&now, works);
        self.tally.count("ends in order", 1);
    }

    /// One more on a disk that works, at the end of which all must add up.
    fn last_life(&mut self) {
        self.open();
        self.over = false;
        for _ in 0..1 + self.random.below(20) {
            self.step();
        }
        self.mono_s += 120;
        let now = self.now();
        self.ledger.turn(&now, true);
        self.ledger.turn(&now, true);
        self.opens_with_two();
        // Later than the longest retention.
        self.pass(31 * DAY_S);
        let now = self.now();
        let due = self.kept.as_mut().map(|(keys, _)| keys.due(&now)).unwrap();
        due.into_iter().for_each(|id| self.destroy(id, KeyChange::RetentionOver));
        let (keys, _) = self.kept.as_ref().unwrap();
        assert!(keys.is_empty() && self.made.is_empty(), "all of them are over");
        self.look_for_remains();
        let left: Vec<_> = self.disk.all().into_iter().map(|(path, _)| path).collect();
        let left: Vec<_> = left.iter().filter(|path| path.starts_with("keys/")).collect();
        assert!(left.iter().all(|path| *path == "keys/elapsed.json"), "left of keys: {left:?}");
        self.close(true);
        self.ledger.verify();
        self.disk.crash();
        self.ledger.verify();
        self.look_for_remains();
    }

    /// What was sealed under keys that are there opens with the shares of two.
    fn opens_with_two(&self) {
        let (keys, _) = self.kept.as_ref().unwrap();
        let lines = self.ledger.lines().unwrap();
        let openers: BTreeMap<String, _> = self
            .made
            .keys()
            .filter(|id| keys.shares(**id).is_some())
            .map(|id| {
                let share = |n: usize| self.fixture.share(&keys.shares(*id).unwrap()[n], n);
                let key =
                    keys.open_with(*id, &share(0), &share(2)).unwrap_or_else(|| panic!("{id} does not open"));
                (id.to_string(), SUBJECTS.map(|subject| key.opener(subject, CATEGORIES.as_flattened())))
            })
            .collect();
        for (seq, line) in lines {
            let Some((record, session)) = self.session_of(&line) else { continue };
            // A key of the same name may have been destroyed, before a clock went back.
            let Some(openers) = openers.get(&record.key).filter(|_| self.is_of_now(&record.key, session))
            else {
                continue;
            };
            let own = SUBJECTS.iter().position(|subject| *subject == session.subject).unwrap();
            let opened = openers[own].open(&record).map(Result::unwrap).map(|facts| facts.service);
            assert_eq!(opened, Some(Some(session.service.clone())), "record {seq}");
            assert_eq!(openers[1 - own].open(&record), None);
        }
    }

    /// Whether the key of that name is the one that sealed it.
    fn is_of_now(&self, key: &str, session: &Session) -> bool {
        let made = KeyId::parse(key).and_then(|id| self.made.get(&id));
        made.is_some_and(|made| made.serial == session.serial)
    }

    /// A line of the log that is a session, and what is known of it.
    fn session_of(&self, line: &[u8]) -> Option<(SealedSession, &Session)> {
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        let word = |name: &str| Some(value[name].as_str()?.to_owned());
        let record =
            SealedSession { key: word("key")?, pseudonym: word("pseudonym")?, sealed: word("sealed")? };
        let session = self.sessions.get(&record.sealed)?;
        Some((record, session))
    }
}
