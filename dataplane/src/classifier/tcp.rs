//! TCP flows: whose bytes count, in which order, and what they say.
//!
//! Not a TCP stack: only what it takes to know which bytes the server will read first. A segment that no endpoint
//! would accept must not decide anything; the checks are those of the receiving side (RFC 9293 section 3.10.7,
//! PAWS of RFC 7323 section 5), as far as they can be made from what was seen:
//!
//! | ignored | because |
//! |---|---|
//! | wrong checksum, where the flow's first segment had a right one | the server discards it; elsewhere offloading explains it |
//! | no ACK flag, or SYN or RST among the flags | RFC 9293 3.10.7.4; a SYN after the handshake gets a challenge (RFC 5961 section 4) |
//! | acknowledges what the server never sent, or less than a window before that | RFC 5961 section 5.2 |
//! | TSval before the one of the SYN, where both sides agreed to timestamps | PAWS |
//! | bytes before the first, or 1 MiB beyond it | outside of the window |
//! | bytes that the server acknowledged | the server has them |
//!
//! Only what is certain counts here. Whoever ignores a segment that the server takes, and believes the decoy that
//! follows, gives a wrong name. So a TCP-MD5 option, a timestamp that is one tick old, an acknowledgement that is a little old,
//! or a timestamp that nobody agreed to ignore nothing: kernels differ in them, or take them all.
//!
//! What is left and still disagrees is told: `ambiguous_overlap`, or `ambiguous_decoy` where the TTL gives the
//! segment away.

use super::stream::Segment;
use super::{Classifier, FlowSink};
use crate::flow::{FlowId, Half, Stage, bit, mark};
use crate::packet::{Packet, Tcp, flag};
use crate::parse::{ParseOptions, l4_checksum_ok};
use crate::slab::SlotId;
use glassgate_policy::Direction;

/// How far beyond the first byte, or beyond what the other side sent, a number may lie and still be believed.
const PLAUSIBLE: i32 = 1 << 20;
/// TTLs of one direction differ by less when only the route changes.
pub(super) const TTL_SLACK: u8 = 3;
const DNS_PORT: u16 = 53;
/// How much older than the SYN a timestamp may be and still be taken: Linux leaves a tick of tolerance.
const TS_SLACK: i32 = 1;
/// The largest scale of windows (RFC 7323 section 2.3).
const MAX_SHIFT: u8 = 14;

impl<S: FlowSink> Classifier<S> {
    /// SYN, FIN and RST.
    pub(super) fn tcp_control(
        &mut self,
        id: FlowId,
        side: usize,
        packet: &Packet,
        tcp: &Tcp,
        bytes: &[u8],
        number: u64,
    ) {
        if tcp.has(flag::SYN) && tcp.flags & (flag::FIN | flag::RST) == 0 {
            if tcp.has(flag::ACK) {
                self.syn_ack(id, side, packet, tcp, bytes, number);
            } else {
                self.syn(id, side, packet, tcp, bytes);
            }
        }
        let (Some(hot), Some(cold)) = (self.table.get_mut(id), self.cold.get_mut(id.index())) else { return };
        let [mine, _] = halves(&mut cold.half, side);
        if tcp.has(flag::RST) && believable_reset(mine, tcp, packet) {
            hot.bits |= bit::RST;
        }
        if tcp.has(flag::FIN) && tcp.has(flag::ACK) && !tcp.has(flag::SYN) {
            hot.bits |= if side == 0 { bit::FIN_LOW } else { bit::FIN_HIGH };
        }
        if hot.is_closed() {
            let wait = u64::from(self.options.idle.closed) * 1_000_000;
            self.wheel.arm(id, (self.now_ns + wait).div_ceil(1_000_000_000));
        }
    }

