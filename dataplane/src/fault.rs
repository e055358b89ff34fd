//! Panics, on purpose, over bytes that ask for it: so that tests can see what a panic leaves behind. In tests, and with the feature
//! `faults-on-purpose`, which no release build can have.

/// What asks for a panic.
pub(crate) const MAGIC: &[u8] = b"panic, on purpose";

/// Panics if the bytes ask for it.
pub(crate) fn panic_over(bytes: &[u8]) {
    assert!(!bytes.starts_with(MAGIC), "on purpose");
}
