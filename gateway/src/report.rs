//! `glassgate report`: what was counted over a span, from the running gateway, or from the log itself.

use crate::ask::{self, ask};
use crate::cli::report::{By, Report as Args};
use crate::control::socket::{Answer, Question as Asked};
use crate::exit::{Ended, Exit};
use crate::page::numbers;
use crate::page::reports::{Head, document};
use crate::past::{self, Files, Report};
use anyhow::Result;
use glassgate_policy::audit::Bucket;
use glassgate_store::{Question, Row, Step, Word};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::fmt::Write as _;
use std::path::Path;

/// Prints a report.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let question = question(args, Timestamp::now().as_second())?;
    let report = match &args.dir {
        Some(dir) => from_log(dir, question)?,
        None => from_gateway(args, question)?,
    };
    let text = match (args.json, args.csv, args.html) {
        (true, ..) => serde_json::to_string(&report)? + "\n",
        (_, true, _) => csv(&report),
        (_, _, true) => document(&report, &head(&report), false).into_string() + "\n",
        _ => describe(&report),
    };
    crate::print(&text)
}

/// What a page says of itself; whose report it is, whoever asked for it knows.
fn head(report: &Report) -> Head {
    let made = crate::clock::wall_text();
    let (first, last) = (minute(report.question.from), minute(report.question.to));
    Head { first, last, zone: "UTC".to_owned(), made, ..Head::default() }
}

fn question(args: &Args, now: i64) -> Result<Question> {
    let time = |text: &str, what: &str| {
        parse(text).ok_or_else(|| {
            let help = "write a day as 2027-01-11, or a moment as 2027-01-11T09:00:00Z";
            Ended::new(Exit::Usage, format!("--{what}: `{text}` is no time; {help}"))
        })
    };
    let to = args.to.as_deref().map_or(Ok(now), |text| time(text, "to"))?;
    let from = args.from.as_deref().map_or(Ok(to - 7 * 86_400), |text| time(text, "from"))?;
    let step = match args.by {
        By::Whole => Step::Whole,
        By::Day => Step::Day,
        By::Hour => Step::Hour,
    };
    let (group, category, service) = (args.group.clone(), args.category.clone(), args.service.clone());
    Ok(Question { from, to, step, group, category, service, ..Question::default() })
}

/// A day or a moment, in seconds since 1970.
pub(crate) fn parse(text: &str) -> Option<i64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_second());
    }
    let day = text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(day.timestamp().as_second())
}

fn from_gateway(args: &Args, question: Question) -> Result<Report> {
    let config = crate::load(&args.config)?;
    let socket = args.socket.as_ref().unwrap_or(&config.socket);
    match ask(socket, &Asked::Report(question.clone())) {
        Ok(Answer::Report(report)) => Ok(*report),
        Ok(Answer::NoReport(why)) => Err(Ended::new(Exit::Failed, why).into()),
        Ok(_) => anyhow::bail!("the gateway gave another answer than was asked for"),
        // Whoever names a socket means a gateway.
        Err(e) if args.socket.is_none() && ask::is_not_running(&e) => from_log(&config.audit.dir, question),
        Err(e) => Err(e),
    }
}

fn from_log(dir: &Path, question: Question) -> Result<Report> {
    let damaged = |why: String| Ended::new(Exit::Damaged, why);
    let log = Files::open(dir).map_err(damaged)?;
    let log = log.ok_or_else(|| damaged(format!("there is no audit log in {}", dir.display())))?;
    let store = past::in_memory(&log).map_err(|e| Ended::new(Exit::Invalid, e.to_string()))?;
    let entries = log.reader().size();
    past::report(&store, question, entries).map_err(|e| Ended::new(Exit::Usage, e.to_string()).into())
}

/// How many people stand behind a row, in words; empty where nobody is told apart.
pub(crate) fn people(row: &Row) -> String {
    let people = usize::try_from(row.people).unwrap_or(usize::MAX);
    if people == 0 { String::new() } else { Bucket::of(people, people).to_string() }
}

fn minute(second: i64) -> String {
    let at = Timestamp::from_second(second).map(|at| at.to_string()).unwrap_or_default();
    crate::clock::minute(Some(&at))
}

