//! `glassgate check`: everything that `run` would read, validated without touching a port.

use crate::cli::Check;
use crate::config::{Config, DEFAULT_PATH};
use crate::exit::Exit;
use anyhow::Result;
use glassgate_policy::diagnostic::Diagnostics;
use serde::Serialize;
use std::path::Path;

/// What a check found, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    /// The files that were checked.
    checked: Vec<String>,
    /// What is wrong or worth knowing; a position of line 0 means the whole file.
    #[serde(flatten)]
    found: Diagnostics,
}

/// Checks what the arguments name.
pub(crate) fn run(args: &Check) -> Result<Exit> {
    let (mut checked, mut found) = (Vec::new(), Diagnostics::new());
    let nothing_named = args.config.is_none() && args.rules.is_none() && args.signatures.is_none();
    let path = args.config.as_deref().or(nothing_named.then_some(Path::new(DEFAULT_PATH)));
    if let Some(path) = path {
        checked.push(path.display().to_string());
        if let Err(faults) = Config::load(path) {
            found.append(faults);
        }
    }
    let report = Report { ok: !found.has_errors(), checked, found };
    if args.json {
        crate::print(&(serde_json::to_string(&report)? + "\n"))?;
    } else {
        if !report.found.is_empty() {
            eprintln!("{}\n", report.found);
        }
        let what = if report.ok { "good" } else { "not good" };
        crate::print(&format!("{what}: {}\n", report.checked.join(", ")))?;
    }
    Ok(if report.ok { Exit::Done } else { Exit::Invalid })
}
