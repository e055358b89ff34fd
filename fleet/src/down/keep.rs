//! The packs that lie on a box: verified, put in place, put back.
//!
//! The file in place says what the box has; what is remembered beside it is compared with it at each look. Order of a change: the pack in place is copied beside, what
//! is about to happen is written down, the new file takes the place in one step, the gateway is asked. A process that ends in between finds the rest by [`Keeper::finish`].

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use glassgate_policy::pack::{BadPack, Pack, PublicKey};
use glassgate_policy::table::Aligned;
use serde::{Deserialize, Serialize};

use super::{MAX_BYTES, Refusal, Why};
use crate::words::Digest;

/// `[down]` in the agent's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Down {
    /// The pack that the gateway's configuration names, in a folder that the agent may write to.
    pub pack: PathBuf,
    /// Public keys of the signers, `ed25519:` and 64 digits; those of the gateway's `trusted_keys`. One at least.
    pub trusted_keys: Vec<String>,
    /// The lowest serial that is taken.
    #[serde(default)]
    pub floor: u64,
    /// What has the gateway read the pack: program and arguments. It must fail if the gateway does not take it.
    #[serde(default = "reload")]
    pub reload: Vec<String>,
    /// Seconds between two questions, 1 to 86400.
    #[serde(default = "ask_every")]
    pub ask_s: u64,
    /// Hours after which a pack is no longer on trial, and is not put back any more.
    #[serde(default = "trial")]
    pub trial_h: u32,
}

fn reload() -> Vec<String> {
    ["/usr/bin/glassgate", "reload"].map(str::to_owned).to_vec()
}

const fn ask_every() -> u64 {
    60
}

const fn trial() -> u32 {
    168
}

/// A pack that was put in place and may be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Trial {
    pack: Digest,
    /// The pack before it.
    before: Option<Digest>,
    /// When, in seconds since 1970.
    at: i64,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    trial: Option<Trial>,
    refused: Option<Refusal>,
    /// A file took the place, and the gateway has not said what it makes of it.
    pending: Option<u32>,
}

/// Packs of a box.
#[derive(Debug)]
pub struct Keeper {
    down: Down,
    trusted: Vec<PublicKey>,
    file: PathBuf,
    memory: Memory,
}

/// A pack that is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// SHA-256 of the file.
    pub pack: Digest,
    /// Its serial; 0 if it can't be read.
    pub serial: u64,
}

impl Keeper {
    /// One that remembers in `file`. An error where a key is none: a box without keys would take nothing, and say nothing of it.
    pub fn new(down: &Down, file: &Path) -> Result<Self> {
        let key =
            |text: &String| PublicKey::from_text(text).with_context(|| format!("`{text}` is no public key"));
        let trusted: Vec<_> = down.trusted_keys.iter().map(key).collect::<Result<_>>()?;
        anyhow::ensure!(!trusted.is_empty(), "down.trusted_keys names no key: nothing could be taken");
        let text = fs::read_to_string(file).ok();
        let memory = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(Self { down: down.clone(), trusted, file: file.to_owned(), memory })
    }

    /// The pack in place.
    pub fn held(&self) -> Option<Held> {
        let bytes = read(&self.down.pack)?;
        let serial = Pack::look(Arc::new(Aligned::copy_of(&bytes))).map_or(0, |pack| pack.info().serial);
        Some(Held { pack: Digest::of(&bytes), serial })
    }

    /// What was refused last.
    pub fn refused(&self) -> Option<&Refusal> {
        self.memory.refused.as_ref()
    }

    /// Whether an offer is worth asking its parts for.
    pub fn wants(&self, pack: &Digest, attempt: u32) -> bool {
        let refused = self.memory.refused.as_ref();
        !refused.is_some_and(|refused| refused.pack == *pack && refused.attempt >= attempt)
            && self.held().is_none_or(|held| held.pack != *pack)
    }

    /// Remembers that a pack was not taken.
    pub fn refuse(&mut self, pack: &Digest, attempt: u32, why: Why) -> Result<()> {
        self.memory.refused = Some(Refusal { pack: pack.clone(), attempt, why });
        self.save()
    }

