//! Taking entries from the log, and letting go of what is too old.

use crate::query::GAPS;
use crate::record::{self, Measures, What};
use crate::schema::{
    self, BUNDLE, ENTRY, RECORD, SESSION, SIGHT, SIGHT_UNITS, TALLY_UNITS, cell_digest, day, measures,
    name_digest, tally_digest,
};
use crate::{Cell, State, Store, StoreError, digest, digest_bytes};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeSet;

/// Entries in order, each with its number.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<(u64, Vec<u8>), String>> + 'a>;

/// A log, as it is at one moment.
pub trait Log {
    /// What it is known by: its public key. Another key is another log.
    fn key(&self) -> &str;
    /// The first entry that is there. Those before were deleted, in bundles of 256.
    fn first(&self) -> u64;
    /// How many there were ever.
    fn size(&self) -> u64;
    /// The entries from `seq` on, or from the first that is there.
    fn entries(&self, seq: u64) -> Entries<'_>;
}

/// What came of following.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Entries taken.
    pub taken: u64,
    /// Entries that are left to take.
    pub left: u64,
    /// Why everything was thrown away before, if it was.
    pub anew: Option<String>,
}

impl Store {
    /// Takes up to `limit` entries that are new, in one transaction: either all of it is there afterwards, or none.
    ///
    /// A log with another key, one that has become shorter, or one whose entry before the next is not the one that was taken is
    /// another log: everything is thrown away and begun anew.
    pub fn follow(&mut self, log: &dyn Log, limit: usize) -> Result<Followed, StoreError> {
        let anew = self.is_another(log)?;
        if anew.is_some() {
            self.begin_anew()?;
        }
        let mut state = self.state.clone();
        log.key().clone_into(&mut state.key);
        let first = log.first();
        let from = state.next.max(first);
        let mut entries = Vec::new();
        for entry in log.entries(from).take(limit) {
            entries.push(entry.map_err(StoreError::Log)?);
        }
        if entries.is_empty() && first <= state.first && state.key == self.state.key {
            return Ok(Followed { taken: 0, left: log.size().saturating_sub(from), anew });
        }
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        match self.take(&mut state, first, &entries) {
            Ok(()) => {
                self.conn.execute_batch("COMMIT")?;
                self.state = state;
            }
            Err(e) => {
                // Words that are not on disk must not be in memory. An error of the rollback is that of the cause again.
                _ = self.conn.execute_batch("ROLLBACK");
                self.load()?;
                return Err(e);
            }
        }
        let left = log.size().saturating_sub(self.state.next.max(first));
        Ok(Followed { taken: entries.len() as u64, left, anew })
    }

    fn is_another(&self, log: &dyn Log) -> Result<Option<String>, StoreError> {
        let State { key, next, last, .. } = &self.state;
        if key.is_empty() {
            return Ok(None);
        }
        if key != log.key() {
            return Ok(Some("the log has another key: a new one was begun".to_owned()));
        }
        if *next > log.size() {
            return Ok(Some(format!("the log has {} entries, and {next} were taken from it", log.size())));
        }
        let before = next.checked_sub(1).filter(|before| *before >= log.first());
        let Some(before) = before else { return Ok(None) };
        match log.entries(before).next() {
            Some(Ok((seq, line))) if seq == before && digest_bytes(ENTRY, &line) == *last => Ok(None),
            Some(Ok(_)) => Ok(Some(format!("entry {before} of the log is not the one that was taken"))),
            Some(Err(why)) => Err(StoreError::Log(why)),
            None => Err(StoreError::Log(format!("entry {before} can't be read"))),
        }
    }

    fn take(&mut self, state: &mut State, first: u64, entries: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        for (seq, line) in entries {
            self.take_one(state, *seq, line)?;
            state.next = seq + 1;
        }
        if let Some((_, line)) = entries.last() {
            state.last = digest_bytes(ENTRY, line);
        }
        if first > state.first {
            // What the log has no more.
            state.first = first;
            let end = first.cast_signed();
            forget_hours(&self.conn, state, end)?;
            forget_records(&self.conn, state, end)?;
            forget_sessions(&self.conn, state, (first / BUNDLE).cast_signed())?;
        }
        let (units, records) = schema::bounds(self.options.quota_bytes);
        if state.units > units {
            let end = oldest_hours(&self.conn, state.units - units)?;
            forget_hours(&self.conn, state, end)?;
        }
        if state.records > records {
            let skip = state.records - records;
            let end = "SELECT seq FROM record ORDER BY seq LIMIT 1 OFFSET ?";
            let end: Option<i64> = self.conn.query_row(end, [skip], |row| row.get(0)).optional()?;
            forget_records(&self.conn, state, end.unwrap_or(i64::MAX))?;
        }
        Self::write_state(&self.conn, state)
    }

