//! Suppression: which counts may be shown, so that no count, and nothing that can be computed from counts, is about fewer
//! than `k` people.
//!
//! A table is a **tree**: what is shown of a day is its total, under it groups, under those categories and services. It is
//! fixed: there are no other totals and no filters, because two totals that cross can be subtracted from each other.
//!
//! ```text
//!  all 40     ┬ sales 25 ┬ recruitment 14   shown
//!  hidden: is │          └ games 11         shown, and their sum with them
//!  left of it:└ lab 15   ┬ recruitment 3    hidden: fewer than k
//!  the 3      hidden     └ games 12         shown; 15 − 12 would tell the 3, so the 15 goes, and the 40
//! ```
//!
//! **Why that is enough.** Take a node that is shown away from its nearest shown ancestor, and do so everywhere: what is left
//! of each shown node is its *block*, the leaves under it that stand under no other shown node. Blocks are disjoint, and
//! every linear combination of shown numbers is one of blocks; so it is about at least as many people as the smallest block in
//! it. [`Tree::shown`] sees to it that no block that holds anything has fewer than `k`. Tests hold this against a different view of the same
//! thing: ranks of matrices.
//!
//! Each leaf may ask for a `k` of its own; a block answers for the greatest of its leaves.
//!
//! What is told of a tree are its [blocks](Tree::blocks): they say the same as totals would, and none of them is part of another.
//!
//! People are told apart by numbers that mean nothing elsewhere. One person may stand behind several leaves and is counted
//! once in what they make together.

use std::collections::BTreeSet;

/// A node, by its place among those that were added. The first is the root.
pub type NodeId = usize;

/// A tree of counts with the people behind them.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    parent: Option<NodeId>,
    /// Of leaves: who stands behind them.
    people: BTreeSet<u32>,
    /// Of leaves: how many must.
    k: usize,
}

/// What is left of a node that is shown without the nodes that are shown under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The node.
    pub node: NodeId,
    /// The leaves in it with people behind them.
    pub leaves: Vec<NodeId>,
    /// How many people stand behind them together.
    pub people: usize,
    /// How many must.
    pub k: usize,
}

impl Tree {
    /// A tree with its root only.
    pub fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Adds a node under another; `None` if there is no such parent.
    pub fn add(&mut self, parent: NodeId) -> Option<NodeId> {
        let id = self.nodes.len();
        self.nodes.get(parent)?;
        self.nodes.push(Node { parent: Some(parent), ..Node::default() });
        Some(id)
    }

    /// Says that a person stands behind a leaf. What is said of a node that has others under it counts as a leaf of its own
    /// that is never shown.
    pub fn count(&mut self, leaf: NodeId, person: u32) {
        if let Some(node) = self.nodes.get_mut(leaf) {
            node.people.insert(person);
        }
    }

    /// Asks for at least `k` people behind whatever a leaf is part of.
    pub fn require(&mut self, leaf: NodeId, k: usize) {
        if let Some(node) = self.nodes.get_mut(leaf) {
            node.k = node.k.max(k);
        }
    }

    /// What may be told, as blocks that have no leaf in common; each is about as many people as its leaves ask for.
    pub fn blocks(&self, k: usize) -> Vec<Block> {
        let settled = self.settle(k).into_iter().enumerate();
        // By construction there are enough people; told or not is decided here all the same.
        let told = settled.filter(|(_, s)| s.shown && !s.people.is_empty() && s.people.len() >= s.k.max(k));
        told.map(|(node, Settled { people, leaves, k, .. })| Block { node, leaves, people: people.len(), k })
            .collect()
    }

    /// Which nodes may be shown. `k` below 1 counts as 1; a leaf may ask for more.
    ///
    /// A node is hidden when what is left of it, without the nodes under it that are shown, would be about too few people:
    /// then it becomes part of what is left of its parent. So it is totals that go, not the cells that enough people stand
    /// behind: what a service is used for says more than a sum. Deterministic.
    pub fn shown(&self, k: usize) -> Vec<bool> {
        self.settle(k).into_iter().map(|settled| settled.shown).collect()
    }

