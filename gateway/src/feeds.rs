//! Subscribed lists: the version in use, the one that is there now, and what stands between them.
//!
//! Something else fetches the lists, on whatever schedule; the gateway reads the files when it starts and at every
//! reload. A version that [`glassgate_policy::quarantine`] finds nothing against is kept in the state folder and used.
//! One that is held changes nothing: the version before stays in use until somebody accepts the new one.
//!
//! In the state folder is a file for each list, replaced as a whole: a line of JSON with where it comes from, and the names
//! as they are compared. A file that is damaged counts as none, so that the list is held, not trusted.

use crate::clock;
use crate::config::read_bounded;
use crate::lists;
use anyhow::{Context as _, Result, bail};
use glassgate_policy::audit::Hex;
use glassgate_policy::category::Category;
use glassgate_policy::diagnostic::{Diagnostic, Diagnostics};
use glassgate_policy::exchange::{Format, Options};
use glassgate_policy::quarantine::{Against, Examined, Known, List, examine};
use glassgate_policy::rules::{Match, Rule, RuleAction, State};
use glassgate_policy::signature::{Meta, Role, Scope, Service, Tier};
use glassgate_policy::source::{MAX_BYTES, Source};
use glassgate_policy::{Purpose, SignatureTable};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A list that is subscribed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subscription {
    /// The name it goes by, and the key of its service.
    pub(crate) name: String,
    /// What people call the service.
    pub(crate) title: String,
    pub(crate) path: PathBuf,
    /// Codes of [`Format`], [`Scope`] and [`Category`].
    pub(crate) format: u8,
    pub(crate) scope: u8,
    pub(crate) category: u8,
    pub(crate) source: String,
    pub(crate) licence: String,
    /// Whether the first version is used without a look.
    pub(crate) trust_first: bool,
    /// Whether its names are blocked without a rule, if they are dangerous.
    pub(crate) block: bool,
}

impl Subscription {
    fn category(&self) -> Category {
        Category::from_code(self.category).unwrap_or(Category::Unknown)
    }

    /// Whether its names are blocked without a rule: those that do harm, unless the configuration says otherwise.
    pub(crate) fn is_blocked(&self) -> bool {
        self.block && matches!(self.category(), Category::Malware | Category::Phishing)
    }

    fn service(&self) -> Service {
        Service {
            key: self.name.clone(),
            category: self.category(),
            title: self.title.clone(),
            region: "world".to_owned(),
        }
    }

    fn meta(&self, accepted: &str) -> Meta {
        let day = accepted.get(..10).and_then(glassgate_policy::signature::parse_date);
        Meta {
            service: self.name.clone(),
            category: self.category(),
            role: Role::Site,
            tier: Tier::Strong,
            source: self.source.clone(),
            licence: self.licence.clone(),
            added: day.unwrap_or_else(clock::shown_day),
            expires: None,
            note: String::new(),
        }
    }

    /// The day on which something wrote the version that is there now.
    fn fetched_day(&self) -> Option<i64> {
        let names = if self.path.is_dir() { self.path.join("domains") } else { self.path.clone() };
        let written = std::fs::metadata(names).and_then(|file| file.modified()).ok()?;
        let since = written.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs() / 86_400).ok()
    }

    /// Reads the version that is there now.
    fn read(&self) -> Result<(List, Diagnostics), Diagnostics> {
        let format = Format::from_code(self.format).unwrap_or(Format::Plain);
        let scope = Scope::from_code(self.scope).unwrap_or(format.scope());
        let found = lists::find(&self.path, format)?;
        let [one] = found.as_slice() else {
            let message = format!("there are {} lists in this folder", found.len());
            let fault = Diagnostic::file(self.path.display().to_string(), "several-lists", message);
            return Err(fault.help("subscribe to its folders one by one").into());
        };
        let imported = lists::read(one, Options { format, scope })?;
        Ok((List::of(&imported), imported.faults))
    }
}

/// The first line of a file of the state folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    glassgate_list: u32,
    name: String,
    category: String,
    /// When it was accepted, RFC 3339.
    accepted: String,
    /// `limits`: nothing stood against it; `person`: somebody looked.
    by: String,
    lines: usize,
    refused: usize,
    sha256: String,
}

/// A version in use.
#[derive(Clone, Debug)]
struct Kept {
    head: Head,
    list: List,
}

