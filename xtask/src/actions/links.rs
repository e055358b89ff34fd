//! Link-state propagation: a cable that is pulled on one side is seen on the other.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Tried, accounted};
use crate::demo::gateway::{Driver, Gateway, Setup};
use crate::lab::Lab;
use crate::lab::netns::Netns;
use crate::process;
use crate::stop::Stop;

/// A link is passed on after half a second.
const LIMIT: Duration = Duration::from_secs(5);

/// Pulls the cable on each side, and puts it back.
pub fn run(lab: &Lab, binary: &Path, driver: Driver, tried: &mut Tried<'_>, stop: &Stop) -> Result<()> {
    let setup = Setup { propagate_link: true, ..Setup::default() };
    let gateway = Gateway::start_as(lab, binary, driver, &setup, stop)?;
    for (pulled, other, what) in [(&lab.wan, &lab.lan, "uplink"), (&lab.lan, &lab.wan, "LAN")] {
        pulled.ip("link set dev uplink down")?;
        let took = await_carrier(other, false, stop)?;
        tried.hold(
            &format!("the {what} loses its link"),
            took.is_some(),
            took.map_or("the other side does not notice".to_owned(), |t| {
                format!("the other side sees it after {t:.1?}")
            }),
        );
        let troubles = await_trouble(&gateway, stop)?;
        tried.hold(
            &format!("the {what} without a link is a trouble"),
            troubles.contains("has no link"),
            troubles,
        );
        pulled.ip("link set dev uplink up")?;
        let took = await_carrier(other, true, stop)?;
        let passes = lab.await_path(Duration::from_secs(10));
        tried.hold(
            &format!("the {what} has a link again"),
            took.is_some() && passes.is_ok(),
            took.map_or("the other side does not get its own".to_owned(), |t| {
                format!("the other side has its own after {t:.1?}, frames pass")
            }),
        );
    }
    let (fine, words) = accounted(&gateway.now()?);
    tried.hold("every frame is accounted for", fine, words);
    Ok(())
}

/// What the gateway says is wrong, once it says something.
fn await_trouble(gateway: &Gateway, stop: &Stop) -> Result<String> {
    let started = Instant::now();
    loop {
        let troubles = gateway.now()?.troubles.join("; ");
        if !troubles.is_empty() || started.elapsed() > LIMIT {
            return Ok(troubles);
        }
        stop.pause(Duration::from_millis(50))?;
    }
}

/// How long it took until the cable to the gateway is as wanted, on this side.
fn await_carrier(netns: &Netns, wanted: bool, stop: &Stop) -> Result<Option<Duration>> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        let mut ip = netns.command("ip");
        let shown = process::capture(ip.args(["-oneline", "link", "show", "dev", "uplink"]))?;
        if shown.contains("LOWER_UP") == wanted {
            return Ok(Some(started.elapsed()));
        }
        stop.pause(Duration::from_millis(20))?;
    }
    Ok(None)
}
