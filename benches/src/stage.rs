//! What rows share: DPDK, a pool of frames, the CPU that everything runs on.

use std::path::PathBuf;
use std::thread;

use anyhow::{Context as _, Result};
use glassgate_dataplane::port::BURST;
use glassgate_dpdk::{
    Device, DeviceOptions, DpdkPort, Eal, EalOptions, Lcore, Memory, Mempool, MempoolOptions,
};

use crate::generator::Generator;
use crate::measure::Effort;
use crate::testpmd::Testpmd;

/// Memory of ours and of the reference, MiB each.
pub const MIB: u32 = 256;

/// What every row gets.
pub struct Stage {
    /// How long and how often.
    pub effort: Effort,
    /// The CPU.
    pub cpu: usize,
    /// Captures that the row of whole captures takes besides its own.
    pub captures: Vec<PathBuf>,
    /// nDPI's library with what surrounds it, if it is there.
    pub ndpi: Option<PathBuf>,
    /// What `cargo xtask bench` measured on a line.
    pub line: Option<PathBuf>,
    /// No huge pages were free: everything is slower.
    pub no_huge: bool,
    eal: Eal,
    devices: usize,
    /// Pools of the null ports: of IPv4, of IPv6. They live as long as the process, so that all rows share them.
    null_pools: [Option<Mempool>; 2],
    _lcore: Lcore,
}

impl Stage {
    /// Starts DPDK and ties the calling thread to the last CPU.
    pub fn new(effort: Effort) -> Result<Self> {
        let memory = Memory::available(2 * MIB);
        let no_huge = matches!(memory, Memory::NoHuge { .. });
        let memory = if no_huge { Memory::NoHuge { mib: MIB } } else { Memory::HugePages { mib: MIB } };
        let cpu = thread::available_parallelism()?.get() - 1;
        let eal = Eal::init(EalOptions {
            lcores: vec![cpu],
            file_prefix: "gg-bench".to_owned(),
            ..EalOptions::for_ports(memory, [])
        })?;
        let lcore = Lcore::enter(&eal, Some(cpu))?;
        Ok(Self {
            effort,
            cpu,
            captures: Vec::new(),
            ndpi: None,
            line: None,
            no_huge,
            eal,
            devices: 0,
            null_pools: [None; 2],
            _lcore: lcore,
        })
    }

    /// The environment.
    pub fn eal(&self) -> &Eal {
        &self.eal
    }

    /// A pool whose frames all begin with `template`, so that a generator has to write only what differs.
    pub fn pool(&mut self, name: &str, frames: u32, template: &[u8]) -> Result<Mempool> {
        let options = MempoolOptions { name: name.to_owned(), frames, ..MempoolOptions::default() };
        let pool = Mempool::create(&self.eal, options)?;
        let mut all = Vec::with_capacity(frames as usize);
        while let Ok(frame) = pool.frame(template) {
            all.push(frame);
        }
        Ok(pool)
    }

    /// The pool of null ports whose generators write flows of IPv4, or of IPv6.
    pub fn null_pool(&mut self, v6: bool) -> Result<Mempool> {
        if let Some(pool) = self.null_pools[usize::from(v6)] {
            return Ok(pool);
        }
        let name = if v6 { "null-v6" } else { "null-v4" };
        let pool = self.pool(name, Self::NULL_FRAMES, &Generator::template(v6))?;
        self.null_pools[usize::from(v6)] = Some(pool);
        Ok(pool)
    }

    /// A port on a device of its own, as a configuration would name it. The device stays open as long as the port.
    pub fn open(&mut self, spec: &str, pool: Mempool) -> Result<DpdkPort> {
        self.open_queues(spec, pool, 1)?.pop().context("a device without queues")
    }

    /// The same with so many queues, a port each.
    pub fn open_queues(&mut self, spec: &str, pool: Mempool, queues: u16) -> Result<Vec<DpdkPort>> {
        self.devices += 1;
        let spec = spec.parse().with_context(|| format!("the port `{spec}`"))?;
        let options = DeviceOptions { queues, ..DeviceOptions::default() };
        Ok(Device::open(&self.eal, &spec, self.devices, pool, &options)?.1)
    }

    /// A null port whose frames have `size` bytes.
    pub fn open_null(&mut self, size: usize, pool: Mempool) -> Result<DpdkPort> {
        // A name of its own: those of plain null ports count from one.
        self.open(&format!("vdev:net_null_sized{},size={size}", self.devices), pool)
    }

    /// Frames for the null ports of a row: all descriptors of eight of them, and what lcores keep aside. Only the few
    /// hundred that the lcore's cache of the pool holds are in use at a time.
    pub const NULL_FRAMES: u32 = 8 * 1024 + 2 * BURST as u32 + 1024;

    /// testpmd in io mode between two null ports.
    pub fn testpmd_null(&self, size: usize) -> Result<Testpmd> {
        let (a, b) = (format!("net_null0,size={size}"), format!("net_null1,size={size}"));
        Testpmd::start(&[&a, &b], "io", self.cpu, MIB, self.no_huge)
    }
}
