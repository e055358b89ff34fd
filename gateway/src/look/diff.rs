//! `glassgate replay --diff OLD NEW`: flows whose verdict two rules files disagree about, by the rule that makes the
//! difference.
//!
//! What a flow is does not depend on rules: the captures are read once, and each flow is decided twice.

use crate::cli;
use crate::clock;
use crate::exit::{Ended, Exit};
use crate::replay::{self, Replay, Seen};
use crate::verdicts::{self, Compiled};
use anyhow::Result;
use glassgate_dataplane::classifier::{FlowSummary, Policy};
use glassgate_policy::charter::{Levels, without_charter};
use glassgate_policy::rules::{Moment, Outcome, Rules, Target};
use glassgate_policy::{GroupId, Reason};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Flows of a change that are shown.
const EXAMPLES: usize = 3;

/// What differs, as `--json` prints it.
#[derive(Debug, Default, Serialize)]
struct Diff {
    old: String,
    new: String,
    captures: usize,
    flows: u64,
    /// Flows whose verdict differs.
    changed: u64,
    /// Most flows first.
    changes: Vec<Change>,
    /// Rules of NEW in shadow, in order, and the flows that they would decide about.
    shadow: Vec<Shadow>,
}

/// Flows with the same two verdicts by the same two rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Change {
    old: Verdict,
    new: Verdict,
    flows: u64,
    bytes: u64,
    /// Different ones, in order of the captures.
    examples: Vec<String>,
}

/// A verdict and the rule that gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
struct Verdict {
    action: String,
    level: &'static str,
    /// None where no rule decides.
    rule: Option<String>,
    /// Its line.
    line: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Shadow {
    rule: String,
    flows: u64,
    bytes: u64,
}

/// Reads the captures and says where the two rules files differ.
pub(super) fn run(args: &cli::Replay, old: &Path, new: &Path) -> Result<Exit> {
    let compile = |rules: &Path| {
        verdicts::compile(args.signatures.as_deref(), Some(rules), Some(clock::shown_day()))
            .map_err(|faults| Ended::new(Exit::Invalid, format!("rules or signatures are wrong\n{faults}")))
    };
    let (old_rules, new_rules) = (compile(old)?, compile(new)?);
    // Services have the same numbers under both: the table is made of the same sources.
    let policy = Policy {
        table: Arc::new(new_rules.table.clone()),
        matrix: Arc::new(new_rules.matrix(1, u64::MAX, &Levels::counts(1), &Moment::default())),
    };
    let mut differ = Differ::new(&old_rules, &new_rules);
    let mut tell = |seen: &Seen<'_>| {
        differ.flow(seen);
        Ok(())
    };
    let outcome = replay::run(Replay {
        captures: &args.captures,
        policy,
        options: super::options(),
        tell: Some(&mut tell),
    })?;
    super::tell_damage(&outcome);
    let mut diff = differ.finish();
    (diff.old, diff.new) = (old.display().to_string(), new.display().to_string());
    diff.captures = outcome.captures;
    crate::print(&if args.json { serde_json::to_string(&diff)? + "\n" } else { describe(&diff) })?;
    Ok(super::end(&outcome, args.strict))
}

/// Decides flows twice.
struct Differ<'a> {
    old: &'a Rules,
    new: &'a Rules,
    moment: Moment,
    /// Both verdicts and the rules of NEW that would decide, for each target seen.
    decided: HashMap<Target, (Verdict, Verdict, Vec<usize>)>,
    changes: BTreeMap<(Verdict, Verdict), Change>,
    shadow: BTreeMap<usize, Shadow>,
    flows: u64,
}

impl<'a> Differ<'a> {
    fn new(old: &'a Compiled, new: &'a Compiled) -> Self {
        Self {
            old: &old.rules,
            new: &new.rules,
            moment: Moment::day(Some(clock::shown_day())),
            decided: HashMap::new(),
            changes: BTreeMap::new(),
            shadow: BTreeMap::new(),
            flows: 0,
        }
    }

