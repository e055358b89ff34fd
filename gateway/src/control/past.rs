//! The keeper of the rollup store: a thread that follows the audit log and answers questions about the past.
//!
//! It has the store to itself, so nothing in it is shared or locked; the slow path tells it how many records are durable, by a
//! number that nobody waits for. While it builds the store anew it answers between two batches, from what it has.

use super::snapshot::{LogNow, StoreNow, WitnessedNow};
use crate::clock;
use crate::config::{Audit, Config};
use crate::past::{BATCH, Files, Records, Report, records, report};
use glassgate_audit::checkpoint::Checkpoint;
use glassgate_audit::note::{Note, Verifier};
use glassgate_store::{Log as _, Opened, Options, Question, Search, Store, StoreError};
use jiff::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::{info, warn};

/// How often it looks whether there is anything new. Opening the log reads its last segment, so not more often than this.
const EVERY: Duration = Duration::from_secs(2);
/// How long to wait before a store that failed is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Questions that wait; further ones are refused.
const WAITING: usize = 32;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Everything else comes first.
const NICE: i32 = 5;

/// The way to the keeper.
#[derive(Clone)]
pub(crate) struct Past {
    asks: SyncSender<Ask>,
    told: Arc<Told>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It is none that the store answers.
    Question(String),
    /// Not now.
    Unavailable(String),
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Question(why) | Self::Unavailable(why)) = self;
        f.write_str(why)
    }
}

impl From<StoreError> for Unanswered {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Question(why) => Self::Question(why),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

type Answer<T> = oneshot::Sender<Result<T, Unanswered>>;

/// What is passed without asking.
#[derive(Default)]
struct Told {
    /// Records made durable, as the slow path knows.
    committed: AtomicU64,
    now: Mutex<LogNow>,
}

enum Ask {
    Report(Question, Answer<Report>),
    Records(Search, Answer<Records>),
}

impl Past {
    /// Starts the keeper. It ends when nobody can ask any more.
    pub(crate) fn start(config: &Config) -> Self {
        let (asks, asked) = sync_channel(WAITING);
        let told = Arc::new(Told::default());
        let keeper = Keeper {
            audit: config.audit.clone(),
            options: Options {
                path: Some(config.store.dir.join("store.db")),
                quota_bytes: config.store.quota_bytes,
            },
            told: told.clone(),
            store: None,
            log: None,
            retry_at: Instant::now(),
            // The log may have grown before anybody said so.
            seen: u64::MAX,
            behind: false,
            trouble: None,
        };
        let started = thread::Builder::new().name("gg-store".to_owned()).spawn(move || keeper.run(&asked));
        if let Err(e) = started {
            lock(&told.now).store.trouble = Some(format!("there is no thread for it: {e}"));
        }
        Self { asks, told }
    }

    /// One that nobody keeps.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { asks: sync_channel(0).0, told: Arc::default() }
    }

    /// Tells how many records are durable.
    pub(super) fn committed(&self, records: u64) {
        self.told.committed.store(records, Ordering::Relaxed);
    }

    /// The log as it was at the last look.
    pub(crate) fn log_now(&self) -> LogNow {
        lock(&self.told.now).clone()
    }

    /// Asks for counts.
    pub(crate) async fn report(&self, question: Question) -> Result<Report, Unanswered> {
        self.ask(|answer| Ask::Report(question, answer)).await
    }

