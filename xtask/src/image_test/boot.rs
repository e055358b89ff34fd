//! From power-on to forwarding, and what is there then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::machine::{MANAGEMENT, Machine, Start, empty_disk};
use super::traffic::{Pings, ROUTER};
use super::wires::Wires;
use super::{BOOT, Held, Stage};
use crate::actions::browser::make_first;
use crate::image::budget::Budgets;
use crate::image::sources;
use crate::lab::devices::DEVICES;
use crate::lab::webdriver::Browser;
use crate::lab::{Lab, browser, dns, quic};
use crate::process;
use crate::stop::Stop;

/// Between two pings while the machine starts.
const EVERY: Duration = Duration::from_millis(50);

/// From the last frame by the kernel's bridge to the first by DPDK.
const HANDOVER: Duration = Duration::from_secs(5);

/// The gateway's start brings writes of its own with it: the first rollup and checkpoint come within so long.
const FIRST: Duration = Duration::from_secs(90);
/// Without a write for so long after that, the machine has done what its start brought with it.
const SETTLED: Duration = Duration::from_secs(20);
/// How long that is waited for; what never settles is counted as it is.
const SETTLES: Duration = Duration::from_secs(180);
/// For how long writes at rest are counted.
const REST: Duration = Duration::from_secs(60);

/// A first start.
pub fn run(stage: &Stage<'_>, held: &mut Held, machine: &mut Option<Machine>) -> Result<()> {
    let pings = Pings::start(stage.lab, EVERY, stage.dir)?;
    *machine = None;
    let running = stage.take(machine)?;
    first(stage, held, &running, pings)?;
    *machine = Some(running);
    Ok(())
}

fn first(stage: &Stage<'_>, held: &mut Held, machine: &Machine, mut pings: Pings) -> Result<()> {
    pings.await_first(BOOT, stage.stop)?;
    held.hold("power-on to the first ping through it", true, seconds(machine.since), "120 s, emulated");
    machine.await_forwarding()?;
    held.hold("power-on to forwarding by DPDK", true, seconds(machine.since), "180 s, emulated");
    let said = machine.await_up(0)?;
    let taken = machine.run("journalctl -b --no-pager -o short-monotonic -u glassgate-ports -u glassgate")?;
    let drivers = machine.run("glassgate ports")?;
    held.hold(
        "the two data ports are DPDK's, the management port is not",
        drivers.matches("uio_pci_generic").count() + drivers.matches("vfio-pci").count() == 2
            && drivers.contains("management"),
        drivers.trim().replace('\n', " | "),
        "",
    );
    std::fs::write(stage.dir.join("first-start.log"), &taken)?;
    // Let the handover be behind us, then what is lost is lost for another reason.
    let outcome = pings.end()?;
    held.hold(
        "silence while the kernel's bridge hands over to DPDK",
        outcome.silence <= HANDOVER,
        format!(
            "{} ms, {} of {} pings lost since the first",
            outcome.silence.as_millis(),
            outcome.lost,
            outcome.sent - outcome.first
        ),
        &format!("{} ms, emulated", HANDOVER.as_millis()),
    );
    held.hold("pings that came twice", outcome.double == 0, outcome.double.to_string(), "0");
    clients(stage.lab, held, stage.stop)?;
    page(stage.lab, machine, &said, held, stage.stop)?;
    hardening(machine, held)?;
    record(stage, machine, held)
}

fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}

