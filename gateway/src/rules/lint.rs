//! `glassgate rules lint`: what is wrong with the rules, and what is right but probably not meant.

use crate::cli::rules::Lint;
use crate::clock;
use crate::exit::Exit;
use crate::sources;
use crate::verdicts;
use anyhow::Result;
use glassgate_policy::diagnostic::{Diagnostics, Severity};
use glassgate_policy::rules::lint;
use serde::Serialize;
use std::path::Path;

/// What was found, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    /// The files that were read.
    checked: Vec<String>,
    /// A position of line 0 means the whole file.
    #[serde(flatten)]
    found: Diagnostics,
}

/// Lints what the arguments name.
pub(super) fn run(args: &Lint) -> Result<Exit> {
    let today = clock::shown_day();
    let soon = lint::Options { today, soon_days: args.soon };
    let (checked, found) = match super::files(&args.files) {
        Ok(files) => {
            (super::names(&files), findings(files.signatures.as_deref(), files.rules.as_deref(), &soon))
        }
        Err(faults) => (Vec::new(), faults),
    };
    let worst = found.as_slice().iter().map(|d| d.severity).max();
    let failed = found.has_errors() || args.strict && worst >= Some(Severity::Warning);
    let report = Report { ok: !failed, checked, found };
    if args.json {
        crate::print(&(serde_json::to_string(&report)? + "\n"))?;
    } else {
        crate::print(&describe(&report))?;
    }
    Ok(if failed { Exit::Invalid } else { Exit::Done })
}

fn findings(signatures: Option<&Path>, rules: Option<&Path>, options: &lint::Options) -> Diagnostics {
    match verdicts::compile(signatures, rules, Some(options.today)) {
        Err(faults) => faults,
        Ok(compiled) => {
            let mut found = compiled.warnings;
            found.append(lint::rules(
                &compiled.file,
                &compiled.rules,
                &compiled.table,
                &compiled.declared,
                options,
            ));
            if let Ok((sources, _)) = sources::read(signatures) {
                found.append(lint::signatures(&sources, options));
            }
            found
        }
    }
}

fn describe(report: &Report) -> String {
    let count = |severity| report.found.as_slice().iter().filter(|d| d.severity == severity).count();
    let files = report.checked.join(", ");
    if report.found.is_empty() {
        return format!("nothing to say about {files}\n");
    }
    let kinds = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let said: Vec<String> = kinds
        .iter()
        .map(|(severity, word)| (count(*severity), word))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}{}", if n == 1 { "" } else { "s" }))
        .collect();
    format!("{}\n\n{}: {files}\n", report.found, said.join(", "))
}
