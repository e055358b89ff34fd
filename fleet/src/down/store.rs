//! What is remembered of roll-outs: tables of their own in the hub's store, with a connection of their own. The hub may be killed between any two calls; each is one transaction.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};
use serde::Serialize;

use super::{Ask, PART};
use crate::up::Said;
use crate::words::{Digest, Site};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS rollout (id INTEGER PRIMARY KEY, pack TEXT NOT NULL, tbl TEXT NOT NULL, serial INTEGER NOT NULL, bytes INTEGER NOT NULL,
        stage INTEGER NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL, attempt INTEGER NOT NULL, hold_s INTEGER NOT NULL, silent_s INTEGER NOT NULL,
        began INTEGER NOT NULL, staged INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS rollout_part (rollout INTEGER, n INTEGER, part BLOB NOT NULL, PRIMARY KEY (rollout, n)) WITHOUT ROWID;
    -- The sites that are offered it. since: when they were staged.
    CREATE TABLE IF NOT EXISTS rollout_site (rollout INTEGER, site TEXT, since INTEGER NOT NULL, PRIMARY KEY (rollout, site)) WITHOUT ROWID;
    -- What each box said when it asked last.
    CREATE TABLE IF NOT EXISTS rollout_box (site TEXT PRIMARY KEY, asked INTEGER NOT NULL, pack TEXT, serial INTEGER NOT NULL,
        refused TEXT, attempt INTEGER NOT NULL, why TEXT NOT NULL) WITHOUT ROWID;
";
/// Events of a site that are looked at, the newest: ten days of a box that is well.
const EVENTS: i64 = 512;
/// Roll-outs that are remembered; the oldest that is over goes first.
const KEPT: i64 = 16;

/// Where a roll-out is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It goes on by itself.
    Running,
    /// It was stopped; boxes put the pack before it back.
    Halted,
    /// It is given up.
    Withdrawn,
    /// All sites are offered it.
    Done,
}

impl State {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Halted => "halted",
            Self::Withdrawn => "withdrawn",
            Self::Done => "done",
        }
    }
}

/// A roll-out.
#[derive(Clone, Debug, Serialize)]
pub struct Rollout {
    /// Its number.
    pub id: i64,
    /// SHA-256 of the file.
    pub pack: Digest,
    /// Digest of the table in it, by which a box says in its log what it runs.
    pub table: Digest,
    /// Serial of the pack.
    pub serial: i64,
    /// Its length.
    pub bytes: i64,
    /// 0: one site, 1: a tenth, 2: all.
    pub stage: i64,
    /// Where it is.
    pub state: State,
    /// Why it was halted.
    pub why: String,
    /// Counts up when it is resumed.
    pub attempt: u32,
    /// Seconds that a stage is watched for.
    pub hold_s: i64,
    /// Seconds without a question of a site after which it is silent.
    pub silent_s: i64,
    /// When it began, in seconds since 1970.
    pub began: i64,
    /// When the stage began.
    pub staged: i64,
}

/// What a box said last.
#[derive(Clone, Debug, Serialize)]
pub struct Boxed {
    /// Which.
    pub site: String,
    /// When.
    pub asked: i64,
    /// The pack that is in place there.
    pub pack: Option<String>,
    /// Its serial.
    pub serial: i64,
    /// What it did not take last.
    pub refused: Option<String>,
    /// At which attempt.
    pub attempt: u32,
    /// Why.
    pub why: String,
}

/// An event of a site that tells how it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// By the clock of the box.
    pub wall: i64,
    /// What it says.
    pub said: Said,
}

