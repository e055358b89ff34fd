//! Keys of the client's Initials, and opening them (RFC 9001 sections 5.2–5.4).
//!
//! The cost of a first Initial is here: 14 compressions of SHA-256 (2 for the extraction with a prepared salt, 4 for
//! the client's secret, 8 for key, iv and header-protection key with one prepared HMAC key), two AES key schedules, one
//! table for GHASH. Only the client's half is derived; nothing of the server's is ever opened.

use ring::aead::quic::{AES_128, HeaderProtectionKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

use super::header::Packet;
use super::version::{Profile, Salt};

/// HKDF-Expand-Label (RFC 8446 section 7.1) for one block of output: length, label, empty context, and the counter of HKDF.
const CLIENT_IN: &[u8] = b"\x00\x20\x0ftls13 client in\x00\x01";
const KEY: &[u8] = b"\x00\x10\x0etls13 quic key\x00\x01";
const IV: &[u8] = b"\x00\x0c\x0dtls13 quic iv\x00\x01";
const HP: &[u8] = b"\x00\x10\x0dtls13 quic hp\x00\x01";
const KEY_V2: &[u8] = b"\x00\x10\x10tls13 quicv2 key\x00\x01";
const IV_V2: &[u8] = b"\x00\x0c\x0ftls13 quicv2 iv\x00\x01";
const HP_V2: &[u8] = b"\x00\x10\x0ftls13 quicv2 hp\x00\x01";

const TAG: usize = 16;

/// The prepared salts.
pub(super) struct Deriver {
    salts: [hmac::Key; Salt::ALL.len()],
}

/// What opens a client's Initials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    hp: [u8; 16],
}

impl Deriver {
    pub(super) fn new() -> Self {
        Self { salts: Salt::ALL.map(|salt| hmac::Key::new(hmac::HMAC_SHA256, &salt.bytes())) }
    }

    /// The keys that belong to a client's connection id.
    pub(super) fn client(&self, profile: Profile, dcid: &[u8]) -> Keys {
        let Some(salt) = self.salts.get(profile.salt as usize) else { return Keys::default() };
        let initial = prepared(hmac::sign(salt, dcid));
        let client = prepared(hmac::sign(&initial, CLIENT_IN));
        let (key, iv, hp) = if profile.v2_labels { (KEY_V2, IV_V2, HP_V2) } else { (KEY, IV, HP) };
        Keys { key: expand(&client, key), iv: expand(&client, iv), hp: expand(&client, hp) }
    }
}

fn prepared(secret: hmac::Tag) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref())
}

fn expand<const N: usize>(secret: &hmac::Key, info: &[u8]) -> [u8; N] {
    let tag = hmac::sign(secret, info);
    tag.as_ref().first_chunk::<N>().copied().unwrap_or([0; N])
}

impl Keys {
    /// Opens `packet` into `plain`. Gives the packet number, and length and offset of the frames in `plain`; None unless the
    /// tag holds. `largest` is the largest packet number that was opened before.
    pub(super) fn open(
        &self,
        packet: &Packet<'_>,
        largest: Option<u32>,
        plain: &mut [u8],
    ) -> Option<(u32, (usize, usize))> {
        let sample = packet.bytes.get(packet.pn_at + 4..)?.first_chunk::<16>()?;
        let mask = HeaderProtectionKey::new(&AES_128, &self.hp).ok()?.new_mask(sample).ok()?;
        let [mask_first, mask_pn @ ..] = mask;
        let first = packet.bytes.first()? ^ (mask_first & 0x0f);
        let pn_len = usize::from(first & 3) + 1;
        let mut truncated = 0u32;
        let mut pn_bytes = [0u8; 4];
        for ((to, byte), mask) in
            pn_bytes.iter_mut().zip(packet.bytes.get(packet.pn_at..packet.pn_at + pn_len)?).zip(mask_pn)
        {
            *to = byte ^ mask;
            truncated = truncated << 8 | u32::from(*to);
        }
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &self.key).ok()?);
        let header_len = packet.pn_at + pn_len;
        let body = packet.bytes.get(header_len..)?;
        let mut attempt = |pn: u32| {
            let (header, rest) = plain.get_mut(..packet.bytes.len())?.split_at_mut_checked(header_len)?;
            header.copy_from_slice(packet.bytes.get(..header_len)?);
            *header.first_mut()? = first;
            header.get_mut(packet.pn_at..)?.copy_from_slice(pn_bytes.get(..pn_len)?);
            rest.copy_from_slice(body);
            let opened = key.open_in_place(self.nonce(pn), Aad::from(&*header), rest).ok()?;
            Some((pn, (opened.len(), header_len)))
        };
        let expanded = expand_pn(truncated, pn_len, largest);
        let found = attempt(expanded);
        if found.is_some() || expanded == truncated {
            return found;
        }
        // A decoy with a large packet number shall not make the real packets unreadable.
        attempt(truncated)
    }

    fn nonce(&self, pn: u32) -> Nonce {
        let mut nonce = self.iv;
        for (byte, pn) in nonce.iter_mut().skip(8).zip(pn.to_be_bytes()) {
            *byte ^= pn;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

const _: () = assert!(TAG == 16);

/// The full packet number (RFC 9000 appendix A.3), kept below 2^32: no handshake sends that many packets.
fn expand_pn(truncated: u32, len: usize, largest: Option<u32>) -> u32 {
    let Some(largest) = largest else { return truncated };
    if len == 4 {
        return truncated;
    }
    let window = 1u64 << (8 * len);
    let expected = u64::from(largest) + 1;
    let candidate = (expected & !(window - 1)) | u64::from(truncated);
    let full = if candidate + window / 2 <= expected {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    };
    u32::try_from(full).unwrap_or(truncated)
}
