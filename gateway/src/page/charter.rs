//! The view *Charter*: what is in force, on which basis, when, who signed it and when it ends.

use super::gate::Asker;
use super::lang::Lang;
use super::shell::Reader;
use super::terms;
use super::{now, shell, told};
use crate::control::Shared;
use crate::control::past::Unanswered;
use crate::control::snapshot::Snapshot;
use crate::control::told::{CalendarTold, CharterNow, CharterTold, NoticeTold, PurposeTold, Tell};
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{Html, Response};
use maud::{Markup, html};

/// The page.
pub(super) async fn view(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    Query(looked): Query<shell::Looked>,
) -> Html<String> {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    let charter = told(&shared, Tell::Charter).await;
    let next = super::wizard::card(&asker, lang);
    Html(page(&now(&shared), &charter, &next, Reader::of(&asker, lang)).into_string())
}

/// The same as JSON.
pub(super) async fn data(State(shared): State<Shared>) -> Response {
    super::answer(told(&shared, Tell::Charter).await)
}

fn page(
    now: &Snapshot,
    told: &Result<CharterNow, Unanswered>,
    next: &Markup,
    reader: impl Into<Reader>,
) -> Markup {
    let reader = reader.into();
    let lang = reader.lang;
    let body = match told {
        Err(why) => html! { section .card { p .empty { (why) } } },
        Ok(told) => html! {
            (stands(now, told, lang))
            @if let Some(charter) = &told.charter {
                @for purpose in &charter.purposes { (of_purpose(purpose, lang)) }
                @if !charter.calendars.is_empty() { (calendars(&charter.calendars, &now.time, lang)) }
                div .columns { (signed(charter, lang)) (notices(charter, lang)) }
            }
            (next)
        },
    };
    shell::page(now, shell::View::Charter, reader, &body)
}

fn stands(now: &Snapshot, told: &CharterNow, lang: Lang) -> Markup {
    let class = if told.standing == "in_force" { "pill good" } else { "pill warn" };
    html! {
        section .card {
            div .with_spans {
                h2 { @match &told.charter { Some(charter) => { (charter.name) " " (lang.say("no. ", "第 ")) (charter.serial) (lang.say("", " 号")) } None => { (lang.say("Charter", "章程")) } } }
                span class=(class) { (terms::standing(told.standing, lang)) }
            }
            @if let Some(trouble) = &told.trouble { p .some { (trouble) } }
            p .lead { (lang.say(&now.recording.what, &now.recording.what_zh)) }
            @if let Some(charter) = &told.charter {
                dl .list {
                    dt { (lang.say("from", "自")) } dd { (charter.issued) } dt { (lang.say("last day", "末日")) } dd { (charter.expires) " (" (charter.zone) ")" }
                    @if let Some(until) = &told.until { dt { (lang.say("next change", "下次变化")) } dd { (crate::clock::minute(Some(until))) " UTC" } }
                    dt { (lang.say("controller", "处理者")) } dd { (charter.controller) }
                    dt { (lang.say("contact", "联系")) } dd { (charter.contact) }
                    dt { (lang.say("never observed", "从不观察")) } dd { @if charter.exempt.is_empty() { "–" } @else { (charter.exempt.join(", ")) } (lang.say("; private, guests' and unknown devices", "；私人、访客与未登记设备")) }
                    dt { "SHA-256" } dd { code { (charter.sha256) } }
                }
            } @else {
                p .note { (lang.say(
                    "Without a charter nothing beyond counts of the whole network may be recorded. `glassgate charter new` makes one to fill in; it takes the signatures of those that it names, and `glassgate charter install` puts it in force.",
                    "没有章程时，除全网计数外不得记录任何内容。用 `glassgate charter new` 生成模板，由其中列名者签署后，用 `glassgate charter install` 生效。"
                )) }
            }
        }
    }
}

/// A purpose and everything it rests on.
pub(super) fn of_purpose(purpose: &PurposeTold, lang: Lang) -> Markup {
    let class = if purpose.standing == Some("open") { "pill good" } else { "pill" };
    html! {
        section .card {
            div .with_spans {
                h2 { (terms::purpose(purpose.purpose, lang)) }
                @if let Some(standing) = purpose.standing { span class=(class) { (terms::state(standing, lang)) } }
            }
            dl .list {
                dt { (lang.say("written", "记录")) } dd { (terms::level(purpose.level, lang)) (lang.say(", of at least ", "，至少 ")) (purpose.k) (lang.say(" people; kept for ", " 人；保存 ")) (purpose.retention_days) (lang.say(" days", " 天")) }
                dt { (lang.say("of", "类别")) } dd { @for (at, category) in purpose.categories.iter().enumerate() { @if at > 0 { ", " } (terms::category(category, lang)) } }
                dt { (lang.say("groups", "部门")) } dd { (purpose.groups.join(", ")) }
                dt { (lang.say("when", "时段")) } dd { @match &purpose.calendar { Some(calendar) => { (lang.say("calendar ", "日历 ")) b { (calendar) } } None => { (lang.say("at any time", "任何时间")) } } }
                dt { (lang.say("basis", "法律依据")) } dd { (terms::basis(purpose.basis, lang)) ": " (purpose.document) " " small { code { (purpose.document_sha256.get(..16).unwrap_or_default()) "…" } } }
                dt { (lang.say("told by", "告知书")) } dd { (purpose.notice) @if purpose.receipt { (lang.say(", and only of devices on which it was read", "，且仅限已阅读的设备")) } }
                @if let Some(last) = &purpose.expires { dt { (lang.say("last day", "末日")) } dd { (last) } }
            }
        }
    }
}