/// How a subscribed list is, for `status`, `rules feeds` and the metrics.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub(crate) struct FeedNow {
    pub(crate) name: String,
    pub(crate) category: String,
    /// Whether its names are blocked without a rule.
    #[serde(default)]
    pub(crate) blocked: bool,
    /// `good`: in use as it is there; `held`: somebody must look; `unreadable`: see `trouble`.
    pub(crate) state: String,
    /// Names in use.
    pub(crate) names: usize,
    /// When the version in use was accepted; empty if there is none.
    pub(crate) accepted: String,
    /// `limits` or `person`.
    pub(crate) by: String,
    /// Digest of the version that is there now.
    pub(crate) digest: String,
    /// Names of it.
    pub(crate) new_names: usize,
    pub(crate) added: usize,
    pub(crate) removed: usize,
    /// Some of the names that were added and removed, where it is held.
    #[serde(default)]
    pub(crate) added_sample: Vec<String>,
    #[serde(default)]
    pub(crate) removed_sample: Vec<String>,
    /// Why it is held.
    pub(crate) reasons: Vec<String>,
    /// What is wrong besides.
    pub(crate) trouble: Option<String>,
    /// The day on which the file was written that is there now, in days since 1970.
    #[serde(default)]
    pub(crate) fetched_day: Option<i64>,
}

/// A list, and what was found out about it.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) now: FeedNow,
    /// What the version that is there would change; `None` if it is the one in use, or can't be read.
    pub(crate) examined: Option<Examined>,
    /// The version that is there.
    candidate: Option<List>,
    kept: Option<Kept>,
    subscription: Subscription,
}

impl Feed {
    /// The rule that blocks its names, unless one of somebody's own decides first; `None` if there is none, or nothing in use.
    pub(crate) fn rule(&self, table: &SignatureTable) -> Option<Rule> {
        self.kept.as_ref().filter(|_| self.subscription.is_blocked())?;
        Some(Rule {
            name: format!("subscription:{}", self.now.name),
            line: 0,
            matches: Match {
                service_keys: vec![self.now.name.clone()],
                services: vec![table.service_named(&self.now.name)?],
                ..Match::default()
            },
            action: RuleAction::Block,
            state: State::Enforce,
            owner: String::new(),
            purpose: Purpose::Security,
            expires: None,
            note: format!("{} lists this name: {}", self.subscription.title, self.now.category),
        })
    }

    /// The version in use as a source; with `declare`, it declares its service.
    pub(crate) fn source(&self, declare: bool) -> Option<Result<Source, Diagnostics>> {
        let kept = self.kept.as_ref()?;
        let service = self.subscription.service();
        let meta = self.subscription.meta(&kept.head.accepted);
        let text = kept.list.to_source(&meta, declare.then_some(&service));
        Some(Source::parse(&format!("subscription {}", self.now.name), text.as_bytes()))
    }

    /// Puts the version that is there in use.
    fn accept(&mut self, dir: &Path, by: &str) -> Result<()> {
        let Some(list) = self.candidate.take() else { bail!("there is no version to accept") };
        let head = Head {
            glassgate_list: 1,
            name: self.now.name.clone(),
            category: self.now.category.clone(),
            accepted: clock::wall_text(),
            by: by.to_owned(),
            lines: list.lines,
            refused: list.refused,
            sha256: Hex(&list.digest()).to_string(),
        };
        keep(dir, &head, &list).with_context(|| format!("keeping it in {}", dir.display()))?;
        self.now.names = list.len();
        (self.now.accepted, self.now.by) = (head.accepted.clone(), head.by.clone());
        self.now.state = "good".to_owned();
        self.kept = Some(Kept { head, list });
        Ok(())
    }
}

/// Looks at all lists. What nothing stands against is put in use, if `dir` may be written; otherwise it is only said.
pub(crate) fn look(
    subscriptions: &[Subscription],
    dir: &Path,
    may_write: bool,
    table: impl FnOnce() -> Result<SignatureTable, Diagnostics>,
) -> Result<Vec<Feed>, Diagnostics> {
    let mut feeds: Vec<Feed> = subscriptions.iter().map(|s| first_look(s, dir)).collect();
    if feeds.iter().all(|feed| feed.candidate.is_none()) {
        return Ok(feeds);
    }
    let (table, known) = (table()?, Known::builtin()?);
    for i in 0..feeds.len() {
        let (before, rest) = feeds.split_at_mut(i);
        let Some((feed, after)) = rest.split_first_mut() else { break };
        let others: Vec<(Category, &List)> = before
            .iter()
            .chain(after.iter())
            .filter_map(|other| Some((other.subscription.category(), &other.kept.as_ref()?.list)))
            .collect();
        let Some(candidate) = &feed.candidate else { continue };
        let examined = examine(
            candidate,
            &Against {
                category: feed.subscription.category(),
                accepted: feed.kept.as_ref().map(|kept| &kept.list),
                trust_first: feed.subscription.trust_first,
                table: &table,
                others: &others,
                known: &known,
            },
        );
        let now = &mut feed.now;
        (now.added, now.removed) = (examined.added.count, examined.removed.count);
        now.reasons = examined.held.iter().map(ToString::to_string).collect();
        let good = examined.held.is_empty();
        if !good {
            now.added_sample.clone_from(&examined.added.sample);
            now.removed_sample.clone_from(&examined.removed.sample);
        }
        now.state = if good { "good" } else { "held" }.to_owned();
        feed.examined = Some(examined);
        if good
            && may_write
            && let Err(e) = feed.accept(dir, "limits")
        {
            // What is not kept can't be compared with next time: the version before stays.
            feed.now.state = "held".to_owned();
            feed.now.trouble = Some(format!("{e:#}"));
        }
    }
    Ok(feeds)
}

