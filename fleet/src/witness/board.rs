//! What the hub knows of witnesses: who stands behind which size of which log, and what was refused. A SQLite file of its own beside the store.
//!
//! It holds what witnesses said and signed, checked anew, and nothing that the hub made up: a hub that lies can leave something out, and can't add a cosignature. A file that is lost
//! fills again with the next checkpoints, but for the conflicts of before.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};
use serde::Serialize;

use super::Ring;
use super::said::{Report, Why};
use crate::store::Raw;
use crate::up::{Came, Topic};
use crate::words::Site;

const SCHEMA: &str = "
    -- The newest that each key of a witness signed of each log.
    CREATE TABLE IF NOT EXISTS cosigned (site TEXT, log TEXT, witness TEXT, key TEXT, size INTEGER NOT NULL, root TEXT NOT NULL, note TEXT NOT NULL,
        time INTEGER NOT NULL, PRIMARY KEY (site, log, witness, key)) WITHOUT ROWID;
    -- The first note of each conflict, and how often it was told since.
    CREATE TABLE IF NOT EXISTS conflict (site TEXT, log TEXT, witness TEXT, why TEXT, size INTEGER NOT NULL, note TEXT NOT NULL, n INTEGER NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (site, log, witness, why)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS passed (witness TEXT, reason TEXT, n INTEGER NOT NULL, PRIMARY KEY (witness, reason)) WITHOUT ROWID;
";

/// Rows that a witness may have for one site, in each table: logs of the site times keys of the witness. Further ones are counted and not kept.
const MAX_ROWS: i64 = 64;

/// Two witnesses, or one twice, signed different roots of one size.
const SPLIT: &str = "split";

/// The board of a hub.
#[derive(Debug)]
pub struct Board {
    conn: Connection,
    ring: Ring,
}

/// A log, and who stands behind how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Whose.
    pub site: String,
    /// Which.
    pub log: String,
    /// The greatest size that somebody cosigned.
    pub size: i64,
    /// How many witnesses cosigned that size.
    pub witnesses: usize,
    /// Each, with the newest that it cosigned.
    pub cosigned: Vec<Cosigned>,
}

/// What a witness cosigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cosigned {
    /// The site of the witness.
    pub witness: String,
    /// Its public key.
    pub key: String,
    /// The size.
    pub size: i64,
    /// When, by its clock, in seconds since 1970.
    pub time: i64,
    /// The checkpoint with both signatures.
    pub note: String,
}

/// What a witness refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Whose log.
    pub site: String,
    /// Which.
    pub log: String,
    /// The witness.
    pub witness: String,
    /// `fork`, `unproven`, `shorter`, `logs`, or `split` where witnesses signed two roots of one size.
    pub why: String,
    /// The size that the witness had signed.
    pub size: i64,
    /// How often it was told.
    pub times: i64,
    /// When it was first told, in seconds since 1970.
    pub first: i64,
    /// When it was last told.
    pub last: i64,
    /// The first checkpoint that was refused: the log signed it.
    pub note: String,
}

/// The file of the board of a store.
pub fn file_of(store: &Path) -> PathBuf {
    let mut name = store.file_name().unwrap_or_default().to_owned();
    name.push("-witness");
    store.with_file_name(name)
}

impl Board {
    /// Opens the board beside a store, makes it if there is none.
    pub fn open(store: &Path, ring: Ring) -> Result<Self> {
        let path = file_of(store);
        let conn = Connection::open(&path).with_context(|| path.display().to_string())?;
        conn.execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {SCHEMA}"))
            .with_context(|| path.display().to_string())?;
        Ok(Self { conn, ring })
    }

