//! Errors in texts that people write: signature sources, rules, configuration, charters.
//!
//! One type for all of them, so that every tool shows faults the same way: where (path, line, column, length), what
//! was found, what to do. [`Diagnostic`] renders as text with the source line and a caret under the fault, and
//! serializes as JSON.
//!
//! ```text
//! error[unknown-category]: there is no category `recruitmnt`
//!   --> recruitment.tsv:12:29
//!    |
//! 12 | zhipin.com  suffix  boss-zhipin  recruitmnt  site
//!    |                                  ^^^^^^^^^^
//!    = help: did you mean `recruitment`?
//! ```
//!
//! Texts are hostile. Control characters are shown as `�`, long lines are cut around the fault, and a
//! [`Diagnostics`] keeps at most [`MAX_KEPT`] and counts the rest.

use std::fmt;
use std::ops::Range;

use serde::Serialize;
use unicode_width::UnicodeWidthChar;

/// How many diagnostics are kept for one run; the rest is only counted.
pub const MAX_KEPT: usize = 100;
/// The widest part of a source line that is shown, in terminal columns.
const MAX_SHOWN: usize = 120;
/// How far a tab moves when a source line is shown.
const TAB: usize = 4;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing has to be done.
    Note,
    /// Works, but probably not as meant.
    Warning,
    /// Refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A fault in a text, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A short word for the kind of fault, stable across versions: for scripts and for searching the manual.
    pub code: &'static str,
    /// The file, as the user named it.
    pub path: String,
    /// 1-based line; `0` when the fault is in no line, such as a file that can't be read.
    pub line: u32,
    /// 1-based column, counted in characters.
    pub column: u32,
    /// How many characters are meant; at least 1.
    pub length: u32,
    /// What was found.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line of the source, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Diagnostic {
    /// An error about a whole file.
    pub fn file(path: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            path: path.into(),
            line: 0,
            column: 0,
            length: 1,
            message: message.into(),
            help: None,
            source: None,
        }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with another severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, printable(&self.message))?;
        if self.line == 0 {
            write!(f, "\n  --> {}", printable(&self.path))?;
        } else {
            write!(f, "\n  --> {}:{}:{}", printable(&self.path), self.line, self.column)?;
        }
        let margin = self.line.to_string().len();
        if let Some(source) = self.source.as_deref().filter(|_| self.line > 0) {
            let (shown, caret_at, caret_len) = excerpt(source, self.column, self.length);
            write!(f, "\n{:margin$} |", "")?;
            write!(f, "\n{} | {shown}", self.line)?;
            write!(f, "\n{:margin$} | {:caret_at$}{}", "", "", "^".repeat(caret_len))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:margin$} = help: {}", "", printable(help))?;
        }
        Ok(())
    }
}

/// A text and the name it goes by: turns byte ranges into diagnostics.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The file, as the user named it.
    pub path: &'a str,
    /// All of it.
    pub text: &'a str,
}

impl<'a> Text<'a> {
    /// Names a text.
    pub const fn new(path: &'a str, text: &'a str) -> Self {
        Self { path, text }
    }

    /// Reads bytes as UTF-8; an error names the place of the first byte that isn't. A byte order mark is skipped.
    pub fn from_bytes(path: &'a str, bytes: &'a [u8]) -> Result<Self, Diagnostics> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self { path, text: text.strip_prefix('\u{feff}').unwrap_or(text) }),
            Err(error) => {
                let (good, bad) = bytes.split_at_checked(error.valid_up_to()).unwrap_or((bytes, &[]));
                let good = std::str::from_utf8(good).unwrap_or_default();
                let text = Self { path, text: good };
                let byte = bad.first().copied().unwrap_or_default();
                Err(text
                    .error(good.len()..good.len(), "not-utf8", format!("byte {byte:#04x} is not UTF-8"))
                    .help("save the file as UTF-8")
                    .into())
            }
        }
    }

    /// An error at a range of bytes. A range outside of the text is moved to its end.
    pub fn error(&self, span: Range<usize>, code: &'static str, message: impl Into<String>) -> Diagnostic {
        let start = floor_char(self.text, span.start);
        let end = floor_char(self.text, span.end.max(span.start));
        let (before, after) = self.text.split_at_checked(start).unwrap_or((self.text, ""));
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let line_end = after.find('\n').map_or(self.text.len(), |at| start + at);
        let source = self.text.get(line_start..line_end).unwrap_or_default();
        let source = source.strip_suffix('\r').unwrap_or(source);
        let length = self.text.get(start..end.min(line_end)).unwrap_or_default().chars().count().max(1);
        Diagnostic {
            severity: Severity::Error,
            code,
            path: self.path.to_owned(),
            line: saturating(line),
            column: saturating(column),
            length: saturating(length),
            message: message.into(),
            help: None,
            source: Some(source.to_owned()),
        }
    }

    /// What the TOML reader refused, with its place.
    pub fn toml_error(&self, error: &toml::de::Error) -> Diagnostic {
        let span = error.span().unwrap_or(0..0);
        let mut lines = error.message().trim().lines();
        let message = lines.next().unwrap_or("this is not TOML").to_owned();
        // What is not closed is noticed at the next word, which may stand lines below: the fault is where it ends.
        let open = message.starts_with("missing comma") || message.starts_with("unclosed");
        let before = self.text.get(..span.start).unwrap_or_default().trim_end();
        let span = if open && !before.is_empty() { before.len()..before.len() } else { span };
        let diagnostic = self.error(span, "toml", message);
        let help: Vec<&str> = lines.map(str::trim).filter(|l| !l.is_empty()).collect();
        if help.is_empty() { diagnostic } else { diagnostic.help(help.join("; ")) }
    }
}

