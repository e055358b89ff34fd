//! The directory: who belongs to which group, on which device, enrolled by whom and when.
//!
//! ```csv
//! subject,group,device,enrolled_by,enrolled
//! e1001,sales,3c:22:fb:01:02:03,it@acme.example,2027-01-04
//! e1001,sales,account:zhang.wei,it@acme.example,2027-01-04
//! e1002,lab,10.1.2.3,it@acme.example,2027-01-04
//! ```
//!
//! The same as JSON, where the file's name ends with `.json`:
//!
//! ```json
//! [
//!   {"subject": "e1001", "group": "sales", "device": "account:zhang.wei", "enrolled_by": "it@acme.example", "enrolled": "2027-01-04"}
//! ]
//! ```
//!
//! A subject is a person under any key that tells people apart; it is what `k` counts, so that three devices of one
//! person are one. A device is a hardware address, `account:` and a name that RADIUS knows, or a network address that never
//! changes. In CSV, columns are separated by commas, and no value has one.

mod csv;
mod json;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use jiff::civil::Date;

use super::bindings::{as_group, row};
use super::{Mac, Subjects, Who};
use crate::charter::Group;
use crate::diagnostic::{Diagnostic, Diagnostics, Text};
use crate::matrix::{MAX_GROUPS, MAX_MEMBERS, Member};
use crate::signature::is_service_key;

/// The largest directory.
pub const MAX_BYTES: usize = 16 << 20;
/// The most entries.
pub const MAX_ENTRIES: usize = MAX_MEMBERS;
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

/// What a line enrols. Written as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// A hardware address.
    Mac(Mac),
    /// An account, on whatever device it is logged in.
    Account(String),
    /// A network address that never changes.
    Address(IpAddr),
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => write!(f, "{mac}"),
            Self::Account(name) => write!(f, "account:{name}"),
            Self::Address(ip) => write!(f, "{ip}"),
        }
    }
}

struct Entry {
    subject: String,
    group: String,
    device: Device,
    by: String,
    on: Date,
}

/// The values of an entry as they stand, with their bytes in the file: subject, group, device, who enrolled it, and when.
struct Written<'a>([(std::borrow::Cow<'a, str>, Range<usize>); 5]);

/// Entries in the making.
struct Reader<'a> {
    text: Text<'a>,
    entries: Vec<Entry>,
    of_subject: HashMap<String, String>,
    faults: Diagnostics,
}

impl Reader<'_> {
    /// Takes an entry; `false`: no more of them.
    fn take(&mut self, written: &Written<'_>) -> bool {
        let [(_, subject_at), .., (_, last_at)] = &written.0;
        if self.entries.len() >= MAX_ENTRIES {
            let at = subject_at.start..last_at.end;
            self.faults.push(self.text.error(at, "too-many", format!("more than {MAX_ENTRIES} entries")));
            return false;
        }
        match read_entry(written) {
            Ok(entry) => {
                let known =
                    self.of_subject.entry(entry.subject.clone()).or_insert_with(|| entry.group.clone());
                if *known != entry.group {
                    let message = format!("`{}` belongs to group `{known}` already", entry.subject);
                    let fault = self.text.error(subject_at.clone(), "two-groups", message);
                    let help = "somebody belongs to one group: counts of two would tell them apart";
                    self.faults.push(fault.help(help));
                }
                self.entries.push(entry);
            }
            Err((at, message, help)) => {
                self.faults.push(self.text.error(at, "bad-entry", message).help(help));
            }
        }
        !self.faults.is_full()
    }
}

impl Directory {
    /// Reads a directory; `path` is what diagnostics call it, and where it ends with `.json`, it is JSON. One with faults
    /// is refused whole.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, Diagnostics> {
        if bytes.len() > MAX_BYTES {
            let message = format!("the file has {} bytes, more than {MAX_BYTES}", bytes.len());
            return Err(Diagnostic::file(path, "too-large", message).into());
        }
        let text = Text::from_bytes(path, bytes)?;
        let mut reader =
            Reader { text, entries: Vec::new(), of_subject: HashMap::new(), faults: Diagnostics::new() };
        if path.ends_with(".json") {
            json::read(&mut reader)?;
        } else {
            csv::read(&mut reader)?;
        }
        let Reader { entries, mut faults, .. } = reader;
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
                twice.push(entry.device.to_string());
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
    /// enrolled, and an account on one is private. An account that nobody enrolled is private on an enrolled device, too:
    /// somebody else sits at it.
    pub fn enrolment(&self, who: &Who<'_>) -> Option<&Enrolment> {
        self.enrolled(who).map(|(_, enrolment)| enrolment)
    }

