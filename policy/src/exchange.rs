//! Lists of names in the formats of others, read and written.
//!
//! | format | a line | names are read as |
//! |---|---|---|
//! | `plain` | `example.com` | suffix |
//! | `hosts` | `0.0.0.0 example.com` | exact |
//! | `adblock` | `‖example.com^` (with `\|` for `‖`: the name alone) | suffix |
//! | `dnsmasq` | `address=/example.com/`, `server=…`, `local=…` | suffix |
//! | `v2fly` | `domain:example.com @attribute`, `full:…`, `include:other` | suffix, exact |
//! | `ut1` | a folder with `domains`, `urls`, `expressions` | suffix |
//!
//! A list of others is read as far as it goes: a line that says what no signature can say (a pattern, a path, an
//! exception) is skipped and counted by kind, a line that is broken is left out with file, line and column. Names
//! beyond ASCII are turned into their `xn--` form (UTS #46). A name that is listed twice is read once.
//!
//! **Hostile lists.** Bytes that are not UTF-8 spoil their line only. A line has at most [`MAX_LINE`] bytes, a list
//! [`crate::source::MAX_BYTES`] and [`crate::source::MAX_ENTRIES`] names, includes [`MAX_INCLUDES`] files; faults are
//! kept up to [`crate::diagnostic::MAX_KEPT`] and counted beyond. No names collide by design: their hash is keyed.

mod adblock;
mod dnsmasq;
mod hosts;
mod plain;
mod sink;
mod ut1;
mod v2fly;
mod write;

use crate::category::Category;
use crate::diagnostic::Diagnostics;
use crate::signature::{Meta, Scope, Service};
use crate::source::{COLUMNS, SERVICE_COLUMNS};
use crate::vocab::coded;
use sink::Sink;
use std::fmt::Write as _;

pub use write::{Exported, export};

/// The longest line that is read, in bytes.
pub const MAX_LINE: usize = 4096;
/// The most files that one list includes.
pub const MAX_INCLUDES: usize = 4000;

coded! {
    /// The formats.
    pub enum Format {
        /// A name a line.
        Plain = 0 => "plain",
        /// An address and names a line, as in `/etc/hosts`.
        Hosts = 1 => "hosts",
        /// Rules of ad blockers, of which those that mean a whole host are read.
        Adblock = 2 => "adblock",
        /// Options of dnsmasq that name domains.
        Dnsmasq = 3 => "dnsmasq",
        /// A file of v2fly's `domain-list-community`.
        V2fly = 4 => "v2fly",
        /// A category of the lists of the University of Toulouse, as files of its folder.
        Ut1 = 5 => "ut1",
    }
}

impl Format {
    /// What a name of this format covers if the line does not say.
    pub const fn scope(self) -> Scope {
        match self {
            Self::Hosts => Scope::Exact,
            _ => Scope::Suffix,
        }
    }
}

coded! {
    /// Why a line, or part of one, is not read though nothing is wrong with it.
    pub enum Skip {
        /// Matches names that hold a word.
        Keyword = 0 => "keyword",
        /// A regular expression.
        Regexp = 1 => "regexp",
        /// An exception from other rules of the list.
        Exception = 2 => "exception",
        /// A pattern that is no whole host.
        Pattern = 3 => "pattern",
        /// A rule for some requests only, such as those of other sites.
        Modifier = 4 => "modifier",
        /// Hides elements of pages.
        Cosmetic = 5 => "cosmetic",
        /// An address of a page: its path is not seen in a flow.
        Url = 6 => "url",
        /// A name of the machine itself, such as `localhost`.
        LocalName = 7 => "local_name",
        /// An IP address in place of a name.
        Address = 8 => "address",
        /// A setting that names no domain.
        Directive = 9 => "directive",
        /// A whole top-level domain, or every name there is.
        TopLevel = 10 => "top_level",
        /// Belongs to another list as well (`&list` of v2fly).
        OtherList = 11 => "other_list",
    }
}

impl Skip {
    const fn why(self) -> &'static str {
        match self {
            Self::Keyword | Self::Regexp | Self::Pattern => {
                "signatures are names: a pattern would name services that nobody has looked at"
            }
            Self::Exception => "take the excepted names out of the list, or list them under another service",
            Self::Modifier => "a signature stands for all flows to a name",
            Self::Cosmetic => "this is about what a page shows",
            Self::Url => "the path of a page is not seen in a flow, and its host may stand for other things",
            Self::LocalName => "this is no name of a service",
            Self::Address => "a name is asked for",
            Self::Directive => "this says nothing about a domain",
            Self::TopLevel => "this would cover what nobody has looked at: name the domains",
            Self::OtherList => "only the list at hand is read",
        }
    }
}

