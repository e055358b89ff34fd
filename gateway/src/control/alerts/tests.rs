use super::*;
use crate::control::snapshot::Count;
use crate::feeds::FeedNow;
use crate::messages::ProcessInfo;

const DAY: i64 = 20_000;

/// A gateway that is well.
fn well() -> (Snapshot, Facts) {
    let up = |name: &str| ProcessInfo {
        name: name.to_owned(),
        pid: Some(1),
        state: "up".to_owned(),
        since_ns: 0,
        restarts: 0,
        last_end: None,
    };
    let mut now = crate::page::sample::snapshot();
    now.processes = vec![up("guard"), up("dataplane"), up("control")];
    now.policy.lists = vec![FeedNow {
        name: "urlhaus".to_owned(),
        state: "good".to_owned(),
        fetched_day: Some(DAY),
        ..FeedNow::default()
    }];
    let facts = Facts {
        mono_ns: 10_000 * SECOND_NS,
        today: Some(DAY),
        standing: Some(Standing::InForce),
        charter_ends: Some(DAY + 100),
        clock_trusted: true,
        wall_ms: Some(1_800_000_000_000),
        logins_failed: 0,
        records_lost: 0,
    };
    (now, facts)
}

fn alerts() -> Alerts {
    let bounds = AlertBounds { dropped_frames: 1000, failed_logins: 20, charter_days: 30, list_days: 30 };
    Alerts::new(bounds, well().1.mono_ns)
}

fn names(changes: &[Change]) -> Vec<(&'static str, bool, &str)> {
    changes.iter().map(|c| (c.alert.as_str(), c.raised, c.about.as_str())).collect()
}

/// Looks every second for so long; everything that is told.
fn watch(alerts: &mut Alerts, now: &Snapshot, facts: &mut Facts, seconds: u64) -> Vec<Change> {
    let mut told = Vec::new();
    for _ in 0..seconds {
        told.extend(alerts.look(now, facts));
        facts.mono_ns += SECOND_NS;
        facts.wall_ms = facts.wall_ms.map(|wall| wall + 1000);
    }
    told
}

/// Every condition by itself: nothing while all is well, this one and no other when it holds, over when it is over.
#[test]
fn each_alert_is_raised_by_its_condition_and_cleared_when_that_is_over() {
    type Hurt = fn(&mut Snapshot, &mut Facts);
    let table: [(&str, &str, Hurt); 22] = [
        ("not_forwarding", "", |now, _| now.processes[1].state = "waiting".to_owned()),
        ("link_down", "lan, uplink", |now, _| now.links_down = vec!["uplink".to_owned(), "lan".to_owned()]),
        ("process_restarted", "dataplane", |now, facts| {
            now.processes[1].restarts = 1;
            now.processes[1].since_ns = facts.mono_ns;
        }),
        ("frames_dropped", "missed", |now, _| now.ports[0].rx_missed += 1000),
        ("frames_dropped", "port_full", |now, _| now.ports[1].drop_tx_full += 1000),
        ("flow_table_full", "cpu 2", |now, _| now.lcores[0].flows_active = now.lcores[0].flows_capacity),
        ("inspector_panicked", "", |now, _| now.lcores[0].panics += 1),
        ("verdicts_decayed", "", |now, _| now.policy.valid_for_s = 0.0),
        ("files_not_taken", "files", |now, _| now.policy.rejected = Some("line 1".to_owned())),
        ("bypass_on", "", |now, _| now.bypass = Some(Default::default())),
        ("log_failing", "", |now, _| now.events.log_trouble = Some("disk".to_owned())),
        ("log_gap", "records", |_, facts| facts.records_lost += 1),
        ("log_gap", "events", |now, _| now.events.lost = vec![Count { name: "ended".to_owned(), count: 3 }]),
        ("witness_failing", "", |now, _| now.events.witness_trouble = Some("away".to_owned())),
        ("charter_ends_soon", "", |_, facts| facts.charter_ends = Some(DAY + 30)),
        ("charter_ended", "expired", |_, facts| facts.standing = Some(Standing::Expired)),
        ("clock_not_trusted", "", |_, facts| facts.clock_trusted = false),
        ("clock_stepped", "", |_, facts| facts.wall_ms = facts.wall_ms.map(|wall| wall - 3_600_000)),
        ("page_flooded", "", |now, _| {
            let flood = Count { name: "over_source".to_owned(), count: 6_000_000 };
            now.inband = Some(InbandNow { refused: vec![flood], ..InbandNow::default() });
        }),
        ("list_held", "urlhaus", |now, _| now.policy.lists[0].state = "held".to_owned()),
        ("list_old", "pack, urlhaus", |now, _| {
            now.policy.lists[0].fetched_day = Some(DAY - 31);
            now.policy.pack_day = Some(DAY - 31);
        }),
        ("logins_failed", "", |_, facts| facts.logins_failed += 20),
    ];
    let mut covered = std::collections::BTreeSet::from(["alerts_unsent"]);
    for (name, about, hurt) in table {
        let (mut alerts, (mut now, mut facts)) = (alerts(), well());
        assert_eq!(watch(&mut alerts, &now, &mut facts, 700), [], "{name}: all is well");
        hurt(&mut now, &mut facts);
        let told = watch(&mut alerts, &now, &mut facts, 601);
        assert_eq!(names(&told).first(), Some(&(name, true, about)), "{name}");
        let counted = [
            "frames_dropped",
            "log_gap",
            "logins_failed",
            "process_restarted",
            "inspector_panicked",
            "clock_stepped",
            "page_flooded",
        ]
        .contains(&name);
        assert!(told.len() == 1 || counted, "{name}: {told:?}");
        let (mend, _) = well();
        if !counted {
            assert_eq!(alerts.raised().first().map(|raised| raised.name.as_str()), Some(name));
            (now.processes, now.links_down, now.policy, now.lcores) =
                (mend.processes, mend.links_down, mend.policy, mend.lcores);
            (now.bypass, now.events) = (None, mend.events);
            let (_, good) = well();
            facts = Facts { mono_ns: facts.mono_ns, wall_ms: facts.wall_ms, ..good };
        }
        let more = watch(&mut alerts, &now, &mut facts, 1300);
        let told: Vec<Change> = told.into_iter().skip(1).chain(more).collect();
        assert_eq!(names(&told), [(name, false, about)], "{name}: over");
        assert_eq!(alerts.raised(), []);
        covered.insert(name);
    }
    assert_eq!(covered.len(), Alert::ALL.len(), "an alert that nothing raises here");
}

