use super::*;
use crate::Balance;
use crate::testing::verified;
use crate::tiles::Files as _;
use std::path::Path;

struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now(&self) -> Stamp {
        Stamp { mono_ns: self.0.elapsed().as_nanos() as u64, wall: None, quality: "unknown" }
    }
}

const SOON: Duration = Duration::from_secs(20);
const AT: Stamp = Stamp { mono_ns: 5, wall: None, quality: "unknown" };

fn open(folder: &Path) -> (Log, Recovered) {
    let options = Options { segment_bytes: 256 << 10, reserve_bytes: 256 << 10, ..Options::new(folder) };
    Log::open(options, 0xab, Monotonic(Instant::now())).unwrap()
}

fn said(n: usize) -> Vec<u8> {
    format!("{{\"event_type\":\"said\",\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(n % 300)).into_bytes()
}

#[test]
fn records_are_in_a_signed_tree_and_the_next_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (log, recovered) = open(dir.path());
    assert_eq!((recovered.entries, recovered.unclean, recovered.damaged), (0, false, None));
    for n in 0..1000 {
        assert!(log.append(&AT, &said(n)));
    }
    assert_eq!(log.act(&AT, b"{\"event_type\":\"stopped\"}", SOON), Ok(1000));
    assert!(log.status().checkpoint.unwrap().starts_with(&format!("{}\n1001\n", recovered.origin)));
    assert!(log.close(SOON));
    let all = verified(dir.path());
    assert_eq!(
        (all.len(), &all[7]["n"], &all[7]["boot_id"]),
        (1001, &7.into(), &format!("{:032x}", 0xab).into())
    );
    // All is in tiles: nothing is left to be read again.
    assert_eq!(crate::disk::Folder::read_only(dir.path()).names("wal").unwrap(), ["reserve"]);

    let (log, again) = open(dir.path());
    assert_eq!((again.entries, again.unclean, &again.key), (1001, false, &recovered.key));
    log.append(&AT, &said(3));
    assert!(log.close(SOON));
    assert_eq!(verified(dir.path()).len(), 1002);
}

#[test]
fn a_run_that_did_not_end_in_order_is_told_with_what_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    for n in 0..700 {
        log.append(&AT, &said(n));
    }
    log.act(&AT, &said(1), SOON).unwrap();
    log.append(&AT, &said(2));
    log.flush(SOON).unwrap();
    // As if it died: a copy of what is on disk, with the last group cut within.
    let copy = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("cp")
        .arg("-r")
        .arg(dir.path())
        .arg(copy.path().join("log"))
        .status()
        .unwrap();
    assert!(status.success());
    let folder = copy.path().join("log");
    let segment = std::fs::read_dir(folder.join("wal")).unwrap().map(|e| e.unwrap().path());
    let segment = segment.filter(|p| p.file_name().unwrap() != "reserve").max().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[end - 3..].fill(0);
    std::fs::write(&segment, bytes).unwrap();

    let (log, recovered) = open(&folder);
    assert_eq!((recovered.entries, recovered.torn_records, recovered.unclean), (701, 1, true));
    assert!(recovered.torn_bytes > 56);
    assert!(log.close(SOON));
    let all = verified(&folder);
    let gaps: Vec<_> =
        all.iter().filter(|r| r["event_type"] == "gap").map(|r| r["cause"].as_str().unwrap()).collect();
    assert_eq!((all.len(), gaps), (703, vec!["torn_tail", "unclean_end"]));
    assert_eq!(all[701]["records"], 1);
}

#[test]
fn a_log_that_was_changed_is_set_aside_and_a_new_one_tells_of_it() {
    for what in ["checkpoint", "tile/entries/000.p/3", "tile/0/000.p/3", "key"] {
        let dir = tempfile::tempdir().unwrap();
        let (log, before) = open(dir.path());
        (0..3).for_each(|n| _ = log.append(&AT, &said(n)));
        assert!(log.close(SOON));
        let path = dir.path().join(what);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let (log, after) = open(dir.path());
        let damaged = after.damaged.unwrap_or_default();
        assert!(damaged.contains("damaged-0001") && after.key != before.key, "{what}: {damaged}");
        assert!(log.close(SOON));
        let all = verified(dir.path());
        assert_eq!((all.len(), &all[0]["cause"]), (1, &"log_damaged".into()), "{what}");
        assert!(dir.path().join("damaged-0001").join(what).exists());
    }
}

#[test]
fn one_process_at_a_time_and_old_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("audit-00000001.jsonl"), "{}\n").unwrap();
    let (log, recovered) = open(dir.path());
    assert_eq!(recovered.old_files, 1);
    let options = Options::new(dir.path());
    assert!(matches!(Log::open(options, 1, Monotonic(Instant::now())), Err(OpenError::Locked(_))));
    drop(log);
    assert!(dir.path().join("audit-00000001.jsonl").exists());
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(dir.path().join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_no_record_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    assert!(!log.append(&AT, b"nonsense"));
    assert!(matches!(log.act(&AT, b"nonsense", SOON), Err(ActError::Refused(_))));
    assert!(log.append(&AT, &said(1)));
    log.flush(SOON).unwrap();
    assert_eq!(log.status().lost, 1);
    assert!(log.close(SOON));
    let all = verified(dir.path());
    assert_eq!((&all[1]["cause"], &all[1]["records"]), (&"bad_record".into(), &1.into()));
}

