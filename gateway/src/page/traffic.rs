//! The view *Traffic*: what was counted over days and months, by category, service and group, and what could not be seen.

use super::chart::{bar, parts};
use super::lang::Lang;
use super::numbers::{bytes, count, percent, span};
use super::{reports, shell, terms, words};
use crate::control::Written;
use crate::control::past::Unanswered;
use crate::control::snapshot::Snapshot;
use crate::past::Report;
use crate::report::{about, people};
use glassgate_store::{Question, Row, Step, Word};
use jiff::Timestamp;
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Spans that can be looked at, in days, with the step of their chart.
const SPANS: [(i64, Step); 4] = [(1, Step::Hour), (7, Step::Hour), (30, Step::Day), (90, Step::Day)];
/// Categories that have a colour of their own.
const COLOURS: usize = 4;
/// Rows that are shown; the API has all.
const ROWS: usize = 60;

/// What is looked at, as it stands in the address.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(super) struct Looked {
    pub(super) lang: Option<String>,
    pub(super) days: Option<i64>,
}

impl Looked {
    /// The span, and how its chart is divided.
    fn span(&self) -> (i64, Step) {
        SPANS.into_iter().find(|(days, _)| Some(*days) == self.days).unwrap_or((7, Step::Hour))
    }

    /// What to ask the store for: the chart, and the sums. Whole hours, as those that run are not told.
    pub(super) fn questions(&self, now: i64) -> [Question; 2] {
        let (days, step) = self.span();
        let to = now - now.rem_euclid(3600) + 3600;
        let from = to - days * 86_400;
        // By the day, whole days: half a one at the beginning would look like a quiet one.
        let from = if step == Step::Day { from - from.rem_euclid(86_400) } else { from };
        let all = Question { from, to, ..Question::default() };
        [Question { step, by_category: true, ..all.clone() }, Question { step: Step::Whole, ..all }]
    }
}

/// The page.
pub(super) fn page(
    now: &Snapshot,
    looked: &Looked,
    told: &Result<(Report, Report), Unanswered>,
    written: &[Written],
    reader: shell::Reader,
) -> Markup {
    let lang = reader.lang;
    let body = match told {
        Err(why) => html! { section .card { p .empty { (why) } } },
        Ok((series, sums)) => html! {
            (over_time(looked, series, lang))
            (rows(sums, lang))
            (blindness(sums, lang))
            (reports::card(written, lang))
        },
    };
    shell::page(now, shell::View::Traffic, reader, &body)
}

fn over_time(looked: &Looked, series: &Report, lang: Lang) -> Markup {
    let (days, step) = looked.span();
    let classes = classes(&series.totals.rows);
    let title = |category: &str| {
        if category.is_empty() {
            lang.say("others", "其他").to_owned()
        } else {
            terms::category(category, lang)
        }
    };
    html! {
        section .card .past {
            div .with_spans {
                h2 { (lang.say("Flows over time", "流数随时间变化")) }
                nav .spans aria-label=(lang.say("Span", "时段")) {
                    @for (other, _) in SPANS {
                        a href=(format!("/traffic?lang={}&days={other}", lang.tag())) aria-current=[(other == days).then_some("true")] {
                            @if other == 1 { (lang.say("24 hours", "24 小时")) } @else { (other) (lang.say(" days", " 天")) }
                        }
                    }
                }
            }
            p .note {
                @if step == Step::Hour { (lang.say("By hour, UTC. Hours that are over; what only the whole day can tell is in the table, not in the chart.", "按小时（UTC）。仅含已结束的小时；只能按整天统计的部分在表中，不在图中。")) }
                @else { (lang.say("By UTC day.", "按 UTC 日。")) }
                @if series.reach.next < series.entries {
                    " " (lang.say("The index is still being built, so something is missing.", "索引仍在建立，数据尚不完整。"))
                }
            }
            @if series.totals.rows.is_empty() { p .empty { (lang.say("Nothing yet: the first hour is told when it is over.", "尚无数据：首个小时结束后才有统计。")) } } @else {
                (bars(series, step, &classes, lang))
                ul .keys { @for (at, category) in classes.iter().enumerate() { li { i class=(format!("dot c{at}")) {} (title(category)) } } }
            }
        }
    }
}

