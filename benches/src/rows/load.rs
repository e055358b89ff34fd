//! Known flows while something else goes on: new flows that begin and end, policies that are swapped, another lcore.
//! And how long frames stay.

use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use glassgate_dataplane::classifier::{NoSink, Policy};
use glassgate_dataplane::latency::{BUCKETS, bucket_of, quantile};
use glassgate_dataplane::lcore::Lcore;
use glassgate_dataplane::port::{BURST, Port};
use glassgate_dpdk::Lcore as Entered;
use glassgate_policy::{Action, ObservationLevel, Verdict, VerdictMatrix};

use super::known::{TURNS, begin, bridge, classifier, pass, turns};
use crate::frames::signatures;
use crate::generator::{Generator, Order};
use crate::measure::{Contestant, alternate, mono_ns, ns_per_unit};
use crate::report::{Goal, Report, short_count as short};
use crate::stage::Stage;

/// One frame in so many begins a flow that was never seen.
const FRESH: u32 = 8;
/// Flows that begin in a turn, and nanoseconds after which one that nobody answered runs out.
const BEGIN: u64 = BURST as u64 / FRESH as u64;
const IDLE_NS: u64 = 30_000_000_000;
/// Turns between two swaps of the policy.
const SWAP: usize = 4096;

fn flows(stage: &Stage) -> u32 {
    if stage.effort.quick { 1 << 12 } else { 1 << 19 }
}

/// New flows under load: inserts, and flows that run out, among frames of known ones.
pub(super) fn churn(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let flows = flows(stage);
    let pool = stage.null_pool(false)?;
    let mut side =
        |up, order| -> Result<Generator> { Ok(Generator::new(stage.open("null", pool)?, up, flows, order)) };
    // Room for as many again: what begins stays for thirty seconds of the lcore's clock.
    let mut built = |order: Order| -> Result<Lcore<Generator, NoSink>> {
        let mut classifier = classifier(2 * flows as usize, NoSink)?;
        begin(&mut classifier, flows, false)?;
        Ok(Lcore::new(side(true, order)?, side(false, Order::Uniform)?, classifier))
    };
    let (mut still, mut busy) = (built(Order::Uniform)?, built(Order::Fresh { one_in: FRESH })?);
    let (mut clocks, before) = ([mono_ns(); 2], busy.classifier().counters.flows_opened[0]);
    let [clock, other] = &mut clocks;
    // As many run out as begin, with half of the room to spare.
    let step = 2 * BEGIN * IDLE_NS / u64::from(flows);
    let figures = alternate(
        stage.effort,
        &mut [
            Contestant::timed("busy", || stepping(&mut busy, clock, step)),
            Contestant::timed("still", || stepping(&mut still, other, step)),
        ],
    )?;
    let [busy_ns, still_ns] = figures[..] else { unreachable!("two contestants") };
    let counters = &busy.classifier().counters;
    let (opened, frames) = (counters.flows_opened[0] - before, counters.rx_frames.iter().sum::<u64>());
    ensure!(opened > 0, "no flow began");
    let share = opened as f64 / frames as f64;
    let refused = counters.unkept_frames[0];
    report.figure("one frame in 16 begins a flow, as many run out", busy_ns, "ns/frame", None);
    report.figure("the same without new flows", still_ns, "ns/frame", None);
    report.number(
        "a flow's insert, first frame and end",
        (busy_ns.median - still_ns.median) / share,
        "ns/flow",
        None,
    );
    report.number("frames that found no room", refused as f64, "frames", Some(Goal::AtMost(0.0)));
    Ok(())
}

/// Turns of a bridge whose clock runs ahead.
fn stepping(lcore: &mut Lcore<Generator, NoSink>, clock: &mut u64, step: u64) -> u64 {
    let turn = |_| {
        *clock += step;
        lcore.turn(*clock).frames as u64
    };
    (0..TURNS).map(turn).sum()
}

/// Pack and matrix swapped again and again: every running flow is decided anew.
pub(super) fn reload(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let flows = flows(stage).min(1 << 16);
    let pool = stage.null_pool(false)?;
    let mut side = |up| -> Result<Generator> {
        Ok(Generator::new(stage.open("null", pool)?, up, flows, Order::Uniform))
    };
    let mut still = bridge(side(true)?, side(false)?, flows, false)?;
    let mut swapped = bridge(side(true)?, side(false)?, flows, false)?;
    let names = if stage.effort.quick { 100 } else { 100_000 };
    let verdict = Verdict { action: Action::Allow, level: ObservationLevel::Aggregate };
    let policies = [2, 3].map(|epoch| -> Result<Policy> {
        Ok(Policy { table: signatures(names)?, matrix: Arc::new(VerdictMatrix::uniform(epoch, verdict)) })
    });
    let [a, b] = policies;
    let policies = [a?, b?];
    let (mut swaps, mut turn) = (0usize, 0usize);
    let figures = alternate(
        stage.effort,
        &mut [
            Contestant::timed("swapped", || {
                if turn.is_multiple_of(SWAP / TURNS) {
                    swapped.classifier().set_policy(policies[swaps % 2].clone());
                    swaps += 1;
                }
                turn += 1;
                turns(&mut swapped)
            }),
            Contestant::timed("still", || turns(&mut still)),
        ],
    )?;
    let [swapped_ns, still_ns] = figures[..] else { unreachable!("two contestants") };
    let p99 =
        |lcore: &mut Lcore<Generator, NoSink>| quantile(&lcore.counters().turn_ns, 0.99).unwrap_or(0) as f64;
    let added = p99(&mut swapped) - p99(&mut still);
    let counters = swapped.counters();
    let lost = counters.rx_frames.iter().sum::<u64>() - counters.tx_frames.iter().sum::<u64>();
    ensure!(counters.flows_redecided[0] > 0, "no flow was decided anew");
    report.figure(format!("{} flows, a swap every {SWAP} turns", short(flows)), swapped_ns, "ns/frame", None);
    report.figure("the same without swaps", still_ns, "ns/frame", None);
    report.number("swaps", swaps as f64, "", None);
    report.number("frames lost", lost as f64, "frames", Some(Goal::AtMost(0.0)));
    report.number("p99 of a frame's time in the box, added", added / 1e3, "µs", Some(Goal::AtMost(100.0)));
    Ok(())
}

