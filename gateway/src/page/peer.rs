//! Who is at the other end of a connection, and from which side of the gateway they came.
//!
//! A listener says it as it accepts, and each request carries it: what may be answered depends on the side.

use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// From where a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The management side: a kernel interface, or the management VLAN.
    Management,
    /// The people whose traffic crosses the gateway.
    Lan,
}

/// The other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) side: Side,
}

/// A socket of the kernel, which is on the management side.
pub(crate) struct Kernel(pub(crate) TcpListener);

impl Listener for Kernel {
    type Io = TcpStream;
    type Addr = Peer;

    async fn accept(&mut self) -> (TcpStream, Peer) {
        // Waits where descriptors have run out, and goes on.
        let (stream, address) = Listener::accept(&mut self.0).await;
        (stream, Peer { address, side: Side::Management })
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.0.local_addr()?, side: Side::Management })
    }
}
