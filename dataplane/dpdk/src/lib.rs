//! The [`Port`](glassgate_dataplane::port::Port) on DPDK 22.11: environment, mempools, devices, queues.
//!
//! ```text
//!  Eal::init ─► Mempool::create ─► Device::open ─► (Device, one DpdkPort per queue)
//!                                                        │ moved to the lcore that polls it
//!                       Lcore::enter (pins the thread) ──┴─► rx_burst / tx_burst on Burst<Mbuf>
//! ```
//!
//! What holds throughout:
//!
//! * A frame is a pointer. [`Mbuf`] is one, `Option<Mbuf>` too, and a driver writes its pointers straight into the
//!   slots of the caller's [`Burst`](glassgate_dataplane::port::Burst). Nothing is copied, nothing is allocated.
//! * A queue belongs to one lcore at a time: polling takes `&mut DpdkPort`.
//! * Mempools live as long as the process. That is what lets a frame be a bare pointer that may outlive its port.
//! * Only a primary process, in memory: no shared files, nothing left behind by `kill -9`. Secondary processes are
//!   not offered: the exit of one can reset the NIC.
//! * DPDK's texts don't reach the terminal: they go to the sink that [`EalOptions`] names, and their last lines into
//!   errors.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod device;
mod eal;
mod hugepages;
mod lcore;
mod log;
mod mbuf;
mod mempool;
mod port;
#[cfg(feature = "reference")]
pub mod reference;

pub use device::{Device, DeviceError, DeviceInfo, DeviceOptions, DeviceStats, Distribution, LinkState};
pub use eal::{Eal, EalError, EalOptions, Memory};
pub use hugepages::HugePages;
pub use lcore::{Lcore, LcoreError};
pub use log::{LogLevel, LogSink};
pub use mbuf::Mbuf;
pub use mempool::{FrameError, Mempool, MempoolError, MempoolOptions};
pub use port::DpdkPort;
