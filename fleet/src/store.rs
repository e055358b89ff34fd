//! What the hub keeps: one SQLite file. A row is known by log and number of the entry, so what comes twice is there once; the place in the stream is in the same
//! transaction as the rows, so a hub that was killed goes on where it was.

pub mod parquet;
mod reach;
mod retention;

pub use reach::SiteStream;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use glassgate_audit::checkpoint::Checkpoint;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};
use serde::Serialize;

use crate::joined::FleetK;
use crate::up::{Came, CheckpointMessage, Message, Refused, Said};
use crate::witness::board::Board;
use crate::words::Site;

/// Logs of a site that are kept: a log is begun anew when its disk was damaged or replaced.
const MAX_LOGS: i64 = 64;
/// The form of the file. 1 was without [`reach`], 2 without [`retention`].
const VERSION: i64 = 3;

const SCHEMA: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE stream (name TEXT PRIMARY KEY, created TEXT NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE site (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, seen INTEGER NOT NULL, version TEXT NOT NULL);
    CREATE TABLE log (id INTEGER PRIMARY KEY, site INTEGER NOT NULL, name TEXT NOT NULL, checkpoint TEXT NOT NULL, size INTEGER NOT NULL,
        UNIQUE (site, name));
    -- Each entry that came, whatever became of it; digest: what it said.
    CREATE TABLE entry (log INTEGER, seq INTEGER, digest INTEGER NOT NULL, PRIMARY KEY (log, seq)) WITHOUT ROWID;
    -- Entries that another one names and that did not come.
    CREATE TABLE hole (log INTEGER, seq INTEGER, PRIMARY KEY (log, seq)) WITHOUT ROWID;
    CREATE TABLE aggregate (log INTEGER, seq INTEGER, start INTEGER NOT NULL, end INTEGER NOT NULL, span TEXT NOT NULL, measure TEXT NOT NULL,
        grp TEXT, category TEXT, service TEXT, rest INTEGER NOT NULL, people INTEGER NOT NULL, k INTEGER NOT NULL,
        flows INTEGER NOT NULL, up INTEGER NOT NULL, down INTEGER NOT NULL, visits INTEGER NOT NULL, active_s INTEGER NOT NULL,
        uploads INTEGER NOT NULL, upload_bytes INTEGER NOT NULL, PRIMARY KEY (log, seq)) WITHOUT ROWID;
    CREATE INDEX aggregate_by_start ON aggregate (start);
    CREATE TABLE event (log INTEGER, seq INTEGER, kind TEXT NOT NULL, wall INTEGER, said TEXT NOT NULL, PRIMARY KEY (log, seq)) WITHOUT ROWID;
    CREATE TABLE refused (site TEXT, reason TEXT, n INTEGER NOT NULL, PRIMARY KEY (site, reason)) WITHOUT ROWID;
";

/// A message of the stream.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Its number in the stream.
    pub seq: u64,
    /// Its subject.
    pub subject: String,
    /// The site whose stream it was taken from, as the servers say; `None` if it was published to the hub's stream itself.
    pub source: Option<String>,
    /// Its number there, if it was.
    pub origin: Option<u64>,
    /// What it says.
    pub payload: Vec<u8>,
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Entries that were new.
    pub new: u64,
    /// Entries that were there already.
    pub again: u64,
    /// Messages that were refused.
    pub refused: u64,
}

/// The store of a hub.
#[derive(Debug)]
pub struct HubStore {
    conn: Connection,
    k: FleetK,
    /// What witnesses say goes there, before the place in the stream says that it was taken.
    pub board: Option<Board>,
}

