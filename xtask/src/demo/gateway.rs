//! The gateway in the lab: configured, started, awaited, killed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use glassgate_audit::Balance;
use rustix::process::Signal;

use super::api::{self, Now};
use crate::lab::Lab;
use crate::process::{self, Daemon};
use crate::setup::huge_pages::{self, State};
use crate::stop::Stop;
use crate::{ui, workspace};

/// Runs a program where a time server seems to have set the clock.
const CLOCK_IS_SET: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/timesync && \
                            : > /run/systemd/timesync/synchronized && exec \"$@\"";
/// Shows programs another time.
/// The file in the folder of the lab that says how far the clock of a gateway is off.
const CLOCK: &str = "clock";
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// The rules file, beside the configuration.
const RULES: &str = "rules.toml";
/// Port of the page.
const PAGE_PORT: u16 = 8480;

/// Logs that were closed in order, and those of them that had offered records they did not answer for.
static BALANCES: AtomicU64 = AtomicU64::new(0);
static UNBALANCED: AtomicU64 = AtomicU64::new(0);

/// How many logs of this run were closed in order, and in how many of them `records offered = durable + lost` did not hold.
pub fn unbalanced() -> (u64, u64) {
    (BALANCES.load(Ordering::Relaxed), UNBALANCED.load(Ordering::Relaxed))
}

/// How the gateway gets at the frames of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Driver {
    /// XDP sockets: the fastest that works on any interface of a new kernel.
    #[value(name = "af_xdp")]
    AfXdp,
    /// Packet sockets: slower, works everywhere.
    #[value(name = "af_packet")]
    AfPacket,
}

impl Driver {
    /// The word before the colon in `ports.lan`.
    pub fn word(self) -> &'static str {
        match self {
            Self::AfXdp => "af_xdp",
            Self::AfPacket => "af_packet",
        }
    }
}

/// How it is set up, where that differs.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The CPUs of its lcores, one each.
    pub cpus: Vec<usize>,
    /// Microseconds that they sleep when nothing comes.
    pub idle_sleep_us: u32,
    /// Whether a port without a link takes the other one down.
    pub propagate_link: bool,
    /// Public keys of those who may sign charters.
    pub charter_keys: Vec<String>,
    /// More settings of `[dataplane]`, a line each.
    pub dataplane: String,
    /// What its processes find in their environment besides.
    pub env: Vec<(String, String)>,
    /// More tables of the configuration.
    pub more: String,
    /// Whether it finds a clock that a time server has set. In its mount namespace only: this machine's clock is left alone.
    pub clock_is_set: bool,
    /// How many seconds its wall clock is ahead of this machine's: for what happens at midnight.
    pub clock_ahead_s: u64,
    /// Whether it has no accounts yet: somebody makes the first with the secret that it logs.
    pub first_start: bool,
    /// Accounts that it has besides the lab's, as they stand in its file.
    pub people: Vec<serde_json::Value>,
}

impl Default for Setup {
    /// One on the last CPU. The clients and servers of the lab run on the same few CPUs: it leaves them some time.
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
        Self {
            cpus: vec![cpus - 1],
            idle_sleep_us: 50,
            propagate_link: false,
            charter_keys: Vec::new(),
            dataplane: String::new(),
            env: Vec::new(),
            more: String::new(),
            clock_is_set: false,
            clock_ahead_s: 0,
            first_start: false,
            people: Vec::new(),
        }
    }
}

/// A gateway that runs.
pub struct Gateway {
    daemon: Daemon,
    address: String,
    /// How it gets at frames.
    pub driver: Driver,
    binary: PathBuf,
    config: PathBuf,
    lab: String,
    /// What the lab reads with; none before there is an account.
    token: Option<String>,
}

/// Sets the wall clock of a gateway that was started with another one than this machine's, while it runs: so many seconds
/// ahead of this machine's.
pub fn set_clock(dir: &Path, ahead_s: i64) -> Result<()> {
    // In place of the one before: whoever reads finds a whole file.
    let new = dir.join("clock.new");
    std::fs::write(&new, format!("{ahead_s:+}s\n"))?;
    std::fs::rename(new, dir.join(CLOCK)).context("setting the clock")
}

