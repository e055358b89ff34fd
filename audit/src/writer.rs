//! The writer: a state machine that makes records durable, files tiles and signs checkpoints. It has no thread and no clock
//! of its own; [`crate::Log`] drives it.
//!
//! ```text
//!  records ─► held ─► group ─► segment, one write, one sync ─► durable, told to whoever waits
//!                                   │
//!                                   ├─► full tiles and bundles, put in place, not synced
//!                                   └─► checkpoint: partial tiles, signed note, synced
//!                                            └─► sync of all tiles, beside: segments before the checkpoint are deleted
//! ```
//!
//! What fails, and what comes of it:
//!
//! | fails | then |
//! |---|---|
//! | write or sync of a segment | never again on that file: the group goes to a new segment, a `gap` record tells of it |
//! | a new segment (no space, no quota, no disk) | the reserve takes a `log_full` record and acts; other records are held, then given up and counted; tried again every second |
//! | the reserve as well | acts are refused |
//! | a tile | tried again; segments stay until it succeeds |
//! | sync of tiles | all tiles that the segments tell of are written anew, to new files, and a checkpoint; tried again after a second, two, four … a minute |
//! | a checkpoint | tried again after a second, and at every act; what is durable stays so |
//!
//! [`segments`] makes records durable, [`tiles`] files them.

mod segments;
mod tiles;

use crate::Options;
use crate::checkpoint::Checkpoint;
use crate::disk::Disk;
use crate::leaf::{self, Cause, Own, Stamp};
use crate::log::Waiter;
use crate::note::Signer;
use crate::recover::{Closed, Found};
use crate::tally::{Account, Tally};
use crate::wal::{Filled, Group, Grown};
use segments::Segment;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
pub(crate) use tiles::SyncJob;

/// A record on its way. Without a text it only waits for those before it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) rest: Vec<u8>,
    /// Whether somebody acts by it: it may use the reserve.
    pub(crate) act: bool,
    pub(crate) waiter: Option<Arc<Waiter>>,
}

/// Records that are missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) cause: Cause,
    pub(crate) records: u64,
    pub(crate) from_mono_ns: u64,
    pub(crate) to_mono_ns: u64,
}

/// Losses by cause.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses(Vec<Loss>);

impl Losses {
    pub(crate) fn add(&mut self, loss: Loss) {
        match self.0.iter_mut().find(|known| known.cause == loss.cause) {
            Some(known) => {
                known.records += loss.records;
                known.to_mono_ns = loss.to_mono_ns;
            }
            None => self.0.push(loss),
        }
    }

