//! Signed notes (C2SP `signed-note`) with Ed25519, and the cosignatures of witnesses (C2SP `tlog-cosignature`).
//!
//! ```text
//! text, ending in a newline
//!
//! — <key name> <base64 of key id and signature>
//! ```
//!
//! Notes come from outside as well. Reading one never panics and takes no more than [`MAX_NOTE`] bytes and
//! [`MAX_SIGNATURES`] signatures.

use crate::merkle::digest_of;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// Longest note that is read.
pub const MAX_NOTE: usize = 64 << 10;
/// Most signatures that a note may have.
pub const MAX_SIGNATURES: usize = 64;

/// What a signature states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Plain Ed25519 over the text: how a log signs.
    Ed25519 = 1,
    /// With the time at which a witness signs.
    Cosignature = 4,
}

/// Why a key can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It does not have the three parts.
    #[error("a key is written name+id+base64")]
    Form,
    /// The name is empty or has spaces or plus signs.
    #[error("the name of a key is not empty and has neither spaces nor plus signs")]
    Name,
    /// Its kind is not one of those known here.
    #[error("the key is of a kind that is not known here")]
    Kind,
    /// Its id does not follow from name and key.
    #[error("the id of the key does not belong to its name and its bytes")]
    Id,
}

/// Why a note can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not UTF-8, too long, control characters, no blank line, a line that is no signature.
    #[error("not a signed note")]
    Form,
    /// Nobody signed it whose key is known.
    #[error("not signed by the key {0}", .name)]
    Unsigned {
        /// Whose signature is missing; a static text, since keys are named by whoever asks.
        name: &'static str,
    },
    /// A signature of a known key is wrong.
    #[error("the signature is wrong")]
    Wrong,
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn id_of(name: &str, kind: Kind, public: &[u8; 32]) -> u32 {
    let hash = digest_of(&[name.as_bytes(), b"\n", &[kind as u8], public]);
    let [a, b, c, d, ..] = hash;
    u32::from_be_bytes([a, b, c, d])
}

/// A public key with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: u32,
    kind: Kind,
    public: [u8; 32],
}

impl Verifier {
    /// A key of 32 bytes (RFC 8032).
    pub fn new(name: &str, kind: Kind, public: [u8; 32]) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        Ok(Self { name: name.to_owned(), id: id_of(name, kind, &public), kind, public })
    }

    /// From its written form, `name+id+base64`: the "vkey" of signed-note.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, kind, public) = parse_key(text)?;
        let key = Self::new(name, kind, public)?;
        if key.id == id { Ok(key) } else { Err(KeyError::Id) }
    }

    /// Its name; a log's is its origin line.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// What its signatures state.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a note has a good signature of this key, and for a cosignature the time in it (seconds since 1970).
    pub fn verify(&self, note: &Note<'_>) -> Result<Option<u64>, NoteError> {
        let mut found = Err(NoteError::Unsigned { name: "that is asked for" });
        for signature in note.signatures.iter().filter(|s| s.name == self.name && s.id == self.id) {
            found = Ok(self.check(note.text, &signature.bytes)?);
        }
        found
    }

    fn check(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, NoteError> {
        let key = UnparsedPublicKey::new(&ED25519, self.public);
        match self.kind {
            Kind::Ed25519 => {
                key.verify(text.as_bytes(), signature).map_err(|_| NoteError::Wrong)?;
                Ok(None)
            }
            Kind::Cosignature => {
                let (time, signature) = signature.split_first_chunk::<8>().ok_or(NoteError::Wrong)?;
                let time = u64::from_be_bytes(*time);
                key.verify(cosigned(time, text).as_bytes(), signature).map_err(|_| NoteError::Wrong)?;
                Ok(Some(time))
            }
        }
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id, encode_key(self.kind, &self.public))
    }
}

fn encode_key(kind: Kind, key: &[u8; 32]) -> String {
    let mut bytes = vec![kind as u8];
    bytes.extend_from_slice(key);
    BASE64.encode(bytes)
}

/// The three parts, the last of which may have plus signs of its own.
fn parse_key(text: &str) -> Result<(&str, u32, Kind, [u8; 32]), KeyError> {
    let mut parts = text.trim().splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Form);
    };
    if !is_name(name) {
        return Err(KeyError::Name);
    }
    let id = if id.len() == 8 { u32::from_str_radix(id, 16).ok() } else { None };
    let bytes = BASE64.decode(key).ok();
    let (Some(id), Some(bytes)) = (id, bytes) else { return Err(KeyError::Form) };
    let Some((kind, key)) = bytes.split_first() else { return Err(KeyError::Form) };
    let kind = match kind {
        1 => Kind::Ed25519,
        4 => Kind::Cosignature,
        _ => return Err(KeyError::Kind),
    };
    Ok((name, id, kind, key.try_into().map_err(|_| KeyError::Form)?))
}

/// What a witness signs.
fn cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// A private key with its name.
pub struct Signer {
    verifier: Verifier,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl Signer {
    /// From 32 bytes that nobody can guess.
    pub fn from_seed(name: &str, kind: Kind, seed: [u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Form)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Form)?;
        Ok(Self { verifier: Verifier::new(name, kind, public)?, seed, pair })
    }

