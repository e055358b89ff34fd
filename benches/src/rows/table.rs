//! The flow table by itself: random hits of a full table, state written, against `rte_hash` and hashbrown.
//!
//! Keys are made from numbers as they are asked for, so that no list of keys takes part of the cache. Ours has a key of 40
//! bytes, which holds IPv6; the others have one of 16, which holds IPv4 only, and a word of state.

use std::hint::black_box;

use anyhow::Result;
use glassgate_dataplane::flow::Key;
use glassgate_dataplane::flow_table::FlowTable;
use glassgate_dataplane::packet::Addr;
use glassgate_dpdk::reference::{self, RteHash};
use glassgate_policy::L4;

use crate::measure::{Contestant, alternate};
use crate::report::{Goal, Report};
use crate::stage::Stage;

const BATCH: usize = 32;
const BATCHES: u64 = 1024;

/// Which flow is asked for next.
struct Draw(u64, u64);

impl Draw {
    #[inline]
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * self.1) >> 32) as u32
    }
}

pub(super) fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let sizes: &[(u32, &str, f64)] = if stage.effort.quick {
        &[(1 << 12, "4 k", 7.5)]
    } else {
        &[(1 << 16, "64 k", 7.5), (1 << 20, "1 M", 20.0), (10_000_000, "10 M", 30.0)]
    };
    for (flows, label, most) in sizes {
        let count = u64::from(*flows);
        let mut table = FlowTable::new(*flows as usize, [21, 22, 23, 24]);
        let refused = (0..*flows)
            .filter(|n| {
                let key = key(*n);
                table.insert(key, table.place(&key), 0, true).is_err()
            })
            .count();
        let mut bulk = RteHash::new(stage.eal(), &format!("rows{flows}"), *flows)?;
        let bulk_refused = (0..*flows).filter(|n| !bulk.insert(&short_key(*n))).count();
        let mut map = hashbrown::HashMap::with_capacity(*flows as usize);
        for n in 0..*flows {
            map.insert(short_key(n), [0u32; 2]);
        }
        let (mut a, mut b, mut c) = (Draw(1, count), Draw(1, count), Draw(1, count));
        let figures = alternate(
            stage.effort,
            &mut [
                Contestant::timed("ours", || ours(&mut table, &mut a)),
                Contestant::timed("rte_hash", || {
                    let (mut keys, mut positions) = ([[0; 16]; BATCH], [0; BATCH]);
                    for _ in 0..BATCHES {
                        keys.fill_with(|| short_key(b.next()));
                        bulk.lookup(&keys, &mut positions);
                        black_box(&positions);
                    }
                    BATCHES * BATCH as u64
                }),
                Contestant::timed("hashbrown", || {
                    for _ in 0..BATCHES * BATCH as u64 {
                        if let Some(state) = map.get_mut(&short_key(c.next())) {
                            state[0] = state[0].wrapping_add(1);
                        }
                    }
                    BATCHES * BATCH as u64
                }),
            ],
        )?;
        let [ours, bulk, map] = figures[..] else { unreachable!("three contestants") };
        report.figure(format!("{label} flows, state written"), ours, "ns/lookup", Some(Goal::AtMost(*most)));
        report.figure(
            format!("{label} flows, rte_hash bulk {}, no state", reference::BULK),
            bulk,
            "ns/lookup",
            None,
        );
        report.figure(format!("{label} flows, hashbrown, 8 bytes of state"), map, "ns/lookup", None);
        report.number(
            format!("{label} flows, memory"),
            table.bytes() as f64 / f64::from(*flows),
            "bytes/flow",
            Some(Goal::AtMost(74.0)),
        );
        report.number(format!("{label} flows, refused inserts"), refused as f64, "", Some(Goal::AtMost(0.0)));
        report.number(format!("{label} flows, refused by rte_hash"), bulk_refused as f64, "", None);
    }
    Ok(())
}

fn ours(table: &mut FlowTable, draw: &mut Draw) -> u64 {
    for _ in 0..BATCHES {
        let mut keys = [(key(0), None); BATCH];
        for slot in &mut keys {
            let key = key(draw.next());
            let place = table.place(&key);
            table.prefetch_bucket(place);
            *slot = (key, Some(place));
        }
        let mut likely = [None; BATCH];
        for ((_, place), likely) in keys.iter().zip(&mut likely) {
            *likely = place.map(|place| table.likely(place));
        }
        for ((key, place), likely) in keys.iter().zip(likely) {
            let (Some(place), Some(likely)) = (place, likely) else { continue };
            if let Some(id) = table.find_likely(key, *place, likely)
                && let Some(hot) = table.get_mut(id)
            {
                hot.seen_ms = hot.seen_ms.wrapping_add(1);
                hot.frames[0] = hot.frames[0].wrapping_add(1);
            }
        }
    }
    BATCHES * BATCH as u64
}

#[inline]
fn key(n: u32) -> Key {
    let server = 0xc612_0000 | (n & 0xffff);
    let client = Addr::v4((0x0a00_0000 | n).to_be_bytes());
    Key::between((client, 40_000 + (n & 0x3fff) as u16), (Addr::v4(server.to_be_bytes()), 443), L4::Tcp).0
}

#[inline]
fn short_key(n: u32) -> reference::Key {
    let server = 0xc612_0000 | u128::from(n & 0xffff);
    let ports = 443 << 16 | u128::from(40_000 + (n & 0x3fff));
    ((0x0a00_0000 | u128::from(n)) << 96 | server << 64 | ports << 32 | 6).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Tuple;
    use std::net::IpAddr;

    #[test]
    fn keys_are_as_many_as_flows_and_theirs() {
        let keys: std::collections::HashSet<_> = (0..100_000).map(short_key).collect();
        assert_eq!(keys.len(), 100_000);
        let IpAddr::V4(client) = Tuple::v4(77).client else { panic!("IPv4") };
        assert_eq!(key(77).endpoints()[0].0, Addr::v4(client.octets()));
    }
}
