//! Flows that are new: from the first frame to the verdict, with a million domains loaded.

use std::sync::Arc;

use anyhow::{Result, ensure};
use glassgate_dataplane::classifier::Classifier;
use glassgate_dataplane::event_ring::Consumer;
use glassgate_dataplane::packet::flag;
use glassgate_policy::SignatureTable;

use crate::frames::{self, Frames, RingSink};
use crate::generator::{Generator, Order};
use crate::measure::{Contestant, Figure, alternate, thread_ns};
use crate::ndpi::{Ndpi, Pass};
use crate::report::{Goal, Report};
use crate::stage::Stage;
use crate::support::hello::Hello;
use crate::support::quic::{Initial, crypto};
use crate::wire::{self, Tuple};

use super::known::{bridge, turns};

/// A day: after it, every flow of the pass before has ended.
const DAY_NS: u64 = 86_400_000_000_000;
/// From one burst to the next.
const STEP_NS: u64 = 10_000;
/// Flows whose frames are mixed with each other's.
const ABREAST: usize = 32;

fn domains(stage: &Stage) -> usize {
    if stage.effort.quick { 1000 } else { 1_000_000 }
}

fn flows(stage: &Stage) -> u32 {
    if stage.effort.quick { 64 } else { 32_768 }
}

/// New TLS flows.
pub(super) fn tls(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let table = frames::signatures(domains(stage))?;
    let (mut mixed, count) = (Frames::default(), flows(stage));
    for group in (0..count).collect::<Vec<_>>().chunks(ABREAST) {
        abreast(&mut mixed, group.iter().map(|n| begin(Tuple::v4, *n)).collect());
    }
    let (ours, theirs) = per_flow(stage, &table, &mixed, count)?;
    let what = "SYN to verdict: five frames a flow, 1 M domains";
    report.figure(what, ours, "ns/flow", Some(Goal::AtMost(500.0)));
    report.number("the same", 1e3 / ours.median, "M flows/s", Some(Goal::AtLeast(2.0)));
    beside(report, ours, 1.0, theirs, "ns/flow", 20.0);
    Ok(())
}

/// QUIC Initials, of one datagram each.
pub(super) fn quic(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let table = frames::signatures(domains(stage))?;
    let (mut initials, count) = (Frames::default(), flows(stage) / 4);
    for n in 0..count {
        initials.push(&initial(n));
    }
    let (ours, theirs) = per_flow(stage, &table, &initials, count)?;
    report.figure("Initial to name", ours, "ns/flow", Some(Goal::AtMost(1500.0)));
    beside(report, ours, 1.0, theirs, "ns/flow", 4.0);
    Ok(())
}

/// What nDPI took for the same, and how many times as fast ours is, which named this part of the flows. Where nDPI names a
/// smaller part it did less, and the ratio says so.
fn beside(
    report: &mut Report,
    ours: Figure,
    part: f64,
    theirs: Option<(Figure, Pass)>,
    unit: &'static str,
    least: impl Into<Option<f64>>,
) {
    let Some((figure, pass)) = theirs else { return };
    let what = format!("libndpi, which names {:.0} of {:.0} flows", pass.named, pass.flows);
    report.figure(what, figure, unit, None);
    let goal = least.into().map(Goal::AtLeast);
    let fewer = pass.named / pass.flows.max(1.0) < part - 0.001;
    let what = if fewer { "speed against libndpi, which names fewer flows" } else { "speed against libndpi" };
    report.number(what, figure.median / ours.median, "x", goal);
}

