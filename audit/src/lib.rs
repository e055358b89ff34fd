//! The audit log: records that nobody can change afterwards without it showing.
//!
//! Records are the leaves of a Merkle tree (RFC 6962) that only grows. Its state is signed at every act of a person and every
//! minute at most, in the formats of C2SP (`tlog-tiles`, `tlog-checkpoint`, `signed-note`), so that verifiers that others
//! wrote read it. Somebody else who keeps such a signed state, a witness, makes a past that was rewritten or cut off
//! show too.
//!
//! ```text
//!  append, act ──► queue ──► writer thread ──► segments (durable within a group) ──► tiles, checkpoint ──► witness
//!                   │ full: counted, told by a `gap` record
//! ```
//!
//! * A caller never waits for a disk, but where it asks to: [`Log::act`], [`Log::flush`].
//! * What was acknowledged survives the death of the process and of the machine.
//! * What is lost is counted, and the count is a record. What waited in memory when the process was killed is counted if
//!   [`Options::tally`] names a file; when the machine dies, the record says that nobody knows.
//! * Opening a log never needs anybody's help.
//!
//! What a record says is no matter of this crate: it takes the bytes of a JSON object. [`leaf`] says what it adds.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod aside;
pub mod checkpoint;
mod clock;
pub mod disk;
pub mod leaf;
mod log;
pub mod merkle;
pub mod note;
mod open;
pub mod reader;
mod recover;
#[cfg(any(test, feature = "simulation"))]
#[allow(clippy::indexing_slicing, reason = "a simulation that is wrong ends")]
pub mod simulated;
#[cfg(test)]
mod simulation;
mod tally;
#[cfg(test)]
mod testing;
pub mod tiles;
mod wal;
pub mod witness;
mod writer;

pub use clock::Clock;
pub use leaf::{MAX_LEAF, Stamp};
pub use log::{ActError, Log, Status};
pub use open::{OpenError, Recovered};
pub use tally::Balance;

use std::path::PathBuf;
use std::time::Duration;

/// How much is kept, where, and how soon it is durable.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder. It is made if it is missing.
    pub folder: PathBuf,
    /// Where to keep count of what was offered, so that a killed process is no reason not to know what is missing: a file on a tmpfs
    /// (`/run/…`), made if it is missing, of this log alone. Without it the number is not known.
    pub tally: Option<PathBuf>,
    /// Name of the key when it is made: the log's origin line. Else it follows from the key.
    pub origin: Option<String>,
    /// Size of a segment: what is read again after a crash.
    pub segment_bytes: u64,
    /// Size of everything. The oldest entries are deleted to keep within it.
    pub quota_bytes: u64,
    /// Kept for the record that the log is full, and for acts of people then: 2 KiB are enough for one.
    pub reserve_bytes: u64,
    /// Records that wait, and records that are held while nothing can be written.
    pub queue_bytes: usize,
    /// Records are written when there are so many bytes of them …
    pub group_bytes: usize,
    /// … or when one has waited for so long.
    pub group_delay: Duration,
    /// A checkpoint is signed at least this often, if there is anything new.
    pub checkpoint_every: Duration,
}

impl Options {
    /// Segments of 8 MiB, 256 MiB in all, of which 2 MiB are kept in reserve; groups of 64 KiB or 20 ms; a checkpoint a minute.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            tally: None,
            origin: None,
            segment_bytes: 8 << 20,
            quota_bytes: 256 << 20,
            reserve_bytes: 2 << 20,
            queue_bytes: 4 << 20,
            group_bytes: 64 << 10,
            group_delay: Duration::from_millis(20),
            checkpoint_every: Duration::from_secs(60),
        }
    }

    /// Whether the sizes go together.
    fn check(&self) -> Result<(), &'static str> {
        if self.segment_bytes < 256 << 10 || self.reserve_bytes < 256 << 10 {
            return Err("a segment of the audit log, and its reserve, has 256 KiB at least");
        }
        if self.reserve_bytes > self.segment_bytes.saturating_mul(4) {
            return Err("the reserve of the audit log is at most four segments");
        }
        if self.quota_bytes < self.segment_bytes.saturating_mul(8).saturating_add(self.reserve_bytes) {
            return Err("the quota of the audit log holds eight segments and the reserve at least");
        }
        Ok(())
    }
}
