//! What a flow is for: a name in canonical form.
//!
//! Canonical for a host name is: ASCII lower case, no trailing dot, 1–253 bytes, labels of 1–63 bytes out of letters,
//! digits, hyphen and underscore (RFC 1123 section 2.1, RFC 2181 section 11, and underscores as they occur). A name is
//! a small value without allocation, because the fast path makes one per flow.
//!
//! Two things that are no host names are said where a host name is expected, often enough to be reported: an IP
//! literal (the `Host` of a request to a bare address) and a DNS question with other bytes in it, or for the root.
//! [`Kind`] tells them apart. Neither matches a domain of the signature table, so neither says anything about anyone.

use crate::reason::Reason;

/// The longest name, without its trailing dot (RFC 1035 section 3.1).
pub const MAX_LEN: usize = 253;

/// A name in canonical form.
#[derive(Clone, Copy)]
pub struct Name {
    len: u8,
    kind: Kind,
    bytes: [u8; MAX_LEN],
}

/// What a [`Name`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A host name.
    Host,
    /// An IP literal as it was written, IPv6 in brackets.
    Address,
    /// A domain name of DNS that is no host name: other bytes in its labels (RFC 2181 section 11 allows any), or the
    /// root.
    Odd,
}

const _: () = assert!(size_of::<Name>() == 255);

/// Stands for a dot inside a label of an [`Kind::Odd`] name. Canonical bytes hold no upper-case letter otherwise, so
/// a comparison by suffix cannot take such a dot for the end of a label: `a\.example.com` is not under `example.com`.
const DOT_IN_LABEL: u8 = b'D';

/// Why bytes are no host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or only a dot.
    #[error("the name is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("the name is longer than {MAX_LEN} bytes")]
    TooLong,
    /// A label is empty or longer than 63 bytes.
    #[error("a label is empty or longer than 63 bytes")]
    BadLabel,
    /// A byte that no host name has.
    #[error("the name has byte {0:#04x}")]
    BadByte(u8),
    /// An IP literal, which names nobody (RFC 6066 section 3 forbids it as a server name).
    #[error("the name is an IP address")]
    IpLiteral,
}

impl NameError {
    /// The reason for a flow whose server name failed this way.
    pub const fn sni_reason(self) -> Reason {
        match self {
            Self::IpLiteral => Reason::NoSni,
            _ => Reason::MalformedSni,
        }
    }
}