/// The categories that have colours, most flows first; the last stands for all others.
fn classes(rows: &[Row]) -> Vec<String> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows {
        *sums.entry(row.category.as_deref().unwrap_or_default()).or_default() += row.flows;
    }
    let mut sums: Vec<_> =
        sums.into_iter().filter(|(category, flows)| !category.is_empty() && *flows > 0).collect();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let mut classes: Vec<String> =
        sums.iter().take(COLOURS).map(|(category, _)| (*category).to_owned()).collect();
    if sums.len() > COLOURS || rows.iter().any(|row| row.category.is_none()) {
        classes.push(String::new());
    }
    classes
}

/// A bar for each hour or day, in layers.
fn bars(series: &Report, step: Step, classes: &[String], lang: Lang) -> Markup {
    let size = if step == Step::Hour { 3600 } else { 86_400 };
    let Question { from, to, .. } = series.question;
    let n =
        usize::try_from((to - from).div_euclid(size) + i64::from((to - from) % size > 0)).unwrap_or(0).max(1);
    let mut layers = vec![vec![0u64; n]; classes.len()];
    for row in series.totals.rows.iter().filter(|row| !row.rest_of_day) {
        let at =
            row.start.map(|start| (start - from).div_euclid(size)).and_then(|at| usize::try_from(at).ok());
        let category = row.category.as_deref().unwrap_or_default();
        let class =
            classes.iter().position(|class| class == category).unwrap_or(classes.len().saturating_sub(1));
        if let Some(sum) = at.and_then(|at| layers.get_mut(class)?.get_mut(at)) {
            *sum += row.flows;
        }
    }
    let total = |at: usize| layers.iter().filter_map(|layer| layer.get(at)).sum::<u64>();
    let top = (0..n).map(total).max().unwrap_or(0).max(1);
    let mut below = vec![0u64; n];
    let paths: Vec<String> = layers
        .iter()
        .map(|layer| {
            let mut path = String::new();
            for ((at, flows), below) in
                layer.iter().enumerate().zip(&mut below).filter(|((_, flows), _)| **flows > 0)
            {
                let height = |flows: u64| 100.0 * flows as f64 / top as f64;
                let bottom = 100.0 - height(*below);
                _ = write!(path, "M{at}.1 {bottom:.2}v-{:.2}h.8V{bottom:.2}z", height(*flows));
                *below += flows;
            }
            path
        })
        .collect();
    let label = |second: i64| {
        let at = Timestamp::from_second(second).map(|at| at.to_string()).unwrap_or_default();
        let text = crate::clock::minute(Some(&at));
        if step == Step::Hour { text } else { text.get(..10).unwrap_or_default().to_owned() }
    };
    html! {
        figure {
            div .plot {
                svg .bars viewBox=(format!("0 0 {n} 100")) preserveAspectRatio="none" role="img"
                    aria-label=(lang.say("Flows of each hour or day, by category", "每小时或每日的流数，按类别")) {
                    line .grid x1="0" x2=(n) y1="50" y2="50" {}
                    @for (at, path) in paths.iter().enumerate() { path class=(format!("c{at}")) d=(path) {} }
                    line .axis x1="0" x2=(n) y1="100" y2="100" {}
                }
                span .tick .top { (count(top)) }
            }
            figcaption { span { (label(from)) } span { (label(from + (n as i64 - 1) * size)) } }
        }
    }
}

