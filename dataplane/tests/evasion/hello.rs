//! ClientHellos: of a real client (rustls), and taken apart into fields that can be made wrong.

use crate::rng::Rng;
use crate::scene::{DECOY, NAME};
use std::sync::{Arc, OnceLock};

pub(crate) const SERVER_NAME: u16 = 0;
pub(crate) const GROUPS: u16 = 10;
pub(crate) const ALPN: u16 = 16;
pub(crate) const PADDING: u16 = 21;
pub(crate) const SESSION_TICKET: u16 = 35;
pub(crate) const PRE_SHARED_KEY: u16 = 41;
pub(crate) const EARLY_DATA: u16 = 42;
pub(crate) const VERSIONS: u16 = 43;
pub(crate) const KEY_SHARE: u16 = 51;
pub(crate) const QUIC_PARAMETERS: u16 = 57;
pub(crate) const ECH: u16 = 0xfe0d;
pub(crate) const ESNI: u16 = 0xffce;

const X25519MLKEM768: u16 = 0x11ec;
/// The key share of X25519MLKEM768: an ML-KEM-768 encapsulation key and an X25519 key.
const HYBRID_SHARE: usize = 1184 + 32;

/// The first flight of a real client for [`NAME`], as its only record.
pub(crate) fn real() -> Vec<u8> {
    static HELLO: OnceLock<Vec<u8>> = OnceLock::new();
    HELLO.get_or_init(|| rustls_hello(NAME)).clone()
}

/// rustls orders extensions at random: from here, so that every run has the same order. Keys stay random.
#[derive(Debug)]
struct Repeatable;

impl rustls::crypto::SecureRandom for Repeatable {
    fn fill(&self, buf: &mut [u8]) -> Result<(), rustls::crypto::GetRandomFailed> {
        buf.copy_from_slice(&Rng::new(ORDER).bytes(buf.len()));
        Ok(())
    }
}

/// One with which the name stands neither near the beginning nor near the end.
const ORDER: u64 = 1;

fn rustls_hello(name: &'static str) -> Vec<u8> {
    let provider = rustls::crypto::CryptoProvider {
        secure_random: &Repeatable,
        ..rustls::crypto::ring::default_provider()
    };
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = name.try_into().expect("a host name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut out = Vec::new();
    client.write_tls(&mut out).expect("writing into memory");
    out
}

/// The same bytes for the other name: what a decoy shows.
pub(crate) fn disguised(hello: &[u8]) -> Vec<u8> {
    let at = name_at(hello);
    let mut out = hello.to_vec();
    out[at..at + NAME.len()].copy_from_slice(DECOY.as_bytes());
    out
}

/// Where [`NAME`] stands.
pub(crate) fn name_at(hello: &[u8]) -> usize {
    hello.windows(NAME.len()).position(|w| w == NAME.as_bytes()).expect("the name stands in clear")
}

/// Where the `server_name` extension begins: 2 bytes of type, 2 of length, 2 of list length, 1 of name type, 2 of name
/// length stand before the name.
pub(crate) fn sni_at(hello: &[u8]) -> usize {
    name_at(hello) - 9
}

/// A ClientHello in fields.
#[derive(Clone)]
pub(crate) struct Hello {
    pub(crate) legacy_version: u16,
    pub(crate) session_id: Vec<u8>,
    pub(crate) ciphers: Vec<u16>,
    pub(crate) extensions: Vec<(u16, Vec<u8>)>,
    random: [u8; 32],
}

impl Hello {
    /// What Chrome sends, field by field; with the hybrid key share of X25519MLKEM768 if `hybrid`.
    pub(crate) fn chrome(rng: &mut Rng, name: &str, hybrid: bool) -> Self {
        let mut grease: [u16; 5] = std::array::from_fn(|_| grease(rng));
        if grease[3] == grease[4] {
            // Two extensions of one type are an error.
            grease[4] ^= 0x1010;
        }
        let mut groups = vec![grease[1]];
        let mut shares = [share(grease[1], &[0])].concat();
        if hybrid {
            groups.push(X25519MLKEM768);
            shares.extend(share(X25519MLKEM768, &rng.bytes(HYBRID_SHARE)));
        }
        groups.extend([0x001d, 0x0017, 0x0018]);
        shares.extend(share(0x001d, &rng.bytes(32)));
        let mut extensions = vec![
            (SERVER_NAME, server_name(name.as_bytes())),
            (23, vec![]),
            (0xff01, vec![0]),
            (GROUPS, vec16(&words(&groups))),
            (11, vec![1, 0]),
            (SESSION_TICKET, vec![]),
            (ALPN, alpn(&[b"h2", b"http/1.1"])),
            (5, vec![1, 0, 0, 0, 0]),
            (13, vec16(&words(&[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]))),
            (18, vec![]),
            (KEY_SHARE, vec16(&shares)),
            (45, vec![1, 1]),
            (VERSIONS, vec8(&words(&[grease[2], 0x0304, 0x0303]))),
            (27, vec![2, 0, 2]),
            (0x44cd, vec16(&vec8(b"h2"))),
            (ECH, ech(rng)),
        ];
        // Chrome permutes all extensions but its two GREASE ones.
        rng.shuffle(&mut extensions);
        extensions.insert(0, (grease[3], vec![]));
        extensions.push((grease[4], vec![0]));
        Self {
            legacy_version: 0x0303,
            session_id: rng.bytes(32),
            ciphers: [
                &[grease[0]][..],
                &[0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8],
                &[0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035],
            ]
            .concat(),
            extensions,
            random: rng.array(),
        }
    }

    /// What Chrome sent before the hybrid key share: padded to 512 bytes, 517 with its record header.
    pub(crate) fn padded(rng: &mut Rng, name: &str) -> Self {
        let mut hello = Self::chrome(rng, name, false);
        hello.extensions.retain(|(kind, _)| *kind != ECH);
        hello.pad_to(512);
        hello
    }

    /// What Chrome sends over QUIC.
    pub(crate) fn quic(rng: &mut Rng, name: &str, hybrid: bool) -> Self {
        let mut hello = Self::chrome(rng, name, hybrid);
        hello.session_id.clear();
        hello.ciphers = vec![0x1301, 0x1302, 0x1303];
        hello.extensions.retain(|(kind, _)| !matches!(kind, 23 | 0xff01 | 11 | 5 | 18 | &SESSION_TICKET));
        hello.set(ALPN, alpn(&[b"h3"]));
        hello.set(0x44cd, vec16(&vec8(b"h3")));
        hello.set(VERSIONS, vec8(&words(&[0x0304])));
        // max_idle_timeout, initial_max_data, three stream limits, initial_source_connection_id of no bytes.
        let mut parameters = vec![0x01, 0x04, 0x80, 0x00, 0x75, 0x30, 0x04, 0x04, 0x80, 0xf0, 0x00, 0x00];
        for id in 5..=7 {
            parameters.extend([id, 0x04, 0x80, 0x60, 0x00, 0x00]);
        }
        parameters.extend([0x0f, 0x00]);
        hello.set(QUIC_PARAMETERS, parameters);
        hello
    }

    /// Puts the padding extension (RFC 7685) last, so that the message gets `len` bytes long.
    pub(crate) fn pad_to(&mut self, len: usize) {
        self.extensions.retain(|(kind, _)| *kind != PADDING);
        let missing = len.checked_sub(self.message().len() + 4).expect("the message is shorter than that");
        self.extensions.push((PADDING, vec![0; missing]));
    }

    /// Sets an extension in its place, or adds it.
    pub(crate) fn set(&mut self, kind: u16, data: Vec<u8>) {
        match self.extensions.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, old)) => *old = data,
            None => self.extensions.push((kind, data)),
        }
    }

    pub(crate) fn remove(&mut self, kind: u16) {
        self.extensions.retain(|(k, _)| *k != kind);
    }

    /// The handshake message (RFC 8446 section 4.1.2).
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend(self.random);
        body.extend(vec8(&self.session_id));
        body.extend(vec16(&words(&self.ciphers)));
        body.extend(vec8(&[0]));
        let mut extensions = Vec::new();
        for (kind, data) in &self.extensions {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(vec16(data));
        }
        body.extend(vec16(&extensions));
        message(1, &body)
    }

    /// The message as one record, which is how it is usually sent.
    pub(crate) fn record(&self) -> Vec<u8> {
        record(22, 0x0301, &self.message())
    }
}

