//! Files that somebody damaged: state, rules, configurations. Frames pass, and what can't be read is said, not guessed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::stage::{Stage, await_now, setup};
use crate::demo::api::Now;
use crate::demo::gateway::Gateway;
use crate::stop::Stop;

/// Folders and files of state, in the folder of the lab.
const STATE: [&str; 5] = ["page", "store", "charter", "audit", "audit.tally"];

/// What becomes of a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Empty,
    Half,
    Flipped,
    Noise,
    Gone,
}

impl Damage {
    const ALL: [Self; 5] = [Self::Noise, Self::Half, Self::Empty, Self::Flipped, Self::Gone];

    fn make(self, path: &Path) -> std::io::Result<()> {
        let bytes = std::fs::read(path)?;
        let changed = match self {
            Self::Gone => return std::fs::remove_file(path),
            Self::Empty => Vec::new(),
            Self::Half => bytes[..bytes.len() / 2].to_vec(),
            Self::Flipped => {
                bytes.iter().enumerate().map(|(i, b)| if i % 97 == 13 { b ^ 0x20 } else { *b }).collect()
            }
            Self::Noise => (0..bytes.len().clamp(64, 4096)).map(|i| ((i * 7919) >> 3) as u8).collect(),
        };
        std::fs::write(path, changed)
    }
}

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.drop_gateway();
    stage.both()?;
    each(stage)?;
    all(stage)?;
    refused(stage)
}

fn files_below(path: &Path, into: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let mut inside: Vec<_> =
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        inside.sort();
        inside.iter().for_each(|path| files_below(path, into));
    } else if path.is_file() {
        into.push(path.to_owned());
    }
}

fn state_of(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    STATE.iter().for_each(|name| files_below(&dir.join(name), &mut files));
    files
}

/// One after the other, each read by a control process that is started anew.
fn each(stage: &mut Stage<'_>) -> Result<()> {
    let kinds = stage.size(1, Damage::ALL.len());
    let (figures, (tried, silent, other)) = stage.beside(|lab, gateway, stop| {
        let dataplane = gateway.pid_named("gg-dataplane")?;
        let (mut tried, mut silent) = (0, Vec::new());
        // Tiles and segments by the dozen say no more than some of each.
        let files: Vec<_> =
            state_of(lab.dir()).into_iter().filter(|path| !path.ends_with("lock")).take(24).collect();
        for (n, path) in files.iter().enumerate() {
            for kind in 0..kinds {
                let damage = Damage::ALL[(n + kind) % Damage::ALL.len()];
                let before = std::fs::read(path).ok();
                // What is there may be in use, and may just have been replaced.
                if damage.make(path).is_err() {
                    continue;
                }
                tried += 1;
                let back = back(gateway, stop);
                if let Err(why) = back {
                    let name = path.strip_prefix(lab.dir()).unwrap_or(path).display();
                    silent
                        .push(format!("{name} {damage:?}: {}", why.to_string().lines().next().unwrap_or("")));
                }
                if let Some(bytes) = before {
                    restore(lab.dir(), path, &bytes)?;
                }
            }
        }
        Ok((tried, silent, gateway.pid_named("gg-dataplane")? != dataplane))
    })?;
    stage.unharmed(&figures);
    let words = format!("{tried} damaged, {} without a control process: {}", silent.len(), silent.join("; "));
    stage.found(
        "a file of state",
        words,
        "the control process runs, and says what it can't read",
        silent.is_empty(),
    );
    let words = if other { "started again" } else { "the same" };
    stage.found("the data plane", words, "not touched", !other);
    Ok(())
}

/// Accounts are what the lab reads with: without the right ones nothing can be asked.
fn restore(dir: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    if path.starts_with(dir.join("page")) {
        std::fs::write(path, bytes)?;
    }
    Ok(())
}

/// `kill -9` of the control process, and another one that works. Without accounts nobody is told more than that.
fn back(gateway: &mut Gateway, stop: &Stop) -> Result<()> {
    gateway.kill_named("gg-control")?;
    gateway.await_answer(Duration::from_secs(15), stop)
}

/// All at once, and a gateway that is started on them.
fn all(stage: &mut Stage<'_>) -> Result<()> {
    stage.drop_gateway();
    let dir = stage.lab()?.dir().to_owned();
    let files = state_of(&dir);
    for (n, path) in files.iter().enumerate() {
        _ = Damage::ALL[n % 3].make(path);
    }
    let started = stage.start(&setup()).map(drop);
    let words = match &started {
        Ok(()) => format!("{} files damaged; it forwards", files.len()),
        Err(why) => format!("{} files damaged; {why:#}", files.len()),
    };
    stage.found("a start on damaged state", words, "it forwards", started.is_ok());
    for name in STATE {
        let path = dir.join(name);
        if started.is_err() {
            _ = std::fs::remove_dir_all(&path);
        }
    }
    stage.drop_gateway();
    Ok(())
}

/// Rules and configurations: refused with a place, and what was in force stays.
fn refused(stage: &mut Stage<'_>) -> Result<()> {
    let count = stage.size(60, 1000);
    let (figures, (crashed, taken, epoch)) = stage.beside(|lab, gateway, stop| {
        let rules = lab.dir().join("rules.toml");
        std::fs::write(&rules, "version = 1\n[[rule]]\nname = 7\n")?;
        let refused = gateway.command(&["reload"]).is_err();
        let stays = await_now(gateway, "it says so", stop, |now| !now.troubles.is_empty()).is_ok();
        std::fs::write(&rules, "version = 1\n")?;
        gateway.command(&["reload"])?;
        await_now(gateway, "it is over", stop, Now::is_ready)?;
        let good = std::fs::read(lab.dir().join("glassgate.toml"))?;
        let (mut crashed, mut taken) = (Vec::new(), 0);
        for n in 0..count {
            let path = lab.dir().join("damaged.toml");
            std::fs::write(&path, damaged(&good, n))?;
            let mut check = Command::new(gateway.binary());
            let done = check.arg("check").arg("--config").arg(&path).output()?;
            match done.status.code() {
                Some(0) => taken += 1,
                // Not what it should be, or a file that it names is not there.
                Some(1..=6) => {}
                other => crashed.push(format!("{n}: {other:?}")),
            }
        }
        Ok((crashed, taken, refused && stays))
    })?;
    stage.unharmed(&figures);
    let words = if epoch { "refused, those before stay" } else { "not refused" };
    stage.found("rules that are none", words, "refused, and said", epoch);
    let words = format!(
        "{count} damaged, {taken} still mean something, {} crashed {}",
        crashed.len(),
        crashed.join(", ")
    );
    stage.found("configurations", words, "refused or taken, none crashes", crashed.is_empty());
    stage.accounted()
}

/// A configuration with one thing wrong: bytes changed, cut, doubled.
fn damaged(good: &[u8], n: usize) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let at = n * 7919 % bytes.len();
    match n % 4 {
        0 => bytes[at] = (n * 31) as u8,
        1 => bytes.truncate(at),
        2 => drop(bytes.splice(at..at, b"[[[".iter().copied())),
        _ => {
            let again = bytes[at..].to_vec();
            bytes.extend(again);
        }
    }
    bytes
}
