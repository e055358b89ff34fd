//! From a session that is over to a look at it, with a real log; and what happens when the log can't take the record.

use super::cases::{Answer, CaseAnswer, CaseAsk};
use super::*;
use crate::config::Audit;
use crate::control::log::Log;
use crate::control::machine::ThisMachine;
use glassgate_audit::reader::Reader;
use glassgate_policy::audit::WallQuality;
use glassgate_policy::case::CaseAct;
use glassgate_policy::charter::{CaseTerms, Signatures, SigningKey, Statement};
use glassgate_policy::identity::Directory;
use glassgate_sealed::case::{Asked as Scope, Brief, Step};
use glassgate_sealed::holder::{Identity as HoldersIdentity, new_identity, read_identity, read_view, sign};
use glassgate_sealed::view::View;
use serde_json::Value;
use tokio::sync::oneshot;

const DAY_NS: u64 = 86_400_000_000_000;

struct Bench {
    dir: tempfile::TempDir,
    signing: [SigningKey; 3],
    identities: [HoldersIdentity; 3],
    charter: Charter,
    identity: Identity,
    sealed: Sealed,
    log: Log,
    now: Now,
}

fn charter(signing: &[SigningKey; 3], identities: &[HoldersIdentity; 3]) -> Charter {
    let mut text = format!(
        "version = 1\nname = \"t\"\nserial = 1\ncontroller = \"Acme, 1 Road\"\ncontact = \"p@acme.example\"\n\
         issued = 2027-01-01\nexpires = 2027-12-31\ntime_zone = \"Asia/Shanghai\"\n\
         [[approver]]\nrole = \"controller\"\nname = \"a\"\nkey = \"{}\"\n[[approver]]\nrole = \"works_council\"\nname = \"b\"\nkey = \"{}\"\n\
         [[notice]]\nversion = \"1\"\ngiven = 2027-01-01\ntext = {{ en = \"We seal.\" }}\n\
         [[calendar]]\nname = \"c\"\ntime_zone = \"Asia/Shanghai\"\nvalid = \"2027-01-01..2027-12-31\"\nweek = [\"mon-sun 08:00-20:00\"]\n\
         [[purpose]]\nname = \"leak\"\nbasis = \"collective_agreement\"\ndocument = {{ title = \"A\", sha256 = \"{}\" }}\n\
         categories = [\"cloud_storage\"]\ngroups = [\"sales\"]\ncalendar = \"c\"\nlevel = \"sealed\"\nretention_days = 30\nnotice = \"1\"\n\
         [case]\ntell_after_days = 0\n",
        signing[0].public(),
        signing[2].public(),
        "9f".repeat(32),
    );
    for (n, role) in CaseTerms::ROLES.iter().enumerate() {
        let (key, recipient) = (signing[n].public(), identities[n].to_public());
        text += &format!(
            "[[case.holder]]\nrole = \"{role}\"\nname = \"holder {n}\"\nkey = \"{key}\"\nrecipient = \"{recipient}\"\n"
        );
    }
    let keys = [&signing[0], &signing[2]];
    let lines = keys.map(|key| key.sign(Statement::Approve, text.as_bytes()));
    let signed =
        lines.iter().fold(None, |file: Option<String>, line| Some(Signatures::with(file.as_deref(), line)));
    let trusted = keys.map(SigningKey::public);
    let read = Charter::verify("c", text.as_bytes(), "s", signed.unwrap().as_bytes(), &trusted);
    read.unwrap_or_else(|faults| panic!("{faults}")).0
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let signing = [(); 3].map(|()| SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap());
        let identities = [(); 3].map(|()| read_identity(&new_identity().0).unwrap());
        let charter = charter(&signing, &identities);
        let wall = "2027-03-01T03:00:00Z".parse().ok();
        let now = Now { mono_ns: DAY_NS, wall, quality: WallQuality::Synchronized };
        let mut identity = Identity::default();
        let directory = "subject,group,device,enrolled_by,enrolled\ns.chen,sales,10.0.0.1,it,2027-01-04\nl.wang,sales,10.0.0.2,it,2027-01-04\n";
        identity.enrol(Directory::parse("d.csv", directory.as_bytes()).unwrap(), now.mono_ns);
        let settings =
            Audit { dir: dir.path().join("audit"), origin: Some("bench".to_owned()), witness: None };
        let log = Log::open(ThisMachine::shared(), &settings, dir.path(), BootId(1));
        let sealed = Sealed::open(ThisMachine::shared(), dir.path(), BootId(1), &now);
        Self { dir, signing, identities, charter, identity, sealed, log, now }
    }

    /// Somebody's visit is over.
    fn visit(&mut self, subject: &str, service: &str) {
        let session = Session {
            begin_mono_ns: self.now.mono_ns - 600_000_000_000,
            end_mono_ns: self.now.mono_ns - 60_000_000_000,
            flows: 3,
            ..Session::default()
        };
        let subject = self.identity.subject_number(subject);
        let purposes = Purposes::one(Purpose::Leak);
        let (category, service) = (Category::CloudStorage, Some(service));
        let record = SessionRecord { subject, purposes, category, service, session: &session };
        self.sealed.sink().take(&self.now, &record);
    }

    fn seal(&mut self) {
        self.sealed.seal(Some(&self.charter), &self.identity, &self.now, &mut self.log);
    }

    fn pass(&mut self, days: f64) {
        self.now.mono_ns += (days * DAY_NS as f64) as u64;
        let wall = self.now.wall.unwrap().checked_add(SignedDuration::from_secs_f64(days * 86_400.0));
        self.now.wall = wall.ok();
    }

    fn turn(&mut self) {
        assert!(self.sealed.is_over(Some(&self.charter), &self.now));
        self.sealed.turn(Some(&self.charter), &self.now);
    }

    fn ask(&mut self, ask: CaseAsk) -> Result<CaseAnswer, String> {
        let (answer, outcome): (Answer, _) = oneshot::channel();
        let folder = self.dir.path().join("audit");
        let asked = Asked { ask, uid: Some(0), answer, charter: Some(&self.charter), folder };
        self.sealed.asked(asked, &self.now, &mut self.log);
        outcome.blocking_recv().unwrap()
    }

    fn draft(&mut self) -> Brief {
        let scope = Scope {
            subject: "s.chen".to_owned(),
            purpose: "leak".to_owned(),
            categories: vec!["cloud_storage".to_owned()],
            from: "2027-03-01".parse().unwrap(),
            to: "2027-03-01".parse().unwrap(),
            reason: "suspected_leak".to_owned(),
            valid_days: 2,
        };
        let Ok(CaseAnswer::Brief(brief)) = self.ask(CaseAsk::Draft(scope)) else { panic!() };
        brief
    }

    fn say(&mut self, brief: &Brief, act: CaseAct, who: usize) -> Result<CaseAnswer, String> {
        let said = sign(brief, act, &self.signing[who], Some(&self.identities[who])).unwrap();
        self.ask(CaseAsk::Submit(said))
    }

    fn records(&mut self) -> Vec<Value> {
        let now = self.now;
        self.log.act(&now, &Record::Stopped {}).unwrap();
        let reader = Reader::open(&self.dir.path().join("audit")).unwrap();
        reader.entries(0).map(|entry| serde_json::from_slice(&entry.unwrap().1).unwrap()).collect()
    }

    fn kinds(&mut self) -> Vec<String> {
        let records =
            self.records().into_iter().map(|record| record["event_type"].as_str().unwrap().to_owned());
        records.filter(|kind| kind != "stopped").collect()
    }
}

