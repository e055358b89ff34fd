//! *My device*, for whoever was handed the letter of a case: who looked at their records, when and why.
//!
//! The letter has a code of which the audit log holds a commitment; it stands for a login, since it is known to those who hold the
//! request and to the subject alone, and opens nothing but what is told here. What was seen is told by the controller, not here.

use super::cases::ask;
use super::gate::{Asker, Fields};
use super::lang::Lang;
use super::peer::Peer;
use super::shell::Reader;
use super::{device, login, now, terms};
use crate::control::past::Unanswered;
use crate::control::{CaseAnswer, CaseAsk, Shared};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use glassgate_sealed::case::{Done, Summary};
use maud::{Markup, html};

/// The longest key of a subject, and the longest code.
const LONGEST: usize = 256;

/// What came of a question; `None` of it: no look fits the code.
pub(super) type Found = Result<Option<Summary>, Unanswered>;

/// `POST /device/looks`.
pub(super) async fn looks(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    Extension(asker): Extension<Asker>,
    Extension(fields): Extension<Fields>,
    headers: HeaderMap,
) -> Response {
    let lang = Lang::of(Some(fields.get("lang")), &headers);
    let [subject, code] = ["subject", "code"].map(|name| fields.get(name).trim().to_owned());
    let found = if subject.len() > LONGEST || code.len() > LONGEST {
        Ok(None)
    } else {
        match ask(&shared, CaseAsk::LookedAt { subject, code }).await {
            Ok(CaseAnswer::Cases(cases)) => Ok(cases.into_iter().next()),
            Ok(_) => Err(Unanswered::Unavailable("another answer than was asked for".to_owned())),
            Err(why) => Err(why),
        }
    };
    let told = device::ask(&shared, peer).await;
    login::tied(&shared, &headers, &asker, |token| {
        device::page(&now(&shared), &told, Some(token), Some(&found), Reader::of(&asker, lang))
    })
}

/// The form.
pub(super) fn form(token: &str, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card .form {
            h2 { (say("Were you told that somebody looked?", "您是否被告知有人查看过？")) }
            p .note { (say(
                "The letter that you were given has two words for this. Without it nobody is told anything here.",
                "您收到的告知书上有以下两项。没有告知书者在此得不到任何信息。"
            )) }
            form method="post" action="/device/looks" {
                (login::hidden(token, lang))
                label { (say("Subject", "代号（subject）")) input name="subject" maxlength=(LONGEST) autocomplete="off" required; }
                label { (say("Code", "验证码（code）")) input name="code" maxlength=(LONGEST) autocomplete="off" spellcheck="false" required; }
                button { (say("Who looked?", "谁查看过？")) }
            }
        }
    }
}

/// What came of it.
pub(super) fn answer(found: &Found, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card role="status" {
            @match found {
                Err(why) => { h2 { (say("Not now", "暂时无法回答")) } p .some { (why) } }
                Ok(None) => {
                    h2 { (say("No look fits this code", "没有与此验证码相符的查看记录")) }
                    p .note { (say(
                        "Compare both words with the letter. After a look has been told, it may have given way to newer ones: the audit log still has it, under the number of the case.",
                        "请与告知书核对两项内容。已告知的查看记录可能已被更新的取代：审计日志仍以个案编号保存。"
                    )) }
                }
                Ok(Some(case)) => { (told(case, lang)) }
            }
        }
    }
}

fn told(case: &Summary, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let steps: [(&str, &Option<Done>); 4] = [
        (say("Asked", "申请"), &case.opened),
        (say("Approved", "批准"), &case.approved),
        (say("Looked, once", "查看（一次）"), &case.shown),
        (say("Told you", "告知您"), &case.told),
    ];
    html! {
        h2 { (say("Your records were looked at", "您的记录曾被查看")) }
        p .lead { (terms::purpose(&case.purpose, lang)) ", " (case.from) " – " (case.to) ": " @for (at, category) in case.categories.iter().enumerate() { @if at > 0 { ", " } (terms::category(category, lang)) } }
        p { (say("Reason: ", "理由：")) (super::cases::reason(&case.reason, lang)) }
        table .ranked {
            thead { tr { th scope="col" { (say("step", "步骤")) } th scope="col" { (say("who", "何人")) } th scope="col" { (say("when", "时间")) } } }
            tbody { @for (step, done) in steps { @if let Some(done) = done { tr {
                th scope="row" { (step) }
                td { (terms::role(&done.by.role, lang)) " (" (done.by.name) ")" }
                td { @match done.at { Some(at) => { (crate::clock::minute(Some(&at.to_string()))) " UTC" } None => { (say("the clock was not set", "时钟未校准")) } } }
            } } } }
        }
        p .note { (say("In the audit log it is the case ", "审计日志中的个案编号：")) code { (case.case) } (say(". Each step was durable there before it was done.", "。每一步均先写入日志后执行。")) }
    }
}
