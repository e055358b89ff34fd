//! Ports in memory: for tests, for load without a NIC, and as the far end of a capture file.
//!
//! ```text
//!  outside ◄──── queue ──── inside          [`pair`] makes two ports; what one sends, the other receives.
//!  outside ───── queue ───► inside          A full queue refuses frames, which stay with the sender.
//! ```
//!
//! Queues are bounded and allocate nothing after [`pair`]. [`Pool`] lends fixed-size buffers for frames and gets
//! them back when the frames are dropped, as a NIC's mempool does; when it is empty it says so.

use super::{Burst, Frame, Link, Port, PortCounters};
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;

/// Buffers of one size, lent to frames.
#[derive(Clone)]
pub struct Pool {
    free: Arc<ArrayQueue<Box<[u8]>>>,
    size: usize,
}

impl Pool {
    /// `buffers` buffers (at least one) of `size` bytes each, allocated now.
    pub fn new(buffers: usize, size: usize) -> Self {
        let free = ArrayQueue::new(buffers.max(1));
        while free.push(vec![0; size].into_boxed_slice()).is_ok() {}
        Self { free: Arc::new(free), size }
    }

    /// An Ethernet frame with these bytes. `None` when no buffer is free or the bytes don't fit into one.
    pub fn frame(&self, bytes: &[u8]) -> Option<MemoryFrame> {
        self.cut_frame(bytes, bytes.len(), Link::Ethernet)
    }

    /// A frame of `wire_len` bytes on the wire, of which only `bytes` are at hand.
    pub fn cut_frame(&self, bytes: &[u8], wire_len: usize, link: Link) -> Option<MemoryFrame> {
        if bytes.len() > self.size {
            return None;
        }
        let mut buffer = self.free.pop()?;
        buffer.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(MemoryFrame {
            buffer: Some(buffer),
            len: bytes.len(),
            wire_len: wire_len.max(bytes.len()),
            link,
            pool: self.clone(),
        })
    }

    /// How many buffers are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }
}

/// A frame in a buffer of a [`Pool`].
pub struct MemoryFrame {
    /// Always there until the frame is dropped.
    buffer: Option<Box<[u8]>>,
    len: usize,
    wire_len: usize,
    link: Link,
    pool: Pool,
}

impl MemoryFrame {
    /// The bytes, to change them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.buffer.as_deref_mut().and_then(|b| b.get_mut(..len)).unwrap_or_default()
    }

    /// Keeps the first `len` bytes, on the wire too.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.wire_len = self.wire_len.min(len);
    }

    /// Another frame of the same bytes, from the same pool.
    pub fn duplicate(&self) -> Option<Self> {
        self.pool.cut_frame(self.bytes(), self.wire_len, self.link)
    }
}

impl Frame for MemoryFrame {
    fn sibling(&self, bytes: &[u8]) -> Option<Self> {
        self.pool.frame(bytes)
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.as_deref().and_then(|b| b.get(..self.len)).unwrap_or_default()
    }

    fn wire_len(&self) -> usize {
        self.wire_len
    }

    fn link(&self) -> Link {
        self.link
    }
}

impl Drop for MemoryFrame {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // The queue has room for every buffer there is.
            let _ = self.pool.free.push(buffer);
        }
    }
}

impl std::fmt::Debug for MemoryFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryFrame({} of {} bytes, {:?})", self.len, self.wire_len, self.link)
    }
}

/// One of two connected ports.
pub struct MemoryPort<F = MemoryFrame> {
    rx: Arc<ArrayQueue<F>>,
    tx: Arc<ArrayQueue<F>>,
    counters: PortCounters,
}

/// Two connected ports whose queues hold `capacity` frames each (at least one).
pub fn pair<F: Frame>(capacity: usize) -> (MemoryPort<F>, MemoryPort<F>) {
    let (a, b) = (Arc::new(ArrayQueue::new(capacity.max(1))), Arc::new(ArrayQueue::new(capacity.max(1))));
    let one = MemoryPort { rx: Arc::clone(&a), tx: Arc::clone(&b), counters: PortCounters::default() };
    (one, MemoryPort { rx: b, tx: a, counters: PortCounters::default() })
}

