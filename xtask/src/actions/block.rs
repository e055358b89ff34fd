//! The action `block`, seen by real clients: each must learn at once that it is over.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Stage, Tried};
use crate::lab::browser::{self, Over};
use crate::lab::devices::{DEVICES, Device};
use crate::lab::{dns, quic};
use crate::process::{self, Finished};

/// Soon enough for somebody who waits.
const AT_ONCE: Duration = Duration::from_secs(1);
/// What the origin's page says over TCP.
const OVER_TCP: &str = "an origin of the lab";
/// A browser that is told by nobody tries for longer.
const HANGS: Duration = Duration::from_secs(30);
/// A name of the category that is blocked.
pub(super) const BLOCKED: &str = "www.douyin.com";
const OTHER: &str = "www.jd.com";
/// Blocks short video.
pub(super) const RULES: &str = "[[rule]]\nname = \"no-short-video\"\nmatch = { category = [\"short_video\"] }\naction = \"block\"\nstate = \"enforce\"\n\
                     owner = \"network@example.com\"\npurpose = \"bandwidth\"\nnote = \"as agreed in June\"\n";
/// What curl ends with when the flow is reset while it speaks TLS, and while it receives.
const TLS_FAILED: i32 = 35;
const RECEIVE_FAILED: i32 = 56;

/// A device and the IP version that it uses.
pub(super) struct Client<'a> {
    pub(super) stage: &'a Stage<'a>,
    pub(super) device: &'static Device,
    pub(super) v6: bool,
}

impl Client<'_> {
    fn words(&self) -> String {
        format!("{} IPv{}", self.device.name, if self.v6 { 6 } else { 4 })
    }

    /// Curl, which is told the address: DNS would not tell it.
    pub(super) fn curl(&self, url: &str, name: &str, more: &[&str]) -> Result<Finished> {
        let address = dns::address(name, self.v6)?;
        let address = if self.v6 { format!("[{address}]") } else { address.to_string() };
        let mut command = self.stage.lab.on(self.device, "curl");
        command
            .args(["--silent", "--show-error", "--include", "--http1.1", "--cacert"])
            .arg(self.stage.lab.ca());
        for port in [80, 443] {
            command.args(["--resolve", &format!("{name}:{port}:{address}")]);
        }
        command.args(more).arg(url);
        process::run(&mut command, &[], Duration::from_secs(20), self.stage.stop)
    }

    fn dig(&self, name: &str, more: &[&str]) -> Result<Finished> {
        let server = if self.v6 { dns::SERVER_V6 } else { dns::SERVER_V4 };
        let mut command = self.stage.lab.on(self.device, "dig");
        command.args(["+tries=1", "+time=5"]).args(more);
        command.args([format!("@{server}").as_str(), name, if self.v6 { "AAAA" } else { "A" }]);
        process::run(&mut command, &[], Duration::from_secs(20), self.stage.stop)
    }

    fn quic(&self, name: &'static str, limit: Duration) -> Result<String> {
        let server = (dns::address(name, self.v6)?, 443).into();
        let ca = self.stage.lab.ca();
        let fetched =
            self.stage.lab.netns(self.device).enter(move || quic::fetch(server, name, &ca, 50_000, limit))?;
        fetched.join().unwrap_or_else(|_| bail!("a thread panicked"))
    }
}

/// Tries a block on clients of every kind, tagged and untagged, IPv4 and IPv6.
pub fn run(stage: &Stage<'_>, tried: &mut Tried<'_>) -> Result<()> {
    stage.gateway.enforce(RULES, stage.stop)?;
    for device in [&DEVICES[0], &DEVICES[3]] {
        for v6 in [false, true] {
            let client = Client { stage, device, v6 };
            each(&client, tried)?;
        }
    }
    running(&Client { stage, device: &DEVICES[0], v6: false }, tried)?;
    chromium(stage, tried)
}

/// Chromium, over QUIC and over whatever it likes. Of a page that does not come it prints nothing.
fn chromium(stage: &Stage<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let netns = stage.lab.netns(&DEVICES[0]);
    let hosts = [(BLOCKED, dns::address(BLOCKED, false)?), (OTHER, dns::address(OTHER, false)?)];
    stage.gateway.enforce("", stage.stop)?;
    let keys = hosts.map(|(name, at)| browser::key_of(netns, &format!("{at}:443"), name, stage.stop));
    let keys = keys.into_iter().collect::<Result<Vec<_>>>()?.join(",");
    let mut visit = |what: &str, name: &str, over, comes: bool| {
        let url = format!("https://{name}/page");
        let done = browser::dom(netns, &url, &hosts, over, Some(&keys), stage.stop)?;
        let dom = String::from_utf8_lossy(&done.stdout);
        let (over_h3, over_tcp) = (dom.contains(quic::OVER_H3), dom.contains(OVER_TCP));
        let fine = match comes {
            true => [over_h3, over_tcp] == [over == Over::Quic, over != Over::Quic],
            false => done.stdout.is_empty() && done.took < HANGS,
        };
        let how = if over_h3 { "over HTTP/3" } else { "over TCP" };
        let how = if done.stdout.is_empty() { "nothing" } else { how };
        tried.hold(what, fine, format!("{:.0?}: {how}", done.took));
        Ok::<_, anyhow::Error>(())
    };
    visit("no block, Chromium over QUIC", BLOCKED, Over::Quic, true)?;
    visit("no block, Chromium over TCP", BLOCKED, Over::Anything, true)?;
    stage.gateway.enforce(RULES, stage.stop)?;
    visit("block, Chromium over QUIC", BLOCKED, Over::Quic, false)?;
    visit("block, Chromium over TCP", BLOCKED, Over::Anything, false)?;
    visit("block leaves others alone, Chromium over QUIC", OTHER, Over::Quic, true)?;
    stage.gateway.enforce("", stage.stop)
}

