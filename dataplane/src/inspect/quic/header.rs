//! The long header.
//!
//! ```text
//!  1?tt???? version(4) dcid(1+n) scid(1+n) │ Initial: token(varint+n) length(varint) packet number(1–4) payload tag(16)
//!  └──── the same in all versions ───────┘ │ 0-RTT, Handshake: length(varint) …      Retry: token, tag
//! ```

use super::MIN_INITIAL_DATAGRAM;
use super::version::Profile;
use crate::inspect::bytes::Bytes;

/// The longest connection id of versions 1 and 2 (RFC 9000 section 17.2).
pub const MAX_CID: usize = 20;

/// A packet number of four bytes at most, and the sample behind it (RFC 9001 section 5.4.2).
const SAMPLE_END: usize = 4 + 16;

/// The part of a long header that all versions share (RFC 8999 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongHeader<'a> {
    /// The first byte; its low bits are protected.
    pub first: u8,
    /// The version; 0 for a version negotiation.
    pub version: u32,
    /// Destination connection id.
    pub dcid: &'a [u8],
    /// Source connection id.
    pub scid: &'a [u8],
    rest: &'a [u8],
}

/// A connection id, kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cid {
    len: u8,
    bytes: [u8; MAX_CID],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Initial,
    ZeroRtt,
    Handshake,
    Retry,
}

/// One packet of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) kind: Kind,
    /// The packet to its end, which its length field gives.
    pub(super) bytes: &'a [u8],
    /// Where the packet number begins.
    pub(super) pn_at: usize,
}

/// Reads a long header, or None for anything else.
pub fn long_header(bytes: &[u8]) -> Option<LongHeader<'_>> {
    let mut b = Bytes::new(bytes);
    let first = b.u8()?;
    if first & 0x80 == 0 {
        return None;
    }
    let version = b.u32()?;
    let (dcid, scid) = (b.vec8()?, b.vec8()?);
    Some(LongHeader { first, version, dcid, scid, rest: b.rest() })
}

impl<'a> LongHeader<'a> {
    /// Whether this may be a version negotiation: whole versions follow, and at least one.
    pub(super) fn lists_versions(&self) -> bool {
        !self.rest.is_empty() && self.rest.len().is_multiple_of(4)
    }

    /// Whether a version that is not known may be QUIC all the same: any protocol's first byte has its high bit
    /// set half the time, so everything that the standard asks of a first datagram is asked here.
    pub(super) fn is_plausible(&self, datagram: usize) -> bool {
        self.first & 0x40 != 0
            && datagram >= MIN_INITIAL_DATAGRAM
            && (8..=MAX_CID).contains(&self.dcid.len())
            && self.scid.len() <= MAX_CID
    }

    /// The packet that begins `bytes` with this header; None if it is longer than the datagram, or too short to be
    /// opened (RFC 9001 section 5.4.2: dropped).
    pub(super) fn packet(&self, bytes: &'a [u8], profile: Profile) -> Option<Packet<'a>> {
        let kind = match (self.first >> 4 & 3).wrapping_sub(u8::from(profile.v2_types)) & 3 {
            0 => Kind::Initial,
            1 => Kind::ZeroRtt,
            2 => Kind::Handshake,
            _ => Kind::Retry,
        };
        if kind == Kind::Retry {
            return Some(Packet { kind, bytes, pn_at: 0 });
        }
        let mut b = Bytes::new(self.rest);
        if kind == Kind::Initial {
            let token = usize::try_from(b.varint()?).ok()?;
            b.take(token)?;
        }
        let len = usize::try_from(b.varint()?).ok()?;
        let pn_at = bytes.len() - b.len();
        let bytes = bytes.get(..pn_at.checked_add(len)?)?;
        (len >= SAMPLE_END).then_some(Packet { kind, bytes, pn_at })
    }
}

impl Cid {
    /// Keeps an id; one that is too long is cut, which callers rule out before.
    pub(super) fn new(id: &[u8]) -> Self {
        let mut bytes = [0; MAX_CID];
        let len = id.len().min(MAX_CID);
        for (to, from) in bytes.iter_mut().zip(id) {
            *to = *from;
        }
        Self { len: len as u8, bytes }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}