#[test]
fn the_origin_is_the_one_that_is_wished_for() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { origin: Some("example.com/office".to_owned()), ..Options::new(dir.path()) };
    let (log, recovered) = Log::open(options, 1, Monotonic(Instant::now())).unwrap();
    assert_eq!(recovered.origin, "example.com/office");
    drop(log);
}

/// A log as it would be found if the process were killed now: the thread goes on in the folder that it has, and a copy is opened.
fn killed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut cp = std::process::Command::new("cp");
    assert!(cp.arg("-r").arg(folder.join(".")).arg(copy.path()).status().unwrap().success());
    copy
}

fn gaps(folder: &Path) -> Vec<serde_json::Value> {
    verified(folder).into_iter().filter(|r| r["event_type"] == "gap").collect()
}

#[test]
fn what_waited_when_the_process_was_killed_is_counted_and_carried_until_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let options = |folder: &Path| Options {
        tally: Some(folder.join("run/tally")),
        // Nothing but a flush or an act is made durable.
        group_delay: Duration::from_secs(3600),
        ..Options::new(folder)
    };
    let open =
        |folder: &Path, boot: u128| Log::open(options(folder), boot, Monotonic(Instant::now())).unwrap();
    let (log, recovered) = open(dir.path(), 1);
    assert_eq!((recovered.unclean, recovered.missing, &recovered.no_tally), (false, None, &None));
    (0..10).for_each(|n| _ = log.append(&AT, &said(n)));
    log.flush(SOON).unwrap();
    (0..7).for_each(|n| _ = log.append(&AT, &said(n)));
    assert!(!log.append(&AT, b"no record"));
    let first = killed(dir.path());
    drop(log);

    // Killed again before it could say so.
    let (log, recovered) = open(first.path(), 1);
    assert_eq!((recovered.entries, recovered.unclean, recovered.missing), (10, true, Some(8)));
    log.append(&AT, &said(1));
    let second = killed(first.path());
    drop(log);
    let (log, recovered) = open(second.path(), 1);
    assert_eq!((recovered.entries, recovered.missing), (10, Some(9)));
    assert!(log.close(SOON));
    let told = gaps(second.path());
    assert_eq!((told.len(), &told[0]["cause"], &told[0]["records"]), (1, &"unclean_end".into(), &9.into()));
    assert_eq!((&told[0]["from_mono_ns"], &told[0]["count"]), (&5.into(), &serde_json::Value::Null));
    let balance = |folder: &Path| Balance::of(&folder.join("run/tally")).unwrap();
    assert_eq!(balance(second.path()), Balance { offered: 9, answered: 9, closed: true });
    assert!(balance(second.path()).holds());
    // In order, and nothing is missing.
    let (log, recovered) = open(second.path(), 1);
    assert_eq!((recovered.unclean, recovered.missing), (false, Some(0)));
    log.append(&AT, &said(1));
    log.flush(SOON).unwrap();
    let third = killed(second.path());
    assert!(!balance(third.path()).closed);
    drop(log);

    // The machine was started anew: nobody knows.
    let (log, recovered) = open(third.path(), 2);
    assert_eq!((recovered.unclean, recovered.missing), (true, None));
    assert!(log.close(SOON));
    let told = gaps(third.path()).pop().unwrap();
    assert_eq!(
        (&told["cause"], &told["count"], told.get("records")),
        (&"unclean_end".into(), &"unknown".into(), None)
    );
}

#[test]
fn a_tally_that_can_not_be_kept_is_no_reason_to_have_no_log() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let options =
        Options { tally: Some(dir.path().join("file/tally")), ..Options::new(dir.path().join("log")) };
    let (log, recovered) = Log::open(options, 1, Monotonic(Instant::now())).unwrap();
    assert!(recovered.no_tally.is_some());
    assert!(log.append(&AT, &said(1)) && log.close(SOON));
}

