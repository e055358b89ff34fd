//! Requests of fixed form that come before TLS.

use super::{Step, begins};
use crate::inspect::bytes::Bytes;
use memchr::memchr;

/// PostgreSQL's GSSENCRequest, which may be refused, and SSLRequest; or the credentials of Performance Co-Pilot.
pub(super) fn postgresql_or_pcp(stream: &[u8]) -> Step {
    const GSS: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
    const SSL: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    for (request, at) in [(SSL, 0), (GSS, 0), (SSL, GSS.len())] {
        let rest = stream.get(at..).unwrap_or_default();
        if begins(rest, request) && (at == 0 || stream.starts_with(GSS)) {
            match (rest.len() < request.len(), request == SSL) {
                (true, _) => return Step::More(at + request.len()),
                (false, true) => return Step::Tls(at + request.len()),
                (false, false) => {}
            }
        }
    }
    pcp(stream)
}

/// A message of credentials (`__pmCreds`): its length, type and sender, then so many of four bytes each.
fn pcp(stream: &[u8]) -> Step {
    const CREDENTIALS: &[u8] = &[0, 0, 0x70, 0x0c];
    let mut bytes = Bytes::new(stream);
    if !begins(stream, &[0, 0, 0]) || !begins(stream.get(4..).unwrap_or_default(), CREDENTIALS) {
        return Step::NotThis;
    }
    match (bytes.u32(), bytes.u32(), bytes.u32(), bytes.u32()) {
        (Some(len), _, _, Some(count @ 1..=8)) if len == 16 + 4 * count => Step::Tls(len as usize),
        (_, _, _, Some(_)) => Step::NotThis,
        _ => Step::More(16),
    }
}

/// The connection request of RDP: X.224 in a TPKT (RFC 1006 section 6).
pub(super) fn rdp(stream: &[u8]) -> Step {
    let mut bytes = Bytes::new(stream);
    match (bytes.array(), bytes.u16(), bytes.array()) {
        (Some([3, 0]), Some(len @ 11..=512), Some([indicator, 0xe0])) if u16::from(indicator) + 5 == len => {
            Step::Tls(usize::from(len))
        }
        (Some([3, 0]), None | Some(11..=512), None) | (None, ..) => Step::More(6),
        _ => Step::NotThis,
    }
}

/// MySQL's SSLRequest: the beginning of a handshake response that ends early.
pub(super) fn mysql(stream: &[u8]) -> Step {
    const HEADER: &[u8] = &[0x20, 0, 0, 1];
    const LEN: usize = 36;
    const CLIENT_SSL: u8 = 0x08;
    // After capabilities, packet size and character set come 23 bytes, the last four of which MariaDB has a use for.
    match stream.get(..LEN) {
        Some([_, _, _, _, _, high, _, _, _, _, _, _, _, filler @ .., _, _, _, _])
            if begins(stream, HEADER) && high & CLIENT_SSL != 0 && filler.iter().all(|b| *b == 0) =>
        {
            Step::Tls(LEN)
        }
        None if begins(stream, HEADER) => Step::More(LEN),
        _ => Step::NotThis,
    }
}

/// Messages of LDAP up to the extended request StartTLS (RFC 4511 section 4.14).
pub(super) fn ldap(stream: &[u8]) -> Step {
    const START_TLS: &[u8] = b"\x80\x161.3.6.1.4.1.1466.20037";
    const EXTENDED: u8 = 0x77;
    let mut at = 0;
    // Every turn reads a message of seven bytes at least.
    loop {
        let rest = stream.get(at..).unwrap_or_default();
        let (message, len) = match element(rest, 0x30) {
            Element::Whole { body, len } => (body, len),
            Element::Cut(want) => return Step::More(at + want),
            Element::Other => return Step::NotThis,
        };
        let Element::Whole { body: id, len: id_len } = element(message, 0x02) else { return Step::NotThis };
        let operation = message.get(id_len..).unwrap_or_default();
        let Some(tag) = operation.first().filter(|tag| *tag & 0xc0 == 0x40) else { return Step::NotThis };
        if id.is_empty() || id.len() > 4 {
            return Step::NotThis;
        }
        at += len;
        if *tag == EXTENDED
            && matches!(element(operation, EXTENDED), Element::Whole { body, .. } if body.starts_with(START_TLS))
        {
            return Step::Tls(at);
        }
    }
}

