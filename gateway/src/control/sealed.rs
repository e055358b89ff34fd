//! Sealed records in the slow path: sessions that are over go under the key of their day, keys are made and destroyed, and cases are
//! held against what is kept.
//!
//! ```text
//!  engine ── session ──► Sink ──► seal: charter in force? key of today? ──► record
//!  tick   ── the day is another: what goes on ends under the old key, and the key is forgotten
//!         ── retention is over: the key on disk is destroyed
//! ```
//!
//! What can't be sealed is not kept: without a charter in force, without a key, without a clock that can be trusted. It is counted, and
//! a `gap` says how much.

mod cases;

pub(super) use cases::Asked;
pub(crate) use cases::{CaseAnswer, CaseAsk};

use super::identity::Identity;
use super::log::Log;
use super::machine::Machine;
use crate::said::Said;
use glassgate_policy::audit::{AuditSink, BootId, GapCause, Hex, Now, Record, Word};
use glassgate_policy::case::{KeyChange, SessionLine};
use glassgate_policy::charter::Charter;
use glassgate_policy::session::{Session, SessionRecord, SessionSink};
use glassgate_policy::vocab::Purposes;
use glassgate_policy::{Category, ObservationLevel, Purpose, SubjectId};
use glassgate_sealed::case::Book;
use glassgate_sealed::keys::{KeyId, Keys};
use glassgate_sealed::on_record;
use glassgate_sealed::seal::{DayKey, Facts, UploadFact};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{info, warn};

/// The most sessions that wait to be sealed. At midnight all end at once, and the queue of the log is shorter than that.
const MOST_WAITING: usize = 1 << 18;
/// Sessions that are sealed before it is looked again whether the log has room: some 800 bytes each.
const BATCH: usize = 256;
/// How long a key outlives its day while the log takes no records.
const LONGEST_TURN_NS: u64 = 60_000_000_000;
/// How long to wait before a key that could not be made is tried again: each try may sync a disk that fails.
const RETRY_NS: u64 = 10_000_000_000;
/// How often it is looked whether the retention of a key is over.
const LOOK_NS: u64 = 60_000_000_000;

/// Takes sessions from the engine.
#[derive(Clone, Debug, Default)]
struct Sink(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    sessions: VecDeque<Over>,
    refused: u64,
}

/// A session that is over.
#[derive(Debug)]
struct Over {
    subject: SubjectId,
    purposes: Purposes,
    category: Category,
    service: Option<String>,
    session: Session,
}

impl SessionSink for Sink {
    fn take(&mut self, _now: &Now, record: &SessionRecord<'_>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.sessions.len() >= MOST_WAITING {
            waiting.refused += 1;
            return;
        }
        let SessionRecord { subject, purposes, category, service, session } = *record;
        let (service, session) = (service.map(str::to_owned), session.clone());
        waiting.sessions.push_back(Over { subject, purposes, category, service, session });
    }
}

/// What is sealed, and who may open it.
pub(super) struct Sealed {
    machine: Arc<dyn Machine>,
    sink: Sink,
    kept: Option<Kept>,
    /// Why nothing can be kept, if so.
    trouble: Option<String>,
    /// The day whose keys are in memory.
    day: Option<Date>,
    /// Since when that day is over, while sessions of it wait to be sealed.
    turning_since_ns: Option<u64>,
    in_use: Vec<InUse>,
    /// Sessions that could not be sealed, since that was last told.
    lost: u64,
    retry_at_ns: u64,
    look_at_ns: u64,
    denied: cases::Denials,
}

struct Kept {
    keys: Keys,
    book: Book,
}

/// A key in memory.
struct InUse {
    purpose: Purpose,
    /// The charter that it was made under.
    charter: [u8; 32],
    key: DayKey,
}

