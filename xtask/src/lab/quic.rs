//! QUIC at both ends: a server beside the HTTPS origin, and a client, since no packaged command-line client of
//! Debian 12 speaks it.
//!
//! What our own client asks is HTTP/0.9 over one stream (`hq-interop`, which QUIC implementations use to test against each
//! other): `GET /bytes/N`, then N bytes. Browsers get HTTP/3: a page of one sentence, whatever they ask for.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ResolvesServerCert;

use super::payload;

const ALPN: &[u8] = b"hq-interop";
/// What a browser is told over HTTP/3.
pub const OVER_H3: &str = "This came over HTTP/3.";

/// Longest request: `GET /bytes/`, a number, and what is sent besides, which nobody reads.
const MAX_REQUEST: usize = payload::MAX + 64;

/// A server on UDP port 443 of every address of the namespace it is called in. Must be called in a tokio runtime.
pub fn listen(certificates: Arc<dyn ResolvesServerCert>) -> Result<Endpoint> {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    tls.alpn_protocols = vec![b"h3".to_vec(), ALPN.to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 443))?;
    Ok(Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))?)
}

/// Answers until the endpoint is closed.
pub async fn serve(endpoint: Endpoint, payload: Bytes) {
    while let Some(incoming) = endpoint.accept().await {
        let payload = payload.clone();
        tokio::spawn(async move {
            // How it ends is for the client to say.
            let Ok(connection) = incoming.await else { return };
            if is_h3(&connection) {
                _ = serve_h3(connection).await;
                return;
            }
            while let Ok((mut answer, mut request)) = connection.accept_bi().await {
                let Ok(request) = request.read_to_end(MAX_REQUEST).await else { return };
                let head = request.split(|b| *b == b'\r').next().unwrap_or_default();
                let size = std::str::from_utf8(head).ok().and_then(|text| text.strip_prefix("GET /bytes/"));
                let size = size.and_then(|size| size.parse::<usize>().ok()).unwrap_or(0).min(payload.len());
                if answer.write_chunk(payload.slice(..size)).await.is_err() || answer.finish().is_err() {
                    return;
                }
            }
        });
    }
}

fn is_h3(connection: &quinn::Connection) -> bool {
    let handshake = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    handshake.is_some_and(|data| data.protocol.as_deref() == Some(b"h3"))
}

async fn serve_h3(connection: quinn::Connection) -> Result<()> {
    let mut connection =
        h3::server::Connection::<_, Bytes>::new(h3_quinn::Connection::new(connection)).await?;
    while let Some(request) = connection.accept().await? {
        let (_, mut stream) = request.resolve_request().await?;
        let response = http::Response::builder().header("content-type", "text/html").body(())?;
        stream.send_response(response).await?;
        stream
            .send_data(Bytes::from(format!("<!doctype html><title>HTTP/3</title><p>{OVER_H3}</p>")))
            .await?;
        stream.finish().await?;
    }
    Ok(())
}

/// Fetches so many bytes from the namespace it is called in and gives their SHA-256.
pub fn fetch(server: SocketAddr, name: &str, ca: &Path, size: usize, limit: Duration) -> Result<String> {
    let (_, bytes) = exchange(server, name, ca, &[(0, size)], limit)?;
    Ok(payload::sha256([bytes.as_slice()]))
}

/// Sends and fetches so many bytes, each exchange over a stream of its own, one after the other. Gives the port of the client and
/// what came last.
pub fn exchange(
    server: SocketAddr,
    name: &str,
    ca: &Path,
    exchanges: &[(usize, usize)],
    limit: Duration,
) -> Result<(u16, Vec<u8>)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = async {
        let endpoint =
            Endpoint::new(EndpointConfig::default(), None, UdpSocket::bind(local)?, Arc::new(TokioRuntime))?;
        let port = endpoint.local_addr()?.port();
        let connection = endpoint.connect_with(config, server, name)?.await?;
        let mut bytes = Vec::new();
        for (up, down) in exchanges {
            let (mut request, mut answer) = connection.open_bi().await?;
            request.write_all(format!("GET /bytes/{down}\r\n").as_bytes()).await?;
            request.write_all(&vec![b'x'; *up]).await?;
            request.finish()?;
            bytes = answer.read_to_end(payload::MAX).await?;
            ensure!(bytes.len() == *down, "{} bytes came, {down} were asked for", bytes.len());
        }
        connection.close(0u32.into(), b"");
        endpoint.wait_idle().await;
        Ok((port, bytes))
    };
    runtime.block_on(async { tokio::time::timeout(limit, work).await.context("no answer in time")? })
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
