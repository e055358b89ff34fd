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
                let why =
                    outcome.err().map(|e| (format!("witness {}: {e:#}", witness.address), e.is::<Refuted>()));
                // One that saw another log than there is says so at once.
                let why = why.filter(|(_, refuted)| *refuted || failed >= TRIES).map(|(why, _)| why);
                *told.lock().unwrap_or_else(PoisonError::into_inner) = why;
            }
        };
        if let Err(e) = thread::Builder::new().name("gg-witness".to_owned()).spawn(work) {
            *trouble.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(format!("no witness is asked: {e}"));
        }
        Self { trouble, _stop: stop }
    }

    /// One that nobody asks.
    #[cfg(test)]
    pub(super) fn in_trouble(why: &str) -> Self {
        Self { trouble: Arc::new(Mutex::new(Some(why.to_owned()))), _stop: mpsc::channel().0 }
    }

    /// What is wrong, if anything.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The witness remembers another log than there is.
#[derive(Debug)]
enum Refuted {
    /// It remembers more than there is.
    Shorter { seen: u64, here: u64 },
    /// As long as that it is again, but what it remembers is no beginning of it.
    Forked { seen: u64, here: u64 },
}

impl std::fmt::Display for Refuted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shorter { seen, here } => {
                write!(f, "it saw {seen} entries of this log, and here are {here}: entries were cut off")
            }
            Self::Forked { seen, here } => write!(
                f,
                "it saw {seen} entries of this log, and the {here} that are here do not begin with them: \
                 entries were cut off and others written"
            ),
        }
    }
}

impl std::error::Error for Refuted {}

/// What a witness answers when a proof does not hold (C2SP tlog-witness).
const UNPROVEN: u16 = 422;

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
    let seen = seen.filter(|seen| seen.origin == here.origin);
    if let Some(seen) = seen.as_ref().filter(|seen| seen.size == here.size) {
        if seen.root != here.root {
            return Err(Refuted::Forked { seen: seen.size, here: here.size }.into());
        }
        return Ok(());
    }
    let seen = seen.map_or(0, |seen| seen.size);
    let (status, body) = post(&witness.url, &Request::make(folder, seen.min(here.size), &note)?)?;
    let (status, body) = if status == 409 {
        // It remembers another size than we do.
        let seen: u64 = body.trim().parse().context("it answered 409 without a size")?;
        if seen > here.size {
            return Err(Refuted::Shorter { seen, here: here.size }.into());
        }
        let (status, body) = post(&witness.url, &Request::make(folder, seen, &note)?)?;
        // Of one as long as this, with another root, it says its size once more.
        if status == UNPROVEN || status == 409 && body.trim().parse() == Ok(seen) {
            return Err(Refuted::Forked { seen, here: here.size }.into());
        }
        (status, body)
    } else {
        (status, body)
    };
    if status == UNPROVEN {
        return Err(Refuted::Forked { seen, here: here.size }.into());
    }
    if status != 200 {
        bail!("it answered {status}: {}", shown(&body));
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
        // Asked is who is configured, and nobody whom it or the environment names.
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let mut answer = agent.post(url).send(request.text())?;
    let body = answer.body_mut().with_config().limit(MAX_NOTE as u64).read_to_string()?;
    Ok((answer.status().as_u16(), body))
}

/// How much of what a witness says is shown.
const SHOWN: usize = 120;

/// The first line of what it says, as far as it may stand in a log.
fn shown(body: &str) -> String {
    let line = body.lines().next().unwrap_or_default().chars();
    line.take(SHOWN).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
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
        let is = |error: &anyhow::Error, forked| {
            error.downcast_ref().is_some_and(|why| matches!(why, Refuted::Forked { .. }) == forked)
        };
        assert!(is(&error, false), "{error:#}");
        // As long again as it was, it is still another one.
        let (log, _) = open(&early);
        let other =
            |log: &Log| log.act(&stamp, b"{\"event_type\":\"other\"}", Duration::from_secs(20)).unwrap();
        (0..5).for_each(|_| _ = other(&log));
        assert!(log.close(Duration::from_secs(20)));
        for _ in 0..2 {
            let error = ask(&Folder::read_only(&early), &witness.settings).unwrap_err();
            assert!(is(&error, true), "{error:#}");
        }
        std::fs::copy(path.join(WITNESSED), early.join(WITNESSED)).unwrap();
        let error = ask(&Folder::read_only(&early), &witness.settings).unwrap_err();
        assert!(is(&error, true), "it is known here what it remembers: {error:#}");
    }

    #[test]
    fn nobody_is_asked_whom_an_answer_names() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/add-checkpoint", listener.local_addr().unwrap());
        let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let location = format!("http://{}/", elsewhere.local_addr().unwrap());
        let answered = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            _ = stream.read(&mut [0; 4096]).unwrap();
            let answer = format!(
                "HTTP/1.1 303 See Other\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(Options::new(dir.path()), 1, Still).unwrap();
        let stamp = Stamp { mono_ns: 1, wall: None, quality: "unknown" };
        log.act(&stamp, b"{\"event_type\":\"said\"}", Duration::from_secs(20)).unwrap();
        let folder = Folder::read_only(dir.path());
        let note = String::from_utf8(folder.read("checkpoint").unwrap().unwrap()).unwrap();
        let outcome = post(&url, &Request::make(&folder, 0, &note).unwrap());
        assert!(outcome.as_ref().map_or(true, |(status, _)| *status == 303), "{outcome:?}");
        answered.join().unwrap();
        assert!(elsewhere.accept().is_err(), "somebody else was asked");
    }

    #[test]
    fn what_it_says_is_cut_and_made_harmless() {
        assert_eq!(shown("no\u{1b}[31m such \u{202e}log\r\nmore"), "no?[31m such ?log");
        assert_eq!(shown(&"x".repeat(5000)).len(), SHOWN);
    }
}
