//! TCP flows: whose bytes count, in which order, and what they say.
//!
//! Not a TCP stack: only what it takes to know which bytes the server will read first. A segment that no endpoint
//! would accept must not decide anything; the checks are those of the receiving side (RFC 9293 section 3.10.7,
//! PAWS of RFC 7323 section 5), as far as they can be made from what was seen:
//!
//! | ignored | because |
//! |---|---|
//! | wrong checksum, where the flow's first segment had a right one | the server discards it; elsewhere offloading explains it |
//! | no ACK flag, or SYN with FIN or RST | RFC 9293 3.10.7.4 |
//! | acknowledges what the server never sent | RFC 9293 3.10.7.4 |
//! | TSval before the one of the SYN | PAWS |
//! | MD5 option where the SYN had none | RFC 2385 |
//! | bytes before the first, or 1 MiB beyond it | outside of the window |
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
const TTL_SLACK: u8 = 3;
const DNS_PORT: u16 = 53;

impl<S: FlowSink> Classifier<S> {
    /// SYN, FIN and RST.
    pub(super) fn tcp_control(&mut self, id: FlowId, side: usize, packet: &Packet, tcp: &Tcp, bytes: &[u8]) {
        let Some(hot) = self.table.get_mut(id) else { return };
        let Some(cold) = self.cold.get_mut(id.index()) else { return };
        let [mine, other] = halves(&mut cold.half, side);
        if tcp.has(flag::SYN) && tcp.flags & (flag::FIN | flag::RST) == 0 {
            let from_client =
                hot.bits & bit::ORIENTED == 0 || (side == 0) == (hot.bits & bit::CLIENT_IS_LOW != 0);
            if !tcp.has(flag::ACK) {
                if mine.has(Half::SYN) || hot.stage != Stage::Undecided {
                    return;
                }
                if hot.bits & bit::ORIENTED == 0 {
                    let low = if side == 0 { bit::CLIENT_IS_LOW } else { 0 };
                    hot.bits = hot.bits & !bit::CLIENT_IS_LOW | low | bit::ORIENTED;
                }
                begin(mine, packet, tcp, bytes, &self.options.parse);
            } else if mine.has(Half::SYN)
                && from_client
                && hot.bits & bit::ORIENTED != 0
                && other.has(Half::SEEN)
            {
                // Acknowledgement of a SYN by who sent one first: no server, an endpoint answers it with RST.
            } else {
                if hot.bits & bit::ORIENTED == 0 {
                    let low = if side == 0 { 0 } else { bit::CLIENT_IS_LOW };
                    hot.bits = hot.bits & !bit::CLIENT_IS_LOW | low | bit::ORIENTED;
                }
                // A server that answers once more under another number means the last one.
                if !mine.has(Half::PAYLOAD) {
                    begin(mine, packet, tcp, bytes, &self.options.parse);
                }
                if !other.has(Half::HAS_BASE) {
                    (other.base, other.next) = (tcp.ack, tcp.ack);
                    other.bits |= Half::HAS_BASE;
                } else if cold.marks & mark::SYN_DATA != 0 {
                    cold.marks &= !mark::SYN_DATA;
                    // The server did not take the data of the SYN: it will be sent again, or never was meant.
                    if tcp.ack == other.base
                        && let Some(slot) = SlotId::from_record(other.slot).and_then(|s| self.slab.slot(s))
                    {
                        slot.ranges.clear();
                        slot.need = 0;
                    }
                }
            }
        }
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
        if !payload.is_empty() && !acceptable(mine, other, packet, tcp, bytes, &self.options.parse) {
            cold.marks |= mark::IGNORED;
            self.counters.decoys_ignored[0] += 1;
            return;
        }
        if !payload.is_empty() && hot.bits & bit::RST != 0 {
            // Data goes on after a reset: the reset never arrived.
            hot.bits &= !bit::RST;
        }
        if direction == Direction::Down && stage == Stage::Guarded {
            let first = mine.has(Half::HAS_BASE) && tcp.seq == mine.base && !payload.is_empty();
            let acked = tcp.has(flag::ACK) && other.has(Half::HAS_BASE);
            let upto = if acked { tcp.ack.wrapping_sub(other.base) } else { 0 };
            self.acknowledged(id, upto, if first { payload } else { &[] });
            return;
        }
        if payload.is_empty() || mine.has(Half::DONE) {
            return;
        }
        let syn = tcp.has(flag::SYN);
        let start = tcp.seq.wrapping_add(u32::from(syn));
        let sent = start.wrapping_add(packet.payload_wire_len);
        if direction == Direction::Down && oriented && server_port != DNS_PORT {
            mine.bits |= Half::PAYLOAD;
            if mine.has(Half::HAS_BASE) && (sent.wrapping_sub(mine.next) as i32) > 0 {
                mine.next = sent;
            }
            return;
        }
        if !mine.has(Half::HAS_BASE) {
            (mine.base, mine.next) = (start, start);
            mine.bits |= Half::HAS_BASE;
            cold.marks |= mark::MIDSTREAM;
        }
        let offset = start.wrapping_sub(mine.base) as i32;
        if offset > PLAUSIBLE {
            self.counters.decoys_ignored[0] += 1;
            return;
        }
        if (sent.wrapping_sub(mine.next) as i32) > 0 {
            mine.next = sent;
        }
        // Bytes before the first one: a keep-alive probe, or a lowered sequence number. The server has them already.
        let Some(payload) = payload.get(offset.min(0).unsigned_abs() as usize..).filter(|p| !p.is_empty())
        else {
            return;
        };
        mine.bits |= Half::PAYLOAD;
        if syn {
            cold.marks |= mark::SYN_DATA;
        }
        let strange = packet.ttl.abs_diff(mine.ttl) > TTL_SLACK;
        let urgent = tcp.has(flag::URG) && tcp.urgent != 0;
        let held = syn || cold.has(mark::SYN_DATA);
        let segment = Segment { side, offset: offset.max(0) as u64, number, strange, urgent, held };
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
    if let Some(ts) = tcp.ts_val {
        half.ts_first = ts;
        half.bits |= Half::HAS_TS;
    }
    if tcp.md5 {
        half.bits |= Half::MD5;
    }
    if l4_checksum_ok(packet, bytes, options) {
        half.bits |= Half::GOOD_SUM;
    }
}

/// Whether the receiver would take this segment's data.
fn acceptable(
    mine: &Half,
    other: &Half,
    packet: &Packet,
    tcp: &Tcp,
    bytes: &[u8],
    options: &ParseOptions,
) -> bool {
    let flags = tcp.flags & (flag::SYN | flag::FIN | flag::RST | flag::ACK);
    let flags_fit = flags == flag::ACK || flags == flag::ACK | flag::FIN || flags == flag::SYN;
    if !flags_fit || tcp.md5 && mine.has(Half::SYN) && !mine.has(Half::MD5) {
        return false;
    }
    if let Some(ts) = tcp.ts_val
        && mine.has(Half::HAS_TS)
        && (ts.wrapping_sub(mine.ts_first) as i32) < 0
    {
        return false;
    }
    if flags != flag::SYN && other.has(Half::HAS_BASE | Half::SYN) {
        let acked = tcp.ack.wrapping_sub(other.base) as i32;
        let sent = other.next.wrapping_sub(other.base) as i32;
        // Beyond what was seen of the other side there may be what a capture lost.
        if acked < 0 || acked > sent.saturating_add(PLAUSIBLE) {
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
