//! Why a flow is treated as it is: what its name matched, which rules were asked, and which gate allowed or forbade that
//! something is written.
//!
//! The answers come from the same table and the same rules that decide; what they add (file and line of an entry,
//! entries that were passed over) comes from the sources that the table was compiled from.

use jiff::civil::Date;
use serde::Serialize;

use crate::category::Category;
use crate::charter::without_charter;
use crate::name::Name;
use crate::rules::{Moment, Outcome, Rule, RuleFile, Rules, State, Target};
use crate::signature::{Meta, Scope, Tier};
use crate::source::{Entry, Source};
use crate::table::SignatureTable;
use crate::vocab::{Evidence, GroupId, ObservationLevel, ServiceId};

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
}

/// Everything that can be said about a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Its name in canonical form.
    pub name: Option<String>,
    /// How it is known.
    pub evidence: &'static str,
    /// The entry that says what the name belongs to.
    pub entry: Option<Listed>,
    /// Every other entry that covers the name, longest first, and why it does not count.
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
pub struct Listed {
    /// What is listed.
    pub name: String,
    /// `exact` or `suffix`.
    pub scope: &'static str,
    /// Where its bytes begin in the name that was asked for.
    pub matched_from: usize,
    /// How many bytes at the end of the name it covers.
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
pub struct PassedOver {
    /// The entry.
    #[serde(flatten)]
    pub entry: Listed,
    /// Why it does not count.
    pub why: String,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its key.
    pub key: String,
    /// What people call it.
    pub title: String,
}

/// A rule that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
pub struct Gate {
    /// `name`, `category`, `charter` or `rule`.
    pub gate: &'static str,
    /// The most it lets through.
    pub lets: &'static str,
    /// Why.
    pub why: String,
}

/// Explains a flow.
pub fn explain(basis: &Basis<'_>, flow: &Flow<'_>) -> Explanation {
    let found = flow.name.and_then(|name| basis.table.lookup(name));
    let listed = found.map_or(Category::Unknown, |found| found.category);
    // The fast path forgets what weak evidence says about people before anything is asked.
    let counts = flow.evidence.is_in_flow() || !listed.is_about_people();
    let (category, service) = match found {
        Some(found) if counts => (found.category, found.service),
        _ => (Category::Unknown, ServiceId::NONE),
    };
    let (entry, passed_over) = entries(basis, flow);
    let target = Target { group: flow.group, category, service };
    let decision = basis.rules.decide(&target, basis.moment);
    let decider = decision.by.and_then(|i| basis.rules.as_slice().get(i));
    let gates = gates(flow, listed, counts, category, decider);
    let level = gates.iter().map(|(level, _)| *level).min().unwrap_or(ObservationLevel::None);
    Explanation {
        name: flow.name.map(ToString::to_string),
        evidence: flow.evidence.as_str(),
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
        gates: gates.into_iter().map(|(_, gate)| gate).collect(),
    }
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

/// The entry that counts, and the others that cover the name.
fn entries(basis: &Basis<'_>, flow: &Flow<'_>) -> (Option<Listed>, Vec<PassedOver>) {
    let Some(name) = flow.name else { return (None, Vec::new()) };
    let all =
        basis.sources.iter().flat_map(|source| source.entries().iter().map(move |entry| (source, entry)));
    let mut covering: Vec<(&Source, &Entry, &Meta)> = all
        .filter(|(source, entry)| covers(source.name(entry), entry.scope, name.as_str()))
        .filter_map(|(source, entry)| Some((source, entry, source.metas().get(entry.meta as usize)?)))
        .collect();
    // Stable: of two that list the same name, the one of the earlier file stays first.
    covering.sort_by_key(|(source, entry, _)| (std::cmp::Reverse(source.name(entry).len()), entry.scope));
    let today = basis.moment.today;
    let out_of_use = |meta: &Meta| -> Option<String> {
        if !basis.tiers.contains(&meta.tier) {
            return Some(format!("tier {}: not in the table", meta.tier));
        }
        let last = meta.expires.filter(|last| today.is_some_and(|today: Date| *last < today))?;
        Some(format!("it ended with {last}"))
    };
    let winner = covering.iter().position(|(_, _, meta)| out_of_use(meta).is_none());
    let excluded = winner.is_some() && basis.table.lookup(name).is_none();
    let first = winner.and_then(|i| covering.get(i)).copied();
    let mut passed_over = Vec::new();
    for (i, (source, entry, meta)) in covering.iter().enumerate() {
        let why = match (out_of_use(meta), first) {
            (Some(why), _) => why,
            (None, _) if excluded => "the configuration excludes the name".to_owned(),
            (None, Some((other, winner, _))) if Some(i) != position(winner, other, &covering) => {
                let (name, longer) = (source.name(entry), other.name(winner));
                match name == longer {
                    true if winner.scope != entry.scope => "an exact entry goes before a suffix".to_owned(),
                    true => format!("{}:{} lists it before", other.path(), winner.line),
                    false => format!("`{longer}` is longer"),
                }
            }
            _ => continue,
        };
        passed_over.push(PassedOver { entry: listed(source, entry, meta, name), why });
    }
    let counting = first.filter(|_| !excluded).map(|(source, entry, meta)| listed(source, entry, meta, name));
    (counting.or_else(|| of_table(basis.table, name)), passed_over)
}

/// What the table itself says of its entry: all that there is when it came as a pack, without its sources.
fn of_table(table: &SignatureTable, name: &Name) -> Option<Listed> {
    let found = table.lookup(name)?;
    let (entry, service) = (table.entry(found.entry)?, table.service(found.service)?);
    let matched_from = name.as_str().len().saturating_sub(usize::from(found.matched));
    Some(Listed {
        name: name.as_str().get(matched_from..)?.to_owned(),
        scope: found.scope.as_str(),
        matched_from,
        matched: usize::from(found.matched),
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

fn position(entry: &Entry, source: &Source, all: &[(&Source, &Entry, &Meta)]) -> Option<usize> {
    all.iter().position(|(s, e, _)| std::ptr::eq(*s, source) && std::ptr::eq(*e, entry))
}

fn covers(listed: &str, scope: Scope, name: &str) -> bool {
    match name.strip_suffix(listed) {
        Some("") => true,
        Some(rest) => scope == Scope::Suffix && rest.ends_with('.'),
        None => false,
    }
}

fn listed(source: &Source, entry: &Entry, meta: &Meta, name: &Name) -> Listed {
    let text = source.name(entry);
    Listed {
        name: text.to_owned(),
        scope: entry.scope.as_str(),
        matched_from: name.as_str().len().saturating_sub(text.len()),
        matched: text.len(),
        file: source.path().to_owned(),
        line: entry.line,
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

/// What bounds the level, in the order in which it is asked.
fn gates(
    flow: &Flow<'_>,
    listed: Category,
    counts: bool,
    category: Category,
    decider: Option<&Rule>,
) -> Vec<(ObservationLevel, Gate)> {
    let mut gates = Vec::new();
    let mut gate = |gate: &'static str, level: ObservationLevel, why: String| {
        gates.push((level, Gate { gate, lets: level.as_str(), why }));
    };
    let evidence = flow.evidence;
    match (flow.name, counts) {
        (None, _) => gate(
            "name",
            ObservationLevel::Aggregate,
            "no name: the flow counts by the reason for that".to_owned(),
        ),
        (_, false) => gate(
            "name",
            ObservationLevel::Aggregate,
            format!(
                "evidence `{evidence}` is not in the flow: what it says about people (`{listed}`) is forgotten"
            ),
        ),
        (_, true) if evidence.is_in_flow() => {
            gate("name", ObservationLevel::Sealed, format!("evidence `{evidence}`: said in the flow itself"));
        }
        _ => gate(
            "name",
            ObservationLevel::Sealed,
            format!("evidence `{evidence}`: enough, `{listed}` says nothing about people"),
        ),
    }
    if category.is_protected() {
        gate(
            "category",
            ObservationLevel::None,
            format!("`{category}` is protected: there is no record of it"),
        );
    } else {
        gate("category", ObservationLevel::Sealed, format!("`{category}` is not protected"));
    }
    // What it allows of a protected category the gate before has said.
    let allowed = without_charter(Category::Unknown);
    gate("charter", allowed, "as if none were in force: no more than counts".to_owned());
    match decider {
        Some(rule) if rule.state == State::Enforce => {
            let level = rule.action.observes(ObservationLevel::Sealed);
            let takes = if level < ObservationLevel::Sealed { "leaves counts" } else { "takes nothing away" };
            gate("rule", level, format!("`{}`: {} {takes}", rule.name, rule.action.as_str()));
        }
        _ => gate("rule", ObservationLevel::Sealed, "no rule decides".to_owned()),
    }
    gates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{self, compile};
    use crate::rules::Declared;

    const SIGNATURES: &str = "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
        zhipin.com\tsuffix\tboss\trecruitment\tsite\tstrong\tv2fly\tMIT\t2026-01-01\t\tthe main site\n\
        file.zhipin.com\texact\tboss\trecruitment\tupload\tstrong\tme\tCC0-1.0\t2026-02-01\t\t\n\
        www.zhipin.com\tsuffix\tboss\trecruitment\tsite\tweak\tme\tMIT\t2026-01-01\t\t\n\
        m.zhipin.com\tsuffix\tboss\trecruitment\tsite\tstrong\tme\tMIT\t2026-01-01\t2026-03-01\t\n\
        ver.di\tsuffix\tverdi\tprotected_union\tsite\tstrong\tme\tMIT\t2026-01-01\t\t\n\
        cdn.example\tsuffix\tcdn\tinfrastructure\tsite\tstrong\tme\tMIT\t2026-01-01\t\t\n";
    const LATER: &str = "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
        zhipin.com\tsuffix\tboss\trecruitment\tsite\tstrong\tlist\tMIT\t2026-01-01\t\t\n";
    const SERVICES: &str = "service\tcategory\ttitle\tregion\n\
        boss\trecruitment\tBOSS\tCN\nverdi\tprotected_union\tver.di\tDE\ncdn\tinfrastructure\tCDN\tworld\n";
    const RULES: &str = "version = 1\n\
        [[rule]]\nname = \"look\"\nmatch = { category = [\"recruitment\"] }\naction = \"block\"\nowner = \"o\"\npurpose = \"conduct\"\n\
        [[rule]]\nname = \"old\"\nmatch = { service = [\"boss\"] }\naction = \"block\"\nstate = \"enforce\"\nexpires = 2026-05-01\nowner = \"o\"\npurpose = \"conduct\"\n\
        [[rule]]\nname = \"pass\"\nmatch = { service = [\"boss\"] }\naction = \"allow\"\nstate = \"enforce\"\nowner = \"o\"\npurpose = \"conduct\"\n\
        [[rule]]\nname = \"late\"\nmatch = { category = [\"recruitment\", \"unknown\"] }\naction = \"block\"\nstate = \"enforce\"\nowner = \"o\"\npurpose = \"conduct\"\n";

    fn ask(name: Option<&str>, evidence: Evidence) -> Explanation {
        let day: Date = "2026-06-01".parse().unwrap();
        let texts = [("a.tsv", SIGNATURES), ("b.tsv", LATER), ("s.tsv", SERVICES)];
        let sources =
            texts.map(|(path, text)| Source::parse(path, text.as_bytes()).unwrap_or_else(|e| panic!("{e}")));
        let options = compile::Options { today: Some(day), ..compile::Options::default() };
        let compiled = compile(&sources, &options).unwrap_or_else(|e| panic!("{e}"));
        let table = SignatureTable::from_bytes(&compiled.bytes).unwrap();
        let file = RuleFile::parse("r.toml", RULES.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
        let (rules, _) = file.bind(&table, &Declared::default(), Some(day)).unwrap_or_else(|e| panic!("{e}"));
        let moment = Moment::day(Some(day));
        let basis = Basis {
            sources: &sources,
            tiers: &options.tiers,
            table: &table,
            file: &file,
            rules: &rules,
            moment: &moment,
        };
        let name = name.map(|name| read_name(name).unwrap());
        explain(&basis, &Flow { name: name.as_ref(), evidence, group: GroupId(0) })
    }

    fn levels(explained: &Explanation) -> Vec<(&str, &str)> {
        explained.gates.iter().map(|g| (g.gate, g.lets)).collect()
    }

    #[test]
    fn says_which_bytes_and_which_entry() {
        let explained = ask(Some("WWW.Zhipin.com."), Evidence::Sni);
        let entry = explained.entry.as_ref().unwrap();
        assert_eq!((entry.file.as_str(), entry.line, entry.name.as_str()), ("a.tsv", 2, "zhipin.com"));
        assert_eq!((entry.matched_from, entry.matched), (4, 10));
        assert_eq!(
            (entry.source.as_str(), entry.licence.as_str(), entry.added.as_str()),
            ("v2fly", "MIT", "2026-01-01")
        );
        let others: Vec<_> = explained
            .passed_over
            .iter()
            .map(|p| (p.entry.file.as_str(), p.entry.line, p.why.as_str()))
            .collect();
        assert_eq!(
            others,
            [("a.tsv", 4, "tier weak: not in the table"), ("b.tsv", 2, "a.tsv:2 lists it before")]
        );
        assert_eq!(explained.service.unwrap().key, "boss");
    }

    #[test]
    fn the_longest_and_exact_entries_win_and_ended_ones_do_not() {
        let explained = ask(Some("file.zhipin.com"), Evidence::Sni);
        assert_eq!(explained.entry.unwrap().role, "upload");
        let whys: Vec<_> = explained.passed_over.into_iter().map(|p| p.why).collect();
        assert_eq!(whys, ["`file.zhipin.com` is longer", "`file.zhipin.com` is longer"]);
        let explained = ask(Some("x.m.zhipin.com"), Evidence::Sni);
        assert_eq!(explained.entry.unwrap().name, "zhipin.com");
        assert_eq!(explained.passed_over[0].why, "it ended with 2026-03-01");
        assert_eq!(ask(Some("xzhipin.com"), Evidence::Sni).entry, None);
    }

    #[test]
    fn says_what_becomes_of_each_rule_and_which_gates_there_are() {
        let explained = ask(Some("zhipin.com"), Evidence::Sni);
        let rules: Vec<_> = explained.rules.iter().map(|r| (r.rule.as_str(), r.outcome, r.line)).collect();
        assert_eq!(
            rules,
            [
                ("look", "would_decide", 3),
                ("old", "expired", 9),
                ("pass", "decides", 17),
                ("late", "covered", 24)
            ]
        );
        assert_eq!((explained.action.as_str(), explained.decided_by.as_deref()), ("allow", Some("pass")));
        assert_eq!(
            levels(&explained),
            [("name", "sealed"), ("category", "sealed"), ("charter", "aggregate"), ("rule", "aggregate")]
        );
        assert_eq!((explained.level, explained.rules_asked), ("aggregate", 4));
    }

    #[test]
    fn weak_evidence_says_nothing_about_people() {
        let explained = ask(Some("zhipin.com"), Evidence::DnsHint);
        assert_eq!((explained.category, explained.service.clone()), ("unknown", None));
        assert!(explained.entry.is_some(), "what matched is shown all the same");
        assert!(explained.gates[0].why.contains("forgotten"));
        assert_eq!(explained.decided_by.as_deref(), Some("late"), "rules see what counts");
        assert_eq!(ask(Some("a.cdn.example"), Evidence::DnsHint).category, "infrastructure");
    }

    #[test]
    fn protected_names_and_flows_without_a_name() {
        let explained = ask(Some("ver.di"), Evidence::Sni);
        assert_eq!((explained.level, explained.gates[1].lets), ("none", "none"));
        let explained = ask(None, Evidence::None);
        assert_eq!((explained.category, explained.level, explained.name), ("unknown", "aggregate", None));
    }

    /// The entry that is shown is the one that the table found, for every name that comes with the gateway.
    #[test]
    fn agrees_with_the_table() {
        let (sources, table) = (crate::builtin::sources().unwrap(), crate::builtin::table().unwrap());
        let (file, rules, moment) = (RuleFile::default(), Rules::default(), Moment::default());
        let basis = Basis {
            sources: &sources,
            tiers: &[Tier::Strong],
            table: &table,
            file: &file,
            rules: &rules,
            moment: &moment,
        };
        let names = sources.iter().flat_map(|s| s.entries().iter().step_by(7).map(|e| s.name(e).to_owned()));
        let mut asked = 0;
        for name in names.flat_map(|name| [format!("www.{name}"), name]) {
            let Ok(name) = read_name(&name) else { continue };
            let found = table.lookup(&name);
            let explained =
                explain(&basis, &Flow { name: Some(&name), evidence: Evidence::Sni, group: GroupId(0) });
            let of_table =
                found.and_then(|f| Some((f.matched as usize, table.service(f.service)?.name.to_owned())));
            assert_eq!(explained.entry.map(|e| (e.matched, e.service)), of_table, "{name}");
            asked += 1;
        }
        assert!(asked > 500, "{asked}");
        // Without the sources, as with a pack, all but the line is known.
        let name = read_name("www.zhipin.com").unwrap();
        let flow = Flow { name: Some(&name), evidence: Evidence::Sni, group: GroupId(0) };
        let entry = |basis: &Basis<'_>| explain(basis, &flow).entry.unwrap();
        let (with, without) = (entry(&basis), entry(&Basis { sources: &[], ..basis }));
        assert_eq!(Listed { line: 0, ..with }, without);
    }

    #[test]
    fn names_in_unicode_are_read() {
        assert_eq!(read_name("Bücher.example").unwrap().as_str(), "xn--bcher-kva.example");
        assert!(read_name("192.0.2.1").is_err() && read_name("a b").is_err() && read_name("").is_err());
    }
}
