//! What real endpoints make of the bytes that the generator writes: the generator is held against them, and so is every
//! name that the gateway reads.

use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The server name that rustls reads from a client's stream; `None` when it takes it for no valid hello or needs more.
pub(crate) fn tls_name(stream: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    let mut stream = stream;
    while !stream.is_empty() {
        acceptor.read_tls(&mut stream).ok()?;
        match acceptor.accept() {
            Ok(Some(accepted)) => return Some(accepted.client_hello().server_name().map(str::to_owned)),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    None
}

#[derive(Debug, Default)]
struct Names(Mutex<Option<String>>);

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        *self.0.lock().expect("no other thread") = hello.server_name().map(str::to_owned);
        None
    }
}

/// The server name that quinn reads from a client's datagrams.
pub(crate) fn quic_name(datagrams: &[Vec<u8>]) -> Option<String> {
    use quinn_proto::{DatagramEvent, Endpoint, EndpointConfig, ServerConfig};
    let names = Arc::new(Names::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider knows TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(names.clone());
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let tls = quinn_proto::crypto::rustls::QuicServerConfig::try_from(tls).expect("AES-128-GCM is there");
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.migration(false);
    let mut endpoint =
        Endpoint::new(Arc::new(EndpointConfig::default()), Some(Arc::new(config)), false, None);
    let (now, client): (_, SocketAddr) = (Instant::now(), ([192, 0, 2, 10], 40_000).into());
    let mut connection = None;
    let mut buf = Vec::new();
    for datagram in datagrams {
        match endpoint.handle(now, client, None, None, (&datagram[..]).into(), &mut buf) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                // It fails once the hello is read, because there is no certificate for it.
                match endpoint.accept(incoming, now, &mut buf, None) {
                    Ok((_, accepted)) => connection = Some(accepted),
                    Err(_) => break,
                }
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => connection.as_mut()?.handle_event(event),
            _ => {}
        }
    }
    names.0.lock().expect("no other thread").take()
}

/// The first flight of a real QUIC client (quinn) for a name, as datagrams.
pub(crate) fn quinn_flight(name: &str) -> Vec<Vec<u8>> {
    use quinn_proto::{ClientConfig, Endpoint, EndpointConfig};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider knows TLS 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let tls = quinn_proto::crypto::rustls::QuicClientConfig::try_from(tls).expect("AES-128-GCM is there");
    let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
    let server: SocketAddr = ([198, 51, 100, 20], 443).into();
    let now = Instant::now();
    let (_, mut connection) =
        endpoint.connect(now, ClientConfig::new(Arc::new(tls)), server, name).expect("a valid name");
    let mut flight = Vec::new();
    let mut buf = Vec::new();
    while connection.poll_transmit(now, 1, &mut buf).is_some() {
        flight.push(std::mem::take(&mut buf));
    }
    flight
}
