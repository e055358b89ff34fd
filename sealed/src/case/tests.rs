//! The rule of two, tried from all sides: each attempt is denied with its reason, and shows nothing.

use super::*;
use crate::holder::{HolderError, is_about, new_identity, read_identity, read_view, sign};
use crate::keys::SealedShare;
use crate::seal::{Facts, SealedSession};
use glassgate_audit::disk::Folder;
use glassgate_policy::audit::{BootId, WallQuality};
use glassgate_policy::charter::{Signatures, SigningKey, Statement as Signature};
use jiff::tz::TimeZone;

const DAY_NS: u64 = 86_400 * S;
const CLOUD: Category = Category::CloudStorage;

struct Bench {
    _dir: tempfile::TempDir,
    keys: Keys,
    book: Book,
    charter: Charter,
    signing: [SigningKey; 4],
    identities: [Identity; 4],
    now: Now,
    /// Records of the log, in order.
    log: Vec<String>,
}

const HR: usize = 0;
const DPO: usize = 1;
const COUNCIL: usize = 2;
/// Nobody's.
const OTHER: usize = 3;

fn charter(signing: &[SigningKey; 4], identities: &[Identity; 4], serial: u32) -> Charter {
    let mut text = format!(
        "version = 1\nname = \"t\"\nserial = {serial}\ncontroller = \"Acme, 1 Road\"\ncontact = \"p@acme.example\"\n\
         issued = 2027-01-01\nexpires = 2027-12-31\ntime_zone = \"Asia/Shanghai\"\n\
         [[approver]]\nrole = \"controller\"\nname = \"a\"\nkey = \"{}\"\n[[approver]]\nrole = \"works_council\"\nname = \"b\"\nkey = \"{}\"\n\
         [[notice]]\nversion = \"1\"\ngiven = 2027-01-01\ntext = {{ en = \"We seal.\" }}\n\
         [[purpose]]\nname = \"leak\"\nbasis = \"collective_agreement\"\ndocument = {{ title = \"A\", sha256 = \"{}\" }}\n\
         categories = [\"cloud_storage\", \"file_transfer\"]\ngroups = [\"sales\"]\ncalendar = \"c\"\nlevel = \"sealed\"\nretention_days = 90\nnotice = \"1\"\n\
         [[purpose]]\nname = \"recruitment\"\nbasis = \"collective_agreement\"\ndocument = {{ title = \"A\", sha256 = \"{}\" }}\n\
         categories = [\"recruitment\"]\ngroups = [\"sales\"]\ncalendar = \"c\"\nlevel = \"aggregate\"\nretention_days = 90\nnotice = \"1\"\n\
         [[calendar]]\nname = \"c\"\ntime_zone = \"Asia/Shanghai\"\nvalid = \"2027-01-01..2027-12-31\"\nweek = [\"mon-sun 08:00-20:00\"]\n\
         [case]\ntell_after_days = 30\n",
        signing[OTHER].public(),
        signing[COUNCIL].public(),
        "9f".repeat(32),
        "9f".repeat(32),
    );
    for (n, role) in CaseTerms::ROLES.iter().enumerate() {
        let (key, recipient) = (signing[n].public(), identities[n].to_public());
        text += &format!(
            "[[case.holder]]\nrole = \"{role}\"\nname = \"holder {n}\"\nkey = \"{key}\"\nrecipient = \"{recipient}\"\n"
        );
    }
    let keys = [&signing[OTHER], &signing[COUNCIL]];
    let lines = keys.map(|key| key.sign(Signature::Approve, text.as_bytes()));
    let signed =
        lines.iter().fold(None, |file: Option<String>, line| Some(Signatures::with(file.as_deref(), line)));
    let trusted = keys.map(SigningKey::public);
    Charter::verify("c", text.as_bytes(), "s", signed.unwrap().as_bytes(), &trusted)
        .unwrap_or_else(|f| panic!("{f}"))
        .0
}

fn disk(dir: &tempfile::TempDir, name: &str) -> Arc<dyn Disk> {
    Arc::new(Folder::private(&dir.path().join(name)).unwrap())
}

