//! Who has read which notice: a file of its own beside the charter, a line for each receipt.
//!
//! ```json
//! {"device":"3c:22:fb:01:02:03","notice":"2027-1","sha256":"…","at":"2027-01-11T08:01:12Z"}
//! ```
//!
//! A receipt is of what the directory enrols: a device, an account, a fixed address. Whoever has none where the charter asks for
//! one is not observed, so a file that is lost or damaged takes observation away and never adds to it. Lines that mean nothing
//! are passed over and counted. It grows with receipts only, and holds [`MAX`] of them; what comes then is not taken, and said.

use crate::config::read_bounded;
use anyhow::{Context as _, Result, bail};
use glassgate_policy::charter::ReceiptFor;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const FILE: &str = "receipts.jsonl";
/// The most receipts: each enrolment four notices.
const MAX: usize = 1 << 19;
const MAX_BYTES: u64 = 256 << 20;

/// The receipts that were given.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    path: PathBuf,
    given: HashSet<(String, ReceiptFor)>,
    /// Why receipts can't be kept, if so.
    trouble: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    device: String,
    notice: String,
    sha256: String,
    at: String,
}

impl Receipts {
    /// Reads what was given. A file that can't be read is as good as none, and said.
    pub(super) fn load(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let mut receipts = Self { path, ..Self::default() };
        match read_bounded(&receipts.path, MAX_BYTES) {
            Ok(bytes) => {
                let bad = receipts.read(&bytes);
                if bad > 0 {
                    let path = receipts.path.display();
                    receipts.trouble =
                        Some(format!("{bad} lines of {path} mean nothing: whose they are is asked again"));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => receipts.trouble = Some(format!("{} can't be read: {e}", receipts.path.display())),
        }
        receipts
    }

    /// Takes lines; how many of them mean nothing.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut bad = 0;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(Line { device, notice, sha256, .. }) if self.given.len() < MAX => {
                    self.given.insert((device, ReceiptFor { version: notice, sha256 }));
                }
                _ => bad += 1,
            }
        }
        bad
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.given.len()
    }

    /// What is wrong, for people.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Which of these notices was not read.
    pub(super) fn missing<'a>(&self, device: &str, notices: &'a [ReceiptFor]) -> Vec<&'a ReceiptFor> {
        let has = |notice: &&ReceiptFor| !self.given.contains(&(device.to_owned(), (*notice).clone()));
        notices.iter().filter(has).collect()
    }

    /// Keeps receipts, durably.
    pub(super) fn add(&mut self, device: &str, notices: &[&ReceiptFor], at: &str) -> Result<()> {
        if self.given.len() + notices.len() > MAX {
            bail!("there are {MAX} receipts already");
        }
        let mut lines = Vec::new();
        for notice in notices {
            let (version, sha256) = (notice.version.clone(), notice.sha256.clone());
            let line = Line { device: device.to_owned(), notice: version, sha256, at: at.to_owned() };
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        let kept =
            self.append(&lines).with_context(|| format!("keeping a receipt in {}", self.path.display()));
        self.trouble = kept.as_ref().err().map(|e| format!("{e:#}"));
        kept?;
        self.given.extend(notices.iter().map(|notice| (device.to_owned(), (*notice).clone())));
        Ok(())
    }

    fn append(&self, lines: &[u8]) -> io::Result<()> {
        let is_new = !self.path.exists();
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        let end = file.metadata()?.len();
        // Half a line of a crash would take the next one with it.
        let written = if end > 0 && !self.ends_line(end)? { [b"\n", lines].concat() } else { lines.to_vec() };
        file.write_all(&written)?;
        file.sync_data()?;
        if is_new && let Some(dir) = self.path.parent() {
            std::fs::File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    fn ends_line(&self, end: u64) -> io::Result<bool> {
        use std::os::unix::fs::FileExt as _;
        let mut last = [0];
        std::fs::File::open(&self.path)?.read_exact_at(&mut last, end - 1)?;
        Ok(last == [b'\n'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(version: &str) -> ReceiptFor {
        ReceiptFor { version: version.to_owned(), sha256: format!("of {version}") }
    }

    #[test]
    fn receipts_are_kept_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (notice("1"), notice("2"));
        let both = [first.clone(), second.clone()];
        let mut receipts = Receipts::load(dir.path());
        assert_eq!((receipts.len(), receipts.trouble()), (0, None));
        assert_eq!(receipts.missing("account:a", &both), [&first, &second]);
        receipts.add("account:a", &[&first], "now").unwrap();
        assert_eq!(receipts.missing("account:a", &both), [&second]);
        assert_eq!(receipts.missing("account:b", &both), [&first, &second]);
        let again = Receipts::load(dir.path());
        assert_eq!((again.len(), again.missing("account:a", &both)), (1, vec![&second]));
        // The same version with another text is another notice.
        let other = ReceiptFor { sha256: "another".to_owned(), ..first };
        assert_eq!(again.missing("account:a", std::slice::from_ref(&other)), [&other]);
    }

    #[test]
    fn a_torn_line_is_passed_over_and_takes_nothing_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut receipts = Receipts::load(dir.path());
        receipts.add("a", &[&notice("1")], "now").unwrap();
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"device\":\"b\",\"not");
        std::fs::write(&path, &bytes).unwrap();
        let mut receipts = Receipts::load(dir.path());
        assert!(receipts.len() == 1 && receipts.trouble().unwrap().starts_with("1 lines"));
        receipts.add("c", &[&notice("1")], "now").unwrap();
        let receipts = Receipts::load(dir.path());
        assert_eq!(receipts.len(), 2);
        assert!(receipts.missing("c", &[notice("1")]).is_empty());
    }

    #[test]
    fn what_can_not_be_kept_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let mut receipts = Receipts::load(&gone);
        assert!(receipts.add("a", &[&notice("1")], "now").is_err());
        assert_eq!(receipts.missing("a", &[notice("1")]).len(), 1);
        assert!(receipts.trouble().is_some());
    }
}
