//! What the views of the page are told by the slow path: the charter whole, how the device at an address is treated, and why a
//! name is.
//!
//! All of it is made when somebody asks, from what is in force at that moment. Nothing of it says who has an address: a device is
//! told its own group, which is in the directory, and nobody else can ask for it.

use super::charter::{Charters, Observed};
use super::identity::Identity;
use super::policy::InForce;
use super::receipts::Receipts;
use super::snapshot::GroupNow;
use glassgate_policy::audit::{Hex, Now};
use glassgate_policy::calendar::Calendar;
use glassgate_policy::category::Category;
use glassgate_policy::charter::{Charter, Group, Notice, PurposeEntry};
use glassgate_policy::compile::Options;
use glassgate_policy::explain::{self, Basis, Explanation, Flow, Recording};
use glassgate_policy::rules::Moment;
use glassgate_policy::{Evidence, GroupId, ObservationLevel};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio::sync::oneshot;

/// The charter that is installed, and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct CharterNow {
    /// `in_force`, `absent`, `expired` and so on.
    pub(crate) standing: &'static str,
    /// What is wrong with it, for people.
    pub(crate) trouble: Option<String>,
    /// Until when what it allows stays the same, RFC 3339; none where only somebody can change it.
    pub(crate) until: Option<String>,
    /// What it says; none where nothing is installed or it can't be used.
    pub(crate) charter: Option<CharterTold>,
}

/// What a charter says.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct CharterTold {
    pub(crate) name: String,
    pub(crate) serial: u64,
    /// SHA-256 of the file, hexadecimal.
    pub(crate) sha256: String,
    pub(crate) controller: String,
    pub(crate) contact: String,
    /// First and last day.
    pub(crate) issued: String,
    pub(crate) expires: String,
    /// The zone that its days are in.
    pub(crate) zone: String,
    /// Who signed it.
    pub(crate) approvers: Vec<ApproverTold>,
    /// Who took their signature back.
    pub(crate) revoked_by: Vec<String>,
    /// Groups that are never observed.
    pub(crate) exempt: Vec<String>,
    pub(crate) purposes: Vec<PurposeTold>,
    pub(crate) calendars: Vec<CalendarTold>,
    pub(crate) notices: Vec<NoticeTold>,
    /// Who opens sealed records together, where any may be written: roles and names.
    pub(crate) holders: Vec<(String, String)>,
}

/// Somebody who signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct ApproverTold {
    pub(crate) role: &'static str,
    pub(crate) name: String,
    /// The public key, hexadecimal.
    pub(crate) key: String,
}

/// A purpose, with everything it rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct PurposeTold {
    pub(crate) purpose: &'static str,
    /// `open`, `closed` and so on; none unless the charter is in force.
    pub(crate) standing: Option<&'static str>,
    pub(crate) basis: &'static str,
    /// The document that the basis is written down in, and its SHA-256.
    pub(crate) document: String,
    pub(crate) document_sha256: String,
    pub(crate) categories: Vec<&'static str>,
    pub(crate) groups: Vec<String>,
    /// None: at any time.
    pub(crate) calendar: Option<String>,
    /// The most that is written.
    pub(crate) level: &'static str,
    pub(crate) retention_days: u16,
    /// How many people must stand behind a count.
    pub(crate) k: u32,
    /// The version of the notice that people were given.
    pub(crate) notice: String,
    /// Whether a device counts only after its notice was read on it.
    pub(crate) receipt: bool,
    /// Its last day, if that is before the charter's.
    pub(crate) expires: Option<String>,
}

/// A calendar in the week that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct CalendarTold {
    pub(crate) name: String,
    pub(crate) zone: String,
    /// First and last day for which it says anything.
    pub(crate) valid: [String; 2],
    /// `open`, `closed` or `undecided`; none while nobody knows what time it is.
    pub(crate) state: Option<&'static str>,
    /// Monday first.
    pub(crate) week: Vec<DayTold>,
}

