use super::*;
use crate::audit::WallQuality;

const NOW: Now = Now { mono_ns: 1, wall: None, quality: WallQuality::Unknown };
const BOOT: BootId = BootId(1);

fn options(folder: &Path) -> FileLogOptions {
    FileLogOptions {
        segment_bytes: 1000,
        quota_bytes: 4000,
        pending_bytes: 2000,
        ..FileLogOptions::new(folder.join("log"))
    }
}

fn open(folder: &Path) -> (FileLog, Recovered) {
    open_with(options(folder), BOOT)
}

/// Another test may be starting a process: between fork and exec that one holds a lock that was just let go.
fn open_with(options: FileLogOptions, boot: BootId) -> (FileLog, Recovered) {
    loop {
        match FileLog::open(options.clone(), boot) {
            Err(OpenError::Locked(_)) => std::thread::yield_now(),
            other => return other.unwrap(),
        }
    }
}

fn started(log: &mut FileLog) {
    log.append(&NOW, &Record::Started { version: "1" });
}

fn lines(folder: &Path) -> Vec<serde_json::Value> {
    let mut out = Vec::new();
    for (number, _) in segments(&folder.join("log")).unwrap() {
        let text = fs::read_to_string(path_of(&folder.join("log"), number)).unwrap();
        assert!(text.ends_with('\n') || text.is_empty());
        out.extend(text.lines().map(|l| serde_json::from_str(l).unwrap()));
    }
    out
}

fn kinds(folder: &Path) -> Vec<String> {
    lines(folder).iter().map(|l| l["event_type"].as_str().unwrap().to_owned()).collect()
}

/// Every number is there once, or a gap record says how many are not.
fn assert_numbered(folder: &Path) {
    let lines = lines(folder);
    let mut seen: Vec<u64> = lines.iter().map(|l| l["seq"].as_u64().unwrap()).collect();
    seen.sort_unstable();
    seen.dedup();
    let missing = seen.last().unwrap() - seen.first().unwrap() + 1 - seen.len() as u64;
    let told: u64 = lines.iter().filter_map(|l| l["records"].as_u64()).sum();
    assert_eq!(missing, told, "{seen:?}");
}

#[test]
fn numbering_goes_on_within_a_boot_and_starts_anew_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, recovered) = open(folder.path());
    assert_eq!(recovered, Recovered::default());
    started(&mut log);
    log.append(&NOW, &Record::Stopped {});
    log.commit(&NOW).unwrap();
    assert_eq!(log.committed(), 2);
    drop(log);

    let (mut log, recovered) = open(folder.path());
    assert_eq!(recovered, Recovered { segments: 1, torn_bytes: 0, unclean: false });
    started(&mut log);
    log.commit(&NOW).unwrap();
    drop(log);
    assert_eq!(lines(folder.path())[2]["seq"], 2);

    let (mut log, recovered) = open_with(options(folder.path()), BootId(2));
    assert!(recovered.unclean);
    started(&mut log);
    log.commit(&NOW).unwrap();
    let last = lines(folder.path());
    assert_eq!((&last[3]["event_type"], &last[3]["cause"]), (&"gap".into(), &"unclean_end".into()));
    assert_eq!((&last[4]["seq"], &last[3]["seq"]), (&1.into(), &0.into()));
}

#[test]
fn two_writers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_log, _) = open(folder.path());
    assert!(matches!(FileLog::open(options(folder.path()), BOOT), Err(OpenError::Locked(_))));
}

#[test]
fn a_quota_of_less_than_two_segments_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let small = FileLogOptions { quota_bytes: 1999, ..options(folder.path()) };
    assert!(matches!(FileLog::open(small, BOOT), Err(OpenError::Quota { .. })));
}

