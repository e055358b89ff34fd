//! The page: one function per card.

use super::numbers::{bits, bytes, count, frames, percent, span};
use crate::control::snapshot::{Aggregate, Count, Point, Snapshot};
use maud::{DOCTYPE, Markup, html};

/// Rows of a table that are shown; the API has all.
const ROWS: usize = 12;

/// The whole page.
pub(super) fn page(s: &Snapshot) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Glassgate" }
                link rel="stylesheet" href="/style.css";
                script src="/page.js" defer {}
            }
            body {
                header {
                    h1 { "Glassgate" }
                    p { "version " (s.version) " · up " (span(s.uptime_ms)) }
                    span #live .state { "as of " (s.time) }
                }
                main {
                    (troubles(s))
                    (recording(s))
                    (traffic(s))
                    (ports(s))
                    (aggregates("Categories", "Flows by what their service is for.", &s.categories))
                    (aggregates("Services", "Only counts; nothing here leads to a device or a person.", &s.services))
                    (evidence(s))
                    (blindness(s))
                    (no_flow(s))
                    (fast_path(s))
                    (policy(s))
                    (processes(s))
                }
            }
        }
    }
}

fn troubles(s: &Snapshot) -> Markup {
    html! {
        @if !s.troubles.is_empty() {
            section .full .trouble role="alert" {
                h2 { "Needs attention" }
                ul { @for trouble in &s.troubles { li { (trouble) } } }
            }
        }
    }
}

fn recording(s: &Snapshot) -> Markup {
    html! {
        section .full {
            h2 { "What is recorded at present" }
            p .lead { (s.recording.what) }
            p .note { (s.recording.basis) " Level: " strong { (s.recording.level) } "." }
        }
    }
}

fn traffic(s: &Snapshot) -> Markup {
    let last = s.history.last().copied().unwrap_or_default();
    html! {
        section .wide {
            h2 { "The last two minutes" }
            (chart(&s.history))
            p .key {
                span { i .dot .up {} "up " (bits(last.up_bits)) }
                span { i .dot .down {} "down " (bits(last.down_bits)) }
                span { (frames(last.frames)) }
                span { (count(last.drops as u64)) " dropped/s" }
            }
        }
        section {
            h2 { "Flows" }
            dl .tiles {
                div { dt { "in the table" } dd .big { (count(s.flows.active)) } }
                div { dt { "of" } dd .big { (count(s.flows.capacity)) } }
                div { dt { "opened" } dd .big { (count(s.flows.opened)) } }
                div { dt { "new per second" } dd .big { (format!("{:.0}", s.flows.opened_per_s)) } }
            }
            @let named = total(&s.named);
            p .note { (percent(named, named + total(&s.unnamed))) " of the flows that ended had a name." }
        }
    }
}

/// Two lines over the last points, scaled to the greatest.
fn chart(history: &[Point]) -> Markup {
    let top = history.iter().fold(1.0f64, |top, p| top.max(p.up_bits).max(p.down_bits));
    let line = |value: fn(&Point) -> f64| {
        let step = 100.0 / (history.len().max(2) - 1) as f64;
        let points = history
            .iter()
            .enumerate()
            .map(|(i, p)| format!("{:.2},{:.2}", i as f64 * step, 58.0 - 54.0 * value(p) / top));
        points.collect::<Vec<_>>().join(" ")
    };
    html! {
        svg .chart viewBox="0 0 100 60" preserveAspectRatio="none" role="img" aria-label="Bits per second, up and down" {
            line .axis x1="0" y1="58" x2="100" y2="58" {}
            line .axis x1="0" y1="31" x2="100" y2="31" {}
            line .axis x1="0" y1="4" x2="100" y2="4" {}
            polyline .down points=(line(|p| p.down_bits)) {}
            polyline .up points=(line(|p| p.up_bits)) {}
        }
    }
}

fn ports(s: &Snapshot) -> Markup {
    html! {
        section .full {
            h2 { "Ports" }
            div .scroll { table {
                thead { tr {
                    th { "port" } th { "device" } th { "driver" }
                    th .n { "in now" } th .n { "out now" } th .n { "frames in" } th .n { "frames out" }
                    th .n { "dropped: rule" } th .n { "dropped: other port full" } th .n { "missed by driver" }
                } }
                tbody { @for p in &s.ports { tr {
                    td { (p.info.name) } td { code { (p.info.device) } } td { (p.info.driver) }
                    td .n { (bits(p.rx_bits_per_s)) } td .n { (bits(p.tx_bits_per_s)) }
                    td .n { (count(p.rx_frames)) } td .n { (count(p.tx_frames)) }
                    td .n { (count(p.drop_policy)) } td .n { (count(p.drop_tx_full)) } td .n { (count(p.rx_missed)) }
                } } }
            } }
            @if s.ports.is_empty() { p .note { "The data plane is not up; no port is open." } }
        }
    }
}

fn aggregates(title: &str, note: &str, rows: &[Aggregate]) -> Markup {
    let top = rows.iter().map(|r| r.flows).max().unwrap_or(0);
    html! {
        section .half {
            h2 { (title) }
            @if rows.is_empty() { p .note { "Nothing yet." } } @else {
                table {
                    thead { tr { th { "" } th { "" } th .n { "flows" } th .n { "up" } th .n { "down" } } }
                    tbody { @for r in rows.iter().take(ROWS) { tr {
                        td { (r.name.replace('_', " ")) } td .bar { (bar(r.flows, top, "fill")) }
                        td .n { (count(r.flows)) } td .n { (bytes(r.bytes_up)) } td .n { (bytes(r.bytes_down)) }
                    } } }
                }
                @if rows.len() > ROWS { p .note { "and " (rows.len() - ROWS) " more, in " code { "/api/v1/now" } } }
            }
            p .note { (note) }
        }
    }
}

