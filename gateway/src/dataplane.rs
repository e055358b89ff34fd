//! The data plane process: forwards frames, and nothing else.
//!
//! It gets everything it needs from the guard: what its ports are, memory for events and counters, verdicts as sealed
//! files. After start it opens nothing, writes nothing and talks to nobody but the guard.
//!
//! ```text
//!  main      take orders ─► start DPDK ─► Ready … Open ─► open ports ─► start lcores ─► confine ─► Up ─► wait for the lcores
//!  guard     Policy: check seals, validate, publish ─► Stop: set the flag
//!  lcore n   turn, tick, turn, tick, … take a new policy, publish counters
//! ```

mod crew;
#[cfg(feature = "dpdk")]
mod dpdk_ports;
mod lcore_loop;
mod policy_slot;

use crate::child;
use crate::config::{Dataplane, Device};
use crate::exit::Exit;
use crate::handover;
use crate::ipc::Channel;
use crate::lcore_memory::LcoreMemory;
use crate::messages::{Failure, FromDataplane, PolicyId, PortInfo, ToDataplane};
use anyhow::{Context as _, Result, bail};
use glassgate_dataplane::classifier::Policy;
use glassgate_dataplane::inband::own::Own;
use glassgate_dataplane::port::socket::SocketPort;
use glassgate_policy::compile::{self, compile};
use glassgate_policy::table::SignatureTable;
use glassgate_policy::{Verdict, VerdictMatrix};
use lcore_loop::Verdicts;
use policy_slot::PolicySlot;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use tracing::error;

/// The largest matrix: all groups and columns, each with a limit, and its header.
const MAX_MATRIX: u64 = 144 << 20;

