//! What somebody may do to a log afterwards, and what the verifier, which shares no code with the writer, says of it.

use glassgate_audit::checkpoint::Checkpoint;
use glassgate_audit::note::{Kind, Signer, Verifier};
use glassgate_audit::tiles::{encode_hashes, entries};
use glassgate_audit::{Clock, Log, Options, Stamp, merkle};
use glassgate_audit_verify::{Finding, Question, Verified, verify};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const AT: Stamp = Stamp { mono_ns: 5, wall: None, quality: "unknown" };
const SOON: Duration = Duration::from_secs(60);

struct Still;

impl Clock for Still {
    fn now(&self) -> Stamp {
        AT
    }
}

/// A clock that goes, for what is tried again after a time.
struct Runs(std::time::Instant);

impl Clock for Runs {
    fn now(&self) -> Stamp {
        Stamp { mono_ns: AT.mono_ns + self.0.elapsed().as_nanos() as u64, ..AT }
    }
}

fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Goes on with a log: records of these numbers, then a `stopped`.
fn grow(folder: &Path, records: impl IntoIterator<Item = u64>) {
    let options = Options { segment_bytes: 256 << 10, reserve_bytes: 256 << 10, ..Options::new(folder) };
    let (log, recovered) = Log::open(options, 1, Still).unwrap();
    assert_eq!(recovered.damaged, None);
    for n in records {
        assert!(log.append(&AT, format!("{{\"event_type\":\"said\",\"n\":{n}}}").as_bytes()));
    }
    log.append(&AT, b"{\"event_type\":\"stopped\"}");
    assert!(log.close(SOON));
}

fn copy(from: &Path) -> TempDir {
    let to = scratch();
    let status =
        std::process::Command::new("cp").arg("-r").arg(from.join(".")).arg(to.path()).status().unwrap();
    assert!(status.success());
    to
}

/// A log of three runs, what a witness signed after the second, and the key that the auditor has.
struct Scene {
    dir: TempDir,
    /// The log after its first run.
    first: TempDir,
    question: Question,
}

impl Scene {
    fn new() -> Self {
        let dir = scratch();
        grow(dir.path(), 0..100);
        let first = copy(dir.path());
        grow(dir.path(), 100..300);
        let note = fs::read_to_string(dir.path().join("checkpoint")).unwrap();
        let witness = Signer::from_seed("w.example", Kind::Cosignature, [9; 32]).unwrap();
        let text = note.split_inclusive("\n\n").next().unwrap().strip_suffix('\n').unwrap();
        let witnessed = format!("{note}{}", witness.sign(text, 1_700_000_000));
        grow(dir.path(), 300..600);
        let key = fs::read_to_string(dir.path().join("key.pub")).unwrap();
        let witness_key = Some(witness.verifier().to_string());
        Self { dir, first, question: Question { key: Some(key), witnessed: Some(witnessed), witness_key } }
    }

    /// With the witnessed checkpoint, and without.
    fn ask(&self, folder: &Path) -> [Result<Verified, Finding>; 2] {
        let without = Question { witnessed: None, witness_key: None, ..self.question.clone() };
        [verify(folder, &self.question), verify(folder, &without)]
    }

    /// A folder with nothing but the stolen key in it.
    fn stolen_key(&self) -> TempDir {
        let to = scratch();
        for file in ["key", "key.pub"] {
            fs::copy(self.dir.path().join(file), to.path().join(file)).unwrap();
        }
        to
    }

    fn altered(&self, change: impl FnOnce(&Path)) -> TempDir {
        let to = copy(self.dir.path());
        change(to.path());
        to
    }
}

fn bundle(folder: &Path, n: usize) -> (PathBuf, Vec<Vec<u8>>) {
    let path = folder.join(format!("tile/entries/{n:03}"));
    let found = entries(&fs::read(&path).unwrap()).map(|e| e.unwrap().to_vec()).collect();
    (path, found)
}

