//! What one lcore counts. Plain numbers of one owner: nothing here is shared or atomic; the lcore copies them to its
//! stats page now and then, and others add the pages up.
//!
//! What adds up to what: [`crate::conservation`].

use crate::inband;
use crate::packet::TunnelKind;
use glassgate_policy::{Category, Evidence, Reason, Unobserved};

macro_rules! counters {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* $field:ident: [$len:expr] $labels:expr),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: [u64; $len]),+ }

        impl Default for $name {
            fn default() -> Self { Self { $($field: [0; $len]),+ } }
        }

        impl $name {
            /// How many numbers there are in [`Self::words`].
            pub const WORDS: usize = 0 $(+ $len)+;

            /// All numbers, in a fixed order.
            pub fn words(&self) -> impl Iterator<Item = u64> + '_ {
                std::iter::empty()$(.chain(self.$field.iter().copied()))+
            }

            /// From numbers in the order of [`Self::words`]; missing ones are zero.
            pub fn from_words(words: impl IntoIterator<Item = u64>) -> Self {
                let mut words = words.into_iter();
                let mut out = Self::default();
                $(for slot in &mut out.$field { *slot = words.next().unwrap_or(0); })+
                out
            }

            /// Adds the counts of another lcore.
            pub fn add(&mut self, other: &Self) {
                $(for (to, from) in self.$field.iter_mut().zip(&other.$field) { *to = to.wrapping_add(*from); })+
            }

            /// Every number with the name of its family and its label; families of one number have no label.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, Option<&'static str>, u64)> + '_ {
                std::iter::empty()$(.chain(self.$field.iter().enumerate().filter_map(|(i, n)| {
                    let label: Option<Option<&'static str>> = $labels(i);
                    label.map(|l| (stringify!($field), l, *n))
                })))+
            }
        }
    };
}

/// Ports of a bridge: 0 is the LAN side, 1 the uplink.
pub const PORTS: usize = 2;

fn single(_: usize) -> Option<Option<&'static str>> {
    Some(None)
}

fn port(i: usize) -> Option<Option<&'static str>> {
    ["lan", "uplink"].get(i).map(|l| Some(*l))
}

/// Not a metric by itself: shown as quantiles.
fn bucket(_: usize) -> Option<Option<&'static str>> {
    None
}

fn reason(i: usize) -> Option<Option<&'static str>> {
    Reason::from_code(i as u8).map(|r| Some(r.as_str()))
}

fn evidence(i: usize) -> Option<Option<&'static str>> {
    Evidence::from_code(i as u8).filter(|e| *e != Evidence::None).map(|e| Some(e.as_str()))
}

fn category(i: usize) -> Option<Option<&'static str>> {
    Category::from_code(i as u8).map(|c| Some(c.as_str()))
}

fn unobserved(i: usize) -> Option<Option<&'static str>> {
    Unobserved::from_code(i as u8).map(|u| Some(u.as_str()))
}

fn opaque(i: usize) -> Option<Option<&'static str>> {
    crate::parse::OpaqueKind::ALL.get(i).map(|o| Some(o.as_str()))
}

fn tunnel(i: usize) -> Option<Option<&'static str>> {
    TunnelKind::ALL.get(i).map(|t| Some(t.as_str()))
}

fn refused(i: usize) -> Option<Option<&'static str>> {
    inband::Refused::ALL.get(i).map(|r| Some(r.as_str()))
}

fn unsent(i: usize) -> Option<Option<&'static str>> {
    inband::Unsent::ALL.get(i).map(|u| Some(u.as_str()))
}

