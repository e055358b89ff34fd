//! What comes down: signed signature packs, of which a box takes those that it verified itself.
//!
//! A box asks, and the hub answers; nothing is sent that was not asked for. The hub chooses who is offered a pack and when, and whether a pack on trial is put
//! back. It can't make a pack, nor change one, nor bring back an old one: the keys of the signers and the serials that were accepted lie on the box.

pub mod ask;
pub mod cli;
pub mod keep;
pub mod store;

use serde::{Deserialize, Serialize};

use crate::words::{Digest, Site};

/// The version of questions and answers.
pub const VERSION: u32 = 1;
/// The largest pack that a hub hands out and a box takes: some millions of names.
pub const MAX_BYTES: u64 = 64 << 20;
/// Bytes of a part; a server passes messages of a megabyte.
pub const PART: usize = 128 << 10;
/// The longest question, and the longest answer that is no part.
pub const MAX_TEXT: usize = 1024;

/// The subject on which a box asks what there is for it.
pub fn state_subject(site: &Site) -> String {
    format!("gg.{site}.want.state")
}

/// The subject on which a box asks for a part of a pack.
pub fn part_subject(site: &Site) -> String {
    format!("gg.{site}.want.part")
}

/// Why a box does not run a pack that it was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It is larger than the box takes, or not as long as was said.
    Length,
    /// It is not the file that was named.
    Digest,
    /// It is no whole pack, or one for a newer program.
    Form,
    /// No key that the box trusts signed it.
    Signature,
    /// Its serial is not above that of the pack the box has.
    Serial,
    /// The gateway does not take it: the pack before it is in its place again.
    Gateway,
}

impl Why {
    /// The word in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Digest => "digest",
            Self::Form => "form",
            Self::Signature => "signature",
            Self::Serial => "serial",
            Self::Gateway => "gateway",
        }
    }
}

/// What a box does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The file.
    pub pack: Digest,
    /// At which attempt of the hub.
    pub attempt: u32,
    /// Why.
    pub why: Why,
}

/// A box says which pack it has, and asks for what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// [`VERSION`].
    pub v: u32,
    /// SHA-256 of the file that is in place; none if there is none.
    pub pack: Option<Digest>,
    /// Its serial.
    pub serial: u64,
    /// What it did not take last.
    pub refused: Option<Refusal>,
}

/// What the hub answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// Nothing.
    Nothing,
    /// There is this pack.
    Take {
        /// SHA-256 of the file.
        pack: Digest,
        /// Its length.
        bytes: u64,
        /// Counts up when a roll-out is resumed: what was refused is tried once more.
        attempt: u32,
    },
    /// The pack before this one is to be put back, if this one is on trial.
    Back {
        /// SHA-256 of the file.
        pack: Digest,
    },
}

/// A question for a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// SHA-256 of the file.
    pub pack: Digest,
    /// Which part, from 0 on.
    pub n: u32,
}
