//! Who has read which notice: a file of its own beside the charter, a line for each receipt.
//!
//! ```json
//! {"device":"3c:22:fb:01:02:03","notice":"2027-1","sha256":"…","at":"2027-01-11T08:01:12Z"}
//! ```
//!
//! A receipt is of what the directory enrols: a device, an account, a fixed address. Whoever has none where the charter asks for
//! one is not observed, so a file that is lost or damaged takes observation away. Lines that mean nothing are passed over and counted. It
//! holds [`MAX`] receipts; what comes then is not taken, and said.
//!
//! **Only the gateway's own user can read or write it.** What somebody adds all the same is not believed while the gateway runs, and shows
//! in the audit log afterwards, which has the file's SHA-256 of each hour in which it changed, and of each start.
//!
//! **Whoever is gone is forgotten.** A line of what is in the directory no more is given the day on which that was first so (`left`), and
//! removed [`KEPT_DAYS`] days later.

pub(super) mod readers;

use crate::config::read_bounded;
use anyhow::{Context as _, Result, bail};
use glassgate_policy::charter::ReceiptFor;
use jiff::civil::Date;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tracing::warn;

const FILE: &str = "receipts.jsonl";
const OWNER_ONLY: u32 = 0o600;
/// The most receipts: each enrolment four notices.
const MAX: usize = 1 << 19;
const MAX_BYTES: u64 = 256 << 20;
/// How long a receipt is kept of what is in the directory no more: so long may a directory be wrong.
const KEPT_DAYS: i32 = 30;

/// The receipts that were given.
pub(super) struct Receipts {
    path: PathBuf,
    given: BTreeMap<String, Vec<Given>>,
    count: usize,
    /// The file as it was written last, or found.
    bytes: u64,
    hash: Context,
    /// What was wrong with the file when it was read, or has been done to it since.
    damaged: Option<String>,
    /// Why receipts can't be kept, if so.
    failing: Option<String>,
}

#[derive(Clone)]
struct Given {
    of: ReceiptFor,
    at: String,
    /// Since when the directory does not know it any more.
    left: Option<Date>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    device: String,
    notice: String,
    sha256: String,
    at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<Date>,
}

