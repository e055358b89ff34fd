//! The rows of the table, by name.

mod distributor;
pub mod inspect;
mod known;
mod line;
mod load;
mod mixes;
mod table;

use anyhow::Result;

use crate::report::Report;
use crate::stage::Stage;

/// A row: one question with its figures.
pub struct Row {
    /// What `--row` calls it.
    pub name: &'static str,
    /// What it answers.
    pub about: &'static str,
    /// Answers it.
    pub run: fn(&mut Stage, &mut Report) -> Result<()>,
}

/// All rows, in the order of the table.
pub const ROWS: &[Row] = &[
    Row {
        name: "known",
        about: "frames of 64 bytes of known flows, whole path, null to null",
        run: known::uniform,
    },
    Row { name: "imix", about: "known flows, frames of 64, 594 and 1518 bytes", run: mixes::imix },
    Row { name: "zipf", about: "known flows, a few of which get most of the frames", run: mixes::popular },
    Row { name: "v6", about: "known flows over IPv6", run: mixes::v6 },
    Row { name: "table", about: "the flow table by itself", run: table::run },
    Row { name: "tls", about: "new TLS flows, from SYN to verdict", run: inspect::tls },
    Row { name: "quic", about: "QUIC Initials, from datagram to name", run: inspect::quic },
    Row { name: "captures", about: "whole captures, preloaded", run: inspect::captures },
    Row { name: "churn", about: "flows that begin and run out among known ones", run: load::churn },
    Row { name: "reload", about: "pack and matrix swapped under load", run: load::reload },
    Row { name: "latency", about: "how long frames stay", run: load::latency },
    Row { name: "heap", about: "allocations after start", run: inspect::allocations },
    Row { name: "lcores", about: "two lcores against one", run: load::lcores },
    Row { name: "distributor", about: "an lcore that spreads frames over others", run: distributor::run },
    Row { name: "line", about: "iperf3 through XDP sockets, beside testpmd", run: line::run },
];
