//! `glassgate config backup`, `restore`, `undo` and `keep`.
//!
//! A backup has what the configuration names, and nothing else of its folder: so no file that nobody thought of gets into it. Secrets are
//! told by being named as such, and by what a private key begins with. A restore builds the new folder beside, checks it as `check` does, and
//! lets the two change places.

mod folder;
mod format;
mod limited;

use crate::ask;
use crate::check;
use crate::cli::config as cli;
use crate::clock;
use crate::config::{Config, read_bounded};
use crate::control::socket::{Answer, Question};
use crate::control::{install_charter, read_charter};
use crate::exit::{Ended, Exit};
use anyhow::{Context as _, Result, bail};
use folder::{Places, TRIAL};
use format::{Backup, Entry, LeftOut, MAX_DEPTH, MAX_FILES, Opened, Signed, is_name, sha256};
use glassgate_policy::audit::ConfigChange;
use glassgate_policy::diagnostic::{Diagnostics, Text};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What a backup may hold, in bytes.
const MAX_BYTES: u64 = 32 << 20;
/// Files of the folder that the firmware reads, whatever the configuration says.
const OF_MACHINE: [&str; 2] = ["ports", "management.network"];
/// What no backup has.
const NEVER: &str = "not restored: accounts and passwords, the key of the page, the audit log, sealed records and their keys, \
                     accepted versions of subscribed lists (they are held until somebody accepts them)";

/// Contents of files by their names below the folder.
type Contents = BTreeMap<String, Vec<u8>>;

/// What a configuration names, by names below its folder.
#[derive(Debug, Default)]
struct Named {
    /// Files and folders that anybody who writes rules may change.
    open: Vec<String>,
    /// Those that say who is who, or whom to believe.
    guarded: Vec<String>,
    secrets: BTreeSet<String>,
    /// What lies elsewhere.
    outside: Vec<PathBuf>,
}

impl Named {
    fn of(config: &Config, folder: &Path, folder_as_given: &Path) -> Self {
        let mut named = Self::default();
        let files = &config.files;
        let subscribed = files.subscriptions.iter().map(|list| &list.path);
        let open = files.rules.iter().chain(&files.signatures).chain(subscribed);
        let pack = files.pack.iter().map(|pack| &pack.path);
        let page = config.page.certificate.as_ref();
        let webhook = config.alerts.targets.webhook.as_ref();
        let guarded = config.directory.iter().chain(page.map(|(certificate, _)| certificate));
        let guarded = guarded.chain(webhook.map(|webhook| &webhook.authorities));
        let clients =
            config.radius.iter().flat_map(|radius| radius.clients.iter().map(|client| &client.secret));
        let secrets = clients.chain(&config.push_token).chain(&config.page.metrics_token);
        let secrets = secrets.chain(webhook.map(|webhook| &webhook.secret)).chain(page.map(|(_, key)| key));
        let mut sort = |path: &PathBuf| {
            let below = path.strip_prefix(folder).or_else(|_| path.strip_prefix(folder_as_given));
            match below.ok().and_then(Path::to_str).filter(|name| is_name(name)) {
                Some(name) => Some(name.to_owned()),
                None => {
                    named.outside.push(path.clone());
                    None
                }
            }
        };
        let open: Vec<String> = open.chain(pack).filter_map(&mut sort).collect();
        let guarded: Vec<String> = guarded.filter_map(&mut sort).collect();
        let secrets: BTreeSet<String> = secrets.filter_map(&mut sort).collect();
        Self { open, guarded, secrets, ..named }
    }

    fn is_open(&self, name: &str) -> bool {
        self.open.iter().any(|open| is_in(name, open))
    }

    fn is_guarded(&self, name: &str) -> bool {
        self.secrets.contains(name) || self.guarded.iter().any(|guarded| is_in(name, guarded))
    }
}