#[test]
fn a_line_that_was_not_finished_is_cut_off_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    started(&mut log);
    log.commit(&NOW).unwrap();
    drop(log);
    let path = path_of(&folder.path().join("log"), 1);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"boot_id\":\"0\",\"se").unwrap();
    drop(file);

    let (mut log, recovered) = open(folder.path());
    assert_eq!(recovered.torn_bytes, 18);
    log.commit(&NOW).unwrap();
    let lines = lines(folder.path());
    assert_eq!((&lines[1]["cause"], &lines[1]["bytes"]), (&"torn_tail".into(), &18.into()));
    assert_eq!(kinds(folder.path()), ["started", "gap", "gap"]);
    assert_numbered(folder.path());
}

#[test]
fn segments_rotate_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    for _ in 0..100 {
        started(&mut log);
        log.commit(&NOW).unwrap();
        assert!(log.bytes() <= 4000, "{}", log.bytes());
    }
    let on_disk: u64 = segments(&folder.path().join("log")).unwrap().iter().map(|(_, b)| b).sum();
    assert_eq!(on_disk, log.bytes());
    let lines = lines(folder.path());
    assert!(lines[0]["seq"].as_u64().unwrap() > 0, "the oldest is gone");
    let removed = lines.iter().find(|l| l["event_type"] == "removed").unwrap();
    assert!(removed["segment"].as_str().unwrap().starts_with("audit-0000"));
    assert_numbered(folder.path());
}

#[test]
fn what_cannot_be_written_is_kept_then_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    started(&mut log);
    log.commit(&NOW).unwrap();

    // The folder goes away under the log, and a full segment forces it to make a new one.
    log.options.segment_bytes = 1;
    let (there, away) = (folder.path().join("log"), folder.path().join("away"));
    fs::rename(&there, &away).unwrap();
    for _ in 0..5 {
        started(&mut log);
        assert!(log.commit(&NOW).is_err());
    }
    assert_eq!(log.given_up(), 0, "five records fit what is kept");
    for _ in 0..40 {
        started(&mut log);
        let _ = log.commit(&NOW);
    }
    let given_up = log.given_up();
    assert!(given_up > 20);

    fs::rename(&away, &there).unwrap();
    log.options.segment_bytes = 1000;
    log.commit(&NOW).unwrap();
    started(&mut log);
    log.commit(&NOW).unwrap();
    let gaps: Vec<_> = lines(folder.path()).into_iter().filter(|l| l["event_type"] == "gap").collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!((&gaps[0]["cause"], &gaps[0]["records"]), (&"log_full".into(), &given_up.into()));
    assert!(gaps[0]["error"].as_str().unwrap().contains("No such file"));
    assert_eq!(kinds(folder.path()).iter().filter(|k| *k == "started").count() as u64, 47 - given_up);
    assert_numbered(folder.path());
}

/// A disk that is full, made of memory. Needs the right to mount, as the rest of the network tests do.
#[test]
fn a_full_disk_ends_no_line_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("log");
    fs::create_dir(&target).unwrap();
    let mount = |args: &[&str]| {
        std::process::Command::new("mount").args(args).arg(&target).output().is_ok_and(|o| o.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=8k", "none"]) {
        eprintln!("skipped: no right to mount");
        return;
    }
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(target.clone());
    let roomy = FileLogOptions {
        segment_bytes: 100_000,
        quota_bytes: 1_000_000,
        pending_bytes: 3000,
        folder: target.clone(),
    };
    let (mut log, _) = open_with(roomy, BOOT);
    let mut failed = 0;
    for _ in 0..200 {
        started(&mut log);
        failed += u32::from(log.commit(&NOW).is_err());
    }
    assert!(failed > 0 && log.given_up() > 0);
    assert!(!lines(folder.path()).is_empty());

    assert!(mount(&["-o", "remount,size=1m"]));
    log.commit(&NOW).unwrap();
    let told: u64 = lines(folder.path()).iter().filter_map(|l| l["records"].as_u64()).sum();
    assert_eq!(kinds(folder.path()).iter().filter(|k| *k == "started").count() as u64, 200 - told);
    assert_numbered(folder.path());
    assert!(told > 0);
}
