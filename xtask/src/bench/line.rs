//! What a line carries: iperf3 from a device to the router, through the gateway and through `dpdk-testpmd` in io mode, on the
//! same two interfaces, both with XDP sockets. In turns, because everything shares the machine's CPUs: the clients, the
//! servers, the kernel's ends of the cables, and what is in their middle.

#[path = "../../../benches/src/testpmd/arguments.rs"]
mod arguments;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::demo::gateway::{self, Driver, Gateway, Setup};
use crate::demo::round;
use crate::lab::devices::DEVICES;
use crate::lab::{Lab, iperf, slot};
use crate::process::Daemon;
use crate::setup::huge_pages::{self, State};
use crate::stop::Stop;
use crate::{ui, workspace};

const PORT: u16 = 5201;
/// The device that is measured.
const DEVICE: usize = 0;

/// Bits a second of payload, of each round.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line {
    /// Through the gateway: from the server, to the server.
    ours: [Vec<f64>; 2],
    /// Through testpmd.
    testpmd: [Vec<f64>; 2],
    /// Segments that the gateway's runs sent again.
    retransmits: u64,
    /// Frames of a round of transfers that crossed the gateway, captured on both sides.
    frames: u64,
    /// Those of them that did not come out, or not with the same bytes.
    changed: u64,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) rounds: usize,
    pub(super) seconds: u64,
}

/// Measures, in turns.
pub(super) fn measure(effort: Effort, stop: &Stop) -> Result<Line> {
    let binary = gateway::build(stop, &workspace::target().join("build.log"))?;
    let mut lab = Lab::start(slot::Kind::Test, &workspace::target().join("lab"), stop)?;
    let _server = iperf::server(&lab, PORT, stop)?;
    let mut line = Line::default();
    let doing = ui::doing("iperf3 through the gateway and through testpmd");
    for round in 0..effort.rounds {
        doing.now(format_args!("round {} of {}", round + 1, effort.rounds));
        for ours in if round % 2 == 0 { [true, false] } else { [false, true] } {
            if ours {
                let _gateway = start(&lab, &binary, stop)?;
                line.retransmits += both_ways(&lab, effort, &mut line.ours, stop)?;
            } else {
                let _testpmd = testpmd(&lab, stop)?;
                both_ways(&lab, effort, &mut line.testpmd, stop)?;
            }
        }
    }
    doing.now("frames compared");
    let gateway = start(&lab, &binary, stop)?;
    lab.start_captures()?;
    let outcome = round::drive(&lab, stop)?;
    let frames = lab.compare_captures()?;
    drop(gateway);
    ensure!(outcome.failed.is_empty(), "{} transfers failed", outcome.failed.len());
    for crossing in [&frames.up, &frames.down] {
        line.frames += crossing.sent;
        line.changed += crossing.lost + crossing.foreign;
    }
    doing.done("");
    Ok(line)
}

/// The gateway, which like testpmd never sleeps.
fn start(lab: &Lab, binary: &Path, stop: &Stop) -> Result<Gateway> {
    let setup = Setup { idle_sleep_us: 0, ..Setup::default() };
    Gateway::start_as(lab, binary, Driver::AfXdp, &setup, stop)
}

fn testpmd(lab: &Lab, stop: &Stop) -> Result<Daemon> {
    let cpu = Setup::default().cpus[0];
    let mut command = lab.gateway.command("stdbuf");
    let vdevs = ["net_af_xdp0,iface=port-a", "net_af_xdp1,iface=port-b"];
    let no_huge = !matches!(huge_pages::state(), State::Enough { .. });
    command.args(arguments::environment(&vdevs, cpu, "gg-line", 256, no_huge));
    // With a period for statistics it needs no terminal. Rings as long as ours: with its own 256 it would be much slower.
    command.args([
        "--",
        "--forward-mode=io",
        "--auto-start",
        "--stats-period=3600",
        "--total-num-mbufs=16384",
    ]);
    command.args(["--rxd=2048", "--txd=2048"]);
    let mut testpmd = Daemon::start("testpmd", &command, &lab.dir().join("testpmd.log"))?;
    testpmd.await_line("io packet forwarding", Duration::from_secs(30), stop)?;
    lab.await_path(Duration::from_secs(10))?;
    Ok(testpmd)
}

/// From the server and to it. Gives the segments that were sent again.
fn both_ways(lab: &Lab, effort: Effort, into: &mut [Vec<f64>; 2], stop: &Stop) -> Result<u64> {
    let mut again = 0;
    for (down, rates) in [true, false].into_iter().zip(into) {
        let mut client = iperf::client(lab, &DEVICES[DEVICE], PORT, false);
        client.args(["--time", &effort.seconds.to_string(), "--omit", "1"]);
        if down {
            client.arg("--reverse");
        }
        let said = iperf::run(&mut client, Duration::from_secs(effort.seconds + 31), stop)?;
        let end = &said["end"];
        rates.push(end["sum_received"]["bits_per_second"].as_f64().context("iperf3 says no rate")?);
        again += end["sum_sent"]["retransmits"].as_u64().unwrap_or(0);
    }
    Ok(again)
}
