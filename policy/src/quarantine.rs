//! Subscribed lists: what a new version changes, and whether somebody must look before it is used.
//!
//! A list that somebody else keeps can change overnight into something else. One did: a list of 428 job sites came one
//! day with 60 312 names of a phishing list added, and whoever took it as it came would have recorded victims of
//! phishing as looking for a job. So a new version is compared with the last one that was accepted, and held while the
//! accepted one stays in use, when one of these is so:
//!
//! | | held when | |
//! |---|---|---|
//! | `first` | nothing was accepted before | unless the subscription says otherwise |
//! | `grew`, `shrank` | more names were added, or taken out, than a tenth of the list or 500 | added and taken out are counted apart: a list that was exchanged has the size it had |
//! | `public_suffix` | a name is a public suffix, such as `co.uk` or `pages.dev` | new names only |
//! | `top_site` | a name is, or covers, a site that everybody uses or that we know to be for something else | new names only |
//! | `overlap` | more than 2 % of its names belong to another category | and more than in the accepted list |
//! | `odd_names` | more than 5 % of its names have an odd shape | likewise; not for malware and phishing, whose names are odd by nature |
//! | `broken_lines` | more than 0.1 % of its lines are broken | likewise |
//!
//! What was accepted once is not held again for the same thing: who looked at it has decided. The digest of a list is over
//! its names and what they cover, in order of the alphabet: what is accepted is what was seen.

mod top_sites;

use crate::category::Category;
use crate::diagnostic::Diagnostics;
use crate::exchange::Imported;
use crate::name::Name;
use crate::signature::{Meta, Scope, Service};
use crate::source::{COLUMNS, SERVICE_COLUMNS};
use crate::{SignatureTable, builtin};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt::{self, Write as _};

/// Names that may be added, or taken out, whatever the size of the list.
pub const MAX_CHANGE: usize = 500;
/// Names of each kind of change that are shown.
pub const SAMPLE: usize = 12;

/// A list in the form that is kept and compared: `name TAB scope` a line, in order of the alphabet, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    text: String,
    /// Names.
    len: usize,
    /// Lines of the list as it came, and how many of them were broken.
    pub lines: usize,
    /// See `lines`.
    pub refused: usize,
}

impl List {
    /// What was imported, without the notes of its lines.
    pub fn of(imported: &Imported) -> Self {
        let mut all: Vec<(&str, Scope)> = imported.iter().map(|(name, scope, _)| (name, scope)).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(b.0).then_with(|| a.1.as_str().cmp(b.1.as_str())));
        let mut text = String::with_capacity(all.len() * 24);
        for (name, scope) in &all {
            // Writing to a string does not fail.
            _ = writeln!(text, "{name}\t{scope}");
        }
        Self { text, len: all.len(), lines: imported.counts.lines, refused: imported.counts.refused }
    }

    /// Reads what [`List::text`] wrote; `None` if it is something else, or out of order.
    pub fn from_text(text: String, lines: usize, refused: usize) -> Option<Self> {
        let (mut last, mut len) = ("", 0);
        for line in text.split_terminator('\n') {
            let (name, scope) = line.split_once('\t')?;
            Scope::from_word(scope)?;
            if last >= line || Name::from_wire(name.as_bytes()).ok()?.as_str() != name {
                return None;
            }
            (last, len) = (line, len + 1);
        }
        (text.is_empty() || text.ends_with('\n')).then_some(Self { text, len, lines, refused })
    }

    /// The list as text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many names it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// SHA-256 of the text: what is shown and accepted.
    pub fn digest(&self) -> [u8; 32] {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.text.as_bytes());
        digest.as_ref().try_into().unwrap_or_default()
    }

    /// Names and what they cover, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Scope)> {
        self.text.split_terminator('\n').filter_map(|line| {
            let (name, scope) = line.split_once('\t')?;
            Some((name, Scope::from_word(scope)?))
        })
    }

    /// The list as a source, for [`crate::source::Source::parse`]; with a service, the source declares it.
    pub fn to_source(&self, meta: &Meta, declare: Option<&Service>) -> String {
        let mut out = String::with_capacity(self.text.len() + self.len * 96 + 512);
        if let Some(Service { key, category, title, region }) = declare {
            _ = writeln!(out, "{}\n{key}\t{category}\t{title}\t{region}", SERVICE_COLUMNS.join("\t"));
        }
        let Meta { service, category, role, tier, source, licence, added, expires, note } = meta;
        let expires = expires.map(|day| day.to_string()).unwrap_or_default();
        let tail =
            format!("{service}\t{category}\t{role}\t{tier}\t{source}\t{licence}\t{added}\t{expires}\t{note}");
        _ = writeln!(out, "{}", COLUMNS.join("\t"));
        for line in self.text.split_terminator('\n') {
            _ = writeln!(out, "{line}\t{tail}");
        }
        out
    }
}

