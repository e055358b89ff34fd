//! Witnessing: boxes cosign one another's checkpoints (C2SP `tlog-witness`), so that a box that was stolen can't rewrite its past.
//!
//! ```text
//!  box of the log                                 a witness, of three                               hub
//!  gg.SITE.ask: checkpoint, proofs from the   ──► remembered, size and root; signature
//!               sizes that witnesses remember     and proof checked; then cosigned, durably
//!  gg.WITNESS.answer.SITE: cosignature, or    ◄── and in its own stream: what it signed,      ──► how many stand behind which size,
//!               the size that it remembers        and what it refused, with the proof             conflicts
//! ```
//!
//! * A box sends proofs by itself. Nobody asks it for one, and a witness asks nothing of anybody: both hear one subject for each other, and nothing there reaches
//!   JetStream of either.
//! * Asks and answers are kept by nobody. One that is lost is sent again with the next checkpoint. What a witness says to the hub is in the stream of its own box, which
//!   the box of the log has no hand in.
//! * Each log has [`Ring::WITNESSES`] witnesses and each box witnesses as many logs, however many boxes there are.

pub mod asks;
pub mod board;
pub mod memory;
pub mod said;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt as _;
use futures_util::stream::{SelectAll, select_all};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::agent::AgentConfig;
use crate::link::jetstream;
use crate::up::Topic;
use crate::words::Site;
use asks::{Asks, Heard};
use memory::Memory;

/// Asks and answers of a site that wait to be read, of 1 MB each at most, which the servers take. Those that come when as many wait are lost, and come again with a later checkpoint.
const WAITING: usize = 8;
/// How long the stream beside the box may take to answer for a report.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who witnesses for whom, in the file of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The sites whose boxes cosign the checkpoints of this one.
    pub by: Vec<Site>,
    /// The sites whose checkpoints this box cosigns.
    pub of: Vec<Site>,
}

/// The subject on which a box asks its witnesses.
pub fn ask_subject(site: &Site) -> String {
    format!("gg.{site}.ask")
}

/// The subject on which a witness answers a site.
pub fn answer_subject(witness: &Site, of: &Site) -> String {
    format!("gg.{witness}.answer.{of}")
}

/// Who witnesses for whom: sites stand in a ring, in the order of the SHA-256 of their names, and the witnesses of one are those that follow it.
///
/// So each site has as many logs to witness as it has witnesses, a site that comes or goes changes the witnesses of as many others, and nobody chooses his own without
/// choosing the names of sites.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    order: Vec<([u8; 32], Site)>,
    count: usize,
}

impl Ring {
    /// Witnesses of each log, where nothing else is said.
    pub const WITNESSES: usize = 3;
    /// Witnesses of each log at most: an ask has a proof for each.
    pub const MAX: usize = 8;

    /// Of sites that are all different, `count` witnesses each: [`Self::MAX`] at most, and not more than there are others.
    pub fn new(sites: &[Site], count: usize) -> Self {
        let mut order: Vec<_> = sites
            .iter()
            .map(|site| {
                let mut hash = [0; 32];
                hash.copy_from_slice(digest(&SHA256, site.as_str().as_bytes()).as_ref());
                (hash, site.clone())
            })
            .collect();
        order.sort();
        let count = count.min(Self::MAX).min(order.len().saturating_sub(1));
        Self { order, count }
    }

    fn steps(&self, site: &Site, step: impl Fn(usize, usize) -> usize) -> Vec<Site> {
        let hash = digest(&SHA256, site.as_str().as_bytes());
        let Ok(at) = self.order.binary_search_by(|(other, _)| other.as_slice().cmp(hash.as_ref())) else {
            return Vec::new();
        };
        let all = self.order.len();
        (1..=self.count).filter_map(|n| Some(self.order.get(step(at, n) % all)?.1.clone())).collect()
    }

    /// The sites whose boxes witness the log of `site`. None for a site that is not in the ring.
    pub fn by(&self, site: &Site) -> Vec<Site> {
        self.steps(site, |at, n| at + n)
    }

    /// The sites whose logs the box of `site` witnesses.
    pub fn of(&self, site: &Site) -> Vec<Site> {
        self.steps(site, |at, n| at + self.order.len() - n)
    }
}

/// Asks the witnesses of this box, and answers for those that it witnesses, until the process is ended. Whatever fails is said and tried again.
pub async fn run(config: &AgentConfig) -> Result<()> {
    let Config { by, of } = &config.witness;
    if by.is_empty() && of.is_empty() {
        return Ok(());
    }
    let folder = config.state.join("witness");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut memory = Memory::open(&config.site, of, &folder)?;
    let mut asks = Asks::new(&config.site, by, &config.audit, &config.state.join("cosigned"))?;
    let every = Duration::from_secs(config.checkpoint_s.clamp(1, 86_400));
    loop {
        if let Err(why) = talk(config, &mut memory, &mut asks, every).await {
            eprintln!("glassgate fleet: witnessing waits: {why:#}");
        }
        tokio::time::sleep(every.min(Duration::from_secs(10))).await;
    }
}

