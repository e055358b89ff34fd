//! The same numbers for Prometheus, in its text format.
//!
//! No label names a person, a device, an address or a host: labels are ports, reasons, categories and the like, all
//! from closed lists, or the configuration. Services have no metric: in a small network a service can be a person.

use crate::alert::Alert;
use crate::control::snapshot::{Count, PortNow, Snapshot};
use std::fmt::Write as _;

/// All metrics.
pub(super) fn render(now: &Snapshot) -> String {
    let mut out = Text(String::new());
    ports(&mut out, now);
    flows(&mut out, now);
    events(&mut out, now);
    machine(&mut out, now);
    lists(&mut out, now);
    identity(&mut out, now);
    inband(&mut out, now);
    out.0
}

fn ports(out: &mut Text, now: &Snapshot) {
    type Value = fn(&PortNow) -> u64;
    let families: [(&str, &str, Value); 11] = [
        ("receive_frames", "Frames received.", |p| p.rx_frames),
        ("receive_bytes", "Bytes received, without preamble and FCS.", |p| p.rx_bytes),
        ("transmit_frames", "Frames sent.", |p| p.tx_frames),
        ("transmit_bytes", "Bytes sent, without preamble and FCS.", |p| p.tx_bytes),
        ("missed_frames", "Frames lost by hardware or driver before they were handed over.", |p| p.rx_missed),
        ("policy_dropped_frames", "Frames received here and dropped because a rule says so.", |p| {
            p.drop_policy
        }),
        ("answers_frames", "Frames made here and sent to the ends of blocked flows.", |p| p.answers),
        ("limit_dropped_frames", "Frames received here and dropped because they were over a limit.", |p| {
            p.drop_limit
        }),
        ("full_dropped_frames", "Frames received here that the other port did not take.", |p| p.drop_tx_full),
        ("inband_taken_frames", "Frames received here for the gateway itself.", |p| p.inband_taken),
        ("inband_sent_frames", "Frames of the gateway itself sent here.", |p| p.inband_sent),
    ];
    for (name, help, value) in families {
        let rows = now.ports.iter().map(|p| (p.info.name.as_str(), value(p) as f64));
        out.counter(name, help, "port", rows);
    }
}

fn flows(out: &mut Text, now: &Snapshot) {
    out.gauge("flows_active", "Flows in the tables.", now.flows.active as f64);
    out.gauge("flows_capacity", "Flows that fit into the tables.", now.flows.capacity as f64);
    out.total("flows_opened", "Flows that began.", now.flows.opened);
    out.counter("flows_named", "Flows with a name, by how it is known.", "evidence", words(&now.named));
    out.counter("flows_unnamed", "Flows without a name, by reason.", "reason", words(&now.unnamed));
    out.total("flows_not_looked_at", "Flows that nothing may be written about.", now.not_looked_at);
    let help = "Flows that nothing may be written about and that have ended, by the reason for that.";
    out.counter("flows_unobserved", help, "reason", words(&now.unobserved));
    out.total(
        "flows_weakly_named",
        "Flows named by too weak a hint to count for what people do.",
        now.too_weak,
    );
    let categories = || now.categories.iter();
    let rows = categories().map(|a| (a.name.as_str(), a.flows as f64));
    out.counter("category_flows", "Flows by category of their service.", "category", rows);
    let rows = categories().map(|a| (a.name.as_str(), (a.bytes_up + a.bytes_down) as f64));
    out.counter("category_bytes", "Bytes by category of their service, both ways.", "category", rows);
    let told = &now.report;
    let rows = told.named_percent.iter().chain(&told.unnamed_percent);
    out.rows(
        "report_sight_percent",
        "gauge",
        "Under a charter: flows of the hours told, by how they are known or why not, per cent.",
        "sight",
        words_of(rows),
    );
    out.gauge(
        "report_rows",
        "Groups and services that enough people stand behind to be told of.",
        told.rows.len() as f64,
    );
    out.gauge(
        "report_suppressed",
        "Groups and categories that nothing is told of: nobody or too few people.",
        told.suppressed.len() as f64,
    );
    out.counter("other_frames", "Frames that belong to no flow, by kind.", "kind", words(&now.not_flows));
}

