//! QUIC: from the client's first datagrams to the server name of its ClientHello.
//!
//! ```text
//!  datagram ─► packets ─► Initial: keys from the connection id ─► header protection off ─► AEAD tag verified
//!              (coalesced)                                                                      │
//!                     ClientHello ◄─ CRYPTO bytes by offset (Assembler, over datagrams) ◄─ frames
//! ```
//!
//! Initial packets are encrypted with keys that anybody on the path can derive (RFC 9001 section 5.2): this is no secret being
//! broken, and the only reading of QUIC there is. Versions 1 and 2, drafts 22–34, the versions of mvfst, picoquic and
//! Google QUIC of which the keys are known; the older Google QUIC has its name in clear.
//!
//! Promises:
//!
//! - no allocation, no panic; work bounded per datagram (packets, tries) and per flow (tries that fail);
//! - nothing about the flow changes before an AEAD tag was verified, so junk, decoys with a bad tag and packets of the
//!   other side leave no trace but a count;
//! - CRYPTO bytes that come twice with different content are told ([`State::conflict`]), and the name that the other
//!   reading gives is kept ([`Scratch::rival`]). Keys of Initials are public, so anybody can make a decoy with a good tag.
//!
//! Answers of [`datagram`]:
//!
//! | answer | means | then |
//! |---|---|---|
//! | `Done` | a hello | a name, but for [`State::provisional`] and [`State::conflict`] |
//! | `NeedMore` | QUIC, no whole hello yet; the number counts CRYPTO bytes and is 0 where it is not known | ask with the next datagram |
//! | `NotThis` | this datagram is no QUIC | the next one may be: junk first is an evasion |
//! | `Malformed` | final | do not ask again |
//!
//! When the caller stops asking, [`State::reason`] says why there is no name.

mod frames;
mod gquic;
mod header;
mod keys;
mod version;

use glassgate_policy::{Name, Reason};

use self::header::{Kind, Packet};
pub use self::header::{LongHeader, MAX_CID, long_header};
use self::keys::{Deriver, Keys};
use self::version::{Content, Family, Profile};
use crate::assembler::Assembler;
use crate::inspect::tls::{self, ClientHello};
use crate::probe::Probe;

/// A client must not send an Initial in less, and a server drops it (RFC 9000 section 14.1).
pub const MIN_INITIAL_DATAGRAM: usize = 1200;

/// The longest packet that is opened. An Initial fits into the MTU; 16 KiB leaves room for any link.
const MAX_PACKET: usize = 16 * 1024;
/// Packets of one datagram that are looked at. Clients coalesce up to four kinds.
const MAX_COALESCED: usize = 8;
/// Initials of one flow that may fail to open before no more are tried. Each costs up to four key derivations.
const MAX_FAILED: u8 = 32;
/// Initials of one flow that are opened. A hello that fills all that is kept needs 14.
const MAX_OPENED: u8 = 64;

/// What is known of one flow. Fixed size, without pointers; the gathered bytes are the caller's.
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    flags: u16,
    failed: u8,
    opened: u8,
    version: u32,
    largest_pn: u32,
    /// How much of the CRYPTO bytes was read as hello.
    consumed: u16,
    keys: Keys,
    /// The connection id that `keys` come from.
    origin: header::Cid,
    client: header::Cid,
    server: header::Cid,
}

const _: () = assert!(size_of::<State>() <= 128, "one of these per undecided UDP flow");

const RETRY: u16 = 1;
const NEGOTIATION: u16 = 1 << 1;
const UNKNOWN_VERSION: u16 = 1 << 2;
const SMALL: u16 = 1 << 3;
const TRUNCATED: u16 = 1 << 4;
const SHORT_FIRST: u16 = 1 << 5;
const LONG: u16 = 1 << 6;
const CONFLICT: u16 = 1 << 7;
const REKEYED: u16 = 1 << 8;
const ZERO_RTT: u16 = 1 << 9;
const GQUIC: u16 = 1 << 10;
const GOOGLE_FRAMES: u16 = 1 << 11;
const CHLO: u16 = 1 << 12;
const RETRY_OPEN: u16 = 1 << 13;

/// Where packets are opened: one a lcore.
pub struct Scratch {
    deriver: Deriver,
    plain: [u8; MAX_PACKET],
    other: [u8; MAX_PACKET],
    rival: Option<Name>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { deriver: Deriver::new(), plain: [0; MAX_PACKET], other: [0; MAX_PACKET], rival: None }
    }
}

