//! The control socket: how `glassgate status` and `glassgate reload` reach a running gateway.
//!
//! A Unix socket that only its owner may open. One line of JSON asks, one answers. Whoever asks and then says nothing
//! costs a task that ends after [`PATIENCE`].

use super::snapshot::Snapshot;
use super::{AcceptList, AccountAnswer, AccountAsk, CaseAnswer, CaseAsk, Command, Shared, Tried};
use crate::past::Report;
use glassgate_policy::access::CameFrom;
use glassgate_policy::audit::ConfigChange;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tracing::warn;

/// How long somebody may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a reload may take.
const RELOAD: Duration = Duration::from_secs(60);
/// The longest question: a charter with its signatures, as JSON.
const MAX_QUESTION: u64 = 4 << 20;
/// Askers at the same time; more wait in the kernel's queue.
const ASKERS: usize = 8;

/// A question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Question {
    /// How are things?
    Status,
    /// Read rules and signatures again.
    Reload,
    /// Turn all enforcement and observation off, or on again; `keep`: also after the next start.
    Bypass { on: bool, keep: bool },
    /// What was counted over a span?
    Report(glassgate_store::Question),
    /// Put a charter, with its signatures, in the place of the one installed.
    InstallCharter { charter: String, signatures: String },
    /// Something about sealed records and cases.
    Case(CaseAsk),
    /// Something about accounts of the page.
    Account(AccountAsk),
    /// Put a version of a subscribed list that was held in use.
    AcceptList { list: String, digest: String },
    /// Put on record that the configuration on the disk is about to be replaced.
    ConfigChanged { undone: bool, sha256: String, files: u64 },
    /// Send a test to everybody who is told of alerts.
    TestAlerts,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Status(Box<Snapshot>),
    /// What was loaded.
    Reloaded(String),
    /// Why nothing was: what was loaded before stays in force.
    NotReloaded(String),
    /// What was installed.
    Installed(String),
    /// Why it was not: what was installed before stays.
    NotInstalled(String),
    Report(Box<Report>),
    /// Why there is none.
    NoReport(String),
    /// What the bypass is now.
    Bypass(String),
    /// Why it is as it was.
    NotBypass(String),
    /// What is asked about cases.
    Case(CaseAnswer),
    /// What is asked about accounts.
    Account(AccountAnswer),
    /// What became of the test, of each that is told.
    AlertsTested(Vec<Tried>),
    /// What list is in use now.
    Accepted(String),
    /// It is on record.
    Recorded,
    /// Why it is denied.
    Denied(String),
    /// The question was none.
    NotUnderstood(String),
}

/// Takes the socket, which a dead predecessor may have left there. The guard starts one control process at a time, so
/// nobody else can be using it, unless a second gateway has the same configuration: it is asked first.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another gateway answers there; stop it, or give this one another `control.socket`",
            ));
        }
        // What is no socket is not ours to remove.
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until the process ends.
pub(crate) async fn serve(listener: UnixListener, shared: Shared) {
    let askers = Arc::new(Semaphore::new(ASKERS));
    loop {
        let Ok(permit) = askers.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    // Whoever hangs up early has their answer or does not want it.
                    _ = converse(stream, shared).await;
                    drop(permit);
                });
            }
            Err(e) => {
                warn!("control socket: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, shared: Shared) -> io::Result<()> {
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(MAX_QUESTION));
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(Question::Status) => Answer::Status(Box::new(shared.snapshot.borrow().as_ref().clone())),
        Ok(Question::Report(question)) => match shared.past.report(question).await {
            Ok(report) => Answer::Report(Box::new(report)),
            Err(why) => Answer::NoReport(why.to_string()),
        },
        Ok(Question::Reload) => match ask(&shared, |answer| Command::Reload(Some(answer))).await {
            Ok(what) => Answer::Reloaded(what),
            Err(why) => Answer::NotReloaded(why),
        },
        Ok(Question::Bypass { on, keep }) => {
            match ask(&shared, |answer| Command::Bypass { on, keep, uid, answer }).await {
                Ok(what) => Answer::Bypass(what),
                Err(why) => Answer::NotBypass(why),
            }
        }
        Ok(Question::InstallCharter { charter, signatures }) => {
            match ask(&shared, |answer| Command::Install { charter, signatures, answer }).await {
                Ok(what) => Answer::Installed(what),
                Err(why) => Answer::NotInstalled(why),
            }
        }
        Ok(Question::Case(case)) => {
            match ask(&shared, |answer| Command::Case { ask: case, uid, answer }).await {
                Ok(what) => Answer::Case(what),
                Err(why) => Answer::Denied(why),
            }
        }
        Ok(Question::Account(asked)) => match shared.access.manage(asked, uid).await {
            Ok(what) => Answer::Account(what),
            Err(why) => Answer::Denied(why),
        },
        Ok(Question::AcceptList { list, digest }) => {
            let asked = AcceptList { list, digest, account: None, side: CameFrom::Console, uid };
            match ask(&shared, |answer| Command::AcceptList { asked, answer }).await {
                Ok(what) => Answer::Accepted(what),
                Err(why) => Answer::Denied(why),
            }
        }
        Ok(Question::ConfigChanged { undone, sha256, files }) => {
            let change = if undone { ConfigChange::Undone } else { ConfigChange::Restored };
            match ask(&shared, |answer| Command::ConfigChanged { change, sha256, files, uid, answer }).await {
                Ok(()) => Answer::Recorded,
                Err(why) => Answer::Denied(why),
            }
        }
        Ok(Question::TestAlerts) => {
            let targets = shared.alerts.clone();
            match tokio::task::spawn_blocking(move || targets.test()).await {
                Ok(tried) => Answer::AlertsTested(tried),
                Err(why) => Answer::Denied(why.to_string()),
            }
        }
        Err(e) => Answer::NotUnderstood(e.to_string()),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    tokio::time::timeout(PATIENCE, write.write_all(&bytes)).await?
}

/// Asks the slow path.
pub(crate) async fn ask<T>(
    shared: &Shared,
    command: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Command,
) -> Result<T, String> {
    let (answer, outcome) = oneshot::channel();
    let stopping = || "the gateway is stopping".to_owned();
    shared.commands.send(command(answer)).map_err(|_| stopping())?;
    match tokio::time::timeout(RELOAD, outcome).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(stopping()),
        Err(_) => Err("the gateway did not answer in time".to_owned()),
    }
}