fn facts(service: &str, category: Category) -> Facts {
    Facts {
        category: category.as_str().to_owned(),
        service: Some(service.to_owned()),
        begin: None,
        end: None,
        active_s: 60,
        flows: 1,
        evidence: Some("sni".to_owned()),
        bytes_toserver: 1,
        bytes_toclient: 2,
        uploads: Vec::new(),
        more_uploads: 0,
    }
}

impl Bench {
    /// Three days of records of two people, and then it is the fourth.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let signing = [(); 4].map(|()| SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap());
        let identities = [(); 4].map(|()| read_identity(&new_identity().0).unwrap());
        let charter = charter(&signing, &identities, 1);
        let now =
            Now { mono_ns: 0, wall: "2027-03-01T02:00:00Z".parse().ok(), quality: WallQuality::Synchronized };
        let keys = Keys::open(disk(&dir, "keys"), BootId(1), &now).unwrap();
        let book = Book::open(disk(&dir, "cases")).unwrap();
        let mut bench = Self { _dir: dir, keys, book, charter, signing, identities, now, log: Vec::new() };
        for day in 1..=3 {
            let on: Date = format!("2027-03-0{day}").parse().unwrap();
            let terms = bench.charter.file().case.clone().unwrap();
            let mut key =
                bench.keys.make((on, Purpose::Leak), &terms, bench.charter.sha256(), 90, &bench.now).unwrap();
            for (subject, category) in
                [("s.chen", CLOUD), ("l.wang", CLOUD), ("s.chen", Category::FileTransfer)]
            {
                let sealed =
                    key.seal(subject, category, &facts(&format!("{subject}-{day}"), category)).unwrap();
                bench.write(&sealed);
            }
            bench.pass(1.0);
        }
        bench
    }

    fn write(&mut self, SealedSession { key, pseudonym, sealed }: &SealedSession) {
        let (seq, wall) = (self.log.len(), self.now.wall.unwrap());
        self.log.push(format!(
            r#"{{"boot_id":"1","seq":{seq},"mono_ns":1,"wall":"{wall}","wall_quality":"synchronized","event_type":"session","key":"{key}","pseudonym":"{pseudonym}","sealed":"{sealed}"}}"#
        ));
    }

    fn pass(&mut self, days: f64) {
        self.now.mono_ns += (days * DAY_NS as f64) as u64;
        let wall = self.now.wall.unwrap().checked_add(SignedDuration::from_secs_f64(days * 86_400.0));
        self.now.wall = wall.ok();
    }

    fn asked(&self) -> Asked {
        Asked {
            subject: "s.chen".to_owned(),
            purpose: "leak".to_owned(),
            categories: vec!["cloud_storage".to_owned()],
            from: "2027-03-01".parse().unwrap(),
            to: "2027-03-02".parse().unwrap(),
            reason: "suspected_leak".to_owned(),
            valid_days: 7,
        }
    }

    fn draft(&mut self, asked: &Asked) -> Result<Brief, Denied> {
        let circumstances = Circumstances { charter: Some(&self.charter), now: &self.now, gateway: "g" };
        self.book.draft(asked, &self.keys, circumstances)
    }

    fn drafted(&mut self) -> Brief {
        let asked = self.asked();
        self.draft(&asked).unwrap()
    }

    fn says(&self, brief: &Brief, act: CaseAct, who: usize) -> Statement {
        sign(brief, act, &self.signing[who], Some(&self.identities[who])).unwrap()
    }

    fn judge(&self, said: &Statement) -> Result<Judged, Denied> {
        let circumstances = Circumstances { charter: Some(&self.charter), now: &self.now, gateway: "g" };
        self.book.judge(said, &self.keys, circumstances)
    }

    fn take(&mut self, judged: Judged) -> Result<Taken, Denied> {
        self.book.take(judged, &self.keys, &TimeZone::get("Asia/Shanghai").unwrap())
    }

    fn submit(&mut self, said: &Statement) -> Result<Taken, Denied> {
        let judged = self.judge(said)?;
        self.take(judged)
    }

    fn act(&mut self, brief: &Brief, act: CaseAct, who: usize) -> Result<Taken, Denied> {
        let said = self.says(brief, act, who);
        self.submit(&said)
    }

    fn denied(&mut self, brief: &Brief, act: CaseAct, who: usize) -> Denial {
        self.act(brief, act, who).map(|taken| panic!("{taken:?}")).unwrap_err().why
    }

    fn approved(&mut self) -> Brief {
        let brief = self.drafted();
        self.act(&brief, CaseAct::Open, HR).unwrap();
        self.act(&brief, CaseAct::Approve, DPO).unwrap();
        brief
    }

    fn view(&self, taken: Taken, who: usize) -> View {
        let Taken::Shown(look) = taken else { panic!("{taken:?}") };
        let lines = self.log.iter().map(|line| Ok::<_, ()>(line.clone().into_bytes()));
        read_view(&look.at(lines).unwrap(), &self.identities[who]).unwrap()
    }
}

