//! The view *Rules*: what each rule did, why a name is treated as it is, and which lists are held for somebody to look at.

use super::gate::{Asker, Fields};
use super::lang::Lang;
use super::numbers::{bytes, count, span};
use super::routes::RUNNERS;
use super::shell::Reader;
use super::{now, shell, terms, told};
use crate::clock;
use crate::control::past::Unanswered;
use crate::control::snapshot::{RuleNow, Snapshot};
use crate::control::told::Tell;
use crate::control::{AcceptList, Command, Shared, socket};
use crate::feeds::FeedNow;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{Html, Response};
use glassgate_policy::explain::Explanation;
use maud::{Markup, html};
use std::time::Duration;

/// What is looked at, as it stands in the address.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(super) struct Looked {
    pub(super) lang: Option<String>,
    /// The name that is asked about.
    pub(super) name: Option<String>,
    /// As if its client were of this group.
    pub(super) group: Option<String>,
}

type Explained = Option<(String, Result<Explanation, String>)>;

/// What came of taking a list.
type Came = Option<Result<String, String>>;

/// How long the page waits to show a list as it is afterwards.
const SHOWN: Duration = Duration::from_secs(2);

/// The page.
pub(super) async fn view(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    Query(looked): Query<Looked>,
) -> Html<String> {
    let lang = Lang::of(looked.lang.as_deref(), &headers);
    let asked = looked.name.clone().filter(|name| !name.trim().is_empty());
    let explained: Explained = match asked {
        Some(name) => {
            let outcome = explain(&shared, name.trim(), looked.group.as_deref()).await;
            Some((name, outcome.unwrap_or_else(|why| Err(why.to_string()))))
        }
        None => None,
    };
    Html(
        page(&now(&shared), &looked, &explained, &None, form_token(&asker), Reader::of(&asker, lang))
            .into_string(),
    )
}

/// Takes the version of a list that somebody has seen. It is judged and put on record by the slow path, as if it had come by the control socket.
pub(super) async fn accept(
    State(shared): State<Shared>,
    Extension(asker): Extension<Asker>,
    Extension(fields): Extension<Fields>,
    headers: HeaderMap,
) -> Html<String> {
    let lang = Lang::of(Some(fields.get("lang")), &headers);
    let account = asker.viewer.as_ref().map(|viewer| (viewer.account.clone(), viewer.role));
    let (list, digest) = (fields.get("list").to_owned(), fields.get("digest").to_owned());
    let asked = AcceptList { list: list.clone(), digest, account, side: asker.from.side, uid: None };
    let came = socket::ask(&shared, |answer| Command::AcceptList { asked, answer }).await;
    if came.is_ok() {
        // It is in force; what the page shows is a moment older.
        let mut snapshot = shared.snapshot.clone();
        let is_shown = |now: &std::sync::Arc<Snapshot>| {
            now.policy.lists.iter().all(|shown| shown.name != list || shown.state != "held")
        };
        _ = tokio::time::timeout(SHOWN, snapshot.wait_for(is_shown)).await;
    }
    let (looked, token) = (Looked::default(), form_token(&asker));
    Html(page(&now(&shared), &looked, &None, &Some(came), token, Reader::of(&asker, lang)).into_string())
}

/// What a form must send back, of those who may take lists.
fn form_token(asker: &Asker) -> Option<&str> {
    let viewer = asker.viewer.as_ref()?;
    (RUNNERS.contains(&viewer.role) && !viewer.token.is_empty()).then_some(viewer.token.as_str())
}

/// What is asked, of programs.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    name: String,
    group: Option<String>,
}

