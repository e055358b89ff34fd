//! Packs that come down: a good one to all in three stages, with the hub killed on the way; one that harms, one of a strange signer, and one that gateways do not take.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use glassgate_policy::SignatureTable;
use glassgate_policy::compile::{self, compile};
use glassgate_policy::pack::{self, Info, PublicKey};
use glassgate_policy::source::Source;
use ring::digest;
use ring::signature::Ed25519KeyPair;
use serde_json::Value;

use super::gateways::{GOOD, Gateway, HARMED, HARMS, NO, RELOAD};
use super::stage::Stage;
use super::witnesses::Tell;
use crate::stop::Stop;
use crate::ui;

/// So many that a tenth is more than one.
const SITES: [&str; 12] = [
    "site-01", "site-02", "site-03", "site-04", "site-05", "site-06", "site-07", "site-08", "site-09",
    "site-10", "site-11", "site-12",
];
const SERVERS: [&str; 3] = ["alpha", "beta", "gamma"];
/// Seconds that a stage is watched for.
const HOLD: &str = "4";
/// How long a roll-out may take to end in whatever way.
const ENDS: Duration = Duration::from_secs(120);
const SIGNER: u8 = 1;
const STRANGER: u8 = 2;

/// Everything, from the start of the servers to their end.
pub(super) fn run(server: &std::path::Path, keep: bool, found: Tell<'_>, stop: &Stop) -> Result<()> {
    let mut stage = Stage::new(server, &SITES, &SERVERS, keep)?;
    ui::line(format_args!("  in {}", stage.dir().display()));
    let mut part = Part::new(&mut stage)?;
    let gateways = part.start(stop)?;
    part.good(found, stop)?;
    part.harms(found, stop)?;
    let strange = part.pack(4, GOOD, STRANGER)?;
    part.refused(&strange, "signature", "a pack that somebody else signed", found, stop)?;
    let no = part.pack(5, NO, SIGNER)?;
    part.refused(&no, "gateway", "a pack that gateways do not take", found, stop)?;
    let old = part.pack(1, GOOD, SIGNER)?;
    part.refused(&old, "serial", "a pack that is older than the one that boxes have", found, stop)?;
    let foreign = part.stage.status()?["refused"].to_string();
    found("messages refused meanwhile", foreign.clone(), "[]", foreign == "[]");
    gateways.into_iter().try_for_each(Gateway::stop)
}

struct Part<'a> {
    stage: &'a mut Stage,
    packs: PathBuf,
}

/// How far a roll-out is, as `rollout status` says it.
struct Seen {
    state: String,
    why: String,
    /// Sites that are offered it.
    staged: Vec<String>,
    /// Sites by the serial of the pack that they have.
    serials: Vec<(String, u64)>,
}

impl Seen {
    fn have(&self, serial: u64) -> usize {
        self.serials.iter().filter(|(_, has)| *has == serial).count()
    }
}

impl<'a> Part<'a> {
    fn new(stage: &'a mut Stage) -> Result<Self> {
        let packs = stage.dir().join("packs");
        fs::create_dir_all(&packs)?;
        Ok(Self { stage, packs })
    }

    /// A pack of its own table, with what it does as its publisher.
    fn pack(&self, serial: u64, does: &str, signer: u8) -> Result<PathBuf> {
        let text = format!(
            "service\tcategory\ttitle\tregion\nchess\tgames\tChess\tworld\n\
             name\tscope\tservice\tcategory\trole\ttier\tsource\tlicence\tadded\texpires\tnote\n\
             chess{serial}{signer}.example\tsuffix\tchess\tgames\tsite\tstrong\tm\tCC0-1.0\t2026-11-21\n"
        );
        let source = Source::parse("part", text.as_bytes()).map_err(|found| anyhow::anyhow!("{found}"))?;
        let compiled =
            compile(&[source], &compile::Options::default()).map_err(|found| anyhow::anyhow!("{found}"))?;
        let table = SignatureTable::from_bytes(&compiled.bytes).context("the table")?;
        let info = Info { serial, publisher: does.to_owned(), ..Info::default() };
        let mut bytes = pack::build(&table, &info);
        pack::sign(&mut bytes, &key(signer)?)?;
        let file = self.packs.join(format!("{serial}-{does}.pack"));
        fs::write(&file, bytes)?;
        Ok(file)
    }

