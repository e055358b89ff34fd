//! A charter and its three holders, made once: what they sign and open costs time.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use glassgate_policy::Category;
use glassgate_policy::charter::{CaseTerms, Charter, Signatures, SigningKey, Statement};

use super::{CATEGORIES, PURPOSES};
use crate::holder::{Identity, new_identity, read_identity};
use crate::keys::SealedShare;
use crate::seal::Facts;
use crate::share::Share;

pub(super) struct Fixture {
    pub(super) charter: Charter,
    pub(super) signing: [SigningKey; 3],
    pub(super) identities: [Identity; 3],
}

impl Fixture {
    pub(super) fn get() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(|| {
            let signing = [(); 3].map(|()| SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap());
            let identities = [(); 3].map(|()| read_identity(&new_identity().0).unwrap());
            Self { charter: charter(&signing, &identities), signing, identities }
        })
    }

    /// A share, as its holder opens it.
    pub(super) fn share(&self, sealed: &SealedShare, holder: usize) -> Share {
        let sealed = BASE64.decode(&sealed.sealed).unwrap();
        Share::from_bytes(&age::decrypt(&self.identities[holder], &sealed).unwrap()).unwrap()
    }
}

fn charter(signing: &[SigningKey; 3], identities: &[Identity; 3]) -> Charter {
    let hash = "9f".repeat(32);
    let mut text = format!(
        "version = 1\nname = \"t\"\nserial = 1\ncontroller = \"Acme, 1 Road\"\ncontact = \"p@acme.example\"\n\
         issued = 2027-01-01\nexpires = 2027-12-31\ntime_zone = \"Asia/Shanghai\"\n\
         [[approver]]\nrole = \"controller\"\nname = \"a\"\nkey = \"{}\"\n[[approver]]\nrole = \"works_council\"\nname = \"b\"\nkey = \"{}\"\n\
         [[notice]]\nversion = \"1\"\ngiven = 2027-01-01\ntext = {{ en = \"We seal.\" }}\n\
         [[calendar]]\nname = \"c\"\ntime_zone = \"Asia/Shanghai\"\nvalid = \"2027-01-01..2027-12-31\"\nweek = [\"mon-sun 08:00-20:00\"]\n\
         [case]\ntell_after_days = 3\n",
        signing[0].public(),
        signing[2].public(),
    );
    for ((purpose, retention_days), categories) in PURPOSES.into_iter().zip(CATEGORIES) {
        text += &format!(
            "[[purpose]]\nname = \"{purpose}\"\nbasis = \"collective_agreement\"\ndocument = {{ title = \"A\", sha256 = \"{hash}\" }}\n\
             categories = [\"{}\", \"{}\"]\ngroups = [\"sales\"]\ncalendar = \"c\"\nlevel = \"sealed\"\n\
             retention_days = {retention_days}\nnotice = \"1\"\n",
            categories[0], categories[1],
        );
    }
    for (n, role) in CaseTerms::ROLES.iter().enumerate() {
        let (key, recipient) = (signing[n].public(), identities[n].to_public());
        text += &format!(
            "[[case.holder]]\nrole = \"{role}\"\nname = \"holder {n}\"\nkey = \"{key}\"\nrecipient = \"{recipient}\"\n"
        );
    }
    let keys = [&signing[0], &signing[2]];
    let signed = keys.iter().fold(None, |file: Option<String>, key| {
        Some(Signatures::with(file.as_deref(), &key.sign(Statement::Approve, text.as_bytes())))
    });
    let trusted = keys.map(SigningKey::public);
    let read = Charter::verify("c", text.as_bytes(), "s", signed.unwrap().as_bytes(), &trusted);
    read.unwrap_or_else(|faults| panic!("{faults}")).0
}

pub(super) fn facts(service: &str, category: Category) -> Facts {
    Facts {
        category: category.as_str().to_owned(),
        service: Some(service.to_owned()),
        begin: None,
        end: None,
        active_s: 60,
        flows: 1,
        evidence: None,
        bytes_toserver: 1,
        bytes_toclient: 2,
        uploads: Vec::new(),
        more_uploads: 0,
    }
}
