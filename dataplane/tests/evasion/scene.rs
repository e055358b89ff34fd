//! A scene: what two ends, and whoever stands between, send each other, frame by frame.
//!
//! TCP segments are kept in relative numbers: the sender's SYN is sequence number 0 and its first byte of data is 1, an
//! acknowledgement counts likewise in the other side's numbers. So the same scene can be played from memory, with both
//! ends made up, or against a real server, whose numbers are known only once it has answered.

use crate::rng::Rng;
use crate::wire::{self, ACK, Carriage, FIN, Family, Macs, PSH, SYN, Sum, TcpHeader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The name that the flow is for.
pub(crate) const NAME: &str = "www.zhaopin.example";
/// The name that decoys show; as long as [`NAME`], so that it can stand in its place.
pub(crate) const DECOY: &str = "www.weather.example";

/// Of the server and the client.
pub(crate) const MACS: Macs = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]];

/// What an Ethernet frame carries of a stream, with timestamps and on IPv6.
pub(crate) const MSS: usize = 1428;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A TCP segment.
#[derive(Clone)]
pub(crate) struct Seg {
    pub(crate) flow: usize,
    pub(crate) from: Side,
    pub(crate) seq: i64,
    /// `None` leaves the field zero.
    pub(crate) ack: Option<i64>,
    pub(crate) flags: u16,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    /// Added to the TSval that the sender's clock gives.
    pub(crate) ts_off_by: i64,
    /// Carries no timestamps although the flow has them.
    pub(crate) untimed: bool,
    /// Options beside those of every segment; padded here.
    pub(crate) options: Vec<u8>,
    pub(crate) data_offset: Option<u8>,
    pub(crate) sum: Sum,
    pub(crate) payload: Vec<u8>,
    pub(crate) carriage: Carriage,
}

/// What happens next.
pub(crate) enum Step {
    Segment(Seg),
    Datagram { flow: usize, from: Side, payload: Vec<u8>, carriage: Carriage },
}

/// Two ends that talk, and where their numbers begin.
#[derive(Clone)]
pub(crate) struct Flow {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    /// The initial sequence numbers of client and server.
    pub(crate) isn: [u32; 2],
    /// Their timestamp clocks when the scene begins.
    pub(crate) clock: [u32; 2],
    /// What the client echoes of the server's clock; `None` where the server is made up.
    pub(crate) echo: Option<u32>,
    /// Whether segments carry timestamps (RFC 7323).
    pub(crate) timestamps: bool,
    /// What the flow may be named, if it is named.
    pub(crate) names: Vec<String>,
    /// Bytes of the client that the server acknowledged.
    acked: usize,
    /// Bytes of the client that were sent, and those of the server.
    pub(crate) sent: [usize; 2],
}

pub(crate) struct Scene {
    pub(crate) family: Family,
    pub(crate) seed: u64,
    pub(crate) rng: Rng,
    pub(crate) flows: Vec<Flow>,
    /// Each with the time at which it happens, milliseconds.
    pub(crate) steps: Vec<(u64, Step)>,
    /// Names of which one is the flow's, when it can't be said which.
    pub(crate) candidates: Vec<String>,
    /// What may be told beside a reason, because it stands where a name would and is none.
    pub(crate) shown: Vec<String>,
    /// Whether the gateway is told to look into tunnels.
    pub(crate) look_into_tunnels: bool,
    now_ms: u64,
    current: usize,
}

impl Scene {
    pub(crate) fn new(family: Family, seed: u64) -> Self {
        let mut scene = Self {
            family,
            seed,
            rng: Rng::new(seed),
            flows: Vec::new(),
            steps: Vec::new(),
            candidates: vec![NAME.into(), DECOY.into()],
            shown: Vec::new(),
            look_into_tunnels: false,
            now_ms: 1000,
            current: 0,
        };
        scene.add_flow(40_000, 443, NAME);
        scene
    }

