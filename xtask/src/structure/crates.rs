//! `gateway → dataplane → policy`: which crate of the workspace may use which.

use cargo_metadata::Metadata;

/// Every crate of the workspace with those it may use. What is not listed here may not be there.
const MAY_USE: [(&str, &[&str]); 13] = [
    ("glassgate-policy", &[]),
    // What checks the log has nothing in common with what writes it; the writer's tests are held by it.
    ("glassgate-audit-verify", &[]),
    ("glassgate-audit", &["glassgate-audit-verify"]),
    // Of the log: the disk behind its trait, and the log itself for tests.
    ("glassgate-sealed", &["glassgate-policy", "glassgate-audit"]),
    // An index of the log knows what records look like as text, and no type of whoever wrote them.
    ("glassgate-store", &[]),
    // What goes up is text of the log; policy is for tests of what may be told.
    ("glassgate-fleet", &["glassgate-policy", "glassgate-audit"]),
    ("dpdk-sys", &[]),
    ("glassgate-dataplane", &["glassgate-policy"]),
    ("glassgate-dpdk", &["glassgate-policy", "glassgate-dataplane", "dpdk-sys"]),
    (
        "glassgate",
        &[
            "glassgate-policy",
            "glassgate-audit",
            "glassgate-audit-verify",
            "glassgate-sealed",
            "glassgate-store",
            "glassgate-fleet",
            "glassgate-dataplane",
            "glassgate-dpdk",
        ],
    ),
    (
        "glassgate-benches",
        &["glassgate-policy", "glassgate-dataplane", "glassgate-dpdk", "dpdk-sys", "glassgate"],
    ),
    ("xtask", &["glassgate-policy", "glassgate-audit"]),
    ("glassgate-fuzz", &["glassgate-policy", "glassgate-dataplane"]),
];

/// Edges that point back, and crates that nobody has placed yet. Edges of tests and build scripts count too: a
/// test of the bottom that needs the top is in the wrong crate.
pub fn findings(metadata: &Metadata) -> Vec<String> {
    let packages = metadata.workspace_packages();
    let own: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut found = Vec::new();
    for package in &packages {
        let name = package.name.as_str();
        let Some((_, may_use)) = MAY_USE.iter().find(|(listed, _)| *listed == name) else {
            found.push(format!("{name} is in no order with the other crates: give it a line in {}", file!()));
            continue;
        };
        for dependency in &package.dependencies {
            // By name and path: a crate of the registry may have the name of one of ours.
            let used = dependency.name.as_str();
            if dependency.path.is_some() && own.contains(&used) && used != name && !may_use.contains(&used) {
                found.push(format!("{name} uses {used}, which is not below it"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::MAY_USE;

    #[test]
    fn the_order_has_no_cycle() {
        // Each crate uses only crates that stand above it in the list.
        for (place, (name, may_use)) in MAY_USE.iter().enumerate() {
            for used in *may_use {
                assert!(MAY_USE[..place].iter().any(|(earlier, _)| earlier == used), "{name} uses {used}");
            }
        }
    }
}