/// How long a frame stays: the length of a full turn, ours beside a loop that only receives and sends.
pub(super) fn latency(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let flows = flows(stage);
    let pool = stage.null_pool(false)?;
    let mut side = |up| -> Result<Generator> {
        Ok(Generator::new(stage.open("null", pool)?, up, flows, Order::Uniform))
    };
    let mut ours = bridge(side(true)?, side(false)?, flows, false)?;
    let (mut lan, mut uplink) = (side(true)?, side(false)?);
    let mut bare = [0u64; BUCKETS];
    let figures = alternate(
        stage.effort,
        &mut [
            Contestant::timed("ours", || turns(&mut ours)),
            Contestant::timed("bare", || {
                let mut frames = 0;
                for _ in 0..TURNS {
                    let began = mono_ns();
                    let moved = pass(&mut lan, &mut uplink, 1) + pass(&mut uplink, &mut lan, 1);
                    bare[bucket_of(mono_ns() - began)] += moved;
                    frames += moved;
                }
                frames
            }),
        ],
    )?;
    ensure!(figures.len() == 2);
    let goals = [(0.5, "p50", 0.5), (0.99, "p99", 2.0), (0.999, "p99.9", 6.0)];
    for (q, name, most) in goals {
        let time = |counts: &[u64; BUCKETS]| quantile(counts, q).unwrap_or(0) as f64 / 1e3;
        let (with, without) = (time(&ours.counters().turn_ns), time(&bare));
        report.number(
            format!("{name} of a full turn of 64 frames, {} flows", short(flows)),
            with,
            "µs",
            None,
        );
        report.number(format!("{name} of one that only receives and sends"), without, "µs", None);
        report.number(format!("{name} added"), with - without, "µs", Some(Goal::AtMost(most)));
    }
    Ok(())
}

/// Two lcores, each with its own ports, table and CPU, against one.
pub(super) fn lcores(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let flows = flows(stage).min(1 << 16);
    let other = stage.cpu.checked_sub(1).context("there is only one CPU")?;
    let pools =
        [stage.null_pool(false)?, stage.pool("two", Stage::NULL_FRAMES, &Generator::template(false))?];
    let mut built = |pool| -> Result<Lcore<Generator, NoSink>> {
        let mut side = |up| -> Result<Generator> {
            Ok(Generator::new(stage.open("null", pool)?, up, flows, Order::Uniform))
        };
        bridge(side(true)?, side(false)?, flows, false)
    };
    let (mut one, mut two) = (built(pools[0])?, built(pools[1])?);
    let alone = alternate(
        stage.effort,
        &mut [Contestant::new("one", |time| Ok(1e3 / ns_per_unit(time, &mut || turns(&mut one))))],
    )?[0];
    let both = together(stage, other, &mut one, &mut two)?;
    report.figure(format!("one lcore, {} flows", short(flows)), alone, "M frames/s", None);
    report.number("two, each of its own CPU time", both, "M frames/s", None);
    report.ratio("two against one", both / alone.median, Some(Goal::AtLeast(1.9)));
    Ok(())
}

/// Two lcores at the same time, the second on the CPU `other`: millions of frames a second of both, each of its own CPU time.
pub(super) fn together<P: Port<Frame: Send> + Send>(
    stage: &Stage,
    other: usize,
    one: &mut Lcore<P, NoSink>,
    two: &mut Lcore<P, NoSink>,
) -> Result<f64> {
    let effort = stage.effort;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds.max(1) {
        let rate = thread::scope(|scope| -> Result<f64> {
            let (two, eal) = (&mut *two, stage.eal());
            let second = scope.spawn(move || -> Result<f64> {
                let _entered = Entered::enter(eal, Some(other))?;
                Ok(1e3 / ns_per_unit(effort.time, &mut || turns(two)))
            });
            let first = 1e3 / ns_per_unit(effort.time, &mut || turns(one));
            let second = second.join().map_err(|_| anyhow::anyhow!("the second lcore panicked"))??;
            Ok(first + second)
        })?;
        rounds.push(rate);
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[rounds.len() / 2])
}
