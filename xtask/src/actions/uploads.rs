//! How often a probable upload is one: flows of real clients that say themselves what they did, through the gateway.
//!
//! curl (HTTP/1.1 and HTTP/2 over TLS) and quinn (QUIC) do what people and pages do, with sizes drawn from a seed. The flows are
//! captured on the LAN side and replayed by the gateway's binary, which says of each how sure it is that a file was sent. What is
//! fitted is fitted on the flows of three seeds; precision and recall are those on others, which nobody had seen.
//!
//! | action | a file is sent | what it is |
//! |---|---|---|
//! | form | no | a page, then a form of up to 4 KB |
//! | reports | no | a page that reports home: posts of 1 to 6 KB, or one of up to 60 KB |
//! | search | no | a request with cookies for each letter, an answer of some KB |
//! | chat | no | short messages, posted one by one |
//! | page | no | pages and pictures |
//! | video | no | segments of 300 to 900 KB |
//! | download | no | files of 1 to 8 MB |
//! | call | no | as much each way, 4 MB and more, QUIC only |
//! | cv | yes | pages, then a form with a file of 100 KB to 2 MB |
//! | small cv | yes | the same with 50 to 100 KB |
//! | picture | yes | a file of 1 to 6 MB, put as it is |

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use glassgate_policy::upload::{COUNTED, LEAST, Shape};
use serde::Deserialize;

use super::{Stage, Tried};
use crate::lab::capture::{self, Capture};
use crate::lab::devices::DEVICES;
use crate::lab::{dns, quic};
use crate::{process, ui};

/// Seeds of the flows that are fitted on, and of those that are measured.
const FITTED: [u64; 3] = [11, 12, 13];
const MEASURED: [u64; 2] = [101, 103];
/// Rounds of all actions for each seed.
const ROUNDS: usize = 20;
const NAME: &str = "www.zhipin.com";
/// What is asked of the whole: less is broken. What it is stands in `docs/uploads.md`; with some sixty uploads a seed it varies by
/// four in a hundred.
const PRECISION: f64 = 0.80;
const RECALL: f64 = 0.80;

const ACTIONS: [(&str, bool); 11] = [
    ("form", false),
    ("reports", false),
    ("search", false),
    ("chat", false),
    ("page", false),
    ("video", false),
    ("download", false),
    ("call", false),
    ("cv", true),
    ("small cv", true),
    ("picture", true),
];

/// A request: what goes up, as what, and what comes down.
#[derive(Clone, Copy, Debug)]
enum Step {
    Get(usize),
    /// With so many bytes of cookies.
    Ask(usize, usize),
    Post(usize),
    /// A file in a form.
    Form(usize),
    Put(usize),
    /// So much up and so much down.
    Both(usize, usize),
}

/// Numbers from a seed: xorshift.
struct Random(u64);

impl Random {
    fn between(&mut self, least: usize, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        least + (self.0 % (most - least + 1) as u64) as usize
    }

    /// So that each order of magnitude is as likely.
    fn scale(&mut self, least: usize, most: usize) -> usize {
        let share = self.between(0, 10_000) as f64 / 10_000.0;
        (least as f64 * (most as f64 / least as f64).powf(share)) as usize
    }
}

