//! The witness of a box: what it remembers of each log, and what it answers.
//!
//! ```text
//! lock, key, key.pub                 its own
//! SITE/LOG/key.pub                   the key of a log of a site: the first that came on the subject of that site
//! SITE/LOG/….checkpoint              the last checkpoint of it that was cosigned, with the cosignature
//! ```
//!
//! What is signed is on the disk before it is said. A memory that can't be read is not begun anew: the witness would sign another past.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use glassgate_audit::disk::{Disk as _, Folder};
use glassgate_audit::note::{Signer, Verifier};
use glassgate_audit::tiles::Files as _;
use glassgate_audit::witness::{Request, Witness, lock, own_key};

use super::said::{Answer, Ask, Report, Why, Word};
use crate::up::VERSION;
use crate::words::{LogId, Site};

/// Logs of a site that are remembered. A log is begun anew when its disk was damaged or replaced; of one more nothing is signed, and it is said.
const MAX_LOGS: usize = 16;
/// Asks of a site that are answered within as many seconds. Others are passed over: each answer is a signature and two syncs of the disk.
const AT_ONCE: usize = 8;
/// For how long a log may show less than was cosigned before it is refused. What a cut link held back comes after what was sent later by another one: that is no other past.
const LATE: Duration = Duration::from_secs(60);

/// A witness.
#[derive(Debug)]
pub struct Memory {
    site: Site,
    folder: PathBuf,
    public: String,
    secret: String,
    sites: BTreeMap<Site, Watched>,
    /// Asks that were not answered, by reason.
    pub passed: Passed,
    _lock: File,
}

/// Asks that were not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Not asks, or not signed by the log.
    pub form: u64,
    /// Of a site that this box is no witness of.
    pub stranger: u64,
    /// More of a site than are answered.
    pub busy: u64,
    /// The disk failed.
    pub disk: u64,
}

/// A site whose logs are witnessed.
#[derive(Debug, Default)]
struct Watched {
    logs: BTreeMap<LogId, Log>,
    answered: VecDeque<Instant>,
    /// The newest that was signed and that the hub was not told.
    signed: Option<Report>,
    /// The newest that was refused and that the hub was not told.
    refused: Option<Report>,
    /// The last refusal that the hub was told.
    told: Option<Report>,
}

struct Log {
    witness: Witness,
    /// When it first showed less than was cosigned, since the last cosignature.
    shorter_since: Option<Instant>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.witness.sizes()).finish()
    }
}

impl Log {
    fn size(&self) -> u64 {
        self.witness.sizes().next().map_or(0, |(_, size)| size)
    }
}

/// The name of the key that a box cosigns with.
pub fn key_name(site: &Site) -> String {
    format!("{site}.witness.glassgate.internal")
}

impl Memory {
    /// The witness of a folder, for the logs of the sites `of`. Its key is made if there is none. Fails if another process has the folder.
    pub fn open(site: &Site, of: &[Site], folder: &Path) -> Result<Self> {
        let shown = || folder.display().to_string();
        let disk = Folder::private(folder).with_context(shown)?;
        let held = lock(folder).with_context(|| format!("another agent witnesses in {}", shown()))?;
        let key = own_key(&disk, &key_name(site)).with_context(shown)?;
        let mut memory = Self {
            site: site.clone(),
            folder: folder.to_owned(),
            public: key.verifier().to_string(),
            secret: key.to_secret_text(),
            sites: BTreeMap::new(),
            passed: Passed::default(),
            _lock: held,
        };
        for site in of {
            memory.sites.insert(site.clone(), memory.remembered(site)?);
        }
        Ok(memory)
    }

    /// Its public key.
    pub fn key(&self) -> &str {
        &self.public
    }

    fn remembered(&self, site: &Site) -> Result<Watched> {
        let mut watched = Watched::default();
        let folder = self.folder.join(site.as_str());
        let names = match fs::read_dir(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(watched),
            other => other.with_context(|| folder.display().to_string())?,
        };
        for entry in names {
            let name = entry?.file_name();
            let Some(log) = name.to_str().and_then(|name| LogId::new(name).ok()) else { continue };
            let path = folder.join(log.as_str());
            // The key is the first that is written: without it nothing was signed.
            let Some(key) = Folder::read_only(&path).read("key.pub")? else { continue };
            let key = String::from_utf8_lossy(&key).trim_end().to_owned();
            ensure!(LogId::of(&key) == log, "{}: key.pub is of another log", path.display());
            watched.logs.insert(log, self.witness(&path, &key)?);
        }
        Ok(watched)
    }

    fn witness(&self, path: &Path, key: &str) -> Result<Log> {
        let key = Verifier::parse(key).with_context(|| path.display().to_string())?;
        let own = Signer::parse(&self.secret)?;
        let witness = Witness::open(Arc::new(Folder::private(path)?), own, vec![key])
            .with_context(|| path.display().to_string())?;
        Ok(Log { witness, shorter_since: None })
    }

    /// What is remembered of the logs of a site.
    pub fn sizes(&self, site: &Site) -> BTreeMap<LogId, u64> {
        let logs = self.sites.get(site).map(|watched| &watched.logs);
        logs.into_iter().flatten().map(|(log, known)| (log.clone(), known.size())).collect()
    }

