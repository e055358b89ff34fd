//! The bottom of Glassgate: the words everything else is written in, and what decides from them.
//!
//! Nothing here sees a frame, touches DPDK or needs `unsafe`; it builds on any machine. The dependency
//! direction is `gateway → dataplane → policy` and a test of `xtask` holds it.
//!
//! ```text
//! name + evidence ─► SignatureTable ─► (service, category) ─► VerdictMatrix[group][column] ─► Verdict
//!                                                                                              │
//!                              audit record ◄─ engine (rollups, levels) ◄─ FlowEvent ◄──────────┘
//! ```
//!
//! Principles: what is immutable is built once and swapped whole (table, matrix); what comes from outside
//! (sources, rules, packs, events from the ring) is hostile until validated; no record type has a field that
//! could hold payload.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod access;
pub mod audit;
pub mod builtin;
pub mod calendar;
pub mod case;
pub mod category;
pub mod charter;
pub mod clue;
pub mod compile;
pub mod diagnostic;
pub mod engine;
pub mod exchange;
pub mod explain;
pub mod flow_event;
pub mod identity;
pub mod ledger;
pub mod limit;
pub mod matrix;
pub mod name;
pub mod pack;
pub mod quarantine;
pub mod reason;
pub mod rollup;
pub mod rules;
pub mod session;
pub mod signature;
pub mod source;
pub mod suppress;
pub mod table;
pub mod upload;
pub mod vocab;

pub use category::Category;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use flow_event::FlowEvent;
pub use matrix::VerdictMatrix;
pub use name::Name;
pub use reason::Reason;
pub use table::SignatureTable;
pub use vocab::{
    Action, AppProto, Direction, Endpoint, Evidence, FiveTuple, GroupId, L4, ObservationLevel, Purpose,
    ServiceId, SubjectId, Unobserved, Verdict,
};
