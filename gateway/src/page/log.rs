//! The view *Log*: how long the audit log is and who signed that, what people did, and a search of the records about nobody.

use super::lang::Lang;
use super::numbers::{bytes, count};
use super::{qr, shell};
use crate::clock;
use crate::control::past::Unanswered;
use crate::control::snapshot::{LogNow, Snapshot};
use crate::past::{Records, Shown};
use maud::{Markup, html};
use serde_json::{Map, Value};

/// What was looked for, as it stands in the address.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(super) struct Looked {
    pub(super) lang: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) before: Option<u64>,
}

/// The page.
pub(super) fn page(
    now: &Snapshot,
    looked: &Looked,
    acts: &Result<Records, Unanswered>,
    found: &Result<Records, Unanswered>,
    reader: shell::Reader,
) -> Markup {
    let lang = reader.lang;
    shell::page(
        now,
        shell::View::Log,
        reader,
        &html! {
            (head(&now.log, now.events.log_trouble.as_deref(), lang))
            (people(acts, lang))
            (search(looked, found, lang))
        },
    )
}

/// How long it is, and who signed that.
fn head(log: &LogNow, trouble: Option<&str>, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card .log {
            div {
                h2 { (say("Audit log", "审计日志")) }
                p .note { (say(
                    "Records that nobody can change afterwards without it showing. The checkpoint stands for all of them: whoever keeps it can tell later whether any was changed.",
                    "任何人事后改动记录都会被发现。检查点代表其全部内容：谁保存了它，日后就能判断是否有记录被改动。"
                )) }
                dl .list {
                    dt { (say("name", "名称")) } dd { @if log.name.is_empty() { "–" } @else { code { (log.name) } } }
                    dt { (say("records", "记录数")) } dd {
                        (count(log.entries))
                        @if log.first > 0 { small { " " (say("of which there are no more, for want of space:", "其中因空间不足已删除：")) " " (count(log.first)) } }
                    }
                    dt { (say("checkpoint", "检查点")) } dd {
                        @match &log.signed_at {
                            Some(at) => { (say("of ", "涵盖 ")) (count(log.signed)) (say(" records, ", " 条记录，")) (minute(at)) small { " " (age(at, lang)) } }
                            None => { (say("none yet", "尚无")) }
                        }
                    }
                    dt { (say("witness", "见证方")) } dd { (witness(log, lang)) }
                    dt { (say("index", "索引")) } dd { (store(log, lang)) }
                }
                @if let Some(why) = trouble { p .some { (why) } }
            }
            @if let Some(checkpoint) = &log.checkpoint {
                figure {
                    (qr::draw(checkpoint, say("The checkpoint as a QR code", "检查点二维码")))
                    figcaption { (say("The checkpoint, to be kept elsewhere", "检查点，请在别处保存")) }
                }
                pre .checkpoint { (checkpoint) }
            }
        }
    }
}

fn witness(log: &LogNow, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        @match (&log.witnessed, log.asks_a_witness) {
            (Some(seen), _) => {
                span .pill .good { (seen.by) } " "
                (say("signed ", "已签署 ")) (count(seen.entries)) (say(" records, ", " 条记录，")) (minute(&seen.at)) small { " " (age(&seen.at, lang)) }
            }
            (None, true) => { span .pill .warn { (say("has signed nothing yet", "尚未签署")) } }
            (None, false) => {
                span .pill { (say("none", "无")) } " "
                small { (say("Without one nobody can show that the end was not cut off.", "没有见证方，就无法证明日志末尾未被截去。")) }
            }
        }
    }
}

fn store(log: &LogNow, lang: Lang) -> Markup {
    let (say, store) = (|en, zh| lang.say(en, zh), &log.store);
    html! {
        (count(store.records)) (say(" records can be searched, ", " 条记录可检索，")) (bytes(store.bytes))
        @if store.next < log.entries {
            " " span .pill .warn { (say("being built: ", "正在建立：")) (count(store.next)) " / " (count(log.entries)) }
        }
        @if let Some(why) = &store.trouble { p .some { (why) } }
    }
}

/// What people who run the gateway did.
fn people(acts: &Result<Records, Unanswered>, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card {
            h2 { (say("What people did", "人员操作")) }
            p .note { (say("Whoever runs the gateway is on record before what they do takes effect.", "管理网关者的操作先记录、后生效。")) }
            @match acts {
                Err(why) => { p .empty { (why) } }
                Ok(acts) if acts.records.is_empty() => { p .empty { (say("Nothing yet.", "尚无。")) } }
                Ok(acts) => { (table(&acts.records, lang)) }
            }
        }
    }
}