/// Runs the process until the guard says stop.
pub(crate) fn run(guard: u32) -> Result<Exit> {
    let channel = child::adopt(c"gg-dataplane", guard)?;
    tell_panics();
    let result = forward(&channel);
    if let Err(e) = &result {
        error!("{e:#}");
        let needs_dpdk = e.downcast_ref::<NeedsDpdk>().is_some();
        let failed = FromDataplane::Failed(Failure { why: format!("{e:#}"), needs_dpdk });
        // If the guard is gone there is nobody to tell.
        _ = channel.send(&failed, &[]);
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

/// Says where a panic was and nothing else: its message may hold bytes of a frame. All of the first ones, then ever fewer: whoever
/// can cause one can cause many, and a line takes the time of a thousand frames.
fn tell_panics() {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    std::panic::set_hook(Box::new(|info| {
        let number = PANICS.fetch_add(1, Ordering::Relaxed) + 1;
        if number <= 8 || number.is_power_of_two() {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            error!(number, "a panic at {place}");
        }
    }));
}

/// A port needs DPDK and this build has none.
#[derive(Debug)]
struct NeedsDpdk(Device);

impl std::fmt::Display for NeedsDpdk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` needs DPDK and this build has none", self.0)
    }
}

impl std::error::Error for NeedsDpdk {}

/// What the guard said before `Go`.
struct Orders {
    ports: [Device; 2],
    settings: Dataplane,
    lcores: Vec<LcoreMemory>,
    /// The gateway's own addresses on the ports.
    own: Option<Own>,
    policy: Option<(PolicyId, Vec<OwnedFd>)>,
}

/// What all threads share.
struct Shared {
    stop: AtomicBool,
    policy: PolicySlot<Verdicts>,
    /// The table in use and the file it came from: verdicts are renewed many times with the same table.
    table: Mutex<Option<(OwnedFd, Arc<SignatureTable>)>>,
}

fn forward(channel: &Channel) -> Result<()> {
    let orders = take_orders(channel)?;
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        policy: PolicySlot::new(no_verdicts()?),
        table: Mutex::new(None),
    });
    if let Some((id, fds)) = orders.policy {
        take_policy(channel, &shared, &id, fds)?;
    }
    // Started before the ports are opened: what DPDK does to the affinity of the main thread is not inherited.
    let (told, may_open) = mpsc::channel();
    let listener = {
        let (channel, shared) = (channel.try_clone()?, shared.clone());
        thread::Builder::new().name("guard".into()).spawn(move || listen(&channel, &shared, told))?
    };
    // What was told to stop by then has nothing to close.
    let ports_are_free = || -> Result<bool> {
        channel.send(&FromDataplane::Ready, &[])?;
        Ok(may_open.recv().is_ok())
    };
    match &orders.ports {
        [Device::Socket(lan), Device::Socket(uplink)] => {
            if !ports_are_free()? {
                return Ok(());
            }
            let ports = open_sockets([lan, uplink])?;
            crew::bridge(channel, &shared, ports, &orders.settings, (orders.lcores, orders.own), pin)?;
        }
        #[cfg(feature = "dpdk")]
        [Device::Dpdk(lan), Device::Dpdk(uplink)] => {
            let made = dpdk_ports::prepare([lan, uplink], &orders.settings)?;
            if !ports_are_free()? {
                return Ok(());
            }
            let (ports, eal) = dpdk_ports::open(made, [lan, uplink], &orders.settings)?;
            let enter = move |cpu| dpdk_ports::enter(&eal, cpu);
            crew::bridge(channel, &shared, ports, &orders.settings, (orders.lcores, orders.own), enter)?;
        }
        [a, b] => {
            let device = if a.needs_dpdk() { a } else { b };
            return Err(NeedsDpdk(device.clone()).into());
        }
    }
    // The listener ends with the process: it waits for a guard that has nothing more to say.
    drop(listener);
    Ok(())
}

/// Ports that are open.
struct Ports<P> {
    /// Queues of LAN and uplink: one for each lcore, or fewer.
    sides: [Vec<P>; 2],
    infos: Vec<PortInfo>,
    /// They can't be closed by a confined process; they go with it.
    leave_open: bool,
}

fn open_sockets(paths: [&Path; 2]) -> Result<Ports<SocketPort>> {
    let [lan, uplink] = paths;
    let open =
        |path: &Path| SocketPort::bind(path).with_context(|| format!("opening socket:{}", path.display()));
    let sides = [vec![open(lan)?], vec![open(uplink)?]];
    let info = |name: &str, path: &Path| PortInfo {
        name: name.to_owned(),
        device: format!("socket:{}", path.display()),
        driver: "unix socket".to_owned(),
        mac: None,
    };
    Ok(Ports { sides, infos: vec![info("lan", lan), info("uplink", uplink)], leave_open: false })
}

fn take_orders(channel: &Channel) -> Result<Orders> {
    let (mut start, mut lcores, mut policy) = (None, Vec::new(), None);
    loop {
        let received = channel.receive::<ToDataplane>()?.context("the guard is gone")?;
        match received.message {
            ToDataplane::Start { ports, dataplane, inband } => {
                let own = inband.map(|inband| inband.own()).transpose()?;
                start = Some((ports, dataplane, own));
            }
            ToDataplane::Lcore => lcores.push(LcoreMemory::attach(received.fds)?),
            ToDataplane::Policy(id) => policy = Some((id, received.fds)),
            ToDataplane::Go => break,
            ToDataplane::Stop => bail!("told to stop before the start"),
            ToDataplane::Open => bail!("told to open ports before the start"),
        }
    }
    let (ports, settings, own) = start.context("the guard did not say what to be")?;
    Ok(Orders { ports, settings, lcores, own, policy })
}

/// Hears the guard while the lcores run. `told` is for the ports, and gone when they are not going to be opened.
fn listen(channel: &Channel, shared: &Shared, told: mpsc::Sender<()>) {
    let mut told = Some(told);
    loop {
        match channel.receive::<ToDataplane>() {
            Ok(Some(received)) => match received.message {
                ToDataplane::Policy(id) => {
                    if let Err(e) = take_policy(channel, shared, &id, received.fds) {
                        error!("answering the guard: {e:#}");
                    }
                }
                ToDataplane::Open => _ = told.as_ref().map(|told| told.send(())),
                ToDataplane::Stop => {
                    shared.stop.store(true, Ordering::Relaxed);
                    told = None;
                }
                other => error!("the guard said {other:?} at the wrong time"),
            },
            // Without a guard the kernel ends this process; until then it goes on forwarding.
            Ok(None) => return,
            Err(e) => {
                error!("hearing the guard: {e}");
                return;
            }
        }
    }
}

/// Validates a policy and publishes it; a policy that is refused is named to the guard, and the one before stays.
fn take_policy(channel: &Channel, shared: &Shared, id: &PolicyId, fds: Vec<OwnedFd>) -> Result<()> {
    match validate(shared, fds) {
        Ok(verdicts) => shared.policy.publish(verdicts),
        Err(e) => channel.send(&FromDataplane::Refused { epoch: id.epoch, why: format!("{e:#}") }, &[])?,
    }
    Ok(())
}

fn validate(shared: &Shared, fds: Vec<OwnedFd>) -> Result<Verdicts> {
    let [table, matrix] = <[OwnedFd; 2]>::try_from(fds)
        .map_err(|fds| anyhow::anyhow!("a policy with {} descriptors", fds.len()))?;
    let table = known_or_new(shared, table).context("the signature table")?;
    let matrix = handover::open(matrix, MAX_MATRIX).context("the verdict matrix")?;
    let matrix = VerdictMatrix::from_bytes(&matrix).context("the verdict matrix")?;
    let hash = matrix.hash();
    Ok(Verdicts { policy: Policy { table, matrix: Arc::new(matrix) }, hash })
}

/// The table of a file. A file that is in use already was validated and, being sealed, has not changed since.
fn known_or_new(shared: &Shared, file: OwnedFd) -> Result<Arc<SignatureTable>> {
    let mut known = shared.table.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((in_use, table)) = known.as_ref()
        && handover::identity(in_use)? == handover::identity(&file)?
    {
        return Ok(table.clone());
    }
    let kept = file.try_clone()?;
    let table = Arc::new(SignatureTable::from_bytes(&handover::open(file, handover::MAX_TABLE)?)?);
    *known = Some((kept, table.clone()));
    Ok(table)
}

/// Before the first policy: know nothing, forward everything, observe nothing.
fn no_verdicts() -> Result<Verdicts> {
    let compiled =
        compile(&[], &compile::Options::default()).map_err(|e| anyhow::anyhow!("an empty table: {e}"))?;
    let table = SignatureTable::from_bytes(&compiled.bytes).context("an empty table")?;
    let matrix = VerdictMatrix::uniform(0, Verdict::FAIL_OPEN);
    Ok(Verdicts { policy: Policy { table: Arc::new(table), matrix: Arc::new(matrix) }, hash: [0; 32] })
}

/// A secret for the hashes of one lcore's tables, so that nobody can aim at one of their buckets.
fn secret() -> Result<[u64; 4]> {
    let mut bytes = [0u8; 32];
    let (mut at, flags) = (0, rustix::rand::GetRandomFlags::empty());
    while at < bytes.len() {
        at += rustix::rand::getrandom(&mut bytes[at..], flags).context("asking for random bytes")?;
    }
    let (words, _) = bytes.as_chunks::<8>();
    Ok(std::array::from_fn(|i| words.get(i).map_or(0, |w| u64::from_ne_bytes(*w))))
}

/// Ties the calling thread to a CPU.
fn pin(cpu: u32) -> Result<()> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu as usize);
    rustix::thread::sched_setaffinity(None, &cpus)
        .with_context(|| format!("CPU {cpu} of `dataplane.lcores` can't be used (`lscpu -e` lists the CPUs)"))
}

#[cfg(test)]
mod reload_tests;
#[cfg(test)]
mod tests;
