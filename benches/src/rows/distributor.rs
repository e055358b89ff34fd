//! What an lcore costs that spreads the frames of a port over others, beside queues that a NIC fills.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use glassgate_dataplane::classifier::NoSink;
use glassgate_dataplane::distributor::{Distributor, WorkerPort};
use glassgate_dataplane::lcore::Lcore;
use glassgate_dpdk::{Lcore as Entered, Mbuf};

use super::known::{TURNS, bridge, turns};
use super::load::together;
use crate::generator::{Generator, Order};
use crate::measure::{Contestant, Effort, Figure, alternate, mono_ns, ns_per_unit};
use crate::report::{Report, short_count as short};
use crate::stage::Stage;

/// Of the steering.
const SECRET: u64 = 77;

/// An lcore behind a distributor.
type Behind = Lcore<WorkerPort<Mbuf>, NoSink>;

/// One lcore behind the distributor, on the same CPU, so that what the distributor adds to a frame can be told, and on another; and
/// two lcores on two queues.
pub(super) fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let flows = if stage.effort.quick { 1 << 12 } else { 1 << 16 };
    let other = stage.cpu.checked_sub(1).context("there is only one CPU")?;
    let pool = stage.null_pool(false)?;
    let mut side = |up| -> Result<Generator> {
        Ok(Generator::new(stage.open("null", pool)?, up, flows, Order::Uniform))
    };
    let mut alone = bridge(side(true)?, side(false)?, flows, false)?;
    let (mut distributor, ports) = Distributor::new([vec![side(true)?], vec![side(false)?]], 1, SECRET);
    let [lan, uplink] = ports.into_iter().next().context("a distributor without lcores")?;
    let mut behind = bridge(lan, uplink, flows, false)?;
    let figures = alternate(
        stage.effort,
        &mut [
            Contestant::timed("alone", || turns(&mut alone)),
            Contestant::timed("both", || {
                let turn = |_| {
                    distributor.turn();
                    behind.turn(mono_ns()).frames as u64
                };
                (0..TURNS).map(turn).sum()
            }),
        ],
    )?;
    let [alone, both] = figures[..] else { unreachable!("two contestants") };
    report.figure(format!("one lcore with its own ports, {} flows", short(flows)), alone, "ns/frame", None);
    report.figure("distributor and the lcore behind it on one CPU", both, "ns/frame", None);
    let price = both.median - alone.median;
    report.number("the distributor's price", price, "ns/frame", None);
    report.number("lcores that it can feed: an lcore's time against that", alone.median / price, "x", None);
    let fed = apart(stage, other, &mut distributor, &mut behind)?;
    report.figure("one lcore, the distributor on another CPU", fed, "M frames/s", None);

    let queues = |stage: &mut Stage, up| -> Result<[Generator; 2]> {
        let ports = stage.open_queues("null", pool, 2)?;
        let all: Vec<_> = ports.into_iter().map(|p| Generator::new(p, up, flows, Order::Uniform)).collect();
        all.try_into().ok().context("not two queues")
    };
    let ([lan, lan_too], [uplink, uplink_too]) = (queues(stage, true)?, queues(stage, false)?);
    let mut one = bridge(lan, uplink, flows, false)?;
    let mut two = bridge(lan_too, uplink_too, flows, false)?;
    let rate = together(stage, other, &mut one, &mut two)?;
    report.number("two lcores, a queue of both ports each", rate, "M frames/s", None);
    Ok(())
}

/// The lcore on this CPU and the distributor on `other`, which always has more than the lcore takes: millions of frames a second
/// of the lcore's CPU time.
fn apart(
    stage: &Stage,
    other: usize,
    distributor: &mut Distributor<Generator>,
    behind: &mut Behind,
) -> Result<Figure> {
    let Effort { rounds, time, .. } = stage.effort;
    let mut rates = Vec::new();
    for _ in 0..rounds.max(1) {
        let ended = AtomicBool::new(false);
        let rate = thread::scope(|scope| -> Result<f64> {
            let (ended, eal, distributor) = (&ended, stage.eal(), &mut *distributor);
            let feeder = scope.spawn(move || -> Result<()> {
                let _entered = Entered::enter(eal, Some(other))?;
                while !ended.load(Ordering::Relaxed) {
                    distributor.turn();
                }
                Ok(())
            });
            // Until it runs there is nothing to take.
            while turns(behind) == 0 && !feeder.is_finished() {}
            let rate = 1e3 / ns_per_unit(time, &mut || turns(behind));
            ended.store(true, Ordering::Relaxed);
            feeder.join().map_err(|_| anyhow::anyhow!("the distributor panicked"))??;
            Ok(rate)
        })?;
        rates.push(rate);
    }
    Figure::of("behind", rates).context("no rounds")
}
