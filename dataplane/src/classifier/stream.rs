//! The client's first bytes on TCP: gathered, read, guarded.
//!
//! ```text
//!  segment ─► all in one? ── read in place ──┬─ name ──► guard ── server acknowledged ──► settled
//!      └────► slab: gather by offset ────────┤              └── same bytes, other content ─► ambiguous
//!                                            └─ none of the protocols ─► settled, with a reason
//! ```

use super::{Classifier, FlowSink, NameSeen};
use crate::assembler::Inserted;
use crate::flow::{FlowId, Half, Hot, Stage, bit, mark};
use crate::inspect::ja4::{self, Ja4};
use crate::inspect::starttls::{self, Via};
use crate::inspect::tls::AlpnId;
use crate::inspect::{dns, http, tls};
use crate::probe::Probe;
use crate::slab::{LARGE, SlotId};
use glassgate_policy::table::Match;
use glassgate_policy::{AppProto, Category, Direction, Evidence, Reason, SignatureTable};

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
    /// Where a byte stands that is out of band: whether the application sees it depends on a socket option (RFC 6093).
    pub urgent: Option<u64>,
    /// It stood in a SYN, or came before the server said whether it takes what did: not read yet.
    pub held: bool,
    /// Bytes of the stream that the other side acknowledged.
    pub acked: u64,
}

