//! Rules against each other: which cells each of them matches, and which rule decides about each cell.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::super::{Rule, RuleAction, RuleFile, Rules, State};
use super::{Options, acts_for_good, finding, severity};
use crate::category::Category;
use crate::diagnostic::Diagnostic;
use crate::table::SignatureTable;

/// The most cells that are looked at: a few megabytes.
const MAX_CELLS: usize = 1 << 22;

/// The axes of the cells, by the words that rules use.
struct Grid<'a> {
    /// Groups that some rule names; one more row is everybody else.
    groups: Vec<&'a str>,
    /// Calendars that some rule names; one more layer is the time when none is open.
    calendars: Vec<&'a str>,
    /// Categories, then services that some rule singles out.
    columns: Vec<(Category, Option<&'a str>)>,
}

/// The cells that a rule matches: on each axis, which places.
struct Area {
    groups: Vec<bool>,
    calendars: Vec<bool>,
    columns: Vec<bool>,
}

/// Finds rules that never decide, that decide nothing new, and that meet in an order that nobody can have meant.
pub(super) fn check(
    file: &RuleFile,
    rules: &Rules,
    table: &SignatureTable,
    options: &Options,
    found: &mut Vec<Diagnostic>,
) {
    let grid = Grid::of(rules, table);
    if grid.cells() > MAX_CELLS {
        let message = "too many groups, calendars and services to compare rules with each other";
        found.push(Diagnostic::file(file.path(), "too-large", message).severity(severity("too-large")));
        return;
    }
    let areas: Vec<Area> = rules.as_slice().iter().map(|rule| grid.area(rule)).collect();
    let lives = |rule: &Rule| !rule.is_over(Some(options.today));
    let all = || rules.as_slice().iter().zip(&areas).enumerate().filter(|(_, (rule, _))| lives(rule));
    // For each cell the first and the second rule that decides for good, from 1; and the last day on which some rule
    // decides, with that rule.
    let mut decided = vec![[0u16; 2]; grid.cells()];
    let mut covered: Vec<Option<(Date, usize)>> = vec![None; grid.cells()];
    let mut unreachable = BTreeSet::new();
    for (i, (rule, area)) in all() {
        let until = rule.expires.unwrap_or(Date::MAX);
        let (mut by, mut open) = (BTreeSet::new(), false);
        area.each(&grid, |cell| match covered.get(cell) {
            Some(Some((last, e))) if *last >= until => _ = by.insert(*e),
            _ => open = true,
        });
        if !open && !by.is_empty() {
            unreachable.insert(i);
            found.push(never_decides(file, rules, rule, &by));
        }
        if rule.state == State::Shadow {
            continue;
        }
        area.each(&grid, |cell| {
            if let Some(slot) = covered.get_mut(cell)
                && slot.is_none_or(|(last, _)| last < until)
            {
                *slot = Some((until, i));
            }
            if let Some(slots) = decided.get_mut(cell)
                && let Some(slot) = slots.iter_mut().find(|slot| **slot == 0)
                && rule.expires.is_none()
            {
                *slot = i as u16 + 1;
            }
        });
    }
    for (i, (rule, area)) in all().filter(|(i, _)| !unreachable.contains(i)) {
        let before = all()
            .take_while(|(e, _)| *e < i)
            .filter(|(e, (r, _))| r.state == State::Enforce && !unreachable.contains(e));
        for (_, (earlier, its)) in before {
            let exception = its.is_within(area) || area.is_within(its);
            if earlier.action != rule.action && its.meets(area) && !exception {
                found.push(overlap(file, rule, earlier));
            }
        }
        if acts_for_good(rule)
            && let Some(instead) = same_without(i, &areas, &grid, &decided, rules)
            && !all().any(|(b, (r, its))| {
                // Between them, one that acts at other times only, or for some days only, would have its turn.
                let between = b > i && instead.iter().any(|s| b < *s);
                between
                    && r.state == State::Enforce
                    && r.action != rule.action
                    && its.meets_at_some_time(area)
            })
        {
            let message =
                format!("without rule `{}`, {} would do the same", rule.name, names(rules, &instead));
            found.push(
                finding(file, rule, "redundant", message).help("take it out, or keep it for its counters"),
            );
        }
    }
}

/// The rules that would do the same as this one wherever it decides, if there are such.
fn same_without(
    i: usize,
    areas: &[Area],
    grid: &Grid<'_>,
    decided: &[[u16; 2]],
    rules: &Rules,
) -> Option<BTreeSet<usize>> {
    let (rule, area) = (rules.as_slice().get(i)?, areas.get(i)?);
    // Every limit is one for itself, whatever its rate.
    let limits = matches!(rule.action, RuleAction::Limit(_));
    let (mut same, mut instead) = (true, BTreeSet::new());
    area.each(grid, |cell| {
        let Some([first, second]) = decided.get(cell) else { return };
        if usize::from(*first) != i + 1 {
            return;
        }
        let next = usize::from(*second).checked_sub(1).and_then(|s| Some((s, rules.as_slice().get(s)?)));
        match next {
            Some((s, next)) if next.action == rule.action && !limits => _ = instead.insert(s),
            _ => same = false,
        }
    });
    (same && !instead.is_empty()).then_some(instead)
}

