//! What `cargo xtask bench` runs: rows of a table, each a figure of ours beside its references and its goal.
//!
//! References run in the same process group, on the same CPU, in turns with ours, so that what disturbs one disturbs
//! the other. What the figures say and what they don't is in `docs/benchmarks.md`.

mod ethernet_pcap;
pub mod frames;
pub mod generator;
mod initial_floor;
pub mod measure;
pub mod ndpi;
pub mod report;
pub mod rows;
pub mod stage;
mod support;
pub mod testpmd;
pub mod wire;
