//! Roll-outs: who is offered a pack, when the next sites are, and when it is stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, Message};
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;

use super::HubConfig;
use crate::down::store::{Boxed, Event, Rollout, Rollouts, Sqlite, State};
use crate::down::{Answer, Ask, MAX_TEXT, Part, VERSION};
use crate::up::Said;
use crate::words::{Digest, Site};

/// Between two looks at the health of staged sites.
const EVERY: Duration = Duration::from_secs(2);
/// Sites whose events are looked at in a round; of more, those that were staged first in the order of their names.
const LOOKED_AT: usize = 256;
/// The share of flows without a name may rise by so many points more than at sites without the pack.
const POINTS: f64 = 5.0;
/// One of so many sites may be silent or unwell without a halt: a fleet always has some.
const TOLERATED: usize = 20;

/// How a site is, before it ran the pack and since.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Times of lost records or without a fast path, and starts: before, since.
    pub trouble: [u64; 2],
    /// Means of the share of flows without a name, per cent.
    pub unnamed: [Option<f64>; 2],
}

/// How a staged site is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Which.
    pub site: String,
    /// It has said in its log that it runs the pack, so many seconds ago.
    pub runs: Option<i64>,
    /// It ran it, and runs another one.
    pub rolled_back: bool,
    /// Why it does not take it.
    pub refused: Option<String>,
    /// It does not ask any more.
    pub silent: bool,
    /// How it is.
    pub health: Health,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wait, for this.
    Wait(String),
    /// Stop, since this.
    Halt(String),
    /// The next stage.
    Next,
}

/// What a site's events say: whether it runs `table` and since when, whether it went away from it, and how it is around that moment. `from` is when it was offered it; without it, as for
/// a site without the pack, the moment is `from` itself.
pub fn health(
    events: &[Event],
    table: Option<&Digest>,
    from: i64,
    hold_s: i64,
) -> (Option<i64>, bool, Health) {
    let is = |event: &Event| matches!(&event.said, Said::Policy { table: t, .. } if Some(t) == table);
    // A clock that runs differs by a little: what is decided here is told by the order of the log.
    let split = events.iter().position(|event| is(event) && event.wall >= from - hold_s);
    let newest = events.iter().rev().find(|event| matches!(event.said, Said::Policy { .. }));
    let rolled_back = split.is_some() && newest.is_some_and(|event| !is(event));
    let runs = split.and_then(|at| events.get(at)).map(|event| event.wall);
    let moment = runs.unwrap_or(from);
    let mut health = Health::default();
    let mut shares = [(0.0, 0u32); 2];
    for (at, event) in events.iter().enumerate() {
        let since = split.map_or(event.wall >= moment, |split| at > split);
        if !since && event.wall < moment.saturating_sub(hold_s.max(7200)) {
            continue;
        }
        let [before, after] = &mut health.trouble;
        let trouble = if since { after } else { before };
        match &event.said {
            Said::Gap { .. } | Said::Uninspected { .. } | Said::LogFull {} | Said::Started { .. } => {
                *trouble += 1
            }
            // An hour that began before says nothing of what came after.
            Said::Blindness { told, start, .. } if !since || start.seconds() >= moment => {
                let named: u64 = told.evidence_percent.iter().map(|(_, share)| share).sum();
                let unnamed: u64 = told.reasons_percent.iter().map(|(_, share)| share).sum();
                let [first, second] = &mut shares;
                let (sum, n) = if since { second } else { first };
                if named + unnamed > 0 {
                    *sum += 100u64.saturating_sub(named) as f64;
                    *n += 1;
                }
            }
            _ => {}
        }
    }
    health.unnamed = shares.map(|(sum, n)| (n > 0).then(|| sum / f64::from(n)));
    (runs, rolled_back, health)
}

