//! Plays scenes to the classifier and judges what it says of them.

use crate::scene::Scene;
use crate::table::{Expect, Row};
use crate::wire::Family;
use glassgate_dataplane::classifier::{Classifier, FlowSink, FlowSummary, NameSeen, Options, Policy};
use glassgate_dataplane::counters::LcoreCounters;
use glassgate_dataplane::defrag;
use glassgate_dataplane::flow::FlowId;
use glassgate_dataplane::parse::ParseOptions;
use glassgate_dataplane::port::{BURST, Burst, Frame, Link};
use glassgate_policy::{Action, Category, Evidence, ObservationLevel, Reason, Verdict, VerdictMatrix};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

/// A name that the classifier told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) name: String,
    pub(crate) candidate: bool,
    /// Told for those who look at captures: it stood where a name would, and is no label.
    pub(crate) claim: bool,
}

/// A flow that ended, with all names told of it.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) summary: FlowSummary,
    pub(crate) told: Vec<Told>,
}

impl Ended {
    /// The name that the flow carries in the end.
    pub(crate) fn label(&self) -> Option<&str> {
        let named = self.summary.evidence != Evidence::None;
        self.told.iter().find(|t| named && !t.candidate && !t.claim).map(|t| t.name.as_str())
    }
}

/// Keeps what the classifier tells.
#[derive(Default)]
pub(crate) struct Recorder {
    open: HashMap<FlowId, Vec<Told>>,
    pub(crate) ended: Vec<Ended>,
}

impl FlowSink for Recorder {
    const NAMES: bool = true;

    fn named(&mut self, flow: FlowId, seen: &NameSeen<'_>) {
        let told = Told { name: seen.name.to_owned(), candidate: seen.candidate, claim: seen.claim };
        self.open.entry(flow).or_default().push(told);
    }

    fn ended(&mut self, flow: FlowId, summary: &FlowSummary) {
        let told = self.open.remove(&flow).unwrap_or_default();
        self.ended.push(Ended { summary: *summary, told });
    }
}

/// How frames are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One at a time.
    Single,
    /// In bursts: whatever arrives within a few milliseconds.
    Burst,
    /// One at a time, under a policy that drops whatever it can.
    Dropping,
}

struct Outcome {
    ended: Vec<Ended>,
    counters: LcoreCounters,
    frames: usize,
    dropped: usize,
    /// Flows and slots of the slab that are left when all has ended.
    left: (usize, usize),
}

struct Bytes<'a>(&'a [u8]);

impl Frame for Bytes<'_> {
    fn bytes(&self) -> &[u8] {
        self.0
    }
}

/// A classifier as small as it gets, so that limits are near and a new one for each scene is cheap.
pub(crate) fn classifier<S: FlowSink>(look_into_tunnels: bool, action: Action, sink: S) -> Classifier<S> {
    let options = Options {
        flows: 64,
        slab: 16,
        hints: 64,
        quic_ids: 16,
        defrag: defrag::Options { datagrams: 16, bytes: 4096, ..defrag::Options::default() },
        parse: if look_into_tunnels { ParseOptions::ONE_TUNNEL } else { ParseOptions::default() },
        ..Options::default()
    };
    let verdict = Verdict { action, level: ObservationLevel::Aggregate };
    let policy = Policy { table: crate::signatures(), matrix: Arc::new(VerdictMatrix::uniform(1, verdict)) };
    Classifier::new(options, policy, sink, 0)
}

fn play(scene: &Scene, frames: &[(u64, Vec<u8>)], way: Way) -> Outcome {
    let action = if way == Way::Dropping { Action::Block } else { Action::Allow };
    let mut classifier = classifier(scene.look_into_tunnels, action, Recorder::default());
    let (mut dropped, mut number, mut now) = (0, 1, 0);
    let size = if way == Way::Burst { BURST } else { 1 };
    let mut rest = frames;
    while let Some((at, _)) = rest.first() {
        let same = rest.iter().take(size).take_while(|(t, _)| t - at < 20_000_000).count();
        let (batch, later) = rest.split_at(same);
        rest = later;
        // Timers run also while nothing arrives.
        while now + 1_000_000_000 < *at {
            now += 1_000_000_000;
            classifier.expire(now, 1000);
        }
        now = *at;
        if way == Way::Burst {
            let mut burst = Burst::default();
            for (_, frame) in batch {
                assert!(burst.push(Bytes(frame)).is_ok(), "a burst holds {BURST} frames");
            }
            dropped += classifier.burst(&burst, number, now).count_ones() as usize;
        } else {
            let frame = &batch[0].1;
            let action = classifier.frame(frame, frame.len(), Link::Ethernet, number, now);
            dropped += usize::from(action == Action::Block);
        }
        number += batch.len() as u64;
    }
    classifier.finish();
    let left = (classifier.flows(), classifier.slab_fill().0);
    let counters = classifier.counters.clone();
    Outcome {
        ended: std::mem::take(&mut classifier.sink.ended),
        counters,
        frames: frames.len(),
        dropped,
        left,
    }
}

