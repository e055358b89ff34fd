//! nDPI's library, the reference of everything that is inspected: `benches/reference/ndpi.c` as a child process on the CPU
//! that ours runs on, with the same frames.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use glassgate_dataplane::port::{BURST, Frame as _, Link};
use pcap_file::pcap::PcapPacket;
use serde::Deserialize;

use crate::ethernet_pcap;
use crate::frames::Frames;
use crate::stage::Stage;

/// Frames that the library is given, in a file that goes with this.
pub struct Ndpi {
    program: PathBuf,
    cpu: usize,
    /// Holds the file.
    _dir: tempfile::TempDir,
    capture: PathBuf,
}

/// What the library made of all frames, once.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Pass {
    /// Frames given.
    pub frames: f64,
    /// Flows that it was told of.
    pub flows: f64,
    /// Those of them that it has a name for.
    pub named: f64,
    /// CPU time of its thread, nanoseconds.
    pub ns: f64,
}

impl Ndpi {
    /// Writes the frames down, `step_ns` from one burst to the next. `None` where the library is not installed, or takes
    /// no such frames: it is told of Ethernet only.
    pub fn new(stage: &Stage, frames: &Frames, step_ns: u64) -> Result<Option<Self>> {
        let Some(program) = stage.ndpi.clone() else { return Ok(None) };
        if frames.iter().any(|frame| frame.link() != Link::Ethernet) {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let capture = dir.path().join("frames.pcap");
        write(&capture, frames, step_ns).with_context(|| capture.display().to_string())?;
        Ok(Some(Self { program, cpu: stage.cpu, _dir: dir, capture }))
    }

    /// Gives it all frames twice, with flows of its own each time; the second counts.
    pub fn pass(&self) -> Result<Pass> {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.cpu.to_string()]).arg(&self.program).arg("2").arg(&self.capture);
        let output = command.output().context("starting nDPI's reference")?;
        ensure!(output.status.success(), "nDPI's reference: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().last().context("nDPI's reference said nothing")?;
        serde_json::from_str(line).context("a line of nDPI's reference")
    }
}

fn write(path: &Path, frames: &Frames, step_ns: u64) -> Result<()> {
    let mut out = ethernet_pcap::create(path)?;
    for (n, frame) in frames.iter().enumerate() {
        let time = Duration::from_secs(1_000_000_000) + Duration::from_nanos((n / BURST) as u64 * step_ns);
        out.write_packet(&PcapPacket::new(time, frame.wire_len() as u32, frame.bytes()))?;
    }
    Ok(())
}
