//! A store that was killed, damaged, cut short, deleted or of another version answers as before.

use crate::common::{answers, built_at_once, follow_all, log, options};
use glassgate_store::{Opened, Store, StoreError};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const N: usize = 600;
const PART: &str = "GLASSGATE_STORE_PART";

/// A store that was closed.
fn closed(path: &Path) {
    let (mut store, _) = Store::open(options(Some(path))).unwrap();
    follow_all(&mut store, &log(N, 4), 200);
}

/// Opens what is there, follows, and holds the answers against those of a store that was built at once.
fn as_good_as_new(path: &Path, expected: &str) -> Opened {
    let (mut store, how) = Store::open(options(Some(path))).unwrap();
    follow_all(&mut store, &log(N, 4), 200);
    assert_eq!(answers(&store), expected, "{how:?}");
    how
}

#[test]
fn flipped_bits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    closed(&path);
    let expected = built_at_once(&log(N, 4), 64 << 20);
    let good = std::fs::read(&path).unwrap();
    let bits = good.len() * 8;
    let (mut seed, mut found) = (1u64, 0);
    let tries = std::env::var("STORE_FLIPS").map_or(150, |n| n.parse().unwrap());
    for _ in 0..tries {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bit = (seed >> 16) as usize % bits;
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, bad).unwrap();
        found += usize::from(matches!(as_good_as_new(&path, &expected), Opened::Discarded(_)));
    }
    // What is not found is in bytes that mean nothing.
    assert!(found * 3 > tries, "{found} of {tries}");
}

#[test]
fn cut_short_deleted_or_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    closed(&path);
    let expected = built_at_once(&log(N, 4), 64 << 20);
    let good = std::fs::read(&path).unwrap();
    assert_eq!(as_good_as_new(&path, &expected), Opened::Kept);
    for len in [0, 1, 100, 4096, 5000, good.len() / 2 / 4096 * 4096, good.len() - 4096, good.len() - 1] {
        std::fs::write(&path, &good[..len]).unwrap();
        as_good_as_new(&path, &expected);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(as_good_as_new(&path, &expected), Opened::New);
    std::fs::write(&path, "This is a text, and not a short one. ".repeat(400)).unwrap();
    assert!(matches!(as_good_as_new(&path, &expected), Opened::Discarded(_)));
    // A database of somebody else, of another version, and one of ours with a row that we never wrote.
    let sql = |path: &Path, sql: &str| rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    for change in [
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 7",
        "UPDATE tally SET flows = flows + 1 WHERE seq = (SELECT max(seq) FROM tally)",
        "UPDATE day SET flows = flows + 1 WHERE day = (SELECT max(day) FROM day)",
        "DELETE FROM record WHERE seq = (SELECT min(seq) FROM record)",
        "DELETE FROM state",
        "UPDATE state SET next = next - 1",
        "UPDATE name SET text = 'marketing' WHERE text = 'sales'",
        "UPDATE session SET n = n + 1",
        "DROP TABLE sight_day",
        "DROP INDEX record_by_kind; CREATE INDEX record_by_kind ON record (seq)",
    ] {
        sql(&path, change);
        let how = as_good_as_new(&path, &expected);
        // An index of another shape gives the same answers.
        assert!(matches!(how, Opened::Discarded(_)) || change.starts_with("DROP INDEX"), "{change}");
    }
    std::fs::remove_file(&path).unwrap();
    sql(&path, "CREATE TABLE theirs (a)");
    assert!(matches!(as_good_as_new(&path, &expected), Opened::Discarded(_)));
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let (mut store, _) = Store::open(options(Some(&path))).unwrap();
    follow_all(&mut store, &log(N, 4), 200);
    assert!(matches!(Store::open(options(Some(&path))), Err(StoreError::Busy)));
    assert_eq!(answers(&store), built_at_once(&log(N, 4), 64 << 20), "the first one noticed nothing");
}

/// Not a test of its own: the process that is killed.
#[test]
fn part() {
    let Ok(path) = std::env::var(PART) else { return };
    let (mut store, _) = Store::open(options(Some(Path::new(&path)))).unwrap();
    loop {
        let followed = store.follow(&log(N, 4), 3).unwrap();
        println!("took {}", N as u64 - followed.left);
        if followed.left == 0 {
            break;
        }
    }
}

#[test]
fn killed_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let expected = built_at_once(&log(N, 4), 64 << 20);
    let path = dir.path().join("store.db");
    for lines in (1..60).step_by(3) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::part", "--nocapture"])
            .env(PART, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // After so many transactions, somewhere in the next ones.
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let took =
            said.map(Result::unwrap).filter_map(|l| l.split("took ").nth(1).map(str::to_owned)).nth(lines);
        child.kill().unwrap();
        child.wait().unwrap();
        let took: u64 = took.unwrap_or_default().parse().unwrap_or_default();
        let (store, how) = Store::open(options(Some(&path))).unwrap();
        assert!(matches!(how, Opened::Kept), "{how:?}: a kill is no damage");
        assert!(store.reach().unwrap().next >= took, "what a process said it took is there");
        drop(store);
        if lines % 2 == 0 {
            as_good_as_new(&path, &expected);
            std::fs::remove_file(&path).unwrap();
        }
    }
    // The write-ahead log is damaged or gone: what is missing is read again.
    let (mut store, _) = Store::open(options(Some(&path))).unwrap();
    follow_all(&mut store, &log(N, 4), 50);
    let copy = dir.path().join("copy.db");
    let wal = |path: &Path| path.with_extension("db-wal");
    for flip in [None, Some(40), Some(5000)] {
        std::fs::copy(&path, &copy).unwrap();
        if let Some(at) = flip {
            std::fs::copy(wal(&path), wal(&copy)).unwrap();
            let file = std::fs::OpenOptions::new().write(true).open(wal(&copy)).unwrap();
            file.write_all_at(&[0xaa], at).unwrap();
        }
        as_good_as_new(&copy, &expected);
        std::fs::remove_file(&copy).unwrap();
    }
}
