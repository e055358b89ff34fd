//! What a charter's groups leave behind, in records, snapshot and session sink.

use super::super::tests::{HOUR, at, event, of_kind, rule, rules, service, start_log};
use super::*;
use crate::audit::MemoryLog;
use crate::charter::{Charter, Group, Installed, Levels, Signatures, SigningKey, Statement, observe};
use crate::engine::{Engine, Policy};
use crate::flow_event::EventKind;
use crate::reason::Reason;
use crate::vocab::Evidence;
use std::sync::{Arc, Mutex};

/// Levels of a charter as people sign it: `purposes` are its `[[purpose]]` tables without what all of them need.
fn levels(purposes: &[(&str, &str, &str, u32)]) -> Arc<Levels> {
    let keys = [(); 2].map(|()| SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap());
    let mut text = format!(
        "version = 1\nname = \"t\"\nserial = 1\ncontroller = \"Acme, 1 Road\"\ncontact = \"p@acme.example\"\n\
         issued = 2026-11-01\nexpires = 2026-12-31\ntime_zone = \"UTC\"\n\
         [[approver]]\nrole = \"controller\"\nname = \"a\"\nkey = \"{}\"\n\
         [[approver]]\nrole = \"works_council\"\nname = \"b\"\nkey = \"{}\"\n\
         [[notice]]\nversion = \"1\"\ngiven = 2026-11-01\ntext = {{ en = \"We count visits by department.\" }}\n\
         [[calendar]]\nname = \"office\"\ntime_zone = \"UTC\"\nvalid = \"2026-01-01..2026-12-31\"\nweek = [\"mon-sat 08:00-20:00\"]\n",
        keys[0].public(),
        keys[1].public(),
    );
    text += &crate::charter::tests::case(["human_resources", "data_protection_officer", "works_council"]);
    for (purpose, category, level, k) in purposes {
        text += &format!(
            "[[purpose]]\nname = \"{purpose}\"\nbasis = \"collective_agreement\"\n\
             document = {{ title = \"Agreement\", sha256 = \"{}\" }}\ncategories = [\"{category}\"]\ngroups = [\"lab\", \"sales\"]\n\
             calendar = \"office\"\nlevel = \"{level}\"\nretention_days = 30\nk = {k}\nnotice = \"1\"\n",
            "9f".repeat(32)
        );
    }
    let mut signatures = String::new();
    for key in &keys {
        signatures = Signatures::with(Some(&signatures), &key.sign(Statement::Approve, text.as_bytes()));
    }
    let trusted: Vec<_> = keys.iter().map(SigningKey::public).collect();
    let (charter, _) = Charter::verify("c", text.as_bytes(), "s", signatures.as_bytes(), &trusted)
        .unwrap_or_else(|faults| panic!("{faults}"));
    let groups = ["lab", "sales"].map(|name| Group { name: name.to_owned(), members: 40 });
    let nothing = Levels::nothing(3, crate::vocab::Unobserved::NoCharter);
    let at = "2026-11-21T12:00:00Z".parse().ok();
    Arc::new(observe(Installed::Charter(&charter), at, &groups, &nothing).levels)
}

fn recruitment(level: &str) -> Arc<Levels> {
    levels(&[("recruitment", "recruitment", level, 10)])
}

/// Sessions that were handed over, as text: what a leak would leave.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl SessionSink for Kept {
    fn take(&mut self, _now: &Now, record: &SessionRecord<'_>) {
        self.0.lock().unwrap().push(format!("{record:?}"));
    }
}

struct Bench {
    engine: Engine,
    log: MemoryLog,
    kept: Kept,
    seq: u64,
}

impl Bench {
    fn new(levels: Arc<Levels>) -> Self {
        let (mut engine, log) = start_log();
        let kept = Kept::default();
        engine.set_sessions(Box::new(kept.clone()));
        let mut bench = Self { engine, log, kept, seq: 0 };
        bench.policy(1, levels, "");
        bench
    }

    fn policy(&mut self, epoch: u64, levels: Arc<Levels>, body: &str) {
        let names = ["lab", "sales"].map(str::to_owned);
        let policy =
            Policy { levels, groups: names.into(), rules: rules(body), ..super::super::tests::policy(epoch) };
        self.engine.set_policy(policy, &at(0, "2026-11-21T12:00:00Z"), &mut self.log);
    }

