//! What is kept, and how it is known to be what was written.
//!
//! | table | row | |
//! |---|---|---|
//! | `name` | a word | groups, categories, services, kinds, reasons |
//! | `cell` | what counts are about | whose, hour or rest of a day, group, category, service |
//! | `tally` | the counts of one record | in order of the hour they are about |
//! | `day` | sums of `tally` by UTC day and cell | so that a year is answered from its days |
//! | `sight`, `sight_day` | likewise, of `blindness` records, a row a word | |
//! | `record` | where a record is that may be shown: number, kind, time | |
//! | `session` | how many sealed records of a purpose there were on a day | by bundle of the log, which is what the log deletes |
//! | `state` | one row | which log, the next entry, the sum of the digests of all rows |
//!
//! SQLite finds a page that makes no sense; it does not find a number that became another one. So the state has the sum of
//! digests of all rows, changed in the same transaction as they are, and opening adds them up again.

use crate::record::{HAS, HAS_USE, Measures, UPLOADS};
use crate::{Cell, Options, State, Store, StoreError, digest, digest_bytes, merge};
use rusqlite::{Connection, OpenFlags, Row, params};
use std::collections::HashMap;
use std::path::PathBuf;

/// Changes with every change of the tables, or of what is taken of a record.
pub const VERSION: i32 = 1;
/// "GGst": a file that is a database of somebody else is not taken for ours.
const APPLICATION: i32 = 0x4747_7374;

/// Bytes of a unit, and units of a `tally` and a `sight` row: measured, with their shares of indexes and of the sums by day.
const UNIT_BYTES: u64 = 40;
pub(crate) const TALLY_UNITS: i64 = 3;
pub(crate) const SIGHT_UNITS: i64 = 1;
/// Bytes of a `record` row with its indexes.
const RECORD_BYTES: u64 = 80;

/// Entries of the log that are deleted together.
pub(crate) const BUNDLE: u64 = 256;

/// How much is kept of hours, in units, and of records, in rows: two thirds of the quota, and one.
pub(crate) fn bounds(quota_bytes: u64) -> (i64, i64) {
    ((quota_bytes / 3 * 2 / UNIT_BYTES) as i64, (quota_bytes / 3 / RECORD_BYTES) as i64)
}

/// Tags of digests.
pub(crate) const NAME: i64 = 1;
pub(crate) const CELL: i64 = 2;
pub(crate) const TALLY: i64 = 3;
pub(crate) const SIGHT: i64 = 4;
pub(crate) const RECORD: i64 = 5;
pub(crate) const SESSION: i64 = 6;
pub(crate) const ENTRY: i64 = 7;

const TABLES: &str = "
    CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
    CREATE TABLE cell (id INTEGER PRIMARY KEY, whose INT, span INT, grp INT, category INT, service INT, rest INT);
    CREATE TABLE tally (start INT, seq INT, cell INT, people INT, k INT, flows INT, blocked INT, up INT, down INT,
        visits INT, active_s INT, uploads INT, upload_bytes INT, large INT, large_bytes INT, has INT,
        PRIMARY KEY (start, seq)) WITHOUT ROWID;
    CREATE INDEX tally_by_seq ON tally (seq);
    CREATE TABLE day (day INT, cell INT, people INT, k INT, flows INT, blocked INT, up INT, down INT,
        visits INT, active_s INT, uploads INT, upload_bytes INT, large INT, large_bytes INT, has INT,
        PRIMARY KEY (day, cell)) WITHOUT ROWID;
    CREATE TABLE sight (start INT, seq INT, sort INT, word INT, n INT, PRIMARY KEY (start, seq, sort, word)) WITHOUT ROWID;
    CREATE INDEX sight_by_seq ON sight (seq);
    CREATE TABLE sight_day (day INT, sort INT, word INT, n INT, PRIMARY KEY (day, sort, word)) WITHOUT ROWID;
    CREATE TABLE record (seq INTEGER PRIMARY KEY, kind INT, wall INT, act INT);
    CREATE INDEX record_by_kind ON record (kind, seq);
    CREATE INDEX record_by_time ON record (wall, seq);
    CREATE INDEX record_by_kind_and_time ON record (kind, wall, seq);
    CREATE INDEX act ON record (seq) WHERE act = 1;
    CREATE TABLE session (bundle INT, day INT, purpose INT, n INT, PRIMARY KEY (bundle, day, purpose)) WITHOUT ROWID;
    CREATE TABLE state (one INTEGER PRIMARY KEY, key TEXT, next INT, first INT, last INT, mark INT, units INT, records INT);
    INSERT INTO state VALUES (1, '', 0, 0, 0, 0, 0, 0);
