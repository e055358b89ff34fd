//! Many gateways: what of each goes up to a hub, and what the hub makes of it, on NATS JetStream.
//!
//! ```text
//!  box: audit log ──► agent ──► nats-server (leaf, JetStream domain of the site) ─ ─ ─ link ─ ─ ─► cluster ──► hub ──► rollups
//! ```
//!
//! * The agent is a process of its own. It reads the audit log's folder and nothing else; it can neither slow nor stop forwarding, and it has no
//!   key of sealed records.
//! * [`up`] is the list of what goes up. Whatever is not on it stays.
//! * [`down`] is what a box asks for and verifies: signature packs, staged by the hub.
//! * [`joined`] says what may be told of several sites together.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod agent;
pub mod cli;
pub mod down;
pub mod hub;
pub mod joined;
pub mod link;
pub mod servers;
pub mod store;
pub mod up;
pub mod witness;
pub mod words;
