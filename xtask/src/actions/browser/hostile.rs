//! Names that somebody made to do harm: shown by a page they are text, on the wire they are a reason, and in the log they are a line.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::look::drain;
use super::text;
use crate::actions::Tried;
use crate::demo::gateway::Gateway;
use crate::lab::devices::DEVICES;
use crate::lab::webdriver::{Browser, PHONE, Screen, WIDE};
use crate::lab::{Lab, dns};
use crate::stop::Stop;

/// By how many places names move from one look to the next; all 500 of them come to many places.
const MOVES: usize = 53;
/// Looks.
const LOOKS: usize = 8;
/// How long a client waits for whatever it is told.
const ANSWERS: Duration = Duration::from_millis(500);

/// What a page has besides what it is made of, and what was run of it.
const STRANGE: &str = "
    const known = new Set(KNOWN);
    const found = new Set();
    for (const e of document.querySelectorAll('*'))
        for (const a of [e.tagName, ...e.getAttributeNames().map((n) => e.tagName + ' ' + n)])
            if (!known.has(a)) found.add(a);
    const strange = [...found];
    if (known.size && window.hits.length) strange.push('run: ' + window.hits);
    if (document.querySelectorAll('script').length > (location.pathname === '/' ? 1 : 0)) strange.push('scripts');
    for (const e of document.querySelectorAll('[href], [src], [action]'))
        for (const n of ['href', 'src', 'action'])
            if (e.hasAttribute(n) && new URL(e.getAttribute(n), location.href).origin !== location.origin)
                strange.push(n + ' ' + e.getAttribute(n));
    if (/[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufeff]/.test(document.documentElement.textContent))
        strange.push('hidden characters');
    return strange;";

/// Every view with hostile names in every place, on both screens.
pub(super) fn on_the_page(browser: &Browser, base: &str, tried: &mut Tried<'_>) -> Result<Vec<String>> {
    // What they would call.
    browser
        .run_first("window.hits = []; window.hit = (n) => { hits.push(n); }; window.alert = window.hit;")?;
    let known = known(browser, base)?;
    let script = STRANGE.replace("KNOWN", &serde_json::to_string(&known)?);
    let mut faults = Vec::new();
    let mut seen = 0;
    let all = names(browser, base)?;
    for look in 0..LOOKS {
        let offset = look * MOVES;
        let screen = if look % 2 == 0 { PHONE } else { WIDE };
        browser.screen(screen)?;
        browser.go(&format!("{base}/rules?name={offset}.offset.example"))?;
        let name = all.get(offset).map(|name| encoded(name)).unwrap_or_default();
        for path in [
            "/?lang=en".to_owned(),
            "/traffic?lang=zh&days=1".to_owned(),
            format!("/rules?lang=en&name={name}&group={name}"),
            format!("/rules?lang=en&name=error{name}"),
            "/charter?lang=en".to_owned(),
            "/cases?lang=en".to_owned(),
            format!("/log?lang=en&kind={name}&from={name}&to={name}"),
            "/log?lang=en&kind=policy".to_owned(),
            "/system?lang=en".to_owned(),
            "/device?lang=en".to_owned(),
            format!("/login?lang=en&next={name}"),
        ] {
            seen += 1;
            browser.go(&format!("{base}{path}"))?;
            let strange = browser.run(&script)?;
            if strange != json!([]) {
                faults.push(format!("{path:.40} at {offset}: {strange}"));
            }
            faults.extend(
                one(browser, screen)?.into_iter().map(|why| format!("{path:.40} at {offset}: {why}")),
            );
        }
    }
    let what = format!("{} hostile names on {seen} pages are text and do nothing", all.len());
    tried.hold(&what, faults.is_empty() && all.len() == 500, faults.join("; "));
    // All of them are there to be read.
    browser.go(&format!("{base}/system?lang=en"))?;
    let shown =
        browser.run("return [...document.querySelectorAll('[role=alert] li')].map((e) => e.textContent)")?;
    let shown = shown.as_array().map(Vec::len).unwrap_or_default();
    tried.hold("each of them is shown", shown == all.len(), format!("{shown} of {}", all.len()));
    browser.screen(PHONE)?;
    browser.go(&format!("{base}/?lang=en"))?;
    browser.draw(&super::pictures().join("hostile-now-en-phone.png"), false)?;
    browser.go(&format!("{base}/traffic?lang=en"))?;
    browser.draw(&super::pictures().join("hostile-traffic-en-phone.png"), true)?;
    drain(browser)?;
    Ok(all)
}