fn why(result: Result<Taken, Denied>) -> Denial {
    result.map(|taken| panic!("{taken:?}")).unwrap_err().why
}

#[test]
fn two_open_a_case_and_one_of_them_sees_one_person() {
    let mut bench = Bench::new();
    bench.log.push(
        r#"{"seq":9,"wall":"2027-03-02T01:00:00Z","event_type":"gap","cause":"queue_full","records":3}"#
            .to_owned(),
    );
    bench.log.push(
        r#"{"seq":10,"wall":"2027-01-02T01:00:00Z","event_type":"gap","cause":"queue_full","records":4}"#
            .to_owned(),
    );
    let brief = bench.approved();
    let taken = bench.act(&brief, CaseAct::Show, DPO).unwrap();
    let view = bench.view(taken, DPO);
    let services: Vec<_> =
        view.sessions.iter().map(|seen| (seen.seq, seen.facts.service.clone().unwrap())).collect();
    assert_eq!(
        services,
        [(0, "s.chen-1".to_owned()), (3, "s.chen-2".to_owned())],
        "cloud storage of two days, of one person"
    );
    assert_eq!(
        (view.opened_by.name.as_str(), view.approved_by.name.as_str(), view.shown_to.name.as_str()),
        ("holder 0", "holder 1", "holder 1")
    );
    assert_eq!((view.gaps.len(), view.gaps[0].records, view.spoilt), (1, 3, 0));
    // It is kept until its subject is told, over a restart.
    let [kept] = &bench.book.list()[..] else { panic!() };
    assert_eq!((kept.step, kept.tell_on), (Step::Shown, "2027-04-03".parse().ok()));
    assert_eq!(
        (bench.book.untold("2027-04-02".parse().unwrap()), bench.book.untold("2027-04-03".parse().unwrap())),
        (0, 1)
    );
    bench.book = Book::open(disk(&bench._dir, "cases")).unwrap();
    assert!(matches!(bench.act(&brief, CaseAct::Tell, COUNCIL), Ok(Taken::Told)));
    assert_eq!(bench.denied(&brief, CaseAct::Tell, COUNCIL), Denial::WrongStep);
    assert_eq!(bench.book.untold("2027-12-31".parse().unwrap()), 0);
}

#[test]
fn the_letter_tells_its_subject_and_nobody_else() {
    let mut bench = Bench::new();
    let brief = bench.approved();
    let request = Request::read(&brief.request).unwrap();
    assert_eq!(bench.book.looked_at("s.chen", &request.salt), None, "nobody has looked");
    bench.act(&brief, CaseAct::Show, HR).unwrap();
    let told = bench.book.looked_at("s.chen", &request.salt).unwrap();
    assert_eq!((told.case.as_str(), told.step), (request.case.as_str(), Step::Shown));
    assert!(told.opened.is_some() && told.approved.is_some() && told.shown.is_some());
    let (short, other) = (&request.salt[1..], request.salt.replace(['0', '1'], "2"));
    for (subject, code) in [
        ("l.wang", request.salt.as_str()),
        ("s.chen", ""),
        ("s.chen", short),
        ("s.chen", &other),
        ("", &request.salt),
    ] {
        assert_eq!(bench.book.looked_at(subject, code), None, "{subject} {code}");
    }
    // What was appended to one is not taken from the other.
    let moved = format!("{}\ns", request.salt);
    assert_eq!(bench.book.looked_at(".chen", &moved), None);
}

