//! What goes between the gateway and holders: what is asked, what is signed, what is said. Texts that files can carry.

use glassgate_policy::case::CaseAct;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::keys::SealedShare;
use crate::{digest, hex};

/// What somebody asks for, before anybody signs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Whom it is about: their key in the directory.
    pub subject: String,
    /// For which purpose the records were made.
    pub purpose: String,
    /// Categories.
    pub categories: Vec<String>,
    /// The first day.
    pub from: Date,
    /// The last day.
    pub to: Date,
    /// Why.
    pub reason: String,
    /// For how many days the case may be open.
    pub valid_days: u8,
}

/// What is signed. The gateway writes it, as one line of JSON; whoever signs reads it first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// 1.
    pub version: u32,
    /// A number that no other case has.
    pub case: String,
    /// The gateway, by the name of its log.
    pub gateway: String,
    /// Whom it is about.
    pub subject: String,
    /// The purpose.
    pub purpose: String,
    /// The categories.
    pub categories: Vec<String>,
    /// The first day.
    pub from: Date,
    /// The last.
    pub to: Date,
    /// Why.
    pub reason: String,
    /// SHA-256 of the charter in force.
    pub charter: String,
    /// When it was written.
    pub drafted: Timestamp,
    /// When it is over.
    pub expires: Timestamp,
    /// To which shares are sealed: a key of this case alone.
    pub recipient: String,
    /// What the commitment in the audit log is salted with.
    pub salt: String,
}

impl Request {
    /// Reads the text of a request.
    pub fn read(text: &str) -> Result<Self, String> {
        let request: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if request.version == 1 { Ok(request) } else { Err("it is of another version".to_owned()) }
    }
}

/// A holder, as a brief names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BriefHolder {
    /// Which voice.
    pub role: String,
    /// Who.
    pub name: String,
    /// By which they sign.
    pub key: String,
}

/// A key of the case's days, in shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BriefKey {
    /// Which.
    pub key: String,
    /// Its shares.
    pub shares: Vec<SealedShare>,
}

/// All that a holder needs to say something about a case, on whatever machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Brief {
    /// The text that is signed: see [`Request`].
    pub request: String,
    /// Who may say something.
    pub holders: Vec<BriefHolder>,
    /// What is to be opened.
    pub keys: Vec<BriefKey>,
}

/// What a holder says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Of which case.
    pub case: String,
    /// What.
    pub act: String,
    /// The public key of who says it.
    pub key: String,
    /// Shares, sealed to the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<String>,
    /// Ed25519 over act, request and shares.
    pub signature: String,
}

/// The bytes that are signed: what they are, what is said, and of what.
pub fn message(act: CaseAct, request: &str, shares: Option<&str>) -> Vec<u8> {
    let request = hex(&digest("glassgate-case-v1 request", &[request.as_bytes()]));
    let shares = hex(&digest("glassgate-case-v1 shares", &[shares.unwrap_or_default().as_bytes()]));
    format!("glassgate-case-v1\n{act}\n{request}\n{shares}\n").into_bytes()
}
