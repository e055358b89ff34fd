//! The disk of the audit log: full, broken, slow. Frames pass, whoever asks is told, and afterwards the log says what it missed.
//!
//! The log is on a small file system of its own. Errors and delays are those of strace, in the calls of the control process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::stage::{PATIENCE, Stage, await_now, setup};
use crate::demo::gateway::Gateway;
use crate::demo::records::{parse, since_last_start};
use crate::lab::Lab;
use crate::process::{self, Daemon};
use crate::stop::Stop;

/// Room for a segment, the reserve, and a little more.
const ROOM: &str = "size=24m";
/// An act of a person waits no longer for its record.
const ACT: Duration = Duration::from_secs(4);

/// A file system in memory, in place of a folder; gone when dropped.
struct Small(PathBuf);

impl Small {
    fn over(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut mount = Command::new("mount");
        process::capture(mount.args(["-t", "tmpfs", "-o", ROOM, "tmpfs"]).arg(folder))?;
        Ok(Self(folder.to_owned()))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("in-the-way")
    }

    /// Takes all the room that is left.
    fn fill(&self) -> Result<()> {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.filler())?;
        let block = [0u8; 4096];
        while file.write_all(&block).is_ok() {}
        Ok(())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Whoever still has a file of it keeps that; the name is free.
        drop(process::capture(Command::new("umount").arg("--lazy").arg(&self.0)));
    }
}

/// Who breaks the disk, and mends it.
enum Breaks {
    Room,
    /// What strace does to each call of the control process.
    Calls(&'static str),
}

pub(super) fn full(stage: &mut Stage<'_>) -> Result<()> {
    broken(stage, &Breaks::Room)
}

pub(super) fn error(stage: &mut Stage<'_>) -> Result<()> {
    broken(stage, &Breaks::Calls("inject=fdatasync,fsync:error=EIO"))
}

pub(super) fn slow(stage: &mut Stage<'_>) -> Result<()> {
    broken(stage, &Breaks::Calls("inject=fdatasync,fsync:delay_enter=5000000"))
}

/// What happened while it was broken.
struct Story {
    told: bool,
    act_took: Duration,
    act_refused: bool,
    mended: Duration,
    changes: u32,
}

fn broken(stage: &mut Stage<'_>, breaks: &Breaks) -> Result<()> {
    stage.drop_gateway();
    let length = stage.size(Duration::from_secs(6), Duration::from_secs(40));
    let folder = stage.lab()?.dir().join("audit");
    // What the gateways before wrote is not on it: this one begins a log.
    let small = Small::over(&folder)?;
    stage.start(&setup())?;
    let (figures, story) =
        stage.beside(|lab, gateway, stop| while_broken(lab, gateway, &small, breaks, length, stop))?;
    stage.unharmed(&figures);
    let is_slow = matches!(breaks, Breaks::Calls(call) if call.contains("delay"));
    let words = if story.told { "said on the page" } else { "not said on the page" };
    stage.found("trouble of the log", words, "said", story.told || is_slow);
    let words =
        format!("{} after {:.1?}", if story.act_refused { "refused" } else { "taken" }, story.act_took);
    // A full disk has a reserve for what people do.
    let fine = story.act_took <= ACT && (story.act_refused || matches!(breaks, Breaks::Room) || is_slow);
    stage.found("an act that has to be on record", words, "taken on record or refused, within 4 s", fine);
    let words = format!("after {:.1?}", story.mended);
    stage.found("the log goes on once it can", words, "30 s", story.mended <= PATIENCE);
    stage.accounted()?;
    let Some(mut gateway) = stage.take_gateway() else { return Ok(()) };
    gateway.end();
    let verified = gateway.command(&["audit", "verify"]);
    let words = verified
        .as_ref()
        .map_or_else(ToString::to_string, |said| said.lines().next().unwrap_or("").to_owned());
    stage.found("the log, verified", words, "what was signed", verified.is_ok());
    let records = gateway.command(&["audit", "export"])?;
    let records = parse(since_last_start(&records));
    let policies = records.iter().filter(|record| record["event_type"] == "policy").count() as u64;
    let missing: u64 = records
        .iter()
        .filter(|record| record["event_type"] == "gap")
        .map(|record| record["records"].as_u64().unwrap_or_default())
        .sum();
    // One at start, and one of each change.
    let wanted = u64::from(story.changes) + 1;
    let words = format!("{policies} of {wanted} changes on record, {missing} records counted as lost");
    let fine = if missing == 0 { policies == wanted } else { policies + missing >= wanted };
    stage.found("what was offered", words, "on record or counted as lost", fine);
    drop(small);
    Ok(())
}

fn while_broken(
    lab: &Lab,
    gateway: &mut Gateway,
    small: &Small,
    breaks: &Breaks,
    length: Duration,
    stop: &Stop,
) -> Result<Story> {
    // So that a refusal is one of the disk.
    gateway.command(&["account", "add", "first", "--role", "operator"])?;
    let began = Instant::now();
    let strace = match breaks {
        Breaks::Room => {
            small.fill()?;
            None
        }
        Breaks::Calls(what) => {
            let mut strace = Command::new("strace");
            let pid = gateway.pid_of("control")?.to_string();
            strace.args(["-f", "-p", &pid, "-e", "trace=fdatasync,fsync", "-e", what]);
            let mut strace = Daemon::start("strace", &strace, &lab.dir().join("strace.log"))?;
            strace.await_line("attached", Duration::from_secs(10), stop)?;
            Some(strace)
        }
    };
    let (mut told, mut changes) = (false, 0);
    while began.elapsed() < length {
        let rule = format!(
            "[[rule]]\nname = \"no-{changes}\"\nmatch = {{ category = [\"games\"] }}\naction = \"block\"\n\
             state = \"shadow\"\nowner = \"net\"\npurpose = \"conduct\"\n"
        );
        gateway.enforce(&rule, stop)?;
        changes += 1;
        told |= gateway.now()?.events.log_trouble.is_some();
        stop.pause(Duration::from_millis(200))?;
    }
    let asked = Instant::now();
    let act_refused = gateway.command(&["account", "add", "second", "--role", "operator"]).is_err();
    let act_took = asked.elapsed();
    // An act asks for a checkpoint, and that for files which there may be no room for.
    for _ in 0..30 {
        told = told || gateway.now()?.events.log_trouble.is_some();
        if !told {
            stop.pause(Duration::from_millis(100))?;
        }
    }
    match strace {
        None => std::fs::remove_file(small.filler()).context("making room")?,
        Some(mut strace) => _ = strace.end(Duration::from_secs(10)),
    }
    let mended = await_now(gateway, "the log goes on", stop, |now| now.events.log_trouble.is_none())?;
    Ok(Story { told, act_took, act_refused, mended, changes })
}
