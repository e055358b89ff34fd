//! What a rule does, and what of it the fast path can carry out.

use std::fmt;

use crate::limit::Limit;
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
    /// Frames pass as long as those who share the limit stay below its rate, each way; what is over it is dropped.
    Limit(Limit),
    /// Frames pass, and the client is told which rule it met.
    Notice,
}

impl RuleAction {
    /// The words, in order of [`RuleAction`].
    pub const WORDS: &'static [&'static str] = &["allow", "observe", "block", "limit", "notice"];

    /// The word in rule files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Observe => "observe",
            Self::Block => "block",
            Self::Limit(_) => "limit",
            Self::Notice => "notice",
        }
    }

    /// What happens to frames; `None` if the fast path can't do it. A rule with such an action may be in shadow, where
    /// it is counted. It is refused when it is enforced: a rule that is silently not carried out is worse than none.
    pub const fn on_frames(self) -> Option<Action> {
        match self {
            Self::Allow | Self::Observe => Some(Action::Allow),
            Self::Block => Some(Action::Block),
            Self::Limit(_) => Some(Action::Limit),
            Self::Notice => None,
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
            Self::Limit(limit) => write!(f, "limit {limit}"),
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
        let limit = Limit { rate: Rate::MIN, per: Per::Device };
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
