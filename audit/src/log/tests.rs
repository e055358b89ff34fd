use super::*;
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
