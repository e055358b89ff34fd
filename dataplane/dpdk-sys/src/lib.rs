//! Bindings to the system's libdpdk 22.11 and a C shim for what it has only as inline functions.
//!
//! This crate is the only place where foreign functions are declared, and it adds nothing to them: contracts are
//! those of the DPDK API reference, and everything is `unsafe`. The safe interface is `glassgate-dpdk`.
//!
//! * The list of what is bound is in `build.rs`, by name and narrow on purpose.
//! * Inline functions are reached through `shim_*` (see `csrc/shim.h`): one call per burst, never one per frame.
//! * Constants that DPDK builds with macros that bindgen can't evaluate are `SHIM_*`.
//! * Linking is dynamic: the EAL loads the drivers from Debian's driver directory at start. With the feature `static`,
//!   DPDK and a list of drivers (in `build.rs`) are part of the binary.

#![no_std]

#[allow(
    missing_docs,
    unreachable_pub,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::missing_safety_doc,
    clippy::undocumented_unsafe_blocks,
    reason = "generated; the C names are kept so that DPDK's documentation can be searched by them"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;

#[cfg(test)]
mod tests {
    use core::mem::{offset_of, size_of};

    use super::*;

    /// The fast path reads these two fields per frame: one cache line, the one that the driver just wrote.
    #[test]
    fn what_is_read_per_frame_shares_a_cache_line() {
        assert_eq!(size_of::<rte_mbuf>(), 128);
        assert!(offset_of!(rte_mbuf, buf_addr) < 64);
        assert!(offset_of!(rte_mbuf, __bindgen_anon_1) < 64);
        assert!(offset_of!(rte_mbuf, __bindgen_anon_2) < 64);
    }
}
