//! What did not come by itself is fetched from the stream of its site.
//!
//! Sites of which numbers are missing are asked each [`EVERY`], those from which nothing came for a while in turn. A question goes to the JetStream of
//! the site, and its answer to a subject that the site has the right to: its own, so that none can answer for another one. A site whose link is down
//! does not answer, and is asked again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use async_nats::Client;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use serde::Deserialize;
use serde_json::json;

use super::{Done, HubConfig};
use crate::link::stream_of;
use crate::store::{HubStore, Raw, SiteStream};
use crate::up::MAX_MESSAGE;
use crate::words::Site;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(5);
/// Quiet sites that are asked in a round: ten thousand of them within a quarter of an hour.
const QUIET: usize = 64;
/// Messages that are fetched in a round. The hub takes nothing else meanwhile.
const A_ROUND: usize = 2048;
/// Questions that are open at a time.
const AT_ONCE: usize = 64;
/// How long answers are waited for. A site behind a slow link answers the next time.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer holds a message and its headers in base 64, and is JSON.
const MAX_ANSWER: usize = 2 * MAX_MESSAGE + 4096;

/// Asks sites.
pub(super) struct Fetch {
    client: Client,
    /// Tells this hub's answers from those to one before it.
    own: String,
    asked: u64,
    heard: HashMap<String, Instant>,
    began: Instant,
    due: Instant,
    turn: usize,
}

/// A question to a site: a request of the JetStream API, and what goes with it.
struct Question<'a> {
    site: &'a Site,
    request: &'static str,
    with: String,
}

#[derive(Deserialize)]
struct Info {
    created: String,
    state: State,
}

#[derive(Deserialize)]
struct State {
    first_seq: u64,
    last_seq: u64,
}

/// The answer to a request for a message.
#[derive(Deserialize)]
struct Got {
    #[serde(default)]
    message: Option<Stored>,
    #[serde(default)]
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct Stored {
    subject: String,
    seq: u64,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: u16,
}

impl Fetch {
    pub(super) fn new(client: Client) -> Self {
        let own = client.new_inbox().rsplit('.').next().unwrap_or_default().to_owned();
        let now = Instant::now();
        Self { client, own, asked: 0, heard: HashMap::new(), began: now, due: now + EVERY, turn: 0 }
    }

    /// Something of a site came by itself.
    pub(super) fn heard(&mut self, site: &str) {
        match self.heard.get_mut(site) {
            Some(at) => *at = Instant::now(),
            None => _ = self.heard.insert(site.to_owned(), Instant::now()),
        }
    }

    /// Asks whom it is time to ask.
    pub(super) async fn round(
        &mut self,
        config: &HubConfig,
        store: &mut HubStore,
        done: &mut Done,
    ) -> Result<()> {
        if config.direct || Instant::now() < self.due {
            return Ok(());
        }
        self.due = Instant::now() + EVERY;
        let quiet_after = Duration::from_secs(config.quiet_s.max(1));
        let with_gaps = store.with_gaps()?;
        let is_quiet =
            |site: &Site| self.heard.get(site.as_str()).unwrap_or(&self.began).elapsed() >= quiet_after;
        let at = self.turn % config.sites.len().max(1);
        let in_turn = || config.sites.iter().cycle().skip(at).take(config.sites.len());
        let mut asked: Vec<(&Site, bool)> = in_turn()
            .filter(|site| with_gaps.iter().any(|name| name == site.as_str()))
            .map(|site| (site, is_quiet(site)))
            .take(QUIET)
            .collect();
        let quiet: Vec<_> = in_turn()
            .enumerate()
            .filter(|(_, site)| is_quiet(site) && !asked.iter().any(|(other, _)| other == site))
            .take(QUIET)
            .collect();
        self.turn = at + quiet.last().map_or(0, |(n, _)| n + 1);
        asked.extend(quiet.into_iter().map(|(_, site)| (site, true)));
        let mut wanted = Vec::new();
        for some in asked.chunks(AT_ONCE) {
            let questions: Vec<_> = some
                .iter()
                .map(|(site, _)| Question { site, request: "STREAM.INFO", with: String::new() })
                .collect();
            let answers = self.ask(&questions).await?;
            for ((site, quiet), answer) in some.iter().zip(answers) {
                let Some(info) = answer.and_then(|answer| serde_json::from_slice::<Info>(&answer).ok())
                else {
                    continue;
                };
                let says = SiteStream {
                    created: info.created,
                    first: info.state.first_seq,
                    last: info.state.last_seq,
                };
                let room = A_ROUND - wanted.len();
                wanted.extend(store.compare(site, &says, *quiet, room)?.into_iter().map(|seq| (*site, seq)));
            }
        }
        // More than a round is asked for at once.
        if wanted.len() == A_ROUND {
            self.due = Instant::now();
        }
        self.fetch(config, store, done, &wanted).await
    }

