//! The devices of the LAN and the VLAN that one of them is in.

/// A device with one interface, `eth0`.
#[derive(Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name, and the end of its namespace's name.
    pub name: &'static str,
    /// Its MAC address. Those that begin with 00:00:5e:00:53 are set aside for documentation (RFC 7042); a 2 as
    /// second digit marks one that the device made up, as phones do.
    pub mac: &'static str,
    /// Its IPv4 address, in a /24 whose router is `.1`.
    pub v4: &'static str,
    /// Its IPv6 address, in a /64 whose router is `::1`.
    pub v6: &'static str,
    /// Its VLAN, when its frames carry a tag.
    pub vlan: Option<Vlan>,
}

/// A VLAN, from the trunk of the LAN's switch to the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The tags from the outside in, as (TPID, VLAN id).
    pub tags: &'static [(u16, u16)],
    /// The interface of the LAN's switch that carries them.
    pub trunk: &'static str,
    /// The router's interface in the VLAN.
    pub interface: &'static str,
    /// The router's IPv4 address in the VLAN, with prefix length.
    pub router_v4: &'static str,
    /// The router's IPv6 address in the VLAN, with prefix length.
    pub router_v6: &'static str,
}

/// Two desks, a phone, and a docking station in a VLAN.
pub const DEVICES: [Device; 4] = [
    Device { name: "desk1", mac: "00:00:5e:00:53:11", v4: "10.77.0.11", v6: "fd77::11", vlan: None },
    Device { name: "desk2", mac: "00:00:5e:00:53:12", v4: "10.77.0.12", v6: "fd77::12", vlan: None },
    Device { name: "phone", mac: "02:00:5e:00:53:21", v4: "10.77.0.21", v6: "fd77::21", vlan: None },
    Device {
        name: "dock",
        mac: "00:00:5e:00:53:31",
        v4: "10.77.20.31",
        v6: "fd77:0:0:20::31",
        vlan: Some(Vlan {
            tags: &[(0x8100, 20)],
            trunk: "trunk20",
            interface: "vlan20",
            router_v4: "10.77.20.1/24",
            router_v6: "fd77:0:0:20::1/64",
        }),
    },
];

impl Device {
    /// The device of this name. The names are those of [`DEVICES`].
    pub fn named(name: &str) -> Option<&'static Self> {
        DEVICES.iter().find(|device| device.name == name)
    }

    /// The router's IPv4 and IPv6 address as this device sees it.
    pub fn routers(&self) -> (String, String) {
        let v4 = self.v4.rsplit_once('.').map_or(self.v4, |(net, _)| net);
        let v6 = self.v6.rsplit_once("::").map_or(self.v6, |(net, _)| net);
        (format!("{v4}.1"), format!("{v6}::1"))
    }
}
