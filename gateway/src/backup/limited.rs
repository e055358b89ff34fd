//! What a restore may change where nobody has logged in.
//!
//! The configuration says who may approve a charter, who is who, where files are written and who is told. Whoever could change that with a
//! stick could watch people, or write a file of their own making as the gateway's owner. So this is a list of what is open, setting by
//! setting; all else has to be as it is.

use super::{Named, Opened};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// Tables of which everything is open.
const TABLES: [&str; 4] = ["dataplane", "inband", "rules", "subscription"];
/// Settings of other tables that are.
const SETTINGS: [(&str, &str); 9] = [
    ("guard", "fallback"),
    ("guard", "hang_ms"),
    ("guard", "restart_ms"),
    ("guard", "stop_s"),
    ("page", "listen"),
    ("ports", "lan"),
    ("ports", "propagate_link"),
    ("ports", "uplink"),
    ("signatures", "path"),
];
/// Devices of ports that can do nothing but forward: another one is opened with arguments, or names a file.
const DEVICES: [&str; 3] = ["pci:", "af_xdp:", "af_packet:"];

/// What is different and must not be, each with its name.
pub(super) fn refused(
    before: &str,
    opened: &Opened,
    after: &str,
    present: &BTreeMap<String, Vec<u8>>,
    named: [&Named; 2],
) -> Vec<String> {
    let read = |text: &str| text.parse::<Table>().unwrap_or_default();
    let (before, after) = (read(before), read(after));
    let mut refused: Vec<String> = settings(&before, &after);
    for port in ["lan", "uplink"] {
        let device = |table: &Table| table.get("ports").and_then(|ports| ports.get(port)).cloned();
        let new = device(&after);
        let plain = new.as_ref().is_none_or(|new| {
            new.as_str().is_some_and(|text| DEVICES.iter().any(|kind| text.starts_with(kind)))
        });
        if new != device(&before) && !plain {
            refused.push(format!("ports.{port}: no card and no interface"));
        }
    }
    // Files: those that the open settings name, and those of the machine.
    let open = |name: &str| {
        name == opened.backup.config
            || super::OF_MACHINE.contains(&name)
            || named.iter().any(|n| n.is_open(name))
    };
    let names: BTreeSet<&String> = present.keys().chain(opened.files.keys()).collect();
    for name in names {
        if present.get(name) != opened.files.get(name)
            && (!open(name) || named.iter().any(|n| n.is_guarded(name)))
        {
            refused.push(format!("the file {name}"));
        }
    }
    refused
}

fn settings(before: &Table, after: &Table) -> Vec<String> {
    let mut refused = Vec::new();
    let tables: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in tables.into_iter().filter(|name| !TABLES.contains(&name.as_str())) {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        let inner = |value: Option<&Value>| match value {
            None => Some(Table::new()),
            Some(value) => value.as_table().cloned(),
        };
        let (Some(old), Some(new)) = (inner(old), inner(new)) else {
            refused.push(format!("[[{name}]]"));
            continue;
        };
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys.into_iter().filter(|key| old.get(*key) != new.get(*key)) {
            if !SETTINGS.contains(&(name.as_str(), key.as_str())) {
                refused.push(format!("{name}.{key}"));
            }
        }
    }
    refused
}
