//! What the machine offers, read from `/proc` and `/sys` below a root.

use super::Finding;
use crate::config::{Config, Device};
use crate::ports::{Nic, survey};
use glassgate_dataplane::port::spec::PortSpec;
use std::collections::BTreeSet;
use std::path::Path;

/// Below this the log can't be kept for long.
const LITTLE_MIB: u64 = 256;
/// Below this it stops soon.
const TOO_LITTLE_MIB: u64 = 32;
/// A wall clock before this was never set: seconds since 1970, of the year this was written in.
const WRITTEN: u64 = 1_767_225_600;

/// All checks, with the configuration if there is a valid one.
pub(super) fn all(root: &Path, config: Option<&Config>) -> Vec<Finding> {
    let nics = survey(root);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut found = Vec::new();
    if let Some(config) = config {
        found.extend(ports(root, config, &nics));
        found.push(huge_pages(root, config));
        found.extend(lcores(root, config));
        found.push(disk(root, &config.audit.dir));
    }
    found.push(iommu(root, &nics));
    found.push(clock(root, now.map_or(0, |now| now.as_secs())));
    found.push(landlock(root));
    found
}

fn read(root: &Path, path: &str) -> Option<String> {
    std::fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned())
}

/// Each port: whether the device is there, whose it is, and whether it has a link, where the kernel can say so.
pub(super) fn ports(root: &Path, config: &Config, nics: &[Nic]) -> Vec<Finding> {
    let named = [("port.lan", &config.ports.lan), ("port.uplink", &config.ports.uplink)];
    let look = |(check, device): (&'static str, &Option<Device>)| match device {
        None => {
            Finding::fault(check, "not set", "set it in the table [ports]; `glassgate ports` shows the cards")
        }
        Some(Device::Dpdk(PortSpec::Pci(address))) => {
            let Some(nic) = nics.iter().find(|nic| nic.address == *address) else {
                let says = format!("there is no network card at {address}");
                return Finding::fault(
                    check,
                    says,
                    "name another one in [ports]; `glassgate ports` shows them",
                );
            };
            card(check, nic)
        }
        Some(device) => match device.kernel_interface() {
            None => Finding::fine(check, device.to_string()),
            Some(name) => interface(root, check, name),
        },
    };
    named.into_iter().map(look).collect()
}

fn card(check: &'static str, nic: &Nic) -> Finding {
    let Nic { address, id, .. } = nic;
    match &nic.driver {
        Some(driver) if nic.is_handed_over() => {
            Finding::fine(check, format!("{address} ({id}) is bound to {driver}"))
        }
        Some(driver) => {
            let mend = format!(
                "give it to DPDK: `dpdk-devbind.py --bind=vfio-pci {address}` (uio_pci_generic where there is no IOMMU); the firmware \
                 does so when it starts the gateway"
            );
            Finding::fault(check, format!("{address} ({id}) is the kernel's, driver {driver}"), mend)
        }
        None => {
            let mend = "load its driver (`modprobe vfio-pci`, or uio_pci_generic) and bind it";
            Finding::fault(check, format!("{address} ({id}) has no driver"), mend)
        }
    }
}

fn interface(root: &Path, check: &'static str, name: &str) -> Finding {
    let dir = format!("sys/class/net/{name}");
    if !root.join(&dir).exists() {
        let says = format!("there is no interface `{name}`");
        return Finding::fault(check, says, "name another one in [ports]; `ip link` shows them");
    }
    match read(root, &format!("{dir}/carrier")).as_deref() {
        Some("1") => Finding::fine(check, format!("`{name}` has a link")),
        Some(_) => Finding::fault(
            check,
            format!("`{name}` has no link"),
            "look at the cable, and at what is at its other end",
        ),
        None => Finding::fault(check, format!("`{name}` is down"), format!("`ip link set {name} up`")),
    }
}

/// Memory for DPDK.
pub(super) fn huge_pages(root: &Path, config: &Config) -> Finding {
    const CHECK: &str = "huge_pages";
    let wanted = u64::from(config.dataplane.memory_mib);
    if !config.dataplane.huge_pages {
        let mend = "set `huge_pages = true` in [dataplane] and reserve some";
        return Finding::advice(CHECK, "not used: forwarding costs about twice as much", mend);
    }
    let dir = "sys/kernel/mm/hugepages/hugepages-2048kB";
    let count = |name: &str| read(root, &format!("{dir}/{name}")).and_then(|text| text.parse::<u64>().ok());
    let (Some(total), Some(free)) = (count("nr_hugepages"), count("free_hugepages")) else {
        let mend = "use a kernel with CONFIG_HUGETLBFS, or set `huge_pages = false` in [dataplane]";
        return Finding::fault(CHECK, "this kernel has no huge pages of 2 MiB", mend);
    };
    let says =
        format!("{wanted} MiB are wanted, {} MiB are reserved, {} MiB of them free", total * 2, free * 2);
    match total * 2 >= wanted {
        true => Finding::fine(CHECK, says),
        false => {
            let mend = format!(
                "`sysctl -w vm.nr_hugepages={}` soon after start, while memory is in one piece; or a smaller `memory_mib` in [dataplane]",
                wanted.div_ceil(2) + (total - free.min(total))
            );
            Finding::fault(CHECK, says, mend)
        }
    }
}

