//! DPDK's environment: initialised once per process, then there until it ends.

mod options;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr, c_char};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use thiserror::Error;

pub use self::options::{EalOptions, Memory};
use crate::hugepages::HugePages;
use crate::log;

/// Proof that DPDK is initialised. Clones are the same environment.
///
/// There is no shutdown: ports are stopped and closed when they are dropped, memory goes with the process. DPDK's
/// own clean-up would unmap frames that somebody may still hold, and a second initialisation is not possible anyway.
#[derive(Clone, Debug)]
pub struct Eal {
    control: Arc<Mutex<Control>>,
}

/// What the control path must not do twice or at once. DPDK's calls on devices are not safe for concurrent use.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Names of open devices.
    pub(crate) open: BTreeSet<String>,
}

const FRESH: u8 = 0;
const SPENT: u8 = 1;
const RUNNING: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(FRESH);

impl Eal {
    /// Initialises DPDK in this process. Takes 0.2 to 1 second, most of it loading drivers.
    ///
    /// The calling thread becomes DPDK's main lcore; its CPU affinity is as before when this returns. DPDK's own
    /// threads (interrupts, timers) stay off the CPUs in [`EalOptions::lcores`] as long as there are others. No
    /// signal handler is installed.
    ///
    /// # Errors
    ///
    /// [`EalError::MissingHugePages`], [`EalError::Option`] and [`EalError::Affinity`] are found before DPDK is touched: put it
    /// right and call again. After [`EalError::Init`] this process can't try again.
    pub fn init(options: EalOptions) -> Result<Self, EalError> {
        if let Memory::HugePages { mib } = options.memory {
            let HugePages { total_mib, free_mib } = HugePages::read();
            if free_mib < u64::from(mib) {
                return Err(EalError::MissingHugePages { wanted_mib: mib, total_mib, free_mib });
            }
        }
        let before = sched_getaffinity(None).map_err(|e| EalError::Affinity(e.into()))?;
        let housekeeping = options::housekeeping(&before, &options.lcores)?;
        let arguments = options.arguments(&housekeeping)?;

        match STATE.compare_exchange(FRESH, SPENT, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {}
            Err(RUNNING) => return Err(EalError::AlreadyInitialised),
            Err(_) => return Err(EalError::Spent),
        }
        if !log::capture(options.log, options.log_level) {
            return Err(EalError::Init { reason: io::ErrorKind::OutOfMemory.into(), log: Vec::new() });
        }
        let mark = log::mark();
        let started = start(arguments, &housekeeping);
        let restored = sched_setaffinity(None, &before);
        if let Err(error) = started {
            return Err(EalError::Init { reason: error, log: log::since(mark) });
        }
        restored.map_err(|e| EalError::Affinity(e.into()))?;
        STATE.store(RUNNING, Ordering::Release);
        Ok(Self { control: Arc::default() })
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        // Poisoned only by a panic between DPDK calls; the set of open names is still right.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why DPDK did not start.
#[derive(Debug, Error)]
pub enum EalError {
    /// An option can't be passed on.
    #[error("{option}: {why}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong and what to write.
        why: String,
    },
    /// Fewer free huge pages than asked for.
    #[error(
        "{wanted_mib} MiB of huge pages are wanted, {free_mib} MiB of {total_mib} MiB are free: reserve more with \
         `sysctl -w vm.nr_hugepages={}` (pages of 2 MiB), or run without huge pages at half the speed",
        pages_to_reserve(*wanted_mib, *total_mib, *free_mib)
    )]
    MissingHugePages {
        /// Asked for.
        wanted_mib: u32,
        /// Set aside by the kernel.
        total_mib: u64,
        /// Of those, free.
        free_mib: u64,
    },
    /// The CPU affinity of the calling thread can't be read or set.
    #[error("the CPU affinity of this thread can't be changed")]
    Affinity(#[source] io::Error),
    /// DPDK is running in this process.
    #[error("DPDK is initialised already: clone the Eal instead")]
    AlreadyInitialised,
    /// An earlier attempt failed, and DPDK can't be initialised again after that.
    #[error("DPDK failed to start in this process before and can't be started again: start a new process")]
    Spent,
    /// DPDK refused.
    #[error("DPDK did not start: {reason}{}{}", advice(.reason), indented(.log))]
    Init {
        /// What it returned.
        reason: io::Error,
        /// What it said meanwhile.
        log: Vec<String>,
    },
}

fn start(arguments: Vec<CString>, housekeeping: &CpuSet) -> Result<(), io::Error> {
    // DPDK's threads take over the affinity that they are started with.
    sched_setaffinity(None, housekeeping)?;
    let mut argv: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    argv.push(std::ptr::null_mut());
    // DPDK keeps pointers into its arguments and permutes the array: both are left to it for good, once per process.
    let argv = argv.leak();
    let argc = i32::try_from(argv.len() - 1).map_err(|_| io::ErrorKind::ArgumentListTooLong)?;
    // SAFETY: `argv` holds `argc` strings, closed by zeroes, and a null pointer; all of it is writable and leaked.
    // `STATE` lets one thread of the process come here, once.
    let started = match unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) } {
        0.. => Ok(()),
        // SAFETY: reads a thread-local of this thread.
        _ => Err(io::Error::from_raw_os_error(unsafe { dpdk_sys::shim_errno() })),
    };
    remove_runtime_folder();
    started
}

/// Removes the folder that DPDK makes for shared files, of which there are none: `kill -9` would leave it behind.
fn remove_runtime_folder() {
    // SAFETY: a string inside DPDK, written once by the initialisation that has just ended.
    let folder = unsafe { CStr::from_ptr(dpdk_sys::rte_eal_get_runtime_dir()) };
    // Not there, or not empty because another process with files uses the name: both are as they should be.
    let _ = fs::remove_dir(OsStr::from_bytes(folder.to_bytes()));
}

fn pages_to_reserve(wanted_mib: u32, total_mib: u64, free_mib: u64) -> u64 {
    let used = total_mib.saturating_sub(free_mib);
    (used + u64::from(wanted_mib)).div_ceil(2)
}

fn advice(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::PermissionDenied => {
            ": run as root, or with CAP_SYS_ADMIN, CAP_NET_RAW and CAP_IPC_LOCK"
        }
        io::ErrorKind::OutOfMemory => ": reserve more huge pages (`sysctl -w vm.nr_hugepages=…`) or memory",
        _ => "",
    }
}

/// Log lines below an error's own text.
pub(crate) fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}
