//! Our own text format for signatures: tab-separated lines, one fact each.
//!
//! A file starts with a header line that names the columns and thereby says which of two kinds it is:
//!
//! ```text
//! name        scope   service      category     role  tier    source                        licence  added       expires  note
//! zhipin.com  suffix  boss-zhipin  recruitment  site  strong  v2fly/domain-list-community   MIT      2026-11-21
//!
//! service      category     title                region
//! boss-zhipin  recruitment  BOSS Zhipin BOSS直聘  CN
//! ```
//!
//! Further down either header line may stand again: what follows it is of that kind. `#` begins a comment line, empty
//! lines are skipped, empty columns at the end may be left out. A file is refused whole: all its faults are reported, up to [`crate::diagnostic::MAX_KEPT`], and nothing of it is used.
//!
//! Lists are hostile: sizes are bounded by [`MAX_BYTES`] and [`MAX_ENTRIES`], and what many lines share is kept
//! once, so a list of a million names takes about 16 bytes a name besides its text.

use std::collections::HashMap;
use std::ops::Range;

use crate::category::Category;
use crate::clue::{Clue, Kind};
use crate::diagnostic::{Diagnostic, Diagnostics, Text, did_you_mean, known_words};
use crate::name::{Name, NameError};
use crate::signature::{Meta, Role, Scope, Service, Tier, is_service_key, parse_date};

/// The columns of a file of signatures.
pub const COLUMNS: [&str; 11] =
    ["name", "scope", "service", "category", "role", "tier", "source", "licence", "added", "expires", "note"];
/// The columns of a file of services.
pub const SERVICE_COLUMNS: [&str; 4] = ["service", "category", "title", "region"];
/// The largest source file.
pub const MAX_BYTES: usize = 256 << 20;
/// The most signatures in one file.
pub const MAX_ENTRIES: usize = 8_000_000;
/// The longest text in a free column, in bytes.
pub const MAX_FIELD: usize = 512;

/// A parsed source file.
#[derive(Clone, Debug, Default)]
pub struct Source {
    path: String,
    text: String,
    names: String,
    entries: Vec<Entry>,
    clues: Vec<ClueEntry>,
    metas: Vec<Meta>,
    meta_lines: Vec<u32>,
    services: Vec<Service>,
    service_lines: Vec<u32>,
}

/// A signature of a [`Source`]: a name, and which of the source's metas goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    name_at: u32,
    name_len: u8,
    /// Which names it covers.
    pub scope: Scope,
    /// Index into [`Source::metas`].
    pub meta: u32,
    /// 1-based line of the file.
    pub line: u32,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// A signature of a [`Source`] that is no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClueEntry {
    /// What a flow shows.
    pub clue: Clue,
    /// Index into [`Source::metas`].
    pub meta: u32,
    /// 1-based line of the file.
    pub line: u32,
}

impl Source {
    /// Reads a file; `path` is what diagnostics call it.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, Diagnostics> {
        if bytes.len() > MAX_BYTES {
            let message = format!("the file has {} bytes, more than {MAX_BYTES}", bytes.len());
            return Err(Diagnostic::file(path, "too-large", message).into());
        }
        let text = Text::from_bytes(path, bytes)?;
        Parser { text, out: Self::default(), interned: HashMap::new(), faults: Diagnostics::new() }.run()
    }

    /// What diagnostics call the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The text as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The canonical name of a signature.
    pub fn name(&self, entry: &Entry) -> &str {
        let at = entry.name_at as usize;
        self.names.get(at..at + usize::from(entry.name_len)).unwrap_or_default()
    }

    /// The signatures that are no names, in order of the file.
    pub fn clues(&self) -> &[ClueEntry] {
        &self.clues
    }

    /// What the signatures say besides their names, each different one once.
    pub fn metas(&self) -> &[Meta] {
        &self.metas
    }

    /// The services that the file declares.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// A diagnostic at a column of a line of this file.
    pub fn error_at(&self, line: u32, column: usize, code: &'static str, message: String) -> Diagnostic {
        let text = Text::new(&self.path, &self.text);
        let start: usize =
            self.text.split_inclusive('\n').take(line.saturating_sub(1) as usize).map(str::len).sum();
        let line = self.text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        text.error(field_span(line, start, column), code, message)
    }

    /// A diagnostic at the first line that uses a meta; `column` counts as in [`COLUMNS`].
    pub fn meta_error(&self, meta: usize, column: usize, code: &'static str, message: String) -> Diagnostic {
        self.error_at(self.meta_lines.get(meta).copied().unwrap_or(1), column, code, message)
    }

    /// A diagnostic at the declaration of a service; `column` counts as in [`SERVICE_COLUMNS`].
    pub fn service_error(
        &self,
        service: usize,
        column: usize,
        code: &'static str,
        message: String,
    ) -> Diagnostic {
        self.error_at(self.service_lines.get(service).copied().unwrap_or(1), column, code, message)
    }
}

