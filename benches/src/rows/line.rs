//! What a line carries, as `cargo xtask bench` measured it before: it needs namespaces, clients and servers, which are the
//! lab's.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::measure::Figure;
use crate::report::{Goal, Report};
use crate::stage::Stage;

/// Bits a second of payload, of each round: from the server, to the server.
#[derive(Deserialize)]
struct Line {
    ours: [Vec<f64>; 2],
    testpmd: [Vec<f64>; 2],
    retransmits: u64,
    frames: u64,
    changed: u64,
}

/// Reports it.
pub(super) fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let path = stage.line.as_ref().context("measured by `cargo xtask bench` only, which says --line FILE")?;
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let Line { ours, testpmd, retransmits, frames, changed } =
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
    for (way, (ours, testpmd)) in ["down", "up"].into_iter().zip(ours.iter().zip(&testpmd)) {
        let (ours, testpmd) = (gbits("ours", ours)?, gbits("testpmd", testpmd)?);
        report.figure(format!("iperf3 {way}, one flow over af_xdp"), ours, "Gbit/s", None);
        report.figure(format!("iperf3 {way}, testpmd io on the same interfaces"), testpmd, "Gbit/s", None);
        let ratio = ours.median / testpmd.median;
        report.number(format!("iperf3 {way}, against testpmd io"), ratio, "x", Some(Goal::AtLeast(0.9)));
    }
    report.number("segments sent again", retransmits as f64, "", None);
    let what = format!("frames lost or changed of {frames}, captured on both sides");
    report.number(what, changed as f64, "frames", Some(Goal::AtMost(0.0)));
    Ok(())
}

fn gbits(name: &'static str, rounds: &[f64]) -> Result<Figure> {
    Figure::of(name, rounds.iter().map(|bits| bits / 1e9).collect()).context("no rounds")
}
