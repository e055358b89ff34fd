//! The audit log as the slow path has it: a Merkle log, or nothing while it can't be opened.
//!
//! A log that can't be opened must not keep the page from saying so, and never keeps a frame from passing. What would
//! have been written meanwhile is counted and becomes a record of its own when the log opens.

use super::machine::{Machine, Records};
use super::witness::Asking;
use crate::config::Audit;
use glassgate_audit::{Options, Recovered, Stamp, Status};
use glassgate_policy::audit::{AuditSink, BootId, GapCause, Now, Record, Word};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How long to wait before a log that could not be opened is tried again.
const RETRY_NS: u64 = 10_000_000_000;
/// How long an act of a person waits until its record is durable.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Log {
    machine: Arc<dyn Machine>,
    settings: Audit,
    /// Where records are counted before they are taken: a file that outlives this process.
    tally: PathBuf,
    boot: BootId,
    log: Option<Box<dyn Records>>,
    witness: Option<Asking>,
    /// What it is called, once it was open.
    origin: String,
    /// Records that nobody took and no record tells of yet, and all of them.
    missed: u64,
    ever_missed: u64,
    /// Why it could not be opened.
    closed: Option<String>,
    /// How it was when it was last looked at.
    status: Status,
    /// What is wrong with it, of then.
    trouble: Option<String>,
    /// What is wrong with its witness, of then: records are taken all the same.
    witness_trouble: Option<String>,
    retry_at_ns: u64,
}

/// A moment, as the log labels records with it.
pub(super) fn stamp(now: &Now) -> Stamp {
    Stamp { mono_ns: now.mono_ns, wall: now.wall, quality: now.quality.as_str() }
}

impl Log {
    /// Opens the log. `run` is a folder whose files outlive this process, but need not outlive the machine.
    pub(super) fn open(machine: Arc<dyn Machine>, settings: &Audit, run: &Path, boot: BootId) -> Self {
        let mut log = Self {
            machine,
            settings: settings.clone(),
            tally: run.join("audit.tally"),
            boot,
            log: None,
            witness: settings.witness.as_ref().map(|witness| Asking::start(&settings.dir, witness)),
            origin: String::new(),
            missed: 0,
            ever_missed: 0,
            closed: None,
            status: Status::default(),
            trouble: None,
            witness_trouble: None,
            retry_at_ns: 0,
        };
        log.try_open();
        log
    }

    /// Opens the log if it is not open and it is time to try again; says what was missed.
    pub(super) fn mend(&mut self, now: &Now) {
        if self.log.is_none() && now.mono_ns >= self.retry_at_ns {
            self.try_open();
            if self.log.is_some() && self.missed > 0 {
                let records = std::mem::take(&mut self.missed);
                let cause = Word(GapCause::LogFull);
                self.append(now, &Record::Gap { cause, events: 0, records, bytes: 0, error: None });
            }
        }
    }

    /// What is wrong with the log, if anything.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What it is called.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// What is wrong with its witness, if anything.
    pub(super) fn witness_trouble(&self) -> Option<&str> {
        self.witness_trouble.as_deref()
    }

    /// Records made durable since the log was opened.
    pub(super) fn committed(&self) -> u64 {
        self.status.committed
    }

    /// Records that were lost since this process began.
    pub(super) fn lost(&self) -> u64 {
        self.status.lost.saturating_add(self.ever_missed)
    }

    /// Size of the log in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.status.bytes
    }

    /// Whether it takes many records at once. One that is not open counts them, however many.
    pub(super) fn has_room(&self) -> bool {
        self.log.as_ref().is_none_or(|log| log.has_room())
    }

    /// Waits until what it has taken is durable. `false` if the disk doesn't let it.
    pub(super) fn settle(&self) -> bool {
        self.log.as_ref().is_none_or(|log| log.flush(PATIENCE).is_ok())
    }

    /// Ends in order, if the disk lets it.
    pub(super) fn close(&mut self) -> bool {
        self.log.take().is_none_or(|log| log.close(PATIENCE))
    }

    fn try_open(&mut self) {
        let (origin, tally) = (self.settings.origin.clone(), Some(self.tally.clone()));
        let options = Options { origin, tally, ..Options::new(&self.settings.dir) };
        match self.machine.open_log(options, self.boot) {
            Ok((log, recovered)) => {
                tell(&recovered, self.settings.origin.as_deref());
                self.origin = recovered.origin;
                (self.log, self.closed) = (Some(log), None);
            }
            Err(e) => {
                self.closed = Some(e.to_string());
                self.retry_at_ns = self.machine.mono_ns().saturating_add(RETRY_NS);
            }
        }
        self.look();
    }

    /// Looks how it is; says what is new.
    fn look(&mut self) {
        if let Some(log) = &self.log {
            self.status = log.status();
        }
        let trouble = self.closed.clone().or_else(|| self.status.trouble.clone());
        let witness = self.witness.as_ref().and_then(Asking::trouble);
        for (now, before) in [(&trouble, &self.trouble), (&witness, &self.witness_trouble)] {
            if let Some(why) = now.as_ref().filter(|why| before.as_ref() != Some(why)) {
                warn!("audit log: {why}");
            }
        }
        (self.trouble, self.witness_trouble) = (trouble, witness);
    }
}

