//! Checkpoints (C2SP `tlog-checkpoint`): what the log was at a size, signed.

use crate::merkle::Hash;
use crate::note::{Note, NoteError, Signer, Verifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A state of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root hash of these.
    pub root: Hash,
}

/// Why a checkpoint is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// As a note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its lines are not origin, size and root hash.
    #[error("a checkpoint has three lines: origin, size, root hash")]
    Form,
    /// It is of another log.
    #[error("the checkpoint is of another log")]
    Origin,
}

impl Checkpoint {
    /// The three lines.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// The signed note.
    pub fn sign(&self, key: &Signer) -> String {
        let text = self.text();
        let line = key.sign(&text, 0);
        format!("{text}\n{line}")
    }

    /// Reads the lines; further ones are passed over.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Form);
        };
        let root: Option<Hash> = BASE64.decode(root).ok().and_then(|root| root.try_into().ok());
        match (decimal(size), root) {
            (Some(size), Some(root)) if !origin.is_empty() => {
                Ok(Self { origin: origin.to_owned(), size, root })
            }
            _ => Err(CheckpointError::Form),
        }
    }

    /// Reads a signed checkpoint and believes it if the key signed it and names its log.
    pub fn open(note: &str, key: &Verifier) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        key.verify(&note)?;
        let checkpoint = Self::parse(note.text)?;
        if checkpoint.origin == key.name() { Ok(checkpoint) } else { Err(CheckpointError::Origin) }
    }
}

/// A number below 2^63 as checkpoints write it: digits alone, no zero in front.
pub fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok().filter(|n| *n < 1 << 63) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Kind;

    #[test]
    fn what_is_signed_is_read_again_and_what_is_not_is_refused() {
        let key = Signer::from_seed("example.com/log", Kind::Ed25519, [3; 32]).unwrap();
        let checkpoint = Checkpoint { origin: "example.com/log".to_owned(), size: 12, root: [9; 32] };
        let note = checkpoint.sign(&key);
        assert_eq!(Checkpoint::open(&note, key.verifier()), Ok(checkpoint.clone()));
        for (from, to) in [("\n12\n", "\n13\n"), ("log\n12", "lag\n12"), ("CQk", "CAk")] {
            assert!(Checkpoint::open(&note.replacen(from, to, 1), key.verifier()).is_err(), "{from}");
        }
        let other = Checkpoint { origin: "example.com/other".to_owned(), ..checkpoint };
        assert_eq!(Checkpoint::open(&other.sign(&key), key.verifier()), Err(CheckpointError::Origin));
    }

    #[test]
    fn numbers_have_one_form() {
        let read =
            ["0", "7", "07", "-7", "+7", "", "7 ", "9223372036854775807", "9223372036854775808"].map(decimal);
        assert_eq!(read, [Some(0), Some(7), None, None, None, None, None, Some((1 << 63) - 1), None]);
    }
}
