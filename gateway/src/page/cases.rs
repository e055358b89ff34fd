//! The view *Cases*: who asked to open sealed records, who approved, who looked, and who is still to be told; and the way to take part
//! from a browser.
//!
//! Keys and identities never come here. The page writes the request and hands it out; its holder signs it on their own machine with
//! `glassgate case sign`, and hands in what that printed. What is shown comes back sealed to whoever looks, and is read there as well.
//! Each of these steps is judged and put on record by the slow path, as if it had come by the control socket.

use super::gate::{Asker, Fields};
use super::lang::Lang;
use super::login::hidden;
use super::shell::Reader;
use super::{now, shell, terms};
use crate::control::past::Unanswered;
use crate::control::snapshot::Snapshot;
use crate::control::{CaseAnswer, CaseAsk, Command, Shared};
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{Html, Response};
use glassgate_sealed::case::{Asked, Brief, Statement, Step, Summary};
use maud::{Markup, html};
use tokio::sync::oneshot;

/// What came of a form.
enum Came {
    /// A request was written: to be signed.
    Brief(Brief),
    /// A step was taken.
    Step(String, Step),
    /// It is on record that the subject was told.
    Told(String),
    /// What is shown, sealed to who looks.
    Shown(String),
    /// It was denied, or not understood.
    Denied(String),
}

/// The page.
pub(super) async fn view(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    Query(looked): Query<shell::Looked>,
) -> Html<String> {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    shown(&shared, &asker, None, lang).await
}

/// Writes a request.
pub(super) async fn draft(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    Extension(fields): Extension<Fields>,
    headers: HeaderMap,
) -> Html<String> {
    let lang = Lang::of(Some(fields.get("lang")), &headers);
    let came = match scope(&fields) {
        Err(why) => Came::Denied(why),
        Ok(asked) => came(ask(&shared, CaseAsk::Draft(asked)).await),
    };
    shown(&shared, &asker, Some(came), lang).await
}

/// Takes what a holder signed.
pub(super) async fn submit(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    Extension(fields): Extension<Fields>,
    headers: HeaderMap,
) -> Html<String> {
    let lang = Lang::of(Some(fields.get("lang")), &headers);
    let came = match serde_json::from_str::<Statement>(fields.get("statement")) {
        Err(e) => Came::Denied(format!("this is not what `glassgate case sign` prints: {e}")),
        Ok(said) => came(ask(&shared, CaseAsk::Submit(said)).await),
    };
    shown(&shared, &asker, Some(came), lang).await
}

/// All cases, as JSON.
pub(super) async fn data(State(shared): State<Shared>) -> Response {
    super::answer(match ask(&shared, CaseAsk::List).await {
        Ok(CaseAnswer::Cases(cases)) => Ok(cases),
        Ok(_) => Err(Unanswered::Unavailable("another answer than was asked for".to_owned())),
        Err(why) => Err(why),
    })
}

/// What a holder needs to say something about a case, as JSON.
pub(super) async fn brief(State(shared): State<Shared>, Path(case): Path<String>) -> Response {
    super::answer(match ask(&shared, CaseAsk::Brief(case)).await {
        Ok(CaseAnswer::Brief(brief)) => Ok(brief),
        Ok(_) => Err(Unanswered::Unavailable("another answer than was asked for".to_owned())),
        Err(why) => Err(why),
    })
}

pub(super) async fn ask(shared: &Shared, ask: CaseAsk) -> Result<CaseAnswer, Unanswered> {
    let (answer, told) = oneshot::channel();
    let gone = || Unanswered::Unavailable("the slow path does not answer".to_owned());
    shared.commands.send(Command::Case { ask, uid: None, answer }).map_err(|_| gone())?;
    // A look reads the log: it may take its time.
    let told = tokio::time::timeout(super::LONGEST, told).await.map_err(|_| gone())?.map_err(|_| gone())?;
    told.map_err(Unanswered::Question)
}

fn came(answer: Result<CaseAnswer, Unanswered>) -> Came {
    match answer {
        Ok(CaseAnswer::Brief(brief)) => Came::Brief(brief),
        Ok(CaseAnswer::Step(case, step)) => Came::Step(case, step),
        Ok(CaseAnswer::Told(case)) => Came::Told(case),
        Ok(CaseAnswer::Shown(sealed)) => Came::Shown(sealed),
        Ok(_) => Came::Denied("the gateway gave another answer than was asked for".to_owned()),
        Err(why) => Came::Denied(why.to_string()),
    }
}

fn scope(fields: &Fields) -> Result<Asked, String> {
    let day = |name: &str| {
        fields.get(name).parse().map_err(|_| format!("`{}` is no day: write 2027-03-01", fields.get(name)))
    };
    let words = fields.get("categories").split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
    Ok(Asked {
        subject: fields.get("subject").trim().to_owned(),
        purpose: fields.get("purpose").to_owned(),
        categories: words.map(str::to_owned).collect(),
        from: day("from")?,
        to: day("to")?,
        reason: fields.get("reason").to_owned(),
        valid_days: fields.get("valid").parse().unwrap_or(7),
    })
}

