//! Pools of frames. A pool is made at start and lives as long as the process.

use std::ffi::CString;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use dpdk_sys::rte_mempool;
use glassgate_dataplane::port::BURST;
use thiserror::Error;

use crate::eal::Eal;
use crate::mbuf::Mbuf;

/// How a pool is made.
#[derive(Clone, Debug)]
pub struct MempoolOptions {
    /// Unique within the process, at most 25 bytes.
    pub name: String,
    /// How many frames. All descriptors of all queues that use the pool may hold one each, see
    /// [`crate::DeviceOptions`]; [`crate::Device::open`] refuses when they don't all fit. Fewer frames stay longer in
    /// the CPU's caches.
    pub frames: u32,
    /// Frames that each lcore keeps aside, to take and give without touching the shared ring. At most 512.
    pub cache: u32,
    /// Bytes per buffer behind the headroom. 2048 holds any frame of an MTU of 1500, and is what af_xdp needs.
    pub room: u16,
}

impl Default for MempoolOptions {
    /// 16384 frames of 2048 bytes: two ports of one queue with 2048 descriptors each way, and a good half to spare.
    /// About 40 MiB.
    fn default() -> Self {
        Self { name: "frames".to_owned(), frames: 16 * 1024, cache: 256, room: 2048 }
    }
}

/// A pool of frames. Copies are the same pool.
///
/// Never freed: a frame is a bare pointer that may outlive the port it came from, in a queue or on another thread.
/// Frames are free for every thread to take and give; threads that are an [`crate::Lcore`] do it without a lock.
#[derive(Clone, Copy, Debug)]
pub struct Mempool(&'static Pool);

#[derive(Debug)]
struct Pool {
    raw: NonNull<rte_mempool>,
    options: MempoolOptions,
    /// Frames that queues may hold at most, summed over the open devices.
    promised: AtomicU32,
}

// SAFETY: the pool's ring is the default one, for several producers and consumers; its caches are per lcore id, which
// one thread has at a time. The other fields are immutable or atomic.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Mempool {
    /// Makes a pool.
    ///
    /// # Errors
    ///
    /// Options out of range, a name that exists, or too little memory.
    pub fn create(_eal: &Eal, options: MempoolOptions) -> Result<Self, MempoolError> {
        let refuse = |why: String| Err(MempoolError::Option { name: options.name.clone(), why });
        let Ok(name) = CString::new(options.name.as_str()) else {
            return refuse("the name has a zero byte".to_owned());
        };
        if options.name.is_empty() || options.name.len() > 25 {
            return refuse("the name must have 1 to 25 bytes".to_owned());
        }
        let cache_max = dpdk_sys::RTE_MEMPOOL_CACHE_MAX_SIZE.min(options.frames * 2 / 3);
        if options.cache > cache_max {
            return refuse(format!("a cache of {} frames is too large: at most {cache_max}", options.cache));
        }
        let Some(size) =
            u16::try_from(dpdk_sys::RTE_PKTMBUF_HEADROOM).ok().and_then(|h| options.room.checked_add(h))
        else {
            return refuse(format!("{} bytes a buffer are too many: at most 65407", options.room));
        };
        // SAFETY: the EAL is initialised, `name` is a string for the time of the call, numbers are checked by DPDK.
        let raw = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(
                name.as_ptr(),
                options.frames,
                options.cache,
                0,
                size,
                dpdk_sys::SOCKET_ID_ANY,
            )
        };
        let Some(raw) = NonNull::new(raw) else {
            // SAFETY: reads a thread-local of this thread.
            let reason = io::Error::from_raw_os_error(unsafe { dpdk_sys::shim_errno() });
            return Err(MempoolError::Create { name: options.name, frames: options.frames, reason });
        };
        Ok(Self(Box::leak(Box::new(Pool { raw, options, promised: AtomicU32::new(0) }))))
    }

    /// How many frames the pool has.
    pub fn frames(&self) -> u32 {
        self.0.options.frames
    }

    /// Bytes per buffer behind the headroom.
    pub fn room(&self) -> u16 {
        self.0.options.room
    }

    /// How many frames are in the pool and its caches now. Exact when nobody takes or gives meanwhile. Walks over
    /// the caches of all lcores: not for the fast path.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is valid for the rest of the process.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw()) }
    }

    /// A new frame that holds a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// The pool is empty, or `bytes` don't fit into one buffer.
    pub fn frame(&self, bytes: &[u8]) -> Result<Mbuf, FrameError> {
        let room = self.room();
        if bytes.len() > usize::from(room) {
            return Err(FrameError::TooLong { length: bytes.len(), room });
        }
        // SAFETY: the pool is valid for the rest of the process.
        unsafe { copy(self.raw(), bytes) }.ok_or(FrameError::Empty)
    }

    pub(crate) fn raw(&self) -> *mut rte_mempool {
        self.0.raw.as_ptr()
    }

    /// Promises `frames` to the queues of a device, or says how many the pool would need for that.
    pub(crate) fn promise(&self, frames: u32) -> Result<(), u32> {
        // A burst in the hands of each side of a bridge, and what lcores keep aside (one and a half times the cache).
        let spare = 2 * BURST as u32 + self.0.options.cache * 3 / 2;
        let fits = |promised: u32| {
            let sum = promised.saturating_add(frames);
            (sum.saturating_add(spare) <= self.frames()).then_some(sum)
        };
        match self.0.promised.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(()),
            Err(promised) => Err(promised.saturating_add(frames).saturating_add(spare)),
        }
    }

    pub(crate) fn release(&self, frames: u32) {
        self.0.promised.fetch_sub(frames, Ordering::AcqRel);
    }
}

