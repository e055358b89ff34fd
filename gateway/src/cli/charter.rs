//! `glassgate charter …` and `glassgate calendar …`: the verbs of the people who answer for what is observed.

use super::Ask;
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Charter {
    /// Print a sample to fill in
    #[command(after_help = "Example:\n  glassgate charter new > charter.toml")]
    New,
    /// Make a signing key, or show the public half of one there is
    ///
    /// The file holds an Ed25519 key in PKCS#8, readable by its owner alone. What is printed goes into the charter
    /// (`key` of an `[[approver]]`) and into `charter.keys` of glassgate.toml.
    #[command(after_help = "Example:\n  glassgate charter key controller.key")]
    Key(Key),
    /// Say what is wrong with a charter
    ///
    /// Every fault with file, line and column: what can't be read, what contradicts itself, and what goes further than
    /// its lawful basis carries. With signatures beside it (FILE.sig), those too.
    #[command(after_help = "Examples:\n  \
        glassgate charter check charter.toml\n  \
        glassgate charter check charter.toml --json | jq '.diagnostics[]'")]
    Check(Check),
    /// Sign a charter that is good, or revoke one
    ///
    /// Writes a line into FILE.sig. The key must be that of one of the charter's approvers.
    #[command(after_help = "Examples:\n  \
        glassgate charter sign charter.toml --key controller.key\n  \
        glassgate charter sign charter.toml --key works-council.key --revoke")]
    Sign(Sign),
    /// Show what a charter allows, in words, now or at another time
    ///
    /// As it would be if each group had enough people for counts; the gateway knows how many there are.
    #[command(after_help = "Examples:\n  \
        glassgate charter show charter.toml\n  \
        glassgate charter show charter.toml --at 2027-03-01T10:00:00+08:00")]
    Show(Show),
    /// Hand a signed charter to the running gateway
    ///
    /// The gateway checks it again, writes that to its audit log, and only then lets it take effect. A charter that is
    /// refused leaves the one before in force. Revocations are installed in the same way.
    #[command(after_help = "Example:\n  glassgate charter install charter.toml")]
    Install(Install),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Calendar {
    /// Show when calendars are open, day by day
    #[command(after_help = "Examples:\n  \
        glassgate calendar preview charter.toml --week\n  \
        glassgate calendar preview charter.toml --week 2027-10-25 --name office")]
    Preview(Preview),
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The key's file; made, if it is not there
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The charter
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The charter
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The key to sign with
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: PathBuf,
    /// Say that the charter shall not be in force any more
    #[arg(long)]
    pub(crate) revoke: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The charter
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Another time than now, RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<jiff::Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The charter; its signatures are beside it, in FILE.sig
    #[arg(value_name = "CHARTER", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// Under which charter, when and of whom.
#[derive(Debug, Default, Args)]
pub(crate) struct Under {
    /// Say what may be written under this charter, whose signatures are beside it in FILE.sig
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) charter: Option<PathBuf>,
    /// Another time than now, RFC 3339
    #[arg(long, value_name = "TIME", requires = "charter")]
    pub(crate) at: Option<jiff::Timestamp>,
    /// The group of the client; nobody's, if not given
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// How many people belong to that group; enough for counts, if not given
    #[arg(long, value_name = "PEOPLE", requires_all = ["charter", "group"])]
    pub(crate) members: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Preview {
    /// A charter, or a file of calendars
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The week of this day; without a day, this week
    #[arg(long, value_name = "DATE", num_args = 0..=1)]
    pub(crate) week: Option<Option<jiff::civil::Date>>,
    /// Only the calendar of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}
