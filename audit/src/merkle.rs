//! The Merkle tree of RFC 6962, section 2.1: hashes, growth leaf by leaf, proofs and their checks.
//!
//! A tree is kept by its right edge alone. What lies left of it is in tiles, from which proofs are made.

use ring::digest;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Entries of a full tile, and of a full bundle of entries.
pub const TILE_WIDTH: usize = 256;
/// Levels of the binary tree that one level of tiles spans.
pub const TILE_HEIGHT: u32 = 8;
/// No proof is longer: sizes are below 2^63.
pub const MAX_PROOF: usize = 63;

/// The hash of a leaf.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    digest_of(&[&[0], leaf])
}

/// The hash of a node with two children.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    digest_of(&[&[1], left, right])
}

/// The root of a tree without leaves.
pub fn empty_root() -> Hash {
    digest_of(&[])
}

pub(crate) fn digest_of(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The root over hashes of a subtree whose number is a power of two, or of any tree that begins with them.
pub fn root_of(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [only] => *only,
        _ => {
            let (left, right) = hashes.split_at(split(hashes.len() as u64) as usize);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// The largest power of two below `n`; `n` is at least 2.
fn split(n: u64) -> u64 {
    let half = n.next_power_of_two() / 2;
    half.max(1)
}

/// A tile that has become full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    /// Its level: 0 holds hashes of leaves.
    pub level: u8,
    /// Its place in the level.
    pub index: u64,
    /// Its 256 hashes.
    pub hashes: Vec<Hash>,
}

/// The right edge of a tree, and the tiles there that are not full yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Roots of the perfect subtrees that the tree consists of, greatest first.
    edge: Vec<Hash>,
    /// By level: the hashes of the tile that is not full.
    partial: Vec<Vec<Hash>>,
}

impl Tree {
    /// From the partial tiles of a tree of `size` leaves: `partial` gives by level as many hashes as the tile at the right
    /// edge has. `None` if one gives another number.
    pub fn from_partial(size: u64, partial: Vec<Vec<Hash>>) -> Option<Self> {
        let widths = widths(size);
        if partial.len() != widths.len() || partial.iter().zip(&widths).any(|(p, w)| p.len() != *w) {
            return None;
        }
        let mut edge = Vec::new();
        for hashes in partial.iter().rev() {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                let (perfect, after) = rest.split_at(1 << rest.len().ilog2());
                edge.push(root_of(perfect));
                rest = after;
            }
        }
        Some(Self { size, edge, partial })
    }

    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root hash.
    pub fn root(&self) -> Hash {
        let mut edge = self.edge.iter().rev();
        let Some(last) = edge.next() else { return empty_root() };
        edge.fold(*last, |right, left| node_hash(left, &right))
    }

    /// The hashes of the tile at the right edge of a level that is not full. Empty where there is none.
    pub fn partial(&self, level: u8) -> &[Hash] {
        self.partial.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// Levels of tiles.
    pub fn levels(&self) -> u8 {
        self.partial.len() as u8
    }

    /// Takes the hash of the next leaf; tiles that become full by it are added to `full`.
    pub fn push(&mut self, leaf: Hash, full: &mut Vec<FullTile>) {
        let (mut hash, mut height, mut rest) = (leaf, 0u32, self.size);
        self.size += 1;
        self.note(0, hash);
        while rest & 1 == 1 {
            let Some(left) = self.edge.pop() else { break };
            hash = node_hash(&left, &hash);
            height += 1;
            rest >>= 1;
            if height.is_multiple_of(TILE_HEIGHT) {
                // The tile below is full, and its root is the next hash of the tile above.
                let level = (height / TILE_HEIGHT) as usize;
                if let Some(below) = self.partial.get_mut(level - 1) {
                    let index = (self.size >> height) - 1;
                    full.push(FullTile { level: (level - 1) as u8, index, hashes: std::mem::take(below) });
                }
                self.note(level, hash);
            }
        }
        self.edge.push(hash);
    }

    fn note(&mut self, level: usize, hash: Hash) {
        if self.partial.len() <= level {
            self.partial.resize_with(level + 1, Vec::new);
        }
        if let Some(partial) = self.partial.get_mut(level) {
            partial.push(hash);
        }
    }
}

/// By level, how many hashes the partial tile at the right edge of a tree has.
pub fn widths(size: u64) -> Vec<usize> {
    let mut widths = Vec::new();
    let mut left = size;
    while left > 0 {
        widths.push((left % TILE_WIDTH as u64) as usize);
        left >>= TILE_HEIGHT;
    }
    widths
}

/// Where hashes of a tree are read: the node of `2^height` leaves from `index * 2^height` on.
pub trait Nodes {
    /// Why one can't be read.
    type Error;
    /// The hash of a node all of whose leaves are there.
    fn node(&self, height: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The hash over the leaves from `from` to before `to`, `from` being where a subtree of that size begins.
fn range<N: Nodes>(nodes: &N, from: u64, to: u64) -> Result<Hash, N::Error> {
    let n = to - from;
    if n.is_power_of_two() {
        return nodes.node(n.trailing_zeros(), from / n);
    }
    let middle = from + split(n);
    Ok(node_hash(&range(nodes, from, middle)?, &range(nodes, middle, to)?))
}

/// The root of the first `size` leaves.
pub fn root_at<N: Nodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 { Ok(empty_root()) } else { range(nodes, 0, size) }
}

/// That leaf `index` is in the tree of `size` leaves (RFC 6962, 2.1.1): from the leaf's sibling up. Empty if it is not.
pub fn inclusion_proof<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    let (mut from, mut to) = (0, size);
    if index >= size {
        return Ok(proof);
    }
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(range(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(range(nodes, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// That the tree of `old` leaves is a beginning of the one of `new` (RFC 6962, 2.1.2). Empty if either is nothing to prove.
pub fn consistency_proof<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut from, mut to, mut known) = (0, new, true);
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(range(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(range(nodes, from, middle)?);
            (from, known) = (middle, false);
        }
    }
    if !known {
        proof.push(range(nodes, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that a leaf is at `index` of the tree (RFC 9162, 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `old` leaves is a beginning of the one of `new` (RFC 9162, 2.1.4.2).
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old == 0 || old == new {
        return proof.is_empty() && (old == 0 || old_root == new_root);
    }
    if old > new || proof.is_empty() {
        return false;
    }
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let mut path = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut before, mut after) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            before = node_hash(sibling, &before);
            after = node_hash(sibling, &after);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            after = node_hash(&after, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && before == *old_root && after == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// A tree as the RFC defines it.
    struct Naive(Vec<Hash>);

    impl Nodes for Naive {
        type Error = Infallible;
        fn node(&self, height: u32, index: u64) -> Result<Hash, Infallible> {
            let from = (index << height) as usize;
            Ok(root_of(&self.0[from..from + (1 << height)]))
        }
    }

    fn leaves(n: u64) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn known_roots() {
        // Of the test vectors that certificate transparency logs share.
        let data: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let hashes: Vec<Hash> = data.iter().map(|d| leaf_hash(d)).collect();
        let hex = |h: Hash| h.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(empty_root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(hashes[0]), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(hex(root_of(&hashes)), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn a_growing_tree_has_the_root_and_the_tiles_of_the_definition() {
        let all = leaves(256 * 256 + 700);
        let (mut tree, mut full) = (Tree::default(), Vec::new());
        for (i, leaf) in all.iter().enumerate() {
            tree.push(*leaf, &mut full);
            let size = i + 1;
            if size < 600 || size % 4099 == 0 || size >= 256 * 256 - 2 {
                if size < 2000 || size % 97 == 0 {
                    assert_eq!(tree.root(), root_of(&all[..size]), "{size}");
                }
                let again = Tree::from_partial(tree.size(), tree.partial.clone()).unwrap();
                assert_eq!(again, tree, "{size}");
            }
        }
        assert_eq!(full.iter().filter(|t| t.level == 0).count(), 258);
        let above: Vec<_> = full.iter().filter(|t| t.level == 1).collect();
        assert_eq!((above.len(), above[0].index), (1, 0));
        assert_eq!(above[0].hashes[3], root_of(&all[3 * 256..4 * 256]));
        assert_eq!(tree.partial(1).len(), 2);
        assert_eq!(tree.partial(2), [root_of(&all[..65536])]);
        assert!(Tree::from_partial(5, vec![leaves(4)]).is_none());
    }

    #[test]
    fn every_proof_of_small_trees_holds_and_no_other_does() {
        let nodes = Naive(leaves(70));
        let root = |n: u64| root_at(&nodes, n).unwrap();
        for new in 0..70u64 {
            for old in 0..=new {
                let mut proof = consistency_proof(&nodes, old, new).unwrap();
                assert!(verify_consistency(old, &root(old), new, &root(new), &proof), "{old} {new}");
                if old > 0 {
                    assert!(!verify_consistency(old, &[7; 32], new, &root(new), &proof), "{old} {new}");
                    assert!(!verify_consistency(old, &root(old), new, &[7; 32], &proof), "{old} {new}");
                }
                proof.push([1; 32]);
                assert!(!verify_consistency(old, &root(old), new, &root(new), &proof), "{old} {new}");
            }
            for index in 0..new {
                let mut proof = inclusion_proof(&nodes, index, new).unwrap();
                assert!(verify_inclusion(&nodes.0[index as usize], index, new, &root(new), &proof));
                assert!(!verify_inclusion(&nodes.0[index as usize + 1], index, new, &root(new), &proof));
                proof.push([1; 32]);
                assert!(!verify_inclusion(&nodes.0[index as usize], index, new, &root(new), &proof));
            }
        }
    }

    proptest! {
        #[test]
        fn checks_of_hostile_proofs_end(old in any::<u64>(), new in any::<u64>(), proof in prop::collection::vec(any::<Hash>(), 0..64)) {
            verify_consistency(old, &[0; 32], new, &[1; 32], &proof);
            prop_assert!(!verify_inclusion(&[0; 32], old, new, &[1; 32], &proof));
        }
    }
}
