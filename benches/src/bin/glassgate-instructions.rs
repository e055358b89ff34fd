//! What `cargo xtask bench --instructions` runs under callgrind: a fixed number of frames through the classifier, without
//! DPDK and without a clock, so that the same build gives the same count on every machine and under every load.
//!
//! `glassgate-instructions SCENARIO` prints how many frames it passes; only `measured` is counted.

use std::hint::black_box;
use std::process::ExitCode;

use anyhow::{Result, bail};
use glassgate_benches::frames::{self, Frames, Held};
use glassgate_benches::rows::inspect::{begin, initial, page};
use glassgate_benches::wire::{self, Tuple};
use glassgate_dataplane::classifier::{Classifier, FlowSink};
use glassgate_dataplane::inband::InBand;
use glassgate_dataplane::inband::own::{Own, Segment};
use glassgate_dataplane::inband::ring::FrameRing;
use glassgate_dataplane::packet::flag;

/// Flows of each scenario.
const FLOWS: u32 = 4096;

fn main() -> ExitCode {
    match run(&std::env::args().nth(1).unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(scenario: &str) -> Result<()> {
    let (mut classifier, _events) = frames::classifier(1 << 16, frames::signatures(1000)?, false)?;
    let (mut before, mut frames) = (Frames::default(), Frames::default());
    let known = |tuple: fn(u32) -> Tuple, before: &mut Frames, frames: &mut Frames| {
        for n in 0..FLOWS {
            begin(tuple, n).iter().for_each(|frame| before.push(frame));
            frames.push(&wire::tcp(&tuple(n), n % 2 == 0, flag::ACK, n, 0, &[]));
        }
    };
    match scenario {
        "known" | "known_inband" => known(Tuple::v4, &mut before, &mut frames),
        "known_v6" => known(Tuple::v6, &mut before, &mut frames),
        "tls" => (0..FLOWS).flat_map(|n| begin(Tuple::v4, n)).for_each(|frame| frames.push(&frame)),
        "web" => (0..FLOWS / 16).flat_map(page).for_each(|frame| frames.push(&frame)),
        "quic" => (0..FLOWS / 16).for_each(|n| frames.push(&initial(n))),
        other => bail!("there is no scenario `{other}`: known, known_inband, known_v6, tls, web, quic"),
    }
    before.through(&mut classifier, 2_000_000_000, 1000);
    if scenario == "known_inband" {
        with_inband(&mut classifier, &frames)?;
    } else {
        measured(&mut classifier, &frames);
    }
    println!("{}", frames.len());
    Ok(())
}

/// What it costs that the gateway has an address of its own on the ports: frames that are not for it.
fn with_inband<S: FlowSink>(classifier: &mut Classifier<S>, frames: &Frames) -> Result<()> {
    let (punt, send) = (FrameRing::create("punt")?, FrameRing::create("send")?);
    let segment = Segment { vlan: None, v4: Some([10, 255, 255, 2]), v6: Vec::new() };
    let own = Own::new([2, 0x67, 0x67, 1, 2, 3], vec![segment])?;
    asked_and_measured(classifier, frames, &mut InBand::new(own, &punt, &send, [1, 2, 3, 4]));
    Ok(())
}

#[inline(never)]
fn asked_and_measured<'a, S: FlowSink>(
    classifier: &mut Classifier<S>,
    frames: &'a Frames,
    inband: &mut InBand<Held<'a>>,
) {
    black_box(frames.through_after(classifier, 3_000_000_000, 1000, |burst, now_ns, counters| {
        inband.take(burst, 0, now_ns, counters);
    }));
}

#[inline(never)]
fn measured<S: FlowSink>(classifier: &mut Classifier<S>, frames: &Frames) {
    black_box(frames.through(classifier, 3_000_000_000, 1000));
}
