//! A log without a thread: who has it says when it writes, and what time it is.

use super::Memory;
use crate::Options;
use crate::checkpoint::Checkpoint;
use crate::clock::{Clock, Steps};
use crate::leaf::{self, Cause, Own, Stamp};
use crate::log::{Status, Waiter};
use crate::note::Verifier;
use crate::open::{self, Begun, OpenError, Recovered};
use crate::tiles::{self, Files as _, bundle_path, read_tile};
use crate::writer::{Entry, Losses, SyncJob, Writer, WriterStatus};
use std::io;
use std::sync::Arc;

/// An answer that may come.
#[derive(Clone, Debug)]
pub struct Promise(Arc<Waiter>);

impl Promise {
    /// The number of the record, once it is durable, or why it is not; `None` as long as nobody knows.
    pub fn outcome(&self) -> Option<Result<u64, String>> {
        self.0.outcome()
    }
}

/// A log on a disk in memory. What waits in it is gone when it is dropped, as with a process that is killed.
pub struct Driven {
    writer: Writer,
    steps: Steps,
    waiting: Vec<Entry>,
    losses: Losses,
    job: Option<SyncJob>,
    offered: u64,
}

/// A moment, for who looks at the clock twice.
struct At(Stamp);

impl Clock for At {
    fn now(&self) -> Stamp {
        self.0
    }
}

impl Driven {
    /// Opens the log, or makes it.
    pub fn open(
        disk: &Memory,
        options: &Options,
        boot: u128,
        now: &Stamp,
    ) -> Result<(Self, Recovered), OpenError> {
        let Begun { writer, recovered, steps, carried, .. } =
            open::begin(Arc::new(disk.clone()), options, boot, now)?;
        let (waiting, losses) = (Vec::new(), Losses::default());
        Ok((Self { writer, steps, waiting, losses, job: None, offered: carried }, recovered))
    }

    /// Takes a record. `None` if it is none.
    pub fn append(&mut self, now: &Stamp, body: &[u8]) -> Option<Promise> {
        self.take(now, body, false)
    }

    /// Takes the record of an act. The next turn makes it durable, with all before it, and signs a checkpoint, if the disk lets it.
    pub fn act(&mut self, now: &Stamp, body: &[u8]) -> Option<Promise> {
        self.take(now, body, true)
    }

    /// Counts a record that there is no room for: a `gap` says so.
    pub fn lose(&mut self, now: &Stamp) {
        self.offered += 1;
        self.losses.one(Cause::QueueFull, now.mono_ns);
    }

    /// Answers when all that was taken before is durable.
    pub fn flush(&mut self) -> Promise {
        let waiter = Arc::<Waiter>::default();
        self.waiting.push(Entry { rest: Vec::new(), act: false, waiter: Some(waiter.clone()) });
        Promise(waiter)
    }

    /// How it is.
    pub fn status(&self) -> Status {
        let WriterStatus { size, committed, lost, bytes, trouble, checkpoint } = self.writer.status();
        Status { entries: size, committed, lost: lost + self.losses.total(), bytes, trouble, checkpoint }
    }

    fn take(&mut self, now: &Stamp, body: &[u8], act: bool) -> Option<Promise> {
        let rest = leaf::stamped(now, body)?;
        let waiter = Arc::<Waiter>::default();
        self.offered += 1;
        self.waiting.push(Entry { rest, act, waiter: Some(waiter.clone()) });
        Some(Promise(waiter))
    }

    /// One turn of the thread that a log has. Panics where records don't add up.
    pub fn turn(&mut self, now: &Stamp) {
        if let Some(step_ms) = self.steps.look(&At(*now), now) {
            self.writer.note(Own::ClockStep { step_ms, steps: 1 });
        }
        let entries = std::mem::take(&mut self.waiting);
        let act = entries.iter().any(|entry| entry.act);
        let losses = std::mem::take(&mut self.losses);
        self.writer.commit(entries, losses, now);
        assert_eq!(self.writer.broken(self.offered), None);
        if act || self.writer.checkpoint_due(now) {
            self.writer.checkpoint(now);
        }
        self.writer.resolve();
        if self.job.is_none() {
            self.job = self.writer.sync_job(now);
        }
    }

    /// The sync of tiles that was begun comes to its end.
    pub fn settle(&mut self, now: &Stamp) {
        if let Some(job) = self.job.take() {
            let result = self.writer.disk().sync(&job.paths);
            self.writer.synced(job, result, now);
        }
    }

    /// Ends in order. Gives how many records were given up since it was opened.
    pub fn close(mut self, now: &Stamp) -> u64 {
        self.turn(now);
        self.settle(now);
        self.writer.close(now);
        self.writer.resolve();
        self.writer.status().lost
    }
}

/// All entries of the newest checkpoint that are there, each with its number.
pub fn entries(disk: &Memory) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let text = |path: &str| -> io::Result<String> {
        let bytes = disk.read(path)?.ok_or(io::ErrorKind::NotFound)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    };
    let key = Verifier::parse(&text("key.pub")?).map_err(io::Error::other)?;
    let checkpoint = Checkpoint::open(&text("checkpoint")?, &key).map_err(io::Error::other)?;
    let mut found = Vec::new();
    for index in 0..checkpoint.size.div_ceil(256) {
        let width = (checkpoint.size - index * 256).min(256) as usize;
        // The oldest may be deleted, to keep within the quota.
        let Ok(bundle) = read_tile(disk, &bundle_path(index), width) else { continue };
        for (at, entry) in tiles::entries(&bundle).take(width).enumerate() {
            found.push((index * 256 + at as u64, entry.map_err(io::Error::other)?.to_vec()));
        }
    }
    Ok(found)
}