    pub(crate) fn one(&mut self, cause: Cause, mono_ns: u64) {
        self.add(Loss { cause, records: 1, from_mono_ns: mono_ns, to_mono_ns: mono_ns });
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|loss| loss.records).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What failed is tried again after this time.
const RETRY_NS: u64 = 1_000_000_000;

pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    options: Options,
    key: Signer,
    boot: String,
    grown: Grown,
    current: Option<Segment>,
    closed: VecDeque<Closed>,
    next_segment: u64,
    reserve_ready: bool,
    held: VecDeque<Entry>,
    held_bytes: usize,
    /// Own records that wait.
    notes: Vec<Own<'static>>,
    losses: Losses,
    tally: Tally,
    /// Offered records that are durable, or that a durable record counts as missing.
    answered: u64,
    /// Whether a note says that an unknown number is missing from before.
    unknown: bool,
    /// What write or sync failed with since the last group that succeeded.
    failure: Option<String>,
    /// Set while no segment can be had: why, whether the log says so, and when to try again.
    full: Option<Full>,
    /// Full bundles on disk with their sizes.
    bundles: VecDeque<(u64, u64)>,
    /// Bundles before this one are to be deleted, now that a durable record says so …
    remove_before: Option<u64>,
    /// … and a checkpoint was made of it: whoever verifies what is signed must find the record.
    removable: bool,
    unwritten: VecDeque<(String, Vec<u8>)>,
    /// Tiles and bundles that the oldest segment of the last start, or of the last time that tiles were written anew, begins within.
    edge: Vec<String>,
    unwritten_bytes: usize,
    unsynced: Vec<String>,
    checkpoint: Option<(Checkpoint, Arc<str>)>,
    checkpoint_ns: u64,
    /// After one that failed, not before this time; but for acts.
    checkpoint_retry_ns: u64,
    /// Partial tiles of the newest checkpoint.
    partials: Vec<String>,
    /// Partial tiles that are durable while newer ones may not be.
    anchor: Vec<String>,
    /// Those that are being made durable, and take their place: segments are deleted on the strength of them, so they have to be there
    /// when the sync is over.
    next_anchor: Vec<String>,
    /// All leaves before this one are in durable tiles.
    tiles_durable: u64,
    syncing: bool,
    /// Syncs of tiles that failed in a row, and when the next is due.
    failed_syncs: u32,
    sync_retry_ns: u64,
    /// Tiles may be lost, and are to be written anew.
    rewrite: bool,
    /// Tiles were written anew, and the partial ones that the checkpoint needs were not yet.
    anew: bool,
    /// Why tiles are not durable.
    no_sync: Option<String>,
    /// Why there is no reserve.
    no_reserve: Option<String>,
    /// What is wrong with writing records.
    trouble: Option<String>,
    /// What is wrong with what is made of them: tiles, checkpoints. Until a checkpoint succeeds.
    late: Option<String>,
    committed: u64,
    lost: u64,
    /// Waiters whose record is durable or refused, to be told after the checkpoint.
    resolved: Vec<(Arc<Waiter>, Result<u64, String>)>,
}

struct Full {
    error: String,
    announced: bool,
    retry_ns: u64,
}

/// How the writer is.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriterStatus {
    pub(crate) size: u64,
    pub(crate) committed: u64,
    pub(crate) lost: u64,
    pub(crate) bytes: u64,
    pub(crate) trouble: Option<String>,
    pub(crate) checkpoint: Option<Arc<str>>,
}

