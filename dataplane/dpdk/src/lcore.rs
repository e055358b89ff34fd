//! A thread that polls: pinned to a CPU and known to DPDK.

use std::io;
use std::marker::PhantomData;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use thiserror::Error;

use crate::eal::Eal;

/// The calling thread as an lcore, until this is dropped.
///
/// Being an lcore gives the thread its own cache in every mempool; without one each burst goes through the pool's
/// shared ring. Threads are the caller's (`std::thread`), not DPDK's: scopes, names and panics work as everywhere.
#[derive(Debug)]
pub struct Lcore {
    id: u32,
    before: CpuSet,
    registered: bool,
    /// An lcore is a thread: this must be dropped where it was made.
    _thread: PhantomData<*const ()>,
}

impl Lcore {
    /// Pins the calling thread to `cpu`, if one is named, and makes it an lcore.
    ///
    /// # Errors
    ///
    /// The CPU is not usable, or the process has as many lcores as DPDK allows (128).
    pub fn enter(_eal: &Eal, cpu: Option<usize>) -> Result<Self, LcoreError> {
        let before = sched_getaffinity(None).map_err(|e| LcoreError::Affinity { cpu, reason: e.into() })?;
        if let Some(cpu) = cpu {
            let refuse = |reason| LcoreError::Affinity { cpu: Some(cpu), reason };
            if cpu >= CpuSet::MAX_CPU {
                return Err(refuse(io::ErrorKind::InvalidInput.into()));
            }
            let mut only = CpuSet::new();
            only.set(cpu);
            sched_setaffinity(None, &only).map_err(|e| refuse(e.into()))?;
        }
        // SAFETY: reads a thread-local of this thread.
        let known = unsafe { dpdk_sys::shim_lcore_id() };
        // The thread that initialised the EAL is an lcore from the start, and must not be registered again.
        let registered = known == dpdk_sys::LCORE_ID_ANY;
        // SAFETY: the EAL is initialised, without secondary processes, and this thread is not an lcore yet.
        if registered && unsafe { dpdk_sys::rte_thread_register() } < 0 {
            let _ = sched_setaffinity(None, &before);
            return Err(LcoreError::Full);
        }
        // SAFETY: as above.
        let id = unsafe { dpdk_sys::shim_lcore_id() };
        Ok(Self { id, before, registered, _thread: PhantomData })
    }

    /// DPDK's number of the lcore.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Lcore {
    fn drop(&mut self) {
        if self.registered {
            // SAFETY: this thread registered itself in `enter`; the type can't leave the thread.
            unsafe { dpdk_sys::rte_thread_unregister() };
        }
        // The CPUs were allowed before; if they no longer are, the thread stays where it is.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// Why a thread is not an lcore.
#[derive(Debug, Error)]
pub enum LcoreError {
    /// The thread can't be pinned.
    #[error(
        "this thread can't be pinned to CPU {cpu:?}: {reason} (`taskset -p $$` shows the CPUs that may be used)"
    )]
    Affinity {
        /// The CPU.
        cpu: Option<usize>,
        /// What the kernel said.
        reason: io::Error,
    },
    /// DPDK has no number left.
    #[error("DPDK has no lcore left for this thread: it knows 128 at most")]
    Full,
}
