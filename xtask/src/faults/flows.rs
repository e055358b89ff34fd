//! More flows than there is room for: from everywhere, and from one.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

use super::stage::{Stage, uses};
use crate::actions::stream::{joined, paced};
use crate::lab::Lab;
use crate::lab::devices::DEVICES;
use crate::process;
use crate::stop::Stop;

/// New flows a second: ten times a table of 65 536 in half a minute.
const A_SECOND: u32 = 20_000;
/// To whom: the router, which nobody told of the sources, and which answers none of them.
const TO: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Sources that nobody has; each stays below its share of the table.
const SOURCES: u32 = 2_000;

/// New flows, each from one of so many sources, for so long: how many.
fn flood(lab: &Lab, sources: u32, length: Duration, stop: &Stop) -> Result<u64> {
    let netns = lab.newcomer("flooder", "00:00:5e:00:53:f0")?;
    netns.ip("addr add 10.77.0.240/24 dev eth0")?;
    let until = Instant::now() + length;
    let stop = stop.clone();
    joined(netns.enter(move || {
        let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).context("a raw socket")?;
        paced(A_SECOND, until, |n| {
            stop.check()?;
            let (source, port) = (n as u32 % sources, 1024 + (n / u64::from(sources) % 64_000) as u16);
            let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 78, 0, 1)) + source);
            // A full queue of the sender is the sender's loss.
            _ = sendto(&raw, &datagram(from, TO, port), SendFlags::empty(), &SocketAddrV4::new(TO, 0));
            Ok(())
        })
    })?)
}

fn datagram(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> Vec<u8> {
    // The kernel fills in length, identification and checksum of the header; without one of UDP it goes as well.
    let ip = [0x45, 0, 0, 36, 0, 0, 0x40, 0, 64, 17, 0, 0];
    let udp = [port.to_be_bytes(), 9u16.to_be_bytes(), 16u16.to_be_bytes(), [0, 0]].concat();
    [&ip[..], &from.octets(), &to.octets(), &udp, &[0; 8]].concat()
}

/// Ten times as many as the table holds.
pub(super) fn table(stage: &mut Stage<'_>) -> Result<()> {
    let length = stage.size(Duration::from_secs(33), Duration::from_secs(600));
    let (_, gateway) = stage.both()?;
    let pid = gateway.pid_of("dataplane")?;
    let capacity: u64 = gateway.now()?.lcores.iter().map(|lcore| lcore.flows_capacity).sum();
    // What frames touch for the first time is touched.
    stage.beside(|lab, _, stop| flood(lab, SOURCES, Duration::from_secs(4), stop))?;
    let before = uses(pid)?;
    let (figures, (sent, fullest)) = stage.beside(|lab, gateway, stop| {
        let sent = flood(lab, SOURCES, length, stop)?;
        Ok((sent, gateway.now()?.lcores.iter().map(|lcore| lcore.flows_active).sum::<u64>()))
    })?;
    let after = uses(pid)?;
    let times = sent as f64 / capacity.max(1) as f64;
    let words =
        format!("{sent} in {:.0} s, {times:.1} times {capacity}; {fullest} in it", length.as_secs_f32());
    let full = fullest * 100 >= capacity * 95 && times >= 9.5;
    stage.found("new flows", words, "ten times the table, which is full", full);
    stage.unharmed(&figures);
    let words = format!("{} kB, then {} kB", before.resident_kib, after.resident_kib);
    let same = after.resident_kib.abs_diff(before.resident_kib) * 1000 <= before.resident_kib;
    stage.found("memory of the data plane", words, "the same, to a thousandth", same);
    stage.accounted()
}

/// One source opens as many as it can; others go on.
pub(super) fn source(stage: &mut Stage<'_>) -> Result<()> {
    // A gateway whose table is empty.
    stage.drop_gateway();
    stage.both()?;
    let length = stage.size(Duration::from_secs(8), Duration::from_secs(60));
    let (figures, (held, capacity, answered)) = stage.beside(|lab, gateway, stop| {
        let before: u64 = gateway.now()?.lcores.iter().map(|lcore| lcore.flows_active).sum();
        flood(lab, 1, length, stop)?;
        let now = gateway.now()?;
        let held = now.lcores.iter().map(|lcore| lcore.flows_active).sum::<u64>().saturating_sub(before);
        let capacity: u64 = now.lcores.iter().map(|lcore| lcore.flows_capacity).sum();
        let mut dig = lab.on(&DEVICES[0], "dig");
        dig.args(["+short", "+tries=1", "+time=3", "@10.77.0.1", "www.example.org"]);
        let done = process::run(&mut dig, &[], Duration::from_secs(10), stop)?;
        Ok((held, capacity, done.status.success()))
    })?;
    let share = held as f64 * 100.0 / capacity.max(1) as f64;
    let words = format!("{held} of {capacity}, {share:.1} %");
    stage.found("flows of one source", words, "10 % at most", share <= 10.1 && held > 1000);
    let words = if answered { "another device is answered" } else { "another device is not answered" };
    stage.found("others", words, "new flows as before", answered);
    stage.unharmed(&figures);
    stage.accounted()
}
