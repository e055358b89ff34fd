//! `cargo xtask demo`: the gateway at work between real clients and real servers.

pub mod api;
pub mod clients;
pub mod gateway;
pub mod killed;
pub mod page;
pub mod records;
pub mod round;
pub mod scenario;
pub mod verify;
pub mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::lab::{Lab, slot};
use crate::stop::{Interrupted, Stop};
use crate::{setup, ui, workspace};
use gateway::{Driver, Gateway};
use scenario::ROUND;

/// The check that every flow has its name, service and category.
const NAMED: &str = "flows named, service and category";

/// Options of the task.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// One round, then end: exit code 0 only if every expected flow was seen, no frame was lost or changed, the
    /// page showed it, and frames pass again after the gateway was killed.
    #[arg(long)]
    pub once: bool,
    /// A bridge of the kernel in the gateway's place: shows whether the lab itself is right.
    #[arg(long)]
    pub bypass_gateway: bool,
    /// How the gateway gets at frames. Without it: af_xdp, and af_packet where that does not work.
    #[arg(long, value_enum)]
    pub driver: Option<Driver>,
    /// Draw the page into this PNG file after some rounds (needs chromium).
    #[arg(long, value_name = "FILE")]
    pub screenshot: Option<PathBuf>,
    /// Install what is missing without asking.
    #[arg(long, short)]
    pub yes: bool,
}

/// Runs the demo. What it has started is gone when this returns, however it returns.
pub fn run(options: &Options, kind: slot::Kind, stop: &Stop) -> Result<()> {
    ui::heading("Setup");
    let browser = options.screenshot.is_some();
    setup::run(&setup::Options { yes: options.yes, browser, ..setup::Options::default() })?;
    let dir = workspace::target().join("lab");
    let outcome = if options.bypass_gateway {
        Lab::start(kind, &dir, stop).and_then(|lab| without_gateway(options, lab, stop))
    } else {
        with_gateway(options, kind, &dir, stop)
    };
    outcome.map_err(|why| match why.is::<Interrupted>() {
        true => why,
        false => why.context(format!("the demo failed; logs and captures are below {}", dir.display())),
    })
}

/// The lab alone, on a bridge of the kernel.
fn without_gateway(options: &Options, mut lab: Lab, stop: &Stop) -> Result<()> {
    lab.bridge_by_kernel()?;
    lab.await_path(Duration::from_secs(5))?;
    loop {
        ui::heading("Round");
        lab.start_captures()?;
        let outcome = round::drive(&lab, stop)?;
        let frames = lab.compare_captures()?;
        ui::line(format_args!("  {} in {:.1?}", outcome.words(), outcome.took));
        ui::line(format_args!("  {}", frames.words()));
        if options.once {
            ensure!(outcome.failed.is_empty(), "{} of the transfers failed", outcome.failed.len());
            ensure!(
                frames.is_clean(),
                "frames were lost or changed:\n{}",
                frames.samples().collect::<Vec<_>>().join("\n")
            );
            return Ok(());
        }
        stop.pause(Duration::from_secs(10))?;
    }
}

fn with_gateway(options: &Options, kind: slot::Kind, dir: &Path, stop: &Stop) -> Result<()> {
    let binary = gateway::build(stop, &workspace::target().join("build.log"))?;
    ui::heading("Lab");
    let mut lab = Lab::start(kind, dir, stop)?;
    let name = lab.name().to_owned();
    let mut gateway = Gateway::start(&lab, &binary, options.driver, stop)?;

    let mut checks = Checks::default();
    one_round(&mut lab, &gateway, &binary, &mut checks, stop)?;
    if let Some(file) = &options.screenshot {
        // One round would be a single spike on the page; and bytes are added up as flows end.
        for _ in 0..6 {
            round::drive(&lab, stop)?;
            stop.pause(Duration::from_secs(4))?;
        }
        page::screenshot(gateway.address(), file, stop)?;
        ui::line(format_args!("  {} the page is drawn in {}", ui::green("ok"), file.display()));
    }
    if options.once {
        ui::heading("Killed");
        for name in ["dataplane", "control"] {
            let words = killed::process(&lab, &mut gateway, name, stop)?;
            checks.tell(&format!("kill -9 of {name}"), words);
        }
        let (gateway, words) = killed::gateway(&lab, gateway, &binary, stop)?;
        checks.tell("kill -9 of the gateway", words);
        checks.tell("kill -9 of a demo", killed::demo(stop)?);
        drop((gateway, lab));
        let traces = slot::traces(&name)?;
        checks.add("nothing left behind", traces.is_empty(), traces.join(", "));
        return checks.conclude();
    }

    checks.conclude()?;
    ui::heading(format_args!("The page is at {}", gateway.page()));
    ui::line(format_args!(
        "  from elsewhere: ssh -L 8480:{} THIS-HOST, then https://localhost:8480/",
        gateway.address()
    ));
    let invited = gateway.command(&["account", "add", "visitor", "--role", "operator", "--json"])?;
    let invited: serde_json::Value = serde_json::from_str(&invited)?;
    let secret = invited["secret"].as_str().unwrap_or_default();
    ui::line(format_args!("  to log in: choose a password at {}join with {secret}", gateway.page()));
    ui::line(format_args!(
        "  try: ip netns exec {name}-desk1 curl --cacert {} https://www.zhipin.com/",
        lab.ca().display()
    ));
    ui::line("  a round every 10 seconds until Ctrl-C");
    loop {
        stop.pause(Duration::from_secs(10))?;
        let mut checks = Checks::default();
        one_round(&mut lab, &gateway, &binary, &mut checks, stop)?;
        // A fault is shown and the demo goes on: whoever looks may want to see what comes next.
        if let Err(why) = checks.conclude() {
            ui::line(format_args!("{} {why:#}", ui::red("error:")));
        }
    }
}