/// A day of a calendar.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct DayTold {
    pub(crate) date: String,
    /// Whether the calendar says anything of this day.
    pub(crate) valid: bool,
    /// Minutes after midnight, by the clocks of the zone, from and to. One that ends on another day ends at 1440 here and
    /// goes on there.
    pub(crate) open: Vec<[u16; 2]>,
}

/// What people were told.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct NoticeTold {
    pub(crate) version: String,
    /// The day on which it was given.
    pub(crate) given: Option<String>,
    /// By language tag.
    pub(crate) text: BTreeMap<String, String>,
}

/// How the device at an address is treated.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub(crate) struct DeviceNow {
    /// Its group; none for a device that nobody enrolled, or of which it is not known whose it is: private.
    pub(crate) group: Option<String>,
    /// Whether its group is never observed.
    pub(crate) exempt: bool,
    /// `none`, `aggregate` or `sealed`: the most that is written now.
    pub(crate) level: &'static str,
    /// Why nothing is, where nothing is.
    pub(crate) why_not: Option<&'static str>,
    /// Whether all that is written is sums of the whole network, which no charter is needed for.
    pub(crate) whole_network: bool,
    /// Categories of which something is written now, with how much.
    pub(crate) categories: Vec<(&'static str, &'static str)>,
    /// Where the charter stands.
    pub(crate) standing: &'static str,
    /// Who answers for it, and where people turn to.
    pub(crate) controller: Option<String>,
    pub(crate) contact: Option<String>,
    /// The charter, by name, number and last day.
    pub(crate) charter: Option<(String, u64, String)>,
    /// Purposes that cover its group, now or at other hours.
    pub(crate) purposes: Vec<PurposeTold>,
    /// The notices of these purposes, and whether they were read on this device, where that is asked for.
    pub(crate) notices: Vec<(NoticeTold, Option<bool>)>,
    /// What its group did in the hours that are over, as far as enough people stand behind it.
    pub(crate) counted: Vec<GroupNow>,
    /// After how many days people are told of a look at their sealed records; none where there are none.
    pub(crate) tell_after_days: Option<u16>,
}

/// What is asked, and who waits for the answer.
#[derive(Debug)]
pub(crate) enum Tell {
    Charter(oneshot::Sender<CharterNow>),
    Device(IpAddr, oneshot::Sender<DeviceNow>),
    Explain { name: String, group: Option<String>, answer: oneshot::Sender<Result<Explanation, String>> },
}

/// What is in force, for those who tell of it.
pub(super) struct InForceNow<'a> {
    pub(super) charters: &'a Charters,
    pub(super) observed: Option<&'a Observed>,
    pub(super) identity: &'a Identity,
    pub(super) receipts: &'a Receipts,
    pub(super) bypassed: bool,
    pub(super) now: &'a Now,
}

/// Tells the charter.
pub(super) fn charter(told: &InForceNow<'_>) -> CharterNow {
    let observation = told.observed.map(|observed| &observed.observation);
    CharterNow {
        standing: standing(told.observed),
        trouble: told.charters.trouble().map(|said| said.en),
        until: observation.and_then(|o| o.until).map(crate::clock::shown),
        charter: told.charters.charter().map(|charter| of_charter(charter, told)),
    }
}

fn standing(observed: Option<&Observed>) -> &'static str {
    observed.map_or("absent", |observed| observed.observation.standing.as_str())
}

fn of_charter(charter: &Charter, told: &InForceNow<'_>) -> CharterTold {
    let file = charter.file();
    let zone = |zone: &TimeZone| zone.iana_name().unwrap_or("UTC").to_owned();
    CharterTold {
        name: file.name.clone(),
        serial: file.serial,
        sha256: Hex(charter.sha256()).to_string(),
        controller: file.controller.clone(),
        contact: file.contact.clone(),
        issued: file.issued.to_string(),
        expires: file.expires.to_string(),
        zone: zone(&file.zone),
        approvers: file
            .approvers
            .iter()
            .map(|approver| ApproverTold {
                role: approver.role.as_str(),
                name: approver.name.clone(),
                key: approver.key.to_string(),
            })
            .collect(),
        revoked_by: charter.revoked_by().to_vec(),
        exempt: file.exempt.clone(),
        purposes: file.purposes.iter().map(|entry| of_purpose(entry, told.observed)).collect(),
        calendars: file.calendars.iter().map(|calendar| of_calendar(calendar, told.now)).collect(),
        notices: file.notices.iter().map(of_notice).collect(),
        holders: file
            .case
            .iter()
            .flat_map(|terms| &terms.holders)
            .map(|holder| (holder.role.as_str().to_owned(), holder.name.clone()))
            .collect(),
    }
}

