//! Traffic between two ports that deliver empty frames: a port whose received frames are given the 5-tuple of a flow.
//!
//! All frames of the pool begin with the same headers, so that only addresses, ports and sequence number are written:
//! sixteen bytes a frame, next to which lies what the parser reads anyway. That cost is in every figure that is taken
//! with this, ours and the floor, and not in testpmd's.

use glassgate_dataplane::packet::flag;
use glassgate_dataplane::port::{Burst, Port, PortCounters};
use glassgate_dpdk::{DpdkPort, Mbuf};

use crate::wire::{self, Tuple};

/// Which flow is next.
#[derive(Clone, Debug)]
pub enum Order {
    /// Each as likely as any other: what caches like least.
    Uniform,
    /// By a Zipf distribution with exponent 1.1, from a table drawn beforehand.
    Drawn(std::sync::Arc<[u32]>),
    /// Uniform, but for one frame in so many, which is the first of a flow that was never seen.
    Fresh {
        /// One frame in so many.
        one_in: u32,
    },
}

/// A port with traffic of known flows.
pub struct Generator {
    port: DpdkPort,
    up: bool,
    v6: bool,
    flows: u32,
    order: Order,
    state: u64,
    fresh: u32,
}

impl Generator {
    /// Frames of `flows` flows, from their clients (`up`) or their servers.
    pub fn new(port: DpdkPort, up: bool, flows: u32, order: Order) -> Self {
        Self { port, up, v6: false, flows, order, state: if up { 1 } else { 2 }, fresh: 0 }
    }

    /// The same over IPv6; the pool's template must be one of IPv6.
    pub fn v6(self) -> Self {
        Self { v6: true, ..self }
    }

    /// What the pool's frames must begin with: a bare acknowledgement, as most frames in one direction are.
    pub fn template(v6: bool) -> Vec<u8> {
        let tuple = if v6 { Tuple::v6(0) } else { Tuple::v4(0) };
        let mut frame = wire::tcp(&tuple, true, flag::ACK, 0, 0, &[]);
        frame.resize(frame.len().max(64), 0);
        frame
    }

    /// The number of the flow that a frame belongs to.
    #[inline]
    pub fn flow_of(bytes: &[u8]) -> u32 {
        bytes.get(38..42).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    #[inline]
    fn next(&mut self) -> u32 {
        // An LCG's upper bits are random enough to defeat a cache and cost one multiplication.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match &self.order {
            Order::Uniform => (((self.state >> 32) * u64::from(self.flows)) >> 32) as u32,
            Order::Fresh { one_in } => {
                let drawn = ((self.state >> 32) * u64::from(self.flows)) >> 32;
                if (self.state as u32 >> 8).is_multiple_of(*one_in) {
                    // Beyond the known ones, and round again after 16 M, when the first of them are long over.
                    self.fresh = (self.fresh + 1) % ((1 << 24) - self.flows);
                    return self.flows + self.fresh;
                }
                drawn as u32
            }
            Order::Drawn(drawn) => {
                let at = (((self.state >> 32) * drawn.len() as u64) >> 32) as usize;
                drawn.get(at).copied().unwrap_or(0)
            }
        }
    }
}

impl Port for Generator {
    type Frame = Mbuf;

    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let before = burst.len();
        let got = self.port.rx_burst(burst);
        for frame in burst.iter_mut().skip(before) {
            let n = self.next();
            let bytes = frame.bytes_mut();
            if self.v6 { write_v6(bytes, n, self.up) } else { write_v4(bytes, n, self.up) }
        }
        got
    }

    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        self.port.tx_burst(burst)
    }

    fn counters(&self) -> PortCounters {
        self.port.counters()
    }
}

