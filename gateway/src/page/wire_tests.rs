//! What the page answers on the wire: TLS, what is no good HTTP, what is too much, and what never ends.

use super::peer::Kernel;
use super::*;
use crate::config::Page;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// A listener whose clients come from these addresses in turn, on the management side.
struct From {
    listener: Kernel,
    addresses: Vec<SocketAddr>,
    accepted: usize,
}

impl Listener for From {
    type Io = TcpStream;
    type Addr = Peer;

    async fn accept(&mut self) -> (TcpStream, Peer) {
        let (stream, peer) = self.listener.accept().await;
        let address = self.addresses[self.accepted.min(self.addresses.len() - 1)];
        self.accepted += 1;
        (stream, Peer { address, ..peer })
    }

    fn local_addr(&self) -> std::io::Result<Peer> {
        self.listener.local_addr()
    }
}

struct Served {
    address: SocketAddr,
    stage: stage::Stage,
    dir: tempfile::TempDir,
    _past: tempfile::TempDir,
}

impl Served {
    async fn to(addresses: Vec<SocketAddr>) -> Self {
        let snapshot = tokio::sync::watch::channel(Arc::new(sample::snapshot())).1;
        let (past_dir, past) = sample::past();
        let (shared, stage) = stage::shared(snapshot, std::sync::mpsc::channel().0, past);
        let dir = tempfile::tempdir().unwrap();
        let page = Page { dir: dir.path().to_owned(), ..Page::default() };
        let identity = tls::identity(&page, &shared.hosts.in_certificate()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = From { listener: Kernel(listener), addresses, accepted: 0 };
        tokio::spawn(serve(listener, Shared { tls: Some(identity.acceptor), ..shared }));
        Self { address, stage, dir, _past: past_dir }
    }

    async fn here() -> Self {
        Self::to(vec!["127.0.0.1:50000".parse().unwrap()]).await
    }

    async fn elsewhere() -> Self {
        Self::to(vec!["10.9.0.7:50000".parse().unwrap()]).await
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn tls(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        self.tls_by(rustls::crypto::ring::default_provider(), versions).await
    }

    async fn tls_by(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let pem = std::fs::read(self.dir.path().join("certificate.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let config =
            ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions).unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.tcp().await).await
    }

    fn get(&self, path: &str) -> String {
        let token = &self.stage.tokens[0];
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        )
    }
}

async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    // The server may hang up in the middle.
    _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn tls_of_version_three_alone_and_the_way_to_it() {
    run(async {
        let served = Served::elsewhere().await;
        let stream = served.tls(&[&rustls::version::TLS13]).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        let group = |session: &rustls::ClientConnection| {
            session.negotiated_key_exchange_group().map(|group| group.name())
        };
        assert_eq!(group(session), Some(rustls::NamedGroup::X25519), "a client without ML-KEM");
        let newer = served.tls_by(super::hybrid::provider(), &[&rustls::version::TLS13]).await.unwrap();
        assert_eq!(group(newer.get_ref().1), Some(rustls::NamedGroup::X25519MLKEM768));
        assert!(say(stream, served.get("/api/v1/now").as_bytes()).await.starts_with("HTTP/1.1 200"));
        assert!(served.tls(&[&rustls::version::TLS12]).await.is_err(), "version 1.2");
        // In clear from elsewhere: the way, and nothing else.
        let clear = say(served.tcp().await, served.get("/log?lang=zh").as_bytes()).await;
        assert!(clear.starts_with("HTTP/1.1 308"), "{clear}");
        assert!(
            clear.contains("location: https://localhost/log?lang=zh\r\n") && clear.contains("nosniff"),
            "{clear}"
        );
        let here = Served::here().await;
        assert!(
            say(here.tcp().await, here.get("/").as_bytes()).await.starts_with("HTTP/1.1 200"),
            "from loopback"
        );
    });
}

#[test]
fn what_is_no_good_http_is_refused() {
    run(async {
        let served = Served::here().await;
        let head =
            |more: &str, body: &str| format!("POST /login HTTP/1.1\r\nHost: localhost\r\n{more}\r\n{body}");
        let long = "x".repeat(9000);
        for (bytes, status) in [
            (
                head(
                    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                    "0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
                ),
                "411 400",
            ),
            (head("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"), "411 400"),
            (head("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), "411"),
            (head("Transfer-Encoding: gzip\r\n", ""), "400 411"),
            (head("Transfer-Encoding : chunked\r\n", ""), "400"),
            (head("Content-Length: 4\r\nContent-Length: 5\r\n", "abcde"), "400"),
            (head("Content-Length: +4\r\n", "abcd"), "400"),
            (head("Content-Length: -1\r\n", ""), "400"),
            (head("Content-Length: 99999999999999999999\r\n", ""), "400"),
            (head("X: a\r\n b\r\n", ""), "400"),
            (head("X: a\r\n\tb\r\n", ""), "400"),
            (head("X y: a\r\n", ""), "400"),
            (head(": a\r\n", ""), "400"),
            (head("X: a\0b\r\n", ""), "400"),
            (head("Content-Length: 70000\r\n", ""), "413"),
            (head(&format!("X: {long}\r\n"), ""), "431 400"),
            ("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(), "400 505"),
            ("GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "400"),
            ("GET /\u{7f} HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "400"),
            ("GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), "421"),
        ] {
            let bytes = bytes.replacen("HTTP/1.1\r\n", "HTTP/1.1\r\nConnection: close\r\n", 1);
            let answer = say(served.tcp().await, bytes.as_bytes()).await;
            let found = answer.split(' ').nth(1).unwrap_or_default();
            assert!(status.split(' ').any(|status| status == found), "{bytes:.120}: {answer}");
            assert_eq!(
                answer.matches("HTTP/1.1 ").count(),
                1,
                "one answer and no more: {bytes:.120}\n{answer}"
            );
        }
        assert!(say(served.tcp().await, served.get("/healthz").as_bytes()).await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out() {
    run(async {
        // From five sources, as many as one has and more; the last is another.
        let mut addresses: Vec<SocketAddr> =
            (0..1000).map(|n| SocketAddr::from(([10, 9, 1, (n % 5) as u8], 50_000))).collect();
        addresses.push("10.9.0.7:50000".parse().unwrap());
        let served = Served::to(addresses).await;
        let mut idle = Vec::new();
        for _ in 0..1000 {
            idle.push(served.tcp().await);
            tokio::task::yield_now().await;
        }
        let began = std::time::Instant::now();
        let stream = served.tls(&[&rustls::version::TLS13]).await.unwrap();
        assert!(say(stream, served.get("/api/v1/now").as_bytes()).await.starts_with("HTTP/1.1 200"));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        drop(idle);
    });
}

#[test]
fn who_says_nothing_or_never_ends_is_not_waited_for() {
    // Time stands still but for what is waited for.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let served = Served::here().await;
        for begun in [&b""[..], b"G", b"GET / HTTP/1.1\r\nHost: loc", b"\x16\x03\x01"] {
            let mut stream = served.tcp().await;
            stream.write_all(begun).await.unwrap();
            let (began, mut answer) = (tokio::time::Instant::now(), Vec::new());
            _ = stream.read_to_end(&mut answer).await;
            assert!(began.elapsed() <= Duration::from_secs(21), "{begun:?}: {:?}", began.elapsed());
        }
        // One that was answered and then says nothing.
        let mut stream = served.tcp().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let (began, mut answer) = (tokio::time::Instant::now(), Vec::new());
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200") && began.elapsed() <= Duration::from_secs(21));
    });
}