/// Why a name is treated as it is, as JSON.
pub(super) async fn data(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response {
    super::answer(match explain(&shared, &asked.name, asked.group.as_deref()).await {
        Ok(explained) => explained.map_err(Unanswered::Question),
        Err(why) => Err(why),
    })
}

async fn explain(
    shared: &Shared,
    name: &str,
    group: Option<&str>,
) -> Result<Result<Explanation, String>, Unanswered> {
    let (name, group) = (name.to_owned(), group.map(str::to_owned));
    told(shared, |answer| Tell::Explain { name, group, answer }).await
}

fn page(
    now: &Snapshot,
    looked: &Looked,
    explained: &Explained,
    came: &Came,
    token: Option<&str>,
    reader: impl Into<Reader>,
) -> Markup {
    let reader = reader.into();
    let lang = reader.lang;
    let body = html! {
        @match came {
            Some(Ok(what)) => { section .card role="status" { h2 { (lang.say("The list was accepted", "列表已接受")) } p { (what) } } }
            Some(Err(why)) => { section .card .alarm role="alert" { h2 { (lang.say("The list was not accepted", "列表未被接受")) } p { (why) } } }
            None => {}
        }
        (rules(&now.rules, lang))
        (why(looked, explained, lang))
        div .columns { (decides(now, lang)) (lists(&now.policy.lists, token, lang)) }
    };
    shell::page(now, shell::View::Rules, reader, &body)
}

fn rules(rules: &[RuleNow], lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card {
            h2 { (say("Rules and what they did", "规则与命中")) }
            p .note { (say(
                "The first enforced rule that matches decides. A rule in shadow is only counted. Where people are told apart, hits are told by their size, an hour later, and once enough people stand behind them.",
                "第一条匹配且已启用的规则生效；影子规则仅计数。区分个人时，命中数仅以量级、延后一小时、且在人数足够后给出。"
            )) }
            @if rules.is_empty() { p .empty { (say("There are no rules: everything is forwarded.", "没有规则：全部转发。")) } } @else {
                table .wide {
                    thead { tr {
                        th scope="col" { (say("rule", "规则")) } th scope="col" { (say("does", "动作")) } th scope="col" { (say("state", "状态")) }
                        th .n scope="col" { (say("flows", "流")) } th .n scope="col" { (say("bytes", "字节")) }
                        th .after scope="col" { (say("last hit", "最近命中")) } th scope="col" { (say("counted since", "计数自")) }
                    } }
                    tbody { @for rule in rules { tr {
                        th scope="row" { code { (rule.name) } }
                        td { (rule.action) }
                        td { @if rule.enforced { span .pill .good { (say("enforced", "已启用")) } } @else { span .pill { (say("shadow", "影子")) } } }
                        @if rule.rounded { td .n { (magnitude(rule.flows, count, lang)) } td .n { (magnitude(rule.bytes, bytes, lang)) } }
                        @else { td .n { (count(rule.flows)) } td .n { (bytes(rule.bytes)) } }
                        td .after { (clock::hour(rule.last_hit.as_deref())) } td { (clock::minute(rule.since.as_deref())) }
                    } } }
                }
            }
        }
    }
}

/// A power of ten that a number was rounded down to.
fn magnitude(n: u64, shown: fn(u64) -> String, lang: Lang) -> String {
    if n == 0 { lang.say("few", "少量").to_owned() } else { format!("{}+", shown(n)) }
}

fn why(looked: &Looked, explained: &Explained, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card #why {
            h2 { (say("Why is a name treated as it is?", "某个名称为何如此处理？")) }
            p .note { (say("By what is in force at this moment. Asking is not counted and leaves no trace of a flow.", "依据当前生效的规则。查询不计数，也不产生流记录。")) }
            form .search action="/rules#why" method="get" {
                input type="hidden" name="lang" value=(lang.tag());
                label { (say("name", "名称")) input name="name" value=(looked.name.as_deref().unwrap_or_default()) placeholder="www.zhipin.com" maxlength="253" required; }
                label { (say("of a client in group", "客户端所属部门")) input name="group" value=(looked.group.as_deref().unwrap_or_default()) placeholder=(say("none", "无")) maxlength="64"; }
                button { (say("Explain", "解释")) }
            }
            @match explained {
                None => {}
                Some((_, Err(why))) => { p .some role="alert" { (why) } }
                Some((_, Ok(told))) => { (explanation(told, lang)) }
            }
        }
    }
}

