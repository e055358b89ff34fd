//! What is in force in the running gateway, beside what the files say.

use crate::ask;
use crate::cli::Ask;
use crate::cli::rules::Files;
use crate::config::DEFAULT_PATH;
use crate::control::snapshot::{RuleNow, Snapshot};
use crate::control::socket::{Answer, Question};
use crate::verdicts::Compiled;
use anyhow::Result;
use glassgate_policy::audit::Hex;
use glassgate_policy::rules::State;
use serde::Serialize;

/// What the gateway decides by.
#[derive(Debug, Serialize)]
pub(super) struct Running {
    epoch: u64,
    matrix_hash: String,
    table_hash: String,
    /// Lcores that decide by it, of how many.
    acknowledged: usize,
    lcores: usize,
    /// When it last took its files.
    loaded: String,
    /// Whether its table was compiled from the same signatures on the same day as the one that answered here.
    same_signatures: bool,
    /// Whether its rules have the same names, states and actions.
    same_rules: bool,
    /// Why the files as they are now were not taken.
    rejected: Option<String>,
    /// What is written now.
    recording: String,
    /// On which charter.
    basis: String,
}

/// Asks the gateway that the configuration names.
pub(super) fn ask(files: &Files, compiled: &Compiled) -> Result<Running> {
    let config = files.config.clone().unwrap_or_else(|| DEFAULT_PATH.into());
    let socket = ask::socket(&Ask { config, socket: None, json: false })?;
    match ask::ask(&socket, &Question::Status)? {
        Answer::Status(now) => Ok(compare(&now, compiled)),
        _ => anyhow::bail!("the gateway gave another answer than was asked for"),
    }
}

fn compare(now: &Snapshot, compiled: &Compiled) -> Running {
    let here: Vec<_> = compiled
        .rules
        .as_slice()
        .iter()
        .map(|rule| (rule.name.clone(), rule.state == State::Enforce, rule.action.to_string()))
        .collect();
    let of = |rule: &RuleNow| (rule.name.clone(), rule.enforced, rule.action.clone());
    let there: Vec<_> = now.rules.iter().map(of).collect();
    let (mut sorted_here, mut sorted_there) = (here, there);
    sorted_here.sort();
    sorted_there.sort();
    let policy = &now.policy;
    Running {
        epoch: policy.epoch,
        matrix_hash: policy.matrix_hash.clone(),
        table_hash: policy.table_hash.clone(),
        acknowledged: policy.acknowledged,
        lcores: policy.lcores,
        loaded: policy.loaded.clone(),
        same_signatures: policy.table_content == Hex(&compiled.table.content_hash()).to_string(),
        same_rules: sorted_here == sorted_there,
        rejected: policy.rejected.clone(),
        recording: now.recording.what.clone(),
        basis: now.recording.basis.clone(),
    }
}

impl Running {
    /// The same for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let same = |same, what: &str| {
            if same {
                format!("the same {what} as in these files")
            } else {
                format!("other {what} than in these files")
            }
        };
        let mut lines = vec![
            format!(
                "epoch {}, in use by {} of {} lcores; files taken {}",
                self.epoch, self.acknowledged, self.lcores, self.loaded
            ),
            format!("matrix {}", self.matrix_hash),
            format!("table {}", self.table_hash),
            if self.same_signatures {
                same(true, "signatures")
            } else {
                "signatures of other files, or taken on another day".to_owned()
            },
            same(self.same_rules, "rules"),
        ];
        if let Some(why) = &self.rejected {
            lines.push(format!("refused the files as they were: {}", why.lines().next().unwrap_or_default()));
        }
        lines.push(format!("{} {}", self.recording, self.basis));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample;
    use crate::verdicts;

    #[test]
    fn says_whether_files_and_gateway_agree() {
        let compiled = verdicts::compile(None, None, None).unwrap();
        let mut now = sample::snapshot();
        let other = compare(&now, &compiled);
        assert!(!other.same_signatures && !other.same_rules);
        assert!(other.lines().iter().any(|line| line.contains("other rules")), "{:?}", other.lines());
        now.policy.table_content = Hex(&compiled.table.content_hash()).to_string();
        now.rules.clear();
        let same = compare(&now, &compiled);
        assert!(same.same_signatures && same.same_rules);
        assert!(same.lines().contains(&"the same signatures as in these files".to_owned()));
    }
}
