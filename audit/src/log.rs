//! The log as others have it: a bounded queue in front of a thread that writes.

use crate::Options;
use crate::disk::{Disk, Folder};
use crate::leaf::{self, Cause, Own, Stamp};
use crate::note::{Kind, Signer};
use crate::recover::{CHECKPOINT, Damage, Found, recover};
use crate::tiles::{bundle_path, entries};
use crate::writer::{Entry, Losses, SyncJob, Writer, WriterStatus};
use ring::rand::SecureRandom;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Says what time it is.
pub trait Clock: Send + 'static {
    /// Now.
    fn now(&self) -> Stamp;
}

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the audit log in {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// Sizes that do not go together.
    #[error("{0}")]
    Options(&'static str),
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No random numbers for a key.
    #[error("the system has no random numbers to make a key of")]
    Random,
}

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Entries that are there.
    pub entries: u64,
    /// Bytes of a group that was not finished: never promised, now passed over.
    pub torn_bytes: u64,
    /// Records that the group claims to have had.
    pub torn_records: u64,
    /// The last record is not a `stopped`.
    pub unclean: bool,
    /// Why the log that was there could not be gone on with, and where it lies now. This one has another key.
    pub damaged: Option<String>,
    /// Files of the JSON lines that were written before there was a Merkle log. They are left alone.
    pub old_files: usize,
    /// Name of the log's key: its origin line.
    pub origin: String,
    /// The public key, as verifiers want it.
    pub key: String,
}

/// How a log is.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Entries in the log, durable.
    pub entries: u64,
    /// Records made durable since it was opened.
    pub committed: u64,
    /// Records given up since it was opened.
    pub lost: u64,
    /// Size on disk in bytes.
    pub bytes: u64,
    /// Why it does not take records, or not all that should be made of them.
    pub trouble: Option<String>,
    /// The newest checkpoint, signed.
    pub checkpoint: Option<Arc<str>>,
}

/// Why an act is not on record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// It was not taken.
    #[error("{0}")]
    Refused(String),
    /// It was not durable in time. It may still come to be on record.
    #[error("the audit log did not answer in time")]
    TimedOut,
}

/// An answer that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    outcome: Mutex<Option<Result<u64, String>>>,
    done: Condvar,
}

impl Waiter {
    pub(crate) fn resolve(&self, outcome: Result<u64, String>) {
        *lock(&self.outcome) = Some(outcome);
        self.done.notify_all();
    }

    #[cfg(test)]
    pub(crate) fn outcome(&self) -> Option<Result<u64, String>> {
        lock(&self.outcome).clone()
    }