impl Name {
    /// Canonicalizes a host name as it stood on the wire: folds case, takes one trailing dot off, checks the shape.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let wire = wire.strip_suffix(b".").unwrap_or(wire);
        if wire.is_empty() {
            return Err(NameError::Empty);
        }
        if wire.len() > MAX_LEN {
            return Err(NameError::TooLong);
        }
        let mut bytes = [0u8; MAX_LEN];
        let (mut label, mut dots, mut seen) = (0usize, 0usize, 0);
        for (to, from) in bytes.iter_mut().zip(wire) {
            let (class, byte) = class::of(*from);
            *to = byte;
            seen |= class;
            label += 1;
            if class & (class::DOT | class::ODD) != 0 || label > 63 {
                match byte {
                    b'.' if label > 1 => (label, dots) = (0, dots + 1),
                    _ if class & class::ODD != 0 => {
                        return Err(if wire.contains(&b':') {
                            bad_or_ipv6(wire, byte)
                        } else {
                            NameError::BadByte(byte)
                        });
                    }
                    _ => return Err(NameError::BadLabel),
                }
            }
        }
        if label == 0 {
            return Err(NameError::BadLabel);
        }
        if dots == 3 && seen & class::NO_DIGIT == 0 {
            return Err(NameError::IpLiteral);
        }
        Ok(Self { len: wire.len() as u8, kind: Kind::Host, bytes })
    }

    /// Canonicalizes the host of a URI authority (RFC 3986 section 3.2.2), without port and user: a host name, or an
    /// IP literal, which keeps its spelling but for the case (a server name may not be one, a `Host` may).
    pub fn from_host(wire: &[u8]) -> Result<Self, NameError> {
        match Self::from_wire(wire) {
            Err(NameError::IpLiteral) => {
                let bare = wire.strip_suffix(b".").unwrap_or(wire);
                let bracketed = bare.starts_with(b"[") && bare.ends_with(b"]");
                if bare.contains(&b':') != bracketed {
                    return Err(NameError::BadByte(b':'));
                }
                let mut name = Self { len: 0, kind: Kind::Address, bytes: [0; MAX_LEN] };
                for byte in bare {
                    name.push(byte.to_ascii_lowercase())?;
                }
                Ok(name)
            }
            other => other,
        }
    }

    /// Canonicalizes a domain name of DNS, given as its labels without the empty one of the root. Any byte is allowed
    /// in a label; the kind says whether it is a host name all the same.
    ///
    /// Errors: [`NameError::BadLabel`] for an empty label or one of more than 63 bytes, [`NameError::TooLong`].
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NameError> {
        let mut bytes = [0; MAX_LEN];
        let (mut len, mut dots, mut seen) = (0usize, 0usize, 0);
        for label in labels {
            if label.is_empty() || label.len() > 63 {
                return Err(NameError::BadLabel);
            }
            if len > 0 {
                *bytes.get_mut(len).ok_or(NameError::TooLong)? = b'.';
                (len, dots) = (len + 1, dots + 1);
            }
            let end = len + label.len();
            let into = bytes.get_mut(len..end).ok_or(NameError::TooLong)?;
            for (to, from) in into.iter_mut().zip(label) {
                let (class, byte) = class::of(*from);
                *to = if class & class::DOT == 0 { byte } else { DOT_IN_LABEL };
                seen |= class;
            }
            len = end;
        }
        let kind = if len == 0 || seen & (class::ODD | class::DOT) != 0 {
            Kind::Odd
        } else if dots == 3 && seen & class::NO_DIGIT == 0 {
            Kind::Address
        } else {
            Kind::Host
        };
        Ok(Self { len: len as u8, kind, bytes })
    }

    /// What it is. Only a [`Kind::Host`] is looked up in the signature table.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    fn push(&mut self, byte: u8) -> Result<(), NameError> {
        let slot = self.bytes.get_mut(usize::from(self.len)).ok_or(NameError::TooLong)?;
        *slot = byte;
        self.len += 1;
        Ok(())
    }

    /// The canonical bytes: labels joined by dots. None for the root.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The canonical bytes and what is behind them: so that they can be read a word at a time.
    #[inline]
    pub(crate) const fn buffer(&self) -> &[u8; MAX_LEN] {
        &self.bytes
    }

    /// The canonical text of a host name or address. An odd name has none that is unambiguous and gives the empty text:
    /// [`Display`](std::fmt::Display) writes every kind.
    pub fn as_str(&self) -> &str {
        match self.kind {
            Kind::Odd => "",
            Kind::Host | Kind::Address => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
        }
    }
}

/// What each byte is in a name. Two tables of four lines each: three instructions a byte, where comparing took fifteen.
#[expect(clippy::indexing_slicing, reason = "every byte is an index of a table of 256")]
mod class {
    /// No digit and no dot.
    pub(super) const NO_DIGIT: u8 = 1;
    /// A dot.
    pub(super) const DOT: u8 = 2;
    /// No byte of a host name.
    pub(super) const ODD: u8 = 4;

    /// The class of a byte, and the byte as it stands in a canonical name.
    #[inline(always)]
    pub(super) const fn of(byte: u8) -> (u8, u8) {
        (OF[byte as usize], CANONICAL[byte as usize])
    }

    const OF: [u8; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = match byte as u8 {
                b'0'..=b'9' => 0,
                b'.' => DOT,
                b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => NO_DIGIT,
                _ => NO_DIGIT | ODD,
            };
            byte += 1;
        }
        table
    };

    const CANONICAL: [u8; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = (byte as u8).to_ascii_lowercase();
            byte += 1;
        }
        table
    };
}

