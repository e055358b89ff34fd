//! The view *Rules*: what each rule did, why a name is treated as it is, and which lists are held for somebody to look at.

use super::gate::Asker;
use super::lang::Lang;
use super::numbers::{bytes, count, span};
use super::shell::Reader;
use super::{now, shell, terms, told};
use crate::clock;
use crate::control::Shared;
use crate::control::past::Unanswered;
use crate::control::snapshot::{RuleNow, Snapshot};
use crate::control::told::Tell;
use crate::feeds::FeedNow;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{Html, Response};
use glassgate_policy::explain::Explanation;
use maud::{Markup, html};

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
    Html(page(&now(&shared), &looked, &explained, Reader::of(&asker, lang)).into_string())
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

fn page(now: &Snapshot, looked: &Looked, explained: &Explained, reader: impl Into<Reader>) -> Markup {
    let reader = reader.into();
    let lang = reader.lang;
    let body = html! {
        (rules(&now.rules, lang))
        (why(looked, explained, lang))
        div .columns { (decides(now, lang)) (lists(&now.policy.lists, lang)) }
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

fn lists(lists: &[FeedNow], lang: Lang) -> Markup {
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
                    @if list.state == "held" {
                        p .note { "+" (count(list.added as u64)) " −" (count(list.removed as u64)) ": " (list.reasons.join("; ")) }
                        p .note { (say("Look at the difference and take it, or wait for the next version: ", "查看差异并接受，或等待下一版本：")) code { "glassgate rules accept " (list.name) } }
                    }
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
        page(&sample::snapshot(), &Looked::default(), explained, lang).into_string()
    }

    #[test]
    fn rules_are_told_with_their_state() {
        let mut now = sample::snapshot();
        now.rules[0].rounded = true;
        now.rules[0].flows = 1000;
        now.rules[1].enforced = false;
        let page = page(&now, &Looked::default(), &None, Lang::En).into_string();
        assert!(page.contains(&format!("{}+", count(1000))) && page.contains("shadow"), "{page}");
        assert!(shown(&None, Lang::Zh).contains("规则与命中"));
    }

    #[test]
    fn what_is_asked_and_what_is_answered_are_inert() {
        let evil = "<script>alert(1)</script>\"'";
        let looked =
            Looked { name: Some(evil.to_owned()), group: Some(evil.to_owned()), ..Looked::default() };
        let explained = Some((evil.to_owned(), Err(evil.to_owned())));
        let page = page(&sample::snapshot(), &looked, &explained, Lang::En).into_string();
        assert!(!page.contains("<script>alert") && !page.contains("\"'\""), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 3);
    }

    #[test]
    fn lists_that_are_held_say_what_to_do() {
        let page = shown(&None, Lang::En);
        assert!(page.contains("held: look at it") && page.contains("glassgate rules accept"), "{page}");
    }
}
