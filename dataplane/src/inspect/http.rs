//! HTTP/1 and h2c: the name in the head of a request.
//!
//! ```text
//!  client bytes   [CRLF]* method SP target SP version EOL (field EOL)* EOL | body | next request …
//!                 └────────────────────── Head::len ──────────────────────┘└ Head::body ┘
//! ```
//!
//! [`request_head`] reads one head where a request begins: of HTTP/1 (RFC 9112), or of HTTP/2 with prior knowledge
//! (RFC 9113 section 3.3). [`Tracker`] goes on from there and finds the heads of later requests in the same flow.
//!
//! Promises: nothing is copied but the name, nothing allocates, nothing is looked at beyond [`HEAD_CAP`] bytes; an
//! answer other than [`Probe::NeedMore`] never changes when more bytes follow.
//!
//! What servers tolerate is read as they read it: `Host` in any case, blanks round it, bare LF, empty lines before the
//! method, unknown methods, blanks in the target. What makes servers disagree names nothing: two `Host` fields, or one
//! that is folded (RFC 9112 sections 3.2 and 5.2), give [`Reason::MalformedHttp`]. A target in absolute form that
//! differs from `Host` gives both names, [`Head::name`] and [`Head::rival`], and the flow is ambiguous.
//!
//! A version other than `HTTP/` in the request line is another protocol (RTSP, SIP, ICAP). A line without version, as of
//! HTTP/0.9, is a request only where a field follows it.

mod authority;
mod h2;
mod head;
mod hpack;
mod tracker;

pub use tracker::{Step, Tracker};

use crate::probe::Probe;
use glassgate_policy::{Name, Reason};

/// The longest head that is read, in bytes: what is reassembled for one flow.
pub const HEAD_CAP: usize = 16 * 1024;

/// What the head of a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The name of the server: from the target where that is in absolute or authority form (RFC 9112 section 3.2),
    /// else from `Host`. An IP literal is a name of [`glassgate_policy::name::Kind::Address`].
    pub name: Result<Name, Reason>,
    /// What `Host` says when the target says something else. No name of such a flow may be enforced on.
    pub rival: Option<Name>,
    /// Whether the name is from the target alone, as of CONNECT without `Host`.
    pub is_from_target: bool,
    /// The version.
    pub version: Version,
    /// The port that follows the name.
    pub port: Option<u16>,
    /// What kind of request it is.
    pub method: Method,
    /// How the body ends.
    pub body: Body,
    /// Bytes of the head, empty lines before it and the empty line after it included.
    pub len: usize,
}

/// The version of HTTP, as far as it makes another protocol on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Text (RFC 9112).
    Http1,
    /// HTTP/2 in clear (RFC 9113).
    H2c,
}

/// What kind of request it is, as far as it changes what follows in the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A tunnel through a proxy: what follows belongs to somebody else (RFC 9110 section 9.3.6).
    Connect,
    /// Asks for another protocol (RFC 9110 section 7.8); the server may ignore it.
    Upgrade(Upgrade),
    /// Any other.
    Other,
}

/// The protocol that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
    /// HTTP/2 in clear (RFC 7540 section 3.2).
    H2c,
    /// TLS in place (RFC 2817).
    Tls,
    /// Any other.
    Other,
}

/// How the body of a request ends (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// After this many bytes; `0` where there is no body.
    Length(u64),
    /// After the last chunk and its trailers.
    Chunked,
    /// Not to be said: contradictory or unknown framing, or a head that was cut off.
    Unknown,
}

/// Reads the head of the request at the beginning of `stream`, the client's contiguous bytes so far.
///
/// [`Probe::Done`] also for a head without a usable name: [`Head::name`] says why. [`Probe::Malformed`] is
/// [`Reason::ReasmCap`] for a head that doesn't end within [`HEAD_CAP`] and names nobody before, and
/// [`Reason::MalformedHttp`] for bad HTTP/2 frames. A longer head with one `Host` within the cap is read up to there.
pub fn request_head(stream: &[u8]) -> Probe<Head> {
    match h2::preface(stream) {
        h2::Preface::Whole => h2::request_head(stream),
        h2::Preface::Partly => Probe::NeedMore(stream.len() + 1),
        h2::Preface::Not => head::request_head(stream),
    }
}

/// What [`request_head`] answers, without looking again for the end of the head in the first `seen` bytes, for which it
/// answered [`Probe::NeedMore`] before. Keeps a head that arrives in many small segments from costing the square of its
/// length; a fault after its request line may be found later than by [`request_head`], at its end.
pub fn request_head_resumed(stream: &[u8], seen: usize) -> Probe<Head> {
    if stream.len() < HEAD_CAP
        && h2::preface(stream) == h2::Preface::Not
        && !head::may_end_after(stream, seen)
    {
        return Probe::NeedMore(stream.len() + 1);
    }
    request_head(stream)
}

/// What an unfinished head says: for a flow that ended, or lost bytes, while [`request_head`] wanted more. Only whole
/// lines count. `None` when they don't name anyone.
pub fn unfinished_head(stream: &[u8]) -> Option<Head> {
    head::unfinished(stream)
}

#[cfg(test)]
mod tests;
