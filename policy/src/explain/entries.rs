//! The entries of sources that a flow matches: the one that counts, and why the others do not.

use std::cmp::Reverse;

use jiff::civil::Date;

use super::{Basis, Flow, Known, Listed, PassedOver};
use crate::clue::Clue;
use crate::matrix::address_key;
use crate::name::Name;
use crate::signature::{Meta, Scope};
use crate::source::{ClueEntry, Entry, Source};
use crate::table::{Match, SignatureTable, clues};

/// What entries of the sources say of the flow: of its name first, then of what it shows besides.
pub(super) fn entries(
    basis: &Basis<'_>,
    flow: &Flow<'_>,
    known: &Known,
) -> (Option<Listed>, Vec<PassedOver>) {
    let (mut entry, mut passed_over) = names(basis, flow);
    let found = entry.is_some();
    let (clue, mut others) = clues_of(basis, flow, known);
    passed_over.append(&mut others);
    if let Some(clue) = clue {
        // A name that is listed and does not count is shown, but it is not what decides.
        if let (Some(name), true) = (entry.take(), found) {
            let why = "it does not count with this evidence".to_owned();
            passed_over.insert(0, PassedOver { entry: name, why });
        }
        entry = Some(clue);
    }
    (entry, passed_over)
}

/// Whether the configuration excludes the name: an entry counts, and the table does not have it.
pub(super) fn is_excluded(basis: &Basis<'_>, name: &Name) -> bool {
    let mut counting =
        covering(basis, name).into_iter().filter(|(.., meta)| out_of_use(basis, meta).is_none());
    basis.table.lookup(name).is_none() && counting.next().is_some()
}

/// Entries that cover a name, the best first.
fn covering<'a>(basis: &Basis<'a>, name: &Name) -> Vec<(&'a Source, &'a Entry, &'a Meta)> {
    let all =
        basis.sources.iter().flat_map(|source| source.entries().iter().map(move |entry| (source, entry)));
    let mut covering: Vec<(&Source, &Entry, &Meta)> = all
        .filter(|(source, entry)| covers(source.name(entry), entry.scope, name.as_str()))
        .filter_map(|(source, entry)| Some((source, entry, source.metas().get(entry.meta as usize)?)))
        .collect();
    // Stable: of two that list the same name, the one of the earlier file stays first.
    covering.sort_by_key(|(source, entry, _)| (Reverse(source.name(entry).len()), entry.scope));
    covering
}

/// Why entries like this one are not in the table.
fn out_of_use(basis: &Basis<'_>, meta: &Meta) -> Option<String> {
    if !basis.tiers.contains(&meta.tier) {
        return Some(format!("tier {}: not in the table", meta.tier));
    }
    let today = basis.moment.today;
    let last = meta.expires.filter(|last| today.is_some_and(|today: Date| *last < today))?;
    Some(format!("it ended with {last}"))
}

/// The entry that counts for the name, and the others that cover it.
fn names(basis: &Basis<'_>, flow: &Flow<'_>) -> (Option<Listed>, Vec<PassedOver>) {
    let Some(name) = flow.name else { return (None, Vec::new()) };
    let covering = covering(basis, name);
    let winner = covering.iter().position(|(.., meta)| out_of_use(basis, meta).is_none());
    let excluded = winner.is_some() && basis.table.lookup(name).is_none();
    let first = winner.and_then(|i| covering.get(i)).copied();
    let mut passed_over = Vec::new();
    for (i, (source, entry, meta)) in covering.iter().enumerate() {
        let why = match (out_of_use(basis, meta), first) {
            (Some(why), _) => why,
            (None, _) if excluded => "the configuration excludes the name".to_owned(),
            (None, Some((other, best, _))) if Some(i) != winner => {
                let (name, longer) = (source.name(entry), other.name(best));
                match name == longer {
                    true if best.scope != entry.scope => "an exact entry goes before a suffix".to_owned(),
                    true => format!("{}:{} lists it before", other.path(), best.line),
                    false => format!("`{longer}` is longer"),
                }
            }
            _ => continue,
        };
        passed_over.push(PassedOver { entry: of_name(source, entry, meta, name), why });
    }
    let counting =
        first.filter(|_| !excluded).map(|(source, entry, meta)| of_name(source, entry, meta, name));
    (counting.or_else(|| name_in_table(basis.table, name)), passed_over)
}

/// The entry by which the flow is known without its name, if it is, and others that it matches.
fn clues_of(basis: &Basis<'_>, flow: &Flow<'_>, known: &Known) -> (Option<Listed>, Vec<PassedOver>) {
    let all = basis.sources.iter().flat_map(|s| s.clues().iter().map(move |clue| (s, clue)));
    let mut matching: Vec<(&Source, &ClueEntry, &Meta, Rank)> = all
        .filter_map(|(source, entry)| {
            let rank = rank(flow, &entry.clue)?;
            Some((source, entry, source.metas().get(entry.meta as usize)?, rank))
        })
        .collect();
    matching.sort_by_key(|(.., rank)| *rank);
    let usable = |(.., meta, _): &&(&Source, &ClueEntry, &Meta, Rank)| out_of_use(basis, meta).is_none();
    // What the hello says goes before where the flow goes, unless that says more of the same.
    let best = |address: bool| {
        let of_kind =
            |m: &&(&Source, &ClueEntry, &Meta, Rank)| matches!(m.1.clue, Clue::Address(_)) == address;
        matching.iter().filter(usable).find(of_kind)
    };
    let deciding = if known.by_address { best(true) } else { best(false).filter(|_| known.by_hello) };
    let mut passed_over = Vec::new();
    for candidate in &matching {
        let (source, entry, meta, _) = candidate;
        if deciding.is_some_and(|d| std::ptr::eq(d, candidate)) {
            continue;
        }
        let why = out_of_use(basis, meta)
            .unwrap_or_else(|| why_not(flow, known, entry, deciding.map(|d| (d.0, d.1))));
        passed_over.push(PassedOver { entry: of_clue(source, entry, meta), why });
    }
    let counting = deciding.map(|(source, entry, meta, _)| of_clue(source, entry, meta));
    (counting.or_else(|| clue_in_table(basis.table, flow, known)), passed_over)
}

