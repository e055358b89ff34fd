//! The vocabulary of flows and verdicts.
//!
//! `src`/`dst` describe one frame; `client`/`server` describe the flow. A [`FiveTuple`] is directed: its
//! client is whoever opened the flow, or the best guess where the opening was not seen.

use std::net::IpAddr;

macro_rules! coded {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal => $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        $vis enum $name { $($(#[$vmeta])* $variant = $code),+ }

        impl $name {
            /// Every value, in order of its code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in records, metrics, the command line and the page.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value with this code, if there is one. Codes are stable across versions.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// The value with this word, if there is one.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}
pub(crate) use coded;

coded! {
    /// The transport protocols that make flows.
    pub enum L4 {
        /// RFC 9293.
        Tcp = 6 => "tcp",
        /// RFC 768.
        Udp = 17 => "udp",
    }
}

coded! {
    /// The application protocol in which a name was, or would have been, found.
    pub enum AppProto {
        /// TLS over TCP, on any port and after STARTTLS.
        Tls = 1 => "tls",
        /// QUIC, including gQUIC where its name is in clear.
        Quic = 2 => "quic",
        /// HTTP/1.
        Http = 3 => "http",
        /// DNS over UDP or TCP.
        Dns = 4 => "dns",
        /// HTTP/2 in clear, with prior knowledge (RFC 9113 section 3.3).
        H2c = 5 => "h2c",
        /// A proxy is asked to connect, and the target says for whom; there is no `Host` (RFC 9110 section 9.3.6).
        Connect = 6 => "connect",
    }
}

coded! {
    /// How a name is known, weakest first: the order of the codes is the order of trust.
    ///
    /// Categories about people need [`Evidence::is_in_flow`]; an address alone never makes a record about anyone.
    pub enum Evidence {
        /// No name.
        None = 0 => "none",
        /// Only the server's address is listed.
        Address = 1 => "address",
        /// A DNS answer that the same client got before, within its TTL, unique for that address.
        DnsHint = 2 => "dns_hint",
        /// The flow is itself a DNS exchange about this name.
        Dns = 3 => "dns",
        /// `Host` or `:authority` of a request in clear.
        HttpHost = 4 => "http_host",
        /// Server name of a QUIC Initial.
        QuicSni = 5 => "quic_sni",
        /// Server name of a TLS ClientHello.
        Sni = 6 => "sni",
    }
}

impl Evidence {
    /// Whether the name was said in the flow itself, which every category about people requires.
    pub const fn is_in_flow(self) -> bool {
        matches!(self, Self::Sni | Self::QuicSni | Self::HttpHost)
    }
}

coded! {
    /// What happens to the frames of a flow.
    pub enum Action {
        /// Pass unchanged.
        Allow = 0 => "allow",
        /// Discard, counted as `policy`.
        Block = 1 => "block",
        /// Pass at a rate; discard what is over it, counted as `limit`.
        Limit = 2 => "limit",
        /// Pass, but for what is asked for in clear: that is answered with the notice that its client has not read yet.
        Notice = 3 => "notice",
    }
}

coded! {
    /// What may be written about a flow. See the design's table of levels.
    pub enum ObservationLevel {
        /// Only that a flow was not looked at.
        None = 0 => "none",
        /// Counts per group, service and hour; nothing about a device.
        Aggregate = 1 => "aggregate",
        /// Also a record per session, under a pseudonym, sealed.
        Sealed = 2 => "sealed",
    }
}

coded! {
    /// Why a flow was not observed. One counter each: they prove how much was not looked at.
    pub enum Unobserved {
        /// No purpose of the charter covers group and category; or the category is protected.
        NotCovered = 0 => "not_covered",
        /// No charter is in force.
        NoCharter = 1 => "no_charter",
        /// The device is private, a guest's, exempt or not known.
        PrivateDevice = 2 => "private_device",
        /// The calendar is closed.
        OffHours = 3 => "off_hours",
        /// The clock is not trusted, or the calendar does not reach this far.
        Undecided = 4 => "undecided",
        /// The verdicts ran out and were not renewed.
        Decayed = 5 => "decayed",
        /// Somebody has turned everything off.
        Bypass = 6 => "bypass",
    }
}

coded! {
    /// Why something may be looked at or acted on. A purpose bounds what may follow from it.
    pub enum Purpose {
        /// Malware, phishing, intrusion.
        Security = 1 => "security",
        /// Capacity of the network.
        Bandwidth = 2 => "bandwidth",
        /// Rules of conduct at work.
        Conduct = 3 => "conduct",
        /// Trends in looking for jobs.
        Recruitment = 4 => "recruitment",
        /// Loss of data.
        Leak = 5 => "leak",
    }
}

/// Some of the purposes, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purposes(u8);

impl Purposes {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// One.
    pub const fn one(purpose: Purpose) -> Self {
        Self(1 << (purpose as u8))
    }

    /// These and those.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether one of them is this.
    pub const fn has(self, purpose: Purpose) -> bool {
        self.0 & Self::one(purpose).0 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Purpose> {
        Purpose::ALL.iter().copied().filter(move |purpose| self.has(*purpose))
    }
}

coded! {
    /// Which way a frame of a flow goes.
    pub enum Direction {
        /// Client to server.
        Up = 0 => "up",
        /// Server to client.
        Down = 1 => "down",
    }
}

impl Direction {
    /// The other way.
    pub const fn reverse(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// `0` up, `1` down: for arrays that hold something per direction.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A service of the signature table. Ids are valid for one compiled pack; `0` is "no service".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

impl ServiceId {
    /// No service of the table matched.
    pub const NONE: Self = Self(0);
}

/// A group of subjects (a department). `0` is everybody who belongs to no group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u16);

/// A subject: somebody who is enrolled, by a number that means nothing outside of this process and is dealt anew at each
/// start. `0` is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectId(pub u32);

impl SubjectId {
    /// Nobody: not enrolled, or not told.
    pub const NOBODY: Self = Self(0);
}

/// What the matrix says about a flow: what happens to it, and what may be written about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// What happens to its frames.
    pub action: Action,
    /// What may be written.
    pub level: ObservationLevel,
}

impl Verdict {
    /// The verdict of last resort: traffic fails open, observation fails closed.
    pub const FAIL_OPEN: Self = Self { action: Action::Allow, level: ObservationLevel::None };
}

/// An address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub ip: IpAddr,
    /// The port, host order.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

/// Who talks to whom, by which transport; directed from client to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    /// The transport.
    pub l4: L4,
    /// Who opened the flow.
    pub client: Endpoint,
    /// Who was called.
    pub server: Endpoint,
}

impl std::fmt::Display for FiveTuple {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} > {}", self.l4, self.client, self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words_round_trip() {
        for e in Evidence::ALL {
            assert_eq!(Evidence::from_code(*e as u8), Some(*e));
            assert_eq!(Evidence::from_word(e.as_str()), Some(*e));
        }
        assert_eq!(Evidence::from_code(200), None);
        assert_eq!(Evidence::from_word("SNI"), None, "words are lower case");
    }

    #[test]
    fn stronger_evidence_has_the_greater_code() {
        assert!(Evidence::Sni > Evidence::HttpHost && Evidence::HttpHost > Evidence::DnsHint);
        assert!(Evidence::DnsHint > Evidence::Address);
        assert!(!Evidence::DnsHint.is_in_flow() && !Evidence::Address.is_in_flow());
    }
}