fn search(looked: &Looked, found: &Result<Records, Unanswered>, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let kinds = found.as_ref().map(|found| found.kinds.as_slice()).unwrap_or_default();
    let is = |kind: &str| looked.kind.as_deref() == Some(kind);
    // Browsers complain of what is no day.
    let day = |text: &Option<String>| text.clone().filter(|text| text.parse::<jiff::civil::Date>().is_ok());
    html! {
        section .card #records {
            h2 { (say("Records", "记录")) }
            p .note { (say("All that are about nobody. Sealed records are not among them.", "仅含不涉及任何人的记录，不含加密封存的记录。")) }
            form .search method="get" action="/log" {
                input type="hidden" name="lang" value=(lang.tag());
                label { (say("kind", "类型")) select name="kind" {
                    option value="" { (say("all", "全部")) }
                    @for kind in kinds { option value=(kind) selected[is(kind)] { (words(kind, lang)) } }
                } }
                label { (say("from", "从")) input type="date" name="from" value=[day(&looked.from)]; }
                label { (say("before", "至（不含）")) input type="date" name="to" value=[day(&looked.to)]; }
                button { (say("Search", "检索")) }
            }
            @match found {
                Err(why) => { p .empty { (why) } }
                Ok(found) if found.records.is_empty() => { p .empty { (say("There is none.", "没有记录。")) } }
                Ok(found) => {
                    (table(&found.records, lang))
                    p .pages {
                        @if looked.before.is_some() { a href=(address(looked, None, lang)) { (say("newest", "最新")) } }
                        @if let Some(next) = found.next { a href=(address(looked, Some(next), lang)) rel="next" { (say("older", "更早")) } }
                    }
                }
            }
        }
    }
}

fn address(looked: &Looked, before: Option<u64>, lang: Lang) -> String {
    let mut address = format!("/log?lang={}", lang.tag());
    for (name, value) in [("kind", &looked.kind), ("from", &looked.from), ("to", &looked.to)] {
        // Only what needs no escaping is carried on: kinds and dates.
        let plain =
            |v: &&String| !v.is_empty() && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if let Some(value) = value.as_ref().filter(plain) {
            address += &format!("&{name}={value}");
        }
    }
    before.map_or(address.clone(), |before| format!("{address}&before={before}")) + "#records"
}

fn table(records: &[Shown], lang: Lang) -> Markup {
    html! {
        table .records {
            thead { tr {
                th scope="col" { (lang.say("time (UTC)", "时间（UTC）")) } th scope="col" { (lang.say("what", "内容")) }
                th .n scope="col" { (lang.say("no.", "编号")) }
            } }
            tbody { @for record in records { tr {
                td .when { (record.wall.as_deref().map_or_else(|| "–".to_owned(), minute)) }
                td {
                    @match act(record, lang) {
                        Some(act) => { b { (act) } }
                        None => { b { (words(&record.event_type, lang)) } }
                    }
                    @if !record.says.is_empty() { " " span .says { (says(&record.says)) } }
                }
                td .n { (count(record.seq)) }
            } } }
        }
    }
}

/// What somebody did, in words.
fn act(record: &Shown, lang: Lang) -> Option<String> {
    let say = |en: &str, zh: &str| lang.say(en, zh).to_owned();
    let on = record.says.get("on").and_then(Value::as_bool);
    match (record.event_type.as_str(), on) {
        ("bypass", Some(true)) => Some(say("Bypass on", "开启旁路")),
        ("bypass", Some(false)) => Some(say("Bypass off", "关闭旁路")),
        ("charter", _) if record.says.get("cause").and_then(Value::as_str) == Some("installed") => {
            Some(say("Charter installed", "安装章程"))
        }
        ("sealed_key", _) if record.says.get("change").is_some_and(|change| change == "clock_confirmed") => {
            Some(say("Clock confirmed, keys destroyed", "确认时钟，销毁密钥"))
        }
        _ => None,
    }
}

