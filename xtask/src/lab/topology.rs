//! The links of the lab, as `ip` commands.
//!
//! Checksum offload is off on every interface whose frames leave for the gateway: a veth hands over frames with
//! unfinished checksums otherwise, which a kernel peer forgives and a gateway that takes frames as they are on
//! the wire passes on broken.

use anyhow::Result;

use super::devices::{Device, Vlan};
use super::netns::Netns;
use super::origin;
use super::slot::Slot;
use crate::process;

/// The switch of the LAN: a bridge whose `uplink` is the cable to the gateway's `port-a`.
pub fn switch(lan: &Netns, gateway: &Netns) -> Result<()> {
    lan.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    gateway.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    lan.ip(&format!(
        "link add name switch type bridge mcast_snooping 0
         link add name uplink type veth peer name port-a netns {}
         link set dev uplink master switch
         link set dev uplink up
         link set dev switch up",
        gateway.name()
    ))?;
    lan.no_offload("uplink")?;
    lan.vlan_tags_in_frames("uplink")
}

/// The router and what is behind it. `uplink` is the cable to the gateway's `port-b`; it ends in a bridge, so
/// that tagged frames can leave for a tagger. The servers' addresses are on the loopback interface.
pub fn internet(wan: &Netns, gateway: &Netns) -> Result<()> {
    wan.ip(&format!(
        "link add name router address 00:00:5e:00:53:01 type bridge mcast_snooping 0
         link add name uplink type veth peer name port-b netns {}
         link set dev uplink master router
         link set dev uplink up
         link set dev router up
         addr add 10.77.0.1/24 dev router
         addr add fd77::1/64 dev router nodad",
        gateway.name()
    ))?;
    wan.no_offload("uplink")?;
    wan.vlan_tags_in_frames("uplink")?;
    wan.no_offload("router")?;
    let addresses = origin::addresses();
    wan.ip(&addresses.iter().map(|address| format!("addr add {address} dev lo\n")).collect::<String>())
}

/// The gateway's ports, promiscuous as a bridge needs them, and its management link to the host.
pub fn ports(gateway: &Netns, slot: &Slot) -> Result<()> {
    for port in ["port-a", "port-b"] {
        gateway.ip(&format!("link set dev {port} up promisc on"))?;
        gateway.no_offload(port)?;
    }
    let (host, host_interface) = (slot.host(), slot.host_interface());
    on_host(&format!("link add name {host_interface} type veth peer name mgmt netns {}", gateway.name()))?;
    on_host(&format!("addr add {host}/30 dev {host_interface}"))?;
    on_host(&format!("link set dev {host_interface} up"))?;
    gateway.ip(&format!(
        "addr add {}/30 dev mgmt
         link set dev mgmt up",
        slot.management()
    ))
}

/// A device whose cable goes straight into the switch.
pub fn plain_device(device: &Device, netns: &Netns, lan: &Netns) -> Result<()> {
    cable(device.name, device.mac, netns, lan)?;
    addresses(device, netns)
}

/// A cable from the `eth0` of a device into the switch, at a port of the device's name.
pub fn cable(port: &str, mac: &str, netns: &Netns, lan: &Netns) -> Result<()> {
    netns.ip(&format!("link add name eth0 address {mac} type veth peer name {port} netns {}", lan.name()))?;
    netns.no_offload("eth0")?;
    lan.ip(&format!(
        "link set dev {port} master switch
         link set dev {port} up"
    ))?;
    lan.no_offload(port)
}

/// A device behind a tagger, whose interfaces exist by now: its own `eth0`, the trunk into the LAN's switch,
/// and on the far side the router's interface in the VLAN and the trunk into the router's bridge.
pub fn tagged_device(device: &Device, vlan: &Vlan, netns: &Netns, lan: &Netns, wan: &Netns) -> Result<()> {
    // On tap interfaces no offload is negotiated, so their frames are finished by the kernel.
    lan.ip(&format!(
        "link set dev {0} master switch txqueuelen 10000
         link set dev {0} up",
        vlan.trunk
    ))?;
    wan.ip(&format!(
        "link set dev trunk master router txqueuelen 10000
         link set dev trunk up
         link set dev {0} txqueuelen 10000 up
         addr add {1} dev {0}
         addr add {2} dev {0} nodad",
        vlan.interface, vlan.router_v4, vlan.router_v6
    ))?;
    netns.ip(&format!("link set dev eth0 address {} txqueuelen 10000", device.mac))?;
    addresses(device, netns)
}

/// A bridge of the kernel in the gateway's place.
pub fn kernel_bridge(gateway: &Netns) -> Result<()> {
    gateway.ip("link add name br0 type bridge mcast_snooping 0
         link set dev port-a master br0
         link set dev port-b master br0
         link set dev br0 up")
}

fn addresses(device: &Device, netns: &Netns) -> Result<()> {
    let (router_v4, router_v6) = device.routers();
    netns.ip(&format!(
        "addr add {}/24 dev eth0
         addr add {}/64 dev eth0 nodad
         link set dev eth0 up
         route add default via {router_v4}
         route add default via {router_v6}",
        device.v4, device.v6
    ))
}

fn on_host(words: &str) -> Result<()> {
    process::capture(std::process::Command::new("ip").args(words.split_whitespace())).map(drop)
}
