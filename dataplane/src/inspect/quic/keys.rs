//! Keys of the client's Initials, and opening them (RFC 9001 sections 5.2–5.4).
//!
//! The cost of a first Initial is here: 14 compressions of SHA-256 (2 for the extraction with a prepared salt, 4 for
//! the client's secret, 8 for key, iv and header-protection key with one prepared HMAC key; 0.9 µs), two AES key
//! schedules and a table for GHASH (0.16 µs), GCM over 1200 bytes (0.23 µs). Only the client's half is derived; nothing of the server's is ever opened.

use ring::aead::quic::{AES_128, HeaderProtectionKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::{digest, hmac};

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
        let initial = hmac::sign(salt, dcid);
        let client = hmac::Key::new(hmac::HMAC_SHA256, hmac_once(initial.as_ref(), CLIENT_IN).as_ref());
        let (key, iv, hp) = if profile.v2_labels { (KEY_V2, IV_V2, HP_V2) } else { (KEY, IV, HP) };
        Keys { key: expand(&client, key), iv: expand(&client, iv), hp: expand(&client, hp) }
    }
}

/// HMAC (RFC 2104) with a key that is used once: two hashes at one go cost 180 ns where preparing a key and signing with
/// it costs 240. `key` must not be longer than a block, nor `message` than 32 bytes; both are of fixed length here.
fn hmac_once(key: &[u8], message: &[u8]) -> digest::Digest {
    const BLOCK: usize = 64;
    let hash = |pad: u8, key: &[u8], message: &[u8]| {
        let mut text = [pad; BLOCK + 32];
        for (byte, key) in text.iter_mut().zip(key) {
            *byte ^= key;
        }
        for (byte, from) in text.iter_mut().skip(BLOCK).zip(message) {
            *byte = *from;
        }
        digest::digest(&digest::SHA256, text.get(..BLOCK + message.len()).unwrap_or_default())
    };
    let inner = hash(0x36, key, message);
    hash(0x5c, key, inner.as_ref())
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

#[cfg(all(test, not(miri)))]
mod tests {
    use super::super::header::long_header;
    use super::super::version::{Family, family};
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn keys(version: u32) -> Keys {
        let Family::Ietf(profile) = family(version) else { panic!("{version:#x} has keys") };
        Deriver::new().client(profile, &hex("8394c8f03e515708"))
    }

    fn check(keys: Keys, key: &str, iv: &str, hp: &str) {
        assert_eq!((&keys.key[..], &keys.iv[..], &keys.hp[..]), (&hex(key)[..], &hex(iv)[..], &hex(hp)[..]));
    }

    #[test]
    fn client_keys_of_rfc_9001_appendix_a_1() {
        check(
            keys(1),
            "1f369613dd76d5467730efcbe3b1a22d",
            "fa044b2f42a3fd3b46fb255c",
            "9f50449e04a0e810283a1e9933adedd2",
        );
    }

    #[test]
    fn client_keys_of_rfc_9369_appendix_a_1() {
        check(
            keys(0x6b33_43cf),
            "8b1a0bc121284290a29e0971b5cd045d",
            "91f73e2351d8fa91660e909f",
            "45b95e15235d6f45a6b19cbcb0294ba9",
        );
    }

    #[test]
    fn every_salt_gives_other_keys() {
        let deriver = Deriver::new();
        let all = Salt::ALL.map(|salt| {
            let Family::Ietf(v1) = family(1) else { panic!() };
            deriver.client(Profile { salt, ..v1 }, b"12345678").key
        });
        assert!((1..all.len()).all(|i| !all[..i].contains(&all[i])));
        for (i, salt) in Salt::ALL.into_iter().enumerate() {
            assert_eq!(salt as usize, i, "the table of prepared salts is indexed by salt");
        }
    }

    #[test]
    fn packet_numbers_of_rfc_9000_appendix_a_3() {
        assert_eq!(expand_pn(0x9b32, 2, Some(0xa82f_30ea)), 0xa82f_9b32);
        assert_eq!(expand_pn(0, 1, Some(254)), 256, "wraps forward");
        assert_eq!(expand_pn(255, 1, Some(256)), 255, "and backward");
        assert_eq!(expand_pn(7, 1, None), 7);
        assert_eq!(expand_pn(1, 1, Some(u32::MAX)), 1, "never beyond 2^32");
    }

    #[test]
    fn a_packet_that_is_too_long_or_too_short_is_not_opened() {
        let mut bytes = hex("c00000000108000102030405060700004044");
        bytes.resize(18 + 0x44, 0);
        let long = long_header(&bytes).unwrap();
        let Family::Ietf(profile) = family(1) else { panic!() };
        let packet = long.packet(&bytes, profile).unwrap();
        assert_eq!(keys(1).open(&packet, None, &mut [0; 64]), None, "no room");
        assert!(long_header(&bytes[..40]).unwrap().packet(&bytes[..40], profile).is_none(), "cut off");
    }
}