/// The CPUs that lcores run on.
pub(super) fn lcores(root: &Path, config: &Config) -> Vec<Finding> {
    const CHECK: &str = "lcores";
    let cpus = "sys/devices/system/cpu";
    let Some(online) = read(root, &format!("{cpus}/online")).map(|text| cpu_list(&text)) else {
        return vec![Finding::advice(CHECK, "the kernel does not say which CPUs there are", "mount /sys")];
    };
    let lcores: BTreeSet<u32> = config.dataplane.lcores.iter().copied().collect();
    let mut found = Vec::new();
    let absent: Vec<String> = lcores.difference(&online).map(u32::to_string).collect();
    if !absent.is_empty() {
        let says = format!("there is no CPU {}", absent.join(", "));
        found.push(Finding::fault(CHECK, says, format!("choose from {online:?} in `lcores` of [dataplane]")));
    }
    if online.is_subset(&lcores) && config.dataplane.idle_sleep.is_zero() {
        let says =
            "every CPU is an lcore's, which polls without a pause: log and page are left what it leaves";
        found.push(Finding::advice(CHECK, says, "leave a CPU out of `lcores`, or set `idle_sleep_us`"));
    }
    for lcore in &lcores {
        let path = format!("{cpus}/cpu{lcore}/topology/thread_siblings_list");
        let siblings = read(root, &path).map(|text| cpu_list(&text)).unwrap_or_default();
        let others: Vec<String> = siblings.iter().filter(|cpu| *cpu != lcore).map(u32::to_string).collect();
        if !others.is_empty() {
            let says = format!("CPU {lcore} is half a core: the other half is CPU {}", others.join(", "));
            let mend = "one lcore for each core is best; switch the other half off, or leave it to nobody";
            found.push(Finding::advice(CHECK, says, mend));
        }
    }
    if found.is_empty() {
        found.push(Finding::fine(CHECK, format!("CPUs {lcores:?} are there, each a whole core")));
    }
    found
}

/// Reads `0-3,8`.
pub(super) fn cpu_list(text: &str) -> BTreeSet<u32> {
    let parts = text.split(',').filter_map(|part| {
        let (from, to) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some(from.parse::<u32>().ok()?..=to.parse::<u32>().ok()?.min(4095))
    });
    parts.flatten().collect()
}

/// What keeps a card's DMA within memory that is its own.
pub(super) fn iommu(root: &Path, nics: &[Nic]) -> Finding {
    const CHECK: &str = "iommu";
    let has = std::fs::read_dir(root.join("sys/class/iommu")).is_ok_and(|mut units| units.next().is_some());
    let by_vfio = nics.iter().any(|nic| nic.driver.as_deref() == Some("vfio-pci"));
    match (has, by_vfio) {
        (true, _) => Finding::fine(CHECK, "there is one, so cards can be bound to vfio-pci"),
        (false, true) => Finding::fault(
            CHECK,
            "a card is bound to vfio-pci, which does nothing without an IOMMU",
            "switch VT-d or AMD-Vi on in the firmware's setup, or bind the card to uio_pci_generic",
        ),
        (false, false) => Finding::advice(
            CHECK,
            "there is none: a card can write to any memory, and is bound to uio_pci_generic",
            "switch VT-d or AMD-Vi on in the firmware's setup (a virtual machine: give it a virtual IOMMU)",
        ),
    }
}

/// Whether the wall clock can be believed. `now` is seconds since 1970.
pub(super) fn clock(root: &Path, now: u64) -> Finding {
    const CHECK: &str = "clock";
    let mend = "let it reach a time server (UDP port 123); calendars count as closed and codes of logins fail until then";
    if now < WRITTEN {
        return Finding::advice(CHECK, "the wall clock was never set", mend);
    }
    match root.join("run/systemd/timesync/synchronized").exists() {
        true => Finding::fine(CHECK, "set by a time server"),
        false => Finding::advice(CHECK, "no time server has set it since the start", mend),
    }
}

/// Room for the audit log.
pub(super) fn disk(root: &Path, dir: &Path) -> Finding {
    const CHECK: &str = "disk";
    let mut at = root.join(dir.strip_prefix("/").unwrap_or(dir));
    // The folder is made by the gateway: what counts is where it will be.
    while !at.exists() && at.pop() {}
    let Ok(stat) = rustix::fs::statvfs(&at) else {
        return Finding::fault(
            CHECK,
            format!("{} can't be reached", dir.display()),
            "mount the data partition",
        );
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize) >> 20;
    let says = format!("{free} MiB free for the audit log");
    let mend = "make room on the data partition, or lower the retention of the log";
    match free {
        0..TOO_LITTLE_MIB => Finding::fault(CHECK, says, mend),
        TOO_LITTLE_MIB..LITTLE_MIB => Finding::advice(CHECK, says, mend),
        _ => Finding::fine(CHECK, says),
    }
}

/// What confines the control process to its own files.
pub(super) fn landlock(root: &Path) -> Finding {
    let modules = read(root, "sys/kernel/security/lsm").unwrap_or_default();
    match modules.split(',').any(|module| module == "landlock") {
        true => Finding::fine("landlock", "the control process is confined to its own files"),
        false => Finding::advice(
            "landlock",
            "the kernel does not offer Landlock, so the control process is not confined to its own files",
            "start the kernel with `lsm=landlock,…` (it needs 5.13), and mount securityfs",
        ),
    }
}
