//! A charter in the making: what was filled in, as the text of a charter, and what the compiler says of it, field by field.
//!
//! The text is written line by line, and each line knows the field that it came from; so a fault of the compiler, which has a line, has a field.
//! Steps that were not reached yet are filled with something that is good: what is judged is what was filled in.

use glassgate_policy::charter::CharterFile;
use glassgate_policy::diagnostic::Severity;
use jiff::civil::Date;
use std::collections::HashMap;

/// Rows of people who sign, and of purposes, that the forms have.
pub(super) const APPROVERS: usize = 4;
pub(super) const PURPOSES: usize = 4;
/// Roles of those who open sealed records together.
pub(super) const HOLDERS: [&str; 3] = ["human_resources", "data_protection_officer", "works_council"];
/// What the file is called.
pub(super) const FILE: &str = "charter.toml";

/// The steps, in their order: later ones speak of what stands in earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Who,
    Approvers,
    Notice,
    Calendar,
    Holders,
    Purposes,
    Finish,
}

impl Step {
    pub(super) const ALL: [Self; 7] = [
        Self::Who,
        Self::Approvers,
        Self::Notice,
        Self::Calendar,
        Self::Holders,
        Self::Purposes,
        Self::Finish,
    ];

    pub(super) fn number(self) -> usize {
        self as usize
    }

    pub(super) fn of(number: usize) -> Self {
        Self::ALL.get(number).copied().unwrap_or(Self::Finish)
    }
}

/// What the compiler refuses, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) step: Step,
    /// Empty where it is about the step as a whole.
    pub(super) field: String,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// Whether it is in the way; else it is only worth knowing.
    pub(super) refuses: bool,
}

/// What was filled in.
pub(super) struct Draft<'a>(pub(super) &'a HashMap<String, String>);

/// A text in the making.
#[derive(Default)]
struct Text {
    text: String,
    /// Of each line.
    from: Vec<(Option<Step>, String)>,
}

impl Text {
    fn line(&mut self, step: Option<Step>, field: &str, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        self.from.push((step, field.to_owned()));
    }
}

