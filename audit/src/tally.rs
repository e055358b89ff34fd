//! The tally: how many records were offered and how many of them the log has answered for, kept in a file that outlives the process.
//!
//! What waits in memory dies with the process. The number of it need not: each record is counted in a file on a tmpfs before it is
//! taken, so that the next open can say exactly how many are missing. Such a file does not outlive the machine; then nobody knows the
//! number, and the log says that. It is written in place and never synced: a process that is killed does not take back what
//! the kernel has.
//!
//! ```text
//!   0  magic, boot, hash of the log's public key      56 bytes, with the file
//!  56  records offered                                each time one is, under the queue's lock
//!  64  size of the log, records answered for, flags   before each group is written: as it is, and as it will be with the group;
//!                                                     a group is there as a whole or not at all, so one of the two is true
//! ```
//!
//! Answered for is what is durable, and what a durable `gap` record counts. The rest is missing when the process is gone.

use crate::merkle::{Hash, digest_of};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"GGTALLY1";
const OFFERED: u64 = 56;
const ACCOUNTS: u64 = 64;
const LEN: usize = 112;
/// Records are missing from before, nobody knows how many, and no durable record says so yet.
const UNKNOWN: u64 = 1;
/// The log was closed in order.
const CLOSED: u64 = 2;

/// What the log has answered for at a size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Entries.
    pub(crate) size: u64,
    /// Offered records that are durable, or that a durable record counts as missing.
    pub(crate) answered: u64,
    /// Whether it is still to be said that an unknown number is missing from before.
    pub(crate) unknown: bool,
}

/// What the last run left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Records that were offered and not answered for; `None` if nobody knows.
    pub(crate) missing: Option<u64>,
    /// Whether it ended in order.
    pub(crate) closed: bool,
}

/// Records that were offered to a log, and those that it has answered for: durable, or counted as missing by a durable record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Since the tally began, with those that were missing then.
    pub offered: u64,
    /// Of them.
    pub answered: u64,
    /// Whether the log was closed in order. Then the two are one number, if the disk took what there was.
    pub closed: bool,
}

impl Balance {
    /// What the tally of a log says that no process has open any more. `None` if there is none, or it is none.
    pub fn of(path: &Path) -> Option<Self> {
        let bytes: [u8; LEN] = fs::read(path).ok()?.try_into().ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (fields, _) = rest.get(48..)?.as_chunks::<8>();
        let [offered, _, _, _, _, answered, flags] = *fields else { return None };
        let [offered, answered, flags] = [offered, answered, flags].map(u64::from_le_bytes);
        Some(Self { offered, answered, closed: flags & CLOSED != 0 })
    }

    /// Whether `offered = durable + lost` holds of a log that was closed in order.
    pub fn holds(&self) -> bool {
        self.closed && self.offered == self.answered
    }
}

/// The tally of a log that is open. Without a file it counts nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    file: Option<Arc<File>>,
    path: PathBuf,
}

impl Tally {
    /// Begins a new tally: so many records are missing from before and are to be answered for.
    pub(crate) fn begin(
        path: &Path,
        boot: u128,
        key: &str,
        carried: u64,
        account: Account,
    ) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&boot.to_le_bytes());
        bytes.extend_from_slice(&digest_of(&[key.as_bytes()]));
        bytes.extend_from_slice(&carried.to_le_bytes());
        bytes.extend_from_slice(&accounts(&account, &account, 0));
        // As a whole or not at all: until then the old one holds.
        let new = path.with_extension("new");
        _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&new)?;
        file.write_all(&bytes).and_then(|()| fs::rename(&new, path))?;
        Ok(Self { file: Some(Arc::new(file)), path: path.to_owned() })
    }

    /// Says that `count` records were offered since the tally began, those of before included.
    pub(crate) fn offered(&mut self, count: u64) {
        self.write(OFFERED, &count.to_le_bytes());
    }

    /// Says that a group is about to be written.
    pub(crate) fn group(&mut self, now: &Account, then: &Account) {
        self.write(ACCOUNTS, &accounts(now, then, 0));
    }

    /// Says that the log is closed in order.
    pub(crate) fn close(&mut self, account: &Account) {
        self.write(ACCOUNTS, &accounts(account, account, CLOSED));
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let Some(file) = &self.file else { return };
        if file.write_all_at(bytes, at).is_err() {
            // One that is wrong is worse than none.
            _ = fs::remove_file(&self.path);
            self.file = None;
        }
    }
}

