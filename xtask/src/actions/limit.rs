//! The action `limit`, measured by iperf3.
//!
//! iperf3 tells what applications get; a limit counts frames, headers and all. What is compared with the rate is iperf3's
//! figure and the headers that its payload needed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::block::Client;
use super::{Stage, Tried};
use crate::lab::devices::{DEVICES, Device};
use crate::lab::iperf;
use crate::process;

/// What iperf3's flows are limited to. They have no name that is in any list.
const RATE: u64 = 8_000_000;
/// How far from the rate a measurement may be.
const TOLERANCE: f64 = 0.05;
/// Seconds of a measurement, and those before it that do not count: the burst of the limit and the beginning of TCP.
const SECONDS: u64 = 10;
const OMITTED: u64 = 2;
/// What a device may use of shops, in bytes.
const QUOTA: u64 = 4_000_000;
const SHOP: &str = "www.jd.com";
/// Payload of a datagram.
const DATAGRAM: u64 = 1200;

/// A rule that limits what is in no list.
fn rule(per: &str) -> String {
    format!(
        "[[rule]]\nname = \"iperf\"\nmatch = {{ category = [\"unknown\"] }}\naction = \"limit\"\nrate = \"{} kbit/s\"\nper = \"{per}\"\n\
         state = \"enforce\"\nowner = \"lab\"\npurpose = \"bandwidth\"\n",
        RATE / 1000
    )
}

/// A run of iperf3.
#[derive(Clone, Copy)]
struct Run {
    device: &'static Device,
    port: u16,
    v6: bool,
    /// From the server to the device.
    down: bool,
    udp: bool,
}

impl Run {
    fn words(&self) -> String {
        let transport = if self.udp { "UDP" } else { "TCP" };
        format!("{transport} {} IPv{}", if self.down { "down" } else { "up" }, if self.v6 { 6 } else { 4 })
    }

    /// Runs it for so many seconds and gives what iperf3 says.
    fn run(&self, stage: &Stage<'_>, seconds: u64, omitted: u64) -> Result<Value> {
        // What the run before left to be paid for could cost this one its first datagram, which iperf3 sends once.
        stage.stop.pause(Duration::from_secs(1))?;
        let mut command = iperf::client(stage.lab, self.device, self.port, self.v6);
        command.args(["--time", &seconds.to_string(), "--omit", &omitted.to_string()]);
        if self.down {
            command.arg("--reverse");
        }
        if self.udp {
            let (rate, length) = ((RATE * 2).to_string(), DATAGRAM.to_string());
            command.args(["--udp", "--bitrate", &rate, "--length", &length]);
        }
        iperf::run(&mut command, Duration::from_secs(seconds + omitted + 30), stage.stop)
    }

    /// Bits a second of frames for bits a second of payload.
    fn frames(&self, payload: f64, said: &Value) -> f64 {
        // Ethernet, IP, and UDP or TCP with timestamps.
        let headers = 14.0 + if self.v6 { 40.0 } else { 20.0 } + if self.udp { 8.0 } else { 32.0 };
        let each = if self.udp {
            DATAGRAM as f64
        } else {
            said["start"]["tcp_mss_default"].as_f64().unwrap_or(1448.0)
        };
        payload * (each + headers) / each
    }
}

/// What the receiver got, bits a second of payload.
fn received(said: &Value) -> Result<f64> {
    let end = &said["end"];
    let sums = [&end["sum_received"], &end["sum"]];
    let lost = end["sum"]["lost_percent"].as_f64().unwrap_or(0.0);
    let tcp = sums[0]["bits_per_second"].as_f64();
    // iperf3 3.12 has what was sent in `sum` of UDP, and the share of it that was lost.
    let udp = sums[1]["bits_per_second"].as_f64().map(|bits| bits * (1.0 - lost / 100.0));
    udp.or(tcp).context("iperf3 says no rate")
}

fn is_rate(bits: f64, rate: u64) -> bool {
    (bits / rate as f64 - 1.0).abs() <= TOLERANCE
}