fn tell(recovered: &Recovered, origin: Option<&str>) {
    let Recovered { entries, torn_bytes, unclean, missing, key, .. } = recovered;
    info!(entries, torn_bytes, unclean, missing, key, "audit log open");
    if let Some(why) = &recovered.no_tally {
        warn!("if this process dies, nobody will know how many audit records it had not written: {why}");
    }
    if let Some(why) = &recovered.damaged {
        warn!("the audit log was not what had been written, a new one is begun: {why}");
    }
    if recovered.old_files > 0 {
        info!(
            "{} files of JSON lines from before there was a Merkle log are left alone",
            recovered.old_files
        );
    }
    if origin.is_some_and(|origin| origin != recovered.origin) {
        warn!("`audit.origin` has no effect: the log that is there is called {}", recovered.origin);
    }
}

impl AuditSink for Log {
    fn append(&mut self, now: &Now, record: &Record<'_>) {
        match &self.log {
            // One that finds no room is counted there.
            Some(log) => _ = log.append(&stamp(now), &record.to_json()),
            None => (self.missed, self.ever_missed) = (self.missed + 1, self.ever_missed + 1),
        }
    }

    fn commit(&mut self, _now: &Now) -> io::Result<()> {
        self.look();
        match &self.trouble {
            Some(why) if self.log.is_some() => Err(io::Error::other(why.clone())),
            _ => Ok(()),
        }
    }

    fn act(&mut self, now: &Now, record: &Record<'_>) -> io::Result<()> {
        let outcome = match &self.log {
            Some(log) => log.act(&stamp(now), &record.to_json(), PATIENCE).map_err(io::Error::other),
            // Nothing is missing: what it was to be the record of does not happen, or is told of once more.
            None => Err(io::Error::other(self.closed.clone().unwrap_or_default())),
        };
        self.look();
        outcome.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::machine::ThisMachine;
    use glassgate_audit::reader::Reader;

    #[test]
    fn what_was_missed_is_said_when_the_log_opens() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("audit");
        std::fs::write(&folder, "in the way").unwrap();
        let now = crate::clock::now();
        let settings = Audit { dir: folder.clone(), origin: None, witness: None };
        let mut log = Log::open(ThisMachine::shared(), &settings, dir.path(), BootId(1));
        log.append(&now, &Record::Started { version: "1" });
        log.append(&now, &Record::Stopped {});
        log.commit(&now).unwrap();
        assert!(log.act(&now, &Record::Stopped {}).is_err());
        assert!(log.trouble().is_some());
        std::fs::remove_file(&folder).unwrap();
        log.retry_at_ns = 0;
        log.mend(&now);
        assert!(log.trouble().is_none());
        log.act(&now, &Record::Stopped {}).unwrap();
        assert_eq!(log.committed(), 2);
        let reader = Reader::open(&folder).unwrap();
        let lines: Vec<_> =
            reader.entries(0).map(|entry| String::from_utf8(entry.unwrap().1).unwrap()).collect();
        assert!(
            lines[0].contains("\"event_type\":\"gap\"") && lines[0].contains("\"records\":2"),
            "{lines:?}"
        );
        assert!(log.close());
    }

    #[test]
    fn a_witness_that_is_away_is_no_failure_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Audit { dir: dir.path().join("audit"), origin: None, witness: None };
        let mut log = Log::open(ThisMachine::shared(), &settings, dir.path(), BootId(1));
        log.witness = Some(Asking::in_trouble("it is away"));
        let now = crate::clock::now();
        log.append(&now, &Record::Stopped {});
        log.commit(&now).unwrap();
        assert_eq!((log.trouble(), log.witness_trouble()), (None, Some("it is away")));
        assert!(log.close());
    }
}
