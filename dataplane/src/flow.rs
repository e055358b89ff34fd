//! What is kept of a flow.
//!
//! Two records per flow: [`Hot`], one cache line, is all that a frame of a decided flow touches; [`Cold`] holds what
//! only the beginning and the end of a flow need. Both directions share one entry: the key orders its two
//! endpoints, and the direction of a frame is which of them sent it.
//!
//! ```text
//! Hot: 64 bytes
//!  0                                 40        44      45     46     47   48       56        64
//!  │ Key                             │ seen_ms │ stage │ cell │ bits │    │ bytes×2│ frames×2│
//!
//! Key, IPv4:  0                      8                      16                              40
//!             │ low endpoint │ bits  │ high endpoint │ scope │ zero                          │
//! Key, IPv6:  │ ports │ scope │ bits │ low address           │ high address                  │
//! ```

use crate::packet::{Addr, Packet, Tcp, Vlans};
use glassgate_policy::limit::LimitId;
use glassgate_policy::{
    Action, AppProto, Category, Direction, Evidence, GroupId, L4, ObservationLevel, Reason, ServiceId,
    SubjectId, Verdict,
};

/// The slot of a flow in the table; the same for its hot and cold record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u32);

impl FlowId {
    /// No flow.
    pub const NONE: Self = Self(u32::MAX);

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Undirected identity of a flow: endpoints in ascending order, transport, VLANs.
///
/// Five words as they stand in memory, because that is how it is hashed and compared. Of an IPv4 key two say all: each
/// endpoint is 48 bits, address and port, which one comparison brings in order and one multiplication hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Key([u64; 5]);

const _: () = assert!(size_of::<Key>() == 40);

/// Where in the words of a [`Key`] its parts stand.
mod at {
    /// First word: the transport.
    pub(super) const L4: u32 = 48;
    /// First word: inside a tunnel.
    pub(super) const TUNNELLED: u32 = 56;
    /// First word: an IPv4 key, which is its first two words.
    pub(super) const V4: u32 = 63;
    /// A fold of the VLAN ids, where they tell flows apart; else zero. Second word of an IPv4 key.
    pub(super) const SCOPE_V4: u32 = 48;
    /// The same in the first word of an IPv6 key, whose lowest two times sixteen bits are the ports.
    pub(super) const SCOPE_V6: u32 = 32;
}

impl Key {
    /// Whether two keys are the same, in a row of exclusive ors. The derived comparison calls the library's for memory,
    /// twenty instructions more for a frame. All five words for both families: a branch is guessed wrongly where families mix.
    #[inline(always)]
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
    }

    /// The key of no flow, to fill arrays.
    pub(crate) const NONE: Self = Self([0; 5]);

    /// The key of the flow between two endpoints outside of VLANs and tunnels, and whether the first is the lower one.
    ///
    /// Inlined where the family is known, what the other one needs is gone: 20 instructions for IPv4.
    #[inline(always)]
    pub fn between(src: (Addr, u16), dst: (Addr, u16), l4: L4) -> (Self, bool) {
        let bits = (l4 as u64) << at::L4;
        let ([a, b], [c, d]) = (halves(&src.0.0), halves(&dst.0.0));
        // Both are IPv4: an IPv6 packet is told by its first words.
        if a | c == 0 && (b as u32 ^ V4_PREFIX) | (d as u32 ^ V4_PREFIX) == 0 {
            let endpoint = |(addr, port): (Addr, u16)| u64::from(addr.low_word()) << 16 | u64::from(port);
            let (src, dst) = (endpoint(src), endpoint(dst));
            return (Self([src.min(dst) | bits | 1 << at::V4, src.max(dst), 0, 0, 0]), src <= dst);
        }
        let from_low = in_order(src, dst);
        // Chosen by mask, not by branch: which endpoint is lower is as good as random.
        let keep = u64::from(from_low).wrapping_sub(1);
        let (x, y) = ((a ^ c) & keep, (b ^ d) & keep);
        let (sport, dport) = (u64::from(src.1), u64::from(dst.1));
        let z = (sport ^ dport) & keep;
        (Self([(sport ^ z) | (dport ^ z) << 16 | bits, a ^ x, b ^ y, c ^ x, d ^ y]), from_low)
    }

