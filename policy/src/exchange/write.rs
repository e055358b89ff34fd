//! Signatures as lists for other tools.

use super::Format;
use crate::signature::Scope;
use std::collections::HashSet;
use std::fmt::Write as _;

/// What became of the signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Exported {
    /// Lines written.
    pub written: usize,
    /// Of them, those that lost what is below the name, because the format has no word for it.
    pub narrowed: usize,
    /// Left out, because the format could only say more than the signature.
    pub left_out: usize,
}

/// Writes names: the name, what it covers, and its note, of which `v2fly` takes the attributes. A format that can't say
/// "all below" is given the name alone; one that can't say "the name alone" is not given more than is true.
pub fn export<'a>(
    format: Format,
    names: impl IntoIterator<Item = (&'a str, Scope, &'a str)>,
    out: &mut String,
) -> Exported {
    let mut counts = Exported::default();
    let mut narrowed = HashSet::new();
    for (name, scope, note) in names {
        // Writing to a string does not fail.
        _ = match (format, scope) {
            (Format::Plain | Format::Ut1, Scope::Suffix) => writeln!(out, "{name}"),
            (Format::Hosts, _) => {
                if !narrowed.insert(name) {
                    continue;
                }
                counts.narrowed += usize::from(scope == Scope::Suffix);
                writeln!(out, "0.0.0.0 {name}")
            }
            (Format::Adblock, Scope::Suffix) => writeln!(out, "||{name}^"),
            (Format::Adblock, Scope::Exact) => writeln!(out, "|{name}^"),
            (Format::Dnsmasq, Scope::Suffix) => writeln!(out, "local=/{name}/"),
            (Format::V2fly, _) => {
                let kind = if scope == Scope::Suffix { "domain" } else { "full" };
                let words = note.split_ascii_whitespace().filter(|w| w.len() > 1 && w.starts_with('@'));
                let attributes: String =
                    words.filter(|w| !w.contains('#')).fold(String::new(), |all, w| all + " " + w);
                writeln!(out, "{kind}:{name}{attributes}")
            }
            (Format::Plain | Format::Ut1 | Format::Dnsmasq, Scope::Exact) => {
                counts.left_out += 1;
                continue;
            }
        };
        counts.written += 1;
    }
    counts
}
