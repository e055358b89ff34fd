//! TLS: from the client's first bytes to the server name of its ClientHello.
//!
//! ```text
//!  stream ─► record layer ─► handshake message ─► ClientHello
//!            skip change_cipher_spec and warnings     walk the extensions once:
//!            one record: read in place                server_name, ECH, ESNI, ALPN, versions
//!            several records: gather into Scratch
//! ```
//!
//! Promises: no allocation, no panic, work linear in the bytes shown; the answer for a stream does not depend on how
//! it was cut into segments or records. A hello is read when it is complete, never before: its name could be
//! contradicted by a second one further on.
//!
//! Refuses: hellos of more than 16 KiB ([`Reason::ReasmCap`]); server names that are none or more than one
//! ([`Reason::MalformedSni`]); records and messages whose lengths do not add up ([`Reason::MalformedTls`]). RFC 8446
//! sections 4.1.2, 4.2 and 5.1, RFC 6066 section 3, RFC 9849 (Encrypted ClientHello), RFC 5246 appendix E.2 (the hello in the framing
//! of SSL 2).

pub mod ech;
mod hello;
mod server;
mod sslv2;

use glassgate_policy::{Name, Reason};

pub use self::ech::EchSeen;
pub(crate) use self::hello::is_grease;
pub use self::hello::{Alpn, AlpnId, OddName, ServerName, Versions, alpn_protocols};
pub use self::server::{ServerHello, is_hello_retry_request, server_hello};
use crate::probe::Probe;

/// The most client bytes that are looked at, and so the longest hello with all that frames it.
pub const MAX_STREAM: usize = 16 * 1024;

/// Empty handshake records that are passed over. RFC 8446 section 5.1 forbids them, widely used servers take up to 32.
const MAX_EMPTY_RECORDS: usize = 32;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
/// RFC 5246 section 6.2.3: no record is longer, encrypted or not.
const MAX_RECORD: usize = (1 << 14) + 2048;

/// Where hellos that came in several records are put together: one a lcore.
pub struct Scratch {
    buf: [u8; MAX_STREAM],
}

/// What was read from a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name, or why there is none.
    pub server_name: ServerName,
    /// Encrypted ClientHello, as far as it shows.
    pub ech: EchSeen,
    /// The extension of the drafts that came before ECH (`encrypted_server_name`, 0xffce) is there.
    pub esni: bool,
    /// Application protocols that the client offers.
    pub alpn: Alpn,
    /// Protocol versions that the client offers.
    pub versions: Versions,
    /// Cipher suites offered, GREASE included.
    pub cipher_suites: u16,
    /// Extensions, GREASE included.
    pub extensions: u16,
    /// The client resumes (`pre_shared_key`).
    pub resumes: bool,
    /// The client sends data at once (`early_data`).
    pub early_data: bool,
    /// How the hello was framed.
    pub framing: Framing,
    /// Offset in the stream behind the last byte that the hello needed. A second hello is looked for from here.
    pub end: usize,
    start: u32,
    len: u32,
}

/// How a hello was framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One TLS record.
    Record,
    /// Several TLS records.
    Records,
    /// The framing of SSL 2, which has no extensions and so no name.
    Sslv2,
    /// QUIC CRYPTO frames.
    Quic,
    /// The key exchange of Google QUIC before TLS, which is no ClientHello; only the name was read.
    Gquic,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { buf: [0; MAX_STREAM] }
    }
}

impl ClientHello {
    /// A hello of which nothing but the name is known.
    pub(crate) fn bare(server_name: ServerName, framing: Framing, end: usize) -> Self {
        Self {
            server_name,
            ech: EchSeen::None,
            esni: false,
            alpn: Alpn::default(),
            versions: Versions::default(),
            cipher_suites: 0,
            extensions: 0,
            resumes: false,
            early_data: false,
            framing,
            end,
            start: 0,
            len: 0,
        }
    }

    /// The name that the flow is for, or the reason why it has none.
    pub fn name(&self) -> Result<Name, Reason> {
        self.server_name.name()
    }

    /// The handshake message with its four bytes of header, for [`super::ja4`]. `stream` and `scratch` must be what the
    /// hello was read from (for QUIC: the gathered CRYPTO bytes); empty for what is no TLS handshake message.
    pub fn message<'a>(&self, stream: &'a [u8], scratch: &'a Scratch) -> &'a [u8] {
        let from = match self.framing {
            Framing::Record | Framing::Quic => stream,
            Framing::Records => &scratch.buf,
            Framing::Sslv2 | Framing::Gquic => return &[],
        };
        let start = self.start as usize;
        from.get(start..start.saturating_add(self.len as usize)).unwrap_or_default()
    }
}

