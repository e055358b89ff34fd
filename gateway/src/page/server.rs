//! The server under the page: HTTP/1.1, over TLS 1.3 or in clear, with a bound on everything.
//!
//! | bound | |
//! |---|---|
//! | [`CONNECTIONS`], [`EACH`] of one source | a further one of the source is closed; when all are taken, the one that has waited longest without a request gives way |
//! | [`HEAD`] | for the first byte, the TLS handshake, and each head |
//! | [`BUFFER`] | bytes of a head |
//! | [`LIFETIME`] | of a connection, however busy |
//!
//! The first byte tells TLS from HTTP: a handshake begins with 22, which no request does. So both are served at one port, and whoever comes in clear can be
//! shown the way.

use super::peer::{Peer, Side};
use axum::Router;
use axum::body::Body;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

const CONNECTIONS: usize = 32;
const EACH: usize = 8;
const HEAD: Duration = Duration::from_secs(10);
const LIFETIME: Duration = Duration::from_secs(120);
const BUFFER: usize = 8 << 10;
/// What a TLS handshake begins with (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Tls,
    /// In clear, from where nobody else listens, or where nothing is secret.
    Clear,
    /// In clear, where somebody may listen: it is shown the way, nothing else.
    Exposed,
}

impl Channel {
    pub(super) const fn scheme(self) -> &'static str {
        match self {
            Self::Tls => "https",
            Self::Clear | Self::Exposed => "http",
        }
    }
}

/// Serves until the process ends. Each request carries its [`Peer`] and [`Channel`] as extensions. Without an acceptor there is no TLS, and all is served in
/// clear: for tests.
pub(super) async fn run<L: Listener<Addr = Peer>>(
    mut listener: L,
    router: Router,
    tls: Option<TlsAcceptor>,
) -> io::Result<()> {
    let places = Arc::new(Places::default());
    loop {
        let (stream, peer) = listener.accept().await;
        let Some(place) = Places::enter(&places, peer.address.ip()) else { continue };
        let (router, tls) = (router.clone(), tls.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = place.cut.notified() => {}
                // Whatever goes wrong on a connection is its client's business.
                _ = timeout(LIFETIME, converse(stream, peer, router, tls, place.waits.clone())) => {}
            }
        });
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut stream: S,
    peer: Peer,
    router: Router,
    tls: Option<TlsAcceptor>,
    waits: Arc<AtomicBool>,
) -> io::Result<()> {
    let first = timeout(HEAD, stream.read_u8()).await??;
    let stream = Begun { first: Some(first), stream };
    let clear = peer.side == Side::Lan || peer.address.ip().to_canonical().is_loopback();
    match tls {
        Some(tls) if first == HANDSHAKE => {
            let stream = timeout(HEAD, tls.accept(stream)).await??;
            http(stream, peer, Channel::Tls, router, waits).await
        }
        Some(_) if !clear => http(stream, peer, Channel::Exposed, router, waits).await,
        _ => http(stream, peer, Channel::Clear, router, waits).await,
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    channel: Channel,
    router: Router,
    waits: Arc<AtomicBool>,
) -> io::Result<()> {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(channel);
        waits.store(false, Ordering::Relaxed);
        let (answer, waits) = (router.call(request.map(Body::new)), waits.clone());
        async move {
            let answer = answer.await;
            waits.store(true, Ordering::Relaxed);
            answer
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

/// A stream whose first byte was read already.
struct Begun<S> {
    first: Option<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buf.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The connections that there are.
#[derive(Default)]
struct Places {
    taken: Mutex<Vec<Taken>>,
}

struct Taken {
    source: IpAddr,
    since: Instant,
    waits: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

/// The place of one connection, until it is dropped.
struct Place {
    places: Arc<Places>,
    /// Whether no request is being answered.
    waits: Arc<AtomicBool>,
    /// It has to give way.
    cut: Arc<Notify>,
}

impl Places {
    /// A place for a connection of this source, if there is one.
    fn enter(places: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let source = source.to_canonical();
        let mut taken = places.lock();
        if taken.iter().filter(|place| place.source == source).count() >= EACH {
            return None;
        }
        if taken.len() >= CONNECTIONS {
            let waiting = taken.iter().enumerate().filter(|(_, place)| place.waits.load(Ordering::Relaxed));
            let longest = waiting.min_by_key(|(_, place)| place.since).map(|(at, _)| at)?;
            taken.remove(longest).cut.notify_one();
        }
        let (waits, cut) = (Arc::new(AtomicBool::new(true)), Arc::new(Notify::new()));
        taken.push(Taken { source, since: Instant::now(), waits: waits.clone(), cut: cut.clone() });
        drop(taken);
        Some(Place { places: places.clone(), waits, cut })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().retain(|place| !Arc::ptr_eq(&place.cut, &self.cut));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn eight_of_a_source_and_when_all_are_taken_who_waits_gives_way() {
        let places = Arc::new(Places::default());
        let mut held: Vec<Place> = (0..8).map(|_| Places::enter(&places, ip(1)).unwrap()).collect();
        assert!(Places::enter(&places, ip(1)).is_none(), "a ninth");
        held.extend(
            (2..5).flat_map(|n| (0..8).map(move |_| n)).map(|n| Places::enter(&places, ip(n)).unwrap()),
        );
        assert_eq!(places.lock().len(), CONNECTIONS);
        // The first is busy: the second gives way.
        held[0].waits.store(false, Ordering::Relaxed);
        let late = Places::enter(&places, ip(9)).unwrap();
        assert_eq!(places.lock().len(), CONNECTIONS);
        assert_eq!(places.lock().iter().filter(|place| place.source == ip(1)).count(), 7);
        assert!(places.lock().iter().any(|place| Arc::ptr_eq(&place.cut, &held[0].cut)));
        drop((late, held));
        assert_eq!(places.lock().len(), 0);
        let busy: Vec<Place> =
            (0..CONNECTIONS as u8).map(|n| Places::enter(&places, ip(n)).unwrap()).collect();
        busy.iter().for_each(|place| place.waits.store(false, Ordering::Relaxed));
        assert!(Places::enter(&places, ip(200)).is_none(), "all of them are busy");
    }
}