fn rows(sums: &Report, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let rows = &sums.totals.rows;
    let groups = rows.iter().any(|row| row.groups);
    let top = rows.iter().map(|row| row.flows).max().unwrap_or(0) as f64;
    html! {
        @if !rows.is_empty() {
            section .card {
                h2 { (say("Categories and services", "类别与服务")) }
                @if groups { p .note { (say(
                    "People: how many stood behind it, at the most busy hour, as a range. What fewer people stand behind than the charter asks for was never written down, and is in no sum.",
                    "人数：最多的一小时内涉及的人数区间。少于章程规定人数的统计从未写入，也不在任何合计中。"
                )) } }
                table .ranked .wide {
                    thead { tr {
                        th scope="col" { span .hidden { (say("name", "名称")) } } th {}
                        @if groups { th .n scope="col" { (say("people", "人数")) } th .n scope="col" { (say("visits", "访问")) } th .n scope="col" { (say("time", "时长")) } }
                        th .n scope="col" { (say("flows", "流")) } th .n scope="col" { (say("up", "上行")) } th .n scope="col" { (say("down", "下行")) }
                        @if groups { th .n scope="col" { (say("uploads", "上传")) } }
                    } }
                    tbody { @for row in rows.iter().take(ROWS) { tr {
                        @let [_, category, service] = about(row);
                        th scope="row" {
                            @if service.is_empty() || row.rest { (if row.category.is_some() { terms::category(&category, lang) } else { say("all else", "其余").to_owned() }) @if row.rest && row.category.is_some() { (say(", the rest", "，其余")) } }
                            @else { (service) }
                            small {
                                @if !service.is_empty() && !row.rest { (terms::category(&category, lang)) " · " }
                                @match &row.group { Some(group) => { (group) } None if row.groups => { (say("all groups", "全部部门")) } None => { (say("whole network", "全网")) } }
                            }
                            @if row.blocked > 0 { small .some { (percent(row.blocked, row.flows)) " " (say("blocked", "已阻断")) } }
                        }
                        td .bar { (bar(row.flows as f64, top, if row.groups { "fill" } else { "fill down" })) }
                        @if groups {
                            @if row.groups { td .n { (people(row)) } td .n { (count(row.visits)) } td .n { (span(row.active_s.saturating_mul(1000))) } }
                            @else { td .n { "–" } td .n { "–" } td .n { "–" } }
                        }
                        td .n { (count(row.flows)) } td .n { (bytes(row.bytes_up)) } td .n { (bytes(row.bytes_down)) }
                        @if groups { td .n {
                            @if let Some(n) = row.uploads { (count(n)) }
                            @if let Some(n) = row.large_uploads { small { (count(n)) " " (say("large", "大文件")) } }
                            @if row.uploads.or(row.large_uploads).is_none() { "–" }
                        } }
                    } } }
                }
                @if rows.len() > ROWS { p .note { (say("and ", "另有 ")) (count((rows.len() - ROWS) as u64)) (say(" more in ", " 项，见")) a href=(format!("/api/v1/report?from={}&to={}", sums.question.from, sums.question.to)) { (say("the data", "数据")) } } }
            }
        }
    }
}

