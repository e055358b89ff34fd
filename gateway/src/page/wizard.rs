//! A charter step by step: who answers for it, who signs, what people are told, when, what for. Each step is judged by the compiler that judges charters, and its
//! refusals stand beside the fields. What comes out is a file to be signed elsewhere; what was signed can be handed in and is installed as by the command line.
//!
//! Nothing of it is kept here: what was filled in goes with the form from step to step, and is gone with it. No key comes to the gateway.

mod draft;

use super::gate::{Asker, Fields};
use super::lang::Lang;
use super::routes::RUNNERS;
use super::shell::Reader;
use super::{now, shell, terms, told};
use crate::control::snapshot::Snapshot;
use crate::control::told::Tell;
use crate::control::{Command, Shared, socket};
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse as _, Response};
use draft::{APPROVERS, Draft, FILE, Fault, HOLDERS, PURPOSES, Step};
use maud::{Markup, html};
use std::collections::HashMap;

/// What a field looks like.
#[derive(Clone, Copy)]
enum Look {
    Line(&'static str),
    Day,
    Area(&'static str),
    Choice(&'static [&'static str], fn(&str, Lang) -> &str),
}

/// A field, with what it is called.
struct Field {
    name: String,
    title: String,
    look: Look,
}

const PURPOSE: &[&str] = &["security", "bandwidth", "conduct", "recruitment", "leak"];
const BASIS: &[&str] = &["labour_rules", "collective_agreement", "legal_duty", "contract", "consent"];
const LEVEL: &[&str] = &["aggregate", "sealed"];
const ROLE: &[&str] = &["controller", "works_council", "data_protection_officer", "human_resources"];

/// The first step.
pub(super) async fn begin(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    Query(looked): Query<shell::Looked>,
) -> Html<String> {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    let fields = beginning(&shared).await;
    Html(page(&now(&shared), &fields, Step::Who, &[], token(&asker), Reader::of(&asker, lang)).into_string())
}

/// What stands in the form at first: what is usual, and what the charter has that is installed.
async fn beginning(shared: &Shared) -> HashMap<String, String> {
    let today = crate::clock::shown_day();
    let last = today.checked_add(jiff::ToSpan::days(364)).unwrap_or(today);
    let mut fields: Vec<(String, String)> = [
        ("serial", "1"),
        ("time_zone", "Asia/Shanghai"),
        ("a1_role", "controller"),
        ("a2_role", "works_council"),
        ("cal_name", "office"),
        ("cal_time_zone", "Asia/Shanghai"),
        ("cal_week", "mon-fri 09:00-12:00 13:30-18:00"),
        ("h_tell_after_days", "30"),
        ("p1_k", "10"),
        ("p1_retention", "90"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    fields.push(("issued".to_owned(), today.to_string()));
    fields.push(("expires".to_owned(), last.to_string()));
    fields.push(("cal_valid".to_owned(), format!("{today}..{last}")));
    fields.push(("notice_version".to_owned(), format!("{}-1", today.year())));
    let installed = told(shared, Tell::Charter).await.ok().and_then(|told| told.charter);
    if let Some(charter) = installed {
        for (name, value) in [
            ("name", charter.name),
            ("serial", (charter.serial + 1).to_string()),
            ("controller", charter.controller),
            ("contact", charter.contact),
            ("time_zone", charter.zone.clone()),
            ("cal_time_zone", charter.zone),
            ("exempt", charter.exempt.join(", ")),
        ] {
            fields.push((name.to_owned(), value));
        }
    }
    fields.into_iter().collect()
}

/// The next step, or the one before, or the file.
pub(super) async fn step(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    Extension(fields): Extension<Fields>,
    headers: HeaderMap,
) -> Response {
    let lang = Lang::of(Some(fields.get("lang")), &headers);
    let at = Step::of(fields.get("step").parse().unwrap_or(0));
    let faults = Draft(&fields.0).faults(at);
    let refused = faults.iter().any(|fault| fault.refuses);
    let (to, faults) = match fields.get("go") {
        "back" => (Step::of(at.number().saturating_sub(1)), Vec::new()),
        // It is judged again, whole: what is in a form is whatever somebody sends.
        "file" if !Draft(&fields.0).faults(Step::Finish).iter().any(|fault| fault.refuses) => {
            let disposition = format!("attachment; filename=\"{FILE}\"");
            let kind = "application/toml; charset=utf-8".to_owned();
            let file = Draft(&fields.0).toml();
            return ([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, disposition)], file).into_response();
        }
        _ if refused => (first_refused(&faults, at), faults),
        _ => (Step::of(at.number() + 1), Vec::new()),
    };
    // At the end all of it stands together.
    let (to, faults) = if to == Step::Finish {
        let all = Draft(&fields.0).faults(Step::Finish);
        let refused = all.iter().any(|fault| fault.refuses);
        (if refused { first_refused(&all, at) } else { to }, all)
    } else {
        (to, faults)
    };
    Html(page(&now(&shared), &fields.0, to, &faults, token(&asker), Reader::of(&asker, lang)).into_string())
        .into_response()
}

/// Where somebody has to go back to.
fn first_refused(faults: &[Fault], at: Step) -> Step {
    let first = faults.iter().filter(|fault| fault.refuses).map(|fault| fault.step).min();
    // What can't be placed is said where somebody is.
    first.filter(|step| *step < Step::Finish).unwrap_or(at.min(Step::Purposes))
}

/// Takes a charter with its signatures: judged, put on record and installed by the slow path, as if it had come by the control socket.
pub(super) async fn install(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    Extension(fields): Extension<Fields>,
    headers: HeaderMap,
) -> Html<String> {
    let lang = Lang::of(Some(fields.get("lang")), &headers);
    // Browsers send lines of a form with CR and LF; what was signed has LF.
    let text = |name: &str| {
        let text = fields.get(name).replace("\r\n", "\n");
        if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
    };
    let (charter, signatures) = (text("charter"), text("signatures"));
    let came = socket::ask(&shared, |answer| Command::Install { charter, signatures, answer }).await;
    let body = html! {
        @match &came {
            Ok(what) => { section .card role="status" { h2 { (lang.say("Installed", "已安装")) } p { (what) } } }
            Err(why) => { section .card .alarm role="alert" { h2 { (lang.say("Not installed: what was installed before stays", "未安装：原有章程不变")) } pre { (why) } } }
        }
        p { a href=(format!("/charter?lang={}", lang.tag())) { (lang.say("To the charter", "查看章程")) } }
    };
    Html(shell::page(&now(&shared), shell::View::Charter, Reader::of(&asker, lang), &body).into_string())
}

fn token(asker: &Asker) -> &str {
    asker.viewer.as_ref().map(|viewer| viewer.token.as_str()).unwrap_or_default()
}

/// The way in from the view *Charter*, and for those who run the gateway the form to hand in what was signed.
pub(super) fn card(asker: &Asker, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let runs = asker
        .viewer
        .as_ref()
        .is_some_and(|viewer| RUNNERS.contains(&viewer.role) && !viewer.token.is_empty());
    html! {
        section .card {
            h2 { (say("A new charter", "新的章程")) }
            p .note { (say("Step by step; each is judged as the gateway will judge it. What comes out is a file, to be signed elsewhere by those whom it names.", "逐步填写，每一步都按网关的规则检查。得到的文件由其中列名者在别处签署。")) }
            p { a href=(format!("/charter/new?lang={}", lang.tag())) { (say("Write a charter", "起草章程")) } }
            @if runs {
                details { summary { (say("Install a signed charter", "安装已签署的章程")) }
                    div .form { form method="post" action="/charter/install" {
                        input type="hidden" name="token" value=(token(asker)); input type="hidden" name="lang" value=(lang.tag());
                        label { (say("The charter, to the letter as it was signed", "章程全文，须与签署时逐字一致")) textarea name="charter" rows="8" required {} }
                        label { (say("Its signatures: charter.toml.sig", "签名：charter.toml.sig")) textarea name="signatures" rows="4" required {} }
                        button { (say("Install", "安装")) }
                    } }
                }
            }
        }
    }
}

fn title(step: Step, lang: Lang) -> &'static str {
    match step {
        Step::Who => lang.say("Who answers for it", "责任方"),
        Step::Approvers => lang.say("Who signs", "签署人"),
        Step::Notice => lang.say("What people are told", "告知书"),
        Step::Calendar => lang.say("When", "时间"),
        Step::Holders => lang.say("Who opens sealed records", "封存记录的开启人"),
        Step::Purposes => lang.say("What for, and of whom", "目的与范围"),
        Step::Finish => lang.say("The file", "章程文件"),
    }
}

fn note(step: Step, lang: Lang) -> &'static str {
    match step {
        Step::Who => lang.say(
            "A charter runs for two years at most. Serials count up: an older one never comes back.",
            "章程最长两年。序号递增，旧章程不能恢复。",
        ),
        Step::Approvers => lang.say(
            "The controller, and at least one who is not. Each signs with a key of their own, which never comes here: what stands here is its public half, as `glassgate charter key` prints it.",
            "处理者，以及至少一名非处理者。各自用自己的密钥签署，密钥绝不进入网关；此处填写 `glassgate charter key` 输出的公钥。",
        ),
        Step::Notice => lang.say(
            "Nothing is observed before the day on which the notice was given, or without it.",
            "告知之日前，或未告知时，不进行任何观察。",
        ),
        Step::Calendar => lang.say(
            "Outside of these hours nothing is observed, but for `security` where it says so. Holidays belong to the closed days.",
            "此时段之外不观察（“安全”目的另有说明的除外）。节假日请填入休息日。",
        ),
        Step::Holders => lang.say(
            "Only where a purpose has the level of sealed records; else leave this empty. Two of the three open one together.",
            "仅当某目的使用封存记录时填写，否则留空。三人中须两人共同开启。",
        ),
        Step::Purposes => lang.say(
            "Each with its basis, the document that it is written down in, and that document's SHA-256 (`sha256sum FILE`). A basis carries so much and no more.",
            "每个目的须有依据、载明依据的文件及其 SHA-256（`sha256sum 文件`）。依据决定可记录的上限。",
        ),
        Step::Finish => lang.say(
            "Those who are named sign this very file on their own machines: `glassgate charter sign charter.toml --key KEY`. Then install it.",
            "列名者各自在自己的机器上签署此文件：`glassgate charter sign charter.toml --key KEY`，然后安装。",
        ),
    }
}

