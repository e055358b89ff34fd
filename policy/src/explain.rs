//! Why a flow is treated as it is: what its name, or what it shows besides, matched, which rules were asked, and which gate allowed
//! or forbade that something is written.
//!
//! The answers come from the same table and the same rules that decide; what they add (file and line of an entry,
//! entries that were passed over) comes from the sources that the table was compiled from.

mod entries;
mod gates;

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use crate::category::Category;
use crate::charter::{Group, Installed};
use crate::clue::JA4;
use crate::matrix::address_key;
use crate::name::Name;
use crate::rules::{Moment, Outcome, RuleFile, Rules, Target};
use crate::signature::Tier;
use crate::source::Source;
use crate::table::SignatureTable;
use crate::vocab::{Evidence, GroupId, L4, ObservationLevel, ServiceId};

/// What flows are decided by, and what it was made from.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// The sources of the table, in order of precedence.
    pub sources: &'a [Source],
    /// The tiers that the table was compiled from.
    pub tiers: &'a [Tier],
    /// The table.
    pub table: &'a SignatureTable,
    /// The rules as they were read.
    pub file: &'a RuleFile,
    /// The rules, bound to the table.
    pub rules: &'a Rules,
    /// When it is.
    pub moment: &'a Moment,
    /// What says how much may be written.
    pub recording: Recording<'a>,
}

/// What says how much may be written.
#[derive(Clone, Copy, Debug)]
pub enum Recording<'a> {
    /// Nobody asked about a charter: as if none were in force.
    WithoutCharter,
    /// What is installed.
    Under {
        /// The charter, if there is one.
        installed: Installed<'a>,
        /// The moment; `None` while the clock is not trusted.
        at: Option<Timestamp>,
        /// The group of the client; none if nobody enrolled it.
        group: Option<&'a Group>,
        /// What may be written while no charter is installed.
        without: ObservationLevel,
    },
}

/// A flow that somebody asks about.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// Its name, if it has one.
    pub name: Option<&'a Name>,
    /// How the name is known.
    pub evidence: Evidence,
    /// The group of its client.
    pub group: GroupId,
    /// Where its server is, if that is known.
    pub server: Option<(IpAddr, L4, u16)>,
    /// The protocols that its hello offers, in order.
    pub alpn: &'a [String],
    /// The fingerprint of its hello.
    pub ja4: Option<&'a [u8; JA4]>,
    /// Its port or the protocol that it offers is one of encrypted DNS.
    pub encrypted_dns: bool,
}

/// As what the fast path knows a flow.
#[derive(Clone, Copy, Debug)]
struct Known {
    evidence: Evidence,
    service: ServiceId,
    category: Category,
    /// What weak evidence said about people.
    forgotten: Category,
    /// Not by its name, but by what its hello says.
    by_hello: bool,
    /// By the address of its server.
    by_address: bool,
    /// The configuration excludes its name.
    excluded: bool,
}

/// Everything that can be said about a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// Its name in canonical form.
    pub name: Option<String>,
    /// How it is known.
    pub evidence: &'static str,
    /// The entry that says what the flow belongs to.
    pub entry: Option<Listed>,
    /// Every other entry that covers the name, longest first, or matches what the flow shows besides; and why it does not count.
    pub passed_over: Vec<PassedOver>,
    /// The service that the flow counts for.
    pub service: Option<Service>,
    /// The category that rules see.
    pub category: &'static str,
    /// Rules that match, in order.
    pub rules: Vec<RuleSays>,
    /// How many rules were asked.
    pub rules_asked: usize,
    /// What happens.
    pub action: String,
    /// The rule that decides; none if no rule does.
    pub decided_by: Option<String>,
    /// What may be written: the lowest level of all gates.
    pub level: &'static str,
    /// What allowed or forbade it, in order.
    pub gates: Vec<Gate>,
}

/// An entry of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Listed {
    /// What is listed.
    pub name: String,
    /// `exact` or `suffix`; `address`, `alpn` or `ja4` for what is no name.
    pub scope: &'static str,
    /// Where its bytes begin in the name that was asked for; `0` for what is no name.
    pub matched_from: usize,
    /// How many bytes at the end of the name it covers; `0` for what is no name.
    pub matched: usize,
    /// The file.
    pub file: String,
    /// 1-based; `0` where the table came as a pack, which does not know.
    pub line: u32,
    /// The service it names.
    pub service: String,
    /// The category it names.
    pub category: &'static str,
    /// What the name is for.
    pub role: &'static str,
    /// How sure it is.
    pub tier: &'static str,
    /// Who says so.
    pub source: String,
    /// Under which licence.
    pub licence: String,
    /// Since when it is listed.
    pub added: String,
    /// The last day on which it counts.
    pub expires: Option<String>,
    /// What a reader should know.
    pub note: String,
}

/// An entry that covers the name and does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PassedOver {
    /// The entry.
    #[serde(flatten)]
    pub entry: Listed,
    /// Why it does not count.
    pub why: String,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Service {
    /// Its key.
    pub key: String,
    /// What people call it.
    pub title: String,
}

/// A rule that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleSays {
    /// Its name.
    pub rule: String,
    /// Its place among all rules, from 1.
    pub place: usize,
    /// The file.
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// What it does.
    pub action: String,
    /// `shadow` or `enforce`.
    pub state: &'static str,
    /// `decides`, `would_decide`, `covered`, `expired`, `closed` or `undecided`.
    pub outcome: &'static str,
    /// The same in words.
    pub says: String,
}

