//! The three processes as they are shipped, on socket ports: what each of them may do to the others by dying, hanging
//! or speaking nonsense. Needs neither root nor DPDK.

mod bypass;
mod charter;
mod frames;
mod gateway;

use frames::Flow;
use gateway::{Gateway, lives, signal, until};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Sends the frames of an exchange through the gateway; all of them must arrive unchanged.
fn exchange(gateway: &Gateway, port: u16, host: &str) {
    for (up, frame) in Flow::new(port).http(host) {
        let (from, to) =
            if up { (gateway.lan(), gateway.uplink()) } else { (gateway.uplink(), gateway.lan()) };
        assert!(from.send(&frame), "the port takes it");
        assert_eq!(to.receive(), frame, "unchanged");
    }
}

fn flows(now: &serde_json::Value, list: &str, name: &str) -> u64 {
    let list = now[list].as_array().unwrap();
    let found = list.iter().find(|a| a["name"] == name);
    found.map_or(0, |a| a["flows"].as_u64().or(a["count"].as_u64()).unwrap())
}

#[test]
fn frames_cross_unchanged_and_flows_are_counted() {
    let gateway = Gateway::start("");
    exchange(&gateway, 40_001, "www.zhipin.com");
    exchange(&gateway, 40_002, "www.example.org");
    let junk = [&[0xff; 12][..], &[0x88, 0xcc], &[7; 300]].concat();
    assert!(gateway.uplink().send(&junk));
    assert_eq!(gateway.lan().receive(), junk, "what can't be parsed passes too");
    let now = gateway.wait_for("both flows are counted", |now| flows(now, "named", "http_host") == 2);
    assert_eq!(flows(&now, "services", "boss-zhipin"), 1, "{now:#}");
    assert_eq!(flows(&now, "categories", "recruitment"), 1);
    let [lan, uplink] = [0, 1].map(|i| now["ports"][i].clone());
    assert_eq!((lan["rx_frames"].as_u64(), lan["tx_frames"].as_u64()), (Some(6), Some(5)));
    assert_eq!((uplink["rx_frames"].as_u64(), uplink["tx_frames"].as_u64()), (Some(5), Some(6)));
    assert_eq!(now["troubles"].as_array().unwrap().len(), 0, "{now:#}");
    assert!(now["confinement"]["dataplane"].as_str().unwrap().contains("seccomp"));
    let text = now.to_string();
    for word in ["192.0.2.10", "www.example.org", "zhipin.com"] {
        assert!(!text.contains(word), "{word} is nobody's business");
    }
}

#[test]
fn ports_of_one_queue_serve_two_lcores() {
    let gateway = Gateway::start("[dataplane]\nlcores = [0, 1]");
    assert!(gateway.log().contains("a distributor spreads the frames"), "{}", gateway.log());
    for port in 0..8 {
        exchange(&gateway, 40_001 + port, "www.zhipin.com");
    }
    let now = gateway.wait_for("all flows are counted", |now| flows(now, "services", "boss-zhipin") == 8);
    let [lan, uplink] = [0, 1].map(|i| now["ports"][i].clone());
    assert_eq!(lan["rx_frames"], uplink["tx_frames"], "{now:#}");
    assert_eq!(lan["tx_frames"], uplink["rx_frames"]);
    assert_eq!(
        (now["lcores"].as_array().unwrap().len(), now["policy"]["acknowledged"].as_u64()),
        (2, Some(2))
    );
    assert_eq!(now["troubles"].as_array().unwrap().len(), 0, "{now:#}");
    // What dies comes back: all lcores end together, and both ports are opened anew.
    signal(gateway.pid("dataplane"), Signal::KILL);
    gateway.wait_for("the data plane is back", |now| {
        let processes = now["processes"].as_array().unwrap();
        processes.iter().any(|p| p["name"] == "dataplane" && p["restarts"] == 1 && p["state"] == "up")
            && now["policy"]["acknowledged"] == 2
    });
    exchange(&gateway, 40_020, "www.zhipin.com");
}

#[test]
fn no_flow_waits_for_a_page_of_its_tables() {
    let gateway = Gateway::start("");
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid("dataplane"))).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let kib: u64 = locked.trim().trim_end_matches(" kB").parse().unwrap();
    // The buffers of inspections alone are 32 MiB. Without the right to lock them it says so, and forwards.
    let refused = gateway.log().contains("memory of the tables can't be locked");
    assert!(kib > 32 << 10 || refused, "{locked}: {}", gateway.log());
}