impl Draft<'_> {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map(|value| value.trim()).unwrap_or_default()
    }

    /// The charter, whole.
    pub(super) fn toml(&self) -> String {
        self.text(Step::Finish).text
    }

    /// What is wrong with it up to a step.
    pub(super) fn faults(&self, reached: Step) -> Vec<Fault> {
        let text = self.text(reached);
        let found = match CharterFile::parse(FILE, text.text.as_bytes()) {
            Ok((_, worth_knowing)) => worth_knowing,
            Err(faults) => faults,
        };
        let place = |line: u32| {
            let line = usize::try_from(line).unwrap_or(0).checked_sub(1)?;
            text.from.get(line).cloned()
        };
        let fault = |fault: &glassgate_policy::diagnostic::Diagnostic| {
            let (step, field) = place(fault.line).unwrap_or((Some(reached), String::new()));
            Some(Fault {
                // What was put in place of a later step is none of theirs.
                step: step?,
                field,
                message: fault.message.clone(),
                help: fault.help.clone(),
                refuses: fault.severity == Severity::Error,
            })
        };
        let mut faults: Vec<Fault> = found.as_slice().iter().filter_map(fault).collect();
        faults.retain(|fault| fault.step <= reached);
        faults
    }

    fn text(&self, reached: Step) -> Text {
        let mut text = Text::default();
        self.who(&mut text);
        self.approvers(&mut text, reached >= Step::Approvers);
        self.notice(&mut text, reached >= Step::Notice);
        self.calendar(&mut text, reached >= Step::Calendar);
        if reached >= Step::Holders {
            self.holders(&mut text);
        }
        self.purposes(&mut text, reached >= Step::Purposes);
        text
    }

    fn who(&self, text: &mut Text) {
        let step = Some(Step::Who);
        text.line(step, "", "version = 1");
        for name in ["name", "serial", "controller", "contact", "issued", "expires", "time_zone", "exempt"] {
            let value = match name {
                "serial" => number(self.get(name)),
                "issued" | "expires" => day(self.get(name)),
                "exempt" => list(self.get(name)),
                _ => string(self.get(name)),
            };
            text.line(step, name, &format!("{name} = {value}"));
        }
    }

    fn approvers(&self, text: &mut Text, filled: bool) {
        if !filled {
            for (role, key) in [("controller", "1"), ("works_council", "2")] {
                let key = key.repeat(64);
                let lines = format!("[[approver]]\nrole = \"{role}\"\nname = \"x\"\nkey = \"{key}\"");
                lines.lines().for_each(|line| text.line(None, "", line));
            }
            return;
        }
        let step = Some(Step::Approvers);
        for row in 1..=APPROVERS {
            let named = |part: &str| format!("a{row}_{part}");
            // A row of which nothing is filled in but its role is none; the first is always one.
            if row > 1 && self.get(&named("name")).is_empty() && self.get(&named("key")).is_empty() {
                continue;
            }
            text.line(None, "", "");
            text.line(step, &named("role"), "[[approver]]");
            for part in ["role", "name", "key"] {
                let field = named(part);
                let line = format!("{part} = {}", string(self.get(&field)));
                text.line(step, &field, &line);
            }
        }
    }

    fn notice(&self, text: &mut Text, filled: bool) {
        text.line(None, "", "");
        if !filled {
            for line in ["[[notice]]", "version = \"1\"", "text = { en = \"x\" }"] {
                text.line(None, "", line);
            }
            return;
        }
        let step = Some(Step::Notice);
        text.line(step, "notice_version", "[[notice]]");
        text.line(step, "notice_version", &format!("version = {}", string(self.get("notice_version"))));
        if !self.get("notice_given").is_empty() {
            text.line(step, "notice_given", &format!("given = {}", day(self.get("notice_given"))));
        }
        text.line(step, "notice_zh", "[notice.text]");
        for language in ["zh", "en"] {
            let field = format!("notice_{language}");
            if !self.get(&field).is_empty() {
                text.line(step, &field, &format!("{language} = {}", string(self.get(&field))));
            }
        }
    }

    fn calendar(&self, text: &mut Text, filled: bool) {
        text.line(None, "", "");
        if !filled {
            let valid = match (self.get("issued").parse::<Date>(), self.get("expires").parse::<Date>()) {
                (Ok(first), Ok(last)) if first <= last => format!("{first}..{last}"),
                _ => "2027-01-01..2027-12-31".to_owned(),
            };
            let valid = format!("valid = \"{valid}\"");
            let week = "week = [\"mon-fri 09:00-17:00\"]";
            for line in ["[[calendar]]", "name = \"office\"", "time_zone = \"Etc/UTC\"", &valid, week] {
                text.line(None, "", line);
            }
            return;
        }
        let step = Some(Step::Calendar);
        text.line(step, "cal_name", "[[calendar]]");
        for (part, of_many) in [
            ("name", false),
            ("time_zone", false),
            ("valid", false),
            ("week", true),
            ("days", true),
            ("closed", true),
        ] {
            let field = format!("cal_{part}");
            let written = self.get(&field);
            let value = if of_many { lines(written) } else { string(written) };
            text.line(step, &field, &format!("{part} = {value}"));
        }
    }

    fn holders(&self, text: &mut Text) {
        let field = |role: &str, part: &str| format!("h_{role}_{part}");
        let is_filled = |role: &&str| {
            ["name", "key", "recipient"].iter().any(|part| !self.get(&field(role, part)).is_empty())
        };
        if !HOLDERS.iter().any(is_filled) {
            return;
        }
        let step = Some(Step::Holders);
        text.line(None, "", "");
        text.line(step, "h_tell_after_days", "[case]");
        text.line(
            step,
            "h_tell_after_days",
            &format!("tell_after_days = {}", number(self.get("h_tell_after_days"))),
        );
        for role in HOLDERS {
            text.line(None, "", "");
            text.line(step, &field(role, "name"), "[[case.holder]]");
            text.line(step, &field(role, "name"), &format!("role = \"{role}\""));
            for part in ["name", "key", "recipient"] {
                let line = format!("{part} = {}", string(self.get(&field(role, part))));
                text.line(step, &field(role, part), &line);
            }
        }
    }

    fn purposes(&self, text: &mut Text, filled: bool) {
        let notice = string(self.get("notice_version"));
        if !filled {
            text.line(None, "", "");
            let notice = if self.get("notice_version").is_empty() || !text.text.contains(&notice) {
                "\"1\"".to_owned()
            } else {
                notice
            };
            for line in [
                "[[purpose]]",
                "name = \"security\"",
                "basis = \"labour_rules\"",
                &format!("document = {{ title = \"x\", sha256 = \"{}\" }}", "0".repeat(64)),
                "categories = [\"malware\"]",
                "groups = [\"nobody-at-all\"]",
                "retention_days = 1",
                &format!("notice = {notice}"),
            ] {
                text.line(None, "", line);
            }
            return;
        }
        let step = Some(Step::Purposes);
        for row in 1..=PURPOSES {
            let named = |part: &str| format!("p{row}_{part}");
            let get = |part: &str| self.get(&format!("p{row}_{part}"));
            if row > 1 && get("name").is_empty() {
                continue;
            }
            text.line(None, "", "");
            text.line(step, &named("name"), "[[purpose]]");
            let document = format!(
                "{{ title = {}, sha256 = {} }}",
                string(get("title")),
                string(&get("sha256").to_lowercase())
            );
            // A title that is wrong and a hash that is wrong are on one line, since the format has them there.
            let document_field = if get("title").is_empty() { "title" } else { "sha256" };
            let mut line = |part: &str, line: String| text.line(step, &named(part), &line);
            line("name", format!("name = {}", string(get("name"))));
            line("basis", format!("basis = {}", string(get("basis"))));
            line(document_field, format!("document = {document}"));
            line("categories", format!("categories = {}", list(get("categories"))));
            line("groups", format!("groups = {}", list(get("groups"))));
            if get("when") != "always" {
                line("when", format!("calendar = {}", string(self.get("cal_name"))));
            }
            line("level", format!("level = {}", string(get("level"))));
            line("retention", format!("retention_days = {}", number(get("retention"))));
            line("k", format!("k = {}", number(get("k"))));
            line("receipt", format!("notice = {notice}"));
            line("receipt", format!("receipt = {}", get("receipt") == "yes"));
            if !get("expires").is_empty() {
                line("expires", format!("expires = {}", day(get("expires"))));
            }
        }
    }
}