/// What was read, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that are neither empty nor comments.
    pub lines: usize,
    /// Names that were listed again.
    pub repeated: usize,
    /// Lines that are broken.
    pub refused: usize,
    skipped: [usize; Skip::ALL.len()],
}

impl Counts {
    /// What was skipped, by kind.
    pub fn skipped(&self) -> impl Iterator<Item = (Skip, usize)> {
        Skip::ALL.iter().copied().zip(self.skipped).filter(|(_, n)| *n > 0)
    }
}

/// A list as it was read: names, each once, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    names: String,
    rules: Vec<Rule>,
    /// What lines said besides the name, each different text once; the first is empty.
    notes: Vec<String>,
    /// What was read.
    pub counts: Counts,
    /// Broken lines as errors; the first of each kind that was skipped as a warning.
    pub faults: Diagnostics,
}

/// Small: lists have millions of them.
#[derive(Clone, Copy, Debug)]
struct Rule {
    at: u32,
    note: u32,
    len: u8,
    scope: Scope,
}

const _: () = assert!(size_of::<Rule>() == 12);

impl Imported {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Canonical names, what each covers, and what the line said besides.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Scope, &str)> {
        self.rules.iter().map(|rule| {
            let note = self.notes.get(rule.note as usize).map_or("", String::as_str);
            (self.name(rule), rule.scope, note)
        })
    }

    fn name(&self, rule: &Rule) -> &str {
        self.names.get(rule.at as usize..).and_then(|n| n.get(..usize::from(rule.len))).unwrap_or_default()
    }

    /// The list as a source of our own format, for [`crate::source::Source::parse`]: all names belong to what `meta`
    /// says, whose note is put in front of the line's. With a service, the source declares it.
    pub fn to_source(&self, meta: &Meta, declare: Option<&Service>) -> String {
        let mut out = String::with_capacity(self.names.len() + self.rules.len() * 96 + 512);
        if let Some(service) = declare {
            out += &SERVICE_COLUMNS.join("\t");
            let Service { key, category, title, region } = service;
            // Writing to a string does not fail.
            _ = writeln!(out, "\n{key}\t{category}\t{title}\t{region}");
        }
        out += &COLUMNS.join("\t");
        out.push('\n');
        let Meta { service, category, role, tier, source, licence, added, expires, note } = meta;
        let expires = expires.map(|day| day.to_string()).unwrap_or_default();
        let tail = format!("{service}\t{category}\t{role}\t{tier}\t{source}\t{licence}\t{added}\t{expires}");
        for (name, scope, own) in self.iter() {
            let between = if note.is_empty() || own.is_empty() { "" } else { " " };
            _ = writeln!(out, "{name}\t{scope}\t{tail}\t{note}{between}{own}");
        }
        out
    }
}

/// How to read a list.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The format.
    pub format: Format,
    /// What names cover where the line does not say; see [`Format::scope`].
    pub scope: Scope,
}

impl Options {
    /// As the format is meant.
    pub const fn new(format: Format) -> Self {
        Self { format, scope: format.scope() }
    }
}

/// A file that a list includes, or why there is none.
pub type Included = Result<File, String>;

/// A file of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What diagnostics call it.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Reads a list. Of `ut1` the files are those of the folder, told apart by their names; of other formats they are read
/// one after the other. `include` gives the file that an `include:` names.
pub fn import(options: Options, files: &[File], include: &mut dyn FnMut(&str) -> Included) -> Imported {
    let mut sink = Sink::new(options.scope);
    for file in files {
        match options.format {
            Format::Plain => sink.lines(file, plain::read),
            Format::Hosts => sink.lines(file, hosts::read),
            Format::Adblock => sink.lines(file, adblock::read),
            Format::Dnsmasq => sink.lines(file, dnsmasq::read),
            Format::Ut1 => sink.lines(file, ut1::reader(&file.path)),
            Format::V2fly => v2fly::read(&mut sink, file, include),
        }
    }
    sink.finish()
}

/// The category that a folder of UT1 stands for, as far as it is one of ours.
pub fn ut1_category(folder: &str) -> Option<Category> {
    ut1::category(folder)
}

#[cfg(test)]
mod tests;
