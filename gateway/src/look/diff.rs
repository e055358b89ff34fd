//! `glassgate replay --diff OLD NEW`: flows whose verdict two rules files disagree about, by the rule that makes the
//! difference.
//!
//! What a flow is does not depend on rules: the captures are read once, and each flow is decided twice.

use crate::cli;
use crate::config::PolicyFiles;
use crate::exit::{Ended, Exit};
use crate::replay::{self, Replay, Seen};
use crate::terms::Terms;
use crate::verdicts::{self, Compiled};
use anyhow::Result;
use glassgate_dataplane::classifier::{FlowSummary, Policy};
use glassgate_policy::charter::Levels;
use glassgate_policy::rules::{Moment, Outcome, Rules, Target};
use glassgate_policy::{ObservationLevel, Reason};
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
    /// What would be written under NEW and the charter that was given, by the gate that decides; most flows first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recording: Vec<Recorded>,
}

/// Flows of which as much may be written, for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Recorded {
    level: &'static str,
    gate: &'static str,
    why: String,
    flows: u64,
    bytes: u64,
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
    let terms = Terms::read(&args.under)?;
    let compile = |rules: &Path| {
        let (signatures, rules) = (args.signatures.clone(), Some(rules.to_owned()));
        let files = PolicyFiles { signatures, rules, ..PolicyFiles::default() };
        verdicts::compile_with(&files, terms.declared.clone(), terms.moment.today, false)
            .map_err(|faults| Ended::new(Exit::Invalid, format!("rules or signatures are wrong\n{faults}")))
    };
    let (old_rules, new_rules) = (compile(old)?, compile(new)?);
    // Services have the same numbers under both: the table is made of the same sources.
    let policy = Policy {
        table: Arc::new(new_rules.table.clone()),
        matrix: Arc::new(new_rules.matrix(1, u64::MAX, &Levels::counts(1), &Moment::default())),
    };
    let mut differ = Differ::new(&old_rules, &new_rules, &terms);
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
    terms: &'a Terms,
    /// What is known of each target seen.
    decided: HashMap<Target, Decided>,
    changes: BTreeMap<(Verdict, Verdict), Change>,
    shadow: BTreeMap<usize, Shadow>,
    recording: BTreeMap<Why, (u64, u64)>,
    flows: u64,
}

/// What bounds what may be written: how much it lets through, its name, its reason.
type Why = (ObservationLevel, &'static str, String);

struct Decided {
    old: Verdict,
    new: Verdict,
    /// Rules of NEW that would decide.
    shadow: Vec<usize>,
    /// None where no charter is asked about.
    why: Option<Why>,
}

impl<'a> Differ<'a> {
    fn new(old: &'a Compiled, new: &'a Compiled, terms: &'a Terms) -> Self {
        Self {
            old: &old.rules,
            new: &new.rules,
            terms,
            decided: HashMap::new(),
            changes: BTreeMap::new(),
            shadow: BTreeMap::new(),
            recording: BTreeMap::new(),
            flows: 0,
        }
    }

    fn flow(&mut self, seen: &Seen<'_>) {
        self.flows += 1;
        let s = seen.summary;
        let bytes = s.bytes_up + s.bytes_down;
        // An ambiguous flow is never decided about, whatever the rules say.
        if matches!(s.reason, Some(Reason::AmbiguousOverlap | Reason::AmbiguousDecoy)) {
            if self.terms.asks_charter() {
                let why = "the flow has several readings: nothing is decided by one of them".to_owned();
                self.count((ObservationLevel::None, "name", why), bytes);
            }
            return;
        }
        let target = Target { group: self.terms.row, category: s.category, service: s.service };
        let (rules, terms) = ([self.old, self.new], self.terms);
        let decided = self.decided.entry(target).or_insert_with(|| {
            let [old, new] = rules.map(|rules| verdict(rules, &target, terms));
            let moment = &terms.moment;
            let would = rules[1].explain(&target, moment).filter(|(_, o)| *o == Outcome::WouldDecide);
            Decided { old, new, shadow: would.map(|(i, _)| i).collect(), why: why(rules[1], &target, terms) }
        });
        let why = decided.why.clone();
        let Decided { old, new, shadow, .. } = decided;
        for i in shadow.iter() {
            let name = || self.new.as_slice().get(*i).map_or_else(String::new, |rule| rule.name.clone());
            let shadow = self.shadow.entry(*i).or_insert_with(|| Shadow { rule: name(), flows: 0, bytes: 0 });
            shadow.flows += 1;
            shadow.bytes += bytes;
        }
        if (&old.action, old.level) != (&new.action, new.level) {
            let new_change = || Change { old: old.clone(), new: new.clone(), ..Change::default() };
            let change = self.changes.entry((old.clone(), new.clone())).or_insert_with(new_change);
            change.flows += 1;
            change.bytes += bytes;
            let example = example(s, seen.names.first().copied());
            if change.examples.len() < EXAMPLES && !change.examples.contains(&example) {
                change.examples.push(example);
            }
        }
        if let Some(why) = why {
            self.count(why, bytes);
        }
    }

    fn count(&mut self, why: Why, bytes: u64) {
        let (flows, sum) = self.recording.entry(why).or_default();
        (*flows, *sum) = (*flows + 1, *sum + bytes);
    }

    fn finish(self) -> Diff {
        let mut changes: Vec<Change> = self.changes.into_values().collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.flows));
        let recorded = |((level, gate, why), (flows, bytes)): (Why, (u64, u64))| Recorded {
            level: level.as_str(),
            gate,
            why,
            flows,
            bytes,
        };
        let mut recording: Vec<Recorded> = self.recording.into_iter().map(recorded).collect();
        recording.sort_by_key(|recorded| std::cmp::Reverse(recorded.flows));
        Diff {
            recording,
            flows: self.flows,
            changed: changes.iter().map(|change| change.flows).sum(),
            changes,
            shadow: self.shadow.into_values().collect(),
            ..Diff::default()
        }
    }
}

