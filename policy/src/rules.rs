//! Rules: what happens to flows, in the words of the people who are responsible for it.
//!
//! ```toml
//! version = 1
//!
//! [[rule]]
//! name = "no-short-video"
//! match = { category = ["short_video"] }
//! action = "block"
//! state = "shadow"
//! owner = "network@example.com"
//! purpose = "bandwidth"
//! expires = 2027-06-30
//! ```
//!
//! A rule matches when every field of `match` does; a field matches when one of its values does. **The first enforced
//! rule that matches decides**; without one the flow is forwarded. A rule in `shadow` decides nothing: it is counted
//! when it would have decided, that is, when no enforced rule before it matches. What is not said keeps frames
//! moving: there is no rule that blocks what no rule names.
//!
//! Rules decide what happens to frames. What may be *written* is not for them to say: that follows from charter and
//! category, and without a charter it is never more than counts.
//!
//! Three steps, each with its own errors: [`RuleFile::parse`] (text), [`RuleFile::bind`] (services of a table),
//! [`Rules::matrix`] (verdicts for the fast path).

mod file;
pub mod lint;

use jiff::civil::Date;

use crate::category::Category;
use crate::matrix::{Column, VerdictMatrix};
use crate::table::SignatureTable;
use crate::vocab::{Action, GroupId, ObservationLevel, Purpose, ServiceId, Verdict, coded};
pub use file::{MAX_BYTES, MAX_RULES, RuleFile};

coded! {
    /// Whether a rule acts.
    pub enum State {
        /// It is counted and does nothing.
        Shadow = 0 => "shadow",
        /// It acts.
        Enforce = 1 => "enforce",
    }
}

/// A rule, bound to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, unique in its file.
    pub name: String,
    /// 1-based line where it begins.
    pub line: u32,
    /// What it matches.
    pub matches: Match,
    /// What happens.
    pub action: Action,
    /// Whether it acts.
    pub state: State,
    /// Who answers for it.
    pub owner: String,
    /// Why it is there.
    pub purpose: Purpose,
    /// The last day on which it acts.
    pub expires: Option<Date>,
    /// What a reader should know.
    pub note: String,
}

/// What a rule matches: all that is given must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// One of these categories; any if there are none.
    pub categories: Vec<Category>,
    /// One of these services, by number, sorted; any if there are none.
    pub services: Vec<ServiceId>,
    /// The same services by key, as they were written.
    pub service_keys: Vec<String>,
}

/// The rules in force, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// What a flow is, as far as rules can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The group of its client.
    pub group: GroupId,
    /// Its category.
    pub category: Category,
    /// Its service.
    pub service: ServiceId,
}

/// What became of a rule that matches a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It decides.
    Decides,
    /// In shadow: it would decide if it were enforced.
    WouldDecide,
    /// A rule before it decides.
    Covered {
        /// Which one, by its place.
        by: usize,
    },
    /// Its last day is over, or nobody knows what day it is: then a rule with a last day does nothing.
    Expired,
}

impl Match {
    /// Whether all that is given agrees.
    pub fn covers(&self, target: &Target) -> bool {
        (self.categories.is_empty() || self.categories.contains(&target.category))
            && (self.services.is_empty() || self.services.binary_search(&target.service).is_ok())
    }
}

impl Rule {
    fn is_over(&self, today: Option<Date>) -> bool {
        match (self.expires, today) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(last), Some(today)) => last < today,
        }
    }
}

impl Rules {
    /// The rules, in order.
    pub fn as_slice(&self) -> &[Rule] {
        &self.rules
    }

    /// All rules that match, in order, with what becomes of each. `today` is `None` while the clock is not trusted.
    pub fn explain(&self, target: &Target, today: Option<Date>) -> impl Iterator<Item = (usize, Outcome)> {
        let mut decided = None;
        let target = *target;
        let matching = self.rules.iter().enumerate().filter(move |(_, rule)| rule.matches.covers(&target));
        matching.map(move |(i, rule)| {
            let outcome = match (decided, rule.state) {
                _ if rule.is_over(today) => Outcome::Expired,
                (Some(by), _) => Outcome::Covered { by },
                (None, State::Shadow) => Outcome::WouldDecide,
                (None, State::Enforce) => {
                    decided = Some(i);
                    Outcome::Decides
                }
            };
            (i, outcome)
        })
    }

    /// What happens to a flow.
    pub fn action(&self, target: &Target, today: Option<Date>) -> Action {
        let deciding = self.explain(target, today).find(|(_, outcome)| *outcome == Outcome::Decides);
        deciding.and_then(|(i, _)| self.rules.get(i)).map_or(Action::Allow, |rule| rule.action)
    }

    /// The first day on which another set of rules acts than on `today`: compile again then.
    pub fn next_change(&self, today: Date) -> Option<Date> {
        let ends = self.rules.iter().filter_map(|rule| rule.expires).filter(|last| *last >= today);
        ends.min().and_then(|last| last.tomorrow().ok())
    }

    /// Compiles verdicts for `groups` groups. `table` must be the one that the rules were bound to.
    pub fn matrix(
        &self,
        table: &SignatureTable,
        epoch: u64,
        valid_until_ns: u64,
        groups: usize,
        today: Option<Date>,
    ) -> VerdictMatrix {
        let mut own: Vec<ServiceId> =
            self.rules.iter().flat_map(|rule| rule.matches.services.iter().copied()).collect();
        own.sort_unstable();
        own.dedup();
        VerdictMatrix::new(epoch, valid_until_ns, groups, &own, |group, column| {
            let (category, service) = match column {
                Column::Category(category) => (category, ServiceId::NONE),
                Column::Service(service) => {
                    (table.service(service).map_or(Category::Unknown, |s| s.category), service)
                }
            };
            Verdict {
                action: self.action(&Target { group, category, service }, today),
                level: without_charter(category),
            }
        })
    }
}

/// What may be written about a category while no charter is in force: counts, and of protected categories nothing.
pub const fn without_charter(category: Category) -> ObservationLevel {
    if category.is_protected() { ObservationLevel::None } else { ObservationLevel::Aggregate }
}
