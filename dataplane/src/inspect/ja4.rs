//! JA4: a fingerprint of the software that sent a ClientHello.
//!
//! ```text
//!  t13d1516h2_8daaf6152771_b186095e22b6
//!  │││ │ │ │  │            └ SHA-256 of sorted extensions and signature algorithms, first 12 hex digits
//!  │││ │ │ │  └ SHA-256 of sorted cipher suites, first 12 hex digits
//!  │││ │ │ └ first and last character of the first ALPN value
//!  │││ │ └ extensions, at most 99
//!  │││ └ cipher suites, at most 99
//!  ││└ d: with server_name, i: without
//!  │└ best version offered
//!  └ t: TLS over TCP, q: QUIC
//! ```
//!
//! The plain JA4 of TLS clients, as its authors publish it under BSD 3-Clause; nothing of the suite around it. GREASE
//! values count nowhere. Costs two hashes and two sorts, so it is made when somebody asks and not per flow.

use std::fmt;

use ring::digest;

use crate::inspect::bytes::Bytes;
use crate::inspect::tls::is_grease;

/// The length of a fingerprint as text.
pub const LEN: usize = 36;

/// The most cipher suites, extensions and signature algorithms of which a fingerprint is made. The registries hold fewer.
const MAX_LIST: usize = 512;

const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// What carried the hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TLS over TCP.
    Tcp,
    /// QUIC.
    Quic,
}

/// A fingerprint: 36 characters of ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ja4([u8; LEN]);

/// The unhashed form of a fingerprint (`ja4_r`): the lists themselves. Printed with `Display`, without allocation.
pub struct Raw<'a> {
    parts: Parts<'a>,
}

/// What both forms are made of.
struct Parts<'a> {
    head: [u8; 10],
    ciphers: List,
    /// Without server_name and ALPN.
    extensions: List,
    /// In the order of the hello, raw.
    signatures: &'a [u8],
}

/// Values in ascending order.
struct List {
    len: u16,
    values: [u16; MAX_LIST],
}

impl Ja4 {
    /// Fingerprints a ClientHello: the handshake message with its header, as
    /// [`crate::inspect::tls::ClientHello::message`] gives it. None for what is no ClientHello, or has more than 512
    /// cipher suites, extensions or signature algorithms.
    pub fn new(message: &[u8], transport: Transport) -> Option<Self> {
        let parts = Parts::new(message, transport)?;
        let mut out = [b'_'; LEN];
        let (head, hashes) = out.split_first_chunk_mut::<10>()?;
        *head = parts.head;
        let (ciphers, extensions) = hashes.split_first_chunk_mut::<13>()?;
        let mut text = Text::default();
        text.list(parts.ciphers.values());
        text.hash(ciphers.get_mut(1..)?);
        let mut text = Text::default();
        parts.extensions_text(&mut text);
        text.hash(extensions.get_mut(1..)?);
        Some(Self(out))
    }

    /// The unhashed form, or None as with [`Ja4::new`].
    pub fn raw(message: &[u8], transport: Transport) -> Option<Raw<'_>> {
        Parts::new(message, transport).map(|parts| Raw { parts })
    }

    /// The text as bytes.
    pub fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ja4({self})")
    }
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.parts.head).unwrap_or_default())?;
        let mut text = Text::default();
        text.push(b'_');
        text.list(self.parts.ciphers.values());
        text.push(b'_');
        f.write_str(text.as_str())?;
        let mut text = Text::default();
        self.parts.extensions_text(&mut text);
        f.write_str(text.as_str())
    }
}