/// Why a list is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Held {
    /// Nothing was accepted before.
    First,
    /// Too many names were added.
    Grew {
        /// Names before.
        before: usize,
        /// Names added.
        added: usize,
    },
    /// Too many names were taken out.
    Shrank {
        /// Names before.
        before: usize,
        /// Names taken out.
        removed: usize,
    },
    /// Names below which anybody can register.
    PublicSuffix {
        /// One of them.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// Names that everybody uses, or that belong to something else.
    TopSite {
        /// One of them.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// Names that belong to another category.
    Overlap {
        /// Which.
        category: &'static str,
        /// How many.
        count: usize,
        /// Of how many.
        of: usize,
    },
    /// Names that look made up.
    OddNames {
        /// How many.
        count: usize,
        /// Of how many.
        of: usize,
    },
    /// Lines that are broken.
    BrokenLines {
        /// How many.
        refused: usize,
        /// Of how many.
        lines: usize,
    },
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let and_others = |count: &usize| match count.saturating_sub(1) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        match self {
            Self::First => f.write_str("no version of it was accepted yet"),
            Self::Grew { before, added } => write!(f, "{added} names added to {before}"),
            Self::Shrank { before, removed } => write!(f, "{removed} of {before} names taken out"),
            Self::PublicSuffix { name, count } => {
                write!(f, "`{name}`{} is a public suffix: anybody can register below it", and_others(count))
            }
            Self::TopSite { name, count } => {
                write!(
                    f,
                    "`{name}`{} is, or covers, a site known to be for something else",
                    and_others(count)
                )
            }
            Self::Overlap { category, count, of } => {
                write!(f, "{count} of {of} names belong to `{category}`")
            }
            Self::OddNames { count, of } => write!(f, "{count} of {of} names have an odd shape"),
            Self::BrokenLines { refused, lines } => write!(f, "{refused} of {lines} lines are broken"),
        }
    }
}

/// Names that are in one version and not in the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How many.
    pub count: usize,
    /// Some of them, from all over the list.
    pub sample: Vec<String>,
}

/// What a new version changes, and why it is held, if it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// Names of the new version.
    pub names: usize,
    /// In it, not in the accepted one.
    pub added: Change,
    /// In the accepted one, not in it.
    pub removed: Change,
    /// Why somebody must look; empty if nobody must.
    pub held: Vec<Held>,
}

/// What lists are held against: names of which we know what they are for.
#[derive(Clone, Debug)]
pub struct Known {
    /// Names and their categories.
    sites: HashMap<String, Category>,
    /// What stands above them, with one of their categories.
    above: HashMap<String, Category>,
}

impl Known {
    /// The signatures that come with the gateway, and a short list of sites that everybody uses.
    pub fn builtin() -> Result<Self, Diagnostics> {
        let mut known = Self { sites: HashMap::new(), above: HashMap::new() };
        for source in builtin::sources()? {
            for entry in source.entries() {
                if let Some(meta) = source.metas().get(entry.meta as usize) {
                    known.note(source.name(entry), meta.category);
                }
            }
        }
        for name in top_sites::NAMES {
            // What the signatures say is more.
            if !known.sites.contains_key(*name) {
                known.note(name, Category::Unknown);
            }
        }
        Ok(known)
    }

    fn note(&mut self, name: &str, category: Category) {
        let mut rest = name;
        while let Some((_, above)) = rest.split_once('.') {
            if above.contains('.') {
                self.above.entry(above.to_owned()).or_insert(category);
            }
            rest = above;
        }
        self.sites.insert(name.to_owned(), category);
    }

    /// Whether a name in a list of this category would speak of a site that is for something else.
    fn is_misused(&self, name: &str, scope: Scope, category: Category) -> bool {
        let other = |of: Option<&Category>| of.is_some_and(|known| *known != category);
        match self.sites.get(name) {
            Some(known) => *known != category,
            None => scope == Scope::Suffix && other(self.above.get(name)),
        }
    }
}

/// What a list is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// What the list is for.
    pub category: Category,
    /// The version in use, if one was accepted.
    pub accepted: Option<&'a List>,
    /// Whether the first version is used without a look.
    pub trust_first: bool,
    /// The signatures in use, without this list.
    pub table: &'a SignatureTable,
    /// Other subscribed lists in use, with their categories.
    pub others: &'a [(Category, &'a List)],
    /// Sites of which we know what they are for.
    pub known: &'a Known,
}

/// Compares a new version with what it would replace.
pub fn examine(new: &List, against: &Against<'_>) -> Examined {
    let none = List::default();
    let before = against.accepted.unwrap_or(&none);
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    compare(before, new, |name, side| match side {
        Side::Before => removed.push(name),
        Side::New => added.push(name),
        Side::Both => {}
    });
    let mut held = Vec::new();
    if against.accepted.is_some() {
        let too_many = |n: usize| n > MAX_CHANGE || n * 10 > before.len();
        if too_many(added.len()) {
            held.push(Held::Grew { before: before.len(), added: added.len() });
        }
        if too_many(removed.len()) {
            held.push(Held::Shrank { before: before.len(), removed: removed.len() });
        }
    } else if !against.trust_first {
        held.push(Held::First);
    }
    held.extend(bad_names(&added, against));
    held.extend(shares(before, new, against));
    let change = |all: &[(&str, Scope)]| Change { count: all.len(), sample: sample(all) };
    Examined { names: new.len(), added: change(&added), removed: change(&removed), held }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    New,
    Both,
}