fn of_purpose(entry: &PurposeEntry, observed: Option<&Observed>) -> PurposeTold {
    let standing = observed.and_then(|observed| {
        let mut purposes = observed.observation.purposes.iter();
        purposes.find(|(purpose, _)| *purpose == entry.purpose).map(|(_, standing)| standing.as_str())
    });
    PurposeTold {
        purpose: entry.purpose.as_str(),
        standing,
        basis: entry.basis.as_str(),
        document: entry.document.title.clone(),
        document_sha256: Hex(&entry.document.sha256).to_string(),
        categories: entry.categories.iter().map(|category| category.as_str()).collect(),
        groups: entry.groups.clone(),
        calendar: entry.calendar.clone(),
        level: entry.level.as_str(),
        retention_days: entry.retention_days,
        k: entry.k,
        notice: entry.notice.clone(),
        receipt: entry.receipt,
        expires: entry.expires.map(|day| day.to_string()),
    }
}

fn of_notice(notice: &Notice) -> NoticeTold {
    NoticeTold {
        version: notice.version.clone(),
        given: notice.given.map(|day| day.to_string()),
        text: notice.text.iter().cloned().collect(),
    }
}

/// The week that runs; the first of its validity where nobody knows what day it is.
fn of_calendar(calendar: &Calendar, now: &Now) -> CalendarTold {
    let zone = calendar.zone();
    let today = now.trusted_wall().map_or(*calendar.valid().start(), |at| at.to_zoned(zone.clone()).date());
    let monday =
        today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days()).unwrap_or(today);
    let sunday = monday.checked_add(6.days()).unwrap_or(monday);
    let open = calendar.open_on(monday, sunday);
    let minutes = |at: Timestamp, day| {
        let at = at.to_zoned(zone.clone());
        if at.date() < day {
            0
        } else if at.date() > day {
            1440
        } else {
            u16::try_from(i16::from(at.hour()) * 60 + i16::from(at.minute())).unwrap_or(0)
        }
    };
    let day = |day| DayTold {
        valid: calendar.valid().contains(&day),
        open: open
            .iter()
            .map(|slot| [minutes(slot.from, day), minutes(slot.to, day)])
            .filter(|[from, to]| from < to)
            .collect(),
        date: day.to_string(),
    };
    CalendarTold {
        name: calendar.name().to_owned(),
        zone: zone.iana_name().unwrap_or("UTC").to_owned(),
        valid: [calendar.valid().start().to_string(), calendar.valid().end().to_string()],
        state: now.trusted_wall().map(|at| calendar.decide(at).state.as_str()),
        week: monday.series(1.day()).take(7).map(day).collect(),
    }
}

