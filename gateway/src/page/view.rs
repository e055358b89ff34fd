//! The view *Now*: what passes, what is recorded, what could not be seen, and how the lcores do.

use super::chart::{self, bar, parts};
use super::lang::Lang;
use super::numbers::{bits, bytes, count, percent, rate, short_time, span};
use super::shell::{Reader, View};
use super::{terms, words};
use crate::clock;
use crate::control::snapshot::{Aggregate, Count, LatencyNow, LcoreNow, PortNow, Snapshot};
use maud::{Markup, html};

/// Rows of a list that are shown; the API has all.
const ROWS: usize = 12;

/// The page.
pub(super) fn page(now: &Snapshot, reader: impl Into<Reader>) -> Markup {
    let reader = reader.into();
    let lang = reader.lang;
    // Without scripts the page loads itself again, at leisure.
    let head = html! { noscript { meta http-equiv="refresh" content="10"; } script src="/page.js" defer {} };
    let body = html! {
        a .skip href="#now" { (lang.say("To the figures", "跳到正文")) }
        (live(now, reader))
        footer {
            p { "Glassgate " (now.version) (lang.say(". Frames pass unchanged; nothing is decrypted, nothing sent anywhere else.", "。帧原样通过；不解密，不外传。")) }
            nav aria-label=(lang.say("Data", "数据")) {
                a href="/api/v1/now" { "JSON" } a href="/metrics" { (lang.say("Metrics", "指标")) } a href="/healthz" { (lang.say("Health", "健康")) }
            }
        }
    };
    super::shell::document(lang, View::Now.title(lang), &head, &body)
}