/// Walks two lists in step.
fn compare<'a>(before: &'a List, new: &'a List, mut tell: impl FnMut((&'a str, Scope), Side)) {
    let (mut a, mut b) = (before.iter().peekable(), new.iter().peekable());
    let key = |(name, scope): (&'a str, Scope)| (name, scope.as_str());
    loop {
        let side = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(_), None) => Side::Before,
            (None, Some(_)) => Side::New,
            (Some(x), Some(y)) => match key(*x).cmp(&key(*y)) {
                Ordering::Less => Side::Before,
                Ordering::Greater => Side::New,
                Ordering::Equal => Side::Both,
            },
        };
        let from_a = if side == Side::New { None } else { a.next() };
        let from_b = if side == Side::Before { None } else { b.next() };
        if let Some(name) = from_a.or(from_b) {
            tell(name, side);
        }
    }
}

/// Names of which one is enough.
fn bad_names(added: &[(&str, Scope)], against: &Against<'_>) -> Vec<Held> {
    let find = |is: &dyn Fn(&str, Scope) -> bool| {
        let mut all = added.iter().filter(|(name, scope)| is(name, *scope));
        all.next().map(|(first, _)| ((*first).to_owned(), 1 + all.count()))
    };
    let mut held = Vec::new();
    if let Some((name, count)) = find(&|name, _| is_public_suffix(name)) {
        held.push(Held::PublicSuffix { name, count });
    }
    if let Some((name, count)) = find(&|name, scope| against.known.is_misused(name, scope, against.category))
    {
        held.push(Held::TopSite { name, count });
    }
    held
}

/// Shares of the whole list that are too great, and greater than they were.
fn shares(before: &List, new: &List, against: &Against<'_>) -> Vec<Held> {
    let mut held = Vec::new();
    let exceeds = |count: usize, of: usize, per_mille: usize, was: usize, was_of: usize| {
        let more_than_it_was = count as u128 * was_of.max(1) as u128 > was as u128 * of.max(1) as u128;
        count * 1000 > of * per_mille && (against.accepted.is_none() || more_than_it_was)
    };
    let (now, was) = (overlaps(new, against), overlaps(before, against));
    for category in Category::ALL {
        let slot = *category as usize;
        let (count, then) = (now.get(slot).copied().unwrap_or(0), was.get(slot).copied().unwrap_or(0));
        if exceeds(count, new.len(), 20, then, before.len()) {
            held.push(Held::Overlap { category: category.as_str(), count, of: new.len() });
        }
    }
    if !matches!(against.category, Category::Malware | Category::Phishing) {
        let odd = |list: &List| list.iter().filter(|(name, _)| is_odd(name)).count();
        let count = odd(new);
        if exceeds(count, new.len(), 50, odd(before), before.len()) {
            held.push(Held::OddNames { count, of: new.len() });
        }
    }
    if exceeds(new.refused, new.lines, 1, before.refused, before.lines) {
        held.push(Held::BrokenLines { refused: new.refused, lines: new.lines });
    }
    held
}

/// Names of a list that are in use for another category, by category.
fn overlaps(list: &List, against: &Against<'_>) -> [usize; Category::SLOTS] {
    let mut counts = [0usize; Category::SLOTS];
    let mut count = |category: Category, n: usize| {
        if category != against.category
            && let Some(slot) = counts.get_mut(category as usize)
        {
            *slot += n;
        }
    };
    for (name, _) in list.iter() {
        let found = Name::from_wire(name.as_bytes()).ok().and_then(|name| against.table.lookup(&name));
        if let Some(found) = found {
            count(found.category, 1);
        }
    }
    for (category, other) in against.others {
        let mut both = 0;
        compare(other, list, |_, side| both += usize::from(side == Side::Both));
        count(*category, both);
    }
    counts
}

/// Whether anybody can register below a name.
fn is_public_suffix(name: &str) -> bool {
    psl::suffix(name.as_bytes())
        .is_some_and(|suffix| suffix.is_known() && suffix.as_bytes() == name.as_bytes())
}

/// Whether a name looks made up: many labels, long ones, or ones with many hyphens or digits.
fn is_odd(name: &str) -> bool {
    let odd_label = |label: &str| {
        let count = |is: fn(&u8) -> bool| label.as_bytes().iter().filter(|b| is(b)).count();
        let odd = label.len() > 30 || count(|b| *b == b'-') > 3 || count(u8::is_ascii_digit) > 5;
        // What the letters beyond ASCII become is no sign of anything.
        odd && !label.starts_with("xn--")
    };
    name.split('.').count() > 6 || name.split('.').any(odd_label)
}

/// Some names from all over a list.
fn sample(all: &[(&str, Scope)]) -> Vec<String> {
    let step = all.len().div_ceil(SAMPLE).max(1);
    all.iter().step_by(step).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests;