    fn take_one(&mut self, state: &mut State, seq: u64, line: &[u8]) -> Result<(), StoreError> {
        let taken = record::take(line);
        let seq = seq.cast_signed();
        let bundle = seq / BUNDLE.cast_signed();
        match taken.what {
            What::Session(purpose) => {
                let purpose = self.name(state, &purpose)?;
                return self.count_session(state, bundle, day(taken.wall_ms / 1000), purpose);
            }
            What::Record => {}
            What::Count { start, of, measures } => {
                let cell = Cell {
                    whose: of.groups.into(),
                    span: of.rest_of_day.into(),
                    group: self.name_if(state, of.group.as_deref())?,
                    category: self.name_if(state, of.category.as_deref())?,
                    service: self.name_if(state, of.service.as_deref())?,
                    rest: of.rest.into(),
                };
                let cell = self.cell(state, cell)?;
                self.count(state, start.unwrap_or(NOWHERE), seq, cell, &measures)?;
            }
            What::Sight { start, words } => {
                for (sort, word, n) in words {
                    let word = self.name(state, &word)?;
                    self.see(state, start.unwrap_or(NOWHERE), seq, sort as i64, word, n)?;
                }
            }
        }
        let kind = self.name(state, &taken.kind)?;
        if GAPS.contains(&taken.kind.as_ref()) {
            state.changes += 1;
        }
        let row = [seq, kind, taken.wall_ms, taken.act.into()];
        self.conn.prepare_cached("INSERT INTO record VALUES (?, ?, ?, ?)")?.execute(row)?;
        state.mark = state.mark.wrapping_add(digest(RECORD, &row));
        state.records += 1;
        Ok(())
    }

    fn name_if(&mut self, state: &mut State, text: Option<&str>) -> Result<i64, StoreError> {
        text.map_or(Ok(0), |text| self.name(state, text))
    }

    fn name(&mut self, state: &mut State, text: &str) -> Result<i64, StoreError> {
        if let Some(id) = self.names.get(text) {
            return Ok(*id);
        }
        let id = self.names.len() as i64 + 1;
        self.conn.prepare_cached("INSERT INTO name VALUES (?, ?)")?.execute(params![id, text])?;
        state.mark = state.mark.wrapping_add(name_digest(id, text));
        self.names.insert(text.to_owned(), id);
        self.words.insert(id, text.to_owned());
        Ok(id)
    }

    fn cell(&mut self, state: &mut State, cell: Cell) -> Result<i64, StoreError> {
        if let Some(id) = self.cells.get(&cell) {
            return Ok(*id);
        }
        let id = self.cells.len() as i64 + 1;
        let Cell { whose, span, group, category, service, rest } = cell;
        self.conn
            .prepare_cached("INSERT INTO cell VALUES (?, ?, ?, ?, ?, ?, ?)")?
            .execute([id, whose, span, group, category, service, rest])?;
        state.mark = state.mark.wrapping_add(cell_digest(id, &cell));
        self.cells.insert(cell, id);
        self.cell_of.insert(id, cell);
        Ok(id)
    }

    fn count(
        &self,
        state: &mut State,
        start: i64,
        seq: i64,
        cell: i64,
        m: &Measures,
    ) -> Result<(), StoreError> {
        let mut row = [start; 16];
        row.iter_mut().zip([start, seq, cell].iter().chain(m)).for_each(|(to, from)| *to = *from);
        self.conn
            .prepare_cached("INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute(row)?;
        state.mark = state.mark.wrapping_add(tally_digest(start, seq, cell, m));
        state.units += TALLY_UNITS;
        state.changes += 1;
        let mut row = [day(start); 15];
        row.iter_mut().skip(1).zip([cell].iter().chain(m)).for_each(|(to, from)| *to = *from);
        self.conn.prepare_cached(ADD_TO_DAY)?.execute(row)?;
        Ok(())
    }

    fn see(
        &self,
        state: &mut State,
        start: i64,
        seq: i64,
        sort: i64,
        word: i64,
        n: i64,
    ) -> Result<(), StoreError> {
        let row = [start, seq, sort, word, n];
        self.conn.prepare_cached("INSERT INTO sight VALUES (?, ?, ?, ?, ?)")?.execute(row)?;
        state.mark = state.mark.wrapping_add(digest(SIGHT, &row));
        state.units += SIGHT_UNITS;
        state.changes += 1;
        self.conn
            .prepare_cached(
                "INSERT INTO sight_day VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
            )?
            .execute([day(start), sort, word, n])?;
        Ok(())
    }

    fn count_session(
        &self,
        state: &mut State,
        bundle: i64,
        day: i64,
        purpose: i64,
    ) -> Result<(), StoreError> {
        let n: i64 = self
            .conn
            .prepare_cached(
                "INSERT INTO session VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n",
            )?
            .query_row([bundle, day, purpose], |row| row.get(0))?;
        let before = if n > 1 { digest(SESSION, &[bundle, day, purpose, n - 1]) } else { 0 };
        state.mark =
            state.mark.wrapping_sub(before).wrapping_add(digest(SESSION, &[bundle, day, purpose, n]));
        Ok(())
    }
}

/// The beginning of an hour that nobody knows the time of: no span of time has it.
const NOWHERE: i64 = -1;

const ADD_TO_DAY: &str = "
    INSERT INTO day VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        people = max(people, excluded.people), k = max(k, excluded.k), flows = flows + excluded.flows,
        blocked = blocked + excluded.blocked, up = up + excluded.up, down = down + excluded.down,
        visits = visits + excluded.visits, active_s = active_s + excluded.active_s, uploads = uploads + excluded.uploads,
        upload_bytes = upload_bytes + excluded.upload_bytes, large = large + excluded.large,
        large_bytes = large_bytes + excluded.large_bytes, has = has | excluded.has";

/// The entry up to which hours must go, so that so many units are free.
fn oldest_hours(conn: &Connection, mut units: i64) -> Result<i64, StoreError> {
    let mut rows =
        conn.prepare_cached("SELECT seq, 3 FROM tally UNION ALL SELECT seq, 1 FROM sight ORDER BY seq")?;
    let mut rows = rows.query([])?;
    let mut end = 0;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        if units <= 0 && seq != end {
            break;
        }
        units -= row.get::<_, i64>(1)?;
        end = seq;
    }
    Ok(end + 1)
}

