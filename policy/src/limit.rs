//! Limits: at what rate, or how much in an hour, a day or a week, the flows that a verdict limits may send, and who shares it.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use ring::digest::{Context, SHA256};

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

coded! {
    /// How long a quota is for.
    pub enum Every {
        /// From one full hour to the next.
        Hour = 1 => "hour",
        /// From midnight to midnight.
        Day = 2 => "day",
        /// From Monday to Monday.
        Week = 3 => "week",
    }
}

/// So many bytes in each hour, day or week: both ways together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Bytes, of frames as they are on the wire, from the Ethernet header on.
    pub amount: Amount,
    /// In what time.
    pub every: Every,
}

/// A number of bytes between [`Amount::MIN`] and [`Amount::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAmount {
    /// Not a number and a unit.
    #[error(
        "write a number and a unit, such as `5 GB`; units are MB, GB and TB, each a thousand of the one before"
    )]
    Shape,
    /// Out of bounds.
    #[error("amounts are {} to {}", Amount::MIN, Amount::MAX)]
    Range,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// The rate, in each direction.
    Rate(Rate),
    /// The amount.
    Quota(Quota),
}

/// What the actions `limit` and `quota` limit to: so much for each of those who share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// How much: of frames as they are on the wire, from the Ethernet header on.
    pub pace: Pace,
    /// Who shares it.
    pub per: Per,
}

/// What a limiter is known by, whatever its number in a matrix: what was counted goes on under the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitKey(pub u64);

/// The limit of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleLimit {
    /// The limit.
    pub limit: Limit,
    /// What was counted for it is found by this.
    pub key: LimitKey,
}

impl RuleLimit {
    /// The limit of a rule of that name. Its key is made of the name, of who shares the limit and what it is counted in: with another rate or
    /// amount it is the same.
    pub fn of(rule: &str, limit: Limit) -> Self {
        let every = match limit.pace {
            Pace::Rate(_) => 0,
            Pace::Quota(quota) => quota.every as u8,
        };
        let mut context = Context::new(&SHA256);
        context.update(&[every, limit.per as u8]);
        context.update(rule.as_bytes());
        let key = context.finish().as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { limit, key: LimitKey(key) }
    }
}

/// Which hour, day and week it is, in order of [`Every`]: numbers that change when one is over. Below [`WINDOWS`].
pub type Windows = [u16; 3];
/// How many windows are told apart: in so many hours, most of a year, none has the number of another.
pub const WINDOWS: u16 = 1 << 13;

/// The most limits of a verdict matrix, which is the most rules with `limit` in a file.
pub const MAX_LIMITS: usize = 255;

/// The number of a limit in a verdict matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitId(pub u8);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pace {
            Pace::Rate(rate) => rate.fmt(f)?,
            Pace::Quota(quota) => quota.fmt(f)?,
        }
        match self.per {
            Per::Rule => Ok(()),
            per => write!(f, " per {per}"),
        }
    }
}

/// Which hour, day and week it is, in a zone. When its clocks go back, the hour that comes twice is two.
pub fn windows_at(at: Timestamp, zone: &TimeZone) -> Windows {
    let zoned = at.to_zoned(zone.clone());
    let days = i64::from(zoned.date().duration_since(Date::constant(1970, 1, 1)).as_hours() as i32 / 24);
    // Some zones are half an hour beside the others.
    let minutes = i64::from(zoned.offset().seconds()).rem_euclid(3600);
    let hours = (at.as_second() + minutes).div_euclid(3600);
    // 1970 began on a Thursday.
    [hours, days, (days + 3).div_euclid(7)].map(|n| n.rem_euclid(i64::from(WINDOWS)) as u16)
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let article = if self.every == Every::Hour { "an" } else { "a" };
        write!(f, "{} {article} {}", self.amount, self.every)
    }
}

impl Quota {
    /// The window that it is in.
    pub fn window(&self, windows: &Windows) -> u16 {
        windows.get(self.every as usize - 1).map_or(0, |window| window % WINDOWS)
    }
}

impl Amount {
    /// Some pages.
    pub const MIN: Self = Self(1_000_000);
    /// A week at 1 Gbit/s.
    pub const MAX: Self = Self(75_000_000_000_000);

