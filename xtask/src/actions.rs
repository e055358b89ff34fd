//! `cargo xtask actions`: what the actions of rules do to real clients, through the gateway as it is shipped.
//!
//! | part | clients | what is held |
//! |---|---|---|
//! | [`limit`] | iperf3, curl | the rate within 5 %, both ways, IPv4 and IPv6, flows that run already, a rate each device; a quota |
//! | [`block`] | curl, dig, quinn, Chromium | TLS reset at once, a page over HTTP, no such name in DNS, no QUIC, flows that run already |
//! | [`uploads`] | curl, quinn | how many probable uploads are uploads, and how many uploads are found |
//! | [`lcores`] | the demo's round | two lcores: a queue each, and behind a distributor; each flow whole and named |
//! | [`charter`] | curl | what is observed of an office without a charter, with one, by its calendar, and when it is revoked |
//! | [`notice`] | curl, Chromium | a device that has a notice to read is shown it over HTTP, and is not observed until it is read |
//! | [`cases`] | curl | what is sealed of two people, and how two others see what one of them did, once |
//! | [`inband`] | arping, ping, curl, floods | the gateway's own address on its ports: who gets what, and that a flood of it costs the traffic nothing |
//! | [`fallback`] | a stream | what passes while the data plane is killed, hangs, and is held |
//! | [`links`] | ip | a cable pulled on one side is seen on the other, and back |
//! | [`identity`] | udhcpc, dhclient, radclient, curl | who gets a lease, logs in, logs out, is in the group that a rule is about |
//! | [`bypass`] | curl | what is blocked passes, and status, page and metrics say so |
//! | [`browser`] | Chromium | every view of the page in both languages, on a phone and wide, by real logins; hostile names in every place |
//! | [`page`] | promtool, Prometheus, schemathesis | the page's data as programs see them; only where it is asked for |
//! | [`sealing`] | sockets | the log at full pace beside a stream; only where it is asked for |
//! | [`canary`] | sockets, rustls, quinn | nothing that a flow carries is kept, whatever happens to the processes |
//!
//! After each part the frames of both ports are added up: what came in went out or was counted.

pub mod block;
pub mod browser;
pub mod bypass;
pub mod canary;
pub mod cases;
pub mod charter;
pub mod fallback;
pub mod identity;
pub mod inband;
pub mod lcores;
pub mod limit;
pub mod links;
pub mod monitoring;
pub mod notice;
pub mod page;
pub mod sealing;
pub(crate) mod stream;
pub mod uploads;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::demo::Checks;
use crate::demo::api::Now;
use crate::demo::gateway::{self, Driver, Gateway, Setup};
use crate::lab::{Lab, slot};
use crate::stop::{Interrupted, Stop};
use crate::{setup, ui, workspace};

/// Options of the task.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// How the gateway gets at frames. Without it: af_xdp, and af_packet where that does not work. Several lcores are always
    /// tried on both.
    #[arg(long, value_enum)]
    pub driver: Option<Driver>,
    /// Only this part. May be given several times; they run in the order of a whole run, each as short as it is there. A part that is alone
    /// does all that it can.
    #[arg(long, value_enum)]
    pub only: Vec<Part>,
    /// Install what is missing without asking.
    #[arg(long, short)]
    pub yes: bool,
    /// A gateway that is built already; without it, the release build is made first.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<std::path::PathBuf>,
}

impl Options {
    /// Whether this part runs.
    fn asks_for(&self, part: Part) -> bool {
        if self.only.is_empty() { !ON_REQUEST.contains(&part) } else { self.only.contains(&part) }
    }

    /// Whether only one part was asked for.
    fn is_alone(&self) -> bool {
        self.only.len() == 1
    }
}

