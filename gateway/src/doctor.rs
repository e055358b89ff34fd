//! `glassgate doctor`: what the machine lacks for the bridge that is configured, and how to mend it.
//!
//! The checks of the machine are functions of a root folder and a configuration ([`checks`]), so tests lay out machines as folders.
//! Those of the running gateway ([`running`]) ask it what anybody may ask it. The firmware confirms an update by them.

mod checks;
mod running;

use crate::cli::machine::Doctor as Args;
use crate::config::Config;
use crate::exit::Exit;
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write as _;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Fine,
    /// The bridge works, less well than it could.
    Advice,
    /// The bridge, or what is asked about, does not work.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// For programs; stays the same.
    pub(crate) check: &'static str,
    pub(crate) state: State,
    /// What was found.
    pub(crate) says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Finding {
    fn fine(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, state: State::Fine, says: says.into(), mend: None }
    }

    fn advice(check: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, state: State::Advice, says: says.into(), mend: Some(mend.into()) }
    }

    fn fault(check: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, state: State::Fault, says: says.into(), mend: Some(mend.into()) }
    }
}

/// Looks at everything and says it. Ends with [`Exit::Failed`] if there is a fault; advice is none.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let (config, mut found) = match Config::load(&args.config) {
        Ok(config) => {
            let fine = Finding::fine("config", format!("{} is valid", args.config.display()));
            (Some(config), vec![fine])
        }
        Err(faults) => {
            let mend = "mend what is marked, or begin with `glassgate config > FILE`";
            (None, vec![Finding::fault("config", faults.to_string(), mend)])
        }
    };
    found.extend(checks::all(&args.root, config.as_ref()));
    if args.running {
        match &config {
            Some(config) => found.extend(running::all(config)),
            None => found.push(Finding::fault(
                "gateway",
                "without a configuration nobody can be asked",
                "mend that first",
            )),
        }
    }
    let is_faulty = found.iter().any(|finding| finding.state == State::Fault);
    let text = match args.json {
        true => serde_json::json!({ "ok": !is_faulty, "findings": found }).to_string() + "\n",
        false => describe(&found),
    };
    crate::print(&text)?;
    Ok(if is_faulty { Exit::Failed } else { Exit::Done })
}

fn describe(found: &[Finding]) -> String {
    let mut out = String::new();
    for Finding { check, state, says, mend } in found {
        let mark = match state {
            State::Fine => "ok",
            State::Advice => "advice",
            State::Fault => "FAULT",
        };
        _ = writeln!(
            out,
            "{mark:<7} {check:<11} {}",
            says.trim_end().replace('\n', "\n                    ")
        );
        if let Some(mend) = mend {
            _ = writeln!(out, "                    → {mend}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