    async fn fetch(
        &mut self,
        config: &HubConfig,
        store: &mut HubStore,
        done: &mut Done,
        wanted: &[(&Site, u64)],
    ) -> Result<()> {
        for some in wanted.chunks(AT_ONCE) {
            let questions: Vec<_> = some
                .iter()
                .map(|(site, seq)| Question {
                    site,
                    request: "STREAM.MSG.GET",
                    with: json!({ "seq": seq }).to_string(),
                })
                .collect();
            let answers = self.ask(&questions).await?;
            if answers.iter().all(Option::is_none) {
                break;
            }
            let now = jiff::Timestamp::now().as_second();
            // Those of one site stand together.
            let mut all: Vec<_> = some.iter().zip(answers).collect();
            while let Some(((site, _), _)) = all.first() {
                let site = *site;
                let count = all.iter().take_while(|((other, _), _)| *other == site).count();
                let (mut batch, mut absent) = (Vec::new(), Vec::new());
                for ((_, seq), answer) in all.drain(..count) {
                    match answer.and_then(|answer| read(site, *seq, &answer)) {
                        Some(Some(raw)) => batch.push(raw),
                        Some(None) => absent.push(*seq),
                        None => {}
                    }
                }
                let taken = store.take_fetched(site, &batch, &absent, &config.sites, now)?;
                done.fetched += taken.new;
                done.again += taken.again;
                done.refused += taken.refused;
                if taken.new > 0 {
                    eprintln!(
                        "glassgate hub: {} messages of {site} did not come by themselves and were fetched",
                        taken.new
                    );
                }
            }
        }
        Ok(())
    }

    /// Asks all at once; `None` for who does not answer in time.
    async fn ask(&mut self, questions: &[Question<'_>]) -> Result<Vec<Option<Vec<u8>>>> {
        let first = self.asked;
        // One subscription for all sites would be within no site's rights, and no site would be told of it.
        let mut answered = SelectAll::new();
        for (at, Question { site, .. }) in questions.iter().enumerate() {
            if at
                .checked_sub(1)
                .and_then(|before| questions.get(before))
                .is_none_or(|before| before.site != *site)
            {
                answered.push(self.client.subscribe(format!("gg.{site}.deliver.hub.{}.*", self.own)).await?);
            }
        }
        for Question { site, request, with } in questions {
            let subject = format!("$JS.{site}.API.{request}.{}", stream_of(site));
            let reply = format!("gg.{site}.deliver.hub.{}.{}", self.own, self.asked);
            self.client.publish_with_reply(subject, reply, with.clone().into()).await?;
            self.asked += 1;
        }
        self.client.flush().await?;
        let mut answers: Vec<Option<Vec<u8>>> = questions.iter().map(|_| None).collect();
        let mut open = questions.len();
        let until = tokio::time::Instant::now() + PATIENCE;
        while open > 0 {
            let Ok(Some(answer)) = tokio::time::timeout_at(until, answered.next()).await else { break };
            let mut parts = answer.subject.split('.');
            let (site, number) =
                (parts.nth(1), parts.next_back().and_then(|number| number.parse::<u64>().ok()));
            // One that comes too late belongs to nobody.
            let at = number.and_then(|number| usize::try_from(number.checked_sub(first)?).ok());
            let (Some(at), Some(site)) = (at, site) else { continue };
            let (Some(question), Some(place)) = (questions.get(at), answers.get_mut(at)) else { continue };
            if question.site.as_str() != site || place.is_some() {
                continue;
            }
            open -= 1;
            // Nobody listens: the servers say so with an empty message.
            *place = (!answer.payload.is_empty() && answer.payload.len() <= MAX_ANSWER)
                .then(|| answer.payload.to_vec());
        }
        Ok(answers)
    }
}

/// The message that was asked for; `Some(None)` where the stream has none of that number.
fn read(site: &Site, seq: u64, answer: &[u8]) -> Option<Option<Raw>> {
    let got: Got = serde_json::from_slice(answer).ok()?;
    match (got.message, got.error) {
        (Some(stored), _) if stored.seq == seq => Some(Some(Raw {
            seq: 0,
            subject: stored.subject,
            source: Some(site.to_string()),
            origin: Some(seq),
            payload: BASE64.decode(stored.data).ok()?,
        })),
        (None, Some(ApiError { code: 404 })) => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_others_passed_over() {
        let site = Site::new("plant-7").unwrap();
        let read = |answer: &str| read(&site, 7, answer.as_bytes());
        let good = r#"{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":"gg.plant-7.up.health","seq":7,"hdrs":"TkFUUy8xLjANCg0K","data":"e30=","time":"2027-01-11T10:00:00Z"}}"#;
        let raw = read(good).unwrap().unwrap();
        assert_eq!(
            (raw.subject.as_str(), raw.origin, raw.payload.as_slice()),
            ("gg.plant-7.up.health", Some(7), &b"{}"[..])
        );
        let gone = r#"{"type":"t","error":{"code":404,"err_code":10037,"description":"no message found"}}"#;
        assert!(matches!(read(gone), Some(None)));
        // Another one than was asked for, one that can't be had now, and what is no answer.
        for other in [
            &good.replace("\"seq\":7", "\"seq\":8"),
            &gone.replace("404", "503"),
            &good.replace("e30=", "?"),
            "",
            "{}",
            "[]",
        ] {
            assert!(read(other).is_none(), "{other}");
        }
    }
}
