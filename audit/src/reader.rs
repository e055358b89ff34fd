//! Reads a log that another process may be writing: entries in order, and proofs that one of them is in it.

use crate::checkpoint::Checkpoint;
use crate::disk::Folder;
use crate::merkle::inclusion_proof;
use crate::note::Verifier;
use crate::recover::{Damage, Found, recover};
use crate::tiles::{self, Files as _, TileError, Tiles, bundle_path, read_tile};
use crate::wal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no audit log in {0}: no key.pub")]
    None(String),
    /// It is not what was written.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// The system said no.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// An entry that is not there.
    #[error("there is no entry {seq}: the log has {from} to before {to}, the rest was deleted for space")]
    NoEntry {
        /// Which was asked for.
        seq: u64,
        /// The first that is there.
        from: u64,
        /// The one after the last.
        to: u64,
    },
    /// An entry that no checkpoint covers yet.
    #[error("entry {seq} is in no checkpoint yet, the newest has {size}; there will be one within a minute")]
    TooNew {
        /// Which was asked for.
        seq: u64,
        /// Size of the checkpoint.
        size: u64,
    },
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::Io { path, source } => Self::Io { path, source },
            Damage::Broken(why) => Self::Damaged(why),
        }
    }
}

impl From<TileError> for ReadError {
    fn from(error: TileError) -> Self {
        Damage::from(error).into()
    }
}

/// A log as it was when it was opened here.
#[derive(Debug)]
pub struct Reader {
    folder: Folder,
    found: Found,
}

/// The files of a log that is written change underneath: then it is looked at again.
const TRIES: usize = 5;

impl Reader {
    /// Looks at the log in a folder. What is durable is read, whether it is in a checkpoint yet or not.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let folder = Folder::read_only(path);
        let fault = |source| ReadError::Io { path: "key.pub".to_owned(), source };
        let key = folder.read("key.pub").map_err(fault)?;
        let key = key.ok_or_else(|| ReadError::None(path.display().to_string()))?;
        let key = Verifier::parse(&String::from_utf8_lossy(&key));
        let key = key.map_err(|e| ReadError::Damaged(format!("key.pub: {e}")))?;
        let mut found = recover(&folder, &key);
        for _ in 1..TRIES {
            if found.is_ok() {
                break;
            }
            found = recover(&folder, &key);
        }
        Ok(Self { found: found?, folder })
    }

    /// The first entry that is there: those before were deleted for space.
    pub fn first(&self) -> u64 {
        self.found.bundles.front().map_or(self.found.grown.tree.size() / 256 * 256, |(index, _)| index * 256)
    }

    /// The number of entries there were ever.
    pub fn size(&self) -> u64 {
        self.found.grown.tree.size()
    }

    /// The newest checkpoint.
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.found.checkpoint.as_ref()
    }

    /// The entries from `seq` on, or from the first that is there, each with its number. Ends with the first that can't be read.
    pub fn entries(&self, seq: u64) -> impl Iterator<Item = Result<(u64, Vec<u8>), ReadError>> + '_ {
        let from = seq.max(self.first());
        let mut failed = false;
        (from / 256..self.size().div_ceil(256))
            .flat_map(|index| match self.bundle(index) {
                Ok(bundle) => entries_of(&bundle, index),
                Err(e) => vec![Err(e)],
            })
            .skip_while(move |entry| entry.as_ref().is_ok_and(|(at, _)| *at < from))
            .take_while(move |entry| !std::mem::replace(&mut failed, entry.is_err()))
    }

    fn bundle(&self, index: u64) -> Result<Vec<u8>, ReadError> {
        if index == self.size() / 256 {
            return Ok(self.found.grown.bundle.clone());
        }
        let filled = self.found.filled.bundles.iter().find(|(filled, _)| *filled == index);
        match filled {
            Some((_, bundle)) => Ok(bundle.clone()),
            None => match read_tile(&self.folder, &bundle_path(index), 256) {
                Err(TileError::Missing(path)) => {
                    Err(self.deleted(index).unwrap_or(TileError::Missing(path).into()))
                }
                other => Ok(other?),
            },
        }
    }

    /// That a bundle was deleted for space since this was opened, if it was.
    fn deleted(&self, index: u64) -> Option<ReadError> {
        let now =
            tiles::walk(&self.folder).ok()?.iter().filter_map(|path| tiles::bundle_index(path)).min()?;
        let (seq, from, to) = (index * 256, now * 256, self.size());
        (now > index).then_some(ReadError::NoEntry { seq, from, to })
    }

    /// The proof that entry `seq` is in the log (C2SP `tlog-proof`), to be held against the log's public key alone. With the
    /// cosignature of a witness where there is one that covers it.
    pub fn prove(&self, seq: u64) -> Result<String, ReadError> {
        let (from, to) = (self.first(), self.size());
        if seq < from || seq >= to {
            return Err(ReadError::NoEntry { seq, from, to });
        }
        let read = |path: &str| -> Result<Option<(u64, String)>, ReadError> {
            let bytes =
                self.folder.read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
            let note = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            Ok(note.and_then(|note| Some((Checkpoint::parse(&note).ok()?.size, note))))
        };
        let witnessed = read("checkpoint.witnessed")?.filter(|(size, _)| *size > seq);
        let best = if witnessed.is_some() { witnessed } else { read("checkpoint")? };
        let (size, note) = best.unwrap_or_default();
        if size <= seq {
            return Err(ReadError::TooNew { seq, size });
        }
        let proof = inclusion_proof(&Tiles(&self.folder), seq, size)?;
        let proof: String = proof.iter().map(|hash| BASE64.encode(hash) + "\n").collect();
        Ok(format!("c2sp.org/tlog-proof@v1\nindex {seq}\n{proof}\n{note}"))
    }
}

