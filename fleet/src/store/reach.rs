//! How far the stream of each site was taken, by the numbers that messages have there. What the servers of the cluster left out is known by it, and can be asked for.
//!
//! nats-server 2.9.10 leaves messages out now and then, on busy machines at the start and where another server is elected, and says so nowhere.
//! Nothing tells the hub but the numbers.

use anyhow::Result;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{HubStore, Raw, Taken};
use crate::words::Site;

pub(super) const SCHEMA: &str = "
    -- The greatest number that came from a site's stream, and when that stream was made.
    CREATE TABLE reach (site TEXT PRIMARY KEY, created TEXT NOT NULL, upto INTEGER NOT NULL) WITHOUT ROWID;
    -- Numbers below it that did not come.
    CREATE TABLE left_out (site TEXT, first INTEGER, last INTEGER NOT NULL, PRIMARY KEY (site, first)) WITHOUT ROWID;
";

/// Ranges of one site. Beyond that the last one is made longer: what is asked for and was there is there once all the same.
const MAX_RANGES: i64 = 256;

/// What a site says of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteStream {
    /// When it was made: numbers are its own.
    pub created: String,
    /// The first message that it has still.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl HubStore {
    /// Sites of which something was left out.
    pub fn with_gaps(&self) -> Result<Vec<String>> {
        let mut ask = self.conn.prepare_cached("SELECT DISTINCT site FROM left_out ORDER BY site")?;
        let sites = ask.query_map([], |row| row.get(0))?;
        Ok(sites.collect::<Result<_, _>>()?)
    }

    /// Compares with what a site says, and gives up to `limit` numbers that are to be asked for. `quiet`: nothing has come from it for a while, so
    /// that what it has at its end will not come by itself either. What its stream has no longer is given up.
    pub fn compare(&mut self, site: &Site, says: &SiteStream, quiet: bool, limit: usize) -> Result<Vec<u64>> {
        let site = site.as_str();
        let tx = self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let known: Option<(String, i64)> = tx
            .prepare_cached("SELECT created, upto FROM reach WHERE site = ?")?
            .query_row([site], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (created, mut upto) = known.unwrap_or_default();
        if !created.is_empty() && created != says.created {
            // A new stream counts from one; a server that took from the old one waits for numbers that it does not have.
            tx.execute("DELETE FROM left_out WHERE site = ?", [site])?;
            upto = 0;
        }
        let (first, last) = (says.first.cast_signed(), says.last.cast_signed());
        if quiet && last > upto {
            leave_out(&tx, site, upto + 1, last)?;
            upto = last;
        }
        tx.execute(
            "INSERT INTO reach VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET created = ?2, upto = ?3",
            params![site, says.created, upto],
        )?;
        tx.execute("DELETE FROM left_out WHERE site = ? AND last < ?", params![site, first])?;
        // No other one begins there: ranges do not overlap.
        tx.execute("UPDATE left_out SET first = ?2 WHERE site = ?1 AND first < ?2", params![site, first])?;
        let mut wanted = Vec::new();
        {
            let mut ask =
                tx.prepare_cached("SELECT first, last FROM left_out WHERE site = ? ORDER BY first")?;
            let mut ranges = ask.query([site])?;
            while let Some(range) = ranges.next()? {
                let (from, to): (i64, i64) = (range.get(0)?, range.get(1)?);
                let room = limit.saturating_sub(wanted.len());
                wanted.extend((from..=to.min(last)).map(i64::cast_unsigned).take(room));
            }
        }
        tx.commit()?;
        Ok(wanted)
    }

    /// Takes messages of a site that were asked for, and gives up numbers that its stream has no message for.
    pub fn take_fetched(
        &mut self,
        site: &Site,
        batch: &[Raw],
        absent: &[u64],
        sites: &[Site],
        now: i64,
    ) -> Result<Taken> {
        self.post(batch, now)?;
        let k = self.k;
        let tx = self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let taken = super::take_all(&tx, batch, sites, k, now)?;
        for seq in absent {
            came(&tx, site.as_str(), seq.cast_signed())?;
        }
        tx.commit()?;
        Ok(taken)
    }
}

/// Notes that a message of a site's stream came, in whatever way, and what was left out before it.
pub(super) fn came(tx: &Transaction<'_>, site: &str, seq: i64) -> Result<()> {
    let upto: Option<i64> = tx
        .prepare_cached("SELECT upto FROM reach WHERE site = ?")?
        .query_row([site], |row| row.get(0))
        .optional()?;
    let upto = upto.unwrap_or_default();
    if seq <= upto {
        return fill(tx, site, seq);
    }
    if seq > upto + 1 {
        leave_out(tx, site, upto + 1, seq - 1)?;
    }
    tx.prepare_cached("INSERT INTO reach VALUES (?1, '', ?2) ON CONFLICT DO UPDATE SET upto = ?2")?
        .execute(params![site, seq])?;
    Ok(())
}