fn each(client: &Client<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let who = client.words();
    let tls = client.curl(&format!("https://{BLOCKED}/bytes/1000"), BLOCKED, &[])?;
    let fine = tls.status.code() == Some(TLS_FAILED) && tls.took < AT_ONCE && tls.stderr.contains("reset");
    tried.hold(
        &format!("block, curl https, {who}"),
        fine,
        format!("{:.0?}: {}", tls.took, tls.stderr.trim()),
    );

    let http = client.curl(&format!("http://{BLOCKED}/bytes/1000"), BLOCKED, &[])?;
    let page = String::from_utf8_lossy(&http.stdout);
    let says = ["403 Forbidden", "no-short-video", "bandwidth", "as agreed in June", "network@example.com"];
    let fine = http.status.success() && http.took < AT_ONCE && says.iter().all(|words| page.contains(words));
    let first = page.lines().next().unwrap_or_default();
    tried.hold(
        &format!("block, curl http, {who}"),
        fine,
        format!("{:.0?}: {first} {}", http.took, http.stderr.trim()),
    );

    let dig = client.dig(BLOCKED, &[])?;
    let said = String::from_utf8_lossy(&dig.stdout);
    let fine = said.contains("NXDOMAIN") && said.contains("EDE: 15") && dig.took < AT_ONCE;
    let line = said.lines().find(|line| line.contains("status:")).unwrap_or("no answer");
    tried.hold(&format!("block, dig, {who}"), fine, format!("{:.0?}: {line}", dig.took));

    let quic = client.quic(BLOCKED, Duration::from_secs(2));
    let words = quic.as_ref().map_or_else(|why| format!("{why:#}"), |_| "it got through".to_owned());
    tried.hold(&format!("block, QUIC, {who}"), quic.is_err(), words);

    let others = [
        client.curl(&format!("https://{OTHER}/bytes/1000"), OTHER, &["--fail"])?.status.success(),
        client.curl(&format!("http://{OTHER}/bytes/1000"), OTHER, &["--fail"])?.status.success(),
        String::from_utf8_lossy(&client.dig(OTHER, &["+short"])?.stdout).trim()
            == dns::address(OTHER, client.v6)?.to_string(),
        client.quic(OTHER, Duration::from_secs(10)).is_ok(),
    ];
    let words = format!("https, http, DNS, QUIC of {OTHER}: {others:?}");
    tried.hold(&format!("block leaves others alone, {who}"), others.iter().all(|fine| *fine), words);
    Ok(())
}

/// A download that runs when the rule arrives.
fn running(client: &Client<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let stage = client.stage;
    stage.gateway.enforce("", stage.stop)?;
    // A flow is ended when its next frame comes. With the kernel's 6 MiB of receive buffer a download at this rate may be
    // silent for seconds, with its window shut.
    stage.lab.netns(client.device).sysctl("ipv4/tcp_rmem", "4096 65536 131072")?;
    let (ended, ruled) = std::thread::scope(|scope| {
        let download = scope.spawn(|| {
            let url = format!("https://{BLOCKED}/bytes/{}", 8 << 20);
            (client.curl(&url, BLOCKED, &["--output", "/dev/null", "--limit-rate", "500k"]), Instant::now())
        });
        stage.stop.pause(Duration::from_secs(2))?;
        stage.gateway.enforce(RULES, stage.stop)?;
        let ruled = Instant::now();
        Ok::<_, anyhow::Error>((download.join(), ruled))
    })?;
    let Ok((done, at)) = ended else { bail!("a thread panicked") };
    let done = done?;
    let after = at.saturating_duration_since(ruled);
    let fine = done.status.code() == Some(RECEIVE_FAILED) && after < AT_ONCE;
    tried.hold(
        "block of a download that runs",
        fine,
        format!("{after:.0?} after the rule: {}", done.stderr.trim()),
    );
    Ok(())
}
