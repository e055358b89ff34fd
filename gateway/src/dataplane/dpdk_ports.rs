//! Ports on DPDK: from the devices of the configuration to queues.

use super::Ports;
use crate::config::Dataplane;
use crate::messages::PortInfo;
use anyhow::{Context as _, Result};
use glassgate_dataplane::port::spec::PortSpec;
use glassgate_dpdk::{
    DeviceOptions, DpdkPort, Eal, EalOptions, Lcore, LogLevel, Memory, Mempool, MempoolOptions,
};
use std::sync::Arc;
use tracing::{error, info, warn};

/// Frames of the pool for each lcore: all descriptors of its two ports in both directions, and a good half to spare.
const FRAMES_PER_LCORE: u32 = 16 * 1024;

/// Starts DPDK and makes the pool, which takes the longest: no port is touched by it, and whoever forwards meanwhile goes on.
pub(super) fn prepare(specs: [&PortSpec; 2], settings: &Dataplane) -> Result<(Eal, Mempool)> {
    let mib = settings.memory_mib;
    let memory = if settings.huge_pages { Memory::HugePages { mib } } else { Memory::NoHuge { mib } };
    let lcores = settings.lcores.len();
    let eal = Eal::init(EalOptions {
        lcores: settings.lcores.iter().map(|cpu| *cpu as usize).collect(),
        log: Some(Arc::new(log_line)),
        log_level: LogLevel::Warning,
        ..EalOptions::for_ports(memory, specs)
    })?;
    let frames = FRAMES_PER_LCORE.saturating_mul(lcores as u32);
    let pool = Mempool::create(&eal, MempoolOptions { frames, ..MempoolOptions::default() })?;
    Ok((eal, pool))
}

/// Opens both devices with a queue for each lcore, or as many as can be had.
pub(super) fn open(
    (eal, pool): (Eal, Mempool),
    specs: [&PortSpec; 2],
    settings: &Dataplane,
) -> Result<(Ports<DpdkPort>, Eal)> {
    // To close an XDP socket takes system calls that are given up by then: the guard takes the program off.
    let leave_open = specs.iter().any(|spec| matches!(spec, PortSpec::AfXdp(_)));
    let lcores = settings.lcores.len();
    let options = DeviceOptions { queues: lcores as u16, ..DeviceOptions::default() };
    let mut infos = Vec::new();
    let mut sides = Vec::new();
    for (index, (spec, name)) in specs.into_iter().zip(["lan", "uplink"]).enumerate() {
        let (device, queues) = glassgate_dpdk::Device::open(&eal, spec, index, pool, &options)
            .with_context(|| format!("opening the port `{name}`"))?;
        let info = device.info();
        info!("{name}: {info}");
        let [a, b, c, d, e, f] = info.mac;
        infos.push(PortInfo {
            name: name.to_owned(),
            device: spec.to_string(),
            driver: info.driver.clone(),
            mac: Some(format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")),
        });
        sides.push(queues);
    }
    let (uplink, lan) = (sides.pop().unwrap_or_default(), sides.pop().unwrap_or_default());
    Ok((Ports { sides: [lan, uplink], infos, leave_open }, eal))
}

/// Makes the calling thread an lcore on a CPU.
pub(super) fn enter(eal: &Eal, cpu: u32) -> Result<Lcore> {
    Ok(Lcore::enter(eal, Some(cpu as usize))?)
}

fn log_line(level: LogLevel, line: &str) {
    match level {
        LogLevel::Error => error!("DPDK: {line}"),
        LogLevel::Warning => warn!("DPDK: {line}"),
        _ => info!("DPDK: {line}"),
    }
}
