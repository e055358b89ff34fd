//! Immutable files handed from one process to another: sealed memfds.
//!
//! Whoever makes the file writes it once and seals it; whoever gets it checks the seals before the first read, so that
//! what was validated can't change afterwards, not even by a process that has been taken over. A file without all
//! four seals is refused, whatever it holds.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

/// Nothing may change: not the bytes, not the size, not these seals.
const ALL_SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// The largest signature table that is handed over, in bytes: nine million names. While a reload is under way there are
/// four of them in memory (the one in force, the sealed file, and what the data plane reads and checks), a gigabyte on
/// an appliance that has two. The control process refuses a larger one before it offers it, the data plane again.
pub(crate) const MAX_TABLE: u64 = 256 << 20;

/// Why a file is not accepted.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It could still change.
    Unsealed,
    /// It is larger than such a file may be.
    Size {
        /// What there is.
        found: u64,
        /// What is allowed.
        max: u64,
    },
    /// It can't be read.
    Io(io::Error),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsealed => f.write_str("it is not sealed: it could change after it was checked"),
            Self::Size { found, max } => write!(f, "it has {found} bytes, at most {max} are accepted"),
            Self::Io(e) => write!(f, "it can't be read: {e}"),
        }
    }
}

impl std::error::Error for Refused {}

/// Which file a descriptor stands for. Meaningful as long as a descriptor of the file is open: numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

/// Makes a sealed file of these bytes.
pub(crate) fn seal(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, ALL_SEALS)?;
    Ok(file.into())
}

/// Whether a file has all seals.
pub(crate) fn is_sealed(fd: impl AsFd) -> bool {
    // What is no memfd answers with an error: as good as none.
    fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(ALL_SEALS))
}

/// Which file this is.
pub(crate) fn identity(fd: impl AsFd) -> io::Result<Identity> {
    let stat = fstat(fd)?;
    Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
}

/// Reads a sealed file of at most `max` bytes, whoever may have moved its offset.
pub(crate) fn open(fd: OwnedFd, max: u64) -> Result<Vec<u8>, Refused> {
    if !is_sealed(&fd) {
        return Err(Refused::Unsealed);
    }
    let found = fstat(&fd).map_err(|e| Refused::Io(e.into()))?.st_size.max(0) as u64;
    if found > max {
        return Err(Refused::Size { found, max });
    }
    let mut bytes = vec![0; found as usize];
    File::from(fd).read_exact_at(&mut bytes, 0).map_err(Refused::Io)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn what_is_sealed_stays_as_it_is() {
        let fd = seal("test", b"matrix").unwrap();
        let mut file = File::from(fd.try_clone().unwrap());
        assert!(file.write_all(b"x").is_err() && file.set_len(0).is_err() && file.set_len(100).is_err());
        // An offset at the end is the other side's business.
        file.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(identity(&fd).unwrap(), identity(&file).unwrap());
        assert_ne!(identity(&fd).unwrap(), identity(seal("test", b"matrix").unwrap()).unwrap());
        assert_eq!(open(fd, 6).unwrap(), b"matrix");
    }

    #[test]
    fn every_missing_seal_is_refused() {
        for missing in [SealFlags::WRITE, SealFlags::GROW, SealFlags::SHRINK, SealFlags::SEAL] {
            let fd = memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
            fcntl_add_seals(&fd, ALL_SEALS.difference(missing)).unwrap();
            assert!(matches!(open(fd, 10), Err(Refused::Unsealed)), "{missing:?}");
        }
        assert!(matches!(open(tempfile::tempfile().unwrap().into(), 10), Err(Refused::Unsealed)));
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        assert!(matches!(open(pipe, 10), Err(Refused::Unsealed)));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let fd = seal("test", &[0; 11]).unwrap();
        assert!(matches!(open(fd, 10), Err(Refused::Size { found: 11, max: 10 })));
    }
}
