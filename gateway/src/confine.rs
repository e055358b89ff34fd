//! What the processes give up once they have what they need.
//!
//! | process | gives up | how |
//! |---|---|---|
//! | guard | tracing, mounting, namespaces, modules, another kernel, swap, core dumps, new privileges; for all that it starts | seccomp list of what is refused, `PR_SET_DUMPABLE`, `RLIMIT_CORE` |
//! | data plane | opening anything, new sockets, new processes, new privileges, capabilities, core dumps | seccomp allow-list on all threads, `capset`, `PR_SET_DUMPABLE` |
//! | control | files but its own, TCP but its page and the ports of a witness and of who is told of alerts, new processes, sockets that are neither Internet nor Unix, memory that becomes code, new privileges, capabilities, core dumps | Landlock, seccomp allow-list on all threads, `capset`, `PR_SET_DUMPABLE` |
//!
//! Landlock does not know UDP: the socket of the RADIUS listener is taken before, like its secrets. No other is opened but to send alerts by syslog.
//!
//! A system call that is not on a list fails with `EPERM`, it does not kill: a driver that meets one
//! after start must not cost the cable, nor a library of the control process what is on record. Threads that DPDK made itself keep their capabilities (only a thread can give
//! up its own), but are under the same list, which leaves nothing to use them on.

mod syscalls;

use crate::config::Config;
use anyhow::{Context as _, Result};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::path::Path;

/// The newest rules of Landlock that are asked for; an older kernel enforces what it knows.
const LANDLOCK: ABI = ABI::V5;

/// Keeps memory out of core dumps: it holds frames, or what was made of them. For each process, before it has any. The limit is for what it
/// starts as well: being dumpable comes back with each program, and a limit of nothing can't be raised again without a privilege.
pub(crate) fn no_core_dumps() -> Result<()> {
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, nothing).context("refusing core files")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("refusing core dumps")
}

/// Confines the guard, and with it all that it starts, before it starts anything. It can't have less than both of them need together, files
/// and capabilities among that; so this is a list of what is refused, which none of them ever does.
pub(crate) fn guard() -> Result<()> {
    rustix::thread::set_no_new_privs(true).context("giving up new privileges")?;
    no_core_dumps()?;
    let filter = syscalls::never().context("building the list of system calls")?;
    seccompiler::apply_filter_all_threads(&filter).context("installing the list of system calls")
}

/// Gives up all capabilities of the calling thread and of those it will start.
pub(crate) fn no_capabilities() -> Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .context("giving up capabilities")
}

/// Confines all threads of the data plane to what forwarding needs. To be called when all of them run and everything is
/// open. Returns what holds the process, in words.
pub(crate) fn data_plane() -> Result<String> {
    no_capabilities()?;
    let filter = syscalls::data_plane().context("building the list of system calls")?;
    seccompiler::apply_filter_all_threads(&filter).context("installing the list of system calls")?;
    Ok(format!("seccomp ({} system calls, no files, no sockets, no processes)", syscalls::data_plane_count()))
}

/// Gives up the capabilities of the control process, and the system calls that it does not need once it listens. Returns what holds it from
/// then on, in words.
pub(crate) fn control_listens() -> Result<String> {
    no_capabilities()?;
    for filter in syscalls::control().context("building the list of system calls")? {
        seccompiler::apply_filter_all_threads(&filter).context("installing the list of system calls")?;
    }
    Ok(format!("seccomp ({} system calls, no processes)", syscalls::control_count()))
}

/// Confines the control process to its own files and its own port. To be called before it starts threads. Returns what
/// holds the process, in words.
pub(crate) fn control(config: &Config) -> Result<String> {
    let read = AccessFs::from_read(LANDLOCK);
    let write = AccessFs::from_all(LANDLOCK);
    let mut ruleset = Ruleset::default()
        .handle_access(write)?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .create()?
        .add_rule(NetPort::new(config.listen.port(), AccessNet::BindTcp))?;
    if let Some(witness) = &config.audit.witness {
        ruleset = ruleset.add_rule(NetPort::new(witness.address.port(), AccessNet::ConnectTcp))?;
    }
    for port in config.alerts.targets.ports() {
        ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    // Folders, not files: editors replace a file by another one of the same name.
    let folder = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
    let signatures = config.files.signatures.iter().map(|p| if p.is_dir() { p.clone() } else { folder(p) });
    let lists = config
        .files
        .subscriptions
        .iter()
        .map(|s| if s.path.is_dir() { s.path.clone() } else { folder(&s.path) });
    let packs = config.files.pack.iter().map(|pack| folder(&pack.path));
    let rules = config.files.rules.iter().chain(&config.directory).map(|p| folder(p));
    for path in signatures.chain(rules).chain(lists).chain(packs) {
        // What is not there can't be read anyway; the reload says so.
        if let Ok(fd) = PathFd::new(&path) {
            ruleset = ruleset.add_rule(PathBeneath::new(fd, read))?;
        }
    }
    let state = (!config.files.subscriptions.is_empty()).then(|| config.files.feeds_dir.clone());
    let reports = config.reports.every.is_some().then(|| config.reports.dir.clone());
    let own = [
        config.audit.dir.clone(),
        config.charter.dir.clone(),
        config.store.dir.clone(),
        config.page.dir.clone(),
        folder(&config.socket),
    ];
    for path in own.into_iter().chain(state).chain(reports) {
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(&path)?, write))?;
    }
    let status = ruleset.restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "landlock (own files and port only)",
        RulesetStatus::PartiallyEnforced => "landlock, as far as this kernel has it (own files only)",
        RulesetStatus::NotEnforced => "none: this kernel has no landlock",
    }
    .to_owned())
}

#[cfg(test)]
mod tests;
