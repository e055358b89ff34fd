//! Captures through the very classifier that runs inline; whoever replays is told about each flow.
//!
//! Needs neither DPDK nor root. Each capture gets a clock of its own: its first frame is set two days after the last
//! frame of the capture before, so that nothing learned from one (DNS answers, fragments) reaches the next.

mod lines;
pub(crate) mod timing;

use anyhow::{Context, Result};
use glassgate_dataplane::classifier::{Classifier, FlowSink, FlowSummary, NameSeen, NoSink, Options, Policy};
use glassgate_dataplane::counters::LcoreCounters;
use glassgate_dataplane::flow::FlowId;
use glassgate_dataplane::inspect::ja4::{self, Ja4};
use glassgate_dataplane::inspect::tls::{self, ClientHello, Framing};
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_dataplane::port::{BURST, Burst, Frame};
pub(crate) use lines::Lines;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// Nanoseconds between two captures: longer than anything is remembered.
const BETWEEN_CAPTURES: u64 = 2 * 24 * 3600 * 1_000_000_000;
/// The longest time that a capture may span: its times are as hostile as its frames, and must not drive the clock to
/// its end. What is later counts as this late.
const LONGEST_CAPTURE: u64 = 366 * 24 * 3600 * 1_000_000_000;
/// Timers looked at per burst: a capture may leap over hours from one frame to the next.
const EXPIRE_BUDGET: usize = 4096;
/// Nanoseconds that a burst may span: frames further apart never wait for each other at a port, and a flow may have ended
/// between them. Who is told about flows gets one frame at a time, so that no time is another frame's.
const LONGEST_BURST: u64 = 1_000_000_000;

/// What to replay, and where the lines go.
pub(crate) struct Replay<'a> {
    /// Captures, in order.
    pub(crate) captures: &'a [PathBuf],
    /// What the classifier decides by.
    pub(crate) policy: Policy,
    /// Sizes of the classifier.
    pub(crate) options: Options,
    /// Who is told about each flow when it ends; `None` for counts only.
    pub(crate) tell: Option<&'a mut Tell<'a>>,
}

/// Told about flows. An error ends the replay after the capture in hand.
pub(crate) type Tell<'a> = dyn FnMut(&Seen<'_>) -> io::Result<()> + 'a;

/// A flow that ended.
pub(crate) struct Seen<'a> {
    /// The capture, as it was named.
    pub(crate) capture: &'a str,
    /// What was counted.
    pub(crate) summary: &'a FlowSummary,
    /// What was read where a name is expected, in order. Of a flow without evidence these are candidates: an
    /// ambiguous flow has several readings and no name.
    pub(crate) names: Vec<&'a str>,
    /// What was said in place of a name and names nobody.
    pub(crate) claims: Vec<&'a str>,
    /// Its first hello.
    pub(crate) hello: Option<&'a Hello>,
}

/// What is told of a hello.
pub(crate) struct Hello {
    /// Highest version offered; `None` for one that no standard has.
    pub(crate) version: Option<&'static str>,
    /// Protocols offered by ALPN, in the hello's order.
    pub(crate) alpn: Vec<String>,
    /// `None` for what is no TLS handshake message.
    pub(crate) ja4: Option<Ja4>,
}

/// What a replay saw.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Captures read to their end.
    pub(crate) captures: usize,
    /// Frames in them.
    pub(crate) frames: u64,
    /// What the classifier counted.
    pub(crate) counters: LcoreCounters,
    /// Captures that could not be read, or not to their end, and why. What could be read counts.
    pub(crate) damaged: Vec<(PathBuf, String)>,
}

/// Replays captures.
pub(crate) fn run(replay: Replay<'_>) -> Result<Outcome> {
    let Replay { captures, policy, options, tell } = replay;
    match tell {
        Some(tell) => all(captures, Classifier::new(options, policy, Names::new(tell), 0)),
        // Counts only: nothing is formatted and no name is kept.
        None => all(captures, Classifier::new(options, policy, NoSink, 0)),
    }
}

/// A sink that is told which capture comes, and may fail.
trait CaptureSink: FlowSink {
    fn begin(&mut self, _capture: &Path) {}

    fn failed(&mut self) -> Option<io::Error> {
        None
    }
}

impl CaptureSink for NoSink {}

fn all<S: CaptureSink>(captures: &[PathBuf], mut classifier: Classifier<S>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut clock = BETWEEN_CAPTURES;
    for path in captures {
        classifier.sink.begin(path);
        match one(path, &mut classifier, &mut clock, &mut outcome.frames) {
            Ok(None) => outcome.captures += 1,
            Ok(Some(damage)) => {
                outcome.captures += 1;
                outcome.damaged.push((path.clone(), damage));
            }
            Err(e) => outcome.damaged.push((path.clone(), format!("{e:#}"))),
        }
        classifier.finish();
        clock += BETWEEN_CAPTURES;
        classifier.expire(clock, EXPIRE_BUDGET);
        if let Some(e) = classifier.sink.failed() {
            return Err(e).context("writing the flows");
        }
    }
    outcome.counters = classifier.counters.clone();
    Ok(outcome)
}

