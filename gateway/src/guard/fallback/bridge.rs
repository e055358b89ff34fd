//! A kernel bridge between the two ports, made to be a cable: it learns nothing, filters nothing, says nothing and has no address.
//!
//! ```text
//!  port A ──XDP program──► socket of the fast path ──► port B        the fast path lives
//!     └──────(no socket)─────► kernel bridge ────────► port B        it doesn't
//! ```
//!
//! libxdp's program gives a frame to the socket of its queue, and to the kernel where there is none; sockets go with their process. So there
//! is nothing to switch, and no frame is forwarded by both. Where a card has more queues than there are lcores, the frames of the others are
//! forwarded by the bridge at all times.
//!
//! *Learning* is off since a bridge that learned where somebody is keeps frames from them for minutes when they move; with two ports a frame
//! that goes to the other one is where it belongs. *Group addresses* that bridges keep to themselves (IEEE 802.1Q, table 8-1: LLDP, LACP,
//! 802.1X, spanning trees) are passed on but for pause frames, which the kernel refuses to.
//!
//! The machine must not be reachable by the bridge, whose own stack is as open as any interface's: it doesn't speak ARP, refuses
//! every IPv4 source that it has no route to, of which it has none, and has no IPv6.

use super::super::netlink::{self, attribute};
use std::fmt;
use std::io;
use std::path::Path;

/// What it is called. The kernel takes up to 15 letters.
const NAME: &str = "glassgate0";
const IFF_NOARP: u32 = 1 << 7;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_GROUP_FWD_MASK: u16 = 9;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_MCAST_FLOOD: u16 = 27;
const IFLA_BRPORT_BCAST_FLOOD: u16 = 30;
const IFLA_BRPORT_GROUP_FWD_MASK: u16 = 31;
/// All but those that the kernel keeps for the whole bridge: spanning trees, pause frames, LACP.
const BRIDGE_GROUPS: u16 = 0xfff8;
/// A port may pass spanning trees and LACP as well.
const PORT_GROUPS: u16 = 0xfffd;
/// Keys of `/proc/sys/net` that keep everybody out of the machine by the bridge, and what they are to be.
const CLOSED: [(&str, &str); 4] = [
    ("ipv4/conf/glassgate0/rp_filter", "1"),
    ("ipv4/conf/glassgate0/arp_ignore", "8"),
    ("ipv4/conf/glassgate0/forwarding", "0"),
    ("ipv6/conf/glassgate0/disable_ipv6", "1"),
];

/// The bridge of two ports.
pub(super) struct Bridge {
    ports: [String; 2],
    /// The ports are under it all the time.
    standing: bool,
    /// Somebody else made it.
    foreign: bool,
}

impl Bridge {
    /// Makes the bridge, unless both ports are under one already, which is then taken as it is. The error is why there can't be one.
    pub(super) fn prepare(ports: [&str; 2], standing: bool) -> Result<Self, String> {
        let ours = make().map_err(|e| format!("a bridge can't be made: {e}"))?;
        let mut masters = [None; 2];
        for (master, port) in masters.iter_mut().zip(ports) {
            *master =
                netlink::index(port).and_then(netlink::ask).map_err(|e| format!("`{port}`: {e}"))?.master;
        }
        let other = masters.iter().flatten().any(|master| *master != ours);
        if other && masters[0] != masters[1] {
            return Err(format!("one of `{}` and `{}` is under something else already", ports[0], ports[1]));
        }
        let bridge = Self { ports: ports.map(str::to_owned), standing: standing || other, foreign: other };
        if other && !standing {
            return Err(
                "both ports are under a bridge already, and would forward every frame twice".to_owned()
            );
        }
        // Before the first data plane: frames pass from now on.
        bridge.engage().map_err(|e| format!("the ports can't be put under a bridge: {e}"))?;
        Ok(bridge)
    }

    pub(super) fn engage(&self) -> io::Result<()> {
        for port in &self.ports {
            if !self.foreign {
                put_under(netlink::index(port)?)?;
            }
        }
        Ok(())
    }

    pub(super) fn make_way(&self) -> io::Result<()> {
        if self.standing {
            return Ok(());
        }
        self.ports.iter().try_for_each(|port| netlink::take_out(netlink::index(port)?))
    }
}

impl fmt::Display for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [lan, uplink] = &self.ports;
        match (self.foreign, self.standing) {
            (true, _) => write!(f, "the bridge that `{lan}` and `{uplink}` are under, as it is"),
            (_, true) => write!(f, "the kernel bridge `{NAME}` lies under `{lan}` and `{uplink}`"),
            (_, false) => {
                write!(f, "the kernel bridge `{NAME}` takes `{lan}` and `{uplink}` when they are free")
            }
        }
    }
}

/// Makes the bridge if it is not there, and closes it. Its index.
pub(super) fn make() -> io::Result<u32> {
    let data = [
        attribute(IFLA_BR_STP_STATE, &0u32.to_ne_bytes()),
        attribute(IFLA_BR_GROUP_FWD_MASK, &BRIDGE_GROUPS.to_ne_bytes()),
        attribute(IFLA_BR_MCAST_SNOOPING, &[0]),
    ]
    .concat();
    match netlink::create(NAME, "bridge", &data) {
        // That of a predecessor.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    // Closed before it is set up: an address of the link's own would be announced.
    close(Path::new("/proc/sys/net"))?;
    let bridge = netlink::index(NAME)?;
    netlink::change(bridge, IFF_NOARP, IFF_NOARP, &[])?;
    netlink::set_up(bridge, true)?;
    Ok(bridge)
}

fn close(root: &Path) -> io::Result<()> {
    for (key, value) in CLOSED {
        match std::fs::write(root.join(key), value) {
            // A kernel without IPv6 has nothing to close.
            Err(e) if e.kind() == io::ErrorKind::NotFound && key.starts_with("ipv6/") => {}
            other => other.map_err(|e| io::Error::new(e.kind(), format!("/proc/sys/net/{key}: {e}")))?,
        }
    }
    Ok(())
}

/// Puts a port under the bridge and sets it up. The port is told by its index.
pub(super) fn put_under(port: u32) -> io::Result<()> {
    let ours = netlink::index(NAME)?;
    if netlink::ask(port)?.master != Some(ours) {
        netlink::put_under(port, ours)?;
    }
    let on_off = |kind, value: u8| attribute(kind, &[value]);
    let data = [
        on_off(IFLA_BRPORT_LEARNING, 0),
        on_off(IFLA_BRPORT_UNICAST_FLOOD, 1),
        on_off(IFLA_BRPORT_MCAST_FLOOD, 1),
        on_off(IFLA_BRPORT_BCAST_FLOOD, 1),
        attribute(IFLA_BRPORT_GROUP_FWD_MASK, &PORT_GROUPS.to_ne_bytes()),
    ]
    .concat();
    netlink::change_as_port(port, "bridge", &data)?;
    netlink::set_up(port, true)
}