#[test]
fn what_is_shown_is_for_who_looks_and_nobody_else() {
    let mut bench = Bench::new();
    let brief = bench.approved();
    let Ok(Taken::Shown(look)) = bench.act(&brief, CaseAct::Show, HR) else { panic!() };
    let sealed = look.at(bench.log.iter().map(|line| Ok::<_, ()>(line.clone().into_bytes()))).unwrap();
    for other in [DPO, COUNCIL, OTHER] {
        assert!(matches!(read_view(&sealed, &bench.identities[other]), Err(HolderError::View)));
    }
    assert_eq!(read_view(&sealed, &bench.identities[HR]).unwrap().sessions.len(), 2);
}

#[test]
fn records_name_nobody_and_commit_to_whom_it_is_about() {
    let mut bench = Bench::new();
    let brief = bench.approved();
    let request = Request::read(&brief.request).unwrap();
    let known = bench.book.about(&request.case).unwrap();
    let record =
        glassgate_policy::audit::Record::CaseApproved(known.record(Some(Role::HumanResources), None, 0));
    let text = String::from_utf8(record.to_json()).unwrap();
    assert!(!text.contains("chen") && text.contains("\"event_type\":\"case_approved\""), "{text}");
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&record["categories"][0], &record["days"][1], &record["role"]),
        (&"cloud_storage".into(), &"2027-03-02".into(), &"human_resources".into())
    );
    let commitment = record["subject_commitment"].as_str().unwrap();
    assert!(is_about(commitment, &request.salt, "s.chen"));
    assert!(!is_about(commitment, &request.salt, "l.wang") && !is_about(commitment, "", "s.chen"));
}

// Fourteen and more ways around the rule.

#[test]
fn the_same_role_twice() {
    let mut bench = Bench::new();
    let brief = bench.drafted();
    bench.act(&brief, CaseAct::Open, HR).unwrap();
    assert_eq!(bench.denied(&brief, CaseAct::Approve, HR), Denial::SameRole);
    assert_eq!(bench.denied(&brief, CaseAct::Show, HR), Denial::WrongStep, "nor a look with one voice");
}

#[test]
fn one_persons_key_in_anothers_name() {
    let mut bench = Bench::new();
    let brief = bench.drafted();
    bench.act(&brief, CaseAct::Open, HR).unwrap();
    let own = bench.says(&brief, CaseAct::Approve, HR);
    let as_dpo = Statement { key: bench.signing[DPO].public().to_string(), ..own };
    assert_eq!(why(bench.submit(&as_dpo)), Denial::BadSignature);
    // With a stolen signing key and without the identity that goes with it.
    let mut shares_of_hr = brief.clone();
    shares_of_hr.keys.iter_mut().for_each(|key| {
        key.shares[1] = SealedShare { role: key.shares[1].role.clone(), ..key.shares[0].clone() }
    });
    let said =
        sign(&shares_of_hr, CaseAct::Approve, &bench.signing[DPO], Some(&bench.identities[HR])).unwrap();
    assert_eq!(why(bench.submit(&said)), Denial::BadShares);
}

#[test]
fn somebody_who_holds_nothing() {
    let mut bench = Bench::new();
    let brief = bench.drafted();
    assert!(matches!(sign(&brief, CaseAct::Open, &bench.signing[OTHER], None), Err(HolderError::NotAHolder)));
    let said = bench.says(&brief, CaseAct::Open, HR);
    let other = Statement { key: bench.signing[OTHER].public().to_string(), ..said };
    assert_eq!(why(bench.submit(&other)), Denial::NotAHolder);
}

