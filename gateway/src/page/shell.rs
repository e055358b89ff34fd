//! What stands round every view: the head of the document, the way between the views, the foot.

use super::chart;
use super::lang::Lang;
use crate::control::snapshot::Snapshot;
use maud::{DOCTYPE, Markup, html};

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

/// Every view may be asked for in a language.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub(super) struct Looked {
    pub(super) lang: Option<String>,
}

impl View {
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

/// The links between the views.
pub(super) fn nav(view: View, lang: Lang) -> Markup {
    let views = [
        (View::Now, lang.say("Now", "实时")),
        (View::Traffic, lang.say("Traffic", "流量")),
        (View::Rules, lang.say("Rules", "规则")),
        (View::Charter, lang.say("Charter", "章程")),
        (View::Cases, lang.say("Cases", "个案")),
        (View::Log, lang.say("Log", "日志")),
        (View::System, lang.say("System", "系统")),
    ];
    let address = |view: View| format!("{}?lang={}", view.path(), lang.tag());
    html! {
        nav .views aria-label=(lang.say("Views", "页面")) {
            @for (other, title) in views {
                a href=(address(other)) aria-current=[(other == view).then_some("page")] { (title) }
            }
            a href=(format!("/account?lang={}", lang.tag())) { (lang.say("Account", "账户")) }
        }
    }
}

/// A view that looks back. It stands still: what is past does not change while somebody reads.
pub(super) fn page(now: &Snapshot, view: View, lang: Lang, title: &str, body: &Markup) -> Markup {
    let body = html! {
        a .skip href="#now" { (lang.say("To the figures", "跳到正文")) }
        main #now {
            header .masthead {
                h1 { (chart::mark()) "Glassgate" }
                @if view != View::Device { (nav(view, lang)) }
                p .clock { (other_language(view.path(), lang)) }
            }
            (body)
        }
        footer { p { "Glassgate " (now.version) } }
    };
    document(lang, Some(title), &html! {}, &body)
}

/// A page without figures, for whoever is about to come in.
pub(super) fn plain(lang: Lang, title: &str, body: &Markup) -> Markup {
    let body = html! {
        main #now {
            header .masthead {
                h1 { (chart::mark()) "Glassgate" }
                p .clock { (other_language("", lang)) }
            }
            (body)
        }
    };
    document(lang, Some(title), &html! {}, &body)
}

/// The same page in the other language.
pub(super) fn other_language(path: &str, lang: Lang) -> Markup {
    let other = lang.other();
    html! { a href=(format!("{path}?lang={}", other.tag())) hreflang=(other.tag()) lang=(other.tag()) { (other.say("English", "中文")) } }
}

/// The document round a page; `head` is what this one has besides.
pub(super) fn document(lang: Lang, title: Option<&str>, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { @if let Some(title) = title { (title) " – " } "Glassgate" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
                (head)
            }
            body { (body) }
        }
    }
}
