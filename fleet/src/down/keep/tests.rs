use super::*;
use glassgate_policy::SignatureTable;
use glassgate_policy::compile::{Options, compile};
use glassgate_policy::pack::{self, Info};
use glassgate_policy::source::Source;
use ring::signature::Ed25519KeyPair;
use tempfile::TempDir;

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn made(serial: u64, signer: u8) -> Vec<u8> {
    let text = format!(
        "service\tcategory\ttitle\tregion\nchess\tgames\tChess\tworld\n\
         name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
         chess{serial}.example\tsuffix\tchess\tgames\tsite\tstrong\tm\tCC0-1.0\t2026-11-21\n"
    );
    let source = Source::parse("s", text.as_bytes()).unwrap();
    let table = SignatureTable::from_bytes(&compile(&[source], &Options::default()).unwrap().bytes).unwrap();
    let mut bytes = pack::build(&table, &Info { serial, ..Info::default() });
    pack::sign(&mut bytes, &key(signer)).unwrap();
    bytes
}

struct Box {
    dir: TempDir,
    down: Down,
}

impl Box {
    /// With pack 5 in place, and a gateway that takes all of them.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let trusted =
            format!("ed25519:{}", PublicKey::of(&key(1)).to_string().trim_start_matches("ed25519:"));
        let down = Down {
            pack: dir.path().join("site.pack"),
            trusted_keys: vec![trusted],
            floor: 0,
            reload: vec!["/bin/true".to_owned()],
            ask_s: 60,
            trial_h: 168,
        };
        fs::write(&down.pack, made(5, 1)).unwrap();
        Self { dir, down }
    }

    fn keeper(&self) -> Keeper {
        Keeper::new(&self.down, &self.dir.path().join("down.json")).unwrap()
    }

    fn serial(&self) -> u64 {
        self.keeper().held().unwrap().serial
    }

    fn take(&self, bytes: &[u8]) -> Result<(), Why> {
        self.keeper().take(bytes, &Digest::of(bytes), 1, 1000).unwrap()
    }
}

#[test]
fn a_signed_pack_that_is_newer_takes_the_place_and_can_be_put_back() {
    let at = Box::new();
    let new = made(6, 1);
    assert!(at.keeper().wants(&Digest::of(&new), 1));
    at.take(&new).unwrap();
    assert_eq!(at.serial(), 6);
    assert!(!at.keeper().wants(&Digest::of(&new), 1));
    // Another one is not what is on trial.
    assert!(!at.keeper().back(&Digest::of(b"other"), 1001).unwrap());
    assert!(at.keeper().back(&Digest::of(&new), 1001).unwrap());
    assert_eq!(at.serial(), 5);
    // Once: it is not there any more.
    assert!(!at.keeper().back(&Digest::of(&new), 1001).unwrap());
}

#[test]
fn after_the_trial_nothing_is_put_back() {
    let at = Box::new();
    let new = made(6, 1);
    at.take(&new).unwrap();
    assert!(!at.keeper().back(&Digest::of(&new), 1000 + 168 * 3600 + 1).unwrap());
    assert_eq!(at.serial(), 6);
}

#[test]
fn what_the_keys_did_not_sign_is_refused_and_nothing_changes() {
    let at = Box::new();
    let good = made(6, 1);
    let other = made(7, 1);
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let mut unsigned = good.clone();
    unsigned[40..48].fill(0);
    for (bytes, why) in [
        (made(6, 2), Why::Signature),
        (unsigned, Why::Signature),
        (changed, Why::Form),
        (good[..good.len() - 1].to_vec(), Why::Form),
        (vec![], Why::Form),
        (made(5, 1), Why::Serial),
        (made(4, 1), Why::Serial),
    ] {
        let digest = Digest::of(&bytes);
        assert_eq!(at.take(&bytes), Err(why), "{} bytes", bytes.len());
        assert_eq!(at.serial(), 5);
        assert_eq!(at.keeper().refused().unwrap(), &Refusal { pack: digest.clone(), attempt: 1, why });
        // Remembered, also by the next process: only another attempt is worth the bytes.
        assert!(!at.keeper().wants(&digest, 1) && (at.keeper().wants(&digest, 2) || why == Why::Serial));
    }
    // Good bytes under another name.
    assert_eq!(at.keeper().take(&good, &Digest::of(&other), 1, 1000).unwrap(), Err(Why::Digest));
    assert_eq!(at.serial(), 5);
}

