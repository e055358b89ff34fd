//! The network cards of a machine, as `/sys/bus/pci` shows them.

use glassgate_dataplane::port::spec::PciAddress;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Ethernet, by PCI class.
const ETHERNET: &str = "0x0200";
/// Cards at most: no machine has more, and a listing must end.
const MAX_NICS: usize = 64;

/// Kernel drivers of cards that DPDK can take over, and what does it there. Those of the firmware's static build.
const DRIVERS: [(&str, &str); 12] = [
    ("virtio-pci", "net_virtio"),
    ("e1000", "net_e1000_em"),
    ("e1000e", "net_e1000_em"),
    ("igb", "net_e1000_igb"),
    ("igbvf", "net_e1000_igb_vf"),
    ("igc", "net_igc"),
    ("ixgbe", "net_ixgbe"),
    ("ixgbevf", "net_ixgbe_vf"),
    ("i40e", "net_i40e"),
    ("iavf", "net_iavf"),
    ("ice", "net_ice"),
    ("vmxnet3", "net_vmxnet3"),
];

/// Drivers that hand a card to DPDK.
pub(crate) const HAND_OVER: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Nic {
    #[serde(serialize_with = "super::plain")]
    pub(crate) address: PciAddress,
    /// Vendor and device, as `lspci -n` writes them.
    pub(crate) id: String,
    /// The driver that has it now.
    pub(crate) driver: Option<String>,
    /// The interface of the kernel, while the kernel drives it.
    pub(crate) interface: Option<String>,
    pub(crate) mac: Option<String>,
    /// Whether it has a link; unknown while the interface is down or not the kernel's.
    pub(crate) link: Option<bool>,
    /// What would drive it in DPDK; unknown of a card that DPDK has already.
    pub(crate) dpdk_driver: Option<&'static str>,
}

impl Nic {
    /// Whether it is DPDK's already.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.driver.as_deref().is_some_and(|driver| HAND_OVER.contains(&driver))
    }

    /// Whether it can be a port of the bridge.
    pub(crate) fn is_usable(&self) -> bool {
        self.dpdk_driver.is_some() || self.is_handed_over()
    }
}

/// All cards below `root`, in the order of their addresses.
pub(crate) fn survey(root: &Path) -> Vec<Nic> {
    let Ok(devices) = std::fs::read_dir(root.join("sys/bus/pci/devices")) else { return Vec::new() };
    let mut nics: Vec<Nic> = devices.flatten().take(4096).filter_map(|entry| nic(&entry.path())).collect();
    nics.sort_by_key(|nic| nic.address.to_string());
    nics.truncate(MAX_NICS);
    nics
}

fn nic(dir: &Path) -> Option<Nic> {
    let address: PciAddress = dir.file_name()?.to_str()?.parse().ok()?;
    let read = |path: PathBuf| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    if !read(dir.join("class"))?.starts_with(ETHERNET) {
        return None;
    }
    let hex = |name: &str| {
        read(dir.join(name)).map(|id| id.trim_start_matches("0x").to_owned()).unwrap_or_default()
    };
    let driver = driver(dir);
    let interface_dir = interface(dir);
    let of_interface = |name: &str| read(interface_dir.as_ref()?.join(name));
    Some(Nic {
        address,
        id: format!("{}:{}", hex("vendor"), hex("device")),
        interface: interface_dir.as_ref().and_then(|dir| Some(dir.file_name()?.to_str()?.to_owned())),
        mac: of_interface("address"),
        // The kernel answers only while the interface is up.
        link: of_interface("carrier").and_then(|carrier| match carrier.as_str() {
            "1" => Some(true),
            "0" => Some(false),
            _ => None,
        }),
        dpdk_driver: DRIVERS
            .iter()
            .find(|(kernel, _)| Some(*kernel) == driver.as_deref())
            .map(|(_, dpdk)| *dpdk),
        driver,
    })
}

/// The name of the driver that has a device.
pub(crate) fn driver(dir: &Path) -> Option<String> {
    let link = std::fs::read_link(dir.join("driver")).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

/// The folder of the interface: below the card, or for virtio below the device that is on it.
fn interface(dir: &Path) -> Option<PathBuf> {
    let first = |dir: PathBuf| std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).min();
    first(dir.join("net")).or_else(|| {
        let inner = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
        let is_virtio = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("virtio"))
        };
        first(inner.filter(is_virtio).min()?.join("net"))
    })
}