/// A hundred pings and a transfer, through DPDK by now.
fn clients(lab: &Lab, held: &mut Held, stop: &Stop) -> Result<()> {
    let mut ping = lab.on(&DEVICES[0], "ping");
    ping.args(["-n", "-q", "-c", "100", "-i", "0.05", ROUTER]);
    let done = process::run(&mut ping, &[], Duration::from_secs(60), stop)?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let line = said.lines().find(|line| line.contains("received")).unwrap_or("no answer").to_owned();
    held.hold("pings through it", line.contains(" 0% packet loss"), line, "100 of 100");
    let ca = lab.ca();
    for (what, url) in
        [("http", "http://news.example/bytes/1000000"), ("https", "https://www.zhipin.com/bytes/1000000")]
    {
        let mut curl = lab.on(&DEVICES[0], "curl");
        curl.args([
            "-sS",
            "--max-time",
            "60",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{size_download} %{time_total}",
            "--cacert",
        ]);
        let done = process::run(curl.arg(&ca).arg(url), &[], Duration::from_secs(90), stop)?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        held.hold(
            &format!("a megabyte by {what}"),
            said.starts_with("200 1000000 "),
            format!("{said} s {}", done.stderr.trim()),
            "200, whole",
        );
    }
    let (name, size, limit) = ("www.zhipin.com", 1_000_000, Duration::from_secs(60));
    let (server, began) = (SocketAddr::from((dns::address(name, false)?, 443)), Instant::now());
    let fetched = lab.netns(&DEVICES[0]).enter(move || quic::fetch(server, name, &ca, size, limit))?;
    let fetched = fetched.join().unwrap_or_else(|_| bail!("a thread panicked"));
    held.hold(
        "a megabyte by QUIC",
        fetched.as_ref().is_ok_and(|digest| *digest == lab.origin.sha256(size)),
        fetched
            .map_or_else(|why| format!("{why:#}"), |digest| format!("SHA-256 {digest}, {}", seconds(began))),
        "whole",
    );
    Ok(())
}

/// What a browser sees when somebody has made the first account: that frames passed uninspected before the data plane was there is on record.
fn record(stage: &Stage<'_>, machine: &Machine, held: &mut Held) -> Result<()> {
    // As a time server would, which this network has not: codes of logins need a clock.
    machine.run("mkdir -p /run/systemd/timesync && : > /run/systemd/timesync/synchronized")?;
    let secret = machine.run("glassgate account first-secret")?;
    let secret = secret.split_whitespace().last().context("no secret of the first account")?;
    let (netns, port) = (&stage.lab.gateway, format!("{MANAGEMENT}:8480"));
    let key = browser::key_of(netns, &port, "localhost", stage.stop)?;
    let chromium = Browser::start(netns, Some(&key), &stage.dir.join("chromedriver.log"), stage.stop)?;
    let base = format!("https://{port}");
    let joined = make_first(&chromium, &base, secret);
    held.hold(
        "Chromium: the first account is made with the secret of the console",
        joined.is_ok(),
        joined.err().map_or_else(|| chromium.address().unwrap_or_default(), |why| format!("{why:#}")),
        "",
    );
    chromium.go(&format!("{base}/log?lang=en&kind=uninspected"))?;
    let rows = chromium.run("return document.querySelector('#records table.records').innerText")?;
    let rows = rows.as_str().unwrap_or_default().trim().replace('\n', " | ");
    held.hold(
        "a record on the page: frames passed uninspected until the data plane was there",
        rows.contains("kernel") && rows.contains("start"),
        rows,
        "",
    );
    chromium.draw(&stage.dir.join("log.png"), false)
}

/// The page at the management port, with the certificate that the console names, and nowhere else.
fn page(lab: &Lab, machine: &Machine, console: &str, held: &mut Held, stop: &Stop) -> Result<()> {
    let shown = console
        .rsplit_once("fingerprint  ")
        .map(|(_, rest)| rest.lines().next().unwrap_or_default().trim().to_owned());
    let shown = shown.context("no fingerprint on the console")?;
    let port = format!("{MANAGEMENT}:8480");
    let mut openssl = lab.gateway.command("openssl");
    openssl.args(["s_client", "-connect", &port, "-servername", "localhost"]);
    let done = process::run(&mut openssl, &[], Duration::from_secs(60), stop)?;
    let mut print = Command::new("openssl");
    print.args(["x509", "-noout", "-fingerprint", "-sha256"]);
    let print = process::run(&mut print, &done.stdout, Duration::from_secs(20), stop)?;
    let plain = |text: &str| text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_lowercase();
    let seen = String::from_utf8_lossy(&print.stdout).into_owned();
    let seen = plain(seen.rsplit('=').next().unwrap_or_default());
    held.hold(
        "the page shows the certificate of the console",
        !seen.is_empty() && seen == plain(&shown),
        seen,
        "the same",
    );
    let mut curl = lab.gateway.command("curl");
    curl.args(["-skS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code} in %{time_total} s"]);
    let done = process::run(curl.arg(format!("https://{port}/healthz")), &[], Duration::from_secs(60), stop)?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    held.hold("the page answers on the management port", said.starts_with("200"), said, "200");
    // The kernel of the machine has no address on the ports of the bridge, so nobody there is answered.
    let mut curl = lab.on(&DEVICES[0], "curl");
    curl.args(["-skS", "--max-time", "3", &format!("https://{port}/login")]);
    let done = process::run(&mut curl, &[], Duration::from_secs(20), stop)?;
    held.hold(
        "nothing answers for it on the LAN side",
        !done.status.success(),
        done.stderr.trim().to_owned(),
        "no answer",
    );
    let after = machine.console.expect(&["open /join"], 0, Duration::from_secs(60), stop);
    let secret = after.is_ok();
    held.hold(
        "the console has the secret of the first account",
        secret,
        if secret { "it has" } else { "no" },
        "",
    );
    Ok(())
}

