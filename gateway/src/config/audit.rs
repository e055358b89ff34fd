//! `[audit]`: where the log is, what it is called, and who remembers how far it was.

use super::{Check, schema};
use glassgate_audit::note::{Kind, Verifier};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Audit {
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// Its name, when it is made; else it follows from its key.
    pub(crate) origin: Option<String>,
    pub(crate) witness: Option<Witness>,
}

/// Who remembers how far the log was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Witness {
    pub(crate) address: SocketAddr,
    /// Where checkpoints are posted.
    pub(crate) url: String,
    /// The public key, as text that was checked.
    pub(crate) key: String,
}

pub(super) fn check(check: &mut Check<'_>, raw: &schema::audit) -> Option<Audit> {
    let origin = raw.origin.value.clone();
    if origin.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+') {
        check
            .fault(&raw.origin, "origin", "the name of a log has neither spaces nor plus signs")
            .help("write it like an address without a scheme: \"example.com/gateway-1\"");
        return None;
    }
    let witness = match (raw.witness.value.is_empty(), raw.witness_key.value.is_empty()) {
        (true, true) => None,
        (false, false) => Some(witness(check, raw)?),
        (true, false) => {
            check
                .fault(&raw.witness, "witness", "there is the key of a witness, but no witness")
                .help("say where it is: \"http://10.9.0.3:7380\"");
            return None;
        }
        (false, true) => {
            check
                .fault(&raw.witness_key, "witness", "there is a witness, but not its key")
                .help("`glassgate witness` prints its key when it starts");
            return None;
        }
    };
    let dir = check.path(&raw.dir)?;
    Some(Audit { dir, origin: Some(origin).filter(|origin| !origin.is_empty()), witness })
}

fn witness(check: &mut Check<'_>, raw: &schema::audit) -> Option<Witness> {
    let url = raw.witness.value.trim_end_matches('/');
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let (address, _) = rest.split_once('/').unwrap_or((rest, ""));
    let Ok(address) = address.parse::<SocketAddr>() else {
        check
            .fault(&raw.witness, "witness", format!("`{url}` is no address of a witness"))
            .help("write it as \"http://10.9.0.3:7380\": an address, not a name, and a port");
        return None;
    };
    let why = match Verifier::parse(&raw.witness_key.value) {
        Ok(key) if key.kind() == Kind::Cosignature => {
            return Some(Witness { address, url: format!("{url}/add-checkpoint"), key: key.to_string() });
        }
        Ok(_) => "this is the key of a log, not of a witness".to_owned(),
        Err(why) => why.to_string(),
    };
    check.fault(&raw.witness_key, "witness", why).help("`glassgate witness` prints its key when it starts");
    None
}