    /// The key of a packet, and whether its source is the lower endpoint.
    #[inline(always)]
    pub fn of(packet: &Packet, vlans_tell_apart: bool) -> (Self, bool) {
        let (src, dst) = ((packet.src, packet.src_port), (packet.dst, packet.dst_port));
        let (mut key, from_low) = Self::between(src, dst, packet.l4());
        if vlans_tell_apart && packet.vlans != Vlans::NONE {
            let fold = |scope: u16, id: &u16| scope.rotate_left(5) ^ *id;
            let scope = u64::from(packet.vlans.ids().iter().fold(0, fold));
            if key.is_v4() {
                key.0[1] |= scope << at::SCOPE_V4;
            } else {
                key.0[0] |= scope << at::SCOPE_V6;
            }
        }
        key.0[0] |= u64::from(packet.tunnelled) << at::TUNNELLED;
        (key, from_low)
    }

    /// Whether it is an IPv4 key: the first two words, and zeros.
    #[inline(always)]
    pub(crate) const fn is_v4(&self) -> bool {
        self.0[0] >> at::V4 != 0
    }

    /// The endpoints, lower first.
    pub fn endpoints(&self) -> [(Addr, u16); 2] {
        let [first, a, b, c, d] = self.0;
        if self.is_v4() {
            return [first, a].map(|word| (Addr::v4(((word >> 16) as u32).to_be_bytes()), word as u16));
        }
        let addr = |low: u64, high: u64| Addr((u128::from(high) << 64 | u128::from(low)).to_le_bytes());
        [(addr(a, b), first as u16), (addr(c, d), (first >> 16) as u16)]
    }

    /// The transport.
    pub fn l4(&self) -> L4 {
        if (self.0[0] >> at::L4) as u8 == L4::Udp as u8 { L4::Udp } else { L4::Tcp }
    }

    /// The key as five words, for hashing.
    #[inline]
    pub(crate) fn words(&self) -> &[u64; 5] {
        &self.0
    }
}

/// What stands before an IPv4 address in the second half of its [`Addr`].
const V4_PREFIX: u32 = u32::from_le_bytes([0, 0, 0xff, 0xfe]);

/// Whether the first endpoint is the lower one, without a branch.
#[inline(always)]
fn in_order(src: (Addr, u16), dst: (Addr, u16)) -> bool {
    let (a, b) = (u128::from_be_bytes(src.0.0), u128::from_be_bytes(dst.0.0));
    (a < b) | (a == b) & (src.1 <= dst.1)
}

#[inline(always)]
fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    let all = u128::from_le_bytes(*bytes);
    [all as u64, (all >> 64) as u64]
}

/// How much work the next frame of a flow needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// No name yet: every frame is inspected.
    Undecided = 0,
    /// A name was read; it is provisional until the server acknowledged the bytes that it stood in, because until
    /// then other bytes may still take their place.
    Guarded = 1,
    /// A name was read, and later messages of the flow may carry more (keep-alive requests, further queries).
    Followed = 2,
    /// Settled: frames are counted and the verdict is applied.
    Settled = 3,
}

/// What every frame of the flow touches.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Hot {
    /// Identity.
    pub key: Key,
    /// Time of the last frame, milliseconds of the lcore's clock, wrapping.
    pub seen_ms: u32,
    /// How much work the next frame needs.
    pub stage: Stage,
    cell: u8,
    /// See the constants of [`bit`].
    pub bits: u8,
    /// Under which policy the flow was decided: low bits of a count.
    pub policy_tag: u8,
    /// Bytes on the wire, by who sent them: lower endpoint, higher endpoint. Spills into [`Cold::spilled`].
    pub bytes: [u32; 2],
    /// Frames, likewise, saturating.
    pub frames: [u32; 2],
}

const _: () = assert!(size_of::<Hot>() == 64);
// [`Hot::is_known`] takes a cell without an action for one that passes.
const _: () = assert!(Action::Allow as u8 == 0);

/// Bits of [`Hot::bits`].
pub mod bit {
    /// The lower endpoint is the client.
    pub const CLIENT_IS_LOW: u8 = 1;
    /// Who the client is was seen (SYN, or a message only clients send), not guessed from ports.
    pub const ORIENTED: u8 = 2;
    /// The lower endpoint sent a FIN.
    pub const FIN_LOW: u8 = 4;
    /// The higher endpoint sent a FIN.
    pub const FIN_HIGH: u8 = 8;
    /// An acceptable RST was seen.
    pub const RST: u8 = 16;
    /// The lower endpoint sent the first frame: the flow counts for its share of the table.
    pub const OPENER_LOW: u8 = 32;
    /// The slot is taken.
    pub const LIVE: u8 = 128;
}

