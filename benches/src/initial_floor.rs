//! The floor of QUIC: what nobody can read a client's first Initial without. Its keys come from its connection id (RFC 9001
//! section 5.2), the protection of its header must come off, and its tag must hold.
//!
//! Nothing is parsed: the places in the datagram are those that the bench's own Initials have. The salt is prepared, and what is
//! used once is hashed in one go: 14 compressions of SHA-256, two AES key schedules, GCM.

use ring::aead::quic::{AES_128, HeaderProtectionKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, sign};

/// RFC 9001 section 5.2.
const SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc,
    0xbb, 0x7f, 0x0a,
];
/// Where the client's connection id, its packet number of four bytes and the frames stand.
const DCID: std::ops::Range<usize> = 6..15;
const PN_AT: usize = 19;
const BODY_AT: usize = PN_AT + 4;

/// What is prepared once.
pub(crate) struct Floor {
    salt: Key,
    plain: Vec<u8>,
}

impl Default for Floor {
    fn default() -> Self {
        Self { salt: Key::new(HMAC_SHA256, &SALT), plain: Vec::new() }
    }
}

impl Floor {
    /// Opens a datagram that holds one Initial as [`crate::rows::inspect::initial`] makes them: length of the frames. `None` if
    /// the tag does not hold.
    pub(crate) fn open(&mut self, datagram: &[u8]) -> Option<usize> {
        let secret = sign(&self.salt, datagram.get(DCID)?);
        let client =
            Key::new(HMAC_SHA256, once(secret.as_ref(), b"\x00\x20\x0ftls13 client in\x00\x01").as_ref());
        let expand = |label: &[u8]| sign(&client, label);
        let (key, iv, hp) = (
            expand(b"\x00\x10\x0etls13 quic key\x00\x01"),
            expand(b"\x00\x0c\x0dtls13 quic iv\x00\x01"),
            expand(b"\x00\x10\x0dtls13 quic hp\x00\x01"),
        );
        let sample = datagram.get(PN_AT + 4..)?.first_chunk::<16>()?;
        let mask = HeaderProtectionKey::new(&AES_128, hp.as_ref().get(..16)?).ok()?.new_mask(sample).ok()?;
        let mut header = *datagram.first_chunk::<BODY_AT>()?;
        let [first, pn @ ..] = mask;
        header[0] ^= first & 0x0f;
        let mut nonce = *iv.as_ref().first_chunk::<12>()?;
        for ((byte, nonce), mask) in header[PN_AT..].iter_mut().zip(&mut nonce[8..]).zip(pn) {
            *byte ^= mask;
            *nonce ^= *byte;
        }
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.as_ref().get(..16)?).ok()?);
        self.plain.clear();
        self.plain.extend_from_slice(datagram.get(BODY_AT..)?);
        let nonce = Nonce::assume_unique_for_key(nonce);
        Some(key.open_in_place(nonce, Aad::from(&header), &mut self.plain).ok()?.len())
    }
}

/// HMAC (RFC 2104) with a key that is used once.
fn once(key: &[u8], message: &[u8]) -> ring::digest::Digest {
    let hash = |pad: u8, message: &[u8]| {
        let mut text = [pad; 96];
        text.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        text[64..].iter_mut().zip(message).for_each(|(byte, from)| *byte = *from);
        digest(&SHA256, &text[..64 + message.len()])
    };
    hash(0x5c, hash(0x36, message).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_initial_of_the_bench_opens_and_a_changed_one_does_not() {
        let mut floor = Floor::default();
        for n in [0, 1, 77_777] {
            let mut frame = crate::rows::inspect::initial(n);
            assert_eq!(floor.open(&frame[42..]), Some(1200 - BODY_AT - 16));
            frame[700] ^= 1;
            assert_eq!(floor.open(&frame[42..]), None);
        }
    }
}
