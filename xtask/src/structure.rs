//! Rules about the work tree that no compiler holds. Each gives its findings as lines; none means it is kept.

pub mod crates;
pub mod dependencies;
pub mod links;
pub mod sources;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The files below `dir` whose name ends with one of `endings`, without what git does not keep.
fn files(dir: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&entry.path(), endings)?);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
