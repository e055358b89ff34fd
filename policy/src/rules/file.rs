//! The rule file: TOML in, rules with places out.

use std::collections::HashMap;
use std::ops::Range;

use jiff::civil::Date;
use serde::Deserialize;
use toml::Spanned;

use super::{Match, Rule, Rules, State};
use crate::category::Category;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity, Text, did_you_mean};
use crate::signature::is_service_key;
use crate::table::SignatureTable;
use crate::vocab::{Action, Purpose, ServiceId};

/// The largest rule file.
pub const MAX_BYTES: usize = 1 << 20;
/// The most rules in a file.
pub const MAX_RULES: usize = 1024;
/// The longest owner or note.
const MAX_TEXT: usize = 512;

/// A rule file that was read, not yet bound to the services of a table.
#[derive(Clone, Debug, Default)]
pub struct RuleFile {
    path: String,
    text: String,
    rules: Vec<Unbound>,
}

/// A rule whose services are still words.
#[derive(Clone, Debug)]
struct Unbound {
    rule: Rule,
    services: Vec<(String, Range<usize>)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    version: Spanned<u32>,
    #[serde(default)]
    rule: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Spanned<String>,
    #[serde(rename = "match")]
    matches: Spanned<RawMatch>,
    action: Spanned<String>,
    state: Option<Spanned<String>>,
    owner: Spanned<String>,
    purpose: Spanned<String>,
    expires: Option<Spanned<toml::value::Datetime>>,
    note: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMatch {
    category: Option<Spanned<Vec<Spanned<String>>>>,
    service: Option<Spanned<Vec<Spanned<String>>>>,
}

impl RuleFile {
    /// Reads a file; `path` is what diagnostics call it. A file with faults is refused whole.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, Diagnostics> {
        if bytes.len() > MAX_BYTES {
            let message = format!("the file has {} bytes, more than {MAX_BYTES}", bytes.len());
            return Err(Diagnostic::file(path, "too-large", message).into());
        }
        let text = Text::from_bytes(path, bytes)?;
        let raw: RawFile = toml::from_str(text.text).map_err(|e| Diagnostics::from(toml_fault(&text, &e)))?;
        let mut reader = Reader { text, faults: Diagnostics::new(), names: HashMap::new() };
        if *raw.version.get_ref() != 1 {
            let message = format!("version {} of the rule format is not known", raw.version.get_ref());
            reader.fault(raw.version.span(), "unknown-version", message, "write `version = 1`".to_owned());
        }
        if let Some(first) = raw.rule.get(MAX_RULES) {
            let message = format!("more than {MAX_RULES} rules");
            reader.fault(
                first.span(),
                "too-many",
                message,
                "match several categories in one rule".to_owned(),
            );
        }
        let rules = raw.rule.into_iter().take(MAX_RULES).filter_map(|rule| reader.rule(rule)).collect();
        let file = Self { path: path.to_owned(), text: text.text.to_owned(), rules };
        reader.faults.into_result(file).map(|(file, _)| file)
    }

