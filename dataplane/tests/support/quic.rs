//! Makes QUIC Initials as clients do, with keys derived by another route than the one under test.

#![allow(dead_code, reason = "each test binary uses its part")]

use ring::aead::quic::{AES_128, HeaderProtectionKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

use super::random::Random;

pub(crate) const V1: u32 = 1;
pub(crate) const V2: u32 = 0x6b33_43cf;
pub(crate) const DRAFT_29: u32 = 0xff00_001d;

/// What stands in the header of an Initial.
#[derive(Clone)]
pub(crate) struct Initial {
    pub(crate) version: u32,
    pub(crate) dcid: Vec<u8>,
    pub(crate) scid: Vec<u8>,
    pub(crate) token: Vec<u8>,
    pub(crate) pn: u32,
    pub(crate) pn_len: usize,
    /// The connection id that the keys come from, if it is not `dcid`.
    pub(crate) origin: Option<Vec<u8>>,
    /// Keys of the server's half.
    pub(crate) from_server: bool,
}

impl Default for Initial {
    fn default() -> Self {
        Self {
            version: V1,
            dcid: b"\x83\x94\xc8\xf0\x3e\x51\x57\x08".to_vec(),
            scid: vec![],
            token: vec![],
            pn: 0,
            pn_len: 4,
            origin: None,
            from_server: false,
        }
    }
}

impl Initial {
    /// A packet with these frames, nothing added.
    pub(crate) fn packet(&self, frames: &[u8]) -> Vec<u8> {
        let kind = if self.version == V2 { 1 } else { 0 };
        let mut bytes = vec![0xc0 | kind << 4 | (self.pn_len - 1) as u8];
        bytes.extend(self.version.to_be_bytes());
        for id in [&self.dcid, &self.scid] {
            bytes.push(id.len() as u8);
            bytes.extend(id);
        }
        bytes.extend(varint(self.token.len() as u64));
        bytes.extend(&self.token);
        bytes.extend((0x4000 | (self.pn_len + frames.len() + 16) as u16).to_be_bytes());
        let pn_at = bytes.len();
        bytes.extend(&self.pn.to_be_bytes()[4 - self.pn_len..]);
        let header = bytes.len();

        let origin = self.origin.as_ref().unwrap_or(&self.dcid);
        let (key, iv, hp) = keys(self.version, origin, self.from_server);
        let mut nonce = iv;
        for (byte, pn) in nonce[8..].iter_mut().zip(self.pn.to_be_bytes()) {
            *byte ^= pn;
        }
        let mut body = frames.to_vec();
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&bytes), &mut body)
            .unwrap();
        bytes.extend(body);

        let sample = bytes[pn_at + 4..pn_at + 20].try_into().unwrap();
        let mask = HeaderProtectionKey::new(&AES_128, &hp).unwrap().new_mask(sample).unwrap();
        bytes[0] ^= mask[0] & 0x0f;
        for (byte, mask) in bytes[pn_at..header].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        bytes
    }

    /// A datagram of `len` bytes: the frames, then PADDING.
    pub(crate) fn padded(&self, frames: &[u8], len: usize) -> Vec<u8> {
        let mut frames = frames.to_vec();
        frames.resize(frames.len().max(20), 0);
        let bare = self.packet(&frames).len();
        frames.resize(frames.len() + len.saturating_sub(bare), 0);
        self.packet(&frames)
    }

    /// A datagram of 1200 bytes, the least that clients send.
    pub(crate) fn datagram(&self, frames: &[u8]) -> Vec<u8> {
        self.padded(frames, 1200)
    }

    pub(crate) fn numbered(&self, pn: u32) -> Self {
        Self { pn, ..self.clone() }
    }
}

