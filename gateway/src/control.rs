//! The control process: compiles rules into verdicts, reads events, keeps the log, serves the page.
//!
//! It maps event rings and stats pages, never frame memory; the frames that it sees are those for the gateway itself, where that has an
//! address on the ports of the bridge ([`inband`]).
//!
//! ```text
//!  main        tokio: page, control socket ◄── watch ── Snapshot
//!                          │ Command::Reload                 ▲
//!  guard       World, Reload, Stop ──► commands ──► slow path: drain rings, renew verdicts, keep the log
//! ```
//!
//! Who is logged in comes by RADIUS accounting, from a socket that the slow path looks at between other things.
//!
//! Questions about the past go to a thread of its own, which keeps the [rollup store](past).
//!
//! The slow path is one thread that never waits for the network; the network sees only what it publishes.

mod access;
mod alerts;
mod bypass;
mod charter;
#[cfg(feature = "faults-on-purpose")]
mod fault;
mod history;
mod hours;
mod identity;
pub(crate) mod inband;
mod log;
mod machine;
pub(crate) mod past;
mod policy;
mod radius;
mod receipts;
mod report;
pub(crate) mod reports;
mod sealed;
mod slow_path;
pub(crate) mod snapshot;
pub(crate) mod socket;
pub(crate) mod told;
mod witness;

use crate::access::{Access, AccountAnswer, AccountAsk, Act, Role};
use crate::child;
use crate::config::Config;
use crate::confine;
use crate::exit::Exit;
use crate::ipc::Channel;
use crate::lcore_memory::{FrameRings, LcoreMemory};
use crate::messages::{Failure, FromControl, PolicyId, ToControl, Uninspected, World};
use crate::page;
use crate::page::hosts::Hosts;
use crate::page::live::Live;
use crate::page::peer::Kernel;
use crate::page::push::Push;
use crate::page::scrape::Scrape;
use crate::page::tls;
pub(crate) use alerts::targets::{Targets, Tried};
use anyhow::{Context as _, Result, anyhow, bail};
pub(crate) use charter::{install_charter, read_charter};
use glassgate_dataplane::event_ring::EventRing;
use glassgate_dataplane::stats_page::StatsPage;
use glassgate_policy::access::CameFrom;
use glassgate_policy::audit::{BootId, ConfigChange};
use glassgate_policy::identity::Mac;
use past::Past;
pub(crate) use report::title_of;
pub(crate) use reports::{Reports, Written};
pub(crate) use sealed::{CaseAnswer, CaseAsk};
use slow_path::{Beginning, SlowPath};
use snapshot::Snapshot;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use told::Tell;
use tracing::{error, info, warn};

/// What the slow path is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// The guard says how the processes are.
    World(Box<World>),
    /// No fast path looks at frames, or one does again: put it on record and tell the guard.
    Uninspected(Uninspected),
    /// Read rules and signatures again, and answer what came of it.
    Reload(Option<oneshot::Sender<Result<String, String>>>),
    /// Put a charter in the place of the one installed, and answer what came of it.
    Install { charter: String, signatures: String, answer: oneshot::Sender<Result<String, String>> },
    /// Put a version of a subscribed list that was held in use, and answer what came of it.
    AcceptList { asked: AcceptList, answer: oneshot::Sender<Result<String, String>> },
    /// Put on record that the configuration on the disk is replaced, and answer whether that is durable.
    ConfigChanged {
        change: ConfigChange,
        sha256: String,
        files: u64,
        uid: Option<u32>,
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// Turn all enforcement and observation off, or on again, and answer what came of it.
    Bypass { on: bool, keep: bool, uid: Option<u32>, answer: oneshot::Sender<Result<String, String>> },
    /// Answer something about sealed records and cases.
    Case { ask: CaseAsk, uid: Option<u32>, answer: oneshot::Sender<Result<CaseAnswer, String>> },
    /// Put on record who comes to the page, and answer whether that is durable. The ticket tells how many are under way.
    Access { act: Act, answer: Option<oneshot::Sender<Result<(), String>>>, ticket: Arc<()> },
    /// Take what somebody pushed of an address, and answer whether there was room.
    Push { change: PushChange, answer: oneshot::Sender<bool> },
    /// Tell a view of the page what is in force.
    Tell(Tell),
    /// Empty the rings, close the log, end.
    Stop,
}

