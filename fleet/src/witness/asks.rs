//! The box whose log it is: asks its witnesses, and keeps what they signed.
//!
//! ```text
//! cosigned/WITNESS.KEY.checkpoint    the newest checkpoint that this witness signed
//! cosigned/WITNESS.KEY.pub           its key, which came with it
//! ```
//!
//! For `glassgate audit verify --witnessed … --witness-key …`. Whoever audits takes both from the witness or from the hub: on this box somebody may have changed them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use glassgate_audit::checkpoint::Checkpoint;
use glassgate_audit::disk::{Disk as _, Folder};
use glassgate_audit::note::{Note, Verifier};
use glassgate_audit::tiles::Files as _;
use glassgate_audit::witness::{Request, cosigned};

use super::said::{Answer, Ask, HashWord, Proof, Why, Word};
use crate::up::{CheckpointMessage, VERSION};
use crate::words::Site;

/// Keys of a witness whose cosignatures are kept: one that was set up anew has another one. Those of one more are passed over, and it is said.
const MAX_KEYS: usize = 8;

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A cosignature that is kept now.
    Cosigned,
    /// The witness remembers a size that it was given no proof from; with the next ask it is.
    AskAgain,
    /// The witness does not sign.
    Refused(Why),
    /// Not an answer to the last ask.
    Passed,
}

/// A box and its witnesses.
#[derive(Debug)]
pub struct Asks {
    site: Site,
    by: Vec<Site>,
    log: Folder,
    kept: Folder,
    /// What each witness remembers of the log, as it said last.
    sizes: BTreeMap<Site, u64>,
    /// Witnesses that were asked again since the last tick of the clock: once is enough.
    asked_again: BTreeSet<Site>,
    last: Option<Ask>,
    refused: BTreeMap<Site, Why>,
}

impl Asks {
    /// Of the box of `site`, whose audit log is in `audit`. Cosignatures are kept in `kept`.
    pub fn new(site: &Site, by: &[Site], audit: &Path, kept: &Path) -> Result<Self> {
        Ok(Self {
            site: site.clone(),
            by: by.to_vec(),
            log: Folder::read_only(audit),
            kept: Folder::open(kept).with_context(|| kept.display().to_string())?,
            sizes: BTreeMap::new(),
            asked_again: BTreeSet::new(),
            last: None,
            refused: BTreeMap::new(),
        })
    }

    /// Asks for the newest checkpoint, with a proof from each size that a witness remembers. None while there is no checkpoint that its log signed, or nobody to ask.
    pub fn newest(&mut self) -> Option<Ask> {
        if self.by.is_empty() {
            return None;
        }
        let read = |name: &str| -> Option<String> { String::from_utf8(self.log.read(name).ok()??).ok() };
        let (key, note) = (read("key.pub")?.trim_end().to_owned(), read("checkpoint")?);
        let message = CheckpointMessage::new(&self.site, &key, &note).ok()?;
        let size = message.checkpoint().ok()?.size;
        if self.last.as_ref().is_none_or(|last| last.log != message.log) {
            self.sizes.clear();
        }
        if self.last.as_ref().is_none_or(|last| last.note != message.note) {
            self.asked_again.clear();
        }
        let olds: BTreeSet<u64> =
            self.sizes.values().copied().filter(|old| (1..size).contains(old)).collect();
        let proofs = olds.into_iter().filter_map(|old| {
            // Tiles that are being replaced are there again with the next checkpoint.
            let request = Request::make(&self.log, old, &message.note).ok()?;
            Some(Proof { old, hashes: request.proof.into_iter().map(HashWord).collect() })
        });
        let ask = Ask {
            v: VERSION,
            site: self.site.clone(),
            proofs: proofs.collect(),
            log: message.log,
            key: message.key,
            note: message.note,
        };
        self.last = Some(ask.clone());
        Some(ask)
    }

    /// Takes what came as the answer of `witness`.
    pub fn heard(&mut self, witness: &Site, text: &[u8]) -> Result<Heard> {
        let Some(ask) = self.last.as_ref().filter(|_| self.by.contains(witness)) else {
            return Ok(Heard::Passed);
        };
        let Ok((answer, key)) = Answer::read(witness, &self.site, text) else { return Ok(Heard::Passed) };
        if answer.log != ask.log {
            return Ok(Heard::Passed);
        }
        self.sizes.insert(witness.clone(), answer.size);
        match answer.said {
            Word::Cosigned(line) => {
                // One for an earlier ask does not fit this note.
                let Ok((note, _)) = cosigned(&ask.note, &line, &key) else { return Ok(Heard::Passed) };
                self.refused.remove(witness);
                self.keep(witness, &key, &note)
            }
            Word::Remembers => {
                let again = self.asked_again.insert(witness.clone());
                Ok(if again { Heard::AskAgain } else { Heard::Passed })
            }
            Word::Refused(why) => {
                if self.refused.insert(witness.clone(), why) != Some(why) {
                    let (explained, size) = (why.explained(), answer.size);
                    eprintln!("glassgate fleet: {witness} does NOT cosign this log: {explained} ({size})");
                }
                Ok(Heard::Refused(why))
            }
        }
    }

    fn keep(&self, witness: &Site, key: &Verifier, note: &str) -> Result<Heard> {
        let text = key.to_string();
        let id = text.split('+').nth(1).unwrap_or_default();
        let (file, public) = (format!("{witness}.{id}.checkpoint"), format!("{witness}.{id}.pub"));
        if self.kept.size(&public)?.is_none() {
            let prefix = format!("{witness}.");
            let is_key = |name: &&String| name.starts_with(&prefix) && name.ends_with(".pub");
            if self.kept.names("")?.iter().filter(is_key).count() >= MAX_KEYS {
                eprintln!(
                    "glassgate fleet: {witness} has cosigned with {MAX_KEYS} keys; {id} is one more, and passed over"
                );
                return Ok(Heard::Passed);
            }
            self.kept.replace(&public, format!("{text}\n").as_bytes(), false)?;
        }
        // With the signatures of the log and of this witness, as the note was asked about with no other.
        self.kept.replace(&file, note.as_bytes(), false)?;
        Ok(Heard::Cosigned)
    }

    /// What is kept of the witnesses: for each the size that its newest cosignature stands for.
    pub fn kept(&self) -> Result<BTreeMap<String, u64>> {
        let mut sizes = BTreeMap::new();
        for name in self.kept.names("")? {
            let Some(of) = name.strip_suffix(".checkpoint") else { continue };
            let Some(note) = self.kept.read(&name)? else { continue };
            let note = String::from_utf8_lossy(&note).into_owned();
            if let (Ok(checkpoint), Ok(_)) = (Checkpoint::parse(&note), Note::parse(&note)) {
                sizes.insert(of.to_owned(), checkpoint.size);
            }
        }
        Ok(sizes)
    }
}