impl Hot {
    /// A record for a flow that starts now.
    pub fn new(key: Key, seen_ms: u32) -> Self {
        let cell = pack(Verdict::FAIL_OPEN);
        Self {
            key,
            seen_ms,
            stage: Stage::Undecided,
            cell,
            bits: bit::LIVE,
            policy_tag: 0,
            bytes: [0; 2],
            frames: [0; 2],
        }
    }

    /// What happens to the frames of the flow.
    pub fn action(&self) -> Action {
        match self.cell & 15 {
            1 => Action::Block,
            2 => Action::Limit,
            3 => Action::Notice,
            _ => Action::Allow,
        }
    }

    /// Whether the verdict is known, stands under this policy, and is that frames pass: the flow is settled, not blocked
    /// and not limited. Without branches between the three, and each byte compared where it lies: put together to one
    /// word first, which the compiler does byte by byte, it took five instructions more.
    #[inline(always)]
    pub(crate) fn is_known(&self, policy_tag: u8) -> bool {
        let differs = self.stage as u8 ^ Stage::Settled as u8 | self.policy_tag ^ policy_tag | self.cell & 15;
        differs == Action::Allow as u8
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        Verdict {
            action: self.action(),
            level: ObservationLevel::from_code(self.cell >> 4).unwrap_or(ObservationLevel::None),
        }
    }

    /// Sets the verdict.
    pub fn decide(&mut self, verdict: Verdict) {
        self.cell = pack(verdict);
    }

    /// Which way a frame goes whose source is the lower endpoint, or isn't.
    pub fn direction(&self, from_low: bool) -> Direction {
        if from_low == (self.bits & bit::CLIENT_IS_LOW != 0) { Direction::Up } else { Direction::Down }
    }

    /// Whether the sender of this side (0 the lower endpoint) is known to be the client.
    pub fn is_client(&self, side: usize) -> bool {
        self.bits & bit::ORIENTED != 0 && (side == 0) == (self.bits & bit::CLIENT_IS_LOW != 0)
    }

    /// From now on the sender of this side is the client, or the server.
    pub fn orient(&mut self, side: usize, client: bool) {
        let low = if (side == 0) == client { bit::CLIENT_IS_LOW } else { 0 };
        self.bits = self.bits & !bit::CLIENT_IS_LOW | low | bit::ORIENTED;
    }

    /// Whether both sides have closed, or one reset.
    pub fn is_closed(&self) -> bool {
        let fins = bit::FIN_LOW | bit::FIN_HIGH;
        self.bits & bit::RST != 0 || self.bits & fins == fins
    }

    /// Whether frames went both ways.
    pub fn is_answered(&self) -> bool {
        self.frames.iter().all(|n| *n > 0)
    }

    /// The client's and the server's endpoint.
    pub fn client_server(&self) -> [(Addr, u16); 2] {
        let [low, high] = self.key.endpoints();
        if self.bits & bit::CLIENT_IS_LOW != 0 { [low, high] } else { [high, low] }
    }
}

fn pack(verdict: Verdict) -> u8 {
    verdict.action as u8 | (verdict.level as u8) << 4
}

/// What only the beginning and the end of a flow touch.
#[derive(Clone, Copy, Debug)]
pub struct Cold {
    /// Time of the first frame, nanoseconds of the lcore's clock.
    pub first_ns: u64,
    /// Number of the last inspected frame.
    pub last_frame: u64,
    /// Number of the first frame.
    pub first_frame: u64,
    /// Number of the frame with which the name became known; 0 while there is none.
    pub name_frame: u64,
    /// Bytes beyond 32 bits, by sender.
    pub spilled: [u64; 2],
    /// The service of the name.
    pub service: ServiceId,
    /// The category of the service.
    pub category: Category,
    /// The group of the client, as of the last decision.
    pub group: GroupId,
    /// The number of the client's subject, likewise.
    pub subject: SubjectId,
    /// How the name is known.
    pub evidence: Evidence,
    /// The protocol the name was, or would have been, found in.
    pub app: Option<AppProto>,
    /// Why there is no name.
    pub reason: Option<Reason>,
    /// See the constants of [`mark`].
    pub marks: u16,
    /// VLAN tags of the first frame.
    pub vlans: Vlans,
    /// Hash of the name, so that a second one can be told from the same once more.
    pub name_hash: u64,
    /// The two directions of the transport, by sender (lower, higher endpoint).
    pub half: [Half; 2],
    /// Frames with payload inspected so far without a name.
    pub tries: u8,
    /// The limit of the matrix in force, if the verdict is one.
    pub limit: Option<LimitId>,
    /// The page that its client was given in the name of the server.
    pub page: Option<Given>,
    /// Bytes that events told of already, by sender.
    pub told_bytes: [u64; 2],
    /// Frames that events told of already, by sender.
    pub told_frames: [u32; 2],
    /// Until when events told of the flow, milliseconds of the lcore's clock, wrapping.
    pub told_ms: u32,
}

