//! DPDK's own hash table (`rte_hash`), behind a safe interface: what benchmarks compare the flow table with.

use std::ffi::{CString, c_void};
use std::io;
use std::ptr::NonNull;

use dpdk_sys::rte_hash;

use crate::eal::Eal;

/// Keys looked up at once.
pub const BULK: usize = 32;
/// A key: an IPv4 5-tuple and padding, the length that `rte_hash` has a comparison of its own for.
pub type Key = [u8; 16];

/// A hash table of fixed size.
#[derive(Debug)]
pub struct RteHash {
    raw: NonNull<rte_hash>,
    /// What DPDK's memory belongs to.
    _eal: Eal,
}

impl RteHash {
    /// A table that is made for `entries` keys.
    pub fn new(eal: &Eal, name: &str, entries: u32) -> io::Result<Self> {
        let name = CString::new(name)?;
        let parameters = dpdk_sys::rte_hash_parameters {
            name: name.as_ptr(),
            entries,
            key_len: size_of::<Key>() as u32,
            // None: the default, which is CRC32 where the CPU has it.
            hash_func: None,
            socket_id: 0,
            ..Default::default()
        };
        // SAFETY: the EAL runs; name and parameters are only read, during the call.
        let raw = unsafe { dpdk_sys::rte_hash_create(&parameters) };
        // SAFETY: reads a thread-local of this thread.
        let raw = NonNull::new(raw)
            .ok_or_else(|| io::Error::from_raw_os_error(unsafe { dpdk_sys::shim_errno() }))?;
        Ok(Self { raw, _eal: eal.clone() })
    }

    /// Adds a key. False when the table refuses it.
    pub fn insert(&mut self, key: &Key) -> bool {
        // SAFETY: the table is valid and used by this thread only; the key has the length it was made for.
        unsafe { dpdk_sys::rte_hash_add_key(self.raw.as_ptr(), key.as_ptr().cast()) >= 0 }
    }

    /// Looks up all keys; position of each, negative when it isn't there.
    pub fn lookup(&self, keys: &[Key; BULK], positions: &mut [i32; BULK]) {
        let mut pointers: [*const c_void; BULK] = [std::ptr::null(); BULK];
        for (to, key) in pointers.iter_mut().zip(keys) {
            *to = key.as_ptr().cast();
        }
        // SAFETY: both arrays have as many places as are named, and the keys live for the call.
        unsafe {
            dpdk_sys::rte_hash_lookup_bulk(
                self.raw.as_ptr(),
                pointers.as_mut_ptr(),
                BULK as u32,
                positions.as_mut_ptr(),
            );
        }
    }
}

impl Drop for RteHash {
    fn drop(&mut self) {
        // SAFETY: made by `rte_hash_create`, and this is its only holder.
        unsafe { dpdk_sys::rte_hash_free(self.raw.as_ptr()) };
    }
}