    /// From the leaves up: what each node has to answer for.
    fn settle(&self, k: usize) -> Vec<Settled> {
        let k = k.max(1);
        let mut all: Vec<Settled> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(id, node)| {
                let leaves = if node.people.is_empty() { Vec::new() } else { vec![id] };
                // What nobody stands behind asks for nothing.
                let asked = if node.people.is_empty() { k } else { node.k.max(k) };
                let total = node.people.clone();
                Settled { shown: false, people: node.people.clone(), leaves, k: asked, total, asked }
            })
            .collect();
        // Children come after their parents.
        for (id, node) in self.nodes.iter().enumerate().rev() {
            let Some(here) = all.get_mut(id) else { continue };
            here.shown =
                here.total.len() >= here.asked && (here.people.is_empty() || here.people.len() >= here.k);
            let (shown, asked, total) = (here.shown, here.asked, std::mem::take(&mut here.total));
            let (people, leaves, k) = if shown {
                Default::default()
            } else {
                (std::mem::take(&mut here.people), std::mem::take(&mut here.leaves), here.k)
            };
            let Some(parent) = node.parent.and_then(|parent| all.get_mut(parent)) else { continue };
            parent.total.extend(total);
            parent.asked = parent.asked.max(asked);
            parent.people.extend(people);
            parent.leaves.extend(leaves);
            parent.k = parent.k.max(k);
        }
        all
    }
}

/// What a node has to answer for.
#[derive(Clone, Debug)]
struct Settled {
    shown: bool,
    /// Of its block: people, leaves, and how many people there must be.
    people: BTreeSet<u32>,
    leaves: Vec<NodeId>,
    k: usize,
    /// Of all that is under it.
    total: BTreeSet<u32>,
    asked: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grow(tree: &mut Tree, parent: NodeId, people: std::ops::Range<u32>) -> NodeId {
        let node = tree.add(parent).unwrap();
        people.for_each(|person| tree.count(node, person));
        node
    }

    #[test]
    fn totals_that_would_tell_a_small_one_are_hidden() {
        let mut tree = Tree::new();
        let sales = tree.add(0).unwrap();
        let lab = tree.add(0).unwrap();
        let leaves = [(sales, 0..14), (sales, 14..25), (lab, 25..28), (lab, 28..40)];
        let leaves: Vec<_> =
            leaves.into_iter().map(|(parent, people)| grow(&mut tree, parent, people)).collect();
        let shown = tree.shown(10);
        assert_eq!((shown[0], shown[sales], shown[lab]), (false, true, false));
        assert_eq!(leaves.iter().map(|leaf| shown[*leaf]).collect::<Vec<_>>(), [true, true, false, true]);
    }

    #[test]
    fn small_groups_are_told_together_if_that_is_enough() {
        let mut tree = Tree::new();
        let groups: Vec<_> =
            [0..12, 12..19, 19..23].into_iter().map(|people| grow(&mut tree, 0, people)).collect();
        let shown = tree.shown(10);
        assert!(shown[0]);
        assert_eq!(groups.iter().map(|group| shown[*group]).collect::<Vec<_>>(), [true, false, false]);
        let blocks: Vec<_> = tree.blocks(10).into_iter().map(|b| (b.node, b.leaves, b.people)).collect();
        assert_eq!(blocks, [(0, vec![groups[2], groups[1]], 11), (groups[0], vec![groups[0]], 12)]);
        tree.require(groups[1], 12);
        assert!(!tree.shown(10)[0], "one of the two asks for more");
        assert!(tree.shown(40).iter().all(|shown| !shown), "too few people in all");
    }

    #[test]
    fn one_person_in_many_places_is_one() {
        let mut tree = Tree::new();
        for _ in 0..20 {
            grow(&mut tree, 0, 0..4);
        }
        assert!(tree.shown(5).iter().all(|shown| !shown));
    }

