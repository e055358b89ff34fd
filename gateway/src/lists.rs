//! Lists of others on disk: which files belong to one, and what is read from them.

use crate::config::read_bounded;
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics};
use glassgate_policy::exchange::{self, File, Format, Imported, Options};
use glassgate_policy::signature::MAX_SERVICE_KEY;
use glassgate_policy::source::MAX_BYTES;
use std::path::{Path, PathBuf};

/// More folders than this are no collection of lists.
const MAX_FOLDERS: usize = 1000;
/// What a folder of UT1 holds, of which one is enough.
const UT1_FILES: [&str; 5] =
    ["domains", "urls", "expressions", "very_restrictive_urls", "very_restrictive_expression"];

/// A list that was found, not yet read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What it is called: the file without its ending, or the folder.
    pub(crate) name: String,
    files: Vec<PathBuf>,
}

/// Finds the lists at a path: one, but for a folder of UT1's folders.
pub(crate) fn find(path: &Path, format: Format) -> Result<Vec<Found>, Diagnostics> {
    let fault = |code, message: String| Diagnostic::file(path.display().to_string(), code, message);
    let unreadable =
        |e: std::io::Error| Diagnostics::from(fault("unreadable", format!("this can't be read: {e}")));
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![Found { name: name_of(path.file_stem()), files: vec![path.to_owned()] }]);
    }
    if format != Format::Ut1 {
        let fault = fault("folder", "this is a folder".to_owned());
        return Err(fault.help("name a file; only lists of format `ut1` are folders").into());
    }
    if let Some(found) = ut1_folder(path) {
        return Ok(vec![found]);
    }
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        all.extend(ut1_folder(&entry.map_err(unreadable)?.path()));
        if all.len() > MAX_FOLDERS {
            return Err(fault("too-many", format!("more than {MAX_FOLDERS} folders")).into());
        }
    }
    if all.is_empty() {
        let fault = fault("no-list", "there is no file `domains` in this folder or one below".to_owned());
        return Err(fault.help("name a folder such as `blacklists/games`, or the one above").into());
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn ut1_folder(path: &Path) -> Option<Found> {
    let files: Vec<PathBuf> =
        UT1_FILES.iter().map(|file| path.join(file)).filter(|file| file.is_file()).collect();
    (!files.is_empty()).then(|| Found { name: name_of(path.file_name()), files })
}

fn name_of(stem: Option<&std::ffi::OsStr>) -> String {
    stem.unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads a list; what is included is looked for beside the list.
pub(crate) fn read(found: &Found, options: Options) -> Result<Imported, Diagnostics> {
    let load = |path: &Path| {
        let bytes = read_bounded(path, MAX_BYTES as u64)?;
        Ok(File { path: path.display().to_string(), bytes })
    };
    let mut files = Vec::new();
    for path in &found.files {
        let file = load(path).map_err(|e: std::io::Error| {
            let message = format!("this can't be read: {e}");
            Diagnostics::from(Diagnostic::file(path.display().to_string(), "unreadable", message))
        })?;
        files.push(file);
    }
    let folder = found.files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."));
    let mut include = |name: &str| load(&folder.join(name)).map_err(|e: std::io::Error| e.to_string());
    Ok(exchange::import(options, &files, &mut include))
}

/// The key of a service that is called after a list.
pub(crate) fn key_of(name: &str) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let key: String = name.chars().map(fold).take(MAX_SERVICE_KEY).collect();
    let key = key.trim_matches('-');
    if key.is_empty() { "list".to_owned() } else { key.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_names() {
        assert_eq!(key_of("Phishing Army (extended)"), "phishing-army--extended");
        assert_eq!(key_of("招聘"), "list");
        assert!(glassgate_policy::signature::is_service_key(&key_of(&"x_".repeat(80))));
    }

    #[test]
    fn a_collection_of_ut1_is_found_folder_by_folder() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, file) in [("b", "domains"), ("a", "urls"), ("c", "README")] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join(file), "x.example\n").unwrap();
        }
        let names = |path: &Path| {
            find(path, Format::Ut1).map(|all| all.into_iter().map(|f| f.name).collect::<Vec<_>>())
        };
        let code = |faults: Diagnostics| faults.as_slice()[0].code;
        assert_eq!(names(dir.path()).unwrap(), ["a", "b"]);
        assert_eq!(names(&dir.path().join("b")).unwrap(), ["b"]);
        assert_eq!(code(names(&dir.path().join("c")).unwrap_err()), "no-list");
        assert_eq!(code(find(dir.path(), Format::Plain).unwrap_err()), "folder");
    }
}
