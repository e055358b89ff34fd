//! `cargo xtask faults`: what must not stop forwarding, done to the gateway as it is shipped, each with its figure beside its goal.
//!
//! | part | done | by |
//! |---|---|---|
//! | `flows` | ten times the flow table; a source that floods | raw sockets of the LAN |
//! | `control` | the slow path stands still; a thousand reloads; the clock steps | signals, the command line, libfaketime |
//! | `disk` | the disk of the audit log is full, refuses, takes five seconds | a small file system, strace |
//! | `page` | the gateway's own address is flooded | the part `inband` of the actions |
//! | `frames` | frames that make an inspector panic | a build that does so on purpose |
//! | `kills` | `kill -9` of each process | |
//! | `files` | packs, configurations and state that somebody damaged | |
//! | `soak` | all of it as on any day, for long | |
//! | `tests` | hash, storm, panics, reloads, log | tests of the workspace, at the size that is asked for |
//!
//! A stream of numbered datagrams crosses the gateway meanwhile: what it loses, gets twice, and how long it takes is most of what is told. Without `--long` each
//! row is as short as it can be and still say something: all of them take about eight minutes. With it, they are as long as the goals say.

mod control;
mod disk;
mod files;
mod flows;
mod frames;
mod kills;
mod page;
mod soak;
mod stage;
mod tests;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::demo::gateway::{self, Driver};
use crate::stop::{Interrupted, Stop};
use crate::{setup, ui, workspace};
use stage::Stage;

/// Options of the task.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Only this row; may be given several times.
    #[arg(long, value_name = "ROW")]
    pub only: Vec<String>,
    /// Name the rows, their goals and how long they take, and end.
    #[arg(long)]
    pub list: bool,
    /// A gateway that is built already; without it, the release build is made first.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Write what was found as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// At full length, which takes hours: ten minutes of a full table, a thousand reloads, a hundred kills of each process.
    #[arg(long)]
    pub long: bool,
    /// How many hours `soak` lasts; without it a minute, and eight hours with `--long`.
    #[arg(long, value_name = "HOURS")]
    pub hours: Option<f64>,
    /// How the gateway gets at frames.
    #[arg(long, value_enum)]
    pub driver: Option<Driver>,
    /// Install what is missing without asking.
    #[arg(long, short)]
    pub yes: bool,
}

