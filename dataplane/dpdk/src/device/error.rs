//! Why a device can't be opened, and what to do about it.

use std::fs;
use std::io;
use std::path::Path;

use glassgate_dataplane::port::spec::PortSpec;
use thiserror::Error;

use super::interface::Interface;
use crate::eal::indented;

/// Why a device can't be opened.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// There is no such device, or its driver refused it.
    #[error("port {spec} is missing: {why}{}", indented(.log))]
    Missing {
        /// As the configuration names it.
        spec: PortSpec,
        /// What is known, and what to do.
        why: String,
        /// What DPDK said meanwhile.
        log: Vec<String>,
    },
    /// This process has it open.
    #[error("{name} is open already: give each virtual port an index of its own")]
    AlreadyOpen {
        /// DPDK's name of the device.
        name: String,
    },
    /// An XDP socket would see only a part of the interface's frames.
    #[error(
        "{interface} spreads what it receives over {queues} queues, of which a socket gets one: frames of the others \
         would not cross the bridge. Give it a single queue: ethtool -L {interface} combined 1 (or rx 1)"
    )]
    SplitInterface {
        /// The interface.
        interface: String,
        /// Its receive queues.
        queues: usize,
    },
    /// The interface is there, but can't be brought up.
    #[error("port {spec}: the interface can't be brought up: {reason}")]
    Down {
        /// As the configuration names it.
        spec: PortSpec,
        /// What the kernel said.
        reason: io::Error,
    },
    /// The pool has fewer frames than the descriptors of all queues may hold.
    #[error(
        "port {spec}: the mempool has {frames} frames, {needed} are needed so that it can't run dry with {queues} \
         queues of {rx_ring} receive and {tx_ring} transmit descriptors: make the pool larger or the rings smaller"
    )]
    PoolTooSmall {
        /// As the configuration names it.
        spec: PortSpec,
        /// That there are.
        frames: u32,
        /// That all open devices need together.
        needed: u32,
        /// Queues of this device.
        queues: u16,
        /// Descriptors per queue.
        rx_ring: u16,
        /// Descriptors per queue.
        tx_ring: u16,
    },
    /// The driver refused a step of the setup.
    #[error("port {spec}: the driver refused to {step}: {reason}{}", indented(.log))]
    Refused {
        /// As the configuration names it.
        spec: PortSpec,
        /// What was asked of it.
        step: &'static str,
        /// What it answered.
        reason: io::Error,
        /// What DPDK said meanwhile.
        log: Vec<String>,
    },
}

/// A step of the setup that failed, before the log is attached.
pub(super) enum SetupError {
    /// The driver refused.
    Refused { step: &'static str, reason: io::Error },
    /// The pool is too small.
    PoolTooSmall { frames: u32, needed: u32, queues: u16, rx_ring: u16, tx_ring: u16 },
}

impl SetupError {
    pub(super) fn into_error(self, spec: &PortSpec, log: Vec<String>) -> DeviceError {
        let spec = spec.clone();
        match self {
            Self::Refused { step, reason } => DeviceError::Refused { spec, step, reason, log },
            Self::PoolTooSmall { frames, needed, queues, rx_ring, tx_ring } => {
                DeviceError::PoolTooSmall { spec, frames, needed, queues, rx_ring, tx_ring }
            }
        }
    }
}

/// Explains a device that DPDK does not find, from what the system knows.
pub(super) fn missing(spec: &PortSpec, reason: io::Error, log: Vec<String>) -> DeviceError {
    let why = match spec {
        PortSpec::AfXdp(interface) | PortSpec::AfPacket(interface) => match Interface::find(interface) {
            None => format!(
                "there is no interface `{interface}` in this network namespace (`ip -br link` lists them)"
            ),
            Some(_) => format!("the interface is there, but the driver refused it: {reason}"),
        },
        PortSpec::Pci(address) => missing_nic(&address.to_string(), &reason),
        _ => format!("the driver refused it: {reason}"),
    };
    DeviceError::Missing { spec: spec.clone(), why, log }
}

fn missing_nic(address: &str, reason: &io::Error) -> String {
    let device = Path::new("/sys/bus/pci/devices").join(address);
    if !device.exists() {
        return "there is no such device on the PCI bus (`lspci -D` lists them)".to_owned();
    }
    let driver = fs::read_link(device.join("driver")).ok();
    let driver = driver.as_ref().and_then(|link| link.file_name()).map(|name| name.to_string_lossy());
    match driver.as_deref() {
        Some("vfio-pci" | "uio_pci_generic" | "igb_uio") => {
            format!(
                "it is bound for DPDK, but not in the list the process started with, or without a driver: {reason}"
            )
        }
        Some(driver) => format!(
            "the kernel's driver {driver} holds it: bind it with `dpdk-devbind.py --bind=vfio-pci {address}`"
        ),
        None => format!("no driver holds it: bind it with `dpdk-devbind.py --bind=vfio-pci {address}`"),
    }
}
