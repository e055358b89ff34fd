//! Seals sessions under the key of their day, and opens those of one person.
//!
//! ```text
//! secret of the day ─HMAC─► "pseudonym", subject, category ─► 16 bytes that stand in the record
//!                   └─HMAC─► "key", subject, category       ─► the key that its sessions are sealed under
//! ```
//!
//! Whoever opens the records of one person and some categories needs nothing but the second line for these, and gets
//! nothing else: another person's record does not open under it, whatever a list says.
//!
//! The cipher is ChaCha20-Poly1305 (RFC 8439). A nonce is the number of the record under its day's key, which is never in two
//! processes; the key's name and the pseudonym are authenticated with it. What is sealed is padded to 256 bytes and multiples, so that its length doesn't
//! tell how many uploads there were. **What remains visible** is that some pseudonym had a session that ended then, and that two of one day, purpose,
//! category and person belong together.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use glassgate_policy::Category;
use jiff::Timestamp;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::keys::KeyId;
use crate::{Secret, hex};

/// What is sealed is padded to a multiple of this.
const PADDING: usize = 256;
/// Keys of subjects and categories that are kept at hand; of more, each is derived each time.
const AT_HAND: usize = 1 << 16;

/// A probable upload, as it is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadFact {
    /// When it ended.
    pub at: Option<Timestamp>,
    /// Its bytes, without headers.
    pub bytes: u64,
    /// How sure it is that it was one, per cent.
    pub confidence: u8,
}

/// What somebody did at a service in one visit. Facts, with how they are known; there is no field for what to think of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The category.
    pub category: String,
    /// Key of the service, if one is known.
    pub service: Option<String>,
    /// The first activity.
    pub begin: Option<Timestamp>,
    /// The last.
    pub end: Option<Timestamp>,
    /// Seconds of activity.
    pub active_s: u64,
    /// Flows.
    pub flows: u64,
    /// How the name of that flow is known whose name is known least well.
    pub evidence: Option<String>,
    /// Bytes on the wire from the client.
    pub bytes_toserver: u64,
    /// Bytes on the wire to the client.
    pub bytes_toclient: u64,
    /// Probable uploads.
    pub uploads: Vec<UploadFact>,
    /// Probable uploads beyond these.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_uploads: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A session as it stands in the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSession {
    /// The key that opens it.
    pub key: String,
    /// Whose it is, to who has the key: 32 hexadecimal digits.
    pub pseudonym: String,
    /// The facts, in Base64.
    pub sealed: String,
}

/// A key in memory.
#[derive(Debug)]
pub struct DayKey {
    id: KeyId,
    name: String,
    secret: Secret,
    sealed: u64,
    at_hand: HashMap<(String, Category), Derived>,
}

/// What is derived for one person and category.
#[derive(Clone)]
struct Derived {
    pseudonym: String,
    cipher: ChaCha20Poly1305,
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.pseudonym)
    }
}

impl DayKey {
    pub(crate) fn new(id: KeyId, secret: Secret) -> Self {
        Self { id, name: id.to_string(), secret, sealed: 0, at_hand: HashMap::new() }
    }

    /// Which it is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Seals what a subject did. `None` if it can't be: nothing may then be written of it.
    pub fn seal(&mut self, subject: &str, category: Category, facts: &Facts) -> Option<SealedSession> {
        let n = self.sealed;
        self.sealed = n.checked_add(1)?;
        let mut plain = serde_json::to_vec(facts).ok()?;
        plain.resize(plain.len().next_multiple_of(PADDING), b' ');
        let key = (subject.to_owned(), category);
        if !self.at_hand.contains_key(&key) {
            if self.at_hand.len() >= AT_HAND {
                self.at_hand.clear();
            }
            self.at_hand.insert(key.clone(), derive(&self.secret, subject, category));
        }
        let Derived { pseudonym, cipher } = self.at_hand.get(&key)?;
        let (nonce, aad) = (nonce(n), aad(&self.name, pseudonym));
        let sealed = cipher.encrypt(&nonce, Payload { msg: &plain, aad: &aad }).ok();
        zeroize::Zeroize::zeroize(&mut plain);
        let bytes = [&n.to_le_bytes()[..], &sealed?].concat();
        let (key, pseudonym) = (self.name.clone(), pseudonym.clone());
        Some(SealedSession { key, pseudonym, sealed: BASE64.encode(bytes) })
    }

