//! From a probed device to a started one.

use std::ffi::{CStr, c_int};
use std::io;
use std::ptr::NonNull;

use dpdk_sys::{rte_device, rte_eth_conf, rte_eth_dev_info};
use glassgate_dataplane::port::spec::PortSpec;

use super::distribution::{self, Distribution};
use super::error::SetupError;
use super::{DeviceInfo, DeviceOptions, Opened};
use crate::mempool::Mempool;

/// Descriptors where neither the caller nor the driver has an opinion.
const DEFAULT_RING: u16 = 512;

/// What a frame has beyond the MTU: Ethernet header, two VLAN tags.
const OVERHEAD: u32 = dpdk_sys::RTE_ETHER_HDR_LEN + 8;

/// Configures and starts a device that was probed. Dropping `opened` undoes it.
pub(super) fn start(
    mut opened: Opened,
    spec: &PortSpec,
    pool: Mempool,
    options: &DeviceOptions,
) -> Result<(DeviceInfo, Opened), SetupError> {
    // DPDK's calls on devices are not safe for concurrent use; the guard must not borrow what is changed below.
    let eal = opened.eal.clone();
    let control = eal.control();
    let result = start_locked(&mut opened, spec, pool, options);
    // Dropping `opened` takes the lock again.
    drop(control);
    result.map(|info| (info, opened))
}

fn start_locked(
    opened: &mut Opened,
    spec: &PortSpec,
    pool: Mempool,
    options: &DeviceOptions,
) -> Result<DeviceInfo, SetupError> {
    let port = opened.port;
    let offered = info_of(port)?;
    let (mut queues, mut distribution) = distribution::choose(
        spec,
        options.queues,
        offered.max_rx_queues.min(offered.max_tx_queues),
        offered.flow_type_rss_offloads,
    );
    let mut answer = configure(port, &offered, queues, distribution, pool, options);
    if distribution == Distribution::SymmetricRss && (answer.is_err() || !key_is_symmetric(port, &offered)) {
        queues = 1;
        distribution = Distribution::OneQueue { instead: Some("the NIC does not take a symmetric RSS key") };
        answer = configure(port, &offered, queues, distribution, pool, options);
    }
    answer?;

    let or_default =
        |wish: Option<u16>, driver: u16| wish.unwrap_or(if driver == 0 { DEFAULT_RING } else { driver });
    let mut rx_ring = or_default(options.rx_ring, offered.default_rxportconf.ring_size);
    let mut tx_ring = or_default(options.tx_ring, offered.default_txportconf.ring_size);
    // SAFETY: the port is configured; both numbers are writable.
    let answer = unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(port, &mut rx_ring, &mut tx_ring) };
    check("choose a number of descriptors", answer)?;
    let needed = u32::from(queues) * (u32::from(rx_ring) + u32::from(tx_ring));
    pool.promise(needed).map_err(|needed| SetupError::PoolTooSmall {
        frames: pool.frames(),
        needed,
        queues,
        rx_ring,
        tx_ring,
    })?;
    // The driver of af_xdp forgets the frames in its rings when it closes: they are gone from the pool for good, and
    // the promise stays with them.
    if !matches!(spec, PortSpec::AfXdp(_)) {
        opened.promised = Some((pool, needed));
    }

    // SAFETY: asks for a number.
    let node = unsafe { dpdk_sys::rte_eth_dev_socket_id(port) };
    for queue in 0..queues {
        // SAFETY: the port is configured with this queue, and the pool is never freed. Null: the driver's defaults.
        let answer = unsafe {
            dpdk_sys::rte_eth_rx_queue_setup(port, queue, rx_ring, node as u32, std::ptr::null(), pool.raw())
        };
        check("set up a receive queue", answer)?;
        // SAFETY: as above.
        let answer =
            unsafe { dpdk_sys::rte_eth_tx_queue_setup(port, queue, tx_ring, node as u32, std::ptr::null()) };
        check("set up a transmit queue", answer)?;
    }
    // SAFETY: the port is open. NICs may still count what happened before; those that can't be reset did not.
    unsafe { dpdk_sys::rte_eth_stats_reset(port) };
    // SAFETY: the port and all its queues are set up.
    check("start", unsafe { dpdk_sys::rte_eth_dev_start(port) })?;
    opened.started = true;
    if options.promiscuous {
        // SAFETY: the port is started.
        let answer = unsafe { dpdk_sys::rte_eth_promiscuous_enable(port) };
        opened.promiscuous = supported("receive frames for every address", answer)?;
    }

    let mut mtu = 0;
    // SAFETY: the port is open and the number writable.
    check("tell its MTU", unsafe { dpdk_sys::rte_eth_dev_get_mtu(port, &mut mtu) })?;
    Ok(DeviceInfo {
        spec: spec.clone(),
        name: opened.name.clone(),
        driver: driver_name(&offered),
        port,
        mac: mac_of(port)?,
        numa_node: u32::try_from(node).ok(),
        queues,
        distribution,
        promiscuous: opened.promiscuous,
        mtu,
        rx_ring,
        tx_ring,
    })
}