/// Plays a row with every seed in every family; says what went wrong.
pub(crate) fn check(row: &Row, seeds: u64) -> Vec<String> {
    let mut failures = Vec::new();
    for family in row.families() {
        for seed in 0..row.seeds.min(seeds) {
            let mut scene = Scene::new(family, seed);
            (row.build)(&mut scene);
            let frames = scene.frames();
            let mut ways = vec![Way::Single];
            if seed < 50 {
                ways.push(Way::Burst);
            }
            if row.expect.is_ambiguous() {
                ways.push(Way::Dropping);
            }
            for way in ways {
                let outcome = play(&scene, &frames, way);
                if let Err(wrong) = judge(row, &scene, &outcome, way) {
                    failures.push(failure(row, family, seed, way, &wrong, &outcome));
                    if failures.len() >= 3 {
                        return failures;
                    }
                }
            }
        }
    }
    failures
}

fn failure(row: &Row, family: Family, seed: u64, way: Way, wrong: &str, outcome: &Outcome) -> String {
    let mut text = format!("{} {} ({family:?}, seed {seed}, {way:?}): {wrong}", row.id, row.title);
    for flow in outcome.ended.iter().take(3) {
        let (summary, told) = (&flow.summary, &flow.told);
        let _ = write!(
            text,
            "\n      {} {:?} reason {:?} told {told:?}",
            summary.tuple, summary.evidence, summary.reason
        );
    }
    text
}

/// Holds what came of a scene against what its row says, and against what holds for every row.
fn judge(row: &Row, scene: &Scene, outcome: &Outcome, way: Way) -> Result<(), String> {
    conserved(outcome)?;
    no_wrong_name(scene, outcome)?;
    if way != Way::Dropping && outcome.dropped > 0 {
        return Err(format!("{} frames dropped", outcome.dropped));
    }
    let Some(first) = flow_of(scene, outcome, 0) else {
        return match row.expect {
            Expect::Reason(reason) if counted(outcome, reason) => Ok(()),
            _ => Err("the flow is missing".into()),
        };
    };
    expected(row.expect, first, scene, outcome)?;
    if way == Way::Dropping && first.summary.verdict != Verdict::FAIL_OPEN {
        return Err(format!("an ambiguous flow gets {:?}", first.summary.verdict));
    }
    if matches!(row.expect, Expect::Name(_)) {
        for other in 1..scene.flows.len() {
            let names = &scene.flows[other].names;
            let label = flow_of(scene, outcome, other).and_then(Ended::label);
            if !names.is_empty() && label.is_none() {
                return Err(format!("flow {other} has no name where {names:?} is right"));
            }
        }
    }
    Ok(())
}

/// The laws of conservation: every frame is of a flow or counted otherwise, every flow has a name or a reason, nothing stays
/// behind.
fn conserved(outcome: &Outcome) -> Result<(), String> {
    let counters = &outcome.counters;
    let sum = |family: &[u64]| family.iter().sum::<u64>();
    let opened = sum(&counters.flows_opened);
    let ended = sum(&counters.flows_named) + sum(&counters.flows_unnamed);
    if opened != ended || opened != outcome.ended.len() as u64 {
        return Err(format!("{opened} flows opened, {ended} counted, {} told", outcome.ended.len()));
    }
    let frames = sum(&counters.flow_frames)
        + sum(&counters.opaque_frames)
        + sum(&counters.tunnel_frames)
        + sum(&counters.malformed_frames)
        + sum(&counters.fragment_frames)
        + sum(&counters.unkept_frames);
    if frames != outcome.frames as u64 {
        return Err(format!("{} frames, {frames} counted", outcome.frames));
    }
    if outcome.left != (0, 0) {
        return Err(format!("{:?} flows and slots left at the end", outcome.left));
    }
    let both =
        outcome.ended.iter().find(|e| (e.summary.evidence == Evidence::None) != e.summary.reason.is_some());
    match both {
        Some(flow) => Err(format!("neither or both of name and reason: {}", flow.summary.tuple)),
        None => Ok(()),
    }
}

