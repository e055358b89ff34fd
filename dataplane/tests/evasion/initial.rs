//! QUIC packets as clients send them: long headers, frames, and the protection of Initial packets (RFC 9001 section 5).

use crate::rng::Rng;
use crate::scene::Side;
use ring::{aead, hkdf};

pub(crate) const V1: u32 = 1;
pub(crate) const V2: u32 = 0x6b33_43cf;
pub(crate) const DRAFT_29: u32 = 0xff00_001d;
/// RFC 9000 section 14.1: what carries an Initial has at least this many bytes.
pub(crate) const MIN_DATAGRAM: usize = 1200;
/// What Chrome sends.
pub(crate) const CHROME_DATAGRAM: usize = 1250;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Initial,
    ZeroRtt,
    Handshake,
}

/// A packet with a long header.
#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) kind: Kind,
    pub(crate) version: u32,
    pub(crate) dcid: Vec<u8>,
    pub(crate) scid: Vec<u8>,
    pub(crate) token: Vec<u8>,
    pub(crate) number: u32,
    pub(crate) number_len: usize,
    pub(crate) frames: Vec<u8>,
}

/// The keys of one direction.
pub(crate) struct Keys {
    key: aead::LessSafeKey,
    iv: [u8; 12],
    header: aead::quic::HeaderProtectionKey,
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

impl Keys {
    /// The Initial keys of a side, from the connection id that the client chose first.
    pub(crate) fn initial(version: u32, dcid: &[u8], side: Side) -> Self {
        let salt: [u8; 20] = match version {
            V2 => *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9",
            DRAFT_29 => *b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99",
            _ => *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a",
        };
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(dcid);
        let side = if side == Side::Client { "client in" } else { "server in" };
        Self::from_secret(version, &hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &expand::<32>(&secret, side)))
    }

    /// Keys that nobody on the way can know: for packets behind the Initial.
    pub(crate) fn secret(rng: &mut Rng) -> Self {
        Self::from_secret(V1, &hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &rng.array::<32>()))
    }

    fn from_secret(version: u32, secret: &hkdf::Prk) -> Self {
        let label = |name| format!("{} {name}", if version == V2 { "quicv2" } else { "quic" });
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, &expand::<16>(secret, &label("key")));
        let header =
            aead::quic::HeaderProtectionKey::new(&aead::quic::AES_128, &expand::<16>(secret, &label("hp")));
        Self {
            key: aead::LessSafeKey::new(key.expect("a key of 16 bytes")),
            iv: expand(secret, &label("iv")),
            header: header.expect("a key of 16 bytes"),
        }
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand<const N: usize>(secret: &hkdf::Prk, label: &str) -> [u8; N] {
    let label = format!("tls13 {label}");
    let head = [0, N as u8, label.len() as u8];
    let info = [&head[..], label.as_bytes(), &[0]];
    let mut out = [0; N];
    secret.expand(&info, Len(N)).and_then(|okm| okm.fill(&mut out)).expect("a short output");
    out
}

impl Packet {
    /// A client's first packet, as Chrome numbers it.
    pub(crate) fn first(rng: &mut Rng, version: u32) -> Self {
        Self {
            kind: Kind::Initial,
            version,
            dcid: rng.bytes(8),
            scid: Vec::new(),
            token: Vec::new(),
            number: 1,
            number_len: 1,
            frames: Vec::new(),
        }
    }

    pub(crate) fn with(&self, frames: Vec<u8>) -> Self {
        Self { frames, ..self.clone() }
    }

    /// The same header with the next packet number and these frames.
    pub(crate) fn next(&mut self, frames: Vec<u8>) -> Self {
        let packet = self.with(frames);
        self.number += 1;
        packet
    }

    /// Fills up with PADDING until the packet takes `size` bytes.
    pub(crate) fn padded(mut self, size: usize) -> Self {
        let room = size.saturating_sub(self.header().len() + 16);
        if self.frames.len() < room {
            self.frames.resize(room, 0);
        }
        self
    }

    /// Bytes of frames that fit into `size` bytes.
    pub(crate) fn room(&self, size: usize) -> usize {
        size - self.header().len() - 16
    }

