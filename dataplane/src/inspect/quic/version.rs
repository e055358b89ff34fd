//! Which keys, labels and packet types belong to a version.

/// What a version number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// 0: version negotiation.
    Negotiation,
    /// Initials can be opened.
    Ietf(Profile),
    /// 0x?a?a?a?a: never a version of its own, sent to make the server negotiate (RFC 9000 section 15).
    Reserved,
    /// Anything else.
    Unknown,
}

/// How the Initials of a version are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) salt: Salt,
    /// Labels of RFC 9369 section 3.3.2 instead of RFC 9001 section 5.1.
    pub(super) v2_labels: bool,
    /// Packet types of RFC 9369 section 3.2 instead of RFC 9000 section 17.2.
    pub(super) v2_types: bool,
    /// What the frames look like and hold.
    pub(super) content: Content,
}

/// What an Initial holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Content {
    /// Frames of RFC 9000, with TLS in CRYPTO.
    #[default]
    Ietf,
    /// Frames numbered as Google did, with TLS in CRYPTO (T050, T051).
    GoogleTls,
    /// Frames numbered as Google did, with a CHLO in CRYPTO (Q050).
    GoogleChlo,
}

/// Which salt goes into the first key derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Salt {
    /// RFC 9001 section 5.2; drafts 33 and 34.
    V1,
    /// RFC 9369 section 3.3.1.
    V2,
    /// Drafts 29–32.
    Draft29,
    /// Drafts 23–28.
    Draft23,
    /// Drafts 21 and 22.
    Draft22,
    /// draft-ietf-quic-v2-00.
    V2Draft00,
    /// picoquic's internal version.
    Picoquic,
    /// Google QUIC Q050.
    Q050,
    /// Google QUIC T050.
    T050,
    /// Google QUIC T051.
    T051,
}

impl Salt {
    pub(super) const ALL: [Self; 10] = [
        Self::V1,
        Self::V2,
        Self::Draft29,
        Self::Draft23,
        Self::Draft22,
        Self::V2Draft00,
        Self::Picoquic,
        Self::Q050,
        Self::T050,
        Self::T051,
    ];

    pub(super) const fn bytes(self) -> [u8; 20] {
        match self {
            Self::V1 => hex(b"38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
            Self::V2 => hex(b"0dede3def700a6db819381be6e269dcbf9bd2ed9"),
            Self::Draft29 => hex(b"afbfec289993d24c9e9786f19c6111e04390a899"),
            Self::Draft23 => hex(b"c3eef712c72ebb5a11a7d2432bb46365bef9f502"),
            Self::Draft22 => hex(b"7fbcdb0e7c66bbe9193a96cd21519ebd7a02644a"),
            Self::V2Draft00 => hex(b"a707c203a59b47184a1d62ca570406ea7ae3e5d3"),
            Self::Picoquic => hex(b"306716d76375d5554b2f605eef78d8333dc1ca36"),
            Self::Q050 => hex(b"504574efd066fe2f9d945cfcdbd3a7f0d3b56b45"),
            Self::T050 => hex(b"7ff579e5acd072915580304c43a2367c60488310"),
            Self::T051 => hex(b"7a4edef4e7ccee5fa4506c19124fc8ccda6e033d"),
        }
    }
}

const fn hex(digits: &[u8; 40]) -> [u8; 20] {
    const fn nibble(digit: u8) -> u8 {
        if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
    }
    let mut out = [0; 20];
    let (chunks, _) = digits.as_chunks::<2>();
    let mut i = 0;
    let (mut from, mut to): (&[[u8; 2]], &mut [u8]) = (chunks, &mut out);
    while let ([[h, l], more @ ..], [byte, rest @ ..]) = (from, to) {
        *byte = nibble(*h) << 4 | nibble(*l);
        (from, to) = (more, rest);
        i += 1;
    }
    assert!(i == 20);
    out
}

const fn with(salt: Salt) -> Profile {
    Profile { salt, v2_labels: false, v2_types: false, content: Content::Ietf }
}

/// What a client that forces a negotiation protects its Initial with is its own choice; these are what clients use.
pub(super) const FOR_RESERVED: [Profile; 2] = [with(Salt::V1), with(Salt::Draft29)];

pub(super) fn family(version: u32) -> Family {
    Family::Ietf(match version {
        0 => return Family::Negotiation,
        1 => with(Salt::V1),
        0x6b33_43cf | 0x709a_50c4 => Profile { v2_labels: true, v2_types: true, ..with(Salt::V2) },
        0xff02_0000 => Profile { v2_labels: true, ..with(Salt::V2Draft00) },
        0xff00_0021..=0xff00_0022 => with(Salt::V1),
        0xff00_001d..=0xff00_0020 => with(Salt::Draft29),
        0xff00_0017..=0xff00_001c => with(Salt::Draft23),
        0xff00_0016 => with(Salt::Draft22),
        // mvfst: the first is near draft 22, the others near draft 27.
        0xface_b001 => with(Salt::Draft22),
        0xface_b002 | 0xface_b003 | 0xface_b00e | 0xface_b010 => with(Salt::Draft23),
        0x5043_5130 | 0x5043_5131 => with(Salt::Picoquic),
        0x5130_3530 => Profile { content: Content::GoogleChlo, ..with(Salt::Q050) },
        0x5430_3530 => Profile { content: Content::GoogleTls, ..with(Salt::T050) },
        0x5430_3531 => Profile { content: Content::GoogleTls, ..with(Salt::T051) },
        _ if version & 0x0f0f_0f0f == 0x0a0a_0a0a => return Family::Reserved,
        _ => return Family::Unknown,
    })
}
