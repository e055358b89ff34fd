//! What rows work with: one lab for all, one gateway for those that need no other, and what the processes use.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Finding, Options};
use crate::actions::accounted;
use crate::actions::stream::{Figures, Stream};
use crate::demo::api::Now;
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::lab::devices::DEVICES;
use crate::lab::housekeeping::Housekeeping;
use crate::lab::{Lab, slot};
use crate::setup::huge_pages;
use crate::stop::Stop;
use crate::{ui, workspace};

/// Datagrams a second that cross the gateway.
pub(super) const STREAM: u32 = 4000;
/// Clients, servers, compilers of rules and the lcore share two CPUs: one that does not get its own for a second does not hang, and to replace it
/// would be what is measured. What a hang costs is measured by the part `fallback` of the actions.
const PATIENT: &str = "
[guard]
hang_ms = 10000
";
/// Nothing that is waited for takes longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Stage<'a> {
    pub(super) binary: PathBuf,
    pub(super) options: &'a Options,
    pub(super) stop: &'a Stop,
    pub(super) findings: Vec<Finding>,
    row: &'static str,
    lab: Option<Lab>,
    gateway: Option<Gateway>,
    /// Huge pages that were free before the first gateway.
    pub(super) huge_pages: Option<u64>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(binary: PathBuf, options: &'a Options, stop: &'a Stop) -> Self {
        Self {
            binary,
            options,
            stop,
            findings: Vec::new(),
            row: "",
            lab: None,
            gateway: None,
            huge_pages: None,
        }
    }

    pub(super) fn begin(&mut self, row: &'static str) {
        self.row = row;
    }

    /// One of two sizes.
    pub(super) fn size<T>(&self, short: T, long: T) -> T {
        if self.options.long { long } else { short }
    }

    /// Notes what was found, and says so at once.
    pub(super) fn found(&mut self, what: &str, found: impl Into<String>, goal: &str, met: bool) {
        let found = found.into();
        let mark = if met { ui::green("ok") } else { ui::red("MISSED") };
        ui::line(format_args!("  {mark} {what}: {found} (goal: {goal})"));
        self.findings.push(Finding {
            row: self.row,
            what: what.to_owned(),
            found,
            goal: goal.to_owned(),
            met,
        });
    }

    /// The lab, which is started where there is none.
    pub(super) fn lab(&mut self) -> Result<&mut Lab> {
        if self.lab.is_none() {
            self.huge_pages = huge_pages::free();
            self.lab = Some(Lab::start(slot::Kind::Test, &workspace::target().join("lab"), self.stop)?);
        }
        self.lab.as_mut().context("there is no lab")
    }

    /// The lab and the gateway that rows share.
    pub(super) fn both(&mut self) -> Result<(&Lab, &mut Gateway)> {
        if self.gateway.is_none() {
            self.start(&setup())?;
        }
        Ok((
            self.lab.as_ref().context("there is no lab")?,
            self.gateway.as_mut().context("there is no gateway")?,
        ))
    }

    /// A gateway that is set up like this, in place of the one that is there.
    pub(super) fn start(&mut self, setup: &Setup) -> Result<(&Lab, &mut Gateway)> {
        let binary = self.binary.clone();
        self.start_binary(&binary, setup)
    }

    /// The same with another program.
    pub(super) fn start_binary(&mut self, binary: &Path, setup: &Setup) -> Result<(&Lab, &mut Gateway)> {
        self.drop_gateway();
        let (stop, driver) = (self.stop, self.options.driver.unwrap_or(Driver::AfXdp));
        let gateway = Gateway::start_as(self.lab()?, binary, driver, setup, stop)?;
        self.gateway = Some(gateway);
        self.both()
    }

    /// The gateway, for who ends it in their own way.
    pub(super) fn take_gateway(&mut self) -> Option<Gateway> {
        self.gateway.take()
    }

    /// One that was started elsewhere.
    pub(super) fn put_gateway(&mut self, gateway: Gateway) {
        self.gateway = Some(gateway);
    }

    /// Ends the gateway: the next row begins with another.
    pub(super) fn drop_gateway(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop();
        }
    }

    /// Ends everything.
    pub(super) fn drop_lab(&mut self) {
        self.drop_gateway();
        self.lab = None;
    }

    /// The stream, while something is done. Whatever is started meanwhile leaves the lcore its CPU.
    pub(super) fn beside<T>(
        &mut self,
        work: impl FnOnce(&Lab, &mut Gateway, &Stop) -> Result<T>,
    ) -> Result<(Figures, T)> {
        let stop = self.stop;
        let (lab, gateway) = self.both()?;
        let housekeeping = Housekeeping::without(&setup().cpus)?;
        // One that was killed comes back with the guard's CPUs.
        if let Ok(control) = gateway.pid_of("control") {
            housekeeping.keep(control)?;
        }
        let stream = Stream::flow(lab, &DEVICES[2], STREAM)?;
        let worked = work(lab, gateway, stop);
        let figures = stream.end()?;
        Ok((figures, worked?))
    }

    /// Notes that the stream lost nothing.
    pub(super) fn unharmed(&mut self, figures: &Figures) {
        let (fine, words) = figures.unharmed();
        let words = format!("{words}; p99 {:.2?}, at most {:.2?}", figures.p99, figures.longest);
        self.found("what passes meanwhile", words, "0 lost, 0 changed, 0 twice", fine);
    }

    /// Notes that every frame is accounted for, and that no inspector panicked.
    pub(super) fn accounted(&mut self) -> Result<()> {
        let (_, gateway) = self.both()?;
        let now = gateway.now()?;
        let (fine, words) = accounted(&now);
        self.found("frames of both ports", words, "each is accounted for", fine);
        let panics: u64 = now.lcores.iter().map(|lcore| lcore.panics).sum();
        self.found("panics", panics.to_string(), "0", panics == 0);
        Ok(())
    }
}

/// The gateway that rows share; others begin with it.
pub(super) fn setup() -> Setup {
    Setup { more: PATIENT.to_owned(), ..Setup::default() }
}

/// Waits until the gateway says that it is so; how long that took.
pub(super) fn await_now(
    gateway: &Gateway,
    what: &str,
    stop: &Stop,
    is_so: impl Fn(&Now) -> bool,
) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let said = match gateway.now() {
            Ok(now) if is_so(&now) => return Ok(began.elapsed()),
            Ok(now) => now.troubles.join("; "),
            Err(why) => format!("{why:#}"),
        };
        if began.elapsed() > PATIENCE {
            bail!("not within {PATIENCE:?}: {what}; it says: {said}\n{}", gateway.last_words());
        }
        stop.pause(Duration::from_millis(20))?;
    }
}

/// What a process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) resident_kib: u64,
    pub(super) descriptors: u64,
}

/// What a process of the gateway uses now.
pub(super) fn uses(pid: u32) -> Result<Uses> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    Ok(Uses { resident_kib: kib.context("no VmRSS")?.trim().parse()?, descriptors })
}
