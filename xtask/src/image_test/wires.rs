//! The two ports of a machine as datagram sockets of this program: a numbered frame in by one has to come out by the other. Needs no network of
//! the host, so several machines run side by side.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::stop::Stop;

const EVERY: Duration = Duration::from_millis(100);
/// An EtherType for experiments, that nobody answers to.
const TYPE: [u8; 2] = [0x88, 0xb5];

/// A port of the machine, as QEMU is told of it.
pub fn netdev(name: &str, dir: &Path) -> String {
    let at = |end: &str| dir.join(format!("{name}.{end}")).display().to_string();
    format!(
        "dgram,id={name},local.type=unix,local.path={},remote.type=unix,remote.path={}",
        at("machine"),
        at("test")
    )
}

/// Both ports.
pub struct Wires {
    sockets: [(UnixDatagram, PathBuf); 2],
    number: u32,
}

impl Wires {
    /// Before the machine is switched on.
    pub fn lay(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir)?;
        let socket = |name: &str| -> Result<(UnixDatagram, PathBuf)> {
            let [ours, theirs] = ["test", "machine"].map(|end| dir.join(format!("{name}.{end}")));
            drop(std::fs::remove_file(&ours));
            drop(std::fs::remove_file(&theirs));
            let socket = UnixDatagram::bind(&ours)?;
            socket.set_nonblocking(true)?;
            Ok((socket, theirs))
        };
        Ok(Self { sockets: [socket("lan")?, socket("uplink")?], number: 0 })
    }

    /// Waits until a frame of each side has come out on the other one.
    pub fn await_passing(&mut self, limit: Duration, stop: &Stop) -> Result<()> {
        let end = Instant::now() + limit;
        let mut passed = [false; 2];
        while passed != [true; 2] {
            if Instant::now() > end {
                bail!("no frame passed within {limit:?} ({passed:?} by LAN and uplink)");
            }
            self.number += 1;
            for (side, (socket, to)) in self.sockets.iter().enumerate() {
                // Before QEMU is there, nobody takes it.
                drop(socket.send_to(&frame(side as u8, self.number), to));
            }
            stop.pause(EVERY)?;
            let mut buffer = [0; 2048];
            for (side, (socket, _)) in self.sockets.iter().enumerate() {
                while let Ok(n) = socket.recv(&mut buffer) {
                    passed[side] |= is_of(&buffer[..n], 1 - side as u8);
                }
            }
        }
        Ok(())
    }
}

/// To a host that nobody is, from one on this side.
fn frame(side: u8, number: u32) -> Vec<u8> {
    let [to, from] = [1 - side, side].map(|side| [0x02, 0x67, 0x67, 0, 0, side + 1]);
    let mut frame = [&to[..], &from, &TYPE, &number.to_be_bytes()].concat();
    frame.resize(60, 0);
    frame
}

fn is_of(frame: &[u8], side: u8) -> bool {
    frame.get(12..14) == Some(&TYPE) && frame.get(11) == Some(&(side + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_both_sides_have_to_pass() {
        let dir = tempfile::tempdir().unwrap();
        let mut wires = Wires::lay(dir.path()).unwrap();
        let machine = |name: &str| UnixDatagram::bind(dir.path().join(format!("{name}.machine"))).unwrap();
        let (lan, uplink) = (machine("lan"), machine("uplink"));
        let stop = Stop::install().unwrap();
        assert!(wires.await_passing(Duration::ZERO, &stop).is_err());
        // A bridge of one direction is none.
        uplink.send_to(&frame(0, 1), dir.path().join("uplink.test")).unwrap();
        assert!(wires.await_passing(Duration::from_millis(1), &stop).is_err());
        uplink.send_to(&frame(0, 2), dir.path().join("uplink.test")).unwrap();
        lan.send_to(&frame(1, 2), dir.path().join("lan.test")).unwrap();
        wires.await_passing(Duration::from_secs(60), &stop).unwrap();
        assert!(!is_of(&frame(0, 1), 1) && !is_of(&[], 0));
    }
}
