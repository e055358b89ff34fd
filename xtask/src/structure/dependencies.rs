//! `deny.toml` without cargo-deny: bans, licences and sources of what the workspace is linked from.
//!
//! cargo-deny takes minutes to build and wants the advisory database from the network, so it can't be what every
//! test run relies on. The tables that need neither are read and held here; a table or key of `deny.toml` that
//! this does not know is left to cargo-deny.

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package};
use semver::VersionReq;
use serde::Deserialize;
use spdx::{Expression, Licensee};

/// The part of `deny.toml` that is held here.
#[derive(Deserialize)]
struct Rules {
    bans: Bans,
    licenses: Licenses,
    sources: Sources,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    /// `name` or `name@requirement`.
    #[serde(rename = "crate")]
    spec: String,
    reason: String,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
    allow_git: Vec<String>,
}

/// What cargo knows about the workspace with all features, for the machines we build for.
pub fn metadata(root: &Path) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("Cargo.toml")).features(cargo_metadata::CargoOpt::AllFeatures);
    command.other_options(["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned));
    command.exec().context("cargo metadata failed; is Cargo.lock up to date?")
}

/// Packages that the rules do not allow.
pub fn findings(metadata: &Metadata, deny_toml: &str) -> Result<Vec<String>> {
    let rules: Rules = toml::from_str(deny_toml).context("deny.toml")?;
    let bans = rules.bans.deny.iter().map(parse_ban).collect::<Result<Vec<_>>>()?;
    let allowed =
        rules.licenses.allow.iter().map(|text| Licensee::parse(text).map_err(|why| anyhow::anyhow!("{why}")));
    let allowed = allowed.collect::<Result<Vec<_>>>().context("licenses.allow of deny.toml")?;

    let used: Vec<_> =
        metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| &node.id).collect();
    let foreign =
        metadata.packages.iter().filter(|package| used.contains(&&package.id) && package.source.is_some());
    let mut found = Vec::new();
    for package in foreign {
        let id = format!("{} {}", package.name, package.version);
        for (name, versions, reason) in &bans {
            if *name == package.name.as_str() && versions.matches(&package.version) {
                found.push(format!("{id} is banned: {reason}"));
            }
        }
        if let Some(why) = licence_fault(package, &allowed) {
            found.push(format!("{id}: {why}"));
        }
        let source = package.source.as_ref().map(|source| source.repr.as_str()).unwrap_or_default();
        let known = [&rules.sources.allow_registry, &rules.sources.allow_git];
        if !known.into_iter().flatten().any(|allowed| source.contains(allowed.as_str())) {
            found.push(format!("{id} comes from {source}, which is not allowed"));
        }
    }
    Ok(found)
}

fn parse_ban(ban: &Ban) -> Result<(&str, VersionReq, &str)> {
    let (name, versions) = ban.spec.split_once('@').unwrap_or((&ban.spec, "*"));
    let versions =
        VersionReq::parse(versions).with_context(|| format!("bans.deny of deny.toml: {}", ban.spec))?;
    Ok((name, versions, &ban.reason))
}

fn licence_fault(package: &Package, allowed: &[Licensee]) -> Option<String> {
    let Some(text) = &package.license else { return Some("names no licence".to_owned()) };
    // Old manifests separate by a slash, which cargo took as OR.
    match Expression::parse_mode(text, spdx::ParseMode::LAX) {
        Err(_) => Some(format!("its licence `{text}` is no SPDX expression")),
        Ok(expression) => {
            let fits = expression.evaluate(|wanted| allowed.iter().any(|licence| licence.satisfies(wanted)));
            (!fits).then(|| format!("its licence `{text}` is not allowed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [bans]
        deny = [{ crate = "ring@<999", reason = "too old" }, { crate = "anyhow", reason = "no" }]
        [licenses]
        allow = ["ISC"]
        [sources]
        allow-registry = ["https://registry.example"]
        allow-git = []
    "#;

    #[test]
    fn bans_licences_and_sources_are_each_found() {
        let metadata = metadata(&crate::workspace::root()).unwrap();
        let found = findings(&metadata, RULES).unwrap();
        let some = |part: &str| assert!(found.iter().any(|line| line.contains(part)), "{part} in {found:#?}");
        some("is banned: too old");
        some("is banned: no");
        some("its licence `MIT OR Apache-2.0` is not allowed");
        some("crates.io-index, which is not allowed");
        // ISC is part of ring's expression, and Apache-2.0 is too.
        assert!(found.iter().any(|line| line.starts_with("ring ") && line.contains("its licence")));
    }
}
