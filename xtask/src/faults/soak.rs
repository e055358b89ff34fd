//! A day like any other: frames, reloads, somebody who looks at the page; and what the processes use meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::stage::{Stage, Uses, uses};
use crate::actions::stream::{Figures, Stream};
use crate::demo::api;
use crate::lab::devices::DEVICES;

const PROCESSES: [&str; 3] = ["guard", "dataplane", "control"];
/// A stream is not longer: what it remembers of each datagram is kept until its end.
const STREAM_FOR: Duration = Duration::from_secs(600);
const VIEWS: [&str; 5] = ["/", "/traffic", "/log", "/api/v1/now", "/metrics"];

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let hours = stage.options.hours;
    let length = hours.map_or_else(
        || stage.size(Duration::from_secs(60), Duration::from_secs(8 * 3600)),
        |hours| Duration::from_secs_f64(hours * 3600.0),
    );
    let stop = stage.stop;
    let (lab, gateway) = stage.both()?;
    let pids = PROCESSES.map(|name| gateway.pid_of(name));
    let pids: Vec<u32> = pids.into_iter().collect::<Result<_>>()?;
    let began = Instant::now();
    let mut streams = Figures::default();
    let mut stream = Stream::flow(lab, &DEVICES[2], 2000)?;
    let (mut reloads, mut views, mut refused, mut since) = (0u32, 0u32, 0u32, Instant::now());
    let mut samples: Vec<(f64, Vec<Uses>)> = Vec::new();
    while began.elapsed() < length {
        if since.elapsed() > STREAM_FOR {
            add(&mut streams, &stream.end()?);
            stream = Stream::flow(lab, &DEVICES[2], 2000)?;
            since = Instant::now();
        }
        if began.elapsed().as_secs() / 5 >= u64::from(reloads) {
            let rule = format!(
                "[[rule]]\nname = \"no-{}\"\nmatch = {{ category = [\"games\"] }}\naction = \"block\"\n\
                 state = \"enforce\"\nowner = \"net\"\npurpose = \"conduct\"\n",
                reloads % 7
            );
            refused += u32::from(gateway.enforce(&rule, stop).is_err());
            reloads += 1;
        }
        let view = VIEWS[views as usize % VIEWS.len()];
        refused += u32::from(api::get(gateway.address(), view).is_err());
        views += 1;
        let used = pids.iter().map(|pid| uses(*pid)).collect::<Result<_>>()?;
        samples.push((began.elapsed().as_secs_f64(), used));
        stop.pause(Duration::from_millis(500))?;
    }
    gateway.enforce("", stop)?;
    add(&mut streams, &stream.end()?);
    stage.unharmed(&streams);
    let words = format!("{reloads} reloads, {views} views, {refused} refused");
    stage.found("what was asked for", words, "all of it given", refused == 0);
    // The first part is for what is taken once: histories that fill, caches.
    let from = samples.len() / 3;
    for (at, name) in PROCESSES.into_iter().enumerate() {
        let points: Vec<(f64, f64)> =
            samples[from..].iter().map(|(time, used)| (*time, used[at].resident_kib as f64)).collect();
        let line = Line::through(&points);
        let level = points.first().map_or(1.0, |(_, kib)| *kib);
        let a_day = line.slope * 86_400.0 / level * 100.0;
        let spread = line.error * 86_400.0 / level * 100.0;
        let grown = points.last().map_or(0.0, |(_, kib)| kib - level);
        let words = format!("{level:.0} kB, {grown:+.0} kB, {a_day:+.1} % a day, give or take {spread:.1}");
        // Minutes can't tell a slope of a per cent a day from a page: there the growth itself is bounded.
        let is_long = length >= Duration::from_secs(3600);
        let fine = if is_long { line.slope <= line.error || a_day <= 1.0 } else { grown <= 2048.0 };
        let goal =
            if is_long { "slope 0 within its error, or 1 % a day" } else { "2 MiB at most in this time" };
        stage.found(&format!("memory of {name}"), words, goal, fine);
        let open = samples[from..].iter().map(|(_, used)| used[at].descriptors);
        let (least, most) = (open.clone().min().unwrap_or_default(), open.max().unwrap_or_default());
        let words = format!("{least} to {most}");
        // The page has a socket for each that asks, and a file for what it reads.
        let room = if name == "control" { 8 } else { 0 };
        let goal = if name == "control" { "8 come and go at most" } else { "always as many" };
        stage.found(&format!("descriptors of {name}"), words, goal, most - least <= room);
    }
    stage.accounted()
}

fn add(sum: &mut Figures, one: &Figures) {
    sum.sent += one.sent;
    sum.received += one.received;
    sum.wrong += one.wrong;
    sum.twice += one.twice;
    sum.p50 = sum.p50.max(one.p50);
    sum.p99 = sum.p99.max(one.p99);
    sum.longest = sum.longest.max(one.longest);
}

/// A line through points: its slope, and how far that may be off, 95 times of 100.
#[derive(Clone, Copy, Debug)]
struct Line {
    slope: f64,
    error: f64,
}

impl Line {
    fn through(points: &[(f64, f64)]) -> Self {
        let n = points.len() as f64;
        if points.len() < 3 {
            return Self { slope: 0.0, error: f64::INFINITY };
        }
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let sxx: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
        let sxy: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
        let slope = sxy / sxx;
        let rest: f64 = points.iter().map(|p| (p.1 - y - slope * (p.0 - x)).powi(2)).sum();
        Self { slope, error: 1.96 * (rest / (n - 2.0) / sxx).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_so_is_none() {
        let rising: Vec<_> = (0..100).map(|n| (f64::from(n), 7.0 + 2.0 * f64::from(n))).collect();
        let line = Line::through(&rising);
        assert!((line.slope - 2.0).abs() < 1e-9 && line.error < 1e-6, "{line:?}");
        let level: Vec<_> = (0..100).map(|n| (f64::from(n), f64::from(n * 7919 % 11))).collect();
        let line = Line::through(&level);
        assert!(line.slope.abs() <= line.error, "{line:?}");
    }
}