#[test]
fn two_people_see_what_one_did_and_every_step_is_on_record() {
    let mut bench = Bench::new();
    bench.visit("s.chen", "dropbox");
    bench.visit("l.wang", "dropbox");
    bench.seal();
    bench.visit("s.chen", "box");
    bench.seal();
    bench.pass(1.0);
    bench.turn();
    let brief = bench.draft();
    assert!(matches!(bench.say(&brief, CaseAct::Open, 0), Ok(CaseAnswer::Step(_, Step::Open))));
    assert!(bench.say(&brief, CaseAct::Approve, 0).unwrap_err().contains("another holder"));
    assert!(matches!(bench.say(&brief, CaseAct::Approve, 1), Ok(CaseAnswer::Step(_, Step::Approved))));
    let Ok(CaseAnswer::Shown(sealed)) = bench.say(&brief, CaseAct::Show, 1) else { panic!() };
    let view: View = read_view(&sealed, &bench.identities[1]).unwrap();
    let services: Vec<_> = view.sessions.iter().map(|seen| seen.facts.service.clone().unwrap()).collect();
    assert_eq!(services, ["dropbox", "box"]);
    let facts = &view.sessions[0].facts;
    assert_eq!(
        (facts.begin, facts.end),
        ("2027-03-01T02:50:00Z".parse().ok(), "2027-03-01T02:59:00Z".parse().ok())
    );
    assert!(bench.sealed.trouble(&bench.now).unwrap().en.contains("to be told"), "the charter says: at once");
    assert!(matches!(bench.say(&brief, CaseAct::Tell, 2), Ok(CaseAnswer::Told(_))));
    assert_eq!(bench.sealed.trouble(&bench.now), None);
    assert!(bench.say(&brief, CaseAct::Show, 0).unwrap_err().contains("another case"));
    assert_eq!(
        bench.kinds(),
        [
            "sealed_key",
            "session",
            "session",
            "session",
            "case_opened",
            "case_denied",
            "case_approved",
            "case_shown",
            "case_told",
            "case_denied"
        ]
    );
    let records = bench.records();
    let denied: Vec<_> = records
        .iter()
        .filter(|r| r["event_type"] == "case_denied")
        .map(|r| r["why"].as_str().unwrap())
        .collect();
    assert_eq!(denied, ["same_role", "used"]);
    assert_eq!(records.iter().find(|r| r["event_type"] == "case_denied").unwrap()["role"], "human_resources");
    // No record, and nothing that is kept but the request of a case, names anybody or anything.
    let text = serde_json::to_string(&records).unwrap();
    assert!(!text.contains("chen") && !text.contains("wang") && !text.contains("dropbox"));
    for entry in std::fs::read_dir(bench.dir.path().join("keys")).unwrap() {
        let kept = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!kept.contains("chen") && !kept.contains("dropbox"));
    }
}