/// What a client does, from a number.
fn steps(action: &str, random: &mut Random) -> Vec<Step> {
    let mut steps = Vec::new();
    let page = |random: &mut Random, steps: &mut Vec<Step>| {
        steps.push(Step::Get(random.scale(10_000, 300_000)));
        for _ in 0..random.between(0, 6) {
            steps.push(Step::Ask(random.between(0, 1500), random.scale(1_000, 200_000)));
        }
    };
    match action {
        "form" => {
            page(random, &mut steps);
            steps.push(Step::Post(random.scale(200, 4_000)));
        }
        "reports" => {
            page(random, &mut steps);
            if random.between(0, 2) == 0 {
                steps.push(Step::Post(random.scale(8_000, 60_000)));
            } else {
                steps.extend((0..random.between(5, 15)).map(|_| Step::Post(random.between(1_000, 6_000))));
            }
        }
        "search" => {
            let cookies = random.between(500, 3_000);
            steps.extend((0..random.between(20, 60)).map(|_| Step::Ask(cookies, random.between(500, 6_000))));
        }
        "chat" => steps.extend((0..random.between(20, 60)).map(|_| Step::Post(random.between(80, 1_200)))),
        "page" => (0..random.between(1, 3)).for_each(|_| page(random, &mut steps)),
        "video" => {
            steps.extend((0..random.between(4, 12)).map(|_| Step::Get(random.between(300_000, 900_000))))
        }
        "download" => steps.push(Step::Get(random.between(1_000_000, 8_000_000))),
        "call" => {
            for _ in 0..random.between(30, 60) {
                let size = random.between(150_000, 250_000);
                steps.push(Step::Both(size, size * random.between(70, 130) / 100));
            }
        }
        "cv" | "small cv" => {
            page(random, &mut steps);
            let (least, most) = if action == "cv" { (100_000, 2_000_000) } else { (50_000, 100_000) };
            steps.push(Step::Form(random.scale(least, most)));
            steps.push(Step::Get(random.between(300, 20_000)));
        }
        _ => {
            if random.between(0, 1) == 0 {
                page(random, &mut steps);
            }
            steps.push(Step::Put(random.scale(1_000_000, 6_000_000)));
        }
    }
    steps
}

