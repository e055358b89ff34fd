//! Frames of flows whose verdict is known: what nearly all frames cost.
//!
//! The floor is the same loop with the place of the flow's record known: receive, parse, read and write the record, count,
//! send. What lies between floor and ours is what finding the record costs.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, ensure};
use glassgate_dataplane::classifier::{Classifier, FlowSink, NoSink, Options, Policy};
use glassgate_dataplane::lcore::Lcore;
use glassgate_dataplane::parse::{ParseOptions, Parsed, parse};
use glassgate_dataplane::port::{BURST, Burst, Frame as _, Link, Port};
use glassgate_policy::compile::{self, compile};
use glassgate_policy::{Action, ObservationLevel, SignatureTable, Verdict, VerdictMatrix};
use prefetch_index::prefetch_index;

use crate::generator::{Generator, Order, retuple};
use crate::measure::{Contestant, alternate, mono_ns};
use crate::report::{Goal, Report};
use crate::stage::Stage;
use crate::support::hello::Hello;
use crate::wire::{self, Tuple};

/// Turns between two looks at the clock that ends a round.
pub(super) const TURNS: usize = 256;

/// 64 k, 1 M and 8 M flows, each as likely as any other.
pub(super) fn uniform(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let sizes: &[(u32, &str, f64, f64)] = if stage.effort.quick {
        &[(1 << 12, "4 k", 20.0, 0.8)]
    } else {
        &[(1 << 16, "64 k", 20.0, 0.80), (1 << 20, "1 M", 34.0, 0.45), (1 << 23, "8 M", 50.0, 0.30)]
    };
    let mut io = stage.testpmd_null(64)?;
    let pool = stage.null_pool(false)?;
    for (flows, label, most, share) in sizes {
        let mut side = |up| -> Result<Generator> {
            Ok(Generator::new(stage.open("null", pool)?, up, *flows, Order::Uniform))
        };
        let mut ours = bridge(side(true)?, side(false)?, *flows, false)?;
        let (mut a, mut b) = (side(true)?, side(false)?);
        let mut bare = (side(true)?, side(false)?);
        let mut records = vec![Record::default(); *flows as usize];
        let mut counts = [0u64; 4];
        let figures = alternate(
            stage.effort,
            &mut [
                Contestant::timed("ours", || turns(&mut ours)),
                Contestant::timed("floor", || {
                    floor(&mut a, &mut b, &mut records, &mut counts)
                        + floor(&mut b, &mut a, &mut records, &mut counts)
                }),
                Contestant::timed("generator", || {
                    pass(&mut bare.0, &mut bare.1, TURNS) + pass(&mut bare.1, &mut bare.0, TURNS)
                }),
                Contestant::new("testpmd", |time| io.ns_per_frame(time)),
            ],
        )?;
        let [ours, floor, bare, io] = figures[..] else { unreachable!("four contestants") };
        report.figure(format!("{label} flows"), ours, "ns/frame", Some(Goal::AtMost(*most)));
        report.figure(format!("{label} flows, floor: the record's place known"), floor, "ns/frame", None);
        report.ratio(
            format!("{label} flows, ours / floor"),
            ours.median / floor.median,
            Some(Goal::AtMost(1.25)),
        );
        report.figure(format!("{label} flows, generator alone"), bare, "ns/frame", None);
        report.figure("testpmd io, frames untouched", io, "ns/frame", None);
        let speed = io.median / ours.median;
        report.ratio(format!("{label} flows, speed against testpmd io"), speed, Some(Goal::AtLeast(*share)));
    }
    Ok(())
}

/// A bridge that knows `flows` flows, all named and settled.
pub(super) fn bridge<P: Port>(lan: P, uplink: P, flows: u32, v6: bool) -> Result<Lcore<P, NoSink>> {
    let mut classifier = classifier(flows as usize, NoSink)?;
    begin(&mut classifier, flows, v6)?;
    Ok(Lcore::new(lan, uplink, classifier))
}