#[test]
fn a_log_without_its_checkpoint_is_not_begun_anew_under_its_key() {
    // All in tiles; in segments from the middle on; without the files of the key as well.
    for (records, closed, gone) in [
        (700, true, &["checkpoint"][..]),
        (3, true, &["checkpoint"]),
        (4000, false, &["checkpoint"]),
        (3, true, &["checkpoint", "key", "key.pub"]),
        (3, false, &["checkpoint", "key", "key.pub"]),
        (700, true, &["key"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (log, before) = open(dir.path());
        for n in 0..records {
            assert!(log.append(&AT, &said(n)));
            if n % 100 == 99 {
                log.act(&AT, &said(n), SOON).unwrap();
            }
        }
        log.flush(SOON).unwrap();
        let copy = killed(dir.path());
        assert!(log.close(SOON));
        let folder = if closed { dir.path() } else { copy.path() };
        // Never made yet, or no need of it.
        gone.iter().for_each(|file| _ = std::fs::remove_file(folder.join(file)));
        let (log, after) = open(folder);
        assert!(after.damaged.is_some() && after.key != before.key, "{records} {closed} {gone:?}");
        assert!(log.close(SOON));
        assert_eq!(gaps(folder)[0]["cause"], "log_damaged");
    }
}

#[test]
fn the_first_and_the_last_logs_that_were_set_aside_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let kept = || {
        let names =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("damaged-")).collect();
        names.sort_unstable();
        names
    };
    for n in 1..7 {
        let (log, _) = open(dir.path());
        log.append(&AT, &said(n));
        assert!(log.close(SOON));
        std::fs::write(dir.path().join("checkpoint"), "nonsense").unwrap();
        let (log, recovered) = open(dir.path());
        let damaged = recovered.damaged.unwrap();
        assert!(damaged.contains(&format!("damaged-{n:04}/")), "{damaged}");
        assert_eq!(damaged.contains("was deleted"), n > 3, "{damaged}");
        assert!(log.close(SOON));
    }
    assert_eq!(kept(), ["damaged-0001", "damaged-0005", "damaged-0006"]);
    let aside = dir.path().join("damaged-0006");
    assert!(!aside.join("wal/reserve").exists() && aside.join("key").exists());
    assert!(std::fs::read_to_string(aside.join("why")).unwrap().contains("checkpoint"));
}

/// Killed after each step of setting a log aside: the next run ends it, in one folder, and says why.
#[test]
fn setting_aside_is_ended_by_the_next_run() {
    for step in 0..7 {
        let dir = tempfile::tempdir().unwrap();
        let (log, before) = open(dir.path());
        (0..300).for_each(|n| assert!(log.append(&AT, &said(n))));
        assert!(log.close(SOON));
        std::fs::write(dir.path().join("checkpoint"), "nonsense").unwrap();
        let disk = crate::testing::Faulty::new(dir.path());
        let mut renames = 0;
        disk.plan(move |call, path| {
            renames += u32::from(call == "rename");
            // Nothing after it, as if the process were gone.
            (renames > step && !path.is_empty()).then(|| io::Error::other("gone"))
        });
        assert_eq!(crate::aside::set_aside(&disk, "a reason").is_err(), step < 5, "{step}");
        let (log, after) = open(dir.path());
        let damaged = after.damaged.unwrap();
        assert!(after.key != before.key, "{step}");
        assert!(damaged.contains("damaged-0001/"), "{step}: {damaged}");
        assert!(damaged.contains("a reason") || step == 0, "{step}: {damaged}");
        assert!(log.close(SOON));
        assert!(!dir.path().join("damaged-0002").exists(), "{step}");
        for part in ["key", "key.pub", "tile", "wal", "checkpoint"] {
            assert!(dir.path().join("damaged-0001").join(part).exists(), "{step} {part}");
        }
        assert_eq!(gaps(dir.path())[0]["cause"], "log_damaged");
    }
}

#[test]
fn steps_of_the_clock_are_told() {
    struct Stepped(Instant, Arc<Mutex<i64>>);
    impl Clock for Stepped {
        fn now(&self) -> Stamp {
            let mono_ns = self.0.elapsed().as_nanos() as u64 + 5_000_000_000;
            let ms = *lock(&self.1) + (mono_ns / 1_000_000) as i64;
            Stamp { mono_ns, wall: jiff::Timestamp::from_millisecond(ms).ok(), quality: "unsynchronized" }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let off = Arc::new(Mutex::new(1_790_000_000_000));
    let (log, _) = Log::open(Options::new(dir.path()), 1, Stepped(Instant::now(), off.clone())).unwrap();
    log.flush(SOON).unwrap();
    for (entries, to) in (0..).zip([0, 2_147_483_647_000, 1_474_640_000_000, 1_790_000_000_000]) {
        *lock(&off) = to;
        // Within a second and a bit, without anybody asking.
        let until = Instant::now() + SOON;
        while log.status().entries == entries && Instant::now() < until {
            thread::yield_now();
        }
    }
    assert!(log.close(SOON));
    let steps: Vec<_> = verified(dir.path()).iter().map(|r| r["step_ms"].as_i64().unwrap()).collect();
    let expected =
        [-1_790_000_000_000i64, 2_147_483_647_000, 1_474_640_000_000 - 2_147_483_647_000, 315_360_000_000];
    assert!(
        steps.len() == 4 && steps.iter().zip(expected).all(|(step, expected)| (step - expected).abs() < 100),
        "{steps:?}"
    );
}