/// Whether a name is that of a file or folder, or of something in that folder.
fn is_in(name: &str, whole: &str) -> bool {
    name.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The configuration that is there.
struct Present {
    /// As it was named, and where that really is.
    path: PathBuf,
    name: String,
    folder: PathBuf,
    folder_as_given: PathBuf,
}

impl Present {
    fn at(given: &Path) -> Result<Self> {
        let whole = std::path::absolute(given)?;
        let folder_as_given = whole.parent().unwrap_or(Path::new("/")).to_owned();
        let Some(name) = whole.file_name().and_then(|name| name.to_str()).filter(|name| is_name(name)) else {
            bail!("{} is no name of a configuration", given.display());
        };
        let folder =
            std::fs::canonicalize(&folder_as_given).with_context(|| folder_as_given.display().to_string())?;
        Ok(Self { path: folder.join(name), name: name.to_owned(), folder, folder_as_given })
    }

    fn parse(&self, bytes: &[u8]) -> Result<Config, Diagnostics> {
        Config::parse(Text::from_bytes(&self.path.display().to_string(), bytes)?, &self.folder)
    }

    fn named(&self, config: &Config) -> Named {
        Named::of(config, &self.folder, &self.folder_as_given)
    }

    /// The files that a backup of this has, with what is left out.
    fn collect(&self, bytes: Vec<u8>, named: &Named) -> Result<(Contents, Vec<LeftOut>)> {
        let mut all = Collected { files: BTreeMap::new(), left_out: Vec::new(), room: MAX_BYTES, named };
        all.files.insert(self.name.clone(), bytes);
        for name in named.open.iter().chain(&named.guarded).map(String::as_str).chain(OF_MACHINE) {
            all.take(&self.folder, name)?;
        }
        for name in &named.secrets {
            all.leave_out(name, "a secret");
        }
        for path in &named.outside {
            all.leave_out(&path.display().to_string(), "outside the folder of the configuration");
        }
        Ok((all.files, all.left_out))
    }
}

struct Collected<'a> {
    files: Contents,
    left_out: Vec<LeftOut>,
    room: u64,
    named: &'a Named,
}

impl Collected<'_> {
    fn leave_out(&mut self, name: &str, why: &str) {
        if !self.left_out.iter().any(|left| left.name == name) {
            self.left_out.push(LeftOut { name: name.to_owned(), why: why.to_owned() });
        }
    }

    fn take(&mut self, folder: &Path, name: &str) -> Result<()> {
        let path = folder.join(name);
        let Ok(meta) = std::fs::symlink_metadata(&path) else { return Ok(()) };
        if self.named.secrets.contains(name) {
            self.leave_out(name, "a secret");
        } else if meta.is_dir() {
            if name.split('/').count() >= MAX_DEPTH {
                bail!("{}: folders in folders, more than {MAX_DEPTH}", path.display());
            }
            for entry in std::fs::read_dir(&path).with_context(|| path.display().to_string())? {
                match entry?.file_name().to_str().map(|inner| format!("{name}/{inner}")) {
                    Some(inner) if is_name(&inner) => self.take(folder, &inner)?,
                    other => self.leave_out(other.as_deref().unwrap_or(name), "no plain name"),
                }
            }
        } else if !meta.is_file() {
            self.leave_out(name, "no file");
        } else {
            let bytes = read_bounded(&path, self.room).with_context(|| path.display().to_string())?;
            if bytes.windows(11).any(|window| window == b"PRIVATE KEY") {
                self.leave_out(name, "a private key");
                return Ok(());
            }
            self.room -= bytes.len() as u64;
            self.files.insert(name.to_owned(), bytes);
            if self.files.len() > MAX_FILES {
                bail!("more than {MAX_FILES} files");
            }
        }
        Ok(())
    }
}

/// Runs a verb.
pub(crate) fn run(verb: &cli::Config) -> Result<Exit> {
    match verb {
        cli::Config::Backup(args) => backup(args),
        cli::Config::Restore(args) => restore(args),
        cli::Config::Undo(args) => undo(args),
        cli::Config::Keep(args) => keep(args),
    }
}

