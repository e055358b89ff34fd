//! The client's first bytes on TCP: gathered, read, guarded.
//!
//! ```text
//!  segment ─► all in one? ── read in place ──┬─ name ──► guard ── server acknowledged ──► settled
//!      └────► slab: gather by offset ────────┤              └── same bytes, other content ─► ambiguous
//!                                            └─ none of the protocols ─► settled, with a reason
//! ```

use super::follow::Next;
use super::{Classifier, FlowSink, NameSeen};
use crate::assembler::Inserted;
use crate::flow::{FlowId, Half, Hot, Stage, bit, mark};
use crate::inspect::starttls::{self, Via};
use crate::inspect::{dns, http, tls};
use crate::probe::Probe;
use crate::slab::{LARGE, SlotId};
use glassgate_policy::{AppProto, Direction, Evidence, Reason};

const DNS_PORT: u16 = 53;
/// The first line of the connection preface (RFC 9113 section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// A segment with payload that the receiver would take.
pub(super) struct Segment {
    /// Who sent it: 0 the lower endpoint, 1 the higher.
    pub side: usize,
    /// Where its first byte stands in the stream.
    pub offset: u64,
    /// Number of its frame.
    pub number: u64,
    /// Its TTL is not that of the direction's first frame.
    pub strange: bool,
    /// One of its bytes is out of band: whether the application sees it depends on a socket option (RFC 6093).
    pub urgent: bool,
    /// It stood in a SYN, or came before the server said whether it takes what did: not read yet.
    pub held: bool,
}

/// What the first bytes of a stream turned out to be.
#[expect(clippy::large_enum_variant, reason = "used at once, on the stack")]
enum Found {
    /// A hello, the bytes up to its end, and where TLS begins.
    Hello(tls::ClientHello, usize),
    /// A request of HTTP/1, or of HTTP/2 in clear, and where it begins.
    Request(http::Head, AppProto, usize),
    /// DNS messages.
    Dns,
}

impl<S: FlowSink> Classifier<S> {
    /// Adds a segment to the stream of an undecided flow and asks the inspectors.
    pub(super) fn gather(&mut self, id: FlowId, segment: &Segment, payload: &[u8]) {
        if let Some(slot) = self.slot_of(id, segment.side) {
            self.gather_in(id, slot, segment, payload);
            return;
        }
        // The usual case: all of it in the first segment, read where it lies.
        let mut need = 0;
        if segment.offset == 0 && !segment.urgent && !segment.held {
            let Some(hot) = self.table.get(id) else { return };
            match probe(hot, segment.side, payload, &mut self.tls) {
                Probe::Done(found) => {
                    if let Ok(slot) = self.take_slot(id, segment.side)
                        && self.slab.make_room(slot, payload.len().min(LARGE) as u64)
                        && let Some((mut assembler, _)) = self.slab.assembler(slot)
                    {
                        assembler.insert(0, payload);
                    }
                    self.found(id, segment, found);
                    return;
                }
                Probe::NeedMore(more) => need = more,
                Probe::NotThis => return self.give_up(id, segment.side, None),
                Probe::Malformed(reason) => return self.give_up(id, segment.side, Some(reason)),
            }
        }
        match self.take_slot(id, segment.side) {
            Ok(slot) => {
                if let Some(state) = self.slab.slot(slot) {
                    state.need = need as u32;
                }
                self.gather_in(id, slot, segment, payload);
            }
            Err(reason) => self.settle_unnamed(id, reason),
        }
    }

