use super::*;
use crate::note::Kind;
use crate::recover::recover;
use crate::testing::{Faulty, no_space, verified};
use std::path::Path;

/// A folder in memory, where there is one: thousands of syncs are not what is tested.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn at(mono_ns: u64) -> Stamp {
    Stamp { mono_ns, wall: None, quality: "unknown" }
}

fn options(folder: &Path) -> Options {
    Options { segment_bytes: 256 << 10, reserve_bytes: 2 << 20, queue_bytes: 8 << 10, ..Options::new(folder) }
}

fn writer(disk: &Faulty, root: &Path) -> Writer {
    let key = Signer::from_seed("example.com/log", Kind::Ed25519, [1; 32]).unwrap();
    std::fs::write(root.join("key.pub"), format!("{}\n", key.verifier())).unwrap();
    let found = recover(disk, key.verifier()).unwrap();
    Writer::new(Arc::new(disk.clone()), options(root), key, "ab".to_owned(), found, Tally::default())
}

fn entry(n: u64) -> Entry {
    let body = format!("{{\"event_type\":\"said\",\"n\":{n}}}");
    Entry { rest: leaf::stamped(&at(n), body.as_bytes()).unwrap(), act: false, waiter: None }
}

/// An act, and where its answer comes.
fn act(n: u64) -> (Entry, Arc<Waiter>) {
    let waiter = Arc::new(Waiter::default());
    (Entry { act: true, waiter: Some(waiter.clone()), ..entry(n) }, waiter)
}

fn answer(waiter: &Waiter) -> Result<u64, String> {
    waiter.outcome().unwrap_or_else(|| panic!("nobody answered"))
}

/// Records of a kind in what is on disk now, after a checkpoint.
fn told(writer: &mut Writer, root: &Path, kind: &str) -> Vec<serde_json::Value> {
    writer.checkpoint(&at(u64::MAX / 2));
    verified(root).into_iter().filter(|r| r["event_type"] == kind).collect()
}