/// A page that was given to a client in the name of its server.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// Sequence number of the segment that it answered.
    pub request: u32,
    /// Which page.
    pub page: Page,
}

/// What a client is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Which rule blocks it.
    Rule,
    /// The notice, or thanks for its receipt.
    Notice(crate::notice::Answer),
}

/// Marks of [`Cold::marks`].
pub mod mark {
    /// The hello carried an encrypted hello, real or GREASE.
    pub const ECH: u16 = 1;
    /// The beginning of the flow was not seen.
    pub const MIDSTREAM: u16 = 2;
    /// Several different names were seen in it.
    pub const MULTI_NAME: u16 = 4;
    /// The server asked for a second hello.
    pub const RETRY_HELLO: u16 = 8;
    /// The verdict was announced by an event.
    pub const ANNOUNCED: u16 = 16;
    /// A segment was ignored because no endpoint would accept it.
    pub const IGNORED: u16 = 32;
    /// A SYN carried data of which the server has not said whether it takes it.
    pub const SYN_DATA: u16 = 64;
    /// The same bytes came with different content, or a name has several readings.
    pub const AMBIGUOUS: u16 = 128;
    /// The server's first bytes were looked at.
    pub const SERVER_SPOKE: u16 = 512;
    /// Bytes were taken from a segment that looks made to deceive: its TTL or options differ from the flow's.
    pub const STRANGE: u16 = 1024;
    /// The server answered twice, under different numbers: which of them the client believed is not known.
    pub const TWO_ANSWERS: u16 = 2048;
    /// The client asked twice, under different numbers: which SYN arrived, the answer tells.
    pub const TWO_SYNS: u16 = 4096;
    /// The signature of the name says that this host takes uploads.
    pub const UPLOAD_HOST: u16 = 8192;
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Half {
    /// The slot of the inspection slab, plus one; 0 for none.
    pub slot: u32,
    /// Sequence number of the first payload byte; valid with [`Half::HAS_BASE`].
    pub base: u32,
    /// One past the greatest sequence number sent; valid with [`Half::HAS_BASE`].
    pub next: u32,
    /// Bytes from `base` on that the other side acknowledged: nothing can take their place any more.
    pub acked: u32,
    /// The largest window that this side advertised, scaled.
    pub max_window: u32,
    /// TSval of the first segment.
    pub ts_first: u32,
    /// The scale of windows (RFC 7323 section 2).
    pub window_shift: u8,
    /// TTL of the first frame.
    pub ttl: u8,
    /// Bits: see the constants.
    pub bits: u8,
}

impl Half {
    /// `base` and `next` are known.
    pub const HAS_BASE: u8 = 1;
    /// The SYN was seen.
    pub const SYN: u8 = 2;
    /// `ts_first` is known.
    pub const HAS_TS: u8 = 4;
    /// The first segment had a correct checksum, so a wrong one later is no artefact of offloading.
    pub const GOOD_SUM: u8 = 8;
    /// Segments carry the MD5 option.
    pub const MD5: u8 = 16;
    /// Given up: this direction is no longer inspected.
    pub const DONE: u8 = 32;
    /// A frame was seen.
    pub const SEEN: u8 = 64;
    /// Payload was seen.
    pub const PAYLOAD: u8 = 128;

    /// Whether a bit is set.
    pub const fn has(&self, bits: u8) -> bool {
        self.bits & bits == bits
    }