fn one(browser: &Browser, screen: Screen) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let refused = browser.run("return window.refused")?;
    if refused != json!([]) {
        faults.push(format!("refused: {refused}"));
    }
    let complaints = browser.complaints()?;
    if !complaints.is_empty() {
        faults.push(complaints.join(", "));
    }
    let wide = browser.run("return document.documentElement.scrollWidth")?.as_u64().unwrap_or(u64::MAX);
    if wide > u64::from(screen.width) {
        faults.push(format!("it is {wide} pixels wide"));
    }
    Ok(faults)
}

/// Elements and attributes that pages are made of: those of views whose words are in the program, and what only words of others bring
/// along.
fn known(browser: &Browser, base: &str) -> Result<Vec<String>> {
    let script = STRANGE.replace("KNOWN", "[]").replace("hidden characters", "");
    let mut known: Vec<String> = Vec::new();
    for path in ["/login", "/account", "/join"] {
        browser.go(&format!("{base}{path}"))?;
        let found = browser.run(&script)?;
        known.extend(found.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    }
    known.extend(MADE_OF.split_whitespace().map(|word| word.replace('.', " ")));
    known.retain(|word| !word.is_empty());
    known.sort();
    known.dedup();
    Ok(known)
}

/// As `ELEMENT` or `ELEMENT.attribute`.
const MADE_OF: &str = "
    HTML HTML.lang HEAD META META.charset META.name META.content TITLE LINK LINK.rel LINK.href LINK.type SCRIPT SCRIPT.src SCRIPT.defer
    NOSCRIPT BODY BODY.class MAIN MAIN.id HEADER HEADER.class FOOTER NAV NAV.class NAV.aria-label A A.class A.href A.hreflang A.lang
    A.aria-current A.rel A.download P P.class P.role H1 H2 H3 H3.class B I I.class SMALL SMALL.class SPAN SPAN.class CODE PRE PRE.class
    TIME TIME.datetime DIV DIV.class SECTION SECTION.class SECTION.id SECTION.aria-label SECTION.role UL UL.class OL OL.class LI LI.class
    LI.title LI.aria-current DL DL.class DT DD DD.class FIGURE FIGCAPTION TABLE TABLE.class THEAD TBODY TR TH TH.scope TH.class TD TD.class
    DETAILS DETAILS.open SUMMARY BLOCKQUOTE BLOCKQUOTE.class BLOCKQUOTE.lang FORM FORM.class FORM.action FORM.method INPUT INPUT.type
    INPUT.name INPUT.value INPUT.placeholder INPUT.maxlength INPUT.required LABEL BUTTON SELECT SELECT.name OPTION OPTION.value
    OPTION.selected svg svg.class svg.shape-rendering svg.viewBox svg.preserveAspectRatio svg.role svg.aria-label svg.aria-hidden rect rect.class rect.x rect.y
    rect.width rect.height rect.rx path path.class path.d line line.class line.x1 line.x2 line.y1 line.y2 circle circle.class circle.cx
    circle.cy circle.r title polyline polyline.class polyline.points g g.class";

/// The names, from those who serve them: they are among what needs attention.
fn names(browser: &Browser, base: &str) -> Result<Vec<String>> {
    browser.go(&format!("{base}/api/v1/now"))?;
    let now: Value = serde_json::from_str(&text(browser, "document.body.textContent")?)?;
    drain(browser)?;
    let all = now["troubles"].as_array().context("no troubles")?;
    Ok(all.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
}

/// For a query.
fn encoded(name: &str) -> String {
    name.bytes().take(400).map(|byte| format!("%{byte:02x}")).collect()
}

/// The same names on the wire, through the gateway and to its own page; then what it says of them.
pub(super) fn at_gateway(
    lab: &Lab,
    gateway: &Gateway,
    names: &[String],
    tried: &mut Tried<'_>,
    stop: &Stop,
) -> Result<()> {
    let site: SocketAddr = (dns::address("news.example", false)?, 80).into();
    let mut sent = 0;
    for (netns, to, tls) in [
        (lab.netns(&DEVICES[0]), site, false),
        (lab.netns(&DEVICES[0]), SocketAddr::new(site.ip(), 443), true),
        (lab.netns(&DEVICES[3]), SocketAddr::new(super::VLAN_V4.parse()?, super::PORT), false),
    ] {
        let names = names.to_vec();
        let all = netns.enter(move || names.iter().map(|name| say(to, name, tls)).sum::<Result<usize>>())?;
        sent += all.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked")))?;
        stop.check()?;
    }
    // What was said last is in the next report.
    gateway.await_acknowledged(stop)?;
    let now = crate::demo::api::get(gateway.address(), "/healthz")?;
    tried.hold(
        "hostile names on the wire: it goes on forwarding",
        now.contains("forwarding"),
        format!("{sent} flows"),
    );
    let log = std::fs::read(gateway.log())?;
    let raw = log.iter().filter(|byte| (**byte < 0x20 && **byte != b'\n') || **byte == 0x7f).count();
    let words = format!("{raw} control bytes in {} lines", log.iter().filter(|byte| **byte == b'\n').count());
    tried.hold("hostile names on the wire: none of them reaches the log of the program raw", raw == 0, words);
    let told = [String::from_utf8_lossy(&log).into_owned(), gateway.command(&["audit", "export"])?];
    let found = told.iter().filter(|text| text.contains("hit(") || text.contains("evil.example")).count();
    tried.hold(
        "hostile names on the wire: nothing of them is kept",
        found == 0,
        format!("{found} of log and records"),
    );
    Ok(())
}

/// Says a name: as the host of a request, or in a hello.
fn say(to: SocketAddr, name: &str, tls: bool) -> Result<usize> {
    let bytes: Vec<u8> = name.bytes().take(2000).collect();
    let mut flow = TcpStream::connect_timeout(&to, Duration::from_secs(5)).context("a flow")?;
    flow.set_read_timeout(Some(ANSWERS))?;
    let said = if tls {
        hello(&bytes)
    } else {
        [
            b"GET /",
            &bytes[..],
            b" HTTP/1.1\r\nHost: ",
            &bytes,
            b"\r\nUser-Agent: ",
            &bytes,
            b"\r\nConnection: close\r\n\r\n",
        ]
        .concat()
    };
    // Whoever is told this may hang up before its end.
    _ = flow.write_all(&said);
    _ = flow.shutdown(std::net::Shutdown::Write);
    _ = flow.read(&mut [0; 64]);
    Ok(1)
}

/// A ClientHello of TLS 1.2 with this as its server name (RFC 5246, section 7.4.1.2; RFC 6066, section 3).
fn hello(name: &[u8]) -> Vec<u8> {
    let long = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let names = long(&[&[0][..], &long(name)].concat());
    let extensions = long(&[&[0, 0][..], &long(&names)].concat());
    let body = [&[3, 3][..], &[7; 32], &[0], &long(&[0xc0, 0x2f]), &[1, 0], &extensions].concat();
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    [&[22, 3, 1][..], &long(&message)].concat()
}