fn backup(args: &cli::Backup) -> Result<Exit> {
    let config = crate::load(&args.config)?;
    let present = Present::at(&args.config)?;
    let bytes = read_bounded(&present.path, MAX_BYTES)?;
    let (files, left_out) = present.collect(bytes, &present.named(&config))?;
    let charter = read_charter(&config.charter).map(|(text, signatures)| Signed { text, signatures });
    let backup = Backup {
        glassgate_backup: format::format(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made: clock::wall_text(),
        config: present.name,
        files: files.iter().map(|(name, bytes)| Entry::new(name.clone(), bytes)).collect(),
        charter,
        left_out,
    };
    let mut text = serde_json::to_vec_pretty(&backup)?;
    text.push(b'\n');
    if args.file == Path::new("-") {
        std::io::stdout().write_all(&text)?;
    } else {
        let part = args.file.with_added_extension("part");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
        let file = file.as_mut().map_err(|e| anyhow::anyhow!("{}: {e}", part.display()))?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&part, &args.file)?;
    }
    let mut said = format!("{} files", backup.files.len());
    said += if backup.charter.is_some() { " and the charter\n" } else { ", no charter\n" };
    for left in &backup.left_out {
        _ = writeln!(said, "left out: {} ({})", left.name, left.why);
    }
    eprint!("{said}");
    Ok(Exit::Done)
}

/// What a restore does, as `--json` prints it.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    /// Whether anything was changed.
    restored: bool,
    changed: Vec<Changed>,
    charter: Option<String>,
    not_restored: Vec<LeftOut>,
    /// Whether a running gateway has put it on record.
    recorded: bool,
}

#[derive(Debug, Serialize)]
struct Changed {
    name: String,
    change: &'static str,
}

fn restore(args: &cli::Restore) -> Result<Exit> {
    let opened = format::open(&args.file)?;
    let present = Present::at(&args.config)?;
    let invalid =
        |why: String| anyhow::Error::from(Ended::new(Exit::Invalid, format!("nothing was changed: {why}")));
    if opened.backup.config != present.name {
        return Err(invalid(format!("the backup's configuration is called `{}`", opened.backup.config)));
    }
    let text = &opened.files[&present.name];
    let config =
        present.parse(text).map_err(|faults| invalid(format!("the configuration is not valid\n{faults}")))?;
    let named = present.named(&config);
    // Where the present one can't be read, nothing of it is known but that it is kept.
    let old = read_bounded(&present.path, MAX_BYTES).unwrap_or_default();
    let old_config = present.parse(&old).ok();
    let old_named = old_config.as_ref().map(|config| present.named(config)).unwrap_or_default();
    let (old_files, _) = present.collect(old.clone(), &old_named)?;
    own_folder(&present, [Some(&config), old_config.as_ref()].into_iter().flatten()).map_err(invalid)?;
    if let Some(name) = opened.files.keys().find(|name| named.secrets.contains(*name)) {
        return Err(invalid(format!("`{name}` is a secret, and a backup has none")));
    }
    if args.limited {
        let (before, after) = (String::from_utf8_lossy(&old), String::from_utf8_lossy(text));
        let mut refused = limited::refused(&before, &opened, &after, &old_files, [&named, &old_named]);
        let elsewhere = named.outside.iter().filter(|path| !old_named.outside.contains(path));
        refused.extend(elsewhere.map(|path| format!("{}: outside the folder", path.display())));
        if !refused.is_empty() {
            return Err(invalid(format!(
                "without an account these may not change\n  {}",
                refused.join("\n  ")
            )));
        }
    }
    let places = Places::of(&present.folder)?;
    let made = stage(args, &places, &present, &opened, &old_files, &named, &config);
    let mut outcome = Outcome {
        changed: changes(&old_files, &opened.files),
        not_restored: opened.backup.left_out.clone(),
        ..Outcome::default()
    };
    if made.is_err() || args.dry_run {
        places.drop_part()?;
        made?;
        outcome.charter =
            opened.backup.charter.is_some().then(|| "is looked at when it is installed".to_owned());
        return told(args, &outcome);
    }
    let socket = old_config.as_ref().map_or(&config.socket, |old| &old.socket);
    outcome.recorded = match record(socket, ConfigChange::Restored, &opened.sha256, outcome.changed.len()) {
        Ok(recorded) => recorded,
        Err(why) => {
            places.drop_part()?;
            return Err(invalid(why.to_string()));
        }
    };
    places.commit()?;
    outcome.restored = true;
    outcome.charter = match opened.backup.charter {
        Some(_) if args.limited => Some("is not taken: it comes by the page or the command line".to_owned()),
        Some(charter) => Some(give_charter(&config, outcome.recorded, socket, charter)),
        None => None,
    };
    told(args, &outcome)
}

