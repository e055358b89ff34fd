//! How frames come to queues. Both directions of a flow must come to the same lcore.

use std::fmt;

use glassgate_dataplane::port::spec::PortSpec;

/// How a device chooses the queue of a frame it received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// There is one queue.
    OneQueue {
        /// Why there are not as many as asked for, if there are not.
        instead: Option<&'static str>,
    },
    /// Receive-side scaling with a Toeplitz key that gives both directions the same hash.
    SymmetricRss,
    /// The kernel's flow hash, which is the same for both directions (packet fanout).
    KernelFanout,
    /// Several queues without any regard for flows: sources and loops of a test.
    Unordered,
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneQueue { instead: None } => f.write_str("as asked for"),
            Self::OneQueue { instead: Some(why) } => f.write_str(why),
            Self::SymmetricRss => f.write_str("symmetric RSS"),
            Self::KernelFanout => f.write_str("symmetric hash of the kernel"),
            Self::Unordered => f.write_str("not by flow: for tests only"),
        }
    }
}

/// The Toeplitz key. A key of period 16 bits gives a frame and its reverse the same hash, because addresses and ports
/// are swapped by multiples of 16 bits. These two bytes spread best among such keys (Woo and Park, "Scalable TCP
/// Session Monitoring with Symmetric Receive-side Scaling", 2012).
const PERIOD: [u8; 2] = [0x6d, 0x5a];

/// Key length of drivers that don't say: that of the original RSS definition.
const DEFAULT_KEY_LEN: usize = 40;

/// Frame fields to hash: addresses, and ports where there are any.
pub(super) const RSS_FIELDS: u64 = dpdk_sys::SHIM_RSS_IP | dpdk_sys::SHIM_RSS_TCP | dpdk_sys::SHIM_RSS_UDP;

/// A symmetric key of `len` bytes; zero means that the driver does not say.
pub(super) fn symmetric_key(len: u8) -> Vec<u8> {
    let len = if len == 0 { DEFAULT_KEY_LEN } else { usize::from(len) };
    PERIOD.into_iter().cycle().take(len).collect()
}

/// How many queues to create a virtual device with.
pub(super) fn virtual_queues(spec: &PortSpec, queues: u16) -> u16 {
    match spec {
        PortSpec::AfXdp(_) => 1,
        _ => queues.max(1),
    }
}

/// Number of queues and their distribution, given what the driver offers.
pub(super) fn choose(spec: &PortSpec, wished: u16, offered: u16, rss_offloads: u64) -> (u16, Distribution) {
    let one = |instead| (1, Distribution::OneQueue { instead });
    if wished <= 1 {
        return one(None);
    }
    if offered <= 1 {
        return one(Some(match spec {
            PortSpec::AfXdp(_) => "XDP sockets: the kernel's distribution is not symmetric",
            _ => "the driver has no more",
        }));
    }
    let queues = wished.min(offered);
    match spec {
        PortSpec::AfXdp(_) => one(Some("XDP sockets: the kernel's distribution is not symmetric")),
        PortSpec::AfPacket(_) => (queues, Distribution::KernelFanout),
        PortSpec::Null | PortSpec::Ring | PortSpec::Vdev(_) => (queues, Distribution::Unordered),
        PortSpec::Tap(_) => one(Some("a TAP's distribution is not symmetric")),
        PortSpec::Pci(_) if rss_offloads & dpdk_sys::SHIM_RSS_IP == 0 => one(Some("the NIC has no RSS")),
        PortSpec::Pci(_) => (queues, Distribution::SymmetricRss),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Toeplitz hash as NICs compute it: for every set bit of the input, the 32 bits of the key at its place.
    fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], i: usize| u32::from(bytes[i / 8] >> (7 - i % 8) & 1);
        let window = |i: usize| (0..32).fold(0, |sum, j| sum << 1 | bit(key, i + j));
        (0..input.len() * 8).filter(|&i| bit(input, i) == 1).fold(0, |hash, i| hash ^ window(i))
    }

    #[test]
    fn the_toeplitz_of_this_test_is_the_published_one() {
        // Microsoft's RSS verification suite: 66.9.149.187:2794 to 161.142.100.80:1766.
        let key: [u8; 40] = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let input = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(toeplitz(&key, &input), 0x51cc_c178);
    }

    #[test]
    fn both_directions_have_one_hash() {
        for len in [40, 52] {
            let key = symmetric_key(len);
            assert_eq!(key.len(), usize::from(len));
            for seed in 0..200u8 {
                let byte = |i: u8| seed.wrapping_mul(37).wrapping_add(i.wrapping_mul(91));
                for address in [4, 16] {
                    let (a, b): (Vec<u8>, Vec<u8>) =
                        ((0..address).map(byte).collect(), (0..address).map(|i| byte(i + 77)).collect());
                    let (p, q) = ([seed, 80], [7, seed]);
                    let there = toeplitz(&key, &[&a[..], &b, &p, &q].concat());
                    let back = toeplitz(&key, &[&b[..], &a, &q, &p].concat());
                    assert_eq!(there, back);
                }
            }
        }
        assert_eq!(symmetric_key(0).len(), 40);
    }

    #[test]
    fn several_queues_only_where_a_flow_stays_whole() {
        let choose = |spec: &str, offered, rss| choose(&spec.parse().unwrap(), 4, offered, rss);
        let rss = RSS_FIELDS;
        assert_eq!(choose("pci:01:00.0", 16, rss), (4, Distribution::SymmetricRss));
        assert_eq!(choose("pci:01:00.0", 2, rss), (2, Distribution::SymmetricRss));
        assert_eq!(choose("af_packet:a", 4, 0), (4, Distribution::KernelFanout));
        for (spec, offered) in [("pci:01:00.0", 16), ("pci:01:00.0", 1), ("af_xdp:a", 8), ("tap:a", 16)] {
            let (queues, distribution) = choose(spec, offered, 0);
            assert!(
                matches!((queues, distribution), (1, Distribution::OneQueue { instead: Some(_) })),
                "{spec}"
            );
        }
    }
}
