//! From sources to a table.
//!
//! Compiling checks what one file alone cannot show (services declared once, one category a service, no name listed
//! twice in a file), leaves out what does not count (tiers not asked for, entries past their date), and lays the rest
//! out as [`crate::table`] describes.
//!
//! Where two files list the same name, the earlier one wins and the other is counted in [`Report::covered`]. Equal
//! input, options and key give equal bytes.

mod place;
mod tree;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use jiff::civil::Date;
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};

use crate::category::Category;
use crate::clue::Clue;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity, did_you_mean};
use crate::name::Name;
use crate::signature::{Meta, Role, Scope, Service, Tier};
use crate::source::{Entry, Source};
use crate::table::clues;
use crate::table::format::{Header, RawEntry, RawService, Span, assemble};
use crate::table::hash::Key;
use crate::table::line::MAX_NUMBER;
use tree::{EXCLUDED, Tree};

/// What to compile.
#[derive(Clone, Debug)]
pub struct Options {
    /// Key of the hash.
    pub key: KeyChoice,
    /// Entries of other tiers are left out.
    pub tiers: Vec<Tier>,
    /// Entries that expired before this day are left out. Without a day all are kept.
    pub today: Option<Date>,
    /// Names that never count, with all below them, whatever the sources say: the employer's own domains and its
    /// tenants at applicant tracking systems.
    pub exclude: Vec<Name>,
    /// See [`crate::SignatureTable::serial`].
    pub serial: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            key: KeyChoice::Random,
            tiers: vec![Tier::Strong],
            today: None,
            exclude: Vec::new(),
            serial: 0,
        }
    }
}

/// Where the key of the hash comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChoice {
    /// Drawn from the operating system, after the lists are read: right for lists of others.
    Random,
    /// Derived from the content: equal sources give equal bytes. For lists of our own.
    FromContent,
    /// This one; to build a pack again.
    Fixed([u8; 16]),
}

/// A compiled table and what is worth knowing about it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The artefact, for [`crate::SignatureTable::from_bytes`].
    pub bytes: Vec<u8>,
    /// What went in and what was left out.
    pub report: Report,
    /// Warnings.
    pub warnings: Diagnostics,
}

/// What went into a table and what was left out, in signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Names listed in the table.
    pub listed: usize,
    /// Other signatures listed in it: addresses, protocols, fingerprints.
    pub clues: usize,
    /// Left out: another tier.
    pub other_tier: usize,
    /// Left out: past its date.
    pub expired: usize,
    /// Left out: an earlier file, or the list of excluded names, has the same name.
    pub covered: usize,
    /// Services in the table.
    pub services: usize,
    /// Bytes of the artefact.
    pub bytes: usize,
}

/// Compiles sources, in order of precedence.
pub fn compile(sources: &[Source], options: &Options) -> Result<Compiled, Diagnostics> {
    let mut faults = Diagnostics::new();
    let mut report = Report::default();
    let content = content_hash(sources, options);
    let services = Services::collect(sources, &mut faults);
    let classes = Classes::collect(sources, &services, options, &mut faults);
    if faults.has_errors() {
        return Err(faults);
    }
    let key = choose_key(options.key, content)?;
    let tree = build_tree(sources, options, &classes, key, &mut report, &mut faults);
    if faults.has_errors() {
        return Err(faults);
    }
    let clues = collect_clues(sources, &classes, &mut report, &mut faults);
    if faults.has_errors() {
        return Err(faults);
    }
    let clues = clues::encode(&clues).map_err(|clues::TooDeep(prefix)| {
        let message = format!("more than {} listed prefixes hold `{prefix}`", clues::MAX_DEPTH);
        whole("too-deep", message).help("leave some of them out")
    })?;
    // With a key that was drawn after the lists were written, only luck of one in 2⁶⁴ gets here.
    let placed = place::place(tree.nodes())
        .ok_or_else(|| whole("no-layout", "no layout was found for these names").help("compile again"))?;

    let mut strings = Strings::default();
    let class_table = classes.encode(sources, &services);
    let entry_table = classes.encode_entries(sources, &services, &mut strings);
    let service_table = services.encode(&mut strings);
    let header = Header {
        key,
        content,
        serial: options.serial,
        names: report.listed as u32,
        branches: tree.branches(),
        groups: placed.groups,
        lines: Span::default(),
        pilots: Span::default(),
        spill: Span::default(),
        classes: Span::default(),
        entries: Span::default(),
        services: Span::default(),
        addresses: Span::default(),
        alpns: Span::default(),
        ja4s: Span::default(),
        strings: Span::default(),
    };
    let sections = [
        &placed.lines,
        &placed.pilots,
        &placed.spill,
        &class_table,
        &entry_table,
        &service_table,
        &clues.addresses,
        &clues.alpns,
        &clues.ja4s,
        &strings.bytes,
    ];
    let bytes =
        assemble(header, sections.map(Vec::as_slice)).map_err(|e| whole("too-large", e.to_string()))?;
    report.services = services.list.len();
    report.bytes = bytes.len();
    Ok(Compiled { bytes, report, warnings: faults })
}

