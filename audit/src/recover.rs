//! What is on disk when a log is opened: the tiles, and the segments that go beyond them.
//!
//! Segments are read from the oldest on; what they say is written to tiles again, because nobody knows which tiles had
//! reached the disk. The tiles left of them are durable, and are needed at their right edge alone. A checkpoint must fit:
//! the log that is found has its root at its size. What does not fit is [`Damage`], and such a log is not gone on with.

use crate::checkpoint::Checkpoint;
use crate::disk::Disk;
use crate::merkle::{Tree, leaf_hash, widths};
use crate::note::Verifier;
use crate::tiles::{self, TileError, bundle_path, entries, partial_path, push_entry, tile_path};
use crate::wal::{self, Filled, Grown, Torn};
use std::collections::VecDeque;
use std::io;

/// A segment that is not written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) number: u64,
    /// Its first leaf.
    pub(crate) first: u64,
    /// The leaf after its last.
    pub(crate) end: u64,
    pub(crate) bytes: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) grown: Grown,
    /// What the segments fill, to be written again.
    pub(crate) filled: Filled,
    /// Paths of those tiles and bundles among them that the oldest segment begins within: they must not be less than they are at any moment.
    pub(crate) edge: Vec<String>,
    pub(crate) segments: VecDeque<Closed>,
    pub(crate) next_segment: u64,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) torn: Torn,
    /// Full bundles that are there, with their sizes, oldest first.
    pub(crate) bundles: VecDeque<(u64, u64)>,
    /// Partial tiles and bundles that are there.
    pub(crate) partials: Vec<String>,
    /// There are tiles of more entries than there are. While the log is being written that only means that it grew meanwhile.
    pub(crate) beyond: bool,
    /// Segments that never held anything that counts.
    pub(crate) empty: Vec<String>,
}

/// Why a log can't be gone on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    /// The system did not let us see.
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    /// What is there is not what was written.
    #[error("{0}")]
    Broken(String),
}

impl Damage {
    fn at(path: &str, source: io::Error) -> Self {
        // What the medium does not give back is as gone as what it gives back wrong.
        if source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) {
            return Self::Broken(format!("{path} can't be read: {source}"));
        }
        Self::Io { path: path.to_owned(), source }
    }
}

impl From<TileError> for Damage {
    fn from(error: TileError) -> Self {
        match error {
            TileError::Io { path, source } => Self::at(&path, source),
            other => Self::Broken(other.to_string()),
        }
    }
}

pub(crate) fn recover(disk: &dyn Disk, key: &Verifier) -> Result<Found, Damage> {
    let mut found = Found { checkpoint: checkpoint(disk, key)?, next_segment: 1, ..Found::default() };
    let size = found.checkpoint.as_ref().map_or(0, |c| c.size);
    let segments = segments(disk)?;
    let mut base = None;
    let mut before: Option<wal::Before> = None;
    // Whether what was read so far has another root than the checkpoint at its size.
    let mut wrong = false;
    for (number, path) in segments {
        found.next_segment = number.saturating_add(1);
        let bytes = disk.read(&path).map_err(|e| Damage::at(&path, e))?.unwrap_or_default();
        // One that was begun and given up has its header at most. It says nothing of where others end: what was promised meanwhile stands in the one before.
        let Some(first) = wal::first_leaf(number, &bytes).filter(|_| wal::holds_any(&bytes)) else {
            found.empty.push(path);
            continue;
        };
        if base.is_none() {
            base = Some(first);
            found.grown = edge(disk, first)?;
            let levels = (0u8..).zip(widths(first));
            found.edge =
                levels.map(|(level, _)| tile_path(level, first >> (8 * (u32::from(level) + 1)))).collect();
            found.edge.push(bundle_path(first / 256));
            // A checkpoint of the very leaves that the segments begin behind; of later ones while they are read.
            fits(&found, first)?;
        }
        let at = found.grown.tree.size();
        match before.take() {
            _ if at == first => {}
            // The last group of the segment before was never promised; it stands here again.
            Some(b) if b.grown.tree.size() == first => {
                found.filled.tiles.truncate(b.tiles);
                found.filled.bundles.truncate(b.bundles);
                found.grown = b.grown;
                wrong &= first >= size;
            }
            _ => {
                return Err(Damage::Broken(format!(
                    "{path} begins with entry {first}, but there are {at} before it"
                )));
            }
        }
        let expected = found.checkpoint.as_ref().map(|c| c.root);
        let (last, torn) =
            wal::replay(&bytes, &mut found.grown, &mut found.filled, Some(size), &mut |root| {
                wrong = expected.is_some_and(|expected| expected != root);
            });
        if last.is_some() || torn != Torn::default() {
            found.torn = torn;
        }
        before = last;
        let end = found.grown.tree.size();
        found.segments.push_back(Closed { number, first, end, bytes: bytes.len() as u64 });
    }
    if wrong {
        return Err(Damage::Broken(format!("the first {size} entries have not the root of the checkpoint")));
    }
    if base.is_none() {
        found.grown = edge(disk, size)?;
        fits(&found, size)?;
    }
    let (there, base) = (found.grown.tree.size(), base.unwrap_or(size));
    if there < size || base > size {
        return Err(Damage::Broken(format!(
            "the checkpoint is of {size} entries, there are segments from {base} on and {there} entries in all"
        )));
    }
    for path in tiles::walk(disk).map_err(|e| Damage::at("tile", e))? {
        if path.contains(".p/") {
            found.partials.push(path);
        } else if let Some(index) = tiles::bundle_index(&path) {
            if index >= there / 256 {
                found.beyond = true;
                continue;
            }
            let bytes = disk.size(&path).map_err(|e| Damage::at(&path, e))?;
            found.bundles.push_back((index, bytes.unwrap_or_default()));
        }
    }
    found.bundles.make_contiguous().sort_unstable();
    found.beyond |= there == 0 && !found.partials.is_empty();
    Ok(found)
}

