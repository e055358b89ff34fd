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
    Log,
}

/// The links between the views.
pub(super) fn nav(view: View, lang: Lang) -> Markup {
    let tag = lang.tag();
    let views = [
        (View::Now, "/".to_owned(), lang.say("Now", "实时")),
        (View::Traffic, format!("/traffic?lang={tag}"), lang.say("Traffic", "流量")),
        (View::Log, format!("/log?lang={tag}"), lang.say("Log", "日志")),
    ];
    html! {
        nav .views aria-label=(lang.say("Views", "页面")) {
            @for (other, address, title) in views {
                a href=(address) aria-current=[(other == view).then_some("page")] { (title) }
            }
        }
    }
}

/// A view that looks back. It stands still: what is past does not change while somebody reads.
pub(super) fn page(now: &Snapshot, view: View, lang: Lang, title: &str, body: &Markup) -> Markup {
    let other = if lang == Lang::En { Lang::Zh } else { Lang::En };
    let here = if view == View::Log { "/log" } else { "/traffic" };
    html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – Glassgate" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
            }
            body {
                a .skip href="#now" { (lang.say("To the figures", "跳到正文")) }
                main #now {
                    header .masthead {
                        h1 { (chart::mark()) "Glassgate" }
                        (nav(view, lang))
                        p .clock { a href=(format!("{here}?lang={}", other.tag())) hreflang=(other.tag()) lang=(other.tag()) { (other.say("English", "中文")) } }
                    }
                    (body)
                }
                footer { p { "Glassgate " (now.version) } }
            }
        }
    }
}
