//! What box and witness say to each other, and what a witness says to the hub. Each is read with the type that wrote it, and has to be byte for byte what that writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use glassgate_audit::checkpoint::Checkpoint;
use glassgate_audit::merkle::{Hash, MAX_PROOF};
use glassgate_audit::note::{Kind, Note, Verifier};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Ring;
use crate::up::{CheckpointMessage, MAX_NAME, Refused, VERSION};
use crate::words::{LogId, Site};

/// The longest ask that is read: proofs from eight sizes, each of 63 hashes, and a checkpoint.
pub const MAX_ASK: usize = 40 << 10;
/// The longest answer that is read.
pub const MAX_ANSWER: usize = 2 << 10;

/// A hash of a proof, in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashWord(pub Hash);

impl Serialize for HashWord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for HashWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        hash.map(Self).ok_or_else(|| D::Error::custom("not a hash"))
    }
}

/// That a checkpoint continues the log from a size on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The size.
    pub old: u64,
    /// The consistency proof (RFC 6962, 2.1.2): hashes of entries and of what lies over them.
    pub hashes: Vec<HashWord>,
}

/// A box asks its witnesses to cosign a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// [`VERSION`].
    pub v: u32,
    /// Whose log.
    pub site: Site,
    /// Which log: that of this key.
    pub log: LogId,
    /// The public key of the log.
    pub key: String,
    /// The checkpoint, signed.
    pub note: String,
    /// From each size that a witness remembers, as far as the box knows.
    pub proofs: Vec<Proof>,
}

/// Why a witness does not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It signed another root for this size.
    Fork,
    /// The proof does not show that the checkpoint continues what it signed.
    Unproven,
    /// It signed more entries than the checkpoint has, and the log shows no more for a minute.
    Shorter,
    /// It remembers as many logs of this site as it can.
    Logs,
}

impl Why {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Unproven => "unproven",
            Self::Shorter => "shorter",
            Self::Logs => "logs",
        }
    }

    /// For people.
    pub const fn explained(self) -> &'static str {
        match self {
            Self::Fork => "the log has signed another past of the same size",
            Self::Unproven => "the log is longer now, and not shown to continue what was cosigned",
            Self::Shorter => "the log has signed fewer entries than were cosigned",
            Self::Logs => "the site has begun more logs than a witness remembers",
        }
    }
}

/// What a witness says to an ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Its cosignature: a line of a note.
    Cosigned(String),
    /// It remembers another size than those that there was a proof from, or a greater one than the checkpoint has.
    Remembers,
    /// It does not sign.
    Refused(Why),
}

/// A witness answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`VERSION`].
    pub v: u32,
    /// The witness.
    pub site: Site,
    /// Whose log.
    pub of: Site,
    /// Which log.
    pub log: LogId,
    /// The public key of the witness.
    pub key: String,
    /// The size that it remembers.
    pub size: u64,
    /// What it says.
    pub said: Word,
}

/// A witness tells the hub what it signed or refused. Its subject is `gg.WITNESS.up.witness`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub v: u32,
    /// The witness.
    pub site: Site,
    /// Whose log.
    pub of: Site,
    /// Which log.
    pub log: LogId,
    /// The public key of the log.
    pub log_key: String,
    /// The public key of the witness.
    pub key: String,
    /// The size that it remembers.
    pub size: u64,
    /// Why it refused; none if it signed.
    pub why: Option<Why>,
    /// The checkpoint with the signature of the log, and of the witness if it signed.
    pub note: String,
}

fn bytes(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

/// Reads what was written by the same type; anything else in it makes it none.
fn read<T: Serialize + DeserializeOwned>(text: &[u8], max: usize) -> Result<T, Refused> {
    if text.len() > max {
        return Err(Refused::Length);
    }
    let message: T = serde_json::from_slice(text).map_err(|_| Refused::Form)?;
    if bytes(&message) == text { Ok(message) } else { Err(Refused::Form) }
}

/// The key of a witness, as messages write it.
pub(super) fn witness_key(text: &str) -> Result<Verifier, Refused> {
    let key = Verifier::parse(text).map_err(|_| Refused::Signature)?;
    let is_its = key.kind() == Kind::Cosignature && key.to_string() == text && key.name().len() <= MAX_NAME;
    if is_its { Ok(key) } else { Err(Refused::Signature) }
}

impl Ask {
    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        bytes(self)
    }

    /// Reads one that came on the subject of `site`; what it says is signed by the key of the log. Gives what the checkpoint says.
    pub fn read(site: &Site, text: &[u8]) -> Result<(Self, Checkpoint), Refused> {
        let ask: Self = read(text, MAX_ASK)?;
        let long = |proof: &Proof| proof.hashes.len() > MAX_PROOF;
        match () {
            () if ask.v != VERSION => return Err(Refused::Version),
            () if ask.site != *site => return Err(Refused::Site),
            () if ask.proofs.len() > Ring::MAX || ask.proofs.iter().any(long) => return Err(Refused::Form),
            () => {}
        }
        let message = CheckpointMessage::new(&ask.site, &ask.key, &ask.note)?;
        if (&message.log, &message.key, &message.note) != (&ask.log, &ask.key, &ask.note) {
            return Err(Refused::Form);
        }
        let checkpoint = message.checkpoint()?;
        Ok((ask, checkpoint))
    }
}