impl Scratch {
    /// The name by the other reading of bytes that conflicted in the last call of [`datagram`], as far as it was
    /// complete by then.
    pub fn rival(&self) -> Option<&Name> {
        self.rival.as_ref()
    }
}

impl State {
    /// The version of the last Initial that was opened; 0 before.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether anything of QUIC was recognized, so that UDP inspectors of other protocols need not be asked.
    pub fn is_quic(&self) -> bool {
        self.flags & (LONG | GQUIC | NEGOTIATION) != 0
    }

    /// Whether Google's QUIC from before the standard was recognized.
    pub fn is_gquic(&self) -> bool {
        self.flags & GQUIC != 0
    }

    /// Whether CRYPTO bytes came twice with different content: no name of this flow can be trusted.
    pub fn conflict(&self) -> bool {
        self.flags & CONFLICT != 0
    }

    /// Whether a Retry was seen.
    pub fn retried(&self) -> bool {
        self.flags & RETRY != 0
    }

    /// Whether a version negotiation was seen.
    pub fn negotiated(&self) -> bool {
        self.flags & NEGOTIATION != 0
    }

    /// Whether the client sent data at once (0-RTT packets).
    pub fn zero_rtt(&self) -> bool {
        self.flags & ZERO_RTT != 0
    }

    /// Whether an Initial with another client connection id opened than the one that the flow began with, without a
    /// Retry in between: a new attempt on the same 5-tuple, or a decoy.
    pub fn rekeyed(&self) -> bool {
        self.flags & REKEYED != 0
    }

    /// Whether the flow began with what may be a short header: a flow that moved here. Many a protocol looks like
    /// that in its first byte.
    pub fn short_first(&self) -> bool {
        self.flags & (SHORT_FIRST | LONG) == SHORT_FIRST
    }

    /// The connection id that the client chose for itself; empty if it chose none or no Initial was opened.
    pub fn client_cid(&self) -> &[u8] {
        self.client.as_bytes()
    }

    /// The connection id that the server chose for itself; empty if none was seen.
    pub fn server_cid(&self) -> &[u8] {
        self.server.as_bytes()
    }

    /// Why there is no name, if the flow ends or is given up here.
    pub fn reason(&self) -> Reason {
        let any = |flags| self.flags & flags != 0;
        if any(CONFLICT) {
            Reason::AmbiguousOverlap
        } else if self.provisional() {
            Reason::QuicVersion
        } else if self.opened > 0 {
            Reason::ReasmTimeout
        } else if any(SMALL | TRUNCATED) {
            Reason::MalformedL4
        } else if any(UNKNOWN_VERSION | NEGOTIATION | GQUIC) {
            Reason::QuicVersion
        } else if any(LONG) {
            Reason::Midstream
        } else if any(SHORT_FIRST) {
            Reason::QuicMigrated
        } else {
            Reason::UnknownProto
        }
    }

    /// Whether the hello was read from an Initial that no server takes, because its version is reserved for forcing a
    /// version negotiation: no label, because no server took it. A later `Done` replaces it.
    pub fn provisional(&self) -> bool {
        self.version != 0 && version::family(self.version) == Family::Reserved
    }

    fn exhausted(&self) -> bool {
        self.failed >= MAX_FAILED || self.opened >= MAX_OPENED
    }

    fn set(&mut self, flag: u16) {
        self.flags |= flag;
    }
}

