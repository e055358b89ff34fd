//! Accounts for tests of the page, and a slow path that takes or refuses records.

use crate::access::accounts::{Accounts, Change, write};
use crate::access::{Access, Act, Role};
use crate::control::past::Past;
use crate::control::snapshot::Snapshot;
use crate::control::{Command, Shared};
use crate::page::hosts::Hosts;
use crate::page::scrape::Scrape;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::watch;

/// What of a stage is not in [`Shared`].
pub(crate) struct Stage {
    _dir: tempfile::TempDir,
    access: Arc<Access>,
    /// Tokens of programs, an operator's and an auditor's.
    pub(crate) tokens: [String; 2],
    /// What went on record.
    pub(crate) acts: Arc<Mutex<Vec<Act>>>,
}

impl Stage {
    /// What went on record since this was asked last.
    pub(crate) fn told(&self) -> Vec<Act> {
        self.access.settle();
        std::mem::take(&mut *self.acts.lock().unwrap())
    }
}

/// A slow path that does nothing but take records.
pub(crate) fn recorder() -> (mpsc::Sender<Command>, Arc<Mutex<Vec<Act>>>, Arc<AtomicBool>) {
    let (commands, to_do) = mpsc::channel();
    let (acts, is_full) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let (theirs, full) = (acts.clone(), is_full.clone());
    std::thread::spawn(move || {
        while let Ok(command) = to_do.recv() {
            let Command::Access { act, answer, ticket } = command else { continue };
            let refuses = full.load(Ordering::SeqCst);
            if !refuses {
                theirs.lock().unwrap().push(act);
            }
            drop(ticket);
            if let Some(answer) = answer {
                _ = answer.send(if refuses { Err("the log is full".to_owned()) } else { Ok(()) });
            }
        }
    });
    (commands, acts, is_full)
}

/// Two programs, in a folder.
pub(crate) fn programs(dir: &Path) -> [String; 2] {
    let mut accounts = Accounts::default();
    let tokens = [("lab", Role::Operator), ("checks", Role::Auditor)].map(|(name, role)| {
        let add = Change::Add { name: name.to_owned(), role, program: true };
        accounts.change(&add, 0).unwrap().1.unwrap()
    });
    accounts.save(&dir.join("accounts")).unwrap();
    tokens
}

/// All that page and socket work with.
pub(crate) fn shared(
    snapshot: watch::Receiver<Arc<Snapshot>>,
    commands: mpsc::Sender<Command>,
    past: Past,
) -> (Shared, Stage) {
    let dir = tempfile::tempdir().unwrap();
    let tokens = programs(dir.path());
    std::fs::create_dir(dir.path().join("reports")).unwrap();
    std::fs::write(dir.path().join("reports/2027-01-04_week.html"), "<!DOCTYPE html>").unwrap();
    write(&dir.path().join("token"), b"the-token-of-prometheus\n").unwrap();
    let (recorder, acts, _) = recorder();
    let access = Arc::new(Access::open(dir.path(), recorder).unwrap().0);
    let shared = Shared {
        snapshot,
        commands,
        push: None,
        past,
        alerts: Arc::new(crate::control::Targets::open(&Default::default()).unwrap()),
        reports: Arc::new(crate::control::Reports::new(crate::config::Reports {
            dir: dir.path().join("reports"),
            keep: 2,
            ..Default::default()
        })),
        live: Arc::default(),
        access: access.clone(),
        scrape: Arc::new(Scrape::open(Some(&dir.path().join("token")), false).unwrap()),
        hosts: Arc::new(Hosts::new(
            vec!["127.0.0.1:8480".parse().unwrap()],
            &["gateway.office.example".to_owned()],
        )),
        contact: Some(Arc::from("mailto:security@office.example")),
        tls: None,
    };
    (shared, Stage { _dir: dir, access, tokens, acts })
}
