//! The verdicts in force: handed out as sealed files, again and again before they decay.

use crate::clock::mono_ns;
use crate::config::PolicyFiles;
use crate::handover;
use crate::ipc::Channel;
use crate::messages::{FromControl, PolicyId};
use crate::verdicts::{self, Compiled};
use anyhow::{Context as _, Result};
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics};
use glassgate_policy::matrix::MatrixHash;
use glassgate_policy::table::{SignatureTable, TableHash};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// What was compiled from the files, ready to be handed out.
pub(super) struct InForce {
    pub(super) compiled: Compiled,
    pub(super) table: SignatureTable,
    /// The table as it is handed over, made once: verdicts are renewed many times with the same table.
    sealed: OwnedFd,
}

/// What was handed out last.
#[derive(Clone, Debug)]
pub(super) struct HandedOut {
    pub(super) epoch: u64,
    pub(super) hash: MatrixHash,
    pub(super) table_hash: TableHash,
    pub(super) valid_until_ns: u64,
}

impl InForce {
    /// Reads and compiles the files.
    pub(super) fn load(files: &PolicyFiles) -> Result<Self, Diagnostics> {
        let compiled = verdicts::compile(files.signatures.as_deref(), files.rules.as_deref())?;
        let internal = |why: String| Diagnostics::from(Diagnostic::file("(signatures)", "internal", why));
        let table = SignatureTable::from_bytes(&compiled.bytes).map_err(|e| internal(e.to_string()))?;
        let sealed =
            handover::seal("glassgate-table", &compiled.bytes).map_err(|e| internal(e.to_string()))?;
        Ok(Self { compiled, table, sealed })
    }

    /// Hands the verdicts to the guard, for the data plane, under a new epoch and with a new end.
    pub(super) fn hand_out(&self, guard: &Channel, epoch: u64, valid_for: Duration) -> Result<HandedOut> {
        let valid_until_ns = mono_ns().saturating_add(valid_for.as_nanos() as u64);
        let matrix = self.compiled.matrix(epoch, valid_until_ns);
        let hash = matrix.hash();
        let matrix = handover::seal("glassgate-matrix", &matrix.to_bytes()).context("sealing the matrix")?;
        let fds = [self.sealed.as_fd(), matrix.as_fd()];
        guard
            .send(&FromControl::Policy(PolicyId { epoch }), &fds)
            .context("handing the policy to the guard")?;
        Ok(HandedOut { epoch, hash, table_hash: self.table.hash(), valid_until_ns })
    }
}
