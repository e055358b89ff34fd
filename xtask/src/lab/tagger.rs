//! An 802.1Q access port in user space: untagged on one side, tagged on the other.
//!
//! The kernel can do this only with its `8021q` module, which small kernels lack. Two TAP interfaces joined by
//! two threads work on every kernel with TUN, and real clients sit on the untagged side. (A packet socket in
//! place of the tagged TAP would not do: the kernel takes the tag off before the socket sees the frame.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::devices::Vlan;
use super::netns::Netns;

/// How long a pump waits for a frame before it looks whether it shall end.
const TURN: Duration = Duration::from_millis(200);

/// Largest frame that crosses: MTU 1500, Ethernet header, two tags.
const MAX_FRAME: usize = 1522;

/// A running tagger. Its interfaces are gone when it is dropped.
pub struct Tagger {
    end: Arc<AtomicBool>,
    pumps: Vec<JoinHandle<()>>,
}

impl Tagger {
    /// Makes the TAP interfaces `plain` and `tagged`, each given as namespace and name, and joins them.
    pub fn start(vlan: &Vlan, plain: (&Netns, &'static str), tagged: (&Netns, &'static str)) -> Result<Self> {
        let (plain, tagged) = (Arc::new(tap(plain.0, plain.1)?), Arc::new(tap(tagged.0, tagged.1)?));
        let end = Arc::new(AtomicBool::new(false));
        let tags = vlan.tags;
        let mut pumps = Vec::new();
        for (name, from, to, change) in [
            (
                "tag",
                Arc::clone(&plain),
                Arc::clone(&tagged),
                push as fn(&[u8], &[(u16, u16)]) -> Option<Vec<u8>>,
            ),
            ("untag", tagged, plain, pop),
        ] {
            let end = Arc::clone(&end);
            let pump = move || pump(&from, &to, &end, |frame| change(frame, tags));
            pumps.push(std::thread::Builder::new().name(name.to_owned()).spawn(pump)?);
        }
        Ok(Self { end, pumps })
    }
}

impl Drop for Tagger {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for pump in self.pumps.drain(..) {
            drop(pump.join());
        }
    }
}

fn tap(netns: &Netns, name: &'static str) -> Result<SyncDevice> {
    let made = netns.enter(move || {
        let tap = DeviceBuilder::new().name(name).layer(Layer::L2).mtu(1500).enable(false).build_sync();
        let tap =
            tap.with_context(|| format!("cannot make the TAP interface {name} (is /dev/net/tun there?)"))?;
        tap.set_nonblocking(true)?;
        Ok(tap)
    })?;
    made.join().unwrap_or_else(|_| bail!("a thread panicked"))
}

fn pump(from: &SyncDevice, to: &SyncDevice, end: &AtomicBool, change: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let mut buffer = [0; 2048];
    while !end.load(Ordering::Relaxed) {
        match from.recv(&mut buffer) {
            // A frame that the interface will not take (it is down, or its queue is full) is lost, as on a wire.
            Ok(length) => drop(change(&buffer[..length]).map(|frame| to.send(&frame))),
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => {
                let turn = Timespec::try_from(TURN).ok();
                let _ = poll(&mut [PollFd::new(from, PollFlags::IN)], turn.as_ref());
            }
            // The interface is still down: poll would answer at once with an error.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The frame with `tags` behind its addresses, the first one outermost. `None` for a frame that is too long.
fn push(frame: &[u8], tags: &[(u16, u16)]) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(12)?;
    let tags = tags.iter().flat_map(|(tpid, vid)| [tpid.to_be_bytes(), vid.to_be_bytes()].concat());
    let tagged: Vec<u8> = addresses.iter().copied().chain(tags).chain(rest.iter().copied()).collect();
    (tagged.len() <= MAX_FRAME).then_some(tagged)
}

/// The frame without `tags`. `None` for a frame that has others: it belongs to another VLAN, or to none.
fn pop(frame: &[u8], tags: &[(u16, u16)]) -> Option<Vec<u8>> {
    let (addresses, mut rest) = frame.split_at_checked(12)?;
    for (tpid, vid) in tags {
        let (tag, behind) = rest.split_first_chunk::<4>()?;
        // The upper four bits of the second half are priority, which anybody on the way may have set.
        let [t0, t1, v0, v1] = *tag;
        if u16::from_be_bytes([t0, t1]) != *tpid || u16::from_be_bytes([v0, v1]) & 0x0fff != *vid {
            return None;
        }
        rest = behind;
    }
    Some([addresses, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &[u8] = b"\xff\xff\xff\xff\xff\xff\x00\x00\x5e\x00\x53\x31\x08\x00hello";

    #[test]
    fn tags_go_behind_the_addresses_and_come_off_again() {
        let tags = [(0x88a8, 7), (0x8100, 20)];
        let tagged = push(FRAME, &tags).unwrap();
        assert_eq!(&tagged[12..22], b"\x88\xa8\x00\x07\x81\x00\x00\x14\x08\x00");
        assert_eq!(pop(&tagged, &tags).unwrap(), FRAME);
    }

    #[test]
    fn a_priority_in_the_tag_does_not_matter() {
        let mut tagged = push(FRAME, &[(0x8100, 20)]).unwrap();
        tagged[14] |= 0xa0;
        assert_eq!(pop(&tagged, &[(0x8100, 20)]).unwrap(), FRAME);
    }

    #[test]
    fn frames_of_another_vlan_or_of_none_do_not_get_in() {
        assert_eq!(pop(FRAME, &[(0x8100, 20)]), None);
        assert_eq!(pop(&push(FRAME, &[(0x8100, 21)]).unwrap(), &[(0x8100, 20)]), None);
        assert_eq!(pop(b"short", &[(0x8100, 20)]), None);
    }
}
