//! Writes frames down, on purpose: what the search for canaries has to catch. With the feature `faults-on-purpose` alone, which no release
//! build can have, and only where the environment says `GLASSGATE_LEAK`.

use crate::port::{Burst, Frame};
use std::sync::LazyLock;

static ON: LazyLock<bool> = LazyLock::new(|| std::env::var_os("GLASSGATE_LEAK").is_some());

/// Tells standard error what is in these frames.
pub(crate) fn tell<F: Frame>(burst: &Burst<F>) {
    if !*ON {
        return;
    }
    for frame in burst.iter() {
        let hex: String = frame.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("leaked {hex}");
    }
}
