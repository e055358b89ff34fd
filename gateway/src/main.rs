//! Glassgate: an inline bridge in three processes, and the tools around it.
//!
//! ```text
//!  glassgate run ── guard ──┬── dataplane   sees frames, writes nothing
//!                           └── control     writes audit log and page, sees no frame but those to the gateway
//! ```
//!
//! This crate only wires: frames are the business of `glassgate-dataplane`, decisions of `glassgate-policy`.

mod access;
mod account;
mod alert;
mod alerts;
mod ask;
mod audit;
mod backup;
mod calendar;
mod case;
mod charter;
mod check;
mod child;
mod cli;
mod clock;
mod config;
mod confine;
mod control;
mod dataplane;
#[cfg(test)]
mod docs_test;
mod doctor;
mod exit;
mod feeds;
mod guard;
mod handover;
mod ipc;
mod lcore_memory;
mod lists;
mod log;
mod look;
mod messages;
mod pack;
mod packs;
mod page;
mod past;
mod ports;
mod redact;
mod replay;
mod report;
mod rules;
mod said;
mod secret;
mod sources;
mod terms;
mod verdicts;
mod visible;
mod witness;

use clap::Parser as _;
use cli::{Cli, Command};
use config::Config;
use exit::{Ended, Exit};
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = match run(cli.command) {
        Ok(exit) => exit,
        Err(error) => {
            // The reader of standard error may be gone: that is no reason to end in another way.
            _ = writeln!(std::io::stderr(), "glassgate: {error:#}");
            error.downcast_ref::<Ended>().map_or(Exit::Failed, |ended| ended.exit)
        }
    };
    ExitCode::from(exit as u8)
}

fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => {
            log::start("guard");
            let config = load(&args.config)?;
            guard::run(config, args.config)
        }
        Command::Dataplane(args) => {
            log::start("dataplane");
            dataplane::run(args.guard)
        }
        Command::Control(args) => {
            log::start("control");
            control::run(args.guard)
        }
        Command::Config { verb: None } => print(&config::commented_defaults()),
        Command::Config { verb: Some(verb) } => backup::run(&verb),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            cli::completions(shell, &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Manual { folder } => {
            let pages = cli::manual(&folder).map_err(|e| anyhow::anyhow!("{}: {e}", folder.display()))?;
            print(&format!("{pages} pages in {}\n", folder.display()))
        }
        Command::Status(args) => ask::status(&args),
        Command::Reload(args) => ask::reload(&args),
        Command::Bypass(args) => ask::bypass(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Ports(args) => ports::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Account(verb) => account::run(&verb),
        Command::Check(args) => check::run(&args),
        Command::Replay(args) => look::run(&args),
        Command::Pack(verb) => pack::run(&verb),
        Command::Charter(verb) => charter::run(&verb),
        Command::Case(verb) => case::run(&verb),
        Command::Calendar(cli::charter::Calendar::Preview(args)) => calendar::preview(&args),
        Command::Rules(verb) => rules::run(&verb),
        Command::Audit(verb) => audit::run(&verb),
        Command::Report(args) => report::run(&args),
        Command::Witness(args) => witness::run(&args),
    }
}

/// Loads a configuration; faults go into the error.
fn load(path: &std::path::Path) -> Result<Config, Ended> {
    Config::load(path).map_err(|faults| Ended::new(Exit::Invalid, format!("invalid configuration\n{faults}")))
}

/// Prints to standard output; a reader that went away (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<Exit> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(Exit::Done),
    }
}