#[test]
fn what_the_log_does_not_take_is_not_done() {
    let mut bench = Bench::new();
    bench.visit("s.chen", "dropbox");
    bench.seal();
    bench.pass(1.0);
    bench.turn();
    let brief = bench.draft();
    bench.say(&brief, CaseAct::Open, 0).unwrap();
    bench.say(&brief, CaseAct::Approve, 1).unwrap();
    // The log is closed under it.
    assert!(bench.log.close());
    let refused = bench.say(&brief, CaseAct::Show, 1).unwrap_err();
    assert!(refused.contains("not done"), "{refused}");
    let Ok(CaseAnswer::Cases(cases)) = bench.ask(CaseAsk::List) else { panic!() };
    assert_eq!((cases.len(), cases[0].step), (1, Step::Approved), "nobody looked");
    assert!(std::fs::read_dir(bench.dir.path().join("cases")).unwrap().next().is_none());
}

#[test]
fn what_can_not_be_sealed_is_counted_and_not_kept() {
    let mut bench = Bench::new();
    // Without a charter in force, without a subject, without a clock.
    bench.visit("s.chen", "dropbox");
    bench.sealed.seal(None, &bench.identity, &bench.now, &mut bench.log);
    bench.visit("nobody", "dropbox");
    bench.seal();
    let good = bench.now;
    bench.now.quality = WallQuality::Unsynchronized;
    bench.visit("s.chen", "dropbox");
    bench.seal();
    bench.now = good;
    // Where the folder of keys can't be written.
    let keys = bench.dir.path().join("keys");
    std::fs::remove_dir_all(&keys).unwrap();
    std::fs::write(&keys, "in the way").unwrap();
    bench.visit("s.chen", "dropbox");
    bench.seal();
    assert!(bench.sealed.trouble(&bench.now).unwrap().en.contains("nothing is sealed for leak"));
    bench.visit("s.chen", "dropbox");
    bench.seal();
    bench.sealed.tick(&bench.now, &mut bench.log);
    let records = bench.records();
    let gaps: Vec<_> = records.iter().filter(|r| r["event_type"] == "gap").collect();
    assert_eq!((gaps.len(), &gaps[0]["cause"], &gaps[0]["records"]), (1, &"not_sealed".into(), &5.into()));
    assert!(!records.iter().any(|r| r["event_type"] == "session"));
}

#[test]
fn keys_are_of_their_day_and_end_with_their_time() {
    let mut bench = Bench::new();
    bench.visit("s.chen", "dropbox");
    bench.seal();
    // A little before midnight in the charter's zone, and after it.
    bench.pass(0.54);
    assert!(!bench.sealed.is_over(Some(&bench.charter), &bench.now), "23:57 in Shanghai");
    bench.pass(0.01);
    bench.turn();
    bench.visit("s.chen", "dropbox");
    bench.seal();
    let Ok(CaseAnswer::Keys(keys)) = bench.ask(CaseAsk::Keys) else { panic!() };
    let names: Vec<_> = keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(names, ["2027-03-01.leak.1", "2027-03-02.leak.1"]);
    // Clocks jump, in a run and over starts: nothing is destroyed.
    let good = bench.now;
    for wall in
        ["1970-01-01T00:00:00Z", "2038-01-19T03:14:08Z", "2037-03-01T00:00:00Z", "2017-03-01T00:00:00Z"]
    {
        bench.now = Now { mono_ns: bench.now.mono_ns + 120_000_000_000, wall: wall.parse().ok(), ..good };
        bench.sealed.turn(Some(&bench.charter), &bench.now);
        bench.sealed.tick(&bench.now, &mut bench.log);
        assert_eq!(bench.sealed.counts().0, 2, "{wall}");
    }
    bench.now = good;
    bench.pass(29.5);
    bench.sealed.tick(&bench.now, &mut bench.log);
    assert_eq!(bench.sealed.counts().0, 1, "of the first the thirty days are over");
    let Ok(CaseAnswer::Destroyed(none)) = bench.ask(CaseAsk::ClockIsRight) else { panic!() };
    assert!(none.is_empty());
    bench.now.wall = "2027-06-01T00:00:00Z".parse().ok();
    let Ok(CaseAnswer::Destroyed(gone)) = bench.ask(CaseAsk::ClockIsRight) else { panic!() };
    assert_eq!(gone, ["2027-03-02.leak.1"]);
    let changes: Vec<_> = bench
        .records()
        .iter()
        .filter(|r| r["event_type"] == "sealed_key")
        .map(|r| r["change"].clone())
        .collect();
    assert_eq!(changes, ["made", "made", "retention_over", "clock_confirmed"]);
}

