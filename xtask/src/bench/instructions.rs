//! Instructions a frame, counted by callgrind and held against a baseline: the figure of speed that no neighbour
//! disturbs.
//!
//! A count belongs to a compiler: with another one the baseline says nothing, and the check is skipped with a message.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{ui, workspace};

/// The baseline, in the work tree.
const BASELINE: &str = "benches/instructions.json";
/// What is counted: see `benches/src/bin/glassgate-instructions.rs`.
const SCENARIOS: [&str; 6] = ["known", "known_inband", "known_v6", "tls", "web", "quic"];
/// How much more than the baseline is a fault.
const TOLERANCE: f64 = 1.05;

/// Instructions a frame of each scenario, and the compiler that they belong to.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Counts {
    toolchain: String,
    per_frame: BTreeMap<String, f64>,
}

/// Counts with the binary `bin`; writes the baseline anew or compares with it.
pub(super) fn run(bin: &Path, write: bool) -> Result<()> {
    let path = workspace::root().join(BASELINE);
    let toolchain = toolchain()?;
    let mut now = Counts { toolchain, per_frame: BTreeMap::new() };
    if !write {
        let baseline = read(&path)?;
        if baseline.toolchain != now.toolchain {
            ui::line(format_args!(
                "  skipped: the baseline is of {}, this is {}",
                baseline.toolchain, now.toolchain
            ));
            return Ok(());
        }
    }
    for scenario in SCENARIOS {
        let doing = ui::doing(format_args!("instructions: {scenario}"));
        let per_frame = count(bin, scenario)?;
        doing.done(format_args!("{per_frame:.1} a frame"));
        now.per_frame.insert(scenario.to_owned(), (per_frame * 10.0).round() / 10.0);
    }
    if write {
        let text = serde_json::to_string_pretty(&now)? + "\n";
        return std::fs::write(&path, text).with_context(|| path.display().to_string());
    }
    let faults = faults(&read(&path)?, &now);
    if !faults.is_empty() {
        bail!("{}; if that is meant, `cargo xtask bench --write-instructions`", faults.join("; "));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Counts> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// What takes more than the baseline allows, or is not in it.
fn faults(baseline: &Counts, now: &Counts) -> Vec<String> {
    let mut faults = Vec::new();
    for (scenario, count) in &now.per_frame {
        match baseline.per_frame.get(scenario) {
            None => faults.push(format!("`{scenario}` has no baseline")),
            Some(before) if *count > before * TOLERANCE => faults.push(format!(
                "`{scenario}` takes {count:.1} instructions a frame, {:+.1} % of {before:.1}",
                (count / before - 1.0) * 100.0
            )),
            Some(_) => {}
        }
    }
    faults
}

fn count(bin: &Path, scenario: &str) -> Result<f64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--toggle-collect=*measured*", "--callgrind-out-file=/dev/null"]);
    let output = command.arg(bin).arg(scenario).env_remove("GLIBC_TUNABLES").output();
    let output = output.context("cannot start valgrind (apt-get install valgrind)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    let frames = String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().ok();
    match (collected.and_then(|n| n.trim().parse::<f64>().ok()), frames) {
        (Some(instructions), Some(frames)) if frames > 0.0 => Ok(instructions / frames),
        _ => bail!("callgrind counted nothing in `{scenario}`:\n{said}"),
    }
}

fn toolchain() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("cannot start rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(known: f64) -> Counts {
        Counts { toolchain: "rustc".to_owned(), per_frame: [("known".to_owned(), known)].into() }
    }

    #[test]
    fn six_percent_more_is_a_fault_and_four_is_not() {
        assert!(faults(&counts(100.0), &counts(104.0)).is_empty());
        assert!(faults(&counts(100.0), &counts(50.0)).is_empty());
        let found = faults(&counts(100.0), &counts(106.0));
        assert!(found.len() == 1 && found[0].contains("+6.0 % of 100.0"), "{found:?}");
    }

    #[test]
    fn the_baseline_has_every_scenario() {
        let baseline = read(&workspace::root().join(BASELINE)).unwrap();
        assert!(SCENARIOS.iter().all(|scenario| baseline.per_frame.contains_key(*scenario)));
    }
}