    /// Numbers from a seed: xorshift, for tables only.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }
    }

    /// A tree of at most seven leaves on three levels, each with some of twelve people.
    fn random_tree(random: &mut Random) -> (Tree, Vec<NodeId>) {
        let (mut tree, mut leaves) = (Tree::new(), Vec::new());
        for _ in 0..1 + random.below(3) {
            let group = tree.add(0).unwrap();
            for _ in 0..1 + random.below(3) {
                if leaves.len() < 7 {
                    let leaf = tree.add(group).unwrap();
                    for _ in 0..random.below(9) {
                        tree.count(leaf, random.below(12) as u32);
                    }
                    leaves.push(leaf);
                }
            }
        }
        (tree, leaves)
    }

    /// The people under each node.
    fn people(tree: &Tree) -> Vec<BTreeSet<u32>> {
        let mut all: Vec<BTreeSet<u32>> = tree.nodes.iter().map(|node| node.people.clone()).collect();
        for (id, node) in tree.nodes.iter().enumerate().rev() {
            if let Some(parent) = node.parent {
                let mine = all[id].clone();
                all[parent].extend(mine);
            }
        }
        all
    }

    /// The rank of rows modulo a prime, which for sums of this size is the rank over the rationals.
    fn rank(mut rows: Vec<Vec<i64>>) -> usize {
        const P: i64 = 1_000_003;
        let inverse = |mut base: i64| {
            let (mut power, mut out) = (P - 2, 1);
            while power > 0 {
                if power & 1 == 1 {
                    out = out * base % P;
                }
                base = base * base % P;
                power >>= 1;
            }
            out
        };
        let columns = rows.first().map_or(0, Vec::len);
        let mut rank = 0;
        for column in 0..columns {
            let Some(pivot) = (rank..rows.len()).find(|row| rows[*row][column] % P != 0) else { continue };
            rows.swap(rank, pivot);
            let scale = inverse(rows[rank][column].rem_euclid(P));
            let lead: Vec<i64> = rows[rank].iter().map(|v| v * scale % P).collect();
            for row in rows.iter_mut().skip(rank + 1) {
                let factor = row[column];
                for (value, lead) in row.iter_mut().zip(&lead) {
                    *value = (*value - factor * lead).rem_euclid(P);
                }
            }
            rank += 1;
        }
        rank
    }

    /// Whether some combination of what is shown depends on leaves of fewer than `k` people only.
    fn isolates(tree: &Tree, leaves: &[NodeId], shown: &[bool], k: usize) -> bool {
        let is_under = |mut node: NodeId, ancestor: NodeId| loop {
            if node == ancestor {
                return true;
            }
            match tree.nodes[node].parent {
                Some(parent) => node = parent,
                None => return false,
            }
        };
        // Leaves with nobody behind them are zero, and known to be.
        let leaves: Vec<_> = leaves.iter().filter(|leaf| !tree.nodes[**leaf].people.is_empty()).collect();
        let row = |node| leaves.iter().map(|leaf| i64::from(is_under(**leaf, node))).collect::<Vec<_>>();
        let rows: Vec<Vec<i64>> = (0..shown.len()).filter(|n| shown[*n]).map(row).collect();
        let whole = rank(rows.clone());
        (1u32..1 << leaves.len()).any(|some| {
            let of = |i: usize| some & 1 << i != 0;
            let people: BTreeSet<u32> = leaves
                .iter()
                .enumerate()
                .filter(|(i, _)| of(*i))
                .flat_map(|(_, l)| &tree.nodes[**l].people)
                .copied()
                .collect();
            let rest =
                |row: &Vec<i64>| row.iter().enumerate().filter(|(i, _)| !of(*i)).map(|(_, v)| *v).collect();
            people.len() < k && rank(rows.iter().map(rest).collect()) < whole
        })
    }

    /// `SUPPRESS_TABLES` says how many; a million take minutes.
    #[test]
    fn nothing_that_can_be_computed_is_about_fewer_than_k() {
        let tables = std::env::var("SUPPRESS_TABLES").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000u64);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (mut shown_leaves, mut complementary) = (0, 0);
        for table in 0..tables {
            let (mut tree, leaves) = random_tree(&mut random);
            let k = 2 + random.below(5) as usize;
            // In every third table a purpose asks for more behind some of its leaves.
            let strict = if table % 3 == 0 { k + random.below(4) as usize } else { k };
            for leaf in leaves.iter().filter(|_| random.below(2) == 0) {
                tree.require(*leaf, strict);
            }
            let shown = tree.shown(k);
            assert!(!isolates(&tree, &leaves, &shown, k), "table {table}, k {k}: {tree:?} {shown:?}");
            let blocks = tree.blocks(k);
            let told: usize = blocks.iter().map(|block| block.leaves.len()).sum();
            let apart: BTreeSet<_> = blocks.iter().flat_map(|block| &block.leaves).collect();
            assert_eq!(told, apart.len(), "table {table}: blocks overlap");
            for block in &blocks {
                let asked = block.leaves.iter().map(|leaf| tree.nodes[*leaf].k).max().unwrap().max(k);
                assert!(
                    block.people >= asked && block.k == asked,
                    "table {table}, k {k}: {tree:?} {block:?}"
                );
            }
            let people = people(&tree);
            let enough = |node: usize| people[node].len() >= k && tree.nodes.iter().all(|n| n.k <= k);
            shown_leaves += leaves.iter().filter(|leaf| shown[**leaf]).count();
            complementary += (0..shown.len()).filter(|node| !shown[*node] && enough(*node)).count();
        }
        assert!(shown_leaves > tables as usize / 2, "it does show something: {shown_leaves}");
        assert!(complementary > 0, "and hides more than the small ones: {complementary}");
    }

    #[test]
    fn the_oracle_sees_what_plain_suppression_gives_away() {
        let mut random = Random(7);
        let found = (0..2000).filter(|_| {
            let (tree, leaves) = random_tree(&mut random);
            let plain: Vec<bool> = people(&tree).iter().map(|people| people.len() >= 4).collect();
            isolates(&tree, &leaves, &plain, 4)
        });
        assert!(found.count() > 100);
    }
}
