//! DNS that is encrypted: known by port or ALPN, its questions never guessed.

use glassgate_policy::L4;

/// The ways of encrypting DNS that show themselves. DNS over HTTPS does not: it is known by the name of its resolver,
/// which the signature table lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encrypted {
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over QUIC (RFC 9250).
    Quic,
}

/// Whether a flow that carries TLS or QUIC is encrypted DNS: by the port of its server, or by an ALPN protocol of its
/// client (one identifier, without its length).
///
/// Ports: 853 (RFC 7858, RFC 9250), and 784 and 8853 of drafts of DNS over QUIC. ALPN: `dot`, `doq` and `doq-i…` of drafts.
pub fn encrypted(l4: L4, server_port: u16, alpn: Option<&[u8]>) -> Option<Encrypted> {
    let by_alpn = match alpn {
        Some(b"dot") => Some(Encrypted::Tls),
        Some(alpn) if alpn == b"doq" || alpn.starts_with(b"doq-i") => Some(Encrypted::Quic),
        _ => None,
    };
    let by_port = match (l4, server_port) {
        (L4::Tcp, 853) => Some(Encrypted::Tls),
        (L4::Udp, 784 | 853 | 8853) => Some(Encrypted::Quic),
        _ => None,
    };
    by_alpn.or(by_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_port_or_alpn() {
        assert_eq!(encrypted(L4::Tcp, 853, None), Some(Encrypted::Tls));
        assert_eq!(encrypted(L4::Udp, 853, Some(b"doq")), Some(Encrypted::Quic));
        assert_eq!(encrypted(L4::Udp, 8853, None), Some(Encrypted::Quic));
        assert_eq!(encrypted(L4::Udp, 784, None), Some(Encrypted::Quic));
        assert_eq!(encrypted(L4::Tcp, 443, Some(b"dot")), Some(Encrypted::Tls));
        assert_eq!(encrypted(L4::Udp, 443, Some(b"doq-i02")), Some(Encrypted::Quic));
        assert_eq!(encrypted(L4::Udp, 443, Some(b"h3")), None);
        assert_eq!(encrypted(L4::Tcp, 443, Some(b"h2")), None);
        assert_eq!(encrypted(L4::Tcp, 8853, None), None);
    }
}
