//! Panics, on purpose: so that a test can see what a panic leaves behind. With the feature `faults-on-purpose` alone, which no release
//! build can have, and only where the environment says after how many events.

use glassgate_policy::FlowEvent;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

static AFTER: LazyLock<Option<u64>> =
    LazyLock::new(|| std::env::var("GLASSGATE_PANIC_AFTER").ok().and_then(|n| n.parse().ok()));
static EVENTS: AtomicU64 = AtomicU64::new(0);

/// Panics over the event whose turn it is, and says all that it knows of it.
pub(super) fn panic_over(event: &FlowEvent) {
    if Some(EVENTS.fetch_add(1, Ordering::Relaxed)) == *AFTER {
        panic!("on purpose, over {event:?}");
    }
}
