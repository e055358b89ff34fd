//! What the audit log says about the past: answered from the rollup store by a running gateway, from the log itself without one.

use crate::redact::{HEAD, for_operators};
use glassgate_audit::reader::{ReadError, Reader};
use glassgate_store::record::is_shown;
use glassgate_store::{Entries, Log, Options, Question, Reach, Search, Sessions, Store, StoreError, Totals};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Entries that are taken in one transaction.
pub(crate) const BATCH: usize = 4096;
/// Entries that are deleted, and read, together.
const BUNDLE: u64 = 256;
/// A store in memory has what a large one on disk has.
const IN_MEMORY: u64 = 4 << 30;

/// A log on disk, as it was when it was opened here.
pub(crate) struct Files {
    key: String,
    reader: Reader,
}

impl Files {
    /// Opens the log in a folder. `None` where none has been made yet.
    pub(crate) fn open(dir: &Path) -> Result<Option<Self>, String> {
        let key = || std::fs::read_to_string(dir.join("key.pub")).unwrap_or_default();
        let before = key();
        let reader = match Reader::open(dir) {
            Ok(reader) => reader,
            Err(ReadError::None(_)) => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        // A log may be set aside, and another begun, between two looks.
        if key() != before {
            return Err("the log was begun anew this moment".to_owned());
        }
        Ok(Some(Self { key: before.trim().to_owned(), reader }))
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }
}

impl Log for Files {
    fn key(&self) -> &str {
        &self.key
    }

    fn first(&self) -> u64 {
        self.reader.first()
    }

    fn size(&self) -> u64 {
        self.reader.size()
    }

    fn entries(&self, seq: u64) -> Entries<'_> {
        Box::new(self.reader.entries(seq).map(|entry| entry.map_err(|e| e.to_string())))
    }
}

/// An answer about counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What was asked.
    pub(crate) question: Question,
    /// Sums, and what could not be seen.
    #[serde(flatten)]
    pub(crate) totals: Totals,
    /// How many sealed records there are, by day and purpose.
    pub(crate) sealed: Vec<Sessions>,
    /// What the store has.
    pub(crate) reach: Reach,
    /// Entries of the log: if there are more than the store has taken, it is still being built.
    pub(crate) entries: u64,
}

/// Records that were found.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Records {
    /// The newest first.
    pub(crate) records: Vec<Shown>,
    /// There are more: to be asked for as `before`.
    pub(crate) next: Option<u64>,
    /// Kinds that can be searched for.
    pub(crate) kinds: Vec<String>,
}

/// A record as it may be shown.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// Its number.
    pub(crate) seq: u64,
    /// Its kind; `other` for one that may not be shown.
    pub(crate) event_type: String,
    /// When it was written, by the wall clock.
    pub(crate) wall: Option<String>,
    /// What else it says.
    pub(crate) says: Map<String, Value>,
}

/// Answers about counts.
pub(crate) fn report(store: &Store, question: Question, entries: u64) -> Result<Report, StoreError> {
    let totals = store.totals(&question)?;
    let sealed = store.sessions(question.from.max(0), question.to.max(0))?;
    Ok(Report { totals, sealed, reach: store.reach()?, entries, question })
}

/// Looks records up in the store, and reads them in the log.
pub(crate) fn records(store: &Store, log: Option<&dyn Log>, search: &Search) -> Result<Records, StoreError> {
    let found = store.search(search)?;
    let shown = found.entries.iter().filter(|entry| is_shown(&entry.kind)).map(|entry| entry.seq);
    let lines = log.map(|log| lines(log, shown.collect())).unwrap_or_default();
    let records = found.entries.iter().map(|entry| {
        let line = lines.get(&entry.seq).and_then(|line| serde_json::from_slice(line).ok());
        let mut says: Map<String, Value> = line.unwrap_or_default();
        // The store knows where a record is; what it says is looked at again.
        if says.get("event_type").and_then(Value::as_str).is_none_or(|kind| kind != entry.kind) {
            says.clear();
        }
        let wall = says.get("wall").and_then(Value::as_str).map(str::to_owned);
        for_operators(&entry.kind, &mut says);
        says.retain(|name, _| !HEAD.contains(&name.as_str()));
        Shown { seq: entry.seq, event_type: entry.kind.clone(), wall, says }
    });
    Ok(Records { records: records.collect(), next: found.next, kinds: store.kinds() })
}

