use super::*;
use glassgate_policy::audit::{BootId, MemoryLog, WallQuality};
use glassgate_policy::charter::{
    Charter, Installed, SAMPLE, Signatures, SigningKey, Statement, observe, page_digest,
};
use glassgate_policy::identity::{Directory, Mac, Read, Source};
use glassgate_policy::{ObservationLevel, Unobserved};
use std::net::IpAddr;
use std::path::PathBuf;

const PEOPLE: u8 = 12;
const RECRUITMENT: Category = Category::Recruitment;

/// People of a group, each on a device of their own, and a charter that asks them for receipts.
struct Office {
    dir: tempfile::TempDir,
    identity: Identity,
    levels: Levels,
    readers: Readers,
    log: MemoryLog,
    now: Now,
}

fn mac(n: u8) -> Mac {
    Mac([0x3c, 0x22, 0xfb, 0, 0, n])
}

fn ip(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

fn directory(from: u8) -> Directory {
    let mut text = "subject,group,device,enrolled_by,enrolled\n".to_owned();
    for n in from..PEOPLE {
        text += &format!("e{n},sales,{},it,2027-01-04\n", mac(n));
    }
    Directory::parse("d.csv", text.as_bytes()).unwrap()
}

fn charter(words: &str) -> Charter {
    let keys: [SigningKey; 2] =
        std::array::from_fn(|_| SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap());
    let mut text =
        SAMPLE.replacen("receipt = false", "receipt = true", 1).replacen("we count visits", words, 1);
    for key in &keys {
        text = text.replacen("PUBLIC-KEY", &key.public().to_string(), 1);
    }
    let signatures = keys.iter().fold(None, |signatures: Option<String>, key| {
        Some(Signatures::with(signatures.as_deref(), &key.sign(Statement::Approve, text.as_bytes())))
    });
    let trusted: Vec<_> = keys.iter().map(SigningKey::public).collect();
    let signatures = signatures.unwrap();
    Charter::verify("c", text.as_bytes(), "s", signatures.as_bytes(), &trusted)
        .unwrap_or_else(|e| panic!("{e}"))
        .0
}

impl Office {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wall = "2027-03-01T02:00:00Z".parse().ok();
        let now = Now { mono_ns: 5_000_000_000, wall, quality: WallQuality::Synchronized };
        let mut identity = Identity::default();
        identity.enrol(directory(0), now.mono_ns);
        let mut log = MemoryLog::new(BootId(1));
        let readers = Readers::load(dir.path(), &now, &mut log);
        let mut office =
            Self { dir, identity, levels: Levels::nothing(1, Unobserved::NoCharter), readers, log, now };
        for n in 0..PEOPLE {
            office.hear(n, mac(n), Source::Arp);
        }
        office.install("we count visits");
        office
    }

    fn install(&mut self, words: &str) {
        let nothing = Levels::nothing(2, Unobserved::NoCharter);
        let charter = charter(words);
        self.levels =
            observe(Installed::Charter(&charter), self.now.wall, self.identity.groups(), &nothing).levels;
        assert_eq!(self.levels.level(GroupId(1), RECRUITMENT), ObservationLevel::Aggregate);
    }

    fn hear(&mut self, n: u8, mac: Mac, source: Source) {
        let event = IdentityEvent {
            seq: 0,
            mono_ns: self.now.mono_ns,
            ip: ip(n),
            mac,
            source,
            seconds: 3600,
            read: None,
        };
        self.identity.hear(&event);
    }

    /// What the fast path tells when somebody at an address sends the receipt of the page that is shown now.
    fn receipt(&self, n: u8) -> IdentityEvent {
        let holder = self.identity.holders([ip(n)], self.now.mono_ns).remove(0).unwrap();
        let (_, unread) = self.levels.unread(holder.member.group).unwrap();
        let read = Read { subject: holder.member.subject, page: page_digest(&unread.page) };
        IdentityEvent {
            seq: 0,
            mono_ns: self.now.mono_ns,
            ip: ip(n),
            mac: mac(n),
            source: Source::NoticeRead,
            seconds: 0,
            read: Some(read),
        }
    }

    fn take(&mut self, events: &[IdentityEvent]) -> bool {
        events.iter().for_each(|event| self.readers.hear(event));
        self.readers.take(&self.identity, Some(&self.levels), &self.now)
    }

    fn count(&self) -> usize {
        self.readers.receipts().len()
    }

    fn hour_passes(&mut self) {
        self.now.mono_ns += HOUR_NS;
        (0..PEOPLE).for_each(|n| self.hear(n, mac(n), Source::Arp));
        self.readers.tick(&self.identity, &self.now, &mut self.log);
    }

    fn records(&self) -> Vec<&String> {
        self.log.lines.iter().filter(|line| line.contains("\"event_type\":\"receipts\"")).collect()
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(super::super::FILE)
    }
}

