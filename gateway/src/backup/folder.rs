//! The folder of the configuration, the one before it, and how they change places.
//!
//! ```text
//!  config.part ── complete, on the disk ──► config.before ◄── exchanged at once ──► config
//! ```
//!
//! `renameat2(RENAME_EXCHANGE)` changes both names in one step of the file system, so a power cut leaves the old folder or the new one.

use super::MAX_BYTES;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Files of a folder at most: a home folder is taken for no folder of a configuration.
const MOST: usize = 2048;
/// Says since which start of the machine a folder is on trial.
pub(super) const TRIAL: &str = ".trial";

/// Where they are. One process at a time has this.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) now: PathBuf,
    pub(super) part: PathBuf,
    pub(super) before: PathBuf,
    above: File,
}

impl Places {
    pub(super) fn of(now: &Path) -> Result<Self> {
        let (Some(name), Some(above)) = (now.file_name().and_then(|name| name.to_str()), now.parent()) else {
            bail!("{} can't be replaced: it is no folder in another one", now.display());
        };
        let beside = |end: &str| above.join(format!("{name}.{end}"));
        let lock = File::open(above).with_context(|| above.display().to_string())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .context("another one is at work at the configuration")?;
        Ok(Self { now: now.to_owned(), part: beside("part"), before: beside("before"), above: lock })
    }

    /// A folder beside, with whatever is in the present one and `is_kept`.
    pub(super) fn stage(&self, is_kept: &dyn Fn(&str) -> bool) -> Result<()> {
        remove(&self.part)?;
        std::fs::DirBuilder::new().mode(0o700).create(&self.part).context("making a folder beside")?;
        let mut bounds = (MOST, MAX_BYTES);
        self.copy("", is_kept, &mut bounds)
    }

    fn copy(&self, below: &str, is_kept: &dyn Fn(&str) -> bool, bounds: &mut (usize, u64)) -> Result<()> {
        for entry in std::fs::read_dir(self.now.join(below))? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                bail!("{}: its name is no text", entry.path().display());
            };
            let name = if below.is_empty() { name } else { format!("{below}/{name}") };
            let meta = entry.metadata()?;
            ensure!(
                bounds.0 > 0 && meta.len() <= bounds.1 && name.split('/').count() < 16,
                "{} is too much for a folder of a configuration; put the configuration into a folder of its own",
                self.now.display()
            );
            bounds.0 -= 1;
            let to = self.part.join(&name);
            if meta.is_dir() {
                // With all that is in it: one that is then empty is not made.
                self.copy(&name, is_kept, bounds)?;
            } else if !is_kept(&name) {
            } else if meta.is_symlink() {
                folders(&to)?;
                std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, to)?;
            } else if meta.is_file() {
                bounds.1 -= meta.len();
                write(&to, &std::fs::read(entry.path())?, meta.permissions().mode() & 0o777)?;
            } else {
                bail!("{} is neither file nor folder nor link", entry.path().display());
            }
        }
        Ok(())
    }

    /// Puts a file into the folder beside.
    pub(super) fn put(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        write(&self.part.join(name), bytes, mode).with_context(|| format!("writing {name}"))
    }

    /// The folder beside takes the place of the present one, which becomes the one before.
    pub(super) fn commit(&self) -> Result<()> {
        sync(&self.part)?;
        remove(&self.before)?;
        std::fs::rename(&self.part, &self.before)?;
        self.above.sync_all()?;
        self.exchange()
    }

    /// The present folder and the one before change places.
    pub(super) fn exchange(&self) -> Result<()> {
        renameat_with(CWD, &self.before, CWD, &self.now, RenameFlags::EXCHANGE)
            .with_context(|| format!("{} can't take its place", self.before.display()))?;
        self.above.sync_all()?;
        Ok(())
    }

    /// Forgets the folder beside.
    pub(super) fn drop_part(&self) -> Result<()> {
        remove(&self.part)
    }
}

fn folders(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    Ok(())
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    folders(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    Ok(())
}

/// Makes the names in a folder durable; their contents are.
fn sync(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        }
    }
    File::open(dir)?.sync_all()?;
    Ok(())
}

fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}
