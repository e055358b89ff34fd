//! Small files that are there whole or not at all, on a disk that others can stand in for.

use std::io;
use std::sync::Arc;

use glassgate_audit::disk::Disk;

/// No file of ours is longer.
const MAX_BYTES: u64 = 1 << 20;

/// How the name of a file ends whose destruction has begun.
pub(crate) const GONE: &str = ".gone";

/// A folder of them.
#[derive(Clone)]
pub(crate) struct Place(Arc<dyn Disk>);

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Place")
    }
}

impl Place {
    /// All that is on a disk.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self(disk)
    }

    /// The bytes of a file, `None` if there is none.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if self.0.size(name)?.is_some_and(|bytes| bytes > MAX_BYTES) {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than any file of ours"));
        }
        self.0.read(name)
    }

    /// Puts a file in its place, durably, for its owner alone: after a crash there is the old one or this one.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.replace(name, bytes, true)
    }

    /// Destroys a file: what it held is written over first. On flash the old cells may stay readable to somebody who takes the chip
    /// out, until the drive uses them again.
    ///
    /// It gets [another name](GONE) before: what a power cut leaves of a file that is being written over can't be read, and its name
    /// says what it is. May be asked again, and goes on then.
    pub(crate) fn destroy(&self, name: &str) -> io::Result<()> {
        let gone = format!("{name}{GONE}");
        match self.0.rename(name, &gone) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => self.finish(&gone),
        }
    }

    /// Destroys what is left of a file whose destruction was begun, by the name that it has now.
    pub(crate) fn finish(&self, gone: &str) -> io::Result<()> {
        if let Some(bytes) = self.0.size(gone)? {
            let mut file = self.0.open(gone)?;
            file.write_at(0, &vec![0; usize::try_from(bytes.min(MAX_BYTES)).unwrap_or_default()])?;
            file.sync()?;
            drop(file);
            self.0.remove(gone)?;
        }
        self.0.sync_folder("")
    }

    /// Removes a file, not durably.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    /// Names of the files, in order.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.0.names("")?;
        names.sort();
        Ok(names)
    }
}
