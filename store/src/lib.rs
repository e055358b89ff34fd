//! The rollup store: what the audit log says about hours and days, laid out so that questions about the past are answered at once.
//!
//! ```text
//!   audit log ──► follow: entries in order, with the number of the next one in the same transaction ──► SQLite
//!                                                                                                        │
//!                          totals by hour × group × category × service, blindness, search, acts ◄────────┘
//! ```
//!
//! Nothing is in it that is not in the log, so it can be thrown away: one that is lost, damaged, of another version or of
//! another log is built again and answers as before. What the log has deleted is deleted here as well.
//!
//! * Sessions are counted, by purpose and day. Nothing else of them is taken: no pseudonym, no sealed part.
//! * Counts are those that the log tells: what few people stand behind was left out before it was written, and sums of what is
//!   told tell no more.
//! * It is bounded. The oldest hours go first.
//!
//! What is kept of a record is in [`schema`]; which kinds there are, in [`record`]. The text of a record stays in the log:
//! a search gives numbers of entries.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod follow;
mod query;
pub mod record;
pub mod schema;

pub use follow::{Entries, Followed, Log};
pub use query::{
    Blindness, Entry, Found, LONGEST_BY_HOUR, MOST_FOUND, MOST_ROWS, Question, Reach, Row, Search, Sessions,
    Step, Totals, Word,
};

use record::Measures;
use rusqlite::Connection;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

/// Where it is, and how large it may become.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its file; `None`: in memory. The folder must be there.
    pub path: Option<PathBuf>,
    /// Bytes on disk, about. The oldest hours are deleted to keep within it.
    pub quota_bytes: u64,
}

/// Why the store does not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store is in use by another process")]
    Busy,
    /// It is not what was written. Opening it again builds it anew.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The disk or the system said no.
    #[error("the store: {0}")]
    Sql(rusqlite::Error),
    /// A file of it can't be deleted.
    #[error("{0}")]
    File(String),
    /// The log can't be read.
    #[error("the audit log: {0}")]
    Log(String),
    /// A question that it does not answer.
    #[error("{0}")]
    Question(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseCorrupt, DatabaseLocked, NotADatabase, Unknown};
        match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked) => Self::Busy,
            // What we ask never changes, so a table that is not there is no question of ours.
            Some(DatabaseCorrupt | NotADatabase | Unknown) => Self::Damaged(error.to_string()),
            _ => match error {
                // A value of a type or size that was never written.
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::QueryReturnedNoRows => Self::Damaged(error.to_string()),
                other => Self::Sql(other),
            },
        }
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    options: Options,
    conn: Connection,
    /// The numbers of words.
    names: HashMap<String, i64>,
    words: HashMap<i64, String>,
    /// The numbers of what counts are about.
    cells: HashMap<Cell, i64>,
    cell_of: HashMap<i64, Cell>,
    state: State,
    answers: RefCell<query::Answers>,
}

/// What counts are about. Words are numbers of names, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Cell {
    /// 0: the whole network; 1: groups of a charter.
    whose: i64,
    /// 0: an hour; 1: the rest of a day.
    span: i64,
    group: i64,
    category: i64,
    service: i64,
    rest: i64,
}

/// What goes into the same transaction as the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Which log this is of: its public key.
    key: String,
    /// The number of the next entry.
    next: u64,
    /// The first entry of the log that what is here comes from.
    first: u64,
    /// A digest of the entry before `next`: a log with the same key and other entries is another log.
    last: i64,
    /// The sum of the digests of all rows.
    mark: i64,
    /// How much is here of hours, in [`schema`]'s units, and of records, in rows.
    units: i64,
    records: i64,
    /// How often what totals tell has changed since the store was opened: not kept.
    changes: u64,
}

/// How an open came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There was none.
    New,
    /// It was there, and is what was written.
    Kept,
    /// It was there and was thrown away, for this reason.
    Discarded(String),
}

impl Store {
    /// Opens the store; throws it away if it is not what was written, or of another version. All of it is read for that.
    pub fn open(options: Options) -> Result<(Self, Opened), StoreError> {
        let there = options.path.as_ref().is_some_and(|path| path.exists());
        let why = match Self::try_open(&options) {
            Ok(store) => return Ok((store, if there { Opened::Kept } else { Opened::New })),
            Err(StoreError::Damaged(why)) => why,
            Err(other) => return Err(other),
        };
        schema::delete(&options)?;
        Ok((Self::try_open(&options)?, Opened::Discarded(why)))
    }

    fn try_open(options: &Options) -> Result<Self, StoreError> {
        let conn = schema::connect(options)?;
        let mut store = Self {
            options: options.clone(),
            conn,
            names: HashMap::new(),
            words: HashMap::new(),
            cells: HashMap::new(),
            cell_of: HashMap::new(),
            state: State::default(),
            answers: RefCell::default(),
        };
        store.load()?;
        store.check()?;
        Ok(store)
    }

    /// Panics if it is not what was written.
    #[doc(hidden)]
    #[allow(clippy::panic, reason = "for tests")]
    pub fn check_for_tests(&self) {
        if let Err(e) = self.check() {
            panic!("{e}");
        }
    }

    /// Throws everything away and begins anew.
    fn begin_anew(&mut self) -> Result<(), StoreError> {
        // The file must be closed before it is deleted: an open one is locked against the next.
        self.conn = Connection::open_in_memory()?;
        schema::delete(&self.options)?;
        *self = Self::try_open(&self.options)?;
        Ok(())
    }
}

/// A digest that tells rows apart after an accident; not meant against anybody who means it.
fn digest(tag: i64, values: &[i64]) -> i64 {
    let mut h = 0x9e37_79b9_7f4a_7c15_u64 ^ tag.cast_unsigned();
    for value in values {
        h = (h ^ value.cast_unsigned()).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h ^= h >> 32;
    }
    h.wrapping_mul(0xc4ce_b9fe_1a85_ec53).rotate_left(31).cast_signed()
}

fn digest_bytes(tag: i64, bytes: &[u8]) -> i64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        i64::from_le_bytes(word)
    });
    let mut all: Vec<i64> = words.collect();
    all.push(bytes.len() as i64);
    digest(tag, &all)
}

/// Adds measures up: the most people and the largest `k`, sums of the rest.
fn merge(into: &mut Measures, more: &Measures) {
    for (at, (sum, n)) in into.iter_mut().zip(more).enumerate() {
        *sum = match at {
            record::PEOPLE | record::K => (*sum).max(*n),
            record::HAS => *sum | *n,
            _ => sum.saturating_add(*n),
        };
    }
}
