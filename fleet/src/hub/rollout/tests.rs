use super::*;
use crate::store::HubStore;
use crate::up::Sight;

const HOLD: i64 = 600;

fn table(of: u8) -> Digest {
    Digest::of(&[of])
}

fn event(wall: i64, said: Said) -> Event {
    Event { wall, said }
}

fn runs(wall: i64, of: u8) -> Event {
    event(wall, Said::Policy { table: table(of), rules: 1 })
}

fn sees(wall: i64, named: u64) -> Event {
    let text = format!(
        r#"{{"event_type":"blindness","start":"{0}","end":"{0}","told":{{"evidence_percent":{{"sni":{named}}},"reasons_percent":{{"ech_outer":{1}}}}}}}"#,
        jiff::Timestamp::from_second(wall).unwrap(),
        100 - named
    );
    event(wall, serde_json::from_str(&text).unwrap())
}

fn started(wall: i64) -> Event {
    event(wall, serde_json::from_str(r#"{"event_type":"started","version":"0.1.0"}"#).unwrap())
}

/// A site that runs table 2 since 10 000, and was as well as after.
fn well() -> Vec<Event> {
    vec![runs(1000, 1), sees(9000, 80), runs(10_000, 2), sees(10_600, 80)]
}

fn seen(site: &str, events: &[Event]) -> Seen {
    let (runs, rolled_back, health) = health(events, Some(&table(2)), 9900, HOLD);
    Seen { site: site.to_owned(), runs: runs.map(|at| 20_000 - at), rolled_back, health, ..Seen::default() }
}

fn with(site: &str, more: impl IntoIterator<Item = Event>) -> Seen {
    let mut events = well();
    events.extend(more);
    seen(site, &events)
}

fn halts(sites: &[Seen], others: &[Health]) -> Option<String> {
    match judge(sites, others, HOLD, true) {
        Verdict::Halt(why) => Some(why),
        _ => None,
    }
}

#[test]
fn a_stage_that_is_well_is_followed_by_the_next() {
    assert_eq!(judge(&[with("a", [])], &[], HOLD, true), Verdict::Next);
    // Not before it was watched long enough, nor before anybody has said what it could see since.
    assert!(matches!(judge(&[with("a", [])], &[], 10_001, true), Verdict::Wait(_)));
    let silent = seen("a", &well()[..3]);
    assert!(matches!(judge(std::slice::from_ref(&silent), &[], HOLD, true), Verdict::Wait(_)));
    assert_eq!(judge(&[silent], &[], HOLD, false), Verdict::Next);
    assert!(matches!(judge(&[], &[], HOLD, true), Verdict::Wait(_)));
}

#[test]
fn what_rises_halts() {
    let lost = r#"{"event_type":"gap","cause":"events_missing","events":7}"#;
    let away = r#"{"event_type":"uninspected","number":1,"cause":"crash","forwarder":"kernel_bridge"}"#;
    for bad in [lost, away] {
        let bad = event(10_700, serde_json::from_str(bad).unwrap());
        let why = halts(&[with("a", [bad])], &[]).unwrap();
        assert!(why.contains("from 0 to 1"), "{why}");
    }
    assert!(halts(&[with("a", [started(10_700)])], &[]).unwrap().contains("starts"));
    let why = halts(&[with("a", [sees(10_700, 60), sees(10_800, 60)])], &[]).unwrap();
    assert!(why.contains("flows without a name rose by 13 points"), "{why}");
    let back = halts(&[with("a", [runs(10_700, 1)])], &[]).unwrap();
    assert!(back.contains("run another one again (a)"), "{back}");
    let refused = Seen { refused: Some("signature".to_owned()), ..with("a", []) };
    assert!(halts(&[refused], &[]).unwrap().contains("refuse it (a): signature"));
    let silent = Seen { silent: true, ..with("a", []) };
    assert!(halts(&[silent], &[]).unwrap().contains("do not ask any more (a)"));
}

#[test]
fn what_was_so_before_or_is_so_everywhere_does_not_halt() {
    // Trouble before it ran the pack, as often as since.
    let mut events = vec![started(9500)];
    events.extend(well());
    events.push(started(10_700));
    assert_eq!(judge(&[seen("a", &events)], &[], HOLD, true), Verdict::Next);
    // A provider that hides more names from all.
    let hides = [sees(8000, 80), sees(10_700, 60)];
    let (_, _, other) = health(&hides, None, 9900, HOLD);
    let worse = with("a", [sees(10_700, 60), sees(10_800, 60)]);
    assert_eq!(judge(&[worse], &[other], HOLD, true), Verdict::Next);
}

#[test]
fn one_of_twenty_may_be_unwell_and_two_may_not() {
    let sites = |unwell: usize| -> Vec<Seen> {
        let silent = |n: usize| Seen { silent: n < unwell, ..with(&format!("s{n}"), []) };
        (0..20).map(silent).collect()
    };
    assert_eq!(judge(&sites(1), &[], HOLD, true), Verdict::Next);
    assert!(halts(&sites(2), &[]).is_some());
}

/// An hour that began before the pack ran says nothing of it.
#[test]
fn an_hour_that_was_under_way_counts_for_neither() {
    let mut events = well();
    let under_way = event(10_900, sees(9990, 0).said);
    events.insert(3, under_way);
    assert_eq!(judge(&[seen("a", &events)], &[], HOLD, true), Verdict::Next);
}

fn site(name: &str) -> Site {
    Site::new(name).unwrap()
}

/// A store with a roll-out that begins at 1000, and the sites of a fleet.
fn begun(dir: &std::path::Path, count: usize) -> (Sqlite, Vec<Site>) {
    let file = dir.join("hub.sqlite");
    drop(HubStore::open(&file, crate::joined::FleetK::new(10).unwrap()).unwrap());
    let mut store = Sqlite::open(&file).unwrap();
    store.begin(&rollout(), &[7; 300_000]).unwrap();
    (store, (0..count).map(|n| site(&format!("s{n}"))).collect())
}

fn rollout() -> Rollout {
    Rollout {
        id: 0,
        pack: Digest::of(&[7; 300_000]),
        table: table(2),
        serial: 5,
        bytes: 300_000,
        stage: 0,
        state: State::Running,
        why: String::new(),
        attempt: 1,
        hold_s: HOLD,
        silent_s: 900,
        began: 1000,
        staged: 1000,
    }
}

fn ask(serial: u64, pack: Option<Digest>, refused: Option<crate::down::Refusal>) -> Ask {
    Ask { v: VERSION, pack, serial, refused }
}

#[test]
fn a_tenth_is_offered_it_after_the_first_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, sites) = begun(dir.path(), 25);
    // Nobody has asked: nobody is there to learn from.
    round(&mut store, &sites, 1001).unwrap();
    assert_eq!(store.staged(1).unwrap(), []);
    for site in &sites {
        store.asked(site, &ask(4, None, None), 1002).unwrap();
    }
    round(&mut store, &sites, 1003).unwrap();
    let staged = store.staged(1).unwrap();
    assert_eq!(staged.len(), 1);
    let offered = |store: &Sqlite| {
        let takes =
            |site: &&Site| matches!(answer(store, site, &ask(4, None, None)).unwrap(), Answer::Take { .. });
        sites.iter().filter(takes).count()
    };
    assert_eq!(offered(&store), 1);
    let mut next = store.newest().unwrap().unwrap();
    next.stage = 1;
    store.put(&next).unwrap();
    round(&mut store, &sites, 1004).unwrap();
    assert_eq!(store.staged(1).unwrap().len(), 3);
    assert!(store.staged(1).unwrap().contains(&staged[0]), "the first one stays");
    assert_eq!(offered(&store), 3);
    // Parts come as they were, and no more than there are.
    let digest = rollout().pack;
    let whole: Vec<u8> = (0..3).flat_map(|n| store.part(&digest, n).unwrap().unwrap()).collect();
    assert_eq!(Digest::of(&whole), digest);
    assert_eq!(store.part(&digest, 3).unwrap(), None);
    // One roll-out at a time.
    assert!(store.begin(&rollout(), &[8; 9]).is_err());
}

