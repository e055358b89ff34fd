//! The body of a ClientHello (RFC 8446 section 4.1.2).
//!
//! ```text
//!  version(2) random(32) session_id(1+n) cipher_suites(2+2n) compression(1+n) [extensions(2+n)]
//! ```

use std::net::IpAddr;

use glassgate_policy::name::{self, NameError};
use glassgate_policy::{Name, Reason};

use super::ClientHello;
use super::ech::{self, EchSeen};
use crate::inspect::bytes::Bytes;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// What a hello says about the server it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// A host name.
    Named(Name),
    /// No `server_name` extension.
    Absent,
    /// An address instead of a name (RFC 6066 section 3 forbids it, some clients do it): names nobody. Kept because
    /// captures show it; it is the client's claim, not the address of the flow.
    IpLiteral(IpAddr),
    /// Printable, and no host name, such as `host:443`. Kept for captures as the client's claim; names nobody.
    Odd(OddName),
    /// The public name of a provider whose ECH hides the real one.
    EchOuter(Name),
}

/// What stood where a host name should: printable ASCII without spaces, lower case, 1–253 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OddName {
    len: u8,
    bytes: [u8; name::MAX_LEN],
}

/// The protocols that a client offers by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alpn {
    /// The first one offered.
    pub first: AlpnId,
    offers: u16,
}

/// A protocol that ALPN can name, as far as the gateway tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum AlpnId {
    /// Nothing offered.
    #[default]
    None,
    /// `http/0.9`, `http/1.0`, `http/1.1`.
    Http1,
    /// `h2`, its drafts, and SPDY.
    Http2,
    /// `h3` and its drafts.
    Http3,
    /// `dot`: DNS over TLS (RFC 7858).
    Dot,
    /// `doq` and its drafts: DNS over QUIC (RFC 9250).
    Doq,
    /// `acme-tls/1`.
    Acme,
    /// `imap`, `pop3`, `managesieve`, `smtp` in use: mail.
    Mail,
    /// `xmpp-client`, `xmpp-server`.
    Xmpp,
    /// `stun.turn`, `webrtc`, `c-webrtc`.
    Webrtc,
    /// A GREASE value (RFC 8701).
    Grease,
    /// Anything else.
    Other,
}

/// The versions that a client offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// `legacy_version` of the hello.
    pub legacy: u16,
    /// The highest of `supported_versions` that is not GREASE; 0 without that extension.
    pub highest: u16,
}

impl ServerName {
    /// Tells names from what stands in their place.
    pub(crate) fn from_wire(wire: &[u8]) -> Result<Self, Reason> {
        match Name::from_wire(wire) {
            Ok(name) => Ok(Self::Named(name)),
            Err(error) => match ip_literal(wire).filter(|_| error == NameError::IpLiteral) {
                Some(address) => Ok(Self::IpLiteral(address)),
                None => OddName::from_wire(wire).map(Self::Odd).ok_or(Reason::MalformedSni),
            },
        }
    }

    /// The name that the flow is for, or the reason why it has none.
    pub fn name(&self) -> Result<Name, Reason> {
        match self {
            Self::Named(name) => Ok(*name),
            Self::Absent | Self::IpLiteral(_) => Err(Reason::NoSni),
            Self::EchOuter(_) => Err(Reason::EchOuter),
            Self::Odd(_) => Err(Reason::MalformedSni),
        }
    }
}

impl OddName {
    fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut bytes = [0; name::MAX_LEN];
        let fits = !wire.is_empty() && wire.len() <= name::MAX_LEN && wire.iter().all(u8::is_ascii_graphic);
        for (to, from) in bytes.iter_mut().zip(wire) {
            *to = from.to_ascii_lowercase();
        }
        fits.then_some(Self { len: wire.len() as u8, bytes })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes.get(..usize::from(self.len)).unwrap_or_default()).unwrap_or_default()
    }
}

impl std::fmt::Debug for OddName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OddName({})", self.as_str())
    }
}

impl Alpn {
    /// Whether the client offers `id` anywhere in its list.
    pub fn offers(self, id: AlpnId) -> bool {
        self.offers & (1 << id as u16) != 0
    }
}

impl AlpnId {
    /// Names a protocol identifier as it stood on the wire.
    pub fn from_wire(id: &[u8]) -> Self {
        match id {
            b"h2" | b"h2c" => Self::Http2,
            b"h3" => Self::Http3,
            b"dot" => Self::Dot,
            b"doq" => Self::Doq,
            b"acme-tls/1" => Self::Acme,
            b"imap" | b"pop3" | b"managesieve" | b"smtp" => Self::Mail,
            b"xmpp-client" | b"xmpp-server" => Self::Xmpp,
            b"stun.turn" | b"stun.nat-discovery" | b"webrtc" | b"c-webrtc" => Self::Webrtc,
            [a, b] if a == b && a & 0x0f == 0x0a => Self::Grease,
            _ if id.starts_with(b"http/") => Self::Http1,
            _ if id.starts_with(b"h2-") || id.starts_with(b"spdy/") => Self::Http2,
            _ if id.starts_with(b"h3-") => Self::Http3,
            _ if id.starts_with(b"doq-") => Self::Doq,
            _ => Self::Other,
        }
    }
}

