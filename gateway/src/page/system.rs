//! The view *System*: the version, the processes and what holds them, what is kept on disk, and how to turn everything off.

use super::gate::Asker;
use super::lang::Lang;
use super::numbers::{bytes, count, span};
use super::shell::Reader;
use super::{alerts, now, shell};
use crate::control::Shared;
use crate::control::snapshot::Snapshot;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Html;
use maud::{Markup, html};

/// The page.
pub(super) async fn view(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    Query(looked): Query<shell::Looked>,
) -> Html<String> {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    Html(page(&now(&shared), Reader::of(&asker, lang)).into_string())
}

fn page(now: &Snapshot, reader: impl Into<Reader>) -> Markup {
    let reader = reader.into();
    let lang = reader.lang;
    let body = html! {
        (troubles(now, lang))
        div .columns { (machine(now, lang)) (processes(now, lang)) }
        div .columns { (disk(now, lang)) div .stack { (bypass(now, lang)) (alerts::targets(now, lang)) } }
    };
    shell::page(now, shell::View::System, reader, &body)
}

fn troubles(now: &Snapshot, lang: Lang) -> Markup {
    html! {
        @if now.troubles.is_empty() && now.alerts.is_empty() {
            section .card { h2 { (lang.say("All is well", "一切正常")) } p .note { (lang.say("Nothing needs attention.", "没有需要处理的事项。")) } }
        }
        (alerts::card(now, lang))
    }
}

fn machine(now: &Snapshot, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card {
            h2 { (say("This gateway", "本网关")) }
            dl .list {
                dt { (say("version", "版本")) } dd { (now.version) }
                dt { (say("up", "已运行")) } dd { (span(now.uptime_ms)) }
                dt { (say("clock", "时钟")) } dd { (crate::clock::minute(Some(&now.time))) " UTC" }
                dt { (say("interruptions", "中断")) } dd { (count(now.outages.count)) small { " " (span(now.outages.total_ms)) } }
                dt { (say("uninspected", "未经检测")) } dd { (count(now.uninspected.count)) small { " " (span(now.uninspected.total_ms)) } }
                dt { (say("fallback", "后备转发")) } dd { (super::terms::forwarder(&now.uninspected.fallback, lang)) @if let Some(why) = &now.uninspected.fallback_missing { small { " " (why) } } }
                @for port in &now.ports { dt { (port.info.name) } dd { code { (port.info.device) } " " (port.info.driver) } }
                @if let Some([held, by]) = &now.held_port { dt { (say("held down", "保持断开")) } dd .some { (held) (say(": no link at ", "：无链路于 ")) (by) } }
                dt { "lcores" } dd { @for (at, lcore) in now.lcores.iter().enumerate() { @if at > 0 { ", " } "CPU " (lcore.cpu) } }
            }
        }
    }
}

fn processes(now: &Snapshot, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let what = |name: &str| match name {
        "guard" => say("starts, watches and replaces the others", "启动、监视并替换其他进程"),
        "dataplane" => say("sees frames, writes nothing", "处理帧，不写入"),
        _ => say("writes, and never sees a frame", "负责写入，从不接触帧"),
    };
    let held = |name: &str| match name {
        "dataplane" => now.confinement.dataplane.as_str(),
        "control" => now.confinement.control.as_str(),
        _ => "",
    };
    html! {
        section .card {
            h2 { (say("Processes", "进程")) }
            p .note { (say("One program, three processes: who sees traffic can't store it.", "一个程序，三个进程：能看到流量的不能存储。")) }
            ul .processes { @for process in &now.processes { li {
                div { b { (process.name) } span class=(if process.state == "up" { "pill good" } else { "pill bad" }) { (process.state) } }
                p { (what(&process.name)) }
                @if !held(&process.name).is_empty() { p .note { (say("held by ", "受限于 ")) (held(&process.name)) } }
                @if process.restarts > 0 {
                    p .note { (say("started again: ", "重启次数：")) (count(process.restarts)) @if let Some(end) = &process.last_end { (say(", last: ", "，最近：")) (end) } }
                }
            } } }
        }
    }
}

fn disk(now: &Snapshot, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let log = &now.log;
    html! {
        section .card {
            h2 { (say("What is kept", "存储")) }
            dl .list {
                dt { (say("audit log", "审计日志")) } dd { (count(log.entries)) (say(" entries, ", " 条，")) (bytes(now.events.log_bytes)) }
                dt { (say("index", "索引")) } dd { (count(log.store.records)) (say(" records, ", " 条，")) (bytes(log.store.bytes)) }
                dt { (say("keys of sealed records", "封存密钥")) } dd { (count(now.sealed.keys as u64)) }
                dt { (say("receipts of notices", "告知回执")) } dd { (count(now.identity.receipts as u64)) }
                dt { (say("enrolled", "已登记")) } dd { (count(now.identity.enrolled as u64)) (say(" in ", "，部门 ")) (count(now.identity.groups as u64)) (say(" groups", "")) }
            }
            @for trouble in [&now.events.log_trouble, &now.events.witness_trouble, &log.store.trouble].into_iter().flatten() { p .some { (trouble) } }
        }
    }
}

fn bypass(now: &Snapshot, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card {
            div .with_spans {
                h2 { (say("Bypass", "旁路")) }
                @match &now.bypass {
                    Some(bypass) => { span .pill .warn { (say("on since ", "开启自 ")) (crate::clock::minute(Some(&bypass.since))) } }
                    None => { span .pill .good { (say("off", "关闭")) } }
                }
            }
            p { (say("Everything is forwarded, nothing is observed, no rule acts. It is an act on record.", "全部转发，不观察，规则不生效。该操作会被记录。")) }
            p .note { code { "glassgate bypass on" } " · " code { "glassgate bypass off" } @if now.bypass.as_ref().is_some_and(|bypass| bypass.kept) { (say(" · also after the next start", " · 重启后仍保持")) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample;

    #[test]
    fn it_tells_what_runs_and_what_holds_it() {
        for (lang, words) in
            [(Lang::En, ["Processes", "seccomp", "off"]), (Lang::Zh, ["进程", "seccomp", "关闭"])]
        {
            let page = page(&sample::snapshot(), lang).into_string();
            for word in words {
                assert!(page.contains(word), "{word}");
            }
        }
        let mut now = sample::snapshot();
        now.bypass = Some(crate::control::snapshot::BypassNow { kept: true, ..Default::default() });
        now.troubles = vec!["the disk is full".to_owned()];
        let page = page(&now, Lang::En).into_string();
        assert!(page.contains("the disk is full") && page.contains("also after the next start"));
    }
}
