//! Bytes that can be told from all others: random, and known by their SHA-256.

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};

/// Largest payload, bytes.
pub const MAX: usize = 8 << 20;

/// `size` random bytes, made anew on each start: no copy of an earlier run can be mistaken for them.
pub fn random(size: usize) -> anyhow::Result<Bytes> {
    let mut bytes = vec![0; size];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(bytes.into())
}

/// The SHA-256 of the parts, one after the other, in hexadecimal.
pub fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_the_one_of_fips_180_4() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256([b"abc".as_slice()]), abc);
        assert_eq!(sha256([b"a".as_slice(), b"bc"]), abc);
    }
}
