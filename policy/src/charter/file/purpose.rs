//! One purpose of a charter: what it says, held against what its basis carries.

use std::collections::HashMap;

use jiff::ToSpan as _;
use serde::Deserialize;
use toml::Spanned;

use super::{DEFAULT_K, Document, Known, LEAST_K, MAX_GROUPS, PurposeEntry, Reader, Role};
use crate::calendar::Calendar;
use crate::category::Category;
use crate::charter::basis::{self, Basis};
use crate::diagnostic::{Severity, did_you_mean};
use crate::vocab::{ObservationLevel, Purpose};

/// The longest that counts, and that sealed records, may be kept, in days.
const MAX_RETENTION: [i64; 2] = [1096, 366];
const MAX_K: i64 = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPurpose {
    name: Spanned<String>,
    basis: Spanned<String>,
    document: Spanned<RawDocument>,
    categories: Spanned<Vec<Spanned<String>>>,
    groups: Spanned<Vec<Spanned<String>>>,
    calendar: Option<Spanned<String>>,
    level: Option<Spanned<String>>,
    retention_days: Spanned<i64>,
    k: Option<Spanned<i64>>,
    notice: Spanned<String>,
    receipt: Option<Spanned<bool>>,
    expires: Option<Spanned<toml::value::Datetime>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDocument {
    title: Spanned<String>,
    sha256: Spanned<String>,
}

impl Reader<'_> {
    pub(super) fn purpose(
        &mut self,
        raw: Spanned<RawPurpose>,
        known: &Known<'_>,
        seen: &mut HashMap<(Purpose, String), u32>,
    ) -> Option<PurposeEntry> {
        let before = self.faults.errors();
        let raw = raw.into_inner();
        let line = self.text.error(raw.name.span(), "", "").line;
        let purpose = self.word(&raw.name, "purpose", Purpose::from_word, Purpose::ALL, Purpose::as_str);
        let basis = self.word(&raw.basis, "basis", Basis::from_word, Basis::ALL, Basis::as_str);
        let document = raw.document.get_ref();
        let (title, sha256) = (self.line_of(&document.title, "title"), self.sha256(&document.sha256));
        let level = self.level(&raw, purpose, basis, known);
        let categories = self.purpose_categories(&raw.categories, purpose);
        let groups = self.groups(&raw.groups, purpose, line, known, seen);
        self.calendar_of(&raw, purpose, known);
        let sealed = level == Some(ObservationLevel::Sealed);
        let [_, most] = if sealed { [0, MAX_RETENTION[1]] } else { [0, MAX_RETENTION[0]] };
        let retention = *raw.retention_days.get_ref();
        if !(1..=most).contains(&retention) {
            let what = if sealed { "sealed records" } else { "counts" };
            let message = format!("{what} are kept for 1 to {most} days, not {retention}");
            let help = "no longer than necessary: GDPR art. 5(1)(e); PIPL art. 19";
            self.fault(raw.retention_days.span(), "retention", message, help);
        }
        let k = raw.k.as_ref().map_or(i64::from(DEFAULT_K), |k| *k.get_ref());
        if let Some(at) = raw.k.as_ref().filter(|_| !(i64::from(LEAST_K)..=MAX_K).contains(&k)) {
            let message = format!("k is {k}; it is at least {LEAST_K} and at most {MAX_K}");
            let help =
                "a count that fewer people stand behind is a statement about a person (GDPR recital 26)";
            self.fault(at.span(), "k", message, help);
        }
        self.notice_of(&raw, known);
        let expires = match &raw.expires {
            None => Some(None),
            Some(date) => self.date(date).map(Some),
        };
        if let (Some(at), Some(Some(last))) = (&raw.expires, expires)
            && (known.issued.is_some_and(|first| last < first) || known.expires.is_some_and(|end| last > end))
        {
            let message = format!("{last} is outside of the time of the charter");
            self.fault(at.span(), "bad-dates", message, "a purpose ends with its charter, or before");
        }
        if self.faults.errors() > before {
            return None;
        }
        Some(PurposeEntry {
            line,
            purpose: purpose?,
            basis: basis?,
            document: Document { title: title?, sha256: sha256? },
            categories,
            groups,
            calendar: raw.calendar.map(Spanned::into_inner),
            level: level?,
            retention_days: u16::try_from(retention).ok()?,
            k: u32::try_from(k).ok()?,
            notice: raw.notice.into_inner(),
            receipt: raw.receipt.is_some_and(Spanned::into_inner),
            expires: expires?,
        })
    }

    /// The level, which is counts unless it says otherwise, held against what the basis carries.
    fn level(
        &mut self,
        raw: &RawPurpose,
        purpose: Option<Purpose>,
        basis: Option<Basis>,
        known: &Known<'_>,
    ) -> Option<ObservationLevel> {
        let level = match &raw.level {
            None => ObservationLevel::Aggregate,
            Some(level) => self.word(
                level,
                "level",
                ObservationLevel::from_word,
                ObservationLevel::ALL,
                ObservationLevel::as_str,
            )?,
        };
        let span = raw.level.as_ref().map_or(raw.basis.span(), Spanned::span);
        if level == ObservationLevel::None {
            let help = "take the purpose out: what no purpose names is not observed";
            self.fault(span, "does-nothing", "a purpose at level `none` allows nothing".to_owned(), help);
            return None;
        }
        let (purpose, basis) = (purpose?, basis?);
        let carried = basis::carries(basis, purpose);
        if level > carried.level {
            let message = match carried.level {
                ObservationLevel::None => {
                    format!("basis `{basis}` does not carry purpose `{purpose}`: {}", carried.why)
                }
                most => format!(
                    "`level = \"{level}\"`: basis `{basis}` carries purpose `{purpose}` up to `{most}`: {}",
                    carried.why
                ),
            };
            self.fault(
                span,
                "not-carried",
                message,
                &format!("see {}; docs/charter.md has the whole table", carried.source),
            );
            return None;
        }
        let has = |role| known.approvers.iter().any(|approver| approver.role == role);
        if basis == Basis::CollectiveAgreement && !has(Role::WorksCouncil) {
            let message = format!("basis `{basis}` without the signature of those who agreed to it");
            let help = "name an approver with role `works_council`: GDPR recital 155; Labour Contract Law of the PRC art. 51";
            self.fault(raw.basis.span(), "approvers", message, help);
            return None;
        }
        if level == ObservationLevel::Sealed && !has(Role::WorksCouncil) && !has(Role::DataProtectionOfficer)
        {
            let message =
                "sealed records need the signature of the works council or the data-protection officer"
                    .to_owned();
            let help = "they name single sessions: GDPR art. 35(2) and (9); PIPL art. 55";
            self.fault(span, "approvers", message, help);
            return None;
        }
        if level == ObservationLevel::Sealed && !known.has_case {
            let message = "sealed records without anybody who may open them".to_owned();
            let help =
                "add `[case]` with its three holders, as in `glassgate charter new`, or ask for `aggregate`";
            self.fault(span, "no-holders", message, help);
            return None;
        }
        Some(level)
    }

    fn purpose_categories(
        &mut self,
        raw: &Spanned<Vec<Spanned<String>>>,
        purpose: Option<Purpose>,
    ) -> Vec<Category> {
        if raw.get_ref().is_empty() {
            let message = "`categories` is empty, which covers nothing".to_owned();
            self.fault(raw.span(), "does-nothing", message, "name one");
        }
        let mut categories = Vec::new();
        for word in raw.get_ref() {
            let found = self.word(word, "category", Category::from_word, Category::ALL, Category::as_str);
            let Some(category) = found else { continue };
            if categories.contains(&category) {
                self.fault(
                    word.span(),
                    "twice",
                    format!("category `{category}` stands here twice"),
                    "take one out",
                );
            } else if category.is_protected() {
                let message = match purpose {
                    Some(Purpose::Security) => {
                        format!("category `{category}` is protected: there is no record for it")
                    }
                    _ => {
                        format!("category `{category}` is protected: no purpose but `security` may touch it")
                    }
                };
                let help =
                    "rules of purpose `security` may still act on it, unrecorded; GDPR art. 9; PIPL art. 28";
                self.fault(word.span(), "protected", message, help);
            } else if let Some(purpose) = purpose.filter(|purpose| !basis::is_for(*purpose, category)) {
                let message = format!("purpose `{purpose}` has nothing to do with category `{category}`");
                let fits: Vec<_> = Category::ALL
                    .iter()
                    .filter(|c| basis::is_for(purpose, **c))
                    .map(|c| c.as_str())
                    .collect();
                let help = format!("it covers: {} (GDPR art. 5(1)(b); PIPL art. 6)", fits.join(", "));
                self.fault(word.span(), "other-purpose", message, &help);
            } else {
                categories.push(category);
            }
        }
        categories
    }

    fn groups(
        &mut self,
        raw: &Spanned<Vec<Spanned<String>>>,
        purpose: Option<Purpose>,
        line: u32,
        known: &Known<'_>,
        seen: &mut HashMap<(Purpose, String), u32>,
    ) -> Vec<String> {
        if raw.get_ref().is_empty() {
            let message = "`groups` is empty, which covers nobody".to_owned();
            self.fault(raw.span(), "does-nothing", message, "name one");
        }
        if let Some(more) = raw.get_ref().get(MAX_GROUPS) {
            self.fault(more.span(), "too-many", format!("more than {MAX_GROUPS} groups"), "");
        }
        let mut groups: Vec<String> = Vec::new();
        for word in raw.get_ref().iter().take(MAX_GROUPS) {
            let Some(group) = self.key(word, "name of a group") else { continue };
            if known.exempt.contains(&group) {
                let message = format!("group `{group}` is exempt and never observed");
                self.fault(word.span(), "exempt", message, "take it out here or out of `exempt`");
                continue;
            }
            if let Some(purpose) = purpose {
                match seen.insert((purpose, group.clone()), line) {
                    Some(first) if first != line => {
                        let message =
                            format!("purpose `{purpose}` covers group `{group}` already, in line {first}");
                        self.fault(word.span(), "twice", message, "one purpose, one basis for each group");
                    }
                    Some(_) => {
                        self.fault(
                            word.span(),
                            "twice",
                            format!("group `{group}` stands here twice"),
                            "take one out",
                        );
                    }
                    None => {}
                }
            }
            groups.push(group);
        }
        groups
    }

    fn calendar_of(&mut self, raw: &RawPurpose, purpose: Option<Purpose>, known: &Known<'_>) {
        let Some(written) = &raw.calendar else {
            if purpose.is_some_and(|purpose| purpose != Purpose::Security) {
                let message = "this purpose has no `calendar`: it would observe at any hour".to_owned();
                let help = "staff is observed at work only: PIPL art. 6; GDPR art. 5(1)(c)";
                self.fault(raw.name.span(), "no-calendar", message, help);
            }
            return;
        };
        let name = written.get_ref();
        let Some(calendar) = known.calendars.iter().find(|calendar| calendar.name() == name) else {
            let known = known.calendars.iter().map(Calendar::name);
            let help = did_you_mean(name, known)
                .unwrap_or_else(|| "write a [[calendar]] of that name into the charter".to_owned());
            self.fault(written.span(), "unknown-calendar", format!("there is no calendar `{name}`"), &help);
            return;
        };
        if purpose.is_some_and(|purpose| purpose != Purpose::Security) && never_closes(calendar) {
            let message = format!("calendar `{name}` never closes: that is not working time");
            let help = "staff is observed at work only: PIPL art. 6; GDPR art. 5(1)(c)";
            self.fault(written.span(), "never-closes", message, help);
        }
        if let (Some(first), Some(last)) = (known.issued, known.expires)
            && !(calendar.valid().contains(&first) && calendar.valid().contains(&last))
        {
            let message = format!("calendar `{name}` does not reach over the time of the charter");
            let fault =
                self.text.error(written.span(), "short-calendar", message).severity(Severity::Warning);
            self.faults.push(fault.help("nothing is observed on days for which the calendar is not valid"));
        }
    }

    fn notice_of(&mut self, raw: &RawPurpose, known: &Known<'_>) {
        let version = raw.notice.get_ref();
        match known.notices.iter().find(|notice| notice.version == *version) {
            None => {
                let names = known.notices.iter().map(|notice| notice.version.as_str());
                let help = did_you_mean(version, names).unwrap_or_else(|| {
                    "write a [[notice]] of that version: GDPR art. 13; PIPL art. 17".to_owned()
                });
                self.fault(
                    raw.notice.span(),
                    "unknown-notice",
                    format!("there is no notice `{version}`"),
                    &help,
                );
            }
            Some(notice) if notice.given.is_none() => {
                let message = format!("notice `{version}` has not been given");
                let fault =
                    self.text.error(raw.notice.span(), "not-given", message).severity(Severity::Warning);
                self.faults.push(fault.help("nothing is observed before people were told: set `given`"));
            }
            Some(_) => {}
        }
    }
}

/// Whether a calendar is open without a break in the first two weeks of its time, or in two weeks half a year later.
fn never_closes(calendar: &Calendar) -> bool {
    let hours = |first: jiff::civil::Date| -> Option<i64> {
        let last = first.checked_add(13.days()).ok()?;
        let open = calendar.open_on(first, last);
        Some(open.iter().map(|i| (i.to.as_second() - i.from.as_second()) / 3600).sum())
    };
    let start = *calendar.valid().start();
    let samples = [start.checked_add(1.day()), start.checked_add(26.weeks())];
    samples.into_iter().flatten().filter_map(hours).any(|hours| hours >= 14 * 24 - 2)
}
