//! A name a line; `#` begins a comment, and a name may have a wildcard label or a dot in front.

use super::Skip;
use super::sink::{Line, Sink};
use crate::signature::Scope;

pub(super) fn read(sink: &mut Sink, line: Line<'_>) {
    let text = before_comment(line.text);
    if text.is_empty() {
        return;
    }
    sink.counted();
    if text.contains("://") || text.contains('/') {
        return sink.skip(line, text, Skip::Url);
    }
    let (name, scope) = match text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
        Some(name) => (name, Scope::Suffix),
        None => (text, sink.scope),
    };
    sink.name(line, name, scope, "");
}

/// What stands before `#`, without white space around it.
pub(super) fn before_comment(text: &str) -> &str {
    text.split_once('#').map_or(text, |(before, _)| before).trim()
}
