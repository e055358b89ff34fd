//! A bridge between a client and a server, fed frame by frame, and what leaves it taken apart.

use glassgate_dataplane::classifier::{Classifier, FlowSink, Options, Policy};
use glassgate_dataplane::lcore::Lcore;
use glassgate_dataplane::packet::{Addr, Packet, Tcp, flag};
use glassgate_dataplane::parse::{self, Checksum, ParseOptions, Parsed};
use glassgate_dataplane::port::memory::{MemoryPort, Pool, pair};
use glassgate_dataplane::port::{Frame as _, Link};

pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 10], 40_000);
pub(crate) const SERVER: ([u8; 4], u16) = ([198, 51, 100, 80], 80);
pub(crate) const VLAN: [u8; 4] = [0x81, 0, 0, 20];
/// First sequence numbers.
pub(crate) const UP: u32 = u32::MAX - 20;
pub(crate) const DOWN: u32 = 9000;
pub(crate) fn frame(up: bool, l4: u8, segment: &[u8]) -> Vec<u8> {
    let ([dst_mac, src_mac], [src, dst]) = match up {
        true => ([SERVER_MAC, CLIENT_MAC], [CLIENT, SERVER]),
        false => ([CLIENT_MAC, SERVER_MAC], [SERVER, CLIENT]),
    };
    let mut ip = vec![0x45, 0];
    ip.extend((20 + segment.len() as u16).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 61, l4, 0, 0]);
    ip.extend(src.0.iter().chain(&dst.0));
    let sum = parse::checksum_of([&ip], 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&dst_mac[..], &src_mac, &VLAN, &[8, 0], &ip, segment].concat()
}

pub(crate) fn tcp(up: bool, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (src, dst) = if up { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let mut out = [src.1.to_be_bytes(), dst.1.to_be_bytes()].concat();
    out.extend(seq.to_be_bytes());
    out.extend(ack.to_be_bytes());
    // With timestamps: 7 and 8 from the client, 8 and 7 from the server.
    let stamps = if up { [7u32, 8] } else { [8, 7] };
    out.extend([8 << 4, flags, 0xff, 0xff, 0, 0, 0, 0, 1, 1, 8, 10]);
    out.extend(stamps.iter().flat_map(|s| s.to_be_bytes()));
    out.extend(payload);
    let pseudo = [&src.0[..], &dst.0[..], &[0, 6], &(out.len() as u16).to_be_bytes()].concat();
    let sum = parse::checksum_of([&pseudo, &out], 0);
    out[16..18].copy_from_slice(&sum.to_be_bytes());
    frame(up, 6, &out)
}

/// A frame that left, taken apart: its tags and addresses are those of the flow, and its checksums are right.
pub(crate) struct Left {
    pub(crate) bytes: Vec<u8>,
    pub(crate) packet: Packet,
}

impl Left {
    pub(crate) fn new(bytes: Vec<u8>, up: bool) -> Self {
        let options = ParseOptions::default();
        let Parsed::Packet(packet) = parse::parse(&bytes, bytes.len(), Link::Ethernet, &options) else {
            panic!("no packet: {bytes:02x?}");
        };
        assert!(parse::ipv4_header_ok(&bytes, packet.l3_at, &options));
        let macs = if up { [SERVER_MAC, CLIENT_MAC] } else { [CLIENT_MAC, SERVER_MAC] };
        assert_eq!(bytes[..16], [&macs.concat()[..], &VLAN].concat());
        let from = if up { CLIENT } else { SERVER };
        assert_eq!((packet.src, packet.src_port), (Addr::v4(from.0), from.1));
        Self { bytes, packet }
    }

    pub(crate) fn tcp(&self) -> (u32, u32, u8) {
        assert_eq!(parse::l4_checksum(&self.packet, &self.bytes), Checksum::Good);
        let Tcp { seq, ack, flags, .. } = self.packet.tcp(&self.bytes).unwrap();
        (seq, ack, flags)
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.packet.payload(&self.bytes)
    }
}

pub(crate) struct Bridge<S: FlowSink> {
    pub(crate) lcore: Lcore<MemoryPort, S>,
    pub(crate) outside: [MemoryPort; 2],
    pub(crate) pool: Pool,
    pub(crate) now: u64,
}

impl<S: FlowSink> Bridge<S> {
    /// A bridge that answers, or doesn't, with so many buffers.
    pub(crate) fn new(policy: Policy, answers: bool, buffers: usize, sink: S) -> Self {
        let ((lan, inner_lan), (uplink, inner_uplink)) = (pair(256), pair(256));
        let classifier = Classifier::new(Options { answers, ..Options::default() }, policy, sink, 0);
        let lcore = Lcore::new(inner_lan, inner_uplink, classifier);
        Self { lcore, outside: [lan, uplink], pool: Pool::new(buffers, 2048), now: 0 }
    }

    /// Sends frames one by one; gives what comes out at the client's and at the server's side.
    pub(crate) fn pass(&mut self, frames: &[(bool, Vec<u8>)]) -> [Vec<Left>; 2] {
        let mut left = [Vec::new(), Vec::new()];
        for (up, bytes) in frames {
            let frame = self.pool.frame(bytes).unwrap();
            self.outside[usize::from(!up)].send(frame).unwrap();
            self.now += 1_000_000;
            self.lcore.turn(self.now);
            for (side, outside) in self.outside.iter_mut().enumerate() {
                while let Some(frame) = outside.receive() {
                    left[side].push(Left::new(frame.bytes().to_vec(), side == 1));
                }
            }
        }
        let counters = self.lcore.counters();
        for port in 0..2 {
            let came = counters.rx_frames[port] + counters.answers[1 - port];
            assert_eq!(came, counters.tx_frames[1 - port] + counters.drop_policy[port], "conservation");
        }
        left
    }
}

pub(crate) fn handshake() -> Vec<(bool, Vec<u8>)> {
    let next = UP.wrapping_add(1);
    vec![
        (true, tcp(true, UP, 0, flag::SYN, b"")),
        (false, tcp(false, DOWN, next, flag::SYN | flag::ACK, b"")),
        (true, tcp(true, next, DOWN + 1, flag::ACK, b"")),
    ]
}
