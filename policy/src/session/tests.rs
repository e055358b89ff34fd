use super::*;
use crate::vocab::{Action, AppProto, Evidence, ObservationLevel, ServiceId};

const S: u64 = 1_000_000_000;
const KEY: TraceKey = TraceKey { subject: SubjectId(7), category: Category::Recruitment, service: 3 };
const TERMS: Terms = Terms { group: GroupId(1), k: 10, uploads: true, large: false, sealed: Purposes::NONE };
const SEALED: Terms = Terms { sealed: Purposes::one(crate::vocab::Purpose::Leak), ..TERMS };

/// An event at a second, about so many seconds before it.
fn event(at_s: u64, span_s: u64, kind: EventKind, up: u64, down: u64) -> FlowEvent {
    FlowEvent {
        seq: 0,
        mono_ns: at_s * S,
        bytes_up: up + up.div_ceil(1448) * 66,
        bytes_down: down,
        frames_up: up.div_ceil(1448) as u32,
        frames_down: down.div_ceil(1448) as u32,
        duration_ms: 0,
        service: ServiceId(1),
        subject: KEY.subject,
        group: GroupId(1),
        epoch: 1,
        span_ds: (span_s * 10) as u16,
        quiet_ds: 0,
        kind,
        app: Some(AppProto::Tls),
        evidence: Evidence::Sni,
        reason: None,
        category: KEY.category,
        action: Action::Allow,
        level: ObservationLevel::Aggregate,
        upload_host: false,
    }
}

/// Gives all events to new traces; sums, and what was over until the end of `until_s`.
fn play(terms: Terms, events: &[FlowEvent], until_s: u64) -> (Noted, Vec<Over>) {
    let (mut traces, mut over, mut sum) = (Traces::new(GAP_NS), Vec::new(), Noted::default());
    for event in events {
        let noted = traces.note(KEY, terms, event, &mut over).unwrap();
        sum.visits += noted.visits;
        sum.active_ms += noted.active_ms;
    }
    traces.sweep(until_s * S, false, &mut over);
    (sum, over)
}

#[test]
fn a_visit_ends_with_half_an_hour_of_silence() {
    let at = |s| event(s, 0, EventKind::Decided, 600, 0);
    for (times, visits) in
        [(&[100, 500, 1000][..], 1), (&[100, 1899], 1), (&[100, 1901], 2), (&[100, 1000, 2700, 9000], 2)]
    {
        let events: Vec<_> = times.iter().map(|s| at(*s)).collect();
        assert_eq!(play(TERMS, &events, 0).0.visits, visits, "{times:?}");
    }
}

#[test]
fn time_is_activity_and_each_moment_counts_once() {
    let progress = |at, span| event(at, span, EventKind::Progress, 3000, 90_000);
    // Two flows at the same time, a pause, one more.
    let events = [
        event(1000, 1, EventKind::Decided, 600, 0),
        progress(1030, 30),
        event(1031, 1, EventKind::Decided, 600, 0),
        progress(1040, 9),
        progress(1060, 30),
        progress(1300, 20),
    ];
    assert_eq!(play(TERMS, &events, 0).0, Noted { visits: 1, active_ms: 81_000 });
    // Kept alive for an hour: no time, and no visit that never ends.
    let mut silent = vec![event(1000, 1, EventKind::Decided, 600, 0)];
    silent.extend((1..120).map(|i| event(1000 + i * 30, 30, EventKind::Progress, 90, 90)));
    silent.push(event(4700, 1, EventKind::Progress, 3000, 9000));
    assert_eq!(play(TERMS, &silent, 0).0, Noted { visits: 2, active_ms: 2000 });
    // A flow that was silent for long and ends does not tell of all that time.
    let late = [event(1000, 0, EventKind::Decided, 600, 0), event(1400, 400, EventKind::Ended, 600, 9000)];
    assert!(play(TERMS, &late, 0).0.active_ms <= 35_000);
}