/// Judges a stage by its sites and by those without the pack.
pub fn judge(sites: &[Seen], others: &[Health], hold_s: i64, blindness: bool) -> Verdict {
    let some = sites.len() / TOLERATED;
    let names = |which: &dyn Fn(&Seen) -> bool| {
        let names: Vec<_> = sites.iter().filter(|seen| which(seen)).map(|seen| seen.site.as_str()).collect();
        let few: Vec<_> = names.iter().take(5).copied().collect();
        (names.len(), few.join(", "))
    };
    let (n, few) = names(&|seen| seen.refused.is_some());
    if n > some {
        let why = sites.iter().find_map(|seen| seen.refused.as_deref()).unwrap_or_default();
        return Verdict::Halt(format!("{n} of {} sites refuse it ({few}): {why}", sites.len()));
    }
    let (n, few) = names(&|seen| seen.rolled_back);
    if n > some {
        return Verdict::Halt(format!(
            "{n} of {} sites ran it and run another one again ({few})",
            sites.len()
        ));
    }
    let (n, few) = names(&|seen| seen.silent);
    if n > some {
        return Verdict::Halt(format!("{n} of {} sites do not ask any more ({few})", sites.len()));
    }
    let rise = |all: &mut dyn Iterator<Item = &Health>| {
        let (sum, n) = all.fold((0.0, 0u32), |(sum, n), health| match health.unnamed {
            [Some(before), Some(after)] => (sum + after - before, n + 1),
            _ => (sum, n),
        });
        (n > 0).then(|| sum / f64::from(n))
    };
    let running = || sites.iter().filter(|seen| seen.runs.is_some());
    // What rises everywhere is not the pack's doing.
    let elsewhere = |n: u64| n as f64 / others.len().max(1) as f64 * running().count() as f64;
    let [before, after] = running().fold([0, 0], |[b, a], seen| {
        let [before, after] = seen.health.trouble;
        [b + before, a + after]
    });
    let [others_before, others_after] = others.iter().fold([0, 0], |[b, a], health| {
        let [before, after] = health.trouble;
        [b + before, a + after]
    });
    let more = elsewhere(others_after.saturating_sub(others_before));
    if after as f64 > before as f64 + more + some as f64 {
        return Verdict::Halt(format!(
            "lost records, times without a fast path and starts rose from {before} to {after}"
        ));
    }
    let unnamed = rise(&mut running().map(|seen| &seen.health));
    if let Some(unnamed) = unnamed {
        let elsewhere = rise(&mut others.iter()).unwrap_or_default();
        if unnamed - elsewhere > POINTS {
            return Verdict::Halt(format!(
                "flows without a name rose by {unnamed:.0} points, and by {elsewhere:.0} at sites without the pack"
            ));
        }
    }
    let (missing, few) = names(&|seen| seen.runs.is_none());
    if sites.is_empty() || missing > some {
        return Verdict::Wait(format!("{missing} of {} sites do not run it yet ({few})", sites.len()));
    }
    if running().any(|seen| seen.runs.is_some_and(|ago| ago < hold_s)) {
        return Verdict::Wait(format!("watched for {hold_s} s"));
    }
    if blindness && unnamed.is_none() {
        return Verdict::Wait("no site has said yet what it could see since".to_owned());
    }
    Verdict::Next
}

/// What is answered to a box that has a pack of this digest and serial.
pub fn answer(store: &impl Rollouts, site: &Site, ask: &Ask) -> Result<Answer> {
    let take = |rollout: &Rollout| Answer::Take {
        pack: rollout.pack.clone(),
        bytes: rollout.bytes.cast_unsigned(),
        attempt: rollout.attempt,
    };
    let Some(newest) = store.newest()? else { return Ok(Answer::Nothing) };
    let has = ask.pack.as_ref() == Some(&newest.pack);
    match newest.state {
        State::Halted | State::Withdrawn if has => return Ok(Answer::Back { pack: newest.pack }),
        State::Running if has => return Ok(Answer::Nothing),
        State::Running if store.staged(newest.id)?.iter().any(|(name, _)| name == site.as_str()) => {
            return Ok(take(&newest));
        }
        _ => {}
    }
    // What was rolled out before, for who was away.
    Ok(match store.done()? {
        Some(done) if ask.pack.as_ref() != Some(&done.pack) && ask.serial < done.serial.cast_unsigned() => {
            take(&done)
        }
        _ => Answer::Nothing,
    })
}