/// Something that bounds what may be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gate {
    /// `name`, `category`, `charter` (and under one `client`, `purpose`, `basis`, `notice`, `expiry`, `calendar`, `k`) or `rule`.
    pub gate: &'static str,
    /// The most it lets through.
    pub lets: &'static str,
    /// Whether it is the one that decides: the first that lets through as little as any.
    pub decides: bool,
    /// Why.
    pub why: String,
}

/// Explains a flow.
pub fn explain(basis: &Basis<'_>, flow: &Flow<'_>) -> Explanation {
    let known = known(basis, flow);
    let Known { category, service, .. } = known;
    let (entry, passed_over) = entries::entries(basis, flow, &known);
    let target = Target { group: flow.group, category, service };
    let decision = basis.rules.decide(&target, basis.moment);
    let decider = decision.by.and_then(|i| basis.rules.as_slice().get(i));
    let gates = gates::gates(&basis.recording, flow, &known, decider);
    let level = gates.iter().map(|(level, _)| *level).min().unwrap_or(ObservationLevel::None);
    Explanation {
        name: flow.name.map(ToString::to_string),
        evidence: known.evidence.as_str(),
        entry,
        passed_over,
        service: basis
            .table
            .service(service)
            .map(|s| Service { key: s.name.to_owned(), title: s.title.to_owned() }),
        category: category.as_str(),
        rules: basis
            .rules
            .explain(&target, basis.moment)
            .filter_map(|(i, o)| rule_says(basis, i, o))
            .collect(),
        rules_asked: basis.rules.as_slice().len(),
        action: decider.map_or_else(|| "allow".to_owned(), |rule| rule.action.to_string()),
        decided_by: decider.map(|rule| rule.name.clone()),
        level: level.as_str(),
        gates: {
            let first = gates.iter().position(|(lets, _)| *lets == level);
            let gates = gates.into_iter().enumerate();
            gates.map(|(i, (_, gate))| Gate { decides: Some(i) == first, ..gate }).collect()
        },
    }
}

/// Puts together what a flow shows, as the fast path does.
fn known(basis: &Basis<'_>, flow: &Flow<'_>) -> Known {
    let table = basis.table;
    let mut known = Known {
        evidence: flow.evidence,
        service: ServiceId::NONE,
        category: Category::Unknown,
        forgotten: Category::Unknown,
        by_hello: false,
        by_address: false,
        excluded: flow.name.is_some_and(|name| entries::is_excluded(basis, name)),
    };
    if let Some(found) = flow.name.and_then(|name| table.lookup(name)) {
        // What weak evidence says about people is forgotten before anything is asked.
        if flow.evidence.is_in_flow() || !found.category.is_about_people() {
            (known.service, known.category) = (found.service, found.category);
            return known;
        }
        known.forgotten = found.category;
    }
    let offered = flow.alpn.iter().find_map(|id| table.lookup_alpn(id.as_bytes()));
    let hello = offered.or_else(|| flow.ja4.and_then(|text| table.lookup_ja4(text)));
    if let Some(found) = hello {
        (known.service, known.category, known.by_hello) = (found.service, found.category, true);
    } else if flow.encrypted_dns {
        (known.category, known.by_hello) = (Category::Tunnel, true);
    }
    let Some((ip, l4, port)) = flow.server.filter(|_| flow.name.is_none()) else { return known };
    if let Some(found) = table.lookup_address(&address_key(ip), l4, port)
        && [Category::Unknown, found.category].contains(&known.category)
    {
        (known.service, known.category) = (found.service, found.category);
        (known.evidence, known.by_hello, known.by_address) = (Evidence::Address, false, true);
    }
    known
}

/// Reads a name as people write it: also in Unicode, also with a dot at its end.
pub fn read_name(text: &str) -> Result<Name, String> {
    let ascii = if text.is_ascii() {
        text.to_owned()
    } else {
        idna::domain_to_ascii(text).map_err(|_| format!("`{text}` can't be written in ASCII (RFC 5891)"))?
    };
    Name::from_wire(ascii.as_bytes()).map_err(|why| format!("`{text}` is no host name: {why}"))
}

fn rule_says(basis: &Basis<'_>, i: usize, outcome: Outcome) -> Option<RuleSays> {
    let rule = basis.rules.as_slice().get(i)?;
    let calendars = || rule.matches.calendars.join(", ");
    let (word, says) = match outcome {
        Outcome::Decides => ("decides", "decides".to_owned()),
        Outcome::WouldDecide => ("would_decide", "would decide if it were enforced".to_owned()),
        Outcome::Covered { by } => {
            let by = basis.rules.as_slice().get(by).map_or("?", |rule| rule.name.as_str());
            ("covered", format!("not asked: {by} decides before it"))
        }
        Outcome::Expired => match (rule.expires, basis.moment.today) {
            (Some(last), Some(_)) => ("expired", format!("ended with {last}")),
            _ => ("expired", "does nothing: it has a last day and nobody knows what day it is".to_owned()),
        },
        Outcome::Closed => ("closed", format!("does nothing now: {} is not open", calendars())),
        Outcome::Undecided => {
            ("undecided", format!("does nothing: nobody has decided whether {} is open", calendars()))
        }
    };
    Some(RuleSays {
        rule: rule.name.clone(),
        place: i + 1,
        file: basis.file.path().to_owned(),
        line: rule.line,
        action: rule.action.to_string(),
        state: rule.state.as_str(),
        outcome: word,
        says,
    })
}

#[cfg(test)]
mod tests;