/// Builds the gateway as it is shipped.
pub fn build(stop: &Stop, log: &Path) -> Result<PathBuf> {
    let doing = ui::doing("build glassgate, release");
    let command = crate::steps::cargo("build --release -p glassgate");
    if !crate::steps::run_logged(&command, log, stop)? {
        bail!("the build failed\n{}", process::tail(log, 60));
    }
    doing.done("");
    Ok(workspace::target().join("release/glassgate"))
}

impl Gateway {
    /// Its program.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Starts it inline, with the given driver or the first that works, and waits until it forwards.
    pub fn start(lab: &Lab, binary: &Path, driver: Option<Driver>, stop: &Stop) -> Result<Self> {
        Self::start_first(lab, binary, driver, &Setup::default(), stop)
    }

    /// The same, set up like this.
    pub fn start_first(
        lab: &Lab,
        binary: &Path,
        driver: Option<Driver>,
        setup: &Setup,
        stop: &Stop,
    ) -> Result<Self> {
        let candidates = driver.map_or(vec![Driver::AfXdp, Driver::AfPacket], |driver| vec![driver]);
        let mut last = None;
        for driver in candidates {
            match Self::start_as(lab, binary, driver, setup, stop) {
                Ok(gateway) => return Ok(gateway),
                Err(why) if why.is::<crate::stop::Interrupted>() => return Err(why),
                Err(why) => last = Some(why),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no driver to try")))
    }

    /// Starts it inline with this driver and set up like this, and waits until it forwards.
    pub fn start_as(lab: &Lab, binary: &Path, driver: Driver, setup: &Setup, stop: &Stop) -> Result<Self> {
        let doing = ui::doing(format_args!("gateway on {}", driver.word()));
        let address = format!("{}:{PAGE_PORT}", lab.management());
        let config = lab.dir().join("glassgate.toml");
        std::fs::write(&config, configuration(driver, setup, &address))?;
        std::fs::write(lab.dir().join(RULES), "version = 1\n")?;
        let page = lab.dir().join("page");
        std::fs::create_dir_all(&page)?;
        let accounts = page.join("accounts");
        if setup.first_start {
            match std::fs::remove_file(&accounts) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        } else {
            std::fs::write(&accounts, api::accounts(&setup.people))?;
            std::fs::set_permissions(&accounts, std::fs::Permissions::from_mode(0o600))?;
        }
        let mut command = if setup.clock_is_set {
            // `ip netns exec` gives a mount namespace of its own, so that nobody else sees these.
            let mut shell = lab.gateway.command("sh");
            shell.args(["-c", CLOCK_IS_SET, "sh"]).arg(binary);
            shell
        } else {
            lab.gateway.command(&binary.to_string_lossy())
        };
        command.arg("run").arg("--config").arg(&config);
        command.envs(setup.env.iter().map(|(name, value)| (name, value)));
        if setup.clock_ahead_s > 0 {
            set_clock(lab.dir(), setup.clock_ahead_s.cast_signed())?;
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", lab.dir().join(CLOCK));
            // For how many seconds it believes what it read.
            command.env("FAKETIME_CACHE_DURATION", "1");
            // The monotonic clock, by which everything is decided, and the times of files are left alone.
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
        }
        let daemon =
            Daemon::start("gateway", &command, &lab.dir().join(format!("gateway-{}.log", driver.word())))?;
        let (binary, lab_name) = (binary.to_owned(), lab.name().to_owned());
        let token = (!setup.first_start).then(|| api::TOKEN.to_owned());
        let mut gateway = Self { daemon, address, driver, binary, config, lab: lab_name, token };
        gateway.await_ready(Duration::from_secs(30), stop)?;
        lab.await_path(Duration::from_secs(10))?;
        doing.done(format_args!("frames pass, page at {}", gateway.page()));
        Ok(gateway)
    }

    /// Waits until the gateway says that all of it runs.
    pub fn await_ready(&mut self, limit: Duration, stop: &Stop) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let why = match (&self.token, self.now()) {
                (Some(_), Ok(now)) if now.is_ready() => return Ok(()),
                (Some(_), Ok(now)) => format!("it says: {}", now.troubles.join("; ")),
                (Some(_), Err(why)) => format!("{why:#}"),
                // To those who are not logged in it says no more.
                (None, _) => match api::get(&self.address, "/healthz") {
                    Ok(_) => return Ok(()),
                    Err(why) => format!("{why:#}"),
                },
            };
            if let Some(status) = self.daemon.ended() {
                bail!("the gateway ended ({status})\n{}", self.daemon.last_words());
            }
            if Instant::now() > end {
                bail!("the gateway was not ready within {limit:?}: {why}\n{}", self.daemon.last_words());
            }
            stop.pause(Duration::from_millis(100))?;
        }
    }

