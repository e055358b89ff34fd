//! The disk, behind a trait: what the log asks of it and what each call promises.
//!
//! Everything the log does to files goes through [`Disk`], so that tests can fail each call, and so that a whole log can
//! run in memory, one seed one run.

use crate::tiles::Files;
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Files below one folder, named by their path in it.
pub trait Disk: Files + Send + Sync {
    /// Makes a file that is not there yet, takes `len` zero bytes of space for it, and makes its entry durable.
    fn create(&self, path: &str, len: u64) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that [`Disk::create`] made.
    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Puts a file in its place as a whole, with the folders above it. Durable after [`Disk::sync`].
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Puts a file in its place as a whole and durably; readable by nobody but its owner if it is `secret`.
    fn replace(&self, path: &str, bytes: &[u8], secret: bool) -> io::Result<()>;
    /// Gives a file or folder another name, durably.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Deletes a file, or a folder that is empty. What is not there is deleted already.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Deletes a folder and all that is in it. Symbolic links are deleted, not followed.
    fn remove_all(&self, folder: &str) -> io::Result<()>;
    /// Makes durable what [`Disk::put`] wrote to these files. An error means that it may be lost, whatever a later call says.
    fn sync(&self, paths: &[String]) -> io::Result<()>;
    /// Makes durable which files there are in a folder: what was removed from it does not come back.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// Size of a file; `None` if there is none.
    fn size(&self, path: &str) -> io::Result<Option<u64>>;
}

/// A file with its space taken.
pub trait DiskFile: Send {
    /// Writes all of the bytes at a place.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes them durable. After an error the file must not be written again: the kernel may call pages clean that never
    /// reached the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

/// Files fewer than this are synced one by one, more by syncing their whole file system: each costs a flush of the disk,
/// and a busy log fills hundreds of tiles a second.
const ONE_BY_ONE: usize = 32;

impl Folder {
    /// A folder; it is made if it is missing.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// A folder that is for its owner alone; it is made if it is missing.
    pub fn private(root: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// A folder that is only read.
    pub fn read_only(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        File::open(folder)?.sync_all()
    }

    /// Makes the folders above a file that are not there.
    fn folders(&self, path: &Path) -> io::Result<()> {
        let Some(folder) = path.parent() else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o750).create(folder)
    }

    fn put_file(&self, path: &Path, bytes: &[u8], mode: u32, durable: bool) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = path.with_file_name(format!("{name}.new"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        let mut file = match options.open(&new) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.folders(path)?;
                options.open(&new)?
            }
            other => other?,
        };
        let written = file.write_all(bytes).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
        if let Err(e) = written.and_then(|()| fs::rename(&new, path)) {
            // Its space may be what the next try needs.
            _ = fs::remove_file(&new);
            return Err(e);
        }
        if durable { self.sync_folder_of(path) } else { Ok(()) }
    }
}

impl Files for Folder {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        found(fs::read(self.path(path)))
    }

    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let Some(entries) = found(fs::read_dir(self.path(folder)))? else { return Ok(Vec::new()) };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(there) => Ok(Some(there)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

impl Disk for Folder {
    fn create(&self, path: &str, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let path = self.path(path);
        if let Some(folder) = path.parent()
            && !folder.exists()
        {
            self.folders(&path)?;
            self.sync_folder_of(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&path)?;
        let taken =
            rustix::io::retry_on_intr(|| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len));
        let taken = match taken {
            // A file system that can't take space ahead: the writes will say when there is none.
            Err(Errno::OPNOTSUPP) => file.set_len(len),
            other => other.map_err(Into::into),
        };
        if let Err(e) = taken.and_then(|()| file.sync_all()).and_then(|()| self.sync_folder_of(&path)) {
            _ = fs::remove_file(&path);
            return Err(e);
        }
        Ok(Box::new(file))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(self.path(path))?))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.put_file(&self.path(path), bytes, 0o640, false)
    }

    fn replace(&self, path: &str, bytes: &[u8], secret: bool) -> io::Result<()> {
        self.put_file(&self.path(path), bytes, if secret { 0o600 } else { 0o640 }, true)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        self.folders(&to)?;
        fs::rename(&from, &to)?;
        self.sync_folder_of(&to)?;
        if from.parent() == to.parent() { Ok(()) } else { self.sync_folder_of(&from) }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        let removed = match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => fs::remove_dir(&path),
            other => other,
        };
        found(removed).map(|_| ())
    }

    fn remove_all(&self, folder: &str) -> io::Result<()> {
        found(fs::remove_dir_all(self.path(folder))).map(|_| ())
    }

    fn sync(&self, paths: &[String]) -> io::Result<()> {
        if paths.len() > ONE_BY_ONE {
            let root = rustix::fs::open(
                &self.root,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            return Ok(rustix::fs::syncfs(&root)?);
        }
        let mut folders = Vec::new();
        for path in paths {
            let path = self.path(path);
            // What is deleted by now need not be durable.
            let Some(file) = found(File::open(&path))? else { continue };
            file.sync_all()?;
            let above = path.ancestors().skip(1).take_while(|a| a.starts_with(&self.root));
            folders.extend(above.map(Path::to_owned));
        }
        folders.sort_unstable();
        folders.dedup();
        for folder in folders {
            if let Some(folder) = found(File::open(&folder))? {
                folder.sync_all()?;
            }
        }
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }

    fn size(&self, path: &str) -> io::Result<Option<u64>> {
        Ok(found(fs::metadata(self.path(path)))?.map(|m| m.len()))
    }
}

impl DiskFile for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
