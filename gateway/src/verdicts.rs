//! From files to verdicts: signatures and rules, compiled together.

use crate::config::{PolicyFiles, read_bounded};
use crate::feeds::{self, Feed, FeedNow};
use crate::{packs, sources};
use glassgate_policy::charter::Levels;
use glassgate_policy::compile::{self, KeyChoice, Report};
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics};
use glassgate_policy::rules::{self, Declared, Moment, Rule, RuleFile, Rules};
use glassgate_policy::source::Source;
use glassgate_policy::{SignatureTable, VerdictMatrix};
use jiff::civil::Date;
use std::path::Path;
use std::sync::Arc;

/// What was compiled from the files, before it has an epoch and an end.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) table: SignatureTable,
    pub(crate) rules: Arc<Rules>,
    /// The rules as they were read; empty without a path.
    pub(crate) file: RuleFile,
    /// Groups and calendars that the rules may name.
    pub(crate) declared: Declared,
    pub(crate) signatures: usize,
    pub(crate) services: usize,
    /// Worth knowing, no reason to refuse.
    pub(crate) warnings: Diagnostics,
    /// Subscribed lists.
    pub(crate) feeds: Vec<FeedNow>,
    /// The day on which the pack was made, in days since 1970, where there is one.
    pub(crate) pack_day: Option<i64>,
}

/// Reads and compiles signatures and rules. Without a path: the signatures that come with the gateway; no rules.
/// `today` is `None` while the clock is not trusted: then rules with a last day do nothing.
pub(crate) fn compile(
    signatures: Option<&Path>,
    rules: Option<&Path>,
    today: Option<Date>,
) -> Result<Compiled, Diagnostics> {
    let named = |path: Option<&Path>| path.map(Path::to_owned);
    let files = PolicyFiles { signatures: named(signatures), rules: named(rules), ..PolicyFiles::default() };
    compile_files(&files, today, false)
}

/// The same, with all that the configuration says: names that never count, subscribed lists, or a pack in place of sources.
/// With `may_write`, new versions of subscribed lists that nothing stands against are kept and used.
pub(crate) fn compile_files(
    files: &PolicyFiles,
    today: Option<Date>,
    may_write: bool,
) -> Result<Compiled, Diagnostics> {
    // Without a directory and a charter nobody has said who is in a group and when a calendar is open.
    compile_with(files, Declared::default(), today, may_write)
}

/// The same, where groups and calendars are known.
pub(crate) fn compile_with(
    files: &PolicyFiles,
    declared: Declared,
    today: Option<Date>,
    may_write: bool,
) -> Result<Compiled, Diagnostics> {
    let Signatures { table, count, services, mut warnings, feeds, blocks, pack_day } =
        signatures(files, may_write)?;
    let (mut bound, mut file) = (Rules::default(), RuleFile::default());
    if let Some(path) = &files.rules {
        let name = path.display().to_string();
        let bytes = read_bounded(path, rules::MAX_BYTES as u64)
            .map_err(|e| Diagnostic::file(&name, "unreadable", format!("the rules can't be read: {e}")))?;
        let more;
        file = RuleFile::parse(&name, &bytes)?;
        (bound, more) = file.bind(&table, &declared, today)?;
        warnings.append(more);
    }
    // After all others: whoever wants something else of these names says so.
    for rule in blocks {
        bound.push(rule);
    }
    let rules = Arc::new(bound);
    Ok(Compiled { table, rules, file, declared, signatures: count, services, warnings, feeds, pack_day })
}

/// Signatures, from wherever they come.
struct Signatures {
    table: SignatureTable,
    count: usize,
    services: usize,
    warnings: Diagnostics,
    feeds: Vec<FeedNow>,
    /// Rules of subscriptions.
    blocks: Vec<Rule>,
    pack_day: Option<i64>,
}