#[test]
fn explain_asks_what_is_in_force() {
    let gateway = Gateway::start("");
    let now = gateway.wait_for("verdicts are in force", |now| now["policy"]["acknowledged"] == 1);
    let asked = gateway.command(&["rules", "explain", "1.1.1.1:853", "--running", "--json"]);
    let said: serde_json::Value =
        serde_json::from_slice(&asked.stdout).unwrap_or_else(|e| panic!("{e}: {asked:?}"));
    assert_eq!((&said["category"], &said["entry"]["scope"]), (&"tunnel".into(), &"address".into()));
    let running = &said["running"];
    assert_eq!(
        (&running["same_signatures"], &running["same_rules"]),
        (&true.into(), &true.into()),
        "{running:#}"
    );
    assert_eq!(running["table_hash"], now["policy"]["table_hash"]);
    assert!(running["basis"].as_str().unwrap().contains("No charter"), "{running:#}");
}

#[test]
fn a_killed_data_plane_is_back_within_two_seconds() {
    let gateway = Gateway::start("");
    exchange(&gateway, 40_001, "www.zhipin.com");
    let before = gateway.pid("dataplane");
    signal(before, Signal::KILL);
    let killed = Instant::now();
    let (_, frame) = Flow::new(40_002).http("www.example.org").remove(0);
    until("a frame passes again", || {
        gateway.lan().send(&frame);
        std::thread::sleep(Duration::from_millis(5));
        gateway.uplink().empty() > 0
    });
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let now = gateway.wait_for("the verdicts are in force again", |now| now["policy"]["acknowledged"] == 1);
    assert_eq!(now["outages"]["count"], 1);
    assert!(now["outages"]["total_ms"].as_u64().unwrap() < 2000);
    let dataplane = gateway.process("dataplane").unwrap();
    assert_eq!(dataplane["restarts"], 1);
    assert!(dataplane["last_end"].as_str().unwrap().contains("signal 9"));
    assert!(!lives(before));
    // And it counts again, for the same control process.
    exchange(&gateway, 40_003, "www.zhipin.com");
    gateway.wait_for("both flows are counted", |now| flows(now, "services", "boss-zhipin") == 2);
}

#[test]
fn a_hung_data_plane_is_killed_first_and_then_replaced() {
    let gateway = Gateway::start("[guard]\nhang_ms = 200");
    let before = gateway.pid("dataplane");
    signal(before, Signal::STOP);
    let now = gateway.wait_for("it is replaced", |now| {
        let dataplane = &now["processes"][1];
        dataplane["restarts"] == 1 && dataplane["state"] == "up"
    });
    assert!(now["processes"][1]["last_end"].as_str().unwrap().contains("no progress"), "{now:#}");
    assert!(!lives(before), "two of them would forward every frame twice");
    exchange(&gateway, 40_001, "www.example.org");
}

#[test]
fn a_dead_control_process_never_stops_forwarding() {
    let gateway = Gateway::start("");
    let before = gateway.pid("control");
    let dataplane = gateway.pid("dataplane");
    // Its successor can't come up: the socket's place is taken by a folder with something in it.
    let socket = gateway.dir().join("control.sock");
    std::fs::remove_file(&socket).unwrap();
    std::fs::create_dir_all(socket.join("x")).unwrap();
    signal(before, Signal::KILL);
    until("it is gone", || !lives(before));
    for n in 0..20 {
        exchange(&gateway, 40_001 + n, "www.zhipin.com");
    }
    std::fs::remove_dir_all(&socket).unwrap();
    // The events waited in the ring for a successor.
    let now = gateway.wait_for("the flows are counted", |now| flows(now, "services", "boss-zhipin") == 20);
    assert_eq!(now["outages"]["count"], 0);
    assert_eq!(gateway.pid("dataplane"), dataplane);
    gateway.wait_for("verdicts are in force", |now| now["policy"]["acknowledged"] == 1);
}

#[test]
fn what_the_ring_can_not_hold_is_counted() {
    let gateway = Gateway::start("[dataplane]\nevent_ring = 64");
    let control = gateway.pid("control");
    signal(control, Signal::STOP);
    for n in 0..100 {
        exchange(&gateway, 40_001 + n, "www.example.org");
    }
    signal(control, Signal::CONT);
    let now = gateway.wait_for("the ring is empty", |now| now["events"]["received"].as_u64() >= Some(64));
    let lost: u64 =
        now["events"]["lost"].as_array().unwrap().iter().map(|c| c["count"].as_u64().unwrap()).sum();
    assert_eq!((now["events"]["received"].as_u64(), lost), (Some(64), 36), "{now:#}");
    assert_eq!(now["lcores"][0]["ring_fill"], 0);
}

#[test]
fn nothing_is_left_when_the_guard_is_killed() {
    let mut gateway = Gateway::start("");
    let others = [gateway.pid("dataplane"), gateway.pid("control")];
    signal(gateway.guard(), Signal::KILL);
    assert_eq!(gateway.wait(), None, "killed");
    until("the others are gone", || !others.iter().any(|pid| lives(*pid)));
}

