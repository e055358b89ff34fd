//! Findings about rules that are valid: what they say is possible, and probably not what was meant.
//!
//! | code | level | what |
//! |---|---|---|
//! | `unreachable` | warning | enforced rules before it decide about all that the rule matches |
//! | `expires-soon` | warning | the rule acts for a few more days only |
//!
//! What a rule matches is a set of columns, as in the verdict matrix: each category, and each service that some rule
//! singles out. So the answers are exact for the table that the rules are bound to.

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::{Rule, RuleFile, Rules, State, Target};
use crate::category::Category;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::table::SignatureTable;
use crate::vocab::{GroupId, ServiceId};

/// What to lint by.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The day.
    pub today: Date,
    /// How many days ahead the end of a rule is worth a warning.
    pub soon_days: u16,
}

/// Findings about `rules`, which were read from `file` and bound to `table`.
pub fn rules(file: &RuleFile, rules: &Rules, table: &SignatureTable, options: &Options) -> Diagnostics {
    let mut found = Diagnostics::new();
    let columns = columns(rules, table);
    // The enforced rule that decides about each column, so far.
    let mut decided: Vec<Option<usize>> = vec![None; columns.len()];
    for (i, rule) in rules.as_slice().iter().enumerate() {
        if rule.is_over(Some(options.today)) {
            continue;
        }
        let matched =
            || columns.iter().enumerate().filter(|(_, target)| rule.matches.covers(target)).map(|(c, _)| c);
        let mut by: Vec<usize> = matched().filter_map(|c| decided.get(c).copied().flatten()).collect();
        if !by.is_empty() && by.len() == matched().count() {
            by.sort_unstable();
            by.dedup();
            found.push(unreachable(file, rules, rule, &by));
        }
        if rule.state == State::Enforce && rule.expires.is_none() {
            for c in matched() {
                if let Some(slot) = decided.get_mut(c) {
                    slot.get_or_insert(i);
                }
            }
        }
        if let Some(last) = rule.expires
            && last < options.today.saturating_add(i64::from(options.soon_days).days())
        {
            found.push(
                warning(file, rule, "expires-soon", format!("rule `{}` ends with {last}", rule.name))
                    .help("give it a later last day if it is still needed"),
            );
        }
    }
    found
}

fn unreachable(file: &RuleFile, rules: &Rules, rule: &Rule, by: &[usize]) -> Diagnostic {
    let before = by.iter().filter_map(|i| rules.as_slice().get(*i));
    let names: Vec<String> = before.map(|r| format!("`{}` (line {})", r.name, r.line)).collect();
    let message = format!("rule `{}` never decides: {} does before it", rule.name, names.join(", "));
    warning(file, rule, "unreachable", message)
        .help("the first enforced rule that matches decides: move it up, or take it out")
}

fn warning(file: &RuleFile, rule: &Rule, code: &'static str, message: String) -> Diagnostic {
    file.at_rule(rule, code, message).severity(Severity::Warning)
}

/// One flow of each column of the matrix.
fn columns(rules: &Rules, table: &SignatureTable) -> Vec<Target> {
    let mut services: Vec<ServiceId> =
        rules.as_slice().iter().flat_map(|rule| rule.matches.services.iter().copied()).collect();
    services.sort_unstable();
    services.dedup();
    let of = |category, service| Target { group: GroupId(0), category, service };
    let own = services.iter().filter_map(|id| Some(of(table.service(*id)?.category, *id)));
    Category::ALL.iter().map(|category| of(*category, ServiceId::NONE)).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    fn codes(body: &str) -> Vec<(&'static str, u32)> {
        let today: Date = "2026-06-01".parse().unwrap();
        let table = builtin::table().unwrap();
        let text = format!("version = 1\n{body}");
        let file = RuleFile::parse("r", text.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
        let (bound, _) = file.bind(&table, Some(today)).unwrap_or_else(|e| panic!("{e}"));
        let found = rules(&file, &bound, &table, &Options { today, soon_days: 30 });
        found.into_iter().map(|d| (d.code, d.line)).collect()
    }

    fn rule(name: &str, matches: &str, rest: &str) -> String {
        format!(
            "[[rule]]\nname = \"{name}\"\nmatch = {{ {matches} }}\nowner = \"net\"\npurpose = \"security\"\n{rest}\n"
        )
    }

    const BLOCK: &str = "action = \"block\"\nstate = \"enforce\"";

    #[test]
    fn a_rule_behind_a_wider_one_is_unreachable() {
        let games = rule("games", "category = [\"games\"]", BLOCK);
        let steam = rule("steam", "service = [\"steam\"]", "action = \"allow\"");
        assert_eq!(codes(&(games.clone() + &steam)), [("unreachable", 10)]);
        assert_eq!(codes(&(steam + &games)), []);
    }

    #[test]
    fn the_end_of_a_rule_is_told_in_time() {
        let rule = |last: &str| rule("a", "category = [\"games\"]", &format!("{BLOCK}\nexpires = {last}"));
        assert_eq!(codes(&rule("2026-06-20")), [("expires-soon", 3)]);
        assert_eq!(codes(&rule("2026-09-01")), []);
    }
}
