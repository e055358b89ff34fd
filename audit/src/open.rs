//! Opening a log: its key, what is there, what the last run left behind, and what of that is told.

use crate::aside;
use crate::clock::Steps;
use crate::disk::{Disk, Folder};
use crate::leaf::{Cause, Own, Stamp};
use crate::note::{Kind, Signer};
use crate::recover::{CHECKPOINT, Damage, Found, recover};
use crate::tally::{self, Account, Tally};
use crate::tiles::{bundle_path, entries};
use crate::writer::Writer;
use crate::{Options, wal};
use ring::rand::SecureRandom;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the audit log in {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// Sizes that do not go together.
    #[error("{0}")]
    Options(&'static str),
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No random numbers for a key.
    #[error("the system has no random numbers to make a key of")]
    Random,
}

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Entries that are there.
    pub entries: u64,
    /// Bytes of a group that was not finished: never promised, now passed over.
    pub torn_bytes: u64,
    /// Records that the group claims to have had.
    pub torn_records: u64,
    /// The last run did not end in order: it was not closed, or its last record is not a `stopped`, or records are missing.
    pub unclean: bool,
    /// How many records it was given that are neither durable nor counted. `None` where nobody knows: there is no tally, or it died
    /// with the machine.
    pub missing: Option<u64>,
    /// Why what is offered from here on is not counted outside of the process, where a tally was asked for.
    pub no_tally: Option<String>,
    /// Why the log that was there could not be gone on with, and where it lies now. This one has another key.
    pub damaged: Option<String>,
    /// Files of the JSON lines that were written before there was a Merkle log. They are left alone.
    pub old_files: usize,
    /// Name of the log's key: its origin line.
    pub origin: String,
    /// The public key, as verifiers want it.
    pub key: String,
}

/// A log in a folder that is ready to be written.
pub(crate) struct Opened {
    pub(crate) begun: Begun,
    pub(crate) lock: File,
}

/// A log that is ready to be written.
pub(crate) struct Begun {
    pub(crate) writer: Writer,
    pub(crate) recovered: Recovered,
    pub(crate) tally: Tally,
    /// Records that the tally counts as offered already: those that are missing.
    pub(crate) carried: u64,
    pub(crate) steps: Steps,
}

pub(crate) fn open(options: Options, boot: u128, now: &Stamp) -> Result<Opened, OpenError> {
    options.check().map_err(OpenError::Options)?;
    let io_error = |source| OpenError::Io { path: options.folder.clone(), source };
    let folder = Folder::open(&options.folder).map_err(io_error)?;
    let lock = lock_folder(&options.folder)?;
    let old_files = old_files(&folder);
    let mut begun = begin(Arc::new(folder), &options, boot, now)?;
    begun.recovered.old_files = old_files;
    Ok(Opened { begun, lock })
}

