use super::super::charter::tests::{Signed, now};
use super::*;
use crate::config::Without;
use crate::control::machine::ThisMachine;
use glassgate_policy::identity::Directory;

/// Twelve in sales, and a recruiter, by fixed addresses.
fn identity() -> Identity {
    let mut text = "subject,group,device,enrolled_by,enrolled\n".to_owned();
    for n in 1..=12 {
        text += &format!("s{n},sales,10.0.0.{n},it@example.com,2026-01-04\n");
    }
    text += "r1,recruiters,10.0.0.99,it@example.com,2026-01-04\n";
    let mut identity = Identity::default();
    identity.enrol(Directory::parse("d.csv", text.as_bytes()).unwrap(), 0);
    identity
}

struct Bench {
    charters: Charters,
    identity: Identity,
    receipts: Receipts,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// Under the sample charter, changed so before it was signed.
    fn new(change: impl Fn(String) -> String) -> Self {
        let signed = Signed::new();
        let mut charters = Charters::load(ThisMachine::shared(), &signed.settings(Without::Counts));
        let (text, signatures) = signed.of(&change);
        let charter = charters.check(&text, &signatures).unwrap();
        charters.install(charter, &text, &signatures).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Self { charters, identity: identity(), receipts: Receipts::load(dir.path()), _dir: dir }
    }

    fn at<T>(&self, wall: &str, bypassed: bool, ask: impl Fn(&InForceNow<'_>) -> T) -> T {
        let now = now(wall);
        let observed = self.charters.observe(&now, self.identity.groups());
        let (charters, identity, receipts) = (&self.charters, &self.identity, &self.receipts);
        ask(&InForceNow { charters, observed: Some(&observed), identity, receipts, bypassed, now: &now })
    }

    fn device(&self, wall: &str, ip: &str) -> DeviceNow {
        self.at(wall, false, |told| device(told, ip.parse().unwrap()))
    }
}

const OPEN: &str = "2027-03-01T02:00:00Z";
const LUNCH: &str = "2027-03-01T04:00:00Z";

#[test]
fn a_device_is_told_its_own_group_and_why() {
    let bench = Bench::new(|text| text);
    let said = |wall, ip| {
        let device = bench.device(wall, ip);
        (device.group.clone(), device.level, device.why_not, device.purposes.len())
    };
    let sales = || Some("sales".to_owned());
    assert_eq!(said(OPEN, "10.0.0.3"), (sales(), "aggregate", None, 1));
    assert_eq!(said(LUNCH, "10.0.0.3"), (sales(), "none", Some("off_hours"), 1));
    assert_eq!(said(OPEN, "10.0.0.50"), (None, "none", Some("private_device"), 0));
    let recruiter = Some("recruiters".to_owned());
    assert_eq!(said(OPEN, "10.0.0.99"), (recruiter, "none", Some("private_device"), 0));
    let device = bench.device(OPEN, "10.0.0.3");
    assert_eq!(
        device.categories,
        [("recruitment", "aggregate"), ("recruitment_ats", "aggregate")].as_slice()
    );
    assert!(device.notices[0].0.text["en"].contains("no person is named") && device.notices[0].1.is_none());
    assert!(bench.device(OPEN, "10.0.0.99").exempt && !device.exempt);
    let bypassed = bench.at(OPEN, true, |told| super::device(told, "10.0.0.3".parse().unwrap()));
    assert_eq!((bypassed.level, bypassed.why_not, bypassed.categories.len()), ("none", Some("bypass"), 0));
}

#[test]
fn a_notice_that_was_not_read_is_why() {
    let bench = Bench::new(|text| text.replace("receipt = false", "receipt = true "));
    let device = bench.device(OPEN, "10.0.0.3");
    assert_eq!((device.level, device.why_not), ("none", Some("notice_not_read")));
    assert_eq!(device.notices[0].1, Some(false));
}

#[test]
fn what_is_told_is_what_the_fast_path_is_given() {
    let bench = Bench::new(|text| text);
    for wall in [OPEN, LUNCH, "2027-02-08T02:00:00Z", "2028-03-01T02:00:00Z"] {
        for ip in ["10.0.0.3", "10.0.0.99", "10.0.0.50"] {
            let device = bench.device(wall, ip);
            bench.at(wall, false, |told| {
                let levels = &told.observed.unwrap().levels;
                let holder = told.identity.holders([ip.parse().unwrap()], told.now.mono_ns).pop().flatten();
                let row = holder.map_or(GroupId(0), |holder| holder.member.group);
                for category in Category::ALL {
                    let told = device.categories.iter().find(|(word, _)| *word == category.as_str());
                    let told = told.map_or("none", |(_, level)| level);
                    assert_eq!(told, levels.level(row, *category).as_str(), "{wall} {ip} {category}");
                }
            });
        }
    }
}

#[test]
fn the_charter_is_told_whole() {
    let bench = Bench::new(|text| text);
    let told = bench.at(OPEN, false, charter);
    assert_eq!((told.standing, told.until.as_deref()), ("in_force", Some("2027-03-01T04:00:00Z")));
    let text = told.charter.unwrap();
    assert_eq!(text.purposes[0].standing, Some("open"));
    let week = &text.calendars[0].week;
    assert_eq!(
        (week[0].date.as_str(), week[0].open.as_slice()),
        ("2027-03-01", &[[540, 720], [810, 1080]][..])
    );
    assert!(week[5].open.is_empty() && week[5].valid);
    let after = bench.at("2028-03-01T02:00:00Z", false, charter);
    assert_eq!((after.standing, after.charter.unwrap().purposes[0].standing), ("expired", None));
}

#[test]
fn a_slot_over_midnight_is_told_of_both_days() {
    let bench = Bench::new(|text| text.replace("mon-fri 09:00-12:00 13:30-18:00", "mon-fri 22:00-06:00"));
    let told = bench.at("2027-03-01T15:00:00Z", false, charter);
    let week = &told.charter.unwrap().calendars[0].week;
    // The first has what is left of nobody's Sunday.
    assert_eq!(week[0].open, [[1320, 1440]]);
    assert_eq!(week[1].open, [[0, 360], [1320, 1440]]);
    assert_eq!(week[5].open, [[0, 360]]);
}

#[test]
fn a_name_is_explained_by_what_is_in_force() {
    let bench = Bench::new(|text| text);
    let in_force = InForce::load(&Default::default(), Default::default(), &now(OPEN)).unwrap();
    let ask = |name: &str, group: Option<&str>| {
        bench.at(OPEN, false, |told| explain(told, Some(&in_force), &Moment::day(None), name, group))
    };
    let told = ask("www.zhipin.com", Some("sales")).unwrap();
    assert_eq!((told.category, told.level, told.action.as_str()), ("recruitment", "aggregate", "allow"));
    assert_eq!(ask("www.zhipin.com", None).unwrap().level, "none", "of nobody's device");
    assert!(ask("no host name", None).unwrap_err().contains("no host name"));
    assert!(ask("www.zhipin.com", Some("lab")).unwrap_err().contains("no group `lab`"));
    let nothing = bench.at(OPEN, false, |told| explain(told, None, &Moment::day(None), "a.example", None));
    assert!(nothing.is_err());
}