/// Somebody has looked at a list that is held, and takes it.
#[derive(Clone, Debug)]
pub(crate) struct AcceptList {
    pub(crate) list: String,
    /// Of the version that they saw.
    pub(crate) digest: String,
    /// Who, where they came by the page.
    pub(crate) account: Option<(String, Role)>,
    pub(crate) side: CameFrom,
    pub(crate) uid: Option<u32>,
}

/// What is pushed of an address.
#[derive(Debug)]
pub(crate) enum PushChange {
    /// An account, a device, or both have it for so many seconds.
    Set { ip: IpAddr, account: Option<String>, mac: Option<Mac>, seconds: u64 },
    /// What was pushed does not hold any more.
    Withdraw { ip: IpAddr },
}

/// What page and socket work with.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(crate) commands: mpsc::Sender<Command>,
    /// Who may push who has an address, if anybody may.
    pub(crate) push: Option<Arc<Push>>,
    /// Who keeps the rollup store.
    pub(crate) past: Past,
    /// Who is told of alerts.
    pub(crate) alerts: Arc<Targets>,
    /// Reports that were written.
    pub(crate) reports: Arc<Reports>,
    /// Who listens to the view *Now*.
    pub(crate) live: Arc<Live>,
    /// Who may come.
    pub(crate) access: Arc<Access>,
    pub(crate) scrape: Arc<Scrape>,
    /// What the gateway is called.
    pub(crate) hosts: Arc<Hosts>,
    /// Where weaknesses are told.
    pub(crate) contact: Option<Arc<str>>,
    /// How TLS is spoken; without it nothing is secret: for tests.
    pub(crate) tls: Option<TlsAcceptor>,
}

/// Runs the process until the guard says stop.
pub(crate) fn run(guard: u32) -> Result<Exit> {
    let channel = child::adopt(c"gg-control", guard)?;
    match serve(&channel) {
        Ok(()) => Ok(Exit::Done),
        Err(e) => {
            error!("{e:#}");
            let failure = Failure { why: format!("{e:#}"), needs_dpdk: false };
            // If the guard is gone there is nobody to tell.
            _ = channel.send(&FromControl::Failed(failure), &[]);
            Ok(Exit::Failed)
        }
    }
}

/// What the guard said before `Go`.
struct Orders {
    config: Config,
    last: Option<PolicyId>,
    lcores: Vec<(EventRing, StatsPage)>,
    /// Frames for the gateway itself, from and to each lcore.
    frames: Vec<FrameRings>,
}