fn checkpoint(disk: &dyn Disk, key: &Verifier) -> Result<Option<Checkpoint>, Damage> {
    let Some(bytes) = disk.read(CHECKPOINT).map_err(|e| Damage::at(CHECKPOINT, e))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    Checkpoint::open(&text, key).map(Some).map_err(|e| Damage::Broken(format!("{CHECKPOINT}: {e}")))
}

/// Where the newest checkpoint lies.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// Numbers and paths of the segments, oldest first.
fn segments(disk: &dyn Disk) -> Result<Vec<(u64, String)>, Damage> {
    let names = disk.names(wal::FOLDER).map_err(|e| Damage::at(wal::FOLDER, e))?;
    let parse = |name: &String| name.parse().ok().map(|number| (number, wal::path(number)));
    let mut segments: Vec<(u64, String)> = names.iter().filter_map(parse).collect();
    // Others have not the names of segments, though they are numbers.
    segments.retain(|(_, path)| names.iter().any(|name| path.strip_prefix("wal/") == Some(name)));
    segments.sort_unstable();
    Ok(segments)
}

/// The log of the first `size` leaves, from its tiles.
fn edge(disk: &dyn Disk, size: u64) -> Result<Grown, Damage> {
    let mut partial = Vec::new();
    for (level, width) in (0u8..).zip(widths(size)) {
        let index = size >> (8 * (u32::from(level) + 1));
        let hashes = |bytes: &[u8]| {
            let (hashes, _) = bytes.as_chunks::<32>();
            // What a file system gives back for bytes that never came to the disk is no hash.
            hashes.get(..width).filter(|hashes| !hashes.contains(&[0; 32])).map(<[_]>::to_vec)
        };
        partial.push(if width == 0 {
            Vec::new()
        } else {
            at_edge(disk, &tile_path(level, index), width, hashes, "is not a tile")?
        });
    }
    let hashes = partial.first().cloned().unwrap_or_default();
    let tree = Tree::from_partial(size, partial).unwrap_or_default();
    let mut bundle = Vec::new();
    if !hashes.is_empty() {
        let taken = |bytes: &[u8]| {
            let (mut there, mut bundle) = (entries(bytes), Vec::new());
            for hash in &hashes {
                let entry = there.next()?.ok().filter(|entry| leaf_hash(entry) == *hash)?;
                push_entry(&mut bundle, entry);
            }
            Some(bundle)
        };
        let path = bundle_path(size / 256);
        bundle = at_edge(disk, &path, hashes.len(), taken, "has not the entries of its tile")?;
    }
    Ok(Grown { tree, bundle })
}

/// What `take` makes of the tile or bundle at the edge of what is durable: of the full one, or of a partial one that is wide enough. The full
/// one may have been put there later and not have come to the disk, or not all of it; then the partial one from before is what was made durable.
fn at_edge<T>(
    disk: &dyn Disk,
    path: &str,
    width: usize,
    take: impl Fn(&[u8]) -> Option<T>,
    fault: &str,
) -> Result<T, Damage> {
    let folder = format!("{path}.p");
    let names = disk.names(&folder).map_err(|e| Damage::at(&folder, e))?;
    let mut widths: Vec<usize> =
        names.iter().filter_map(|name| name.parse().ok()).filter(|w| (width..256).contains(w)).collect();
    widths.sort_unstable();
    let partials = widths.into_iter().rev().map(|width| partial_path(path, width));
    let mut why = "is missing";
    for path in std::iter::once(path.to_owned()).chain(partials) {
        let Some(bytes) = disk.read(&path).map_err(|e| Damage::at(&path, e))? else { continue };
        if let Some(taken) = take(&bytes) {
            return Ok(taken);
        }
        why = fault;
    }
    Err(Damage::Broken(format!("{path} {why}")))
}

/// Whether the checkpoint, if it is of this size, is of this log.
fn fits(found: &Found, size: u64) -> Result<(), Damage> {
    match &found.checkpoint {
        Some(c) if c.size == size && c.root != found.grown.tree.root() => {
            Err(Damage::Broken(format!("the tiles of {size} entries have not the root of the checkpoint")))
        }
        _ => Ok(()),
    }
}
