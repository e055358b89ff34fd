//! The list of parts, as CycloneDX 1.5: every package from the lock file, every crate that is linked into the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand};
use serde_json::{Value, json};

use super::{Recipe, packages};
use crate::workspace;

/// Writes it, and says what is in it.
pub fn write(recipe: &Recipe, to: &Path) -> Result<String> {
    let packages: Vec<Value> = packages::locked()?
        .iter()
        .map(|package| {
            let packages::Locked { name, version, arch, sha256, .. } = package;
            json!({
                "type": "library", "name": name, "version": version,
                "purl": format!("pkg:deb/debian/{name}@{}?arch={arch}&distro=debian-12", escaped(version)),
                // Of the package, as Debian signs it.
                "hashes": [{ "alg": "SHA-256", "content": sha256 }],
            })
        })
        .collect();
    let crates = crates()?;
    let said = format!("{} packages, {} crates in {}", packages.len(), crates.len(), to.display());
    let gateway = packages::sha256_of(&recipe.binary)?;
    let document = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "component": {
            "type": "firmware", "name": "glassgate", "version": recipe.version,
            "hashes": [{ "alg": "SHA-256", "content": gateway }],
        } },
        "components": packages.into_iter().chain(crates).collect::<Vec<_>>(),
    });
    std::fs::write(to, serde_json::to_string_pretty(&document)? + "\n")?;
    Ok(said)
}

/// What is linked into the gateway, by cargo: dependencies of tests and of builds are not.
fn crates() -> Result<Vec<Value>> {
    let root = workspace::root();
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("gateway/Cargo.toml"))
        .features(CargoOpt::SomeFeatures(vec!["static-dpdk".to_owned()]))
        .other_options(["--locked".to_owned(), "--filter-platform=x86_64-unknown-linux-gnu".to_owned()])
        .exec()?;
    let resolve = metadata.resolve.as_ref().context("cargo resolved nothing")?;
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let own = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "glassgate")
        .context("no gateway")?;
    let (mut seen, mut next) = (BTreeSet::new(), vec![&own.id]);
    while let Some(id) = next.pop() {
        if !seen.insert(id) {
            continue;
        }
        let deps = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
        let linked = |dep: &&cargo_metadata::NodeDep| {
            dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        };
        next.extend(deps.iter().filter(linked).map(|dep| &dep.pkg));
    }
    let lock: toml::Table = std::fs::read_to_string(root.join("Cargo.lock"))?.parse()?;
    let sums: BTreeMap<(&str, &str), &str> = lock
        .get("package")
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let text = |key: &str| package.get(key)?.as_str();
            Some(((text("name")?, text("version")?), text("checksum")?))
        })
        .collect();
    let linked = metadata.packages.iter().filter(|package| seen.contains(&package.id));
    Ok(linked
        .map(|package| {
            let (name, version) = (package.name.as_str(), package.version.to_string());
            let mut component = json!({
                "type": "library", "name": name, "version": version, "purl": format!("pkg:cargo/{name}@{}", escaped(&version)),
            });
            if let Some(license) = &package.license {
                component["licenses"] = json!([{ "expression": license }]);
            }
            if let Some(sum) = sums.get(&(name, version.as_str())) {
                component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
            }
            component
        })
        .collect())
}

/// As a package URL has it.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('+', "%2B").replace(':', "%3A").replace('~', "%7E")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_what_tests_need_is_not() {
        let crates = crates().unwrap();
        let find = |name: &str| crates.iter().find(|one| one["name"] == name);
        assert!(find("ring").unwrap()["hashes"][0]["content"].as_str().unwrap().len() == 64);
        assert!(find("glassgate-dataplane").is_some_and(|own| own.get("hashes").is_none()));
        assert!(find("proptest").is_none() && find("bindgen").is_none());
        assert_eq!(escaped("1:2.36-9+deb12u10~x"), "1%3A2.36-9%2Bdeb12u10%7Ex");
    }
}
