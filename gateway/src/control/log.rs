//! The audit log as the slow path has it: files, or nothing while they can't be opened.
//!
//! A log that can't be opened must not keep the page from saying so, and never keeps a frame from passing. What would
//! have been written meanwhile is counted and becomes a record of its own when the log opens.

use glassgate_policy::audit::{
    AuditSink, BootId, FileLog, FileLogOptions, GapCause, Now, Record, Recovered, Word,
};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long to wait before a log that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(10);

pub(super) struct Log {
    folder: PathBuf,
    boot: BootId,
    file: Option<FileLog>,
    /// Records that nobody took.
    missed: u64,
    trouble: Option<String>,
    retry_at: Instant,
}

impl Log {
    pub(super) fn open(folder: &Path, boot: BootId) -> Self {
        let mut log = Self {
            folder: folder.to_owned(),
            boot,
            file: None,
            missed: 0,
            trouble: None,
            retry_at: Instant::now(),
        };
        log.try_open(Instant::now());
        log
    }

    /// Opens the log if it is not open and it is time to try again; says what was missed.
    pub(super) fn mend(&mut self, now: &Now) {
        if self.file.is_none() && Instant::now() >= self.retry_at {
            self.try_open(Instant::now());
            if self.file.is_some() && self.missed > 0 {
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

    /// Records made durable since the log was opened.
    pub(super) fn committed(&self) -> u64 {
        self.file.as_ref().map_or(0, FileLog::committed)
    }

    /// Size of the log in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, FileLog::bytes)
    }

    fn try_open(&mut self, now: Instant) {
        match FileLog::open(FileLogOptions::new(&self.folder), self.boot) {
            Ok((file, Recovered { segments, torn_bytes, unclean })) => {
                info!(segments, torn_bytes, unclean, "audit log open");
                (self.file, self.trouble) = (Some(file), None);
            }
            Err(e) => {
                let why = e.to_string();
                if self.trouble.as_ref() != Some(&why) {
                    warn!("the audit log can't be opened, records are only counted: {why}");
                }
                self.trouble = Some(why);
                self.retry_at = now + RETRY;
            }
        }
    }
}

impl AuditSink for Log {
    fn append(&mut self, now: &Now, record: &Record<'_>) {
        match &mut self.file {
            Some(file) => file.append(now, record),
            None => self.missed += 1,
        }
    }

    fn commit(&mut self, now: &Now) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let result = file.commit(now);
        match &result {
            Ok(()) => self.trouble = None,
            Err(e) => {
                let why = format!("records can't be written: {e}");
                if self.trouble.as_ref() != Some(&why) {
                    warn!("audit log: {why}");
                }
                self.trouble = Some(why);
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_said_when_the_log_opens() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("audit");
        std::fs::write(&folder, "in the way").unwrap();
        let now = crate::clock::now();
        let mut log = Log::open(&folder, BootId(1));
        log.append(&now, &Record::Started { version: "1" });
        log.append(&now, &Record::Stopped {});
        log.commit(&now).unwrap();
        assert!(log.trouble().is_some());
        std::fs::remove_file(&folder).unwrap();
        log.retry_at = Instant::now();
        log.mend(&now);
        assert!(log.trouble().is_none());
        log.commit(&now).unwrap();
        let text: String = std::fs::read_dir(&folder)
            .unwrap()
            .map(|f| f.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "jsonl"))
            .map(|p| std::fs::read_to_string(p).unwrap())
            .collect();
        assert!(text.contains("\"event_type\":\"gap\"") && text.contains("\"records\":2"), "{text}");
    }
}
