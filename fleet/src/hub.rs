//! The hub: takes what the stream of all sites has into its store.

mod fetch;
pub mod rollout;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use fetch::Fetch;

use crate::joined::{DEFAULT_K, FleetK, MIN_K};
use crate::link::{HUB_STREAM, Link, hub_stream, jetstream};
use crate::store::{HubStore, Raw, Taken};
use crate::witness::Ring;
use crate::witness::board::Board;
use crate::words::Site;

/// Sites of one hub.
pub const MAX_SITES: usize = 10_000;
/// Messages of one transaction.
const BATCH: usize = 1000;
/// Rows that are forgotten in one go: what comes meanwhile waits.
const FORGET: u32 = 5000;
/// Between two looks at what is too old.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// Where a message was taken from, as the servers say it.
const SOURCE: &str = "Nats-Stream-Source";

/// What a hub is told in its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    /// The sites that belong to the fleet; messages of others are refused.
    pub sites: Vec<Site>,
    /// The SQLite file.
    #[serde(default = "store_file")]
    pub store: PathBuf,
    /// People that must stand behind a row, 5 or more.
    #[serde(default = "default_k")]
    pub k: u32,
    /// Days that rows of counts, health and blindness are kept; 0: for good.
    #[serde(default = "keep_days")]
    pub keep_days: u32,
    /// Servers of the cluster that keep the stream, 1, 3 or 5.
    #[serde(default = "replicas")]
    pub replicas: usize,
    /// GiB that the stream may take on each of them.
    #[serde(default = "stream_gib")]
    pub stream_gib: u32,
    /// Whether boxes send to the cluster itself, without a server of their own: then nothing is kept for them while the link is down but
    /// their own audit log.
    #[serde(default)]
    pub direct: bool,
    /// Seconds without a message of a site after which it is asked what it has, in case the servers do not bring it.
    #[serde(default = "quiet_s")]
    pub quiet_s: u64,
    /// Witnesses of each log, as the sites' own files say; others are not believed to be.
    #[serde(default = "witnesses")]
    pub witnesses: usize,
    /// The cluster.
    pub link: Link,
}

fn store_file() -> PathBuf {
    "/var/lib/glassgate-hub/hub.sqlite".into()
}

const fn default_k() -> u32 {
    DEFAULT_K
}

const fn keep_days() -> u32 {
    400
}

const fn quiet_s() -> u64 {
    30
}

pub(crate) const fn witnesses() -> usize {
    Ring::WITNESSES
}

const fn replicas() -> usize {
    3
}

pub(crate) const fn stream_gib() -> u32 {
    10
}

/// What a hub has done since it was started.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Done {
    /// Entries that were new.
    pub new: u64,
    /// Those of them that were fetched, as they did not come by themselves.
    pub fetched: u64,
    /// Entries that came again.
    pub again: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Consumers that were made, the first among them.
    pub consumers: u64,
}

impl HubConfig {
    /// The `k` of the fleet, and whether the rest goes together.
    pub fn check(&self) -> Result<FleetK> {
        if self.sites.is_empty() || self.sites.len() > MAX_SITES {
            bail!("a hub has 1 to {MAX_SITES} sites, this one {}", self.sites.len());
        }
        FleetK::new(self.k).with_context(|| format!("k is {}, and never under {MIN_K}", self.k))
    }
}