    /// The same with what they are enrolled as.
    pub(super) fn enrolled(&self, who: &Who<'_>) -> Option<(Device, &Enrolment)> {
        match (who.account, who.mac) {
            (_, Some(mac)) if mac.is_random() => None,
            (Some(account), _) => Some((Device::Account(account.to_owned()), self.accounts.get(account)?)),
            (None, Some(mac)) => Some((Device::Mac(mac), self.devices.get(&mac)?)),
            (None, None) => None,
        }
    }

    /// The subjects, one or several times each.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &str> {
        let all = self.devices.values().chain(self.accounts.values()).chain(self.addresses.values());
        all.map(|enrolment| enrolment.subject.as_str())
    }

    /// What an address is enrolled as, if it is enrolled itself.
    pub(super) fn fixed_at(&self, ip: IpAddr) -> Option<(Device, &Enrolment)> {
        self.addresses.get(&ip).map(|enrolment| (Device::Address(ip), enrolment))
    }

    /// All that is enrolled, as it stands in the file.
    pub fn devices(&self) -> impl Iterator<Item = Device> + '_ {
        let devices = self.devices.keys().map(|mac| Device::Mac(*mac));
        let accounts = self.accounts.keys().map(|name| Device::Account(name.clone()));
        devices.chain(accounts).chain(self.addresses.keys().map(|ip| Device::Address(*ip)))
    }

    /// The addresses that are enrolled themselves.
    pub(super) fn fixed(&self) -> impl Iterator<Item = (IpAddr, (Device, &Enrolment))> {
        self.addresses.iter().map(|(ip, enrolment)| (*ip, (Device::Address(*ip), enrolment)))
    }
}

