//! The client's side of SOCKS up to the request.

use super::Step;
use crate::inspect::bytes::Bytes;
use memchr::memchr;

const CONNECT: u8 = 1;

pub(super) fn preamble(stream: &[u8]) -> Step {
    let mut bytes = Bytes::new(stream);
    // Short of bytes, the next one may decide.
    match bytes.u8() {
        Some(4) => version_4(stream, bytes),
        Some(5) => version_5(stream, bytes).unwrap_or(Step::More(stream.len() + 1)),
        _ => Step::NotThis,
    }
}

/// `4 command port address user 0`, and for SOCKS 4a `name 0` where the address is `0.0.0.x`.
fn version_4(stream: &[u8], mut bytes: Bytes<'_>) -> Step {
    /// User and name have no bound of their own.
    const TEXT_CAP: usize = 256;
    let (command, _, address) = (bytes.u8(), bytes.u16(), bytes.array::<4>());
    if command.is_some_and(|command| command != CONNECT) {
        return Step::NotThis;
    }
    let Some(address) = address else { return Step::More(stream.len() + 1) };
    let texts = if matches!(address, [0, 0, 0, 1..=255]) { 2 } else { 1 };
    for _ in 0..texts {
        let text = bytes.rest();
        let window = text.get(..TEXT_CAP).unwrap_or(text);
        match memchr(0, window) {
            Some(end) if window.iter().take(end).all(|b| matches!(b, b' '..=b'~')) => {
                bytes.take(end + 1);
            }
            None if text.len() < TEXT_CAP && text.iter().all(|b| matches!(b, b' '..=b'~')) => {
                return Step::More(stream.len() + 1);
            }
            _ => return Step::NotThis,
        }
    }
    Step::Anything(stream.len() - bytes.len())
}

/// The methods, a user and password if need be (RFC 1929), and the request. `None` when it is cut off.
fn version_5(stream: &[u8], mut bytes: Bytes<'_>) -> Option<Step> {
    let methods = bytes.u8()?;
    // Methods that are registered, or private use.
    let known = |m: &u8| matches!(m, 0..=9 | 0x80..=0xfe);
    if methods == 0 || !bytes.rest().iter().take(usize::from(methods)).all(known) {
        return Some(Step::NotThis);
    }
    bytes.take(usize::from(methods))?;
    let mut version = bytes.u8()?;
    if version == 1 {
        bytes.vec8()?;
        bytes.vec8()?;
        version = bytes.u8()?;
    }
    if version != 5 || bytes.u8()? != CONNECT || bytes.u8()? != 0 {
        return Some(Step::NotThis);
    }
    match bytes.u8()? {
        1 => bytes.take(4)?,
        3 => bytes.vec8()?,
        4 => bytes.take(16)?,
        _ => return Some(Step::NotThis),
    };
    bytes.u16()?;
    Some(Step::Anything(stream.len() - bytes.len()))
}
