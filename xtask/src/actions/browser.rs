//! The page in a real browser: Chromium, driven through the gateway's own address on its ports.
//!
//! | who | where | what |
//! |---|---|---|
//! | the first engineer | the VLAN | makes the account with the secret of the first start, logs in with password and code, sees every view |
//! | the works council | the VLAN | joins with an invitation, sees the cases |
//! | somebody at a desk | the LAN | their own device, and nothing else |
//! | an auditor | a sample of the page | weeks of traffic, a charter, cases: every view when there is much to show |
//! | the same | the same with hostile names | that names are shown and do nothing (`hostile`) |
//!
//! Every view is looked at in both languages, on a phone and on a wide screen: nothing in the browser's console, nothing that its
//! policies refused, a title and a heading in the right language, no scrolling sideways on the phone. A picture of each is left in
//! `target/screenshots`.

mod account;
mod hostile;
mod look;
mod sample;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

pub(super) use self::account::code_soon;
pub(crate) use self::account::make_first;

use self::account::Person;
use self::look::{At, LIVE, VIEWS, View};
use super::charter::Approvers;
use super::inband::{CONFIG, PORT, V4, VLAN_V4};
use super::{Tried, accounted};
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::demo::round;
use crate::lab::devices::DEVICES;
use crate::lab::netns::Netns;
use crate::lab::webdriver::{Browser, PHONE};
use crate::lab::{Lab, browser};
use crate::stop::Stop;
use crate::ui;

