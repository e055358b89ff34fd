//! The server's first flight: only what the client side can't tell.

use glassgate_policy::Reason;

use super::{ALERT, CHANGE_CIPHER_SPEC, HANDSHAKE, Header, MESSAGE_HEADER, RECORD_HEADER, header, u24};
use crate::inspect::bytes::Bytes;
use crate::probe::Probe;

const SERVER_HELLO: u8 = 2;
const SUPPORTED_VERSIONS: u16 = 43;

/// SHA-256 of "HelloRetryRequest", the random of a ServerHello that is one (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What was read from a ServerHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// The version chosen: from `supported_versions` where it is there.
    pub version: u16,
    /// The cipher suite chosen.
    pub cipher_suite: u16,
    /// It is a HelloRetryRequest: the client will send a second ClientHello.
    pub retry: bool,
}

/// Reads the ServerHello at the beginning of the server's bytes. Only the first record is looked at: no server splits
/// its hello, and nothing is named by it. An alert is [`Probe::Malformed`].
pub fn server_hello(stream: &[u8]) -> Probe<ServerHello> {
    let len = match header(stream, 0) {
        Header::Record(HANDSHAKE, len) if len > MESSAGE_HEADER => len,
        Header::Record(ALERT, 2) => return Probe::Malformed(Reason::MalformedTls),
        Header::Record(CHANGE_CIPHER_SPEC, 1) => return Probe::NotThis,
        Header::Short => return Probe::NeedMore(RECORD_HEADER),
        _ => return Probe::NotThis,
    };
    let message = stream.get(RECORD_HEADER..).unwrap_or_default();
    let [kind, l0, l1, l2, rest @ ..] = message else {
        return Probe::NeedMore(RECORD_HEADER + MESSAGE_HEADER);
    };
    let message_len = u24(*l0, *l1, *l2);
    if *kind != SERVER_HELLO || message_len + MESSAGE_HEADER > len {
        return Probe::NotThis;
    }
    let Some(body) = rest.get(..message_len) else {
        return Probe::NeedMore(RECORD_HEADER + MESSAGE_HEADER + message_len);
    };
    body_of(body).map_or(Probe::Malformed(Reason::MalformedTls), Probe::Done)
}

/// Whether the server answers with a HelloRetryRequest.
pub fn is_hello_retry_request(server_stream: &[u8]) -> bool {
    matches!(server_hello(server_stream), Probe::Done(ServerHello { retry: true, .. }))
}

fn body_of(body: &[u8]) -> Option<ServerHello> {
    let mut b = Bytes::new(body);
    let mut version = b.u16()?;
    let retry = b.array::<32>()? == RETRY_RANDOM;
    b.vec8()?;
    let cipher_suite = b.u16()?;
    b.u8()?;
    let mut extensions = Bytes::new(if b.is_empty() { &[] } else { b.vec16()? });
    while let Some(kind) = extensions.u16() {
        let data = extensions.vec16()?;
        if kind == SUPPORTED_VERSIONS {
            version = Bytes::new(data).u16()?;
        }
    }
    Some(ServerHello { version, cipher_suite, retry })
}
