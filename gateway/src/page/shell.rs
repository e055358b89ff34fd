//! What stands round every view: the head of the document, the way between the views, the foot.

use super::chart;
use super::gate::Asker;
use super::lang::Lang;
use super::routes::admits;
use crate::access::Role;
use crate::control::snapshot::Snapshot;
use crate::visible::visible;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::borrow::Cow;

/// A view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Now,
    Traffic,
    Rules,
    Charter,
    Cases,
    Log,
    System,
    /// For whoever sits at a device: it leads to no other.
    Device,
}

/// Whom a view is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) lang: Lang,
    /// Nobody's, where nobody is logged in.
    role: Option<Role>,
}

impl Reader {
    /// Whoever asks, in this language.
    pub(super) fn of(asker: &Asker, lang: Lang) -> Self {
        Self { lang, role: asker.viewer.as_ref().map(|viewer| viewer.role) }
    }
}

/// An engineer: for tests.
#[cfg(test)]
impl From<Lang> for Reader {
    fn from(lang: Lang) -> Self {
        Self { lang, role: Some(Role::Engineer) }
    }
}

/// Every view may be asked for in a language.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(super) struct Looked {
    pub(super) lang: Option<String>,
}

impl View {
    /// What it is called.
    pub(super) const fn title(self, lang: Lang) -> &'static str {
        match self {
            Self::Now => lang.say("Now", "实时"),
            Self::Traffic => lang.say("Traffic", "流量"),
            Self::Rules => lang.say("Rules", "规则"),
            Self::Charter => lang.say("Charter", "章程"),
            Self::Cases => lang.say("Cases", "个案"),
            Self::Log => lang.say("Log", "日志"),
            Self::System => lang.say("System", "系统"),
            Self::Device => lang.say("My device", "我的设备"),
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Now => "/",
            Self::Traffic => "/traffic",
            Self::Rules => "/rules",
            Self::Charter => "/charter",
            Self::Cases => "/cases",
            Self::Log => "/log",
            Self::System => "/system",
            Self::Device => "/device",
        }
    }
}

/// The views that lead to each other, as far as a role may see them.
const VIEWS: [View; 7] =
    [View::Now, View::Traffic, View::Rules, View::Charter, View::Cases, View::Log, View::System];

/// What stands above every view: whose page it is, the way to the others, what this one is called. `beside` stands beside the name.
pub(super) fn masthead(view: View, reader: Reader, beside: &Markup) -> Markup {
    let Reader { lang, role } = reader;
    let address = |view: View| format!("{}?lang={}", view.path(), lang.tag());
    html! {
        header .masthead {
            p .brand { (chart::mark()) "Glassgate" }
            @if view != View::Device {
                nav .views aria-label=(lang.say("Views", "页面")) {
                    @for other in VIEWS.into_iter().filter(|other| admits(other.path(), role)) {
                        a href=(address(other)) aria-current=[(other == view).then_some("page")] { (other.title(lang)) }
                    }
                    a href=(format!("/account?lang={}", lang.tag())) { (lang.say("Account", "账户")) }
                }
            }
            p .language { (other_language(view.path(), lang)) }
        }
        div .title { h1 { (view.title(lang)) } (beside) }
    }
}

/// A view that looks back. It stands still: what is past does not change while somebody reads.
pub(super) fn page(now: &Snapshot, view: View, reader: Reader, body: &Markup) -> Markup {
    let lang = reader.lang;
    let body = html! {
        a .skip href="#now" { (lang.say("To the figures", "跳到正文")) }
        main #now {
            (masthead(view, reader, &html! {}))
            (body)
        }
        footer { p { "Glassgate " (now.version) } }
    };
    document(lang, view.title(lang), &html! {}, &body)
}

/// A page without figures, for whoever is about to come in.
pub(super) fn plain(lang: Lang, title: &str, body: &Markup) -> Markup {
    let body = html! {
        main #now {
            header .masthead {
                p .brand { (chart::mark()) "Glassgate" }
                p .language { (other_language("", lang)) }
            }
            (body)
        }
    };
    document(lang, title, &html! {}, &body)
}

/// The same page in the other language.
fn other_language(path: &str, lang: Lang) -> Markup {
    let other = lang.other();
    html! { a href=(format!("{path}?lang={}", other.tag())) hreflang=(other.tag()) lang=(other.tag()) { (other.say("English", "中文")) } }
}

/// The document round a page; `head` is what this one has besides. What can't be seen in it is shown: none of our own words need that.
pub(super) fn document(lang: Lang, title: &str, head: &Markup, body: &Markup) -> Markup {
    let document = html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – Glassgate" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
                (head)
            }
            body { (body) }
        }
    };
    let shown = match visible(&document.0) {
        Cow::Borrowed(_) => None,
        Cow::Owned(shown) => Some(PreEscaped(shown)),
    };
    shown.unwrap_or(document)
}