fn accounts(now: &Account, then: &Account, flags: u64) -> Vec<u8> {
    let fields = |account: &Account| {
        [account.size, account.answered, if account.unknown { flags | UNKNOWN } else { flags }]
    };
    fields(now).into_iter().chain(fields(then)).flat_map(u64::to_le_bytes).collect()
}

/// What the tally says of a log that has `entries` now. `None` if there is none, or one of another boot, another log, or of a
/// log that went on without it.
pub(crate) fn read(path: &Path, boot: u128, key: &str, entries: u64) -> Option<Left> {
    let bytes: [u8; LEN] = fs::read(path).ok()?.try_into().ok()?;
    let rest = bytes.strip_prefix(MAGIC)?;
    let (of_boot, rest) = rest.split_first_chunk::<16>()?;
    let (of_key, rest) = rest.split_first_chunk::<32>()?;
    let key: Hash = digest_of(&[key.as_bytes()]);
    if u128::from_le_bytes(*of_boot) != boot || *of_key != key {
        return None;
    }
    let (fields, _) = rest.as_chunks::<8>();
    let [offered, accounts @ ..] = fields else { return None };
    let offered = u64::from_le_bytes(*offered);
    let (accounts, _) = accounts.as_chunks::<3>();
    let account = accounts.iter().map(|fields| fields.map(u64::from_le_bytes));
    let [_, answered, flags] = account.rev().find(|[size, ..]| *size == entries)?;
    let missing = offered.checked_sub(answered)?;
    Some(Left {
        missing: (flags & UNKNOWN == 0).then_some(missing),
        closed: flags & CLOSED != 0 && missing == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_what_is_missing_follows_from_which_group_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/tally");
        let at = |size, answered| Account { size, answered, unknown: false };
        assert_eq!(read(&path, 1, "k", 0), None);
        let mut tally = Tally::begin(&path, 1, "k", 0, at(10, 0)).unwrap();
        let left = |entries| read(&path, 1, "k", entries).map(|left| (left.missing, left.closed));
        assert_eq!(left(10), Some((Some(0), false)));
        tally.offered(7);
        assert_eq!(left(10), Some((Some(7), false)));
        tally.group(&at(10, 0), &at(15, 4));
        assert_eq!((left(10), left(15)), (Some((Some(7), false)), Some((Some(3), false))));
        // Another boot, another log, one that went on without it.
        assert_eq!(
            [read(&path, 2, "k", 15), read(&path, 1, "l", 15), read(&path, 1, "k", 16)],
            [None, None, None]
        );
        tally.close(&at(18, 7));
        assert_eq!(left(18), Some((Some(0), true)));
        tally.offered(9);
        assert_eq!(left(18), Some((Some(2), false)));
        let unknown = Account { unknown: true, ..at(18, 0) };
        let mut tally = Tally::begin(&path, 1, "k", 2, unknown).unwrap();
        assert_eq!(left(18), Some((None, false)));
        tally.group(&unknown, &at(20, 2));
        assert_eq!(left(20), Some((Some(0), false)));
    }

    #[test]
    fn what_is_no_tally_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tally");
        _ = Tally::begin(&path, 1, "k", 0, Account::default()).unwrap();
        let good = fs::read(&path).unwrap();
        for bad in [&good[..111], &[], &[&good[..], b"x"].concat(), &[b"X", &good[1..]].concat()] {
            fs::write(&path, bad).unwrap();
            assert_eq!(read(&path, 1, "k", 0), None);
        }
        // More answered for than was offered.
        let mut wrong = good;
        wrong[72] = 1;
        wrong[96] = 1;
        fs::write(&path, wrong).unwrap();
        assert_eq!(read(&path, 1, "k", 0), None);
    }
}
