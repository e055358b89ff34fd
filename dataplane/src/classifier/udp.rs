//! UDP flows: QUIC and DNS.

use super::tcp::TTL_SLACK;
use super::{Classifier, FlowSink};
use crate::assembler::{Assembler, Ranges};
use crate::flow::{FlowId, Half, Stage, bit, mark};
use crate::inspect::dns::{self, Family, Place};
use crate::inspect::quic;
use crate::packet::Packet;
use crate::parse::l4_checksum_ok;
use crate::probe::Probe;
use crate::slab::{LARGE, SlotId};
use glassgate_policy::{AppProto, Direction, Evidence, Reason};

/// Datagrams with payload that are looked at before a flow is none of the protocols. A junk datagram before the first
/// Initial is a known way to blind inspection of the first only.
const TRIES: u8 = 16;
const QUIC_PORT: u16 = 443;
/// QUIC's long header (RFC 8999 section 5.1).
const LONG_HEADER: u8 = 0x80;

/// What an inspector made of a datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Not its protocol.
    NotMine,
    /// Its protocol; the next datagram may tell more.
    Waits,
    /// The flow was settled or is followed.
    Decided,
}

impl<S: FlowSink> Classifier<S> {
    /// A datagram of a flow that is not settled.
    pub(super) fn udp_inspect(
        &mut self,
        id: FlowId,
        side: usize,
        packet: &Packet,
        bytes: &[u8],
        number: u64,
    ) {
        let payload = packet.payload(bytes);
        #[cfg(any(test, feature = "faults-on-purpose"))]
        crate::fault::panic_over(payload);
        let (Some(hot), Some(cold)) = (self.table.get(id).copied(), self.cold.get_mut(id.index())) else {
            return;
        };
        cold.last_frame = number;
        if payload.is_empty() {
            return;
        }
        // No endpoint takes a name from here. Checksums of a capture say nothing, as for TCP.
        if !self.options.parse.capture && !l4_checksum_ok(packet, bytes, &self.options.parse) {
            cold.marks |= mark::IGNORED;
            self.counters.decoys_ignored[0] += 1;
            return;
        }
        if let Some(half) = cold.half.get_mut(side) {
            if !half.has(Half::SEEN) {
                half.ttl = packet.ttl;
            }
            half.bits |= Half::SEEN | Half::PAYLOAD;
            if packet.ttl.abs_diff(half.ttl) > TTL_SLACK {
                cold.marks |= mark::STRANGE;
            }
        }
        let family = dns::family(packet.src_port, packet.dst_port);
        match hot.stage {
            Stage::Followed => {
                self.dns_datagram(id, side, payload, family, number);
                return;
            }
            Stage::Guarded => {
                self.quic_guarded(id, side, payload, number);
                return;
            }
            _ => {}
        }
        cold.tries = cold.tries.saturating_add(1);
        let tries = cold.tries;
        // A datagram to or from port 53 is DNS unless it doesn't parse; elsewhere QUIC is likelier, and told more surely.
        let answer = if family.is_some() {
            match self.dns_datagram(id, side, payload, family, number) {
                Answer::NotMine => self.quic_datagram(id, side, payload, number),
                answer => answer,
            }
        } else {
            match self.quic_datagram(id, side, payload, number) {
                Answer::NotMine => self.dns_datagram(id, side, payload, family, number),
                answer => answer,
            }
        };
        if answer != Answer::Decided && tries >= TRIES {
            let reason = self.udp_reason(id);
            self.settle_unnamed(id, reason);
        }
    }

    /// Why a UDP flow has no name when it is given up or ends.
    pub(super) fn udp_reason(&mut self, id: FlowId) -> Reason {
        let slot = self.slot_of(id, 0);
        if let Some(state) = slot.and_then(|slot| self.slab.slot(slot)).map(|s| &s.quic)
            && state.is_quic()
        {
            return state.reason();
        }
        match self.cold.get(id.index()) {
            Some(cold) if cold.app == Some(AppProto::Quic) => Reason::QuicMigrated,
            _ => Reason::UnknownProto,
        }
    }

    fn sender_is_client(&self, id: FlowId, side: usize) -> Option<bool> {
        let hot = self.table.get(id)?;
        (hot.bits & bit::ORIENTED != 0).then_some(hot.direction(side == 0) == Direction::Up)
    }

