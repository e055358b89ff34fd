//! Boxes that cosign one another's checkpoints, and one that writes its past anew: with its own key, first as long as it was, then longer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::boxes;
use super::stage::Stage;
use crate::stop::Stop;

/// Rounds of asking are two seconds apart here; a witness that was given no proof from what it remembers takes a second one.
const SAID: Duration = Duration::from_secs(60);

/// What was done, what was found, the goal, and whether it was met.
pub(super) type Tell<'a> = &'a mut dyn FnMut(&str, String, &str, bool);

/// Where boxes `sites` are what they say, with logs that nobody writes any more and that have as many entries; `rewritten` then writes its own anew, and the log of `forger` was sent
/// to witnesses in the name of `rewritten`.
pub(super) fn run(
    stage: &mut Stage,
    sizes: &BTreeMap<&str, u64>,
    rewritten: &str,
    forger: &str,
    found: Tell<'_>,
    stop: &Stop,
) -> Result<()> {
    let all: u64 = sizes.values().sum();
    let behind = |status: &Value| -> Result<u64> {
        let mut entries = 0;
        for site in sizes.keys() {
            entries += cosigned(status, site, &boxes::log_id(&stage.log_of(site))?, sizes.len() - 1);
        }
        Ok(entries)
    };
    let begun = Instant::now();
    let status = stage.await_status(|status| Ok(behind(status)? == all), SAID, stop)?;
    found(
        "entries that all other boxes stand behind, as the hub knows",
        format!("{} of {all}, after {:.1} s", behind(&status)?, begun.elapsed().as_secs_f32()),
        "all",
        behind(&status)? == all,
    );
    let conflicts = status["conflicts"].to_string();
    found("conflicts among them", conflicts.clone(), "[]", conflicts == "[]");
    let (mut whole, mut asked, mut said) = (0, 0, String::new());
    for (site, size) in sizes {
        for witness in sizes.keys().filter(|other| *other != site) {
            let (note, key) = kept(stage, witness, site)?;
            let (is_whole, words) = stage.verify(&stage.log_of(site), Some((&note, &key)))?;
            let as_much = words.contains(&format!("they continue the {size} that the witness saw"));
            asked += 1;
            whole += usize::from(is_whole && as_much);
            said = words;
        }
    }
    found(
        "logs that `audit verify` finds to continue what each of their witnesses signed",
        if whole == asked { format!("{whole} of {asked}") } else { format!("{whole} of {asked}: {said}") },
        "all",
        whole == asked,
    );
    // The forger speaks to the server of its own box, which is that of a witness: what it has that one sign it could sign itself.
    let mut strange = 0;
    for witness in sizes.keys() {
        for site in sizes.keys().filter(|site| (*witness, **site) != (forger, rewritten) && *site != witness)
        {
            strange += remembered(stage, witness, site)?.len().saturating_sub(1);
        }
    }
    found(
        "logs that others brought witnesses to remember in the name of a site: one box, and the hub",
        strange.to_string(),
        "0",
        strange == 0,
    );

    let log = stage.log_of(rewritten);
    let id = boxes::log_id(&log)?;
    let size = sizes.get(rewritten).copied().context("the site has no log")?;
    stage.kill(&format!("agent-{rewritten}"))?;
    let real = log.with_extension("real");
    fs::rename(&log, &real)?;
    fs::create_dir(&log)?;
    fs::copy(real.join("key"), log.join("key"))?;
    for (entries, why) in [(size, "fork"), (size + 1000, "unproven")] {
        boxes::lengthen(&log, entries)?;
        if why == "fork" {
            stage.start_agent(rewritten)?;
        }
        let begun = Instant::now();
        let of = |status: &Value| conflicts_of(status, rewritten, &id, why);
        let status = stage.await_status(|status| Ok(of(status) == sizes.len() - 1), SAID, stop)?;
        let still = cosigned(&status, rewritten, &id, sizes.len() - 1);
        found(
            &format!(
                "witnesses that refuse another past of {} entries, as the hub knows",
                entries_of(entries, size)
            ),
            format!(
                "{} (`{why}`), after {:.1} s; they stand behind the {still} of before",
                of(&status),
                begun.elapsed().as_secs_f32()
            ),
            "both",
            of(&status) == sizes.len() - 1 && still == size,
        );
        let (alone, _) = stage.verify(&log, None)?;
        let mut passed = 0;
        for witness in sizes.keys().filter(|other| **other != rewritten) {
            let (note, key) = kept(stage, witness, rewritten)?;
            passed += usize::from(stage.verify(&log, Some((&note, &key)))?.0);
        }
        found(
            "`audit verify` of that: without a witness, and with each of them",
            format!("{}, and {passed} find it whole", if alone { "whole" } else { "not whole" }),
            "whole, and 0",
            alone && passed == 0,
        );
    }
    Ok(())
}

fn entries_of(entries: u64, size: u64) -> &'static str {
    if entries == size { "as many" } else { "1000 more" }
}

/// How many entries of a log that many witnesses stand behind, as the hub knows; 0 if fewer do.
fn cosigned(status: &Value, site: &str, log: &str, witnesses: usize) -> u64 {
    let is_it = |line: &&Value| line["site"] == site && line["log"] == log && line["witnesses"] == witnesses;
    let lines = status["witnessed"].as_array().into_iter().flatten();
    lines.filter(is_it).filter_map(|line| line["size"].as_u64()).sum()
}

/// How many witnesses of a log said `why`.
fn conflicts_of(status: &Value, site: &str, log: &str, why: &str) -> usize {
    let is_it = |line: &&Value| line["site"] == site && line["log"] == log && line["why"] == why;
    status["conflicts"].as_array().into_iter().flatten().filter(is_it).count()
}

/// The folders of the logs that a witness remembers of a site.
fn remembered(stage: &Stage, witness: &str, site: &str) -> Result<Vec<PathBuf>> {
    let folder = stage.state_of(witness).join("witness").join(site);
    let names = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    names.map(|entry| Ok(entry?.path())).collect()
}

/// What a witness keeps of the log that a site has: the checkpoint that it signed last, and its own key.
fn kept(stage: &Stage, witness: &str, site: &str) -> Result<(PathBuf, PathBuf)> {
    let folder = stage.state_of(witness).join("witness");
    let of_log = folder.join(site).join(boxes::log_id(&stage.log_of(site))?);
    let is_note = |path: &PathBuf| path.extension() == Some(Path::new("checkpoint").as_os_str());
    let names = fs::read_dir(&of_log).with_context(|| of_log.display().to_string())?;
    let notes = names.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let note =
        notes.into_iter().find(is_note).with_context(|| format!("{witness} signed nothing of {site}"))?;
    Ok((note, folder.join("key.pub")))
}