/// Whole captures, made here: hellos, QUIC, and a mix as of web pages.
pub(super) fn captures(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let table = frames::signatures(domains(stage))?;
    // What must be many times as fast as nDPI; captures that were named have no goal.
    let goals = [Some(9.0), Some(20.0), Some(4.0)].into_iter().chain(std::iter::repeat(None));
    for (Set { name, frames, made }, least) in sets(stage)?.into_iter().zip(goals) {
        let (mut classifier, mut events) = frames::classifier(1 << 18, table.clone(), true)?;
        let ours = passes(&frames, &mut classifier, &mut events, frames.len() as f64);
        let peer = Ndpi::new(stage, &frames, STEP_NS)?;
        let (figure, theirs) = turns_with(stage, ours, peer.as_ref(), |pass| pass.frames)?;
        report.figure(format!("{name}, {} frames", frames.len()), figure, "ns/frame", None);
        let named: u64 = classifier.counters.flows_named.iter().sum();
        let opened = classifier.counters.flows_opened[0].max(1);
        ensure!(!made || named == opened, "{name}: {named} of {opened} flows got a name");
        let part = named as f64 / opened as f64;
        report.number(format!("{name}, flows with a name"), part * 100.0, "%", None);
        beside(report, figure, part, theirs, "ns/frame", least);
    }
    Ok(())
}

/// What is taken from the heap once everything has started: known flows, and the captures a second time.
pub(super) fn allocations(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let pool = stage.null_pool(false)?;
    let mut side = |up| -> Result<Generator> {
        Ok(Generator::new(stage.open("null", pool)?, up, 1 << 12, Order::Uniform))
    };
    let mut lcore = bridge(side(true)?, side(false)?, 1 << 12, false)?;
    turns(&mut lcore);
    let mut moved = 0;
    let taken = allocation_counter::measure(|| moved = (0..16).map(|_| turns(&mut lcore)).sum::<u64>());
    report.number(
        format!("{moved} frames of known flows"),
        taken.count_total as f64,
        "",
        Some(Goal::AtMost(0.0)),
    );
    let table = frames::signatures(1000)?;
    for Set { name, frames, .. } in sets(stage)? {
        let (mut classifier, mut events) = frames::classifier(1 << 18, table.clone(), true)?;
        let mut pass = |day: u64| {
            frames.through(&mut classifier, day * DAY_NS, STEP_NS);
            classifier.expire((day + 1) * DAY_NS, usize::MAX >> 1);
            events.drain(usize::MAX, drop);
        };
        pass(1);
        let taken = allocation_counter::measure(|| pass(2));
        let what = format!("{name}, {} frames", frames.len());
        report.number(what, taken.count_total as f64, "", Some(Goal::AtMost(0.0)));
    }
    Ok(())
}

/// Frames to be passed.
struct Set {
    name: String,
    frames: Frames,
    /// They were made here: every flow of them has a name.
    made: bool,
}

/// Captures made here, and those that were named.
fn sets(stage: &Stage) -> Result<Vec<Set>> {
    let count = flows(stage) / 8;
    let (mut web, mut hellos, mut quic) = (Frames::default(), Frames::default(), Frames::default());
    for group in (0..count).collect::<Vec<_>>().chunks(ABREAST) {
        abreast(&mut web, group.iter().map(|n| page(*n)).collect());
        abreast(&mut hellos, group.iter().map(|n| begin(Tuple::v4, *n)).collect());
        group.iter().for_each(|n| quic.push(&initial(*n)));
    }
    let mut sets: Vec<Set> = [("web mix", web), ("TLS hellos", hellos), ("QUIC Initials", quic)]
        .map(|(name, frames)| Set { name: name.to_owned(), frames, made: true })
        .into();
    for path in &stage.captures {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sets.push(Set { name, frames: Frames::read(path)?, made: false });
    }
    sets.retain(|set| !set.frames.is_empty());
    Ok(sets)
}

/// Nanoseconds of a pass for each flow, ours and nDPI's; all of them must get the name that they say.
fn per_flow(
    stage: &Stage,
    table: &Arc<SignatureTable>,
    frames: &Frames,
    flows: u32,
) -> Result<(Figure, Option<(Figure, Pass)>)> {
    let (mut classifier, mut events) = frames::classifier(1 << 20, table.clone(), false)?;
    let ours = passes(frames, &mut classifier, &mut events, f64::from(flows));
    let peer = Ndpi::new(stage, frames, STEP_NS)?;
    let figures = turns_with(stage, ours, peer.as_ref(), |pass| pass.flows)?;
    let (named, opened): (u64, u64) =
        (classifier.counters.flows_named.iter().sum(), classifier.counters.flows_opened[0]);
    ensure!(named == opened, "{named} of {opened} flows got a name");
    ensure!(classifier.counters.flows_category[glassgate_policy::Category::Recruitment as usize] == named);
    Ok(figures)
}