    fn gather_in(&mut self, id: FlowId, slot: SlotId, segment: &Segment, payload: &[u8]) {
        let (gap, now_ms) = (self.options.idle.gap, self.now_ms);
        if self.slab.slot(slot).is_some_and(|s| now_ms.wrapping_sub(s.since_ms) > gap) {
            self.settle_unnamed(id, Reason::ReasmTimeout);
            return;
        }
        let end = (segment.offset + payload.len() as u64).min(LARGE as u64);
        if segment.offset < LARGE as u64 && !self.slab.make_room(slot, end) {
            self.settle_unnamed(id, Reason::NoBuffer);
            return;
        }
        let Some((mut assembler, _)) = self.slab.assembler(slot) else { return };
        let inserted = assembler.insert(segment.offset, payload);
        if inserted.conflict || segment.urgent {
            self.conflict(id, slot, segment, payload);
        } else if let Some(other) = self.other_reading(slot)
            && self.slab.make_room(other, end)
        {
            self.slab.overwrite(other, segment.offset, payload);
        }
        if !segment.held {
            self.probe_gathered(id, slot, segment, inserted);
        }
    }

    /// Asks the inspectors about all that is there without a gap, once there is as much as they asked for.
    fn probe_gathered(&mut self, id: FlowId, slot: SlotId, segment: &Segment, inserted: Inserted) {
        let need = self.slab.slot(slot).map_or(0, |s| s.need as usize);
        let Some(hot) = self.table.get(id).copied() else { return };
        let stream = self.slab.contiguous(slot);
        let len = stream.len();
        if len == 0 || len < need && !inserted.overflow {
            return;
        }
        match probe(&hot, segment.side, stream, &mut self.tls) {
            Probe::Done(found) => {
                self.found(id, segment, found);
                self.read_other(id, slot, segment);
            }
            Probe::NeedMore(_) if inserted.overflow || len >= LARGE => {
                self.settle_unnamed(id, Reason::ReasmCap)
            }
            Probe::NeedMore(need) => {
                if let Some(state) = self.slab.slot(slot) {
                    state.need = need as u32;
                }
            }
            Probe::NotThis => self.give_up(id, segment.side, None),
            Probe::Malformed(reason) => self.give_up(id, segment.side, Some(reason)),
        }
    }

    /// Something was read from the stream.
    fn found(&mut self, id: FlowId, segment: &Segment, found: Found) {
        match found {
            Found::Hello(hello, end) => {
                self.orient(id, segment.side);
                self.hello(id, &hello, AppProto::Tls, segment.number);
                self.guard(id, segment.side, end);
            }
            Found::Request(head, app, at) => {
                self.orient(id, segment.side);
                if at == 0 && app == AppProto::Http && self.slot_of(id, segment.side).is_some() {
                    self.follow_from_start(id, segment, Next::Request(http::Tracker::new()));
                } else {
                    self.head(id, &head, app, segment);
                    self.guard(id, segment.side, at + head.len);
                }
            }
            Found::Dns => self.follow_from_start(id, segment, Next::Dns),
        }
    }

    /// A hello was read: by its name, or the reason why it has none.
    pub(super) fn hello(&mut self, id: FlowId, hello: &tls::ClientHello, app: AppProto, number: u64) {
        if let Some(cold) = self.cold.get_mut(id.index()) {
            if hello.ech.is_seen() {
                cold.marks |= mark::ECH;
            }
            cold.app = Some(app);
        }
        if S::NAMES {
            self.sink.hello(id, hello);
        }
        let evidence = if app == AppProto::Quic { Evidence::QuicSni } else { Evidence::Sni };
        match hello.name() {
            Ok(name) => self.name(id, &name, evidence, app, number),
            Err(reason) => {
                if S::NAMES {
                    let literal;
                    let said = match &hello.server_name {
                        tls::ServerName::IpLiteral(ip) => {
                            literal = ip.to_string();
                            Some(literal.as_str())
                        }
                        tls::ServerName::EchOuter(name) => Some(name.as_str()),
                        tls::ServerName::Odd(odd) => Some(odd.as_str()),
                        _ => None,
                    };
                    if let Some(name) = said {
                        let seen =
                            NameSeen { name, evidence, app, frame: number, candidate: false, claim: true };
                        self.sink.named(id, &seen);
                    }
                }
                self.no_name(id, reason);
            }
        }
    }

    /// A message was read that should have had a name and has none; a later one may.
    pub(super) fn no_name(&mut self, id: FlowId, reason: Reason) {
        if let Some(cold) = self.cold.get_mut(id.index())
            && cold.evidence == Evidence::None
            && cold.reason.is_none()
        {
            cold.reason = Some(reason);
        }
    }

