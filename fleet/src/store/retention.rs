//! What the hub forgets: rows and events that are older than it was told to keep.
//!
//! Of what is forgotten, each log keeps up to which entry that is, so that a box which sends its log again does not bring it back. Alerts stay: they are few, and one that was raised and
//! not cleared is raised still.

use anyhow::Result;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::HubStore;

pub(super) const SCHEMA: &str = "
    -- Entries up to this one are not kept any more, and how many came of them.
    CREATE TABLE forgotten (log INTEGER PRIMARY KEY, upto INTEGER NOT NULL, n INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX event_by_wall ON event (wall) WHERE kind <> 'alert';
";

impl HubStore {
    /// Forgets what began before a moment, in seconds since 1970: up to `most` rows and as many events, and when there are none of these any more, as many entries of each log that has no
    /// other row before them. Gives how many went, so that whoever calls goes on until nothing does.
    pub fn forget(&mut self, before: i64, most: u32) -> Result<usize> {
        let tx = self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut gone = tx.execute(
            "DELETE FROM aggregate WHERE (log, seq) IN (SELECT log, seq FROM aggregate WHERE start < ? LIMIT ?)",
            params![before, most],
        )?;
        gone += tx.execute(
            "DELETE FROM event WHERE (log, seq) IN (SELECT log, seq FROM event WHERE kind <> 'alert' AND wall < ? LIMIT ?)",
            params![before, most],
        )?;
        if gone == 0 {
            gone = forget_entries(&tx, most)?;
        }
        tx.commit()?;
        Ok(gone)
    }
}

/// Whether an entry is one that is not kept any more.
pub(super) fn is_forgotten(tx: &Transaction<'_>, log: i64, seq: i64) -> Result<bool> {
    let mut ask = tx.prepare_cached("SELECT 1 FROM forgotten WHERE log = ? AND upto >= ?")?;
    Ok(ask.query_row([log, seq], |_| Ok(())).optional()?.is_some())
}

/// Entries before the first row or event that a log still has; of a log that has none, none go: they are what is known of it.
fn forget_entries(tx: &Transaction<'_>, most: u32) -> Result<usize> {
    let mut ask = tx.prepare_cached(
        "SELECT log, min(seq) - 1 FROM (SELECT log, min(seq) AS seq FROM aggregate GROUP BY log
            UNION ALL SELECT log, min(seq) FROM event WHERE kind <> 'alert' GROUP BY log) GROUP BY log",
    )?;
    let logs = ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let logs: Vec<(i64, i64)> = logs.collect::<Result<_, _>>()?;
    let mut gone = 0;
    for (log, upto) in logs {
        let n = tx
            .prepare_cached(
                "DELETE FROM entry WHERE log = ?1 AND seq IN (SELECT seq FROM entry WHERE log = ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3)",
            )?
            .execute(params![log, upto, most])?;
        if n > 0 {
            tx.prepare_cached(
                "INSERT INTO forgotten VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET upto = max(upto, ?2), n = n + ?3",
            )?
            .execute(params![log, upto, i64::try_from(n)?])?;
        }
        gone += n;
    }
    Ok(gone)
}

#[cfg(test)]
mod tests;
