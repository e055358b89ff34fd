//! What can be chosen when DPDK starts, and its translation into DPDK's arguments.

use std::ffi::CString;
use std::fmt;

use glassgate_dataplane::port::spec::{PciAddress, PortSpec};
use rustix::thread::CpuSet;

use super::EalError;
use crate::hugepages::HugePages;
use crate::log::{LogLevel, LogSink};

/// A place on the PCI bus where nothing is. Naming it keeps DPDK from looking at all others by itself.
const NOBODY: &str = "ffff:ff:1f.7";

/// Where frames and queues live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Huge pages, `mib` of them taken at start; more is taken when needed.
    HugePages {
        /// Taken at start, in MiB.
        mib: u32,
    },
    /// Ordinary pages, all of them taken at start. Half the speed; virtual devices only.
    NoHuge {
        /// The limit, in MiB.
        mib: u32,
    },
}

impl Memory {
    /// Huge pages if `mib` of them are free now, else ordinary pages.
    pub fn available(mib: u32) -> Self {
        match HugePages::read().free_mib >= u64::from(mib) {
            true => Self::HugePages { mib },
            false => Self::NoHuge { mib },
        }
    }
}

/// What can be chosen when DPDK starts. Always in memory, never with shared files, telemetry socket or secondary
/// processes.
#[derive(Clone)]
pub struct EalOptions {
    /// CPUs that lcores will poll on. DPDK's own threads are kept off them; the lcores themselves are threads of the
    /// caller, see [`crate::Lcore`]. May be empty.
    pub lcores: Vec<usize>,
    /// Name of this instance in DPDK's messages. Letters, digits, `-` and `_`.
    pub file_prefix: String,
    /// Where frames and queues live.
    pub memory: Memory,
    /// NICs that may be opened. None is looked at before it is, and the PCI bus not at all when this is empty.
    pub pci: Vec<PciAddress>,
    /// Takes DPDK's log lines. Without one they are only kept for error texts.
    pub log: Option<LogSink>,
    /// The gravest level that is left out is the one below this.
    pub log_level: LogLevel,
}

impl EalOptions {
    /// Options for a process that will open `ports`, with `memory`.
    pub fn for_ports<'a>(memory: Memory, ports: impl IntoIterator<Item = &'a PortSpec>) -> Self {
        let pci = ports.into_iter().filter_map(|port| match port {
            PortSpec::Pci(address) => Some(*address),
            _ => None,
        });
        Self {
            lcores: Vec::new(),
            file_prefix: "glassgate".to_owned(),
            memory,
            pci: pci.collect(),
            log: None,
            log_level: LogLevel::Notice,
        }
    }

    /// DPDK's argument list, its program name included.
    pub(super) fn arguments(&self, housekeeping: &CpuSet) -> Result<Vec<CString>, EalError> {
        let prefix = &self.file_prefix;
        let plain = prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if prefix.is_empty() || prefix.len() > 32 || !plain {
            let why = format!("`{prefix}` must have 1 to 32 letters, digits, `-` and `_`");
            return Err(EalError::Option { option: "file_prefix", why });
        }
        let cpus: Vec<String> = cpus(housekeeping).map(|cpu| cpu.to_string()).collect();
        let mut arguments = vec![
            "glassgate".to_owned(),
            // One lcore of DPDK's own, the calling thread, floating over the CPUs that nobody polls on.
            format!("--lcores=0@({})", cpus.join(",")),
            format!("--file-prefix={prefix}"),
            "--no-telemetry".to_owned(),
            format!("--log-level={}", self.log_level.number()),
        ];
        match self.memory {
            // No file for any page, nor for the configuration.
            Memory::HugePages { mib } => {
                arguments.extend(["--in-memory".to_owned(), format!("-m{}", mib.max(1))]);
            }
            // Ordinary pages have no file; DPDK refuses --in-memory with them, of which this is the other half.
            Memory::NoHuge { mib } => {
                arguments.extend(["--no-huge", "--no-shconf"].map(str::to_owned));
                arguments.push(format!("-m{}", mib.max(1)));
            }
        }
        match self.pci.is_empty() {
            true => arguments.push("--no-pci".to_owned()),
            // Each is probed when it is opened: until then its driver may be the kernel's.
            false => arguments.push(format!("--allow={NOBODY}")),
        }
        let nul = |_| EalError::Option { option: "arguments", why: "contain a zero byte".to_owned() };
        arguments.into_iter().map(|argument| CString::new(argument).map_err(nul)).collect()
    }
}

