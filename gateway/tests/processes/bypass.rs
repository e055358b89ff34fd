//! The bypass: on, whichever process dies, and off again.

use crate::frames::Flow;
use crate::gateway::{Gateway, signal};
use crate::{exchange, flows};
use rustix::process::Signal;
use serde_json::Value;

const RULES: &str = "version = 1\n[[rule]]\nname = \"no-jobs\"\nmatch = { category = [\"recruitment\"] }\naction = \"block\"\n\
                     state = \"enforce\"\nowner = \"net\"\npurpose = \"conduct\"\n";
const HOST: &str = "www.zhipin.com";

fn is(now: &Value, on: bool) -> bool {
    now["bypass"].is_object() == on && now["policy"]["acknowledged"] == 1
}

fn records(gateway: &Gateway) -> Vec<String> {
    gateway.records().into_iter().filter(|line| line.contains("\"bypass\"")).collect()
}

/// Sends a request for the blocked host, and sees what becomes of it.
fn is_blocked(gateway: &Gateway, port: u16) {
    let frames = Flow::new(port).http(HOST);
    for (up, frame) in frames.iter().take(3) {
        let (from, to) =
            if *up { (gateway.lan(), gateway.uplink()) } else { (gateway.uplink(), gateway.lan()) };
        assert!(from.send(frame));
        assert_eq!(to.receive(), *frame);
    }
    assert!(gateway.lan().send(&frames[3].1));
    let page = gateway.lan().receive();
    assert!(String::from_utf8_lossy(&page).contains("no-jobs"), "the client gets a page");
    let reset = gateway.uplink().receive();
    assert_eq!((reset.len(), reset[47] & 4), (54, 4), "the server a reset, and not the request");
}

#[test]
fn the_bypass_is_on_record_and_outlives_the_control_process() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules.toml");
    std::fs::write(&rules, RULES).unwrap();
    let gateway = Gateway::start(&format!("[rules]\npath = '{}'", rules.display()));
    is_blocked(&gateway, 40_001);

    let out = gateway.command(&["bypass", "on"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let on = records(&gateway);
    assert!(on.len() == 1 && on[0].contains("\"on\":true") && on[0].contains("\"kept\":false"), "{on:?}");
    let before = gateway.wait_for("the bypass is on", |now| is(now, true));
    assert_eq!(gateway.command(&["status"]).status.code(), Some(6), "it wants attention");
    exchange(&gateway, 40_002, HOST);

    let control = gateway.pid("control");
    signal(control, Signal::KILL);
    gateway.wait_for("another control process goes on with it", |now| {
        let all = now["processes"].as_array();
        let another = |p: &Value| p["name"] == "control" && p["pid"] != control && p["state"] == "up";
        all.is_some_and(|all| all.iter().any(another)) && is(now, true)
    });
    exchange(&gateway, 40_003, HOST);
    let now = gateway.now().unwrap();
    let observed = |now: &Value| flows(now, "categories", "recruitment");
    assert!(observed(&now) <= observed(&before), "nothing is observed: {now:#}");

    let out = gateway.command(&["bypass", "off"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(records(&gateway).len(), 2);
    gateway.wait_for("the bypass is off", |now| is(now, false));
    is_blocked(&gateway, 40_004);
    // The log knows of the death in its middle, and is what was signed.
    let gaps =
        gateway.records().into_iter().filter(|line| line.contains("\"cause\":\"unclean_end\"")).count();
    assert_eq!(gaps, 1);
    let out = gateway.command(&["audit", "verify"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
