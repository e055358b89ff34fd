//! Sealed records: what a person did at a service in one visit, written so that the gateway can't read it back.
//!
//! ```text
//!  session ─► key of its day and purpose ─► record in the audit log: key, pseudonym, ciphertext
//!                     │ split in three, any two of which make it whole
//!                     ├─► sealed to human resources            (an `age` recipient)
//!                     ├─► sealed to the data-protection officer
//!                     └─► sealed to the works council
//!  case ─► asked by one of them, approved by another: shares of the named days only ─► what was recorded of one person
//! ```
//!
//! * A key is in memory for its day. What is on disk of it opens with two of three people.
//! * There is no key that opens everything: a case brings the shares of its days, and nothing else.
//! * Each person's records have a key of their own under that of the day, so that a case about one can't show another's.
//! * Retention ends by destroying what is on disk of a key. The records stay in the log, unreadable, and the log verifies.
//! * What people say in a case is signed, and bound to the very text that they were shown.
//!
//! This crate reads no clock and opens no socket. What must be on record before it is done [is put there](on_record) through a sink of who uses it.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod case;
mod files;
pub mod holder;
pub mod keys;
pub mod on_record;
mod retention;
pub mod seal;
pub mod share;
#[cfg(test)]
mod simulation;
pub mod view;

use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers to give")]
pub struct NoRandomness;

/// 32 secret bytes, wiped when they are dropped and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub(crate) [u8; 32]);

impl Secret {
    /// A new one.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut secret = Self([0; 32]);
        #[cfg(test)]
        if seeded::fill(&mut secret.0) {
            return Ok(secret);
        }
        SystemRandom::new().fill(&mut secret.0).map_err(|_| NoRandomness)?;
        Ok(secret)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// SHA-256 of some bytes after a label, so that a hash for one use is none for another.
pub(crate) fn digest(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(label.as_bytes());
    context.update(b"\n");
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
        }
        text
    })
}

/// Secrets that a seed gives, in simulations: names of cases are drawn as well, and so is the order of their files.
#[cfg(test)]
mod seeded {
    use std::cell::RefCell;

    use glassgate_audit::simulated::Random;

    thread_local! {
        static DRAWN: RefCell<Option<Random>> = const { RefCell::new(None) };
    }

    /// From here on, in this thread.
    pub(crate) fn begin(seed: u64) {
        DRAWN.with_borrow_mut(|drawn| *drawn = Some(Random::new(seed)));
    }

    /// `false` if there is no seed.
    pub(crate) fn fill(bytes: &mut [u8; 32]) -> bool {
        DRAWN.with_borrow_mut(|drawn| {
            let Some(random) = drawn else { return false };
            bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next().to_le_bytes()));
            true
        })
    }
}
