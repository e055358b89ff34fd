//! Takes the XDP program off an interface that a data plane has left, so that the kernel gets its frames again.
//!
//! The program is put there by DPDK. The data plane can't take it off itself: after start it may not open the socket
//! that this takes, and a killed one could not anyway. One netlink request with `IFLA_XDP_FD` = -1 (linux/if_link.h).

use super::netlink;
use std::io;

const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;

/// Takes the program off. An interface without one is no error.
pub(super) fn detach(interface: &str) -> io::Result<()> {
    let none = netlink::attribute(IFLA_XDP_FD, &(-1i32).to_ne_bytes());
    netlink::change(netlink::index(interface)?, 0, 0, &netlink::nested(IFLA_XDP, &none))
}

#[cfg(test)]
mod tests {
    use super::*;

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
