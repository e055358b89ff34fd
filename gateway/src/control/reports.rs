//! Reports of days, weeks or months that are over, written by themselves into a folder.
//!
//! A report is what `glassgate report` says of the span, as a page and as comma-separated values: sums of what the audit log told, so nothing that
//! fewer than `k` people stand behind. It is written once the span has been over for a while, since the rest of a day is told at its end, and
//! once the rollup store has taken the whole log. The last span that is over is made up for when the gateway was off at its end; older ones are not.
//!
//! Spans are of the charter's time zone, in which its days are told; UTC where there is none. Files have names of one shape, and nothing else in the
//! folder is read, served or deleted.

use super::Shared;
use crate::clock;
use crate::config::{Every, Reports as Settings};
use crate::control::told::Tell;
use crate::page::reports::{Head, document};
use crate::report::csv;
use glassgate_store::{Question, Step};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::{info, warn};

/// How often it looks whether one is due.
const EVERY: Duration = Duration::from_secs(60);
/// How long a span must be over.
const AFTER_S: i64 = 15 * 60;
/// Forms of a report, by the ending of their names.
const ENDINGS: [&str; 2] = ["html", "csv"];
/// The longest file that is served.
const MAX_BYTES: u64 = 8 << 20;

/// The folder of reports.
#[derive(Debug)]
pub(crate) struct Reports {
    settings: Settings,
}

/// A report that is there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Written {
    /// Its name without the ending: `2027-01-04_week`.
    pub(crate) name: String,
    /// Its files.
    pub(crate) files: Vec<String>,
}

/// A span that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    every: Every,
    /// First and last day.
    first: Date,
    last: Date,
    from: i64,
    to: i64,
}

impl Reports {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Those that are there, the newest first.
    pub(crate) fn list(&self) -> Vec<Written> {
        let Ok(folder) = std::fs::read_dir(&self.settings.dir) else { return Vec::new() };
        let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| is_report(name)).collect();
        names.sort_by(|a, b| b.cmp(a));
        let mut all: Vec<Written> = Vec::new();
        for file in names {
            let name = file.split('.').next().unwrap_or_default();
            match all.last_mut().filter(|last| last.name == name) {
                Some(last) => last.files.push(file),
                None => all.push(Written { name: name.to_owned(), files: vec![file] }),
            }
        }
        all
    }

    /// A file of a report; none where the name is not one of a report, or there is none.
    pub(crate) fn read(&self, file: &str) -> Option<Vec<u8>> {
        if !is_report(file) {
            return None;
        }
        crate::config::read_bounded(&self.settings.dir.join(file), MAX_BYTES).ok()
    }

    /// Writes both forms, each as a whole, then deletes what is too old.
    fn write(&self, name: &str, page: &str, values: &str) -> io::Result<()> {
        // The page last: that it is there says that all is.
        replace(&self.settings.dir, &format!("{name}.csv"), values)?;
        replace(&self.settings.dir, &format!("{name}.html"), page)?;
        for old in self.list().iter().skip(self.settings.keep as usize) {
            for file in &old.files {
                std::fs::remove_file(self.settings.dir.join(file))?;
            }
        }
        Ok(())
    }

    fn is_there(&self, name: &str) -> bool {
        self.settings.dir.join(format!("{name}.html")).exists()
    }
}

/// Writes reports until the process ends.
pub(super) async fn run(shared: Shared) {
    let Some(every) = shared.reports.settings.every else { return std::future::pending().await };
    let mut trouble = None;
    loop {
        tokio::time::sleep(EVERY).await;
        match due(every, &shared, Timestamp::now().as_second()).await {
            Ok(()) => trouble = None,
            Err(why) => {
                if trouble.as_ref() != Some(&why) {
                    warn!("no report was written: {why}");
                }
                trouble = Some(why);
            }
        }
    }
}

