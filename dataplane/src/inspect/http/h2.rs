//! HTTP/2 in clear: the first request after the preface (RFC 9113).
//!
//! ```text
//!  preface (24) │ SETTINGS │ … │ HEADERS [CONTINUATION …] with END_HEADERS
//!                  frame: length u24 │ type u8 │ flags u8 │ stream u32 │ payload
//! ```
//!
//! Only the first header block is read. Later ones depend on the dynamic table that the earlier ones built, which
//! would have to be kept for each flow.

use super::hpack::{self, Request};
use super::{Body, HEAD_CAP, Head, Method, Version, authority};
use crate::probe::Probe;
use glassgate_policy::Reason;
use std::convert::Infallible;

/// RFC 9113 section 3.4.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client may not send larger frames before it knows better (RFC 9113 section 6.5.2).
const FRAME_CAP: usize = 16_384;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preface {
    Whole,
    Partly,
    Not,
}

/// Whether the stream begins with the preface, which is a whole head of HTTP/1 until its last four bytes.
pub(super) fn preface(stream: &[u8]) -> Preface {
    if stream.starts_with(PREFACE) {
        Preface::Whole
    } else if !stream.is_empty() && PREFACE.starts_with(stream) {
        Preface::Partly
    } else {
        Preface::Not
    }
}

pub(super) fn request_head(stream: &[u8]) -> Probe<Head> {
    let mut at = PREFACE.len();
    let mut first = true;
    loop {
        let frame = match Frame::at(stream, at) {
            Ok(frame) => frame,
            Err(answer) => return answer.map(|never| match never {}),
        };
        if first && frame.kind != SETTINGS {
            return Probe::Malformed(Reason::MalformedHttp);
        }
        first = false;
        if frame.kind == HEADERS {
            return headers(stream, at);
        }
        at = frame.end;
    }
}

fn headers(stream: &[u8], start: usize) -> Probe<Head> {
    let mut at = start;
    let mut block = Block { stream, fragment: &[], next: start };
    // The whole block must be there: a field at its end may contradict one at its beginning.
    loop {
        let frame = match Frame::at(stream, at) {
            Ok(frame) => frame,
            Err(answer) => return answer.map(|never| match never {}),
        };
        let follows = at == start || frame.kind == CONTINUATION;
        if !follows || fragment(stream, &frame).is_none() {
            return Probe::Malformed(Reason::MalformedHttp);
        }
        at = frame.end;
        if frame.flags & END_HEADERS != 0 {
            break;
        }
    }
    block.stream = stream.get(..at).unwrap_or_default();
    match hpack::request(block) {
        Some(request) => Probe::Done(head(&request, at)),
        None => Probe::Malformed(Reason::MalformedHttp),
    }
}

fn head(request: &Request, len: usize) -> Head {
    let authority = request.authority.as_ref().map(|text| authority::parse(text.as_bytes()));
    let host = request.host.as_ref().map(|text| authority::parse(text.as_bytes()));
    let (named, rival) = match (authority, host) {
        (Some(Some(a)), Some(Some(h))) if a.0 != h.0 => (Some(a), Some(h.0)),
        (Some(Some(a)), None | Some(Some(_))) | (None, Some(Some(a))) => (Some(a), None),
        _ => (None, None),
    };
    Head {
        name: named.map(|(name, _)| name).ok_or(Reason::MalformedHttp),
        rival,
        is_from_target: false,
        version: Version::H2c,
        port: named.and_then(|(_, port)| port),
        method: if request.connect { Method::Connect } else { Method::Other },
        body: Body::Unknown,
        len,
    }
}

#[derive(Clone, Copy)]
struct Frame {
    kind: u8,
    flags: u8,
    /// Where its payload begins and ends.
    payload: usize,
    end: usize,
}

impl Frame {
    /// The frame at `at`, if all of it is there.
    fn at(stream: &[u8], at: usize) -> Result<Self, Probe<Infallible>> {
        let window = stream.get(..HEAD_CAP).unwrap_or(stream);
        let missing = |until: usize| {
            Err(if until > HEAD_CAP { Probe::Malformed(Reason::ReasmCap) } else { Probe::NeedMore(until) })
        };
        let Some([l0, l1, l2, kind, flags, ..]) = window.get(at..at + 9) else {
            return missing(at + 9);
        };
        let len = usize::from(*l0) << 16 | usize::from(*l1) << 8 | usize::from(*l2);
        if len > FRAME_CAP {
            return Err(Probe::Malformed(Reason::MalformedHttp));
        }
        let payload = at + 9;
        let end = payload + len;
        if end > window.len() {
            return missing(end);
        }
        Ok(Self { kind: *kind, flags: *flags, payload, end })
    }
}

/// The part of the header block in a HEADERS or CONTINUATION frame (RFC 9113 sections 6.2 and 6.10).
fn fragment<'a>(stream: &'a [u8], frame: &Frame) -> Option<&'a [u8]> {
    let mut payload = stream.get(frame.payload..frame.end)?;
    if frame.kind == HEADERS {
        if frame.flags & PADDED != 0 {
            let (pad, rest) = payload.split_first()?;
            payload = rest.get(..rest.len().checked_sub(usize::from(*pad))?)?;
        }
        if frame.flags & PRIORITY != 0 {
            payload = payload.get(5..)?;
        }
    }
    Some(payload)
}

/// The bytes of a header block across its frames, each of which was checked.
struct Block<'a> {
    /// Ends with the last frame of the block.
    stream: &'a [u8],
    fragment: &'a [u8],
    next: usize,
}

impl Iterator for Block<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            if let Some((byte, rest)) = self.fragment.split_first() {
                self.fragment = rest;
                return Some(*byte);
            }
            // Each turn moves `next` on by a frame header at least.
            let frame = Frame::at(self.stream, self.next).ok()?;
            self.fragment = fragment(self.stream, &frame)?;
            self.next = frame.end;
        }
    }
}
