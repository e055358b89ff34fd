//! Probable uploads: what the shape of a flow says about whether its client sent a file.
//!
//! Nothing is decrypted, so this is a guess with a confidence: from what the client sent beyond headers and acknowledgements, how
//! full its frames were, and whether the signature of the name says that the host takes uploads. `docs/uploads.md`
//! has how often it is right, on flows made for that, and what it can't tell.

use crate::category::Category;
use crate::flow_event::FlowEvent;
use crate::vocab::AppProto;

/// Payload of an upload that is counted as a large one: more than papers and pictures have, less than a dump of a disk or
/// data base.
pub const LARGE: u64 = 10 << 20;
/// Payload below which nothing is called an upload: forms, searches and the reports of scripts send less.
pub const LEAST: u64 = 40 << 10;
/// Confidence from which on an upload is counted, per cent: then about as many are counted that are none as are missed, and their number
/// is right.
pub const COUNTED: u8 = 50;
/// Payload from which on a file goes one way only: calls send as much as files do, and get as much.
const ONE_WAY: u64 = 4 << 20;

/// Bytes of a frame that are no payload, or that an acknowledgement consists of: Ethernet with a VLAN tag, IPv6, TCP with
/// timestamps, 90 in all. With IPv4 a full frame's payload comes out 24 bytes too small, an acknowledgement's never too large.
const TCP: u64 = 90;
/// QUIC acknowledges within encrypted packets: Ethernet with a VLAN tag, IPv6, UDP, short header, tag, ranges.
const QUIC: u64 = 120;

/// What a flow, or a part of it, carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Bytes and frames from client to server, on the wire.
    pub bytes_up: u64,
    /// See `bytes_up`.
    pub frames_up: u64,
    /// Bytes and frames from server to client.
    pub bytes_down: u64,
    /// See `bytes_down`.
    pub frames_down: u64,
    /// Whether it is QUIC.
    pub quic: bool,
    /// Whether the signature of its name says that it takes uploads.
    pub upload_host: bool,
}

impl Shape {
    /// Of an event.
    pub fn of(event: &FlowEvent) -> Self {
        Self {
            bytes_up: event.bytes_up,
            frames_up: event.frames_up.into(),
            bytes_down: event.bytes_down,
            frames_down: event.frames_down.into(),
            quic: event.app == Some(AppProto::Quic),
            upload_host: event.upload_host,
        }
    }

    /// The two together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            bytes_up: self.bytes_up.saturating_add(other.bytes_up),
            frames_up: self.frames_up.saturating_add(other.frames_up),
            bytes_down: self.bytes_down.saturating_add(other.bytes_down),
            frames_down: self.frames_down.saturating_add(other.frames_down),
            quic: self.quic || other.quic,
            upload_host: self.upload_host || other.upload_host,
        }
    }

    /// What the client sent beyond headers and acknowledgements, at least.
    pub fn payload_up(&self) -> u64 {
        self.bytes_up.saturating_sub(self.frames_up.saturating_mul(self.overhead()))
    }

    /// What the server sent, likewise.
    pub fn payload_down(&self) -> u64 {
        self.bytes_down.saturating_sub(self.frames_down.saturating_mul(self.overhead()))
    }

    fn overhead(&self) -> u64 {
        if self.quic { QUIC } else { TCP }
    }

    /// What the confidence is made of: how much was sent, and how full the frames were, those of acknowledgements with them.
    ///
    /// Tried and left out: what came back (pages before a form say more about the page than about the form), and how often the
    /// server answered (told searches from files best of all, and rests on how often a server's kernel acknowledges).
    pub fn features(&self) -> [f64; 2] {
        let up = self.payload_up() as f64;
        let fullness = up / self.frames_up.max(1) as f64 / 1000.0;
        [((up + 1.0) / f64::from(48 << 10)).log2(), fullness.min(2.0)]
    }

    /// How sure it is that a file was sent, per cent.
    pub fn confidence(&self) -> u8 {
        let up = self.payload_up();
        if up < LEAST || up >= ONE_WAY && self.payload_down() > up / 4 {
            return 0;
        }
        let logit = MODEL.iter().zip(self.features()).map(|(weight, x)| weight * x).sum::<f64>() + BIAS;
        let logit = logit + if self.upload_host { HOST } else { 0.0 };
        (100.0 / (1.0 + (-logit).exp())).round().clamp(0.0, 100.0) as u8
    }
}