impl Sealed {
    /// Opens what is kept beside the charter. What can't be opened is said, and nothing is sealed then.
    pub(super) fn open(machine: Arc<dyn Machine>, folder: &Path, boot: BootId, now: &Now) -> Self {
        let open = || -> io::Result<Kept> {
            let keys = Keys::open(machine.private(&folder.join("keys"))?, boot, now)?;
            let book = Book::open(machine.private(&folder.join("cases"))?)?;
            Ok(Kept { keys, book })
        };
        let (kept, mut trouble) = match open() {
            Ok(kept) => (Some(kept), None),
            Err(e) => (None, Some(format!("sealed records can't be kept in {}: {e}", folder.display()))),
        };
        if let Some(damaged) = kept.as_ref().map(|kept| kept.keys.damaged()).filter(|names| !names.is_empty())
        {
            let names = damaged.join(", ");
            trouble = Some(format!(
                "keys of sealed records that can't be read, so what they sealed can't either: {names}"
            ));
        }
        if let Some(why) = &trouble {
            warn!("{why}");
        }
        Self {
            machine,
            sink: Sink::default(),
            kept,
            trouble,
            day: None,
            turning_since_ns: None,
            in_use: Vec::new(),
            lost: 0,
            retry_at_ns: 0,
            look_at_ns: 0,
            denied: cases::Denials::default(),
        }
    }

    /// Where the engine hands sessions to.
    pub(super) fn sink(&self) -> Box<dyn SessionSink> {
        Box::new(self.sink.clone())
    }

    /// Whether the day is another than the one whose keys are in memory: then sessions are to be [ended](Self::begins_to_turn),
    /// sealed, and the day [turned](Self::turn).
    pub(super) fn is_over(&mut self, charter: Option<&Charter>, now: &Now) -> bool {
        let today = today(charter, now);
        if self.day.is_none() {
            // A day begins without a key: its first session may be over at its end only.
            self.day = today;
        }
        self.day != today
    }

    /// Whether nobody has said yet that the day is over.
    pub(super) fn begins_to_turn(&mut self, now: &Now) -> bool {
        let begins = self.turning_since_ns.is_none();
        self.turning_since_ns.get_or_insert(now.mono_ns);
        begins
    }

    /// Forgets the keys in memory, when all sessions of their day are sealed. Where the log takes none for a minute, what waits
    /// is lost with them.
    pub(super) fn turn(&mut self, charter: Option<&Charter>, now: &Now) {
        let since_ns = self.turning_since_ns.unwrap_or(now.mono_ns);
        if self.is_waiting() && now.mono_ns.saturating_sub(since_ns) < LONGEST_TURN_NS {
            return;
        }
        self.give_up_waiting();
        self.in_use.clear();
        self.turning_since_ns = None;
        self.day = today(charter, now);
    }

    /// Whether there is something to seal.
    pub(super) fn is_waiting(&self) -> bool {
        let waiting = self.sink.0.lock().unwrap_or_else(PoisonError::into_inner);
        !waiting.sessions.is_empty() || waiting.refused > 0
    }

    fn give_up_waiting(&mut self) {
        let mut waiting = self.sink.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.lost += waiting.sessions.len() as u64;
        waiting.sessions.clear();
    }

    /// Seals what waits, as far as the log has room. `charter` is the one in force.
    pub(super) fn seal(&mut self, charter: Option<&Charter>, identity: &Identity, now: &Now, log: &mut Log) {
        while log.has_room() {
            let batch: Vec<Over> = {
                let mut waiting = self.sink.0.lock().unwrap_or_else(PoisonError::into_inner);
                self.lost += std::mem::take(&mut waiting.refused);
                let many = waiting.sessions.len().min(BATCH);
                waiting.sessions.drain(..many).collect()
            };
            if batch.is_empty() {
                return;
            }
            for over in batch {
                let done = charter.is_some_and(|charter| self.seal_one(&over, charter, identity, now, log));
                self.lost += u64::from(!done);
            }
        }
    }

    /// Seals all that waits, at an end in order; what the disk does not let through is lost.
    pub(super) fn seal_all(
        &mut self,
        charter: Option<&Charter>,
        identity: &Identity,
        now: &Now,
        log: &mut Log,
    ) {
        self.seal(charter, identity, now, log);
        while self.is_waiting() && log.settle() {
            self.seal(charter, identity, now, log);
        }
        self.give_up_waiting();
    }

