//! `glassgate alerts`: what is raised in the running gateway, and a test of who is told.

use crate::alert::Alert;
use crate::ask::{ask, socket};
use crate::cli::Ask;
use crate::cli::alerts::{Alerts, Verb};
use crate::control::Tried;
use crate::control::snapshot::{AlertNow, Snapshot, TargetNow};
use crate::control::socket::{Answer, Question};
use crate::exit::{Ended, Exit};
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write as _;

/// Does it.
pub(crate) fn run(args: &Alerts) -> Result<Exit> {
    match &args.verb {
        None => show(&args.ask),
        Some(Verb::Test(args)) => test(args),
    }
}

/// What `--json` prints, and `/api/v1/alerts` answers.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Shown<'a> {
    /// Those that are raised.
    raised: &'a [AlertNow],
    /// The names of all, raised or not.
    known: Vec<&'static str>,
    targets: &'a [TargetNow],
}

impl<'a> Shown<'a> {
    /// Of a gateway at one moment.
    pub(crate) fn of(now: &'a Snapshot) -> Self {
        let known = Alert::ALL.iter().map(|alert| alert.as_str()).collect();
        Self { raised: &now.alerts, known, targets: &now.alert_targets }
    }
}

fn show(args: &Ask) -> Result<Exit> {
    let Answer::Status(now) = ask(&socket(args)?, &Question::Status)? else {
        anyhow::bail!("the gateway gave another answer than was asked for");
    };
    let text = if args.json { serde_json::to_string(&Shown::of(&now))? + "\n" } else { describe(&now) };
    crate::print(&text)?;
    Ok(if now.alerts.is_empty() { Exit::Done } else { Exit::Degraded })
}

/// Raised alerts in a line each, and how those do who are told.
fn describe(now: &Snapshot) -> String {
    let mut out = String::new();
    if now.alerts.is_empty() {
        out += "no alert is raised\n";
    }
    for alert in &now.alerts {
        _ = writeln!(out, "{}", line(alert));
    }
    for target in &now.alert_targets {
        let TargetNow { kind, waiting, delivered, failed, given_up, trouble } = target;
        _ = writeln!(
            out,
            "{kind}: {delivered} delivered, {waiting} wait, {failed} tries failed, {given_up} given up"
        );
        if let Some(why) = trouble {
            _ = writeln!(out, "  ! {why}");
        }
    }
    if now.alert_targets.is_empty() {
        out += "nobody is told but who looks: see `[alerts]` in `glassgate config`\n";
    }
    out
}

/// An alert in a line.
pub(crate) fn line(alert: &AlertNow) -> String {
    let says = Alert::from_word(&alert.name).map_or("", |known| known.about().en);
    let about = if alert.about.is_empty() { String::new() } else { format!(" ({})", alert.about) };
    format!("{} {}{about}, since {}: {says}", alert.severity, alert.name, alert.since)
}

fn test(args: &Ask) -> Result<Exit> {
    let tried = match ask(&socket(args)?, &Question::TestAlerts)? {
        Answer::AlertsTested(tried) => tried,
        Answer::Denied(why) => return Err(Ended::new(Exit::Failed, why).into()),
        _ => anyhow::bail!("the gateway gave another answer than was asked for"),
    };
    if args.json {
        crate::print(&(serde_json::to_string(&tried)? + "\n"))?;
    } else {
        crate::print(&outcome(&tried))?;
    }
    let failed = tried.is_empty() || tried.iter().any(|one| one.trouble.is_some());
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn outcome(tried: &[Tried]) -> String {
    if tried.is_empty() {
        return "nobody is told: set `webhook` or `syslog` in the table [alerts]\n".to_owned();
    }
    let said = |one: &Tried| match (&one.trouble, one.target.as_str()) {
        (Some(why), target) => format!("{target}: not delivered: {why}\n"),
        (None, "webhook") => "webhook: delivered\n".to_owned(),
        (None, target) => format!("{target}: sent; it does not say whether it got it\n"),
    };
    tried.iter().map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_in_lines() {
        let mut now = Snapshot::default();
        assert!(describe(&now).starts_with("no alert is raised\nnobody is told"));
        now.alerts = vec![AlertNow {
            name: "link_down".to_owned(),
            severity: "critical".to_owned(),
            about: "uplink".to_owned(),
            since: "2026-11-21T14:00:00Z".to_owned(),
        }];
        now.alert_targets = vec![TargetNow {
            kind: "webhook".to_owned(),
            waiting: 1,
            trouble: Some("it answered 500".to_owned()),
            ..TargetNow::default()
        }];
        let said = describe(&now);
        for words in [
            "critical link_down (uplink), since 2026-11-21T14:00:00Z: A port has no link\n",
            "webhook: 0 delivered, 1 wait",
            "! it answered 500",
        ] {
            assert!(said.contains(words), "{words}\n{said}");
        }
    }

    #[test]
    fn what_became_of_a_test() {
        let tried = |target: &str, trouble: Option<&str>| Tried {
            target: target.to_owned(),
            trouble: trouble.map(str::to_owned),
        };
        let said = outcome(&[tried("webhook", Some("it answered 500")), tried("syslog", None)]);
        assert_eq!(
            said,
            "webhook: not delivered: it answered 500\nsyslog: sent; it does not say whether it got it\n"
        );
        assert!(outcome(&[]).contains("[alerts]"));
    }
}
