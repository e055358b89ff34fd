//! `cargo xtask demo`: the gateway at work between real clients and real servers.

pub mod clients;
pub mod round;
pub mod scenario;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::lab::{Lab, slot};
use crate::stop::Stop;
use crate::{setup, ui, workspace};

/// Options of the task.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// One round, then end: exit code 0 only if every expected flow was seen, no frame was lost or changed and
    /// the page showed it.
    #[arg(long)]
    pub once: bool,
    /// A bridge of the kernel in the gateway's place: shows whether the lab itself is right.
    #[arg(long)]
    pub bypass_gateway: bool,
    /// Install what is missing without asking.
    #[arg(long, short)]
    pub yes: bool,
}

/// Runs the demo.
pub fn run(options: &Options, kind: slot::Kind, stop: &Stop) -> Result<()> {
    ui::heading("Setup");
    setup::run(&setup::Options { yes: options.yes, ..setup::Options::default() })?;

    ui::heading("Lab");
    let dir = log_dir(kind);
    let mut lab = Lab::start(kind, &dir, stop)?;
    lab.bridge_by_kernel()?;
    lab.await_path(Duration::from_secs(5))?;

    let mut number = 0;
    loop {
        number += 1;
        ui::heading(format_args!("Round {number}"));
        lab.start_captures()?;
        let outcome = round::drive(&lab, stop)?;
        let frames = lab.compare_captures()?;
        ui::line(format_args!("  {} in {:.1?}", outcome.words(), outcome.took));
        ui::line(format_args!("  {}", frames.words()));
        if options.once {
            if !outcome.failed.is_empty() || !frames.is_clean() {
                bail!("logs are in {}", dir.display());
            }
            return Ok(());
        }
        stop.pause(Duration::from_secs(10))?;
    }
}

/// Where the logs of a lab go: two kinds never share a folder.
fn log_dir(kind: slot::Kind) -> PathBuf {
    Path::new(&workspace::target()).join("lab").join(match kind {
        slot::Kind::Demo => "demo",
        slot::Kind::Test => "test",
    })
}
