//! The commands of a fleet, as they are in `glassgate` and in `glassgate-fleet`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::agent::{self, AgentConfig};
use crate::down::cli::RolloutCommand;
use crate::hub::{self, HubConfig};
use crate::servers::{self, Fleet};
use crate::store::HubStore;
use crate::witness::board::Board;

/// Many gateways.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Send what may go up from the audit log of this box to the nats-server beside it, until it is ended.
    ///
    /// What goes up is on a list: counts that k people stand behind, checkpoints, health, alerts. Nothing of it waits for this command, and
    /// nothing of it needs more than to read the folder of the log. Where its file names witnesses, it has them cosign the checkpoints of this box, and
    /// cosigns those of others.
    Agent(AgentOptions),
    /// Write the files of a fleet: certificates, configurations of the servers, of the agents and of the hub.
    ///
    /// Certificates that are there stay. A site that is left out of the description has no right any more once the servers of the
    /// cluster were started anew, one after the other.
    Config(ConfigOptions),
    /// Say how the sites are, from the store of a hub: logs whose witnesses refused them first, then versions, what is missing, alerts, sums.
    Status(StatusOptions),
    /// Print all rows of counts that a hub has, as comma-separated values; or write them as a Parquet file.
    Rows(RowsOptions),
    /// Offer a signed signature pack to the boxes, in stages; beside the store of a hub.
    #[command(subcommand)]
    Rollout(RolloutCommand),
}

/// `fleet agent`.
#[derive(Args, Debug)]
pub struct AgentOptions {
    /// The agent's file, as `fleet config` writes it.
    #[arg(long, default_value = "/etc/glassgate/fleet/agent.toml", value_name = "FILE")]
    config: PathBuf,
}

/// `fleet config`.
#[derive(Args, Debug)]
pub struct ConfigOptions {
    /// The description of the fleet: sites, servers.
    fleet: PathBuf,
    /// The folder to write to; one folder a machine. The authority's key stays in it: keep it where no box is.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// `fleet status`.
#[derive(Args, Debug)]
pub struct StatusOptions {
    /// The store of the hub.
    #[arg(long, default_value = "/var/lib/glassgate-hub/hub.sqlite", value_name = "FILE")]
    store: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// `fleet rows`.
#[derive(Args, Debug)]
pub struct RowsOptions {
    /// The store of the hub.
    #[arg(long, default_value = "/var/lib/glassgate-hub/hub.sqlite", value_name = "FILE")]
    store: PathBuf,
    /// A JSON object a line in place of comma-separated values.
    #[arg(long)]
    json: bool,
    /// Write an Apache Parquet file in their place.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    parquet: Option<PathBuf>,
}

/// `hub`.
#[derive(Args, Debug)]
pub struct HubOptions {
    /// The hub's file, as `fleet config` writes it.
    #[arg(long, default_value = "/etc/glassgate/hub.toml", value_name = "FILE")]
    config: PathBuf,
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")
}

/// Runs a hub.
pub fn hub(options: &HubOptions) -> Result<()> {
    let config: HubConfig = read(&options.config)?;
    runtime()?.block_on(hub::run(&config))
}

/// Runs one of the others.
pub fn fleet(command: &FleetCommand) -> Result<()> {
    match command {
        FleetCommand::Agent(options) => {
            let config: AgentConfig = read(&options.config)?;
            runtime()?.block_on(agent::run(&config))
        }
        FleetCommand::Config(options) => {
            let fleet: Fleet = read(&options.fleet)?;
            servers::write(&fleet, &options.out)
        }
        FleetCommand::Status(options) => status(options),
        FleetCommand::Rows(options) => rows(options),
        FleetCommand::Rollout(command) => crate::down::cli::run(command),
    }
}

fn status(options: &StatusOptions) -> Result<()> {
    let store = HubStore::read(&options.store)?;
    let (sites, alerts, refused, totals) =
        (store.sites()?, store.alerts()?, store.refused()?, store.totals()?);
    let board = Board::read(&options.store)?;
    let (witnessed, conflicts) = match &board {
        Some(board) => (board.logs()?, board.conflicts()?),
        None => Default::default(),
    };
    let mut out = std::io::stdout().lock();
    if options.json {
        let alerts: Vec<_> = alerts
            .iter()
            .map(|(site, alert, severity)| json!({ "site": site, "alert": alert, "severity": severity }))
            .collect();
        let refused: Vec<_> = refused
            .iter()
            .map(|(site, reason, n)| json!({ "site": site, "reason": reason, "messages": n }))
            .collect();
        let all = json!({ "sites": sites, "alerts": alerts, "refused": refused, "totals": totals,
            "witnessed": witnessed, "conflicts": conflicts });
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    // First, as nothing else of a site with a conflict can be believed.
    for conflict in &conflicts {
        writeln!(out, "{conflict}")?;
    }
    for site in &sites {
        let seen = jiff::Timestamp::from_second(site.seen).unwrap_or_default();
        let version = if site.version.is_empty() { "version not known" } else { &site.version };
        writeln!(
            out,
            "{}: last heard of {seen}, {version}, {} entries, {} rows of counts, {} missing",
            site.site, site.entries, site.aggregates, site.missing
        )?;
    }
    for log in &witnessed {
        writeln!(
            out,
            "{}: {} entries of {}, witnesses that stand behind them: {}",
            log.site, log.size, log.log, log.witnesses
        )?;
    }
    for (site, alert, severity) in &alerts {
        writeln!(out, "{site}: {severity} {alert}")?;
    }
    for (site, reason, n) in &refused {
        let site = if site.is_empty() { "(no site of the fleet)" } else { site };
        writeln!(out, "{site}: {n} refused: {reason}")?;
    }
    Ok(())
}

fn rows(options: &RowsOptions) -> Result<()> {
    let store = HubStore::read(&options.store)?;
    if let Some(path) = &options.parquet {
        let rows = crate::store::parquet::export(&store, path)?;
        eprintln!("{rows} rows: {}", path.display());
        return Ok(());
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if !options.json {
        writeln!(
            out,
            "site,log,seq,start,end,span,measure,group,category,service,rest,people_at_least,k,flows,bytes_toserver,bytes_toclient,visits,active_s,uploads,upload_bytes"
        )?;
    }
    store.rows(|row| {
        if options.json {
            serde_json::to_writer(&mut out, row)?;
            writeln!(out)?;
            return Ok(());
        }
        let word = |word: &Option<String>| cell(word.as_deref().unwrap_or_default());
        writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
            row.site,
            row.log,
            row.seq,
            row.start,
            row.end,
            row.span,
            row.measure,
            word(&row.group),
            word(&row.category),
            word(&row.service),
            row.rest,
            row.people,
            row.k,
            row.flows,
            row.bytes_toserver,
            row.bytes_toclient,
            row.visits,
            row.active_s,
            row.uploads,
            row.upload_bytes
        )?;
        Ok(())
    })?;
    out.flush()?;
    Ok(())
}

/// A cell that a spreadsheet takes for text.
fn cell(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
