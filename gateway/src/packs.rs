//! Packs on disk: read in one go, checked, used where they lie.

use crate::config::PackFile;
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics};
use glassgate_policy::pack::{self, BadPack, Pack, PublicKey};
use glassgate_policy::table::{Aligned, TableHash};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Opens the pack that a configuration names, and checks it to the last byte. A pack that this process has checked
/// before is not checked again: a reload of the same pack costs little.
pub(crate) fn open(file: &PackFile) -> Result<Pack, Diagnostics> {
    static CHECKED: Mutex<Option<TableHash>> = Mutex::new(None);
    let fault = |e: BadPack| Diagnostics::from(bad(&file.path, &e));
    let trusted: Vec<PublicKey> = file.trusted.iter().filter_map(|key| PublicKey::from_text(key)).collect();
    let pack = Pack::open(Arc::new(read(&file.path)?), &trusted, file.floor).map_err(fault)?;
    let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    // The hash stands under the signature. What lies on disk may have decayed since: the data plane checks its copy itself.
    if *checked != Some(pack.table().hash()) {
        pack.verify().map_err(fault)?;
        *checked = Some(pack.table().hash());
    }
    Ok(pack)
}

/// Reads a file that may be a pack.
pub(crate) fn read(path: &Path) -> Result<Aligned, Diagnostics> {
    let unreadable = |e: std::io::Error| {
        let message = format!("the pack can't be read: {e}");
        Diagnostics::from(Diagnostic::file(path.display().to_string(), "unreadable", message))
    };
    let file = File::open(path).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len();
    if len > pack::MAX_BYTES as u64 {
        return Err(bad(path, &BadPack::Length { expected: pack::MAX_BYTES as u64, found: len }).into());
    }
    Aligned::read(file, len as usize).map_err(unreadable)
}

/// What is wrong with a pack, and what to do.
pub(crate) fn bad(path: &Path, error: &BadPack) -> Diagnostic {
    let fault = Diagnostic::file(path.display().to_string(), "bad-pack", error.to_string());
    match error {
        BadPack::Unsigned => fault.help("sign it with `glassgate pack sign`"),
        BadPack::UnknownKey(_) => {
            fault.help("`glassgate pack show` says who made it; trust its key, or don't use it")
        }
        BadPack::Needs(_) => fault.help("update the gateway first"),
        BadPack::Serial { .. } => fault.help("use the latest pack, or lower `signatures.pack_floor`"),
        _ => fault.help("copy it again from where it came"),
    }
}