struct Parser<'a> {
    text: Text<'a>,
    out: Source,
    /// From the part of a line after the scope to the meta it was read as; `None` if it was refused.
    interned: HashMap<&'a str, Option<u32>>,
    faults: Diagnostics,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Signatures,
    Services,
}

impl Part {
    /// What follows a header line.
    fn of(line: &str) -> Option<Self> {
        // Neither word can begin a line of the other kind: this costs a look at a few bytes.
        if !line.starts_with("name\tscope\t") && !line.starts_with("service\tcategory\t") {
            return None;
        }
        let is = |columns: &[&str]| line.split('\t').eq(columns.iter().copied());
        if is(&COLUMNS) { Some(Self::Signatures) } else { is(&SERVICE_COLUMNS).then_some(Self::Services) }
    }
}

impl<'a> Parser<'a> {
    fn run(mut self) -> Result<Source, Diagnostics> {
        self.out.path = self.text.path.to_owned();
        let mut kind = None;
        let mut at = 0;
        for (i, raw) in self.text.text.split_inclusive('\n').enumerate() {
            let start = at;
            at += raw.len();
            let line = raw.strip_suffix('\n').unwrap_or(raw);
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let number = u32::try_from(i + 1).unwrap_or(u32::MAX);
            match kind {
                None => match self.header(line, start) {
                    Some(found) => kind = Some(found),
                    None => break,
                },
                Some(_) if Part::of(line).is_some() => kind = Part::of(line),
                Some(Part::Signatures) => self.signature(line, start, number),
                Some(Part::Services) => self.service(line, start, number),
            }
            if self.faults.is_full() {
                break;
            }
        }
        if kind.is_none() && self.faults.is_empty() {
            let end = self.text.text.len();
            self.fault(end..end, "no-header", "the file has no header line".to_owned(), header_help());
        }
        self.out.text = self.text.text.to_owned();
        self.faults.into_result(self.out).map(|(source, _)| source)
    }

    fn header(&mut self, line: &str, start: usize) -> Option<Part> {
        let kind = Part::of(line);
        if kind.is_none() {
            let message = "this is not a header line of signatures or services".to_owned();
            self.fault(start..start + line.len(), "bad-header", message, header_help());
        }
        kind
    }

    fn signature(&mut self, line: &'a str, start: usize, number: u32) {
        if self.out.entries.len() + self.out.clues.len() >= MAX_ENTRIES {
            let message = format!("more than {MAX_ENTRIES} signatures in one file");
            self.fault(start..start + line.len(), "too-many", message, "split the list".to_owned());
            return;
        }
        let mut parts = line.splitn(3, '\t');
        let name = parts.next().unwrap_or_default();
        let scope_word = parts.next().unwrap_or_default();
        let tail = parts.next().unwrap_or_default();
        let name_span = start..start + name.len();
        let tail_at = start + line.len() - tail.len();

        let kind = Kind::from_word(scope_word);
        let mut clue = None;
        let canonical = match kind {
            None => self.canonical(name, name_span.clone()),
            Some(kind) => {
                match Clue::parse(kind, name) {
                    Ok(read) => clue = Some(read),
                    Err((message, help)) => {
                        self.fault(name_span.clone(), "bad-clue", message, help.to_owned());
                    }
                }
                None
            }
        };
        let scope = Scope::from_word(scope_word);
        if scope.is_none() && kind.is_none() {
            let known = words(Scope::ALL, |s| s.as_str()).chain(words(Kind::ALL, |k| k.as_str()));
            let help = did_you_mean(scope_word, known).unwrap_or_else(|| {
                "names are `exact` or `suffix`, others `address`, `alpn` or `ja4`".to_owned()
            });
            // Sought only here: a quarter of the time of a source without faults went into it.
            let scope_span = field_span(line, start, 1);
            self.fault(scope_span, "unknown-scope", format!("there is no scope `{scope_word}`"), help);
        }
        let meta = match self.interned.get(tail) {
            Some(known) => *known,
            None => {
                let read = self.meta(tail, tail_at).map(|meta| {
                    self.out.metas.push(meta);
                    self.out.meta_lines.push(number);
                    (self.out.metas.len() - 1) as u32
                });
                self.interned.insert(tail, read);
                read
            }
        };
        if let (Some(clue), Some(meta)) = (clue, meta) {
            self.out.clues.push(ClueEntry { clue, meta, line: number });
            return;
        }
        let (Some(canonical), Some(scope), Some(meta)) = (canonical, scope, meta) else { return };
        if scope == Scope::Suffix && !canonical.as_str().contains('.') {
            let message = format!("`{canonical}` as a suffix would cover a whole top-level domain");
            self.fault(name_span, "too-wide", message, "name the domain, such as `example.com`".to_owned());
            return;
        }
        let name = canonical.as_str();
        // Fits: the text is at most MAX_BYTES, a name at most 253 bytes.
        let entry = Entry {
            name_at: self.out.names.len() as u32,
            name_len: name.len() as u8,
            scope,
            meta,
            line: number,
        };
        self.out.names.push_str(name);
        self.out.entries.push(entry);
    }

