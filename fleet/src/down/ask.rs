//! A box asks the hub, takes a pack part by part, and hands it to its [`Keeper`].

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_nats::Client;
use futures_util::StreamExt as _;
use serde::Serialize;

use super::keep::{Down, Keeper};
use super::{Answer, Ask, MAX_BYTES, MAX_TEXT, PART, Part, VERSION, Why, part_subject, state_subject};
use crate::words::{Digest, Site};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks until the process is ended. Whatever fails is said once and tried again.
pub async fn run(site: Site, down: Down, mut keeper: Keeper, client: Client) {
    let every = Duration::from_secs(down.ask_s.clamp(1, 86_400));
    let mut trouble = String::new();
    loop {
        let now =
            turn(&site, &mut keeper, &client).await.err().map(|why| format!("{why:#}")).unwrap_or_default();
        if now != trouble && !now.is_empty() {
            eprintln!("glassgate fleet: nothing comes down: {now}");
        }
        trouble = now;
        tokio::time::sleep(every).await;
    }
}

/// One question, and what follows from its answer.
pub async fn turn(site: &Site, keeper: &mut Keeper, client: &Client) -> Result<()> {
    _ = keeper.finish()?;
    let held = keeper.held();
    let ask = Ask {
        v: VERSION,
        pack: held.as_ref().map(|held| held.pack.clone()),
        serial: held.map_or(0, |held| held.serial),
        refused: keeper.refused().cloned(),
    };
    let answer = question(site, client, state_subject(site), &ask).await?;
    anyhow::ensure!(answer.len() <= MAX_TEXT, "the hub's answer is too long");
    let answer: Answer = serde_json::from_slice(&answer).context("the hub's answer is none")?;
    let now = jiff::Timestamp::now().as_second();
    match answer {
        Answer::Nothing => {}
        Answer::Take { pack, bytes, attempt } if keeper.wants(&pack, attempt) => {
            if bytes > MAX_BYTES {
                return keeper.refuse(&pack, attempt, Why::Length);
            }
            let file = fetch(site, client, &pack, bytes).await?;
            match keeper.take(&file, &pack, attempt, now)? {
                Ok(()) => eprintln!("glassgate fleet: pack {pack} is in place"),
                Err(why) => eprintln!("glassgate fleet: pack {pack} is refused: {}", why.as_str()),
            }
        }
        Answer::Take { .. } => {}
        Answer::Back { pack } => {
            if keeper.back(&pack, now)? {
                eprintln!("glassgate fleet: pack {pack} was withdrawn, the one before it is in place");
            }
        }
    }
    Ok(())
}

async fn fetch(site: &Site, client: &Client, pack: &Digest, bytes: u64) -> Result<Vec<u8>> {
    let bytes = usize::try_from(bytes)?;
    let mut file = Vec::new();
    while file.len() < bytes {
        let part = Part { pack: pack.clone(), n: u32::try_from(file.len() / PART)? };
        let got = question(site, client, part_subject(site), &part).await?;
        let expected = PART.min(bytes - file.len());
        if got.len() != expected {
            bail!("a part of the pack has {} bytes, not {expected}", got.len());
        }
        file.extend_from_slice(&got);
    }
    Ok(file)
}

/// Asks, and awaits the answer under a subject that this site alone may hear. A number nobody knows tells it from others.
async fn question(site: &Site, client: &Client, subject: String, what: &impl Serialize) -> Result<Vec<u8>> {
    let token = client.new_inbox();
    let reply = format!("gg.{site}.given.{}", token.rsplit('.').next().unwrap_or_default());
    let mut answers = client.subscribe(reply.clone()).await?;
    answers.unsubscribe_after(1).await?;
    // The link's other end has to hear of the subscription first: it does, in the order of one connection.
    client.publish_with_reply(subject, reply, serde_json::to_vec(what)?.into()).await?;
    let answer = tokio::time::timeout(PATIENCE, answers.next()).await;
    let answer = answer.context("the hub does not answer")?.context("the connection was closed")?;
    if answer.status.is_some() {
        bail!("no hub is there");
    }
    Ok(answer.payload.to_vec())
}