impl<'a> Parts<'a> {
    fn new(message: &'a [u8], transport: Transport) -> Option<Self> {
        let mut b = Bytes::new(message.strip_prefix(&[1])?);
        b.take(3)?;
        let legacy = b.u16()?;
        b.take(32)?;
        b.vec8()?;
        let mut ciphers = List::default();
        let mut cipher_count = 0usize;
        for suite in pairs(b.vec16()?).filter(|suite| !is_grease(*suite)) {
            ciphers.push(suite)?;
            cipher_count += 1;
        }
        b.vec8()?;
        let mut all = Bytes::new(if b.is_empty() { &[] } else { b.vec16()? });
        let (mut extensions, mut extension_count) = (List::default(), 0usize);
        let (mut version, mut named, mut alpn, mut signatures) = (legacy, b'i', *b"00", &[][..]);
        while !all.is_empty() {
            let (kind, data) = all.u16().zip(all.vec16())?;
            if is_grease(kind) {
                continue;
            }
            extension_count += 1;
            match kind {
                SERVER_NAME => named = b'd',
                ALPN => alpn = alpn_chars(data),
                SUPPORTED_VERSIONS => {
                    let offered = pairs(Bytes::new(data).vec8().unwrap_or_default());
                    version = offered.filter(|v| !is_grease(*v)).max().unwrap_or(legacy);
                }
                SIGNATURE_ALGORITHMS => signatures = Bytes::new(data).vec16().unwrap_or_default(),
                _ => {}
            }
            if !matches!(kind, SERVER_NAME | ALPN) {
                extensions.push(kind)?;
            }
        }
        if signatures.len() > 2 * MAX_LIST {
            return None;
        }
        ciphers.sort();
        extensions.sort();
        let transport = match transport {
            Transport::Tcp => b't',
            Transport::Quic => b'q',
        };
        let ([v0, v1], [c0, c1], [e0, e1]) =
            (version_code(version), two_digits(cipher_count), two_digits(extension_count));
        let [a0, a1] = alpn;
        let head = [transport, v0, v1, named, c0, c1, e0, e1, a0, a1];
        Some(Self { head, ciphers, extensions, signatures })
    }

    fn extensions_text(&self, text: &mut Text) {
        text.list(self.extensions.values());
        let mut algorithms = pairs(self.signatures).filter(|algorithm| !is_grease(*algorithm)).peekable();
        if algorithms.peek().is_some() {
            text.push(b'_');
            text.list(algorithms);
        }
    }
}

impl Default for List {
    fn default() -> Self {
        Self { len: 0, values: [0; MAX_LIST] }
    }
}

impl List {
    fn push(&mut self, value: u16) -> Option<()> {
        *self.values.get_mut(usize::from(self.len))? = value;
        self.len += 1;
        Some(())
    }

    fn sort(&mut self) {
        self.values.get_mut(..usize::from(self.len)).unwrap_or_default().sort_unstable();
    }

    fn values(&self) -> impl Iterator<Item = u16> + '_ {
        self.values.get(..usize::from(self.len)).unwrap_or_default().iter().copied()
    }
}

/// Lists of four hex digits and a comma: room for two of the longest.
struct Text {
    len: usize,
    bytes: [u8; 2 * MAX_LIST * 5],
}

impl Default for Text {
    fn default() -> Self {
        Self { len: 0, bytes: [0; 2 * MAX_LIST * 5] }
    }
}

impl Text {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            (*slot, self.len) = (byte, self.len + 1);
        }
    }

    fn list(&mut self, values: impl Iterator<Item = u16>) {
        let mut first = true;
        for value in values {
            if !first {
                self.push(b',');
            }
            first = false;
            let [high, low] = value.to_be_bytes();
            let digits = [hex(high >> 4), hex(high & 15), hex(low >> 4), hex(low & 15)];
            if let Some(slot) = self.bytes.get_mut(self.len..self.len + digits.len()) {
                slot.copy_from_slice(&digits);
                self.len += digits.len();
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Twelve hex digits; twelve zeros for nothing at all.
    fn hash(&self, into: &mut [u8]) {
        if self.len == 0 {
            into.fill(b'0');
            return;
        }
        let sum = digest::digest(&digest::SHA256, self.as_bytes());
        for (pair, byte) in into.chunks_exact_mut(2).zip(sum.as_ref()) {
            pair.copy_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
        }
    }
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair))
}

fn version_code(version: u16) -> [u8; 2] {
    match version {
        0x0304 => *b"13",
        0x0303 => *b"12",
        0x0302 => *b"11",
        0x0301 => *b"10",
        0x0300 => *b"s3",
        0x0002 => *b"s2",
        0x0100 => *b"s1",
        // Drafts of TLS 1.3 among them.
        _ => *b"00",
    }
}

fn two_digits(count: usize) -> [u8; 2] {
    let count = count.min(99) as u8;
    [b'0' + count / 10, b'0' + count % 10]
}

/// First and last character of the first value; if one of them is not alphanumeric, first and last digit of its hex form.
fn alpn_chars(data: &[u8]) -> [u8; 2] {
    let first = Bytes::new(data).vec16().and_then(|list| Bytes::new(list).vec8()).unwrap_or_default();
    match (first.first(), first.last()) {
        (Some(a), Some(z)) if a.is_ascii_alphanumeric() && z.is_ascii_alphanumeric() => [*a, *z],
        (Some(a), Some(z)) => [hex(a >> 4), hex(z & 15)],
        _ => *b"00",
    }
}

fn hex(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + (nibble & 15) - 10,
    }
}