/// Entries by number; what can't be read is left out. Neighbours are read together.
fn lines(log: &dyn Log, mut wanted: Vec<u64>) -> BTreeMap<u64, Vec<u8>> {
    wanted.sort_unstable();
    let mut found = BTreeMap::new();
    let mut wanted = wanted.into_iter().peekable();
    while let Some(seq) = wanted.next() {
        let bundle = seq / BUNDLE;
        let mut end = seq;
        let mut these = vec![seq];
        while let Some(next) = wanted.next_if(|next| next / BUNDLE == bundle) {
            end = next;
            these.push(next);
        }
        let entries = log.entries(seq).map_while(Result::ok).take_while(|(at, _)| *at <= end);
        found.extend(entries.filter(|(at, _)| these.contains(at)));
    }
    found
}

/// A store of the whole log, in memory: for whoever asks without a gateway.
pub(crate) fn in_memory(log: &dyn Log) -> Result<Store, StoreError> {
    let (mut store, _) = Store::open(Options { path: None, quota_bytes: IN_MEMORY })?;
    while store.follow(log, 16 * BATCH)?.left > 0 {}
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lines(Vec<&'static str>);

    impl Log for Lines {
        fn key(&self) -> &str {
            "test"
        }
        fn first(&self) -> u64 {
            0
        }
        fn size(&self) -> u64 {
            self.0.len() as u64
        }
        fn entries(&self, seq: u64) -> Entries<'_> {
            let all = self.0.iter().enumerate().skip(seq as usize);
            Box::new(all.map(|(at, line)| Ok((at as u64, line.as_bytes().to_vec()))))
        }
    }

    #[test]
    fn nothing_about_anybody_is_shown() {
        let log = Lines(vec![
            r#"{"boot_id":"a","seq":0,"mono_ns":1,"wall":"2027-01-11T09:00:00Z","wall_quality":"unknown","event_type":"bypass","on":true,"uid":0}"#,
            r#"{"seq":1,"event_type":"session","key":"2027-01-11.leak.1","pseudonym":"mallory-1","sealed":"mallory-2"}"#,
            r#"{"seq":2,"event_type":"case_opened","case":"C1","reason":"mallory-8","subject":"mallory-3","days":[{"pseudonym":"mallory-4","n":1}],"of":{"sealed":"mallory-5"}}"#,
            r#"{"seq":3,"event_type":"unheard_of","name":"mallory-6"}"#,
        ]);
        let store = in_memory(&log).unwrap();
        let found = records(&store, Some(&log), &Search { limit: 10, ..Search::default() }).unwrap();
        let said = serde_json::to_string(&found).unwrap();
        assert!(!said.contains("mallory") && said.contains("C1") && !said.contains("uid"), "{said}");
        assert_eq!(found.records.len(), 3, "a session is no record that is found");
        assert_eq!(found.records[2].wall.as_deref(), Some("2027-01-11T09:00:00Z"));
        let report = report(&store, Question { to: 2 << 31, ..Question::default() }, 4).unwrap();
        assert_eq!((report.sealed.len(), report.sealed[0].count), (1, 1));
        // A log that says something else at that place, as one that was begun anew in between may.
        let other = Lines(vec![r#"{"event_type":"session","sealed":"mallory-7"}"#; 4]);
        let found = records(&store, Some(&other), &Search { limit: 10, ..Search::default() }).unwrap();
        assert!(!serde_json::to_string(&found).unwrap().contains("mallory"));
    }
}
