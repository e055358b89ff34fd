//! The rule file: TOML in, rules with places out.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use jiff::civil::Date;
use serde::Deserialize;
use toml::Spanned;

use super::{BadRate, Declared, Limit, Match, Per, Rate, Rule, RuleAction, Rules, State};
use crate::category::Category;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity, Text, did_you_mean, is_unprintable, known_words};
use crate::limit::MAX_LIMITS;
use crate::limit::{Amount, BadAmount, Every, Pace, Quota};
use crate::matrix::MAX_COLUMNS;
use crate::signature::is_service_key;
use crate::table::SignatureTable;
use crate::vocab::{Purpose, ServiceId};

/// The largest rule file.
pub const MAX_BYTES: usize = 1 << 20;
/// The most rules in a file.
pub const MAX_RULES: usize = 1024;
/// The most services that the rules of a file may single out: each takes a column of the verdict matrix.
pub const MAX_SERVICES: usize = MAX_COLUMNS - Category::SLOTS;
/// The most groups and the most calendars that a file may declare.
const MAX_DECLARED: usize = 256;
/// The longest owner or note.
const MAX_TEXT: usize = 512;

/// A rule file that was read, not yet bound to the services of a table.
#[derive(Clone, Debug, Default)]
pub struct RuleFile {
    path: String,
    text: String,
    pub(super) groups: Vec<Word>,
    pub(super) calendars: Vec<Word>,
    rules: Vec<Unbound>,
}

/// A word and where it stands.
pub(super) type Word = (String, Range<usize>);

/// A rule whose services, groups and calendars are still words.
#[derive(Clone, Debug)]
struct Unbound {
    rule: Rule,
    services: Vec<Word>,
    groups: Vec<Word>,
    calendars: Vec<Word>,
}

