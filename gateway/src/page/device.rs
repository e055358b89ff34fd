//! The view *My device*: for whoever sits at a device, in plain words and without a login. Am I observed, for what, on which basis, what
//! was counted, who may look, where to object.
//!
//! It answers about the address that asks and about no other. What it tells is the group that the device is enrolled in and what the
//! charter says of that group; never a visit, a name or a number of the person.

use super::gate::Asker;
use super::lang::Lang;
use super::numbers::count;
use super::peer::Peer;
use super::shell::Reader;
use super::{charter, letter, login, now, shell, terms, told};
use crate::control::Shared;
use crate::control::past::Unanswered;
use crate::control::snapshot::Snapshot;
use crate::control::told::{DeviceNow, Tell};
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse as _, Response};
use maud::{Markup, html};

/// The page.
pub(super) async fn view(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    Query(looked): Query<shell::Looked>,
) -> Response {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    let device = ask(&shared, peer).await;
    let reader = Reader::of(&asker, lang);
    // Where nobody can have looked there is no letter, and no cookie for its form.
    if !device.as_ref().is_ok_and(|device| device.tell_after_days.is_some()) {
        return Html(page(&now(&shared), &device, None, None, reader).into_string()).into_response();
    }
    login::tied(&shared, &headers, &asker, |token| page(&now(&shared), &device, Some(token), None, reader))
}

/// The same as JSON.
pub(super) async fn data(State(shared): State<Shared>, Extension(peer): Extension<Peer>) -> Response {
    super::answer(ask(&shared, peer).await)
}

pub(super) async fn ask(shared: &Shared, peer: Peer) -> Result<DeviceNow, Unanswered> {
    // An IPv4 client of a socket that hears both.
    let at = peer.address.ip().to_canonical();
    let mut device = told(shared, |answer| Tell::Device(at, answer)).await?;
    if let Some(group) = device.group.as_deref().filter(|_| !device.exempt) {
        let rows = &now(shared).report.rows;
        device.counted = rows.iter().filter(|row| row.group.as_deref() == Some(group)).cloned().collect();
    }
    Ok(device)
}

/// `token`: what the form of a letter is tied by; `found`: what came of one.
pub(super) fn page(
    now: &Snapshot,
    device: &Result<DeviceNow, Unanswered>,
    token: Option<&str>,
    found: Option<&letter::Found>,
    reader: impl Into<Reader>,
) -> Markup {
    let reader = reader.into();
    let lang = reader.lang;
    let told = match device {
        Err(why) => html! { section .card { p .empty { (why) } } },
        Ok(device) => html! {
            (answer(device, lang))
            @if !device.notices.is_empty() { (notices(device, lang)) }
            @for purpose in &device.purposes { (charter::of_purpose(purpose, lang)) }
            @if !device.counted.is_empty() { (counted(device, lang)) }
            (rights(device, lang))
        },
    };
    let body = html! {
        @if let Some(found) = found { (letter::answer(found, lang)) }
        (told)
        @if let Some(token) = token { (letter::form(token, lang)) }
    };
    shell::page(now, shell::View::Device, reader, &body)
}

fn answer(device: &DeviceNow, lang: Lang) -> Markup {
    html! {
        section .card .recording {
            div {
                h2 { (lang.say("Is this device observed?", "本设备是否被观察？")) }
                p .lead {
                    @match (device.level, device.why_not) {
                        ("sealed", _) => { (lang.say("Yes: your visits to some kinds of services are written in sealed records.", "是：您对部分类别服务的访问以封存记录写入。")) }
                        ("aggregate", _) if device.whole_network => { (lang.say("Only counts of everybody together are kept. Nothing tells you apart.", "仅保存全体合计，无法区分到您个人。")) }
                        ("aggregate", _) => { (lang.say("In counts of your group only. Nothing tells you apart.", "仅计入部门合计，无法区分到您个人。")) }
                        (_, Some(why)) => { (lang.say("No: ", "否：")) (terms::why_not(why, lang)) "." }
                        _ => { (lang.say("No.", "否。")) }
                    }
                }
                p .note {
                    @match &device.group {
                        Some(group) => { (lang.say("This device is enrolled in the group ", "本设备登记于部门 ")) b { (group) } @if device.exempt { (lang.say(", which is never observed", "，该部门从不观察")) } "." }
                        None => { (lang.say("It is in no group of the directory: nothing is written about what it does.", "不在登记目录的任何部门中：其行为不会被记录。")) }
                    }
                    " " (lang.say("Nothing is decrypted; no content is kept; nobody gets a score.", "不解密、不保存内容、不给任何人打分。"))
                }
            }
            @if !device.categories.is_empty() && !device.whole_network {
                ul .keys { @for (category, level) in &device.categories { li { i class=(if *level == "sealed" { "dot c2" } else { "dot c0" }) {} (terms::category(category, lang)) small { (terms::level(level, lang)) } } } }
            }
        }
    }
}

