use super::*;
use crate::compile::{Options, compile};
use crate::source::Source;
use crate::{Name, builtin};
use proptest::prelude::*;
use std::sync::OnceLock;

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn trusted() -> Vec<PublicKey> {
    [3, 1].map(|seed| PublicKey::of(&key(seed))).to_vec()
}

fn info() -> Info {
    Info { created: 1_795_000_000, serial: 7, publisher: "Acme 网关".to_owned(), ..Info::default() }
}

fn small_table() -> SignatureTable {
    let text = "service\tcategory\ttitle\tregion\nchess\tgames\tChess\tworld\n\
                name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
                chess.example\tsuffix\tchess\tgames\tsite\tstrong\tm\tCC0-1.0\t2026-11-21\n";
    let source = Source::parse("s", text.as_bytes()).unwrap();
    SignatureTable::from_bytes(&compile(&[source], &Options::default()).unwrap().bytes).unwrap()
}

/// A signed pack of few bytes.
fn pack() -> Vec<u8> {
    static PACK: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let mut pack = build(&small_table(), &info());
        sign(&mut pack, &key(1)).unwrap();
        pack
    };
    PACK.get_or_init(make).clone()
}

fn open(bytes: Vec<u8>) -> Result<Pack, BadPack> {
    Pack::open(Arc::new(bytes), &trusted(), 0)
}

#[test]
fn what_is_signed_is_read_back() {
    let table = builtin::table().unwrap();
    let mut bytes = build(&table, &info());
    assert_eq!(open(bytes.clone()).unwrap_err(), BadPack::Unsigned);
    let id = sign(&mut bytes, &key(1)).unwrap();
    let pack = open(bytes).unwrap();
    pack.verify().unwrap();
    assert_eq!(*pack.info(), Info { key: id, table: table.hash(), ..info() });
    let name = Name::from_wire(b"www.zhipin.com").unwrap();
    assert_eq!(pack.table().lookup(&name), table.lookup(&name));
    assert!(table.lookup(&name).is_some());
}

#[test]
fn keys_are_written_as_they_are_read() {
    let key = PublicKey::of(&key(1));
    assert_eq!(PublicKey::from_text(&key.to_string()), Some(key));
    assert_eq!(key.id().to_string().len(), 16);
    let text = key.to_string();
    for bad in
        ["", "ed25519:", &text[8..], &text[..71], &format!("{text}0"), &text.replace(':', "-"), "ed25519:+1é"]
    {
        assert_eq!(PublicKey::from_text(bad), None, "{bad}");
    }
}

#[test]
fn only_trusted_keys_count() {
    let mut bytes = pack();
    let other = sign(&mut bytes, &key(2)).unwrap();
    assert_eq!(open(bytes.clone()).unwrap_err(), BadPack::UnknownKey(other));
    // Signed with another key, under the name of a trusted one.
    put(&mut bytes, 40, &PublicKey::of(&key(1)).id().0);
    assert_eq!(open(bytes).unwrap_err(), BadPack::Signature);
    assert!(matches!(Pack::open(Arc::new(pack()), &[], 0), Err(BadPack::UnknownKey(_))));
}

#[test]
fn packs_for_newer_programs_and_old_packs_are_refused() {
    let [major, minor, patch] = this_version();
    let signed = |info: &Info| {
        let mut bytes = build(&small_table(), info);
        sign(&mut bytes, &key(1)).unwrap();
        Arc::new(bytes)
    };
    let needs = |needs| Pack::open(signed(&Info { needs, ..info() }), &trusted(), 0).err();
    assert_eq!(needs([major, minor, patch]), None);
    assert_eq!(needs([major, minor, patch + 1]), Some(BadPack::Needs([major, minor, patch + 1])));
    assert!(needs([major + 1, 0, 0]).is_some());
    let serial = |floor| Pack::open(signed(&info()), &trusted(), floor).err();
    assert_eq!(serial(7), None);
    assert_eq!(serial(8), Some(BadPack::Serial { found: 7, floor: 8 }));
}

/// Each flipped bit is noticed: in the header when the pack is opened, in the table when it is verified.
#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let good = pack();
    for at in 0..good.len() {
        for bit in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            let outcome = open(bad).and_then(|pack| pack.verify());
            assert!(outcome.is_err(), "byte {at}");
            if at < HEADER {
                assert!(!matches!(outcome, Err(BadPack::Table(_))), "byte {at}: {outcome:?}");
            }
        }
        assert!(open(good[..at].to_vec()).is_err(), "cut at {at}");
    }
    let mut longer = good;
    longer.push(0);
    assert!(matches!(open(longer), Err(BadPack::Length { .. })));
}

fn use_it(bytes: Vec<u8>) {
    let Ok(pack) = Pack::look(Arc::new(bytes)) else { return };
    let verified = pack.verify().is_ok();
    for name in ["chess.example", "www.chess.example", "example", "a.b.c.d.e.f.g"] {
        let name = Name::from_wire(name.as_bytes()).unwrap();
        let found = pack.table().lookup(&name);
        let mut batch = [None];
        pack.table().lookup_batch(&[&name], &mut batch);
        assert_eq!(batch[0], found);
        if let Some(found) = found {
            let known =
                pack.table().service(found.service).is_some() && pack.table().entry(found.entry).is_some();
            assert!(known || !verified);
        }
    }
    let _ = pack.table().services().count();
}

proptest! {
    /// Signed or not, damaged or made up: whatever opens can be used without harm.
    #[test]
    fn hostile_packs_do_no_harm(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16), cut in 0usize..64) {
        let mut bytes = pack();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut >= 32 {
            bytes.truncate(bytes.len() - (cut - 32));
            let len = bytes.len() as u64;
            put(&mut bytes, 8, &len.to_le_bytes());
            put(&mut bytes, HEADER + 8, &(len - HEADER as u64).to_le_bytes());
        }
        // As if a trusted publisher had signed it.
        if let Some(tail) = bytes.last_chunk::<32>().copied() {
            put(&mut bytes, 48, &tail);
        }
        let mut signed = bytes.clone();
        if sign(&mut signed, &key(1)).is_ok() {
            let _ = open(signed);
        }
        use_it(bytes);
    }

    #[test]
    fn random_bytes_are_no_pack(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
        prop_assert!(Pack::look(Arc::new(bytes)).is_err());
    }
}