fn write_bundle(path: &Path, entries: &[Vec<u8>]) {
    let bytes: Vec<u8> =
        entries.iter().flat_map(|e| [&(e.len() as u16).to_be_bytes()[..], e].concat()).collect();
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_honest_log_verifies_and_continues_what_was_witnessed() {
    let scene = Scene::new();
    let [with, without] = scene.ask(scene.dir.path());
    let verified = with.unwrap();
    assert_eq!((verified.entries, verified.witnessed), (603, Some((302, Some(1_700_000_000)))));
    assert_eq!(without.unwrap().entries, 603);
}

/// Twelve attacks, of which the last five are made with the log's own key and can be seen only with a witness.
#[test]
fn each_attack_is_seen_and_those_that_need_a_witness_are_known() {
    let scene = Scene::new();
    let edit = |change: fn(&mut Vec<Vec<u8>>)| {
        scene.altered(|folder| {
            let (path, mut entries) = bundle(folder, 0);
            change(&mut entries);
            write_bundle(&path, &entries);
        })
    };
    let rebuilt = |runs: [Vec<u64>; 3]| {
        let folder = scene.stolen_key();
        runs.into_iter().for_each(|run| grow(folder.path(), run));
        folder
    };
    let change = |n: u64| if n == 5 { 5000 } else { n };
    let attacks: [(&str, TempDir, bool); 12] = [
        ("delete a record", edit(|e| _ = e.remove(7)), true),
        ("insert a record", edit(|e| e.insert(7, e[6].clone())), true),
        ("swap two records", edit(|e| e.swap(7, 8)), true),
        ("change a record, its hash, and every hash above", scene.altered(rehashed), true),
        (
            "take the oldest away as if for space",
            scene.altered(|f| {
                fs::remove_file(f.join("tile/entries/000")).unwrap();
                fs::remove_file(f.join("tile/0/000")).unwrap();
            }),
            true,
        ),
        (
            "cut the end off, and write a smaller size",
            scene.altered(|f| {
                let note = fs::read_to_string(f.join("checkpoint")).unwrap();
                fs::write(f.join("checkpoint"), note.replacen("\n603\n", "\n600\n", 1)).unwrap();
            }),
            true,
        ),
        (
            "begin anew with another key",
            scene.altered(|f| {
                fs::remove_dir_all(f.join("tile")).unwrap();
                fs::remove_dir_all(f.join("wal")).unwrap();
                ["key", "key.pub", "checkpoint"]
                    .iter()
                    .for_each(|file| fs::remove_file(f.join(file)).unwrap());
                grow(f, 0..600);
            }),
            true,
        ),
        ("put an older image of the disk back", copy(scene.first.path()), false),
        (
            "put an older image back and go on otherwise",
            {
                let folder = copy(scene.first.path());
                grow(folder.path(), 900..1400);
                folder
            },
            false,
        ),
        (
            "write the end anew",
            rebuilt([(0..100).collect(), (100..299).chain([7]).collect(), (300..600).collect()]),
            false,
        ),
        (
            "change a record and sign all of it again",
            rebuilt([(0..100).map(change).collect(), (100..300).collect(), (300..600).collect()]),
            false,
        ),
        (
            "delete a record and sign all of it again",
            rebuilt([(0..99).collect(), (100..300).collect(), (300..600).collect()]),
            false,
        ),
    ];
    for (attack, folder, without_witness) in &attacks {
        let [with, without] = scene.ask(folder.path());
        assert!(with.is_err(), "{attack}");
        assert_eq!(without.is_err(), *without_witness, "{attack}: {without:?}");
    }
    let positions =
        attacks.iter().take(5).map(|(_, folder, _)| scene.ask(folder.path())[0].clone().unwrap_err().entry);
    assert_eq!(positions.collect::<Vec<_>>(), [Some(7), Some(7), Some(7), Some(302), Some(0)]);
}

/// Changes record 7 and makes every tile fit.
fn rehashed(folder: &Path) {
    let (path, mut first) = bundle(folder, 0);
    let said = String::from_utf8(first[7].clone()).unwrap();
    first[7] = said.replace("\"n\":7", "\"n\":8").into_bytes();
    write_bundle(&path, &first);
    let hashes: Vec<_> = first.iter().map(|e| merkle::leaf_hash(e)).collect();
    fs::write(folder.join("tile/0/000"), encode_hashes(&hashes)).unwrap();
    let above = folder.join("tile/1/000.p/2");
    let mut bytes = fs::read(&above).unwrap();
    bytes[..32].copy_from_slice(&merkle::root_of(&hashes));
    fs::write(above, bytes).unwrap();
}

#[test]
fn every_bit_of_a_log_of_a_hundred_records_counts() {
    let dir = scratch();
    grow(dir.path(), 0..99);
    let key = fs::read_to_string(dir.path().join("key.pub")).unwrap();
    let question = Question { key: Some(key), ..Question::default() };
    assert_eq!(verify(dir.path(), &question).unwrap().entries, 100);
    let mut flipped = 0;
    for file in ["checkpoint", "key.pub", "tile/0/000.p/100", "tile/entries/000.p/100"] {
        let path = dir.path().join(file);
        let good = fs::read(&path).unwrap();
        // Which entry each byte of the bundle belongs to.
        let starts: Vec<usize> = entries(&good)
            .map_while(|e| e.ok())
            .scan(0, |at, e| Some(std::mem::replace(at, *at + 2 + e.len())))
            .collect();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bad).unwrap();
            let found = verify(dir.path(), &question).expect_err(file);
            let entry = match file {
                "tile/0/000.p/100" => Some((bit / 256) as u64),
                "tile/entries/000.p/100" => {
                    Some(starts.partition_point(|start| *start <= bit / 8) as u64 - 1)
                }
                _ => None,
            };
            assert!(!found.unreadable && found.entry == entry, "{file} bit {bit}: {found}");
            flipped += 1;
        }
        fs::write(&path, good).unwrap();
    }
    assert!(flipped > 80_000, "{flipped}");
}