fn verdict(rules: &Rules, target: &Target, terms: &Terms) -> Verdict {
    let decision = rules.decide(target, &terms.moment);
    let rule = decision.by.and_then(|i| rules.as_slice().get(i));
    Verdict {
        action: rule.map_or_else(|| "allow".to_owned(), |rule| rule.action.to_string()),
        level: decision.action.observes(terms.level(target.category)).as_str(),
        rule: rule.map(|rule| rule.name.clone()),
        line: rule.map(|rule| rule.line),
    }
}

/// The gate that decides how much may be written; of several that let through as little, the first.
fn why(rules: &Rules, target: &Target, terms: &Terms) -> Option<Why> {
    if !terms.asks_charter() {
        return None;
    }
    let category = target.category;
    let mut gates: Vec<Why> = Vec::new();
    if category.is_protected() {
        let why = format!("`{category}` is protected: there is no record of it");
        gates.push((ObservationLevel::None, "category", why));
    }
    gates.extend(terms.gates(category).into_iter().map(|gate| (gate.lets, gate.gate, gate.why)));
    let decision = rules.decide(target, &terms.moment);
    if let Some(rule) = decision.by.and_then(|i| rules.as_slice().get(i)) {
        let lets = decision.action.observes(ObservationLevel::Sealed);
        gates.push((lets, "rule", format!("`{}` leaves counts", rule.name)));
    }
    // Stable: the first of the lowest.
    gates.sort_by_key(|(level, ..)| *level);
    gates.into_iter().next()
}

/// A flow in a few words: its name if it has one; the captures are the user's own.
fn example(s: &FlowSummary, name: Option<&str>) -> String {
    let (l4, server) = (s.tuple.l4, s.tuple.server);
    name.map_or_else(|| format!("{l4} {server}"), |name| format!("{name} ({l4}/{})", server.port))
}

