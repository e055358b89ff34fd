//! The words of messages: short, of few characters, checked where they are read. Both sides read with the same types.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest key, and the longest label in characters.
pub const MAX_WORD: usize = 64;

/// Why a word is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWord {
    /// A key.
    #[error("a key has 1 to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`")]
    Key,
    /// A label.
    #[error("a label has 1 to 64 characters, none of them a control character")]
    Label,
    /// The name of a site.
    #[error("the name of a site has 1 to 32 of a-z, 0-9 and `-`, and begins with a letter")]
    Site,
    /// A log.
    #[error("a log is named by 32 hexadecimal digits")]
    Log,
    /// A digest.
    #[error("a digest has 64 hexadecimal digits")]
    Digest,
    /// A moment.
    #[error("not a moment such as 2027-01-11T09:00:00Z")]
    Time,
    /// A range of people.
    #[error("not a range of people such as `10-19` or `1000 or more`")]
    People,
    /// Too many of them.
    #[error("more than 64 words in one map")]
    TooMany,
}

/// A text that was checked when it was made.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident, $why:expr, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Reads it.
            pub fn new(text: &str) -> Result<Self, BadWord> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) { Ok(Self(text.to_owned())) } else { Err($why) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadWord;

            fn from_str(text: &str) -> Result<Self, BadWord> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

fn hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

checked!(
    /// A word that a program made: a category, a service, a cause, a version.
    Key,
    BadWord::Key,
    |text| (1..=MAX_WORD).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
);
checked!(
    /// A word that the company made: a group.
    Label,
    BadWord::Label,
    |text| !text.is_empty()
        && text.chars().take(MAX_WORD + 1).count() <= MAX_WORD
        && !text.chars().any(char::is_control)
);
checked!(
    /// The name of a site: one gateway and the server beside it. Part of subjects, of streams and of certificates.
    Site,
    BadWord::Site,
    |text| (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
checked!(
    /// A log, by the SHA-256 of its public key: a log that is begun anew under the same name is another one.
    LogId,
    BadWord::Log,
    |text| hex(text, 32)
);
checked!(
    /// A SHA-256.
    Digest,
    BadWord::Digest,
    |text| hex(text, 64)
);

impl LogId {
    /// Of a log's public key, as its `key.pub` says it.
    pub fn of(key: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, key.trim_end().as_bytes());
        Self(digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Digest {
    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        Self(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A moment, in the one form in which messages write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub jiff::Timestamp);

impl Moment {
    /// Seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.as_second()
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let short = (text.len() <= 40).then(|| text.parse().ok()).flatten();
        short.map(Self).ok_or_else(|| serde::de::Error::custom(BadWord::Time))
    }
}

/// A number of people as records say it: a range with fixed ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct People {
    /// As many at least.
    pub from: u32,
    /// As many at most.
    pub to: Option<u32>,
}

impl People {
    /// Reads `10-19` or `1000 or more`.
    pub fn new(text: &str) -> Result<Self, BadWord> {
        let number = |text: &str| {
            let plain = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| text.parse::<u32>().ok()).flatten().ok_or(BadWord::People)
        };
        let read = match (text.strip_suffix(" or more"), text.split_once('-')) {
            (Some(from), _) => Self { from: number(from)?, to: None },
            (None, Some((from, to))) => Self { from: number(from)?, to: Some(number(to)?) },
            (None, None) => return Err(BadWord::People),
        };
        if read.to.is_some_and(|to| to < read.from) { Err(BadWord::People) } else { Ok(read) }
    }
}

impl fmt::Display for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            Some(to) => write!(f, "{}-{to}", self.from),
            None => write!(f, "{} or more", self.from),
        }
    }
}

impl Serialize for People {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for People {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// Shares in per cent, by word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares(std::collections::BTreeMap<Key, u64>);

impl Shares {
    /// Each with its word.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(word, share)| (word.as_str(), *share))
    }
}

impl Serialize for Shares {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<Key, u64>::deserialize(deserializer)?;
        let few = map.len() <= MAX_WORD && map.values().all(|share| *share <= 100);
        if few { Ok(Self(map)) } else { Err(serde::de::Error::custom(BadWord::TooMany)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_few_characters_and_an_end() {
        assert!(Site::new("plant-7").is_ok());
        for bad in ["", "7plant", "a.b", "a*", "a>", "A", "a b", &"a".repeat(33)] {
            assert_eq!(Site::new(bad), Err(BadWord::Site), "{bad}");
        }
        assert!(
            Key::new("boss-zhipin").is_ok() && Key::new("a b").is_err() && Key::new(&"k".repeat(65)).is_err()
        );
        assert!(
            Label::new("研发 二部").is_ok()
                && Label::new("a\nb").is_err()
                && Label::new(&"组".repeat(65)).is_err()
        );
        assert_eq!(LogId::of("a\n"), LogId::of("a"));
        assert_eq!(LogId::new(LogId::of("a").as_str()), Ok(LogId::of("a")));
    }

    #[test]
    fn ranges_of_people_are_read_as_they_are_written() {
        for text in ["10-19", "7-9", "1000 or more"] {
            assert_eq!(People::new(text).unwrap().to_string(), text);
        }
        for bad in ["", "10", "9-7", "-", "1e3-2000", "+1-2", "4294967296-9999999999", "x or more"] {
            assert_eq!(People::new(bad), Err(BadWord::People), "{bad}");
        }
    }
}
