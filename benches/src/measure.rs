//! How a figure is taken: contestants in turns on one CPU, CPU time of the thread, median of the rounds.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// How many rounds, and how long each contestant runs in one.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds; the median of them counts.
    pub rounds: usize,
    /// Time of one contestant in one round.
    pub time: Duration,
    /// Only shows that everything runs: sizes are small, figures mean nothing.
    pub quick: bool,
}

/// One of those that are compared. `run` works for about the time that it is given, and says what a unit cost.
pub struct Contestant<'a> {
    /// What it is called in the table.
    pub name: &'static str,
    /// Runs once.
    pub run: Box<dyn FnMut(Duration) -> Result<f64> + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant.
    pub fn new(name: &'static str, run: impl FnMut(Duration) -> Result<f64> + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }

    /// One whose `turn` does a batch of work and says how many units that was: nanoseconds of the thread's CPU time a
    /// unit.
    pub fn timed(name: &'static str, mut turn: impl FnMut() -> u64 + 'a) -> Self {
        Self::new(name, move |time| Ok(ns_per_unit(time, &mut turn)))
    }
}

/// What came out for one contestant.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// Median of the rounds.
    pub median: f64,
    /// Least of the rounds.
    pub min: f64,
    /// Most of the rounds.
    pub max: f64,
}

impl Figure {
    /// What came out of these rounds, if there were any.
    pub fn of(name: &'static str, mut rounds: Vec<f64>) -> Option<Self> {
        rounds.sort_by(f64::total_cmp);
        let (min, max) = rounds.first().copied().zip(rounds.last().copied())?;
        Some(Self { name, median: *rounds.get(rounds.len() / 2)?, min, max })
    }
}

/// Lets the contestants run in turns. The order turns round from one round to the next, so that nobody always runs on
/// what somebody else left in the caches.
pub fn alternate(effort: Effort, contestants: &mut [Contestant<'_>]) -> Result<Vec<Figure>> {
    let mut samples = vec![Vec::new(); contestants.len()];
    for round in 0..effort.rounds.max(1) {
        for step in 0..contestants.len() {
            let at = if round % 2 == 0 { step } else { contestants.len() - 1 - step };
            let sample = (contestants[at].run)(effort.time)?;
            samples[at].push(sample);
        }
    }
    Ok(contestants.iter().zip(samples).filter_map(|(who, rounds)| Figure::of(who.name, rounds)).collect())
}

/// Nanoseconds of the thread's CPU time for each unit of work that `turn` says it did. One turn warms up.
pub fn ns_per_unit(time: Duration, turn: &mut dyn FnMut() -> u64) -> f64 {
    turn();
    let (start, begun, mut units) = (thread_ns(), Instant::now(), 0);
    while begun.elapsed() < time {
        units += turn();
    }
    (thread_ns() - start) / units.max(1) as f64
}

/// CPU time of the calling thread, nanoseconds.
pub fn thread_ns() -> f64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as f64 * 1e9 + t.tv_nsec as f64
}

/// The clock that lcores live by, nanoseconds.
pub fn mono_ns() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_runs_in_every_round_and_the_median_counts() {
        let mut values = [9.0, 1.0, 5.0].into_iter();
        let mut runs = 0;
        let effort = Effort { rounds: 3, time: Duration::ZERO, quick: true };
        let mut contestants = [
            Contestant::new("a", |_| Ok(values.next().unwrap_or(0.0))),
            Contestant::new("b", |_| {
                runs += 1;
                Ok(f64::from(runs))
            }),
        ];
        let figures = alternate(effort, &mut contestants).unwrap();
        assert_eq!((figures[0].median, figures[0].min, figures[0].max), (5.0, 1.0, 9.0));
        assert_eq!((figures[1].name, figures[1].median), ("b", 2.0));
    }
}