#[test]
fn after_its_time_by_either_clock() {
    let mut bench = Bench::new();
    let brief = bench.drafted();
    bench.act(&brief, CaseAct::Open, HR).unwrap();
    let good = bench.now;
    bench.now.mono_ns += 7 * DAY_NS;
    assert_eq!(bench.denied(&brief, CaseAct::Approve, DPO), Denial::Expired);
    bench.now = Now { wall: good.wall.unwrap().checked_add(SignedDuration::from_hours(168)).ok(), ..good };
    assert_eq!(bench.denied(&brief, CaseAct::Approve, DPO), Denial::Expired);
    bench.now = Now { quality: WallQuality::Unsynchronized, ..good };
    assert_eq!(bench.denied(&brief, CaseAct::Approve, DPO), Denial::Expired, "nobody knows what time it is");
    bench.now = good;
    bench.act(&brief, CaseAct::Approve, DPO).unwrap();
    bench.pass(7.0);
    assert_eq!(bench.book.sweep(&bench.now), [Request::read(&brief.request).unwrap().case]);
    bench.now = good;
    assert_eq!(
        bench.denied(&brief, CaseAct::Show, HR),
        Denial::Expired,
        "and it stays so when clocks go back"
    );
}

#[test]
fn an_approval_of_another_case() {
    let mut bench = Bench::new();
    let (one, other) = (bench.drafted(), bench.drafted());
    bench.act(&one, CaseAct::Open, HR).unwrap();
    bench.act(&other, CaseAct::Open, HR).unwrap();
    let said = bench.says(&one, CaseAct::Approve, DPO);
    bench.submit(&said).unwrap();
    let case = Request::read(&other.request).unwrap().case;
    assert_eq!(why(bench.submit(&Statement { case, ..said })), Denial::BadSignature);
}

#[test]
fn the_same_words_again() {
    let mut bench = Bench::new();
    let brief = bench.drafted();
    let open = bench.says(&brief, CaseAct::Open, HR);
    bench.submit(&open).unwrap();
    assert_eq!(why(bench.submit(&open)), Denial::WrongStep);
    let approve = bench.says(&brief, CaseAct::Approve, DPO);
    bench.submit(&approve).unwrap();
    assert_eq!(why(bench.submit(&approve)), Denial::WrongStep);
    let show = bench.says(&brief, CaseAct::Show, HR);
    bench.submit(&show).unwrap();
    assert_eq!(why(bench.submit(&show)), Denial::Used);
    assert_eq!(bench.denied(&brief, CaseAct::Show, DPO), Denial::Used, "nor the other one");
    // Words about one step are none about another.
    let brief = bench.drafted();
    let said = bench.says(&brief, CaseAct::Open, HR);
    assert_eq!(why(bench.submit(&Statement { act: "approve".to_owned(), ..said })), Denial::BadSignature);
}

#[test]
fn widened_after_the_first_signature() {
    let mut bench = Bench::new();
    let brief = bench.drafted();
    bench.act(&brief, CaseAct::Open, HR).unwrap();
    let mut wider = Request::read(&brief.request).unwrap();
    let changes: [fn(&mut Request); 5] = [
        |request| request.to = "2027-03-03".parse().unwrap(),
        |request| request.categories.push("file_transfer".to_owned()),
        |request| request.subject = "l.wang".to_owned(),
        |request| request.expires = request.expires.checked_add(SignedDuration::from_hours(24)).unwrap(),
        |request| request.purpose = "recruitment".to_owned(),
    ];
    for change in changes {
        let before = wider.clone();
        change(&mut wider);
        assert_ne!(wider, before);
        let other = Brief { request: serde_json::to_string(&wider).unwrap(), ..brief.clone() };
        assert_eq!(bench.denied(&other, CaseAct::Approve, DPO), Denial::BadSignature);
        wider = before;
    }
    bench.act(&brief, CaseAct::Approve, DPO).unwrap();
}

#[test]
fn keys_of_other_days_than_the_cases() {
    let mut bench = Bench::new();
    let brief = bench.drafted();
    let mut asked = bench.asked();
    (asked.from, asked.to) = ("2027-03-03".parse().unwrap(), "2027-03-03".parse().unwrap());
    let other = bench.draft(&asked).unwrap();
    for keys in
        [other.keys.clone(), Vec::new(), brief.keys[..1].to_vec(), [&brief.keys[..], &other.keys].concat()]
    {
        let said = bench.says(&Brief { keys, ..brief.clone() }, CaseAct::Open, HR);
        assert_eq!(why(bench.submit(&said)), Denial::BadShares);
    }
    let said = bench.says(&brief, CaseAct::Open, HR);
    assert_eq!(
        why(bench.submit(&Statement { shares: None, ..said })),
        Denial::BadSignature,
        "what is handed over is signed too"
    );
}

