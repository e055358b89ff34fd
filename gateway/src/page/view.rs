//! The page: what passes, what is recorded, what could not be seen, what decides, and the machine itself.

use super::chart::{self, bar, parts};
use super::numbers::{bits, bytes, count, percent, rate, short_time, span};
use super::words;
use crate::clock;
use crate::control::snapshot::{Aggregate, Count, LatencyNow, LcoreNow, PortNow, Snapshot};
use maud::{DOCTYPE, Markup, html};

/// Rows of a list that are shown; the API has all.
const ROWS: usize = 12;

/// The whole page.
pub(super) fn page(now: &Snapshot) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Glassgate" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
                // Without scripts the page loads itself again, at leisure.
                noscript { meta http-equiv="refresh" content="10"; }
                script src="/page.js" defer {}
            }
            body {
                a .skip href="#now" { "To the figures" }
                main #now { (body(now)) }
                footer {
                    p { "Glassgate " (now.version) ". Frames pass unchanged; nothing is decrypted, nothing sent anywhere else." }
                    nav aria-label="Data" {
                        a href="/api/v1/now" { "JSON" } a href="/metrics" { "Metrics" } a href="/healthz" { "Health" }
                    }
                }
            }
        }
    }
}

fn body(now: &Snapshot) -> Markup {
    html! {
        (masthead(now))
        (troubles(now))
        (bridge(now))
        (recording(now))
        (groups(now))
        div .columns {
            (aggregates("Categories", "What flows are for.", "fill", &now.categories, &now.categories))
            (aggregates("Services", "Counted for everybody together, while no charter is installed.", "fill down", &now.services, &now.categories))
        }
        (sight(now))
        div .columns {
            (lcores(now))
            div .stack {
                (super::log::card(now))
                (no_flow(now))
            }
        }
    }
}

fn masthead(now: &Snapshot) -> Markup {
    let dataplane = now.processes.iter().find(|p| p.name == "dataplane");
    let forwards = dataplane.is_some_and(|p| p.state == "up");
    let (class, word) = match (forwards, now.troubles.is_empty()) {
        (true, _) if now.bypass.is_some() => ("pill warn", "bypass: forwarding everything"),
        (true, true) => ("pill good", "forwarding"),
        (true, false) => ("pill warn", "forwarding, needs attention"),
        (false, _) => ("pill bad", "not forwarding"),
    };
    html! {
        header .masthead {
            h1 { (chart::mark()) "Glassgate" }
            (super::shell::nav(super::shell::View::Now, super::lang::Lang::En))
            span class=(class) { (word) }
            p .clock { time datetime=(now.time) { (clock(&now.time)) } span { "up " (span(now.uptime_ms)) } }
        }
    }
}

fn troubles(now: &Snapshot) -> Markup {
    html! {
        @if !now.troubles.is_empty() {
            section .card .alarm role="alert" {
                h2 { "Needs attention" }
                ul { @for trouble in &now.troubles { li { (trouble) } } }
            }
        }
    }
}

/// The two ports, and what passed between them.
fn bridge(now: &Snapshot) -> Markup {
    let scale = chart::scale(&now.history);
    let label = bits(scale);
    html! {
        section .card .bridge aria-label="Traffic" {
            div .ends {
                @for port in &now.ports { (end(port)) }
            }
            figure {
                div .plot {
                    (chart::traffic(&now.history, scale))
                    span .tick .top { (label) }
                    span .tick .bottom { (label) }
                }
                figcaption { span { "2 minutes ago" } span .key { i .dot .up {} "to the uplink" i .dot .down {} "to the LAN" } span { "now" } }
            }
            dl .facts {
                div { dt { "flows now" } dd { (count(now.flows.active)) small { " of " (count(now.flows.capacity)) } } }
                div { dt { "new flows" } dd { (rate(now.flows.opened_per_s)) small { " /s" } } }
                div { dt { "flows since start" } dd { (count(now.flows.opened)) } }
                div { dt { "interruptions" } dd { (count(now.outages.count)) small { " " (span(now.outages.total_ms)) } } }
            }
        }
    }
}

fn end(port: &PortNow) -> Markup {
    let name = if port.info.name == "lan" { "LAN" } else { "Uplink" };
    let towards = if port.info.name == "lan" { ("up", "down") } else { ("down", "up") };
    let lost = [
        ("dropped by a rule", port.drop_policy),
        ("dropped over a limit", port.drop_limit),
        ("dropped, other port full", port.drop_tx_full),
        ("missed before us", port.rx_missed),
    ];
    html! {
        div .end {
            h2 { (name) }
            p .device { code { (port.info.device) } " " (port.info.driver) }
            dl .rates {
                div class=(towards.0) { dt { "in" } dd { (bits(port.rx_bits_per_s)) small { (rate(port.rx_frames_per_s)) " frames/s" } } }
                div class=(towards.1) { dt { "out" } dd { (bits(port.tx_bits_per_s)) small { (rate(port.tx_frames_per_s)) " frames/s" } } }
            }
            p .totals { (count(port.rx_frames)) " frames in, " (count(port.tx_frames)) " out" }
            ul .lost {
                @for (what, n) in lost { li class=(if n > 0 { "some" } else { "" }) { b { (count(n)) } " " (what) } }
            }
        }
    }
}