/// A classifier for `flows` flows that observes counts, with a small table of signatures.
pub(super) fn classifier<S: FlowSink>(flows: usize, sink: S) -> Result<Classifier<S>> {
    let compiled = compile(&[], &compile::Options::default()).map_err(|e| anyhow::anyhow!("{e}"))?;
    let verdict = Verdict { action: Action::Allow, level: ObservationLevel::Aggregate };
    let policy = Policy {
        table: Arc::new(SignatureTable::from_bytes(&compiled.bytes)?),
        matrix: Arc::new(VerdictMatrix::uniform(1, verdict)),
    };
    let options = Options { flows, secret: [11, 12, 13, 14], contain_panics: true, ..Options::default() };
    Ok(Classifier::new(options, policy, sink, mono_ns()))
}

/// Opens flows 0 to `flows`: handshake, hello, the server's first bytes. Then all of them are settled.
pub(super) fn begin<S: FlowSink>(classifier: &mut Classifier<S>, flows: u32, v6: bool) -> Result<()> {
    let hello = Hello::named("www.example.com").record();
    let tuple = if v6 { Tuple::v6(0) } else { Tuple::v4(0) };
    // Their checksums are those of flow 0. A flow whose SYN has a wrong one is taken for one of a host that leaves sums to
    // its NIC: what follows is not checked either.
    let mut frames = wire::tls_begin(&tuple, &hello);
    let mut number = 1;
    for n in 0..flows {
        for (up, frame) in &mut frames {
            retuple(frame, n, *up, v6);
            classifier.frame(frame, frame.len(), Link::Ethernet, number, mono_ns());
            number += 1;
        }
    }
    ensure!(classifier.flows() == flows as usize, "{} of {flows} flows are known", classifier.flows());
    ensure!(classifier.slab_fill().0 == 0, "{} flows are not settled", classifier.slab_fill().0);
    Ok(())
}

/// Turns of a bridge; frames that it moved.
pub(super) fn turns<P: Port, S: FlowSink>(lcore: &mut Lcore<P, S>) -> u64 {
    (0..TURNS).map(|_| lcore.turn(mono_ns()).frames as u64).sum()
}

/// What the floor keeps of a flow: one line, like [`glassgate_dataplane::flow::Hot`].
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Record {
    seen_ms: u32,
    action: u32,
    bytes: [u32; 2],
    frames: [u32; 2],
    key: [u64; 5],
}

/// Bursts in one direction with the place of each frame's record known: it stands in the frame.
pub(super) fn floor<P: Port>(from: &mut P, to: &mut P, records: &mut [Record], counts: &mut [u64; 4]) -> u64 {
    let (mut frames, mut burst) = (0, Burst::default());
    let options = ParseOptions::default();
    for _ in 0..TURNS {
        let now_ms = (mono_ns() / 1_000_000) as u32;
        from.rx_burst(&mut burst);
        let mut places = [(0u32, 0u8); BURST];
        for (frame, place) in burst.iter().zip(&mut places) {
            let bytes = frame.bytes();
            if let Parsed::Packet(packet) = &parse(bytes, frame.wire_len(), Link::Ethernet, &options) {
                *place = (Generator::flow_of(bytes), u8::from(packet.src_port < packet.dst_port));
                prefetch_index(&*records, place.0 as usize);
            }
        }
        for (frame, (at, side)) in burst.iter().zip(places) {
            let Some(record) = records.get_mut(at as usize) else { continue };
            record.seen_ms = now_ms;
            let side = usize::from(side & 1);
            record.frames[side] = record.frames[side].saturating_add(1);
            record.bytes[side] = record.bytes[side].wrapping_add(frame.wire_len() as u32);
            counts[side] += frame.wire_len() as u64;
            counts[2] += 1;
            counts[3] += u64::from(record.action);
        }
        frames += to.tx_burst(&mut burst) as u64;
    }
    black_box(counts);
    frames
}

/// Bursts in one direction, only received and sent.
pub(super) fn pass<P: Port>(from: &mut P, to: &mut P, bursts: usize) -> u64 {
    let (mut frames, mut burst) = (0, Burst::default());
    for _ in 0..bursts {
        from.rx_burst(&mut burst);
        frames += to.tx_burst(&mut burst) as u64;
    }
    frames
}
