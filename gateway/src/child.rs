//! What the processes that the guard starts do first.

use crate::confine;
use crate::ipc::Channel;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::ffi::CStr;

/// Ties this process to the guard and returns the channel to it. When the guard dies, however it dies, the kernel
/// kills this process: nothing forwards unwatched. To be called on the main thread, before any other is started.
pub(crate) fn adopt(name: &CStr, guard: u32) -> Result<Channel> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("asking to die with the guard")?;
    // The guard may have died before that.
    if getppid().is_none_or(|parent| parent.as_raw_pid() as u32 != guard) {
        bail!("the guard (process {guard}) is not the parent of this process");
    }
    rustix::thread::set_no_new_privs(true).context("giving up new privileges")?;
    confine::no_core_dumps()?;
    rustix::thread::set_name(name).context("naming the process")?;
    Channel::from_stdin().context("taking the guard's channel")
}
