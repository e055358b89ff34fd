//! A store that was built in steps answers as one that was built at once, whatever happened on the way.

use crate::common::{Lines, MONDAY, answers, built_at_once, follow_all, line, log, options};
use glassgate_store::{Entries, Opened, Options, Question, Search, Step, Store, StoreError};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn in_steps_or_at_once(
        picks in proptest::collection::vec(any::<u32>(), 1..1400),
        steps in proptest::collection::vec((1usize..600, 0u64..2, any::<bool>()), 1..8),
        quota in prop_oneof![Just(64u64 << 20), 20_000u64..200_000],
    ) {
        let lines: Vec<String> = picks.iter().enumerate().map(|(i, pick)| line(i, *pick, i as i64 / 6)).collect();
        let dir = tempfile::tempdir().unwrap();
        let options = Options { path: Some(dir.path().join("store.db")), quota_bytes: quota };
        let (mut store, _) = Store::open(options.clone()).unwrap();
        let mut log = Lines { key: "a".to_owned(), first: 0, lines: Vec::new() };
        for (more, bundles, again) in steps {
            let size = (log.lines.len() + more).min(lines.len());
            log.lines = lines[..size].to_vec();
            log.first = (log.first + bundles * 256).min(log.lines.len() as u64 / 256 * 256);
            follow_all(&mut store, &log, 100);
            // What it said before is not what it says later.
            answers(&store);
            if again {
                drop(store);
                let (opened, how) = Store::open(options.clone()).unwrap();
                prop_assert_eq!(how, Opened::Kept);
                store = opened;
            }
        }
        store.check_for_tests();
        prop_assert_eq!(answers(&store), built_at_once(&log, quota));
    }
}

#[test]
fn sums_are_those_of_the_records() {
    let log = log(900, 5);
    let (mut store, _) = Store::open(options(None)).unwrap();
    follow_all(&mut store, &log, 128);
    let records: Vec<serde_json::Value> =
        log.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| records.iter().filter(move |r| r["event_type"] == kind).collect::<Vec<_>>();
    let sum = |kind: &str, field: &str| of(kind).iter().filter_map(|r| r[field].as_u64()).sum::<u64>();
    for (step, to) in [
        (Step::Whole, MONDAY + 400 * 86_400),
        (Step::Day, MONDAY + 30 * 86_400),
        (Step::Hour, MONDAY + 9 * 86_400),
    ] {
        let question = Question { from: MONDAY, to, step, ..Question::default() };
        let totals = store.totals(&question).unwrap();
        let groups =
            |n: fn(&glassgate_store::Row) -> u64| totals.rows.iter().filter(|r| r.groups).map(n).sum::<u64>();
        assert_eq!(groups(|r| r.flows), sum("group_rollup", "flows"));
        assert_eq!(groups(|r| r.visits), sum("group_rollup", "visits"));
        assert_eq!(
            groups(|r| r.uploads.unwrap_or(0) + r.large_uploads.unwrap_or(0)),
            sum("uploads", "uploads"),
            "{step:?}"
        );
        let network: u64 = totals.rows.iter().filter(|r| !r.groups).map(|r| r.flows).sum();
        assert_eq!(network, sum("rollup", "flows"));
        assert_eq!(totals.blindness.flows, sum("blindness", "flows"));
        assert_eq!(totals.blindness.named[0].count, sum("blindness", "flows"));
        assert_eq!(totals.blindness.told_named_percent[0].count, 88);
        assert!(totals.rows.iter().all(|r| r.rest_of_day <= (step == Step::Hour)));
        assert_eq!(totals.left_out, 0);
    }
    let sales =
        Question { from: MONDAY, to: MONDAY + 86_400, group: Some("sales".into()), ..Question::default() };
    let rows = store.totals(&sales).unwrap().rows;
    assert!(!rows.is_empty() && rows.iter().all(|row| row.group.as_deref() == Some("sales")));
    let by_category = Question { by_category: true, group: None, ..sales.clone() };
    let merged = store.totals(&by_category).unwrap().rows;
    let flows = |rows: &[glassgate_store::Row]| rows.iter().map(|row| row.flows).sum::<u64>();
    assert_eq!(flows(&merged), flows(&store.totals(&Question { group: None, ..sales }).unwrap().rows));
    assert!(merged.len() <= 4 && merged.iter().all(|row| row.group.is_none() && row.service.is_none()));
    let sessions: u64 = store.sessions(0, MONDAY * 2).unwrap().iter().map(|s| s.count).sum();
    assert_eq!(sessions, of("session").len() as u64);
    // A session is counted, and stands nowhere else.
    let everything = format!("{:?}", store.search(&Search { limit: 500, ..Search::default() }).unwrap());
    assert!(
        !everything.contains("session") && everything.contains("other") && !everything.contains("unheard_of")
    );
    let acts = store.search(&Search { acts: true, limit: 500, ..Search::default() }).unwrap();
    let expected = of("bypass").len() + of("charter").iter().filter(|r| r["cause"] == "installed").count();
    assert_eq!(acts.entries.len(), expected);
}

