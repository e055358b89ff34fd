//! The server under the page: HTTP/1.1 on the management side, with a bound on everything.
//!
//! At most [`CONNECTIONS`] at the same time, further ones wait in the kernel; a head must come within [`HEAD`], in at
//! most [`BUFFER`] bytes; a connection ends after [`LIFETIME`], however busy it is.

use super::peer::Peer;
use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

const CONNECTIONS: usize = 64;
const HEAD: Duration = Duration::from_secs(5);
const LIFETIME: Duration = Duration::from_secs(120);
const BUFFER: usize = 16 << 10;

/// Serves until the process ends. Each request carries its [`Peer`] as an extension.
pub(super) async fn run<L: Listener<Addr = Peer>>(mut listener: L, router: Router) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = listener.accept().await;
        let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(BUFFER)
                .serve_connection(TokioIo::new(stream), service);
            // Whatever goes wrong on a connection is its client's business.
            _ = tokio::time::timeout(LIFETIME, connection).await;
            drop(place);
        });
    }
}