    fn base(&mut self, key: &str, group: u16, subject: u32, at_s: u64) -> FlowEvent {
        self.seq += 1;
        FlowEvent {
            group: GroupId(group),
            subject: SubjectId(subject),
            mono_ns: at_s * 1_000_000_000,
            ..event(self.seq, key)
        }
    }

    fn visit(&mut self, key: &str, group: u16, subjects: std::ops::Range<u32>, at_s: u64) {
        for subject in subjects {
            let event = self.base(key, group, subject, at_s);
            self.engine.event(0, &event);
        }
    }

    fn pass(&mut self, hours: u64) {
        let wall: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let wall = wall + jiff::SignedDuration::from_hours(hours as i64);
        self.engine.tick(&at(hours * HOUR, &wall.to_string()), &mut self.log).unwrap();
    }
}

#[test]
fn groups_are_told_when_the_hour_is_over_and_enough_people_stand_behind_it() {
    let mut bench = Bench::new(recruitment("aggregate"));
    bench.visit("boss-zhipin", 2, 1..13, 100);
    bench.visit("boss-zhipin", 1, 20..24, 200);
    // Somebody who is not enrolled, and somebody of whom nobody says who they are.
    bench.visit("boss-zhipin", 0, 30..31, 200);
    bench.visit("boss-zhipin", 2, 0..1, 200);
    assert!(bench.engine.snapshot().report.rows.is_empty(), "not while it goes on");
    assert_eq!((bench.engine.snapshot().not_looked_at, bench.engine.snapshot().all.flows), (2, 0));
    bench.pass(1);
    let told = of_kind(&bench.log, "group_rollup");
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["group"], &told[0]["service"], &told[0]["span"]),
        (&"sales".into(), &"boss-zhipin".into(), &"hour".into())
    );
    assert_eq!(
        (&told[0]["flows"], &told[0]["visits"], &told[0]["subjects"]),
        (&12.into(), &12.into(), &"10-19".into())
    );
    assert!(of_kind(&bench.log, "rollup").is_empty());
    assert_eq!(of_kind(&bench.log, "blindness")[0]["flows"], 0, "no total beside it");
    assert_eq!(
        of_kind(&bench.log, "blindness")[0]["told"]["evidence_percent"],
        serde_json::json!({}),
        "12 flows"
    );
    let report = bench.engine.snapshot().report;
    assert_eq!(report.rows.len(), 1);
    let covered: Vec<_> = report.covered.iter().map(|c| (c.group.as_str(), c.category, c.k)).collect();
    assert_eq!(covered, [("lab", "recruitment", 10), ("sales", "recruitment", 10)]);
    // The four of the lab are fewer than ten over the day as well.
    bench.pass(13);
    assert_eq!(of_kind(&bench.log, "group_rollup").len(), 1);
    bench.visit("boss-zhipin", 1, 20..26, 14 * 3600);
    bench.pass(15);
    bench.visit("boss-zhipin", 1, 25..31, 16 * 3600);
    bench.pass(17);
    assert_eq!(of_kind(&bench.log, "group_rollup").len(), 1);
    bench.pass(37);
    let told = of_kind(&bench.log, "group_rollup");
    assert_eq!(
        (told.len(), &told[1]["span"], &told[1]["group"], &told[1]["flows"]),
        (2, &"rest_of_day".into(), &"lab".into(), &12.into())
    );
}

#[test]
fn days_are_those_of_the_charters_zone() {
    let mut bench = Bench::new(recruitment("aggregate"));
    bench.engine.set_zone(TimeZone::get("Asia/Shanghai").unwrap());
    // Noon in London is eight in the evening there: the day is over four hours later.
    for hour in 0..4u32 {
        bench.visit("boss-zhipin", 2, hour * 3 + 1..hour * 3 + 4, u64::from(hour) * 3600 + 5);
        assert!(of_kind(&bench.log, "group_rollup").is_empty(), "{hour}");
        bench.pass(u64::from(hour) + 1);
    }
    assert_eq!(of_kind(&bench.log, "group_rollup").len(), 1);
}

