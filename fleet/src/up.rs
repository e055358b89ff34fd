//! What goes up: which records of the audit log, and which of their members.
//!
//! A list of what may go, not of what may not. A kind of record that is not a variant of [`Said`] stays where it is, and so does each member that
//! has no field here: a record is read into these types and written anew from them. There is no field for a name, an address, a device, an account or a
//! person, none for free text, and none for a count that `k` can't be held for (`rollup`, the exact numbers of `blindness`).

use glassgate_audit::checkpoint::Checkpoint;
use glassgate_audit::note::{Kind, Note, Verifier};
use serde::{Deserialize, Serialize};

use crate::witness::said::Report;
use crate::words::{BadWord, Digest, Key, Label, LogId, Moment, People, Shares, Site};

/// The longest record that is looked at, and the longest message that is taken.
pub const MAX_MESSAGE: usize = 16 << 10;
/// The version of messages.
pub const VERSION: u32 = 1;

/// What a message is for: the last part of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Counts that enough people stand behind.
    Aggregates,
    /// What an operator wants to know of a box: starts, gaps, times without a fast path, what could be seen.
    Health,
    /// Alerts as they are raised and cleared.
    Alerts,
    /// Signed checkpoints of the audit log.
    Checkpoints,
    /// What this box, as a witness, signed or refused of the logs of others.
    Witness,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Aggregates, Self::Health, Self::Alerts, Self::Checkpoints, Self::Witness];

    /// The word in subjects.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aggregates => "aggregates",
            Self::Health => "health",
            Self::Alerts => "alerts",
            Self::Checkpoints => "checkpoints",
            Self::Witness => "witness",
        }
    }

    /// The subject of a site's messages.
    pub fn subject(self, site: &Site) -> String {
        format!("gg.{site}.up.{}", self.as_str())
    }

    /// Site and topic of a subject.
    pub fn of_subject(subject: &str) -> Option<(Site, Self)> {
        let mut parts = subject.split('.');
        let (gg, site, up, topic) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if gg != "gg" || up != "up" || parts.next().is_some() {
            return None;
        }
        let topic = Self::ALL.into_iter().find(|known| known.as_str() == topic)?;
        Some((Site::new(site).ok()?, topic))
    }
}

/// What counts are about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// When it began.
    pub start: Moment,
    /// When it was over.
    pub end: Moment,
    /// `hour` or `rest_of_day`.
    pub span: Key,
    /// The group; all of them together where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Label>,
    /// The category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Key>,
    /// The service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Key>,
    /// Whether it is what is left of group or category.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rest: bool,
    /// How many people stand behind it.
    pub subjects: People,
    /// How many must, at that site.
    pub k: u32,
}

/// Bytes each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// From clients.
    #[serde(default)]
    pub bytes_toserver: u64,
    /// To clients.
    #[serde(default)]
    pub bytes_toclient: u64,
}

/// What could be seen, in shares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// By how a name is known.
    #[serde(default)]
    pub evidence_percent: Shares,
    /// By why there is none.
    #[serde(default)]
    pub reasons_percent: Shares,
}

/// What a record says, as far as it goes up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event_type", rename_all = "snake_case")]
#[allow(missing_docs, reason = "members are those of the records, which `glassgate_policy::audit` explains")]
pub enum Said {
    GroupRollup {
        #[serde(flatten)]
        of: Of,
        flows: u64,
        flow: Volume,
        visits: u64,
        active_s: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blocked_percent: Option<u8>,
    },
    Uploads {
        #[serde(flatten)]
        of: Of,
        measure: Key,
        uploads: u64,
        bytes: u64,
    },
    Blindness {
        start: Moment,
        end: Moment,
        #[serde(default)]
        told: Sight,
    },
    Alert {
        alert: Key,
        state: Key,
        severity: Key,
    },
    Started {
        version: Key,
    },
    Stopped {},
    Policy {
        table: Digest,
        rules: u64,
    },
    Charter {
        cause: Key,
        standing: Key,
        level: Key,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        serial: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Digest>,
    },
    Uninspected {
        number: u64,
        cause: Key,
        forwarder: Key,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        frames: Option<u64>,
    },
    Gap {
        cause: Key,
        #[serde(default)]
        events: u64,
        #[serde(default)]
        records: u64,
    },
    LogFull {},
    ClockStep {
        step_ms: i64,
    },
    Removed {
        from_seq: u64,
        to_seq: u64,
    },
}

impl Said {
    /// What it is for.
    pub const fn topic(&self) -> Topic {
        match self {
            Self::GroupRollup { .. } | Self::Uploads { .. } => Topic::Aggregates,
            Self::Alert { .. } => Topic::Alerts,
            _ => Topic::Health,
        }
    }