fn describe(diff: &Diff) -> String {
    let mut out = format!("{} captures, {} flows: {} change\n", diff.captures, diff.flows, diff.changed);
    let by = |verdict: &Verdict, file: &str| match (&verdict.rule, verdict.line) {
        (Some(rule), Some(0)) => format!("{rule} (a subscription)"),
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
    if !diff.recording.is_empty() {
        _ = writeln!(out, "\nunder the charter, this would be written:");
        for Recorded { level, gate, why, flows, bytes } in &diff.recording {
            let what = match *level {
                "none" => "nothing",
                "aggregate" => "counts",
                _ => "sealed records",
            };
            _ = writeln!(out, "  {what} of {flows} flows, {bytes} bytes\n    {gate}: {why}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::charter::Under;
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
        let terms = Terms::read(&Under::default()).unwrap();
        let mut differ = Differ::new(&old, &new, &terms);
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
        let terms = Terms::read(&Under::default()).unwrap();
        let mut differ = Differ::new(&rules, &rules, &terms);
        let summary = flow(&rules, "steam", None);
        differ.flow(&Seen { capture: "c", summary: &summary, names: vec![], claims: vec![], hello: None });
        assert_eq!(differ.finish().changed, 0);
    }

    /// Of each flow the gate is named that decides how much may be written of it.
    #[test]
    fn a_charter_says_what_would_be_written_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let under = |at: &str, group: Option<&str>| Under {
            charter: Some(signed_charter(dir.path())),
            at: Some(at.parse().unwrap()),
            group: group.map(str::to_owned),
            members: None,
        };
        let rules = rule("boss", "service = [\"boss-zhipin\"], group = [\"sales\"]", "block", "enforce");
        std::fs::write(dir.path().join("r.toml"), format!("version = 1\n{rules}")).unwrap();
        let recorded = |under: &Under| {
            let terms = Terms::read(under).unwrap();
            let files = PolicyFiles { rules: Some(dir.path().join("r.toml")), ..PolicyFiles::default() };
            let compiled = verdicts::compile_with(&files, terms.declared.clone(), None, false).unwrap();
            let mut differ = Differ::new(&compiled, &compiled, &terms);
            for (service, reason) in [
                ("boss-zhipin", None),
                ("boss-zhipin", None),
                ("steam", None),
                ("banks-cn", None),
                ("steam", Some(Reason::AmbiguousOverlap)),
            ] {
                let summary = flow(&compiled, service, reason);
                differ.flow(&Seen {
                    capture: "c",
                    summary: &summary,
                    names: vec![],
                    claims: vec![],
                    hello: None,
                });
            }
            let diff = differ.finish();
            assert_eq!(diff.recording.iter().map(|r| r.flows).sum::<u64>(), 5);
            assert!(describe(&diff).contains("under the charter, this would be written:"));
            diff.recording.iter().map(|r| (r.level, r.gate, r.flows)).collect::<Vec<_>>()
        };
        let (open, night) = ("2027-03-01T02:00:00Z", "2027-03-01T14:00:00Z");
        let others = [("none", "category", 1), ("none", "name", 1), ("none", "purpose", 1)];
        let with = |first| [&[first][..], &others].concat();
        let sorted = |mut all: Vec<(&'static str, &'static str, u64)>| {
            all[1..].sort_unstable();
            all
        };
        assert_eq!(sorted(recorded(&under(open, Some("sales")))), with(("aggregate", "purpose", 2)));
        assert_eq!(sorted(recorded(&under(night, Some("sales")))), with(("none", "calendar", 2)));
        let few = Under { members: Some(9), ..under(open, Some("sales")) };
        assert_eq!(sorted(recorded(&few)), with(("none", "k", 2)));
        assert!(recorded(&under(open, None)).contains(&("none", "client", 3)), "nobody's devices");
        assert!(recorded(&under("2026-06-01T02:00:00Z", Some("sales"))).contains(&("none", "charter", 3)));
        std::fs::remove_file(dir.path().join("charter.toml.sig")).unwrap();
        let unsigned = Under { charter: Some(dir.path().join("charter.toml")), ..Under::default() };
        assert!(recorded(&unsigned).contains(&("none", "charter", 3)), "not signed");
        let unknown = Under { group: Some("kitchen".to_owned()), ..unsigned };
        assert!(Terms::read(&unknown).unwrap_err().to_string().contains("recruiters, sales, support"));
    }

    /// The sample, filled in and signed by both of its approvers.
    fn signed_charter(dir: &Path) -> std::path::PathBuf {
        use glassgate_policy::charter::{SAMPLE, Signatures, SigningKey, Statement};
        let keys = [(); 2].map(|()| SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap());
        let text = keys
            .iter()
            .fold(SAMPLE.to_owned(), |text, key| text.replacen("PUBLIC-KEY", &key.public().to_string(), 1));
        let lines = keys.iter().map(|key| key.sign(Statement::Approve, text.as_bytes()));
        let signed =
            lines.fold(None, |all: Option<String>, line| Some(Signatures::with(all.as_deref(), &line)));
        let path = dir.join("charter.toml");
        std::fs::write(&path, &text).unwrap();
        std::fs::write(dir.join("charter.toml.sig"), signed.unwrap()).unwrap();
        path
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