    /// A SYN: the last one before the other side answers is the one that counts, because an earlier one under another
    /// number may never have arrived.
    fn syn(&mut self, id: FlowId, side: usize, packet: &Packet, tcp: &Tcp, bytes: &[u8]) {
        let (Some(hot), Some(cold)) = (self.table.get_mut(id), self.cold.get_mut(id.index())) else { return };
        let [mine, other] = halves(&mut cold.half, side);
        let (repeated, answered) = (mine.is_syn(tcp), other.has(Half::SYN));
        if hot.stage != Stage::Undecided || answered && mine.has(Half::SYN) {
            return;
        }
        if !answered {
            // Who was heard before this may have sent a SYN/ACK out of nowhere: that makes nobody a server.
            hot.orient(side, true);
        }
        if repeated {
            return;
        }
        let dropped = std::mem::take(&mut mine.slot);
        if mine.has(Half::SYN) {
            cold.marks |= mark::TWO_SYNS;
        }
        *mine = Half { bits: mine.bits & Half::SEEN, ..Half::default() };
        begin(mine, packet, tcp, bytes, &self.options.parse);
        cold.marks &= !mark::SYN_DATA;
        if let Some(slot) = SlotId::from_record(dropped) {
            self.slab.release(slot);
        }
    }

    /// A SYN/ACK, which says whose SYN and how much of its data the server took.
    fn syn_ack(&mut self, id: FlowId, side: usize, packet: &Packet, tcp: &Tcp, bytes: &[u8], number: u64) {
        let (Some(hot), Some(cold)) = (self.table.get_mut(id), self.cold.get_mut(id.index())) else { return };
        let [mine, other] = halves(&mut cold.half, side);
        if hot.is_client(side) && mine.has(Half::SYN) {
            // By who sent a SYN first: the third part of a split handshake, or nonsense. No server in either case.
            return;
        }
        if hot.bits & bit::ORIENTED == 0 {
            hot.orient(side, false);
        }
        if mine.has(Half::SYN) && !mine.is_syn(tcp) {
            cold.marks |= mark::TWO_ANSWERS;
        }
        // A server that answers once more under another number may mean the last one.
        if !mine.has(Half::PAYLOAD) {
            begin(mine, packet, tcp, bytes, &self.options.parse);
        }
        if hot.stage != Stage::Undecided {
            return;
        }
        let taken = tcp.ack.wrapping_sub(other.base) as i32;
        let sent = other.next.wrapping_sub(other.base) as i32;
        let answers_other = !(0..=sent).contains(&taken) && cold.marks & mark::TWO_SYNS != 0;
        if !other.has(Half::HAS_BASE) || answers_other {
            // It answers a SYN that was not seen, or not the last: all that is known of that one is its number.
            (other.base, other.next, other.acked) = (tcp.ack, tcp.ack, 0);
            other.bits = other.bits & !(Half::HAS_TS | Half::GOOD_SUM) | Half::HAS_BASE;
            cold.marks &= !mark::SYN_DATA;
            if let Some(slot) = SlotId::from_record(std::mem::take(&mut other.slot)) {
                self.slab.release(slot);
            }
            return;
        }
        if cold.marks & mark::SYN_DATA == 0 {
            return;
        }
        cold.marks &= !mark::SYN_DATA;
        let Some(slot) = SlotId::from_record(other.slot) else { return };
        if (1..=sent).contains(&taken) {
            // RFC 7413: what stood in the SYN is the beginning of the stream.
            self.probe_held(id, slot, 1 - side, number);
        } else if let Some(slot) = self.slab.slot(slot) {
            // The server did not take it: it will be sent again, or never was meant.
            slot.ranges.clear();
            slot.need = 0;
        }
    }

