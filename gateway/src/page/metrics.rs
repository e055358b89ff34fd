//! The same numbers for Prometheus, in its text format. No label names a person, a device, an address or a host: the
//! labels are ports, reasons, categories and the like, all from closed lists.

use crate::control::snapshot::{Count, Snapshot};
use std::fmt::Write as _;

/// All metrics.
pub(super) fn render(s: &Snapshot) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, f64)>| {
        _ = writeln!(out, "# HELP glassgate_{name} {help}\n# TYPE glassgate_{name} {kind}");
        for (labels, value) in rows {
            _ = writeln!(out, "glassgate_{name}{labels} {value}");
        }
    };
    let port = |f: fn(&crate::control::snapshot::PortNow) -> u64| {
        s.ports.iter().map(|p| (format!("{{port=\"{}\"}}", p.info.name), f(p) as f64)).collect::<Vec<_>>()
    };
    family("receive_frames_total", "counter", "Frames received.", port(|p| p.rx_frames));
    family("receive_bytes_total", "counter", "Bytes received.", port(|p| p.rx_bytes));
    family("transmit_frames_total", "counter", "Frames sent.", port(|p| p.tx_frames));
    family("transmit_bytes_total", "counter", "Bytes sent.", port(|p| p.tx_bytes));
    family(
        "receive_missed_total",
        "counter",
        "Frames lost before they were handed over.",
        port(|p| p.rx_missed),
    );
    family(
        "dropped_by_rule_total",
        "counter",
        "Frames dropped because a rule says so.",
        port(|p| p.drop_policy),
    );
    family(
        "dropped_port_full_total",
        "counter",
        "Frames that the other port did not take.",
        port(|p| p.drop_tx_full),
    );
    let labelled = |label: &str, rows: &[Count]| {
        rows.iter().map(|c| (format!("{{{label}=\"{}\"}}", c.name), c.count as f64)).collect::<Vec<_>>()
    };
    family(
        "flows_named_total",
        "counter",
        "Flows that ended with a name, by evidence.",
        labelled("evidence", &s.named),
    );
    family(
        "flows_unnamed_total",
        "counter",
        "Flows that ended without a name, by reason.",
        labelled("reason", &s.unnamed),
    );
    family(
        "frames_without_flow_total",
        "counter",
        "Frames that belong to no flow, by kind.",
        labelled("kind", &s.not_flows),
    );
    family(
        "events_lost_total",
        "counter",
        "Events lost because a ring was full, by kind.",
        labelled("kind", &s.events.lost),
    );
    let categories = s.categories.iter();
    let categories = categories.map(|a| (format!("{{category=\"{}\"}}", a.name), a.flows as f64)).collect();
    family("flows_by_category_total", "counter", "Flows, by category of their service.", categories);
    let one = |value: f64| vec![(String::new(), value)];
    family("flows_active", "gauge", "Flows in the tables.", one(s.flows.active as f64));
    family("flows_capacity", "gauge", "Flows that fit into the tables.", one(s.flows.capacity as f64));
    family("flows_opened_total", "counter", "Flows opened.", one(s.flows.opened as f64));
    family("policy_epoch", "gauge", "Epoch of the verdicts handed out last.", one(s.policy.epoch as f64));
    family("policy_acknowledged_lcores", "gauge", "Lcores that use them.", one(s.policy.acknowledged as f64));
    family("outages_total", "counter", "Interruptions of forwarding.", one(s.outages.count as f64));
    let restarts = s.processes.iter();
    let restarts = restarts.map(|p| (format!("{{process=\"{}\"}}", p.name), p.restarts as f64)).collect();
    family("process_restarts_total", "counter", "Restarts, by process.", restarts);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_help_and_type() {
        let mut snapshot = Snapshot::default();
        snapshot.unnamed.push(Count { name: "no_sni".to_owned(), count: 7 });
        let text = render(&snapshot);
        assert!(text.contains("glassgate_flows_unnamed_total{reason=\"no_sni\"} 7\n"), "{text}");
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} ")), "{line}");
        }
    }
}
