//! `glassgate config …`: the configuration of a machine as one file, and back.

use crate::config::DEFAULT_PATH;
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Write the configuration, and the files that it names, into one file
    ///
    /// Rules, signatures, packs, lists, the directory of groups, the choice of ports and the charter with its signatures. Never secrets,
    /// private keys, accounts, the audit log or sealed records: what is left out is named, here and in the file. The directory is of
    /// people: keep the file as you keep that.
    #[command(after_help = "Examples:\n  \
        glassgate config backup office.backup\n  \
        glassgate config backup - | ssh vault 'cat > office.backup'")]
    Backup(Backup),
    /// Put the configuration of a backup in the place of the one that is there, or say what would change
    ///
    /// All of it is checked first, as `check` does; if anything is wrong, nothing changes. The folder of the configuration is replaced as a
    /// whole, so that a power cut leaves the old one or the new one. Secrets that are there stay. A running gateway puts it on record before,
    /// and has to be started again after.
    #[command(after_help = "Examples:\n  \
        glassgate config restore office.backup --dry-run\n  \
        glassgate config restore office.backup && systemctl restart glassgate\n  \
        glassgate config restore office.backup --secrets /media/stick/secrets      on a new machine")]
    Restore(Restore),
    /// Go back to the configuration before the last restore
    ///
    /// The one that is there takes its place: a second time goes forward again. The charter that is installed stays.
    #[command(after_help = "Example:\n  glassgate config undo && systemctl restart glassgate")]
    Undo(Undo),
    /// Keep a configuration that was restored on trial
    #[command(after_help = "Example:\n  glassgate doctor --running && glassgate config keep")]
    Keep(Keep),
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Where to; `-` is standard output. A file that is there is replaced
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Check, say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Refuse a change of anything that says who is observed, who may know, or where a file is written
    ///
    /// Open are ports, sizes, the guard, rules, signatures, lists and the addresses of the page. The firmware takes no more from a stick once
    /// there are accounts.
    #[arg(long)]
    pub(crate) limited: bool,
    /// On trial: `glassgate config undo --if-unkept` goes back, unless `glassgate config keep` came before
    #[arg(long)]
    pub(crate) trial: bool,
    /// A folder with secrets that the configuration names and that are not there yet
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) secrets: Option<PathBuf>,
    /// The configuration that is replaced
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// Print what changes as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// Only if it is on trial since before this start of the machine
    #[arg(long)]
    pub(crate) if_unkept: bool,
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}