/// What is written about people, in plain words.
fn recording(now: &Snapshot) -> Markup {
    let levels = [
        ("none", "Nothing", "only how many flows were not looked at"),
        ("aggregate", "Counts", "per service and hour, about nobody"),
        ("sealed", "Sealed records", "per session, under a pseudonym, opened by two"),
    ];
    html! {
        section .card .recording {
            div {
                h2 { "What is recorded" }
                p .lead { (now.recording.what) }
                p .note { (now.recording.basis) }
            }
            ol .levels {
                @for (level, title, what) in levels {
                    li class=(if level == now.recording.level { "is" } else { "" })
                        aria-current=[(level == now.recording.level).then_some("true")] {
                        b { (title) } span { (what) }
                    }
                }
            }
        }
    }
}

fn aggregates(title: &str, note: &str, fill: &str, rows: &[Aggregate], categories: &[Aggregate]) -> Markup {
    let top = rows.iter().map(|r| r.flows).max().unwrap_or(0) as f64;
    let category = |r: &Aggregate| categories.iter().find(|c| c.name == r.category).map(|c| c.title.clone());
    html! {
        section .card {
            h2 { (title) }
            p .note { (note) }
            @if rows.is_empty() { p .empty { "Nothing yet." } } @else {
                table .ranked {
                    thead { tr { th scope="col" { span .hidden { "name" } } th {} th .n scope="col" { "flows" } th .n scope="col" { "up" } th .n scope="col" { "down" } } }
                    tbody { @for r in rows.iter().take(ROWS) { tr {
                        th scope="row" {
                            (r.title)
                            @if r.name != r.category { small { (category(r).unwrap_or_else(|| r.category.clone())) } }
                            @if r.flows_blocked > 0 { small .some { (count(r.flows_blocked)) " blocked" } }
                        }
                        td .bar { (bar(r.flows as f64, top, fill)) }
                        td .n { (count(r.flows)) } td .n { (bytes(r.bytes_up)) } td .n { (bytes(r.bytes_down)) }
                    } } }
                }
                @if rows.len() > ROWS { p .note { "and " (count((rows.len() - ROWS) as u64)) " more in " a href="/api/v1/now" { "the data" } } }
            }
        }
    }
}

/// What groups did, where enough people stand behind it.
fn groups(now: &Snapshot) -> Markup {
    let report = &now.report;
    if report.rows.is_empty() && report.suppressed.is_empty() {
        return html! {};
    }
    let top = report.rows.iter().map(|row| row.flows).max().unwrap_or(0) as f64;
    let blind: u64 = report.unnamed_percent.iter().map(|c| c.count).sum();
    html! {
        section .card {
            h2 { "Groups" }
            p .note {
                "Hours that are over, and what of a day only the day can tell. No two rows count the same flow. "
                @if let Some(since) = &report.since { "Since " (clock::hour(Some(since))) "." }
            }
            @if !report.rows.is_empty() {
                table .ranked {
                    thead { tr {
                        th scope="col" { span .hidden { "name" } } th {} th .n scope="col" { "people" } th .n scope="col" { "visits" }
                        th .n scope="col" { "time" } th .n scope="col" { "flows" } th .n scope="col" { "up" } th .n scope="col" { "down" }
                        th .n scope="col" { "uploads" }
                    } }
                    tbody { @for row in report.rows.iter().take(4 * ROWS) { tr {
                        th scope="row" {
                            (row.title) small { (row.group.as_deref().unwrap_or("all groups")) }
                            @if let Some(share) = row.blocked_percent.filter(|share| *share > 0) { small .some { (share) " % blocked" } }
                        }
                        td .bar { (bar(row.flows as f64, top, "fill")) }
                        td .n { (row.subjects) } td .n { (count(row.visits)) } td .n { (span(row.active_s * 1000)) }
                        td .n { (count(row.flows)) } td .n { (bytes(row.bytes_up)) } td .n { (bytes(row.bytes_down)) }
                        td .n {
                            @if let Some(n) = row.uploads { (count(n)) }
                            @if let Some(n) = row.large_uploads { small { (count(n)) " large" } }
                            @if row.uploads.or(row.large_uploads).is_none() { "–" }
                        }
                    } } }
                }
                p .note { "Uploads are probable ones, where enough people made them and the purpose counts them; “–” elsewhere." }
                @if report.rows.len() > 4 * ROWS { p .note { "and " (count((report.rows.len() - 4 * ROWS) as u64)) " more in " a href="/api/v1/now" { "the data" } } }
                p .note {
                    "Of these flows " (blind) " % have no name that we can see"
                    @for reason in report.unnamed_percent.iter().take(3) { ", " (reason.count) " % " (words::reason(&reason.name)) }
                    "."
                }
            }
            @for (group, k, titles) in suppressed(now) {
                p .note { b { (group) } ", fewer than " (k) " people: " (titles) "." }
            }
        }
    }
}

