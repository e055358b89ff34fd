//! Records in files: segments of JSON lines in one folder.
//!
//! * Records are collected in memory and written and synced in groups, by [`AuditSink::commit`].
//! * A segment that grew to its size is followed by the next; when all together pass the quota, the oldest is deleted, and a
//!   record says so.
//! * A file on which a write or sync failed is never written again (after a failed `fsync` the kernel may call pages clean
//!   that never reached the disk). The group goes to a new segment; what had reached the old one stands in both, under the
//!   same numbers.
//! * While nothing can be written, [`FileLogOptions::pending_bytes`] of records are kept. Beyond them records are given
//!   up and counted, and the first thing written afterwards says how many.
//! * After a crash, a line that was not finished is cut off, and a record says how long it was.
//!
//! One process at a time: the folder is locked.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{AuditSink, BootId, GapCause, Now, Numbering, Record, Word};

/// How much is kept, and where.
#[derive(Clone, Debug)]
pub struct FileLogOptions {
    /// The folder. It is made if it is missing.
    pub folder: PathBuf,
    /// Size at which a segment is followed by the next.
    pub segment_bytes: u64,
    /// Size of all segments together; at least two segments.
    pub quota_bytes: u64,
    /// Records that are kept while nothing can be written.
    pub pending_bytes: usize,
}

impl FileLogOptions {
    /// Segments of 8 MiB, 256 MiB in all, 1 MiB of records in waiting.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), segment_bytes: 8 << 20, quota_bytes: 256 << 20, pending_bytes: 1 << 20 }
    }
}

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the audit log in {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// The quota is less than two segments.
    #[error("a quota of {quota} bytes holds less than two segments of {segment} bytes")]
    Quota {
        /// The quota.
        quota: u64,
        /// The size of a segment.
        segment: u64,
    },
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// What was found when a log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments from before.
    pub segments: usize,
    /// Bytes of a line that was not finished, now cut off.
    pub torn_bytes: u64,
    /// The last record is not a `stopped`: up to an hour of counts is missing.
    pub unclean: bool,
}

/// The log.
#[derive(Debug)]
pub struct FileLog {
    options: FileLogOptions,
    numbering: Numbering,
    /// Older segments with their sizes, oldest first.
    old: VecDeque<(u64, u64)>,
    current: Option<Segment>,
    next_segment: u64,
    pending: Vec<u8>,
    pending_records: u64,
    given_up: u64,
    /// Removed segments that no record speaks of yet.
    removed: Vec<(u64, u64)>,
    /// What failed since the last successful commit.
    failure: Option<String>,
    committed: u64,
    _lock: File,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    file: File,
    bytes: u64,
}

/// The newest segments of a folder are this far apart at most.
const MAX_SEGMENTS: usize = 100_000;

impl FileLog {
    /// Opens a folder for writing, and continues numbering if the last record is of this boot. What was lost is not
    /// written down yet: the first commit does that.
    pub fn open(options: FileLogOptions, boot: BootId) -> Result<(Self, Recovered), OpenError> {
        if options.quota_bytes < 2 * options.segment_bytes.max(1) {
            return Err(OpenError::Quota { quota: options.quota_bytes, segment: options.segment_bytes });
        }
        let folder = options.folder.clone();
        let io_at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        fs::create_dir_all(&folder).map_err(io_at(&folder))?;
        let lock = lock(&folder)?;
        let mut segments = segments(&folder).map_err(io_at(&folder))?;
        let mut recovered = Recovered { segments: segments.len(), ..Recovered::default() };
        let mut numbering = Numbering { boot, next: 0 };
        let mut current = None;
        let next_segment = segments.back().map_or(1, |(number, _)| number + 1);
        if let Some((number, _)) = segments.pop_back() {
            let path = path_of(&folder, number);
            let (segment, tail) = reopen(&path, number).map_err(io_at(&path))?;
            recovered.torn_bytes = tail.torn_bytes;
            let mut last = tail.last_line;
            if last.is_none()
                && let Some((before, _)) = segments.back()
            {
                let path = path_of(&folder, *before);
                last = reopen(&path, *before).map_err(io_at(&path))?.1.last_line;
            }
            if let Some(last) = last.and_then(|line| serde_json::from_slice::<LastRecord>(&line).ok()) {
                recovered.unclean = last.event_type != "stopped";
                if last.boot_id == boot.to_string() {
                    numbering.next = last.seq + 1;
                }
            }
            current = Some(segment);
        }
        let mut log = Self {
            options,
            numbering,
            old: segments,
            current,
            next_segment,
            pending: Vec::new(),
            pending_records: 0,
            given_up: 0,
            removed: Vec::new(),
            failure: None,
            committed: 0,
            _lock: lock,
        };
        log.note_recovery(recovered);
        Ok((log, recovered))
    }