    /// Whether this is the SYN that the direction began with, or a repetition of it.
    pub fn is_syn(&self, tcp: &Tcp) -> bool {
        self.has(Self::SYN) && self.base == tcp.seq.wrapping_add(1)
    }
}

impl Cold {
    /// A record for a flow that starts now.
    pub fn new(first_ns: u64, first_frame: u64, vlans: Vlans) -> Self {
        Self {
            first_ns,
            last_frame: first_frame,
            first_frame,
            name_frame: 0,
            spilled: [0; 2],
            service: ServiceId::NONE,
            category: Category::Unknown,
            group: GroupId(0),
            subject: SubjectId::NOBODY,
            evidence: Evidence::None,
            app: None,
            reason: None,
            marks: 0,
            vlans,
            name_hash: 0,
            half: [Half::default(); 2],
            tries: 0,
            limit: None,
            page: None,
            told_bytes: [0; 2],
            told_frames: [0; 2],
            told_ms: (first_ns / 1_000_000) as u32,
        }
    }

    /// All bytes of the flow whose hot record is `hot`, by sender.
    pub fn bytes(&self, hot: &Hot) -> [u64; 2] {
        let ([low, high], [low_before, high_before]) = (hot.bytes.map(u64::from), self.spilled);
        [low + low_before, high + high_before]
    }

    /// Whether a mark is set.
    pub const fn has(&self, marks: u16) -> bool {
        self.marks & marks == marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    /// Few values, so that endpoints are often equal in part, with the prefix that IPv4 is set into among them.
    fn addr() -> impl Strategy<Value = Addr> {
        prop_oneof![
            (0u8..3, 0u8..3).prop_map(|(a, d)| Addr::v4([a * 127, 0, 0, d])),
            (0u8..3, 0u8..3).prop_map(|(a, d)| Addr([a, 0, 0, 0, 0, 0, 0, d, 0, 0, 0, 0, 0, 0, 0, d])),
            any::<[u8; 16]>().prop_map(Addr),
        ]
    }

    proptest! {
        #[test]
        fn a_key_is_its_endpoints(
            src in (addr(), 0u16..3), dst in (addr(), any::<u16>()), udp in any::<bool>(), vlan in any::<Option<u16>>(),
            tunnelled in any::<bool>(),
        ) {
            let transport = if udp { crate::packet::Transport::Udp } else { crate::packet::Transport::Tcp { flags: 0 } };
            let there = Packet {
                vlans: vlan.map_or(Vlans::NONE, Vlans::one),
                src: src.0,
                dst: dst.0,
                src_port: src.1,
                dst_port: dst.1,
                ttl: 64,
                transport,
                l3_at: 0,
                l4_at: 0,
                payload_at: 0,
                payload_len: 0,
                payload_wire_len: 0,
                tunnelled,
                tunnel: None,
                exthdr_capped: false,
            };
            let back = Packet { src: dst.0, dst: src.0, src_port: dst.1, dst_port: src.1, ..there };
            for tell_apart in [false, true] {
                let (key, from_low) = Key::of(&there, tell_apart);
                let in_order = if from_low { [src, dst] } else { [dst, src] };
                prop_assert_eq!((key.endpoints(), key.l4()), (in_order, there.l4()));
                prop_assert!(in_order[0] <= in_order[1]);
                prop_assert_eq!(key.is_v4(), src.0.is_v4() && dst.0.is_v4());
                prop_assert_eq!(Key::of(&back, tell_apart), (key, !from_low || src == dst));
                for other in [
                    Packet { dst_port: dst.1 ^ 0x8000, ..there },
                    Packet { dst: Addr(dst.0.0.map(|b| b ^ 1)), ..there },
                    Packet { tunnelled: !tunnelled, ..there },
                ] {
                    prop_assert_ne!(Key::of(&other, tell_apart).0, key);
                }
                let tagged = Packet { vlans: Vlans::one(vlan.unwrap_or(0) ^ 5), ..there };
                prop_assert_eq!(Key::of(&tagged, tell_apart).0 != key, tell_apart);
            }
        }
    }

    #[test]
    fn the_prefix_of_ipv4() {
        let IpAddr::V4(_) = Addr::v4([1, 2, 3, 4]).ip() else { panic!("IPv4") };
        assert_eq!(halves(&Addr::v4([1, 2, 3, 4]).0)[1] as u32, V4_PREFIX);
    }
}