/// A flow that was made: transport, whether IPv6, and the client's port.
type Made = (&'static str, bool, u16);

/// What is known of the flows that were made.
type Labels = HashMap<Made, (&'static str, bool)>;

/// A line of `replay --flows`, as far as it counts here.
#[derive(Deserialize)]
struct Line {
    proto: String,
    client: std::net::IpAddr,
    client_port: u16,
    name: Option<String>,
    app: Option<String>,
    bytes_up: u64,
    bytes_down: u64,
    frames_up: u64,
    frames_down: u64,
    upload_percent: u8,
}

/// A flow with what it was and what the gateway says.
struct Flow {
    action: &'static str,
    is_upload: bool,
    shape: Shape,
    confidence: u8,
}

/// Makes flows, replays them, counts.
pub fn run(stage: &Stage<'_>, tried: &mut Tried<'_>) -> Result<()> {
    stage.gateway.enforce("", stage.stop)?;
    if stage.alone {
        let fitted = collect(stage, &FITTED, "fit")?;
        let words: Vec<String> = fit(&fitted).iter().map(|w| format!("{w:.2}")).collect();
        ui::line(format_args!("  weights that fit {} flows best: {}", fitted.len(), words.join(", ")));
    }
    // Of the two, one is enough to see that nothing has become worse.
    let seeds = if stage.alone { &MEASURED[..] } else { &MEASURED[..1] };
    let measured = collect(stage, seeds, "measure")?;
    report(&measured);
    let (mut right, mut called, mut there) = (0usize, 0usize, 0usize);
    for flow in &measured {
        let is_called = flow.confidence >= COUNTED;
        right += usize::from(is_called && flow.is_upload);
        called += usize::from(is_called);
        there += usize::from(flow.is_upload);
    }
    let (precision, recall) = (right as f64 / called.max(1) as f64, right as f64 / there.max(1) as f64);
    let words = format!(
        "precision {:.1} % ({right} of {called}), recall {:.1} % ({right} of {there}), {} flows of seeds that nothing was fitted on",
        100.0 * precision,
        100.0 * recall,
        measured.len()
    );
    tried.hold("probable uploads", precision >= PRECISION && recall >= RECALL, words);
    Ok(())
}

/// The flows of some seeds.
fn collect(stage: &Stage<'_>, seeds: &[u64], what: &str) -> Result<Vec<Flow>> {
    let pcap = stage.lab.dir().join(format!("uploads-{what}.pcap"));
    let capture = Capture::start(&stage.lab.lan, "uplink", &pcap, stage.stop)?;
    let mut labels = Labels::new();
    let doing = ui::doing(format_args!("flows to {what}"));
    for seed in seeds {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for round in 0..ROUNDS {
            doing.now(format_args!("seed {seed}, round {} of {ROUNDS}", round + 1));
            for (action, is_upload) in ACTIONS {
                stage.stop.check()?;
                let steps = steps(action, &mut random);
                let v6 = random.between(0, 1) == 1;
                let flows = match random.between(0, 3) {
                    _ if action == "call" => over_quic(stage, &steps, v6)?,
                    0 if action != "search" => over_quic(stage, &steps, v6)?,
                    how => by_curl(stage, &steps, v6, how % 2 == 1)?,
                };
                for (made, sent) in flows {
                    labels.insert(made, (action, is_upload && sent));
                }
            }
        }
    }
    doing.done(format_args!("{} flows", labels.len()));
    capture::await_quiet(&[(&stage.lab.lan, "uplink")], stage.stop)?;
    let pcap = capture.end(stage.stop)?;
    replay(stage.gateway.binary(), &pcap, &labels)
}

/// Has curl do it, all in one flow if the server keeps it; gives the flows, and whether a file went over them.
fn by_curl(stage: &Stage<'_>, steps: &[Step], v6: bool, http2: bool) -> Result<Vec<(Made, bool)>> {
    let address = dns::address(NAME, v6)?;
    let address = if v6 { format!("[{address}]") } else { address.to_string() };
    let dir = tempfile::tempdir()?;
    let mut command = stage.lab.on(&DEVICES[0], "curl");
    for (i, step) in steps.iter().enumerate() {
        if i > 0 {
            command.arg("--next");
        }
        command.args(["--silent", "--show-error", if http2 { "--http2" } else { "--http1.1" }, "--cacert"]);
        command.arg(stage.lab.ca()).args([
            "--resolve",
            &format!("{NAME}:443:{address}"),
            "--output",
            "/dev/null",
        ]);
        command.args(["--header", "Expect:"]);
        let mut path = "/upload".to_owned();
        let mut sent = "-";
        match *step {
            Step::Get(size) => path = format!("/bytes/{size}"),
            Step::Ask(cookies, size) => {
                path = format!("/bytes/{size}");
                command.args(["--cookie", &format!("c={}", "x".repeat(cookies))]);
            }
            Step::Both(..) => bail!("curl sends before it receives"),
            Step::Post(size) => {
                command.arg("--data-binary").arg(format!("@{}", file(dir.path(), i, size)?.display()));
            }
            Step::Form(size) => {
                command
                    .arg("--form")
                    .arg(format!("cv=@{};type=application/pdf", file(dir.path(), i, size)?.display()));
                sent = "file";
            }
            Step::Put(size) => {
                command.args(["--request", "POST", "--data-binary"]);
                command.arg(format!("@{}", file(dir.path(), i, size)?.display()));
                sent = "file";
            }
        }
        command.args(["--write-out", &format!("%{{http_code}} %{{local_port}} {sent}\n")]);
        command.arg(format!("https://{NAME}{path}"));
    }
    let done = process::run(&mut command, &[], Duration::from_secs(60), stage.stop)?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let mut flows: BTreeMap<u16, bool> = BTreeMap::new();
    for line in text.lines() {
        let &[code, port, sent] = line.split(' ').collect::<Vec<_>>().as_slice() else {
            bail!("curl said {line}")
        };
        ensure!(code == "200", "curl was answered {code}: {}", done.stderr.trim());
        *flows.entry(port.parse()?).or_default() |= sent == "file";
    }
    ensure!(!flows.is_empty(), "curl made no flow: {}", done.stderr.trim());
    Ok(flows.into_iter().map(|(port, sent)| (("tcp", v6, port), sent)).collect())
}

/// A file of a size. What is in it does not matter: TLS hides it and compresses nothing.
fn file(dir: &Path, i: usize, size: usize) -> Result<PathBuf> {
    let path = dir.join(format!("{i}.pdf"));
    std::fs::File::create(&path)?.set_len(size as u64)?;
    Ok(path)
}

/// Has quinn do it.
fn over_quic(stage: &Stage<'_>, steps: &[Step], v6: bool) -> Result<Vec<(Made, bool)>> {
    let server = (dns::address(NAME, v6)?, 443).into();
    let ca = stage.lab.ca();
    let mut sent = false;
    let exchanges: Vec<(usize, usize)> = steps
        .iter()
        .map(|step| match *step {
            Step::Get(size) => (0, size),
            Step::Ask(cookies, size) => (cookies, size),
            Step::Post(size) => (size, 200),
            Step::Both(up, down) => (up, down),
            Step::Form(size) | Step::Put(size) => {
                sent = true;
                (size, 200)
            }
        })
        .collect();
    let thread = stage
        .lab
        .netns(&DEVICES[0])
        .enter(move || quic::exchange(server, NAME, &ca, &exchanges, Duration::from_secs(60)))?;
    let (port, _) = thread.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
    Ok(vec![(("udp", v6, port), sent)])
}

/// What the gateway says of the flows of a capture.
fn replay(binary: &Path, pcap: &Path, labels: &Labels) -> Result<Vec<Flow>> {
    let out =
        Command::new(binary).args(["replay", "--flows", "-"]).arg(pcap).output().context("replaying")?;
    ensure!(out.status.success(), "replay: {}", String::from_utf8_lossy(&out.stderr));
    let mut flows = Vec::new();
    for line in out.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
        let proto = if line.proto == "tcp" { "tcp" } else { "udp" };
        let Some((action, is_upload)) = labels.get(&(proto, line.client.is_ipv6(), line.client_port)) else {
            continue;
        };
        if line.name.as_deref() != Some(NAME) {
            continue;
        }
        flows.push(Flow {
            action,
            is_upload: *is_upload,
            shape: Shape {
                bytes_up: line.bytes_up,
                frames_up: line.frames_up,
                bytes_down: line.bytes_down,
                frames_down: line.frames_down,
                quic: line.app.as_deref() == Some("quic"),
                upload_host: false,
            },
            confidence: line.upload_percent,
        });
    }
    ensure!(
        flows.len() * 100 >= labels.len() * 98,
        "{} of {} flows are in the capture",
        flows.len(),
        labels.len()
    );
    Ok(flows)
}

/// Logistic regression by gradient descent, on flows that are not ruled out by their size: weights, and what is added.
fn fit(flows: &[Flow]) -> [f64; 3] {
    let rows: Vec<([f64; 3], f64)> = flows
        .iter()
        .filter(|flow| flow.shape.payload_up() >= LEAST && flow.action != "call")
        .map(|flow| {
            let [size, fullness] = flow.shape.features();
            ([size, fullness, 1.0], f64::from(u8::from(flow.is_upload)))
        })
        .collect();
    let mut weights = [0.0f64; 3];
    for _ in 0..20_000 {
        let mut slope = [0.0f64; 3];
        for (x, y) in &rows {
            let logit: f64 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
            let error = 1.0 / (1.0 + (-logit).exp()) - y;
            slope.iter_mut().zip(x).for_each(|(s, x)| *s += error * x);
        }
        for (weight, slope) in weights.iter_mut().zip(slope) {
            // A little is taken from each weight, so that none grows without end where all flows are told apart.
            *weight -= 0.1 * (slope / rows.len().max(1) as f64 + 0.002 * *weight);
        }
    }
    weights
}

/// By action: how many flows, how many of them are called uploads, between which confidences they lie.
fn report(flows: &[Flow]) {
    ui::line(format_args!("  {:<10} {:>6} {:>7} {:>8}   confidence", "action", "flows", "uploads", "called"));
    for (action, _) in ACTIONS {
        let of: Vec<&Flow> = flows.iter().filter(|flow| flow.action == action).collect();
        let called = of.iter().filter(|flow| flow.confidence >= COUNTED).count();
        let uploads = of.iter().filter(|flow| flow.is_upload).count();
        let least = of.iter().map(|flow| flow.confidence).min().unwrap_or_default();
        let most = of.iter().map(|flow| flow.confidence).max().unwrap_or_default();
        ui::line(format_args!(
            "  {action:<10} {:>6} {uploads:>7} {called:>8}   {least} to {most} %",
            of.len()
        ));
    }
    for (from, to) in [(1, 49), (50, 79), (80, 94), (95, 100)] {
        let of: Vec<&Flow> = flows.iter().filter(|flow| (from..=to).contains(&flow.confidence)).collect();
        let are = of.iter().filter(|flow| flow.is_upload).count();
        ui::line(format_args!("  said {from:>2} to {to:>3} %: {are} of {} were uploads", of.len()));
    }
}