    fn header(&self) -> Vec<u8> {
        let kind = match (self.kind, self.version) {
            (Kind::Initial, V2) => 1,
            (Kind::ZeroRtt, V2) => 2,
            (Kind::Handshake, V2) => 3,
            (Kind::Initial, _) => 0,
            (Kind::ZeroRtt, _) => 1,
            (Kind::Handshake, _) => 2,
        };
        let mut out = vec![0xc0 | kind << 4 | (self.number_len as u8 - 1)];
        out.extend(self.version.to_be_bytes());
        for id in [&self.dcid, &self.scid] {
            out.push(id.len() as u8);
            out.extend(id);
        }
        if self.kind == Kind::Initial {
            out.extend(varint(self.token.len() as u64));
            out.extend(&self.token);
        }
        let len = self.number_len + self.frames.len() + 16;
        out.extend((0x4000 | len as u16).to_be_bytes());
        out.extend(&self.number.to_be_bytes()[4 - self.number_len..]);
        out
    }

    /// The packet, encrypted and with its header protected.
    pub(crate) fn seal(&self, keys: &Keys) -> Vec<u8> {
        let mut out = self.header();
        let header = out.len();
        let mut nonce = keys.iv;
        for (n, p) in nonce.iter_mut().rev().zip(self.number.to_be_bytes().iter().rev()) {
            *n ^= p;
        }
        let mut body = self.frames.clone();
        // The sample for the header mask starts 4 bytes behind the start of the packet number.
        body.resize(body.len().max(4 - self.number_len), 0);
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        keys.key
            .seal_in_place_append_tag(nonce, aead::Aad::from(&out[..]), &mut body)
            .expect("a short packet");
        out.extend(body);
        let number = header - self.number_len;
        let mask = keys.header.new_mask(&out[number + 4..number + 20]).expect("a sample of 16 bytes");
        out[0] ^= mask[0] & 0x0f;
        for (byte, mask) in out[number..header].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        out
    }
}

pub(crate) fn varint(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (0x4000 | value as u16).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (0x8000_0000 | value as u32).to_be_bytes().to_vec(),
        _ => (0xc000_0000_0000_0000 | value).to_be_bytes().to_vec(),
    }
}

/// A CRYPTO frame (RFC 9000 section 19.6).
pub(crate) fn crypto(offset: u64, data: &[u8]) -> Vec<u8> {
    [&[6][..], &varint(offset), &varint(data.len() as u64), data].concat()
}

/// PING (RFC 9000 section 19.2).
pub(crate) const PING: u8 = 1;

/// Shreds `message` as Chrome does: cut at 2–10 places into CRYPTO frames spread over `datagrams` packets, each with 2–10
/// PINGs and all its PADDING between the frames, everything shuffled. `packet` gets the next free packet number.
pub(crate) fn chaos(rng: &mut Rng, packet: &mut Packet, message: &[u8], datagrams: usize) -> Vec<Vec<u8>> {
    let keys = Keys::initial(packet.version, &packet.dcid, Side::Client);
    // Frame headers take at most 6 bytes a piece here, PINGs 10; what is left over becomes padding.
    let room = packet.room(CHROME_DATAGRAM) - 40;
    let mut packets: Vec<Vec<Vec<u8>>> = vec![Vec::new(); datagrams];
    let pieces = loop {
        let added = rng.within(2..=10);
        let cuts = rng.cuts(message.len(), added + 1);
        let mut pieces: Vec<(usize, usize)> = cuts.windows(2).map(|w| (w[0], w[1])).collect();
        rng.shuffle(&mut pieces);
        if let Some(places) = place(rng, &pieces, datagrams, room) {
            break pieces.into_iter().zip(places);
        }
    };
    for ((from, to), packet) in pieces {
        packets[packet].push(crypto(from as u64, &message[from..to]));
    }
    let mut out = Vec::new();
    for mut frames in packets {
        frames.extend(std::iter::repeat_n(vec![PING], rng.within(2..=10)));
        let used: usize = frames.iter().map(Vec::len).sum();
        let mut padding = packet.room(CHROME_DATAGRAM) - used;
        for _ in 0..rng.within(1..=frames.len()) {
            let run = rng.within(0..=padding);
            frames.push(vec![0; run]);
            padding -= run;
        }
        frames.push(vec![0; padding]);
        rng.shuffle(&mut frames);
        out.push(packet.next(frames.concat()).seal(&keys));
    }
    out
}

/// Assigns pieces to packets at random, if they fit that way; every packet gets one at least where there are enough.
fn place(rng: &mut Rng, pieces: &[(usize, usize)], packets: usize, room: usize) -> Option<Vec<usize>> {
    let mut left = vec![room; packets];
    let mut places = Vec::new();
    for (i, (from, to)) in pieces.iter().enumerate() {
        let packet = if i < packets { i } else { rng.within(0..=packets - 1) };
        left[packet] = left[packet].checked_sub(to - from + 6)?;
        places.push(packet);
    }
    Some(places)
}