    /// So many bytes; the nearest that is in bounds.
    pub fn new(bytes: u64) -> Self {
        Self(bytes.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads a number with at most three decimals and a unit: `5 GB`, `1.5 TB`, `500MB`.
    pub fn parse(text: &str) -> Result<Self, BadAmount> {
        let text = text.trim();
        let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, unit) = text.split_at_checked(digits).ok_or(BadAmount::Shape)?;
        let thousandths = thousandths(number).ok_or(BadAmount::Shape)?;
        let factor: u64 = match unit.trim_start() {
            "MB" => 1_000,
            "GB" => 1_000_000,
            "TB" => 1_000_000_000,
            _ => return Err(BadAmount::Shape),
        };
        let bytes = thousandths.checked_mul(factor).ok_or(BadAmount::Range)?;
        if (Self::MIN.0..=Self::MAX.0).contains(&bytes) { Ok(Self(bytes)) } else { Err(BadAmount::Range) }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB")];
        units_of(f, self.0, &units)
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
        units_of(f, self.0, &units)
    }
}

/// A number in the largest unit in which it has no more than three decimals, or in the smallest.
fn units_of(f: &mut fmt::Formatter<'_>, n: u64, units: &[(u64, &str)]) -> fmt::Result {
    let fits =
        |unit: u64| n.is_multiple_of(unit) || n >= unit && (n % unit).is_multiple_of((unit / 1000).max(1));
    let found = units.iter().find(|(unit, _)| fits(*unit)).or(units.last());
    let (unit, word) = found.copied().unwrap_or((1, ""));
    let (whole, rest) = (n / unit, n % unit);
    if rest == 0 {
        return write!(f, "{whole} {word}");
    }
    let decimals = format!("{:03}", u128::from(rest) * 1000 / u128::from(unit));
    write!(f, "{whole}.{} {word}", decimals.trim_end_matches('0'))
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

    #[test]
    fn amounts_as_people_write_them() {
        let read = |text| Amount::parse(text).map(|amount| (amount.bytes(), amount.to_string()));
        assert_eq!(read("5 GB"), Ok((5_000_000_000, "5 GB".into())));
        assert_eq!(read("1.5TB"), Ok((1_500_000_000_000, "1.5 TB".into())));
        assert_eq!(read(" 1 MB "), Ok((1_000_000, "1 MB".into())));
        for shapeless in ["", "5", "GB", "5 gb", "5 GiB", "5 Gbit", "-1 GB", "1.2345 GB"] {
            assert_eq!(read(shapeless), Err(BadAmount::Shape), "{shapeless}");
        }
        for out in ["0 MB", "0.999 MB", "76 TB", "18446744073709551 TB"] {
            assert_eq!(read(out), Err(BadAmount::Range), "{out}");
        }
        let quota = Quota { amount: Amount::new(5_000_000_000), every: Every::Hour };
        assert_eq!(
            Limit { pace: Pace::Quota(quota), per: Per::Device }.to_string(),
            "5 GB an hour per device"
        );
        assert_eq!(quota.window(&[WINDOWS + 3, 1, 2]), 3);
    }

    #[test]
    fn days_begin_at_midnight_and_weeks_on_monday() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let at = |text: &str| windows_at(text.parse().unwrap(), &zone);
        // A Sunday and a Monday there, while it is Sunday in Greenwich.
        let (before, after) = (at("2027-01-10T15:59:59Z"), at("2027-01-10T16:00:00Z"));
        assert_eq!([0, 1, 2].map(|i| after[i] - before[i]), [1, 1, 1]);
        let later = at("2027-01-10T16:59:59Z");
        assert_eq!(after, later);
        assert_eq!(at("2027-01-17T15:59:59Z")[2], after[2]);
        assert!(before.iter().all(|window| *window < WINDOWS));
    }

    #[test]
    fn hours_are_those_of_the_clock_on_the_wall() {
        let hour = |at: &str, zone: &str| windows_at(at.parse().unwrap(), &TimeZone::get(zone).unwrap())[0];
        // 15:29:59 and 15:30:00 in Greenwich are 20:59:59 and 21:00:00 in Kolkata.
        let kolkata = ["2027-01-10T15:29:59Z", "2027-01-10T15:30:00Z", "2027-01-10T16:29:59Z"];
        let kolkata = kolkata.map(|at| hour(at, "Asia/Kolkata"));
        assert_eq!([kolkata[1] - kolkata[0], kolkata[2] - kolkata[1]], [1, 0]);
        // Clocks go back at 01:00 in Greenwich: 02:30 comes twice.
        let back = ["2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z"].map(|at| hour(at, "Europe/Berlin"));
        assert_eq!(back[1] - back[0], 1);
    }

    #[test]
    fn a_limit_is_known_by_its_rule_and_what_it_counts() {
        let quota = |amount, every, per| {
            RuleLimit::of("a", Limit { pace: Pace::Quota(Quota { amount: Amount::new(amount), every }), per })
                .key
        };
        let one = quota(5_000_000, Every::Day, Per::Device);
        assert_eq!(one, quota(6_000_000, Every::Day, Per::Device), "with another amount it goes on");
        let limit = Limit { pace: Pace::Rate(Rate::MIN), per: Per::Device };
        let others = [
            quota(5_000_000, Every::Week, Per::Device),
            quota(5_000_000, Every::Day, Per::Group),
            RuleLimit::of("a", limit).key,
            RuleLimit::of("b", limit).key,
        ];
        assert!(!others.contains(&one) && others[2] != others[3]);
    }

    proptest! {
        #[test]
        fn an_amount_that_is_shown_is_read_again(thousands in 1_000u64..75_000_000_000) {
            let amount = Amount::new(thousands * 1000);
            prop_assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
        }

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
