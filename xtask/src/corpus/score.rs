//! Our lines against the oracle.

use super::oracle::{self, KINDS, Key, Oracle};
use crate::ui;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names by flow and kind.
pub(super) type Found = BTreeMap<Key, BTreeMap<String, Names>>;

/// The names of one kind in one flow.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// As they were reported.
    pub(super) names: BTreeSet<String>,
    /// The frame with which the first was known.
    pub(super) frame: Option<u64>,
}

/// Counts of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Tally {
    /// Flows with a name, and how many of them were found.
    pub(super) total: usize,
    /// See `total`.
    pub(super) found: usize,
    /// Flows set apart, and how many of them were found.
    pub(super) apart: usize,
    /// See `apart`.
    pub(super) apart_found: usize,
    /// Flows with a name that is not among the oracle's.
    pub(super) wrong: usize,
    /// Frames between the one that completes the name and the one at which it was known: at most 0, 1, more.
    pub(super) lag: [usize; 3],
}

/// The result.
#[derive(Debug, Default, Serialize)]
pub(super) struct Score {
    /// By kind.
    pub(super) kinds: BTreeMap<String, Tally>,
    /// By feature: flows, found.
    pub(super) features: BTreeMap<String, (usize, usize)>,
    /// What was not found, as text.
    pub(super) misses: Vec<String>,
    /// What is wrong or false, as text.
    pub(super) wrong: Vec<String>,
}

/// Replays the captures with the gateway's binary, a hundred at a time.
pub(super) fn ours(bin: &Path, captures: &[PathBuf]) -> Result<Found> {
    let mut found = Found::new();
    for some in captures.chunks(100) {
        let output = Command::new(bin).arg("replay").args(some).args(["--flows", "-"]).output();
        let output = output.with_context(|| format!("running {}", bin.display()))?;
        if !output.status.success() {
            bail!("replay ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let line: serde_json::Value =
                serde_json::from_str(line).context("a line of replay is no JSON")?;
            let Some(kind) = line["kind"].as_str() else { continue };
            let text = |field: &str| line[field].as_str().unwrap_or_default();
            let port = |field: &str| line[field].as_u64().unwrap_or_default() as u16;
            let client = (text("client"), port("client_port"));
            let flow =
                oracle::key(text("capture"), text("proto"), client, (text("server"), port("server_port")));
            let entry = found.entry(flow).or_default().entry(kind.to_owned()).or_default();
            let names = line["names"].as_array().into_iter().flatten().filter_map(|n| n.as_str());
            entry.names.extend(names.chain(line["name"].as_str()).map(oracle::normal));
            entry.frame = entry.frame.or(line["name_frame"].as_u64());
        }
    }
    Ok(found)
}

/// Compares.
pub(super) fn score(oracle: &Oracle, found: &Found) -> Score {
    let mut score = Score::default();
    for (flow, wanted) in &oracle.wanted {
        let got = found.get(flow);
        for want in wanted.iter().filter(|w| !w.names.is_empty()) {
            let tally = score.kinds.entry(want.kind.clone()).or_default();
            let names = got.and_then(|g| g.get(&want.kind));
            let hit = names.is_some_and(|n| !n.names.is_disjoint(&want.names));
            match (want.apart, hit) {
                (true, _) => {
                    (tally.apart, tally.apart_found) = (tally.apart + 1, tally.apart_found + usize::from(hit))
                }
                (false, _) => (tally.total, tally.found) = (tally.total + 1, tally.found + usize::from(hit)),
            }
            for feature in &want.features {
                let (all, seen) = score.features.entry(feature.clone()).or_default();
                (*all, *seen) = (*all + 1, *seen + usize::from(hit));
            }
            if hit && let (Some(at), Some(complete)) = (names.and_then(|n| n.frame), want.frame) {
                let lag = at.saturating_sub(complete).min(2) as usize;
                if let Some(count) = tally.lag.get_mut(lag) {
                    *count += 1;
                }
            }
            if !hit && !want.apart {
                let frame = want.frame.map_or_else(String::new, |f| format!(" frame {f}"));
                // A name may be as long as a hostile request likes.
                let name: String = want.names.first().into_iter().flat_map(|n| n.chars()).take(64).collect();
                score.misses.push(format!("{} {}{frame} {name} {:?}", want.kind, flow.0, want.features));
            }
        }
        let unsure = wanted.iter().any(|w| w.unsure);
        for (kind, names) in got.into_iter().flatten().filter(|_| !unsure) {
            let right: BTreeSet<&String> =
                wanted.iter().filter(|w| &w.kind == kind).flat_map(|w| &w.names).collect();
            let bad: Vec<&String> = names.names.iter().filter(|n| !right.contains(n)).collect();
            if !bad.is_empty() {
                score.kinds.entry(kind.clone()).or_default().wrong += 1;
                score.wrong.push(format!("{kind} {} {:?}: {bad:?}, not {right:?}", flow.0, flow.2));
            }
        }
    }
    for flow in oracle.unnamed.iter().filter(|flow| !oracle.wanted.contains_key(*flow)) {
        for (kind, names) in found.get(flow).into_iter().flatten().filter(|(_, n)| !n.names.is_empty()) {
            score.kinds.entry(kind.clone()).or_default().wrong += 1;
            score.wrong.push(format!("{kind} {} {:?}: {:?}, none there", flow.0, flow.2, names.names));
        }
    }
    score
}

impl Score {
    /// Whether each kind reaches `need` without a wrong name.
    pub(super) fn holds(&self, need: f64) -> bool {
        self.kinds.values().all(|t| t.wrong == 0 && t.found as f64 >= need * t.total as f64)
    }

    /// Prints the tables.
    pub(super) fn print(&self, misses: usize) {
        let share =
            |found: usize, all: usize| if all == 0 { 100.0 } else { 100.0 * found as f64 / all as f64 };
        ui::line(format_args!(
            "{:5} {:>15} {:>8} {:>15} {:>6}   known with the completing frame / one later / more",
            "kind", "found", "%", "set apart", "wrong"
        ));
        for kind in KINDS {
            let Some(t) = self.kinds.get(kind) else { continue };
            ui::line(format_args!(
                "{kind:5} {:>15} {:>8.2} {:>15} {:>6}   {} / {} / {}",
                format!("{}/{}", t.found, t.total),
                share(t.found, t.total),
                format!("{}/{}", t.apart_found, t.apart),
                t.wrong,
                t.lag[0],
                t.lag[1],
                t.lag[2]
            ));
        }
        for (feature, (all, found)) in &self.features {
            ui::line(format_args!("  {feature:20} {found:>6}/{all:<6} {:>6.1} %", share(*found, *all)));
        }
        for wrong in &self.wrong {
            ui::line(format_args!("wrong: {wrong}"));
        }
        for miss in self.misses.iter().take(misses) {
            ui::line(format_args!("miss: {miss}"));
        }
        if self.misses.len() > misses {
            ui::line(format_args!("… and {} more misses (--misses N)", self.misses.len() - misses));
        }
    }
}
