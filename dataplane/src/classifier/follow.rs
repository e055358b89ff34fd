//! Messages after the first: keep-alive and pipelined requests, DNS messages over TCP.
//!
//! The first name decides; that others followed is a fact about the flow ([`crate::flow::mark::MULTI_NAME`]). Bytes are looked at
//! in order; bodies are stepped over without being kept. The state lies in the slab slot of the stream, which may be
//! taken back when slots run short: the flow is settled then, its name stands. Bounded: after 255 messages, or when the
//! order is lost, the flow is settled.
//!
//! ```text
//!  offset in the client's stream    base          at
//!  ────────────────────────────────┬─────────────┬──────────────┬──
//!   looked at, given up            │ slot: seen  │ slot: waits  │
//! ```

use super::stream::Segment;
use super::{Classifier, FlowSink};
use crate::flow::{FlowId, Stage, mark};
use crate::inspect::dns::{self, Place};
use crate::inspect::http;
use crate::probe::Probe;
use crate::slab::{LARGE, SlotId};
use glassgate_policy::{AppProto, Evidence, Reason};

/// Bytes of a DNS message over TCP that are read: questions stand at its beginning.
const DNS_COPY: usize = 4096;

/// What comes next in a stream.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// Requests.
    Request(http::Tracker),
    /// DNS messages, each with two bytes of length before it (RFC 1035 section 4.2.2).
    Dns,
    /// Nothing that is looked for.
    Stopped,
}

/// Where a followed stream stands.
#[derive(Clone, Copy, Debug)]
pub struct Follow {
    /// What comes next.
    pub next: Next,
    /// Offset in the stream up to which everything was looked at.
    pub at: u64,
    /// Offset in the stream of the slot's first byte.
    pub base: u64,
}

impl Default for Follow {
    fn default() -> Self {
        Self { next: Next::Stopped, at: 0, base: 0 }
    }
}

/// One message, or what is missing.
#[expect(clippy::large_enum_variant, reason = "used at once, on the stack")]
enum Step {
    Request(http::Head),
    Dns,
    /// The next message is not all there.
    Wait,
    Stop,
}

impl<S: FlowSink> Classifier<S> {
    /// The first bytes of a stream are a request with this head, or a DNS message: from now on all of them are read.
    pub(super) fn follow_from_start(&mut self, id: FlowId, segment: &Segment, first: Option<&http::Head>) {
        let Some(slot) = self.slot_of(id, segment.side) else { return };
        if let Some(cold) = self.cold.get_mut(id.index()) {
            cold.app = Some(if first.is_some() { AppProto::Http } else { AppProto::Dns });
        }
        let (next, at) = match first {
            Some(head) => (Next::Request(http::Tracker::after(head)), head.len),
            None => (Next::Dns, 0),
        };
        if let Some(state) = self.slab.slot(slot) {
            state.follow = Follow { next, at: at as u64, base: 0 };
        }
        match first {
            Some(head) => {
                self.guard(id, segment.side, head.len);
                self.head(id, head, AppProto::Http, segment);
                if self.is_over(id) {
                    return;
                }
            }
            None => {
                self.slab.guard(slot);
                if let Some(hot) = self.table.get_mut(id) {
                    hot.stage = Stage::Followed;
                }
            }
        }
        self.read_messages(id, slot, segment);
    }

    /// Counts a message. Whether it was the last that is read: the flow was settled meanwhile (it is ambiguous, or its
    /// slot was taken back), or enough was read.
    fn is_over(&mut self, id: FlowId) -> bool {
        let Some(cold) = self.cold.get_mut(id.index()) else { return true };
        cold.tries = cold.tries.saturating_add(1);
        if self.table.get(id).is_none_or(|hot| hot.stage == Stage::Settled) {
            return true;
        }
        if cold.tries == u8::MAX {
            self.settle(id);
            return true;
        }
        false
    }

