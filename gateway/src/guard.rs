//! The guard: starts the other two processes, watches them, replaces them.
//!
//! It sees no frame, holds no key, writes no disk and parses nothing but the configuration and small messages, so that
//! there is little it could die of. One thread waits for one of: a signal, the end of a process, a message, a time.
//!
//! * A dead **control** process never stops forwarding: the fast path keeps its matrix until that decays. The guard
//!   keeps the last policy and gives it to whoever starts.
//! * A dead or hung **data plane** is replaced at once; one that hangs is killed first and its successor waits until it
//!   is known to be gone. Until the successor forwards, a [fallback] does.
//! * One that ends three times within a minute is not started again while a fallback forwards, before somebody says so.
//! * When the guard dies, the kernel kills the others ([`crate::child`]): nothing is left behind that forwards
//!   unwatched.
//!
//! What the guard knows (processes, ports, outages) it tells the control process whenever it changes.

mod backoff;
mod fallback;
mod links;
mod netlink;
mod process;
mod uninspected;
mod watch;
mod xdp;

use crate::clock::mono_ns;
use crate::config::{Config, Device};
use crate::exit::{Ended, Exit};
use crate::handover;
use crate::ipc::Received;
use crate::lcore_memory::LcoreMemory;
use crate::messages::{
    FromControl, FromDataplane, PolicyId, PortInfo, ProcessInfo, ToControl, ToDataplane, World,
};
use anyhow::{Context as _, Result};
use fallback::Fallback;
use glassgate_dataplane::stats_page::StatsPage;
use glassgate_policy::audit::{Forwarder, UninspectedCause};
use links::Links;
use process::{Kind, Process, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tracing::{error, info, warn};
use uninspected::Intervals;
use watch::Watch;

/// How long a data plane may take to come up: an EAL takes up to a second, a link some more.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A data plane that ended so often within a minute is not started again by itself.
const ENDS_TO_HOLD: usize = 3;

/// Runs the gateway until it is told to stop.
pub(crate) fn run(config: Config, path: PathBuf) -> Result<Exit> {
    let ports = config.both_ports().map_err(|why| {
        Ended::new(
            Exit::Invalid,
            format!("{}: {why}; `glassgate config` shows every setting", path.display()),
        )
    })?;
    let ports = [ports[0].clone(), ports[1].clone()];
    if cfg!(not(feature = "dpdk")) && ports.iter().any(Device::needs_dpdk) {
        return Err(Ended::new(
            Exit::NoDpdk,
            format!(
                "this build has no DPDK ports, so it can't open `{}`: build with the feature `dpdk`, or use `socket:` \
                 devices; `replay` and `check` work without",
                ports.iter().find(|p| p.needs_dpdk()).map(ToString::to_string).unwrap_or_default()
            ),
        )
        .into());
    }
    crate::confine::guard()?;
    Guard::new(config, path, ports)?.run()
}

struct Guard {
    config: Config,
    path: PathBuf,
    ports: [Device; 2],
    memory: Vec<LcoreMemory>,
    pages: Vec<StatsPage>,
    dataplane: Process,
    control: Process,
    policy: Option<Policy>,
    watch: Watch,
    signals: Signals,
    world: World,
    /// The control process has not been told of the world as it is.
    world_news: bool,
    /// A policy that could not be sent because the data plane did not read.
    policy_news: bool,
    /// Since when nothing is forwarded.
    outage_since: Option<Instant>,
    started_ns: u64,
    ever_up: bool,
    stopping: bool,
    /// What ends the run, if not a signal.
    verdict: Option<Ended>,
    /// Passes the loss of a link on, where the configuration says so.
    links: Option<Links>,
    fallback: Fallback,
    intervals: Intervals,
}

/// The last policy that the control process handed over. The guard does not look into it.
struct Policy {
    id: PolicyId,
    table: OwnedFd,
    matrix: OwnedFd,
}

/// What happened.
enum Event {
    Signal(i32),
    Ended(Kind),
    Message(Kind),
    Link,
}

/// A message of one of the two.
enum Heard {
    Dataplane(Received<FromDataplane>),
    Control(Received<FromControl>),
}

impl Guard {
    fn new(config: Config, path: PathBuf, ports: [Device; 2]) -> Result<Self> {
        let config = config.with_inband_mac()?;
        let (ring, inband) = (config.dataplane.event_ring, config.inband.is_some());
        let lcores = 0..config.dataplane.lcores.len();
        let memory =
            lcores.map(|i| LcoreMemory::create(i, ring, inband)).collect::<Result<Vec<LcoreMemory>>>()?;
        let pages = memory.iter().map(|lcore| lcore.page.clone()).collect();
        let propagates = config.ports.propagate_link;
        let links = match ports.each_ref().map(Device::kernel_interface) {
            [Some(lan), Some(uplink)] => match Links::watch([lan, uplink], propagates) {
                Ok(links) => Some(links),
                Err(e) if propagates => {
                    let what = format!("watching the links of `{lan}` and `{uplink}`");
                    return Err(anyhow::Error::from(e).context(what));
                }
                Err(e) => {
                    warn!("nobody will be told when a port loses its link: {e}");
                    None
                }
            },
            _ => None,
        };
        let fallback = Fallback::choose(&config.guard, &ports);
        let mut intervals = Intervals::default();
        let forwarder = if fallback.stands() { fallback.forwarder() } else { Forwarder::Nobody };
        intervals.begin(UninspectedCause::Start, forwarder, mono_ns(), fallback.received());
        Ok(Self {
            dataplane: Process::new(Kind::Dataplane, config.guard.restart),
            control: Process::new(Kind::Control, config.guard.restart),
            watch: Watch::new(config.guard.hang),
            signals: Signals::new().context("taking over signals")?,
            config,
            path,
            ports,
            memory,
            pages,
            policy: None,
            world: World::default(),
            world_news: true,
            policy_news: false,
            outage_since: None,
            started_ns: mono_ns(),
            ever_up: false,
            stopping: false,
            verdict: None,
            links,
            fallback,
            intervals,
        })
    }

    fn run(mut self) -> Result<Exit> {
        info!(config = %self.path.display(), lan = %self.ports[0], uplink = %self.ports[1], "guard started");
        while !self.is_over() {
            self.due(Instant::now());
            if self.world_news {
                self.tell_world();
            }
            for event in self.wait()? {
                match event {
                    Event::Signal(SIGHUP) => self.reload(),
                    Event::Signal(signal) => self.stop(&format!("signal {signal}")),
                    Event::Message(kind) => self.hear(kind),
                    Event::Ended(kind) => self.reap(kind)?,
                    Event::Link => self.hear_links(),
                }
            }
        }
        self.links = None;
        self.release_interfaces();
        info!("guard ends");
        match self.verdict {
            Some(ended) => Err(ended.into()),
            None => Ok(Exit::Done),
        }
    }

    fn hear_links(&mut self) {
        let Some(links) = &mut self.links else { return };
        links.hear();
        let sides = ["lan", "uplink"].into_iter().zip(links.down());
        let down: Vec<String> = sides.filter(|(_, down)| *down).map(|(side, _)| side.to_owned()).collect();
        if down != self.world.links_down {
            self.world.links_down = down;
            self.world_news = true;
        }
    }

    fn is_over(&self) -> bool {
        self.stopping && self.dataplane.state() == State::Stopped && self.control.state() == State::Stopped
    }

    /// Does what is due by now.
    fn due(&mut self, now: Instant) {
        for kind in [Kind::Dataplane, Kind::Control] {
            match self.process(kind).state() {
                State::Waiting { until } if now >= until => self.start(kind, now),
                State::Starting { since } if now.saturating_duration_since(since) > START_LIMIT => {
                    self.fence(kind, "did not come up in time");
                }
                State::Stopping { until } if now >= until => self.process(kind).kill(),
                _ => {}
            }
        }
        if self.dataplane.is_up()
            && let Some(lcore) = self.watch.hung(&self.pages, now)
        {
            self.fence(Kind::Dataplane, &format!("lcore {lcore} made no progress"));
        }
        if let Some(links) = &mut self.links
            && !self.stopping
            && self.ever_up
            && links.due(now)
        {
            self.world.held_port = links.held().map(|(port, because)| [port, because].map(str::to_owned));
            self.world_news = true;
        }
        if self.policy_news && self.dataplane.is_up() {
            self.give_policy();
        }
        if self.stopping
            && self.dataplane.state() == State::Stopped
            && !matches!(self.control.state(), State::Stopping { .. } | State::Stopped)
        {
            self.stop_process(Kind::Control);
        }
    }

    /// How long nothing is due, as far as is known now.
    fn patience(&self, now: Instant) -> Duration {
        let mut wait = if self.dataplane.is_up() { self.watch.period() } else { Duration::from_millis(250) };
        for process in [&self.dataplane, &self.control] {
            if let State::Waiting { until } | State::Stopping { until } = process.state() {
                // A process that was killed at the end of its time may take some more to be gone.
                let floor = Duration::from_millis(1);
                wait = wait.min(until.saturating_duration_since(now).max(floor));
            }
        }
        // At the end nothing is propagated any more, so nothing is waited for.
        if !self.stopping
            && self.ever_up
            && let Some(deadline) = self.links.as_ref().and_then(Links::deadline)
        {
            wait = wait.min(deadline.saturating_duration_since(now));
        }
        wait
    }

    fn wait(&mut self) -> Result<Vec<Event>> {
        let mut fds = vec![PollFd::new(self.signals.pipe(), PollFlags::IN)];
        let mut meaning = vec![None];
        if let Some(links) = &self.links {
            fds.push(PollFd::new(links.fd(), PollFlags::IN));
            meaning.push(Some(Event::Link));
        }
        for process in [&self.dataplane, &self.control] {
            // Messages first: what a process says before it ends is heard before its end.
            if let Some(channel) = process.channel() {
                fds.push(PollFd::new(channel, PollFlags::IN));
                meaning.push(Some(Event::Message(process.kind)));
            }
            if let Some(pidfd) = process.pidfd() {
                fds.push(PollFd::from_borrowed_fd(pidfd, PollFlags::IN));
                meaning.push(Some(Event::Ended(process.kind)));
            }
        }
        let timeout = Timespec::try_from(self.patience(Instant::now())).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("waiting for events"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let mut events = Vec::new();
        for (ready, meaning) in ready.into_iter().zip(meaning) {
            match meaning {
                _ if !ready => {}
                Some(event) => events.push(event),
                None => events.extend(self.signals.take().map(Event::Signal)),
            }
        }
        Ok(events)
    }

    fn process(&mut self, kind: Kind) -> &mut Process {
        match kind {
            Kind::Dataplane => &mut self.dataplane,
            Kind::Control => &mut self.control,
        }
    }

    fn start(&mut self, kind: Kind, now: Instant) {
        self.world_news = true;
        let result = self.process(kind).start(now).map_err(anyhow::Error::from).and_then(|()| match kind {
            Kind::Dataplane => self.brief_dataplane(),
            Kind::Control => self.brief_control(),
        });
        if let Err(e) = result {
            error!(process = kind.as_str(), "can't be started: {e:#}");
            let process = self.process(kind);
            process.note_end(format!("could not be started: {e:#}"));
            match process.channel() {
                // It was spawned but could not be told what to do.
                Some(_) => process.fence("could not be told what to do"),
                None => process.wait(now),
            }
        }
    }

    fn brief_dataplane(&self) -> Result<()> {
        let channel = self.dataplane.channel().context("no data plane")?;
        let start = ToDataplane::Start {
            ports: self.ports.clone(),
            dataplane: self.config.dataplane.clone(),
            inband: self.config.inband.clone(),
        };
        channel.send(&start, &[])?;
        for lcore in &self.memory {
            channel.send(&ToDataplane::Lcore, &lcore.fds())?;
        }
        if let Some(policy) = &self.policy {
            let fds = [policy.table.as_fd(), policy.matrix.as_fd()];
            channel.send(&ToDataplane::Policy(policy.id.clone()), &fds)?;
        }
        channel.send(&ToDataplane::Go, &[])?;
        Ok(())
    }

    fn brief_control(&self) -> Result<()> {
        let channel = self.control.channel().context("no control process")?;
        let last = self.policy.as_ref().map(|policy| policy.id.clone());
        let config = Box::new(self.config.clone());
        channel.send(&ToControl::Start { config, last }, &[])?;
        for lcore in &self.memory {
            channel.send(&ToControl::Lcore, &lcore.fds())?;
        }
        channel.send(&ToControl::Go, &[])?;
        Ok(())
    }

    /// Takes one message of a process. What can't be understood ends the process.
    fn hear(&mut self, kind: Kind) {
        let Some(channel) = self.process(kind).channel() else { return };
        let heard = match kind {
            Kind::Dataplane => channel.receive().map(|m| m.map(Heard::Dataplane)),
            Kind::Control => channel.receive().map(|m| m.map(Heard::Control)),
        };
        let heard = heard.map(|heard| {
            heard.map(|heard| match heard {
                Heard::Dataplane(message) => self.heed_dataplane(message.message),
                Heard::Control(message) => self.heed_control(message),
            })
        });
        match heard {
            Ok(Some(Ok(()))) => {}
            // Its end is told by the pidfd; a process that closes its channel and lives on is of no use.
            Ok(None) => self.process(kind).kill(),
            Ok(Some(Err(why))) => self.fence(kind, &why),
            Err(e) => self.fence(kind, &format!("sent what is no message: {e}")),
        }
    }

    fn heed_dataplane(&mut self, message: FromDataplane) -> Result<(), String> {
        self.world_news = true;
        match message {
            FromDataplane::Ready => {
                // Not before: until now somebody else may have forwarded.
                self.fallback.make_way();
                let channel = self.dataplane.channel().ok_or("it is gone")?;
                channel
                    .send(&ToDataplane::Open, &[])
                    .map_err(|e| format!("could not be told to open its ports: {e}"))?;
            }
            FromDataplane::Up { ports, confinement } => self.dataplane_up(ports, confinement),
            FromDataplane::Refused { epoch, why } => {
                warn!(epoch, "the data plane refused a policy: {why}");
                self.world.refused = Some(why);
            }
            FromDataplane::Failed(failure) => {
                error!("the data plane can't work: {}", failure.why);
                self.dataplane.note_end(failure.why.clone());
                if !self.ever_up {
                    // Nothing has ever worked: somebody is at the keyboard and wants to know.
                    let exit = if failure.needs_dpdk { Exit::NoDpdk } else { Exit::Failed };
                    self.verdict = Some(Ended::new(exit, failure.why));
                    self.stop("the data plane can't work");
                }
            }
        }
        Ok(())
    }

    fn dataplane_up(&mut self, ports: Vec<PortInfo>, confinement: String) {
        let now = Instant::now();
        self.watch.restart(&self.pages, now);
        if !self.stopping {
            self.dataplane.enter(State::Up);
        }
        self.ever_up = true;
        self.fallback.rest();
        self.intervals.end(mono_ns(), self.fallback.received());
        self.tell_intervals();
        if let Some(since) = self.outage_since.take() {
            let ms = now.saturating_duration_since(since).as_millis() as u64;
            self.world.outage_ms += ms;
            warn!(ms, "forwarding again");
        }
        info!(confinement, "the data plane forwards");
        (self.world.ports, self.world.confinement) = (ports, confinement);
    }

    fn heed_control(&mut self, received: Received<FromControl>) -> Result<(), String> {
        match received.message {
            FromControl::Policy(id) => {
                let [table, matrix] = <[OwnedFd; 2]>::try_from(received.fds)
                    .map_err(|fds| format!("sent a policy with {} descriptors", fds.len()))?;
                // The data plane checks again; an unsealed file must not even be kept.
                if !handover::is_sealed(&table) || !handover::is_sealed(&matrix) {
                    return Err("sent a policy that is not sealed".into());
                }
                self.world.refused = None;
                self.policy = Some(Policy { id, table, matrix });
                self.give_policy();
            }
            FromControl::Up => {
                self.world_news = true;
                info!(page = %self.config.listen, "the control process is up");
                if !self.stopping {
                    self.control.enter(State::Up);
                }
                self.tell_intervals();
            }
            FromControl::Noted(noted) => self.intervals.noted(&noted),
            FromControl::Resume => self.resume(),
            FromControl::Failed(failure) => {
                self.world_news = true;
                error!("the control process can't work: {}", failure.why);
                self.control.note_end(failure.why);
            }
        }
        Ok(())
    }

    /// Hands the policy on. A data plane that does not read gets it later.
    fn give_policy(&mut self) {
        let (Some(policy), Some(channel)) = (&self.policy, self.dataplane.channel()) else { return };
        let fds = [policy.table.as_fd(), policy.matrix.as_fd()];
        self.policy_news = channel.send(&ToDataplane::Policy(policy.id.clone()), &fds).is_err();
        self.world.epoch = policy.id.epoch;
    }

    fn fence(&mut self, kind: Kind, why: &str) {
        warn!(process = kind.as_str(), "killed: {why}");
        self.world_news = true;
        self.process(kind).fence(why);
    }

    fn reap(&mut self, kind: Kind) -> Result<()> {
        // What it said last is still in the channel.
        self.hear_rest(kind);
        let now = Instant::now();
        let hung = self.process(kind).state() == State::Fencing;
        let Some(status) = self.process(kind).reap(now).context("asking how a process ended")? else {
            return Ok(());
        };
        self.world_news = true;
        let process = self.process(kind);
        let end = process.last_end().unwrap_or_default().to_owned();
        let expected = process.state() == State::Stopped;
        if expected {
            info!(process = kind.as_str(), %status, "stopped");
        } else {
            warn!(process = kind.as_str(), %status, end, "gone, will be started again");
        }
        if kind == Kind::Dataplane {
            self.world.ports.clear();
            if !expected && self.ever_up && self.outage_since.is_none() {
                self.world.outages += 1;
                self.outage_since = Some(self.watch.last_progress().unwrap_or(now));
            }
            self.fall_back(if hung { UninspectedCause::Hung } else { UninspectedCause::Ended }, now);
        }
        if self.stopping && !expected {
            self.process(kind).enter(State::Stopped);
        }
        Ok(())
    }

    /// The data plane is gone: whoever can forwards in its place.
    fn fall_back(&mut self, cause: UninspectedCause, now: Instant) {
        let ends = self.dataplane.ends_lately(now);
        let forwarder = self.fallback.engage(ends >= ENDS_TO_HOLD || self.stopping);
        if self.stopping {
            return;
        }
        // Only where somebody forwards in its place: else a data plane that ends again and again is better than none.
        let hold = ends >= ENDS_TO_HOLD && forwarder != Forwarder::Nobody;
        if forwarder != Forwarder::Nobody
            && let Some(since) = self.outage_since.take()
        {
            let ms = now.saturating_duration_since(since).as_millis() as u64;
            self.world.outage_ms += ms;
            warn!(ms, forwarder = forwarder.as_str(), "frames pass uninspected");
        }
        let start_ns = mono_ns().saturating_sub(
            self.watch.last_progress().map_or(0, |at| now.saturating_duration_since(at).as_nanos() as u64),
        );
        let received = self.fallback.received();
        let cause = if hold { UninspectedCause::Held } else { cause };
        self.intervals.begin(cause, forwarder, start_ns, received);
        if hold {
            error!(
                ends,
                "the data plane ended too often within a minute and is not started again: frames pass uninspected until \
                 `glassgate bypass off`, SIGHUP or the next start"
            );
            self.dataplane.enter(State::Held);
            self.world.held = true;
        }
        self.tell_intervals();
    }

    /// Starts a held data plane.
    fn resume(&mut self) {
        if self.dataplane.state() == State::Held {
            info!("the data plane is started again");
            self.world.held = false;
            self.world_news = true;
            self.dataplane.forgive();
        }
    }

    /// Tells the control process what it has not put on record yet.
    fn tell_intervals(&mut self) {
        self.world_news = true;
        let Some(channel) = self.control.channel().filter(|_| self.control.is_up()) else { return };
        for interval in self.intervals.untold() {
            // It is told again when it is up again.
            if channel.send(&ToControl::Uninspected(interval.clone()), &[]).is_err() {
                return;
            }
        }
    }

    fn hear_rest(&mut self, kind: Kind) {
        for _ in 0..16 {
            let Some(channel) = self.process(kind).channel() else { return };
            let mut fds = [PollFd::new(channel, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let has_more = poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0)
                && fds.iter().all(|fd| fd.revents().contains(PollFlags::IN));
            if !has_more {
                return;
            }
            self.hear(kind);
        }
    }

    fn reload(&mut self) {
        info!("reading rules and signatures again");
        self.resume();
        if let Some(channel) = self.control.channel()
            && let Err(e) = channel.send(&ToControl::Reload, &[])
        {
            warn!("the control process could not be told to reload: {e}");
        }
    }

    /// Stops in order: the data plane, whose last events the control process then takes from the rings.
    fn stop(&mut self, why: &str) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        info!("stopping: {why}");
        self.stop_process(Kind::Dataplane);
    }

    fn stop_process(&mut self, kind: Kind) {
        self.world_news = true;
        let until = Instant::now() + self.config.guard.stop;
        let process = self.process(kind);
        let told = match (kind, process.channel()) {
            (_, None) => return process.enter(State::Stopped),
            (Kind::Dataplane, Some(channel)) => channel.send(&ToDataplane::Stop, &[]),
            (Kind::Control, Some(channel)) => channel.send(&ToControl::Stop, &[]),
        };
        if told.is_err() {
            process.kill();
        }
        process.enter(State::Stopping { until });
    }

    /// Gives interfaces back to the kernel. The fallback stays as it is: what was stopped forwards.
    fn release_interfaces(&self) {
        for interface in self.ports.iter().filter_map(Device::xdp_interface) {
            if let Err(e) = xdp::detach(interface) {
                warn!(
                    interface,
                    "its XDP program could not be taken off (`ip link set {interface} xdp off`): {e}"
                );
            }
        }
    }

    fn tell_world(&mut self) {
        let guard = ProcessInfo {
            name: "guard".into(),
            pid: Some(std::process::id()),
            state: if self.stopping { "stopping" } else { "up" }.into(),
            since_ns: self.started_ns,
            restarts: 0,
            last_end: None,
        };
        self.world.processes = vec![guard, self.dataplane.info(), self.control.info()];
        (self.world.uninspected, self.world.uninspected_ms, self.world.is_uninspected) =
            self.intervals.sum(mono_ns());
        self.world.fallback = self.fallback.forwarder().as_str().to_owned();
        self.world.fallback_missing = self.fallback.missing().map(str::to_owned);
        let told = match self.control.channel() {
            Some(channel) => channel.send(&ToControl::World(Box::new(self.world.clone())), &[]).is_ok(),
            // It is told when it starts.
            None => true,
        };
        self.world_news = !told;
    }
}

/// The signals that the guard takes, as something to wait for.
struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let signals = [SIGTERM, SIGINT, SIGHUP];
        Ok(Self { delivery: SignalDelivery::with_pipe(read, write, SignalOnly, signals)? })
    }

    fn pipe(&self) -> &UnixStream {
        self.delivery.get_read()
    }

    fn take(&mut self) -> impl Iterator<Item = i32> + '_ {
        self.delivery.pending()
    }
}