/// Tells how the device at an address is treated; what its group did stands in the report.
pub(super) fn device(told: &InForceNow<'_>, at: IpAddr) -> DeviceNow {
    let mut device = DeviceNow { standing: standing(told.observed), level: "none", ..DeviceNow::default() };
    let Some(observed) = told.observed else {
        device.why_not = Some("undecided");
        return device;
    };
    let levels = &observed.levels;
    let holder = told.identity.holders([at], told.now.mono_ns).pop().flatten();
    let group = holder.as_ref().map_or(GroupId(0), |holder| holder.member.group);
    device.group = told.identity.groups().get(usize::from(group.0).wrapping_sub(1)).map(|g| g.name.clone());
    let missing = |holder: &glassgate_policy::identity::Holder| {
        let (row, unread) = levels.unread(group)?;
        let missing = told.receipts.missing(&holder.device.to_string(), &unread.notices);
        let missing: Vec<&str> = missing.into_iter().map(|notice| notice.version.as_str()).collect();
        (!missing.is_empty()).then_some((row, missing))
    };
    let unread = holder.as_ref().and_then(missing);
    let row = unread.as_ref().map_or(group, |(row, _)| *row);
    let unread = unread.map(|(_, versions)| versions).unwrap_or_default();
    let level = |category: Category| {
        if told.bypassed { ObservationLevel::None } else { levels.level(row, category) }
    };
    let seen: Vec<_> = Category::ALL.iter().map(|category| (category, level(*category))).collect();
    let most = seen.iter().map(|(_, level)| *level).max().unwrap_or(ObservationLevel::None);
    device.level = most.as_str();
    device.whole_network = most > ObservationLevel::None && levels.whole_network();
    device.categories = seen
        .into_iter()
        .filter(|(_, level)| *level > ObservationLevel::None)
        .map(|(category, level)| (category.as_str(), level.as_str()))
        .collect();
    device.why_not = match most {
        ObservationLevel::None if told.bypassed => Some("bypass"),
        ObservationLevel::None if !unread.is_empty() => Some("notice_not_read"),
        ObservationLevel::None => Some(levels.why_not(row).as_str()),
        _ => None,
    };
    let Some(charter) = told.charters.charter() else { return device };
    let file = charter.file();
    (device.controller, device.contact) = (Some(file.controller.clone()), Some(file.contact.clone()));
    device.charter = Some((file.name.clone(), file.serial, file.expires.to_string()));
    let Some(name) = device.group.clone() else { return device };
    device.exempt = file.exempt.contains(&name);
    if device.exempt {
        return device;
    }
    let covers: Vec<&PurposeEntry> =
        file.purposes.iter().filter(|entry| entry.groups.contains(&name)).collect();
    device.purposes = covers.iter().map(|entry| of_purpose(entry, told.observed)).collect();
    let cited = |notice: &&Notice| covers.iter().any(|entry| entry.notice == notice.version);
    let read = |notice: &Notice| {
        let asked = covers.iter().any(|entry| entry.receipt && entry.notice == notice.version);
        asked.then(|| !unread.contains(&notice.version.as_str()))
    };
    device.notices = file.notices.iter().filter(cited).map(|n| (of_notice(n), read(n))).collect();
    let sealed = covers.iter().any(|entry| entry.level == ObservationLevel::Sealed);
    device.tell_after_days = file.case.as_ref().filter(|_| sealed).map(|terms| terms.tell_after_days);
    device
}

/// Tells why a name is treated as it is, by what is in force. `group`: as if its client were of it.
pub(super) fn explain(
    told: &InForceNow<'_>,
    in_force: Option<&InForce>,
    moment: &Moment,
    name: &str,
    group: Option<&str>,
) -> Result<Explanation, String> {
    let name = explain::read_name(name)?;
    let compiled = &in_force.ok_or("no rules are in force")?.compiled;
    let groups = told.identity.groups();
    let place = |group: &str| {
        let at = groups.iter().position(|known| known.name == group);
        at.ok_or_else(|| format!("there is no group `{group}` in the directory"))
    };
    let at = group.filter(|group| !group.is_empty()).map(place).transpose()?;
    let group: Option<&Group> = at.and_then(|at| groups.get(at));
    let basis = Basis {
        // What is in force is the table; which file a name came from was forgotten when it was compiled.
        sources: &[],
        tiers: &Options::default().tiers,
        table: &compiled.table,
        file: &compiled.file,
        rules: &compiled.rules,
        moment,
        recording: Recording::Under {
            installed: told.charters.installed(),
            at: told.now.trusted_wall(),
            group,
            without: told.charters.without(),
        },
    };
    let flow = Flow {
        name: Some(&name),
        evidence: Evidence::Sni,
        group: at.map_or(GroupId(0), |at| GroupId(u16::try_from(at + 1).unwrap_or(0))),
        server: None,
        alpn: &[],
        ja4: None,
        encrypted_dns: false,
    };
    Ok(explain::explain(&basis, &flow))
}

#[cfg(test)]
mod tests;
