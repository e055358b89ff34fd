//! Visits, time spent and probable uploads, by subject and service.
//!
//! ```text
//!  events    ▂▅▂   ▁    ▃▇▃                                  ▂▅▂
//!  activity ├───────┤  ├───┤                                ├───┤
//!  visits   ├─── the first ────┤◄─ half an hour and more ─►├─ the second
//! ```
//!
//! **A visit** ends when there was no activity for a while: half an hour, as analytics of web sites have it since the nineties
//! (Catledge and Pitkow measured 25.5 minutes, Google Analytics takes 30). **Time spent** is the time in which there was
//! activity, of all flows of a subject to a service together and each moment once; a flow that is open and silent, or only kept
//! alive, is none. It is known to half a minute, which is how often a flow tells of itself. **An upload** is a burst from the
//! client, see [`crate::upload`].
//!
//! What is kept depends on the level. At `aggregate` there is a *trace*: until when somebody was last active at a service,
//! and a burst that goes on; no sums, nothing that is handed out, and it is forgotten when the visit is over. At `sealed` there
//! is a *session* besides, with sums, which goes to a [`SessionSink`] when the visit is over. A [`SessionRecord`] can't be
//! written as JSON by anybody: it has no `Serialize`, so that what takes it must seal it first.
//!
//! ```compile_fail
//! fn written<T: serde::Serialize>() {}
//! written::<glassgate_policy::session::SessionRecord<'static>>();
//! ```
//!
//! Bounded: at most [`MAX_TRACES`] traces. Whoever finds no room is counted without visits, time and uploads, and how often
//! that was is kept for a gap record.

use std::collections::HashMap;

use crate::audit::Now;
use crate::category::Category;
use crate::flow_event::{EventKind, FlowEvent};
use crate::upload::{self, Shape, Usual};
use crate::vocab::{Evidence, GroupId, Purposes, SubjectId};

/// The most traces at once: some 40 MiB.
pub const MAX_TRACES: usize = 1 << 18;
/// The time without activity that ends a visit.
pub const GAP_NS: u64 = 1800 * 1_000_000_000;
/// Uploads that a session lists; of more it has the number.
pub const MAX_UPLOADS: usize = 32;

/// Bytes both ways of an event below which it tells of no activity: what keeps a flow alive needs less in half a minute.
const KEPT_ALIVE: u64 = 2048;
/// The longest time that an event tells of: how often flows tell of themselves, and some.
const LONGEST_NS: u64 = 35 * 1_000_000_000;
/// Payload of an event that makes it part of a burst.
const BURST: u64 = 16 << 10;
/// The time without such an event that ends a burst.
const BURST_GAP_NS: u64 = 45 * 1_000_000_000;
/// The longest session: then the next begins.
const LONGEST_SESSION_NS: u64 = 12 * 3600 * 1_000_000_000;
/// Services of which it is known what is usual.
const MAX_USUAL: usize = 1 << 16;

/// What a trace is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceKey {
    /// Who.
    pub subject: SubjectId,
    /// Which category.
    pub category: Category,
    /// Which service, by the engine's number; `0` for none.
    pub service: u32,
}

/// What counts of a trace come under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The group, by the engine's number.
    pub group: GroupId,
    /// How many people must stand behind a count.
    pub k: u32,
    /// Whether uploads may be counted.
    pub uploads: bool,
    /// Whether large uploads may be counted.
    pub large: bool,
    /// For which purposes there may be sessions; for none, there are none.
    pub sealed: Purposes,
}

/// What an event adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// 1 where a visit begins.
    pub visits: u64,
    /// Milliseconds of activity that were not counted yet.
    pub active_ms: u64,
}

/// A probable upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// When it ended, monotonic.
    pub mono_ns: u64,
    /// Its bytes, without headers.
    pub bytes: u64,
    /// How sure it is, per cent.
    pub confidence: u8,
}

