//! Takes the XDP program off an interface that a data plane has left, so that the kernel gets its frames again.
//!
//! The program is put there by DPDK. The data plane can't take it off itself: after start it may not open the socket
//! that this takes, and a killed one could not anyway. One netlink request, `RTM_SETLINK` with `IFLA_XDP_FD` = -1
//! (rtnetlink(7), linux/if_link.h).

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::io;

const RTM_SETLINK: u16 = 19;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const NLMSG_ERROR: u16 = 2;
const IFLA_XDP: u16 = 43;
const NLA_F_NESTED: u16 = 0x8000;
const IFLA_XDP_FD: u16 = 1;
/// Header, `ifinfomsg`, nested attribute with one attribute of four bytes.
const LEN: usize = 16 + 16 + 4 + 8;

/// Takes the program off. An interface without one is no error.
pub(super) fn detach(interface: &str) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    // Protocol 0 of this family is NETLINK_ROUTE; without an address a message goes to the kernel.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let request = request(name_to_index(&socket, interface)?);
    send(&socket, &request, SendFlags::empty())?;
    let mut answer = [0u8; 512];
    let (_, len) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    verdict(answer.get(..len).unwrap_or_default())
}

fn request(index: u32) -> [u8; LEN] {
    let mut out = [0; LEN];
    let parts: [&[u8]; 10] = [
        &(LEN as u32).to_ne_bytes(),
        &RTM_SETLINK.to_ne_bytes(),
        &NLM_F_REQUEST_ACK.to_ne_bytes(),
        // Sequence and port: one request, one answer. Then family, padding and type of the interface: unspecified.
        &[0; 12],
        &index.to_ne_bytes(),
        // No interface flags change.
        &[0; 8],
        &attribute(12, IFLA_XDP | NLA_F_NESTED),
        &attribute(8, IFLA_XDP_FD),
        &(-1i32).to_ne_bytes(),
        &[],
    ];
    let mut bytes = parts.concat().into_iter();
    out.fill_with(|| bytes.next().unwrap_or(0));
    out
}

fn attribute(len: u16, kind: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (len.to_ne_bytes(), kind.to_ne_bytes());
    [a, b, c, d]
}

/// The error number in the acknowledgement; 0 is none.
fn verdict(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::Error::other("an answer that is none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_as_long_as_it_says() {
        let request = request(7);
        assert_eq!(u32::from_ne_bytes(request[..4].try_into().unwrap()) as usize, request.len());
        assert_eq!(request[20..24], 7u32.to_ne_bytes());
        assert_eq!(request[40..], [0xff; 4]);
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(detach("no-such-if").is_err());
    }

    /// Root may, and there is nothing to take off; everybody else may not.
    #[test]
    fn an_interface_without_a_program_is_fine() {
        match detach("lo") {
            Ok(()) => {}
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::PermissionDenied, "{e}"),
        }
    }
}