impl fmt::Debug for EalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EalOptions")
            .field("lcores", &self.lcores)
            .field("file_prefix", &self.file_prefix)
            .field("memory", &self.memory)
            .field("pci", &self.pci)
            .field("log_level", &self.log_level)
            .finish_non_exhaustive()
    }
}

/// The CPUs of `allowed` that nobody polls on; all of them if there are no others.
pub(super) fn housekeeping(allowed: &CpuSet, lcores: &[usize]) -> Result<CpuSet, EalError> {
    let mut rest = *allowed;
    for &cpu in lcores {
        if cpu >= CpuSet::MAX_CPU || !allowed.is_set(cpu) {
            let usable: Vec<String> = cpus(allowed).map(|cpu| cpu.to_string()).collect();
            let why = format!("CPU {cpu} is not one this process may use: choose from {}", usable.join(", "));
            return Err(EalError::Option { option: "lcores", why });
        }
        rest.unset(cpu);
    }
    Ok(if rest.count() == 0 { *allowed } else { rest })
}

fn cpus(set: &CpuSet) -> impl Iterator<Item = usize> {
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cpus: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|&cpu| set.set(cpu));
        set
    }

    fn arguments(options: &EalOptions) -> Vec<String> {
        let arguments = options.arguments(&set(&[0, 3])).unwrap();
        arguments.into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn housekeeping_is_what_nobody_polls_on() {
        assert_eq!(housekeeping(&set(&[0, 1, 2, 3]), &[1, 2]).unwrap(), set(&[0, 3]));
        assert_eq!(housekeeping(&set(&[0, 1]), &[0, 1]).unwrap(), set(&[0, 1]), "nothing left: share");
        let error = housekeeping(&set(&[0, 1]), &[7]).unwrap_err().to_string();
        assert!(error.contains("CPU 7") && error.contains("choose from 0, 1"), "{error}");
        assert!(housekeeping(&set(&[0]), &[usize::MAX]).is_err());
    }

    #[test]
    fn the_pci_bus_is_left_alone_unless_a_nic_is_named() {
        let memory = Memory::NoHuge { mib: 64 };
        let without = arguments(&EalOptions::for_ports(memory, &["null".parse().unwrap()]));
        assert!(without.contains(&"--no-pci".to_owned()) && without.contains(&"--no-huge".to_owned()));
        assert!(without.contains(&"--lcores=0@(0,3)".to_owned()));
        assert!(without.contains(&"--no-shconf".to_owned()));
        let huge = arguments(&EalOptions::for_ports(Memory::HugePages { mib: 64 }, []));
        assert!(huge.contains(&"--in-memory".to_owned()) && !huge.contains(&"--no-shconf".to_owned()));
        let with = arguments(&EalOptions::for_ports(memory, &["pci:01:00.1".parse().unwrap()]));
        assert!(with.contains(&format!("--allow={NOBODY}")) && !with.contains(&"--no-pci".to_owned()));
    }

    #[test]
    fn a_prefix_can_not_smuggle_arguments() {
        let mut options = EalOptions::for_ports(Memory::NoHuge { mib: 64 }, []);
        for prefix in ["", "a/b", "a b", "../x", "\0"] {
            options.file_prefix = prefix.to_owned();
            assert!(options.arguments(&set(&[0])).is_err(), "{prefix:?}");
        }
    }
}
