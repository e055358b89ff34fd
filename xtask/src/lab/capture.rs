//! Captures of both uplinks by tcpdump, and their comparison: which frames did not come out as they went in?

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use pcap_file::pcap::PcapReader;
use rustix::process::Signal;

use super::devices::DEVICES;
use super::netns::Netns;
use super::payload::sha256;
use crate::process::Daemon;
use crate::stop::Stop;
use crate::ui;

/// Longest a frame may take from one uplink to the other. It takes microseconds, or a time slice or two when
/// the gateway has to share its core.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// A running capture.
pub struct Capture {
    tcpdump: Daemon,
    file: PathBuf,
}

/// What the comparison of two captures has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Frames that came from the LAN.
    pub up: Crossing,
    /// Frames that came from the Internet.
    pub down: Crossing,
}

/// One direction of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Crossing {
    /// Frames that went in.
    pub sent: u64,
    /// Bytes that went in.
    pub bytes: u64,
    /// Length of the longest frame that went in.
    pub longest: usize,
    /// Frames that went in and did not come out with the same bytes.
    pub lost: u64,
    /// Frames that came out and had not gone in like this.
    pub foreign: u64,
    /// The first few of both, for the report.
    pub samples: Vec<String>,
}

impl Comparison {
    /// Whether the longest frames were there in both directions: MTU 1500, Ethernet header and a tag.
    pub fn is_full_size(&self) -> bool {
        self.up.longest == 1518 && self.down.longest == 1518
    }

    /// Whether every frame came out once, with the same bytes, and nothing else did.
    pub fn is_clean(&self) -> bool {
        [&self.up, &self.down].iter().all(|crossing| crossing.lost == 0 && crossing.foreign == 0)
    }

    /// A line about it.
    pub fn words(&self) -> String {
        let frames = self.up.sent + self.down.sent;
        let lost = self.up.lost + self.down.lost;
        let foreign = self.up.foreign + self.down.foreign;
        let bytes = ui::bytes(self.up.bytes + self.down.bytes);
        let longest = self.up.longest.min(self.down.longest);
        format!(
            "{frames} frames ({bytes}), up to {longest} bytes long: {lost} lost or changed, {foreign} that nobody sent"
        )
    }

    /// The first bytes of frames that went wrong.
    pub fn samples(&self) -> impl Iterator<Item = &str> {
        self.up.samples.iter().chain(&self.down.samples).map(String::as_str)
    }
}

impl Capture {
    /// Captures whole frames on an interface and waits until the kernel delivers them.
    pub fn start(netns: &Netns, interface: &str, file: &Path, stop: &Stop) -> Result<Self> {
        let mut command = netns.command("tcpdump");
        // As root it can write where we want; 64 MiB hold what one round sends even if the disk stalls.
        command
            .args(["-n", "-s", "0", "-Z", "root", "-B", "65536", "--immediate-mode", "-i", interface, "-w"])
            .arg(file);
        let mut tcpdump = Daemon::start("tcpdump", &command, &file.with_extension("tcpdump.log"))?;
        tcpdump.await_line("listening on", Duration::from_secs(10), stop)?;
        Ok(Self { tcpdump, file: file.to_owned() })
    }

    /// Ends the capture and gives its file. Fails when the kernel had to leave frames out.
    pub fn end(mut self, stop: &Stop) -> Result<PathBuf> {
        // tcpdump ends at once when told to, and what is still in the kernel's buffer is gone: 100 frames of a
        // round, on a busy machine. So it is asked how much that is until it is nothing.
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            self.tcpdump.signal(Signal::USR1);
            let line = self.tcpdump.await_line("received by filter", Duration::from_secs(10), stop)?;
            let numbers: Vec<&str> =
                line.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).collect();
            if let [captured, received, ..] = numbers[..]
                && captured == received
            {
                break;
            }
            stop.pause(Duration::from_millis(20))?;
        }
        self.tcpdump.end(Duration::from_secs(10));
        let log = std::fs::read_to_string(self.tcpdump.log())?;
        let dropped = log.lines().rfind(|line| line.ends_with("dropped by kernel"));
        match dropped.and_then(|line| line.split(' ').next()).map(str::parse::<u64>) {
            Some(Ok(0)) => Ok(self.file),
            Some(Ok(count)) => bail!("the capture {} lacks {count} frames", self.file.display()),
            _ => bail!("tcpdump did not end in order\n{}", self.tcpdump.last_words()),
        }
    }
}

