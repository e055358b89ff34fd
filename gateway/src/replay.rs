//! `glassgate replay`: captures through the very classifier that runs inline, one line of JSON per flow.
//!
//! Needs neither DPDK nor root. Each capture gets a clock of its own: its first frame is set two days after the last
//! frame of the capture before, so that nothing learned from one (DNS answers, fragments) reaches the next.

use anyhow::{Context, Result};
use glassgate_dataplane::classifier::{Classifier, FlowSink, FlowSummary, NameSeen, Options, Policy};
use glassgate_dataplane::counters::LcoreCounters;
use glassgate_dataplane::flow::FlowId;
use glassgate_dataplane::port::Frame as _;
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_policy::table::SignatureTable;
use glassgate_policy::{AppProto, Category, Evidence};
use serde::Serialize;
use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Nanoseconds between two captures: longer than anything is remembered.
const BETWEEN_CAPTURES: u64 = 2 * 24 * 3600 * 1_000_000_000;
/// The longest time that a capture may span: its times are as hostile as its frames, and must not drive the clock to
/// its end. What is later counts as this late.
const LONGEST_CAPTURE: u64 = 366 * 24 * 3600 * 1_000_000_000;
/// Timers looked at per frame: a capture may leap over hours from one frame to the next.
const EXPIRE_BUDGET: usize = 4096;

/// What to replay, and where the lines go.
pub(crate) struct Replay<'a> {
    /// Captures, in order.
    pub(crate) captures: &'a [PathBuf],
    /// What the classifier decides by.
    pub(crate) policy: Policy,
    /// Sizes of the classifier.
    pub(crate) options: Options,
    /// Where the line of each flow goes; `None` for counts only.
    pub(crate) flows: Option<Box<dyn Write + 'a>>,
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
    let sink = Lines::new(replay.flows, replay.policy.table.clone());
    let mut classifier = Classifier::new(replay.options, replay.policy, sink, 0);
    let mut outcome = Outcome::default();
    let mut clock = BETWEEN_CAPTURES;
    for path in replay.captures {
        classifier.sink.capture = path.to_string_lossy().into_owned();
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
        if let Some(e) = classifier.sink.failed.take() {
            return Err(e).context("writing the flows");
        }
    }
    outcome.counters = classifier.counters.clone();
    if let Some(out) = &mut classifier.sink.out {
        out.flush().context("writing the flows")?;
    }
    Ok(outcome)
}

/// Replays one capture; answers what is wrong with its end, if anything.
fn one(
    path: &Path,
    classifier: &mut Classifier<Lines<'_>>,
    clock: &mut u64,
    frames: &mut u64,
) -> Result<Option<String>> {
    let mut reader = CaptureReader::open(path).with_context(|| format!("{}", path.display()))?;
    let (start, mut first) = (*clock, None);
    loop {
        match reader.next() {
            Some(Ok(frame)) => {
                let first = *first.get_or_insert(frame.time());
                let into = frame.time().saturating_sub(first).min(LONGEST_CAPTURE);
                *clock = (*clock).max(start.saturating_add(into));
                classifier.frame(frame.bytes(), frame.wire_len(), frame.link(), frame.number(), *clock);
                classifier.expire(*clock, EXPIRE_BUDGET);
                *frames += 1;
            }
            Some(Err(e)) => return Ok(Some(e.to_string())),
            None => return Ok(reader.damage().map(|d| d.to_string())),
        }
    }
}

/// The line of one flow: the contract of `replay --flows`. Fields are added, never changed or removed.
#[derive(Serialize)]
struct FlowLine<'a> {
    capture: &'a str,
    proto: &'static str,
    client: IpAddr,
    client_port: u16,
    server: IpAddr,
    server_port: u16,
    vlan: &'a [u16],
    kind: Option<&'static str>,
    app: Option<&'static str>,
    name: Option<&'a str>,
    names: Vec<&'a str>,
    evidence: Option<&'static str>,
    service: Option<&'a str>,
    category: Option<&'static str>,
    first_frame: u64,
    name_frame: Option<u64>,
    frames: u64,
    bytes: u64,
    reason: Option<&'static str>,
    candidates: Vec<&'a str>,
    ech: bool,
    action: &'static str,
    level: &'static str,
}

/// Something that was said where a name is expected.
struct Said {
    name: String,
    claim: bool,
}

struct Lines<'a> {
    out: Option<std::io::BufWriter<Box<dyn Write + 'a>>>,
    capture: String,
    said: HashMap<FlowId, Vec<Said>>,
    table: Arc<SignatureTable>,
    failed: Option<std::io::Error>,
}

impl<'a> Lines<'a> {
    fn new(out: Option<Box<dyn Write + 'a>>, table: Arc<SignatureTable>) -> Self {
        let out = out.map(|o| std::io::BufWriter::with_capacity(1 << 16, o));
        Self { out, capture: String::new(), said: HashMap::new(), table, failed: None }
    }
}

impl FlowSink for Lines<'_> {
    const NAMES: bool = true;

    fn named(&mut self, flow: FlowId, seen: &NameSeen<'_>) {
        let said = self.said.entry(flow).or_default();
        if !said.iter().any(|s| s.name == seen.name) {
            said.push(Said { name: seen.name.to_owned(), claim: seen.claim });
        }
    }

    fn ended(&mut self, flow: FlowId, s: &FlowSummary) {
        let said = self.said.remove(&flow).unwrap_or_default();
        let Some(out) = &mut self.out else { return };
        // An ambiguous flow has no name: whatever was read is one of several readings.
        let named = s.evidence != Evidence::None;
        let pick =
            |want: bool| said.iter().filter(|s| s.claim == want).map(|s| s.name.as_str()).collect::<Vec<_>>();
        let (names, claims) = (pick(false), pick(true));
        let line = FlowLine {
            capture: &self.capture,
            proto: s.tuple.l4.as_str(),
            client: s.tuple.client.ip,
            client_port: s.tuple.client.port,
            server: s.tuple.server.ip,
            server_port: s.tuple.server.port,
            vlan: s.vlans.ids(),
            // Four kinds are promised; the rest of what is known stands in `app`.
            kind: s
                .app
                .filter(|a| {
                    !matches!(a, AppProto::H2c | AppProto::Connect) && s.evidence != Evidence::DnsHint
                })
                .map(|a| a.as_str()),
            app: s.app.map(|a| a.as_str()),
            name: names.first().copied().filter(|_| named),
            evidence: named.then(|| s.evidence.as_str()),
            service: self.table.service(s.service).map(|i| i.name),
            category: (s.category != Category::Unknown).then(|| s.category.as_str()),
            first_frame: s.first_frame,
            name_frame: (s.name_frame != 0).then_some(s.name_frame),
            frames: u64::from(s.frames_up) + u64::from(s.frames_down),
            bytes: s.bytes_up + s.bytes_down,
            reason: s.reason.map(|r| r.as_str()),
            candidates: if named { Vec::new() } else { names.clone() },
            names: if named { names } else { claims },
            ech: s.ech,
            action: s.verdict.action.as_str(),
            level: s.verdict.level.as_str(),
        };
        let written = serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from);
        if let Err(e) = written.and_then(|()| out.write_all(b"\n")) {
            self.failed.get_or_insert(e);
        }
    }
}
