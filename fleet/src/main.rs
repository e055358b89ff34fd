//! `glassgate-fleet`: the commands of a fleet without the gateway, for a machine that has no DPDK. `glassgate` has the same ones.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use glassgate_fleet::cli::{self, FleetCommand, HubOptions};

/// Many gateways: agents of boxes, the hub, and the files of both.
///
/// Exit codes: 0 well, 1 something failed, 2 wrong usage.
#[derive(Parser)]
#[command(name = "glassgate-fleet", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take what all sites send up into one store, until it is ended. It may be killed at any time.
    Hub(HubOptions),
    #[command(flatten)]
    Fleet(FleetCommand),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Hub(options) => cli::hub(&options),
        Command::Fleet(command) => cli::fleet(&command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}