async fn subscribe(client: &Client, subjects: impl Iterator<Item = String>) -> Result<SelectAll<Subscriber>> {
    let mut all = Vec::new();
    for subject in subjects {
        all.push(client.subscribe(subject).await?);
    }
    Ok(select_all(all))
}

async fn talk(config: &AgentConfig, memory: &mut Memory, asks: &mut Asks, every: Duration) -> Result<()> {
    let Config { by, of } = &config.witness;
    let name = format!("glassgate witness {}", config.site);
    let client = config.link.connect_bounded(&name, WAITING).await?;
    let context = jetstream(client.clone());
    let mut asked = subscribe(&client, of.iter().map(ask_subject)).await?;
    let subjects = by.iter().map(|witness| answer_subject(witness, &config.site));
    let mut answers = subscribe(&client, subjects).await?;
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                send_ask(&client, asks).await?;
                // What could not be said of a refusal at once, and what was signed since the last time.
                report(&context, memory, true).await?;
            }
            Some(message) = asked.next() => {
                let Some(from) = site_of(&message) else { continue };
                let now = jiff::Timestamp::now().as_second().unsigned_abs();
                if let Some(answer) = memory.hear(&from, &message.payload, now, Instant::now().into_std()) {
                    client.publish(answer_subject(&config.site, &from), answer.bytes().into()).await?;
                    report(&context, memory, false).await?;
                }
            }
            Some(message) = answers.next() => {
                let Some(from) = site_of(&message) else { continue };
                if asks.heard(&from, &message.payload)? == Heard::AskAgain {
                    send_ask(&client, asks).await?;
                }
            }
        }
    }
}

/// Who says it: the second part of the subject, which the servers let nobody else write.
fn site_of(message: &Message) -> Option<Site> {
    Site::new(message.subject.split('.').nth(1)?).ok()
}

async fn send_ask(client: &Client, asks: &mut Asks) -> Result<()> {
    // A log that is being set aside or begun can be read a moment later.
    if let Some(ask) = asks.newest() {
        client.publish(ask_subject(&ask.site), ask.bytes().into()).await?;
    }
    Ok(())
}

/// Puts into the stream of this box what the witness has to say: refusals at once, and with `all` what it signed as well.
async fn report(context: &async_nats::jetstream::Context, memory: &mut Memory, all: bool) -> Result<()> {
    while let Some(report) = memory.to_report(all) {
        let publish = PublishMessage::build().payload(report.bytes().into());
        let done = async {
            context.send_publish(Topic::Witness.subject(&report.site), publish).await?.await?;
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, done).await.context("the stream of the box does not answer")??;
        memory.reported(&report);
    }
    Ok(())
}

#[cfg(test)]
mod rewritten;
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sites(count: usize) -> Vec<Site> {
        (0..count).map(|n| Site::new(&format!("s{n}")).unwrap()).collect()
    }

    #[test]
    fn of_three_boxes_each_has_the_two_others() {
        let sites = sites(3);
        let ring = Ring::new(&sites, Ring::WITNESSES);
        for site in &sites {
            let (mut by, mut of) = (ring.by(site), ring.of(site));
            by.sort();
            of.sort();
            let others: Vec<_> = sites.iter().filter(|other| *other != site).cloned().collect();
            assert_eq!((&by, &of), (&others, &others));
        }
        assert!(Ring::new(&sites[..1], 3).by(&sites[0]).is_empty());
        assert!(Ring::new(&[], 3).by(&sites[0]).is_empty());
        assert!(ring.by(&Site::new("nobody").unwrap()).is_empty());
    }

    proptest! {
        #[test]
        fn work_is_bounded_and_a_site_that_leaves_changes_as_many_others(
            count in 2usize..60, wanted in 0usize..12, leaves in any::<prop::sample::Index>()
        ) {
            let mut sites = sites(count);
            let ring = Ring::new(&sites, wanted);
            let each = wanted.min(Ring::MAX).min(count - 1);
            for site in &sites {
                let by = ring.by(site);
                prop_assert_eq!(by.len(), each);
                prop_assert_eq!(ring.of(site).len(), each);
                prop_assert!(!by.contains(site));
                for witness in &by {
                    prop_assert!(ring.of(witness).contains(site));
                }
            }
            sites.remove(leaves.index(count));
            let after = Ring::new(&sites, wanted);
            let changed = sites.iter().filter(|site| ring.by(site) != after.by(site)).count();
            prop_assert!(changed <= each, "{} of {}", changed, count);
        }
    }
}
