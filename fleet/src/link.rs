//! Connections to a `nats-server`, and the names of streams.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::stream::{Config, DiscardPolicy, External, Source, StorageType};
use async_nats::{Client, ConnectOptions, ServerAddr, jetstream};
use serde::Deserialize;

use crate::words::Site;

/// The stream of the hub, which takes from the streams of all sites.
pub const HUB_STREAM: &str = "GG_UP";
/// The JetStream domain of the cluster.
pub const HUB_DOMAIN: &str = "fleet";
/// How long a site keeps what the hub has not fetched.
pub const SITE_AGE: Duration = Duration::from_secs(14 * 86_400);
/// How much a site keeps of it.
pub const SITE_BYTES: i64 = 64 << 20;
/// How long the hub's stream keeps messages. What the hub made of them stays in its store.
pub const HUB_AGE: Duration = Duration::from_secs(30 * 86_400);

/// Name of the stream of a site.
pub fn stream_of(site: &Site) -> String {
    format!("GG_UP_{site}")
}

/// Where a server is, and who asks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Addresses such as `tls://127.0.0.1:4222`; one that answers is used.
    pub servers: Vec<String>,
    /// Certificate of the fleet's authority (PEM). Empty: no TLS, which only loopback should be spoken to by.
    #[serde(default)]
    pub authority: PathBuf,
    /// Certificate of whoever asks (PEM).
    #[serde(default)]
    pub certificate: PathBuf,
    /// Its key (PEM).
    #[serde(default)]
    pub key: PathBuf,
}

impl Link {
    /// Connects, and keeps trying for ever; what is asked meanwhile waits for its own time.
    pub async fn connect(&self, name: &str) -> Result<Client> {
        self.connect_by(ConnectOptions::new(), name).await
    }

    /// The same, for one that listens to subjects on which others speak: as many messages wait for it on each, and what comes then is lost.
    pub async fn connect_bounded(&self, name: &str, waiting: usize) -> Result<Client> {
        self.connect_by(ConnectOptions::new().subscription_capacity(waiting), name).await
    }

    async fn connect_by(&self, options: ConnectOptions, name: &str) -> Result<Client> {
        let mut options = options
            .name(name)
            .retry_on_initial_connect()
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(|tries| Duration::from_millis(100 << tries.min(5)));
        if !self.authority.as_os_str().is_empty() {
            // Whoever links more than one provider has to say which: ours is ring everywhere.
            _ = rustls::crypto::ring::default_provider().install_default();
            options = options.require_tls(true).add_root_certificates(self.authority.clone());
            if !self.certificate.as_os_str().is_empty() {
                options = options.add_client_certificate(self.certificate.clone(), self.key.clone());
            }
        }
        let servers: Result<Vec<ServerAddr>, _> = self.servers.iter().map(|server| server.parse()).collect();
        let shown = || self.servers.join(", ");
        options.connect(servers.with_context(shown)?).await.with_context(shown)
    }
}

/// The stream of a site, on the server beside its box.
pub fn site_stream(site: &Site) -> Config {
    Config {
        name: stream_of(site),
        subjects: vec![format!("gg.{site}.up.>")],
        max_age: SITE_AGE,
        max_bytes: SITE_BYTES,
        max_message_size: 2 * crate::up::MAX_MESSAGE as i32,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        ..Config::default()
    }
}

/// The stream of the hub, which takes from those of `sites`.
pub fn hub_stream(sites: &[Site], replicas: usize, max_bytes: i64) -> Config {
    let source = |site: &Site| Source {
        name: stream_of(site),
        external: Some(External {
            api_prefix: format!("$JS.{site}.API"),
            delivery_prefix: Some(format!("gg.{site}.deliver")),
        }),
        ..Source::default()
    };
    Config {
        name: HUB_STREAM.to_owned(),
        sources: Some(sites.iter().map(source).collect()),
        num_replicas: replicas,
        max_age: HUB_AGE,
        max_bytes,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        ..Config::default()
    }
}

/// JetStream, with waits that bound what a dead server costs.
pub fn jetstream(client: Client) -> jetstream::Context {
    let mut context = jetstream::new(client);
    context.set_timeout(Duration::from_secs(5));
    context
}