/// SHA-256 of what decides about the content of a table: the sources, in order, and the options but for the key.
fn content_hash(sources: &[Source], options: &Options) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut feed = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    };
    feed(b"glassgate signature table 1");
    for source in sources {
        feed(source.path().as_bytes());
        feed(source.text().as_bytes());
    }
    feed(&options.tiers.iter().map(|t| *t as u8).collect::<Vec<_>>());
    feed(options.today.map(|d| d.to_string()).unwrap_or_default().as_bytes());
    for name in &options.exclude {
        feed(name.as_bytes());
    }
    feed(&options.serial.to_le_bytes());
    context.finish().as_ref().try_into().unwrap_or_default()
}

fn choose_key(choice: KeyChoice, content: [u8; 32]) -> Result<Key, Diagnostics> {
    let bytes = match choice {
        KeyChoice::Fixed(key) => key,
        KeyChoice::FromContent => content.first_chunk().copied().unwrap_or_default(),
        KeyChoice::Random => {
            let mut key = [0; 16];
            SystemRandom::new()
                .fill(&mut key)
                .map_err(|_| whole("no-random", "the operating system gives no random numbers"))?;
            key
        }
    };
    Ok(Key::from_bytes(bytes))
}

fn build_tree<'a>(
    sources: &'a [Source],
    options: &'a Options,
    classes: &Classes,
    key: Key,
    report: &mut Report,
    faults: &mut Diagnostics,
) -> Tree<'a> {
    let mut tree = Tree::new(key, sources.iter().map(|s| s.entries().len()).sum());
    for name in &options.exclude {
        // A name that is excluded twice is excluded.
        let _ = tree.insert(name.as_str(), Scope::Suffix, EXCLUDED);
    }
    for (source, classes) in sources.iter().zip(&classes.by_source) {
        for (i, entry) in source.entries().iter().enumerate() {
            if i % tree::AHEAD == 0 {
                let mut names = [""; tree::AHEAD];
                let next = source.entries().get(i..).unwrap_or_default();
                names.iter_mut().zip(next).for_each(|(name, entry)| *name = source.name(entry));
                tree.ahead(names.get(..next.len()).unwrap_or(&names));
            }
            let Some(class) = classes.class_of(entry.meta, report) else { continue };
            match tree.insert(source.name(entry), entry.scope, class) {
                Ok(None) => report.listed += 1,
                Ok(Some(earlier)) if classes.numbers.contains(&earlier) => {
                    faults.push(listed_twice(source, entry));
                    if faults.is_full() {
                        return tree;
                    }
                }
                Ok(Some(_)) => report.covered += 1,
                Err(tree::Full) => {
                    let message = format!("the sources have more than {} different labels", tree::MAX_NODES);
                    faults.push(source.error_at(entry.line, 0, "too-many", message).help("leave lists out"));
                    return tree;
                }
            }
        }
    }
    tree
}