/// Whether it is at any time, for a choice.
fn when(word: &str, lang: Lang) -> &str {
    match word {
        "always" => lang.say("at any time (security only)", "任何时间（仅限安全）"),
        _ => lang.say("by the calendar", "按日历"),
    }
}

/// Whether a receipt is asked for, likewise.
fn receipt(word: &str, lang: Lang) -> &str {
    match word {
        "yes" => lang.say("only devices on which the notice was read", "仅限已阅读告知书的设备"),
        _ => lang.say("all devices of the groups", "部门的全部设备"),
    }
}

fn fields(step: Step, lang: Lang) -> Vec<Field> {
    let say = |en, zh| lang.say(en, zh);
    let field =
        |name: &str, title: &str, look| Field { name: name.to_owned(), title: title.to_owned(), look };
    match step {
        Step::Who => vec![
            field("name", say("Name", "名称"), Look::Line("acme-staff")),
            field("serial", say("Serial", "序号"), Look::Line("1")),
            field("controller", say("Controller, with address", "个人信息处理者及地址"), Look::Line("")),
            field("contact", say("Where people turn to", "联系方式"), Look::Line("privacy@office.example")),
            field("issued", say("First day", "首日"), Look::Day),
            field("expires", say("Last day", "末日"), Look::Day),
            field("time_zone", say("Time zone of these days", "时区"), Look::Line("Asia/Shanghai")),
            field(
                "exempt",
                say("Groups that are never observed", "从不观察的部门"),
                Look::Line("works-council, recruiters"),
            ),
        ],
        Step::Approvers => (1..=APPROVERS)
            .flat_map(|row| {
                [
                    ("role", say("Role", "角色"), Look::Choice(ROLE, terms::role)),
                    ("name", say("Name", "姓名"), Look::Line("")),
                    ("key", say("Public key", "公钥"), Look::Line("")),
                ]
                .map(|(part, title, look)| field(&format!("a{row}_{part}"), &format!("{row}. {title}"), look))
            })
            .collect(),
        Step::Notice => vec![
            field("notice_version", say("Version", "版本"), Look::Line("2027-1")),
            field(
                "notice_given",
                say("Given on; empty if it was not yet", "告知日期；未告知则留空"),
                Look::Day,
            ),
            field("notice_zh", say("Text in Chinese", "中文文本"), Look::Area("")),
            field("notice_en", say("Text in English", "英文文本"), Look::Area("")),
        ],
        Step::Calendar => vec![
            field("cal_name", say("Name", "名称"), Look::Line("office")),
            field("cal_time_zone", say("Time zone", "时区"), Look::Line("Asia/Shanghai")),
            field(
                "cal_valid",
                say("Days for which it says anything", "有效日期"),
                Look::Line("2027-01-01..2027-12-31"),
            ),
            field(
                "cal_week",
                say("Hours of the week, a line each", "每周时段，每行一条"),
                Look::Area("mon-fri 09:00-12:00 13:30-18:00"),
            ),
            field(
                "cal_days",
                say("Days with hours of their own, a line each", "特殊日期，每行一条"),
                Look::Area("2027-02-20 09:00-17:00"),
            ),
            field(
                "cal_closed",
                say("Closed days, a line each", "休息日，每行一条"),
                Look::Area("2027-02-06..2027-02-12"),
            ),
        ],
        Step::Holders => {
            let of = |role: &&'static str| {
                [
                    ("name", say("name", "姓名")),
                    ("key", say("public key", "公钥")),
                    ("recipient", say("recipient (age1…)", "接收者（age1…）")),
                ]
                .map(|(part, title)| {
                    field(
                        &format!("h_{role}_{part}"),
                        &format!("{}: {title}", terms::role(role, lang)),
                        Look::Line(""),
                    )
                })
            };
            let days = field(
                "h_tell_after_days",
                say("People are told of a look after days", "查阅后告知本人的天数"),
                Look::Line("30"),
            );
            std::iter::once(days).chain(HOLDERS.iter().flat_map(of)).collect()
        }
        Step::Purposes => (1..=PURPOSES)
            .flat_map(|row| {
                [
                    ("name", say("Purpose", "目的"), Look::Choice(PURPOSE, terms::purpose)),
                    ("basis", say("Basis", "依据"), Look::Choice(BASIS, terms::basis)),
                    ("title", say("Document of the basis", "依据文件"), Look::Line("")),
                    ("sha256", say("Its SHA-256", "其 SHA-256"), Look::Line("")),
                    ("categories", say("Categories", "类别"), Look::Line("recruitment, recruitment_ats")),
                    (
                        "groups",
                        say("Groups of the directory", "登记目录中的部门"),
                        Look::Line("sales, support"),
                    ),
                    ("when", say("When", "时间"), Look::Choice(&["calendar", "always"], when)),
                    ("level", say("The most that is written", "记录上限"), Look::Choice(LEVEL, terms::level)),
                    ("retention", say("Kept for days", "保存天数"), Look::Line("90")),
                    ("k", say("People behind a count, at least", "计数的最少人数"), Look::Line("10")),
                    ("receipt", say("Of which devices", "设备范围"), Look::Choice(&["no", "yes"], receipt)),
                    ("expires", say("Last day, if before the charter's", "末日（如早于章程）"), Look::Day),
                ]
                .map(|(part, title, look)| field(&format!("p{row}_{part}"), &format!("{row}. {title}"), look))
            })
            .collect(),
        Step::Finish => Vec::new(),
    }
}

