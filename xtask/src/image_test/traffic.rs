//! Pings at a known rate. What is lost is counted; how long nothing passed is told by the times at which answers came, since a frame that waits in a
//! queue of the emulator while a port changes hands is late there, and lost on a cable.

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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Sent, as far as answers tell: the number of the last answer.
    pub sent: u64,
    /// Not answered, between the first answer and the last.
    pub lost: u64,
    /// Answered twice.
    pub double: u64,
    /// The longest time between two answers, less that between two pings.
    pub silence: Duration,
    /// When answers came, in seconds since 1970.
    pub times: Vec<f64>,
    /// Between two pings.
    pub every: Duration,
    /// The number of the first answer.
    pub first: u64,
}

impl Pings {
    /// Starts to ping the router from a desk.
    pub fn start(lab: &Lab, every: Duration, dir: &Path) -> Result<Self> {
        let mut ping = lab.on(&DEVICES[0], "ping");
        ping.args(["-n", "-D", "-i", &format!("{:.3}", every.as_secs_f64()), ROUTER]);
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
        Ok(count(&text, self.every))
    }
}

fn count(text: &str, every: Duration) -> Outcome {
    let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse::<u64>().ok();
    let time = |line: &str| line.strip_prefix('[')?.split(']').next()?.parse::<f64>().ok();
    let answers = || text.lines().filter(|line| line.contains("bytes from"));
    let double = answers().filter(|line| line.contains("DUP")).count() as u64;
    let mut seen: Vec<u64> = answers().filter(|line| !line.contains("DUP")).filter_map(number).collect();
    seen.sort_unstable();
    seen.dedup();
    let times: Vec<f64> = answers().filter_map(time).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    Outcome {
        sent: seen.last().copied().unwrap_or(0),
        first: seen.first().copied().unwrap_or(0),
        lost: seen.windows(2).map(|pair| pair[1] - pair[0] - 1).sum(),
        double,
        silence: Duration::from_secs_f64(longest).saturating_sub(every),
        times,
        every,
    }
}

impl Outcome {
    /// The longest silence that began in a time, in milliseconds, and when it was over.
    pub fn silence_in(&self, from: f64, to: f64) -> (u64, f64) {
        let within = self.times.windows(2).filter(|pair| (from..to).contains(&pair[0]));
        let longest = within.max_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0])));
        longest.map_or((0, from), |pair| {
            let ms = (pair[1] - pair[0] - self.every.as_secs_f64()).max(0.0) * 1000.0;
            (ms.round() as u64, pair[1])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silences_follow_from_times() {
        let line = |at: f64, n: u64, more: &str| {
            format!("[{at:.6}] 64 bytes from 10.77.0.1: icmp_seq={n} ttl=64 time=1.2 ms{more}\n")
        };
        let text = [
            line(10.0, 3, ""),
            line(10.1, 4, ""),
            line(10.1, 4, " (DUP!)"),
            // It waited in a queue: late, not lost.
            line(12.5, 8, ""),
            line(12.6, 10, ""),
            "no answer yet\n".to_owned(),
        ]
        .concat();
        let outcome = count(&text, Duration::from_millis(100));
        assert_eq!((outcome.sent, outcome.first, outcome.lost, outcome.double), (10, 3, 4, 1));
        assert_eq!(outcome.silence.as_millis(), 2300);
        assert_eq!(outcome.silence_in(10.05, 13.0), (2300, 12.5));
        assert_eq!(outcome.silence_in(12.5, 13.0).0, 0);
        assert_eq!(outcome.silence_in(20.0, 30.0), (0, 20.0));
        assert_eq!(count("", Duration::ZERO), Outcome::default());
    }
}