    /// A segment of a flow that is not settled.
    pub(super) fn tcp_inspect(
        &mut self,
        id: FlowId,
        side: usize,
        packet: &Packet,
        tcp: &Tcp,
        bytes: &[u8],
        number: u64,
    ) {
        let payload = packet.payload(bytes);
        let (Some(hot), Some(cold)) = (self.table.get_mut(id), self.cold.get_mut(id.index())) else { return };
        let (direction, stage) = (hot.direction(side == 0), hot.stage);
        let oriented = hot.bits & bit::ORIENTED != 0;
        let server_port = hot.client_server().map(|(_, port)| port)[1];
        cold.last_frame = number;
        let [mine, other] = halves(&mut cold.half, side);
        if !mine.has(Half::SEEN) {
            mine.bits |= Half::SEEN;
            mine.ttl = packet.ttl;
        }
        let window = u32::from(tcp.window) << if tcp.has(flag::SYN) { 0 } else { mine.window_shift };
        mine.max_window = mine.max_window.max(window);
        if !payload.is_empty()
            && !acceptable(cold.marks, mine, other, packet, tcp, bytes, &self.options.parse)
        {
            cold.marks |= mark::IGNORED;
            self.counters.decoys_ignored[0] += 1;
            return;
        }
        if !payload.is_empty() && hot.bits & bit::RST != 0 {
            // Data goes on after a reset: the reset never arrived.
            hot.bits &= !bit::RST;
        }
        let syn = tcp.has(flag::SYN);
        let start = tcp.seq.wrapping_add(u32::from(syn));
        let sent = start.wrapping_add(packet.payload_wire_len);
        if mine.has(Half::HAS_BASE) && (0..=PLAUSIBLE).contains(&(sent.wrapping_sub(mine.next) as i32)) {
            mine.next = sent;
        }
        let upto = if tcp.has(flag::ACK) && other.has(Half::HAS_BASE) {
            tcp.ack.wrapping_sub(other.base)
        } else {
            0
        };
        if direction == Direction::Down && oriented && upto <= other.next.wrapping_sub(other.base) {
            other.acked = other.acked.max(upto);
        }
        if direction == Direction::Down && stage == Stage::Guarded {
            let first = mine.has(Half::HAS_BASE)
                && !payload.is_empty()
                && (tcp.seq == mine.base || cold.has(mark::TWO_ANSWERS));
            self.acknowledged(id, upto, if first { payload } else { &[] });
            return;
        }
        if payload.is_empty() || mine.has(Half::DONE) {
            return;
        }
        if direction == Direction::Down && oriented && server_port != DNS_PORT {
            mine.bits |= Half::PAYLOAD;
            return;
        }
        if !mine.has(Half::HAS_BASE) {
            (mine.base, mine.next) = (start, sent);
            mine.bits |= Half::HAS_BASE;
            cold.marks |= mark::MIDSTREAM;
        }
        let offset = start.wrapping_sub(mine.base) as i32;
        if offset > PLAUSIBLE {
            self.counters.decoys_ignored[0] += 1;
            return;
        }
        let urgent = if tcp.has(flag::URG) { tcp.urgent.checked_sub(1) } else { None };
        let urgent = urgent.and_then(|behind| u64::try_from(i64::from(offset) + i64::from(behind)).ok());
        // Bytes before the first one: a keep-alive probe, or a lowered sequence number. The server has them already.
        let Some(payload) = payload.get(offset.min(0).unsigned_abs() as usize..).filter(|p| !p.is_empty())
        else {
            return;
        };
        mine.bits |= Half::PAYLOAD;
        if syn {
            cold.marks |= mark::SYN_DATA;
        }
        let strange = packet.ttl.abs_diff(mine.ttl) > TTL_SLACK
            || tcp.md5 && mine.has(Half::SYN) && !mine.has(Half::MD5);
        if strange {
            cold.marks |= mark::STRANGE;
        }
        let acked = u64::from(mine.acked);
        let held = syn || cold.has(mark::SYN_DATA);
        let segment = Segment { side, offset: offset.max(0) as u64, number, urgent, held, acked };
        match stage {
            Stage::Guarded => self.check_guarded(id, &segment, payload),
            Stage::Followed => self.follow(id, &segment, payload),
            _ => self.gather(id, &segment, payload),
        }
    }
}

/// The two directions of a flow: of the sender on `side`, and of the other.
fn halves(half: &mut [Half; 2], side: usize) -> [&mut Half; 2] {
    let [low, high] = half;
    if side == 0 { [low, high] } else { [high, low] }
}