/// What roll-outs need of a store.
pub trait Rollouts {
    /// Remembers a new one. There is none that is not over.
    fn begin(&mut self, new: &Rollout, file: &[u8]) -> Result<i64>;
    /// The newest, whatever became of it.
    fn newest(&self) -> Result<Option<Rollout>>;
    /// The newest that is done.
    fn done(&self) -> Result<Option<Rollout>>;
    /// Replaces where it is: stage, state, why, attempt, staged.
    fn put(&mut self, rollout: &Rollout) -> Result<()>;
    /// Stages sites; those that are stay since when they were.
    fn stage(&mut self, rollout: i64, sites: &[String], since: i64) -> Result<()>;
    /// The sites that are staged, and since when.
    fn staged(&self, rollout: i64) -> Result<Vec<(String, i64)>>;
    /// Begins the time of all staged sites anew.
    fn restage(&mut self, rollout: i64, since: i64) -> Result<()>;
    /// A part of the file.
    fn part(&self, pack: &Digest, n: u32) -> Result<Option<Vec<u8>>>;
    /// Remembers what a box said.
    fn asked(&mut self, site: &Site, ask: &Ask, now: i64) -> Result<()>;
    /// What boxes said last.
    fn boxes(&self) -> Result<Vec<Boxed>>;
    /// The newest events of a site's newest log, in the order of the log.
    fn events(&self, site: &str) -> Result<Vec<Event>>;
}

/// In the SQLite file of a hub.
#[derive(Debug)]
pub struct Sqlite {
    conn: Connection,
}

impl Sqlite {
    /// Opens the file that a hub has made, which may be running.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = || format!("{}: a hub makes this file when it is first started", path.display());
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).with_context(shown)?;
        conn.busy_timeout(Duration::from_secs(10))?;
        let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        ensure!(version > 0, shown());
        conn.execute_batch(&format!("PRAGMA synchronous = FULL; BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
        Ok(Self { conn })
    }

    fn one(&self, which: &str) -> Result<Option<Rollout>> {
        let mut ask =
            self.conn.prepare_cached(&format!("SELECT * FROM rollout {which} ORDER BY id DESC LIMIT 1"))?;
        let word = |text: String| Digest::new(&text).map_err(|_| rusqlite::Error::InvalidQuery);
        let rollout = ask.query_row([], |row| {
            let state: String = row.get(6)?;
            let states = [State::Running, State::Halted, State::Withdrawn, State::Done];
            Ok(Rollout {
                id: row.get(0)?,
                pack: word(row.get(1)?)?,
                table: word(row.get(2)?)?,
                serial: row.get(3)?,
                bytes: row.get(4)?,
                stage: row.get(5)?,
                state: states
                    .into_iter()
                    .find(|s| s.as_str() == state)
                    .ok_or(rusqlite::Error::InvalidQuery)?,
                why: row.get(7)?,
                attempt: row.get(8)?,
                hold_s: row.get(9)?,
                silent_s: row.get(10)?,
                began: row.get(11)?,
                staged: row.get(12)?,
            })
        });
        Ok(rollout.optional()?)
    }
}