/// Tells when a log may have grown: of what is written to its segments, without looking into them.
#[derive(Debug)]
pub struct Changes {
    inotify: OwnedFd,
}

impl Changes {
    /// Of the log in a folder.
    pub fn of(path: &Path) -> Result<Self, ReadError> {
        let fault =
            |e: Errno| ReadError::Io { path: path.join(wal::FOLDER).display().to_string(), source: e.into() };
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(fault)?;
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        inotify::add_watch(&inotify, path.join(wal::FOLDER), flags).map_err(fault)?;
        // A log that is set aside takes its segments with it.
        inotify::add_watch(&inotify, path, WatchFlags::MOVED_TO).map_err(fault)?;
        Ok(Self { inotify })
    }

    /// Waits for the next change, for so long at most.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) | Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        // What changed does not matter, only that it did.
        let mut told = [0; 4096];
        while matches!(rustix::io::read(&self.inotify, &mut told), Ok(read) if read > 0) {}
        Ok(())
    }
}

fn entries_of(bundle: &[u8], index: u64) -> Vec<Result<(u64, Vec<u8>), ReadError>> {
    let cut = |_| ReadError::Damaged(format!("{} ends within an entry", bundle_path(index)));
    let entries = tiles::entries(bundle).map(|entry| entry.map(<[u8]>::to_vec).map_err(cut));
    (index * 256..).zip(entries).map(|(seq, entry)| Ok((seq, entry?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{Hash, leaf_hash, verify_inclusion};
    use crate::{Clock, Log, Options, Stamp};

    const AT: Stamp = Stamp { mono_ns: 1, wall: None, quality: "unknown" };
    const SOON: Duration = Duration::from_secs(20);

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Stamp {
            AT
        }
    }

    #[test]
    fn a_log_that_is_being_written_is_read_to_its_last_durable_entry_and_proves_each() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Reader::open(dir.path()), Err(ReadError::None(_))));
        let (log, _) = Log::open(Options::new(dir.path()), 1, Still).unwrap();
        let say = |n: u64| format!("{{\"event_type\":\"said\",\"n\":{n}}}").into_bytes();
        (0..600).for_each(|n| assert!(log.append(&AT, &say(n))));
        log.act(&AT, &say(600), SOON).unwrap();
        (601..650).for_each(|n| assert!(log.append(&AT, &say(n))));
        log.flush(SOON).unwrap();
        let reader = Reader::open(dir.path()).unwrap();
        assert_eq!((reader.first(), reader.size(), reader.checkpoint().unwrap().size), (0, 650, 601));
        for from in [0, 255, 256, 600, 649, 650] {
            let entries: Vec<_> = reader.entries(from).map(Result::unwrap).collect();
            assert_eq!(entries.len() as u64, 650 - from);
            assert!(entries.iter().zip(from..).all(|((seq, line), n)| {
                *seq == n && String::from_utf8_lossy(line).ends_with(&format!("\"n\":{n}}}"))
            }));
        }
        let root = reader.checkpoint().unwrap().root;
        for (seq, entry) in
            reader.entries(0).map(Result::unwrap).filter(|(seq, _)| seq % 7 == 0 && *seq < 601)
        {
            let proof = reader.prove(seq).unwrap();
            let (head, note) = proof.split_once("\n\n").unwrap();
            assert!(note.starts_with("glassgate/"));
            let hashes: Vec<Hash> =
                head.lines().skip(2).map(|l| BASE64.decode(l).unwrap().try_into().unwrap()).collect();
            assert!(verify_inclusion(&leaf_hash(&entry), seq, 601, &root, &hashes), "{seq}");
        }
        assert!(matches!(reader.prove(620), Err(ReadError::TooNew { .. })));
        assert!(matches!(reader.prove(650), Err(ReadError::NoEntry { .. })));
    }

    #[test]
    fn growth_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(Options::new(dir.path()), 1, Still).unwrap();
        log.flush(SOON).unwrap();
        let changes = Changes::of(dir.path()).unwrap();
        for n in 1..5 {
            log.act(&AT, b"{\"event_type\":\"said\"}", SOON).unwrap();
            changes.wait(SOON).unwrap();
            assert_eq!(Reader::open(dir.path()).unwrap().size(), n);
        }
        // Nothing more is told than happened.
        let began = std::time::Instant::now();
        changes.wait(Duration::from_millis(50)).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(40));
        assert!(log.close(SOON));
    }
}
