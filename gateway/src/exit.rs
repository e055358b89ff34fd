//! How `glassgate` ends: one code per kind of end, so that scripts need not read messages.

use std::process::{ExitCode, Termination};

/// The exit codes. Documented in `--help` and `docs/cli.md` from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, nothing to complain about.
    Done = 0,
    /// Failed while working.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Configuration, rules or signatures are wrong.
    Invalid = 3,
    /// No input could be read, or with `--strict` not all of it.
    Damaged = 4,
    /// No gateway answers.
    NotRunning = 5,
    /// The gateway runs, but part of it does not.
    Degraded = 6,
    /// This build has no DPDK ports.
    NoDpdk = 7,
}

impl Exit {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 8] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Invalid,
        Self::Damaged,
        Self::NotRunning,
        Self::Degraded,
        Self::NoDpdk,
    ];

    /// What it means, in a few words.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed while working; the message says at what",
            Self::Usage => "the command line makes no sense",
            Self::Invalid => "configuration, rules or signatures are wrong; the message says where",
            Self::Damaged => "no input could be read, or with --strict not all of it",
            Self::NotRunning => "no gateway answers at the control socket",
            Self::Degraded => "the gateway runs, but part of it does not",
            Self::NoDpdk => "a port needs DPDK and this build has none",
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// An error that decides the exit code.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The code.
    pub(crate) exit: Exit,
    /// What to say on standard error.
    pub(crate) message: String,
}

impl Ended {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Ended {}
