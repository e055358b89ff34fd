//! The same frames through the gateway and through nDPI, on one core: processor time per frame, side by side.
//!
//! Three rows, because they say different things. *Library*: frames lie in memory; the gateway's classifier against nDPI's
//! library (`benches/reference/ndpi.c`). *Process*: `glassgate replay` against `ndpiReader` on one long file, with reading
//! it and all that a program does besides. *Each*: the captures as they are, one process for each with both programs, as
//! whoever has a folder of captures would go about it; most captures are short, so this is for a good part how fast a
//! program starts.
//!
//! `ndpiReader` ends at the first capture of a list whose link type differs from the one before. So for the first two rows
//! the Ethernet captures are written into one file; for the processes again and again, an hour later each time, which keeps
//! every repetition's flows apart for both programs.

#[path = "../../../benches/src/ethernet_pcap.rs"]
mod ethernet_pcap;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapPacket, PcapReader};
use pcap_file::pcapng::{Block, PcapNgReader};
use serde::Serialize;

use crate::{ndpi, process, ui};

/// Frames that the file has at least.
const FRAMES: u64 = 1_000_000;
/// Times that each program reads it.
const ROUNDS: usize = 5;
/// No capture is longer than this for the file: later frames are moved forward.
const LONGEST: Duration = Duration::from_secs(3600);

/// Nanoseconds of processor time per frame, of each round.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    /// Frames of a round.
    frames: u64,
    ours: Vec<f64>,
    theirs: Vec<f64>,
    /// How many times our time theirs is: the middle of the rounds.
    ratio: f64,
}

/// All rows.
#[derive(Debug, Serialize)]
pub(super) struct Speed {
    /// Captures that are in the file.
    captures: usize,
    library: Row,
    process: Row,
    /// All captures, of any link type; a round is every fifth of them.
    each: Row,
}

/// Measures, in alternation.
pub(super) fn compare(bin: &Path, captures: &[PathBuf], work: &Path) -> Result<Speed> {
    let reference = ndpi::build(work)?;
    let once = work.join("corpus-ethernet.pcap");
    let (captures_in, frames) = merge(captures, &once, 1)?;
    if frames == 0 {
        bail!("none of the captures has Ethernet frames: nothing to compare speed on");
    }
    let mut library = Row { frames, ..Row::default() };
    for _ in 0..ROUNDS {
        library.ours.push(classifier_ns(bin, &once)?);
        library.theirs.push(reference_ns(&reference, &once)?);
    }
    std::fs::remove_file(&once)?;
    let often = work.join("corpus-ethernet-repeated.pcap");
    let (_, frames) = merge(captures, &often, FRAMES)?;
    let mut process = Row { frames, ..Row::default() };
    for _ in 0..ROUNDS {
        let per_frame = 1e9 / frames as f64;
        process.ours.push(processor_seconds(bin, &["replay"], &[&often])? * per_frame);
        process
            .theirs
            .push(processor_seconds(Path::new("ndpiReader"), &["-q", "-i"], &[&often])? * per_frame);
    }
    std::fs::remove_file(&often)?;
    let mut each = Row::default();
    for round in 0..ROUNDS {
        let share: Vec<&PathBuf> = captures.iter().skip(round).step_by(ROUNDS).collect();
        let frames = count(bin, &share)?;
        if frames == 0 {
            continue;
        }
        each.frames += frames;
        let per_frame = 1e9 / frames as f64;
        each.ours.push(processor_seconds(bin, &["replay"], &share)? * per_frame);
        each.theirs.push(processor_seconds(Path::new("ndpiReader"), &["-q", "-i"], &share)? * per_frame);
    }
    for row in [&mut library, &mut process, &mut each] {
        // Round by round: what disturbs one disturbs the other, and the rounds of the last row have captures of their own.
        let rounds: Vec<f64> = row.theirs.iter().zip(&row.ours).map(|(theirs, ours)| theirs / ours).collect();
        row.ratio = median(&rounds);
    }
    Ok(Speed { captures: captures_in, library, process, each })
}

impl Speed {
    /// Prints both.
    pub(super) fn print(&self) {
        ui::line(format_args!(
            "speed on {} Ethernet captures: one core, processor time, median of {ROUNDS}",
            self.captures
        ));
        for (what, row, peer) in [
            ("frames in memory, classifier alone", &self.library, "libndpi"),
            ("whole process, file and all", &self.process, "ndpiReader"),
            ("a process for each of all captures", &self.each, "ndpiReader"),
        ] {
            ui::line(format_args!("  {what} ({} frames)", row.frames));
            for (name, times) in [("glassgate", &row.ours), (peer, &row.theirs)] {
                let ns = median(times);
                ui::line(format_args!(
                    "    {name:10} {ns:>8.0} ns a frame {:>8.2} million frames/s",
                    1e3 / ns
                ));
            }
            ui::line(format_args!("    {:.1} times as fast", row.ratio));
        }
    }
}

/// Nanoseconds a frame of the classifier, as `glassgate replay --time` says.
fn classifier_ns(bin: &Path, capture: &Path) -> Result<f64> {
    let mut command = Command::new("taskset");
    command.args(["-c", "1"]).arg(bin).args(["replay", "--time", "3", "--json"]).arg(capture);
    let said: serde_json::Value = serde_json::from_str(&process::capture(&mut command)?)?;
    said["ns_per_frame"].as_f64().context("replay --time says no `ns_per_frame`")
}