impl Enrolment {
    pub(super) fn member(&self, subjects: &Subjects) -> Member {
        Member { group: row(self.group), subject: subjects.number(&self.subject) }
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

/// An entry, or the place of the value that is wrong with what is wrong and what to do.
fn read_entry(written: &Written<'_>) -> Result<Entry, (Range<usize>, String, &'static str)> {
    let [subject, group, device, by, on] = &written.0;
    let is_text = |text: &str| {
        !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(|c| c.is_control() || c == '"')
    };
    for (text, at) in [subject, by] {
        if !is_text(text) {
            let message = "this is empty, too long or quoted".to_owned();
            return Err((at.clone(), message, "write a short key, without quotes"));
        }
    }
    if !is_service_key(&group.0) {
        let help = "use lower-case letters, digits and hyphens, at most 48";
        return Err((group.1.clone(), format!("`{}` is no name of a group", group.0), help));
    }
    let (written, at) = (&*device.0, device.1.clone());
    let parsed = match written.strip_prefix("account:") {
        Some(account) if is_text(account) => Device::Account(account.to_owned()),
        Some(_) => return Err((at, "an account without a name".to_owned(), "write `account:NAME`")),
        None => match (Mac::parse(written), written.parse()) {
            (Some(mac), _) if mac.is_random() || !mac.is_unicast() => {
                let message = format!("{mac} is a random or group address: such devices are private");
                let help =
                    "turn address randomization off for this network, on a device that the company manages";
                return Err((at, message, help));
            }
            (Some(mac), _) => Device::Mac(mac),
            (None, Ok(ip)) => Device::Address(ip),
            (None, Err(_)) => {
                let help = "write a hardware address, `account:NAME`, or a network address";
                return Err((at, format!("`{written}` is no device"), help));
            }
        },
    };
    let Some(day) = (on.0.len() == 10).then(|| on.0.parse().ok()).flatten() else {
        return Err((on.1.clone(), format!("`{}` is not a day", on.0), "write YYYY-MM-DD"));
    };
    let (subject, group, by) = (subject.0.to_string(), group.0.to_string(), by.0.to_string());
    Ok(Entry { subject, group, device: parsed, by, on: day })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &str) -> Result<Directory, Diagnostics> {
        Directory::parse("d.csv", format!("{}\n{lines}", csv::COLUMNS).as_bytes())
    }

    /// The lines of CSV as JSON, an entry a line.
    fn as_json(lines: &str) -> String {
        let entry = |line: &str| {
            let [subject, group, device, by, on] = line.split(',').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            serde_json::json!({ "subject": subject, "group": group, "device": device, "enrolled_by": by, "enrolled": on })
                .to_string()
        };
        format!("[\n{}\n]\n", lines.lines().map(entry).collect::<Vec<_>>().join(",\n"))
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
        let enrolled = directory.enrolment(&Who::device(Mac([0x3c, 0x22, 0xfb, 0, 0, 2]))).unwrap();
        assert_eq!((enrolled.by.as_str(), enrolled.on.to_string()), ("it", "2027-01-05".to_owned()));
        assert!(directory.enrolment(&Who { account: Some("wang"), mac: None }).is_none());
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

    #[test]
    fn json_says_the_same() {
        let lines = "e1,sales,3c:22:fb:00:00:01,it,2027-01-04\ne2,sales,account:li,it,2027-01-04\ne3,lab,fd00::1,it,2027-01-04";
        let json = Directory::parse("d.json", as_json(lines).as_bytes()).unwrap();
        assert_eq!(json, parse(lines).unwrap());
        assert!(Directory::parse("d.json", b"[]").unwrap().is_empty());
        let escaped = as_json(lines).replace("account:li", "account:\\u674e");
        let directory = Directory::parse("d.json", escaped.as_bytes()).unwrap();
        assert!(directory.enrolment(&Who { account: Some("\u{674e}"), mac: None }).is_some());
    }

    #[test]
    fn faults_of_json_have_their_place() {
        let good = as_json("e1,sales,3c:22:fb:00:00:01,it,2027-01-04");
        // What stands in the good one, what in its place, the code, and where the fault is.
        let rows: &[(&str, &str, &str, u32, &str)] = &[
            ("\"e1\"", "\"\"", "bad-entry", 2, "\"\""),
            ("sales", "Sales", "bad-entry", 2, "\"Sales\""),
            ("3c:22", "da:22", "bad-entry", 2, "\"da:22"),
            ("2027-01-04", "4.1.2027", "bad-entry", 2, "\"4.1.2027"),
            ("\"it\"", "17", "json", 2, "17"),
            ("subject", "subjekt", "json", 2, "\"subjekt\""),
            ("\"group\":\"sales\",", "", "json", 2, "}"),
            ("\"e1\"", "\"e1\",\"subject\":\"e2\"", "json", 2, "\"subject\":\"e2\""),
            ("]", "", "json", 4, ""),
            ("]", "] x", "json", 3, "x"),
        ];
        for (from, to, code, line, at) in rows {
            assert!(good.contains(from), "{from}");
            let text = good.replacen(from, to, 1);
            let faults = Directory::parse("d.json", text.as_bytes()).expect_err(&text);
            let first = &faults.as_slice()[0];
            assert_eq!((first.code, first.line), (*code, *line), "{faults}");
            let shown = text.lines().nth(*line as usize - 1).unwrap_or_default();
            let column = shown.rfind(at).unwrap_or_default() as u32 + 1;
            // The reader of JSON points at the end of what it stumbles over.
            let reach = if *code == "json" { at.len() as u32 } else { 0 };
            assert!((column..=column + reach).contains(&first.column), "{column} {faults}");
        }
        let text = as_json("e1,a,10.0.0.1,it,2027-01-04\ne1,b,10.0.0.2,it,2027-01-04");
        let faults = Directory::parse("d.json", text.as_bytes()).unwrap_err();
        assert_eq!((faults.as_slice()[0].code, faults.as_slice()[0].line), ("two-groups", 3));
        let array = r#"[["e1","sales","3c:22:fb:00:00:01","it","2027-01-04"]]"#;
        for text in ["", "{}", "[1]", "[[]]", "null", array] {
            assert_eq!(
                Directory::parse("d.json", text.as_bytes()).unwrap_err().as_slice()[0].code,
                "json",
                "{text}"
            );
        }
    }
}