counters! {
    /// The counts of one lcore.
    pub struct LcoreCounters {
        /// Frames received, by port.
        rx_frames: [PORTS] port,
        /// Bytes received, by port.
        rx_bytes: [PORTS] port,
        /// Frames sent, by port.
        tx_frames: [PORTS] port,
        /// Bytes sent, by port.
        tx_bytes: [PORTS] port,
        /// Frames lost by the hardware or driver before they were seen, by port.
        rx_missed: [PORTS] port,
        /// Frames discarded because the verdict says so, by the port they came from.
        drop_policy: [PORTS] port,
        /// Frames made here and sent to the ends of blocked flows, by the port that they left by. They count as sent, too.
        answers: [PORTS] port,
        /// Frames of blocked flows that were answered less than they should, for want of room or buffers.
        answers_lost: [1] single,
        /// Frames discarded because they were over the rate of a limit, by the port they came from.
        drop_limit: [PORTS] port,
        /// Frames discarded because the other port did not take them, by the port they came from.
        drop_tx_full: [PORTS] port,
        /// Frames to the gateway's own hardware address that were taken out of the traffic, by the port they came from.
        inband_taken: [PORTS] port,
        /// Frames to a group that ask for the gateway, by the port they came from. They pass; a copy is looked at.
        inband_copied: [PORTS] port,
        /// Frames of both kinds that were handed to the control process.
        inband_punted: [1] single,
        /// Frames of both kinds that were not, by reason.
        inband_refused: [inband::Refused::ALL.len()] refused,
        /// Frames of the control process that were sent, by the port that they left by. They count as sent, too.
        inband_sent: [PORTS] port,
        /// Frames of the control process that were not sent, by reason.
        inband_unsent: [inband::Unsent::ALL.len()] unsent,
        /// Frames by how long the turn took that they came in: see [`crate::latency`].
        turn_ns: [crate::latency::BUCKETS] bucket,
        /// Frames of flows.
        flow_frames: [1] single,
        /// Frames without a flow, by kind.
        opaque_frames: [crate::parse::OpaqueKind::ALL.len()] opaque,
        /// Frames of tunnels without ports that are not looked into, by kind.
        tunnel_frames: [TunnelKind::ALL.len()] tunnel,
        /// Frames that could not be parsed, by reason; all of them were forwarded.
        malformed_frames: [Reason::SLOTS] reason,
        /// IP fragments.
        fragment_frames: [1] single,
        /// Datagrams that could not be put together from their fragments, by reason.
        datagrams_refused: [Reason::SLOTS] reason,
        /// Frames of flows that the table had no room for.
        unkept_frames: [1] single,
        /// Of those, frames whose source has opened as many flows as one source may have.
        source_full_frames: [1] single,
        /// Frames of limited flows that passed because there was no place to count them.
        limiter_full_frames: [1] single,
        /// Flows that were ended to make room for new ones: closed, or never answered and idle.
        flows_evicted: [1] single,
        /// Flows opened.
        flows_opened: [1] single,
        /// Flows that ended with a name, by evidence.
        flows_named: [8] evidence,
        /// Flows that ended without a name, by reason: the blindness meter.
        flows_unnamed: [Reason::SLOTS] reason,
        /// Flows that ended, by category of their service.
        flows_category: [Category::SLOTS] category,
        /// Bytes of flows that ended, by category.
        bytes_category: [Category::SLOTS] category,
        /// Flows whose verdict changed because the policy did.
        flows_redecided: [1] single,
        /// Flows that ended without an event because their level is `none`, by the reason for that.
        unobserved_flows: [8] unobserved,
        /// Segments ignored because no endpoint would accept them (bad checksum, out of the window, old timestamp).
        decoys_ignored: [1] single,
        /// Names that were taken as final before the server acknowledged them, because the slab was full.
        guards_dropped: [1] single,
        /// Events offered to the ring.
        events: [1] single,
        /// Events lost because the ring was full.
        events_lost: [1] single,
        /// Frames of ARP, ND and DHCP whose word on an address was passed on.
        identity_events: [1] single,
        /// Those of them that were lost because the ring was full.
        identity_events_lost: [1] single,
        /// Parser panics that were contained.
        panics: [1] single,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_and_add() {
        let a = LcoreCounters::from_words(0..LcoreCounters::WORDS as u64);
        assert_eq!(LcoreCounters::from_words(a.words()), a);
        let mut twice = a.clone();
        twice.add(&a);
        assert!(twice.words().zip(a.words()).all(|(t, o)| t == 2 * o));
    }

    #[test]
    fn every_label_is_unique_within_its_family() {
        let mut seen = std::collections::HashSet::new();
        for (family, label, _) in LcoreCounters::default().each() {
            assert!(seen.insert((family, label)), "{family} {label:?} twice");
        }
    }
}