    /// What diagnostics call the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A diagnostic at the name of a rule of this file.
    pub fn at_rule(&self, rule: &Rule, code: &'static str, message: String) -> Diagnostic {
        Text::new(&self.path, &self.text).error(line_span(&self.text, rule.line), code, message)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Binds the rules to the services of a table. An unknown service is an error: a rule that silently matches
    /// nothing is worse than none. Warnings, if any, come with the rules.
    pub fn bind(
        &self,
        table: &SignatureTable,
        today: Option<Date>,
    ) -> Result<(Rules, Diagnostics), Diagnostics> {
        let text = Text::new(&self.path, &self.text);
        let mut faults = Diagnostics::new();
        let mut rules = Vec::with_capacity(self.rules.len());
        for Unbound { rule, services } in &self.rules {
            let mut rule = rule.clone();
            for (key, span) in services {
                match table.service_named(key) {
                    Some(id) => {
                        check_category(&text, &rule, table, id, key, span, &mut faults);
                        rule.matches.services.push(id);
                    }
                    None => {
                        let keys = table.services().map(|(_, s)| s.name);
                        let help = did_you_mean(key, keys).unwrap_or_else(|| {
                            "`glassgate check` lists the services of the table".to_owned()
                        });
                        let message = format!("there is no service `{key}`");
                        faults.push(text.error(span.clone(), "unknown-service", message).help(help));
                    }
                }
            }
            rule.matches.services.sort_unstable();
            rule.matches.services.dedup();
            if today.is_some_and(|today| rule.expires.is_some_and(|last| last < today)) {
                let message = format!("rule `{}` has expired and does nothing", rule.name);
                let fault = self.at_rule(&rule, "expired", message).severity(Severity::Warning);
                faults.push(fault.help("take it out, or give it another last day"));
            }
            rules.push(rule);
        }
        faults.into_result(Rules { rules })
    }
}

/// A service outside of the categories of the same rule never matches; a protected one needs a purpose that carries it.
fn check_category(
    text: &Text<'_>,
    rule: &Rule,
    table: &SignatureTable,
    id: ServiceId,
    key: &str,
    span: &Range<usize>,
    faults: &mut Diagnostics,
) {
    let Some(service) = table.service(id) else { return };
    if !rule.matches.categories.is_empty() && !rule.matches.categories.contains(&service.category) {
        let message =
            format!("service `{key}` is of category `{}`, which this rule does not match", service.category);
        let fault = text.error(span.clone(), "never-matches", message).severity(Severity::Warning);
        faults.push(fault.help("both `category` and `service` must agree; take one of them out"));
    }
    if let Some(message) = protected_needs_security(rule.action, rule.purpose, service.category) {
        faults.push(text.error(span.clone(), "protected", message).help(PROTECTED_HELP));
    }
}

const PROTECTED_HELP: &str =
    "banks, health, unions, lawyers, faith and sexual life are left alone for any other purpose";

fn protected_needs_security(action: Action, purpose: Purpose, category: Category) -> Option<String> {
    (category.is_protected() && action != Action::Allow && purpose != Purpose::Security).then(|| {
        format!(
            "category `{category}` is protected: only purpose `security` may `{action}` it, not `{purpose}`"
        )
    })
}

struct Reader<'a> {
    text: Text<'a>,
    faults: Diagnostics,
    /// Line of the rule with each name.
    names: HashMap<String, u32>,
}

