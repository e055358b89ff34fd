//! Where importers put what they read: names once each, everything else counted.

use super::{File, Imported, MAX_LINE, Rule, Skip};
use crate::diagnostic::{Diagnostic, Severity, Text};
use crate::name::{Name, NameError};
use crate::signature::Scope;
use crate::source::{MAX_BYTES, MAX_ENTRIES, MAX_FIELD};
use hashbrown::HashTable;
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

/// A line in hand.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) path: &'a str,
    /// 1-based.
    pub(super) number: u32,
    pub(super) text: &'a str,
}

impl Line<'_> {
    /// A diagnostic at a part of this line.
    fn at(&self, part: &str, code: &'static str, message: String) -> Diagnostic {
        let start = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let start = if start <= self.text.len() { start } else { 0 };
        let mut diagnostic = Text::new(self.path, self.text).error(start..start + part.len(), code, message);
        diagnostic.line = self.number;
        diagnostic
    }
}

pub(super) struct Sink {
    out: Imported,
    /// What names cover where the line does not say.
    pub(super) scope: Scope,
    seen: HashTable<u32>,
    hasher: RandomState,
    notes: HashMap<String, u32>,
    bytes: usize,
    full: bool,
}

impl Sink {
    pub(super) fn new(scope: Scope) -> Self {
        let out = Imported { notes: vec![String::new()], ..Imported::default() };
        Self {
            out,
            scope,
            seen: HashTable::new(),
            hasher: RandomState::new(),
            notes: HashMap::new(),
            bytes: 0,
            full: false,
        }
    }

    pub(super) fn finish(self) -> Imported {
        self.out
    }

    /// Gives every line of a file to a reader, without the white space around it; empty lines are left out.
    pub(super) fn lines(&mut self, file: &File, mut read: impl FnMut(&mut Self, Line<'_>)) {
        self.bytes = self.bytes.saturating_add(file.bytes.len());
        if self.bytes > MAX_BYTES {
            return self.stop(&file.path, format!("the list has more than {MAX_BYTES} bytes"));
        }
        let bytes = file.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file.bytes);
        for (raw, number) in bytes.split(|b| *b == b'\n').zip(1..) {
            if self.full {
                return;
            }
            let whole = Line { path: &file.path, number, text: "" };
            if raw.len() > MAX_LINE {
                self.out.counts.lines += 1;
                let message = format!("the line has {} bytes, more than {MAX_LINE}", raw.len());
                self.fault(whole, "", "too-long", message, "is this a list of this format?");
                continue;
            }
            match std::str::from_utf8(raw) {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => read(self, Line { text: text.trim_end(), ..whole }),
                Err(error) => {
                    self.out.counts.lines += 1;
                    let text = String::from_utf8_lossy(raw);
                    let line = Line { text: &text, ..whole };
                    let at = text.get(error.valid_up_to()..).unwrap_or_default();
                    let byte = raw.get(error.valid_up_to()).copied().unwrap_or_default();
                    self.fault(
                        line,
                        at.get(..0).unwrap_or_default(),
                        "not-utf8",
                        format!("byte {byte:#04x} is not UTF-8"),
                        "save the file as UTF-8",
                    );
                }
            }
        }
    }

    /// Counts a line that is no comment.
    pub(super) fn counted(&mut self) {
        self.out.counts.lines += 1;
    }

    /// Takes a name, written in any case and script.
    pub(super) fn name(&mut self, line: Line<'_>, written: &str, scope: Scope, note: &str) {
        let ascii = if written.is_ascii() {
            Cow::Borrowed(written)
        } else {
            match idna::domain_to_ascii(written) {
                Ok(name) => Cow::Owned(name),
                Err(_) => {
                    let message = format!("`{written}` can't be turned into its `xn--` form");
                    return self.fault(line, written, "bad-name", message, "see UTS #46 for what is allowed");
                }
            }
        };
        let name = match Name::from_wire(ascii.as_bytes()) {
            Ok(name) => name,
            Err(NameError::IpLiteral) => return self.skip(line, written, Skip::Address),
            Err(error) => {
                let message = format!("`{written}` is no host name: {error}");
                return self.fault(
                    line,
                    written,
                    "bad-name",
                    message,
                    "take the line out, or choose another --format",
                );
            }
        };
        let name = name.as_str();
        if scope == Scope::Suffix && !name.contains('.') {
            return self.skip(line, written, Skip::TopLevel);
        }
        if self.out.rules.len() >= MAX_ENTRIES {
            return self.stop(line.path, format!("more than {MAX_ENTRIES} names"));
        }
        let hash = self.hasher.hash_one((name, scope));
        let Imported { names, rules, .. } = &mut self.out;
        let text = |n: u32| {
            rules.get(n as usize).map(|r: &Rule| {
                (names.get(r.at as usize..r.at as usize + usize::from(r.len)).unwrap_or_default(), r.scope)
            })
        };
        if self.seen.find(hash, |n| text(*n) == Some((name, scope))).is_some() {
            self.out.counts.repeated += 1;
            return;
        }
        self.seen.insert_unique(hash, rules.len() as u32, |n| {
            self.hasher.hash_one(text(*n).unwrap_or(("", scope)))
        });
        // Fits: all files together have at most MAX_BYTES, and a name has at most 253.
        let (at, len) = (names.len() as u32, name.len() as u8);
        names.push_str(name);
        let note = if note.is_empty() { 0 } else { self.note(note) };
        self.out.rules.push(Rule { at, len, scope, note });
    }

    fn note(&mut self, note: &str) -> u32 {
        if let Some(known) = self.notes.get(note) {
            return *known;
        }
        let number = self.out.notes.len() as u32;
        let text: String = note.chars().filter(|c| !c.is_control()).collect();
        let end = (0..=text.len().min(MAX_FIELD / 2)).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
        self.out.notes.push(text.get(..end).unwrap_or_default().trim().to_owned());
        self.notes.insert(note.to_owned(), number);
        number
    }

    /// Counts what can't be said by a signature; the first of each kind is shown.
    pub(super) fn skip(&mut self, line: Line<'_>, part: &str, kind: Skip) {
        let Some(count) = self.out.counts.skipped.get_mut(kind as usize) else { return };
        *count += 1;
        if *count == 1 {
            let shown: String = part.chars().take(80).collect();
            let what = kind.as_str().replace('_', " ");
            let fault = line.at(part, "skipped", format!("`{shown}` is skipped: {what}"));
            self.out.faults.push(fault.severity(Severity::Warning).help(kind.why()));
        }
    }

    /// Notes a line that is broken.
    pub(super) fn fault(
        &mut self,
        line: Line<'_>,
        part: &str,
        code: &'static str,
        message: String,
        help: &str,
    ) {
        self.out.counts.refused += 1;
        self.out.faults.push(line.at(part, code, message).help(help));
    }

    /// Reads no further.
    pub(super) fn stop(&mut self, path: &str, message: String) {
        self.full = true;
        self.out.counts.refused += 1;
        self.out.faults.push(Diagnostic::file(path, "too-large", message).help("split the list"));
    }
}
