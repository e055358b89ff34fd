//! `glassgate ports` and `glassgate doctor`: the machine that the gateway runs on.

use clap::{Args, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Ports {
    /// The folder that keeps the choice (`ports`) and the configuration (`glassgate.toml`): a choice that is there stays, what is
    /// missing is written
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) keep: Option<PathBuf>,
    /// Write the choice into this file as well, for scripts: `LAN=0000:03:00.0`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) tell: Option<PathBuf>,
    /// Where /proc and /sys are
    #[arg(long, value_name = "DIR", default_value = "/", value_hint = ValueHint::DirPath)]
    pub(crate) root: PathBuf,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The configuration of the gateway that is meant
    #[arg(short, long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH, value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    /// Also ask the running gateway: its processes, its ports, its page, its audit log
    #[arg(long)]
    pub(crate) running: bool,
    /// Where /proc and /sys are
    #[arg(long, value_name = "DIR", default_value = "/", value_hint = ValueHint::DirPath)]
    pub(crate) root: PathBuf,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
