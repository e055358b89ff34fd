//! Memory that two processes share: a memfd of fixed size, read and written as 64-bit atomics only.
//!
//! The other side is not trusted. It can write any number into any word at any time, so there are no references
//! to plain data, only loads and stores of whole words; what they mean is checked by the reader on a copy. It can't
//! make the memory go away: a region is accepted only with seals against shrinking, so that no access ever meets
//! `SIGBUS`.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

/// Why memory could not be made or is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ShmError {
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The region has another size than both sides agreed on.
    #[error("the shared memory has {found} bytes, expected {expected}")]
    Size {
        /// What was agreed.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// The other side could still change the size.
    #[error("the shared memory is not sealed against changes of its size")]
    Unsealed,
    /// Another layout, another version, or not initialized.
    #[error("the shared memory does not start with {expected:#018x} but with {found:#018x}")]
    Magic {
        /// What this version writes.
        expected: u64,
        /// What was found.
        found: u64,
    },
    /// A number in its header can't be true.
    #[error("the shared memory says {what} = {found}, which is out of bounds")]
    Header {
        /// Which number.
        what: &'static str,
        /// What was found.
        found: u64,
    },
}

fn system(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> ShmError {
    move |e| ShmError::System { what, source: e.into() }
}

/// The seals every region has: nobody can change its size, or take these seals off.
const FIXED_SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A mapped region of fixed size. Clones share the mapping.
#[derive(Clone, Debug)]
pub struct Region {
    map: Arc<MmapRegion>,
    file: Arc<File>,
}

impl Region {
    /// Makes a zeroed region of `size` bytes. `name` shows in `/proc/PID/maps`. The memory is touched by nobody yet:
    /// it is backed page by page as it is written.
    pub fn create(name: &str, size: usize) -> Result<Self, ShmError> {
        let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(system("memfd_create"))?;
        ftruncate(&fd, size as u64).map_err(system("ftruncate"))?;
        fcntl_add_seals(&fd, FIXED_SIZE).map_err(system("fcntl F_ADD_SEALS"))?;
        Self::attach(fd, size)
    }

    /// Maps a region that another process made. Refuses one of another size, or whose size could still change.
    pub fn attach(fd: OwnedFd, size: usize) -> Result<Self, ShmError> {
        let found = fstat(&fd).map_err(system("fstat"))?.st_size.max(0) as u64;
        if found != size as u64 || size == 0 {
            return Err(ShmError::Size { expected: size as u64, found });
        }
        // A file without seals (not a memfd) answers EINVAL: as good as none.
        if !fcntl_get_seals(&fd).is_ok_and(|seals| seals.contains(FIXED_SIZE)) {
            return Err(ShmError::Unsealed);
        }
        let file = Arc::new(File::from(fd));
        let map = MmapRegion::from_file(FileOffset::from_arc(file.clone(), 0), size)
            .map_err(|e| ShmError::System { what: "mmap", source: std::io::Error::other(e.to_string()) })?;
        Ok(Self { map: Arc::new(map), file })
    }

    /// Size of the memory behind a descriptor, in bytes: for layouts whose size depends on a number in them.
    pub fn size_of(fd: BorrowedFd<'_>) -> Result<u64, ShmError> {
        Ok(fstat(fd).map_err(system("fstat"))?.st_size.max(0) as u64)
    }

    /// The descriptor, to be handed to another process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The word at a byte offset; `None` outside the region or not a multiple of eight.
    #[inline]
    pub fn word(&self, offset: usize) -> Option<&AtomicU64> {
        self.map.get_atomic_ref(offset).ok()
    }
}

/// Stores a word, unordered. Outside the region: does nothing.
#[inline]
pub(crate) fn store(region: &Region, at: usize, value: u64) {
    if let Some(word) = region.word(at) {
        word.store(value, Ordering::Relaxed);
    }
}

/// Loads a word, unordered. Outside the region: `0`.
#[inline]
pub(crate) fn load(region: &Region, at: usize) -> u64 {
    region.word(at).map_or(0, |word| word.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn both_sides_see_the_same_words() {
        let ours = Region::create("test", 8192).unwrap();
        let theirs = Region::attach(ours.fd().try_clone_to_owned().unwrap(), 8192).unwrap();
        ours.word(4096).unwrap().store(77, Relaxed);
        assert_eq!(theirs.word(4096).unwrap().load(Relaxed), 77);
        assert!(ours.word(8192).is_none() && ours.word(8185).is_none() && ours.word(4).is_none());
    }

    #[test]
    fn what_could_vanish_is_refused() {
        let fd = memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&fd, 4096).unwrap();
        assert!(matches!(Region::attach(fd.try_clone().unwrap(), 4096), Err(ShmError::Unsealed)));
        fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
        assert!(matches!(Region::attach(fd.try_clone().unwrap(), 4096), Err(ShmError::Unsealed)));
        fcntl_add_seals(&fd, FIXED_SIZE).unwrap();
        assert!(matches!(
            Region::attach(fd.try_clone().unwrap(), 8192),
            Err(ShmError::Size { expected: 8192, found: 4096 })
        ));
        assert!(Region::attach(fd, 4096).is_ok());
        let plain = tempfile::tempfile().unwrap();
        plain.set_len(4096).unwrap();
        assert!(matches!(Region::attach(plain.into(), 4096), Err(ShmError::Unsealed)));
    }
}