impl Answer {
    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        bytes(self)
    }

    /// Reads one that `witness` sent to `of`.
    pub fn read(witness: &Site, of: &Site, text: &[u8]) -> Result<(Self, Verifier), Refused> {
        let answer: Self = read(text, MAX_ANSWER)?;
        match () {
            () if answer.v != VERSION => Err(Refused::Version),
            () if answer.site != *witness || answer.of != *of => Err(Refused::Site),
            () => witness_key(&answer.key).map(|key| (answer, key)),
        }
    }
}

impl Report {
    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        bytes(self)
    }

    /// Reads one that came on the subject of `site`. The log signed the checkpoint, and the witness too if it says so.
    pub fn read(site: &Site, text: &[u8]) -> Result<Self, Refused> {
        let report: Self = read(text, crate::up::MAX_MESSAGE)?;
        match () {
            () if report.v != VERSION => return Err(Refused::Version),
            () if report.site != *site || report.of == *site => return Err(Refused::Site),
            () => {}
        }
        report.check().map(|_| report)
    }

    /// What the checkpoint says, and when it was cosigned, in seconds since 1970.
    pub fn check(&self) -> Result<(Checkpoint, Option<u64>), Refused> {
        let message = CheckpointMessage::new(&self.of, &self.log_key, &self.note)?;
        if message.log != self.log || message.key != self.log_key || message.note != self.note {
            return Err(Refused::Form);
        }
        let checkpoint = message.checkpoint()?;
        let key = witness_key(&self.key)?;
        let signed = Note::parse(&self.note).ok().and_then(|note| key.verify(&note).ok()).flatten();
        match (self.why, signed) {
            (None, None) => Err(Refused::Signature),
            (None, Some(_)) if checkpoint.size != self.size => Err(Refused::Form),
            _ if self.size.max(checkpoint.size) >= 1 << 53 => Err(Refused::Form),
            (_, signed) => Ok((checkpoint, signed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassgate_audit::note::Signer;
    use proptest::prelude::*;

    fn site(name: &str) -> Site {
        Site::new(name).unwrap()
    }

    fn report() -> Report {
        let log = Signer::from_seed("glassgate/a", Kind::Ed25519, [1; 32]).unwrap();
        let witness = Signer::from_seed("w", Kind::Cosignature, [2; 32]).unwrap();
        let checkpoint = Checkpoint { origin: "glassgate/a".to_owned(), size: 9, root: [3; 32] };
        let note = checkpoint.sign(&log) + &witness.sign(&checkpoint.text(), 77);
        let log_key = log.verifier().to_string();
        Report {
            v: VERSION,
            site: site("w"),
            of: site("a"),
            log: LogId::of(&log_key),
            log_key,
            key: witness.verifier().to_string(),
            size: 9,
            why: None,
            note,
        }
    }

    #[test]
    fn a_report_says_nothing_that_was_not_signed() {
        let good = report();
        assert_eq!(Report::read(&site("w"), &good.bytes()), Ok(good.clone()));
        assert_eq!(good.check().unwrap().1, Some(77));
        assert_eq!(Report::read(&site("a"), &good.bytes()), Err(Refused::Site));
        let refuse = |change: &dyn Fn(&mut Report)| {
            let mut changed = good.clone();
            change(&mut changed);
            Report::read(&site("w"), &changed.bytes()).unwrap_err()
        };
        assert_eq!(refuse(&|r| r.size = 10), Refused::Form);
        assert_eq!(refuse(&|r| r.of = site("w")), Refused::Site);
        assert_eq!(refuse(&|r| r.note = r.note.replace("\n9\n", "\n8\n")), Refused::Signature);
        let unsigned = |r: &mut Report| r.note = r.note.split_inclusive('\n').take(5).collect();
        assert_eq!(refuse(&unsigned), Refused::Signature, "without the cosignature");
        assert_eq!(refuse(&|r| r.key = r.log_key.clone()), Refused::Signature, "a log is no witness");
        assert_eq!(refuse(&|r| r.log = LogId::of("other")), Refused::Form);
        assert_eq!(refuse(&|r| r.note += "free text\n"), Refused::Form);
        let more = String::from_utf8(good.bytes()).unwrap().replacen('{', "{\"name\":\"x\",", 1);
        assert_eq!(Report::read(&site("w"), more.as_bytes()), Err(Refused::Form));
        // A refusal needs the signature of the log alone.
        let mut refused = Report { why: Some(Why::Fork), ..good.clone() };
        unsigned(&mut refused);
        assert!(Report::read(&site("w"), &refused.bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(text in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
            let (a, w) = (site("a"), site("w"));
            prop_assert!(Ask::read(&a, &text).is_err());
            prop_assert!(Answer::read(&w, &a, &text).is_err());
            let whole = report().bytes();
            let at = cut.index(whole.len());
            prop_assert!(Report::read(&w, &whole[..at]).is_err());
        }
    }
}