    fn canonical(&mut self, written: &str, span: Range<usize>) -> Option<Name> {
        let (message, help) = match Name::from_wire(written.as_bytes()) {
            Ok(name) if name.as_str() == written => return Some(name),
            Ok(name) => (
                format!("`{written}` is not in canonical form"),
                format!("write `{name}`: lower case, no dot at the end"),
            ),
            Err(_) if written.starts_with("*.") => (
                format!("`{written}` has a wildcard"),
                format!("write `{}` with scope `suffix`", written.trim_start_matches("*.")),
            ),
            Err(_) if written.contains("//") || written.contains('/') => (
                format!("`{written}` is not a host name"),
                "write the host only, no scheme and no path".into(),
            ),
            Err(NameError::BadByte(_)) if !written.is_ascii() => (
                format!("`{written}` has characters beyond ASCII"),
                "write the name in its `xn--` form (RFC 5890), as it stands on the wire".to_owned(),
            ),
            Err(error) => (format!("`{written}` is no host name: {error}"), "write a host name".to_owned()),
        };
        self.fault(span, "bad-name", message, help);
        None
    }

    /// Reads the columns from `service` on; reports all faults in them.
    fn meta(&mut self, tail: &str, at: usize) -> Option<Meta> {
        let before = self.faults.count();
        // `tail` lacks the two columns before it: columns count from there.
        const FIRST: usize = 2;
        let mut fields: [&str; COLUMNS.len() - FIRST] = Default::default();
        let mut given = 0;
        for (i, field) in tail.split('\t').enumerate() {
            given = i + 1;
            match fields.get_mut(i) {
                Some(slot) => *slot = field,
                None if field.is_empty() => {}
                None => {
                    let span = field_span(tail, at, i);
                    let message = format!("more than the {} columns of the header", COLUMNS.len());
                    self.fault(span, "too-many-columns", message, "take it out, or put it in `note`".into());
                    return None;
                }
            }
        }
        for (i, (field, column)) in fields.iter().zip(COLUMNS.iter().skip(FIRST)).enumerate() {
            let span = || field_span(tail, at, i.min(given.saturating_sub(1)));
            if field.is_empty() && !matches!(*column, "expires" | "note") {
                let help = format!("the columns are: {}", COLUMNS.join(", "));
                self.fault(span(), "missing", format!("column `{column}` is empty"), help);
            } else if field.len() > MAX_FIELD {
                let message = format!("column `{column}` is longer than {MAX_FIELD} bytes");
                self.fault(span(), "too-long", message, "shorten it".to_owned());
            } else if field.trim() != *field {
                let message = format!("column `{column}` begins or ends with a space");
                self.fault(span(), "stray-space", message, "columns are separated by one tab".to_owned());
            }
        }
        if self.faults.count() > before {
            return None;
        }
        let [service, category, role, tier, source, licence, added, expires, note] = fields;
        let span = |i: usize| field_span(tail, at, i);
        if !is_service_key(service) {
            self.fault(span(0), "bad-service", format!("`{service}` is no key of a service"), key_help());
        }
        let category =
            self.word(category, span(1), "category", Category::from_word, Category::ALL, |c| c.as_str());
        let role = self.word(role, span(2), "role", Role::from_word, Role::ALL, |r| r.as_str());
        let tier = self.word(tier, span(3), "tier", Tier::from_word, Tier::ALL, |t| t.as_str());
        let added = self.date(added, span(6));
        let expires = if expires.is_empty() { Some(None) } else { self.date(expires, span(7)).map(Some) };
        if self.faults.count() > before {
            return None;
        }
        Some(Meta {
            service: service.to_owned(),
            category: category?,
            role: role?,
            tier: tier?,
            source: source.to_owned(),
            licence: licence.to_owned(),
            added: added?,
            expires: expires?,
            note: note.to_owned(),
        })
    }

