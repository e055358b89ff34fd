//! Frames that lie in memory beforehand, as a capture does, and their way through a classifier.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use glassgate_dataplane::classifier::{Classifier, FlowSink, Options, Policy};
use glassgate_dataplane::counters::LcoreCounters;
use glassgate_dataplane::event_ring::{Consumer, EventRing, Producer};
use glassgate_dataplane::parse::ParseOptions;
use glassgate_dataplane::port::capture::CaptureReader;
use glassgate_dataplane::port::{BURST, Burst, Frame, Link};
use glassgate_policy::compile::{self, KeyChoice, compile};
use glassgate_policy::source::Source;
use glassgate_policy::{Action, FlowEvent, ObservationLevel, SignatureTable, Verdict, VerdictMatrix};

/// A frame that somebody else keeps.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    bytes: &'a [u8],
    wire_len: usize,
    link: Link,
}

impl Frame for Held<'_> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.bytes
    }

    #[inline]
    fn wire_len(&self) -> usize {
        self.wire_len
    }

    #[inline]
    fn link(&self) -> Link {
        self.link
    }
}

/// Frames one after the other in one run of bytes.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// End, length on the wire and link of each.
    ends: Vec<(usize, u32, Link)>,
}

impl Frames {
    /// Adds an Ethernet frame.
    pub fn push(&mut self, frame: &[u8]) {
        self.add(frame, frame.len(), Link::Ethernet);
    }

    fn add(&mut self, frame: &[u8], wire_len: usize, link: Link) {
        self.bytes.extend_from_slice(frame);
        self.ends.push((self.bytes.len(), wire_len as u32, link));
    }

    /// All frames of a capture file.
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = CaptureReader::open(path).with_context(|| path.display().to_string())?;
        let mut frames = Self::default();
        while let Some(Ok(frame)) = reader.next() {
            frames.add(frame.bytes(), frame.wire_len(), frame.link());
        }
        Ok(frames)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The frames, in order.
    pub fn iter(&self) -> impl Iterator<Item = Held<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, ..)| *end));
        starts.zip(&self.ends).map(|(start, (end, wire_len, link))| Held {
            bytes: self.bytes.get(start..*end).unwrap_or_default(),
            wire_len: *wire_len as usize,
            link: *link,
        })
    }

    /// Passes all frames through a classifier, in bursts, `step_ns` from one burst to the next; the time at the end.
    pub fn through<S: FlowSink>(&self, classifier: &mut Classifier<S>, now_ns: u64, step_ns: u64) -> u64 {
        self.through_after(classifier, now_ns, step_ns, |_, _, _| {})
    }

    /// The same, where something happens to each burst first.
    pub fn through_after<'a, S: FlowSink>(
        &'a self,
        classifier: &mut Classifier<S>,
        mut now_ns: u64,
        step_ns: u64,
        mut first: impl FnMut(&mut Burst<Held<'a>>, u64, &mut LcoreCounters),
    ) -> u64 {
        let (mut burst, mut number) = (Burst::default(), 1);
        let mut frames = self.iter();
        loop {
            for _ in 0..BURST {
                match frames.next() {
                    Some(frame) => _ = burst.push(frame),
                    None => break,
                }
            }
            if burst.is_empty() {
                return now_ns;
            }
            first(&mut burst, now_ns, &mut classifier.counters);
            std::hint::black_box(classifier.burst(&burst, number, now_ns));
            number += burst.len() as u64;
            now_ns += step_ns;
            classifier.expire(now_ns, 16);
            burst.drain().for_each(drop);
        }
    }
}

/// Sends events to a ring, as the gateway's lcores do.
pub struct RingSink(Producer);

impl FlowSink for RingSink {
    const SUMMARIES: bool = false;

    fn event(&mut self, event: &FlowEvent) -> bool {
        self.0.push(*event)
    }
}

/// A classifier with everything on: reassembly, hints, policy, events into a real ring, whose other end is given too.
pub fn classifier(
    flows: usize,
    table: Arc<SignatureTable>,
    capture: bool,
) -> Result<(Classifier<RingSink>, Consumer)> {
    let verdict = Verdict { action: Action::Allow, level: ObservationLevel::Aggregate };
    let policy = Policy { table, matrix: Arc::new(VerdictMatrix::uniform(1, verdict)) };
    let parse = ParseOptions { capture, ..ParseOptions::default() };
    let options = Options {
        flows,
        parse,
        source_shares: !capture,
        secret: [5, 6, 7, 8],
        contain_panics: true,
        ..Options::default()
    };
    let ring = EventRing::create("bench", 1 << 18)?;
    Ok((Classifier::new(options, policy, RingSink(ring.producer()), 1_000_000_000), ring.consumer()))
}

/// A table of `names` domains: the `n`-th is [`listed`].
pub fn signatures(names: usize) -> Result<Arc<SignatureTable>> {
    let mut text = String::from("service\tcategory\ttitle\tregion\njobs\trecruitment\tJobs\tCN\n");
    let services = Source::parse("services.tsv", text.as_bytes()).map_err(|e| anyhow::anyhow!("{e}"))?;
    text.clear();
    text.push_str("name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n");
    for n in 0..names {
        text += &format!("{}\tsuffix\tjobs\trecruitment\tsite\tstrong\tbench\tMIT\t2026-01-01\n", listed(n));
    }
    let source = Source::parse("names.tsv", text.as_bytes()).map_err(|e| anyhow::anyhow!("{e}"))?;
    let options = compile::Options { key: KeyChoice::Fixed([7; 16]), ..compile::Options::default() };
    let compiled = compile(&[services, source], &options).map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(Arc::new(SignatureTable::from_bytes(&compiled.bytes)?))
}

/// The `n`-th name of the table.
pub fn listed(n: usize) -> String {
    // Lengths and letters as mixed as those of real lists: numbers in base 36 behind a word.
    let words = ["shop", "media-cdn", "jobs", "video", "login", "static-assets", "news", "api"];
    let mut digits = String::new();
    let mut rest = n.wrapping_mul(0x9e37_79b1) & 0xffff_ffff;
    while rest > 0 {
        digits.push(char::from_digit((rest % 36) as u32, 36).unwrap_or('0'));
        rest /= 36;
    }
    format!("{}{digits}.{}", words[n % words.len()], ["com", "net", "cn", "org"][n / 8 % 4])
}