/// Waits until the counters of the interfaces have stood still for a moment, at most five seconds.
pub fn await_quiet(interfaces: &[(&Netns, &str)], stop: &Stop) -> Result<()> {
    let read = || interfaces.iter().map(|(netns, name)| netns.frames(name)).collect::<Result<Vec<_>>>();
    let end = Instant::now() + Duration::from_secs(5);
    let mut before = read()?;
    while Instant::now() < end {
        stop.pause(Duration::from_millis(300))?;
        let now = read()?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Looks for every frame of one capture in the other. The captures neither start nor end at the same moment, so
/// only frames sent in `window` must have come out; which side a frame comes from is told by its source address.
pub fn compare(lan: &Path, wan: &Path, window: &Range<SystemTime>) -> Result<Comparison> {
    let (lan, wan) = (read(lan)?, read(wan)?);
    let window = window.start.duration_since(UNIX_EPOCH)?..window.end.duration_since(UNIX_EPOCH)?;
    let (lan_up, lan_down): (Vec<_>, Vec<_>) = lan.into_iter().partition(|frame| from_lan(&frame.bytes));
    let (wan_up, wan_down): (Vec<_>, Vec<_>) = wan.into_iter().partition(|frame| from_lan(&frame.bytes));
    Ok(Comparison { up: cross(&lan_up, &wan_up, &window), down: cross(&wan_down, &lan_down, &window) })
}

struct Frame {
    time: Duration,
    bytes: Vec<u8>,
}

fn read(path: &Path) -> Result<Vec<Frame>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut reader = PcapReader::new(std::io::BufReader::new(file))?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.with_context(|| format!("{} is damaged", path.display()))?;
        frames.push(Frame { time: packet.timestamp, bytes: packet.data.into_owned() });
    }
    Ok(frames)
}

fn from_lan(frame: &[u8]) -> bool {
    let source = frame.get(6..12).unwrap_or_default();
    let text = source.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    DEVICES.iter().any(|device| device.mac == text)
}

/// Counts copies, since a frame can be sent twice with the same bytes: a copy inside the window must have come
/// out at any time, and one that came out inside the window must have been sent at any time.
fn cross(sent: &[Frame], came: &[Frame], window: &Range<Duration>) -> Crossing {
    #[derive(Default)]
    struct Copies<'a> {
        example: Option<&'a Frame>,
        sent: u64,
        sent_inside: u64,
        came: u64,
        came_inside: u64,
    }
    // One that came out just after the start may have gone in before it, unseen.
    let inner = window.start + ON_ITS_WAY..window.end;
    let mut crossing = Crossing::default();
    let mut all: HashMap<String, Copies<'_>> = HashMap::new();
    for frame in sent {
        let inside = window.contains(&frame.time);
        let copies = all.entry(sha256([frame.bytes.as_slice()])).or_default();
        copies.example = Some(frame);
        copies.sent += 1;
        copies.sent_inside += u64::from(inside);
        crossing.sent += u64::from(inside);
        if inside {
            crossing.bytes += frame.bytes.len() as u64;
            crossing.longest = crossing.longest.max(frame.bytes.len());
        }
    }
    for frame in came {
        let copies = all.entry(sha256([frame.bytes.as_slice()])).or_default();
        copies.example.get_or_insert(frame);
        copies.came += 1;
        copies.came_inside += u64::from(inner.contains(&frame.time));
    }
    for copies in all.values() {
        let lost = copies.sent_inside.saturating_sub(copies.came);
        let foreign = copies.came_inside.saturating_sub(copies.sent);
        crossing.lost += lost;
        crossing.foreign += foreign;
        for (what, count) in [("lost", lost), ("foreign", foreign)] {
            if let Some(frame) = copies.example.filter(|_| count > 0) {
                crossing.note(what, frame);
            }
        }
    }
    crossing
}

impl Crossing {
    fn note(&mut self, what: &str, frame: &Frame) {
        if self.samples.len() < 5 {
            let head: String = frame.bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
            self.samples.push(format!("{what}, {} bytes: {head}", frame.bytes.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Range<Duration> = Duration::ZERO..Duration::from_secs(2);

    fn frames(list: &[&[u8]]) -> Vec<Frame> {
        list.iter().map(|bytes| Frame { time: Duration::from_secs(1), bytes: bytes.to_vec() }).collect()
    }

    fn count(sent: &[&[u8]], came: &[&[u8]]) -> (u64, u64) {
        let crossing = cross(&frames(sent), &frames(came), &WINDOW);
        (crossing.lost, crossing.foreign)
    }

    #[test]
    fn loss_change_and_repetition_are_told_apart() {
        assert_eq!(count(&[b"a", b"b"], &[b"b", b"a"]), (0, 0));
        assert_eq!(count(&[b"a", b"b"], &[b"a"]), (1, 0));
        assert_eq!(count(&[b"a", b"b"], &[b"a", b"x"]), (1, 1));
        assert_eq!(count(&[b"a"], &[b"a", b"a"]), (0, 1));
        assert_eq!(count(&[b"a", b"a"], &[b"a"]), (1, 0));
    }

    #[test]
    fn a_copy_sent_before_the_window_does_not_use_up_the_one_that_came_out_inside() {
        let sent = [(0, b"a"), (5, b"a")]
            .map(|(time, bytes)| Frame { time: Duration::from_secs(time), bytes: bytes.to_vec() });
        let came = [Frame { time: Duration::from_secs(5), bytes: b"a".to_vec() }];
        let crossing = cross(&sent, &came, &(Duration::from_secs(4)..Duration::from_secs(9)));
        assert_eq!((crossing.sent, crossing.lost, crossing.foreign), (1, 0, 0));
    }

    #[test]
    fn what_was_sent_after_the_end_is_left_out() {
        let crossing = cross(&frames(&[b"a"]), &[], &(Duration::ZERO..Duration::from_millis(1)));
        assert_eq!((crossing.sent, crossing.lost), (0, 0));
    }
}
