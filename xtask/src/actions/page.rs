//! The page's data as programs see them: promtool reads the metrics, [Prometheus itself](monitoring) scrapes them, schemathesis asks everything
//! that the OpenAPI file describes, in every way that it says and many that it does not.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Tried, accounted, monitoring};
use crate::demo::api;
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::lab::Lab;
use crate::process;
use crate::setup::tools;
use crate::stop::Stop;
use crate::ui;

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
    let mut check = std::process::Command::new(&promtool);
    check.args(["check", "metrics"]);
    let done = process::run(&mut check, metrics.as_bytes(), Duration::from_secs(30), stop)?;
    let words = format!("{} lines; {}", metrics.lines().count(), done.stderr.trim());
    tried.hold("promtool check metrics", done.status.success() && done.stderr.trim().is_empty(), words);

    monitoring::run(lab, &gateway, &[prometheus, promtool], tried, stop)?;

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