/// By group and `k`: categories of which nothing is told.
fn suppressed(now: &Snapshot) -> Vec<(&str, u32, String)> {
    let mut all: Vec<(&str, u32, String)> = Vec::new();
    for hidden in &now.report.suppressed {
        match all.iter_mut().find(|(group, k, _)| *group == hidden.group && *k == hidden.k) {
            Some((_, _, titles)) => {
                titles.push_str(", ");
                titles.push_str(&hidden.title);
            }
            None => all.push((&hidden.group, hidden.k, hidden.title.clone())),
        }
    }
    all
}

/// What could be seen of the flows and what not: the blindness meter.
fn sight(now: &Snapshot) -> Markup {
    let (named, unnamed) = (total(&now.named), total(&now.unnamed));
    let all = named + unnamed + now.not_looked_at;
    let mut shares: Vec<(String, u64)> = Vec::new();
    shares.extend(now.named.iter().enumerate().map(|(i, c)| (format!("seen s{}", i.min(3)), c.count)));
    shares.extend(now.unnamed.iter().enumerate().map(|(i, c)| (format!("blind s{}", i.min(3)), c.count)));
    shares.push(("unlooked".to_owned(), now.not_looked_at));
    html! {
        section .card .sight {
            h2 { "Blindness meter" }
            p .note { "What could be seen, and what not: read every other figure beside it. Names come from what is said in clear; encryption is never opened." }
            @if !now.report.rows.is_empty() { p .note { "What groups did is not in it: that has shares of its own, beside its counts." } }
            (parts("flows with a name, without, and not looked at", &shares))
            div .thirds {
                div {
                    p .share .good { (percent(named, all)) } p .what { "of flows said a name" }
                    (legend("seen", &now.named, all, words::evidence))
                }
                div {
                    p .share .warn { (percent(unnamed, all)) } p .what { "have no name that we can see" }
                    (legend("blind", &now.unnamed, all, words::reason))
                }
                div {
                    p .share { (percent(now.not_looked_at, all)) } p .what { "were not looked at" }
                    @if !now.unobserved.is_empty() { (legend("unlooked", &now.unobserved, all, words::unobserved)) }
                    @else if now.not_looked_at > 0 && (!now.report.suppressed.is_empty() || !now.report.rows.is_empty()) {
                        p .note { "Why is not told under a charter: some reasons are about one person." }
                    }
                    p .note { "Health, banks, lawyers, unions, faith and the like: counted here as one number, and nowhere else." }
                    @if now.too_weak > 0 {
                        p .note { (count(now.too_weak)) " flows were named by too weak a hint to count for what people do." }
                    }
                }
            }
        }
    }
}

fn legend(class: &str, rows: &[Count], all: u64, words: fn(&str) -> &'static str) -> Markup {
    html! {
        @if rows.is_empty() { p .empty { "None yet." } } @else {
            ul .legend {
                @for (i, row) in rows.iter().enumerate().take(ROWS) {
                    li title=(row.name) {
                        i class=(format!("swatch {class} s{}", i.min(3))) {}
                        span { (words(&row.name)) } b { (count(row.count)) } small { (percent(row.count, all)) }
                    }
                }
            }
        }
    }
}

fn lcores(now: &Snapshot) -> Markup {
    html! {
        section .card {
            h2 { "Lcores" }
            p .note { "Each has its own queue of both ports, its own flows, its own counters." }
            @for lcore in &now.lcores { (lcore_block(lcore)) }
            (time_in_box(&now.latency))
            p .note {
                (count(now.events.received)) " events taken from the rings, " (count(total(&now.events.lost)))
                " lost because one was full. " (count(now.events.records)) " audit records written, "
                (bytes(now.events.log_bytes)) " in all."
            }
        }
    }
}

