//! What a slow path would tell the views, and somebody who tells it.

use crate::control::told::{
    ApproverTold, CalendarTold, CharterNow, CharterTold, DayTold, DeviceNow, NoticeTold, PurposeTold, Tell,
};
use crate::control::{CaseAnswer, CaseAsk, Command};
use glassgate_policy::explain::{Explanation, Gate, RuleSays, Service};
use glassgate_sealed::case::{Done, Step, Summary};
use glassgate_sealed::view::Person;
use std::sync::mpsc;

/// An office's charter on a Friday.
pub(crate) fn charter() -> CharterNow {
    let day = |n: u8, open: &[[u16; 2]]| DayTold {
        date: format!("2026-11-{:02}", 16 + n),
        valid: true,
        open: open.to_vec(),
    };
    let office: &[[u16; 2]] = &[[540, 720], [780, 1080]];
    CharterNow {
        standing: "in_force",
        trouble: None,
        until: Some("2026-11-21T10:00:00Z".to_owned()),
        charter: Some(CharterTold {
            name: "Office charter".to_owned(),
            serial: 3,
            sha256: "4fb0c8d1".repeat(8),
            controller: "Example Trading Co., Ltd., 1 Example Road, Shanghai".to_owned(),
            contact: "privacy@example.com".to_owned(),
            issued: "2026-11-01".to_owned(),
            expires: "2027-10-31".to_owned(),
            zone: "Asia/Shanghai".to_owned(),
            approvers: ["controller", "works_council"]
                .into_iter()
                .zip(["the managing director", "the chair of the union committee"])
                .map(|(role, name)| ApproverTold { role, name: name.to_owned(), key: "9c2f01aa".repeat(8) })
                .collect(),
            exempt: vec!["recruiters".to_owned(), "works-council".to_owned()],
            purposes: vec![purpose()],
            calendars: vec![CalendarTold {
                name: "office".to_owned(),
                zone: "Asia/Shanghai".to_owned(),
                valid: ["2026-11-01".to_owned(), "2027-10-31".to_owned()],
                state: Some("open"),
                week: (0..7).map(|n| day(n, if n < 5 { office } else { &[] })).collect(),
            }],
            notices: vec![notice()],
            ..CharterTold::default()
        }),
    }
}

fn purpose() -> PurposeTold {
    PurposeTold {
        purpose: "recruitment",
        standing: Some("open"),
        basis: "labour_rules",
        document: "Rules of labour 2026, section 14".to_owned(),
        document_sha256: "77ab12c4".repeat(8),
        categories: vec!["recruitment"],
        groups: vec!["sales".to_owned(), "support".to_owned()],
        calendar: Some("office".to_owned()),
        level: "aggregate",
        retention_days: 90,
        k: 10,
        notice: "2026-1".to_owned(),
        receipt: true,
        expires: None,
    }
}

fn notice() -> NoticeTold {
    let text = [
        (
            "en",
            "The company counts how much its network is used for job sites, by department and hour.\n\nNobody is told apart.",
        ),
        ("zh-CN", "公司按部门和小时统计招聘网站的网络使用量。\n\n不区分到个人。"),
    ];
    NoticeTold {
        version: "2026-1".to_owned(),
        given: Some("2026-11-03".to_owned()),
        text: text.into_iter().map(|(tag, text)| (tag.to_owned(), text.to_owned())).collect(),
    }
}

/// A device of the group *sales*.
pub(crate) fn device() -> DeviceNow {
    DeviceNow {
        group: Some("sales".to_owned()),
        level: "aggregate",
        categories: vec![("recruitment", "aggregate")],
        standing: "in_force",
        controller: Some("Example Trading Co., Ltd.".to_owned()),
        contact: Some("privacy@example.com".to_owned()),
        charter: Some(("Office charter".to_owned(), 3, "2027-10-31".to_owned())),
        purposes: vec![purpose()],
        notices: vec![(notice(), Some(true))],
        ..DeviceNow::default()
    }
}

/// A case that was looked at.
pub(crate) fn case() -> Summary {
    let done = |role: &str| Done {
        by: Person { role: role.to_owned(), name: format!("the {role}") },
        at: "2026-11-20T02:00:00Z".parse().ok(),
    };
    Summary {
        case: "4f1d2a90c3b7".to_owned(),
        step: Step::Shown,
        purpose: "leak".to_owned(),
        categories: vec!["cloud_storage".to_owned()],
        from: jiff::civil::date(2026, 11, 16),
        to: jiff::civil::date(2026, 11, 17),
        reason: "suspected_leak".to_owned(),
        expires: "2026-11-27T02:00:00Z".parse().unwrap(),
        opened: Some(done("human_resources")),
        approved: Some(done("works_council")),
        shown: Some(done("human_resources")),
        tell_on: Some(jiff::civil::date(2026, 12, 20)),
        told: None,
    }
}

pub(crate) fn explanation(name: &str) -> Explanation {
    Explanation {
        name: Some(name.to_owned()),
        evidence: "sni",
        entry: None,
        passed_over: Vec::new(),
        service: Some(Service { key: "boss-zhipin".to_owned(), title: "BOSS Zhipin".to_owned() }),
        category: "recruitment",
        rules: vec![RuleSays {
            rule: "no-short-video".to_owned(),
            place: 1,
            file: "rules.toml".to_owned(),
            line: 3,
            action: "block".to_owned(),
            state: "enforce",
            outcome: "decides",
            says: "decides".to_owned(),
        }],
        rules_asked: 4,
        action: "block".to_owned(),
        decided_by: Some("no-short-video".to_owned()),
        level: "none",
        gates: vec![Gate {
            gate: "client",
            lets: "none",
            why: "it belongs to no group".to_owned(),
            decides: true,
        }],
    }
}

/// Answers views as a slow path would, until nobody can ask any more.
pub(crate) fn answering(to_do: mpsc::Receiver<Command>) {
    std::thread::spawn(move || {
        for command in to_do {
            // Whoever asked may have gone.
            match command {
                Command::Tell(Tell::Charter(answer)) => _ = answer.send(charter()),
                Command::Tell(Tell::Device(_, answer)) => _ = answer.send(device()),
                Command::Tell(Tell::Explain { name, answer, .. }) => {
                    let known = glassgate_policy::explain::read_name(&name);
                    _ = answer.send(known.map(|name| explanation(&name.to_string())));
                }
                Command::Case { ask: CaseAsk::List, answer, .. } => {
                    _ = answer.send(Ok(CaseAnswer::Cases(vec![case()])));
                }
                Command::Case { answer, .. } => _ = answer.send(Err("there is no such case".to_owned())),
                other => drop(other),
            }
        }
    });
}
