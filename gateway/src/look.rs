//! `glassgate replay` as the command line has it: what to decide by, where the lines go, what to say at the end.

mod diff;

use crate::cli;
use crate::clock;
use crate::exit::{Ended, Exit};
use crate::replay::{self, Lines, Outcome, Replay, Seen};
use crate::verdicts;
use anyhow::{Context as _, Result};
use glassgate_dataplane::classifier::{Options, Policy};
use glassgate_dataplane::counters::LcoreCounters;
use glassgate_dataplane::parse::ParseOptions;
use glassgate_policy::charter::Levels;
use glassgate_policy::rules::Moment;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// What a replay saw, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Summary {
    captures: usize,
    frames: u64,
    flows: u64,
    /// Every count that is not zero: family, then label; a family of one number has the label `all`.
    counts: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    damaged: Vec<Damaged>,
}

#[derive(Debug, Serialize)]
struct Damaged {
    capture: String,
    why: String,
}

/// Replays the captures that the arguments name.
pub(crate) fn run(args: &cli::Replay) -> Result<Exit> {
    if let [old, new] = args.diff.as_slice() {
        return diff::run(args, old, new);
    }
    if args.under.charter.is_some() || args.under.group.is_some() {
        let why = "--charter and --group go with --diff: a replay by itself has no groups";
        return Err(Ended::new(Exit::Usage, why).into());
    }
    let to_stdout = args.flows.as_deref() == Some(Path::new("-"));
    if to_stdout && args.json {
        return Err(Ended::new(
            Exit::Usage,
            "--json and --flows - both write to standard output: name a file for --flows",
        )
        .into());
    }
    let today = Some(clock::shown_day());
    let compiled = verdicts::compile(args.signatures.as_deref(), args.rules.as_deref(), today)
        .map_err(|faults| Ended::new(Exit::Invalid, format!("rules or signatures are wrong\n{faults}")))?;
    let matrix = compiled.matrix(1, u64::MAX, &Levels::counts(1), &Moment::day(today));
    if let Some(passes) = args.time {
        let policy = Policy { table: Arc::new(compiled.table), matrix: Arc::new(matrix) };
        let timing = replay::timing::run(&args.captures, &policy, &options(), passes.into())?;
        let text = if args.json { serde_json::to_string(&timing)? + "\n" } else { timing.describe() };
        crate::print(&text)?;
        return Ok(Exit::Done);
    }
    let flows: Option<Box<dyn Write>> = match args.flows.as_deref() {
        None => None,
        Some(_) if to_stdout => Some(Box::new(PatientStdout)),
        Some(path) => {
            let file = File::create(path).with_context(|| format!("{} can't be written", path.display()))?;
            Some(Box::new(file))
        }
    };
    let table = Arc::new(compiled.table);
    let mut lines = flows.map(|out| Lines::new(out, table.clone()));
    let mut write = |seen: &Seen<'_>| lines.as_mut().map_or(Ok(()), |lines| lines.write(seen));
    let outcome = replay::run(Replay {
        captures: &args.captures,
        policy: Policy { table, matrix: Arc::new(matrix) },
        options: options(),
        tell: args.flows.is_some().then_some(&mut write),
    })?;
    if let Some(lines) = lines {
        lines.finish().context("writing the flows")?;
    }
    tell_damage(&outcome);
    let summary = Summary::new(&outcome);
    if args.json {
        crate::print(&(serde_json::to_string(&summary)? + "\n"))?;
    } else if to_stdout {
        eprint!("{}", summary.describe());
    } else {
        crate::print(&summary.describe())?;
    }
    Ok(end(&outcome, args.strict))
}

/// Says on standard error which captures could not be read to their end.
pub(crate) fn tell_damage(outcome: &Outcome) {
    for (path, why) in &outcome.damaged {
        eprintln!("glassgate: {}: {why}", path.display());
    }
}

/// A capture that breaks off is everyday: what is there was read, and the warning has been given.
pub(crate) fn end(outcome: &Outcome, strict: bool) -> Exit {
    let failed = strict && !outcome.damaged.is_empty() || outcome.captures == 0;
    if failed { Exit::Damaged } else { Exit::Done }
}

/// A capture was made anywhere: checksums may be what a NIC would still have finished, and tunnels are looked into
/// because who replays wants to know. A quarter of a million flows at once is more than files hold.
pub(crate) fn options() -> Options {
    let parse = ParseOptions { tunnel_depth: 4, capture: true };
    Options { flows: 1 << 18, source_shares: false, parse, ..Options::default() }
}

/// Standard output whose reader may go away (`| head`): what nobody reads is not written, and no error.
struct PatientStdout;

impl Write for PatientStdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match std::io::stdout().write(bytes) {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            other => other,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match std::io::stdout().flush() {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

impl Summary {
    fn new(outcome: &Outcome) -> Self {
        let mut counts: BTreeMap<&'static str, BTreeMap<&'static str, u64>> = BTreeMap::new();
        for (family, label, count) in outcome.counters.each().filter(|(_, _, count)| *count > 0) {
            counts.entry(family).or_default().insert(label.unwrap_or("all"), count);
        }
        let LcoreCounters { flows_opened: [flows], .. } = outcome.counters;
        let damaged = outcome.damaged.iter();
        Self {
            captures: outcome.captures,
            frames: outcome.frames,
            flows,
            counts,
            damaged: damaged
                .map(|(path, why)| Damaged { capture: path.display().to_string(), why: why.clone() })
                .collect(),
        }
    }

    fn describe(&self) -> String {
        let mut out = format!("{} captures, {} frames, {} flows\n", self.captures, self.frames, self.flows);
        for (title, family) in [
            ("named", "flows_named"),
            ("unnamed", "flows_unnamed"),
            ("categories", "flows_category"),
            ("no flow", "opaque_frames"),
            ("unreadable", "malformed_frames"),
        ] {
            let Some(family) = self.counts.get(family) else { continue };
            let mut labels: Vec<_> = family.iter().collect();
            labels.sort_by(|a, b| b.1.cmp(a.1));
            let words: Vec<String> = labels.iter().map(|(label, count)| format!("{label} {count}")).collect();
            _ = writeln!(out, "{title:<11} {}", words.join(", "));
        }
        out
    }
}