#[test]
fn shares_that_do_not_make_the_key() {
    let mut bench = Bench::new();
    let brief = bench.drafted();
    // Whoever opens hands over rubbish of the right form: it shows when the second one comes, not when somebody looks.
    let mut rubbish = brief.clone();
    let to: age::x25519::Recipient = bench.identities[HR].to_public();
    for key in &mut rubbish.keys {
        let bytes = [&[0u8][..], &[5; 64]].concat();
        key.shares[0].sealed = BASE64.encode(age::encrypt(&to, &bytes).unwrap());
    }
    let said = bench.says(&rubbish, CaseAct::Open, HR);
    // One that is not theirs is seen at once.
    let mut anothers = rubbish.clone();
    for key in &mut anothers.keys {
        let bytes = [&[1u8][..], &[5; 64]].concat();
        key.shares[0].sealed = BASE64.encode(age::encrypt(&to, &bytes).unwrap());
    }
    let other = bench.says(&anothers, CaseAct::Open, HR);
    assert_eq!(why(bench.submit(&other)), Denial::BadShares);
    bench.submit(&said).unwrap();
    assert_eq!(bench.denied(&brief, CaseAct::Approve, DPO), Denial::BadShares);
}

#[test]
fn a_race_for_the_one_look() {
    let mut bench = Bench::new();
    let brief = bench.approved();
    let both = [HR, DPO].map(|who| bench.says(&brief, CaseAct::Show, who));
    // Both are judged, and put on record, before either is taken.
    let judged = both.map(|said| bench.judge(&said).unwrap());
    let taken = judged.map(|judged| bench.take(judged));
    assert!(matches!(taken[0], Ok(Taken::Shown(_))));
    assert_eq!(taken[1].as_ref().unwrap_err().why, Denial::WrongStep);
    // A refusal that comes in between wins as well.
    let brief = bench.approved();
    let look = bench.judge(&bench.says(&brief, CaseAct::Show, HR)).unwrap();
    bench.act(&brief, CaseAct::Refuse, COUNCIL).unwrap();
    assert_eq!(bench.take(look).unwrap_err().why, Denial::WrongStep);
}

#[test]
fn after_a_refusal_or_an_end() {
    let mut bench = Bench::new();
    let brief = bench.drafted();
    bench.act(&brief, CaseAct::Open, HR).unwrap();
    bench.act(&brief, CaseAct::Refuse, COUNCIL).unwrap();
    assert_eq!(bench.denied(&brief, CaseAct::Approve, DPO), Denial::WrongStep);
    let brief = bench.approved();
    assert_eq!(bench.denied(&brief, CaseAct::Close, COUNCIL), Denial::NotInvolved);
    assert_eq!(bench.denied(&brief, CaseAct::Show, COUNCIL), Denial::NotInvolved);
    bench.act(&brief, CaseAct::Close, HR).unwrap();
    assert_eq!(bench.denied(&brief, CaseAct::Show, DPO), Denial::WrongStep);
}

#[test]
fn without_the_charter_or_under_another() {
    let mut bench = Bench::new();
    let brief = bench.approved();
    let said = bench.says(&brief, CaseAct::Show, HR);
    let none = Circumstances { charter: None, now: &bench.now, gateway: "g" };
    assert_eq!(bench.book.judge(&said, &bench.keys, none).unwrap_err().why, Denial::NoCharter);
    let other = charter(&bench.signing, &bench.identities, 2);
    let other = Circumstances { charter: Some(&other), ..none };
    assert_eq!(bench.book.judge(&said, &bench.keys, other).unwrap_err().why, Denial::OtherCharter);
    let asked = bench.asked();
    assert_eq!(bench.book.draft(&asked, &bench.keys, none).unwrap_err().why, Denial::NoCharter);
    assert!(bench.act(&brief, CaseAct::Show, HR).is_ok());
}