    fn flow(&mut self, seen: &Seen<'_>) {
        self.flows += 1;
        let s = seen.summary;
        // An ambiguous flow is never decided about, whatever the rules say.
        if matches!(s.reason, Some(Reason::AmbiguousOverlap | Reason::AmbiguousDecoy)) {
            return;
        }
        let target = Target { group: GroupId(0), category: s.category, service: s.service };
        let (rules, moment) = ([self.old, self.new], &self.moment);
        let (old, new, shadow) = self.decided.entry(target).or_insert_with(|| {
            let [old, new] = rules.map(|rules| verdict(rules, &target, moment));
            let would = rules[1].explain(&target, moment).filter(|(_, o)| *o == Outcome::WouldDecide);
            (old, new, would.map(|(i, _)| i).collect())
        });
        let bytes = s.bytes_up + s.bytes_down;
        for i in shadow.iter() {
            let name = || self.new.as_slice().get(*i).map_or_else(String::new, |rule| rule.name.clone());
            let shadow = self.shadow.entry(*i).or_insert_with(|| Shadow { rule: name(), flows: 0, bytes: 0 });
            shadow.flows += 1;
            shadow.bytes += bytes;
        }
        if (&old.action, old.level) == (&new.action, new.level) {
            return;
        }
        let new_change = || Change { old: old.clone(), new: new.clone(), ..Change::default() };
        let change = self.changes.entry((old.clone(), new.clone())).or_insert_with(new_change);
        change.flows += 1;
        change.bytes += bytes;
        if change.examples.len() < EXAMPLES {
            let example = example(s, seen.names.first().copied());
            if !change.examples.contains(&example) {
                change.examples.push(example);
            }
        }
    }

    fn finish(self) -> Diff {
        let mut changes: Vec<Change> = self.changes.into_values().collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.flows));
        Diff {
            flows: self.flows,
            changed: changes.iter().map(|change| change.flows).sum(),
            changes,
            shadow: self.shadow.into_values().collect(),
            ..Diff::default()
        }
    }
}

fn verdict(rules: &Rules, target: &Target, moment: &Moment) -> Verdict {
    let decision = rules.decide(target, moment);
    let rule = decision.by.and_then(|i| rules.as_slice().get(i));
    Verdict {
        action: rule.map_or_else(|| "allow".to_owned(), |rule| rule.action.to_string()),
        level: decision.action.observes(without_charter(target.category)).as_str(),
        rule: rule.map(|rule| rule.name.clone()),
        line: rule.map(|rule| rule.line),
    }
}

/// A flow in a few words: its name if it has one; the captures are the user's own.
fn example(s: &FlowSummary, name: Option<&str>) -> String {
    let (l4, server) = (s.tuple.l4, s.tuple.server);
    name.map_or_else(|| format!("{l4} {server}"), |name| format!("{name} ({l4}/{})", server.port))
}