/// Reads the first ClientHello of a stream of client bytes, which begins where TLS begins.
///
/// `NeedMore(n)` is answered with the least length at which the answer can change. A `change_cipher_spec` and warning
/// alerts before the hello are passed over; a fatal alert is not.
pub fn client_hello(stream: &[u8], scratch: &mut Scratch) -> Probe<ClientHello> {
    read_hello(stream, scratch, false)
}

/// Reads the second ClientHello, which answers a HelloRetryRequest: as [`client_hello`], on the stream from
/// [`ClientHello::end`] on, but early data in between is passed over (RFC 8446 section 4.2.10).
pub fn second_client_hello(stream: &[u8], scratch: &mut Scratch) -> Probe<ClientHello> {
    read_hello(stream, scratch, true)
}

/// Reads a ClientHello that is a bare handshake message at `start` of gathered CRYPTO bytes (RFC 9001 section 4).
/// `NeedMore` counts from the beginning of `crypto`.
pub fn crypto_client_hello(crypto: &[u8], start: usize) -> Probe<ClientHello> {
    let bytes = crypto.get(start..).unwrap_or_default();
    let [kind, l0, l1, l2, ..] = *bytes else { return Probe::NeedMore(start + MESSAGE_HEADER) };
    if kind != CLIENT_HELLO {
        return Probe::Malformed(Reason::MalformedTls);
    }
    let len = MESSAGE_HEADER + u24(l0, l1, l2);
    if start + len > MAX_STREAM {
        return Probe::Malformed(Reason::ReasmCap);
    }
    match bytes.get(..len) {
        Some(message) => finish(message, Framing::Quic, start, start + len),
        None => Probe::NeedMore(start + len),
    }
}

/// Whether these bytes begin like a TLS record of either side. A flow that was joined midway is told by this.
pub fn looks_like_record(stream: &[u8]) -> bool {
    matches!(*stream, [CHANGE_CIPHER_SPEC..=APPLICATION_DATA, 3, 0..=4, h, l, ..]
        if (1..=MAX_RECORD).contains(&usize::from(u16::from_be_bytes([h, l]))))
}

/// The header of the record at `at`: type and length. The minor version is not looked at: clients have sent 0 to 4
/// and servers take all of them (RFC 8446 section 5.1: "MUST be ignored for all purposes").
enum Header {
    Record(u8, usize),
    Short,
    Bad,
}

fn header(stream: &[u8], at: usize) -> Header {
    match *stream.get(at..).unwrap_or_default() {
        [kind @ CHANGE_CIPHER_SPEC..=APPLICATION_DATA, 3, _, h, l, ..] => {
            let len = usize::from(u16::from_be_bytes([h, l]));
            if len <= MAX_RECORD { Header::Record(kind, len) } else { Header::Bad }
        }
        [] | [CHANGE_CIPHER_SPEC..=APPLICATION_DATA] | [CHANGE_CIPHER_SPEC..=APPLICATION_DATA, 3] => {
            Header::Short
        }
        [CHANGE_CIPHER_SPEC..=APPLICATION_DATA, 3, ..] if stream.len() - at < RECORD_HEADER => Header::Short,
        _ => Header::Bad,
    }
}