    fn wait(&self, timeout: Duration) -> Result<u64, ActError> {
        let guard = lock(&self.outcome);
        let waited = self.done.wait_timeout_while(guard, timeout, |outcome| outcome.is_none());
        let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &*guard {
            Some(Ok(seq)) => Ok(*seq),
            Some(Err(why)) => Err(ActError::Refused(why.clone())),
            None => Err(ActError::TimedOut),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What caller and writer share.
#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    entries: Vec<Entry>,
    bytes: usize,
    losses: Losses,
    first_at: Option<Instant>,
    /// Somebody waits.
    urgent: bool,
    stop: bool,
    finished: bool,
    synced: Option<(SyncJob, io::Result<()>)>,
    status: WriterStatus,
    /// When the writer began what it is at.
    busy_since: Option<Instant>,
}

/// What acts may take of the queue beyond what other records may.
const ACTS_BYTES: usize = 1 << 20;
/// A writer that has been at one thing for this long does not answer an act in time.
const STUCK: Duration = Duration::from_secs(1);
/// The writer looks at the time this often when nothing comes.
const IDLE: Duration = Duration::from_secs(1);

/// An open log. One process at a time has it.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    queue_bytes: usize,
    group_bytes: usize,
}

impl Log {
    /// Opens the log in a folder, makes it if there is none, and goes on with it. What an earlier run lost is told by
    /// `gap` records. A log that is not what was written is set aside, and a new one with a new key begun.
    pub fn open(options: Options, boot: u128, clock: impl Clock) -> Result<(Self, Recovered), OpenError> {
        options.check().map_err(OpenError::Options)?;
        let path = options.folder.clone();
        let io_error = |source| OpenError::Io { path: path.clone(), source };
        let folder = Folder::open(&options.folder).map_err(io_error)?;
        let lock = lock_folder(&options.folder)?;
        let mut recovered = Recovered { old_files: old_files(&folder), ..Recovered::default() };
        let disk: Arc<dyn Disk> = Arc::new(folder);
        let (key, found) = match begin(&*disk, &options) {
            Ok(begun) => begun,
            Err(Begin::Damage(why)) => {
                let aside = set_aside(&*disk).map_err(io_error)?;
                recovered.damaged = Some(format!("{why}; it lies in {aside}/"));
                begin(&*disk, &options).map_err(|e| e.into_open(&path))?
            }
            Err(other) => return Err(other.into_open(&path)),
        };
        recovered.entries = found.grown.tree.size();
        (recovered.torn_bytes, recovered.torn_records) = (found.torn.bytes, found.torn.records);
        recovered.unclean = last_entry(&*disk, &found).is_some_and(|last| !is_stopped(&last));
        recovered.origin = key.verifier().name().to_owned();
        recovered.key = key.verifier().to_string();
        let (queue_bytes, group_bytes) = (options.queue_bytes, options.group_bytes);
        let delay = options.group_delay;
        let mut writer = Writer::new(disk, options, key, format!("{boot:032x}"), found);
        note(&mut writer, &recovered);
        let shared = Arc::new(Shared::default());
        lock_inbox(&shared).status = writer.status();
        let thread = {
            let shared = shared.clone();
            let work = move || Thread { writer, shared, clock, group_bytes, delay, lock }.run();
            thread::Builder::new().name("gg-audit".to_owned()).spawn(work).map_err(io_error)?
        };
        Ok((Self { shared, writer: Some(thread), queue_bytes, group_bytes }, recovered))
    }

    /// Takes a record: a JSON object without the members that a [`Stamp`] and the log give. Never waits for a disk. A record
    /// that finds no room is counted, and a `gap` record says so later; then this is `false`.
    pub fn append(&self, stamp: &Stamp, body: &[u8]) -> bool {
        let rest = leaf::stamped(stamp, body);
        let mut inbox = lock_inbox(&self.shared);
        let Some(rest) = rest else {
            inbox.losses.one(Cause::BadRecord, stamp.mono_ns);
            return false;
        };
        if inbox.bytes + rest.len() > self.queue_bytes || inbox.finished {
            inbox.losses.one(Cause::QueueFull, stamp.mono_ns);
            return false;
        }
        self.put(&mut inbox, Entry { rest, act: false, waiter: None });
        true
    }

    /// Takes the record of an act of a person and waits until it is durable and a checkpoint has been signed. Gives its number.
    /// On an error the act must not be done; its record may still come to be.
    pub fn act(&self, stamp: &Stamp, body: &[u8], timeout: Duration) -> Result<u64, ActError> {
        let refused = |why: &str| Err(ActError::Refused(why.to_owned()));
        let Some(rest) = leaf::stamped(stamp, body) else { return refused("not a record") };
        let waiter = Arc::new(Waiter::default());
        {
            let mut inbox = lock_inbox(&self.shared);
            if inbox.bytes + rest.len() > self.queue_bytes + ACTS_BYTES || inbox.finished {
                return refused("the audit log has no room for it");
            }
            if inbox.busy_since.is_some_and(|since| since.elapsed() > STUCK) {
                return refused("the disk of the audit log does not answer");
            }
            inbox.urgent = true;
            self.put(&mut inbox, Entry { rest, act: true, waiter: Some(waiter.clone()) });
        }
        waiter.wait(timeout)
    }

