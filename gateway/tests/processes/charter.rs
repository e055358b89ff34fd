//! A charter from its sample to a running gateway, and devices from the wire to their group.

use crate::exchange;
use crate::flows;
use crate::gateway::{Gateway, signal, until};
use rustix::process::Signal;
use std::path::Path;
use std::process::{Command, Output};

/// A folder with two keys and a charter made from the sample.
struct Folder {
    dir: tempfile::TempDir,
    keys: Vec<String>,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Self { dir, keys: Vec::new() };
        let mut text = said(&folder.glassgate(&["charter", "new"]));
        for key in ["a.key", "b.key"] {
            let public = said(&folder.glassgate(&["charter", "key", key])).trim().to_owned();
            text = text.replacen("PUBLIC-KEY", &public, 1);
            folder.keys.push(public);
        }
        std::fs::write(folder.path().join("charter.toml"), text).unwrap();
        folder
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn glassgate(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_glassgate")).current_dir(self.path()).args(args).output().unwrap()
    }

    fn install(&self, gateway: &Gateway) -> Output {
        let charter = self.path().join("charter.toml");
        gateway.command(&["charter", "install", charter.to_str().unwrap()])
    }
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// All records of the audit log, in order.
fn records(gateway: &Gateway) -> Vec<serde_json::Value> {
    gateway.records().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The charter of the sample begins in 2027 and needs a clock that a time server has set: whatever this machine's
/// clock is like, an installed charter that is not in force means that nothing is observed.
#[test]
fn a_charter_is_installed_on_record_and_what_is_refused_changes_nothing() {
    let folder = Folder::new();
    let keys: Vec<_> = folder.keys.iter().map(|key| format!("'{key}'")).collect();
    let gateway = Gateway::start(&format!("[charter]\nkeys = [{}]\n", keys.join(", ")));
    let level = |level: &'static str| move |now: &serde_json::Value| now["recording"]["level"] == level;
    exchange(&gateway, 40_001, "www.zhipin.com");
    gateway.wait_for("counts of the whole network", |now| flows(now, "services", "boss-zhipin") == 1);

    assert_eq!(
        folder.glassgate(&["charter", "sign", "charter.toml", "--key", "a.key"]).status.code(),
        Some(0)
    );
    let refused = folder.install(&gateway);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("has not signed"), "{refused:?}");
    gateway.wait_for("nothing has changed", level("aggregate"));

    assert_eq!(
        folder.glassgate(&["charter", "sign", "charter.toml", "--key", "b.key"]).status.code(),
        Some(0)
    );
    let installed = said(&folder.install(&gateway));
    assert!(installed.starts_with("installed: acme-staff no. 1"), "{installed}");
    gateway.wait_for("nothing is observed", |now| level("none")(now) && now["policy"]["acknowledged"] == 1);
    exchange(&gateway, 40_002, "www.zhipin.com");
    let now = gateway.wait_for("the flow is there", |now| now["flows"]["opened"].as_u64() >= Some(2));
    assert_eq!(flows(&now, "services", "boss-zhipin"), 1, "and not counted");

    let records = records(&gateway);
    let of_charter: Vec<_> = records.iter().filter(|record| record["event_type"] == "charter").collect();
    let causes: Vec<_> = of_charter.iter().map(|record| record["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["changed", "installed", "changed"]);
    assert_eq!((&of_charter[0]["standing"], &of_charter[2]["level"]), (&"absent".into(), &"none".into()));
    until("the verdicts that it allows are on record, after it", || {
        let all = self::records(&gateway);
        let installed = all.iter().position(|record| record["cause"] == "installed");
        all.iter().rposition(|record| record["event_type"] == "policy") > installed
    });

    // It is kept: a control process that takes over observes nothing either.
    signal(gateway.pid("control"), Signal::KILL);
    gateway.wait_for("another control process", |now| {
        now["processes"]
            .as_array()
            .is_some_and(|p| p.iter().any(|p| p["name"] == "control" && p["restarts"] == 1))
            && now["recording"]["basis"].as_str().is_some_and(|basis| basis.contains("acme-staff"))
            && level("none")(now)
    });
}

#[test]
fn a_device_that_is_enrolled_is_found_by_its_arp_and_others_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let people = dir.path().join("people.csv");
    let text =
        "subject,group,device,enrolled_by,enrolled\ne1,sales,3c:22:fb:00:00:01,it@acme.example,2027-01-04\n";
    std::fs::write(&people, text).unwrap();
    let gateway = Gateway::start(&format!("[identity]\ndirectory = '{}'\n", people.display()));
    for (last, mac) in
        [(1, [0x3c, 0x22, 0xfb, 0, 0, 1]), (2, [0x3c, 0x22, 0xfb, 0, 0, 2]), (3, [0xda, 0, 0, 0, 0, 3])]
    {
        let arp = [
            &[0xff; 6][..],
            &mac,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &mac,
            &[10, 0, 0, last],
            &[0; 6],
            &[10, 0, 0, 9],
            &[0; 18],
        ]
        .concat();
        assert!(gateway.lan().send(&arp));
        assert_eq!(gateway.uplink().receive(), arp, "it passes unchanged");
    }
    let now = gateway.wait_for("three addresses are known, and one has a group", |now| {
        now["identity"]["addresses"] == 3 && now["identity"]["members"] == 1
    });
    assert_eq!((&now["identity"]["groups"], &now["identity"]["enrolled"]), (&1.into(), &1.into()));
    assert!(!now.to_string().contains("3c:22:fb"), "no device is named");
}