/// Runs a hub until its process is ended. Whatever fails is said and tried again.
pub async fn run(config: &HubConfig) -> Result<()> {
    let mut store = HubStore::open(&config.store, config.check()?)?;
    store.board = Some(Board::open(&config.store, Ring::new(&config.sites, config.witnesses))?);
    eprintln!("glassgate hub: the store of {} sites is open: {}", config.sites.len(), config.store.display());
    let client = config.link.connect("glassgate hub").await?;
    tokio::spawn(rollout::run(config.clone(), client.clone()));
    let mut fetch = Fetch::new(client.clone());
    let context = jetstream(client);
    let (mut done, mut age) = (Done::default(), Age::default());
    loop {
        if let Err(why) = follow(config, &context, &mut store, &mut fetch, &mut done, &mut age).await {
            eprintln!("glassgate hub: tried again in a second: {why:#}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Also where the cluster has no stream: sites may be reached all the same.
        if let Err(why) = fetch.round(config, &mut store, &mut done).await {
            eprintln!("glassgate hub: sites could not be asked: {why:#}");
        }
    }
}

/// When it is looked next at what is too old.
#[derive(Debug, Default)]
struct Age(Option<Instant>);

impl Age {
    fn look(&mut self, keep_days: u32, store: &mut HubStore) -> Result<()> {
        if keep_days == 0 || self.0.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let before = jiff::Timestamp::now().as_second() - i64::from(keep_days) * 86_400;
        if store.forget(before, FORGET)? == 0 {
            self.0 = Some(Instant::now() + FORGET_EVERY);
        }
        Ok(())
    }
}

/// Makes the stream what the configuration says.
async fn stream(config: &HubConfig, context: &jetstream::Context) -> Result<Stream> {
    let bytes = i64::from(config.stream_gib) << 30;
    let mut wanted = hub_stream(&config.sites, config.replicas, bytes);
    if config.direct {
        wanted.sources = None;
        wanted.subjects = vec!["gg.*.up.>".to_owned()];
    }
    context.create_or_update_stream(wanted).await.context("the hub's stream can't be made")?;
    Ok(context.get_stream(HUB_STREAM).await?)
}

/// Takes messages from where the store is until something is wrong.
async fn follow(
    config: &HubConfig,
    context: &jetstream::Context,
    store: &mut HubStore,
    fetch: &mut Fetch,
    done: &mut Done,
    age: &mut Age,
) -> Result<()> {
    let stream = stream(config, context).await?;
    let created = stream.cached_info().created.to_string();
    let mut cursor = store.cursor(HUB_STREAM, &created)?;
    // The server's memory of the consumer is worth nothing: the store's counts.
    let consumer = stream
        .create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: cursor + 1 },
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(60),
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        })
        .await?;
    done.consumers += 1;
    let mut expected = 1;
    let mut idle = 0;
    loop {
        let mut messages =
            consumer.batch().max_messages(BATCH).expires(Duration::from_millis(1000)).messages().await?;
        let mut batch = Vec::new();
        while let Some(message) = messages.next().await {
            let message = message.map_err(|why| anyhow::anyhow!("{why}"))?;
            let info = message.info().map_err(|why| anyhow::anyhow!("{why}"))?;
            // What was lost on the way is not sent again by itself.
            if info.consumer_sequence != expected {
                take(config, store, done, &created, &mut batch)?;
                bail!("message {expected} of the consumer did not arrive");
            }
            expected += 1;
            cursor = info.stream_sequence;
            let source = message.headers.as_ref().and_then(|headers| headers.get(SOURCE));
            let (source, origin) = source.map(|value| source_of(value.as_str())).unzip();
            let source = source.map(str::to_owned);
            if let Some(site) = &source {
                fetch.heard(site);
            }
            let (seq, subject) = (info.stream_sequence, message.subject.to_string());
            let (origin, payload) = (origin.flatten(), message.payload.to_vec());
            batch.push(Raw { seq, subject, source, origin, payload });
        }
        idle = if batch.is_empty() { idle + 1 } else { 0 };
        take(config, store, done, &created, &mut batch)?;
        fetch.round(config, store, done).await?;
        age.look(config.keep_days, store)?;
        // A consumer whose server died says nothing at all.
        if idle >= 3 {
            idle = 0;
            let info = stream.get_info().await?;
            if info.created.to_string() != created {
                bail!("the stream was made anew");
            }
            if info.state.last_sequence > cursor && info.state.messages > 0 {
                bail!("the stream has {} and nothing came after {cursor}", info.state.last_sequence);
            }
        }
    }
}

fn take(
    config: &HubConfig,
    store: &mut HubStore,
    done: &mut Done,
    created: &str,
    batch: &mut Vec<Raw>,
) -> Result<()> {
    let now = jiff::Timestamp::now().as_second();
    if !config.direct {
        // Nobody but the servers writes to the stream, and they say from where it is.
        batch.iter_mut().for_each(|raw| _ = raw.source.get_or_insert_default());
    }
    let Taken { new, again, refused } = store.take(HUB_STREAM, created, batch, &config.sites, now)?;
    batch.clear();
    done.new += new;
    done.again += again;
    done.refused += refused;
    Ok(())
}

/// The site of a stream that a message was taken from, and its number there: `GG_UP_plant-7:hash 12`, the hash where the stream is in another domain.
fn source_of(header: &str) -> (&str, Option<u64>) {
    let mut parts = header.split(' ');
    let stream = parts.next().and_then(|stream| stream.split(':').next()).unwrap_or_default();
    let number = parts.next().and_then(|number| number.parse().ok());
    (stream.strip_prefix("GG_UP_").unwrap_or_default(), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_where_a_message_is_from() {
        assert_eq!(source_of("GG_UP_plant-7:x9Y 12"), ("plant-7", Some(12)));
        // As later versions do.
        assert_eq!(source_of("GG_UP_plant-7 12 > gg.>"), ("plant-7", Some(12)));
        assert_eq!(source_of("GG_UP_plant-7"), ("plant-7", None));
        assert_eq!(source_of("OTHER 12"), ("", Some(12)));
    }
}