    /// Waits until everything that was taken is durable.
    pub fn flush(&self, timeout: Duration) -> Result<(), ActError> {
        let waiter = Arc::new(Waiter::default());
        {
            let mut inbox = lock_inbox(&self.shared);
            inbox.urgent = true;
            self.put(&mut inbox, Entry { rest: Vec::new(), act: false, waiter: Some(waiter.clone()) });
        }
        waiter.wait(timeout).map(|_| ())
    }

    /// How it is.
    pub fn status(&self) -> Status {
        let inbox = lock_inbox(&self.shared);
        let WriterStatus { size, committed, lost, bytes, trouble, checkpoint } = inbox.status.clone();
        let lost = lost + inbox.losses.total();
        let stuck = inbox.busy_since.filter(|since| since.elapsed() > STUCK);
        let trouble = trouble.or_else(|| stuck.map(|_| "the disk does not answer".to_owned()));
        Status { entries: size, committed, lost, bytes, trouble, checkpoint }
    }

    /// Ends in order, if the disk lets it within the time; else what is durable stays so, and the next open goes on from there.
    pub fn close(mut self, timeout: Duration) -> bool {
        self.stop(timeout)
    }

    fn stop(&mut self, timeout: Duration) -> bool {
        let Some(thread) = self.writer.take() else { return true };
        let mut inbox = lock_inbox(&self.shared);
        inbox.stop = true;
        self.shared.wake.notify_one();
        let waited = self.shared.finished.wait_timeout_while(inbox, timeout, |inbox| !inbox.finished);
        let (inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let finished = inbox.finished;
        drop(inbox);
        if finished {
            // It has nothing left to do but to return.
            _ = thread.join();
        }
        finished
    }

    fn put(&self, inbox: &mut Inbox, entry: Entry) {
        let before = inbox.bytes;
        inbox.bytes += entry.rest.len();
        inbox.entries.push(entry);
        let first = inbox.first_at.is_none();
        inbox.first_at.get_or_insert_with(Instant::now);
        if first || inbox.urgent || (before < self.group_bytes && inbox.bytes >= self.group_bytes) {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(2));
    }
}

fn lock_inbox(shared: &Shared) -> MutexGuard<'_, Inbox> {
    lock(&shared.inbox)
}

/// The thread that writes.
struct Thread<C> {
    writer: Writer,
    shared: Arc<Shared>,
    clock: C,
    group_bytes: usize,
    delay: Duration,
    /// Held for as long as this may write, however long others waited for its end.
    lock: File,
}

/// What the thread took from the inbox.
struct Work {
    entries: Vec<Entry>,
    losses: Losses,
    synced: Option<(SyncJob, io::Result<()>)>,
    stop: bool,
}

impl<C: Clock> Thread<C> {
    fn run(mut self) {
        let (jobs, janitor) = janitor(self.writer.disk().clone(), self.shared.clone());
        loop {
            let Work { entries, losses, synced, stop } = self.take();
            let now = self.clock.now();
            if let Some((job, result)) = synced {
                self.writer.synced(job, result);
            }
            let act = entries.iter().any(|entry| entry.act);
            self.writer.commit(entries, losses, &now);
            if act || self.writer.checkpoint_due(&now) {
                self.writer.checkpoint(&now);
            }
            // Whoever is told finds it in the status.
            lock_inbox(&self.shared).status = self.writer.status();
            self.writer.resolve();
            if stop {
                break;
            }
            if let Some(job) = self.writer.sync_job()
                && let Err(mpsc::SendError(job)) = jobs.send(job)
            {
                // There is no such thread: then it is done here.
                let result = self.writer.disk().sync(&job.paths);
                self.writer.synced(job, result);
            }
            let mut inbox = lock_inbox(&self.shared);
            inbox.status = self.writer.status();
            inbox.busy_since = None;
        }
        drop(jobs);
        // What it is at is waited for: then no segment need stay.
        _ = janitor.map(JoinHandle::join);
        let synced = lock_inbox(&self.shared).synced.take();
        if let Some((job, result)) = synced {
            self.writer.synced(job, result);
        }
        self.writer.close(&self.clock.now());
        self.writer.resolve();
        // Not left to the closing of the file: a process that is just being started may have a copy of it.
        _ = self.lock.unlock();
        let mut inbox = lock_inbox(&self.shared);
        for entry in inbox.entries.drain(..) {
            if let Some(waiter) = entry.waiter {
                waiter.resolve(Err("the audit log is closed".to_owned()));
            }
        }
        inbox.status = self.writer.status();
        inbox.busy_since = None;
        inbox.finished = true;
        self.shared.finished.notify_all();
    }

