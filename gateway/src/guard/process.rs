//! A process that the guard starts, hears and ends.

use super::backoff::Backoff;
use crate::clock::mono_ns;
use crate::ipc::Channel;
use crate::messages::ProcessInfo;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What glibc's allocator is told in the control process. By itself it raises the size from which a block is a mapping of its own to that of the largest which was freed, up to 32 MiB. After the first
/// reload the tables of policies then come from its arenas, and are not given back: after 300 reloads the control process had 34 to 44 MB instead of 27.
const ALLOCATOR: &[(&str, &str)] = &[("MALLOC_MMAP_THRESHOLD_", "262144"), ("MALLOC_ARENA_MAX", "2")];

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dataplane,
    Control,
}

impl Kind {
    /// Its subcommand, and its name everywhere.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Dataplane => "dataplane",
            Self::Control => "control",
        }
    }

    const fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // What it allocates it keeps.
            Self::Dataplane => &[],
            Self::Control => ALLOCATOR,
        }
    }
}

/// Where a process is in its life.
///
/// ```text
///  Waiting ─► Starting ─► Up ─► Fencing ─► Waiting …      hung, or it speaks nonsense
///                │         │                  ▲
///                └─────────┴──────────────────┘            it ended by itself
///          Waiting ─► Held ─► Waiting                     it ended too often; somebody says that it may start
///             any ─► Stopping ─► Stopped                   the guard was told to stop
/// ```
///
/// *Fencing*: it was killed but is not known to be gone. Nothing may take its place on the ports before that, or frames
/// would be forwarded twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting { until: Instant },
    Starting { since: Instant },
    Up,
    Fencing,
    Held,
    Stopping { until: Instant },
    Stopped,
}

/// A process that is, was, or will be.
pub(super) struct Process {
    pub(super) kind: Kind,
    state: State,
    since_ns: u64,
    running: Option<Running>,
    backoff: Backoff,
    restarts: u64,
    last_end: Option<String>,
}

struct Running {
    child: Child,
    pidfd: OwnedFd,
    channel: Channel,
}

impl Process {
    pub(super) fn new(kind: Kind, first_wait: Duration) -> Self {
        Self {
            kind,
            state: State::Waiting { until: Instant::now() },
            since_ns: mono_ns(),
            running: None,
            backoff: Backoff::new(first_wait),
            restarts: 0,
            last_end: None,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(super) fn enter(&mut self, state: State) {
        self.state = state;
        self.since_ns = mono_ns();
    }

    /// Starts the process from the very file that this one runs, whatever has become of its path since.
    pub(super) fn start(&mut self, now: Instant) -> io::Result<()> {
        let (channel, theirs) = Channel::pair()?;
        let child = Command::new("/proc/self/exe")
            .arg0(format!("glassgate-{}", self.kind.as_str()))
            .arg(self.kind.as_str())
            .arg("--guard")
            .arg(std::process::id().to_string())
            .envs(self.kind.environment().iter().copied())
            .stdin(Stdio::from(theirs))
            // Ctrl-C is for the guard, which stops the others in order.
            .process_group(0)
            .spawn()?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        self.running = Some(Running { child, pidfd, channel });
        self.enter(State::Starting { since: now });
        Ok(())
    }

    /// Our end of the channel, while the process lives.
    pub(super) fn channel(&self) -> Option<&Channel> {
        self.running.as_ref().map(|running| &running.channel)
    }

    /// Becomes readable when the process has ended.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.pidfd.as_fd())
    }

    /// Kills the process; it is gone when the pidfd says so.
    pub(super) fn kill(&self) {
        if let Some(running) = &self.running {
            // The only error is that it is gone already.
            _ = pidfd_send_signal(&running.pidfd, Signal::KILL);
        }
    }

    /// Kills the process because it can't be left to itself.
    pub(super) fn fence(&mut self, why: &str) {
        if self.running.is_some() {
            self.last_end = Some(why.to_owned());
            self.kill();
            self.enter(State::Fencing);
        }
    }

    /// Takes note that the process is gone, if it is.
    pub(super) fn reap(&mut self, now: Instant) -> io::Result<Option<ExitStatus>> {
        let Some(running) = &mut self.running else { return Ok(None) };
        let Some(status) = running.child.try_wait()? else { return Ok(None) };
        self.running = None;
        match self.state {
            State::Stopping { .. } | State::Stopped => self.enter(State::Stopped),
            state => {
                // A fenced process ended for the reason for which it was fenced.
                if state != State::Fencing {
                    self.last_end = Some(describe(status));
                }
                self.wait(now);
            }
        }
        Ok(Some(status))
    }

    /// Goes to wait for its next start.
    pub(super) fn wait(&mut self, now: Instant) {
        self.restarts += 1;
        let until = now + self.backoff.ended(now);
        self.enter(State::Waiting { until });
    }

    /// How often it ended within the last minute.
    pub(super) fn ends_lately(&self, now: Instant) -> usize {
        self.backoff.count(now)
    }

    /// Forgets how often it ended, and goes to start at once.
    pub(super) fn forgive(&mut self) {
        self.backoff.forget();
        self.enter(State::Waiting { until: Instant::now() });
    }

    pub(super) fn note_end(&mut self, why: String) {
        self.last_end = Some(why);
    }

    pub(super) fn last_end(&self) -> Option<&str> {
        self.last_end.as_deref()
    }

    pub(super) fn info(&self) -> ProcessInfo {
        ProcessInfo {
            name: self.kind.as_str().to_owned(),
            pid: self.running.as_ref().map(|r| r.child.id()),
            state: match self.state {
                State::Waiting { .. } => "waiting",
                State::Starting { .. } => "starting",
                State::Up => "up",
                State::Fencing => "fencing",
                State::Held => "held",
                State::Stopping { .. } => "stopping",
                State::Stopped => "stopped",
            }
            .to_owned(),
            since_ns: self.since_ns,
            restarts: self.restarts,
            last_end: self.last_end.clone(),
        }
    }
}

/// How a process ended, in words.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}