/// A part of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The action `limit`.
    Limit,
    /// The action `block`.
    Block,
    /// The bypass, which turns all of it off.
    Bypass,
    /// Not an action: precision and recall of probable uploads.
    Uploads,
    /// Several lcores.
    Lcores,
    /// The gateway's own address on its ports.
    Inband,
    /// What forwards while the data plane can't.
    Fallback,
    /// Links that go and come.
    Links,
    /// Rules about groups, whose members come and go.
    Identity,
    /// An office under a charter.
    Charter,
    /// The action `notice`.
    Notice,
    /// Sealed records, and a case that opens some.
    Cases,
    /// Not an action: metrics and interface, held against Prometheus and schemathesis. Only where it is asked for: it downloads both.
    Page,
    /// Not an action: the page in a real browser.
    Browser,
    /// Not an action: sealed sessions at full pace into the log, beside a stream of datagrams. Only where it is asked for: it takes five
    /// minutes, and says something about the gateway only on a machine that does nothing else.
    Sealing,
    /// Not an action: what flows carry is looked for in everything that the gateway leaves.
    Canary,
}

/// Parts that run only where they are asked for.
const ON_REQUEST: [Part; 2] = [Part::Page, Part::Sealing];

/// What a part works with.
pub struct Stage<'a> {
    /// The network.
    pub lab: &'a Lab,
    /// The gateway in its middle.
    pub gateway: &'a Gateway,
    /// Whether the user asks to end.
    pub stop: &'a Stop,
    /// Whether only one part was asked for, which then does all that it can.
    pub alone: bool,
}

/// Runs all parts, or one; an error when something was not as it should be.
pub fn run(options: &Options, stop: &Stop) -> Result<()> {
    ui::heading("Setup");
    let browser = [Part::Notice, Part::Block, Part::Browser].into_iter().any(|part| options.asks_for(part));
    setup::run(&setup::Options { yes: options.yes, browser, ..setup::Options::default() })?;
    let binary = match &options.binary {
        Some(binary) => std::fs::canonicalize(binary).with_context(|| binary.display().to_string())?,
        None => gateway::build(stop, &workspace::target().join("build.log"))?,
    };
    ui::heading("Lab");
    let mut lab = Lab::start(slot::Kind::Test, &workspace::target().join("lab"), stop)?;
    let mut checks = Checks::default();
    if RULES.iter().any(|(part, ..)| options.asks_for(*part)) {
        rules(&lab, &binary, options, &mut checks, stop)?;
    }
    type Try = fn(&mut Lab, &Path, &Options, &mut Tried<'_>, &Stop) -> Result<()>;
    let parts: [(Part, &str, Try); 11] = [
        (Part::Lcores, "Lcores", |lab, binary, _, tried, stop| lcores::run(lab, binary, tried, stop)),
        // Before any charter is installed: what may not be observed makes no events, and it takes many to fill a ring.
        (Part::Canary, "Canary", |lab, binary, options, tried, stop| {
            canary::run(lab, binary, options.driver.unwrap_or(Driver::AfXdp), tried, stop)
        }),
        (Part::Charter, "Charter", |lab, binary, options, tried, stop| {
            charter::run(lab, binary, options.driver.unwrap_or(Driver::AfXdp), tried, stop)
        }),
        (Part::Notice, "Notice", |lab, binary, options, tried, stop| {
            notice::run(lab, binary, options.driver.unwrap_or(Driver::AfXdp), tried, stop)
        }),
        (Part::Cases, "Cases", |lab, binary, options, tried, stop| {
            cases::run(lab, binary, options.driver.unwrap_or(Driver::AfXdp), tried, stop)
        }),
        (Part::Inband, "In-band", |lab, binary, options, tried, stop| {
            inband::run(lab, binary, options.driver.unwrap_or(Driver::AfXdp), tried, stop)
        }),
        (Part::Fallback, "Fallback", |lab, binary, options, tried, stop| {
            let driver = options.driver.unwrap_or(Driver::AfXdp);
            fallback::run(lab, binary, driver, options.is_alone(), tried, stop)
        }),
        (Part::Links, "Links", |lab, binary, options, tried, stop| {
            links::run(lab, binary, options.driver.unwrap_or(Driver::AfXdp), tried, stop)
        }),
        (Part::Browser, "Browser", |lab, binary, options, tried, stop| {
            browser::run(lab, binary, options.driver.unwrap_or(Driver::AfXdp), tried, stop)
        }),
        (Part::Page, "Page", |lab, binary, options, tried, stop| {
            page::run(lab, binary, options.driver.unwrap_or(Driver::AfXdp), tried, stop)
        }),
        (Part::Sealing, "Sealing", |lab, binary, options, tried, stop| {
            sealing::run(lab, binary, options.driver.unwrap_or(Driver::AfXdp), tried, stop)
        }),
    ];
    for (part, title, run) in parts {
        if options.asks_for(part) {
            let began = Instant::now();
            ui::heading(title);
            let mut tried = Tried { checks: &mut checks };
            let ran = run(&mut lab, &binary, options, &mut tried, stop);
            tried.end(title, ran, began)?;
        }
    }
    checks.conclude()
}

type Rule = fn(&Stage<'_>, &mut Tried<'_>) -> Result<()>;

/// The parts that need one lcore and one gateway for all.
const RULES: [(Part, &str, Rule); 5] = [
    (Part::Block, "Block", block::run),
    (Part::Bypass, "Bypass", bypass::run),
    (Part::Identity, "Identity", identity::run),
    (Part::Limit, "Limit", limit::run),
    (Part::Uploads, "Uploads", uploads::run),
];

fn rules(lab: &Lab, binary: &Path, options: &Options, checks: &mut Checks, stop: &Stop) -> Result<()> {
    let setup = Setup { more: identity::configure(lab)?, ..Setup::default() };
    let gateway = Gateway::start_first(lab, binary, options.driver, &setup, stop)?;
    let stage = Stage { lab, gateway: &gateway, stop, alone: options.is_alone() };
    for (part, title, run) in RULES {
        if !options.asks_for(part) {
            continue;
        }
        let began = Instant::now();
        ui::heading(title);
        let mut tried = Tried { checks: &mut *checks };
        let ran = run(&stage, &mut tried);
        tried.end(title, ran, began)?;
        // Lcores tell their counters between turns, so the law holds at every moment that a report is of.
        gateway.enforce("", stop)?;
        let (fine, words) = accounted(&gateway.now()?);
        tried.hold("every frame is accounted for", fine, words);
    }
    Ok(())
}

/// What has been tried so far.
pub struct Tried<'a> {
    checks: &'a mut Checks,
}

