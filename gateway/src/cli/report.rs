//! `glassgate report`: what was counted over a span.

use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The first day or moment: `2027-01-11` or `2027-01-11T09:00:00Z`; days are UTC days. Without it: seven days before the end
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// The day or moment that it ends before. Without it: now
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// How counts are added up; by the hour, 15 days at most
    #[arg(long, value_name = "STEP", default_value = "whole")]
    pub(crate) by: By,
    /// Only this group
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// Only this category, such as `recruitment`
    #[arg(long, value_name = "CATEGORY")]
    pub(crate) category: Option<String>,
    /// Only this service, by its key
    #[arg(long, value_name = "KEY")]
    pub(crate) service: Option<String>,
    /// Print it as JSON
    #[arg(long, conflicts_with_all = ["csv", "html"])]
    pub(crate) json: bool,
    /// Print the rows as comma-separated values
    #[arg(long)]
    pub(crate) csv: bool,
    /// Print it as a page of its own, to be kept or printed on paper
    #[arg(long, conflicts_with = "csv")]
    pub(crate) html: bool,
    /// Read this log, and ask no gateway
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// The configuration of the gateway that is meant
    #[arg(short, long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// Its control socket, if not the one that the configuration names
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,
}

/// How counts are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// All of it together
    Whole,
    /// By UTC day
    Day,
    /// By hour
    Hour,
}