fn page(
    now: &Snapshot,
    values: &HashMap<String, String>,
    at: Step,
    faults: &[Fault],
    token: &str,
    reader: impl Into<Reader>,
) -> Markup {
    let reader = reader.into();
    let lang = reader.lang;
    let shown = fields(at, lang);
    let get = |name: &str| values.get(name).map(String::as_str).unwrap_or_default();
    let elsewhere = faults
        .iter()
        .filter(|fault| fault.step != at || !shown.iter().any(|field| field.name == fault.field));
    let elsewhere: Vec<&Fault> = elsewhere.collect();
    let body = html! {
        section .card {
            h2 { (at.number() + 1) " / " (Step::ALL.len()) " · " (title(at, lang)) }
            p .note { (note(at, lang)) }
            @if !elsewhere.is_empty() { ul .plain role="alert" { @for fault in elsewhere { li { b { (title(fault.step, lang)) } ": " (said(fault)) } } } }
            div .form { form method="post" action="/charter/draft" {
                input type="hidden" name="token" value=(token); input type="hidden" name="lang" value=(lang.tag()); input type="hidden" name="step" value=(at.number());
                // What was filled in elsewhere goes along.
                @for step in Step::ALL { @if step != at { @for field in fields(step, lang) { @if !get(&field.name).is_empty() {
                    input type="hidden" name=(field.name) value=(get(&field.name));
                } } } }
                @for field in &shown { (entry(field, get(&field.name), faults, lang)) }
                @if at == Step::Finish {
                    textarea rows="24" readonly aria-label=(FILE) { (Draft(values).toml()) }
                    button name="go" value="file" { (lang.say("Download charter.toml", "下载 charter.toml")) }
                } @else {
                    button name="go" value="next" { (lang.say("Go on", "下一步")) }
                }
                @if at != Step::Who { button name="go" value="back" formnovalidate { (lang.say("Back", "上一步")) } }
            } }
        }
    };
    shell::page(now, shell::View::Charter, reader, &body)
}

