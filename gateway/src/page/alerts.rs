//! Alerts as the views show them, and as JSON.

use super::lang::Lang;
use super::now;
use crate::alert::Alert;
use crate::alerts::Shown;
use crate::clock;
use crate::control::Shared;
use crate::control::snapshot::{AlertNow, Snapshot, TargetNow};
use axum::extract::State;
use axum::response::{IntoResponse as _, Json, Response};
use maud::{Markup, html};

/// `GET /api/v1/alerts`.
pub(super) async fn data(State(shared): State<Shared>) -> Response {
    Json(Shown::of(&now(&shared))).into_response()
}

/// What needs attention: alerts in the language of the view, then everything that does not work in words. Nothing where all is well.
pub(super) fn card(now: &Snapshot, lang: Lang) -> Markup {
    html! {
        @if !now.alerts.is_empty() || !now.troubles.is_empty() {
            section .card .alarm role="alert" {
                h2 { (lang.say("Needs attention", "需要处理")) }
                ul {
                    @for alert in &now.alerts { (line(alert, lang)) }
                    @for trouble in troubles(now, lang) { li { (trouble) } }
                }
            }
        }
    }
}

/// In Chinese where there is one for each.
fn troubles(now: &Snapshot, lang: Lang) -> &[String] {
    let zh = lang == Lang::Zh && now.troubles_zh.len() == now.troubles.len();
    if zh { &now.troubles_zh } else { &now.troubles }
}

fn line(alert: &AlertNow, lang: Lang) -> Markup {
    let says = Alert::from_word(&alert.name).map_or("", |known| lang.say(known.about().en, known.about().zh));
    html! {
        li {
            b { (says) } @if !alert.about.is_empty() { (lang.say(": ", "：")) (alert.about) }
            small { " " code { (alert.name) } (lang.say(", since ", "，自 ")) (clock::minute(Some(&alert.since))) " UTC" }
        }
    }
}

/// Who is told, and how that goes.
pub(super) fn targets(now: &Snapshot, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let one = |target: &TargetNow| {
        html! { li {
            div {
                b { (target.kind) }
                @if target.trouble.is_some() { span .pill .bad { (say("not delivered", "未送达")) } } @else { span .pill .good { (say("works", "正常")) } }
            }
            p { (target.delivered) (say(" delivered, ", " 条已送达，")) (target.waiting) (say(" wait, ", " 条等待，")) (target.given_up) (say(" given up", " 条已放弃")) }
            @if let Some(why) = &target.trouble { p .some { (why) } }
        } }
    };
    html! {
        section .card {
            h2 { (say("Who is told of alerts", "告警发送")) }
            @if now.alert_targets.is_empty() { p .empty { (say("Nobody but who looks here: see [alerts] in glassgate.toml.", "仅在此显示：见 glassgate.toml 的 [alerts]。")) } } @else {
                ul .processes { @for target in &now.alert_targets { (one(target)) } }
            }
            p .note { code { "glassgate alerts" } " · " code { "glassgate alerts test" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever state the gateway is in that somebody has to know of: a line in the view *Now*, a metric, a record, and two paragraphs in the manual.
    #[test]
    fn each_alert_is_on_the_page_in_the_metrics_on_record_and_in_the_manual() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
        let manual = std::fs::read_to_string(path).unwrap();
        for alert in Alert::ALL {
            let (name, about) = (alert.as_str(), alert.about());
            let raised = AlertNow { name: name.to_owned(), ..AlertNow::default() };
            let now = Snapshot { alerts: vec![raised], ..Snapshot::default() };
            for (lang, words) in [(Lang::En, about.en), (Lang::Zh, about.zh)] {
                let view = super::super::view::live(&now, lang.into()).into_string();
                let words = html! { (words) }.into_string();
                assert!(view.contains(&words), "{name} is not on the page: {words}");
            }
            let metrics = super::super::metrics::render(&now);
            assert!(
                metrics.contains(&format!("glassgate_alert{{name=\"{name}\"}} 1\n")),
                "{name} has no metric"
            );
            let record = String::from_utf8(alert.record(true, "x").to_json()).unwrap();
            let expected = format!(
                "{{\"event_type\":\"alert\",\"alert\":\"{name}\",\"state\":\"raised\",\"severity\":\"{}\",\"about\":\"x\"}}",
                alert.severity()
            );
            assert_eq!(record, expected);
            assert!(manual.contains(&format!("\n### `{name}`\n")), "{name} is not in the manual");
        }
        assert!(glassgate_store::record::is_shown("alert"));
    }

    #[test]
    fn alerts_are_told_in_both_languages_and_are_inert() {
        let evil = "<script>alert(1)</script>";
        let alert = AlertNow {
            name: "list_held".to_owned(),
            about: evil.to_owned(),
            since: "2026-11-21T14:03:22Z".to_owned(),
            ..AlertNow::default()
        };
        let target =
            TargetNow { kind: "webhook".to_owned(), trouble: Some(evil.to_owned()), ..TargetNow::default() };
        let mut now = Snapshot::default();
        assert_eq!(card(&now, Lang::En).into_string(), "");
        (now.alerts, now.alert_targets) = (vec![alert], vec![target]);
        for (lang, words) in [
            (Lang::En, ["A subscribed list is held", "2026-11-21 14:03", "not delivered"]),
            (Lang::Zh, ["订阅列表被隔离", "2026-11-21 14:03", "未送达"]),
        ] {
            let shown = card(&now, lang).into_string() + &targets(&now, lang).into_string();
            for word in words {
                assert!(shown.contains(word), "{word}\n{shown}");
            }
            assert!(!shown.contains("<script>") && shown.matches("&lt;script&gt;").count() == 2, "{shown}");
        }
    }
}