#[test]
fn sealed_sessions_go_to_their_sink_and_nowhere_else() {
    let mut bench = Bench::new(recruitment("sealed"));
    // Level `aggregate` of an event holds where the charter would allow more.
    bench.visit("boss-zhipin", 2, 1..13, 100);
    for subject in 0x7eee_0000..0x7eee_000c {
        let event =
            FlowEvent { level: ObservationLevel::Sealed, ..bench.base("boss-zhipin", 2, subject, 100) };
        bench.engine.event(0, &event);
    }
    let shown = serde_json::to_string(&bench.engine.snapshot()).unwrap();
    bench.pass(2);
    let shown = shown + &serde_json::to_string(&bench.engine.snapshot()).unwrap();
    assert_eq!(bench.engine.counters().sessions, 12);
    bench.engine.stop(&at(2 * HOUR, "2026-11-21T14:00:00Z"), &mut bench.log).unwrap();
    let kept = bench.kept.0.lock().unwrap();
    assert!(kept.len() == 12 && kept.iter().all(|k| k.contains("boss-zhipin")));
    // The number of none of them is anywhere else.
    for subject in 0x7eee_0000u32..0x7eee_000c {
        let number = subject.to_string();
        assert!(kept.iter().any(|k| k.contains(&number)));
        assert!(!shown.contains(&number) && !bench.log.lines.iter().any(|line| line.contains(&number)));
    }
}

#[test]
fn an_aggregate_makes_no_session() {
    let mut bench = Bench::new(recruitment("aggregate"));
    for subject in 1..13 {
        let event =
            FlowEvent { level: ObservationLevel::Sealed, ..bench.base("boss-zhipin", 2, subject, 100) };
        bench.engine.event(0, &event);
    }
    bench.pass(3);
    assert_eq!((bench.engine.counters().sessions, bench.engine.counters().clamped), (0, 12));
    assert!(bench.kept.0.lock().unwrap().is_empty());
}

#[test]
fn uploads_are_told_of_those_who_uploaded_and_large_ones_for_leaks_only() {
    let upload = |bench: &mut Bench, key: &str, subjects: std::ops::Range<u32>, bytes: u64| {
        for subject in subjects {
            let event = FlowEvent {
                bytes_up: bytes,
                frames_up: (bytes / 1400) as u32,
                ..bench.base(key, 2, subject, 100)
            };
            bench.engine.event(0, &event);
        }
    };
    let counts = |bench: &Bench| -> Vec<(String, u64)> {
        let records = of_kind(&bench.log, "uploads");
        records
            .iter()
            .map(|r| (r["measure"].as_str().unwrap().to_owned(), r["uploads"].as_u64().unwrap()))
            .collect()
    };
    let mut bench = Bench::new(recruitment("aggregate"));
    bench.visit("boss-zhipin", 2, 1..13, 100);
    upload(&mut bench, "boss-zhipin", 1..10, 300_000);
    bench.pass(1);
    bench.pass(13);
    assert_eq!(of_kind(&bench.log, "group_rollup").len(), 1);
    assert_eq!(counts(&bench), [], "nine of twelve uploaded something");
    upload(&mut bench, "boss-zhipin", 1..12, 300_000);
    bench.pass(14);
    assert_eq!(counts(&bench), [("uploads".to_owned(), 11)]);

    for (purpose, expected) in [("leak", vec![("large_uploads".to_owned(), 12)]), ("bandwidth", vec![])] {
        let mut bench = Bench::new(levels(&[(purpose, "cloud_storage", "aggregate", 10)]));
        upload(&mut bench, "baidu-netdisk", 1..13, 40 << 20);
        bench.pass(1);
        assert_eq!(of_kind(&bench.log, "group_rollup").len(), 1, "{purpose}");
        assert_eq!(counts(&bench), expected, "{purpose}");
    }
}

#[test]
fn shares_stand_where_numbers_would_be_about_few() {
    let mut bench = Bench::new(levels(&[("bandwidth", "unknown", "aggregate", 10)]));
    for subject in 1..31 {
        let unnamed = FlowEvent {
            service: crate::vocab::ServiceId::NONE,
            category: Category::Unknown,
            evidence: Evidence::None,
            reason: Some(if subject == 1 { Reason::Tunnel } else { Reason::EchOuter }),
            ..bench.base("steam", 2, subject, 100)
        };
        bench.engine.event(0, &unnamed);
    }
    bench.pass(1);
    let record = &of_kind(&bench.log, "group_rollup")[0];
    // One of 30 can't be told apart from none; of 120 it would be 0.8.
    assert_eq!(
        (&record["reasons_percent"], &record["blocked_percent"]),
        (&serde_json::json!({}), &serde_json::Value::Null)
    );
    let blindness = &of_kind(&bench.log, "blindness")[0];
    assert_eq!(
        (&blindness["told"]["reasons_percent"], &blindness["reasons"]),
        (&record["reasons_percent"], &serde_json::json!({}))
    );
}