    /// `false` if it is not on record for all of its purposes.
    fn seal_one(
        &mut self,
        over: &Over,
        charter: &Charter,
        identity: &Identity,
        now: &Now,
        log: &mut dyn AuditSink,
    ) -> bool {
        let Some(subject) = identity.subject_name(over.subject) else { return false };
        let facts = facts(over, now);
        let mut purposes = over.purposes.iter().peekable();
        let mut all = purposes.peek().is_some();
        for purpose in purposes {
            let Some(key) = self.key(purpose, charter, now, log) else {
                all = false;
                continue;
            };
            match key.seal(subject, over.category, &facts) {
                Some(sealed) => {
                    let line = SessionLine {
                        key: &sealed.key,
                        pseudonym: &sealed.pseudonym,
                        sealed: &sealed.sealed,
                    };
                    log.append(now, &Record::Session(line));
                }
                None => all = false,
            }
        }
        all
    }

    /// The key of today for a purpose; made, if there is none yet.
    fn key(
        &mut self,
        purpose: Purpose,
        charter: &Charter,
        now: &Now,
        log: &mut dyn AuditSink,
    ) -> Option<&mut DayKey> {
        let at =
            self.in_use.iter().position(|one| one.purpose == purpose && one.charter == *charter.sha256());
        if let Some(at) = at {
            return self.in_use.get_mut(at).map(|one| &mut one.key);
        }
        let terms = charter.file().case.as_ref()?;
        let entries = charter.file().purposes.iter();
        let entries = entries.filter(|e| e.purpose == purpose && e.level == ObservationLevel::Sealed);
        // Of one key, all records end together: with the shortest time that was promised.
        let retention = entries.map(|entry| entry.retention_days).min()?;
        let day = match self.day {
            Some(day) => day,
            None => today(Some(charter), now)?,
        };
        if now.mono_ns < self.retry_at_ns {
            return None;
        }
        let kept = self.kept.as_mut()?;
        match kept.keys.make((day, purpose), terms, charter.sha256(), retention, now) {
            Ok(key) => {
                let (name, charter) = (key.id().to_string(), *charter.sha256());
                info!("sealing under {name}");
                let change = Word(KeyChange::Made);
                log.append(
                    now,
                    &Record::SealedKey { change, key: &name, charter: Some(Hex(&charter)), uid: None },
                );
                self.day = Some(day);
                self.trouble = None;
                // Of a purpose the charter of which was replaced, nothing is sealed any more.
                self.in_use.retain(|one| one.purpose != purpose);
                self.in_use.push(InUse { purpose, charter, key });
                self.in_use.last_mut().map(|one| &mut one.key)
            }
            Err(e) => {
                let why = format!("nothing is sealed for {purpose}: {e}");
                warn!("{why}");
                self.trouble = Some(why);
                self.retry_at_ns = now.mono_ns.saturating_add(RETRY_NS);
                None
            }
        }
    }

