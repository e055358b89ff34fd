//! A Chromium that is driven: typed into, clicked, looked at; over WebDriver (W3C), in the namespace of a device.
//!
//! Its driver listens on loopback of that namespace, so whoever talks to it is a thread that lives there. What
//! WebDriver has no word for (screens of phones, whole pages as pictures, headers) goes through the driver to
//! the browser's own protocol.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use serde_json::{Value, json};

use super::netns::Netns;
use crate::process::Daemon;
use crate::stop::Stop;

/// How long the driver may take to start, and to answer.
const STARTS: Duration = Duration::from_secs(30);
const ANSWERS: Duration = Duration::from_secs(60);
/// How WebDriver names an element in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Its name, as it stands in names of files.
    pub name: &'static str,
    /// Its size in CSS pixels.
    pub width: u32,
    /// The same.
    pub height: u32,
    /// Whether it is a phone's: with fingers, and with pages as wide as they ask to be.
    pub phone: bool,
}

/// A phone held upright.
pub const PHONE: Screen = Screen { name: "phone", width: 390, height: 844, phone: true };
/// A screen on a desk.
pub const WIDE: Screen = Screen { name: "wide", width: 1440, height: 900, phone: false };

/// One message to the driver, and where its answer goes.
type Asked = (String, Option<Value>, Sender<Result<Value>>);

/// A browser with one window.
pub struct Browser {
    asks: Option<Sender<Asked>>,
    talks: Option<JoinHandle<Result<()>>>,
    session: String,
    stop: Stop,
    // Ended after the session, and before the profile is taken away.
    _driver: Daemon,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one, in a namespace. `key` is the fingerprint of a key whose certificates are good whoever signed them.
    pub fn start(netns: &Netns, key: Option<&str>, log: &Path, stop: &Stop) -> Result<Self> {
        let mut command = netns.command("chromedriver");
        command.args(["--port=0"]);
        let mut driver = Daemon::start("chromedriver", &command, log)?;
        let line = driver.await_line("started successfully on port", STARTS, stop)?;
        let port = line.trim_end_matches('.').rsplit(' ').next().and_then(|port| port.parse().ok());
        let port: u16 = port.with_context(|| format!("no port in: {line}"))?;
        let (asks, asked) = channel();
        let talks = netns.enter(move || talk(port, &asked))?;

        let profile = tempfile::tempdir()?;
        let mut args = vec![
            // Root may have no sandbox; everything is taken away with the namespace.
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--no-first-run".to_owned(),
            "--hide-scrollbars".to_owned(),
            "--force-color-profile=srgb".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        args.extend(key.map(|key| format!("--ignore-certificate-errors-spki-list={key}")));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "goog:perfLoggingPrefs": { "enableNetwork": true, "enablePage": false },
        } } });
        let mut browser = Self {
            asks: Some(asks),
            talks: Some(talks),
            session: String::new(),
            stop: stop.clone(),
            _driver: driver,
            _profile: profile,
        };
        let begun = browser.ask("/session", Some(wanted))?;
        begun["sessionId"].as_str().context("no session")?.clone_into(&mut browser.session);
        Ok(browser)
    }

    fn ask(&self, path: &str, body: Option<Value>) -> Result<Value> {
        self.stop.check()?;
        let (answer, answered) = channel();
        let gone = || anyhow::anyhow!("nobody talks to the browser any more");
        self.asks.as_ref().with_context(gone)?.send((path.to_owned(), body, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    /// `POST` with a body, `GET` without, below the session.
    fn say(&self, path: &str, body: Option<Value>) -> Result<Value> {
        self.ask(&format!("/session/{}{path}", self.session), body)
    }

    /// Goes to an address, and waits until it is there.
    pub fn go(&self, url: &str) -> Result<()> {
        self.say("/url", Some(json!({ "url": url }))).map(drop)
    }

    /// Where it is.
    pub fn address(&self) -> Result<String> {
        Ok(self.say("/url", None)?.as_str().unwrap_or_default().to_owned())
    }

    /// What a function of this body returns, run in the page.
    pub fn run(&self, body: &str) -> Result<Value> {
        self.say("/execute/sync", Some(json!({ "script": body, "args": [] })))
    }

    /// Runs this before any script of every page to come.
    pub fn run_first(&self, source: &str) -> Result<()> {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": source })).map(drop)
    }

    /// A command of the browser's own protocol.
    pub fn devtools(&self, command: &str, params: Value) -> Result<Value> {
        self.say("/goog/cdp/execute", Some(json!({ "cmd": command, "params": params })))
    }

    /// Waits until an expression is true in the page.
    pub fn await_true(&self, expression: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            // A page that is just being left has no answer.
            let now = self.run(&format!("return !!({expression});"));
            if matches!(now, Ok(Value::Bool(true))) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("not within {limit:?}: {expression}; it is at {}", self.address()?);
            }
            self.stop.pause(Duration::from_millis(50))?;
        }
    }

    fn element(&self, selector: &str) -> Result<String> {
        let by = json!({ "using": "css selector", "value": selector });
        let found = self.say("/element", Some(by)).with_context(|| format!("at {:?}", self.address()))?;
        Ok(found[ELEMENT].as_str().with_context(|| format!("no {selector}"))?.to_owned())
    }

    /// Types into a field, as a person would.
    pub fn write(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.say(&format!("/element/{element}/value"), Some(json!({ "text": text }))).map(drop)
    }

    /// Clicks, as a person would.
    pub fn click(&self, selector: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.say(&format!("/element/{element}/click"), Some(json!({}))).map(drop)
    }

    /// Forgets all cookies of the page.
    pub fn forget_cookies(&self) -> Result<()> {
        self.devtools("Network.clearBrowserCookies", json!({})).map(drop)
    }

    /// What the browser has complained about since this was last asked: the console, and what it refused.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let log = self.say("/se/log", Some(json!({ "type": "browser" })))?;
        let lines = log.as_array().context("the browser's log")?.iter();
        Ok(lines.map(|line| format!("{} {}", line["level"], line["message"])).collect())
    }

    /// How the browser says that its pages' connections were secured since this was last asked: versions and key exchanges.
    pub fn secured_by(&self) -> Result<BTreeSet<String>> {
        let log = self.say("/se/log", Some(json!({ "type": "performance" })))?;
        let events = log.as_array().context("the browser's log of the network")?.iter();
        let parsed = events.filter_map(|event| serde_json::from_str(event["message"].as_str()?).ok());
        Ok(parsed
            .filter_map(|event: Value| {
                let details = &event["message"]["params"]["response"]["securityDetails"];
                Some(format!("{}, {}", details["protocol"].as_str()?, details["keyExchangeGroup"].as_str()?))
            })
            .collect())
    }

    /// Shows pages on another screen from now on.
    pub fn screen(&self, screen: Screen) -> Result<()> {
        let Screen { width, height, phone, .. } = screen;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)?;
        self.devtools("Emulation.setTouchEmulationEnabled", json!({ "enabled": phone })).map(drop)
    }

    /// Draws the page into a PNG file, all of it or what the screen shows.
    pub fn draw(&self, file: &Path, whole: bool) -> Result<()> {
        let shot = json!({ "format": "png", "captureBeyondViewport": whole });
        let drawn = self.devtools("Page.captureScreenshot", whole_page(self, shot, whole)?)?;
        let data = drawn["data"].as_str().context("no picture")?;
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(file, base64::engine::general_purpose::STANDARD.decode(data)?)?;
        Ok(())
    }
}

