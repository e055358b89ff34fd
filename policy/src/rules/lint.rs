//! Findings about rules and signatures that are valid: what they say is possible, and probably not what was meant.
//!
//! [`CODES`] lists all findings. Those about the order of rules are exact: what a rule matches is a set of cells, as
//! in the verdict matrix (each group that a rule names and everybody else, each category and each service that a rule
//! singles out, each calendar and the time when none is open), and the findings are about these cells.

mod coverage;
mod names;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::{Declared, Rule, RuleAction, RuleFile, Rules, State};
use crate::category::Category;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::source::Source;
use crate::table::SignatureTable;

/// A kind of finding.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// The word that a diagnostic carries.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, a sentence.
    pub about: &'static str,
}

/// Every finding beyond the errors of a file that can't be read, in the order of the guide.
pub const CODES: &[Code] = &[
    code("unreachable", Severity::Warning, "enforced rules before this one decide about all that it matches"),
    code(
        "overlap",
        Severity::Warning,
        "two rules with different actions meet, and neither is an exception from the other: the order decides",
    ),
    code("redundant", Severity::Note, "without this rule, rules behind it would do the same"),
    code("never-matches", Severity::Warning, "a service is not of the categories of the same rule"),
    code("expired", Severity::Warning, "the last day is over: the rule does nothing"),
    code("expires-soon", Severity::Warning, "the last day is near (`--soon DAYS`)"),
    code(
        "wide-block",
        Severity::Warning,
        "the rule blocks what is in no list, or infrastructure that everything needs",
    ),
    code(
        "blocks-protected",
        Severity::Warning,
        "the rule blocks a protected category, which only purpose `security` may",
    ),
    code(
        "no-meaning",
        Severity::Warning,
        "a group or calendar is known to the rule file only: rules with it do nothing",
    ),
    code("unused", Severity::Note, "the head of the file declares a group or calendar that no rule uses"),
    code("confusable-name", Severity::Warning, "two names look alike, or one mixes scripts"),
    code("bad-idn", Severity::Warning, "a name begins with `xn--` and stands for no Unicode name"),
    code(
        "too-large",
        Severity::Note,
        "too many groups, calendars and services to compare rules with each other",
    ),
];

const fn code(code: &'static str, severity: Severity, about: &'static str) -> Code {
    Code { code, severity, about }
}

/// What to lint by.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The day.
    pub today: Date,
    /// How many days ahead an end is worth a warning.
    pub soon_days: u16,
}

impl Options {
    fn is_soon(&self, last: Option<Date>) -> bool {
        let horizon = self.today.saturating_add(i64::from(self.soon_days).days());
        last.is_some_and(|last| self.today <= last && last < horizon)
    }
}

/// Findings about `rules`, which were read from `file` and bound to `table` and `declared`. Those that binding finds
/// are not repeated.
pub fn rules(
    file: &RuleFile,
    rules: &Rules,
    table: &SignatureTable,
    declared: &Declared,
    options: &Options,
) -> Diagnostics {
    let mut found = Vec::new();
    for rule in rules.as_slice() {
        one(file, rule, table, declared, options, &mut found);
    }
    for (word, span) in file.groups.iter().chain(&file.calendars) {
        let uses =
            |rule: &Rule| rule.matches.group_names.contains(word) || rule.matches.calendars.contains(word);
        if !rules.as_slice().iter().any(uses) {
            let fault = file.text().error(span.clone(), "unused", format!("no rule uses `{word}`"));
            found.push(fault.severity(Severity::Note).help("take it out"));
        }
    }
    coverage::check(file, rules, table, options, &mut found);
    names::rules(file, rules, &mut found);
    in_order(found)
}

/// Findings about sources of signatures that compile.
pub fn signatures(sources: &[Source], options: &Options) -> Diagnostics {
    let mut found = Vec::new();
    for source in sources {
        for (i, meta) in source.metas().iter().enumerate().filter(|(_, meta)| options.is_soon(meta.expires)) {
            let message = format!("signatures of `{}` end soon", meta.service);
            let fault = source.meta_error(i, 9, "expires-soon", message).severity(Severity::Warning);
            found.push(fault.help("look whether they are still right, and give them a later last day"));
        }
    }
    names::signatures(sources, &mut found);
    in_order(found)
}

/// What one rule says by itself.
fn one(
    file: &RuleFile,
    rule: &Rule,
    table: &SignatureTable,
    declared: &Declared,
    options: &Options,
    found: &mut Vec<Diagnostic>,
) {
    let mut say = |code: &'static str, message: String, help: &str| {
        found.push(finding(file, rule, code, message).help(help))
    };
    let name = &rule.name;
    if options.is_soon(rule.expires) {
        let last = rule.expires.unwrap_or(options.today);
        say(
            "expires-soon",
            format!("rule `{name}` ends with {last}"),
            "give it a later last day if it is still needed",
        );
    }
    let unknown = |known: &dyn Fn(&String) -> bool, words: &[String]| -> Vec<String> {
        words.iter().filter(|word| !known(word)).map(|word| format!("`{word}`")).collect()
    };
    let groups = unknown(&|g| declared.groups.contains_key(g), &rule.matches.group_names);
    if !groups.is_empty() {
        let message =
            format!("rule `{name}` is about {}, and nothing says who is in there", groups.join(", "));
        say("no-meaning", message, "the charter says who is in a group");
    }
    let calendars = unknown(&|c| declared.calendars.contains(c), &rule.matches.calendars);
    if !calendars.is_empty() {
        let message =
            format!("rule `{name}` needs {}, and nothing says when that is open", calendars.join(", "));
        say(
            "no-meaning",
            message,
            "the charter says when a calendar is open; until then the rule does nothing",
        );
    }
    if rule.action == RuleAction::Block {
        let wide = |category: &&Category| matches!(category, Category::Unknown | Category::Infrastructure);
        for category in
            rule.matches.categories.iter().filter(wide).filter(|_| rule.matches.services.is_empty())
        {
            let message = match category {
                Category::Unknown => format!("rule `{name}` blocks everything that is in no list"),
                _ => format!("rule `{name}` blocks `{category}`, which other services need to work"),
            };
            say("wide-block", message, "look at its hits in shadow before it is enforced");
        }
        let services = rule.matches.services.iter().filter_map(|id| Some(table.service(*id)?.category));
        let mut protected: Vec<Category> =
            rule.matches.categories.iter().copied().chain(services).filter(|c| c.is_protected()).collect();
        protected.sort_unstable();
        protected.dedup();
        for category in protected {
            let message = format!(
                "rule `{name}` blocks `{category}`: banks, doctors, unions and the like of your staff"
            );
            say("blocks-protected", message, "block the services that are a danger, not the category");
        }
    }
}

/// A finding about a rule, with the level of its code.
fn finding(file: &RuleFile, rule: &Rule, code: &'static str, message: String) -> Diagnostic {
    file.at_rule(rule, code, message).severity(severity(code))
}

fn severity(code: &str) -> Severity {
    CODES.iter().find(|c| c.code == code).map_or(Severity::Warning, |c| c.severity)
}

/// By place: people read from the top.
fn in_order(mut found: Vec<Diagnostic>) -> Diagnostics {
    found.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
    let mut all = Diagnostics::new();
    found.into_iter().for_each(|finding| all.push(finding));
    all
}

/// Whether a rule acts, today and for good: what comes behind it can rely on it.
fn acts_for_good(rule: &Rule) -> bool {
    rule.state == State::Enforce && rule.expires.is_none()
}

#[cfg(test)]
mod tests;