/// Writes the report of the last span that is over, if it is not there.
async fn due(every: Every, shared: &Shared, now_s: i64) -> Result<(), String> {
    let reports = &shared.reports;
    let charter = crate::page::told(shared, Tell::Charter).await.map_err(|why| why.to_string())?;
    let zone = charter.charter.and_then(|told| TimeZone::get(&told.zone).ok()).unwrap_or(TimeZone::UTC);
    let span = last_over(every, now_s - AFTER_S, &zone).ok_or("the clock shows no day")?;
    let name = span.name();
    if reports.is_there(&name) {
        return Ok(());
    }
    let question = Question { from: span.from, to: span.to, step: Step::Whole, ..Question::default() };
    let report = shared.past.report(question).await.map_err(|why| why.to_string())?;
    if report.reach.next < report.entries {
        return Err("the index of the log is still being built".to_owned());
    }
    let now = shared.snapshot.borrow().clone();
    let head = Head {
        gateway: now.log.name.clone(),
        basis: if reports.settings.chinese { &now.recording.basis_zh } else { &now.recording.basis }.clone(),
        first: span.first.to_string(),
        last: span.last.to_string(),
        zone: zone.iana_name().unwrap_or("UTC").to_owned(),
        made: clock::wall_text(),
    };
    let page = document(&report, &head, reports.settings.chinese).into_string();
    let values = csv(&report);
    let (folder, named) = (reports.clone(), name.clone());
    let written = tokio::task::spawn_blocking(move || folder.write(&named, &page, &values)).await;
    match written {
        Ok(Ok(())) => info!("report written: {name}"),
        Ok(Err(why)) => return Err(format!("{}: {why}", reports.settings.dir.display())),
        Err(why) => return Err(why.to_string()),
    }
    if reports.settings.announce {
        shared.alerts.announce(&name);
    }
    Ok(())
}

impl Span {
    fn name(&self) -> String {
        format!("{}_{}", self.first, self.every.as_str())
    }
}

/// The last span that ends at that second or before.
fn last_over(every: Every, second: i64, zone: &TimeZone) -> Option<Span> {
    let today = Timestamp::from_second(second).ok()?.to_zoned(zone.clone()).date();
    let begun = match every {
        Every::Day => today,
        Every::Week => today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days()).ok()?,
        Every::Month => today.first_of_month(),
    };
    let first = match every {
        Every::Day => begun.checked_sub(1.day()),
        Every::Week => begun.checked_sub(1.week()),
        Every::Month => begun.checked_sub(1.month()),
    }
    .ok()?;
    let midnight = |day: Date| Some(day.to_zoned(zone.clone()).ok()?.timestamp().as_second());
    Some(Span { every, first, last: begun.yesterday().ok()?, from: midnight(first)?, to: midnight(begun)? })
}

/// Whether a file is called as reports are: `2027-01-04_week.html`.
fn is_report(file: &str) -> bool {
    let Some((name, ending)) = file.split_once('.') else { return false };
    let Some((day, every)) = name.split_once('_') else { return false };
    let is_day = day.len() == 10 && day.parse::<Date>().is_ok_and(|parsed| parsed.to_string() == day);
    is_day && ["day", "week", "month"].contains(&every) && ENDINGS.contains(&ending)
}