fn serve(channel: &Channel) -> Result<()> {
    let orders = take_orders(channel)?;
    let (commands, to_do) = mpsc::channel();
    let (publish, snapshot) = watch::channel(Arc::new(Snapshot::default()));
    let config = orders.config;
    // What is read from elsewhere is read before this process can't.
    let boot = boot_id()?;
    let push = config.push_token.as_deref().map(Push::open).transpose()?.map(Arc::new);
    let radius = config.radius.as_ref().map(radius::Radius::open).transpose()?;
    let inband = config.inband.as_ref().map(|own| inband::open(own, &orders.frames)).transpose()?;
    let scrape = Scrape::open(config.page.metrics_token.as_deref(), config.page.metrics_open)?;
    let hosts = Hosts::new(config.page_addresses(), &config.page.names);
    let identity = tls::identity(&config.page, &hosts.in_certificate()).context("the page")?;
    let (access, first) = Access::open(&config.page.dir, commands.clone())?;
    let alerts = Arc::new(Targets::open(&config.alerts.targets)?);
    let files = confine::control(&config)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Both are taken before anything is promised.
    let page = runtime
        .block_on(tokio::net::TcpListener::bind(config.listen))
        .with_context(|| format!("`page.listen`: {} can't be listened at", config.listen))?;
    let socket = {
        let _guard = runtime.enter();
        socket::bind(&config.socket)
            .with_context(|| format!("`control.socket`: {} can't be made", config.socket.display()))?
    };
    let confinement = format!("{files}, {}", confine::control_listens()?);
    let past = Past::start(&config);
    let shared = Shared {
        snapshot,
        commands: commands.clone(),
        push: push.clone(),
        past: past.clone(),
        alerts: alerts.clone(),
        reports: Arc::new(Reports::new(config.reports.clone())),
        live: Arc::default(),
        access: Arc::new(access),
        scrape: Arc::new(scrape),
        hosts: Arc::new(hosts),
        contact: config.page.contact.as_deref().map(Arc::from),
        tls: Some(identity.acceptor),
    };
    let slow_path = SlowPath::new(Beginning {
        machine: machine::ThisMachine::shared(),
        config: config.clone(),
        last: orders.last,
        lcores: orders.lcores,
        guard: channel.try_clone()?,
        publish,
        boot,
        radius,
        inband: inband.as_ref().map(inband::Listener::counts),
        push,
        past,
        alerts,
        confinement,
        fingerprint: identity.fingerprint.clone(),
        page_trouble: identity.trouble.clone(),
    });

    let listener = channel.try_clone()?;
    thread::Builder::new().name("guard".into()).spawn(move || listen(&listener, &commands))?;
    let (done, ended) = oneshot::channel();
    let worker = thread::Builder::new().name("slow-path".into()).spawn(move || {
        slow_path.run(&to_do);
        // The main thread waits for this.
        _ = done.send(());
    })?;
    channel.send(&FromControl::Up, &[])?;
    info!(page = %page.local_addr()?, certificate = %identity.fingerprint, "serving");
    if let Some(why) = &identity.trouble {
        warn!("{}", why.en);
    }
    if let Some(why) = shared.access.trouble() {
        warn!("nobody can log in: the accounts can't be read: {why}");
    }
    if let Some(secret) = first {
        warn!(
            "there is no account yet: make the first at /join within 30 minutes, with this secret: {secret}"
        );
    }
    runtime.block_on(async {
        tokio::select! {
            _ = ended => {}
            result = page::serve(Kernel(page), shared.clone()) => result.context("serving the page")?,
            result = serve_inband(inband, shared.clone()) => result.context("serving the page in-band")?,
            () = reports::run(shared.clone()) => {}
            () = socket::serve(socket, shared) => {}
        }
        anyhow::Ok(())
    })?;
    worker.join().map_err(|_| anyhow!("the slow path panicked"))
}

/// Serves the page at the gateway's own address on the ports of the bridge, if it has one.
async fn serve_inband(listener: Option<inband::Listener>, shared: Shared) -> std::io::Result<()> {
    let Some(listener) = listener else { return std::future::pending().await };
    let stack = listener.stack();
    tokio::select! {
        result = page::serve(listener, shared) => result,
        () = stack.drive() => Ok(()),
    }
}

/// Which boot this is: monotonic times mean something within one only.
fn boot_id() -> Result<BootId> {
    let text =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("asking for the boot id")?;
    BootId::parse(&text).context("the boot id is none")
}

fn take_orders(channel: &Channel) -> Result<Orders> {
    let (mut start, mut lcores, mut frames) = (None, Vec::new(), Vec::new());
    loop {
        let received = channel.receive::<ToControl>()?.context("the guard is gone")?;
        match received.message {
            ToControl::Start { config, last } => start = Some((config, last)),
            ToControl::Lcore => {
                let memory = LcoreMemory::attach(received.fds)?;
                lcores.push((memory.events, memory.page));
                frames.extend(memory.frames);
            }
            ToControl::Go => break,
            // The world and reloads are told again after the start.
            ToControl::World(_) | ToControl::Reload | ToControl::Uninspected(_) => {}
            ToControl::Stop => bail!("told to stop before the start"),
        }
    }
    let (config, last) = start.context("the guard did not say what to be")?;
    Ok(Orders { config: *config, last, lcores, frames })
}

/// Hears the guard.
fn listen(channel: &Channel, commands: &mpsc::Sender<Command>) {
    loop {
        let command = match channel.receive::<ToControl>() {
            Ok(Some(received)) => match received.message {
                ToControl::World(world) => Command::World(world),
                ToControl::Uninspected(about) => Command::Uninspected(about),
                ToControl::Reload => Command::Reload(None),
                ToControl::Stop => Command::Stop,
                other => {
                    error!("the guard said {other:?} at the wrong time");
                    continue;
                }
            },
            // Without a guard the kernel ends this process.
            Ok(None) => return,
            Err(e) => {
                error!("hearing the guard: {e}");
                return;
            }
        };
        if commands.send(command).is_err() {
            return;
        }
    }
}