#[test]
fn stops_in_order_and_counts_what_was_running() {
    let mut gateway = Gateway::start("");
    exchange(&gateway, 40_001, "www.zhipin.com");
    let others = [gateway.pid("dataplane"), gateway.pid("control")];
    signal(gateway.guard(), Signal::TERM);
    assert_eq!(gateway.wait(), Some(0), "{}", gateway.log());
    assert!(!others.iter().any(|pid| lives(*pid)));
    let log = gateway.log();
    let at = |what: &str| log.find(what).unwrap_or_else(|| panic!("{what}\n{log}"));
    assert!(at("stopped process=\"dataplane\"") < at("stopped process=\"control\""));
}

#[test]
fn reload_takes_good_files_and_keeps_the_old_ones_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("own.tsv");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/signatures");
    std::fs::copy(folder.join("services.tsv"), dir.path().join("services.tsv")).unwrap();
    std::fs::copy(folder.join("music.tsv"), &source).unwrap();
    let gateway = Gateway::start(&format!("[signatures]\npath = '{}'", dir.path().display()));
    let before = gateway.now().unwrap()["policy"].clone();

    std::fs::write(&source, "this is no source\n").unwrap();
    let refused = gateway.command(&["reload"]);
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("own.tsv:1:") && said.contains('^'), "{said}");
    let now = gateway.wait_for("the refusal shows", |now| now["policy"]["rejected"].is_string());
    assert_eq!(now["policy"]["table_hash"], before["table_hash"]);
    assert_eq!(gateway.command(&["status"]).status.code(), Some(6), "degraded");

    std::fs::copy(folder.join("games.tsv"), &source).unwrap();
    let taken = gateway.command(&["reload"]);
    assert_eq!(taken.status.code(), Some(0), "{}", String::from_utf8_lossy(&taken.stderr));
    let now = gateway.wait_for("every lcore uses it", |now| {
        now["policy"]["table_hash"] != before["table_hash"] && now["policy"]["acknowledged"] == 1
    });
    assert!(now["policy"]["rejected"].is_null());
    // The guard's way: a signal.
    let epoch = now["policy"]["epoch"].as_u64();
    signal(gateway.guard(), Signal::HUP);
    gateway.wait_for("the signal is heeded", |now| now["policy"]["epoch"].as_u64() > epoch);
}

#[test]
fn rules_that_are_wrong_leave_those_in_force_and_their_counters() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rules.toml");
    let rule = |state: &str| {
        format!(
            "version = 1\n[[rule]]\nname = \"no-jobs\"\nmatch = {{ category = [\"recruitment\"] }}\naction = \"block\"\n\
             state = \"{state}\"\nowner = \"net\"\npurpose = \"conduct\"\n"
        )
    };
    let good = rule("shadow");
    std::fs::write(&path, &good).unwrap();
    let gateway = Gateway::start(&format!("[rules]\npath = '{}'", path.display()));
    exchange(&gateway, 40_001, "www.zhipin.com");
    let hits = |n: u64| {
        gateway.wait_for("the hits are counted", |now| now["rules"][0]["flows"] == n)["rules"][0].clone()
    };
    let before = hits(1);
    let damaged = [
        (3, good.replace("name =", "nmae =")),
        (4, good.replace("recruitment", "recruitmnt")),
        (5, good.replace("\"block\"", "\"block")),
        (6, good.replace("shadow", "on")),
        (8, good.replace("conduct", "curiosity")),
    ];
    for (line, text) in damaged {
        std::fs::write(&path, text).unwrap();
        let refused = gateway.command(&["reload"]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(3), "{said}");
        assert!(said.contains(&format!("rules.toml:{line}:")) && said.contains("stays in force"), "{said}");
    }
    exchange(&gateway, 40_002, "www.zhipin.com");
    hits(2);
    // A comment does not make another rule of it; another state does.
    std::fs::write(&path, format!("# by the network team\n{good}")).unwrap();
    assert!(gateway.command(&["reload"]).status.success());
    exchange(&gateway, 40_003, "www.zhipin.com");
    assert_eq!(hits(3)["since"], before["since"]);
    let shown = String::from_utf8(gateway.command(&["rules", "hits"]).stdout).unwrap();
    assert!(shown.contains("no-jobs") && shown.contains("shadow"), "{shown}");
    std::fs::write(&path, rule("enforce")).unwrap();
    assert!(gateway.command(&["reload"]).status.success());
    let after = hits(0);
    assert_eq!((&after["enforced"], &after["last_hit"]), (&true.into(), &serde_json::Value::Null));
}

#[test]
fn without_a_gateway_status_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_glassgate"))
        .args(["status", "--socket"])
        .arg(dir.path().join("none"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is `glassgate run` running"));
}

#[test]
fn processes_are_not_started_by_hand() {
    for process in ["dataplane", "control"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_glassgate"))
            .args([process, "--guard", "1"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("is not the parent"));
    }
}