    /// One more flow between the same two hosts; the next steps belong to it.
    pub(crate) fn add_flow(&mut self, client_port: u16, server_port: u16, name: &str) -> usize {
        let ends: [IpAddr; 2] = match self.family {
            Family::V4 => [Ipv4Addr::new(192, 0, 2, 10).into(), Ipv4Addr::new(198, 51, 100, 20).into()],
            Family::V6 => {
                let host = |net, n| Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, n).into();
                [host(1, 0x10), host(2, 0x20)]
            }
        };
        self.flows.push(Flow {
            client: SocketAddr::new(ends[0], client_port),
            server: SocketAddr::new(ends[1], server_port),
            isn: [self.rng.word() as u32, self.rng.word() as u32],
            clock: [self.rng.word() as u32, self.rng.word() as u32],
            echo: None,
            timestamps: true,
            names: vec![name.into()],
            acked: 0,
            sent: [0, 0],
        });
        self.current = self.flows.len() - 1;
        self.current
    }

    /// The next steps belong to this flow.
    pub(crate) fn turn_to(&mut self, flow: usize) {
        self.current = flow;
    }

    /// The flow that steps belong to.
    pub(crate) fn flow(&mut self) -> &mut Flow {
        &mut self.flows[self.current]
    }

    pub(crate) fn wait_ms(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// A segment with nothing in it, which acknowledges all that the sender may have got.
    pub(crate) fn bare(&self, from: Side) -> Seg {
        let flow = &self.flows[self.current];
        let (seq, ack) = match from {
            Side::Client => (flow.sent[0], flow.sent[1]),
            Side::Server => (flow.sent[1], flow.acked),
        };
        Seg {
            flow: self.current,
            from,
            seq: 1 + seq as i64,
            ack: Some(1 + ack as i64),
            flags: ACK,
            window: 501,
            urgent: 0,
            ts_off_by: 0,
            untimed: false,
            options: Vec::new(),
            data_offset: None,
            sum: Sum::Good,
            payload: Vec::new(),
            carriage: Carriage::default(),
        }
    }

    pub(crate) fn syn(&self) -> Seg {
        Seg { seq: 0, ack: None, flags: SYN, window: 64_240, ..self.bare(Side::Client) }
    }

    pub(crate) fn syn_ack(&self) -> Seg {
        Seg { seq: 0, ack: Some(1), flags: SYN | ACK, window: 65_160, ..self.bare(Side::Server) }
    }

    /// Client bytes that stand at `at` in its stream.
    pub(crate) fn data(&self, at: usize, bytes: &[u8]) -> Seg {
        Seg { seq: 1 + at as i64, flags: PSH | ACK, payload: bytes.to_vec(), ..self.bare(Side::Client) }
    }

    pub(crate) fn send(&mut self, seg: Seg) {
        if seg.from == Side::Client && !seg.payload.is_empty() {
            let end = (seg.seq - 1).max(0) as usize + seg.payload.len();
            let sent = &mut self.flows[seg.flow].sent[0];
            *sent = (*sent).max(end);
        }
        self.steps.push((self.now_ms, Step::Segment(seg)));
        self.now_ms += 1;
    }

    /// The three-way handshake.
    pub(crate) fn open(&mut self) {
        self.send(self.syn());
        self.send(self.syn_ack());
        self.send(self.bare(Side::Client));
    }

    /// Sends client bytes that stand at `at`.
    pub(crate) fn say(&mut self, at: usize, bytes: &[u8]) {
        self.send(self.data(at, bytes));
    }

    /// Sends client bytes cut into about as many segments as `parts`, in random order.
    pub(crate) fn say_shuffled(&mut self, bytes: &[u8], parts: usize) {
        let mut cuts = self.rng.cuts(bytes.len(), parts);
        cuts.extend((0..bytes.len()).step_by(MSS));
        cuts.sort_unstable();
        cuts.dedup();
        let mut segments: Vec<(usize, usize)> = cuts.windows(2).map(|w| (w[0], w[1])).collect();
        self.rng.shuffle(&mut segments);
        for (from, to) in segments {
            self.say(from, &bytes[from..to]);
        }
    }

    /// Sends client bytes cut where `cuts` says, which begins with 0 and ends with the length.
    pub(crate) fn say_cut(&mut self, bytes: &[u8], cuts: &[usize]) {
        for pair in cuts.windows(2) {
            self.say(pair[0], &bytes[pair[0]..pair[1]]);
        }
    }

    /// The server acknowledges the first `upto` bytes of the client.
    pub(crate) fn acked(&mut self, upto: usize) {
        self.flow().acked = upto;
        self.send(self.bare(Side::Server));
    }

    /// The server acknowledges the first `upto` bytes and opens its window for `window` more.
    pub(crate) fn flow_acks(&mut self, upto: usize, window: u16) {
        self.flow().acked = upto;
        self.send(Seg { window, ..self.bare(Side::Server) });
    }

    /// The server answers.
    pub(crate) fn answer(&mut self, bytes: &[u8]) {
        self.send(Seg { flags: PSH | ACK, payload: bytes.to_vec(), ..self.bare(Side::Server) });
        self.flow().sent[1] += bytes.len();
        self.send(self.bare(Side::Client));
    }

    /// The server acknowledges and answers all `len` bytes of the client, and both sides close.
    pub(crate) fn finish(&mut self, len: usize, answer: &[u8]) {
        self.flow().sent[0] = len;
        self.acked(len);
        self.answer(answer);
        self.close();
    }

    /// FIN both ways.
    pub(crate) fn close(&mut self) {
        self.send(Seg { flags: FIN | ACK, ..self.bare(Side::Client) });
        let sent = self.flow().sent[0];
        let fin = self.bare(Side::Server);
        self.send(Seg { flags: FIN | ACK, ack: Some(2 + sent as i64), ..fin });
        let last = self.bare(Side::Client);
        self.send(Seg { seq: last.seq + 1, ack: last.ack.map(|ack| ack + 1), ..last });
    }

    /// Sends a UDP datagram.
    pub(crate) fn datagram(&mut self, from: Side, payload: &[u8]) {
        self.datagram_in(from, payload, Carriage::default());
    }

    /// Sends a UDP datagram in a carriage of its own.
    pub(crate) fn datagram_in(&mut self, from: Side, payload: &[u8], carriage: Carriage) {
        let step = Step::Datagram { flow: self.current, from, payload: payload.to_vec(), carriage };
        self.steps.push((self.now_ms, step));
        self.now_ms += 1;
    }

    /// Every frame of the scene, with its time in nanoseconds.
    pub(crate) fn frames(&self) -> Vec<(u64, Vec<u8>)> {
        let mut out = Vec::new();
        for (ident, (at_ms, step)) in self.steps.iter().enumerate() {
            let frames = render(step, &self.flows, *at_ms, ident as u32, MACS);
            out.extend(frames.into_iter().map(|frame| (at_ms * 1_000_000, frame)));
        }
        out
    }
}

