//! Why something may be written under a charter, or may not: gate by gate, for one group and category.
//!
//! The answers are those of [`observe`](super::observe), which a test holds to be so for every state of a charter; what they add is
//! the words.

use jiff::Timestamp;

use super::standing::{Group, Installed, PurposeStanding, Standing, in_force, standing_of};
use super::{Charter, PurposeEntry, basis};
use crate::category::Category;
use crate::vocab::ObservationLevel;

/// Something that bounds what may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// `charter`, `client`, `purpose`, `basis`, `notice`, `expiry`, `calendar` or `k`.
    pub gate: &'static str,
    /// The most it lets through.
    pub lets: ObservationLevel,
    /// Why.
    pub why: String,
}

/// The gates that a charter sets before a category of a client, in the order in which they are asked; the lowest decides. `group`
/// is none for a client that nobody enrolled; `without` is what may be written while no charter is installed.
pub fn gates(
    installed: Installed<'_>,
    at: Option<Timestamp>,
    group: Option<&Group>,
    category: Category,
    without: ObservationLevel,
) -> Vec<Gate> {
    let gate = |gate, lets, why| Gate { gate, lets, why };
    let (none, all) = (ObservationLevel::None, ObservationLevel::Sealed);
    let standing = in_force(installed, at).0;
    let (Standing::InForce, Installed::Charter(charter), Some(at)) = (standing, installed, at) else {
        let lets = if standing == Standing::Absent { without } else { none };
        return vec![gate("charter", lets, why_not(standing, installed))];
    };
    let file = charter.file();
    let mut gates = vec![gate("charter", all, format!("`{}` no. {} is in force", file.name, file.serial))];
    let Some(group) = group else {
        let why = "it belongs to no group: private, a guest's or not known".to_owned();
        gates.push(gate("client", none, why));
        return gates;
    };
    if file.exempt.contains(&group.name) {
        gates.push(gate("client", none, format!("group `{}` is exempt", group.name)));
        return gates;
    }
    gates.push(gate("client", all, format!("it belongs to group `{}`", group.name)));
    let covers =
        |entry: &&PurposeEntry| entry.categories.contains(&category) && entry.groups.contains(&group.name);
    let mut best: Option<(ObservationLevel, Vec<Gate>)> = None;
    let mut others = Vec::new();
    for entry in file.purposes.iter().filter(covers) {
        let asked = of_purpose(charter, entry, at, group, category);
        let least = asked.iter().map(|gate| gate.lets).min().unwrap_or(none);
        // The purpose that allows most decides; of two that allow as much, the first.
        match &best {
            Some((level, _)) if *level >= least => others.push(entry),
            _ => best = Some((least, asked)),
        }
    }
    match best {
        Some((_, mut asked)) => {
            if let (Some(first), false) = (asked.first_mut(), others.is_empty()) {
                let others: Vec<_> =
                    others.iter().map(|e| format!("`{}` (line {})", e.purpose, e.line)).collect();
                first.why += &format!("; {} allows no more", others.join(", "));
            }
            gates.append(&mut asked);
        }
        None => {
            let elsewhere = file.purposes.iter().find(|entry| entry.categories.contains(&category));
            let why = match elsewhere {
                Some(entry) => {
                    format!("`{}` covers `{category}`, but not of group `{}`", entry.purpose, group.name)
                }
                None => format!("no purpose covers `{category}`"),
            };
            gates.push(gate("purpose", none, why));
        }
    }
    gates
}

/// The gates of one purpose that covers group and category.
fn of_purpose(
    charter: &Charter,
    entry: &PurposeEntry,
    at: Timestamp,
    group: &Group,
    category: Category,
) -> Vec<Gate> {
    let file = charter.file();
    let gate = |gate, lets, why| Gate { gate, lets, why };
    let (none, all) = (ObservationLevel::None, ObservationLevel::Sealed);
    let carries = basis::carries(entry.basis, entry.purpose);
    let mut gates = vec![
        gate(
            "purpose",
            entry.level,
            format!("`{}` (line {}) asks for {}", entry.purpose, entry.line, words(entry.level)),
        ),
        gate(
            "basis",
            basis::most(entry.basis, entry.purpose, category),
            format!(
                "`{}` in \"{}\": {} ({})",
                entry.basis, entry.document.title, carries.why, carries.source
            ),
        ),
    ];
    let (standing, until) = standing_of(charter, entry, at);
    let until = |before: &str| until.map_or_else(String::new, |until| format!("{before}{until}"));
    let told = || match file.notice(&entry.notice).and_then(|notice| notice.given) {
        Some(day) => format!("`{}` was given on {day}", entry.notice),
        None => format!("`{}` has not been given yet", entry.notice),
    };
    match standing {
        PurposeStanding::NoticeNotGiven => {
            let given = file.notice(&entry.notice).and_then(|notice| notice.given);
            let why = given.map_or_else(told, |day| format!("`{}` is given on {day} only", entry.notice));
            gates.push(gate("notice", none, why));
            return gates;
        }
        PurposeStanding::Ended => {
            gates.push(gate("notice", all, told()));
            let day = entry.expires.map_or_else(|| "?".to_owned(), |day| day.to_string());
            gates.push(gate("expiry", none, format!("the purpose ended with {day}")));
            return gates;
        }
        PurposeStanding::Open | PurposeStanding::Closed | PurposeStanding::Undecided => {
            gates.push(gate("notice", all, told()));
        }
    }
    let name = entry.calendar.as_deref();
    gates.push(match (standing, name) {
        (_, None) => gate("calendar", all, "none: at any time".to_owned()),
        (PurposeStanding::Closed, Some(name)) => {
            gate("calendar", none, format!("`{name}` is closed{}", until(" until ")))
        }
        (PurposeStanding::Undecided, Some(name)) => gate(
            "calendar",
            none,
            format!("`{name}` does not reach this day: nobody has listed its holidays"),
        ),
        (_, Some(name)) => gate("calendar", all, format!("`{name}` is open{}", until(" until "))),
    });
    if entry.level == ObservationLevel::Aggregate {
        let (k, members) = (entry.k, group.members);
        gates.push(if members < k {
            gate("k", none, format!("counts need {k} people, and `{}` has {members}", group.name))
        } else if members == u32::MAX {
            gate("k", all, format!("counts need {k} people; how many `{}` has is not said", group.name))
        } else {
            gate("k", all, format!("counts need {k} people, and `{}` has {members}", group.name))
        });
    }
    gates
}

/// A level in words.
fn words(level: ObservationLevel) -> &'static str {
    match level {
        ObservationLevel::None => "nothing",
        ObservationLevel::Aggregate => "counts",
        ObservationLevel::Sealed => "sealed records",
    }
}

fn why_not(standing: Standing, installed: Installed<'_>) -> String {
    let Installed::Charter(charter) = installed else {
        return match standing {
            Standing::Absent => "none is installed: counts of the whole network at most".to_owned(),
            _ => "the charter can't be used: its text or its signatures are not good".to_owned(),
        };
    };
    let file = charter.file();
    let name = format!("`{}` no. {}", file.name, file.serial);
    match standing {
        Standing::Revoked => format!("{name} was revoked by {}", charter.revoked_by().join(", ")),
        Standing::NotYet => format!("{name} begins with {}", file.issued),
        Standing::Expired => format!("{name} ended with {}", file.expires),
        Standing::ClockNotTrusted => format!("{name}: nobody knows what time it is"),
        Standing::InForce | Standing::Absent | Standing::NotValid => name,
    }
}
