//! `cargo xtask corpus DIR`: how many of the names in captures does the gateway see?
//!
//! DIR holds captures, in itself or in `pcaps/`. Where `oracle.jsonl` stands beside them it says which names there are;
//! elsewhere tshark is asked. A flow matches by capture, transport and unordered endpoints; a name is found when it is
//! among the oracle's names of that flow and kind, wrong when it is not, false when the oracle has none.

mod oracle;
mod peer;
mod score;
mod speed;

use crate::{ui, workspace};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Measures recall on captures.
#[derive(Args)]
pub struct Options {
    /// Folder of captures; see the description of the task.
    dir: PathBuf,
    /// The least recall of each kind, and no wrong name, for exit code 0.
    #[arg(long, default_value_t = 0.995)]
    need: f64,
    /// The gateway's binary; built in release mode without DPDK when not given.
    #[arg(long)]
    bin: Option<PathBuf>,
    /// Also run the system's `ndpiReader` over the same captures and compare recall and frames per second.
    #[arg(long)]
    ndpi: bool,
    /// Misses that are listed.
    #[arg(long, default_value_t = 20)]
    misses: usize,
    /// Also write the result as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the task.
pub fn run(options: &Options) -> Result<()> {
    let captures = captures_in(&options.dir)?;
    let bin = match &options.bin {
        Some(bin) => bin.clone(),
        None => build()?,
    };
    let oracle = oracle::load(&options.dir, &captures)?;
    ui::line(format_args!("{} captures, {} flows with a name in the oracle", captures.len(), oracle.named()));
    let ours = score::ours(&bin, &captures)?;
    let result = score::score(&oracle, &ours);
    let mut report = serde_json::json!({ "recall": &result });
    result.print(options.misses);
    if options.ndpi {
        report["ndpi_recall"] = serde_json::to_value(peer::compare(&captures, &oracle, &result)?)?;
        let work = workspace::target();
        std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
        let speed = speed::compare(&bin, &captures, &work)?;
        speed.print();
        report["speed"] = serde_json::to_value(&speed)?;
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !result.holds(options.need) {
        bail!("falls short of {:.1} % of each kind without a wrong name", options.need * 100.0);
    }
    Ok(())
}

fn captures_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let inner = dir.join("pcaps");
    let dir = if inner.is_dir() { &inner } else { dir };
    let mut captures = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_file() && !hidden && path.extension().is_none_or(|e| e != "jsonl" && e != "md") {
            captures.push(path);
        }
    }
    captures.sort();
    if captures.is_empty() {
        bail!("{} holds no captures", dir.display());
    }
    Ok(captures)
}

fn build() -> Result<PathBuf> {
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release", "-p", "glassgate", "--no-default-features"])
        .status()
        .context("running cargo")?;
    if !status.success() {
        bail!("the gateway does not build");
    }
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    Ok(metadata.target_directory.join("release/glassgate").into())
}
