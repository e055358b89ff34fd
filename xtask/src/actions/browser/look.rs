//! What every view must be, whatever it shows.

use std::time::Duration;

use anyhow::Result;

use super::{pictures, text};
use crate::actions::Tried;
use crate::lab::webdriver::{Browser, PHONE, Screen, WIDE};

/// A view, with its name in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) path: &'static str,
    pub(super) en: &'static str,
    pub(super) zh: &'static str,
}

/// All of them.
pub(super) const VIEWS: [View; 8] = [
    View { path: "/", en: "Now", zh: "实时" },
    View { path: "/traffic", en: "Traffic", zh: "流量" },
    View { path: "/rules", en: "Rules", zh: "规则" },
    View { path: "/charter", en: "Charter", zh: "章程" },
    View { path: "/cases", en: "Cases", zh: "个案" },
    View { path: "/log", en: "Log", zh: "日志" },
    View { path: "/system", en: "System", zh: "系统" },
    View { path: "/device", en: "My device", zh: "我的设备" },
];

/// What the script of *Now* has replaced is without what was written on it.
pub(super) const LIVE: &str = "!document.querySelector('#now').hasAttribute('data-old')";

/// A browser at a page.
pub(super) struct At<'a> {
    pub(super) browser: &'a Browser,
    /// Scheme, host and port.
    pub(super) base: String,
    /// How pictures are called.
    pub(super) name: &'static str,
}

/// Notes from the first moment of each page what is refused, and what goes wrong in a script.
pub(super) fn listen(browser: &Browser) -> Result<()> {
    browser.run_first(
        "window.refused = [];
         document.addEventListener('securitypolicyviolation', (e) => refused.push(e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sample));
         addEventListener('error', (e) => refused.push('error: ' + e.message));
         addEventListener('unhandledrejection', (e) => refused.push('rejected: ' + e.reason));",
    )
}

/// Forgets what the browser complained about.
pub(super) fn drain(browser: &Browser) -> Result<()> {
    browser.complaints().map(drop)
}

/// Looks at views in both languages on both screens.
pub(super) fn all(at: &At<'_>, views: &[View], tried: &mut Tried<'_>) -> Result<()> {
    let mut faults = Vec::new();
    let mut seen = 0;
    for screen in [PHONE, WIDE] {
        at.browser.screen(screen)?;
        for view in views {
            for (lang, title) in [("en", view.en), ("zh", view.zh)] {
                seen += 1;
                let address = format!("{}{}?lang={lang}", at.base, view.path);
                at.browser.go(&address)?;
                let name = if view.path == "/" { "now" } else { &view.path[1..] };
                let what = format!("{name}, {lang}, {}", screen.name);
                faults.extend(one(at, screen, lang, title)?.into_iter().map(|why| format!("{what}: {why}")));
                let file = pictures().join(format!("{}-{name}-{lang}-{}.png", at.name, screen.name));
                at.browser.draw(&file, true)?;
            }
        }
    }
    let what = format!("{}: {seen} pages have nothing wrong with them", at.name);
    tried.hold(&what, faults.is_empty(), faults.join("; "));
    Ok(())
}

/// What is wrong with the page that is there.
fn one(at: &At<'_>, screen: Screen, lang: &str, title: &str) -> Result<Vec<String>> {
    let browser = at.browser;
    let mut faults = Vec::new();
    let mut hold = |fine: bool, why: String| {
        if !fine {
            faults.push(why);
        }
    };
    if text(browser, "location.pathname")? == "/" {
        // Long enough for its script to have run.
        browser.run("document.querySelector('#now').setAttribute('data-old', '')")?;
        let updated = browser.await_true(LIVE, Duration::from_secs(10));
        hold(updated.is_ok(), "its figures stand still".to_owned());
    }
    let found = text(browser, "document.title")?;
    hold(found == format!("{title} – Glassgate"), format!("its title is {found}"));
    let found = browser.run("return [...document.querySelectorAll('h1')].map((h) => h.innerText.trim())")?;
    hold(found == serde_json::json!([title]), format!("its headings are {found}"));
    let found = text(browser, "document.documentElement.lang")?;
    hold(found == lang, format!("its language is {found}"));
    let refused = browser.run("return window.refused")?;
    hold(refused == serde_json::json!([]), format!("refused: {refused}"));
    let complaints = browser.complaints()?;
    hold(complaints.is_empty(), complaints.join(", "));
    if screen.phone {
        let wide = browser.run("return document.documentElement.scrollWidth")?.as_u64().unwrap_or(u64::MAX);
        hold(wide <= u64::from(screen.width), format!("it is {wide} pixels wide"));
        // Whoever reads with a thumb: nothing to press is lower than a line.
        let low = browser.run(
            "return [...document.querySelectorAll('nav a, button')].filter((a) => a.getClientRects().length && a.getBoundingClientRect().height < 24)
               .map((a) => a.innerText)",
        )?;
        hold(low == serde_json::json!([]), format!("too low to press: {low}"));
    }
    Ok(faults)
}

/// That the links between views lead to these and to no other.
pub(super) fn leads_to(at: &At<'_>, views: &[View], tried: &mut Tried<'_>) -> Result<()> {
    at.browser.go(&format!("{}/traffic?lang=en", at.base))?;
    let found = at
        .browser
        .run("return [...document.querySelectorAll('nav.views a')].map((a) => new URL(a.href).pathname)")?;
    let wanted: Vec<&str> =
        views.iter().map(|view| view.path).filter(|path| *path != "/device").chain(["/account"]).collect();
    tried.hold(
        "links lead to the views that the role may see",
        found == serde_json::json!(wanted),
        found.to_string(),
    );
    Ok(())
}
