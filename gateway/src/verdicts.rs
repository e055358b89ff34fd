//! From files to verdicts: signatures and rules, compiled together.

use crate::config::read_bounded;
use crate::sources;
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics};
use glassgate_policy::rules::{self, Declared, Moment, RuleFile, Rules};
use glassgate_policy::{SignatureTable, VerdictMatrix};
use jiff::civil::Date;
use std::path::Path;
use std::sync::Arc;

/// What was compiled from the files, before it has an epoch and an end.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) table: SignatureTable,
    pub(crate) rules: Arc<Rules>,
    /// The rules as they were read; empty without a path.
    pub(crate) file: RuleFile,
    /// Groups and calendars that the rules may name.
    pub(crate) declared: Declared,
    pub(crate) signatures: usize,
    pub(crate) services: usize,
    /// Worth knowing, no reason to refuse.
    pub(crate) warnings: Diagnostics,
}

/// Reads and compiles signatures and rules. Without a path: the signatures that come with the gateway; no rules.
/// `today` is `None` while the clock is not trusted: then rules with a last day do nothing.
pub(crate) fn compile(
    signatures: Option<&Path>,
    rules: Option<&Path>,
    today: Option<Date>,
) -> Result<Compiled, Diagnostics> {
    let mut compiled = sources::table(signatures)?;
    let table = SignatureTable::from_bytes(&compiled.bytes)
        .map_err(|e| Diagnostic::file("(signature table)", "internal", e.to_string()))?;
    // Without a charter nobody has said who is in a group and when a calendar is open.
    let declared = Declared::default();
    let (mut bound, mut file) = (Rules::default(), RuleFile::default());
    if let Some(path) = rules {
        let name = path.display().to_string();
        let bytes = read_bounded(path, rules::MAX_BYTES as u64)
            .map_err(|e| Diagnostic::file(&name, "unreadable", format!("the rules can't be read: {e}")))?;
        let warnings;
        file = RuleFile::parse(&name, &bytes)?;
        (bound, warnings) = file.bind(&table, &declared, today)?;
        compiled.warnings.append(warnings);
    }
    Ok(Compiled {
        table,
        rules: Arc::new(bound),
        file,
        declared,
        signatures: compiled.report.listed,
        services: compiled.report.services,
        warnings: compiled.warnings,
    })
}

impl Compiled {
    /// The verdicts, under an epoch and until a time on the monotonic clock.
    pub(crate) fn matrix(&self, epoch: u64, valid_until_ns: u64, moment: &Moment) -> VerdictMatrix {
        self.rules.matrix(&self.table, epoch, valid_until_ns, 1, moment)
    }
}
