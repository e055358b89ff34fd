//! Segments: what makes a group of records durable with one write and one sync, before it is in any tile.
//!
//! ```text
//! wal/<number>   magic, number, index of the first leaf, hash of these      64 bytes
//!                group: magic, length, first leaf, leaves, root after it    56 bytes, then the entries
//!                group: …
//!                zeros to the end: the space is taken when the file is made
//! ```
//!
//! A group is written as a whole, and its root hash covers every leaf up to its end: a group that is torn, altered or in
//! the wrong place does not have the root it claims. Entries stand as they will in their bundle.
//!
//! A segment is never written again once a write or a sync on it has failed, nor by a later run. The next one says with
//! which leaf it begins; what a failed one has from there on was never promised to anybody.

use crate::merkle::{FullTile, Hash, Tree, digest_of, leaf_hash};
use crate::tiles::{entries, push_entry};

/// Bytes in front of the first group.
pub(crate) const HEADER: usize = 64;
/// Bytes in front of a group's entries.
pub(crate) const GROUP_HEADER: usize = 56;
const MAGIC: &[u8; 8] = b"GGAUDIT1";
const GROUP_MAGIC: u32 = 0x4747_5052;

/// The folder of the segments.
pub(crate) const FOLDER: &str = "wal";
/// The segment that is kept for when no other can be made.
pub(crate) const RESERVE: &str = "wal/reserve";

pub(crate) fn path(number: u64) -> String {
    format!("{FOLDER}/{number:08}")
}

pub(crate) fn header(number: u64, first: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut fields = MAGIC.to_vec();
    fields.extend_from_slice(&number.to_le_bytes());
    fields.extend_from_slice(&first.to_le_bytes());
    let hash = digest_of(&[&fields]);
    for (to, from) in header.iter_mut().zip(fields.iter().chain(&[0; 8]).chain(&hash)) {
        *to = *from;
    }
    header
}

/// The index of the first leaf, if this is the header of that segment.
pub(crate) fn first_leaf(number: u64, segment: &[u8]) -> Option<u64> {
    let found = segment.get(..HEADER)?;
    let first = u64::from_le_bytes(found.get(16..24)?.try_into().ok()?);
    (header(number, first) == found).then_some(first)
}

/// A group of leaves on its way to a segment.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Header and entries.
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u32,
}

impl Group {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; GROUP_HEADER], count: 0 }
    }

    pub(crate) fn push(&mut self, leaf: &[u8]) {
        push_entry(&mut self.bytes, leaf);
        self.count += 1;
    }

    /// Writes the header, when all is in.
    pub(crate) fn seal(&mut self, first: u64, root: &Hash) {
        let len = (self.bytes.len() - GROUP_HEADER) as u32;
        let mut header = GROUP_MAGIC.to_le_bytes().to_vec();
        header.extend_from_slice(&len.to_le_bytes());
        header.extend_from_slice(&first.to_le_bytes());
        header.extend_from_slice(&self.count.to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(root);
        for (to, from) in self.bytes.iter_mut().zip(header) {
            *to = from;
        }
    }
}

/// Whether a segment has more than its header and the zeros of the space that was taken for it.
pub(crate) fn holds_any(segment: &[u8]) -> bool {
    segment.get(HEADER..).is_some_and(|groups| groups.iter().any(|byte| *byte != 0))
}

/// What a group says of itself.
struct Claim {
    len: usize,
    first: u64,
    count: u32,
    root: Hash,
}

fn claim(bytes: &[u8]) -> Option<Claim> {
    let header = bytes.get(..GROUP_HEADER)?;
    let u32_at = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    if u32_at(0)? != GROUP_MAGIC || u32_at(20)? != 0 {
        return None;
    }
    let first = u64::from_le_bytes(header.get(8..16)?.try_into().ok()?);
    let root = header.get(24..56)?.try_into().ok()?;
    Some(Claim { len: u32_at(4)? as usize, first, count: u32_at(16)?, root })
}

/// A log as it grows by the groups of its segments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grown {
    pub(crate) tree: Tree,
    /// The entries of the bundle that is not full.
    pub(crate) bundle: Vec<u8>,
}

/// What became full by a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filled {
    pub(crate) tiles: Vec<FullTile>,
    /// Index and bytes of each bundle.
    pub(crate) bundles: Vec<(u64, Vec<u8>)>,
}

impl Grown {
    /// Takes leaves. `at` is told the root at each size that it asks for.
    pub(crate) fn take(&mut self, leaf: &[u8], filled: &mut Filled) {
        let tiles = filled.tiles.len();
        push_entry(&mut self.bundle, leaf);
        self.tree.push(leaf_hash(leaf), &mut filled.tiles);
        if filled.tiles.len() > tiles {
            let index = self.tree.size() / 256 - 1;
            filled.bundles.push((index, std::mem::take(&mut self.bundle)));
        }
    }
}

