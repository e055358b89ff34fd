//! Codes in plain words, for people who did not write the gateway.

use glassgate_policy::{Evidence, Reason, Unobserved};

/// How a name is known.
pub(super) fn evidence(word: &str) -> &'static str {
    match Evidence::from_word(word) {
        Some(Evidence::Sni) => "TLS server name",
        Some(Evidence::QuicSni) => "QUIC server name",
        Some(Evidence::HttpHost) => "HTTP host",
        Some(Evidence::Dns) => "DNS question",
        Some(Evidence::DnsHint) => "earlier DNS answer",
        Some(Evidence::Address) => "address only",
        Some(Evidence::None) | None => "not known",
    }
}

/// Why a flow was not observed.
pub(super) fn unobserved(word: &str) -> &'static str {
    match Unobserved::from_word(word) {
        Some(Unobserved::NotCovered) => "no purpose covers them",
        Some(Unobserved::NoCharter) => "no charter is in force",
        Some(Unobserved::PrivateDevice) => "of private devices, guests and exempt people",
        Some(Unobserved::OffHours) => "outside of the hours that the charter names",
        Some(Unobserved::Undecided) => "the clock or the calendar can't be relied on",
        Some(Unobserved::Decayed) => "the verdicts ran out",
        Some(Unobserved::Bypass) => "the bypass was on",
        None => "for another reason",
    }
}

/// Why a flow has no name.
pub(super) fn reason(word: &str) -> &'static str {
    match Reason::from_word(word) {
        Some(Reason::ReasmCap) => "its beginning is longer than what is put together",
        Some(Reason::ReasmTimeout) => "a gap in its beginning was never filled",
        Some(Reason::FragCap) => "more fragments than are kept",
        Some(Reason::TinyFrag) => "the first fragment is too small",
        Some(Reason::ExthdrCap) => "too many extension headers",
        Some(Reason::Midstream) => "its beginning was not seen",
        Some(Reason::AmbiguousOverlap) => "the same bytes were sent twice, differently",
        Some(Reason::AmbiguousDecoy) => "a segment looks made to deceive",
        Some(Reason::MalformedL3) => "damaged IP header",
        Some(Reason::MalformedL4) => "damaged TCP, UDP or QUIC header",
        Some(Reason::MalformedTls) => "damaged TLS handshake",
        Some(Reason::MalformedSni) => "a server name that is no name",
        Some(Reason::MalformedHttp) => "damaged HTTP request",
        Some(Reason::MalformedDns) => "damaged DNS message",
        Some(Reason::NoSni) => "TLS without a server name",
        Some(Reason::EchOuter) => "the name is encrypted (ECH)",
        Some(Reason::QuicVersion) => "an unknown QUIC version",
        Some(Reason::QuicOffset) => "QUIC data too far ahead",
        Some(Reason::QuicMigrated) => "a QUIC flow that moved here",
        Some(Reason::Tunnel) => "inside a tunnel that is not looked into",
        Some(Reason::UnknownProto) => "no protocol that is known",
        Some(Reason::TableFull) => "the flow table was full",
        Some(Reason::SlowpathBusy) => "the slow path did not keep up",
        Some(Reason::Bypass) => "the gateway was bypassed",
        Some(Reason::NoBuffer) => "no room to put its beginning together",
        Some(Reason::NoPayload) => "the client sent nothing",
        #[allow(unreachable_patterns, reason = "reasons are added more often than this list is read")]
        Some(_) | None => "for another reason",
    }
}

/// What a frame without a flow is.
pub(super) fn frame(word: &str) -> String {
    let known = match word {
        "arp" => "ARP",
        "icmp" => "ICMP",
        "icmpv6" => "ICMPv6",
        "llc" => "LLC (spanning tree and the like)",
        "ethertype" => "other Ethernet protocols",
        "ip_protocol" => "other IP protocols",
        "fragments" => "IP fragments",
        _ => return word.replace('_', " "),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_words_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for r in Reason::ALL {
            assert!(seen.insert(reason(r.as_str())), "{r}: {}", reason(r.as_str()));
            assert_ne!(reason(r.as_str()), "for another reason");
        }
        for e in Evidence::ALL {
            assert!(seen.insert(evidence(e.as_str())), "{e}");
        }
    }
}
