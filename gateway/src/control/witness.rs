//! Asks a witness to remember the newest checkpoint: a thread beside the slow path, which no record waits for.
//!
//! What the witness signed lies beside the log as `checkpoint.witnessed`. It is worth most elsewhere: the witness has it
//! too, and whoever audits should take it from there.

use crate::config::Witness;
use anyhow::{Context as _, Result, bail};
use glassgate_audit::checkpoint::Checkpoint;
use glassgate_audit::disk::{Disk as _, Folder};
use glassgate_audit::note::{MAX_NOTE, Verifier};
use glassgate_audit::tiles::Files as _;
use glassgate_audit::witness::{Request, cosigned};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tracing::info;

/// How often it looks whether there is a newer checkpoint.
const EVERY: Duration = Duration::from_secs(5);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A witness that has not answered for so many tries in a row is in trouble: one may be restarted.
const TRIES: u32 = 12;

/// The thread. It ends when this is dropped.
pub(super) struct Asking {
    trouble: Arc<Mutex<Option<String>>>,
    _stop: mpsc::Sender<()>,
}

impl Asking {
    pub(super) fn start(folder: &Path, witness: &Witness) -> Self {
        let trouble = Arc::new(Mutex::new(None));
        let (stop, stopped) = mpsc::channel();
        let (told, folder, witness) = (trouble.clone(), Folder::read_only(folder), witness.clone());
        let work = move || {
            let mut failed = 0;
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let outcome = ask(&folder, &witness);
                failed = if outcome.is_ok() { 0 } else { failed + 1 };
                let why = outcome
                    .err()
                    .map(|e| (format!("witness {}: {e:#}", witness.address), e.is::<RolledBack>()));
                // One that says that it saw more than there is says so at once.
                let why = why.filter(|(_, rolled_back)| *rolled_back || failed >= TRIES).map(|(why, _)| why);
                *told.lock().unwrap_or_else(PoisonError::into_inner) = why;
            }
        };
        if let Err(e) = thread::Builder::new().name("gg-witness".to_owned()).spawn(work) {
            *trouble.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(format!("no witness is asked: {e}"));
        }
        Self { trouble, _stop: stop }
    }

    /// What is wrong, if anything.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The witness remembers more than there is.
#[derive(Debug)]
struct RolledBack {
    seen: u64,
    here: u64,
}

impl std::fmt::Display for RolledBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "it saw {} entries of this log, and here are {}: entries were cut off",
            self.seen, self.here
        )
    }
}

impl std::error::Error for RolledBack {}

const WITNESSED: &str = "checkpoint.witnessed";

/// Has the newest checkpoint signed, if it is not yet.
fn ask(folder: &Folder, witness: &Witness) -> Result<()> {
    let read = |name: &str| -> Result<Option<String>> {
        let bytes = folder.read(name).with_context(|| format!("reading {name}"))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let (Some(note), Some(key)) = (read("checkpoint")?, read("key.pub")?) else { return Ok(()) };
    let here = Checkpoint::open(&note, &Verifier::parse(&key)?)?;
    let seen = read(WITNESSED)?.and_then(|seen| Checkpoint::parse(&seen).ok());
    let seen = seen.filter(|seen| seen.origin == here.origin).map_or(0, |seen| seen.size);
    if seen == here.size {
        return Ok(());
    }
    let (status, body) = post(&witness.url, &Request::make(folder, seen.min(here.size), &note)?)?;
    let (status, body) = if status == 409 {
        // It remembers another size than we do.
        let seen: u64 = body.trim().parse().context("it answered 409 without a size")?;
        if seen > here.size {
            return Err(RolledBack { seen, here: here.size }.into());
        }
        post(&witness.url, &Request::make(folder, seen, &note)?)?
    } else {
        (status, body)
    };
    if status != 200 {
        bail!("it answered {status}: {}", body.lines().next().unwrap_or_default());
    }
    let (note, _) = cosigned(&note, &body, &Verifier::parse(&witness.key)?)?;
    folder.replace(WITNESSED, note.as_bytes(), false).with_context(|| format!("writing {WITNESSED}"))?;
    if seen == 0 {
        info!("the witness at {} remembers {} entries of {}", witness.address, here.size, here.origin);
    }
    Ok(())
}

fn post(url: &str, request: &Request) -> Result<(u16, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent.post(url).send(request.text())?;
    let body = answer.body_mut().with_config().limit(MAX_NOTE as u64).read_to_string()?;
    Ok((answer.status().as_u16(), body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::tests::Running;
    use glassgate_audit::{Log, Options, Stamp};

    struct Still;

    impl glassgate_audit::Clock for Still {
        fn now(&self) -> Stamp {
            Stamp { mono_ns: 1, wall: None, quality: "unknown" }
        }
    }

    #[test]
    fn a_log_is_witnessed_as_it_grows_and_one_that_was_rolled_back_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let open = |folder: &Path| Log::open(Options::new(folder), 1, Still).unwrap();
        let path = dir.path().join("log");
        let (log, recovered) = open(&path);
        let witness = Running::start(&dir.path().join("witness"), &recovered.key);
        let folder = Folder::read_only(&path);
        let stamp = Stamp { mono_ns: 1, wall: None, quality: "unknown" };
        let say = |log: &Log| log.act(&stamp, b"{\"event_type\":\"said\"}", Duration::from_secs(20)).unwrap();
        // Nothing is there yet.
        ask(&folder, &witness.settings).unwrap();
        say(&log);
        ask(&folder, &witness.settings).unwrap();
        assert!(log.close(Duration::from_secs(20)));
        let early = dir.path().join("early");
        assert!(std::process::Command::new("cp").arg("-r").args([&path, &early]).status().unwrap().success());
        let (log, _) = open(&path);
        say(&log);
        say(&log);
        // What it remembers need not be known here.
        std::fs::remove_file(path.join(WITNESSED)).unwrap();
        ask(&folder, &witness.settings).unwrap();
        assert!(log.close(Duration::from_secs(20)));
        let question = glassgate_audit_verify::Question {
            key: Some(recovered.key),
            witnessed: Some(std::fs::read_to_string(path.join(WITNESSED)).unwrap()),
            witness_key: Some(witness.settings.key.clone()),
        };
        let verified = glassgate_audit_verify::verify(&path, &question).unwrap();
        // One of them tells that the first run ended without a `stopped`.
        assert_eq!(verified.witnessed.map(|(size, _)| size), Some(4));
        std::fs::remove_file(early.join(WITNESSED)).unwrap();
        let error = ask(&Folder::read_only(&early), &witness.settings).unwrap_err();
        assert!(error.is::<RolledBack>(), "{error:#}");
    }
}
