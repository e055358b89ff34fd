use crate::store::tests::{entries, filled, flows, rollup_at, send, store};

const HOUR: i64 = 3600;

fn forget_all(store: &mut super::HubStore, before: i64) -> usize {
    let mut all = 0;
    loop {
        match store.forget(before, 2).unwrap() {
            0 => return all,
            n => all += n,
        }
    }
}

#[test]
fn what_is_old_goes_and_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    // An hour each, entries 1, 2, …
    let mut store = filled(dir.path(), 9);
    let began = 1_799_658_000;
    assert_eq!(forget_all(&mut store, began), 0, "nothing is older");
    assert_eq!(forget_all(&mut store, began + 6 * HOUR), 12, "six rows, and the entries of six");
    assert_eq!(flows(&store).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [7, 8, 9]);
    let site = &store.sites().unwrap()[0];
    assert_eq!((site.entries, site.missing, site.aggregates), (9, 0, 3), "what came is counted all the same");
    // A box that forgot how far it was sends all of it again.
    for n in 1..=9 {
        send(&mut store, n, (n > 1).then(|| n - 1), &rollup_at(n - 1));
    }
    assert_eq!((flows(&store).len(), entries(&store)), (3, (9, 0)));
    // And goes on where it was, past one that did not come.
    send(&mut store, 11, Some(10), &rollup_at(10));
    assert_eq!((flows(&store).len(), entries(&store)), (4, (10, 1)));
    assert!(store.refused().unwrap().is_empty());
}

#[test]
fn a_hole_among_what_is_forgotten_may_be_filled_and_goes_as_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(dir.path());
    for n in [1, 3, 4] {
        send(&mut store, n, (n > 1).then(|| n - 1), &rollup_at(n - 1));
    }
    let before = 1_799_658_000 + 3 * HOUR;
    forget_all(&mut store, before);
    assert_eq!(entries(&store), (3, 1));
    send(&mut store, 2, Some(1), &rollup_at(1));
    assert_eq!(entries(&store), (4, 0), "and nothing before it is taken for missing");
    forget_all(&mut store, before);
    assert_eq!((flows(&store).len(), entries(&store)), (1, (4, 0)));
}

#[test]
fn alerts_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path(), 2);
    let alert = r#"{"event_type":"alert","wall":"2027-01-11T09:00:00Z","alert":"log_full","state":"raised","severity":"critical"}"#;
    send(&mut store, 3, Some(2), alert);
    send(&mut store, 4, Some(3), r#"{"event_type":"log_full","wall":"2027-01-11T09:00:00Z"}"#);
    forget_all(&mut store, i64::MAX);
    assert_eq!(store.alerts().unwrap().len(), 1);
    assert!(flows(&store).is_empty());
}