";

/// Opens the file and sees to it that it has our tables.
pub(crate) fn connect(options: &Options) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let conn = match &options.path {
        Some(path) => Connection::open_with_flags(path, flags)?,
        None => Connection::open_in_memory()?,
    };
    // One process at a time has it, so that there is no shared memory beside the file. What a power cut takes from the end of
    // the write-ahead log is read from the audit log again: no commit has to wait for the disk. Nothing goes to temporary files.
    conn.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
         PRAGMA cache_size = -8192; PRAGMA journal_size_limit = 8388608;",
    )?;
    let number = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (application, version, tables) == (0, 0, 0) {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
        ))?;
    } else if (application, version) != (APPLICATION, VERSION) {
        return Err(StoreError::Damaged(format!(
            "it is of version {version}, and this is version {VERSION}"
        )));
    }
    Ok(conn)
}

/// Deletes the files.
pub(crate) fn delete(options: &Options) -> Result<(), StoreError> {
    let Some(path) = &options.path else { return Ok(()) };
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        match std::fs::remove_file(PathBuf::from(&name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                let why = format!("{} can't be deleted: {e}", PathBuf::from(name).display());
                return Err(StoreError::File(why));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The measures of a row, from this column on.
pub(crate) fn measures(row: &Row<'_>, from: usize) -> rusqlite::Result<Measures> {
    let mut all = Measures::default();
    let has: i64 = row.get(from + HAS)?;
    // Each column that is read costs; those of uploads are nearly always zeros, and then not there to be read.
    let end = if has & !HAS_USE == 0 { UPLOADS } else { HAS };
    for (at, measure) in all.iter_mut().enumerate().take(end) {
        *measure = row.get(from + at)?;
    }
    if let Some(measure) = all.get_mut(HAS) {
        *measure = has;
    }
    Ok(all)
}

pub(crate) fn tally_digest(start: i64, seq: i64, cell: i64, m: &Measures) -> i64 {
    let mut values = [0; 16];
    values.iter_mut().zip([start, seq, cell].iter().chain(m)).for_each(|(to, from)| *to = *from);
    digest(TALLY, &values)
}

/// The UTC day of a time.
pub(crate) const fn day(start: i64) -> i64 {
    start.div_euclid(86_400)
}

impl Store {
    /// Reads what is kept in memory as well.
    pub(crate) fn load(&mut self) -> Result<(), StoreError> {
        // Whatever was told before may be of what was not kept.
        let changes = self.state.changes;
        self.state = self.conn.query_row(
            "SELECT key, next, first, last, mark, units, records FROM state WHERE one = 1",
            [],
            |row| {
                let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
                Ok(State {
                    key: row.get(0)?,
                    next: number(1)?,
                    first: number(2)?,
                    last: row.get(3)?,
                    mark: row.get(4)?,
                    units: row.get(5)?,
                    records: row.get(6)?,
                    changes: changes + 1,
                })
            },
        )?;
        self.state.mark = self.state.mark.wrapping_sub(state_digest(&self.state));
        let mut names = self.conn.prepare("SELECT id, text FROM name")?;
        let names = names.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.words = names.collect::<Result<HashMap<i64, String>, _>>()?;
        self.names = self.words.iter().map(|(id, text)| (text.clone(), *id)).collect();
        let mut cells =
            self.conn.prepare("SELECT id, whose, span, grp, category, service, rest FROM cell")?;
        let cells = cells.query_map([], |row| {
            let cell = Cell {
                whose: row.get(1)?,
                span: row.get(2)?,
                group: row.get(3)?,
                category: row.get(4)?,
                service: row.get(5)?,
                rest: row.get(6)?,
            };
            Ok((row.get(0)?, cell))
        })?;
        self.cell_of = cells.collect::<Result<HashMap<i64, Cell>, _>>()?;
        self.cells = self.cell_of.iter().map(|(id, cell)| (*cell, *id)).collect();
        Ok(())
    }

    /// Reads everything, and holds it against what the state says there is.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let damaged = |why: &str| Err(StoreError::Damaged(why.to_owned()));
        let said: String = self.conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if said != "ok" {
            return damaged(&said);
        }
        let mut mark = 0i64;
        let mut add = |digest: i64| mark = mark.wrapping_add(digest);
        self.words.iter().for_each(|(id, text)| add(name_digest(*id, text)));
        self.cell_of.iter().for_each(|(id, cell)| add(cell_digest(*id, cell)));
        let (mut units, mut records) = (0, 0);
        let mut days: HashMap<(i64, i64), Measures> = HashMap::new();
        let mut rows = self.conn.prepare("SELECT * FROM tally")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (start, seq, cell) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let measures = measures(row, 3)?;
            add(tally_digest(start, seq, cell, &measures));
            merge(days.entry((day(start), cell)).or_default(), &measures);
            units += TALLY_UNITS;
        }
        let mut rows = self.conn.prepare("SELECT * FROM day")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            if days.remove(&(row.get(0)?, row.get(1)?)) != Some(measures(row, 2)?) {
                return damaged("the sums of a day are not those of its hours");
            }
        }
        let mut seen: HashMap<(i64, i64, i64), i64> = HashMap::new();
        let mut rows = self.conn.prepare("SELECT start, seq, sort, word, n FROM sight")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (start, seq, sort, word, n) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            add(digest(SIGHT, &[start, seq, sort, word, n]));
            let sum = seen.entry((day(start), sort, word)).or_default();
            *sum = sum.saturating_add(n);
            units += SIGHT_UNITS;
        }
        let mut rows = self.conn.prepare("SELECT day, sort, word, n FROM sight_day")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            if seen.remove(&(row.get(0)?, row.get(1)?, row.get(2)?)) != Some(row.get(3)?) {
                return damaged("what could be seen on a day is not what its hours say");
            }
        }
        if !days.is_empty() || !seen.is_empty() {
            return damaged("a day is missing");
        }
        let mut rows = self.conn.prepare("SELECT seq, kind, wall, act FROM record")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            add(digest(RECORD, &[row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]));
            records += 1;
        }
        let mut rows = self.conn.prepare("SELECT bundle, day, purpose, n FROM session")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            add(digest(SESSION, &[row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]));
        }
        let state = &self.state;
        if (mark, units, records) != (state.mark, state.units, state.records) {
            return damaged("its rows are not those that were written");
        }
        Ok(())
    }

    /// Writes the state into the transaction that is open.
    pub(crate) fn write_state(conn: &Connection, state: &State) -> Result<(), StoreError> {
        let State { key, next, first, last, mark, units, records, .. } = state;
        let mark = mark.wrapping_add(state_digest(state));
        conn.prepare_cached(
            "UPDATE state SET key = ?, next = ?, first = ?, last = ?, mark = ?, units = ?, records = ? WHERE one = 1",
        )?
        .execute(params![key, next.cast_signed(), first.cast_signed(), last, mark, units, records])?;
        Ok(())
    }
}

pub(crate) fn name_digest(id: i64, text: &str) -> i64 {
    digest(NAME, &[id, digest_bytes(NAME, text.as_bytes())])
}

pub(crate) fn cell_digest(id: i64, cell: &Cell) -> i64 {
    let Cell { whose, span, group, category, service, rest } = *cell;
    digest(CELL, &[id, whose, span, group, category, service, rest])
}

/// Of what else the state says; of an empty one it is nothing, so that a new file needs no arithmetic.
fn state_digest(state: &State) -> i64 {
    let State { key, next, first, last, .. } = state;
    if key.is_empty() {
        return 0;
    }
    digest(ENTRY, &[digest_bytes(ENTRY, key.as_bytes()), next.cast_signed(), first.cast_signed(), *last])
}