type Words = Spanned<Vec<Spanned<String>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    version: Spanned<u32>,
    groups: Option<Words>,
    calendars: Option<Words>,
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
    rate: Option<Spanned<String>>,
    amount: Option<Spanned<String>>,
    every: Option<Spanned<String>>,
    per: Option<Spanned<String>>,
    state: Option<Spanned<String>>,
    owner: Spanned<String>,
    purpose: Spanned<String>,
    expires: Option<Spanned<toml::value::Datetime>>,
    note: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMatch {
    category: Option<Words>,
    service: Option<Words>,
    group: Option<Words>,
    calendar: Option<Words>,
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
        let mut reader = Reader { text, faults: Diagnostics::new(), names: HashMap::new(), limits: 0 };
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
        let groups = reader.declared(raw.groups, "groups");
        let calendars = reader.declared(raw.calendars, "calendars");
        let rules = raw.rule.into_iter().take(MAX_RULES).filter_map(|rule| reader.rule(rule)).collect();
        let file = Self { path: path.to_owned(), text: text.text.to_owned(), groups, calendars, rules };
        reader.faults.into_result(file).map(|(file, _)| file)
    }

    /// What diagnostics call the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn text(&self) -> Text<'_> {
        Text::new(&self.path, &self.text)
    }

    /// A diagnostic at the name of a rule of this file.
    pub fn at_rule(&self, rule: &Rule, code: &'static str, message: String) -> Diagnostic {
        self.text().error(line_span(&self.text, rule.line), code, message)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Binds the rules to the services of a table, and to groups and calendars. An unknown name is an error: a rule
    /// that silently matches nothing is worse than none. Groups and calendars are known when they are declared at the
    /// head of the file or in `declared`, which also gives them their meaning. Warnings, if any, come with the rules.
    pub fn bind(
        &self,
        table: &SignatureTable,
        declared: &Declared,
        today: Option<Date>,
    ) -> Result<(Rules, Diagnostics), Diagnostics> {
        let text = self.text();
        let mut faults = Diagnostics::new();
        let mut rules = Vec::with_capacity(self.rules.len());
        let mut singled_out = HashSet::new();
        for Unbound { rule, services, groups, calendars } in &self.rules {
            let mut rule = rule.clone();
            let known = || declared.groups.keys().map(String::as_str).chain(names(&self.groups));
            undeclared(&text, groups, "group", known, &mut faults);
            rule.matches.groups =
                groups.iter().filter_map(|(name, _)| declared.groups.get(name).copied()).collect();
            rule.matches.groups.sort_unstable();
            let known = || declared.calendars.iter().map(String::as_str).chain(names(&self.calendars));
            undeclared(&text, calendars, "calendar", known, &mut faults);
            for (key, span) in services {
                match table.service_named(key) {
                    Some(id) => {
                        if singled_out.insert(id) && singled_out.len() == MAX_SERVICES + 1 {
                            let message = format!("the rules single out more than {MAX_SERVICES} services");
                            let fault = text.error(span.clone(), "too-many", message);
                            faults.push(fault.help("match their category, or let a signature list of your own name them as one service"));
                        }
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

fn protected_needs_security(action: RuleAction, purpose: Purpose, category: Category) -> Option<String> {
    (category.is_protected() && action != RuleAction::Allow && purpose != Purpose::Security).then(|| {
        let action = action.as_str();
        format!(
            "category `{category}` is protected: only purpose `security` may `{action}` it, not `{purpose}`"
        )
    })
}

fn names(words: &[Word]) -> impl Iterator<Item = &str> {
    words.iter().map(|(word, _)| word.as_str())
}

/// A fault for each word that is not known.
fn undeclared<'a, K: Iterator<Item = &'a str>>(
    text: &Text<'_>,
    words: &[Word],
    what: &str,
    known: impl Fn() -> K,
    faults: &mut Diagnostics,
) {
    let code = if what == "group" { "unknown-group" } else { "unknown-calendar" };
    for (name, span) in words.iter().filter(|(name, _)| !known().any(|k| k == name)) {
        let help = did_you_mean(name, known())
            .unwrap_or_else(|| format!("declare it at the head of the file: `{what}s = [\"{name}\"]`"));
        faults.push(text.error(span.clone(), code, format!("there is no {what} `{name}`")).help(help));
    }
}

struct Reader<'a> {
    text: Text<'a>,
    faults: Diagnostics,
    /// Line of the rule with each name.
    names: HashMap<String, u32>,
    /// Rules with a limit so far.
    limits: usize,
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
        let how = [&raw.rate, &raw.amount, &raw.every, &raw.per].map(Option::as_ref);
        let action = self.action(&raw.action, how);
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
        let RawMatch { category, service, group, calendar } = raw.matches.into_inner();
        if category.is_none()
            && service.is_none()
            && action.is_some_and(|action| action != RuleAction::Notice)
        {
            // A group or calendar alone would take protected categories along. A notice takes nothing.
            let message = "`match` says nothing of what a flow is for".to_owned();
            self.fault(matches, "empty-match", message, "give `category` or `service`".to_owned());
        }
        let (categories, category_spans) = self.categories(category);
        let help = "services go by their keys, such as `boss-zhipin`";
        let services = self.keys(service, "service", "unknown-service", help);
        let help = "groups have names of lower-case letters, digits and hyphens";
        let groups = self.keys(group, "group", "unknown-group", help);
        let help = "calendars have names of lower-case letters, digits and hyphens";
        let calendars = self.keys(calendar, "calendar", "unknown-calendar", help);
        let (action, state, purpose) = (action?, state?, purpose?);
        for (category, span) in categories.iter().zip(&category_spans) {
            if let Some(message) = protected_needs_security(action, purpose, *category) {
                self.fault(span.clone(), "protected", message, PROTECTED_HELP.to_owned());
            }
        }
        if self.faults.count() > before {
            return None;
        }
        let words = |words: &[Word]| names(words).map(str::to_owned).collect::<Vec<_>>();
        let matches = Match {
            categories,
            service_keys: words(&services),
            services: Vec::new(),
            group_names: words(&groups),
            groups: Vec::new(),
            calendars: words(&calendars),
        };
        let rule = Rule {
            name,
            line,
            matches,
            action,
            state,
            owner: owner?,
            purpose,
            expires: expires?,
            note: note?,
        };
        Some(Unbound { rule, services, groups, calendars })
    }

    /// `how`: rate, amount, every, per.
    fn action(&mut self, action: &Spanned<String>, how: [Option<&Spanned<String>>; 4]) -> Option<RuleAction> {
        let word = action.get_ref().as_str();
        let [rate, amount, every, per] = how;
        let (read, takes): (_, &[&str]) = match word {
            "limit" => {
                let Some(rate) = rate else {
                    let message = "`limit` needs a rate".to_owned();
                    self.fault(action.span(), "missing", message, "add `rate = \"2 Mbit/s\"`".to_owned());
                    return None;
                };
                let rate = self.rate(rate)?;
                (self.limited(action, Pace::Rate(rate), per)?, &["rate", "per"])
            }
            "quota" => {
                let (Some(amount), Some(every)) = (amount, every) else {
                    let message = "`quota` needs an amount, and in what time".to_owned();
                    let help = "add `amount = \"5 GB\"` and `every = \"day\"`".to_owned();
                    self.fault(action.span(), "missing", message, help);
                    return None;
                };
                let every = self.word(every, "time", Every::from_word, Every::ALL, Every::as_str);
                let (amount, every) = (self.amount(amount)?, every?);
                (
                    self.limited(action, Pace::Quota(Quota { amount, every }), per)?,
                    &["amount", "every", "per"],
                )
            }
            "allow" => (RuleAction::Allow, &[]),
            "observe" => (RuleAction::Observe, &[]),
            "block" => (RuleAction::Block, &[]),
            "notice" => (RuleAction::Notice, &[]),
            _ => {
                let help = match word {
                    "forward" | "accept" | "permit" | "pass" => "write `allow`".to_owned(),
                    "drop" | "deny" | "reject" | "reset" => {
                        "write `block`: frames are dropped, and both ends are told".to_owned()
                    }
                    _ => known_words(word, RuleAction::WORDS.iter().copied()),
                };
                let message = format!("there is no action `{word}`");
                self.fault(action.span(), "unknown-action", message, help);
                return None;
            }
        };
        for (stray, what) in how.into_iter().zip(["rate", "amount", "every", "per"]) {
            if let Some(stray) = stray.filter(|_| !takes.contains(&what)) {
                let message = format!("`{word}` has no `{what}`");
                self.fault(stray.span(), "stray-rate", message, "take it out".to_owned());
                return None;
            }
        }
        Some(read)
    }

    fn limited(
        &mut self,
        action: &Spanned<String>,
        pace: Pace,
        per: Option<&Spanned<String>>,
    ) -> Option<RuleAction> {
        let per = match per {
            None => Some(Per::Rule),
            Some(per) => self.word(per, "share", Per::from_word, Per::ALL, Per::as_str),
        }?;
        self.limits += 1;
        if self.limits == MAX_LIMITS + 1 {
            let message = format!("more than {MAX_LIMITS} rules with `limit` or `quota`");
            let help = "match several categories in one rule, with `per = \"category\"`".to_owned();
            self.fault(action.span(), "too-many", message, help);
        }
        Some(RuleAction::Limit(Limit { pace, per }))
    }

    fn amount(&mut self, amount: &Spanned<String>) -> Option<Amount> {
        match Amount::parse(amount.get_ref()) {
            Ok(amount) => Some(amount),
            Err(why) => {
                let message = match why {
                    BadAmount::Range => format!("`{}` is out of range", amount.get_ref()),
                    BadAmount::Shape => format!("`{}` is no amount", amount.get_ref()),
                };
                self.fault(amount.span(), "bad-amount", message, why.to_string());
                None
            }
        }
    }

    fn rate(&mut self, rate: &Spanned<String>) -> Option<Rate> {
        match Rate::parse(rate.get_ref()) {
            Ok(rate) => Some(rate),
            Err(why) => {
                let message = match why {
                    BadRate::Range => format!("`{}` is out of range", rate.get_ref()),
                    _ => format!("`{}` is no rate", rate.get_ref()),
                };
                self.fault(rate.span(), "bad-rate", message, why.to_string());
                None
            }
        }
    }

    /// Names that the head of the file declares.
    fn declared(&mut self, raw: Option<Words>, what: &'static str) -> Vec<Word> {
        if let Some(raw) = &raw
            && let Some(first) = raw.get_ref().get(MAX_DECLARED)
        {
            let message = format!("more than {MAX_DECLARED} {what}");
            self.fault(first.span(), "too-many", message, "take out those that no rule uses".to_owned());
            return Vec::new();
        }
        self.keys(raw, what, "bad-name", "use lower-case letters, digits and hyphens, at most 48")
    }

    fn categories(&mut self, raw: Option<Words>) -> (Vec<Category>, Vec<Range<usize>>) {
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

    /// A list of keys of services, or of names of their form.
    fn keys(&mut self, raw: Option<Words>, field: &str, code: &'static str, help: &str) -> Vec<Word> {
        let Some(raw) = raw else { return Vec::new() };
        self.not_empty(&raw, field);
        let mut out: Vec<Word> = Vec::new();
        let mut seen = HashSet::new();
        for word in raw.into_inner() {
            let span = word.span();
            let key = word.into_inner();
            if !is_service_key(&key) {
                self.fault(span, code, format!("`{key}` can't be one of `{field}`"), help.to_owned());
            } else if !seen.insert(key.clone()) {
                let message = format!("`{key}` stands here twice");
                self.fault(span, "twice", message, "take one out".to_owned());
            } else {
                out.push((key, span));
            }
        }
        out
    }

    fn not_empty(&mut self, list: &Words, field: &str) {
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
            let help = known_words(word, all.iter().map(|t| show(*t)));
            let code = match what {
                "state" => "unknown-state",
                "purpose" => "unknown-purpose",
                "share" => "unknown-share",
                "time" => "unknown-time",
                _ => "unknown-category",
            };
            self.fault(written.span(), code, format!("there is no {what} `{word}`"), help);
        }
        found
    }

    fn text_of(&mut self, written: Spanned<String>, what: &str, required: bool) -> Option<String> {
        let span = written.span();
        let value = written.into_inner();
        if value.len() > MAX_TEXT || value.chars().any(is_unprintable) {
            let message =
                format!("`{what}` is longer than {MAX_TEXT} bytes, or has characters that can't be seen");
            let help = "make it one line; take out control characters, and those that reorder or hide text";
            self.fault(span, "bad-text", message, help.to_owned());
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