/// Rules for the view to show.
const RULES: &str = "
[[rule]]
name = \"no-short-video\"
match = { category = [\"short_video\"] }
action = \"block\"
state = \"shadow\"
owner = \"network@example.com\"
purpose = \"bandwidth\"
";
/// How long the page may take to be led elsewhere, or to change.
const SOON: Duration = Duration::from_secs(10);
/// People of the department: one of the lab's devices, and others who are elsewhere.
const DEPARTMENT: usize = 12;

/// All of it.
pub fn run(lab: &Lab, binary: &Path, driver: Driver, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let pages = sample::Pages::build(stop)?;
    let approvers = Approvers::new(lab.dir(), binary)?;
    std::fs::write(lab.dir().join("browser.csv"), directory())?;
    let setup = Setup {
        charter_keys: approvers.keys.clone(),
        more: format!("\n[identity]\ndirectory = \"browser.csv\"\n{CONFIG}"),
        clock_is_set: true,
        first_start: true,
        ..Setup::default()
    };
    let mut gateway = Gateway::start_as(lab, binary, driver, &setup, stop)?;
    let dock = lab.netns(&DEVICES[3]);
    let key = browser::key_of(dock, &format!("{VLAN_V4}:{PORT}"), "localhost", stop)?;
    let log = |name: &str| lab.dir().join(format!("chromedriver-{name}.log"));

    let doing = ui::doing("Chromium");
    let chromium = Browser::start(dock, Some(&key), &log("vlan"), stop)?;
    doing.done("");
    look::listen(&chromium)?;
    let at = At { browser: &chromium, base: format!("https://{VLAN_V4}:{PORT}"), name: "gateway" };
    let engineer = account::first(&at, &gateway.first_secret()?, tried)?;
    gateway.admit_lab()?;
    gateway.enforce(RULES, stop)?;
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let charter = approvers.charter(5, [today, today.checked_add(30.days())?], "08:00-18:00", "")?;
    approvers.install(&gateway, &charter)?;
    let doing = ui::doing("a round of traffic");
    round::drive(lab, stop)?;
    doing.done("");

    let by = chromium.secured_by()?;
    let fine = by.iter().eq(["TLS 1.3, X25519MLKEM768"]);
    tried.hold("Chromium: secured by a key exchange that outlasts X25519", fine, format!("{by:?}"));

    account::comes_back(&at, &engineer, tried)?;
    let mine: Vec<View> = VIEWS.into_iter().filter(|view| view.path != "/cases").collect();
    look::all(&at, &mine, tried)?;
    look::leads_to(&at, &mine, tried)?;
    account::is_denied(&at, "/cases", tried)?;
    live(&at, dock, tried, stop)?;

    let council = Person { name: "council", password: "seven boats under the old bridge" };
    account::joins(&at, &council, &gateway.invite(council.name, "works_council")?, tried)?;
    let cases: Vec<View> = VIEWS.into_iter().filter(|view| view.path == "/cases").collect();
    look::all(&at, &cases, tried)?;
    look::leads_to(&at, &VIEWS, tried)?;
    drop(chromium);

    let desk = Browser::start(lab.netns(&DEVICES[0]), Some(&key), &log("lan"), stop)?;
    look::listen(&desk)?;
    let at = At { browser: &desk, base: format!("https://{V4}:{PORT}"), name: "lan" };
    let device: Vec<View> = VIEWS.into_iter().filter(|view| view.path == "/device").collect();
    look::all(&at, &device, tried)?;
    desk.go(&format!("{}/", at.base))?;
    let said = desk.run("return document.body.innerText")?;
    tried.hold(
        "LAN: a desk is shown its own device and nothing else",
        said == "there is no such page\n",
        said.to_string(),
    );
    drop(desk);
    let (fine, words) = accounted(&gateway.now()?);
    tried.hold("every frame is accounted for", fine, words);

    let names = pages.look(lab, tried, stop)?;
    hostile::at_gateway(lab, &gateway, &names, tried, stop)?;
    let (fine, words) = accounted(&gateway.now()?);
    tried.hold("every frame is accounted for", fine, words);
    Ok(())
}

/// That the figures of *Now* are fetched and put in place of the old ones; that the page says so when they are not; and that it
/// leads to the login when nobody is logged in any more.
fn live(at: &At<'_>, netns: &Netns, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let chromium = at.browser;
    chromium.screen(PHONE)?;
    chromium.go(&format!("{}/?lang=zh", at.base))?;
    // What is marked is gone when it was replaced; the document itself stays.
    chromium.run("window.kept = 1; document.querySelector('#now').setAttribute('data-old', '');")?;
    let updated = chromium.await_true(&format!("window.kept === 1 && {LIVE}"), SOON);
    let words = updated.as_ref().err().map_or("by its script".to_owned(), |why| format!("{why:#}"));
    tried.hold("Now: figures are replaced while the page stays", updated.is_ok(), words);
    let before = chromium.run("return document.querySelector('time').dateTime")?;
    let moved = format!("document.querySelector('time').dateTime > {before}");
    let moves = chromium.await_true(&moved, SOON);
    tried.hold("Now: its clock goes on", moves.is_ok(), format!("from {before}"));
    // Emulated by the browser, being offline would not touch a stream that is open: the way back is taken away instead.
    netns.ip(&format!("route add blackhole {VLAN_V4}/32\n"))?;
    let shown = "getComputedStyle(document.querySelector('.stands')).display !== 'none'";
    let stale = chromium.await_true(shown, SOON);
    let words = chromium.run("return document.querySelector('.stands').textContent")?;
    tried.hold(
        "Now: says so when the figures stand still",
        stale.is_ok() && words == "没有应答，数字已停止更新",
        words.to_string(),
    );
    netns.ip(&format!("route del blackhole {VLAN_V4}/32\n"))?;
    let fresh = chromium.await_true(&format!("!({shown})"), SOON);
    tried.hold("Now: goes on when there is an answer again", fresh.is_ok(), "");
    // A request that failed stands in the console, and is ours.
    look::drain(chromium)?;
    // As by a logout in another tab.
    chromium.run(
        "const asked = new XMLHttpRequest();
         asked.open('GET', '/account');
         asked.responseType = 'document';
         asked.onload = () => {
           const form = asked.response.querySelector('form[action=\"/logout\"]');
           fetch('/logout', { method: 'POST', body: new URLSearchParams(new FormData(form)) });
         };
         asked.send();",
    )?;
    let led = chromium.await_true("location.pathname === '/login'", SOON);
    tried.hold("Now: leads to the login when the session is over", led.is_ok(), chromium.address()?);
    look::drain(chromium)?;
    stop.check()
}

fn directory() -> String {
    let mut text = "subject,group,device,enrolled_by,enrolled\n".to_owned();
    text += &format!("e0,sales,{},it@example.com,2026-01-04\n", DEVICES[0].mac);
    for n in 1..DEPARTMENT {
        text += &format!("e{n},sales,00:00:5e:00:53:{:02x},it@example.com,2026-01-04\n", 0x80 + n);
    }
    for n in 0..4 {
        text += &format!("r{n},research,00:00:5e:00:53:{:02x},it@example.com,2026-01-04\n", 0x90 + n);
    }
    text + "b0,recruiters,00:00:5e:00:53:9f,it@example.com,2026-01-04\n"
}

/// The folder of pictures, emptied by nobody: a run writes the same names again.
fn pictures() -> std::path::PathBuf {
    crate::workspace::target().join("screenshots")
}

/// A value of a page that must be there.
fn text(browser: &Browser, expression: &str) -> Result<String> {
    let found = browser.run(&format!("return {expression}"))?;
    Ok(found.as_str().with_context(|| format!("no {expression} at {:?}", browser.address()))?.to_owned())
}
