use super::*;
use crate::holder::{new_identity, read_identity};
use glassgate_audit::disk::Folder;
use glassgate_audit::simulated::Memory;
use glassgate_policy::audit::WallQuality;
use glassgate_policy::charter::{Holder, PublicKey};

const DAY_NS: u64 = DAY_S * 1_000_000_000;
const START: &str = "2027-03-01T02:00:00Z";

fn now(days: f64) -> Now {
    at(
        days,
        &START
            .parse::<Timestamp>()
            .unwrap()
            .checked_add(SignedDuration::from_secs_f64(days * 86_400.0))
            .unwrap()
            .to_string(),
    )
}

fn at(days: f64, wall: &str) -> Now {
    let mono_ns = (days * DAY_NS as f64) as u64;
    Now { mono_ns, wall: wall.parse().ok(), quality: WallQuality::Synchronized }
}

/// Terms, and the texts of the holders' identities.
pub(crate) fn terms() -> (CaseTerms, [String; 3]) {
    let identities = [(); 3].map(|()| new_identity());
    let holder = |n: usize| Holder {
        role: CaseTerms::ROLES[n],
        name: format!("holder {n}"),
        key: PublicKey([n as u8; 32]),
        recipient: identities[n].1.clone(),
    };
    let terms = CaseTerms { holders: [holder(0), holder(1), holder(2)], tell_after_days: 30 };
    (terms, identities.map(|(secret, _)| secret))
}

fn disk(dir: &tempfile::TempDir) -> Arc<dyn Disk> {
    Arc::new(Folder::private(dir.path()).unwrap())
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn make(keys: &mut Keys, terms: &CaseTerms, on: &str, retention: u16, now: &Now) -> DayKey {
    keys.make((day(on), Purpose::Leak), terms, &[7; 32], retention, now).unwrap()
}

fn share(keys: &Keys, id: KeyId, n: usize, identity: &str) -> Option<Share> {
    let sealed = BASE64.decode(&keys.shares(id)?[n].sealed).ok()?;
    let bytes = age::decrypt(&read_identity(identity).unwrap(), &sealed).ok()?;
    Share::from_bytes(&bytes)
}

#[test]
fn what_was_sealed_opens_with_two_of_three_after_a_restart_and_not_without() {
    let dir = tempfile::tempdir().unwrap();
    let (terms, identities) = terms();
    let facts = crate::seal::tests::facts(1);
    let category = glassgate_policy::Category::CloudStorage;
    let mut keys = Keys::open(disk(&dir), BootId(1), &now(0.0)).unwrap();
    let mut key = make(&mut keys, &terms, "2027-03-01", 30, &now(0.0));
    let sealed = key.seal("s.chen", category, &facts).unwrap();
    let id = key.id();
    assert_eq!(id.to_string(), "2027-03-01.leak.1");
    drop((key, keys));
    let keys = Keys::open(disk(&dir), BootId(1), &now(1.0)).unwrap();
    // Nothing on disk opens it: neither by itself nor with somebody else's identity.
    let shares: Vec<Share> = (0..3).map(|n| share(&keys, id, n, &identities[n]).unwrap()).collect();
    assert!(share(&keys, id, 0, &identities[1]).is_none());
    for (i, j) in [(0, 1), (1, 2), (2, 0), (1, 0)] {
        let opened = keys.open_with(id, &shares[i], &shares[j]).unwrap();
        assert_eq!(opened.opener("s.chen", &[category]).open(&sealed), Some(Ok(facts.clone())));
    }
    for share in &shares {
        assert!(keys.open_with(id, share, share).is_none());
    }
    // Shares of another key make something, and it is known not to be this one.
    let mut keys = keys;
    let other = make(&mut keys, &terms, "2027-03-01", 30, &now(1.0));
    assert_eq!(other.id().n, 2, "the next of that day");
    let foreign = share(&keys, other.id(), 1, &identities[1]).unwrap();
    assert!(keys.open_with(id, &shares[0], &foreign).is_none());
}

#[test]
fn retention_ends_by_time_that_passed_and_what_is_left_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (terms, _) = terms();
    let mut keys = Keys::open(disk(&dir), BootId(1), &now(0.0)).unwrap();
    let id = make(&mut keys, &terms, "2027-03-01", 30, &now(0.0)).id();
    let later = make(&mut keys, &terms, "2027-03-11", 30, &now(10.0)).id();
    let path = dir.path().join("2027-03-01.leak.1.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(keys.due(&now(29.99)), []);
    assert_eq!(keys.due(&now(30.0)), [id]);
    // A second name for the file's data: what was in it is written over, not only unlinked.
    let witness = dir.path().join("witness");
    std::fs::hard_link(&path, &witness).unwrap();
    keys.destroy(id).unwrap();
    assert!(!path.exists() && keys.shares(id).is_none());
    let left = std::fs::read(&witness).unwrap();
    assert!(left.len() == text.len() && left.iter().all(|byte| *byte == 0));
    keys.destroy(id).unwrap();
    assert_eq!(keys.due(&now(40.1)), [later]);
    let reopened = Keys::open(disk(&dir), BootId(1), &now(31.0)).unwrap();
    assert_eq!(reopened.of(day("2027-01-01")..=day("2027-12-31"), Purpose::Leak), [later]);
}

#[test]
fn a_power_cut_while_a_key_is_destroyed_leaves_nothing_of_it() {
    let (terms, _) = terms();
    for seed in 0..40 {
        let memory = Memory::new(seed);
        let open = |at: f64| Keys::open(Arc::new(memory.folder("keys")), BootId(1), &now(at)).unwrap();
        let mut keys = open(0.0);
        let id = make(&mut keys, &terms, "2027-03-01", 30, &now(0.0)).id();
        memory.die_after(seed % 8);
        let done = keys.destroy(id).is_ok();
        memory.crash();
        let mut keys = open(0.0);
        assert!(keys.damaged().is_empty(), "{seed}: {:?}", keys.damaged());
        assert!(!done || keys.is_empty(), "{seed}");
        // It was destroyed, or is there whole and is destroyed now.
        keys.destroy(id).unwrap();
        let left: Vec<_> = memory.all().into_iter().map(|(path, _)| path).collect();
        assert!(left.iter().all(|path| path == "keys/elapsed.json"), "{seed}: {left:?}");
    }
}

#[test]
fn no_clock_alone_destroys_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let (terms, _) = terms();
    let mut keys = Keys::open(disk(&dir), BootId(1), &now(0.0)).unwrap();
    let id = make(&mut keys, &terms, "2027-03-01", 30, &now(0.0)).id();
    let walls =
        ["1970-01-01T00:00:10Z", "2038-01-19T03:14:08Z", "2037-03-01T02:00:00Z", "2017-03-01T02:00:00Z"];
    for (n, wall) in walls.iter().enumerate() {
        let then = at(0.1 * n as f64, wall);
        assert_eq!(keys.due(&then), [], "{wall}");
    }
    // Over starts as well.
    for boot in 2..5 {
        let then = at(0.01, "2037-03-01T02:00:00Z");
        keys = Keys::open(disk(&dir), BootId(boot), &then).unwrap();
        assert_eq!(keys.due(&then), [], "{boot}");
        keys.close(&then).unwrap();
    }
    // Somebody who says that it is right does.
    let then = at(0.5, "2037-03-01T02:00:00Z");
    assert_eq!(keys.due_by_the_clock(&then), [id]);
    assert!(keys.list(&then)[0].over_by_the_clock && keys.list(&then)[0].kept_days < 10);
}

