//! Keys of days and purposes: made, kept in shares, destroyed.
//!
//! ```text
//! keys/2027-03-01.leak.1.json    three shares, each sealed to its holder; when it was made, and for how long it is kept
//! keys/elapsed.json              how much time has passed, by the monotonic clocks of all boots
//! ```
//!
//! A key is made when the first session of its day and purpose is sealed, and what is on disk of it is durable before anything is
//! sealed under it: else nobody could ever open that. It is in memory for its day only. Who starts anew, or whose charter changes
//! within a day, makes another: number 2 of that day.
//!
//! When it has been kept for as long as the charter said (see the module's sibling for what time that is), its file is written over and
//! removed. Retention counts from when the key was made, so that no record under it is kept for longer.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use glassgate_audit::disk::Disk;
use glassgate_policy::Purpose;
use glassgate_policy::audit::{BootId, Now};
use glassgate_policy::charter::{CaseTerms, Role};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::files::{GONE, Place};
use crate::retention::Elapsed;
use crate::seal::DayKey;
use crate::share::{self, Share};
use crate::{NoRandomness, Secret, digest, hex};

/// The most keys of one day and purpose: a process that starts again and again stops sealing then.
pub const MOST_A_DAY: u16 = 64;
/// The most keys that are kept at all: five purposes for a year, and starts.
pub const MOST: usize = 1 << 13;
const DAY_S: u64 = 86_400;

/// Which key: `2027-03-01.leak.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    /// The day whose sessions it seals, in the zone of the charter.
    pub day: Date,
    /// What for.
    pub purpose: Purpose,
    /// Which of that day and purpose, from 1.
    pub n: u16,
}

impl KeyId {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (day, purpose, n) = (parts.next()?, parts.next()?, parts.next()?);
        let id = Self { day: day.parse().ok()?, purpose: Purpose::from_word(purpose)?, n: n.parse().ok()? };
        // There is one way to write it.
        (parts.next().is_none() && id.to_string() == text).then_some(id)
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.day, self.purpose, self.n)
    }
}

/// A share, sealed to its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SealedShare {
    /// Whose.
    pub role: String,
    /// The `age` recipient that opens it.
    pub recipient: String,
    /// An `age` file (age-encryption.org/v1) of 65 bytes, in Base64.
    pub sealed: String,
}

/// What is on disk of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    key: String,
    /// SHA-256 of the charter that it was made under.
    charter: String,
    /// The wall clock then, to label it.
    made: Option<Timestamp>,
    /// Time that had passed in all then: see [`Elapsed`].
    born_s: u64,
    retention_days: u16,
    /// Knows the secret when it sees it, and says nothing about it.
    check: String,
    shares: Vec<SealedShare>,
}

/// Why a key can't be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// As many as there may be, of that day or at all.
    #[error("there are as many keys as there may be")]
    TooMany,
    /// No random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// A holder's recipient can't be sealed to.
    #[error("a share can't be sealed to {0}")]
    Recipient(String),
    /// The disk.
    #[error("the key can't be kept: {0}")]
    Disk(#[from] io::Error),
}

/// A key, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Which.
    pub key: String,
    /// The wall clock when it was made.
    pub made: Option<Timestamp>,
    /// How long it is kept, in days.
    pub retention_days: u16,
    /// How long it has been, in whole days.
    pub kept_days: u64,
    /// Whether the wall clock says that it should be destroyed, which alone is not believed.
    pub over_by_the_clock: bool,
}

/// The keys on disk.
#[derive(Debug)]
pub struct Keys {
    place: Place,
    elapsed: Elapsed,
    all: BTreeMap<KeyId, KeyFile>,
    damaged: Vec<String>,
    /// Files of keys whose destruction was begun by an earlier process and could not be ended yet.
    ending: Vec<String>,
}

impl Keys {
    /// Opens the keys on a disk that holds nothing else: [a folder of one's own](glassgate_audit::disk::Folder::private).
    pub fn open(disk: Arc<dyn Disk>, boot: BootId, now: &Now) -> io::Result<Self> {
        let place = Place::new(disk);
        let (mut all, mut damaged, mut ending) = (BTreeMap::new(), Vec::new(), Vec::new());
        for name in place.names()? {
            if name.ends_with(GONE) {
                // The power went while it was destroyed.
                ending.extend(place.finish(&name).is_err().then_some(name));
                continue;
            }
            let Some(id) = name.strip_suffix(".json").and_then(KeyId::parse) else { continue };
            let file = place.read(&name)?.unwrap_or_default();
            match serde_json::from_slice::<KeyFile>(&file) {
                Ok(file) if file.version == 1 && file.key == id.to_string() => {
                    all.insert(id, file);
                }
                _ => damaged.push(name),
            }
        }
        let least_s = all.values().map(|file| file.born_s).max().unwrap_or_default();
        let elapsed = Elapsed::open(place.clone(), boot, least_s, now)?;
        Ok(Self { place, elapsed, all, damaged, ending })
    }

