//! `glassgate rules …`: the verbs of the people who write rules and signatures.

use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Rules {
    /// Say what is wrong with the rules, and what is right but probably not meant
    ///
    /// Everything that `check` refuses, and beyond it: rules that never decide, rules that contradict each other by
    /// their order, rules that end soon. Each finding has a code, a level and a place. Errors end with exit code 3;
    /// warnings do with --strict; notes never do.
    #[command(after_help = "Examples:\n  \
        glassgate rules lint --rules rules.toml\n  \
        glassgate rules lint --strict --json | jq '.diagnostics[]'")]
    Lint(Lint),
}

/// Which rules and signatures are meant.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// The configuration; if neither rules nor signatures are named, /etc/glassgate/glassgate.toml
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// A rules file, in place of the one that the configuration names
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) rules: Option<PathBuf>,
    /// Signature sources, in place of those that the configuration names: a folder or a file
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) signatures: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Lint {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Days ahead in which the end of a rule is worth a warning
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(crate) soon: u16,
    /// End with exit code 3 on warnings, too
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