    /// Lets time pass: tells what was lost, ends cases, destroys keys whose time is over.
    pub(super) fn tick(&mut self, now: &Now, log: &mut dyn AuditSink) {
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            let cause = Word(GapCause::NotSealed);
            log.append(now, &Record::Gap { cause, events: 0, records: lost, bytes: 0, error: None });
        }
        self.end_cases(now, log);
        if now.mono_ns >= self.look_at_ns {
            self.look_at_ns = now.mono_ns.saturating_add(LOOK_NS);
            let due = self.kept.as_mut().map(|kept| kept.keys.due(now)).unwrap_or_default();
            self.destroy(due, KeyChange::RetentionOver, None, now, log);
        }
    }

    /// Ends in order: what waits was sealed before.
    pub(super) fn close(&mut self, now: &Now, log: &mut dyn AuditSink) {
        self.tick(now, log);
        self.void_cases(now, log);
        self.in_use.clear();
        if let Some(Err(e)) = self.kept.as_mut().map(|kept| kept.keys.close(now)) {
            warn!("how long keys were kept can't be written down: {e}");
        }
    }

    /// What is wrong, for people.
    pub(super) fn trouble(&self, now: &Now) -> Option<Said> {
        let today = now.trusted_wall().map(|wall| wall.to_zoned(jiff::tz::TimeZone::UTC).date());
        let untold = self.kept.as_ref().zip(today).map_or(0, |(kept, today)| kept.book.untold(today));
        let untold = (untold > 0).then(|| {
            Said::new(
                format!(
                    "{untold} people are to be told that their records were looked at: `glassgate case list`"
                ),
                format!("有 {untold} 人须被告知其记录已被查阅：`glassgate case list`"),
            )
        });
        self.trouble.as_ref().map(|why| Said::new(why, format!("封存记录：{why}"))).or(untold)
    }

    /// Keys in memory by their names, each with the SHA-256 of its charter.
    #[cfg(test)]
    pub(super) fn in_use(&self) -> Vec<(String, String)> {
        let in_use = self.in_use.iter();
        in_use.map(|one| (one.key.id().to_string(), Hex(&one.charter).to_string())).collect()
    }

    /// What opens the records of a subject under a key in memory.
    #[cfg(test)]
    pub(super) fn opener(&self, key: &str, subject: &str, of: &[Category]) -> Option<Opener> {
        let key = self.in_use.iter().find(|one| one.key.id().to_string() == key)?;
        Some(key.key.opener(subject, of))
    }

    /// Keys on disk, and cases.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.kept.as_ref().map_or((0, 0), |kept| (kept.keys.len(), kept.book.pending().len()))
    }

    /// Destroys keys, each after its record.
    fn destroy(
        &mut self,
        keys: Vec<KeyId>,
        change: KeyChange,
        uid: Option<u32>,
        now: &Now,
        log: &mut dyn AuditSink,
    ) -> Vec<String> {
        let Some(kept) = &mut self.kept else { return Vec::new() };
        let mut destroyed = Vec::new();
        for id in keys {
            let name = id.to_string();
            match on_record::destroy(&mut kept.keys, id, (change, uid), now, log) {
                Ok(()) => {
                    info!("the key {name} is destroyed");
                    destroyed.push(name);
                }
                Err(e) => self.trouble = Some(format!("the key {name} can't be destroyed: {e}")),
            }
        }
        destroyed
    }
}

/// The day in the zone of the charter, where the clock can be trusted.
fn today(charter: Option<&Charter>, now: &Now) -> Option<Date> {
    Some(now.trusted_wall()?.to_zoned(charter?.file().zone.clone()).date())
}

fn facts(over: &Over, now: &Now) -> Facts {
    let Over { category, service, session, .. } = over;
    // The wall clock labels: when it was, by what it shows now.
    let wall = |mono_ns: u64| -> Option<Timestamp> {
        let ago = now.mono_ns.saturating_sub(mono_ns) / 1_000_000_000;
        let at = now.wall?.checked_sub(SignedDuration::from_secs(i64::try_from(ago).ok()?)).ok()?;
        at.round(jiff::Unit::Second).ok()
    };
    let upload = |upload: &glassgate_policy::session::Upload| UploadFact {
        at: wall(upload.mono_ns),
        bytes: upload.bytes,
        confidence: upload.confidence,
    };
    Facts {
        category: category.as_str().to_owned(),
        service: service.clone(),
        begin: wall(session.begin_mono_ns),
        end: wall(session.end_mono_ns),
        active_s: session.active_ms / 1000,
        flows: session.flows,
        evidence: session.evidence.map(|evidence| evidence.as_str().to_owned()),
        bytes_toserver: session.bytes_up,
        bytes_toclient: session.bytes_down,
        uploads: session.uploads.iter().map(upload).collect(),
        more_uploads: session.more_uploads,
    }
}

#[cfg(test)]
use glassgate_sealed::seal::Opener;

#[cfg(test)]
mod tests;
