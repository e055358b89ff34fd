//! The clock that decides: monotonic, the same in all processes.

/// Nanoseconds since boot, as events, matrices and stats pages have them.
pub(crate) fn mono_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec.max(0) as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.max(0) as u64)
}
