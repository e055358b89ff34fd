//! An owned frame: a pointer to DPDK's mbuf, given back to its pool on drop.

use std::ptr::NonNull;

use crate::mempool;
use dpdk_sys::rte_mbuf;
use glassgate_dataplane::port::Frame;

/// A frame in a mempool, alone in holding it. `Option<Mbuf>` is a pointer, null for `None`.
#[repr(transparent)]
#[derive(Debug)]
pub struct Mbuf(NonNull<rte_mbuf>);

// A driver writes mbuf pointers into the slots of a burst, and reads them from there.
const _: () = assert!(size_of::<Option<Mbuf>>() == size_of::<*mut rte_mbuf>());
const _: () = assert!(align_of::<Option<Mbuf>>() == align_of::<*mut rte_mbuf>());

// SAFETY: an Mbuf is the only holder of its frame, so that moving it moves the frame as a whole. It may be freed on
// any thread: a thread with an lcore id puts it into its own cache of the pool, a thread without one onto the pool's
// ring, which is safe for several producers. The pool is never freed.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes over a frame.
    ///
    /// # Safety
    ///
    /// `mbuf` came from a pool of this crate, is initialised as the head of a frame, and nobody else holds it.
    #[inline]
    pub(crate) unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Self {
        Self(mbuf)
    }

    /// How many segments the frame is made of; 1 unless it is longer than a buffer.
    pub fn segments(&self) -> usize {
        usize::from(self.head().nb_segs)
    }

    /// The bytes of the first segment, to change them: for those who make traffic. A bridge never does.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (from, length) = self.extent();
        // SAFETY: `length` initialised bytes from `from` on lie within the buffer of this frame. Pools of this crate hand
        // out a buffer to one frame at a time, and `&mut self` is the only way to this one.
        unsafe { std::slice::from_raw_parts_mut(from, length) }
    }

    /// First byte and length of the first segment. All of it lies within the buffer, and is initialised: pools are
    /// made of zeroed memory.
    #[inline]
    fn extent(&self) -> (*mut u8, usize) {
        let head = self.head();
        let room = usize::from(head.buf_len);
        // net_null, for one, claims frames longer than the buffer if it is told to. The bound shares the cache line.
        let from = usize::from(head.data_off).min(room);
        let length = usize::from(head.data_len).min(room - from);
        (head.buf_addr.cast::<u8>().wrapping_add(from), length)
    }

    #[inline]
    fn head(&self) -> &rte_mbuf {
        // SAFETY: the mbuf is valid and this is its only holder; nothing changes it while `self` is borrowed.
        unsafe { self.0.as_ref() }
    }
}

impl Frame for Mbuf {
    fn sibling(&self, bytes: &[u8]) -> Option<Self> {
        // SAFETY: the pool that a frame came from lives as long as the process.
        unsafe { mempool::copy(self.head().pool, bytes) }
    }

    /// The first segment.
    #[inline]
    fn bytes(&self) -> &[u8] {
        let (from, length) = self.extent();
        // SAFETY: `length` initialised bytes from `from` on lie within the buffer, and are only written through this
        // frame, which is borrowed.
        unsafe { std::slice::from_raw_parts(from, length) }
    }

    #[inline]
    fn wire_len(&self) -> usize {
        self.head().pkt_len as usize
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: this is the only holder, and gives the frame back once.
        unsafe { dpdk_sys::shim_mbuf_free(self.0.as_ptr()) };
    }
}
