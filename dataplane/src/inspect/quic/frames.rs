//! Frames of an Initial (RFC 9000 section 19): CRYPTO is read, the rest is stepped over.

use crate::inspect::bytes::Bytes;

/// The CRYPTO frames of a packet, as (offset, bytes).
///
/// Initials may hold PADDING, PING, ACK, CRYPTO and CONNECTION_CLOSE (RFC 9000 section 12.5). A server closes the connection at
/// any other frame and at one that is cut off, so reading ends there. Google QUIC numbers them its own way (`google`), and
/// its clients send nothing but these three in a first packet.
pub(super) fn crypto(payload: &[u8], google: bool) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = Bytes::new(payload);
    std::iter::from_fn(move || {
        loop {
            match rest.varint()? {
                PADDING => skip_padding(&mut rest),
                GOOGLE_PING if google => {}
                GOOGLE_CRYPTO if google => {
                    let offset = rest.varint()?;
                    return Some((offset, vec(&mut rest)?));
                }
                _ if google => return None,
                PING => {}
                kind @ (ACK | ACK_ECN) => ack(&mut rest, kind == ACK_ECN)?,
                CRYPTO => {
                    let offset = rest.varint()?;
                    return Some((offset, vec(&mut rest)?));
                }
                kind @ (CLOSE | CLOSE_APPLICATION) => {
                    rest.varint()?;
                    if kind == CLOSE {
                        rest.varint()?;
                    }
                    vec(&mut rest)?;
                }
                _ => return None,
            }
        }
    })
}

const PADDING: u64 = 0;
const PING: u64 = 1;
const ACK: u64 = 2;
const ACK_ECN: u64 = 3;
const CRYPTO: u64 = 6;
const GOOGLE_PING: u64 = 7;
const GOOGLE_CRYPTO: u64 = 8;
const CLOSE: u64 = 0x1c;
const CLOSE_APPLICATION: u64 = 0x1d;

fn vec<'a>(rest: &mut Bytes<'a>) -> Option<&'a [u8]> {
    let len = usize::try_from(rest.varint()?).ok()?;
    rest.take(len)
}

/// Padding fills most of a datagram: by words, not by bytes.
fn skip_padding(rest: &mut Bytes<'_>) {
    let bytes = rest.rest();
    let words = bytes.as_chunks::<16>().0.iter().take_while(|chunk| **chunk == [0; 16]).count() * 16;
    let tail = bytes.get(words..).unwrap_or_default();
    let zeros = words + tail.iter().take_while(|byte| **byte == 0).count();
    rest.take(zeros);
}

fn ack(rest: &mut Bytes<'_>, ecn: bool) -> Option<()> {
    let (_largest, _delay) = (rest.varint()?, rest.varint()?);
    let ranges = rest.varint()?;
    rest.varint()?;
    // Bounded by the packet: each round takes bytes or ends.
    for _ in 0..ranges {
        rest.varint()?;
        rest.varint()?;
    }
    if ecn {
        for _ in 0..3 {
            rest.varint()?;
        }
    }
    Some(())
}
