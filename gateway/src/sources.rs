//! Signature sources from disk, and the table that is compiled from them.

use crate::clock;
use crate::config::read_bounded;
use glassgate_policy::Name;
use glassgate_policy::builtin;
use glassgate_policy::compile::{self, Compiled, KeyChoice, compile};
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics};
use glassgate_policy::source::{self, Source};
use std::path::{Path, PathBuf};

/// More files than this are no folder of signatures.
const MAX_FILES: usize = 1000;

/// Reads and compiles the sources at `path`.
pub(crate) fn table(path: Option<&Path>) -> Result<Compiled, Diagnostics> {
    let (sources, key) = read(path)?;
    table_of(&sources, &[], key)
}

/// Compiles sources, without the names of `exclude` and what is below them.
pub(crate) fn table_of(
    sources: &[Source],
    exclude: &[String],
    key: KeyChoice,
) -> Result<Compiled, Diagnostics> {
    // The configuration holds canonical names only.
    let exclude = exclude.iter().filter_map(|name| Name::from_wire(name.as_bytes()).ok()).collect();
    let today = Some(clock::shown_day());
    compile(sources, &compile::Options { key, today, exclude, ..compile::Options::default() })
}

/// Reads the sources at `path`: a folder, of which every `.tsv` file counts, in order of names; or one file. Without a
/// path, the signatures that come with the gateway. Says how the table that is compiled from them gets its key.
pub(crate) fn read(path: Option<&Path>) -> Result<(Vec<Source>, KeyChoice), Diagnostics> {
    match path {
        Some(path) => Ok((from_disk(path)?, KeyChoice::Random)),
        None => Ok((builtin::sources()?, KeyChoice::FromContent)),
    }
}

fn from_disk(path: &Path) -> Result<Vec<Source>, Diagnostics> {
    let (mut sources, mut faults) = (Vec::new(), Diagnostics::new());
    for file in files(path)? {
        let name = file.display().to_string();
        match read_bounded(&file, source::MAX_BYTES as u64) {
            Ok(bytes) => match Source::parse(&name, &bytes) {
                Ok(source) => sources.push(source),
                Err(more) => faults.append(more),
            },
            Err(e) => faults.push(unreadable(&file, &e)),
        }
    }
    if faults.has_errors() { Err(faults) } else { Ok(sources) }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Diagnostics> {
    let fail = |e: std::io::Error| Diagnostics::from(unreadable(path, &e));
    if !std::fs::metadata(path).map_err(fail)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        if file.extension().is_some_and(|e| e == "tsv") {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            let message = format!("more than {MAX_FILES} sources");
            return Err(Diagnostic::file(path.display().to_string(), "too-many", message).into());
        }
    }
    if files.is_empty() {
        let fault = Diagnostic::file(
            path.display().to_string(),
            "no-sources",
            "there is no `.tsv` file in this folder",
        );
        return Err(fault
            .help("leave `signatures.path` empty for the signatures that come with the gateway")
            .into());
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, e: &std::io::Error) -> Diagnostic {
    Diagnostic::file(path.display().to_string(), "unreadable", format!("this can't be read: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_the_project_is_what_comes_with_the_gateway() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/signatures");
        let (from_disk, built_in) = (table(Some(&folder)).unwrap(), table(None).unwrap());
        assert_eq!(from_disk.report.listed, built_in.report.listed);
        assert_eq!(from_disk.report.services, built_in.report.services);
        assert!(built_in.report.services > 100);
    }

    #[test]
    fn what_is_no_source_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(table(Some(dir.path())).unwrap_err().to_string().contains("no `.tsv` file"));
        let missing = dir.path().join("none");
        assert!(table(Some(&missing)).unwrap_err().to_string().contains("can't be read"));
        let bad = dir.path().join("a.tsv");
        std::fs::write(&bad, "no such thing\n").unwrap();
        let faults = table(Some(dir.path())).unwrap_err();
        assert!(faults.has_errors() && faults.as_slice()[0].path.ends_with("a.tsv"), "{faults}");
    }
}
