//! Names that look like other names (Unicode Technical Standard 39).
//!
//! Two names are confusable when their skeletons are equal: what is left when every character is replaced by the
//! plainest one that looks like it. `paypa1.com` and `paypal.com` have one skeleton, and so has either with Cyrillic
//! letters in it.

use std::collections::HashMap;

use unicode_security::{MixedScript, skeleton};

use super::super::{RuleFile, Rules};
use super::{finding, severity};
use crate::category::Category;
use crate::diagnostic::Diagnostic;
use crate::source::{Entry, Source};

/// Rules whose names can be taken for each other: they stand side by side on the page and in the log.
pub(super) fn rules(file: &RuleFile, rules: &Rules, found: &mut Vec<Diagnostic>) {
    let mut seen = HashMap::new();
    for rule in rules.as_slice() {
        match seen.entry(looks_like(&rule.name)) {
            std::collections::hash_map::Entry::Vacant(slot) => _ = slot.insert(rule),
            std::collections::hash_map::Entry::Occupied(first) => {
                let first = first.get();
                let message = format!("`{}` looks like `{}` in line {}", rule.name, first.name, first.line);
                found.push(
                    finding(file, rule, "confusable-name", message).help("call one of them something else"),
                );
            }
        }
    }
}

/// Names of different services that can be taken for each other, and names that mix scripts. Lists of malware and
/// phishing are full of them, which is what they are for.
pub(super) fn signatures(sources: &[Source], found: &mut Vec<Diagnostic>) {
    let all = || {
        let entries = sources.iter().flat_map(|s| s.entries().iter().map(move |e| (s, e)));
        entries.filter(|(s, e)| !is_about_fakes(s, e))
    };
    let mut seen: HashMap<String, (&Source, &Entry)> = HashMap::new();
    for (source, entry) in all() {
        let name = source.name(entry);
        let shown = match unicode(name) {
            Ok(shown) => shown,
            Err(label) => {
                let message = format!("`{label}` stands for no Unicode name (RFC 5891)");
                found.push(
                    at(source, entry, "bad-idn", message).help("no client can ask for it: take it out"),
                );
                continue;
            }
        };
        if let Some(label) = shown.split('.').find(|label| !label.is_single_script()) {
            let message = format!("`{label}` (`{name}`) mixes scripts, as names made to deceive do");
            found.push(
                at(source, entry, "confusable-name", message)
                    .help("look whether this is the name that was meant"),
            );
            continue;
        }
        match seen.entry(looks_like(&shown)) {
            std::collections::hash_map::Entry::Vacant(slot) => _ = slot.insert((source, entry)),
            std::collections::hash_map::Entry::Occupied(first) => {
                let (other, first) = first.get();
                if service(other, first) != service(source, entry) && other.name(first) != name {
                    let message = format!(
                        "`{name}` looks like `{}` of another service ({}:{})",
                        other.name(first),
                        other.path(),
                        first.line
                    );
                    found.push(
                        at(source, entry, "confusable-name", message).help("look whether both are meant"),
                    );
                }
            }
        }
    }
}

fn at(source: &Source, entry: &Entry, code: &'static str, message: String) -> Diagnostic {
    source.error_at(entry.line, 0, code, message).severity(severity(code))
}

fn is_about_fakes(source: &Source, entry: &Entry) -> bool {
    let category = source.metas().get(entry.meta as usize).map(|meta| meta.category);
    matches!(category, Some(Category::Malware | Category::Phishing))
}

fn service<'a>(source: &'a Source, entry: &Entry) -> Option<&'a str> {
    source.metas().get(entry.meta as usize).map(|meta| meta.service.as_str())
}

/// The name as a browser may show it; `Err` with the first label that is no good.
fn unicode(name: &str) -> Result<String, &str> {
    let mut out = String::with_capacity(name.len());
    for (i, label) in name.split('.').enumerate() {
        if i > 0 {
            out.push('.');
        }
        match label.strip_prefix("xn--") {
            None => out.push_str(label),
            Some(ascii) => {
                // What is ASCII after all has no `xn--` form (RFC 5891 section 4.4).
                let shown = idna::punycode::decode_to_string(ascii).filter(|shown| !shown.is_ascii());
                out.push_str(&shown.ok_or(label)?);
            }
        }
    }
    Ok(out)
}

/// The skeleton in lower case: the standard's skeletons of `0` and `1` are the letters `O` and `l`.
fn looks_like(text: &str) -> String {
    skeleton(text).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_alike_has_one_skeleton() {
        for (a, b) in
            [("paypal.com", "paypa1.com"), ("go0gle", "google"), ("modern", "modem"), ("раураl", "paypal")]
        {
            assert_eq!(looks_like(a), looks_like(b), "{a} {b}");
        }
        assert_ne!(looks_like("zhipin.com"), looks_like("liepin.com"));
    }

    #[test]
    fn names_as_they_are_shown() {
        assert_eq!(unicode("a.xn--bcher-kva.example").as_deref(), Ok("a.bücher.example"));
        assert_eq!(unicode("xn--zz--.com"), Err("xn--zz--"));
    }
}
