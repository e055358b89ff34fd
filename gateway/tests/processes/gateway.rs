//! A gateway that runs: three real processes on two socket ports.

use serde_json::Value;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Gateway {
    child: Child,
    dir: tempfile::TempDir,
    lan: Side,
    uplink: Side,
}

/// Where the test stands: what a host in the LAN, or behind the uplink, sends and gets.
pub(crate) struct Side {
    socket: UnixDatagram,
    port: PathBuf,
}

impl Gateway {
    /// Starts a gateway and waits until all of it works. `more` is added to the configuration.
    pub(crate) fn start(more: &str) -> Self {
        let gateway = Self::spawn(more);
        gateway.wait_for("all processes are up and verdicts in force", |now| {
            let up = |p: &Value| p["state"] == "up";
            now["processes"].as_array().is_some_and(|p| p.len() == 3 && p.iter().all(up))
                && now["policy"]["acknowledged"] == now["policy"]["lcores"]
                && now["policy"]["lcores"] != 0
        });
        gateway
    }

    pub(crate) fn spawn(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[ports]\nlan = 'socket:lan'\nuplink = 'socket:uplink'\n[audit]\ndir = 'audit'\n[store]\ndir = 'store'\n[page]\nlisten = '127.0.0.1:0'\ndir = 'page'\n\
             [control]\nsocket = 'control.sock'\n{more}\n"
        );
        let text = if more.contains("[dataplane]") { text } else { text + "[dataplane]\n" };
        let text = if more.contains("[charter]") { text } else { text + "[charter]\n" };
        let text = text.replace("[charter]\n", "[charter]\ndir = 'charter'\n");
        // The last CPU, which no test needs for itself; and a nap, because tests run beside each other.
        let cpus = rustix::thread::sched_getaffinity(None).unwrap();
        let cpu = (0..1024).rfind(|cpu| cpus.is_set(*cpu)).unwrap();
        let lcores = if more.contains("lcores = ") { String::new() } else { format!("lcores = [{cpu}]\n") };
        let text = text
            .replace("[dataplane]\n", &format!("[dataplane]\n{lcores}idle_sleep_us = 200\nflows = 4096\n"));
        std::fs::write(dir.path().join("glassgate.toml"), text).unwrap();
        let (lan, uplink) = (Side::new(dir.path(), "lan"), Side::new(dir.path(), "uplink"));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_glassgate"))
            .args(["run", "--config"])
            .arg(dir.path().join("glassgate.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, dir, lan, uplink }
    }

    pub(crate) fn lan(&self) -> &Side {
        &self.lan
    }

    pub(crate) fn uplink(&self) -> &Side {
        &self.uplink
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Runs `glassgate COMMAND --config …` beside the gateway.
    pub(crate) fn command(&self, args: &[&str]) -> Output {
        let config = self.dir.path().join("glassgate.toml");
        Command::new(env!("CARGO_BIN_EXE_glassgate")).args(args).arg("--config").arg(config).output().unwrap()
    }

    /// All records of the audit log that are durable, in order.
    pub(crate) fn records(&self) -> Vec<String> {
        let out = self.command(&["audit", "export"]);
        String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// What the gateway says of itself; `None` while it does not answer.
    pub(crate) fn now(&self) -> Option<Value> {
        serde_json::from_slice(&self.command(&["status", "--json"]).stdout).ok()
    }

    /// Waits until what the gateway says of itself fulfils `done`.
    pub(crate) fn wait_for(&self, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        let mut last = None;
        while start.elapsed() < LIMIT {
            last = self.now();
            if let Some(now) = last.as_ref().filter(|now| done(now)) {
                return now.clone();
            }
            std::thread::yield_now();
        }
        panic!("waited in vain until {what}\n{last:#?}\n{}", self.log());
    }

    /// The process of that name, now.
    pub(crate) fn process(&self, name: &str) -> Option<Value> {
        let now = self.now()?;
        now["processes"].as_array()?.iter().find(|p| p["name"] == name).cloned()
    }

    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.process(name).unwrap()["pid"].as_u64().unwrap() as u32
    }

    pub(crate) fn guard(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the gateway; returns its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let ended = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let limit = rustix::event::Timespec::try_from(LIMIT).unwrap();
        let mut waited_for = [rustix::event::PollFd::new(&ended, rustix::event::PollFlags::IN)];
        let ready = rustix::event::poll(&mut waited_for, Some(&limit)).unwrap();
        assert!(ready > 0, "the gateway does not end\n{}", self.log());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The others die with the guard.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Side {
    fn new(dir: &Path, name: &str) -> Self {
        let port = dir.join(name);
        let socket = UnixDatagram::bind(dir.join(format!("{name}.peer"))).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.set_nonblocking(false).unwrap();
        Self { socket, port }
    }

    /// Sends a frame; false when nobody is there to take it.
    pub(crate) fn send(&self, frame: &[u8]) -> bool {
        self.socket.send_to(frame, &self.port).is_ok()
    }

    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 10_000];
        let len = self.socket.recv(&mut buffer).expect("a frame in time");
        buffer.truncate(len);
        buffer
    }

    /// Takes and drops everything that has arrived.
    pub(crate) fn empty(&self) -> usize {
        self.socket.set_nonblocking(true).unwrap();
        let n = std::iter::from_fn(|| self.socket.recv(&mut [0; 10_000]).ok()).count();
        self.socket.set_nonblocking(false).unwrap();
        n
    }
}

/// Sends a signal to a process that a gateway of this test named.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Whether a process is there and not a zombie.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