/// What the image promises about itself, looked at from inside.
fn hardening(machine: &Machine, held: &mut Held) -> Result<()> {
    let (said, wrote) = machine.ask("echo x > /usr/bin/x")?;
    held.hold(
        "the root can't be written",
        !wrote && said.contains("Read-only"),
        said.trim().to_owned(),
        "read-only",
    );
    let verity =
        machine.run("findmnt -n -o FSTYPE,OPTIONS /; cat /sys/block/dm-0/dm/name; cat /sys/block/dm-0/ro")?;
    held.hold(
        "and is the verified device",
        verity.contains("squashfs") && verity.contains("ro,") && verity.contains("glassgate\n1"),
        verity.trim().replace('\n', " | "),
        "",
    );
    let logins = machine.ask("for p in /proc/[0-9]*; do cat $p/comm 2> /dev/null; done | while read -r c; do case $c in *getty*|*login|*sshd*) echo $c;; esac; done; while IFS=: read -r n p _; do case $p in '!'*|'*') ;; *) echo $n has a password;; esac; done < /etc/shadow")?.0;
    held.hold(
        "nobody can log in: no getty, no sshd, no password",
        logins.trim().is_empty(),
        if logins.trim().is_empty() { "none".to_owned() } else { logins.trim().replace('\n', " ") },
        "none",
    );
    let cores = machine.run("cat /proc/sys/kernel/core_pattern; ulimit -c")?;
    held.hold("no core dumps", cores.starts_with("|/bin/false"), cores.trim().replace('\n', ", limit "), "");
    let failed = machine.run("systemctl --failed --no-legend --plain")?;
    held.hold(
        "no unit has failed",
        failed.trim().is_empty(),
        if failed.trim().is_empty() { "none".to_owned() } else { failed.trim().replace('\n', "; ") },
        "none",
    );
    // 100 is a service that may do everything.
    let loose = machine.run("for u in glassgate glassgate-ports glassgate-console glassgate-confirm glassgate-retry glassgate-forget glassgate-stick@sda glassgate-forget-console@ttyS0 glassgate-forget-button@event0; do systemd-analyze security --threshold=50 --no-pager $u.service > /dev/null 2>&1 || echo $u; done")?;
    held.hold(
        "units of ours that `systemd-analyze security` calls looser than 5.0",
        loose.trim().is_empty(),
        if loose.trim().is_empty() { "none".to_owned() } else { loose.trim().replace('\n', ", ") },
        "none",
    );
    let doctor = machine.ask("glassgate doctor --running")?;
    held.hold(
        "the doctor finds no fault",
        doctor.1,
        doctor.0.lines().filter(|l| !l.starts_with("ok")).map(str::trim).collect::<Vec<_>>().join(" | "),
        "",
    );
    let memory = machine.run("while read -r k v _; do case $k in MemAvailable:) echo $((v / 1024)) MiB available;; esac; done < /proc/meminfo; systemd-analyze time | head -n 1")?;
    held.hold("memory left, and how the start went", true, memory.trim().replace('\n', "; "), "");
    Ok(())
}

/// What is written to the disk while nothing happens, as megabytes a day: flash wears by it.
pub fn wear(stage: &Stage<'_>, held: &mut Held, machine: &mut Option<Machine>) -> Result<()> {
    let running = stage.take(machine)?;
    running.await_forwarding()?;
    written(&running, held, stage.stop)?;
    *machine = Some(running);
    Ok(())
}