/// A round, and everything that is looked at afterwards.
fn one_round(
    lab: &mut Lab,
    gateway: &Gateway,
    binary: &Path,
    checks: &mut Checks,
    stop: &Stop,
) -> Result<()> {
    ui::heading("Round");
    let before = gateway.now()?;
    lab.start_captures()?;
    let outcome = watch::while_running(gateway, &before, || round::drive(lab, stop))?;
    checks.add("transfers unchanged", outcome.failed.is_empty(), outcome.words());

    let frames = lab.compare_captures()?;
    checks.add("frames", frames.is_clean() && frames.is_full_size(), frames.words());
    for sample in frames.samples() {
        ui::line(format_args!("  {sample}"));
    }

    match verify::counted(gateway, &before, &ROUND, Duration::from_secs(10), stop) {
        Ok(now) => {
            let lost = now.lost() - before.lost();
            checks.add("flows counted by the gateway", true, watch::words(&before, &now));
            checks.add("gateway's own loss counters", lost == 0, format!("{lost} frames"));
        }
        Err(why) if why.is::<Interrupted>() => return Err(why),
        Err(why) => checks.add("flows counted by the gateway", false, format!("{why:#}")),
    }

    match verify::replay(binary, &lab.dir().join("lan.pcap"), &ROUND) {
        Ok(tally) => {
            for (flow, (wanted, seen)) in tally.iter().filter(|(_, (wanted, seen))| seen < wanted) {
                ui::line(format_args!("  {} seen {seen} of {wanted}: {flow:?}", ui::red("FAILED")));
            }
            let (mut wanted, mut seen) = (0, 0);
            for (one, other) in tally.values() {
                wanted += one;
                seen += one.min(other);
            }
            checks.add(NAMED, seen == wanted, format!("{seen} of {wanted}, from the capture"));
        }
        Err(why) => checks.add(NAMED, false, format!("{why:#}")),
    }

    let shown = page::shows(gateway.address(), &["recruitment", "short_video"]);
    checks.add("page", shown.is_ok(), shown.err().map_or(gateway.page(), |why| format!("{why:#}")));
    Ok(())
}

/// What was looked at, for the table at the end.
#[derive(Default)]
pub(crate) struct Checks(Vec<(String, bool, String)>);

impl Checks {
    pub(crate) fn add(&mut self, what: &str, fine: bool, words: String) {
        self.0.push((what.to_owned(), fine, words));
    }

    /// All of them: what, whether it was so, and the words for it.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, bool, &str)> {
        self.0.iter().map(|(what, fine, words)| (what.as_str(), *fine, words.as_str()))
    }

    /// Adds a check that went well, and says so at once.
    fn tell(&mut self, what: &str, words: String) {
        ui::line(format_args!("  {} {what}: {words}", ui::green("ok")));
        self.add(what, true, words);
    }

    pub(crate) fn conclude(mut self) -> Result<()> {
        let (logs, broken) = gateway::unbalanced();
        if logs > 0 {
            let words = format!("of {logs} logs that were closed, {broken} do not add up");
            self.add("records offered = durable + lost", broken == 0, words);
        }
        ui::heading("Summary");
        let mut table = ui::table();
        for (what, fine, words) in &self.0 {
            table.add_row([what.as_str(), if *fine { "ok" } else { "FAILED" }, words.as_str()]);
        }
        ui::line(table);
        let failed: Vec<_> =
            self.0.iter().filter(|(_, fine, _)| !fine).map(|(what, ..)| what.as_str()).collect();
        if failed.is_empty() { Ok(()) } else { bail!("not fine: {}", failed.join(", ")) }
    }
}