fn said(fault: &Fault) -> Markup {
    html! { (fault.message) @if let Some(help) = &fault.help { small { " " (help) } } }
}

fn entry(field: &Field, value: &str, faults: &[Fault], lang: Lang) -> Markup {
    let own: Vec<&Fault> = faults.iter().filter(|fault| fault.field == field.name).collect();
    let name = &field.name;
    html! {
        label {
            (field.title)
            @match field.look {
                Look::Line(hint) => { input name=(name) value=(value) placeholder=(hint) maxlength="512" autocomplete="off"; }
                Look::Day => { input type="date" name=(name) value=(value); }
                Look::Area(hint) => { textarea name=(name) rows="4" placeholder=(hint) maxlength="16384" { (value) } }
                Look::Choice(words, say) => { select name=(name) {
                    // The first row of purposes is always one, further ones only where somebody chooses.
                    @if name.ends_with("_name") { option value="" { "–" } }
                    @for word in words { option value=(word) selected[*word == value] { (say(word, lang)) } }
                } }
            }
            @for fault in &own { span .some role="alert" { (said(fault)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::draft::tests::good;
    use super::*;
    use crate::page::sample;

    fn drawn(values: &HashMap<String, String>, at: Step, lang: Lang) -> String {
        page(&sample::snapshot(), values, at, &Draft(values).faults(at), "t0", lang).into_string()
    }

    #[test]
    fn each_step_carries_all_the_others_and_needs_no_script() {
        let values = good();
        for lang in [Lang::En, Lang::Zh] {
            for step in Step::ALL {
                let page = drawn(&values, step, lang);
                for (name, _) in values.iter().filter(|(_, value)| !value.is_empty()) {
                    assert_eq!(page.matches(&format!(" name=\"{name}\"")).count(), 1, "{step:?}: {name}");
                }
                assert!(
                    page.contains("name=\"token\" value=\"t0\"") && !page.contains("<script"),
                    "{step:?}"
                );
            }
        }
        let page = drawn(&values, Step::Finish, Lang::En);
        assert!(page.contains("name = &quot;acme-staff&quot;") && page.contains("value=\"file\""), "{page}");
    }

    #[test]
    fn refusals_stand_beside_their_fields() {
        let mut values = good();
        values.insert("p1_k".to_owned(), "2".to_owned());
        values.insert("controller".to_owned(), "<script>\u{7}".to_owned());
        let page = drawn(&values, Step::Purposes, Lang::En);
        let (_, after) = page.split_once("name=\"p1_k\"").unwrap();
        let (beside, _) = after.split_once("</label>").unwrap();
        assert!(beside.contains("k is 2") && beside.contains("role=\"alert\""), "{beside}");
        assert!(page.contains("<b>Who answers for it</b>") && !page.contains("<script>"), "{page}");
    }

    #[test]
    fn nobody_gets_to_the_end_past_a_refusal() {
        let mut values = good();
        values.insert("p1_level".to_owned(), "sealed".to_owned());
        let faults = Draft(&values).faults(Step::Finish);
        assert_eq!(first_refused(&faults, Step::Finish), Step::Purposes);
        values.insert("issued".to_owned(), "soon".to_owned());
        assert_eq!(first_refused(&Draft(&values).faults(Step::Finish), Step::Purposes), Step::Who);
    }
}