/// Weights of [`Shape::features`], fitted on flows of some seeds and tried on those of others, `docs/uploads.md`: `cargo xtask actions --only
/// uploads`.
const MODEL: [f64; 2] = [1.16, 2.52];
/// What is added to the sum.
const BIAS: f64 = -2.18;
/// What a host adds that is known to take uploads: odds of one to four become odds of five to four. Not fitted: there are no facts
/// about how often these hosts are sent something else.
const HOST: f64 = 1.6;

/// What clients usually send to a service: how often an interval had so many bytes of payload, by powers of two.
#[derive(Clone, Debug, Default)]
pub struct Usual {
    octaves: [u32; 32],
    all: u32,
}

/// Intervals that must be known before they say what is usual.
const ENOUGH: u32 = 200;

impl Usual {
    /// Notes an interval. Old ones count less and less: at 4096 all are halved.
    pub fn note(&mut self, payload_up: u64) {
        if self.all >= 4096 {
            self.octaves.iter_mut().for_each(|n| *n /= 2);
            self.all = self.octaves.iter().sum();
        }
        let octave = payload_up.checked_ilog2().unwrap_or_default() as usize;
        if let Some(n) = self.octaves.get_mut(octave.min(31)) {
            *n += 1;
            self.all += 1;
        }
    }

    /// Whether one interval in ten has as much: then it is what using the service looks like. Never for what is there for files.
    pub fn is_usual(&self, payload_up: u64, category: Category) -> bool {
        if self.all < ENOUGH || matches!(category, Category::CloudStorage | Category::FileTransfer) {
            return false;
        }
        let octave = payload_up.checked_ilog2().unwrap_or_default() as usize;
        let as_much: u32 = self.octaves.iter().skip(octave).sum();
        as_much > self.all / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of 1514 bytes one way and acknowledgements of 66 the other.
    fn tcp(up: u64, down: u64) -> Shape {
        let (full_up, full_down) = (up.div_ceil(1448), down.div_ceil(1448));
        Shape {
            bytes_up: up + full_up * 66 + full_down / 2 * 66,
            frames_up: full_up + full_down / 2,
            bytes_down: down + full_down * 66 + full_up / 2 * 66,
            frames_down: full_down + full_up / 2,
            ..Shape::default()
        }
    }

    #[test]
    fn acknowledgements_are_no_payload() {
        let download = tcp(2_000, 500 << 20);
        assert_eq!((download.payload_up(), download.confidence()), (0, 0));
        let six = Shape { bytes_up: download.bytes_up + download.frames_up * 20, ..download };
        assert_eq!(six.payload_up(), 0, "IPv6");
        let upload = tcp(1 << 20, 4_000);
        assert!((1_000_000..1 << 20).contains(&upload.payload_up()), "{}", upload.payload_up());
    }

    #[test]
    fn files_are_told_from_pages_and_forms() {
        for (up, down, is) in [
            (300 << 10, 6 << 10, true),
            (2 << 20, 200 << 10, true),
            (20 << 20, 1 << 20, true),
            (3 << 10, 6 << 10, false),
            (40 << 10, 6 << 10, false),
            (60 << 10, 3 << 20, false),
            (4 << 10, 80 << 20, false),
            (90 << 20, 80 << 20, false),
        ] {
            let confidence = tcp(up, down).confidence();
            assert_eq!(confidence >= COUNTED, is, "{up} up, {down} down: {confidence} %");
        }
        let (host, other) = (tcp(60 << 10, 60 << 10), tcp(60 << 10, 60 << 10));
        assert!(Shape { upload_host: true, ..host }.confidence() > other.confidence() + 5);
    }

    #[test]
    fn what_most_do_is_no_upload_but_where_files_go() {
        let mut usual = Usual::default();
        for i in 0..1000 {
            usual.note(if i % 5 == 0 { 200 << 10 } else { 4 << 10 });
        }
        assert!(usual.is_usual(150 << 10, Category::Messaging));
        assert!(!usual.is_usual(400 << 10, Category::Messaging));
        assert!(!usual.is_usual(150 << 10, Category::CloudStorage));
        assert!(!Usual::default().is_usual(1, Category::Messaging));
        for _ in 0..100_000 {
            usual.note(u64::MAX);
        }
        assert!(usual.is_usual(1 << 30, Category::Messaging) && usual.all <= 4096);
    }
}
