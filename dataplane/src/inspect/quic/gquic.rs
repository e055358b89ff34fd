//! Google QUIC before it took over TLS: the client's first message is a CHLO, a table of tags, with the name under `SNI`.
//!
//! ```text
//!  "CHLO" count(2, little endian) padding(2)  count × [tag(4) end(4, little endian)]  values, one behind the other
//! ```
//!
//! In clear up to Q049, with Initial protection in Q050. Where it stands in the packet depends on the version in half a
//! dozen ways (public flags, private flags, length of the packet number, stream frame); it is searched for within the
//! first bytes instead, behind a header that must name a version.

use glassgate_policy::Reason;

use crate::inspect::bytes::Bytes;
use crate::inspect::tls::{ClientHello, Framing, ServerName};
use crate::probe::Probe;

/// The longest way from the beginning of a packet to its CHLO: 60 bytes in any version.
const SEARCH: usize = 96;
/// More tags are not looked at; clients send about 25.
const MAX_TAGS: usize = 128;

/// Whether a datagram begins with the public header of Q001–Q043 with its version, which clients send until the server has
/// answered: flags, connection id of 8 bytes or none, version.
pub(super) fn has_public_header(datagram: &[u8]) -> bool {
    let version = match *datagram {
        [flags, ..] if flags & 0x83 != 0x01 => return false,
        [flags, ..] if flags & 0x08 != 0 => datagram.get(9..13),
        _ => datagram.get(1..5),
    };
    matches!(version, Some([b'Q', b'0', d, u]) if d.is_ascii_digit() && u.is_ascii_digit())
}

/// Whether a datagram begins with the long header of Q044–Q049, whose connection ids have their lengths in four bits each
/// and so do not parse as those of RFC 8999.
pub(super) fn has_long_header(datagram: &[u8]) -> bool {
    matches!(datagram, [_, b'Q', b'0', b'4', b'4'..=b'9', ..])
}

/// The CHLO of a packet in clear.
pub(super) fn find_chlo(datagram: &[u8]) -> Option<&[u8]> {
    let at = datagram.get(..SEARCH.min(datagram.len()))?.windows(4).position(|w| w == b"CHLO")?;
    datagram.get(at..)
}

/// The name in a CHLO: as far as the packet goes, the rest is not needed. None if the name is not within it.
pub(super) fn chlo(message: &[u8]) -> Option<Result<ServerName, Reason>> {
    let mut b = Bytes::new(message.strip_prefix(b"CHLO")?);
    let count = usize::from(u16::from_le_bytes(b.array()?));
    b.take(2)?;
    let table = b.take(count.min(MAX_TAGS) * 8)?;
    let mut start = 0;
    for entry in table.as_chunks::<8>().0 {
        let [t0, t1, t2, t3, end @ ..] = *entry;
        let end = usize::try_from(u32::from_le_bytes(end)).ok()?;
        if [t0, t1, t2, t3] == *b"SNI\0" {
            let values = message.get(8 + count * 8..)?;
            return Some(ServerName::from_wire(values.get(start..end)?));
        }
        start = end;
    }
    Some(Ok(ServerName::Absent))
}

/// The answer for a CHLO.
pub(super) fn hello(name: Result<ServerName, Reason>, end: usize) -> Probe<ClientHello> {
    match name {
        Ok(server_name) => Probe::Done(ClientHello::bare(server_name, Framing::Gquic, end)),
        Err(reason) => Probe::Malformed(reason),
    }
}