/// A new frame of a pool that holds a copy of `bytes`; `None` when the pool is empty or its buffers are too short.
///
/// # Safety
///
/// `pool` is a pool of this crate.
pub(crate) unsafe fn copy(pool: *mut rte_mempool, bytes: &[u8]) -> Option<Mbuf> {
    let length = u16::try_from(bytes.len()).ok()?;
    // SAFETY: pools of this crate are valid for the rest of the process.
    let mut raw = NonNull::new(unsafe { dpdk_sys::shim_mbuf_alloc(pool) })?;
    // SAFETY: a frame that was just allocated is held by nobody else.
    let head = unsafe { raw.as_mut() };
    let (headroom, room) = (head.data_off, head.buf_len);
    if room.checked_sub(headroom).is_none_or(|room| length > room) {
        // SAFETY: nobody else holds it, and it is given back once.
        unsafe { dpdk_sys::shim_mbuf_free(raw.as_ptr()) };
        return None;
    }
    // SAFETY: a fresh frame has `room - headroom` writable bytes behind its headroom, and `bytes` can't overlap them.
    unsafe {
        head.buf_addr
            .cast::<u8>()
            .add(usize::from(headroom))
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
    };
    head.data_len = length;
    head.pkt_len = u32::from(length);
    // SAFETY: from a pool of this crate, one initialised segment, no other holder.
    Some(unsafe { Mbuf::from_raw(raw) })
}

/// Why a pool was not made.
#[derive(Debug, Error)]
pub enum MempoolError {
    /// An option is out of range.
    #[error("mempool `{name}`: {why}")]
    Option {
        /// The pool.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// DPDK refused.
    #[error(
        "mempool `{name}` of {frames} frames can't be made: {reason} (more memory in EalOptions may help)"
    )]
    Create {
        /// The pool.
        name: String,
        /// Its size.
        frames: u32,
        /// What DPDK said.
        reason: io::Error,
    },
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// All frames are in use.
    #[error("the mempool is empty")]
    Empty,
    /// More bytes than a buffer has.
    #[error("{length} bytes don't fit into a buffer of {room}")]
    TooLong {
        /// Asked for.
        length: usize,
        /// Of a buffer.
        room: u16,
    },
}
