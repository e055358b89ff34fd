//! Clues: what a flow shows besides a name.
//!
//! | scope in a source | name column | |
//! |---|---|---|
//! | `address` | `192.0.2.0/24`, `2001:db8::1`, `192.0.2.0/24,udp/51820`, `0.0.0.0/0,any/853-854` | address or prefix of the server, and its ports |
//! | `alpn` | `doq` | a protocol that the client offers (RFC 7301) |
//! | `ja4` | `t13d1516h2_8daaf6152771_b186095e22b6` | the software that sent the hello |
//!
//! A clue says what a flow is likely to be, not what somebody wanted: many sites share an address, and all users of one
//! browser a fingerprint. So clues are for categories that are not about people; the compiler refuses others, and a lookup
//! does not answer with them whatever the table says.

use crate::vocab::{L4, coded};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::matrix::address_key;

/// The longest ALPN identifier that is kept; registered ones have at most 21 bytes.
pub const MAX_ALPN: usize = 27;
/// The length of a JA4 fingerprint.
pub const JA4: usize = 36;
/// Prefixes shorter than these need a port: they hold too much to stand for one service.
const SHORTEST: [u8; 2] = [8, 16];

coded! {
    /// The kinds of clues.
    pub enum Kind {
        /// Address and port of the server.
        Address = 0 => "address",
        /// Application protocol.
        Alpn = 1 => "alpn",
        /// Fingerprint of a hello.
        Ja4 = 2 => "ja4",
    }
}

/// Addresses and ports of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The first address, as [`address_key`] writes it.
    pub address: [u8; 16],
    /// Bits that count, of 128.
    pub len: u8,
    /// The transport, if it matters.
    pub l4: Option<L4>,
    /// First and last port.
    pub ports: (u16, u16),
}

/// A clue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Clue {
    /// Where the server is.
    Address(Prefix),
    /// What the client offers.
    Alpn(Vec<u8>),
    /// Who sent the hello.
    Ja4([u8; JA4]),
}

impl Clue {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Address(_) => Kind::Address,
            Self::Alpn(_) => Kind::Alpn,
            Self::Ja4(_) => Kind::Ja4,
        }
    }

    /// Reads the name column of a source. An error says what is wrong, and what to do.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, (String, &'static str)> {
        match kind {
            Kind::Address => Prefix::parse(text).map(Self::Address),
            Kind::Alpn => {
                let good =
                    !text.is_empty() && text.len() <= MAX_ALPN && text.bytes().all(|b| b.is_ascii_graphic());
                let help = "write one identifier, such as `h2` or `doq`: 1 to 27 visible characters";
                if good {
                    Ok(Self::Alpn(text.into()))
                } else {
                    Err((format!("`{text}` is no ALPN identifier"), help))
                }
            }
            Kind::Ja4 => match <[u8; JA4]>::try_from(text.as_bytes()) {
                Ok(bytes) if is_ja4(&bytes) => Ok(Self::Ja4(bytes)),
                _ => Err((
                    format!("`{text}` is no JA4 fingerprint"),
                    "write it whole, such as `t13d1516h2_8daaf6152771_b186095e22b6`",
                )),
            },
        }
    }
}

impl fmt::Display for Clue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(prefix) => prefix.fmt(f),
            Self::Alpn(id) => f.write_str(&String::from_utf8_lossy(id)),
            Self::Ja4(text) => f.write_str(&String::from_utf8_lossy(text)),
        }
    }
}

impl Prefix {
    fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        const HELP: &str = "write `192.0.2.0/24`, `2001:db8::/32`, or with ports `192.0.2.0/24,udp/51820`, `…,tcp`, `…,any/80-81`";
        let bad = |what: String| Err((what, HELP));
        let (place, service) =
            text.split_once(',').map_or((text, None), |(place, service)| (place, Some(service)));
        let (address, bits) =
            place.split_once('/').map_or((place, None), |(address, bits)| (address, Some(bits)));
        let Ok(address) = address.parse::<IpAddr>() else {
            return bad(format!("`{address}` is no IP address"));
        };
        let (most, key) = (if address.is_ipv4() { 32 } else { 128 }, address_key(address));
        let bits = match bits {
            None => most,
            Some(bits) => match bits.parse::<u8>() {
                Ok(n) if n <= most && bits.bytes().all(|b| b.is_ascii_digit()) => n,
                _ => return bad(format!("`/{bits}` is no length of a prefix: 0 to {most}")),
            },
        };
        let len = bits + (128 - most);
        if key != masked(key, len) {
            return bad(format!("`{place}` has bits behind its prefix"));
        }
        let (l4, ports) = match service {
            None => (None, None),
            Some(service) => {
                let (l4, ports) =
                    service.split_once('/').map_or((service, None), |(l4, ports)| (l4, Some(ports)));
                let l4 = match l4 {
                    "any" => None,
                    word => match L4::from_word(word) {
                        Some(l4) => Some(l4),
                        None => return bad(format!("`{word}` is no transport: tcp, udp or any")),
                    },
                };
                let ports = match ports {
                    None => None,
                    Some(text) => match read_ports(text) {
                        Some(ports) => Some(ports),
                        None => return bad(format!("`{text}` is no port or range of ports")),
                    },
                };
                (l4, ports)
            }
        };
        let shortest = SHORTEST.get(usize::from(most == 128)).copied().unwrap_or(0);
        if ports.is_none() && bits < shortest {
            return bad(format!("`{place}` is too wide without a port: /{shortest} at least"));
        }
        Ok(Self { address: key, len, l4, ports: ports.unwrap_or((0, u16::MAX)) })
    }

    /// Whether an address is in the prefix. One of IPv4 is in none of IPv6, though it is written as one.
    pub fn holds(&self, address: &[u8; 16]) -> bool {
        self.spans(address) && (self.len >= V4_AT || !is_v4(address))
    }

    /// Whether a server at this address and port is meant.
    pub fn takes(&self, address: &[u8; 16], l4: L4, port: u16) -> bool {
        let (low, high) = self.ports;
        self.holds(address) && self.l4.is_none_or(|only| only == l4) && (low..=high).contains(&port)
    }

    /// Whether an address begins as the prefix does, whatever its family.
    pub(crate) fn spans(&self, address: &[u8; 16]) -> bool {
        masked(*address, self.len) == self.address
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [.., a, b, c, d] = self.address;
        if self.len >= V4_AT && is_v4(&self.address) {
            write!(f, "{}/{}", Ipv4Addr::new(a, b, c, d), self.len - V4_AT)?;
        } else {
            write!(f, "{}/{}", Ipv6Addr::from(self.address), self.len)?;
        }
        let l4 = self.l4.map_or("any", L4::as_str);
        match self.ports {
            (0, u16::MAX) if self.l4.is_none() => Ok(()),
            (0, u16::MAX) => write!(f, ",{l4}"),
            (low, high) if low == high => write!(f, ",{l4}/{low}"),
            (low, high) => write!(f, ",{l4}/{low}-{high}"),
        }
    }
}

