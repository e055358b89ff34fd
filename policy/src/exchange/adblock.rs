//! Rules of ad blockers (Adblock Plus, uBlock Origin, AdGuard). What means a whole host is read: `||host^`, and
//! `|host^` of AdGuard's DNS filters, which is the host alone.

use super::Skip;
use super::sink::{Line, Sink};
use crate::signature::Scope;

/// Modifiers that do not narrow a rule.
const WIDE: [&str; 4] = ["important", "all", "document", "doc"];
/// What separates the pages from the selector in a cosmetic rule.
const COSMETIC: [&str; 6] = ["##", "#@#", "#?#", "#$#", "#%#", "$$"];

pub(super) fn read(sink: &mut Sink, line: Line<'_>) {
    let text = line.text.trim();
    let is_header = text.starts_with('[') && text.ends_with(']');
    if text.starts_with('!') || is_header {
        return;
    }
    if COSMETIC.iter().any(|mark| text.contains(mark)) {
        sink.counted();
        return sink.skip(line, text, Skip::Cosmetic);
    }
    if text.starts_with('#') {
        return;
    }
    sink.counted();
    if text.starts_with("@@") {
        return sink.skip(line, text, Skip::Exception);
    }
    if text.len() > 1 && text.starts_with('/') && text.ends_with('/') {
        return sink.skip(line, text, Skip::Regexp);
    }
    let (rest, scope) = match (text.strip_prefix("||"), text.strip_prefix('|')) {
        (Some(rest), _) => (rest, Scope::Suffix),
        (None, Some(rest)) => (rest, Scope::Exact),
        (None, None) => return sink.skip(line, text, Skip::Pattern),
    };
    let Some((host, after)) = rest.split_once('^') else {
        let kind = if rest.contains('/') { Skip::Url } else { Skip::Pattern };
        return sink.skip(line, text, kind);
    };
    if host.contains("//") || host.contains('/') {
        return sink.skip(line, text, Skip::Url);
    }
    if host.contains('*') {
        return sink.skip(line, text, Skip::Pattern);
    }
    match after.strip_prefix('$') {
        Some(modifiers) if modifiers.split(',').all(|m| WIDE.contains(&m)) => {}
        Some(_) => return sink.skip(line, text, Skip::Modifier),
        None if after.is_empty() || after == "|" => {}
        None => return sink.skip(line, text, Skip::Url),
    }
    sink.name(line, host, scope, "");
}
