//! The fast path of Glassgate: frame → flow → name → verdict, on any [`port::Port`].
//!
//! ```text
//!  port A ─rx burst─► parse ─► flow lookup ─┬─ verdict known ────────► act ─► tx burst ─► port B
//!                                           ├─ undecided ─► inspect ─┐
//!                                           └─ new flow ──► insert ──┤
//!                                                                    ▼
//!                     name + evidence ─► signature table ─► verdict matrix ─► FlowEvent ring
//! ```
//!
//! Frame bytes are hostile. Nothing that they reach panics, allocates or grows; what can't be read is forwarded
//! and counted under one [`glassgate_policy::Reason`]. The crate builds and tests without DPDK: the same code runs
//! on capture files and on memory.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod answer;
pub mod assembler;
pub mod classifier;
pub mod conservation;
pub mod counters;
pub mod defrag;
pub mod distributor;
pub mod event_ring;
#[cfg(any(test, feature = "faults-on-purpose"))]
mod fault;
pub mod flow;
pub mod flow_table;
pub mod hints;
mod identity;
pub mod inband;
pub mod inspect;
pub mod latency;
pub mod lcore;
#[cfg(feature = "faults-on-purpose")]
mod leak;
pub mod limiter;
pub mod notice;
pub mod packet;
pub mod parse;
pub mod port;
pub mod probe;
pub mod quic_ids;
pub mod shm;
pub mod slab;
pub mod stats_page;
pub mod timer_wheel;

#[cfg(all(feature = "faults-on-purpose", not(debug_assertions)))]
compile_error!("`faults-on-purpose` is for tests; what is shipped must not be able to leak");