/// What a row is about: group, category and service, or what is left of them.
pub(crate) fn about(row: &Row) -> [String; 3] {
    let rest = |text: &Option<String>, is_rest: bool| match text {
        Some(text) => text.clone(),
        None if is_rest => "the rest".to_owned(),
        None => String::new(),
    };
    let everybody = if row.groups { "all groups" } else { "whole network" };
    [
        row.group.clone().unwrap_or_else(|| everybody.to_owned()),
        rest(&row.category, row.rest),
        rest(&row.service, row.rest && row.category.is_some()),
    ]
}

fn describe(report: &Report) -> String {
    let Question { from, to, .. } = report.question;
    let mut said = format!("{} to {} UTC\n", minute(from), minute(to));
    if report.reach.next < report.entries {
        let (next, entries) = (report.reach.next, report.entries);
        _ = writeln!(said, "the store is still being built: {next} of {entries} records");
    }
    match report.reach.oldest {
        Some(oldest) if oldest > from => {
            _ = writeln!(said, "the oldest hour that is there: {}", minute(oldest))
        }
        Some(_) => {}
        None => said += "there are no hours that are over\n",
    }
    let rows = &report.totals.rows;
    if !rows.is_empty() {
        let head = [
            "time",
            "group",
            "category",
            "service",
            "people",
            "flows",
            "up",
            "down",
            "visits",
            "time spent",
            "uploads",
        ];
        let mut table = vec![head.map(str::to_owned).to_vec()];
        table.extend(rows.iter().map(|row| {
            let [group, category, service] = about(row);
            let time = row.start.map(minute).unwrap_or_default();
            let time = if row.rest_of_day {
                format!("{} rest of day", time.get(..10).unwrap_or_default())
            } else {
                time
            };
            let uploads = match (row.uploads, row.large_uploads) {
                (None, None) => "–".to_owned(),
                (some, None) => numbers::count(some.unwrap_or(0)),
                (some, Some(large)) => format!("{} + {large} large", some.unwrap_or(0)),
            };
            let used = |text: String| if row.groups { text } else { "–".to_owned() };
            vec![
                time,
                group,
                category,
                service,
                used(people(row)),
                numbers::count(row.flows),
                numbers::bytes(row.bytes_up),
                numbers::bytes(row.bytes_down),
                used(numbers::count(row.visits)),
                used(numbers::span(row.active_s.saturating_mul(1000))),
                uploads,
            ]
        }));
        said += &columns(&table, if rows.iter().any(|row| row.start.is_some()) { 0 } else { 1 });
    }
    if report.totals.left_out > 0 {
        _ = writeln!(said, "{} rows more are left out; ask for fewer groups or days", report.totals.left_out);
    }
    let seen = &report.totals.blindness;
    let words = |words: &[Word], unit: &str| {
        words.iter().map(|w| format!("{} {}{unit}", w.name, w.count)).collect::<Vec<_>>().join(", ")
    };
    let all = seen.flows + seen.not_looked_at;
    let share = |n: u64| numbers::percent(n, all);
    let unnamed: u64 = seen.unnamed.iter().map(|w| w.count).sum();
    _ = writeln!(
        said,
        "could not be seen: {} of {all} flows without a name ({}), {} not looked at",
        share(unnamed),
        words(&seen.unnamed, ""),
        share(seen.not_looked_at)
    );
    if !seen.told_unnamed_percent.is_empty() {
        _ = writeln!(
            said,
            "of the flows of groups, a mean hour: {}",
            words(&seen.told_unnamed_percent, " %")
        );
    }
    if report.totals.gaps > 0 {
        _ = writeln!(said, "{} records tell that something is missing", report.totals.gaps);
    }
    said
}

/// A table as text; the first columns to the left, numbers to the right.
fn columns(table: &[Vec<String>], skip: usize) -> String {
    let width =
        |at: usize| table.iter().filter_map(|row| row.get(at)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.first().map_or(0, Vec::len)).map(width).collect();
    let mut said = String::new();
    for row in table {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate().skip(skip) {
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            if at < 4 { line += &format!("{cell}{pad}  ") } else { line += &format!("{pad}{cell}  ") }
        }
        said += line.trim_end();
        said.push('\n');
    }
    said
}

