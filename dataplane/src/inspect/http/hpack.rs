//! The first header block of an HTTP/2 client, as far as it names the server (RFC 7541).
//!
//! The dynamic table is empty when the block begins, so nothing in it can hide `:authority` or `host` behind an index
//! but a repetition of what the block itself said before. That is why no table is kept: what matters is only at which
//! insertion a field that names the server went in, to see a second value that is given under its index.

mod huffman;

/// What a request says of its server.
#[derive(Default)]
pub(super) struct Request {
    /// `:authority`.
    pub(super) authority: Option<Text>,
    /// `host`.
    pub(super) host: Option<Text>,
    /// `:method` is CONNECT.
    pub(super) connect: bool,
}

/// A short decoded string.
#[derive(Clone, Copy)]
pub(super) struct Text {
    len: u16,
    bytes: [u8; Self::CAP],
}

impl Text {
    /// A name of 253 bytes, a trailing dot, a colon and a port fit in, with room to see that more came.
    const CAP: usize = 264;

    const EMPTY: Self = Self { len: 0, bytes: [0; Self::CAP] };

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// What doesn't fit is dropped: a full text is longer than any name and will be refused as one.
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.len)) {
            *slot = byte;
            self.len += 1;
        }
    }
}

/// Indices of the static table (RFC 7541 appendix A).
const AUTHORITY: u64 = 1;
const METHODS: std::ops::RangeInclusive<u64> = 2..=3;
const HOST: u64 = 38;
const LAST_STATIC: u64 = 61;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Authority,
    Host,
    Method,
    Other,
}

/// Decodes a whole block. `None` when it is broken, or says `:authority` or `host` twice (RFC 9113 section 8.3).
pub(super) fn request(block: impl Iterator<Item = u8>) -> Option<Request> {
    let mut block = block;
    let mut request = Request::default();
    // The insertions so far, and at which of them a field that names the server went in.
    let mut inserted = 0u64;
    let (mut authority_at, mut host_at) = (None, None);
    while let Some(first) = block.next() {
        // RFC 7541 section 6: the representation and the width of its prefix.
        let (prefix, inserts) = match first {
            0x80.. => {
                // A whole field: of the static table none names a server, of the dynamic one only a repetition.
                if integer(first, 7, &mut block)? == 0 {
                    return None;
                }
                continue;
            }
            0x40..=0x7f => (6, true),
            0x20..=0x3f => {
                integer(first, 5, &mut block)?;
                continue;
            }
            0x00..=0x1f => (4, false),
        };
        let index = integer(first, prefix, &mut block)?;
        let field = match index {
            0 => named(&string(&mut block)?),
            AUTHORITY => Field::Authority,
            HOST => Field::Host,
            i if METHODS.contains(&i) => Field::Method,
            i if i > LAST_STATIC => {
                // The newest insertion has the lowest index.
                let insertion = Some((inserted + LAST_STATIC).checked_sub(i)?);
                match insertion {
                    at if at == authority_at => Field::Authority,
                    at if at == host_at => Field::Host,
                    _ => Field::Other,
                }
            }
            _ => Field::Other,
        };
        match field {
            Field::Authority => {
                set(&mut request.authority, string(&mut block)?)?;
                authority_at = inserts.then_some(inserted);
            }
            Field::Host => {
                set(&mut request.host, string(&mut block)?)?;
                host_at = inserts.then_some(inserted);
            }
            Field::Method => request.connect |= string(&mut block)?.as_bytes() == b"CONNECT",
            Field::Other => skip_string(&mut block)?,
        }
        inserted += u64::from(inserts);
    }
    Some(request)
}

fn set(slot: &mut Option<Text>, value: Text) -> Option<()> {
    match slot {
        Some(_) => None,
        None => {
            *slot = Some(value);
            Some(())
        }
    }
}

fn named(name: &Text) -> Field {
    match name.as_bytes() {
        b":authority" => Field::Authority,
        b"host" => Field::Host,
        b":method" => Field::Method,
        _ => Field::Other,
    }
}

/// RFC 7541 section 5.1, up to 32 bits.
fn integer(first: u8, prefix: u32, block: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mask = (1u64 << prefix) - 1;
    let mut value = u64::from(first) & mask;
    if value < mask {
        return Some(value);
    }
    for shift in [0, 7, 14, 21, 28] {
        let byte = block.next()?;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// RFC 7541 section 5.2.
fn string(block: &mut impl Iterator<Item = u8>) -> Option<Text> {
    let first = block.next()?;
    let len = integer(first, 7, block)?;
    let mut text = Text::EMPTY;
    if first & 0x80 != 0 {
        huffman::decode(exactly(block, len), |byte| text.push(byte))?;
    } else {
        exactly(block, len).try_for_each(|byte| byte.map(|byte| text.push(byte)))?;
    }
    Some(text)
}

fn skip_string(block: &mut impl Iterator<Item = u8>) -> Option<()> {
    let first = block.next()?;
    let len = integer(first, 7, block)?;
    exactly(block, len).try_for_each(|byte| byte.map(|_| ()))
}

/// The next `len` bytes, ending with `None` when there are fewer.
fn exactly(block: &mut impl Iterator<Item = u8>, len: u64) -> impl Iterator<Item = Option<u8>> {
    let mut left = len;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        left -= 1;
        let byte = block.next();
        if byte.is_none() {
            left = 0;
        }
        Some(byte)
    })
}

#[cfg(test)]
mod tests;
