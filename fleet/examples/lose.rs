//! Deletes from the cluster's stream what a hub has not taken yet: the first third of it, and the last twenty. Then asks each site, as the hub, to empty and to
//! delete its own stream, and the witnesses of each, in the site's name, to sign a checkpoint of a log that the site does not have. Says as JSON how many messages are gone and how many of the requests were answered. For `cargo xtask fleet`, while the hub is not running: servers
//! that leave something out do so when they like.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use glassgate_audit::checkpoint::Checkpoint;
use glassgate_audit::note::{Kind, Signer};
use glassgate_fleet::hub::HubConfig;
use glassgate_fleet::joined::FleetK;
use glassgate_fleet::link::{HUB_STREAM, jetstream, stream_of};
use glassgate_fleet::store::HubStore;
use glassgate_fleet::up::VERSION;
use glassgate_fleet::witness::ask_subject;
use glassgate_fleet::witness::said::Ask;
use glassgate_fleet::words::{LogId, Site};

/// What a box must not do for anybody but its own agent.
const COMMANDS: [&str; 4] = ["STREAM.PURGE", "STREAM.MSG.DELETE", "STREAM.UPDATE", "STREAM.DELETE"];
/// The answer to a request that a box lets in comes within milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// Until servers that lost one of them do what they are asked for, beside compilers.
const ELECTED: Duration = Duration::from_secs(60);

/// What a witness would take, if it came from the box of the site.
fn ask_of_nobody(site: &Site) -> Result<Vec<u8>> {
    let log = Signer::from_seed("glassgate/nobody", Kind::Ed25519, [7; 32])?;
    let checkpoint = Checkpoint { origin: "glassgate/nobody".to_owned(), size: 1, root: [7; 32] };
    let (key, note) = (log.verifier().to_string(), checkpoint.sign(&log));
    let ask = Ask { v: VERSION, site: site.clone(), log: LogId::of(&key), key, note, proofs: Vec::new() };
    Ok(ask.bytes())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let file = std::env::args().nth(1).context("which hub.toml?")?;
    let config: HubConfig = toml::from_str(&std::fs::read_to_string(&file).context(file)?)?;
    let client = config.link.connect("glassgate lab").await?;
    let context = jetstream(client.clone());
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
        let until = Instant::now() + ELECTED;
        // A request that was not answered may have been done all the same: then there is none of that number any more.
        while let Err(why) = stream.delete_message(seq).await {
            if stream
                .get_raw_message(seq)
                .await
                .is_err_and(|why| why.kind() == LastRawMessageErrorKind::NoMessageFound)
            {
                break;
            }
            ensure!(Instant::now() < until, "{seq} is not deleted: {why}");
        }
        deleted += 1;
    }
    let mut answers = SelectAll::new();
    for site in &config.sites {
        answers.push(client.subscribe(format!("gg.{site}.deliver.lab.*")).await?);
    }
    // One that is allowed, to see that an answer would come.
    for (site, request) in config
        .sites
        .iter()
        .flat_map(|site| std::iter::once("STREAM.INFO").chain(COMMANDS).map(move |request| (site, request)))
    {
        let subject = format!("$JS.{site}.API.{request}.{}", stream_of(site));
        let reply = format!("gg.{site}.deliver.lab.{}", request.replace('.', "_"));
        client.publish_with_reply(subject, reply, "{\"seq\":1}".into()).await?;
    }
    for site in &config.sites {
        client.publish(ask_subject(site), ask_of_nobody(site)?.into()).await?;
    }
    client.flush().await?;
    let (mut informed, mut obeyed) = (0, 0);
    while let Ok(Some(answer)) = tokio::time::timeout(PATIENCE, answers.next()).await {
        // An empty one is of our own server: nobody there has heard the request.
        match (answer.payload.is_empty(), answer.subject.ends_with(".STREAM_INFO")) {
            (true, _) => {}
            (false, true) => informed += 1,
            (false, false) => obeyed += 1,
        }
    }
    println!("{{\"waiting\":{waiting},\"deleted\":{deleted},\"informed\":{informed},\"obeyed\":{obeyed}}}");
    Ok(())
}