    /// Files of keys that mean nothing: what was sealed under them can't be opened. They are left for people to look at.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Makes a key, and keeps it in shares. It is durable when this returns.
    pub fn make(
        &mut self,
        (day, purpose): (Date, Purpose),
        terms: &CaseTerms,
        charter: &[u8; 32],
        retention_days: u16,
        now: &Now,
    ) -> Result<DayKey, MakeError> {
        let known = self.all.keys().filter(|id| (id.day, id.purpose) == (day, purpose));
        let n = known.map(|id| id.n).max().unwrap_or_default() + 1;
        if n > MOST_A_DAY || self.all.len() >= MOST {
            return Err(MakeError::TooMany);
        }
        let id = KeyId { day, purpose, n };
        let secret = Secret::random()?;
        let shares = share::split(&secret)?;
        let mut sealed = Vec::new();
        for (holder, share) in terms.holders.iter().zip(&shares) {
            let no = || MakeError::Recipient(holder.recipient.clone());
            let to: age::x25519::Recipient = holder.recipient.parse().map_err(|_| no())?;
            let file = age::encrypt(&to, &share.to_bytes()).map_err(|_| no())?;
            let (role, recipient) = (holder.role.as_str().to_owned(), holder.recipient.clone());
            sealed.push(SealedShare { role, recipient, sealed: BASE64.encode(file) });
        }
        let file = KeyFile {
            version: 1,
            key: id.to_string(),
            charter: hex(charter),
            made: now.wall,
            born_s: self.elapsed.tick(now),
            retention_days,
            check: check_of(&secret, id),
            shares: sealed,
        };
        let text = serde_json::to_vec_pretty(&file).map_err(io::Error::other)?;
        self.place.replace(&name(id), &text)?;
        // What passed until now is known with it, whatever becomes of this process.
        self.elapsed.write()?;
        self.all.insert(id, file);
        Ok(DayKey::new(id, secret))
    }

    /// Keys of these days and this purpose, oldest first.
    pub fn of(&self, days: std::ops::RangeInclusive<Date>, purpose: Purpose) -> Vec<KeyId> {
        self.all.keys().filter(|id| id.purpose == purpose && days.contains(&id.day)).copied().collect()
    }

    /// The shares of a key, each sealed to its holder.
    pub fn shares(&self, id: KeyId) -> Option<&[SealedShare]> {
        self.all.get(&id).map(|file| file.shares.as_slice())
    }

    /// The key that two shares make; `None` if they don't make it, or it is destroyed.
    pub fn open_with(&self, id: KeyId, one: &Share, other: &Share) -> Option<DayKey> {
        let secret = share::combine(one, other)?;
        let is_it = self.all.get(&id)?.check == check_of(&secret, id);
        is_it.then(|| DayKey::new(id, secret))
    }

    /// Lets time pass. Keys that have been kept for long enough, by the time that passed while somebody watched, are to be
    /// destroyed. What a wall clock says never decides.
    pub fn due(&mut self, now: &Now) -> Vec<KeyId> {
        let place = &self.place;
        self.ending.retain(|name| place.finish(name).is_err());
        let elapsed_s = self.elapsed.tick(now);
        let is_due =
            |file: &KeyFile| elapsed_s.saturating_sub(file.born_s) >= u64::from(file.retention_days) * DAY_S;
        self.all.iter().filter(|(_, file)| is_due(file)).map(|(id, _)| *id).collect()
    }

    /// Keys that should be destroyed if the wall clock is right: for when somebody says that it is.
    pub fn due_by_the_clock(&self, now: &Now) -> Vec<KeyId> {
        let Some(wall) = now.wall else { return Vec::new() };
        self.all.iter().filter(|(_, file)| is_over(file, wall)).map(|(id, _)| *id).collect()
    }

    /// Destroys a key: nobody opens anything under it any more.
    pub fn destroy(&mut self, id: KeyId) -> io::Result<()> {
        self.place.destroy(&name(id))?;
        self.all.remove(&id);
        Ok(())
    }

    /// All of them, oldest first.
    pub fn list(&self, now: &Now) -> Vec<Listed> {
        let elapsed_s = self.elapsed.seconds();
        let listed = self.all.iter().map(|(id, file)| Listed {
            key: id.to_string(),
            made: file.made,
            retention_days: file.retention_days,
            kept_days: elapsed_s.saturating_sub(file.born_s) / DAY_S,
            over_by_the_clock: now.wall.is_some_and(|wall| is_over(file, wall)),
        });
        listed.collect()
    }

    /// How much has passed, and how much of it is written down.
    #[cfg(test)]
    pub(crate) fn passed_s(&self) -> [u64; 2] {
        [self.elapsed.seconds(), self.elapsed.written_s()]
    }

    /// Writes down what time has passed: at an end in order.
    pub fn close(&mut self, now: &Now) -> io::Result<()> {
        self.elapsed.tick(now);
        self.elapsed.write()
    }
}

fn is_over(file: &KeyFile, at: Timestamp) -> bool {
    let days = SignedDuration::from_hours(24 * i64::from(file.retention_days));
    file.made.is_some_and(|made| at.duration_since(made) >= days)
}

fn name(id: KeyId) -> String {
    format!("{id}.json")
}

fn check_of(secret: &Secret, id: KeyId) -> String {
    hex(&digest("glassgate-sealed-v1 check", &[id.to_string().as_bytes(), b"\n", &secret.0]))
}

/// The place of a role among the holders.
pub(crate) fn place(role: Role) -> Option<usize> {
    CaseTerms::ROLES.iter().position(|other| *other == role)
}

#[cfg(test)]
pub(crate) mod tests;
