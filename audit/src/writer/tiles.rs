//! Tiles: what is durable in segments is filed in them, and checkpoints sign how far it goes.

use super::segments::TILE_BYTES;
use super::{RETRY_NS, Writer};
use crate::checkpoint::Checkpoint;
use crate::leaf::{Cause, Own, Stamp};
use crate::recover::{CHECKPOINT, recover};
use crate::tiles::{bundle_path, encode_hashes, partial_path, tile_path};
use crate::wal::{self, Filled};
use std::io;

/// Tiles that are to be made durable.
#[derive(Debug)]
pub(crate) struct SyncJob {
    pub(crate) paths: Vec<String>,
    /// Size of the checkpoint that they belong to.
    upto: u64,
}

/// More paths than this need not be known: they are synced with their file system.
const MAX_PATHS: usize = 1024;
/// A sync that failed is tried again after a second, then after twice as long each time, but at most 64 seconds.
const MAX_DOUBLINGS: u32 = 6;

impl Writer {
    /// Puts full tiles and bundles in their places; deletes what a record says is deleted.
    pub(super) fn file(&mut self, filled: Filled) {
        for tile in filled.tiles {
            self.unwritten.push_back((tile_path(tile.level, tile.index), encode_hashes(&tile.hashes)));
            self.unwritten_bytes += TILE_BYTES as usize;
        }
        for (index, bytes) in filled.bundles {
            self.unwritten_bytes += bytes.len();
            // One that a crash took while a later one stayed comes between.
            if let Err(at) = self.bundles.binary_search_by_key(&index, |(known, _)| *known) {
                self.bundles.insert(at, (index, bytes.len() as u64));
            }
            self.unwritten.push_back((bundle_path(index), bytes));
        }
        while let Some((path, bytes)) = self.unwritten.front() {
            // What the next start begins from is never without what it was, not for a file system that loses what was not synced either.
            let put = match self.edge.contains(path) {
                true => self.disk.replace(path, bytes, false),
                false => self.disk.put(path, bytes),
            };
            if let Err(e) = put {
                self.late = Some(format!("{path} can't be written: {e}"));
                return;
            }
            self.unwritten_bytes -= bytes.len();
            if let Some((path, _)) = self.unwritten.pop_front() {
                self.is_unsynced(path);
            }
        }
        let Some(before) = self.remove_before.filter(|_| self.removable) else { return };
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

    /// Whether leaves have been without a checkpoint for long, segments wait for one, or the last could not be written: what stood in its way may be gone, and
    /// nobody is told of a trouble for longer than it lasts.
    pub(crate) fn checkpoint_due(&self, now: &Stamp) -> bool {
        let size = self.checkpoint.as_ref().map_or(0, |(c, _)| c.size);
        let news = self.grown.tree.size() > size;
        let age = now.mono_ns.saturating_sub(self.checkpoint_ns);
        let waits = self.closed.len() > 1 && !self.syncing || self.remove_before.is_some();
        let old = age >= self.options.checkpoint_every.as_nanos() as u64;
        let due = news && (waits || old) || self.anew || self.late.is_some();
        due && now.mono_ns >= self.checkpoint_retry_ns
    }

    /// Signs what is durable, if there is anything new.
    pub(crate) fn checkpoint(&mut self, now: &Stamp) {
        self.late = self.try_checkpoint(now).err().map(|e| format!("no checkpoint can be written: {e}"));
        // If none can be written, room may be what it wants.
        self.removable = self.remove_before.is_some();
        self.file(Filled::default());
        self.checkpoint_retry_ns = match self.late {
            Some(_) => now.mono_ns.saturating_add(RETRY_NS),
            None => 0,
        };
        if self.current.as_ref().is_none_or(|segment| !segment.reserve) {
            self.keep_reserve();
        }
    }

    fn try_checkpoint(&mut self, now: &Stamp) -> io::Result<()> {
        let size = self.grown.tree.size();
        let same = self.checkpoint.as_ref().is_some_and(|(c, _)| c.size == size);
        // The first of a run is written again: nobody knows whether its partial tiles had reached the disk.
        if same && !self.anew && !self.partials.is_empty() || size == 0 {
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
                // One of the last run is what the oldest segment begins behind: it stays whole while it is written again.
                match self.anchor.contains(path) {
                    true => self.disk.replace(path, bytes, false)?,
                    false => self.disk.put(path, bytes)?,
                }
                self.is_unsynced(path.clone());
            }
        }
        let origin = self.key.verifier().name().to_owned();
        let checkpoint = Checkpoint { origin, size, root: self.grown.tree.root() };
        let note = checkpoint.sign(&self.key);
        self.disk.replace(CHECKPOINT, note.as_bytes(), false)?;
        self.checkpoint = Some((checkpoint, note.into()));
        (self.checkpoint_ns, self.anew) = (now.mono_ns, false);
        let partials = partials.into_iter().map(|(path, _)| path).collect();
        let before = std::mem::replace(&mut self.partials, partials);
        self.remove_partials(before);
        Ok(())
    }