/// Builds the new folder beside, and checks it as it will be.
fn stage(
    args: &cli::Restore,
    places: &Places,
    present: &Present,
    opened: &Opened,
    old_files: &Contents,
    named: &Named,
    config: &Config,
) -> Result<()> {
    let is_kept =
        |name: &str| !old_files.contains_key(name) && !opened.files.contains_key(name) && name != TRIAL;
    places.stage(&is_kept)?;
    for (name, bytes) in &opened.files {
        places.put(name, bytes, 0o600)?;
    }
    for name in named.secrets.iter().filter(|name| !places.part.join(name).exists()) {
        let from = args.secrets.as_ref().map(|dir| dir.join(name));
        if let Some(bytes) = from.and_then(|from| read_bounded(&from, 64 << 10).ok()) {
            places.put(name, &bytes, 0o600)?;
        }
    }
    if args.trial {
        places.put(TRIAL, boot_id().as_bytes(), 0o600)?;
    }
    let mut found = Diagnostics::new();
    let mut moved = config.clone();
    moved.rename_folder(&[&present.folder, &present.folder_as_given], &places.part);
    check::files_of(&moved, &mut found);
    if found.has_errors() {
        let text = found
            .to_string()
            .replace(&places.part.display().to_string(), &present.folder.display().to_string());
        let why = format!("nothing was changed: what the configuration names is not good\n{text}");
        return Err(Ended::new(Exit::Invalid, why).into());
    }
    Ok(())
}

/// The gateway writes into its own folders while the configuration is replaced: they may not be in it.
fn own_folder<'a>(present: &Present, configs: impl Iterator<Item = &'a Config>) -> Result<(), String> {
    for config in configs {
        let own = [&config.audit.dir, &config.charter.dir, &config.store.dir, &config.page.dir];
        let more = [&config.files.feeds_dir, &config.reports.dir, &config.socket];
        let is_in =
            |path: &PathBuf| path.starts_with(&present.folder) || path.starts_with(&present.folder_as_given);
        if let Some(path) = own.into_iter().chain(more).find(|path| is_in(path)) {
            return Err(format!(
                "{} is in the folder of the configuration, which is replaced as a whole; give the configuration a folder of its own",
                path.display()
            ));
        }
    }
    Ok(())
}

fn changes(old: &Contents, new: &Contents) -> Vec<Changed> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = names.into_iter().filter_map(|name| {
        let change = match (old.get(name), new.get(name)) {
            (None, _) => "new",
            (_, None) => "gone",
            (old, new) if old != new => "changed",
            _ => return None,
        };
        Some(Changed { name: name.clone(), change })
    });
    changes.collect()
}

