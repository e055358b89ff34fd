//! Detached signatures of a charter: who approved it, who revoked it.
//!
//! ```text
//! glassgate-charter-signatures 1
//! approve 3d40…c0a2 e556…7a0b
//! revoke  3d40…c0a2 92a0…1c08
//! ```
//!
//! A line is a statement, an Ed25519 public key and a signature (RFC 8032), in hexadecimal digits. Signed are the words
//! `glassgate-charter-v1` and the statement, each with a line end, and then the bytes of the charter: so a signature of
//! approval can't be passed off as a revocation, nor as a signature under anything else.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::diagnostic::{Diagnostic, Diagnostics, Text};
use crate::vocab::coded;

/// The largest file of signatures.
pub const MAX_SIGNATURE_BYTES: usize = 64 << 10;
const HEAD: &str = "glassgate-charter-signatures 1";
const CONTEXT: &str = "glassgate-charter-v1";

coded! {
    /// What somebody says about a charter.
    pub enum Statement {
        /// It shall be in force.
        Approve = 1 => "approve",
        /// It shall not be in force any more.
        Revoke = 2 => "revoke",
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        hex(text).map(Self)
    }
}

impl PublicKey {
    /// Whether this key made a signature over a message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::audit::Hex(&self.0).fmt(f)
    }
}

/// A key that signs, as PKCS#8 (RFC 8410).
pub struct SigningKey(Ed25519KeyPair);

/// Why bytes are no signing key, or none could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not what [`SigningKey::generate`] writes.
    #[error("this is no Ed25519 key in PKCS#8")]
    NotAKey,
    /// The system has no randomness to give.
    #[error("no random numbers can be had")]
    NoRandomness,
}

impl SigningKey {
    /// A new key, as the bytes of a PKCS#8 file.
    pub fn generate() -> Result<Vec<u8>, KeyError> {
        let random = ring::rand::SystemRandom::new();
        let bytes = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::NoRandomness)?;
        Ok(bytes.as_ref().to_vec())
    }

    /// Reads what [`SigningKey::generate`] made.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, KeyError> {
        let key =
            Ed25519KeyPair::from_pkcs8(bytes).or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes));
        key.map(Self).map_err(|_| KeyError::NotAKey)
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(bytes)
    }

    /// Signs a message. Whoever calls it puts in front what the message is, so that a signature under one can't be passed off as
    /// one under another.
    pub fn sign_message(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }

    /// The line that says `statement` about the bytes of a charter.
    pub fn sign(&self, statement: Statement, charter: &[u8]) -> String {
        let signature = self.0.sign(&message(statement, charter));
        format!("{statement} {} {}", self.public(), crate::audit::Hex(signature.as_ref()))
    }
}

/// A file of signatures that was read, not yet held against a charter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    statement: Statement,
    key: PublicKey,
    signature: [u8; 64],
    number: u32,
}

impl Signatures {
    /// Reads a file; `path` is what diagnostics call it.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, Diagnostics> {
        if bytes.len() > MAX_SIGNATURE_BYTES {
            let message = format!("the file has {} bytes, more than {MAX_SIGNATURE_BYTES}", bytes.len());
            return Err(Diagnostic::file(path, "too-large", message).into());
        }
        let text = Text::from_bytes(path, bytes)?;
        let mut faults = Diagnostics::new();
        let (mut lines, mut at, mut head) = (Vec::new(), 0, false);
        for (i, whole) in text.text.split_inclusive('\n').enumerate() {
            let span = at..at + whole.trim_end().len();
            at += whole.len();
            let line = whole.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !head {
                head = true;
                if line != HEAD {
                    let message = "this is no file of charter signatures";
                    let help = format!("the first line is `{HEAD}`");
                    return Err(text.error(span, "not-signatures", message).help(help).into());
                }
                continue;
            }
            match read_line(line, i as u32 + 1) {
                Ok(line) => lines.push(line),
                Err(why) => faults.push(
                    text.error(span, "bad-signature-line", why)
                        .help("a line is `approve` or `revoke`, 64 and 128 hexadecimal digits"),
                ),
            }
        }
        if !head {
            faults.push(Diagnostic::file(path, "not-signatures", "there are no signatures in this file"));
        }
        faults.into_result(Self { lines }).map(|(signatures, _)| signatures)
    }

    /// The same file with a line more, as text. A line of the same key and statement gives way.
    pub fn with(existing: Option<&str>, line: &str) -> String {
        let same = |other: &str| line.split(' ').take(2).eq(other.split_whitespace().take(2));
        let kept = existing.unwrap_or_default().lines().filter(|other| !same(other) && *other != HEAD);
        let mut out = format!("{HEAD}\n");
        for line in kept.chain([line]) {
            out.push_str(line);
            out.push('\n');
        }
        out
    }

    /// Whose signature under `statement` is good for these bytes; with the lines of those that are not.
    pub(super) fn check(&self, statement: Statement, charter: &[u8]) -> (Vec<PublicKey>, Vec<u32>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        let message = message(statement, charter);
        for line in self.lines.iter().filter(|line| line.statement == statement) {
            let key = UnparsedPublicKey::new(&ED25519, line.key.0);
            match key.verify(&message, &line.signature) {
                Ok(()) => good.push(line.key),
                Err(_) => bad.push(line.number),
            }
        }
        (good, bad)
    }

    /// The keys that stand here, with the numbers of their lines.
    pub(super) fn keys(&self) -> impl Iterator<Item = (PublicKey, u32)> {
        self.lines.iter().map(|line| (line.key, line.number))
    }
}

fn read_line(line: &str, number: u32) -> Result<Line, &'static str> {
    let mut words = line.split_whitespace();
    let statement = words.next().and_then(Statement::from_word).ok_or("the statement is not known")?;
    let key = words.next().and_then(PublicKey::parse).ok_or("the key is not 64 hexadecimal digits")?;
    let signature = words.next().and_then(hex).ok_or("the signature is not 128 hexadecimal digits")?;
    match words.next() {
        None => Ok(Line { statement, key, signature, number }),
        Some(_) => Err("there is more on this line than a statement, a key and a signature"),
    }
}

fn message(statement: Statement, charter: &[u8]) -> Vec<u8> {
    [CONTEXT.as_bytes(), b"\n", statement.as_str().as_bytes(), b"\n", charter].concat()
}

/// Lower- or upper-case hexadecimal digits, exactly as many as fit.
pub(super) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}
