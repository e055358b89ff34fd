//! One queue of a device, polled by one lcore.

use std::sync::Arc;

use dpdk_sys::rte_mbuf;
use glassgate_dataplane::port::{Burst, Frame, Port, PortCounters};

use crate::device::Opened;
use crate::mbuf::Mbuf;

/// A receive queue and a transmit queue of the same number. The device stays open while this exists.
///
/// May move to the lcore that will poll it; polling needs `&mut`, so that no two threads poll a queue at once.
#[derive(Debug)]
pub struct DpdkPort {
    port: u16,
    queue: u16,
    counters: PortCounters,
    device: Arc<Opened>,
}

impl DpdkPort {
    /// # Safety
    ///
    /// `queue` is set up and started in both directions, and no other DpdkPort has it.
    pub(crate) unsafe fn new(device: Arc<Opened>, queue: u16) -> Self {
        Self { port: device.port(), queue, counters: PortCounters::default(), device }
    }

    /// The number of the queue within its device.
    pub fn queue(&self) -> u16 {
        self.queue
    }
}

impl Port for DpdkPort {
    type Frame = Mbuf;

    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        burst.fill(|slots| {
            let room = u16::try_from(slots.len()).unwrap_or(u16::MAX);
            // SAFETY: `slots` has `room` places of the size of a pointer, all `None`. The driver writes valid frames,
            // each owned by nobody else, into as many as it returns. The queue is started, and polled here only.
            let n =
                unsafe { dpdk_sys::shim_rx_burst(self.port, self.queue, slots.as_mut_ptr().cast(), room) };
            let (_, bytes) = measure(slots.iter().take(n.into()));
            self.counters.rx_frames += u64::from(n);
            self.counters.rx_bytes += bytes;
            n.into()
        })
    }

    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        burst.offer(|slots| {
            // What is sent belongs to the driver, which may free it at once: its length must be read before. A hole
            // among the frames, which only a faulty `fill` can leave, must not reach the driver as a null pointer.
            let (offered, mut bytes) = measure(slots.iter());
            let frames: *mut *mut rte_mbuf = slots.as_mut_ptr().cast();
            // SAFETY: `frames` has `offered` pointers to frames that are held here only. The driver takes over as
            // many, from the front, as it returns. The queue is started, and polled here only.
            let n = unsafe { dpdk_sys::shim_tx_burst(self.port, self.queue, frames, offered) };
            for sent in slots.iter_mut().take(n.into()) {
                // The driver's now.
                std::mem::forget(sent.take());
            }
            if n < offered {
                bytes -= measure(slots.iter().skip(n.into())).1;
            }
            self.counters.tx_frames += u64::from(n);
            self.counters.tx_bytes += bytes;
            n.into()
        })
    }

    /// What this queue has moved. Losses are counted by the device as a whole: queue 0 reports them, the others zero,
    /// so that sums over queues are right. Asks the driver; not for every burst.
    fn counters(&self) -> PortCounters {
        let mut counters = self.counters;
        if self.queue == 0 {
            let stats = self.device.stats().unwrap_or_default();
            counters.rx_missed = stats.rx_missed + stats.rx_errors + stats.rx_no_mbuf;
        }
        counters
    }
}

/// Number of frames up to the first hole, and their bytes.
#[inline]
fn measure<'a>(slots: impl Iterator<Item = &'a Option<Mbuf>>) -> (u16, u64) {
    slots.map_while(Option::as_ref).fold((0, 0), |(n, bytes), frame| (n + 1, bytes + frame.wire_len() as u64))
}