/// Adds a range, which lies above all others of the site.
fn leave_out(tx: &Transaction<'_>, site: &str, first: i64, last: i64) -> Result<()> {
    let (count, newest): (i64, Option<i64>) = tx
        .prepare_cached("SELECT count(*), max(first) FROM left_out WHERE site = ?")?
        .query_row([site], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match newest {
        Some(newest) if count >= MAX_RANGES => tx
            .prepare_cached("UPDATE left_out SET last = ? WHERE site = ? AND first = ?")?
            .execute(params![last, site, newest])?,
        _ => {
            tx.prepare_cached("INSERT INTO left_out VALUES (?, ?, ?)")?.execute(params![site, first, last])?
        }
    };
    Ok(())
}

/// Takes one number out of the range that it is in.
fn fill(tx: &Transaction<'_>, site: &str, seq: i64) -> Result<()> {
    let range: Option<(i64, i64)> = tx
        .prepare_cached("SELECT first, last FROM left_out WHERE site = ?1 AND first <= ?2 AND last >= ?2")?
        .query_row(params![site, seq], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((first, last)) = range else { return Ok(()) };
    tx.prepare_cached("DELETE FROM left_out WHERE site = ? AND first = ?")?.execute(params![site, first])?;
    let mut put = tx.prepare_cached("INSERT INTO left_out VALUES (?, ?, ?)")?;
    for (first, last) in [(first, seq - 1), (seq + 1, last)] {
        if first <= last {
            put.execute(params![site, first, last])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joined::FleetK;

    fn store() -> (tempfile::TempDir, HubStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = HubStore::open(&dir.path().join("hub.sqlite"), FleetK::default()).unwrap();
        (dir, store)
    }

    fn note(store: &mut HubStore, seqs: &[u64]) {
        store.take_fetched(&site(), &[], seqs, &[site()], 1).unwrap();
    }

    fn site() -> Site {
        Site::new("plant-7").unwrap()
    }

    fn says(created: &str, first: u64, last: u64) -> SiteStream {
        SiteStream { created: created.to_owned(), first, last }
    }

    #[test]
    fn what_was_left_out_is_asked_for_until_it_came() {
        let (_dir, mut store) = store();
        note(&mut store, &[1, 2, 6, 7, 9]);
        assert_eq!(store.with_gaps().unwrap(), ["plant-7"]);
        let now = says("t", 1, 12);
        assert_eq!(store.compare(&site(), &now, false, 9).unwrap(), [3, 4, 5, 8]);
        assert_eq!(store.compare(&site(), &now, false, 2).unwrap(), [3, 4], "no more than is asked");
        note(&mut store, &[4, 4, 8, 2]);
        assert_eq!(store.compare(&site(), &now, false, 9).unwrap(), [3, 5]);
        note(&mut store, &[5, 3]);
        assert!(store.with_gaps().unwrap().is_empty());
    }

    #[test]
    fn the_end_is_asked_for_where_nothing_comes_and_not_before() {
        let (_dir, mut store) = store();
        note(&mut store, &[1, 2]);
        assert!(store.compare(&site(), &says("t", 1, 4), false, 9).unwrap().is_empty());
        assert_eq!(store.compare(&site(), &says("t", 1, 4), true, 9).unwrap(), [3, 4]);
        // It comes by itself after all.
        note(&mut store, &[3, 4, 5]);
        assert!(store.compare(&site(), &says("t", 1, 5), true, 9).unwrap().is_empty());
        assert!(store.with_gaps().unwrap().is_empty());
    }

    #[test]
    fn a_site_that_was_never_heard_of_is_asked_for_all_it_has() {
        let (_dir, mut store) = store();
        assert_eq!(store.compare(&site(), &says("t", 3, 5), true, 9).unwrap(), [3, 4, 5]);
        note(&mut store, &[3, 4, 5]);
        assert!(store.with_gaps().unwrap().is_empty(), "what it has no longer is given up");
    }

    #[test]
    fn a_stream_that_was_made_anew_counts_from_one() {
        let (_dir, mut store) = store();
        note(&mut store, &[1, 2, 5]);
        assert_eq!(store.compare(&site(), &says("t", 1, 5), true, 9).unwrap(), [3, 4]);
        assert_eq!(store.compare(&site(), &says("u", 1, 3), true, 9).unwrap(), [1, 2, 3]);
        note(&mut store, &[1, 2, 3]);
        assert_eq!(store.compare(&site(), &says("u", 1, 4), true, 9).unwrap(), [4]);
    }

    #[test]
    fn a_site_that_leaves_out_every_second_one_has_a_bounded_list() {
        let (_dir, mut store) = store();
        let odd: Vec<u64> = (0..1000).map(|n| 2 * n + 1).collect();
        note(&mut store, &odd);
        let ranges: i64 =
            store.conn.query_row("SELECT count(*) FROM left_out", [], |row| row.get(0)).unwrap();
        assert_eq!(ranges, MAX_RANGES);
        let wanted = store.compare(&site(), &says("t", 1, 1999), false, 9999).unwrap();
        assert!((1..1000).all(|n| wanted.contains(&(2 * n))), "{wanted:?}");
        note(&mut store, &wanted);
        assert!(store.with_gaps().unwrap().is_empty());
    }
}
