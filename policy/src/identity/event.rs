//! What the fast path tells of identity: a hardware address, a network address, how it was said, and for how long.
//!
//! The few frames that say whose an address is are read where they pass (ARP: RFC 826; ND: RFC 4861; DHCP: RFC 2131, RFC 8415),
//! and what they say goes through the same ring as flow events: 64 bytes of numbers, told apart by a kind that no flow event
//! has. So the slow path learns of addresses without ever mapping the memory of frames. There is no room for a host name,
//! a vendor class, or any other option of DHCP.
//!
//! ```text
//!  0          8         16       32     38   39        40        44                    60   61   62   63
//!  │ seq      │ mono_ns │ address│ MAC  │ 0  │ source  │ seconds │ 0 ─────────────────│ 0  │ 0  │ 0  │ 0
//!  │ of a receipt:                            │ subject │ digest of the page │
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Mac;
use crate::charter::PageDigest;
use crate::matrix::address_key;
use crate::vocab::{SubjectId, coded};

coded! {
    /// How it was said whose an address is.
    pub enum Source {
        /// Sender of an ARP message.
        Arp = 1 => "arp",
        /// Sender or target of a neighbour advertisement or solicitation.
        Nd = 2 => "nd",
        /// A DHCP server gave it, for a time.
        Dhcp = 3 => "dhcp",
        /// Its holder gave it back to the DHCP server.
        DhcpRelease = 4 => "dhcp_release",
        /// Whoever sits there says that they read the notice. Says nothing of whose the address is.
        NoticeRead = 5 => "notice_read",
    }
}

/// A hardware address said that a network address is its own, or a server said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityEvent {
    /// Its number among all events of the ring; set where it is sent.
    pub seq: u64,
    /// When, monotonic.
    pub mono_ns: u64,
    /// The network address.
    pub ip: IpAddr,
    /// The hardware address.
    pub mac: Mac,
    /// How it was said.
    pub source: Source,
    /// How long it holds, where that was said.
    pub seconds: u32,
    /// What was read, and by whom: of [`Source::NoticeRead`], and of nothing else.
    pub read: Option<Read>,
}

/// What a receipt says, as far as the fast path knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Whom the page was shown to.
    pub subject: SubjectId,
    /// Which page it was.
    pub page: PageDigest,
}

impl IdentityEvent {
    /// Size in the ring.
    pub const SIZE: usize = 64;

    /// The event as it stands in the ring, little endian. The byte that holds the kind of a flow event is zero.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0u8; Self::SIZE];
        let (seconds, page) = match &self.read {
            Some(read) => (read.subject.0, read.page),
            None => (self.seconds, PageDigest::default()),
        };
        let parts: [(usize, &[u8]); 7] = [
            (0, &self.seq.to_le_bytes()),
            (8, &self.mono_ns.to_le_bytes()),
            (16, &address_key(self.ip)),
            (32, &self.mac.0),
            (39, &[self.source as u8]),
            (40, &seconds.to_le_bytes()),
            (44, &page),
        ];
        for (at, bytes) in parts {
            for (to, from) in out.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        }
        out
    }

    /// Whether bytes of the ring are one of these, good or bad.
    pub const fn is_one(bytes: &[u8; Self::SIZE]) -> bool {
        bytes[60] & 3 == 0
    }

    /// Reads an event. `None` if it means nothing: the producer is not trusted.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let at = |at: usize, n: usize| bytes.get(at..at + n);
        let zero = |at: std::ops::Range<usize>| bytes.get(at).is_some_and(|b| b.iter().all(|b| *b == 0));
        let source = Source::from_code(*bytes.get(39)?)?;
        let number = u32::from_le_bytes(at(40, 4)?.try_into().ok()?);
        let (seconds, read) = match source {
            Source::NoticeRead => {
                let page = at(44, 16)?.try_into().ok()?;
                (0, Some(Read { subject: SubjectId(number), page }))
            }
            _ if !zero(44..60) => return None,
            _ => (number, None),
        };
        if !zero(38..39) || !zero(60..64) {
            return None;
        }
        let address: [u8; 16] = at(16, 16)?.try_into().ok()?;
        Some(Self {
            seq: u64::from_le_bytes(at(0, 8)?.try_into().ok()?),
            mono_ns: u64::from_le_bytes(at(8, 8)?.try_into().ok()?),
            ip: match address {
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
                v6 => Ipv6Addr::from(v6).into(),
            },
            mac: Mac(at(32, 6)?.try_into().ok()?),
            source,
            seconds,
            read,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_event::FlowEvent;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips_and_is_no_flow_event(seq: u64, mono_ns: u64, v6: bool, ip: u128, mac: [u8; 6], source in 0usize..5, seconds: u32, page: [u8; 16]) {
            let ip: IpAddr = if v6 { Ipv6Addr::from(ip).into() } else { Ipv4Addr::from(ip as u32).into() };
            let source = Source::ALL[source];
            let read = (source == Source::NoticeRead).then_some(Read { subject: SubjectId(seconds), page });
            let seconds = if read.is_some() { 0 } else { seconds };
            let event = IdentityEvent { seq, mono_ns, ip, mac: Mac(mac), source, seconds, read };
            let bytes = event.to_bytes();
            prop_assert!(IdentityEvent::is_one(&bytes));
            prop_assert_eq!(IdentityEvent::from_bytes(&bytes), Some(event));
            prop_assert!(FlowEvent::from_bytes(&bytes).is_err());
        }

        #[test]
        fn hostile_bytes_are_refused_or_read(low: [u8; 32], high: [u8; 32]) {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&low);
            bytes[32..].copy_from_slice(&high);
            let _ = IdentityEvent::from_bytes(&bytes);
        }
    }
}
