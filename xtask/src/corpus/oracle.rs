//! Which names are in the captures: by a file that says so, or by tshark.

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Features for which an inline box is excused: told apart, not left out.
const SET_APART: &[&str] = &[
    "late_tls",
    "late_http",
    "quic_grease_ver",
    "gquic",
    "quic_other",
    "esni",
    "incomplete_hello",
    "malformed_hello",
    "trunc",
    "odd_name",
    "multi_tap",
    "sgt",
    "sslv2_hello",
    "gtp",
    "vxlan",
    "geneve",
    "erspan",
    "gre",
    "l2tp",
    "capwap",
    "teredo",
    "ipip",
    "ah",
    "ayiya",
    "tunnel",
    "overlap_conflict",
];

/// The kinds that are scored.
pub(super) const KINDS: [&str; 4] = ["tls", "quic", "http", "dns"];

/// A flow: capture, transport, unordered endpoints.
pub(super) type Key = (String, String, [(String, u16); 2]);

/// The names of one kind in one flow.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// `tls`, `quic`, `http` or `dns`.
    pub(super) kind: String,
    /// Any of these is right.
    pub(super) names: BTreeSet<String>,
    /// What is special about the flow.
    pub(super) features: BTreeSet<String>,
    /// Counted on its own line.
    pub(super) apart: bool,
    /// A wrong name is no fault: the oracle is not sure, or the name is odd.
    pub(super) unsure: bool,
    /// The frame that completes the first name.
    pub(super) frame: Option<u64>,
}

/// What there is to find.
#[derive(Default)]
pub(super) struct Oracle {
    /// By flow.
    pub(super) wanted: BTreeMap<Key, Vec<Wanted>>,
    /// Flows that have no name of any kind; `None` when nobody says.
    pub(super) unnamed: BTreeSet<Key>,
}

impl Oracle {
    /// Flows with a name.
    pub(super) fn named(&self) -> usize {
        self.wanted.values().filter(|w| w.iter().any(|w| !w.names.is_empty())).count()
    }
}

/// A flow's key from texts.
pub(super) fn key(capture: &str, proto: &str, a: (&str, u16), b: (&str, u16)) -> Key {
    let file = Path::new(capture)
        .file_name()
        .map_or_else(|| capture.to_owned(), |n| n.to_string_lossy().into_owned());
    let end = |(ip, port): (&str, u16)| {
        (ip.parse::<IpAddr>().map_or_else(|_| ip.to_owned(), |ip| ip.to_string()), port)
    };
    let mut ends = [end(a), end(b)];
    ends.sort();
    (file, proto.to_owned(), ends)
}

/// Lower case, without the dot at the end.
pub(super) fn normal(name: &str) -> String {
    let name = name.to_lowercase();
    let bare = name.trim_end_matches('.');
    if bare.is_empty() { ".".to_owned() } else { bare.to_owned() }
}

/// Reads `oracle.jsonl` and `flows_unnamed.jsonl` of `dir`, or asks tshark.
pub(super) fn load(dir: &Path, captures: &[PathBuf]) -> Result<Oracle> {
    let file = dir.join("oracle.jsonl");
    if !file.is_file() {
        return by_tshark(captures);
    }
    let mut oracle = Oracle::default();
    for line in lines(&file)? {
        let text = |field: &str| line[field].as_str().unwrap_or_default();
        if !KINDS.contains(&text("kind")) {
            continue;
        }
        let mut names: BTreeSet<String> = line["names"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|n| n[0].as_str())
            .map(normal)
            .collect();
        names.extend(line["name"].as_str().map(normal));
        let features: BTreeSet<String> = line["feat"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|f| f.as_str())
            .map(str::to_owned)
            .collect();
        let disagree = !matches!(&line["disagree"], serde_json::Value::Null | serde_json::Value::Bool(false));
        let apart = features.iter().any(|f| SET_APART.contains(&f.as_str()))
            || text("kind") == "dns" && features.contains("nonstd_port")
            || disagree;
        oracle.wanted.entry(flow(&line)).or_default().push(Wanted {
            kind: text("kind").to_owned(),
            unsure: disagree || features.contains("odd_name"),
            names,
            features,
            apart,
            frame: line["first_frame"].as_u64(),
        });
    }
    let unnamed = dir.join("flows_unnamed.jsonl");
    if unnamed.is_file() {
        oracle.unnamed = lines(&unnamed)?.iter().map(flow).collect();
    }
    Ok(oracle)
}

