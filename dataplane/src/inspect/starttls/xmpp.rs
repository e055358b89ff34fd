//! A stream of XML whose client asks for TLS.

use super::{CAP, Step, begins};
use memchr::memmem;

pub(super) fn dialogue(stream: &[u8]) -> Step {
    const DECLARATION: &[u8] = b"<?xml ";
    const STREAM: &[u8] = b"<stream:stream";
    const REQUEST: &[u8] = b"<starttls";
    const END: &[u8] = b"</starttls>";
    let text_len = stream.iter().position(|b| !is_text(*b)).unwrap_or(stream.len());
    let text = stream.get(..text_len.min(CAP)).unwrap_or_default();
    let is_cut = text.len() == stream.len();
    // Short of what is searched for, text may go on; the first byte of TLS is none.
    let missing = if is_cut { Step::More(stream.len() + 1) } else { Step::NotThis };
    let opening = if begins(text, DECLARATION) {
        match memmem::find(text, b"?>") {
            Some(at) => skip_blanks(text, at + 2),
            None => return missing,
        }
    } else {
        0
    };
    let rest = text.get(opening..).unwrap_or_default();
    if !begins(rest, STREAM) {
        return Step::NotThis;
    }
    let Some(request) = memmem::find(rest, REQUEST) else { return missing };
    let request = opening + request;
    let inside = text.get(request..).unwrap_or_default();
    let Some(close) = inside.iter().position(|b| *b == b'>') else { return missing };
    let end = if inside.get(..close).is_some_and(|tag| tag.ends_with(b"/")) {
        close + 1
    } else {
        match memmem::find(inside, END) {
            Some(at) => at + END.len(),
            None => return missing,
        }
    };
    // Text after the request would mean that the server refused, and that the client goes on without.
    Step::Tls(skip_blanks(text, request + end))
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=0xff | b'\t' | b'\r' | b'\n')
}

fn skip_blanks(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|b| b.is_ascii_whitespace()).count()
}
