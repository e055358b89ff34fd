//! What may be told of several sites together, so that joining them never tells of fewer than `k` people.
//!
//! A site tells *blocks*: rows that have no flow in common, each about `k` people of that site or more; what is in no block was told nowhere.
//! The hub takes a block as it is or not at all: it keeps those that [`MIN_K`] people stand behind, or as many as it was told to ask for. Whatever is told of the
//! fleet is a sum of blocks that were kept. So whatever can be computed from it, by subtracting sites, hours, filters, or what was shown before another site
//! came, is a combination of whole blocks, and each of these is about `k` people by itself. What a site hides is in no sum that could be lessened
//! by the others.
//!
//! Nobody knows whether people of two sites are the same. So people are not added up: behind a sum stand at least as many as behind
//! its largest block. And small blocks of several sites are not put together until there are enough.

use crate::up::{Of, Refused};

/// No fleet asks for fewer.
pub const MIN_K: u32 = 5;
/// What a fleet asks for unless it is told otherwise.
pub const DEFAULT_K: u32 = 10;

/// How many people the fleet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetK(u32);

impl FleetK {
    /// So many; `None` if that is too few.
    pub fn new(k: u32) -> Option<Self> {
        (k >= MIN_K).then_some(Self(k))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether a row of a site may be kept and told: by what it says itself, as its site asks and as the fleet does.
    pub fn admits(self, of: &Of) -> Result<(), Refused> {
        if of.subjects.from >= self.0.max(of.k) { Ok(()) } else { Err(Refused::UnderK) }
    }
}

impl Default for FleetK {
    fn default() -> Self {
        Self(DEFAULT_K)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Key, Moment, People};
    use glassgate_policy::suppress::Tree;
    use std::collections::BTreeSet;

    /// Two sites with two services each, and who uses which, as sets of three people in bits: all of them there are.
    const CELLS: usize = 4;
    type People3 = u8;
    type Row = [i32; CELLS];

    fn of(people: usize, k: usize) -> Of {
        let at = Moment(jiff::Timestamp::UNIX_EPOCH);
        let bucket = glassgate_policy::audit::Bucket::of(people, k).to_string();
        Of {
            start: at,
            end: at,
            span: Key::new("hour").unwrap(),
            group: None,
            category: None,
            service: None,
            rest: false,
            subjects: People::new(&bucket).unwrap(),
            k: k as u32,
        }
    }

    fn union(table: &[People3; CELLS], cells: impl Iterator<Item = usize>) -> usize {
        cells.fold(0u8, |all, cell| all | table[cell]).count_ones() as usize
    }

    /// What a site tells: the blocks of its tree, each as the cells in it.
    fn told_at(table: &[People3; CELLS], site: usize, k: usize) -> Vec<(Row, usize)> {
        let mut tree = Tree::new();
        let mut leaves = Vec::new();
        for cell in [2 * site, 2 * site + 1] {
            let leaf = tree.add(0).unwrap();
            (0..3).filter(|who| table[cell] >> who & 1 == 1).for_each(|who| tree.count(leaf, who));
            leaves.push((leaf, cell));
        }
        let blocks = tree.blocks(k).into_iter();
        blocks
            .map(|block| {
                let mut row = [0; CELLS];
                for (_, cell) in leaves.iter().filter(|(leaf, _)| block.leaves.contains(leaf)) {
                    row[*cell] = 1;
                }
                (row, block.people)
            })
            .collect()
    }

    fn rank(rows: &[Row], keep: impl Fn(usize) -> bool) -> usize {
        let mut rows: Vec<[i64; CELLS]> =
            rows.iter().map(|row| std::array::from_fn(|c| if keep(c) { row[c].into() } else { 0 })).collect();
        let mut rank = 0;
        for column in 0..CELLS {
            let Some(pivot) = (rank..rows.len()).find(|at| rows[*at][column] != 0) else { continue };
            rows.swap(rank, pivot);
            let by = rows[rank];
            for row in &mut rows[rank + 1..] {
                let factor = row[column];
                (0..CELLS).for_each(|c| row[c] = row[c] * by[column] - by[c] * factor);
            }
            rank += 1;
        }
        rank
    }

