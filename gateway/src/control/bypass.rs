//! The bypass: nothing is enforced and nothing observed until somebody ends it.
//!
//! It outlives this process, because the guard keeps the name of the last policy for its successor; it outlives the gateway only
//! where that was asked for, by a file.

use crate::control::machine::Machine;
use crate::control::snapshot::BypassNow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that keeps it, in the folder of the installed charter.
const FILE: &str = "bypass";

/// Whether everything is off.
pub(super) struct Bypass {
    machine: Arc<dyn Machine>,
    file: PathBuf,
    on: Option<BypassNow>,
}

impl Bypass {
    /// As it was left: by a predecessor of this process, or by the file. `now` is shown as the time since when.
    pub(super) fn load(machine: Arc<dyn Machine>, dir: &Path, predecessor: bool, now: &str) -> Self {
        let file = dir.join(FILE);
        let kept = machine.exists(&file);
        let on = (kept || predecessor).then(|| BypassNow { since: now.to_owned(), kept });
        Self { machine, file, on }
    }

    /// Since when everything is off, if it is.
    pub(super) fn now(&self) -> Option<&BypassNow> {
        self.on.as_ref()
    }

    /// Whether everything is off.
    pub(super) fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// Turns everything off, or on again. An error says that the next start will not find it so; it holds all the same.
    pub(super) fn set(&mut self, on: bool, keep: bool, now: &str) -> io::Result<()> {
        let since = self.on.take().map_or_else(|| now.to_owned(), |before| before.since);
        let written = match (on && keep, self.machine.exists(&self.file)) {
            (true, false) => self.machine.replace(&self.file, "written by `glassgate bypass on --keep`\n"),
            (false, true) => self.machine.remove(&self.file),
            _ => Ok(()),
        };
        self.on = on.then(|| BypassNow { since, kept: self.machine.exists(&self.file) });
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::machine::ThisMachine;

    fn load(dir: &Path, predecessor: bool, now: &str) -> Bypass {
        Bypass::load(ThisMachine::shared(), dir, predecessor, now)
    }

    #[test]
    fn it_outlives_a_process_and_a_gateway_only_if_asked() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("charter");
        let mut bypass = load(&dir, false, "t0");
        assert!(!bypass.is_on());
        bypass.set(true, false, "t1").unwrap();
        assert_eq!(bypass.now(), Some(&BypassNow { since: "t1".to_owned(), kept: false }));
        assert!(load(&dir, true, "t2").is_on(), "by the predecessor");
        assert!(!load(&dir, false, "t2").is_on(), "another start");
        bypass.set(true, true, "t3").unwrap();
        assert_eq!(bypass.now(), Some(&BypassNow { since: "t1".to_owned(), kept: true }));
        assert!(load(&dir, false, "t4").now().is_some_and(|on| on.kept));
        bypass.set(true, false, "t5").unwrap();
        assert!(!load(&dir, false, "t6").is_on(), "kept no more");
        bypass.set(true, true, "t7").unwrap();
        bypass.set(false, false, "t8").unwrap();
        assert!(!bypass.is_on() && !load(&dir, false, "t9").is_on());
    }
}
