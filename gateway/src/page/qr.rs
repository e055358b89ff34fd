//! A text as a QR code, drawn inline: for a phone that takes the checkpoint elsewhere without a cable or a network.

use maud::{Markup, html};
use qrcodegen::{QrCode, QrCodeEcc};
use std::fmt::Write as _;

/// Light modules around it, as readers want it.
const QUIET: i32 = 4;

/// The code; nothing where the text is too long for one.
pub(super) fn draw(text: &str, label: &str) -> Markup {
    let Ok(code) = QrCode::encode_text(text, QrCodeEcc::Medium) else { return html! {} };
    let size = code.size();
    let mut path = String::new();
    for y in 0..size {
        let mut x = 0;
        while x < size {
            let run = (x..size).take_while(|x| code.get_module(*x, y)).count() as i32;
            if run > 0 {
                _ = write!(path, "M{} {}h{run}v1h-{run}z", x + QUIET, y + QUIET);
            }
            x += run.max(1);
        }
    }
    let side = size + 2 * QUIET;
    html! {
        svg .qr viewBox=(format!("0 0 {side} {side}")) role="img" aria-label=(label) shape-rendering="crispEdges" {
            rect .light width=(side) height=(side) {}
            path .dark d=(path) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_drawn_and_what_does_not_is_not() {
        let drawn = draw("glassgate/1\n7\nAAAA\n\n— x y\n", "checkpoint").into_string();
        assert!(drawn.contains("<path") && drawn.contains("viewBox=\"0 0 ") && !drawn.contains("style"));
        // The three finder patterns begin with seven dark modules in a row.
        assert!(drawn.contains("M4 4h7"), "{drawn}");
        assert_eq!(draw(&"x".repeat(5000), "").into_string(), "");
    }
}