fn evidence(s: &Snapshot) -> Markup {
    html! { section .half {
        h2 { "How names are known" }
        (counts(&s.named, "fill down"))
        p .note { "From what is sent in clear: TLS and QUIC server names, HTTP hosts, DNS. No encryption is opened." }
    } }
}

fn blindness(s: &Snapshot) -> Markup {
    let (named, unnamed) = (total(&s.named), total(&s.unnamed));
    html! { section .half {
        h2 { "Blindness meter" }
        p .big { (percent(unnamed, named + unnamed)) }
        p .note { "of the flows that ended have no name. Read every other figure on this page with this one. By reason:" }
        (counts(&s.unnamed, "fill blind"))
    } }
}

fn no_flow(s: &Snapshot) -> Markup {
    html! { section .half {
        h2 { "Frames without a flow" }
        (counts(&s.not_flows, "fill"))
        p .note { "Forwarded like all others, never looked into." }
    } }
}

fn counts(rows: &[Count], class: &str) -> Markup {
    let top = rows.iter().map(|r| r.count).max().unwrap_or(0);
    let shown: Vec<&Count> = rows.iter().filter(|r| r.count > 0).collect();
    html! {
        @if shown.is_empty() { p .note { "Nothing yet." } } @else {
            table { tbody { @for r in shown.iter().take(ROWS) { tr {
                td { (r.name.replace('_', " ")) } td .bar { (bar(r.count, top, class)) } td .n { (count(r.count)) }
            } } } }
        }
    }
}

/// A bar: widths as attributes, because the policy of the page forbids inline styles.
fn bar(value: u64, top: u64, class: &str) -> Markup {
    let width = if top == 0 { 0.0 } else { 100.0 * value as f64 / top as f64 };
    html! {
        svg .bar viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect .track width="100" height="6" rx="1" {}
            rect class=(class) width=(format!("{width:.1}")) height="6" rx="1" {}
        }
    }
}

fn fast_path(s: &Snapshot) -> Markup {
    html! { section .half {
        h2 { "Fast path" }
        div .scroll { table {
            thead { tr { th { "lcore" } th .n { "load" } th .n { "flows" } th .n { "events waiting" } th .n { "panics" } th { "policy" } } }
            tbody { @for l in &s.lcores { tr {
                td { "cpu " (l.cpu) } td .n { (format!("{:.0} %", 100.0 * l.load)) } td .n { (count(l.flows_active)) }
                td .n { (count(l.ring_fill)) } td .n { (count(l.panics)) }
                td { (state(l.acknowledged, if l.acknowledged { "current" } else { "older" })) }
            } } }
        } }
        p .note {
            (count(s.events.received)) " events taken, " (count(total(&s.events.lost))) " lost because a ring was full; "
            (count(s.events.records)) " records in the audit log."
        }
    } }
}

fn policy(s: &Snapshot) -> Markup {
    let p = &s.policy;
    html! { section .half {
        h2 { "Policy in force" }
        dl .tiles {
            div { dt { "signatures" } dd { (count(p.signatures)) } }
            div { dt { "services" } dd { (count(p.services)) } }
            div { dt { "rules" } dd { (count(p.rules)) } }
            div { dt { "epoch" } dd { (count(p.epoch)) } }
            div { dt { "acknowledged" } dd { (p.acknowledged) " of " (p.lcores) " lcores" } }
            div { dt { "loaded" } dd { (p.loaded) } }
        }
        p .note { "verdicts " code { (short(&p.matrix_hash)) } " · signatures " code { (short(&p.table_hash)) } }
        @if let Some(why) = &p.rejected { p .note { "The files as they are now were not taken: " (why) } }
    } }
}

fn processes(s: &Snapshot) -> Markup {
    html! { section .half {
        h2 { "Processes" }
        div .scroll { table {
            thead { tr { th { "process" } th { "state" } th .n { "restarts" } th { "last end" } } }
            tbody { @for p in &s.processes { tr {
                td { (p.name) } td { (state(p.state == "up", &p.state)) } td .n { (count(p.restarts)) }
                td { (p.last_end.as_deref().unwrap_or("–")) }
            } } }
        } }
        p .note { (count(s.outages.count)) " interruptions of forwarding, " (span(s.outages.total_ms)) " in all." }
    } }
}

fn state(good: bool, word: &str) -> Markup {
    html! { span class=(if good { "state good" } else { "state bad" }) { (word) } }
}

fn total(counts: &[Count]) -> u64 {
    counts.iter().map(|c| c.count).sum()
}

fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_words_are_inert() {
        let evil = "<script>alert(1)</script>\"'&";
        let mut snapshot =
            Snapshot { troubles: vec![evil.to_owned()], time: evil.to_owned(), ..Snapshot::default() };
        snapshot.unnamed.push(Count { name: evil.to_owned(), count: 3 });
        let page = page(&snapshot).into_string();
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn an_empty_gateway_has_a_page() {
        let page = page(&Snapshot::default()).into_string();
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        assert!(page.contains("no port is open") && page.contains("Blindness meter"));
        assert!(!page.contains("style=\""), "the policy of the page forbids inline styles");
    }
}
