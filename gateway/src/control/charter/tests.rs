use super::*;
use glassgate_policy::audit::{BootId, MemoryLog, WallQuality};
use glassgate_policy::charter::{SAMPLE, Signatures, SigningKey, Statement};
use glassgate_policy::{Category, GroupId};
use std::path::Path;

pub(in crate::control) struct Signed {
    keys: [SigningKey; 2],
    dir: tempfile::TempDir,
}

impl Signed {
    pub(in crate::control) fn new() -> Self {
        let key = || SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        Self { keys: [key(), key()], dir: tempfile::tempdir().unwrap() }
    }

    pub(in crate::control) fn settings(&self, without: Without) -> Settings {
        let keys = self.keys.iter().map(SigningKey::public).collect();
        Settings { keys, dir: self.dir.path().to_owned(), without }
    }

    /// A charter of that serial, with its signatures.
    fn charter(&self, serial: u32) -> (String, String) {
        self.of(&|text| text.replacen("serial = 1 ", &format!("serial = {serial} "), 1))
    }

    /// The sample, changed so before it was signed.
    pub(in crate::control) fn of(&self, change: &dyn Fn(String) -> String) -> (String, String) {
        let mut text = change(SAMPLE.to_owned());
        for key in &self.keys {
            text = text.replacen("PUBLIC-KEY", &key.public().to_string(), 1);
        }
        let mut signatures = None;
        for key in &self.keys {
            signatures =
                Some(Signatures::with(signatures.as_deref(), &key.sign(Statement::Approve, text.as_bytes())));
        }
        (text, signatures.unwrap())
    }
}

pub(in crate::control) fn now(wall: &str) -> Now {
    Now { mono_ns: 5_000_000_000, wall: Some(wall.parse().unwrap()), quality: WallQuality::Synchronized }
}

fn groups() -> Vec<Group> {
    vec![Group { name: "sales".to_owned(), members: 12 }]
}

fn install(charters: &mut Charters, (text, signatures): (String, String)) -> Result<(), String> {
    let charter = charters.check(&text, &signatures)?;
    charters.install(charter, &text, &signatures).map_err(|e| format!("{e:#}"))
}

const MONDAY_MORNING: &str = "2027-03-01T02:00:00Z";

#[test]
fn none_then_installed_then_read_again_then_expired() {
    let signed = Signed::new();
    let settings = signed.settings(Without::Counts);
    let mut charters = Charters::load(ThisMachine::shared(), &settings);
    let level = |charters: &Charters, at: &str, group| {
        charters.observe(&now(at), &groups()).levels.level(GroupId(group), Category::Recruitment)
    };
    use ObservationLevel::{Aggregate, None};
    assert_eq!(level(&charters, MONDAY_MORNING, 0), Aggregate, "counts of the whole network");
    assert_eq!(
        level(&Charters::load(ThisMachine::shared(), &signed.settings(Without::None)), MONDAY_MORNING, 0),
        None
    );
    install(&mut charters, signed.charter(1)).unwrap();
    for charters in [&charters, &Charters::load(ThisMachine::shared(), &settings)] {
        assert_eq!([0, 1].map(|group| level(charters, MONDAY_MORNING, group)), [None, Aggregate]);
        assert_eq!(level(charters, "2027-03-01T04:00:00Z", 1), None, "lunch");
        assert_eq!(level(charters, "2028-03-01T02:00:00Z", 1), None, "expired");
        let unsure = Now { quality: WallQuality::Unsynchronized, ..now(MONDAY_MORNING) };
        assert_eq!(
            charters.observe(&unsure, &groups()).levels.level(GroupId(1), Category::Recruitment),
            None
        );
    }
}

#[test]
fn what_is_refused_leaves_the_one_before() {
    let signed = Signed::new();
    let mut charters = Charters::load(ThisMachine::shared(), &signed.settings(Without::Counts));
    install(&mut charters, signed.charter(3)).unwrap();
    let (text, signatures) = signed.charter(4);
    let cases = [
        (signed.charter(2), "its serial is 2"),
        ((text.replace("k = 10", "k = 3"), signatures.clone()), "at least 5"),
        ((text.replace("Acme", "Acne"), signatures), "not good for this charter"),
        ((text, String::new()), "no signatures"),
        ((String::new(), String::new()), "missing field"),
        (Signed::new().charter(4), "does not trust"),
    ];
    for (offered, why) in cases {
        let said = install(&mut charters, offered).unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
        let observed = charters.observe(&now(MONDAY_MORNING), &groups());
        assert_eq!(observed.highest(), ObservationLevel::Aggregate);
        assert!(
            observed.basis.en.starts_with("Charter acme-staff no. 3, in force until 2027-12-31"),
            "{}",
            observed.basis.en
        );
    }
}

