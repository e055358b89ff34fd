//! Passwords: argon2id (RFC 9106), and what is refused as one.
//!
//! A hash takes 46 MiB and about a tenth of a second, on a thread that the page does not wait on. So whoever computes them is
//! counted: see [`super::Access`].

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Characters that a password has at least, and at most.
pub(crate) const LENGTH: std::ops::RangeInclusive<usize> = 15..=128;
/// KiB, passes, lanes. OWASP asks for 46 MiB and one pass or more.
const COST: (u32, u32, u32) = (47_104, 2, 1);
/// Characters that must remain once what everybody tries first is taken out.
const OWN: usize = 8;
/// Different characters that there must be.
const DIFFERENT: usize = 6;
/// What everybody tries first.
const COMMON: [&str; 20] = [
    "glassgate",
    "gateway",
    "password",
    "passwort",
    "passw0rd",
    "administrator",
    "admin",
    "welcome",
    "letmein",
    "changeme",
    "default",
    "secret",
    "login",
    "root",
    "user",
    "test",
    "qwerty",
    "correcthorsebatterystaple",
    "iloveyou",
    "mima",
];
/// Ways that fingers go over a keyboard.
const ROWS: [&str; 7] = [
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1234567890",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv",
];

/// Why a text can't be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weak {
    Short,
    Long,
    Common,
    Repeats,
}

impl Weak {
    /// In words.
    pub(crate) const fn en(self) -> &'static str {
        match self {
            Self::Short => {
                "it has fewer than 15 characters: take a few words that belong together for nobody else"
            }
            Self::Long => "it has more than 128 characters",
            Self::Common => {
                "little of it is left without the name of the account, of this product, and what everybody tries first"
            }
            Self::Repeats => "it repeats itself, or follows the alphabet or the keyboard",
        }
    }

    /// In Chinese.
    pub(crate) const fn zh(self) -> &'static str {
        match self {
            Self::Short => "不足 15 个字符：可用几个只有您会放在一起的词",
            Self::Long => "超过 128 个字符",
            Self::Common => "除去账户名、产品名和最常见的密码后，所剩无几",
            Self::Repeats => "存在重复，或按字母、键盘顺序排列",
        }
    }
}

/// Whether a text may be the password of this account. No rule says which sorts of characters it must have.
pub(crate) fn check(password: &str, account: &str) -> Result<(), Weak> {
    let length = password.chars().count();
    if length < *LENGTH.start() {
        return Err(Weak::Short);
    }
    if length > *LENGTH.end() {
        return Err(Weak::Long);
    }
    let lower = password.to_lowercase();
    let letters: Vec<char> = lower.chars().collect();
    let different: std::collections::BTreeSet<char> = letters.iter().copied().collect();
    if different.len() < DIFFERENT || is_periodic(&letters) || follows(&letters) > length / 2 {
        return Err(Weak::Repeats);
    }
    let parts = account.split(['.', '-', '_']).chain([account]).map(str::to_lowercase);
    let mut words: Vec<String> = parts.filter(|part| part.len() > 2).collect();
    words.extend(COMMON.map(str::to_owned));
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let own = words.iter().fold(lower, |left, word| left.replace(word.as_str(), ""));
    if own.chars().filter(|c| c.is_alphanumeric()).count() < OWN {
        return Err(Weak::Common);
    }
    Ok(())
}

/// Whether it is a piece of at most half its length, over and over.
fn is_periodic(letters: &[char]) -> bool {
    (1..=letters.len() / 2).any(|period| letters.iter().skip(period).zip(letters).all(|(a, b)| a == b))
}

/// How many characters are what comes after the one before: the same, its neighbour in the alphabet, or on the keyboard.
fn follows(letters: &[char]) -> usize {
    let neighbours = |a: char, b: char| {
        let step = (a as i64 - b as i64).abs();
        step <= 1
            || ROWS.iter().any(|row| {
                let at = |c| row.chars().position(|other| other == c);
                at(a).zip(at(b)).is_some_and(|(a, b)| a.abs_diff(b) == 1)
            })
    };
    letters.iter().zip(letters.iter().skip(1)).filter(|(a, b)| neighbours(**a, **b)).count()
}

/// What is kept of a password: algorithm, cost, salt and hash in one string.
pub(crate) fn hash(password: &str) -> Option<String> {
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).ok()?;
    let salt = SaltString::encode_b64(&salt).ok()?;
    Some(argon2()?.hash_password(password.as_bytes(), &salt).ok()?.to_string())
}

/// Whether it is the password of that hash. Takes the same time whatever it is; a hash that is none takes no time.
pub(crate) fn is(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    argon2().is_some_and(|argon2| argon2.verify_password(password.as_bytes(), &hash).is_ok())
}

fn argon2() -> Option<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(memory, passes, lanes, None).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_argon2id_with_a_salt_of_its_own() {
        let (a, b) = (hash("three ships in one bottle").unwrap(), hash("three ships in one bottle").unwrap());
        assert!(a.starts_with("$argon2id$v=19$m=47104,t=2,p=1$"), "{a}");
        let salt = a.split('$').nth(4).unwrap();
        assert_eq!(salt.len(), 22, "16 bytes");
        assert_ne!(a, b);
        assert!(is("three ships in one bottle", &a) && is("three ships in one bottle", &b));
        assert!(!is("three ships in one bottlE", &a) && !is("", &a) && !is("x", "no hash"));
    }

    #[test]
    fn what_is_no_password() {
        for (password, why) in [
            ("fourteen chars", Weak::Short),
            ("一二三四五六七八九十一二三四", Weak::Short),
            ("aaaaaaaaaaaaaaaaaaaa", Weak::Repeats),
            ("kohlrabikohlrabikohl", Weak::Repeats),
            ("abcdefghijklmnopqrst", Weak::Repeats),
            ("qwertyuiopasdfghjkl", Weak::Repeats),
            ("1q2w3e4r5t6y7u8i9o0p", Weak::Repeats),
            ("98765432109876543210", Weak::Repeats),
            ("Glassgate-Password-1", Weak::Common),
            ("Li.WeiliweiGlassgate", Weak::Common),
            ("correcthorsebatterystaple", Weak::Common),
        ] {
            assert_eq!(check(password, "li.wei"), Err(why), "{password}");
        }
        assert_eq!(check(&"kettle drum ".repeat(11), "li.wei"), Err(Weak::Long));
        for good in ["three ships in one bottle", "纸船在雨里走了很远很远的路才到家", "Tr0ub4dor&3-horse!"]
        {
            assert_eq!(check(good, "li.wei"), Ok(()), "{good}");
        }
    }
}
