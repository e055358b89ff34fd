//! `cargo xtask bench`: builds the benchmark in release mode and runs it.
//!
//! Large tables want huge pages: glibc asks for transparent ones when told so by its tunable, which must be set before
//! the program starts. Backtraces are off, because error types that take one would be measured with it.

mod instructions;
mod line;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::stop::Stop;
use crate::{ndpi, setup, ui, workspace};

/// Options of the task. What is not one of these goes to the benchmark: `cargo xtask bench -- --help` lists it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Install what is missing without asking.
    #[arg(long, short)]
    yes: bool,
    /// Link DPDK into the binary, as the firmware does.
    #[arg(long = "static")]
    static_link: bool,
    /// Count instructions a frame under callgrind instead, and compare with the baseline. Needs no root and no DPDK
    /// devices.
    #[arg(long)]
    instructions: bool,
    /// Count them and write the baseline anew.
    #[arg(long)]
    write_instructions: bool,
    /// Options of the benchmark, such as `--quick`, `--row NAME`, `--list`, `--json FILE`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    rest: Vec<String>,
}

impl Options {
    /// How the row `line` is to be measured, if it is among those that are asked for. It needs the lab, so that it is
    /// measured here.
    fn line(&self) -> Option<line::Effort> {
        let has = |words: &[&str]| self.rest.iter().any(|word| words.contains(&word.as_str()));
        let rows = self.rest.windows(2).filter(|pair| pair[0] == "--row").map(|pair| pair[1].as_str());
        let rows: Vec<&str> =
            rows.chain(self.rest.iter().filter_map(|word| word.strip_prefix("--row="))).collect();
        if has(&["--help", "-h", "--list"]) || !(rows.is_empty() || rows.contains(&"line")) {
            return None;
        }
        let after = self.rest.windows(2).find(|pair| pair[0] == "--rounds").map(|pair| pair[1].as_str());
        let rounds = after.or_else(|| self.rest.iter().find_map(|word| word.strip_prefix("--rounds=")));
        let rounds = rounds.and_then(|n| n.parse().ok()).unwrap_or(5);
        let quick = has(&["--quick"]);
        Some(line::Effort { rounds: if quick { 1 } else { rounds }, seconds: if quick { 1 } else { 4 } })
    }
}

/// Runs the task. The benchmark takes the place of this process.
pub fn run(options: &Options, stop: &Stop) -> Result<()> {
    let count = options.instructions || options.write_instructions;
    if !count {
        setup::run(&setup::Options { yes: options.yes, peer: true, ..setup::Options::default() })?;
    }
    let doing = ui::doing("building the benchmark");
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--release", "-p", "glassgate-benches"]);
    if options.static_link {
        build.args(["--features", "static"]);
    }
    if !build.current_dir(workspace::root()).status().context("cannot start cargo")?.success() {
        bail!("the benchmark does not build");
    }
    doing.done("");
    if count {
        let bin = workspace::target().join("release/glassgate-instructions");
        return instructions::run(&bin, options.write_instructions);
    }
    let bin: PathBuf = workspace::target().join("release/glassgate-bench");
    let mut bench = Command::new(&bin);
    match ndpi::build(&workspace::target()) {
        Ok(program) => _ = bench.arg("--ndpi").arg(program),
        Err(why) => ui::line(format_args!("nothing is compared with nDPI: {why:#}")),
    }
    if let Some(effort) = options.line() {
        let path = workspace::target().join("bench-line.json");
        // One row of many: without it the benchmark says of this row that it was not measured, and runs the others.
        match line::measure(effort, stop)
            .and_then(|line| Ok(std::fs::write(&path, serde_json::to_vec(&line)?)?))
        {
            Ok(()) => _ = bench.arg("--line").arg(path),
            Err(why) if !stop.asked() => ui::line(format_args!("  the line could not be measured: {why:#}")),
            Err(why) => return Err(why),
        }
    }
    bench.args(&options.rest).current_dir(workspace::root());
    bench.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1").env_remove("RUST_BACKTRACE");
    Err(bench.exec()).with_context(|| format!("cannot start {}", bin.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_the_line_in_both_forms() {
        let rounds = |words: &[&str]| {
            let rest = words.iter().map(|word| (*word).to_owned()).collect();
            Options { rest, ..Options::default() }.line().map(|effort| effort.rounds)
        };
        assert_eq!(rounds(&["--rounds", "7"]), Some(7));
        assert_eq!(rounds(&["--rounds=7"]), Some(7));
        assert_eq!(rounds(&["--row=line", "--rounds=7", "--quick"]), Some(1));
        assert_eq!(rounds(&[]), Some(5));
        assert_eq!(rounds(&["--row", "known"]), None);
    }
}