/// All frames through the classifier, day after day: nanoseconds of one of `units` in a pass. What ends the flows of a day is
/// not counted.
fn passes<'a>(
    frames: &'a Frames,
    classifier: &'a mut Classifier<RingSink>,
    events: &'a mut Consumer,
    units: f64,
) -> Contestant<'a> {
    let mut day = 1;
    Contestant::new("ours", move |time| {
        let (mut cpu, mut passes) = (0.0, 0u32);
        while cpu < time.as_nanos() as f64 {
            let begun = thread_ns();
            frames.through(classifier, day * DAY_NS, STEP_NS);
            cpu += thread_ns() - begun;
            passes += 1;
            day += 1;
            classifier.expire(day * DAY_NS, usize::MAX >> 1);
            events.drain(usize::MAX, drop);
        }
        Ok(cpu / f64::from(passes) / units)
    })
}

/// Ours and nDPI in turns.
fn turns_with(
    stage: &Stage,
    ours: Contestant<'_>,
    peer: Option<&Ndpi>,
    units: fn(&Pass) -> f64,
) -> Result<(Figure, Option<(Figure, Pass)>)> {
    let Some(peer) = peer else { return Ok((alternate(stage.effort, &mut [ours])?[0], None)) };
    let mut last = None;
    let theirs = Contestant::new("libndpi", |_| {
        let pass = peer.pass()?;
        last = Some(pass);
        Ok(pass.ns / units(&pass).max(1.0))
    });
    let figures = alternate(stage.effort, &mut [ours, theirs])?;
    Ok((figures[0], last.map(|pass| (figures[1], pass))))
}

/// The frames of several flows: the first of each, then the second of each…
fn abreast(to: &mut Frames, flows: Vec<Vec<Vec<u8>>>) {
    let longest = flows.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..longest {
        flows.iter().filter_map(|flow| flow.get(at)).for_each(|frame| to.push(frame));
    }
}

fn name(n: u32) -> String {
    format!("www.{}", frames::listed(n as usize % 1000))
}

/// The beginning of TLS flow `n`, up to the server's acknowledgement of the hello.
pub fn begin(tuple: fn(u32) -> Tuple, n: u32) -> Vec<Vec<u8>> {
    let hello = Hello::named(&name(n)).record();
    wire::tls_begin(&tuple(n), &hello).into_iter().map(|(_, frame)| frame).collect()
}

/// A page: the beginning of a TLS flow with a hello of today's size, 30 kB from the server with an acknowledgement for
/// every other segment, and the end.
pub fn page(n: u32) -> Vec<Vec<u8>> {
    let tuple = Tuple::v4(n);
    let hello = Hello::named(&name(n)).post_quantum().record();
    let mut frames: Vec<Vec<u8>> =
        wire::tls_begin(&tuple, &hello).into_iter().map(|(_, frame)| frame).collect();
    let (up, mut down) = (1001 + hello.len() as u32, 5012);
    for at in 0..22 {
        frames.push(wire::tcp(&tuple, false, flag::ACK, down, up, &[0xe5; 1400]));
        down += 1400;
        if at % 2 == 1 {
            frames.push(wire::tcp(&tuple, true, flag::ACK, up, down, &[]));
        }
    }
    frames.push(wire::tcp(&tuple, true, flag::ACK | flag::FIN, up, down, &[]));
    frames.push(wire::tcp(&tuple, false, flag::ACK | flag::FIN, down, up + 1, &[]));
    frames.push(wire::tcp(&tuple, true, flag::ACK, up + 1, down + 1, &[]));
    frames
}

/// The first datagram of QUIC flow `n`.
pub fn initial(n: u32) -> Vec<u8> {
    let hello = Hello::named(&name(n)).message();
    let initial = Initial { dcid: [&n.to_be_bytes()[..], b"bench"].concat(), ..Initial::default() };
    wire::udp(&Tuple::v4(n), true, &initial.datagram(&crypto(0, &hello)))
}
