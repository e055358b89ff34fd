//! A real Linux server behind a real Linux router, in namespaces of their own.
//!
//! ```text
//!  this process ── r0 (TAP) ┤ router ├ r1 ── s0 ┤ server │
//!   192.0.2.10                                198.51.100.20
//!   2001:db8:1::10                            2001:db8:2::20
//! ```
//!
//! The client exists in this process only: what it sends is written into the TAP. The router is there so that packets
//! with a TTL of 1 pass the gateway and never arrive.

use crate::scene::MACS;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// What the server listens on: both families, the ports that the rows use.
pub(crate) struct Sockets {
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) udp: Vec<UdpSocket>,
}

/// The namespaces; gone when dropped.
pub(crate) struct Lab {
    router: String,
    server: String,
}

impl Lab {
    /// Makes the namespaces, and gives the wire to the router and the server's sockets.
    pub(crate) fn new() -> (Self, SyncDevice, Sockets) {
        let name = |role| format!("gge{}-{role}", std::process::id());
        let lab = Self { router: name("router"), server: name("server") };
        ip(&format!("netns add {}", lab.router));
        ip(&format!("netns add {}", lab.server));
        for netns in [&lab.router, &lab.server] {
            inside(netns, || {
                for (key, value) in [
                    ("ipv4/ip_forward", "1"),
                    ("ipv6/conf/all/forwarding", "1"),
                    ("ipv6/conf/all/accept_dad", "0"),
                    ("ipv6/conf/default/accept_dad", "0"),
                    ("ipv6/conf/default/router_solicitations", "0"),
                ] {
                    std::fs::write(format!("/proc/sys/net/{key}"), value).expect(key);
                }
            });
        }
        let wire = inside(&lab.router, || {
            let tap = DeviceBuilder::new().name("r0").layer(Layer::L2).mtu(1500).enable(false).build_sync();
            let tap = tap.expect("a TAP interface (is /dev/net/tun there?)");
            tap.set_nonblocking(true).expect("a TAP that does not wait");
            tap
        });
        let mac = |mac: [u8; 6]| mac.map(|b| format!("{b:02x}")).join(":");
        ip(&format!("link add r1 netns {} type veth peer name s0 netns {}", lab.router, lab.server));
        for command in [
            format!("link set r0 address {}", mac(MACS[0])),
            "link set r0 up".into(),
            "link set r1 up".into(),
            "addr add 192.0.2.1/24 dev r0".into(),
            "addr add 2001:db8:1::1/64 dev r0 nodad".into(),
            "addr add 198.51.100.1/24 dev r1".into(),
            "addr add 2001:db8:2::1/64 dev r1 nodad".into(),
            format!("neigh add 192.0.2.10 lladdr {} dev r0 nud permanent", mac(MACS[1])),
            format!("neigh add 2001:db8:1::10 lladdr {} dev r0 nud permanent", mac(MACS[1])),
        ] {
            ip(&format!("-n {} {command}", lab.router));
        }
        for command in [
            "link set lo up",
            "link set s0 up",
            "addr add 198.51.100.20/24 dev s0",
            "addr add 2001:db8:2::20/64 dev s0 nodad",
            "route add default via 198.51.100.1",
            "route add default via 2001:db8:2::1",
        ] {
            ip(&format!("-n {} {command}", lab.server));
        }
        let sockets = inside(&lab.server, || {
            let any: [IpAddr; 2] = [Ipv4Addr::new(198, 51, 100, 20).into(), server_v6().into()];
            let at = |port| any.map(|ip| SocketAddr::new(ip, port));
            let tcp = [443, 80].into_iter().flat_map(at).map(|at| TcpListener::bind(at).expect("a listener"));
            let udp = at(443).map(|at| UdpSocket::bind(at).expect("a socket"));
            Sockets { tcp: tcp.collect(), udp: udp.into() }
        });
        for listener in &sockets.tcp {
            listener.set_nonblocking(true).expect("a listener that does not wait");
        }
        for socket in &sockets.udp {
            socket.set_nonblocking(true).expect("a socket that does not wait");
        }
        (lab, wire, sockets)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for netns in [&self.router, &self.server] {
            let _ = Command::new("ip").args(["netns", "del", netns]).status();
        }
    }
}

fn server_v6() -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x20)
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("`ip` (package iproute2)");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Does `work` on a thread inside the namespace. Sockets opened there stay there.
fn inside<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let path = PathBuf::from("/run/netns").join(netns);
    let thread = std::thread::spawn(move || {
        let file = File::open(&path).expect("the namespace that was just made");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("entering it");
        work()
    });
    thread.join().expect("the work in the namespace")
}
