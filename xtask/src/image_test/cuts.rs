//! Power cuts in the middle of an update, at chosen writes of the disk.
//!
//! An update is done once, with every write to the disk kept ([`super::journal`]). For each cut the disk is made as it was after some write, and
//! a machine is started on it. So a cut comes exactly between two writes, twenty of them cost no twenty updates, and what a disk with a cache
//! loses is tried as well: of every other cut, half of what was not flushed is lost.
//!
//! Where the cuts are: half of them after writes to the ESP, which has the state of the slots, half spread over all writes from the beginning of
//! the installation to the confirmation, trial start included. While the machine in the lab runs, one of these runs beside it, afterwards two,
//! each on wires of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::journal::{Entry, Journal};
use super::machine::{Machine, Start, empty_disk};
use super::update::INSTALL;
use super::wires::Wires;
use super::{BOOT, Held, Stage, boot};
use crate::image::disk;
use crate::stop::Stop;

/// At how many writes the power is cut.
const CUTS: usize = 20;
/// Between two looks at whether somebody else has ended.
const LOOK: Duration = Duration::from_millis(500);

/// The log of an update's writes, and where in it the update is.
#[derive(Debug)]
pub struct Recording {
    /// The log.
    pub path: PathBuf,
    update: Mutex<Update>,
    changed: Condvar,
}

/// How far the update has come that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Update {
    /// It began after so many entries, if it has.
    UnderWay(Option<usize>),
    /// These are its entries.
    Done(usize, usize),
    /// There will be none.
    None,
}

impl Recording {
    /// Of which nothing is known yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, update: Mutex::new(Update::UnderWay(None)), changed: Condvar::new() }
    }

    fn set(&self, next: impl FnOnce(Update) -> Update) {
        let mut update = self.update.lock().unwrap_or_else(PoisonError::into_inner);
        *update = next(*update);
        self.changed.notify_all();
    }

    /// The update begins now.
    pub fn begin(&self) -> Result<()> {
        let from = Journal::count(&self.path)?;
        self.set(|_| Update::UnderWay(Some(from)));
        Ok(())
    }

    /// It is confirmed.
    pub fn end(&self) -> Result<()> {
        let to = Journal::count(&self.path)?;
        self.set(|update| match update {
            Update::UnderWay(Some(from)) => Update::Done(from, to),
            other => other,
        });
        Ok(())
    }

    /// Whoever records has ended: what is not confirmed by now never will be.
    pub fn close(&self) {
        self.set(|update| if let Update::UnderWay(_) = update { Update::None } else { update });
    }

    /// Waits until the update is confirmed; gives where it is, or that nobody has recorded one.
    fn window(&self, stop: &Stop) -> Result<Option<(usize, usize)>> {
        let mut update = self.update.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *update {
                Update::Done(from, to) => return Ok(Some((from, to))),
                Update::None => return Ok(None),
                Update::UnderWay(_) => {}
            }
            stop.check()?;
            update = self.changed.wait_timeout(update, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A cut: after so many writes, with or without what was in the disk's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    /// From 1.
    number: usize,
    after: usize,
    loses_cache: bool,
}

/// Makes the disks and starts machines on them: one at a time, and two from when nothing runs in the lab any more.
pub fn run(stage: &Stage<'_>, held: &mut Held, in_lab_done: &AtomicBool) -> Result<()> {
    let (from, to) = match stage.recording().window(stage.stop)? {
        Some(window) => window,
        None => record(stage)?,
    };
    let journal = Journal::read(&stage.recording().path)?;
    let cuts = choose(&journal.entries, from, to)?;
    let next = AtomicUsize::new(0);
    let results = Mutex::new((held, 0));
    let take = || cuts.get(next.fetch_add(1, Ordering::Relaxed)).copied();
    let worker = |dir: &str| -> Result<()> {
        let dir = stage.dir.join(dir);
        while let Some(cut) = take() {
            stage.stop.check()?;
            let outcome = one(stage, &journal, cut, &dir);
            let what = format!(
                "cut {} of {}, after write {} of {}{}",
                cut.number,
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
    };
    std::thread::scope(|scope| -> Result<()> {
        let second = scope.spawn(|| {
            while !in_lab_done.load(Ordering::Relaxed) && next.load(Ordering::Relaxed) < cuts.len() {
                stage.stop.pause(LOOK)?;
            }
            worker("cut-1")
        });
        let first = worker("cut-0");
        second.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?.and(first)
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
fn record(stage: &Stage<'_>) -> Result<(usize, usize)> {
    let dir = stage.dir.join("recorded");
    empty_disk(&stage.images.first.disk, &dir)?;
    let _wires = Wires::lay(&dir)?;
    let recording = stage.recording();
    let how = Start { journal: Some(&recording.path), ..Start::default() };
    let mut machine = Machine::start(&dir, &how, stage.stop)?;
    machine.await_forwarding()?;
    let from = Journal::count(&recording.path)?;
    machine.stick(&stage.images.second.bundle, "glassgate.raucb")?;
    machine.console.expect(&["is installed"], 0, INSTALL, stage.stop)?;
    machine.console.expect(&["is confirmed"], 0, INSTALL + BOOT, stage.stop)?;
    let to = Journal::count(&recording.path)?;
    machine.cut();
    Ok((from, to))
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
        .map(|(n, write)| Cut { number: n + 1, after: write + 1, loses_cache: n % 2 == 1 })
        .collect())
}

/// The disk of a cut, and what a machine makes of it.
fn one(stage: &Stage<'_>, journal: &Journal, cut: Cut, dir: &Path) -> Result<String> {
    empty_disk(&stage.images.first.disk, dir)?;
    let disk = File::options().write(true).open(dir.join("disk.img"))?;
    let certain = if cut.loses_cache { journal.flushed(cut.after) } else { cut.after };
    journal.apply(&disk, 0, certain, || true)?;
    let mut coin = Coin(cut.number as u64);
    journal.apply(&disk, certain, cut.after, || coin.toss())?;
    drop(disk);
    let mut wires = Wires::lay(dir)?;
    let machine = Machine::start(dir, &Start { one_cpu: true, ..Start::default() }, stage.stop)?;
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
