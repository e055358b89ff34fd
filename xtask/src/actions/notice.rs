//! The action `notice`, seen by curl and by Chromium: a device that is to give a receipt of the charter's notice is shown it in
//! place of what it asks for in clear, until somebody there has read it. Until then it is not observed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::tz::TimeZone;
use jiff::{ToSpan as _, Zoned};

use super::charter::{Approvers, LAB_FLOWS, NEUTRAL, SITE, active, await_counted, await_flows};
use super::{Tried, accounted};
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::lab::browser::{self, Over};
use crate::lab::netns::Netns;
use crate::lab::{Lab, dns};
use crate::process::{self, Finished};
use crate::stop::Stop;

/// Hardware and network address of two devices.
const FIRST: [&str; 2] = ["00:00:5e:00:53:a0", "10.77.0.140"];
const SECOND: [&str; 2] = ["00:00:5e:00:53:a1", "10.77.0.141"];
/// People of the group, as many as counts need: this device and others that are elsewhere.
const PEOPLE: usize = 12;
const RULES: &str = "[[rule]]\nname = \"tell\"\nmatch = { group = [\"sales\"] }\naction = \"notice\"\nstate = \"enforce\"\n\
                     owner = \"privacy@example.com\"\npurpose = \"recruitment\"\n";
/// A word of the notice.
const WORDS: &str = "Visits to job sites are counted by department.";
/// How long a receipt may take to be kept and handed to the fast path.
const PATIENCE: Duration = Duration::from_secs(10);
const PROBE: &str = "connectivitycheck.gstatic.com";

struct Device<'a> {
    lab: &'a Lab,
    netns: Netns,
    stop: &'a Stop,
}

/// Shows the notice, gives a receipt, and looks what is different then.
pub fn run(lab: &Lab, binary: &Path, driver: Driver, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let device = Device::join(lab, "notice", FIRST, stop)?;
    let approvers = Approvers::new(lab.dir(), binary)?;
    std::fs::write(lab.dir().join("people.csv"), directory())?;
    let setup = Setup {
        charter_keys: approvers.keys.clone(),
        more: "\n[identity]\ndirectory = \"people.csv\"\n".to_owned(),
        clock_is_set: true,
        ..Setup::default()
    };
    let gateway = Gateway::start_as(lab, binary, driver, &setup, stop)?;
    gateway.enforce(RULES, stop)?;
    device.fetch(&format!("https://{NEUTRAL}/bytes/1000"), &[])?;
    await_flows(&gateway, stop, |now| now.identity.members > 0)?;

    let page = ["--header", "Accept: text/html,application/xhtml+xml"];
    let url = format!("http://{NEUTRAL}/bytes/1000");
    let before = device.fetch(&url, &page)?;
    tried.hold("no charter: nothing to read", before.is_page(200) && !before.has_notice(), before.head());

    // Newer than those of the office, which may be installed still.
    // Working time that it is now: a calendar that never closes would be refused.
    let at = |hours: i64| {
        Ok::<_, anyhow::Error>(
            Zoned::now()
                .with_time_zone(TimeZone::UTC)
                .checked_add(hours.hours())?
                .strftime("%H:%M")
                .to_string(),
        )
    };
    let hours = format!("{}-{}", at(-1)?, at(3)?);
    let today = Zoned::now().with_time_zone(TimeZone::UTC).date();
    approvers
        .install(&gateway, &approvers.charter(3, [today, today.tomorrow()?], &hours, "receipt = true")?)?;
    gateway.await_acknowledged(stop)?;
    let unread = gateway.now()?.not_looked_at;
    device.fetch(&format!("https://{SITE}/bytes/1000"), &[])?;
    let now = await_flows(&gateway, stop, |now| now.not_looked_at > unread && active(now) <= LAB_FLOWS)?;
    let words = format!("{} flows not looked at; level {}", now.not_looked_at - unread, now.recording.level);
    tried.hold(
        "unread: the device is not observed, while others are",
        now.recording.level == "aggregate",
        words,
    );
    let https = device.fetch(&format!("https://{NEUTRAL}/bytes/1000"), &page)?;
    tried.hold("unread: HTTPS is not touched", https.is_page(200) && !https.has_notice(), https.head());
    let program = device.fetch(&url, &[])?;
    tried.hold(
        "unread: what programs ask for passes",
        program.is_page(200) && !program.has_notice(),
        program.head(),
    );
    let shown = device.fetch(&url, &page)?;
    tried.hold(
        "unread: a page over HTTP is the notice",
        shown.is_page(511) && shown.has_notice(),
        shown.head(),
    );
    let probe = device.fetch(&format!("http://{PROBE}/generate_204"), &[])?;
    tried.hold(
        "unread: a system that looks for a network finds the notice",
        probe.is_page(200) && probe.has_notice(),
        probe.head(),
    );
    let target = probe.receipt()?;
    let wrong =
        device.fetch(&format!("http://{PROBE}/glassgate-notice/0000000000000000"), &["--request", "POST"])?;
    tried.hold(
        "a receipt with another token is none, and gets the notice",
        !wrong.said.contains("Thank you") && wrong.has_notice(),
        wrong.head(),
    );
    let fenced = ["X-Frame-Options: DENY", "frame-ancestors 'none'; sandbox allow-forms"];
    tried.hold("no frame shows it", fenced.iter().all(|words| shown.said.contains(words)), shown.head());
    let thanks = device.fetch(&format!("http://{PROBE}{target}"), &["--request", "POST"])?;
    tried.hold(
        "the receipt is taken",
        thanks.is_page(200) && thanks.said.contains("Thank you"),
        thanks.head(),
    );
    // How many receipts there are is not said before the hour is over: somebody would see who gives one.
    let probe = device.await_network(PATIENCE)?;
    tried.hold("read: a system finds the network", !probe.has_notice(), probe.head());
    tried.hold(
        "what is shown of receipts is of the hour before",
        gateway.now()?.identity.receipts == 0,
        String::new(),
    );
    let shown = device.fetch(&url, &page)?;
    tried.hold("read: pages pass", shown.is_page(200) && !shown.has_notice(), shown.head());
    let before = await_counted(&gateway, stop)?;
    device.fetch(&format!("https://{SITE}/bytes/1000"), &[])?;
    let now = await_counted(&gateway, stop)?;
    // The lab's own questions to DNS may end meanwhile.
    let more = now.not_looked_at - before.not_looked_at;
    let fine = more <= active(&before).min(LAB_FLOWS);
    tried.hold("read: the device is observed", fine, format!("{more} flows not looked at"));
    // Last, since a browser leaves flows behind that take minutes to end.
    let second = Device::join(lab, "notice2", SECOND, stop)?;
    second.fetch(&format!("https://{NEUTRAL}/bytes/1000"), &[])?;
    await_flows(&gateway, stop, |now| now.identity.members > 1)?;
    gateway.await_acknowledged(stop)?;
    let drawn = second.chromium(&url)?;
    tried.hold(
        "another device, unread: Chromium draws the notice",
        drawn.contains(WORDS),
        format!("{} bytes of DOM", drawn.len()),
    );
    let (fine, words) = accounted(&gateway.now()?);
    tried.hold("every frame is accounted for", fine, words);
    records(&gateway.stop_for_records()?, tried);
    Ok(())
}