    /// The key of 32 bytes that belongs to a seed.
    pub fn public_of(seed: &[u8; 32]) -> Result<[u8; 32], KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Form)?;
        pair.public_key().as_ref().try_into().map_err(|_| KeyError::Form)
    }

    /// From its written form, `PRIVATE+KEY+name+id+base64`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, kind, seed) = parse_key(text.trim().strip_prefix(PRIVATE).ok_or(KeyError::Form)?)?;
        let key = Self::from_seed(name, kind, seed)?;
        if key.verifier.id == id { Ok(key) } else { Err(KeyError::Id) }
    }

    /// Its written form. Whoever has it can sign.
    pub fn to_secret_text(&self) -> String {
        let Verifier { name, id, kind, .. } = &self.verifier;
        format!("{PRIVATE}{name}+{id:08x}+{}", encode_key(*kind, &self.seed))
    }

    /// The public key.
    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The signature line of a text; `time` (seconds since 1970) stands in cosignatures alone.
    pub fn sign(&self, text: &str, time: u64) -> String {
        let mut bytes = self.verifier.id.to_be_bytes().to_vec();
        match self.verifier.kind {
            Kind::Ed25519 => bytes.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref()),
            Kind::Cosignature => {
                bytes.extend_from_slice(&time.to_be_bytes());
                bytes.extend_from_slice(self.pair.sign(cosigned(time, text).as_bytes()).as_ref());
            }
        }
        format!("— {} {}\n", self.verifier.name, BASE64.encode(bytes))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

const PRIVATE: &str = "PRIVATE+KEY+";

/// One signature of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Name of the key.
    pub name: &'a str,
    /// Its id.
    pub id: u32,
    /// What follows the id.
    pub bytes: Vec<u8>,
}

/// A note that was read. Nothing in it is to be believed before [`Verifier::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// What is signed, with its last newline.
    pub text: &'a str,
    /// By whom.
    pub signatures: Vec<Signature<'a>>,
}

impl<'a> Note<'a> {
    /// Reads a note; checks its form alone.
    pub fn parse(note: &'a str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE || note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Form);
        }
        let end = note.rfind("\n\n").ok_or(NoteError::Form)? + 1;
        let (text, rest) = note.split_at_checked(end).ok_or(NoteError::Form)?;
        let signatures = parse_signatures(rest.strip_prefix('\n').ok_or(NoteError::Form)?)?;
        Ok(Self { text, signatures })
    }
}

/// Reads signature lines: one at least, each whole.
pub fn parse_signatures(lines: &str) -> Result<Vec<Signature<'_>>, NoteError> {
    let lines = lines.strip_suffix('\n').ok_or(NoteError::Form)?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        let (name, base64) =
            line.strip_prefix("— ").and_then(|l| l.split_once(' ')).ok_or(NoteError::Form)?;
        let bytes = BASE64.decode(base64).map_err(|_| NoteError::Form)?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(NoteError::Form)?;
        if !is_name(name) || bytes.is_empty() || signatures.len() == MAX_SIGNATURES {
            return Err(NoteError::Form);
        }
        signatures.push(Signature { name, id: u32::from_be_bytes(*id), bytes: bytes.to_vec() });
    }
    Ok(signatures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_specification_of_notes_in_go_verifies() {
        // From the documentation of golang.org/x/mod/sumdb/note.
        let key =
            Verifier::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let note = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n\n\
                    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        assert_eq!(key.verify(&Note::parse(note).unwrap()), Ok(None));
        let changed = note.replace("your", "mine");
        assert_eq!(key.verify(&Note::parse(&changed).unwrap()), Err(NoteError::Wrong));
        assert_eq!(key.to_string(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
    }

    #[test]
    fn keys_go_through_their_written_form() {
        for kind in [Kind::Ed25519, Kind::Cosignature] {
            let key = Signer::from_seed("example.com/a", kind, [7; 32]).unwrap();
            let again = Signer::parse(&key.to_secret_text()).unwrap();
            assert_eq!(again.verifier(), key.verifier());
            assert_eq!(Verifier::parse(&key.verifier().to_string()).as_ref(), Ok(key.verifier()));
            let note = format!("a\n\nb\n\n{}", key.sign("a\n\nb\n", 77));
            let note = Note::parse(&note).unwrap();
            let time = (kind == Kind::Cosignature).then_some(77);
            assert_eq!(key.verifier().verify(&note), Ok(time));
        }
        let key = Signer::from_seed("a", Kind::Ed25519, [7; 32]).unwrap();
        let text = key.verifier().to_string();
        assert_eq!(Verifier::parse(&text.replacen('a', "b", 1)), Err(KeyError::Id));
        assert_eq!(Verifier::parse("a+b"), Err(KeyError::Form));
        assert_eq!(Verifier::new("a b", Kind::Ed25519, [0; 32]), Err(KeyError::Name));
        assert!(!format!("{key:?}").contains("seed"));
    }

    proptest! {
        #[test]
        fn hostile_notes_do_no_harm(text in ".{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let key = Signer::from_seed("a", Kind::Cosignature, [7; 32]).unwrap();
            let line = format!("— a {}\n", BASE64.encode(&bytes));
            let note = format!("{text}\n\n{line}");
            if let Ok(note) = Note::parse(&note) {
                prop_assert!(key.verifier().verify(&note).is_err());
            }
            _ = Note::parse(&text);
            _ = Verifier::parse(&text);
        }
    }
}
