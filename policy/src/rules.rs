//! Rules: what happens to flows, in the words of the people who are responsible for it.
//!
//! ```toml
//! version = 1
//! calendars = ["lunch"]
//!
//! [[rule]]
//! name = "no-short-video"
//! match = { category = ["short_video"], calendar = ["lunch"] }
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
//! Rules decide what happens to frames. What may be *written* comes as [`Levels`], which only a charter can raise above
//! counts; a rule can make it less ([`RuleAction::Allow`]), never more.
//!
//! What can't be known for sure makes a rule do nothing: an unknown day for a rule that ends, a calendar that nobody
//! has decided.
//!
//! Three steps, each with its own errors: [`RuleFile::parse`] (text), [`RuleFile::bind`] (services of a table),
//! [`Rules::matrix`] (verdicts for the fast path).

mod action;
mod file;
pub mod lint;
mod moment;
mod page;

use jiff::civil::Date;

use crate::category::Category;
use crate::charter::Levels;
pub use crate::limit::{BadRate, Limit, Per, Rate};
use crate::limit::{LimitId, RuleLimit};
use crate::matrix::{Column, MAX_NOTICES, MAX_PAGES, VerdictMatrix};
use crate::table::SignatureTable;
use crate::vocab::{Action, GroupId, Purpose, ServiceId, Verdict, coded};
pub use action::RuleAction;
pub use file::{MAX_BYTES, MAX_RULES, MAX_SERVICES, RuleFile};
pub use moment::{Declared, Moment};

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
    /// 1-based line where it begins; 0 for one that stands in no file.
    pub line: u32,
    /// What it matches.
    pub matches: Match,
    /// What happens.
    pub action: RuleAction,
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

/// What a rule matches: all that is given must agree. Words as they were written decide what is given; numbers are
/// what they mean under one table and one set of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// One of these categories; any if there are none.
    pub categories: Vec<Category>,
    /// One of these services, by key; any if there are none.
    pub service_keys: Vec<String>,
    /// The same services by number, sorted.
    pub services: Vec<ServiceId>,
    /// One of these groups, by name; any if there are none.
    pub group_names: Vec<String>,
    /// Those of the groups that have a row in the verdict matrix, sorted. Nobody is in the others.
    pub groups: Vec<GroupId>,
    /// While one of these calendars is open; always if there are none.
    pub calendars: Vec<String>,
}

/// The rules in force, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// What a flow is, as far as rules can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// None of its calendars is open.
    Closed,
    /// Nobody has decided whether its calendars are open.
    Undecided,
}

/// What rules make of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What happens; [`RuleAction::Observe`] where no rule decides, as much as the charter allows.
    pub action: RuleAction,
    /// The rule that decides, by its place.
    pub by: Option<usize>,
}

impl Match {
    /// Whether all that is given agrees, calendars aside.
    pub fn covers(&self, target: &Target) -> bool {
        (self.categories.is_empty() || self.categories.contains(&target.category))
            && (self.service_keys.is_empty() || self.services.binary_search(&target.service).is_ok())
            && (self.group_names.is_empty() || self.groups.binary_search(&target.group).is_ok())
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

    /// Why the rule does nothing at a moment, whatever the flow; `None` if it acts, or would.
    pub fn rests(&self, moment: &Moment) -> Option<Outcome> {
        if self.is_over(moment.today) {
            return Some(Outcome::Expired);
        }
        if self.matches.calendars.is_empty() {
            return None;
        }
        match moment.is_any_open(&self.matches.calendars) {
            Some(true) => None,
            Some(false) => Some(Outcome::Closed),
            None => Some(Outcome::Undecided),
        }
    }
}

impl Rules {
    /// The rules, in order.
    pub fn as_slice(&self) -> &[Rule] {
        &self.rules
    }

    /// Adds a rule after all others. It stands in no file: its line is 0.
    pub fn push(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// All rules that match, in order, with what becomes of each at a moment.
    pub fn explain<'a>(
        &'a self,
        target: &Target,
        moment: &'a Moment,
    ) -> impl Iterator<Item = (usize, Outcome)> + 'a {
        let mut decided = None;
        let target = *target;
        let matching = self.rules.iter().enumerate().filter(move |(_, rule)| rule.matches.covers(&target));
        matching.map(move |(i, rule)| {
            let outcome = match (rule.rests(moment), decided, rule.state) {
                (Some(rests), _, _) => rests,
                (None, Some(by), _) => Outcome::Covered { by },
                (None, None, State::Shadow) => Outcome::WouldDecide,
                (None, None, State::Enforce) => {
                    decided = Some(i);
                    Outcome::Decides
                }
            };
            (i, outcome)
        })
    }