#[test]
fn what_is_damaged_gives_way_to_a_newer_one_only() {
    let signed = Signed::new();
    let settings = signed.settings(Without::Counts);
    install(&mut Charters::load(ThisMachine::shared(), &settings), signed.charter(2)).unwrap();
    std::fs::write(settings.dir.join(SIGNATURES), signed.charter(3).1).unwrap();
    let mut charters = Charters::load(ThisMachine::shared(), &settings);
    assert!(charters.trouble().is_some());
    for serial in [1, 2] {
        // Of the second nobody knows any more whether it was revoked.
        let said = install(&mut charters, signed.charter(serial)).unwrap_err();
        assert!(said.contains("that of the installed charter 2"), "{said}");
    }
    install(&mut charters, signed.charter(3)).unwrap();
    assert!(charters.trouble().is_none());
}

#[test]
fn a_damaged_charter_means_nothing_and_is_said() {
    let signed = Signed::new();
    let settings = signed.settings(Without::Counts);
    install(&mut Charters::load(ThisMachine::shared(), &settings), signed.charter(1)).unwrap();
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damage: [Damage<'_>; 4] = [
        ("a byte more", &|dir| std::fs::write(dir.join(FILE), signed.charter(1).0 + "#").unwrap()),
        ("no signatures", &|dir| std::fs::remove_file(dir.join(SIGNATURES)).unwrap()),
        // A crash between the two files.
        ("the next one's signatures", &|dir| {
            std::fs::write(dir.join(SIGNATURES), signed.charter(2).1).unwrap()
        }),
        ("no text", &|dir| std::fs::write(dir.join(FILE), "").unwrap()),
    ];
    for (what, damage) in damage {
        let (text, signatures) = signed.charter(1);
        std::fs::write(settings.dir.join(FILE), text).unwrap();
        std::fs::write(settings.dir.join(SIGNATURES), signatures).unwrap();
        assert!(Charters::load(ThisMachine::shared(), &settings).trouble().is_none());
        damage(&settings.dir);
        let charters = Charters::load(ThisMachine::shared(), &settings);
        let observed = charters.observe(&now(MONDAY_MORNING), &groups());
        assert_eq!(
            (observed.highest(), observed.observation.standing),
            (ObservationLevel::None, Standing::NotValid),
            "{what}"
        );
        assert!(charters.trouble().is_some(), "{what}");
    }
    let stranger = Settings { keys: Vec::new(), ..settings };
    std::fs::write(stranger.dir.join(FILE), signed.charter(1).0).unwrap();
    assert!(
        Charters::load(ThisMachine::shared(), &stranger)
            .trouble()
            .is_some_and(|why| why.en.contains("can't be used"))
    );
}

#[test]
fn a_change_is_a_record_that_names_no_person() {
    let signed = Signed::new();
    let charters = Charters::load(ThisMachine::shared(), &signed.settings(Without::Counts));
    let (text, signatures) = signed.charter(1);
    let charter = charters.check(&text, &signatures).unwrap();
    let mut log = MemoryLog::new(BootId(1));
    charters.record_install(&charter, &groups(), &now(MONDAY_MORNING), &mut log).unwrap();
    let line = &log.lines[0];
    for part in [
        "\"event_type\":\"charter\",\"cause\":\"installed\",\"standing\":\"in_force\",\"charter\":\"acme-staff\",\"serial\":1",
        "\"level\":\"aggregate\",\"purposes\":[{\"purpose\":\"recruitment\",\"standing\":\"open\"}]",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("director") && !line.contains("chair"), "{line}");
}

#[test]
fn the_end_of_what_holds_is_on_the_monotonic_clock() {
    let signed = Signed::new();
    let mut charters = Charters::load(ThisMachine::shared(), &signed.settings(Without::Counts));
    install(&mut charters, signed.charter(1)).unwrap();
    let observed = charters.observe(&now(MONDAY_MORNING), &groups());
    // Lunch begins at noon, two hours on.
    assert_eq!(observed.until_ns(&now(MONDAY_MORNING)), 5_000_000_000 + 7_200_000_000_000);
    assert!(
        !observed.is_over(&now("2027-03-01T03:59:59Z")) && observed.is_over(&now("2027-03-01T04:00:00Z"))
    );
    let unsure = Now { quality: WallQuality::Unknown, ..now(MONDAY_MORNING) };
    assert!(observed.is_over(&unsure), "the clock is not trusted any more");
    let closed = charters.observe(&unsure, &groups());
    assert!(closed.is_over(&now(MONDAY_MORNING)) && closed.differs(&observed));
}
