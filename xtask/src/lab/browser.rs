//! Chromium as a client: headless, in the namespace of a device, with a profile that is gone afterwards.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::netns::Netns;
use crate::process;
use crate::stop::Stop;

/// Over what Chromium may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Whatever it likes: TCP first.
    Anything,
    /// QUIC and nothing else.
    Quic,
}

/// What Chromium made of a page, as HTML; of one that does not come, its own page about that. Names are resolved as `hosts` says.
/// `key` is the fingerprint of a key to be trusted: QUIC takes none from an authority that the world does not know.
pub fn dom(
    netns: &Netns,
    url: &str,
    hosts: &[(&str, std::net::IpAddr)],
    over: Over,
    key: Option<&str>,
    stop: &Stop,
) -> Result<process::Finished> {
    let profile = tempfile::tempdir()?;
    let mut command: Command = netns.command("chromium");
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]);
    // Nothing but what it is asked for: no updates, no lists, no look for a network.
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    let rules: Vec<String> = hosts
        .iter()
        .map(|(name, address)| match address {
            std::net::IpAddr::V4(v4) => format!("MAP {name} {v4}"),
            std::net::IpAddr::V6(v6) => format!("MAP {name} [{v6}]"),
        })
        .collect();
    command.arg(format!("--host-resolver-rules={}", rules.join(", ")));
    if let Some(key) = key {
        command.arg(format!("--ignore-certificate-errors-spki-list={key}"));
    }
    if over == Over::Quic {
        let names: Vec<String> = hosts.iter().map(|(name, _)| format!("{name}:443")).collect();
        command.args(["--enable-quic", &format!("--origin-to-force-quic-on={}", names.join(","))]);
    }
    process::run(command.arg(url), &[], Duration::from_secs(60), stop)
}

/// The fingerprint of the key in a server's certificate, as Chromium wants it: SHA-256 of the public key, in base64.
pub fn key_of(netns: &Netns, server: &str, name: &str, stop: &Stop) -> Result<String> {
    let script = format!(
        "openssl s_client -connect {server} -servername {name} </dev/null 2>/dev/null | openssl x509 -pubkey -noout \
         | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64 -A"
    );
    let done = process::run(netns.command("sh").args(["-c", &script]), &[], Duration::from_secs(20), stop)?;
    let key = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    ensure!(key.len() == 44, "no certificate of {name} at {server}: {}", done.stderr);
    Ok(key)
}
