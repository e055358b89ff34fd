//! `glassgate alerts`: what is raised, and whether it reaches somebody.

use super::Ask;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Alerts {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Send a test to everybody who is told of alerts, and say what became of it
    ///
    /// It goes past whatever waits. A syslog server doesn't answer: that it was sent is all that can be said.
    #[command(after_help = "Example:\n  glassgate alerts test")]
    Test(Ask),
}