fn calendars(calendars: &[CalendarTold], time: &str, lang: Lang) -> Markup {
    html! {
        section .card {
            h2 { (lang.say("Calendars of this week", "本周日历")) }
            p .note { (lang.say("Purposes with a calendar observe while it is open, and at no other time.", "附有日历的目的仅在日历开放时观察。")) }
            @for calendar in calendars { (week(calendar, time, lang)) }
        }
    }
}

fn week(calendar: &CalendarTold, time: &str, lang: Lang) -> Markup {
    let here: Option<jiff::Zoned> =
        time.parse::<jiff::Timestamp>().ok().and_then(|at| at.in_tz(&calendar.zone).ok());
    let minute = here.as_ref().map(|at| i32::from(at.hour()) * 60 + i32::from(at.minute()));
    let today = here.map(|at| at.date().to_string());
    html! {
        h3 { (calendar.name) small { (calendar.zone) } @if let Some(state) = calendar.state { span class=(if state == "open" { "pill good" } else { "pill" }) { (terms::state(state, lang)) } } }
        table .week {
            tbody { @for (at, day) in calendar.week.iter().enumerate() { tr {
                th scope="row" { (terms::weekday(at, lang)) small { " " (day.date.get(5..).unwrap_or_default()) } }
                td {
                    svg .day viewBox="0 0 1440 20" preserveAspectRatio="none" aria-hidden="true" {
                        rect .track width="1440" height="20" {}
                        @for [from, to] in &day.open { rect .fill x=(from) width=(to - from) height="20" {} }
                        @for hour in [360, 720, 1080] { line .grid x1=(hour) x2=(hour) y1="0" y2="20" {} }
                        @if let (Some(minute), true) = (minute, today.as_deref() == Some(day.date.as_str())) { line .is_now x1=(minute) x2=(minute) y1="0" y2="20" {} }
                    }
                }
                td .when {
                    @if !day.valid { (lang.say("not valid", "无效")) } @else if day.open.is_empty() { (lang.say("closed", "关闭")) } @else {
                        @for (at, [from, to]) in day.open.iter().enumerate() { @if at > 0 { ", " } (clock(*from)) "–" (clock(*to)) }
                    }
                }
            } } }
        }
    }
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn signed(charter: &CharterTold, lang: Lang) -> Markup {
    html! {
        section .card {
            h2 { (lang.say("Signed by", "签署人")) }
            ul .processes { @for approver in &charter.approvers { li {
                div { b { (approver.name) } @if charter.revoked_by.contains(&approver.name) { span .pill .bad { (lang.say("revoked", "已撤销")) } } @else { span .pill .good { (lang.say("signed", "已签")) } } }
                p .note { (terms::role(approver.role, lang)) " · Ed25519 " code { (approver.key.get(..16).unwrap_or_default()) "…" } }
            } } }
            @if !charter.holders.is_empty() {
                h3 { (lang.say("Sealed records are opened by any two of", "封存记录须由以下任意两人共同开启")) }
                ul .processes { @for (role, name) in &charter.holders { li { div { b { (name) } } p .note { (terms::role(role, lang)) } } } }
            }
        }
    }
}

fn notices(charter: &CharterTold, lang: Lang) -> Markup {
    html! {
        section .card {
            h2 { (lang.say("What people were told", "已告知内容")) }
            @for notice in &charter.notices { (of_notice(notice, lang)) }
        }
    }
}

/// A notice, in the language that is asked for where it has it.
pub(super) fn of_notice(notice: &NoticeTold, lang: Lang) -> Markup {
    let of = |tag: &str| notice.text.iter().find(|(known, _)| known.split('-').next() == Some(tag));
    let text = of(lang.tag()).or_else(|| of("en")).or_else(|| notice.text.iter().next());
    html! {
        h3 { (notice.version) small { @match &notice.given { Some(day) => { (lang.say("given on ", "告知于 ")) (day) } None => { (lang.say("not given yet", "尚未告知")) } } } }
        @if let Some((tag, text)) = text { blockquote .notice lang=(tag) { @for line in text.lines().filter(|line| !line.trim().is_empty()) { p { (line) } } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample;

    #[test]
    fn what_is_in_force_is_shown_whole_and_in_both_languages() {
        let told = sample::charter();
        for (lang, words) in [
            (Lang::En, ["in force", "Signed by", "open now", "closed", "Mon"]),
            (Lang::Zh, ["生效中", "签署人", "现在开放", "关闭", "周一"]),
        ] {
            let page = page(&sample::snapshot(), &Ok(told.clone()), &html! {}, lang).into_string();
            for word in words {
                assert!(page.contains(word), "{word}");
            }
            let charter = told.charter.as_ref().unwrap();
            for said in [&charter.name, &charter.controller, &charter.sha256, &charter.purposes[0].document] {
                assert!(page.contains(said.as_str()), "{said}");
            }
        }
    }

    #[test]
    fn without_one_it_says_how_to_make_one() {
        let told = CharterNow { standing: "absent", ..CharterNow::default() };
        let page = page(&sample::snapshot(), &Ok(told), &html! {}, Lang::En).into_string();
        assert!(page.contains("glassgate charter new") && page.contains("no charter is installed"));
    }
}
