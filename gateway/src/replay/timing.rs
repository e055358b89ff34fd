//! `glassgate replay --time`: what the classifier costs per frame, without files, formats and output.
//!
//! All frames are read into memory first. Each pass is then a classifier over all of them as one stream of traffic, in bursts as
//! they come from a port (all frames of one have the time of its last), with reassembly, expiry, signature table and verdicts as inline, on one thread. The first pass is not counted: it touches
//! the memory of the tables.

use super::{BETWEEN_CAPTURES, LONGEST_BURST, LONGEST_CAPTURE};
use anyhow::{Context, Result};
use glassgate_dataplane::classifier::{Classifier, NoSink, Options, Policy};
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_dataplane::port::{BURST, Burst, Frame, Link};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Timers looked at after each burst: as many as can fall due in one.
const EXPIRE_BUDGET: usize = 4 * BURST;

/// How long the classifier took.
#[derive(Debug, Serialize)]
pub(crate) struct Timing {
    /// Captures that could be read.
    pub(crate) captures: usize,
    /// Frames of each pass.
    pub(crate) frames: usize,
    /// Bytes of them, as captured.
    pub(crate) bytes: usize,
    /// Flows of a pass.
    pub(crate) flows: u64,
    /// Flows with a name.
    pub(crate) named: u64,
    /// Processor time of the thread in nanoseconds per frame: each pass, in order.
    pub(crate) passes: Vec<f64>,
    /// The one in the middle.
    pub(crate) ns_per_frame: f64,
}

struct Stored {
    end: usize,
    wire_len: u32,
    link: Link,
    time: u64,
}

/// Frames in memory, one behind the other.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    stored: Vec<Stored>,
    captures: usize,
}

/// Times `passes` passes over the captures.
pub(crate) fn run(captures: &[PathBuf], policy: &Policy, options: &Options, passes: usize) -> Result<Timing> {
    let mut frames = Frames::default();
    for path in captures {
        // What can be read counts, as in a replay; a file that is no capture has no frames.
        if frames.load(path).is_ok() {
            frames.captures += 1;
        }
    }
    if frames.stored.is_empty() {
        anyhow::bail!("no frame could be read from the captures");
    }
    let mut times = Vec::with_capacity(passes);
    let mut classifier = Classifier::new(options.clone(), policy.clone(), NoSink, 0);
    let mut start = BETWEEN_CAPTURES;
    for pass in 0..=passes {
        let before = processor_ns();
        start = frames.pass(&mut classifier, start);
        let took = processor_ns().saturating_sub(before);
        if pass > 0 {
            times.push(took as f64 / frames.stored.len() as f64);
        }
        // Every pass finds an empty table and its own counts.
        classifier.finish();
        start += BETWEEN_CAPTURES;
        classifier.expire(start, 1 << 20);
        if pass < passes {
            classifier.counters = Default::default();
        }
    }
    let mut sorted = times.clone();
    sorted.sort_by(f64::total_cmp);
    Ok(Timing {
        captures: frames.captures,
        frames: frames.stored.len(),
        bytes: frames.bytes.len(),
        flows: classifier.counters.flows_opened[0],
        named: classifier.counters.flows_named.iter().sum(),
        ns_per_frame: sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN),
        passes: times,
    })
}

impl Frames {
    fn load(&mut self, path: &Path) -> Result<()> {
        let mut reader = CaptureReader::open(path).with_context(|| format!("{}", path.display()))?;
        let start = self.stored.last().map_or(0, |last| last.time + BETWEEN_CAPTURES);
        let (mut first, mut clock) = (None, start);
        while let Some(Ok(frame)) = reader.next() {
            let first = *first.get_or_insert(frame.time());
            clock = clock.max(start + frame.time().saturating_sub(first).min(LONGEST_CAPTURE));
            self.bytes.extend_from_slice(frame.bytes());
            self.stored.push(Stored {
                end: self.bytes.len(),
                wire_len: u32::try_from(frame.wire_len()).unwrap_or(u32::MAX),
                link: frame.link(),
                time: clock,
            });
        }
        Ok(())
    }

    /// Gives all frames to the classifier; answers the time of the last.
    fn pass(&self, classifier: &mut Classifier<NoSink>, start: u64) -> u64 {
        let (mut at, mut now) = (0, start);
        let (mut rest, mut number) = (self.stored.as_slice(), 1);
        let mut burst = Burst::default();
        while let Some(first) = rest.first() {
            let near = |frame: &Stored| frame.time - first.time <= LONGEST_BURST;
            let together = match rest.get(BURST - 1) {
                Some(last) if near(last) => BURST,
                _ => rest.iter().take(BURST).take_while(|frame| near(frame)).count(),
            };
            let (frames, later) = rest.split_at(together);
            for frame in frames {
                now = start + frame.time;
                let bytes = self.bytes.get(at..frame.end).unwrap_or_default();
                // There are no more than fit: none is given back.
                drop(burst.push(InMemory { bytes, wire_len: frame.wire_len as usize, link: frame.link }));
                at = frame.end;
            }
            classifier.burst(&burst, number, now);
            classifier.expire(now, EXPIRE_BUDGET);
            burst.drain().for_each(drop);
            (rest, number) = (later, number + together as u64);
        }
        now
    }
}

/// A frame of the timed ones.
struct InMemory<'a> {
    bytes: &'a [u8],
    wire_len: usize,
    link: Link,
}

impl Frame for InMemory<'_> {
    fn bytes(&self) -> &[u8] {
        self.bytes
    }

    fn wire_len(&self) -> usize {
        self.wire_len
    }

    fn link(&self) -> Link {
        self.link
    }
}

/// Processor time that this thread has used.
fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Timing {
    /// For a person.
    pub(crate) fn describe(&self) -> String {
        let (least, most) =
            self.passes.iter().fold((f64::MAX, 0f64), |(least, most), t| (least.min(*t), most.max(*t)));
        format!(
            "{} captures, {} frames ({:.1} MB), {} flows, {} named\n\
             classifier  {:.0} ns a frame, {:.2} million frames/s on one core (median of {} passes, {least:.0} to {most:.0} ns)\n",
            self.captures,
            self.frames,
            self.bytes as f64 / 1e6,
            self.flows,
            self.named,
            self.ns_per_frame,
            1e3 / self.ns_per_frame,
            self.passes.len(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdicts;
    use glassgate_policy::charter::Levels;
    use glassgate_policy::rules::Moment;
    use std::sync::Arc;

    #[test]
    fn every_pass_sees_the_same_flows() {
        let capture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../dataplane/tests/captures/real-clients.pcap");
        let compiled = verdicts::compile(None, None, None).unwrap();
        let matrix = Arc::new(compiled.matrix(1, u64::MAX, &Levels::counts(1), &Moment::day(None)));
        let policy = Policy { table: Arc::new(compiled.table), matrix };
        let options = Options { flows: 1 << 10, ..Options::default() };
        let one = run(std::slice::from_ref(&capture), &policy, &options, 1).unwrap();
        let three = run(&[capture.clone(), capture], &policy, &options, 3).unwrap();
        assert!(one.named > 10 && one.flows >= one.named, "{one:?}");
        assert_eq!(three.frames, 2 * one.frames);
        // The second copy comes two days later: none of its flows is one of the first copy's.
        assert_eq!((three.flows, three.named), (2 * one.flows, 2 * one.named));
        assert_eq!(three.passes.len(), 3);
        assert!(run(&[PathBuf::from("/nonexistent")], &policy, &options, 1).is_err());
    }
}