#[test]
fn one_that_is_refused_is_halted_put_back_and_offered_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, sites) = begun(dir.path(), 25);
    for site in &sites {
        store.asked(site, &ask(4, None, None), 1002).unwrap();
    }
    round(&mut store, &sites, 1003).unwrap();
    let (first, _) = store.staged(1).unwrap()[0].clone();
    let refusal = crate::down::Refusal { pack: rollout().pack, attempt: 1, why: crate::down::Why::Gateway };
    store.asked(&site(&first), &ask(4, None, Some(refusal)), 1004).unwrap();
    let Some(Verdict::Halt(why)) = round(&mut store, &sites, 1005).unwrap() else { panic!("it goes on") };
    assert!(why.contains("gateway"), "{why}");
    for site in &sites {
        assert_eq!(answer(&store, site, &ask(4, None, None)).unwrap(), Answer::Nothing);
    }
    let has = ask(5, Some(rollout().pack), None);
    assert_eq!(answer(&store, &sites[0], &has).unwrap(), Answer::Back { pack: rollout().pack });
    // No part of it is handed out any more, and nothing goes on by itself.
    assert_eq!(store.part(&rollout().pack, 0).unwrap(), None);
    assert_eq!(round(&mut store, &sites, 9999).unwrap(), None);
}

#[test]
fn who_was_away_is_given_what_is_done_and_not_what_is_older() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, sites) = begun(dir.path(), 3);
    let mut done = store.newest().unwrap().unwrap();
    done.state = State::Done;
    store.put(&done).unwrap();
    let said = |serial| answer(&store, &sites[2], &ask(serial, None, None)).unwrap();
    assert!(matches!(said(4), Answer::Take { .. }));
    assert_eq!(said(5), Answer::Nothing);
    assert_eq!(said(6), Answer::Nothing);
}

#[test]
fn sight_is_what_the_records_say() {
    let Said::Blindness { told, .. } = sees(1000, 80).said else { panic!("no blindness") };
    assert_ne!(told, Sight::default());
}
