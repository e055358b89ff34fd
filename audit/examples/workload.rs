//! Writes a log and says over the socket that is its standard output what it is about to offer (`o`) and what was acknowledged (`a`: all
//! before, `A`: an act) or not (`R`: an act), so that a test can kill it at any system call, or fail any,
//! and hold what it was told against what is there.
//!
//! It speaks by `sendto`, which the log itself never calls.

use glassgate_audit::{Clock, Log, Options, Stamp};
use rustix::net::{SendFlags, send};
use std::path::Path;
use std::time::{Duration, Instant};

struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now(&self) -> Stamp {
        stamp(self.0.elapsed().as_nanos() as u64)
    }
}

const fn stamp(mono_ns: u64) -> Stamp {
    Stamp { mono_ns, wall: None, quality: "unknown" }
}

fn say(kind: u8, n: u64) {
    let mut message = vec![kind];
    message.extend_from_slice(&n.to_le_bytes());
    // Whoever listened may have gone.
    _ = send(std::io::stdout(), &message, SendFlags::NOSIGNAL);
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(records)) = (args.next(), args.next().and_then(|n| n.parse::<u64>().ok())) else {
        eprintln!("usage: workload FOLDER RECORDS [FIRST]");
        std::process::exit(2);
    };
    let first = args.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let options = Options {
        segment_bytes: 256 << 10,
        reserve_bytes: 256 << 10,
        checkpoint_every: Duration::from_millis(5),
        group_delay: Duration::from_millis(1),
        tally: Some(Path::new(&folder).join("tally")),
        ..Options::new(folder)
    };
    let (log, _) = Log::open(options, 7, Monotonic(Instant::now())).unwrap_or_else(|e| {
        eprintln!("{e}");
        std::process::exit(3);
    });
    let pad = "x".repeat(250);
    for n in first..first + records {
        let body = format!("{{\"event_type\":\"said\",\"n\":{n},\"pad\":\"{pad}\"}}");
        say(b'o', n);
        if n % 50 == 49 {
            let taken = log.act(&stamp(n), body.as_bytes(), Duration::from_secs(20)).is_ok();
            say(if taken { b'A' } else { b'R' }, n);
        } else {
            log.append(&stamp(n), body.as_bytes());
        }
        if n % 200 == 199 && log.flush(Duration::from_secs(20)).is_ok() && log.status().lost == 0 {
            say(b'a', n);
        }
    }
    log.close(Duration::from_secs(20));
}