fn events(out: &mut Text, now: &Snapshot) {
    out.total("events_received", "Events taken from the rings.", now.events.received);
    out.counter(
        "events_lost",
        "Events lost because a ring was full, by kind.",
        "kind",
        words(&now.events.lost),
    );
    out.total("events_missing", "Numbers of events that never came.", now.events.missing);
    out.total("events_bad", "Slots of a ring that held no event.", now.events.bad);
    out.total("audit_records", "Records made durable in the audit log.", now.events.records);
    out.gauge("audit_bytes", "Size of the audit log.", now.events.log_bytes as f64);
    out.gauge(
        "audit_failing",
        "1 while the audit log does not take records.",
        flag(now.events.log_trouble.is_some()),
    );
    out.gauge(
        "audit_witness_failing",
        "1 while no witness signs the audit log, or it says that the log is not the one it saw.",
        flag(now.events.witness_trouble.is_some()),
    );
}

fn machine(out: &mut Text, now: &Snapshot) {
    let raised = |alert: Alert| now.alerts.iter().any(|raised| raised.name == alert.as_str());
    let rows = Alert::ALL.into_iter().map(|alert| (alert.as_str(), flag(raised(alert))));
    out.rows("alert", "gauge", "1 while the alert is raised.", "name", rows);
    let targets = || now.alert_targets.iter();
    let rows = targets().map(|t| (t.kind.as_str(), t.waiting as f64));
    out.rows("alerts_waiting", "gauge", "Messages about alerts that wait for their target.", "target", rows);
    let rows = targets().map(|t| (t.kind.as_str(), t.delivered as f64));
    out.counter("alerts_delivered", "Messages about alerts that were delivered.", "target", rows);
    let rows = targets().map(|t| (t.kind.as_str(), t.failed as f64));
    out.counter("alerts_failed", "Tries to deliver that failed.", "target", rows);
    let rows = targets().map(|t| (t.kind.as_str(), t.given_up as f64));
    out.counter(
        "alerts_given_up",
        "Messages about alerts that there was no room for any more.",
        "target",
        rows,
    );
    out.gauge("troubles", "Things that need attention.", now.troubles.len() as f64);
    let up = now.processes.iter().map(|p| (p.name.as_str(), flag(p.state == "up")));
    out.rows("process_up", "gauge", "1 while the process works.", "process", up);
    let restarts = now.processes.iter().map(|p| (p.name.as_str(), p.restarts as f64));
    out.counter("process_restarts", "How often the process was started again.", "process", restarts);
    let bypass = f64::from(u8::from(now.bypass.is_some()));
    out.gauge("bypass", "1 while all enforcement and observation is off.", bypass);
    out.total("outages", "Interruptions of forwarding.", now.outages.count);
    out.gauge("outages_seconds", "Time without forwarding, in all.", now.outages.total_ms as f64 / 1000.0);
    let away = &now.uninspected;
    out.gauge("uninspected", "1 while no fast path looks at frames.", flag(away.now));
    out.total("uninspected_intervals", "Times that no fast path looked at frames.", away.count);
    out.gauge("uninspected_seconds", "How long that was in all.", away.total_ms as f64 / 1000.0);
    let lcores = || now.lcores.iter().map(|l| (l.cpu.to_string(), l));
    let rows: Vec<_> = lcores().map(|(cpu, l)| (cpu, l.load)).collect();
    out.rows("lcore_load", "gauge", "Share of turns with frames.", "cpu", refs(&rows));
    let rows: Vec<_> = lcores().map(|(cpu, l)| (cpu, l.ring_fill as f64)).collect();
    out.rows("lcore_events_waiting", "gauge", "Events in the ring.", "cpu", refs(&rows));
    let rows: Vec<_> = lcores().map(|(cpu, l)| (cpu, l.panics as f64)).collect();
    out.counter("lcore_panics", "Panics of inspectors that were contained.", "cpu", refs(&rows));
    out.histogram(
        "frame_seconds",
        "Time of a frame in the box, until its whole turn was sent: an upper bound.",
        now.latency.below.iter().map(|(end, frames)| (*end as f64 / 1e9, *frames)),
        now.latency.frames,
    );
    out.gauge("policy_epoch", "Epoch of the verdicts handed out last.", now.policy.epoch as f64);
    out.gauge("policy_acknowledged_lcores", "Lcores that use them.", now.policy.acknowledged as f64);
    out.gauge("policy_valid_seconds", "Seconds until they run out, unless renewed.", now.policy.valid_for_s);
    out.gauge(
        "policy_rejected",
        "1 while the files on disk are not those in force.",
        flag(now.policy.rejected.is_some()),
    );
}