/// A TLS record.
pub(crate) fn record(kind: u8, version: u16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(version.to_be_bytes());
    out.extend(vec16(body));
    out
}

/// A handshake message as records cut where `cuts` says, which begins with 0 and ends with the length.
pub(crate) fn records(message: &[u8], cuts: &[usize]) -> Vec<u8> {
    cuts.windows(2).flat_map(|w| record(22, 0x0301, &message[w[0]..w[1]])).collect()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend(vec16(body));
    out
}

/// A ServerHello with the beginning of what follows it; asks for another hello if `retry`.
pub(crate) fn server_hello(retry: bool) -> Vec<u8> {
    // SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3).
    const RETRY: [u8; 32] = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
        0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
    ];
    let mut body = vec![3, 3];
    body.extend(if retry { RETRY } else { [7; 32] });
    body.extend(vec8(&[9; 32]));
    body.extend([0x13, 0x01, 0]);
    let share = if retry { vec![0, 0x17] } else { share(0x001d, &[5; 32]) };
    let mut extensions = Vec::new();
    for (kind, data) in [(VERSIONS, vec![3, 4]), (KEY_SHARE, share)] {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(vec16(&data));
    }
    body.extend(vec16(&extensions));
    let mut out = record(22, 0x0303, &message(2, &body));
    if !retry {
        out.extend(record(20, 0x0303, &[1]));
        out.extend(record(23, 0x0303, &[0xa5; 600]));
    }
    out
}

/// The body of a `server_name` extension (RFC 6066 section 3).
pub(crate) fn server_name(name: &[u8]) -> Vec<u8> {
    server_names(&[name])
}

pub(crate) fn server_names(names: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|name| [&[0][..], &vec16(name)].concat()).collect();
    vec16(&list)
}

pub(crate) fn alpn(protocols: &[&[u8]]) -> Vec<u8> {
    vec16(&protocols.iter().flat_map(|p| vec8(p)).collect::<Vec<u8>>())
}

/// The outer form of Encrypted ClientHello. GREASE and the real thing look alike by design.
pub(crate) fn ech(rng: &mut Rng) -> Vec<u8> {
    let len = 144 + 32 * rng.within(0..=3);
    let mut out = vec![0, 0, 1, 0, 1, rng.word() as u8];
    out.extend(vec16(&rng.bytes(32)));
    out.extend(vec16(&rng.bytes(len)));
    out
}

/// A value that peers must ignore (RFC 8701).
pub(crate) fn grease(rng: &mut Rng) -> u16 {
    0x0a0a + (rng.word() as u16 & 0xf) * 0x1010
}

fn share(group: u16, key: &[u8]) -> Vec<u8> {
    [&group.to_be_bytes()[..], &vec16(key)].concat()
}

pub(crate) fn words(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_be_bytes()).collect()
}

pub(crate) fn vec8(data: &[u8]) -> Vec<u8> {
    [&[data.len() as u8][..], data].concat()
}

pub(crate) fn vec16(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes()[..], data].concat()
}