fn describe(diff: &Diff) -> String {
    let mut out = format!("{} captures, {} flows: {} change\n", diff.captures, diff.flows, diff.changed);
    let by = |verdict: &Verdict, file: &str| match (&verdict.rule, verdict.line) {
        (Some(rule), Some(line)) => format!("{rule} ({file}:{line})"),
        _ => "no rule".to_owned(),
    };
    for Change { old, new, flows, bytes, examples } in &diff.changes {
        // The level is worth its word only where it differs.
        let says = |verdict: &Verdict| match old.level == new.level {
            true => verdict.action.clone(),
            false => format!("{} ({})", verdict.action, verdict.level),
        };
        _ = writeln!(out, "\n{} -> {}: {flows} flows, {bytes} bytes", says(old), says(new));
        _ = writeln!(out, "  by {}, before by {}", by(new, &diff.new), by(old, &diff.old));
        _ = writeln!(out, "  such as {}", examples.join(", "));
    }
    if !diff.shadow.is_empty() {
        _ = writeln!(out, "\nin shadow, these would decide:");
        for Shadow { rule, flows, bytes } in &diff.shadow {
            _ = writeln!(out, "  {rule}: {flows} flows, {bytes} bytes");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use glassgate_dataplane::classifier::FlowSummary;
    use glassgate_dataplane::packet::Vlans;
    use glassgate_policy::{Category, Endpoint, Evidence, FiveTuple, L4};
    use std::net::Ipv4Addr;

    fn compiled(dir: &Path, name: &str, rules: &str) -> Compiled {
        let path = dir.join(name);
        std::fs::write(&path, format!("version = 1\n{rules}")).unwrap();
        verdicts::compile(None, Some(&path), None).unwrap_or_else(|e| panic!("{e}"))
    }

    fn rule(name: &str, matches: &str, action: &str, state: &str) -> String {
        format!(
            "[[rule]]\nname = \"{name}\"\nmatch = {{ {matches} }}\naction = \"{action}\"\nstate = \"{state}\"\n\
             owner = \"net\"\npurpose = \"bandwidth\"\n"
        )
    }

    fn flow(compiled: &Compiled, service: &str, reason: Option<Reason>) -> FlowSummary {
        let service = compiled.table.service_named(service).unwrap();
        let end = |last, port| Endpoint { ip: Ipv4Addr::new(192, 0, 2, last).into(), port };
        FlowSummary {
            tuple: FiveTuple { l4: L4::Tcp, client: end(1, 40_000), server: end(2, 443) },
            vlans: Vlans::default(),
            first_frame: 1,
            name_frame: 4,
            first_ns: 0,
            ended_ns: 1,
            frames_up: 1,
            frames_down: 1,
            bytes_up: 100,
            bytes_down: 900,
            app: None,
            evidence: if reason.is_none() { Evidence::Sni } else { Evidence::None },
            reason,
            service,
            category: compiled.table.service(service).map_or(Category::Unknown, |s| s.category),
            verdict: glassgate_policy::Verdict::FAIL_OPEN,
            ech: false,
            multi_name: false,
        }
    }

    #[test]
    fn changes_are_grouped_by_the_rules_that_make_them() {
        let dir = tempfile::tempdir().unwrap();
        let games = "category = [\"games\"]";
        let old = compiled(dir.path(), "old.toml", &rule("no-games", games, "block", "enforce"));
        let new = rule("steam", "service = [\"steam\"]", "allow", "enforce")
            + &rule("no-games", games, "block", "enforce")
            + &rule("no-music", "category = [\"music\"]", "block", "enforce")
            + &rule("news", "category = [\"news\"]", "block", "shadow");
        let new = compiled(dir.path(), "new.toml", &new);
        let mut differ = Differ::new(&old, &new);
        let mut see = |service: &str, reason| {
            let (summary, name) = (flow(&new, service, reason), format!("www.{service}.example"));
            differ.flow(&Seen {
                capture: "c",
                summary: &summary,
                names: vec![&name],
                claims: vec![],
                hello: None,
            });
        };
        see("steam", None);
        see("gog", None);
        for _ in 0..5 {
            see("spotify", None);
        }
        see("bbc", None);
        see("steam", Some(Reason::AmbiguousOverlap));
        let diff = differ.finish();
        assert_eq!((diff.flows, diff.changed), (9, 6));
        let changes: Vec<_> = diff
            .changes
            .iter()
            .map(|c| {
                (c.flows, c.old.action.as_str(), c.new.action.as_str(), c.new.rule.as_deref(), c.new.line)
            })
            .collect();
        let no_music = (5, "allow", "block", Some("no-music"), Some(17));
        assert_eq!(changes, [no_music, (1, "block", "allow", Some("steam"), Some(3))]);
        assert_eq!(diff.changes[0].examples, ["www.spotify.example (tcp/443)"], "different ones only");
        assert_eq!(diff.shadow, [Shadow { rule: "news".to_owned(), flows: 1, bytes: 1000 }]);
        let text = describe(&Diff { new: "new.toml".into(), ..diff });
        assert!(
            text.contains(
                "allow -> block: 5 flows, 5000 bytes\n  by no-music (new.toml:17), before by no rule"
            ),
            "{text}"
        );
    }

    #[test]
    fn equal_rules_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let rules =
            compiled(dir.path(), "r.toml", &rule("no-games", "category = [\"games\"]", "block", "enforce"));
        let mut differ = Differ::new(&rules, &rules);
        let summary = flow(&rules, "steam", None);
        differ.flow(&Seen { capture: "c", summary: &summary, names: vec![], claims: vec![], hello: None });
        assert_eq!(differ.finish().changed, 0);
    }

    #[test]
    fn two_files_are_named_and_nothing_that_contradicts_them() {
        let parse =
            |words: &[&str]| crate::cli::Cli::try_parse_from([&["glassgate", "replay"], words].concat());
        assert!(parse(&["a.pcap", "--diff", "old.toml", "new.toml"]).is_ok());
        assert!(parse(&["--diff", "old.toml", "new.toml", "a.pcap"]).is_ok());
        assert!(parse(&["a.pcap", "--diff", "old.toml", "new.toml", "--rules", "r.toml"]).is_err());
        assert!(parse(&["a.pcap", "--diff", "old.toml"]).is_err());
    }
}