/// Makes a frame one of flow `n`, all but its sequence number and checksums.
pub fn retuple(bytes: &mut [u8], n: u32, up: bool, v6: bool) {
    let at = if v6 { 58..62 } else { 38..42 };
    let Some(seq) = bytes.get(at.clone()).and_then(|b| <[u8; 4]>::try_from(b).ok()) else { return };
    if v6 {
        write_v6(bytes, n, up)
    } else {
        write_v4(bytes, n, up)
    }
    if let Some(to) = bytes.get_mut(at) {
        to.copy_from_slice(&seq);
    }
}

#[inline]
fn write_v4(bytes: &mut [u8], n: u32, up: bool) {
    let Some(to) = bytes.get_mut(26..42) else { return };
    let Ok(to) = <&mut [u8; 16]>::try_from(to) else { return };
    let (client, port) = (0x0a00_0000 | n, u32::from(wire::client_port(n)));
    let server = 0xc612_0000 | (n & 0xffff) ^ (n >> 8 & 0xff00);
    let (addresses, ports) = if up {
        (u64::from(client) << 32 | u64::from(server), port << 16 | 443)
    } else {
        (u64::from(server) << 32 | u64::from(client), 443 << 16 | port)
    };
    let all = u128::from(addresses) << 64 | u128::from(ports) << 32 | u128::from(n);
    *to = all.to_be_bytes();
}

#[inline]
fn write_v6(bytes: &mut [u8], n: u32, up: bool) {
    let Some(to) = bytes.get_mut(22..62) else { return };
    let client = 0x2001_0db8u128 << 96 | u128::from(n);
    let server = 0x2001_0db9u128 << 96 | u128::from(n & 0xffff);
    let port = wire::client_port(n);
    let (src, dst, sport, dport) = if up { (client, server, port, 443) } else { (server, client, 443, port) };
    if let Some(at) = to.get_mut(..16) {
        at.copy_from_slice(&src.to_be_bytes());
    }
    if let Some(at) = to.get_mut(16..32) {
        at.copy_from_slice(&dst.to_be_bytes());
    }
    if let Some(at) = to.get_mut(32..40) {
        at.copy_from_slice(&(u64::from(sport) << 48 | u64::from(dport) << 32 | u64::from(n)).to_be_bytes());
    }
}

/// `len` draws from a Zipf distribution over `flows` flows: the most wanted is not the one with the lowest number, or
/// the records of popular flows would lie side by side.
pub fn zipf(flows: u32, exponent: f64, len: usize) -> std::sync::Arc<[u32]> {
    let mut sum = 0.0;
    let cumulative: Vec<f64> = (1..=flows)
        .map(|rank| {
            sum += 1.0 / f64::from(rank).powf(exponent);
            sum
        })
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let draw = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 11) as f64 / (1u64 << 53) as f64 * sum;
        let rank = cumulative.partition_point(|c| *c < at) as u32;
        // An odd factor permutes the numbers below a power of two; others are folded back.
        (rank.wrapping_mul(2_654_435_761) >> 3) % flows
    };
    (0..len).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_the_tuple_of_the_flow() {
        for up in [true, false] {
            for n in [0, 1, 0x0012_3456, 8_000_000] {
                let mut frame = Generator::template(false);
                write_v4(&mut frame, n, up);
                let whole = wire::tcp(&Tuple::v4(n), up, flag::ACK, n, 0, &[]);
                assert_eq!(frame[26..42], whole[26..42], "{n}");
                assert_eq!(Generator::flow_of(&frame), n);
                let mut frame = Generator::template(true);
                write_v6(&mut frame, n, up);
                let whole = wire::tcp(&Tuple::v6(n), up, flag::ACK, n, 0, &[]);
                assert_eq!(frame[22..62], whole[22..62], "{n}");
            }
        }
    }

    #[test]
    fn a_few_flows_get_most_of_the_frames() {
        let drawn = zipf(1000, 1.1, 10_000);
        let mut counts = vec![0u32; 1000];
        drawn.iter().for_each(|n| counts[*n as usize] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        assert!(counts[..100].iter().sum::<u32>() > 6000, "{:?}", &counts[..10]);
    }
}