/// The verifier is short enough to be read, and the writer's tests alone know both.
#[test]
fn the_verifier_is_small_and_shares_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("verify");
    let mut lines = 0;
    for file in ["src/lib.rs", "src/main.rs"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        lines += text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")).count();
    }
    assert!(lines <= 500, "{lines} lines");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("glassgate-audit ") && !manifest.contains("glassgate-policy"));
}

#[test]
fn steps_of_the_wall_clock_change_nothing_but_labels() {
    struct Jumping(std::sync::atomic::AtomicU64);
    impl Clock for Jumping {
        fn now(&self) -> Stamp {
            let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            stamp(n)
        }
    }
    fn stamp(n: u64) -> Stamp {
        // 1970, 2038, ten years back and forth.
        let wall =
            ["1970-01-01T00:00:00Z", "2038-01-19T03:14:08Z", "2036-11-22T00:00:00Z", "2016-11-22T00:00:00Z"];
        Stamp { mono_ns: n, wall: Some(wall[n as usize % 4].parse().unwrap()), quality: "unsynchronized" }
    }
    let dir = scratch();
    for run in 0..4 {
        let options = Options { tally: Some(dir.path().join("tally")), ..Options::new(dir.path()) };
        let (log, recovered) = Log::open(options, 1, Jumping(run.into())).unwrap();
        assert_eq!((recovered.damaged, recovered.unclean), (None, false));
        (0..100).for_each(|n| assert!(log.append(&stamp(run + n), b"{\"event_type\":\"said\"}")));
        log.act(&stamp(run), b"{\"event_type\":\"stopped\"}", SOON).unwrap();
        assert!(log.close(SOON));
    }
    let verified = verify(dir.path(), &Question::default()).unwrap();
    let all: Vec<_> = (0..verified.entries.div_ceil(256)).flat_map(|n| entries_of(dir.path(), n)).collect();
    let of = |kind: &str| all.iter().filter(|record| record["event_type"] == kind).count();
    assert_eq!((of("said"), of("stopped"), verified.gaps), (400, 4, 0));
    // At least from one run to the next.
    assert!(of("clock_step") >= 3 && of("clock_step") as u64 + 404 == verified.entries);
    let key = Verifier::parse(&fs::read_to_string(dir.path().join("key.pub")).unwrap()).unwrap();
    let note = fs::read_to_string(dir.path().join("checkpoint")).unwrap();
    assert_eq!(Checkpoint::open(&note, &key).unwrap().size, verified.entries);
}

