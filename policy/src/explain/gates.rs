//! What bounds what may be written about a flow, in the order in which it is asked.

use super::{Flow, Gate, Known, Recording};
use crate::category::Category;
use crate::charter::{why, without_charter};
use crate::rules::{Rule, State};
use crate::vocab::ObservationLevel;

pub(super) fn gates(
    recording: &Recording<'_>,
    flow: &Flow<'_>,
    known: &Known,
    decider: Option<&Rule>,
) -> Vec<(ObservationLevel, Gate)> {
    let mut gates = Vec::new();
    let mut gate = |gate: &'static str, level: ObservationLevel, why: String| {
        gates.push((level, Gate { gate, lets: level.as_str(), decides: false, why }));
    };
    let (level, why) = of_name(flow, known);
    gate("name", level, why);
    let category = known.category;
    if category.is_protected() {
        let why = format!("`{category}` is protected: there is no record of it");
        gate("category", ObservationLevel::None, why);
    } else {
        gate("category", ObservationLevel::Sealed, format!("`{category}` is not protected"));
    }
    match recording {
        // What it allows of a protected category the gate before has said.
        Recording::WithoutCharter => {
            let allowed = without_charter(Category::Unknown);
            gate("charter", allowed, "as if none were in force: no more than counts".to_owned());
        }
        Recording::Under { installed, at, group, without } => {
            for why::Gate { gate: name, lets, why } in why::gates(*installed, *at, *group, category, *without)
            {
                gate(name, lets, why);
            }
        }
    }
    match decider {
        Some(rule) if rule.state == State::Enforce => {
            let level = rule.action.observes(ObservationLevel::Sealed);
            let takes = if level < ObservationLevel::Sealed { "leaves counts" } else { "takes nothing away" };
            gate("rule", level, format!("`{}`: {} {takes}", rule.name, rule.action.as_str()));
        }
        _ => gate("rule", ObservationLevel::Sealed, "no rule decides".to_owned()),
    }
    gates
}

/// What the way in which a flow is known lets through.
fn of_name(flow: &Flow<'_>, known: &Known) -> (ObservationLevel, String) {
    let (all, counts) = (ObservationLevel::Sealed, ObservationLevel::Aggregate);
    let (evidence, category) = (known.evidence, known.category);
    if known.excluded {
        let why = "the configuration excludes the name: it counts as one that is in no list".to_owned();
        return (all, why);
    }
    if known.forgotten != Category::Unknown {
        let why = format!(
            "evidence `{evidence}` is not in the flow: what it says about people (`{}`) is forgotten",
            known.forgotten
        );
        return (counts, why);
    }
    if flow.name.is_some() && evidence.is_in_flow() {
        return (all, format!("evidence `{evidence}`: said in the flow itself"));
    }
    if category == Category::Unknown && flow.name.is_none() {
        return (counts, "no name: the flow counts by the reason for that".to_owned());
    }
    let what = if flow.name.is_none() && known.by_hello {
        "no name, but what the hello says".to_owned()
    } else {
        format!("evidence `{evidence}`")
    };
    (all, format!("{what}: enough, `{category}` says nothing about people"))
}