impl HubStore {
    /// Opens the file, makes it if there is none. Rows that fewer people stand behind than `k` asks for are deleted.
    pub fn open(path: &Path, k: FleetK) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let conn = Connection::open(path).with_context(|| path.display().to_string())?;
        // What the cursor says is there is there after a power cut as well: FULL.
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;",
        )?;
        let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            conn.execute_batch(&format!(
                "BEGIN; {SCHEMA} {} {} PRAGMA user_version = {VERSION}; COMMIT;",
                reach::SCHEMA,
                retention::SCHEMA
            ))?;
        }
        let mut version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 1 {
            conn.execute_batch(&format!("BEGIN; {} PRAGMA user_version = 2; COMMIT;", reach::SCHEMA))?;
            version = 2;
        }
        if version == 2 {
            conn.execute_batch(&format!("BEGIN; {} PRAGMA user_version = 3; COMMIT;", retention::SCHEMA))?;
            version = 3;
        }
        if version != VERSION {
            bail!("{} has version {version}, this program knows {VERSION}", path.display());
        }
        conn.execute("DELETE FROM aggregate WHERE people < ?", [k.get()])?;
        Ok(Self { conn, k, board: None })
    }

    /// Opens the file of a hub that may be running, to ask.
    pub fn read(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).with_context(|| path.display().to_string())?;
        let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != VERSION {
            bail!(
                "{} has version {version}, this program knows {VERSION}: a hub makes an older one new when it starts",
                path.display()
            );
        }
        Ok(Self { conn, k: FleetK::default(), board: None })
    }

    /// The last message of a stream that was taken. A stream that was made anew begins anew: its rows are known by their entries.
    pub fn cursor(&self, stream: &str, created: &str) -> Result<u64> {
        let mut ask = self.conn.prepare_cached("SELECT seq FROM stream WHERE name = ? AND created = ?")?;
        let seq: Option<i64> = ask.query_row([stream, created], |row| row.get(0)).optional()?;
        Ok(seq.unwrap_or_default().cast_unsigned())
    }

    /// Takes messages and the place in the stream, both or none.
    pub fn take(
        &mut self,
        stream: &str,
        created: &str,
        batch: &[Raw],
        sites: &[Site],
        now: i64,
    ) -> Result<Taken> {
        let Some(last) = batch.last() else { return Ok(Taken::default()) };
        self.post(batch, now)?;
        let k = self.k;
        let tx = self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let taken = take_all(&tx, batch, sites, k, now)?;
        tx.prepare_cached(
            "INSERT INTO stream VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET created = ?2, seq = ?3",
        )?
        .execute(params![stream, created, last.seq.cast_signed()])?;
        tx.commit()?;
        Ok(taken)
    }

    /// Shows the board what witnesses say.
    fn post(&mut self, batch: &[Raw], now: i64) -> Result<()> {
        for conflict in
            self.board.as_mut().map(|board| board.take(batch, now)).transpose()?.unwrap_or_default()
        {
            eprintln!("glassgate hub: {conflict}");
        }
        Ok(())
    }

    /// Each site: when it was last heard of, what it runs, how much came.
    pub fn sites(&self) -> Result<Vec<SiteLine>> {
        let mut ask = self.conn.prepare(
            "SELECT name, seen, version, (SELECT count(*) FROM entry JOIN log ON log = id WHERE log.site = site.id)
                    + (SELECT coalesce(sum(n), 0) FROM forgotten JOIN log ON log = id WHERE log.site = site.id),
                (SELECT count(*) FROM hole JOIN log ON log = id WHERE log.site = site.id),
                (SELECT count(*) FROM aggregate JOIN log ON log = id WHERE log.site = site.id),
                (SELECT count(*) FROM log WHERE log.site = site.id),
                (SELECT coalesce(max(size), 0) FROM log WHERE log.site = site.id)
             FROM site ORDER BY name",
        )?;
        let rows = ask.query_map([], |row| {
            Ok(SiteLine {
                site: row.get(0)?,
                seen: row.get(1)?,
                version: row.get(2)?,
                entries: row.get(3)?,
                missing: row.get(4)?,
                aggregates: row.get(5)?,
                logs: row.get(6)?,
                checkpoint_size: row.get(7)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Refused messages by site and reason.
    pub fn refused(&self) -> Result<Vec<(String, String, i64)>> {
        let mut ask = self.conn.prepare("SELECT site, reason, n FROM refused ORDER BY site, reason")?;
        let rows = ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Calls `each` with every row of counts, in the order of sites, logs and entries.
    pub fn rows(&self, mut each: impl FnMut(&Row) -> Result<()>) -> Result<()> {
        let mut ask = self.conn.prepare(
            "SELECT site.name, log.name, seq, start, end, span, measure, grp, category, service, rest, people, k, flows, up, down, visits, active_s,
                uploads, upload_bytes FROM aggregate JOIN log ON log = log.id JOIN site ON log.site = site.id ORDER BY site.name, log.name, seq",
        )?;
        let mut rows = ask.query([])?;
        while let Some(row) = rows.next()? {
            each(&Row {
                site: row.get(0)?,
                log: row.get(1)?,
                seq: row.get(2)?,
                start: row.get(3)?,
                end: row.get(4)?,
                span: row.get(5)?,
                measure: row.get(6)?,
                group: row.get(7)?,
                category: row.get(8)?,
                service: row.get(9)?,
                rest: row.get::<_, i64>(10)? != 0,
                people: row.get(11)?,
                k: row.get(12)?,
                flows: row.get(13)?,
                bytes_toserver: row.get(14)?,
                bytes_toclient: row.get(15)?,
                visits: row.get(16)?,
                active_s: row.get(17)?,
                uploads: row.get(18)?,
                upload_bytes: row.get(19)?,
            })?;
        }
        Ok(())
    }

    /// Sums over all sites, by category and day (UTC). Behind each stand at least as many people as behind its largest row.
    pub fn totals(&self) -> Result<Vec<Total>> {
        let mut ask = self.conn.prepare(
            "SELECT start / 86400, coalesce(category, ''), count(DISTINCT log.site), max(people), sum(flows), sum(up), sum(down), sum(visits),
                sum(active_s), sum(uploads) FROM aggregate JOIN log ON log = log.id GROUP BY 1, 2 ORDER BY 1, 2",
        )?;
        let rows = ask.query_map([], |row| {
            Ok(Total {
                day: row.get(0)?,
                category: row.get(1)?,
                sites: row.get(2)?,
                people_at_least: row.get(3)?,
                flows: row.get(4)?,
                bytes_toserver: row.get(5)?,
                bytes_toclient: row.get(6)?,
                visits: row.get(7)?,
                active_s: row.get(8)?,
                uploads: row.get(9)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The alerts that are raised now: site, name, severity.
    pub fn alerts(&self) -> Result<Vec<(String, String, String)>> {
        let mut ask = self.conn.prepare(
            "SELECT site.name, said FROM event JOIN log ON log = log.id JOIN site ON log.site = site.id WHERE kind = 'alert' ORDER BY log.id, seq",
        )?;
        let mut rows = ask.query([])?;
        let mut raised = std::collections::BTreeMap::new();
        while let Some(row) = rows.next()? {
            let said: String = row.get(1)?;
            let Ok(Said::Alert { alert, state, severity }) = serde_json::from_str(&said) else { continue };
            let key = (row.get::<_, String>(0)?, alert.to_string());
            if state.as_str() == "cleared" {
                raised.remove(&key)
            } else {
                raised.insert(key, severity.to_string())
            };
        }
        Ok(raised.into_iter().map(|((site, alert), severity)| (site, alert, severity)).collect())
    }
}

/// A site as the hub knows it.
#[derive(Clone, Debug, Serialize)]
pub struct SiteLine {
    /// Its name.
    pub site: String,
    /// When something of it was last taken, in seconds since 1970.
    pub seen: i64,
    /// The version that it started with last.
    pub version: String,
    /// Entries that came, those that are not kept any more among them.
    pub entries: i64,
    /// Entries that others name and that did not come.
    pub missing: i64,
    /// Rows of counts that are kept.
    pub aggregates: i64,
    /// Logs.
    pub logs: i64,
    /// Entries of its longest log, by its newest checkpoint.
    pub checkpoint_size: i64,
}

/// A row of counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the columns of an export; docs/fleet.md explains them")]
pub struct Row {
    pub site: String,
    pub log: String,
    pub seq: i64,
    pub start: i64,
    pub end: i64,
    pub span: String,
    pub measure: String,
    pub group: Option<String>,
    pub category: Option<String>,
    pub service: Option<String>,
    pub rest: bool,
    pub people: i64,
    pub k: i64,
    pub flows: i64,
    pub bytes_toserver: i64,
    pub bytes_toclient: i64,
    pub visits: i64,
    pub active_s: i64,
    pub uploads: i64,
    pub upload_bytes: i64,
}

/// A sum over sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the columns of an answer; docs/fleet.md explains them")]
pub struct Total {
    /// Days since 1970.
    pub day: i64,
    pub category: String,
    pub sites: i64,
    pub people_at_least: i64,
    pub flows: i64,
    pub bytes_toserver: i64,
    pub bytes_toclient: i64,
    pub visits: i64,
    pub active_s: i64,
    pub uploads: i64,
}

type Outcome = Result<bool, (String, Refused)>;

/// Takes each; the caller commits.
fn take_all(tx: &Transaction<'_>, batch: &[Raw], sites: &[Site], k: FleetK, now: i64) -> Result<Taken> {
    let mut taken = Taken::default();
    for raw in batch {
        match take_one(tx, raw, sites, k, now)? {
            Ok(true) => taken.new += 1,
            Ok(false) => taken.again += 1,
            Err((site, why)) => {
                taken.refused += 1;
                tx.prepare_cached(
                    "INSERT INTO refused VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1",
                )?
                .execute([site.as_str(), why.as_str()])?;
            }
        }
        if let (Some(source), Some(origin)) = (&raw.source, raw.origin)
            && sites.iter().any(|site| site.as_str() == source)
        {
            reach::came(tx, source, origin.cast_signed())?;
        }
    }
    Ok(taken)
}

/// Whether it is new; or who sent what is refused, and why. Nobody's name is kept that is not known.
fn take_one(tx: &Transaction<'_>, raw: &Raw, sites: &[Site], k: FleetK, now: i64) -> Result<Outcome> {
    let nobody = |why| Ok(Err((String::new(), why)));
    let came = match Came::read(&raw.subject, &raw.payload) {
        Ok(came) => came,
        Err(why) => {
            let known = raw.source.clone().filter(|name| sites.iter().any(|site| site.as_str() == name));
            return Ok(Err((known.unwrap_or_default(), why)));
        }
    };
    let (site, log) = match &came {
        Came::Record(message) => (&message.site, &message.log),
        Came::Checkpoint(message) => (&message.site, &message.log),
        Came::Witness(report) => (&report.site, &report.log),
    };
    if !sites.contains(site) {
        return nobody(Refused::Unknown);
    }
    let refuse = |why| Ok(Err((site.to_string(), why)));
    // A box writes to its own stream what it likes; which stream it was is said by the hub's own servers.
    if raw.source.as_deref().is_some_and(|source| source != site.as_str()) {
        return Ok(Err((raw.source.clone().unwrap_or_default(), Refused::Site)));
    }
    tx.prepare_cached("INSERT INTO site (name, seen, version) VALUES (?1, ?2, '') ON CONFLICT (name) DO UPDATE SET seen = ?2")?
        .execute(params![site.as_str(), now])?;
    if matches!(came, Came::Witness(_)) {
        return Ok(Ok(false));
    }
    let site_id: i64 = tx
        .prepare_cached("SELECT id FROM site WHERE name = ?")?
        .query_row([site.as_str()], |row| row.get(0))?;
    let mut ask = tx.prepare_cached("SELECT id FROM log WHERE site = ? AND name = ?")?;
    let known: Option<i64> = ask.query_row(params![site_id, log.as_str()], |row| row.get(0)).optional()?;
    let log_id = match known {
        Some(id) => id,
        None => {
            let logs: i64 =
                tx.query_row("SELECT count(*) FROM log WHERE site = ?", [site_id], |row| row.get(0))?;
            if logs >= MAX_LOGS {
                return refuse(Refused::Logs);
            }
            tx.execute(
                "INSERT INTO log (site, name, checkpoint, size) VALUES (?, ?, '', 0)",
                params![site_id, log.as_str()],
            )?;
            tx.last_insert_rowid()
        }
    };
    match &came {
        Came::Witness(_) => Ok(Ok(false)),
        Came::Checkpoint(message) => match keep_checkpoint(tx, log_id, message)? {
            Ok(new) => Ok(Ok(new)),
            Err(why) => refuse(why),
        },
        Came::Record(message) => match keep(tx, site_id, log_id, message, k)? {
            Ok(new) => Ok(Ok(new)),
            Err(why) => refuse(why),
        },
    }
}

/// The newest checkpoint of a log, and of those with its size the one that most have signed. The first root of a size stays: another one is a second past.
fn keep_checkpoint(
    tx: &Transaction<'_>,
    log: i64,
    message: &CheckpointMessage,
) -> Result<Result<bool, Refused>> {
    let said = match message.checkpoint() {
        Ok(said) => said,
        Err(why) => return Ok(Err(why)),
    };
    let mut ask = tx.prepare_cached("SELECT checkpoint FROM log WHERE id = ?")?;
    let before: String = ask.query_row([log], |row| row.get(0))?;
    if let Ok(seen) = Checkpoint::parse(&before) {
        if seen.size == said.size && seen.root != said.root {
            return Ok(Err(Refused::Conflict));
        }
        if seen.size > said.size || seen.size == said.size && before.len() >= message.note.len() {
            return Ok(Ok(false));
        }
    }
    let mut put = tx.prepare_cached("UPDATE log SET checkpoint = ?, size = ? WHERE id = ?")?;
    put.execute(params![message.note, said.size.cast_signed(), log])?;
    Ok(Ok(true))
}

fn keep(
    tx: &Transaction<'_>,
    site: i64,
    log: i64,
    message: &Message,
    k: FleetK,
) -> Result<Result<bool, Refused>> {
    let seq = message.seq.cast_signed();
    // What it says, without what went up before it: that is another entry where a box forgot how far it was.
    let said = serde_json::to_vec(&(&message.wall, &message.said))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &said);
    let digest = i64::from_le_bytes(digest.as_ref().first_chunk().copied().unwrap_or_default());
    let mut ask = tx.prepare_cached("SELECT digest FROM entry WHERE log = ? AND seq = ?")?;
    let before: Option<i64> = ask.query_row([log, seq], |row| row.get(0)).optional()?;
    if let Some(before) = before {
        return Ok(if before == digest { Ok(false) } else { Err(Refused::Conflict) });
    }
    let mut ask = tx.prepare_cached("SELECT 1 FROM hole WHERE log = ? AND seq = ?")?;
    let is_missing = ask.query_row([log, seq], |_| Ok(())).optional()?.is_some();
    if !is_missing && retention::is_forgotten(tx, log, seq)? {
        return Ok(Ok(false));
    }
    tx.prepare_cached("INSERT INTO entry VALUES (?, ?, ?)")?.execute([log, seq, digest])?;
    tx.prepare_cached("DELETE FROM hole WHERE log = ? AND seq = ?")?.execute([log, seq])?;
    if let Some(prev) = message.prev.map(u64::cast_signed)
        && !retention::is_forgotten(tx, log, prev)?
    {
        // A row, if it is missing.
        tx.prepare_cached(
            "INSERT OR IGNORE INTO hole SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM entry WHERE log = ?1 AND seq = ?2)",
        )?
        .execute([log, prev])?;
    }
    if let Some(of) = message.said.of() {
        if let Err(why) = k.admits(of) {
            return Ok(Err(why));
        }
        let n = |n: u64| n.cast_signed();
        let (measure, m) = match &message.said {
            Said::GroupRollup { flows, flow, visits, active_s, .. } => (
                "use",
                [n(*flows), n(flow.bytes_toserver), n(flow.bytes_toclient), n(*visits), n(*active_s), 0, 0],
            ),
            Said::Uploads { measure, uploads, bytes, .. } => {
                (measure.as_str(), [0, 0, 0, 0, 0, n(*uploads), n(*bytes)])
            }
            _ => return Ok(Err(Refused::Topic)),
        };
        let [flows, up, down, visits, active_s, uploads, upload_bytes] = m;
        tx.prepare_cached(
            "INSERT INTO aggregate VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            log,
            seq,
            of.start.seconds(),
            of.end.seconds(),
            of.span.as_str(),
            measure,
            of.group.as_ref().map(|w| w.as_str()),
            of.category.as_ref().map(|w| w.as_str()),
            of.service.as_ref().map(|w| w.as_str()),
            of.rest,
            of.subjects.from,
            of.k,
            flows,
            up,
            down,
            visits,
            active_s,
            uploads,
            upload_bytes
        ])?;
        return Ok(Ok(true));
    }
    let said = serde_json::to_value(&message.said)?;
    let kind = said.get("event_type").and_then(|kind| kind.as_str()).unwrap_or_default();
    if let Said::Started { version } = &message.said {
        tx.prepare_cached("UPDATE site SET version = ? WHERE id = ?")?
            .execute(params![version.as_str(), site])?;
    }
    tx.prepare_cached("INSERT INTO event VALUES (?, ?, ?, ?, ?)")?.execute(params![
        log,
        seq,
        kind,
        message.wall.map(crate::words::Moment::seconds),
        said.to_string()
    ])?;
    Ok(Ok(true))
}

#[cfg(test)]
mod tests;