/// What is kept of the first segment of a direction, for comparison with later ones.
fn begin(half: &mut Half, packet: &Packet, tcp: &Tcp, bytes: &[u8], options: &ParseOptions) {
    (half.base, half.next) = (tcp.seq.wrapping_add(1), tcp.seq.wrapping_add(1));
    half.bits |= Half::HAS_BASE | Half::SYN | Half::SEEN;
    half.ttl = packet.ttl;
    half.window_shift = window_shift(packet, bytes);
    half.bits &= !(Half::HAS_TS | Half::GOOD_SUM);
    if let Some(ts) = tcp.ts_val {
        half.ts_first = ts;
        half.bits |= Half::HAS_TS;
    }
    if tcp.md5 {
        half.bits |= Half::MD5;
    }
    // Of a capture it would say nothing.
    if !options.capture && l4_checksum_ok(packet, bytes, options) {
        half.bits |= Half::GOOD_SUM;
    }
}

/// The window scale option of a SYN (RFC 7323 section 2.2); without one, windows are not scaled.
fn window_shift(packet: &Packet, bytes: &[u8]) -> u8 {
    let options = bytes.get(packet.l4_at as usize + 20..packet.payload_at as usize);
    let mut options = options.unwrap_or_default();
    loop {
        options = match options {
            [3, 3, shift, ..] => return (*shift).min(MAX_SHIFT),
            [1, rest @ ..] => rest,
            [2..=255, len @ 2..=255, ..] => options.get(usize::from(*len)..).unwrap_or_default(),
            _ => return 0,
        };
    }
}

/// Whether the receiver may take this segment's data. False only where it is sure not to.
fn acceptable(
    marks: u16,
    mine: &Half,
    other: &Half,
    packet: &Packet,
    tcp: &Tcp,
    bytes: &[u8],
    options: &ParseOptions,
) -> bool {
    let flags = tcp.flags & (flag::SYN | flag::FIN | flag::RST | flag::ACK);
    let syn = flags == flag::SYN && mine.is_syn(tcp) && !other.has(Half::SYN);
    if !syn && flags != flag::ACK && flags != flag::ACK | flag::FIN {
        return false;
    }
    // A clock that stood at zero is one that Linux takes for none.
    if let Some(ts) = tcp.ts_val
        && mine.has(Half::HAS_TS)
        && mine.ts_first != 0
        && other.has(Half::HAS_TS)
        && (ts.wrapping_sub(mine.ts_first) as i32) < -TS_SLACK
    {
        return false;
    }
    if !syn && other.has(Half::HAS_BASE | Half::SYN) && marks & mark::TWO_ANSWERS == 0 {
        let acked = i64::from(tcp.ack.wrapping_sub(other.base) as i32);
        let sent = i64::from(other.next.wrapping_sub(other.base));
        // A capture may have lost what the other side sent. A FIN takes a number too.
        let unseen = if options.capture { PLAUSIBLE } else { 1 };
        if acked < -i64::from(mine.max_window) || acked > sent + i64::from(unseen) {
            return false;
        }
    }
    // Last, because it reads all of the payload. A capture made at an endpoint has what the NIC would still have
    // finished: its checksums say nothing.
    options.capture || !mine.has(Half::GOOD_SUM) || l4_checksum_ok(packet, bytes, options)
}

/// Whether the receiver would believe this reset: RFC 5961 asks for the exact number; within the window is kept here,
/// because the state is only marked and outlives the reset by ten seconds.
fn believable_reset(mine: &Half, tcp: &Tcp, packet: &Packet) -> bool {
    let in_window =
        !mine.has(Half::HAS_BASE) || (0..=PLAUSIBLE).contains(&(tcp.seq.wrapping_sub(mine.next) as i32));
    let same_path = !mine.has(Half::SEEN) || packet.ttl.abs_diff(mine.ttl) <= TTL_SLACK;
    in_window && same_path && (!tcp.md5 || mine.has(Half::MD5))
}
