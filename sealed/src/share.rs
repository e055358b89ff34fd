//! A secret in three shares, any two of which make it whole; one alone says nothing about it.
//!
//! For each of the three pairs of holders the secret stands under a pad of its own: one of the pair has the pad, the other
//! the secret under it. Each holder is in two pairs and so has two halves. That is a one-time pad three times over, which needs no
//! arithmetic of finite fields and can be checked by reading it; for three holders it costs 64 bytes a share instead of 32.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{NoRandomness, Secret};

/// How many holders there are.
pub const HOLDERS: usize = 3;
/// Bytes of a share.
pub const SIZE: usize = 65;

/// What one holder has of a secret.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Share {
    /// Which of the three, from 0.
    holder: u8,
    /// The pad of the pair with the next holder.
    pad: [u8; 32],
    /// The secret under the pad of the holder before.
    padded: [u8; 32],
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share of holder {}", self.holder)
    }
}

/// Splits a secret.
pub fn split(secret: &Secret) -> Result<[Share; HOLDERS], NoRandomness> {
    let pads = [Secret::random()?, Secret::random()?, Secret::random()?];
    let [first, second, third] = &pads;
    let share = |holder, own: &Secret, before: &Secret| Share {
        holder,
        pad: own.0,
        padded: xor(&secret.0, &before.0),
    };
    Ok([share(0, first, third), share(1, second, first), share(2, third, second)])
}

/// The secret of two shares. `None` if they are of the same holder. Shares of different secrets give bytes that mean
/// nothing: who has them must know a secret when they see it.
pub fn combine(one: &Share, other: &Share) -> Option<Secret> {
    let next = |holder: u8| (holder + 1) % HOLDERS as u8;
    if next(one.holder) == other.holder {
        Some(Secret(xor(&one.pad, &other.padded)))
    } else if next(other.holder) == one.holder {
        Some(Secret(xor(&other.pad, &one.padded)))
    } else {
        None
    }
}

impl Share {
    /// Which of the three holders it is of, from 0.
    pub fn holder(&self) -> usize {
        usize::from(self.holder)
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> zeroize::Zeroizing<Vec<u8>> {
        zeroize::Zeroizing::new([&[self.holder][..], &self.pad, &self.padded].concat())
    }

    /// Reads what [`Share::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (holder, halves) = bytes.split_first()?;
        let (pad, padded) = halves.split_at_checked(32)?;
        let is_one = usize::from(*holder) < HOLDERS;
        is_one.then_some(Self { holder: *holder, pad: pad.try_into().ok()?, padded: padded.try_into().ok()? })
    }
}

fn xor(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    let mut out = *one;
    out.iter_mut().zip(other).for_each(|(to, from)| *to ^= from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_make_it_whole_and_one_does_not() {
        let secret = Secret::random().unwrap();
        let shares = split(&secret).unwrap();
        for (i, one) in shares.iter().enumerate() {
            for (j, other) in shares.iter().enumerate() {
                let found = combine(one, other);
                assert_eq!(found.map(|found| found.0), (i != j).then_some(secret.0), "{i} {j}");
            }
            assert_eq!(Share::from_bytes(&one.to_bytes()).as_ref(), Some(one));
            // Neither half is the secret, and the two of one holder together are not.
            let both = xor(&one.pad, &one.padded);
            assert!([one.pad, one.padded, both].iter().all(|bytes| *bytes != secret.0));
        }
        let another = split(&Secret::random().unwrap()).unwrap();
        assert_ne!(combine(&shares[0], &another[1]).unwrap().0, secret.0);
    }

    #[test]
    fn one_share_fits_every_secret() {
        // For whatever secret there are shares of the two others with which this one makes it: it says nothing by itself.
        let share = split(&Secret::random().unwrap()).unwrap()[0].clone();
        for byte in 0..=255u8 {
            let wished = [byte; 32];
            let next = Share { holder: 1, pad: [0; 32], padded: xor(&wished, &share.pad) };
            let last = Share { holder: 2, pad: xor(&wished, &share.padded), padded: [0; 32] };
            assert_eq!(combine(&share, &next).unwrap().0, wished);
            assert_eq!(combine(&last, &share).unwrap().0, wished);
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        let bytes = split(&Secret::random().unwrap()).unwrap()[0].to_bytes();
        for bad in [&bytes[..64], &[&bytes[..], &[0]].concat(), &[], &[3; SIZE]] {
            assert_eq!(Share::from_bytes(bad), None, "{}", bad.len());
        }
    }
}