/// Something that is over.
#[derive(Clone, Debug, PartialEq)]
pub enum Over {
    /// A burst that was probably an upload.
    Upload(TraceKey, Terms, Upload),
    /// A session.
    Session(TraceKey, Terms, Session),
}

/// What somebody did at a service in one visit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// Monotonic time of its first and its last activity.
    pub begin_mono_ns: u64,
    /// See `begin_mono_ns`.
    pub end_mono_ns: u64,
    /// Flows.
    pub flows: u64,
    /// How the name of that flow is known whose name is known least well.
    pub evidence: Option<Evidence>,
    /// Bytes on the wire, from and to the client.
    pub bytes_up: u64,
    /// See `bytes_up`.
    pub bytes_down: u64,
    /// Milliseconds of activity.
    pub active_ms: u64,
    /// Probable uploads, the first [`MAX_UPLOADS`] of them.
    pub uploads: Vec<Upload>,
    /// Probable uploads beyond these.
    pub more_uploads: u64,
}

/// A session for the sealed log. There is no score in it and none is made: it says what was carried, not what to think of it.
#[derive(Clone, Copy, Debug)]
pub struct SessionRecord<'a> {
    /// Who, by a number that the sealed log makes a pseudonym of.
    pub subject: SubjectId,
    /// The purposes that allow it, as of its last event.
    pub purposes: Purposes,
    /// The category.
    pub category: Category,
    /// Key of the service, if one is known.
    pub service: Option<&'a str>,
    /// What they did.
    pub session: &'a Session,
}