/// The directory: the device, and people who are elsewhere.
fn directory() -> String {
    let mut text = "subject,group,device,enrolled_by,enrolled\n".to_owned();
    for n in 0..PEOPLE {
        text += &format!("e{n},sales,00:00:5e:00:53:{:02x},it@example.com,2026-01-04\n", 0xa0 + n);
    }
    text
}

/// The log says that a receipt was given, and of one not even the group; the receipts say of which device.
fn records(text: &str, tried: &mut Tried<'_>) {
    let record = text.lines().rfind(|line| line.contains("\"receipts\"")).unwrap_or_default();
    let fine = record.contains("\"given\":1,")
        && !record.contains("sales")
        && !FIRST.iter().chain(&SECOND).any(|address| text.contains(address));
    tried.hold("on record, without who it was", fine, record);
}

/// What came back.
struct Fetched {
    said: String,
    done: Finished,
}

impl Fetched {
    fn head(&self) -> String {
        let first = self.said.lines().next().unwrap_or_default().trim();
        format!("{:.0?}: {first} {}", self.done.took, self.done.stderr.trim())
    }

    fn is_page(&self, status: u16) -> bool {
        self.done.status.success()
            && self.said.lines().next().is_some_and(|line| line.contains(&format!(" {status} ")))
    }

    fn has_notice(&self) -> bool {
        self.said.contains(WORDS) && self.said.contains("/glassgate-notice/")
    }

    /// Where the page says that its receipt goes.
    fn receipt(&self) -> Result<String> {
        let at = self.said.find("/glassgate-notice/").context("no form in the notice")?;
        let target: String = self
            .said
            .chars()
            .skip(self.said.get(..at).map_or(0, |b| b.chars().count()))
            .take_while(|c| *c != '"')
            .collect();
        if target.len() != "/glassgate-notice/".len() + 16 {
            bail!("`{target}` is no place for a receipt");
        }
        Ok(target)
    }
}

impl<'a> Device<'a> {
    fn join(lab: &'a Lab, name: &str, [mac, address]: [&str; 2], stop: &'a Stop) -> Result<Self> {
        let netns = lab.newcomer(name, mac)?;
        netns.ip(&format!("addr add {address}/24 dev eth0\nroute add default via 10.77.0.1"))?;
        Ok(Self { lab, netns, stop })
    }

    fn fetch(&self, url: &str, more: &[&str]) -> Result<Fetched> {
        let address = dns::address(NEUTRAL, false)?;
        let job_site = dns::address(SITE, false)?;
        let mut command = self.netns.command("curl");
        command.args(["--silent", "--show-error", "--include", "--http1.1", "--cacert"]).arg(self.lab.ca());
        for (name, address) in [(NEUTRAL, address), (PROBE, address), (SITE, job_site)] {
            for port in [80, 443] {
                command.args(["--resolve", &format!("{name}:{port}:{address}")]);
            }
        }
        command.args(more).arg(url);
        let done = process::run(&mut command, &[], Duration::from_secs(20), self.stop)?;
        Ok(Fetched { said: String::from_utf8_lossy(&done.stdout).into_owned(), done })
    }

    /// What a system gets that looks for a network, once that is no notice any more or patience is over.
    fn await_network(&self, patience: Duration) -> Result<Fetched> {
        let until = Instant::now() + patience;
        loop {
            let probe = self.fetch(&format!("http://{PROBE}/generate_204"), &[])?;
            if !probe.has_notice() || Instant::now() >= until {
                return Ok(probe);
            }
            self.stop.pause(Duration::from_millis(200))?;
        }
    }

    /// What Chromium makes of a page.
    fn chromium(&self, url: &str) -> Result<String> {
        let hosts = [(NEUTRAL, dns::address(NEUTRAL, false)?)];
        let done = browser::dom(&self.netns, url, &hosts, Over::Anything, None, self.stop)?;
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }
}