/// Signatures that are no names, each once: the first source that lists one decides.
fn collect_clues(
    sources: &[Source],
    classes: &Classes,
    report: &mut Report,
    faults: &mut Diagnostics,
) -> Vec<(Clue, u32)> {
    let mut seen: HashMap<&Clue, u32> = HashMap::new();
    let mut out = Vec::new();
    for (source, classes) in sources.iter().zip(&classes.by_source) {
        for entry in source.clues() {
            let meta = source.metas().get(entry.meta as usize);
            if let Some(category) = meta.map(|meta| meta.category).filter(|c| c.is_about_people()) {
                let message = format!("`{category}` is about people, and needs a name");
                let help = "addresses, protocols and fingerprints stand for many things: list the names";
                faults.push(source.error_at(entry.line, 1, "needs-name", message).help(help));
                continue;
            }
            let Some(class) = classes.class_of(entry.meta, report) else { continue };
            match seen.insert(&entry.clue, class) {
                Some(earlier) if classes.numbers.contains(&earlier) => {
                    let message = "this is listed further up already".to_owned();
                    let fault = source.error_at(entry.line, 0, "listed-twice", message);
                    faults.push(fault.help("take one of the two out"));
                }
                Some(earlier) => {
                    seen.insert(&entry.clue, earlier);
                    report.covered += 1;
                }
                None => {
                    report.clues += 1;
                    out.push((entry.clue.clone(), class));
                }
            }
        }
    }
    out
}

fn listed_twice(source: &Source, entry: &Entry) -> Diagnostic {
    let name = source.name(entry);
    let first = source.entries().iter().find(|e| e.scope == entry.scope && source.name(e) == name);
    let line = first.map_or(0, |e| e.line);
    source
        .error_at(entry.line, 0, "listed-twice", format!("`{name}` is listed in line {line} already"))
        .help("take one of the two out")
}

fn whole(code: &'static str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::file("signatures", code, message)
}

/// The services of all sources.
struct Services<'a> {
    /// Sorted by key; the number of a service is its place here, from 1.
    list: Vec<&'a Service>,
    numbers: HashMap<&'a str, u32>,
}

impl<'a> Services<'a> {
    fn collect(sources: &'a [Source], faults: &mut Diagnostics) -> Self {
        let mut by_key: BTreeMap<&str, &Service> = BTreeMap::new();
        for source in sources {
            for (i, service) in source.services().iter().enumerate() {
                if by_key.insert(&service.key, service).is_some() {
                    let message = format!("service `{}` is declared already", service.key);
                    faults.push(source.service_error(i, 0, "declared-twice", message).help("take one out"));
                }
            }
        }
        if by_key.len() > MAX_NUMBER as usize {
            faults.push(whole("too-many", format!("more than {MAX_NUMBER} services")));
        }
        let list: Vec<&Service> = by_key.into_values().collect();
        let numbers = list.iter().zip(1..).map(|(s, n)| (s.key.as_str(), n)).collect();
        Self { list, numbers }
    }

    fn find(&self, key: &str) -> Option<(u32, &'a Service)> {
        let number = *self.numbers.get(key)?;
        Some((number, self.list.get(number as usize - 1)?))
    }

    fn encode(&self, strings: &mut Strings) -> Vec<u8> {
        let encoded = self.list.iter().flat_map(|service| {
            RawService {
                key: strings.add(&service.key),
                title: strings.add(&service.title),
                region: strings.add(&service.region),
                category: service.category,
            }
            .to_bytes()
        });
        encoded.collect()
    }
}

/// What becomes of the signatures that share a meta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Listed(u32),
    OtherTier,
    Expired,
}

struct SourceClasses {
    /// By meta of the source.
    fates: Vec<Fate>,
    numbers: Range<u32>,
}

impl SourceClasses {
    /// The class of a signature with this meta, if it is listed; the report counts it if it is not.
    fn class_of(&self, meta: u32, report: &mut Report) -> Option<u32> {
        match self.fates.get(meta as usize) {
            Some(Fate::Listed(class)) => return Some(*class),
            Some(Fate::OtherTier) | None => report.other_tier += 1,
            Some(Fate::Expired) => report.expired += 1,
        }
        None
    }
}

/// A class is a meta that is listed.
struct Classes {
    by_source: Vec<SourceClasses>,
    /// Source and meta of each class after the reserved one, in order.
    metas: Vec<(usize, usize)>,
}