impl Receipts {
    /// Reads what was given. A file that can't be read is as good as none, and said.
    pub(super) fn load(dir: &Path) -> Self {
        let mut receipts = Self {
            path: dir.join(FILE),
            given: BTreeMap::new(),
            count: 0,
            bytes: 0,
            hash: Context::new(&SHA256),
            damaged: None,
            failing: None,
        };
        let path = receipts.path.display().to_string();
        match read_bounded(&receipts.path, MAX_BYTES) {
            Ok(bytes) => {
                receipts.wrote(&bytes);
                let bad = receipts.read(&bytes);
                if bad > 0 {
                    receipts.damaged =
                        Some(format!("{bad} lines of {path} mean nothing: whose they are is asked again"));
                }
                // One of before may be open to all.
                if let Err(e) = std::fs::set_permissions(&receipts.path, Permissions::from_mode(OWNER_ONLY)) {
                    warn!("{path} can't be closed to others: {e}");
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => receipts.damaged = Some(format!("{path} can't be read: {e}")),
        }
        receipts
    }

    /// Takes lines; how many of them mean nothing.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut bad = 0;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(Line { device, notice, sha256, at, left }) if self.count < MAX => {
                    let of = ReceiptFor { version: notice, sha256 };
                    self.insert(device, Given { of, at, left });
                }
                _ => bad += 1,
            }
        }
        bad
    }

    fn insert(&mut self, device: String, given: Given) {
        let of_device = self.given.entry(device).or_default();
        if !of_device.iter().any(|known| known.of == given.of) {
            of_device.push(given);
            self.count += 1;
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// What is wrong, for people.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.failing.as_deref().or(self.damaged.as_deref())
    }

    /// Length and SHA-256 of the file.
    fn file(&self) -> (u64, [u8; 32]) {
        let hash = self.hash.clone().finish();
        (self.bytes, hash.as_ref().try_into().unwrap_or_default())
    }

    /// Which of these notices was not read.
    pub(super) fn missing<'a>(&self, device: &str, notices: &'a [ReceiptFor]) -> Vec<&'a ReceiptFor> {
        let given = self.given.get(device).map_or(&[][..], Vec::as_slice);
        notices.iter().filter(|notice| !given.iter().any(|given| given.of == **notice)).collect()
    }

    /// Keeps receipts, durably: all of them or none.
    fn add(&mut self, receipts: &BTreeMap<String, Vec<ReceiptFor>>, at: &str) -> Result<()> {
        let added = self.try_add(receipts, at);
        self.failing = added.as_ref().err().map(|e| format!("{e:#}"));
        added
    }

    fn try_add(&mut self, receipts: &BTreeMap<String, Vec<ReceiptFor>>, at: &str) -> Result<()> {
        if self.count + receipts.values().map(Vec::len).sum::<usize>() > MAX {
            bail!("there are {MAX} receipts already");
        }
        let given = receipts.iter().flat_map(|(device, notices)| notices.iter().map(move |of| (device, of)));
        let given: Vec<(&String, Given)> = given
            .map(|(device, of)| (device, Given { of: of.clone(), at: at.to_owned(), left: None }))
            .collect();
        let lines = lines(given.iter().map(|(device, given)| (device.as_str(), given)))?;
        let keeping = format!("keeping receipts in {}", self.path.display());
        match self.append(&lines).with_context(|| keeping.clone())? {
            Appended::Yes(written) => self.wrote(&written),
            Appended::NotOurs(found) => {
                self.damaged = Some(format!(
                    "{} has {found} bytes, {} were written: it is written anew without what somebody else did to it",
                    self.path.display(),
                    self.bytes
                ));
                let mut all = self.given.clone();
                for (device, given) in &given {
                    all.entry((*device).clone()).or_default().push(given.clone());
                }
                self.rewrite(&all).context(keeping)?;
            }
        }
        for (device, given) in given {
            self.insert(device.clone(), given);
        }
        Ok(())
    }

    /// Appends lines, unless the file is not as it was left.
    fn append(&self, lines: &[u8]) -> io::Result<Appended> {
        let is_new = !self.path.exists();
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).mode(OWNER_ONLY).open(&self.path)?;
        let end = file.metadata()?.len();
        if end != self.bytes {
            return Ok(Appended::NotOurs(end));
        }
        // Half a line of a crash would take the next one with it.
        let written = if end > 0 && !self.ends_line(end)? { [b"\n", lines].concat() } else { lines.to_vec() };
        if let Err(e) = file.write_all(&written).and_then(|()| file.sync_data()) {
            // What was written of them is no receipt. Where this fails, too, it is found to be somebody else's.
            _ = file.set_len(end);
            return Err(e);
        }
        if is_new && let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(Appended::Yes(written))
    }

    fn ends_line(&self, end: u64) -> io::Result<bool> {
        let mut last = [0];
        File::open(&self.path)?.read_exact_at(&mut last, end - 1)?;
        Ok(last == [b'\n'])
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// Replaces the file as a whole.
    fn rewrite(&mut self, all: &BTreeMap<String, Vec<Given>>) -> Result<()> {
        let each = all.iter().flat_map(|(device, given)| given.iter().map(|given| (device.as_str(), given)));
        let lines = lines(each)?;
        let new = self.path.with_extension("jsonl.new");
        // One that a crash left may be open to others.
        if let Err(e) = std::fs::remove_file(&new)
            && e.kind() != io::ErrorKind::NotFound
        {
            return Err(e.into());
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(OWNER_ONLY).open(&new)?;
        file.write_all(&lines)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        (self.bytes, self.hash) = (0, Context::new(&SHA256));
        self.wrote(&lines);
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Removes what has been out of the directory for long enough, and keeps since when the others are; how many were removed. Once a day
    /// is often enough.
    pub(super) fn sweep(&mut self, enrolled: &HashSet<String>, today: Date) -> Result<usize> {
        let mut all = self.given.clone();
        let mut changed = false;
        all.retain(|device, given| {
            for given in given.iter_mut() {
                let left = if enrolled.contains(device) { None } else { given.left.or(Some(today)) };
                changed |= left != given.left;
                given.left = left;
            }
            given.retain(|given| given.left.is_none_or(|left| (today - left).get_days() < KEPT_DAYS));
            !given.is_empty()
        });
        let left: usize = all.values().map(Vec::len).sum();
        let removed = self.count - left;
        if changed || removed > 0 {
            self.rewrite(&all).with_context(|| format!("writing {} anew", self.path.display()))?;
            (self.given, self.count) = (all, left);
        }
        Ok(removed)
    }
}

enum Appended {
    /// These bytes.
    Yes(Vec<u8>),
    /// Nothing: the file has so many bytes that were not written here, or have gone.
    NotOurs(u64),
}

fn lines<'a>(given: impl Iterator<Item = (&'a str, &'a Given)>) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for (device, Given { of, at, left }) in given {
        let (notice, sha256) = (of.version.clone(), of.sha256.clone());
        let line = Line { device: device.to_owned(), notice, sha256, at: at.clone(), left: *left };
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(version: &str) -> ReceiptFor {
        ReceiptFor { version: version.to_owned(), sha256: format!("of {version}") }
    }

    fn one(device: &str, notice: &ReceiptFor) -> BTreeMap<String, Vec<ReceiptFor>> {
        BTreeMap::from([(device.to_owned(), vec![notice.clone()])])
    }

    fn sha256(path: &Path) -> Vec<u8> {
        ring::digest::digest(&SHA256, &std::fs::read(path).unwrap()).as_ref().to_vec()
    }

    #[test]
    fn receipts_are_kept_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (notice("1"), notice("2"));
        let both = [first.clone(), second.clone()];
        let mut receipts = Receipts::load(dir.path());
        assert_eq!((receipts.len(), receipts.trouble()), (0, None));
        assert_eq!(receipts.missing("account:a", &both), [&first, &second]);
        receipts.add(&one("account:a", &first), "now").unwrap();
        assert_eq!(receipts.missing("account:a", &both), [&second]);
        assert_eq!(receipts.missing("account:b", &both), [&first, &second]);
        let again = Receipts::load(dir.path());
        assert_eq!((again.len(), again.missing("account:a", &both)), (1, vec![&second]));
        assert_eq!(again.file(), receipts.file());
        assert_eq!(again.file().1.to_vec(), sha256(&dir.path().join(FILE)));
        // The same version with another text is another notice.
        let other = ReceiptFor { sha256: "another".to_owned(), ..first };
        assert_eq!(again.missing("account:a", std::slice::from_ref(&other)), [&other]);
    }

    #[test]
    fn a_torn_line_is_passed_over_and_takes_nothing_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut receipts = Receipts::load(dir.path());
        receipts.add(&one("a", &notice("1")), "now").unwrap();
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"device\":\"b\",\"not");
        std::fs::write(&path, &bytes).unwrap();
        let mut receipts = Receipts::load(dir.path());
        assert!(receipts.len() == 1 && receipts.trouble().unwrap().starts_with("1 lines"));
        receipts.add(&one("c", &notice("1")), "now").unwrap();
        assert!(receipts.trouble().unwrap().starts_with("1 lines"), "it is damaged all the same");
        let receipts = Receipts::load(dir.path());
        assert_eq!(receipts.len(), 2);
        assert!(receipts.missing("c", &[notice("1")]).is_empty());
    }

    #[test]
    fn what_can_not_be_kept_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let mut receipts = Receipts::load(&gone);
        assert!(receipts.add(&one("a", &notice("1")), "now").is_err());
        assert_eq!(receipts.missing("a", &[notice("1")]).len(), 1);
        assert!(receipts.trouble().is_some());
        std::fs::create_dir(&gone).unwrap();
        receipts.add(&one("a", &notice("1")), "now").unwrap();
        assert_eq!(receipts.trouble(), None);
    }

    #[test]
    fn nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let mut receipts = Receipts::load(dir.path());
        receipts.add(&one("a", &notice("1")), "now").unwrap();
        assert_eq!(mode(), OWNER_ONLY);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mut receipts = Receipts::load(dir.path());
        assert_eq!(mode(), OWNER_ONLY, "one of before is closed");
        receipts.sweep(&HashSet::new(), jiff::civil::date(2027, 1, 1)).unwrap();
        assert_eq!(mode(), OWNER_ONLY, "one that was written anew");
    }

    #[test]
    fn what_somebody_else_adds_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut receipts = Receipts::load(dir.path());
        receipts.add(&one("a", &notice("1")), "now").unwrap();
        let ours = receipts.file();
        let forged = std::fs::read_to_string(&path).unwrap().replace("\"a\"", "\"victim\"");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(forged.as_bytes()).unwrap();
        assert_ne!(ours.1.to_vec(), sha256(&path), "what is on record is not what lies there");
        receipts.add(&one("b", &notice("1")), "now").unwrap();
        assert!(receipts.trouble().unwrap().contains("somebody else"), "{:?}", receipts.trouble());
        let again = Receipts::load(dir.path());
        assert_eq!((again.len(), again.missing("victim", &[notice("1")]).len()), (2, 1));
        assert_eq!(again.file(), receipts.file());
    }

    #[test]
    fn who_left_is_forgotten_in_time_and_who_comes_back_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut receipts = Receipts::load(dir.path());
        for device in ["stays", "leaves", "returns"] {
            receipts.add(&one(device, &notice("1")), "now").unwrap();
        }
        let day = |n: i64| jiff::civil::date(2027, 1, 1) + jiff::Span::new().days(n);
        let enrolled = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        assert_eq!(receipts.sweep(&enrolled(&["stays"]), day(0)).unwrap(), 0);
        // Days are kept over a restart.
        let mut receipts = Receipts::load(dir.path());
        assert_eq!(receipts.sweep(&enrolled(&["stays", "returns"]), day(29)).unwrap(), 0);
        assert_eq!(receipts.sweep(&enrolled(&["stays"]), day(30)).unwrap(), 1);
        assert_eq!(receipts.len(), 2);
        let again = Receipts::load(dir.path());
        assert_eq!((again.len(), again.file()), (2, receipts.file()));
        assert!(!std::fs::read_to_string(dir.path().join(FILE)).unwrap().contains("leaves"));
    }
}