fn first_look(subscription: &Subscription, dir: &Path) -> Feed {
    let category = subscription.category().as_str().to_owned();
    let mut now = FeedNow {
        name: subscription.name.clone(),
        category,
        blocked: subscription.is_blocked(),
        ..FeedNow::default()
    };
    now.fetched_day = subscription.fetched_day();
    let kept = match load(dir, subscription) {
        Ok(kept) => kept,
        Err(why) => {
            now.trouble = Some(format!("the version in use is lost: {why:#}"));
            None
        }
    };
    if let Some(Kept { head, list }) = &kept {
        now.names = list.len();
        (now.accepted, now.by) = (head.accepted.clone(), head.by.clone());
    }
    let mut candidate = None;
    match subscription.read() {
        Ok((list, _)) => {
            now.digest = Hex(&list.digest()).to_string();
            now.new_names = list.len();
            let is_kept = kept.as_ref().is_some_and(|kept| kept.head.sha256 == now.digest);
            now.state = "good".to_owned();
            candidate = (!is_kept).then_some(list);
        }
        Err(faults) => {
            now.state = "unreadable".to_owned();
            now.trouble = faults.as_slice().first().map(|f| format!("{}: {}", f.path, f.message));
        }
    }
    Feed { now, examined: None, candidate, kept, subscription: subscription.clone() }
}

/// The list, if the version that is there is the one that somebody has seen.
pub(crate) fn seen<'a>(feeds: &'a mut [Feed], name: &str, digest: &str) -> Result<&'a mut Feed, String> {
    let known: Vec<String> = feeds.iter().map(|feed| feed.now.name.clone()).collect();
    let Some(feed) = feeds.iter_mut().find(|feed| feed.now.name == name) else {
        return Err(format!("there is no subscription `{name}`; known are: {}", known.join(", ")));
    };
    if digest.len() < 12 || !feed.now.digest.starts_with(digest) {
        return Err(format!(
            "the list is not the one that was shown, or the digest is shorter than 12 digits: it is {} now; look at it \
             again with `glassgate rules feeds`",
            feed.now.digest
        ));
    }
    Ok(feed)
}

/// Accepts the version of a list that somebody has seen.
pub(crate) fn accept(feeds: &mut [Feed], dir: &Path, name: &str, digest: &str) -> Result<FeedNow, String> {
    seen(feeds, name, digest)?.take(dir)
}

impl Feed {
    /// Whether there is a version that is not in use.
    pub(crate) fn is_waiting(&self) -> bool {
        self.candidate.is_some()
    }

    /// Puts the version that somebody has seen in use.
    pub(crate) fn take(&mut self, dir: &Path) -> Result<FeedNow, String> {
        if self.candidate.is_some() {
            self.accept(dir, "person").map_err(|e| format!("{e:#}"))?;
        }
        Ok(self.now.clone())
    }
}

fn file_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.list"))
}

fn load(dir: &Path, subscription: &Subscription) -> Result<Option<Kept>> {
    let path = file_of(dir, &subscription.name);
    let bytes = match read_bounded(&path, 2 * MAX_BYTES as u64) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    let text = String::from_utf8(bytes).with_context(|| path.display().to_string())?;
    let (head, names) = text.split_once('\n').context("its first line is missing")?;
    let head: Head = serde_json::from_str(head).context("its first line is no head of a list")?;
    // For another purpose nobody has accepted it.
    if head.category != subscription.category().as_str() {
        return Ok(None);
    }
    let list = List::from_text(names.to_owned(), head.lines, head.refused).context("it is no list")?;
    if Hex(&list.digest()).to_string() != head.sha256 {
        bail!("it does not match its digest");
    }
    Ok(Some(Kept { head, list }))
}

/// Replaces the file of a list, all or nothing.
fn keep(dir: &Path, head: &Head, list: &List) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let new = dir.join(format!("{}.list.{}.new", head.name, std::process::id()));
    let write = || -> Result<()> {
        let mut file = std::fs::File::create(&new)?;
        writeln!(file, "{}", serde_json::to_string(head)?)?;
        file.write_all(list.text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, file_of(dir, &head.name))?;
        Ok(std::fs::File::open(dir)?.sync_all()?)
    };
    write().inspect_err(|_| {
        // What is left of it is of no use.
        _ = std::fs::remove_file(&new);
    })
}

#[cfg(test)]
mod tests;
