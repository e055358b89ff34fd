//! What a rule does, and what of it the fast path can carry out.

use std::fmt;

use crate::limit::{Limit, Pace};
use crate::vocab::{Action, ObservationLevel};

/// What a rule does with the flows that it decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Frames pass, and nothing beyond counts is written.
    Allow,
    /// Frames pass, and what the charter allows is written. Never more: without a charter this is `allow` with another
    /// name.
    Observe,
    /// Frames are dropped.
    Block,
    /// Frames pass as long as those who share the limit stay below its rate, each way, or within its quota; what is over it is
    /// dropped.
    Limit(Limit),
    /// Frames pass; a device on which the charter's notice has not been read is shown it, once, over HTTP.
    Notice,
}

impl RuleAction {
    /// The words, in order of [`RuleAction`].
    pub const WORDS: &'static [&'static str] = &["allow", "observe", "block", "limit", "quota", "notice"];

    /// The word in rule files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Observe => "observe",
            Self::Block => "block",
            Self::Limit(Limit { pace: Pace::Rate(_), .. }) => "limit",
            Self::Limit(Limit { pace: Pace::Quota(_), .. }) => "quota",
            Self::Notice => "notice",
        }
    }

    /// What happens to frames.
    pub const fn on_frames(self) -> Action {
        match self {
            Self::Allow | Self::Observe => Action::Allow,
            Self::Block => Action::Block,
            Self::Limit(_) => Action::Limit,
            Self::Notice => Action::Notice,
        }
    }

    /// What is written, where the charter allows `allowed`: never more than that.
    pub fn observes(self, allowed: ObservationLevel) -> ObservationLevel {
        match self {
            Self::Allow => allowed.min(ObservationLevel::Aggregate),
            _ => allowed,
        }
    }
}

impl fmt::Display for RuleAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => write!(f, "{} {limit}", self.as_str()),
            other => f.write_str(other.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Per, Rate};

    #[test]
    fn no_action_writes_more_than_the_charter_allows() {
        let limit = Limit { pace: Pace::Rate(Rate::MIN), per: Per::Device };
        for action in [
            RuleAction::Allow,
            RuleAction::Observe,
            RuleAction::Block,
            RuleAction::Limit(limit),
            RuleAction::Notice,
        ] {
            for allowed in ObservationLevel::ALL {
                assert!(action.observes(*allowed) <= *allowed, "{action}");
            }
            assert!(RuleAction::WORDS.contains(&action.as_str()));
        }
        assert_eq!(RuleAction::Allow.observes(ObservationLevel::Sealed), ObservationLevel::Aggregate);
        assert_eq!(RuleAction::Observe.observes(ObservationLevel::Sealed), ObservationLevel::Sealed);
    }
}
