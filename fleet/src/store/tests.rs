use super::*;
use crate::up::VERSION;
use crate::words::LogId;
use glassgate_audit::note::{Kind, Signer};

const STREAM: &str = "GG_UP";

fn raw(at: u64, site: &str, seq: u64, prev: Option<u64>, entry: &str) -> Raw {
    let (wall, said) = crate::up::said(entry.as_bytes()).unwrap();
    let site = Site::new(site).unwrap();
    let message = Message { v: VERSION, site: site.clone(), log: LogId::of("key"), seq, prev, wall, said };
    Raw {
        seq: at,
        subject: message.said.topic().subject(&site),
        source: Some(site.to_string()),
        origin: Some(at),
        payload: message.bytes(),
    }
}

fn rollup(people: &str, flows: u64) -> String {
    format!(
        r#"{{"event_type":"group_rollup","start":"2027-01-11T09:00:00Z","end":"2027-01-11T10:00:00Z","span":"hour","group":"sales","category":"games","subjects":"{people}","k":5,"flows":{flows},"flow":{{}},"visits":1,"active_s":2}}"#
    )
}

fn sites() -> Vec<Site> {
    ["a", "b"].map(|site| Site::new(site).unwrap()).to_vec()
}

fn take(store: &mut HubStore, batch: &[Raw]) -> Taken {
    store.take(STREAM, "t", batch, &sites(), 1).unwrap()
}

/// An hour of use, so many hours after the first.
pub(super) fn rollup_at(hour: u64) -> String {
    let (from, to) = (9 + hour, 10 + hour);
    let rollup = rollup("10-19", 7).replace("T09:", &format!("T{from:02}:"));
    rollup.replace("T10:", &format!("T{to:02}:"))
}

/// Sends an entry of the first site.
pub(super) fn send(store: &mut HubStore, seq: u64, prev: Option<u64>, entry: &str) {
    take(store, &[raw(seq, "a", seq, prev, entry)]);
}

pub(super) fn store(dir: &Path) -> HubStore {
    HubStore::open(&dir.join("hub.sqlite"), FleetK::default()).unwrap()
}

/// A store with so many rows of a site, an hour each, entries from 1 on.
pub(super) fn filled(dir: &Path, rows: u64) -> HubStore {
    let mut store = store(dir);
    for n in 1..=rows {
        send(&mut store, n, (n > 1).then(|| n - 1), &rollup_at(n - 1));
    }
    store
}

/// Of the first site, entries that came and that are missing.
pub(super) fn entries(store: &HubStore) -> (i64, i64) {
    let sites = store.sites().unwrap();
    (sites[0].entries, sites[0].missing)
}

pub(super) fn flows(store: &HubStore) -> Vec<(i64, i64)> {
    let mut all = Vec::new();
    store
        .rows(|row| {
            all.push((row.seq, row.flows));
            Ok(())
        })
        .unwrap();
    all
}

#[test]
fn an_entry_counts_once_however_often_it_comes_and_the_place_in_the_stream_comes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hub.sqlite");
    let mut store = HubStore::open(&file, FleetK::default()).unwrap();
    let batch = [raw(1, "a", 3, None, &rollup("10-19", 7)), raw(2, "a", 5, Some(3), &rollup("20-49", 8))];
    assert_eq!(take(&mut store, &batch), Taken { new: 2, again: 0, refused: 0 });
    assert_eq!(store.cursor(STREAM, "t").unwrap(), 2);
    assert_eq!(store.cursor(STREAM, "another").unwrap(), 0, "a stream that was made anew");
    drop(store);
    // A hub that begins again from the start, as after the loss of the stream.
    let mut store = HubStore::open(&file, FleetK::default()).unwrap();
    assert_eq!(take(&mut store, &batch), Taken { new: 0, again: 2, refused: 0 });
    // A box that forgot what it sent: the same entry, with another one before it.
    let again = raw(3, "a", 5, None, &rollup("20-49", 8));
    assert_eq!(take(&mut store, &[again]), Taken { new: 0, again: 1, refused: 0 });
    assert_eq!(flows(&store), [(3, 7), (5, 8)]);
    // The same entry, and it says something else: a past that was rewritten.
    let other = raw(4, "a", 5, Some(3), &rollup("20-49", 9));
    assert_eq!(take(&mut store, &[other]), Taken { new: 0, again: 0, refused: 1 });
    assert_eq!(store.refused().unwrap(), [("a".to_owned(), "conflict".to_owned(), 1)]);
    assert_eq!(flows(&store), [(3, 7), (5, 8)]);
}

#[test]
fn a_batch_that_can_not_be_taken_whole_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hub.sqlite");
    let mut store = HubStore::open(&file, FleetK::default()).unwrap();
    // The table of counts is taken away: the second message fails, after the first was written.
    let first = raw(1, "a", 1, None, r#"{"event_type":"stopped"}"#);
    let second = raw(2, "a", 2, Some(1), &rollup("10-19", 7));
    store.conn.execute_batch("ALTER TABLE aggregate RENAME TO gone").unwrap();
    assert!(store.take(STREAM, "t", &[first.clone(), second.clone()], &sites(), 1).is_err());
    store.conn.execute_batch("ALTER TABLE gone RENAME TO aggregate").unwrap();
    assert_eq!((store.cursor(STREAM, "t").unwrap(), store.sites().unwrap().len()), (0, 0));
    assert_eq!(take(&mut store, &[first, second]), Taken { new: 2, again: 0, refused: 0 });
}

