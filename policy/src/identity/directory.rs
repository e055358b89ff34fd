//! The directory: who belongs to which group, on which device, enrolled by whom and when.
//!
//! ```csv
//! subject,group,device,enrolled_by,enrolled
//! e1001,sales,3c:22:fb:01:02:03,it@acme.example,2027-01-04
//! e1001,sales,account:zhang.wei,it@acme.example,2027-01-04
//! e1002,lab,10.1.2.3,it@acme.example,2027-01-04
//! ```
//!
//! A subject is a person under any key that tells people apart; it is what `k` counts, so that three devices of one
//! person are one. A device is a hardware address, `account:` and a name that RADIUS knows, or a network address that never
//! changes. Columns are separated by commas; no value has one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use jiff::civil::Date;

use super::bindings::{as_group, row};
use super::{Mac, Who};
use crate::charter::Group;
use crate::diagnostic::{Diagnostic, Diagnostics, Text};
use crate::matrix::{MAX_GROUPS, MAX_MEMBERS};
use crate::signature::is_service_key;
use crate::vocab::GroupId;

/// The largest directory.
pub const MAX_BYTES: usize = 16 << 20;
/// The most lines.
pub const MAX_ENTRIES: usize = MAX_MEMBERS;
const COLUMNS: &str = "subject,group,device,enrolled_by,enrolled";
const MAX_TEXT: usize = 128;

/// Who enrolled a device, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Whose it is.
    pub subject: String,
    /// Who enrolled it.
    pub by: String,
    /// When.
    pub on: Date,
    group: usize,
}

/// The directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    groups: Vec<Group>,
    devices: HashMap<Mac, Enrolment>,
    accounts: HashMap<String, Enrolment>,
    addresses: HashMap<IpAddr, Enrolment>,
}

/// What a line enrols.
enum Device {
    Mac(Mac),
    Account(String),
    Address(IpAddr),
}

struct Entry {
    subject: String,
    group: String,
    device: Device,
    by: String,
    on: Date,
}

impl Directory {
    /// Reads a directory; `path` is what diagnostics call it. One with faults is refused whole.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, Diagnostics> {
        if bytes.len() > MAX_BYTES {
            let message = format!("the file has {} bytes, more than {MAX_BYTES}", bytes.len());
            return Err(Diagnostic::file(path, "too-large", message).into());
        }
        let text = Text::from_bytes(path, bytes)?;
        let mut faults = Diagnostics::new();
        let mut entries: Vec<Entry> = Vec::new();
        let mut of_subject: HashMap<String, String> = HashMap::new();
        let mut begin = 0;
        let offset = text.text.as_ptr() as usize;
        for (i, whole) in text.text.split_inclusive('\n').enumerate() {
            let line = whole.trim_end_matches(['\n', '\r']);
            let at = begin;
            begin += whole.len();
            if i == 0 {
                if line != COLUMNS {
                    let fault = text.error(
                        at..at + line.len(),
                        "bad-columns",
                        "these are not the columns of a directory",
                    );
                    return Err(fault.help(format!("the first line is `{COLUMNS}`")).into());
                }
                continue;
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if entries.len() >= MAX_ENTRIES {
                faults.push(text.error(at..at + 1, "too-many", format!("more than {MAX_ENTRIES} lines")));
                break;
            }
            match read_line(line) {
                Ok(entry) => {
                    let known =
                        of_subject.entry(entry.subject.clone()).or_insert_with(|| entry.group.clone());
                    if *known != entry.group {
                        let message = format!("`{}` belongs to group `{known}` already", entry.subject);
                        let fault = text.error(at..at + entry.subject.len(), "two-groups", message);
                        faults.push(
                            fault.help("somebody belongs to one group: counts of two would tell them apart"),
                        );
                    }
                    entries.push(entry);
                }
                Err((value, message, help)) => {
                    let start = (value.as_ptr() as usize).saturating_sub(offset);
                    let fault = text.error(start..start + value.len(), "bad-entry", message);
                    faults.push(fault.help(help));
                }
            }
            if faults.is_full() {
                break;
            }
        }
        let mut directory = Self::default();
        let members = members(&entries);
        if members.len() >= MAX_GROUPS {
            faults.push(Diagnostic::file(path, "too-many", format!("{MAX_GROUPS} groups or more")));
        }
        directory.groups = members.iter().map(|(name, subjects)| as_group(name, subjects.len())).collect();
        let index: HashMap<&str, usize> = members.keys().enumerate().map(|(i, name)| (*name, i)).collect();
        let mut twice = Vec::new();
        for entry in &entries {
            let Some(group) = index.get(entry.group.as_str()) else { continue };
            let enrolment = Enrolment {
                subject: entry.subject.clone(),
                by: entry.by.clone(),
                on: entry.on,
                group: *group,
            };
            let before = match &entry.device {
                Device::Mac(mac) => directory.devices.insert(*mac, enrolment),
                Device::Account(name) => directory.accounts.insert(name.clone(), enrolment),
                Device::Address(ip) => directory.addresses.insert(*ip, enrolment),
            };
            if before.is_some() {
                twice.push(match &entry.device {
                    Device::Mac(mac) => mac.to_string(),
                    Device::Account(name) => format!("account:{name}"),
                    Device::Address(ip) => ip.to_string(),
                });
            }
        }
        for device in twice {
            let message = format!("`{device}` is enrolled twice");
            faults.push(Diagnostic::file(path, "twice", message).help("a device belongs to one person"));
        }
        faults.into_result(directory).map(|(directory, _)| directory)
    }