/// What of it changes: the script puts this in place of what was there.
pub(super) fn live(now: &Snapshot, reader: Reader) -> Markup {
    html! { main #now { (body(now, reader)) } }
}

fn body(now: &Snapshot, reader: Reader) -> Markup {
    let lang = reader.lang;
    html! {
        (masthead(now, reader))
        (super::alerts::card(now, lang))
        (bridge(now, lang))
        (recording(now, lang))
        (groups(now, lang))
        div .columns {
            (aggregates([lang.say("Categories", "类别"), lang.say("What flows are for.", "流的用途。")], "fill", &now.categories, lang))
            (aggregates([lang.say("Services", "服务"), lang.say("Counted for everybody together, while no charter is installed.", "无章程时，对全体合并计数。")], "fill down", &now.services, lang))
        }
        (sight(now, lang))
        div .columns {
            (lcores(now, lang))
            div .stack {
                (super::log::card(now, lang))
                (no_flow(now, lang))
            }
        }
    }
}

fn masthead(now: &Snapshot, reader: Reader) -> Markup {
    let lang = reader.lang;
    let dataplane = now.processes.iter().find(|p| p.name == "dataplane");
    let forwards = dataplane.is_some_and(|p| p.state == "up");
    let (class, word) = match (forwards, now.troubles.is_empty() && now.alerts.is_empty()) {
        (true, _) if now.bypass.is_some() => {
            ("pill warn", lang.say("bypass: forwarding everything", "旁路：全部转发"))
        }
        (true, true) => ("pill good", lang.say("forwarding", "转发中")),
        (true, false) => ("pill warn", lang.say("forwarding, needs attention", "转发中，需要处理")),
        (false, _) => ("pill bad", lang.say("not forwarding", "未在转发")),
    };
    let beside = html! {
        span class=(class) { (word) }
        p .clock {
            time datetime=(now.time) { (clock(&now.time)) } span { (lang.say("up ", "已运行 ")) (span(now.uptime_ms)) }
            span .stands { (lang.say("no answer, figures stand still", "没有应答，数字已停止更新")) }
        }
    };
    super::shell::masthead(View::Now, reader, &beside)
}

/// The two ports, and what passed between them.
fn bridge(now: &Snapshot, lang: Lang) -> Markup {
    let scale = chart::scale(&now.history);
    let label = bits(scale);
    html! {
        section .card .bridge aria-label=(lang.say("Traffic", "流量")) {
            div .ends {
                @for port in &now.ports { (end(port, lang)) }
            }
            figure {
                div .plot {
                    (chart::traffic(&now.history, scale, lang.say("Traffic of the last two minutes: towards the uplink above the line, towards the LAN below it", "最近两分钟的流量：线上为去往上联，线下为去往内网")))
                    span .tick .top { (label) }
                    span .tick .bottom { (label) }
                }
                figcaption { span { (lang.say("2 minutes ago", "2 分钟前")) } span .key { i .dot .up {} (lang.say("to the uplink", "去往上联")) i .dot .down {} (lang.say("to the LAN", "去往内网")) } span { (lang.say("now", "现在")) } }
            }
            dl .facts {
                div { dt { (lang.say("flows now", "当前流")) } dd { (count(now.flows.active)) small { (lang.say(" of ", " / ")) (count(now.flows.capacity)) } } }
                div { dt { (lang.say("new flows", "新建流")) } dd { (rate(now.flows.opened_per_s)) small { (lang.say(" /s", " /秒")) } } }
                div { dt { (lang.say("flows since start", "启动以来的流")) } dd { (count(now.flows.opened)) } }
                div { dt { (lang.say("interruptions", "中断")) } dd { (count(now.outages.count)) small { " " (span(now.outages.total_ms)) } } }
            }
        }
    }
}

fn end(port: &PortNow, lang: Lang) -> Markup {
    let name = if port.info.name == "lan" { lang.say("LAN", "内网") } else { lang.say("Uplink", "上联") };
    let towards = if port.info.name == "lan" { ("up", "down") } else { ("down", "up") };
    let lost = [
        (lang.say("dropped by a rule", "被规则丢弃"), port.drop_policy),
        (lang.say("dropped over a limit", "超限丢弃"), port.drop_limit),
        (lang.say("dropped, other port full", "对端口已满丢弃"), port.drop_tx_full),
        (lang.say("missed before us", "到达前丢失"), port.rx_missed),
    ];
    html! {
        div .end {
            h2 { (name) }
            p .device { code { (port.info.device) } " " (port.info.driver) }
            dl .rates {
                div class=(towards.0) { dt { (lang.say("in", "入")) } dd { (bits(port.rx_bits_per_s)) small { (rate(port.rx_frames_per_s)) (lang.say(" frames/s", " 帧/秒")) } } }
                div class=(towards.1) { dt { (lang.say("out", "出")) } dd { (bits(port.tx_bits_per_s)) small { (rate(port.tx_frames_per_s)) (lang.say(" frames/s", " 帧/秒")) } } }
            }
            p .totals { (count(port.rx_frames)) (lang.say(" frames in, ", " 帧入，")) (count(port.tx_frames)) (lang.say(" out", " 帧出")) }
            ul .lost {
                @for (what, n) in lost { li class=(if n > 0 { "some" } else { "" }) { b { (count(n)) } " " (what) } }
            }
        }
    }
}

/// What is written about people, in plain words.
fn recording(now: &Snapshot, lang: Lang) -> Markup {
    let levels = [
        (
            "none",
            lang.say("Nothing", "不记录"),
            lang.say("only how many flows were not looked at", "仅未检视的流数"),
        ),
        (
            "aggregate",
            lang.say("Counts", "计数"),
            lang.say("per service and hour, about nobody", "按服务与小时，不涉及个人"),
        ),
        (
            "sealed",
            lang.say("Sealed records", "封存记录"),
            lang.say("per session, under a pseudonym, opened by two", "按会话、使用假名、须两人开启"),
        ),
    ];
    html! {
        section .card .recording {
            div {
                h2 { (lang.say("What is recorded", "记录内容")) }
                p .lead { (lang.say(&now.recording.what, &now.recording.what_zh)) }
                p .note { (lang.say(&now.recording.basis, &now.recording.basis_zh)) }
            }
            ol .levels {
                @for (level, title, what) in levels {
                    li class=(if level == now.recording.level { "is" } else { "" })
                        aria-current=[(level == now.recording.level).then_some("true")] {
                        b { (title) } span { (what) }
                    }
                }
            }
        }
    }
}

fn aggregates([title, note]: [&str; 2], fill: &str, rows: &[Aggregate], lang: Lang) -> Markup {
    let top = rows.iter().map(|r| r.flows).max().unwrap_or(0) as f64;
    let title_of = |r: &Aggregate| {
        if r.name == r.category { terms::category(&r.category, lang) } else { r.title.clone() }
    };
    html! {
        section .card {
            h2 { (title) }
            p .note { (note) }
            @if rows.is_empty() { p .empty { (lang.say("Nothing yet.", "尚无数据。")) } } @else {
                table .ranked {
                    thead { tr { th scope="col" { span .hidden { (lang.say("name", "名称")) } } th {} th .n scope="col" { (lang.say("flows", "流")) } th .n scope="col" { (lang.say("up", "上行")) } th .n scope="col" { (lang.say("down", "下行")) } } }
                    tbody { @for r in rows.iter().take(ROWS) { tr {
                        th scope="row" {
                            (title_of(r))
                            @if r.name != r.category { small { (terms::category(&r.category, lang)) } }
                            @if r.flows_blocked > 0 { small .some { (count(r.flows_blocked)) (lang.say(" blocked", " 已阻断")) } }
                        }
                        td .bar { (bar(r.flows as f64, top, fill)) }
                        td .n { (count(r.flows)) } td .n { (bytes(r.bytes_up)) } td .n { (bytes(r.bytes_down)) }
                    } } }
                }
                @if rows.len() > ROWS { p .note { (lang.say("and ", "另有 ")) (count((rows.len() - ROWS) as u64)) (lang.say(" more in ", " 项，见 ")) a href="/api/v1/now" { (lang.say("the data", "数据")) } } }
            }
        }
    }
}

/// What groups did, where enough people stand behind it.
fn groups(now: &Snapshot, lang: Lang) -> Markup {
    let report = &now.report;
    if report.rows.is_empty() && report.suppressed.is_empty() {
        return html! {};
    }
    let top = report.rows.iter().map(|row| row.flows).max().unwrap_or(0) as f64;
    let blind: u64 = report.unnamed_percent.iter().map(|c| c.count).sum();
    html! {
        section .card {
            h2 { (lang.say("Groups", "部门")) }
            p .note {
                (lang.say("Hours that are over, and what of a day only the day can tell. No two rows count the same flow. ", "已结束的小时，以及只能按天统计的部分。各行之间不重复计数。"))
                @if let Some(since) = &report.since { (lang.say("Since ", "自 ")) (clock::hour(Some(since))) "." }
            }
            @if !report.rows.is_empty() {
                table .ranked .wide {
                    thead { tr {
                        th scope="col" { span .hidden { (lang.say("name", "名称")) } } th {} th .n scope="col" { (lang.say("people", "人数")) } th .n scope="col" { (lang.say("visits", "访问")) }
                        th .n scope="col" { (lang.say("time", "时长")) } th .n scope="col" { (lang.say("flows", "流")) } th .n scope="col" { (lang.say("up", "上行")) } th .n scope="col" { (lang.say("down", "下行")) }
                        th .n scope="col" { (lang.say("uploads", "上传")) }
                    } }
                    tbody { @for row in report.rows.iter().take(4 * ROWS) { tr {
                        th scope="row" {
                            (row.title) small { (row.group.as_deref().unwrap_or(lang.say("all groups", "全部部门"))) }
                            @if let Some(share) = row.blocked_percent.filter(|share| *share > 0) { small .some { (share) (lang.say(" % blocked", " % 已阻断")) } }
                        }
                        td .bar { (bar(row.flows as f64, top, "fill")) }
                        td .n { (row.subjects) } td .n { (count(row.visits)) } td .n { (span(row.active_s * 1000)) }
                        td .n { (count(row.flows)) } td .n { (bytes(row.bytes_up)) } td .n { (bytes(row.bytes_down)) }
                        td .n {
                            @if let Some(n) = row.uploads { (count(n)) }
                            @if let Some(n) = row.large_uploads { small { (count(n)) (lang.say(" large", " 大文件")) } }
                            @if row.uploads.or(row.large_uploads).is_none() { "–" }
                        }
                    } } }
                }
                p .note { (lang.say("Uploads are probable ones, where enough people made them and the purpose counts them; “–” elsewhere.", "上传为推测值，仅在人数足够且目的允许时给出；否则为“–”。")) }
                @if report.rows.len() > 4 * ROWS { p .note { (lang.say("and ", "另有 ")) (count((report.rows.len() - 4 * ROWS) as u64)) (lang.say(" more in ", " 项，见 ")) a href="/api/v1/now" { (lang.say("the data", "数据")) } } }
                p .note {
                    (lang.say("Of these flows ", "这些流中 ")) (blind) (lang.say(" % have no name that we can see", " % 名称不可见"))
                    @for reason in report.unnamed_percent.iter().take(3) { ", " (reason.count) " % " (words::reason(&reason.name, lang)) }
                    "."
                }
            }
            @for (group, k, titles) in suppressed(now, lang) {
                p .note { b { (group) } (lang.say(", fewer than ", "，少于 ")) (k) (lang.say(" people: ", " 人：")) (titles) "." }
            }
        }
    }
}

/// By group and `k`: categories of which nothing is told.
fn suppressed(now: &Snapshot, lang: Lang) -> Vec<(&str, u32, String)> {
    let mut all: Vec<(&str, u32, String)> = Vec::new();
    for hidden in &now.report.suppressed {
        match all.iter_mut().find(|(group, k, _)| *group == hidden.group && *k == hidden.k) {
            Some((_, _, titles)) => {
                titles.push_str(", ");
                titles.push_str(&terms::category(&hidden.category, lang));
            }
            None => all.push((&hidden.group, hidden.k, terms::category(&hidden.category, lang))),
        }
    }
    all
}

/// What could be seen of the flows and what not: the blindness meter.
fn sight(now: &Snapshot, lang: Lang) -> Markup {
    let (named, unnamed) = (total(&now.named), total(&now.unnamed));
    let all = named + unnamed + now.not_looked_at;
    let mut shares: Vec<(String, u64)> = Vec::new();
    shares.extend(now.named.iter().enumerate().map(|(i, c)| (format!("seen s{}", i.min(3)), c.count)));
    shares.extend(now.unnamed.iter().enumerate().map(|(i, c)| (format!("blind s{}", i.min(3)), c.count)));
    shares.push(("unlooked".to_owned(), now.not_looked_at));
    html! {
        section .card .sight {
            h2 { (lang.say("Blindness meter", "不可见度")) }
            p .note { (lang.say("What could be seen, and what not: read every other figure beside it. Names come from what is said in clear; encryption is never opened.", "可见与不可见的部分：其他数字须对照此处阅读。名称取自明文；从不解密。")) }
            @if !now.report.rows.is_empty() { p .note { (lang.say("What groups did is not in it: that has shares of its own, beside its counts.", "部门统计不含在内：其计数旁另有比例。")) } }
            (parts(lang.say("flows with a name, without, and not looked at", "有名称、无名称与未检视的流"), &shares))
            div .thirds {
                div {
                    p .share .good { (percent(named, all)) } p .what { (lang.say("of flows said a name", "的流给出了名称")) }
                    (legend("seen", &now.named, all, words::evidence, lang))
                }
                div {
                    p .share .warn { (percent(unnamed, all)) } p .what { (lang.say("have no name that we can see", "的流名称不可见")) }
                    (legend("blind", &now.unnamed, all, words::reason, lang))
                }
                div {
                    p .share { (percent(now.not_looked_at, all)) } p .what { (lang.say("were not looked at", "的流未检视")) }
                    @if !now.unobserved.is_empty() { (legend("unlooked", &now.unobserved, all, words::unobserved, lang)) }
                    @else if now.not_looked_at > 0 && (!now.report.suppressed.is_empty() || !now.report.rows.is_empty()) {
                        p .note { (lang.say("Why is not told under a charter: some reasons are about one person.", "章程生效时不说明原因：部分原因可能涉及个人。")) }
                    }
                    p .note { (lang.say("Health, banks, lawyers, unions, faith and the like: counted here as one number, and nowhere else.", "健康、银行、律师、工会、信仰等：仅在此处合计为一个数字。")) }
                    @if now.too_weak > 0 {
                        p .note { (count(now.too_weak)) (lang.say(" flows were named by too weak a hint to count for what people do.", " 条流的名称线索太弱，不计入类别。")) }
                    }
                }
            }
        }
    }
}

fn legend(
    class: &str,
    rows: &[Count],
    all: u64,
    words: fn(&str, Lang) -> &'static str,
    lang: Lang,
) -> Markup {
    html! {
        @if rows.is_empty() { p .empty { (lang.say("None yet.", "尚无。")) } } @else {
            ul .legend {
                @for (i, row) in rows.iter().enumerate().take(ROWS) {
                    li title=(row.name) {
                        i class=(format!("swatch {class} s{}", i.min(3))) {}
                        span { (words(&row.name, lang)) } b { (count(row.count)) } small { (percent(row.count, all)) }
                    }
                }
            }
        }
    }
}

fn lcores(now: &Snapshot, lang: Lang) -> Markup {
    html! {
        section .card {
            h2 { "Lcores" }
            p .note { (lang.say("Each has its own queue of both ports, its own flows, its own counters.", "各有自己的端口队列、流表与计数器。")) }
            @for lcore in &now.lcores { (lcore_block(lcore, lang)) }
            (time_in_box(&now.latency, lang))
            p .note {
                (count(now.events.received)) (lang.say(" events taken from the rings, ", " 个事件取自环形队列，")) (count(total(&now.events.lost)))
                (lang.say(" lost because one was full. ", " 个因队列满而丢失。")) (count(now.events.records)) (lang.say(" audit records written, ", " 条审计记录已写入，"))
                (bytes(now.events.log_bytes)) (lang.say(" in all.", " 合计。"))
            }
        }
    }
}

/// How long frames stay: upper bounds, since the data plane started.
fn time_in_box(latency: &LatencyNow, lang: Lang) -> Markup {
    let rows = [
        (lang.say("half", "一半"), latency.p50_ns),
        ("90 %", latency.p90_ns),
        ("99 %", latency.p99_ns),
        ("99.9 %", latency.p999_ns),
        (lang.say("all", "全部"), latency.max_ns),
    ];
    html! {
        h3 { (lang.say("Time in the box", "驻留时间")) }
        p .note { (lang.say("From when a frame is received until its whole turn has left: at most this, since the data plane started.", "自收到帧至其所在批次全部发出的上限，自数据面启动起计。")) }
        dl .facts .times {
            @for (share, time) in rows { div { dt { (share) (lang.say(" of all frames", " 的帧")) } dd { (short_time(time)) } } }
        }
    }
}

fn lcore_block(lcore: &LcoreNow, lang: Lang) -> Markup {
    let gauge = |what: &str, part: u64, whole: u64| {
        html! {
            dt { (what) } dd .bar { (bar(part as f64, whole as f64, "fill")) }
            dd .n { (count(part)) small { (lang.say(" of ", " / ")) (count(whole)) } }
        }
    };
    html! {
        div .lcore {
            h3 {
                "CPU " (lcore.cpu)
                @if lcore.acknowledged { span .pill .good { (lang.say("verdicts ", "判定 ")) (lcore.epoch) } }
                @else { span .pill .warn { (lang.say("older verdicts: ", "较旧判定：")) (lcore.epoch) } }
                @if lcore.panics > 0 { span .pill .bad { (count(lcore.panics)) (lang.say(" contained panics", " 次已隔离的崩溃")) } }
            }
            dl .gauges {
                dt { (lang.say("turns with frames", "有帧的轮次")) } dd .bar { (bar(lcore.load, 1.0, "fill")) } dd .n { (format!("{:.1} %", 100.0 * lcore.load)) }
                @if lcore.flows_capacity > 0 {
                    (gauge(lang.say("flow table", "流表"), lcore.flows_active, lcore.flows_capacity))
                    (gauge(lang.say("inspections", "检视"), lcore.inspections, lcore.inspections_capacity))
                    (gauge(lang.say("event ring", "事件队列"), lcore.ring_fill, lcore.ring_capacity))
                }
            }
            @if lcore.flows_capacity == 0 { p .note { (lang.say("Receives and sends for the others, which know the flows.", "为其他核收发；流由它们处理。")) } }
        }
    }
}

fn no_flow(now: &Snapshot, lang: Lang) -> Markup {
    let top = now.not_flows.iter().map(|c| c.count).max().unwrap_or(0) as f64;
    html! {
        section .card {
            h2 { (lang.say("Frames without a flow", "无流的帧")) }
            p .note { (lang.say("Forwarded like all others, never looked into.", "照常转发，不作检视。")) }
            @if now.not_flows.is_empty() { p .empty { (lang.say("None yet.", "尚无。")) } } @else {
                table .ranked { tbody { @for row in now.not_flows.iter().take(ROWS) { tr {
                    th scope="row" { (words::frame(&row.name, lang)) }
                    td .bar { (bar(row.count as f64, top, "fill quiet")) } td .n { (count(row.count)) }
                } } } }
            }
        }
    }
}

fn total(counts: &[Count]) -> u64 {
    counts.iter().map(|c| c.count).sum()
}

/// Hour and minute of an RFC 3339 time, and its date.
fn clock(time: &str) -> String {
    match time.split_once('T') {
        Some((date, clock)) => format!("{date} {} UTC", clock.trim_end_matches('Z')),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn hostile_words_are_inert() {
        let evil = "<script>alert(1)</script>\"'&\u{202e}";
        let mut now = sample::snapshot();
        now.troubles = vec![evil.to_owned()];
        now.time = evil.to_owned();
        now.ports[0].info.device = evil.to_owned();
        now.services[0].title = evil.to_owned();
        now.unnamed.push(Count { name: evil.to_owned(), count: 3 });
        let page = page(&now, Lang::En).into_string();
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(!page.contains("\"'&"), "quotes in attributes");
        assert_eq!(page.matches("&lt;script&gt;").count(), 6, "each of them is there");
    }

    #[test]
    fn groups_say_what_is_suppressed_and_how_blind_they_are() {
        let page = page(&sample::snapshot(), Lang::En).into_string();
        for words in [
            "10-19",
            "<b>lab</b>, fewer than 10 people: Recruitment.",
            "<td class=\"n\">–</td>",
            "Of these flows 9 % have no name",
            "the name is encrypted",
        ] {
            assert!(page.contains(words), "{words}\n{page}");
        }
        let mut now = sample::snapshot();
        now.report = Default::default();
        assert!(!super::page(&now, Lang::En).into_string().contains("fewer than"));
    }

    #[test]
    fn an_empty_gateway_has_a_page() {
        let page = page(&Snapshot::default(), Lang::En).into_string();
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        assert!(page.contains("not forwarding") && page.contains("Blindness meter"));
    }

    #[test]
    fn shows_what_it_is_for() {
        let page = page(&sample::snapshot(), Lang::En).into_string();
        for word in [
            "BOSS Zhipin",
            "Recruitment",
            "TLS server name",
            "the name is encrypted",
            "af_xdp:eth1",
            "No charter is in force",
            "dropped by a rule",
            "CPU 2",
            "forwarding",
        ] {
            assert!(page.contains(word), "{word}");
        }
        assert!(!page.contains("style=\""), "the policy of the page forbids inline styles");
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing from elsewhere");
        assert!(page.len() < 60_000, "{} bytes", page.len());
    }

    #[test]
    fn in_chinese_as_well() {
        let page = page(&sample::snapshot(), Lang::Zh).into_string();
        for word in [
            "不可见度",
            "没有生效的章程，除计数外",
            "招聘",
            "TLS 服务器名称",
            "转发中",
            "驻留时间",
            "href=\"/?lang=en\"",
        ] {
            assert!(page.contains(word), "{word}");
        }
        for word in [
            "Blindness",
            "No charter",
            "forwarding",
            "frames in",
            "Needs attention",
            "of all frames",
            "Nothing",
        ] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