fn lines(path: &Path) -> Result<Vec<serde_json::Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}:{}: not JSON", path.display(), i + 1))
    };
    text.lines().enumerate().map(parse).collect()
}

fn flow(line: &serde_json::Value) -> Key {
    let text = |field: &str| line[field].as_str().unwrap_or_default();
    let port = |field: &str| line[field].as_u64().unwrap_or_default() as u16;
    key(text("pcap"), text("proto"), (text("src"), port("sport")), (text("dst"), port("dport")))
}

const FIELDS: [&str; 14] = [
    "frame.number",
    "ip.src",
    "ipv6.src",
    "ip.dst",
    "ipv6.dst",
    "tcp.srcport",
    "udp.srcport",
    "tcp.dstport",
    "udp.dstport",
    "tls.handshake.extensions_server_name",
    "http.host",
    "dns.qry.name",
    "frame.protocols",
    "tcp.stream",
];

/// What Wireshark's dissectors say. Not an oracle beyond doubt: it has no feature marks, and what it can't read it
/// doesn't list.
fn by_tshark(captures: &[PathBuf]) -> Result<Oracle> {
    if Command::new("tshark").arg("--version").output().is_err() {
        bail!("no oracle.jsonl there, and tshark is not installed (apt-get install tshark)");
    }
    let mut oracle = Oracle::default();
    for capture in captures {
        let filter = "tls.handshake.extensions_server_name or http.host or dns.qry.name";
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(capture).args([
            "-Y",
            filter,
            "-T",
            "fields",
            "-E",
            "separator=/t",
            "-E",
            "aggregator=|",
        ]);
        for field in FIELDS {
            tshark.args(["-e", field]);
        }
        let output = tshark.output().context("running tshark")?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            read_line(&mut oracle, &capture.to_string_lossy(), line);
        }
    }
    Ok(oracle)
}

fn read_line(oracle: &mut Oracle, capture: &str, line: &str) {
    let columns: Vec<&str> = line.split('\t').collect();
    let Ok(columns) = <[&str; FIELDS.len()]>::try_from(columns) else { return };
    let [number, src4, src6, dst4, dst6, tsp, usp, tdp, udp, sni, host, query, protocols, _] = columns;
    // Of nested headers the last is the innermost.
    let last = |x: &str, y: &str| {
        let pick = if y.is_empty() { x } else { y };
        pick.rsplit('|').next().unwrap_or_default().to_owned()
    };
    let (src, dst) = (last(src4, src6), last(dst4, dst6));
    let tcp = usp.is_empty() || protocols.contains(":tcp");
    let port = |t: &str, u: &str| if tcp { last(t, "") } else { last(u, "") }.parse().unwrap_or(0);
    let proto = if tcp { "tcp" } else { "udp" };
    let flow = key(capture, proto, (&src, port(tsp, usp)), (&dst, port(tdp, udp)));
    let tls = if protocols.contains("quic") || protocols.contains("gquic") { "quic" } else { "tls" };
    let dns = if protocols.contains("mdns") || protocols.contains("llmnr") { "" } else { "dns" };
    for (kind, text) in [(tls, sni), ("http", host), (dns, query)] {
        let names: BTreeSet<String> = text.split('|').filter(|n| !n.is_empty()).map(normal).collect();
        if kind.is_empty() || names.is_empty() {
            continue;
        }
        let wanted = oracle.wanted.entry(flow.clone()).or_default();
        match wanted.iter_mut().find(|w| w.kind == kind) {
            Some(there) => there.names.extend(names),
            None => wanted.push(Wanted {
                kind: kind.to_owned(),
                names,
                features: BTreeSet::new(),
                apart: false,
                unsure: false,
                frame: number.parse().ok(),
            }),
        }
    }
}