#[test]
fn a_pack_that_the_gateway_does_not_take_gives_way_to_the_one_before() {
    let mut at = Box::new();
    let new = made(6, 1);
    // It reads what is in place, as the gateway does: the one before is good.
    let file = at.down.pack.display().to_string();
    let before = Digest::of(&fs::read(&at.down.pack).unwrap());
    at.down.reload =
        ["/bin/sh", "-c", &format!("sha256sum {file} | grep -q {before}")].map(str::to_owned).to_vec();
    assert_eq!(at.take(&new), Err(Why::Gateway));
    assert_eq!(at.serial(), 5);
    assert_eq!(at.keeper().refused().unwrap().why, Why::Gateway);
    // With nothing before it, nothing is left.
    fs::remove_file(&at.down.pack).unwrap();
    assert_eq!(at.take(&new), Err(Why::Gateway));
    assert_eq!(at.keeper().held(), None);
}

/// A process that ends after the file took the place and before the gateway was asked.
#[test]
fn what_was_begun_is_ended_by_the_next_process() {
    for (reload, expected) in [("/bin/true", 6), ("/bin/false", 5)] {
        let mut at = Box::new();
        let new = made(6, 1);
        let mut keeper = at.keeper();
        let before = fs::read(&at.down.pack).unwrap();
        put(&keeper.beside(), &before).unwrap();
        let before = Some(Digest::of(&before));
        keeper.memory.trial = Some(Trial { pack: Digest::of(&new), before, at: 1000 });
        keeper.memory.pending = Some(1);
        keeper.save().unwrap();
        put(&at.down.pack, &new).unwrap();
        drop(keeper);
        at.down.reload = vec![reload.to_owned()];
        assert_eq!(at.keeper().finish().unwrap().is_ok(), expected == 6);
        assert_eq!(at.serial(), expected);
        // And that was all.
        assert_eq!(at.keeper().finish().unwrap(), Ok(()));
    }
}

#[test]
fn a_disk_without_room_leaves_the_pack_in_place() {
    let mut at = Box::new();
    let new = made(6, 1);
    // The folder beside takes no further file: what can't be written is not begun.
    fs::create_dir(at.dir.path().join("site.pack.before.new")).unwrap();
    let mut keeper = at.keeper();
    assert!(keeper.take(&new, &Digest::of(&new), 1, 1000).is_err());
    assert_eq!(at.serial(), 5);
    fs::remove_dir(at.dir.path().join("site.pack.before.new")).unwrap();
    fs::create_dir(at.dir.path().join("site.pack.new")).unwrap();
    assert!(at.keeper().take(&new, &Digest::of(&new), 1, 1000).is_err());
    assert_eq!(at.serial(), 5);
    // Once there is room it goes on.
    fs::remove_dir(at.dir.path().join("site.pack.new")).unwrap();
    at.down.reload = vec!["/bin/true".to_owned()];
    assert_eq!(at.keeper().finish().unwrap(), Ok(()));
    at.take(&new).unwrap();
    assert_eq!(at.serial(), 6);
}

#[test]
fn a_box_without_keys_does_not_start() {
    let mut at = Box::new();
    at.down.trusted_keys.clear();
    assert!(Keeper::new(&at.down, &at.dir.path().join("down.json")).is_err());
    at.down.trusted_keys = vec!["ed25519:00".to_owned()];
    assert!(Keeper::new(&at.down, &at.dir.path().join("down.json")).is_err());
}