    /// A segment of a stream whose messages are followed; its name may still be guarded.
    pub(super) fn follow(&mut self, id: FlowId, segment: &Segment, mut payload: &[u8]) {
        let Some(slot) = self.slot_of(id, segment.side).or_else(|| self.other_side_follows(id, segment))
        else {
            return;
        };
        let guarded = self.table.get(id).is_some_and(|hot| hot.stage == Stage::Guarded);
        let mut offset = segment.offset;
        if guarded {
            let there = self.slab.contiguous(slot).len();
            let Some(open) = segment.open(payload, there) else { return };
            (offset, payload) = open;
        } else {
            let Some(state) = self.slab.slot(slot) else { return };
            let seen = state.follow.at.saturating_sub(offset);
            let Some(new) = payload.get(seen as usize..).filter(|p| !p.is_empty()) else { return };
            (payload, offset) = (new, offset + seen);
            // Bytes of a body: whatever they are, and whether they arrived, a later message begins behind them.
            if let Next::Request(tracker) = &mut state.follow.next {
                let ahead = offset - state.follow.at + payload.len() as u64;
                let step = ahead.min(tracker.indifferent());
                if step > 0 && state.ranges.spans().is_empty() && step >= offset - state.follow.at {
                    tracker.skip(step);
                    let taken = (state.follow.at + step - offset) as usize;
                    state.follow.at += step;
                    state.follow.base = state.follow.at;
                    let Some(rest) = payload.get(taken..).filter(|p| !p.is_empty()) else { return };
                    (payload, offset) = (rest, offset + taken as u64);
                }
            }
        }
        let base = self.slab.slot(slot).map_or(0, |s| s.follow.base);
        let Some(mut at) = offset.checked_sub(base) else { return };
        if at + payload.len() as u64 > LARGE as u64 {
            if guarded {
                // More was sent than a server leaves unacknowledged: its half is not seen. The name is final.
                self.unguard(id, segment.side);
            }
            self.rebase(slot);
            let base = self.slab.slot(slot).map_or(0, |s| s.follow.base);
            at = offset.saturating_sub(base);
        }
        if at + payload.len() as u64 > LARGE as u64 || !self.slab.make_room(slot, at + payload.len() as u64) {
            self.settle(id);
            return;
        }
        let Some((mut assembler, _)) = self.slab.assembler(slot) else { return };
        let inserted = assembler.insert(at, payload);
        let guard_end = self.slab.slot(slot).map_or(0, |s| u64::from(s.guard_end));
        if guarded && inserted.conflict && offset < guard_end {
            let kept = payload.get(..(guard_end - offset) as usize).unwrap_or(payload);
            self.keep_both(id, slot, offset, kept, true);
        } else if inserted.new_bytes {
            self.read_messages(id, slot, segment);
        }
    }

    /// The guard of a followed stream is over: its name is final, and its messages are read on.
    pub(super) fn unguard(&mut self, id: FlowId, side: usize) {
        let stopped = self
            .slot_of(id, side)
            .and_then(|slot| self.slab.slot(slot))
            .is_none_or(|s| s.follow.is_stopped());
        if stopped || self.cold.get(id.index()).is_some_and(|c| c.has(mark::AMBIGUOUS)) {
            self.settle(id);
            return;
        }
        if let Some(hot) = self.table.get_mut(id) {
            hot.stage = Stage::Followed;
        }
        if let Some(slot) = self.slot_of(id, side) {
            self.rebase(slot);
        }
    }

    /// The other side of a DNS flow speaks for the first time.
    fn other_side_follows(&mut self, id: FlowId, segment: &Segment) -> Option<SlotId> {
        if self.cold.get(id.index())?.app != Some(AppProto::Dns) {
            return None;
        }
        let slot = self.take_slot(id, segment.side).ok()?;
        self.slab.slot(slot)?.follow = Follow { next: Next::Dns, at: 0, base: 0 };
        self.slab.guard(slot);
        Some(slot)
    }

    /// Reads all messages that are complete.
    fn read_messages(&mut self, id: FlowId, slot: SlotId, segment: &Segment) {
        loop {
            let Some(state) = self.slab.slot(slot) else { return };
            let mut follow = state.follow;
            let waits = (follow.at - follow.base) as usize;
            let bytes = self.slab.contiguous(slot).get(waits..).unwrap_or_default();
            let (step, used) = follow.step(bytes);
            follow.at += used as u64;
            let guard_end = follow.at.min(u64::from(u32::MAX)) as u32;
            let Some(state) = self.slab.slot(slot) else { return };
            state.follow = follow;
            match step {
                Step::Wait => break,
                Step::Stop => {
                    state.follow.next = Next::Stopped;
                    break;
                }
                Step::Request(head) => {
                    if state.guard_end == 0 {
                        state.guard_end = guard_end;
                    }
                    self.head(id, &head, AppProto::Http, segment);
                }
                Step::Dns => self.dns_in_stream(id, slot, waits, segment),
            }
            if self.is_over(id) {
                return;
            }
        }
        let followed = self.table.get(id).is_some_and(|hot| hot.stage == Stage::Followed);
        let stopped = self.slab.slot(slot).is_none_or(|s| s.follow.is_stopped());
        match (followed, stopped) {
            (true, true) => self.settle(id),
            (true, false) => self.rebase(slot),
            _ => {}
        }
    }