async fn shown(shared: &Shared, asker: &Asker, came: Option<Came>, lang: Lang) -> Html<String> {
    let list = ask(shared, CaseAsk::List).await;
    let viewer = asker.viewer.as_ref();
    let token = viewer.map(|viewer| viewer.token.clone()).unwrap_or_default();
    let may_act = viewer.is_some_and(|viewer| super::routes::HOLDERS.contains(&viewer.role));
    let reader = Reader::of(asker, lang);
    Html(page(&now(shared), &list, came.as_ref(), may_act.then_some(&token), reader).into_string())
}

/// `token`: of whoever may take part.
fn page(
    now: &Snapshot,
    list: &Result<CaseAnswer, Unanswered>,
    came: Option<&Came>,
    token: Option<&String>,
    reader: impl Into<Reader>,
) -> Markup {
    let reader = reader.into();
    let lang = reader.lang;
    let body = html! {
        @if let Some(came) = came { (outcome(came, lang)) }
        (cases(now, list, token.is_some(), lang))
        @if let Some(token) = token { div .columns { (hand_in(token, lang)) (open(token, lang)) } }
    };
    shell::page(now, shell::View::Cases, reader, &body)
}

fn step(step: Step, lang: Lang) -> &'static str {
    match step {
        Step::Drafted => lang.say("drafted: nobody has signed it", "草拟：尚无人签署"),
        Step::Open => lang.say("open: another holder must approve it", "已提出：须另一持有人批准"),
        Step::Approved => lang.say("approved: it can be looked at once", "已批准：可查看一次"),
        Step::Shown => lang.say("shown", "已查看"),
        Step::Refused => lang.say("refused", "已拒绝"),
        Step::Closed => lang.say("closed", "已关闭"),
        Step::Expired => lang.say("expired", "已过期"),
    }
}

fn cases(now: &Snapshot, list: &Result<CaseAnswer, Unanswered>, may_act: bool, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let today = now.time.get(..10).unwrap_or_default();
    html! {
        section .card {
            h2 { (say("Cases", "个案")) }
            p .note { (say(
                "One holder opens, another approves, either of the two looks, once. About one person, named days and a reason. Each step is on record before it is done; whom it is about stands only in the request.",
                "一名持有人提出，另一名批准，两人之一查看一次；仅限一人、指定日期与理由。每一步先入日志后执行；所涉人员仅载于请求中。"
            )) }
            @match list {
                Ok(CaseAnswer::Cases(cases)) if !cases.is_empty() => {
                    ul .processes { @for case in cases { (line(case, today, may_act, lang)) } }
                }
                Ok(_) => { p .empty { (say("There are none. Cases that were open when the gateway stopped are gone.", "没有个案。网关停止时未完成的个案已作废。")) } }
                Err(why) => { p .some { (why) } }
            }
        }
    }
}

fn line(case: &Summary, today: &str, may_act: bool, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let class = match case.step {
        Step::Open | Step::Approved => "pill warn",
        Step::Shown => "pill good",
        _ => "pill",
    };
    html! {
        li {
            div { b { code { (case.case) } } span class=(class) { (step(case.step, lang)) } }
            p { (terms::purpose(&case.purpose, lang)) ", " (case.from) " – " (case.to) ": " @for (at, category) in case.categories.iter().enumerate() { @if at > 0 { ", " } (terms::category(category, lang)) } }
            p .note {
                (reason(&case.reason, lang))
                @for (what, done) in [(say("opened by ", "提出："), &case.opened), (say("approved by ", "批准："), &case.approved), (say("looked at by ", "查看："), &case.shown)] {
                    @if let Some(done) = done { " · " (what) (terms::role(&done.by.role, lang)) }
                }
                " · " (say("ends ", "截止 ")) (crate::clock::minute(Some(&case.expires.to_string())))
            }
            @match (&case.told, case.tell_on) {
                (Some(_), _) => { p .note { (say("The subject was told.", "已告知本人。")) } }
                (None, Some(day)) if day.to_string().as_str() <= today => { p .some { (say("The subject is to be told since ", "应告知本人，自 ")) (day) } }
                (None, Some(day)) => { p .note { (say("The subject is to be told on ", "将告知本人：")) (day) } }
                _ => {}
            }
            @if may_act { p .note { a href=(format!("/api/v1/cases/{}", case.case)) download=(format!("case-{}.json", case.case)) { (say("The request, to sign", "下载请求以签署")) } } }
        }
    }
}