impl Versions {
    /// The version that the client would like best.
    pub fn best(self) -> u16 {
        if self.highest == 0 { self.legacy } else { self.highest }
    }
}

/// Whether a two-byte value is GREASE (RFC 8701): 0x0a0a, 0x1a1a … 0xfafa.
pub(crate) fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// Walks a hello without its message header. Fills `hello` in place: it holds a name of up to 253 bytes, and handing it
/// up by value through every layer costs more than the walk.
pub(super) fn parse(body: &[u8], hello: &mut ClientHello) -> Result<(), Reason> {
    let mut b = Bytes::new(body);
    let extensions;
    (hello.versions.legacy, hello.cipher_suites, extensions) = prelude(&mut b).ok_or(Reason::MalformedTls)?;
    let mut names = 0;
    let mut rest = Bytes::new(extensions);
    while !rest.is_empty() {
        let (kind, data) = rest.u16().zip(rest.vec16()).ok_or(Reason::MalformedTls)?;
        hello.extensions = hello.extensions.saturating_add(1);
        match kind {
            SERVER_NAME => {
                // Which of two a server would take is its own business (RFC 8446 section 4.2: it must refuse).
                names += 1;
                if names > 1 {
                    return Err(Reason::MalformedSni);
                }
                hello.server_name = ServerName::from_wire(host_name(data).ok_or(Reason::MalformedSni)?)?;
            }
            ALPN => hello.alpn = alpn(data),
            SUPPORTED_VERSIONS => hello.versions.highest = highest_version(data),
            ENCRYPTED_CLIENT_HELLO => hello.ech = ech::seen(data),
            ENCRYPTED_SERVER_NAME => hello.esni = true,
            PRE_SHARED_KEY => hello.resumes = true,
            EARLY_DATA => hello.early_data = true,
            _ => {}
        }
    }
    if let (EchSeen::Outer { .. }, ServerName::Named(name)) = (hello.ech, &hello.server_name)
        && ech::is_public_name(name)
    {
        hello.server_name = ServerName::EchOuter(*name);
    }
    Ok(())
}

/// Everything before the extensions: version, number of cipher suites, and the extensions unread.
fn prelude<'a>(b: &mut Bytes<'a>) -> Option<(u16, u16, &'a [u8])> {
    let legacy = b.u16()?;
    b.take(32)?;
    let session_id = b.vec8()?;
    let ciphers = b.vec16()?;
    let compression = b.vec8()?;
    let well_formed = legacy >> 8 == 3
        && session_id.len() <= 32
        && !ciphers.is_empty()
        && ciphers.len().is_multiple_of(2)
        && !compression.is_empty();
    if !well_formed {
        return None;
    }
    // SSL 3 and early TLS 1.0 clients end here (RFC 5246 section 7.4.1.2).
    let extensions = if b.is_empty() { &[][..] } else { b.vec16()? };
    // Bytes behind the extensions: no server takes them.
    b.is_empty().then_some((legacy, (ciphers.len() / 2) as u16, extensions))
}

/// RFC 6066 section 3: a list of (type, name); only `host_name` exists, and no type may stand twice.
fn host_name(data: &[u8]) -> Option<&[u8]> {
    let mut b = Bytes::new(data);
    let mut list = Bytes::new(b.vec16()?);
    let (kind, name) = (list.u8()?, list.vec16()?);
    (kind == 0 && list.is_empty() && b.is_empty()).then_some(name)
}

fn ip_literal(wire: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(wire).ok()?.trim_end_matches('.');
    text.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The protocols that the hello in `message` (a handshake message with its header) offers by ALPN, as they stand there.
pub fn alpn_protocols(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = message.get(super::MESSAGE_HEADER..).unwrap_or_default();
    let extensions = prelude(&mut Bytes::new(body)).map_or(&[][..], |(_, _, extensions)| extensions);
    let mut rest = Bytes::new(extensions);
    let data = std::iter::from_fn(move || rest.u16().zip(rest.vec16())).find(|(kind, _)| *kind == ALPN);
    let mut list = Bytes::new(data.and_then(|(_, data)| Bytes::new(data).vec16()).unwrap_or_default());
    std::iter::from_fn(move || list.vec8())
}

/// A broken list counts as far as it could be read: it says nothing about the name.
fn alpn(data: &[u8]) -> Alpn {
    let mut out = Alpn::default();
    let mut list = Bytes::new(Bytes::new(data).vec16().unwrap_or_default());
    let mut first = true;
    while let Some(id) = list.vec8() {
        let id = AlpnId::from_wire(id);
        if first {
            (out.first, first) = (id, false);
        }
        out.offers |= 1 << id as u16;
    }
    out
}

fn highest_version(data: &[u8]) -> u16 {
    let list = Bytes::new(data).vec8().unwrap_or_default();
    let versions = list.as_chunks::<2>().0.iter().map(|v| u16::from_be_bytes(*v));
    versions.filter(|v| !is_grease(*v)).max().unwrap_or(0)
}
