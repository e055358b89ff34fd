//! Numbers as people read them.

/// A count with thousands apart: `12 345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            // A narrow space that does not break.
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A number with a unit prefix: `1.5 M`.
fn prefixed(value: f64, unit: &str) -> String {
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match steps.iter().find(|(size, _)| value >= *size) {
        // A space that does not break.
        Some((size, prefix)) => format!("{:.1}\u{a0}{prefix}{unit}", value / size),
        None => format!("{value:.0}\u{a0}{unit}"),
    }
}

/// Bits per second.
pub(super) fn bits(value: f64) -> String {
    prefixed(value, "bit/s")
}

/// A rate without its unit.
pub(super) fn rate(value: f64) -> String {
    if value < 10.0 && value > 0.0 { format!("{value:.1}") } else { count(value.max(0.0) as u64) }
}

/// Bytes.
pub(crate) fn bytes(value: u64) -> String {
    prefixed(value as f64, "B")
}

/// A share of a whole, in percent.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "–".to_owned() } else { format!("{:.1}\u{a0}%", 100.0 * part as f64 / whole as f64) }
}

/// Nanoseconds, in the unit that keeps the number short.
pub(crate) fn short_time(ns: Option<u64>) -> String {
    match ns {
        None => "–".to_owned(),
        Some(u64::MAX) => "over 4 s".to_owned(),
        Some(ns @ 0..1_000) => format!("{ns} ns"),
        Some(ns @ 1_000..1_000_000) => format!("{:.1} µs", ns as f64 / 1e3),
        Some(ns @ 1_000_000..1_000_000_000) => format!("{:.1} ms", ns as f64 / 1e6),
        Some(ns) => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// A time span.
pub(crate) fn span(ms: u64) -> String {
    let s = ms / 1000;
    if (1..1000).contains(&ms) {
        return format!("{ms} ms");
    }
    match (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_read_them() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(bits(2_400_000_000.0), "2.4\u{a0}Gbit/s");
        assert_eq!(bytes(999), "999\u{a0}B");
        assert_eq!(percent(1, 8), "12.5\u{a0}%");
        assert_eq!(percent(0, 0), "–");
        assert_eq!([rate(0.0), rate(1.96), rate(1234.5)], ["0", "2.0", "1\u{202f}234"]);
        assert_eq!(span(3_725_000), "1 h 2 min");
        let times =
            [Some(256), Some(1_280), Some(2_097_152), Some(1 << 31), Some(u64::MAX), None].map(short_time);
        assert_eq!(times, ["256 ns", "1.3 µs", "2.1 ms", "2.1 s", "over 4 s", "–"]);
    }
}