fn notices(device: &DeviceNow, lang: Lang) -> Markup {
    html! {
        section .card {
            h2 { (lang.say("What you were told", "您收到的告知")) }
            @for (notice, read) in &device.notices {
                (charter::of_notice(notice, lang))
                @match read {
                    Some(true) => { p .note { (lang.say("It was read on this device.", "已在本设备上阅读。")) } }
                    Some(false) => { p .some { (lang.say("It has not been read on this device, so nothing is observed for it: it is shown when a plain HTTP page is opened.", "尚未在本设备上阅读，因此不会据此观察：打开任意 HTTP 页面时会显示。")) } }
                    None => {}
                }
            }
        }
    }
}

/// What the group did, as everybody with an account of the page sees it.
fn counted(device: &DeviceNow, lang: Lang) -> Markup {
    html! {
        section .card {
            h2 { (lang.say("What was counted of your group", "部门计数")) }
            p .note { (lang.say("Hours that are over, only what enough people stand behind. What you did can't be told from it.", "仅含已结束且人数足够的小时，无法从中看出您个人的行为。")) }
            table .ranked {
                thead { tr { th scope="col" { span .hidden { (lang.say("name", "名称")) } } th .n scope="col" { (lang.say("people", "人数")) } th .n scope="col" { (lang.say("visits", "访问")) } th .n scope="col" { (lang.say("flows", "流")) } } }
                tbody { @for row in device.counted.iter().take(20) { tr {
                    th scope="row" { (row.title) } td .n { (row.subjects) } td .n { (count(row.visits)) } td .n { (count(row.flows)) }
                } } }
            }
        }
    }
}

fn rights(device: &DeviceNow, lang: Lang) -> Markup {
    html! {
        section .card {
            h2 { (lang.say("Who may look, and how to object", "谁可以查看，如何提出异议")) }
            ul .plain {
                @match device.tell_after_days {
                    Some(days) => {
                        li { (lang.say("Sealed records can be opened only by two of three people together, about one person, for named days and a reason; each step is in a log that nobody can change.", "封存记录只能由三人中的两人共同开启，且限于一人、指定日期与理由；每一步都写入不可篡改的日志。")) }
                        li { (lang.say("If somebody looks at yours, you are told, at the latest after so many days: ", "若有人查看您的记录，您将在以下天数内获知：")) b { (days) } "." }
                    }
                    None => li { (lang.say("There are no records of you that anybody could look at.", "没有任何人可以查看的关于您的记录。")) }
                }
                @if let (Some(controller), Some(contact)) = (&device.controller, &device.contact) {
                    li { (lang.say("Ask, object, or have something put right: ", "查询、异议或更正：")) b { (contact) } " (" (controller) ")." }
                }
                @if let Some((name, serial, last)) = &device.charter { li { (lang.say("The rules are the charter ", "依据：章程 ")) b { (name) } " " (lang.say("no. ", "第 ")) (serial) (lang.say(", in force at most until ", " 号，最迟有效至 ")) (last) "." } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample;

    fn shown(device: DeviceNow, lang: Lang) -> String {
        page(&sample::snapshot(), &Ok(device), Some("t0ken"), None, lang).into_string()
    }

    #[test]
    fn each_answer_in_both_languages() {
        let device = |level, why_not| DeviceNow { level, why_not, ..DeviceNow::default() };
        for (device, en, zh) in [
            (device("none", Some("private_device")), "No: this device is private", "否：本设备属于私人"),
            (
                device("none", Some("off_hours")),
                "No: it is outside of the hours",
                "否：现在不在章程规定的时段内",
            ),
            (device("aggregate", None), "In counts of your group only", "仅计入部门合计"),
            (device("sealed", None), "Yes: your visits", "是：您对部分类别"),
            (
                DeviceNow { whole_network: true, ..device("aggregate", None) },
                "everybody together",
                "全体合计",
            ),
        ] {
            assert!(shown(device.clone(), Lang::En).contains(en), "{en}");
            assert!(shown(device, Lang::Zh).contains(zh), "{zh}");
        }
    }

    #[test]
    fn a_letter_is_answered_by_who_did_what_and_why() {
        let device = Ok(DeviceNow::default());
        let page = |found: &letter::Found, lang| {
            page(&sample::snapshot(), &device, Some("t0ken"), Some(found), lang).into_string()
        };
        let case = sample::case();
        let en = page(&Ok(Some(case.clone())), Lang::En);
        for words in ["Your records were looked at", "data may have been carried out", &case.case] {
            assert!(en.contains(words), "{words}: {en}");
        }
        let shown = case.shown.as_ref().unwrap();
        assert!(en.contains(&shown.by.name));
        assert!(page(&Ok(Some(case)), Lang::Zh).contains("您的记录曾被查看"));
        assert!(page(&Ok(None), Lang::En).contains("No look fits this code"));
        let late = Err(Unanswered::Unavailable("<not now>".to_owned()));
        assert!(page(&late, Lang::Zh).contains("&lt;not now&gt;"));
    }

    #[test]
    fn it_leads_nowhere_that_needs_a_login() {
        let page = shown(DeviceNow::default(), Lang::En);
        for address in ["/traffic", "/rules", "/charter", "/log", "/system", "/api/"] {
            assert!(!page.contains(&format!("href=\"{address}")), "{address}");
        }
    }
}
