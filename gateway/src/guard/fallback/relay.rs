//! A bypass card: relays that connect both cables while the machine can't, power loss included.
//!
//! There is no common interface to such cards. What their drivers have in common is a file that takes a word (of sysfs, procfs or a GPIO
//! line), so a file and two words are what this knows. A card with a watchdog of its own goes into bypass by itself when the machine
//! dies; the file is for all other cases.

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::config::RelayFile;

/// The card.
pub(super) struct Relay {
    file: PathBuf,
    bypass: String,
    inline: String,
}

impl Relay {
    pub(super) fn new(config: &RelayFile) -> Self {
        Self { file: config.file.clone(), bypass: config.bypass.clone(), inline: config.inline.clone() }
    }

    pub(super) fn engage(&self) -> io::Result<()> {
        self.write(&self.bypass)
    }

    pub(super) fn rest(&self) -> io::Result<()> {
        self.write(&self.inline)
    }

    /// In one write, as such files want it; the file has to be there.
    fn write(&self, word: &str) -> io::Result<()> {
        std::fs::OpenOptions::new()
            .write(true)
            .open(&self.file)
            .and_then(|mut file| file.write_all(word.as_bytes()))
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.file.display())))
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the relays behind `{}`", self.file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_for_each_state_and_no_file_made_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bypass0");
        let relay = Relay { file: file.clone(), bypass: "1".into(), inline: "0".into() };
        assert!(relay.engage().is_err() && !file.exists(), "a card that is not there is an error");
        std::fs::write(&file, "").unwrap();
        relay.engage().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "1");
        relay.rest().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "0");
    }
}
