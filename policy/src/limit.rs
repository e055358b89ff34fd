//! Limits: at what rate the flows that a verdict limits may send, and who shares it.

use std::fmt;

use crate::vocab::coded;

/// A rate in bits per second, between [`Rate::MIN`] and [`Rate::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// Why a text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRate {
    /// Not a number and a unit.
    #[error("write a number and a unit, such as `2 Mbit/s`; units are bit/s, kbit/s, Mbit/s and Gbit/s")]
    Shape,
    /// Bytes, which nobody measures links in.
    #[error("rates are in bits: a byte is 8 of them, and `M` is a million; write `{} kbit/s`", .0 / 1000)]
    Bytes(u64),
    /// Out of bounds.
    #[error("rates are {} to {}", Rate::MIN, Rate::MAX)]
    Range,
}

coded! {
    /// Who shares the rate of a limit.
    pub enum Per {
        /// All flows that the rule decides about, together.
        Rule = 0 => "rule",
        /// Each group has the rate for itself.
        Group = 1 => "group",
        /// Each category has the rate for itself.
        Category = 2 => "category",
        /// Each device, that is each client address, has the rate for itself.
        Device = 3 => "device",
    }
}

/// What the action `limit` limits to: in each direction, so much for each of those who share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// The rate, of frames as they are on the wire, from the Ethernet header on.
    pub rate: Rate,
    /// Who shares it.
    pub per: Per,
}

/// The most limits of a verdict matrix, which is the most rules with `limit` in a file.
pub const MAX_LIMITS: usize = 255;

/// The number of a limit in a verdict matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitId(pub u8);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per {
            Per::Rule => self.rate.fmt(f),
            per => write!(f, "{} per {per}", self.rate),
        }
    }
}

impl Rate {
    /// A frame of 1500 bytes takes 1.5 seconds: below that, TCP gives up rather than slow down.
    pub const MIN: Self = Self(8_000);
    /// Faster than any port.
    pub const MAX: Self = Self(400_000_000_000);

    /// A rate of so many bits per second; the nearest that is in bounds.
    pub fn new(bits_per_second: u64) -> Self {
        Self(bits_per_second.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// Reads a number with at most three decimals and a unit: `2 Mbit/s`, `1.5 Gbit/s`, `64kbit/s`.
    pub fn parse(text: &str) -> Result<Self, BadRate> {
        let text = text.trim();
        let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, unit) = text.split_at_checked(digits).ok_or(BadRate::Shape)?;
        let thousandths = thousandths(number).ok_or(BadRate::Shape)?;
        let (factor, bytes) = match unit.trim_start() {
            "bit/s" => (1, false),
            "kbit/s" => (1_000, false),
            "Mbit/s" => (1_000_000, false),
            "Gbit/s" => (1_000_000_000, false),
            "B/s" => (8, true),
            "kB/s" | "KB/s" => (8_000, true),
            "MB/s" => (8_000_000, true),
            "GB/s" => (8_000_000_000, true),
            _ => return Err(BadRate::Shape),
        };
        let bits = thousandths.checked_mul(factor).ok_or(BadRate::Range)? / 1000;
        if bytes {
            return Err(BadRate::Bytes(bits));
        }
        if (Self::MIN.0..=Self::MAX.0).contains(&bits) { Ok(Self(bits)) } else { Err(BadRate::Range) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s"), (1, "bit/s")];
        let fits = |unit: u64| {
            self.0.is_multiple_of(unit) || self.0 >= unit && (self.0 % unit).is_multiple_of(unit / 1000)
        };
        let (unit, word) = units.into_iter().find(|(unit, _)| fits(*unit)).unwrap_or((1, "bit/s"));
        let (whole, rest) = (self.0 / unit, self.0 % unit);
        if rest == 0 {
            return write!(f, "{whole} {word}");
        }
        let decimals = format!("{:03}", rest * 1000 / unit);
        write!(f, "{whole}.{} {word}", decimals.trim_end_matches('0'))
    }
}

/// A decimal number in thousandths.
fn thousandths(number: &str) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if decimals.is_empty() || decimals.len() > 3 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let decimals: u64 = format!("{decimals:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(decimals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_as_people_write_them() {
        let read = |text| Rate::parse(text).map(|rate| (rate.bits_per_second(), rate.to_string()));
        assert_eq!(read("2 Mbit/s"), Ok((2_000_000, "2 Mbit/s".into())));
        assert_eq!(read("64kbit/s"), Ok((64_000, "64 kbit/s".into())));
        assert_eq!(read("1.5 Gbit/s"), Ok((1_500_000_000, "1.5 Gbit/s".into())));
        assert_eq!(read(" 2500 kbit/s "), Ok((2_500_000, "2.5 Mbit/s".into())));
        assert_eq!(read("8001 bit/s"), Ok((8_001, "8.001 kbit/s".into())));
        for shapeless in [
            "",
            "2",
            "Mbit/s",
            "2 mbit/s",
            "2 Mbps",
            "1.2345 Mbit/s",
            "1. Mbit/s",
            ".5 Mbit/s",
            "-1 Mbit/s",
            "1e3 kbit/s",
            "2 Mbit/s x",
        ] {
            assert_eq!(read(shapeless), Err(BadRate::Shape), "{shapeless}");
        }
        assert_eq!(read("2 MB/s"), Err(BadRate::Bytes(16_000_000)));
        assert!(BadRate::Bytes(16_000_000).to_string().contains("16000 kbit/s"));
        for out in [
            "0 bit/s",
            "7.999 kbit/s",
            "401 Gbit/s",
            "99999999999999999999 bit/s",
            "18446744073709551 Gbit/s",
        ] {
            assert!(matches!(read(out), Err(BadRate::Range | BadRate::Shape)), "{out}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(bits in Rate::MIN.0..=Rate::MAX.0) {
            prop_assert_eq!(Rate::parse(&Rate(bits).to_string()), Ok(Rate(bits)));
        }

        #[test]
        fn any_text_is_a_rate_or_none(text in "\\PC{0,20}") {
            let _ = Rate::parse(&text);
        }
    }
}