    /// What counts are about.
    pub const fn of(&self) -> Option<&Of> {
        match self {
            Self::GroupRollup { of, .. } | Self::Uploads { of, .. } => Some(of),
            _ => None,
        }
    }
}

/// The kinds of records that go up.
pub const KINDS: [&str; 13] = [
    "group_rollup",
    "uploads",
    "blindness",
    "alert",
    "started",
    "stopped",
    "policy",
    "charter",
    "uninspected",
    "gap",
    "log_full",
    "clock_step",
    "removed",
];

/// A message about a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// [`VERSION`].
    pub v: u32,
    /// From where.
    pub site: Site,
    /// Of which log.
    pub log: LogId,
    /// Number of the entry.
    pub seq: u64,
    /// Number of the entry before it that went up: a number that the hub has not seen is a hole.
    pub prev: Option<u64>,
    /// The wall clock when it was written, if there was one.
    pub wall: Option<Moment>,
    /// What it says.
    pub said: Said,
}

/// A message with a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMessage {
    /// [`VERSION`].
    pub v: u32,
    /// From where.
    pub site: Site,
    /// Of which log: that of this key.
    pub log: LogId,
    /// The public key of the log, as its `key.pub` says it.
    pub key: String,
    /// The signed note: name, size, root hash, signatures, and nothing else.
    pub note: String,
}

/// Most signatures of a checkpoint that goes up: the log's, and those of witnesses.
const MAX_SIGNATURES: usize = 8;
/// The longest name of a key, in bytes.
pub(crate) const MAX_NAME: usize = 128;

/// Why an entry does not go up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Its kind is not on the list.
    Kind,
    /// It is on the list and does not look as records of this kind do.
    Form,
    /// It is too long.
    Length,
}

/// What an entry of the log says to the fleet.
pub fn said(entry: &[u8]) -> Result<(Option<Moment>, Said), Kept> {
    #[derive(Deserialize)]
    struct Head {
        event_type: String,
        #[serde(default)]
        wall: Option<Moment>,
    }
    if entry.len() > MAX_MESSAGE {
        return Err(Kept::Length);
    }
    let head: Head = serde_json::from_slice(entry).map_err(|_| Kept::Form)?;
    if !KINDS.contains(&head.event_type.as_str()) {
        return Err(Kept::Kind);
    }
    let said = serde_json::from_slice(entry).map_err(|_| Kept::Form)?;
    Ok((head.wall, said))
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refused {
    /// Too long.
    #[error("it is too long")]
    Length,
    /// The subject is none of ours.
    #[error("its subject is none of ours")]
    Subject,
    /// Not a message, or not written as messages are: something is in it that has no place there.
    #[error("it is not written as messages are")]
    Form,
    /// Another version.
    #[error("it is of another version")]
    Version,
    /// It says that it is from another site than whose subject it has.
    #[error("it is from another site than its subject says")]
    Site,
    /// Nobody knows the site.
    #[error("the site is not known")]
    Unknown,
    /// What it says belongs to another subject.
    #[error("what it says belongs to another subject")]
    Topic,
    /// Fewer people stand behind it than the fleet asks for.
    #[error("fewer people stand behind it than the fleet asks for")]
    UnderK,
    /// The same entry was told before, and it said something else.
    #[error("the same entry said something else before")]
    Conflict,
    /// A checkpoint that the key of its log did not sign.
    #[error("the key of the log did not sign it")]
    Signature,
    /// There are as many logs of this site as are kept.
    #[error("the site has more logs than are kept")]
    Logs,
}

impl Refused {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::Length,
        Self::Subject,
        Self::Form,
        Self::Version,
        Self::Site,
        Self::Unknown,
        Self::Topic,
        Self::UnderK,
        Self::Conflict,
        Self::Signature,
        Self::Logs,
    ];

    /// The word in counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Subject => "subject",
            Self::Form => "form",
            Self::Version => "version",
            Self::Site => "site",
            Self::Unknown => "unknown_site",
            Self::Topic => "topic",
            Self::UnderK => "under_k",
            Self::Conflict => "conflict",
            Self::Signature => "signature",
            Self::Logs => "too_many_logs",
        }
    }
}

/// What came up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// About a record.
    Record(Box<Message>),
    /// A checkpoint.
    Checkpoint(CheckpointMessage),
    /// What a witness says of another site's log.
    Witness(Box<Report>),
}

