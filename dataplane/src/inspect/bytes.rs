//! Reads hostile bytes front to back: every step either yields or says that the bytes are out.

/// What is left to read. `Copy`, so that a caller can look ahead and come back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn len(self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[b]| b)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Bytes behind a length of one byte.
    #[inline]
    pub(crate) fn vec8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// Bytes behind a length of two bytes.
    #[inline]
    pub(crate) fn vec16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A QUIC variable-length integer (RFC 9000 section 16), at most 2^62 − 1.
    #[inline]
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let rest = u64::from(first & 0x3f);
        match first >> 6 {
            0 => {
                self.0 = self.0.get(1..)?;
                Some(rest)
            }
            1 => self.array::<2>().map(|b| u64::from(u16::from_be_bytes(b) & 0x3fff)),
            2 => self.array::<4>().map(|b| u64::from(u32::from_be_bytes(b) & 0x3fff_ffff)),
            _ => self.array::<8>().map(|b| u64::from_be_bytes(b) & 0x3fff_ffff_ffff_ffff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_rfc_9000_appendix_a_1() {
        let read = |bytes: &[u8]| Bytes::new(bytes).varint();
        assert_eq!(read(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]), Some(151_288_809_941_952_652));
        assert_eq!(read(&[0x9d, 0x7f, 0x3e, 0x7d]), Some(494_878_333));
        assert_eq!(read(&[0x7b, 0xbd]), Some(15_293));
        assert_eq!(read(&[0x25]), Some(37));
        assert_eq!(read(&[0x40, 0x25]), Some(37), "not the shortest form, and allowed");
        assert_eq!(read(&[0x40]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn nothing_is_taken_when_too_little_is_left() {
        let mut b = Bytes::new(&[0, 3, 1, 2]);
        assert_eq!(b.vec16(), None);
        let mut b = Bytes::new(&[0, 2, 1, 2, 9]);
        assert_eq!(b.vec16(), Some(&[1, 2][..]));
        assert_eq!((b.u16(), b.u8(), b.u8()), (None, Some(9), None));
    }
}