/// Replays one capture; answers what is wrong with its end, if anything.
fn one<S: FlowSink>(
    path: &Path,
    classifier: &mut Classifier<S>,
    clock: &mut u64,
    frames: &mut u64,
) -> Result<Option<String>> {
    let mut reader = CaptureReader::open(path).with_context(|| format!("{}", path.display()))?;
    let (start, mut first) = (*clock, None);
    let mut burst = Burst::default();
    // Of the burst: the number and the time of its first frame.
    let mut begun = (0, 0);
    loop {
        let frame = match reader.next() {
            Some(Ok(frame)) => frame,
            ended => {
                *frames += give(classifier, &mut burst, begun.0, *clock);
                return Ok(match ended {
                    Some(Err(e)) => Some(e.to_string()),
                    _ => reader.damage().map(|d| d.to_string()),
                });
            }
        };
        let first = *first.get_or_insert(frame.time());
        let now = (*clock).max(start.saturating_add(frame.time().saturating_sub(first).min(LONGEST_CAPTURE)));
        let full = burst.len() >= if S::SUMMARIES { 1 } else { BURST };
        if full || now - begun.1 > LONGEST_BURST || frame.number() != begun.0 + burst.len() as u64 {
            *frames += give(classifier, &mut burst, begun.0, *clock);
            begun = (frame.number(), now);
        }
        *clock = now;
        // There is room: nothing comes back.
        drop(burst.push(frame));
    }
}

/// Gives a burst to the classifier and empties it; answers how many frames it had.
fn give<S: FlowSink, F: Frame>(
    classifier: &mut Classifier<S>,
    burst: &mut Burst<F>,
    first: u64,
    now: u64,
) -> u64 {
    let frames = burst.len() as u64;
    if frames > 0 {
        classifier.burst(burst, first, now);
        classifier.expire(now, EXPIRE_BUDGET);
        burst.drain().for_each(drop);
    }
    frames
}

/// Something that was said where a name is expected.
struct Said {
    name: String,
    claim: bool,
}

/// Keeps what was said in flows until they end.
struct Names<'a> {
    tell: &'a mut Tell<'a>,
    capture: String,
    said: HashMap<FlowId, Vec<Said>>,
    hellos: HashMap<FlowId, Hello>,
    failed: Option<io::Error>,
}

impl<'a> Names<'a> {
    fn new(tell: &'a mut Tell<'a>) -> Self {
        Self { tell, capture: String::new(), said: HashMap::new(), hellos: HashMap::new(), failed: None }
    }
}

impl CaptureSink for Names<'_> {
    fn begin(&mut self, capture: &Path) {
        self.capture = capture.to_string_lossy().into_owned();
    }

    fn failed(&mut self) -> Option<io::Error> {
        self.failed.take()
    }
}

impl FlowSink for Names<'_> {
    const NAMES: bool = true;

    fn named(&mut self, flow: FlowId, seen: &NameSeen<'_>) {
        let said = self.said.entry(flow).or_default();
        if !said.iter().any(|s| s.name == seen.name) {
            said.push(Said { name: seen.name.to_owned(), claim: seen.claim });
        }
    }

    fn hello(&mut self, flow: FlowId, hello: &ClientHello, message: &[u8]) {
        let transport = match hello.framing {
            Framing::Quic | Framing::Gquic => ja4::Transport::Quic,
            Framing::Record | Framing::Records | Framing::Sslv2 => ja4::Transport::Tcp,
        };
        self.hellos.entry(flow).or_insert_with(|| Hello {
            version: version(hello.versions.best()),
            alpn: tls::alpn_protocols(message).map(|id| id.escape_ascii().to_string()).collect(),
            ja4: Ja4::new(message, transport),
        });
    }

    fn ended(&mut self, flow: FlowId, summary: &FlowSummary) {
        let said = self.said.remove(&flow).unwrap_or_default();
        let hello = self.hellos.remove(&flow);
        let pick = |claim: bool| said.iter().filter(|s| s.claim == claim).map(|s| s.name.as_str()).collect();
        let (names, claims) = (pick(false), pick(true));
        let seen = Seen { capture: &self.capture, summary, names, claims, hello: hello.as_ref() };
        if let Err(e) = (self.tell)(&seen) {
            self.failed.get_or_insert(e);
        }
    }
}

/// What a version of the wire is called; `None` for one that no standard has.
fn version(wire: u16) -> Option<&'static str> {
    match wire {
        0x0300 => Some("3.0"),
        0x0301 => Some("1.0"),
        0x0302 => Some("1.1"),
        0x0303 => Some("1.2"),
        0x0304 => Some("1.3"),
        _ => None,
    }
}
