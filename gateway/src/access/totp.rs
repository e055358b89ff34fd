//! Codes that change every half minute (RFC 6238, with SHA-1 and six digits, which is what all programs for phones know).
//!
//! The HMAC is `ring`'s; around it stand ten lines (RFC 4226, section 5.3).

use data_encoding::BASE32_NOPAD;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use subtle::ConstantTimeEq as _;

/// Seconds that a code is of.
const STEP_S: u64 = 30;
/// Bytes of a secret: as many as SHA-1 has.
const SECRET: usize = 20;

/// A new secret, as text.
pub(crate) fn secret() -> Option<String> {
    let mut secret = [0; SECRET];
    SystemRandom::new().fill(&mut secret).ok()?;
    Some(BASE32_NOPAD.encode(&secret))
}

/// What a phone reads from a QR code.
pub(crate) fn uri(account: &str, secret: &str) -> String {
    format!(
        "otpauth://totp/Glassgate:{account}?secret={secret}&issuer=Glassgate&algorithm=SHA1&digits=6&period=30"
    )
}

/// The step that a moment is in, seconds since 1970.
pub(crate) const fn step(unix_s: u64) -> u64 {
    unix_s / STEP_S
}

/// The step that this code is of, if it is of this moment's or a neighbour of it, and later than the last that was used. All three are computed
/// whatever is found.
pub(crate) fn check(secret: &str, code: &str, unix_s: u64, used: Option<u64>) -> Option<u64> {
    let key = key(secret)?;
    let now = step(unix_s);
    let mut found = None;
    for step in [now.saturating_sub(1), now, now.saturating_add(1)] {
        let is = bool::from(at(&key, step).as_bytes().ct_eq(code.as_bytes()));
        if is && used.is_none_or(|used| step > used) {
            found = Some(step);
        }
    }
    found
}

/// The code of a moment.
#[cfg(test)]
pub(crate) fn code(secret: &str, unix_s: u64) -> String {
    at(&key(secret).unwrap(), step(unix_s))
}

fn key(secret: &str) -> Option<hmac::Key> {
    let secret = BASE32_NOPAD.decode(secret.as_bytes()).ok()?;
    Some(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret))
}

fn at(key: &hmac::Key, step: u64) -> String {
    let tag = hmac::sign(key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    let offset = usize::from(bytes.last().copied().unwrap_or_default() & 15);
    let four = bytes.iter().skip(offset).take(4).fold(0_u32, |n, byte| n << 8 | u32::from(*byte));
    format!("{:06}", (four & 0x7fff_ffff) % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238, appendix B: `12345678901234567890`.
    const RFC: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn codes_of_the_rfc() {
        for (at, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(super::code(RFC, at), code);
            assert_eq!(check(RFC, code, at, None), Some(step(at)));
        }
    }

    #[test]
    fn a_code_is_good_once_and_for_its_neighbours_time() {
        let secret = secret().unwrap();
        assert_eq!(secret.len(), 32);
        let now = 1_800_000_000;
        let code = code(&secret, now);
        for (at, good) in [(now - 60, false), (now - 30, true), (now + 30, true), (now + 60, false)] {
            assert_eq!(check(&secret, &code, at, None).is_some(), good, "{at}");
        }
        assert_eq!(check(&secret, &code, now, Some(step(now))), None, "a second time");
        assert_eq!(check(&secret, &code, now, Some(step(now) + 1)), None, "after a later one");
        for wrong in ["", "12345", "1234567", "abcdef", &format!("{code} ")] {
            assert_eq!(check(&secret, wrong, now, None), None, "{wrong}");
        }
        assert_eq!(check("no base 32!", &code, now, None), None);
        assert!(uri("li.wei", &secret).contains(&secret));
    }
}