#[test]
fn uploads_are_bursts_and_told_when_they_are_over() {
    let up = |at, bytes| event(at, 10, EventKind::Progress, bytes, 4000);
    let uploads = |terms, events: &[FlowEvent], until| -> Vec<(u64, u64)> {
        let over = play(terms, events, until).1.into_iter();
        over.filter_map(|o| {
            if let Over::Upload(_, _, u) = o { Some((u.mono_ns / S, u.bytes >> 10)) } else { None }
        })
        .collect()
    };
    let two = [up(1000, 300 << 10), up(1030, 300 << 10), up(1200, 700 << 10), up(1210, 4 << 10)];
    let found = uploads(TERMS, &two, 1300);
    assert_eq!(found.iter().map(|u| u.0).collect::<Vec<_>>(), [1030, 1200]);
    assert!((580..=600).contains(&found[0].1), "{found:?}");
    assert_eq!(uploads(TERMS, &two, 1210).len(), 1, "the second may go on");
    assert!(uploads(Terms { uploads: false, ..TERMS }, &two, 1300).is_empty(), "not what the purpose is for");
    assert!(uploads(TERMS, &[up(1000, 20 << 10), up(1010, 12 << 10)], 1300).is_empty());
}

#[test]
fn only_sealed_makes_sessions() {
    let events = [
        event(1000, 1, EventKind::Decided, 600, 0),
        event(1030, 30, EventKind::Progress, 400 << 10, 9000),
        event(5000, 1, EventKind::Decided, 600, 0),
    ];
    let sessions = |terms, until| -> Vec<Session> {
        let over = play(terms, &events, until).1.into_iter();
        over.filter_map(|o| if let Over::Session(_, _, s) = o { Some(s) } else { None }).collect()
    };
    assert!(sessions(TERMS, 100_000).is_empty());
    let found = sessions(SEALED, 100_000);
    assert_eq!(found.len(), 2);
    let Session { begin_mono_ns, end_mono_ns, flows, active_ms, bytes_down, .. } = found[0];
    assert_eq!(
        (begin_mono_ns / S, end_mono_ns / S, flows, active_ms, bytes_down),
        (999, 1030, 1, 31_000, 9000)
    );
    assert_eq!(found[0].uploads.len(), 1);
    assert_eq!(sessions(SEALED, 5000).len(), 1, "the second goes on");
}

#[test]
fn a_session_ends_with_its_day_and_the_visit_goes_on() {
    let (mut traces, mut over) = (Traces::new(GAP_NS), Vec::new());
    let decided = event(1000, 1, EventKind::Decided, 600, 0);
    assert_eq!(traces.note(KEY, SEALED, &decided, &mut over).unwrap().visits, 1);
    traces.end_sessions(&mut over);
    assert!(matches!(&over[..], [Over::Session(_, _, Session { flows: 1, .. })]), "{over:?}");
    traces.end_sessions(&mut over);
    assert_eq!(over.len(), 1, "there is none any more");
    let progress = event(1030, 30, EventKind::Progress, 400 << 10, 9000);
    assert_eq!(traces.note(KEY, SEALED, &progress, &mut over).unwrap().visits, 0, "it is the same visit");
    traces.sweep(100_000 * S, true, &mut over);
    let sessions = over.iter().filter(|o| matches!(o, Over::Session(..)));
    assert_eq!(sessions.count(), 2);
}

#[test]
fn room_is_bounded_and_comes_back() {
    let (mut traces, mut over) = (Traces::new(GAP_NS), Vec::new());
    let decided = event(1000, 0, EventKind::Decided, 600, 0);
    for i in 0..MAX_TRACES as u32 {
        assert!(
            traces.note(TraceKey { subject: SubjectId(i + 1), ..KEY }, TERMS, &decided, &mut over).is_some()
        );
    }
    assert!(traces.note(TraceKey { service: 9, ..KEY }, TERMS, &decided, &mut over).is_none());
    assert!(traces.note(KEY, TERMS, &decided, &mut over).is_some(), "known ones go on");
    assert_eq!((traces.take_refused(), traces.take_refused()), (1, 0));
    traces.sweep(1000 * S + GAP_NS + 1, false, &mut over);
    assert!(traces.is_empty() && over.is_empty());
}