fn signatures(files: &PolicyFiles, may_write: bool) -> Result<Signatures, Diagnostics> {
    if let Some(pack) = &files.pack {
        let pack = packs::open(pack)?;
        let (table, made) = (pack.table().clone(), pack.info().created);
        let pack_day = i64::try_from(made / 86_400).ok().filter(|_| made > 0);
        let (count, services) = (table.names(), table.services().count());
        let warnings = Diagnostics::new();
        let (feeds, blocks) = (Vec::new(), Vec::new());
        return Ok(Signatures { table, count, services, warnings, feeds, blocks, pack_day });
    }
    let (compiled, feeds) = compile_sources(files, may_write)?;
    let table = table_of(&compiled)?;
    let Report { listed: count, services, .. } = compiled.report;
    let blocks = feeds.iter().filter_map(|feed| feed.rule(&table)).collect();
    let feeds = feeds.into_iter().map(|feed| feed.now).collect();
    let warnings = compiled.warnings;
    Ok(Signatures { table, count, services, warnings, feeds, blocks, pack_day: None })
}

/// Compiles the sources of a configuration, subscribed lists among them.
pub(crate) fn compile_sources(
    files: &PolicyFiles,
    may_write: bool,
) -> Result<(compile::Compiled, Vec<Feed>), Diagnostics> {
    let (mut all, mut key) = sources::read(files.signatures.as_deref())?;
    let feeds = look(files, &all, may_write)?;
    for feed in &feeds {
        // Who declares a service of this name in the sources decides what it is for, and compiling says so.
        let declared = all.iter().flat_map(Source::services).any(|s| s.key == feed.now.name);
        if let Some(source) = feed.source(!declared) {
            all.push(source?);
            // Names of others: nobody shall choose them by the places that they will have.
            key = KeyChoice::Random;
        }
    }
    Ok((sources::table_of(&all, &files.exclude, key)?, feeds))
}

/// Looks at the subscribed lists, without using any.
pub(crate) fn feeds(files: &PolicyFiles) -> Result<Vec<Feed>, Diagnostics> {
    look(files, &sources::read(files.signatures.as_deref())?.0, false)
}

fn look(files: &PolicyFiles, sources: &[Source], may_write: bool) -> Result<Vec<Feed>, Diagnostics> {
    let table = || table_of(&sources::table_of(sources, &files.exclude, KeyChoice::Random)?);
    feeds::look(&files.subscriptions, &files.feeds_dir, may_write, table)
}

fn table_of(compiled: &compile::Compiled) -> Result<SignatureTable, Diagnostics> {
    SignatureTable::from_bytes(&compiled.bytes)
        .map_err(|e| Diagnostic::file("(signature table)", "internal", e.to_string()).into())
}