    /// Records that were made durable since the log was opened.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Records that were given up and are not yet written down as a gap.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Size of all segments.
    pub fn bytes(&self) -> u64 {
        self.old.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.current.as_ref().map_or(0, |s| s.bytes)
    }

    fn note_recovery(&mut self, recovered: Recovered) {
        let now = Now { mono_ns: 0, wall: None, quality: super::WallQuality::Unknown };
        let gap =
            |cause, bytes| Record::Gap { cause: Word(cause), events: 0, records: 0, bytes, error: None };
        if recovered.torn_bytes > 0 {
            self.append(&now, &gap(GapCause::TornTail, recovered.torn_bytes));
        }
        if recovered.unclean {
            self.append(&now, &gap(GapCause::UncleanEnd, 0));
        }
    }

    /// Writes the pending group to one segment and syncs it.
    fn write_group(&mut self) -> io::Result<()> {
        if self
            .current
            .as_ref()
            .is_some_and(|s| s.bytes + self.pending.len() as u64 > self.options.segment_bytes)
            && let Some(full) = self.current.take()
        {
            self.old.push_back((full.number, full.bytes));
        }
        if self.current.is_none() {
            self.make_room()?;
            self.current = Some(self.create()?);
        }
        let Some(segment) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        segment.file.write_all(&self.pending)?;
        segment.file.sync_data()?;
        segment.bytes += self.pending.len() as u64;
        Ok(())
    }