fn mbits(bits: f64) -> String {
    format!("{:.2} Mbit/s", bits / 1e6)
}

/// Tries limits on iperf3's flows, and one on a download by name.
pub fn run(stage: &Stage<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let _servers = [5201, 5202]
        .map(|port| iperf::server(stage.lab, port, stage.stop))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    stage.gateway.enforce(&rule("rule"), stage.stop)?;
    let one = Run { device: &DEVICES[0], port: 5201, v6: false, down: false, udp: false };
    for udp in [false, true] {
        for (v6, down) in [(false, false), (false, true), (true, false), (true, true)] {
            let run = Run { v6, down, udp, ..one };
            // What is lost of datagrams iperf3 counts from the beginning, omitted seconds or not.
            let said = run.run(stage, SECONDS, if udp { 0 } else { OMITTED })?;
            let payload = received(&said)?;
            let frames = run.frames(payload, &said);
            let words = format!("{} of payload, {} of frames", mbits(payload), mbits(frames));
            tried.hold(&format!("limit 8 Mbit/s, {}", run.words()), is_rate(frames, RATE), words);
        }
    }
    let (each, all) = at_once(stage, one)?;
    tried.hold(
        "limit 8 Mbit/s, two devices share it",
        is_rate(all, RATE),
        format!("{each}, {} in all", mbits(all)),
    );
    stage.gateway.enforce(&rule("device"), stage.stop)?;
    let (each, all) = at_once(stage, one)?;
    tried.hold(
        "limit 8 Mbit/s per device, two devices",
        is_rate(all, 2 * RATE),
        format!("{each}, {} in all", mbits(all)),
    );
    running(stage, tried, one)?;
    by_name(stage, tried)?;
    quota(stage, tried)
}

/// A quota, used up by one device.
fn quota(stage: &Stage<'_>, tried: &mut Tried<'_>) -> Result<()> {
    let rule = format!(
        "[[rule]]\nname = \"four\"\nmatch = {{ category = [\"shopping\"] }}\naction = \"quota\"\namount = \"{} MB\"\nevery = \"week\"\n\
         per = \"device\"\nstate = \"enforce\"\nowner = \"lab\"\npurpose = \"bandwidth\"\n",
        QUOTA / 1_000_000
    );
    stage.gateway.enforce(&rule, stage.stop)?;
    let fetch = |device: &'static Device, bytes: u64| {
        let client = Client { stage, device, v6: false };
        let more = ["--output", "/dev/null", "--write-out", "%{size_download}"];
        let done = client.curl(&format!("https://{SHOP}/bytes/{bytes}"), SHOP, &more)?;
        let came = String::from_utf8_lossy(&done.stdout).trim().parse::<u64>().unwrap_or(0);
        Ok::<_, anyhow::Error>((came, done))
    };
    let (came, done) = fetch(&DEVICES[0], 2 * QUOTA)?;
    // Less the headers of frames, and what TCP had to send again.
    let fine = !done.status.success() && (QUOTA * 90 / 100..QUOTA).contains(&came);
    tried.hold(
        "quota 4 MB a week per device: used up",
        fine,
        format!("{came} bytes, then {}", done.stderr.trim()),
    );
    let (came, done) = fetch(&DEVICES[0], 1000)?;
    let fine = !done.status.success() && done.took < Duration::from_secs(2);
    tried.hold(
        "quota: what comes next is told at once",
        fine,
        format!("{:.0?}: {came} bytes, {}", done.took, done.stderr.trim()),
    );
    let (came, done) = fetch(&DEVICES[1], 1_000_000)?;
    tried.hold("quota: another device has its own", done.status.success(), format!("{came} bytes"));
    stage.gateway.enforce("", stage.stop)?;
    let (came, done) = fetch(&DEVICES[0], 1_000_000)?;
    tried.hold("quota: free without the rule", done.status.success(), format!("{came} bytes"));
    Ok(())
}

