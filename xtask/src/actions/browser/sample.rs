//! The page of a gateway in the middle of a day, as a test of the gateway serves it: there is more to show than an hour in the lab gives.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::look::{self, At, VIEWS};
use super::{hostile, pictures};
use crate::actions::Tried;
use crate::lab::Lab;
use crate::lab::devices::DEVICES;
use crate::lab::webdriver::{Browser, PHONE, WIDE};
use crate::process::{self, Daemon};
use crate::stop::Stop;
use crate::ui;

/// Where it is served, on loopback of a namespace.
const BASE: &str = "http://127.0.0.1:18499";
const STARTS: Duration = Duration::from_secs(60);
const BUILDS: Duration = Duration::from_secs(1200);

/// What serves the sample.
pub(super) struct Pages {
    program: PathBuf,
}

impl Pages {
    /// Builds it.
    pub(super) fn build(stop: &Stop) -> Result<Self> {
        let doing = ui::doing("build the sample of the page");
        let mut command: Command =
            crate::steps::cargo("test -p glassgate --bin glassgate --no-run --message-format=json");
        let done = process::run(&mut command, &[], BUILDS, stop)?;
        let said = String::from_utf8_lossy(&done.stdout);
        let program = said.lines().rev().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(PathBuf::from(line["executable"].as_str()?))
        });
        let program = program.with_context(|| format!("cargo built no test:\n{}", done.stderr))?;
        doing.done("");
        Ok(Self { program })
    }

    /// Looks at every view of the sample, and then of the one with hostile names: which these are.
    pub(super) fn look(&self, lab: &Lab, tried: &mut Tried<'_>, stop: &Stop) -> Result<Vec<String>> {
        let plain = self.serve(lab, "plain", stop)?;
        let at = At { browser: &plain.browser, base: BASE.to_owned(), name: "sample" };
        look::all(&at, &VIEWS, tried)?;
        // What a desk has in sight, for whoever wants a picture.
        plain.browser.screen(WIDE)?;
        for (path, name) in [("/traffic?lang=en&days=7", "traffic"), ("/charter?lang=en", "charter")] {
            plain.browser.go(&format!("{BASE}{path}"))?;
            plain.browser.draw(&pictures().join(format!("sample-{name}.png")), false)?;
        }
        plain.browser.screen(PHONE)?;
        plain.browser.go(&format!("{BASE}/rules?lang=en&name=www.zhipin.com&group=sales"))?;
        plain.browser.draw(&pictures().join("sample-explained-en-phone.png"), true)?;
        drop(plain);
        let served = self.serve(lab, "hostile", stop)?;
        hostile::on_the_page(&served.browser, BASE, tried)
    }

    /// Starts it, and a browser that is an auditor there.
    fn serve(&self, lab: &Lab, which: &'static str, stop: &Stop) -> Result<Served> {
        let netns = lab.netns(&DEVICES[1]);
        let mut command = netns.command(&self.program.to_string_lossy());
        command.args(["page::sample::serve", "--exact", "--ignored", "--nocapture"]);
        command.env("GLASSGATE_SAMPLE", which);
        let mut daemon =
            Daemon::start("the sample", &command, &lab.dir().join(format!("sample-{which}.log")))?;
        let token = daemon.await_line("auditor ", STARTS, stop)?;
        daemon.await_line(BASE, STARTS, stop)?;
        let token = token.rsplit(' ').next().unwrap_or_default().to_owned();
        let browser =
            Browser::start(netns, None, &lab.dir().join(format!("chromedriver-{which}.log")), stop)?;
        look::listen(&browser)?;
        browser.devtools("Network.enable", json!({}))?;
        let headers = json!({ "headers": { "Authorization": format!("Bearer {token}") } });
        browser.devtools("Network.setExtraHTTPHeaders", headers)?;
        Ok(Served { browser, _daemon: daemon })
    }
}

struct Served {
    browser: Browser,
    _daemon: Daemon,
}