/// Comma-separated values (RFC 4180), a line for each row.
pub(crate) fn csv(report: &Report) -> String {
    let mut said = "start,of,span,group,category,service,rest,people,k,flows,blocked,bytes_up,bytes_down,visits,active_s,uploads,upload_bytes,large_uploads,large_upload_bytes\r\n".to_owned();
    for row in &report.totals.rows {
        let text = |text: &Option<String>| quoted(text.as_deref().unwrap_or_default());
        let some = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
        let start = row.start.and_then(|s| Timestamp::from_second(s).ok()).map(|t| t.to_string());
        let cells = [
            start.unwrap_or_default(),
            if row.groups { "groups" } else { "network" }.to_owned(),
            if row.rest_of_day { "rest_of_day" } else { "" }.to_owned(),
            text(&row.group),
            text(&row.category),
            text(&row.service),
            row.rest.to_string(),
            people(row),
            row.k.to_string(),
            row.flows.to_string(),
            row.blocked.to_string(),
            row.bytes_up.to_string(),
            row.bytes_down.to_string(),
            row.visits.to_string(),
            row.active_s.to_string(),
            some(row.uploads),
            some(row.upload_bytes),
            some(row.large_uploads),
            some(row.large_upload_bytes),
        ];
        said += &cells.join(",");
        said += "\r\n";
    }
    said
}

/// A cell that no spreadsheet takes for a formula.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        let row = Row {
            start: Some(1_799_658_000),
            groups: true,
            group: Some("sales, \"east\"".to_owned()),
            category: Some("recruitment".to_owned()),
            service: Some("=boss".to_owned()),
            people: 12,
            k: 12,
            flows: 1512,
            uploads: Some(3),
            ..Row::default()
        };
        let mut report = Report { entries: 9, ..Report::default() };
        report.question.from = 1_799_625_600;
        report.totals.rows =
            vec![row, Row { rest: true, category: Some("music".to_owned()), ..Row::default() }];
        report.totals.blindness.flows = 90;
        report.totals.blindness.not_looked_at = 10;
        report.totals.blindness.unnamed = vec![Word { name: "ech_outer".to_owned(), count: 9 }];
        report.totals.gaps = 2;
        report
    }

    #[test]
    fn times_are_days_or_moments() {
        assert_eq!(parse("2027-01-11"), Some(1_799_625_600));
        assert_eq!(parse("2027-01-11T17:00:00+08:00"), Some(1_799_658_000));
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn for_people() {
        let said = describe(&sample());
        for words in [
            "12-19",
            "whole network",
            "the rest",
            "9.0\u{a0}% of 100 flows",
            "still being built: 0 of 9",
            "2 records tell",
            "2027-01-11 09:00",
        ] {
            assert!(said.contains(words), "{words}\n{said}");
        }
    }

    #[test]
    fn as_a_page() {
        let mut report = sample();
        report.totals.rows[0].group = Some("<script>sales".to_owned());
        let head =
            Head { gateway: "office.example/<b>".to_owned(), basis: "Charter".to_owned(), ..head(&report) };
        for (chinese, words) in [
            (false, ["12-19", "Blindness meter", "the rest", "47.4\u{a0}%"]),
            (true, ["12-19", "不可见度", "其余", "47.4\u{a0}%"]),
        ] {
            let page = document(&report, &head, chinese).into_string();
            for word in words {
                assert!(page.contains(word), "{word}\n{page}");
            }
            assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("http"), "{page}");
        }
    }

    #[test]
    fn no_cell_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", "\n=1", "＝1"] {
            assert!(quoted(text).trim_start_matches('"').starts_with('\''), "{text:?}");
        }
        assert_eq!(quoted("a\n=1"), "\"a\n=1\"", "within its quotes a line is no cell");
    }

    #[test]
    fn for_spreadsheets() {
        let said = csv(&sample());
        let lines: Vec<&str> = said.split("\r\n").collect();
        assert_eq!(
            lines[1],
            "2027-01-11T09:00:00Z,groups,,\"sales, \"\"east\"\"\",recruitment,'=boss,false,12-19,12,1512,0,0,0,0,0,3,,,"
        );
        assert_eq!(lines[0].split(',').count(), lines[2].split(',').count());
    }
}
