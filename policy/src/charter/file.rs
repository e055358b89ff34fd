//! The charter as text: TOML in, [`CharterFile`] out, every fault with its place.
//!
//! What a basis does not carry is refused here, with the field, the rule and the text that the rule rests on. A file that was
//! read is still nobody's charter: that takes signatures.

mod case;
mod purpose;

use std::collections::HashMap;
use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::Deserialize;
use toml::Spanned;

use super::basis::Basis;
use super::notice::{self, MAX_NOTICE_BODY};
use super::signatures::{PublicKey, hex};
use crate::calendar::{self, Calendar, RawCalendar};
use crate::category::Category;
use crate::diagnostic::{Diagnostic, Diagnostics, Text, did_you_mean, known_words};
use crate::signature::is_service_key;
use crate::vocab::{ObservationLevel, Purpose, coded};
use case::RawCase;
pub use case::{CaseTerms, Holder};
use purpose::RawPurpose;

/// The largest charter.
pub const MAX_BYTES: usize = 1 << 20;
/// The most purposes.
const MAX_PURPOSES: usize = 32;
/// The most approvers, and the most notices.
const MAX_APPROVERS: usize = 16;
/// The most groups of a purpose.
const MAX_GROUPS: usize = 256;
/// The longest one-line text.
const MAX_TEXT: usize = 512;
/// The longest notice in one language.
const MAX_NOTICE: usize = 16 << 10;
/// The longest time between issue and expiry, in days.
const MAX_DAYS: i32 = 366 * 2;
/// The least and the usual number of people that must stand behind a count.
pub const LEAST_K: u32 = 5;
/// See [`LEAST_K`].
pub const DEFAULT_K: u32 = 10;

coded! {
    /// Whose voice an approver has.
    pub enum Role {
        /// Who decides why and how data is processed, and answers for it.
        Controller = 1 => "controller",
        /// Human resources.
        HumanResources = 2 => "human_resources",
        /// The data-protection officer.
        DataProtectionOfficer = 3 => "data_protection_officer",
        /// The works council, union or staff representatives.
        WorksCouncil = 4 => "works_council",
    }
}

/// A charter that was read and makes sense, not yet signed by anybody.
#[derive(Clone, Debug, PartialEq)]
pub struct CharterFile {
    /// What it is called.
    pub name: String,
    /// Counts up: a charter never gives way to an older one.
    pub serial: u64,
    /// Who answers for it, with an address.
    pub controller: String,
    /// Where people turn to.
    pub contact: String,
    /// Its first day.
    pub issued: Date,
    /// Its last day.
    pub expires: Date,
    /// The zone that its days are in.
    pub zone: TimeZone,
    /// Who must sign it.
    pub approvers: Vec<Approver>,
    /// Groups that are never observed: recruiters, works council, data-protection officer, company doctor.
    pub exempt: Vec<String>,
    /// What may be observed, and why.
    pub purposes: Vec<PurposeEntry>,
    /// What people were told.
    pub notices: Vec<Notice>,
    /// When people are at work.
    pub calendars: Vec<Calendar>,
    /// How sealed records are opened; there where a purpose allows any.
    pub case: Option<CaseTerms>,
}

/// Somebody who must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approver {
    /// Whose voice it is.
    pub role: Role,
    /// Who it is.
    pub name: String,
    /// Whose signature counts.
    pub key: PublicKey,
}

/// A purpose, with everything it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurposeEntry {
    /// 1-based line where it begins.
    pub line: u32,
    /// Why.
    pub purpose: Purpose,
    /// By what right.
    pub basis: Basis,
    /// The document that the basis is written down in.
    pub document: Document,
    /// What of.
    pub categories: Vec<Category>,
    /// Whose.
    pub groups: Vec<String>,
    /// When; `None`, for `security` only: at any time.
    pub calendar: Option<String>,
    /// How much.
    pub level: ObservationLevel,
    /// How long records are kept.
    pub retention_days: u16,
    /// How many people must stand behind a count.
    pub k: u32,
    /// The version of the notice that people were given.
    pub notice: String,
    /// Whether a device counts only after its notice was read on it.
    pub receipt: bool,
    /// Its last day, if that is before the charter's.
    pub expires: Option<Date>,
}