    /// Answers an ask that came on the subject of `from`. None where there is nothing to say; why is counted. `now` is in seconds since 1970.
    pub fn hear(&mut self, from: &Site, text: &[u8], now: u64, at: Instant) -> Option<Answer> {
        let Some(watched) = self.sites.get_mut(from) else {
            self.passed.stranger += 1;
            return None;
        };
        let over = |first: &Instant| at.saturating_duration_since(*first).as_secs() >= AT_ONCE as u64;
        while watched.answered.front().is_some_and(over) {
            watched.answered.pop_front();
        }
        if watched.answered.len() >= AT_ONCE {
            self.passed.busy += 1;
            return None;
        }
        watched.answered.push_back(at);
        let Ok((ask, checkpoint)) = Ask::read(from, text) else {
            self.passed.form += 1;
            return None;
        };
        match self.decide(from, &ask, checkpoint.size, now, at) {
            Ok((size, said)) => {
                self.note(from, &ask, size, &said);
                let (site, of, log) = (self.site.clone(), from.clone(), ask.log);
                Some(Answer { v: VERSION, site, of, log, key: self.public.clone(), size, said })
            }
            Err(why) => {
                self.passed.disk += 1;
                eprintln!("glassgate fleet: the log of {from} is not witnessed: {why:#}");
                None
            }
        }
    }

    fn decide(&mut self, from: &Site, ask: &Ask, size: u64, now: u64, at: Instant) -> Result<(u64, Word)> {
        let known = self.sites.get(from).map_or(0, |watched| watched.logs.len());
        let is_known = self.sites.get(from).is_some_and(|watched| watched.logs.contains_key(&ask.log));
        if !is_known {
            if known >= MAX_LOGS {
                return Ok((0, Word::Refused(Why::Logs)));
            }
            let path = self.folder.join(from.as_str()).join(ask.log.as_str());
            Folder::private(&path)?.replace("key.pub", format!("{}\n", ask.key).as_bytes(), false)?;
            let log = self.witness(&path, &ask.key)?;
            if let Some(watched) = self.sites.get_mut(from) {
                watched.logs.insert(ask.log.clone(), log);
            }
        }
        let log = self.sites.get_mut(from).and_then(|watched| watched.logs.get_mut(&ask.log));
        let log = log.context("it was remembered a moment ago")?;
        let old = log.size();
        if size < old {
            let since = *log.shorter_since.get_or_insert(at);
            let lasts = at.saturating_duration_since(since) >= LATE;
            return Ok((old, if lasts { Word::Refused(Why::Shorter) } else { Word::Remembers }));
        }
        let proof = match ask.proofs.iter().find(|proof| proof.old == old) {
            _ if old == 0 || old == size => Vec::new(),
            Some(proof) => proof.hashes.iter().map(|hash| hash.0).collect(),
            None => return Ok((old, Word::Remembers)),
        };
        let request = Request { old, proof, checkpoint: ask.note.clone() };
        let answer = log.witness.add_checkpoint(&request.text(), now);
        let said = match answer.status {
            200 => {
                log.shorter_since = None;
                Word::Cosigned(answer.body)
            }
            409 => Word::Refused(Why::Fork),
            422 => Word::Refused(Why::Unproven),
            status => anyhow::bail!("{status}: {}", answer.body.trim_end()),
        };
        Ok((log.size(), said))
    }

    /// Remembers what the hub is to be told: of each site the newest that was signed and the newest that was refused.
    fn note(&mut self, from: &Site, ask: &Ask, size: u64, said: &Word) {
        let report = |why, note| Report {
            v: VERSION,
            site: self.site.clone(),
            of: from.clone(),
            log: ask.log.clone(),
            log_key: ask.key.clone(),
            key: self.public.clone(),
            size,
            why,
            note,
        };
        let (signed, refused) = match said {
            Word::Cosigned(line) => {
                // The signature of the log and its own: those of others they tell themselves.
                let plain = |line: &&str| !line.starts_with("— ") || is_of(line, &ask.key);
                let note: String = ask.note.split_inclusive('\n').filter(plain).collect();
                (Some(report(None, note + line)), None)
            }
            Word::Refused(why) => (None, Some(report(Some(*why), ask.note.clone()))),
            Word::Remembers => (None, None),
        };
        let Some(watched) = self.sites.get_mut(from) else { return };
        if signed.is_some() {
            watched.signed = signed;
        }
        if let Some(refused) = refused.filter(|refused| watched.told.as_ref() != Some(refused)) {
            let said = refused.why.map_or("", Why::explained);
            eprintln!("glassgate fleet: the log of {from} is NOT cosigned: {said} ({size})");
            watched.refused = Some(refused);
        }
    }

    /// What the hub is to be told next: the first refusal of a site, or with `all` also further ones and what was signed. So a box that asks for one refusal after the
    /// other fills no stream but its own.
    pub fn to_report(&self, all: bool) -> Option<Report> {
        let mut watched = self.sites.values().filter(|watched| all || watched.told.is_none());
        let refused = watched.find_map(|watched| watched.refused.clone());
        refused.or_else(|| self.sites.values().filter(|_| all).find_map(|watched| watched.signed.clone()))
    }

    /// The hub's stream has it.
    pub fn reported(&mut self, report: &Report) {
        let Some(watched) = self.sites.get_mut(&report.of) else { return };
        if watched.refused.as_ref() == Some(report) {
            watched.told = watched.refused.take();
        }
        if watched.signed.as_ref() == Some(report) {
            watched.signed = None;
        }
    }
}

/// Whether a line of a note bears the name of a key.
fn is_of(line: &str, key: &str) -> bool {
    let name = key.split('+').next().unwrap_or_default();
    line.strip_prefix("— ").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with(' '))
}