#[test]
fn a_stop_ends_open_cases_on_record() {
    let mut bench = Bench::new();
    bench.visit("s.chen", "dropbox");
    bench.seal();
    bench.pass(1.0);
    bench.turn();
    let brief = bench.draft();
    bench.say(&brief, CaseAct::Open, 0).unwrap();
    bench.sealed.close(&bench.now, &mut bench.log);
    assert_eq!(bench.kinds().last().map(String::as_str), Some("case_expired"));
}

#[test]
fn denials_are_bounded_and_counted() {
    let mut bench = Bench::new();
    bench.visit("s.chen", "dropbox");
    bench.seal();
    bench.pass(1.0);
    bench.turn();
    let brief = bench.draft();
    for _ in 0..200 {
        bench.say(&brief, CaseAct::Approve, 1).unwrap_err();
    }
    bench.pass(0.05);
    bench.say(&brief, CaseAct::Approve, 1).unwrap_err();
    let records = bench.records();
    let denied: Vec<_> = records.iter().filter(|r| r["event_type"] == "case_denied").collect();
    assert_eq!((denied.len(), &denied[120]["others"]), (121, &80.into()));
}

#[test]
fn a_whole_company_at_midnight_fits_through_the_queue() {
    let mut bench = Bench::new();
    let many = 12_000;
    for n in 0..many {
        bench.visit(if n % 2 == 0 { "s.chen" } else { "l.wang" }, "dropbox");
    }
    // Ten megabytes of records, and a queue of four: how much of it waits is up to the disk.
    bench.seal();
    bench.pass(1.0);
    bench.sealed.begins_to_turn(&bench.now);
    bench.sealed.seal_all(Some(&bench.charter), &bench.identity, &bench.now, &mut bench.log);
    bench.turn();
    assert!(!bench.sealed.is_over(Some(&bench.charter), &bench.now));
    bench.sealed.tick(&bench.now, &mut bench.log);
    let kinds = bench.kinds();
    let count = |kind: &str| kinds.iter().filter(|k| *k == kind).count();
    assert_eq!((count("session"), count("gap")), (many, 0));
}

#[test]
fn a_log_that_takes_nothing_holds_a_key_for_a_minute_at_most() {
    let mut bench = Bench::new();
    bench.visit("s.chen", "dropbox");
    bench.seal();
    bench.pass(1.0);
    bench.sealed.begins_to_turn(&bench.now);
    bench.visit("s.chen", "dropbox");
    bench.turn();
    assert!(bench.sealed.is_over(Some(&bench.charter), &bench.now));
    bench.now.mono_ns += LONGEST_TURN_NS;
    bench.turn();
    assert!(!bench.sealed.is_over(Some(&bench.charter), &bench.now));
    assert_eq!((bench.sealed.lost, bench.sealed.in_use.len()), (1, 0));
}

#[test]
fn a_day_without_a_key_ends_as_well() {
    let mut bench = Bench::new();
    assert!(!bench.sealed.is_over(Some(&bench.charter), &bench.now));
    bench.pass(1.0);
    assert!(
        bench.sealed.is_over(Some(&bench.charter), &bench.now),
        "what goes on since yesterday is to be ended"
    );
    // Its sessions are sealed under a key of that day.
    bench.sealed.begins_to_turn(&bench.now);
    bench.visit("s.chen", "dropbox");
    bench.seal();
    bench.turn();
    let Ok(CaseAnswer::Keys(keys)) = bench.ask(CaseAsk::Keys) else { panic!() };
    assert_eq!(keys[0].key, "2027-03-01.leak.1");
}