/// Nanoseconds a frame of nDPI's library: the middle of three rounds after one that warms up, like ours.
fn reference_ns(program: &Path, capture: &Path) -> Result<f64> {
    let mut command = Command::new("taskset");
    command.args(["-c", "1"]).arg(program).arg("4").arg(capture);
    let said = process::capture(&mut command)?;
    let mut times = Vec::new();
    for line in said.lines().skip(1) {
        let round: serde_json::Value = serde_json::from_str(line).context("a line of ndpi-reference")?;
        let (ns, frames) = (round["ns"].as_f64(), round["frames"].as_f64());
        times.push(ns.zip(frames).map(|(ns, frames)| ns / frames).context("a line of ndpi-reference")?);
    }
    Ok(median(&times))
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// User and system time on one core of a process for each capture, one after the other, as the shell counts it (to a
/// millisecond). That a program refuses a capture is part of its time.
fn processor_seconds(program: &Path, args: &[&str], captures: &[&PathBuf]) -> Result<f64> {
    // `$0` is the program with its arguments.
    let script = "TIMEFORMAT='%3U %3S'; time for capture; do $0 \"$capture\" >/dev/null 2>/dev/null; done";
    let program = std::iter::once(program.to_str().context("the path of a program is not UTF-8")?);
    let line = program.chain(args.iter().copied()).collect::<Vec<_>>().join(" ");
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "bash", "-c", script, &line]).args(captures).env("LC_ALL", "C");
    let output = command.output().context("running bash")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let seconds = said.lines().next_back().and_then(|line| {
        let (user, system) = line.split_once(' ')?;
        Some(user.parse::<f64>().ok()? + system.parse::<f64>().ok()?)
    });
    let whole = captures.len() > 1 || output.status.success();
    seconds.filter(|_| whole).with_context(|| format!("{line}: {} {}", output.status, said.trim()))
}

/// Frames of captures, as far as they can be read.
fn count(bin: &Path, captures: &[&PathBuf]) -> Result<u64> {
    let mut command = Command::new(bin);
    command.args(["replay", "--json"]).args(captures);
    let said: serde_json::Value = serde_json::from_str(&process::capture(&mut command)?)?;
    said["frames"].as_u64().context("replay --json says no `frames`")
}

/// Writes the frames of all captures that are Ethernet into one, again until there are `least`; answers how many captures
/// and frames it has.
fn merge(captures: &[PathBuf], path: &Path, least: u64) -> Result<(usize, u64)> {
    let all: Vec<Vec<Packet>> = captures.iter().filter_map(|capture| ethernet(capture)).collect();
    let frames = all.iter().map(|packets| packets.len() as u64).sum::<u64>();
    let mut out = ethernet_pcap::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let (mut written, mut clock) = (0, Duration::from_secs(1_000_000_000));
    while frames > 0 && written < least {
        for packets in &all {
            let Some(first) = packets.first().map(|packet| packet.0) else { continue };
            for (time, wire_len, bytes) in packets {
                let into = time.saturating_sub(first).min(LONGEST);
                out.write_packet(&PcapPacket::new(clock + into, *wire_len, bytes))?;
                written += 1;
            }
            clock += LONGEST * 2;
        }
    }
    Ok((all.len(), written))
}

/// Time, length on the wire, bytes.
type Packet = (Duration, u32, Vec<u8>);

/// The frames of a capture, if all of them are Ethernet and the file is whole.
fn ethernet(path: &Path) -> Option<Vec<Packet>> {
    let bytes = std::fs::read(path).ok()?;
    let mut packets = Vec::new();
    // A frame longer than what the merged file declares would end the other program's run.
    let fits = |len: usize| len <= 65_535;
    if let Ok(mut reader) = PcapReader::new(bytes.as_slice()) {
        if reader.header().datalink != DataLink::ETHERNET {
            return None;
        }
        while let Some(packet) = reader.next_packet() {
            let packet = packet.ok()?;
            fits(packet.data.len()).then_some(())?;
            packets.push((packet.timestamp, packet.orig_len, packet.data.into_owned()));
        }
        return Some(packets);
    }
    let mut reader = PcapNgReader::new(bytes.as_slice()).ok()?;
    while let Some(block) = reader.next_block() {
        match block.ok()? {
            Block::InterfaceDescription(interface) if interface.linktype != DataLink::ETHERNET => {
                return None;
            }
            Block::EnhancedPacket(packet) => {
                fits(packet.data.len()).then_some(())?;
                packets.push((packet.timestamp, packet.original_len, packet.data.into_owned()));
            }
            _ => {}
        }
    }
    Some(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_repeated_an_hour_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("merged.pcap");
        let one = workspace_capture();
        let (captures, frames) = merge(std::slice::from_ref(&one), &path, 1_000).unwrap();
        assert_eq!(captures, 1);
        assert!(frames >= 1_000);
        let magic = std::fs::read(&path).unwrap()[..4].try_into().unwrap();
        assert_eq!(
            u32::from_ne_bytes(magic),
            0xa1b2_c3d4,
            "what the reference reads: microseconds, native order"
        );
        let merged = ethernet(&path).unwrap();
        assert_eq!(merged.len() as u64, frames);
        let single = ethernet(&one).unwrap();
        let (first, again) = (&merged[0], &merged[single.len()]);
        assert_eq!(first.2, again.2);
        assert_eq!(again.0 - first.0, LONGEST * 2);
    }

    fn workspace_capture() -> PathBuf {
        crate::workspace::root().join("dataplane/tests/captures/real-clients.pcap")
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(&[5.0, 1.0, 9.0, 2.0, 7.0]), 5.0);
    }
}