impl Rollouts for Sqlite {
    fn begin(&mut self, new: &Rollout, file: &[u8]) -> Result<i64> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let open: i64 =
            tx.query_row("SELECT count(*) FROM rollout WHERE state IN ('running', 'halted')", [], |row| {
                row.get(0)
            })?;
        ensure!(open == 0, "a roll-out is not over: `rollout status` says which, `rollout withdraw` ends it");
        tx.execute(
            "INSERT INTO rollout VALUES (NULL, ?, ?, ?, ?, 0, 'running', '', 1, ?, ?, ?, ?)",
            params![
                new.pack.as_str(),
                new.table.as_str(),
                new.serial,
                new.bytes,
                new.hold_s,
                new.silent_s,
                new.began,
                new.staged
            ],
        )?;
        let id = tx.last_insert_rowid();
        for (n, part) in file.chunks(PART).enumerate() {
            tx.execute("INSERT INTO rollout_part VALUES (?, ?, ?)", params![id, i64::try_from(n)?, part])?;
        }
        // The one that late sites are still given stays, however old it is.
        for table in ["rollout_part WHERE rollout", "rollout_site WHERE rollout", "rollout WHERE id"] {
            tx.execute(
                &format!(
                    "DELETE FROM {table} <= ?1 - {KEPT} AND {} IS NOT (SELECT max(id) FROM rollout WHERE state = 'done')",
                    table.rsplit(' ').next().unwrap_or_default()
                ),
                [id],
            )?;
        }
        tx.commit()?;
        Ok(id)
    }

    fn newest(&self) -> Result<Option<Rollout>> {
        self.one("")
    }

    fn done(&self) -> Result<Option<Rollout>> {
        self.one("WHERE state = 'done'")
    }

    fn put(&mut self, rollout: &Rollout) -> Result<()> {
        let Rollout { id, stage, state, why, attempt, staged, .. } = rollout;
        self.conn.execute(
            "UPDATE rollout SET stage = ?2, state = ?3, why = ?4, attempt = ?5, staged = ?6 WHERE id = ?1",
            params![id, stage, state.as_str(), why, attempt, staged],
        )?;
        Ok(())
    }

    fn stage(&mut self, rollout: i64, sites: &[String], since: i64) -> Result<()> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for site in sites {
            tx.prepare_cached("INSERT OR IGNORE INTO rollout_site VALUES (?, ?, ?)")?
                .execute(params![rollout, site, since])?;
        }
        Ok(tx.commit()?)
    }

    fn staged(&self, rollout: i64) -> Result<Vec<(String, i64)>> {
        let mut ask = self
            .conn
            .prepare_cached("SELECT site, since FROM rollout_site WHERE rollout = ? ORDER BY site")?;
        let rows = ask.query_map([rollout], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn restage(&mut self, rollout: i64, since: i64) -> Result<()> {
        self.conn.execute("UPDATE rollout_site SET since = ? WHERE rollout = ?", [since, rollout])?;
        Ok(())
    }

    fn part(&self, pack: &Digest, n: u32) -> Result<Option<Vec<u8>>> {
        let mut ask = self.conn.prepare_cached(
            "SELECT part FROM rollout_part WHERE n = ?2 AND rollout = (SELECT max(id) FROM rollout WHERE pack = ?1 AND state IN ('running', 'done'))",
        )?;
        Ok(ask.query_row(params![pack.as_str(), n], |row| row.get(0)).optional()?)
    }

    fn asked(&mut self, site: &Site, ask: &Ask, now: i64) -> Result<()> {
        let refused = ask.refused.as_ref();
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO rollout_box VALUES (?, ?, ?, ?, ?, ?, ?)")?
            .execute(params![
                site.as_str(),
                now,
                ask.pack.as_ref().map(Digest::as_str),
                i64::try_from(ask.serial).unwrap_or(i64::MAX),
                refused.map(|refused| refused.pack.as_str()),
                refused.map_or(0, |refused| refused.attempt),
                refused.map_or("", |refused| refused.why.as_str())
            ])?;
        Ok(())
    }

    fn boxes(&self) -> Result<Vec<Boxed>> {
        let mut ask = self.conn.prepare_cached("SELECT * FROM rollout_box ORDER BY site")?;
        let rows = ask.query_map([], |row| {
            Ok(Boxed {
                site: row.get(0)?,
                asked: row.get(1)?,
                pack: row.get(2)?,
                serial: row.get(3)?,
                refused: row.get(4)?,
                attempt: row.get(5)?,
                why: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn events(&self, site: &str) -> Result<Vec<Event>> {
        let mut ask = self.conn.prepare_cached(
            "SELECT kind, wall, said FROM event WHERE log = (SELECT max(log.id) FROM log JOIN site ON log.site = site.id WHERE site.name = ?)
             ORDER BY seq DESC LIMIT ?",
        )?;
        let mut rows = ask.query(params![site, EVENTS])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            let kind: String = row.get(0)?;
            let (Some(wall), true) = (row.get(1)?, kind != "alert") else { continue };
            let said: String = row.get(2)?;
            events.extend(serde_json::from_str(&said).ok().map(|said| Event { wall, said }));
        }
        events.reverse();
        Ok(events)
    }
}
