//! Several lcores on real interfaces: by the kernel's distribution where it keeps flows whole, by a distributor of our own
//! where it doesn't.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Tried, accounted};
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::demo::scenario::ROUND;
use crate::demo::{round, verify};
use crate::lab::Lab;
use crate::stop::Stop;

/// A round of transfers with several lcores, on packet sockets and on XDP sockets. With three CPUs a distributor has two lcores to
/// choose from; with two, one.
pub fn run(lab: &mut Lab, binary: &Path, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let lcores = std::thread::available_parallelism()?.get().clamp(2, 3);
    let setup = Setup { cpus: (0..lcores).collect(), ..Setup::default() };
    for (driver, how) in [(Driver::AfPacket, "the kernel's fanout"), (Driver::AfXdp, "a distributor")] {
        let gateway = Gateway::start_as(lab, binary, driver, &setup, stop)?;
        let log = std::fs::read_to_string(gateway.log())?;
        let distributed = log.contains("a distributor spreads the frames");
        let word = driver.word();
        tried.hold(
            &format!("{lcores} lcores on {word}"),
            distributed == (driver == Driver::AfXdp),
            format!("served by {}", if distributed { "a distributor" } else { "a queue each" }),
        );
        let before = gateway.now()?;
        lab.start_captures()?;
        let outcome = round::drive(lab, stop)?;
        let frames = lab.compare_captures()?;
        tried.hold(
            &format!("transfers through {word} and {how}"),
            outcome.failed.is_empty() && frames.is_clean(),
            format!("{}; {}", outcome.words(), frames.words()),
        );
        match verify::counted(&gateway, &before, &ROUND, Duration::from_secs(10), stop) {
            Ok(now) => {
                let flows: Vec<u64> = now.lcores.iter().map(|lcore| lcore.flows_active).collect();
                // A distributor has none of its own.
                let fine = flows.len() == lcores
                    && flows.iter().filter(|flows| **flows > 0).count() == lcores - usize::from(distributed);
                tried.hold(
                    &format!("each flow named, on {word}"),
                    fine,
                    format!("flows of the lcores: {flows:?}"),
                );
            }
            Err(why) => tried.hold(&format!("each flow named, on {word}"), false, format!("{why:#}")),
        }
        let (fine, words) = accounted(&gateway.now()?);
        tried.hold("every frame is accounted for", fine, words);
    }
    Ok(())
}