impl Compiled {
    /// The verdicts, under an epoch and until a time on the monotonic clock.
    pub(crate) fn matrix(
        &self,
        epoch: u64,
        valid_until_ns: u64,
        levels: &Levels,
        moment: &Moment,
    ) -> VerdictMatrix {
        self.rules.matrix(&self.table, epoch, valid_until_ns, levels, moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PackFile;
    use glassgate_policy::pack::{self, Info, PublicKey};
    use glassgate_policy::{Category, Name};
    use ring::signature::Ed25519KeyPair;

    fn category(compiled: &Compiled, name: &str) -> Category {
        let found = compiled.table.lookup(&Name::from_wire(name.as_bytes()).unwrap());
        found.map_or(Category::Unknown, |found| found.category)
    }

    /// The employer's own names are no job search, whatever the signatures say of those around them.
    #[test]
    fn excluded_names_are_in_no_category() {
        let compiled = |exclude: &[&str]| {
            let exclude = exclude.iter().map(|name| (*name).to_owned()).collect();
            compile_files(&PolicyFiles { exclude, ..PolicyFiles::default() }, None, false).unwrap()
        };
        let (all, without) = (compiled(&[]), compiled(&["acme.mokahr.com", "acme.zhiye.com", "zhipin.com"]));
        for name in ["acme.mokahr.com", "jobs.acme.zhiye.com", "www.zhipin.com"] {
            assert_ne!(category(&all, name), Category::Unknown, "{name}");
            assert_eq!(category(&without, name), Category::Unknown, "{name}");
        }
        for name in ["other.mokahr.com", "other.zhiye.com", "www.liepin.com"] {
            assert_eq!(category(&without, name), category(&all, name), "{name}");
        }
    }

    #[test]
    fn a_pack_is_used_in_place_of_sources_if_its_key_is_trusted() {
        let (dir, key) =
            (tempfile::tempdir().unwrap(), Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap());
        let own = compile_files(&PolicyFiles::default(), None, false).unwrap();
        let mut bytes = pack::build(&own.table, &Info::default());
        pack::sign(&mut bytes, &key).unwrap();
        let path = dir.path().join("p");
        let files = |trusted: Vec<String>| PolicyFiles {
            pack: Some(PackFile { path: path.clone(), trusted, floor: 0 }),
            ..PolicyFiles::default()
        };
        let trusted = files(vec![PublicKey::of(&key).to_string()]);
        let first = |files: &PolicyFiles| compile_files(files, None, false).map_err(|f| f.as_slice()[0].code);
        assert_eq!(first(&trusted).unwrap_err(), "unreadable");
        std::fs::write(&path, &bytes).unwrap();
        let loaded = first(&trusted).unwrap();
        assert_eq!((loaded.table.hash(), loaded.signatures), (own.table.hash(), own.signatures));
        assert_eq!(first(&files(Vec::new())).unwrap_err(), "bad-pack");
        // Another pack, damaged where only the check of every byte sees it.
        let half = bytes.len() / 2;
        bytes[half] ^= 1;
        let end = bytes.len() - 1;
        bytes[end] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(first(&trusted).unwrap_err(), "bad-pack");
    }

    /// Lists of what does harm are blocked, lists of anything else are not, and a rule of somebody's own comes first.
    #[test]
    fn subscribed_malware_is_blocked_until_somebody_says_otherwise() {
        use crate::feeds::Subscription;
        use glassgate_policy::signature::Scope;
        use glassgate_policy::{Action, GroupId};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.txt");
        let names: String = (0..400).map(|n| format!("bad{n}.example\n")).collect();
        std::fs::write(&path, names).unwrap();
        let action = |category: Category, block: bool, rules: &str| {
            let state = tempfile::tempdir().unwrap();
            let subscription = Subscription {
                name: "feed".to_owned(),
                title: "A feed".to_owned(),
                path: path.clone(),
                format: glassgate_policy::exchange::Format::Plain as u8,
                scope: Scope::Suffix as u8,
                category: category as u8,
                source: "example".to_owned(),
                licence: "CC0-1.0".to_owned(),
                trust_first: true,
                block,
            };
            let file = dir.path().join("rules.toml");
            std::fs::write(&file, format!("version = 1\n{rules}")).unwrap();
            let files = PolicyFiles {
                subscriptions: vec![subscription],
                feeds_dir: state.path().to_owned(),
                rules: Some(file),
                ..PolicyFiles::default()
            };
            let compiled = compile_files(&files, None, true).unwrap_or_else(|e| panic!("{e}"));
            let found = compiled.table.lookup(&Name::from_wire(b"www.bad7.example").unwrap()).unwrap();
            assert_eq!(
                (found.category, compiled.feeds[0].blocked),
                (category, block && category != Category::Games)
            );
            let matrix = compiled.matrix(1, u64::MAX, &Levels::counts(1), &Moment::default());
            matrix.verdict(GroupId(0), category, found.service, 0).action
        };
        let own = "[[rule]]\nname = \"own\"\nmatch = { category = [\"malware\"] }\naction = \"allow\"\nstate = \"STATE\"\n\
                   owner = \"o\"\npurpose = \"security\"\n";
        assert_eq!(action(Category::Malware, true, ""), Action::Block);
        assert_eq!(action(Category::Phishing, true, ""), Action::Block);
        assert_eq!(action(Category::Games, true, ""), Action::Allow);
        assert_eq!(action(Category::Malware, false, ""), Action::Allow);
        assert_eq!(action(Category::Malware, true, &own.replace("STATE", "enforce")), Action::Allow);
        assert_eq!(action(Category::Malware, true, &own.replace("STATE", "shadow")), Action::Block);
    }
}