    fn quic_datagram(&mut self, id: FlowId, side: usize, payload: &[u8], number: u64) -> Answer {
        let from_client = self.sender_is_client(id, side);
        // The handshake has one state, whoever sends: it is kept with the lower endpoint.
        let slot = match self.slot_of(id, 0) {
            Some(slot) => slot,
            None if payload.first().is_some_and(|first| first & LONG_HEADER == 0) => {
                return self.without_long_header(id, side, payload, number);
            }
            None => match self.take_slot(id, 0) {
                Ok(slot) => slot,
                Err(reason) => {
                    self.settle_unnamed(id, reason);
                    return Answer::Decided;
                }
            },
        };
        let Some((mut crypto, state)) = self.slab.assembler(slot) else { return Answer::NotMine };
        let mut answer = quic::datagram(payload, from_client, state, &mut crypto, &mut self.quic);
        if answer == Probe::Malformed(Reason::QuicOffset) && self.slab.make_room(slot, LARGE as u64) {
            // Beyond the small buffer: once more, with the large one.
            let Some((mut crypto, state)) = self.slab.assembler(slot) else { return Answer::NotMine };
            answer = quic::datagram(payload, from_client, state, &mut crypto, &mut self.quic);
        }
        let conflict = self.slab.slot(slot).is_some_and(|s| s.quic.conflict());
        if conflict {
            self.quic_conflict(id, &answer, number);
            return Answer::Decided;
        }
        match answer {
            // In a version that servers refuse: what follows the negotiation counts.
            Probe::Done(hello) if self.slab.slot(slot).is_some_and(|s| s.quic.provisional()) => {
                self.orient(id, side);
                self.claimed(id, &hello, AppProto::Quic, number);
                if let Some(cold) = self.cold.get_mut(id.index()) {
                    cold.app = Some(AppProto::Quic);
                }
                Answer::Waits
            }
            Probe::Done(hello) => {
                self.orient(id, side);
                self.hello(id, &hello, (0, 0), AppProto::Quic, number);
                if let (Ok(name), Some(state)) = (hello.name(), self.slab.slot(slot)) {
                    state.name = Some(name);
                    self.slab.guard(slot);
                    if let Some(hot) = self.table.get_mut(id) {
                        hot.stage = Stage::Guarded;
                    }
                } else {
                    self.settle(id);
                }
                Answer::Decided
            }
            Probe::NeedMore(_) => {
                if let Some(cold) = self.cold.get_mut(id.index()) {
                    cold.app = Some(AppProto::Quic);
                }
                Answer::Waits
            }
            Probe::Malformed(reason) => {
                self.settle_unnamed(id, reason);
                Answer::Decided
            }
            Probe::NotThis => {
                if self.slab.slot(slot).is_some_and(|s| !s.quic.is_quic()) {
                    self.give_back(id, slot);
                    return Answer::NotMine;
                }
                Answer::Waits
            }
        }
    }

    /// A flow that does not begin with a long header: Google's QUIC from before the standard, or one that moved here.
    fn without_long_header(&mut self, id: FlowId, side: usize, payload: &[u8], number: u64) -> Answer {
        let (mut state, mut ranges) = (quic::State::default(), Ranges::default());
        let mut nothing = Assembler::new(&mut [], &mut ranges);
        let from_client = self.sender_is_client(id, side);
        match quic::datagram(payload, from_client, &mut state, &mut nothing, &mut self.quic) {
            Probe::Done(hello) => {
                self.orient(id, side);
                self.hello(id, &hello, (0, 0), AppProto::Quic, number);
                self.settle(id);
                Answer::Decided
            }
            Probe::Malformed(reason) => {
                self.settle_unnamed(id, reason);
                Answer::Decided
            }
            _ if state.is_quic() => {
                if let Some(cold) = self.cold.get_mut(id.index()) {
                    cold.app = Some(AppProto::Quic);
                }
                Answer::Waits
            }
            _ if state.short_first() => self.moved(id, side, payload, number),
            _ => Answer::NotMine,
        }
    }

