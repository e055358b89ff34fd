use super::*;
use std::collections::HashMap;

fn key(group: u16, category: Category, service: u32) -> CellKey {
    CellKey { group: GroupId(group), category, service }
}

fn visit(ledger: &mut Ledger<Uploads>, key: CellKey, people: std::ops::Range<u32>, k: u32) {
    for person in people {
        assert!(ledger.count(key, SubjectId(person), k, |sums| sums.uploads += 1));
    }
}

#[test]
fn an_hour_tells_what_enough_people_did_and_the_day_the_rest() {
    let (mut hour, mut day) = (Ledger::default(), Ledger::default());
    let boss = key(1, Category::Recruitment, 7);
    let games = key(1, Category::Games, 9);
    visit(&mut hour, games, 1..13, 10);
    visit(&mut hour, boss, 1..7, 10);
    let (told, lost) = hour.end_hour(&mut day);
    assert_eq!((told.len(), lost), (1, 0));
    assert_eq!(
        (told[0].service, told[0].sums.uploads, told[0].people.to_string()),
        (9, 12, "10-19".to_owned())
    );
    // Six others in the next hour: over the day they are twelve.
    visit(&mut hour, boss, 7..13, 10);
    visit(&mut hour, games, 1..3, 10);
    let (told, _) = hour.end_hour(&mut day);
    assert_eq!(told, []);
    let told = day.end_day();
    let said: Vec<_> = told.iter().map(|t| (t.span, t.category, t.service, t.rest, t.sums.uploads)).collect();
    assert_eq!(
        said,
        [(Span::Day, Some(Category::Recruitment), 7, false, 12)],
        "the two of the games stay untold"
    );
    assert!(day.is_empty() && day.end_day().is_empty());
}

#[test]
fn the_greatest_k_of_what_is_put_together_holds() {
    let (mut hour, mut day) = (Ledger::default(), Ledger::default());
    visit(&mut hour, key(1, Category::Recruitment, 7), 1..13, 20);
    visit(&mut hour, key(1, Category::Games, 9), 30..36, 5);
    visit(&mut hour, key(1, Category::Games, 8), 40..44, 5);
    let (told, _) = hour.end_hour(&mut day);
    assert_eq!(told.iter().map(|t| (t.service, t.k)).collect::<Vec<_>>(), [(9, 5)]);
    assert_eq!(day.end_day(), [], "sixteen people where one of the purposes asks for twenty");
}

#[test]
fn nobody_is_not_counted_and_room_is_bounded() {
    let mut hour: Ledger<Uploads> = Ledger::default();
    assert!(!hour.count(key(1, Category::Games, 1), SubjectId::NOBODY, 5, |_| {}) && hour.is_empty());
    for service in 0..MAX_CELLS as u32 {
        assert!(hour.count(key(1, Category::Games, service), SubjectId(1), 5, |_| {}));
    }
    assert!(!hour.count(key(1, Category::Games, u32::MAX), SubjectId(1), 5, |_| {}));
    assert!(hour.count(key(1, Category::Games, 1), SubjectId(2), 5, |_| {}));
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

/// Whole days of random hours: everything that is told, hours and rest together, counts every cell of an hour at most once, and
/// is about enough people. Which cells a told sum is made of is read from its bits: each cell of an hour adds a power of two.
#[test]
fn what_days_tell_is_disjoint_and_about_enough_people() {
    let tables = std::env::var("SUPPRESS_TABLES").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000u64);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut hours_told, mut days_told) = (0, 0);
    for table in 0..tables {
        let (mut hour, mut day) = (Ledger::<Uploads>::default(), Ledger::default());
        let mut behind: HashMap<u32, (BTreeSet<u32>, u32)> = HashMap::new();
        let (mut told, mut next) = (Vec::new(), 0u32);
        for _ in 0..1 + random.below(4) {
            for _ in 0..1 + random.below(6) {
                let categories = [Category::Games, Category::Recruitment, Category::Music];
                let key = key(
                    1 + random.below(3) as u16,
                    categories[random.below(3) as usize],
                    random.below(3) as u32,
                );
                if next >= 60 || hour.cells.contains_key(&key) {
                    continue;
                }
                let (bit, k) = (next, 5 + random.below(4) as u32);
                next += 1;
                let people: BTreeSet<u32> =
                    (0..random.below(11)).map(|_| 1 + random.below(14) as u32).collect();
                for (i, person) in people.iter().enumerate() {
                    let add = if i == 0 { 1 << bit } else { 0 };
                    assert!(hour.count(key, SubjectId(*person), k, |sums| sums.bytes += add));
                }
                behind.insert(bit, (people, k));
            }
            told.extend(hour.end_hour(&mut day).0);
        }
        told.extend(day.end_day());
        let mut seen = 0u64;
        for part in &told {
            assert_eq!(seen & part.sums.bytes, 0, "table {table}: told twice: {told:?}");
            seen |= part.sums.bytes;
            let cells = (0..60).filter(|bit| part.sums.bytes & 1 << bit != 0).map(|bit| &behind[&bit]);
            let (mut people, mut k) = (BTreeSet::<u32>::new(), LEAST_K);
            for (who, asked) in cells {
                people.extend(who);
                k = k.max(*asked);
            }
            assert!(people.len() >= k as usize, "table {table}: {part:?} is about {}", people.len());
            assert_eq!(part.people, Bucket::of(people.len(), k as usize));
            match part.span {
                Span::Hour => hours_told += 1,
                Span::Day => days_told += 1,
            }
        }
    }
    assert!(
        hours_told > tables / 10 && days_told > tables / 10,
        "it does tell something: {hours_told} {days_told}"
    );
}
