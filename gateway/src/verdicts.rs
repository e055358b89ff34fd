//! From files to verdicts: signatures and rules, compiled together.

use crate::sources;
use glassgate_policy::diagnostic::Diagnostics;
use glassgate_policy::matrix::Column;
use glassgate_policy::{Action, ObservationLevel, Verdict, VerdictMatrix};
use std::path::Path;

/// What was compiled from the files, before it has an epoch and an end.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// The signature table.
    pub(crate) bytes: Vec<u8>,
    pub(crate) signatures: usize,
    pub(crate) services: usize,
    /// Worth knowing, no reason to refuse.
    pub(crate) warnings: Diagnostics,
}

/// Reads and compiles signatures and rules. Without a path: the signatures that come with the gateway; no rules.
pub(crate) fn compile(signatures: Option<&Path>, _rules: Option<&Path>) -> Result<Compiled, Diagnostics> {
    let compiled = sources::table(signatures)?;
    Ok(Compiled {
        bytes: compiled.bytes,
        signatures: compiled.report.listed,
        services: compiled.report.services,
        warnings: compiled.warnings,
    })
}

impl Compiled {
    /// The verdicts, under an epoch and until a time on the monotonic clock. Without a charter nothing is observed
    /// beyond counts, and protected categories not at all.
    pub(crate) fn matrix(&self, epoch: u64, valid_until_ns: u64) -> VerdictMatrix {
        VerdictMatrix::new(epoch, valid_until_ns, 1, &[], |_, column| Verdict {
            action: Action::Forward,
            level: match column {
                Column::Category(category) if category.is_protected() => ObservationLevel::None,
                _ => ObservationLevel::Aggregate,
            },
        })
    }
}