fn read_hello(stream: &[u8], scratch: &mut Scratch, after_retry: bool) -> Probe<ClientHello> {
    if let Some(&first) = stream.first()
        && first & 0x80 != 0
        && !after_retry
    {
        return sslv2::client_hello(stream);
    }
    let mut at = 0;
    let mut empty = 0;
    // What comes first decides whether this is TLS at all; later trouble is broken TLS.
    let broken = |at: usize| if at == 0 { Probe::NotThis } else { Probe::Malformed(Reason::MalformedTls) };
    let len = loop {
        match header(stream, at) {
            Header::Short => return need(at + RECORD_HEADER),
            Header::Bad => return broken(at),
            Header::Record(HANDSHAKE, 0) => {
                empty += 1;
                if empty > MAX_EMPTY_RECORDS {
                    return broken(at);
                }
                at += RECORD_HEADER;
            }
            Header::Record(HANDSHAKE, len) => break len,
            Header::Record(APPLICATION_DATA, len) if after_retry => at += RECORD_HEADER + len,
            Header::Record(kind, len) => {
                let body = at + RECORD_HEADER;
                let Some(bytes) = stream.get(body..body + len.min(2)) else { return need(body + len.min(2)) };
                match (kind, len, bytes) {
                    (CHANGE_CIPHER_SPEC, 1, [1]) | (ALERT, 2, [1, _]) => at = body + len,
                    (ALERT, 2, [2, _]) => return Probe::Malformed(Reason::MalformedTls),
                    _ => return broken(at),
                }
            }
        }
    };
    let body = at + RECORD_HEADER;
    let message = stream.get(body..).unwrap_or_default();
    match message.get(..len.min(message.len())).unwrap_or_default() {
        [] => return need(body + 1),
        // An encrypted record can begin with the byte 1 too; a hello goes on with its version.
        [CLIENT_HELLO, _, _, _, major, ..] if *major != 3 => return broken(at),
        [CLIENT_HELLO, ..] => {}
        _ => return broken(at),
    }
    // Fast path: the message lies within this record.
    if let [_, l0, l1, l2, ..] = *message {
        let message_len = MESSAGE_HEADER + u24(l0, l1, l2);
        if message_len <= len {
            let end = body + message_len;
            return match message.get(..message_len) {
                Some(message) => finish(message, Framing::Record, body, end),
                None => need(end),
            };
        }
    }
    gather(stream, at, scratch)
}

/// Puts together a hello that began in the record at `at` and does not end in it. RFC 8446 section 5.1: no other
/// record type may stand between the parts.
fn gather(stream: &[u8], mut at: usize, scratch: &mut Scratch) -> Probe<ClientHello> {
    let (mut have, mut empty) = (0, 0);
    loop {
        let len = match header(stream, at) {
            Header::Record(HANDSHAKE, len) => len,
            Header::Short => return need(at + RECORD_HEADER + missing(have, scratch)),
            Header::Record(..) | Header::Bad => return Probe::Malformed(Reason::MalformedTls),
        };
        empty += usize::from(len == 0);
        if empty > MAX_EMPTY_RECORDS {
            return Probe::Malformed(Reason::MalformedTls);
        }
        let body = at + RECORD_HEADER;
        let fragment = stream.get(body..).unwrap_or_default();
        let fragment = fragment.get(..len).unwrap_or(fragment);
        let Some(into) = scratch.buf.get_mut(have..have + fragment.len()) else {
            return Probe::Malformed(Reason::ReasmCap);
        };
        into.copy_from_slice(fragment);
        have += fragment.len();
        let missing = missing(have, scratch);
        if have + missing > MAX_STREAM {
            return Probe::Malformed(Reason::ReasmCap);
        }
        if missing == 0 {
            let message = scratch.buf.get(..message_len(scratch)).unwrap_or_default();
            let end = body + fragment.len() - (have - message.len());
            return finish(message, Framing::Records, 0, end);
        }
        // What is missing beyond the end of this record stands behind at least one more header.
        let to_come = len - fragment.len();
        if to_come > 0 {
            return need(stream.len() + missing + if to_come < missing { RECORD_HEADER } else { 0 });
        }
        at = body + len;
    }
}

/// How many bytes the message in `scratch` lacks when `have` are there: at least as many as its header does.
fn missing(have: usize, scratch: &Scratch) -> usize {
    let whole = if have < MESSAGE_HEADER { MESSAGE_HEADER } else { message_len(scratch) };
    whole.saturating_sub(have)
}

fn message_len(scratch: &Scratch) -> usize {
    let [_, l0, l1, l2, ..] = scratch.buf;
    MESSAGE_HEADER + u24(l0, l1, l2)
}

fn finish(message: &[u8], framing: Framing, start: usize, end: usize) -> Probe<ClientHello> {
    let mut hello = ClientHello::bare(ServerName::Absent, framing, end);
    (hello.start, hello.len) = (start as u32, message.len() as u32);
    match hello::parse(message.get(MESSAGE_HEADER..).unwrap_or_default(), &mut hello) {
        Ok(()) => Probe::Done(hello),
        Err(reason) => Probe::Malformed(reason),
    }
}

fn need(len: usize) -> Probe<ClientHello> {
    if len > MAX_STREAM { Probe::Malformed(Reason::ReasmCap) } else { Probe::NeedMore(len) }
}

fn u24(b0: u8, b1: u8, b2: u8) -> usize {
    usize::from(b0) << 16 | usize::from(b1) << 8 | usize::from(b2)
}