fn lists(out: &mut Text, now: &Snapshot) {
    let rows: Vec<_> = now.policy.lists.iter().map(|l| (l.name.clone(), l.names as f64)).collect();
    out.rows("list_names", "gauge", "Names in use of a subscribed list.", "list", refs(&rows));
    let rows: Vec<_> = now.policy.lists.iter().map(|l| (l.name.clone(), flag(l.state != "good"))).collect();
    out.rows("list_held", "gauge", "1 while a new version is held or can't be read.", "list", refs(&rows));
}

fn identity(out: &mut Text, now: &Snapshot) {
    let identity = &now.identity;
    out.gauge(
        "identity_addresses",
        "Addresses of which it is known whose they are.",
        identity.addresses as f64,
    );
    out.gauge("identity_members", "Addresses that belong to a group.", identity.members as f64);
    out.gauge("identity_sessions", "Sessions of people who are logged in.", identity.sessions as f64);
    out.gauge(
        "notice_receipts",
        "Receipts of notices that were kept when the last full hour was over.",
        identity.receipts as f64,
    );
    if let Some(radius) = &identity.radius {
        out.total("radius_taken", "RADIUS accounting requests that were taken.", radius.taken);
        out.counter("radius_refused", "RADIUS packets that were dropped.", "reason", words(&radius.refused));
    }
    if let Some(push) = &identity.push {
        out.total("push_taken", "Pushed logins and withdrawals that were taken.", push.set + push.withdrawn);
        out.counter("push_refused", "Pushes that were refused.", "reason", words(&push.refused));
    }
}

/// Nothing where the gateway has no address on the ports.
fn inband(out: &mut Text, now: &Snapshot) {
    let Some(inband) = &now.inband else { return };
    out.total("inband_copied_frames", "Frames to a group that ask for the gateway itself.", inband.copied);
    out.total("inband_punted_frames", "Frames for the gateway itself that it was given.", inband.punted);
    let help = "Frames for the gateway itself that it was not given, by reason.";
    out.counter("inband_refused_frames", help, "reason", words(&inband.refused));
    let help = "Frames of the gateway itself that were not sent, by reason.";
    out.counter("inband_unsent_frames", help, "reason", words(&inband.unsent));
    out.gauge(
        "inband_flows_waiting",
        "TCP flows to the gateway that are being opened.",
        inband.waiting as f64,
    );
    out.gauge("inband_flows_open", "TCP flows to the gateway that are open.", inband.open as f64);
    out.total("inband_flows_accepted", "TCP flows to the gateway that were opened.", inband.accepted);
    let help = "TCP flows to the gateway that were not opened or not kept, and frames in vain, by reason.";
    out.counter("inband_turned_away", help, "reason", words(&inband.turned_away));
}

/// Text in the making.
struct Text(String);

impl Text {
    fn rows<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        rows: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        _ = writeln!(self.0, "# HELP glassgate_{name} {help}\n# TYPE glassgate_{name} {kind}");
        for (word, value) in rows {
            _ = writeln!(self.0, "glassgate_{name}{{{label}=\"{}\"}} {value}", escaped(word));
        }
    }

    fn counter<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        rows: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        self.rows(&format!("{name}_total"), "counter", help, label, rows);
    }

    fn total(&mut self, name: &str, help: &str, value: u64) {
        _ = writeln!(
            self.0,
            "# HELP glassgate_{name}_total {help}\n# TYPE glassgate_{name}_total counter\nglassgate_{name}_total {value}"
        );
    }

    /// Without a sum: what is counted are bounds, of which a sum would say nothing.
    fn histogram(&mut self, name: &str, help: &str, below: impl Iterator<Item = (f64, u64)>, all: u64) {
        let name = format!("glassgate_{name}");
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (end, count) in below {
            _ = writeln!(self.0, "{name}_bucket{{le=\"{end}\"}} {count}");
        }
        _ = writeln!(self.0, "{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_count {all}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        _ = writeln!(
            self.0,
            "# HELP glassgate_{name} {help}\n# TYPE glassgate_{name} gauge\nglassgate_{name} {value}"
        );
    }
}

