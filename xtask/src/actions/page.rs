//! The page's data as programs see them: promtool reads the metrics, Prometheus itself scrapes them, schemathesis asks everything that
//! the OpenAPI file describes, in every way that it says and many that it does not.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Tried, accounted};
use crate::demo::api;
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::lab::Lab;
use crate::process::{self, Daemon};
use crate::setup::tools;
use crate::stop::Stop;
use crate::ui;

/// Where Prometheus listens, on loopback.
const PROMETHEUS: &str = "127.0.0.1:19099";
/// How long it may take to have scraped.
const SCRAPED: Duration = Duration::from_secs(30);
/// How long schemathesis may take.
const ASKED: Duration = Duration::from_secs(300);
/// What can't be said in a schema: of which spans and names there is an answer. What is refused is refused in words.
const RULES: &str = "
[[operations]]
include-name = \"GET /api/v1/report\"
checks.positive_data_acceptance.expected-statuses = [\"2xx\", \"400\"]

[[operations]]
include-name = \"GET /api/v1/explain\"
checks.positive_data_acceptance.expected-statuses = [\"2xx\", \"400\"]
";

/// Runs all three against one gateway.
pub fn run(lab: &Lab, binary: &Path, driver: Driver, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let [prometheus, promtool] = tools::prometheus(stop)?;
    let schemathesis = tools::schemathesis(stop)?;
    let gateway = Gateway::start_as(lab, binary, driver, &Setup::default(), stop)?;

    let metrics = api::get(gateway.address(), "/metrics")?;
    let mut check = std::process::Command::new(promtool);
    check.args(["check", "metrics"]);
    let done = process::run(&mut check, metrics.as_bytes(), Duration::from_secs(30), stop)?;
    let words = format!("{} lines; {}", metrics.lines().count(), done.stderr.trim());
    tried.hold("promtool check metrics", done.status.success() && done.stderr.trim().is_empty(), words);

    scraped(lab, &gateway, &prometheus, tried, stop)?;

    let doing = ui::doing("schemathesis");
    let rules = lab.dir().join("schemathesis.toml");
    std::fs::write(&rules, RULES)?;
    let mut ask = std::process::Command::new(schemathesis);
    ask.arg("--config-file").arg(&rules).arg("run").args(["--no-color", "--tls-verify", "false"]);
    ask.args(["--header", &format!("Authorization: Bearer {}", api::TOKEN), "--max-examples", "200"]);
    ask.arg(format!("https://{}/api/v1/openapi.json", gateway.address())).current_dir(lab.dir());
    let done = process::run(&mut ask, &[], ASKED, stop)?;
    doing.done("");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    std::fs::write(lab.dir().join("schemathesis.txt"), &said)?;
    let cases = said.lines().map(str::trim).find(|line| line.contains(" generated,")).unwrap_or_default();
    let failures = said.lines().map(str::trim).filter(|line| line.starts_with("- ST"));
    let words = format!("{cases}; {}", failures.collect::<Vec<_>>().join("; "));
    tried.hold("schemathesis finds nothing", done.status.success(), words);

    let now = gateway.now()?;
    tried.hold("the gateway still runs, as it was started", now.is_ready(), now.troubles.join("; "));
    let (fine, words) = accounted(&now);
    tried.hold("every frame is accounted for", fine, words);
    Ok(())
}

/// A Prometheus that scrapes it, with its token and over TLS.
fn scraped(
    lab: &Lab,
    gateway: &Gateway,
    prometheus: &Path,
    tried: &mut Tried<'_>,
    stop: &Stop,
) -> Result<()> {
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - job_name: glassgate\n    scheme: https\n    \
         tls_config: {{ insecure_skip_verify: true }}\n    authorization: {{ credentials: {} }}\n    \
         static_configs: [{{ targets: ['{}'] }}]\n",
        api::TOKEN,
        gateway.address()
    );
    let file = lab.dir().join("prometheus.yml");
    std::fs::write(&file, config)?;
    let mut command = std::process::Command::new(prometheus);
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", lab.dir().join("prometheus").display()));
    command.args([&format!("--web.listen-address={PROMETHEUS}"), "--log.level=warn"]);
    let mut daemon = Daemon::start("prometheus", &command, &lab.dir().join("prometheus.log"))?;
    let asked = await_value("glassgate_flows_capacity", stop);
    daemon.end(Duration::from_secs(10));
    let (fine, words) = match asked {
        Ok(value) => (value.parse::<f64>().is_ok_and(|value| value > 0.0), format!("flows_capacity {value}")),
        Err(why) => (false, format!("{why:#}: {}", daemon.last_words())),
    };
    tried.hold("Prometheus scrapes it", fine, words);
    Ok(())
}

/// The value of a metric, once Prometheus knows it.
fn await_value(metric: &str, stop: &Stop) -> Result<String> {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let end = Instant::now() + SCRAPED;
    loop {
        let asked = agent.get(format!("http://{PROMETHEUS}/api/v1/query?query={metric}")).call();
        let value = asked.ok().and_then(|mut answer| {
            let text = answer.body_mut().read_to_string().ok()?;
            let answer: Value = serde_json::from_str(&text).ok()?;
            answer.pointer("/data/result/0/value/1")?.as_str().map(str::to_owned)
        });
        match value {
            Some(value) => return Ok(value),
            None => {
                (Instant::now() < end).then_some(()).context("nothing was scraped")?;
                stop.pause(Duration::from_millis(250))?;
            }
        }
    }
}