/// The frames of one step.
pub(crate) fn render(step: &Step, flows: &[Flow], at_ms: u64, ident: u32, macs: Macs) -> Vec<Vec<u8>> {
    let (flow, from, carriage) = match step {
        Step::Segment(seg) => (&flows[seg.flow], seg.from, &seg.carriage),
        Step::Datagram { flow, from, carriage, .. } => (&flows[*flow], *from, carriage),
    };
    let (src, dst, macs) = match from {
        Side::Client => (flow.client, flow.server, macs),
        Side::Server => (flow.server, flow.client, [macs[1], macs[0]]),
    };
    let (proto, l4) = match step {
        Step::Segment(seg) => (wire::TCP, wire::tcp(src, dst, &absolute(seg, flow, at_ms), &seg.payload)),
        Step::Datagram { payload, .. } => (wire::UDP, wire::udp(src, dst, payload, carriage.bad_udp_sum)),
    };
    carriage.frames(macs, (src.ip(), dst.ip()), proto, &l4, ident)
}

/// A segment's header in the numbers of its flow.
fn absolute(seg: &Seg, flow: &Flow, at_ms: u64) -> TcpHeader {
    let (mine, other) = if seg.from == Side::Client { (0, 1) } else { (1, 0) };
    let syn = seg.flags & SYN != 0;
    let mut options = Vec::new();
    if syn {
        options.extend([2, 4, 0x05, 0xb4, 4, 2]);
    }
    if flow.timestamps && !seg.untimed {
        let now = at_ms as u32;
        let val = flow.clock[mine].wrapping_add(now).wrapping_add(seg.ts_off_by as u32);
        let heard = flow.echo.filter(|_| seg.from == Side::Client);
        let echo = match seg.flags & ACK {
            0 => 0,
            _ => heard.unwrap_or(flow.clock[other].wrapping_add(now)),
        };
        if !syn {
            options.extend([1, 1]);
        }
        options.extend([8, 10]);
        options.extend(val.to_be_bytes());
        options.extend(echo.to_be_bytes());
    }
    if syn {
        options.extend([1, 3, 3, 7]);
    }
    options.extend(&seg.options);
    while options.len() % 4 != 0 {
        options.push(0);
    }
    TcpHeader {
        seq: flow.isn[mine].wrapping_add(seg.seq as u32),
        ack: seg.ack.map_or(0, |ack| flow.isn[other].wrapping_add(ack as u32)),
        flags: seg.flags,
        window: seg.window,
        urgent: seg.urgent,
        options,
        data_offset: seg.data_offset,
        sum: seg.sum,
    }
}