    /// Asks for records.
    pub(crate) async fn records(&self, search: Search) -> Result<Records, Unanswered> {
        self.ask(|answer| Ask::Records(search, answer)).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(Answer<T>) -> Ask) -> Result<T, Unanswered> {
        let not_now = |why: &str| Unanswered::Unavailable(why.to_owned());
        let (answer, outcome) = oneshot::channel();
        self.asks.try_send(ask(answer)).map_err(|e| match e {
            TrySendError::Full(_) => not_now("too many questions about the past at once"),
            TrySendError::Disconnected(_) => not_now("nobody keeps the rollup store"),
        })?;
        match tokio::time::timeout(PATIENCE, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(not_now("the rollup store did not answer")),
            Err(_) => Err(not_now("the rollup store did not answer in time")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keeper {
    audit: Audit,
    options: Options,
    told: Arc<Told>,
    store: Option<Store>,
    log: Option<Files>,
    retry_at: Instant,
    /// What the slow path had said when the log was last opened.
    seen: u64,
    /// There are entries of `log` that the store has not taken.
    behind: bool,
    trouble: Option<String>,
}

impl Keeper {
    fn run(mut self, asked: &Receiver<Ask>) {
        if let Err(e) = rustix::process::nice(NICE) {
            warn!("the store's thread runs as urgently as the others: {e}");
        }
        let mut look_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= look_at {
                look_at = now + EVERY;
                self.look();
            }
            if self.behind {
                self.follow();
            }
            let left = look_at.saturating_duration_since(Instant::now());
            match asked.recv_timeout(if self.behind { Duration::ZERO } else { left }) {
                Ok(ask) => self.answer(ask),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Opens what is not open, and the log again if it has grown.
    fn look(&mut self) {
        if self.store.is_none() && Instant::now() >= self.retry_at {
            self.open();
        }
        let committed = self.told.committed.load(Ordering::Relaxed);
        if self.log.is_none() || self.seen != committed {
            match Files::open(&self.audit.dir) {
                Ok(log) => {
                    (self.log, self.seen, self.behind) = (log, committed, true);
                    self.say(None);
                }
                Err(why) => self.say(Some(format!("the audit log can't be read: {why}"))),
            }
        }
        self.tell();
    }

    fn open(&mut self) {
        let began = Instant::now();
        match Store::open(self.options.clone()) {
            Ok((store, how)) => {
                let next = store.reach().map_or(0, |reach| reach.next);
                match how {
                    Opened::New => info!("the rollup store is built from the audit log"),
                    Opened::Kept => info!(next, took = ?began.elapsed(), "rollup store open"),
                    Opened::Discarded(why) => warn!("the rollup store is built anew: {why}"),
                }
                (self.store, self.behind) = (Some(store), true);
                self.say(None);
            }
            Err(e) => self.give_up(&e),
        }
    }

    /// Takes a batch of entries.
    fn follow(&mut self) {
        let (Some(store), Some(log)) = (&mut self.store, &self.log) else {
            self.behind = false;
            return;
        };
        match store.follow(log, BATCH) {
            Ok(followed) => {
                if let Some(why) = followed.anew {
                    warn!("the rollup store is built anew: {why}");
                }
                self.behind = followed.left > 0;
                if !self.behind {
                    self.tell();
                }
            }
            // The log is looked at again when there is something new in it.
            Err(e @ StoreError::Log(_)) => {
                (self.behind, self.log) = (false, None);
                self.say(Some(e.to_string()));
            }
            Err(e) => self.give_up(&e),
        }
    }

    /// Closes the store until it is tried again: what is damaged is built anew then, what there was no room for may fit.
    fn give_up(&mut self, why: &StoreError) {
        (self.store, self.behind) = (None, false);
        let damaged = matches!(why, StoreError::Damaged(_));
        self.retry_at = Instant::now() + if damaged { Duration::ZERO } else { RETRY };
        self.say(Some(why.to_string()));
    }

    fn say(&mut self, trouble: Option<String>) {
        if let Some(why) = trouble.as_ref().filter(|why| self.trouble.as_ref() != Some(why)) {
            warn!("{why}");
        }
        self.trouble = trouble;
    }

    fn answer(&mut self, ask: Ask) {
        let none = || {
            let why = self.trouble.clone().unwrap_or_else(|| "it is being opened".to_owned());
            Unanswered::Unavailable(format!("there is no rollup store: {why}"))
        };
        // Whoever asked may have gone.
        let failed = match (ask, &self.store) {
            (Ask::Report(question, answer), Some(store)) => {
                let entries = self.log.as_ref().map_or(0, Files::size);
                let outcome = report(store, question, entries);
                let failed = outcome.as_ref().err().is_some_and(is_damage);
                _ = answer.send(outcome.map_err(Unanswered::from));
                failed
            }
            (Ask::Records(search, answer), Some(store)) => {
                let log = self.log.as_ref().map(|log| log as &dyn glassgate_store::Log);
                let outcome = records(store, log, &search);
                let failed = outcome.as_ref().err().is_some_and(is_damage);
                _ = answer.send(outcome.map_err(Unanswered::from));
                failed
            }
            (Ask::Report(_, answer), None) => {
                _ = answer.send(Err(none()));
                false
            }
            (Ask::Records(_, answer), None) => {
                _ = answer.send(Err(none()));
                false
            }
        };
        if failed {
            self.give_up(&StoreError::Damaged("it was damaged while it was in use".to_owned()));
        }
    }

    /// Publishes how the log is.
    fn tell(&self) {
        let store = StoreNow { next: 0, records: 0, bytes: 0, oldest: None, trouble: self.trouble.clone() };
        let store = match self.store.as_ref().map(Store::reach) {
            Some(Ok(reach)) => StoreNow {
                next: reach.next,
                records: reach.records,
                bytes: reach.bytes,
                oldest: reach.oldest.and_then(|s| Timestamp::from_second(s).ok()).map(clock::shown),
                ..store
            },
            _ => store,
        };
        let read = |name: &str| std::fs::read_to_string(self.audit.dir.join(name)).ok();
        let checkpoint = read("checkpoint");
        let parsed = checkpoint.as_deref().and_then(|note| Checkpoint::parse(note).ok());
        let signed_at = std::fs::metadata(self.audit.dir.join("checkpoint")).and_then(|m| m.modified()).ok();
        let signed_at = signed_at.and_then(|at| Timestamp::try_from(at).ok()).map(clock::shown);
        let now = LogNow {
            name: parsed.as_ref().map(|c| c.origin.clone()).unwrap_or_default(),
            entries: self.log.as_ref().map_or(0, Files::size),
            first: self.log.as_ref().map_or(0, |log| log.reader().first()),
            signed: parsed.as_ref().map_or(0, |c| c.size),
            signed_at: parsed.and(signed_at),
            checkpoint,
            asks_a_witness: self.audit.witness.is_some(),
            witnessed: self.witnessed(read("checkpoint.witnessed")),
            store,
        };
        *lock(&self.told.now) = now;
    }

    /// Who signed the newest witnessed checkpoint, and when; by the key that the configuration names.
    fn witnessed(&self, note: Option<String>) -> Option<WitnessedNow> {
        let note = note?;
        let key = Verifier::parse(&self.audit.witness.as_ref()?.key).ok()?;
        let at = key.verify(&Note::parse(&note).ok()?).ok()??;
        let at = Timestamp::from_second(i64::try_from(at).ok()?).ok()?;
        let entries = Checkpoint::parse(&note).ok()?.size;
        Some(WitnessedNow { by: key.name().to_owned(), entries, at: clock::shown(at) })
    }
}

fn is_damage(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged(_) | StoreError::Sql(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassgate_audit::{Clock, Log, Stamp};

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Stamp {
            STAMP
        }
    }

    const STAMP: Stamp = Stamp { mono_ns: 1, wall: None, quality: "unknown" };

    #[test]
    fn follows_a_log_that_is_written_set_aside_and_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let text = glassgate_policy::diagnostic::Text::new(
            "test",
            "[audit]\ndir = 'audit'\n[store]\ndir = 'store'\n",
        );
        let config = Config::parse(text, dir.path()).unwrap();
        std::fs::create_dir(&config.store.dir).unwrap();
        let past = Past::start(&config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let search = Search { kinds: vec!["bypass".to_owned()], limit: 500, ..Search::default() };
        // Waits until so many are there: each is an answer of the store, and there is none before the log is.
        let wait_for = |n: usize| {
            runtime.block_on(async {
                let patience = Instant::now() + Duration::from_secs(20);
                loop {
                    let found = past.records(search.clone()).await;
                    if found.as_ref().is_ok_and(|found| found.records.len() == n) {
                        return found.unwrap();
                    }
                    assert!(Instant::now() < patience, "{n}: {found:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        };
        let open = || Log::open(glassgate_audit::Options::new(&config.audit.dir), 1, Still).unwrap();
        let write = |log: &Log, n: u64| {
            for i in 0..n {
                assert!(log.append(&STAMP, format!("{{\"event_type\":\"bypass\",\"n\":{i}}}").as_bytes()));
            }
            log.flush(Duration::from_secs(20)).unwrap();
            past.committed(log.status().committed);
        };
        wait_for(0);
        let (log, _) = open();
        write(&log, 300);
        let found = wait_for(300);
        assert_eq!(found.records[0].says["n"], 299);
        write(&log, 7);
        wait_for(307);
        assert!(log.close(Duration::from_secs(20)));
        // Its key is gone: the next start sets it aside.
        std::fs::remove_file(config.audit.dir.join("key")).unwrap();
        let (log, recovered) = open();
        assert!(recovered.damaged.is_some());
        write(&log, 5);
        assert_eq!(wait_for(5).records[0].says["n"], 4);
        let now = past.log_now();
        assert_eq!((now.store.next, now.store.trouble.clone()), (now.entries, None), "{now:?}");
        drop(log);
    }
}
