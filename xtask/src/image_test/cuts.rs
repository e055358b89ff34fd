//! Power cuts in the middle of an update, at chosen writes of the disk.
//!
//! An update is done once, with every write to the disk kept ([`super::journal`]). For each cut the disk is made as it was after some write, and
//! a machine is started on it. So a cut comes exactly between two writes, twenty of them cost no twenty updates, and what a disk with a cache
//! loses is tried as well: of every other cut, half of what was not flushed is lost.
//!
//! Where the cuts are: half of them after writes to the ESP, which has the state of the slots, half spread over all writes from the beginning of
//! the installation to the confirmation, trial start included. Two machines run side by side, each on wires of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Result, ensure};

use super::journal::{Entry, Journal};
use super::machine::{Machine, Start, empty_disk};
use super::update::INSTALL;
use super::wires::Wires;
use super::{BOOT, Held, Stage, boot};
use crate::image::disk;

/// At how many writes the power is cut.
const CUTS: usize = 24;
/// Machines at a time: as many as the smallest builder has CPUs.
const AT_ONCE: usize = 2;

/// The log of an update's writes, and where in it the update is.
#[derive(Debug)]
pub struct Recording {
    /// The log.
    pub path: PathBuf,
    from: OnceLock<usize>,
    to: OnceLock<usize>,
}

impl Recording {
    /// Of which nothing is known yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, from: OnceLock::new(), to: OnceLock::new() }
    }

    /// The update begins now.
    pub fn begin(&self) -> Result<()> {
        _ = self.from.set(Journal::count(&self.path)?);
        Ok(())
    }

    fn window(&self) -> (usize, usize) {
        (self.from.get().copied().unwrap_or(0), self.to.get().copied().unwrap_or(0))
    }

    /// It is confirmed.
    pub fn end(&self) -> Result<()> {
        _ = self.to.set(Journal::count(&self.path)?);
        Ok(())
    }
}

/// A cut: after so many writes, with or without what was in the disk's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    after: usize,
    loses_cache: bool,
}