impl Reader<'_> {
    fn rule(&mut self, raw: Spanned<RawRule>) -> Option<Unbound> {
        let before = self.faults.count();
        let raw = raw.into_inner();
        let name_span = raw.name.span();
        let line = self.text.error(name_span.clone(), "", "").line;
        let name = raw.name.into_inner();
        if !is_service_key(&name) {
            let help = "use lower-case letters, digits and hyphens, at most 48".to_owned();
            self.fault(name_span.clone(), "bad-name", format!("`{name}` is no name of a rule"), help);
        }
        if let Some(first) = self.names.insert(name.clone(), line) {
            let message = format!("another rule, in line {first}, is called `{name}`");
            let help = "counters and records tell rules apart by name".to_owned();
            self.fault(name_span, "named-twice", message, help);
        }
        let action = self.word(&raw.action, "action", Action::from_word, Action::ALL, Action::as_str);
        let state = match &raw.state {
            None => Some(State::Shadow),
            Some(state) => self.word(state, "state", State::from_word, State::ALL, State::as_str),
        };
        let purpose = self.word(&raw.purpose, "purpose", Purpose::from_word, Purpose::ALL, Purpose::as_str);
        let owner = self.text_of(raw.owner, "owner", true);
        let note = raw.note.map_or(Some(String::new()), |note| self.text_of(note, "note", false));
        let expires = match raw.expires {
            None => Some(None),
            Some(date) => self.date(&date).map(Some),
        };
        let matches = raw.matches.span();
        let raw_match = raw.matches.into_inner();
        if raw_match.category.is_none() && raw_match.service.is_none() {
            let message = "the rule matches nothing: `match` is empty".to_owned();
            self.fault(matches, "empty-match", message, "give `category` or `service`".to_owned());
        }
        let (categories, category_spans) = self.categories(raw_match.category);
        let services = self.services(raw_match.service);
        let (action, purpose) = (action?, purpose?);
        for (category, span) in categories.iter().zip(&category_spans) {
            if let Some(message) = protected_needs_security(action, purpose, *category) {
                self.fault(span.clone(), "protected", message, PROTECTED_HELP.to_owned());
            }
        }
        if self.faults.count() > before {
            return None;
        }
        let service_keys = services.iter().map(|(key, _)| key.clone()).collect();
        let rule = Rule {
            name,
            line,
            matches: Match { categories, services: Vec::new(), service_keys },
            action,
            state: state?,
            owner: owner?,
            purpose,
            expires: expires?,
            note: note?,
        };
        Some(Unbound { rule, services })
    }

    fn categories(
        &mut self,
        raw: Option<Spanned<Vec<Spanned<String>>>>,
    ) -> (Vec<Category>, Vec<Range<usize>>) {
        let Some(raw) = raw else { return Default::default() };
        self.not_empty(&raw, "category");
        let mut seen = Vec::new();
        let mut spans = Vec::new();
        for word in raw.into_inner() {
            let found = self.word(&word, "category", Category::from_word, Category::ALL, Category::as_str);
            let Some(category) = found else { continue };
            if seen.contains(&category) {
                let message = format!("category `{category}` stands here twice");
                self.fault(word.span(), "twice", message, "take one out".to_owned());
            } else {
                seen.push(category);
                spans.push(word.span());
            }
        }
        (seen, spans)
    }

    fn services(&mut self, raw: Option<Spanned<Vec<Spanned<String>>>>) -> Vec<(String, Range<usize>)> {
        let Some(raw) = raw else { return Vec::new() };
        self.not_empty(&raw, "service");
        let mut out: Vec<(String, Range<usize>)> = Vec::new();
        for word in raw.into_inner() {
            let span = word.span();
            let key = word.into_inner();
            if !is_service_key(&key) {
                let help = "services go by their keys, such as `boss-zhipin`".to_owned();
                self.fault(span, "unknown-service", format!("`{key}` is no key of a service"), help);
            } else if out.iter().any(|(other, _)| *other == key) {
                let message = format!("service `{key}` stands here twice");
                self.fault(span, "twice", message, "take one out".to_owned());
            } else {
                out.push((key, span));
            }
        }
        out
    }

    fn not_empty(&mut self, list: &Spanned<Vec<Spanned<String>>>, field: &str) {
        if list.get_ref().is_empty() {
            let message = format!("`{field}` is an empty list, which matches nothing");
            self.fault(list.span(), "empty-match", message, format!("name one, or take `{field}` out"));
        }
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
            let known = || all.iter().map(|t| show(*t));
            let help = did_you_mean(word, known())
                .unwrap_or_else(|| format!("known are: {}", known().collect::<Vec<_>>().join(", ")));
            let code = match what {
                "action" => "unknown-action",
                "state" => "unknown-state",
                "purpose" => "unknown-purpose",
                _ => "unknown-category",
            };
            self.fault(written.span(), code, format!("there is no {what} `{word}`"), help);
        }
        found
    }

    fn text_of(&mut self, written: Spanned<String>, what: &str, required: bool) -> Option<String> {
        let span = written.span();
        let value = written.into_inner();
        if value.len() > MAX_TEXT || value.chars().any(char::is_control) {
            let message = format!("`{what}` is longer than {MAX_TEXT} bytes or has control characters");
            self.fault(span, "bad-text", message, "shorten it to one line".to_owned());
            return None;
        }
        if required && value.trim().is_empty() {
            let help = "say who answers for the rule: an address or a role".to_owned();
            self.fault(span, "missing", format!("`{what}` is empty"), help);
            return None;
        }
        Some(value)
    }

    fn date(&mut self, written: &Spanned<toml::value::Datetime>) -> Option<Date> {
        let date = written.get_ref();
        let found = match (date.date, date.time, date.offset) {
            (Some(day), None, None) => Date::new(day.year as i16, day.month as i8, day.day as i8).ok(),
            _ => None,
        };
        if found.is_none() {
            let message = format!("`{date}` is not a day");
            self.fault(written.span(), "bad-date", message, "write YYYY-MM-DD, without quotes".to_owned());
        }
        found
    }

    fn fault(&mut self, span: Range<usize>, code: &'static str, message: String, help: String) {
        self.faults.push(self.text.error(span, code, message).help(help));
    }
}

/// Adds advice to what the TOML reader says where it says too little.
fn toml_fault(text: &Text<'_>, error: &toml::de::Error) -> Diagnostic {
    let diagnostic = text.toml_error(error);
    if diagnostic.help.is_some() {
        return diagnostic;
    }
    let unknown = diagnostic.message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    match unknown {
        Some((field, rest)) => {
            let known = rest.split('`').skip(1).step_by(2);
            let advice = did_you_mean(field, known);
            match advice {
                Some(advice) => diagnostic.help(advice),
                None => diagnostic,
            }
        }
        None if diagnostic.message.contains("expected a sequence") => {
            diagnostic.help("write a list, such as [\"games\"]")
        }
        None => diagnostic,
    }
}

fn line_span(text: &str, line: u32) -> Range<usize> {
    let before = text.split_inclusive('\n').take(line.saturating_sub(1) as usize).map(str::len).sum();
    let len = text.get(before..).unwrap_or_default().lines().next().unwrap_or_default().len();
    before..before + len
}
