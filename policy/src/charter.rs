//! The charter: the lawful basis without which nothing is observed.
//!
//! ```text
//!  charter.toml ─► CharterFile   every fault named: what its basis does not carry is refused here
//!  signatures   ─► Charter       every approver has signed, and every key is one that this gateway trusts
//!  clock, groups ─► Observation  levels by group and category, and until when they hold
//! ```
//!
//! What may be written stands in [`Levels`], the observation part of the verdict matrix. Only a [`Charter`] raises one
//! above counts, and there is only one way to a [`Charter`]: [`Charter::verify`]. Whatever an event says about its level,
//! the engine writes no more than the levels allow.
//!
//! Signed and held against the law are different things: the gateway can check the first, and of the second only what
//! [`basis`] knows. It is no legal advice.

pub mod basis;
mod file;
mod levels;
mod notice;
mod signatures;
mod standing;
pub mod why;

pub use basis::Basis;
pub use file::{
    Approver, CaseTerms, CharterFile, DEFAULT_K, Document, Holder, LEAST_K, MAX_BYTES, Notice, PurposeEntry,
    Role,
};
pub use levels::{Levels, without_charter};
pub use notice::{MAX_NOTICE_BODY, PageDigest, ReceiptFor, TOKEN, Unread, page_digest};
pub use signatures::{KeyError, MAX_SIGNATURE_BYTES, PublicKey, Signatures, SigningKey, Statement};
pub use standing::{Group, Installed, Observation, PurposeStanding, Standing, observe};

use crate::diagnostic::{Diagnostic, Diagnostics};

/// A charter to fill in; the keys of its approvers are missing. `docs/charter.md` has the same text.
pub const SAMPLE: &str = include_str!("charter/sample.toml");

/// A charter that all of its approvers have signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Charter {
    file: CharterFile,
    sha256: [u8; 32],
    revoked_by: Vec<String>,
}

impl Charter {
    /// Holds a charter against its signatures: each approver has signed, each with a key that is `trusted`, and there is no
    /// other line among the signatures. A good revocation by any one of them makes it a revoked charter.
    pub fn verify(
        path: &str,
        bytes: &[u8],
        signatures_path: &str,
        signatures: &[u8],
        trusted: &[PublicKey],
    ) -> Result<(Self, Diagnostics), Diagnostics> {
        let (file, warnings) = CharterFile::parse(path, bytes)?;
        let signatures = Signatures::parse(signatures_path, signatures)?;
        let mut faults = Diagnostics::new();
        let fault = |code, message: String, help: &str| Diagnostic::file(path, code, message).help(help);
        let at = |line: u32, code, message: String| Diagnostic {
            line,
            column: 1,
            ..Diagnostic::file(signatures_path, code, message)
        };
        for (key, line) in signatures.keys() {
            if !file.approvers.iter().any(|approver| approver.key == key) {
                faults.push(at(
                    line,
                    "not-an-approver",
                    format!("the charter names no approver with key {key}"),
                ));
            }
        }
        let (approved, bad) = signatures.check(Statement::Approve, bytes);
        let (revoked, bad_revocations) = signatures.check(Statement::Revoke, bytes);
        for line in bad.into_iter().chain(bad_revocations) {
            let message = "this signature is not good for this charter".to_owned();
            let fault = at(line, "bad-signature", message);
            faults.push(
                fault.help("the charter was changed after it was signed: it must be signed again by all"),
            );
        }
        for approver in &file.approvers {
            if !trusted.contains(&approver.key) {
                let message =
                    format!("this gateway does not trust the key of `{}`: {}", approver.name, approver.key);
                faults.push(fault(
                    "not-trusted",
                    message,
                    "keys that are trusted stand in `charter.keys` of glassgate.toml",
                ));
            }
            if !approved.contains(&approver.key) {
                let message = format!("`{}` ({}) has not signed", approver.name, approver.role);
                faults.push(fault(
                    "not-signed",
                    message,
                    "`glassgate charter sign` does it; every approver must",
                ));
            }
        }
        let mut sha256 = [0; 32];
        for (to, from) in sha256.iter_mut().zip(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref()) {
            *to = *from;
        }
        let revoked_by =
            file.approvers.iter().filter(|a| revoked.contains(&a.key)).map(|a| a.name.clone()).collect();
        let (charter, _) = faults.into_result(Self { file, sha256, revoked_by })?;
        Ok((charter, warnings))
    }

    /// What it says.
    pub fn file(&self) -> &CharterFile {
        &self.file
    }

    /// SHA-256 of its text.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Whether one of its approvers has revoked it.
    pub fn is_revoked(&self) -> bool {
        !self.revoked_by.is_empty()
    }

    /// Who has revoked it.
    pub fn revoked_by(&self) -> &[String] {
        &self.revoked_by
    }

    /// Whether this one may take the place of `before`: it is newer, or the same with a revocation more.
    pub fn may_follow(&self, before: &Self) -> Result<(), NotNewer> {
        if self.sha256 == before.sha256 {
            let gone = before.revoked_by.iter().any(|name| !self.revoked_by.contains(name));
            return if gone { Err(NotNewer::Revoked) } else { Ok(()) };
        }
        if self.file.serial > before.file.serial {
            return Ok(());
        }
        Err(NotNewer::Serial { serial: self.file.serial, before: before.file.serial })
    }
}

/// Why a charter can't take the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNewer {
    /// It is older, or another text with the same serial.
    #[error("its serial is {serial}, and that of the installed charter {before}: the next one counts up")]
    Serial {
        /// Its serial.
        serial: u64,
        /// That of the one installed.
        before: u64,
    },
    /// The same charter without a revocation that is known.
    #[error("this charter was revoked: a revocation stays; issue another charter")]
    Revoked,
}

#[cfg(test)]
pub(crate) mod tests;
