//! Names inside a message: labels and compression pointers (RFC 1035 section 4.1.4).

use super::{HEADER, POINTERS};
use glassgate_policy::Name;

/// The name at `at`, and where what follows it begins. `None` for a label or pointer that leads nowhere, a loop, or a
/// name that is too long.
///
/// A pointer may lead forward, which RFC 1035 doesn't provide for but some readers follow: what a name says is then
/// the same for them and for us, and its length and pointers are bounded all the same.
pub(super) fn name(bytes: &[u8], at: usize) -> Option<(Name, usize)> {
    let mut labels = Labels { bytes, at, after: None, pointers: 0, state: State::Going };
    let name = Name::from_labels(&mut labels).ok()?;
    match labels.state {
        State::Ended => Some((name, labels.after.unwrap_or(labels.at))),
        State::Going | State::Broken => None,
    }
}

/// Where what follows the name at `at` begins, if [`name`] can read it: a third of the cost, without the name.
pub(super) fn check(bytes: &[u8], at: usize) -> Option<usize> {
    let mut labels = Labels { bytes, at, after: None, pointers: 0, state: State::Going };
    let mut len = 0;
    for label in &mut labels {
        // Each label but the first has a dot before it.
        len += label.len() + 1;
        if len > glassgate_policy::name::MAX_LEN + 1 {
            return None;
        }
    }
    (labels.state == State::Ended).then_some(labels.after.unwrap_or(labels.at))
}

/// Where the name at `at` really stands, if it is one pointer.
pub(super) fn target(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at..).and_then(<[u8]>::first_chunk::<2>) {
        Some([high @ 0xc0..=0xff, low]) => usize::from(high & 0x3f) << 8 | usize::from(*low),
        _ => at,
    }
}

/// Where the name at `at` ends, without following pointers.
pub(super) fn skip(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += 1 + usize::from(len),
            0xc0.. => return bytes.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

struct Labels<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the name ends in place, once a pointer was followed.
    after: Option<usize>,
    pointers: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Going,
    Ended,
    Broken,
}

impl<'a> Labels<'a> {
    fn step(&mut self) -> Option<Option<&'a [u8]>> {
        loop {
            match *self.bytes.get(self.at)? {
                0 => {
                    self.at += 1;
                    return Some(None);
                }
                len @ 1..=63 => {
                    let start = self.at + 1;
                    self.at = start + usize::from(len);
                    return self.bytes.get(start..self.at).map(Some);
                }
                high @ 0xc0.. => {
                    let low = *self.bytes.get(self.at + 1)?;
                    let target = usize::from(high & 0x3f) << 8 | usize::from(low);
                    self.after = self.after.or(Some(self.at + 2));
                    self.pointers += 1;
                    if self.pointers > POINTERS || target < HEADER {
                        return None;
                    }
                    self.at = target;
                }
                // Reserved, once for bit labels.
                _ => return None,
            }
        }
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.state != State::Going {
            return None;
        }
        match self.step() {
            Some(Some(label)) => Some(label),
            Some(None) => {
                self.state = State::Ended;
                None
            }
            None => {
                self.state = State::Broken;
                None
            }
        }
    }
}
