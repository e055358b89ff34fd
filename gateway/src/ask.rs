//! `glassgate status` and `glassgate reload`: questions to the running gateway over its control socket.

use crate::cli::{Ask, Bypass, Switch};
use crate::control::snapshot::Snapshot;
use crate::control::socket::{Answer, Question};
use crate::exit::{Ended, Exit};
use crate::page::numbers::short_time;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// No answer takes longer: a reload compiles a large table.
const PATIENCE: Duration = Duration::from_secs(70);
/// No answer is longer.
const MAX_ANSWER: u64 = 16 << 20;

/// Shows how the gateway is.
pub(crate) fn status(args: &Ask) -> Result<Exit> {
    let Answer::Status(now) = ask(&socket(args)?, &Question::Status)? else {
        anyhow::bail!("the gateway gave another answer than was asked for");
    };
    let text = if args.json { serde_json::to_string(&now)? + "\n" } else { describe(&now) };
    crate::print(&text)?;
    Ok(if now.troubles.is_empty() { Exit::Done } else { Exit::Degraded })
}

/// Has the gateway read its files again.
pub(crate) fn reload(args: &Ask) -> Result<Exit> {
    let answer = ask(&socket(args)?, &Question::Reload)?;
    if args.json {
        crate::print(&(serde_json::to_string(&answer)? + "\n"))?;
    }
    match answer {
        Answer::Reloaded(what) => {
            if !args.json {
                crate::print(&format!("reloaded: {what}\n"))?;
            }
            Ok(Exit::Done)
        }
        Answer::NotReloaded(why) => Err(Ended::new(
            Exit::Invalid,
            format!("not reloaded, what was loaded before stays in force\n{why}"),
        )
        .into()),
        _ => anyhow::bail!("the gateway gave another answer than was asked for"),
    }
}

/// Turns all enforcement and observation off, or on again.
pub(crate) fn bypass(args: &Bypass) -> Result<Exit> {
    let on = args.state == Switch::On;
    let answer = ask(&socket(&args.ask)?, &Question::Bypass { on, keep: on && args.keep })?;
    if args.ask.json {
        crate::print(&(serde_json::to_string(&answer)? + "\n"))?;
    }
    match answer {
        Answer::Bypass(what) => {
            if !args.ask.json {
                crate::print(&format!("{what}\n"))?;
            }
            Ok(Exit::Done)
        }
        Answer::NotBypass(why) => {
            Err(Ended::new(Exit::Failed, format!("the bypass is as it was: {why}")).into())
        }
        _ => anyhow::bail!("the gateway gave another answer than was asked for"),
    }
}

/// Hands a charter to the gateway.
pub(crate) fn install_charter(args: &Ask, charter: String, signatures: String) -> Result<Exit> {
    let answer = ask(&socket(args)?, &Question::InstallCharter { charter, signatures })?;
    if args.json {
        crate::print(&(serde_json::to_string(&answer)? + "\n"))?;
    }
    match answer {
        Answer::Installed(what) => {
            if !args.json {
                crate::print(&format!("installed: {what}\n"))?;
            }
            Ok(Exit::Done)
        }
        Answer::NotInstalled(why) => {
            Err(Ended::new(Exit::Invalid, format!("not installed, what was installed before stays\n{why}"))
                .into())
        }
        _ => anyhow::bail!("the gateway gave another answer than was asked for"),
    }
}

/// The control socket that the arguments name.
pub(crate) fn socket(args: &Ask) -> Result<PathBuf> {
    match &args.socket {
        Some(socket) => Ok(socket.clone()),
        None => Ok(crate::load(&args.config)?.socket),
    }
}

