//! Small files that are there whole or not at all, on a disk that others can stand in for.

use std::io;
use std::sync::Arc;

use glassgate_audit::disk::Disk;

/// No file of ours is longer.
const MAX_BYTES: u64 = 1 << 20;

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
    pub(crate) fn destroy(&self, name: &str) -> io::Result<()> {
        let mut file = self.0.open(name)?;
        let bytes = self.0.size(name)?.unwrap_or_default().min(MAX_BYTES);
        file.write_at(0, &vec![0; usize::try_from(bytes).unwrap_or_default()])?;
        file.sync()?;
        drop(file);
        self.0.remove(name)?;
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
