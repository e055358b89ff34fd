//! Charters, holders and files, made once: to sign and to open costs time.

use crate::config::{Audit, Charter as Settings, Config, PolicyFiles, Without};
use glassgate_policy::charter::{CaseTerms, Charter, Signatures, SigningKey, Statement};
use glassgate_policy::{Category, Purpose};
use glassgate_sealed::holder::{Identity, new_identity, read_identity};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// How many charters there are; each may follow the one before.
pub(super) const CHARTERS: usize = 8;
/// People whose records are looked at, and their addresses.
pub(super) const SUBJECTS: [&str; 2] = ["s.chen", "l.wang"];
/// People in all.
pub(super) const PEOPLE: usize = 8;
/// Services, with what they are for.
pub(super) const SERVICES: [(&str, Category, Purpose); 4] = [
    ("box", Category::CloudStorage, Purpose::Leak),
    ("sendit", Category::FileTransfer, Purpose::Leak),
    ("bili", Category::Video, Purpose::Conduct),
    ("tunes", Category::Music, Purpose::Conduct),
];

/// A charter with its signatures.
pub(super) struct Signed {
    pub(super) text: String,
    pub(super) approved: String,
    pub(super) revoked: String,
    /// Of the text, as records have it.
    pub(super) sha256: String,
}

pub(super) struct Fixture {
    _dir: tempfile::TempDir,
    pub(super) config: Config,
    /// Files that verdicts are made from: two that are good, one that is not.
    pub(super) files: [PolicyFiles; 3],
    /// Two that hold a directory: with all of them, and without the last of [`SUBJECTS`].
    pub(super) directories: [PathBuf; 2],
    pub(super) charters: Vec<Signed>,
    pub(super) signing: [SigningKey; 3],
    pub(super) identities: [Identity; 3],
}

impl Fixture {
    pub(super) fn get() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(Self::make)
    }

    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let signing = [(); 3].map(|()| SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap());
        let identities = [(); 3].map(|()| read_identity(&new_identity().0).unwrap());
        let charters = (1..=CHARTERS).map(|serial| charter(serial, &signing, &identities)).collect();
        let folder = dir.path();
        write_signatures(&folder.join("signatures"));
        std::fs::write(folder.join("glassgate.toml"), CONFIG).unwrap();
        let mut config = Config::load(&folder.join("glassgate.toml")).unwrap_or_else(|e| panic!("{e}"));
        let rules = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).unwrap();
            PolicyFiles { rules: Some(folder.join(name)), ..config.files.clone() }
        };
        let files =
            [rules("a.toml", RULES), rules("b.toml", "version = 1\n"), rules("c.toml", "version = 9\n")];
        let directories = [directory(folder, PEOPLE), directory(folder, PEOPLE - 1)];
        config.charter = Settings {
            keys: [0, 2].map(|n| signing[n].public()).to_vec(),
            dir: "/box/charter".into(),
            without: Without::Counts,
        };
        config.audit = Audit { dir: "/box/audit".into(), origin: None, witness: None };
        config.files = files[0].clone();
        config.directory = Some(directories[0].clone());
        Self { _dir: dir, config, files, directories, charters, signing, identities }
    }
}

const CONFIG: &str = "[signatures]\npath = 'signatures'\nstate = 'lists'\n[rules]\npath = 'rules.toml'\n[audit]\ndir = 'audit'\n[store]\ndir = 'store'\n";

const RULES: &str = "version = 1\n[[rule]]\nname = \"no-video\"\nmatch = { category = [\"video\"] }\naction = \"block\"\nstate = \"enforce\"\nowner = \"net\"\npurpose = \"bandwidth\"\nexpires = 2099-06-30\nnote = \"as agreed\"\n";

fn write_signatures(folder: &Path) {
    let mut services = "service\tcategory\ttitle\tregion\n".to_owned();
    let mut names =
        "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n".to_owned();
    for (service, category, _) in SERVICES {
        writeln!(services, "{service}\t{category}\t{service}\tCN").unwrap();
        writeln!(
            names,
            "{service}.example.com\tsuffix\t{service}\t{category}\tsite\tstrong\tme\tMIT\t2026-01-01\t2099-01-01\tone"
        )
        .unwrap();
    }
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("services.tsv"), services).unwrap();
    std::fs::write(folder.join("own.tsv"), names).unwrap();
}

