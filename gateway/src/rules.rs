//! `glassgate rules …`: one file a verb.

mod explain;
mod export;
mod feeds;
mod hits;
mod import;
mod lint;
mod top_unknown;

use crate::cli::rules::{Files, Rules};
use crate::config::{Config, DEFAULT_PATH, PolicyFiles};
use crate::exit::Exit;
use anyhow::Result;
use glassgate_policy::diagnostic::Diagnostics;
use std::path::Path;

/// Runs a verb.
pub(crate) fn run(verb: &Rules) -> Result<Exit> {
    match verb {
        Rules::Lint(args) => lint::run(args),
        Rules::Explain(args) => explain::run(args),
        Rules::Hits(args) => hits::run(args),
        Rules::TopUnknown(args) => top_unknown::run(args),
        Rules::Import(args) => import::run(args),
        Rules::Export(args) => export::run(args),
        Rules::Feeds(args) => feeds::run(args),
        Rules::Accept(args) => feeds::accept(args),
    }
}

/// The files that are meant: those that are named, else those of the configuration. The default configuration is
/// read only when nothing is named at all.
fn files(named: &Files) -> Result<PolicyFiles, Diagnostics> {
    let mut files = PolicyFiles {
        signatures: named.signatures.clone(),
        rules: named.rules.clone(),
        ..PolicyFiles::default()
    };
    let nothing_named = named.config.is_none() && named.rules.is_none() && named.signatures.is_none();
    if let Some(path) = named.config.as_deref().or(nothing_named.then_some(Path::new(DEFAULT_PATH))) {
        files = files.or(Config::load(path)?.files);
    }
    Ok(files)
}

/// The same for who only wants to know: where nothing is named and there is no configuration, what comes with the
/// gateway.
fn files_or_defaults(named: &Files) -> Result<PolicyFiles, Diagnostics> {
    let nothing_named = named.config.is_none() && named.rules.is_none() && named.signatures.is_none();
    if nothing_named && !Path::new(DEFAULT_PATH).exists() {
        return Ok(PolicyFiles::default());
    }
    files(named)
}

/// What the files are called in messages.
fn names(files: &PolicyFiles) -> Vec<String> {
    let built_in = || "the signatures that come with the gateway".to_owned();
    let pack = files.pack.as_ref().map(|pack| &pack.path);
    let signatures =
        pack.or(files.signatures.as_ref()).map_or_else(built_in, |path| path.display().to_string());
    let rules = files.rules.as_ref().map_or_else(|| "no rules".to_owned(), |path| path.display().to_string());
    vec![rules, signatures]
}
