//! A network device: probed, configured, started; stopped and closed on drop.

mod distribution;
mod error;
mod interface;
mod setup;

use std::ffi::CString;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use glassgate_dataplane::port::spec::PortSpec;

pub use self::distribution::Distribution;
pub use self::error::DeviceError;
use self::interface::Interface;
use crate::eal::Eal;
use crate::log;
use crate::mempool::Mempool;
use crate::port::DpdkPort;

/// How a device is set up.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// Queues wished for in each direction, one per lcore. There will be fewer where the driver has fewer, and one
    /// where it can't bring both directions of a flow to the same queue: see [`DeviceInfo::distribution`].
    pub queues: u16,
    /// Receive frames for every address. A bridge needs it.
    pub promiscuous: bool,
    /// The largest payload of a frame, in bytes; `None` leaves the device's own. On a kernel interface this changes
    /// the interface, for good.
    pub mtu: Option<u16>,
    /// Receive descriptors per queue; `None` takes the driver's choice. Each holds a frame of the pool.
    pub rx_ring: Option<u16>,
    /// Transmit descriptors per queue; `None` takes the driver's choice. Each may hold a frame of the pool.
    pub tx_ring: Option<u16>,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self { queues: 1, promiscuous: true, mtu: None, rx_ring: None, tx_ring: None }
    }
}

/// What a device turned out to be. Display is one line for the start of a log.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// As the configuration names it.
    pub spec: PortSpec,
    /// As DPDK names it.
    pub name: String,
    /// DPDK's driver: `net_af_xdp`, `net_ixgbe`…
    pub driver: String,
    /// DPDK's number of the port.
    pub port: u16,
    /// The hardware address.
    pub mac: [u8; 6],
    /// The NUMA node whose memory the device is near to.
    pub numa_node: Option<u32>,
    /// Queues in each direction.
    pub queues: u16,
    /// How frames come to queues.
    pub distribution: Distribution,
    /// Whether it receives frames for every address. Some virtual devices have no such mode, because they do anyway.
    pub promiscuous: bool,
    /// The largest payload of a frame, in bytes.
    pub mtu: u16,
    /// Receive descriptors per queue.
    pub rx_ring: u16,
    /// Transmit descriptors per queue.
    pub tx_ring: u16,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spec, driver, queues, distribution, mtu, rx_ring, tx_ring, .. } = self;
        let [a, b, c, d, e, g] = self.mac;
        write!(f, "{spec}: {driver}, {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}, MTU {mtu}, ")?;
        write!(f, "{queues} queue{} ({distribution}), ", if *queues == 1 { "" } else { "s" })?;
        write!(f, "{rx_ring}/{tx_ring} descriptors")?;
        if !self.promiscuous { f.write_str(", not promiscuous") } else { Ok(()) }
    }
}

/// The state of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Whether there is one.
    pub up: bool,
    /// Its speed in Mbit/s, where the driver knows.
    pub mbps: Option<u32>,
    /// Whether both sides may send at once.
    pub full_duplex: bool,
}

/// What the device has counted since it was opened, all queues together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Lost because no lcore took them in time: all descriptors were full (`imissed`).
    pub rx_missed: u64,
    /// Lost because they were damaged (`ierrors`).
    pub rx_errors: u64,
    /// Lost because the mempool was empty (`rx_nombuf`).
    pub rx_no_mbuf: u64,
    /// Not sent because of an error (`oerrors`).
    pub tx_errors: u64,
}

/// An open device, to ask and to watch. Its queues are [`DpdkPort`]s.
///
/// When this and all of its ports are dropped, the device is stopped, closed and, if virtual, removed: it can be
/// opened again then. An af_xdp device keeps the frames of its descriptors for good, so that a pool serves it
/// only so many times; the pool keeps count, and refuses in time.
#[derive(Clone, Debug)]
pub struct Device {
    opened: Arc<Opened>,
    info: Arc<DeviceInfo>,
}

impl Device {
    /// Finds or makes the device `spec`, configures and starts it; a kernel interface is brought up. `index` makes the
    /// names of virtual devices unique within the process. Returns the device and one port per queue, in their order.
    ///
    /// The two sides of a bridge may get different numbers of queues. Both directions of a flow come to the same number
    /// of queue only if they get the same: open the richer one again with [`DeviceOptions::queues`] of the other.
    ///
    /// # Errors
    ///
    /// See [`DeviceError`]. What was begun is undone; the same device can be tried again later, for example when its
    /// interface has appeared.
    pub fn open(
        eal: &Eal,
        spec: &PortSpec,
        index: usize,
        pool: Mempool,
        options: &DeviceOptions,
    ) -> Result<(Self, Vec<DpdkPort>), DeviceError> {
        let mark = log::mark();
        let opened = Opened::find(eal, spec, index, options.queues)?;
        let (info, opened) = setup::start(opened, spec, pool, options)
            .map_err(|refused| refused.into_error(spec, log::since(mark)))?;
        let opened = Arc::new(opened);
        // SAFETY: `setup::start` has set up and started queues 0 to `info.queues`, and each gets one port.
        let ports =
            (0..info.queues).map(|queue| unsafe { DpdkPort::new(Arc::clone(&opened), queue) }).collect();
        Ok((Self { opened, info: Arc::new(info) }, ports))
    }