fn replace(dir: &Path, file: &str, text: &str) -> io::Result<()> {
    let (new, path): (PathBuf, PathBuf) = (dir.join(format!("{file}.new")), dir.join(file));
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn reports(dir: &Path, keep: u32) -> Reports {
        Reports::new(Settings { dir: dir.to_owned(), keep, ..Settings::default() })
    }

    #[test]
    fn spans_are_whole_and_over() {
        let second = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        for (every, now, name, from, to) in [
            (
                Every::Day,
                "2027-01-11T15:59:59Z",
                "2027-01-10_day",
                "2027-01-09T16:00:00Z",
                "2027-01-10T16:00:00Z",
            ),
            (
                Every::Day,
                "2027-01-11T16:00:00Z",
                "2027-01-11_day",
                "2027-01-10T16:00:00Z",
                "2027-01-11T16:00:00Z",
            ),
            (
                Every::Week,
                "2027-01-10T15:59:59Z",
                "2026-12-28_week",
                "2026-12-27T16:00:00Z",
                "2027-01-03T16:00:00Z",
            ),
            (
                Every::Week,
                "2027-01-10T16:00:00Z",
                "2027-01-04_week",
                "2027-01-03T16:00:00Z",
                "2027-01-10T16:00:00Z",
            ),
            (
                Every::Month,
                "2027-03-05T00:00:00Z",
                "2027-02-01_month",
                "2027-01-31T16:00:00Z",
                "2027-02-28T16:00:00Z",
            ),
        ] {
            let span = last_over(every, second(now), &zone).unwrap();
            assert_eq!((span.name().as_str(), span.from, span.to), (name, second(from), second(to)), "{now}");
        }
        // A day of 23 hours.
        let span =
            last_over(Every::Day, second("2027-03-29T00:00:00Z"), &TimeZone::get("Europe/Berlin").unwrap())
                .unwrap();
        assert_eq!((span.first.to_string().as_str(), span.to - span.from), ("2027-03-28", 23 * 3600));
    }

    #[test]
    fn so_many_are_kept_and_what_is_none_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let reports = reports(dir.path(), 3);
        for other in
            ["notes.html", "2027-01-09_day.html.new", "2027-1-1_day.html", "2027-01-01_year.csv", "x"]
        {
            std::fs::write(dir.path().join(other), "not ours").unwrap();
        }
        for day in 1..=5 {
            reports.write(&format!("2027-01-0{day}_day"), "page", "a,b").unwrap();
        }
        let names: Vec<String> = reports.list().into_iter().map(|report| report.name).collect();
        assert_eq!(names, ["2027-01-05_day", "2027-01-04_day", "2027-01-03_day"]);
        assert_eq!(reports.list()[0].files, ["2027-01-05_day.html", "2027-01-05_day.csv"]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5 + 6);
        assert_eq!(reports.read("2027-01-05_day.csv").unwrap(), b"a,b");
        for none in
            ["notes.html", "../2027-01-05_day.csv", "2027-01-05_day.csv/..", "2027-01-01_day.html", ""]
        {
            assert_eq!(reports.read(none), None, "{none}");
        }
    }

    #[test]
    fn the_last_span_that_is_over_is_written_once_and_holds_what_was_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let snapshot = tokio::sync::watch::channel(Arc::new(crate::page::sample::snapshot())).1;
            let (commands, to_do) = std::sync::mpsc::channel();
            crate::page::sample::answering(to_do);
            let (_log, past) = crate::page::sample::past();
            let (shared, _stage) = crate::page::stage::shared(snapshot, commands, past);
            let now = Timestamp::now().as_second();
            loop {
                match due(Every::Month, &shared, now).await {
                    Ok(()) => break,
                    // The thread of the store is on its way.
                    Err(why) => assert!(why.contains("built") || why.contains("open"), "{why}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let written = shared.reports.list();
            let of_month = written.iter().find(|report| report.name.ends_with("_month")).unwrap();
            assert_eq!(of_month.files.len(), 2);
            let page = String::from_utf8(shared.reports.read(&of_month.files[0]).unwrap()).unwrap();
            for words in ["Short video", "boss-zhipin", "Blindness meter", "office.example/gateway-1"] {
                assert!(page.contains(words), "{words}\n{page}");
            }
            let values = String::from_utf8(shared.reports.read(&of_month.files[1]).unwrap()).unwrap();
            assert!(values.starts_with("start,of,") && values.contains("boss-zhipin"), "{values}");
            std::fs::write(shared.reports.settings.dir.join(&of_month.files[0]), "as it was").unwrap();
            due(Every::Month, &shared, now).await.unwrap();
            assert_eq!(shared.reports.read(&of_month.files[0]).unwrap(), b"as it was", "not again");
        });
    }
}