#[test]
fn rules_tell_the_size_of_what_enough_people_did() {
    let mut bench = Bench::new(recruitment("aggregate"));
    bench.policy(2, recruitment("aggregate"), &rule("boss", "\"recruitment\"", "block", "shadow"));
    let hits = |bench: &Bench| {
        let hits = &bench.engine.snapshot().rules[0];
        (hits.flows, hits.rounded)
    };
    let visit = |bench: &mut Bench, subjects: std::ops::Range<u32>| {
        for subject in subjects {
            let event = FlowEvent { epoch: 2, ..bench.base("boss-zhipin", 2, subject, 100) };
            bench.engine.event(0, &event);
        }
    };
    visit(&mut bench, 1..10);
    bench.pass(1);
    assert_eq!(hits(&bench), (0, true));
    visit(&mut bench, 1..13);
    assert_eq!(hits(&bench), (0, true), "not while the hour goes on");
    bench.pass(2);
    assert_eq!(hits(&bench), (10, true), "of 21");
    for _ in 0..8 {
        visit(&mut bench, 1..13);
    }
    bench.pass(3);
    assert_eq!(hits(&bench), (100, true), "of 117");
}

#[test]
fn rules_wait_for_enough_people_each_time() {
    let mut bench = Bench::new(recruitment("aggregate"));
    bench.policy(2, recruitment("aggregate"), &rule("boss", "\"recruitment\"", "block", "shadow"));
    let flows = |bench: &Bench| bench.engine.snapshot().rules[0].flows;
    assert!(bench.engine.snapshot().rules[0].rounded, "before anybody came");
    let visit = |bench: &mut Bench, subjects: std::ops::Range<u32>| {
        for subject in subjects {
            let event = FlowEvent { epoch: 2, ..bench.base("boss-zhipin", 2, subject, 100) };
            bench.engine.event(0, &event);
        }
    };
    visit(&mut bench, 1..13);
    bench.pass(1);
    assert_eq!(flows(&bench), 10);
    for _ in 0..200 {
        visit(&mut bench, 1..2);
    }
    bench.pass(2);
    assert_eq!(flows(&bench), 10, "one person's");
    visit(&mut bench, 1..13);
    bench.pass(3);
    assert_eq!(flows(&bench), 100, "of 224");
}

#[test]
fn how_many_events_there_were_is_told_when_the_hour_is_over() {
    let mut bench = Bench::new(recruitment("aggregate"));
    let events = |bench: &Bench| bench.engine.snapshot().counters.events;
    bench.visit("boss-zhipin", 2, 1..3, 100);
    assert_eq!(events(&bench), 0);
    bench.pass(1);
    assert_eq!(events(&bench), bench.engine.counters().events);
    assert!(events(&bench) >= 2);
}

#[test]
fn shares_have_steps_of_ten_flows() {
    use super::percent;
    let cases = [
        ((1, 99), None),
        ((0, 0), None),
        ((1, 100), Some(0)),
        ((5, 100), Some(10)),
        ((94, 100), Some(90)),
        ((999, 999), Some(100)),
        ((4, 1000), Some(0)),
        ((5, 1000), Some(1)),
        ((u64::MAX, u64::MAX), Some(100)),
    ];
    for ((part, all), expected) in cases {
        assert_eq!(percent(part, all), expected, "{part} of {all}");
    }
}

#[test]
fn numbers_of_groups_follow_their_names() {
    let mut bench = Bench::new(recruitment("aggregate"));
    bench.visit("boss-zhipin", 2, 1..7, 100);
    // A group is new and comes before the others.
    let names = ["board", "lab", "sales"].map(str::to_owned);
    let levels = levels(&[("recruitment", "recruitment", "aggregate", 10)]);
    let policy = Policy { levels, groups: names[1..].to_vec().into(), ..super::super::tests::policy(2) };
    bench.engine.set_policy(policy, &at(0, "2026-11-21T12:00:00Z"), &mut bench.log);
    for subject in 7..13 {
        let event = FlowEvent { epoch: 2, ..bench.base("boss-zhipin", 2, subject, 100) };
        bench.engine.event(0, &event);
    }
    bench.pass(1);
    let told = of_kind(&bench.log, "group_rollup");
    assert_eq!((told.len(), &told[0]["group"], &told[0]["flows"]), (1, &"sales".into(), &12.into()));
    let _ = (service("steam"), EventKind::Ended);
}