/// A document outside of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is called.
    pub title: String,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// What people were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its version.
    pub version: String,
    /// The day on which it was given; `None`: not yet.
    pub given: Option<Date>,
    /// Its text, by language tag (RFC 5646).
    pub text: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    version: Spanned<u32>,
    name: Spanned<String>,
    serial: Spanned<u64>,
    controller: Spanned<String>,
    contact: Spanned<String>,
    issued: Spanned<toml::value::Datetime>,
    expires: Spanned<toml::value::Datetime>,
    time_zone: Spanned<String>,
    #[serde(default)]
    exempt: Vec<Spanned<String>>,
    approver: Spanned<Vec<Spanned<RawApprover>>>,
    purpose: Spanned<Vec<Spanned<RawPurpose>>>,
    notice: Spanned<Vec<Spanned<RawNotice>>>,
    #[serde(default)]
    calendar: Vec<Spanned<RawCalendar>>,
    case: Option<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApprover {
    role: Spanned<String>,
    name: Spanned<String>,
    key: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNotice {
    version: Spanned<String>,
    given: Option<Spanned<toml::value::Datetime>>,
    text: Spanned<std::collections::BTreeMap<String, Spanned<String>>>,
}

impl CharterFile {
    /// Reads a charter; `path` is what diagnostics call it. One with faults is refused whole, all of them named.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<(Self, Diagnostics), Diagnostics> {
        if bytes.len() > MAX_BYTES {
            let message = format!("the file has {} bytes, more than {MAX_BYTES}", bytes.len());
            return Err(Diagnostic::file(path, "too-large", message).into());
        }
        let text = Text::from_bytes(path, bytes)?;
        let raw: RawFile = toml::from_str(text.text).map_err(|e| Diagnostics::from(toml_fault(&text, &e)))?;
        let mut reader = Reader { text, faults: Diagnostics::new() };
        match reader.file(raw) {
            Some(file) => reader.faults.into_result(file),
            None => Err(reader.faults),
        }
    }

    /// The calendar of that name.
    pub fn calendar(&self, name: &str) -> Option<&Calendar> {
        self.calendars.iter().find(|calendar| calendar.name() == name)
    }

    /// The notice of that version.
    pub fn notice(&self, version: &str) -> Option<&Notice> {
        self.notices.iter().find(|notice| notice.version == version)
    }
}

struct Reader<'a> {
    text: Text<'a>,
    faults: Diagnostics,
}

