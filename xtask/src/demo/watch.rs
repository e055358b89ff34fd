//! What the gateway sees, printed as it comes.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::Result;

use super::api::Now;
use super::gateway::Gateway;
use crate::ui;

/// How often the gateway is asked.
const TURN: Duration = Duration::from_millis(250);

/// Does `work` and meanwhile prints every service of which the gateway has seen further flows.
pub fn while_running<T>(gateway: &Gateway, before: &Now, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let address = gateway.address();
    std::thread::scope(|scope| {
        let (end, ended) = channel::<()>();
        scope.spawn(move || {
            let mut last = before.clone();
            loop {
                let more = ended.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout);
                // A gateway that does not answer shows in the checks; here it only means nothing to print.
                if let Ok(now) = Now::fetch(address) {
                    print_new(&last, &now);
                    last = now;
                }
                if !more {
                    return;
                }
            }
        });
        let result = work();
        drop(end);
        result
    })
}

/// Flows since `before`, by evidence.
pub fn words(before: &Now, now: &Now) -> String {
    let before = before.flows_by_evidence();
    let since = now
        .flows_by_evidence()
        .into_iter()
        .map(|(name, count)| (name, count - before.get(name).unwrap_or(&0)));
    since
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn print_new(last: &Now, now: &Now) {
    let known = last.flows_by_service();
    for service in &now.services {
        let more = service.flows.saturating_sub(*known.get(service.name.as_str()).unwrap_or(&0));
        if more > 0 {
            let flows = if more == 1 { "flow" } else { "flows" };
            ui::line(format_args!(
                "     {} {} ({}), {more} {flows}",
                ui::bold("seen"),
                service.name,
                service.category
            ));
        }
    }
}
