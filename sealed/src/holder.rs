//! What a holder of shares does, on a machine of their own: says yes or no to a case, and reads what it shows.
//!
//! A holder has a signing key (Ed25519, as `glassgate charter key` makes it) and an `age` identity (as `age-keygen` and
//! `glassgate case identity` make it). Neither ever leaves their machine: what goes to the gateway are a signature and the shares of
//! the case's days, sealed to the case.

use age::secrecy::ExposeSecret as _;
pub use age::x25519::Identity;
use age::x25519::Recipient;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use glassgate_policy::case::CaseAct;
use glassgate_policy::charter::SigningKey;
use serde::{Deserialize, Serialize};

use crate::case::{Brief, Request, Statement, message};
use crate::view::View;
use crate::{digest, hex};

/// The longest identity file.
const MAX_IDENTITY: usize = 4096;

/// Why a holder can't say it.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// The key is that of no holder.
    #[error("the key is that of none of the holders of this case")]
    NotAHolder,
    /// The request is none.
    #[error("the request of the case can't be read: {0}")]
    Request(String),
    /// It needs shares, and so an identity.
    #[error("to {0} a case takes the `age` identity that the shares are sealed to")]
    NoIdentity(CaseAct),
    /// A share does not open.
    #[error("the share of {0} does not open with this identity")]
    Share(String),
    /// The case can't be sealed to.
    #[error("the shares can't be sealed to the case")]
    Recipient,
    /// A text is no identity.
    #[error("this is no `age` identity: a line of it begins with AGE-SECRET-KEY-1")]
    Identity,
    /// What a case showed does not open.
    #[error("what was shown is not sealed to this identity")]
    View,
}

/// A share that a holder hands to a case.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandedShare {
    pub(crate) key: String,
    pub(crate) share: String,
}

/// A new identity, as the text of its file, and its recipient.
pub fn new_identity() -> (String, String) {
    let identity = Identity::generate();
    let recipient = identity.to_public().to_string();
    (format!("# public key: {recipient}\n{}\n", identity.to_string().expose_secret()), recipient)
}

/// Reads an identity file.
pub fn read_identity(text: &str) -> Result<Identity, HolderError> {
    let lines = text.get(..text.len().min(MAX_IDENTITY)).unwrap_or_default().lines();
    let line = lines.map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.and_then(|line| line.parse().ok()).ok_or(HolderError::Identity)
}

/// Says something about a case. `identity` is needed for opening and approving it, which hand shares to it.
pub fn sign(
    brief: &Brief,
    act: CaseAct,
    key: &SigningKey,
    identity: Option<&Identity>,
) -> Result<Statement, HolderError> {
    let request = Request::read(&brief.request).map_err(HolderError::Request)?;
    let public = key.public().to_string();
    let holder = brief.holders.iter().find(|holder| holder.key == public).ok_or(HolderError::NotAHolder)?;
    let shares = match act {
        CaseAct::Open | CaseAct::Approve => {
            let identity = identity.ok_or(HolderError::NoIdentity(act))?;
            Some(hand_over(brief, &holder.role, identity, &request.recipient)?)
        }
        _ => None,
    };
    let message = message(act, &brief.request, shares.as_deref());
    let signature = hex(&key.sign_message(&message));
    Ok(Statement { case: request.case, act: act.as_str().to_owned(), key: public, shares, signature })
}

/// Opens the shares of one's own and seals them to the case.
fn hand_over(brief: &Brief, role: &str, identity: &Identity, case: &str) -> Result<String, HolderError> {
    let mut handed = Vec::new();
    for key in &brief.keys {
        let failed = || HolderError::Share(key.key.clone());
        let own = key.shares.iter().find(|share| share.role == role).ok_or_else(failed)?;
        let sealed = BASE64.decode(&own.sealed).map_err(|_| failed())?;
        let share = zeroize::Zeroizing::new(age::decrypt(identity, &sealed).map_err(|_| failed())?);
        handed.push(HandedShare { key: key.key.clone(), share: BASE64.encode(&*share) });
    }
    let text = zeroize::Zeroizing::new(serde_json::to_vec(&handed).map_err(|_| HolderError::Recipient)?);
    let to: Recipient = case.parse().map_err(|_| HolderError::Recipient)?;
    let sealed = age::encrypt(&to, &text).map_err(|_| HolderError::Recipient)?;
    Ok(BASE64.encode(sealed))
}

/// Reads what a case showed, which is sealed to who looked.
pub fn read_view(sealed: &str, identity: &Identity) -> Result<View, HolderError> {
    let bytes = BASE64.decode(sealed.trim()).map_err(|_| HolderError::View)?;
    let text = age::decrypt(identity, &bytes).map_err(|_| HolderError::View)?;
    serde_json::from_slice(&text).map_err(|_| HolderError::View)
}

/// Whether a commitment, as it stands in the audit log, is that to this subject.
pub fn is_about(commitment: &str, salt: &str, subject: &str) -> bool {
    hex(&commitment_to(salt, subject)) == commitment
}

pub(crate) fn commitment_to(salt: &str, subject: &str) -> [u8; 32] {
    digest("glassgate-case-v1 subject", &[salt.as_bytes(), b"\n", subject.as_bytes()])
}