/// Why an entry that is no name does not decide.
fn why_not(
    flow: &Flow<'_>,
    known: &Known,
    entry: &ClueEntry,
    deciding: Option<(&Source, &ClueEntry)>,
) -> String {
    let is_address = matches!(entry.clue, Clue::Address(_));
    if flow.name.is_some() && (is_address || !known.by_hello) {
        return if is_address { "the flow has a name".to_owned() } else { "the name is listed".to_owned() };
    }
    match deciding {
        Some((source, other)) if other.clue == entry.clue => {
            format!("{}:{} lists it before", source.path(), other.line)
        }
        Some((_, other)) if other.clue.kind() == entry.clue.kind() && is_address => {
            format!("`{}` is narrower", other.clue)
        }
        Some((_, other)) if is_address => format!("the hello says something else (`{}`)", other.clue),
        Some((_, other)) if known.by_address => format!("`{}` says more of the same", other.clue),
        Some((_, other)) => format!("`{}` goes before it", other.clue),
        None => "the hello says something else".to_owned(),
    }
}

/// The order in which clues are asked: protocols as they are offered, then software, then addresses, the narrowest first.
type Rank = (u8, usize, Reverse<Option<([u8; 16], u8, Reverse<u16>, bool, u16)>>);

fn rank(flow: &Flow<'_>, clue: &Clue) -> Option<Rank> {
    match clue {
        Clue::Alpn(id) => {
            let place = flow.alpn.iter().position(|offered| offered.as_bytes() == id.as_slice())?;
            Some((0, place, Reverse(None)))
        }
        Clue::Ja4(text) => (flow.ja4 == Some(text)).then_some((1, 0, Reverse(None))),
        Clue::Address(prefix) => {
            let (ip, l4, port) = flow.server?;
            let takes = prefix.takes(&address_key(ip), l4, port);
            takes.then(|| (2, 0, Reverse(Some(clues::order(prefix)))))
        }
    }
}

/// What the table itself says of its entry: all that there is when it came as a pack, without its sources.
fn name_in_table(table: &SignatureTable, name: &Name) -> Option<Listed> {
    let found = table.lookup(name)?;
    let matched_from = name.as_str().len().saturating_sub(usize::from(found.matched));
    let of_table =
        of_table(table, found, found.scope.as_str(), name.as_str().get(matched_from..)?.to_owned())?;
    Some(Listed { matched_from, matched: usize::from(found.matched), ..of_table })
}

fn clue_in_table(table: &SignatureTable, flow: &Flow<'_>, known: &Known) -> Option<Listed> {
    if known.by_address {
        let (ip, l4, port) = flow.server?;
        let prefix = table.prefix_of(&address_key(ip), l4, port)?;
        return of_table(
            table,
            table.lookup_address(&address_key(ip), l4, port)?,
            "address",
            prefix.to_string(),
        );
    }
    if !known.by_hello {
        return None;
    }
    let offered = |id: &String| of_table(table, table.lookup_alpn(id.as_bytes())?, "alpn", id.clone());
    flow.alpn.iter().find_map(offered).or_else(|| {
        let text = flow.ja4?;
        of_table(table, table.lookup_ja4(text)?, "ja4", Clue::Ja4(*text).to_string())
    })
}

fn of_table(table: &SignatureTable, found: Match, scope: &'static str, name: String) -> Option<Listed> {
    let (entry, service) = (table.entry(found.entry)?, table.service(found.service)?);
    Some(Listed {
        name,
        scope,
        matched_from: 0,
        matched: 0,
        file: entry.list.to_owned(),
        line: 0,
        service: service.name.to_owned(),
        category: found.category.as_str(),
        role: entry.role.as_str(),
        tier: entry.tier.as_str(),
        source: entry.source.to_owned(),
        licence: entry.licence.to_owned(),
        added: entry.added.to_string(),
        expires: entry.expires.map(|last| last.to_string()),
        note: entry.note.to_owned(),
    })
}

fn covers(listed: &str, scope: Scope, name: &str) -> bool {
    match name.strip_suffix(listed) {
        Some("") => true,
        Some(rest) => scope == Scope::Suffix && rest.ends_with('.'),
        None => false,
    }
}

fn of_name(source: &Source, entry: &Entry, meta: &Meta, name: &Name) -> Listed {
    let text = source.name(entry);
    let listed = listed(source, entry.line, meta, entry.scope.as_str(), text.to_owned());
    Listed { matched_from: name.as_str().len().saturating_sub(text.len()), matched: text.len(), ..listed }
}

fn of_clue(source: &Source, entry: &ClueEntry, meta: &Meta) -> Listed {
    listed(source, entry.line, meta, entry.clue.kind().as_str(), entry.clue.to_string())
}

fn listed(source: &Source, line: u32, meta: &Meta, scope: &'static str, name: String) -> Listed {
    Listed {
        name,
        scope,
        matched_from: 0,
        matched: 0,
        file: source.path().to_owned(),
        line,
        service: meta.service.clone(),
        category: meta.category.as_str(),
        role: meta.role.as_str(),
        tier: meta.tier.as_str(),
        source: meta.source.clone(),
        licence: meta.licence.clone(),
        added: meta.added.to_string(),
        expires: meta.expires.map(|last| last.to_string()),
        note: meta.note.clone(),
    }
}