    /// Deletes the oldest segments until another one fits the quota.
    fn make_room(&mut self) -> io::Result<()> {
        let wanted = self.options.segment_bytes.max(self.pending.len() as u64);
        while self.bytes().saturating_add(wanted) > self.options.quota_bytes || self.old.len() >= MAX_SEGMENTS
        {
            let Some((number, bytes)) = self.old.pop_front() else { break };
            match fs::remove_file(path_of(&self.options.folder, number)) {
                Ok(()) => self.removed.push((number, bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.old.push_front((number, bytes));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn create(&mut self) -> io::Result<Segment> {
        let number = self.next_segment;
        self.next_segment += 1;
        let path = path_of(&self.options.folder, number);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o640).open(path)?;
        // The entry of the file in its folder must be as durable as what is written to it.
        File::open(&self.options.folder)?.sync_all()?;
        Ok(Segment { number, file, bytes: 0 })
    }

    /// Leaves a segment that failed, for good. If nothing was ever committed to it, it is deleted.
    fn abandon(&mut self) {
        let Some(failed) = self.current.take() else { return };
        if failed.bytes == 0 {
            // If that fails too, an empty or partial file stays behind; the next open counts it.
            let _ = fs::remove_file(path_of(&self.options.folder, failed.number));
        } else {
            // Cut to what was committed, so that the file ends with a whole line. Not needed for correctness.
            let _ = failed.file.set_len(failed.bytes);
            self.old.push_back((failed.number, failed.bytes));
        }
    }

    /// Lines about what was lost or removed, and how many they are.
    fn what_happened(&mut self, now: &Now) -> (Vec<u8>, u64) {
        let (mut lines, mut records) = (Vec::new(), 0);
        let mut numbering = self.numbering;
        let mut write = |record: &Record<'_>| {
            records += u64::from(numbering.write(&mut lines, now, record));
        };
        if let Some(error) = &self.failure {
            let cause = if self.given_up > 0 { GapCause::LogFull } else { GapCause::WriteFailed };
            write(&Record::Gap {
                cause: Word(cause),
                events: 0,
                records: self.given_up,
                bytes: 0,
                error: Some(error),
            });
        }
        for (number, bytes) in &self.removed {
            write(&Record::Removed { segment: &name_of(*number), bytes: *bytes });
        }
        self.numbering = numbering;
        (lines, records)
    }
}

impl AuditSink for FileLog {
    fn append(&mut self, now: &Now, record: &Record<'_>) {
        let before = self.pending.len();
        let written = self.numbering.write(&mut self.pending, now, record);
        if !written || self.pending.len() > self.options.pending_bytes {
            self.pending.truncate(before);
            self.given_up += 1;
            self.failure.get_or_insert_with(|| "records came faster than they could be written".to_owned());
        } else {
            self.pending_records += 1;
        }
    }

    fn commit(&mut self, now: &Now) -> io::Result<()> {
        if self.pending.is_empty() && self.given_up == 0 {
            return Ok(());
        }
        if self.failure.is_none() {
            match self.write_group() {
                Ok(()) => {
                    self.finish();
                    return self.write_removed(now);
                }
                Err(error) => {
                    self.failure = Some(error.to_string());
                    self.abandon();
                }
            }
        }
        // A second try, on a new segment: the group, then what became of the old one.
        self.abandon();
        let (kept, numbering) = (self.pending.len(), self.numbering);
        let (told, records) = self.what_happened(now);
        self.pending.extend_from_slice(&told);
        match self.write_group() {
            Ok(()) => {
                self.pending_records += records;
                (self.failure, self.given_up) = (None, 0);
                self.removed.clear();
                self.finish();
                Ok(())
            }
            Err(error) => {
                // What became of the old one is written anew next time, under the same numbers.
                self.pending.truncate(kept);
                self.numbering = numbering;
                self.failure = Some(error.to_string());
                self.abandon();
                Err(error)
            }
        }
    }
}

impl FileLog {
    fn finish(&mut self) {
        self.committed += self.pending_records;
        self.pending_records = 0;
        self.pending.clear();
    }

    fn write_removed(&mut self, now: &Now) -> io::Result<()> {
        if self.removed.is_empty() {
            return Ok(());
        }
        for (number, bytes) in std::mem::take(&mut self.removed) {
            self.append(now, &Record::Removed { segment: &name_of(number), bytes });
        }
        self.commit(now)
    }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&path);
    let file = file.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// Numbers and sizes of the segments in a folder, oldest first.
fn segments(folder: &Path) -> io::Result<VecDeque<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number =
            name.to_str().and_then(|n| n.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok());
        if let Some(number) = number {
            found.push((number, entry.metadata()?.len()));
        }
    }
    found.sort_unstable();
    Ok(found.into())
}

fn name_of(number: u64) -> String {
    format!("audit-{number:08}.jsonl")
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(name_of(number))
}

#[derive(serde::Deserialize)]
struct LastRecord {
    boot_id: String,
    seq: u64,
    event_type: String,
}

struct Tail {
    torn_bytes: u64,
    last_line: Option<Vec<u8>>,
}

/// A record is shorter than this.
const MAX_LINE: u64 = 64 << 10;

/// Opens a segment to go on with it; cuts off a last line that is not finished.
fn reopen(path: &Path, number: u64) -> io::Result<(Segment, Tail)> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let len = file.metadata()?.len();
    let from = len.saturating_sub(2 * MAX_LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    (&file).take(2 * MAX_LINE).read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let torn_bytes = (tail.len() - end) as u64;
    let whole = tail.get(..end).unwrap_or_default();
    let last_line = whole.split(|b| *b == b'\n').rev().find(|line| !line.is_empty()).map(<[u8]>::to_vec);
    let bytes = len - torn_bytes;
    if torn_bytes > 0 {
        file.set_len(bytes)?;
        file.sync_all()?;
    }
    Ok((Segment { number, file, bytes }, Tail { torn_bytes, last_line }))
}

#[cfg(test)]
mod tests;