    /// Verifies a pack and puts it in place; `Err` of the inner result is why not, and is remembered. `now`: seconds since 1970.
    pub fn take(&mut self, bytes: &[u8], pack: &Digest, attempt: u32, now: i64) -> Result<Result<(), Why>> {
        let held = self.held();
        if let Err(why) = self.check(bytes, pack, held.as_ref()) {
            self.refuse(pack, attempt, why)?;
            return Ok(Err(why));
        }
        let before = match &held {
            Some(held) => {
                put(&self.beside(), &read(&self.down.pack).context("the pack in place is gone")?)?;
                Some(held.pack.clone())
            }
            None => None,
        };
        self.memory.trial = Some(Trial { pack: pack.clone(), before, at: now });
        self.memory.pending = Some(attempt);
        self.save()?;
        put(&self.down.pack, bytes)?;
        self.finish()
    }

    fn check(&self, bytes: &[u8], pack: &Digest, held: Option<&Held>) -> Result<(), Why> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Why::Length);
        }
        if Digest::of(bytes) != *pack {
            return Err(Why::Digest);
        }
        let floor = held.map_or(0, |held| held.serial.saturating_add(1)).max(self.down.floor);
        self.open(bytes, floor)
    }

    fn open(&self, bytes: &[u8], floor: u64) -> Result<(), Why> {
        let why = |bad| match bad {
            BadPack::Unsigned | BadPack::UnknownKey(_) | BadPack::Signature => Why::Signature,
            BadPack::Serial { .. } => Why::Serial,
            _ => Why::Form,
        };
        let pack = Pack::open(Arc::new(Aligned::copy_of(bytes)), &self.trusted, floor).map_err(why)?;
        pack.verify().map_err(why)
    }

    /// Has the gateway read what took the place, and puts the pack before it back where the gateway does not take it. Does nothing if all is done.
    pub fn finish(&mut self) -> Result<Result<(), Why>> {
        let Some(attempt) = self.memory.pending else { return Ok(Ok(())) };
        let held = self.held();
        let on_trial =
            self.memory.trial.clone().filter(|trial| held.as_ref().is_some_and(|h| h.pack == trial.pack));
        let took = self.reload();
        let Some(trial) = on_trial else {
            // It never took the place, or is what was before.
            self.memory.pending = None;
            self.save()?;
            return Ok(Ok(()));
        };
        if took {
            self.memory.pending = None;
            self.memory.refused = None;
            self.save()?;
            return Ok(Ok(()));
        }
        self.restore(&trial)?;
        self.memory.pending = None;
        self.refuse(&trial.pack, attempt, Why::Gateway)?;
        Ok(Err(Why::Gateway))
    }

    /// Puts the pack before this one back, if this one is in place and on trial and the one before is still what the keys signed. Says whether it did.
    pub fn back(&mut self, pack: &Digest, now: i64) -> Result<bool> {
        let held = self.held();
        let trial = self.memory.trial.clone();
        let Some(trial) = trial.filter(|t| t.pack == *pack && held.is_some_and(|held| held.pack == *pack))
        else {
            return Ok(false);
        };
        let over = i64::from(self.down.trial_h) * 3600;
        if trial.before.is_none() || now.saturating_sub(trial.at) > over {
            return Ok(false);
        }
        self.restore(&trial)
    }

    /// Takes the trial's pack away. What was put in place by the operator is put back whoever signed it; what was not there is not.
    fn restore(&mut self, trial: &Trial) -> Result<bool> {
        match &trial.before {
            None => fs::remove_file(&self.down.pack).context("the pack can't be taken away")?,
            Some(before) => {
                let bytes = read(&self.beside()).filter(|bytes| Digest::of(bytes) == *before);
                let Some(bytes) = bytes else { return Ok(false) };
                put(&self.down.pack, &bytes)?;
            }
        }
        self.memory.trial = None;
        self.save()?;
        self.reload();
        Ok(true)
    }

    fn reload(&self) -> bool {
        let Some((program, arguments)) = self.down.reload.split_first() else { return true };
        let done =
            std::process::Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output();
        match done {
            Ok(done) if done.status.success() => true,
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stderr);
                eprintln!("glassgate fleet: the gateway does not take the pack: {}", said.trim_end());
                false
            }
            Err(why) => {
                eprintln!("glassgate fleet: {program} can't be run: {why}");
                false
            }
        }
    }

    fn beside(&self) -> PathBuf {
        with(&self.down.pack, ".before")
    }

    fn save(&self) -> Result<()> {
        put(&self.file, &serde_json::to_vec(&self.memory)?)
    }
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let short = fs::metadata(path).ok()?.len() <= MAX_BYTES;
    short.then(|| fs::read(path).ok()).flatten()
}

/// Replaces a file, all or nothing, durably.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = with(path, ".new");
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}

#[cfg(test)]
mod tests;
