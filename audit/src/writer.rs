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
//! | sync of tiles | all tiles that the segments tell of are written anew, to new files |
//! | a checkpoint | tried again; what is durable stays so |

use crate::Options;
use crate::checkpoint::Checkpoint;
use crate::disk::{Disk, DiskFile};
use crate::leaf::{self, Cause, Own, Stamp};
use crate::log::Waiter;
use crate::note::Signer;
use crate::recover::{CHECKPOINT, Closed, Found, recover};
use crate::tiles::{bundle_path, encode_hashes, partial_path, tile_path};
use crate::wal::{self, Filled, Group, Grown, HEADER};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

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

/// Tiles that are to be made durable.
#[derive(Debug)]
pub(crate) struct SyncJob {
    pub(crate) paths: Vec<String>,
    /// Size of the checkpoint that they belong to.
    upto: u64,
    partials: Vec<String>,
}

struct Segment {
    number: u64,
    file: Box<dyn DiskFile>,
    offset: u64,
    capacity: u64,
    /// Whether it is the one that was kept: for acts alone.
    reserve: bool,
}

/// Entries of the reserve are for this many acts of up to a kilobyte, and more of shorter ones.
const RETRY_NS: u64 = 1_000_000_000;
/// More paths than this need not be known: they are synced with their file system.
const MAX_PATHS: usize = 1024;

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
    /// What write or sync failed with since the last group that succeeded.
    failure: Option<String>,
    /// Set while no segment can be had: why, whether the log says so, and when to try again.
    full: Option<Full>,
    /// Full bundles on disk with their sizes.
    bundles: VecDeque<(u64, u64)>,
    /// Bundles before this one are to be deleted, now that a record says so.
    remove_before: Option<u64>,
    unwritten: VecDeque<(String, Vec<u8>)>,
    unwritten_bytes: usize,
    unsynced: Vec<String>,
    checkpoint: Option<(Checkpoint, Arc<str>)>,
    checkpoint_ns: u64,
    /// Partial tiles of the newest checkpoint.
    partials: Vec<String>,
    /// Partial tiles that are durable while newer ones may not be.
    anchor: Vec<String>,
    /// All leaves before this one are in durable tiles.
    tiles_durable: u64,
    syncing: bool,
    /// What is wrong with writing records.
    trouble: Option<String>,
    /// What is wrong with what is made of them: tiles, checkpoints, the reserve. Until a checkpoint succeeds.
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
            failure: None,
            full: None,
            bundles: found.bundles,
            remove_before: None,
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            unsynced: Vec::new(),
            checkpoint: found.checkpoint.zip(note),
            checkpoint_ns: 0,
            partials: Vec::new(),
            anchor: found.partials,
            syncing: false,
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
                .or_else(|| self.late.clone()),
            checkpoint: self.checkpoint.as_ref().map(|(_, note)| note.clone()),
        }
    }

    /// Adds a record of the log's own.
    pub(crate) fn note(&mut self, own: Own<'static>) {
        self.notes.push(own);
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
                let waits = self.held.iter().any(|entry| entry.act);
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
            match self.write(&taken.group) {
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
        let limit = self.group_limit();
        let add = |taken: &mut Taken, boot: &str, rest: &[u8]| {
            let line = leaf::line(boot, taken.grown.tree.size(), rest);
            taken.group.push(&line);
            taken.grown.take(&line, &mut taken.filled);
        };
        if let (true, Some(full)) = (only_acts, &self.full)
            && !full.announced
        {
            add(&mut taken, &self.boot, &Own::LogFull { error: &full.error }.stamped(now));
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
            }
            taken.entries.push((entry, taken.grown.tree.size().saturating_sub(1)));
        }
        while let Some(entry) = kept.pop_back() {
            self.held.push_front(entry);
        }
        if only_acts {
            // Making room is what may end this.
            for own in self.notes.iter().filter(|own| matches!(own, Own::Removed { .. })) {
                add(&mut taken, &self.boot, &own.stamped(now));
            }
        }
        // What is missing is told behind what came before it.
        if !only_acts && self.held.is_empty() {
            if let Some(error) = &self.failure {
                add(&mut taken, &self.boot, &Own::gap(Cause::WriteFailed, Some(error)).stamped(now));
                taken.own += 1;
            }
            for Loss { cause, records, from_mono_ns, to_mono_ns } in &self.losses.0 {
                let (from_mono_ns, to_mono_ns) = (Some(*from_mono_ns), Some(*to_mono_ns));
                let own = Own::Gap {
                    cause: *cause,
                    records: *records,
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

    fn group_limit(&self) -> usize {
        let segment = usize::try_from(self.options.segment_bytes).unwrap_or(usize::MAX);
        (segment / 2).clamp(2 * leaf::MAX_LEAF, 256 << 10)
    }

    fn give_back(&mut self, taken: Taken) {
        for (entry, _) in taken.entries.into_iter().rev() {
            self.held_bytes += entry.rest.len();
            self.held.push_front(entry);
        }
    }

    fn fits(&self, group: &Group) -> bool {
        self.current.as_ref().is_some_and(|s| s.offset + group.bytes.len() as u64 <= s.capacity)
    }

    fn write(&mut self, group: &Group) -> io::Result<()> {
        let Some(segment) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        if group.count > 0 {
            segment.file.write_at(segment.offset, &group.bytes)?;
            segment.file.sync()?;
            segment.offset += group.bytes.len() as u64;
        }
        Ok(())
    }

    /// A group is durable.
    fn done(&mut self, taken: Taken, only_acts: bool) {
        self.committed += u64::from(taken.group.count);
        self.grown = taken.grown;
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
            self.remove_before = removed.max().or(self.remove_before);
            self.notes.retain(|own| !taken.told && !matches!(own, Own::Removed { .. }));
        }
        if taken.told {
            (self.failure, self.losses) = (None, Losses::default());
        }
        self.file(taken.filled);
    }

    /// Makes a new segment, if the quota has room for it.
    fn new_segment(&mut self) -> io::Result<()> {
        let Options { segment_bytes, quota_bytes, reserve_bytes, queue_bytes, .. } = self.options;
        let wanted = self.bytes().saturating_add(segment_bytes).saturating_add(reserve_bytes);
        if wanted > quota_bytes {
            self.prune(wanted.saturating_sub(quota_bytes));
            let why = format!("the quota of {quota_bytes} bytes is used up");
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
        }
        if self.unwritten_bytes > queue_bytes {
            return Err(io::Error::other(
                self.late.clone().unwrap_or_else(|| "tiles can't be written".to_owned()),
            ));
        }
        let number = self.next_segment;
        self.next_segment += 1;
        let mut file = self.disk.create(&wal::path(number), segment_bytes)?;
        file.write_at(0, &wal::header(number, self.grown.tree.size()))?;
        self.close_segment();
        let (offset, capacity) = (HEADER as u64, segment_bytes);
        self.current = Some(Segment { number, file, offset, capacity, reserve: false });
        self.keep_reserve();
        // The next one must find room too, when what is in this one stands in bundles as well.
        let ahead = self.bytes().saturating_add(3 * segment_bytes).saturating_add(reserve_bytes);
        self.prune(ahead.saturating_sub(quota_bytes));
        Ok(())
    }

    /// Turns the reserve into a segment.
    fn use_reserve(&mut self) -> io::Result<()> {
        if !self.reserve_ready {
            let why = self.full.as_ref().map_or("no reserve", |full| &full.error);
            return Err(io::Error::other(why.to_owned()));
        }
        let number = self.next_segment;
        self.next_segment += 1;
        self.reserve_ready = false;
        self.disk.rename(wal::RESERVE, &wal::path(number))?;
        let mut file = self.disk.open(&wal::path(number))?;
        file.write_at(0, &wal::header(number, self.grown.tree.size()))?;
        let (offset, capacity) = (HEADER as u64, self.options.reserve_bytes);
        self.current = Some(Segment { number, file, offset, capacity, reserve: true });
        Ok(())
    }

    /// Takes the space of the reserve if it is not taken.
    fn keep_reserve(&mut self) {
        if self.reserve_ready {
            return;
        }
        let there = self.disk.size(wal::RESERVE).ok().flatten();
        if there == Some(self.options.reserve_bytes) {
            self.reserve_ready = true;
            return;
        }
        let made = self
            .disk
            .remove(wal::RESERVE)
            .and_then(|()| self.disk.create(wal::RESERVE, self.options.reserve_bytes));
        match made {
            Ok(_) => self.reserve_ready = true,
            Err(e) => self.late = Some(format!("no space can be kept in reserve: {e}")),
        }
    }

    /// Ends the current segment in order.
    fn close_segment(&mut self) {
        if let Some(segment) = self.current.take() {
            let end = self.grown.tree.size();
            self.closed.push_back(Closed { number: segment.number, end, bytes: segment.capacity });
        }
    }

    /// Leaves a segment that failed, for good.
    fn abandon(&mut self) {
        if self.current.as_ref().is_some_and(|segment| segment.offset == HEADER as u64) {
            // Nothing in it was promised. If it stays, it is passed over.
            if let Some(segment) = self.current.take() {
                _ = self.disk.remove(&wal::path(segment.number));
            }
        }
        self.close_segment();
    }

    /// Size of everything.
    fn bytes(&self) -> u64 {
        let segments: u64 = self.closed.iter().map(|c| c.bytes).sum();
        let current = self.current.as_ref().map_or(0, |s| s.capacity);
        let bundles: u64 = self.bundles.iter().map(|(_, bytes)| bytes + TILE_BYTES).sum();
        // Tiles above the first level: 32 bytes for each of the first.
        segments + current + bundles + self.grown.tree.size() / 256 * 32
    }

    /// Has enough of the oldest bundles deleted, once a record says so. Only what is in a durable tree goes.
    fn prune(&mut self, excess: u64) {
        if excess == 0
            || self.remove_before.is_some()
            || self.notes.iter().any(|own| matches!(own, Own::Removed { .. }))
        {
            return;
        }
        let (mut freed, mut span) = (0, None);
        for (index, bytes) in &self.bundles {
            if freed >= excess || (index + 1) * 256 > self.tiles_durable {
                break;
            }
            freed += bytes + TILE_BYTES;
            span = Some((span.map_or(*index, |(first, _)| first), *index));
        }
        if let Some((first, last)) = span {
            self.notes.push(Own::Removed { from_seq: first * 256, to_seq: last * 256 + 255, bytes: freed });
        }
    }

    /// Puts full tiles and bundles in their places; deletes what a record says is deleted.
    fn file(&mut self, filled: Filled) {
        for tile in filled.tiles {
            self.unwritten.push_back((tile_path(tile.level, tile.index), encode_hashes(&tile.hashes)));
            self.unwritten_bytes += TILE_BYTES as usize;
        }
        for (index, bytes) in filled.bundles {
            self.unwritten_bytes += bytes.len();
            if self.bundles.back().is_none_or(|(last, _)| *last < index) {
                self.bundles.push_back((index, bytes.len() as u64));
            }
            self.unwritten.push_back((bundle_path(index), bytes));
        }
        while let Some((path, bytes)) = self.unwritten.front() {
            if let Err(e) = self.disk.put(path, bytes) {
                self.late = Some(format!("{path} can't be written: {e}"));
                return;
            }
            self.unwritten_bytes -= bytes.len();
            if let Some((path, _)) = self.unwritten.pop_front() {
                self.is_unsynced(path);
            }
        }
        let Some(before) = self.remove_before else { return };
        while let Some((index, _)) = self.bundles.front().copied().filter(|(index, _)| *index < before) {
            let removed =
                self.disk.remove(&bundle_path(index)).and_then(|()| self.disk.remove(&tile_path(0, index)));
            if let Err(e) = removed {
                self.late = Some(format!("{} can't be deleted: {e}", bundle_path(index)));
                return;
            }
            self.bundles.pop_front();
        }
        self.remove_before = None;
    }

    fn is_unsynced(&mut self, path: String) {
        if self.unsynced.len() < MAX_PATHS {
            self.unsynced.push(path);
        }
    }

    /// Whether leaves have been without a checkpoint for long, or segments wait for one.
    pub(crate) fn checkpoint_due(&self, now: &Stamp) -> bool {
        let size = self.checkpoint.as_ref().map_or(0, |(c, _)| c.size);
        let news = self.grown.tree.size() > size;
        let age = now.mono_ns.saturating_sub(self.checkpoint_ns);
        let waits = self.closed.len() > 1 && !self.syncing;
        news && (waits || age >= self.options.checkpoint_every.as_nanos() as u64)
    }

    /// Signs what is durable, if there is anything new.
    pub(crate) fn checkpoint(&mut self, now: &Stamp) {
        if let Err(e) = self.try_checkpoint(now) {
            self.late = Some(format!("no checkpoint can be written: {e}"));
        }
    }

    fn try_checkpoint(&mut self, now: &Stamp) -> io::Result<()> {
        let size = self.grown.tree.size();
        if self.checkpoint.as_ref().is_some_and(|(c, _)| c.size == size) && !self.partials.is_empty()
            || size == 0
        {
            return Ok(());
        }
        if !self.unwritten.is_empty() {
            return Err(io::Error::other("tiles before it are not written"));
        }
        let mut partials = Vec::new();
        for level in 0..self.grown.tree.levels() {
            let hashes = self.grown.tree.partial(level);
            if hashes.is_empty() {
                continue;
            }
            let index = size >> (8 * (u32::from(level) + 1));
            partials.push((partial_path(&tile_path(level, index), hashes.len()), encode_hashes(hashes)));
            if level == 0 {
                partials.push((partial_path(&bundle_path(index), hashes.len()), self.grown.bundle.clone()));
            }
        }
        for (path, bytes) in &partials {
            if !self.partials.contains(path) {
                self.disk.put(path, bytes)?;
                self.is_unsynced(path.clone());
            }
        }
        let origin = self.key.verifier().name().to_owned();
        let checkpoint = Checkpoint { origin, size, root: self.grown.tree.root() };
        let note = checkpoint.sign(&self.key);
        self.disk.replace(CHECKPOINT, note.as_bytes(), false)?;
        self.checkpoint = Some((checkpoint, note.into()));
        self.checkpoint_ns = now.mono_ns;
        self.late = None;
        let partials = partials.into_iter().map(|(path, _)| path).collect();
        let before = std::mem::replace(&mut self.partials, partials);
        self.remove_partials(before);
        Ok(())
    }

    /// Deletes partial tiles that nothing needs any more.
    fn remove_partials(&self, paths: Vec<String>) {
        for path in paths.iter().filter(|path| !self.partials.contains(path) && !self.anchor.contains(path)) {
            // One that stays does no harm; the next start finds it.
            _ = self.disk.remove(path);
            if let Some((folder, _)) = path.rsplit_once('/') {
                // Fails as long as others are in it.
                _ = self.disk.remove(folder);
            }
        }
    }

    /// Begins to make tiles durable, if segments wait for that. To be answered by [`Writer::synced`].
    pub(crate) fn sync_job(&mut self) -> Option<SyncJob> {
        let upto = self.checkpoint.as_ref().map_or(0, |(c, _)| c.size);
        let waits = self.closed.front().is_some_and(|segment| segment.end <= upto);
        if self.syncing || !waits || !self.unwritten.is_empty() {
            return None;
        }
        self.syncing = true;
        Some(SyncJob { paths: std::mem::take(&mut self.unsynced), upto, partials: self.partials.clone() })
    }

    /// Tiles were made durable, or not.
    pub(crate) fn synced(&mut self, job: SyncJob, result: io::Result<()>) {
        self.syncing = false;
        if let Err(error) = result {
            self.late = Some(format!("tiles can't be made durable: {error}"));
            self.notes.push(Own::gap(Cause::WriteFailed, Some("tiles were written anew")));
            self.write_tiles_anew();
            return;
        }
        self.tiles_durable = job.upto;
        let anchor = std::mem::replace(&mut self.anchor, job.partials);
        self.remove_partials(anchor);
        while let Some(segment) = self.closed.front().filter(|segment| segment.end <= job.upto) {
            if let Err(e) = self.disk.remove(&wal::path(segment.number)) {
                self.late = Some(format!("{} can't be deleted: {e}", wal::path(segment.number)));
                return;
            }
            self.closed.pop_front();
        }
    }

    /// Writes all tiles again that the segments tell of: what was written before may never reach the disk.
    fn write_tiles_anew(&mut self) {
        match recover(&*self.disk, self.key.verifier()) {
            Ok(found) if found.grown.tree == self.grown.tree => {
                self.partials.clear();
                self.unsynced.clear();
                self.file(found.filled);
            }
            Ok(_) => self.late = Some("the segments do not tell what was written".to_owned()),
            Err(e) => self.late = Some(e.to_string()),
        }
    }

    /// Ends in order: everything durable, in a checkpoint, and in tiles; no segment stays.
    pub(crate) fn close(&mut self, now: &Stamp) {
        self.commit([], Losses::default(), now);
        self.checkpoint(now);
        self.close_segment();
        if let Some(job) = self.sync_job() {
            let result = self.disk.sync(&job.paths);
            self.synced(job, result);
        }
    }
}

const TILE_BYTES: u64 = 8192;

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
    /// Whether losses and notes are told.
    told: bool,
}

#[cfg(test)]
mod tests;