/// Makes the disks, starts machines on them, and a machine whose clock shows 1970 beside them.
pub fn run(stage: &Stage<'_>, held: &mut Held) -> Result<()> {
    if stage.recording().to.get().is_none() {
        record(stage)?;
    }
    let recording = stage.recording();
    let journal = Journal::read(&recording.path)?;
    let (from, to) = recording.window();
    let cuts = choose(&journal.entries, from, to)?;
    let next = AtomicUsize::new(0);
    let results = Mutex::new((held, 0));
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|number| {
                let (next, cuts, journal, results) = (&next, &cuts, &journal, &results);
                let dir = stage.dir.join(format!("cut-{number}"));
                // The machine ends with the thread that started it.
                scope.spawn(move || -> Result<()> {
                    while let Some((n, cut)) = {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        cuts.get(n).map(|cut| (n, *cut))
                    } {
                        stage.stop.check()?;
                        let outcome = one(stage, journal, cut, n as u64, &dir);
                        let what = format!(
                            "cut {} of {}, after write {} of {}{}",
                            n + 1,
                            cuts.len(),
                            cut.after - from,
                            to - from,
                            if cut.loses_cache { ", half of what was not flushed is lost" } else { "" }
                        );
                        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                        results.1 += usize::from(outcome.is_ok());
                        match outcome {
                            Ok(figure) => results.0.hold(&what, true, figure, "it comes up"),
                            Err(why) => results.0.hold(&what, false, format!("{why:#}"), "it comes up"),
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })?;
    let (held, up) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    held.hold(
        "power cuts after which it came up",
        up == cuts.len(),
        format!("{up} of {}", cuts.len()),
        "all",
    );
    Ok(())
}

/// A clock of 1970.
pub fn clock(stage: &Stage<'_>, held: &mut Held) -> Result<()> {
    for (what, fine, figure, goal) in boot::clock(stage, &stage.dir.join("clock"))? {
        held.hold(what, fine, figure, goal);
    }
    Ok(())
}

/// An update on wires, for want of one that was done before.
fn record(stage: &Stage<'_>) -> Result<()> {
    let dir = stage.dir.join("recorded");
    empty_disk(&stage.images.first.disk, &dir)?;
    let _wires = Wires::lay(&dir)?;
    let recording = stage.recording();
    let how = Start { journal: Some(&recording.path), ..Start::default() };
    let mut machine = Machine::start(&dir, &how, stage.stop)?;
    machine.await_forwarding()?;
    recording.begin()?;
    machine.stick(&stage.images.second.bundle, "glassgate.raucb")?;
    machine.console.expect(&["is installed"], 0, INSTALL, stage.stop)?;
    machine.console.expect(&["is confirmed"], 0, INSTALL + BOOT, stage.stop)?;
    recording.end()?;
    machine.cut();
    Ok(())
}

fn choose(entries: &[Entry], from: usize, to: usize) -> Result<Vec<Cut>> {
    let esp = disk::layout()?;
    let esp = esp.partition("esp")?;
    let writes: Vec<usize> =
        (from..to.min(entries.len())).filter(|n| matches!(entries[*n], Entry::Write { .. })).collect();
    let states: Vec<usize> =
        writes.iter().copied().filter(|n| entries[*n].touches(esp.start, esp.sectors)).collect();
    ensure!(
        states.len() >= CUTS / 2 && writes.len() >= CUTS,
        "{} writes are no update, {} of them to the ESP",
        writes.len(),
        states.len()
    );
    let spread = |of: &[usize]| -> Vec<usize> {
        (0..CUTS / 2).map(|n| of[n * (of.len() - 1) / (CUTS / 2 - 1)]).collect()
    };
    let mut after: Vec<usize> = [spread(&states), spread(&writes)].concat();
    after.sort_unstable();
    Ok(after
        .into_iter()
        .enumerate()
        .map(|(n, write)| Cut { after: write + 1, loses_cache: n % 2 == 1 })
        .collect())
}

/// The disk of a cut, and what a machine makes of it.
fn one(stage: &Stage<'_>, journal: &Journal, cut: Cut, seed: u64, dir: &Path) -> Result<String> {
    empty_disk(&stage.images.first.disk, dir)?;
    let disk = File::options().write(true).open(dir.join("disk.img"))?;
    let certain = if cut.loses_cache { journal.flushed(cut.after) } else { cut.after };
    journal.apply(&disk, 0, certain, || true)?;
    let mut coin = Coin(seed + 1);
    journal.apply(&disk, certain, cut.after, || coin.toss())?;
    drop(disk);
    let mut wires = Wires::lay(dir)?;
    let machine = Machine::start(dir, &Start::default(), stage.stop)?;
    wires.await_passing(BOOT, stage.stop)?;
    let passes = machine.since.elapsed();
    // By then the state of the slots was read, and mended where that was needed.
    let marks = [", confirmed", " is on trial", " again"];
    let said = machine.console.expect(&marks, 0, BOOT, stage.stop)?;
    let line = said.lines().rev().find(|line| marks.iter().any(|mark| line.contains(mark)));
    let line = line.unwrap_or_default().trim().trim_start_matches("Glassgate: ").to_owned();
    let (var, _) = machine.ask("findmnt -n -o SOURCE,OPTIONS /var")?;
    ensure!(var.contains("rw"), "the data partition is not there: {var}");
    let (state, fine) = machine.ask("grub-editenv /run/glassgate-boot/esp/glassgate/grubenv list")?;
    ensure!(
        fine && state.contains("CONFIRMED="),
        "the state of the slots can't be read any more: {}",
        state.trim()
    );
    machine.cut();
    let line: String = line.split(':').next().unwrap_or_default().to_owned();
    Ok(format!("frames pass after {:.0} s; {line}", passes.as_secs_f64()))
}

/// The same tosses for the same seed (xorshift).
struct Coin(u64);

impl Coin {
    fn toss(&mut self) -> bool {
        for _ in 0..4 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
        }
        self.0 >> 63 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_cuts_are_at_the_state_of_the_slots() {
        let esp = disk::layout().unwrap().partition("esp").unwrap().start;
        let entry = |n: usize| match n % 10 {
            0 => Entry::Flush,
            1 => Entry::Write { sector: esp + 4, sectors: 1, at: 0 },
            _ => Entry::Write { sector: 1 << 20, sectors: 8, at: 0 },
        };
        let entries: Vec<Entry> = (0..1000).map(entry).collect();
        let cuts = choose(&entries, 100, 900).unwrap();
        assert_eq!(cuts.len(), CUTS);
        assert!(cuts.iter().all(|cut| (101..=900).contains(&cut.after)));
        assert_eq!(cuts.iter().filter(|cut| cut.loses_cache).count(), CUTS / 2);
        assert!(cuts.iter().filter(|cut| (cut.after - 1) % 10 == 1).count() >= CUTS / 2);
        assert!(choose(&entries, 100, 120).is_err());
    }

    #[test]
    fn coins_fall_both_ways() {
        let mut coin = Coin(1);
        let heads = (0..1000).filter(|_| coin.toss()).count();
        assert!((400..600).contains(&heads), "{heads}");
    }
}
