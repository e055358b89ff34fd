//! The agent of a box: takes what may go up from the audit log to the server beside it.
//!
//! The log is the queue. The agent remembers up to which entry the server has answered for; what it sends twice has the same id and the same number of an
//! entry, and counts once. When the server is away, full or slow, the agent waits, and nobody waits for the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use async_nats::jetstream::message::PublishMessage;
use glassgate_audit::checkpoint::Checkpoint;
use glassgate_audit::reader::Reader;
use serde::{Deserialize, Serialize};

use crate::down::ask;
use crate::down::keep::{Down, Keeper};
use crate::link::{Link, jetstream, site_stream};
use crate::up::{self, CheckpointMessage, Kept, Message, VERSION};
use crate::witness;
use crate::words::{LogId, Site};

/// Messages that are on their way at the same time.
const WINDOW: usize = 128;
/// Entries that are read at once.
const BATCH: usize = 2048;

/// What an agent is told in its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The name of the site.
    pub site: Site,
    /// The folder of the audit log.
    #[serde(default = "audit_folder")]
    pub audit: PathBuf,
    /// The folder in which the agent remembers how far it is.
    #[serde(default = "state_folder")]
    pub state: PathBuf,
    /// Milliseconds between two looks at the log, 100 to 600000.
    #[serde(default = "interval")]
    pub interval_ms: u64,
    /// Seconds between two checkpoints that go up, 1 to 86400.
    #[serde(default = "checkpoint_every")]
    pub checkpoint_s: u64,
    /// Who witnesses for whom; nobody, where there is no such part.
    #[serde(default)]
    pub witness: witness::Config,
    /// The server beside the box.
    pub link: Link,
    /// What may come down. Nothing is asked for where it is left out.
    #[serde(default)]
    pub down: Option<Down>,
}

fn audit_folder() -> PathBuf {
    "/var/lib/glassgate/audit".into()
}

fn state_folder() -> PathBuf {
    "/var/lib/glassgate/fleet".into()
}

const fn interval() -> u64 {
    5000
}

const fn checkpoint_every() -> u64 {
    600
}

/// Where entries come from.
pub trait Source {
    /// The public key of the log; `None` while there is none.
    fn key(&self) -> Option<String>;
    /// Up to `limit` entries from `seq` on, or from the first that is there.
    fn entries(&mut self, seq: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>>;
    /// The newest signed checkpoint.
    fn checkpoint(&mut self) -> Option<String>;
}

/// An audit log in a folder, which another process writes.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The log in a folder.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn short(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path.join(name)).ok()?;
        (text.len() <= up::MAX_MESSAGE / 2).then_some(text)
    }
}

impl Source for Folder {
    fn key(&self) -> Option<String> {
        self.short("key.pub")
    }

    fn entries(&mut self, seq: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>> {
        let reader = Reader::open(&self.path)?;
        reader.entries(seq).take(limit).map(|entry| Ok(entry?)).collect()
    }

    fn checkpoint(&mut self) -> Option<String> {
        let size = |note: &String| Checkpoint::parse(note).map_or(0, |checkpoint| checkpoint.size);
        let newest = self.short("checkpoint");
        let witnessed = self.short("checkpoint.witnessed");
        // A witness that has been away for long has signed an old one.
        witnessed.filter(|note| size(note) >= newest.as_ref().map_or(0, size)).or(newest)
    }
}

/// How far an agent is with a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Which log.
    pub log: String,
    /// The next entry to look at.
    pub next: u64,
    /// The last entry that went up.
    pub prev: Option<u64>,
    /// Entries that went up, of all logs.
    pub sent: u64,
    /// Bytes of all messages, with their subjects.
    pub bytes: u64,
    /// Entries that stayed because their kind is not on the list.
    pub kept: u64,
    /// Entries of kinds on the list that stayed because they did not look as such records do, or were too long.
    pub misshapen: u64,
    /// The message with the last checkpoint.
    pub checkpoint: String,
}

/// An agent, with all but its connection.
#[derive(Debug)]
pub struct Agent<S> {
    site: Site,
    /// Where entries come from.
    pub source: S,
    file: Option<PathBuf>,
    /// How far it is.
    pub state: State,
}

impl<S: Source> Agent<S> {
    /// One that remembers in a file, and begins where that says. A file that can't be read is as good as none: what goes up again counts once.
    pub fn new(site: Site, source: S, file: Option<PathBuf>) -> Self {
        let text = file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        let state = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Self { site, source, file, state }
    }

