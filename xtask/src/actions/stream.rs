//! Numbered datagrams from a device to the router, across the gateway: whether all of them arrive, unchanged.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::lab::Lab;
use crate::lab::devices::Device;

const PAYLOAD: usize = 400;
const PORT: u16 = 9099;

/// What became of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Received with other bytes than were sent.
    pub(super) wrong: u64,
    /// Received more than once.
    pub(super) twice: u64,
}

impl Figures {
    /// Whether all arrived once and as they were sent, and the words for it.
    pub(super) fn unharmed(&self) -> (bool, String) {
        let lost = self.sent.saturating_sub(self.received);
        let words = format!(
            "{lost} of {} datagrams lost, {} changed, {} came twice",
            self.sent, self.wrong, self.twice
        );
        (lost == 0 && self.wrong == 0 && self.twice == 0 && self.sent > 0, words)
    }
}

/// A stream that flows.
pub(super) struct Stream {
    sends: JoinHandle<Result<u64>>,
    receives: JoinHandle<Result<Figures>>,
    over: Arc<AtomicBool>,
}

impl Stream {
    /// Has `from` send so many datagrams a second until then.
    pub(super) fn start(lab: &Lab, from: &Device, per_s: u32, until: Instant) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        // Nothing is sent before there is a socket for it.
        let (ready, is_ready) = channel();
        let receives = {
            let over = over.clone();
            lab.wan.enter(move || receive(&over, &ready))?
        };
        // A thread that failed says why when it is joined.
        if is_ready.recv().is_err() {
            joined(receives)?;
            bail!("nobody receives");
        }
        let sends = lab.netns(from).enter(move || send(per_s, until))?;
        Ok(Self { sends, receives, over })
    }

    /// Waits for its end.
    pub(super) fn end(self) -> Result<Figures> {
        let sent = joined(self.sends)?;
        self.over.store(true, Relaxed);
        Ok(Figures { sent, ..joined(self.receives)? })
    }
}

/// What a thread came to.
pub(super) fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread panicked"))
}

/// Does something `per_s` times a second until then: in portions of a millisecond, and late ones at once. How often.
pub(super) fn paced(per_s: u32, until: Instant, mut work: impl FnMut(u64) -> Result<()>) -> Result<u64> {
    let began = Instant::now();
    let mut done = 0;
    while Instant::now() < until {
        let due = began.elapsed().as_micros() as u64 * u64::from(per_s) / 1_000_000;
        // What the machine was late for comes later, not all at once: the receiver's queue is not what is measured.
        for _ in 0..due.saturating_sub(done).min(u64::from(per_s) / 100) {
            work(done)?;
            done += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(done)
}

fn payload(n: u64) -> [u8; PAYLOAD] {
    let mut bytes = [0; PAYLOAD];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    for (i, byte) in bytes.iter_mut().enumerate().skip(8) {
        *byte = (n as usize * 31 + i) as u8;
    }
    bytes
}

/// Sends them.
fn send(per_s: u32, until: Instant) -> Result<u64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(("10.77.0.1", PORT))?;
    paced(per_s, until, |n| {
        socket.send(&payload(n)).context("sending the stream")?;
        Ok(())
    })
}

/// What becomes of them.
fn receive(over: &AtomicBool, ready: &Sender<()>) -> Result<Figures> {
    let socket = UdpSocket::bind(("10.77.0.1", PORT))?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 32 << 20)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    ready.send(())?;
    let (mut figures, mut bytes) = (Figures::default(), [0; PAYLOAD + 1]);
    let mut seen = Vec::new();
    loop {
        match socket.recv(&mut bytes) {
            Ok(len) => {
                let n = bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
                if len != PAYLOAD || bytes[..PAYLOAD] != payload(n) {
                    figures.wrong += 1;
                    continue;
                }
                let at = n as usize;
                if seen.len() <= at {
                    seen.resize(at + 1, false);
                }
                let again = std::mem::replace(&mut seen[at], true);
                figures.twice += u64::from(again);
                figures.received += u64::from(!again);
            }
            // Nothing is on its way any more.
            Err(_) if over.load(Relaxed) => return Ok(figures),
            Err(_) => {}
        }
    }
}
