//! The machine that the slow path runs on: its clocks, its files, and the log on its disk.
//!
//! The slow path asks for these nowhere else, so that a simulation can stand in for all of it, and one seed is one run.

use super::log::stamp;
use crate::clock;
use crate::config::read_bounded;
use glassgate_audit::disk::{Disk, Folder};
use glassgate_audit::reader::Reader;
use glassgate_audit::{ActError, Clock, Log, OpenError, Options, Recovered, Stamp, Status};
use glassgate_policy::audit::{BootId, Now};
use glassgate_sealed::view::Look;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Where what a case shows goes to, or why it shows nothing.
pub(super) type Shown = Box<dyn FnOnce(Result<String, String>) + Send>;

/// What the slow path asks of the machine.
pub(super) trait Machine: Send + Sync {
    /// This moment on both clocks.
    fn now(&self) -> Now;
    /// Nanoseconds since boot: what timers go by.
    fn mono_ns(&self) -> u64;
    /// The bytes of a file; an error if there are more than `most`, or there is no such file.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;
    /// Whether there is a file.
    fn exists(&self, path: &Path) -> bool;
    /// Replaces a file as a whole, durably, with the folders above it.
    fn replace(&self, path: &Path, text: &str) -> io::Result<()>;
    /// Removes a file, durably.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// A folder that is for its owner alone. It is made if it is missing.
    fn private(&self, path: &Path) -> io::Result<Arc<dyn Disk>>;
    /// Opens the audit log.
    fn open_log(&self, options: Options, boot: BootId) -> Result<(Box<dyn Records>, Recovered), OpenError>;
    /// Goes through the audit log in a folder, which may take seconds, beside the slow path, and answers with what a case shows of it.
    fn show(&self, look: Look, folder: &Path, answer: Shown) -> io::Result<()>;
}

/// An open log: see [`Log`] for what each of these promises.
pub(super) trait Records: Send {
    /// Takes a record and waits for nothing. `false` if it is lost.
    fn append(&self, stamp: &Stamp, body: &[u8]) -> bool;
    /// Takes a record and waits until it is durable.
    fn act(&self, stamp: &Stamp, body: &[u8], patience: Duration) -> Result<u64, ActError>;
    /// Waits until all that was taken is durable.
    fn flush(&self, patience: Duration) -> Result<(), ActError>;
    /// Whether half of the queue is free.
    fn has_room(&self) -> bool;
    /// How it is.
    fn status(&self) -> Status;
    /// Ends in order. `false` if the disk does not let it.
    fn close(self: Box<Self>, patience: Duration) -> bool;
}

/// The machine that this process runs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThisMachine;

impl ThisMachine {
    /// For who keeps a machine.
    pub(super) fn shared() -> Arc<dyn Machine> {
        Arc::new(Self)
    }
}

impl Clock for ThisMachine {
    fn now(&self) -> Stamp {
        stamp(&clock::now())
    }
}

impl Machine for ThisMachine {
    fn now(&self) -> Now {
        clock::now()
    }

    fn mono_ns(&self) -> u64 {
        clock::mono_ns()
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        read_bounded(path, most)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn replace(&self, path: &Path, text: &str) -> io::Result<()> {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = path.with_file_name(format!("{name}.new"));
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        sync_folder_of(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)?;
        sync_folder_of(path)
    }

    fn private(&self, path: &Path) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(Folder::private(path)?))
    }

    fn open_log(&self, options: Options, boot: BootId) -> Result<(Box<dyn Records>, Recovered), OpenError> {
        let (log, recovered) = Log::open(options, boot.0, Self)?;
        Ok((Box::new(log), recovered))
    }

    fn show(&self, look: Look, folder: &Path, answer: Shown) -> io::Result<()> {
        let folder = folder.to_owned();
        let work = move || {
            let shown = Reader::open(&folder).map_err(|e| e.to_string()).and_then(|reader| {
                let entries = reader.entries(reader.first());
                let lines = entries.map(|entry| entry.map(|(_, line)| line));
                look.at(lines).map_err(|e| e.to_string())
            });
            answer(shown);
        };
        thread::Builder::new().name("gg-case".to_owned()).spawn(work).map(|_| ())
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

impl Records for Log {
    fn append(&self, stamp: &Stamp, body: &[u8]) -> bool {
        Self::append(self, stamp, body)
    }

    fn act(&self, stamp: &Stamp, body: &[u8], patience: Duration) -> Result<u64, ActError> {
        Self::act(self, stamp, body, patience)
    }

    fn flush(&self, patience: Duration) -> Result<(), ActError> {
        Self::flush(self, patience)
    }

    fn has_room(&self) -> bool {
        Self::has_room(self)
    }

    fn status(&self) -> Status {
        Self::status(self)
    }

    fn close(self: Box<Self>, patience: Duration) -> bool {
        Self::close(*self, patience)
    }
}
