//! Reports as files: the page of one, which stands by itself, and how those that were written are listed and handed out.

use super::gate::not_there;
use super::lang::Lang;
use super::numbers::{bytes, count, percent, span};
use super::{terms, words};
use crate::control::{Shared, Written};
use crate::past::Report;
use crate::report::{about, people};
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Json, Response};
use glassgate_store::Word;
use maud::{DOCTYPE, Markup, html};

/// What a report says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The name of the log.
    pub(crate) gateway: String,
    /// By what right.
    pub(crate) basis: String,
    /// First and last day, and whose days they are.
    pub(crate) first: String,
    pub(crate) last: String,
    pub(crate) zone: String,
    /// RFC 3339.
    pub(crate) made: String,
}

/// It is printed, sent and kept, so that nothing of it may come from elsewhere.
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#18211d}\
table{border-collapse:collapse;width:100%}th,td{padding:.3rem .5rem;border-bottom:1px solid #dbe1db;text-align:left;vertical-align:top}\
.n{text-align:right;white-space:nowrap}small,.note{color:#5c6963}@media print{body{margin:0;max-width:none}}";

/// A report as a page of its own.
pub(crate) fn document(report: &Report, head: &Head, chinese: bool) -> Markup {
    let lang = if chinese { Lang::Zh } else { Lang::En };
    let say = |en, zh| lang.say(en, zh);
    let rows = &report.totals.rows;
    let groups = rows.iter().any(|row| row.groups);
    html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Glassgate " (head.first) " – " (head.last) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { (say("Report", "报告")) " " (head.first) " – " (head.last) }
                p { (head.gateway) @if !head.gateway.is_empty() { " · " } (say("days of ", "日期时区 ")) (head.zone) " · " (say("made ", "生成于 ")) (crate::clock::minute(Some(&head.made))) " UTC" }
                p .note { (head.basis) }
                p .note { (say(
                    "Every row is about at least as many people as its k says. What fewer stand behind was never written down, and is in no sum. There is no row about a person, and none can be computed from these.",
                    "每一行至少涉及 k 所示的人数。不足此数的统计从未写入，也不在任何合计中。没有关于个人的行，也无法由此推算。"
                )) }
                @if rows.is_empty() { p { (say("Nothing was told in this span.", "该时段没有可公布的统计。")) } } @else { table {
                    thead { tr {
                        th { (say("group", "部门")) } th { (say("category", "类别")) } th { (say("service", "服务")) }
                        @if groups { th .n { (say("people", "人数")) } th .n { "k" } th .n { (say("visits", "访问")) } th .n { (say("time", "时长")) } }
                        th .n { (say("flows", "流")) } th .n { (say("blocked", "已阻断")) } th .n { (say("up", "上行")) } th .n { (say("down", "下行")) }
                        @if groups { th .n { (say("uploads", "上传")) } }
                    } }
                    tbody { @for row in rows { tr {
                        @let [_, category, service] = about(row);
                        td { @match &row.group { Some(group) => { (group) } None if row.groups => { (say("all groups", "全部部门")) } None => { (say("whole network", "全网")) } } }
                        td { @if row.category.is_some() { (terms::category(&category, lang)) } @else { (say("the rest", "其余")) } }
                        td { @if row.rest && row.category.is_some() { (say("the rest", "其余")) } @else if row.service.is_some() { (service) } }
                        @if groups {
                            @if row.groups { td .n { (people(row)) } td .n { (row.k) } td .n { (count(row.visits)) } td .n { (span(row.active_s.saturating_mul(1000))) } }
                            @else { td .n { "–" } td .n { "–" } td .n { "–" } td .n { "–" } }
                        }
                        td .n { (count(row.flows)) } td .n { (percent(row.blocked, row.flows)) } td .n { (bytes(row.bytes_up)) } td .n { (bytes(row.bytes_down)) }
                        @if groups { td .n {
                            @if let Some(n) = row.uploads { (count(n)) }
                            @if let Some(n) = row.large_uploads { " + " (count(n)) (say(" large", " 大文件")) }
                            @if row.uploads.or(row.large_uploads).is_none() { "–" }
                        } }
                    } } }
                } }
                @if report.totals.left_out > 0 { p .note { (count(report.totals.left_out as u64)) (say(" rows more are left out.", " 行未列出。")) } }
                (blindness(report, lang))
                footer { p .note { "Glassgate " (env!("CARGO_PKG_VERSION")) } }
            }
        }
    }
}

/// A count without it would be half a truth.
fn blindness(report: &Report, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let seen = &report.totals.blindness;
    let total = |words: &[Word]| words.iter().map(|word| word.count).sum::<u64>();
    let (named, unnamed) = (total(&seen.named), total(&seen.unnamed));
    let all = named + unnamed + seen.not_looked_at;
    html! {
        h2 { (say("Blindness meter", "不可见度")) }
        p { (say("What could be seen, and what not: read every other figure beside it.", "可见与不可见的部分：其他数字须对照此处阅读。")) }
        table { tbody {
            tr { td { (say("flows with a name", "有名称的流")) } td .n { (count(named)) } td .n { (percent(named, all)) } }
            tr { td { (say("flows without a name that we can see", "名称不可见的流")) } td .n { (count(unnamed)) } td .n { (percent(unnamed, all)) } }
            @for word in seen.unnamed.iter().take(12) { tr { td { small { "· " (words::reason(&word.name, lang)) } } td .n { small { (count(word.count)) } } td .n { small { (percent(word.count, all)) } } } }
            tr { td { (say("flows that were not looked at", "未检视的流")) } td .n { (count(seen.not_looked_at)) } td .n { (percent(seen.not_looked_at, all)) } }
        } }
        @if report.totals.gaps > 0 { p { (count(report.totals.gaps)) (say(" records of the audit log tell that something is missing.", " 条审计记录表明有数据缺失。")) } }
    }
}

/// `GET /api/v1/reports`.
pub(super) async fn data(State(shared): State<Shared>) -> Response {
    Json(list(&shared).await).into_response()
}

/// Those that were written.
pub(super) async fn list(shared: &Shared) -> Vec<Written> {
    let reports = shared.reports.clone();
    tokio::task::spawn_blocking(move || reports.list()).await.unwrap_or_default()
}

/// `GET /api/v1/reports/{file}`: to be kept, not to be looked at here, where the style of a file would be refused.
pub(super) async fn file(State(shared): State<Shared>, Path(file): Path<String>) -> Response {
    let (reports, asked) = (shared.reports.clone(), file.clone());
    let found = tokio::task::spawn_blocking(move || reports.read(&asked)).await.ok().flatten();
    let Some(bytes) = found else { return not_there() };
    // Its name has been looked at: nothing in it ends the quotes.
    let disposition = format!("attachment; filename=\"{file}\"");
    let kind = "application/octet-stream".to_owned();
    ([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, disposition)], bytes).into_response()
}

/// The card of the view *Traffic*.
pub(super) fn card(written: &[Written], lang: Lang) -> Markup {
    html! {
        @if !written.is_empty() {
            section .card {
                h2 { (lang.say("Reports", "报告")) }
                p .note { (lang.say("Written by themselves when a span is over, and kept until newer ones take their place.", "时段结束后自动生成，保留至被较新的报告取代。")) }
                ul .plain { @for report in written { li {
                    (report.name.replace('_', " ")) ": "
                    @for (at, file) in report.files.iter().enumerate() { @if at > 0 { " · " } a href=(format!("/api/v1/reports/{file}")) { (file.split('.').nth(1).unwrap_or_default().to_uppercase()) } }
                } } }
            }
        }
    }
}