    /// Waits for something to do: a full group, one that has waited for long enough, somebody who waits, or a second.
    fn take(&self) -> Work {
        let mut inbox = lock_inbox(&self.shared);
        let idle_until = Instant::now() + IDLE;
        loop {
            if inbox.urgent || inbox.stop || inbox.synced.is_some() || inbox.bytes >= self.group_bytes {
                break;
            }
            let until = inbox.first_at.map_or(idle_until, |first| (first + self.delay).min(idle_until));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inbox = self.shared.wake.wait_timeout(inbox, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inbox.busy_since = Some(Instant::now());
        (inbox.urgent, inbox.first_at, inbox.bytes) = (false, None, 0);
        Work {
            entries: std::mem::take(&mut inbox.entries),
            losses: std::mem::take(&mut inbox.losses),
            synced: inbox.synced.take(),
            stop: inbox.stop,
        }
    }
}

/// A thread that makes tiles durable: that may take seconds where others use the file system, and nobody waits for it.
fn janitor(disk: Arc<dyn Disk>, shared: Arc<Shared>) -> (mpsc::Sender<SyncJob>, Option<JoinHandle<()>>) {
    let (jobs, to_do) = mpsc::channel::<SyncJob>();
    let work = move || {
        for job in to_do {
            let result = disk.sync(&job.paths);
            lock_inbox(&shared).synced = Some((job, result));
            shared.wake.notify_one();
        }
    };
    // Without it, sending fails and the writer does it itself.
    let thread = thread::Builder::new().name("gg-audit-sync".to_owned()).spawn(work);
    (jobs, thread.ok())
}

/// Why a log can't be begun with.
enum Begin {
    Damage(String),
    Io(PathBuf, io::Error),
    Random,
}

impl Begin {
    fn into_open(self, folder: &std::path::Path) -> OpenError {
        match self {
            Self::Damage(why) => OpenError::Io { path: folder.to_owned(), source: io::Error::other(why) },
            Self::Io(path, source) => OpenError::Io { path: folder.join(path), source },
            Self::Random => OpenError::Random,
        }
    }
}

const KEY: &str = "key";
const PUBLIC_KEY: &str = "key.pub";

fn begin(disk: &dyn Disk, options: &Options) -> Result<(Signer, Found), Begin> {
    let fault = |e| Begin::Io(KEY.into(), e);
    let key = match disk.read(KEY).map_err(fault)? {
        Some(text) => {
            let key = Signer::parse(&String::from_utf8_lossy(&text))
                .ok()
                .filter(|k| k.verifier().kind() == Kind::Ed25519);
            key.ok_or_else(|| Begin::Damage("its key can't be read".to_owned()))?
        }
        None => {
            let there =
                [CHECKPOINT, PUBLIC_KEY].iter().any(|path| disk.size(path).is_ok_and(|size| size.is_some()));
            if there {
                return Err(Begin::Damage("its key is gone".to_owned()));
            }
            let key = new_key(options)?;
            // The private key first: without the public one beside it, it has signed nothing yet.
            disk.replace(KEY, format!("{}\n", key.to_secret_text()).as_bytes(), true).map_err(fault)?;
            key
        }
    };
    let public = format!("{}\n", key.verifier());
    if disk.read(PUBLIC_KEY).map_err(fault)?.as_deref() != Some(public.as_bytes()) {
        disk.replace(PUBLIC_KEY, public.as_bytes(), false).map_err(fault)?;
    }
    match recover(disk, key.verifier()) {
        Ok(found) => Ok((key, found)),
        Err(Damage::Broken(why)) => Err(Begin::Damage(why)),
        Err(Damage::Io { path, source }) => Err(Begin::Io(path.into(), source)),
    }
}

/// A key whose name is the origin that is wished for, or follows from the key itself.
fn new_key(options: &Options) -> Result<Signer, Begin> {
    let mut seed = [0; 32];
    ring::rand::SystemRandom::new().fill(&mut seed).map_err(|_| Begin::Random)?;
    let public = Signer::public_of(&seed).map_err(|_| Begin::Random)?;
    let hash: String =
        crate::merkle::digest_of(&[&public]).iter().take(8).map(|b| format!("{b:02x}")).collect();
    let own = format!("glassgate/{hash}");
    let named =
        options.origin.as_deref().and_then(|origin| Signer::from_seed(origin, Kind::Ed25519, seed).ok());
    named.map_or_else(|| Signer::from_seed(&own, Kind::Ed25519, seed).map_err(|_| Begin::Random), Ok)
}

/// Moves a log out of the way, all of it.
fn set_aside(disk: &dyn Disk) -> io::Result<String> {
    let taken = disk.names("")?;
    let mut free = (1..).map(|n| format!("damaged-{n:04}")).filter(|name| !taken.contains(name));
    let aside = free.next().unwrap_or_default();
    // The key last: until it is gone, what is left is found damaged again.
    for name in [CHECKPOINT, "checkpoint.witnessed", "wal", "tile", PUBLIC_KEY, KEY] {
        if taken.iter().any(|there| there == name) {
            disk.rename(name, &format!("{aside}/{name}"))?;
        }
    }
    Ok(aside)
}

fn note(writer: &mut Writer, recovered: &Recovered) {
    if let Some(why) = &recovered.damaged {
        let (records, bytes, from_mono_ns, to_mono_ns) = (0, 0, None, None);
        let (cause, error) = (Cause::LogDamaged, Some(why.clone().into()));
        writer.note(Own::Gap { cause, records, bytes, from_mono_ns, to_mono_ns, error });
    }
    let Recovered { torn_bytes, torn_records, .. } = *recovered;
    if torn_bytes > 0 {
        let (from_mono_ns, to_mono_ns, error) = (None, None, None);
        let (records, bytes) = (torn_records, torn_bytes);
        writer.note(Own::Gap { cause: Cause::TornTail, records, bytes, from_mono_ns, to_mono_ns, error });
    }
    if recovered.unclean {
        writer.note(Own::gap(Cause::UncleanEnd, None));
    }
}

/// The last entry, if there is one.
fn last_entry(disk: &dyn Disk, found: &Found) -> Option<Vec<u8>> {
    let size = found.grown.tree.size();
    let full = || match found.filled.bundles.last() {
        Some((_, bundle)) => Some(bundle.clone()),
        None => disk.read(&bundle_path((size / 256).checked_sub(1)?)).ok().flatten(),
    };
    let bundle = if found.grown.bundle.is_empty() { full()? } else { found.grown.bundle.clone() };
    entries(&bundle).last()?.ok().map(<[u8]>::to_vec)
}

#[derive(serde::Deserialize)]
struct Last {
    event_type: String,
}

fn is_stopped(line: &[u8]) -> bool {
    serde_json::from_slice::<Last>(line).is_ok_and(|last| last.event_type == "stopped")
}

/// How many files of JSON lines there are.
fn old_files(folder: &impl crate::tiles::Files) -> usize {
    let names = folder.names("").unwrap_or_default();
    names.iter().filter(|name| name.starts_with("audit-") && name.ends_with(".jsonl")).count()
}

fn lock_folder(folder: &std::path::Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&path);
    let file = file.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests;
