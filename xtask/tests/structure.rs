//! The rules about the work tree, held on the work tree.

use xtask::structure::{crates, dependencies, links, sources};
use xtask::workspace;

#[test]
fn dependency_direction_is_gateway_to_dataplane_to_policy() {
    none(crates::findings(&dependencies::metadata(&workspace::root()).unwrap()));
}

#[test]
fn dependencies_are_those_that_deny_toml_allows() {
    let root = workspace::root();
    let rules = std::fs::read_to_string(root.join("deny.toml")).unwrap();
    none(dependencies::findings(&dependencies::metadata(&root).unwrap(), &rules).unwrap());
}

#[test]
fn files_are_short_and_unsafe_stays_where_it_belongs() {
    none(sources::findings(&workspace::root()).unwrap());
}

#[test]
fn every_document_that_is_linked_exists() {
    none(links::findings(&workspace::root()).unwrap());
}

#[track_caller]
fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}
