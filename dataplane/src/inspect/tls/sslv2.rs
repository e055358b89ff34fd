//! The ClientHello in the framing of SSL 2, which old clients sent to offer TLS to servers that might not know it
//! (RFC 5246 appendix E.2). It has no extensions, hence no name.
//!
//! ```text
//!  1lllllll llllllll  msg_type=1  version(2)  cipher_spec_length(2)  session_id_length(2)  challenge_length(2)  …
//! ```

use glassgate_policy::Reason;

use super::hello::{ServerName, Versions};
use super::{ClientHello, Framing};
use crate::inspect::bytes::Bytes;
use crate::probe::Probe;

const FIXED: usize = 9;

/// The lengths must add up exactly: two bytes with the high bit set begin many a protocol.
pub(super) fn client_hello(stream: &[u8]) -> Probe<ClientHello> {
    let [h0, h1, rest @ ..] = stream else { return Probe::NeedMore(2 + FIXED) };
    let len = usize::from(h0 & 0x7f) << 8 | usize::from(*h1);
    let mut b = Bytes::new(rest);
    let plausible = len >= FIXED
        && rest.first().is_none_or(|kind| *kind == 1)
        && !matches!(rest, [_, 0, v, ..] if *v != 2)
        && !matches!(rest, [_, major, ..] if *major != 0 && *major != 3);
    if !plausible {
        return Probe::NotThis;
    }
    let Some([_, v0, v1, c0, c1, s0, s1, n0, n1]) = b.array::<FIXED>() else {
        return Probe::NeedMore(2 + FIXED);
    };
    let word = |h, l| usize::from(u16::from_be_bytes([h, l]));
    let (ciphers, session_id, challenge) = (word(c0, c1), word(s0, s1), word(n0, n1));
    let adds_up = FIXED + ciphers + session_id + challenge == len
        && ciphers > 0
        && ciphers.is_multiple_of(3)
        && matches!(session_id, 0 | 16 | 32)
        && (16..=32).contains(&challenge);
    if !adds_up {
        return Probe::NotThis;
    }
    if rest.len() < len {
        return if 2 + len > super::MAX_STREAM {
            Probe::Malformed(Reason::ReasmCap)
        } else {
            Probe::NeedMore(2 + len)
        };
    }
    Probe::Done(ClientHello {
        versions: Versions { legacy: u16::from_be_bytes([v0, v1]), highest: 0 },
        cipher_suites: (ciphers / 3) as u16,
        resumes: session_id > 0,
        ..ClientHello::bare(ServerName::Absent, Framing::Sslv2, 2 + len)
    })
}