/// Deletes the counts of entries before `end`, and adds their days up again.
fn forget_hours(conn: &Connection, state: &mut State, end: i64) -> Result<(), StoreError> {
    state.changes += 1;
    let (mut days, mut seen) = (BTreeSet::new(), BTreeSet::new());
    {
        let mut rows = conn.prepare_cached("SELECT * FROM tally INDEXED BY tally_by_seq WHERE seq < ?")?;
        let mut rows = rows.query([end])?;
        while let Some(row) = rows.next()? {
            let start = row.get(0)?;
            days.insert(day(start));
            let gone = tally_digest(start, row.get(1)?, row.get(2)?, &measures(row, 3)?);
            state.mark = state.mark.wrapping_sub(gone);
            state.units -= TALLY_UNITS;
        }
        let mut rows = conn.prepare_cached("SELECT * FROM sight INDEXED BY sight_by_seq WHERE seq < ?")?;
        let mut rows = rows.query([end])?;
        while let Some(row) = rows.next()? {
            let start = row.get(0)?;
            seen.insert(day(start));
            let gone = digest(SIGHT, &[start, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]);
            state.mark = state.mark.wrapping_sub(gone);
            state.units -= SIGHT_UNITS;
        }
    }
    conn.prepare_cached("DELETE FROM tally WHERE seq < ?")?.execute([end])?;
    conn.prepare_cached("DELETE FROM sight WHERE seq < ?")?.execute([end])?;
    // The most people at once can't be taken away from, so what is left of a day is added up anew.
    for day in days {
        conn.prepare_cached("DELETE FROM day WHERE day = ?")?.execute([day])?;
        let (from, to) = hours_of(day);
        conn.prepare_cached(
            "INSERT INTO day SELECT ?, cell, max(people), max(k), sum(flows), sum(blocked), sum(up), sum(down), sum(visits),
                sum(active_s), sum(uploads), sum(upload_bytes), sum(large), sum(large_bytes),
                max(has & 1) | max(has & 2) | max(has & 4)
             FROM tally WHERE start >= ? AND start < ? GROUP BY cell",
        )?
        .execute([day, from, to])?;
    }
    for day in seen {
        conn.prepare_cached("DELETE FROM sight_day WHERE day = ?")?.execute([day])?;
        let (from, to) = hours_of(day);
        conn.prepare_cached(
            "INSERT INTO sight_day SELECT ?, sort, word, sum(n) FROM sight WHERE start >= ? AND start < ? GROUP BY sort, word",
        )?
        .execute([day, from, to])?;
    }
    Ok(())
}

fn hours_of(day: i64) -> (i64, i64) {
    (day.saturating_mul(86_400), day.saturating_add(1).saturating_mul(86_400))
}

/// Deletes where the records before `end` are.
fn forget_records(conn: &Connection, state: &mut State, end: i64) -> Result<(), StoreError> {
    state.changes += 1;
    let mut rows = conn.prepare_cached("SELECT seq, kind, wall, act FROM record WHERE seq < ?")?;
    let mut rows = rows.query([end])?;
    while let Some(row) = rows.next()? {
        let gone = digest(RECORD, &[row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
        state.mark = state.mark.wrapping_sub(gone);
        state.records -= 1;
    }
    conn.prepare_cached("DELETE FROM record WHERE seq < ?")?.execute([end])?;
    Ok(())
}

/// Deletes how many sessions there were in the bundles before this one.
fn forget_sessions(conn: &Connection, state: &mut State, bundle: i64) -> Result<(), StoreError> {
    let mut rows = conn.prepare_cached("SELECT bundle, day, purpose, n FROM session WHERE bundle < ?")?;
    let mut rows = rows.query([bundle])?;
    while let Some(row) = rows.next()? {
        let gone = digest(SESSION, &[row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
        state.mark = state.mark.wrapping_sub(gone);
    }
    conn.prepare_cached("DELETE FROM session WHERE bundle < ?")?.execute([bundle])?;
    Ok(())
}
