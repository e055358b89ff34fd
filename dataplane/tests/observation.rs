//! What leaves the fast path when observation begins and ends, on frames of real clients.

use glassgate_dataplane::classifier::{Classifier, FlowSink, Options, Policy};
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_dataplane::port::{Frame as _, Link};
use glassgate_policy::charter::Levels;
use glassgate_policy::rules::Rules;
use glassgate_policy::{
    FlowEvent, GroupId, ObservationLevel, SignatureTable, Unobserved, Verdict, VerdictMatrix,
};
use std::path::Path;
use std::sync::Arc;

/// Nanoseconds between two frames.
const STEP: u64 = 100_000;

#[derive(Default)]
struct Events(Vec<FlowEvent>);

impl FlowSink for Events {
    fn event(&mut self, event: &FlowEvent) -> bool {
        self.0.push(*event);
        true
    }
}

struct Stored {
    bytes: Vec<u8>,
    wire_len: usize,
    link: Link,
}

fn frames() -> Vec<Stored> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/real-clients.pcap");
    let mut reader = CaptureReader::open(&path).unwrap();
    let mut frames = Vec::new();
    while let Some(Ok(frame)) = reader.next() {
        frames.push(Stored { bytes: frame.bytes().to_vec(), wire_len: frame.wire_len(), link: frame.link() });
    }
    frames
}

fn policy(table: &Arc<SignatureTable>, matrix: VerdictMatrix) -> Policy {
    Policy { table: table.clone(), matrix: Arc::new(matrix) }
}

fn table() -> Arc<SignatureTable> {
    let compiled = glassgate_policy::compile::compile(&[], &Default::default()).unwrap();
    Arc::new(SignatureTable::from_bytes(&compiled.bytes).unwrap())
}

fn counts(table: &SignatureTable) -> VerdictMatrix {
    Rules::default().matrix(table, 2, u64::MAX, &Levels::counts(1), &Default::default())
}

/// Passes all frames, a `STEP` apart, with what happens before each; then ends all flows.
fn pass(
    frames: &[Stored],
    first: Policy,
    mut before: impl FnMut(usize, &mut Classifier<Events>),
) -> Classifier<Events> {
    let mut classifier = Classifier::new(Options::default(), first, Events::default(), 0);
    for (i, frame) in frames.iter().enumerate() {
        before(i, &mut classifier);
        classifier.frame(&frame.bytes, frame.wire_len, frame.link, i as u64 + 1, (i as u64 + 1) * STEP);
    }
    classifier.finish();
    classifier
}

fn carried(events: &[FlowEvent]) -> u64 {
    events.iter().map(|e| e.bytes_up + e.bytes_down).sum()
}

#[test]
fn what_a_flow_carried_before_the_calendar_opened_is_never_told() {
    let (frames, table) = (frames(), table());
    let nothing = policy(&table, VerdictMatrix::uniform(1, Verdict::FAIL_OPEN));
    let all = pass(&frames, policy(&table, counts(&table)), |_, _| {});
    assert!(carried(&all.sink.0) > 10_000, "the frames do make events");
    for opens_at in [frames.len() / 4, frames.len() / 2, frames.len() * 3 / 4] {
        let late = pass(&frames, nothing.clone(), |i, classifier| {
            if i == opens_at {
                classifier.set_policy(policy(&table, counts(&table)));
            }
        });
        let after: usize = frames[opens_at..].iter().map(|f| f.wire_len).sum();
        let told = carried(&late.sink.0);
        assert!(told > 0 && told <= after as u64, "told {told} of {after} bytes");
        let opened_ms = opens_at as u64 * STEP / 1_000_000;
        for event in &late.sink.0 {
            assert!(u64::from(event.duration_ms) <= event.mono_ns / 1_000_000 - opened_ms);
        }
    }
}

#[test]
fn observation_ends_by_itself_and_is_counted() {
    let (frames, table) = (frames(), table());
    let end = frames.len() as u64 / 2 * STEP;
    let matrix = counts(&table).observing(end, |_| Unobserved::NoCharter);
    assert_eq!(
        matrix.verdict(GroupId(0), glassgate_policy::Category::Games, Default::default(), end).level,
        ObservationLevel::Aggregate
    );
    let closed = pass(&frames, policy(&table, matrix), |_, _| {});
    let frames_of_open_hours: usize = frames[..frames.len() / 2].iter().map(|f| f.wire_len).sum();
    let Events(events) = &closed.sink;
    assert!(!events.is_empty() && events.iter().all(|e| e.level != ObservationLevel::None));
    assert!(carried(events) <= frames_of_open_hours as u64, "nothing that came later");
    assert!(closed.counters.unobserved_flows[Unobserved::Decayed as usize] > 0);
}
