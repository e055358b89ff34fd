//! `glassgate rules hits`: what the rules of the running gateway did.

use crate::ask;
use crate::cli::Ask;
use crate::clock;
use crate::control::snapshot::RuleNow;
use crate::control::socket::{Answer, Question};
use crate::exit::Exit;
use anyhow::Result;
use std::fmt::Write as _;

/// Asks the gateway.
pub(super) fn run(args: &Ask) -> Result<Exit> {
    let Answer::Status(now) = ask::ask(&ask::socket(args)?, &Question::Status)? else {
        anyhow::bail!("the gateway gave another answer than was asked for");
    };
    crate::print(&if args.json { serde_json::to_string(&now.rules)? + "\n" } else { describe(&now.rules) })?;
    Ok(Exit::Done)
}

fn describe(rules: &[RuleNow]) -> String {
    if rules.is_empty() {
        return "no rules are in force: every flow passes\n".to_owned();
    }
    let wide = |of: fn(&RuleNow) -> &String| rules.iter().map(|rule| of(rule).len()).max().unwrap_or(0);
    let (name, action) = (wide(|r| &r.name).max(4), wide(|r| &r.action).max(6));
    let mut out = format!(
        "{:<name$}  {:<7}  {:<action$}  {:>10}  {:>15}  {:<15}  counted since (UTC)\n",
        "rule", "state", "action", "flows", "bytes", "last hit"
    );
    for rule in rules {
        let state = if rule.enforced { "enforce" } else { "shadow" };
        let (last, since) = (clock::hour(rule.last_hit.as_deref()), clock::minute(rule.since.as_deref()));
        let RuleNow { name: called, action: does, .. } = rule;
        let shown = |n: u64| match (rule.rounded, n) {
            (false, n) => n.to_string(),
            (true, 0) => "few".to_owned(),
            (true, n) => format!("{n}+"),
        };
        let (flows, bytes) = (shown(rule.flows), shown(rule.bytes));
        _ = writeln!(
            out,
            "{called:<name$}  {state:<7}  {does:<action$}  {flows:>10}  {bytes:>15}  {last:<15}  {since}"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rule = |name: &str, flows| RuleNow {
            name: name.to_owned(),
            enforced: flows > 0,
            action: "block".to_owned(),
            flows,
            bytes: flows * 1000,
            last_hit: (flows > 0).then(|| "2026-11-21T14:00:00Z".to_owned()),
            since: Some("2026-11-20T08:12:40Z".to_owned()),
            rounded: flows == 1000,
        };
        let text = describe(&[rule("no-short-video", 120), rule("b", 0)]);
        let ends: Vec<usize> =
            text.lines().map(|line| line.chars().take_while(|c| *c != '–').count()).collect();
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("2026-11-21 14 h") && text.contains("2026-11-20 08:12"), "{text}");
        assert!(text.lines().nth(2).unwrap().find("2026-11-20").is_some() && ends.len() == 3);
        assert!(describe(&[rule("c", 1000)]).contains("1000+"));
        assert!(describe(&[]).contains("no rules"));
    }
}