    /// Cells about fewer than `k` people of which something can be computed from what is told: by any sum and difference.
    fn leak(table: &[People3; CELLS], told: &[Row], k: usize) -> Option<BTreeSet<usize>> {
        // A cell that nobody stands behind holds nothing.
        let told: Vec<Row> =
            told.iter().map(|row| std::array::from_fn(|c| if table[c] == 0 { 0 } else { row[c] })).collect();
        let all = rank(&told, |_| true);
        (1..1usize << CELLS)
            .map(|set| (0..CELLS).filter(|cell| set >> cell & 1 == 1).collect::<BTreeSet<_>>())
            .filter(|set| union(table, set.iter().copied()) < k)
            .find(|set| all > rank(&told, |cell| !set.contains(&cell)))
    }

    fn tables() -> impl Iterator<Item = [People3; CELLS]> {
        (0..4096u32).map(|n| std::array::from_fn(|cell| (n >> (3 * cell) & 7) as u8))
    }

    /// Each way in which three people can use two services at two sites, each `k` of each site and of the fleet.
    #[test]
    fn nothing_that_can_be_computed_is_about_fewer_than_k_people() {
        let mut kept = 0;
        for table in tables() {
            for (a, b) in (1..=3).flat_map(|a| (1..=3).map(move |b| (a, b))) {
                let blocks: Vec<_> = told_at(&table, 0, a)
                    .into_iter()
                    .map(|(row, people)| (row, of(people, a)))
                    .chain(told_at(&table, 1, b).into_iter().map(|(row, people)| (row, of(people, b))))
                    .collect();
                // Who sees a site and the fleet sees the blocks of that site: nothing below its own `k` either way.
                let seen: Vec<Row> = blocks.iter().map(|(row, _)| *row).collect();
                assert_eq!(leak(&table, &seen, a.min(b)), None, "{table:?} {a} {b}");
                for k in 1..=3 {
                    let told = blocks.iter().filter(|(_, of)| FleetK(k).admits(of).is_ok());
                    let told: Vec<Row> = told.map(|(row, _)| *row).collect();
                    kept += told.len();
                    assert_eq!(leak(&table, &told, k as usize), None, "{table:?} {a} {b} {k}");
                }
            }
        }
        assert!(kept > 100_000, "{kept}");
    }

    /// That the test above can fail: adding up everything and telling what enough people stand behind, site by site and over both, gives away what one
    /// site hid; and so does putting small blocks together.
    #[test]
    fn totals_over_all_sites_would_tell_what_one_of_them_hides() {
        let naive = |table: &[People3; CELLS]| {
            let mut told: Vec<Row> = Vec::new();
            for service in 0..2 {
                let (here, there) = (service, 2 + service);
                let unit = |cells: &[usize]| std::array::from_fn(|c| cells.contains(&c).into());
                let candidates = [vec![here], vec![there], vec![here, there]];
                told.extend(
                    candidates.iter().filter(|c| union(table, c.iter().copied()) >= 2).map(|c| unit(c)),
                );
            }
            told
        };
        // Two people at one site, a third at the other, the same service.
        let table = [0b011, 0, 0b100, 0];
        assert_eq!(leak(&table, &naive(&table), 2), Some(BTreeSet::from([2])));
        assert!(tables().filter(|table| leak(table, &naive(table), 2).is_some()).count() > 500);
        // One person at two sites is no two people.
        let table = [0b001, 0, 0b001, 0];
        assert_eq!(leak(&table, &[[1, 0, 1, 0]], 2), Some(BTreeSet::from([0, 2])));
    }

    #[test]
    fn a_row_answers_for_its_site_and_for_the_fleet() {
        let k = FleetK::new(12).unwrap();
        assert_eq!(k.admits(&of(12, 5)), Err(Refused::UnderK), "10-19 may be 10");
        assert_eq!(k.admits(&of(20, 5)), Ok(()));
        assert_eq!(k.admits(&of(15, 12)), Ok(()));
        assert_eq!(k.admits(&Of { k: 25, ..of(20, 5) }), Err(Refused::UnderK));
        assert_eq!((FleetK::new(4), FleetK::default().get()), (None, 10));
    }
}
