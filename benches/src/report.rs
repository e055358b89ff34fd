//! The table of results, for people and as JSON.

use std::fmt;
use std::io::IsTerminal;

use serde::Serialize;

use crate::measure::Figure;

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Goal {
    /// Whether a value fulfils it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {}", short(*most)),
            Self::AtLeast(least) => write!(f, "≥ {}", short(*least)),
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The row that it belongs to, as `--row` names it.
    pub row: &'static str,
    /// What was measured.
    pub what: String,
    /// The value.
    pub value: f64,
    /// Its unit; `x` for a ratio.
    pub unit: &'static str,
    /// Least and most of the rounds, where there were several.
    pub spread: Option<(f64, f64)>,
    /// What it should be.
    pub goal: Option<Goal>,
    /// Whether it is.
    pub holds: Option<bool>,
}

/// All lines so far.
#[derive(Debug, Default)]
pub struct Report {
    row: &'static str,
    lines: Vec<Line>,
}

impl Report {
    /// What follows belongs to this row.
    pub fn begin(&mut self, row: &'static str) {
        self.row = row;
    }

    /// A figure by itself.
    pub fn figure(
        &mut self,
        what: impl Into<String>,
        figure: Figure,
        unit: &'static str,
        goal: Option<Goal>,
    ) {
        let spread = Some((figure.min, figure.max));
        self.push(what.into(), figure.median, unit, spread, goal);
    }

    /// A number that was not measured in rounds.
    pub fn number(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: Option<Goal>) {
        self.push(what.into(), value, unit, None, goal);
    }

    /// How `what` of one compares with another.
    pub fn ratio(&mut self, what: impl Into<String>, value: f64, goal: Option<Goal>) {
        self.push(what.into(), value, "x", None, goal);
    }

    fn push(
        &mut self,
        what: String,
        value: f64,
        unit: &'static str,
        spread: Option<(f64, f64)>,
        goal: Option<Goal>,
    ) {
        let holds = goal.map(|goal| goal.holds(value));
        self.lines.push(Line { row: self.row, what, value, unit, spread, goal, holds });
    }

    /// The lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// How many goals are missed.
    pub fn missed(&self) -> usize {
        self.lines.iter().filter(|line| line.holds == Some(false)).count()
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["row", "what", "value", "", "rounds", "goal", ""]);
        let mut last = "";
        for line in &self.lines {
            let rounds =
                line.spread.map_or(String::new(), |(min, max)| format!("{} – {}", short(min), short(max)));
            let goal = line.goal.map_or(String::new(), |goal| goal.to_string());
            let row = if line.row == last { "" } else { line.row };
            last = line.row;
            let cells = [row, &line.what, &short(line.value), line.unit, &rounds, &goal, &mark(line.holds)];
            table.add_row(cells.map(str::to_owned));
        }
        table.to_string()
    }

    /// The same for a text in Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::from("| row | what | value | rounds | goal | |\n|---|---|---|---|---|---|\n");
        for line in &self.lines {
            let rounds =
                line.spread.map_or(String::new(), |(min, max)| format!("{} – {}", short(min), short(max)));
            let goal = line.goal.map_or(String::new(), |goal| goal.to_string());
            let met = match line.holds {
                Some(true) => "met",
                Some(false) => "missed",
                None => "",
            };
            out += &format!(
                "| `{}` | {} | {} {} | {rounds} | {goal} | {met} |\n",
                line.row,
                line.what,
                short(line.value),
                line.unit
            );
        }
        out
    }
}

fn mark(holds: Option<bool>) -> String {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match (holds, colour) {
        (Some(true), true) => "\x1b[32mmet\x1b[0m".to_owned(),
        (Some(false), true) => "\x1b[31mmissed\x1b[0m".to_owned(),
        (Some(true), false) => "met".to_owned(),
        (Some(false), false) => "missed".to_owned(),
        (None, _) => String::new(),
    }
}

/// A count by powers of 1024, as rows are named: 64 k, 1 M.
pub fn short_count(count: u32) -> String {
    match count {
        0..1024 => count.to_string(),
        1024..1_048_576 => format!("{} k", count >> 10),
        _ => format!("{} M", count >> 20),
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_or_missed() {
        let mut report = Report::default();
        report.begin("a");
        report.number("fast enough", 19.9, "ns", Some(Goal::AtMost(20.0)));
        report.ratio("too slow", 0.79, Some(Goal::AtLeast(0.8)));
        report.number("just said", 5.0, "ns", None);
        assert_eq!(report.missed(), 1);
        assert!(report.table().contains("missed") && report.markdown().contains("| too slow | 0.79 x |"));
        assert_eq!(report.lines()[2].holds, None);
    }
}
