//! Flows with a canary wherever a protocol has room for one.
//!
//! All of them are flows of real sockets, through the kernel's own TCP; HTTP, TLS and QUIC talk to the origins of the lab.
//!
//! | flows | client | where the canary is |
//! |---|---|---|
//! | HTTP | written by hand | path, query, `Cookie`, `Authorization`, `User-Agent`, another header, body (text and bytes) |
//! | TLS | rustls | application data: an HTTP request like those |
//! | hello | written by hand | a ClientHello with a server name: random, session id, ALPN, an extension that nobody knows, padding |
//! | QUIC | quinn | stream data |
//! | DNS | written by hand | a label of a listed and of an unlisted name, the question being for `TXT`; an option of EDNS |
//! | mail | written by hand | a conversation like SMTP's, in clear |
//! | UDP | written by hand | datagrams of no protocol |

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::scan::Canary;
use crate::lab::Lab;
use crate::lab::devices::DEVICES;
use crate::lab::dns;
use crate::lab::netns::Netns;

/// A name of the table, and its server.
const NAME: &str = "www.zhipin.com";
/// The port that mail is taken at.
const MAIL: u16 = 25;
/// A port that nobody listens at.
const NOBODY: u16 = 9999;
/// Flows at the same time.
const AT_ONCE: usize = 48;
/// How long a flow may take.
const LIMIT: Duration = Duration::from_secs(4);

/// What a flow speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http,
    Tls,
    Hello,
    Quic,
    Dns,
    Mail,
    Udp,
}

/// Kinds, and how many of a hundred flows are of each.
pub(super) const KINDS: [(Kind, usize); 7] = [
    (Kind::Http, 35),
    (Kind::Tls, 15),
    (Kind::Hello, 15),
    (Kind::Quic, 5),
    (Kind::Dns, 10),
    (Kind::Mail, 10),
    (Kind::Udp, 10),
];

/// The kind of flow number `n`: mixed, the same each time.
pub(super) fn kind(n: usize) -> Kind {
    let mut place = n.wrapping_mul(37) % 100;
    for (kind, share) in KINDS {
        if place < share {
            return kind;
        }
        place -= share;
    }
    Kind::Udp
}

/// Somebody who takes mail, in the lab's Internet.
pub(super) struct Sink {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Sink {
    /// Listens.
    pub(super) fn start(wan: &Netns) -> Result<Self> {
        let (end, mut ended) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = wan.enter(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, MAIL)).await?;
                _ = ready.send(());
                loop {
                    tokio::select! {
                        _ = &mut ended => return Ok(()),
                        accepted = listener.accept() => {
                            let Ok((mut stream, _)) = accepted else { continue };
                            tokio::spawn(async move {
                                _ = stream.write_all(b"220 mail.example\r\n").await;
                                _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                            });
                        }
                    }
                }
            })
        })?;
        let sink = Self { end: Some(end), thread: Some(thread) };
        started.recv().context("nobody takes mail in the lab")?;
        Ok(sink)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.end.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Flows that are under way.
pub(super) struct Running {
    thread: JoinHandle<Result<()>>,
    done: Arc<AtomicUsize>,
    all: usize,
}

impl Running {
    /// How many have come to their end.
    pub(super) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until all of them have; gives how many came to the end that they should, and how many there were.
    pub(super) fn finish(self) -> Result<(usize, usize)> {
        self.thread.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
        Ok((self.done.load(Ordering::Relaxed), self.all))
    }
}

/// Starts a flow for each canary, from a desk of the lab. The number of the first decides what they speak.
pub(super) fn start(lab: &Lab, canaries: Vec<Canary>, first: usize) -> Result<Running> {
    let (done, all) = (Arc::new(AtomicUsize::new(0)), canaries.len());
    let (counted, ca) = (done.clone(), lab.ca());
    let thread = lab.netns(&DEVICES[0]).enter(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let clients = Arc::new(Clients::new(&ca)?);
            let places = Arc::new(Semaphore::new(AT_ONCE));
            for (canary, n) in canaries.into_iter().zip(first..) {
                let place = places.clone().acquire_owned().await?;
                let (clients, done) = (clients.clone(), counted.clone());
                tokio::spawn(async move {
                    // While a process of the gateway is away, flows fail: what was sent was sent.
                    let flow = tokio::time::timeout(LIMIT, clients.flow(kind(n), &canary)).await;
                    if matches!(flow, Ok(Ok(()))) {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    drop(place);
                });
            }
            drop(places.acquire_many(AT_ONCE as u32).await?);
            Ok(())
        })
    })?;
    Ok(Running { thread, done, all })
}

struct Clients {
    server: IpAddr,
    tls: tokio_rustls::TlsConnector,
    quic: quinn::Endpoint,
    quic_config: quinn::ClientConfig,
}

