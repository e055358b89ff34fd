//! X25519MLKEM768, the key exchange of TLS 1.3 that stays closed when X25519 falls (draft-ietf-tls-ecdhe-mlkem, section 3; FIPS 203).
//!
//! X25519 is `ring`'s and ML-KEM is `libcrux`'s; what is here puts them side by side. A secret is both, ML-KEM's first, so it is known to nobody who has broken
//! only one.

use libcrux_ml_kem::mlkem768::{
    MlKem768Ciphertext, MlKem768KeyPair, MlKem768PublicKey, decapsulate, encapsulate, generate_key_pair,
    validate_public_key,
};
use libcrux_ml_kem::{ENCAPS_SEED_SIZE, KEY_GENERATION_SEED_SIZE};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::crypto::ring::kx_group::X25519;
use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup,
};
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};

/// What the page's TLS is made of: `ring`, and before its groups this one.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.kx_groups.insert(0, &Hybrid);
    provider
}

/// Bytes of a key that is encapsulated to.
const KEY: usize = MlKem768PublicKey::len();
/// Bytes of an encapsulation.
const CIPHERTEXT: usize = MlKem768Ciphertext::len();
const INVALID: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

#[derive(Debug)]
struct Hybrid;

impl SupportedKxGroup for Hybrid {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let classical = X25519.start()?;
        let pair = generate_key_pair(random::<KEY_GENERATION_SEED_SIZE>()?);
        let share = [pair.pk().as_ref(), classical.pub_key()].concat();
        Ok(Box::new(Active { classical, pair, share }))
    }

    fn start_and_complete(&self, share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (key, classical) = share.split_at_checked(KEY).ok_or(INVALID)?;
        let key = MlKem768PublicKey::try_from(key).map_err(|_| INVALID)?;
        // FIPS 203, section 7.2: of each key that comes in.
        if !validate_public_key(&key) {
            return Err(INVALID);
        }
        let classical = X25519.start_and_complete(classical)?;
        let (ciphertext, secret) = encapsulate(&key, random::<ENCAPS_SEED_SIZE>()?);
        Ok(CompletedKeyExchange {
            group: self.name(),
            pub_key: [ciphertext.as_ref(), &classical.pub_key].concat(),
            secret: SharedSecret::from([secret.as_ref(), classical.secret.secret_bytes()].concat()),
        })
    }

    fn ffdhe_group(&self) -> Option<rustls::ffdhe_groups::FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// The side that began: what it waits with for the other's share.
struct Active {
    classical: Box<dyn ActiveKeyExchange>,
    pair: MlKem768KeyPair,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Active {
    fn complete(self: Box<Self>, share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, classical) = share.split_at_checked(CIPHERTEXT).ok_or(INVALID)?;
        let ciphertext = MlKem768Ciphertext::try_from(ciphertext).map_err(|_| INVALID)?;
        let classical = self.classical.complete(classical)?;
        let secret = decapsulate(self.pair.private_key(), &ciphertext);
        Ok(SharedSecret::from([secret.as_ref(), classical.secret_bytes()].concat()))
    }

    /// A server that knows X25519 alone takes that half of the share.
    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((self.classical.group(), self.classical.pub_key()))
    }

    fn complete_hybrid_component(self: Box<Self>, share: &[u8]) -> Result<SharedSecret, Error> {
        self.classical.complete(share)
    }

    fn ffdhe_group(&self) -> Option<rustls::ffdhe_groups::FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::FailedToGetRandomBytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_have_one_secret_and_the_next_exchange_has_another() {
        let exchange = || {
            let client = Hybrid.start().unwrap();
            assert_eq!(client.pub_key().len(), 1216);
            let server = Hybrid.start_and_complete(client.pub_key()).unwrap();
            assert_eq!(server.pub_key.len(), 1120);
            let secret = client.complete(&server.pub_key).unwrap().secret_bytes().to_vec();
            assert_eq!(secret, server.secret.secret_bytes());
            assert_eq!(secret.len(), 64);
            secret
        };
        let (one, other) = (exchange(), exchange());
        assert!(one[..32] != other[..32] && one[32..] != other[32..]);
    }

    #[test]
    fn either_half_of_a_share_counts() {
        for changed in [0, CIPHERTEXT + 1] {
            let client = Hybrid.start().unwrap();
            let mut server = Hybrid.start_and_complete(client.pub_key()).unwrap();
            server.pub_key[changed] ^= 1;
            let secret = client.complete(&server.pub_key).unwrap();
            assert_ne!(secret.secret_bytes(), server.secret.secret_bytes(), "byte {changed}");
        }
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        let good = Hybrid.start().unwrap().pub_key().to_vec();
        for len in [0, 1, 32, KEY - 1, KEY, KEY + 31, KEY + 33] {
            let share: Vec<u8> = good.iter().copied().cycle().take(len).collect();
            assert!(Hybrid.start_and_complete(&share).is_err(), "{len} bytes");
        }
        // A coefficient that is not below 3329.
        let mut above = good.clone();
        above[..3].fill(0xff);
        assert!(Hybrid.start_and_complete(&above).is_err());
        // A point of small order.
        let mut zero = good;
        zero[KEY..].fill(0);
        assert!(Hybrid.start_and_complete(&zero).is_err());
        for len in [0, CIPHERTEXT - 1, CIPHERTEXT, CIPHERTEXT + 31, CIPHERTEXT + 33] {
            assert!(Hybrid.start().unwrap().complete(&vec![1; len]).is_err(), "{len} bytes");
        }
    }
}