/// Where the bits of an IPv4 address begin.
const V4_AT: u8 = 96;

fn is_v4(address: &[u8; 16]) -> bool {
    masked(*address, V4_AT) == masked(address_key(Ipv4Addr::UNSPECIFIED.into()), V4_AT)
}

/// The first `len` bits of an address.
pub(crate) fn masked(address: [u8; 16], len: u8) -> [u8; 16] {
    let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
    (u128::from_be_bytes(address) & mask).to_be_bytes()
}

fn read_ports(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (number(low)?, number(high)?);
    (low <= high).then_some((low, high))
}

/// Whether bytes have the shape of a fingerprint: `t13d1516h2_8daaf6152771_b186095e22b6`.
pub(crate) fn is_ja4(bytes: &[u8; JA4]) -> bool {
    bytes.iter().enumerate().all(|(i, b)| match i {
        0 => matches!(b, b't' | b'q' | b'd'),
        1 => matches!(b, b'0'..=b'9' | b's' | b'd'),
        3 => matches!(b, b'd' | b'i'),
        2 | 4..8 => b.is_ascii_digit(),
        8 | 9 => b.is_ascii_alphanumeric(),
        10 | 23 => *b == b'_',
        _ => b.is_ascii_hexdigit() && !b.is_ascii_uppercase(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, shown) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("192.0.2.0/24,udp/51820", "192.0.2.0/24,udp/51820"),
            ("0.0.0.0/0,any/853-854", "0.0.0.0/0,any/853-854"),
            ("::/0,tcp/853", "::/0,tcp/853"),
            ("198.51.100.0/24,tcp", "198.51.100.0/24,tcp"),
        ] {
            let Ok(Clue::Address(prefix)) = Clue::parse(Kind::Address, text) else { panic!("{text}") };
            assert_eq!(prefix.to_string(), shown);
        }
        for bad in [
            "",
            "x",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "192.0.2.0/+8",
            "192.0.2.0/",
            "0.0.0.0/0",
            "10.0.0.0/7",
            "::/0",
            "2000::/3",
            "192.0.2.1,sctp",
            "192.0.2.1,udp/",
            "192.0.2.1,udp/9-8",
            "192.0.2.1,udp/65536",
            "192.0.2.1,udp/1,2",
            "192.0.2.1:53",
            "192.0.2.1,udp/+5",
        ] {
            assert!(Clue::parse(Kind::Address, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn protocols_and_fingerprints() {
        assert_eq!(Clue::parse(Kind::Alpn, "doq"), Ok(Clue::Alpn(b"doq".to_vec())));
        for bad in ["", "a b", "é", &"x".repeat(28)] {
            assert!(Clue::parse(Kind::Alpn, bad).is_err(), "{bad}");
        }
        assert!(Clue::parse(Kind::Ja4, "t13d1516h2_8daaf6152771_b186095e22b6").is_ok());
        for bad in [
            "",
            "t13d1516h2_8daaf6152771_b186095e22b",
            "t13d1516h2_8DAAf6152771_b186095e22b6",
            "t13d1516h2-8daaf6152771_b186095e22b6",
            "T13d1516h2_8daaf6152771_b186095e22b6",
            "t13x1516h2_8daaf6152771_b186095e22b6",
            "t13d15a6h2_8daaf6152771_b186095e22b6",
        ] {
            assert!(Clue::parse(Kind::Ja4, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_hold_what_begins_alike() {
        let Ok(Clue::Address(prefix)) = Clue::parse(Kind::Address, "192.0.2.128/25") else { panic!() };
        let holds = |text: &str| prefix.holds(&address_key(text.parse().unwrap()));
        assert!(
            holds("192.0.2.128") && holds("192.0.2.255") && !holds("192.0.2.127") && !holds("2001:db8::1")
        );
        let Ok(Clue::Address(all)) = Clue::parse(Kind::Address, "::/0,udp/53") else { panic!() };
        assert!(all.holds(&address_key("2001:db8::1".parse().unwrap())));
        assert!(!all.holds(&address_key("192.0.2.1".parse().unwrap())), "the other family");
        assert_eq!(masked([255; 16], 0), [0; 16]);
        assert_eq!(masked([255; 16], 128), [255; 16]);
    }
}