impl Writer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        options: Options,
        key: Signer,
        boot: String,
        found: Found,
        tally: Tally,
    ) -> Self {
        let note: Option<Arc<str>> = found.checkpoint.as_ref().map(|c| c.sign(&key).into());
        let durable = found.checkpoint.as_ref().map_or(0, |c| c.size);
        let mut writer = Self {
            disk,
            options,
            key,
            boot,
            grown: found.grown,
            current: None,
            // Without segments all is in durable tiles; with them, nobody knows yet.
            tiles_durable: if found.segments.is_empty() { durable } else { 0 },
            closed: found.segments,
            next_segment: found.next_segment,
            reserve_ready: false,
            held: VecDeque::new(),
            held_bytes: 0,
            notes: Vec::new(),
            losses: Losses::default(),
            tally,
            answered: 0,
            unknown: false,
            failure: None,
            full: None,
            bundles: found.bundles,
            remove_before: None,
            removable: false,
            unwritten: VecDeque::new(),
            edge: found.edge,
            unwritten_bytes: 0,
            unsynced: Vec::new(),
            checkpoint: found.checkpoint.zip(note),
            checkpoint_ns: 0,
            checkpoint_retry_ns: 0,
            partials: Vec::new(),
            anchor: found.partials,
            next_anchor: Vec::new(),
            syncing: false,
            failed_syncs: 0,
            sync_retry_ns: 0,
            rewrite: false,
            // Nobody knows whether the partial tiles of the last run reached the disk: no segment goes before they are written again.
            anew: durable > 0,
            no_sync: None,
            no_reserve: None,
            trouble: None,
            late: None,
            committed: 0,
            lost: 0,
            resolved: Vec::new(),
        };
        for path in found.empty {
            // What stays is passed over again.
            _ = writer.disk.remove(&path);
        }
        writer.file(found.filled);
        writer.keep_reserve();
        writer
    }

    pub(crate) const fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn status(&self) -> WriterStatus {
        WriterStatus {
            size: self.grown.tree.size(),
            committed: self.committed,
            lost: self.lost,
            bytes: self.bytes(),
            trouble: self
                .full
                .as_ref()
                .map(|full| full.error.clone())
                .or_else(|| self.trouble.clone())
                .or_else(|| self.late.clone())
                .or_else(|| self.no_sync.clone())
                .or_else(|| self.no_reserve.clone()),
            checkpoint: self.checkpoint.as_ref().map(|(_, note)| note.clone()),
        }
    }

    /// Adds a record of the log's own. Steps of the clock that could not be written yet become one.
    pub(crate) fn note(&mut self, own: Own<'static>) {
        if let Own::ClockStep { step_ms, .. } = own
            && let Some(Own::ClockStep { step_ms: before, steps }) =
                self.notes.iter_mut().find(|own| matches!(own, Own::ClockStep { .. }))
        {
            (*before, *steps) = (before.saturating_add(step_ms), *steps + 1);
            return;
        }
        self.notes.push(own);
    }

    /// Has a record say what the last run left: so many records missing, or nobody knows how many.
    pub(crate) fn unclean_end(&mut self, missing: Option<u64>, from_mono_ns: u64, to_mono_ns: u64) {
        match missing {
            Some(records) => {
                self.losses.add(Loss { cause: Cause::UncleanEnd, records, from_mono_ns, to_mono_ns });
            }
            None => {
                self.unknown = true;
                self.notes.push(Own::gap(Cause::UncleanEnd, None, None));
            }
        }
    }

    /// Takes records and losses, and makes durable what can be. Who waits is told by [`Writer::resolve`].
    pub(crate) fn commit(&mut self, entries: impl IntoIterator<Item = Entry>, losses: Losses, now: &Stamp) {
        self.lost += losses.total();
        for loss in losses.0 {
            self.losses.add(loss);
        }
        for entry in entries {
            let room = self.held_bytes + entry.rest.len() <= self.options.queue_bytes;
            if !room && !entry.act && entry.waiter.is_none() {
                let cause = if self.full.is_some() { Cause::LogFull } else { Cause::QueueFull };
                self.losses.one(cause, now.mono_ns);
                self.lost += 1;
                continue;
            }
            self.held_bytes += entry.rest.len();
            self.held.push_back(entry);
        }
        self.file(Filled::default());
        if let Err(error) = self.pump(now) {
            // Acts don't wait for a disk that may come back.
            let why = error.to_string();
            let (acts, others) = std::mem::take(&mut self.held)
                .into_iter()
                .partition::<VecDeque<_>, _>(|e| e.act || e.waiter.is_some());
            self.held = others;
            for act in acts {
                self.held_bytes -= act.rest.len();
                if !act.rest.is_empty() {
                    self.losses.one(Cause::LogFull, now.mono_ns);
                    self.lost += 1;
                }
                self.resolved.extend(act.waiter.map(|waiter| (waiter, Err(why.clone()))));
            }
        }
        self.file(Filled::default());
    }

    /// Tells whoever waits.
    pub(crate) fn resolve(&mut self) {
        for (waiter, outcome) in self.resolved.drain(..) {
            waiter.resolve(outcome);
        }
    }

    /// Writes groups until nothing waits that can be written.
    fn pump(&mut self, now: &Stamp) -> io::Result<()> {
        let mut failures = 0;
        while !(self.held.is_empty()
            && self.notes.is_empty()
            && self.losses.is_empty()
            && self.failure.is_none())
        {
            let mut only_acts = self.current.as_ref().is_none_or(|segment| segment.reserve);
            if only_acts && self.full.as_ref().is_none_or(|full| now.mono_ns >= full.retry_ns) {
                match self.new_segment() {
                    Ok(()) => {
                        only_acts = false;
                        if self.full.take().is_some_and(|full| full.announced) {
                            let at = now.mono_ns;
                            self.losses.add(Loss {
                                cause: Cause::LogFull,
                                records: 0,
                                from_mono_ns: at,
                                to_mono_ns: at,
                            });
                        }
                    }
                    Err(error) => self.is_full(&error, now),
                }
            }
            if only_acts {
                let error =
                    self.full.as_ref().map_or_else(|| "no segment".to_owned(), |full| full.error.clone());
                let announced = self.full.as_ref().is_some_and(|full| full.announced);
                // Making room is what may end this.
                let waits = self.held.iter().any(|entry| entry.act)
                    || self.notes.iter().any(|own| matches!(own, Own::Removed { .. }));
                let barrier = self.held.iter().any(|entry| entry.rest.is_empty());
                if announced && !waits {
                    return if barrier { Err(io::Error::other(error)) } else { Ok(()) };
                }
                if self.current.is_none() {
                    self.use_reserve()?;
                }
            }
            let taken = self.build(only_acts, now);
            if !self.fits(&taken.group) {
                self.give_back(taken);
                if only_acts {
                    return Err(io::Error::new(
                        io::ErrorKind::StorageFull,
                        "the reserve of the audit log is used up",
                    ));
                }
                self.close_segment();
                continue;
            }
            match self.write(&taken) {
                Ok(()) => self.done(taken, only_acts),
                Err(error) => {
                    self.give_back(taken);
                    self.abandon();
                    self.failure = Some(error.to_string());
                    self.trouble = Some(error.to_string());
                    failures += 1;
                    if failures > 1 {
                        if only_acts || failures > 4 {
                            return Err(error);
                        }
                        self.is_full(&error, now);
                    }
                }
            }
        }
        if self.full.is_none() {
            self.trouble = None;
        }
        Ok(())
    }

    fn is_full(&mut self, error: &io::Error, now: &Stamp) {
        let announced = self.full.as_ref().is_some_and(|full| full.announced);
        let retry_ns = now.mono_ns.saturating_add(RETRY_NS);
        self.full = Some(Full { error: error.to_string(), announced, retry_ns });
    }

    /// Takes as much of what waits as makes a group.
    fn build(&mut self, only_acts: bool, now: &Stamp) -> Taken {
        let mut taken = Taken { group: Group::new(), grown: self.grown.clone(), ..Taken::default() };
        let limit = self.group_limit(only_acts);
        let add = |taken: &mut Taken, boot: &str, rest: &[u8]| {
            let line = leaf::line(boot, taken.grown.tree.size(), rest);
            taken.group.push(&line);
            taken.grown.take(&line, &mut taken.filled);
        };
        if let (true, Some(full)) = (only_acts, &self.full)
            && !full.announced
        {
            add(&mut taken, &self.boot, &Own::log_full(&full.error).stamped(now));
            taken.own += 1;
        }
        let mut kept = VecDeque::new();
        while let Some(entry) = self.held.pop_front() {
            if only_acts && !entry.act {
                kept.push_back(entry);
                continue;
            }
            if taken.group.bytes.len() + entry.rest.len() + 256 > limit {
                self.held.push_front(entry);
                break;
            }
            self.held_bytes -= entry.rest.len();
            if !entry.rest.is_empty() {
                add(&mut taken, &self.boot, &entry.rest);
                taken.answered += 1;
            }
            taken.entries.push((entry, taken.grown.tree.size().saturating_sub(1)));
        }
        while let Some(entry) = kept.pop_back() {
            self.held.push_front(entry);
        }
        if only_acts {
            for own in self.notes.iter().filter(|own| matches!(own, Own::Removed { .. })) {
                add(&mut taken, &self.boot, &own.stamped(now));
            }
        }
        // What is missing is told behind what came before it.
        if !only_acts && self.held.is_empty() {
            if let Some(error) = &self.failure {
                let own = Own::gap(Cause::WriteFailed, Some(0), Some(error));
                add(&mut taken, &self.boot, &own.stamped(now));
                taken.own += 1;
            }
            for Loss { cause, records, from_mono_ns, to_mono_ns } in &self.losses.0 {
                let (from_mono_ns, to_mono_ns) = (Some(*from_mono_ns), Some(*to_mono_ns));
                taken.answered += records;
                let own = Own::Gap {
                    cause: *cause,
                    records: Some(*records),
                    count: None,
                    bytes: 0,
                    from_mono_ns,
                    to_mono_ns,
                    error: None,
                };
                add(&mut taken, &self.boot, &own.stamped(now));
                taken.own += 1;
            }
            for own in &self.notes {
                add(&mut taken, &self.boot, &own.stamped(now));
                taken.own += 1;
            }
            taken.told = true;
        }
        taken.group.seal(self.grown.tree.size(), &taken.grown.tree.root());
        taken
    }

    fn group_limit(&self, only_acts: bool) -> usize {
        let Options { segment_bytes, reserve_bytes, .. } = self.options;
        let least = if only_acts { reserve_bytes } else { segment_bytes };
        (usize::try_from(least).unwrap_or(usize::MAX) / 2).clamp(2 * leaf::MAX_LEAF, 256 << 10)
    }

    fn give_back(&mut self, taken: Taken) {
        for (entry, _) in taken.entries.into_iter().rev() {
            self.held_bytes += entry.rest.len();
            self.held.push_front(entry);
        }
    }

    /// A group is durable.
    fn done(&mut self, taken: Taken, only_acts: bool) {
        self.committed += u64::from(taken.group.count);
        self.grown = taken.grown;
        self.answered += taken.answered;
        self.unknown &= !taken.told;
        for (entry, seq) in taken.entries {
            self.resolved.extend(entry.waiter.map(|waiter| (waiter, Ok(seq))));
        }
        if only_acts
            && taken.own > 0
            && let Some(full) = &mut self.full
        {
            full.announced = true;
        }
        if only_acts || taken.told {
            let removed = self.notes.iter().filter_map(|own| match own {
                Own::Removed { to_seq, .. } => Some((to_seq + 1) / 256),
                _ => None,
            });
            if let Some(before) = removed.max() {
                (self.remove_before, self.removable) = (Some(before), false);
            }
            self.notes.retain(|own| !taken.told && !matches!(own, Own::Removed { .. }));
        }
        if taken.told {
            (self.failure, self.losses) = (None, Losses::default());
        }
        self.file(taken.filled);
    }

    /// Ends in order: everything durable, in a checkpoint, and in tiles; no segment stays.
    pub(crate) fn close(&mut self, now: &Stamp) {
        if let Some(full) = &mut self.full {
            // There is no later.
            full.retry_ns = 0;
        }
        self.commit([], Losses::default(), now);
        self.checkpoint(now);
        self.close_segment();
        self.sync_retry_ns = 0;
        if let Some(job) = self.sync_job(now) {
            let result = self.disk.sync(&job.paths);
            self.synced(job, result, now);
        }
        let account = self.account();
        self.tally.close(&account);
    }

    /// Whether each of `offered` records is durable, counted as missing by a durable record, or waits to be one of the two: where it is not
    /// so, what was found instead. Asked at every turn of every log in builds with assertions.
    pub(crate) fn broken(&self, offered: u64) -> Option<String> {
        let held = self.held.iter().filter(|entry| !entry.rest.is_empty()).count() as u64;
        let (answered, untold) = (self.answered, self.losses.total());
        (offered != answered + held + untold).then(|| {
            format!("{offered} records offered, {answered} answered for, {held} wait, {untold} losses are to be told")
        })
    }

    /// What is answered for, as things are.
    fn account(&self) -> Account {
        Account { size: self.grown.tree.size(), answered: self.answered, unknown: self.unknown }
    }
}

/// A group that is being built: what is in it, and the log as it will be.
#[derive(Default)]
struct Taken {
    group: Group,
    grown: Grown,
    filled: Filled,
    /// Each with its number.
    entries: Vec<(Entry, u64)>,
    /// Own records among them.
    own: usize,
    /// Offered records that are in it, or that it counts as missing.
    answered: u64,
    /// Whether losses and notes are told.
    told: bool,
}

#[cfg(test)]
mod tests;
