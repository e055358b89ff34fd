//! One round: every device does its acts, all devices at the same time.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::clients;
use super::scenario::{Act, ROUND};
use crate::lab::Lab;
use crate::lab::devices::DEVICES;
use crate::stop::{Interrupted, Stop};
use crate::ui;

/// How a round went.
#[derive(Default)]
pub struct Outcome {
    /// Acts that ended well.
    pub passed: usize,
    /// Acts that did not, with the reason.
    pub failed: Vec<(Act, String)>,
    /// Bytes of payload that were compared at both ends.
    pub bytes: usize,
    /// How long the round took.
    pub took: Duration,
}

/// Drives a round and prints a line for every act as it ends. An error only when the user asks to end.
pub fn drive(lab: &Lab, stop: &Stop) -> Result<Outcome> {
    let started = Instant::now();
    let (tell, told) = std::sync::mpsc::channel();
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        for device in &DEVICES {
            let tell = tell.clone();
            scope.spawn(move || {
                for act in ROUND.iter().filter(|act| act.device == device.name) {
                    if stop.asked() {
                        return;
                    }
                    let result = clients::perform(act, lab, stop);
                    drop(tell.send((act, result)));
                }
            });
        }
        drop(tell);
        for (act, result) in told {
            match result {
                Ok(took) => {
                    outcome.passed += 1;
                    outcome.bytes += act.client.payload();
                    ui::line(format_args!(
                        "  {} {} {}",
                        ui::green("ok"),
                        act.words(),
                        ui::dim(format_args!("{took:.0?}"))
                    ));
                }
                Err(why) if why.is::<Interrupted>() => {}
                Err(why) => {
                    ui::line(format_args!("  {} {}\n     {why:#}", ui::red("FAILED"), act.words()));
                    outcome.failed.push((*act, format!("{why:#}")));
                }
            }
        }
    });
    stop.check()?;
    outcome.took = started.elapsed();
    Ok(outcome)
}

impl Outcome {
    /// A line about the round.
    pub fn words(&self) -> String {
        let all = self.passed + self.failed.len();
        format!("{} of {all} transfers, {} compared at both ends", self.passed, ui::bytes(self.bytes as u64))
    }
}
