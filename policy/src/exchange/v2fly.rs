//! Files of v2fly's `domain-list-community`:
//!
//! ```text
//! example.com                   # the same as domain:example.com
//! domain:example.com @cn        # the name and all below, with an attribute
//! full:www.example.com          # the name alone
//! keyword:example               # no signature
//! regexp:^example[0-9]+\.com$   # no signature
//! include:other @cn @-ads       # of another file, what has the one attribute and not the other
//! ```
//!
//! Attributes are kept in the note of a signature, where the exporter finds them again.

use super::plain::before_comment;
use super::sink::{Line, Sink};
use super::{File, Included, MAX_INCLUDES, Skip};
use crate::signature::Scope;

/// How deep files may include one another; the lists have four levels.
const MAX_DEPTH: usize = 16;

/// Attributes that an include asks for (`true`) or refuses (`false`).
type Filter = Vec<(String, bool)>;

/// What is still to be read: a file, and the filters on the way to it.
struct Reader<'i> {
    include: &'i mut dyn FnMut(&str) -> Included,
    /// Names of the files between the first one and the one in hand.
    way: Vec<String>,
    filters: Vec<Filter>,
    included: usize,
}

pub(super) fn read(sink: &mut Sink, file: &File, include: &mut dyn FnMut(&str) -> Included) {
    let name = file.path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    Reader { include, way: vec![name], filters: Vec::new(), included: 0 }.file(sink, file);
}

impl Reader<'_> {
    fn file(&mut self, sink: &mut Sink, file: &File) {
        sink.lines(file, |sink, line| self.line(sink, line));
    }

    fn line(&mut self, sink: &mut Sink, line: Line<'_>) {
        let mut words = before_comment(line.text).split_ascii_whitespace();
        let Some(rule) = words.next() else { return };
        sink.counted();
        let mut attributes: Vec<&str> = Vec::new();
        for word in words {
            if let Some(attribute) = word.strip_prefix('@').filter(|a| !a.is_empty()) {
                attributes.push(attribute);
            } else if word.starts_with('&') {
                sink.skip(line, word, Skip::OtherList);
            } else {
                let message = format!("`{word}` is no attribute");
                return sink.fault(
                    line,
                    word,
                    "bad-attribute",
                    message,
                    "after the rule stand attributes, such as `@cn`",
                );
            }
        }
        let (kind, value) = rule.split_once(':').unwrap_or(("domain", rule));
        if kind == "include" {
            return self.follow(sink, line, value, &attributes);
        }
        let passes = |filter: &Filter| {
            filter.iter().all(|(attribute, wanted)| attributes.contains(&attribute.as_str()) == *wanted)
        };
        if !self.filters.iter().all(passes) {
            return;
        }
        match kind {
            "domain" | "full" => {
                let note: Vec<String> = attributes.iter().map(|a| format!("@{a}")).collect();
                let scope = if kind == "full" { Scope::Exact } else { Scope::Suffix };
                sink.name(line, value, scope, &note.join(" "));
            }
            "keyword" => sink.skip(line, rule, Skip::Keyword),
            "regexp" => sink.skip(line, rule, Skip::Regexp),
            _ => {
                let message = format!("there is no kind of rule `{kind}`");
                sink.fault(
                    line,
                    kind,
                    "unknown-kind",
                    message,
                    "known are: domain, full, keyword, regexp, include",
                );
            }
        }
    }

    fn follow(&mut self, sink: &mut Sink, line: Line<'_>, name: &str, attributes: &[&str]) {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '!' | '_' | '.');
        let mut fault = |code, message, help: &str| sink.fault(line, name, code, message, help);
        if name.is_empty() || !name.chars().all(is_name) || name.starts_with('.') {
            return fault(
                "bad-include",
                format!("`{name}` is no name of a list"),
                "name a file of the same folder",
            );
        }
        if self.way.iter().any(|on_the_way| on_the_way.eq_ignore_ascii_case(name)) {
            return fault(
                "include-loop",
                format!("`{name}` includes itself"),
                "take one of the includes out",
            );
        }
        if self.way.len() >= MAX_DEPTH || self.included >= MAX_INCLUDES {
            let message = format!("more than {MAX_DEPTH} levels or {MAX_INCLUDES} includes");
            return fault("too-many-includes", message, "name the lists that are needed one by one");
        }
        self.included += 1;
        let file = match (self.include)(name) {
            Ok(file) => file,
            Err(why) => {
                return fault(
                    "no-include",
                    format!("`{name}` can't be read: {why}"),
                    "includes are read from the folder of the list",
                );
            }
        };
        let filter = attributes.iter().map(|a| match a.strip_prefix('-') {
            Some(refused) => (refused.to_owned(), false),
            None => ((*a).to_owned(), true),
        });
        self.filters.push(filter.collect());
        self.way.push(name.to_owned());
        self.file(sink, &file);
        self.way.pop();
        self.filters.pop();
    }
}