impl<F: Frame> MemoryPort<F> {
    /// Sends one frame, or gives it back when the queue is full.
    pub fn send(&mut self, frame: F) -> Result<(), F> {
        let len = frame.wire_len() as u64;
        self.tx.push(frame)?;
        self.counters.tx_frames += 1;
        self.counters.tx_bytes += len;
        Ok(())
    }

    /// Whether the other side has received all that was sent.
    pub fn is_taken(&self) -> bool {
        self.tx.is_empty()
    }

    /// The next frame that has arrived.
    pub fn receive(&mut self) -> Option<F> {
        let frame = self.rx.pop()?;
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += frame.wire_len() as u64;
        Some(frame)
    }
}

impl<F: Frame> Port for MemoryPort<F> {
    type Frame = F;

    fn rx_burst(&mut self, burst: &mut Burst<F>) -> usize {
        let mut got = 0;
        while burst.room() > 0 {
            let Some(frame) = self.receive() else { break };
            // There is room: nothing comes back.
            let _ = burst.push(frame);
            got += 1;
        }
        got
    }

    fn tx_burst(&mut self, burst: &mut Burst<F>) -> usize {
        // This side alone fills the queue, so the room seen now is there.
        let room = self.tx.capacity() - self.tx.len();
        let mut sent = 0;
        for frame in burst.take_front(room) {
            sent += usize::from(self.send(frame).is_ok());
        }
        sent
    }

    /// The other port is gone and everything it sent has been received.
    fn is_exhausted(&self) -> bool {
        // In this order: what was sent before the other side went is seen.
        Arc::strong_count(&self.rx) == 1 && self.rx.is_empty()
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_in_order_and_buffers_come_back() {
        let pool = Pool::new(8, 64);
        let (mut outside, mut inside) = pair(4);
        for i in 0..4u8 {
            outside.send(pool.frame(&[i; 60]).unwrap()).unwrap();
        }
        let refused = outside.send(pool.frame(&[9; 60]).unwrap()).unwrap_err();
        assert_eq!(refused.bytes(), [9; 60]);
        drop(refused);
        let mut burst = Burst::default();
        assert_eq!(inside.rx_burst(&mut burst), 4);
        assert_eq!(burst.iter().map(|f| f.bytes()[0]).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(inside.tx_burst(&mut burst), 4);
        assert_eq!(pool.free(), 4);
        assert_eq!(outside.receive().unwrap().bytes(), [0; 60]);
        assert_eq!((inside.counters().rx_frames, inside.counters().tx_bytes), (4, 240));
        assert!(!inside.is_exhausted());
        drop(outside);
        assert!(inside.is_exhausted());
        drop(inside);
        assert_eq!(pool.free(), 8);
    }

    #[test]
    fn a_full_queue_leaves_the_rest_in_the_burst() {
        let pool = Pool::new(8, 64);
        let (mut a, mut b) = pair(3);
        let mut burst = Burst::default();
        for i in 0..5u8 {
            burst.push(pool.frame(&[i]).unwrap()).unwrap();
        }
        assert_eq!(a.tx_burst(&mut burst), 3);
        assert_eq!(burst.iter().map(|f| f.bytes()[0]).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(b.receive().unwrap().bytes(), [0]);
        assert_eq!(a.tx_burst(&mut burst), 1);
        assert_eq!(burst.len(), 1);
    }

    #[test]
    fn an_empty_pool_says_so() {
        let pool = Pool::new(1, 4);
        assert!(pool.frame(&[0; 5]).is_none(), "larger than a buffer");
        let one = pool.frame(&[1, 2, 3]).unwrap();
        assert!(pool.frame(&[1]).is_none());
        drop(one);
        let mut cut = pool.cut_frame(&[1, 2, 3], 60, Link::RawIp).unwrap();
        assert_eq!((cut.bytes(), cut.wire_len(), cut.link()), (&[1u8, 2, 3][..], 60, Link::RawIp));
        cut.truncate(2);
        assert_eq!((cut.bytes(), cut.wire_len()), (&[1u8, 2][..], 2));
    }
}