#[test]
fn a_receipt_counts_for_whoever_has_read_what_is_to_be_read_now() {
    let mut office = Office::open();
    assert!(!office.take(&[]), "nothing to do");
    let twice = [office.receipt(0), office.receipt(0)];
    assert!(office.take(&twice));
    assert_eq!(office.count(), 1);
    assert!(!office.take(&twice), "nobody counts who did not before");
    let of_before = office.receipt(1);
    office.install("we count each visit");
    assert!(!office.take(&[of_before]), "the text that was read is another one");
    let now = office.receipt(1);
    assert!(office.take(&[now]));
    assert_eq!(office.count(), 2);
}

#[test]
fn a_receipt_is_nobodys_who_did_not_give_it() {
    let mut office = Office::open();
    let receipt = office.receipt(0);
    let from_elsewhere = IdentityEvent { mac: mac(1), ..receipt };
    assert!(!office.take(&[from_elsewhere]), "from another device than that which has the address");
    // The address goes to somebody else before the slow path comes to it.
    office.hear(0, mac(0), Source::DhcpRelease);
    office.hear(0, mac(1), Source::Dhcp);
    let as_if = IdentityEvent { mac: mac(1), ..receipt };
    assert!(!office.take(&[receipt, as_if]), "shown to somebody else");
    assert_eq!(office.count(), 0);
    // Leased behind a router: frames come from the router's address.
    let theirs = IdentityEvent { mac: mac(99), ..office.receipt(0) };
    assert!(office.take(&[theirs]));
    assert_eq!(office.count(), 1);
}

#[test]
fn what_the_disk_does_not_take_waits_and_nothing_is_recorded_of_it() {
    let mut office = Office::open();
    // In the way of the file.
    std::fs::create_dir(office.file()).unwrap();
    let receipt = office.receipt(0);
    for _ in 0..100 {
        assert!(!office.take(&[receipt]));
    }
    assert!(office.readers.receipts().trouble().is_some());
    office.readers.end_hour(&office.now, &mut office.log);
    assert_eq!(office.records().len(), 0);
    office.now.mono_ns += RETRY_NS;
    std::fs::remove_dir(office.file()).unwrap();
    assert!(office.take(&[]), "it had come");
    assert_eq!((office.count(), office.readers.receipts().trouble()), (1, None));
}

#[test]
fn the_log_has_hours_and_groups_of_many_only() {
    let mut office = Office::open();
    let first = office.receipt(0);
    assert!(office.take(&[first]));
    assert_eq!((office.records().len(), office.readers.shown()), (0, 0), "nobody sees when it was");
    office.hour_passes();
    assert_eq!(office.readers.shown(), 1);
    let [one] = office.records()[..] else { panic!("{:?}", office.log.lines) };
    assert!(one.contains("\"cause\":\"hour\"") && one.contains("\"given\":1,\"removed\":0"), "{one}");
    assert!(!one.contains("sales"), "one of twelve: {one}");
    let hash = ring::digest::digest(&ring::digest::SHA256, &std::fs::read(office.file()).unwrap());
    assert!(one.contains(&Hex(hash.as_ref()).to_string()), "{one}");
    let others: Vec<_> = (1..PEOPLE).map(|n| office.receipt(n)).collect();
    assert!(office.take(&others));
    office.hour_passes();
    office.hour_passes();
    let [_, many] = office.records()[..] else { panic!("an hour without any has no record") };
    assert!(many.contains("{\"group\":\"sales\",\"subjects\":\"10-19\"}"), "{many}");
    for n in 0..PEOPLE {
        assert!(!office.log.lines.iter().any(|line| line.contains(&mac(n).to_string())));
    }
    let mut log = MemoryLog::new(BootId(2));
    let again = Readers::load(office.dir.path(), &office.now, &mut log);
    assert_eq!(again.shown(), 12);
    assert!(
        log.lines[0].contains("\"cause\":\"found\"") && log.lines[0].contains("\"kept\":12"),
        "{:?}",
        log.lines
    );
}

#[test]
fn who_left_is_on_record_as_a_number() {
    let mut office = Office::open();
    let all: Vec<_> = (0..PEOPLE).map(|n| office.receipt(n)).collect();
    assert!(office.take(&all));
    office.hour_passes();
    office.identity.enrol(directory(1), office.now.mono_ns);
    for _ in 0..=31 {
        office.now.wall = office.now.wall.map(|wall| wall + jiff::SignedDuration::from_hours(24));
        office.hour_passes();
    }
    assert_eq!(office.count(), 11);
    let last = office.records().pop().unwrap();
    assert!(last.contains("\"given\":0,\"removed\":1") && last.contains("\"kept\":11"), "{last}");
}
