//! Reads pcap, pcapng and snoop (RFC 1761), told apart by their first bytes.

use super::{CapturedFrame, Source};
use crate::port::Link;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Read at once, and the unit of memory. Frames that are larger get a chunk of their own size.
const CHUNK: usize = 256 * 1024;
/// Chunks kept for use again while their frames are still held.
const MAX_SPARE: usize = 8;
/// A frame longer than this is damage: no link has such frames, and lengths that are lies must not cost memory.
const MAX_FRAME: usize = 1 << 20;
/// Interfaces of one pcapng section.
const MAX_INTERFACES: usize = 4096;

/// Why a file can't be read as a capture at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Opening or reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The first bytes are not those of a capture.
    #[error("not a pcap, pcapng or snoop file: it begins with {0:02x?}")]
    NotACapture(Vec<u8>),
}

/// What was wrong with a file whose frames were read as far as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file breaks off in the record that begins at this offset.
    #[error("the file breaks off in the record at byte {0}")]
    BreaksOff(u64),
    /// The record that begins at this offset says what can't be; nothing behind it was read.
    #[error("the record at byte {0} makes no sense; nothing behind it was read")]
    Nonsense(u64),
    /// A record names an interface that was not described, or more data than it has; it was passed over.
    #[error("the record at byte {0} was passed over: its interface or its length is wrong")]
    PassedOver(u64),
}

/// Gives the frames of a capture file one by one.
pub struct CaptureReader {
    source: Box<dyn Source>,
    chunk: Arc<[u8]>,
    spare: Vec<Arc<[u8]>>,
    /// The next byte, and how many there are in the chunk.
    at: usize,
    filled: usize,
    /// Offset in the file of the chunk's first byte.
    base: u64,
    source_ended: bool,
    ended: bool,
    format: Format,
    number: u64,
    time: u64,
    damage: Option<Damage>,
}

enum Format {
    Pcap { big: bool, header: usize, nanoseconds: bool, swapped_lengths: SwappedLengths, link: Link },
    Pcapng { big: bool, interfaces: Vec<Interface> },
    Snoop { link: Link },
}

/// Some ancient versions wrote the two lengths of a record in the other order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SwappedLengths {
    Never,
    WhenSmaller,
    Always,
}

#[derive(Clone, Copy)]
struct Interface {
    link: Link,
    snap_len: u32,
    resolution: Resolution,
    offset: i64,
}

/// The unit of a pcapng timestamp: a negative power of 10 or of 2.
#[derive(Clone, Copy)]
enum Resolution {
    Ten(u8),
    Two(u8),
}

/// How a record was read.
enum Record {
    Frame {
        data: usize,
        len: usize,
        wire_len: usize,
        time: Option<u64>,
        interface: u32,
        link: Link,
    },
    /// No frame in it.
    Other,
    PassedOver,
    Nonsense,
}