/// Opens the log on a disk that nobody else has.
pub(crate) fn begin(
    disk: Arc<dyn Disk>,
    options: &Options,
    boot: u128,
    now: &Stamp,
) -> Result<Begun, OpenError> {
    let path = options.folder.clone();
    let io_error = |source| OpenError::Io { path: path.clone(), source };
    let mut recovered = Recovered::default();
    let (key, found) = match read(&*disk, options) {
        Ok(begun) => begun,
        Err(Begin::Damage(why)) => {
            recovered.damaged = Some(aside::set_aside(&*disk, &why).map_err(io_error)?);
            read(&*disk, options).map_err(|e| e.into_open(&path))?
        }
        Err(other) => return Err(other.into_open(&path)),
    };
    rewrite_end(&*disk, &found).map_err(io_error)?;
    recovered.entries = found.grown.tree.size();
    if recovered.entries == 0 && recovered.damaged.is_none() {
        // Set aside by a run that did not get to say so.
        recovered.damaged = aside::last(&*disk).map_err(io_error)?;
    }
    (recovered.torn_bytes, recovered.torn_records) = (found.torn.bytes, found.torn.records);
    recovered.origin = key.verifier().name().to_owned();
    recovered.key = key.verifier().to_string();
    let last = last_entry(&*disk, &found);
    let left = options.tally.as_deref();
    let left = left.and_then(|path| tally::read(path, boot, &recovered.key, recovered.entries));
    recovered.unclean =
        left.map_or_else(|| last.as_ref().is_some_and(|last| !last.is_stopped()), |left| !left.closed);
    recovered.missing = left.and_then(|left| left.missing);
    let carried = recovered.missing.unwrap_or_default();
    let size = recovered.entries;
    let unknown = recovered.unclean && recovered.missing.is_none();
    let account = Account { size, answered: 0, unknown };
    let begun = options.tally.as_deref();
    let begun = begun.map(|path| Tally::begin(path, boot, &recovered.key, carried, account)).transpose();
    let tally = begun.unwrap_or_else(|e| {
        recovered.no_tally = Some(e.to_string());
        None
    });
    let tally = tally.unwrap_or_default();
    let boot = format!("{boot:032x}");
    let last = last.filter(|last| last.boot_id.as_deref() == Some(&boot));
    let steps = Steps::since(last.as_ref().and_then(Last::moment));
    let mut writer = Writer::new(disk, options.clone(), key, boot, found, tally.clone());
    note(&mut writer, &recovered, last.and_then(|last| last.mono_ns), now);
    Ok(Begun { writer, recovered, tally, carried, steps })
}

/// Why a log can't be begun with.
enum Begin {
    Damage(String),
    Io(PathBuf, io::Error),
    Random,
}

impl Begin {
    fn into_open(self, folder: &std::path::Path) -> OpenError {
        match self {
            Self::Damage(why) => OpenError::Io { path: folder.to_owned(), source: io::Error::other(why) },
            Self::Io(path, source) => OpenError::Io { path: folder.join(path), source },
            Self::Random => OpenError::Random,
        }
    }
}

pub(crate) const KEY: &str = "key";
pub(crate) const PUBLIC_KEY: &str = "key.pub";

fn read(disk: &dyn Disk, options: &Options) -> Result<(Signer, Found), Begin> {
    let fault = |e| Begin::Io(KEY.into(), e);
    let key = match disk.read(KEY).map_err(fault)? {
        Some(text) => {
            let key = Signer::parse(&String::from_utf8_lossy(&text))
                .ok()
                .filter(|k| k.verifier().kind() == Kind::Ed25519);
            key.ok_or_else(|| Begin::Damage("its key can't be read".to_owned()))?
        }
        None => {
            // The key is the first that is made: what is there without it was made with another one.
            let names = disk.names("").map_err(fault)?;
            if names.iter().any(|name| [CHECKPOINT, PUBLIC_KEY, wal::FOLDER, "tile"].contains(&&**name)) {
                return Err(Begin::Damage("its key is gone".to_owned()));
            }
            let key = new_key(options)?;
            // The private key first: without the public one beside it, it has signed nothing yet.
            disk.replace(KEY, format!("{}\n", key.to_secret_text()).as_bytes(), true).map_err(fault)?;
            key
        }
    };
    let public = format!("{}\n", key.verifier());
    if disk.read(PUBLIC_KEY).map_err(fault)?.as_deref() != Some(public.as_bytes()) {
        disk.replace(PUBLIC_KEY, public.as_bytes(), false).map_err(fault)?;
    }
    match recover(disk, key.verifier()) {
        // Tiles are written only of what is durable in segments or in older tiles.
        Ok(found) if found.beyond => {
            let there = found.grown.tree.size();
            Err(Begin::Damage(format!("there are tiles of more than the {there} entries that there are")))
        }
        Ok(found) => Ok((key, found)),
        Err(Damage::Broken(why)) => Err(Begin::Damage(why)),
        Err(Damage::Io { path, source }) => Err(Begin::Io(path.into(), source)),
    }
}