/// Makes tiles durable, if that is due.
fn sync(writer: &mut Writer, now: &Stamp) {
    if let Some(job) = writer.sync_job(now) {
        let result = writer.disk.sync(&job.paths);
        writer.synced(job, result, now);
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

#[test]
fn a_failed_write_or_sync_goes_to_a_new_segment_and_is_told() {
    for call in ["write", "fdatasync"] {
        let dir = in_memory();
        let disk = Faulty::new(dir.path());
        let mut writer = writer(&disk, dir.path());
        writer.commit([entry(1)], Losses::default(), &at(1));
        let mut failed = None;
        disk.plan(move |c, path| {
            // Never again on that file.
            assert!(failed.as_deref() != Some(path) || !["write", "fdatasync"].contains(&c), "{c} {path}");
            (c == call && failed.is_none()).then(|| {
                failed = Some(path.to_owned());
                eio()
            })
        });
        let (second, waiter) = act(2);
        writer.commit([second], Losses::default(), &at(2));
        writer.commit([entry(3)], Losses::default(), &at(3));
        writer.resolve();
        assert_eq!(answer(&waiter), Ok(1), "{call}");
        let gaps = told(&mut writer, dir.path(), "gap");
        assert_eq!(
            (gaps.len(), &gaps[0]["cause"], &gaps[0]["records"]),
            (1, &"write_failed".into(), &0.into())
        );
        assert_eq!(told(&mut writer, dir.path(), "said").len(), 3, "{call}");
        assert_eq!(writer.status().lost, 0);
        drop(writer);
        // The next run finds the same, though the failed file has a group too many.
        disk.plan(|_, _| None);
        let key = Signer::from_seed("example.com/log", Kind::Ed25519, [1; 32]).unwrap();
        assert_eq!(recover(&disk, key.verifier()).unwrap().grown.tree.size(), 4);
    }
}

#[test]
fn a_full_disk_takes_a_thousand_acts_and_counts_the_rest() {
    let dir = in_memory();
    let disk = Faulty::new(dir.path());
    let mut writer = writer(&disk, dir.path());
    disk.plan(|call, path| (call == "create" || (call == "put" && path.contains("tile"))).then(no_space));
    for n in 0..1000 {
        let (act, waiter) = act(n);
        // Records of a hundred bytes, of which 8 KiB are held.
        writer.commit([entry(n), act], Losses::default(), &at(n));
        writer.resolve();
        assert_eq!(answer(&waiter), Ok(n + 1));
    }
    let status = writer.status();
    assert!(status.trouble.is_some());
    let (held, lost) = (writer.held.len() as u64, status.lost);
    assert!(held > 10 && held + lost == 1000, "{held} {lost}");
    // Space comes back.
    disk.plan(|_, _| None);
    writer.commit([], Losses::default(), &at(2_000_000_000));
    assert_eq!(told(&mut writer, dir.path(), "log_full").len(), 1);
    let gaps = told(&mut writer, dir.path(), "gap");
    assert_eq!((gaps.len(), &gaps[0]["cause"], &gaps[0]["records"]), (1, &"log_full".into(), &lost.into()));
    assert_eq!(told(&mut writer, dir.path(), "said").len() as u64, 1000 + held);
    assert_eq!(writer.status().trouble, None);
    assert!(writer.reserve_ready);
}

#[test]
fn without_any_disk_acts_are_refused_and_records_held() {
    let dir = in_memory();
    let disk = Faulty::new(dir.path());
    let mut writer = writer(&disk, dir.path());
    disk.plan(|call, _| (call != "read").then(eio));
    let (first, waiter) = act(1);
    let barrier = Arc::new(Waiter::default());
    let wait = Entry { rest: Vec::new(), act: false, waiter: Some(barrier.clone()) };
    writer.commit([entry(0), first, wait], Losses::default(), &at(1));
    writer.resolve();
    assert!(answer(&waiter).is_err() && answer(&barrier).is_err());
    disk.plan(|_, _| None);
    writer.commit([entry(2)], Losses::default(), &at(3_000_000_000));
    let said: Vec<_> =
        told(&mut writer, dir.path(), "said").iter().map(|r| r["n"].as_u64().unwrap()).collect();
    assert_eq!(said, [0, 2]);
    let gaps = told(&mut writer, dir.path(), "gap");
    assert_eq!((&gaps[0]["cause"], &gaps[0]["records"]), (&"log_full".into(), &1.into()));
}

#[test]
fn the_quota_holds_and_what_is_deleted_is_told_first() {
    let dir = in_memory();
    let disk = Faulty::new(dir.path());
    let mut writer = writer(&disk, dir.path());
    writer.options.quota_bytes = 4 << 20;
    writer.options.queue_bytes = 1 << 20;
    let mut greatest = 0;
    for n in 0..400u64 {
        writer.commit((0..100).map(|i| entry(n * 100 + i)), Losses::default(), &at(n * 1_000_000));
        if writer.checkpoint_due(&at(n)) {
            writer.checkpoint(&at(n));
        }
        sync(&mut writer, &at(n * 1_000_000));
        greatest = greatest.max(writer.bytes());
    }
    assert_eq!((writer.status().lost, writer.status().trouble), (0, None));
    assert!(greatest <= 4 << 20, "{greatest}");
    let size = |path: &Path| -> u64 {
        let all =
            std::process::Command::new("du").args(["-sb", "--apparent-size"]).arg(path).output().unwrap();
        String::from_utf8(all.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
    };
    assert!(size(dir.path()) < (4 << 20) + (600 << 10), "{}", size(dir.path()));
    let first = writer.bundles.front().unwrap().0;
    assert!(first > 10);
    writer.checkpoint(&at(1));
    let files = crate::disk::Folder::read_only(dir.path());
    use crate::merkle::Nodes as _;
    // What is left still hashes to the root: the tiles above stay.
    let tiles = crate::tiles::Tiles(&files);
    assert!(tiles.node(0, first * 256).is_ok() && tiles.node(0, 0).is_err() && tiles.node(8, 0).is_ok());
    let size = writer.grown.tree.size();
    assert_eq!(crate::merkle::root_at(&tiles, size).unwrap(), writer.grown.tree.root());
}

#[test]
fn tiles_that_could_not_be_made_durable_are_written_anew() {
    let dir = in_memory();
    let disk = Faulty::new(dir.path());
    let mut writer = writer(&disk, dir.path());
    writer.options.queue_bytes = 1 << 20;
    for n in 0..12 {
        writer.commit((0..300).map(|i| entry(n * 300 + i)), Losses::default(), &at(n));
    }
    writer.checkpoint(&at(1));
    let job = writer.sync_job(&at(1)).unwrap();
    let segments = writer.closed.len();
    // What a failed sync may mean.
    std::fs::remove_dir_all(dir.path().join("tile")).unwrap();
    writer.synced(job, Err(eio()), &at(2));
    assert_eq!(writer.closed.len(), segments);
    // Not before the partial ones are written as well, and not at once.
    assert!(writer.checkpoint_due(&at(2)) && writer.sync_job(&at(2_000_000_000)).is_none());
    writer.commit([entry(1)], Losses::default(), &at(2));
    assert_eq!(told(&mut writer, dir.path(), "said").len(), 3601);
    assert!(writer.sync_job(&at(1_000_000_000)).is_none());
    sync(&mut writer, &at(1_000_000_002));
    assert_eq!(writer.closed.len(), 0);
    verified(dir.path());
}

#[test]
fn a_segment_that_takes_no_header_does_not_stay() {
    for sticks in [false, true] {
        let dir = in_memory();
        let disk = Faulty::new(dir.path());
        let mut writer = writer(&disk, dir.path());
        disk.plan(move |call, _| (call == "write" || sticks && call == "remove").then(eio));
        for n in 0..20 {
            writer.commit([entry(n)], Losses::default(), &at(n * 2_000_000_000));
        }
        // What can't be deleted counts, so that the quota ends it.
        let files = std::fs::read_dir(dir.path().join("wal")).unwrap().count();
        assert_eq!((files, files == 0), (writer.closed.len(), !sticks));
        disk.plan(|_, _| None);
        writer.commit([entry(20)], Losses::default(), &at(90_000_000_000));
        assert_eq!(told(&mut writer, dir.path(), "said").len(), 21);
        sync(&mut writer, &at(91_000_000_000));
        assert!(std::fs::read_dir(dir.path().join("wal")).unwrap().count() <= 2);
    }
}

#[test]
fn a_sync_of_tiles_that_fails_for_good_is_told_once_and_tried_seldom() {
    let dir = in_memory();
    let disk = Faulty::new(dir.path());
    let mut writer = writer(&disk, dir.path());
    writer.options.queue_bytes = 1 << 20;
    let syncs = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = syncs.clone();
    disk.plan(move |call, _| {
        (call == "sync").then(|| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            eio()
        })
    });
    // A hundred turns a second for a hundred seconds.
    for n in 0..10_000u64 {
        let now = at(n * 10_000_000);
        writer.commit([entry(n)], Losses::default(), &now);
        if writer.checkpoint_due(&now) {
            writer.checkpoint(&now);
        }
        sync(&mut writer, &now);
    }
    let tries = syncs.load(std::sync::atomic::Ordering::Relaxed);
    assert!((3..10).contains(&tries), "{tries}");
    assert_eq!(told(&mut writer, dir.path(), "gap").len(), 1);
    assert!(writer.status().trouble.is_some());
    disk.plan(|_, _| None);
    writer.checkpoint(&at(200_000_000_000));
    sync(&mut writer, &at(200_000_000_000));
    assert!(writer.closed.is_empty());
    assert_eq!(told(&mut writer, dir.path(), "said").len(), 10_000);
}

/// A checkpoint that there was no room for is made up for as soon as there is, and nothing is said of it any more.
#[test]
fn a_checkpoint_that_failed_is_tried_again_each_second_and_told_until_then() {
    let dir = in_memory();
    let disk = Faulty::new(dir.path());
    let mut writer = writer(&disk, dir.path());
    let second = |n: u64| at(n * RETRY_NS);
    writer.commit([entry(1)], Losses::default(), &second(1));
    writer.checkpoint(&second(1));
    assert!(writer.status().trouble.is_none() && !writer.checkpoint_due(&second(2)));
    disk.plan(|call, path| (call == "put" && path.starts_with("tile")).then(no_space));
    writer.commit([entry(2)], Losses::default(), &second(2));
    writer.checkpoint(&second(2));
    assert!(writer.status().trouble.is_some());
    assert!(!writer.checkpoint_due(&second(2)) && writer.checkpoint_due(&second(3)));
    writer.checkpoint(&second(3));
    assert!(writer.status().trouble.is_some() && !writer.checkpoint_due(&second(3)));
    disk.plan(|_, _| None);
    assert!(writer.checkpoint_due(&second(4)));
    writer.checkpoint(&second(4));
    assert_eq!(writer.status().trouble, None);
    assert!(!writer.checkpoint_due(&second(5)));
    assert_eq!(verified(dir.path()).iter().filter(|record| record["event_type"] == "said").count(), 2);
}

/// What is signed must say that it is deleted, when it is.
#[test]
fn what_is_deleted_is_signed_first() {
    let dir = in_memory();
    let disk = Faulty::new(dir.path());
    let mut writer = writer(&disk, dir.path());
    writer.options.queue_bytes = 1 << 20;
    for n in 0..12 {
        writer.commit((0..300).map(|i| entry(n * 300 + i)), Losses::default(), &at(n));
    }
    writer.checkpoint(&at(1));
    sync(&mut writer, &at(1));
    writer.prune(1);
    writer.commit([entry(1)], Losses::default(), &at(2));
    writer.commit([entry(2)], Losses::default(), &at(3));
    let first = dir.path().join("tile/entries/000");
    assert!(first.exists() && writer.checkpoint_due(&at(3)));
    writer.checkpoint(&at(3));
    assert!(!first.exists());
    let verified = glassgate_audit_verify::verify(dir.path(), &glassgate_audit_verify::Question::default());
    assert_eq!(verified.unwrap().removed, 256);
}

/// Each call that changes the disk fails once, at each place where it is made, and then for good.
#[test]
fn no_failing_call_loses_what_was_acknowledged() {
    let calls = ["create", "open", "write", "fdatasync", "put", "replace", "rename", "remove", "sync"];
    let mut met = std::collections::BTreeMap::new();
    for call in calls {
        for lasting in [false, true] {
            for nth in [0, 1, 2, 5, 11] {
                let dir = in_memory();
                let disk = Faulty::new(dir.path());
                let mut writer = writer(&disk, dir.path());
                let mut seen = 0;
                disk.plan(move |c, _| {
                    seen += u32::from(c == call);
                    (c == call && (seen == nth + 1 || lasting && seen > nth)).then(eio)
                });
                let mut acknowledged = Vec::new();
                for n in 0..20u64 {
                    let (act, waiter) = act(1000 + n);
                    writer.commit(
                        (0..40).map(|i| entry(n * 40 + i)).chain([act]),
                        Losses::default(),
                        &at(n * 300_000_000),
                    );
                    writer.checkpoint(&at(n));
                    writer.resolve();
                    match answer(&waiter) {
                        Ok(seq) => acknowledged.push((seq, 1000 + n)),
                        Err(_) => *met.entry(call).or_insert(0) += 1,
                    }
                    sync(&mut writer, &at(n * 300_000_000));
                }
                drop(writer);
                disk.plan(|_, _| None);
                let mut writer = self::writer(&disk, dir.path());
                writer.commit([entry(7)], Losses::default(), &at(1));
                writer.checkpoint(&at(1));
                let all = verified(dir.path());
                for (seq, n) in acknowledged {
                    assert_eq!(all[seq as usize]["n"], n, "{call} {nth} {lasting}");
                }
            }
        }
    }
    // Calls whose failure can keep an act from being recorded, when it lasts: those that the reserve needs as well.
    assert_eq!(met.keys().copied().collect::<Vec<_>>(), ["fdatasync", "write"]);
}