fn written(machine: &Machine, held: &mut Held, stop: &Stop) -> Result<()> {
    let synced = || -> Result<u64> {
        machine.run("sync")?;
        writes(machine)
    };
    let began = Instant::now();
    while let up = uptime(machine)?
        && up < FIRST
    {
        stop.pause(FIRST - up)?;
    }
    let (mut at, mut since) = (writes(machine)?, Instant::now());
    while since.elapsed() < SETTLED && began.elapsed() < SETTLES {
        stop.pause(Duration::from_secs(2))?;
        let now = writes(machine)?;
        if now != at {
            (at, since) = (now, Instant::now());
        }
    }
    let (before, by_before) = (synced()?, writers(machine)?);
    stop.pause(REST)?;
    let bytes = synced()? - before;
    // File systems and what keeps their blocks add to it: this says who began it.
    let mut by: Vec<(u64, String)> = writers(machine)?
        .into_iter()
        .map(|(who, n)| (n.saturating_sub(by_before.get(&who).copied().unwrap_or_default()) / 1000, who))
        .filter(|(kilobytes, _)| *kilobytes > 0)
        .collect();
    by.sort_unstable_by(|a, b| b.cmp(a));
    let by: Vec<_> = by.iter().map(|(kilobytes, who)| format!("{who} {kilobytes} kB")).collect();
    let day = bytes * 86_400 / REST.as_secs() / 1_000_000;
    let limit = Budgets::read(&sources().join("budgets.toml"))?.day()?;
    held.hold(
        "written to the disk at rest, as megabytes a day",
        day <= limit,
        format!(
            "{day} ({} kB in {} s, a sync at its end, {} s after the start had been looked at; of it {})",
            bytes / 1000,
            REST.as_secs(),
            (began.elapsed() - REST).as_secs(),
            if by.is_empty() { "nothing by a process".to_owned() } else { by.join(", ") }
        ),
        &format!("{limit}, image/budgets.toml"),
    );
    Ok(())
}

/// How long the gateway has been running.
fn uptime(machine: &Machine) -> Result<Duration> {
    let said = machine.run(
        "read -r up _ < /proc/uptime; echo $up; systemctl show -P ExecMainStartTimestampMonotonic glassgate",
    )?;
    let mut words = said.split_whitespace();
    let up: f64 = words.next().context("no time since the start")?.parse()?;
    let started: u64 = words.next().context("systemd does not say when the gateway started")?.parse()?;
    Ok(Duration::from_secs_f64(up).saturating_sub(Duration::from_micros(started)))
}

/// Bytes that the disk was given to write since the start.
fn writes(machine: &Machine) -> Result<u64> {
    let said = machine.run("cat /sys/block/vda/stat")?;
    Ok(said.split_whitespace().nth(6).context("no count of sectors")?.parse::<u64>()? * 512)
}

/// What each process has had written to disks, bytes, by its name and number.
fn writers(machine: &Machine) -> Result<BTreeMap<String, u64>> {
    let said = machine.run(
        "for p in /proc/[0-9]*; do { read -r c < $p/comm && while read -r k v; do case $k in write_bytes:) echo \"$v $c ${p#/proc/}\";; esac; done < $p/io; } 2> /dev/null; done",
    )?;
    let line = |line: &str| {
        let (bytes, who) = line.split_once(' ')?;
        Some((who.to_owned(), bytes.parse().ok()?))
    };
    Ok(said.lines().filter_map(line).collect())
}

/// A start with a clock of 1970, on wires.
pub fn clock(stage: &Stage<'_>, dir: &Path) -> Result<Vec<(&'static str, bool, String, &'static str)>> {
    empty_disk(&stage.images.first.disk, dir)?;
    let mut wires = Wires::lay(dir)?;
    let how = Start { clock: Some("1970-01-01T00:00:00"), ..Start::default() };
    let machine = Machine::start(dir, &how, stage.stop)?;
    machine.await_forwarding()?;
    let passes = wires.await_passing(Duration::from_secs(30), stage.stop);
    let now = machine.run("date -u +%Y-%m-%dT%H:%M:%S")?;
    let doctor = machine.run("glassgate doctor --running")?;
    let line = doctor.lines().find(|line| line.contains(" clock ")).unwrap_or_default().trim().to_owned();
    machine.cut();
    Ok(vec![
        ("with a clock of 1970 frames pass by DPDK", passes.is_ok(), format!("{passes:?}"), ""),
        (
            "the clock is not before the image",
            now.trim() > "2025",
            now.trim().to_owned(),
            "the time of the build",
        ),
        ("and says that nobody set it", line.starts_with("advice"), line, "advice"),
    ])
}
