//! What goes on record, on its way to the slow path.

use super::Role;
use crate::control::Command;
use glassgate_policy::access::{AccountChange, CameFrom, LoginRefusal, LogoutCause};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the slow path may take: its own patience with the disk, and others before.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what nobody waits for, so many may be under way; what is more is added to the next.
const UNDER_WAY: usize = 256;

/// Something that goes on record.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Login { account: String, role: Role, side: CameFrom, code: bool },
    Failed { account: Option<String>, side: CameFrom, reason: LoginRefusal, count: u64 },
    Logout { account: String, role: Role, cause: LogoutCause },
    Denied { account: Option<(String, Role)>, side: CameFrom, endpoint: &'static str, count: u64 },
    Account { change: AccountChange, account: String, role: Role, side: CameFrom, uid: Option<u32> },
    Found { accounts: u64, sha256: [u8; 32] },
}

/// The way to the slow path.
pub(super) struct Queue {
    commands: mpsc::Sender<Command>,
    /// Cloned into each command that nobody waits for.
    under_way: Arc<()>,
    /// Refusals and denials that were not sent.
    unsaid: AtomicU64,
}

impl Queue {
    pub(super) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands, under_way: Arc::new(()), unsaid: AtomicU64::new(0) }
    }

    /// How many acts are under way.
    pub(super) fn under_way(&self) -> usize {
        Arc::strong_count(&self.under_way) - 1
    }

    /// Has it put on record, durably. On an error it must not be done.
    pub(super) async fn act(&self, act: Act) -> Result<(), String> {
        let (answer, outcome) = oneshot::channel();
        let stopping = || "the gateway is stopping".to_owned();
        let ticket = self.under_way.clone();
        self.commands.send(Command::Access { act, answer: Some(answer), ticket }).map_err(|_| stopping())?;
        match tokio::time::timeout(PATIENCE, outcome).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err("the audit log did not answer in time".to_owned()),
        }
    }

    /// Has it put on record; nobody waits. Where too much is under way, refusals are only counted.
    pub(super) fn tell(&self, mut act: Act) {
        if let Act::Failed { count, .. } | Act::Denied { count, .. } = &mut act {
            if self.under_way() >= UNDER_WAY {
                self.unsaid.fetch_add(1, Ordering::Relaxed);
                return;
            }
            *count += self.unsaid.swap(0, Ordering::Relaxed);
        }
        // When there is no slow path any more, the process is about to end.
        _ = self.commands.send(Command::Access { act, answer: None, ticket: self.under_way.clone() });
    }
}