impl Reader<'_> {
    fn file(&mut self, raw: RawFile) -> Option<CharterFile> {
        if *raw.version.get_ref() != 1 {
            let message = format!("version {} of the charter format is not known", raw.version.get_ref());
            self.fault(raw.version.span(), "unknown-version", message, "write `version = 1`");
        }
        let name = self.key(&raw.name, "name of a charter");
        let serial = *raw.serial.get_ref();
        if serial == 0 {
            self.fault(raw.serial.span(), "bad-serial", "serials begin with 1".to_owned(), "");
        }
        let controller = self.line_of(&raw.controller, "controller");
        let contact = self.line_of(&raw.contact, "contact");
        let zone = self.zone(&raw.time_zone);
        let (issued, expires) = (self.date(&raw.issued), self.date(&raw.expires));
        if let (Some(issued), Some(expires)) = (issued, expires) {
            self.term(&raw.expires, issued, expires);
        }
        let approvers = self.approvers(raw.approver);
        let exempt: Vec<String> =
            raw.exempt.iter().filter_map(|group| self.key(group, "name of a group")).collect();
        let notices = self.notices(raw.notice);
        let calendars = calendar::read(&self.text, &mut self.faults, raw.calendar);
        let has_case = raw.case.is_some();
        let case = raw.case.and_then(|case| self.case(case));
        let known = Known {
            has_case,
            notices: &notices,
            calendars: &calendars,
            exempt: &exempt,
            approvers: &approvers,
            issued,
            expires,
        };
        let purposes_at = raw.purpose.span();
        let purposes = self.purposes(raw.purpose, &known);
        let file = CharterFile {
            name: name?,
            serial,
            controller: controller?,
            contact: contact?,
            issued: issued?,
            expires: expires?,
            zone: zone?,
            approvers,
            exempt,
            purposes,
            notices,
            calendars,
            case,
        };
        if let Some(group) = notice::too_long(&file) {
            let message = format!(
                "the notices that `{group}` gives receipts of are longer than {MAX_NOTICE_BODY} bytes as a page"
            );
            let help = "shorten them, or take `receipt` out of one of the purposes";
            self.fault(first_line(&self.text, purposes_at.clone()), "notice-too-long", message, help);
        }
        if notice::too_many(&file) {
            let message = format!(
                "the groups give receipts of more than {} different pages",
                crate::matrix::MAX_NOTICES
            );
            let help = "let groups share a notice, or take `receipt` out of some of the purposes";
            self.fault(first_line(&self.text, purposes_at), "too-many-notices", message, help);
        }
        Some(file)
    }

    fn term(&mut self, at: &Spanned<toml::value::Datetime>, issued: Date, expires: Date) {
        if expires < issued {
            let message = format!("the charter expires on {expires}, before it is issued on {issued}");
            self.fault(at.span(), "bad-dates", message, "the last day comes after the first");
        } else if (expires - issued).get_days() > MAX_DAYS {
            let message = "a charter runs for at most two years".to_owned();
            let help = "measures are reviewed and updated (GDPR art. 24(1)): issue the next one in time";
            self.fault(at.span(), "bad-dates", message, help);
        }
    }

    /// Two voices at least, one of them the controller's and one not.
    fn approvers(&mut self, raw: Spanned<Vec<Spanned<RawApprover>>>) -> Vec<Approver> {
        let span = raw.span();
        let mut approvers: Vec<Approver> = Vec::new();
        for one in raw.into_inner() {
            if approvers.len() >= MAX_APPROVERS {
                self.fault(one.span(), "too-many", format!("more than {MAX_APPROVERS} approvers"), "");
                break;
            }
            let one = one.into_inner();
            let role = self.word(&one.role, "role", Role::from_word, Role::ALL, Role::as_str);
            let name = self.line_of(&one.name, "name");
            let key = PublicKey::parse(one.key.get_ref());
            match key {
                None => {
                    let message = "an Ed25519 public key has 64 hexadecimal digits".to_owned();
                    self.fault(one.key.span(), "bad-key", message, "`glassgate charter key` shows it");
                }
                Some(key) if approvers.iter().any(|other| other.key == key) => {
                    let message = "another approver has the same key".to_owned();
                    self.fault(
                        one.key.span(),
                        "twice",
                        message,
                        "each approver signs with a key of their own",
                    );
                }
                Some(_) => {}
            }
            if let (Some(role), Some(name), Some(key)) = (role, name, key) {
                approvers.push(Approver { role, name, key });
            }
        }
        let controllers = approvers.iter().filter(|a| a.role == Role::Controller).count();
        if !self.faults.has_errors() && (controllers == 0 || controllers == approvers.len()) {
            let message = "a charter needs the controller and somebody who is not the controller".to_owned();
            let help = "name at least two approvers: `controller` and `works_council`, `data_protection_officer` or `human_resources`";
            self.fault(first_line(&self.text, span), "approvers", message, help);
        }
        approvers
    }

    fn notices(&mut self, raw: Spanned<Vec<Spanned<RawNotice>>>) -> Vec<Notice> {
        let mut notices: Vec<Notice> = Vec::new();
        for one in raw.into_inner() {
            if notices.len() >= MAX_APPROVERS {
                self.fault(one.span(), "too-many", format!("more than {MAX_APPROVERS} notices"), "");
                break;
            }
            let one = one.into_inner();
            let version = self.key(&one.version, "version of a notice");
            if notices.iter().any(|other| other.version == *one.version.get_ref()) {
                let message = format!("another notice is called `{}`", one.version.get_ref());
                self.fault(one.version.span(), "named-twice", message, "a new text has a new version");
            }
            let given = match &one.given {
                None => Some(None),
                Some(date) => self.date(date).map(Some),
            };
            let span = one.text.span();
            let texts = one.text.into_inner();
            if texts.is_empty() {
                let help = "give it in the languages of the people who read it, such as `zh` and `en`";
                self.fault(span, "no-text", "a notice without text tells nobody anything".to_owned(), help);
            }
            let mut text = Vec::new();
            for (language, written) in texts {
                let good = (2..=35).contains(&language.len())
                    && language.split('-').all(|p| {
                        !p.is_empty() && p.len() <= 8 && p.bytes().all(|b| b.is_ascii_alphanumeric())
                    });
                let body = written.get_ref();
                if !good {
                    let message = format!("`{language}` is no language tag");
                    self.fault(
                        written.span(),
                        "bad-language",
                        message,
                        "tags are such as `zh`, `en`, `zh-Hant` (RFC 5646)",
                    );
                } else if body.trim().is_empty() || body.len() > MAX_NOTICE {
                    let message =
                        format!("the notice in `{language}` is empty or longer than {MAX_NOTICE} bytes");
                    self.fault(
                        written.span(),
                        "no-text",
                        message,
                        "say what is observed, why, by what right, how long it is kept, and whom to ask",
                    );
                } else {
                    text.push((language, body.clone()));
                }
            }
            if let (Some(version), Some(given)) = (version, given) {
                notices.push(Notice { version, given, text });
            }
        }
        notices
    }

    fn zone(&mut self, written: &Spanned<String>) -> Option<TimeZone> {
        let found = TimeZoneDatabase::bundled().get(written.get_ref()).ok();
        if found.is_none() {
            let message = format!("there is no time zone `{}`", written.get_ref());
            self.fault(
                written.span(),
                "unknown-zone",
                message,
                "use a name of the IANA database, such as `Asia/Shanghai`",
            );
        }
        found
    }

    fn key(&mut self, written: &Spanned<String>, what: &str) -> Option<String> {
        let key = written.get_ref();
        if !is_service_key(key) {
            let help = "use lower-case letters, digits and hyphens, at most 48";
            self.fault(written.span(), "bad-name", format!("`{key}` is no {what}"), help);
            return None;
        }
        Some(key.clone())
    }

    fn line_of(&mut self, written: &Spanned<String>, what: &str) -> Option<String> {
        let value = written.get_ref();
        if value.trim().is_empty() || value.len() > MAX_TEXT || value.chars().any(char::is_control) {
            let message = format!("`{what}` is empty, longer than {MAX_TEXT} bytes, or not one line");
            self.fault(written.span(), "bad-text", message, "write one line that people can read");
            return None;
        }
        Some(value.clone())
    }

    fn word<T: Copy + 'static>(
        &mut self,
        written: &Spanned<String>,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
        all: &'static [T],
        show: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let word = written.get_ref();
        let found = read(word);
        if found.is_none() {
            let help = known_words(word, all.iter().map(|t| show(*t)));
            self.fault(written.span(), "unknown-word", format!("there is no {what} `{word}`"), &help);
        }
        found
    }

    fn date(&mut self, written: &Spanned<toml::value::Datetime>) -> Option<Date> {
        let date = written.get_ref();
        let found = match (date.date, date.time, date.offset) {
            (Some(day), None, None) => Date::new(day.year as i16, day.month as i8, day.day as i8).ok(),
            _ => None,
        };
        let found = found.filter(|date| (1970..=9000).contains(&date.year()));
        if found.is_none() {
            let message = format!("`{date}` is not a day");
            self.fault(written.span(), "bad-date", message, "write YYYY-MM-DD, without quotes");
        }
        found
    }

    fn sha256(&mut self, written: &Spanned<String>) -> Option<[u8; 32]> {
        let found = hex(written.get_ref());
        if found.is_none() {
            let message = "a SHA-256 has 64 hexadecimal digits".to_owned();
            self.fault(written.span(), "bad-hash", message, "`sha256sum FILE` prints it");
        }
        found
    }

    fn fault(&mut self, span: Range<usize>, code: &'static str, message: String, help: &str) {
        let fault = self.text.error(span, code, message);
        self.faults.push(if help.is_empty() { fault } else { fault.help(help) });
    }
}

