//! Options of dnsmasq that take domains: `address=/a.example/b.example/192.0.2.1`, `server=/a.example/`,
//! `local=/a.example/`. Each covers the domains and everything below; where the answer comes from says nothing.

use super::Skip;
use super::plain::before_comment;
use super::sink::{Line, Sink};
use crate::signature::Scope;

pub(super) fn read(sink: &mut Sink, line: Line<'_>) {
    // Of a file, `server=/example.com/#` means the usual server: only a `#` after white space begins a comment.
    let text = line.text.trim();
    if text.starts_with('#') {
        return;
    }
    let text = text.split_once(" #").or_else(|| text.split_once("\t#")).map_or(text, |(t, _)| t.trim_end());
    sink.counted();
    let Some((option, value)) = text.split_once('=') else {
        if before_comment(text).bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit()) {
            return sink.skip(line, text, Skip::Directive);
        }
        let message = "this is no option of dnsmasq".to_owned();
        return sink.fault(
            line,
            text,
            "no-option",
            message,
            "a line is `address=/DOMAIN/`, `server=/DOMAIN/` or `local=/DOMAIN/`",
        );
    };
    let value = value.trim();
    let is_list = matches!(option.trim(), "address" | "server" | "local");
    let Some(domains) = value.strip_prefix('/').filter(|_| is_list) else {
        return sink.skip(line, text, Skip::Directive);
    };
    let Some((domains, _target)) = domains.rsplit_once('/') else {
        let message = format!("no `/` ends the domain of `{value}`");
        return sink.fault(
            line,
            value,
            "no-slash",
            message,
            "write `address=/DOMAIN/` or `address=/DOMAIN/ADDRESS`",
        );
    };
    for domain in domains.split('/') {
        match domain.strip_prefix('.').unwrap_or(domain) {
            "#" => sink.skip(line, domain, Skip::TopLevel),
            "" => sink.skip(line, value, Skip::LocalName),
            name if name.contains('*') => sink.skip(line, name, Skip::Pattern),
            name => sink.name(line, name, Scope::Suffix, ""),
        }
    }
}
