//! The file of a backup: JSON, read as what anybody could have written.
//!
//! It has names and contents and nothing else: no links, no owners, no modes, no paths that lead anywhere. Bounds come before contents.

use super::MAX_BYTES;
use crate::exit::{Ended, Exit};
use anyhow::Result;
use data_encoding::{BASE64, HEXLOWER};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// No backup is longer: what it may hold, in base 64, and its names.
const MAX_FILE: u64 = 48 << 20;
/// Files at most.
pub(super) const MAX_FILES: usize = 512;
/// Folders in folders at most.
pub(super) const MAX_DEPTH: usize = 8;
const MAX_NAME: usize = 200;
const FORMAT: u32 = 1;

/// A backup.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backup {
    /// Its format.
    pub(super) glassgate_backup: u32,
    /// Who wrote it.
    pub(super) version: String,
    /// When, by the wall clock of the machine.
    pub(super) made: String,
    /// Which of the files is the configuration.
    pub(super) config: String,
    pub(super) files: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) charter: Option<Signed>,
    /// What belongs to the configuration and is not in it, and why.
    pub(super) left_out: Vec<LeftOut>,
}

/// A file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Below the folder of the configuration.
    pub(super) name: String,
    /// Of its content.
    pub(super) sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// The charter that was installed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    pub(super) text: String,
    pub(super) signatures: String,
}

/// Something that is not in a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeftOut {
    pub(super) name: String,
    pub(super) why: String,
}

impl Entry {
    pub(super) fn new(name: String, bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
        let base64 = text.is_none().then(|| BASE64.encode(bytes));
        Self { name, sha256: sha256(bytes), text, base64 }
    }

    fn content(&self) -> Result<Vec<u8>, String> {
        let bytes = match (&self.text, &self.base64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(base64)) => {
                BASE64.decode(base64.as_bytes()).map_err(|e| format!("`{}` is no base 64: {e}", self.name))?
            }
            _ => return Err(format!("`{}` needs one of `text` and `base64`", self.name)),
        };
        if sha256(&bytes) != self.sha256 {
            return Err(format!("`{}` is not what its SHA-256 says: the backup is damaged", self.name));
        }
        Ok(bytes)
    }
}

/// A backup whose names and contents are good.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) backup: Backup,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Of the whole file.
    pub(super) sha256: String,
}

/// Reads a backup.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let invalid = |why: String| Ended::new(Exit::Invalid, format!("{}: {why}", path.display()));
    let bytes =
        crate::config::read_bounded(path, MAX_FILE).map_err(|e| invalid(format!("can't be read: {e}")))?;
    Ok(parse(&bytes).map_err(invalid)?)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Opened, String> {
    let backup: Backup = serde_json::from_slice(bytes).map_err(|e| format!("is no backup: {e}"))?;
    if backup.glassgate_backup != FORMAT {
        return Err(format!("is a backup of format {}, and {FORMAT} is known", backup.glassgate_backup));
    }
    if backup.files.len() > MAX_FILES {
        return Err(format!("has {} files, and {MAX_FILES} are the most", backup.files.len()));
    }
    let (mut files, mut size) = (BTreeMap::new(), 0);
    for entry in &backup.files {
        if !is_name(&entry.name) {
            return Err(format!("`{}` is no name of a file in the folder", entry.name.escape_debug()));
        }
        let content = entry.content()?;
        size += content.len() as u64;
        if size > MAX_BYTES {
            return Err(format!("holds more than {MAX_BYTES} bytes"));
        }
        if files.insert(entry.name.clone(), content).is_some() {
            return Err(format!("`{}` is in it twice", entry.name));
        }
    }
    let folders: BTreeSet<&str> = files.keys().flat_map(|name| above(name)).collect();
    if let Some(both) = files.keys().find(|name| folders.contains(name.as_str())) {
        return Err(format!("`{both}` is a file and a folder in it"));
    }
    if !files.contains_key(&backup.config) {
        return Err(format!("its configuration `{}` is not in it", backup.config.escape_debug()));
    }
    Ok(Opened { backup, files, sha256: sha256(bytes) })
}

/// The folders that a name is in.
fn above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

/// Whether this names a file below a folder, and nothing else.
pub(super) fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.contains('\\') && !part.contains(char::is_control)
    };
    name.len() <= MAX_NAME && name.split('/').count() <= MAX_DEPTH && name.split('/').all(part)
}

pub(super) const fn format() -> u32 {
    FORMAT
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref())
}