    /// What opens the records of a subject in some categories under this key, and no others.
    pub fn opener(&self, subject: &str, categories: &[Category]) -> Opener {
        let derived = categories.iter().map(|category| (*category, derive(&self.secret, subject, *category)));
        Opener { key: self.name.clone(), derived: derived.collect() }
    }
}

/// Opens the records of one person, some categories, and one key.
#[derive(Debug)]
pub struct Opener {
    key: String,
    derived: Vec<(Category, Derived)>,
}

/// Why a record that should open does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is not what was sealed")]
pub struct NotSealed;

impl Opener {
    /// The key that it is for.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The facts of a record: `None` if it is of somebody else, of another category or under another key.
    pub fn open(&self, record: &SealedSession) -> Option<Result<Facts, NotSealed>> {
        let (category, Derived { pseudonym, cipher }) =
            self.derived.iter().find(|(_, derived)| derived.pseudonym == record.pseudonym)?;
        (record.key == self.key).then(|| {
            let bytes = BASE64.decode(&record.sealed).map_err(|_| NotSealed)?;
            let (n, sealed) = bytes.split_first_chunk().ok_or(NotSealed)?;
            let (nonce, aad) = (nonce(u64::from_le_bytes(*n)), aad(&self.key, pseudonym));
            let plain = cipher.decrypt(&nonce, Payload { msg: sealed, aad: &aad }).map_err(|_| NotSealed)?;
            let facts: Facts = serde_json::from_slice(&plain).map_err(|_| NotSealed)?;
            if facts.category == category.as_str() { Ok(facts) } else { Err(NotSealed) }
        })
    }
}