/// Key, iv and header-protection key by RFC 5869, RFC 9001 section 5 and RFC 9369 section 3.3.
fn keys(version: u32, origin: &[u8], server: bool) -> ([u8; 16], [u8; 12], [u8; 16]) {
    let salt = match version {
        V1 | 0xff00_0021..=0xff00_0022 => "38762cf7f55934b34d179ae6a4c80cadccbb7f0a",
        V2 => "0dede3def700a6db819381be6e269dcbf9bd2ed9",
        0xff00_001d..=0xff00_0020 => "afbfec289993d24c9e9786f19c6111e04390a899",
        0xff00_0017..=0xff00_001c => "c3eef712c72ebb5a11a7d2432bb46365bef9f502",
        0xff00_0016 => "7fbcdb0e7c66bbe9193a96cd21519ebd7a02644a",
        0x5130_3530 => "504574efd066fe2f9d945cfcdbd3a7f0d3b56b45",
        0x5430_3531 => "7a4edef4e7ccee5fa4506c19124fc8ccda6e033d",
        // Clients that force a negotiation use the keys of version 1.
        _ => "38762cf7f55934b34d179ae6a4c80cadccbb7f0a",
    };
    let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, &hex(salt)).extract(origin);
    let secret: [u8; 32] = expand(&initial, if server { "server in" } else { "client in" });
    let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
    let quic = if version == V2 { "quicv2" } else { "quic" };
    let label = |what: &str| format!("{quic} {what}");
    (expand(&secret, &label("key")), expand(&secret, &label("iv")), expand(&secret, &label("hp")))
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &hkdf::Prk, label: &str) -> [u8; N] {
    let label = format!("tls13 {label}");
    let info = [&(N as u16).to_be_bytes()[..], &[label.len() as u8], label.as_bytes(), &[0]];
    let mut out = [0; N];
    prk.expand(&info, Len(N)).unwrap().fill(&mut out).unwrap();
    out
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

pub(crate) fn varint(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (0x4000 | value as u16).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (0x8000_0000 | value as u32).to_be_bytes().to_vec(),
        _ => (0xc000_0000_0000_0000 | value).to_be_bytes().to_vec(),
    }
}

/// A CRYPTO frame.
pub(crate) fn crypto(offset: u64, data: &[u8]) -> Vec<u8> {
    [&[6][..], &varint(offset), &varint(data.len() as u64), data].concat()
}

/// A long-header packet of another type, with content that nobody can read: 1 for 0-RTT, 2 for Handshake (version 1).
pub(crate) fn sealed(kind: u8, initial: &Initial, len: usize) -> Vec<u8> {
    let kind = if initial.version == V2 { kind + 1 } else { kind };
    let mut bytes = vec![0xc0 | (kind & 3) << 4];
    bytes.extend(initial.version.to_be_bytes());
    for id in [&initial.dcid, &initial.scid] {
        bytes.push(id.len() as u8);
        bytes.extend(id);
    }
    bytes.extend((0x4000 | len as u16).to_be_bytes());
    bytes.extend(vec![0xab; len]);
    bytes
}

/// A Retry, by which the server chooses `scid` for the client to use.
pub(crate) fn retry(version: u32, scid: &[u8]) -> Vec<u8> {
    let kind = if version == V2 { 0 } else { 3 };
    [&[0xc0 | kind << 4][..], &version.to_be_bytes(), &[0, scid.len() as u8], scid, &[0x77; 60]].concat()
}

/// A version negotiation that offers version 1.
pub(crate) fn negotiation(scid: &[u8]) -> Vec<u8> {
    [&[0xca, 0, 0, 0, 0, 0, scid.len() as u8][..], scid, &[0, 0, 0, 1, 0x1a, 0x2a, 0x3a, 0x4a]].concat()
}

/// Splits a hello as Chrome does: 2 to 10 further cuts, each piece a CRYPTO frame, 2 to 10 PINGs, PADDING spread between
/// them, everything shuffled, over as many datagrams as asked for.
pub(crate) fn chaos(
    message: &[u8],
    initial: &Initial,
    datagrams: usize,
    random: &mut Random,
) -> Vec<Vec<u8>> {
    let pieces = random.within(3, 11).max(datagrams * 2);
    let cuts = random.cuts(message.len(), pieces);
    let mut frames: Vec<Vec<u8>> =
        cuts.windows(2).map(|cut| crypto(cut[0] as u64, &message[cut[0]..cut[1]])).collect();
    frames.extend((0..random.within(2, 10)).map(|_| vec![1]));
    random.shuffle(&mut frames);
    let share = frames.len().div_ceil(datagrams);
    let mut out = Vec::new();
    for (pn, frames) in frames.chunks(share).enumerate() {
        let mut payload = Vec::new();
        for frame in frames {
            payload.extend(vec![0; random.within(0, 12)]);
            payload.extend(frame);
        }
        out.push(initial.numbered(pn as u32 + 1).datagram(&payload));
    }
    out
}