/// Looks at one datagram of a flow.
///
/// `from_client` is the direction, or None if it is not known: then everything is tried as the client's, which costs
/// time and never makes a wrong answer. `crypto` gathers the client's CRYPTO bytes of this flow; [`ClientHello::message`] reads from its
/// [`Assembler::contiguous`]. After a hello, further calls watch for conflicts ([`State::conflict`]) and answer `Done` again
/// only for a further hello: after a HelloRetryRequest, a Retry or a version negotiation, and for each CHLO of Google
/// QUIC.
pub fn datagram(
    payload: &[u8],
    from_client: Option<bool>,
    state: &mut State,
    crypto: &mut Assembler<'_>,
    scratch: &mut Scratch,
) -> Probe<ClientHello> {
    scratch.rival = None;
    let client = from_client != Some(false);
    match payload.first() {
        None => return Probe::NotThis,
        Some(first) if first & 0x80 == 0 => return short_or_gquic(payload, client, state),
        Some(_) if gquic::has_long_header(payload) => return gquic_clear(payload, client, state),
        Some(_) => {}
    }
    let mut rest = payload;
    let (mut recognized, mut overflow) = (false, false);
    for _ in 0..MAX_COALESCED {
        let Some(long) = long_header(rest) else { break };
        let profiles = match version::family(long.version) {
            // Only a server sends one.
            Family::Negotiation if from_client != Some(true) && long.lists_versions() => {
                state.set(NEGOTIATION);
                return Probe::NeedMore(0);
            }
            Family::Ietf(profile) if long.dcid.len() <= MAX_CID && long.scid.len() <= MAX_CID => {
                [Some(profile), None]
            }
            Family::Reserved if long.is_plausible(payload.len()) => {
                state.set(UNKNOWN_VERSION);
                version::FOR_RESERVED.map(Some)
            }
            Family::Unknown if !recognized && long.is_plausible(payload.len()) => {
                state.set(UNKNOWN_VERSION);
                recognized = true;
                break;
            }
            Family::Negotiation | Family::Ietf(_) | Family::Reserved | Family::Unknown => break,
        };
        let [Some(profile), _] = profiles else { break };
        recognized = true;
        state.set(LONG);
        let Some(packet) = long.packet(rest, profile) else {
            state.set(TRUNCATED);
            break;
        };
        match packet.kind {
            Kind::Retry if client && from_client.is_some() => break,
            Kind::Retry => {
                state.set(RETRY | RETRY_OPEN);
                break;
            }
            Kind::ZeroRtt => state.set(ZERO_RTT),
            Kind::Handshake => {}
            Kind::Initial if !client => state.server = header::Cid::new(long.scid),
            // RFC 9000 section 14.1: the server drops it, so it names nothing.
            Kind::Initial if payload.len() < MIN_INITIAL_DATAGRAM => state.set(SMALL),
            Kind::Initial => {
                if let Some((len, at)) = open(&long, &packet, &profiles, state, crypto, scratch) {
                    overflow |= take_frames(at, len, state, crypto, scratch);
                }
            }
        }
        rest = rest.get(packet.bytes.len()..).unwrap_or_default();
    }
    if !recognized {
        return Probe::NotThis;
    }
    verdict(overflow, state, crypto)
}

/// What the gathered bytes say now.
fn verdict(overflow: bool, state: &mut State, crypto: &Assembler<'_>) -> Probe<ClientHello> {
    let consumed = usize::from(state.consumed);
    let bytes = crypto.contiguous();
    let found = if bytes.len() <= consumed {
        Probe::NeedMore(consumed + 1)
    } else if state.flags & CHLO != 0 {
        gquic::chlo(bytes).map_or(Probe::NeedMore(bytes.len() + 1), |name| gquic::hello(name, bytes.len()))
    } else {
        tls::crypto_client_hello(bytes, consumed)
    };
    match found {
        Probe::Done(hello) => {
            state.consumed = hello.end as u16;
            Probe::Done(hello)
        }
        Probe::NeedMore(_) if overflow => Probe::Malformed(Reason::QuicOffset),
        Probe::NeedMore(_) if state.consumed == 0 && state.exhausted() => Probe::Malformed(state.reason()),
        other => other,
    }
}

