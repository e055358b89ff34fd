//! The same captures through nDPI's `ndpiReader`, alternating with ours.

use super::oracle::{self, Oracle};
use super::score::{self, Found};
use crate::ui;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 5;

/// Compares recall and speed.
pub(super) fn compare(bin: &Path, captures: &[PathBuf], oracle: &Oracle, ours: &score::Score) -> Result<()> {
    if Command::new("ndpiReader").arg("-h").output().is_err() {
        bail!("ndpiReader is not installed (apt-get install libndpi-bin)");
    }
    let theirs = score::score(oracle, &names(captures)?);
    ui::line(format_args!("recall         glassgate      ndpiReader"));
    for kind in oracle::KINDS {
        let share = |s: &score::Score| {
            s.kinds.get(kind).map_or(0.0, |t| 100.0 * t.found as f64 / t.total.max(1) as f64)
        };
        let wrong = |s: &score::Score| s.kinds.get(kind).map_or(0, |t| t.wrong);
        ui::line(format_args!(
            "{kind:5} {:>12.2} % ({} wrong) {:>12.2} % ({} wrong)",
            share(ours),
            wrong(ours),
            share(&theirs),
            wrong(&theirs)
        ));
    }
    speed(bin, captures)
}

/// Processor time of both over all captures in one process each, in turn; the median of the ratios.
fn speed(bin: &Path, captures: &[PathBuf]) -> Result<()> {
    // ndpiReader takes a list of captures as a file.
    let list = tempfile::NamedTempFile::new()?;
    let text: Vec<String> = captures.iter().map(|c| c.display().to_string()).collect();
    std::fs::write(list.path(), text.join("\n"))?;
    let mut ratios = Vec::new();
    let mut last = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let mut us = Command::new(bin);
        us.arg("replay").args(captures);
        let mut them = Command::new("ndpiReader");
        them.arg("-q").arg("-t").arg("-i").arg(list.path());
        last = (cpu_time(&mut us)?, cpu_time(&mut them)?);
        ratios.push(last.1.as_secs_f64() / last.0.as_secs_f64().max(1e-9));
    }
    ratios.sort_by(f64::total_cmp);
    ui::line(format_args!(
        "processor time over the captures: {:.2} s against {:.2} s in the last round; ndpiReader / glassgate = {:.1} (median of {ROUNDS}, {:.1} to {:.1})",
        last.0.as_secs_f64(),
        last.1.as_secs_f64(),
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1]
    ));
    Ok(())
}

/// User and system time of a command.
fn cpu_time(command: &mut Command) -> Result<Duration> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("starting")?;
    let before = children_time()?;
    child.wait()?;
    Ok(children_time()?.saturating_sub(before))
}

/// User and system time of all children that were waited for.
fn children_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // cutime and cstime, fields 16 and 17 of proc(5), in hundredths of a second.
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis((ticks(13) + ticks(14)) * 10))
}

fn names(captures: &[PathBuf]) -> Result<Found> {
    let mut found = Found::new();
    for capture in captures {
        let output = Command::new("ndpiReader").args(["-t", "-v", "2", "-i"]).arg(capture).output()?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some((flow, kind, name)) = read_line(&capture.to_string_lossy(), line) {
                found.entry(flow).or_default().entry(kind).or_default().names.insert(name);
            }
        }
    }
    Ok(found)
}

/// `1 TCP 192.0.2.1:5000 <-> 192.0.2.2:443 [proto: 91/TLS]…[Hostname/SNI: example.org]…`
fn read_line(capture: &str, line: &str) -> Option<(oracle::Key, String, String)> {
    let mut words = line.split_whitespace();
    words.next()?.parse::<u64>().ok()?;
    let proto = words.next()?.to_lowercase();
    let a = endpoint(words.next()?)?;
    let arrow = words.next()?;
    let b = endpoint(words.next()?)?;
    let between = |from: &str| line.split_once(from)?.1.split(']').next();
    let proto_name = between("[proto: ")?.split_once('/')?.1;
    let kind = proto_name.split('.').find_map(|p| match p {
        "TLS" | "DTLS" => Some("tls"),
        "QUIC" => Some("quic"),
        "HTTP" | "HTTP_Proxy" | "HTTP_Connect" => Some("http"),
        "DNS" => Some("dns"),
        _ => None,
    })?;
    let name = between("[Hostname/SNI: ")?;
    (arrow.contains('>') && !name.is_empty()).then(|| {
        (oracle::key(capture, &proto, (&a.0, a.1), (&b.0, b.1)), kind.to_owned(), oracle::normal(name))
    })
}

fn endpoint(text: &str) -> Option<(String, u16)> {
    let (ip, port) = text.rsplit_once(':')?;
    Some((ip.trim_start_matches('[').trim_end_matches(']').to_owned(), port.parse().ok()?))
}