    fn service(&mut self, line: &str, start: usize, number: u32) {
        let before = self.faults.count();
        let span = |i: usize| field_span(line, start, i);
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap_or_default();
        let (key, category, title, region) = (next(), next(), next(), next());
        if fields.any(|f| !f.is_empty()) {
            let message = format!("more than the {} columns of the header", SERVICE_COLUMNS.len());
            self.fault(span(SERVICE_COLUMNS.len()), "too-many-columns", message, "take it out".to_owned());
        }
        if !is_service_key(key) {
            self.fault(span(0), "bad-service", format!("`{key}` is no key of a service"), key_help());
        }
        let category =
            self.word(category, span(1), "category", Category::from_word, Category::ALL, |c| c.as_str());
        for (i, (field, column)) in [(title, "title"), (region, "region")].into_iter().enumerate() {
            if field.trim().is_empty() || field.len() > MAX_FIELD || field.trim() != field {
                let message = format!("column `{column}` is empty, too long, or has spaces around it");
                let help = format!("the columns are: {}", SERVICE_COLUMNS.join(", "));
                self.fault(span(2 + i), "missing", message, help);
            }
        }
        if let (Some(category), true) = (category, self.faults.count() == before) {
            self.out.services.push(Service {
                key: key.to_owned(),
                category,
                title: title.to_owned(),
                region: region.to_owned(),
            });
            self.out.service_lines.push(number);
        }
    }

    fn word<T: Copy + 'static>(
        &mut self,
        written: &str,
        span: Range<usize>,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
        all: &'static [T],
        show: impl Fn(&T) -> &'static str,
    ) -> Option<T> {
        let found = read(written);
        if found.is_none() {
            let help = known_words(written, words(all, show));
            let code = match what {
                "category" => "unknown-category",
                "role" => "unknown-role",
                _ => "unknown-tier",
            };
            self.fault(span, code, format!("there is no {what} `{written}`"), help);
        }
        found
    }

    fn date(&mut self, written: &str, span: Range<usize>) -> Option<jiff::civil::Date> {
        let found = parse_date(written);
        if found.is_none() {
            self.fault(span, "bad-date", format!("`{written}` is no date"), "write YYYY-MM-DD".to_owned());
        }
        found
    }

    fn fault(&mut self, span: Range<usize>, code: &'static str, message: String, help: String) {
        self.faults.push(self.text.error(span, code, message).help(help));
    }
}

fn words<T>(all: &'static [T], show: impl Fn(&T) -> &'static str) -> impl Iterator<Item = &'static str> {
    all.iter().map(show)
}

fn header_help() -> String {
    format!(
        "the first line names the columns, separated by tabs: `{}` or `{}`",
        COLUMNS.join(" "),
        SERVICE_COLUMNS.join(" ")
    )
}

fn key_help() -> String {
    "use lower-case letters, digits and hyphens, at most 48, such as `boss-zhipin`".to_owned()
}