    fn folder_of(&self, site: &str) -> PathBuf {
        self.stage.dir().join("gateway").join(site)
    }

    /// Servers, gateways with pack 2 in place, agents, and the hub.
    fn start(&mut self, stop: &Stop) -> Result<Vec<Gateway>> {
        let trusted = PublicKey::of(&key(SIGNER)?);
        let first = self.pack(2, GOOD, SIGNER)?;
        let mut gateways = Vec::new();
        for name in SERVERS.iter().chain(&SITES) {
            self.stage.start_server(name)?;
        }
        for site in SITES {
            let dir = self.folder_of(site);
            fs::create_dir_all(&dir)?;
            let pack = dir.join("site.pack");
            fs::copy(&first, &pack)?;
            gateways.push(Gateway::start(&self.stage.log_of(site), &dir, &pack, trusted)?);
            let file = self.stage.dir().join("out").join(site).join("agent.toml");
            let down = format!(
                "\n[down]\npack = \"{}\"\ntrusted_keys = [\"{trusted}\"]\nreload = [\"/bin/sh\", \"-c\", '{RELOAD}', \"{}\"]\nask_s = 1\n",
                pack.display(),
                dir.display()
            );
            fs::write(&file, fs::read_to_string(&file)? + &down)?;
            self.stage.start_agent(site)?;
        }
        self.stage.start_hub(stop)?;
        // Once all of them asked the hub, and it knows how they are, there is something to compare with.
        let is_up = |status: &Value| {
            let sites = status["sites"].as_array().into_iter().flatten();
            Ok(sites.filter(|site| site["entries"].as_u64() > Some(5)).count() == SITES.len())
        };
        self.stage.await_status(is_up, ENDS, stop)?;
        let asked = self.await_seen(stop, |seen| seen.have(2) == SITES.len())?.have(2);
        ensure!(asked == SITES.len(), "{asked} of {} boxes have asked the hub what there is", SITES.len());
        ui::line("  everything is up, and all boxes have asked the hub what there is");
        Ok(gateways)
    }

    fn good(&mut self, found: Tell<'_>, stop: &Stop) -> Result<()> {
        let pack = self.pack(3, GOOD, SIGNER)?;
        let began = Instant::now();
        self.stage.rollout(&["start".as_ref(), pack.as_os_str(), "--hold".as_ref(), HOLD.as_ref()])?;
        let mut counts = BTreeSet::new();
        let mut killed = false;
        let seen = loop {
            let seen = self.seen()?;
            counts.insert(seen.staged.len());
            if !killed && seen.staged.len() == 2 {
                self.stage.kill("hub")?;
                self.stage.start_hub(stop)?;
                killed = true;
            }
            if seen.state != "running" || began.elapsed() > ENDS {
                break seen;
            }
            stop.pause(Duration::from_millis(200))?;
        };
        counts.remove(&0);
        found(
            "a good pack: sites that it was offered to, stage by stage, with the hub killed in the second",
            format!("{counts:?}, then {} ({:.0} s; {})", seen.state, began.elapsed().as_secs_f32(), seen.why),
            "{1, 2, 12}, then done",
            seen.state == "done" && counts == BTreeSet::from([1, 2, 12]) && killed,
        );
        let all = seen.have(3);
        found("sites that run it", all.to_string(), "12", all == SITES.len());
        Ok(())
    }