impl Message {
    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl CheckpointMessage {
    /// About a checkpoint that the key signed; of what it says further nothing goes up, and of signatures those alone that belong there.
    pub fn new(site: &Site, key: &str, note: &str) -> Result<Self, Refused> {
        let key = key.trim_end();
        let read = Note::parse(note).map_err(|_| Refused::Form)?;
        let (text, lines) = note.split_at_checked(read.text.len()).ok_or(Refused::Form)?;
        let whole = Checkpoint::parse(text).is_ok_and(|checkpoint| checkpoint.text() == text);
        if !whole {
            return Err(Refused::Form);
        }
        let plain = |line: &&str| {
            Note::parse(&format!("{text}\n{line}")).is_ok_and(|note| {
                let fits = |name: &str| name.len() <= MAX_NAME && !name.contains(char::is_control);
                // An id and a signature of Ed25519, before which a witness puts a time.
                note.signatures.iter().all(|s| matches!(s.bytes.len(), 64 | 72) && fits(s.name))
            })
        };
        let lines: String = lines
            .split_inclusive('\n')
            .filter(|line| *line != "\n")
            .filter(plain)
            .take(MAX_SIGNATURES)
            .collect();
        let message = Self {
            v: VERSION,
            site: site.clone(),
            log: LogId::of(key),
            key: key.to_owned(),
            note: format!("{text}\n{lines}"),
        };
        message.checkpoint().map(|_| message)
    }

    /// What the checkpoint says, if the key of the log signed it. Which log it is follows from the key.
    pub fn checkpoint(&self) -> Result<Checkpoint, Refused> {
        let key = Verifier::parse(&self.key).map_err(|_| Refused::Signature)?;
        let is_its = key.kind() == Kind::Ed25519 && key.to_string() == self.key;
        if !is_its || key.name().len() > MAX_NAME || LogId::of(&self.key) != self.log {
            return Err(Refused::Signature);
        }
        Checkpoint::open(&self.note, &key).map_err(|_| Refused::Signature)
    }

    /// What the message is known by.
    pub fn id(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.note.as_bytes());
        let digest: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{}/{}/c{digest}", self.site, self.log)
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Came {
    /// Reads what came with a subject. It has to be byte for byte what [`Message::bytes`] writes: so nothing else is in it.
    pub fn read(subject: &str, bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > MAX_MESSAGE {
            return Err(Refused::Length);
        }
        let (site, topic) = Topic::of_subject(subject).ok_or(Refused::Subject)?;
        if topic == Topic::Witness {
            return Report::read(&site, bytes).map(|report| Self::Witness(Box::new(report)));
        }
        if topic == Topic::Checkpoints {
            let message: CheckpointMessage = serde_json::from_slice(bytes).map_err(|_| Refused::Form)?;
            check(message.v, &message.site, &site, message.bytes() == bytes)?;
            // The same as what a box would make of it: so nothing else is in it.
            if CheckpointMessage::new(&site, &message.key, &message.note)? != message {
                return Err(Refused::Form);
            }
            return Ok(Self::Checkpoint(message));
        }
        let message: Message = serde_json::from_slice(bytes).map_err(|_| Refused::Form)?;
        check(message.v, &message.site, &site, message.bytes() == bytes)?;
        // Numbers that SQLite and arithmetic over a fleet can hold.
        if !bounded(&message) {
            return Err(Refused::Form);
        }
        if message.said.topic() == topic { Ok(Self::Record(Box::new(message))) } else { Err(Refused::Topic) }
    }
}

fn check(version: u32, says: &Site, subject: &Site, canonical: bool) -> Result<(), Refused> {
    match () {
        () if version != VERSION => Err(Refused::Version),
        () if says != subject => Err(Refused::Site),
        () if !canonical => Err(Refused::Form),
        () => Ok(()),
    }
}

/// The greatest count of one message: a thousand million of them still fit a sum of 64 bits.
const MAX_COUNT: u64 = 1 << 53;

fn bounded(message: &Message) -> bool {
    let fits = |numbers: &[u64]| numbers.iter().all(|n| *n <= MAX_COUNT);
    let counts = match &message.said {
        Said::GroupRollup { flows, flow, visits, active_s, .. } => {
            fits(&[*flows, flow.bytes_toserver, flow.bytes_toclient, *visits, *active_s])
        }
        Said::Uploads { uploads, bytes, .. } => fits(&[*uploads, *bytes]),
        Said::Gap { events, records, .. } => fits(&[*events, *records]),
        _ => true,
    };
    counts && fits(&[message.seq, message.prev.unwrap_or_default()])
}

impl From<BadWord> for Refused {
    fn from(_: BadWord) -> Self {
        Self::Form
    }
}

#[cfg(test)]
mod tests;