/// With the size of the page, where all of it is to be drawn.
fn whole_page(browser: &Browser, mut shot: Value, whole: bool) -> Result<Value> {
    if whole {
        let size = browser.devtools("Page.getLayoutMetrics", json!({}))?;
        let size = &size["cssContentSize"];
        shot["clip"] =
            json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
    }
    Ok(shot)
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty()
            && let Some(asks) = &self.asks
        {
            let (answer, answered) = channel();
            // The driver ends the browser; it is ended itself in any case.
            if asks.send((format!("DELETE /session/{}", self.session), None, answer)).is_ok() {
                _ = answered.recv_timeout(Duration::from_secs(10));
            }
        }
        self.asks = None;
        if let Some(talks) = self.talks.take() {
            _ = talks.join();
        }
    }
}

/// Passes messages to the driver, until nobody has any.
fn talk(port: u16, asked: &Receiver<Asked>) -> Result<()> {
    let config =
        ureq::Agent::config_builder().proxy(None).timeout_global(Some(ANSWERS)).http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    while let Ok((path, body, answer)) = asked.recv() {
        // Whoever asked may be gone.
        _ = answer.send(pass(&agent, port, &path, body));
    }
    Ok(())
}

fn pass(agent: &ureq::Agent, port: u16, path: &str, body: Option<Value>) -> Result<Value> {
    let url = |path: &str| format!("http://{}:{port}{path}", Ipv4Addr::LOCALHOST);
    let mut said = match (path.strip_prefix("DELETE "), body) {
        (Some(path), _) => agent.delete(url(path)).call(),
        (None, Some(body)) => agent.post(url(path)).content_type("application/json").send(body.to_string()),
        (None, None) => agent.get(url(path)).call(),
    }
    .with_context(|| format!("the browser's driver, {path}"))?;
    // Pictures come in it.
    let text = said.body_mut().with_config().limit(64 << 20).read_to_string()?;
    let mut answer: Value = serde_json::from_str(&text).with_context(|| format!("{path}: {text:.200}"))?;
    let value = answer["value"].take();
    ensure!(said.status().is_success(), "{path}: {} {}", value["error"], value["message"]);
    Ok(value)
}