    /// Well at the first site; names are lost at the second, as its traffic is another one.
    fn harms(&mut self, found: Tell<'_>, stop: &Stop) -> Result<()> {
        let pack = self.pack(4, HARMS, SIGNER)?;
        let digest = hex(&fs::read(&pack)?);
        let mut order = SITES.to_vec();
        order.sort_by_key(|site| hex(format!("{digest}/{site}").as_bytes()));
        let harmed = order.get(1).copied().context("a second site")?;
        fs::write(self.folder_of(harmed).join(HARMED), "")?;
        let (seen, highest, took) = self.rolled(&pack, 4, stop)?;
        found(
            "a pack by which a site of the second stage loses names of flows",
            format!("{} after {:.0} s: {}", seen.state, took.as_secs_f32(), seen.why),
            "halted by itself",
            seen.state == "halted" && seen.why.contains("flows without a name rose"),
        );
        found("sites that it was offered to", seen.staged.len().to_string(), "2", seen.staged.len() == 2);
        let back = self.await_seen(stop, |seen| seen.have(3) == SITES.len())?;
        found(
            "sites that ever had it, and that have the one before afterwards",
            format!("{highest}, {}", back.have(3)),
            "2, 12",
            highest == 2 && back.have(3) == SITES.len(),
        );
        self.stage.rollout(&["withdraw".as_ref()]).map(drop)
    }

    fn refused(
        &mut self,
        pack: &std::path::Path,
        why: &str,
        what: &str,
        found: Tell<'_>,
        stop: &Stop,
    ) -> Result<()> {
        let (seen, _, took) = self.rolled(pack, u64::MAX, stop)?;
        let kept = self.await_seen(stop, |seen| seen.have(3) == SITES.len())?.have(3);
        found(
            what,
            format!(
                "{} after {:.0} s: {}; {kept} sites have the one before",
                seen.state,
                took.as_secs_f32(),
                seen.why
            ),
            "halted at the first site, which refuses it; 12",
            seen.state == "halted"
                && seen.why.ends_with(why)
                && seen.staged.len() == 1
                && kept == SITES.len(),
        );
        self.stage.rollout(&["withdraw".as_ref()]).map(drop)
    }

    /// Rolls a pack out until that has ended; with how many sites had this serial at most, and how long it took.
    fn rolled(
        &mut self,
        pack: &std::path::Path,
        serial: u64,
        stop: &Stop,
    ) -> Result<(Seen, usize, Duration)> {
        let began = Instant::now();
        self.stage.rollout(&["start".as_ref(), pack.as_os_str(), "--hold".as_ref(), HOLD.as_ref()])?;
        let mut had = BTreeSet::new();
        loop {
            let seen = self.seen()?;
            had.extend(seen.serials.iter().filter(|(_, has)| *has == serial).map(|(site, _)| site.clone()));
            if seen.state != "running" || began.elapsed() > ENDS {
                return Ok((seen, had.len(), began.elapsed()));
            }
            stop.pause(Duration::from_millis(200))?;
        }
    }

    fn seen(&self) -> Result<Seen> {
        let status: Value = serde_json::from_str(&self.stage.rollout(&["status".as_ref()])?)?;
        let word = |name: &str| status["rollout"][name].as_str().unwrap_or_default().to_owned();
        let boxes = status["boxes"].as_array().into_iter().flatten();
        Ok(Seen {
            state: word("state"),
            why: word("why"),
            staged: status["staged"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|site| Some(site.as_str()?.to_owned()))
                .collect(),
            serials: boxes
                .filter_map(|said| Some((said["site"].as_str()?.to_owned(), said["serial"].as_u64()?)))
                .collect(),
        })
    }

    fn await_seen(&self, stop: &Stop, is_so: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let end = Instant::now() + ENDS;
        loop {
            let seen = self.seen()?;
            if is_so(&seen) || Instant::now() > end {
                return Ok(seen);
            }
            stop.pause(Duration::from_millis(200))?;
        }
    }
}

fn key(seed: u8) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).map_err(|why| anyhow::anyhow!("{why}"))
}

fn hex(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