/// Several diagnostics of one run, in the order they were found. Never grows beyond [`MAX_KEPT`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnostics {
    diagnostics: Vec<Diagnostic>,
    /// How many more there were.
    not_shown: usize,
    errors: usize,
}

impl Diagnostics {
    /// None.
    pub const fn new() -> Self {
        Self { diagnostics: Vec::new(), not_shown: 0, errors: 0 }
    }

    /// Adds one; beyond [`MAX_KEPT`] it is only counted.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if self.diagnostics.len() < MAX_KEPT {
            self.diagnostics.push(diagnostic);
        } else {
            self.not_shown += 1;
        }
    }

    /// Adds those of another run.
    pub fn append(&mut self, other: Self) {
        let errors =
            other.errors - other.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        for diagnostic in other.diagnostics {
            self.push(diagnostic);
        }
        self.not_shown += other.not_shown;
        self.errors += errors;
    }

    /// Those that were kept.
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// How many there were, kept or not.
    pub fn count(&self) -> usize {
        self.diagnostics.len() + self.not_shown
    }

    /// How many of them are errors, kept or not.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether no further one would be kept: a reader may stop here.
    pub fn is_full(&self) -> bool {
        self.diagnostics.len() >= MAX_KEPT
    }

    /// `Err` with all of them if one is an error, else the value and what remains to be said.
    pub fn into_result<T>(self, value: T) -> Result<(T, Self), Self> {
        if self.has_errors() { Err(self) } else { Ok((value, self)) }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        let mut all = Self::new();
        all.push(diagnostic);
        all
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.diagnostics.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.diagnostics.iter()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.diagnostics.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        if self.not_shown > 0 {
            write!(f, "\n\n{} more not shown", self.not_shown)?;
        }
        Ok(())
    }
}

/// The closest of `known` to what was written, as advice; `None` if nothing is close.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // The distance is quadratic in the length: what is longer than any word of ours is not compared.
    if written.len() > 64 {
        return None;
    }
    let best = known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&written.to_lowercase(), word), word))
        .min_by_key(|(distance, _)| *distance)?;
    (best.0 <= 1 + written.chars().count() / 4).then(|| format!("did you mean `{}`?", best.1))
}

/// Advice for a word that is none of `known`: the closest of them, or all.
pub fn known_words<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    did_you_mean(written, known.iter().copied()).unwrap_or_else(|| format!("known are: {}", known.join(", ")))
}

/// Text from outside, safe to print on a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) { '\u{fffd}' } else { c }).collect()
}

/// Control characters, and those that reorder or hide text.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