    /// What it turned out to be.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// The link as it is now, without waiting. A kernel interface that is gone is down. `None` when the driver does
    /// not answer.
    pub fn link(&self) -> Option<LinkState> {
        if let Some(interface) = &self.opened.interface {
            // The drivers on sockets call their link up as long as they run, and make up a speed.
            return Some(LinkState { up: interface.link_is_up(), mbps: None, full_duplex: true });
        }
        let _one = self.opened.query();
        let mut link = dpdk_sys::rte_eth_link::default();
        // SAFETY: the port is open as long as `opened` is; `link` is writable.
        let answer = unsafe { dpdk_sys::rte_eth_link_get_nowait(self.opened.port, &mut link) };
        (answer == 0).then(|| LinkState {
            up: u32::from(link.link_status()) == dpdk_sys::RTE_ETH_LINK_UP,
            mbps: Some(link.link_speed)
                .filter(|&speed| speed != 0 && speed != dpdk_sys::RTE_ETH_SPEED_NUM_UNKNOWN),
            full_duplex: u32::from(link.link_duplex()) == dpdk_sys::RTE_ETH_LINK_FULL_DUPLEX,
        })
    }

    /// What it has counted. `None` when the driver does not answer.
    pub fn stats(&self) -> Option<DeviceStats> {
        self.opened.stats()
    }
}

/// A device that is ours, from probe to close.
#[derive(Debug)]
pub(crate) struct Opened {
    eal: Eal,
    name: String,
    port: u16,
    /// Made by us, not found: to be removed again.
    virtual_device: bool,
    started: bool,
    promiscuous: bool,
    /// What it stands on, if that is a kernel interface.
    interface: Option<Interface>,
    /// Questions to the driver, which may keep state about the answers: one at a time. Not the lock of the control
    /// path, so that an lcore that asks never waits for another device to be opened.
    query: Mutex<()>,
    /// Frames of the pool that the driver may hold, and gives back when it closes.
    promised: Option<(Mempool, u32)>,
}

impl Opened {
    /// Finds the device, or makes it if it is virtual.
    fn find(eal: &Eal, spec: &PortSpec, index: usize, queues: u16) -> Result<Self, DeviceError> {
        let name = spec.device_name(index);
        let mut control = eal.control();
        if control.open.contains(&name) {
            return Err(DeviceError::AlreadyOpen { name });
        }
        let mark = log::mark();
        let missing = |reason| error::missing(spec, reason, log::since(mark));
        let interface = match spec.interface() {
            Some(name) => Some(Interface::find(name).ok_or_else(|| missing(io::ErrorKind::NotFound.into()))?),
            None => None,
        };
        if let Some(interface) = &interface {
            // Frames of the kernel's other queues would not cross the bridge.
            if let (PortSpec::AfXdp(name), Some(queues @ 2..)) = (spec, interface.rx_queues()) {
                return Err(DeviceError::SplitInterface { interface: name.to_string(), queues });
            }
            interface.bring_up().map_err(|reason| DeviceError::Down { spec: spec.clone(), reason })?;
        }
        let arguments = match spec {
            PortSpec::Pci(address) => Some(address.to_string()),
            _ => spec.vdev_args(index, distribution::virtual_queues(spec, queues)),
        };
        if let Some(arguments) = arguments {
            let arguments =
                CString::new(arguments).map_err(|_| missing(io::ErrorKind::InvalidInput.into()))?;
            // SAFETY: a string for the time of the call; the control lock is held.
            let answer = unsafe { dpdk_sys::rte_dev_probe(arguments.as_ptr()) };
            if answer < 0 {
                return Err(missing(io::Error::from_raw_os_error(-answer)));
            }
        }
        let c_name = CString::new(name.as_str()).map_err(|_| missing(io::ErrorKind::InvalidInput.into()))?;
        let mut port = 0;
        // SAFETY: a string for the time of the call, and a writable number.
        if unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut port) } != 0 {
            // A driver may log its failure and report success.
            return Err(missing(io::ErrorKind::NotFound.into()));
        }
        control.open.insert(name.clone());
        drop(control);
        Ok(Self {
            eal: eal.clone(),
            name,
            port,
            virtual_device: !matches!(spec, PortSpec::Pci(_)),
            started: false,
            promiscuous: false,
            interface,
            query: Mutex::default(),
            promised: None,
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn query(&self) -> MutexGuard<'_, ()> {
        self.query.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> Option<DeviceStats> {
        let _one = self.query();
        let mut stats = dpdk_sys::rte_eth_stats::default();
        // SAFETY: the port is open as long as `self` is; `stats` is writable.
        let answer = unsafe { dpdk_sys::rte_eth_stats_get(self.port, &mut stats) };
        (answer == 0).then_some(DeviceStats {
            rx_frames: stats.ipackets,
            rx_bytes: stats.ibytes,
            tx_frames: stats.opackets,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            rx_no_mbuf: stats.rx_nombuf,
            tx_errors: stats.oerrors,
        })
    }
}

impl Drop for Opened {
    /// Stops, closes, removes: in this order, each of which needs the one before. Nobody polls any more, since every
    /// DpdkPort holds this.
    fn drop(&mut self) {
        let mut control = self.eal.control();
        let device = setup::device_of(self.port);
        if self.promiscuous {
            // SAFETY: the port is open. A kernel interface would stay promiscuous otherwise.
            unsafe { dpdk_sys::rte_eth_promiscuous_disable(self.port) };
        }
        if self.started {
            // SAFETY: the port is started and nobody polls it.
            unsafe { dpdk_sys::rte_eth_dev_stop(self.port) };
        }
        // SAFETY: the port is stopped, and this is its last holder.
        unsafe { dpdk_sys::rte_eth_dev_close(self.port) };
        if let Some(device) = device.filter(|_| self.virtual_device) {
            // SAFETY: closing a port leaves its device in place; it was made for this port, which is closed.
            unsafe { dpdk_sys::rte_dev_remove(device.as_ptr()) };
        }
        if let Some((pool, frames)) = self.promised {
            pool.release(frames);
        }
        control.open.remove(&self.name);
    }
}