/// Of the people, those whose records are looked at are the first and the last.
fn directory(folder: &Path, people: usize) -> PathBuf {
    let mut text = "subject,group,device,enrolled_by,enrolled\n".to_owned();
    for n in 0..people {
        writeln!(text, "{},sales,10.0.0.{},it,2027-01-04", name(n), n + 1).unwrap();
    }
    let path = folder.join(format!("directory-{people}.csv"));
    std::fs::write(&path, text).unwrap();
    path
}

/// What somebody is called.
pub(super) fn name(person: usize) -> String {
    match person {
        0 => SUBJECTS[0].to_owned(),
        _ if person == PEOPLE - 1 => SUBJECTS[1].to_owned(),
        _ => format!("p{person}"),
    }
}

/// For how many days the charter of a serial keeps records.
pub(super) fn retention(serial: usize, purpose: Purpose) -> u64 {
    let of = if purpose == Purpose::Leak { [9, 30, 5, 12] } else { [30, 8, 14, 6] };
    of[serial % 4]
}

fn charter(serial: usize, signing: &[SigningKey; 3], identities: &[Identity; 3]) -> Signed {
    let hash = "9f".repeat(32);
    let mut text = format!(
        "version = 1\nname = \"t\"\nserial = {serial}\ncontroller = \"Acme, 1 Road\"\ncontact = \"p@acme.example\"\n\
         issued = 2027-01-01\nexpires = 2027-12-31\ntime_zone = \"Asia/Shanghai\"\n\
         [[approver]]\nrole = \"controller\"\nname = \"a\"\nkey = \"{}\"\n[[approver]]\nrole = \"works_council\"\nname = \"b\"\nkey = \"{}\"\n\
         [[notice]]\nversion = \"1\"\ngiven = 2027-01-01\ntext = {{ en = \"We seal.\" }}\n\
         [[calendar]]\nname = \"c\"\ntime_zone = \"Asia/Shanghai\"\nvalid = \"2027-01-01..2027-12-31\"\nweek = [\"mon-sun 08:00-20:00\"]\n\
         [case]\ntell_after_days = 3\n",
        signing[0].public(),
        signing[2].public(),
    );
    for (n, purpose) in [Purpose::Leak, Purpose::Conduct].into_iter().enumerate() {
        let (one, other) = (SERVICES[2 * n].1, SERVICES[2 * n + 1].1);
        let days = retention(serial, purpose);
        text += &format!(
            "[[purpose]]\nname = \"{purpose}\"\nbasis = \"collective_agreement\"\ndocument = {{ title = \"A\", sha256 = \"{hash}\" }}\n\
             categories = [\"{one}\", \"{other}\"]\ngroups = [\"sales\"]\ncalendar = \"c\"\nlevel = \"sealed\"\nk = 5\nretention_days = {days}\nnotice = \"1\"\n",
        );
    }
    for (n, role) in CaseTerms::ROLES.iter().enumerate() {
        let (key, recipient) = (signing[n].public(), identities[n].to_public());
        text += &format!(
            "[[case.holder]]\nrole = \"{role}\"\nname = \"holder {n}\"\nkey = \"{key}\"\nrecipient = \"{recipient}\"\n"
        );
    }
    let keys = [&signing[0], &signing[2]];
    let with = |file: Option<String>, key: &SigningKey, says| {
        Signatures::with(file.as_deref(), &key.sign(says, text.as_bytes()))
    };
    let approved = keys.iter().fold(None, |file, key| Some(with(file, key, Statement::Approve))).unwrap();
    let revoked = with(Some(approved.clone()), keys[1], Statement::Revoke);
    let trusted = keys.map(SigningKey::public);
    let read = Charter::verify("c", text.as_bytes(), "s", approved.as_bytes(), &trusted);
    let read = read.unwrap_or_else(|faults| panic!("{faults}")).0;
    let sha256 = glassgate_policy::audit::Hex(read.sha256()).to_string();
    Signed { text, approved, revoked, sha256 }
}
