//! What an inspector answers: four different answers that callers must not mix up.

use glassgate_policy::Reason;

/// The answer of an inspector that was shown the first bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe<T> {
    /// Read, with what was found.
    Done(T),
    /// Could be this protocol; asking again is pointless before the stream has this many bytes.
    NeedMore(usize),
    /// Is not this protocol.
    NotThis,
    /// Is this protocol, and broken.
    Malformed(Reason),
}

impl<T> Probe<T> {
    /// Changes what was found.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Probe<U> {
        match self {
            Self::Done(found) => Probe::Done(f(found)),
            Self::NeedMore(len) => Probe::NeedMore(len),
            Self::NotThis => Probe::NotThis,
            Self::Malformed(reason) => Probe::Malformed(reason),
        }
    }
}