/// The part of a line to show, and where the caret starts and how wide it is, in terminal columns.
fn excerpt(source: &str, column: u32, length: u32) -> (String, usize, usize) {
    let (column, length) = (column.max(1) as usize - 1, length.max(1) as usize);
    let width = |c: char| match c {
        '\t' => TAB,
        c if is_unprintable(c) => 1,
        c => c.width().unwrap_or(1),
    };
    // Start so that the caret is inside of what is shown, with a third of the width before it.
    let mut skip = 0;
    let mut before: usize = source.chars().take(column).map(width).sum();
    if source.chars().map(width).sum::<usize>() > MAX_SHOWN {
        for c in source.chars().take(column) {
            if before <= MAX_SHOWN / 3 {
                break;
            }
            before -= width(c);
            skip += 1;
        }
    }
    let mut shown = String::new();
    let (mut at, mut caret_at, mut caret_len) = (0, None, 0);
    if skip > 0 {
        shown.push('…');
        at = 1;
    }
    for (i, c) in source.chars().enumerate().skip(skip) {
        if at >= MAX_SHOWN {
            shown.push('…');
            break;
        }
        if i == column {
            caret_at = Some(at);
        }
        if (column..column.saturating_add(length)).contains(&i) {
            caret_len += width(c);
        }
        match c {
            '\t' => shown.push_str(&" ".repeat(TAB)),
            c if is_unprintable(c) => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
        at += width(c);
    }
    (shown, caret_at.unwrap_or(at), caret_len.max(1))
}

fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn saturating(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn renders_line_and_caret() {
        let text = Text::new("a.tsv", "# one\nzhipin.com\tsuffix\trecruitmnt\r\nlast");
        let at = text.text.find("recruitmnt").unwrap();
        let d = text
            .error(at..at + 10, "unknown-category", "there is no category `recruitmnt`")
            .help("did you mean `recruitment`?");
        assert_eq!((d.line, d.column, d.length), (2, 19, 10));
        let expected = "error[unknown-category]: there is no category `recruitmnt`\n  --> a.tsv:2:19\n  |\n2 | zhipin.com    suffix    recruitmnt\n  |                         ^^^^^^^^^^\n  = help: did you mean `recruitment`?";
        assert_eq!(d.to_string(), expected);
    }

    #[test]
    fn wide_characters_move_the_caret_and_control_characters_are_hidden() {
        let text = Text::new("a", "智联\u{1b}[31m x");
        let at = text.text.find('x').unwrap();
        let d = text.error(at..at + 1, "c", "m");
        assert_eq!(d.column, 9);
        let out = d.to_string();
        assert!(!out.contains('\u{1b}'), "{out}");
        let caret = out.lines().nth(4).unwrap();
        assert_eq!(caret, "  |           ^");
    }

    #[test]
    fn json_has_the_place() {
        let d = Text::new("r.toml", "a = 1\nb = ").error(10..11, "toml", "no value");
        let json = serde_json::to_value(&d).unwrap();
        assert_eq!(json["path"], "r.toml");
        assert_eq!(json["line"], 2);
        assert_eq!(json["column"], 5);
        assert_eq!(json["severity"], "error");
        assert_eq!(json["source"], "b = ");
    }

    #[test]
    fn bytes_that_are_not_utf8_have_a_place() {
        let all = Text::from_bytes("x", b"ab\ncd\xff").unwrap_err();
        let d = &all.as_slice()[0];
        assert_eq!((d.line, d.column), (2, 3));
        assert_eq!(Text::from_bytes("x", b"\xef\xbb\xbfab").unwrap().text, "ab");
    }

    #[test]
    fn toml_errors_have_a_place() {
        let text = Text::new("g.toml", "ok = 1\nbad = = 2\n");
        let error = text.text.parse::<toml::Table>().unwrap_err();
        assert_eq!(text.toml_error(&error).line, 2);
    }

    #[test]
    fn what_is_not_closed_is_shown_where_it_ends() {
        let text = Text::new("g.toml", "a = [\"x\"\n\n[b]\nc = 1\n");
        let error = text.text.parse::<toml::Table>().unwrap_err();
        let shown = text.toml_error(&error);
        assert_eq!((shown.line, shown.column), (1, 9), "{shown}");
    }

    #[test]
    fn many_are_counted_not_kept() {
        let mut all = Diagnostics::new();
        for _ in 0..1000 {
            all.push(Diagnostic::file("f", "c", "m"));
        }
        assert_eq!((all.as_slice().len(), all.count()), (MAX_KEPT, 1000));
        let mut twice = all.clone();
        twice.append(all);
        assert_eq!((twice.count(), twice.errors), (2000, 2000));
    }

    #[test]
    fn suggestions() {
        assert_eq!(did_you_mean("gmaes", ["games", "music"]).as_deref(), Some("did you mean `games`?"));
        assert_eq!(did_you_mean("weather", ["games", "music"]), None);
    }

    proptest! {
        #[test]
        fn any_text_and_span_renders(text in "\\PC{0,300}[\\x00-\\x20]{0,9}\\PC{0,9}", a in 0usize..900, b in 0usize..900) {
            let d = Text::new("p", &text).error(a..b, "c", "m");
            let out = d.to_string();
            prop_assert!(out.chars().all(|c| c == '\n' || !c.is_control()));
            prop_assert!(d.line as usize <= text.matches('\n').count() + 1);
        }
    }
}