    /// From now on the name stands unless the bytes up to `end` come again with other content before the server
    /// acknowledged them.
    pub(super) fn guard(&mut self, id: FlowId, side: usize, end: usize) {
        let ambiguous = self.cold.get(id.index()).is_some_and(|c| c.has(mark::AMBIGUOUS));
        match self.slot_of(id, side) {
            Some(slot) if !ambiguous => {
                if let Some(state) = self.slab.slot(slot) {
                    state.guard_end = end as u32;
                    state.need = 0;
                }
                self.slab.guard(slot);
                if let Some(hot) = self.table.get_mut(id) {
                    hot.stage = Stage::Guarded;
                }
            }
            Some(_) => {}
            None => {
                self.counters.guards_dropped[0] += 1;
                self.settle(id);
            }
        }
    }

    /// Further client bytes while the name is guarded.
    pub(super) fn check_guarded(&mut self, id: FlowId, segment: &Segment, payload: &[u8]) {
        if self.cold.get(id.index()).is_some_and(|c| c.app == Some(AppProto::Http)) {
            self.follow(id, segment, payload);
            return;
        }
        let Some(slot) = self.slot_of(id, segment.side) else { return };
        let Some(guard_end) = self.slab.slot(slot).map(|s| u64::from(s.guard_end)) else { return };
        let retry = self.cold.get(id.index()).is_some_and(|c| c.has(mark::RETRY_HELLO));
        let keep = if retry { payload.len() } else { guard_end.saturating_sub(segment.offset) as usize };
        let Some(kept) = payload.get(..keep.min(payload.len())).filter(|k| !k.is_empty()) else { return };
        let end = (segment.offset + kept.len() as u64).min(LARGE as u64);
        if segment.offset >= LARGE as u64 || !self.slab.make_room(slot, end) {
            return;
        }
        let Some((mut assembler, _)) = self.slab.assembler(slot) else { return };
        if assembler.insert(segment.offset, kept).conflict {
            self.conflict(id, slot, segment, kept);
            self.read_other(id, slot, segment);
        } else if retry {
            self.second_hello(id, slot, guard_end as usize, segment);
        }
    }

    /// The server acknowledged `upto` bytes of the client's stream; `first` are its own first bytes, if it sent them now.
    pub(super) fn acknowledged(&mut self, id: FlowId, upto: u32, first: &[u8]) {
        let Some(hot) = self.table.get(id) else { return };
        let client = usize::from(hot.bits & bit::CLIENT_IS_LOW == 0);
        let Some(slot) = self.slot_of(id, client) else { return };
        let Some(cold) = self.cold.get_mut(id.index()) else { return };
        if !first.is_empty() && !cold.has(mark::SERVER_SPOKE) {
            cold.marks |= mark::SERVER_SPOKE;
            if cold.app == Some(AppProto::Tls) && tls::is_hello_retry_request(first) {
                cold.marks |= mark::RETRY_HELLO;
            }
        }
        let retry = cold.has(mark::RETRY_HELLO);
        let end = self.slab.slot(slot).map_or(0, |s| s.guard_end);
        // A bare acknowledgement may come before the server's answer, which may ask for another hello.
        let spoke = cold.has(mark::SERVER_SPOKE) || cold.app != Some(AppProto::Tls);
        if (upto as i32) > 0 && upto >= end && spoke && (!retry || upto > end) {
            self.unguard(id, client);
        }
    }

    /// After a HelloRetryRequest: the second hello must say the same name (RFC 8446 section 4.1.2).
    fn second_hello(&mut self, id: FlowId, slot: SlotId, from: usize, segment: &Segment) {
        let stream = self.slab.contiguous(slot).get(from..).unwrap_or_default();
        if let Probe::Done(hello) = tls::second_client_hello(stream, &mut self.tls) {
            let second = hello.name().ok();
            let first = tls::client_hello(self.slab.contiguous(slot), &mut self.tls);
            let same = matches!(first, Probe::Done(h) if h.name().ok() == second);
            if !same {
                self.ambiguous(id, Reason::AmbiguousDecoy);
                if let Some(name) = second {
                    self.name(id, &name, Evidence::Sni, AppProto::Tls, segment.number);
                }
            }
            self.settle(id);
        }
    }