#[test]
fn a_hole_is_named_until_it_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = HubStore::open(&dir.path().join("h"), FleetK::default()).unwrap();
    take(&mut store, &[raw(1, "a", 9, Some(4), r#"{"event_type":"stopped"}"#)]);
    assert_eq!(store.sites().unwrap()[0].missing, 1);
    take(&mut store, &[raw(2, "a", 4, None, r#"{"event_type":"started","version":"0.1.0"}"#)]);
    let site = store.sites().unwrap().remove(0);
    assert_eq!((site.missing, site.version.as_str(), site.entries), (0, "0.1.0", 2));
}

#[test]
fn rows_about_too_few_people_are_not_kept_and_leave_no_hole() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("h");
    let mut store = HubStore::open(&file, FleetK::default()).unwrap();
    let batch = [
        raw(1, "a", 1, None, &rollup("5-9", 7)),
        raw(2, "a", 2, Some(1), &rollup("10-19", 8)),
        raw(3, "b", 1, None, &rollup("20-49", 9)),
    ];
    assert_eq!(take(&mut store, &batch), Taken { new: 2, again: 0, refused: 1 });
    assert_eq!(store.refused().unwrap(), [("a".to_owned(), "under_k".to_owned(), 1)]);
    assert!(store.sites().unwrap().iter().all(|site| site.missing == 0));
    let total = store.totals().unwrap().remove(0);
    assert_eq!((total.flows, total.sites, total.people_at_least), (17, 2, 20), "people are not added up");
    drop(store);
    // A fleet that asks for more from now on.
    let store = HubStore::open(&file, FleetK::new(20).unwrap()).unwrap();
    assert_eq!(flows(&store), [(1, 9)]);
}

#[test]
fn a_message_counts_for_the_site_whose_stream_it_is_from() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = HubStore::open(&dir.path().join("h"), FleetK::default()).unwrap();
    let good = raw(1, "a", 1, None, &rollup("10-19", 7));
    let forged = Raw { source: Some("b".to_owned()), ..good.clone() };
    let unknown = raw(2, "c", 1, None, &rollup("10-19", 7));
    let nobody = Raw { source: Some(String::new()), ..good };
    assert_eq!(take(&mut store, &[forged, unknown, nobody]), Taken { new: 0, again: 0, refused: 3 });
    assert!(flows(&store).is_empty());
    let why: Vec<_> = store.refused().unwrap().into_iter().map(|(site, why, _)| (site, why)).collect();
    let said = |site: &str, why: &str| (site.to_owned(), why.to_owned());
    assert_eq!(why, [said("", "site"), said("", "unknown_site"), said("b", "site")]);
}

#[test]
fn alerts_are_those_that_were_raised_and_not_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = HubStore::open(&dir.path().join("h"), FleetK::default()).unwrap();
    let alert = |state: &str, name: &str| {
        format!(r#"{{"event_type":"alert","alert":"{name}","state":"{state}","severity":"warning"}}"#)
    };
    let batch = [
        raw(1, "a", 1, None, &alert("raised", "list_old")),
        raw(2, "a", 2, Some(1), &alert("raised", "port_down")),
        raw(3, "a", 3, Some(2), &alert("cleared", "list_old")),
    ];
    take(&mut store, &batch);
    assert_eq!(store.alerts().unwrap(), [("a".to_owned(), "port_down".to_owned(), "warning".to_owned())]);
}

#[test]
fn a_second_past_of_a_log_is_refused_and_the_newest_checkpoint_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = HubStore::open(&dir.path().join("h"), FleetK::default()).unwrap();
    let key = Signer::from_seed("example.com/log", Kind::Ed25519, [3; 32]).unwrap();
    let site = Site::new("a").unwrap();
    let mut at = 0;
    let mut take_one = |size: u64, root: u8| {
        let note = Checkpoint { origin: "example.com/log".to_owned(), size, root: [root; 32] }.sign(&key);
        let message = CheckpointMessage::new(&site, &key.verifier().to_string(), &note).unwrap();
        at += 1;
        let subject = "gg.a.up.checkpoints".to_owned();
        let raw = Raw {
            seq: at,
            subject,
            source: Some("a".to_owned()),
            origin: Some(at),
            payload: message.bytes(),
        };
        take(&mut store, &[raw])
    };
    let (new, again) = (Taken { new: 1, ..Taken::default() }, Taken { again: 1, ..Taken::default() });
    assert_eq!(take_one(12, 1), new);
    assert_eq!(take_one(12, 1), again);
    assert_eq!(take_one(9, 2), again, "an older one says nothing without a proof");
    assert_eq!(take_one(12, 2), Taken { refused: 1, ..Taken::default() });
    assert_eq!(take_one(20, 3), new);
    assert_eq!(store.sites().unwrap()[0].checkpoint_size, 20);
    assert_eq!(store.refused().unwrap(), [("a".to_owned(), "conflict".to_owned(), 1)]);
}
