//! A window on a frame that only ever shrinks.
//!
//! Two ends are kept apart: where the headers read so far say that the content ends, and where the bytes end.
//! The first lies beyond the second when a capture was cut or a buffer is chained; asking for bytes in between is
//! answered with [`Short::Cut`], which is nobody's fault, and asking for bytes beyond the first with
//! [`Short::Ended`], which makes the header that promised them malformed.

/// Why bytes are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// The frame was longer than what is at hand.
    Cut,
    /// The enclosing header ends before.
    Ended,
}

/// The rest of a frame, as far as the headers before it reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> View<'a> {
    /// The whole frame: `bytes` of the `wire_len` that were on the wire.
    pub(super) fn new(bytes: &'a [u8], wire_len: usize) -> Self {
        Self { bytes, at: 0, end: wire_len.max(bytes.len()) }
    }

    /// Offset of the next byte.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Bytes to come by the headers, whether or not they are at hand.
    pub(super) const fn wire_left(&self) -> usize {
        self.end - self.at
    }

    /// Bytes to come that are at hand.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Ends the view `len` bytes from here, unless it ends before.
    pub(super) fn limit(&mut self, len: usize) {
        self.end = self.end.min(self.at.saturating_add(len));
        self.bytes = self.bytes.get(..self.end).unwrap_or(self.bytes);
    }

    /// Says that content goes on for `len` bytes from here, of which some were lost.
    pub(super) fn lengthen(&mut self, len: usize) {
        self.end = self.end.max(self.at.saturating_add(len));
    }

    /// The next `N` bytes, without passing them.
    #[inline]
    pub(super) fn peek<const N: usize>(&self) -> Result<&'a [u8; N], Short> {
        self.rest().first_chunk().ok_or_else(|| self.short(N))
    }

    /// The next `N` bytes, passed.
    #[inline]
    pub(super) fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Short> {
        let chunk = self.peek()?;
        self.at += N;
        Ok(chunk)
    }

    /// Passes `len` bytes, which need not be at hand.
    pub(super) fn skip(&mut self, len: usize) -> Result<(), Short> {
        if len > self.wire_left() {
            return Err(Short::Ended);
        }
        self.at += len;
        Ok(())
    }

    /// The next two bytes, in network order, passed.
    pub(super) fn u16(&mut self) -> Result<u16, Short> {
        self.take().map(|b| u16::from_be_bytes(*b))
    }

    fn short(&self, wanted: usize) -> Short {
        if wanted <= self.wire_left() { Short::Cut } else { Short::Ended }
    }
}
