//! Suppression: which counts may be shown, so that no count, and nothing that can be computed from counts, is about fewer
//! than `k` people.
//!
//! A table is a **tree**: what is shown of a day is its total, under it groups, under those categories, services, hours. It is
//! fixed: there are no other totals and no filters, because two totals that cross can be subtracted from each other.
//!
//! ```text
//!  all 40 ┬ sales 25 ┬ recruitment 14   shown
//!         │          └ games 11         shown
//!         └ lab 15   ┬ recruitment 3    hidden: fewer than k
//!                    └ games 12         hidden as well: 15 − 12 would tell the 3
//! ```
//!
//! **Why that is enough.** Take a node that is shown away from its nearest shown ancestor, and do so everywhere: what is left
//! of each shown node is its *block*, the leaves under it that stand under no other shown node. Blocks are disjoint, and
//! every linear combination of shown numbers is one of blocks; so it is about at least as many people as the smallest block in
//! it. [`Tree::shown`] sees to it that no block that holds anything has fewer than `k`. Tests hold this against a different view of the same
//! thing: ranks of matrices.
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
    children: Vec<NodeId>,
    /// Of leaves: who stands behind them.
    people: BTreeSet<u32>,
}

impl Tree {
    /// A tree with its root only.
    pub fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Adds a node under another; `None` if there is no such parent.
    pub fn add(&mut self, parent: NodeId) -> Option<NodeId> {
        let id = self.nodes.len();
        self.nodes.get_mut(parent)?.children.push(id);
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

    /// Which nodes may be shown. `k` below 1 counts as 1.
    ///
    /// Nodes of fewer than `k` people are hidden. Where what is left of a shown node would be about fewer, the least of what is
    /// shown under it is hidden as well, until it is about enough. Deterministic.
    pub fn shown(&self, k: usize) -> Vec<bool> {
        let k = k.max(1);
        let all: Vec<BTreeSet<u32>> = self.people();
        let mut shown: Vec<bool> = all.iter().map(|people| people.len() >= k).collect();
        // Parents come before their children, so a node that hides others settles before what is under it.
        for id in 0..self.nodes.len() {
            if !shown.get(id).copied().unwrap_or(false) {
                continue;
            }
            loop {
                let (mut block, mut under) = (BTreeSet::new(), Vec::new());
                self.block(id, &shown, &mut block, &mut under);
                if block.is_empty() || block.len() >= k {
                    break;
                }
                // Hiding one that shares few people with the block fills it soonest; among equals the smallest goes.
                let people = |node: &NodeId| all.get(*node).map_or(0, BTreeSet::len);
                let Some(least) = under.into_iter().min_by_key(|node| (people(node), *node)) else { break };
                if let Some(shown) = shown.get_mut(least) {
                    *shown = false;
                }
            }
        }
        shown
    }

    /// The people under each node.
    fn people(&self) -> Vec<BTreeSet<u32>> {
        let mut all: Vec<BTreeSet<u32>> = self.nodes.iter().map(|node| node.people.clone()).collect();
        for (id, node) in self.nodes.iter().enumerate().rev() {
            let mine = all.get(id).cloned().unwrap_or_default();
            if let Some(parents) = node.parent.and_then(|parent| all.get_mut(parent)) {
                parents.extend(mine);
            }
        }
        all
    }

    /// The people of a node's block, and the nodes that are shown next under it.
    fn block(&self, id: NodeId, shown: &[bool], block: &mut BTreeSet<u32>, under: &mut Vec<NodeId>) {
        let mut to_do = vec![id];
        while let Some(next) = to_do.pop() {
            let Some(node) = self.nodes.get(next) else { continue };
            block.extend(&node.people);
            for child in &node.children {
                match shown.get(*child) {
                    Some(true) => under.push(*child),
                    _ => to_do.push(*child),
                }
            }
        }
    }
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
    fn the_one_beside_a_small_one_is_hidden_too() {
        let mut tree = Tree::new();
        let sales = tree.add(0).unwrap();
        let lab = tree.add(0).unwrap();
        let leaves = [(sales, 0..14), (sales, 14..25), (lab, 25..28), (lab, 28..40)];
        let leaves: Vec<_> =
            leaves.into_iter().map(|(parent, people)| grow(&mut tree, parent, people)).collect();
        let shown = tree.shown(10);
        assert_eq!((shown[0], shown[sales], shown[lab]), (true, true, true));
        assert_eq!(leaves.iter().map(|leaf| shown[*leaf]).collect::<Vec<_>>(), [true, true, false, false]);
    }

    #[test]
    fn a_small_group_takes_another_with_it() {
        let mut tree = Tree::new();
        let groups: Vec<_> =
            [0..12, 12..27, 27..31].into_iter().map(|people| grow(&mut tree, 0, people)).collect();
        let shown = tree.shown(10);
        assert!(shown[0]);
        assert_eq!(groups.iter().map(|group| shown[*group]).collect::<Vec<_>>(), [false, true, false]);
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
            let (tree, leaves) = random_tree(&mut random);
            let k = 2 + random.below(5) as usize;
            let shown = tree.shown(k);
            assert!(!isolates(&tree, &leaves, &shown, k), "table {table}, k {k}: {tree:?} {shown:?}");
            let people = tree.people();
            shown_leaves += leaves.iter().filter(|leaf| shown[**leaf]).count();
            complementary += leaves.iter().filter(|leaf| !shown[**leaf] && people[**leaf].len() >= k).count();
        }
        assert!(shown_leaves > tables as usize / 2, "it does show something: {shown_leaves}");
        assert!(complementary > 0, "and hides more than the small ones: {complementary}");
    }

    #[test]
    fn the_oracle_sees_what_plain_suppression_gives_away() {
        let mut random = Random(7);
        let found = (0..2000).filter(|_| {
            let (tree, leaves) = random_tree(&mut random);
            let plain: Vec<bool> = tree.people().iter().map(|people| people.len() >= 4).collect();
            isolates(&tree, &leaves, &plain, 4)
        });
        assert!(found.count() > 100);
    }
}