    /// Deletes partial tiles that nothing needs any more.
    fn remove_partials(&self, paths: Vec<String>) {
        let needed = [&self.partials, &self.anchor, &self.next_anchor];
        for path in paths.iter().filter(|path| !needed.iter().any(|of| of.contains(path))) {
            // One that stays does no harm; the next start finds it.
            _ = self.disk.remove(path);
            if let Some((folder, _)) = path.rsplit_once('/') {
                // Fails as long as others are in it.
                _ = self.disk.remove(folder);
            }
        }
    }

    /// Begins to make tiles durable, if segments wait for that. To be answered by [`Writer::synced`].
    pub(crate) fn sync_job(&mut self, now: &Stamp) -> Option<SyncJob> {
        let upto = self.checkpoint.as_ref().map_or(0, |(c, _)| c.size);
        let waits = self.closed.front().is_some_and(|segment| segment.end <= upto);
        if self.syncing || !waits || now.mono_ns < self.sync_retry_ns {
            return None;
        }
        if self.rewrite {
            self.write_tiles_anew();
        }
        if self.rewrite || self.anew || !self.unwritten.is_empty() {
            return None;
        }
        self.syncing = true;
        self.next_anchor.clone_from(&self.partials);
        Some(SyncJob { paths: std::mem::take(&mut self.unsynced), upto })
    }

    /// Tiles were made durable, or not.
    pub(crate) fn synced(&mut self, job: SyncJob, result: io::Result<()>, now: &Stamp) {
        self.syncing = false;
        let partials = std::mem::take(&mut self.next_anchor);
        if let Err(error) = result {
            self.no_sync = Some(format!("tiles can't be made durable: {error}"));
            if self.failed_syncs == 0 {
                // One that fails for good would fill the log with saying so.
                self.notes.push(Own::gap(Cause::WriteFailed, Some(0), Some("tiles were written anew")));
            }
            let wait = RETRY_NS << self.failed_syncs.min(MAX_DOUBLINGS);
            self.failed_syncs += 1;
            self.sync_retry_ns = now.mono_ns.saturating_add(wait);
            self.rewrite = true;
            // To be deleted with the next that succeeds, if nothing needs them.
            self.anchor.extend(partials);
            self.write_tiles_anew();
            return;
        }
        (self.failed_syncs, self.no_sync) = (0, None);
        self.tiles_durable = job.upto;
        let anchor = std::mem::replace(&mut self.anchor, partials);
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
                // A checkpoint writes the partial ones anew; the old ones go with the next sync that succeeds.
                self.anchor.append(&mut self.partials);
                (self.rewrite, self.anew) = (false, true);
                self.unsynced.clear();
                self.edge = found.edge;
                self.file(found.filled);
            }
            // Then they stay as they are, and so do the segments, until it can be done.
            Ok(_) => self.no_sync = Some("the segments do not tell what was written".to_owned()),
            Err(e) => self.no_sync = Some(e.to_string()),
        }
    }
}