    /// What may be the middle of a QUIC flow: known by the server's connection id, if at all (RFC 9000 section 9).
    fn moved(&mut self, id: FlowId, side: usize, payload: &[u8], number: u64) -> Answer {
        let Some(hot) = self.table.get(id) else { return Answer::NotMine };
        let [(client, _), (server, server_port)] = hot.client_server();
        let to = if hot.direction(side == 0) == Direction::Up { server } else { client };
        if let Some(name) = self.quic_ids.lookup(to, payload.get(1..).unwrap_or_default()) {
            self.orient(id, side);
            self.name(id, &name, Evidence::QuicSni, AppProto::Quic, number);
            self.settle(id);
            return Answer::Decided;
        }
        if server_port == QUIC_PORT
            && let Some(cold) = self.cold.get_mut(id.index())
        {
            cold.app = Some(AppProto::Quic);
        }
        Answer::NotMine
    }

    /// A flow with a name: until the server chose its connection id, a second hello may contradict the first.
    fn quic_guarded(&mut self, id: FlowId, side: usize, payload: &[u8], number: u64) {
        let Some(slot) = self.slot_of(id, 0) else { return self.settle(id) };
        let from_client = self.sender_is_client(id, side);
        let Some((mut crypto, state)) = self.slab.assembler(slot) else { return };
        let answer = quic::datagram(payload, from_client, state, &mut crypto, &mut self.quic);
        let Some(kept) = self.slab.slot(slot) else { return };
        let differs = matches!(&answer, Probe::Done(hello) if hello.name().ok() != kept.name);
        if kept.quic.conflict() || differs {
            self.quic_conflict(id, &answer, number);
            return;
        }
        if kept.quic.server_cid().is_empty() {
            return;
        }
        if let (Some(name), Some(hot)) = (kept.name, self.table.get(id)) {
            let [_, (server, _)] = hot.client_server();
            self.quic_ids.learn(server, kept.quic.server_cid(), &name);
        }
        // Its half of the handshake goes on: the server has the hello.
        if from_client == Some(false) {
            self.settle(id);
        }
    }

    /// The hello has two readings, or there are two hellos.
    fn quic_conflict(&mut self, id: FlowId, answer: &Probe<crate::inspect::tls::ClientHello>, number: u64) {
        let strange = self.cold.get(id.index()).is_some_and(|c| c.has(mark::STRANGE));
        self.ambiguous(id, if strange { Reason::AmbiguousDecoy } else { Reason::AmbiguousOverlap });
        if let Probe::Done(hello) = answer
            && let Ok(name) = hello.name()
        {
            self.name(id, &name, Evidence::QuicSni, AppProto::Quic, number);
        }
        if let Some(name) = self.quic.rival().copied() {
            self.name(id, &name, Evidence::QuicSni, AppProto::Quic, number);
        }
        self.settle(id);
    }

    fn dns_datagram(
        &mut self,
        id: FlowId,
        side: usize,
        payload: &[u8],
        family: Option<Family>,
        number: u64,
    ) -> Answer {
        let place = match family {
            Some(Family::Dns) => Place::Port53,
            None => Place::Anywhere,
            // The same format with another purpose: names of the neighbourhood, of no service.
            Some(Family::Mdns | Family::Llmnr | Family::NetBios) => return Answer::NotMine,
        };
        let message = match dns::message(payload, place) {
            Probe::Done(message) => message,
            // Any protocol can be sent to port 53.
            Probe::Malformed(reason) => match self.quic_datagram(id, side, payload, number) {
                Answer::NotMine => {
                    self.no_name(id, reason);
                    return Answer::Waits;
                }
                answer => return answer,
            },
            _ => return Answer::NotMine,
        };
        // Who asks is the client.
        self.orient(id, if message.is_response { 1 - side } else { side });
        if let Some(slot) = self.slot_of(id, 0) {
            self.give_back(id, slot);
        }
        self.dns_message(id, &message, number);
        if let Some(hot) = self.table.get_mut(id) {
            hot.stage = Stage::Followed;
        }
        Answer::Decided
    }

    fn give_back(&mut self, id: FlowId, slot: SlotId) {
        self.slab.release(slot);
        if let Some(half) = self.cold.get_mut(id.index()).and_then(|c| c.half.get_mut(0)) {
            half.slot = 0;
        }
    }
}
