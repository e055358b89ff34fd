//! Why a flow has no name: a closed list, one counter each.
//!
//! Every flow ends with a name and its evidence, or with exactly one of these. "Unclassified with a reason" is a
//! correct answer; a wrong name is a fault. The words are part of the replay contract, the metrics and the page.

use crate::vocab::coded;

coded! {
    /// Why a flow has no name.
    pub enum Reason {
        /// The first client bytes exceed what is reassembled for one flow (16 KiB, 64 ranges).
        ReasmCap = 1 => "reasm_cap",
        /// A gap in the client's bytes was not filled in time.
        ReasmTimeout = 2 => "reasm_timeout",
        /// Fragments exceed what is kept for one datagram or in all.
        FragCap = 3 => "frag_cap",
        /// The first fragment is too small to hold the transport header.
        TinyFrag = 4 => "tiny_frag",
        /// More IPv6 extension headers than are walked.
        ExthdrCap = 5 => "exthdr_cap",
        /// The beginning was not seen and what was seen does not parse from its first byte.
        Midstream = 6 => "midstream",
        /// The same bytes were sent twice with different content.
        AmbiguousOverlap = 7 => "ambiguous_overlap",
        /// A segment looks made to deceive (its TTL or options differ from the flow's), and disagrees.
        AmbiguousDecoy = 8 => "ambiguous_decoy",
        /// Bad IP header.
        MalformedL3 = 9 => "malformed_l3",
        /// Bad TCP, UDP or QUIC header.
        MalformedL4 = 10 => "malformed_l4",
        /// Bad TLS records or handshake.
        MalformedTls = 11 => "malformed_tls",
        /// A server name that is no name.
        MalformedSni = 12 => "malformed_sni",
        /// Bad HTTP request head.
        MalformedHttp = 13 => "malformed_http",
        /// Bad DNS message.
        MalformedDns = 14 => "malformed_dns",
        /// A ClientHello without a server name.
        NoSni = 15 => "no_sni",
        /// Encrypted ClientHello: what stands outside is not the name.
        EchOuter = 16 => "ech_outer",
        /// A QUIC version that is not known.
        QuicVersion = 17 => "quic_version",
        /// CRYPTO offsets beyond what is kept.
        QuicOffset = 18 => "quic_offset",
        /// A QUIC flow that moved here, its beginning elsewhere.
        QuicMigrated = 19 => "quic_migrated",
        /// Carried in a tunnel that is not looked into.
        Tunnel = 20 => "tunnel",
        /// No protocol that is known.
        UnknownProto = 21 => "unknown_proto",
        /// The flow table is full.
        TableFull = 22 => "table_full",
        /// The slow path does not keep up.
        SlowpathBusy = 23 => "slowpath_busy",
        /// The gateway was in bypass.
        Bypass = 24 => "bypass",
        /// The slab for reassembly is full.
        NoBuffer = 25 => "no_buffer",
        /// No payload was sent by the client.
        NoPayload = 26 => "no_payload",
        /// An inspector panicked over a frame of it: a fault of the gateway, whatever the frame says.
        InspectorPanic = 27 => "inspector_panic",
    }
}

impl Reason {
    /// The width of an array indexed by reason.
    pub const SLOTS: usize = 32;
}

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const _: () = {
    let mut i = 0;
    while i < Reason::ALL.len() {
        assert!((Reason::ALL[i] as usize) < Reason::SLOTS);
        i += 1;
    }
};
