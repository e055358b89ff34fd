//! Three namespaces in a row: client, gateway, server.

use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Addresses of client and server.
pub(crate) const V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
/// The same in IPv6.
pub(crate) const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

/// `lan` and `wan` reach each other only through the interfaces `a` and `b` in `gateway`.
pub(crate) struct Lab {
    pub(crate) lan: String,
    pub(crate) wan: String,
    pub(crate) gateway: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let lab = Self {
            lan: format!("ggd-lan-{id}"),
            wan: format!("ggd-wan-{id}"),
            gateway: format!("ggd-gw-{id}"),
        };
        for name in [&lab.lan, &lab.wan, &lab.gateway] {
            run(&format!("ip netns add {name}"));
        }
        lab
    }

    pub(crate) fn connect_lan(&self) {
        self.connect_lan_with("");
    }

    pub(crate) fn connect_lan_with(&self, veth_options: &str) {
        self.connect(&self.lan, "a", 0, veth_options);
    }

    pub(crate) fn connect_wan(&self) {
        self.connect(&self.wan, "b", 1, "");
    }

    pub(crate) fn in_gateway(&self, command: &str) {
        run(&format!("ip netns exec {} {command}", self.gateway));
    }

    pub(crate) fn in_lan(&self, command: &str) {
        run(&format!("ip netns exec {} {command}", self.lan));
    }

    /// Runs `work` on a thread inside a namespace; sockets that it makes stay there.
    pub(crate) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = std::fs::File::open(crate::netns(namespace)).unwrap();
                move_into_link_name_space(rustix::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                    .unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }

    /// Makes the gateway's interfaces `a` and `b` those of the two ends.
    pub(crate) fn adopt(&self) {
        for (end, side, host) in [(&self.lan, "a", 0), (&self.wan, "b", 1)] {
            run(&format!("ip -n {} link set dev {side} netns {end} name e", self.gateway));
            settle(end, host);
        }
    }

    fn connect(&self, end: &str, side: &str, host: usize, veth_options: &str) {
        let gateway = &self.gateway;
        run(&format!("ip link add e netns {end} type veth peer name {side} netns {gateway} {veth_options}"));
        // The bridge's side has no address and says nothing of its own.
        run(&format!("ip -n {gateway} link set dev {side} addrgenmode none"));
        run(&format!("ip -n {gateway} link set dev {side} up"));
        settle(end, host);
    }
}

/// Gives the interface `e` of an end its addresses and brings it up.
fn settle(end: &str, host: usize) {
    // The kernel hands over frames without checksums unless it is told that the link can't fill them in.
    run(&format!("ip netns exec {end} ethtool -K e tx off"));
    run(&format!("ip -n {end} address add {}/24 dev e", V4[host]));
    run(&format!("ip -n {end} address add {}/64 dev e nodad", V6[host]));
    run(&format!("ip -n {end} link set dev e up"));
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [&self.lan, &self.wan, &self.gateway] {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn run(command: &str) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.unwrap_or_else(|e| panic!("{command}: {e} (apt-get install iproute2 ethtool)"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
