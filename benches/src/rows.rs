//! The rows of the table, by name.

pub mod inspect;
mod known;
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
    Row { name: "table", about: "the flow table by itself", run: table::run },
    Row { name: "tls", about: "new TLS flows, from SYN to verdict", run: inspect::tls },
    Row { name: "quic", about: "QUIC Initials, from datagram to name", run: inspect::quic },
    Row { name: "captures", about: "whole captures, preloaded", run: inspect::captures },
];
