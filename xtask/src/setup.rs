//! `cargo xtask setup`: what the machine lacks, said before it is changed.

pub mod huge_pages;
pub mod nats;
pub mod packages;
pub mod tools;

use std::io::{BufRead, IsTerminal};

use anyhow::{Result, bail};

use crate::ui;
use huge_pages::State;
use packages::{Need, Package};

/// Options of the task.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Only say what is missing; exit code 1 if something is.
    #[arg(long)]
    pub check: bool,
    /// Install without asking (also when CI=true is set).
    #[arg(long, short)]
    pub yes: bool,
    /// Also a browser, as a client of the lab and to take a picture of the page (large).
    #[arg(long)]
    pub browser: bool,
    /// Also the classifier that `corpus --ndpi` and `bench` compare with.
    #[arg(long)]
    pub peer: bool,
    /// Also what builds the firmware and runs it in an emulator (large).
    #[arg(long)]
    pub image: bool,
    /// Also the servers that a fleet meets on (unpacked below the target folder, not installed).
    #[arg(long)]
    pub fleet: bool,
}

/// Finds what is missing, says so, asks, and installs it.
pub fn run(options: &Options) -> Result<()> {
    let mut needs = vec![Need::Build, Need::Lab];
    if options.browser {
        needs.push(Need::Browser);
    }
    if options.peer {
        needs.push(Need::Peer);
    }
    if options.image {
        needs.push(Need::Image);
    }
    let missing = packages::missing(&needs)?;
    let pages = huge_pages::state();
    let unpack = options.fleet && nats::there().is_none();
    if missing.is_empty() && !unpack && !matches!(pages, State::TooFew { .. }) {
        ui::line(format_args!("  {} setup: nothing to install; {}", ui::green("ok"), words(pages)));
        return Ok(());
    }

    announce(&missing, unpack, pages);
    if options.check {
        bail!("the machine lacks something; `cargo xtask setup` installs it");
    }
    if !options.yes && !is_ci() && !agreed()? {
        bail!("nothing was changed");
    }
    if !missing.is_empty() {
        let doing = ui::doing("installing packages");
        packages::install(&missing)?;
        doing.done(missing.len());
    }
    if let State::TooFew { reserve, .. } = pages {
        match huge_pages::reserve(reserve) {
            Ok(state) => ui::line(format_args!("  {} {}", ui::green("ok"), words(state))),
            // A gateway without huge pages is slow, not wrong.
            Err(why) => ui::line(format_args!("  {} going on without huge pages: {why:#}", ui::red("!"))),
        }
    }
    if unpack {
        nats::server()?;
    }
    let still = packages::missing(&needs)?;
    if !still.is_empty() {
        let names: Vec<_> = still.iter().map(|package| package.name).collect();
        bail!("apt-get ended well, yet these are not installed: {}", names.join(", "));
    }
    Ok(())
}

fn announce(missing: &[&Package], unpack: bool, pages: State) {
    ui::heading("setup will");
    for package in missing {
        ui::line(format_args!("  install {:<18} {}", package.name, ui::dim(package.why)));
    }
    if unpack {
        let why = "below the target folder: the servers of a fleet; nothing is started";
        ui::line(format_args!("  unpack nats-server         {}", ui::dim(why)));
    }
    if let State::TooFew { free, reserve } = pages {
        let more = huge_pages::WANTED - free;
        let why = format!("{} MiB for DPDK, until the next boot", more * 2);
        ui::line(format_args!("  reserve {more} huge pages, {reserve} in all  {}", ui::dim(why)));
    }
}

fn words(pages: State) -> String {
    match pages {
        State::Enough { free } => format!("{free} huge pages free"),
        State::TooFew { free, .. } => {
            format!("only {free} huge pages free (memory is fragmented); DPDK may run without")
        }
        State::NoMemory { free } => {
            format!("{free} huge pages free, no memory for more; DPDK runs without, at half speed")
        }
        State::Absent => "this kernel offers no huge pages; DPDK runs without, at half speed".to_owned(),
    }
}

/// Whether nobody is there to be asked.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("no terminal to ask on: run it with --yes, or set CI=true");
    }
    ui::line("Go on? [Y/n]");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}
