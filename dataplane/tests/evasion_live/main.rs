//! The rows of the evasion suite against a real Linux server: the client's frames go to it straight, and then through
//! the bridge.
//!
//! Two things are held: the byte stream that the server's socket gives is **the same both ways**, to the last byte; and the
//! bridge's name for the flow, if it has one, is the name in **what the server got**, read by a real TLS or QUIC stack.
//!
//! Needs root and `ip` (package iproute2), for the namespaces that it makes; is skipped without, and says so.

mod duel;
#[path = "../evasion/harness.rs"]
#[allow(dead_code, reason = "scenes from memory are played by the other test")]
mod harness;
#[path = "../evasion/hello.rs"]
mod hello;
#[path = "../evasion/initial.rs"]
mod initial;
mod lab;
#[path = "../evasion/oracle.rs"]
mod oracle;
mod path;
#[path = "../evasion/rng.rs"]
mod rng;
#[path = "../evasion/rows.rs"]
mod rows;
#[path = "../evasion/scene.rs"]
#[allow(dead_code, reason = "scenes from memory are played by the other test")]
mod scene;
#[path = "../evasion/signatures.rs"]
mod signatures;
#[path = "../evasion/table.rs"]
mod table;
#[path = "../evasion/wire.rs"]
mod wire;

use duel::{Received, duel};
use lab::{Lab, Sockets};
use path::Path;
use ring::digest::{SHA256, digest};
use scene::Scene;
use signatures::signatures;
use std::rc::Rc;
use table::{Expect, Row};
use tun_rs::SyncDevice;
use wire::Family;

/// Seeds of random rows that are played.
const SEEDS: u64 = 10;

#[test]
fn a_real_server_gets_the_same_bytes_with_and_without_the_bridge() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root to make network namespaces; run it with sudo");
        return;
    }
    let (lab, wire, sockets) = Lab::new();
    let wire = Rc::new(wire);
    let wanted = std::env::var("GLASSGATE_EVASION").ok();
    let wanted = |id: &str| wanted.as_ref().is_none_or(|list| list.split(',').any(|w| w == id));
    let (mut played, mut named, mut failures) = (0, 0, Vec::new());
    let mut port = 20_000;
    for row in table::rows().iter().filter(|row| row.live && wanted(row.id)) {
        for family in row.families() {
            for seed in 0..row.seeds.min(SEEDS) {
                port += 2;
                match versus(row, family, seed, port, &wire, &sockets) {
                    Ok(has_name) => named += usize::from(has_name),
                    Err(wrong) => {
                        failures.push(format!("{} {} ({family:?}, seed {seed}): {wrong}", row.id, row.title));
                    }
                }
                played += 1;
            }
        }
    }
    drop(lab);
    println!("{played} scenes, each straight and through the bridge; {named} named");
    assert!(failures.is_empty(), "{} failures:\n  {}", failures.len(), failures.join("\n  "));
}

/// Plays a scene both ways. Says whether the bridge named the flow.
fn versus(
    row: &Row,
    family: Family,
    seed: u64,
    port: u16,
    wire: &Rc<SyncDevice>,
    sockets: &Sockets,
) -> Result<bool, String> {
    let scene = || {
        let mut scene = Scene::new(family, seed);
        (row.build)(&mut scene);
        scene
    };
    let straight = duel(&mut scene(), port, &mut Path::direct(wire), wire, sockets)
        .map_err(|why| format!("straight: {why}"))?;
    let (mut bridged, mut path) = (scene(), Path::bridged(wire));
    let through = duel(&mut bridged, port + 1, &mut path, wire, sockets)
        .map_err(|why| format!("through the bridge: {why}"))?;
    if hash(&straight) != hash(&through) {
        return Err("the server got other bytes through the bridge".into());
    }
    let ended = path.ended();
    let client = bridged.flow().client;
    let flow = ended
        .iter()
        .find(|e| e.summary.tuple.client.port == client.port() && e.summary.tuple.client.ip == client.ip());
    let Some(flow) = flow else { return Err("the bridge has no such flow".into()) };
    let (label, truth) = (flow.label(), name_in(&through, bridged.flow().server.port()));
    if label.is_some() && label != truth.as_deref() {
        return Err(format!("WRONG NAME {label:?} where the server got {truth:?}"));
    }
    let wants_name = matches!(row.expect, Expect::Name(_) | Expect::NameWithEch);
    if wants_name && label.is_none() {
        return Err(format!("no name where the server got {truth:?}; reason {:?}", flow.summary.reason));
    }
    if wants_name && truth.as_deref() != Some(scene::NAME) {
        return Err(format!("the row is wrong: a real server gets {truth:?}"));
    }
    Ok(label.is_some())
}

fn hash(received: &Received) -> Vec<u8> {
    let whole = [&received.stream[..], &received.datagrams.concat()].concat();
    digest(&SHA256, &whole).as_ref().to_vec()
}

/// The name that a real server reads in what it got, in canonical form.
fn name_in(received: &Received, port: u16) -> Option<String> {
    let name = if !received.datagrams.is_empty() {
        oracle::quic_name(&received.datagrams)
    } else if port == 80 {
        http_name(&received.stream)
    } else {
        oracle::tls_name(&received.stream).flatten()
    };
    name.map(|name| name.trim_end_matches('.').to_ascii_lowercase())
}

/// The authority of a request: of HTTP/1, or of the one HTTP/2 request that the rows send.
fn http_name(stream: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stream);
    if text.starts_with("PRI") {
        return text.contains(scene::NAME).then(|| scene::NAME.to_owned());
    }
    text.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case("host").then(|| value.trim().to_owned())
    })
}