/// Opens an Initial and, if its tag holds, makes its keys the flow's. Gives length and offset of the frames within
/// `scratch.plain`.
fn open(
    long: &LongHeader<'_>,
    packet: &Packet<'_>,
    profiles: &[Option<Profile>; 2],
    state: &mut State,
    crypto: &mut Assembler<'_>,
    scratch: &mut Scratch,
) -> Option<(usize, usize)> {
    if state.exhausted() {
        return None;
    }
    let known = state.opened > 0;
    let same_version = state.version == long.version;
    // A packet to the id that the client chose for itself comes from the server.
    if known && !state.client.as_bytes().is_empty() && long.dcid == state.client.as_bytes() {
        state.server = header::Cid::new(long.scid);
        return None;
    }
    let largest = (known && same_version).then_some(state.largest_pn);
    let Scratch { deriver, plain, .. } = scratch;
    let mut attempt = |keys: &Keys| keys.open(packet, largest, plain);

    // The flow's keys stay those of its first connection id when the client goes over to the server's (RFC 9001 section 5.2).
    let mut opened = None;
    if known && same_version {
        opened = attempt(&state.keys).map(|found| (found, state.keys, state.origin));
    }
    let own = header::Cid::new(long.dcid);
    for profile in profiles.iter().flatten() {
        if opened.is_some() {
            break;
        }
        // Compatible version negotiation changes the version and keeps the connection id (RFC 9368 section 2.3).
        if known && !same_version && state.origin != own {
            let keys = deriver.client(*profile, state.origin.as_bytes());
            opened = attempt(&keys).map(|found| (found, keys, state.origin));
        }
        if opened.is_none() && !(known && same_version && state.origin == own) {
            let keys = deriver.client(*profile, long.dcid);
            opened = attempt(&keys).map(|found| (found, keys, own));
        }
        match profile.content {
            _ if opened.is_none() => {}
            Content::Ietf => state.flags &= !(GOOGLE_FRAMES | CHLO),
            Content::GoogleTls => state.set(GOOGLE_FRAMES | GQUIC),
            Content::GoogleChlo => state.set(GOOGLE_FRAMES | GQUIC | CHLO),
        }
    }
    let Some(((pn, frames), keys, origin)) = opened else {
        state.failed = state.failed.saturating_add(1);
        return None;
    };
    if known && origin != state.origin && state.flags & RETRY == 0 {
        state.set(REKEYED);
    }
    // After a version negotiation the client begins anew, with a new hello. After a Retry it should repeat its hello (RFC 9000
    // section 17.2.5.3) and not all do; the server has kept nothing of what came before.
    let negotiated = known && !same_version && state.flags & (NEGOTIATION | UNKNOWN_VERSION) != 0;
    let retried = known && origin != state.origin && state.flags & RETRY_OPEN != 0;
    if negotiated || retried {
        crypto.clear();
        state.consumed = 0;
        state.flags &= !RETRY_OPEN;
    }
    state.largest_pn =
        if known && same_version && origin == state.origin { state.largest_pn.max(pn) } else { pn };
    state.opened = state.opened.saturating_add(1);
    (state.version, state.keys, state.origin) = (long.version, keys, origin);
    state.client = header::Cid::new(long.scid);
    Some(frames)
}

/// Gathers the CRYPTO bytes of the frames in `scratch.plain`. True if some did not fit.
fn take_frames(
    at: usize,
    len: usize,
    state: &mut State,
    crypto: &mut Assembler<'_>,
    scratch: &mut Scratch,
) -> bool {
    let Scratch { plain, other, rival, .. } = scratch;
    let mut overflow = false;
    let google = state.flags & GOOGLE_FRAMES != 0;
    for (offset, data) in frames::crypto(plain.get(at..at + len).unwrap_or_default(), google) {
        let inserted = crypto.insert(offset, data);
        overflow |= inserted.overflow;
        if inserted.conflict {
            state.set(CONFLICT);
            *rival = other_reading(crypto.contiguous(), offset, data, other).or(*rival);
        }
    }
    overflow
}

/// The name if `data` at `offset` stood above what was gathered first.
fn other_reading(first: &[u8], offset: u64, data: &[u8], buf: &mut [u8]) -> Option<Name> {
    let offset = usize::try_from(offset).ok()?;
    let len = first.len().max(offset.checked_add(data.len())?);
    buf.get_mut(..first.len())?.copy_from_slice(first);
    if offset > first.len() {
        return None;
    }
    buf.get_mut(offset..offset + data.len())?.copy_from_slice(data);
    match tls::crypto_client_hello(buf.get(..len)?, 0) {
        Probe::Done(hello) => hello.name().ok(),
        _ => None,
    }
}

fn short_or_gquic(payload: &[u8], client: bool, state: &mut State) -> Probe<ClientHello> {
    if gquic::has_public_header(payload) {
        return gquic_clear(payload, client, state);
    }
    if state.is_quic() {
        // Data of an established flow whose hello is not complete: it may still be sent again.
        return Probe::NeedMore(0);
    }
    if payload.first().is_some_and(|first| first & 0x40 != 0) {
        state.set(SHORT_FIRST);
    }
    Probe::NotThis
}

fn gquic_clear(payload: &[u8], client: bool, state: &mut State) -> Probe<ClientHello> {
    state.set(GQUIC);
    if !client {
        return Probe::NeedMore(0);
    }
    match gquic::find_chlo(payload).and_then(gquic::chlo) {
        Some(name) => gquic::hello(name, 0),
        None => Probe::NeedMore(0),
    }
}
