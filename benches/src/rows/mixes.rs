//! Known flows in other mixes: popular ones, IPv6, frames of several sizes. Each beside the uniform IPv4 of 64 bytes.

use anyhow::Result;
use glassgate_dataplane::classifier::NoSink;
use glassgate_dataplane::lcore::Lcore;
use glassgate_dataplane::port::{Burst, Port, PortCounters};
use glassgate_dpdk::Mbuf;

use super::known::{bridge, turns};
use crate::generator::{Generator, Order, zipf};
use crate::measure::{Contestant, alternate};
use crate::report::{Goal, Report, short_count as short};
use crate::stage::Stage;

/// Bursts of 64, 594 and 1518 bytes among twelve (the simple IMIX).
const IMIX: [(usize, usize); 3] = [(64, 7), (594, 4), (1518, 1)];
/// Draws of a Zipf distribution that a generator goes through: more than any cache holds.
const DRAWS: usize = 1 << 22;

fn flows(stage: &Stage) -> u32 {
    if stage.effort.quick { 1 << 12 } else { 1 << 20 }
}

/// Few flows with most of the frames, as in real traffic.
pub(super) fn popular(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let flows = flows(stage);
    let pool = stage.null_pool(false)?;
    let drawn = zipf(flows, 1.1, DRAWS.min(flows as usize * 16));
    let mut side = |up, order: &Order| -> Result<Generator> {
        Ok(Generator::new(stage.open("null", pool)?, up, flows, order.clone()))
    };
    let (even, skewed) = (Order::Uniform, Order::Drawn(drawn));
    let mut even = bridge(side(true, &even)?, side(false, &even)?, flows, false)?;
    let mut skewed = bridge(side(true, &skewed)?, side(false, &skewed)?, flows, false)?;
    let what = format!("Zipf 1.1 over {} flows", short(flows));
    beside_uniform(stage, report, &what, &mut skewed, &mut even)
}

/// Keys of IPv6: no longer than those of IPv4, and no byte of them constant.
pub(super) fn v6(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let flows = flows(stage);
    let v4 = stage.null_pool(false)?;
    let v6 = stage.null_pool(true)?;
    let mut side = |up, six: bool| -> Result<Generator> {
        let port = if six { stage.open_null(78, v6)? } else { stage.open("null", v4)? };
        let generator = Generator::new(port, up, flows, Order::Uniform);
        Ok(if six { generator.v6() } else { generator })
    };
    let mut even = bridge(side(true, false)?, side(false, false)?, flows, false)?;
    let mut six = bridge(side(true, true)?, side(false, true)?, flows, true)?;
    let what = format!("{} flows over IPv6, 78 bytes", short(flows));
    beside_uniform(stage, report, &what, &mut six, &mut even)
}

/// Frames of 64, 594 and 1518 bytes, 7 to 4 to 1, by bursts.
pub(super) fn imix(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let flows = flows(stage).min(1 << 16);
    let pool = stage.null_pool(false)?;
    let mut side = |up| -> Result<Mixed> {
        let mut ports = Vec::new();
        for (size, weight) in IMIX {
            let port = stage.open_null(size, pool)?;
            ports.push((Generator::new(port, up, flows, Order::Uniform), weight));
        }
        Ok(Mixed { ports, turn: 0 })
    };
    let (lan, uplink) = (side(true)?, side(false)?);
    let mut classifier = super::known::classifier(flows as usize, NoSink)?;
    super::known::begin(&mut classifier, flows, false)?;
    let mut mixed = Lcore::new(lan, uplink, classifier);
    // testpmd's io mode touches no byte: of its null ports one size is as fast as another.
    let mut io = stage.testpmd_null(imix_mean() as usize)?;
    let figures = alternate(
        stage.effort,
        &mut [
            Contestant::timed("ours", || turns(&mut mixed)),
            Contestant::new("testpmd", |time| io.ns_per_frame(time)),
        ],
    )?;
    let [ours, io] = figures[..] else { unreachable!("two contestants") };
    report.figure(format!("{} flows, 64/594/1518 bytes 7:4:1", short(flows)), ours, "ns/frame", None);
    report.figure("testpmd io, frames untouched", io, "ns/frame", None);
    report.ratio("speed against testpmd io", io.median / ours.median, Some(Goal::AtLeast(0.8)));
    // With 20 bytes of preamble and gap: a rate that people know.
    report.number("the same", (imix_mean() + 20.0) * 8.0 / ours.median, "Gbit/s", None);
    Ok(())
}

/// Bytes of a frame on average.
fn imix_mean() -> f64 {
    let (bytes, frames) = IMIX.iter().fold((0, 0), |(b, f), (size, weight)| (b + size * weight, f + weight));
    bytes as f64 / frames as f64
}

fn beside_uniform<P: Port>(
    stage: &Stage,
    report: &mut Report,
    what: &str,
    this: &mut Lcore<P, NoSink>,
    even: &mut Lcore<P, NoSink>,
) -> Result<()> {
    let figures = alternate(
        stage.effort,
        &mut [Contestant::timed("this", || turns(this)), Contestant::timed("uniform", || turns(even))],
    )?;
    let [this, even] = figures[..] else { unreachable!("two contestants") };
    report.figure(what, this, "ns/frame", None);
    report.figure("as many over IPv4, 64 bytes, each as likely as any other", even, "ns/frame", None);
    report.ratio("against that", this.median / even.median, None);
    Ok(())
}

/// Several generators of one side, a burst from each in proportion to its weight.
struct Mixed {
    ports: Vec<(Generator, usize)>,
    turn: usize,
}

impl Port for Mixed {
    type Frame = Mbuf;

    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let all: usize = self.ports.iter().map(|(_, weight)| weight).sum();
        // 5 and 12 have no common factor: the sizes alternate.
        let mut at = self.turn * 5 % all;
        self.turn += 1;
        for (port, weight) in &mut self.ports {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return port.rx_burst(burst),
            }
        }
        0
    }

    fn tx_burst(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        self.ports.first_mut().map_or(0, |(port, _)| port.tx_burst(burst))
    }

    fn counters(&self) -> PortCounters {
        self.ports.iter().map(|(port, _)| port.counters()).fold(PortCounters::default(), |sum, c| {
            PortCounters {
                rx_frames: sum.rx_frames + c.rx_frames,
                rx_bytes: sum.rx_bytes + c.rx_bytes,
                tx_frames: sum.tx_frames + c.tx_frames,
                tx_bytes: sum.tx_bytes + c.tx_bytes,
                rx_missed: sum.rx_missed + c.rx_missed,
            }
        })
    }
}