/// The entries of a bundle, full or not.
fn entries_of(folder: &Path, index: u64) -> Vec<serde_json::Value> {
    let full = folder.join(format!("tile/entries/{index:03}"));
    let partial = fs::read_dir(full.with_extension("p")).ok().and_then(|mut dir| dir.next());
    let path = if full.exists() { full } else { partial.unwrap().unwrap().path() };
    entries(&fs::read(path).unwrap()).map(|entry| serde_json::from_slice(entry.unwrap()).unwrap()).collect()
}

#[test]
fn what_is_durable_and_not_signed_yet_is_looked_at_as_well() {
    let dir = scratch();
    let options = Options { segment_bytes: 256 << 10, reserve_bytes: 256 << 10, ..Options::new(dir.path()) };
    let (log, _) = Log::open(options, 1, Still).unwrap();
    let say = |n: u64| assert!(log.append(&AT, format!("{{\"event_type\":\"said\",\"n\":{n}}}").as_bytes()));
    (0..10).for_each(say);
    log.act(&AT, b"{\"event_type\":\"said\"}", SOON).unwrap();
    for n in 0..30 {
        say(n);
        log.flush(SOON).unwrap();
    }
    let question = Question::default();
    let found = verify(dir.path(), &question).unwrap();
    assert_eq!((found.entries, found.unsigned, found.torn), (11, 30, 0));
    let copy = copy(dir.path());
    let segment = copy.path().join("wal/00000001");
    let good = fs::read(&segment).unwrap();
    let end = good.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // Every byte of the last ten groups: each is seen, by what is there no more.
    let groups: Vec<usize> = (0..end - 4).filter(|at| good[*at..].starts_with(b"RPGG")).collect();
    for at in groups[groups.len() - 10]..end {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&segment, bad).unwrap();
        let hit = groups.iter().filter(|group| **group > at).count() as u64;
        let found = verify(copy.path(), &question).unwrap();
        // How many entries a group says it has, in four bytes and four that are zero, is hashed elsewhere: by their number.
        let said = groups.iter().any(|group| (16..24).contains(&at.wrapping_sub(*group)));
        assert!(said || found.unsigned == 29 - hit && found.torn > 0, "{at}: {found:?}");
    }
    // The segment that goes on from there is there no more.
    let mut bad = good.clone();
    bad[16] = 40;
    fs::write(&segment, bad).unwrap();
    assert_eq!(verify(copy.path(), &question).unwrap_err().path, "wal/00000001");
    assert!(log.close(SOON));
    assert_eq!(verify(dir.path(), &question).unwrap().unsigned, 0);
}

/// While it is written, checkpointed, and its oldest entries deleted.
#[test]
fn a_log_that_is_being_written_verifies() {
    let dir = scratch();
    let options = Options {
        segment_bytes: 256 << 10,
        reserve_bytes: 256 << 10,
        quota_bytes: 3 << 20,
        checkpoint_every: Duration::from_millis(1),
        group_delay: Duration::from_millis(1),
        ..Options::new(dir.path())
    };
    let (log, _) = Log::open(options, 1, Runs(std::time::Instant::now())).unwrap();
    log.act(&AT, b"{\"event_type\":\"said\"}", SOON).unwrap();
    let pad = "x".repeat(400);
    let (mut removed, mut n) = (0, 0);
    while removed < 4000 {
        for _ in 0..500 {
            n += 1;
            assert!(
                log.append(
                    &AT,
                    format!("{{\"event_type\":\"said\",\"n\":{n},\"pad\":\"{pad}\"}}").as_bytes()
                )
            );
        }
        removed = verify(dir.path(), &Question::default()).unwrap_or_else(|e| panic!("{n}: {e}")).removed;
        // Where the disk is slow to sync tiles nothing can be deleted yet, and the quota is used up for a moment.
        let began = std::time::Instant::now();
        while let Err(why) = log.flush(SOON) {
            assert!(why.to_string().contains("quota") && began.elapsed() < SOON, "{n}: {why}");
            std::thread::yield_now();
        }
    }
    assert!(log.close(SOON));
}