/// Makes durable what was read of the segment that the log is gone on with behind. A process that was killed may not have synced its last group, or not have been able to: then
/// it stands in memory alone, where pages may be called clean that never came to the disk, so that a sync would do nothing. All of it is written once more. What stands in
/// segments before that one was synced, or stands at the beginning of the next once more.
fn rewrite_end(disk: &dyn Disk, found: &Found) -> io::Result<()> {
    let holds = found.segments.iter().rposition(|segment| segment.end > segment.first);
    for segment in found.segments.iter().skip(holds.unwrap_or_default()) {
        let path = wal::path(segment.number);
        let Some(bytes) = disk.read(&path)? else { continue };
        // Behind it are the zeros of the space that was taken.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let mut file = disk.open(&path)?;
        file.write_at(0, bytes.get(..end).unwrap_or_default())?;
        file.sync()?;
    }
    Ok(())
}

/// A key whose name is the origin that is wished for, or follows from the key itself.
fn new_key(options: &Options) -> Result<Signer, Begin> {
    let mut seed = [0; 32];
    ring::rand::SystemRandom::new().fill(&mut seed).map_err(|_| Begin::Random)?;
    let public = Signer::public_of(&seed).map_err(|_| Begin::Random)?;
    let hash: String =
        crate::merkle::digest_of(&[&public]).iter().take(8).map(|b| format!("{b:02x}")).collect();
    let own = format!("glassgate/{hash}");
    let named =
        options.origin.as_deref().and_then(|origin| Signer::from_seed(origin, Kind::Ed25519, seed).ok());
    named.map_or_else(|| Signer::from_seed(&own, Kind::Ed25519, seed).map_err(|_| Begin::Random), Ok)
}

/// Has records say what was found. `last_ns`: when the last record was made, in this boot.
fn note(writer: &mut Writer, recovered: &Recovered, last_ns: Option<u64>, now: &Stamp) {
    if let Some(why) = &recovered.damaged {
        writer.note(Own::gap(Cause::LogDamaged, None, Some(why)).owned());
    }
    let Recovered { torn_bytes, torn_records, unclean, missing, .. } = *recovered;
    if torn_bytes > 0 {
        // Those that the tally knows are all counted below.
        let records = if missing.is_some() { 0 } else { torn_records };
        writer.note(Own::torn(records, torn_bytes));
    }
    if unclean {
        writer.unclean_end(missing, last_ns.unwrap_or(now.mono_ns), now.mono_ns);
    }
}

/// The last entry, if there is one.
fn last_entry(disk: &dyn Disk, found: &Found) -> Option<Last> {
    let size = found.grown.tree.size();
    let full = || match found.filled.bundles.last() {
        Some((_, bundle)) => Some(bundle.clone()),
        None => disk.read(&bundle_path((size / 256).checked_sub(1)?)).ok().flatten(),
    };
    let bundle = if found.grown.bundle.is_empty() { full()? } else { found.grown.bundle.clone() };
    serde_json::from_slice(entries(&bundle).last()?.ok()?).ok()
}

#[derive(serde::Deserialize)]
struct Last {
    event_type: String,
    boot_id: Option<String>,
    mono_ns: Option<u64>,
    wall: Option<String>,
}

impl Last {
    fn is_stopped(&self) -> bool {
        self.event_type == "stopped"
    }

    /// On both clocks.
    fn moment(&self) -> Option<(u64, jiff::Timestamp)> {
        Some((self.mono_ns?, self.wall.as_ref()?.parse().ok()?))
    }
}

/// How many files of JSON lines there are.
fn old_files(folder: &impl crate::tiles::Files) -> usize {
    let names = folder.names("").unwrap_or_default();
    names.iter().filter(|name| name.starts_with("audit-") && name.ends_with(".jsonl")).count()
}

fn lock_folder(folder: &std::path::Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&path);
    let file = file.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}
