//! Who is told about names and flows.
//!
//! On the appliance nobody learns a name: the sink takes only events, and [`FlowSink::named`] stays the empty
//! default. Replay, tests and the corpus tools keep names, because they work on captures that their user owns.

use crate::flow::{Cold, FlowId, Hot, mark};
use crate::inspect::tls::ClientHello;
use crate::packet::Vlans;
use glassgate_policy::identity::IdentityEvent;
use glassgate_policy::{
    AppProto, Category, Endpoint, Evidence, FiveTuple, FlowEvent, Reason, ServiceId, Verdict,
};

/// A name that was read.
#[derive(Clone, Copy, Debug)]
pub struct NameSeen<'a> {
    /// In canonical form; for DNS in presentation form where it is no host name.
    pub name: &'a str,
    /// How it is known.
    pub evidence: Evidence,
    /// The protocol it stood in.
    pub app: AppProto,
    /// Number of the frame that completed it.
    pub frame: u64,
    /// It is one of several readings of ambiguous bytes: no label, only a candidate.
    pub candidate: bool,
    /// It was said where a name is expected and names nobody: an address as server name (RFC 6066 section 3 forbids
    /// it), or the public name in front of an encrypted hello. No label; the flow ends with a reason.
    pub claim: bool,
}

/// What was counted of a flow when it ended.
#[derive(Clone, Copy, Debug)]
pub struct FlowSummary {
    /// Who talked to whom.
    pub tuple: FiveTuple,
    /// VLAN tags of the first frame.
    pub vlans: Vlans,
    /// Number of the first frame.
    pub first_frame: u64,
    /// Number of the frame with which the name became known, 0 without one.
    pub name_frame: u64,
    /// Time of the first frame, nanoseconds of the lcore's clock.
    pub first_ns: u64,
    /// Time at which the flow was ended.
    pub ended_ns: u64,
    /// Frames from client to server.
    pub frames_up: u32,
    /// Frames from server to client.
    pub frames_down: u32,
    /// Bytes from client to server.
    pub bytes_up: u64,
    /// Bytes from server to client.
    pub bytes_down: u64,
    /// The protocol.
    pub app: Option<AppProto>,
    /// How the name is known.
    pub evidence: Evidence,
    /// Why there is no name.
    pub reason: Option<Reason>,
    /// The service of the name.
    pub service: ServiceId,
    /// Its category.
    pub category: Category,
    /// What was decided.
    pub verdict: Verdict,
    /// The hello carried an encrypted hello, real or GREASE.
    pub ech: bool,
    /// Several different names were seen.
    pub multi_name: bool,
}

impl FlowSummary {
    pub(super) fn new(hot: &Hot, cold: &Cold, ended_ns: u64) -> Self {
        let [client, server] = hot.client_server().map(|(addr, port)| Endpoint { ip: addr.ip(), port });
        let [up, down] = if hot.bits & crate::flow::bit::CLIENT_IS_LOW != 0 { [0, 1] } else { [1, 0] };
        let frames = |side: usize| hot.frames.get(side).copied().unwrap_or(0);
        let bytes = |side: usize| cold.bytes(hot).get(side).copied().unwrap_or(0);
        Self {
            tuple: FiveTuple { l4: hot.key.l4(), client, server },
            vlans: cold.vlans,
            first_frame: cold.first_frame,
            name_frame: cold.name_frame,
            first_ns: cold.first_ns,
            ended_ns,
            frames_up: frames(up),
            frames_down: frames(down),
            bytes_up: bytes(up),
            bytes_down: bytes(down),
            app: cold.app,
            evidence: cold.evidence,
            reason: cold.reason.filter(|_| cold.evidence == Evidence::None),
            service: cold.service,
            category: cold.category,
            verdict: hot.verdict(),
            ech: cold.has(mark::ECH),
            multi_name: cold.has(mark::MULTI_NAME),
        }
    }
}

/// Told about names and flows by the classifier of one lcore.
pub trait FlowSink {
    /// Whether [`Self::named`] and [`Self::hello`] want to be called: nothing is formatted for those who don't.
    const NAMES: bool = false;
    /// Whether [`Self::ended`] wants to be called: nothing is summed up for those who say no.
    const SUMMARIES: bool = true;

    /// A name was read.
    fn named(&mut self, _flow: FlowId, _seen: &NameSeen<'_>) {}

    /// A ClientHello was read. `message` is the handshake message with its header, empty where it is none (SSL 2, Google's
    /// QUIC) or no buffer was free to keep it in.
    fn hello(&mut self, _flow: FlowId, _hello: &ClientHello, _message: &[u8]) {}

    /// An event for the slow path. False when it was lost.
    fn event(&mut self, _event: &FlowEvent) -> bool {
        true
    }

    /// Somebody said whose an address is. False when the event was lost.
    fn identity(&mut self, _event: &IdentityEvent) -> bool {
        true
    }

    /// A flow ended; its id will be used again. Called with [`Self::SUMMARIES`] only.
    fn ended(&mut self, _flow: FlowId, _summary: &FlowSummary) {}
}

/// Told nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSink;

impl FlowSink for NoSink {
    const SUMMARIES: bool = false;
}
