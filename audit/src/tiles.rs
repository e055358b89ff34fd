//! Tiles and bundles of entries (C2SP `tlog-tiles`): where they lie and how they are written.
//!
//! ```text
//! checkpoint                    the newest signed checkpoint
//! tile/<level>/<index>          256 hashes, 8 192 bytes
//! tile/<level>/<index>.p/<w>    the first w of them, at the right edge
//! tile/entries/<index>[.p/<w>]  the entries of a tile of level 0, each behind its length as a big-endian u16
//! ```

use crate::merkle::{Hash, Nodes, TILE_HEIGHT, TILE_WIDTH, root_of};
use std::io;

/// `index` as tlog-tiles writes it: three digits a folder, all but the last behind an `x`.
pub fn index_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

/// Where a full tile lies.
pub fn tile_path(level: u8, index: u64) -> String {
    format!("tile/{level}/{}", index_path(index))
}

/// Where a full bundle of entries lies.
pub fn bundle_path(index: u64) -> String {
    format!("tile/entries/{}", index_path(index))
}

/// Where the first `width` of either lie, as long as it is not full.
pub fn partial_path(full: &str, width: usize) -> String {
    format!("{full}.p/{width}")
}

/// The bytes of a tile.
pub fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

/// The hashes of a tile; `None` if its size is not a whole number of them.
pub fn decode_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.to_vec())
}

/// Adds an entry to a bundle. The entry is shorter than [`crate::MAX_LEAF`].
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    bundle.extend_from_slice(&(entry.len() as u16).to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// Goes through the entries of a bundle. An entry that is cut off ends it with an error.
pub fn entries(bundle: &[u8]) -> Entries<'_> {
    Entries { rest: bundle }
}

/// See [`entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

/// A bundle that ends within an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bundle ends within an entry")]
pub struct CutOff;

impl<'a> Iterator for Entries<'a> {
    type Item = Result<&'a [u8], CutOff>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self
            .rest
            .split_first_chunk::<2>()
            .and_then(|(len, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*len))));
        match entry {
            Some((entry, rest)) => {
                self.rest = rest;
                Some(Ok(entry))
            }
            None => {
                self.rest = &[];
                Some(Err(CutOff))
            }
        }
    }
}

/// Why a tile can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TileError {
    /// It can't be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is not there, nor a partial one that is wide enough.
    #[error("{0} is missing")]
    Missing(String),
    /// It has not the size of a tile.
    #[error("{0} is not a tile")]
    Form(String),
}

/// Where files of a log are read.
pub trait Files {
    /// A whole file; `None` if there is none.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;
    /// The names in a folder, none if there is no folder.
    fn names(&self, folder: &str) -> io::Result<Vec<String>>;
}

/// The bytes of a tile or bundle that is full, or of the widest partial one of at least `width`.
pub fn read_tile(files: &(impl Files + ?Sized), path: &str, width: usize) -> Result<Vec<u8>, TileError> {
    let fault = |source| TileError::Io { path: path.to_owned(), source };
    if let Some(bytes) = files.read(path).map_err(fault)? {
        return Ok(bytes);
    }
    let names = files.names(&format!("{path}.p")).map_err(fault)?;
    let widest = names
        .iter()
        .filter_map(|name| name.parse::<usize>().ok())
        .filter(|w| *w >= width && *w < TILE_WIDTH)
        .max();
    let bytes = widest.map(|w| files.read(&partial_path(path, w))).transpose().map_err(fault)?.flatten();
    bytes.ok_or_else(|| TileError::Missing(path.to_owned()))
}

/// The first `width` hashes of a tile.
pub fn read_hashes(
    files: &(impl Files + ?Sized),
    level: u8,
    index: u64,
    width: usize,
) -> Result<Vec<Hash>, TileError> {
    let path = tile_path(level, index);
    let mut hashes =
        decode_hashes(&read_tile(files, &path, width)?).ok_or_else(|| TileError::Form(path.clone()))?;
    if hashes.len() < width || hashes.len() > TILE_WIDTH {
        return Err(TileError::Form(path));
    }
    hashes.truncate(width);
    Ok(hashes)
}

/// Paths of all tiles and bundles that are there, full and partial, in no order.
pub fn walk(files: &(impl Files + ?Sized)) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders: Vec<String> = files.names("tile")?.iter().map(|name| format!("tile/{name}")).collect();
    while let Some(folder) = folders.pop() {
        for name in files.names(&folder)? {
            let path = format!("{folder}/{name}");
            if name.starts_with('x') || name.ends_with(".p") {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// The index of a full bundle, from its path.
pub fn bundle_index(path: &str) -> Option<u64> {
    let mut index = 0u64;
    for part in path.strip_prefix("tile/entries/")?.split('/') {
        let digits = part.strip_prefix('x').unwrap_or(part);
        let place = if digits.len() == 3 { digits.parse::<u64>().ok()? } else { return None };
        index = index.checked_mul(1000)?.checked_add(place)?;
    }
    Some(index)
}

/// A tree as its tiles tell it, for proofs.
#[derive(Clone, Copy, Debug)]
pub struct Tiles<'a, F: Files + ?Sized>(pub &'a F);

impl<F: Files + ?Sized> Nodes for Tiles<'_, F> {
    type Error = TileError;

    fn node(&self, height: u32, index: u64) -> Result<Hash, TileError> {
        let (level, below) = ((height / TILE_HEIGHT) as u8, height % TILE_HEIGHT);
        let first = index << below;
        let from = (first % TILE_WIDTH as u64) as usize;
        let to = from + (1 << below);
        let hashes = read_hashes(self.0, level, first / TILE_WIDTH as u64, to)?;
        let wanted = hashes
            .get(from..to)
            .ok_or_else(|| TileError::Form(tile_path(level, first / TILE_WIDTH as u64)))?;
        Ok(root_of(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_specification() {
        assert_eq!(tile_path(0, 5), "tile/0/005");
        assert_eq!(bundle_path(1_234_067), "tile/entries/x001/x234/067");
        assert_eq!([5, 1_234_067].map(|i| bundle_index(&bundle_path(i))), [Some(5), Some(1_234_067)]);
        assert_eq!(
            ["tile/0/005", "tile/entries/005.p/3", "tile/entries/005.new"].map(bundle_index),
            [None; 3]
        );
        assert_eq!(partial_path(&tile_path(1, 1000), 3), "tile/1/x001/000.p/3");
    }

    #[test]
    fn entries_end_with_an_error_where_they_are_cut_off() {
        let mut bundle = Vec::new();
        push_entry(&mut bundle, b"ab");
        push_entry(&mut bundle, b"");
        push_entry(&mut bundle, b"c");
        assert_eq!(entries(&bundle).collect::<Result<Vec<_>, _>>().unwrap(), [&b"ab"[..], b"", b"c"]);
        for cut in [1, 3, 5, bundle.len() - 1] {
            assert!(entries(&bundle[..cut]).any(|e| e.is_err()), "{cut}");
        }
    }
}
