//! The gateway's own address on the ports of the bridge: a small TCP/IP stack over frames that the lcores hand over.
//!
//! ```text
//!  punt rings ─► demux by VLAN and port ─► admission of SYNs ─► smoltcp ─┬─► Listener ─► Stream ─► the page
//!  send rings ◄──────────────────────────────────────────────────────────┘
//! ```
//!
//! [`smoltcp`] does ARP, neighbour discovery, echo and TCP. What it lacks, a backlog and a limit on who may fill it, is done here:
//! a socket is made for a SYN once it is [admitted](stack), and not before.
//!
//! **Each port of each network is an interface of its own**, with its own neighbours and its own flows. So an answer leaves by the
//! port that the question came in by, without a table of who is where that somebody could fill or poison; a frame of a
//! flow that comes in by another port meets no flow; and from which [`Side`] somebody comes is a fact of the interface, not of the
//! frame.
//!
//! All of it runs on the thread that serves the page, which is the only one that uses it: nothing is handed over between threads, and
//! what a page is late by, its frames are late by anyway. The lcores make no system call to wake it. It looks at the rings each
//! millisecond while something goes on, and a hundred times a second when nothing does.

mod device;
mod neighbours;
mod stack;
mod stream;
#[cfg(test)]
mod tests;

use crate::config::Inband;
use crate::lcore_memory::FrameRings;
use crate::page::peer::{Peer, Side};
use anyhow::{Context as _, Result, ensure};
use ring::rand::{SecureRandom as _, SystemRandom};
use stack::Stack;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
pub(crate) use stream::Stream;
use tokio::sync::Notify;
use tracing::error;

/// Between two looks at the rings while something goes on.
const BUSY: Duration = Duration::from_millis(1);
/// While nothing does: as long as the first frame may wait.
const QUIET: Duration = Duration::from_millis(10);
/// How long after the last frame something still goes on.
const LINGER: Duration = Duration::from_millis(500);

macro_rules! counts {
    ($($(#[$meta:meta])* $name:ident,)+) => {
        /// What became of flows and frames since the control process started.
        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            waiting: AtomicUsize,
            open: AtomicUsize,
            accepted: AtomicU64,
            $($(#[$meta])* $name: AtomicU64,)+
        }

        impl Counts {
            /// The numbers now.
            pub(crate) fn now(&self) -> CountsNow {
                CountsNow {
                    waiting: self.waiting.load(Relaxed),
                    open: self.open.load(Relaxed),
                    accepted: self.accepted.load(Relaxed),
                    turned_away: vec![$((stringify!($name), self.$name.load(Relaxed)),)+],
                }
            }
        }
    };
}

counts! {
    /// SYNs of a source that has all the flows that one may have.
    source_full,
    /// SYNs of a hardware address that has.
    mac_full,
    /// SYNs when all places were taken by flows that are open.
    full,
    /// Flows that were being opened and gave their place to a newer SYN.
    pushed_out,
    /// Flows that were not opened in time.
    timed_out,
    /// SYNs that the stack did not take: a wrong checksum, a wrong header.
    bad_syn,
    /// Slots of a ring that held no frame, or one of another network.
    bad_frames,
    /// Times that the stack failed and was begun anew.
    restarts,
}

/// [`Counts`] at one moment.
pub(crate) struct CountsNow {
    /// Flows that are being opened.
    pub(crate) waiting: usize,
    /// Flows that are open.
    pub(crate) open: usize,
    /// Flows that were opened.
    pub(crate) accepted: u64,
    /// What was not, by reason.
    pub(crate) turned_away: Vec<(&'static str, u64)>,
}

/// The stack, shared by those who use it: all of them on one thread, so that nobody waits for the lock.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Shared>);

struct Shared {
    stack: Mutex<Stack>,
    /// Something is to be sent.
    news: Notify,
    counts: Arc<Counts>,
    local: SocketAddr,
}

/// Opens the stack: takes the rings over, and throws away what was for a predecessor.
pub(crate) fn open(own: &Inband, frames: &[FrameRings]) -> Result<Listener> {
    ensure!(!frames.is_empty(), "no rings for the gateway's own address");
    let mac = own.mac.context("no hardware address was made")?;
    let mut seed = [0; 8];
    SystemRandom::new().fill(&mut seed).ok().context("there is no randomness")?;
    let counts = Arc::new(Counts::default());
    let stack = Stack::new(own, mac, frames, u64::from_le_bytes(seed), counts.clone());
    let first = own.networks().find_map(|(_, net)| {
        net.v4.map(|net| IpAddr::V4(net.addr())).or_else(|| net.v6.map(|net| IpAddr::V6(net.addr())))
    });
    let local = SocketAddr::new(first.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), own.port);
    Ok(Listener(Handle(Arc::new(Shared { stack: Mutex::new(stack), news: Notify::new(), counts, local }))))
}

impl Handle {
    /// Moves frames until the process ends.
    pub(crate) async fn drive(&self) {
        let began = tokio::time::Instant::now();
        let mut last_frame = None;
        loop {
            let now = began.elapsed();
            // What a frame does to the stack must not end the process that keeps the log.
            let turned = catch_unwind(AssertUnwindSafe(|| self.lock().turn(now)));
            let turn = turned.unwrap_or_else(|_| {
                error!("the in-band stack failed and begins anew");
                self.0.counts.restarts.fetch_add(1, Relaxed);
                self.lock().restart();
                stack::Turn::default()
            });
            if turn.frames > 0 {
                last_frame = Some(now);
            }
            if turn.more {
                tokio::task::yield_now().await;
                continue;
            }
            let goes_on = last_frame.is_some_and(|last| now.saturating_sub(last) < LINGER);
            let wait = if goes_on { BUSY } else { QUIET };
            // No less than a millisecond: what is due sooner is due with many others.
            let wait = turn.due.map_or(wait, |due| due.max(BUSY).min(wait));
            tokio::select! {
                () = self.0.news.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stack> {
        self.0.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to send, or room to receive.
    fn tell(&self) {
        self.0.news.notify_one();
    }
}

/// Gives the flows that were opened.
pub(crate) struct Listener(Handle);

impl Listener {
    /// What has to be driven for anything to happen.
    pub(crate) fn stack(&self) -> Handle {
        self.0.clone()
    }

    /// What became of flows and frames.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        self.0.0.counts.clone()
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = Peer;

    async fn accept(&mut self) -> (Stream, Peer) {
        let (id, peer) = std::future::poll_fn(|cx| self.0.lock().poll_accept(cx)).await;
        (Stream::new(self.0.clone(), id), peer)
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.0.0.local, side: Side::Lan })
    }
}
