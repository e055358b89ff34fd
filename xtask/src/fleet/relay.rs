//! A link: connections that are passed on, until the link is cut. Then no byte passes and nothing is closed, until it is mended.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;

/// The links of a site, one to each server.
#[derive(Debug)]
pub(super) struct Relay {
    /// Where each server is reached.
    pub(super) ports: Vec<u16>,
    is_cut: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
}

impl Relay {
    pub(super) fn start(servers: &[SocketAddr]) -> Result<Self> {
        let (is_cut, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut ports = Vec::new();
        for server in servers.iter().copied() {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            ports.push(listener.local_addr()?.port());
            let (is_cut, bytes) = (Arc::clone(&is_cut), Arc::clone(&bytes));
            std::thread::spawn(move || {
                for near in listener.incoming().flatten() {
                    let (is_cut, bytes) = (Arc::clone(&is_cut), Arc::clone(&bytes));
                    std::thread::spawn(move || pass(near, server, &is_cut, &bytes));
                }
            });
        }
        Ok(Self { ports, is_cut, bytes })
    }

    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    pub(super) fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }

    /// Bytes that crossed it, both ways.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

fn pass(near: TcpStream, server: SocketAddr, is_cut: &Arc<AtomicBool>, bytes: &Arc<AtomicU64>) {
    while is_cut.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let Ok(far) = TcpStream::connect(server) else { return };
    let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { return };
    let (is_cut_too, bytes_too) = (Arc::clone(is_cut), Arc::clone(bytes));
    std::thread::spawn(move || one_way(far_too, near_too, &is_cut_too, &bytes_too));
    one_way(near, far, is_cut, bytes);
}

fn one_way(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool, bytes: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        while is_cut.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
        bytes.fetch_add(read as u64, Ordering::SeqCst);
    }
    // The other end learns of it only while there is a link, which is so by now.
    _ = to.shutdown(Shutdown::Both);
    _ = from.shutdown(Shutdown::Both);
}