/// What takes sessions. Whoever implements it seals what it keeps.
pub trait SessionSink: std::fmt::Debug + Send {
    /// Takes a session that is over.
    fn take(&mut self, now: &Now, record: &SessionRecord<'_>);
}

/// Where sessions go while nobody seals them: nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl SessionSink for Nowhere {
    fn take(&mut self, _now: &Now, _record: &SessionRecord<'_>) {}
}

/// What is kept of whom.
#[derive(Debug)]
pub struct Traces {
    gap_ns: u64,
    all: HashMap<TraceKey, Trace>,
    usual: HashMap<u32, Usual>,
    refused: u64,
}

#[derive(Debug)]
struct Trace {
    terms: Terms,
    /// The end of the last activity.
    until_ns: u64,
    burst: Option<Burst>,
    session: Option<Box<Session>>,
}

#[derive(Debug)]
struct Burst {
    shape: Shape,
    until_ns: u64,
}

impl Traces {
    /// Visits end after `gap_ns` without activity.
    pub fn new(gap_ns: u64) -> Self {
        Self { gap_ns, all: HashMap::new(), usual: HashMap::new(), refused: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How often there was no room, since this was last asked.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Takes an event of somebody. What is over with it is added to `over`. `None` if there is no room for another trace.
    pub fn note(
        &mut self,
        key: TraceKey,
        terms: Terms,
        event: &FlowEvent,
        over: &mut Vec<Over>,
    ) -> Option<Noted> {
        let ds = |ds: u16| u64::from(ds) * 100_000_000;
        let end = event.mono_ns.saturating_sub(ds(event.quiet_ds));
        let start =
            event.mono_ns.saturating_sub(ds(event.span_ds)).max(end.saturating_sub(LONGEST_NS)).min(end);
        let shape = Shape::of(event);
        let is_active =
            event.kind == EventKind::Decided || event.bytes_up.saturating_add(event.bytes_down) >= KEPT_ALIVE;
        let full = self.all.len() >= MAX_TRACES;
        let gap_ns = self.gap_ns;
        let mut is_new = false;
        if !self.all.contains_key(&key) {
            if !is_active {
                return Some(Noted::default());
            }
            if full {
                self.refused += 1;
                return None;
            }
            is_new = true;
        }
        let trace =
            self.all.entry(key).or_insert(Trace { terms, until_ns: start, burst: None, session: None });
        let mut noted = Noted::default();
        if let Some(done) = trace.burst.take_if(|burst| start.saturating_sub(burst.until_ns) > BURST_GAP_NS) {
            trace.end_burst(key, done, &self.usual, over);
        }
        if is_active {
            let comes_back = start.saturating_sub(trace.until_ns) > gap_ns;
            if comes_back
                || trace
                    .session
                    .as_ref()
                    .is_some_and(|s| end.saturating_sub(s.begin_mono_ns) > LONGEST_SESSION_NS)
            {
                trace.end_session(key, over);
            }
            noted.visits = u64::from(is_new || comes_back);
            if end > trace.until_ns {
                let from = start.max(trace.until_ns);
                noted.active_ms = (end - from) / 1_000_000;
                trace.until_ns = end;
            }
        }
        trace.terms = terms;
        let payload = shape.payload_up();
        if payload >= BURST && terms.uploads {
            let burst = trace.burst.get_or_insert(Burst { shape: Shape::default(), until_ns: end });
            burst.shape = burst.shape.and(shape);
            burst.until_ns = burst.until_ns.max(end);
        }
        if !terms.sealed.is_empty() {
            let begin = Session { begin_mono_ns: start, end_mono_ns: end, ..Session::default() };
            let session = trace.session.get_or_insert_with(|| Box::new(begin));
            session.evidence = Some(session.evidence.map_or(event.evidence, |all| all.min(event.evidence)));
            session.flows += u64::from(event.kind == EventKind::Decided);
            session.bytes_up = session.bytes_up.saturating_add(event.bytes_up);
            session.bytes_down = session.bytes_down.saturating_add(event.bytes_down);
            session.active_ms += noted.active_ms;
            session.end_mono_ns = session.end_mono_ns.max(end);
        }
        if is_active && payload > 0 && (self.usual.len() < MAX_USUAL || self.usual.contains_key(&key.service))
        {
            self.usual.entry(key.service).or_default().note(payload);
        }
        Some(noted)
    }

    /// Ends all sessions, and no visit: an upload that goes on belongs to the session that begins next.
    pub fn end_sessions(&mut self, over: &mut Vec<Over>) {
        for (key, trace) in &mut self.all {
            trace.end_session(*key, over);
        }
    }

    /// Lets time pass: ends bursts and visits. With `all`, every one of them. Goes through all traces: not for every event.
    pub fn sweep(&mut self, now_ns: u64, all: bool, over: &mut Vec<Over>) {
        let (usual, gap_ns) = (&self.usual, self.gap_ns);
        self.all.retain(|key, trace| {
            if let Some(done) =
                trace.burst.take_if(|b| all || now_ns.saturating_sub(b.until_ns) > BURST_GAP_NS)
            {
                trace.end_burst(*key, done, usual, over);
            }
            let stays = !all && now_ns.saturating_sub(trace.until_ns) <= gap_ns;
            if !stays {
                trace.end_session(*key, over);
            }
            stays
        });
    }
}

impl Trace {
    fn end_burst(&mut self, key: TraceKey, burst: Burst, usual: &HashMap<u32, Usual>, over: &mut Vec<Over>) {
        let (bytes, confidence) = (burst.shape.payload_up(), burst.shape.confidence());
        let is_usual = !burst.shape.upload_host
            && usual.get(&key.service).is_some_and(|usual| usual.is_usual(bytes, key.category));
        if confidence < upload::COUNTED || is_usual {
            return;
        }
        let upload = Upload { mono_ns: burst.until_ns, bytes, confidence };
        if let Some(session) = &mut self.session {
            if session.uploads.len() < MAX_UPLOADS {
                session.uploads.push(upload);
            } else {
                session.more_uploads += 1;
            }
        }
        over.push(Over::Upload(key, self.terms, upload));
    }

    fn end_session(&mut self, key: TraceKey, over: &mut Vec<Over>) {
        if let Some(session) = self.session.take() {
            over.push(Over::Session(key, self.terms, *session));
        }
    }
}

#[cfg(test)]
mod tests;
