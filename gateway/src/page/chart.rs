//! Drawings of the page, as inline SVG. Sizes stand in attributes, because the policy of the page forbids inline styles.

use crate::control::snapshot::Point;
use maud::{Markup, html};
use std::fmt::Write as _;

/// Seconds across.
const SECONDS: usize = 120;
/// Half the height: traffic up is drawn above the middle, traffic down below it.
const HALF: f64 = 50.0;

/// The greatest value of a chart, rounded up to 1, 2 or 5 times a power of ten, so that the scale rarely moves.
pub(super) fn scale(history: &[Point]) -> f64 {
    let top = history.iter().fold(0.0f64, |top, p| top.max(p.up_bits).max(p.down_bits)).max(1000.0);
    let power = 10f64.powf(top.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|s| *s >= top).unwrap_or(top)
}

/// Bits per second of the last two minutes: up above the line, down below it, now at the right.
pub(super) fn traffic(history: &[Point], scale: f64, label: &str) -> Markup {
    let first = SECONDS.saturating_sub(history.len());
    let line = |value: fn(&Point) -> f64, towards: f64| {
        let mut path = String::new();
        for (i, point) in history.iter().take(SECONDS).enumerate() {
            let height = HALF * (value(point) / scale).clamp(0.0, 1.0);
            let command = if i == 0 { 'M' } else { 'L' };
            _ = write!(path, "{command}{} {:.1}", first + i, HALF + towards * height);
        }
        path
    };
    // The line, closed along the middle.
    let last = first + history.len().clamp(1, SECONDS) - 1;
    let area = |line: &str| {
        if line.is_empty() { String::new() } else { format!("{line}L{last} {HALF}L{first} {HALF}Z") }
    };
    let (up, down) = (line(|p| p.up_bits, -1.0), line(|p| p.down_bits, 1.0));
    html! {
        svg .traffic viewBox="0 0 119 100" preserveAspectRatio="none" role="img"
            aria-label=(label) {
            @for x in [30, 60, 90] { line .grid x1=(x) x2=(x) y1="0" y2="100" {} }
            @for y in [25, 75] { line .grid x1="0" x2="119" y1=(y) y2=(y) {} }
            path .up .area d=(area(&up)) {}
            path .down .area d=(area(&down)) {}
            path .up d=(up) {}
            path .down d=(down) {}
            line .axis x1="0" x2="119" y1="50" y2="50" {}
        }
    }
}

/// A bar of `part` in `whole`.
pub(super) fn bar(part: f64, whole: f64, class: &str) -> Markup {
    let share = if whole > 0.0 { (100.0 * part / whole).clamp(0.0, 100.0) } else { 0.0 };
    // What is there is seen, however little it is.
    let width = if part > 0.0 { share.max(0.8) } else { 0.0 };
    html! {
        svg .bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect .track width="100" height="8" {}
            rect class=(class) width=(format!("{width:.2}")) height="8" {}
        }
    }
}

/// A bar of several parts that make a whole: class and size of each.
pub(super) fn parts(label: &str, parts: &[(String, u64)]) -> Markup {
    let whole: u64 = parts.iter().map(|(_, n)| n).sum();
    let mut at = 0.0;
    html! {
        svg .parts viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect .track width="100" height="10" {}
            @for (class, n) in parts.iter().filter(|(_, n)| *n > 0) {
                @let width = 100.0 * *n as f64 / whole.max(1) as f64;
                rect class=(class) x=(format!("{at:.3}")) width=(format!("{width:.3}")) height="10" {}
                ({ at += width; "" })
            }
        }
    }
}

/// The mark: a gate of glass that light passes through.
pub(super) fn mark() -> Markup {
    html! {
        svg .mark viewBox="0 0 32 32" aria-hidden="true" {
            rect .pane x="5" y="4" width="22" height="24" rx="3" {}
            path .beam d="M1 16h30" {}
            path .post d="M16 4v24" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(up_bits: f64, down_bits: f64) -> Point {
        Point { up_bits, down_bits, ..Point::default() }
    }

    #[test]
    fn scales_are_round() {
        for (top, expected) in
            [(0.0, 1e3), (999.0, 1e3), (1001.0, 2e3), (2.4e9, 5e9), (5e9, 5e9), (6e9, 1e10)]
        {
            assert_eq!(scale(&[point(1.0, top)]), expected, "{top}");
        }
    }

    #[test]
    fn nothing_breaks_on_odd_numbers() {
        for history in [vec![], vec![point(1.0, 0.0)], vec![point(f64::MAX, -1.0); 500]] {
            let drawn = traffic(&history, scale(&history), "").into_string();
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        }
        assert!(bar(0.0, 0.0, "x").into_string().contains("width=\"0.00\""));
        assert!(parts("nothing", &[]).into_string().contains("track"));
    }
}