/// What purposes are held against.
struct Known<'a> {
    has_case: bool,
    notices: &'a [Notice],
    calendars: &'a [Calendar],
    exempt: &'a [String],
    approvers: &'a [Approver],
    issued: Option<Date>,
    expires: Option<Date>,
}

impl Reader<'_> {
    fn purposes(&mut self, raw: Spanned<Vec<Spanned<RawPurpose>>>, known: &Known<'_>) -> Vec<PurposeEntry> {
        let span = raw.span();
        let all = raw.into_inner();
        if all.is_empty() {
            let message = "a charter without a purpose allows nothing".to_owned();
            self.fault(
                first_line(&self.text, span),
                "no-purpose",
                message,
                "name a purpose, or install no charter",
            );
        }
        let mut purposes = Vec::new();
        let mut seen: HashMap<(Purpose, String), u32> = HashMap::new();
        for one in all {
            if purposes.len() >= MAX_PURPOSES {
                self.fault(one.span(), "too-many", format!("more than {MAX_PURPOSES} purposes"), "");
                break;
            }
            purposes.extend(self.purpose(one, known, &mut seen));
        }
        purposes
    }
}

fn first_line(text: &Text<'_>, span: Range<usize>) -> Range<usize> {
    let rest = text.text.get(span.start..).unwrap_or_default();
    span.start..span.start + rest.lines().next().unwrap_or_default().len()
}

/// Adds advice to what the TOML reader says where it says too little.
fn toml_fault(text: &Text<'_>, error: &toml::de::Error) -> Diagnostic {
    let diagnostic = text.toml_error(error);
    if diagnostic.help.is_some() {
        return diagnostic;
    }
    let rest = diagnostic.message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    let advice = rest.and_then(|(field, rest)| did_you_mean(field, rest.split('`').skip(1).step_by(2)));
    match advice {
        Some(advice) => diagnostic.help(advice),
        None => diagnostic,
    }
}
