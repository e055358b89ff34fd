//! Flows that are new: from the first frame to the verdict, with a million domains loaded.

use std::sync::Arc;

use anyhow::{Result, ensure};
use glassgate_dataplane::classifier::Classifier;
use glassgate_dataplane::event_ring::Consumer;
use glassgate_dataplane::packet::flag;
use glassgate_dataplane::port::Frame as _;
use glassgate_policy::SignatureTable;

use crate::frames::{self, Frames, RingSink};
use crate::generator::{Generator, Order};
use crate::initial_floor::Floor;
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
/// Flows whose frames, records and slots stay in the cache: what is left then is work, not waiting for memory.
const FEW: u32 = 256;

fn domains(stage: &Stage) -> usize {
    if stage.effort.quick { 1000 } else { 1_000_000 }
}

fn flows(stage: &Stage) -> u32 {
    if stage.effort.quick { 64 } else { 32_768 }
}

/// New TLS flows.
pub(super) fn tls(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let table = frames::signatures(domains(stage))?;
    let made = |count: u32| {
        let mut mixed = Frames::default();
        for group in (0..count).collect::<Vec<_>>().chunks(ABREAST) {
            abreast(&mut mixed, group.iter().map(|n| begin(Tuple::v4, *n)).collect());
        }
        mixed
    };
    let count = flows(stage);
    let (all, few) = (made(count), made(FEW));
    let figures = per_flow(stage, &table, [(&all, count), (&few, FEW)], None)?;
    let what = "SYN to verdict: five frames a flow, 1 M domains";
    report.figure(what, figures.ours, "ns/flow", Some(Goal::AtMost(500.0)));
    report.number("the same", 1e3 / figures.ours.median, "M flows/s", Some(Goal::AtLeast(2.0)));
    report.figure(format!("{FEW} flows, which stay in the cache"), figures.few, "ns/flow", None);
    beside(report, figures.ours, 1.0, figures.theirs, "ns/flow", 20.0);
    Ok(())
}

/// QUIC Initials, of one datagram each.
pub(super) fn quic(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let table = frames::signatures(domains(stage))?;
    let made = |count: u32| {
        let mut initials = Frames::default();
        (0..count).for_each(|n| initials.push(&initial(n)));
        initials
    };
    let count = flows(stage) / 4;
    let (all, few) = (made(count), made(FEW));
    let mut floor = Floor::default();
    let cryptography = Contestant::timed("cryptography", || {
        // The header of Ethernet, IPv4 and UDP in front of it.
        let opened = few.iter().filter_map(|frame| floor.open(frame.bytes().get(42..)?));
        opened.count() as u64
    });
    let figures = per_flow(stage, &table, [(&all, count), (&few, FEW)], Some(cryptography))?;
    report.figure("Initial to name", figures.ours, "ns/flow", Some(Goal::AtMost(1500.0)));
    report.figure(format!("{FEW} flows, which stay in the cache"), figures.few, "ns/flow", None);
    if let Some(floor) = figures.floor {
        report.figure("floor: keys, header and tag of one Initial alone", floor, "ns/flow", None);
    }
    beside(report, figures.ours, 1.0, figures.theirs, "ns/flow", 4.0);
    Ok(())
}

/// What nDPI took, and what it said of its last pass.
type Theirs = (Figure, Pass);

/// What nDPI took for the same, and how many times as fast ours is, which named this part of the flows. Where nDPI names a
/// smaller part it did less, and the ratio says so.
fn beside(
    report: &mut Report,
    ours: Figure,
    part: f64,
    theirs: Option<Theirs>,
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
        let (figures, theirs) = turns_with(stage, vec![ours], peer.as_ref(), |pass| pass.frames)?;
        let [figure] = figures[..] else { unreachable!("one contestant") };
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

/// What came out for flows that are inspected.
struct PerFlow {
    ours: Figure,
    /// A few flows again and again.
    few: Figure,
    floor: Option<Figure>,
    theirs: Option<Theirs>,
}

/// Nanoseconds of a pass for each flow, ours and nDPI's, with many and with a few; all of them must get the name that they say.
/// `floor` takes its turns with the others.
fn per_flow(
    stage: &Stage,
    table: &Arc<SignatureTable>,
    sets: [(&Frames, u32); 2],
    floor: Option<Contestant<'_>>,
) -> Result<PerFlow> {
    let [(frames, flows), (few, few_flows)] = sets;
    let (mut classifier, mut events) = frames::classifier(1 << 20, table.clone(), false)?;
    let (mut other, mut other_events) = frames::classifier(1 << 20, table.clone(), false)?;
    let peer = Ndpi::new(stage, frames, STEP_NS)?;
    let mut all = vec![
        passes(frames, &mut classifier, &mut events, f64::from(flows)),
        passes(few, &mut other, &mut other_events, f64::from(few_flows)),
    ];
    let has_floor = floor.is_some();
    all.extend(floor);
    let (mut figures, theirs) = turns_with(stage, all, peer.as_ref(), |pass| pass.flows)?;
    let floor = if has_floor { figures.pop() } else { None };
    let [ours, few] = figures[..] else { unreachable!("two contestants") };
    for counters in [&classifier.counters, &other.counters] {
        let (named, opened) = (counters.flows_named.iter().sum::<u64>(), counters.flows_opened[0]);
        ensure!(named == opened, "{named} of {opened} flows got a name");
        ensure!(counters.flows_category[glassgate_policy::Category::Recruitment as usize] == named);
    }
    Ok(PerFlow { ours, few, floor, theirs })
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
    ours: Vec<Contestant<'_>>,
    peer: Option<&Ndpi>,
    units: fn(&Pass) -> f64,
) -> Result<(Vec<Figure>, Option<Theirs>)> {
    let mut last = None;
    // Of a shorter life than those that were given.
    let mut contestants: Vec<Contestant<'_>> = ours;
    if let Some(peer) = peer {
        contestants.push(Contestant::new("libndpi", |_| {
            let pass = peer.pass()?;
            last = Some(pass);
            Ok(pass.ns / units(&pass).max(1.0))
        }));
    }
    let mut figures = alternate(stage.effort, &mut contestants)?;
    drop(contestants);
    let theirs = last.and_then(|pass| Some((figures.pop()?, pass)));
    Ok((figures, theirs))
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
