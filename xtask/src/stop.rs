//! Ctrl-C and SIGTERM as something that can be waited for.
//!
//! The first signal asks everything to end in order, so that destructors take namespaces and processes away. A
//! second one ends the program at once; what it leaves is taken away by the next start.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether the user asked to end. Cheap to clone; every clone sees the same request.
#[derive(Clone)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    // Never read from: once a signal has written its byte, the socket stays readable for every waiter.
    pipe: Arc<UnixStream>,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The descriptor waited for is ready.
    Ready,
    /// The user asked to end.
    Stop,
    /// Neither happened in time.
    Timeout,
}

impl Stop {
    /// Takes over SIGINT and SIGTERM for the rest of the process.
    pub fn install() -> io::Result<Self> {
        let (pipe, write) = UnixStream::pair()?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the exit looks at the flag before the same signal sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked))?;
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { asked, pipe: Arc::new(pipe) })
    }

    /// Whether a signal has come.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// An error if a signal has come, for use with `?` between steps.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.asked() { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// Waits until `fd` is readable, the user asks to end, or `limit` has passed.
    pub fn wait(&self, fd: Option<BorrowedFd<'_>>, limit: Duration) -> Wake {
        let end = Instant::now() + limit;
        loop {
            if self.asked() {
                return Wake::Stop;
            }
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = vec![PollFd::from_borrowed_fd(self.pipe.as_fd(), PollFlags::IN)];
            fds.extend(fd.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                // Only a bug of this program gets here; waiting blindly is better than spinning.
                Err(_) => std::thread::sleep(left),
                Ok(0) => return Wake::Timeout,
                Ok(_) if self.asked() => return Wake::Stop,
                Ok(_) => return Wake::Ready,
            }
        }
    }

    /// Waits for `time`, or less if the user asks to end: then the answer is an error.
    pub fn pause(&self, time: Duration) -> anyhow::Result<()> {
        self.wait(None, time);
        self.check()
    }
}

/// The user asked to end with Ctrl-C or SIGTERM.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