/// A basic string of TOML, on one line: JSON's are, but for DEL.
fn string(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    serde_json::to_string(&text).unwrap_or_default().replace('\u{7f}', "\\u007f")
}

/// A day as it is; anything else as a string, which the compiler refuses in its place.
fn day(text: &str) -> String {
    match text.parse::<Date>() {
        Ok(date) if date.to_string() == text => text.to_owned(),
        _ => string(text),
    }
}

/// Likewise.
fn number(text: &str) -> String {
    match text.parse::<u32>() {
        Ok(number) => number.to_string(),
        Err(_) => string(text),
    }
}

/// Words between commas or spaces.
fn list(text: &str) -> String {
    array(text.split([',', '，', '、', ' ', '\n', '\r', '\t']))
}

/// A text a line.
fn lines(text: &str) -> String {
    array(text.lines())
}

fn array<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let parts: Vec<String> = parts.map(str::trim).filter(|part| !part.is_empty()).map(string).collect();
    format!("[{}]", parts.join(", "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A charter that is good.
    pub(crate) fn good() -> HashMap<String, String> {
        let (key, hash) = ("1".repeat(64), "0".repeat(64));
        let council = "2".repeat(64);
        [
            ("name", "acme-staff"),
            ("serial", "2"),
            ("controller", "Acme \"Ltd.\", 1 Example Road"),
            ("contact", "privacy@acme.example"),
            ("issued", "2027-01-04"),
            ("expires", "2027-12-31"),
            ("time_zone", "Asia/Shanghai"),
            ("exempt", "works-council, recruiters"),
            ("a1_role", "controller"),
            ("a1_name", "the managing director"),
            ("a1_key", &key),
            ("a2_role", "works_council"),
            ("a2_name", "工会主席"),
            ("a2_key", &council),
            ("notice_version", "2027-1"),
            ("notice_given", "2027-01-04"),
            ("notice_zh", "本公司按部门统计\n工作时间内的次数。"),
            ("notice_en", "We count \\ by department."),
            ("cal_name", "office"),
            ("cal_time_zone", "Asia/Shanghai"),
            ("cal_valid", "2027-01-01..2027-12-31"),
            ("cal_week", "mon-fri 09:00-12:00 13:30-18:00"),
            ("cal_closed", "2027-01-01\n2027-02-06..2027-02-12"),
            ("p1_name", "recruitment"),
            ("p1_basis", "labour_rules"),
            ("p1_title", "Staff handbook"),
            ("p1_sha256", &hash),
            ("p1_categories", "recruitment, recruitment_ats"),
            ("p1_groups", "sales support"),
            ("p1_when", "calendar"),
            ("p1_level", "aggregate"),
            ("p1_retention", "90"),
            ("p1_k", "10"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    #[test]
    fn what_is_filled_in_is_what_the_charter_says() {
        let fields = good();
        let draft = Draft(&fields);
        for step in Step::ALL {
            assert_eq!(draft.faults(step), [], "{step:?}");
        }
        let (file, _) = CharterFile::parse(FILE, draft.toml().as_bytes()).unwrap();
        assert_eq!(file.controller, "Acme \"Ltd.\", 1 Example Road");
        assert_eq!((file.serial, file.approvers.len(), file.exempt.len()), (2, 2, 2));
        assert_eq!(file.notices[0].text[1].1, "本公司按部门统计\n工作时间内的次数。");
        let purpose = &file.purposes[0];
        assert_eq!((purpose.groups.len(), purpose.k, purpose.calendar.as_deref()), (2, 10, Some("office")));
        assert!(file.case.is_none());
    }

    /// Each field by itself, wrong: refused in its step and in its field, and not before its step is reached.
    #[test]
    fn what_is_wrong_is_refused_in_its_place() {
        let table: [(Step, &str, &str, &str); 21] = [
            (Step::Who, "name", "Acme Staff!", "name"),
            (Step::Who, "serial", "first", "serial"),
            (Step::Who, "serial", "0", "serial"),
            (Step::Who, "controller", "", "controller"),
            (Step::Who, "issued", "tomorrow", "issued"),
            (Step::Who, "expires", "2026-01-01", "expires"),
            (Step::Who, "time_zone", "Mars/Base", "time_zone"),
            (Step::Approvers, "a2_key", "12", "a2_key"),
            (Step::Approvers, "a2_role", "owner", "a2_role"),
            (Step::Approvers, "a2_name", "\u{7f}", "a2_name"),
            (Step::Notice, "notice_version", "", "notice_version"),
            (Step::Notice, "notice_given", "soon", "notice_given"),
            (Step::Calendar, "cal_week", "mon-fry 9-5", "cal_week"),
            (Step::Calendar, "cal_valid", "2027", "cal_valid"),
            (Step::Purposes, "p1_basis", "contract", "p1_level"),
            (Step::Purposes, "p1_sha256", "x", "p1_sha256"),
            (Step::Purposes, "p1_categories", "protected_union", "p1_categories"),
            (Step::Purposes, "p1_groups", "sales works-council", "p1_groups"),
            (Step::Purposes, "p1_retention", "9999", "p1_retention"),
            (Step::Purposes, "p1_k", "2", "p1_k"),
            (Step::Purposes, "p1_level", "sealed", "p1_level"),
        ];
        for (step, field, value, place) in table {
            let mut fields = good();
            fields.insert(field.to_owned(), value.to_owned());
            let draft = Draft(&fields);
            let faults = draft.faults(step);
            assert!(
                faults.iter().any(|fault| fault.refuses && fault.step == step && fault.field == place),
                "{field} = {value}: {faults:?}\n{}",
                draft.toml()
            );
            assert!(
                draft.faults(Step::Finish).iter().any(|fault| fault.refuses),
                "{field}: it can't be finished"
            );
            if let Some(before) = step.number().checked_sub(1) {
                assert_eq!(draft.faults(Step::of(before)), [], "{field}: not before its step");
            }
        }
    }

    #[test]
    fn nothing_filled_in_gets_past_no_step() {
        let fields = HashMap::new();
        let draft = Draft(&fields);
        assert!(draft.faults(Step::Who).iter().any(|fault| fault.refuses));
        // Each step left empty by itself, but for holders, whom only sealed records need.
        for (step, prefix) in [
            (Step::Approvers, "a"),
            (Step::Notice, "notice_"),
            (Step::Calendar, "cal_"),
            (Step::Purposes, "p1_"),
        ] {
            let mut fields = good();
            fields.retain(|name, _| !name.starts_with(prefix));
            assert!(
                Draft(&fields).faults(step).iter().any(|fault| fault.refuses && fault.step == step),
                "{step:?}"
            );
        }
    }

    #[test]
    fn no_text_of_a_field_becomes_more_than_its_value() {
        let evil = "x\"\n[[approver]]\nrole = \"controller\"\u{0}\u{7f}\u{2028}'''\"\"\"";
        for field in good().into_keys() {
            let mut fields = good();
            fields.insert(field.clone(), evil.to_owned());
            let draft = Draft(&fields);
            let text = draft.toml();
            let parsed: Result<toml::Table, _> = toml::from_str(&text);
            let parsed = parsed.unwrap_or_else(|e| panic!("{field}: {e}\n{text}"));
            assert_eq!(parsed["approver"].as_array().unwrap().len(), 2, "{field}");
        }
    }
}
