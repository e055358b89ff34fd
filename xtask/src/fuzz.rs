//! `cargo xtask fuzz`: the coverage-guided fuzzer on every target, for longer than a test run has time for.
//!
//! Needs the nightly toolchain and `cargo-fuzz`, which `cargo xtask test` does not: there the same targets run on the
//! stable one, over the committed corpora and mutations of them. New inputs are kept in `target/fuzz`, not in
//! the work tree; what made a target fail is copied into the committed corpus by hand, when the fault is understood.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::stop::Stop;
use crate::{process, steps, ui, workspace};

/// Options of the task.
#[derive(Args)]
pub struct Options {
    /// Only these targets; all when none is given.
    targets: Vec<String>,
    /// Executions of each target, counted over the committed seeds and what earlier runs found.
    #[arg(long, default_value_t = 10_000_000)]
    executions: u64,
    /// The longest that a target may run, in seconds. A target that is cut off says how far it got.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// Compile with AddressSanitizer: slower, and of use only for what C and assembly the targets call (the project's own
    /// code below them forbids `unsafe`).
    #[arg(long)]
    address_sanitizer: bool,
    /// The result as JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// How one target went.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Report {
    target: String,
    executions: u64,
    seconds: u64,
    /// Inputs kept because they reach code that no other does.
    corpus: usize,
    /// The input that made it fail, if one did.
    failed: Option<PathBuf>,
}

/// Runs the task. An error when a target failed.
pub fn run(options: &Options, stop: &Stop) -> Result<()> {
    let folder = workspace::root().join("dataplane/fuzz");
    let all = targets(&folder)?;
    if let Some(unknown) = options.targets.iter().find(|name| !all.contains(name)) {
        bail!("there is no target `{unknown}`; there are {}", all.join(", "));
    }
    need_tools()?;
    let sanitizer = if options.address_sanitizer { "address" } else { "none" };
    let cargo_fuzz = |verb: &str| {
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", verb, "--fuzz-dir"]).arg(&folder);
        command.args(["--features", "libfuzzer", "--sanitizer", sanitizer]).current_dir(workspace::root());
        // The settings of the toolchain that runs this program are not meant for the other one.
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command
    };
    let work = workspace::target().join("fuzz");
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let building = ui::doing("build the targets");
    let log = work.join("build.log");
    if !steps::run_logged(&cargo_fuzz("build"), &log, stop)? {
        building.failed("");
        bail!("the targets do not build; the end of {}\n{}", log.display(), process::tail(&log, 40));
    }
    building.done("");

    let mut reports = Vec::new();
    for target in all.iter().filter(|name| options.targets.is_empty() || options.targets.contains(name)) {
        let mut command = cargo_fuzz("run");
        let (corpus, artifacts) = (work.join("corpus").join(target), work.join("artifacts").join(target));
        for dir in [&corpus, &artifacts] {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        // The first folder takes what is found; the committed seeds are only read.
        command.arg(target).arg(&corpus).arg(folder.join("corpus").join(target)).arg("--");
        command.arg(format!("-runs={}", options.executions));
        command.arg(format!("-max_total_time={}", options.seconds));
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048"]);
        let doing = ui::doing(format_args!("target {target}"));
        let started = Instant::now();
        let limit = Duration::from_secs(options.seconds + 600);
        let finished = process::run(&mut command, &[], limit, stop)?;
        let report = Report {
            target: target.clone(),
            executions: executions(&finished.stderr).unwrap_or(0),
            seconds: started.elapsed().as_secs(),
            corpus: std::fs::read_dir(&corpus)?.count(),
            failed: (!finished.status.success())
                .then(|| failing_input(&finished.stderr).unwrap_or_else(|| artifacts.clone())),
        };
        let log = work.join(format!("{target}.log"));
        std::fs::write(&log, &finished.stderr).with_context(|| format!("cannot write {}", log.display()))?;
        match &report.failed {
            None => doing.done(format_args!("{} executions", report.executions)),
            Some(input) => {
                doing.failed(input.display());
                ui::line(process::tail(&log, 30));
            }
        }
        reports.push(report);
    }
    if options.json {
        ui::line(serde_json::to_string_pretty(&reports)?);
    } else {
        ui::line(table(&reports));
    }
    match reports.iter().filter(|report| report.failed.is_some()).count() {
        0 => Ok(()),
        some => bail!("{some} of the targets failed"),
    }
}

/// The targets' names, from the folder that holds one program for each.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let programs = folder.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&programs).with_context(|| format!("reading {}", programs.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn need_tools() -> Result<()> {
    let works = |words: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(words).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command.output().is_ok_and(|output| output.status.success())
    };
    if !works(&["+nightly", "--version"]) {
        bail!(
            "coverage needs the nightly toolchain: rustup toolchain install nightly\n\
             without it, the stable replay does part of the work: \
             GLASSGATE_FUZZ_SECONDS=600 cargo test --release -p glassgate-fuzz"
        );
    }
    if !works(&["fuzz", "--version"]) {
        bail!("cargo-fuzz is not installed: cargo install --locked cargo-fuzz");
    }
    Ok(())
}

/// `stat::number_of_executed_units: 10000000`
fn executions(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

/// `artifact_prefix='…'; Test unit written to …/crash-…`
fn failing_input(said: &str) -> Option<PathBuf> {
    said.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.trim().into())
}

fn table(reports: &[Report]) -> comfy_table::Table {
    let mut table = ui::table();
    table.set_header(["target", "executions", "seconds", "new inputs", ""]);
    for report in reports {
        table.add_row([
            report.target.clone(),
            report.executions.to_string(),
            report.seconds.to_string(),
            report.corpus.to_string(),
            report.failed.as_ref().map_or_else(|| "clean".to_owned(), |path| path.display().to_string()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_read() {
        let clean = "Done 10000000 runs in 31 second(s)\nstat::number_of_executed_units: 10000000\nstat::average_exec_per_sec:     322580\n";
        assert_eq!((executions(clean), failing_input(clean)), (Some(10_000_000), None));
        let failed = "==7== ERROR: libFuzzer: deadly signal\nartifact_prefix='/a/'; Test unit written to /a/crash-0f\nBase64: AA==\n";
        assert_eq!((executions(failed), failing_input(failed)), (None, Some("/a/crash-0f".into())));
    }

    #[test]
    fn the_targets_are_those_of_the_fuzz_crate() {
        let found = targets(&workspace::root().join("dataplane/fuzz")).unwrap();
        assert!(found.contains(&"path".to_owned()) && found.contains(&"quic".to_owned()), "{found:?}");
    }
}