    /// What happens to a flow.
    pub fn decide(&self, target: &Target, moment: &Moment) -> Decision {
        let by = self.explain(target, moment).find(|(_, o)| *o == Outcome::Decides).map(|(i, _)| i);
        let rule = by.and_then(|i| self.rules.get(i));
        Decision { action: rule.map_or(RuleAction::Observe, |rule| rule.action), by }
    }

    /// The first day on which another set of rules acts than on `today`: compile again then.
    pub fn next_change(&self, today: Date) -> Option<Date> {
        let ends = self.rules.iter().filter_map(|rule| rule.expires).filter(|last| *last >= today);
        ends.min().and_then(|last| last.tomorrow().ok())
    }

    /// Compiles verdicts for all groups that `levels` knows. `table` must be the one that the rules were bound to.
    pub fn matrix(
        &self,
        table: &SignatureTable,
        epoch: u64,
        valid_until_ns: u64,
        levels: &Levels,
        moment: &Moment,
    ) -> VerdictMatrix {
        let own = self.services();
        let target = |row, column| target(table, levels.group_of(row), column);
        let (notices, shown) = notices(levels);
        let shown = |row: GroupId| shown.get(usize::from(row.0)).copied().flatten();
        let matrix = VerdictMatrix::new(epoch, valid_until_ns, levels.rows(), &own, |row, column| {
            let target = target(row, column);
            let Decision { action, .. } = self.decide(&target, moment);
            Verdict {
                action: match action.on_frames() {
                    // There is nothing that they have not read, or nothing that could be shown.
                    Action::Notice if shown(row).is_none() => Action::Allow,
                    action => action,
                },
                level: action.observes(levels.level(row, target.category)),
            }
        });
        let (limits, numbers) = self.limits();
        let matrix = matrix.limiting(&limits, |row, column| {
            let by = self.decide(&target(row, column), moment).by?;
            numbers.get(by).copied().flatten()
        });
        let (pages, numbers) = self.pages();
        let matrix = matrix.telling(&pages, |row, column| {
            let by = self.decide(&target(row, column), moment).by?;
            numbers.get(by).copied().flatten()
        });
        let matrix = matrix.noticing(&notices, |row, _| shown(row));
        matrix.observing(u64::MAX, |group| levels.why_not(group))
    }

    /// The limits of rules, and for each rule which of them is its own: those in shadow keep their number for the day on
    /// which they are enforced.
    fn limits(&self) -> (Vec<RuleLimit>, Vec<Option<LimitId>>) {
        let mut limits = Vec::new();
        let number = |rule: &Rule| match rule.action {
            RuleAction::Limit(limit) => {
                let id = u8::try_from(limits.len()).ok().map(LimitId)?;
                limits.push(RuleLimit::of(&rule.name, limit));
                Some(id)
            }
            _ => None,
        };
        let numbers = self.rules.iter().map(number).collect();
        (limits, numbers)
    }

    /// What clients are told of rules that block, and for each rule which of them is its own.
    fn pages(&self) -> (Vec<Box<[u8]>>, Vec<Option<u8>>) {
        let mut pages = Vec::new();
        let number = |rule: &Rule| {
            let tells = rule.action == RuleAction::Block && rule.state == State::Enforce;
            let number = u8::try_from(pages.len()).ok().filter(|n| tells && usize::from(*n) < MAX_PAGES)?;
            pages.push(page::of(rule));
            Some(number)
        };
        let numbers = self.rules.iter().map(number).collect();
        (pages, numbers)
    }

    /// The services that some rule singles out, sorted: they have a column of their own in the matrix.
    pub fn services(&self) -> Vec<ServiceId> {
        let mut own: Vec<ServiceId> =
            self.rules.iter().flat_map(|rule| rule.matches.services.iter().copied()).collect();
        own.sort_unstable();
        own.dedup();
        own
    }
}

/// The pages of notices, and for each row which of them those in it are shown.
fn notices(levels: &Levels) -> (Vec<Box<[u8]>>, Vec<Option<u8>>) {
    let mut pages: Vec<Box<[u8]>> = Vec::new();
    let number = |row: usize| {
        let unread = levels.unread_in(GroupId(u16::try_from(row).ok()?))?;
        if unread.page.is_empty() {
            return None;
        }
        let number = match pages.iter().position(|page| *page == unread.page) {
            Some(number) => number,
            // Charters with more of them are refused.
            None if pages.len() == MAX_NOTICES => return None,
            None => {
                pages.push(unread.page.clone());
                pages.len() - 1
            }
        };
        u8::try_from(number).ok()
    };
    let numbers = (0..levels.rows()).map(number).collect();
    (pages, numbers)
}

/// What a column of the matrix is to rules.
fn target(table: &SignatureTable, group: GroupId, column: Column) -> Target {
    let (category, service) = match column {
        Column::Category(category) => (category, ServiceId::NONE),
        Column::Service(service) => {
            (table.service(service).map_or(Category::Unknown, |s| s.category), service)
        }
    };
    Target { group, category, service }
}