fn blindness(sums: &Report, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let seen = &sums.totals.blindness;
    let total = |words: &[Word]| words.iter().map(|word| word.count).sum::<u64>();
    let (named, unnamed) = (total(&seen.named), total(&seen.unnamed));
    let all = named + unnamed + seen.not_looked_at;
    let part = |class: &str, words: &[Word]| -> Vec<(String, u64)> {
        words.iter().enumerate().map(|(at, word)| (format!("{class} s{}", at.min(3)), word.count)).collect()
    };
    let shares = [
        part("seen", &seen.named),
        part("blind", &seen.unnamed),
        vec![("unlooked".to_owned(), seen.not_looked_at)],
    ]
    .concat();
    html! {
        section .card .sight {
            h2 { (say("Blindness meter", "不可见度")) }
            p .note { (say("Of the same span: what could be seen, and what not. Read every other figure beside it.", "同一时段内可见与不可见的部分。其他数字须对照此处阅读。")) }
            (parts(say("flows with a name, without, and not looked at", "有名称、无名称与未检视的流"), &shares))
            div .thirds {
                div { p .share .good { (percent(named, all)) } p .what { (say("of flows said a name", "的流给出了名称")) } (legend("seen", &seen.named, all, words::evidence, lang)) }
                div { p .share .warn { (percent(unnamed, all)) } p .what { (say("have no name that we can see", "的流名称不可见")) } (legend("blind", &seen.unnamed, all, words::reason, lang)) }
                div {
                    p .share { (percent(seen.not_looked_at, all)) } p .what { (say("were not looked at", "的流未检视")) }
                    @if !seen.told_unnamed_percent.is_empty() {
                        p .note { (say("Of the flows of groups, in a mean hour: ", "部门的流，平均每小时：")) @for (at, word) in seen.told_unnamed_percent.iter().take(4).enumerate() { @if at > 0 { ", " } (word.count) " % " (words::reason(&word.name, lang)) } "." }
                    }
                    @if sums.totals.gaps > 0 {
                        p .note .some { a href=(format!("/log?lang={}&kind=gap#records", lang.tag())) { (say("Records", "记录")) " (" (count(sums.totals.gaps)) ")" } (say(" tell that something is missing.", "表明有数据缺失。")) }
                    }
                    @for sealed in sealed(sums) { p .note { (count(sealed.1)) (say(" sealed records for the purpose ", " 条封存记录，目的：")) (sealed.0) "." } }
                }
            }
        }
    }
}

fn sealed(sums: &Report) -> BTreeMap<&str, u64> {
    let mut all = BTreeMap::new();
    for day in &sums.sealed {
        *all.entry(day.purpose.as_str()).or_default() += day.count;
    }
    all
}

fn legend(class: &str, rows: &[Word], all: u64, words: fn(&str, Lang) -> &'static str, lang: Lang) -> Markup {
    html! {
        ul .legend { @for (at, row) in rows.iter().enumerate().take(12) {
            li title=(row.name) {
                i class=(format!("swatch {class} s{}", at.min(3))) {}
                span { (words(&row.name, lang)) } b { (count(row.count)) } small { (percent(row.count, all)) }
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_hours_and_days_and_never_longer_than_the_store_answers() {
        let now = 1_799_659_999;
        for days in [None, Some(1), Some(7), Some(30), Some(90), Some(-5), Some(i64::MAX)] {
            let [series, sums] = Looked { days, lang: None }.questions(now);
            assert_eq!((series.from, series.to), (sums.from, sums.to));
            assert!(series.from % 3600 == 0 && series.to % 3600 == 0 && series.to > now);
            assert!(series.step == Step::Day || series.to - series.from <= glassgate_store::LONGEST_BY_HOUR);
        }
    }

    #[test]
    fn bars_stand_on_each_other() {
        let row = |start, category: Option<&str>, flows| Row {
            start: Some(start),
            category: category.map(str::to_owned),
            flows,
            ..Row::default()
        };
        let mut report = Report::default();
        (report.question.from, report.question.to) = (0, 7200);
        report.totals.rows = vec![
            row(0, Some("music"), 60),
            row(0, None, 40),
            row(3600, Some("music"), 50),
            Row { rest_of_day: true, ..row(0, Some("music"), 900) },
        ];
        let classes = classes(&report.totals.rows);
        assert_eq!(classes, ["music", ""]);
        let drawn = bars(&report, Step::Hour, &classes, Lang::En).into_string();
        assert!(
            drawn.contains("M0.1 100.00v-60.00h.8")
                && drawn.contains("M0.1 40.00v-40.00h.8")
                && drawn.contains("M1.1 100.00v-50.00"),
            "{drawn}"
        );
    }
}
