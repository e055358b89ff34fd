//! What stands in `docs/monitoring`, as somebody would use it: a Prometheus of a site that scrapes the gateway over TLS and sums it up, one of the
//! company that takes the sums, and every expression of both dashboards.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Tried;
use crate::demo::api;
use crate::demo::gateway::Gateway;
use crate::lab::Lab;
use crate::process::{self, Daemon};
use crate::stop::Stop;
use crate::workspace;

/// Where the two listen, on loopback.
const SITE: &str = "127.0.0.1:19099";
const COMPANY: &str = "127.0.0.1:19100";
/// How long it may take until the sums of a site are with the company.
const SUMMED: Duration = Duration::from_secs(60);
/// What has no answer while all is well, and what this gateway has not: an address on its ports, subscribed lists.
const EMPTY: [&str; 5] =
    ["Alerts that are raised", "Alerts, by site", "Silent sites", "The gateway's own address", "Lists held"];
/// Two of these have to be in the shortest span that a rate is asked of.
const SCRAPE: &str = "1s";

/// Starts both, `prometheus` and `promtool` in `tools`, and asks them.
pub fn run(
    lab: &Lab,
    gateway: &Gateway,
    tools: &[PathBuf; 2],
    tried: &mut Tried<'_>,
    stop: &Stop,
) -> Result<()> {
    let [prometheus, promtool] = tools;
    let dir = lab.dir().join("monitoring");
    files(lab, gateway, &dir)?;
    let mut check = Command::new(promtool);
    check.args(["check", "config", "site.yml", "company.yml"]).current_dir(&dir);
    let done = process::run(&mut check, &[], Duration::from_secs(30), stop)?;
    let words = format!("{} {}", String::from_utf8_lossy(&done.stdout).trim(), done.stderr.trim());
    tried.hold("promtool check config, and the rules", done.status.success(), words.replace('\n', " "));

    let mut site = start(prometheus, &dir, "site", SITE)?;
    let mut company = start(prometheus, &dir, "company", COMPANY)?;
    let asked = await_value(COMPANY, "site:glassgate_boxes:count{site=\"plant-7\"}", stop);
    let (fine, words) = match asked {
        Ok(value) => (value == "1", format!("site:glassgate_boxes:count {value}")),
        Err(why) => (false, format!("{why:#}: {} {}", site.last_words(), company.last_words())),
    };
    tried.hold("Prometheus scrapes it over TLS, and the one above takes the sums", fine, words);
    for (server, file, variable) in [(SITE, "box.json", "$instance"), (COMPANY, "sites.json", "$site")] {
        let (asked, bad) = dashboard(server, file, variable, stop)?;
        let words = format!("{asked} of {file}; {}", bad.join("; "));
        tried.hold("every expression of the dashboard has an answer", bad.is_empty(), words);
    }
    for daemon in [&mut site, &mut company] {
        daemon.end(Duration::from_secs(10));
    }
    Ok(())
}

/// The files of the documentation with the addresses of the lab.
fn files(lab: &Lab, gateway: &Gateway, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let put = |name: &str, changes: &[(&str, &str)]| -> Result<()> {
        let mut text = read(name)?;
        for (from, to) in changes {
            ensure!(text.contains(from), "docs/monitoring/{name} does not say {from}");
            text = text.replace(from, to);
        }
        Ok(std::fs::write(dir.join(name), text)?)
    };
    put("rules.yml", &[])?;
    put("site.yml", &[("30s", SCRAPE), ("10.9.0.2:8480", gateway.address())])?;
    let sites = "\"prometheus.plant-7.example:9090\", \"prometheus.office-berlin.example:9090\"";
    put("company.yml", &[("60s", SCRAPE), (sites, &format!("\"{SITE}\""))])?;
    std::fs::write(dir.join("glassgate.token"), api::TOKEN)?;
    std::fs::copy(lab.dir().join("page/certificate.pem"), dir.join("glassgate.pem"))?;
    Ok(())
}

fn read(name: &str) -> Result<String> {
    let path = workspace::root().join("docs/monitoring").join(name);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn start(prometheus: &Path, dir: &Path, name: &str, at: &str) -> Result<Daemon> {
    let mut command = Command::new(prometheus);
    command.arg(format!("--config.file={}", dir.join(name).with_extension("yml").display()));
    command.arg(format!("--storage.tsdb.path={}", dir.join(name).display()));
    command.args([&format!("--web.listen-address={at}"), "--log.level=warn"]);
    Daemon::start(&format!("prometheus-{name}"), &command, &dir.join(name).with_extension("log"))
}

/// Asks for each expression of a dashboard; how many there are, and those that are wrong or have no answer.
fn dashboard(server: &str, file: &str, variable: &str, stop: &Stop) -> Result<(usize, Vec<String>)> {
    let board: Value = serde_json::from_str(&read(file)?)?;
    let (mut asked, mut bad) = (0, Vec::new());
    for panel in board.pointer("/panels").and_then(Value::as_array).into_iter().flatten() {
        let title = panel.pointer("/title").and_then(Value::as_str).unwrap_or_default();
        for target in panel.pointer("/targets").and_then(Value::as_array).into_iter().flatten() {
            let expr =
                target.pointer("/expr").and_then(Value::as_str).context("a panel without an expression")?;
            let expr = expr.replace("$__rate_interval", "30s").replace(variable, ".*");
            asked += 1;
            if EMPTY.contains(&title) {
                if let Err(why) = query(server, &expr) {
                    bad.push(format!("{title}: {why:#}"));
                }
            } else if let Err(why) = await_value(server, &expr, stop) {
                bad.push(format!("{title}: {why:#}"));
            }
        }
    }
    ensure!(asked > 0, "{file} asks for nothing");
    Ok((asked, bad))
}

/// The value of an expression, once there is one.
fn await_value(server: &str, expr: &str, stop: &Stop) -> Result<String> {
    let end = Instant::now() + SUMMED;
    loop {
        match query(server, expr) {
            Ok(Some(value)) => return Ok(value),
            outcome => {
                if Instant::now() > end {
                    outcome?;
                    anyhow::bail!("no answer to {expr}");
                }
                stop.pause(Duration::from_millis(250))?;
            }
        }
    }
}

/// The first value of an expression; an error when it is none.
fn query(server: &str, expr: &str) -> Result<Option<String>> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into();
    let mut answer = agent.get(format!("http://{server}/api/v1/query")).query("query", expr).call()?;
    let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
    let status = answer.pointer("/status").and_then(Value::as_str);
    ensure!(status == Some("success"), "{expr}: {}", answer.pointer("/error").unwrap_or(&Value::Null));
    Ok(answer.pointer("/data/result/0/value/1").and_then(Value::as_str).map(str::to_owned))
}
