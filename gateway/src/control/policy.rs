//! The verdicts in force: handed out as sealed files, again and again before they decay.

use crate::clock;
use crate::config::PolicyFiles;
use crate::handover;
use crate::ipc::Channel;
use crate::messages::{FromControl, PolicyId};
use crate::verdicts::{self, Compiled};
use anyhow::{Context as _, Result};
use glassgate_policy::audit::{Hex, Now};
use glassgate_policy::charter::Levels;
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics};
use glassgate_policy::engine;
use glassgate_policy::limit::Windows;
use glassgate_policy::matrix::{MatrixHash, Members};
use glassgate_policy::rules::{Declared, Moment, Rules};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// What was compiled from the files, ready to be handed out.
pub(super) struct InForce {
    pub(super) compiled: Compiled,
    /// The table as it is handed over, made once: verdicts are renewed many times with the same table.
    sealed: OwnedFd,
}

/// What was handed out last.
#[derive(Clone, Debug)]
pub(super) struct HandedOut {
    pub(super) epoch: u64,
    pub(super) hash: MatrixHash,
    pub(super) valid_until_ns: u64,
}

impl InForce {
    /// Reads and compiles the files.
    pub(super) fn load(files: &PolicyFiles, declared: Declared, now: &Now) -> Result<Self, Diagnostics> {
        let compiled = verdicts::compile_with(files, declared, clock::today(now), true)?;
        fits(compiled.table.bytes().len() as u64)?;
        let sealed = handover::seal("glassgate-table", compiled.table.bytes())
            .map_err(|e| Diagnostic::file("(signature table)", "internal", e.to_string()))?;
        Ok(Self { compiled, sealed })
    }

    /// The name of the next policy, after the last one.
    pub(super) fn next_id(&self, last: Option<&PolicyId>, bypass: bool) -> PolicyId {
        let content = Hex(&self.compiled.table.content_hash()).to_string();
        let epoch = last.map_or(0, |last| last.epoch) + 1;
        let since = last.filter(|last| last.content == content).map_or(epoch, |last| last.since);
        PolicyId { epoch, content, since, bypass }
    }

    /// What the engine must know before flows are decided under `epoch`.
    pub(super) fn for_engine(&self, epoch: u64, terms: &Terms) -> engine::Policy {
        let Compiled { table, rules, .. } = &self.compiled;
        let (moment, levels) = (terms.moment.clone(), terms.levels.clone());
        let groups = terms.groups.clone();
        engine::Policy { epoch, table: table.clone(), rules: rules.clone(), moment, levels, groups }
    }

    /// Hands the verdicts to the guard, for the data plane, under a new epoch and with a new end.
    pub(super) fn hand_out(
        &self,
        guard: &Channel,
        id: PolicyId,
        valid_for: Duration,
        now: &Now,
        terms: Terms,
    ) -> Result<HandedOut> {
        let valid_until_ns = now.mono_ns.saturating_add(valid_for.as_nanos() as u64);
        let epoch = id.epoch;
        let Terms { levels, observe_until_ns, moment, members, groups: _, windows } = terms;
        let matrix = if id.bypass {
            Rules::default().matrix(&self.compiled.table, epoch, valid_until_ns, &levels, &moment)
        } else {
            self.compiled.matrix(epoch, valid_until_ns, &levels, &moment).of_members(members)
        };
        let matrix = matrix.in_windows(windows).observing(observe_until_ns, |group| levels.why_not(group));
        let hash = matrix.hash();
        let matrix = handover::seal("glassgate-matrix", &matrix.to_bytes()).context("sealing the matrix")?;
        let fds = [self.sealed.as_fd(), matrix.as_fd()];
        guard.send(&FromControl::Policy(id), &fds).context("handing the policy to the guard")?;
        Ok(HandedOut { epoch, hash, valid_until_ns })
    }
}

/// What verdicts depend on besides rules and signatures.
pub(super) struct Terms {
    pub(super) levels: Arc<Levels>,
    /// Monotonic end of what may be observed.
    pub(super) observe_until_ns: u64,
    /// The day and the calendars.
    pub(super) moment: Moment,
    /// Who is in which group.
    pub(super) members: Members,
    /// Names of the groups, in order of their rows.
    pub(super) groups: Arc<[String]>,
    /// Which hour, day and week it is.
    pub(super) windows: Windows,
}

/// Whether a table of so many bytes may be handed over.
fn fits(bytes: u64) -> Result<(), Diagnostics> {
    if bytes <= handover::MAX_TABLE {
        return Ok(());
    }
    let (is, may) = (bytes >> 20, handover::MAX_TABLE >> 20);
    let message = format!("the signatures take {is} MiB when compiled, and {may} MiB is the most");
    Err(Diagnostic::file("(signature table)", "too-large", message).help("leave lists out").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_fit_is_refused_before_it_is_offered() {
        assert_eq!(fits(handover::MAX_TABLE), Ok(()));
        let faults = fits(handover::MAX_TABLE + 1).unwrap_err();
        let fault = &faults.as_slice()[0];
        assert!(fault.code == "too-large" && fault.message.contains("256 MiB"), "{fault}");
    }
}