    /// The groups, in order of their names; that of index *n* is row *n* + 1 of the matrix.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// How many devices, accounts and addresses are enrolled.
    pub fn len(&self) -> usize {
        self.devices.len() + self.accounts.len() + self.addresses.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who enrolled somebody, and when. `None`: nobody has, and they are private. A device with a random address can't be
    /// enrolled, and an account on one is private.
    pub fn enrolment(&self, who: &Who) -> Option<&Enrolment> {
        match who {
            Who::Device(mac) if mac.is_random() => None,
            Who::Device(mac) => self.devices.get(mac),
            Who::Account(_, Some(mac)) if mac.is_random() => None,
            Who::Account(name, _) => self.accounts.get(name),
        }
    }

    pub(super) fn group_of(&self, who: &Who) -> Option<GroupId> {
        self.enrolment(who).map(|enrolment| row(enrolment.group))
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = (IpAddr, GroupId)> {
        self.addresses.iter().map(|(ip, enrolment)| (*ip, row(enrolment.group)))
    }
}

/// The people of each group.
fn members(entries: &[Entry]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut members: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for entry in entries {
        members.entry(&entry.group).or_default().insert(&entry.subject);
    }
    members
}

/// A line, or the value that is wrong with what is wrong and what to do.
fn read_line(line: &str) -> Result<Entry, (&str, String, &'static str)> {
    let mut values = line.split(',').map(str::trim);
    let (subject, group, device, by, on) =
        match (values.next(), values.next(), values.next(), values.next(), values.next(), values.next()) {
            (Some(subject), Some(group), Some(device), Some(by), Some(on), None) => {
                (subject, group, device, by, on)
            }
            _ => {
                return Err((
                    line,
                    "a line has five values".to_owned(),
                    "separate them by commas; no value has one",
                ));
            }
        };
    let is_text = |text: &str| {
        !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(|c| c.is_control() || c == '"')
    };
    for text in [subject, by] {
        if !is_text(text) {
            return Err((
                text,
                "this is empty, too long or quoted".to_owned(),
                "write a short key, without quotes",
            ));
        }
    }
    if !is_service_key(group) {
        let help = "use lower-case letters, digits and hyphens, at most 48";
        return Err((group, format!("`{group}` is no name of a group"), help));
    }
    let parsed = match device.strip_prefix("account:") {
        Some(account) if is_text(account) => Device::Account(account.to_owned()),
        Some(_) => return Err((device, "an account without a name".to_owned(), "write `account:NAME`")),
        None => match (Mac::parse(device), device.parse()) {
            (Some(mac), _) if mac.is_random() || !mac.is_unicast() => {
                let help =
                    "turn address randomization off for this network, on a device that the company manages";
                return Err((
                    device,
                    format!("{mac} is a random or group address: such devices are private"),
                    help,
                ));
            }
            (Some(mac), _) => Device::Mac(mac),
            (None, Ok(ip)) => Device::Address(ip),
            (None, Err(_)) => {
                let help = "write a hardware address, `account:NAME`, or a network address";
                return Err((device, format!("`{device}` is no device"), help));
            }
        },
    };
    let Some(on) = (on.len() == 10).then(|| on.parse().ok()).flatten() else {
        return Err((on, format!("`{on}` is not a day"), "write YYYY-MM-DD"));
    };
    Ok(Entry { subject: subject.to_owned(), group: group.to_owned(), device: parsed, by: by.to_owned(), on })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &str) -> Result<Directory, Diagnostics> {
        Directory::parse("d.csv", format!("{COLUMNS}\n{lines}").as_bytes())
    }

    #[test]
    fn people_are_counted_not_devices() {
        let directory = parse(
            "e1,sales,3c:22:fb:00:00:01,it,2027-01-04\ne1,sales,3c:22:fb:00:00:02,it,2027-01-05\r\n\
             # somebody else\n\ne2,sales,account:li,it,2027-01-04\ne3,lab,fd00::1,it,2027-01-04\n",
        )
        .unwrap();
        let groups: Vec<_> = directory.groups().iter().map(|g| (g.name.as_str(), g.members)).collect();
        assert_eq!(groups, [("lab", 1), ("sales", 2)]);
        assert_eq!(directory.len(), 4);
        let enrolled = directory.enrolment(&Who::Device(Mac([0x3c, 0x22, 0xfb, 0, 0, 2]))).unwrap();
        assert_eq!((enrolled.by.as_str(), enrolled.on.to_string()), ("it", "2027-01-05".to_owned()));
        assert!(directory.enrolment(&Who::Account("wang".to_owned(), None)).is_none());
    }

    #[test]
    fn faults_have_their_place() {
        let rows: &[(&str, &str, u32, u32)] = &[
            ("e1,sales,3c:22:fb:00:00:01,it", "bad-entry", 2, 1),
            ("e1,sales,3c:22:fb:00:00:01,it,2027-01-04,x", "bad-entry", 2, 1),
            (",sales,3c:22:fb:00:00:01,it,2027-01-04", "bad-entry", 2, 1),
            ("e1,Sales,3c:22:fb:00:00:01,it,2027-01-04", "bad-entry", 2, 4),
            ("e1,sales,3c:22:fb:00:00,it,2027-01-04", "bad-entry", 2, 10),
            ("e1,sales,da:22:fb:00:00:01,it,2027-01-04", "bad-entry", 2, 10),
            ("e1,sales,account:,it,2027-01-04", "bad-entry", 2, 10),
            ("e1,sales,\"3c:22:fb:00:00:01\",it,2027-01-04", "bad-entry", 2, 10),
            ("e1,sales,3c:22:fb:00:00:01,,2027-01-04", "bad-entry", 2, 28),
            ("e1,sales,3c:22:fb:00:00:01,it,4.1.2027", "bad-entry", 2, 31),
            ("e1,a,10.0.0.1,it,2027-01-04\ne1,b,10.0.0.2,it,2027-01-04", "two-groups", 3, 1),
            ("e1,a,10.0.0.1,it,2027-01-04\ne2,a,10.0.0.1,it,2027-01-04", "twice", 0, 0),
        ];
        for (lines, code, line, column) in rows {
            let faults = parse(lines).expect_err(lines);
            let first = &faults.as_slice()[0];
            assert_eq!((first.code, first.line, first.column), (*code, *line, *column), "{faults}");
        }
        let faults = Directory::parse("d.csv", b"name,group\n").unwrap_err();
        assert_eq!(faults.as_slice()[0].code, "bad-columns");
    }
}