    /// The bytes of a segment disagree with those that are there: from now on there are two readings.
    pub(super) fn conflict(&mut self, id: FlowId, slot: SlotId, segment: &Segment, payload: &[u8]) {
        let reason = if segment.strange { Reason::AmbiguousDecoy } else { Reason::AmbiguousOverlap };
        self.ambiguous(id, reason);
        let other = match self.other_reading(slot) {
            Some(other) => other,
            None => {
                let Ok((other, settled)) = self.slab.take(id, self.now_ms) else { return };
                self.slot_taken_back(settled);
                if !self.slab.copy(slot, other) {
                    self.slab.release(other);
                    return;
                }
                if let Some(state) = self.slab.slot(slot) {
                    state.other = other.to_record();
                }
                other
            }
        };
        self.slab.overwrite(other, segment.offset, payload);
    }

    /// Reads the other reading too, so that its name is kept as a candidate; then the flow is settled.
    pub(super) fn read_other(&mut self, id: FlowId, slot: SlotId, segment: &Segment) {
        let Some(other) = self.other_reading(slot) else { return };
        let Some(hot) = self.table.get(id).copied() else { return };
        match probe(&hot, segment.side, self.slab.contiguous(other), &mut self.tls) {
            Probe::NeedMore(_) => return,
            Probe::Done(Found::Hello(hello, _)) => {
                if let Ok(name) = hello.name() {
                    self.name(id, &name, Evidence::Sni, AppProto::Tls, segment.number);
                }
            }
            Probe::Done(Found::Request(head, app, _)) => {
                if let Ok(name) = &head.name {
                    self.name(id, name, Evidence::HttpHost, app, segment.number);
                }
            }
            _ => {}
        }
        self.settle(id);
    }

    /// The stream is none of the protocols, or a broken one.
    fn give_up(&mut self, id: FlowId, side: usize, reason: Option<Reason>) {
        let oriented = self.table.get(id).is_some_and(|hot| hot.bits & bit::ORIENTED != 0);
        let Some(cold) = self.cold.get_mut(id.index()) else { return };
        let midstream = cold.has(mark::MIDSTREAM);
        if let Some(half) = cold.half.get_mut(side) {
            half.bits |= Half::DONE;
            if let Some(slot) = SlotId::from_record(std::mem::take(&mut half.slot)) {
                self.slab.release(slot);
            }
        }
        // The other direction may be the client's.
        if midstream && !oriented && !cold.half.iter().all(|h| h.has(Half::DONE)) {
            return;
        }
        let reason = match reason {
            Some(reason) => reason,
            None if midstream => Reason::Midstream,
            None => Reason::UnknownProto,
        };
        self.settle_unnamed(id, reason);
    }

    /// A flow ends while a request head is incomplete: whole lines of it may name the server.
    pub(super) fn last_words(&mut self, id: FlowId, hot: &Hot) {
        for side in 0..2 {
            if hot.bits & bit::ORIENTED != 0 && hot.direction(side == 0) == Direction::Down {
                continue;
            }
            let Some(slot) = self.slot_of(id, side) else { continue };
            if let Some(head) = http::unfinished_head(self.slab.contiguous(slot)) {
                self.orient(id, side);
                let number = self.cold.get(id.index()).map_or(0, |c| c.last_frame);
                let segment = Segment { side, offset: 0, number, strange: false, urgent: false, held: false };
                self.head(id, &head, AppProto::Http, &segment);
                return;
            }
        }
    }

    pub(super) fn slot_of(&self, id: FlowId, side: usize) -> Option<SlotId> {
        SlotId::from_record(self.cold.get(id.index())?.half.get(side)?.slot)
    }

    fn other_reading(&mut self, slot: SlotId) -> Option<SlotId> {
        SlotId::from_record(self.slab.slot(slot)?.other)
    }