#[test]
fn what_flickers_is_told_once() {
    let (mut alerts, (mut now, mut facts)) = (alerts(), well());
    let mut told = Vec::new();
    // A link that comes and goes every two seconds is none that is gone for three.
    for second in 0..60 {
        now.links_down = if second % 4 < 2 { vec!["lan".to_owned()] } else { Vec::new() };
        told.extend(watch(&mut alerts, &now, &mut facts, 1));
    }
    assert_eq!(told, []);
    now.links_down = vec!["lan".to_owned()];
    told.extend(watch(&mut alerts, &now, &mut facts, 10));
    for second in 0..60 {
        now.links_down = if second % 8 < 4 { vec!["lan".to_owned()] } else { Vec::new() };
        told.extend(watch(&mut alerts, &now, &mut facts, 1));
    }
    assert_eq!(names(&told), [("link_down", true, "lan")], "and while it is raised it must be well for ten");
}

#[test]
fn a_clock_that_is_corrected_little_by_little_is_not_stepped() {
    let (mut alerts, (now, mut facts)) = (alerts(), well());
    for _ in 0..100 {
        facts.wall_ms = facts.wall_ms.map(|wall| wall + 900);
        assert_eq!(watch(&mut alerts, &now, &mut facts, 1), []);
    }
    // Nor is one that nobody could read for a while.
    facts.wall_ms = None;
    assert_eq!(watch(&mut alerts, &now, &mut facts, 10), []);
}

#[test]
fn a_number_near_its_bound_does_not_flicker() {
    let (mut alerts, (mut now, mut facts)) = (alerts(), well());
    let capacity = now.lcores[0].flows_capacity;
    let mut told = Vec::new();
    for second in 0..600u64 {
        now.lcores[0].flows_active = capacity * (91 + second % 6) / 100;
        told.extend(watch(&mut alerts, &now, &mut facts, 1));
    }
    assert_eq!(told, [], "never full for five seconds");
    now.lcores[0].flows_active = capacity * 96 / 100;
    told.extend(watch(&mut alerts, &now, &mut facts, 10));
    for second in 0..600u64 {
        now.lcores[0].flows_active = capacity * (91 + second % 6) / 100;
        told.extend(watch(&mut alerts, &now, &mut facts, 1));
    }
    assert_eq!(names(&told), [("flow_table_full", true, "cpu 2")]);
}

#[test]
fn losses_below_the_bound_are_none_and_old_ones_are_over() {
    let (mut alerts, (mut now, mut facts)) = (alerts(), well());
    // 16 a second are 960 in a minute.
    for _ in 0..300 {
        now.ports[0].rx_missed += 16;
        assert_eq!(watch(&mut alerts, &now, &mut facts, 1), []);
    }
    now.ports[0].rx_missed += 1000;
    assert_eq!(names(&watch(&mut alerts, &now, &mut facts, 1)), [("frames_dropped", true, "missed")]);
    // A new data plane counts from nothing: that is no loss, and no negative one.
    now.ports[0].rx_missed = 0;
    assert_eq!(names(&watch(&mut alerts, &now, &mut facts, 200)), [("frames_dropped", false, "missed")]);
}

#[test]
fn what_an_alert_is_about_may_change_and_is_told_not_more_than_once_a_minute() {
    let (mut alerts, (mut now, mut facts)) = (alerts(), well());
    now.links_down = vec!["lan".to_owned()];
    assert_eq!(watch(&mut alerts, &now, &mut facts, 90).len(), 1);
    now.links_down = vec!["lan".to_owned(), "uplink".to_owned()];
    assert_eq!(names(&watch(&mut alerts, &now, &mut facts, 5)), [("link_down", true, "lan, uplink")]);
    for second in 0..30 {
        now.links_down.truncate(1 + second % 2);
        now.links_down = if second % 2 == 0 { vec!["lan".to_owned()] } else { vec!["uplink".to_owned()] };
        assert_eq!(watch(&mut alerts, &now, &mut facts, 1), []);
    }
    assert_eq!(alerts.raised()[0].about, "uplink", "the page shows how it is");
}

#[test]
fn who_is_not_reached_is_an_alert_too() {
    let (mut alerts, (mut now, mut facts)) = (alerts(), well());
    now.alert_targets[0].trouble = Some("it answered 500".to_owned());
    assert_eq!(names(&watch(&mut alerts, &now, &mut facts, 200)), [("alerts_unsent", true, "webhook")]);
    now.alert_targets[0].trouble = None;
    assert_eq!(names(&watch(&mut alerts, &now, &mut facts, 1)), [("alerts_unsent", false, "webhook")]);
}
