//! The same captures through nDPI's `ndpiReader`, one process each: what it names. [`super::speed`] has its speed.

use super::oracle::{self, Oracle};
use super::score::{self, Found};
use crate::ui;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// Compares recall; answers theirs.
pub(super) fn compare(captures: &[PathBuf], oracle: &Oracle, ours: &score::Score) -> Result<score::Score> {
    if Command::new("ndpiReader").arg("-h").output().is_err() {
        bail!("ndpiReader is not installed (cargo xtask setup --peer)");
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
    Ok(theirs)
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