fn derive(secret: &Secret, subject: &str, category: Category) -> Derived {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
    let of = |what: &str| {
        // Each part but the last has its length in front, so that no two lists of parts are the same bytes.
        let mut context = hmac::Context::with_key(&key);
        for part in [what, category.as_str()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        context.update(subject.as_bytes());
        context.sign()
    };
    let pseudonym = of("glassgate-sealed-v1 pseudonym");
    let mut own = Key::default();
    own.iter_mut().zip(of("glassgate-sealed-v1 key").as_ref()).for_each(|(to, from)| *to = *from);
    let cipher = ChaCha20Poly1305::new(&own);
    zeroize::Zeroize::zeroize(&mut own[..]);
    Derived { pseudonym: hex(pseudonym.as_ref().get(..16).unwrap_or_default()), cipher }
}

fn nonce(n: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce.iter_mut().zip(n.to_le_bytes()).for_each(|(to, from)| *to = from);
    nonce
}

fn aad(key: &str, pseudonym: &str) -> Vec<u8> {
    ["glassgate session 1\n", key, "\n", pseudonym].concat().into_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::HashSet;

    fn key(n: u16) -> DayKey {
        let day = "2027-03-01".parse().unwrap();
        let id = KeyId { day, purpose: glassgate_policy::Purpose::Leak, n };
        DayKey::new(id, Secret([n as u8; 32]))
    }

    pub(crate) fn facts(uploads: usize) -> Facts {
        let upload = UploadFact { at: None, bytes: 300_000, confidence: 80 };
        Facts {
            category: "cloud_storage".to_owned(),
            service: Some("dropbox".to_owned()),
            begin: Some("2027-03-01T02:00:00Z".parse().unwrap()),
            end: None,
            active_s: 60,
            flows: 3,
            evidence: Some("sni".to_owned()),
            bytes_toserver: 310_000,
            bytes_toclient: 9000,
            uploads: vec![upload; uploads],
            more_uploads: 0,
        }
    }

    const CLOUD: Category = Category::CloudStorage;

    #[test]
    fn one_persons_records_open_and_nobody_elses() {
        let mut day = key(1);
        let record = day.seal("s.chen", CLOUD, &facts(1)).unwrap();
        let other = day.seal("l.wang", CLOUD, &facts(1)).unwrap();
        let opener = day.opener("s.chen", &[CLOUD]);
        assert_eq!(opener.open(&record), Some(Ok(facts(1))));
        assert_eq!(opener.open(&other), None);
        // Whoever swaps pseudonyms gets nothing either.
        let swapped = SealedSession { pseudonym: record.pseudonym.clone(), ..other };
        assert_eq!(opener.open(&swapped), Some(Err(NotSealed)));
        assert_eq!(day.opener("s.chen", &[Category::FileTransfer]).open(&record), None);
        assert_eq!(key(2).opener("s.chen", &[CLOUD]).open(&record), None);
        assert_eq!(key(1).opener("s.chen", &[CLOUD]).open(&record), Some(Ok(facts(1))));
        let renamed = SealedSession { key: "2027-03-01.leak.2".to_owned(), ..record.clone() };
        assert_eq!(opener.open(&renamed), None);
        for (at, _) in record.sealed.char_indices() {
            let mut text = record.sealed.clone().into_bytes();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            let changed = SealedSession { sealed: String::from_utf8(text).unwrap(), ..record.clone() };
            if changed != record {
                assert_eq!(opener.open(&changed), Some(Err(NotSealed)), "{at}");
            }
        }
    }

    #[test]
    fn records_say_nothing_but_their_pseudonym() {
        let mut day = key(1);
        let records: Vec<_> = (0..20).map(|n| day.seal("s.chen", CLOUD, &facts(n % 2)).unwrap()).collect();
        let bytes: HashSet<_> = records.iter().map(|r| r.sealed.clone()).collect();
        assert_eq!(bytes.len(), 20, "no two are the same");
        let lengths: HashSet<_> = records.iter().map(|r| r.sealed.len()).collect();
        // Number of the record and tag of the cipher besides.
        let whole = |length: &usize| (length * 3 / 4 - 8 - 16) / PADDING * PADDING + 24;
        assert!(
            lengths.iter().all(|length| (0..3).contains(&(length * 3 / 4 - whole(length)))),
            "{lengths:?}"
        );
        let pseudonym =
            |day: &mut DayKey, subject: &str| day.seal(subject, CLOUD, &facts(0)).unwrap().pseudonym;
        assert_eq!(pseudonym(&mut day, "s.chen"), records[0].pseudonym);
        assert_ne!(pseudonym(&mut key(2), "s.chen"), records[0].pseudonym, "it changes with the key");
        assert_ne!(pseudonym(&mut day, "l.wang"), records[0].pseudonym);
        let other = day.seal("s.chen", Category::FileTransfer, &facts(0)).unwrap();
        assert_ne!(other.pseudonym, records[0].pseudonym, "and with the category");
    }

    #[test]
    fn pseudonyms_can_not_be_looked_up_without_the_key() {
        // What somebody with the log and a list of all staff would try: hashes of names, plain and under guessed keys.
        let mut day = DayKey::new(key(1).id, Secret::random().unwrap());
        let names: Vec<String> = (0..1000).map(|n| format!("subject-{n}")).collect();
        let said: HashSet<String> =
            names.iter().map(|name| day.seal(name, CLOUD, &facts(0)).unwrap().pseudonym).collect();
        assert_eq!(said.len(), names.len());
        for name in &names {
            let plain = crate::digest("", &[name.as_bytes()]);
            let guessed = (0..=255).map(|n| derive(&Secret([n; 32]), name, CLOUD).pseudonym);
            let tries = guessed.chain([hex(&plain[..16])]);
            assert!(tries.into_iter().all(|tried| !said.contains(&tried)));
        }
    }
}