enum Element<'a> {
    Whole {
        body: &'a [u8],
        len: usize,
    },
    /// So many bytes are needed.
    Cut(usize),
    Other,
}

/// An element of BER with this tag and a definite length of up to two bytes.
fn element(bytes: &[u8], tag: u8) -> Element<'_> {
    let (header, len) = match *bytes {
        [] => return Element::Cut(2),
        [first, ..] if first != tag => return Element::Other,
        [_] => return Element::Cut(2),
        [_, len @ 0..=0x7f, ..] => (2, usize::from(len)),
        [_, 0x81] | [_, 0x82] | [_, 0x82, _] => return Element::Cut(4),
        [_, 0x81, len, ..] => (3, usize::from(len)),
        [_, 0x82, high, low, ..] => (4, usize::from(high) << 8 | usize::from(low)),
        // Some clients write every length in four bytes.
        [_, 0x84, 0, 0, high, low, ..] => (6, usize::from(high) << 8 | usize::from(low)),
        [_, 0x84] | [_, 0x84, 0] | [_, 0x84, 0, 0] | [_, 0x84, 0, 0, _] => return Element::Cut(6),
        _ => return Element::Other,
    };
    match bytes.get(header..header + len) {
        Some(body) => Element::Whole { body, len: header + len },
        None => Element::Cut(header + len),
    }
}

/// Messages of the Android debug bridge, `CNXN` up to `STLS`, each with a header of 24 bytes.
pub(super) fn adb(stream: &[u8]) -> Step {
    const HEADER: usize = 24;
    const DATA_CAP: u32 = 4096;
    let mut at = 0;
    // Every turn reads a header.
    loop {
        let mut bytes = Bytes::new(stream.get(at..).unwrap_or_default());
        let little = |word: Option<u32>| word.map(u32::swap_bytes);
        let (command, _, _, len, _, magic) = (
            little(bytes.u32()),
            bytes.u32(),
            bytes.u32(),
            little(bytes.u32()),
            bytes.u32(),
            little(bytes.u32()),
        );
        let (Some(command), Some(len), Some(magic)) = (command, len, magic) else {
            return Step::More(at + HEADER);
        };
        if magic != !command || len > DATA_CAP {
            return Step::NotThis;
        }
        at += HEADER + len as usize;
        if command == u32::from_le_bytes(*b"STLS") {
            return Step::Tls(at);
        }
        if at > stream.len() {
            return Step::More(at + HEADER);
        }
    }
}

/// The line of the PROXY protocol, version 1: at most 107 bytes.
pub(super) fn proxy_1(stream: &[u8]) -> Step {
    const CAP: usize = 107;
    let window = stream.get(..CAP).unwrap_or(stream);
    let family = window.get(6..).unwrap_or_default();
    if ![b"TCP4 ".as_slice(), b"TCP6 ", b"UNKNOWN"].into_iter().any(|word| begins(family, word)) {
        return Step::NotThis;
    }
    match memchr(b'\n', window) {
        Some(end) if window.get(..end).is_some_and(|line| line.ends_with(b"\r")) => Step::Anything(end + 1),
        None if window.len() < CAP => Step::More(window.len() + 1),
        _ => Step::NotThis,
    }
}

/// The header of the PROXY protocol, version 2.
pub(super) fn proxy_2(stream: &[u8]) -> Step {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    match stream.get(SIGNATURE.len()..) {
        _ if !begins(stream, SIGNATURE) => Step::NotThis,
        Some([0x20 | 0x21, _, high, low, ..]) => {
            Step::Anything(16 + (usize::from(*high) << 8 | usize::from(*low)))
        }
        Some([] | [0x20 | 0x21] | [0x20 | 0x21, _] | [0x20 | 0x21, _, _]) | None => Step::More(16),
        Some(_) => Step::NotThis,
    }
}