impl<'a> Tried<'a> {
    /// Notes into these.
    pub(crate) fn new(checks: &'a mut Checks) -> Self {
        Self { checks }
    }

    /// Says how long a part took, and notes that it could not go on; the others go on. An error when the user asked to end.
    fn end(&mut self, title: &str, ran: Result<()>, began: Instant) -> Result<()> {
        ui::line(format_args!("  {title} took {:.0?}", began.elapsed()));
        match ran {
            Err(why) if why.is::<Interrupted>() => return Err(why),
            Err(why) => self.hold(title, false, format!("{why:#}")),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Notes whether something is as it should be, and says so at once.
    pub fn hold(&mut self, what: &str, fine: bool, words: impl Into<String>) {
        let words = words.into();
        let mark = if fine { ui::green("ok") } else { ui::red("FAILED") };
        ui::line(format_args!("  {mark} {what}: {words}"));
        self.checks.add(what, fine, words);
    }
}

/// Whether what came in by each port went out by the other, but for what was counted as dropped.
pub(crate) fn accounted(now: &Now) -> (bool, String) {
    let [lan, uplink] = now.ports.as_slice() else { return (false, "not two ports".to_owned()) };
    let mut fine = true;
    let mut words = Vec::new();
    for (from, to) in [(lan, uplink), (uplink, lan)] {
        let dropped = from.drop_policy + from.drop_limit + from.drop_tx_full;
        let (came, went) =
            (from.rx_frames + to.answers + to.inband_sent, to.tx_frames + dropped + from.inband_taken);
        fine &= came == went;
        words.push(format!(
            "{}: {} in ({} for us), {} out ({} answers, {} ours), {} over a limit, {} by rule, {} not taken",
            from.name,
            from.rx_frames,
            from.inband_taken,
            to.tx_frames,
            to.answers,
            to.inband_sent,
            from.drop_limit,
            from.drop_policy,
            from.drop_tx_full
        ));
    }
    (fine, words.join("; "))
}
