//! The lines of `replay --flows`: one JSON object a flow.

use super::Seen;
use glassgate_dataplane::classifier::FlowSummary;
use glassgate_dataplane::inspect::ja4::Ja4;
use glassgate_policy::table::SignatureTable;
use glassgate_policy::upload::Shape;
use glassgate_policy::{AppProto, Category, Evidence};
use serde::Serialize;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

/// The line of one flow: the contract of `replay --flows`. Fields are added, never changed or removed.
#[derive(Serialize)]
struct FlowLine<'a> {
    capture: &'a str,
    proto: &'static str,
    client: IpAddr,
    client_port: u16,
    server: IpAddr,
    server_port: u16,
    vlan: &'a [u16],
    kind: Option<&'static str>,
    app: Option<&'static str>,
    name: Option<&'a str>,
    names: &'a [&'a str],
    evidence: Option<&'static str>,
    service: Option<&'a str>,
    category: Option<&'static str>,
    first_frame: u64,
    name_frame: Option<u64>,
    frames: u64,
    bytes: u64,
    reason: Option<&'static str>,
    candidates: &'a [&'a str],
    ech: bool,
    tls_version: Option<&'static str>,
    alpn: &'a [String],
    ja4: Option<&'a str>,
    action: &'static str,
    level: &'static str,
    bytes_up: u64,
    bytes_down: u64,
    frames_up: u64,
    frames_down: u64,
    upload_percent: u8,
}

/// What the flow carried. Whether its host takes uploads is not asked: of a capture, only the shape is.
fn shape(s: &FlowSummary) -> Shape {
    Shape {
        bytes_up: s.bytes_up,
        frames_up: s.frames_up.into(),
        bytes_down: s.bytes_down,
        frames_down: s.frames_down.into(),
        quic: s.app == Some(AppProto::Quic),
        upload_host: false,
    }
}

/// Writes a line per flow.
pub(crate) struct Lines<'a> {
    out: io::BufWriter<Box<dyn Write + 'a>>,
    table: Arc<SignatureTable>,
}

impl<'a> Lines<'a> {
    /// Lines go to `out`; services are those of `table`.
    pub(crate) fn new(out: Box<dyn Write + 'a>, table: Arc<SignatureTable>) -> Self {
        Self { out: io::BufWriter::with_capacity(1 << 16, out), table }
    }

    /// Writes the line of a flow.
    pub(crate) fn write(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        let s = seen.summary;
        // An ambiguous flow has no name: whatever was read is one of several readings.
        let named = s.evidence != Evidence::None;
        let line = FlowLine {
            capture: seen.capture,
            proto: s.tuple.l4.as_str(),
            client: s.tuple.client.ip,
            client_port: s.tuple.client.port,
            server: s.tuple.server.ip,
            server_port: s.tuple.server.port,
            vlan: s.vlans.ids(),
            // Four kinds are promised; the rest of what is known stands in `app`.
            kind: s
                .app
                .filter(|a| {
                    !matches!(a, AppProto::H2c | AppProto::Connect) && s.evidence != Evidence::DnsHint
                })
                .map(|a| a.as_str()),
            app: s.app.map(|a| a.as_str()),
            name: seen.names.first().copied().filter(|_| named),
            evidence: named.then(|| s.evidence.as_str()),
            service: self.table.service(s.service).map(|i| i.name),
            category: (s.category != Category::Unknown).then(|| s.category.as_str()),
            first_frame: s.first_frame,
            name_frame: (s.name_frame != 0).then_some(s.name_frame),
            frames: u64::from(s.frames_up) + u64::from(s.frames_down),
            bytes: s.bytes_up + s.bytes_down,
            reason: s.reason.map(|r| r.as_str()),
            candidates: if named { &[] } else { &seen.names },
            names: if named { &seen.names } else { &seen.claims },
            ech: s.ech,
            tls_version: seen.hello.and_then(|h| h.version),
            alpn: seen.hello.map_or(&[], |h| h.alpn.as_slice()),
            ja4: seen.hello.and_then(|h| h.ja4.as_ref()).map(Ja4::as_str),
            action: s.verdict.action.as_str(),
            level: s.verdict.level.as_str(),
            bytes_up: s.bytes_up,
            bytes_down: s.bytes_down,
            frames_up: s.frames_up.into(),
            frames_down: s.frames_down.into(),
            upload_percent: shape(s).confidence(),
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    /// Writes what is still in memory.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}
