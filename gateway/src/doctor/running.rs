//! What the running gateway says of itself: over its control socket, by its page, and in its log.

use super::Finding;
use crate::ask::ask;
use crate::config::Config;
use crate::control::snapshot::Snapshot;
use crate::control::socket::{Answer, Question};
use glassgate_audit_verify::{Question as LogQuestion, verify};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A page that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An lcore that has shown no sign for longer does not forward.
const SILENCE_MS: u64 = 3000;
/// Frames that came in by one port while none went out by the other: beyond these it is no chance.
const FEW: u64 = 8;

/// All of it.
pub(super) fn all(config: &Config) -> Vec<Finding> {
    let mut found = match ask(&config.socket, &Question::Status) {
        Ok(Answer::Status(now)) => status(&now),
        Ok(_) => vec![Finding::fault("gateway", "it answers something else", "start it again")],
        Err(why) => vec![Finding::fault("gateway", format!("{why:#}"), "`systemctl start glassgate`")],
    };
    found.push(page(config.listen));
    found.push(log(config));
    found
}

/// Processes, lcores and ports.
pub(super) fn status(now: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    let down: Vec<String> = now
        .processes
        .iter()
        .filter(|process| process.state != "up")
        .map(|process| format!("{} is {}", process.name, process.state))
        .collect();
    found.push(match now.processes.len() {
        0..3 => Finding::fault("processes", "some are missing", "start the gateway again"),
        _ if down.is_empty() => Finding::fine("processes", "all are up"),
        _ => Finding::fault("processes", down.join(", "), "`glassgate status` says how each ended"),
    });
    let silent: Vec<String> = now
        .lcores
        .iter()
        .filter(|lcore| lcore.seen_ms_ago > SILENCE_MS)
        .map(|lcore| lcore.cpu.to_string())
        .collect();
    found.push(match (now.lcores.is_empty(), silent.is_empty()) {
        (false, true) => Finding::fine("forwarding", format!("{} lcores make progress", now.lcores.len())),
        (true, _) => Finding::fault("forwarding", "no lcore runs", "`glassgate status` says why"),
        _ => Finding::fault(
            "forwarding",
            format!("the lcore on CPU {} stands still", silent.join(", ")),
            "the guard replaces it",
        ),
    });
    found.push(through(now));
    found
}

/// Whether what came in by each port went out by the other.
fn through(now: &Snapshot) -> Finding {
    const CHECK: &str = "through";
    let [lan, uplink] = now.ports.as_slice() else {
        return Finding::fault(CHECK, "there are not two ports", "`glassgate status` says why");
    };
    for (from, to) in [(lan, uplink), (uplink, lan)] {
        let dropped = from.drop_policy + from.drop_limit + from.inband_taken;
        if from.rx_frames > dropped + FEW && to.tx_frames == 0 {
            let says = format!(
                "{} frames came in by {}, none went out by {}",
                from.rx_frames, from.info.name, to.info.name
            );
            return Finding::fault(CHECK, says, "look at the cable of the port that sends nothing");
        }
    }
    Finding::fine(
        CHECK,
        format!(
            "{} frames in and {} out by lan, {} and {} by uplink",
            lan.rx_frames, lan.tx_frames, uplink.rx_frames, uplink.tx_frames
        ),
    )
}

/// Whether the page answers, in clear, as it does from loopback alone; from elsewhere it answers by sending to TLS.
fn page(listen: SocketAddr) -> Finding {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let at = SocketAddr::new(ip, listen.port());
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    match agent.get(format!("http://{at}/healthz")).call() {
        Ok(answer) if answer.status().as_u16() < 500 => Finding::fine("page", format!("answers at {at}")),
        Ok(answer) => Finding::fault(
            "page",
            format!("{at} says {}", answer.status()),
            "`glassgate status` says what does not work",
        ),
        Err(why) => {
            Finding::fault("page", format!("{at} does not answer: {why}"), "look for `control` in the log")
        }
    }
}

/// Whether the audit log is what was signed.
fn log(config: &Config) -> Finding {
    let question = LogQuestion { key: None, witnessed: None, witness_key: None };
    match verify(&config.audit.dir, &question) {
        Ok(found) => Finding::fine("log", format!("{} entries are what was signed", found.entries)),
        Err(why) => Finding::fault(
            "log",
            why.to_string(),
            "`glassgate audit verify` says more; docs/audit-log.md what to do",
        ),
    }
}