/// A row: what is done, and how long that takes.
struct Row {
    name: &'static str,
    what: &'static str,
    /// Seconds, short and long.
    takes: [u32; 2],
    run: fn(&mut Stage<'_>) -> Result<()>,
}

const fn row(
    name: &'static str,
    what: &'static str,
    takes: [u32; 2],
    run: fn(&mut Stage<'_>) -> Result<()>,
) -> Row {
    Row { name, what, takes, run }
}

/// In this order: those that share a gateway are next to each other.
const ROWS: &[Row] = &[
    row("hash", "a million tuples by somebody who knows the hash and not its key", [10, 10], tests::hash),
    row("storm", "malformed frames through an lcore", [15, 600], tests::storm),
    row("contain", "a hundred thousand panics of inspectors", [10, 10], tests::contain),
    row("swap", "a thousand policies swapped under an lcore", [20, 620], tests::swap),
    row("log", "the log with a full disk, errors, power cuts, by seed", [15, 900], tests::log),
    row("table", "ten times as many new flows as the table holds", [40, 620], flows::table),
    row("source", "one source floods", [15, 60], flows::source),
    row("stopped", "the slow path stands still", [15, 75], control::stopped),
    row("reloads", "reloads under load", [15, 620], control::reloads),
    row("soak", "a day like any other", [65, 8 * 3600], soak::run),
    row("kills", "kill -9 of each process", [25, 5400], kills::run),
    row("clock", "the wall clock steps", [15, 60], control::clock),
    row("files", "damaged packs, configurations and state", [40, 300], files::run),
    row("disk-full", "the disk of the audit log is full", [15, 60], disk::full),
    row("disk-error", "writes of the audit log fail", [15, 60], disk::error),
    row("disk-slow", "each sync of the audit log takes five seconds", [20, 120], disk::slow),
    row("panics", "frames that make an inspector panic", [15, 60], frames::panics),
    row("page", "the gateway's own address is flooded", [25, 25], page::run),
];

/// Rows that a step of `cargo xtask test` holds: those that met their goals on a machine as busy as one that builds. The others are asked for.
pub const HELD: [&str; 7] = ["hash", "storm", "contain", "table", "stopped", "disk-error", "disk-slow"];

/// What was found, beside its goal.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    row: &'static str,
    what: String,
    found: String,
    goal: String,
    met: bool,
}

/// Runs the rows, or some; an error when a goal was missed.
pub fn run(options: &Options, stop: &Stop) -> Result<()> {
    if let Some(unknown) = options.only.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        bail!("there is no row `{unknown}`; there are {}", names.join(", "));
    }
    let is_asked_for =
        |row: &&Row| options.only.is_empty() || options.only.iter().any(|name| name == row.name);
    let rows: Vec<&Row> = ROWS.iter().filter(is_asked_for).collect();
    let takes = |row: &Row| match (options.hours, row.name) {
        (Some(hours), "soak") => (hours * 3600.0) as u32,
        _ => row.takes[usize::from(options.long)],
    };
    if options.list {
        for row in rows {
            ui::line(format_args!("{:<12} {:>6} s  {}", row.name, takes(row), row.what));
        }
        return Ok(());
    }
    ui::heading("Setup");
    setup::run(&setup::Options { yes: options.yes, ..setup::Options::default() })?;
    let binary = match &options.binary {
        Some(binary) => std::fs::canonicalize(binary).with_context(|| binary.display().to_string())?,
        None => gateway::build(stop, &workspace::target().join("build.log"))?,
    };
    let mut stage = Stage::new(binary, options, stop);
    let mut took = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        ui::heading(format_args!(
            "{} ({} of {}): {}, about {} s",
            row.name,
            number + 1,
            rows.len(),
            row.what,
            takes(row)
        ));
        let began = Instant::now();
        stage.begin(row.name);
        match (row.run)(&mut stage) {
            Err(why) if why.is::<Interrupted>() => return Err(why),
            Err(why) => {
                stage.found("it could be tried", format!("{why:#}"), "it can", false);
                // Whatever state it is in, the next row begins with another.
                stage.drop_gateway();
            }
            Ok(()) => {}
        }
        took.push((row.name, began.elapsed()));
    }
    stage.drop_lab();
    let (logs, broken) = gateway::unbalanced();
    if logs > 0 {
        stage.begin("all");
        let words = format!("{logs} logs closed, {broken} do not add up");
        stage.found("records offered = durable + lost", words, "exactly, in each log", broken == 0);
    }
    conclude(&stage.findings, &took, options)
}

fn conclude(findings: &[Finding], took: &[(&str, Duration)], options: &Options) -> Result<()> {
    let mut table = ui::table();
    table.set_header(["row", "what", "found", "goal", ""]);
    for Finding { row, what, found, goal, met } in findings {
        let mark = if *met { ui::green("met") } else { ui::red("MISSED") };
        table.add_row([*row, what.as_str(), found.as_str(), goal.as_str(), mark.as_str()]);
    }
    ui::heading(if options.long { "Found, at full length" } else { "Found, in the short form" });
    ui::line(table);
    let words: Vec<_> = took.iter().map(|(row, took)| format!("{row} {:.0} s", took.as_secs_f32())).collect();
    ui::line(format_args!("\ntook: {}", words.join(", ")));
    if let Some(path) = &options.json {
        let seconds: std::collections::BTreeMap<_, _> =
            took.iter().map(|(row, took)| (*row, took.as_secs_f64())).collect();
        let all = serde_json::json!({ "long": options.long, "findings": findings, "seconds": seconds });
        std::fs::write(path, format!("{all:#}\n")).with_context(|| path.display().to_string())?;
    }
    let missed: Vec<_> = findings.iter().filter(|finding| !finding.met).collect();
    if missed.is_empty() {
        return Ok(());
    }
    let words: Vec<_> = missed
        .iter()
        .map(|finding| format!("{}: {}: {}", finding.row, finding.what, finding.found))
        .collect();
    bail!("{} of {} goals missed\n{}", missed.len(), findings.len(), words.join("\n"))
}
