//! Ports on capture files.
//!
//! [`CaptureReader`] gives one frame at a time, [`CapturePort`] bursts of them, [`CaptureWriter`] writes a capture.
//! Frames are windows on the chunk of the file that they were read in, so nothing is copied per frame; a chunk is
//! used again once its frames are gone. Memory is bounded by the frames that are held at once.
//!
//! Capture files are hostile input. Once a file is recognized, nothing in it is an error: a file that breaks off or
//! stops making sense gives the frames up to there and a [`Damage`].

mod reader;
mod writer;

pub use reader::{CaptureReader, Damage, OpenError};
pub use writer::CaptureWriter;

use super::{Burst, Frame, Link, Port, PortCounters};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// The most capture time that one burst spans, in nanoseconds: what is decided by time in the fast path has the
/// burst's time, so that replay must not jump within one.
pub const BURST_SPAN: u64 = 1_000_000;

/// A frame of a capture file.
#[derive(Clone)]
pub struct CapturedFrame {
    chunk: Arc<[u8]>,
    at: u32,
    len: u32,
    wire_len: u32,
    interface: u32,
    link: Link,
    number: u64,
    time: u64,
}

impl CapturedFrame {
    /// The number of the frame in its file, from 1, as other tools count.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When it was captured, in nanoseconds since 1970. Not necessarily in order, and 0 where the file does not say.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The pcapng interface; 0 in pcap files.
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// Replaces the bytes by a changed copy. Allocates.
    pub fn edit(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes().to_vec();
        change(&mut bytes);
        self.len = bytes.len() as u32;
        self.wire_len = self.len;
        self.at = 0;
        self.chunk = Arc::from(bytes);
    }
}

impl Frame for CapturedFrame {
    fn bytes(&self) -> &[u8] {
        let at = self.at as usize;
        self.chunk.get(at..at + self.len as usize).unwrap_or_default()
    }

    fn wire_len(&self) -> usize {
        self.wire_len as usize
    }

    fn link(&self) -> Link {
        self.link
    }
}

impl std::fmt::Debug for CapturedFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CapturedFrame({}: {} of {} bytes, {:?})", self.number, self.len, self.wire_len, self.link)
    }
}

/// A port that receives the frames of a capture, writes what is sent into another, or both; what has no place to
/// go is counted and discarded.
#[derive(Default)]
pub struct CapturePort {
    input: Option<CaptureReader>,
    output: Option<CaptureWriter<Box<dyn Write + Send>>>,
    /// Read already, but later than the burst before may span.
    pending: Option<CapturedFrame>,
    time: u64,
    ended: bool,
    read_error: Option<io::Error>,
    write_error: Option<io::Error>,
    counters: PortCounters,
}

impl CapturePort {
    /// A port that receives nothing and discards everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Receives the frames of this capture.
    pub fn with_input(self, input: CaptureReader) -> Self {
        Self { input: Some(input), ..self }
    }

    /// Writes what is sent into this capture.
    pub fn with_output(self, output: impl Write + Send + 'static) -> Self {
        Self { output: Some(CaptureWriter::new(Box::new(output))), ..self }
    }

    /// The capture time of the first frame of the burst received last, in nanoseconds since 1970. No frame of the
    /// burst is more than [`BURST_SPAN`] away from it.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// What is wrong with the input, so far.
    pub fn damage(&self) -> Option<Damage> {
        self.input.as_ref().and_then(CaptureReader::damage)
    }

    /// The error that ended the input before its end, if one did.
    pub fn read_error(&self) -> Option<&io::Error> {
        self.read_error.as_ref()
    }

    /// Writes out what is buffered and says whether everything that was sent has been written.
    pub fn finish(&mut self) -> io::Result<()> {
        match (self.write_error.take(), &mut self.output) {
            (Some(error), _) => Err(error),
            (None, Some(output)) => output.flush(),
            (None, None) => Ok(()),
        }
    }

    fn next(&mut self) -> Option<CapturedFrame> {
        if let Some(frame) = self.pending.take() {
            return Some(frame);
        }
        match self.input.as_mut().and_then(CaptureReader::next) {
            Some(Ok(frame)) => Some(frame),
            Some(Err(error)) => {
                self.read_error = Some(error);
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                None
            }
        }
    }
}

impl Port for CapturePort {
    type Frame = CapturedFrame;

    fn rx_burst(&mut self, burst: &mut Burst<CapturedFrame>) -> usize {
        let mut got = 0;
        while burst.room() > 0 && !self.ended {
            let Some(frame) = self.next() else { break };
            if got == 0 {
                self.time = frame.time;
            } else if frame.time.abs_diff(self.time) > BURST_SPAN {
                self.pending = Some(frame);
                break;
            }
            self.counters.rx_frames += 1;
            self.counters.rx_bytes += u64::from(frame.wire_len);
            // There is room: nothing comes back.
            let _ = burst.push(frame);
            got += 1;
        }
        got
    }

    fn tx_burst(&mut self, burst: &mut Burst<CapturedFrame>) -> usize {
        let sent = burst.len();
        for frame in burst.drain() {
            self.counters.tx_frames += 1;
            self.counters.tx_bytes += u64::from(frame.wire_len);
            if let Some(output) = &mut self.output
                && self.write_error.is_none()
            {
                self.write_error = output.write(&frame, frame.time).err();
            }
        }
        sent
    }

    fn is_exhausted(&self) -> bool {
        (self.ended || self.input.is_none()) && self.pending.is_none()
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }
}

/// A reader that may be moved to the lcore that polls it.
trait Source: Read + Send {}
impl<R: Read + Send> Source for R {}

#[cfg(test)]
mod tests;