/// Two devices at the same time: what each gets, and frames of both.
fn at_once(stage: &Stage<'_>, one: Run) -> Result<(String, f64)> {
    let runs = [one, Run { device: &DEVICES[1], port: 5202, ..one }];
    let said = std::thread::scope(|scope| {
        let threads = runs.map(|run| scope.spawn(move || run.run(stage, SECONDS, OMITTED)));
        threads.map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
    });
    let (mut all, mut each) = (0.0, Vec::new());
    for (run, said) in runs.iter().zip(said) {
        let said = said?;
        let frames = run.frames(received(&said)?, &said);
        all += frames;
        each.push(mbits(frames));
    }
    Ok((each.join(" and "), all))
}

/// A flow that runs when the rule arrives, and still does when it goes.
fn running(stage: &Stage<'_>, tried: &mut Tried<'_>, one: Run) -> Result<()> {
    stage.gateway.enforce("", stage.stop)?;
    let run = Run { down: true, ..one };
    let said = std::thread::scope(|scope| {
        let client = scope.spawn(move || run.run(stage, 14, 0));
        stage.stop.pause(Duration::from_secs(3))?;
        stage.gateway.enforce(&rule("rule"), stage.stop)?;
        stage.stop.pause(Duration::from_secs(7))?;
        stage.gateway.enforce("", stage.stop)?;
        client.join().unwrap_or_else(|_| bail!("a thread panicked"))
    })?;
    let seconds: Vec<f64> = said["intervals"]
        .as_array()
        .context("no intervals")?
        .iter()
        .filter_map(|interval| interval["sum"]["bits_per_second"].as_f64())
        .collect();
    ensure!(seconds.len() >= 13, "iperf3 told of {} seconds", seconds.len());
    let mean = |range: std::ops::Range<usize>| {
        let part = &seconds[range];
        run.frames(part.iter().sum::<f64>() / part.len() as f64, &said)
    };
    let (before, limited, after) = (mean(0..2), mean(5..9), mean(12..13));
    let fine = before > 4.0 * RATE as f64 && limited < 1.1 * RATE as f64 && after > 4.0 * RATE as f64;
    let words =
        format!("{} before, {} with the rule, {} after it", mbits(before), mbits(limited), mbits(after));
    tried.hold("limit of a flow that runs", fine, words);
    Ok(())
}

/// A download from a service that a rule limits.
fn by_name(stage: &Stage<'_>, tried: &mut Tried<'_>) -> Result<()> {
    const SIZE: usize = 2 << 20;
    const RATE: f64 = 4e6;
    let rules = "[[rule]]\nname = \"video\"\nmatch = { category = [\"short_video\"] }\naction = \"limit\"\nrate = \"4 Mbit/s\"\n\
                 state = \"enforce\"\nowner = \"lab\"\npurpose = \"bandwidth\"\n";
    stage.gateway.enforce(rules, stage.stop)?;
    let fetch = |name: &str| -> Result<f64> {
        let mut command = stage.lab.on(&DEVICES[0], "curl");
        command.args(["--silent", "--show-error", "--fail", "-4", "--cacert"]).arg(stage.lab.ca());
        command.arg(format!("https://{name}/bytes/{SIZE}"));
        let started = Instant::now();
        let done = process::run(&mut command, &[], Duration::from_secs(60), stage.stop)?;
        ensure!(done.stdout.len() == SIZE, "curl: {}", done.stderr.trim());
        Ok(SIZE as f64 * 8.0 / started.elapsed().as_secs_f64())
    };
    let (limited, other) = (fetch("www.douyin.com")?, fetch("www.jd.com")?);
    let fine = (0.8 * RATE..1.1 * RATE).contains(&limited) && other > 4.0 * RATE;
    let words = format!("{} from www.douyin.com, {} from www.jd.com", mbits(limited), mbits(other));
    tried.hold("limit 4 Mbit/s of short_video, curl", fine, words);
    Ok(())
}