    /// The head of a request.
    pub(super) fn head(&mut self, id: FlowId, head: &http::Head, app: AppProto, segment: &Segment) {
        let app = match head.method {
            http::Method::Connect if head.is_from_target => AppProto::Connect,
            _ => app,
        };
        if let Some(cold) = self.cold.get_mut(id.index()) {
            cold.app = Some(app);
        }
        if let Some(rival) = &head.rival {
            self.ambiguous(id, Reason::AmbiguousOverlap);
            self.name(id, rival, Evidence::HttpHost, app, segment.number);
        }
        match &head.name {
            Ok(name) => self.name(id, name, Evidence::HttpHost, app, segment.number),
            Err(reason) => self.no_name(id, *reason),
        }
    }

    /// The names of a DNS message, and the addresses that it gives for them.
    pub(super) fn dns_message(&mut self, id: FlowId, message: &dns::Message<'_>, number: u64) {
        for question in message.questions() {
            self.name(id, &question.name, Evidence::Dns, AppProto::Dns, number);
        }
        let mut addresses = message.addresses().peekable();
        if addresses.peek().is_none() {
            return;
        }
        let (Some(asked), Some(hot)) = (message.questions().next(), self.table.get(id)) else { return };
        let [(client, _), _] = hot.client_server();
        for (address, ttl) in addresses {
            self.hints.learn(client, address, &asked.name, ttl, self.now_ms);
        }
    }

    /// The DNS message at `at` of the slot.
    fn dns_in_stream(&mut self, id: FlowId, slot: SlotId, at: usize, segment: &Segment) {
        // Copied out: names and hints are kept by the classifier that the slab belongs to.
        let mut copy = [0u8; DNS_COPY];
        let bytes = self.slab.contiguous(slot).get(at..).unwrap_or_default();
        let len = bytes.len().min(DNS_COPY);
        if let (Some(into), Some(from)) = (copy.get_mut(..len), bytes.get(..len)) {
            into.copy_from_slice(from);
        }
        if let Probe::Done(found) = dns::tcp_message(copy.get(..len).unwrap_or_default(), Place::Port53) {
            self.dns_message(id, &found.message, segment.number);
        }
    }

    /// Moves what waits to the front of the slot.
    fn rebase(&mut self, slot: SlotId) {
        let Some(state) = self.slab.slot(slot) else { return };
        let done = (state.follow.at - state.follow.base) as usize;
        if done > 0 {
            state.follow.base = state.follow.at;
            self.slab.discard_front(slot, done);
        }
    }
}

impl Follow {
    /// Whether nothing is looked for any more.
    pub fn is_stopped(&self) -> bool {
        match &self.next {
            Next::Request(tracker) => tracker.is_stopped(),
            Next::Dns => false,
            Next::Stopped => true,
        }
    }

    /// Reads one message from the bytes that begin at `at`, and says how many of them are done with.
    fn step(&mut self, bytes: &[u8]) -> (Step, usize) {
        match &mut self.next {
            Next::Request(tracker) => match tracker.next(bytes) {
                http::Step::Request { head, used } => (Step::Request(head), used),
                http::Step::More { used, .. } => (Step::Wait, used),
                http::Step::Stop => (Step::Stop, 0),
            },
            Next::Dns => match dns::tcp_message(bytes, Place::Port53) {
                Probe::Done(found) => (Step::Dns, found.len),
                Probe::NeedMore(_) => (Step::Wait, 0),
                Probe::NotThis | Probe::Malformed(_) => (Step::Stop, 0),
            },
            Next::Stopped => (Step::Stop, 0),
        }
    }
}