    /// Runs `glassgate COMMAND --config …` beside it and gives what it printed; a failure is an error.
    pub fn command(&self, words: &[&str]) -> Result<String> {
        let mut command = std::process::Command::new(&self.binary);
        process::capture(command.args(words).arg("--config").arg(&self.config))
    }

    /// Puts rules in force and waits until the fast path uses them.
    pub fn enforce(&self, rules: &str, stop: &Stop) -> Result<()> {
        std::fs::write(self.config.with_file_name(RULES), format!("version = 1\n{rules}"))?;
        self.command(&["reload"])?;
        self.await_acknowledged(stop)
    }

    /// Waits until the fast path uses the latest verdicts.
    pub fn await_acknowledged(&self, stop: &Stop) -> Result<()> {
        // What it says of itself may be of before the change; the next report is not.
        let before = self.now()?.uptime_ms;
        let end = Instant::now() + Duration::from_secs(10);
        while !self.now().map(|now| now.uptime_ms > before && now.is_ready())? {
            if Instant::now() > end {
                bail!("the fast path does not take the verdicts\n{}", self.last_words());
            }
            stop.pause(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// How it is now.
    pub fn now(&self) -> Result<Now> {
        Now::fetch_with(&self.address, self.token.as_deref().unwrap_or_default())
    }

    /// Makes an account for the lab to read with, where there is a first one.
    pub fn admit_lab(&mut self) -> Result<()> {
        let said = self.command(&["account", "add", "lab", "--role", "operator", "--program"])?;
        self.token = Some(handed(&said)?.to_owned());
        Ok(())
    }

    /// Invites somebody: the secret to hand over.
    pub fn invite(&self, name: &str, role: &str) -> Result<String> {
        let said = self.command(&["account", "add", name, "--role", role])?;
        Ok(handed(&said)?.to_owned())
    }

    /// The secret of the first account, from the log.
    pub fn first_secret(&self) -> Result<String> {
        let log = std::fs::read_to_string(self.log())?;
        let said = log.lines().rfind(|line| line.contains("make the first at /join"));
        let secret = said.and_then(|line| line.rsplit(' ').next());
        Ok(secret.context("the log names no secret of the first account")?.to_owned())
    }

    /// Management address and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address of the page, reachable from the host.
    pub fn page(&self) -> String {
        format!("https://{}/", self.address)
    }

    /// Where it logs.
    pub fn log(&self) -> &Path {
        self.daemon.log()
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        self.daemon.last_words()
    }

    /// Ends it in order, and leaves what can be asked of its files.
    pub fn end(&mut self) {
        self.daemon.end(Duration::from_secs(10));
        self.balance();
    }

    /// Each record that was offered to the log is durable, or counted as missing by one that is: held against what it counted, of every gateway
    /// that ended in order. What does not add up is told at once, and by [`unbalanced`] at the end.
    fn balance(&self) {
        let tally = self.config.with_file_name("audit.tally");
        // One that was killed, or whose disk is gone, did not close its log.
        if let Some(balance) = Balance::of(&tally).filter(|balance| balance.closed) {
            BALANCES.fetch_add(1, Ordering::Relaxed);
            if !balance.holds() {
                UNBALANCED.fetch_add(1, Ordering::Relaxed);
                ui::line(format_args!(
                    "  {} records offered = durable + lost: {balance:?}",
                    ui::red("FAILED")
                ));
            }
        }
    }

    /// `kill -9` of one of its processes, by the name that the kernel has of it: where nobody can ask the gateway.
    pub fn kill_named(&self, name: &str) -> Result<()> {
        process::kill_one(self.pid_named(name)?, &self.lab)
    }

    /// The process that the kernel knows by this name.
    pub fn pid_named(&self, name: &str) -> Result<u32> {
        let found = process::marked(&self.lab).into_iter().find(|process| process.ends_with(name));
        let pid = found.and_then(|process| process.split(' ').next()?.parse().ok());
        pid.with_context(|| format!("there is no process `{name}`"))
    }

    /// Waits until its page answers anything.
    pub fn await_answer(&self, limit: Duration, stop: &Stop) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            match api::get(&self.address, "/healthz") {
                Ok(_) => return Ok(()),
                Err(why) if format!("{why:#}").contains("http status") => return Ok(()),
                Err(why) if Instant::now() > end => return Err(why.context("its page does not answer")),
                Err(_) => stop.pause(Duration::from_millis(30))?,
            }
        }
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        self.end();
    }

    /// Ends it in order and gives the records of its audit log, a line of JSON each.
    pub fn stop_for_records(mut self) -> Result<String> {
        self.end();
        self.command(&["audit", "export"])
    }

    /// `kill -9` of one of its processes, by the name that the API gives it.
    pub fn kill_process(&self, name: &str) -> Result<()> {
        process::kill_one(self.pid_of(name)?, &self.lab)
    }

    /// Sends a signal to one of its processes.
    pub fn signal_process(&self, name: &str, number: Signal) -> Result<()> {
        process::signal_one(self.pid_of(name)?, &self.lab, number)
    }

    /// Sends a signal to a process that was one of its own when it was asked for.
    pub fn signal_pid(&self, pid: u32, number: Signal) -> Result<()> {
        process::signal_one(pid, &self.lab, number)
    }

    /// The process of this name, as the API gives it.
    pub fn pid_of(&self, name: &str) -> Result<u32> {
        let now = self.now()?;
        let pid = now.processes.iter().find(|process| process.name == name).and_then(|process| process.pid);
        pid.with_context(|| format!("the gateway names no process `{name}`"))
    }

    /// `kill -9` of all of it at once, as a power cut would. What it leaves is for the next start.
    pub fn kill_all(mut self) -> Result<()> {
        self.daemon.kill();
        let pattern = "glassgate";
        let left = || process::marked(&self.lab).into_iter().filter(|process| process.ends_with(pattern));
        for process in left() {
            if let Some(pid) = process.split(' ').next().and_then(|pid| pid.parse().ok()) {
                // It may have noticed that its guard is gone, and gone too.
                drop(process::kill_one(pid, &self.lab));
            }
        }
        match left().next() {
            None => Ok(()),
            Some(process) => bail!("a process of the gateway survived kill -9: {process}"),
        }
    }
}

/// The secret in the answer to a change of accounts: its last line.
fn handed(said: &str) -> Result<&str> {
    said.lines().rfind(|line| line.len() == 43).context("no secret was handed out")
}

/// The configuration of the lab's gateway. What is left out has its default.
fn configuration(driver: Driver, setup: &Setup, address: &str) -> String {
    let Setup { cpus, idle_sleep_us, propagate_link, charter_keys, dataplane, more, .. } = setup;
    let huge_pages = matches!(huge_pages::state(), State::Enough { .. });
    let signatures = workspace::root().join("policy/signatures");
    format!(
        "# Written by xtask for one run.
[ports]
lan = \"{driver}:port-a\"
uplink = \"{driver}:port-b\"
propagate_link = {propagate_link}

[dataplane]
lcores = {cpus:?}
flows = 65536
memory_mib = 256
huge_pages = {huge_pages}
idle_sleep_us = {idle_sleep_us}
{dataplane}
[signatures]
path = {signatures:?}

[rules]
path = \"{RULES}\"

[audit]
dir = \"audit\"

[store]
dir = \"store\"

[charter]
dir = \"charter\"
keys = {charter_keys:?}

[page]
listen = \"{address}\"
dir = \"page\"

[control]
socket = \"control.sock\"
{more}",
        driver = driver.word(),
    )
}