/// Asks the gateway that listens there.
pub(crate) fn ask(socket: &Path, question: &Question) -> Result<Answer> {
    let mut stream = UnixStream::connect(socket).map_err(|e| {
        let help = match e.kind() {
            std::io::ErrorKind::PermissionDenied => "; only the owner of the gateway may ask",
            _ => "; is `glassgate run` running with this configuration?",
        };
        Ended::new(Exit::NotRunning, format!("no gateway answers at {}: {e}{help}", socket.display()))
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer).context("waiting for the answer")?;
    serde_json::from_str(&answer).context("the answer of another version of glassgate")
}

/// Whether an error of [`ask`] says that no gateway answers.
pub(crate) fn is_not_running(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Ended>().is_some_and(|ended| ended.exit == Exit::NotRunning)
}

/// The gateway in a few lines.
fn describe(now: &Snapshot) -> String {
    let mut out = String::new();
    _ = writeln!(out, "glassgate {}  up {}  {}", now.version, duration(now.uptime_ms), now.time);
    for alert in &now.alerts {
        _ = writeln!(out, "  ! {}", crate::alerts::line(alert));
    }
    for trouble in &now.troubles {
        _ = writeln!(out, "  ! {trouble}");
    }
    _ = writeln!(out, "\nprocesses");
    for process in &now.processes {
        let pid = process.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let restarts = process.restarts;
        _ = writeln!(out, "  {:<10} {:<9} pid {pid:<8} restarts {restarts}", process.name, process.state);
    }
    _ = writeln!(out, "  outages {}, {} ms in all", now.outages.count, now.outages.total_ms);
    let away = &now.uninspected;
    let now_too = if away.now { ", now as well" } else { "" };
    _ = writeln!(
        out,
        "  uninspected {}, {} ms in all{now_too}; fallback: {}",
        away.count,
        away.total_ms,
        away.fallback.replace('_', " ")
    );
    if let Some(why) = &away.fallback_missing {
        _ = writeln!(out, "    {why}");
    }
    _ = writeln!(out, "\nports        frames in      frames out    dropped    missed   Mbit/s in");
    for port in &now.ports {
        let dropped = port.drop_policy + port.drop_limit + port.drop_tx_full;
        _ = writeln!(
            out,
            "  {:<7} {:>12}  {:>14} {:>10} {:>9} {:>11.2}  {}",
            port.info.name,
            port.rx_frames,
            port.tx_frames,
            dropped,
            port.rx_missed,
            port.rx_bits_per_s / 1e6,
            port.info.device,
        );
    }
    _ = writeln!(out, "\nlcores");
    for lcore in &now.lcores {
        _ = writeln!(
            out,
            "  CPU {:<3} flows {}/{}  load {:.0} %  ring {}/{}  99 % of frames out in {}  verdicts {}{}",
            lcore.cpu,
            lcore.flows_active,
            lcore.flows_capacity,
            lcore.load * 100.0,
            lcore.ring_fill,
            lcore.ring_capacity,
            short_time(lcore.p99_ns),
            lcore.epoch,
            if lcore.acknowledged { "" } else { " (not the current ones)" },
        );
    }
    let latency = &now.latency;
    let [half, most, nearly, all] =
        [latency.p50_ns, latency.p99_ns, latency.p999_ns, latency.max_ns].map(short_time);
    _ = writeln!(
        out,
        "\nin the box {half} (half of all frames), {most} (99 %), {nearly} (99.9 %), {all} (all), at most"
    );
    _ = writeln!(out, "page       certificate {}", now.certificate);
    let list = |all: &[crate::control::snapshot::Count]| {
        let words: Vec<String> = all.iter().map(|c| format!("{} {}", c.name, c.count)).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    };
    _ = writeln!(out, "\nflows      {} active, {} opened", now.flows.active, now.flows.opened);
    _ = writeln!(out, "named      {}", list(&now.named));
    _ = writeln!(out, "unnamed    {}", list(&now.unnamed));
    let reasons: u64 = now.unnamed.iter().map(|c| c.count).sum();
    let named: u64 = now.named.iter().map(|c| c.count).sum();
    let all = (named + reasons + now.not_looked_at).max(1) as f64;
    let share = |n: u64| format!("{:.0} %", 100.0 * n as f64 / all);
    _ = writeln!(
        out,
        "blindness  {} of these flows without a name, {} not looked at",
        share(reasons),
        share(now.not_looked_at)
    );
    _ = writeln!(out, "events     {} received, lost: {}", now.events.received, list(&now.events.lost));
    _ = writeln!(
        out,
        "\nverdicts   epoch {}, {} of {} lcores, valid for {:.0} s",
        now.policy.epoch, now.policy.acknowledged, now.policy.lcores, now.policy.valid_for_s
    );
    _ = writeln!(out, "  matrix   {}\n  table    {}", now.policy.matrix_hash, now.policy.table_hash);
    let enforced = now.rules.iter().filter(|rule| rule.enforced).count();
    _ = writeln!(
        out,
        "  rules    {}, of which {enforced} enforced (`glassgate rules hits`)",
        now.rules.len()
    );
    for list in &now.policy.lists {
        _ = writeln!(
            out,
            "  list     {}: {}, {} names in use ({}{})",
            list.name,
            list.state,
            list.names,
            list.category,
            if list.blocked { ", blocked" } else { "" }
        );
    }
    _ = writeln!(out, "recording  {}\n           {}", now.recording.what, now.recording.basis);
    groups(&mut out, now);
    let id = &now.identity;
    _ = writeln!(
        out,
        "groups     {}, {} enrolled; {} of {} known addresses have a group",
        id.groups, id.enrolled, id.members, id.addresses
    );
    if id.radius.is_some() || id.push.is_some() {
        _ = writeln!(out, "logins     {} sessions", id.sessions);
    }
    if id.receipts > 0 {
        _ = writeln!(out, "notices    {} receipts", id.receipts);
    }
    if let Some(radius) = &id.radius {
        let (did, refused) = (list(&radius.effects), list(&radius.refused));
        _ = writeln!(out, "  RADIUS   {} taken ({did}), refused: {refused}", radius.taken);
    }
    if let Some(push) = &id.push {
        let refused = list(&push.refused);
        _ = writeln!(out, "  pushed   {} logins, {} withdrawn, refused: {refused}", push.set, push.withdrawn);
    }
    out
}

/// What groups did, and what is not told of them.
fn groups(out: &mut String, now: &Snapshot) {
    let report = &now.report;
    for row in report.rows.iter().take(20) {
        let uploads = row.uploads.map_or_else(|| format!("fewer than {} people", row.k), |n| n.to_string());
        _ = writeln!(
            out,
            "told       {} {}: {} people, {} visits, {} flows, uploads: {uploads}",
            row.group.as_deref().unwrap_or("all groups"),
            row.service.as_deref().unwrap_or(&row.title),
            row.subjects,
            row.visits,
            row.flows,
        );
    }
    if report.rows.len() > 20 {
        _ = writeln!(out, "           and {} more (`--json`)", report.rows.len() - 20);
    }
    if !report.rows.is_empty() {
        let blind: u64 = report.unnamed_percent.iter().map(|c| c.count).sum();
        _ = writeln!(out, "           {blind} % of their flows have no name");
    }
    if !report.suppressed.is_empty() {
        let hidden: Vec<_> =
            report.suppressed.iter().take(8).map(|s| format!("{} {}", s.group, s.category)).collect();
        let more = report.suppressed.len().saturating_sub(8);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        _ = writeln!(
            out,
            "suppressed {}{more}: fewer people than must stand behind a count",
            hidden.join(", ")
        );
    }
}

/// Milliseconds as people say them.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let said = [0, 59_999, 61_000, 3_660_000, 90_000_000].map(duration);
        assert_eq!(said, ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }
}