fn configure(
    port: u16,
    offered: &rte_eth_dev_info,
    queues: u16,
    distribution: Distribution,
    pool: Mempool,
    options: &DeviceOptions,
) -> Result<(), SetupError> {
    let mut conf = rte_eth_conf::default();
    let mut key = distribution::symmetric_key(offered.hash_key_size);
    if distribution == Distribution::SymmetricRss {
        conf.rxmode.mq_mode = dpdk_sys::rte_eth_rx_mq_mode::RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
        conf.rx_adv_conf.rss_conf.rss_key_len = u8::try_from(key.len()).unwrap_or(u8::MAX);
        conf.rx_adv_conf.rss_conf.rss_hf = distribution::RSS_FIELDS & offered.flow_type_rss_offloads;
    }
    if let Some(mtu) = options.mtu {
        conf.rxmode.mtu = u32::from(mtu);
        if u32::from(mtu) + OVERHEAD > u32::from(pool.room()) {
            // Longer than a buffer: in several segments, if the driver can.
            conf.rxmode.offloads |= dpdk_sys::SHIM_RX_OFFLOAD_SCATTER & offered.rx_offload_capa;
            conf.txmode.offloads |= dpdk_sys::SHIM_TX_OFFLOAD_MULTI_SEGS & offered.tx_offload_capa;
            if conf.rxmode.offloads == 0 || conf.txmode.offloads == 0 {
                let reason = io::Error::other(format!(
                    "it can't split frames: buffers of {} bytes are needed, the mempool has {}",
                    u32::from(mtu) + OVERHEAD,
                    pool.room()
                ));
                return Err(SetupError::Refused { step: "receive frames of this MTU", reason });
            }
        }
    }
    // SAFETY: the port is open and not started; `conf` and the key it points to are read during the call.
    check("be configured", unsafe { dpdk_sys::rte_eth_dev_configure(port, queues, queues, &conf) })?;
    if let Some(mtu) = options.mtu {
        // SAFETY: the port is configured and not started.
        check("use this MTU", unsafe { dpdk_sys::rte_eth_dev_set_mtu(port, mtu) })?;
    }
    Ok(())
}

/// Whether the NIC hashes with our key: some accept a key and keep their own. Those that can't be asked are believed.
fn key_is_symmetric(port: u16, offered: &rte_eth_dev_info) -> bool {
    let key = distribution::symmetric_key(offered.hash_key_size);
    let mut used = key.clone();
    let mut conf = dpdk_sys::rte_eth_rss_conf {
        rss_key: used.as_mut_ptr(),
        rss_key_len: u8::try_from(used.len()).unwrap_or(u8::MAX),
        rss_hf: 0,
    };
    // SAFETY: the port is configured; `conf` and the key it points to, of the length it says, are writable.
    unsafe { dpdk_sys::rte_eth_dev_rss_hash_conf_get(port, &mut conf) };
    used == key
}

/// The device behind a port, to remove it.
pub(super) fn device_of(port: u16) -> Option<NonNull<rte_device>> {
    info_of(port).ok().and_then(|info| NonNull::new(info.device))
}

fn info_of(port: u16) -> Result<rte_eth_dev_info, SetupError> {
    let mut info = rte_eth_dev_info::default();
    // SAFETY: the port is open and `info` is writable.
    check("describe itself", unsafe { dpdk_sys::rte_eth_dev_info_get(port, &mut info) })?;
    Ok(info)
}

fn driver_name(info: &rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return "unknown driver".to_owned();
    }
    // SAFETY: drivers name themselves with a static string.
    unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
}

fn mac_of(port: u16) -> Result<[u8; 6], SetupError> {
    let mut mac = dpdk_sys::rte_ether_addr::default();
    // SAFETY: the port is open and `mac` is writable.
    check("tell its address", unsafe { dpdk_sys::rte_eth_macaddr_get(port, &mut mac) })?;
    Ok(mac.addr_bytes)
}

fn check(step: &'static str, answer: c_int) -> Result<(), SetupError> {
    match answer {
        0.. => Ok(()),
        _ => Err(SetupError::Refused { step, reason: io::Error::from_raw_os_error(answer.saturating_neg()) }),
    }
}

/// Whether a driver has a feature; errors other than "not supported" are errors.
fn supported(step: &'static str, answer: c_int) -> Result<bool, SetupError> {
    match check(step, answer) {
        Ok(()) => Ok(true),
        Err(SetupError::Refused { reason, .. }) if reason.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(error) => Err(error),
    }
}
