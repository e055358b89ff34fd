//! Memory that begins at a cache line, so that a line of the table is a line of the cache.

use super::line::LINE;
use std::io::{self, Read};

/// Bytes that begin at a multiple of 64.
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// A copy.
    pub fn copy_of(from: &[u8]) -> Self {
        let (mut bytes, start) = room(from.len());
        bytes.extend_from_slice(from);
        Self { bytes, start, len: from.len() }
    }

    /// Reads exactly `len` bytes, into memory that is touched once. Bound `len` before.
    pub fn read(from: impl Read, len: usize) -> io::Result<Self> {
        let (mut bytes, start) = room(len);
        let found = from.take(len as u64).read_to_end(&mut bytes)?;
        if found != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { bytes, start, len })
    }
}

/// A vector that grows by `len` without moving, and where its first aligned byte is.
fn room(len: usize) -> (Vec<u8>, usize) {
    let mut bytes: Vec<u8> = Vec::with_capacity(len.saturating_add(LINE));
    let start = match bytes.as_ptr().align_offset(LINE) {
        n if n < LINE => n,
        _ => 0,
    };
    bytes.resize(start, 0);
    (bytes, start)
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_at_a_line_whichever_way_it_came() {
        for len in [0, 1, 63, 64, 100_000] {
            let from: Vec<u8> = (0..len).map(|n| n as u8).collect();
            for made in [Aligned::copy_of(&from), Aligned::read(&*from, len).unwrap()] {
                assert_eq!(made.as_ref(), from);
                assert!(len == 0 || made.as_ref().as_ptr().align_offset(LINE) == 0);
            }
        }
        assert!(Aligned::read(&[1u8, 2][..], 3).is_err());
        assert_eq!(Aligned::read(&[1u8, 2][..], 1).unwrap().as_ref(), [1]);
    }
}