fn bad_or_ipv6(wire: &[u8], byte: u8) -> NameError {
    let literal = std::str::from_utf8(wire).ok().map(|t| t.trim_start_matches('[').trim_end_matches(']'));
    match literal.map(str::parse::<std::net::Ipv6Addr>) {
        Some(Ok(_)) => NameError::IpLiteral,
        _ => NameError::BadByte(byte),
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Host names and addresses as they are; of odd names the root as `.`, and every byte that is no visible ASCII and the
/// backslash as `\xNN` in lower case. A dot inside a label shows as a dot, as in other tools: the text of an odd name
/// is for reading, only its bytes are for comparing.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.kind != Kind::Odd {
            return f.write_str(self.as_str());
        }
        if self.len == 0 {
            return f.write_str(".");
        }
        for byte in self.as_bytes() {
            match *byte {
                DOT_IN_LABEL => f.write_str(".")?,
                b'\\' => f.write_str("\\x5c")?,
                0x21..=0x7e => std::fmt::Write::write_char(f, char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form() {
        assert_eq!(Name::from_wire(b"WWW.Zhipin.COM.").unwrap().as_str(), "www.zhipin.com");
        assert_eq!(Name::from_wire(b"_sip._tcp.example.org").unwrap().as_str(), "_sip._tcp.example.org");
        assert_eq!(Name::from_wire(b"localhost").unwrap().as_str(), "localhost");
    }

    #[test]
    fn what_is_no_name() {
        assert_eq!(Name::from_wire(b""), Err(NameError::Empty));
        assert_eq!(Name::from_wire(b"."), Err(NameError::Empty));
        assert_eq!(Name::from_wire(b"a..b"), Err(NameError::BadLabel));
        assert_eq!(Name::from_wire(b".a"), Err(NameError::BadLabel));
        assert_eq!(Name::from_wire(&[b'a'; 64]), Err(NameError::BadLabel));
        assert_eq!(Name::from_wire(&b"ab.".repeat(86)), Err(NameError::TooLong));
        assert_eq!(Name::from_wire(b"a\0b"), Err(NameError::BadByte(0)));
        assert_eq!(Name::from_wire(b"192.0.2.7"), Err(NameError::IpLiteral));
        assert_eq!(Name::from_wire(b"2001:db8::1"), Err(NameError::IpLiteral));
        assert_eq!(Name::from_wire(b"[2001:db8::1]"), Err(NameError::IpLiteral));
    }

    #[test]
    fn hosts_of_authorities() {
        let host = |wire: &[u8]| Name::from_host(wire).map(|n| (n.to_string(), n.kind()));
        assert_eq!(host(b"WWW.Example.COM."), Ok(("www.example.com".into(), Kind::Host)));
        assert_eq!(host(b"192.0.2.7"), Ok(("192.0.2.7".into(), Kind::Address)));
        assert_eq!(
            host(b"10.000.000.001"),
            Ok(("10.000.000.001".into(), Kind::Address)),
            "as it was written"
        );
        assert_eq!(host(b"[2001:DB8::1]"), Ok(("[2001:db8::1]".into(), Kind::Address)));
        assert_eq!(host(b"2001:db8::1"), Err(NameError::BadByte(b':')), "its last group could be a port");
        assert_eq!(host(b"[::1"), Err(NameError::BadByte(b':')));
        assert_eq!(host(b"[fe80::1%25eth0]"), Err(NameError::BadByte(b'[')));
        assert_eq!(host(b"[192.0.2.7]"), Err(NameError::BadByte(b'[')));
        assert_eq!(host(b""), Err(NameError::Empty));
    }

    #[test]
    fn domain_names_of_dns() {
        let dns =
            |labels: &[&[u8]]| Name::from_labels(labels.iter().copied()).map(|n| (n.to_string(), n.kind()));
        assert_eq!(dns(&[b"wWw", b"eXample", b"cOm"]), Ok(("www.example.com".into(), Kind::Host)));
        assert_eq!(dns(&[]), Ok((".".into(), Kind::Odd)));
        assert_eq!(dns(&[b"\\"]), Ok(("\\x5c".into(), Kind::Odd)));
        assert_eq!(dns(&[b"*", b"a b\xff", b"'"]), Ok(("*.a\\x20b\\xff.'".into(), Kind::Odd)));
        assert_eq!(dns(&[b"1", b"2", b"3", b"4"]), Ok(("1.2.3.4".into(), Kind::Address)));
        assert_eq!(dns(&[b"a", b"", b"b"]), Err(NameError::BadLabel));
        assert_eq!(dns(&[&[b'a'; 64]]), Err(NameError::BadLabel));
        assert_eq!(dns(&[&[b'a'; 63], &[b'b'; 63], &[b'c'; 63], &[b'd'; 61]]).map(|n| n.0.len()), Ok(253));
        assert_eq!(dns(&[&[b'a'; 63], &[b'b'; 63], &[b'c'; 63], &[b'd'; 62]]), Err(NameError::TooLong));
    }

    #[test]
    fn a_dot_in_a_label_ends_no_label() {
        let odd = Name::from_labels([b"evil.example".as_slice(), b"com"]).unwrap();
        assert_eq!(odd.to_string(), "evil.example.com");
        assert!(!odd.as_bytes().ends_with(b".example.com"));
        assert_ne!(odd, Name::from_wire(b"evildexample.com").unwrap());
        assert_ne!(odd, Name::from_wire(b"evil.example.com").unwrap());
        assert_eq!(odd.as_str(), "", "no text that could be taken for another name");
    }
}
