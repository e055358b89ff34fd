//! What a flow is for: a host name in canonical form.
//!
//! Canonical is: ASCII lower case, no trailing dot, 1–253 bytes, labels of 1–63 bytes out of letters, digits,
//! hyphen and underscore (RFC 1123 section 2.1, RFC 2181 section 11, and underscores as they occur). A name is a small
//! value without allocation, because the fast path makes one per flow.

use crate::reason::Reason;

/// The longest name, without its trailing dot (RFC 1035 section 3.1).
pub const MAX_LEN: usize = 253;

/// A host name in canonical form.
#[derive(Clone, Copy)]
pub struct Name {
    len: u8,
    bytes: [u8; MAX_LEN],
}

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
        let (mut label, mut dots, mut digits_only) = (0usize, 0usize, true);
        for (to, from) in bytes.iter_mut().zip(wire) {
            let byte = from.to_ascii_lowercase();
            match byte {
                b'.' => {
                    if label == 0 {
                        return Err(NameError::BadLabel);
                    }
                    (label, dots) = (0, dots + 1);
                }
                b'a'..=b'z' | b'-' | b'_' | b'0'..=b'9' => {
                    label += 1;
                    digits_only &= byte.is_ascii_digit();
                    if label > 63 {
                        return Err(NameError::BadLabel);
                    }
                }
                _ => {
                    return Err(if wire.contains(&b':') {
                        bad_or_ipv6(wire, byte)
                    } else {
                        NameError::BadByte(byte)
                    });
                }
            }
            *to = byte;
        }
        if label == 0 {
            return Err(NameError::BadLabel);
        }
        if dots == 3 && digits_only {
            return Err(NameError::IpLiteral);
        }
        Ok(Self { len: wire.len() as u8, bytes })
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The canonical text: ASCII by construction.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
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
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Name({})", self.as_str())
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
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
}
