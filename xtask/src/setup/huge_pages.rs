//! Huge pages for DPDK: 2 MiB each, reserved until the next boot.

use std::path::Path;

use anyhow::{Context, Result};

/// Pages that one gateway needs: 1 GiB for frame buffers and flow tables.
pub const WANTED: u64 = 512;

const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
const PAGE_KIB: u64 = 2048;

/// What there is, and what can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Enough pages are free.
    Enough {
        /// Free pages.
        free: u64,
    },
    /// Too few are free, and there is memory for more.
    TooFew {
        /// Free pages.
        free: u64,
        /// The total to reserve.
        reserve: u64,
    },
    /// Too few are free, and no memory for more: the gateway runs without, at half the speed.
    NoMemory {
        /// Free pages.
        free: u64,
    },
    /// The kernel has none, or does not let us at them.
    Absent,
}

/// Looks at the machine.
pub fn state() -> State {
    let read =
        |name: &str| std::fs::read_to_string(Path::new(PAGES).join(name)).ok()?.trim().parse::<u64>().ok();
    let (Some(total), Some(free)) = (read("nr_hugepages"), read("free_hugepages")) else {
        return State::Absent;
    };
    judge(total, free, available_kib().unwrap_or(0))
}

/// Pages that nobody uses; `None` where the kernel has none.
pub fn free() -> Option<u64> {
    std::fs::read_to_string(Path::new(PAGES).join("free_hugepages")).ok()?.trim().parse().ok()
}

/// Reserves pages up to `total`. Says what the state is then: memory may be too fragmented for all of them.
pub fn reserve(total: u64) -> Result<State> {
    let path = Path::new(PAGES).join("nr_hugepages");
    std::fs::write(&path, total.to_string())
        .with_context(|| format!("cannot write {} (reserving huge pages needs root)", path.display()))?;
    Ok(state())
}

fn judge(total: u64, free: u64, available_kib: u64) -> State {
    if free >= WANTED {
        return State::Enough { free };
    }
    // Never take more than half of what is there: compilers run beside the gateway.
    let more = WANTED - free;
    if more * PAGE_KIB > available_kib / 2 {
        State::NoMemory { free }
    } else {
        State::TooFew { free, reserve: total + more }
    }
}

fn available_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 20;

    #[test]
    fn pages_are_added_to_what_others_use_and_never_taken_away() {
        assert_eq!(judge(0, 0, 24 * GIB), State::TooFew { free: 0, reserve: 512 });
        assert_eq!(judge(600, 100, 24 * GIB), State::TooFew { free: 100, reserve: 1012 });
        assert_eq!(judge(2048, 512, 24 * GIB), State::Enough { free: 512 });
    }

    #[test]
    fn a_small_machine_keeps_its_memory() {
        assert_eq!(judge(0, 0, GIB), State::NoMemory { free: 0 });
    }
}