/// What a segment ends with, after its last good group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Torn {
    /// Bytes to the last that is not zero.
    pub(crate) bytes: u64,
    /// Records that a group claims to have had.
    pub(crate) records: u64,
}

/// The last group that was read from a segment, to be undone when the next segment begins with the same leaf.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    pub(crate) grown: Grown,
    pub(crate) tiles: usize,
    pub(crate) bundles: usize,
}

/// Reads the groups of a segment behind its header into a log that has all leaves before them. Ends at the first group that
/// is not whole and good. Calls `check` with size and root at `watch`, if that size is passed.
pub(crate) fn replay(
    segment: &[u8],
    grown: &mut Grown,
    filled: &mut Filled,
    watch: Option<u64>,
    check: &mut dyn FnMut(Hash),
) -> (Option<Before>, Torn) {
    let mut rest = segment.get(HEADER..).unwrap_or_default();
    let mut last = None;
    loop {
        let before =
            Before { grown: grown.clone(), tiles: filled.tiles.len(), bundles: filled.bundles.len() };
        let Some(claim) = claim(rest) else { break };
        let Some(body) = rest.get(GROUP_HEADER..GROUP_HEADER + claim.len) else { break };
        let mut seen = None;
        let mut whole = claim.first == grown.tree.size() && claim.count > 0;
        let mut count = 0;
        for entry in entries(body) {
            let (Ok(entry), true) = (entry, whole && count < claim.count) else {
                whole = false;
                break;
            };
            grown.take(entry, filled);
            count += 1;
            if watch == Some(grown.tree.size()) {
                seen = Some(grown.tree.root());
            }
        }
        if !whole || count != claim.count || grown.tree.root() != claim.root {
            *grown = before.grown;
            filled.tiles.truncate(before.tiles);
            filled.bundles.truncate(before.bundles);
            break;
        }
        if let Some(root) = seen {
            check(root);
        }
        last = Some(before);
        rest = rest.get(GROUP_HEADER + claim.len..).unwrap_or_default();
    }
    let bytes = rest.iter().rposition(|b| *b != 0).map_or(0, |at| at as u64 + 1);
    let records = claim(rest).filter(|c| c.first == grown.tree.size()).map_or(0, |c| u64::from(c.count));
    (last, Torn { bytes, records })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(groups: &[&[&str]]) -> (Vec<u8>, Grown) {
        let (mut bytes, mut grown) = (header(3, 0).to_vec(), Grown::default());
        for leaves in groups {
            let (mut group, first) = (Group::new(), grown.tree.size());
            for leaf in *leaves {
                group.push(leaf.as_bytes());
                grown.take(leaf.as_bytes(), &mut Filled::default());
            }
            group.seal(first, &grown.tree.root());
            bytes.extend_from_slice(&group.bytes);
        }
        bytes.resize(bytes.len() + 100, 0);
        (bytes, grown)
    }

    fn read(bytes: &[u8]) -> (u64, Torn) {
        let mut grown = Grown::default();
        let torn = replay(bytes, &mut grown, &mut Filled::default(), None, &mut |_| ()).1;
        (grown.tree.size(), torn)
    }

    #[test]
    fn whole_groups_are_read_and_the_rest_is_counted() {
        let (bytes, grown) = segment(&[&["a", "bb"], &["ccc"], &["d", "e", "f"]]);
        assert_eq!(first_leaf(3, &bytes), Some(0));
        assert_eq!(first_leaf(4, &bytes), None);
        assert_eq!(read(&bytes), (6, Torn::default()));
        let mut again = Grown::default();
        let mut roots = Vec::new();
        let (last, _) =
            replay(&bytes, &mut again, &mut Filled::default(), Some(2), &mut |root| roots.push(root));
        assert_eq!((again.tree.root(), again.bundle), (grown.tree.root(), grown.bundle));
        assert_eq!(last.unwrap().grown.tree.size(), 3);
        assert_eq!(roots, [segment(&[&["a", "bb"]]).1.tree.root()]);
        let end = bytes.len() - 100;
        for cut in end - 9..end {
            let mut torn = bytes.clone();
            torn[cut..].fill(0);
            let (size, torn) = read(&torn);
            assert_eq!((size, torn.records), (3, 3), "{cut}");
        }
    }

    #[test]
    fn no_bit_of_a_group_can_change() {
        let (bytes, _) = segment(&[&["a", "bb"], &["ccc"]]);
        for bit in 0..(bytes.len() - 100) * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let good = first_leaf(3, &changed) == Some(0) && read(&changed).0 == 3;
            assert!(!good, "{bit}");
        }
    }
}
