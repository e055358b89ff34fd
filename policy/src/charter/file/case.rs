//! Who opens sealed records, and when the subject is told: the `[case]` of a charter.

use serde::Deserialize;
use toml::Spanned;

use super::{Reader, Role};
use crate::charter::signatures::PublicKey;

/// The longest that a subject may be left in the dark, in days.
const MAX_TELL_AFTER: i64 = 366;
/// Whose shares there are: three roles, of which two must act.
const HOLDERS: [Role; 3] = [Role::HumanResources, Role::DataProtectionOfficer, Role::WorksCouncil];

/// How sealed records are opened. Nobody can alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseTerms {
    /// Those who hold shares of the keys, one of each role, in the order of [`CaseTerms::ROLES`].
    pub holders: [Holder; 3],
    /// The subject is told so many days after sealed records of theirs were shown.
    pub tell_after_days: u16,
}

impl CaseTerms {
    /// The roles of holders, in their order.
    pub const ROLES: [Role; 3] = HOLDERS;

    /// The holder of a role; none for a controller.
    pub fn holder(&self, role: Role) -> Option<&Holder> {
        self.holders.iter().find(|holder| holder.role == role)
    }
}

/// Somebody who holds shares of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Whose voice it is.
    pub role: Role,
    /// Who it is.
    pub name: String,
    /// By which they ask, agree and refuse.
    pub key: PublicKey,
    /// To which their shares are sealed: an `age` recipient of type X25519.
    pub recipient: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCase {
    tell_after_days: Spanned<i64>,
    holder: Spanned<Vec<Spanned<RawHolder>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHolder {
    role: Spanned<String>,
    name: Spanned<String>,
    key: Spanned<String>,
    recipient: Spanned<String>,
}

impl Reader<'_> {
    pub(super) fn case(&mut self, raw: RawCase) -> Option<CaseTerms> {
        let days = *raw.tell_after_days.get_ref();
        if !(0..=MAX_TELL_AFTER).contains(&days) {
            let message = format!("`tell_after_days` is {days}, not 0 to {MAX_TELL_AFTER}");
            let help = "people are told who looked: GDPR art. 14(3) and 15; PIPL art. 44 and 45";
            self.fault(raw.tell_after_days.span(), "bad-days", message, help);
        }
        let span = raw.holder.span();
        let mut holders: Vec<Holder> = Vec::new();
        for one in raw.holder.into_inner().into_iter().take(HOLDERS.len() + 1) {
            holders.extend(self.holder(one.into_inner(), &holders));
        }
        holders.sort_by_key(|holder| holder.role);
        let all: Option<[Holder; 3]> = holders.try_into().ok();
        let all = all.filter(|all: &[Holder; 3]| all.iter().map(|h| h.role).eq(HOLDERS));
        if all.is_none() && !self.faults.has_errors() {
            let message = "a case needs three holders, one of each role".to_owned();
            let help = "name `human_resources`, `data_protection_officer` and `works_council`: any two of them open a case, none alone";
            self.fault(super::first_line(&self.text, span), "holders", message, help);
        }
        Some(CaseTerms { holders: all?, tell_after_days: u16::try_from(days).ok()? })
    }

    fn holder(&mut self, raw: RawHolder, others: &[Holder]) -> Option<Holder> {
        let role = self.word(&raw.role, "holder", holding_role, &HOLDERS, Role::as_str);
        let name = self.line_of(&raw.name, "name");
        let key = PublicKey::parse(raw.key.get_ref());
        if key.is_none() {
            let message = "an Ed25519 public key has 64 hexadecimal digits".to_owned();
            self.fault(raw.key.span(), "bad-key", message, "`glassgate charter key` shows it");
        }
        let recipient = raw.recipient.get_ref();
        if !is_recipient(recipient) {
            let message = "this is no `age` recipient".to_owned();
            let help = "it begins with `age1` and has 62 characters; `glassgate case identity` and `age-keygen` show it";
            self.fault(raw.recipient.span(), "bad-recipient", message, help);
        }
        let two = "two holders must be two people, with keys of their own";
        for other in others {
            if Some(other.role) == role {
                let message = format!("another holder is `{}`", other.role);
                self.fault(raw.role.span(), "twice", message, "there is one holder of each role");
            }
            if Some(other.key) == key {
                let message = "another holder has the same key".to_owned();
                self.fault(raw.key.span(), "twice", message, two);
            }
            if other.recipient == *recipient {
                let message = "another holder has the same recipient".to_owned();
                self.fault(raw.recipient.span(), "twice", message, two);
            }
            if Some(&other.name) == name.as_ref() {
                let message = format!("another holder is called `{}`", other.name);
                self.fault(raw.name.span(), "twice", message, two);
            }
        }
        Some(Holder { role: role?, name: name?, key: key?, recipient: recipient.clone() })
    }
}

fn holding_role(word: &str) -> Option<Role> {
    Role::from_word(word).filter(|role| HOLDERS.contains(role))
}

/// Whether it is the recipient of an `age` identity of type X25519: Bech32 (BIP 173) of 32 bytes, in small letters.
fn is_recipient(text: &str) -> bool {
    use bech32::primitives::decode::CheckedHrpstring;
    CheckedHrpstring::new::<bech32::Bech32>(text).is_ok_and(|read| {
        read.hrp().as_str() == "age" && text.starts_with("age1") && read.byte_iter().count() == 32
    })
}
