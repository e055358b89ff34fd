//! The log as others have it: a bounded queue in front of a thread that writes.

use crate::Options;
use crate::clock::{Clock, Steps};
use crate::disk::Disk;
use crate::leaf::{self, Cause, Own, Stamp};
use crate::open::{self, Begun, OpenError, Opened, Recovered};
use crate::tally::Tally;
use crate::writer::{Entry, Losses, SyncJob, Writer, WriterStatus};
use std::fs::File;
use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

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

    #[cfg(any(test, feature = "simulation"))]
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
    tally: Tally,
    /// Records that were ever taken or counted as lost, with those that were missing when the log was opened.
    offered: u64,
}

impl Inbox {
    /// Counts a record before it is taken or given up. From here on it is missing, until it is durable or a record counts it.
    fn offer(&mut self) {
        self.offered += 1;
        self.tally.offered(self.offered);
    }

    fn lose(&mut self, cause: Cause, mono_ns: u64) {
        self.offer();
        self.losses.one(cause, mono_ns);
    }
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
        let (queue_bytes, group_bytes) = (options.queue_bytes, options.group_bytes);
        let (delay, path) = (options.group_delay, options.folder.clone());
        let Opened { begun, lock } = open::open(options, boot, &clock.now())?;
        let Begun { writer, recovered, tally, carried, steps } = begun;
        let shared = Arc::new(Shared::default());
        {
            let mut inbox = lock_inbox(&shared);
            (inbox.status, inbox.tally, inbox.offered) = (writer.status(), tally, carried);
        }
        let thread = {
            let shared = shared.clone();
            let work = move || Thread { writer, shared, clock, steps, group_bytes, delay, lock }.run();
            let spawned = thread::Builder::new().name("gg-audit".to_owned()).spawn(work);
            spawned.map_err(|source| OpenError::Io { path, source })?
        };
        Ok((Self { shared, writer: Some(thread), queue_bytes, group_bytes }, recovered))
    }

    /// Takes a record: a JSON object with an `event_type`, in one line, without the members that a [`Stamp`] and the log give. Never
    /// waits for a disk. A record that is none, or finds no room, is counted, and a `gap` record says so later; then this is `false`.
    pub fn append(&self, stamp: &Stamp, body: &[u8]) -> bool {
        let rest = leaf::stamped(stamp, body);
        let mut inbox = lock_inbox(&self.shared);
        let Some(rest) = rest else {
            inbox.lose(Cause::BadRecord, stamp.mono_ns);
            return false;
        };
        if inbox.bytes + rest.len() > self.queue_bytes || inbox.finished {
            inbox.lose(Cause::QueueFull, stamp.mono_ns);
            return false;
        }
        inbox.offer();
        self.put(&mut inbox, Entry { rest, act: false, waiter: None });
        true
    }

    /// Takes the record of an act of a person and waits until it is durable. Gives its number. A checkpoint is signed before, if the disk
    /// takes one. On an error the act must not be done; its record may still come to be.
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
            inbox.offer();
            self.put(&mut inbox, Entry { rest, act: true, waiter: Some(waiter.clone()) });
        }
        waiter.wait(timeout)
    }

    /// Waits until everything that was taken is durable.
    pub fn flush(&self, timeout: Duration) -> Result<(), ActError> {
        let waiter = Arc::new(Waiter::default());
        {
            let mut inbox = lock_inbox(&self.shared);
            if inbox.finished {
                return Err(ActError::Refused("the audit log is closed".to_owned()));
            }
            inbox.urgent = true;
            self.put(&mut inbox, Entry { rest: Vec::new(), act: false, waiter: Some(waiter.clone()) });
        }
        waiter.wait(timeout).map(|_| ())
    }

    /// Whether half of the queue is free: for who has many records at once and can wait with the rest.
    pub fn has_room(&self) -> bool {
        lock_inbox(&self.shared).bytes < self.queue_bytes / 2
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
    steps: Steps,
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
    /// Records that were ever offered: with what is taken here, all of them are the writer's.
    offered: u64,
}

impl<C: Clock> Thread<C> {
    fn run(mut self) {
        let (jobs, janitor) = janitor(self.writer.disk().clone(), self.shared.clone());
        loop {
            let Work { entries, losses, synced, stop, offered } = self.take();
            let now = self.clock.now();
            if let Some(step_ms) = self.steps.look(&self.clock, &now) {
                self.writer.note(Own::ClockStep { step_ms, steps: 1 });
            }
            if let Some((job, result)) = synced {
                self.writer.synced(job, result, &now);
            }
            let act = entries.iter().any(|entry| entry.act);
            self.writer.commit(entries, losses, &now);
            debug_assert_eq!(self.writer.broken(offered), None);
            if act || self.writer.checkpoint_due(&now) {
                self.writer.checkpoint(&now);
            }
            // Whoever is told finds it in the status.
            lock_inbox(&self.shared).status = self.writer.status();
            self.writer.resolve();
            if stop {
                break;
            }
            if let Some(job) = self.writer.sync_job(&now)
                && let Err(mpsc::SendError(job)) = jobs.send(job)
            {
                // There is no such thread: then it is done here.
                let result = self.writer.disk().sync(&job.paths);
                self.writer.synced(job, result, &now);
            }
            let mut inbox = lock_inbox(&self.shared);
            inbox.status = self.writer.status();
            inbox.busy_since = None;
        }
        drop(jobs);
        // What it is at is waited for: then no segment need stay.
        _ = janitor.map(JoinHandle::join);
        let synced = lock_inbox(&self.shared).synced.take();
        let now = self.clock.now();
        if let Some((job, result)) = synced {
            self.writer.synced(job, result, &now);
        }
        self.writer.close(&now);
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
            offered: inbox.offered,
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

#[cfg(test)]
mod tests;