#[test]
fn another_log_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, how) = Store::open(options(Some(&dir.path().join("s")))).unwrap();
    assert_eq!(how, Opened::New);
    let first = log(700, 1);
    follow_all(&mut store, &first, 1000);
    assert_eq!(store.follow(&first, 10).unwrap(), Default::default(), "nothing is new");
    let another_key = Lines { key: "another".to_owned(), ..log(30, 2) };
    let cut = Lines { lines: first.lines[..650].to_vec(), ..first.clone() };
    // As long as it was, then longer; the image of an older disk that was gone on with.
    let mut rewritten = first.clone();
    rewritten.lines[699] = line(699, 8, 3);
    let longer = Lines { lines: [&first.lines[..600], &log(900, 9).lines[600..]].concat(), ..first.clone() };
    for other in [&another_key, &first, &cut, &another_key, &first, &rewritten, &longer] {
        let followed = store.follow(other, 10_000).unwrap();
        assert!(followed.anew.is_some() && followed.left == 0, "{followed:?}");
        assert_eq!(answers(&store), built_at_once(other, 64 << 20));
    }
}

#[test]
fn what_can_not_be_read_of_the_log_changes_nothing() {
    struct Torn<'a>(&'a Lines);
    impl glassgate_store::Log for Torn<'_> {
        fn key(&self) -> &str {
            &self.0.key
        }
        fn first(&self) -> u64 {
            0
        }
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn entries(&self, seq: u64) -> Entries<'_> {
            Box::new(
                self.0
                    .entries(seq)
                    .map(|e| e.and_then(|(n, l)| if n < 150 { Ok((n, l)) } else { Err("gone".into()) })),
            )
        }
    }
    let log = log(300, 3);
    let (mut store, _) = Store::open(options(None)).unwrap();
    store.follow(&log, 100).unwrap();
    let before = answers(&store);
    assert!(matches!(store.follow(&Torn(&log), 100), Err(StoreError::Log(_))));
    assert_eq!(answers(&store), before);
    store.check_for_tests();
    follow_all(&mut store, &log, 100);
    assert_eq!(answers(&store), built_at_once(&log, 64 << 20));
}

#[test]
fn questions_without_an_answer_are_refused() {
    let (store, _) = Store::open(options(None)).unwrap();
    let ask = |from, to, step| store.totals(&Question { from, to, step, ..Question::default() });
    assert!(matches!(ask(5, 4, Step::Whole), Err(StoreError::Question(_))));
    assert!(matches!(ask(0, 16 * 86_400, Step::Hour), Err(StoreError::Question(_))));
    for (from, to) in [(i64::MIN, i64::MAX), (0, 0), (-5, 3)] {
        assert_eq!(ask(from, to, Step::Whole).unwrap().rows, []);
        assert_eq!(ask(from, to, Step::Day).unwrap().rows, []);
    }
    assert_eq!(
        store
            .search(&Search { before: Some(u64::MAX), from: Some(i64::MIN), ..Search::default() })
            .unwrap()
            .entries,
        []
    );
}

#[test]
fn the_file_stays_within_its_quota_and_the_oldest_hours_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let quota = 2 << 20;
    let (mut store, _) = Store::open(Options { path: Some(path.clone()), quota_bytes: quota }).unwrap();
    let picks: Vec<u32> = (0..90_000u32).map(|i| i.wrapping_mul(2_654_435_761) >> 3).collect();
    let lines = picks.iter().enumerate().map(|(i, pick)| line(i, *pick, i as i64 / 500)).collect();
    let log = Lines { key: "a".to_owned(), first: 0, lines };
    let mut largest = 0;
    while store.follow(&log, 3000).unwrap().left > 0 {
        let size =
            |suffix: &str| std::fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |m| m.len());
        largest = largest.max(size(""));
    }
    // A transaction more than it holds.
    assert!(largest < quota * 5 / 4, "{largest} bytes of {quota}");
    assert!(
        largest > quota / 2,
        "the figures that the bound is made of are too careful: {largest} of {quota}"
    );
    let [(units, most), (records, most_records)] = store.fill();
    assert!(units <= most && units > most * 9 / 10 && records <= most_records, "{:?}", store.fill());
    let reach = store.reach().unwrap();
    assert!(reach.oldest.unwrap() > MONDAY + 86_400 && reach.newest.unwrap() >= MONDAY + 179 * 3600);
}