#[test]
fn keys_are_bounded_and_files_that_mean_nothing_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let (terms, _) = terms();
    let mut keys = Keys::open(disk(&dir), BootId(1), &now(0.0)).unwrap();
    for n in 1..=MOST_A_DAY {
        assert_eq!(make(&mut keys, &terms, "2027-03-01", 30, &now(0.0)).id().n, n);
    }
    let more = keys.make((day("2027-03-01"), Purpose::Leak), &terms, &[7; 32], 30, &now(0.0));
    assert!(matches!(more, Err(MakeError::TooMany)));
    assert!(keys.make((day("2027-03-01"), Purpose::Conduct), &terms, &[7; 32], 30, &now(0.0)).is_ok());
    let first = dir.path().join("2027-03-01.leak.1.json");
    std::fs::write(&first, "{").unwrap();
    // Another key's file under the name of this one.
    std::fs::copy(dir.path().join("2027-03-01.leak.3.json"), dir.path().join("2027-03-01.leak.2.json"))
        .unwrap();
    let keys = Keys::open(disk(&dir), BootId(1), &now(0.0)).unwrap();
    assert_eq!(keys.damaged(), ["2027-03-01.leak.1.json", "2027-03-01.leak.2.json"]);
    assert_eq!(keys.len(), usize::from(MOST_A_DAY) - 2 + 1);
    assert!(first.exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.path().join("2027-03-01.leak.3.json")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn names_of_keys_are_written_in_one_way() {
    for good in ["2027-03-01.leak.1", "2027-12-31.recruitment.64"] {
        assert_eq!(KeyId::parse(good).unwrap().to_string(), good);
    }
    for bad in [
        "",
        "2027-03-01.leak",
        "2027-03-01.leak.01",
        "2027-3-1.leak.1",
        "2027-03-01.work.1",
        "2027-03-01.leak.1.x",
        "../x.leak.1",
    ] {
        assert_eq!(KeyId::parse(bad), None, "{bad}");
    }
}
