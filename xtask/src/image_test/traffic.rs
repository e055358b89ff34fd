//! Pings at a known rate: what is lost is counted, and how long the longest silence was follows from it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::lab::devices::DEVICES;
use crate::process::Daemon;

/// The router, on the far side of the machine.
pub const ROUTER: &str = "10.77.0.1";

/// Pings under way.
pub struct Pings {
    ping: Daemon,
    every: Duration,
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Sent, as far as answers tell: the number of the last answer.
    pub sent: u64,
    /// Not answered, between the first answer and the last.
    pub lost: u64,
    /// Answered twice.
    pub double: u64,
    /// Runs of lost ones, longest first.
    pub silences: Vec<u64>,
    /// The number of the first answer.
    pub first: u64,
}

impl Pings {
    /// Starts to ping the router from a desk.
    pub fn start(lab: &Lab, every: Duration, dir: &Path) -> Result<Self> {
        let mut ping = lab.on(&DEVICES[0], "ping");
        ping.args(["-n", "-i", &format!("{:.3}", every.as_secs_f64()), ROUTER]);
        Ok(Self { ping: Daemon::start("ping", &ping, &dir.join("ping.log"))?, every })
    }

    /// Waits for the first answer.
    pub fn await_first(&mut self, limit: Duration, stop: &crate::stop::Stop) -> Result<()> {
        self.ping.await_line("bytes from", limit, stop).map(drop)
    }

    /// Ends them and counts.
    pub fn end(mut self) -> Result<Outcome> {
        let log = self.ping.log().to_owned();
        self.ping.end(Duration::from_secs(5));
        let text = std::fs::read_to_string(&log).with_context(|| log.display().to_string())?;
        Ok(count(&text))
    }

    /// How long a run of lost pings was.
    pub fn time_of(&self, lost: u64) -> Duration {
        self.every * u32::try_from(lost).unwrap_or(u32::MAX)
    }
}

fn count(text: &str) -> Outcome {
    let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse::<u64>().ok();
    let answers = || text.lines().filter(|line| line.contains("bytes from"));
    let double = answers().filter(|line| line.contains("DUP")).count() as u64;
    let mut seen: Vec<u64> = answers().filter(|line| !line.contains("DUP")).filter_map(number).collect();
    seen.sort_unstable();
    seen.dedup();
    let mut silences: Vec<u64> =
        seen.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|lost| *lost > 0).collect();
    silences.sort_unstable_by(|a, b| b.cmp(a));
    Outcome {
        sent: seen.last().copied().unwrap_or(0),
        first: seen.first().copied().unwrap_or(0),
        lost: silences.iter().sum(),
        double,
        silences,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silences_follow_from_numbers() {
        let line =
            |n: u64, more: &str| format!("64 bytes from 10.77.0.1: icmp_seq={n} ttl=64 time=1.2 ms{more}\n");
        let text = [
            line(3, ""),
            line(4, ""),
            line(4, " (DUP!)"),
            line(8, ""),
            line(10, ""),
            "no answer yet\n".to_owned(),
        ]
        .concat();
        let outcome = count(&text);
        assert_eq!((outcome.sent, outcome.first, outcome.lost, outcome.double), (10, 3, 4, 1));
        assert_eq!(outcome.silences, [3, 1]);
        assert_eq!(count(""), Outcome::default());
    }
}