    /// Sends what is new, up to a batch. Gives how many entries were looked at.
    pub async fn turn(&mut self, context: &jetstream::Context) -> Result<usize> {
        let Some(log) = self.source.key().map(|key| LogId::of(&key)) else { return Ok(0) };
        if self.state.log != log.as_str() {
            let State { sent, bytes, kept, misshapen, .. } = self.state;
            self.state = State { log: log.to_string(), sent, bytes, kept, misshapen, ..State::default() };
        }
        let entries = self.source.entries(self.state.next, BATCH)?;
        let looked_at = entries.len();
        let mut next = self.state.clone();
        let mut messages = Vec::new();
        for (seq, entry) in entries {
            next.next = seq + 1;
            match up::said(&entry) {
                Ok((wall, said)) => {
                    let prev = next.prev.replace(seq);
                    let (site, log) = (self.site.clone(), log.clone());
                    messages.push(Message { v: VERSION, site, log, seq, prev, wall, said });
                    next.sent += 1;
                }
                Err(Kept::Kind) => next.kept += 1,
                Err(Kept::Form | Kept::Length) => next.misshapen += 1,
            }
        }
        for window in messages.chunks(WINDOW) {
            let mut answers = Vec::with_capacity(window.len());
            for message in window {
                let subject = message.said.topic().subject(&self.site);
                let bytes = message.bytes();
                next.bytes += (bytes.len() + subject.len()) as u64;
                // No `Nats-Msg-Id`: a server notes an id when it proposes a message, and where that proposal falls with its leader it may take the
                // same message for one that it has (nats-server 2.9.10). The hub tells what comes twice by itself.
                let publish = PublishMessage::build().payload(bytes.into());
                answers.push(context.send_publish(subject, publish).await?);
            }
            for answer in answers {
                answer.await?;
            }
        }
        if looked_at > 0 {
            self.state = next;
            self.save()?;
        }
        Ok(looked_at)
    }

    /// Sends the newest checkpoint, if it is another one.
    pub async fn send_checkpoint(&mut self, context: &jetstream::Context) -> Result<()> {
        let (Some(key), Some(note)) = (self.source.key(), self.source.checkpoint()) else { return Ok(()) };
        // One that its log did not sign is being replaced, or damaged; the gateway says so.
        let Ok(message) = CheckpointMessage::new(&self.site, &key, &note) else { return Ok(()) };
        if message.id() == self.state.checkpoint {
            return Ok(());
        }
        let subject = up::Topic::Checkpoints.subject(&self.site);
        let bytes = message.bytes();
        let size = (bytes.len() + subject.len()) as u64;
        let publish = PublishMessage::build().payload(bytes.into());
        context.send_publish(subject, publish).await?.await?;
        self.state.bytes += size;
        self.state.checkpoint = message.id();
        self.save()
    }

    fn save(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let new = file.with_extension("new");
        let fault = || format!("{}", new.display());
        fs::write(&new, serde_json::to_vec(&self.state)?).with_context(fault)?;
        fs::rename(&new, file).with_context(fault)
    }
}

/// Runs an agent until its process is ended. Whatever fails is said and tried again.
pub async fn run(config: &AgentConfig) -> Result<()> {
    fs::create_dir_all(&config.state).with_context(|| config.state.display().to_string())?;
    let file = config.state.join(format!("{}.json", config.site));
    let mut agent = Agent::new(config.site.clone(), Folder::new(&config.audit), Some(file));
    // It must not wait for what goes up, which may be much.
    let witnessing = config.clone();
    tokio::spawn(async move {
        if let Err(why) = witness::run(&witnessing).await {
            eprintln!("glassgate fleet: no witnessing: {why:#}");
        }
    });
    let client = config.link.connect(&format!("glassgate agent {}", config.site)).await?;
    if let Some(down) = &config.down {
        let keeper = Keeper::new(down, &config.state.join(format!("{}.down.json", config.site)))?;
        let (site, down, client) = (config.site.clone(), down.clone(), client.clone());
        let own = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // On a thread of its own: what goes up does not wait until the gateway has read a pack.
        std::thread::spawn(move || own.block_on(ask::run(site, down, keeper, client)));
    }
    let context = jetstream(client);
    let interval = Duration::from_millis(config.interval_ms.clamp(100, 600_000));
    let checkpoint_every = Duration::from_secs(config.checkpoint_s.clamp(1, 86_400));
    let mut due = tokio::time::Instant::now();
    let mut ready = false;
    let mut trouble = String::new();
    loop {
        let mut more = false;
        let done: Result<()> = async {
            if !ready {
                context.get_or_create_stream(site_stream(&config.site)).await?;
                ready = true;
            }
            more = agent.turn(&context).await? == BATCH;
            if due.elapsed() > Duration::ZERO {
                agent.send_checkpoint(&context).await?;
                due = tokio::time::Instant::now() + checkpoint_every;
            }
            Ok(())
        }
        .await;
        // Said when it begins and when it is over, not each time.
        let now = done.err().map(|why| format!("{why:#}")).unwrap_or_default();
        if now != trouble {
            match now.as_str() {
                "" => eprintln!("glassgate fleet: going up again, {} sent", agent.state.sent),
                why => eprintln!("glassgate fleet: waiting: {why}"),
            }
            trouble = now;
        }
        if !more || !trouble.is_empty() {
            tokio::time::sleep(interval).await;
        }
    }
}