    pub(super) fn take_slot(&mut self, id: FlowId, side: usize) -> Result<SlotId, Reason> {
        let (slot, settled) = self.slab.take(id, self.now_ms)?;
        self.slot_taken_back(settled);
        if let Some(half) = self.cold.get_mut(id.index()).and_then(|c| c.half.get_mut(side)) {
            half.slot = slot.to_record();
        }
        Ok(slot)
    }

    /// A flow lost its guarding slot to another: its name is final.
    pub(super) fn slot_taken_back(&mut self, settled: Option<FlowId>) {
        let Some(id) = settled else { return };
        self.counters.guards_dropped[0] += 1;
        if let Some(cold) = self.cold.get_mut(id.index()) {
            for half in &mut cold.half {
                half.slot = 0;
            }
        }
        self.settle(id);
    }
}

/// What a stream begins with.
fn probe(hot: &Hot, side: usize, stream: &[u8], scratch: &mut tls::Scratch) -> Probe<Found> {
    let [(_, client_port), (_, server_port)] = hot.client_server();
    let from_server = hot.direction(side == 0) == Direction::Down && hot.bits & bit::ORIENTED != 0;
    let (mut need, mut malformed) = (usize::MAX, None);
    let mut answers = |answer: Probe<Found>| match answer {
        Probe::Done(found) => Some(found),
        Probe::NeedMore(n) => {
            need = need.min(n);
            None
        }
        Probe::Malformed(reason) => {
            malformed = malformed.or(Some(reason));
            None
        }
        Probe::NotThis => None,
    };
    if server_port == DNS_PORT || client_port == DNS_PORT {
        if let Some(found) = answers(dns::tcp_message(stream, dns::Place::Port53).map(|_| Found::Dns)) {
            return Probe::Done(found);
        }
    } else if let Probe::Done(_) = dns::tcp_message(stream, dns::Place::Anywhere) {
        // Away from its port only a whole message counts: its two bytes of length could be anything's.
        return Probe::Done(Found::Dns);
    }
    if !from_server {
        if let Some(found) = answers(tls::client_hello(stream, scratch).map(|h| Found::Hello(h, h.end))) {
            return Probe::Done(found);
        }
        let app = if stream.starts_with(H2_PREFACE) { AppProto::H2c } else { AppProto::Http };
        if let Some(found) = answers(http::request_head(stream).map(|head| Found::Request(head, app, 0))) {
            return Probe::Done(found);
        }
        let later = match starttls::find(stream) {
            Probe::Done(found) => behind(stream, found, scratch),
            other => other.map(|_| Found::Dns),
        };
        if let Some(found) = answers(later) {
            return Probe::Done(found);
        }
    }
    match (need, malformed) {
        (usize::MAX, Some(reason)) => Probe::Malformed(reason),
        (usize::MAX, None) => Probe::NotThis,
        (need, _) => Probe::NeedMore(need),
    }
}

/// What begins after a request for TLS, or behind a proxy.
fn behind(
    stream: &[u8],
    starttls::Found { at, via }: starttls::Found,
    scratch: &mut tls::Scratch,
) -> Probe<Found> {
    let rest = stream.get(at..).unwrap_or_default();
    match (tls::client_hello(rest, scratch), via) {
        (Probe::Done(hello), _) => Probe::Done(Found::Hello(hello, at + hello.end)),
        (Probe::NeedMore(n), _) => Probe::NeedMore(at + n),
        (Probe::NotThis, Via::Proxy) => match http::request_head(rest) {
            Probe::Done(head) => Probe::Done(Found::Request(head, AppProto::Http, at)),
            Probe::NeedMore(n) => Probe::NeedMore(at + n),
            Probe::NotThis => Probe::NotThis,
            Probe::Malformed(reason) => Probe::Malformed(reason),
        },
        (Probe::NotThis, Via::Upgrade) => Probe::Malformed(Reason::MalformedTls),
        (Probe::Malformed(reason), _) => Probe::Malformed(reason),
    }
}