impl Clients {
    fn new(ca: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = || rustls::ClientConfig::builder_with_provider(provider.clone());
        let tls = builder()
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let mut over_quic = builder()
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        over_quic.alpn_protocols = vec![b"hq-interop".to_vec()];
        let quic = quinn::Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
        Ok(Self {
            server: dns::address(NAME, false)?,
            tls: tokio_rustls::TlsConnector::from(Arc::new(tls)),
            quic,
            quic_config: quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(over_quic)?)),
        })
    }

    async fn flow(&self, kind: Kind, canary: &Canary) -> Result<()> {
        match kind {
            Kind::Http => answered(TcpStream::connect((self.server, 80)).await?, &request(canary)).await,
            Kind::Tls => {
                let stream = TcpStream::connect((self.server, 443)).await?;
                let stream = self.tls.connect(ServerName::try_from(NAME)?, stream).await?;
                answered(stream, &request(canary)).await
            }
            Kind::Hello => {
                let mut stream = TcpStream::connect((self.server, 443)).await?;
                stream.write_all(&hello(canary)).await?;
                // An alert: no cipher suite of it is known.
                ensure!(stream.read_u8().await? == 21, "a server answered a hello that asks for nothing");
                Ok(())
            }
            Kind::Quic => {
                let config = self.quic_config.clone();
                let connection =
                    self.quic.connect_with(config, SocketAddr::new(self.server, 443), NAME)?.await?;
                let (mut send, mut receive) = connection.open_bi().await?;
                send.write_all(b"GET /bytes/10\r\n").await?;
                send.write_all(&request(canary)).await?;
                send.finish()?;
                ensure!(receive.read_to_end(64).await?.len() == 10, "not what was asked for");
                connection.close(0u32.into(), b"");
                Ok(())
            }
            Kind::Dns => {
                let socket = tokio::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
                socket.connect((dns::SERVER_V4, 53)).await?;
                for parent in ["zhipin.com", "unlisted.example"] {
                    socket.send(&question(canary, parent)).await?;
                    socket.recv(&mut [0; 1500]).await?;
                }
                Ok(())
            }
            Kind::Mail => {
                let mut stream = TcpStream::connect((self.server, MAIL)).await?;
                stream.read_u8().await?;
                let said = format!("EHLO {0}.example\r\nMAIL FROM:<{0}@example>\r\nDATA\r\n", canary.text);
                stream.write_all(&[said.as_bytes(), &canary.bytes, b"\r\n.\r\nQUIT\r\n"].concat()).await?;
                stream.shutdown().await?;
                stream.read_to_end(&mut Vec::new()).await?;
                Ok(())
            }
            Kind::Udp => {
                // Not connected, so that the answer that nobody is there is no error.
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                for _ in 0..2 {
                    let datagram = [canary.text.as_bytes(), &canary.bytes].concat();
                    socket.send_to(&datagram, (self.server, NOBODY))?;
                }
                Ok(())
            }
        }
    }
}

async fn answered(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &[u8]) -> Result<()> {
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    // Some servers end without a close notify.
    drop(stream.read_to_end(&mut answer).await);
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// A request with a canary in each of its parts.
fn request(Canary { bytes, text }: &Canary) -> Vec<u8> {
    let body = [text.as_bytes(), b"=", bytes].concat();
    let head = format!(
        "POST /upload/{text}/p?q={text}&{text}=1#{text} HTTP/1.1\r\nHost: {NAME}\r\nCookie: s={text}\r\n\
         Authorization: Bearer {text}\r\nUser-Agent: {text}/1\r\nX-{text}: {text}\r\nReferer: http://{NAME}/{text}\r\n\
         Content-Type: application/{text}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

/// A ClientHello (RFC 8446, section 4.1.2) with a server name, and canaries wherever else bytes can be.
fn hello(Canary { bytes, text }: &Canary) -> Vec<u8> {
    let long = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let short = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
    let extension = |kind: u16, data: &[u8]| [kind.to_be_bytes().as_slice(), &long(data)].concat();
    let twice = [*bytes, *bytes].concat();
    let extensions = [
        extension(0, &long(&[&[0], long(NAME.as_bytes()).as_slice()].concat())),
        extension(16, &long(&short(text.as_bytes()))),
        extension(0xfe0a, &[bytes.as_slice(), text.as_bytes()].concat()),
        extension(21, &twice),
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &twice,
        &short(&twice),
        // One cipher suite, which nobody has.
        &long(&[0xfe, 0xfe]),
        &short(&[0]),
        &long(&extensions),
    ]
    .concat();
    let message = [&[1, 0], long(&body).as_slice()].concat();
    [&[22, 3, 1], long(&message).as_slice()].concat()
}

/// A question for the `TXT` records of a name below `parent`, with an option that nobody knows (RFC 6891).
fn question(Canary { bytes, text }: &Canary, parent: &str) -> Vec<u8> {
    let mut name = Vec::new();
    for label in [text.as_str()].into_iter().chain(parent.split('.')) {
        name.push(label.len() as u8);
        name.extend(label.as_bytes());
    }
    let option = [&[0xfd, 0xe9, 0, 16][..], bytes].concat();
    let options = [&[0, 0, 41, 5, 0xdc, 0, 0, 0, 0, 0, option.len() as u8][..], &option].concat();
    [&[bytes[0], bytes[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 1][..], &name, &[0, 0, 16, 0, 1], &options].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_as_often_as_it_should() {
        assert_eq!(KINDS.iter().map(|(_, share)| share).sum::<usize>(), 100);
        for (kind, share) in KINDS {
            assert_eq!((0..1000).filter(|n| super::kind(*n) == kind).count(), share * 10, "{kind:?}");
        }
    }
}
