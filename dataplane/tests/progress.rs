//! What flows tell while they go on, and of whom, on frames of real clients.

use glassgate_dataplane::classifier::{Classifier, FlowSink, Options, Policy};
use glassgate_dataplane::port::Frame as _;
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_policy::charter::Levels;
use glassgate_policy::flow_event::EventKind;
use glassgate_policy::matrix::{Member, Members};
use glassgate_policy::rules::Rules;
use glassgate_policy::{FlowEvent, GroupId, SignatureTable, SubjectId, Unobserved, VerdictMatrix};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

#[derive(Default)]
struct Events(Vec<FlowEvent>);

impl FlowSink for Events {
    fn event(&mut self, event: &FlowEvent) -> bool {
        self.0.push(*event);
        true
    }
}

fn frames() -> Vec<(Vec<u8>, usize, glassgate_dataplane::port::Link)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/real-clients.pcap");
    let mut reader = CaptureReader::open(&path).unwrap();
    let mut frames = Vec::new();
    while let Some(Ok(frame)) = reader.next() {
        frames.push((frame.bytes().to_vec(), frame.wire_len(), frame.link()));
    }
    frames
}

/// Passes all frames, so long apart, with what `members` makes of a number for each of the two addresses.
fn pass(
    step_ns: u64,
    expire: bool,
    levels: &Levels,
    members: impl FnOnce(Members) -> Members,
) -> Vec<FlowEvent> {
    let compiled = glassgate_policy::compile::compile(&[], &Default::default()).unwrap();
    let table = Arc::new(SignatureTable::from_bytes(&compiled.bytes).unwrap());
    let frames = frames();
    let member = |n| Member { group: GroupId(1), subject: SubjectId(n) };
    let both = [("127.0.0.1", 70), ("::1", u32::MAX)];
    let all = Members::new(both.map(|(ip, n)| (ip.parse::<IpAddr>().unwrap(), member(n))));
    let matrix: VerdictMatrix =
        Rules::default().matrix(&table, 2, u64::MAX, levels, &Default::default()).of_members(members(all));
    let policy = Policy { table, matrix: Arc::new(matrix) };
    let mut classifier = Classifier::new(Options::default(), policy, Events::default(), 0);
    for (i, (bytes, wire_len, link)) in frames.iter().enumerate() {
        let now = (i as u64 + 1) * step_ns;
        classifier.frame(bytes, *wire_len, *link, i as u64 + 1, now);
        if expire {
            classifier.expire(now, 1000);
        }
    }
    classifier.finish();
    classifier.sink.0
}

fn carried(events: &[FlowEvent]) -> u64 {
    events.iter().map(|e| e.bytes_up + e.bytes_down).sum()
}

#[test]
fn events_carry_the_number_of_their_subject_if_there_is_one() {
    let counts = Levels::counts(2);
    let events = pass(100_000, false, &counts, |members| members);
    let of_somebody = events.iter().filter(|e| e.group == GroupId(1)).count();
    assert!(of_somebody > 10);
    for number in [70, u32::MAX] {
        assert!(events.iter().any(|e| e.subject == SubjectId(number)), "{number}");
    }
    for event in &events {
        assert_eq!(event.group == GroupId(1), event.subject != SubjectId::NOBODY, "{event:?}");
    }
    let blind = pass(100_000, false, &counts, |members| members.without_subjects(|_| false));
    assert_eq!(blind.iter().filter(|e| e.group == GroupId(1)).count(), of_somebody);
    assert!(blind.iter().all(|e| e.subject == SubjectId::NOBODY));
    assert!(pass(100_000, false, &counts, |_| Members::default()).iter().all(|e| e.group == GroupId(0)));
}

#[test]
fn flows_that_go_on_tell_of_themselves_and_nothing_twice() {
    // Three seconds between two frames: flows of twenty frames last for a minute.
    let counts = Levels::counts(2);
    let silent = pass(3_000_000_000, false, &counts, |members| members);
    let events = pass(3_000_000_000, true, &counts, |members| members);
    let of = |kind| events.iter().filter(|e| e.kind == kind).count();
    assert!(of(EventKind::Progress) > 3, "{}", of(EventKind::Progress));
    assert!(silent.iter().all(|e| e.kind != EventKind::Progress));
    assert_eq!(of(EventKind::Decided), of(EventKind::Ended), "each flow begins and ends once");
    // Idle flows end sooner where time passes, and begin again: bytes are the same whatever the flow.
    assert_eq!(carried(&events), carried(&silent));
    for event in events.iter().filter(|e| e.kind == EventKind::Progress) {
        assert!(event.frames_up + event.frames_down > 0, "there is something to tell: {event:?}");
        assert!(event.quiet_ds <= event.span_ds && event.span_ds <= 400, "{event:?}");
    }
    let nothing = Levels::nothing(2, Unobserved::NoCharter);
    assert!(pass(3_000_000_000, true, &nothing, |members| members).is_empty());
}
