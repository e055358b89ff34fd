//! What may stand before a ClientHello: a dialogue of another protocol that ends in TLS, or a proxy's preamble.
//!
//! [`find`] says where TLS begins in a client's stream that begins with something else. It looks at the client's side
//! alone: a client sends its hello only after the server agreed, so its next bytes after the request for TLS are TLS or
//! the server refused. Only what the grammar of a protocol allows may stand before; bytes that mean nothing before a
//! hello are [`Probe::NotThis`], whatever follows, because no server would read on to the hello either.
//!
//! | how | protocols |
//! |---|---|
//! | lines, then `STARTTLS`, `STLS`, `AUTH TLS` | SMTP (RFC 3207), IMAP (RFC 3501), POP3 (RFC 2595), FTP (RFC 4217), NNTP (RFC 4642), ManageSieve (RFC 5804), IRC |
//! | `<starttls/>` in a stream of XML | XMPP (RFC 6120 section 5) |
//! | a request of fixed form | LDAP (RFC 4511), PostgreSQL, MySQL, RDP (MS-RDPBCGR section 2.2.1.1), ADB, PCP |
//! | a preamble, then anything | SOCKS 4 and 5 (RFC 1928), HTTP CONNECT, PROXY protocol 1 and 2 |

mod lines;
mod requests;
mod socks;
mod xmpp;

use super::http;
use crate::probe::Probe;

/// How far into the stream TLS may begin, in bytes.
pub const CAP: usize = 4096;

/// Where something else begins, and what was before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The offset in the stream.
    pub at: usize,
    /// What stands before.
    pub via: Via,
}

/// What stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A protocol that turned into TLS at its own request. At [`Found::at`] is a TLS record, or a hello in the old form
    /// of SSL 2.
    Upgrade,
    /// A proxy was told where to go. At [`Found::at`], which may be the end of the stream so far, begins whatever the
    /// client says to the server behind it: TLS, HTTP or anything.
    Proxy,
}

/// Finds where TLS, or what is behind a proxy, begins in the client's contiguous bytes so far.
///
/// [`Probe::NotThis`] when the stream begins with nothing that is known here (TLS itself included), or does not come to
/// the point within [`CAP`] bytes. Never [`Probe::Malformed`].
pub fn find(stream: &[u8]) -> Probe<Found> {
    let window = stream.get(..CAP + TLS_PREFIX).unwrap_or(stream);
    let (at, via) = match step(window) {
        Step::NotThis => return Probe::NotThis,
        Step::More(want) if want > CAP + TLS_PREFIX || window.len() == CAP + TLS_PREFIX => {
            return Probe::NotThis;
        }
        Step::More(want) => return Probe::NeedMore(want.max(window.len() + 1)),
        Step::Tls(at) => (at, Via::Upgrade),
        Step::Anything(at) => (at, Via::Proxy),
    };
    if at > CAP {
        return Probe::NotThis;
    }
    match (via, window.get(at..).and_then(tls_begins)) {
        (Via::Proxy, _) if at <= window.len() => Probe::Done(Found { at, via }),
        (Via::Upgrade, Some(true)) => Probe::Done(Found { at, via }),
        (Via::Upgrade, Some(false)) => Probe::NotThis,
        _ => Probe::NeedMore(if via == Via::Upgrade { at + TLS_PREFIX } else { at }),
    }
}

/// What a protocol's reader says of the beginning of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    NotThis,
    /// So many bytes are needed at least.
    More(usize),
    /// TLS must begin here.
    Tls(usize),
    /// Anything may begin here.
    Anything(usize),
}

fn step(stream: &[u8]) -> Step {
    let Some(first) = stream.first() else { return Step::More(1) };
    match first {
        0x00 => requests::postgresql_or_pcp(stream),
        0x03 => requests::rdp(stream),
        0x04 | 0x05 => socks::preamble(stream),
        b'\r' => requests::proxy_2(stream),
        b' ' => requests::mysql(stream),
        // A digit may begin a tag of IMAP too, but then text follows.
        b'0' => match stream {
            [_, 0x80..=0xff, ..] | [_, _, 0x02, ..] => requests::ldap(stream),
            [_] | [_, _] => Step::More(3),
            _ => lines::dialogue(stream),
        },
        b'<' => xmpp::dialogue(stream),
        // Each of these begins with words that no line of the dialogues begins with.
        b'P' if begins(stream, b"PROXY ") => requests::proxy_1(stream),
        b'C' if begins(stream, b"CNXN") => requests::adb(stream),
        b'C' if begins(stream, b"CONNECT ") => connect(stream),
        0x21..=0x7e => lines::dialogue(stream),
        _ => Step::NotThis,
    }
}

/// Whether the stream begins with these bytes, as far as it goes.
fn begins(stream: &[u8], with: &[u8]) -> bool {
    stream.iter().zip(with).all(|(a, b)| a == b)
}

fn connect(stream: &[u8]) -> Step {
    match http::request_head(stream) {
        Probe::Done(head) if head.method == http::Method::Connect => Step::Anything(head.len),
        Probe::NeedMore(want) => Step::More(want),
        _ => Step::NotThis,
    }
}

/// Bytes that tell TLS from anything else that may follow.
const TLS_PREFIX: usize = 3;

/// Whether a handshake record (RFC 8446 section 5.1), or a hello in the form of SSL 2 (RFC 5246 appendix E.2), begins
/// here. `None` while there are too few bytes.
const fn tls_begins(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [0x16, 0x03, 0x00..=0x04, ..] | [0x80..=0xff, _, 0x01, ..] => Some(true),
        [] | [0x16] | [0x16, 0x03] | [0x80..=0xff] | [0x80..=0xff, _] => None,
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests;