fn explanation(told: &Explanation, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        dl .list {
            dt { (say("name", "名称")) } dd { code { (told.name.as_deref().unwrap_or_default()) } }
            dt { (say("service", "服务")) } dd { @match &told.service { Some(service) => { (service.title) " " small { code { (service.key) } } } None => { (say("in no list", "不在任何列表中")) } } }
            dt { (say("category", "类别")) } dd { (terms::category(told.category, lang)) }
            dt { (say("what happens", "处理")) } dd { b { (told.action) } @if let Some(rule) = &told.decided_by { (say(", by the rule ", "，依据规则 ")) code { (rule) } } @else { (say(", no rule decides", "，无规则命中")) } }
            dt { (say("may be written", "可记录")) } dd { (terms::level(told.level, lang)) }
        }
        @if !told.rules.is_empty() {
            h3 { (say("Rules that match", "匹配的规则")) small { (told.rules.len()) " / " (told.rules_asked) } }
            ul .plain { @for rule in &told.rules { li { code { (rule.rule) } " (" (rule.action) "): " (rule.says) } } }
        }
        h3 { (say("What bounds what may be written", "记录的限制")) }
        ul .plain { @for gate in &told.gates { li { @if gate.decides { b { (gate.gate) } } @else { (gate.gate) } " → " (terms::level(gate.lets, lang)) ": " (gate.why) } } }
    }
}

fn decides(now: &Snapshot, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let policy = &now.policy;
    html! {
        section .card {
            h2 { (say("What decides", "判定依据")) }
            dl .list {
                dt { (say("signatures", "签名")) } dd { (count(policy.signatures)) (say(" of ", "，服务 ")) (count(policy.services)) (say(" services", "")) }
                dt { (say("rules", "规则")) } dd { (count(policy.rules)) }
                dt { (say("in use by", "使用中")) } dd { (policy.acknowledged) " / " (policy.lcores) " lcores" }
                dt { (say("loaded", "加载于")) } dd { (clock::minute(Some(&policy.loaded))) }
                dt { (say("runs out in", "失效倒计时")) } dd { (span((policy.valid_for_s * 1000.0) as u64)) small { (say(" unless renewed: then nothing is observed", "（未续期则停止观察）")) } }
                dt { (say("verdicts", "判定表")) } dd { code { (policy.matrix_hash) } small { " " (say("epoch ", "版本 ")) (policy.epoch) } }
                dt { (say("signature table", "签名表")) } dd { code { (policy.table_hash) } }
            }
            @if let Some(why) = &policy.rejected { details { summary { (say("The files as they are now were not taken", "当前文件未被采用")) } pre { (why) } } }
            @if let Some(why) = &policy.refused { details { summary { (say("The data plane refused the newest verdicts", "数据面拒绝了最新判定")) } pre { (why) } } }
        }
    }
}

/// What would change, and the way to take it.
fn held(list: &FeedNow, token: Option<&str>, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    let names = |what: &str, count: usize, sample: &[String]| {
        html! {
            @if !sample.is_empty() {
                details { summary { (what) " " (count) } p .note { code { (sample.join(" ")) } @if sample.len() < count { " …" } } }
            }
        }
    };
    html! {
        p .note { "+" (count(list.added as u64)) " −" (count(list.removed as u64)) ": " (list.reasons.join("; ")) }
        (names(say("Added:", "新增："), list.added, &list.added_sample))
        (names(say("Removed:", "移除："), list.removed, &list.removed_sample))
        p .note { (say("version ", "版本 ")) code { (list.digest.get(..16).unwrap_or_default()) } ", " (count(list.new_names as u64)) (say(" names", " 个名称")) }
        @match token {
            Some(token) => {
                form method="post" action="/rules/accept" {
                    input type="hidden" name="token" value=(token);
                    input type="hidden" name="lang" value=(lang.tag());
                    input type="hidden" name="list" value=(list.name);
                    input type="hidden" name="digest" value=(list.digest);
                    button { (say("Take this version", "接受此版本")) }
                }
                p .note { (say("It is an act on record, under your account. Or wait for the next version.", "该操作会以您的账户记录。也可等待下一版本。")) }
            }
            None => { p .note { (say("An operator or engineer takes it here, or with ", "由运维或工程师在此接受，或使用 ")) code { "glassgate rules accept " (list.name) } } }
        }
    }
}