fn no_wrong_name(scene: &Scene, outcome: &Outcome) -> Result<(), String> {
    for flow in &outcome.ended {
        let Some(label) = flow.label() else { continue };
        let truth = (0..scene.flows.len()).find(|i| is_flow(scene, *i, flow)).map(|i| &scene.flows[i].names);
        if truth.is_none_or(|names| names.first().is_none_or(|name| name != label)) {
            return Err(format!("WRONG NAME {label} where {truth:?} is right"));
        }
    }
    Ok(())
}

fn is_flow(scene: &Scene, index: usize, flow: &Ended) -> bool {
    let ends = |e: glassgate_policy::Endpoint| std::net::SocketAddr::new(e.ip, e.port);
    let wanted = &scene.flows[index];
    let tuple = &flow.summary.tuple;
    (ends(tuple.client), ends(tuple.server)) == (wanted.client, wanted.server)
}

fn flow_of<'a>(scene: &Scene, outcome: &'a Outcome, index: usize) -> Option<&'a Ended> {
    outcome.ended.iter().find(|flow| is_flow(scene, index, flow))
}

fn counted(outcome: &Outcome, reason: Reason) -> bool {
    let tunnels = outcome.counters.tunnel_frames.iter().sum::<u64>();
    outcome.counters.malformed_frames[reason as usize] > 0
        || outcome.counters.datagrams_refused[reason as usize] > 0
        || reason == Reason::Tunnel && tunnels == outcome.frames as u64
        || outcome.ended.iter().any(|flow| flow.summary.reason == Some(reason))
}

fn expected(expect: Expect, flow: &Ended, scene: &Scene, outcome: &Outcome) -> Result<(), String> {
    let summary = &flow.summary;
    let named = |evidence: Evidence| {
        if summary.evidence != evidence || flow.label().is_none() {
            return Err(format!("{:?} in place of {evidence:?}", summary.evidence));
        }
        if outcome.ended.iter().filter(|e| e.summary.tuple == summary.tuple).count() > 1 {
            return Err("the flow was taken for two".into());
        }
        Ok(())
    };
    let check = |holds: bool, wrong: &str| if holds { Ok(()) } else { Err(wrong.to_owned()) };
    let unnamed = |reason: Reason| {
        check(summary.evidence == Evidence::None, "a name where there should be none")?;
        check(summary.reason == Some(reason), &format!("reason {:?} in place of {reason}", summary.reason))
    };
    let told = |name: &String| flow.told.iter().any(|t| t.name == *name && !t.claim);
    match expect {
        Expect::Name(evidence) => named(evidence),
        Expect::NameWithEch => {
            named(Evidence::Sni)?;
            check(summary.ech, "no label `ech`")
        }
        Expect::FirstOfSeveral(evidence) => {
            named(evidence)?;
            check(summary.multi_name && scene.flows[0].names.iter().all(told), "not told of all names")
        }
        Expect::NameIn(evidence, category) => {
            named(evidence)?;
            check(summary.category == category, &format!("category {}", summary.category))
        }
        Expect::Reason(reason) => {
            unnamed(reason)?;
            check(flow.told.iter().all(|t| t.claim && scene.shown.contains(&t.name)), "names were told")
        }
        Expect::Ambiguous(reason) => {
            unnamed(reason)?;
            check(scene.candidates.iter().all(told), "not all candidates were told")?;
            check(
                flow.told.iter().all(|t| t.claim || scene.candidates.contains(&t.name)),
                "candidates that nobody sent",
            )?;
            check(summary.category == Category::Unknown, "a category by one of the candidates")
        }
        Expect::AmbiguousUnread(reason) => unnamed(reason),
        Expect::AmbiguousOne(reason) => {
            unnamed(reason)?;
            check(told(&scene.flows[0].names[0]), "the true name is no candidate")
        }
    }
}
