//! Frames that make an inspector panic, through a gateway that was built to.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::Result;

use super::stage::{Stage, await_now, setup};
use crate::actions::canary;
use crate::actions::stream::{joined, paced_while};
use crate::lab::devices::DEVICES;

/// What asks an inspector of that build to panic.
const MAGIC: &[u8] = b"panic, on purpose";
const A_SECOND: u32 = 5_000;

/// Each in a flow of its own, beside the stream.
pub(super) fn panics(stage: &mut Stage<'_>) -> Result<()> {
    stage.drop_gateway();
    let stop = stage.stop;
    let log = stage.lab()?.dir().join("build.log");
    let faulty = canary::build(stop, &log)?;
    let count: u64 = stage.size(20_000, 100_000);
    stage.start_binary(&faulty, &setup())?;
    let (figures, (panics, same)) = stage.beside(|lab, gateway, stop| {
        let pid = gateway.pid_of("dataplane")?;
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let going = {
            let (sent, stop) = (sent.clone(), stop.clone());
            move || sent.load(std::sync::atomic::Ordering::Relaxed) < count && !stop.asked()
        };
        let sends = lab.netns(&DEVICES[0]).enter(move || {
            // A flow each: other ports on both sides.
            let sockets: Vec<UdpSocket> =
                (0..100).map(|_| UdpSocket::bind("10.77.0.11:0")).collect::<std::io::Result<_>>()?;
            paced_while(A_SECOND, going, |n| {
                let n = n as usize;
                // The router may say that nobody is there.
                _ = sockets[n % sockets.len()]
                    .send_to(MAGIC, ("10.77.0.1", 10_000 + (n / sockets.len()) as u16));
                sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            })
        })?;
        let sent = joined(sends)?;
        // What the share of the source kept out has no flow, and so nobody to panic over.
        await_now(gateway, "the frames were seen", stop, |now| now.is_ready())?;
        stop.pause(Duration::from_secs(1))?;
        let panics: u64 = gateway.now()?.lcores.iter().map(|lcore| lcore.panics).sum();
        Ok(((panics, sent), gateway.pid_of("dataplane")? == pid))
    })?;
    let (contained, sent) = panics;
    let words = format!("{contained} panics contained of {sent} frames; the rest had no flow");
    let fine = same && contained >= sent.min(6_000);
    stage.found("panics", words, "each ends with its frame, and the lcore goes on", fine);
    stage.unharmed(&figures);
    let (_, gateway) = stage.both()?;
    let (fine, words) = crate::actions::accounted(&gateway.now()?);
    stage.found("frames of both ports", words, "each is accounted for", fine);
    stage.drop_gateway();
    Ok(())
}
