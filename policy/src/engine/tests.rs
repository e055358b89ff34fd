use super::*;
use crate::audit::{BootId, MemoryLog, WallQuality};
use crate::builtin;
use crate::charter::Levels;
use crate::reason::Reason;
use crate::rules::{Declared, RuleFile};
use crate::vocab::{Action, AppProto, GroupId, SubjectId};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::LazyLock;

static TABLE: LazyLock<SignatureTable> = LazyLock::new(|| builtin::table().unwrap());

pub(super) const HOUR: u64 = 3_600_000_000_000;

pub(super) fn at(mono_ns: u64, wall: &str) -> Now {
    Now { mono_ns, wall: Some(wall.parse().unwrap()), quality: WallQuality::Synchronized }
}

fn noon() -> Now {
    at(0, "2026-11-21T12:00:00Z")
}

pub(super) fn rules(body: &str) -> Arc<Rules> {
    let file =
        RuleFile::parse("r", format!("version = 1\n{body}").as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    Arc::new(file.bind(&TABLE, &Declared::default(), None).unwrap().0)
}

pub(super) fn policy(epoch: u64) -> Policy {
    let (rules, moment, levels) = (Arc::default(), Moment::default(), Arc::new(Levels::counts(4)));
    Policy { epoch, table: TABLE.clone(), rules, moment, levels, groups: Arc::default() }
}

/// An engine without a policy.
pub(super) fn start_log() -> (Engine, MemoryLog) {
    let mut log = MemoryLog::new(BootId(1));
    (Engine::start(EngineOptions::default(), &noon(), &mut log), log)
}

fn start() -> (Engine, MemoryLog) {
    let (mut engine, mut log) = start_log();
    engine.set_policy(policy(1), &noon(), &mut log);
    (engine, log)
}

pub(super) fn service(key: &str) -> (ServiceId, Category) {
    let id = TABLE.service_named(key).expect(key);
    (id, TABLE.service(id).unwrap().category)
}

pub(super) fn event(seq: u64, key: &str) -> FlowEvent {
    let (service, category) = service(key);
    FlowEvent {
        seq,
        mono_ns: seq,
        bytes_up: 100,
        bytes_down: 1000,
        frames_up: 1,
        frames_down: 2,
        duration_ms: 5,
        service,
        subject: SubjectId::NOBODY,
        group: GroupId(0),
        epoch: 1,
        span_ds: 0,
        quiet_ds: 0,
        kind: EventKind::Decided,
        app: Some(AppProto::Tls),
        evidence: Evidence::Sni,
        reason: None,
        category,
        action: Action::Allow,
        level: ObservationLevel::Aggregate,
        upload_host: false,
    }
}

fn unnamed(seq: u64, reason: Reason) -> FlowEvent {
    FlowEvent {
        service: ServiceId::NONE,
        category: Category::Unknown,
        evidence: Evidence::None,
        reason: Some(reason),
        ..event(seq, "steam")
    }
}

fn records(log: &MemoryLog) -> Vec<Value> {
    log.lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect()
}

pub(super) fn of_kind(log: &MemoryLog, kind: &str) -> Vec<Value> {
    records(log).into_iter().filter(|r| r["event_type"] == kind).collect()
}

#[test]
fn adds_flows_up_without_knowing_any() {
    let (mut engine, mut log) = start();
    engine.event(0, &event(1, "steam"));
    engine.event(0, &FlowEvent { kind: EventKind::Progress, ..event(2, "steam") });
    engine.event(0, &FlowEvent { kind: EventKind::Ended, ..event(3, "steam") });
    engine.event(0, &FlowEvent { action: Action::Block, ..event(4, "steam") });
    engine.event(0, &unnamed(5, Reason::EchOuter));
    engine.not_looked_at(7);
    engine.stop(&at(5, "2026-11-21T12:30:00Z"), &mut log).unwrap();

    let kinds: Vec<_> = records(&log).iter().map(|r| r["event_type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["started", "policy", "rollup", "rollup", "blindness", "stopped"]);
    let steam = &of_kind(&log, "rollup")[1];
    assert_eq!(steam["service"], "steam");
    assert_eq!(steam["category"], "games");
    assert_eq!((&steam["flows"], &steam["flows_blocked"]), (&2.into(), &1.into()));
    assert_eq!(steam["flow"]["bytes_toserver"], 400);
    assert_eq!(steam["flow"]["pkts_toclient"], 8);
    assert_eq!(steam["evidence"], serde_json::json!({"sni": 2}));
    assert_eq!(steam["app_proto"], serde_json::json!({"tls": 2}));
    assert_eq!((&steam["level"], &steam["complete"]), (&"aggregate".into(), &false.into()));
    assert_eq!(steam["start"], "2026-11-21T12:00:00Z");
    let blind = &of_kind(&log, "blindness")[0];
    assert_eq!((&blind["flows"], &blind["not_looked_at"]), (&3.into(), &7.into()));
    assert_eq!(blind["reasons"], serde_json::json!({"ech_outer": 1}));
}

#[test]
fn an_hour_ends_with_the_wall_clocks_hour_and_by_the_monotonic_clock() {
    let mut log = MemoryLog::new(BootId(1));
    let minute = HOUR / 60;
    let begin = at(1000 * minute, "2026-11-21T12:40:00Z");
    let mut engine = Engine::start(EngineOptions::default(), &begin, &mut log);
    let blindness = |log: &MemoryLog| of_kind(log, "blindness").len();
    // The wall clock is set back by years, and forth: neither ends the hour.
    for (mono, wall) in [(1010, "1999-01-01T00:00:00Z"), (1019, "2038-01-19T03:14:07Z")] {
        engine.tick(&at(mono * minute, wall), &mut log).unwrap();
        assert_eq!(blindness(&log), 0);
    }
    engine.tick(&at(1020 * minute, "2026-11-21T13:00:00Z"), &mut log).unwrap();
    assert_eq!(blindness(&log), 1);
    engine.tick(&at(1079 * minute, "2026-11-21T13:59:00Z"), &mut log).unwrap();
    assert_eq!(blindness(&log), 1);
    let no_wall = Now { mono_ns: 1080 * minute, wall: None, quality: WallQuality::Unknown };
    engine.tick(&no_wall, &mut log).unwrap();
    engine.tick(&Now { mono_ns: 1139 * minute, ..no_wall }, &mut log).unwrap();
    assert_eq!(blindness(&log), 2);
    engine.tick(&Now { mono_ns: 1140 * minute, ..no_wall }, &mut log).unwrap();
    assert_eq!(blindness(&log), 3);
    assert_eq!(engine.snapshot().hours.len(), 3);
}

#[test]
fn protected_categories_leave_no_trace() {
    let (mut engine, mut log) = start();
    for (seq, key) in
        ["banks-de", "unions-fr", "health-cn", "dating", "faith-other", "law-gb"].iter().enumerate()
    {
        engine.event(0, &event(seq as u64 + 1, key));
    }
    assert_eq!((engine.counters().not_for_us, engine.snapshot().not_looked_at), (6, 6));
    let shown = serde_json::to_string(&engine.snapshot()).unwrap();
    engine.stop(&noon(), &mut log).unwrap();
    for text in log.lines.iter().chain([&shown]) {
        assert!(!text.contains("protected") && !text.contains("banks") && !text.contains("dating"), "{text}");
    }
    assert!(of_kind(&log, "rollup").is_empty());
}

#[test]
fn a_weak_hint_counts_for_nobody() {
    let (mut engine, mut log) = start();
    for (seq, evidence) in [Evidence::DnsHint, Evidence::Dns, Evidence::Address].iter().enumerate() {
        engine.event(0, &FlowEvent { evidence: *evidence, ..event(seq as u64 + 1, "boss-zhipin") });
    }
    // What says nothing about people may be known by a hint.
    engine.event(0, &FlowEvent { evidence: Evidence::DnsHint, ..event(4, "nordvpn") });
    engine.stop(&noon(), &mut log).unwrap();
    let rollups = of_kind(&log, "rollup");
    let counted: Vec<_> =
        rollups.iter().map(|r| (r["category"].as_str().unwrap(), r["flows"].as_u64().unwrap())).collect();
    assert_eq!(counted, [("unknown", 3), ("tunnel", 1)]);
    assert_eq!(of_kind(&log, "blindness")[0]["too_weak"], 3);
    assert!(!log.lines.iter().any(|l| l.contains("zhipin")));
}

/// A service without a name is one that its protocol or its software gave away: never one about people.
#[test]
fn a_service_may_be_known_without_a_name() {
    let (mut engine, mut log) = start();
    let by_protocol =
        |seq, key| FlowEvent { evidence: Evidence::None, reason: Some(Reason::NoSni), ..event(seq, key) };
    engine.event(0, &by_protocol(1, "encrypted-dns"));
    engine.event(0, &FlowEvent { evidence: Evidence::Address, ..event(2, "quad9") });
    engine.event(0, &by_protocol(3, "boss-zhipin"));
    assert_eq!(engine.counters().bad, 1);
    engine.stop(&noon(), &mut log).unwrap();
    let services: Vec<_> =
        of_kind(&log, "rollup").iter().map(|r| r["service"].as_str().unwrap().to_owned()).collect();
    assert_eq!(services, ["encrypted-dns", "quad9"]);
}

#[test]
fn no_more_is_written_than_a_charter_allows() {
    let (mut engine, mut log) = start();
    engine.event(
        0,
        &FlowEvent { level: ObservationLevel::Sealed, subject: SubjectId(77), ..event(1, "steam") },
    );
    engine.event(0, &FlowEvent { level: ObservationLevel::None, ..event(2, "steam") });
    assert_eq!((engine.counters().clamped, engine.counters().not_for_us), (1, 1));
    engine.stop(&noon(), &mut log).unwrap();
    assert_eq!(of_kind(&log, "rollup")[0]["flows"], 1);
    assert!(!of_kind(&log, "rollup")[0].to_string().contains("77"));
}

#[test]
fn what_contradicts_itself_is_counted_and_left_out() {
    let (mut engine, mut log) = start();
    let steam = event(1, "steam");
    for (seq, bad) in [
        FlowEvent { reason: Some(Reason::NoSni), ..steam },
        FlowEvent { evidence: Evidence::None, ..steam },
        FlowEvent { category: Category::Music, ..steam },
        FlowEvent { service: ServiceId(1 << 30), ..steam },
    ]
    .iter()
    .enumerate()
    {
        engine.event(0, &FlowEvent { seq: seq as u64 + 1, ..*bad });
    }
    engine.event_bytes(0, &[0xff; FlowEvent::SIZE]);
    assert_eq!(engine.counters().bad, 5);
    engine.tick(&noon(), &mut log).unwrap();
    let gaps = of_kind(&log, "gap");
    assert_eq!((&gaps[0]["cause"], &gaps[0]["events"]), (&"bad_events".into(), &5.into()));
    engine.tick(&noon(), &mut log).unwrap();
    assert_eq!(of_kind(&log, "gap").len(), 1, "told once");
}

#[test]
fn missing_numbers_are_a_gap_per_lcore() {
    let (mut engine, mut log) = start();
    for (lcore, seq) in [(0, 1), (1, 100), (0, 2), (1, 101), (0, 6), (1, 103)] {
        engine.event(lcore, &event(seq, "steam"));
    }
    engine.event(0, &event(1, "steam"));
    engine.event(MAX_LCORES + 1, &event(9, "steam"));
    assert_eq!((engine.counters().missing, engine.counters().restarts), (4, 1));
    engine.tick(&noon(), &mut log).unwrap();
    assert_eq!(of_kind(&log, "gap")[0]["events"], 4);
}

#[test]
fn an_hour_goes_on_when_the_table_is_replaced() {
    let (mut engine, mut log) = start();
    engine.event(0, &event(1, "steam"));

    // A table in which services have other numbers.
    let other = {
        let mut text = String::from("service\tcategory\ttitle\tregion\nsteam\tgames\tSteam\tworld\n");
        text += "aaa\tgames\tA\tworld\n";
        let services = crate::source::Source::parse("s", text.as_bytes()).unwrap();
        let head = crate::source::COLUMNS.join("\t");
        let line = |name: &str, key: &str| {
            format!("\n{name}\tsuffix\t{key}\tgames\tsite\tstrong\tm\tCC0-1.0\t2026-11-21")
        };
        let text = head + &line("a.com", "aaa") + &line("steam.com", "steam");
        let names = crate::source::Source::parse("n", text.as_bytes()).unwrap();
        let compiled = crate::compile::compile(&[services, names], &Default::default()).unwrap();
        SignatureTable::from_bytes(&compiled.bytes).unwrap()
    };
    let steam = other.service_named("steam").unwrap();
    assert_ne!(steam, service("steam").0);
    engine.set_policy(Policy { table: other, ..policy(70_000) }, &noon(), &mut log);
    engine.event(0, &FlowEvent { service: steam, epoch: 70_000u64 as u16, ..event(2, "steam") });
    // Still in the ring from before.
    engine.event(0, &FlowEvent { epoch: 69_999u64 as u16, ..event(3, "steam") });
    // From a policy that is not known any more: nobody can say what it allowed to be written.
    for epoch in 70_001..70_005 {
        let moment = Moment::day(Some(jiff::civil::Date::constant(2026, 11, (epoch - 70_000) as i8)));
        engine.set_policy(Policy { moment, ..policy(epoch) }, &noon(), &mut log);
    }
    engine.event(0, &FlowEvent { epoch: 69_999u64 as u16, ..event(4, "steam") });
    assert_eq!(engine.counters().stale, 1);
    engine.stop(&noon(), &mut log).unwrap();
    let rollups = of_kind(&log, "rollup");
    let by_service: Vec<_> =
        rollups.iter().map(|r| (r["service"].as_str(), r["flows"].as_u64().unwrap())).collect();
    assert_eq!(by_service, [(Some("steam"), 3)]);
    assert_eq!(of_kind(&log, "blindness")[0]["not_looked_at"], 1);
    assert_eq!(of_kind(&log, "policy").len(), 6);
}

#[test]
fn what_was_decided_by_policies_that_are_forgotten_is_not_looked_at() {
    let (mut engine, mut log) = start();
    engine.event(0, &event(0, "steam"));
    engine.forget_policies();
    engine.event(0, &event(1, "steam"));
    engine.set_policy(policy(2), &noon(), &mut log);
    // Still in the ring from before.
    engine.event(0, &event(2, "steam"));
    assert_eq!(engine.counters().stale, 2);
    engine.event(0, &FlowEvent { epoch: 2, ..event(3, "steam") });
    assert_eq!((engine.counters().stale, engine.counters().events), (2, 4));
}

#[test]
fn what_was_lost_before_a_successor_came_is_missing() {
    let (mut engine, _) = start();
    engine.expect(0, 7);
    engine.expect(1, 0);
    engine.event(0, &event(9, "steam"));
    engine.event(1, &event(9, "steam"));
    assert_eq!(engine.counters().missing, 2, "of a ring that nothing was taken from, nobody knows");
}

#[test]
fn a_policy_is_recorded_before_it_is_in_force_and_once() {
    let (mut engine, mut log) = start();
    let before = log.lines.len();
    engine.set_policy(policy(2), &noon(), &mut log);
    engine.set_policy(policy(3), &noon(), &mut log);
    assert_eq!(log.lines.len(), before, "only the epoch is new");
    let with_rules = Policy { rules: rules(&rule("a", "\"games\"", "block", "enforce")), ..policy(4) };
    engine.set_policy(with_rules, &noon(), &mut log);
    let record = of_kind(&log, "policy").pop().unwrap();
    assert_eq!((&record["rules"], &record["epoch"]), (&1.into(), &4.into()));
    assert_eq!(record["table"].as_str().unwrap().len(), 64);
}

pub(super) fn rule(name: &str, category: &str, action: &str, state: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nmatch = {{ category = [{category}] }}\naction = \"{action}\"\n\
         state = \"{state}\"\nowner = \"o\"\npurpose = \"bandwidth\"\n"
    )
}

#[test]
fn rules_count_what_they_decide_and_what_they_would() {
    let (mut engine, mut log) = start();
    let body = rule("shadow", "\"games\", \"music\"", "block", "shadow")
        + &rule("enforced", "\"games\"", "block", "enforce")
        + &rule("covered", "\"games\"", "allow", "enforce");
    engine.set_policy(Policy { rules: rules(&body), ..policy(2) }, &noon(), &mut log);
    let in_force = |e: FlowEvent| FlowEvent { epoch: 2, ..e };
    engine.event(0, &in_force(event(1, "steam")));
    engine.event(0, &in_force(FlowEvent { kind: EventKind::Progress, ..event(2, "steam") }));
    engine.event(0, &in_force(event(3, "spotify")));
    // Decided before these rules were there.
    engine.event(0, &event(4, "steam"));
    let hits = |engine: &Engine| -> Vec<(String, u64, u64, Option<u64>)> {
        let rules = engine.snapshot().rules;
        rules.into_iter().map(|r| (r.rule, r.flows, r.bytes, r.last_mono_ns)).collect()
    };
    let expected = [
        ("shadow".to_owned(), 2, 3300, Some(3)),
        ("enforced".to_owned(), 1, 2200, Some(2)),
        ("covered".to_owned(), 0, 0, None),
    ];
    assert_eq!(hits(&engine), expected);

    // A line before them moves them; one of them is changed, one is gone.
    let body = format!("# moved\n{}", rule("shadow", "\"games\", \"music\"", "block", "shadow"))
        + &rule("enforced", "\"games\"", "block", "shadow");
    engine.set_policy(Policy { rules: rules(&body), ..policy(3) }, &at(9, "2026-11-21T12:30:00Z"), &mut log);
    assert_eq!(hits(&engine), [expected[0].clone(), ("enforced".to_owned(), 0, 0, None)]);
    assert_eq!(engine.snapshot().rules[1].since_mono_ns, 9);
}

#[test]
fn the_snapshot_sums_by_category_and_service() {
    let (mut engine, _) = start();
    for (seq, key) in ["steam", "gog", "steam", "spotify"].iter().enumerate() {
        engine.event(0, &event(seq as u64 + 1, key));
    }
    engine.event(0, &unnamed(5, Reason::Tunnel));
    let snapshot = engine.snapshot();
    let categories: Vec<_> = snapshot.categories.iter().map(|c| (c.category, c.totals.flows)).collect();
    assert_eq!(categories, [("games", 3), ("unknown", 1), ("music", 1)]);
    let services: Vec<_> =
        snapshot.services.iter().map(|s| (s.service.as_str(), s.title.as_deref(), s.totals.flows)).collect();
    assert_eq!(
        services,
        [("steam", Some("Steam"), 2), ("gog", Some("GOG"), 1), ("spotify", Some("Spotify"), 1)]
    );
    assert_eq!(snapshot.all.flows, 5);
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(json["reasons"], serde_json::json!({"tunnel": 1}));
    assert_eq!(json["services"][0]["bytes_toclient"], 2000);
}

#[test]
fn counts_of_a_lying_producer_saturate() {
    let (mut engine, mut log) = start();
    for (seq, key) in ["steam", "steam", "gog"].iter().enumerate() {
        engine.event(0, &FlowEvent { bytes_up: u64::MAX, ..event(seq as u64 + 1, key) });
    }
    assert_eq!(engine.snapshot().all.volume.bytes_toserver, u64::MAX);
    engine.stop(&noon(), &mut log).unwrap();
}

#[test]
fn too_many_cells_are_counted_under_their_category() {
    let mut rollup = Rollup::new();
    let e = event(1, "steam");
    let games = OnRecord::new(Category::Games).unwrap();
    for i in 0..crate::rollup::MAX_CELLS as u32 + 100 {
        rollup.add(GroupId(0), games, i + 1, &e);
    }
    assert_eq!((rollup.crowded_out, rollup.cells().count()), (100, crate::rollup::MAX_CELLS + 1));
    assert_eq!(rollup.cells().map(|(_, c)| c.flows).sum::<u64>(), rollup.flows);
}

proptest! {
    /// Whatever comes from the ring: every announced flow is in exactly one of counted, not looked at, bad; nothing
    /// protected and no weak hint is ever counted under its category.
    #[test]
    fn flows_are_conserved(events in proptest::collection::vec((any::<u64>(), proptest::array::uniform32(any::<u8>()), proptest::array::uniform32(any::<u8>()), 0u8..4), 0..60)) {
        let (mut engine, mut log) = start();
        let (mut decided, mut undecodable) = (0, 0);
        for (seq, low, high, tame) in &events {
            let mut bytes = [0u8; FlowEvent::SIZE];
            bytes[..32].copy_from_slice(low);
            bytes[32..].copy_from_slice(high);
            if *tame > 0 {
                // Codes that mean something, in any combination, and services that exist.
                let pick = |n: usize, i: usize| usize::from(high[i]) % n;
                let id = ServiceId(1 + u32::from(high[0]) * 4);
                let real = TABLE.service(id).unwrap();
                bytes = FlowEvent {
                    seq: *seq,
                    service: if *tame > 1 { id } else { ServiceId::NONE },
                    kind: EventKind::ALL[pick(EventKind::ALL.len(), 1)],
                    evidence: Evidence::ALL[pick(Evidence::ALL.len(), 2)],
                    reason: (high[3] % 3 == 0).then(|| Reason::ALL[pick(Reason::ALL.len(), 4)]),
                    category: if *tame > 2 { real.category } else { Category::ALL[pick(Category::ALL.len(), 5)] },
                    level: ObservationLevel::ALL[pick(ObservationLevel::ALL.len(), 6)],
                    group: GroupId(u16::from(high[7]) % 3),
                    bytes_up: u64::from_le_bytes(*low.first_chunk().unwrap()),
                    ..event(1, "steam")
                }
                .to_bytes();
            }
            match FlowEvent::from_bytes(&bytes) {
                Ok(e) => decided += u64::from(e.kind == EventKind::Decided),
                Err(_) => undecodable += 1,
            }
            engine.event_bytes(0, &bytes);
        }
        let bad_decided = engine.counters().bad - undecodable;
        let snapshot = engine.snapshot();
        prop_assert!(snapshot.all.flows + snapshot.not_looked_at <= decided);
        prop_assert!(snapshot.all.flows + snapshot.not_looked_at + bad_decided >= decided);
        let by_service: u64 = snapshot.services.iter().map(|s| s.totals.flows).sum();
        prop_assert!(by_service <= snapshot.all.flows);
        engine.stop(&noon(), &mut log).unwrap();
        for record in of_kind(&log, "rollup") {
            let category = Category::from_word(record["category"].as_str().unwrap()).unwrap();
            prop_assert!(!category.is_protected());
            if category.is_about_people() {
                for (word, _) in record["evidence"].as_object().unwrap() {
                    prop_assert!(Evidence::from_word(word).unwrap().is_in_flow());
                }
            }
        }
    }
}
