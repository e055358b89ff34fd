//! Later requests in a flow: over the bodies to the next heads.

use super::{Body, HEAD_CAP, Head, Method, request_head};
use crate::probe::Probe;

/// Where a flow of requests stands. Small and plain, to lie in the record of a flow.
///
/// The caller shows it the client's bytes in order, each once, but for the rest that [`Step::More`] asks to keep:
///
/// ```
/// use glassgate_dataplane::inspect::http::{Step, Tracker};
///
/// let mut bytes: &[u8] = b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nHost: b";
/// let mut tracker = Tracker::new();
/// let Step::Request { head, used } = tracker.next(bytes) else { panic!() };
/// assert_eq!(head.name.unwrap().as_str(), "a.example");
/// bytes = &bytes[used..];
/// // The body is over; the next head is not all there and must be kept.
/// assert_eq!(tracker.next(bytes), Step::More { used: 2, want: 24 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracker {
    phase: Phase,
}

/// What came of the bytes that were shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the rare variant is the one that is used at once, on the stack"
)]
pub enum Step {
    /// A request whose head ends at `used`. Go on with the bytes from there.
    Request {
        /// Its head.
        head: Head,
        /// Bytes that are done with.
        used: usize,
    },
    /// Nothing more in these bytes. Those from `used` on must be shown again, once there are at least `want` of them.
    More {
        /// Bytes that are done with.
        used: usize,
        /// How many bytes must follow them before asking again makes sense; `1` when nothing need be kept.
        want: usize,
    },
    /// Later requests cannot be found: a tunnel, another protocol, unclear framing, a head that is too long. Final.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A head begins here.
    Head,
    /// So many bytes of body, then a head; or of a chunk, then its line end.
    Skip {
        left: u64,
        chunked: bool,
    },
    /// The line with the size of a chunk.
    ChunkSize,
    /// The line end after the data of a chunk.
    ChunkEnd,
    /// The lines after the last chunk.
    Trailers,
    Stopped,
}

const _: () = assert!(size_of::<Tracker>() == 16);

/// The longest line with a chunk's size, or of a trailer, that is read.
const LINE_CAP: usize = 1024;

impl Default for Tracker {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracker {
    /// At the beginning of a request.
    pub const fn new() -> Self {
        Self { phase: Phase::Head }
    }

    /// After the head of a request, which was read by [`request_head`].
    pub const fn after(head: &Head) -> Self {
        Self {
            phase: match (head.method, head.body) {
                (Method::Connect, _) | (_, Body::Unknown) => Phase::Stopped,
                (_, Body::Length(0)) => Phase::Head,
                (_, Body::Length(left)) => Phase::Skip { left, chunked: false },
                (_, Body::Chunked) => Phase::ChunkSize,
            },
        }
    }

    /// Whether it has given up.
    pub const fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// Bytes of body that come next whatever they are: the caller need not show them, but may [`Self::skip`] them.
    pub const fn indifferent(&self) -> u64 {
        match self.phase {
            Phase::Skip { left, .. } => left,
            _ => 0,
        }
    }

    /// Goes over bytes that were not shown, because nobody wants them or because they were lost. Gives up when something
    /// else than body was among them.
    pub const fn skip(&mut self, bytes: u64) {
        match &mut self.phase {
            Phase::Skip { left, .. } if bytes <= *left => *left -= bytes,
            _ if bytes == 0 => {}
            phase => *phase = Phase::Stopped,
        }
    }

    /// Shows it the next bytes, which are contiguous and begin where the last step ended.
    ///
    /// After an upgrade that the server grants, what follows is another protocol; it ends the search because it doesn't
    /// look like a request. After one that the server ignores, requests go on.
    pub fn next(&mut self, bytes: &[u8]) -> Step {
        let mut used = 0;
        // Every turn consumes bytes or returns.
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            match self.phase {
                Phase::Stopped => return Step::Stop,
                _ if rest.is_empty() => return Step::More { used, want: 1 },
                Phase::Head => match request_head(rest) {
                    Probe::Done(head) => {
                        *self = Self::after(&head);
                        return Step::Request { head, used: used + head.len };
                    }
                    Probe::NeedMore(want) => return Step::More { used, want },
                    Probe::NotThis | Probe::Malformed(_) => self.phase = Phase::Stopped,
                },
                Phase::Skip { left, chunked } => {
                    let step = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    used += step;
                    self.phase = match left - step as u64 {
                        0 if chunked => Phase::ChunkEnd,
                        0 => Phase::Head,
                        left => Phase::Skip { left, chunked },
                    };
                }
                phase => match line(rest) {
                    Line::Whole(line, len) => {
                        used += len;
                        self.phase = phase.after_line(line);
                    }
                    Line::Cut => return Step::More { used, want: rest.len() + 1 },
                    Line::TooLong => self.phase = Phase::Stopped,
                },
            }
        }
    }
}

impl Phase {
    /// RFC 9112 section 7.1: what comes after a line of the chunked coding.
    fn after_line(self, line: &[u8]) -> Self {
        match self {
            Self::ChunkSize => match chunk_size(line) {
                Some(0) => Self::Trailers,
                Some(left) => Self::Skip { left, chunked: true },
                None => Self::Stopped,
            },
            Self::ChunkEnd if line.is_empty() => Self::ChunkSize,
            Self::Trailers if line.is_empty() => Self::Head,
            Self::Trailers => Self::Trailers,
            _ => Self::Stopped,
        }
    }
}

const _: () = assert!(LINE_CAP < HEAD_CAP);

enum Line<'a> {
    /// A line without its end, and its length with it.
    Whole(&'a [u8], usize),
    Cut,
    TooLong,
}

fn line(bytes: &[u8]) -> Line<'_> {
    let window = bytes.get(..LINE_CAP).unwrap_or(bytes);
    match memchr::memchr(b'\n', window).and_then(|at| Some((window.get(..at)?, at + 1))) {
        Some((line, len)) => Line::Whole(line.strip_suffix(b"\r").unwrap_or(line), len),
        None if window.len() < LINE_CAP => Line::Cut,
        None => Line::TooLong,
    }
}

/// The size of a chunk, up to 2⁴⁸ bytes. Anything doubtful is no size: what follows would be read as a request.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at_checked(digits)?;
    if digits.is_empty() || digits.len() > 12 || !matches!(rest.first(), None | Some(b';' | b' ' | b'\t')) {
        return None;
    }
    digits.iter().try_fold(0, |size, digit| Some(size << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}
