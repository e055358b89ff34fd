//! Deletes from the cluster's stream what a hub has not taken yet: the first third of it, and the last twenty. Says as JSON how many. For `cargo xtask
//! fleet`, while the hub is not running: servers that leave something out do so when they like.

use anyhow::{Context as _, Result, ensure};
use glassgate_fleet::hub::HubConfig;
use glassgate_fleet::joined::FleetK;
use glassgate_fleet::link::{HUB_STREAM, jetstream};
use glassgate_fleet::store::HubStore;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let file = std::env::args().nth(1).context("which hub.toml?")?;
    let config: HubConfig = toml::from_str(&std::fs::read_to_string(&file).context(file)?)?;
    let context = jetstream(config.link.connect("glassgate lab").await?);
    let stream = context.get_stream(HUB_STREAM).await?;
    let info = stream.cached_info();
    let taken =
        HubStore::open(&config.store, FleetK::default())?.cursor(HUB_STREAM, &info.created.to_string())?;
    let last = info.state.last_sequence;
    let waiting = last.saturating_sub(taken);
    ensure!(waiting >= 60, "only {waiting} messages wait for the hub");
    let lost = (taken + 1..=taken + waiting / 3).chain(last - 19..=last);
    let mut deleted = 0;
    for seq in lost {
        ensure!(stream.delete_message(seq).await?, "{seq} is not deleted");
        deleted += 1;
    }
    println!("{{\"waiting\":{waiting},\"deleted\":{deleted}}}");
    Ok(())
}