fn lists(lists: &[FeedNow], token: Option<&str>, lang: Lang) -> Markup {
    let say = |en, zh| lang.say(en, zh);
    html! {
        section .card {
            h2 { (say("Subscribed lists", "订阅列表")) }
            @if lists.is_empty() { p .empty { (say("None are subscribed to.", "没有订阅。")) } } @else {
                ul .processes { @for list in lists { li {
                    div {
                        b { (list.name) }
                        @match list.state.as_str() {
                            "good" => { span .pill .good { (say("in use", "使用中")) } }
                            "held" => { span .pill .warn { (say("held: look at it", "已隔离：请检查")) } }
                            _ => { span .pill .bad { (say("can't be read", "无法读取")) } }
                        }
                    }
                    p { (terms::category(&list.category, lang)) ", " (count(list.names as u64)) (say(" names in use", " 个名称使用中")) @if list.blocked { (say(", blocked", "，已阻断")) } }
                    @if list.state == "held" { (held(list, token, lang)) }
                    @if let Some(trouble) = &list.trouble { p .some { (trouble) } }
                } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample;

    fn shown(explained: &Explained, lang: Lang) -> String {
        page(&sample::snapshot(), &Looked::default(), explained, &None, None, lang).into_string()
    }

    #[test]
    fn rules_are_told_with_their_state() {
        let mut now = sample::snapshot();
        now.rules[0].rounded = true;
        now.rules[0].flows = 1000;
        now.rules[1].enforced = false;
        let page = page(&now, &Looked::default(), &None, &None, None, Lang::En).into_string();
        assert!(page.contains(&format!("{}+", count(1000))) && page.contains("shadow"), "{page}");
        assert!(shown(&None, Lang::Zh).contains("规则与命中"));
    }

    #[test]
    fn what_is_asked_and_what_is_answered_are_inert() {
        let evil = "<script>alert(1)</script>\"'";
        let looked =
            Looked { name: Some(evil.to_owned()), group: Some(evil.to_owned()), ..Looked::default() };
        let explained = Some((evil.to_owned(), Err(evil.to_owned())));
        let page = page(&sample::snapshot(), &looked, &explained, &None, None, Lang::En).into_string();
        assert!(!page.contains("<script>alert") && !page.contains("\"'\""), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 3);
    }

    #[test]
    fn lists_that_are_held_say_what_to_do() {
        let page = shown(&None, Lang::En);
        assert!(page.contains("held: look at it") && page.contains("glassgate rules accept"), "{page}");
        assert!(!page.contains("action=\"/rules/accept\""), "who may not take it sees no button");
        let mut now = sample::snapshot();
        now.policy.lists[1].added_sample = vec!["<b>.example".to_owned()];
        let came = Some(Err("<i>not the one that was shown".to_owned()));
        let (looked, none) = (Looked::default(), None);
        let page = super::page(&now, &looked, &none, &came, Some("t0"), Lang::Zh).into_string();
        for words in [
            "action=\"/rules/accept\"",
            "value=\"t0\"",
            "value=\"phishtank\"",
            "接受此版本",
            "&lt;b&gt;.example",
            "&lt;i&gt;not",
        ] {
            assert!(page.contains(words), "{words}\n{page}");
        }
    }
}
