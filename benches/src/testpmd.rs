//! `dpdk-testpmd`, the reference of every driver: a child process on the CPU that ours runs on, driven by its prompt.
//!
//! It is started once and forwards only between `start` and `stop`; its worker sleeps otherwise, so that ours and the
//! reference take turns on the CPU.

mod arguments;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};

/// A running testpmd.
pub struct Testpmd {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a run of it moved.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    /// Frames that it received, all ports together.
    pub frames: f64,
    /// CPU time of its worker, nanoseconds.
    pub worker_ns: f64,
}

impl Testpmd {
    /// Starts it with these devices on `cpu`, in forwarding mode `mode`; `mib` of memory, in huge pages or not.
    pub fn start(vdevs: &[&str], mode: &str, cpu: usize, mib: u32, no_huge: bool) -> Result<Self> {
        let mut command = Command::new("stdbuf");
        command.args(arguments::environment(vdevs, cpu, "gg-bench-pmd", mib, no_huge));
        command.args([
            "--",
            "-i",
            &format!("--forward-mode={mode}"),
            "--total-num-mbufs=16384",
            "--burst=32",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("dpdk-testpmd (apt-get install dpdk-dev)")?;
        let input = child.stdin.take().context("testpmd without standard input")?;
        let output = BufReader::new(child.stdout.take().context("testpmd without standard output")?);
        Ok(Self { child, input, output })
    }

    /// Forwards for `time`.
    pub fn run(&mut self, time: Duration) -> Result<Moved> {
        let before = self.worker_ns().unwrap_or(0.0);
        self.command("start", "packet forwarding - ports=")?;
        thread::sleep(time);
        let totals = self.command("stop", "\nDone.\n")?;
        let worker_ns = self.worker_ns()? - before;
        let frames = totals
            .split("Accumulated forward statistics")
            .nth(1)
            .and_then(|t| t.split("RX-packets:").nth(1))
            .and_then(|t| t.split_whitespace().next())
            .context("testpmd printed no totals")?;
        Ok(Moved { frames: frames.parse()?, worker_ns })
    }

    /// Forwards for `time`; nanoseconds of its worker's CPU time a frame.
    pub fn ns_per_frame(&mut self, time: Duration) -> Result<f64> {
        let moved = self.run(time)?;
        Ok(moved.worker_ns / moved.frames.max(1.0))
    }

    fn command(&mut self, line: &str, marker: &str) -> Result<String> {
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        let mut text = String::new();
        while !text.contains(marker) {
            if self.output.read_line(&mut text)? == 0 {
                bail!("testpmd ended: {text}");
            }
        }
        Ok(text)
    }

    fn worker_ns(&self) -> Result<f64> {
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?.path();
            if fs::read_to_string(task.join("comm"))?.contains("worker") {
                let on_cpu = fs::read_to_string(task.join("schedstat"))?;
                return Ok(on_cpu.split_whitespace().next().context("empty schedstat")?.parse()?);
            }
        }
        bail!("testpmd has no worker thread")
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        // Polite first: killed, it would leave nothing either, as it runs in memory.
        if writeln!(self.input, "quit").and_then(|()| self.input.flush()).is_err() {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}