    /// Opens the board of a hub that may be running, to ask. `None` where nobody witnesses.
    pub fn read(store: &Path) -> Result<Option<Self>> {
        let path = file_of(store);
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&path, flags).with_context(|| path.display().to_string())?;
        Ok(Some(Self { conn, ring: Ring::default() }))
    }

    /// Takes what witnesses say in a batch of messages; what comes twice changes nothing but how often it was told. Gives the conflicts that are new.
    pub fn take(&mut self, batch: &[Raw], now: i64) -> Result<Vec<Conflict>> {
        let is_ours =
            |raw: &&Raw| Topic::of_subject(&raw.subject).is_some_and(|(_, topic)| topic == Topic::Witness);
        let reports: Vec<Report> = batch
            .iter()
            .filter(is_ours)
            .filter_map(|raw| match Came::read(&raw.subject, &raw.payload) {
                // Which stream it was is said by the servers; the store counts what is refused for that.
                Ok(Came::Witness(report)) => {
                    let is_from = |source: &String| source == report.site.as_str();
                    raw.source.as_ref().is_none_or(is_from).then_some(*report)
                }
                _ => None,
            })
            .collect();
        if reports.is_empty() {
            return Ok(Vec::new());
        }
        let mut new = Vec::new();
        let tx = self.conn.transaction()?;
        for report in &reports {
            if self.ring.by(&report.of).contains(&report.site) {
                take_one(&tx, report, now, &mut new)?;
            } else {
                pass(&tx, &report.site, "no_witness_of_it")?;
            }
        }
        tx.commit()?;
        Ok(new)
    }

    /// Each log that somebody witnesses.
    pub fn logs(&self) -> Result<Vec<LogLine>> {
        let mut ask = self.conn.prepare(
            "SELECT site, log, witness, key, size, time, note FROM cosigned ORDER BY site, log, witness, key",
        )?;
        let rows = ask.query_map([], |row| {
            let cosigned = Cosigned {
                witness: row.get(2)?,
                key: row.get(3)?,
                size: row.get(4)?,
                time: row.get(5)?,
                note: row.get(6)?,
            };
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, cosigned))
        })?;
        let mut logs: Vec<LogLine> = Vec::new();
        for row in rows {
            let (site, log, cosigned) = row?;
            match logs.last_mut().filter(|line| line.site == site && line.log == log) {
                Some(line) => line.cosigned.push(cosigned),
                None => {
                    logs.push(LogLine { site, log, size: 0, witnesses: 0, cosigned: vec![cosigned] });
                }
            }
        }
        for line in &mut logs {
            line.size = line.cosigned.iter().map(|cosigned| cosigned.size).max().unwrap_or_default();
            let mut at: Vec<_> =
                line.cosigned.iter().filter(|c| c.size == line.size).map(|c| &c.witness).collect();
            at.dedup();
            line.witnesses = at.len();
        }
        Ok(logs)
    }

    /// What was refused, ever: nobody but who runs the hub takes it away, with the file.
    pub fn conflicts(&self) -> Result<Vec<Conflict>> {
        let mut ask = self.conn.prepare(
            "SELECT site, log, witness, why, size, n, first, last, note FROM conflict ORDER BY site, log, witness, why",
        )?;
        let rows = ask.query_map([], |row| {
            Ok(Conflict {
                site: row.get(0)?,
                log: row.get(1)?,
                witness: row.get(2)?,
                why: row.get(3)?,
                size: row.get(4)?,
                times: row.get(5)?,
                first: row.get(6)?,
                last: row.get(7)?,
                note: row.get(8)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Reports that were passed over: witness, reason, how many.
    pub fn passed(&self) -> Result<Vec<(String, String, i64)>> {
        let mut ask = self.conn.prepare("SELECT witness, reason, n FROM passed ORDER BY witness, reason")?;
        let rows = ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn pass(tx: &Transaction<'_>, witness: &Site, reason: &str) -> Result<()> {
    tx.prepare_cached("INSERT INTO passed VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1")?
        .execute([witness.as_str(), reason])?;
    Ok(())
}

fn take_one(tx: &Transaction<'_>, report: &Report, now: i64, new: &mut Vec<Conflict>) -> Result<()> {
    // It was checked when it was read.
    let Ok((checkpoint, time)) = report.check() else { return pass(tx, &report.site, "form") };
    let (site, log, witness) = (report.of.as_str(), report.log.as_str(), report.site.as_str());
    if let Some(why) = report.why {
        return conflict(tx, report, why.as_str(), now, new);
    }
    let (size, root) = (checkpoint.size.cast_signed(), BASE64.encode(checkpoint.root));
    let other: Option<String> = tx
        .prepare_cached(
            "SELECT root FROM cosigned WHERE site = ? AND log = ? AND size = ? AND root <> ? LIMIT 1",
        )?
        .query_row(params![site, log, size, root], |row| row.get(0))
        .optional()?;
    if other.is_some() {
        conflict(tx, report, SPLIT, now, new)?;
    }
    let known =
        "SELECT EXISTS (SELECT 1 FROM cosigned WHERE site = ? AND log = ? AND witness = ? AND key = ?)";
    let known: bool =
        tx.prepare_cached(known)?.query_row([site, log, witness, &report.key], |row| row.get(0))?;
    if !known && rows(tx, "cosigned", site, witness)? >= MAX_ROWS {
        return pass(tx, &report.site, "too_many");
    }
    // The newest stays: what was kept at a site comes late, and the first root of a size is the one.
    tx.prepare_cached(
        "INSERT INTO cosigned VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET size = ?5, root = ?6, note = ?7, time = ?8
            WHERE ?5 > size OR ?5 = size AND ?6 = root AND ?8 > time",
    )?
    .execute(params![site, log, witness, report.key, size, root, report.note, time.unwrap_or_default().cast_signed()])?;
    Ok(())
}

fn rows(tx: &Transaction<'_>, table: &str, site: &str, witness: &str) -> Result<i64> {
    let ask = format!("SELECT count(*) FROM {table} WHERE site = ? AND witness = ?");
    Ok(tx.prepare_cached(&ask)?.query_row([site, witness], |row| row.get(0))?)
}

fn conflict(
    tx: &Transaction<'_>,
    report: &Report,
    why: &str,
    now: i64,
    new: &mut Vec<Conflict>,
) -> Result<()> {
    let (site, log, witness) = (report.of.as_str(), report.log.as_str(), report.site.as_str());
    let again = tx
        .prepare_cached(
            "UPDATE conflict SET n = n + 1, last = ?5 WHERE site = ?1 AND log = ?2 AND witness = ?3 AND why = ?4",
        )?
        .execute(params![site, log, witness, why, now])?;
    if again > 0 {
        return Ok(());
    }
    if rows(tx, "conflict", site, witness)? >= MAX_ROWS {
        return pass(tx, &report.site, "too_many");
    }
    let size = report.size.cast_signed();
    tx.prepare_cached("INSERT INTO conflict VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7)")?
        .execute(params![site, log, witness, why, size, report.note, now])?;
    new.push(Conflict {
        site: site.to_owned(),
        log: log.to_owned(),
        witness: witness.to_owned(),
        why: why.to_owned(),
        size,
        times: 1,
        first: now,
        last: now,
        note: report.note.clone(),
    });
    Ok(())
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = [Why::Fork, Why::Unproven, Why::Shorter, Why::Logs]
            .into_iter()
            .find(|why| why.as_str() == self.why);
        let why = known.map_or("witnesses signed two pasts of one size", Why::explained);
        let Self { site, witness, size, log, .. } = self;
        write!(f, "CONFLICT at {site}: {why}; {witness} had cosigned {size} entries of {log}")
    }
}