/// A kind of record, in words.
fn words(kind: &str, lang: Lang) -> String {
    let (en, zh) = match kind {
        "started" => ("Started", "启动"),
        "stopped" => ("Stopped", "停止"),
        "policy" => ("Rules in force", "规则生效"),
        "charter" => ("Charter", "章程"),
        "bypass" => ("Bypass", "旁路"),
        "alert" => ("Alert", "告警"),
        "uninspected" => ("Not inspected", "未经检测"),
        "receipts" => ("Receipts of notices", "通知回执"),
        "login" => ("Login", "登录"),
        "login_failed" => ("Login refused", "登录被拒"),
        "logout" => ("Logout", "退出登录"),
        "access_denied" => ("Access denied", "访问被拒"),
        "account" => ("Account changed", "账户变更"),
        "accounts" => ("Accounts at start", "启动时的账户"),
        "list_accepted" => ("List accepted", "接受列表"),
        "config_changed" => ("Configuration replaced", "配置已替换"),
        "clock_step" => ("Clock stepped", "时钟跳变"),
        "rollup" => ("Counts of the network", "全网计数"),
        "group_rollup" => ("Counts of a group", "部门计数"),
        "uploads" => ("Probable uploads", "疑似上传"),
        "blindness" => ("Blindness", "不可见部分"),
        "gap" => ("Something is missing", "记录缺失"),
        "log_full" => ("Log full", "日志已满"),
        "removed" => ("Oldest deleted", "最早记录已删除"),
        "sealed_key" => ("Key of sealed records", "封存记录的密钥"),
        "case_opened" => ("Case opened", "申请查阅"),
        "case_approved" => ("Case approved", "批准查阅"),
        "case_refused" => ("Case refused", "拒绝查阅"),
        "case_shown" => ("Case looked at", "查阅"),
        "case_closed" => ("Case closed", "结束查阅"),
        "case_expired" => ("Case expired", "查阅过期"),
        "case_told" => ("Subject told of a case", "已告知当事人"),
        "case_denied" => ("Step of a case denied", "查阅步骤被拒"),
        "other" => ("Of another kind", "其他类型"),
        other => return other.replace('_', " "),
    };
    lang.say(en, zh).to_owned()
}

/// How much of a record is shown.
const LONGEST: usize = 400;

/// What a record says, in a line.
fn says(says: &Map<String, Value>) -> String {
    let mut said = String::new();
    for (name, value) in
        says.iter().filter(|(name, _)| !matches!(name.as_str(), "start_mono_ns" | "end_mono_ns"))
    {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if !said.is_empty() {
            said += " · ";
        }
        said += &format!("{} {value}", name.replace('_', " "));
    }
    if said.chars().count() > LONGEST {
        said = said.chars().take(LONGEST).chain(['…']).collect();
    }
    said
}

fn minute(at: &str) -> String {
    clock::minute(Some(at))
}

/// How long ago a moment of RFC 3339 was, in its largest unit.
fn age(at: &str, lang: Lang) -> String {
    let Ok(at) = at.parse::<jiff::Timestamp>() else { return String::new() };
    let s = jiff::Timestamp::now().as_second() - at.as_second();
    let (n, en, zh) = match s {
        ..0 => return String::new(),
        0..120 => (s, "s ago", "秒前"),
        120..7200 => (s / 60, "min ago", "分钟前"),
        7200..172_800 => (s / 3600, "h ago", "小时前"),
        _ => (s / 86_400, "days ago", "天前"),
    };
    format!("({n} {})", lang.say(en, zh))
}

/// The card on the page of what is now.
pub(super) fn card(now: &Snapshot, lang: Lang) -> Markup {
    let log = &now.log;
    html! {
        section .card {
            h2 { a href=(format!("/log?lang={}", lang.tag())) { (lang.say("Log", "日志")) } }
            p .note { (lang.say("What was counted and who changed what, so that nobody can change it afterwards without it showing.", "计数与变更的记录，事后修改必被发现。")) }
            dl .list {
                dt { (lang.say("records", "记录")) } dd { (count(log.entries)) }
                dt { (lang.say("checkpoint", "检查点")) } dd { @match &log.signed_at { Some(at) => { (minute(at)) small { " / " (count(log.signed)) } } None => { (lang.say("none yet", "尚无")) } } }
                dt { (lang.say("witness", "见证")) } dd { (witness(log, lang)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_carry_nothing_strange() {
        let looked = Looked {
            kind: Some("gap".to_owned()),
            from: Some("2027-01-11".to_owned()),
            to: Some("x\"><script>".to_owned()),
            ..Looked::default()
        };
        assert_eq!(
            address(&looked, Some(7), Lang::Zh),
            "/log?lang=zh&kind=gap&from=2027-01-11&before=7#records"
        );
    }

    #[test]
    fn records_say_what_they_say_in_a_line() {
        let record: Map<String, Value> =
            serde_json::from_str(r#"{"start_mono_ns":1,"cause":"events_missing","events":3,"a":{"b":[1]}}"#)
                .unwrap();
        assert_eq!(says(&record), "a {\"b\":[1]} · cause events_missing · events 3");
        let long: Map<String, Value> = [("x".to_owned(), Value::from("é".repeat(900)))].into_iter().collect();
        assert_eq!(says(&long).chars().count(), LONGEST + 1);
    }
}