impl Segment {
    /// What of the payload can still change the stream, and where it stands: of bytes that are there *and* acknowledged, the
    /// receiver takes no second version. `there` is how many are there without a gap.
    pub(super) fn open<'a>(&self, payload: &'a [u8], there: usize) -> Option<(u64, &'a [u8])> {
        let closed = self.acked.min(there as u64).saturating_sub(self.offset);
        let open = payload.get(usize::try_from(closed).ok()?..).filter(|open| !open.is_empty())?;
        Some((self.offset + closed, open))
    }
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
        #[cfg(any(test, feature = "faults-on-purpose"))]
        crate::fault::panic_over(payload);
        if let Some(slot) = self.slot_of(id, segment.side) {
            self.gather_in(id, slot, segment, payload);
            return;
        }
        // The usual case: all of it in the first segment, read where it lies.
        let mut need = 0;
        if segment.offset == 0 && segment.urgent.is_none() && !segment.held {
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
        let there = self.slab.contiguous(slot).len();
        let Some((offset, payload)) = segment.open(payload, there) else { return };
        let end = (offset + payload.len() as u64).min(LARGE as u64);
        if offset < LARGE as u64 && !self.slab.make_room(slot, end) {
            self.settle_unnamed(id, Reason::NoBuffer);
            return;
        }
        let Some((mut assembler, _)) = self.slab.assembler(slot) else { return };
        let inserted = assembler.insert(offset, payload);
        if let Some(at) = segment.urgent
            && let Some(state) = self.slab.slot(slot)
        {
            state.urgent = at.saturating_add(1).min(u64::from(u32::MAX)) as u32;
            self.ambiguous(id, Reason::AmbiguousOverlap);
        }
        self.keep_both(id, slot, offset, payload, inserted.conflict);
        if !segment.held {
            self.probe_gathered(id, slot, segment, inserted);
        }
    }

    /// What was held back because it stood in a SYN is the beginning of the stream.
    pub(super) fn probe_held(&mut self, id: FlowId, slot: SlotId, side: usize, number: u64) {
        let segment = Segment { side, offset: 0, number, urgent: None, held: false, acked: 0 };
        self.probe_gathered(id, slot, &segment, Inserted::default());
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
                let tls_at = end.saturating_sub(hello.end);
                self.hello(id, &hello, (segment.side, tls_at), AppProto::Tls, segment.number);
                self.guard(id, segment.side, end);
            }
            Found::Request(head, app, at) => {
                self.orient(id, segment.side);
                if at == 0 && app == AppProto::Http && self.slot_of(id, segment.side).is_some() {
                    self.follow_from_start(id, segment, Some(&head));
                } else {
                    self.head(id, &head, app, segment);
                    self.guard(id, segment.side, at + head.len);
                }
            }
            Found::Dns => self.follow_from_start(id, segment, None),
        }
    }

    /// A hello was read: by its name, or the reason why it has none. `stood` says where: in whose stream, and where TLS
    /// begins in it.
    pub(super) fn hello(
        &mut self,
        id: FlowId,
        hello: &tls::ClientHello,
        stood: (usize, usize),
        app: AppProto,
        number: u64,
    ) {
        if let Some(cold) = self.cold.get_mut(id.index()) {
            if hello.ech.is_seen() {
                cold.marks |= mark::ECH;
            }
            cold.app = Some(app);
        }
        let slot = self.slot_of(id, stood.0);
        let stream = slot.map_or(&[][..], |slot| self.slab.contiguous(slot));
        let message = hello.message(stream.get(stood.1..).unwrap_or_default(), &self.tls);
        if S::NAMES {
            self.sink.hello(id, hello, message);
        }
        let clue = clue_in(&self.policy.table, message, app);
        self.by_hello(id, hello, clue);
        let evidence = if app == AppProto::Quic { Evidence::QuicSni } else { Evidence::Sni };
        match hello.name() {
            Ok(name) => self.name(id, &name, evidence, app, number),
            Err(reason) => {
                self.claimed(id, hello, app, number);
                self.no_name(id, reason);
            }
        }
    }

    /// What the hello says besides a name: what is listed (`clue`); and DNS that is encrypted is a tunnel, whoever the resolver is,
    /// said by the port or by the protocol that the client offers. A name that is listed says more, and takes its place. None of this is
    /// about a person, so no name is needed.
    fn by_hello(&mut self, id: FlowId, hello: &tls::ClientHello, clue: Option<Match>) {
        let Some(hot) = self.table.get(id) else { return };
        let [_, (_, server_port)] = hot.client_server();
        let alpn: Option<&[u8]> = if hello.alpn.offers(AlpnId::Dot) {
            Some(b"dot")
        } else {
            hello.alpn.offers(AlpnId::Doq).then_some(b"doq")
        };
        let is_dns = dns::encrypted(hot.key.l4(), server_port, alpn).is_some();
        let Some(cold) = self.cold.get_mut(id.index()) else { return };
        if cold.category != Category::Unknown || cold.has(mark::AMBIGUOUS) {
            return;
        }
        match clue {
            Some(found) => (cold.service, cold.category) = (found.service, found.category),
            None if is_dns => cold.category = Category::Tunnel,
            None => {}
        }
    }

    /// Tells a sink that keeps names what a hello says where its name stands, whatever it is: no label.
    pub(super) fn claimed(&mut self, id: FlowId, hello: &tls::ClientHello, app: AppProto, frame: u64) {
        if !S::NAMES {
            return;
        }
        let evidence = if app == AppProto::Quic { Evidence::QuicSni } else { Evidence::Sni };
        let literal;
        let name = match &hello.server_name {
            tls::ServerName::Named(name) | tls::ServerName::EchOuter(name) => name.as_str(),
            tls::ServerName::Odd(odd) => odd.as_str(),
            tls::ServerName::IpLiteral(ip) => {
                literal = ip.to_string();
                literal.as_str()
            }
            tls::ServerName::Absent => return,
        };
        self.sink.named(id, &NameSeen { name, evidence, app, frame, candidate: false, claim: true });
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
        match self.slot_of(id, side) {
            Some(slot) => {
                if let Some(state) = self.slab.slot(slot) {
                    state.guard_end = end as u32;
                    state.need = 0;
                }
                self.slab.guard(slot);
                if let Some(hot) = self.table.get_mut(id) {
                    hot.stage = Stage::Guarded;
                }
            }
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
        let there = self.slab.contiguous(slot).len();
        let Some((offset, payload)) = segment.open(payload, there) else { return };
        let keep = if retry { payload.len() } else { guard_end.saturating_sub(offset) as usize };
        let Some(kept) = payload.get(..keep.min(payload.len())).filter(|k| !k.is_empty()) else { return };
        let end = (offset + kept.len() as u64).min(LARGE as u64);
        if offset >= LARGE as u64 || !self.slab.make_room(slot, end) {
            return;
        }
        let Some((mut assembler, _)) = self.slab.assembler(slot) else { return };
        let conflict = assembler.insert(offset, kept).conflict;
        self.keep_both(id, slot, offset, kept, conflict);
        if retry && !conflict {
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

    /// Keeps the reading in which the last arrival wins beside the one in which the first does, from the first `conflict` on:
    /// which of them the server has depends on its system, and on what arrived there at all.
    pub(super) fn keep_both(
        &mut self,
        id: FlowId,
        slot: SlotId,
        offset: u64,
        payload: &[u8],
        conflict: bool,
    ) {
        if conflict {
            let strange = self.cold.get(id.index()).is_some_and(|c| c.has(mark::STRANGE));
            self.ambiguous(id, if strange { Reason::AmbiguousDecoy } else { Reason::AmbiguousOverlap });
        }
        let end = (offset + payload.len() as u64).min(LARGE as u64);
        match self.other_reading(slot) {
            Some(other) if self.slab.make_room(other, end) => self.slab.overwrite(other, offset, payload),
            None if conflict => {
                let Some(other) = self.copy_of(id, slot) else { return };
                if let Some(state) = self.slab.slot(slot) {
                    state.other = other.to_record();
                }
                self.slab.overwrite(other, offset, payload);
            }
            _ => {}
        }
    }

    /// Another slot with the same bytes; `None` when slots run short.
    fn copy_of(&mut self, id: FlowId, slot: SlotId) -> Option<SlotId> {
        let (copy, settled) = self.slab.take(id, self.now_ms).ok()?;
        self.slot_taken_back(settled, copy);
        // The oldest guard that gave way may have been this very flow's.
        if settled != Some(id) && self.slab.copy(slot, copy) {
            return Some(copy);
        }
        self.slab.release(copy);
        None
    }

    /// The first bytes of an ambiguous flow are final, or will never be: tells the names in their other readings.
    pub(super) fn tell_candidates(&mut self, id: FlowId, side: usize) {
        if self.cold.get(id.index()).is_none_or(|c| !c.has(mark::AMBIGUOUS)) {
            return;
        }
        let Some(slot) = self.slot_of(id, side) else { return };
        if let Some(other) = self.other_reading(slot) {
            self.tell_candidate(id, other, side);
        }
        let urgent = self.slab.slot(slot).and_then(|s| s.urgent.checked_sub(1));
        if let Some(at) = urgent
            && let Some(copy) = self.copy_of(id, slot)
        {
            // The reading of a server that takes the urgent byte out of the stream.
            self.slab.remove_byte(copy, at as usize);
            self.tell_candidate(id, copy, side);
            self.slab.release(copy);
        }
    }

    fn tell_candidate(&mut self, id: FlowId, slot: SlotId, side: usize) {
        let (Some(hot), Some(cold)) = (self.table.get(id).copied(), self.cold.get(id.index())) else {
            return;
        };
        let number = cold.last_frame;
        match probe(&hot, side, self.slab.contiguous(slot), &mut self.tls) {
            Probe::Done(Found::Hello(hello, _)) => {
                if let Ok(name) = hello.name() {
                    self.name(id, &name, Evidence::Sni, AppProto::Tls, number);
                }
            }
            Probe::Done(Found::Request(head, app, _)) => {
                if let Ok(name) = &head.name {
                    self.name(id, name, Evidence::HttpHost, app, number);
                }
            }
            _ => {}
        }
    }

    /// The stream is none of the protocols, or a broken one.
    fn give_up(&mut self, id: FlowId, side: usize, reason: Option<Reason>) {
        let oriented = self.table.get(id).is_some_and(|hot| hot.bits & bit::ORIENTED != 0);
        self.tell_candidates(id, side);
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
                let segment = Segment { side, offset: 0, number, urgent: None, held: false, acked: 0 };
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
        self.slot_taken_back(settled, slot);
        if let Some(half) = self.cold.get_mut(id.index()).and_then(|c| c.half.get_mut(side)) {
            half.slot = slot.to_record();
        }
        Ok(slot)
    }

    /// A flow lost its guarding slot to another, which has got `taken`: its name is final. What the flow's other side had
    /// gathered is given back with it.
    pub(super) fn slot_taken_back(&mut self, settled: Option<FlowId>, taken: SlotId) {
        let Some(id) = settled else { return };
        self.counters.guards_dropped[0] += 1;
        if let Some(cold) = self.cold.get_mut(id.index()) {
            for half in &mut cold.half {
                // The slot taken back may be the one given out again: that is no longer this flow's.
                if let Some(slot) =
                    SlotId::from_record(std::mem::take(&mut half.slot)).filter(|s| *s != taken)
                {
                    self.slab.release(slot);
                }
            }
        }
        self.settle(id);
    }
}

/// What the table says of a hello besides its name: of the first protocol that it offers and that is listed, or else of the software
/// that sent it. Empty messages, which nobody kept, say nothing. A fingerprint costs two hashes, so none is made for a
/// table without any.
fn clue_in(table: &SignatureTable, message: &[u8], app: AppProto) -> Option<Match> {
    if table.has_protocols()
        && let Some(found) = tls::alpn_protocols(message).find_map(|id| table.lookup_alpn(id))
    {
        return Some(found);
    }
    if !table.has_fingerprints() {
        return None;
    }
    let transport = if app == AppProto::Quic { ja4::Transport::Quic } else { ja4::Transport::Tcp };
    table.lookup_ja4(Ja4::new(message, transport)?.as_bytes())
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