/// Has the running gateway put it on record; `false` where none runs.
fn record(socket: &Path, change: ConfigChange, sha256: &str, files: usize) -> Result<bool> {
    let question = Question::ConfigChanged {
        undone: change == ConfigChange::Undone,
        sha256: sha256.to_owned(),
        files: files as u64,
    };
    match ask::ask(socket, &question) {
        Ok(Answer::Recorded) => Ok(true),
        Ok(Answer::Denied(why)) => bail!("{why}"),
        Ok(_) => bail!("the gateway gave another answer than was asked for"),
        Err(why) if ask::is_not_running(&why) => Ok(false),
        Err(why) => Err(why),
    }
}

/// A charter is signed, and is never followed by an older one: whoever installs it looks at that.
fn give_charter(config: &Config, runs: bool, socket: &Path, charter: Signed) -> String {
    let Signed { text, signatures } = charter;
    let done = if runs {
        match ask::ask(socket, &Question::InstallCharter { charter: text, signatures }) {
            Ok(Answer::Installed(what)) => Ok(what),
            Ok(Answer::NotInstalled(why)) => Err(why),
            Ok(_) => Err("the gateway gave another answer than was asked for".to_owned()),
            Err(why) => Err(format!("{why:#}")),
        }
    } else {
        install_charter(&config.charter, &text, &signatures).map(|()| "installed".to_owned())
    };
    done.unwrap_or_else(|why| format!("not installed, what was installed stays: {why}"))
}

fn told(args: &cli::Restore, outcome: &Outcome) -> Result<Exit> {
    if args.json {
        return crate::print(&(serde_json::to_string(outcome)? + "\n"));
    }
    let mut out = String::new();
    for Changed { name, change } in &outcome.changed {
        _ = writeln!(out, "{change:<8} {name}");
    }
    if outcome.changed.is_empty() {
        out += "no file differs\n";
    }
    if let Some(charter) = &outcome.charter {
        _ = writeln!(out, "charter  {charter}");
    }
    for left in &outcome.not_restored {
        _ = writeln!(out, "not in the backup: {} ({})", left.name, left.why);
    }
    _ = writeln!(out, "{NEVER}");
    out += match (outcome.restored, outcome.recorded) {
        (false, _) => "nothing was changed: this was a dry run\n",
        (true, true) => "restored, and on record; start the gateway again for it to be in force\n",
        (true, false) => "restored; no gateway runs, so this is on no record\n",
    };
    crate::print(&out)
}

fn undo(args: &cli::Undo) -> Result<Exit> {
    let present = Present::at(&args.config)?;
    let trial = std::fs::read_to_string(present.folder.join(TRIAL)).ok();
    if args.if_unkept && trial.is_none_or(|since| since == boot_id()) {
        return crate::print("not on trial since before this start\n");
    }
    let places = Places::of(&present.folder)?;
    let before = read_bounded(&places.before.join(&present.name), MAX_BYTES).map_err(|e| {
        Ended::new(
            Exit::Failed,
            format!("there is no configuration before this one: {}: {e}", places.before.display()),
        )
    })?;
    let config = crate::load(&present.path);
    let socket = config.as_ref().map(|config| config.socket.clone());
    let recorded = match socket {
        Ok(socket) => record(&socket, ConfigChange::Undone, &sha256(&before), 0)?,
        Err(_) => false,
    };
    // What was kept once is on trial no more.
    _ = std::fs::remove_file(places.before.join(TRIAL));
    places.exchange()?;
    crate::print(if recorded {
        "the configuration before is back, and that is on record; start the gateway again for it to be in force\n"
    } else {
        "the configuration before is back; no gateway runs, so this is on no record\n"
    })
}

fn keep(args: &cli::Keep) -> Result<Exit> {
    let present = Present::at(&args.config)?;
    match std::fs::remove_file(present.folder.join(TRIAL)) {
        Ok(()) => {
            std::fs::File::open(&present.folder)?.sync_all()?;
            crate::print("kept\n")
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => crate::print("not on trial\n"),
        Err(e) => Err(e.into()),
    }
}

/// Which start of the machine this is.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
mod tests;