/// Bytes of the file that column `column` of a line takes; the end of the line if there are fewer.
fn field_span(line: &str, start: usize, column: usize) -> Range<usize> {
    let mut at = start;
    for (i, field) in line.split('\t').enumerate() {
        if i == column {
            return at..at + field.len();
        }
        at += field.len() + 1;
    }
    start + line.len()..start + line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n";
    const TAIL: &str = "zhipin\trecruitment\tsite\tstrong\tmaintainers\tCC0-1.0\t2026-11-21";

    fn parse(body: &str) -> Result<Source, Diagnostics> {
        Source::parse("t.tsv", format!("{HEAD}{body}").as_bytes())
    }

    #[test]
    fn reads_signatures_and_shares_what_they_have_in_common() {
        let s =
            parse(&format!("# c\n\nzhipin.com\tsuffix\t{TAIL}\r\nwww.zhipin.com\texact\t{TAIL}\n")).unwrap();
        assert_eq!(s.metas().len(), 1);
        let names: Vec<_> = s.entries().iter().map(|e| (s.name(e), e.scope, e.line)).collect();
        assert_eq!(names, [("zhipin.com", Scope::Suffix, 4), ("www.zhipin.com", Scope::Exact, 5)]);
    }

    #[test]
    fn reads_services() {
        let s = Source::parse(
            "s",
            "service\tcategory\ttitle\tregion\nzhipin\trecruitment\tBOSS直聘\tCN\n".as_bytes(),
        );
        assert_eq!(s.unwrap().services()[0].title, "BOSS直聘");
    }

    #[test]
    fn one_file_may_declare_a_service_and_list_its_names() {
        let text = format!(
            "service\tcategory\ttitle\tregion\nzhipin\trecruitment\tT\tCN\n{HEAD}zhipin.com\tsuffix\t{TAIL}\n"
        );
        let s = Source::parse("s", text.as_bytes()).unwrap();
        assert_eq!((s.services().len(), s.entries().len()), (1, 1));
        let fault = Source::parse("s", format!("{text}zhipin.com\n").as_bytes()).unwrap_err();
        assert_eq!(fault.as_slice()[0].line, 5);
    }

    /// Every malformed line is refused with the line, the column and the kind of its fault.
    #[test]
    fn faults_have_their_place() {
        let long = "x".repeat(MAX_FIELD + 1);
        let cases: Vec<(String, u32, u32, &str)> = vec![
            (format!("Zhipin.com\tsuffix\t{TAIL}"), 2, 1, "bad-name"),
            (format!("zhipin.com.\tsuffix\t{TAIL}"), 2, 1, "bad-name"),
            (format!("*.zhipin.com\tsuffix\t{TAIL}"), 2, 1, "bad-name"),
            (format!("https://zhipin.com\tsuffix\t{TAIL}"), 2, 1, "bad-name"),
            (format!("zhipin.com/x\tsuffix\t{TAIL}"), 2, 1, "bad-name"),
            (format!("智联.com\tsuffix\t{TAIL}"), 2, 1, "bad-name"),
            (format!("192.0.2.1\texact\t{TAIL}"), 2, 1, "bad-name"),
            (format!("2001:db8::1\texact\t{TAIL}"), 2, 1, "bad-name"),
            (format!("a..b\texact\t{TAIL}"), 2, 1, "bad-name"),
            (format!(".a.b\texact\t{TAIL}"), 2, 1, "bad-name"),
            (format!("a b.c\texact\t{TAIL}"), 2, 1, "bad-name"),
            (format!("{}\texact\t{TAIL}", "a".repeat(64)), 2, 1, "bad-name"),
            (format!("{}com\texact\t{TAIL}", "a.".repeat(130)), 2, 1, "bad-name"),
            (format!("\texact\t{TAIL}"), 2, 1, "bad-name"),
            (format!("com\tsuffix\t{TAIL}"), 2, 1, "too-wide"),
            (format!("a.b\tsufix\t{TAIL}"), 2, 5, "unknown-scope"),
            (format!("a.b\t\t{TAIL}"), 2, 5, "unknown-scope"),
            (format!("a.b\tSuffix\t{TAIL}"), 2, 5, "unknown-scope"),
            ("a.b".to_owned(), 2, 4, "unknown-scope"),
            ("a.b\texact".to_owned(), 2, 10, "missing"),
            (format!("a.b\texact\t{}", TAIL.replace("zhipin", "Zhi Pin")), 2, 11, "bad-service"),
            (format!("a.b\texact\t{}", TAIL.replace("zhipin", "-z")), 2, 11, "bad-service"),
            (format!("a.b\texact\t{}", TAIL.replace("zhipin", "")), 2, 11, "missing"),
            (format!("a.b\texact\t{}", TAIL.replace("recruitment", "recruitmnt")), 2, 18, "unknown-category"),
            (format!("a.b\texact\t{}", TAIL.replace("recruitment", "")), 2, 18, "missing"),
            (format!("a.b\texact\t{}", TAIL.replace("site", "page")), 2, 30, "unknown-role"),
            (format!("a.b\texact\t{}", TAIL.replace("strong", "sure")), 2, 35, "unknown-tier"),
            (format!("a.b\texact\t{}", TAIL.replace("maintainers", "")), 2, 42, "missing"),
            (format!("a.b\texact\t{}", TAIL.replace("maintainers", " x")), 2, 42, "stray-space"),
            (format!("a.b\texact\t{}", TAIL.replace("CC0-1.0", "")), 2, 54, "missing"),
            (format!("a.b\texact\t{}", TAIL.replace("2026-11-21", "2026-13-21")), 2, 62, "bad-date"),
            (format!("a.b\texact\t{}", TAIL.replace("2026-11-21", "today")), 2, 62, "bad-date"),
            (format!("a.b\texact\t{}", TAIL.replace("2026-11-21", "")), 2, 62, "missing"),
            (format!("a.b\texact\t{TAIL}\t2026-02-30"), 2, 73, "bad-date"),
            (format!("a.b\texact\t{TAIL}\tnever"), 2, 73, "bad-date"),
            (format!("a.b\texact\t{TAIL}\t\t{long}"), 2, 74, "too-long"),
            (format!("a.b\texact\t{TAIL}\t\tnote\textra"), 2, 79, "too-many-columns"),
            (format!("a.b\texact\t{TAIL}\nc.d\texakt\t{TAIL}"), 3, 5, "unknown-scope"),
            (format!("a.b exact {TAIL}"), 2, 1, "bad-name"),
            (format!("# c\n#d\n\n\na.b\tprefix\t{TAIL}"), 6, 5, "unknown-scope"),
            (format!("a\u{1b}[2Jb\texact\t{TAIL}"), 2, 1, "bad-name"),
        ];
        for (body, line, column, code) in &cases {
            let all = parse(body).map(|_| ()).expect_err(body);
            let first = &all.as_slice()[0];
            assert_eq!((first.line, first.column, first.code), (*line, *column, *code), "{body}\n{all}");
        }
        assert!(cases.len() > 40);
    }

    #[test]
    fn faults_of_files_and_services_have_their_place() {
        let services = "service\tcategory\ttitle\tregion\n";
        let cases: Vec<(Vec<u8>, u32, u32, &str)> = vec![
            (b"".to_vec(), 1, 1, "no-header"),
            (b"# only a comment\n".to_vec(), 2, 1, "no-header"),
            (b"zhipin.com\n".to_vec(), 1, 1, "bad-header"),
            (b"name scope service\n".to_vec(), 1, 1, "bad-header"),
            (HEAD.replace("tier", "rank").into_bytes(), 1, 1, "bad-header"),
            ([HEAD.as_bytes(), b"a.b\t\xff"].concat(), 2, 5, "not-utf8"),
            (format!("{services}A\tgames\tT\tCN\n").into_bytes(), 2, 1, "bad-service"),
            (format!("{services}a\tgame\tT\tCN\n").into_bytes(), 2, 3, "unknown-category"),
            (format!("{services}a\tgames\t\tCN\n").into_bytes(), 2, 9, "missing"),
            (format!("{services}a\tgames\tT\n").into_bytes(), 2, 10, "missing"),
            (format!("{services}a\tgames\tT\tCN\tmore\n").into_bytes(), 2, 14, "too-many-columns"),
        ];
        for (bytes, line, column, code) in cases {
            let all = Source::parse("f", &bytes).map(|_| ()).unwrap_err();
            let first = &all.as_slice()[0];
            assert_eq!((first.line, first.column, first.code), (line, column, code), "{all}");
        }
    }

    #[test]
    fn stops_collecting_faults() {
        let all = parse(&"A.b\tx\ty\n".repeat(5000)).map(|_| ()).unwrap_err();
        assert!(all.count() < 200);
    }

    proptest::proptest! {
        #[test]
        fn hostile_text_is_refused_or_read(body in "[a-zA-Z0-9.\\t\\n #\\-\u{1}é智]{0,400}") {
            let _ = parse(&body);
            let _ = Source::parse("x", body.as_bytes());
        }

        #[test]
        fn hostile_bytes_are_refused_or_read(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = Source::parse("x", &bytes);
        }
    }
}