fn outcome(came: &Came, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        @match came {
            Came::Denied(why) => { section .card .alarm role="alert" { h2 { (say("Not done", "未执行")) } p { (why) } } }
            Came::Step(case, now) => { section .card role="status" { h2 { code { (case) } } p .lead { (step(*now, lang)) } } }
            Came::Told(case) => { section .card role="status" { h2 { code { (case) } } p .lead { (say("It is on record that the subject was told.", "已记录告知本人。")) } } }
            Came::Brief(brief) => {
                section .card role="status" {
                    h2 { (say("A request was written: sign it on your machine", "请求已生成：请在您的机器上签署")) }
                    p .note { (say("Save it as case.json, run this, and hand in what it prints. Nothing has happened yet.", "保存为 case.json，运行以下命令，并提交其输出。此时尚未执行任何操作。")) }
                    pre { "glassgate case sign open case.json --key hr.key --identity hr.age > said.json" }
                    textarea readonly rows="8" aria-label="case.json" { (serde_json::to_string_pretty(brief).unwrap_or_default()) }
                }
            }
            Came::Shown(sealed) => {
                section .card role="status" {
                    h2 { (say("What is shown, sealed to you", "查看结果（已为您加密）")) }
                    p .note { (say("Save it as seen.age and read it on your machine. It is not kept here and comes no second time.", "保存为 seen.age 并在您的机器上阅读。此处不保存，也不会再次给出。")) }
                    pre { "glassgate case read seen.age --identity hr.age" }
                    textarea readonly rows="12" aria-label="seen.age" { (sealed) }
                }
            }
        }
    }
}

fn hand_in(token: &str, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card .form {
            h2 { (say("Hand in what you signed", "提交已签署的内容")) }
            p .note { (say("Approve, refuse, look, close, or say that the subject was told: take the request of the case, sign it on your machine, and paste what that prints.", "批准、拒绝、查看、关闭或确认已告知：下载个案请求，在您的机器上签署，并粘贴输出。")) }
            pre { "glassgate case sign approve case.json --key dpo.key --identity dpo.age" }
            form method="post" action="/cases/submit" {
                (hidden(token, lang))
                label { (say("What it printed", "输出内容")) textarea name="statement" rows="7" required {} }
                button { (say("Hand in", "提交")) }
            }
        }
    }
}

fn open(token: &str, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card .form {
            h2 { (say("Ask to open records", "申请开启记录")) }
            form method="post" action="/cases/draft" {
                (hidden(token, lang))
                label { (say("About whom, as the directory calls them", "所涉人员（登记目录中的代号）")) input name="subject" maxlength="253" autocomplete="off" required; }
                label { (say("Purpose", "目的")) select name="purpose" { @for word in ["leak", "recruitment", "conduct", "security", "bandwidth"] { option value=(word) { (terms::purpose(word, lang)) } } } }
                label { (say("Categories", "类别")) input name="categories" placeholder="cloud_storage, file_transfer" maxlength="512" required; }
                label { (say("First day", "首日")) input name="from" type="date" required; }
                label { (say("Last day, which must be over", "末日（须已结束）")) input name="to" type="date" required; }
                label { (say("Why", "理由")) select name="reason" { @for (word, en, zh) in REASONS { option value=(word) { (say(en, zh)) } } } }
                label { (say("Open for days", "有效天数")) input name="valid" type="number" min="1" max="7" value="7"; }
                button { (say("Write the request", "生成请求")) }
            }
        }
    }
}

/// A reason in words.
pub(super) fn reason(word: &str, lang: Lang) -> String {
    let known = REASONS.iter().find(|(known, ..)| *known == word);
    known.map_or_else(|| word.replace('_', " "), |(_, en, zh)| lang.say(en, zh).to_owned())
}

const REASONS: [(&str, &str, &str); 5] = [
    ("suspected_leak", "data may have been carried out", "疑似数据外泄"),
    ("security_incident", "something happened to systems", "安全事件"),
    ("complaint", "somebody complained", "投诉"),
    ("legal_claim", "a claim is to be established or defended", "法律主张"),
    ("access_request", "the subject asks what is there", "本人查阅请求"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample;
    use glassgate_policy::case::CaseReason;

    fn drawn(came: Option<&Came>, token: Option<&String>, lang: Lang) -> String {
        let list = Ok(CaseAnswer::Cases(vec![sample::case()]));
        page(&sample::snapshot(), &list, came, token, lang).into_string()
    }

    #[test]
    fn whoever_may_not_take_part_sees_no_form() {
        let token = "t0ken".to_owned();
        let (without, with) = (drawn(None, None, Lang::En), drawn(None, Some(&token), Lang::Zh));
        assert!(
            !without.contains("<form") && !without.contains("download") && without.contains("looked at by")
        );
        assert!(with.contains("/cases/submit") && with.contains("/cases/draft") && with.contains("t0ken"));
        assert!(with.contains("个案") && with.contains("已查看"));
    }

    #[test]
    fn what_comes_of_a_form_is_inert_text() {
        let evil = "</textarea><script>alert(1)</script>".to_owned();
        for came in [Came::Denied(evil.clone()), Came::Shown(evil.clone()), Came::Told(evil.clone())] {
            let page = drawn(Some(&came), None, Lang::En);
            assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;"), "{page}");
        }
    }

    #[test]
    fn every_reason_can_be_chosen() {
        let ours: Vec<&str> = REASONS.iter().map(|(word, ..)| *word).collect();
        let all: Vec<&str> = CaseReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(ours, all);
    }
}