/// Looks how the newest roll-out is, and does what follows. Says what.
pub fn round(store: &mut impl Rollouts, sites: &[Site], now: i64) -> Result<Option<Verdict>> {
    let Some(mut rollout) = store.newest()?.filter(|rollout| rollout.state == State::Running) else {
        return Ok(None);
    };
    let boxes: BTreeMap<String, Boxed> = store.boxes()?.into_iter().map(|b| (b.site.clone(), b)).collect();
    let fresh = |site: &str| boxes.get(site).is_some_and(|b| now - b.asked <= rollout.silent_s);
    // Whoever is away now is no site to learn from: it is offered the pack when it is back and all are.
    let mut asking: Vec<&str> = sites.iter().map(Site::as_str).filter(|site| fresh(site)).collect();
    asking.sort_by_key(|site| Digest::of(format!("{}/{site}", rollout.pack).as_bytes()));
    let wanted = match rollout.stage {
        0 => 1,
        1 => sites.len().div_ceil(10),
        _ => sites.len(),
    };
    let staged = store.staged(rollout.id)?;
    if staged.len() < wanted {
        let new: Vec<String> = asking
            .iter()
            .filter(|site| !staged.iter().any(|(name, _)| name == *site))
            .take(wanted - staged.len())
            .map(|site| (*site).to_owned())
            .collect();
        if !new.is_empty() {
            store.stage(rollout.id, &new, now)?;
        }
    }
    let staged = store.staged(rollout.id)?;
    let mut seen = Vec::new();
    let mut told = false;
    for (site, since) in staged.iter().take(LOOKED_AT) {
        let said = boxes.get(site);
        let events = store.events(site)?;
        let (runs, rolled_back, health) = health(&events, Some(&rollout.table), *since, rollout.hold_s);
        let refused = said.filter(|said| {
            said.refused.as_deref() == Some(rollout.pack.as_str()) && said.attempt >= rollout.attempt
        });
        let [before, _] = health.unnamed;
        told |= before.is_some();
        seen.push(Seen {
            site: site.clone(),
            runs: runs.map(|at| now.saturating_sub(at)),
            rolled_back,
            refused: refused.map(|said| said.why.clone()),
            silent: !fresh(site),
            health,
        });
    }
    let mut others = Vec::new();
    for site in asking.iter().filter(|site| !staged.iter().any(|(name, _)| name == *site)).take(LOOKED_AT) {
        others.push(health(&store.events(site)?, None, rollout.staged, rollout.hold_s).2);
    }
    let verdict = judge(&seen, &others, rollout.hold_s, told);
    match &verdict {
        Verdict::Wait(_) => {}
        Verdict::Halt(why) => {
            rollout.state = State::Halted;
            rollout.why.clone_from(why);
            store.put(&rollout)?;
        }
        Verdict::Next => {
            rollout.staged = now;
            if rollout.stage >= 2 {
                rollout.state = State::Done
            } else {
                rollout.stage += 1
            }
            store.put(&rollout)?;
        }
    }
    Ok(Some(verdict))
}

/// Answers boxes and goes on with roll-outs until the process is ended.
pub(super) async fn run(config: HubConfig, client: Client) {
    loop {
        let why = serve(&config, &client).await.err();
        eprintln!(
            "glassgate hub: roll-outs tried again in a second: {:#}",
            why.unwrap_or_else(|| anyhow::anyhow!("no connection"))
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn serve(config: &HubConfig, client: &Client) -> Result<()> {
    let mut store = Sqlite::open(&config.store)?;
    // Site by site: of `gg.*.want.*` no leaf is told, as that is wider than what any of them may say.
    let mut questions = SelectAll::new();
    for site in &config.sites {
        let site = site.clone();
        let asked = client.subscribe(format!("gg.{site}.want.*")).await?;
        questions.push(asked.map(move |message| (site.clone(), message)));
    }
    let mut due = tokio::time::interval(EVERY);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        tokio::select! {
            _ = due.tick() => {
                let verdict = round(&mut store, &config.sites, jiff::Timestamp::now().as_second())?;
                if let Some(Verdict::Halt(why)) = &verdict && verdict != before {
                    eprintln!("glassgate hub: the roll-out is halted: {why}");
                }
                before = verdict;
            }
            asked = questions.next() => {
                let (site, message) = asked.context("the connection was closed")?;
                let Some(to) = message.reply.clone() else { continue };
                // The answer goes where this site alone hears it, wherever it was asked to go.
                if !to.as_str().starts_with(&format!("gg.{site}.given.")) {
                    continue;
                }
                // What is no question is not answered: the box asks again.
                if let Ok(answer) = reply(&mut store, &site, &message) {
                    client.publish(to, answer.into()).await?;
                }
            }
        }
    }
}

fn reply(store: &mut Sqlite, site: &Site, message: &Message) -> Result<Vec<u8>> {
    ensure!(message.payload.len() <= MAX_TEXT, "too long");
    if message.subject.ends_with(".part") {
        let part: Part = serde_json::from_slice(&message.payload)?;
        return Ok(store.part(&part.pack, part.n)?.unwrap_or_default());
    }
    let ask: Ask = serde_json::from_slice(&message.payload)?;
    ensure!(ask.v == VERSION, "another version");
    store.asked(site, &ask, jiff::Timestamp::now().as_second())?;
    Ok(serde_json::to_vec(&answer(store, site, &ask)?)?)
}

#[cfg(test)]
mod tests;
