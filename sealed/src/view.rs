//! What a case shows: facts about one person in the named categories and days, and what is missing of them.

use std::collections::HashMap;

use age::x25519::Recipient;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::seal::{Facts, Opener, SealedSession};

/// The most sessions that one look shows; how many there are besides is said.
pub const MAX_SESSIONS: usize = 20_000;
/// The most losses that it lists.
const MAX_GAPS: usize = 1000;

/// Somebody with a voice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Person {
    /// Which voice.
    pub role: String,
    /// Who, as the charter names them.
    pub name: String,
}

/// What a case shows. It names who opened and who approved it: a copy says whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The case.
    pub case: String,
    /// The gateway.
    pub gateway: String,
    /// Who opened it.
    pub opened_by: Person,
    /// Who approved it.
    pub approved_by: Person,
    /// Who looks.
    pub shown_to: Person,
    /// Whom it is about.
    pub subject: String,
    /// The purpose that the records were made for.
    pub purpose: String,
    /// Their categories.
    pub categories: Vec<String>,
    /// The first day.
    pub from: Date,
    /// The last.
    pub to: Date,
    /// Why.
    pub reason: String,
    /// Sessions, in the order of the log.
    pub sessions: Vec<Seen>,
    /// Sessions beyond these.
    pub more_sessions: u64,
    /// Records that should open and don't: they are not what was sealed.
    pub spoilt: u64,
    /// What was lost in these days, of whomever: what is not here may still have been.
    pub gaps: Vec<Gap>,
    /// Losses beyond these.
    pub more_gaps: u64,
}

/// A session, with its place in the log: `glassgate audit prove` proves that it stood there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The number of its record.
    pub seq: u64,
    /// The facts.
    #[serde(flatten)]
    pub facts: Facts,
}

/// A loss, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The number of its record.
    pub seq: u64,
    /// When it was written.
    pub wall: Option<Timestamp>,
    /// Why.
    pub cause: String,
    /// Records that are missing.
    #[serde(default)]
    pub records: u64,
    /// Events of the fast path that are missing.
    #[serde(default)]
    pub events: u64,
}

/// A look that was approved and is on record: what may be opened, and whom for.
#[derive(Debug)]
pub struct Look {
    pub(crate) head: View,
    pub(crate) openers: Vec<Opener>,
    pub(crate) recipient: String,
    /// Losses from here to here count: the days, and one more on either side for zones.
    pub(crate) span: [Timestamp; 2],
}

/// What matters of a record.
#[derive(Deserialize)]
struct Line {
    seq: u64,
    wall: Option<Timestamp>,
    event_type: String,
    key: Option<String>,
    pseudonym: Option<String>,
    sealed: Option<String>,
    cause: Option<String>,
    #[serde(default)]
    records: u64,
    #[serde(default)]
    events: u64,
}

impl Look {
    /// Goes through the records of a log, opens what the case is about, and seals it to who looks: Base64 of an `age` file of
    /// JSON. Records are lines; what means nothing is passed over.
    pub fn at<E>(self, records: impl Iterator<Item = Result<Vec<u8>, E>>) -> Result<String, LookError<E>> {
        let mut view = self.head;
        let openers: HashMap<&str, &Opener> = self.openers.iter().map(|o| (o.key(), o)).collect();
        for record in records {
            let record = record.map_err(LookError::Log)?;
            // Most records are neither; reading those as JSON would be most of the work.
            if !has(&record, b"\"session\"") && !has(&record, b"\"gap\"") {
                continue;
            }
            let Ok(line) = serde_json::from_slice::<Line>(&record) else { continue };
            match line.event_type.as_str() {
                "session" => {
                    let Line {
                        seq, key: Some(key), pseudonym: Some(pseudonym), sealed: Some(sealed), ..
                    } = line
                    else {
                        continue;
                    };
                    let Some(opener) = openers.get(key.as_str()) else { continue };
                    match opener.open(&SealedSession { key, pseudonym, sealed }) {
                        None => {}
                        Some(Err(_)) => view.spoilt += 1,
                        Some(Ok(_)) if view.sessions.len() >= MAX_SESSIONS => view.more_sessions += 1,
                        Some(Ok(facts)) => view.sessions.push(Seen { seq, facts }),
                    }
                }
                "gap" => {
                    let Line { seq, wall, records, events, .. } = line;
                    // Without a clock nobody knows whether it was then.
                    if wall.is_some_and(|wall| wall < self.span[0] || wall > self.span[1]) {
                        continue;
                    }
                    let cause = line.cause.unwrap_or_default();
                    if view.gaps.len() < MAX_GAPS {
                        view.gaps.push(Gap { seq, wall, cause, records, events });
                    } else {
                        view.more_gaps += 1;
                    }
                }
                _ => {}
            }
        }
        let text = zeroize::Zeroizing::new(serde_json::to_vec(&view).map_err(|_| LookError::Recipient)?);
        let to: Recipient = self.recipient.parse().map_err(|_| LookError::Recipient)?;
        let sealed = age::encrypt(&to, &text).map_err(|_| LookError::Recipient)?;
        Ok(BASE64.encode(sealed))
    }
}

/// Why a look shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum LookError<E> {
    /// The log can't be read.
    #[error("the audit log can't be read: {0}")]
    Log(E),
    /// It can't be sealed to who looks.
    #[error("what is there can't be sealed to who looks")]
    Recipient,
}

fn has(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window == word)
}
