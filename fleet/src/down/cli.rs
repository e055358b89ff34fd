//! `fleet rollout …`, beside a hub that may be running.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use glassgate_policy::pack::{KeyId, Pack};
use glassgate_policy::table::Aligned;
use serde_json::json;

use super::MAX_BYTES;
use super::store::{Rollout, Rollouts, Sqlite, State};
use crate::words::Digest;

/// What is done with a roll-out.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Offer a signed signature pack to one site, then to a tenth, then to all.
    ///
    /// The next stage begins once all sites of this one have run the pack for the time of watching and are as well as before. It halts by itself otherwise.
    ///
    /// Example: glassgate-fleet rollout start site.pack --hold 7200
    Start(StartOptions),
    /// Say how far the newest roll-out is, and what each box has.
    Status(StoreOptions),
    /// Stop it: no further site is offered the pack, and those that have it on trial put the one before it back.
    Halt(StoreOptions),
    /// Go on with one that was halted, where it was. Boxes try once more what they refused.
    Resume(StoreOptions),
    /// End it for good: as `halt`, and another one may be started.
    Withdraw(StoreOptions),
}

/// The store of the hub.
#[derive(Args, Debug)]
pub struct StoreOptions {
    /// The store of the hub.
    #[arg(long, default_value = "/var/lib/glassgate-hub/hub.sqlite", value_name = "FILE")]
    store: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// `rollout start`.
#[derive(Args, Debug)]
pub struct StartOptions {
    /// The pack, as `glassgate pack build` and `sign` make it.
    pack: PathBuf,
    /// Seconds that each stage is watched for.
    #[arg(long, default_value_t = 7200, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    hold: u32,
    /// Seconds without a question after which a site is silent; boxes ask each minute.
    #[arg(long, default_value_t = 900, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    silent: u32,
    #[command(flatten)]
    to: StoreOptions,
}

/// Runs a verb.
pub fn run(command: &RolloutCommand) -> Result<()> {
    let now = jiff::Timestamp::now().as_second();
    match command {
        RolloutCommand::Start(options) => start(options, now),
        RolloutCommand::Status(options) => status(options),
        RolloutCommand::Halt(options) => change(options, now, State::Halted, &[State::Running]),
        RolloutCommand::Resume(options) => change(options, now, State::Running, &[State::Halted]),
        RolloutCommand::Withdraw(options) => {
            change(options, now, State::Withdrawn, &[State::Running, State::Halted, State::Done])
        }
    }
}

fn start(options: &StartOptions, now: i64) -> Result<()> {
    let shown = || options.pack.display().to_string();
    let length = std::fs::metadata(&options.pack).with_context(shown)?.len();
    ensure!(length <= MAX_BYTES, "{} has {length} bytes, and boxes take {MAX_BYTES}", shown());
    let bytes = std::fs::read(&options.pack).with_context(shown)?;
    let pack = Pack::look(Arc::new(Aligned::copy_of(&bytes))).with_context(shown)?;
    let info = pack.info();
    ensure!(info.key != KeyId::default(), "{}: nobody signed it: `glassgate pack sign` does", shown());
    let mut store = Sqlite::open(&options.to.store)?;
    let table: String = info.table.iter().map(|byte| format!("{byte:02x}")).collect();
    let new = Rollout {
        id: 0,
        pack: Digest::of(&bytes),
        table: Digest::new(&table)?,
        serial: i64::try_from(info.serial)?,
        bytes: i64::try_from(bytes.len())?,
        stage: 0,
        state: State::Running,
        why: String::new(),
        attempt: 1,
        hold_s: options.hold.into(),
        silent_s: options.silent.into(),
        began: now,
        staged: now,
    };
    store.begin(&new, &bytes)?;
    status(&options.to)
}

fn change(options: &StoreOptions, now: i64, to: State, from: &[State]) -> Result<()> {
    let mut store = Sqlite::open(&options.store)?;
    let Some(mut rollout) = store.newest()? else { bail!("nothing was rolled out yet") };
    if !from.contains(&rollout.state) {
        bail!("the newest roll-out is {}", rollout.state.as_str());
    }
    if to == State::Running {
        rollout.attempt += 1;
        rollout.staged = now;
        store.restage(rollout.id, now)?;
    }
    rollout.why = if to == State::Halted { "by hand".to_owned() } else { String::new() };
    rollout.state = to;
    store.put(&rollout)?;
    status(options)
}

fn status(options: &StoreOptions) -> Result<()> {
    let store = Sqlite::open(&options.store)?;
    let mut out = std::io::stdout().lock();
    let newest = store.newest()?;
    let staged = newest.as_ref().map(|rollout| store.staged(rollout.id)).transpose()?.unwrap_or_default();
    let boxes = store.boxes()?;
    if options.json {
        let staged: Vec<_> = staged.iter().map(|(site, _)| site).collect();
        let all = json!({ "rollout": newest, "staged": staged, "boxes": boxes });
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    let Some(rollout) = newest else { return Ok(writeln!(out, "nothing was rolled out yet")?) };
    let stage =
        ["one site", "a tenth", "all"].get(usize::try_from(rollout.stage)?).copied().unwrap_or_default();
    let why = if rollout.why.is_empty() { String::new() } else { format!(": {}", rollout.why) };
    writeln!(
        out,
        "pack {} of serial {}: {}, stage {stage}{why}",
        rollout.pack,
        rollout.serial,
        rollout.state.as_str()
    )?;
    for said in &boxes {
        let is_staged = if staged.iter().any(|(site, _)| *site == said.site) { ", staged" } else { "" };
        let has = said.pack.as_deref().map_or("no pack".to_owned(), |_| format!("serial {}", said.serial));
        let refused =
            if said.why.is_empty() { String::new() } else { format!(", refused one: {}", said.why) };
        writeln!(out, "{}: {has}{is_staged}{refused}", said.site)?;
    }
    Ok(())
}