fn names(rules: &Rules, places: &BTreeSet<usize>) -> String {
    let rules = places.iter().filter_map(|i| rules.as_slice().get(*i));
    rules.map(|r| format!("`{}` (line {})", r.name, r.line)).collect::<Vec<_>>().join(", ")
}

fn never_decides(file: &RuleFile, rules: &Rules, rule: &Rule, by: &BTreeSet<usize>) -> Diagnostic {
    let message = format!("rule `{}` never decides: {} decides before it", rule.name, names(rules, by));
    finding(file, rule, "unreachable", message)
        .help("the first enforced rule that matches decides: move it up, or take it out")
}

fn overlap(file: &RuleFile, rule: &Rule, earlier: &Rule) -> Diagnostic {
    let message = format!(
        "rule `{}` ({}) and rule `{}` ({}, line {}) meet, and neither is an exception from the other",
        rule.name, rule.action, earlier.name, earlier.action, earlier.line
    );
    let help = format!(
        "where they meet, `{}` decides; say so with a rule of its own for what they share",
        earlier.name
    );
    finding(file, rule, "overlap", message).help(help)
}

impl<'a> Grid<'a> {
    fn of(rules: &'a Rules, table: &SignatureTable) -> Self {
        let words = |of: fn(&Rule) -> &Vec<String>| -> Vec<&'a str> {
            let all: BTreeSet<&str> = rules.as_slice().iter().flat_map(of).map(String::as_str).collect();
            all.into_iter().collect()
        };
        let services = words(|rule| &rule.matches.service_keys);
        let category = |key: &str| Some(table.service(table.service_named(key)?)?.category);
        let own = services.iter().filter_map(|key| Some((category(key)?, Some(*key))));
        Self {
            groups: words(|rule| &rule.matches.group_names),
            calendars: words(|rule| &rule.matches.calendars),
            columns: Category::ALL.iter().map(|c| (*c, None)).chain(own).collect(),
        }
    }

    fn cells(&self) -> usize {
        (self.groups.len() + 1).saturating_mul(self.calendars.len() + 1).saturating_mul(self.columns.len())
    }

    fn area(&self, rule: &Rule) -> Area {
        let matches = &rule.matches;
        // Without a word the rule is about all of the axis, with words about these only.
        let axis = |known: &[&str], words: &[String]| -> Vec<bool> {
            let named = known.iter().map(|k| words.is_empty() || words.iter().any(|w| w == k));
            named.chain([words.is_empty()]).collect()
        };
        let column = |(category, service): &(Category, Option<&str>)| {
            (matches.categories.is_empty() || matches.categories.contains(category))
                && (matches.service_keys.is_empty()
                    || service.is_some_and(|s| matches.service_keys.iter().any(|k| k == s)))
        };
        Area {
            groups: axis(&self.groups, &matches.group_names),
            calendars: axis(&self.calendars, &matches.calendars),
            columns: self.columns.iter().map(column).collect(),
        }
    }
}

impl Area {
    fn each(&self, grid: &Grid<'_>, mut cell: impl FnMut(usize)) {
        let on = |axis: &[bool]| -> Vec<usize> {
            axis.iter().enumerate().filter(|(_, on)| **on).map(|(i, _)| i).collect()
        };
        let (calendars, columns) = (on(&self.calendars), on(&self.columns));
        for g in on(&self.groups) {
            for c in &calendars {
                let row = (g * (grid.calendars.len() + 1) + c) * grid.columns.len();
                columns.iter().for_each(|column| cell(row + column));
            }
        }
    }

    fn axes(&self) -> [&[bool]; 3] {
        [&self.groups, &self.calendars, &self.columns]
    }

    fn meets(&self, other: &Self) -> bool {
        self.axes().iter().zip(other.axes()).all(|(a, b)| a.iter().zip(b).any(|(a, b)| *a && *b))
    }

    fn meets_at_some_time(&self, other: &Self) -> bool {
        let meet = |a: &[bool], b: &[bool]| a.iter().zip(b).any(|(a, b)| *a && *b);
        meet(&self.groups, &other.groups) && meet(&self.columns, &other.columns)
    }

    fn is_within(&self, other: &Self) -> bool {
        self.axes().iter().zip(other.axes()).all(|(a, b)| a.iter().zip(b).all(|(a, b)| !*a || *b))
    }
}