impl CaptureReader {
    /// Opens a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::new(std::fs::File::open(path)?)
    }

    /// Reads from anything, a pipe included. Needs no buffering by the caller.
    pub fn new(source: impl Read + Send + 'static) -> Result<Self, OpenError> {
        let mut reader = Self {
            source: Box::new(source),
            chunk: zeroes(CHUNK),
            spare: Vec::with_capacity(MAX_SPARE),
            at: 0,
            filled: 0,
            base: 0,
            source_ended: false,
            ended: false,
            format: Format::Pcapng { big: false, interfaces: Vec::with_capacity(16) },
            number: 0,
            time: 0,
            damage: None,
        };
        let whole = reader.need(24)?;
        let start = reader.peek(24.min(reader.filled));
        match start.first_chunk() {
            Some(&SECTION_HEADER) => {}
            Some(b"snoo") if whole && start.starts_with(b"snoop\0\0\0\0\0\0\x02") => {
                // Ethernet with a length or a type; the other numbers are not those of LINKTYPE.
                let link = match u32_at(start, 12, true) {
                    0 | 4 => Link::Ethernet,
                    _ => Link::Other(u16::MAX),
                };
                reader.format = Format::Snoop { link };
                reader.at += 16;
            }
            Some(magic) if whole => {
                let format = Format::pcap(*magic, start);
                reader.format = format.ok_or_else(|| OpenError::NotACapture(magic.to_vec()))?;
                reader.at += 24;
            }
            _ => return Err(OpenError::NotACapture(start.iter().copied().take(4).collect())),
        }
        Ok(reader)
    }

    /// The next frame. `None` at the end of the file; see [`CaptureReader::damage`] for how it ended.
    #[allow(clippy::should_implement_trait, reason = "the iterator below calls this")]
    pub fn next(&mut self) -> Option<io::Result<CapturedFrame>> {
        while !self.ended {
            let begin = self.base + self.at as u64;
            let record = match self.record() {
                Ok(Some(record)) => record,
                Ok(None) => {
                    self.ended = true;
                    if self.at < self.filled {
                        self.note(Damage::BreaksOff(begin));
                    }
                    return None;
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            match record {
                Record::Frame { data, len, wire_len, time, interface, link } => {
                    self.number += 1;
                    self.time = time.unwrap_or(self.time);
                    return Some(Ok(CapturedFrame {
                        chunk: Arc::clone(&self.chunk),
                        at: data as u32,
                        len: len as u32,
                        wire_len: wire_len.max(len).min(u32::MAX as usize) as u32,
                        interface,
                        link,
                        number: self.number,
                        time: self.time,
                    }));
                }
                Record::Other => {}
                Record::PassedOver => {
                    // Other tools count it.
                    self.number += 1;
                    self.note(Damage::PassedOver(begin));
                }
                Record::Nonsense => {
                    self.ended = true;
                    self.note(Damage::Nonsense(begin));
                }
            }
        }
        None
    }

    /// What was wrong with the part read so far: the first damage of all.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    fn note(&mut self, damage: Damage) {
        self.damage.get_or_insert(damage);
    }

    /// Reads one record. `None` when the file ends before its end.
    fn record(&mut self) -> io::Result<Option<Record>> {
        match &self.format {
            Format::Pcap { .. } => self.pcap_record(),
            Format::Pcapng { .. } => self.pcapng_block(),
            Format::Snoop { .. } => self.snoop_record(),
        }
    }

    fn snoop_record(&mut self) -> io::Result<Option<Record>> {
        const HEADER: usize = 24;
        let Format::Snoop { link } = self.format else { return Ok(None) };
        if !self.need(HEADER)? {
            return Ok(None);
        }
        let h = self.peek(HEADER);
        let [wire_len, len, record, _, seconds, micros] =
            [0, 4, 8, 12, 16, 20].map(|at| u32_at(h, at, true) as usize);
        if len > MAX_FRAME || record > MAX_FRAME || record < HEADER + len {
            return Ok(Some(Record::Nonsense));
        }
        if !self.need(record)? {
            return Ok(None);
        }
        let data = self.at + HEADER;
        self.at += record;
        let time = Some(seconds as u64 * 1_000_000_000 + micros as u64 * 1000);
        Ok(Some(Record::Frame { data, len, wire_len, time, interface: 0, link }))
    }

    fn pcap_record(&mut self) -> io::Result<Option<Record>> {
        let Format::Pcap { big, header, nanoseconds, swapped_lengths, link } = self.format else {
            return Ok(None);
        };
        if !self.need(header)? {
            return Ok(None);
        }
        let h = self.peek(header);
        let [seconds, fraction, mut len, mut wire_len] = [0, 4, 8, 12].map(|at| u32_at(h, at, big));
        if swapped_lengths == SwappedLengths::Always
            || swapped_lengths == SwappedLengths::WhenSmaller && len > wire_len
        {
            std::mem::swap(&mut len, &mut wire_len);
        }
        let len = len as usize;
        if len > MAX_FRAME {
            return Ok(Some(Record::Nonsense));
        }
        if !self.need(header + len)? {
            return Ok(None);
        }
        let data = self.at + header;
        self.at = data + len;
        let unit = if nanoseconds { 1 } else { 1000 };
        let time = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * unit;
        Ok(Some(Record::Frame {
            data,
            len,
            wire_len: wire_len as usize,
            time: Some(time),
            interface: 0,
            link,
        }))
    }

    fn pcapng_block(&mut self) -> io::Result<Option<Record>> {
        if !self.need(12)? {
            return Ok(None);
        }
        let h = self.peek(12);
        if h.starts_with(&SECTION_HEADER) {
            let big = match u32_at(h, 8, false) {
                0x1a2b_3c4d => false,
                0x4d3c_2b1a => true,
                _ => return Ok(Some(Record::Nonsense)),
            };
            let len = u32_at(h, 4, big) as usize;
            let Format::Pcapng { big: order, interfaces } = &mut self.format else { return Ok(None) };
            *order = big;
            interfaces.clear();
            return self.pass(len);
        }
        let Format::Pcapng { big, .. } = self.format else { return Ok(None) };
        let (kind, len) = (u32_at(h, 0, big), u32_at(h, 4, big) as usize);
        // Interface description, packet (obsolete), simple packet, enhanced packet.
        if !matches!(kind, 1 | 2 | 3 | 6) {
            return self.pass(len);
        }
        if !(12..=MAX_FRAME).contains(&len) {
            return Ok(Some(Record::Nonsense));
        }
        let padded = len.next_multiple_of(4);
        if !self.need(padded)? {
            return Ok(None);
        }
        let body_at = self.at + 8;
        let body = self.chunk.get(body_at..self.at + len - 4).unwrap_or_default();
        self.at += padded;
        let Format::Pcapng { interfaces, .. } = &mut self.format else { return Ok(None) };
        if kind == 1 {
            if body.len() < 8 || interfaces.len() == MAX_INTERFACES {
                return Ok(Some(Record::Nonsense));
            }
            interfaces.push(Interface::read(body, big));
            return Ok(Some(Record::Other));
        }
        Ok(Some(packet(kind, body, body_at, big, interfaces)))
    }

    /// Passes a block that is not read, whatever its length.
    fn pass(&mut self, len: usize) -> io::Result<Option<Record>> {
        if len < 12 {
            return Ok(Some(Record::Nonsense));
        }
        let mut left = len.next_multiple_of(4);
        while left > 0 {
            let step = left.min(CHUNK);
            if !self.need(step)? {
                return Ok(None);
            }
            self.at += step;
            left -= step;
        }
        Ok(Some(Record::Other))
    }

    fn peek(&self, len: usize) -> &[u8] {
        self.chunk.get(self.at..self.at + len).unwrap_or_default()
    }

    /// Sees to it that `len` bytes are in the chunk from `at` on. False when the file ends before.
    fn need(&mut self, len: usize) -> io::Result<bool> {
        if self.filled - self.at >= len {
            return Ok(true);
        }
        if self.source_ended {
            return Ok(false);
        }
        self.make_room(len);
        // Only the reader holds the chunk now.
        let Some(chunk) = Arc::get_mut(&mut self.chunk) else { return Ok(false) };
        while self.filled - self.at < len {
            match self.source.read(chunk.get_mut(self.filled..).unwrap_or_default()) {
                Ok(0) => {
                    self.source_ended = true;
                    return Ok(false);
                }
                Ok(n) => self.filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Moves what is left to the front of a chunk that no frame holds and that has room for `len`.
    fn make_room(&mut self, len: usize) {
        let rest = self.at..self.filled;
        let left = rest.len();
        self.base += self.at as u64;
        let fits = self.chunk.len() >= len;
        if let Some(chunk) = Arc::get_mut(&mut self.chunk)
            && fits
        {
            chunk.copy_within(rest, 0);
        } else {
            let size = len.max(CHUNK);
            let free = self.spare.iter_mut().position(|c| c.len() >= size && Arc::get_mut(c).is_some());
            let mut fresh = match free {
                Some(index) => self.spare.swap_remove(index),
                None => zeroes(size),
            };
            if let (Some(into), Some(from)) =
                (Arc::get_mut(&mut fresh).and_then(|c| c.get_mut(..left)), self.chunk.get(rest))
            {
                into.copy_from_slice(from);
            }
            let old = std::mem::replace(&mut self.chunk, fresh);
            if self.spare.len() < MAX_SPARE {
                self.spare.push(old);
            }
        }
        self.at = 0;
        self.filled = left;
    }
}

/// Written in place: from a vector they would be copied.
fn zeroes(len: usize) -> Arc<[u8]> {
    std::iter::repeat_n(0, len).collect()
}

impl Iterator for CaptureReader {
    type Item = io::Result<CapturedFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        Self::next(self)
    }
}

const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

impl Format {
    /// By the file header of pcap, `start`, which is whole.
    fn pcap(magic: [u8; 4], start: &[u8]) -> Option<Self> {
        let (big, number) = match u32::from_le_bytes(magic) {
            n if n & 0xffff == 0xc3d4 || n & 0xffff == 0x3c4d || n & 0xffff == 0xcd34 => (false, n),
            n => (true, n.swap_bytes()),
        };
        // Microseconds; nanoseconds; microseconds with eight more bytes in each record (a Linux patch of 1999).
        let (header, nanoseconds) = match number {
            0xa1b2_c3d4 => (16, false),
            0xa1b2_3c4d => (16, true),
            0xa1b2_cd34 => (24, false),
            _ => return None,
        };
        let versions = u32_at(start, 4, big);
        let (major, minor) = if big {
            ((versions >> 16) as u16, versions as u16)
        } else {
            (versions as u16, (versions >> 16) as u16)
        };
        let swapped_lengths = match (major, minor) {
            (2, 0..=2) | (543, _) => SwappedLengths::Always,
            (2, 3) => SwappedLengths::WhenSmaller,
            _ => SwappedLengths::Never,
        };
        // The upper bits say whether and how long an FCS is.
        let link = Link::from_linktype(u32_at(start, 20, big) as u16);
        Some(Self::Pcap { big, header, nanoseconds, swapped_lengths, link })
    }
}

impl Interface {
    fn read(body: &[u8], big: bool) -> Self {
        let mut interface = Self {
            link: Link::from_linktype(u16_at(body, 0, big)),
            snap_len: u32_at(body, 4, big),
            resolution: Resolution::Ten(6),
            offset: 0,
        };
        let mut options = body.get(8..).unwrap_or_default();
        while options.len() >= 4 {
            let (code, len) = (u16_at(options, 0, big), usize::from(u16_at(options, 2, big)));
            let Some(value) = options.get(4..4 + len) else { break };
            match (code, value) {
                (0, _) => break,
                (9, [r, ..]) if r & 0x80 != 0 => interface.resolution = Resolution::Two(r & 0x7f),
                (9, [r, ..]) => interface.resolution = Resolution::Ten(*r),
                (14, [_, _, _, _, _, _, _, _]) => {
                    let (a, b) = (u64::from(u32_at(value, 0, big)), u64::from(u32_at(value, 4, big)));
                    interface.offset = if big { a << 32 | b } else { b << 32 | a } as i64;
                }
                _ => {}
            }
            options = options.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        }
        interface
    }

    /// Nanoseconds since 1970, as near as 64 bits reach.
    fn time(&self, stamp: u64) -> u64 {
        let stamp = u128::from(stamp);
        let nanoseconds = match self.resolution {
            Resolution::Ten(n @ 0..=9) => stamp * 10u128.pow(u32::from(9 - n)),
            Resolution::Ten(n) => stamp / 10u128.checked_pow(u32::from(n - 9)).unwrap_or(u128::MAX),
            // A 64-bit stamp times 10⁹ fits into 94 bits.
            Resolution::Two(n) => (stamp * 1_000_000_000).checked_shr(u32::from(n)).unwrap_or(0),
        };
        let shifted =
            i128::try_from(nanoseconds).unwrap_or(i128::MAX) + i128::from(self.offset) * 1_000_000_000;
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

/// The three kinds of packet blocks. `body_at` is where `body` stands in the chunk.
fn packet(kind: u32, body: &[u8], body_at: usize, big: bool, interfaces: &[Interface]) -> Record {
    let header = if kind == 3 { 4 } else { 20 };
    if body.len() < header {
        return Record::Nonsense;
    }
    let index = match kind {
        2 => u32::from(u16_at(body, 0, big)),
        3 => 0,
        _ => u32_at(body, 0, big),
    };
    let Some(interface) = interfaces.get(index as usize) else { return Record::PassedOver };
    let room = body.len() - header;
    let (len, wire_len, time) = if kind == 3 {
        let wire_len = u32_at(body, 0, big) as usize;
        let snap_len = if interface.snap_len == 0 { usize::MAX } else { interface.snap_len as usize };
        (wire_len.min(room).min(snap_len), wire_len, None)
    } else {
        let stamp = u64::from(u32_at(body, 4, big)) << 32 | u64::from(u32_at(body, 8, big));
        (u32_at(body, 12, big) as usize, u32_at(body, 16, big) as usize, Some(interface.time(stamp)))
    };
    if len > room {
        return Record::PassedOver;
    }
    Record::Frame { data: body_at + header, len, wire_len, time, interface: index, link: interface.link }
}

/// The number at `at`, or 0 where there is none.
fn u32_at(bytes: &[u8], at: usize, big: bool) -> u32 {
    let word = bytes.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
    if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

fn u16_at(bytes: &[u8], at: usize, big: bool) -> u16 {
    let word = bytes.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
    if big { u16::from_be_bytes(word) } else { u16::from_le_bytes(word) }
}
