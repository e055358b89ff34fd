//! `glassgate rules import`: a list of others as signatures of our own format.

use crate::cli::lists::Import;
use crate::clock;
use crate::exit::{Ended, Exit};
use crate::lists::{self, Found};
use crate::print;
use anyhow::Result;
use glassgate_policy::Category;
use glassgate_policy::builtin;
use glassgate_policy::diagnostic::Diagnostics;
use glassgate_policy::exchange::{self, Format, Imported, Options};
use glassgate_policy::signature::{Meta, Service};
use serde::Serialize;
use std::collections::BTreeMap;

/// What became of the lines, as `--json` prints it.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Names written.
    names: usize,
    /// Lines that are neither empty nor comments.
    lines: usize,
    /// Names that were listed again.
    repeated: usize,
    /// Lines that are broken.
    refused: usize,
    /// What no signature can say, by kind.
    skipped: BTreeMap<&'static str, usize>,
    /// Folders that are of no category of ours, and were left out.
    folders: Vec<String>,
    #[serde(flatten)]
    found: Diagnostics,
}

/// Imports what the arguments name.
pub(super) fn run(args: &Import) -> Result<Exit> {
    let all = lists::find(&args.path, args.format).map_err(|e| Ended::new(Exit::Damaged, e.to_string()))?;
    let several = all.len() > 1;
    if several && args.service.is_some() {
        let why = "--service names one service and this folder holds several lists: name one of its folders";
        return Err(Ended::new(Exit::Usage, why).into());
    }
    let options = Options { scope: args.scope.unwrap_or(args.format.scope()), ..Options::new(args.format) };
    let table = builtin::table().map_err(|e| Ended::new(Exit::Invalid, e.to_string()))?;
    let (mut out, mut summary) = (String::new(), Summary::default());
    for found in &all {
        let category = match (args.category, args.format) {
            (None, Format::Ut1) => exchange::ut1_category(&found.name),
            (given, _) => given,
        };
        let Some(category) = category else {
            if several {
                summary.folders.push(found.name.clone());
                continue;
            }
            let why = format!("what are the names of `{}` for? Say it with --category", found.name);
            return Err(Ended::new(Exit::Usage, why).into());
        };
        let service = declared(args, found, category);
        let known = table.service_named(&service.key).and_then(|id| table.service(id));
        if let Some(other) = known.filter(|known| known.category != category) {
            let why = format!(
                "service `{}` comes with the gateway as `{}`: choose another --service",
                service.key, other.category
            );
            return Err(Ended::new(Exit::Usage, why).into());
        }
        let list = lists::read(found, options).map_err(|e| Ended::new(Exit::Damaged, e.to_string()))?;
        if !list.is_empty() {
            out += &list.to_source(&meta(args, &service), known.is_none().then_some(&service));
        }
        summary.add(list);
    }
    if summary.refused > 0 && args.strict {
        out.clear();
    }
    print(&out)?;
    if args.json {
        eprintln!("{}", serde_json::to_string(&summary)?);
    } else {
        eprint!("{}", summary.describe());
    }
    let failed = summary.names == 0 || args.strict && summary.refused > 0;
    Ok(if failed { Exit::Damaged } else { Exit::Done })
}

fn declared(args: &Import, found: &Found, category: Category) -> Service {
    let key = args.service.clone().unwrap_or_else(|| match args.format {
        Format::Ut1 => lists::key_of(&format!("ut1-{}", found.name)),
        _ => lists::key_of(&found.name),
    });
    let title = args.title.clone().unwrap_or_else(|| key.clone());
    Service { title: one_line(&title), region: one_line(&args.region), key, category }
}

fn meta(args: &Import, service: &Service) -> Meta {
    Meta {
        service: service.key.clone(),
        category: service.category,
        role: args.role,
        tier: args.tier,
        source: one_line(args.source.as_deref().unwrap_or(&args.path.to_string_lossy())),
        licence: one_line(&args.licence),
        added: clock::shown_day(),
        expires: args.expires,
        note: String::new(),
    }
}

/// Text of a column: on one line, without tabs, not too long, and not empty.
fn one_line(text: &str) -> String {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(120).collect();
    if text.is_empty() { "-".to_owned() } else { text.trim().to_owned() }
}

impl Summary {
    fn add(&mut self, list: Imported) {
        self.names += list.len();
        self.lines += list.counts.lines;
        self.repeated += list.counts.repeated;
        self.refused += list.counts.refused;
        for (kind, count) in list.counts.skipped() {
            *self.skipped.entry(kind.as_str()).or_default() += count;
        }
        self.found.append(list.faults);
    }

    fn describe(&self) -> String {
        let mut out = String::new();
        if !self.found.is_empty() {
            out += &format!("{}\n\n", self.found);
        }
        let Self { names, lines, repeated, refused, .. } = self;
        out += &format!("{names} names from {lines} lines; {repeated} listed again, {refused} refused");
        for (kind, count) in &self.skipped {
            out += &format!(", {count} skipped as {}", kind.replace('_', " "));
        }
        if !self.folders.is_empty() {
            out += &format!(
                "\n{} folders are of no category of ours: {}; import them one by one with --category",
                self.folders.len(),
                self.folders.join(", ")
            );
        }
        out + "\n"
    }
}
