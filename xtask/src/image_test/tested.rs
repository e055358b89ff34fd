//! Which state of the firmware was last seen to pass, part by part: `image/tested.toml`, which is part of the repository.
//!
//! All parts of `image-test` take half an hour and more, so `cargo xtask test` runs, where it is asked to, and else names those of which the firmware has changed since. That is told by a
//! hash of the files themselves, not by commits, of which a clone may have none.
//!
//! The firmware is what counts: its files, its build, the guard, and the commands that its scripts rely on. A change of the test alone is tried
//! by whoever makes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum as _;
use ring::digest::{Context as Hash, SHA256};
use serde::{Deserialize, Serialize};

use super::Part;
use crate::workspace;

/// What the firmware is made of and guarded by, from the root of the work tree: files, and folders with all that is in them.
const INPUTS: [&str; 11] = [
    "image",
    "gateway/src/backup",
    "gateway/src/backup.rs",
    "gateway/src/doctor",
    "gateway/src/doctor.rs",
    "gateway/src/guard",
    "gateway/src/guard.rs",
    "gateway/src/ports",
    "gateway/src/ports.rs",
    "xtask/src/image",
    "xtask/src/image.rs",
];
const FILE: &str = "image/tested.toml";
/// No part of the firmware: this file, what is said about the firmware, and bounds that are held elsewhere.
const LEFT_OUT: [&str; 3] = [FILE, "image/README.md", "image/budgets.toml"];

/// The last run of each part in which every check held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tested(BTreeMap<String, Run>);

/// A run of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The day, as year-month-day.
    date: String,
    /// How many checks held.
    checks: usize,
    /// How long it took, without images and gateway.
    seconds: u64,
    /// Hash of the inputs.
    inputs: String,
}

impl Tested {
    /// What the repository says; nothing, where the file says nothing that can be understood.
    pub fn read() -> Self {
        let text = std::fs::read_to_string(workspace::root().join(FILE)).unwrap_or_default();
        toml::from_str(&text).unwrap_or_default()
    }

    /// Adds a run.
    pub fn note(&mut self, part: Part, inputs: &str, checks: usize, took: Duration) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let run = Run { date: date(now), checks, seconds: took.as_secs(), inputs: inputs.to_owned() };
        self.0.insert(name(part), run);
        Ok(())
    }

    /// Writes the file.
    pub fn write(&self) -> Result<PathBuf> {
        let path = workspace::root().join(FILE);
        let text = format!(
            "# Written by `cargo xtask image-test`: the last run of each part in which every check held. `cargo xtask test` names those\n\
             # whose inputs are others by now, and with `--only image` runs them (xtask/src/image_test/tested.rs).\n\n{}",
            toml::to_string(self)?
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Parts that were not seen to pass with these inputs.
    pub fn stale(&self, inputs: &str) -> Vec<Part> {
        let all = Part::value_variants().iter().copied();
        all.filter(|part| self.0.get(&name(*part)).is_none_or(|run| run.inputs != inputs)).collect()
    }

    /// What is to be said where none is stale.
    pub fn say(&self, inputs: &str) -> String {
        let checks: usize = self.0.values().map(|run| run.checks).sum();
        let (first, last) = (self.0.values().map(|r| &r.date).min(), self.0.values().map(|r| &r.date).max());
        let when = match (first, last) {
            (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
            (first, _) => first.cloned().unwrap_or_default(),
        };
        format!("inputs are those of {checks} checks that held, {when}; {}…", &inputs[..inputs.len().min(16)])
    }
}

/// As it is written after `--only`.
pub fn name(part: Part) -> String {
    part.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

/// Hash of the inputs as they are in the work tree.
pub fn inputs() -> Result<String> {
    hash(&workspace::root(), &INPUTS)
}

fn hash(root: &Path, inputs: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    for input in inputs {
        let path = root.join(input);
        ensure!(
            path.exists(),
            "{input} is not there: what the firmware is made of stands in image_test/tested.rs"
        );
        collect(&path, &mut files)?;
    }
    files.sort();
    let mut all = Hash::new(&SHA256);
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file);
        if LEFT_OUT.iter().any(|left| name == Path::new(left)) {
            continue;
        }
        let content = match std::fs::read_link(&file) {
            Ok(to) => to.into_os_string().into_encoded_bytes(),
            Err(_) => std::fs::read(&file).with_context(|| file.display().to_string())?,
        };
        let name = name.as_os_str().as_encoded_bytes();
        for part in [name, &content] {
            all.update(&(part.len() as u64).to_le_bytes());
            all.update(part);
        }
    }
    Ok(all.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.symlink_metadata()?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

/// Of seconds since 1970, by the calendar of the Gregorian reform.
fn date(seconds: u64) -> String {
    let (mut days, mut year) = (seconds / 86_400, 1970);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_and_its_name_count() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let now = || hash(dir.path(), &["image", "guard.rs"]).unwrap();
        write("image/a/b", "1");
        write("guard.rs", "2");
        let first = now();
        write("other.rs", "3");
        write("image/tested.toml", "4");
        assert_eq!(now(), first);
        write("image/a/b", "5");
        let second = now();
        std::fs::rename(dir.path().join("image/a/b"), dir.path().join("image/a/c")).unwrap();
        let third = now();
        assert!(first != second && second != third);
        assert!(hash(dir.path(), &["gone"]).is_err());
    }

    #[test]
    fn parts_are_stale_until_they_are_noted_with_these_inputs() {
        let mut tested = Tested::default();
        assert_eq!(tested.stale("a").len(), Part::value_variants().len());
        for part in Part::value_variants() {
            tested.note(*part, "a", 3, Duration::from_secs(5)).unwrap();
        }
        assert!(tested.stale("a").is_empty());
        assert!(tested.say("a").contains(&format!("{} checks", 3 * Part::value_variants().len())));
        tested.note(Part::Crash, "b", 3, Duration::ZERO).unwrap();
        assert_eq!(tested.stale("a"), [Part::Crash]);
        let again: Tested = toml::from_str(&toml::to_string(&tested).unwrap()).unwrap();
        assert_eq!(again, tested);
    }

    #[test]
    fn the_file_of_the_repository_can_be_read() {
        let text = std::fs::read_to_string(workspace::root().join(FILE)).unwrap();
        let tested: Tested = toml::from_str(&text).unwrap();
        let known: Vec<String> = Part::value_variants().iter().map(|part| name(*part)).collect();
        assert!(tested.0.keys().all(|part| known.contains(part)));
        assert_eq!(inputs().unwrap().len(), 64);
    }

    #[test]
    fn days_have_their_dates() {
        let of = |days: u64| date(days * 86_400 + 86_399);
        assert_eq!(
            [of(0), of(59), of(11_016), of(20_453)],
            ["1970-01-01", "1970-03-01", "2000-02-29", "2025-12-31"]
        );
    }
}
