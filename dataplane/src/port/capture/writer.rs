//! Writes pcap with nanoseconds.

use super::super::{Frame, Link};
use std::io::{self, Write};

/// Writes a capture file: pcap, little endian, nanoseconds, with the link type of its first frame.
pub struct CaptureWriter<W: Write> {
    out: io::BufWriter<W>,
    link: Option<Link>,
}

impl<W: Write> CaptureWriter<W> {
    /// Writes into `out`, buffered.
    pub fn new(out: W) -> Self {
        Self { out: io::BufWriter::with_capacity(1 << 16, out), link: None }
    }

    /// Adds a frame that was captured at `time`, in nanoseconds since 1970. A frame of another link type than the
    /// first is refused as [`io::ErrorKind::InvalidInput`]: pcap has one for all.
    pub fn write(&mut self, frame: &impl Frame, time: u64) -> io::Result<()> {
        match self.link {
            None => self.header(frame.link())?,
            Some(link) if link == frame.link() => {}
            Some(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
        let bytes = frame.bytes();
        let fields = [
            u32::try_from(time / 1_000_000_000).unwrap_or(u32::MAX),
            (time % 1_000_000_000) as u32,
            bytes.len() as u32,
            frame.wire_len() as u32,
        ];
        for field in fields {
            self.out.write_all(&field.to_le_bytes())?;
        }
        self.out.write_all(bytes)
    }

    /// Writes out what is buffered, and the header of a capture without frames.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.link.is_none() {
            self.header(Link::Ethernet)?;
        }
        self.out.flush()
    }

    fn header(&mut self, link: Link) -> io::Result<()> {
        const MAGIC: u32 = 0xa1b2_3c4d;
        const SNAP_LEN: u32 = 262_144;
        // Version 2.4, no time zone, no accuracy.
        for field in [MAGIC, 0x0004_0002, 0, 0, SNAP_LEN, u32::from(link.linktype())] {
            self.out.write_all(&field.to_le_bytes())?;
        }
        self.link = Some(link);
        Ok(())
    }
}
