//! A port on a Unix socket: one datagram per frame.
//!
//! For tests with real processes and for virtual machines (`-netdev dgram` of QEMU speaks it), without root, without
//! DPDK, without a network. Not for speed: a system call per frame.
//!
//! The port receives at `PATH` and sends to `PATH.peer`; whoever is at the other end does it the other way round.
//! Either side may come and go: a frame for which nobody is there, or for which there is no room, is not accepted. The
//! kernel keeps some ten datagrams per socket (`net.unix.max_dgram_qlen`), so a sender that floods must wait.

use super::{Burst, Frame, Port, PortCounters};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The longest frame: a jumbo frame with tags. Longer datagrams are lost and counted as missed.
pub const MAX_FRAME: usize = 9 * 1024 + 256;
/// Buffers kept for use again.
const POOL: usize = 256;

type Pool = Arc<Mutex<Vec<Box<[u8]>>>>;

/// A port on a Unix socket.
#[derive(Debug)]
pub struct SocketPort {
    socket: UnixDatagram,
    peer: PathBuf,
    pool: Pool,
    counters: PortCounters,
}

/// A frame of such a port.
#[derive(Debug)]
pub struct SocketFrame {
    buffer: Box<[u8]>,
    len: usize,
    pool: Pool,
}

impl Frame for SocketFrame {
    fn sibling(&self, bytes: &[u8]) -> Option<Self> {
        let pooled = self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = pooled.unwrap_or_else(|| vec![0; MAX_FRAME + 1].into_boxed_slice());
        buffer.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { buffer, len: bytes.len(), pool: self.pool.clone() })
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Drop for SocketFrame {
    fn drop(&mut self) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < POOL {
            pool.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// The path that a port at `path` sends to.
pub fn peer_of(path: &Path) -> PathBuf {
    let mut peer = path.as_os_str().to_owned();
    peer.push(".peer");
    peer.into()
}

impl SocketPort {
    /// Takes the socket at `path`, which a dead predecessor may have left there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, peer: peer_of(path), pool: Pool::default(), counters: PortCounters::default() })
    }

    fn buffer(&self) -> Box<[u8]> {
        let pooled = self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
        pooled.unwrap_or_else(|| vec![0; MAX_FRAME + 1].into_boxed_slice())
    }
}

impl Port for SocketPort {
    type Frame = SocketFrame;

    fn rx_burst(&mut self, burst: &mut Burst<SocketFrame>) -> usize {
        let before = burst.len();
        while burst.room() > 0 {
            let mut buffer = self.buffer();
            let received = self.socket.recv(&mut buffer);
            let frame =
                SocketFrame { buffer, len: received.as_ref().map_or(0, |n| *n), pool: self.pool.clone() };
            match received {
                Ok(len) if (1..=MAX_FRAME).contains(&len) => {
                    self.counters.rx_frames += 1;
                    self.counters.rx_bytes += len as u64;
                    // There is room.
                    _ = burst.push(frame);
                }
                Ok(_) => self.counters.rx_missed += 1,
                Err(_) => break,
            }
        }
        burst.len() - before
    }

    fn tx_burst(&mut self, burst: &mut Burst<SocketFrame>) -> usize {
        let mut sent = 0;
        for frame in burst.iter() {
            if self.socket.send_to(frame.bytes(), &self.peer).is_err() {
                break;
            }
            self.counters.tx_frames += 1;
            self.counters.tx_bytes += frame.bytes().len() as u64;
            sent += 1;
        }
        burst.take_front(sent).for_each(drop);
        sent
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_whole_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lan");
        let mut port = SocketPort::bind(&path).unwrap();
        let peer = UnixDatagram::bind(peer_of(&path)).unwrap();
        let mut buffer = [0; 8192];
        // The kernel keeps some ten datagrams for a socket that nobody reads.
        for round in 0..5u8 {
            let frames: Vec<Vec<u8>> = (1..=8).map(|n| vec![round * 8 + n; usize::from(n) * 1000]).collect();
            for frame in &frames {
                peer.send_to(frame, &path).unwrap();
            }
            let mut burst = Burst::default();
            assert_eq!((port.rx_burst(&mut burst), burst.len()), (8, 8));
            assert_eq!(port.tx_burst(&mut burst), 8);
            for frame in &frames {
                let len = peer.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..len], frame);
            }
        }
        peer.send_to(&[0; MAX_FRAME + 1], &path).unwrap();
        assert_eq!(port.rx_burst(&mut Burst::default()), 0);
        let counters = port.counters();
        assert_eq!((counters.rx_frames, counters.tx_frames, counters.rx_missed), (40, 40, 1));
        assert_eq!(counters.rx_bytes, counters.tx_bytes);
    }

    #[test]
    fn without_a_peer_nothing_is_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let (lan, uplink) = (dir.path().join("lan"), dir.path().join("uplink"));
        let (mut a, mut b) = (SocketPort::bind(&lan).unwrap(), SocketPort::bind(&uplink).unwrap());
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(b"frame", &lan).unwrap();
        let mut burst = Burst::default();
        assert_eq!(a.rx_burst(&mut burst), 1);
        assert_eq!((b.tx_burst(&mut burst), burst.len()), (0, 1));
        let server = UnixDatagram::bind(peer_of(&uplink)).unwrap();
        assert_eq!((b.tx_burst(&mut burst), burst.len()), (1, 0));
        let mut buffer = [0; 16];
        assert_eq!(server.recv(&mut buffer).unwrap(), 5);
        // And a successor takes the path over.
        drop(a);
        assert!(SocketPort::bind(&lan).is_ok());
    }
}
