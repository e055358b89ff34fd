//! `glassgate check`: everything that `run` would read, validated without touching a port.

use crate::cli::Check;
use crate::clock;
use crate::config::{Config, DEFAULT_PATH, PolicyFiles};
use crate::exit::Exit;
use crate::feeds::FeedNow;
use crate::secret;
use crate::verdicts;
use anyhow::Result;
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics, Severity};
use serde::Serialize;
use std::path::{Path, PathBuf};

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
    let mut files = PolicyFiles {
        signatures: args.signatures.clone(),
        rules: args.rules.clone(),
        ..PolicyFiles::default()
    };
    if let Some(path) = path {
        checked.push(path.display().to_string());
        match Config::load(path) {
            Ok(config) => {
                secrets(&config, &mut found);
                files = files.or(config.files);
            }
            Err(faults) => found.append(faults),
        }
    }
    checked.extend(files.pack.iter().map(|pack| pack.path.display().to_string()));
    let name = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    if files.pack.is_none() {
        let built_in = || "the signatures that come with the gateway".to_owned();
        checked.push(name(&files.signatures).unwrap_or_else(built_in));
    }
    checked.extend(name(&files.rules));
    let today = Some(clock::shown_day());
    match verdicts::compile_files(&files, today, false) {
        Ok(compiled) => {
            found.append(compiled.warnings);
            held(&compiled.feeds, &mut found);
        }
        Err(faults) => found.append(faults),
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

/// What is wrong with the files that a configuration names.
pub(crate) fn files_of(config: &Config, found: &mut Diagnostics) {
    secrets(config, found);
    match verdicts::compile_files(&config.files, Some(clock::shown_day()), false) {
        Ok(compiled) => found.append(compiled.warnings),
        Err(faults) => found.append(faults),
    }
}

/// Secrets that `run` could not read.
fn secrets(config: &Config, found: &mut Diagnostics) {
    let of_clients =
        config.radius.iter().flat_map(|radius| radius.clients.iter().map(|client| &client.secret));
    let of_webhook = config.alerts.targets.webhook.iter().map(|webhook| &webhook.secret);
    for path in of_clients.chain(&config.push_token).chain(of_webhook) {
        if let Err(e) = secret::read(path) {
            let message = format!("the secret can't be used: {e}");
            found.push(Diagnostic::file(path.display().to_string(), "secret", message));
        }
    }
}

/// Subscribed lists that wait for somebody: no fault of the configuration, but worth knowing.
fn held(feeds: &[FeedNow], found: &mut Diagnostics) {
    for feed in feeds.iter().filter(|feed| feed.state != "good") {
        let why = feed.trouble.iter().chain(&feed.reasons).cloned().collect::<Vec<_>>().join("; ");
        let message = format!("the list is {}: {why}", feed.state);
        let path = format!("subscription {}", feed.name);
        let fault = Diagnostic::file(path, "list-held", message).severity(Severity::Warning);
        found.push(fault.help("look at it with `glassgate rules feeds`"));
    }
}
