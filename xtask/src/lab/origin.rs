//! The servers behind the lab's Internet: HTTPS with a certificate for every name, plain HTTP, and [QUIC](super::quic).
//!
//! They run on a thread of this program inside the Internet's namespace, so there is no process to be left
//! behind and both ends of every transfer can be compared in one place.
//!
//! | request | answer |
//! |---|---|
//! | `GET /bytes/N` | the first N bytes of a random buffer, made at start |
//! | `POST /upload` | the SHA-256 of what was sent, in hexadecimal |
//! | anything else | a line of text |

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::certs::Certificates;
use super::netns::Netns;
use super::{payload, quic};

/// A server of the lab's Internet: its name, and the last number of its addresses `203.0.113.N` and
/// `2001:db8:113::N`.
#[derive(Debug, PartialEq, Eq)]
pub struct Server {
    /// The name it has in the name server and in its certificate.
    pub name: &'static str,
    /// The last number of its addresses.
    pub host: u8,
    /// Service and category that the signature table has for it.
    pub service: Option<(&'static str, &'static str)>,
}

/// The names: some of the signature table's, answered by our own servers and never by their owners', and some
/// that nobody has. Two share an address, as behind a CDN.
pub const NAMES: [Server; 10] = [
    Server { name: "intranet.example", host: 10, service: None },
    Server { name: "www.zhipin.com", host: 20, service: Some(("boss-zhipin", "recruitment")) },
    Server { name: "www.liepin.com", host: 21, service: Some(("liepin", "recruitment")) },
    Server { name: "www.douyin.com", host: 22, service: Some(("douyin", "short_video")) },
    Server { name: "music.163.com", host: 23, service: Some(("netease-music", "music")) },
    Server { name: "www.jd.com", host: 24, service: Some(("jd", "shopping")) },
    Server { name: "waimai.meituan.com", host: 25, service: Some(("meituan", "food_delivery")) },
    Server { name: "pan.baidu.com", host: 26, service: Some(("baidu-netdisk", "cloud_storage")) },
    Server { name: "news.example", host: 30, service: None },
    Server { name: "shop.example", host: 30, service: None },
];

impl Server {
    /// Its IPv4 address.
    pub fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, self.host)
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, u16::from(self.host))
    }
}

/// Every address of the lab's Internet with its prefix length, name server included.
pub fn addresses() -> Vec<String> {
    let servers = NAMES.iter().flat_map(|server| [IpAddr::V4(server.v4()), IpAddr::V6(server.v6())]);
    let mut all: Vec<_> = servers.chain([super::dns::SERVER_V4, super::dns::SERVER_V6]).collect();
    all.sort();
    all.dedup();
    all.iter()
        .map(
            |address| {
                if address.is_ipv4() { format!("{address}/32") } else { format!("{address}/128 nodad") }
            },
        )
        .collect()
}

/// The running servers.
pub struct Origin {
    payload: Bytes,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Origin {
    /// Listens on ports 80 and 443 of every address in the namespace, and writes the authority's certificate
    /// to `ca`.
    pub fn start(wan: &Netns, ca: &Path) -> Result<Self> {
        let names: Vec<_> = NAMES.iter().map(|server| server.name).collect();
        let certificates = Certificates::make(&names)?;
        std::fs::write(ca, &certificates.ca_pem).with_context(|| format!("cannot write {}", ca.display()))?;
        let certificates = Arc::new(certificates);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));

        let payload = payload::random(payload::MAX)?;
        let (end, ended) = oneshot::channel();
        let (ready, started) = mpsc::channel();
        let served = payload.clone();
        let thread = wan.enter(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let http = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 80))).await?;
                let https = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 443))).await?;
                let quic = quic::listen(certificates)?;
                let _ = ready.send(());
                tokio::select! {
                    _ = ended => Ok(()),
                    () = quic::serve(quic, served.clone()) => Ok(()),
                    failed = accept(http, None, served.clone()) => failed,
                    failed = accept(https, Some(acceptor), served) => failed,
                }
            })
        })?;
        let mut origin = Self { payload, end: Some(end), thread: Some(thread) };
        if started.recv().is_err() {
            origin
                .thread
                .take()
                .map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| bail!("panicked")))?;
            bail!("the origins ended before they listened");
        }
        Ok(origin)
    }

    /// The SHA-256 of what `GET /bytes/SIZE` answers.
    pub fn sha256(&self, size: usize) -> String {
        payload::sha256([self.bytes(size)])
    }

    /// What `GET /bytes/SIZE` answers; also good to upload.
    pub fn bytes(&self, size: usize) -> &[u8] {
        &self.payload[..size.min(self.payload.len())]
    }

    /// Closes the listeners and every flow.
    pub fn end(&mut self) {
        drop(self.end.take());
        if let Some(Err(why)) = self.thread.take().and_then(|thread| thread.join().ok()) {
            crate::ui::line(format_args!("  the origins ended early: {why:#}"));
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.end();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, payload: Bytes) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, tls.clone(), payload.clone()));
    }
}

/// Serves one flow. How it ends is for the client to say: a server can't tell a lost frame from a closed tab.
async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, payload: Bytes) {
    match tls {
        None => answer_all(stream, payload).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                answer_all(stream, payload).await;
            }
        }
    }
}

async fn answer_all(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, payload: Bytes) {
    let service = service_fn(move |request| answer(request, payload.clone()));
    drop(auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(request: Request<Incoming>, payload: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    if request.method() == Method::POST {
        return Ok(match request.into_body().collect().await {
            Ok(body) => text(StatusCode::OK, payload::sha256([body.to_bytes().as_ref()])),
            Err(why) => text(StatusCode::BAD_REQUEST, why.to_string()),
        });
    }
    let size = path.strip_prefix("/bytes/").map(str::parse::<usize>);
    Ok(match size {
        Some(Ok(size)) if size <= payload.len() => Response::new(Full::new(payload.slice(..size))),
        Some(_) => text(StatusCode::BAD_REQUEST, format!("a number up to {}", payload.len())),
        None => text(StatusCode::OK, "an origin of the lab\n".to_owned()),
    })
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
