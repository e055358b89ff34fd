//! Segments: made ahead of what is written to them, within the quota, with one in reserve.

use super::{Taken, Writer};
use crate::Options;
use crate::disk::DiskFile;
use crate::leaf::Own;
use crate::recover::Closed;
use crate::tally::Account;
use crate::wal::{self, Group, HEADER};
use std::io;

/// The segment that is written to.
pub(super) struct Segment {
    pub(super) number: u64,
    first: u64,
    file: Box<dyn DiskFile>,
    offset: u64,
    capacity: u64,
    /// Whether it is the one that was kept: for acts alone.
    pub(super) reserve: bool,
}

/// Bytes of a tile, about: with its bundle goes one.
pub(super) const TILE_BYTES: u64 = 8192;

impl Writer {
    pub(super) fn fits(&self, group: &Group) -> bool {
        self.current.as_ref().is_some_and(|s| s.offset + group.bytes.len() as u64 <= s.capacity)
    }

    /// Makes a group durable.
    pub(super) fn write(&mut self, taken: &Taken) -> io::Result<()> {
        let (now, group) = (self.account(), &taken.group);
        let Some(segment) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        if group.count > 0 {
            self.tally.group(
                &now,
                &Account {
                    size: taken.grown.tree.size(),
                    answered: now.answered + taken.answered,
                    unknown: now.unknown && !taken.told,
                },
            );
            segment.file.write_at(segment.offset, &group.bytes)?;
            segment.file.sync()?;
            segment.offset += group.bytes.len() as u64;
        }
        Ok(())
    }

    /// Makes a new segment, if the quota has room for it.
    pub(super) fn new_segment(&mut self) -> io::Result<()> {
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
        let file = self.disk.create(&wal::path(number), segment_bytes)?;
        let segment = self.begun(number, file, segment_bytes, false)?;
        self.close_segment();
        self.current = Some(segment);
        self.keep_reserve();
        // The next one must find room too, when what is in this one stands in bundles as well.
        let ahead = self.bytes().saturating_add(3 * segment_bytes).saturating_add(reserve_bytes);
        self.prune(ahead.saturating_sub(quota_bytes));
        Ok(())
    }

    /// Turns the reserve into a segment.
    pub(super) fn use_reserve(&mut self) -> io::Result<()> {
        if !self.reserve_ready {
            let why = self.full.as_ref().map_or("no reserve", |full| &full.error);
            return Err(io::Error::other(why.to_owned()));
        }
        let number = self.next_segment;
        self.next_segment += 1;
        self.reserve_ready = false;
        let bytes = self.options.reserve_bytes;
        let renamed = self.disk.rename(wal::RESERVE, &wal::path(number));
        match renamed.and_then(|()| self.disk.open(&wal::path(number))) {
            Ok(file) => {
                self.current = Some(self.begun(number, file, bytes, true)?);
                Ok(())
            }
            Err(e) => {
                self.discard(number, bytes);
                Err(e)
            }
        }
    }

    /// Writes the header of a segment. One that can't even take that does not stay.
    fn begun(
        &mut self,
        number: u64,
        mut file: Box<dyn DiskFile>,
        capacity: u64,
        reserve: bool,
    ) -> io::Result<Segment> {
        let first = self.grown.tree.size();
        match file.write_at(0, &wal::header(number, first)) {
            Ok(()) => Ok(Segment { number, first, file, offset: HEADER as u64, capacity, reserve }),
            Err(e) => {
                drop(file);
                self.discard(number, capacity);
                Err(e)
            }
        }
    }

    /// Deletes a segment in which nothing was promised. One that can't be deleted counts into the quota, and goes with those before
    /// it; if it is met by the next run, it is passed over.
    fn discard(&mut self, number: u64, bytes: u64) {
        if self.disk.remove(&wal::path(number)).is_err() {
            let size = self.grown.tree.size();
            self.closed.push_back(Closed { number, first: size, end: size, bytes });
        }
    }

    /// Takes the space of the reserve if it is not taken.
    pub(super) fn keep_reserve(&mut self) {
        if self.reserve_ready {
            return;
        }
        let there = self.disk.size(wal::RESERVE).ok().flatten();
        if there == Some(self.options.reserve_bytes) {
            (self.reserve_ready, self.no_reserve) = (true, None);
            return;
        }
        let made = self
            .disk
            .remove(wal::RESERVE)
            .and_then(|()| self.disk.create(wal::RESERVE, self.options.reserve_bytes));
        match made {
            Ok(_) => (self.reserve_ready, self.no_reserve) = (true, None),
            Err(e) => self.no_reserve = Some(format!("no space can be kept in reserve: {e}")),
        }
    }

    /// Ends the current segment in order.
    pub(super) fn close_segment(&mut self) {
        if let Some(segment) = self.current.take() {
            let end = self.grown.tree.size();
            let Segment { number, first, capacity, .. } = segment;
            self.closed.push_back(Closed { number, first, end, bytes: capacity });
        }
    }

    /// Leaves a segment that failed, for good.
    pub(super) fn abandon(&mut self) {
        match self.current.take_if(|segment| segment.offset == HEADER as u64) {
            Some(segment) => self.discard(segment.number, segment.capacity),
            None => self.close_segment(),
        }
    }

    /// Size of everything.
    pub(super) fn bytes(&self) -> u64 {
        let segments: u64 = self.closed.iter().map(|c| c.bytes).sum();
        let current = self.current.as_ref().map_or(0, |s| s.capacity);
        let bundles: u64 = self.bundles.iter().map(|(_, bytes)| bytes + TILE_BYTES).sum();
        // Tiles above the first level: 32 bytes for each of the first.
        segments + current + bundles + self.grown.tree.size() / 256 * 32
    }

    /// Has enough of the oldest bundles deleted, once a record says so. Only what is in a durable tree goes.
    pub(super) fn prune(&mut self, excess: u64) {
        if excess == 0
            || self.remove_before.is_some()
            || self.notes.iter().any(|own| matches!(own, Own::Removed { .. }))
        {
            return;
        }
        // The next start reads the segments that are there from the oldest on, and that one begins behind leaves of a tile: also when
        // it could have been deleted, but for an error.
        let needed = self.closed.iter().map(|segment| segment.first).min();
        let free = self.tiles_durable.min(needed.unwrap_or(u64::MAX));
        let (mut freed, mut span) = (0, None);
        for (index, bytes) in &self.bundles {
            if freed >= excess || (index + 1) * 256 > free {
                break;
            }
            freed += bytes + TILE_BYTES;
            span = Some((span.map_or(*index, |(first, _)| first), *index));
        }
        if let Some((first, last)) = span {
            self.notes.push(Own::Removed { from_seq: first * 256, to_seq: last * 256 + 255, bytes: freed });
        }
    }
}
