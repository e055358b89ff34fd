//! Child processes: started with a log, awaited with a limit, ended by pid and only when they are ours.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::stop::{Interrupted, Stop, Wake};

/// Environment variable that every process of a lab carries, so that its descendants can be told from others.
pub const LAB_MARK: &str = "GLASSGATE_LAB";

/// A process that runs until it is told to end, with everything it prints going to a log file.
pub struct Daemon {
    name: String,
    child: Child,
    pidfd: OwnedFd,
    log: PathBuf,
    // In a lock only so that a lab can be shared between the threads that drive its devices.
    lines: Mutex<Receiver<String>>,
}

/// How a command that was run to its end went.
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote on standard output.
    pub stdout: Vec<u8>,
    /// What it wrote on standard error, lossily decoded.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Daemon {
    /// Starts `command` in a process group of its own (Ctrl-C reaches this program only) and copies what it
    /// prints to `log`. Call it from the main thread: the kernel ends the process when the thread that started
    /// it ends, so that a killed lab doesn't leave a gateway polling.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let (read, write) = std::io::pipe()?;
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => bound.env(key, value),
                None => bound.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            bound.current_dir(dir);
        }
        bound.process_group(0).stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write);
        let child = bound.spawn().with_context(|| format!("cannot start {name}"))?;
        drop(bound); // holds the write ends
        let pidfd = open_pid(child.id())?;
        let mut sink = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let (tell, lines) = channel();
        std::thread::Builder::new().name(format!("log of {name}")).spawn(move || {
            for line in BufReader::new(read).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line).into_owned();
                drop(writeln!(sink, "{text}"));
                drop(tell.send(text)); // nobody may be listening any more; the file has it
            }
        })?;
        Ok(Self { name: name.to_owned(), child, pidfd, log: log.to_owned(), lines: Mutex::new(lines) })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `text`. Fails when the process ends first.
    pub fn await_line(&mut self, text: &str, limit: Duration, stop: &Stop) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            stop.check()?;
            // Short turns, so that Ctrl-C is noticed: a channel can't be polled together with a descriptor.
            let turn = end.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
            match self.lines.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(turn) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} did not say \"{text}\" within {limit:?}\n{}", self.name, self.last_words())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    bail!("{} ended ({status}) before it was ready\n{}", self.name, self.last_words())
                }
            }
        }
    }

    /// The lines it has printed since this was last asked.
    pub fn new_lines(&mut self) -> Vec<String> {
        self.lines.get_mut().unwrap_or_else(PoisonError::into_inner).try_iter().collect()
    }

    /// Its exit status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log, for an error message.
    pub fn last_words(&self) -> String {
        tail(&self.log, 20)
    }

    /// Sends it a signal.
    pub fn signal(&self, number: Signal) {
        signal(&self.pidfd, number);
    }

    /// SIGTERM, and SIGKILL when that has not helped after `grace`. Waits until it is gone.
    pub fn end(&mut self, grace: Duration) -> Option<ExitStatus> {
        if let Some(status) = self.ended() {
            return Some(status);
        }
        signal(&self.pidfd, Signal::TERM);
        if !await_end(&self.pidfd, grace) {
            signal(&self.pidfd, Signal::KILL);
        }
        self.child.wait().ok()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        signal(&self.pidfd, Signal::KILL);
        self.child.wait().ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end(Duration::from_secs(5));
    }
}

/// Runs `command` to its end with `input` on standard input. Ends it after `limit`, or when the user asks to
/// end: both are errors.
pub fn run(command: &mut Command, input: &[u8], limit: Duration, stop: &Stop) -> Result<Finished> {
    let name = command.get_program().to_string_lossy().into_owned();
    let started = Instant::now();
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let pidfd = open_pid(child.id())?;
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let feed = scope.spawn(move || {
            if let Some(stdin) = &mut stdin {
                drop(stdin.write_all(input)); // a client that has read enough may close early
            }
        });
        let out = scope.spawn(move || drain(stdout));
        let err = scope.spawn(move || drain(stderr));
        let wake = stop.wait(Some(pidfd.as_fd()), limit);
        if wake != Wake::Ready {
            signal(&pidfd, Signal::KILL);
        }
        let status = child.wait()?;
        drop(feed.join());
        let stdout = out.join().unwrap_or_default();
        let stderr = String::from_utf8_lossy(&err.join().unwrap_or_default()).into_owned();
        match wake {
            Wake::Ready => Ok(Finished { status, stdout, stderr, took: started.elapsed() }),
            Wake::Stop => Err(Interrupted.into()),
            Wake::Timeout => bail!("{name} did not end within {limit:?}\n{stderr}"),
        }
    })
}

/// Runs a short command of the system and gives its standard output; its exit code must be 0.
pub fn capture(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it, without quoting and without the folder of the program.
pub fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The last `count` lines of a file, or why it can't be read.
pub fn tail(path: &Path, count: usize) -> String {
    match std::fs::read(path) {
        Err(why) => format!("(no log: {why})"),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = text.lines().collect();
            lines.iter().skip(lines.len().saturating_sub(count)).map(|line| format!("  | {line}\n")).collect()
        }
    }
}

/// Ends every process that carries the mark of `lab` in its environment, and says how many there were. The
/// mark is read again after the process is pinned by a descriptor, so that a reused pid is never hit.
pub fn kill_marked(lab: &str) -> Result<usize> {
    let mut killed = 0;
    // Twice: a process that forks while the list is read has its child found in the second pass.
    for _ in 0..2 {
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if pid == std::process::id() || !is_marked(pid, lab) {
                continue;
            }
            let Ok(pidfd) = open_pid(pid) else { continue };
            if is_marked(pid, lab) && pidfd_send_signal(&pidfd, Signal::KILL).is_ok() {
                await_end(&pidfd, Duration::from_secs(5));
                killed += 1;
            }
        }
    }
    Ok(killed)
}

/// `kill -9` of one process, which must carry the mark of `lab`, and waits until it is gone.
pub fn kill_one(pid: u32, lab: &str) -> Result<()> {
    let pidfd = open_pid(pid)?;
    ensure!(is_marked(pid, lab), "process {pid} does not belong to {lab}");
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    ensure!(await_end(&pidfd, Duration::from_secs(5)), "process {pid} did not end");
    Ok(())
}

/// Sends a signal to one process, which must carry the mark of `lab`.
pub fn signal_one(pid: u32, lab: &str, number: Signal) -> Result<()> {
    let pidfd = open_pid(pid)?;
    ensure!(is_marked(pid, lab), "process {pid} does not belong to {lab}");
    Ok(pidfd_send_signal(&pidfd, number)?)
}

/// The processes that carry the mark of `lab`, as `pid command`.
pub fn marked(lab: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id() && is_marked(*pid, lab))
        .map(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{pid} {}", name.trim_end())
        })
        .collect()
}

fn is_marked(pid: u32, lab: &str) -> bool {
    let wanted = format!("{LAB_MARK}={lab}");
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

fn open_pid(pid: u32) -> Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal. A process that is gone already needs none.
fn signal(pidfd: &OwnedFd, signal: Signal) {
    let _ = pidfd_send_signal(pidfd, signal);
}

fn await_end(pidfd: &OwnedFd, limit: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let end = Instant::now() + limit;
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => return false,
            Ok(_) => return true,
        }
    }
}

fn drain(source: Option<impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        drop(source.read_to_end(&mut bytes));
    }
    bytes
}
