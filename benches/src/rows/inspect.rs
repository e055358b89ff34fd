//! Flows that are new: from the first frame to the verdict, with a million domains loaded.

use std::sync::Arc;

use anyhow::{Result, ensure};
use glassgate_dataplane::packet::flag;
use glassgate_policy::SignatureTable;

use crate::frames::{self, Frames};
use crate::generator::{Generator, Order};
use crate::measure::{Contestant, alternate, thread_ns};
use crate::report::{Goal, Report};
use crate::stage::Stage;
use crate::support::hello::Hello;
use crate::support::quic::{Initial, crypto};
use crate::wire::{self, Tuple};

use super::known::{bridge, turns};

/// A day: after it, every flow of the pass before has ended.
const DAY_NS: u64 = 86_400_000_000_000;
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
    let ns = per_flow(stage, &table, &mixed, count, "tls")?;
    report.number(
        "SYN to verdict: five frames a flow, 1 M domains",
        ns,
        "ns/flow",
        Some(Goal::AtMost(500.0)),
    );
    report.number("the same", 1e3 / ns, "M flows/s", Some(Goal::AtLeast(2.0)));
    Ok(())
}

/// QUIC Initials, of one datagram each.
pub(super) fn quic(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let table = frames::signatures(domains(stage))?;
    let (mut initials, count) = (Frames::default(), flows(stage) / 4);
    for n in 0..count {
        initials.push(&initial(n));
    }
    let ns = per_flow(stage, &table, &initials, count, "quic")?;
    report.number("Initial to name", ns / 1e3, "µs/flow", Some(Goal::AtMost(1.5)));
    Ok(())
}

/// Whole captures, made here: hellos, QUIC, and a mix as of web pages.
pub(super) fn captures(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let table = frames::signatures(domains(stage))?;
    for (name, frames) in sets(stage)? {
        let (mut classifier, mut events) = frames::classifier(1 << 18, table.clone(), true)?;
        let mut day = 1;
        let run = Contestant::new("ours", |time| {
            let (mut cpu, mut passed) = (0.0, 0);
            while cpu < time.as_nanos() as f64 {
                let begun = thread_ns();
                frames.through(&mut classifier, day * DAY_NS, 10_000);
                cpu += thread_ns() - begun;
                passed += frames.len();
                day += 1;
                classifier.expire(day * DAY_NS, usize::MAX >> 1);
                events.drain(usize::MAX, drop);
            }
            Ok(cpu / passed as f64)
        });
        let figure = alternate(stage.effort, &mut [run])?[0];
        report.figure(format!("{name}, {} frames", frames.len()), figure, "ns/frame", None);
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
    for (name, frames) in sets(stage)? {
        let (mut classifier, mut events) = frames::classifier(1 << 18, table.clone(), true)?;
        let mut pass = |day: u64| {
            frames.through(&mut classifier, day * DAY_NS, 10_000);
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

/// Captures made here, and those that were named.
fn sets(stage: &Stage) -> Result<Vec<(String, Frames)>> {
    let count = flows(stage) / 8;
    let (mut web, mut hellos, mut quic) = (Frames::default(), Frames::default(), Frames::default());
    for group in (0..count).collect::<Vec<_>>().chunks(ABREAST) {
        abreast(&mut web, group.iter().map(|n| page(*n)).collect());
        abreast(&mut hellos, group.iter().map(|n| begin(Tuple::v4, *n)).collect());
        group.iter().for_each(|n| quic.push(&initial(*n)));
    }
    let mut sets = vec![
        ("web mix".to_owned(), web),
        ("TLS hellos".to_owned(), hellos),
        ("QUIC Initials".to_owned(), quic),
    ];
    for path in &stage.captures {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sets.push((name, Frames::read(path)?));
    }
    sets.retain(|(_, frames)| !frames.is_empty());
    Ok(sets)
}

/// Nanoseconds of a pass for each flow; all of them must get the name that they say.
fn per_flow(
    stage: &Stage,
    table: &Arc<SignatureTable>,
    frames: &Frames,
    flows: u32,
    what: &'static str,
) -> Result<f64> {
    let (mut classifier, mut events) = frames::classifier(1 << 20, table.clone(), false)?;
    let mut day = 1;
    let run = Contestant::new(what, |time| {
        let (mut cpu, mut passes) = (0.0, 0u32);
        while cpu < time.as_nanos() as f64 {
            let begun = thread_ns();
            frames.through(&mut classifier, day * DAY_NS, 10_000);
            cpu += thread_ns() - begun;
            passes += 1;
            day += 1;
            classifier.expire(day * DAY_NS, usize::MAX >> 1);
            events.drain(usize::MAX, drop);
        }
        Ok(cpu / f64::from(passes) / f64::from(flows))
    });
    let figure = alternate(stage.effort, &mut [run])?[0];
    let (named, opened): (u64, u64) =
        (classifier.counters.flows_named.iter().sum(), classifier.counters.flows_opened[0]);
    ensure!(named == opened, "{named} of {opened} flows got a name");
    ensure!(classifier.counters.flows_category[glassgate_policy::Category::Recruitment as usize] == named);
    Ok(figure.median)
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