fn words_of<'a>(counts: impl Iterator<Item = &'a Count>) -> impl Iterator<Item = (&'a str, f64)> {
    counts.map(|c| (c.name.as_str(), c.count as f64))
}

fn words(counts: &[Count]) -> impl Iterator<Item = (&str, f64)> {
    counts.iter().map(|c| (c.name.as_str(), c.count as f64))
}

fn refs(rows: &[(String, f64)]) -> impl Iterator<Item = (&str, f64)> {
    rows.iter().map(|(word, value)| (word.as_str(), *value))
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// A label value: backslash, quote and line end are written with a backslash.
fn escaped(word: &str) -> String {
    word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn is_what_prometheus_reads() {
        let text = render(&sample::snapshot());
        let (mut declared, mut seen) = (HashSet::new(), HashSet::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(declared.insert(name), "{name} twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            } else if !line.starts_with("# HELP ") {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let name = ["_bucket", "_count"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name);
                assert!(declared.contains(name), "{line}");
                assert!(seen.insert(series), "{series} twice");
                assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            }
        }
        assert!(text.contains("glassgate_flows_unnamed_total{reason=\"ech_outer\"} 208551\n"), "{text}");
        assert!(text.contains("glassgate_frame_seconds_bucket{le=\"0.000016384\"} 990000\n"), "{text}");
        assert!(text.contains("glassgate_frame_seconds_count 1000000\n"), "{text}");
        assert!(text.contains("glassgate_alert{name=\"link_down\"} 0\n"));
        assert!(text.contains("glassgate_process_up{process=\"dataplane\"} 1\n"));
    }

    /// What dashboards and rules ask for is there: a metric under another name is an empty panel, which nobody notices.
    #[test]
    fn what_dashboards_ask_for_is_there() {
        let text = render(&sample::snapshot());
        let told: HashSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let rules = include_str!("../../../docs/monitoring/rules.yml");
        let [boxed, sites] = [
            include_str!("../../../docs/monitoring/box.json"),
            include_str!("../../../docs/monitoring/sites.json"),
        ];
        let words = |text: &'static str| {
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
                .filter(|word| word.starts_with("glassgate_") || word.starts_with("site:glassgate_"))
        };
        let recorded: HashSet<&str> =
            rules.split("record: ").skip(1).flat_map(|rest| words(rest).next()).collect();
        let mut asked = 0;
        for word in [boxed, sites, rules].into_iter().flat_map(words) {
            let name = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(told.contains(name) || recorded.contains(name), "{word} is asked for and not told");
            asked += 1;
        }
        assert!(asked > 60 && recorded.len() == 12, "{asked} {}", recorded.len());
        for dashboard in [boxed, sites] {
            let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
            for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
            {
                assert!(
                    panel["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{}",
                    panel["title"]
                );
                assert!(panel["targets"][0]["expr"].is_string(), "{}", panel["title"]);
            }
        }
    }

    #[test]
    fn no_label_leads_to_a_person() {
        let text = render(&sample::snapshot());
        let labels: HashSet<&str> = text
            .lines()
            .filter_map(|l| l.split_once('{')?.1.split_once('=').map(|(label, _)| label))
            .collect();
        assert_eq!(
            labels,
            HashSet::from([
                "port", "evidence", "reason", "category", "kind", "process", "cpu", "list", "le", "sight",
                "name", "target"
            ])
        );
        assert!(!text.contains("zhipin") && !text.contains("protected"), "no service, nothing protected");
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