impl Classes {
    fn collect(
        sources: &[Source],
        services: &Services<'_>,
        options: &Options,
        faults: &mut Diagnostics,
    ) -> Self {
        let mut out = Self { by_source: Vec::new(), metas: Vec::new() };
        let mut used = vec![false; services.list.len()];
        let mut next = EXCLUDED + 1;
        for (s, source) in sources.iter().enumerate() {
            let first = next;
            let mut fates = Vec::with_capacity(source.metas().len());
            for (m, meta) in source.metas().iter().enumerate() {
                if let Some(fault) = check_service(source, m, meta, services) {
                    faults.push(fault);
                } else if let Some((number, _)) = services.find(&meta.service)
                    && let Some(used) = used.get_mut(number as usize - 1)
                {
                    *used = true;
                }
                fates.push(if !options.tiers.contains(&meta.tier) {
                    Fate::OtherTier
                } else if options.today.is_some_and(|today| meta.expires.is_some_and(|e| e < today)) {
                    Fate::Expired
                } else {
                    out.metas.push((s, m));
                    next += 1;
                    Fate::Listed(next - 1)
                });
            }
            out.by_source.push(SourceClasses { fates, numbers: first..next });
        }
        if next > MAX_NUMBER {
            faults.push(whole("too-many", format!("more than {MAX_NUMBER} different entries")));
        }
        for source in sources {
            for (i, service) in source.services().iter().enumerate() {
                let number = services.numbers.get(service.key.as_str()).copied().unwrap_or_default() as usize;
                if used.get(number.wrapping_sub(1)) == Some(&false) {
                    let message = format!("no signature names service `{}`", service.key);
                    let fault = source.service_error(i, 0, "unused-service", message);
                    faults.push(fault.severity(Severity::Warning).help("add one, or take the service out"));
                }
            }
        }
        out
    }

    fn listed<'a>(&self, sources: &'a [Source]) -> impl Iterator<Item = (&'a Source, &'a Meta)> {
        self.metas.iter().filter_map(move |(s, m)| {
            let source = sources.get(*s)?;
            Some((source, source.metas().get(*m)?))
        })
    }

    fn encode(&self, sources: &[Source], services: &Services<'_>) -> Vec<u8> {
        let mut out = vec![0, 0, 0, Category::Unknown as u8];
        for (_, meta) in self.listed(sources) {
            let number = services.find(&meta.service).map_or(0, |(n, _)| n);
            let [a, b, c, _] = number.to_le_bytes();
            out.extend_from_slice(&[a, b, c, meta.category as u8]);
        }
        out
    }

    fn encode_entries(&self, sources: &[Source], services: &Services<'_>, strings: &mut Strings) -> Vec<u8> {
        let mut out = Vec::new();
        let excluded = RawEntry {
            service: 0,
            role: Role::Site,
            tier: Tier::Strong,
            added: Date::constant(1970, 1, 1),
            expires: None,
            source: strings.add("configuration"),
            licence: strings.add(""),
            note: strings.add("excluded: never counted"),
            list: strings.add(""),
        };
        out.extend_from_slice(&excluded.to_bytes());
        for (source, meta) in self.listed(sources) {
            let entry = RawEntry {
                service: services.find(&meta.service).map_or(0, |(n, _)| n),
                role: meta.role,
                tier: meta.tier,
                added: meta.added,
                expires: meta.expires,
                source: strings.add(&meta.source),
                licence: strings.add(&meta.licence),
                note: strings.add(&meta.note),
                list: strings.add(source.path()),
            };
            out.extend_from_slice(&entry.to_bytes());
        }
        out
    }
}

fn check_service(source: &Source, m: usize, meta: &Meta, services: &Services<'_>) -> Option<Diagnostic> {
    match services.find(&meta.service) {
        None => {
            let known = services.list.iter().map(|s| s.key.as_str());
            let help = did_you_mean(&meta.service, known).unwrap_or_else(|| {
                "declare it in a file of services: key, category, title, region".to_owned()
            });
            let message = format!("service `{}` is declared nowhere", meta.service);
            Some(source.meta_error(m, 2, "unknown-service", message).help(help))
        }
        Some((_, service)) if service.category != meta.category => {
            let message = format!(
                "service `{}` is declared as `{}`, not `{}`",
                meta.service, service.category, meta.category
            );
            let help =
                "a service has one category; another use of it is another service, such as `NAME-recruiter`";
            Some(source.meta_error(m, 3, "other-category", message).help(help))
        }
        Some(_) => None,
    }
}

/// Texts, each different one once.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    known: HashMap<String, Span>,
}

impl Strings {
    fn add(&mut self, text: &str) -> Span {
        if let Some(span) = self.known.get(text) {
            return *span;
        }
        let span = Span { at: self.bytes.len() as u32, len: text.len() as u32 };
        self.bytes.extend_from_slice(text.as_bytes());
        self.known.insert(text.to_owned(), span);
        span
    }
}