#[test]
fn after_a_restart_or_the_end_of_retention() {
    let mut bench = Bench::new();
    let brief = bench.approved();
    let folder = bench._dir.path().join("cases");
    let before = std::mem::replace(&mut bench.book, Book::open(disk(&bench._dir, "cases")).unwrap());
    assert_eq!(bench.denied(&brief, CaseAct::Show, HR), Denial::UnknownCase);
    // Nothing of an open case is on disk.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    bench.book = before;
    // A key that is destroyed while a case is open is not in what it shows.
    bench.keys.destroy(KeyId::parse("2027-03-01.leak.1").unwrap()).unwrap();
    let taken = bench.act(&brief, CaseAct::Show, HR).unwrap();
    let seqs: Vec<_> = bench.view(taken, HR).sessions.iter().map(|seen| seen.seq).collect();
    assert_eq!(seqs, [3]);
}

#[test]
fn what_may_not_be_asked() {
    let mut bench = Bench::new();
    let good = bench.asked();
    let day = |text: &str| text.parse().unwrap();
    let cases = [
        (Asked { to: day("2027-03-04"), ..good.clone() }, Denial::BadDays),
        (Asked { to: day("2027-02-28"), ..good.clone() }, Denial::BadDays),
        (Asked { from: day("2027-01-15"), ..good.clone() }, Denial::BadDays),
        (Asked { from: day("2027-02-01"), to: day("2027-02-02"), ..good.clone() }, Denial::NothingKept),
        (Asked { valid_days: 8, ..good.clone() }, Denial::BadExpiry),
        (Asked { valid_days: 0, ..good.clone() }, Denial::BadExpiry),
        (Asked { categories: Vec::new(), ..good.clone() }, Denial::NotCovered),
        (Asked { categories: vec!["games".to_owned()], ..good.clone() }, Denial::NotCovered),
        (Asked { categories: vec!["protected_health".to_owned()], ..good.clone() }, Denial::NotCovered),
        (
            Asked {
                purpose: "recruitment".to_owned(),
                categories: vec!["recruitment".to_owned()],
                ..good.clone()
            },
            Denial::NotCovered,
        ),
        (Asked { purpose: "curiosity".to_owned(), ..good.clone() }, Denial::NotUnderstood),
        (Asked { reason: "because".to_owned(), ..good.clone() }, Denial::NotUnderstood),
        (Asked { subject: String::new(), ..good.clone() }, Denial::BadSubject),
        (Asked { subject: "a\nb".to_owned(), ..good.clone() }, Denial::BadSubject),
    ];
    for (asked, expected) in cases {
        assert_eq!(bench.draft(&asked).unwrap_err().why, expected, "{asked:?}");
    }
}

#[test]
fn drafts_give_way_and_signed_cases_do_not() {
    let mut bench = Bench::new();
    let first = bench.drafted();
    for _ in 0..MOST_OPEN {
        bench.drafted();
    }
    assert_eq!(bench.denied(&first, CaseAct::Open, HR), Denial::UnknownCase);
    bench.pass(0.1);
    bench.book.sweep(&bench.now);
    assert!(bench.book.list().is_empty(), "drafts that nobody signs are forgotten");
    for _ in 0..MOST_OPEN {
        let brief = bench.drafted();
        bench.act(&brief, CaseAct::Open, HR).unwrap();
    }
    let asked = bench.asked();
    assert_eq!(bench.draft(&asked).unwrap_err().why, Denial::TooMany);
    assert_eq!(bench.book.pending().len(), MOST_OPEN);
}

#[test]
fn spoilt_records_are_counted_not_shown() {
    let mut bench = Bench::new();
    let brief = bench.approved();
    let spoilt = bench.log[0].replace("\"sealed\":\"", "\"sealed\":\"AAAA");
    bench.log.push(spoilt);
    bench.log.push("not JSON \"session\"".to_owned());
    let taken = bench.act(&brief, CaseAct::Show, HR).unwrap();
    let view = bench.view(taken, HR);
    assert_eq!((view.sessions.len(), view.spoilt), (2, 1));
}