/// How long frames stay: upper bounds, since the data plane started.
fn time_in_box(latency: &LatencyNow) -> Markup {
    let rows = [
        ("half", latency.p50_ns),
        ("90 %", latency.p90_ns),
        ("99 %", latency.p99_ns),
        ("99.9 %", latency.p999_ns),
        ("all", latency.max_ns),
    ];
    html! {
        h3 { "Time in the box" }
        p .note { "From when a frame is received until its whole turn has left: at most this, since the data plane started." }
        dl .facts .times {
            @for (share, time) in rows { div { dt { (share) " of all frames" } dd { (short_time(time)) } } }
        }
    }
}

fn lcore_block(lcore: &LcoreNow) -> Markup {
    let gauge = |what: &str, part: u64, whole: u64| {
        html! {
            dt { (what) } dd .bar { (bar(part as f64, whole as f64, "fill")) }
            dd .n { (count(part)) small { " of " (count(whole)) } }
        }
    };
    html! {
        div .lcore {
            h3 {
                "CPU " (lcore.cpu)
                @if lcore.acknowledged { span .pill .good { "verdicts " (lcore.epoch) } }
                @else { span .pill .warn { "older verdicts: " (lcore.epoch) } }
                @if lcore.panics > 0 { span .pill .bad { (count(lcore.panics)) " contained panics" } }
            }
            dl .gauges {
                dt { "turns with frames" } dd .bar { (bar(lcore.load, 1.0, "fill")) } dd .n { (format!("{:.1} %", 100.0 * lcore.load)) }
                @if lcore.flows_capacity > 0 {
                    (gauge("flow table", lcore.flows_active, lcore.flows_capacity))
                    (gauge("inspections", lcore.inspections, lcore.inspections_capacity))
                    (gauge("event ring", lcore.ring_fill, lcore.ring_capacity))
                }
            }
            @if lcore.flows_capacity == 0 { p .note { "Receives and sends for the others, which know the flows." } }
        }
    }
}

fn no_flow(now: &Snapshot) -> Markup {
    let top = now.not_flows.iter().map(|c| c.count).max().unwrap_or(0) as f64;
    html! {
        section .card {
            h2 { "Frames without a flow" }
            p .note { "Forwarded like all others, never looked into." }
            @if now.not_flows.is_empty() { p .empty { "None yet." } } @else {
                table .ranked { tbody { @for row in now.not_flows.iter().take(ROWS) { tr {
                    th scope="row" { (words::frame(&row.name)) }
                    td .bar { (bar(row.count as f64, top, "fill quiet")) } td .n { (count(row.count)) }
                } } } }
            }
        }
    }
}

fn total(counts: &[Count]) -> u64 {
    counts.iter().map(|c| c.count).sum()
}

/// Hour and minute of an RFC 3339 time, and its date.
fn clock(time: &str) -> String {
    match time.split_once('T') {
        Some((date, clock)) => format!("{date} {} UTC", clock.trim_end_matches('Z')),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn hostile_words_are_inert() {
        let evil = "<script>alert(1)</script>\"'&\u{202e}";
        let mut now = sample::snapshot();
        now.troubles = vec![evil.to_owned()];
        now.time = evil.to_owned();
        now.ports[0].info.device = evil.to_owned();
        now.services[0].title = evil.to_owned();
        now.unnamed.push(Count { name: evil.to_owned(), count: 3 });
        let page = page(&now).into_string();
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(!page.contains("\"'&"), "quotes in attributes");
        assert_eq!(page.matches("&lt;script&gt;").count(), 6, "each of them is there");
    }

    #[test]
    fn groups_say_what_is_suppressed_and_how_blind_they_are() {
        let page = page(&sample::snapshot()).into_string();
        for words in [
            "10-19",
            "<b>lab</b>, fewer than 10 people: Recruitment.",
            "<td class=\"n\">–</td>",
            "Of these flows 9 % have no name",
            "the name is encrypted",
        ] {
            assert!(page.contains(words), "{words}\n{page}");
        }
        let mut now = sample::snapshot();
        now.report = Default::default();
        assert!(!super::page(&now).into_string().contains("fewer than"));
    }

    #[test]
    fn an_empty_gateway_has_a_page() {
        let page = page(&Snapshot::default()).into_string();
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        assert!(page.contains("not forwarding") && page.contains("Blindness meter"));
    }

    #[test]
    fn shows_what_it_is_for() {
        let page = page(&sample::snapshot()).into_string();
        for word in [
            "BOSS Zhipin",
            "Recruitment",
            "TLS server name",
            "the name is encrypted",
            "af_xdp:eth1",
            "No charter is in force",
            "dropped by a rule",
            "CPU 2",
            "forwarding",
        ] {
            assert!(page.contains(word), "{word}");
        }
        assert!(!page.contains("style=\""), "the policy of the page forbids inline styles");
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing from elsewhere");
        assert!(page.len() < 60_000, "{} bytes", page.len());
    }
}
